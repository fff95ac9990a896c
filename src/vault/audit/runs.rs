//! Entries of one chain that a commit brings together: one row, sealed once.
//!
//! ```text
//! row at tenant | writer | number of the last entry = seal(h before the first | (be16 length | entry) ..)
//! read -> waits in its chain -> whoever comes first asks for a commit -> the committer seals all that wait
//! ```
//! A row is found by the number of any of its entries: it is the first one at or behind that number.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::oneshot;

use super::{
    Entry,
    chain::{self, ChainHash, Trail},
    heads::Head,
    writer::{Chain, Inner},
};
use crate::{
    domain::{TenantNo, Timestamp},
    vault::{
        crypto::Plaintext,
        keys::{LendError, UnitRef},
        store::{Durability, StoreError, Tail, Write, schema},
    },
};

/// Entries of one row: below 30 kB, so that every engine can hold it and a reader opens little more than it wants.
pub(super) const RUN_LEN: usize = 128;

/// Why an entry has no number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotAdded {
    /// The unit's key has left the cache: worth another try once it is loaded.
    KeyMissing,
    /// The store's reason.
    Store(StoreError),
}

impl From<NotAdded> for StoreError {
    fn from(reason: NotAdded) -> Self {
        match reason {
            NotAdded::KeyMissing => Self::Busy,
            NotAdded::Store(error) => error,
        }
    }
}

/// The number of an entry that is in the store.
pub(super) type Answer = Result<u64, NotAdded>;

/// An entry that waits for its number.
struct Waiting {
    entry: Entry,
    answer: oneshot::Sender<Answer>,
}

/// Entries of a chain that wait for the next commit.
#[derive(Default)]
struct Queue {
    entries: Vec<Waiting>,
    /// A commit that will take them is on its way.
    is_asked: bool,
}

/// The queues of a chain, one for each durability.
#[derive(Default)]
pub(super) struct Queues {
    written: Mutex<Queue>,
    synced: Mutex<Queue>,
}

impl Queues {
    fn of(&self, durability: Durability) -> &Mutex<Queue> {
        match durability {
            Durability::Written => &self.written,
            Durability::Synced => &self.synced,
        }
    }

    /// Takes an entry in; who waits for its number, and whether a commit must be asked for.
    pub(super) fn join(&self, entry: Entry, durability: Durability) -> (oneshot::Receiver<Answer>, bool) {
        let (answer, answered) = oneshot::channel();
        let mut queue = self.of(durability).lock().unwrap_or_else(PoisonError::into_inner);
        queue.entries.push(Waiting { entry, answer });
        (answered, !mem::replace(&mut queue.is_asked, true))
    }

    fn take(&self, durability: Durability) -> Vec<Waiting> {
        let mut queue = self.of(durability).lock().unwrap_or_else(PoisonError::into_inner);
        queue.is_asked = false;
        mem::take(&mut queue.entries)
    }
}

/// Where a chain lies, and what its rows are sealed under.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) inner: Arc<Inner>,
    pub(super) trail: Trail,
    pub(super) tenant: TenantNo,
    pub(super) unit: UnitRef,
    pub(super) chain: Arc<Chain>,
}

/// What a commit has added to a chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Added {
    before: Head,
    /// When its first entry was made.
    first: Timestamp,
    pub(super) tip: Head,
}

impl Line {
    /// Seals entries as the next of the chain. Called in the committer alone, so the order of calls is that of the numbers.
    ///
    /// # Errors
    /// [`NotAdded`]: the chain is as it was.
    pub(super) fn add<'a>(&self, entries: impl Iterator<Item = &'a Entry>) -> Result<(Added, Vec<Write>), NotAdded> {
        let invalid = |reason| NotAdded::Store(StoreError::Invalid(reason));
        let before = self.chain.state().tip;
        let now = self.inner.clock.now();
        let (mut tip, mut first) = (before, None);
        let mut writes = Vec::new();
        let mut entries = entries.peekable();
        while entries.peek().is_some() {
            let mut plain = tip.hash.to_vec();
            for entry in entries.by_ref().take(RUN_LEN) {
                let time = now.max(tip.time);
                let seq = tip.seq.checked_add(1).ok_or_else(|| invalid("audit chain is at its end"))?;
                let bytes = entry.encode(time);
                put_entry(&mut plain, &bytes);
                tip = Head { seq, hash: chain::next(&tip.hash, &bytes), time };
                first.get_or_insert(time);
            }
            let context = self.inner.context(self.tenant, self.chain.writer, tip.seq);
            let value = self.inner.seal(self.unit, &context, &Plaintext::new(plain)).map_err(|error| match error {
                LendError::Missing => NotAdded::KeyMissing,
                LendError::Shredded | LendError::Pending => invalid("audit unit is shredded"),
            })?;
            let key = schema::audit(self.tenant, self.chain.writer, tip.seq);
            writes.push(Write::Put { space: self.trail.space(), key, value });
        }
        self.chain.state().tip = tip;
        Ok((Added { before, first: first.unwrap_or(tip.time), tip }, writes))
    }

    /// What was added is in the store, or is not; given back if it is.
    pub(super) fn settle(&self, added: Option<Added>, stored: bool) -> Option<Added> {
        let added = added?;
        let mut state = self.chain.state();
        if stored {
            if state.stored.seq == state.covered {
                state.uncovered_since = added.first;
            }
            state.stored = added.tip;
        } else {
            state.tip = added.before;
        }
        stored.then_some(added)
    }
}

/// All that waits in a chain's queue, as the tail of a commit.
pub(super) struct RunTail {
    line: Line,
    durability: Durability,
    /// What it has taken out of the queue; `None` before its turn.
    taken: Option<Vec<Waiting>>,
    added: Option<Added>,
    key_is_missing: bool,
}

impl RunTail {
    pub(super) const fn new(line: Line, durability: Durability) -> Self {
        Self { line, durability, taken: None, added: None, key_is_missing: false }
    }

    fn take(&mut self) -> &mut Vec<Waiting> {
        self.taken.get_or_insert_with(|| self.line.chain.queues.take(self.durability))
    }

    fn answer(&mut self, error: &StoreError) {
        let reason = if self.key_is_missing { NotAdded::KeyMissing } else { NotAdded::Store(error.clone()) };
        for waiting in self.take().drain(..) {
            drop(waiting.answer.send(Err(reason.clone())));
        }
    }
}

impl Tail for RunTail {
    fn rows(&mut self) -> Result<Vec<Write>, StoreError> {
        self.take();
        let taken = self.taken.iter().flatten();
        let made = self.line.add(taken.map(|waiting| &waiting.entry));
        let (added, writes) = made.inspect_err(|reason| self.key_is_missing = *reason == NotAdded::KeyMissing)?;
        self.added = Some(added);
        Ok(writes)
    }

    fn settled(&mut self, stored: bool) {
        if let Some(added) = self.line.settle(self.added.take(), stored) {
            for (seq, waiting) in (added.before.seq.saturating_add(1)..).zip(self.take().drain(..)) {
                drop(waiting.answer.send(Ok(seq)));
            }
        }
    }

    fn refused(&mut self, error: &StoreError) {
        self.answer(error);
    }
}

impl Drop for RunTail {
    /// The queue for commits was full, or the committer is gone: nobody else takes what waits.
    fn drop(&mut self) {
        self.answer(&StoreError::Busy);
    }
}

/// `be16(length) | entry`.
fn put_entry(plain: &mut Vec<u8>, entry: &[u8]) {
    plain.extend_from_slice(&u16::try_from(entry.len()).unwrap_or(u16::MAX).to_be_bytes());
    plain.extend_from_slice(entry);
}

/// The chain's value before a row's first entry, and the encodings of its entries, at least one; `None` if it is not such a row.
pub(super) fn parse(plain: &[u8]) -> Option<(ChainHash, Vec<&[u8]>)> {
    let (previous, mut rest) = plain.split_first_chunk::<32>()?;
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (len, behind) = rest.split_first_chunk()?;
        let (entry, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        entries.push(entry);
        rest = behind;
    }
    (!entries.is_empty()).then_some((*previous, entries))
}

#[cfg(test)]
mod tests;

//! A group: the commits that are written as one batch for each database, in their order.

use bytes::Bytes;
use rocksdb::WriteBatch;
use tokio::sync::oneshot;

use super::{
    super::{Before, Check, Commit, Committed, Database, Durability, Space, StoreError, Tail, Urgency, Write, schema::KEY_LEN_MAX},
    database::Rocks,
    known::Known,
    mirror::frame,
    overlay::{Overlay, Seen},
};

/// The longest row, key and value together: every engine can hold it.
const ROW_LEN_MAX: usize = 100_000;
/// The largest commit.
const COMMIT_LEN_MAX: usize = 128 * 1024 * 1024;
/// A group that holds so much takes no more.
const GROUP_COMMITS: usize = 1_024;
const GROUP_BYTES: u64 = 8 * 1024 * 1024;

pub(super) type Answer = oneshot::Sender<Result<Committed, StoreError>>;

/// A commit on its way to the committer.
pub(super) struct Submission {
    /// What is to be there before it.
    pub(super) before: Option<Before>,
    pub(super) commit: Commit,
    pub(super) answer: Answer,
}

/// The two databases.
pub(super) struct Pair {
    pub(super) control: Rocks,
    pub(super) data: Rocks,
}

impl Pair {
    pub(super) const fn of(&self, database: Database) -> &Rocks {
        match database {
            Database::Control => &self.control,
            Database::Data => &self.data,
        }
    }
}

/// A commit of the group that passed its checks.
pub(super) struct Entry {
    /// `None` where nothing is written.
    pub(super) database: Option<Database>,
    /// The tail of what is to be there before it, in the control database.
    pub(super) before: Option<Box<dyn Tail>>,
    pub(super) tail: Option<Box<dyn Tail>>,
    pub(super) answer: Answer,
}

/// A commit that did not pass.
pub(super) struct Refused {
    pub(super) before: Option<Box<dyn Tail>>,
    pub(super) tail: Option<Box<dyn Tail>>,
    pub(super) answer: Answer,
    pub(super) error: StoreError,
}

/// What became of a commit that asked to join the group.
pub(super) enum Joined {
    /// It is in, or was refused.
    Settled,
    /// It must come after this group is on disk.
    Later(Submission),
}

pub(super) struct Group<'a> {
    pair: &'a Pair,
    overlay: Overlay,
    known: Known,
    pub(super) control: WriteBatch,
    /// The control batch as the mirror gets it.
    pub(super) delta: Vec<u8>,
    pub(super) data: WriteBatch,
    pub(super) entries: Vec<Entry>,
    /// Answered with the others: a conflict may be with a row that becomes visible only then.
    pub(super) refused: Vec<Refused>,
    pub(super) sync_data: bool,
    /// A control commit of the group depends on rows of the data store.
    pub(super) control_reads_data: bool,
    bytes: u64,
}

fn write_len(write: &Write) -> usize {
    match write {
        Write::Put { key, value, .. } => key.len().saturating_add(value.len()),
        Write::Delete { key, .. } => key.len(),
        Write::DeleteRange { from, to, .. } => from.len().saturating_add(to.len()),
    }
}

/// What rows take in a write-ahead log, about, in bytes.
pub(super) fn rows_len(writes: &[Write]) -> u64 {
    writes.iter().map(|write| (write_len(write) as u64).saturating_add(32)).fold(0, u64::saturating_add)
}

/// The one database of the writes; `None` if there are none.
///
/// # Errors
/// [`StoreError::Invalid`] says which rule they break.
pub(super) fn inspect(writes: &[Write]) -> Result<Option<Database>, StoreError> {
    let mut database = None;
    let mut total = 0_usize;
    for write in writes {
        let (space, keys): (_, [&Bytes; 2]) = match write {
            Write::Put { space, key, .. } | Write::Delete { space, key } => (space, [key, key]),
            Write::DeleteRange { from, to, .. } if from > to => return Err(StoreError::Invalid("a range that ends before it begins")),
            Write::DeleteRange { space, from, to } => (space, [from, to]),
        };
        if *database.get_or_insert(space.database()) != space.database() {
            return Err(StoreError::Invalid("writes to two databases"));
        }
        // The end of a range may be longer than any key.
        let key_len_max = if matches!(write, Write::DeleteRange { .. }) { KEY_LEN_MAX.saturating_add(1) } else { KEY_LEN_MAX };
        if keys.iter().any(|key| key.len() > key_len_max) {
            return Err(StoreError::Invalid("a key over 1,024 bytes"));
        }
        let len = write_len(write);
        if len > ROW_LEN_MAX {
            return Err(StoreError::Invalid("a row over 100 kB"));
        }
        total = total.saturating_add(len);
    }
    if total > COMMIT_LEN_MAX {
        return Err(StoreError::Invalid("a commit over 128 MiB"));
    }
    Ok(database)
}

impl<'a> Group<'a> {
    pub(super) fn new(pair: &'a Pair, known: Known) -> Self {
        Self {
            pair,
            overlay: Overlay::default(),
            known,
            control: WriteBatch::default(),
            delta: Vec::new(),
            data: WriteBatch::default(),
            entries: Vec::new(),
            refused: Vec::new(),
            sync_data: false,
            control_reads_data: false,
            bytes: 0,
        }
    }

    /// What it has so far, about.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn is_full(&self) -> bool {
        self.entries.len() >= GROUP_COMMITS || self.bytes >= GROUP_BYTES
    }

    /// What is known of control rows once the group is on disk.
    pub(super) fn known(&mut self) -> Known {
        std::mem::take(&mut self.known).after(&self.overlay)
    }

    /// Checks a commit against the databases and the group so far, and takes it in. `room` says whether the disk has
    /// room for a group of so many bytes and a delta of so many.
    pub(super) fn join(&mut self, submission: Submission, room: impl FnOnce(Urgency, u64, usize) -> Result<(), StoreError>) -> Joined {
        let Submission { mut before, mut commit, answer } = submission;
        if before.is_none() && self.must_wait(&commit) {
            return Joined::Later(Submission { before, commit, answer });
        }
        let joined = self.try_join(before.as_mut(), &mut commit, room);
        let (before, tail) = (before.and_then(|before| before.tail), commit.tail);
        match joined {
            Ok(database) => self.entries.push(Entry { database, before, tail, answer }),
            Err(error) => self.refused.push(Refused { before, tail, answer, error }),
        }
        Joined::Settled
    }

    /// Control rows are written before data rows. A control commit that depends on a data row of this group would be
    /// on disk without it after a crash, so it waits for the next group. What goes before a data commit depends on none.
    fn must_wait(&self, commit: &Commit) -> bool {
        let writes_data = matches!(inspect(&commit.writes), Ok(Some(Database::Data)));
        !writes_data && commit.checks.iter().any(|check| self.overlay.touches(Database::Data, check.space, &check.key))
    }

    fn try_join(
        &mut self,
        mut before: Option<&mut Before>,
        commit: &mut Commit,
        room: impl FnOnce(Urgency, u64, usize) -> Result<(), StoreError>,
    ) -> Result<Option<Database>, StoreError> {
        let first = before.iter().flat_map(|before| &before.checks);
        for (index, check) in commit.checks.iter().chain(first).enumerate() {
            if !self.holds(check)? {
                return Err(StoreError::Conflict(index));
            }
        }
        let mut made = 0;
        let result = rows_of(before.as_deref_mut(), commit, &mut made).and_then(|()| self.take_in(before.as_deref_mut(), commit, room));
        if result.is_err() {
            // Those made so far go back, the last one first.
            let tails = [before.and_then(|before| before.tail.as_mut()), commit.tail.as_mut()].into_iter().flatten();
            let mut made: Vec<_> = tails.take(made).collect();
            made.iter_mut().rev().for_each(|tail| tail.settled(false));
        }
        result
    }

    /// Whether a row is as expected, behind what the group has changed so far.
    fn holds(&mut self, check: &Check) -> Result<bool, StoreError> {
        let Check { space, key, expect } = check;
        match self.overlay.see(*space, key) {
            Seen::Value(value) => return Ok(expect.holds(Some(value))),
            Seen::Absent => return Ok(expect.holds(None)),
            Seen::Untouched => {}
        }
        let database = self.pair.of(space.database());
        if *space != Space::Control {
            return database.judge(*space, key, |value| expect.holds(value));
        }
        if let Some(value) = self.known.see(key) {
            return Ok(expect.holds(Some(value)));
        }
        let (holds, value) = database.judge(*space, key, |value| (expect.holds(value), Known::copy(expect, value)))?;
        if let Some(value) = value {
            self.known.keep(key.clone(), value);
        }
        Ok(holds)
    }

    /// All that can refuse a commit once its tail has made its rows.
    fn take_in(
        &mut self,
        before: Option<&mut Before>,
        commit: &mut Commit,
        room: impl FnOnce(Urgency, u64, usize) -> Result<(), StoreError>,
    ) -> Result<Option<Database>, StoreError> {
        let database = inspect(&commit.writes)?;
        let first: &[Write] = before.as_ref().map_or(&[], |before| &before.writes);
        inspect_before(first, database)?;
        let Some(database) = database else { return Ok(None) };
        let bytes = [first, &commit.writes].into_iter().map(rows_len).fold(self.bytes, u64::saturating_add);
        let delta = match database {
            Database::Control => &commit.writes,
            Database::Data => first,
        };
        let delta = delta.iter().map(frame::write_len).fold(self.delta.len(), usize::saturating_add);
        room(commit.urgency, bytes, delta)?;
        if let Some(before) = before {
            self.put(Database::Control, std::mem::take(&mut before.writes))?;
        }
        self.put(database, std::mem::take(&mut commit.writes))?;
        self.bytes = bytes;
        match database {
            Database::Control => self.control_reads_data |= commit.checks.iter().any(|check| check.space.database() == Database::Data),
            Database::Data => self.sync_data |= commit.durability == Durability::Synced,
        }
        Ok(Some(database))
    }

    fn put(&mut self, database: Database, writes: Vec<Write>) -> Result<(), StoreError> {
        let (rocks, batch) = match database {
            Database::Control => (&self.pair.control, &mut self.control),
            Database::Data => (&self.pair.data, &mut self.data),
        };
        for write in writes {
            rocks.put_write(batch, &write)?;
            if database == Database::Control {
                frame::put_write(&mut self.delta, &write);
            }
            self.overlay.apply(write);
        }
        Ok(())
    }
}

/// What is to be there before a commit lies in the control database, and the commit in the data database.
///
/// # Errors
/// [`StoreError::Invalid`].
fn inspect_before(first: &[Write], then: Option<Database>) -> Result<(), StoreError> {
    match (inspect(first)?, then) {
        (None, _) | (Some(Database::Control), Some(Database::Data)) => Ok(()),
        (Some(_), _) => Err(StoreError::Invalid("only rows of control go first, and only before data")),
    }
}

/// Has the tails make their rows, in their order, and counts them.
fn rows_of(before: Option<&mut Before>, commit: &mut Commit, made: &mut usize) -> Result<(), StoreError> {
    let first = before.and_then(|before| before.tail.as_mut().map(|tail| (&mut before.writes, tail)));
    let second = commit.tail.as_mut().map(|tail| (&mut commit.writes, tail));
    for (writes, tail) in [first, second].into_iter().flatten() {
        writes.extend(tail.rows()?);
        *made = made.saturating_add(1);
    }
    Ok(())
}

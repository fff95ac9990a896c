//! Writers of one record wait for each other here instead of meeting in the committer, where all but one would have planned in
//! vain: a key that many write would use up their attempts. What holds is checked in the commit all the same.

use std::hash::{BuildHasher, Hash, RandomState};

use tokio::sync::{Mutex, MutexGuard};

/// Records share a turn where their hashes meet; with so many that is rare among those at work.
const TURNS: usize = 4_096;

/// A turn for each record.
pub(super) struct Turns {
    turns: Box<[Mutex<()>]>,
    hasher: RandomState,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { turns: (0..TURNS).map(|_| Mutex::new(())).collect(), hasher: RandomState::new() }
    }

    /// Waits for the turn of a record, however it is named; kept until the guard is dropped. Holds one turn at a time.
    pub(super) async fn of(&self, record: impl Hash) -> Option<MutexGuard<'_, ()>> {
        let hash = usize::try_from(self.hasher.hash_one(record)).unwrap_or_default();
        match hash.checked_rem(TURNS).and_then(|at| self.turns.get(at)) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        }
    }
}

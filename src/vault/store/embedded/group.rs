//! A group: the commits that are written as one batch for each database, in their order.

use bytes::Bytes;
use rocksdb::WriteBatch;
use tokio::sync::oneshot;

use super::{
    super::{Commit, Committed, Database, Durability, StoreError, Tail, Write, schema::KEY_LEN_MAX},
    database::Rocks,
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
    pub(super) tail: Option<Box<dyn Tail>>,
    pub(super) answer: Answer,
}

/// A commit that did not pass.
pub(super) struct Refused {
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
    pub(super) fn new(pair: &'a Pair) -> Self {
        Self {
            pair,
            overlay: Overlay::default(),
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

    /// Checks a commit against the databases and the group so far, and takes it in. `room` says whether the disk has
    /// room for a group of so many bytes and a delta of so many.
    pub(super) fn join(&mut self, submission: Submission, room: impl FnOnce(&Commit, u64, usize) -> Result<(), StoreError>) -> Joined {
        let Submission { mut commit, answer } = submission;
        if self.must_wait(&commit) {
            return Joined::Later(Submission { commit, answer });
        }
        match self.try_join(&mut commit, room) {
            Ok(database) => self.entries.push(Entry { database, tail: commit.tail, answer }),
            Err(error) => self.refused.push(Refused { tail: commit.tail, answer, error }),
        }
        Joined::Settled
    }

    /// Control rows are written before data rows. A control commit that depends on a data row of this group would be
    /// on disk without it after a crash, so it waits for the next group.
    fn must_wait(&self, commit: &Commit) -> bool {
        let writes_data = matches!(inspect(&commit.writes), Ok(Some(Database::Data)));
        !writes_data && commit.checks.iter().any(|check| self.overlay.touches(Database::Data, check.space, &check.key))
    }

    fn try_join(
        &mut self,
        commit: &mut Commit,
        room: impl FnOnce(&Commit, u64, usize) -> Result<(), StoreError>,
    ) -> Result<Option<Database>, StoreError> {
        for (index, check) in commit.checks.iter().enumerate() {
            let holds = match self.overlay.see(check.space, &check.key) {
                Seen::Value(value) => check.expect.holds(Some(value)),
                Seen::Absent => check.expect.holds(None),
                Seen::Untouched => {
                    self.pair.of(check.space.database()).judge(check.space, &check.key, |value| check.expect.holds(value))?
                }
            };
            if !holds {
                return Err(StoreError::Conflict(index));
            }
        }
        if let Some(tail) = &mut commit.tail {
            commit.writes.extend(tail.rows()?);
        }
        self.take_in(commit, room).inspect_err(|_| {
            if let Some(tail) = &mut commit.tail {
                tail.settled(false);
            }
        })
    }

    /// All that can refuse a commit once its tail has made its rows.
    fn take_in(
        &mut self,
        commit: &Commit,
        room: impl FnOnce(&Commit, u64, usize) -> Result<(), StoreError>,
    ) -> Result<Option<Database>, StoreError> {
        let Some(database) = inspect(&commit.writes)? else { return Ok(None) };
        let bytes = self.bytes.saturating_add(rows_len(&commit.writes));
        let delta = match database {
            Database::Control => commit.writes.iter().map(frame::write_len).fold(self.delta.len(), usize::saturating_add),
            Database::Data => self.delta.len(),
        };
        room(commit, bytes, delta)?;
        let (rocks, batch) = match database {
            Database::Control => (&self.pair.control, &mut self.control),
            Database::Data => (&self.pair.data, &mut self.data),
        };
        for write in &commit.writes {
            rocks.put_write(batch, write)?;
            self.overlay.apply(write);
            if database == Database::Control {
                frame::put_write(&mut self.delta, write);
            }
        }
        self.bytes = bytes;
        match database {
            Database::Control => self.control_reads_data |= commit.checks.iter().any(|check| check.space.database() == Database::Data),
            Database::Data => self.sync_data |= commit.durability == Durability::Synced,
        }
        Ok(Some(database))
    }
}

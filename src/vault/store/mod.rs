//! The contract of a store: two databases, read by key and range, changed only by commits with preconditions.
//!
//! Only ciphertext, wrapped pages and rows of tokens and numbers come here. A commit writes to one of
//! the two databases and may check rows of both; all commits form one serial order. A commit to the
//! control store is durable there *and* in the mirror before it is answered. Read [`Store`] first.

use async_trait::async_trait;
use bytes::Bytes;

use self::schema::KeyRange;
use crate::domain::SnapshotId;

#[cfg(test)]
pub(crate) mod contract;
pub mod embedded;
pub mod schema;

/// A key space of a database. Keys within it are made by [`schema`] alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    /// Control: forest, tenants, collections, tokens, shred log, leases.
    Control,
    /// Control: audit entries of what changes control rows.
    ControlAudit,
    /// Data: sealed records and manifests.
    Records,
    /// Data: rows of large values.
    Blobs,
    /// Data: units, subject index, uploads, idempotency replies, reclaim queue.
    Index,
    /// Data: audit entries of what reads or changes data rows.
    DataAudit,
}

/// One of the two databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Database {
    /// Small, mirrored, never restored to an earlier date alone.
    Control,
    /// Large, restorable from any date.
    Data,
}

impl Space {
    /// The database a space lies in.
    #[must_use]
    pub const fn database(self) -> Database {
        match self {
            Self::Control | Self::ControlAudit => Database::Control,
            Self::Records | Self::Blobs | Self::Index | Self::DataAudit => Database::Data,
        }
    }
}

/// What a row must be for a commit to go through.
#[derive(Debug, Clone)]
pub enum Expect {
    /// No such row.
    Absent,
    /// A row, whatever it holds.
    Present,
    /// A row with exactly this value.
    Equals(Bytes),
    /// A row whose value begins so: a record's 22-byte header.
    Prefix(Bytes),
}

/// A precondition.
#[derive(Debug, Clone)]
pub struct Check {
    /// Where.
    pub space: Space,
    /// Which row.
    pub key: Bytes,
    /// What it must be.
    pub expect: Expect,
}

/// A change.
#[derive(Debug, Clone)]
pub enum Write {
    /// Sets a row.
    Put {
        /// Where.
        space: Space,
        /// Which row.
        key: Bytes,
        /// Its new value: ciphertext, or a control row of tokens and numbers.
        value: Bytes,
    },
    /// Removes a row; no error if absent.
    Delete {
        /// Where.
        space: Space,
        /// Which row.
        key: Bytes,
    },
    /// Removes all rows with `from <= key < to`.
    DeleteRange {
        /// Where.
        space: Space,
        /// First key.
        from: Bytes,
        /// First key that stays.
        to: Bytes,
    },
}

/// When a commit is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Handed to the operating system: survives a killed process, not a power cut.
    Written,
    /// Synced to disk.
    Synced,
}

/// What a full disk refuses first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Refused as soon as the reserve is touched.
    Normal,
    /// Audited reads, denials, deletes, shreds: go on while the reserve lasts.
    Essential,
}

/// Rows that can only be made once a commit's place in the order is known: the audit entry, whose
/// chain value and number depend on the entry before it. Called by the committer, synchronously.
pub trait Tail: Send {
    /// The rows, made after the checks passed and before anything is written; all in the commit's database.
    ///
    /// # Errors
    /// A [`StoreError`] fails this commit alone.
    fn rows(&mut self) -> Result<Vec<Write>, StoreError>;
    /// Told once after a [`Tail::rows`] that succeeded: whether the rows are in the store. On `false`, called in reverse
    /// order of the group, the tail puts its chain back to where it was.
    fn settled(&mut self, stored: bool);
    /// Told, after that, why the commit is not stored; also where its rows were not made, or not asked for.
    fn refused(&mut self, _error: &StoreError) {}
}

/// A change with its preconditions. All writes lie in one database.
pub struct Commit {
    /// All must hold, in the committer's order.
    pub checks: Vec<Check>,
    /// All are applied, or none.
    pub writes: Vec<Write>,
    /// Rows made in the committer, applied with `writes`.
    pub tail: Option<Box<dyn Tail>>,
    /// When it is answered.
    pub durability: Durability,
    /// What a full disk does to it.
    pub urgency: Urgency,
}

/// Rows of the control store that are on disk before a commit to the data store is.
pub struct Before {
    /// What they must find, beside what the commit itself must.
    pub checks: Vec<Check>,
    /// The rows.
    pub writes: Vec<Write>,
    /// Rows made in the committer, applied with `writes`.
    pub tail: Option<Box<dyn Tail>>,
}

/// What a commit was answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The control store's sequence number after this commit.
    pub control_seq: u64,
}

/// Why a store did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The check with this index did not hold; nothing was done.
    #[error("precondition {0} failed")]
    Conflict(usize),
    /// The committer's queue is full: try again later; nothing was done.
    #[error("commit queue is full")]
    Busy,
    /// The disk, or what the reserve leaves for this urgency, is full; nothing was done.
    #[error("disk is full")]
    DiskFull,
    /// The store is closing or failed earlier and takes no more commits.
    #[error("store is closed")]
    Closed,
    /// An input or output error; whether a commit was done is unknown until the next start.
    #[error("input/output error: {0}")]
    Io(String),
    /// Stored bytes are damaged; names the place.
    #[error("store is damaged: {0}")]
    Damaged(String),
    /// The caller broke the contract: writes to two databases, a row over 100 kB.
    #[error("invalid commit: {0}")]
    Invalid(&'static str),
}

/// One row of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
}

/// The data store's files as they were at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSnapshot {
    /// The snapshot's directory.
    pub dir: std::path::PathBuf,
    /// How many records there are, as the engine estimates.
    pub records_estimate: u64,
}

/// A key-value store of two databases. Two implementations, one contract, one suite of tests.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The value of a row. Sees every commit that was answered before the call.
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// The values of rows of one space, in the order of `keys`: as [`Store::get`] would give each.
    async fn get_many(&self, space: Space, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            values.push(self.get(space, key).await?);
        }
        Ok(values)
    }

    /// Rows with `from <= key < to` in key order, at most `limit`.
    async fn scan(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError>;

    /// The rows of ranges of one space, in the order of `ranges`: as [`Store::scan`] would give those of each, at most `limit` of it.
    async fn scan_each(&self, space: Space, ranges: &[KeyRange], limit: usize) -> Result<Vec<Vec<Row>>, StoreError> {
        let mut each = Vec::with_capacity(ranges.len());
        for range in ranges {
            each.push(self.scan(space, &range.from, &range.to, limit).await?);
        }
        Ok(each)
    }

    /// Applies a commit, all or nothing, and answers when it is as durable as asked.
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError>;

    /// Applies a commit to the data store behind rows of the control store that it rests on. The commit's checks hold of both, and
    /// after a crash, or an error, the rows may be there without the commit, never the other way round. A conflict is told by its place
    /// among the commit's checks, and `before`'s behind them.
    async fn commit_behind(&self, before: Before, mut commit: Commit) -> Result<Committed, StoreError> {
        let control = |check: &&Check| check.space.database() == Database::Control;
        let (places, checks): (Vec<usize>, Vec<Check>) = (0..)
            .zip(commit.checks.iter().chain(&before.checks))
            .filter(|(_, check)| control(check))
            .map(|(place, check)| (place, check.clone()))
            .unzip();
        commit.checks.extend(before.writes.iter().filter_map(|write| match write {
            Write::Put { space, key, value } => Some(Check { space: *space, key: key.clone(), expect: Expect::Equals(value.clone()) }),
            Write::Delete { space, key } => Some(Check { space: *space, key: key.clone(), expect: Expect::Absent }),
            Write::DeleteRange { .. } => None,
        }));
        let first = Commit { checks, writes: before.writes, tail: before.tail, durability: Durability::Synced, urgency: commit.urgency };
        match self.commit(first).await {
            Err(StoreError::Conflict(at)) => return Err(StoreError::Conflict(places.get(at).copied().unwrap_or(at))),
            other => other?,
        };
        self.commit(commit).await
    }

    /// Makes the mirror equal the control store, durably, and reads it back. The mirror of an answered
    /// commit is always current; this is for the start, where the last commit may have been cut short.
    async fn sync_mirror(&self) -> Result<(), StoreError>;

    /// Compacts ranges so that deleted rows leave the files too. Long; runs beside other work.
    async fn compact(&self, space: Space, ranges: &[KeyRange]) -> Result<(), StoreError>;

    /// Lets files go, unread, that hold nothing but rows of a range. Of the range any row may be there afterwards, one that was deleted
    /// before too, or none: who asks deletes the range in a commit behind it. An engine without such files has nothing to do.
    async fn drop_files(&self, _space: Space, _range: &KeyRange) -> Result<(), StoreError> {
        Ok(())
    }

    /// Keeps the data store's files as they are now, to be copied.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] from a store that has no files; [`StoreError::DiskFull`].
    async fn take_snapshot(&self, _id: SnapshotId) -> Result<DataSnapshot, StoreError> {
        Err(StoreError::Invalid("this store has no files to keep"))
    }

    /// Lets the files of a snapshot go.
    ///
    /// # Errors
    /// Those of the disk; no snapshot of that id is no error.
    async fn release_snapshot(&self, _id: SnapshotId) -> Result<(), StoreError> {
        Ok(())
    }

    /// Lets go the snapshots that nobody copies from any more; how many.
    ///
    /// # Errors
    /// Those of the disk.
    async fn sweep_snapshots(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    /// Whether it takes what a server must be able to write.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] once the reserve of a full disk is spent, its own or the mirror's; [`StoreError::Closed`] after a
    /// write failed.
    fn takes_commits(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Resolves once every further copy of the control store that is to confirm the end of an epoch has, durably, what was committed
    /// before the call, and within a bounded time: others wait for who asks.
    ///
    /// # Errors
    /// [`StoreError::Io`] names the first that has not, or does not answer.
    async fn confirm_copies(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The same for who holds nobody up: waits for a copy as long as it comes on.
    ///
    /// # Errors
    /// As [`Store::confirm_copies`].
    async fn catch_up_copies(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The first of these copies that fails, or does not answer: its place in the settings, from 1 on, and why.
    fn failing_copy(&self) -> Option<(usize, StoreError)> {
        None
    }

    /// Sets the gauges that are looked at rather than counted.
    fn observe(&self) {}
}

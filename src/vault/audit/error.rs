//! What can go wrong in this room, by what the caller can do.

use super::{entry::EntryError, tlog::LogError};
use crate::vault::{
    crypto::OpenError,
    keys::{KeysError, LendError},
    store::StoreError,
};

/// Why an entry was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The store did not take or give it: the request fails with 503.
    #[error("audit store: {0}")]
    Store(#[from] StoreError),
    /// The tenant's audit unit could not be loaded.
    #[error("audit unit: {0}")]
    Keys(#[from] KeysError),
    /// The tenant's audit unit was shredded, or is about to be.
    #[error("audit unit: {0}")]
    Lend(#[from] LendError),
    /// The entry cannot be encoded, or the stored one not decoded.
    #[error("{0}")]
    Entry(#[from] EntryError),
    /// A stored entry does not open.
    #[error("audit entry: {0}")]
    Open(#[from] OpenError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A receipt was asked for before its commit went through.
    #[error("entry is not written")]
    NotWritten,
    /// The cursor is none of ours.
    #[error("malformed cursor")]
    Cursor,
    /// A row of this room does not hold what it must; names it.
    #[error("damaged row: {0}")]
    Damaged(&'static str),
}

//! What keys refuse, by what the caller can do about it.

use crate::vault::{crypto::OpenError, store::StoreError};

use super::custody::CustodyError;

/// Why the forest did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// The store refused; for [`StoreError::Conflict`] the index is that of the caller's own checks.
    #[error("store: {0}")]
    Store(#[source] StoreError),
    /// Custody refused.
    #[error("custody: {0}")]
    Custody(#[source] CustodyError),
    /// The tenant was shredded.
    #[error("shredded")]
    Shredded,
    /// No such tenant or unit was ever made.
    #[error("no such tenant or unit")]
    Unknown,
    /// More targets than one epoch takes, or no number left to lease.
    #[error("too many")]
    TooMany,
    /// A page or row of the forest does not open or is not what it should be; names the kind of row.
    #[error("forest is damaged: {0}")]
    Damaged(&'static str),
    /// An epoch was cut short; the next start finishes it.
    #[error("an epoch was cut short, restart to finish it")]
    Restart,
    /// The self-check after a shred failed; nothing may be acknowledged.
    #[error("self-check failed: {0}")]
    SelfCheck(&'static str),
    /// The start was refused.
    #[error("{0}")]
    Start(#[source] StartError),
}

/// Why a start is refused: custody and the control store do not belong together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Custody is ahead: the control store is lost or an old copy. Recover it from the mirror.
    #[error(
        "tree-behind-custody: the control store is older than custody: it is lost or an old copy; put today's mirror back, then run lethe recover control"
    )]
    TreeBehindCustody,
    /// Custody is behind: an old copy of it was put back.
    #[error("custody-rollback: custody is older than the control store: an old copy of it was put back; find the present one")]
    CustodyRollback,
    /// The components hold different roots: one of them is an old copy. Names those without the present root.
    #[error("custody-mixed: the custody components do not belong together; the present root is not in: {0}; find the present copy")]
    CustodyMixed(String),
    /// A component holds nothing; names it.
    #[error("custody-component-empty: a custody component holds nothing: {0}; it is a wrong path or a lost medium")]
    ComponentEmpty(String),
    /// Custody holds another root of the same epoch.
    #[error("custody-foreign-root: custody holds another root of the same epoch: it is of a copy of this store that went its own way")]
    ForeignRoot,
    /// Nothing was ever made here.
    #[error("not-initialised: there is no key forest")]
    NotInitialised,
    /// Custody already holds a root.
    #[error("already-initialised: custody or the control store is not empty")]
    AlreadyInitialised,
    /// The mirror cannot be brought up to date, so the old root is not destroyed and nothing is served.
    #[error("mirror-missing: the mirror cannot be brought up to date ({0}); repair its disk: no mirror, no shred, no service")]
    MirrorMissing(#[source] StoreError),
    /// A further copy that is to confirm the end of an epoch does not have it, so the old root is not destroyed and nothing is served.
    #[error(
        "copy-missing: an epoch that was cut short waits for a copy of the control store ({0}); repair its disk, or take it out of control.copies"
    )]
    CopyMissing(#[source] StoreError),
}

impl StartError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TreeBehindCustody => "tree-behind-custody",
            Self::CustodyRollback => "custody-rollback",
            Self::CustodyMixed(_) => "custody-mixed",
            Self::ComponentEmpty(_) => "custody-component-empty",
            Self::ForeignRoot => "custody-foreign-root",
            Self::NotInitialised => "not-initialised",
            Self::AlreadyInitialised => "already-initialised",
            Self::MirrorMissing(_) => "mirror-missing",
            Self::CopyMissing(_) => "copy-missing",
        }
    }
}

impl KeysError {
    /// A page that does not open.
    pub(super) fn page(error: OpenError) -> Self {
        error.counted();
        Self::Damaged("page")
    }
}

impl From<StoreError> for KeysError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<CustodyError> for KeysError {
    fn from(error: CustodyError) -> Self {
        Self::Custody(error)
    }
}

impl From<StartError> for KeysError {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

/// Why a key was not lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LendError {
    /// Not in the cache: load the unit or tenant, then ask again.
    #[error("not loaded")]
    Missing,
    /// The key was replaced: 410.
    #[error("shredded")]
    Shredded,
    /// A shred of it has begun: 410.
    #[error("pending")]
    Pending,
}

//! Custody: who keeps the components of the root secret, and can prove that one was destroyed.
//!
//! A component is 32 random bytes for each epoch, the only bytes of a store that must be erasable. Kinds:
//! [`FileCustody`](file::FileCustody) here; KMS, HSM and TPM kinds implement the same [`Custody`]. Several are combined all-of
//! (`composite`), and all calls are made on one thread of their own (`desk`), so that neither a
//! sync nor a slow device holds up a request. Read [`Custody`] first.

use zeroize::Zeroizing;

use crate::domain::{Epoch, RootId, Timestamp};

pub(in crate::vault::keys) mod composite;
pub(in crate::vault::keys) mod desk;
pub mod file;
mod medium;

/// One root component, held.
pub struct Held {
    /// The epoch it was made for.
    pub epoch: Epoch,
    /// Its root secret's id, the same in every component.
    pub root_id: RootId,
    /// The component; boxed, so that moving the holder leaves no copy behind.
    pub secret: Box<Zeroizing<[u8; 32]>>,
}

/// What a destruction on this custody is worth, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Overwritten, but the file system may keep the old bytes: copy-on-write, overlay, network, journalled data.
    Logical,
    /// Overwritten in place on the volume that also holds the data: an image of it holds both.
    SharedVolume,
    /// Overwritten in place on flash or an unknown medium: gone from the device's interface, not from its cells.
    Interface,
    /// Overwritten in place on a rotating disk.
    Medium,
}

impl Level {
    /// The word in receipts and certificates.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logical => "logical",
            Self::SharedVolume => "shared-volume",
            Self::Interface => "interface",
            Self::Medium => "medium",
        }
    }

    /// Whether old components may still be read from where they were, or beside the data: custody could lie better.
    #[must_use]
    pub const fn is_lowered(self) -> bool {
        match self {
            Self::Logical | Self::SharedVolume => true,
            Self::Interface | Self::Medium => false,
        }
    }
}

/// A custodian's word that a component is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestroyReceipt {
    /// The custody's kind.
    pub kind: &'static str,
    /// From when nobody can use the component.
    pub effective_at: Timestamp,
    /// From when the custodian cannot bring it back either.
    pub final_at: Timestamp,
    /// What the destruction is worth.
    pub level: Level,
    /// How it was done and checked: short `name=value` words, no paths.
    pub evidence: Vec<String>,
}

/// What a custody is, for start-up, `doctor` and certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The custody's kind.
    pub kind: &'static str,
    /// Where it is, for people who may know.
    pub place: String,
    /// The level its receipts will have.
    pub level: Level,
    /// What lowers or explains the level: short `name=value` words, no paths.
    pub evidence: Vec<String>,
}

/// Why a custody did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CustodyError {
    /// It is not where it should be.
    #[error("custody is missing")]
    Missing,
    /// It belongs to another store.
    #[error("custody belongs to another store")]
    Foreign,
    /// Others may read or replace it; says what to change.
    #[error("custody is not private: {0}")]
    Exposed(&'static str),
    /// Its format is not one this program knows.
    #[error("custody has an unknown format")]
    Format,
    /// It has no room for another component: an old one was not destroyed.
    #[error("custody is full")]
    Full,
    /// What was read back is not what was written.
    #[error("custody did not keep what was written")]
    ReadBack,
    /// An input or output error, or a custodian that does not answer.
    #[error("custody input/output error: {0}")]
    Io(String),
}

impl From<std::io::Error> for CustodyError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::NotFound { Self::Missing } else { Self::Io(error.to_string()) }
    }
}

impl From<rustix::io::Errno> for CustodyError {
    fn from(error: rustix::io::Errno) -> Self {
        std::io::Error::from(error).into()
    }
}

/// A keeper of root components. Calls may block; each is durable when it returns.
pub trait Custody: Send + Sync {
    /// The word for this kind in receipts: `file`.
    fn kind(&self) -> &'static str;

    /// Every component held now.
    ///
    /// # Errors
    /// [`CustodyError`]; an empty custody is no error.
    fn load(&self) -> Result<Vec<Held>, CustodyError>;

    /// Keeps a new component beside the present one. [barrier 1]
    ///
    /// # Errors
    /// [`CustodyError::Full`] while an older one waits to be destroyed.
    fn prepare(&self, epoch: Epoch, root_id: RootId, secret: &[u8; 32]) -> Result<(), CustodyError>;

    /// Destroys a component and checks that it is gone; again is no error. [barrier 3]
    ///
    /// # Errors
    /// [`CustodyError`]: the component may still be held.
    fn destroy(&self, root_id: RootId) -> Result<DestroyReceipt, CustodyError>;

    /// The receipt of a component that is gone: of its [`Custody::destroy`], or as of now where the custody no longer knows of
    /// that. `None` while it is, or may be, held. Changes nothing.
    ///
    /// # Errors
    /// [`CustodyError`].
    fn destroyed(&self, root_id: RootId) -> Result<Option<DestroyReceipt>, CustodyError>;

    /// Clears what a prepare or destroy that was cut short left behind. Called only when the
    /// present root is known to be held by every component.
    ///
    /// # Errors
    /// [`CustodyError`].
    fn scrub(&self) -> Result<(), CustodyError>;

    /// What it is and what its receipts will be worth.
    ///
    /// # Errors
    /// [`CustodyError`].
    fn describe(&self) -> Result<Description, CustodyError>;
}

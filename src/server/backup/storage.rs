//! Where backups lie, as far as backups need to know it: objects by name, of which small ones are read and published whole, and
//! files are kept under their SHA-256. A directory ([`directory`](super::directory)) and a bucket ([`s3`]) are the two there are.
//!
//! The names are those of `docs/format.md`, "Backups", in either: what is copied from the one to the other, name by name, is a place
//! of backups there.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::{BackupError, Progress, directory::Directory, s3};

/// The object that says whose backups these are.
pub(super) const FORMAT_NAME: &str = "format";
/// The object that is there, or locked, while somebody changes the place.
pub(super) const LOCK_NAME: &str = "lock";
/// Where files lie, by their SHA-256.
pub(super) const FILES: &str = "files";
/// Where manifests lie, by their number.
pub(super) const GENERATIONS: &str = "generations";

/// Where backups lie, as somebody names it.
#[derive(Debug, Clone)]
pub enum Location {
    /// A directory of this machine.
    Directory(PathBuf),
    /// What lies below a prefix in a bucket.
    Bucket(Box<s3::Settings>),
}

impl Location {
    /// The storage; nothing is looked at or made yet.
    pub(super) fn open(&self) -> Result<Box<dyn Storage>, BackupError> {
        match self {
            Self::Directory(dir) => Ok(Box::new(Directory::at(dir))),
            Self::Bucket(settings) => Ok(Box::new(s3::Bucket::of(settings)?)),
        }
    }
}

impl From<&Path> for Location {
    fn from(dir: &Path) -> Self {
        Self::Directory(dir.to_owned())
    }
}

/// What backup, list, verify, prune, restore and rehearse need of the place of backups, and no more.
pub(super) trait Storage: fmt::Debug + Send + Sync {
    /// How an object is called in messages; the place itself, by an empty name.
    fn shown(&self, name: &str) -> String;

    /// Makes the place where it is not there yet, locks it, and clears it of what a run that was cut short left half-written.
    ///
    /// # Errors
    /// [`BackupError::NotEmpty`] where something else is in it; [`BackupError::Locked`].
    fn make(&mut self) -> Result<(), BackupError>;

    /// Keeps others from changing the place until this value is dropped. Where the lock was lost, it is taken anew.
    ///
    /// # Errors
    /// [`BackupError::Locked`].
    fn lock(&mut self) -> Result<(), BackupError>;

    /// Returns when it is certain that nobody else has had the lock since it was taken.
    ///
    /// # Errors
    /// [`BackupError::Locked`] where somebody has; any other where it is not known.
    fn prove(&self) -> Result<(), BackupError>;

    /// All of a small object; `None` where there is none.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, BackupError>;

    /// Makes a small object, whole and durable, or not at all; false where there is one of that name.
    fn publish(&self, name: &str, bytes: &[u8]) -> Result<bool, BackupError>;

    /// Names and lengths of what lies in a part, in no order.
    fn list(&self, part: &str) -> Result<Vec<(String, u64)>, BackupError>;

    /// Removes objects of a part, durably.
    fn remove(&self, part: &str, names: &[String]) -> Result<(), BackupError>;

    /// Copies a file of this machine to `files/SHA256`; its SHA-256 and length. `at` is a number that no other file of this run has;
    /// `digest` is both of them, where they are known.
    fn bring(&self, at: usize, from: &Path, digest: Option<(String, u64)>, progress: Progress<'_>) -> Result<(String, u64), BackupError>;

    /// Reads `files/SHA256` to its end, into a new file where one is named, durably; the SHA-256 and the length of what was read, or
    /// `None` where it is not there. On a failure nothing is left at `to`.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] where it is longer than `len`: no more is read.
    fn fetch(&self, sha256: &str, len: u64, to: Option<&Path>, progress: Progress<'_>) -> Result<Option<(String, u64)>, BackupError>;

    /// Returns when all that was brought stays there, whatever happens to this machine, and may be relied on by a manifest.
    fn settle(&self) -> Result<(), BackupError>;

    /// How many files are copied at a time.
    fn at_a_time(&self) -> usize;
}

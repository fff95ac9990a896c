//! Evidence: audit chains, certificates, and the log that both are held against.
//!
//! ```text
//! change -> Entry -> tail of its commit: numbered, chained, sealed in the committer -> Receipt
//! read   -> Entry -> the queue of its chain -> with all that wait, the tail of one commit -> Receipt
//! heads of chains, certificates, epochs -> leaves of the log -> signed checkpoint
//! ```
//! * What was not written is not answered: without a [`Receipt`](crate::vault::crypto::Receipt) no plaintext leaves.
//! * A tenant's trail is one chain for each process start and store; numbers have no gaps but those that are stated.
//! * Certificates and the log can be checked offline with the store's public key: [`certificate`], [`note`], [`tlog`], [`verify`].
//!
//! Read [`Audit`] first, then `entry`. Every byte is described in `docs/format.md`.

pub mod action;
pub mod certificate;
pub mod chain;
pub mod checkpoint;
mod checkpoints;
pub mod commitments;
pub mod entry;
mod error;
mod fields;
pub mod heads;
pub mod journal;
pub mod leaf;
mod log_thread;
pub mod merkle;
pub mod note;
mod reader;
mod runs;
mod tails;
pub mod tiles;
pub mod tlog;
pub mod verify;
mod writer;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use action::{Action, Reason, Role};
pub use chain::Trail;
pub use checkpoints::{Lag, Logged, known_log_head, log_head_key};
pub use entry::{Entry, Gap, Outcome, PurposeToken, Target};
pub use error::AuditError;
pub use reader::{TrailEntry, TrailPage};
pub use tails::{LeftTail, LostTail};
pub use writer::{Audit, AuditOptions, LogPlace, PendingReceipt, PreparedTail};

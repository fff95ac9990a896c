//! Evidence: audit chains, certificates, and the log that both are held against.
//!
//! * [`note`], [`certificate`] with [`commitments`]: signed statements that anyone can check with the store's public key.
//! * [`tlog`] on [`merkle`], [`tiles`], [`checkpoint`]: the transparency log, in tiles on disk.

pub mod certificate;
pub mod checkpoint;
pub mod commitments;
mod fields;
pub mod merkle;
pub mod note;
pub mod tiles;
pub mod tlog;

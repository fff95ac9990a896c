//! One tenant as a bundle: all that it holds, in one stream that is sealed for somebody outside and can be imported by another store.
//!
//! ```text
//! header | collections | records with values | persons | what was reported of persons | holds | grants | certificates | heads | trail | trailer
//! ```
//! * [`frames`]: how the parts follow each other; [`documents`]: what is in them.
//! * [`checker`]: that a bundle is whole and in order: a running hash over its frames, which its store signs at the end.
//! * [`export`]: makes one. Nothing is on a disk; memory is a page of records.
//! * [`import`]: takes one in, frame by frame, into a tenant that serves nothing until all of it is there.
//!
//! Every byte is described in `docs/export.md`.

pub mod checker;
pub mod documents;
mod export;
pub mod frames;
mod import;

pub use checker::{Checker, Part, Progress, Way};
pub use export::ExportTenant;
pub use frames::{Frame, Frames, Kind};
pub use import::{ImportPart, ImportView};

pub use crate::vault::crypto::{AgeError, Identity, Incoming};

/// What the header says of the format.
pub const FORMAT: &str = "lethe-tenant-bundle";
/// The version of it that this program writes and reads.
pub const VERSION: u32 = 1;

/// Why a bundle is refused. Names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// It does not begin as one.
    #[error("not a bundle of a tenant")]
    NotABundle,
    /// Of another version.
    #[error("a bundle of version {0}, this program knows {known}", known = VERSION)]
    Version(u32),
    /// A frame of no kind.
    #[error("a frame of kind {0}, which is none")]
    Kind(u8),
    /// A frame over its longest.
    #[error("a frame of {} is too long", .0.name())]
    TooLong(Kind),
    /// A frame in the wrong place.
    #[error("a frame of {} is out of order", .0.name())]
    Order(Kind),
    /// A frame whose content is not what it must be.
    #[error("a frame of {} is malformed", .0.name())]
    Form(Kind),
    /// Parts of a value that do not add up to it.
    #[error("a value has another length than its record says")]
    Value,
    /// A sealed frame that was opened to another than what was sealed, or was not opened.
    #[error("a sealed frame was not opened, or not to what was sealed")]
    Sealed,
    /// The running hash is not that of the trailer.
    #[error("the hash over all frames is not that of the trailer")]
    Chain,
    /// The counts are not those of the trailer.
    #[error("the numbers of frames are not those of the trailer")]
    Counts,
    /// The trailer is not signed by the store that the header names.
    #[error("the trailer is not signed by this key")]
    Signature,
    /// It ends before its trailer.
    #[error("the bundle is cut short")]
    Cut,
    /// Something follows the trailer.
    #[error("something follows the trailer")]
    Behind,
}

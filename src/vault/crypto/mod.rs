//! Pure functions on bytes: keys, derivation, sealing, wrapping, tokens. No I/O, no clock, no async.
//!
//! ```text
//! custody components -> Key<Root> -> Key<Branch> (pages of 64 slots, levels up to the leaf)
//!   tenant tree leaf: Key<TenantSecret> -> Key<Name>, Key<Meta>      Key<Branch> of the unit tree
//!   unit tree leaf:   Key<Unit> -> Key<Data> -> Sealed<Record>, Sealed<Blob>, ..
//! ```
//! * A key for keys wraps pages, a key for content seals content: different types, different verbs.
//! * Nothing is sealed or opened without a [`Context`], which names the place it lies in.
//! * Every input of a derivation is length-prefixed or of fixed length; all labels stand in `labels`.
//! * Keys and plaintext are boxed and wiped on drop; neither can be cloned, compared or printed.
//! * What leaves for somebody outside is sealed for a recipient: `age`.
//!
//! Read `key` first, then `envelope`. Every stored byte is described in `docs/format.md`.

mod age;
mod cobblestone;
mod content;
mod context;
mod envelope;
mod error;
mod gcm;
pub mod hash;
mod header;
mod kdf;
mod key;
mod labels;
mod manifest;
mod names;
mod page;
mod plaintext;
pub mod random;
mod record_meta;
pub(in crate::vault) mod residue;
mod sealed;
mod stream;
mod suite;

pub use age::{AgeError, Identity, IdentityError, Incoming, Outgoing, Recipient, RecipientError, TooManyChunks};
pub use content::{
    ApprovalMeta, AuditEntry, AuditTarget, Blob, Chunk, CollectionMeta, Content, Cursor, DueEnd, DuePlaces, HoldMeta, Kind, LeftEvents,
    Record, ReportMeta, ShredAnswer, SubjectAliases, SubjectEvents, TenantMeta, TokenMeta, Value,
};
pub use context::Context;
pub use envelope::OpenedRecord;
pub use error::{OpenError, OpenReason};
pub use header::{FLAG_MANIFEST, FLAG_TOMBSTONE, RECORD_HEADER_LEN, RecordHeader};
pub(in crate::vault) use kdf::derive_root;
pub use key::{Branch, Data, Key, Meta, Name, Role, Root, SealsContent, TenantSecret, Unit};
pub use manifest::{BlobStart, Manifest};
pub use names::Token;
pub use page::{FANOUT, PAGE_LEN, PageId, PageSlots, SLOTS_LEN, SlotIndex, page_epoch};
pub use plaintext::{Plaintext, Receipt};
pub use record_meta::{EncodedMeta, MetaTooLong};
pub use sealed::Sealed;
pub use stream::{BlobReader, BlobWriter, ROW_LEN, SealError, rows_of};
pub use suite::Suite;

#[cfg(test)]
mod tests;

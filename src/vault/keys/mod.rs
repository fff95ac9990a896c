//! The key forest: makes, lends and destroys keys; the heart of the sealed room.
//!
//! ```text
//! custody components --derive--> top key --wraps--> tenant tree --slot 2n+1--> unit tree of tenant n --slot--> unit key
//!                                                             \--slot 2n----> tenant secret
//! ```
//! * A key is lent to a synchronous closure and dies with it; nothing here hands one out or holds one across an await.
//! * Between the root and a unit every key is random; a shred replaces all of them on the way ([`shred`]).
//! * At start, custody and the control store must name the same root, or the start is refused ([`recovery`]).
//!
//! Read [`shred`] first, then [`forest`], [`recovery`], [`custody`].

mod cache;
pub mod custody;
mod error;
mod fence;
pub mod forest;
pub mod hygiene;
mod leases;
pub mod recovery;
mod rekey;
mod rows;
pub mod shred;
mod slab;
mod tree;

#[cfg(test)]
mod closure;
#[cfg(test)]
mod cut_short;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use custody::{Custody, CustodyError, Description, DestroyReceipt, Held, Level, file::FileCustody};
pub use error::{KeysError, LendError, StartError};
pub use fence::Fence;
pub use forest::{Forest, ForestOptions, TreeRow};
pub use leases::LeaseKind;
pub use recovery::{Ground, Recovery, StartRow};
pub use rows::{EpochRecord, ShredDone, ShredTarget, root_epoch};
pub use shred::{EpochReport, Extra, MAX_KEPT, MAX_TARGETS, Timings};

use crate::domain::{Gen, Slot, TenantNo};

/// A unit's key, named: which slot, and which generation of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UnitRef {
    /// The tenant.
    pub tenant: TenantNo,
    /// The slot in its unit tree.
    pub slot: Slot,
    /// The generation; another one than the slot's means shredded.
    pub generation: Gen,
}

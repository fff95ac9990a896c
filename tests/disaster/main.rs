//! The real program against lost and damaged parts, failing and full disks, and power cuts: what it says, and that nothing
//! acknowledged is lost. A library put before the C library makes system calls fail, kills the process at one of them, or
//! tells what was synced; it is compiled by the test with `cc`.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests fail by panicking")]

mod backups;
mod backups_cut;
mod backups_durable;
mod backups_mixed;
mod bucket;
mod buckets;
mod buckets_cut;
#[path = "../shared/disk.rs"]
mod disk;
mod faults;
mod full;
mod power;
mod power_shred;
#[path = "../shared/privilege.rs"]
mod privilege;
mod reads;
mod recover;
mod refusals;
mod rehearsed;
mod shim;
mod shipped;
mod site;

//! The HTTP door, from outside: real servers on loopback over stores in temporary directories.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests fail by panicking")]

#[path = "shared/age.rs"]
mod age;
#[path = "shared/disk.rs"]
mod disk;
#[path = "shared/privilege.rs"]
mod privilege;

mod api {
    pub(crate) mod client;
    pub(crate) mod site;

    mod access;
    mod aliases;
    mod approvals;
    mod bad_input;
    mod bundles;
    mod connections;
    mod credentials;
    mod flow;
    mod forgotten;
    mod h2;
    mod holds;
    mod idempotency;
    mod limits;
    mod meanwhile;
    mod minimums;
    mod moved;
    mod operators;
    mod purposes;
    mod put_back;
    mod races;
    mod records;
    mod refused;
    mod retention;
    mod shredding;
    mod termination;
}

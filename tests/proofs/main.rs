//! The promises, each tried to be broken: against the real engine, real custody and real keys, in temp directories.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::large_stack_arrays, reason = "tests")]

#[path = "../shared/age.rs"]
mod age;
mod aliases;
mod approvals;
mod bundle;
mod check;
mod cost;
mod cut_short;
mod damage;
mod draw;
mod due;
mod dying;
mod epochs;
mod erased;
mod events;
mod evidence;
mod harness;
mod holds;
mod kept;
mod marks;
mod meddling;
mod model;
mod orders;
mod policies;
mod promises;
mod races;
mod reclaiming;
mod reports;
mod restore;
mod retention;
mod retention_model;
mod rows;
mod sizes;
mod sweeping;
mod tamper;
mod termination;
mod tokens;

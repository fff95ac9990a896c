//! The sealed room: only here do keys and readable plaintext exist.

pub mod audit;
pub mod crypto;
pub mod keys;
pub mod ops;
pub mod store;

//! Lethe: an encrypted key-value store for customer data that can forget.
//!
//! The path of a request, and what each room hands on:
//!
//! ```text
//! bytes -> http -> Caller -> vault::ops -> answer
//!          authn: credential -> Principal        authz: Principal x Action x Resource -> Permit
//!          vault: rows of ciphertext -> Sealed<T> -> Plaintext<T> + Receipt -> bytes that may leave
//! ```
//!
//! | room | what it is for |
//! |-|-|
//! | [`domain`] | the words as types: ids, names, policies, limits, time |
//! | [`http`] | the door for programs: bytes to typed requests and back, problem documents, TLS |
//! | [`authn`] | who asks: a token becomes a principal |
//! | [`authz`] | who may: one table of roles, actions and resources |
//! | [`vault`] | the sealed room: operations, audit, keys, store, cryptography |
//! | [`jobs`] | background work, pass by pass |
//! | [`server`] | opens the rooms in order, serves, goes down |
//! | [`config`], [`telemetry`] | the settings; logs, traces and every metric |
//! | [`cli`] | the command line, one subcommand a file |
//!
//! Arrows go one way: cli -> server -> { http, jobs } -> `vault::ops` -> authz -> authn -> domain, and inside the vault
//! ops -> audit -> keys -> store -> crypto -> domain. A test holds the `use` lines to it.

use std::sync::{Once, OnceLock};

/// Whether the fault of this name is planted in this process. A macro, for no room may name another by a path.
macro_rules! fault {
    ($name:literal) => {
        $crate::fault($name)
    };
}

pub mod authn;
pub mod authz;
pub mod cli;
pub mod config;
#[cfg(test)]
mod documents;
pub mod domain;
pub mod http;
pub mod jobs;
pub mod server;
#[cfg(test)]
mod structure;
pub mod telemetry;
pub mod vault;

/// Whether the fault of this name is planted: that of the variable `LETHE_FAULT`, read once. The first time that it makes a difference,
/// the file that `LETHE_FAULT_SEEN` names is written, so that a fault nobody meets is told from one that nobody finds.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "faults are planted for one run of the tests, and never land")]
pub fn fault(name: &str) -> bool {
    static FAULT: OnceLock<String> = OnceLock::new();
    static SEEN: Once = Once::new();
    let variable = |of: &str| std::env::var(of).unwrap_or_default();
    let is_planted = FAULT.get_or_init(|| variable("LETHE_FAULT")).as_str() == name;
    if is_planted {
        SEEN.call_once(|| drop(std::fs::write(variable("LETHE_FAULT_SEEN"), name)));
    }
    is_planted
}

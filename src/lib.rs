//! Lethe: an encrypted key-value store for customer data that can forget.

pub mod authn;
pub mod authz;
pub mod cli;
pub mod config;
pub mod domain;
pub mod http;
pub mod jobs;
pub mod server;
pub mod telemetry;
pub mod vault;

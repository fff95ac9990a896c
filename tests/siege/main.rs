//! The real program as a child process, besieged: killed, signalled, searched for what must not be there.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests fail by panicking")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "seeds and counts are for who reads the test's output")]

#[path = "../shared/age.rs"]
mod age;
mod bounded;
mod canary;
mod client;
mod keeper;
mod kill;
mod memory;
#[path = "../shared/privilege.rs"]
mod privilege;
mod random;
mod retention;
mod scan;
mod signals;
mod site;

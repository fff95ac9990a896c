//! `lethe export tenant` and `lethe import tenant`: a whole tenant as a bundle in an age file (docs/export.md).
//!
//! Neither side has it in the clear on a disk: the server seals it for the recipient while it reads, and [`import`] opens it while it
//! sends. [`opened`] reads such a file, [`import`] reads it twice: once to verify all of it, and once to send it.

pub(crate) mod export;
pub(crate) mod import;
mod opened;

/// What else there is to export.
#[derive(clap::Subcommand)]
pub(crate) enum Export {
    /// Export a whole tenant, sealed for an age recipient; with an owner's token.
    Tenant(export::Args),
}

/// What else there is to import.
#[derive(clap::Subcommand)]
pub(crate) enum Import {
    /// Import a whole tenant that another store has exported; with the operator's token.
    Tenant(import::Args),
}

//! The command line: one subcommand a file, and around them the four things they share.
//!
//! [`failure`] holds the exit codes: 0, 1 (usage or local), 2 (the server refused), 3 (not reachable).
//! [`output`] is the only writer: tables for people, one JSON document a line for programs.
//! [`connection`] speaks HTTP and turns a problem document into a failure. [`confirm`] asks before what
//! cannot be undone. Environment variables are read here, by clap, and nowhere else; those of a bucket's secret by [`bucket`].

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

mod alias;
mod approval;
mod audit;
mod backup;
mod bench;
mod bucket;
mod bundle;
mod certificate;
mod check;
mod collection;
mod completions;
mod confirm;
mod connection;
mod control;
mod doctor;
mod export;
mod failure;
mod hold;
mod import;
mod init;
mod log;
mod output;
mod record;
mod recover;
mod restore;
mod retention;
mod rotate;
mod serve;
mod shred;
mod subject;
mod tenant;
mod token;

use crate::server::hygiene;
use connection::Connection;
use failure::Failure;
use output::{Format, Output};

/// With what the build has taken to seal suite 1.
const LONG_VERSION: &str = if cfg!(feature = "ring") {
    concat!(env!("CARGO_PKG_VERSION"), "\nAES-256-GCM: ring")
} else {
    concat!(env!("CARGO_PKG_VERSION"), "\nAES-256-GCM: aes-gcm")
};

/// An encrypted key-value store for customer data that can forget.
#[derive(Parser)]
#[command(
    name = "lethe",
    version,
    long_version = LONG_VERSION,
    about,
    propagate_version = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    arg_required_else_help = true
)]
struct Cli {
    #[command(flatten)]
    connection: Connection,

    /// Tables for people, or JSON for programs.
    #[arg(long, global = true, value_enum, default_value_t = Format::Human)]
    format: Format,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a store: settings, custody, mirror, signing key, the operator's token.
    Init(init::Args),
    /// Serve a store until SIGTERM; prints one line: listening on URL.
    Serve(serve::Args),
    /// Create, list and show tenants, and what takes two persons in them.
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Create, change, show and list collections.
    #[command(subcommand)]
    Collection(collection::Command),
    /// Create, list and revoke access tokens.
    #[command(subcommand)]
    Token(token::Command),
    /// Put, get, list and remove records.
    #[command(subcommand)]
    Record(record::Command),
    /// Explain how long records are kept, let shorter rules hold for what is there, and show the legal periods that rules can be made from.
    #[command(subcommand)]
    Retention(retention::Command),
    /// Import JSON Lines, or a whole tenant.
    Import(import::Args),
    /// Export a collection as JSON Lines, or a whole tenant.
    Export(export::Args),
    /// Destroy keys, so that what they protect is unreadable everywhere, for ever.
    #[command(subcommand)]
    Shred(shred::Command),
    /// Place, list, show, renew and release legal holds, with a counsel's token.
    #[command(subcommand)]
    Hold(hold::Command),
    /// Add, list and remove further ids of persons.
    #[command(subcommand)]
    Alias(alias::Command),
    /// Report, show and take back what happened between you and persons.
    #[command(subcommand)]
    Subject(subject::Command),
    /// List, show, approve, refuse and withdraw what waits for a second person.
    #[command(subcommand)]
    Approval(approval::Command),
    /// Fetch and verify certificates of deletion.
    #[command(subcommand)]
    Certificate(certificate::Command),
    /// List and verify a tenant's audit trail.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Copy, verify and keep the heads of the public log of certificates.
    #[command(subcommand)]
    Log(log::Command),
    /// End an epoch without a shred: a fresh root, the old one destroyed; with the server stopped.
    Rotate(rotate::Args),
    /// Make a lost part of a store anew from what holds it too, or replace the operator's token; with the server stopped.
    #[command(subcommand)]
    Recover(recover::Command),
    /// Take a backup of the data store, while the server runs or not; list, verify, prune and rehearse backups.
    Backup(Box<backup::Args>),
    /// Keep further copies of the control store at further places.
    #[command(subcommand)]
    Control(control::Command),
    /// Put a backup of any date in the place of the data store, under today's control store; with the server stopped.
    Restore(restore::Args),
    /// Verify every page, header, seal and index row of a store at rest, and its log.
    Check(check::Args),
    /// Examine a store's configuration and machine, and say what to change.
    Doctor(doctor::Args),
    /// Drive a running server, and say how fast it answered and whether rightly.
    Bench(bench::Args),
    /// Print a shell's completion script.
    Completions(completions::Args),
}

/// Runs the program with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    let parsed = Cli::command().try_get_matches().and_then(|matches| {
        let mut cli = Cli::from_arg_matches(&matches)?;
        cli.connection.prefer_the_command_line(&matches);
        Ok(cli)
    });
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // clap writes help and version to stdout, errors to stderr; nothing can be done if that fails.
            drop(error.print());
            return if error.use_stderr() { ExitCode::from(failure::LOCAL) } else { ExitCode::SUCCESS };
        }
    };
    let format = cli.format;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(format),
    }
}

/// The whole command tree, for completions and for the golden file of the help texts.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

impl Command {
    /// Whether it opens custody in this process; `serve` hardens itself, and says what it could not do.
    const fn opens_custody(&self) -> bool {
        match self {
            Self::Init(_) | Self::Rotate(_) | Self::Recover(_) | Self::Check(_) | Self::Backup(_) | Self::Restore(_) => true,
            Self::Serve(_)
            | Self::Tenant(_)
            | Self::Collection(_)
            | Self::Token(_)
            | Self::Record(_)
            | Self::Retention(_)
            | Self::Import(_)
            | Self::Export(_)
            | Self::Shred(_)
            | Self::Hold(_)
            | Self::Alias(_)
            | Self::Subject(_)
            | Self::Approval(_)
            | Self::Certificate(_)
            | Self::Audit(_)
            | Self::Log(_)
            | Self::Control(_)
            | Self::Doctor(_)
            | Self::Bench(_)
            | Self::Completions(_) => false,
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    if cli.command.opens_custody() {
        let hygiene = hygiene::apply();
        if !hygiene.no_core_dumps || !hygiene.not_dumpable {
            output::note("the process's memory may be dumped while it holds keys");
        }
    }
    // A server has the threads of its settings; everything else waits for one thing at a time.
    let served = if let Command::Serve(args) = &cli.command { Some(args.config()?) } else { None };
    let others = if let Command::Bench(args) = &cli.command { usize::from(args.threads) } else { 2 };
    let threads = served.as_ref().map_or(others, crate::config::Config::worker_threads);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| Failure::local(format!("cannot start: {error}")))?;
    let mut out = Output::stdout(cli.format);
    let connection = cli.connection;
    runtime.block_on(async {
        match cli.command {
            Command::Init(args) => init::run(args, &mut out).await,
            Command::Serve(args) => serve::run(args, served, &mut out).await,
            Command::Tenant(command) => tenant::run(command, &connection, &mut out).await,
            Command::Collection(command) => collection::run(command, &connection, &mut out).await,
            Command::Token(command) => token::run(command, &connection, &mut out).await,
            Command::Record(command) => record::run(command, &connection, &mut out).await,
            Command::Retention(command) => retention::run(command, &connection, &mut out).await,
            Command::Import(args) => import::run(args, &connection, &mut out).await,
            Command::Export(args) => export::run(args, &connection, &mut out).await,
            Command::Shred(command) => shred::run(command, &connection, &mut out).await,
            Command::Hold(command) => hold::run(command, &connection, &mut out).await,
            Command::Alias(command) => alias::run(command, &connection, &mut out).await,
            Command::Subject(command) => subject::run(command, &connection, &mut out).await,
            Command::Approval(command) => approval::run(command, &connection, &mut out).await,
            Command::Certificate(command) => certificate::run(command, &connection, &mut out).await,
            Command::Audit(command) => audit::run(command, &connection, &mut out).await,
            Command::Log(command) => log::run(command, &connection, &mut out).await,
            Command::Rotate(args) => rotate::run(args, &mut out).await,
            Command::Recover(command) => recover::run(&command, &mut out).await,
            Command::Backup(args) => backup::run(*args, &connection, &mut out).await,
            Command::Control(command) => control::run(&command, &mut out),
            Command::Restore(args) => restore::run(args, &mut out).await,
            Command::Check(args) => check::run(args, &mut out).await,
            Command::Doctor(args) => doctor::run(&args, &mut out),
            Command::Bench(args) => bench::run(args, &connection, &mut out).await,
            Command::Completions(args) => completions::run(&args, &mut out),
        }
    })?;
    out.flush()
}

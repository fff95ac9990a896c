//! Lethe beside what it would be without sealing, access control and audit, in one run on one machine.
//!
//! Three kinds of server, each a process: (a) the same HTTP stack answering from memory, (b) the same over a bare
//! RocksDB ([`baseline`], [`shelf`]), (c) `lethe serve` ([`servers`]). `lethe bench` drives them, by turns, over several
//! rounds ([`rows`]); what is reported are medians, ratios within a round, and their spread ([`report`]).
//!
//! `cargo bench --bench http -- --scale quick`, or `LETHE_BENCH_SCALE`; `--write docs` writes `docs/performance.md`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::arithmetic_side_effects,
    reason = "a bench: it reports, and its sums are small"
)]

mod baseline;
#[cfg_attr(test, expect(dead_code, reason = "its own tests are the library's"))]
#[path = "../../src/vault/store/embedded/pace.rs"]
mod pace;
mod report;
mod rows;
mod scale;
mod servers;
mod shelf;

use std::{path::PathBuf, time::Duration};

use clap::Parser as _;
use lethe::domain::{Clock as _, SystemClock};

use self::{
    report::{Report, Row},
    rows::Session,
    scale::ScaleName,
    shelf::Shelf,
};

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What to measure.
#[derive(clap::Parser)]
struct Args {
    /// How much of it.
    #[arg(long, value_enum, env = "LETHE_BENCH_SCALE", default_value_t = ScaleName::Quick)]
    scale: ScaleName,
    /// Only groups of rows whose name contains this: get, put, ycsb, start, stream, import, list, shred, cold, tls, memory, growth.
    #[arg(long)]
    only: Option<String>,
    /// Write performance.md and its plots into this directory.
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// Where stores lie while it runs; a directory on the disk that is to be measured.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Be a server: memory or rocks.
    #[arg(long, hide = true)]
    role: Option<String>,
    /// What cargo says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let args = Args::parse();
    if let Some(role) = &args.role {
        let shelf = if role == "memory" { Shelf::memory() } else { Shelf::rocks(args.dir.as_deref().expect("--dir goes with --role")) };
        return tokio::runtime::Runtime::new().expect("a runtime").block_on(baseline::serve(shelf));
    }
    let top = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
    .expect("a directory for stores");
    let (begun, version) = (now(), report::version());
    let notes = args.write.as_ref().and_then(|dir| std::fs::read_to_string(dir.join("performance/notes.md")).ok()).unwrap_or_default();
    let mut session = Session::new(top.path(), args.scale.scale(), args.only, args.write.as_deref());
    let base =
        Report { notes: &notes, rows: &[], scale: args.scale, dir: top.path(), took: Duration::ZERO, version: &version, ended: false };
    // A run of an hour that is cut short has told what it measured.
    let write = |rows: &[Row], ended: bool| {
        if let Some(dir) = &args.write {
            let report = Report { rows, ended, took: now().saturating_sub(begun), ..base };
            std::fs::write(dir.join("performance.md"), report.document()).expect("performance.md is written");
        }
    };
    session.run(|rows| write(rows, false));
    println!("\n{}", Report { rows: &session.rows, ..base }.table());
    write(&session.rows, true);
}

/// The time since some start.
pub(crate) fn now() -> Duration {
    SystemClock.monotonic()
}

/// One line on standard output.
pub(crate) fn say(line: &str) {
    println!("{line}");
}

//! Lethe beside what it would be without sealing, access control and audit, in one run on one machine.
//!
//! Three kinds of server, each a process: (a) the same HTTP stack answering from memory, (b) the same over a bare
//! RocksDB ([`baseline`], [`shelf`]), (c) `lethe serve` ([`servers`]). `lethe bench` drives them, by turns, over several
//! rounds ([`rows`]); what is reported are medians, ratios within a round, and their spread ([`figures`], [`report`]).
//!
//! `cargo bench --bench http -- --scale quick`, or `LETHE_BENCH_SCALE`; `--write docs` writes `docs/performance.md`. It ends with 1 if a row
//! has errors.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::arithmetic_side_effects,
    reason = "a bench: it reports, and its sums are small"
)]

mod baseline;
#[cfg_attr(test, expect(dead_code, reason = "its tests are those of the command line"))]
mod figures;
#[cfg_attr(test, expect(dead_code, reason = "its own tests are the library's"))]
#[path = "../../src/vault/store/embedded/pace.rs"]
mod pace;
#[path = "../shared/place.rs"]
mod place;
mod report;
mod rows;
mod scale;
mod servers;
mod shelf;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser as _;
use lethe::domain::{Clock as _, SystemClock};

use self::{figures::Row, report::Report, rows::Session, scale::ScaleName, shelf::Shelf};

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What to measure.
#[derive(clap::Parser)]
struct Args {
    /// How much of it.
    #[arg(long, value_enum, env = "LETHE_BENCH_SCALE", default_value_t = ScaleName::Quick)]
    scale: ScaleName,
    /// Only groups of rows whose name contains one of these: get, put, ycsb, memory, start, list, shred, import, stream, cold, tls, growth.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How many records the store that grows comes to; the scale's own number where left out, and no such rows with 0.
    #[arg(long, value_name = "RECORDS", env = "LETHE_BENCH_GROWTH")]
    growth: Option<u64>,
    /// Write performance.md and its plots into this directory.
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// Where stores lie while it runs; a directory on the disk that is to be measured. Left out, the target directory.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Be a server: memory or rocks.
    #[arg(long, hide = true)]
    role: Option<String>,
    /// What cargo says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(role) = &args.role {
        let shelf = if role == "memory" { Shelf::memory() } else { Shelf::rocks(args.dir.as_deref().expect("--dir goes with --role")) };
        tokio::runtime::Runtime::new().expect("a runtime").block_on(baseline::serve(shelf));
        return ExitCode::SUCCESS;
    }
    let top = match place::make(args.dir.as_deref()) {
        Ok(top) => top,
        Err(told) => {
            eprintln!("{told}");
            return ExitCode::FAILURE;
        }
    };
    let mut scale = args.scale.scale();
    if let Some(records) = args.growth {
        scale.grown[1] = records;
    }
    let (begun, version) = (now(), report::version());
    let notes = args.write.as_ref().and_then(|dir| std::fs::read_to_string(dir.join("performance/notes.md")).ok()).unwrap_or_default();
    let mut session = Session::new(top.path(), scale, args.only, args.write.as_deref());
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
    let errors: u64 = session.rows.iter().map(|row| row.errors).sum();
    if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The time since some start.
pub(crate) fn now() -> Duration {
    SystemClock.monotonic()
}

/// One line on standard output.
pub(crate) fn say(line: &str) {
    println!("{line}");
}

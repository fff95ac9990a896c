//! What retention costs: the rows that a run reads, beside what is stored ([`reads`]); how fast what is due goes, and what reads of other
//! data bear of it ([`meanwhile`]).
//!
//! `cargo bench --bench retention -- --scale quick`, or `LETHE_BENCH_SCALE`: the full one is of 10^7 records, and of 10^5 that are due. It fails
//! where a run reads more than it may; what takes time is stated, and whether it reaches its goal.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "a bench: it reports, its sums are small, and it shares files with the tests and the bench of HTTP"
)]

#[path = "../../tests/proofs/cost.rs"]
mod cost;
#[path = "../http/figures.rs"]
mod figures;
#[path = "../../tests/proofs/harness.rs"]
mod harness;
mod meanwhile;
#[path = "../../tests/proofs/meddling.rs"]
mod meddling;
#[path = "../shared/place.rs"]
mod place;
mod reads;
#[path = "../http/report.rs"]
mod report;
#[path = "../http/scale.rs"]
mod scale;
#[path = "../http/servers.rs"]
mod servers;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser as _;
use lethe::domain::{Clock as _, SystemClock};

use self::{report::Report, scale::ScaleName};

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What to measure.
#[derive(clap::Parser)]
struct Args {
    /// How much of it.
    #[arg(long, value_enum, env = "LETHE_BENCH_SCALE", default_value_t = ScaleName::Quick)]
    scale: ScaleName,
    /// Only this: reads, meanwhile.
    #[arg(long)]
    only: Option<String>,
    /// Where the server's store lies while it runs; a directory on the disk that is to be measured.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// What cargo says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The sizes of a scale.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Records of the two stores that are held against each other.
    pub(crate) stored: [usize; 2],
    /// Records of each that are due.
    pub(crate) due: usize,
    /// Records that are read while others are destroyed.
    pub(crate) foreground: u64,
    /// Records that are destroyed at a time.
    pub(crate) destroyed: usize,
    /// How often beside reads.
    pub(crate) rounds: usize,
    /// Seconds in which those are stored, before they are due.
    pub(crate) ahead_secs: u64,
}

const fn sizes(scale: ScaleName) -> Sizes {
    match scale {
        ScaleName::Smoke | ScaleName::Quick => {
            Sizes { stored: [10_000, 100_000], due: 1_000, foreground: 2_000, destroyed: 10_000, rounds: 1, ahead_secs: 20 }
        }
        ScaleName::Standard => {
            Sizes { stored: [100_000, 1_000_000], due: 1_000, foreground: 100_000, destroyed: 100_000, rounds: 3, ahead_secs: 50 }
        }
        ScaleName::Full => {
            Sizes { stored: [100_000, 10_000_000], due: 1_000, foreground: 1_000_000, destroyed: 100_000, rounds: 3, ahead_secs: 50 }
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let sizes = sizes(args.scale);
    let top = match place::make(args.dir.as_deref()) {
        Ok(top) => top,
        Err(told) => {
            eprintln!("{told}");
            return ExitCode::FAILURE;
        }
    };
    let (begun, version) = (now(), report::version());
    let wants = |part: &str| args.only.as_deref().is_none_or(|only| part.contains(only));
    let mut rows = Vec::new();
    if wants("reads") {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        rows.extend(runtime.block_on(Box::pin(reads::measure(&sizes))));
    }
    if wants("meanwhile") {
        rows.extend(meanwhile::measure(top.path(), &sizes));
    }
    let report = Report {
        notes: "",
        rows: &rows,
        scale: args.scale,
        dir: top.path(),
        took: now().saturating_sub(begun),
        version: &version,
        ended: true,
    };
    println!("\n{}", report.table());
    ExitCode::SUCCESS
}

/// The time since some start.
pub(crate) fn now() -> Duration {
    SystemClock.monotonic()
}

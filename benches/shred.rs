//! What a shred costs: one unit among 10^6 of a tenant among 2,048, then 1,000 units in one epoch, then one unit among 10^3.
//!
//! Reported for each: forest CPU (making the fresh pages, without I/O), bytes of pages, the whole epoch. One unit takes at most
//! 100 us and 16 KiB, or this fails: its time is the processor's own, and the median, so that a busy machine does not matter.
//! `LETHE_BENCH_UNITS` makes it smaller for a quick look: the tree is as high with a thousand units as with a million.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::arithmetic_side_effects,
    reason = "a bench: it reports, and is told its size"
)]

use std::{hint::black_box, sync::Arc, time::Duration};

use rustix::time::{ClockId, clock_gettime};

use criterion::{BenchmarkId, Criterion};
use lethe::{
    domain::{Clock, Slot, StoreId, SystemClock, TenantNo, Timestamp},
    vault::keys::{EpochReport, Forest, ForestOptions, LeaseKind, ShredTarget},
};

#[path = "shared/ground.rs"]
mod ground;

const STORE: StoreId = StoreId([0xbe; 16]);
const FULL: TenantNo = TenantNo(1);
const SMALL: TenantNo = TenantNo(2);
const TENANTS: u64 = 2_047;
/// What one unit may cost.
const CPU_MAX: Duration = Duration::from_micros(100);
const PAGES_LEN_MAX: u64 = 16 * 1024;

/// Measures what this thread was at work, not what it waited. The runtime has no other, and the forest makes pages on it.
struct CpuClock;

impl Clock for CpuClock {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn monotonic(&self) -> Duration {
        clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
    }
}

/// What an epoch reported, and how long it took.
struct Round {
    report: EpochReport,
    took: Duration,
}

struct Bench {
    _dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    forest: Forest,
    units: u64,
    next: u64,
}

impl Bench {
    /// 2,047 tenants and the system's, a million units in the first: all over the tree, not only its beginning.
    fn new(units: u64) -> Self {
        let (dir, ground) = ground::make(STORE, Arc::new(CpuClock));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let options = ForestOptions { unit_height: 4, tenant_height: 2, ..ForestOptions::default() };
        let forest = runtime.block_on(async {
            let forest = Forest::create(ground, options).await.expect("a forest");
            for _ in 0..TENANTS {
                let tenant = TenantNo(forest.lease(LeaseKind::Tenant).await.expect("a number"));
                forest.make_tenant(tenant).await.expect("a tenant");
            }
            for (tenant, count) in [(FULL, units), (SMALL, 1_000)] {
                for _ in 0..count {
                    forest.make_unit(tenant).await.expect("a unit");
                }
            }
            forest
        });
        Self { _dir: dir, runtime, forest, units, next: 0 }
    }

    /// Units far from each other, none twice before all were met.
    fn targets(&mut self, tenant: TenantNo, count: u64) -> Vec<ShredTarget> {
        let units = if tenant == FULL { self.units } else { 1_000 };
        let mut draw = |_| {
            self.next = self.next.wrapping_add(618_033);
            ShredTarget::Unit { tenant, slot: Slot::new(self.next % units).expect("below the number of units") }
        };
        (0..count).map(&mut draw).collect()
    }

    fn shred(&mut self, tenant: TenantNo, count: u64) -> Round {
        let targets = self.targets(tenant, count);
        let begun = SystemClock.monotonic();
        let report = self.runtime.block_on(self.forest.shred(&targets, vec![], vec![])).expect("a shred");
        Round { report, took: SystemClock.monotonic().saturating_sub(begun) }
    }
}

fn main() {
    let units = std::env::var("LETHE_BENCH_UNITS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let mut bench = Bench::new(units);
    let mut criterion = Criterion::default().configure_from_args().sample_size(20);
    let mut group = criterion.benchmark_group("shred");
    for (name, tenant, count) in [
        (format!("one of {units} units"), FULL, 1),
        (format!("1,000 of {units} units"), FULL, 1_000),
        ("one of 1000 units".to_owned(), SMALL, 1),
    ] {
        let mut rounds_done = Vec::new();
        group.bench_function(BenchmarkId::new("forest CPU", &name), |bencher| {
            bencher.iter_custom(|rounds| {
                let mut total = Duration::ZERO;
                for _ in 0..rounds {
                    let round = black_box(bench.shred(tenant, count));
                    total = total.saturating_add(round.report.timings.rekey);
                    rounds_done.push(round);
                }
                total
            });
        });
        summary(&name, &mut rounds_done);
    }
    group.finish();
    criterion.final_summary();
}

/// Medians of what the rounds reported; one unit is held against what it may cost.
fn summary(name: &str, rounds: &mut [Round]) {
    let mut median = |part: fn(&Round) -> Duration| {
        rounds.sort_by_key(part);
        rounds.get(rounds.len() / 2).map(part).unwrap_or_default()
    };
    let (whole, cpu) = (median(|round| round.took), median(|round| round.report.timings.rekey));
    let Some(Round { report, .. }) = rounds.last() else { return };
    let (pages, bytes, epochs) = (report.record.pages, report.page_bytes, rounds.len());
    println!("{name}: forest CPU {cpu:?}, epoch {whole:?}, {pages} pages = {bytes} bytes (medians of {epochs} epochs)");
    if report.record.done.len() == 1 {
        assert!(bytes <= PAGES_LEN_MAX, "{name}: more than 16 KiB of pages");
        assert!(cpu <= CPU_MAX, "{name}: {cpu:?} of forest CPU, where {CPU_MAX:?} are allowed");
    }
}

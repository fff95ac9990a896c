//! What the embedded store does on this machine: durable commits by concurrent clients, and reads from memory.
#![expect(clippy::print_stdout, clippy::arithmetic_side_effects, reason = "a bench reports")]

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use lethe::{
    domain::{StoreId, SystemClock},
    vault::store::{
        Commit, Durability, Space, Store as _, Urgency, Write,
        embedded::{Embedded, EmbeddedOptions},
    },
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

fn store(dir: &TempDir) -> Arc<Embedded> {
    let options = EmbeddedOptions::new(dir.path().join("store"), dir.path().join("mirror"));
    Embedded::create(&options, StoreId([5; 16])).expect("an empty directory");
    Embedded::open(options, Arc::new(SystemClock)).expect("a new store")
}

fn commit(space: Space, n: u64, durability: Durability) -> Commit {
    let key = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes().to_vec().into();
    let writes = vec![Write::Put { space, key, value: vec![7; 1_000].into() }];
    Commit { checks: vec![], writes, tail: None, durability, urgency: Urgency::Normal }
}

/// The time that `commits` take, spread over `clients`.
#[expect(clippy::disallowed_methods, reason = "a bench measures the machine's time")]
async fn spread(
    store: &Arc<Embedded>,
    next: &Arc<AtomicU64>,
    space: Space,
    durability: Durability,
    commits: u64,
    clients: u64,
) -> Duration {
    let started = Instant::now();
    let client = |number: u64| {
        let (store, next) = (Arc::clone(store), Arc::clone(next));
        let share = commits / clients + u64::from(number < commits % clients);
        tokio::spawn(async move {
            for _ in 0..share {
                store.commit(commit(space, next.fetch_add(1, Relaxed), durability)).await.expect("committed");
            }
        })
    };
    for done in join_all((0..clients).map(client)).await {
        done.expect("no client panics");
    }
    started.elapsed()
}

fn commits(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = c.benchmark_group("store-commit-1kB");
    group
        .throughput(Throughput::Elements(1))
        .sample_size(10)
        .measurement_time(Duration::from_secs(3))
        .warm_up_time(Duration::from_millis(500));
    for (name, space, durability) in [
        ("data-synced", Space::Records, Durability::Synced),
        ("data-written", Space::Records, Durability::Written),
        ("control", Space::Control, Durability::Synced),
    ] {
        for clients in [1, 8, 32] {
            let dir = TempDir::new().expect("a temporary directory");
            let (store, next) = (store(&dir), Arc::default());
            group.bench_function(BenchmarkId::new(name, clients), |b| {
                b.iter_custom(|commits| runtime.block_on(spread(&store, &next, space, durability, commits, clients)));
            });
            let stats = store.stats();
            let sync_micros = stats.sync_nanos.checked_div(stats.syncs.saturating_mul(1_000)).unwrap_or(0);
            println!("{name}/{clients}: {} commits in {} groups, {} syncs of {sync_micros} us", stats.committed, stats.groups, stats.syncs);
        }
    }
    group.finish();
}

fn reads(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let dir = TempDir::new().expect("a temporary directory");
    let store = store(&dir);
    runtime.block_on(spread(&store, &Arc::default(), Space::Records, Durability::Written, 10_000, 32));
    let mut group = c.benchmark_group("store-read-1kB");
    group.throughput(Throughput::Elements(1)).sample_size(10).measurement_time(Duration::from_secs(2));
    group.bench_function("get-from-memory", |b| {
        let mut n = 0_u64;
        b.iter(|| {
            n = (n + 1) % 10_000;
            let key = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            black_box(runtime.block_on(store.get(Space::Records, &key)).expect("readable").expect("there"));
        });
    });
    group.bench_function("scan-100-from-memory", |b| {
        b.iter(|| black_box(runtime.block_on(store.scan(Space::Records, &[0x40], &[0xff], 100)).expect("readable")));
    });
    group.finish();
}

criterion_group!(benches, commits, reads);
criterion_main!(benches);

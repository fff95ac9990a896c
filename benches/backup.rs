//! A backup against the disk it goes to: the first one moves everything, at no less than half of what one sequential writer does; a
//! second one moves only what changed. `LETHE_BENCH_BACKUP_MIB` says of how much (1024).
#![expect(clippy::print_stdout, clippy::arithmetic_side_effects, clippy::disallowed_methods, reason = "a bench measures and reports")]

use std::{
    fs,
    io::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use lethe::{
    domain::{Clock as _, Epoch, SnapshotId, StoreId, SystemClock},
    server::backup::{Location, Manifest, Source, take},
    vault::store::{
        Commit, Durability, Space, Store as _, Urgency, Write,
        embedded::{Embedded, EmbeddedOptions},
    },
};
use sha2::{Digest as _, Sha256};

const MIB: u64 = 1024 * 1024;
const STORE: StoreId = StoreId([5; 16]);
const ROW: usize = 64 * 1024;

/// Bytes that nothing makes smaller.
fn noise(number: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ROW);
    let mut block: [u8; 32] = Sha256::digest(number.to_be_bytes()).into();
    while bytes.len() < ROW {
        bytes.extend_from_slice(&block);
        block = Sha256::digest(block).into();
    }
    bytes
}

async fn fill(store: &Embedded, rows: std::ops::Range<u64>) {
    for first in rows.clone().step_by(16) {
        let some = first..rows.end.min(first.saturating_add(16));
        let writes = some
            .map(|row| Write::Put { space: Space::Records, key: row.to_be_bytes().to_vec().into(), value: noise(row).into() })
            .collect();
        let commit = Commit { checks: vec![], writes, tail: None, durability: Durability::Written, urgency: Urgency::Normal };
        store.commit(commit).await.expect("committed");
    }
}

async fn backed_up(store: &Embedded, number: u8, to: &Path) -> (Manifest, Duration) {
    let id = SnapshotId([number; 16]);
    let taken = store.take_snapshot(id).await.expect("a snapshot");
    let source = Source {
        id,
        dir: taken.dir,
        store: STORE,
        taken_at: SystemClock.now(),
        epoch: Epoch(1),
        log_size: 0,
        records_estimate: taken.records_estimate,
    };
    let started = Instant::now();
    let manifest = take(&source, &Location::from(to), |_| (), &|_| ()).expect("a backup");
    let took = started.elapsed();
    store.release_snapshot(id).await.expect("let go");
    (manifest, took)
}

/// What one writer does, synced at the end.
fn sequential(path: &Path, bytes: u64) -> Duration {
    let chunk = noise(0).repeat(16);
    let started = Instant::now();
    let mut file = fs::File::create(path).expect("a file");
    for _ in 0..bytes.div_ceil(chunk.len() as u64) {
        file.write_all(&chunk).expect("written");
    }
    file.sync_all().expect("synced");
    let took = started.elapsed();
    fs::remove_file(path).expect("removed");
    took
}

fn rate(bytes: u64, took: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let mib = bytes as f64 / MIB as f64;
    mib / took.as_secs_f64()
}

#[tokio::main]
async fn main() {
    // `cargo test --benches` runs it, too, for whether it still works.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let asked = std::env::var("LETHE_BENCH_BACKUP_MIB").ok().and_then(|text| text.parse::<u64>().ok());
    let mib = asked.unwrap_or(if is_bench { 1_024 } else { 16 });
    let dir = tempfile::tempdir().expect("a directory");
    let options = EmbeddedOptions::new(dir.path().join("store"), dir.path().join("mirror"));
    Embedded::create(&options, STORE).expect("an empty directory");
    let store = Embedded::open(options, Arc::new(SystemClock)).expect("a new store");
    let rows = mib.saturating_mul(MIB).checked_div(ROW as u64).unwrap_or(1);
    fill(&store, 0..rows).await;
    let to = dir.path().join("backups");
    let (first, took) = backed_up(&store, 1, &to).await;
    let disk = sequential(&dir.path().join("sequential"), first.bytes);
    let (copies, writes) = (rate(first.bytes, took), rate(first.bytes, disk));
    println!(
        "first backup: {} bytes in {took:.2?}, {copies:.0} MiB/s; one sequential writer: {writes:.0} MiB/s; {:.2} of it",
        first.bytes,
        copies / writes
    );
    fill(&store, rows..rows.saturating_add(16)).await;
    let (second, took) = backed_up(&store, 2, &to).await;
    println!("second backup, {} bytes later: {} of {} bytes moved in {took:.2?}", 16 * ROW, second.copied_bytes, second.bytes);
    store.close();
    assert_eq!(first.copied_bytes, first.bytes, "the first one moves everything");
    assert!(second.copied_bytes < 4 * 16 * ROW as u64, "a second one moves only what changed");
    assert!(!is_bench || copies >= writes / 2.0, "a backup copies at no less than half of the disk's sequential speed");
}

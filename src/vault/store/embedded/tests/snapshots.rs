//! Snapshots: what they hold, and who makes them go.

use std::fs;

use rustix::fs::{FlockOperation, flock};

use super::{
    super::{
        super::contract::{commit, put},
        DATA, LEASE, SNAPSHOTS,
    },
    *,
};
use crate::domain::{SnapshotId, TestClock, Timestamp};

fn id(number: u8) -> SnapshotId {
    SnapshotId([number; 16])
}

fn there(fixture: &Fixture) -> usize {
    fs::read_dir(fixture.options().dir.join(SNAPSHOTS)).map_or(0, Iterator::count)
}

#[tokio::test]
async fn a_snapshot_holds_what_was_answered_before_it_and_nothing_behind_it() {
    let fixture = Fixture::new();
    let store = fixture.open();
    store.commit(commit(vec![], vec![put(Space::Records, "before", "x")])).await.unwrap();
    let taken = store.take_snapshot(id(1)).await.unwrap();
    store.commit(commit(vec![], vec![put(Space::Records, "behind", "x")])).await.unwrap();
    // Its tables are the store's own: a link each, no copy.
    let tables = fs::read_dir(taken.dir.join(DATA)).unwrap().map(|entry| entry.unwrap().path());
    let links: Vec<u64> = tables
        .filter(|path| path.extension().is_some_and(|end| end == "sst"))
        .map(|path| std::os::unix::fs::MetadataExt::nlink(&fs::metadata(path).unwrap()))
        .collect();
    assert!(!links.is_empty() && links.iter().all(|links| *links == 2), "{links:?}");
    store.close();
    let options = fixture.options();
    fs::rename(options.data_dir(), options.dir.join("aside")).unwrap();
    fs::rename(taken.dir.join(DATA), options.data_dir()).unwrap();
    let store = fixture.open();
    assert_eq!(store.get(Space::Records, b"before").await.unwrap().as_deref(), Some(&b"x"[..]));
    assert_eq!(store.get(Space::Records, b"behind").await.unwrap(), None);
}

#[tokio::test]
async fn a_snapshot_stays_while_its_lease_is_held_and_no_longer() {
    let fixture = Fixture::new();
    let clock = TestClock::at(Timestamp(0));
    let store = Embedded::open(fixture.options(), Arc::new(clock.clone())).unwrap();
    let held = store.take_snapshot(id(1)).await.unwrap();
    store.take_snapshot(id(2)).await.unwrap();
    let lease = fs::File::open(held.dir.join(LEASE)).unwrap();
    flock(&lease, FlockOperation::LockExclusive).unwrap();
    // There is time to take a lease.
    clock.advance(std::time::Duration::from_secs(119));
    assert_eq!((store.sweep_snapshots().await.unwrap(), there(&fixture)), (0, 2));
    clock.advance(std::time::Duration::from_secs(1));
    assert_eq!((store.sweep_snapshots().await.unwrap(), there(&fixture)), (1, 1));
    clock.advance(std::time::Duration::from_hours(100));
    assert_eq!((store.sweep_snapshots().await.unwrap(), there(&fixture)), (0, 1));
    assert!(held.dir.join(DATA).join("CURRENT").exists());
    // A start does not take it away either, from whoever still copies.
    store.close();
    let store = fixture.open();
    assert_eq!(there(&fixture), 1);
    drop(lease);
    assert_eq!((store.sweep_snapshots().await.unwrap(), there(&fixture)), (1, 0));
    // And one that nobody holds goes with the next start, or when it is let go.
    store.take_snapshot(id(3)).await.unwrap();
    store.close();
    let store = fixture.open();
    assert_eq!(there(&fixture), 0);
    store.take_snapshot(id(4)).await.unwrap();
    store.release_snapshot(id(4)).await.unwrap();
    store.release_snapshot(id(4)).await.unwrap();
    assert_eq!(there(&fixture), 0);
}

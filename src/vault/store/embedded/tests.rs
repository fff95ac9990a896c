#![expect(clippy::arithmetic_side_effects, reason = "small numbers of tests")]

use std::{sync::mpsc, time::Duration};

use futures_util::FutureExt as _;
use sha2::Digest as _;
use tempfile::TempDir;

use super::super::{
    Durability, Expect, Tail, Urgency, Write,
    contract::{self, check, commit, put},
    schema,
};
use super::*;
use crate::domain::{SystemClock, TestClock, Timestamp};

mod copies;
mod damage;
mod opening;
mod order;
mod snapshots;

const STORE: StoreId = StoreId([7; 16]);

/// A store in a directory of its own, small and unsynced: what these tests prove needs no disk.
struct Fixture {
    dir: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self { dir: TempDir::new().unwrap() };
        Embedded::create(&fixture.options(), STORE).unwrap();
        fixture
    }

    fn options(&self) -> EmbeddedOptions {
        EmbeddedOptions {
            block_cache_bytes: 8 * 1024 * 1024,
            memtable_bytes: 4 * 1024 * 1024,
            reserve_bytes: 1024 * 1024,
            mirror_ahead_bytes: 64 * 1024,
            danger_skip_sync: true,
            ..EmbeddedOptions::new(self.dir.path().join("store"), self.dir.path().join("mirror"))
        }
    }

    fn open_with(&self, change: impl FnOnce(&mut EmbeddedOptions)) -> Arc<Embedded> {
        let mut options = self.options();
        change(&mut options);
        Embedded::open(options, Arc::new(SystemClock)).unwrap()
    }

    fn open(&self) -> Arc<Embedded> {
        self.open_with(|_| ())
    }

    /// A store whose clock stands still until it is told otherwise.
    fn open_at_a_moment(&self, danger_skip_sync: bool) -> (Arc<Embedded>, TestClock) {
        let clock = TestClock::at(Timestamp(0));
        (Embedded::open(EmbeddedOptions { danger_skip_sync, ..self.options() }, Arc::new(clock.clone())).unwrap(), clock)
    }
}

contract::suite!({
    let fixture = Fixture::new();
    let store: Arc<dyn Store> = fixture.open();
    (store, fixture)
});

/// Tells that the committer is here, and holds it until told to go on.
struct Gate {
    entered: mpsc::SyncSender<()>,
    open: mpsc::Receiver<()>,
}

impl Tail for Gate {
    fn rows(&mut self) -> Result<Vec<Write>, StoreError> {
        self.entered.send(()).unwrap();
        self.open.recv().unwrap();
        Ok(vec![])
    }

    fn settled(&mut self, _stored: bool) {}
}

fn gated() -> (mpsc::Receiver<()>, mpsc::SyncSender<()>, Commit) {
    let (entered, has_entered) = mpsc::sync_channel(1);
    let (opener, open) = mpsc::sync_channel(1);
    let tail = Some(Box::new(Gate { entered, open }) as Box<dyn Tail>);
    (has_entered, opener, Commit { checks: vec![], writes: vec![], tail, durability: Durability::Synced, urgency: Urgency::Normal })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_busy_and_what_waits_becomes_one_group() {
    let fixture = Fixture::new();
    let store = fixture.open_with(|options| options.queue_len = 10);
    let (entered, open, gate) = gated();
    let mut held = std::pin::pin!(store.commit(gate));
    assert!(futures_util::poll!(&mut held).is_pending());
    entered.recv().unwrap();
    let mut waiting: Vec<_> = (0..10_u8).map(|n| Box::pin(store.commit(commit(vec![], vec![put(Space::Records, vec![n], "x")])))).collect();
    for one in &mut waiting {
        assert!(futures_util::poll!(one).is_pending());
    }
    assert_eq!(store.commit(commit(vec![], vec![put(Space::Records, "one too many", "x")])).await, Err(StoreError::Busy));
    open.send(()).unwrap();
    assert!(held.await.is_ok());
    for one in waiting {
        assert!(one.await.is_ok());
    }
    let stats = store.stats();
    assert_eq!((stats.committed, stats.refused, stats.groups, stats.largest_group, stats.queue_depth), (11, 1, 1, 11, 0));
}

/// Ends the committer's thread behind the write and before the answer.
struct Dies;

impl Tail for Dies {
    fn rows(&mut self) -> Result<Vec<Write>, StoreError> {
        Ok(vec![])
    }

    fn settled(&mut self, stored: bool) {
        assert!(!stored, "planted: the committer dies here");
    }
}

/// One row in the place of an entry; keeps what it is told.
#[derive(Clone, Default)]
struct Alone {
    told: Arc<Mutex<Vec<bool>>>,
    /// Whether the committer's thread asked for it, each time.
    by_committer: Arc<Mutex<Vec<bool>>>,
    space: Option<Space>,
    dies: bool,
}

impl Tail for Alone {
    fn rows(&mut self) -> Result<Vec<Write>, StoreError> {
        self.by_committer.lock().unwrap().push(std::thread::current().name() == Some("lethe-commit"));
        Ok(vec![put(self.space.unwrap_or(Space::DataAudit), "entry", "x")])
    }

    fn settled(&mut self, stored: bool) {
        assert!(!self.dies, "planted: who writes dies here");
        self.told.lock().unwrap().push(stored);
    }
}

/// The committer has looked at the disk, and is idle: what may be written at once is.
async fn looked(store: &Embedded) {
    store.commit(commit(vec![], vec![])).await.unwrap();
    while store.desk.try_take().is_none() {
        std::thread::yield_now();
    }
}

fn alone(tail: &Alone) -> Commit {
    Commit { tail: Some(Box::new(tail.clone())), durability: Durability::Written, ..commit(vec![], vec![]) }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_alone_is_written_by_who_asks_unless_the_committer_is_at_work() {
    let fixture = Fixture::new();
    let (store, clock) = fixture.open_at_a_moment(true);
    let tail = Alone::default();
    looked(&store).await;
    store.commit(alone(&tail)).await.unwrap();
    assert_eq!(*tail.by_committer.lock().unwrap(), [false], "no thread was waited for");
    assert_eq!(store.get(Space::DataAudit, b"entry").await.unwrap().unwrap(), "x");

    let (entered, open, gate) = gated();
    let mut held = store.commit(gate);
    assert!(futures_util::poll!(&mut held).is_pending());
    entered.recv().unwrap();
    let mut queued = store.commit(alone(&tail));
    assert!(futures_util::poll!(&mut queued).is_pending(), "it waits with the others");
    open.send(()).unwrap();
    assert!(held.await.is_ok() && queued.await.is_ok());
    assert_eq!(*tail.told.lock().unwrap(), [true, true]);
    assert_eq!(store.stats().committed, 4);
    clock.advance(Duration::from_millis(10));
    store.commit(alone(&tail)).await.unwrap();
    assert_eq!(*tail.by_committer.lock().unwrap(), [false, true, true], "who serves does not look at the disk");
    store.close();
    assert_eq!(store.commit(alone(&tail)).await, Err(StoreError::Closed));
    drop(store);
    assert!(fixture.open().get(Space::DataAudit, b"entry").await.unwrap().is_some());
}

#[tokio::test]
async fn an_entry_that_cannot_be_written_at_once_is_put_back_and_queues() {
    let fixture = Fixture::new();
    let (store, _) = fixture.open_at_a_moment(true);
    looked(&store).await;
    // Of the control store, whose rows go to the mirror too.
    let tail = Alone { space: Some(Space::ControlAudit), ..Alone::default() };
    assert!(store.commit(alone(&tail)).await.is_ok());
    assert_eq!(*tail.told.lock().unwrap(), [false, true]);
    assert!(store.get(Space::ControlAudit, b"entry").await.unwrap().is_some());
    drop(store);
    assert!(fixture.open().get(Space::ControlAudit, b"entry").await.unwrap().is_some());
}

#[tokio::test]
async fn after_who_writes_has_died_nothing_is_written() {
    let fixture = Fixture::new();
    let (store, _) = fixture.open_at_a_moment(true);
    looked(&store).await;
    let dying = alone(&Alone { dies: true, ..Alone::default() });
    let died = std::panic::AssertUnwindSafe(store.commit(dying)).catch_unwind().await;
    assert!(died.is_err());
    for commit in [alone(&Alone::default()), commit(vec![], vec![put(Space::Records, "row", "x")])] {
        assert_eq!(store.commit(commit).await, Err(StoreError::Closed));
    }
    assert_eq!(store.health(), Health::Closed);
}

#[tokio::test]
async fn after_a_sync_has_died_nothing_is_written() {
    let fixture = Fixture::new();
    let (store, _) = fixture.open_at_a_moment(false);
    let syncer = super::committer::Syncer::start(Arc::clone(&store.desk), || panic!("planted: a sync dies here")).unwrap();
    assert!(syncer.begin());
    syncer.stop();
    assert_eq!(store.health(), Health::Closed, "nobody would sync what is written");
    assert_eq!(store.commit(commit(vec![], vec![put(Space::Records, "row", "x")])).await, Err(StoreError::Closed));
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_not_told_as_refused() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let lost = Commit { tail: Some(Box::new(Dies)), ..commit(vec![], vec![put(Space::Control, "row", "x")]) };
    assert!(matches!(store.commit(lost).await, Err(StoreError::Io(_))), "`Closed` would say that nothing was written");
    drop(store);
    assert!(fixture.open().get(Space::Control, b"row").await.unwrap().is_some(), "and it was");
}

#[tokio::test]
async fn a_commit_that_nobody_waits_for_is_still_done() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let (entered, open, gate) = gated();
    let mut held = std::pin::pin!(store.commit(gate));
    assert!(futures_util::poll!(&mut held).is_pending());
    entered.recv().unwrap();
    {
        let mut abandoned = std::pin::pin!(store.commit(commit(vec![], vec![put(Space::Records, "row", "x")])));
        assert!(futures_util::poll!(&mut abandoned).is_pending());
    }
    open.send(()).unwrap();
    // Comes after it in the queue.
    assert!(store.commit(commit(vec![check(Space::Records, "row", Expect::Present)], vec![])).await.is_ok());
}

#[tokio::test]
async fn reads_come_from_memory_until_they_cannot() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let rows = (0..200_u8).map(|n| put(Space::Records, vec![n], vec![n; 1_000])).collect();
    store.commit(commit(vec![], rows)).await.unwrap();
    store.get(Space::Records, &[1]).await.unwrap();
    store.scan(Space::Records, &[0], &[9], 5).await.unwrap();
    assert_eq!((store.stats().cached_reads, store.stats().pool_reads), (2, 0));
    store.shared.with(|pair| pair.data.flush(true)).unwrap();
    store.close();
    let store = fixture.open();
    for expected in [(0, 1), (1, 1)] {
        assert_eq!(store.get(Space::Records, &[1]).await, Ok(Some(vec![1; 1_000].into())));
        assert_eq!((store.stats().cached_reads, store.stats().pool_reads), expected);
    }
    let rows = store.get_many(Space::Records, &[vec![1].into(), vec![150].into(), vec![250].into()]).await.unwrap();
    assert_eq!(rows, [Some(vec![1; 1_000].into()), Some(vec![150; 1_000].into()), None], "from memory and from the disk");
    store.close();
    let store = fixture.open();
    store.get(Space::Records, &[1]).await.unwrap();
    store.get(Space::Records, &[1]).await.unwrap();
    for expected in [(1, 2), (2, 2)] {
        assert_eq!(store.scan(Space::Records, &[100], &[200], 30).await.unwrap().len(), 30);
        assert_eq!((store.stats().cached_reads, store.stats().pool_reads), expected);
    }
}

#[tokio::test]
async fn reads_past_the_cache_are_made_at_once_while_they_are_fast() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let rows = (0..=255_u8).map(|n| put(Space::Records, vec![n], vec![n; 20_000])).collect();
    store.commit(commit(vec![], rows)).await.unwrap();
    store.compact(Space::Records, &[schema::prefix(&[])]).await.unwrap();
    store.close();
    let store = fixture.open();
    let read = |n: u8| {
        let store = &store;
        async move { assert_eq!(store.get(Space::Records, &[n]).await, Ok(Some(vec![n; 20_000].into()))) }
    };
    let told = || (store.stats().here_reads, store.stats().pool_reads);
    // A disk that is waited for.
    store.shared.pace.took(Duration::from_secs(1));
    read(0).await;
    assert_eq!(told(), (0, 1));
    (0..1_000).for_each(|_| store.shared.pace.took(Duration::ZERO));
    read(1).await;
    assert_eq!(told(), (1, 1));
    (0..1_000).for_each(|_| store.shared.pace.took(Duration::from_secs(1)));
    read(2).await;
    assert_eq!(told(), (1, 2));
    (0..1_000).for_each(|_| store.shared.pace.took(Duration::ZERO));
    assert_eq!(store.scan(Space::Records, &[100], &[105], 1_000).await.unwrap().len(), 5);
    assert_eq!(told(), (2, 2), "a short range, whatever its limit");
    assert_eq!(store.scan(Space::Records, &[100], &[200], 1_000).await.unwrap().len(), 100);
    assert_eq!(told(), (2, 3), "a long one");
    // While the databases are opened anew nobody waits on the asking thread.
    let pair = store.shared.pair.write().unwrap();
    let Way::Here(leave) = store.shared.pace.way() else { panic!("reads are fast") };
    assert!(matches!(store.get_here(Space::Records, &[3], &leave), Ok(Cached::Miss)));
    drop((leave, pair));
    read(3).await;
    assert_eq!(told(), (3, 3));
    // As many as may read at once do, and do not come back: a disk that hangs. The next one goes to the pool.
    let _all: Vec<_> = std::iter::from_fn(|| if let Way::Here(leave) = store.shared.pace.way() { Some(leave) } else { None }).collect();
    read(4).await;
    assert_eq!(told(), (3, 4));
}

#[tokio::test]
async fn half_of_the_threads_that_ask_never_wait_for_a_disk_and_ranges_that_do_go_to_the_pool() {
    let fixture = Fixture::new();
    let store = fixture.open_with(|options| options.asking_threads = 2);
    (0..1_000).for_each(|_| store.shared.pace.took(Duration::ZERO));
    let Way::Here(only) = store.shared.pace.way() else { panic!("reads are fast") };
    assert!(matches!(store.shared.pace.way(), Way::Soon));
    drop(only);
    store.close();

    let (store, clock) = fixture.open_at_a_moment(true);
    let rows = (0..=255_u8).map(|n| put(Space::Records, vec![n], vec![n; 20_000])).collect();
    store.commit(commit(vec![], rows)).await.unwrap();
    store.compact(Space::Records, &[schema::prefix(&[])]).await.unwrap();
    store.close();
    drop(store);
    // A disk for which each range waits: the clock goes on while it is read.
    let ticking = Ticking(clock);
    let store = Embedded::open(fixture.options(), Arc::new(ticking)).unwrap();
    (0..1_000).for_each(|_| store.shared.pace.took(Duration::ZERO));
    for n in 0..8 {
        store.scan(Space::Records, &[n * 10], &[n * 10 + 5], 100).await.unwrap();
    }
    let stats = store.stats();
    assert!(stats.here_reads <= 4 && stats.pool_reads >= 4, "{stats:?}");
}

/// A clock on which everything that reads takes a second.
struct Ticking(TestClock);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn monotonic(&self) -> Duration {
        // The committer's own looks would have it do nothing else.
        if std::thread::current().name() != Some("lethe-commit") {
            self.0.advance(Duration::from_secs(1));
        }
        self.0.monotonic()
    }
}

#[tokio::test]
async fn many_rows_at_once_are_what_each_is_by_itself_wherever_they_lie() {
    let fixture = Fixture::new();
    let store = fixture.open();
    // Every third in a file, every third in memory, every third nowhere; some hold nothing.
    let rows = |third: usize| {
        let of = |n: u16| put(Space::Records, n.to_be_bytes().to_vec(), vec![7; usize::from(n % 5) * 500]);
        (0..3_000).filter(move |n| usize::from(*n) % 3 == third).map(of).collect::<Vec<_>>()
    };
    store.commit(commit(vec![], rows(0))).await.unwrap();
    // Behind a compaction neither the file's rows nor its index are in memory.
    store.compact(Space::Records, &[schema::prefix(&[])]).await.unwrap();
    store.close();
    let store = fixture.open();
    store.commit(commit(vec![], rows(1))).await.unwrap();
    // First those that are nowhere, of whose neighbours in the file no block is in memory yet.
    let (nowhere, somewhere) = (0..3_000_u16).partition::<Vec<_>, _>(|n| n % 3 == 2);
    for numbers in nowhere.chunks(60).chain(somewhere.chunks(60)) {
        let keys: Vec<Bytes> = numbers.iter().map(|n| n.to_be_bytes().to_vec().into()).collect();
        let values = store.get_many(Space::Records, &keys).await.unwrap();
        for (n, value) in numbers.iter().zip(values) {
            let expected = (n % 3 < 2).then(|| usize::from(n % 5) * 500);
            assert_eq!(value.map(|value| value.len()), expected, "{n}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_nowhere_are_not_found_while_files_are_written() {
    let fixture = Fixture::new();
    let store = fixture.open_with(|options| options.memtable_bytes = 1024 * 1024);
    let key = |n: u32| Bytes::from(sha2::Sha256::digest(n.to_be_bytes()).to_vec());
    for batch in 0..400_u32 {
        let numbers = batch * 64..batch * 64 + 64;
        let keys: Vec<Bytes> = numbers.map(key).collect();
        let before = store.get_many(Space::Records, &keys).await.unwrap();
        assert!(before.iter().all(Option::is_none), "batch {batch}: {:?}", before.iter().flatten().map(Bytes::len).collect::<Vec<_>>());
        store.commit(commit(vec![], keys.iter().map(|key| put(Space::Records, key.to_vec(), vec![7; 500])).collect())).await.unwrap();
    }
}

#[tokio::test]
async fn a_closed_store_takes_and_gives_nothing() {
    let fixture = Fixture::new();
    let store = fixture.open();
    store.close();
    assert_eq!(store.health(), Health::Closed);
    assert_eq!(store.commit(commit(vec![], vec![])).await, Err(StoreError::Closed));
    assert_eq!(store.get(Space::Control, b"row").await, Err(StoreError::Closed));
    assert_eq!(store.sync_mirror().await, Err(StoreError::Closed));
    assert_eq!(store.compact(Space::Control, &[schema::prefix(b"a")]).await, Err(StoreError::Closed));
    store.close();
}

/// A tenant of gigabytes goes without one of them being read: what is written anew are the files at its borders.
#[tokio::test]
async fn files_that_hold_a_range_alone_go_unread() {
    let (fixture, all) = (Fixture::new(), [schema::prefix(&[])]);
    let store = fixture.open();
    let key = |n: u16| Bytes::copy_from_slice(&n.to_be_bytes());
    for from in (0..4_000_u16).step_by(200) {
        let rows = (from..from + 200).map(|n| put(Space::Records, key(n), vec![u8::try_from(n % 256).unwrap(); 50_000])).collect();
        store.commit(commit(vec![], rows)).await.unwrap();
    }
    store.compact(Space::Records, &all).await.unwrap();
    let tables = || {
        let files = std::fs::read_dir(fixture.dir.path().join("store/data")).unwrap().map(|file| file.unwrap());
        let tables = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "sst"));
        tables.map(|file| file.metadata().unwrap().len()).sum::<u64>()
    };
    let before = tables();
    assert!(before > 200_000_000, "{before}");
    // The first row outside may be the last of a file.
    let [end, ..] = &store.shared.with(|pair| pair.data.ends_of_files(Space::Records)).unwrap()[..] else { panic!("no file") };
    store.drop_files(Space::Records, &schema::KeyRange { from: key(0), to: end.clone().into() }).await.unwrap();
    assert_eq!((tables(), store.get(Space::Records, end).await.unwrap().map(|value| value.len())), (before, Some(50_000)));
    let range = schema::KeyRange { from: key(100), to: key(3_900) };
    store.drop_files(Space::Records, &range).await.unwrap();
    // Of three files of 64 MiB the one that lies within.
    assert!(before - tables() > 60_000_000, "{} of {before} bytes are left", tables());
    let gone = Write::DeleteRange { space: Space::Records, from: range.from.clone(), to: range.to.clone() };
    store.commit(commit(vec![], vec![gone])).await.unwrap();
    store.compact(Space::Records, &[range]).await.unwrap();
    assert!(tables() < 11_000_000, "{}", tables());
    let left = store.scan(Space::Records, &[], &[255; 3], usize::MAX).await.unwrap();
    assert!(left.iter().map(|row| row.key.clone()).eq((0..100).chain(3_900..4_000).map(key)));
}

#[tokio::test]
async fn a_compaction_under_way_does_not_keep_the_store_from_closing() {
    let fixture = Fixture::new();
    let store = fixture.open();
    store.commit(commit(vec![], (0..200_u8).map(|n| put(Space::Records, vec![n], vec![n; 10_000])).collect())).await.unwrap();
    let ranges = [schema::prefix(&[])];
    let mut compacting = std::pin::pin!(store.compact(Space::Records, &ranges));
    let early = futures_util::poll!(&mut compacting);
    store.close();
    // It was done or was cut; either way it is answered.
    let result = if let std::task::Poll::Ready(result) = early { result } else { compacting.await };
    assert!(matches!(result, Ok(()) | Err(StoreError::Closed | StoreError::Io(_))), "{result:?}");
    assert_eq!(fixture.open().get(Space::Records, &[9]).await, Ok(Some(vec![9; 10_000].into())));
}

#[tokio::test]
async fn a_read_waits_on_no_thread_that_serves_while_the_databases_are_opened_anew() {
    let fixture = Fixture::new();
    let store = fixture.open();
    store.commit(commit(vec![], vec![put(Space::Records, "a", "1")])).await.unwrap();
    let mut get = store.get(Space::Records, b"a");
    let mut scan = store.scan(Space::Records, b"a", b"b", 10);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    // As the committer does; a read that waited here would wait for ever.
    let held = store.shared.pair.write().unwrap();
    assert!(get.as_mut().poll(&mut context).is_pending() && scan.as_mut().poll(&mut context).is_pending());
    drop(held);
    assert_eq!(get.await.unwrap().unwrap(), "1");
    assert_eq!(scan.await.unwrap().len(), 1);
}

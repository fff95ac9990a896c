//! Further copies of the control store: what they have when, and who waits for them.

use std::{
    path::PathBuf,
    sync::{
        Condvar,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{
    opening::{whole, write},
    *,
};

impl Fixture {
    fn copy_dir(&self) -> PathBuf {
        self.dir.path().join("copy")
    }

    /// The options of a store with a copy that confirms, and one more that does not.
    fn with_copies(&self) -> EmbeddedOptions {
        let place = |name: &str, confirm| CopyPlace { dir: self.dir.path().join(name), confirm };
        EmbeddedOptions { copies: vec![place("copy", true), place("other", false)], ..self.options() }
    }

    /// Begins both, and opens the store.
    fn open_with_copies(&self) -> Arc<Embedded> {
        for place in self.with_copies().copies {
            Embedded::ship(&self.options(), &place.dir).unwrap();
        }
        Embedded::open(self.with_copies(), Arc::new(SystemClock)).unwrap()
    }

    fn seq(&self, name: &str) -> u64 {
        mirror::seq(&self.dir.path().join(name)).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_a_copy_to_confirm_waits_until_it_has_what_was_committed() {
    let fixture = Fixture::new();
    let store = fixture.open_with_copies();
    for n in 0..40 {
        write(&store, Space::Control, n..n + 1).await;
        assert_eq!(store.confirm_copies().await, Ok(()));
        assert_eq!(fixture.seq("copy"), u64::from(n) + 1);
    }
    assert_eq!(store.failing_copy(), None);
    // At its end every copy has all, whether it confirms or not.
    write(&store, Space::Control, 40..60).await;
    store.close();
    assert_eq!((fixture.seq("copy"), fixture.seq("other")), (60, 60));
    let file = |name: &str| std::fs::read(fixture.dir.path().join(name).join("mirror.log")).unwrap();
    assert!(file("copy") == file("mirror") && file("other") == file("mirror"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_is_compacted_under_its_copies_is_followed() {
    let fixture = Fixture::new();
    Embedded::ship(&fixture.options(), &fixture.copy_dir()).unwrap();
    let options = EmbeddedOptions { mirror_compact_bytes: 20_000, ..fixture.with_copies() };
    let store = Embedded::open(options, Arc::new(SystemClock)).unwrap();
    for n in 0..200_u8 {
        write(&store, Space::Control, n % 10..n % 10 + 1).await;
        if n % 3 == 0 {
            assert_eq!(store.confirm_copies().await, Ok(()), "{n}");
        }
    }
    assert_eq!(store.confirm_copies().await, Ok(()));
    store.close();
    let (has, wanted) = (mirror::restore(&fixture.copy_dir()).unwrap(), mirror::restore(&fixture.options().mirror_dir).unwrap());
    assert_eq!((has.seq, has.rows), (wanted.seq, wanted.rows));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_disk_is_gone_fails_by_its_number_holds_up_no_commit_and_comes_back() {
    let fixture = Fixture::new();
    let store = fixture.open_with_copies();
    write(&store, Space::Control, 0..5).await;
    assert_eq!(store.confirm_copies().await, Ok(()));
    let aside = fixture.dir.path().join("aside");
    std::fs::rename(fixture.copy_dir(), &aside).unwrap();
    // Its mount point is there, and empty.
    std::fs::create_dir(fixture.copy_dir()).unwrap();
    write(&store, Space::Control, 5..10).await;
    for _ in 0..2 {
        let told = store.confirm_copies().await.unwrap_err();
        assert!(matches!(&told, StoreError::Io(text) if text.contains("copy 1 ") && text.contains("copy-missing")), "{told}");
    }
    assert_eq!(store.failing_copy().map(|(number, _)| number), Some(1));
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || store.observe());
    let told = recorder.handle().render();
    for line in [
        r#"lethe_control_copy_failing{copy="1"} 1"#,
        r#"lethe_control_copy_failing{copy="2"} 0"#,
        r#"lethe_control_copy_lag_commits{copy="1"} 5"#,
    ] {
        assert!(told.lines().any(|found| found == line), "{line}: {told}");
    }
    write(&store, Space::Records, 0..5).await;
    std::fs::remove_dir(fixture.copy_dir()).unwrap();
    std::fs::rename(&aside, fixture.copy_dir()).unwrap();
    assert_eq!(store.confirm_copies().await, Ok(()), "asked, it is looked at at once");
    assert_eq!((store.failing_copy(), fixture.seq("copy")), (None, 10));
}

/// Whether what goes with a copy hangs, as every call to a mount does whose server is gone.
static HANGS: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

struct Hanging;

impl mirror::Companion for Hanging {
    fn bring(&mut self, _: &dyn Fn()) -> std::io::Result<()> {
        let (hangs, changed) = &HANGS;
        drop(changed.wait_while(hangs.lock().unwrap(), |hangs| *hangs).unwrap());
        Ok(())
    }
}

fn hanging(_: &Path, _: &Path) -> Box<dyn mirror::Companion> {
    Box::new(Hanging)
}

fn hang(hangs: bool) {
    *HANGS.0.lock().unwrap() = hangs;
    HANGS.1.notify_all();
}

/// More time than anybody has for a copy, and less than a disk takes that hangs.
const BOUND: Duration = Duration::from_secs(30);

/// Does what may hang on a thread of its own; it must come back.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, waits) = mpsc::sync_channel(1);
    std::thread::spawn(move || drop(done.send(work())));
    waits.recv_timeout(BOUND).expect("it hangs")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_hangs_ends_in_an_error_within_its_time_and_stops_neither_commits_nor_the_end_nor_a_start() {
    let fixture = Fixture::new();
    let options = EmbeddedOptions { copy_patience: Duration::from_millis(300), companion: Some(hanging), ..fixture.with_copies() };
    for place in &options.copies {
        Embedded::ship(&fixture.options(), &place.dir).unwrap();
    }
    let store = Embedded::open(options.clone(), Arc::new(SystemClock)).unwrap();
    write(&store, Space::Control, 0..5).await;
    assert_eq!(store.confirm_copies().await, Ok(()));
    hang(true);
    write(&store, Space::Control, 5..10).await;
    for _ in 0..3 {
        for patient in [false, true] {
            let asked = if patient { store.catch_up_copies() } else { store.confirm_copies() };
            let told = tokio::time::timeout(BOUND, asked).await.expect("nobody waits for ever").unwrap_err();
            assert!(matches!(&told, StoreError::Io(text) if text.contains("copy 1 ") && text.contains("does not answer")), "{told}");
        }
    }
    assert_eq!(store.failing_copy().map(|(number, _)| number), Some(1));
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let is_told = |line: &str| {
        metrics::with_local_recorder(&recorder, || store.observe());
        recorder.handle().render().lines().any(|told| told == line)
    };
    // Whether or not anybody asks for it.
    for line in [r#"lethe_control_copy_failing{copy="1"} 1"#, r#"lethe_control_copy_failing{copy="2"} 1"#] {
        while !is_told(line) {
            tokio::task::yield_now().await;
        }
    }
    write(&store, Space::Control, 10..15).await;
    write(&store, Space::Records, 0..5).await;
    let closing = Arc::clone(&store);
    in_time(move || closing.close());
    drop(store);

    // And one that cannot even be opened to be read.
    for place in &options.copies {
        let file = place.dir.join("mirror.log");
        std::fs::remove_file(&file).unwrap();
        // By no process: until a child runs its program it has the locks of stores that other tests have open.
        mknodat(CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }
    let store = in_time(move || Embedded::open(options, Arc::new(SystemClock)).unwrap());
    write(&store, Space::Control, 15..20).await;
    assert!(tokio::time::timeout(BOUND, store.confirm_copies()).await.expect("nobody waits for ever").is_err());
    assert_eq!(whole(&store, Space::Control).await, (0..20).collect::<Vec<_>>());
    in_time(move || store.close());
    hang(false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_has_hung_is_gone_on_with_when_it_comes_back() {
    static STUCK: Mutex<()> = Mutex::new(());
    struct Stuck;
    impl mirror::Companion for Stuck {
        fn bring(&mut self, _: &dyn Fn()) -> std::io::Result<()> {
            drop(STUCK.lock().unwrap());
            Ok(())
        }
    }
    fn stuck(_: &Path, _: &Path) -> Box<dyn mirror::Companion> {
        Box::new(Stuck)
    }
    let fixture = Fixture::new();
    let options = EmbeddedOptions { copy_patience: Duration::from_millis(300), companion: Some(stuck), ..fixture.with_copies() };
    for place in &options.copies {
        Embedded::ship(&fixture.options(), &place.dir).unwrap();
    }
    let store = Embedded::open(options, Arc::new(SystemClock)).unwrap();
    // Held by another thread, for this one waits meanwhile.
    let (held, is_held) = mpsc::sync_channel(1);
    let (go, may_go) = mpsc::sync_channel(1);
    let holder = std::thread::spawn(move || {
        let stuck = STUCK.lock().unwrap();
        held.send(()).unwrap();
        may_go.recv().unwrap();
        drop(stuck);
    });
    is_held.recv().unwrap();
    write(&store, Space::Control, 0..5).await;
    assert!(store.confirm_copies().await.is_err());
    go.send(()).unwrap();
    holder.join().unwrap();
    let comes_back = async {
        while store.confirm_copies().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BOUND, comes_back).await.unwrap();
    assert_eq!((store.failing_copy(), fixture.seq("copy")), (None, 5));
    store.close();
    assert_eq!(fixture.seq("other"), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_fails_is_tried_again_in_its_time_and_not_for_each_commit() {
    static TRIES: AtomicU64 = AtomicU64::new(0);
    struct Full;
    impl mirror::Companion for Full {
        fn bring(&mut self, _: &dyn Fn()) -> std::io::Result<()> {
            TRIES.fetch_add(1, Ordering::SeqCst);
            Err(std::io::ErrorKind::StorageFull.into())
        }
    }
    fn full(_: &Path, _: &Path) -> Box<dyn mirror::Companion> {
        Box::new(Full)
    }
    let fixture = Fixture::new();
    Embedded::ship(&fixture.options(), &fixture.copy_dir()).unwrap();
    let place = CopyPlace { dir: fixture.copy_dir(), confirm: true };
    let options = EmbeddedOptions { copies: vec![place], companion: Some(full), ..fixture.options() };
    let begun = SystemClock.monotonic();
    let store = Embedded::open(options, Arc::new(SystemClock)).unwrap();
    for n in (0..50).cycle().take(500) {
        write(&store, Space::Control, n..n + 1).await;
    }
    let (tries, took) = (TRIES.load(Ordering::SeqCst), SystemClock.monotonic().saturating_sub(begun));
    assert!(tries <= 2 + took.as_secs(), "{tries} tries in {took:?}");
    for _ in 0..3 {
        let before = TRIES.load(Ordering::SeqCst);
        let told = store.confirm_copies().await.unwrap_err();
        assert!(told.to_string().contains("disk-full"), "{told}");
        assert!(TRIES.load(Ordering::SeqCst) > before, "asked, it is tried at once");
    }
    store.close();
}

/// Takes longer than an epoch waits, and comes on all the while.
struct Slow;

impl mirror::Companion for Slow {
    fn bring(&mut self, beat: &dyn Fn()) -> std::io::Result<()> {
        for _ in 0..6 {
            let (_keeps, pause) = mpsc::sync_channel::<()>(1);
            assert!(pause.recv_timeout(Duration::from_millis(500)).is_err());
            beat();
        }
        Ok(())
    }
}

fn slow(_: &Path, _: &Path) -> Box<dyn mirror::Companion> {
    Box::new(Slow)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_slow_is_waited_for_as_long_as_it_comes_on_by_who_holds_nobody_up() {
    let fixture = Fixture::new();
    Embedded::ship(&fixture.options(), &fixture.copy_dir()).unwrap();
    let place = CopyPlace { dir: fixture.copy_dir(), confirm: true };
    let options =
        EmbeddedOptions { copies: vec![place], copy_patience: Duration::from_secs(2), companion: Some(slow), ..fixture.options() };
    let store = Embedded::open(options, Arc::new(SystemClock)).unwrap();
    write(&store, Space::Control, 0..5).await;
    let told = store.confirm_copies().await.unwrap_err();
    assert!(told.to_string().contains("does not answer"), "{told}");
    assert_eq!(store.catch_up_copies().await, Ok(()));
    assert_eq!((store.failing_copy(), fixture.seq("copy")), (None, 5));
    assert_eq!(store.confirm_copies().await, Ok(()), "it has all");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_control_store_is_refused_while_a_copy_is_newer_and_rebuilt_from_it() {
    let fixture = Fixture::new();
    let store = fixture.open_with_copies();
    write(&store, Space::Control, 0..20).await;
    store.close();
    let options = fixture.options();
    let kept = [options.dir.clone(), options.mirror_dir.clone()].map(|dir| (dir.clone(), dir.with_extension("kept")));
    for (dir, kept) in &kept {
        copy_all(dir, kept);
    }
    let store = Embedded::open(fixture.with_copies(), Arc::new(SystemClock)).unwrap();
    write(&store, Space::Control, 20..30).await;
    store.close();
    for (dir, kept) in &kept {
        std::fs::remove_dir_all(dir).unwrap();
        std::fs::rename(kept, dir).unwrap();
    }
    // Nothing else is left that could tell.
    fixture.open().close();
    let refused = Embedded::open(fixture.with_copies(), Arc::new(SystemClock)).unwrap_err();
    assert_eq!(refused.name(), "control-behind-copy");
    let from = EmbeddedOptions { mirror_dir: fixture.copy_dir(), ..options };
    assert_eq!(Embedded::rebuild_control_from_mirror(&from).unwrap().control_seq, 30);
    let store = Embedded::open(fixture.with_copies(), Arc::new(SystemClock)).unwrap();
    assert_eq!(whole(&store, Space::Control).await, (0..30).collect::<Vec<_>>());
    assert_eq!(store.confirm_copies().await, Ok(()));
}

fn copy_all(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_copy_of_another_store_is_refused() {
    let (fixture, other) = (Fixture::new(), TempDir::new().unwrap());
    let strange = EmbeddedOptions { dir: other.path().join("store"), mirror_dir: other.path().join("mirror"), ..fixture.options() };
    Embedded::create(&strange, StoreId([8; 16])).unwrap();
    Embedded::ship(&strange, &fixture.copy_dir()).unwrap();
    assert_eq!(Embedded::open(fixture.with_copies(), Arc::new(SystemClock)).unwrap_err().name(), "foreign-store");
    assert_eq!(Embedded::ship(&fixture.options(), &fixture.copy_dir()).unwrap_err().name(), "foreign-store");
}

#[tokio::test]
async fn a_lost_mirror_is_made_anew_although_the_data_is_lost_as_well() {
    let fixture = Fixture::new();
    let store = fixture.open();
    write(&store, Space::Control, 0..20).await;
    store.close();
    let options = fixture.options();
    std::fs::remove_dir_all(&options.mirror_dir).unwrap();
    std::fs::remove_dir_all(options.data_dir()).unwrap();
    assert_eq!(Embedded::rebuild_mirror_from_control(&options).unwrap().control_seq, 20);
    assert_eq!(fixture.seq("mirror"), 20);
}

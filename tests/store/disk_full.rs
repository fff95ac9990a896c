//! A full disk: the reserve in use, the reserve spent, and space coming back. On file systems of limited size, which
//! need the right to mount: root has it, and an ordinary user in a user namespace of its own.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use lethe::vault::store::{
    Commit, Space, Store as _, StoreError, Tail, Urgency, Write,
    embedded::{Embedded, EmbeddedOptions, Health},
};
use rustix::thread::CapabilitySet;

use super::{
    MIB, commit, create,
    disk::{Disk, fill},
    open, options, privilege, put,
};

/// Rows that were answered, by number.
struct Written {
    store: Arc<Embedded>,
    rows: Vec<(Space, u32)>,
    next: u32,
}

impl Written {
    async fn write(&mut self, space: Space, urgency: Urgency) -> Result<(), StoreError> {
        let n = self.next;
        let row = put(space, n.to_be_bytes().to_vec(), vec![n.to_le_bytes()[0]; 10_000]);
        self.store.commit(commit(urgency, vec![row])).await?;
        self.next += 1;
        self.rows.push((space, n));
        Ok(())
    }

    /// Writes to both databases until the disk stays full: flushes and compactions in the background still free some.
    async fn until_full(&mut self, urgency: Urgency) -> u32 {
        let before = self.next;
        let mut refusals = 0;
        while refusals < 20 {
            for space in [Space::Records, Space::Records, Space::Records, Space::Control] {
                match self.write(space, urgency).await {
                    Ok(()) => refusals = 0,
                    Err(StoreError::DiskFull) => refusals += 1,
                    Err(other) => panic!("a full disk is answered as such: {other}"),
                }
            }
            if refusals > 0 {
                #[expect(clippy::disallowed_methods, reason = "the engine's background work tells nobody that it is done")]
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        self.next - before
    }

    async fn verify(&self) {
        for (space, n) in &self.rows {
            let row = self.store.get(*space, &n.to_be_bytes()).await.unwrap();
            assert_eq!(row.unwrap(), vec![n.to_le_bytes()[0]; 10_000], "{space:?} {n}");
        }
    }

    async fn reopened(mut self, options: &EmbeddedOptions) -> Self {
        self.store.close();
        self.store = open(options);
        self.verify().await;
        self
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn essential_commits_go_on_in_the_reserve_and_all_resume_when_space_is_back() {
    if !privilege::held(CapabilitySet::SYS_ADMIN, "disk_full::essential_commits_go_on_in_the_reserve_and_all_resume_when_space_is_back") {
        return;
    }
    let disk = Disk::of(96 * MIB);
    let options = options(&disk.path("store"), &disk.path("mirror"));
    let mut written = Written { store: create(&options), rows: vec![], next: 0 };
    let (ballast, reserve) = (disk.path("ballast"), options.dir.join("reserve"));
    fs::write(&ballast, vec![1; 48 * 1024 * 1024]).unwrap();
    assert!(written.until_full(Urgency::Normal).await > 50);
    assert_eq!(written.store.health(), Health::EssentialOnly);
    assert_eq!(written.store.takes_commits(), Ok(()), "ready while the reserve lasts");
    assert!(!reserve.exists());
    written.verify().await;
    // Phase one: the reserve is in use. Deletes, shreds and audited reads write, ordinary commits do not.
    for space in [Space::Records, Space::Control, Space::DataAudit] {
        assert_eq!(written.write(space, Urgency::Normal).await, Err(StoreError::DiskFull));
        written.write(space, Urgency::Essential).await.unwrap();
    }
    let essential = written.until_full(Urgency::Essential).await;
    assert!(essential > 100, "only {essential} essential commits fit");
    // Phase two: it is spent.
    assert_eq!(written.write(Space::Records, Urgency::Essential).await, Err(StoreError::DiskFull));
    assert_eq!(written.store.health(), Health::Full);
    assert_eq!(written.store.takes_commits(), Err(StoreError::DiskFull), "not ready once the reserve is spent");
    written.verify().await;
    // A restart on the full disk loses nothing either.
    let mut written = written.reopened(&options).await;
    assert_eq!(written.write(Space::Records, Urgency::Normal).await, Err(StoreError::DiskFull));
    fs::remove_file(&ballast).unwrap();
    written.write(Space::Records, Urgency::Normal).await.unwrap();
    assert_eq!(written.store.health(), Health::Ok);
    assert_eq!(fs::metadata(&reserve).unwrap().len(), options.reserve_bytes);
    assert_eq!(written.store.sync_mirror().await, Ok(()));
    written.reopened(&options).await;
}

/// Fills the disk after the store has looked at it, as a stranger might.
struct Stranger {
    file: PathBuf,
    told: Arc<Mutex<Vec<bool>>>,
}

impl Tail for Stranger {
    fn rows(&mut self) -> Result<Vec<Write>, StoreError> {
        fill(&self.file, 0);
        Ok(vec![])
    }

    fn settled(&mut self, stored: bool) {
        self.told.lock().unwrap().push(stored);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_a_stranger_fills_at_once_loses_nothing_and_needs_no_restart() {
    if !privilege::held(CapabilitySet::SYS_ADMIN, "disk_full::a_disk_that_a_stranger_fills_at_once_loses_nothing_and_needs_no_restart") {
        return;
    }
    let disk = Disk::of(96 * MIB);
    let options = options(&disk.path("store"), &disk.path("mirror"));
    let mut written = Written { store: create(&options), rows: vec![], next: 0 };
    for _ in 0..100 {
        written.write(Space::Records, Urgency::Normal).await.unwrap();
        written.write(Space::Control, Urgency::Normal).await.unwrap();
    }
    let (file, told) = (disk.path("stranger"), Arc::default());
    // Far larger than what the engine has allocated ahead for its WAL.
    let row = |n: u8| put(Space::Records, vec![0xff, n], vec![n; 90_000]);
    let rows = (0..100).map(row).collect();
    let tail = Stranger { file: file.clone(), told: Arc::clone(&told) };
    let failed = written.store.commit(Commit { tail: Some(Box::new(tail)), ..commit(Urgency::Normal, rows) }).await;
    assert!(matches!(failed, Err(StoreError::Io(_))), "{failed:?}");
    assert_eq!(*told.lock().unwrap(), [false]);
    assert_eq!(written.store.health(), Health::Full);
    assert_eq!(written.store.takes_commits(), Err(StoreError::DiskFull), "not ready once the reserve is spent");
    // With the reserve's space the databases are opened anew, and what is essential goes on.
    assert_eq!(written.write(Space::Records, Urgency::Normal).await, Err(StoreError::DiskFull));
    written.write(Space::Records, Urgency::Essential).await.unwrap();
    written.write(Space::Control, Urgency::Essential).await.unwrap();
    assert_eq!(written.store.health(), Health::EssentialOnly);
    assert_eq!(written.store.takes_commits(), Ok(()), "ready while the reserve lasts");
    assert_eq!(written.store.get(Space::Records, &[0xff, 0]).await, Ok(None));
    written.verify().await;
    fs::remove_file(&file).unwrap();
    written.write(Space::Records, Urgency::Normal).await.unwrap();
    written.write(Space::Control, Urgency::Normal).await.unwrap();
    assert_eq!(written.store.health(), Health::Ok);
    assert_eq!(written.store.get(Space::Records, &[0xff, 0]).await, Ok(None));
    written.verify().await;
    let written = written.reopened(&options).await;
    assert_eq!(written.store.get(Space::Records, &[0xff, 0]).await, Ok(None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_mirror_refuses_control_commits_and_keeps_room_for_essential_ones() {
    if !privilege::held(CapabilitySet::SYS_ADMIN, "disk_full::a_full_mirror_refuses_control_commits_and_keeps_room_for_essential_ones") {
        return;
    }
    let (disk, mirror) = (Disk::of(128 * MIB), Disk::of(8 * MIB));
    let options = options(&disk.path("store"), &mirror.path("mirror"));
    let mut written = Written { store: create(&options), rows: vec![], next: 0 };
    written.write(Space::Control, Urgency::Normal).await.unwrap();
    fill(&mirror.path("ballast"), 0);
    let mut normal = 0;
    while written.write(Space::Control, Urgency::Normal).await.is_ok() {
        normal += 1;
    }
    assert!(normal < 200, "{normal}");
    assert_eq!(written.write(Space::Control, Urgency::Normal).await, Err(StoreError::DiskFull));
    for _ in 0..50 {
        written.write(Space::Control, Urgency::Essential).await.unwrap();
    }
    assert_eq!((written.store.health(), written.store.takes_commits()), (Health::EssentialOnly, Ok(())), "ready while the reserve lasts");
    while written.write(Space::Control, Urgency::Essential).await.is_ok() {}
    assert_eq!(written.write(Space::Control, Urgency::Essential).await, Err(StoreError::DiskFull));
    assert_eq!(written.store.takes_commits(), Err(StoreError::DiskFull), "not ready once the mirror's reserve is spent");
    written.write(Space::Records, Urgency::Normal).await.unwrap();
    fs::remove_file(mirror.path("ballast")).unwrap();
    // Nobody who asks whether it is ready sends a change first.
    let waits = async {
        while written.store.takes_commits().is_err() {
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(30), waits).await, Ok(()));
    assert_eq!(written.store.health(), Health::Ok);
    written.write(Space::Control, Urgency::Normal).await.unwrap();
    assert_eq!(written.store.sync_mirror().await, Ok(()));
    written.reopened(&options).await;
}

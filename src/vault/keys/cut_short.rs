//! Epochs that break off while the process lives: nothing is destroyed, reported or acknowledged that a start has not finished.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    shred::{Designed, Procedure},
    testing::{STORE, Site},
    *,
};
use crate::{
    domain::{Epoch, RootId},
    vault::{
        crypto::{PageSlots, SlotIndex},
        store::{
            Commit, Committed, Row, Space, Store, StoreError, Write,
            schema::{self, KeyRange},
        },
    },
};

const A: TenantNo = TenantNo(1);

/// The real engine; the next commit that moves the root is made, and answered with a fault. From then on the store is as after
/// a failed write.
struct Faulty {
    inner: Arc<dyn Store>,
    fault: Mutex<Option<StoreError>>,
    failed: Mutex<bool>,
}

impl Faulty {
    fn new(site: &Site) -> Arc<Self> {
        Arc::new(Self { inner: site.store(), fault: Mutex::new(None), failed: Mutex::new(false) })
    }

    fn up(&self) -> Result<(), StoreError> {
        if *self.failed.lock().unwrap() { Err(StoreError::Closed) } else { Ok(()) }
    }
}

#[async_trait]
impl Store for Faulty {
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(space, key).await
    }

    async fn scan(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        self.inner.scan(space, from, to, limit).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.up()?;
        let moves_root = commit.writes.iter().any(|write| matches!(write, Write::Put { key, .. } if *key == schema::root_ptr()));
        let fault = if moves_root { self.fault.lock().unwrap().take() } else { None };
        let done = self.inner.commit(commit).await;
        match fault {
            None => done,
            Some(fault) => {
                done?;
                *self.failed.lock().unwrap() = true;
                Err(fault)
            }
        }
    }

    async fn sync_mirror(&self) -> Result<(), StoreError> {
        self.up()?;
        self.inner.sync_mirror().await
    }

    async fn compact(&self, space: Space, ranges: &[KeyRange]) -> Result<(), StoreError> {
        self.inner.compact(space, ranges).await
    }
}

/// File custody that refuses to keep and to destroy, so many times.
struct Stumbling {
    inner: FileCustody,
    unkept: Arc<AtomicUsize>,
    refusals: Arc<AtomicUsize>,
}

/// Whether one more is to be refused.
fn refuses(left: &AtomicUsize) -> Result<(), CustodyError> {
    let refused = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
    if refused { Err(CustodyError::Io("planted".to_owned())) } else { Ok(()) }
}

impl Custody for Stumbling {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn load(&self) -> Result<Vec<custody::Held>, CustodyError> {
        self.inner.load()
    }

    fn prepare(&self, epoch: Epoch, root_id: RootId, secret: &[u8; 32]) -> Result<(), CustodyError> {
        refuses(&self.unkept)?;
        self.inner.prepare(epoch, root_id, secret)
    }

    fn destroy(&self, root_id: RootId) -> Result<DestroyReceipt, CustodyError> {
        refuses(&self.refusals)?;
        self.inner.destroy(root_id)
    }

    fn destroyed(&self, root_id: RootId) -> Result<Option<DestroyReceipt>, CustodyError> {
        self.inner.destroyed(root_id)
    }

    fn scrub(&self) -> Result<(), CustodyError> {
        self.inner.scrub()
    }

    fn describe(&self) -> Result<Description, CustodyError> {
        self.inner.describe()
    }
}

/// Leaves a target's key as it is.
struct KeepsTarget;

impl Procedure for KeepsTarget {
    fn refresh_target(&self, _: &mut PageSlots, _: SlotIndex) {}
}

/// Epochs whose component lies in each custody file.
fn held(site: &Site) -> Vec<Vec<u64>> {
    let file = |name| FileCustody::open(&site.custody_path(name), None, STORE, Arc::new(site.clock.clone())).unwrap();
    ["a", "b"].map(|name| file(name).load().unwrap().iter().map(|held| held.epoch.0).collect()).into()
}

async fn two_units(forest: &Forest) -> Vec<ShredTarget> {
    forest.make_tenant(A).await.unwrap();
    let mut targets = Vec::new();
    for _ in 0..2 {
        let unit = forest.make_unit(A).await.unwrap();
        targets.push(ShredTarget::Unit { tenant: A, slot: unit.slot });
    }
    targets
}

/// The forest with a custody that stumbles when it is told to: at keeping, and at destroying.
async fn stumbling(site: &Site) -> (Forest, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (unkept, refusals) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut ground = site.ground();
    let inner = FileCustody::open(&site.custody_path("b"), None, STORE, Arc::new(site.clock.clone())).unwrap();
    ground.custody[1] = Box::new(Stumbling { inner, unkept: Arc::clone(&unkept), refusals: Arc::clone(&refusals) });
    let (forest, _) = Forest::open_by(ground, site.options, Box::new(Designed)).await.unwrap();
    (forest, unkept, refusals)
}

/// As after a mirror that failed behind the control store's write: whatever asks for a report, both roots stay until a start
/// has brought the mirror up to date.
#[tokio::test]
async fn no_report_of_an_epoch_that_was_cut_short_is_given_and_no_root_destroyed_for_it() {
    for fault in [StoreError::Io("mirror: planted".to_owned()), StoreError::Closed] {
        let site = Site::new();
        let targets = two_units(&site.create().await).await;
        let store = Faulty::new(&site);
        let ground = Ground { store: Arc::<Faulty>::clone(&store), ..site.ground() };
        let (forest, _) = Forest::open(ground, site.options).await.unwrap();
        *store.fault.lock().unwrap() = Some(fault.clone());
        assert_eq!(forest.shred(&targets[..1], vec![], vec![]).await.err(), Some(KeysError::Restart), "{fault}");
        assert!(!forest.is_whole());
        for _ in 0..2 {
            assert_eq!(forest.report(Epoch(2)).await.err(), Some(KeysError::Restart), "{fault}");
            assert_eq!(forest.heal().await.err(), Some(KeysError::Restart), "{fault}");
            assert_eq!(forest.shred(&targets[1..], vec![], vec![]).await.err(), Some(KeysError::Restart), "{fault}");
        }
        assert_eq!(held(&site), [[1, 2], [1, 2]], "{fault}: both roots are needed until it is known what is on disk");
        drop(forest);
        let (forest, recovery) = site.open().await.unwrap();
        assert_eq!(recovery, Recovery { row: StartRow::RolledForward, epoch: Epoch(2) }, "{fault}");
        assert_eq!(held(&site), [[2], [2]]);
        assert_eq!(forest.report(Epoch(2)).await.unwrap().unwrap().receipts.len(), 2);
        assert!(forest.report(Epoch(3)).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn what_failed_its_self_check_is_reported_neither_by_this_process_nor_by_the_next() {
    let site = Site::new();
    let targets = two_units(&site.create().await).await;
    let (forest, _) = Forest::open_by(site.ground(), site.options, Box::new(KeepsTarget)).await.unwrap();
    let refused = KeysError::SelfCheck("a target's key is still reachable");
    assert_eq!(forest.shred(&targets[..1], vec![], vec![]).await.err(), Some(refused.clone()));
    assert_eq!(forest.report(Epoch(2)).await.err(), Some(KeysError::Restart));
    forest.heal().await.unwrap();
    assert_eq!(forest.report(Epoch(2)).await.err(), Some(refused.clone()), "healed, and refused all the same");
    drop(forest);
    for epoch in [3, 4] {
        let (forest, _) = site.open().await.unwrap();
        assert_eq!(forest.report(Epoch(2)).await.err(), Some(refused.clone()), "a start does not pass it by");
        let other = forest.shred(&targets[1..], vec![], vec![]).await.unwrap();
        assert_eq!(other.record.new_epoch, Epoch(epoch), "others are not held up");
        assert_eq!(forest.report(Epoch(epoch)).await.unwrap().unwrap().record, other.record);
    }
}

#[tokio::test]
async fn rows_of_a_self_check_that_passed_go_with_the_next_epoch() {
    let site = Site::new();
    let mut forest = site.create().await;
    let targets = two_units(&forest).await;
    let rows = async || {
        let range = schema::table(schema::Table::EpochCheck);
        site.store().scan(Space::Control, &range.from, &range.to, 10).await.unwrap().len()
    };
    for target in &targets {
        forest.shred(std::slice::from_ref(target), vec![], vec![]).await.unwrap();
        assert_eq!(rows().await, 1);
        forest = site.open().await.unwrap().0;
    }
    forest.shred(&[], vec![], vec![]).await.unwrap();
    assert_eq!(rows().await, 0);
}

#[tokio::test]
async fn a_custody_that_stumbles_is_asked_again_and_the_forest_heals_without_a_restart() {
    let site = Site::new();
    let targets = two_units(&site.create().await).await;
    let (forest, _, refusals) = stumbling(&site).await;
    // Three tries of the epoch itself, and one of the first attempt at healing.
    refusals.store(4, Ordering::SeqCst);
    assert_eq!(forest.shred(&targets[..1], vec![], vec![]).await.err(), Some(KeysError::Restart));
    assert!(!forest.is_whole());
    assert_eq!(forest.load_unit(A, Slot::new(1).unwrap()).await.err(), Some(KeysError::Restart));
    assert!(matches!(forest.heal().await, Err(KeysError::Custody(_))));
    assert_eq!(held(&site), [vec![2], vec![1, 2]]);
    forest.heal().await.unwrap();
    assert!(forest.is_whole());
    assert_eq!(held(&site), [[2], [2]]);
    assert_eq!(forest.report(Epoch(2)).await.unwrap().unwrap().receipts.len(), 2);
    assert_eq!(forest.load_unit(A, Slot::new(0).unwrap()).await.unwrap().generation, Gen(1));
    assert_eq!(forest.load_unit(A, Slot::new(1).unwrap()).await.unwrap().generation, Gen(0));
    assert_eq!(forest.shred(&targets[1..], vec![], vec![]).await.unwrap().record.new_epoch, Epoch(3));
}

#[tokio::test]
async fn custody_that_failed_once_is_asked_again_and_need_not_wait_for_an_epoch() {
    let site = Site::new();
    let targets = two_units(&site.create().await).await;
    let (forest, unkept, refusals) = stumbling(&site).await;
    unkept.store(2, Ordering::SeqCst);
    // A rotation, which nobody repeats.
    assert!(matches!(forest.shred(&[], vec![], vec![]).await, Err(KeysError::Custody(_))));
    assert!(forest.is_whole());
    // The first time it does not keep a root again, the second time it does not let go of it.
    for refused_next in [1, 0] {
        assert!(matches!(forest.ready(), Err(KeysError::Custody(_))));
        assert!(matches!(forest.ask_custody_again().await, Err(KeysError::Custody(_))));
        refusals.store(refused_next, Ordering::SeqCst);
    }
    forest.ask_custody_again().await.unwrap();
    assert_eq!(forest.ready(), Ok(()));
    assert_eq!((held(&site), forest.epoch()), (vec![vec![1], vec![1]], Epoch(1)), "nothing came of it");
    forest.ask_custody_again().await.unwrap();
    assert_eq!(forest.shred(&targets[..1], vec![], vec![]).await.unwrap().record.new_epoch, Epoch(2));
}

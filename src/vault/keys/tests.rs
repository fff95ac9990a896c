//! The forest as its callers see it.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{testing::Site, *};
use crate::{
    domain::{CollectionNo, Epoch, TreeId},
    vault::{
        crypto::{Data, Key},
        store::{
            Check, Commit, Committed, Expect, Row, Space, Store, StoreError, Write,
            schema::{self, KeyRange},
        },
    },
};

const A: TenantNo = TenantNo(1);
const B: TenantNo = TenantNo(2);

fn bytes(forest: &Forest, unit: UnitRef) -> [u8; 32] {
    forest.lend_unit(unit, |key| *key.expose()).unwrap()
}

async fn units(forest: &Forest, tenant: TenantNo, count: usize) -> Vec<UnitRef> {
    forest.make_tenant(tenant).await.unwrap();
    let mut units = Vec::new();
    for _ in 0..count {
        units.push(forest.make_unit(tenant).await.unwrap());
    }
    units
}

fn target(unit: UnitRef) -> ShredTarget {
    ShredTarget::Unit { tenant: unit.tenant, slot: unit.slot }
}

#[tokio::test]
async fn keys_are_the_same_after_a_reopen_and_differ_from_each_other() {
    let site = Site::new();
    let forest = site.create().await;
    let mut made = units(&forest, A, 70).await;
    made.extend(units(&forest, B, 3).await);
    let mut keys: Vec<_> = made.iter().map(|unit| bytes(&forest, *unit)).collect();
    drop(forest);
    let (forest, recovery) = site.open().await.unwrap();
    assert_eq!(recovery, Recovery { row: StartRow::Clean, epoch: Epoch(1) });
    for unit in &made {
        assert_eq!(forest.lend_unit(*unit, |_| ()), Err(LendError::Missing));
    }
    for (unit, key) in made.iter().zip(&keys) {
        assert_eq!(forest.load_unit(unit.tenant, unit.slot).await.unwrap(), *unit);
        assert_eq!(bytes(&forest, *unit), *key);
    }
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 73);
}

#[tokio::test]
async fn a_shredded_unit_is_gone_and_its_neighbours_stay() {
    let site = Site::new();
    let forest = site.create().await;
    let made = units(&forest, A, 3).await;
    let other = units(&forest, B, 1).await[0];
    let keys: Vec<_> = made.iter().chain([&other]).map(|unit| bytes(&forest, *unit)).collect();
    let report = forest.shred(&[target(made[1])], vec![], vec![]).await.unwrap();
    assert_eq!((report.record.old_epoch, report.record.new_epoch), (Epoch(1), Epoch(2)));
    assert_eq!(report.record.done, [ShredDone { target: target(made[1]), generation: Some(Gen(1)) }]);
    assert_eq!(report.receipts.len(), 2, "one for each component");
    let mut forest = forest;
    for _ in 0..2 {
        for unit in made.iter().chain([&other]) {
            forest.load_unit(unit.tenant, unit.slot).await.unwrap();
        }
        assert_eq!(forest.lend_unit(made[1], |_| ()), Err(LendError::Shredded));
        assert_eq!(forest.lend_data(made[0], made[1], CollectionNo(1), |_| ()), Err(LendError::Shredded));
        for (unit, key) in [made[0], made[2], other].iter().zip([keys[0], keys[2], keys[3]]) {
            assert_eq!(bytes(&forest, *unit), key);
        }
        assert_eq!(forest.report(Epoch(2)).await.unwrap().unwrap().record, report.record);
        forest = site.open().await.unwrap().0;
    }
}

/// An order is carried out as a whole between the two looks of one who uses the key: its unit is open at both.
#[tokio::test]
async fn a_key_that_is_replaced_while_it_is_lent_gives_no_result() {
    let site = Site::new();
    let forest = site.create().await;
    let made = units(&forest, A, 2).await;
    let shred = |slot: Slot, loads: bool| {
        let shredded = async {
            forest.fence().close_unit(A, slot);
            forest.shred(&[ShredTarget::Unit { tenant: A, slot }], vec![], vec![]).await.unwrap();
            forest.fence().reopen_unit(A, slot);
            if loads {
                forest.load_unit(A, slot).await.unwrap();
            }
        };
        // On a thread of its own: this one waits in the use of the key.
        let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(shredded);
        std::thread::scope(|scope| scope.spawn(run).join().unwrap());
    };
    for (loads, told) in [(false, LendError::Missing), (true, LendError::Shredded)] {
        let unit = forest.load_unit(A, made[0].slot).await.unwrap();
        assert_eq!(forest.lend_unit(unit, |_| shred(unit.slot, loads)), Err(told));
        let unit = forest.load_unit(A, made[0].slot).await.unwrap();
        let collection = forest.load_unit(A, made[1].slot).await.unwrap();
        assert_eq!(forest.lend_data(collection, unit, CollectionNo(1), |_| shred(unit.slot, loads)), Err(told));
    }
    // Whatever else is closed, and what is opened again with its key, takes nothing away.
    let unit = forest.load_unit(A, made[1].slot).await.unwrap();
    let closed = |slot| {
        forest.fence().close_unit(A, slot);
        forest.fence().reopen_unit(A, slot);
        7
    };
    for slot in [made[0].slot, made[1].slot] {
        assert_eq!(forest.lend_unit(unit, |_| closed(slot)), Ok(7));
    }
}

#[tokio::test]
async fn a_shredded_tenant_is_gone_with_all_its_units() {
    let site = Site::new();
    let forest = site.create().await;
    let dead = units(&forest, A, 2).await;
    let live = units(&forest, B, 1).await[0];
    let tree = forest.make_tenant(A).await.unwrap().tree;
    forest.load_tenant(A).await.unwrap();
    assert_eq!(forest.lend_tenant(A, |_| ()), Ok(()));
    let key = bytes(&forest, live);
    let report = forest.shred(&[ShredTarget::Tenant(A), target(dead[1]), target(live)], vec![], vec![]).await.unwrap();
    assert_eq!(report.record.done.len(), 3, "{:?}", report.record.done);
    assert!(report.record.done.contains(&ShredDone { target: ShredTarget::Tenant(A), generation: Some(Gen(1)) }));
    assert!(report.record.done.contains(&ShredDone { target: target(dead[1]), generation: None }));
    let range = schema::pages(tree);
    let mut forest = forest;
    for _ in 0..2 {
        assert_eq!(forest.load_tenant(A).await, Err(KeysError::Shredded));
        assert_eq!(forest.lend_tenant(A, |_| ()), Err(LendError::Shredded));
        assert_eq!(forest.load_unit(A, dead[0].slot).await, Err(KeysError::Shredded));
        assert_eq!(forest.lend_unit(dead[0], |_| ()), Err(LendError::Missing), "its key is in no cache");
        assert_eq!(forest.make_unit(A).await.err(), Some(KeysError::Shredded));
        assert!(site.store().scan(Space::Control, &range.from, &range.to, 1).await.unwrap().is_empty(), "no page of it is left");
        assert_ne!(forest.load_unit(B, live.slot).await.unwrap(), live);
        assert_ne!(forest.lend_unit(forest.load_unit(B, live.slot).await.unwrap(), |key| *key.expose()).unwrap(), key);
        forest = site.open().await.unwrap().0;
    }
}

#[tokio::test]
async fn what_is_kept_of_a_tenant_is_there_and_all_else_of_it_is_shredded() {
    let site = Site::new();
    let forest = site.create().await;
    let made = units(&forest, A, 200).await;
    let other = units(&forest, B, 1).await[0];
    forest.load_tenant(A).await.unwrap();
    let secret = forest.lend_tenant(A, |key| *key.expose()).unwrap();
    let (keys, other_key): (Vec<_>, _) = (made.iter().map(|unit| bytes(&forest, *unit)).collect(), bytes(&forest, other));
    let kept = [0, 7, 130];
    let slots = || BTreeMap::from([(A, kept.iter().map(|at| made[*at].slot).collect())]);
    for (targets, kept) in [
        (vec![ShredTarget::Others(A)], BTreeMap::new()),
        (vec![ShredTarget::Others(TenantNo::SYSTEM)], BTreeMap::from([(TenantNo::SYSTEM, BTreeSet::new())])),
        (vec![ShredTarget::Others(A)], BTreeMap::from([(A, BTreeSet::from([Slot::new(1 << 40).unwrap()]))])),
    ] {
        let refused = forest.shred_keeping(&targets, kept, |_| Extra::default()).await;
        assert_eq!(refused.err(), Some(KeysError::Unknown), "{targets:?}");
    }
    let report = forest.shred_keeping(&[ShredTarget::Others(A)], slots(), |_| Extra::default()).await.unwrap();
    assert_eq!(report.record.done, [ShredDone { target: ShredTarget::Others(A), generation: Some(Gen(1)) }]);
    let tree = forest.make_tenant(A).await.unwrap().tree;
    let mut forest = forest;
    for _ in 0..2 {
        for (at, (unit, key)) in made.iter().zip(&keys).enumerate() {
            let now = forest.load_unit(A, unit.slot).await;
            if kept.contains(&at) {
                assert_eq!((now, bytes(&forest, *unit)), (Ok(*unit), *key), "unit {at}");
            } else {
                // A definite answer, be it of the unit or of all that was below an entry.
                let is_told = now == Err(KeysError::Shredded) || now.as_ref().is_ok_and(|now| now.generation > unit.generation);
                assert!(is_told, "unit {at}: {now:?}");
                assert!(forest.lend_unit(*unit, |_| ()).is_err());
            }
        }
        forest.load_tenant(A).await.unwrap();
        assert_eq!(forest.lend_tenant(A, |key| *key.expose()), Ok(secret));
        forest.load_unit(B, other.slot).await.unwrap();
        assert_eq!(bytes(&forest, other), other_key);
        let range = schema::pages(tree);
        let left = site.store().scan(Space::Control, &range.from, &range.to, usize::MAX).await.unwrap();
        assert_eq!(left.len(), 3, "the top and two leaves; what nothing opens is not there any more");
        assert_eq!(forest.report(Epoch(2)).await.unwrap().unwrap().record, report.record);
        forest = site.open().await.unwrap().0;
    }
    // Units that are opened then are refused, or have keys that nothing else has.
    for _ in 0..70 {
        match forest.make_unit(A).await {
            Err(KeysError::Shredded) => {}
            made => assert!(!keys.contains(&bytes(&forest, made.unwrap()))),
        }
    }
    // What went before goes with no name of its own, and the last of it with the tenant.
    let both = [target(made[7]), target(made[70])];
    let report = forest.shred(&both, vec![], vec![]).await.unwrap();
    assert!(report.record.done.contains(&ShredDone { target: both[1], generation: None }), "{:?}", report.record.done);
    assert_ne!(forest.load_unit(A, made[7].slot).await.unwrap(), made[7]);
    assert_eq!(forest.load_unit(A, made[0].slot).await, Ok(made[0]));
    forest.shred(&[ShredTarget::Tenant(A)], vec![], vec![]).await.unwrap();
    assert_eq!(forest.load_unit(A, made[0].slot).await, Err(KeysError::Shredded));
    let (forest, _) = site.open().await.unwrap();
    for epoch in 2..=forest.epoch().0 {
        assert!(forest.report(Epoch(epoch)).await.unwrap().is_some(), "epoch {epoch}");
    }
}

#[tokio::test]
async fn what_is_kept_costs_its_own_pages_and_not_its_tenants() {
    let mut pages = std::collections::HashMap::new();
    for (tenant_units, kept) in [(128, 1), (640, 1), (128, 64), (640, 64), (640, 65), (640, 640)] {
        let site = Site::new();
        let forest = site.create().await;
        let made = units(&forest, A, tenant_units).await;
        let slots = made[..kept].iter().map(|unit| unit.slot).collect();
        let report = forest.shred_keeping(&[ShredTarget::Others(A)], [(A, slots)].into(), |_| Extra::default()).await.unwrap();
        pages.insert((tenant_units, kept), report.record.pages);
    }
    // Two pages of the tenants' tree, the top of the unit tree, and the leaves over what is kept.
    for (of, count) in [((128, 1), 4), ((640, 1), 4), ((128, 64), 4), ((640, 64), 4), ((640, 65), 5), ((640, 640), 13)] {
        assert_eq!(pages[&of], count, "(units, kept) {of:?}");
    }
}

#[tokio::test]
async fn keys_lent_one_after_the_other_are_those_lent_alone() {
    let site = Site::new();
    let forest = site.create().await;
    let made = units(&forest, A, 5).await;
    let other = units(&forest, B, 1).await[0];
    let collection = made[0];
    let alone: Vec<_> = made.iter().map(|unit| forest.lend_data(collection, *unit, CollectionNo(7), |key| *key.expose())).collect();
    let mut places = Vec::new();
    let each = forest.lend_data_each(collection, &made, CollectionNo(7), |place, key| {
        places.push(place);
        *key.expose()
    });
    assert_eq!((each, places), (alone, vec![0, 1, 2, 3, 4]));
    forest.shred(&[target(made[2])], vec![], vec![]).await.unwrap();
    for unit in made.iter().chain([&other]) {
        forest.load_unit(unit.tenant, unit.slot).await.unwrap();
    }
    let lent = forest.lend_data_each(collection, &made, CollectionNo(7), |place, _| place);
    assert_eq!(lent, [Ok(0), Ok(1), Err(LendError::Shredded), Ok(3), Ok(4)], "one that is shredded takes no other along");
    let closes_itself = |place: usize, _: &Key<Data>| {
        if place == 1 {
            forest.fence().close_unit(A, made[3].slot);
        }
    };
    let lent = forest.lend_data_each(collection, &[made[1], made[3], made[4]], CollectionNo(7), closes_itself);
    assert_eq!(lent, [Ok(()), Err(LendError::Pending), Ok(())]);
    forest.fence().reopen_unit(A, made[3].slot);
    let closes_collection = |place: usize, _: &Key<Data>| {
        if place == 1 {
            forest.fence().close_unit(A, collection.slot);
        }
    };
    let lent = forest.lend_data_each(collection, &made[3..], CollectionNo(7), closes_collection);
    assert_eq!(lent, [Err(LendError::Pending), Err(LendError::Pending)], "nor what was made before it closed");
}

#[tokio::test]
async fn what_is_closed_is_not_lent_even_if_it_closes_meanwhile() {
    let site = Site::new();
    let forest = site.create().await;
    let made = units(&forest, A, 2).await;
    forest.load_tenant(A).await.unwrap();
    assert_eq!(forest.lend_unit(made[0], |_| forest.fence().close_unit(A, made[0].slot)), Err(LendError::Pending));
    assert_eq!(forest.lend_unit(made[0], |_| ()), Err(LendError::Pending));
    assert_eq!(forest.lend_data(made[0], made[1], CollectionNo(1), |_| ()), Err(LendError::Pending), "a closed collection");
    assert_eq!(forest.lend_data_each(made[0], &made[1..], CollectionNo(1), |_, _| ()), [Err(LendError::Pending)]);
    assert_eq!(forest.lend_unit(made[1], |_| ()), Ok(()));
    assert_eq!(forest.lend_tenant(A, |_| forest.fence().close_tenant(A)), Err(LendError::Pending));
    assert_eq!(forest.lend_unit(made[1], |_| ()), Err(LendError::Pending));
}

#[tokio::test]
async fn trees_grow_in_an_epoch_and_keep_every_key() {
    let site = Site::low();
    let forest = site.create().await;
    let made = units(&forest, A, 64).await;
    let keys: Vec<_> = made.iter().map(|unit| bytes(&forest, *unit)).collect();
    assert_eq!((forest.epoch(), forest.make_tenant(A).await.unwrap().height), (Epoch(1), 1));
    let next = forest.make_unit(A).await.unwrap();
    assert_eq!((next.slot.number(), forest.epoch(), forest.make_tenant(A).await.unwrap().height), (64, Epoch(2), 2));
    // The 33rd tenant (number 32) is the first that needs a second level.
    for tenant in 2..=32 {
        forest.make_tenant(TenantNo(tenant)).await.unwrap();
    }
    assert_eq!(forest.epoch(), Epoch(3));
    let far = forest.make_unit(TenantNo(32)).await.unwrap();
    let far_key = bytes(&forest, far);
    forest.shred(&[target(made[7]), target(next)], vec![], vec![]).await.unwrap();
    let (forest, _) = site.open().await.unwrap();
    for (unit, key) in made.iter().zip(&keys) {
        let now = forest.load_unit(A, unit.slot).await.unwrap();
        assert_eq!(now.generation == Gen(0), unit.slot != made[7].slot);
        assert_eq!(bytes(&forest, now) == *key, unit.slot != made[7].slot);
    }
    forest.load_unit(far.tenant, far.slot).await.unwrap();
    assert_eq!(bytes(&forest, far), far_key);
    assert_eq!(forest.load_unit(A, next.slot).await.unwrap().generation, Gen(1));
}

#[tokio::test]
async fn numbers_are_never_given_twice_and_a_start_takes_new_blocks() {
    let site = Site::new();
    let mut seen = std::collections::HashSet::new();
    let mut forest = site.create().await;
    forest.make_tenant(A).await.unwrap();
    for _ in 0..3 {
        for kind in [LeaseKind::Tenant, LeaseKind::Collection(A), LeaseKind::Collection(B), LeaseKind::Version, LeaseKind::AuditWriter] {
            for _ in 0..3 {
                let number = forest.lease(kind).await.unwrap();
                assert!(number > 0 && seen.insert((Some(kind), number)), "{kind:?} {number}");
            }
        }
        let slots = [forest.make_unit(A).await.unwrap().slot.number(), forest.make_unit(A).await.unwrap().slot.number()];
        assert!(slots.iter().all(|slot| seen.insert((None, *slot))), "{slots:?}");
        assert!(slots[0].is_multiple_of(64), "a start begins a new leaf page");
        forest = site.open().await.unwrap().0;
    }
}

#[tokio::test]
async fn the_callers_rows_stand_or_fall_with_the_epoch() {
    let site = Site::new();
    let forest = site.create().await;
    let made = units(&forest, A, 2).await;
    let row = |name: &str| Write::Put { space: Space::Control, key: schema::setting(name), value: Bytes::from_static(b"x") };
    let absent = |name: &str| Check { space: Space::Control, key: schema::setting(name), expect: Expect::Absent };
    forest.shred(&[target(made[0])], vec![row("one")], vec![absent("one")]).await.unwrap();
    let refused = forest.shred(&[target(made[1])], vec![row("two")], vec![absent("two"), absent("one")]).await;
    assert_eq!(refused.err(), Some(KeysError::Store(StoreError::Conflict(1))), "the caller's own check, by the caller's index");
    assert!(site.store().get(Space::Control, &schema::setting("two")).await.unwrap().is_none());
    // Its page was changed, and is not held since.
    assert_eq!(forest.lend_unit(made[1], |_| ()), Err(LendError::Missing));
    assert_eq!(forest.load_unit(A, made[1].slot).await.unwrap(), made[1]);
    assert_eq!((forest.epoch(), forest.lend_unit(made[1], |_| ())), (Epoch(2), Ok(())));
    assert_eq!(forest.shred(&[], vec![], vec![]).await.unwrap().record.new_epoch, Epoch(3), "and the next epoch is not held up");
    assert_eq!(site.open().await.unwrap().1.row, StartRow::Clean);
}

#[tokio::test]
async fn what_was_never_made_cannot_be_shredded_or_loaded() {
    let site = Site::new();
    let forest = site.create().await;
    let made = units(&forest, A, 1).await;
    let slot = |number| Slot::new(number).unwrap();
    for wrong in [ShredTarget::Tenant(B), ShredTarget::Tenant(TenantNo::SYSTEM), ShredTarget::Tenant(TenantNo(1 << 40))] {
        assert_eq!(forest.shred(&[target(made[0]), wrong], vec![], vec![]).await.err(), Some(KeysError::Unknown), "{wrong:?}");
    }
    for number in [64, 4_095, 4_096, Slot::MAX] {
        let wrong = ShredTarget::Unit { tenant: A, slot: slot(number) };
        assert_eq!(forest.shred(&[wrong], vec![], vec![]).await.err(), Some(KeysError::Unknown), "{number}");
        assert_eq!(forest.load_unit(A, slot(number)).await.err(), Some(KeysError::Unknown), "{number}");
    }
    assert_eq!((forest.epoch(), forest.lend_unit(made[0], |_| ())), (Epoch(1), Ok(())));
    let many: Vec<_> = (0..=MAX_TARGETS as u64).map(|number| ShredTarget::Unit { tenant: A, slot: slot(number) }).collect();
    assert_eq!(forest.shred(&many, vec![], vec![]).await.err(), Some(KeysError::TooMany));
}

#[tokio::test]
async fn a_thousand_units_share_one_epoch_and_their_pages() {
    let site = Site::new();
    let forest = site.create().await;
    let made = units(&forest, A, 1_000).await;
    let targets: Vec<_> = made.iter().map(|unit| target(*unit)).collect();
    let report = forest.shred(&targets, vec![], vec![]).await.unwrap();
    assert_eq!((report.record.new_epoch, report.record.done.len()), (Epoch(2), 1_000));
    // 16 leaves, the top of the unit tree, two pages of the tenant tree.
    assert_eq!(report.record.pages, 19);
}

#[tokio::test]
async fn who_keeps_asking_for_units_takes_more_at_once_and_no_tree_grows_before_its_time() {
    let site = Site::new();
    let forest = site.create().await;
    units(&forest, A, 64).await;
    let before = site.commits();
    let made = units(&forest, A, 64 * (2 + 4 + 8 + 16 + 16)).await;
    assert_eq!(site.commits() - before, 5, "2, 4, 8, 16 and 16 blocks");
    let slots: std::collections::BTreeSet<_> = made.iter().map(|unit| unit.slot).collect();
    assert_eq!((slots.len(), slots.first().copied(), slots.last().copied()), (46 * 64, Slot::new(64), Slot::new(47 * 64 - 1)));
    let keys: std::collections::BTreeSet<_> = made.iter().map(|unit| bytes(&forest, *unit)).collect();
    assert_eq!(keys.len(), 46 * 64);
    // 64^2 slots are 64 blocks: the last 17 of them are taken before the tree grows.
    assert_eq!((forest.tree(A).await.unwrap().unwrap().height, forest.epoch()), (2, Epoch(1)));
    units(&forest, A, 17 * 64).await;
    assert_eq!((forest.tree(A).await.unwrap().unwrap().height, forest.epoch()), (2, Epoch(1)));
    units(&forest, A, 1).await;
    assert_eq!((forest.tree(A).await.unwrap().unwrap().height, forest.epoch()), (3, Epoch(2)));
    drop(forest);
    let (forest, _) = site.open().await.unwrap();
    for unit in made.iter().step_by(97) {
        assert_eq!(forest.load_unit(A, unit.slot).await.unwrap(), *unit);
    }
}

#[tokio::test]
async fn an_epoch_whose_caller_went_away_is_finished_or_withdrawn_by_the_next_start() {
    // How often a poll waits is up to the threads behind it.
    let mut cuts = 0;
    for polls in 0..200 {
        let site = Site::new();
        let forest = site.create().await;
        let made = units(&forest, A, 2).await;
        let key = bytes(&forest, made[1]);
        let targets = [target(made[0])];
        let mut shred = Box::pin(forest.shred(&targets, vec![], vec![]));
        // Dropped after so many polls: at every place where it waits.
        let mut left = polls;
        let done = std::future::poll_fn(|context| {
            if left == 0 {
                return std::task::Poll::Ready(None);
            }
            left -= 1;
            shred.as_mut().poll(context).map(Some)
        })
        .await;
        drop(shred);
        if let Some(report) = done {
            assert_eq!(report.unwrap().record.new_epoch, Epoch(2));
            if cuts > 1 {
                return;
            }
            continue;
        }
        cuts += 1;
        drop(forest);
        let (forest, _) = site.open().await.unwrap();
        forest.load_unit(A, made[1].slot).await.unwrap();
        assert_eq!(bytes(&forest, made[1]), key);
        let now = forest.load_unit(A, made[0].slot).await.unwrap();
        assert_eq!(u64::from(now.generation.0), forest.epoch().0 - 1, "done if and only if the epoch has changed");
        assert_eq!(forest.shred(&targets, vec![], vec![]).await.unwrap().record.done[0].generation, Some(Gen(now.generation.0 + 1)));
    }
    panic!("the shred never ended");
}

#[tokio::test]
async fn a_unit_among_millions_costs_six_pages() {
    let mut site = Site::new();
    site.options.unit_height = 4;
    let forest = site.create().await;
    let unit = units(&forest, A, 1).await[0];
    let report = forest.shred(&[target(unit)], vec![], vec![]).await.unwrap();
    assert_eq!(report.record.pages, 6, "four of a tree of 16 million units, two of a tree of 2,048 tenants");
    assert!(report.page_bytes <= 16 * 1024, "{}", report.page_bytes);
}

#[tokio::test]
async fn old_keys_leave_memory_with_their_time() {
    let site = Site::new();
    let forest = site.create().await;
    let made = units(&forest, A, 1).await;
    assert_ne!(forest.cached_keys(), 0);
    site.clock.advance(Duration::from_secs(301));
    assert_eq!(forest.lend_unit(made[0], |_| ()), Err(LendError::Missing));
    assert_ne!(forest.sweep(), 0);
    assert_eq!(forest.cached_keys(), 0);
    forest.load_unit(A, made[0].slot).await.unwrap();
    assert_eq!(forest.lend_unit(made[0], |_| ()), Ok(()));
}

/// The real engine; it writes down what is read.
struct Read {
    inner: Arc<dyn Store>,
    keys: Mutex<Vec<Bytes>>,
}

impl Read {
    /// What was read since the last call.
    fn take(&self) -> Vec<Bytes> {
        mem::take(&mut *self.keys.lock().unwrap())
    }
}

#[async_trait]
impl Store for Read {
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.keys.lock().unwrap().push(Bytes::copy_from_slice(key));
        self.inner.get(space, key).await
    }

    async fn scan(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        self.keys.lock().unwrap().push(Bytes::copy_from_slice(from));
        self.inner.scan(space, from, to, limit).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.inner.commit(commit).await
    }

    async fn sync_mirror(&self) -> Result<(), StoreError> {
        self.inner.sync_mirror().await
    }

    async fn compact(&self, space: Space, ranges: &[KeyRange]) -> Result<(), StoreError> {
        self.inner.compact(space, ranges).await
    }
}

#[tokio::test]
async fn a_unit_that_left_the_cache_costs_one_page_and_one_that_is_in_it_none() {
    let mut site = Site::new();
    // Sixteen pages of units' keys, the least; the keys of pages have a cache of their own, with room for 4,096.
    site.options.cached_keys = 0;
    let forest = site.create().await;
    let made = units(&forest, A, 17 * 64).await;
    let tree = forest.tree(A).await.unwrap().unwrap().tree;
    drop(forest);
    let store = Arc::new(Read { inner: site.store(), keys: Mutex::default() });
    let ground = Ground { store: Arc::<Read>::clone(&store), ..site.ground() };
    let (forest, _) = Forest::open(ground, site.options).await.unwrap();
    store.take();

    // After a start: where the tenant's tree is, two pages of the tenant tree, two of the tenant's.
    let (top, leaf) = (schema::page(tree, 1, 0), |index| schema::page(tree, 0, index));
    assert_eq!(forest.load_unit(A, made[0].slot).await.unwrap(), made[0]);
    let [above, below] = [1, 0].map(|level| schema::page(TreeId::TENANTS, level, 0));
    assert_eq!(store.take(), [schema::tree(A), above, below, top.clone(), leaf(0)]);
    // The first unit of each further page finds the key of the page above it.
    for (index, unit) in (0..).zip(made.iter().step_by(64)).skip(1) {
        assert_eq!(forest.holds_unit(*unit), Err(LendError::Missing));
        assert_eq!(forest.load_unit(A, unit.slot).await.unwrap(), *unit);
        assert_eq!(store.take(), [top.clone(), leaf(index)]);
    }
    // The seventeenth page took the place of the first. The key that it is wrapped under is still there.
    assert_eq!(forest.holds_unit(made[0]), Err(LendError::Missing));
    assert_eq!(forest.load_unit(A, made[0].slot).await.unwrap(), made[0]);
    assert_eq!(store.take(), [leaf(0)]);
    // It, and those beside it on the page, are warm now.
    for unit in &made[..64] {
        assert_eq!(forest.holds_unit(*unit), Ok(()));
        assert_eq!(forest.lend_unit(*unit, |_| ()), Ok(()));
        assert_eq!(forest.lend_data(made[1], *unit, CollectionNo(1), |_| ()), Ok(()));
    }
    assert_eq!(store.take(), Vec::<Bytes>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loading_goes_on_beside_shreds_and_never_finds_damage() {
    let site = Site::new();
    let forest = site.create().await;
    let made = units(&forest, A, 100).await;
    let bystander = units(&forest, B, 1).await[0];
    let key = bytes(&forest, bystander);
    let tree = forest.make_tenant(B).await.unwrap().tree;
    let reading = async {
        for _ in 0..400 {
            forest.0.state().cache.drop_tenant(B, Some(tree));
            forest.load_unit(B, bystander.slot).await.unwrap();
            assert_eq!(bytes(&forest, bystander), key);
            forest.load_unit(A, made[99].slot).await.unwrap();
        }
    };
    let shredding = async {
        for unit in &made[..20] {
            forest.shred(&[target(*unit)], vec![], vec![]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    futures_util::future::join(reading, shredding).await;
    assert_eq!(forest.epoch(), Epoch(21));
}

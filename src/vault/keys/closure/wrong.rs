//! Negative controls: each wrong procedure, planted, must be caught; so must a key that lies raw in any file.

use std::{fs, io::Write as _};

use super::*;
use crate::{
    domain::RootId,
    vault::{
        keys::{Ground, rows::RootPtr},
        store::{Commit, Durability, Urgency},
    },
};

struct DestroyFirst;

impl Procedure for DestroyFirst {
    fn steps(&self) -> [Step; 3] {
        [Step::Destroy, Step::Prepare, Step::Pages]
    }
}

struct PagesBeforePrepare;

impl Procedure for PagesBeforePrepare {
    fn steps(&self) -> [Step; 3] {
        [Step::Pages, Step::Prepare, Step::Destroy]
    }
}

struct NoPathRefresh;

impl Procedure for NoPathRefresh {
    fn refresh_branch(&self, _: &mut PageSlots, _: SlotIndex, _: Epoch) {}
}

/// Leaves what hangs on the pages above what is kept.
struct NothingSevered;

impl Procedure for NothingSevered {
    fn sever(&self, _: &mut PageSlots, _: SlotIndex) {}
}

/// Leaves the neighbours of what is kept.
struct NeighboursKept;

impl Procedure for NeighboursKept {
    fn refresh_target(&self, _: &mut PageSlots, _: SlotIndex) {}
}

struct NoRollForward;

impl Procedure for NoRollForward {
    fn rolls_forward(&self) -> bool {
        false
    }
}

/// Derives what replaces a branch from the branch in the page's last place, which lives on.
struct DerivedAncestor;

impl Procedure for DerivedAncestor {
    fn refresh_branch(&self, content: &mut PageSlots, entry: SlotIndex, epoch: Epoch) {
        let Some(last) = SlotIndex::all().last() else { return };
        let living = *content.branch(last).expose();
        content.set_branch(entry, &Key::from_slice(&planted(&living, epoch)));
    }
}

/// The first schedule that shows the fault, and what it shows.
fn caught(scenario: usize, procedure: MakeProcedure<'_>, is_derived: bool) -> (Vec<usize>, String) {
    let base = Base::new(scenarios().swap_remove(scenario));
    if let Err(fault) = run(&base, &[], procedure, is_derived) {
        return (vec![], fault);
    }
    for place in 0.. {
        match run(&base, &[place], procedure, is_derived) {
            Err(fault) => return (vec![place], fault),
            Ok(outcome) if outcome.crashes == 0 => panic!("not caught by any of {place} schedules"),
            Ok(_) => {}
        }
    }
    unreachable!("a process has an end")
}

#[test]
fn destroying_the_old_root_first_loses_survivors() {
    let (schedule, fault) = caught(0, &|| Box::new(DestroyFirst), false);
    println!("destroy first: schedule {schedule:?}: {fault}");
    assert!(fault.starts_with("start: "), "{fault}");
}

#[test]
fn writing_pages_before_the_root_is_kept_loses_survivors() {
    let (schedule, fault) = caught(0, &|| Box::new(PagesBeforePrepare), false);
    println!("pages before prepare: schedule {schedule:?}: {fault}");
    assert!(fault.contains("custody-rollback") || fault.contains("custody-mixed"), "{fault}");
}

#[test]
fn keeping_the_keys_of_the_path_leaves_the_unit_reachable() {
    let (schedule, fault) = caught(0, &|| Box::new(NoPathRefresh), false);
    println!("no path refresh: schedule {schedule:?}: {fault}");
    assert!(fault.ends_with("still reachable"), "{fault}");
}

#[test]
fn leaving_a_branch_below_which_nothing_is_kept_leaves_its_units_reachable() {
    let (schedule, fault) = caught(4, &|| Box::new(NothingSevered), false);
    println!("nothing severed: schedule {schedule:?}: {fault}");
    assert!(fault.starts_with("unit 64 of tenant 1") && fault.ends_with("still reachable"), "{fault}");
}

#[test]
fn leaving_the_neighbours_of_what_is_kept_leaves_them_reachable() {
    let (schedule, fault) = caught(4, &|| Box::new(NeighboursKept), false);
    println!("neighbours kept: schedule {schedule:?}: {fault}");
    assert!(fault.ends_with("still reachable"), "{fault}");
}

#[test]
fn keeping_the_keys_of_the_path_to_what_is_kept_leaves_the_others_reachable() {
    let (schedule, fault) = caught(4, &|| Box::new(NoPathRefresh), false);
    println!("no path refresh, all but two: schedule {schedule:?}: {fault}");
    assert!(fault.ends_with("still reachable") || fault.starts_with("act "), "{fault}");
}

#[test]
fn leaving_the_old_root_after_a_crash_leaves_the_unit_reachable() {
    let (schedule, fault) = caught(0, &|| Box::new(NoRollForward), false);
    println!("no roll-forward: schedule {schedule:?}: {fault}");
    assert!(fault.ends_with("still reachable"), "{fault}");
}

#[test]
fn deriving_an_ancestor_from_what_lives_on_leaves_the_unit_reachable() {
    let (schedule, fault) = caught(2, &|| Box::new(DerivedAncestor), true);
    println!("derived ancestor: schedule {schedule:?}: {fault}");
    assert!(fault.ends_with("still reachable"), "{fault}");
    // The same edges find nothing where the procedure is the right one.
    let base = Base::new(scenarios().swap_remove(2));
    run(&base, &[], &|| Box::new(Designed), true).map(drop).unwrap();
}

#[test]
fn a_key_that_lay_raw_in_a_row_is_caught_whatever_crashes() {
    let base = Base::new(scenarios().swap_remove(0));
    let key = base.units[1].1;
    for (what, planted) in [("the key", key), ("its first half", half(&key, 0)), ("its second half", half(&key, 16))] {
        base.world.plant(planted);
        for schedule in [vec![], vec![0], vec![1], vec![3], vec![9], vec![4, 2]] {
            let fault = run(&base, &schedule, &|| Box::new(Designed), false).err();
            assert!(fault.as_ref().is_some_and(|fault| fault.starts_with("a key lies raw")), "{what}, {schedule:?}: {fault:?}");
        }
    }
}

/// Half a key among other bytes.
fn half(key: &[u8; 32], from: usize) -> [u8; 32] {
    let mut bytes = [0xa5; 32];
    bytes[from..from + 16].copy_from_slice(&key[from..from + 16]);
    bytes
}

/// Opens a copy of a disk, does something to it and closes it; what the search of all its files then says.
fn searched(base: &Base, deed: impl AsyncFnOnce(&World, Ground)) -> String {
    let mut world = base.world.copy();
    let ground = world.start(None).unwrap();
    let present = block_on(async {
        let row = ground.store.get(Space::Control, &schema::root_ptr()).await.unwrap().unwrap();
        let present: RootId = RootPtr::parse(&row).unwrap().name.root_id;
        deed(&world, ground).await;
        present
    });
    world.stop();
    // And once more, for what a start writes over.
    drop(world.start(None));
    world.stop();
    raw::search(&world, present).err().unwrap_or_default()
}

#[test]
fn a_key_that_lay_raw_in_a_table_of_the_data_store_is_caught() {
    let base = Base::new(scenarios().swap_remove(0));
    assert_eq!(searched(&base, async |_, _| {}), "");
    let told = searched(&base, async |_, ground| {
        let all = schema::prefix(&[]);
        let row = bytes::Bytes::from_static(b"row");
        let put = Write::Put { space: Space::Records, key: row.clone(), value: bytes::Bytes::copy_from_slice(&base.units[2].1) };
        for write in [put, Write::Delete { space: Space::Records, key: row }] {
            let (durability, urgency) = (Durability::Written, Urgency::Normal);
            let commit = Commit { checks: vec![], writes: vec![write], tail: None, durability, urgency };
            ground.store.commit(commit).await.unwrap();
            ground.store.compact(Space::Records, std::slice::from_ref(&all)).await.unwrap();
        }
        assert_eq!(ground.store.get(Space::Records, b"row").await, Ok(None));
    });
    assert!(told.contains(".sst"), "{told}");
}

#[test]
fn a_key_that_lay_raw_in_a_torn_end_of_the_mirror_or_in_custody_is_caught() {
    let base = Base::new(scenarios().swap_remove(0));
    let told = searched(&base, async |world, _| {
        let mut mirror = fs::OpenOptions::new().append(true).open(world.path("mirror/mirror.log")).unwrap();
        mirror.write_all(&base.units[3].1).unwrap();
    });
    assert!(told.contains("mirror.log"), "{told}");
    let told = searched(&base, async |world, _| {
        let mut custody = fs::read(world.path("custody-a")).unwrap();
        custody[3_000..3_032].copy_from_slice(&base.tenants[&A]);
        fs::write(world.path("custody-a"), custody).unwrap();
    });
    assert!(told.starts_with("a key lies raw") && told.contains("custody-a"), "{told}");
    let told = searched(&base, async |_, ground| ground.custody[1].prepare(Epoch(9), RootId([9; 16]), &[9; 32]).unwrap());
    assert_eq!(told, "custody-b holds a component of a root that is not the present one");
}

//! Negative controls: each wrong procedure, planted, must be caught.

use super::*;

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

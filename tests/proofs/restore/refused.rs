//! Copies that do not go together are refused, each by its own name, and a refused start changes nothing.

use std::{collections::BTreeMap, path::Path};

use lethe::vault::audit::verify::Verdict;

use super::life::{Day, Life, PARTS};

/// Which parts are yesterday's, which are lost, and what the start says.
struct Case {
    old: &'static [&'static str],
    lost: &'static [&'static str],
    /// How the refusal begins.
    says: &'static str,
    /// What it names besides.
    names: &'static str,
}

const fn case(old: &'static [&'static str], lost: &'static [&'static str], says: &'static str, names: &'static str) -> Case {
    Case { old, lost, says, names }
}

/// After shreds: custody is of a later epoch than the copies.
const OF_EARLIER_EPOCHS: [Case; 14] = [
    case(&["store/data", "store/control", "mirror"], &[], "tree-behind-custody", "lethe recover control"),
    case(&["store/data", "store/control", "mirror", "log"], &[], "tree-behind-custody", "lethe recover control"),
    case(&["store/data", "store/control"], &[], "control-behind-mirror", "lethe recover control"),
    case(&["store/control"], &[], "control-behind-data", "lethe recover control"),
    case(&["store/control", "mirror"], &[], "control-behind-data", "lethe recover control"),
    case(&["custody"], &[], "custody-rollback", "find the present one"),
    case(&["custody/a"], &[], "custody-mixed", "custody/a"),
    case(&["custody/b"], &[], "custody-mixed", "custody/b"),
    case(&[], &["custody/a"], "", "custody/a: custody is missing"),
    case(&[], &["store/control"], "control-missing", "lethe recover control"),
    case(&[], &["mirror"], "mirror-missing", "lethe recover mirror"),
    case(&[], &["store/data"], "data-missing", "backup"),
    case(&["log"], &[], "internal: log-shorter", "lethe recover log"),
    case(&[], &["log"], "internal: log-shorter", "lethe recover log"),
];

/// Without a shred in between custody is the same; sequence numbers and the log tell.
const OF_THE_SAME_EPOCH: [Case; 4] = [
    case(&["store/data", "store/control"], &[], "control-behind-mirror", "lethe recover control"),
    case(&["store/control"], &[], "control-behind-data", "lethe recover control"),
    case(&["store/control", "mirror"], &[], "control-behind-data", "lethe recover control"),
    case(&["store/data", "store/control", "mirror"], &[], "internal: control-behind-log", "lethe recover control"),
];

fn files(dir: &Path, found: &mut BTreeMap<std::path::PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { drop(found.insert(path.clone(), std::fs::read(&path).unwrap())) }
    }
}

async fn all_are_refused(day: Day, cases: &[Case]) {
    let mut life = Life::live(day).await;
    for Case { old, lost, says, names } in cases {
        life.reset();
        for part in *old {
            life.place.put_back(&format!("yesterday/{part}"), part);
        }
        for part in *lost {
            life.place.lose(part);
        }
        let custody = |life: &Life| {
            let mut found = BTreeMap::new();
            files(&life.place.path("custody"), &mut found);
            found
        };
        let before = custody(&life);
        let Err(refusal) = life.place.try_open().await else { panic!("old {old:?}, lost {lost:?}: not refused") };
        assert!(refusal.starts_with(says) && refusal.contains(names), "old {old:?}, lost {lost:?}: {refusal}");
        assert_eq!(custody(&life), before, "a refused start destroys nothing");
    }
    life.reset();
    let open = life.place.open().await;
    life.stands(&open).await;
    life.audit_says(&open, Verdict::Ok).await;
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_of_earlier_epochs_are_refused_by_name() {
    all_are_refused(Day::WithShreds, &OF_EARLIER_EPOCHS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_of_the_same_epoch_are_refused_by_name() {
    all_are_refused(Day::WithoutShreds, &OF_THE_SAME_EPOCH).await;
}

/// The limit that docs/operations.md states: within an epoch nothing is left that could tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_copy_of_everything_with_the_log_opens_which_is_why_control_is_never_restored() {
    for (day, old) in [(Day::WithoutShreds, &["store/data", "store/control", "mirror", "log"][..]), (Day::WithShreds, &PARTS)] {
        let life = Life::live(day).await;
        for part in old {
            life.place.put_back(&format!("yesterday/{part}"), part);
        }
        let open = life.place.open().await;
        assert_eq!(open.get(&life.owner, &life.acme, ("c", "7")).await.unwrap(), b"yesterday");
        open.close().await;
    }
}

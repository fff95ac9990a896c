//! Commits that depend on rows of the other database: what they rest on is on disk before they are.

use super::{super::super::Check, *};
use std::{fs, path::Path};

/// Holds the committer, queues these commits behind it, and lets go: how many groups they became.
async fn together(store: &Arc<Embedded>, commits: Vec<Commit>) -> (Vec<Result<Committed, StoreError>>, u64) {
    let (entered, open, gate) = gated();
    let before = store.stats().groups;
    let mut held = std::pin::pin!(store.commit(gate));
    assert!(futures_util::poll!(&mut held).is_pending());
    entered.recv().unwrap();
    let mut waiting: Vec<_> = commits.into_iter().map(|commit| Box::pin(store.commit(commit))).collect();
    for one in &mut waiting {
        assert!(futures_util::poll!(one).is_pending());
    }
    open.send(()).unwrap();
    held.await.unwrap();
    let mut answers = Vec::new();
    for one in waiting {
        answers.push(one.await);
    }
    (answers, store.stats().groups - before)
}

fn data(key: &'static str, durability: Durability, checks: Vec<Check>) -> Commit {
    Commit { durability, ..commit(checks, vec![put(Space::Records, key, "v")]) }
}

fn control(key: &'static str, checks: Vec<Check>) -> Commit {
    commit(checks, vec![put(Space::Control, key, "v")])
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_commit_that_rests_on_data_of_its_group_waits_for_the_next() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let rests = || vec![check(Space::Records, "row", Expect::Present)];
    let (answers, groups) = together(&store, vec![data("row", Durability::Synced, vec![]), control("on it", rests())]).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(groups, 2, "the row is on disk before what rests on it");
    let (answers, groups) = together(&store, vec![data("other", Durability::Synced, vec![]), control("alone", rests())]).await;
    assert!(answers.iter().all(Result::is_ok) && groups == 1, "what rests on nothing of the group goes with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_commit_that_rests_on_unsynced_data_syncs_it_first() {
    let fixture = Fixture::new();
    let store = fixture.open_with(|options| options.danger_skip_sync = false);
    store.commit(data("row", Durability::Written, vec![])).await.unwrap();
    let before = store.stats().syncs;
    store.commit(control("plain", vec![])).await.unwrap();
    let plain = store.stats().syncs - before;
    let before = store.stats().syncs;
    store.commit(control("on it", vec![check(Space::Records, "row", Expect::Present)])).await.unwrap();
    assert_eq!(store.stats().syncs - before, plain + 1, "one more sync: that of the data it rests on");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_alone_is_synced_within_a_second_however_busy_control_is() {
    let fixture = Fixture::new();
    let (store, clock) = fixture.open_at_a_moment(false);
    store.commit(control("first", vec![])).await.unwrap();
    let before = store.stats().syncs;
    store.commit(control("second", vec![])).await.unwrap();
    let plain = store.stats().syncs - before;
    let written = Commit { tail: Some(Box::new(Alone::default())), durability: Durability::Written, ..commit(vec![], vec![]) };
    let before = store.stats().syncs;
    store.commit(written).await.unwrap();
    clock.advance(super::super::core::TICK);
    store.commit(control("third", vec![])).await.unwrap();
    store.commit(control("fourth", vec![])).await.unwrap();
    // The thread for syncs counts it when it is done.
    let synced = async {
        while store.stats().syncs - before < 2 * plain + 1 {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_mins(1), synced).await.is_ok(), "none of data");
    assert_eq!(store.stats().syncs - before, 2 * plain + 1, "and one of data");
}

/// A store of one control commit, and a copy of its control side, to be put back once more was done.
struct Older {
    fixture: Fixture,
    kept: [(std::path::PathBuf, std::path::PathBuf); 2],
}

impl Older {
    async fn new() -> Self {
        let fixture = Fixture::new();
        let options = fixture.options();
        let store = fixture.open();
        store.commit(control("first", vec![])).await.unwrap();
        store.close();
        let dir = fixture.dir.path();
        let kept = [(dir.join("older"), options.control_dir()), (dir.join("older-mirror"), options.mirror_dir)];
        for (kept, of) in &kept {
            copy(of, kept);
        }
        Self { fixture, kept }
    }

    /// How the store is refused with the older control side; the mirror as it was must have come so far.
    fn refused(&self, mirrored: u64) -> OpenError {
        assert_eq!(mirror::restore(&self.fixture.options().mirror_dir).unwrap().seq, mirrored, "the mirror has it too");
        for (kept, of) in &self.kept {
            fs::remove_dir_all(of).unwrap();
            copy(kept, of);
        }
        Embedded::open(self.fixture.options(), Arc::new(SystemClock)).unwrap_err()
    }
}

/// At the moment a data commit's tail runs, the group is not written. So this looks afterwards: of every group, data names
/// the control sequence that it was written behind, and without that control the store is refused.
#[tokio::test(flavor = "multi_thread")]
async fn data_names_the_control_sequence_it_rests_on_and_is_refused_without_it() {
    let older = Older::new().await;
    let store = older.fixture.open();
    // In one group: the data commit may only go if the control row before it does.
    let rests = vec![check(Space::Control, "unit", Expect::Present)];
    let (answers, groups) = together(&store, vec![control("unit", vec![]), data("record", Durability::Synced, rests)]).await;
    assert_eq!((answers[1].clone().unwrap().control_seq, groups), (2, 1));
    store.close();
    let refused = older.refused(2);
    assert_eq!(refused.name(), "control-behind-data", "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_behind_rows_of_control_is_written_behind_them() {
    let older = Older::new().await;
    let store = older.fixture.open();
    let before = Before { checks: Vec::new(), writes: vec![put(Space::Control, "unit", "v")], tail: None };
    let done = store.commit_behind(before, data("record", Durability::Synced, vec![])).await.unwrap();
    assert_eq!((done.control_seq, store.stats().groups), (2, 1), "both in one group");
    store.close();
    let refused = older.refused(2);
    assert_eq!(refused.name(), "control-behind-data", "{refused}");
}

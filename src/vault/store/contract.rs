//! The contract of [`Store`] as a suite of tests that every engine runs: see [`suite`] and its caller.

#![expect(clippy::arithmetic_side_effects, reason = "small numbers of tests")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::future::join_all;

use super::{Before, Check, Commit, Durability, Expect, Row, Space, Store, StoreError, Tail, Urgency, Write, schema::KeyRange};

/// Makes a test of every sentence of the contract. `$make` gives a store and what must live as long as it.
macro_rules! suite {
    ($make:expr) => {
        $crate::vault::store::contract::suite!(@ $make,
            a_commit_is_seen_whole_once_it_is_answered
            a_commit_whose_check_fails_changes_nothing_and_names_the_check
            each_kind_of_expectation_is_checked
            checks_may_lie_in_the_other_database
            checks_see_the_commits_before_them_in_order
            one_of_many_that_ask_for_an_absent_row_gets_it
            a_range_delete_removes_its_rows_alone
            a_range_delete_and_later_commits_of_its_group_keep_their_order
            scans_keep_to_order_bounds_and_limit
            spaces_do_not_see_each_other
            any_bytes_are_a_key_and_a_value
            counters_by_compare_and_set_lose_nothing
            tails_are_called_in_order_and_told_that_they_are_stored
            a_tail_of_a_refused_commit_is_never_called
            a_tail_that_fails_fails_its_commit_alone
            a_tail_in_the_other_database_is_invalid_and_told_so
            a_control_row_that_was_asked_for_is_known_as_it_is_now
            what_a_commit_rests_on_is_there_with_it_or_neither_is
            rows_that_go_first_are_of_control_and_before_data
            tails_of_a_commit_and_of_what_goes_first_are_settled_alike
            many_rows_are_read_as_each_alone
            many_ranges_are_read_as_each_alone
            writes_to_two_databases_are_invalid
            rows_and_keys_over_the_limit_are_invalid
            the_control_sequence_grows_with_control_commits
            a_commit_without_writes_checks_and_answers
            the_mirror_can_be_proven_at_any_time
            compaction_keeps_what_is_there
            files_of_a_range_alone_take_no_other_row_with_them
        );
    };
    (@ $make:expr, $($name:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $name() {
            let (store, _guard) = $make;
            $crate::vault::store::contract::$name(store).await;
        })*
    };
}
pub(crate) use suite;

type Engine = Arc<dyn Store>;

pub(crate) fn put(space: Space, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Write {
    Write::Put { space, key: key.into(), value: value.into() }
}

pub(crate) fn check(space: Space, key: impl Into<Bytes>, expect: Expect) -> Check {
    Check { space, key: key.into(), expect }
}

pub(crate) fn commit(checks: Vec<Check>, writes: Vec<Write>) -> Commit {
    Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Normal }
}

async fn apply(store: &Engine, writes: Vec<Write>) {
    store.commit(commit(vec![], writes)).await.expect("a commit without checks goes through");
}

async fn all(store: &Engine, space: Space) -> Vec<Row> {
    store.scan(space, &[], &[0xff; 32], usize::MAX).await.expect("the store can be read")
}

pub(crate) async fn a_commit_is_seen_whole_once_it_is_answered(store: Engine) {
    for space in [Space::Control, Space::Records] {
        let writes = (0..100_u8).map(|n| put(space, vec![n], vec![n; 500])).collect();
        apply(&store, writes).await;
        assert_eq!(all(&store, space).await.len(), 100);
        assert_eq!(store.get(space, &[42]).await, Ok(Some(Bytes::from(vec![42; 500]))));
        apply(&store, vec![Write::Delete { space, key: vec![42].into() }, put(space, vec![43], "new")]).await;
        assert_eq!(store.get(space, &[42]).await, Ok(None));
        assert_eq!(store.get(space, &[43]).await, Ok(Some("new".into())));
    }
}

pub(crate) async fn a_commit_whose_check_fails_changes_nothing_and_names_the_check(store: Engine) {
    apply(&store, vec![put(Space::Records, "there", "1")]).await;
    let checks = vec![check(Space::Records, "there", Expect::Present), check(Space::Records, "there", Expect::Equals("2".into()))];
    let refused = store.commit(commit(checks, vec![put(Space::Records, "other", "x"), put(Space::Records, "there", "3")])).await;
    assert_eq!(refused, Err(StoreError::Conflict(1)));
    assert_eq!(all(&store, Space::Records).await, [Row { key: "there".into(), value: "1".into() }]);
}

pub(crate) async fn each_kind_of_expectation_is_checked(store: Engine) {
    for space in [Space::Control, Space::Records] {
        apply(&store, vec![put(space, "row", "header|body")]).await;
        for (key, expect, holds) in [
            ("row", Expect::Present, true),
            ("row", Expect::Absent, false),
            ("row", Expect::Equals("header|body".into()), true),
            ("row", Expect::Equals("header|".into()), false),
            ("row", Expect::Prefix("header|".into()), true),
            ("row", Expect::Prefix("header|body|more".into()), false),
            ("row", Expect::Prefix("other".into()), false),
            ("none", Expect::Present, false),
            ("none", Expect::Absent, true),
            ("none", Expect::Equals(Bytes::new()), false),
            ("none", Expect::Prefix(Bytes::new()), false),
        ] {
            let result = store.commit(commit(vec![check(space, key, expect.clone())], vec![put(space, "written", "x")])).await;
            assert_eq!(result.is_ok(), holds, "{space:?} {key} {expect:?}: {result:?}");
        }
    }
}

pub(crate) async fn checks_may_lie_in_the_other_database(store: Engine) {
    apply(&store, vec![put(Space::Control, "state", "open")]).await;
    let write = || vec![put(Space::Records, "record", "x")];
    let open = |state: &'static str| vec![check(Space::Control, "state", Expect::Equals(state.into()))];
    assert_eq!(store.commit(commit(open("shredded"), write())).await, Err(StoreError::Conflict(0)));
    assert!(store.commit(commit(open("open"), write())).await.is_ok());
    let held = vec![check(Space::Records, "record", Expect::Present)];
    assert!(store.commit(commit(held.clone(), vec![put(Space::Control, "state", "shredded")])).await.is_ok());
    apply(&store, vec![Write::Delete { space: Space::Records, key: "record".into() }]).await;
    assert_eq!(store.commit(commit(held, vec![put(Space::Control, "state", "open")])).await, Err(StoreError::Conflict(0)));
}

/// Commits sent at once, in turn to both databases, each resting on the one before it.
pub(crate) async fn checks_see_the_commits_before_them_in_order(store: Engine) {
    apply(&store, vec![put(Space::Records, "chain", "0")]).await;
    let step = |n: u32| {
        let (from, to) = if n.is_multiple_of(2) { (Space::Records, Space::Control) } else { (Space::Control, Space::Records) };
        store.commit(commit(vec![check(from, "chain", Expect::Equals(n.to_string().into()))], vec![put(to, "chain", (n + 1).to_string())]))
    };
    for result in join_all((0..200).map(step)).await {
        assert!(result.is_ok(), "{result:?}");
    }
    assert_eq!(store.get(Space::Records, b"chain").await, Ok(Some("200".into())));
}

pub(crate) async fn one_of_many_that_ask_for_an_absent_row_gets_it(store: Engine) {
    let attempt = |n: u32| {
        store.commit(commit(vec![check(Space::Records, "slot", Expect::Absent)], vec![put(Space::Records, "slot", n.to_string())]))
    };
    let results = join_all((0..100).map(attempt)).await;
    let winners: Vec<_> = results.iter().enumerate().filter(|(_, result)| result.is_ok()).map(|(n, _)| n).collect();
    assert_eq!(winners.len(), 1, "{results:?}");
    assert!(results.iter().filter(|result| result.is_err()).all(|result| *result == Err(StoreError::Conflict(0))));
    assert_eq!(store.get(Space::Records, b"slot").await, Ok(Some(winners[0].to_string().into())));
}

pub(crate) async fn a_range_delete_removes_its_rows_alone(store: Engine) {
    for space in [Space::Control, Space::Index] {
        apply(&store, ["a", "b", "bb", "c", "d"].map(|key| put(space, key, "x")).into()).await;
        let delete = Write::DeleteRange { space, from: "b".into(), to: "c".into() };
        // Changes of one commit keep their order.
        apply(&store, vec![put(space, "ba", "gone"), delete, put(space, "bc", "stays")]).await;
        let keys: Vec<_> = all(&store, space).await.into_iter().map(|row| row.key).collect();
        assert_eq!(keys, ["a", "bc", "c", "d"]);
        let empty = Write::DeleteRange { space, from: "c".into(), to: "c".into() };
        apply(&store, vec![empty]).await;
        assert_eq!(all(&store, space).await.len(), 4);
        let wrong = Write::DeleteRange { space, from: "d".into(), to: "c".into() };
        assert!(matches!(store.commit(commit(vec![], vec![wrong])).await, Err(StoreError::Invalid(_))));
    }
}

pub(crate) async fn a_range_delete_and_later_commits_of_its_group_keep_their_order(store: Engine) {
    let space = Space::Records;
    let rows = |n: u32| {
        let key = Bytes::from(format!("{n:04}"));
        let delete = Write::DeleteRange { space, from: "".into(), to: "9".into() };
        [
            store.commit(commit(vec![], vec![put(space, key.clone(), "x")])),
            store.commit(commit(vec![check(space, key.clone(), Expect::Present)], vec![delete])),
            store.commit(commit(vec![check(space, key.clone(), Expect::Absent)], vec![put(space, "9", n.to_string())])),
        ]
    };
    for result in join_all((0..50).flat_map(rows)).await {
        assert!(result.is_ok(), "{result:?}");
    }
    assert_eq!(all(&store, space).await, [Row { key: "9".into(), value: "49".into() }]);
}

pub(crate) async fn scans_keep_to_order_bounds_and_limit(store: Engine) {
    let space = Space::Index;
    apply(&store, (0..50_u8).rev().map(|n| put(space, vec![n], vec![n])).collect()).await;
    let keys = |rows: Vec<Row>| rows.iter().map(|row| row.key[0]).collect::<Vec<_>>();
    assert_eq!(keys(store.scan(space, &[10], &[20], 100).await.unwrap()), (10..20).collect::<Vec<_>>());
    assert_eq!(keys(store.scan(space, &[10], &[20], 3).await.unwrap()), [10, 11, 12]);
    assert_eq!(keys(store.scan(space, &[10, 0], &[12], 100).await.unwrap()), [11]);
    assert_eq!(keys(store.scan(space, &[48], &[255], 1_000).await.unwrap()), [48, 49]);
    for len in 0..=40 {
        for limit in [33, 257, usize::MAX] {
            let found = keys(store.scan(space, &[3], &[3 + len], limit).await.unwrap());
            assert_eq!(found, (3..3 + len).take(limit).collect::<Vec<_>>(), "{len} rows, at most {limit}");
        }
    }
    assert!(store.scan(space, &[20], &[20], 10).await.unwrap().is_empty());
    assert!(store.scan(space, &[20], &[10], 10).await.unwrap().is_empty());
    assert!(store.scan(space, &[0], &[10], 0).await.unwrap().is_empty());
    assert_eq!(all(&store, space).await.len(), 50);
}

pub(crate) async fn spaces_do_not_see_each_other(store: Engine) {
    let spaces = [Space::Control, Space::ControlAudit, Space::Records, Space::Blobs, Space::Index, Space::DataAudit];
    for (n, space) in spaces.into_iter().enumerate() {
        apply(&store, vec![put(space, "key", n.to_string())]).await;
    }
    for (n, space) in spaces.into_iter().enumerate() {
        assert_eq!(all(&store, space).await, [Row { key: "key".into(), value: n.to_string().into() }], "{space:?}");
    }
}

pub(crate) async fn any_bytes_are_a_key_and_a_value(store: Engine) {
    let mut rows = BTreeMap::new();
    for n in 0..=255_u8 {
        rows.insert(vec![n], vec![]);
        rows.insert(vec![n, 0], vec![n; 100]);
        rows.insert([[0, n].as_slice(), &[255; 30]].concat(), vec![255, n, 0]);
    }
    apply(&store, rows.iter().map(|(key, value)| put(Space::Blobs, key.clone(), value.clone())).collect()).await;
    for (key, value) in &rows {
        assert_eq!(store.get(Space::Blobs, key).await, Ok(Some(Bytes::from(value.clone()))));
    }
    let scanned = store.scan(Space::Blobs, &[], &[255; 32], usize::MAX).await.unwrap();
    assert!(scanned.iter().map(|row| (row.key.to_vec(), row.value.to_vec())).eq(rows));
}

pub(crate) async fn counters_by_compare_and_set_lose_nothing(store: Engine) {
    const TASKS: u64 = 8;
    const STEPS: u64 = 100;
    async fn increment(store: &Engine, space: Space) {
        loop {
            let before = store.get(space, b"counter").await.expect("readable");
            let expect = before.clone().map_or(Expect::Absent, Expect::Equals);
            let number = before.map_or(0, |bytes| u64::from_be_bytes(bytes.as_ref().try_into().expect("eight bytes")));
            let write = vec![put(space, "counter", (number + 1).to_be_bytes().to_vec())];
            match store.commit(commit(vec![check(space, "counter", expect)], write)).await {
                Ok(_) => return,
                Err(StoreError::Conflict(0)) => {}
                Err(other) => panic!("{other}"),
            }
        }
    }
    for space in [Space::Control, Space::Records] {
        let task = || async {
            for _ in 0..STEPS {
                increment(&store, space).await;
            }
        };
        join_all((0..TASKS).map(|_| task())).await;
        assert_eq!(store.get(space, b"counter").await, Ok(Some((TASKS * STEPS).to_be_bytes().to_vec().into())));
    }
}

/// A chain as the audit has it: the next number is known only to the committer.
#[derive(Default)]
struct Chain {
    next: u64,
    settled: Vec<(u64, bool)>,
}

struct Link {
    chain: Arc<Mutex<Chain>>,
    space: Space,
    fails: bool,
    mine: Option<u64>,
}

impl Tail for Link {
    fn rows(&mut self) -> Result<Vec<Write>, StoreError> {
        if self.fails {
            return Err(StoreError::Damaged("planted".into()));
        }
        let mut chain = self.chain.lock().unwrap();
        let number = chain.next;
        chain.next += 1;
        self.mine = Some(number);
        Ok(vec![put(self.space, number.to_be_bytes().to_vec(), "entry")])
    }

    fn settled(&mut self, stored: bool) {
        let mut chain = self.chain.lock().unwrap();
        let mine = self.mine.expect("told only after rows were made");
        chain.settled.push((mine, stored));
        if !stored {
            assert_eq!(chain.next, mine + 1, "put back in reverse order");
            chain.next = mine;
        }
    }
}

fn linked(chain: &Arc<Mutex<Chain>>, space: Space, checks: Vec<Check>, writes: Vec<Write>) -> Commit {
    let tail = Link { chain: Arc::clone(chain), space, fails: false, mine: None };
    Commit { tail: Some(Box::new(tail)), ..commit(checks, writes) }
}

pub(crate) async fn tails_are_called_in_order_and_told_that_they_are_stored(store: Engine) {
    for (rows, audit) in [(Space::Control, Space::ControlAudit), (Space::Records, Space::DataAudit)] {
        let chain = Arc::default();
        // Every third has a tail and nothing else.
        let writes = |n: u64| if n.is_multiple_of(3) { vec![] } else { vec![put(rows, n.to_be_bytes().to_vec(), "row")] };
        for result in join_all((0..100).map(|n| store.commit(linked(&chain, audit, vec![], writes(n))))).await {
            assert!(result.is_ok(), "{result:?}");
        }
        let entries = all(&store, audit).await;
        assert!(entries.iter().map(|row| row.key.to_vec()).eq((0..100_u64).map(|n| n.to_be_bytes().to_vec())));
        assert_eq!(chain.lock().unwrap().settled, (0..100).map(|n| (n, true)).collect::<Vec<_>>());
    }
}

pub(crate) async fn a_tail_of_a_refused_commit_is_never_called(store: Engine) {
    let chain = Arc::default();
    let refused = linked(&chain, Space::DataAudit, vec![check(Space::Records, "none", Expect::Present)], vec![]);
    assert_eq!(store.commit(refused).await, Err(StoreError::Conflict(0)));
    assert!(store.commit(linked(&chain, Space::DataAudit, vec![], vec![])).await.is_ok());
    assert_eq!(chain.lock().unwrap().settled, [(0, true)]);
}

pub(crate) async fn a_tail_that_fails_fails_its_commit_alone(store: Engine) {
    let chain: Arc<Mutex<Chain>> = Arc::default();
    let failing = || {
        let tail = Link { chain: Arc::clone(&chain), space: Space::DataAudit, fails: true, mine: None };
        Commit { tail: Some(Box::new(tail)), ..commit(vec![], vec![put(Space::Records, "row", "x")]) }
    };
    let good = || linked(&chain, Space::DataAudit, vec![], vec![]);
    let results = join_all([store.commit(good()), store.commit(failing()), store.commit(good())]).await;
    assert!(results[0].is_ok() && results[2].is_ok());
    assert_eq!(results[1], Err(StoreError::Damaged("planted".into())));
    assert_eq!(store.get(Space::Records, b"row").await, Ok(None));
    assert_eq!(all(&store, Space::DataAudit).await.len(), 2);
}

pub(crate) async fn a_tail_in_the_other_database_is_invalid_and_told_so(store: Engine) {
    let chain = Arc::default();
    let wrong = linked(&chain, Space::ControlAudit, vec![], vec![put(Space::Records, "row", "x")]);
    assert!(matches!(store.commit(wrong).await, Err(StoreError::Invalid(_))));
    assert_eq!(store.get(Space::Records, b"row").await, Ok(None));
    assert!(store.commit(linked(&chain, Space::DataAudit, vec![], vec![])).await.is_ok());
    assert_eq!(chain.lock().unwrap().settled, [(0, false), (0, true)]);
}

pub(crate) async fn a_control_row_that_was_asked_for_is_known_as_it_is_now(store: Engine) {
    let space = Space::Control;
    let holds = async |key: &'static str, value: Option<&'static str>| {
        let expect = value.map_or(Expect::Absent, |value| Expect::Equals(value.into()));
        assert_eq!(store.commit(commit(vec![check(space, key, expect)], vec![])).await.map(drop), Ok(()), "{key} is {value:?}");
        let present = store.commit(commit(vec![check(space, key, Expect::Present)], vec![])).await.map(drop);
        assert_eq!(present, if value.is_some() { Ok(()) } else { Err(StoreError::Conflict(0)) }, "{key} is {value:?}");
    };
    apply(&store, vec![put(space, "a", "1"), put(space, "b", "1"), put(space, "c", "1")]).await;
    for key in ["a", "b", "c"] {
        holds(key, Some("1")).await;
    }
    apply(&store, vec![put(space, "a", "2"), Write::Delete { space, key: "b".into() }]).await;
    apply(&store, vec![Write::DeleteRange { space, from: "c".into(), to: "d".into() }]).await;
    for (key, value) in [("a", Some("2")), ("b", None), ("c", None)] {
        holds(key, value).await;
    }
    apply(&store, vec![put(space, "b", "3")]).await;
    holds("b", Some("3")).await;
    // Within one group: each meets what the one before it left.
    let replace = |from: u8| commit(vec![check(space, "a", Expect::Equals(vec![from].into()))], vec![put(space, "a", vec![from + 1])]);
    for result in join_all((b'2'..b'2' + 50).map(|from| store.commit(replace(from)))).await {
        assert!(result.is_ok(), "{result:?}");
    }
    assert_eq!(store.commit(replace(b'2')).await, Err(StoreError::Conflict(0)));
}

fn behind(checks: Vec<Check>, writes: Vec<Write>) -> Before {
    Before { checks, writes, tail: None }
}

pub(crate) async fn what_a_commit_rests_on_is_there_with_it_or_neither_is(store: Engine) {
    let absent = |space, key: &'static str| vec![check(space, key, Expect::Absent)];
    let first = || behind(absent(Space::Control, "unit"), vec![put(Space::Control, "unit", "1")]);
    let then = || commit(absent(Space::Records, "row"), vec![put(Space::Records, "row", "1")]);
    assert_eq!(store.commit_behind(first(), then()).await.map(drop), Ok(()));
    assert_eq!(store.get(Space::Control, b"unit").await, Ok(Some("1".into())));
    assert_eq!(store.get(Space::Records, b"row").await, Ok(Some("1".into())));
    // The place of what failed: among the commit's own checks, then those of what goes first.
    let both =
        || commit(vec![check(Space::Control, "unit", Expect::Present), check(Space::Control, "none", Expect::Absent)], then().writes);
    assert_eq!(store.commit_behind(first(), both()).await, Err(StoreError::Conflict(2)));
    let gone = Commit { checks: vec![check(Space::Control, "unit", Expect::Absent)], ..both() };
    let other = || behind(absent(Space::Control, "other"), vec![put(Space::Control, "other", "1")]);
    assert_eq!(store.commit_behind(other(), gone).await, Err(StoreError::Conflict(0)));
    assert_eq!(store.get(Space::Control, b"other").await, Ok(None), "what the commit asks of control is asked before the rows");
    // Of many at once that open the same unit one does, and the next commit meets its row.
    let opens = || store.commit_behind(other(), commit(vec![], vec![put(Space::Records, "row", "2")]));
    let done = join_all((0..20).map(|_| opens())).await;
    assert_eq!(done.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(done.iter().all(|result| matches!(result, Ok(_) | Err(StoreError::Conflict(0)))), "{done:?}");
}

pub(crate) async fn rows_that_go_first_are_of_control_and_before_data(store: Engine) {
    let data = || vec![put(Space::Records, "row", "x")];
    let control = || vec![put(Space::Control, "row", "x")];
    for (first, then) in [(data(), data()), (control(), control()), (data(), control())] {
        assert!(matches!(store.commit_behind(behind(vec![], first), commit(vec![], then)).await, Err(StoreError::Invalid(_))));
    }
    assert_eq!(store.get(Space::Control, b"row").await, Ok(None));
    assert_eq!(store.get(Space::Records, b"row").await, Ok(None));
}

pub(crate) async fn tails_of_a_commit_and_of_what_goes_first_are_settled_alike(store: Engine) {
    let (control, data): (Arc<Mutex<Chain>>, Arc<Mutex<Chain>>) = Default::default();
    let go = |fails: bool| {
        let link = |chain: &Arc<Mutex<Chain>>, space, fails| {
            Some(Box::new(Link { chain: Arc::clone(chain), space, fails, mine: None }) as Box<dyn Tail>)
        };
        let first = Before { tail: link(&control, Space::ControlAudit, false), ..behind(vec![], vec![put(Space::Control, "unit", "1")]) };
        let then = Commit { tail: link(&data, Space::DataAudit, fails), ..commit(vec![], vec![put(Space::Records, "row", "1")]) };
        store.commit_behind(first, then)
    };
    assert_eq!(go(true).await, Err(StoreError::Damaged("planted".into())));
    assert_eq!(control.lock().unwrap().settled, [(0, false)]);
    assert_eq!(store.get(Space::Control, b"unit").await, Ok(None));
    for result in join_all((0..20).map(|_| go(false))).await {
        assert!(result.is_ok(), "{result:?}");
    }
    let stored: Vec<_> = (0..20).map(|n| (n, true)).collect();
    assert_eq!(control.lock().unwrap().settled[1..], stored);
    assert_eq!(data.lock().unwrap().settled, stored);
    assert_eq!((all(&store, Space::ControlAudit).await.len(), all(&store, Space::DataAudit).await.len()), (20, 20));
}

pub(crate) async fn many_rows_are_read_as_each_alone(store: Engine) {
    for space in [Space::Control, Space::Records, Space::Blobs] {
        apply(&store, (0..100_u8).map(|n| put(space, vec![n], vec![n; usize::from(n)])).collect()).await;
        // There, not there, twice, and in no order.
        let keys: Vec<Bytes> =
            [7_u8, 200, 0, 99, 7, 101, 3].into_iter().map(|n| vec![n].into()).chain((0..100).map(|n| vec![n].into())).collect();
        for keys in [&keys[..], &keys[..1], &[]] {
            let mut alone = Vec::new();
            for key in keys {
                alone.push(store.get(space, key).await.unwrap());
            }
            assert_eq!(store.get_many(space, keys).await.unwrap(), alone);
        }
    }
}

pub(crate) async fn many_ranges_are_read_as_each_alone(store: Engine) {
    for space in [Space::Control, Space::Index, Space::Blobs] {
        apply(&store, (0..200_u8).flat_map(|n| [put(space, vec![n], vec![n]), put(space, vec![n, 1], vec![n])]).collect()).await;
        // More rows that are gone, one behind the other, than an iterator passes over in one step.
        apply(&store, (0..600_u16).map(|n| put(space, [&[70, 0][..], &n.to_be_bytes()].concat(), "gone")).collect()).await;
        let gone = |n: u16| Write::Delete { space, key: [&[70, 0][..], &n.to_be_bytes()].concat().into() };
        apply(&store, (0..600).map(gone).collect()).await;
        let range = |from: &[u8], to: &[u8]| KeyRange { from: from.to_vec().into(), to: to.to_vec().into() };
        // In no order, twice, empty, the wrong way round, over one another, short and long, before and behind all that there is.
        let mut ranges: Vec<KeyRange> = [(7, 9), (0, 1), (250, 255), (7, 9), (30, 30), (40, 35), (8, 120), (199, 255), (0, 255)]
            .map(|(from, to)| range(&[from], &[to]))
            .to_vec();
        ranges.extend([range(&[69, 2], &[70]), range(&[70, 0], &[70, 1]), range(&[70, 0], &[71]), range(&[], &[5])]);
        ranges.extend((0..200).map(|n| range(&[n, 1], &[n, 2])));
        for ranges in [&ranges[..], &ranges[..1], &[]] {
            for limit in [0, 1, 2, 31, 32, 33, 300, usize::MAX] {
                let mut alone = Vec::new();
                for range in ranges {
                    alone.push(store.scan(space, &range.from, &range.to, limit).await.unwrap());
                }
                assert_eq!(store.scan_each(space, ranges, limit).await.unwrap(), alone, "{space:?}, at most {limit}");
            }
        }
    }
}

pub(crate) async fn writes_to_two_databases_are_invalid(store: Engine) {
    let both = vec![put(Space::Control, "row", "x"), put(Space::Records, "row", "x")];
    assert!(matches!(store.commit(commit(vec![], both)).await, Err(StoreError::Invalid(_))));
    assert_eq!(store.get(Space::Control, b"row").await, Ok(None));
    assert_eq!(store.get(Space::Records, b"row").await, Ok(None));
}

pub(crate) async fn rows_and_keys_over_the_limit_are_invalid(store: Engine) {
    apply(&store, vec![put(Space::Blobs, "a", vec![1; 99_999]), put(Space::Blobs, vec![2; 1_024], "x")]).await;
    for wrong in [put(Space::Blobs, "a", vec![1; 100_000]), put(Space::Blobs, vec![2; 1_025], "x")] {
        assert!(matches!(store.commit(commit(vec![], vec![wrong])).await, Err(StoreError::Invalid(_))));
    }
}

pub(crate) async fn the_control_sequence_grows_with_control_commits(store: Engine) {
    let mut last = 0;
    for n in 0..10_u8 {
        let control = store.commit(commit(vec![], vec![put(Space::Control, vec![n], "x")])).await.unwrap();
        assert!(control.control_seq > last);
        last = control.control_seq;
        let data = store.commit(commit(vec![], vec![put(Space::Records, vec![n], "x")])).await.unwrap();
        assert_eq!(data.control_seq, last);
    }
}

pub(crate) async fn a_commit_without_writes_checks_and_answers(store: Engine) {
    let asks = |expect| store.commit(commit(vec![check(Space::Records, "none", expect)], vec![]));
    assert!(asks(Expect::Absent).await.is_ok());
    assert_eq!(asks(Expect::Present).await, Err(StoreError::Conflict(0)));
}

pub(crate) async fn the_mirror_can_be_proven_at_any_time(store: Engine) {
    assert_eq!(store.sync_mirror().await, Ok(()));
    let busy = join_all((0..20_u8).map(|n| store.commit(commit(vec![], vec![put(Space::Control, vec![n], "x")]))));
    let (results, proof) = tokio::join!(busy, store.sync_mirror());
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(proof, Ok(()));
}

pub(crate) async fn compaction_keeps_what_is_there(store: Engine) {
    for space in [Space::Control, Space::Records] {
        apply(&store, (0..200_u8).map(|n| put(space, vec![n], vec![n; 1_000])).collect()).await;
        apply(&store, vec![Write::DeleteRange { space, from: vec![50].into(), to: vec![150].into() }]).await;
        store.compact(space, &[KeyRange { from: vec![0].into(), to: vec![255].into() }]).await.unwrap();
        let left: Vec<_> = all(&store, space).await.into_iter().map(|row| row.key[0]).collect();
        assert_eq!(left, (0..50).chain(150..200).collect::<Vec<_>>());
        assert_eq!(store.get(space, &[100]).await, Ok(None));
        assert_eq!(store.get(space, &[10]).await, Ok(Some(vec![10; 1_000].into())));
    }
}

pub(crate) async fn files_of_a_range_alone_take_no_other_row_with_them(store: Engine) {
    let (space, range) = (Space::Records, KeyRange { from: vec![50].into(), to: vec![150].into() });
    let whole = KeyRange { from: vec![0].into(), to: vec![255].into() };
    // Rows deleted before, and rows on each border, in files of all levels.
    for round in 0..3_u8 {
        apply(&store, (0..200_u8).map(|n| put(space, vec![n], vec![round; 1_000])).collect()).await;
        apply(&store, vec![Write::Delete { space, key: vec![round].into() }, Write::Delete { space, key: vec![100 + round].into() }]).await;
        store.compact(space, std::slice::from_ref(&whole)).await.unwrap();
    }
    store.drop_files(space, &range).await.unwrap();
    store.drop_files(space, &KeyRange { from: vec![255].into(), to: vec![0].into() }).await.unwrap();
    apply(&store, vec![Write::DeleteRange { space, from: range.from, to: range.to }]).await;
    let left: Vec<_> = all(&store, space).await.into_iter().map(|row| (row.key[0], row.value)).collect();
    let expected: Vec<_> = (0..50).chain(150..200).filter(|n| *n != 2).map(|n| (n, Bytes::from(vec![2; 1_000]))).collect();
    assert_eq!(left, expected);
}

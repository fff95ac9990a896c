//! What a run of retention reads, counted between vault and store, of stores of any size: a proof holds two small ones against each
//! other, `benches/retention` large ones.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use lethe::{
    domain::{Clock as _, CollectionPolicy, ShredUnit, SubjectId, TenantName, TestClock, Timestamp},
    jobs::Retention,
    vault::ops::{BatchOp, Caller, Precondition},
};
use serde_json::json;

use crate::{
    harness::{Open, Place, coll, key},
    meddling::RowsRead,
};

/// Records of one commit, and commits at a time.
const BATCH: usize = 1_000;
const AT_A_TIME: usize = 4;
/// Records of a person.
const OF_A_PERSON: usize = 20;
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// The first moment of 32 days, as the index counts them.
const DAYS_BEGIN: Timestamp = Timestamp(687 * 32 * 86_400_000);
/// For how long a record is kept from its date on, and how many days that is until it ends.
const KEPT_FOR: &str = "30d";
const UNTIL_END: u32 = 31;

/// A run over a store that was just opened: no key and no row is in memory.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) read: RowsRead,
    pub(crate) destroyed: u64,
    pub(crate) looked_at: u64,
}

/// A store with one collection, at a moment.
async fn place_at(now: Timestamp) -> (Place, TestClock) {
    let clock = TestClock::at(now);
    (Place::make_by(&clock).await, clock)
}

/// A record, and where it says so itself its end.
fn put_of(number: usize, value: &str, expires_at: Option<Timestamp>) -> BatchOp {
    BatchOp::Put {
        collection: coll("c"),
        key: key(&number.to_string()),
        value: value.as_bytes().to_vec().into(),
        content_type: "application/json".into(),
        subjects: vec![SubjectId::parse(&(number / OF_A_PERSON).to_string()).unwrap()],
        expires_at,
        custom: Vec::new(),
        precondition: Precondition::None,
        new_relationship: false,
    }
}

/// Stores so many records.
async fn fill(open: &Open, (owner, acme): (&Caller, &TenantName), stored: usize, put: impl Fn(usize) -> BatchOp) {
    let batch = |first: usize| {
        let ops = (first..stored.min(first + BATCH)).map(&put).collect();
        open.vault.batch(owner, acme, ops, None)
    };
    let mut batches = stream::iter((0..stored).step_by(BATCH)).map(batch).buffer_unordered(AT_A_TIME);
    while let Some(done) = batches.next().await {
        done.unwrap();
    }
}

/// All passes of a run: what they looked at, and destroyed.
async fn run(open: &Open, clock: &TestClock) -> (u64, u64) {
    let (mut looked_at, mut destroyed) = (0, 0);
    loop {
        let done = Retention { vault: open.vault.clone(), limit: BATCH as u64 }.run_once(clock.now()).await.unwrap();
        assert_eq!((done.failed, done.moved, done.dropped), (0, 0, 0), "{done:?}");
        (looked_at, destroyed) = (looked_at + done.looked_at, destroyed + done.destroyed);
        if !done.more {
            return (looked_at, destroyed);
        }
    }
}

/// Opens the store anew and counts what a run reads.
async fn count_run(place: &Place, clock: &TestClock) -> Counted {
    let open = place.open_meddled().await;
    place.meddler.count_rows();
    let (looked_at, destroyed) = run(&open, clock).await;
    let read = place.meddler.rows_read();
    open.close().await;
    Counted { read, destroyed, looked_at }
}

/// Stores records of which `due` end within the hour, all over the store, and the others on some day of ten years; then opens it anew an
/// hour later, and destroys what is due.
pub(crate) async fn run_over(stored: usize, due: usize) -> Counted {
    let (place, clock) = place_at(Timestamp(1_900_000_800_000)).await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    let (begin, every) = (clock.now(), (stored / due).max(1));
    let put = |number: usize| {
        let is_due = number.is_multiple_of(every) && number / every < due;
        let later = || begin.plus(DAY * u32::try_from(number % 3_650 + 1).unwrap());
        put_of(number, "{}", Some(if is_due { begin.plus(MINUTE * 20) } else { later() }))
    };
    fill(&open, (&owner, &acme), stored, put).await;
    open.close().await;
    clock.advance(MINUTE * 60);
    count_run(&place, &clock).await
}

/// A collection whose records end by the date in their value.
async fn by_date(open: &Open, place: &Place) -> (TenantName, Caller) {
    let (acme, owner, _) = open.tenant(place, "acme").await;
    let rules = json!([{"name": "rule", "from": {"field": "/date"}, "maximum": KEPT_FOR, "then": "delete"}]);
    let retention = serde_json::from_value(json!({"time_zone": "UTC", "rules": rules})).unwrap();
    let policy = CollectionPolicy { shred_unit: ShredUnit::Subject, retention, ..CollectionPolicy::default() };
    open.vault.put_collection(&owner, &acme, &coll("c"), policy, None).await.unwrap();
    (acme, owner)
}

/// A value by whose date its record ends on that day behind [`DAYS_BEGIN`].
fn ending_on(day: u32) -> String {
    let date = DAYS_BEGIN.plus(DAY * day).less(DAY * UNTIL_END);
    json!({"date": &date.to_rfc3339()[..10]}).to_string()
}

/// Stores records that end by their dates within the same 32 days, of which `due` end on the tenth of them, all over the store, and the others
/// behind that; a run comes when the days begin. Then opens it anew on the tenth, and destroys what is due.
pub(crate) async fn run_by_date(stored: usize, due: usize) -> Counted {
    let (place, clock) = place_at(DAYS_BEGIN.less(DAY)).await;
    let open = place.open().await;
    let (acme, owner) = by_date(&open, &place).await;
    let every = (stored / due).max(1);
    let put = |number: usize| {
        let is_due = number.is_multiple_of(every) && number / every < due;
        let day = if is_due { 10 } else { 11 + u32::try_from(number % 20).unwrap() };
        put_of(number, &ending_on(day), None)
    };
    fill(&open, (&owner, &acme), stored, put).await;
    assert_eq!(run(&open, &clock).await, (0, 0), "no row is read before its days have begun");
    clock.advance(DAY + HOUR);
    let (looked_at, destroyed) = run(&open, &clock).await;
    assert_eq!((looked_at, destroyed), (stored as u64, 0), "each of them once");
    open.close().await;
    clock.advance(DAY * 10);
    count_run(&place, &clock).await
}

/// Stores records that end one by one, every other hour of 32 days, by an end of their own where rules count from a date; then runs each of
/// these hours.
pub(crate) async fn runs_of_a_month() -> Counted {
    const EVERY: Duration = Duration::from_hours(2);
    let stored = 372;
    let (place, clock) = place_at(DAYS_BEGIN.less(DAY)).await;
    let open = place.open().await;
    let (acme, owner) = by_date(&open, &place).await;
    let value = ending_on(40);
    let put = |number: usize| put_of(number, &value, Some(DAYS_BEGIN.plus(EVERY * u32::try_from(number + 1).unwrap())));
    fill(&open, (&owner, &acme), stored, put).await;
    open.close().await;
    clock.advance(DAY);
    let open = place.open_meddled().await;
    place.meddler.count_rows();
    let (mut looked_at, mut destroyed) = (0, 0);
    for number in 0..=stored {
        let (looked, gone) = run(&open, &clock).await;
        assert_eq!(gone, u64::from(number > 0), "each in its time");
        (looked_at, destroyed) = (looked_at + looked, destroyed + gone);
        clock.advance(EVERY);
    }
    let read = place.meddler.rows_read();
    open.close().await;
    Counted { read, destroyed, looked_at }
}

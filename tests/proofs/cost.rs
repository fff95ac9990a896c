//! What a run of retention reads, counted between vault and store, of stores of any size: a proof holds two small ones against each
//! other, `benches/retention` large ones.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use lethe::{
    domain::{Clock as _, ShredUnit, SubjectId, TestClock, Timestamp},
    jobs::Retention,
    vault::ops::{BatchOp, Precondition},
};

use crate::{
    harness::{Place, coll, key},
    meddling::RowsRead,
};

/// Records of one commit, and commits at a time.
const BATCH: usize = 1_000;
const AT_A_TIME: usize = 4;
/// Records of a person.
const OF_A_PERSON: usize = 20;
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// A run over a store that was just opened: no key and no row is in memory.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) read: RowsRead,
    pub(crate) destroyed: u64,
}

/// Stores records of which `due` end within the hour, all over the store, and the others on some day of ten years; then opens it anew an
/// hour later, and destroys what is due.
pub(crate) async fn run_over(stored: usize, due: usize) -> Counted {
    let clock = TestClock::at(Timestamp(1_900_000_800_000));
    let place = Place::make_by(&clock).await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    let (begin, every) = (clock.now(), (stored / due).max(1));
    let put = |number: usize| BatchOp::Put {
        collection: coll("c"),
        key: key(&number.to_string()),
        value: b"v".to_vec().into(),
        content_type: "text/plain".into(),
        subjects: vec![SubjectId::parse(&(number / OF_A_PERSON).to_string()).unwrap()],
        expires_at: Some(if number.is_multiple_of(every) && number / every < due {
            begin.plus(MINUTE * 20)
        } else {
            begin.plus(DAY * u32::try_from(number % 3_650 + 1).unwrap())
        }),
        custom: Vec::new(),
        precondition: Precondition::None,
        new_relationship: false,
    };
    let batch = |first: usize| {
        let ops = (first..stored.min(first + BATCH)).map(put).collect();
        open.vault.batch(&owner, &acme, ops, None)
    };
    let mut batches = stream::iter((0..stored).step_by(BATCH)).map(batch).buffer_unordered(AT_A_TIME);
    while let Some(done) = batches.next().await {
        done.unwrap();
    }
    drop(batches);
    open.close().await;
    clock.advance(MINUTE * 60);
    let open = place.open_meddled().await;
    place.meddler.count_rows();
    let mut destroyed = 0;
    loop {
        let done = Retention { vault: open.vault.clone(), limit: BATCH as u64 }.run_once(clock.now()).await.unwrap();
        assert_eq!((done.failed, done.moved, done.dropped), (0, 0, 0), "{done:?}");
        destroyed += done.destroyed;
        if !done.more {
            break;
        }
    }
    let read = place.meddler.rows_read();
    open.close().await;
    Counted { read, destroyed }
}

use std::time::Duration;

use proptest::prelude::*;

use super::{
    super::{
        Gap, LostTail,
        entry::tests::read_entry,
        testing::{STORE, Site},
        tests::{TENANT, read_all},
        verify::{Verdict, verify_trail},
        writer::Audit,
    },
    *,
};
use crate::{
    domain::WriterId,
    vault::store::{Commit, Database, Space, Store as _, Urgency},
};

type Answers = Vec<oneshot::Receiver<Answer>>;

/// Entries that wait together in the data trail; one of them has asked.
async fn waiting(audit: &Audit, unit: UnitRef, numbers: impl Iterator<Item = u8>) -> (RunTail, Answers) {
    let line = audit.line(Trail::Data, unit, TENANT).await.unwrap();
    let joined: Vec<_> = numbers.map(|number| line.chain.queues.join(read_entry(TENANT.0, number), Durability::Written)).collect();
    assert_eq!(joined.iter().filter(|(_, asks)| *asks).count(), 1, "one asks for all");
    (RunTail::new(line, Durability::Written), joined.into_iter().map(|(answered, _)| answered).collect())
}

async fn commit(site: &Site, tail: RunTail) -> Result<(), StoreError> {
    let tail: Option<Box<dyn Tail>> = Some(Box::new(tail));
    let commit = Commit { checks: vec![], writes: vec![], tail, durability: Durability::Written, urgency: Urgency::Essential };
    site.store.commit(commit).await.map(drop)
}

async fn answers(answers: Answers) -> Vec<Answer> {
    futures_util::future::join_all(answers).await.into_iter().map(Result::unwrap).collect()
}

async fn stored(site: &Site, audit: &Audit, unit: UnitRef, numbers: impl Iterator<Item = u8>) -> Vec<u64> {
    let (tail, asked) = waiting(audit, unit, numbers).await;
    commit(site, tail).await.unwrap();
    answers(asked).await.into_iter().map(Result::unwrap).collect()
}

fn keys(site: &Site) -> Vec<u64> {
    let rows = site.store.copy(Database::Data);
    let keys = rows.keys().filter(|(space, _)| *space == Space::DataAudit);
    keys.map(|(_, key)| u64::from_be_bytes(*key.last_chunk().unwrap())).collect()
}

async fn verdict(audit: &Audit, unit: UnitRef) -> (Verdict, u64) {
    let lines: Vec<String> = read_all(audit, unit, 100).await.iter().map(|entry| entry.to_json().to_string()).collect();
    let heads = audit.heads(TENANT).await.unwrap();
    let report = verify_trail(&STORE, TENANT, lines.iter().map(String::as_str), &heads, &Site::signer().verifier()).unwrap();
    (report.verdict, report.entries)
}

#[tokio::test]
async fn what_waits_together_lies_together_and_is_read_back_one_by_one() {
    let site = Site::new().await;
    let (audit, unit) = (site.open().await, site.unit().await);
    assert_eq!(stored(&site, &audit, unit, 1..=5).await, [1, 2, 3, 4, 5]);
    assert_eq!(audit.append(Trail::Data, unit, read_entry(TENANT.0, 6), Durability::Written).await.unwrap().seq(), 6);
    site.clock.advance(Duration::from_millis(1));
    audit.append(Trail::Control, unit, read_entry(TENANT.0, 7), Durability::Written).await.unwrap();
    site.clock.advance(Duration::from_millis(1));
    assert_eq!(stored(&site, &audit, unit, 8..=10).await, [7, 8, 9]);
    assert_eq!(keys(&site), [5, 6, 9], "under the number of the last one");
    let entries = read_all(&audit, unit, 100).await;
    assert!(entries.iter().map(|entry| entry.entry.request.0[0]).eq(1..=10));
    // A page ends in the middle of a row, and the next one begins there.
    for limit in 1..=11 {
        assert_eq!(read_all(&audit, unit, limit).await, entries, "pages of {limit}");
    }
    audit.checkpoint().await.unwrap();
    assert_eq!(verdict(&audit, unit).await, (Verdict::Ok, 10));
}

#[tokio::test]
async fn a_crowd_lies_in_rows_that_every_engine_holds() {
    let site = Site::new().await;
    let (audit, unit) = (site.open().await, site.unit().await);
    let numbers = (0..300_u32).map(|number| u8::try_from(number % 251).unwrap());
    assert!(stored(&site, &audit, unit, numbers).await.into_iter().eq(1..=300));
    assert_eq!(keys(&site), [128, 256, 300]);
    for limit in [1, 100, 127, 128, 129, 1_000] {
        assert!(read_all(&audit, unit, limit).await.iter().map(|entry| entry.seq).eq(1..=300), "pages of {limit}");
    }
    let largest = site.store.copy(Database::Data).into_values().map(|value| value.len()).max().unwrap();
    assert!(largest < 30_000, "{largest}");
    audit.checkpoint().await.unwrap();
    assert_eq!(verdict(&audit, unit).await, (Verdict::Ok, 300));
}

#[tokio::test]
async fn a_commit_that_fails_fails_all_that_wait_and_takes_no_number() {
    let site = Site::new().await;
    let (audit, unit) = (site.open().await, site.unit().await);
    stored(&site, &audit, unit, 1..=2).await;
    let (tail, asked) = waiting(&audit, unit, 3..=5).await;
    site.store.fail_next(1);
    assert_eq!(commit(&site, tail).await, Err(StoreError::DiskFull));
    assert_eq!(answers(asked).await, vec![Err(NotAdded::Store(StoreError::DiskFull)); 3]);
    assert_eq!(stored(&site, &audit, unit, 6..=7).await, [3, 4]);
    assert_eq!(verdict(&audit, unit).await, (Verdict::Ok, 4));
}

#[tokio::test]
async fn what_no_committer_takes_is_told_so_and_the_next_asks_anew() {
    let site = Site::new().await;
    let (audit, unit) = (site.open().await, site.unit().await);
    let (tail, asked) = waiting(&audit, unit, 1..=3).await;
    drop(tail);
    assert_eq!(answers(asked).await, vec![Err(NotAdded::Store(StoreError::Busy)); 3]);
    // Who comes while a commit is on its way with others asks for one of its own, and that one's end is not its end.
    let (mut first, early) = waiting(&audit, unit, 4..=5).await;
    assert_eq!(first.rows().unwrap().len(), 1);
    let (second, late) = waiting(&audit, unit, 6..=6).await;
    first.settled(true);
    drop(first);
    assert_eq!(answers(early).await, [Ok(1), Ok(2)]);
    commit(&site, second).await.unwrap();
    assert_eq!(answers(late).await, [Ok(3)]);
}

#[tokio::test]
async fn a_key_that_left_the_cache_is_told_to_all_and_loaded_again() {
    let site = Site::new().await;
    let (audit, unit) = (site.open().await, site.unit().await);
    let (tail, asked) = waiting(&audit, unit, 1..=2).await;
    site.clock.advance(Duration::from_hours(1));
    let _wiped = site.forest.sweep();
    assert_eq!(commit(&site, tail).await, Err(StoreError::Busy));
    assert_eq!(answers(asked).await, vec![Err(NotAdded::KeyMissing); 2]);
    assert_eq!(audit.append(Trail::Data, unit, read_entry(TENANT.0, 3), Durability::Written).await.unwrap().seq(), 1);
}

/// Readers wait together, and the key goes before their turn. Whoever is told first loads it again, and none of the others takes
/// that for a full queue.
#[tokio::test]
async fn a_key_that_left_the_cache_costs_no_reader_its_answer() {
    let site = Site::new().await;
    let (audit, unit) = (site.open().await, site.unit().await);
    let line = audit.line(Trail::Data, unit, TENANT).await.unwrap();
    // Somebody has asked already, so that all of these wait for that commit.
    let (first, asks) = line.chain.queues.join(read_entry(TENANT.0, 0), Durability::Written);
    assert!(asks);
    let reads = (1..=8).map(|number| audit.append(Trail::Data, unit, read_entry(TENANT.0, number), Durability::Written));
    let mut reads = std::pin::pin!(futures_util::future::join_all(reads));
    assert!(futures_util::poll!(&mut reads).is_pending());
    site.clock.advance(Duration::from_hours(1));
    let _wiped = site.forest.sweep();
    assert_eq!(commit(&site, RunTail::new(line, Durability::Written)).await, Err(StoreError::Busy));
    assert_eq!(first.await.unwrap(), Err(NotAdded::KeyMissing));
    let receipts: Vec<_> = reads.await.into_iter().map(Result::unwrap).collect();
    let mut numbers: Vec<_> = receipts.iter().map(crate::vault::crypto::Receipt::seq).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(1..=8));
}

#[tokio::test]
async fn older_data_without_some_rows_is_a_gap_of_all_their_entries() {
    let site = Site::new().await;
    let (audit, unit) = (site.open().await, site.unit().await);
    stored(&site, &audit, unit, 1..=5).await;
    audit.checkpoint().await.unwrap();
    let yesterday = site.store.copy(Database::Data);
    stored(&site, &audit, unit, 6..=8).await;
    stored(&site, &audit, unit, 9..=9).await;
    audit.checkpoint().await.unwrap();
    drop(audit);
    site.store.restore(Database::Data, yesterday);
    let (audit, lost) = site.try_open().await.unwrap();
    assert_eq!(lost, [LostTail { tenant: TENANT, gap: Gap { writer: WriterId(3), from: 6, to: 9 } }]);
    audit.state_gap(unit, &lost[0]).await.unwrap();
    audit.checkpoint().await.unwrap();
    assert_eq!(verdict(&audit, unit).await, (Verdict::StatedGap, 6));
}

#[tokio::test]
async fn what_a_killed_start_left_is_covered_wherever_its_rows_end() {
    for rows in [&[1_u8, 1][..], &[4], &[2, 5, 1], &[1, 7, 3, 9, 2]] {
        let site = Site::new().await;
        let (audit, unit) = (site.open().await, site.unit().await);
        stored(&site, &audit, unit, 1..=3).await;
        audit.checkpoint().await.unwrap();
        for len in rows {
            stored(&site, &audit, unit, 1..=*len).await;
        }
        drop(audit);
        let all = 3 + rows.iter().map(|len| u64::from(*len)).sum::<u64>();
        let audit = site.open().await;
        let left = audit.left_tails().await.unwrap().unwrap();
        assert_eq!(left.iter().map(|tail| (tail.covered, tail.last)).collect::<Vec<_>>(), [(3, all)], "{rows:?}");
        audit.take_up(unit, &left[0]).await.unwrap();
        audit.left_is_taken_up();
        assert_eq!(audit.checkpoint().await.unwrap(), 1);
        assert_eq!(verdict(&audit, unit).await, (Verdict::Ok, all));
    }
}

proptest! {
    #[test]
    fn a_row_is_taken_apart_as_it_was_put_together(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20)) {
        let mut plain = vec![7; 32];
        for entry in &entries {
            put_entry(&mut plain, entry);
        }
        let (hash, parsed) = parse(&plain).unwrap();
        prop_assert_eq!(hash, [7; 32]);
        prop_assert_eq!(parsed, entries.iter().map(Vec::as_slice).collect::<Vec<_>>());
        // A cut falls between two entries, or is told.
        let cut = parse(plain.split_last().unwrap().1);
        prop_assert!(cut.is_none_or(|(_, left)| left.len() < entries.len()));
    }
}

#[test]
fn a_row_without_an_entry_is_none() {
    for len in 0..34 {
        assert_eq!(parse(&vec![0; len]), None, "{len}");
    }
    assert_eq!(parse(&[&[0; 32][..], &[0, 2, 1]].concat()), None, "an entry that is cut off");
}

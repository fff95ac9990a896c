//! The room as a whole: entries through commits, restarts, restores, exports.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    entry::tests::read_entry,
    heads::ProvenHead,
    leaf::Leaf,
    note::Verifier,
    testing::{STORE, Site},
    tlog::{LogError, verify_log},
    verify::{TrailReport, Verdict, verify_trail},
    *,
};
use crate::{
    domain::{Clock, TenantNo, WriterId},
    vault::{
        keys::{Custody, FileCustody, Forest, ForestOptions, Ground, UnitRef},
        store::{
            Check, Commit, Database, Durability, Expect, Space, Store, StoreError, Urgency, Write,
            embedded::{Embedded, EmbeddedOptions},
            schema,
        },
    },
};

pub(super) const TENANT: TenantNo = TenantNo(4);

async fn write(audit: &Audit, trail: Trail, unit: UnitRef, number: u8) -> u64 {
    audit.append(trail, unit, read_entry(TENANT.0, number), Durability::Written).await.unwrap().seq()
}

/// All of a trail, in pages of `limit`.
pub(super) async fn read_all(audit: &Audit, unit: UnitRef, limit: usize) -> Vec<TrailEntry> {
    let (mut entries, mut after) = (Vec::new(), None);
    loop {
        let page = audit.read(TENANT, unit, after.as_deref(), limit).await.unwrap();
        assert!(page.entries.len() <= limit);
        entries.extend(page.entries);
        if !page.more {
            return entries;
        }
        after = Some(page.next);
    }
}

fn numbers(entries: &[TrailEntry]) -> Vec<u8> {
    entries.iter().map(|entry| entry.entry.request.0[0]).collect()
}

async fn export(audit: &Audit, unit: UnitRef) -> Vec<String> {
    read_all(audit, unit, 100).await.iter().map(|entry| entry.to_json().to_string()).collect()
}

fn verify(lines: &[String], heads: &[ProvenHead]) -> TrailReport {
    verify_trail(&STORE, TENANT, lines.iter().map(String::as_str), heads, &key()).unwrap()
}

fn key() -> Verifier {
    Site::signer().verifier()
}

#[tokio::test]
async fn entries_are_numbered_chained_and_read_back_in_order() {
    let site = Site::new().await;
    let (audit, unit) = (site.open().await, site.unit().await);
    for number in 1..=6 {
        site.clock.advance(Duration::from_millis(5));
        let trail = if number % 3 == 0 { Trail::Control } else { Trail::Data };
        write(&audit, trail, unit, number).await;
    }
    let entries = read_all(&audit, unit, 100).await;
    assert_eq!(numbers(&entries), [1, 2, 3, 4, 5, 6]);
    assert_eq!(entries[5].seq, 2);
    assert_eq!(entries[4].seq, 4);
    let writer = entries[0].writer;
    let mut hash = chain::start(&STORE, TENANT, writer);
    for entry in entries.iter().filter(|entry| entry.writer == writer) {
        hash = chain::next(&hash, &entry.bytes);
        assert_eq!(entry.hash, hash);
    }
    for limit in 1..=7 {
        assert_eq!(read_all(&audit, unit, limit).await, entries, "pages of {limit}");
    }
}

#[tokio::test]
async fn a_stored_read_entry_takes_at_most_200_bytes() {
    let site = Site::new().await;
    let (audit, unit) = (site.open().await, site.unit().await);
    write(&audit, Trail::Data, unit, 1).await;
    let rows = site.store.copy(Database::Data);
    let sizes: Vec<usize> = rows.iter().filter(|((space, _), _)| *space == Space::DataAudit).map(|(_, value)| value.len()).collect();
    assert_eq!(sizes, [192]);
}

#[tokio::test]
async fn a_commit_and_its_entry_are_one() {
    let site = Site::new().await;
    let (audit, unit) = (site.open().await, site.unit().await);
    let row = |value: u8| Write::Put { space: Space::Records, key: "row".into(), value: vec![value].into() };
    let commit = |tail, value| Commit {
        checks: vec![],
        writes: vec![row(value)],
        tail: Some(tail),
        durability: Durability::Written,
        urgency: Urgency::Normal,
    };
    let (tail, receipt) = audit.tail(Trail::Data, unit, read_entry(TENANT.0, 1)).await.unwrap();
    site.store.commit(commit(tail, 1)).await.unwrap();
    let receipt = receipt.settle().unwrap();
    assert_eq!((receipt.tenant(), receipt.seq()), (TENANT, 1));
    // One that fails leaves neither, gives no receipt, and its number to the next.
    let (tail, receipt) = audit.tail(Trail::Data, unit, read_entry(TENANT.0, 2)).await.unwrap();
    site.store.fail_next(1);
    assert_eq!(site.store.commit(commit(tail, 2)).await, Err(StoreError::DiskFull));
    assert!(matches!(receipt.settle(), Err(AuditError::NotWritten)));
    let (tail, receipt) = audit.tail(Trail::Data, unit, read_entry(TENANT.0, 3)).await.unwrap();
    site.store.commit(commit(tail, 3)).await.unwrap();
    assert_eq!(receipt.settle().unwrap().seq(), 2);
    let entries = read_all(&audit, unit, 100).await;
    assert_eq!(numbers(&entries), [1, 3]);
    assert_eq!(verify(&export(&audit, unit).await, &[]).verdict, Verdict::Ok);
}

#[tokio::test]
async fn a_group_that_fails_puts_the_chain_back_in_reverse_order() {
    let site = Site::new().await;
    let (audit, unit) = (site.open().await, site.unit().await);
    write(&audit, Trail::Data, unit, 1).await;
    let mut tails = Vec::new();
    for number in 2..=4 {
        tails.push(audit.tail(Trail::Data, unit, read_entry(TENANT.0, number)).await.unwrap().0);
    }
    for tail in &mut tails {
        assert_eq!(tail.rows().unwrap().len(), 1);
    }
    tails.iter_mut().rev().for_each(|tail| tail.settled(false));
    assert_eq!(write(&audit, Trail::Data, unit, 5).await, 2);
    assert_eq!(verify(&export(&audit, unit).await, &[]).verdict, Verdict::Ok);
}

#[tokio::test]
async fn an_audit_that_cannot_be_written_is_an_error_and_no_receipt() {
    let site = Site::new().await;
    let (audit, unit) = (site.open().await, site.unit().await);
    site.store.fail_next(1);
    let refused = audit.append(Trail::Data, unit, read_entry(TENANT.0, 1), Durability::Written).await;
    assert!(matches!(refused, Err(AuditError::Store(StoreError::DiskFull))));
    assert_eq!(read_all(&audit, unit, 10).await, []);
}

#[tokio::test]
async fn a_key_that_left_the_cache_is_loaded_again() {
    let site = Site::new().await;
    let (audit, unit) = (site.open().await, site.unit().await);
    write(&audit, Trail::Data, unit, 1).await;
    site.clock.advance(Duration::from_hours(1));
    let _swept = site.forest.sweep();
    let (mut tail, _receipt) = audit.tail(Trail::Data, unit, read_entry(TENANT.0, 2)).await.unwrap();
    site.clock.advance(Duration::from_hours(1));
    let _swept = site.forest.sweep();
    assert_eq!(tail.rows().unwrap_err(), StoreError::Busy);
    assert_eq!(write(&audit, Trail::Data, unit, 2).await, 2);
    site.clock.advance(Duration::from_hours(1));
    let _swept = site.forest.sweep();
    assert_eq!(numbers(&read_all(&audit, unit, 10).await), [1, 2]);
}

#[tokio::test]
async fn entries_do_not_open_under_another_place_or_unit() {
    let site = Site::new().await;
    let (audit, unit) = (site.open().await, site.unit().await);
    write(&audit, Trail::Data, unit, 1).await;
    write(&audit, Trail::Data, unit, 2).await;
    let writer = read_all(&audit, unit, 10).await[0].writer;
    let other = site.unit().await;
    assert!(matches!(audit.read(TENANT, other, None, 10).await, Err(AuditError::Open(_))));
    let (first, second) = (schema::audit(TENANT, writer, 1), schema::audit(TENANT, writer, 2));
    let one = site.store.set(Space::DataAudit, first.clone(), None).unwrap();
    let two = site.store.set(Space::DataAudit, second.clone(), Some(one)).unwrap();
    site.store.set(Space::DataAudit, first, Some(two));
    assert!(matches!(audit.read(TENANT, unit, None, 10).await, Err(AuditError::Open(_))));
}

#[tokio::test]
async fn a_clock_that_goes_back_does_not_reorder_a_chain() {
    let site = Site::new().await;
    let (audit, unit) = (site.open().await, site.unit().await);
    site.clock.advance(Duration::from_secs(10));
    write(&audit, Trail::Data, unit, 1).await;
    let ahead = read_all(&audit, unit, 10).await[0].time;
    let earlier = crate::domain::TestClock::at(crate::domain::Timestamp(ahead.0 - 5_000));
    assert!(earlier.now() < ahead);
    let site = Site { clock: earlier, ..site };
    let audit = site.open().await;
    write(&audit, Trail::Data, unit, 2).await;
    assert_eq!(numbers(&read_all(&audit, unit, 1).await), [1, 2], "starts follow each other whatever their clocks say");
}

#[tokio::test]
async fn every_start_has_a_writer_of_its_own_and_a_cursor_survives_it() {
    let site = Site::new().await;
    let unit = site.unit().await;
    let mut after = None;
    for start in 0..3_u8 {
        let audit = site.open().await;
        write(&audit, Trail::Data, unit, start * 2 + 1).await;
        write(&audit, Trail::Control, unit, start * 2 + 2).await;
        let page = audit.read(TENANT, unit, after.as_deref(), 10).await.unwrap();
        assert_eq!(numbers(&page.entries).len(), 2, "start {start}");
        assert!(page.entries.iter().all(|entry| entry.seq == 1));
        after = Some(page.next);
    }
    let audit = site.open().await;
    assert_eq!(audit.read(TENANT, unit, after.as_deref(), 10).await.unwrap().entries, []);
    let writers: std::collections::BTreeSet<WriterId> = read_all(&audit, unit, 2).await.iter().map(|entry| entry.writer).collect();
    assert_eq!(writers.len(), 6);
    assert!(matches!(audit.read(TENANT, unit, Some("nonsense"), 10).await, Err(AuditError::Cursor)));
}

#[tokio::test]
async fn a_checkpoint_puts_provable_heads_into_the_log() {
    let site = Site::new().await;
    let (audit, unit) = (site.open().await, site.unit().await);
    assert_eq!(audit.checkpoint().await.unwrap(), 0);
    for number in 1..=3 {
        write(&audit, Trail::Data, unit, number).await;
    }
    write(&audit, Trail::Control, unit, 4).await;
    for tenant in 10..15 {
        audit.append(Trail::Data, unit, read_entry(tenant, 1), Durability::Written).await.unwrap();
    }
    assert_eq!(audit.checkpoint().await.unwrap(), 7);
    assert_eq!(audit.checkpoint().await.unwrap(), 0, "nothing has grown");
    let heads = audit.heads(TENANT).await.unwrap();
    assert_eq!(heads.iter().map(|head| head.seq).collect::<Vec<_>>(), [1, 3]);
    for head in &heads {
        head.verify(&STORE, TENANT, &key()).unwrap();
        assert!(head.verify(&STORE, TenantNo(5), &key()).is_err());
        assert!(ProvenHead { seq: head.seq + 1, ..head.clone() }.verify(&STORE, TENANT, &key()).is_err());
        let json = serde_json::to_string(head).unwrap();
        assert_eq!(serde_json::from_str::<ProvenHead>(&json).unwrap(), *head);
    }
    assert_eq!(verify(&export(&audit, unit).await, &heads).verdict, Verdict::Ok);
    let leaf = heads[0].leaf.clone();
    assert!(matches!(Leaf::parse(&leaf), Some(Leaf::Heads { count: 7, .. })));
    drop(audit);
    let report = verify_log(&site.dir.path().join("log"), &key(), &[], &[leaf.as_bytes()]).unwrap();
    assert_eq!((report.head.size, report.found), (1, vec![Some(0)]));
}

#[tokio::test]
async fn idle_chains_leave_memory_and_go_on_where_they_were() {
    let mut site = Site::new().await;
    site.options.cached_chains = 2;
    let (audit, unit) = (site.open().await, site.unit().await);
    for tenant in 4..10 {
        audit.append(Trail::Data, unit, read_entry(tenant, 1), Durability::Written).await.unwrap();
    }
    assert_eq!(audit.0.chains().len(), 6);
    audit.checkpoint().await.unwrap();
    assert_eq!(audit.0.chains().len(), 0);
    assert_eq!(write(&audit, Trail::Data, unit, 2).await, 2);
    audit.checkpoint().await.unwrap();
    assert_eq!(verify(&export(&audit, unit).await, &audit.heads(TENANT).await.unwrap()).verdict, Verdict::Ok);
}

#[tokio::test]
async fn older_data_under_todays_control_is_a_stated_gap_and_no_fork() {
    let site = Site::new().await;
    let unit = site.unit().await;
    let audit = site.open().await;
    write(&audit, Trail::Data, unit, 1).await;
    write(&audit, Trail::Data, unit, 2).await;
    audit.checkpoint().await.unwrap();
    let yesterday = site.store.copy(Database::Data);
    for number in 3..=7 {
        write(&audit, Trail::Data, unit, number).await;
    }
    write(&audit, Trail::Control, unit, 8).await;
    audit.checkpoint().await.unwrap();
    let writer = audit.heads(TENANT).await.unwrap()[1].writer;
    drop(audit);
    site.store.restore(Database::Data, yesterday);
    let (audit, lost) = site.try_open().await.unwrap();
    assert_eq!(lost, [LostTail { tenant: TENANT, gap: Gap { writer: WriterId(writer), from: 3, to: 7 } }]);
    // Before it is stated it is a truncation, and no checkpoint can hide it.
    assert_eq!(verify(&export(&audit, unit).await, &audit.heads(TENANT).await.unwrap()).verdict, Verdict::Truncated);
    write(&audit, Trail::Data, unit, 9).await;
    assert_eq!(audit.checkpoint().await.unwrap(), 0);
    drop(audit);
    let (audit, lost) = site.try_open().await.unwrap();
    for lost in &lost {
        audit.state_gap(unit, lost).await.unwrap();
    }
    assert_eq!(lost.len(), 1);
    assert_eq!(write(&audit, Trail::Data, unit, 10).await, 1, "a new writer goes on, the old chain is not continued");
    audit.checkpoint().await.unwrap();
    let report = verify(&export(&audit, unit).await, &audit.heads(TENANT).await.unwrap());
    assert_eq!(report.verdict, Verdict::StatedGap);
    assert_eq!((report.findings[0].from, report.findings[0].to), (3, 7));
    drop(audit);
    site.open().await;
    // Even older data later: what was stated covers it, the rest is stated anew.
    assert!(site.store.set(Space::DataAudit, schema::audit(TENANT, WriterId(writer), 2), None).is_some());
    site.store.set(Space::Index, schema::audit_mark(), None);
    let (_audit, lost) = site.try_open().await.unwrap();
    assert!(lost.contains(&LostTail { tenant: TENANT, gap: Gap { writer: WriterId(writer), from: 2, to: 7 } }), "{lost:?}");
}

#[tokio::test]
async fn leaves_of_the_outbox_reach_the_log_exactly_once_wherever_a_crash_falls() {
    let site = Site::new().await;
    let leaf = b"a certificate\n";
    let commit = || Commit {
        checks: vec![],
        writes: vec![Audit::outbox(leaf)],
        tail: None,
        durability: Durability::Synced,
        urgency: Urgency::Essential,
    };
    // Crash after the commit, before the append.
    let audit = site.open().await;
    site.store.commit(commit()).await.unwrap();
    drop(audit);
    let audit = site.open().await;
    assert!(audit.log_proof(leaf).await.unwrap().is_some());
    drop(audit);
    // Crash after the append, before the outbox is cleared.
    site.store.commit(commit()).await.unwrap();
    let audit = site.open().await;
    assert_eq!(audit.0.log.read(|log| log.head().size).await.unwrap(), 1);
    assert_eq!(
        site.store
            .scan(Space::Control, &schema::table(schema::Table::LogOutbox).from, &schema::table(schema::Table::LogOutbox).to, 9)
            .await
            .unwrap(),
        []
    );
    // The normal way.
    let second = b"another\n";
    site.store.commit(Commit { writes: vec![Audit::outbox(second)], ..commit() }).await.unwrap();
    assert_eq!(audit.publish(second).await.unwrap(), 1);
    // The append succeeds, and the disk is full when the outbox is to be cleared: the next start sees that it is in.
    let third = b"a third\n";
    site.store.commit(Commit { writes: vec![Audit::outbox(third)], ..commit() }).await.unwrap();
    site.store.fail_next(1);
    assert!(audit.publish(third).await.is_err());
    drop(audit);
    let audit = site.open().await;
    assert_eq!(audit.0.log.read(|log| log.head().size).await.unwrap(), 3);
    assert_eq!(
        audit.log_resource("checkpoint".into()).await.unwrap().unwrap(),
        audit.0.log.read(|log| log.checkpoint().as_bytes().to_vec()).await.unwrap()
    );
    assert_eq!(audit.log_resource("tile/0/000.p/4".into()).await.unwrap(), None);
}

#[tokio::test]
async fn a_log_put_back_to_an_older_copy_does_not_open() {
    let site = Site::new().await;
    let audit = site.open().await;
    audit.publish(b"one").await.unwrap();
    drop(audit);
    std::fs::rename(site.dir.path().join("log"), site.dir.path().join("newer")).unwrap();
    assert!(matches!(site.try_open().await.unwrap_err(), AuditError::Log(LogError::Shorter(_))));
    std::fs::rename(site.dir.path().join("newer"), site.dir.path().join("log")).unwrap();
    site.open().await;
}

#[tokio::test]
async fn leaves_published_together_get_different_places() {
    let site = Site::new().await;
    let audit = site.open().await;
    let leaves: Vec<Vec<u8>> = (0..20_u8).map(|number| vec![number; 5]).collect();
    let mut places = Vec::new();
    let published = leaves.iter().map(|leaf| audit.publish(leaf));
    for place in futures_util::future::join_all(published).await {
        places.push(place.unwrap());
    }
    places.sort_unstable();
    assert_eq!(places, (0..20).collect::<Vec<_>>());
    drop(audit);
    let leaves: Vec<&[u8]> = leaves.iter().map(Vec::as_slice).collect();
    let report = verify_log(&site.dir.path().join("log"), &key(), &[], &leaves).unwrap();
    assert!(report.found.iter().all(Option::is_some));
}

/// Seven entries of two chains, exported, with heads that cover them, and an export of another tenant.
async fn exported() -> (Vec<String>, Vec<ProvenHead>, Vec<String>) {
    let site = Site::new().await;
    let (audit, unit) = (site.open().await, site.unit().await);
    for number in 1..=5 {
        site.clock.advance(Duration::from_millis(1));
        write(&audit, Trail::Data, unit, number).await;
        audit.append(Trail::Data, unit, read_entry(5, number), Durability::Written).await.unwrap();
    }
    site.clock.advance(Duration::from_millis(1));
    write(&audit, Trail::Control, unit, 6).await;
    write(&audit, Trail::Control, unit, 7).await;
    audit.checkpoint().await.unwrap();
    let lines = export(&audit, unit).await;
    let others = audit.read(TenantNo(5), unit, None, 100).await.unwrap().entries;
    (lines, audit.heads(TENANT).await.unwrap(), others.iter().map(|entry| entry.to_json().to_string()).collect())
}

#[tokio::test]
async fn every_kind_of_tampering_with_an_export_has_its_verdict() {
    let (lines, heads, others) = exported().await;
    let report = verify(&lines, &heads);
    assert_eq!((report.verdict, report.entries, report.chains, report.heads), (Verdict::Ok, 7, 2, 2));
    let changed = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = lines.clone();
        change(&mut lines);
        verify(&lines, &heads).verdict
    };
    assert_eq!(changed(&|lines| drop(lines.remove(1))), Verdict::Gap, "dropped from within");
    assert_eq!(changed(&|lines| drop(lines.remove(0))), Verdict::Gap, "dropped from the beginning");
    assert_eq!(changed(&|lines| drop(lines.pop())), Verdict::Truncated, "cut off the control chain's end");
    assert_eq!(changed(&|lines| drop(lines.remove(4))), Verdict::Truncated, "cut off the data chain's end");
    assert_eq!(changed(&|lines| lines.truncate(5)), Verdict::Truncated, "a chain left out as a whole");
    assert_eq!(changed(&|lines| lines.clear()), Verdict::Truncated);
    assert_eq!(changed(&|lines| lines.swap(1, 2)), Verdict::Tampered, "reordered");
    assert_eq!(changed(&|lines| lines.insert(2, lines[1].clone())), Verdict::Tampered, "doubled");
    assert_eq!(changed(&|lines| lines[1] = others[1].clone()), Verdict::Tampered, "another tenant's entry");
    assert_eq!(changed(&|lines| *lines = others.clone()), Verdict::Tampered, "another tenant's trail");
    assert_eq!(changed(&|lines| lines[1] = lines[1].replace("allowed", "denied")), Verdict::Tampered, "only the readable view");
    // Two entries exchanged together with their numbers.
    let exchanged = |lines: &mut Vec<String>| {
        let (one, two) = (lines[1].replace("\"seq\":2", "\"seq\":3"), lines[2].replace("\"seq\":3", "\"seq\":2"));
        (lines[1], lines[2]) = (two, one);
    };
    assert_eq!(changed(&exchanged), Verdict::Tampered);
    // Without heads a cut-off end cannot be seen, a gap can.
    assert_eq!(verify(&lines[..4], &[]).verdict, Verdict::Ok);
    assert_eq!(verify(&lines[1..], &[]).verdict, Verdict::Gap);
}

#[tokio::test]
async fn every_flipped_bit_of_an_exported_entry_is_tampering() {
    let (lines, heads, _) = exported().await;
    let line: serde_json::Value = serde_json::from_str(&lines[2]).unwrap();
    for field in ["entry", "hash"] {
        let bytes = hex::decode(line[field].as_str().unwrap()).unwrap();
        for at in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            let mut changed = line.clone();
            changed[field] = hex::encode(flipped).into();
            let mut lines = lines.clone();
            lines[2] = changed.to_string();
            assert_eq!(verify(&lines, &heads).verdict, Verdict::Tampered, "{field} bit {at}");
        }
    }
}

#[tokio::test]
async fn a_rewritten_chain_contradicts_the_head_in_the_log() {
    let (lines, heads, _) = exported().await;
    // Whoever rewrites an entry can make the hashes fit again, but not the head.
    let mut parsed: Vec<serde_json::Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let writer = WriterId(parsed[0]["writer"].as_u64().unwrap());
    let mut hash = chain::start(&STORE, TENANT, writer);
    for line in parsed.iter_mut().take(5) {
        let mut bytes = hex::decode(line["entry"].as_str().unwrap()).unwrap();
        bytes[15] ^= 1;
        hash = chain::next(&hash, &bytes);
        *line = serde_json::json!({ "writer": writer.0, "seq": line["seq"], "entry": hex::encode(bytes), "hash": hex::encode(hash) });
    }
    let rewritten: Vec<String> = parsed.iter().map(ToString::to_string).collect();
    assert_eq!(verify(&rewritten, &[]).verdict, Verdict::Ok, "the chain alone cannot tell");
    assert_eq!(verify(&rewritten, &heads).verdict, Verdict::Tampered);
    let other = note::Signer::from_seed("lethe/test", &[4; 32]).unwrap().verifier();
    assert!(verify_trail(&STORE, TENANT, [], &heads, &other).is_err(), "heads of another key are no heads");
    assert!(verify_trail(&STORE, TENANT, ["{}"], &heads, &key()).is_err());
}

/// The real engine: groups of commits, some of which fail their checks, and a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chains_stay_whole_through_the_engines_groups_and_a_restart() {
    let dir = tempfile::TempDir::new().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(crate::domain::SystemClock);
    let options =
        || EmbeddedOptions { danger_skip_sync: true, ..EmbeddedOptions::new(dir.path().join("store"), dir.path().join("mirror")) };
    Embedded::create(&options(), STORE).unwrap();
    FileCustody::create(&dir.path().join("custody"), STORE).unwrap();
    let ground = |store: Arc<dyn Store>| {
        let custody: Box<dyn Custody> = Box::new(FileCustody::open(&dir.path().join("custody"), None, STORE, clock.clone()).unwrap());
        Ground { store_id: STORE, store, custody: vec![custody], clock: clock.clone() }
    };
    let store: Arc<dyn Store> = Embedded::open(options(), clock.clone()).unwrap();
    let forest = Forest::create(ground(store.clone()), ForestOptions::default()).await.unwrap();
    let unit = forest.make_unit(TenantNo::SYSTEM).await.unwrap();
    let log = dir.path().join("log");
    let open = |store, forest| Audit::open(store, forest, STORE, clock.clone(), log.as_path(), Site::signer(), AuditOptions::default());
    let (audit, _) = open(store.clone(), forest).await.unwrap();
    let worker = |number: u8| {
        let (audit, store) = (audit.clone(), store.clone());
        async move {
            for round in 0..10_u8 {
                let (tail, pending) = audit.tail(Trail::Data, unit, read_entry(TENANT.0, number)).await.unwrap();
                // Every third commit is refused: its entry must take no number.
                let refused = round % 3 == 0;
                let check =
                    Check { space: Space::Records, key: "absent".into(), expect: if refused { Expect::Present } else { Expect::Absent } };
                let commit = Commit {
                    checks: vec![check],
                    writes: vec![],
                    tail: Some(tail),
                    durability: Durability::Written,
                    urgency: Urgency::Normal,
                };
                assert_eq!(store.commit(commit).await.is_err(), refused);
                assert_eq!(pending.settle().is_err(), refused);
            }
            audit.append(Trail::Control, unit, read_entry(TENANT.0, number), Durability::Written).await.unwrap();
        }
    };
    futures_util::future::join_all((0..50).map(worker)).await;
    audit.checkpoint().await.unwrap();
    let lines = export(&audit, unit).await;
    assert_eq!(lines.len(), 50 * 6 + 50);
    assert_eq!(verify(&lines, &audit.heads(TENANT).await.unwrap()).verdict, Verdict::Ok);
    drop(audit);
    drop(store);
    let store: Arc<dyn Store> = Embedded::open(options(), clock.clone()).unwrap();
    let (forest, _) = Forest::open(ground(store.clone()), ForestOptions::default()).await.unwrap();
    let (audit, lost) = open(store, forest).await.unwrap();
    assert_eq!(lost, []);
    assert_eq!(write(&audit, Trail::Data, unit, 1).await, 1);
    let report = verify(&export(&audit, unit).await, &audit.heads(TENANT).await.unwrap());
    assert_eq!((report.verdict, report.entries, report.chains), (Verdict::Ok, 351, 3));
}

#[test]
fn the_format_document_shows_what_the_code_computes() {
    let document = include_str!("../../../docs/format.md");
    let joined: String = document.split_whitespace().collect();
    let (store, tenant, writer) = (crate::domain::StoreId([0x11; 16]), TenantNo(5), WriterId(3));
    let entry = read_entry(5, 9).encode(crate::domain::Timestamp(1_790_000_000_000));
    let start = chain::start(&store, tenant, writer);
    let hash = chain::next(&start, &entry);
    let head = heads::Head { seq: 1, hash, time: crate::domain::Timestamp(0) };
    let commitments = commitments::Commitments::from_salt([1; 32]);
    let computed = [
        entry.clone(),
        start.to_vec(),
        hash.to_vec(),
        heads::commitment(&[0x22; 32], &store, tenant, writer, &head).to_vec(),
        commitments.commit(commitments::Label::Target, 3, b"ann").to_vec(),
    ];
    for value in computed {
        assert!(joined.contains(&hex::encode(&value)), "docs/format.md does not show {}", hex::encode(&value));
    }
    let actions = Action::ALL.iter().map(|item| (item.code(), item.name()));
    let roles = Role::ALL.iter().map(|item| (item.code(), item.name()));
    for (code, name) in actions.chain(roles).chain(Reason::ALL.iter().map(|item| (item.code(), item.name()))) {
        assert!(document.contains(&format!("{code} `{name}`")), "docs/format.md does not name {code} `{name}`");
    }
}

/// CE-14: the published statement has its ten items, each answered, and says no more than the design does.
#[test]
fn the_statement_on_cryptographic_erasure_has_its_ten_items() {
    let statement: serde_json::Value = serde_json::from_str(include_str!("../../../docs/ce-statement.json")).unwrap();
    let statement = statement.as_object().unwrap();
    assert_eq!(statement.keys().map(String::as_str).collect::<Vec<_>>(), ["format", "items", "statement"]);
    assert_eq!(statement["format"], 1);
    assert_eq!(statement["statement"], "cryptographic erasure following the principles of NIST SP 800-88; custody: <kind, level>");
    let items = statement["items"].as_array().unwrap();
    let ids = [
        "make-model-version-media",
        "key-generation",
        "media-encryption",
        "key-level-and-wrapping",
        "data-areas-addressed",
        "key-life-cycle-management",
        "key-sanitization-technique",
        "key-escrow-or-injection",
        "error-condition-handling",
        "interface-clarity",
    ];
    assert_eq!(items.iter().map(|item| item["id"].as_str().unwrap()).collect::<Vec<_>>(), ids);
    for item in items {
        let fields = item.as_object().unwrap();
        assert_eq!(fields.len(), 3, "{item}: id, statement, limits");
        assert!(fields["statement"].as_str().is_some_and(|text| text.len() >= 40), "{item}");
        assert!(fields["limits"].is_string(), "{item}");
    }
    let text = items.iter().map(ToString::to_string).collect::<String>().to_lowercase();
    for claim in ["purge", "destroyed media", "certified", "unrecoverable"] {
        assert!(!text.contains(claim), "nothing may claim {claim:?}");
    }
    assert!(text.contains(env!("CARGO_PKG_NAME")) && text.contains(concat!("lethe ", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test]
async fn heads_that_the_log_did_not_take_are_brought_again_before_more_are_covered() {
    let site = Site::new().await;
    let (audit, unit) = (site.open().await, site.unit().await);
    assert_eq!(audit.lag(), Lag::default());
    write(&audit, Trail::Data, unit, 1).await;
    site.clock.advance(Duration::from_secs(30));
    assert_eq!(audit.lag(), Lag { entries: 1, age: Duration::from_secs(30) });
    // Works for root too: a directory stands where the file must go.
    let obstacle = site.dir.path().join("log/.checkpoint.new");
    std::fs::create_dir(&obstacle).unwrap();
    assert!(audit.is_log_whole());
    assert!(matches!(audit.checkpoint().await, Err(AuditError::Log(LogError::Io(_)))));
    assert!(!audit.is_log_whole());
    site.clock.advance(Duration::from_secs(30));
    assert_eq!(audit.lag(), Lag { entries: 0, age: Duration::from_mins(1) }, "control knows the head, the log does not");
    write(&audit, Trail::Data, unit, 2).await;
    assert!(audit.checkpoint().await.is_err());
    let outbox = schema::table(schema::Table::LogOutbox);
    assert_eq!(site.store.scan(Space::Control, &outbox.from, &outbox.to, 10).await.unwrap().len(), 1, "nothing more is covered");
    std::fs::remove_dir(&obstacle).unwrap();
    assert_eq!(audit.checkpoint().await.unwrap(), 1);
    assert!(audit.is_log_whole());
    assert_eq!((audit.lag(), audit.checkpoint().await.unwrap()), (Lag::default(), 0));
    assert_eq!(site.store.scan(Space::Control, &outbox.from, &outbox.to, 10).await.unwrap(), []);
    let report = verify(&export(&audit, unit).await, &audit.heads(TENANT).await.unwrap());
    assert_eq!(report.verdict, Verdict::Ok);
    drop(audit);
    assert_eq!(site.open().await.lag(), Lag::default());
}

/// A checkpoint is cut off behind its mark in the data store: the next one has another number, so that a copy made between them is told
/// for the older one that it is.
#[tokio::test]
async fn no_two_checkpoints_have_one_number() {
    for is_killed in [false, true] {
        let site = Site::new().await;
        let unit = site.unit().await;
        let mut audit = site.open().await;
        write(&audit, Trail::Data, unit, 1).await;
        audit.checkpoint().await.unwrap();
        write(&audit, Trail::Data, unit, 2).await;
        if is_killed {
            // Between the two commits of a checkpoint: the data store has its number, and control does not.
            drop(audit);
            site.store.set(Space::Index, schema::audit_mark(), Some(2_u64.to_be_bytes().to_vec().into()));
            audit = site.open().await;
        } else {
            let obstacle = site.dir.path().join("log/.checkpoint.new");
            std::fs::create_dir(&obstacle).unwrap();
            assert!(audit.checkpoint().await.is_err());
            std::fs::remove_dir(&obstacle).unwrap();
        }
        let copy = site.store.copy(Database::Data);
        write(&audit, Trail::Data, unit, 3).await;
        audit.checkpoint().await.unwrap();
        drop(audit);
        site.store.restore(Database::Data, copy);
        let (_audit, lost) = site.try_open().await.unwrap();
        assert_eq!(lost.len(), 1, "killed: {is_killed}; {lost:?}");
    }
}

/// A start that is killed makes no last checkpoint: the next one covers what it left, once, and a cut is seen then.
#[tokio::test]
async fn what_a_killed_start_left_uncovered_is_covered_by_the_next() {
    let site = Site::new().await;
    let unit = site.unit().await;
    // Covered in part, not at all, and to its end; in both trails; over two starts that are killed.
    let audit = site.open().await;
    for number in 1..=3 {
        write(&audit, Trail::Data, unit, number).await;
    }
    write(&audit, Trail::Control, unit, 1).await;
    assert_eq!(audit.checkpoint().await.unwrap(), 2);
    for number in 4..=9 {
        write(&audit, Trail::Data, unit, number).await;
    }
    // Another tenant's chain, whose head cannot be read, is in nobody's way.
    site.store.set(Space::DataAudit, schema::audit(TenantNo(9), WriterId(3), 1), Some(Bytes::from_static(b"x")));
    site.store.set(Space::Control, schema::audit_head(TenantNo(9), WriterId(3)), Some(Bytes::from_static(b"x")));
    drop(audit);
    let audit = site.open().await;
    write(&audit, Trail::Control, unit, 10).await;
    site.clock.advance(Duration::from_secs(30));
    drop(audit);

    let audit = site.open().await;
    write(&audit, Trail::Data, unit, 11).await;
    assert_eq!(audit.checkpoint().await.unwrap(), 1, "nothing of others before it is taken up");
    let left = audit.left_tails().await.unwrap().unwrap();
    let shown: Vec<_> = left.iter().map(|tail| (tail.tenant, Trail::of(tail.writer), tail.covered, tail.last)).collect();
    assert_eq!(shown, [(TENANT, Trail::Control, 0, 1), (TENANT, Trail::Data, 3, 9)]);
    for tail in left.iter().chain(&left) {
        audit.take_up(unit, tail).await.unwrap();
    }
    audit.left_is_taken_up();
    assert_eq!(audit.left_tails().await.unwrap(), None);
    assert_eq!(audit.lag(), Lag { entries: 7, age: Duration::from_secs(30) });
    assert_eq!(audit.checkpoint().await.unwrap(), 2);
    assert_eq!((audit.lag(), audit.checkpoint().await.unwrap()), (Lag::default(), 0));

    let (lines, heads) = (export(&audit, unit).await, audit.heads(TENANT).await.unwrap());
    let report = verify(&lines, &heads);
    assert_eq!((report.verdict, report.entries, report.heads), (Verdict::Ok, 12, 4));
    let cut: Vec<String> = lines.iter().filter(|line| !line.contains(r#""seq":9"#)).cloned().collect();
    assert_eq!(verify(&cut, &heads).verdict, Verdict::Truncated);
    drop(audit);

    // What is covered is not looked for again, nor lost with older data without a word.
    let audit = site.open().await;
    assert_eq!(audit.left_tails().await.unwrap(), Some(vec![]));
    audit.left_is_taken_up();
    assert_eq!(audit.checkpoint().await.unwrap(), 0);
    drop(audit);
    site.store.set(Space::Control, schema::audit_head(TenantNo(9), WriterId(3)), None).unwrap();
    site.store.set(Space::DataAudit, schema::audit(TENANT, left[1].writer, 9), None).unwrap();
    site.store.set(Space::Index, schema::audit_mark(), None).unwrap();
    let (_audit, lost) = site.try_open().await.unwrap();
    assert_eq!(lost, [LostTail { tenant: TENANT, gap: Gap { writer: left[1].writer, from: 9, to: 9 } }]);
}

#[tokio::test]
async fn the_lag_is_that_of_the_oldest_entry_since_the_checkpoint() {
    let site = Site::new().await;
    let (audit, unit) = (site.open().await, site.unit().await);
    for number in 1..=3 {
        write(&audit, Trail::Data, unit, number).await;
        write(&audit, Trail::Control, unit, number).await;
        site.clock.advance(Duration::from_secs(10));
    }
    assert_eq!(audit.lag(), Lag { entries: 6, age: Duration::from_secs(30) });
    audit.checkpoint().await.unwrap();
    assert_eq!(audit.lag(), Lag::default());
    site.clock.advance(Duration::from_secs(10));
    write(&audit, Trail::Control, unit, 4).await;
    site.clock.advance(Duration::from_secs(1));
    assert_eq!(audit.lag(), Lag { entries: 1, age: Duration::from_secs(1) });
}

/// An append that fails may have failed behind the checkpoint's rename: then the leaf is in the log, and not to be put there
/// again.
#[tokio::test]
async fn an_epochs_leaf_whose_append_failed_is_in_the_log_once() {
    let site = Site::new().await;
    let audit = site.open().await;
    site.forest.shred(&[], vec![], vec![]).await.unwrap();
    let outbox = schema::table(schema::Table::LogOutbox);
    let waiting = async || site.store.scan(Space::Control, &outbox.from, &outbox.to, 10).await.unwrap();
    let leaf = waiting().await[0].value.to_vec();
    let obstacle = site.dir.path().join("log/.checkpoint.new");
    for is_in in [false, true] {
        std::fs::create_dir(&obstacle).unwrap();
        assert!(matches!(audit.publish_epochs().await, Err(AuditError::Log(LogError::Io(_)))));
        std::fs::remove_dir(&obstacle).unwrap();
        if is_in {
            // As if what failed had come behind the rename.
            audit.0.log.append_missing(vec![leaf.clone()]).await.unwrap();
            assert_eq!(audit.publish_epochs().await.unwrap(), 1);
        }
    }
    assert_eq!(waiting().await, []);
    let size = async || audit.0.log.read(|log| log.head().size).await.unwrap();
    assert_eq!(size().await, 1);
    assert_eq!((audit.publish_epochs().await.unwrap(), size().await), (0, 1));
}

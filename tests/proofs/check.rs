//! The check of a store at rest finds what lies where nothing reads: entries of trails, rows of large values, index rows.

use bytes::Bytes;
use lethe::{
    domain::{ShredUnit, TenantNo},
    vault::{
        ops::PutRecord,
        store::{
            Row, Space, Store as _,
            schema::{self, Table},
        },
    },
};

use crate::{
    harness::{Open, Place, coll, findings, key, put_about, put_of},
    rows,
};

/// The one finding.
async fn finding(open: &Open) -> String {
    let report = open.vault.check().await.unwrap();
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    report.findings[0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_or_bent_entry_of_a_trail_is_found() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    for name in ["1", "2", "3", "4"] {
        open.put(&owner, &acme, ("c", name), Some(name), b"v").await.unwrap();
    }
    open.vault.checkpoint_heads().await.unwrap();
    let report = open.vault.check().await.unwrap();
    assert_eq!(report.findings, Vec::<String>::new());
    let entries: usize = rows::all(&open.store, Space::DataAudit).await.len() + rows::all(&open.store, Space::ControlAudit).await.len();
    assert_eq!(report.entries, entries as u64, "every entry of every tenant is read");
    let mut trail = rows::all(&open.store, Space::DataAudit).await;
    trail.retain(|row| row.key[..8] == 1_u64.to_be_bytes());
    assert_eq!(trail.len(), 4);
    for (at, Row { key, value }) in trail.iter().enumerate() {
        rows::set(&open.store, Space::DataAudit, key, None).await;
        let told = finding(&open).await;
        assert!(told.contains("are missing") && told.contains(&format!("entries {} to {}", at + 1, at + 1)), "{told}");
        rows::set(&open.store, Space::DataAudit, key, Some(rows::bent(value))).await;
        assert!(finding(&open).await.starts_with("tenant 1, trail: "), "entry {at}");
        // An entry of its neighbour's place does not open either.
        rows::set(&open.store, Space::DataAudit, key, Some(trail[(at + 1) % 4].value.clone())).await;
        assert!(finding(&open).await.starts_with("tenant 1, trail: "), "entry {at}");
        rows::set(&open.store, Space::DataAudit, key, Some(value.clone())).await;
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_belong_to_nothing_are_found() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    for name in ["gone", "here"] {
        open.put(&owner, &acme, ("c", name), Some(name), &[1; 200_000]).await.unwrap();
    }
    // What is replaced or shredded waits for the sweep and is none.
    open.put(&owner, &acme, ("c", "here"), Some("here"), &[2; 200_000]).await.unwrap();
    open.shred_subject(&owner, &acme, "gone").await;
    let report = open.vault.check().await.unwrap();
    assert_eq!((report.findings, report.uploads), (Vec::new(), 1));

    let orphan = Bytes::from(vec![9; 20]);
    rows::set(&open.store, Space::Blobs, &orphan, Some(Bytes::from_static(b"x"))).await;
    assert!(finding(&open).await.contains("its rows belong to nothing"));
    rows::set(&open.store, Space::Blobs, &orphan, None).await;

    // A record lost on its own: its index row and its large value are left behind.
    let mut told = Vec::new();
    for Row { key, value } in rows::all(&open.store, Space::Records).await {
        rows::set(&open.store, Space::Records, &key, None).await;
        told.extend(findings(&open).await);
        rows::set(&open.store, Space::Records, &key, Some(value)).await;
    }
    assert!(told.iter().any(|told| told.contains("leads to no record")), "{told:?}");
    assert!(told.iter().any(|told| told.contains("no record refers to it")), "{told:?}");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_key_tree_is_found_and_none_is_made() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    open.put(&owner, &acme, ("c", "1"), Some("1"), b"v").await.unwrap();
    rows::set(&open.store, Space::Control, &schema::tree(TenantNo(1)), None).await;
    open.close().await;
    // Nothing of the tree is in memory after a start.
    let open = place.open().await;
    let all = async || {
        let mut found = Vec::new();
        for space in [Space::Control, Space::ControlAudit, Space::Records, Space::Blobs, Space::Index, Space::DataAudit] {
            found.push(rows::all(&open.store, space).await);
        }
        found
    };
    let before = all().await;
    let report = open.vault.check().await.unwrap();
    assert!(report.findings.iter().any(|told| told.starts_with("tenant 1: ")), "{:?}", report.findings);
    assert!(all().await == before, "the check has changed the store");
    open.close().await;
}

/// A store with a record about one person and one about two, in a collection of each kind of unit.
async fn peopled() -> (Place, Open) {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    for (collection, unit) in [("people", ShredUnit::Subject), ("notes", ShredUnit::Record), ("all", ShredUnit::Collection)] {
        open.collection(&owner, &acme, collection, unit).await;
        for (name, others) in [("1", vec![]), ("2", vec!["1", "2"]), ("3", vec!["4"])] {
            let names = [&[name], &others[..]].concat();
            open.vault.put_record(&owner, &acme, &coll(collection), key(name), put_about(&names, b"v")).await.unwrap();
        }
    }
    open.shred_subject(&owner, &acme, "3").await;
    assert_eq!(findings(&open).await, Vec::<String>::new());
    (place, open)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_row_that_is_lost_or_leads_to_someone_elses_record_is_found() {
    let (_place, open) = peopled().await;
    for of in [Table::SubjectRecord, Table::SecondaryRecord] {
        let there = rows::table(&open.store, of).await;
        assert!(there.len() >= 3, "{of:?}");
        let mut told = 0;
        for Row { key: row, value } in &there {
            rows::set(&open.store, Space::Index, row, None).await;
            told += findings(&open).await.iter().filter(|told| told.contains("missing in the index")).count();
            rows::set(&open.store, Space::Index, row, Some(value.clone())).await;
        }
        // Those of the shredded person's records say nothing any more.
        assert!(told >= 3, "{of:?}: {told} of {}", there.len());
    }
    // tag | tenant 8 | subject 16 | collection 4 | record 16: a stranger's row, and the first person's among those named second.
    let (mut strangers, mut firsts) = (0, 0);
    for Row { key: row, .. } in rows::table(&open.store, Table::SubjectRecord).await {
        let stranger: Bytes = [&row[..9], &[9; 16], &row[25..]].concat().into();
        rows::set(&open.store, Space::Index, &stranger, Some(Bytes::new())).await;
        strangers += count(&open, "leads to a record that does not name the person").await;
        rows::set(&open.store, Space::Index, &stranger, None).await;
        let second: Bytes = [&[Table::SecondaryRecord as u8], &row[1..]].concat().into();
        if rows::all(&open.store, Space::Index).await.iter().all(|there| there.key != second) {
            rows::set(&open.store, Space::Index, &second, Some(Bytes::new())).await;
            firsts += count(&open, "leads to a record that names the person first").await;
            rows::set(&open.store, Space::Index, &second, None).await;
        }
    }
    // Three collections: person 1's record, and one about the persons 2 and 1.
    assert_eq!((strangers, firsts), (9, 6));
    open.close().await;
}

/// How many findings say so; there are no others.
async fn count(open: &Open, what: &str) -> usize {
    let findings = findings(open).await;
    assert!(findings.iter().all(|told| told.contains(what)), "{findings:?}");
    findings.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_units_row_that_is_lost_or_names_another_unit_is_found() {
    let (_place, open) = peopled().await;
    let units = rows::table(&open.store, Table::Unit).await;
    let mut told = 0;
    for (at, Row { key: row, value }) in units.iter().enumerate() {
        for instead in [None, Some(units[(at + 1) % units.len()].value.clone()).filter(|other| other != value)] {
            rows::set(&open.store, Space::Control, row, instead).await;
            let findings = findings(&open).await;
            let says =
                |told: &String| told.contains("control knows another unit") || told.contains("unit row is not as this store wrote it");
            told += usize::from(findings.iter().any(says));
        }
        rows::set(&open.store, Space::Control, row, Some(value.clone())).await;
    }
    // Two live records each of the persons 1 and 2: two rows, and two again for those with a unit of their own, each lost and exchanged.
    assert!(told >= 8, "{told} of {}", units.len());
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_names_row_a_certificate_and_an_entry_of_the_shred_log_are_read() {
    let (_place, open) = peopled().await;
    let report = open.vault.check().await.unwrap();
    assert_eq!((report.orders, report.certificates), (1, 1));
    assert!(report.names >= 6, "{}", report.names);
    let bent = |value: &Bytes| {
        let mut bent = value.to_vec();
        bent[0] ^= 0x40;
        Some(Bytes::from(bent))
    };
    for (space, of, lost) in [
        (Space::Index, Table::TrailName, false),
        (Space::Control, Table::Certificate, true),
        (Space::Control, Table::ShredLog, true),
        (Space::Control, Table::ShredOrder, true),
    ] {
        let there = rows::table(&open.store, of).await;
        let mut told = 0;
        for Row { key: row, value } in &there {
            rows::set(&open.store, space, row, bent(value)).await;
            told += findings(&open).await.len();
            if lost {
                rows::set(&open.store, space, row, None).await;
                assert!(!findings(&open).await.is_empty(), "a row of {of:?} is lost");
            }
            rows::set(&open.store, space, row, Some(value.clone())).await;
        }
        assert!(told > 0, "{of:?}: {} rows", there.len());
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_what_is_due_that_are_lost_bent_or_planted_are_found() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    let end = place.clock.now().plus(std::time::Duration::from_hours(240));
    for name in ["a", "b"] {
        let put = PutRecord { expires_at: Some(end), ..put_of(Some(name), b"v") };
        open.vault.put_record(&owner, &acme, &coll("c"), key(name), put).await.unwrap();
    }
    open.put(&owner, &acme, ("c", "free"), Some("a"), b"v").await.unwrap();
    let report = open.vault.check().await.unwrap();
    assert_eq!((report.findings, report.due_rows), (Vec::new(), 2));
    let of = async |table: Table| rows::table(&open.store, table).await.remove(0);
    let (due, leads) = (of(Table::Due).await, of(Table::DueOf).await);
    let told = async |key: &Bytes, value: Option<Bytes>| {
        let stood = open.store.get(Space::Index, key).await.unwrap();
        rows::set(&open.store, Space::Index, key, value).await;
        let told = findings(&open).await.join("; ");
        rows::set(&open.store, Space::Index, key, stood).await;
        told
    };
    let missing = "has an end of its own, and is missing in the index of what is due";
    assert!(told(&due.key, None).await.contains("leads to no row"));
    assert!(told(&due.key, None).await.contains(missing));
    let lost = told(&leads.key, None).await;
    assert!(lost.contains("is not the one that its record leads to") && lost.contains(missing), "{lost}");
    assert!(told(&due.key, Some(rows::bent(&due.value))).await.contains("does not open"));
    assert!(told(&leads.key, Some(Bytes::from_static(b"x"))).await.contains("names no row"));
    // Somewhere else: it opens in its own place alone.
    let parts = schema::due_parts(&due.key).unwrap();
    let elsewhere = schema::due(parts.fineness, parts.hour + 1, parts.tenant, parts.collection, &parts.record);
    assert!(told(&elsewhere, Some(due.value.clone())).await.contains("does not open"));
    assert!(told(&due.key.slice(..20), Some(due.value.clone())).await.contains("has a malformed key"));
    let nobody = schema::due_of(parts.tenant, parts.collection, &[[9; 16]]);
    assert!(told(&nobody, Some(leads.value.clone())).await.contains("leads to no row"));
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

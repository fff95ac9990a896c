//! Reads that cross an order to shred: begun before it, and answered when it is done. The key of what the law keeps opens their old bytes
//! still, and so does a collection's own. RET-5.

use bytes::Bytes;
use futures_util::StreamExt as _;
use lethe::{
    domain::TenantNo,
    vault::{
        ops::{Caller, GetRecord, ListQuery, Value, ValueStream, VaultError},
        store::Space,
    },
};

use super::{Acme, UNITS, findings};
use crate::{
    harness::{Open, coll, is_shredded, key},
    retention::place,
    rows,
};

/// The keys of all records.
pub(super) async fn records(open: &Open) -> Vec<Bytes> {
    rows::records(&open.store, TenantNo(1)).await.into_iter().map(|row| row.key).collect()
}

/// The one that was not there before.
pub(super) async fn new_record(open: &Open, before: &[Bytes]) -> Bytes {
    let mut new = records(open).await;
    new.retain(|row| !before.contains(row));
    assert_eq!(new.len(), 1);
    new.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_and_a_read_that_cross_an_order_show_nothing_of_whom_it_has_shredded() {
    let (place, _) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    for (collection, _) in UNITS {
        let person = format!("p-{collection}");
        let before = records(&open).await;
        acme.put(&open, (collection, "tax"), &[&person], "tax", b"old").await.unwrap();
        let tax = new_record(&open, &before).await;
        acme.put(&open, (collection, "note"), &[&person], "note", b"old").await.unwrap();
        acme.put(&open, (collection, "other"), &["8"], "tax", b"v").await.unwrap();
        let whole = tax.slice(..12);
        let listing = place.meddler.hold_rows(move |space, from| space == Space::Records && from == &whole[..]);
        let reading = place.meddler.hold_reader(Space::Records, tax);
        let query = ListQuery { limit: 100, ..ListQuery::default() };
        let list = async { open.vault.list(&acme.owner, &acme.name, &coll(collection), query).await };
        let order = async {
            listing.has_read().await;
            reading.has_read().await;
            let view = open.shred_subject(&acme.owner, &acme.name, &person).await;
            listing.let_go();
            reading.let_go();
            view.id
        };
        let (listed, got, order) = tokio::join!(list, acme.get(&open, (collection, "tax")), order);
        assert!(matches!(got, Err(VaultError::Shredded { certificate: Some(by) }) if by == order), "{collection}: {got:?}");
        let names: Vec<String> = listed.unwrap().items.iter().map(|item| item.meta.key.as_str().to_owned()).collect();
        assert_eq!(names, ["other"], "{collection}");
        assert_eq!(acme.audited(&open, (collection, "tax")).await.unwrap(), b"old", "{collection}");
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// The parts of a value on its way.
async fn parts(open: &Open, caller: &Caller, acme: &Acme, at: (&str, &str)) -> ValueStream {
    let got = open.vault.get_record(caller, &acme.name, &coll(at.0), &key(at.1), GetRecord::default()).await.unwrap();
    match got.value {
        Value::Stream(parts) => parts,
        Value::Whole(_) | Value::Unchanged => panic!("it is not sent in parts"),
    }
}

/// Whatever the order makes of the record. An auditor begins anew, and is cut by nobody who returns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_that_an_order_overtakes_ends_at_its_next_part() {
    let (place, _) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let value = vec![7; 200_000];
    for (collection, _) in UNITS {
        for returns in [false, true] {
            let person = format!("p-{collection}-{returns}");
            let name = |kind: &str| format!("{returns}/{kind}");
            for kind in ["tax", "note"] {
                acme.put(&open, (collection, &name(kind)), &[&person], kind, &value).await.unwrap();
            }
            acme.put(&open, (collection, &name("other")), &["8"], "tax", &value).await.unwrap();
            let mut overtaken = Vec::new();
            for kind in ["tax", "note", "other"] {
                let mut parts = parts(&open, &acme.owner, &acme, (collection, &name(kind))).await;
                assert!(parts.next().await.unwrap().is_ok());
                overtaken.push((kind, parts));
            }
            open.shred_subject(&acme.owner, &acme.name, &person).await;
            if returns {
                acme.put(&open, (collection, &name("new")), &[&person], "note", b"new").await.unwrap();
            }
            for (kind, mut parts) in overtaken {
                let next = parts.next().await.unwrap();
                assert_eq!(is_shredded(&next), kind != "other", "{collection}/{kind}, returned: {returns}");
            }
            let auditor = acme.auditor(&open, Some("invoices")).await;
            let mut audited = parts(&open, &auditor, &acme, (collection, &name("tax"))).await;
            let mut whole = audited.next().await.unwrap().unwrap().to_vec();
            acme.put(&open, (collection, &name("newer")), &[&person], "note", b"new").await.unwrap();
            while let Some(part) = audited.next().await {
                whole.extend_from_slice(&part.unwrap());
            }
            assert_eq!(whole, value, "{collection}");
        }
    }
    open.close().await;
}

//! Rows that direct who is let in, what is destroyed and where a trail goes: bent, cut, in each other's places, or made to name
//! someone else while the store was closed. Whoever reads one is refused, nothing is destroyed by it, and all others go on.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use lethe::{
    authn::{Narrowing, PresentedToken, Role, TokenKind},
    domain::{
        ApprovalId, CollectionNo, RequestId, ShredId, ShredUnit, TenantName, TenantNo,
        approval::ShredScope,
        retention::{EventDate, EventName},
    },
    vault::{
        ops::{Caller, ListQuery, MintToken, Missing, NewAlias, ShredOrder, VaultError},
        store::{
            Space, Store as _, StoreError,
            embedded::Embedded,
            schema::{self, Table},
        },
    },
};

use super::{Bench, watched};
use crate::{
    harness::{Open, Place, WAIT, alias_of, coll, findings, hold_on, is_shredded, key, person, put_op, subject, subjects},
    rows,
};

const ACME: TenantNo = TenantNo(1);
const TAG_LEN: usize = 16;

/// Rows of one table, of an open store or of one at rest.
pub(super) async fn table(store: &Embedded, table: Table) -> Vec<(Bytes, Bytes)> {
    rows::pairs(rows::table(store, table).await)
}

/// Sets a row of the table that its key names, or takes it away.
pub(super) async fn set(store: &Embedded, key: &Bytes, value: Option<Bytes>) {
    rows::set(store, if key[0] >= 128 { Space::Index } else { Space::Control }, key, value).await;
}

/// Gives the disk of a closed store to someone.
pub(super) async fn at_rest<T>(place: &Place, work: impl AsyncFnOnce(&Embedded) -> T) -> T {
    let store = Embedded::open(place.options(), Arc::clone(&place.clock)).unwrap();
    let done = work(store.as_ref()).await;
    store.close();
    done
}

/// The row with one byte changed.
fn bent(row: &[u8], at: usize, byte: u8) -> Bytes {
    let mut bent = row.to_vec();
    bent[at] = byte;
    bent.into()
}

/// The row with another token in the place of a person's.
fn renamed(row: &[u8], from: &[u8], to: &[u8]) -> Bytes {
    let at = row.windows(16).position(|token| token == from).unwrap();
    [&row[..at], to, &row[at + 16..]].concat().into()
}

fn holds(bytes: &[u8], id: &[u8; 16]) -> bool {
    bytes.windows(16).any(|part| part == id)
}

/// Bends every byte of the row that `is_it` names, cuts it, and puts another of its table in its place: `read` is refused each
/// time. Counted where the read runs in the test's own thread.
async fn every_byte(
    store: &Embedded,
    of: Table,
    is_it: impl Fn(&[u8], &[u8]) -> bool,
    is_counted: bool,
    read: impl AsyncFn() -> Result<(), VaultError>,
) {
    let rows = table(store, of).await;
    let (key, row) = rows.iter().find(|(key, row)| is_it(key, row)).unwrap_or_else(|| panic!("no such row of {of:?}"));
    let mut wrong: Vec<(String, &str, Bytes)> = Vec::new();
    for at in 0..row.len() {
        wrong.push((format!("byte {at}"), "tag", bent(row, at, row[at] ^ 1 << (at % 8))));
    }
    for len in [0, TAG_LEN - 1, TAG_LEN, row.len() - 1] {
        wrong.push((format!("cut to {len}"), if len < TAG_LEN { "framing" } else { "tag" }, row.slice(..len)));
    }
    let (_, other) = rows.iter().find(|(_, other)| other != row).unwrap_or_else(|| panic!("only one row of {of:?}"));
    wrong.push(("another's".into(), "tag", other.clone()));
    for (what, reason, wrong) in wrong {
        set(store, key, Some(wrong)).await;
        let (got, counted) = watched(read()).await;
        assert!(matches!(got, Err(VaultError::Internal(_))), "{of:?}, {what}: {got:?}");
        if is_counted {
            assert!(counted.len() == 1 && counted.contains_key(reason), "{of:?}, {what}: {counted:?}");
        }
    }
    set(store, key, Some(row.clone())).await;
}

/// What takes two persons stands in the tenant's row. A bent request is shown to nobody and carried out by nobody.
async fn every_byte_of_a_request(open: &Open, acme: &TenantName, owner: &Caller) {
    let (vault, store) = (&open.vault, &*open.store);
    let second = open.ask_for_two(owner, acme, ShredScope::Subject).await;
    let mut asked = Vec::new();
    for name in ["a", "b"] {
        asked.push(ApprovalId(vault.order_shred(owner, acme, person(name), None, None).await.unwrap().id.0));
    }
    let at = |place: Bytes| move |key: &[u8], _: &[u8]| key == &place[..];
    let show = async || vault.approval(&second, acme, asked[0]).await.map(drop);
    let approve = async || open.approve(&second, acme, asked[0]).await;
    let again_asked = async || vault.order_shred(owner, acme, person("a"), None, None).await.map(drop);
    every_byte(store, Table::Approval, at(schema::approval(ACME, asked[0])), true, &show).await;
    every_byte(store, Table::Approval, at(schema::approval(ACME, asked[0])), false, &approve).await;
    every_byte(store, Table::ApprovalOpen, |_, row| holds(row, &asked[0].0), false, &again_asked).await;
    every_byte(store, Table::ShredOrder, at(schema::shred_order(ShredId(asked[0].0))), false, &approve).await;
    show().await.unwrap();
    again_asked().await.unwrap();
    for id in asked {
        vault.withdraw_approval(owner, acme, id, None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bit_of_any_byte_of_a_sealed_row_is_refused_by_whoever_reads_it() {
    let Bench { place, mut open, acme, owner, .. } = Bench::make().await;
    let operator = open.caller(&place.operator).await;
    open.tenant(&place, "globex").await;
    open.collection(&owner, &acme, "d", ShredUnit::Subject).await;
    for (collection, name) in [("d", "a"), ("c", "a"), ("c", "gone"), ("c", "went")] {
        open.put(&owner, &acme, (collection, name), Some(name), b"v").await.unwrap();
    }
    let gone = open.shred_subject(&owner, &acme, "gone").await.id.0;
    open.shred_subject(&owner, &acme, "went").await;
    let mint = || MintToken { role: Role::Reader, kind: TokenKind::Service, narrowing: Narrowing::default(), expires_at: None };
    let token = open.vault.create_token(&owner, &acme, mint(), Some("once".into())).await.unwrap();
    open.vault.create_token(&owner, &acme, mint(), Some("twice".into())).await.unwrap();
    open.close().await;
    // Nothing is in memory.
    open = place.open().await;
    let (vault, store) = (&open.vault, &*open.store);
    let units = table(store, Table::Unit).await;
    let a = units.iter().find(|(key, _)| key[25..] == 2_u32.to_be_bytes()).unwrap().0.slice(9..25);
    let unit_of_a = schema::unit(ACME, a[..].try_into().unwrap(), CollectionNo(1));

    let tenant = async || vault.tenant(&owner, &acme).await.map(drop);
    let tenants = async || vault.tenants(&operator, None, 10).await.map(drop);
    let get = async |name: &str| open.get(&owner, &acme, ("c", name)).await.map(drop);
    let list = async || {
        let query = ListQuery { subject: Some(subject("gone")), limit: 1, ..ListQuery::default() };
        vault.list(&owner, &acme, &coll("c"), query).await.map(drop)
    };
    let put = async || open.put(&owner, &acme, ("c", "a"), Some("a"), b"w").await.map(drop);
    let order = async || vault.shred(&owner, &acme, ShredId(gone), None).await.map(drop);
    let reclaim = async || vault.reclaim(10).await.map(drop);
    let again = async || vault.create_token(&owner, &acme, mint(), Some("once".into())).await.map(drop);
    let enter = async || vault.authenticate(&PresentedToken::parse(&token.text).unwrap(), RequestId([1; 16])).await.map(drop);
    let at = |place: Bytes| move |key: &[u8], _: &[u8]| key == &place[..];

    every_byte(store, Table::TenantName, |_, row| row[1] == 1, true, &tenant).await;
    every_byte(store, Table::Tenant, at(schema::tenant(ACME)), true, &tenants).await;
    every_byte(store, Table::CollectionName, |_, row| row[1] == 1, true, async || get("a").await).await;
    every_byte(store, Table::Collection, at(schema::collection(ACME, CollectionNo(1))), true, async || get("a").await).await;
    every_byte(store, Table::AccessToken, at(schema::access_token(token.id)), true, &enter).await;
    every_byte(store, Table::Unit, at(unit_of_a), false, &put).await;
    every_byte(store, Table::SubjectState, |_, row| holds(row, &gone), true, &list).await;
    every_byte(store, Table::UnitState, |_, row| holds(row, &gone), true, async || get("gone").await).await;
    every_byte(store, Table::ShredOrder, at(schema::shred_order(ShredId(gone))), true, &order).await;
    every_byte(store, Table::ShredLog, |_, row| holds(row, &gone), true, &reclaim).await;
    // Reclaiming holds back what it cannot read and goes on; who checks is told.
    let held_back = async || {
        reclaim().await?;
        let found = vault.check().await?.findings.pop();
        found.map_or(Ok(()), |told| Err(VaultError::Internal(told)))
    };
    every_byte(store, Table::ShredSlots, |key, _| holds(key, &gone), false, held_back).await;
    every_byte(store, Table::Made, |_, row| holds(row, &token.id.0), false, &again).await;

    // A person's ids.
    let alias = NewAlias { with_records: false, ..alias_of("a", "alpha") };
    vault.add_alias(&owner, &acme, alias, None).await.unwrap();
    let ids = async || vault.person_ids(&owner, &acme, &subject("a")).await.map(drop);
    every_byte(store, Table::Alias, |key, _| key[9..] == a[..], true, &ids).await;
    ids().await.unwrap();
    vault.remove_alias(&owner, &acme, subject("alpha"), None).await.unwrap();

    // What was reported of a person.
    for person in subjects(&["a", "b"]) {
        let report = (person, EventName::parse("left").unwrap(), EventDate::parse("2026-01-31").unwrap());
        vault.report_event(&owner, &acme, report, None).await.unwrap();
    }
    let events = async || vault.read_events(&owner, &acme, &subject("a")).await.map(drop);
    every_byte(store, Table::Events, |key, _| key[9..] == a[..], true, &events).await;
    events().await.unwrap();

    // What a hold is on, and what it says: a bent one is refused by who destroys, and keeps what it kept.
    let counsel = open.with_role(&owner, &acme, Role::Counsel).await;
    let mut ids = Vec::new();
    for name in ["a", "b"] {
        ids.push(vault.place_hold(&counsel, &acme, hold_on(name), None).await.unwrap().id);
    }
    let delete = async || open.delete(&owner, &acme, ("c", "a")).await;
    let hold = async || vault.hold(&counsel, &acme, ids[0]).await.map(drop);
    every_byte(store, Table::HoldOn, |key, _| holds(key, &ids[0].0), false, &delete).await;
    every_byte(store, Table::Hold, at(schema::hold(ACME, ids[0])), true, &hold).await;
    assert!(matches!(delete().await, Err(VaultError::LegalHold { .. })));
    hold().await.unwrap();
    for id in ids {
        vault.release_hold(&counsel, &acme, id, "settled".into(), None).await.unwrap();
    }

    every_byte_of_a_request(&open, &acme, &owner).await;
    assert_eq!(get("a").await.map_err(|error| error.to_string()), Ok(()), "nothing was done");

    for right in [tenant().await, tenants().await, get("a").await, enter().await, put().await, order().await, reclaim().await] {
        right.unwrap();
    }
    assert!(is_shredded(&list().await) && is_shredded(&get("gone").await));
    assert!(matches!(again().await, Err(VaultError::Conflict(_))));
    assert_eq!(vault.check().await.unwrap().findings, Vec::<String>::new());
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_over_a_bent_row_of_a_tenant_or_a_collection_serves_the_others() {
    let Bench { place, mut open, acme, owner, .. } = Bench::make().await;
    let (globex, other, _) = open.tenant(&place, "globex").await;
    open.collection(&other, &globex, "c", ShredUnit::Subject).await;
    open.collection(&owner, &acme, "d", ShredUnit::Subject).await;
    let all = [(&owner, &acme, "c"), (&owner, &acme, "d"), (&other, &globex, "c")];
    for (caller, tenant, collection) in all {
        open.put(caller, tenant, (collection, "a"), Some("a"), b"v").await.unwrap();
    }
    for (row, lost) in [(schema::collection(ACME, CollectionNo(1)), &[0][..]), (schema::tenant(ACME), &[0, 1])] {
        open.close().await;
        let whole = at_rest(&place, async |disk| {
            let whole = disk.get(Space::Control, &row).await.unwrap().unwrap();
            set(disk, &row, Some(bent(&whole, 5, whole[5] ^ 1))).await;
            whole
        })
        .await;
        open = place.open().await;
        for (number, (caller, tenant, collection)) in all.into_iter().enumerate() {
            let got = open.get(caller, tenant, (collection, "a")).await;
            if lost.contains(&number) {
                assert!(matches!(got, Err(VaultError::Internal(_))), "{number}: {got:?}");
            } else {
                assert_eq!(got.unwrap(), b"v", "{number}");
                open.shred_subject(caller, tenant, "nobody").await;
            }
        }
        if lost.len() > 1 {
            // Whose entry of the shred log was passed over at the start: it is held back, and no other.
            assert!(open.vault.reclaim(10).await.unwrap().log_entries > 0);
            assert_eq!(open.vault.reclaim(10).await.unwrap().log_entries, 0);
        }
        open.close().await;
        at_rest(&place, async |disk| set(disk, &row, Some(whole)).await).await;
        open = place.open().await;
    }
    for (caller, tenant, collection) in all {
        assert_eq!(open.get(caller, tenant, (collection, "a")).await.unwrap(), b"v");
    }
    assert_eq!(open.vault.reclaim(10).await.unwrap().log_entries, 1, "what was held back");
    open.close().await;
}

/// Ordered before the row was bent, and after: the keys go, and only what is deleted in that collection waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_with_records_in_a_collection_whose_row_is_bent_is_forgotten() {
    let Bench { place, mut open, acme, owner, .. } = Bench::make().await;
    open.close().await;
    open = place.open_meddled().await;
    let mut units = Vec::new();
    for name in ["a", "b"] {
        let before = table(&open.store, Table::Unit).await;
        open.put(&owner, &acme, ("c", name), Some(name), name.as_bytes()).await.unwrap();
        let (_, row) = table(&open.store, Table::Unit).await.into_iter().find(|row| !before.contains(row)).unwrap();
        // version u8 | slot | generation: below 128 a byte each.
        units.push((lethe::domain::Slot::new(row[1].into()).unwrap(), u32::from(row[2])));
    }
    let refused = place.meddler.refuse_epochs(StoreError::DiskFull);
    let before = open.vault.order_shred(&owner, &acme, person("a"), None, None).await.unwrap();
    refused.next().await;
    let row = schema::collection(ACME, CollectionNo(1));
    let whole = open.store.get(Space::Control, &row).await.unwrap().unwrap();
    set(&open.store, &row, Some(bent(&whole, 5, whole[5] ^ 1))).await;
    place.meddler.refuse_nothing();
    let after = open.vault.order_shred(&owner, &acme, person("b"), None, None).await.unwrap();
    let mut others = 0;
    for (slot, generation) in units {
        // Tried again every second.
        let goes = async {
            while open.forest.load_unit(ACME, slot).await.unwrap().generation.0 == generation {
                others += 1;
                open.shred_subject(&owner, &acme, &format!("other-{others}")).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), goes).await.expect("a key is still there");
    }
    for id in [before.id, after.id] {
        assert!(!open.vault.shred(&owner, &acme, id, None).await.unwrap().done, "who looks for what to delete cannot read the policy");
    }
    open.close().await;
    at_rest(&place, async |disk| set(disk, &row, Some(whole)).await).await;
    open = place.open().await;
    for id in [before.id, after.id] {
        assert!(open.awaited(&owner, &acme, id).await.done);
    }
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_units_row_in_anothers_place_has_nobody_shredded_in_the_others_stead() {
    let Bench { place, mut open, acme, owner, .. } = Bench::make().await;
    open.collection(&owner, &acme, "files", ShredUnit::Record).await;
    let all = [("c", "a"), ("c", "b"), ("files", "a"), ("files", "b")];
    for (collection, name) in all {
        open.put(&owner, &acme, (collection, name), Some(name), name.as_bytes()).await.unwrap();
    }
    // By the length of their keys: of a person, of a record, of a record under its person.
    let of_record = || ShredOrder::Record { collection: coll("files"), key: key("a") };
    for (len, order) in [(29, person("a")), (35, of_record()), (51, person("a"))] {
        open.close().await;
        let mut pair = at_rest(&place, async |disk| table(disk, Table::Unit).await).await;
        pair.retain(|(key, _)| key.len() == len);
        let [(one, its), (other, others)] = &pair[..] else { panic!("{} rows of {len} bytes", pair.len()) };
        at_rest(&place, async |disk| {
            set(disk, one, Some(others.clone())).await;
            set(disk, other, Some(its.clone())).await;
        })
        .await;
        open = place.open().await;
        let ordered = open.vault.order_shred(&owner, &acme, order, WAIT, None).await;
        assert!(matches!(ordered, Err(VaultError::Internal(_))), "{len}: {ordered:?}");
        assert!(table(&open.store, Table::ShredOrder).await.is_empty(), "{len}: nothing is done, and nothing waits to be");
        for (collection, name) in all {
            assert_eq!(open.get(&owner, &acme, (collection, name)).await.unwrap(), name.as_bytes(), "{len}: {collection}/{name}");
        }
        open.close().await;
        at_rest(&place, async |disk| {
            set(disk, one, Some(its.clone())).await;
            set(disk, other, Some(others.clone())).await;
        })
        .await;
        open = place.open().await;
    }
    // Whose records are gone has a unit all the same.
    let units = table(&open.store, Table::Unit).await;
    open.put(&owner, &acme, ("c", "empty"), Some("empty"), b"v").await.unwrap();
    open.delete(&owner, &acme, ("c", "empty")).await.unwrap();
    let (unit, its) = table(&open.store, Table::Unit).await.into_iter().find(|row| !units.contains(row)).unwrap();
    set(&open.store, &unit, Some(bent(&its, 1, its[1] ^ 1))).await;
    let ordered = open.vault.order_shred(&owner, &acme, person("empty"), None, None).await;
    assert!(matches!(ordered, Err(VaultError::Internal(_))), "{ordered:?}");
    assert!(table(&open.store, Table::ShredOrder).await.is_empty());
    set(&open.store, &unit, Some(its)).await;

    open.shred_subject(&owner, &acme, "a").await;
    for (collection, name) in all {
        let got = open.get(&owner, &acme, (collection, name)).await;
        if name == "a" { assert!(is_shredded(&got), "{collection}: {got:?}") } else { assert_eq!(got.unwrap(), b"b") }
    }
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bent_entry_of_the_shred_log_deletes_nothing_and_the_start_is_refused() {
    let Bench { place, mut open, acme, owner, .. } = Bench::make().await;
    open.collection(&owner, &acme, "log", ShredUnit::Collection).await;
    for name in ["a", "b", "lives"] {
        open.put(&owner, &acme, ("log", name), Some(name), name.as_bytes()).await.unwrap();
    }
    open.close().await;
    place.copy("store/data", "older");
    open = place.open().await;
    for name in ["a", "b"] {
        open.shred_subject(&owner, &acme, name).await;
    }
    let log = table(&open.store, Table::ShredLog).await;
    let [(first, of_a), (second, of_b)] = &log[..] else { panic!("{} entries", log.len()) };
    // Who is left in the index is not shredded.
    let left = table(&open.store, Table::SubjectRecord).await;
    assert_eq!(left.len(), 1);
    // version 1, tenant 1, order 16, scope 1, length 1
    let aimed = renamed(of_a, &of_a[20..36], &left[0].0[9..25]);
    open.close().await;
    let swapped = [(first, of_b.clone()), (second, of_a.clone())];
    for (what, rows) in [("made to name another", &[(first, aimed)][..]), ("in each other's places", &swapped)] {
        place.put_back("older", "store/data");
        at_rest(&place, async |disk| {
            for (key, row) in rows {
                set(disk, key, Some(row.clone())).await;
            }
        })
        .await;
        let refused = place.try_open().await.err().unwrap_or_else(|| panic!("{what}: served"));
        assert!(refused.contains("a shred log row is not as this store wrote it"), "{what}: {refused}");
        at_rest(&place, async |disk| {
            assert_eq!(rows::records(disk, ACME).await.len(), 3, "{what}");
            for (key, row) in &log {
                set(disk, key, Some(row.clone())).await;
            }
        })
        .await;
    }
    open = place.open().await;
    for name in ["a", "b"] {
        assert!(matches!(open.get(&owner, &acme, ("log", name)).await, Err(VaultError::NotFound(Missing::Record))), "{name}");
    }
    assert_eq!(open.get(&owner, &acme, ("log", "lives")).await.unwrap(), b"lives");
    open.close().await;
}

/// The order waits because the page of the person's key is away; when that is back, it names someone else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pending_order_that_was_pointed_to_another_person_is_set_aside_and_shreds_nobody() {
    let Bench { place, mut open, acme, owner, .. } = Bench::make().await;
    open.put(&owner, &acme, ("c", "beside"), Some("beside"), b"beside").await.unwrap();
    // A page for these two alone: each start takes new numbers.
    open.close().await;
    open = place.open().await;
    let (pages, units) = (table(&open.store, Table::Page).await, table(&open.store, Table::Unit).await);
    for name in ["a", "b"] {
        open.put(&owner, &acme, ("c", name), Some(name), name.as_bytes()).await.unwrap();
    }
    let page = table(&open.store, Table::Page).await.into_iter().find(|row| !pages.contains(row)).unwrap();
    set(&open.store, &page.0, None).await;
    let order = open.vault.order_shred(&owner, &acme, person("a"), None, None).await.unwrap();
    open.close().await;

    let (order_row, whole) = at_rest(&place, async |disk| {
        set(disk, &page.0, Some(page.1.clone())).await;
        let states = table(disk, Table::SubjectState).await;
        assert_eq!(states.len(), 1);
        let a = states[0].0.slice(9..25);
        let mut both = table(disk, Table::Unit).await;
        both.retain(|row| !units.contains(row) && row.0[9..25] != a);
        assert_eq!(both.len(), 1);
        let (order_row, whole) = table(disk, Table::ShredOrder).await.pop().unwrap();
        set(disk, &order_row, Some(renamed(&whole, &a, &both[0].0[9..25]))).await;
        (order_row, whole)
    })
    .await;
    open = place.open().await;
    assert!(is_shredded(&open.get(&owner, &acme, ("c", "a")).await), "ordered is ordered");
    for name in ["b", "beside"] {
        assert_eq!(open.get(&owner, &acme, ("c", name)).await.unwrap(), name.as_bytes());
    }
    assert!(matches!(open.vault.certificate(order.id).await, Err(VaultError::NotFound(Missing::Shred))));
    assert!(matches!(open.vault.shred(&owner, &acme, order.id, None).await, Err(VaultError::Internal(_))));
    open.shred_subject(&owner, &acme, "beside").await;
    assert_eq!(open.get(&owner, &acme, ("c", "b")).await.unwrap(), b"b");
    let found = findings(&open).await;
    assert!(!found.is_empty() && found.iter().all(|told| told.contains(&hex::encode(&order_row))), "{found:?}");
    open.close().await;

    at_rest(&place, async |disk| set(disk, &order_row, Some(whole)).await).await;
    open = place.open().await;
    assert!(open.awaited(&owner, &acme, order.id).await.done);
    assert!(is_shredded(&open.get(&owner, &acme, ("c", "a")).await));
    assert_eq!(open.get(&owner, &acme, ("c", "b")).await.unwrap(), b"b");
    open.close().await;
}

/// Deletions whose orders could not be given at once, and whose rows in the data store name another's unit by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deferred_shred_that_was_pointed_to_another_unit_shreds_nothing_and_holds_up_no_other() {
    let Bench { place, mut open, acme, owner, .. } = Bench::make().await;
    open.collection(&owner, &acme, "files", ShredUnit::Record).await;
    let mut states = Vec::new();
    for name in ["bent", "whole", "lives"] {
        let before = table(&open.store, Table::Unit).await;
        open.put(&owner, &acme, ("files", name), None, name.as_bytes()).await.unwrap();
        let (_, row) = table(&open.store, Table::Unit).await.into_iter().find(|row| !before.contains(row)).unwrap();
        states.push((row[1], schema::unit_state(ACME, lethe::domain::Slot::new(u64::from(row[1])).unwrap())));
    }
    let [(of_bent, bent_state), (_, whole_state), (of_another, _)] = &states[..] else { panic!() };
    for (name, state) in [("bent", bent_state), ("whole", whole_state)] {
        // No order is given over a state that nobody can read.
        set(&open.store, state, Some(Bytes::new())).await;
        open.delete(&owner, &acme, ("files", name)).await.unwrap();
    }
    open.close().await;
    let deferred = at_rest(&place, async |disk| {
        let rows = table(disk, Table::Reclaim).await;
        assert_eq!(rows.len(), 2);
        for state in [bent_state, whole_state] {
            set(disk, state, None).await;
        }
        // .. units 1, slot 1, generation 1, principal 16, role 1, request 16, report 1, tag 16
        let slot = |row: &[u8]| row.len() - 34 - TAG_LEN - 2;
        let (key, row) = rows.into_iter().find(|(_, row)| row[slot(row)] == *of_bent).unwrap();
        set(disk, &key, Some(bent(&row, slot(&row), *of_another))).await;
        (key, row)
    })
    .await;
    let is_ordered = async |open: &Open, state: &Bytes| {
        for round in 0..100 {
            // Others' orders are carried out meanwhile.
            open.shred_subject(&owner, &acme, &format!("other-{round}")).await;
            if open.store.get(Space::Control, state).await.unwrap().is_some() {
                return true;
            }
        }
        false
    };
    open = place.open().await;
    assert!(is_ordered(&open, whole_state).await);
    assert_eq!(open.get(&owner, &acme, ("files", "lives")).await.unwrap(), b"lives");
    assert!(open.store.get(Space::Control, bent_state).await.unwrap().is_none());
    let found = findings(&open).await;
    assert!(matches!(&found[..], [one] if one.contains(&hex::encode(&deferred.0))), "{found:?}");
    open.close().await;
    at_rest(&place, async |disk| set(disk, &deferred.0, Some(deferred.1.clone())).await).await;
    open = place.open().await;
    assert!(is_ordered(&open, bent_state).await);
    assert_eq!(open.get(&owner, &acme, ("files", "lives")).await.unwrap(), b"lives");
    open.close().await;
}

/// What an order has deleted so far stands in the data store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_was_moved_on_past_what_it_is_to_delete_is_not_certified() {
    const RECORDS: usize = 6_000;
    let Bench { place, mut open, acme, owner, .. } = Bench::make().await;
    open.collection(&owner, &acme, "log", ShredUnit::Collection).await;
    let put = |number: usize| put_op("log", number, &["a"]);
    for first in (0..RECORDS).step_by(1_000) {
        open.vault.batch(&owner, &acme, (first..first + 1_000).map(put).collect(), None).await.unwrap();
    }
    let order = open.vault.order_shred(&owner, &acme, person("a"), None, None).await.unwrap();
    while table(&open.store, Table::ShredDeleted).await.is_empty() {
        assert!(!open.vault.shred(&owner, &acme, order.id, None).await.unwrap().done, "make RECORDS larger: it is over already");
    }
    open.close().await;
    let progress = at_rest(&place, async |disk| table(disk, Table::ShredDeleted).await).await;
    let [(position, at), (counted, deleted)] = &progress[..] else { panic!("{} rows: make RECORDS larger", progress.len()) };
    // The subject after the last one; and more than there were.
    for (key, row, wrong) in [(position, at, bent(at, 1, 1)), (counted, deleted, bent(deleted, 1, deleted[1] ^ 1))] {
        at_rest(&place, async |disk| set(disk, key, Some(wrong)).await).await;
        open = place.open().await;
        assert!(!open.vault.shred(&owner, &acme, order.id, None).await.unwrap().done);
        assert!(matches!(open.vault.certificate(order.id).await, Err(VaultError::NotFound(Missing::Shred))));
        assert!(is_shredded(&open.put(&owner, &acme, ("log", "new"), Some("a"), b"v").await), "still pending");
        for at in (0..row.len()).step_by(8) {
            set(&open.store, key, Some(bent(row, at, row[at] ^ 1 << (at % 8)))).await;
            let found = findings(&open).await;
            assert!(found.iter().any(|one| one.contains(&hex::encode(key))), "byte {at}: {found:?}");
        }
        open.close().await;
        at_rest(&place, async |disk| set(disk, key, Some(row.clone())).await).await;
    }
    open = place.open().await;
    let view = open.vault.shred(&owner, &acme, order.id, Some(Duration::from_mins(1))).await.unwrap();
    assert!(view.done);
    assert_eq!(view.collections.iter().map(|(_, totals)| totals.deleted).sum::<u64>(), RECORDS as u64);
    open.close().await;
}

/// Older data is put back, and how far deletions were applied is moved on past them: they are applied all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_moves_on_how_far_the_log_was_looked_at_brings_nothing_back() {
    let Bench { place, mut open, acme, owner, .. } = Bench::make().await;
    open.collection(&owner, &acme, "log", ShredUnit::Collection).await;
    open.put(&owner, &acme, ("log", "k"), Some("7"), b"canary").await.unwrap();
    open.put(&owner, &acme, ("log", "other"), Some("8"), b"v").await.unwrap();
    open.close().await;
    place.copy("store/data", "yesterday");
    open = place.open().await;
    open.shred_subject(&owner, &acme, "7").await;
    open.vault.reclaim(100).await.unwrap();
    let pointer = schema::reclaimed();
    let passed = open.store.get(Space::Index, &pointer).await.unwrap().unwrap();
    open.close().await;
    let mut last = passed.to_vec();
    let bare = passed.len() - TAG_LEN;
    last[1..bare].fill(0xff);
    let bare = passed.slice(..bare);
    for moved in [Bytes::from_static(&[0xff; 20]), last.into(), bare, Bytes::new()] {
        place.put_back("yesterday", "store/data");
        at_rest(&place, async |disk| set(disk, &pointer, Some(moved.clone())).await).await;
        open = place.open().await;
        let got = open.get(&owner, &acme, ("log", "k")).await;
        assert!(matches!(got, Err(VaultError::NotFound(Missing::Record))), "{moved:?}: {got:?}");
        assert_eq!(open.get(&owner, &acme, ("log", "other")).await.unwrap(), b"v");
        open.vault.reclaim(100).await.unwrap();
        assert_eq!(findings(&open).await, Vec::<String>::new());
        open.close().await;
    }
}

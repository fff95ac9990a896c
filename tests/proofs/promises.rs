//! What users rely on, told as they would tell it.

use lethe::{
    authn::Role,
    domain::{CollectionPolicy, ShredUnit, SubjectId, limits},
    vault::{
        audit::{certificate::Certificate, note::Signer},
        ops::{
            BatchOp, BatchResult, Conflict, GetRecord, ListQuery, Missing, Precondition, PutRecord, RangeSpec, ShredOrder, Unprocessable,
            VaultError,
        },
    },
};

use crate::harness::{Place, coll, is_shredded, key, put_of, read};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_stored_read_replaced_and_deleted() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "customers", ShredUnit::Subject).await;
    let at = ("customers", "eu/ann@example.com");
    let first = open.put(&owner, &acme, at, Some("7"), b"one").await.unwrap();
    assert!(first.created);
    assert_eq!(open.get(&owner, &acme, at).await.unwrap(), b"one");
    let second = open.put(&owner, &acme, at, Some("7"), b"two").await.unwrap();
    assert!(!second.created && second.version > first.version);
    assert_eq!(open.get(&owner, &acme, at).await.unwrap(), b"two");

    let stale = PutRecord { precondition: Precondition::Versions(vec![first.version]), ..put_of(Some("7"), b"three") };
    assert!(matches!(
        open.vault.put_record(&owner, &acme, &coll("customers"), key(at.1), stale).await,
        Err(VaultError::PreconditionFailed)
    ));
    let twice = PutRecord { precondition: Precondition::Absent, ..put_of(Some("7"), b"three") };
    assert!(matches!(
        open.vault.put_record(&owner, &acme, &coll("customers"), key(at.1), twice).await,
        Err(VaultError::PreconditionFailed)
    ));
    let missing = open.put(&owner, &acme, ("customers", "x"), None, b"v").await;
    assert!(matches!(missing, Err(VaultError::Unprocessable(Unprocessable::SubjectMissing))));

    open.delete(&owner, &acme, ("customers", at.1)).await.unwrap();
    assert!(matches!(open.get(&owner, &acme, at).await, Err(VaultError::NotFound(Missing::Record))));
    assert!(matches!(open.put(&owner, &acme, ("nowhere", "x"), Some("7"), b"v").await, Err(VaultError::NotFound(Missing::Collection))));
    open.close().await;

    let open = place.open().await;
    open.put(&owner, &acme, at, Some("7"), b"again").await.unwrap();
    assert_eq!(open.get(&owner, &acme, at).await.unwrap(), b"again");
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_tenant_the_operator_and_a_revoked_token_see_nothing() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    let (_, stranger, _) = open.tenant(&place, "other").await;
    let operator = open.caller(&place.operator).await;
    open.collection(&owner, &acme, "customers", ShredUnit::Subject).await;
    open.put(&owner, &acme, ("customers", "ann"), Some("7"), b"secret").await.unwrap();
    for caller in [&stranger, &operator] {
        assert!(matches!(open.get(caller, &acme, ("customers", "ann")).await, Err(VaultError::NotFound(_))));
        assert!(matches!(open.put(caller, &acme, ("customers", "bob"), Some("8"), b"v").await, Err(VaultError::NotFound(_))));
        let listed = open.vault.list(caller, &acme, &coll("customers"), ListQuery { limit: 10, ..ListQuery::default() }).await;
        assert!(matches!(listed, Err(VaultError::NotFound(_))));
    }
    let (reader, id) = open.token(&owner, &acme, Role::Reader).await;
    let reading = open.caller(&reader).await;
    assert_eq!(open.get(&reading, &acme, ("customers", "ann")).await.unwrap(), b"secret");
    assert!(matches!(open.put(&reading, &acme, ("customers", "bob"), Some("8"), b"v").await, Err(VaultError::Forbidden)));
    open.vault.revoke_token(&owner, &acme, id, None).await.unwrap();
    let presented = lethe::authn::PresentedToken::parse(&reader).unwrap();
    let refused = open.vault.authenticate(&presented, lethe::domain::RequestId([2; 16])).await;
    assert!(matches!(refused, Err(VaultError::Unauthenticated)));
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shredded_person_is_gone_and_everyone_else_is_not() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    for collection in ["customers", "invoices"] {
        open.collection(&owner, &acme, collection, ShredUnit::Subject).await;
        for subject in ["7", "8"] {
            open.put(&owner, &acme, (collection, subject), Some(subject), b"secret").await.unwrap();
        }
    }
    let view = open.shred_subject(&owner, &acme, "7").await;
    for collection in ["customers", "invoices"] {
        assert!(is_shredded(&open.get(&owner, &acme, (collection, "7")).await), "{collection}");
        assert_eq!(open.get(&owner, &acme, (collection, "8")).await.unwrap(), b"secret");
        assert!(is_shredded(&open.put(&owner, &acme, (collection, "9"), Some("7"), b"back").await));
        let page = open.vault.list(&owner, &acme, &coll(collection), ListQuery { limit: 10, ..ListQuery::default() }).await.unwrap();
        assert_eq!(page.items.len(), 1);
        assert_eq!(page.items[0].meta.key, key("8"));
    }
    let Err(VaultError::Shredded { certificate }) = open.get(&owner, &acme, ("customers", "7")).await else { panic!() };
    assert_eq!(certificate, Some(view.id));
    let note = open.vault.certificate(view.id).await.unwrap();
    let verifier = Signer::from_seed("lethe.test", &[9; 32]).unwrap().verifier();
    let certificate = Certificate::open(std::str::from_utf8(&note).unwrap(), &verifier).unwrap();
    assert_eq!((certificate.totals.units, certificate.verification.sample_size, certificate.verification.readable_after), (2, 2, 0));

    // The person may come back, under a key of its own.
    let back = PutRecord { new_relationship: true, ..put_of(Some("7"), b"new") };
    open.vault.put_record(&owner, &acme, &coll("customers"), key("7"), back).await.unwrap();
    assert_eq!(open.get(&owner, &acme, ("customers", "7")).await.unwrap(), b"new");
    assert!(is_shredded(&open.get(&owner, &acme, ("invoices", "7")).await));
    open.vault.reclaim(100).await.unwrap();
    assert_eq!(open.get(&owner, &acme, ("customers", "7")).await.unwrap(), b"new");
    assert!(is_shredded(&open.get(&owner, &acme, ("invoices", "7")).await));
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_a_record_and_a_tenant_are_shredded() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "people", ShredUnit::Subject).await;
    open.collection(&owner, &acme, "files", ShredUnit::Record).await;
    open.collection(&owner, &acme, "logs", ShredUnit::Collection).await;
    for subject in ["1", "2", "3"] {
        open.put(&owner, &acme, ("people", subject), Some(subject), b"p").await.unwrap();
        open.put(&owner, &acme, ("files", subject), Some(subject), b"f").await.unwrap();
        open.put(&owner, &acme, ("logs", subject), Some(subject), b"l").await.unwrap();
    }
    open.shred(&owner, &acme, ShredOrder::Record { collection: coll("files"), key: key("1") }).await;
    assert!(is_shredded(&open.get(&owner, &acme, ("files", "1")).await));
    assert_eq!(open.get(&owner, &acme, ("files", "2")).await.unwrap(), b"f");
    open.put(&owner, &acme, ("files", "1"), Some("1"), b"f2").await.unwrap();
    assert_eq!(open.get(&owner, &acme, ("files", "1")).await.unwrap(), b"f2");
    let wrong = open.vault.order_shred(&owner, &acme, ShredOrder::Record { collection: coll("people"), key: key("1") }, None, None).await;
    assert!(matches!(wrong, Err(VaultError::Unprocessable(Unprocessable::NotARecordUnit))));

    // A person's records are deleted where the unit is the collection, shredded where it is the record.
    let view = open.shred_subject(&owner, &acme, "2").await;
    assert!(matches!(open.get(&owner, &acme, ("logs", "2")).await, Err(VaultError::NotFound(_))));
    assert!(is_shredded(&open.get(&owner, &acme, ("files", "2")).await));
    assert!(is_shredded(&open.get(&owner, &acme, ("people", "2")).await));
    assert_eq!(
        view.collections.iter().map(|(_, totals)| (totals.units, totals.deleted)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)),
        (2, 1)
    );

    open.shred(&owner, &acme, ShredOrder::Collection(coll("people"))).await;
    assert!(is_shredded(&open.get(&owner, &acme, ("people", "3")).await));
    assert!(is_shredded(&open.put(&owner, &acme, ("people", "4"), Some("4"), b"v").await));
    let again = open.vault.put_collection(&owner, &acme, &coll("people"), CollectionPolicy::default(), None).await;
    assert!(is_shredded(&again));
    assert_eq!(open.get(&owner, &acme, ("files", "3")).await.unwrap(), b"f");

    let unconfirmed = open.vault.order_shred(&owner, &acme, ShredOrder::Tenant { confirm: "acm".into() }, None, None).await;
    assert!(matches!(unconfirmed, Err(VaultError::Unprocessable(Unprocessable::ConfirmationMissing))));
    let view = open.shred(&owner, &acme, ShredOrder::Tenant { confirm: "acme".into() }).await;
    assert!(is_shredded(&open.get(&owner, &acme, ("files", "3")).await));
    // Who ordered it may still ask how it went.
    assert!(open.vault.shred(&owner, &acme, view.id, None).await.unwrap().done);
    let operator = open.caller(&place.operator).await;
    let taken = open.vault.create_tenant(&operator, acme.clone(), false, None).await;
    assert!(matches!(taken, Err(VaultError::Conflict(Conflict::NameTaken))));
    open.vault.reclaim(100).await.unwrap();
    open.close().await;
    let open = place.open().await;
    assert!(is_shredded(&open.get(&owner, &acme, ("files", "3")).await));
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_values_stream_in_and_out_and_by_range() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "files", ShredUnit::Subject).await;
    for len in [65_536_usize, 65_537, 131_072, 1_000_003] {
        let value: Vec<u8> = (0..len).map(|at| (at % 251).to_le_bytes()[0]).collect();
        let at = ("files", "big");
        open.put(&owner, &acme, at, Some("7"), &value).await.unwrap();
        assert_eq!(open.get(&owner, &acme, at).await.unwrap(), value, "{len}");
        for (range, expected) in [
            (RangeSpec::FromTo(0, 0), 0..1),
            (RangeSpec::FromTo(65_530, 65_540), 65_530..len.min(65_541)),
            (RangeSpec::From(len as u64 - 3), len - 3..len),
            (RangeSpec::Last(70_000), len.saturating_sub(70_000)..len),
            (RangeSpec::FromTo(16_383, u64::MAX), 16_383..len),
        ] {
            let get = GetRecord { range: Some(range), ..GetRecord::default() };
            let got = open.vault.get_record(&owner, &acme, &coll("files"), &key("big"), get).await.unwrap();
            assert_eq!(read(got).await.unwrap(), &value[expected], "{len} {range:?}");
        }
        let past = GetRecord { range: Some(RangeSpec::From(len as u64)), ..GetRecord::default() };
        let past = open.vault.get_record(&owner, &acme, &coll("files"), &key("big"), past).await;
        assert!(matches!(past, Err(VaultError::RangeNotSatisfiable { total_len }) if total_len == len as u64));
    }
    let short = PutRecord { length: Some(100_000), ..put_of(Some("7"), &vec![1; 90_000]) };
    assert!(matches!(open.vault.put_record(&owner, &acme, &coll("files"), key("short"), short).await, Err(VaultError::Body(_))));
    assert!(matches!(open.get(&owner, &acme, ("files", "short")).await, Err(VaultError::NotFound(_))));
    open.shred_subject(&owner, &acme, "7").await;
    assert!(is_shredded(&open.get(&owner, &acme, ("files", "big")).await));
    let done = open.vault.reclaim(100).await.unwrap();
    assert_eq!((done.log_entries, done.records, done.uploads), (1, 1, 1));
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_go_by_prefix_and_subject_page_by_page() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    for number in 0..25 {
        let (region, subject) = if number % 2 == 0 { ("eu", "7") } else { ("us", "8") };
        open.put(&owner, &acme, ("c", &format!("{region}/{number}")), Some(subject), b"v").await.unwrap();
    }
    for (prefix, subject, expected) in
        [(None, None, 25), (Some("eu"), None, 13), (None, Some("8"), 12), (Some("eu"), Some("8"), 0), (Some("e"), None, 0)]
    {
        let mut query = ListQuery {
            prefix: prefix.map(key),
            subject: subject.map(|subject| SubjectId::parse(subject).unwrap()),
            cursor: None,
            limit: 5,
        };
        let mut names = std::collections::BTreeSet::new();
        loop {
            let page = open.vault.list(&owner, &acme, &coll("c"), query.clone()).await.unwrap();
            assert!(page.items.len() <= 5);
            names.extend(page.items.iter().map(|item| item.meta.key.as_str().to_owned()));
            match page.next_cursor {
                Some(cursor) => query.cursor = Some(cursor),
                None => break,
            }
        }
        assert_eq!(names.len(), expected, "{prefix:?} {subject:?}");
    }
    let forged = ListQuery { cursor: Some("AAAA".into()), limit: 5, ..ListQuery::default() };
    assert!(matches!(open.vault.list(&owner, &acme, &coll("c"), forged).await, Err(VaultError::Unprocessable(Unprocessable::Cursor))));
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_all_or_nothing_and_repeats_safely() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    let put = |name: &str, value: &str, precondition: Precondition| BatchOp::Put {
        collection: coll("c"),
        key: key(name),
        value: value.as_bytes().to_vec().into(),
        content_type: "text/plain".into(),
        subjects: vec![SubjectId::parse(name).unwrap()],
        expires_at: None,
        custom: Vec::new(),
        precondition,
        new_relationship: false,
    };
    let ops = vec![put("a", "1", Precondition::None), put("b", "1", Precondition::Absent)];
    let first = open.vault.batch(&owner, &acme, ops.clone(), Some("once".into())).await.unwrap();
    let again = open.vault.batch(&owner, &acme, ops, Some("once".into())).await.unwrap();
    assert_eq!(first, again);
    let other = open.vault.batch(&owner, &acme, vec![put("c", "1", Precondition::None)], Some("once".into())).await;
    assert!(matches!(other, Err(VaultError::Conflict(Conflict::IdempotencyMismatch))));

    let fails = vec![put("a", "2", Precondition::None), put("b", "2", Precondition::Absent)];
    let Err(VaultError::Batch { index, source }) = open.vault.batch(&owner, &acme, fails, None).await else { panic!() };
    assert!(index == 1 && matches!(*source, VaultError::PreconditionFailed));
    assert_eq!(open.get(&owner, &acme, ("c", "a")).await.unwrap(), b"1");

    let delete = BatchOp::Delete { collection: coll("c"), key: key("a"), precondition: Precondition::None };
    let check = BatchOp::Check { collection: coll("c"), key: key("b"), precondition: Precondition::Present };
    assert_eq!(open.vault.batch(&owner, &acme, vec![delete, check], None).await.unwrap(), [BatchResult::Deleted, BatchResult::Checked]);
    let twice = vec![put("x", "1", Precondition::None), put("x", "2", Precondition::None)];
    let Err(VaultError::Batch { index: 1, source }) = open.vault.batch(&owner, &acme, twice, None).await else { panic!() };
    assert!(matches!(*source, VaultError::Unprocessable(Unprocessable::DuplicateKey)));
    let many = (0..=limits::BATCH_OPS.max).map(|number| put(&format!("n{number}"), "1", Precondition::None)).collect();
    assert!(matches!(open.vault.batch(&owner, &acme, many, None).await, Err(VaultError::Limit(limit)) if limit.name == "batch_ops"));
    open.close().await;
}

//! Shreds against writers, new units and slow readers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt as _;
use lethe::{
    domain::ShredUnit,
    vault::ops::{GetRecord, ShredOrder, Value, VaultError},
};

use crate::harness::{Place, coll, is_shredded, key, person, put_op, subject};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_write_is_gone_after_the_shred_and_none_fails_otherwise() {
    let place = Place::make().await;
    let open = Arc::new(place.open().await);
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    for collection in ["a", "b", "c", "d"] {
        open.collection(&owner, &acme, collection, ShredUnit::Subject).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicU32::new(0));
    let tasks = tokio_util::task::TaskTracker::new();
    let mut writers = Vec::new();
    for writer in 0..8_u32 {
        let (open, acme, owner, stop, written) = (open.clone(), acme.clone(), owner.clone(), stop.clone(), written.clone());
        writers.push(tasks.spawn(async move {
            let collection = ["a", "b", "c", "d"][writer as usize % 4];
            let mut acknowledged = Vec::new();
            let mut number = 0;
            while !stop.load(Ordering::SeqCst) {
                for subject in ["target", "bystander"] {
                    let name = format!("{writer}/{subject}/{number}");
                    match open.put(&owner, &acme, (collection, &name), Some(subject), name.as_bytes()).await {
                        Ok(_) => {
                            written.fetch_add(1, Ordering::SeqCst);
                            acknowledged.push((collection, name, subject));
                        }
                        Err(VaultError::Shredded { .. } | VaultError::SubjectErased { .. }) if subject == "target" => {}
                        Err(VaultError::Busy) => {}
                        Err(error) => panic!("a writer met {error:?}"),
                    }
                }
                number += 1;
            }
            acknowledged
        }));
    }
    while written.load(Ordering::SeqCst) < 40 {
        tokio::task::yield_now().await;
    }
    open.shred_subject(&owner, &acme, "target").await;
    stop.store(true, Ordering::SeqCst);
    let mut counts = (0, 0);
    for writer in writers {
        for (collection, name, subject) in writer.await.unwrap() {
            let got = open.get(&owner, &acme, (collection, &name)).await;
            if subject == "target" {
                assert!(is_shredded(&got), "{name} after its subject's shred: {got:?}");
                counts.0 += 1;
            } else {
                assert_eq!(got.unwrap(), name.as_bytes());
                counts.1 += 1;
            }
        }
    }
    println!("races: {} writes of the target, {} of the bystander", counts.0, counts.1);
    assert!(counts.0 > 0 && counts.1 > 0);
    Arc::into_inner(open).unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_download_of_the_target_ends_failed_and_does_not_hold_up_the_shred() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    let value = vec![5_u8; 8 << 20];
    for subject in ["target", "bystander"] {
        open.put(&owner, &acme, ("c", subject), Some(subject), &value).await.unwrap();
    }
    let mut streams = Vec::new();
    for subject in ["target", "bystander"] {
        let got = open.vault.get_record(&owner, &acme, &coll("c"), &key(subject), GetRecord::default()).await.unwrap();
        let Value::Stream(mut stream) = got.value else { panic!("a large value is a stream") };
        let first = stream.next().await.unwrap().unwrap();
        streams.push((stream, first.len()));
    }
    // Both readers stand still now; the shred does not wait for them.
    let order = person("target");
    let view = open.vault.order_shred(&owner, &acme, order, Some(Duration::from_secs(20)), None).await.unwrap();
    assert!(view.done);
    let (mut target, before) = streams.remove(0);
    let mut read = before;
    let mut failed = false;
    while let Some(part) = target.next().await {
        match part {
            Ok(part) => read += part.len(),
            Err(error) => {
                failed = matches!(error, VaultError::Shredded { .. });
                break;
            }
        }
    }
    assert!(failed && read < value.len(), "the target's stream went on for {read} bytes");
    let (mut bystander, before) = streams.remove(0);
    let mut read = before;
    while let Some(part) = bystander.next().await {
        read += part.unwrap().len();
    }
    assert_eq!(read, value.len());
    drop((target, bystander));
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_subjects_in_one_order_share_one_epoch() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    let put = |number: usize| put_op("c", number, &[&number.to_string()]);
    open.vault.batch(&owner, &acme, (0..1_000).map(put).collect(), None).await.unwrap();
    open.vault.batch(&owner, &acme, (1_000..1_100).map(put).collect(), None).await.unwrap();
    let before = open.forest.epoch();
    let subjects = (0..1_000).map(|number: u32| subject(&number.to_string())).collect();
    let view = open.shred(&owner, &acme, ShredOrder::Subjects(subjects)).await;
    assert_eq!(open.forest.epoch().0, before.0 + 1);
    assert_eq!(view.collections[0].1.units, 1_000);
    for number in [0, 500, 999] {
        assert!(is_shredded(&open.get(&owner, &acme, ("c", &number.to_string())).await));
    }
    for number in [1_000, 1_099] {
        assert_eq!(open.get(&owner, &acme, ("c", &number.to_string())).await.unwrap(), b"v");
    }
    open.close().await;
}

/// Orders that overlap: persons, a collection, a record and the tenant they lie in, all at once, and again over a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_overlap_are_all_carried_out() {
    let place = Place::make_with(lethe::vault::ops::VaultOptions::default(), true).await;
    let mut open = Arc::new(place.open().await);
    for round in 0..12_u32 {
        let (acme, owner, _) = open.tenant(&place, &format!("t{round}")).await;
        let units = [("people", ShredUnit::Subject), ("logs", ShredUnit::Collection), ("files", ShredUnit::Record)];
        for (collection, unit) in units {
            open.collection(&owner, &acme, collection, unit).await;
            for subject in ["1", "2", "3"] {
                open.put(&owner, &acme, (collection, subject), Some(subject), b"v").await.unwrap();
            }
        }
        let orders = [
            person("1"),
            ShredOrder::Record { collection: coll("files"), key: key("2") },
            person("2"),
            ShredOrder::Collection(coll(if round % 2 == 0 { "logs" } else { "people" })),
            person("3"),
            ShredOrder::Tenant { confirm: acme.as_str().to_owned() },
        ];
        let given = futures_util::future::join_all(orders.map(|order| open.vault.order_shred(&owner, &acme, order, None, None))).await;
        let mut ids = Vec::new();
        for given in given {
            match given {
                Ok(view) => ids.push(view.id),
                // Another order came first; and the tenant's is among those given.
                Err(VaultError::Shredded { .. } | VaultError::Busy) => {}
                Err(error) => panic!("round {round}: {error:?}"),
            }
        }
        if round % 3 == 2 {
            Arc::into_inner(open).unwrap().close().await;
            open = Arc::new(place.open().await);
        }
        assert!(!ids.is_empty());
        for id in ids {
            let view = open.awaited(&owner, &acme, id).await;
            assert!(view.done, "round {round}: an order for a {} is not done after 30 s", view.scope);
            open.vault.certificate(id).await.unwrap();
        }
        assert!(is_shredded(&open.get(&owner, &acme, ("files", "1")).await));
    }
    Arc::into_inner(open).unwrap().close().await;
}

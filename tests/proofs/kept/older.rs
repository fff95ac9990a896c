//! What a law keeps, in data of an older date that is put back: as the order left it, and no more. RET-5.

use lethe::{
    domain::ShredUnit,
    vault::{
        ops::VaultError,
        store::{Space, schema::Table},
    },
};
use serde_json::json;

use super::{Acme, END, UNITS, contradictions, findings, left, run_until, unruled};
use crate::{
    harness::{coll, is_shredded, key, put_of},
    retention::{DAY, due_rows, place, policy, time},
    rows,
};

/// A restored backup has what the order left restricted, and what it deleted deleted, whatever the rules have become; and what it left
/// ends as in the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_data_leaves_of_a_shredded_person_what_the_order_left_and_no_more() {
    for changed in [false, true] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let mut acme = Acme::make(&open, &place).await;
        acme.fill(&open).await;
        // No law keeps anything there, until after the order.
        acme.set(&open, "late", unruled(ShredUnit::Collection)).await;
        let put = put_of(Some("7"), b"late");
        open.vault.put_record(&acme.owner, &acme.name, &coll("late"), key("7/late"), put).await.unwrap();
        open.close().await;
        place.copy("store/data", "before");
        let open = place.open().await;
        acme.again(&open).await;
        clock.advance(DAY);
        let order = open.shred_subject(&acme.owner, &acme.name, "7").await.id;
        clock.advance(DAY);
        open.close().await;
        place.copy("store/data", "after");
        let open = place.open().await;
        acme.again(&open).await;
        if changed {
            for (collection, unit) in UNITS {
                acme.set(&open, collection, unruled(unit)).await;
            }
            let law = json!({"period": "10y", "basis": "law 2"});
            let rules = json!([{"name": "late", "from": "created", "minimum": law, "maximum": "12y", "then": "delete"}]);
            acme.set(&open, "late", policy(ShredUnit::Collection, "UTC", &rules)).await;
        }
        open.close().await;
        for copy in ["before", "after"] {
            place.put_back(copy, "store/data");
            let open = place.open().await;
            acme.again(&open).await;
            open.vault.begin_restoring();
            assert_eq!(open.vault.replay_retention().await.unwrap().destroyed, 0, "{copy}");
            open.vault.end_restoring();
            acme.is_restricted(&open, order).await;
            assert_eq!(left(&open).await, [2, 2, 0], "{copy}");
            let late = acme.get(&open, ("late", "7/late")).await;
            assert!(matches!(late, Err(VaultError::NotFound(_))), "{copy}: a law of later brings nothing back: {late:?}");
            let shown = acme.trail(&open).await;
            assert!(!shown.iter().any(|entry| entry["names"]["subject"] == "7"), "{copy}: the trail names whom it was about");
            assert!(shown.iter().any(|entry| entry["names"]["subject"] == "8"), "{copy}");
            assert_eq!(contradictions(&open).await, Vec::<String>::new(), "{copy}: what is restricted is no finding");
            open.close().await;
        }
        let open = place.open().await;
        acme.again(&open).await;
        clock.advance(DAY * 4 * 366);
        assert_eq!(run_until(&open, &clock, [0, 0, 0]).await, 4, "{changed}");
        open.close().await;
        // Of the very beginning nothing comes back now.
        place.put_back("before", "store/data");
        let open = place.open().await;
        acme.again(&open).await;
        open.vault.begin_restoring();
        open.vault.replay_retention().await.unwrap();
        open.vault.end_restoring();
        for (collection, _) in UNITS {
            for kind in ["7/tax", "7/note"] {
                assert!(
                    acme.get(&open, (collection, kind)).await.is_err() && acme.audited(&open, (collection, kind)).await.is_err(),
                    "{kind}"
                );
            }
        }
        assert_eq!(left(&open).await, [0, 0, 0]);
        assert_eq!(findings(&open).await, Vec::<String>::new());
        open.close().await;
    }
}

/// A backup of between the order and the end of the law, put back behind that: its keys are gone, and so are its bytes, once reclaimed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_data_with_what_was_left_is_rid_of_it_when_the_law_has_ended() {
    for reclaimed in [false, true] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let mut acme = Acme::make(&open, &place).await;
        acme.fill(&open).await;
        open.shred_subject(&acme.owner, &acme.name, "7").await;
        if reclaimed {
            open.vault.reclaim(100).await.unwrap();
        }
        open.close().await;
        place.copy("store/data", "between");
        let open = place.open().await;
        acme.again(&open).await;
        clock.advance(time(END).since(time("2000-01-31T12:00:00Z")));
        assert_eq!(run_until(&open, &clock, [0, 0, 0]).await, 4);
        open.close().await;

        place.put_back("between", "store/data");
        let open = place.open().await;
        acme.again(&open).await;
        open.vault.begin_restoring();
        let done = open.vault.replay_retention().await.unwrap();
        assert_eq!((done.destroyed, done.failed), (1, 0), "that of the collection's own key");
        open.vault.end_restoring();
        for (collection, name) in [("people", "7/tax"), ("people", "7/large"), ("files", "7/tax")] {
            assert!(is_shredded(&acme.audited(&open, (collection, name)).await), "{collection}/{name}");
        }
        assert_eq!(contradictions(&open).await, Vec::<String>::new());
        open.vault.reclaim(100).await.unwrap();
        let records = rows::all(&open.store, Space::Records).await;
        assert_eq!(records.iter().filter(|row| row.value.len() > 22).count(), 6, "{reclaimed}: of the other person everything");
        assert!(rows::all(&open.store, Space::Blobs).await.is_empty(), "{reclaimed}: a large value is left");
        assert_eq!(rows::count(&open.store, Table::SubjectRecord).await, 6, "{reclaimed}");
        assert_eq!(due_rows(&open).await.len(), 6, "{reclaimed}: no run looks for what is gone");
        assert_eq!(left(&open).await, [0, 0, 0], "{reclaimed}");
        assert_eq!(findings(&open).await, Vec::<String>::new(), "{reclaimed}");
        open.close().await;
    }
}

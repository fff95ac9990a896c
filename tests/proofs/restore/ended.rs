//! What was over before older data was put back stays so, whatever became of the rules meanwhile: RET-4's "lengthening revives
//! nothing", across a restore.

use std::{collections::BTreeSet, time::Duration};

use lethe::domain::{CollectionPolicy, ShredUnit, TenantName};
use serde_json::json;

use crate::{
    harness::Open,
    retention::{is_there, one_rule, place, policy, run, set, time},
};
use lethe::vault::ops::Caller;

const HALF_A_DAY: Duration = Duration::from_hours(12);

fn until_deleted() -> CollectionPolicy {
    CollectionPolicy { shred_unit: ShredUnit::Subject, ..CollectionPolicy::default() }
}

fn kept_for(period: &str) -> CollectionPolicy {
    policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), period))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_over_before_its_rule_was_made_longer_or_taken_away_does_not_come_back() {
    for later in [kept_for("10y"), until_deleted()] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        set(&open, &owner, &acme, kept_for("1m")).await;
        open.put(&owner, &acme, ("c", "k"), Some("7"), b"v").await.unwrap();
        open.close().await;
        place.copy("store/data", "then/data");

        let open = place.open().await;
        clock.advance(time("2000-03-01T00:00:00Z").since(time("2000-01-31T12:00:00Z")));
        assert_eq!(run(&open, &clock).await.destroyed, 1);
        set(&open, &owner, &acme, later.clone()).await;
        open.close().await;

        place.put_back("then/data", "store/data");
        let open = place.open().await;
        open.vault.begin_restoring();
        let done = open.vault.replay_retention().await.unwrap();
        assert_eq!((done.destroyed, done.moved, done.dropped), (1, 0, 0), "{later:?}");
        assert!(!is_there(&open, &owner, &acme, "k").await);
        // Made ready once, there is nothing left to do.
        assert_eq!(open.vault.replay_retention().await.unwrap().looked_at, 0);
        open.close().await;
    }
}

async fn there(open: &Open, owner: &Caller, acme: &TenantName, names: &[String]) -> BTreeSet<String> {
    let mut there = BTreeSet::new();
    for name in names {
        if is_there(open, owner, acme, name).await {
            there.insert(name.clone());
        }
    }
    there
}

/// Records that nobody writes again, rules that change now and then, a run at every midnight: older data, made ready, holds the very
/// records that the store has kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_data_ends_as_it_would_have_ended_in_the_store() {
    let (mut revived, mut survived) = (0, 0);
    for seed in 0..8_u64 {
        let (place, clock) = place().await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        let mut random = seed;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let drawn =
            |draw: &mut dyn FnMut(u64) -> u64| if draw(5) == 0 { until_deleted() } else { kept_for(&format!("{}d", draw(150) + 1)) };
        set(&open, &owner, &acme, drawn(&mut draw)).await;
        clock.advance(HALF_A_DAY);
        let mut names = Vec::new();
        for day in 0..20 {
            if draw(2) == 0 {
                let name = format!("k{day}");
                open.put(&owner, &acme, ("c", &name), Some("7"), b"v").await.unwrap();
                names.push(name);
            }
            clock.advance(HALF_A_DAY);
            if draw(6) == 0 {
                set(&open, &owner, &acme, drawn(&mut draw)).await;
            }
            clock.advance(HALF_A_DAY);
            run(&open, &clock).await;
        }
        let then = there(&open, &owner, &acme, &names).await;
        open.close().await;
        place.copy("store/data", "then/data");

        let open = place.open().await;
        for _ in 0..60 {
            clock.advance(HALF_A_DAY);
            if draw(9) == 0 {
                set(&open, &owner, &acme, drawn(&mut draw)).await;
            }
            clock.advance(HALF_A_DAY);
            run(&open, &clock).await;
        }
        let kept = there(&open, &owner, &acme, &names).await;
        open.close().await;
        assert!(kept.is_subset(&then));
        survived += kept.len();

        for made_ready in [true, false] {
            place.put_back("then/data", "store/data");
            let open = place.open().await;
            if made_ready {
                open.vault.begin_restoring();
                open.vault.replay_retention().await.unwrap();
                open.vault.end_restoring();
            } else {
                run(&open, &clock).await;
            }
            let back = there(&open, &owner, &acme, &names).await;
            if made_ready {
                assert_eq!(back, kept, "seed {seed}");
            } else {
                revived += back.difference(&kept).count();
            }
            open.close().await;
        }
    }
    // So that the rules of their time made the difference, and not everything was over.
    assert!(revived > 0 && survived > 0, "{revived} {survived}");
}

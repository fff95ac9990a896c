//! Older data that was put back by hand, without `lethe restore`: a start tells it from today's and lets it through the same fence.

use std::{path::Path, process::Command, time::Duration};

use serde_json::json;

use super::site::{CRM, Site, to};

const DAY: Duration = Duration::from_hours(24);

fn rule(period: &str) -> serde_json::Value {
    let rules = json!([{"name": "rule", "from": "created", "maximum": period, "then": "delete"}]);
    json!({"shred_unit": "subject", "retention": {"time_zone": "UTC", "rules": rules}})
}

/// Puts a copy of a directory in the place of another.
fn put(from: &Path, to: &Path) {
    drop(std::fs::remove_dir_all(to));
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// What a rule ended is there until a run destroys it; so once the rule was made longer, only the fence keeps it from coming back.
#[tokio::test(flavor = "multi_thread")]
async fn data_that_a_hand_has_put_back_is_served_only_once_what_was_over_is_gone_from_it() {
    let (site, clock) = Site::open_on("2000-01-31T12:00:00Z").await;
    let owner = site.tenant("acme").await;
    assert_eq!(site.send("PUT", CRM, &owner, Some(rule("1m"))).await.status, 201);
    let (over, kept) = (format!("{CRM}/records/over"), format!("{CRM}/records/kept"));
    assert_eq!(site.put(&over, &owner, "7", "over").await.status, 201);
    let site = site.again(clock.clone(), |dir| put(&dir.join("store/data"), &dir.join("then"))).await;
    assert!(!site.server.rooms().vault.found_older_data(), "today's data is not taken for older");
    to(&clock, "2000-03-01T00:00:00Z");
    // By this run, or by the one that the server has begun with.
    while site.get(&over, &owner).await.status != 404 {
        site.run_retention().await;
    }
    assert_eq!(site.send("PUT", CRM, &owner, Some(rule("10y"))).await.status, 200);
    assert_eq!(site.put(&kept, &owner, "8", "kept").await.status, 201);

    let site = site.again(clock.clone(), |dir| put(&dir.join("then"), &dir.join("store/data"))).await;
    loop {
        let told = site.get(&over, &owner).await;
        if told.status == 404 {
            break;
        }
        assert_eq!((told.status, told.code()), (503, "restoring"), "{told:?}");
        tokio::task::yield_now().await;
    }
    assert_eq!(site.get(&kept, &owner).await.status, 404, "it was written after the copy was made");
    let system = site.trail("system", &site.operator).await;
    assert!(system.iter().any(|entry| entry["action"] == "backup.restore"), "it is on the record");

    // Made ready once, it is today's.
    assert_eq!(site.put(&kept, &owner, "8", "kept").await.status, 201);
    let site = site.again(clock.clone(), |dir| put(&dir.join("store/data"), &dir.join("then"))).await;
    assert_eq!(site.get("/health/ready", "").await.status, 204);
    assert_eq!(site.get(&kept, &owner).await.status, 200);
    // However little happened since: a start alone, of which nobody asks anything, makes what was there before it older.
    let site = site.again(clock.clone(), |dir| put(&dir.join("store/data"), &dir.join("then"))).await;
    let site = site.again(clock.clone(), |dir| put(&dir.join("then"), &dir.join("store/data"))).await;
    assert!(site.server.rooms().vault.found_older_data());
    site.server.stop().await.unwrap();
}

/// More records than one pass brings forward, and rules that are longer by now: the fence is lifted when all of them are gone, and not when the
/// server's own run, which starts beside, is still at them.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_records_that_two_persons_have_let_end_earlier_none_comes_back_with_older_data() {
    let (site, clock) = Site::open_on("2000-01-31T12:00:00Z").await;
    let owner = site.tenant("acme").await;
    let second = site.token("acme", &owner, json!({"role": "owner"})).await;
    clock.advance(DAY * 8);
    assert_eq!(site.send("PUT", CRM, &owner, Some(rule("7y"))).await.status, 201);
    for first in (0..2_100).step_by(300) {
        let put = |at| json!({"op": "put", "collection": "crm", "key": format!("k{at}"), "value": "v", "subjects": ["7"]});
        let ops: Vec<_> = (first..first + 300).map(put).collect();
        assert_eq!(site.send("POST", "/v1/tenants/acme/batch", &owner, Some(json!({ "ops": ops }))).await.status, 200);
    }
    let site = site.again(clock.clone(), |dir| put(&dir.join("store/data"), &dir.join("then"))).await;
    assert_eq!(site.send("PUT", CRM, &owner, Some(rule("30d"))).await.status, 200);
    clock.advance(Duration::from_secs(1));
    let asked = site.send("POST", &format!("{CRM}/shortenings"), &owner, None).await;
    assert_eq!(asked.status, 202, "{asked:?}");
    let approve = format!("/v1/tenants/acme/approvals/{}/approve", asked.json["id"].as_str().unwrap());
    assert_eq!(site.send("POST", &approve, &second, Some(json!({}))).await.status, 200);
    clock.advance(DAY * 32);
    let (first, none) = (format!("{CRM}/records?limit=1"), json!([]));
    while site.get(&first, &owner).await.json["data"] != none {
        site.run_retention().await;
    }
    assert_eq!(site.send("PUT", CRM, &owner, Some(rule("9y"))).await.status, 200);

    let site = site.again(clock.clone(), |dir| put(&dir.join("then"), &dir.join("store/data"))).await;
    loop {
        let told = site.get(&first, &owner).await;
        if told.status == 200 {
            assert_eq!(told.json["data"], none, "it was destroyed before");
            break;
        }
        assert_eq!((told.status, told.code()), (503, "restoring"), "{told:?}");
        tokio::task::yield_now().await;
    }
    // All of it is told as what a restore has destroyed.
    let reports = site.get("/v1/tenants/acme/retention/reports", &owner).await.json;
    let all = reports["data"].as_array().unwrap();
    let told: Vec<_> = all.iter().map(|report| (report["cause"].as_str().unwrap(), report["destroyed"].as_u64().unwrap())).collect();
    assert_eq!(told, [("restore", 2_100)], "{reports}");
    site.server.stop().await.unwrap();
}

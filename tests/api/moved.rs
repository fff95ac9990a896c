//! What goes along with a tenant that moves besides its data: what a law alone keeps, and whom it has erased; what takes two persons; and
//! in which states it may move at all.

use std::sync::Arc;
use std::time::Duration;

use lethe::domain::TestClock;
use lethe::vault::ops::bundle::Kind;
use reqwest::Method;
use serde_json::{Value, json};

use super::bundles::{AUDITOR, Bundle, COUNSEL, OWN, coming, export, import, unversioned};
use super::site::{Answer, Site, hold, record, to};

const ACME: &str = "/v1/tenants/acme";
const DAY: Duration = Duration::from_hours(24);
const UNTIL: &str = "2031-02-01T05:00:00.000Z";

async fn started() -> (Site, Arc<TestClock>, String) {
    let (site, clock) = Site::open_on("2024-01-31T17:00:00Z").await;
    let owner = site.tenant("acme").await;
    (site, clock, owner)
}

/// In use for two years, kept by law for seven, from the day of their making.
fn by_law(unit: &str) -> Value {
    json!({"shred_unit": unit, "retention": {"time_zone": "America/New_York", "rules": [{"name": "by-law", "from": "created",
        "minimum": {"period": "7y", "basis": "26 USC 6001"}, "maximum": "2y", "then": {"restrict": "8y"}}]}})
}

/// Invoices under a key of each person, of each record and of all: some are small, one is not.
const RECORDS: [(&str, &str, usize); 5] =
    [("invoices/7/1", "7", 12), ("invoices/7/2", "7", 0), ("scans/7", "7", 150_000), ("all/7", "7", 12), ("invoices/8/1", "8", 12)];

fn path(at: &str) -> String {
    record("acme", at)
}

fn value(record: &str, len: usize) -> Vec<u8> {
    format!("secret-{record}-").bytes().cycle().take(len).collect()
}

/// For the law's purpose.
async fn audited(site: &Site, auditor: &str, record: &str) -> Answer {
    let request = site.request(Method::GET, &path(record), auditor).header("lethe-purpose", "by-law");
    Answer::of(request.send().await.unwrap()).await
}

async fn whole(site: &Site, owner: &str) -> Bundle {
    let asked = json!({"recipient": OWN.recipient, "counsel_recipient": COUNSEL.recipient, "auditor_recipient": AUDITOR.recipient});
    let answer = export(site, "acme", owner, asked).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    Bundle::of(&answer.bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_law_alone_keeps_comes_along_sealed_and_stays_restricted() {
    let (source, clock, owner) = started().await;
    for (name, unit) in [("invoices", "subject"), ("scans", "record"), ("all", "collection")] {
        assert_eq!(source.send("PUT", &format!("{ACME}/collections/{name}"), &owner, Some(by_law(unit))).await.status, 201);
    }
    for (record, subject, len) in RECORDS {
        let request = source.request(Method::PUT, &path(record), &owner).header("lethe-subject", subject).body(value(record, len));
        assert_eq!(request.send().await.unwrap().status(), 201, "{record}");
    }
    let done = source.shred("acme", &owner, json!({"scope": "subject", "subject": "7"})).await;
    assert_eq!((done.status, done.json["state"].as_str()), (200, Some("done")), "{done:?}");
    let order = done.json["id"].clone();
    // Two years on, a rule has restricted what the order has not.
    to(&clock, "2026-06-01T00:00:00Z");
    let auditor = source.token("acme", &owner, json!({"role": "auditor"})).await;

    let asked = json!({"recipient": OWN.recipient, "counsel_recipient": COUNSEL.recipient});
    let refused = export(&source, "acme", &owner, asked).await;
    assert_eq!((refused.status, refused.code()), (422, "unprocessable"), "not lost, and not told: {refused:?}");
    assert!(refused.json["detail"].as_str().unwrap().contains("auditor_recipient"), "{refused:?}");

    let bundle = whole(&source, &owner).await;
    let count = |kind: Kind| bundle.frames.iter().filter(|frame| frame.kind == kind).count();
    assert_eq!((count(Kind::SealedRecord), count(Kind::SealedValue), count(Kind::Record)), (5, 3 + 3, 0));
    for frame in bundle.frames.iter().filter(|frame| frame.kind != Kind::Entry) {
        let told = String::from_utf8_lossy(&frame.payload);
        assert!(!told.contains("secret-") && !told.contains("\"7/1\""), "{:?} tells what an auditor alone may know", frame.kind);
    }

    let target = Site::open_at("", clock.clone()).await;
    let theirs = coming(&target, "acme").await;
    let mut closed = Vec::new();
    bundle.frames.iter().for_each(|frame| frame.write(&mut closed).unwrap());
    let refused = import(&target, "acme", &theirs, &bundle.id, 0, closed).await;
    assert_eq!((refused.status, refused.code()), (422, "unprocessable"), "what was not opened is not taken in: {refused:?}");
    let done = import(&target, "acme", &theirs, &bundle.id, 0, bundle.wire(0, bundle.frames.len())).await;
    assert_eq!((done.status, done.json["state"].as_str(), &done.json["import"]["records"]), (200, Some("active"), &json!(5)), "{done:?}");

    let reader = target.token("acme", &theirs, json!({"role": "auditor"})).await;
    for (record, subject, len) in RECORDS {
        let (was, is) = (source.get(&path(record), &owner).await, target.get(&path(record), &theirs).await);
        assert_eq!((is.status, is.code(), &is.json["certificate"]), (was.status, was.code(), &was.json["certificate"]), "{record}");
        assert_eq!(is.status, if subject == "7" { 410 } else { 404 }, "{record}");
        assert!(subject != "7" || is.json["certificate"] == order, "{record}: {is:?}");
        let is = audited(&target, &reader, record).await;
        assert!(is.status == 200 && is.bytes == value(record, len), "{record}: {}", is.status);
        let why = path(record).replace("/records/", "/retention/");
        let (was, is) = (source.get(&why, &auditor).await, target.get(&why, &reader).await);
        assert_eq!((is.status, unversioned(is.json)), (200, unversioned(was.json)), "{record}");
        let refused = target.request(Method::PUT, &path(record), &theirs).header("lethe-subject", "9").body("x").send().await.unwrap();
        assert_eq!(refused.status(), 423, "{record}");
    }
    for collection in ["invoices", "scans", "all"] {
        let listed = target.get(&format!("{ACME}/collections/{collection}/records"), &theirs).await;
        assert_eq!(listed.json["data"], json!([]), "{collection}");
    }
    let trail = target.trail("acme", &theirs).await;
    assert!(!trail.iter().any(|entry| entry["names"]["subject"] == "7" || entry["names"]["key"] == "7/1"), "{trail:?}");

    // An import that is given up is shredded, whatever a law keeps: all of that is where it is from.
    let half = coming(&target, "half").await;
    let last = bundle.frames.len() - 1;
    let part = import(&target, "half", &half, &bundle.id, 0, bundle.wire(0, last)).await;
    assert_eq!((part.status, part.json["state"].as_str()), (200, Some("importing")), "{part:?}");
    let order = json!({"scope": "tenant", "confirm": "half"});
    let gone = target.shred("half", &half, order).await;
    assert_eq!((gone.status, gone.json["state"].as_str()), (200, Some("done")), "{gone:?}");

    // Erased stays erased, until a new relationship is said; and with what is new nothing old opens.
    let fed = async |new: bool| {
        let request = target.request(Method::PUT, &path("invoices/7/new"), &theirs).header("lethe-subject", "7").body("x");
        let request = if new { request.header("lethe-new-relationship", "true") } else { request };
        Answer::of(request.send().await.unwrap()).await
    };
    let stale = fed(false).await;
    assert_eq!((stale.status, stale.code()), (410, "subject-erased"), "{stale:?}");
    assert_eq!(fed(true).await.status, 201);
    assert_eq!(target.get(&path("invoices/7/1"), &theirs).await.status, 410);

    // Each goes with its law, and those that have one of their own with their key.
    to(&clock, UNTIL);
    clock.advance(DAY);
    assert_eq!(target.run_retention().await["destroyed"], json!(4), "the rule that restricts keeps what it restricts for a year more");
    for (record, subject, _) in RECORDS {
        assert_eq!(audited(&target, &reader, record).await.status, if subject == "7" { 404 } else { 200 }, "{record}");
    }
    let mut done = 0;
    let keys = async {
        while done < 3 {
            target.run_retention().await;
            done = target.trail("acme", &theirs).await.iter().filter(|entry| entry["action"] == "shred.done").count();
        }
    };
    let went = tokio::time::timeout(Duration::from_mins(1), keys).await;
    assert!(went.is_ok() && done == 3, "with the records go their keys: {done}");
}

/// Rules that are gone have been over what was written while they were there, and over nothing that was written behind them.
#[tokio::test(flavor = "multi_thread")]
async fn what_rules_asked_for_that_are_gone_keeps_a_record_where_it_comes_to() {
    let (source, clock, owner) = started().await;
    let crm = format!("{ACME}/collections/crm");
    let rules = json!({"retention": {"time_zone": "UTC", "rules": [{"name": "by-law", "from": "created",
        "minimum": {"period": "7y", "basis": "26 USC 6001"}, "maximum": "8y", "then": "delete"}]}});
    assert_eq!(source.send("PUT", &crm, &owner, Some(rules)).await.status, 201);
    assert_eq!(source.put(&format!("{crm}/records/kept"), &owner, "7", "x").await.status, 201);
    clock.advance(DAY);
    assert_eq!(source.send("PUT", &crm, &owner, Some(json!({}))).await.status, 200);
    assert_eq!(source.put(&format!("{crm}/records/free"), &owner, "7", "x").await.status, 201);

    let bundle = whole(&source, &owner).await;
    let target = Site::open_at("", clock.clone()).await;
    let theirs = coming(&target, "acme").await;
    let done = import(&target, "acme", &theirs, &bundle.id, 0, bundle.wire(0, bundle.frames.len())).await;
    assert_eq!(done.json["state"], "active", "{done:?}");
    for (site, token) in [(&source, &owner), (&target, &theirs)] {
        let kept = site.send("DELETE", &format!("{crm}/records/kept"), token, None).await;
        assert_eq!((kept.status, kept.code()), (423, "legal-minimum"), "{kept:?}");
        assert_eq!((&kept.json["rule"], &kept.json["until"]), (&json!("by-law"), &json!("2031-02-01T00:00:00.000Z")), "{kept:?}");
        assert_eq!(site.send("DELETE", &format!("{crm}/records/free"), token, None).await.status, 204);
        // Rules that come are behind those that are gone here as there.
        let later = json!({"name": "late", "from": "created", "maximum": "30y", "then": "delete"});
        let rules = json!({"retention": {"time_zone": "UTC", "rules": [later]}});
        assert_eq!(site.send("PUT", &crm, token, Some(rules)).await.status, 200);
        let erased = site.shred("acme", token, json!({"scope": "subject", "subject": "7"})).await;
        assert_eq!(erased.json["retained"][0]["records"], 1, "{erased:?}");
    }
}

/// HOLD-4: what was bypassed is so where the tenant comes to; what was not binds there, and may be bypassed by who is a governor there.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_bypassed_is_so_where_the_tenant_comes_to_and_what_was_not_can_be_there() {
    let (source, clock, owner) = started().await;
    let governor = source.token("acme", &owner, json!({"role": "governor"})).await;
    clock.advance(DAY * 8);
    let collection = |name: &str| format!("{ACME}/collections/{name}");
    let rules = |rule: Value| json!({"retention": {"time_zone": "UTC", "rules": [rule]}});
    let law = json!({"period": "7y", "basis": "26 USC 6001", "mode": "governance"});
    let law = rules(json!({"name": "by-law", "from": "created", "minimum": law, "maximum": "8y", "then": "delete"}));
    let brief = rules(json!({"name": "brief", "from": "created", "maximum": "1y", "then": "delete"}));
    for name in ["lifted", "bound"] {
        assert_eq!(source.send("PUT", &collection(name), &owner, Some(law.clone())).await.status, 201);
        for (key, subject) in [("k", "7"), ("left", "9")] {
            assert_eq!(source.put(&path(&format!("{name}/{key}")), &owner, subject, "x").await.status, 201);
        }
        assert_eq!(source.send("PUT", &collection(name), &owner, Some(brief.clone())).await.status, 200);
    }
    let erased = source.shred("acme", &owner, json!({"scope": "subject", "subject": "9"})).await;
    assert_eq!(erased.json["retained"].as_array().unwrap().len(), 2, "{erased:?}");
    let bypass = async |site: &Site, (owner, governor): (&str, &str), name: &str| {
        let ask = format!("{}/bypasses", collection(name));
        let asked = site.send("POST", &ask, owner, Some(json!({"reason": "repealed"}))).await;
        assert_eq!(asked.status, 202, "{name}: {asked:?}");
        let approve = format!("{ACME}/approvals/{}/approve", asked.json["id"].as_str().unwrap());
        let approved = site.send("POST", &approve, governor, Some(json!({}))).await;
        assert_eq!((approved.status, approved.json["state"].as_str()), (200, Some("approved")), "{name}: {approved:?}");
    };
    bypass(&source, (&owner, &governor), "lifted").await;
    // It was behind the change of rules by a millisecond, and what lies ahead of an import's clock comes as of now.
    clock.advance(Duration::from_secs(1));
    // A bundle has the ends that are written down.
    source.run_retention().await;

    let bundle = whole(&source, &owner).await;
    let target = Site::open_at("", clock.clone()).await;
    let theirs = coming(&target, "acme").await;
    let done = import(&target, "acme", &theirs, &bundle.id, 0, bundle.wire(0, bundle.frames.len())).await;
    assert_eq!(done.json["state"], "active", "{done:?}");
    let auditor = target.token("acme", &theirs, json!({"role": "auditor"})).await;
    let governor = target.token("acme", &theirs, json!({"role": "governor"})).await;
    for name in ["lifted", "bound"] {
        let why = path(&format!("{name}/k")).replace("/records/", "/retention/");
        let (was, is) = (source.get(&why, &owner).await.json, target.get(&why, &theirs).await.json);
        assert_eq!((&is["minimum"], &is["bypassed"]), (&was["minimum"], &was["bypassed"]), "{name}");
        assert_eq!((is["minimum"].is_null(), is["bypassed"].is_null()), (name == "lifted", name == "bound"), "{name}: {is}");
    }
    let delete = async |name: &str| target.send("DELETE", &path(&format!("{name}/k")), &theirs, None).await;
    let kept = delete("bound").await;
    assert_eq!((kept.status, kept.json["mode"].as_str()), (423, Some("governance")), "{kept:?}");
    assert_eq!(delete("lifted").await.status, 204);
    let left = async |name: &str| audited(&target, &auditor, &format!("{name}/left")).await.status;
    target.run_retention().await;
    assert_eq!((left("lifted").await, left("bound").await), (404, 200));
    clock.advance(DAY * 8);
    bypass(&target, (&theirs, &governor), "bound").await;
    clock.advance(Duration::from_secs(1));
    target.run_retention().await;
    assert_eq!((left("bound").await, delete("bound").await.status), (404, 204));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_given_up_waits_for_holds_and_for_no_law() {
    let (source, clock, owner) = started().await;
    let counsel = source.counsel("acme", &owner).await;
    assert_eq!(source.send("PUT", &format!("{ACME}/collections/crm"), &owner, Some(by_law("subject"))).await.status, 201);
    assert_eq!(source.put(&format!("{ACME}/collections/crm/records/a"), &owner, "7", "x").await.status, 201);
    let hold = hold(json!({"scope": "tenant", "disclosed": true}));
    let placed = source.send("POST", &format!("{ACME}/holds"), &counsel, Some(hold)).await;
    assert_eq!(placed.status, 201, "{placed:?}");
    let bundle = whole(&source, &owner).await;
    let target = Site::open_at("", clock).await;
    let theirs = coming(&target, "half").await;
    let last = bundle.frames.len() - 1;
    let part = import(&target, "half", &theirs, &bundle.id, 0, bundle.wire(0, last)).await;
    assert_eq!((part.status, part.json["state"].as_str()), (200, Some("importing")), "{part:?}");

    let order = json!({"scope": "tenant", "confirm": "half"});
    let held = target.send("POST", "/v1/tenants/half/shreds", &theirs, Some(order)).await;
    assert_eq!((held.status, held.code()), (423, "legal-hold"), "{held:?}");
    let brought = target.token("half", &target.operator.clone(), json!({"role": "counsel"})).await;
    let path = format!("/v1/tenants/half/holds/{}/release", placed.json["id"].as_str().unwrap());
    let released = target.send("POST", &path, &brought, Some(json!({"reason": "settled"}))).await;
    assert_eq!(released.status, 200, "{released:?}");
    let path = format!("/v1/tenants/half/shreds/{}", held.json["order"].as_str().unwrap());
    let done = async {
        while target.get(&path, &theirs).await.json["state"] != "done" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), done).await.expect("no law keeps half an import");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_two_persons_takes_two_where_the_tenant_comes_to() {
    let (source, clock, owner) = started().await;
    source.token("acme", &owner, json!({"role": "owner"})).await;
    let approvals = json!({"shred": ["subject"], "release_hold": true, "window": "3d"});
    let put = source.send("PUT", &format!("{ACME}/policy"), &owner, Some(json!({ "approvals": approvals }))).await;
    assert_eq!(put.status, 200, "{put:?}");
    source.collection("acme", "crm", &owner, "subject").await;
    source.put(&format!("{ACME}/collections/crm/records/a"), &owner, "7", "x").await;
    let waits = source.shred("acme", &owner, json!({"scope": "subject", "subject": "7"})).await;
    assert_eq!(waits.json["state"], "waiting-for-approval", "{waits:?}");

    let bundle = whole(&source, &owner).await;
    let target = Site::open_at("", clock.clone()).await;
    let theirs = coming(&target, "acme").await;
    clock.advance(DAY);
    let done = import(&target, "acme", &theirs, &bundle.id, 0, bundle.wire(0, bundle.frames.len())).await;
    assert_eq!(done.json["state"], "active", "{done:?}");
    let policy = target.get(&format!("{ACME}/policy"), &theirs).await.json;
    let was = source.get(&format!("{ACME}/policy"), &owner).await.json;
    assert_eq!(policy["approvals"], was["approvals"]);
    assert_eq!(policy["since"], "2024-02-01T17:00:00.000Z", "since it is here");
    let open = target.get(&format!("{ACME}/approvals"), &theirs).await;
    assert_eq!(open.json["data"], json!([]), "a request is about the tenant that it was made in");

    let asked = target.shred("acme", &theirs, json!({"scope": "subject", "subject": "7"})).await;
    assert_eq!(asked.json["state"], "waiting-for-approval", "{asked:?}");
    let approve = format!("{ACME}/approvals/{}/approve", asked.json["id"].as_str().unwrap());
    clock.advance(Duration::from_hours(1));
    let early = target.token("acme", &theirs, json!({"role": "owner"})).await;
    let refused = target.send("POST", &approve, &early, Some(json!({}))).await;
    assert_eq!(refused.status, 403, "made when there was something to approve: {refused:?}");
    clock.advance(DAY * 4);
    let again = target.shred("acme", &theirs, json!({"scope": "subject", "subject": "7"})).await;
    let approve = format!("{ACME}/approvals/{}/approve", again.json["id"].as_str().unwrap());
    let approved = target.send("POST", &approve, &early, Some(json!({}))).await;
    assert_eq!((approved.status, approved.json["state"].as_str()), (200, Some("approved")), "it has been there for a window: {approved:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_is_to_end_is_taken_along_and_a_suspended_one_is_not() {
    let (source, clock, owner) = started().await;
    source.collection("acme", "crm", &owner, "subject").await;
    let record = format!("{ACME}/collections/crm/records/a");
    source.put(&record, &owner, "7", "x").await;
    let step = async |what: &str, token: &str, body: Value| {
        let done = source.send("POST", &format!("{ACME}/{what}"), token, Some(body)).await;
        assert!(done.status < 300, "{what}: {done:?}");
    };
    let asked = || json!({"recipient": OWN.recipient});
    let reason = || json!({"reason": "r"});
    step("suspend", &source.operator, reason()).await;
    let refused = export(&source, "acme", &owner, asked()).await;
    assert_eq!((refused.status, refused.code()), (403, "tenant-suspended"), "{refused:?}");
    step("resume", &source.operator, reason()).await;
    step("termination", &owner, json!({"confirm": "acme"})).await;
    let trail = source.trail("acme", &owner).await;
    assert!(trail.iter().any(|entry| entry["action"] == "tenant.export" && entry["outcome"] == "denied"), "{trail:?}");

    let bundle = whole(&source, &owner).await;
    let target = Site::open_at("", clock).await;
    let theirs = coming(&target, "acme").await;
    for (what, token, body) in [("suspend", &target.operator, reason()), ("termination", &theirs, json!({"confirm": "acme"}))] {
        let refused = target.send("POST", &format!("{ACME}/{what}"), token, Some(body)).await;
        assert_eq!((refused.status, refused.code()), (409, "importing"), "{what}: {refused:?}");
    }
    let done = import(&target, "acme", &theirs, &bundle.id, 0, bundle.wire(0, bundle.frames.len())).await;
    assert_eq!((&done.json["state"], &done.json["ends_at"]), (&json!("active"), &Value::Null), "its end was that tenant's: {done:?}");
    assert_eq!(target.get(&record, &theirs).await.text(), "x");
}

//! What a law keeps, over the wire: invoices that are kept seven years by law, customers until the relationship ends. A customer leaves
//! and is shredded except for the invoices, which are restricted; a hold stops their end, and its release runs it.

use std::{sync::Arc, time::Duration};

use lethe::domain::TestClock;
use reqwest::Method;
use serde_json::{Value, json};

use super::site::{Answer, Site, hold, to};

const CUSTOMERS: &str = "/v1/tenants/acme/collections/customers";
const INVOICES: &str = "/v1/tenants/acme/collections/invoices";
const BASIS: &str = "26 USC 6001";

/// In use for two years, kept by law for seven.
fn invoices() -> Value {
    json!({"shred_unit": "subject", "categories": ["tax", "draft"], "purposes": ["billing"], "retention": {"time_zone": "America/New_York", "rules": [
        {"name": "by-law", "categories": ["tax"], "from": {"field": "/date"}, "minimum": {"period": "7y", "basis": BASIS}, "maximum": "2y",
            "then": {"restrict": "8y"}},
        {"name": "drafts", "categories": ["draft"], "from": "modified", "maximum": "9y", "then": "delete"},
    ]}})
}

struct Shop {
    site: Site,
    clock: Arc<TestClock>,
    owner: String,
    auditor: String,
}

impl Shop {
    /// At noon in New York of 31 January 2024, with two customers, an invoice and a draft of each.
    async fn open() -> Self {
        let (site, clock) = Site::open_on("2024-01-31T17:00:00Z").await;
        let owner = site.tenant("acme").await;
        let auditor = site.token("acme", &owner, json!({"role": "auditor"})).await;
        for (path, policy) in [(CUSTOMERS, json!({"shred_unit": "subject"})), (INVOICES, invoices())] {
            assert_eq!(site.send("PUT", path, &owner, Some(policy)).await.status, 201);
        }
        let shop = Self { site, clock, owner, auditor };
        for person in ["7", "8"] {
            let made = shop.site.put(&format!("{CUSTOMERS}/records/{person}"), &shop.owner, person, "a customer").await;
            assert_eq!(made.status, 201, "{made:?}");
            assert_eq!(shop.put(&format!("{person}/1"), person, "tax", &invoice("2024-01-31")).await.status, 201);
            assert_eq!(shop.put(&format!("{person}/draft"), person, "draft", "{}").await.status, 201);
        }
        shop
    }

    async fn put(&self, key: &str, subject: &str, category: &str, body: &str) -> Answer {
        let request = self.site.request(Method::PUT, &format!("{INVOICES}/records/{key}"), &self.owner);
        let request = request.header("lethe-subject", subject).header("lethe-meta-category", category).body(body.to_owned());
        Answer::of(request.send().await.unwrap()).await
    }

    async fn ask(&self, method: Method, key: &str, token: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.site.request(method, &format!("{INVOICES}/records/{key}"), token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    async fn get(&self, key: &str) -> Answer {
        self.ask(Method::GET, key, &self.owner, &[]).await
    }

    /// For the law's purpose.
    async fn audited(&self, key: &str) -> Answer {
        self.ask(Method::GET, key, &self.auditor, &[("lethe-purpose", "by-law")]).await
    }

    async fn listed(&self) -> Vec<String> {
        let list = self.site.get(&format!("{INVOICES}/records"), &self.owner).await;
        let names = list.json["data"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap().to_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

fn invoice(date: &str) -> String {
    json!({"date": date, "total": "12.00"}).to_string()
}

/// RET-5: the answer lists what remains, why and until when; it is there for its legal purpose alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_customer_who_leaves_is_shredded_but_for_the_invoices_that_a_law_keeps() {
    let shop = Shop::open().await;
    let done = shop.site.shred("acme", &shop.owner, json!({"scope": "subject", "subject": "7"})).await;
    assert_eq!((done.status, done.json["state"].as_str()), (200, Some("done")), "{done:?}");
    let until = "2031-02-01T05:00:00.000Z";
    let retained = json!([{"collection": "invoices", "records": 1, "rule": "by-law", "basis": BASIS, "until": until}]);
    assert_eq!(done.json["retained"], retained);
    let denied = json!({"extent": "in-part", "reason": "legal-obligation", "order": null, "targets": []});
    assert_eq!(done.json["denied"], denied, "{done:?}");
    let order = done.json["id"].as_str().unwrap();
    assert_eq!(shop.site.get(&format!("/v1/tenants/acme/shreds/{order}"), &shop.owner).await.json["retained"], retained);
    let certificate = shop.site.client.get(format!("{}/v1/certificates/{order}", shop.site.server.url())).send().await.unwrap();
    assert!(certificate.text().await.unwrap().contains(BASIS));

    // Gone to whoever does business, and there for who audits and says why.
    let gone = shop.site.get(&format!("{CUSTOMERS}/records/7"), &shop.owner).await;
    assert_eq!((gone.status, gone.code()), (410, "shredded"));
    assert_eq!(shop.get("7/draft").await.status, 404, "what no law keeps is deleted beside it");
    for method in [Method::GET, Method::HEAD] {
        let gone = shop.ask(method.clone(), "7/1", &shop.owner, &[]).await;
        assert_eq!(gone.status, 410, "{method}: {gone:?}");
    }
    assert_eq!(shop.get("7/1").await.json["certificate"], json!(order));
    assert_eq!(shop.listed().await, ["8/1", "8/draft"]);
    let of = shop.site.get(&format!("{INVOICES}/records?subject=7"), &shop.owner).await;
    assert_eq!(of.status, 410, "{of:?}");
    assert_eq!(shop.audited("7/1").await.text(), invoice("2024-01-31"));
    let part = shop.ask(Method::GET, "7/1", &shop.auditor, &[("lethe-purpose", "by-law"), ("range", "bytes=0-6")]).await;
    assert_eq!((part.status, part.text()), (206, r#"{"date""#));
    for (headers, status) in [(vec![], 403), (vec![("lethe-purpose", "billing")], 403), (vec![("lethe-purpose", "marketing")], 422)] {
        let refused = shop.ask(Method::GET, "7/1", &shop.auditor, &headers).await;
        assert_eq!(refused.status, status, "{headers:?}: {refused:?}");
    }
    assert_eq!(shop.audited("8/1").await.status, 403, "of what is in use an auditor reads nothing");
    assert_eq!(shop.audited("8/none").await.status, 404);

    // Nobody writes there, and nobody takes it away.
    let refused = shop.put("7/1", "8", "tax", &invoice("2024-01-31")).await;
    assert_eq!((refused.status, refused.code()), (423, "restricted"), "{refused:?}");
    assert_eq!(shop.ask(Method::DELETE, "7/1", &shop.owner, &[]).await.status, 410);
    let check = json!({"ops": [{"op": "check", "collection": "invoices", "key": "7/1", "if_match": "*"}]});
    assert_eq!(shop.site.send("POST", "/v1/tenants/acme/batch", &shop.owner, Some(check)).await.code(), "precondition-failed");
    let explain = format!("{INVOICES}/retention/7/1");
    assert_eq!(shop.site.get(&explain, &shop.owner).await.status, 410);
    let told = shop.site.get(&explain, &shop.auditor).await.json;
    assert_eq!((&told["state"], &told["restricted_by"]), (&json!("restricted"), &json!(order)));
    assert_eq!((&told["end"]["at"], &told["scheduled_at"]), (&json!(until), &json!(until)), "with the law, not with the rule");
    assert_eq!(told["minimum"], json!({"until": until, "rule": "by-law", "basis": BASIS, "mode": "compliance"}));

    // On the record: what was restricted, who read it and for what; and nobody is named.
    let trail = shop.site.trail("acme", &shop.owner).await;
    let of = |action: &str| trail.iter().filter(|entry| entry["action"] == action).collect::<Vec<_>>();
    assert!(of("record.restrict").len() == 1 && of("record.restrict")[0]["target"]["object"] == json!(order), "{trail:?}");
    let reads = of("restricted.read");
    assert_eq!(reads.iter().filter(|entry| entry["outcome"] == "allowed").count(), 2);
    assert_eq!(reads.iter().filter(|entry| entry["outcome"] == "denied").count(), 4, "{reads:?}");
    assert!(reads.iter().filter(|entry| entry["outcome"] == "allowed").all(|entry| entry["names"]["purpose"] == "by-law"));
    assert!(!trail.iter().any(|entry| entry["names"]["subject"] == "7" || entry["names"]["key"] == "7/1"), "{trail:?}");

    // A hold stops the end, and its release runs it: record and key.
    let counsel = shop.site.counsel("acme", &shop.owner).await;
    let hold = hold(json!({"scope": "collection", "collection": "invoices"}));
    let placed = shop.site.send("POST", "/v1/tenants/acme/holds", &counsel, Some(hold)).await;
    assert_eq!(placed.status, 201, "{placed:?}");
    to(&shop.clock, until);
    let held = shop.site.run_retention().await;
    assert_eq!((&held["destroyed"], &held["held"]), (&json!(0), &json!(1)), "{held}");
    assert_eq!(shop.audited("7/1").await.status, 200);
    let release = format!("/v1/tenants/acme/holds/{}/release", placed.json["id"].as_str().unwrap());
    assert_eq!(shop.site.send("POST", &release, &counsel, Some(json!({"reason": "settled"}))).await.status, 200);
    assert_eq!(shop.site.run_retention().await["destroyed"], 1);
    assert_eq!(shop.audited("7/1").await.status, 404);
    let ordered = async {
        loop {
            let trail = shop.site.trail("acme", &shop.owner).await;
            if trail.iter().filter(|entry| entry["action"] == "shred.done").count() == 2 {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ordered).await.expect("with the record goes its key");
    // The key is free again, for somebody else.
    assert_eq!(shop.put("7/1", "8", "tax", &invoice("2031-01-31")).await.status, 201);
}

/// RET-3: the refusal names the rule, its law and the moment, to those who may know the rules.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_law_keeps_is_deleted_by_nobody_before_its_minimum_and_may_be_corrected() {
    let shop = Shop::open().await;
    let site = &shop.site;
    let until = "2031-02-01T05:00:00.000Z";
    let eraser = site.token("acme", &shop.owner, json!({"role": "eraser"})).await;
    let writer = site.token("acme", &shop.owner, json!({"role": "writer"})).await;
    let told = |answer: &Answer| {
        let code = if answer.json["rule"].is_null() { "legal-obligation" } else { "legal-minimum" };
        assert_eq!((answer.status, answer.code()), (423, code), "{answer:?}");
        (answer.json["rule"].clone(), answer.json["basis"].clone(), answer.json["until"].clone(), answer.json["records"].clone())
    };
    let by_law = |records: Value| (json!("by-law"), json!(BASIS), json!(until), records);
    for token in [&shop.owner, &writer] {
        assert_eq!(told(&shop.ask(Method::DELETE, "7/1", token, &[]).await), by_law(Value::Null));
    }
    let untold = (Value::Null, Value::Null, Value::Null, Value::Null);
    assert_eq!(told(&shop.ask(Method::DELETE, "7/1", &eraser, &[]).await), untold, "who may not read the policy");
    let batch = json!({"ops": [
        {"op": "delete", "collection": "invoices", "key": "7/draft"},
        {"op": "delete", "collection": "invoices", "key": "7/1"},
    ]});
    let batch = site.send("POST", "/v1/tenants/acme/batch", &shop.owner, Some(batch)).await;
    assert_eq!((told(&batch), &batch.json["op"]), (by_law(Value::Null), &json!(1)));
    assert_eq!(shop.get("7/draft").await.status, 200, "nothing of it is done");
    assert_eq!(
        told(&shop.site.shred("acme", &shop.owner, json!({"scope": "collection", "collection": "invoices"})).await),
        by_law(json!(2))
    );
    assert_eq!(told(&shop.site.shred("acme", &shop.owner, json!({"scope": "tenant", "confirm": "acme"})).await), by_law(json!(2)));
    assert_eq!(shop.ask(Method::DELETE, "7/draft", &shop.owner, &[]).await.status, 204, "the floor is of that class only");

    // A correction is a right; it does not bring the minimum forward, and a later date puts it off.
    assert_eq!(shop.put("7/1", "7", "tax", &invoice("2023-06-30")).await.status, 204);
    assert_eq!(told(&shop.ask(Method::DELETE, "7/1", &shop.owner, &[]).await), by_law(Value::Null));
    assert_eq!(shop.put("7/1", "7", "draft", "{}").await.status, 204);
    assert_eq!(told(&shop.ask(Method::DELETE, "7/1", &shop.owner, &[]).await), by_law(Value::Null));
    let explained = site.get(&format!("{INVOICES}/retention/7/1"), &shop.owner).await.json;
    let kept_by = json!({"until": until, "rule": "by-law", "basis": BASIS, "mode": "compliance"});
    assert_eq!((&explained["minimum"], &explained["bypassed"]), (&kept_by, &Value::Null), "{explained}");
    let trail = site.trail("acme", &shop.owner).await;
    assert_eq!(trail.iter().filter(|entry| entry["reason"] == "legal-minimum").count(), 8);

    to(&shop.clock, "2031-02-01T04:59:59.999Z");
    told(&shop.ask(Method::DELETE, "7/1", &shop.owner, &[]).await);
    shop.clock.advance(Duration::from_millis(1));
    assert_eq!(shop.ask(Method::DELETE, "7/1", &shop.owner, &[]).await.status, 204);
}

/// Where it takes two persons, who asks is told of the law, and so is who approves what was asked for before the law came.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_law_keeps_is_refused_to_who_asks_and_to_who_approves() {
    let shop = Shop::open().await;
    let second = shop.site.token("acme", &shop.owner, json!({"role": "owner"})).await;
    let policy = json!({"approvals": {"shred": ["collection"]}});
    assert_eq!(shop.site.send("PUT", "/v1/tenants/acme/policy", &shop.owner, Some(policy)).await.status, 200);
    let order = json!({"scope": "collection", "collection": "customers"});
    let asked = shop.site.shred("acme", &shop.owner, order.clone()).await;
    assert_eq!((asked.status, asked.json["state"].as_str()), (202, Some("waiting-for-approval")), "{asked:?}");
    let law = json!({"name": "kyc", "from": "created", "minimum": {"period": "5y", "basis": BASIS}, "maximum": "9y", "then": "delete"});
    let kept = json!({"shred_unit": "subject", "retention": {"time_zone": "America/New_York", "rules": [law]}});
    assert_eq!(shop.site.send("PUT", CUSTOMERS, &shop.owner, Some(kept)).await.status, 200);
    let request = format!("/v1/tenants/acme/approvals/{}", asked.json["id"].as_str().unwrap());
    let approve = format!("{request}/approve");
    for refused in [shop.site.send("POST", &approve, &second, Some(json!({}))).await, shop.site.shred("acme", &shop.owner, order).await] {
        assert_eq!((refused.status, refused.code()), (423, "legal-minimum"), "{refused:?}");
        let told = ["rule", "basis", "until", "records"].map(|field| refused.json[field].clone());
        assert_eq!(told, [json!("kyc"), json!(BASIS), json!("2029-02-01T05:00:00.000Z"), json!(2)], "{refused:?}");
    }
    assert_eq!(shop.site.get(&request, &second).await.json["state"], "pending", "nothing is approved");
    assert_eq!(shop.site.get(&format!("{CUSTOMERS}/records/7"), &shop.owner).await.status, 200, "nor is it frozen");
    let trail = shop.site.trail("acme", &shop.owner).await;
    let refused = trail.iter().filter(|entry| entry["reason"] == "legal-minimum").map(|entry| entry["action"].as_str().unwrap());
    assert_eq!(refused.collect::<Vec<_>>(), ["approval.approve", "shred.order"]);
}

/// What a rule restricts, by the record's own dates: gone to everybody but auditors from that moment on, and for the rule's sake alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_past_its_maximum_is_restricted_until_its_rule_ends_it() {
    let shop = Shop::open().await;
    let at = "2026-02-01T05:00:00Z";
    to(&shop.clock, "2026-02-01T04:59:59.999Z");
    assert_eq!((shop.get("7/1").await.status, shop.audited("7/1").await.status), (200, 403));
    assert_eq!(shop.listed().await, ["7/1", "7/draft", "8/1", "8/draft"]);
    to(&shop.clock, at);
    let gone = shop.get("7/1").await;
    assert_eq!((gone.status, gone.code()), (404, "not-found"));
    assert_eq!(shop.ask(Method::HEAD, "7/1", &shop.owner, &[]).await.status, 404);
    assert_eq!(shop.ask(Method::GET, "7/1", &shop.owner, &[("range", "bytes=0-1")]).await.status, 404);
    assert_eq!(shop.listed().await, ["7/draft", "8/draft"]);
    let query = site_query(&shop, json!({"subject": "7"})).await;
    assert_eq!(query, ["7/draft"]);
    assert_eq!(shop.audited("7/1").await.text(), invoice("2024-01-31"));
    assert_eq!(shop.ask(Method::GET, "7/1", &shop.auditor, &[]).await.status, 403);
    let refused = shop.put("7/1", "7", "tax", &invoice("2026-01-31")).await;
    assert_eq!((refused.status, refused.code()), (423, "restricted"), "{refused:?}");
    assert_eq!(shop.ask(Method::DELETE, "7/1", &shop.owner, &[]).await.code(), "legal-minimum");
    assert_eq!(shop.ask(Method::DELETE, "7/1", &shop.owner, &[("if-match", "*")]).await.status, 412);
    let told = shop.site.get(&format!("{INVOICES}/retention/7/1"), &shop.owner).await.json;
    assert_eq!((&told["state"], &told["restricted_by"]), (&json!("restricted"), &Value::Null), "the rules are no secret of the owner's");
    // Past the minimum it may be deleted on purpose; by itself it goes when the rule ends it.
    to(&shop.clock, "2031-02-01T05:00:00Z");
    assert_eq!(shop.ask(Method::DELETE, "8/1", &shop.owner, &[]).await.status, 204);
    assert_eq!(shop.site.run_retention().await["destroyed"], 0);
    assert_eq!(shop.audited("7/1").await.status, 200);
    to(&shop.clock, "2032-02-01T05:00:00Z");
    assert_eq!(shop.site.run_retention().await["destroyed"], 1);
    assert_eq!(shop.audited("7/1").await.status, 404);
}

async fn site_query(shop: &Shop, query: Value) -> Vec<String> {
    let list = shop.site.send("POST", &format!("{INVOICES}/query"), &shop.owner, Some(query)).await;
    list.json["data"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect()
}

/// RET-5: what a rule has restricted stays so, whatever takes the rule's place, for a minute or for good. One owner would read it
/// otherwise, write over it and delete it, and no trail would call that a reading of what is restricted.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_has_restricted_stays_so_whatever_takes_the_rules_place() {
    let (mut longer, mut deleting, mut none) = (invoices(), invoices(), invoices());
    longer["retention"]["rules"][0]["maximum"] = json!("7y");
    deleting["retention"]["rules"][0]["maximum"] = json!("8y");
    deleting["retention"]["rules"][0]["then"] = json!("delete");
    none["retention"] = json!("until-deleted");
    for other in [&longer, &deleting, &none] {
        let shop = Shop::open().await;
        to(&shop.clock, "2026-02-01T05:00:00Z");
        assert_eq!(shop.get("7/1").await.status, 404);
        for policy in [other.clone(), invoices()] {
            let put = shop.site.send("PUT", INVOICES, &shop.owner, Some(policy)).await;
            assert_eq!(put.status, 200, "{put:?}");
            assert_eq!(shop.get("7/1").await.status, 404, "{other}");
            assert_eq!(shop.listed().await, ["7/draft", "8/draft"], "{other}");
            let refused = shop.put("7/1", "7", "tax", &invoice("2024-01-31")).await;
            assert_eq!((refused.status, refused.code()), (423, "restricted"), "{other}: {refused:?}");
            assert_eq!(shop.ask(Method::DELETE, "7/1", &shop.owner, &[]).await.code(), "legal-minimum", "{other}");
            let told = shop.site.get(&format!("{INVOICES}/retention/7/1"), &shop.owner).await.json;
            assert_eq!(told["state"], json!("restricted"), "{other}: {told}");
            assert_eq!(shop.audited("7/1").await.text(), invoice("2024-01-31"), "{other}");
            shop.clock.advance(Duration::from_mins(1));
        }
        let trail = shop.site.trail("acme", &shop.owner).await;
        let read = trail.iter().filter(|entry| entry["action"] == "restricted.read" && entry["outcome"] == "allowed").count();
        assert_eq!(read, 2, "{other}: each reading is on the record");
    }
}

/// A rule that was made longer before its maximum came has restricted nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_was_made_longer_in_time_restricts_later() {
    let shop = Shop::open().await;
    to(&shop.clock, "2026-02-01T04:59:59Z");
    let mut longer = invoices();
    longer["retention"]["rules"][0]["maximum"] = json!("7y");
    assert_eq!(shop.site.send("PUT", INVOICES, &shop.owner, Some(longer)).await.status, 200);
    to(&shop.clock, "2026-02-01T05:00:00Z");
    assert_eq!(shop.get("7/1").await.status, 200);
    assert_eq!(shop.listed().await, ["7/1", "7/draft", "8/1", "8/draft"]);
    to(&shop.clock, "2031-02-01T05:00:00Z");
    assert_eq!(shop.get("7/1").await.status, 404);
}

/// A maximum that is made shorter, or a restriction that is new, hides nothing that was written before.
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_was_made_shorter_hides_nothing_that_is_there() {
    let shop = Shop::open().await;
    shop.clock.advance(Duration::from_hours(24 * 40));
    let mut shorter = invoices();
    shorter["retention"]["rules"][0]["maximum"] = json!("30d");
    assert_eq!(shop.site.send("PUT", INVOICES, &shop.owner, Some(shorter)).await.status, 200);
    assert_eq!(shop.get("7/1").await.status, 200);
    // Written again, it goes by the rule of today.
    shop.clock.advance(Duration::from_millis(1));
    assert_eq!(shop.put("7/1", "7", "tax", &invoice("2024-01-31")).await.status, 204);
    assert_eq!(shop.get("7/1").await.status, 404);
    assert_eq!(shop.audited("7/1").await.status, 200);
    assert_eq!(shop.get("8/1").await.status, 200);
}

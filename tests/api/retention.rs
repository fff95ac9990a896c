//! Rules of retention over the wire: what is refused, what is kept, and what a record's own end may be.

use std::sync::Arc;

use lethe::domain::{Clock as _, TestClock, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use super::site::{Answer, CRM, Site};

/// A site whose clock stands at noon in California of 31 January 2024.
async fn site() -> (Site, Arc<TestClock>) {
    let clock = Arc::new(TestClock::at(Timestamp::parse_rfc3339("2024-01-31T20:00:00Z").unwrap()));
    (Site::open_at("", clock.clone()).await, clock)
}

fn policy(rules: &Value) -> Value {
    json!({"categories": ["tax", "contact"], "retention": {"time_zone": "America/Los_Angeles", "rules": rules}})
}

/// Invoices by their own date and the law, everything else for a month.
fn rules() -> Value {
    json!([
        {"name": "invoices", "categories": ["tax"], "from": {"field": "/invoice/date"}, "minimum": {"period": "4y", "basis": "law 1"},
            "maximum": "2y", "then": {"restrict": "7y"}},
        {"name": "contacts", "categories": ["contact"], "from": "modified", "minimum": {"period": "1w", "basis": "law 2"}, "maximum": "1m",
            "then": "delete"},
    ])
}

async fn put(site: &Site, token: &str, key: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = site.request(Method::PUT, &format!("{CRM}/records/{key}"), token).header("lethe-subject", "7");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request.body(body.to_owned()).send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_stored_and_shown_as_they_were_written() {
    let (site, _) = site().await;
    let owner = site.tenant("acme").await;
    let sent = policy(&rules());
    let made = site.send("PUT", CRM, &owner, Some(sent.clone())).await;
    assert_eq!((made.status, &made.json["retention"]), (201, &sent["retention"]), "{made:?}");
    for read in [site.get(CRM, &owner).await.json, site.get("/v1/tenants/acme/collections", &owner).await.json["data"][0].clone()] {
        assert_eq!(read["retention"], sent["retention"]);
    }
    let back = site.send("PUT", CRM, &owner, Some(json!({"categories": ["tax"], "retention": "until-deleted"}))).await;
    assert_eq!((back.status, back.json["retention"].as_str()), (200, Some("until-deleted")));
    // RET-1: who says nothing has said that.
    let silent = site.send("PUT", "/v1/tenants/acme/collections/other", &owner, Some(json!({}))).await;
    assert_eq!(silent.json["retention"], "until-deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_cannot_hold_are_refused_by_their_place() {
    let (site, _) = site().await;
    let owner = site.acme().await;
    let good = json!({"name": "a", "from": "created", "maximum": "1y", "then": "delete"});
    let with = |field: &str, value: Value| {
        let mut rule = good.clone();
        rule[field] = value;
        json!([rule])
    };
    let without = |field: &str| {
        let mut rule = good.clone();
        rule.as_object_mut().unwrap().remove(field);
        json!([rule])
    };
    let law = |period: &str| json!({"period": period, "basis": "canary-5f1e"});
    for (rules, code, told) in [
        (with("minimum", law("2y")), "unprocessable", "the minimum of `retention.rules[0]` may end after the end of `retention.rules[0]`"),
        (with("minimum", json!({"period": "1d", "basis": ""})), "unprocessable", "`retention.rules[0].minimum.basis` must cite"),
        (with("then", json!("shred")), "unprocessable", "`shred_unit` is \"record\""),
        (with("then", json!({"restrict": "6m"})), "unprocessable", "must be longer than its `maximum`"),
        (with("categories", json!(["canary-5f1e"])), "unprocessable", "must be of the policy's `categories`"),
        // RET-1: a category without a period is refused.
        (with("categories", json!(["tax"])), "unprocessable", "`categories[1]` has no rule"),
        (json!([]), "unprocessable", "must hold a rule"),
        (json!([good, good]), "unprocessable", "`retention.rules[1].name` is that of `retention.rules[0]`"),
        (without("maximum"), "invalid-body", "missing field `maximum`"),
        (without("then"), "invalid-body", "missing field `then`"),
        (with("maximum", json!("canary-5f1e")), "invalid-body", "expected a period of whole years, months, weeks or days"),
        (with("from", json!("canary-5f1e")), "invalid-body", "expected one of `created`, `modified`, `field`"),
        (with("from", json!({"field": "canary-5f1e"})), "invalid-body", "expected a JSON pointer"),
        (with("name", json!("Canary-5f1e")), "invalid-body", "expected a name of a-z"),
        (with("canary-5f1e", json!(1)), "invalid-body", "unknown field; expected one of `name`, `categories`, `from`"),
        (json!(vec![good.clone(); 65]), "limit-exceeded", "items_per_list"),
        (with("minimum", json!({"period": "1d", "basis": "x".repeat(513)})), "limit-exceeded", "basis_len"),
    ] {
        let refused = site.send("PUT", CRM, &owner, Some(policy(&rules))).await;
        assert_eq!(refused.code(), code, "{rules:.200}: {refused:?}");
        assert!(refused.text().contains(&told.replace('"', "\\\"")), "{told}: {}", refused.text());
        assert!(!refused.text().to_lowercase().contains("canary"), "what was sent is not repeated: {}", refused.text());
    }
    for (retention, told) in [
        (json!("P7Y"), "`retention` must be"),
        (json!({"time_zone": "Europe/Canary-5f1e", "rules": [good]}), "expected the name of a time zone"),
        (json!({"rules": [good]}), "missing field `time_zone`"),
        (json!(7), "`$.retention`: expected"),
        (Value::Null, "`$.retention`: expected"),
    ] {
        let refused = site.send("PUT", CRM, &owner, Some(json!({"retention": retention}))).await;
        assert!(refused.status == 422 && refused.text().contains(told), "{told}: {}", refused.text());
        assert!(!refused.text().to_lowercase().contains("canary"), "{}", refused.text());
    }
    assert_eq!(site.get(CRM, &owner).await.json["retention"], "until-deleted", "nothing of that is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_end_outside_the_rules_is_refused_by_the_rules_name() {
    let (site, clock) = site().await;
    let owner = site.tenant("acme").await;
    assert_eq!(site.send("PUT", CRM, &owner, Some(policy(&rules()))).await.status, 201);
    let contact = |end| [("lethe-meta-category", "contact"), ("lethe-expires-at", end)];
    // 31 January and a month is 29 February, over at midnight in California.
    for (end, status, told) in [
        ("2024-02-08T07:59:59.999Z", 422, "`contacts` keeps the record until 2024-02-08T08:00:00.000Z"),
        ("2024-02-08T08:00:00Z", 201, ""),
        ("2024-03-01T08:00:00Z", 204, ""),
        ("2024-03-01T08:00:00.001Z", 422, "`contacts` ends the record at 2024-03-01T08:00:00.000Z"),
        ("2999-01-01T00:00:00Z", 422, "`contacts` ends the record at"),
    ] {
        let answer = put(&site, &owner, "c", &contact(end), "{}").await;
        assert_eq!(answer.status, status, "{end}: {answer:?}");
        assert!(status != 422 || answer.code() == "outside-retention", "{answer:?}");
        assert!(status == 204 || status == 201 || answer.text().contains(told), "{told}: {}", answer.text());
    }
    assert_eq!(
        put(&site, &owner, "free", &[("lethe-meta-category", "contact")], "{}").await.status,
        201,
        "no end of its own is none outside"
    );
    // The date in the value counts, not that of the write; what is kept restricted may live until that ends.
    let invoice = |end| [("lethe-meta-category", "tax"), ("lethe-expires-at", end)];
    let body = r#"{"invoice": {"date": "2020-02-29"}}"#;
    for (end, status) in [
        ("2024-02-29T07:59:59Z", 422),
        ("2024-03-01T07:59:59Z", 422),
        ("2024-03-01T08:00:00Z", 201),
        ("2027-03-01T08:00:00Z", 204),
        ("2027-03-01T08:00:01Z", 422),
    ] {
        let answer = put(&site, &owner, "i", &invoice(end), body).await;
        assert_eq!(answer.status, status, "{end}: {answer:?}");
    }
    // In a batch too, where nothing of it is done.
    let op = |key: &str, end: &str| json!({"op": "put", "collection": "crm", "key": key, "value": "{}", "subjects": ["7"], "custom": {"category": "contact"}, "expires_at": end});
    let ops = json!({"ops": [op("b1", "2024-02-20T00:00:00Z"), op("b2", "2024-04-01T00:00:00Z")]});
    let batch = site.send("POST", "/v1/tenants/acme/batch", &owner, Some(ops)).await;
    assert_eq!((batch.status, batch.code(), &batch.json["op"]), (422, "outside-retention", &json!(1)), "{batch:?}");
    assert_eq!(site.get(&format!("{CRM}/records/b1"), &owner).await.status, 404);
    // A minimum from the last write goes on with it; the time of the first write stays.
    clock.advance(std::time::Duration::from_hours(24 * 7));
    let end = clock.now().plus(std::time::Duration::from_hours(24)).to_rfc3339();
    assert_eq!(put(&site, &owner, "c", &contact(&end), "{}").await.code(), "outside-retention");
    // On the record as any refusal.
    let trail = site.trail("acme", &owner).await;
    let refused = trail.iter().filter(|entry| entry["action"] == "record.write" && entry["reason"] == "invalid").count();
    assert_eq!(refused, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_no_rule_can_count_for_is_not_stored() {
    let (site, _) = site().await;
    let owner = site.tenant("acme").await;
    assert_eq!(site.send("PUT", CRM, &owner, Some(policy(&rules()))).await.status, 201);
    let tax = [("lethe-meta-category", "tax")];
    for body in [
        "",
        "no json",
        "{}",
        r#"{"invoice": {"date": null}}"#,
        r#"{"invoice": {"date": 20240131}}"#,
        r#"{"invoice": {"date": "2024-02-30"}}"#,
        r#"{"invoice": {"date": "31.01.2024"}}"#,
        r#"{"invoice": {"date": "9001-01-01"}}"#,
        r#"{"invoice": {"date": "-000001-01-01"}}"#,
        r#"[{"invoice": {"date": "2024-01-31"}}]"#,
    ] {
        let refused = put(&site, &owner, "i", &tax, body).await;
        assert_eq!((refused.status, refused.code()), (422, "unprocessable"), "{body}: {refused:?}");
        assert!(refused.text().contains("retention rule `invoices` counts from a field"), "{}", refused.text());
        assert!(!refused.text().contains("2024-02-30"));
    }
    // RET-1: of a category that has no period.
    let refused = put(&site, &owner, "i", &[("lethe-meta-category", "health")], "{}").await;
    assert!(refused.status == 422 && refused.text().contains("custom pair `category`"), "{refused:?}");
    // One that names none is of all: the invoices' rule is for it.
    assert_eq!(put(&site, &owner, "i", &[], "{}").await.status, 422);
    assert_eq!(put(&site, &owner, "i", &[], r#"{"invoice": {"date": "2024-01-31"}}"#).await.status, 201);
    for body in [r#"{"invoice": {"date": "2024-01-31T23:00:00+02:00"}}"#, r#"{"invoice": {"date": "2024-01-31"}}"#] {
        assert_eq!(put(&site, &owner, "i", &tax, body).await.status, 204, "{body}");
    }
    // A value that is not read whole cannot tell its date; for another category it need not.
    let large = format!(r#"{{"invoice": {{"date": "2024-01-31"}}, "filler": "{}"}}"#, "x".repeat(70_000));
    let refused = put(&site, &owner, "large", &tax, &large).await;
    assert!(refused.status == 422 && refused.text().contains("inline_value_len"), "{refused:?}");
    assert_eq!(put(&site, &owner, "large", &[("lethe-meta-category", "contact")], &large).await.status, 201);
    assert_eq!(put(&site, &owner, "small", &[("lethe-meta-category", "contact")], "no json").await.status, 201);
}

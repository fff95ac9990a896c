//! Rules of retention over the wire: what is refused, what is kept, and what a record's own end may be.

use std::sync::Arc;

use lethe::domain::{Clock as _, TestClock};
use lethe::http::endpoints;
use reqwest::Method;
use serde_json::{Value, json};

use super::site::{Answer, CRM, Site, hold, to};

/// A site whose clock stands at noon in California of 31 January 2024.
async fn site() -> (Site, Arc<TestClock>) {
    Site::open_on("2024-01-31T20:00:00Z").await
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
    // HOLD-4: of which kind a minimum is, where it is not of the one that nobody shortens.
    for (mode, shown) in [("governance", Some("governance")), ("compliance", None)] {
        let mut sent = sent.clone();
        sent["retention"]["rules"][0]["minimum"]["mode"] = json!(mode);
        assert_eq!(site.send("PUT", CRM, &owner, Some(sent)).await.status, 200);
        assert_eq!(site.get(CRM, &owner).await.json["retention"]["rules"][0]["minimum"]["mode"].as_str(), shown);
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
        (
            with("minimum", json!({"period": "1d", "basis": "x", "mode": "canary-5f1e"})),
            "invalid-body",
            "expected `governance` or `compliance`",
        ),
        (with("mark", json!("1m")), "unprocessable", "`retention.rules[0].mark` must be of days or weeks, at most 366d"),
        (with("mark", json!("canary-5f1e")), "invalid-body", "expected a period of whole years, months, weeks or days"),
        (with("then", json!("shred")), "unprocessable", "`shred_unit` is \"record\""),
        (with("then", json!({"restrict": "6m"})), "unprocessable", "must be longer than its `maximum`"),
        (with("categories", json!(["canary-5f1e"])), "unprocessable", "must be of the policy's `categories`"),
        // RET-1: a category without a period is refused.
        (with("categories", json!(["tax"])), "unprocessable", "`categories[1]` has no rule"),
        (with("categories", json!([])), "invalid-body", "at least one category"),
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
    // What is restricted from the start is written once only, so each has a key of its own.
    for (at, (end, status)) in [
        ("2024-02-29T07:59:59Z", 422),
        ("2024-03-01T07:59:59Z", 422),
        ("2024-03-01T08:00:00Z", 201),
        ("2027-03-01T08:00:00Z", 201),
        ("2027-03-01T08:00:01Z", 422),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = put(&site, &owner, &format!("i{at}"), &invoice(end), body).await;
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

async fn explained(site: &Site, token: &str, key: &str) -> Answer {
    site.get(&format!("{CRM}/retention/{key}"), token).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_tells_why_until_when_and_by_which_rule_at_every_stage() {
    let (site, clock) = site().await;
    let owner = site.tenant("acme").await;
    assert_eq!(site.send("PUT", CRM, &owner, Some(policy(&rules()))).await.status, 201);
    let body = r#"{"invoice": {"date": "2022-02-28"}, "secret": "canary-77ab"}"#;
    assert_eq!(put(&site, &owner, "2022/i", &[("lethe-meta-category", "tax")], body).await.status, 201);
    let day = std::time::Duration::from_hours(24);
    // 2 years: restricted; 4 years: the law is met; 7 years: due. To the millisecond of midnight in California.
    for (at, state, said) in [
        (
            "2024-02-29T07:59:59.999Z",
            "kept",
            "must be kept until 2026-03-01T08:00:00.000Z, by rule `invoices` (law 1); may be kept until 2029-03-01T08:00:00.000Z",
        ),
        ("2024-02-29T08:00:00Z", "restricted", "kept for its legal purpose alone since 2024-02-29T08:00:00.000Z"),
        ("2026-03-01T07:59:59.999Z", "restricted", "must be kept until 2026-03-01T08:00:00.000Z"),
        ("2026-03-01T08:00:00Z", "restricted", "until 2029-03-01T08:00:00.000Z, by rule `invoices`"),
        ("2029-03-01T07:59:59.999Z", "restricted", "until 2029-03-01T08:00:00.000Z, by rule `invoices`"),
        ("2029-03-01T08:00:00Z", "due", "its time is over since 2029-03-01T08:00:00.000Z, by rule `invoices`"),
    ] {
        to(&clock, at);
        let told = explained(&site, &owner, "2022/i").await;
        assert_eq!((told.status, told.json["state"].as_str()), (200, Some(state)), "{at}: {told:?}");
        assert!(told.json["why"].as_str().unwrap().contains(said), "{at}: {}", told.json["why"]);
        assert!(!told.text().contains("canary"), "nothing of the value but the date: {}", told.text());
        assert_eq!(
            told.json["minimum"],
            json!({"until": "2026-03-01T08:00:00.000Z", "rule": "invoices", "basis": "law 1", "mode": "compliance"})
        );
        let end = json!({"at": "2029-03-01T08:00:00.000Z", "rule": "invoices", "put_off_by": null, "then": "delete"});
        assert_eq!((&told.json["end"], &told.json["category"]), (&end, &json!("tax")));
        assert_eq!(told.json["rules"].as_array().unwrap().len(), 1, "the other rule is not for its category");
        assert_eq!((&told.json["rules"][0]["day"], &told.json["time_zone"]), (&json!("2022-02-28"), &json!("America/Los_Angeles")));
    }
    // Without rules, by its own end; explained also when that is over, while a reader is told that there is nothing.
    site.collection("acme", "free", &owner, "collection").await;
    let free = "/v1/tenants/acme/collections/free";
    let end = clock.now().plus(day).to_rfc3339();
    for (key, headers) in [("a", vec![]), ("b", vec![("lethe-expires-at", end.as_str())])] {
        let mut request = site.request(Method::PUT, &format!("{free}/records/{key}"), &owner);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        assert_eq!(request.body("x").send().await.unwrap().status().as_u16(), 201);
    }
    let state = async |key: &str| site.get(&format!("{free}/retention/{key}"), &owner).await.json;
    assert_eq!((&state("a").await["state"], &state("a").await["end"]), (&json!("kept"), &Value::Null));
    assert_eq!(state("b").await["end"], json!({"at": end, "rule": null, "put_off_by": null, "then": "delete"}));
    clock.advance(day);
    assert_eq!((&state("b").await["state"], &state("a").await["state"]), (&json!("due"), &json!("kept")));
    assert_eq!(site.get(&format!("{free}/records/b"), &owner).await.status, 404);
}

/// What is stored with an end that has passed would be gone a minute later: it is refused, by its field, or as it was made too long
/// ago for a rule that was shortened.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_time_is_over_already_is_not_stored() {
    let (site, clock) = site().await;
    let owner = site.tenant("acme").await;
    let from = |from: Value, maximum: &str| policy_of(&json!([{"name": "rule", "from": from, "maximum": maximum, "then": "delete"}]));
    assert_eq!(site.send("PUT", CRM, &owner, Some(from(json!({"field": "/date"}), "1y"))).await.status, 201);
    for (date, status) in [("2023-01-31", 201), ("2023-01-30", 422), ("1970-01-01", 422), ("2023-02-01", 204)] {
        let answer = put(&site, &owner, "k", &[], &json!({"date": date}).to_string()).await;
        assert_eq!(answer.status, status, "{date}: {answer:?}");
        assert!(status != 422 || (answer.code() == "outside-retention" && answer.text().contains("rule `rule` ended")), "{answer:?}");
    }
    assert_eq!(site.send("PUT", CRM, &owner, Some(from(json!("created"), "90d"))).await.status, 200);
    assert_eq!(put(&site, &owner, "old", &[], "{}").await.status, 201);
    clock.advance(std::time::Duration::from_hours(24 * 20));
    assert_eq!(site.send("PUT", CRM, &owner, Some(from(json!("created"), "10d"))).await.status, 200);
    assert_eq!(put(&site, &owner, "old", &[], "{}").await.code(), "outside-retention");
    assert_eq!(site.get(&format!("{CRM}/records/old"), &owner).await.status, 200, "what is there stays");
}

fn policy_of(rules: &Value) -> Value {
    json!({"retention": {"time_zone": "America/Los_Angeles", "rules": rules}})
}

/// The rules say one thing, and what is written down may be another: an explanation tells both.
#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_tells_what_is_carried_out_and_how() {
    let (site, _) = site().await;
    let owner = site.tenant("acme").await;
    let rule = |maximum: &str| policy_of(&json!([{"name": "rule", "from": "created", "maximum": maximum, "then": "delete"}]));
    assert_eq!(site.send("PUT", CRM, &owner, Some(json!({}))).await.status, 201);
    assert_eq!(put(&site, &owner, "k", &[], "{}").await.status, 201);
    let told = async || {
        let told = explained(&site, &owner, "k").await.json;
        (told["end"]["at"].clone(), told["scheduled_at"].clone(), told["why"].as_str().unwrap().to_owned())
    };
    assert_eq!(told().await.1, Value::Null);
    // Stored before there were rules: they say an end, and nothing comes of it.
    assert_eq!(site.send("PUT", CRM, &owner, Some(rule("90d"))).await.status, 200);
    let (end, scheduled, why) = told().await;
    assert_eq!((&end, &scheduled), (&json!("2024-05-01T07:00:00.000Z"), &Value::Null));
    assert!(
        why.ends_with("nothing is scheduled, for the record was stored before these rules: it ends by them once it is written again"),
        "{why}"
    );
    assert_eq!(put(&site, &owner, "k", &[], "{}").await.status, 204);
    let (end, scheduled, why) = told().await;
    assert!(end == scheduled && why.ends_with("by rule `rule`"), "{end} {scheduled} {why}");
    assert_eq!(site.send("PUT", CRM, &owner, Some(rule("10d"))).await.status, 200);
    let (end, scheduled, why) = told().await;
    assert_eq!((end, scheduled), (json!("2024-02-11T08:00:00.000Z"), json!("2024-05-01T07:00:00.000Z")));
    assert!(why.ends_with("; carried out at 2024-05-01T07:00:00.000Z, as was written down when it was stored"), "{why}");
    // A record with a key of its own is shredded, whatever the rule calls it, and by its own end too.
    let own = "/v1/tenants/acme/collections/own";
    let mut by_record = rule("10d");
    by_record["shred_unit"] = json!("record");
    for (unit, then) in [(by_record, "shred"), (json!({"shred_unit": "record"}), "shred"), (json!({}), "delete")] {
        let place = format!("{own}-{}-{then}", unit["retention"].is_object());
        assert_eq!(site.send("PUT", &place, &owner, Some(unit)).await.status, 201);
        let request = site.request(Method::PUT, &format!("{place}/records/k"), &owner).header("lethe-subject", "7");
        assert_eq!(request.header("lethe-expires-at", "2024-02-05T00:00:00Z").body("{}").send().await.unwrap().status().as_u16(), 201);
        assert_eq!(site.get(&format!("{place}/retention/k"), &owner).await.json["end"]["then"], then, "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_is_for_who_may_know_of_the_record_and_is_recorded_as_a_read() {
    let (site, _) = site().await;
    let owner = site.tenant("acme").await;
    assert_eq!(site.send("PUT", CRM, &owner, Some(json!({"shred_unit": "subject", "purposes": ["audit"]}))).await.status, 201);
    assert_eq!(put(&site, &owner, "eu/anna", &[], "canary-77ab").await.status, 201);
    let mut tokens =
        vec![("owner", owner.clone(), 200), ("operator", site.operator.clone(), 404), ("other", site.tenant("other").await, 404)];
    for (role, status) in [("writer", 200), ("reader", 200), ("auditor", 200), ("eraser", 403)] {
        tokens.push((role, site.token("acme", &owner, json!({ "role": role })).await, status));
    }
    for (prefix, status) in [("eu", 200), ("us", 404)] {
        tokens.push((prefix, site.token("acme", &owner, json!({"role": "reader", "prefix": prefix})).await, status));
    }
    for (who, token, status) in &tokens {
        let answer = explained(&site, token, "eu/anna").await;
        assert_eq!(answer.status, *status, "{who}: {answer:?}");
        assert!(!answer.text().contains("canary"), "{who}");
        // What is not there is told apart from what may not be known by nobody else.
        let none = explained(&site, token, "us/none").await;
        let expected = match *who {
            "eraser" => 403,
            _ => 404,
        };
        assert_eq!(none.status, expected, "{who}: {none:?}");
    }
    let trail = site.trail("acme", &owner).await;
    let of = |outcome: &str| trail.iter().filter(|entry| entry["action"] == "retention.read" && entry["outcome"] == outcome).count();
    // Denied: the eraser, the other tenant's owner and the operator twice each, and three of the narrowed readers'.
    assert_eq!((of("allowed"), of("failed"), of("denied")), (5, 5, 8), "{trail:?}");
    let names = &trail.iter().find(|entry| entry["action"] == "retention.read" && entry["outcome"] == "allowed").unwrap()["names"];
    assert_eq!(names["key"], "eu/anna");
    let request = site.request(Method::GET, &format!("{CRM}/retention/eu/anna"), &owner);
    let stated = Answer::of(request.header("lethe-purpose", "marketing").send().await.unwrap()).await;
    assert_eq!((stated.status, stated.code()), (422, "purpose-undeclared"));
    for (path, status) in
        [("retention/", 400), ("retention/a//b", 400), ("retention/..", 400), ("retention", 404), ("retention/eu/anna/", 400)]
    {
        let answer = super::site::raw(
            &site,
            format!("GET {CRM}/{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {owner}\r\nconnection: close\r\n\r\n").as_bytes(),
        )
        .await;
        assert_eq!(super::site::status_of(&answer), status, "{path}: {answer}");
    }
    // A person's shred ends explanations, too.
    let order = site.shred("acme", &owner, json!({"scope": "subject", "subject": "7"})).await;
    assert_eq!(order.status, 200, "{order:?}");
    let gone = explained(&site, &owner, "eu/anna").await;
    assert_eq!((gone.status, gone.code()), (410, "shredded"), "{gone:?}");
    assert_eq!(gone.json["certificate"], order.json["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulation_tells_how_many_a_draft_would_end_on_which_day_and_changes_nothing() {
    let (site, clock) = site().await;
    let owner = site.tenant("acme").await;
    let present = policy_of(&json!([{"name": "idle", "from": "modified", "maximum": "60d", "then": "delete"}]));
    assert_eq!(site.send("PUT", CRM, &owner, Some(json!({}))).await.status, 201);
    assert_eq!(put(&site, &owner, "before-rules", &[], r#"{"date": "2024-01-15"}"#).await.status, 201);
    assert_eq!(site.send("PUT", CRM, &owner, Some(present.clone())).await.status, 200);
    for (key, date) in [("a", "2024-01-15"), ("b", "2024-01-15"), ("c", "2024-01-16"), ("d", "1999-01-01"), ("e", "never")] {
        assert_eq!(put(&site, &owner, key, &[], &json!({"date": date, "secret": "canary-77ab"}).to_string()).await.status, 201);
    }
    assert_eq!(put(&site, &owner, "own", &[("lethe-expires-at", "2024-02-20T00:00:00Z")], "{}").await.status, 201);
    let shredded = site.request(Method::PUT, &format!("{CRM}/records/shredded"), &owner).header("lethe-subject", "8");
    assert_eq!(shredded.body("{}").send().await.unwrap().status().as_u16(), 201);
    let order = json!({"scope": "subject", "subject": "8"});
    assert_eq!(site.shred("acme", &owner, order).await.status, 200);
    let draft = policy_of(&json!([{"name": "dated", "from": {"field": "/date"}, "maximum": "80d", "then": "delete"}]));
    let simulations = format!("{CRM}/simulations");
    let simulate = async |token: &str, policy: &Value| site.send("POST", &simulations, token, Some(json!({ "policy": policy }))).await;
    let told = simulate(&owner, &draft).await;
    assert_eq!(told.status, 200, "{told:?}");
    let end =
        |day: &str, rule: Value, records: u64, later: u64| json!({"day": day, "rule": rule, "records": records, "later": later, "held": 0});
    // 80 days from 15 January end with 4 April, the record stored before there were rules ends by none, that of 1999 would have
    // long been over but is to stay until 31 March, and the own end stands.
    let ends = json!([
        end("1999-03-23", json!("dated"), 1, 1),
        end("2024-02-19", Value::Null, 1, 0),
        end("2024-04-05", json!("dated"), 3, 1),
        end("2024-04-06", json!("dated"), 1, 0),
    ]);
    assert_eq!(told.json, json!({"looked_at": 7, "ends": ends, "endless": 1, "unreadable": 0, "next_cursor": null}));
    assert!(!told.text().contains("canary"));
    let auditor = site.token("acme", &owner, json!({"role": "auditor"})).await;
    assert_eq!(simulate(&auditor, &draft).await.json["ends"], ends);
    // Under no rules only the own end ends something.
    let none = simulate(&owner, &json!({})).await.json;
    assert_eq!((&none["endless"], &none["ends"]), (&json!(6), &json!([end("2024-02-20", Value::Null, 1, 0)])));
    let wrong = policy_of(&json!([{"name": "rule", "from": "created", "maximum": "1y", "then": "shred"}]));
    assert_eq!(simulate(&owner, &wrong).await.code(), "unprocessable");
    for (role, status) in [("reader", 403), ("writer", 403), ("eraser", 403)] {
        let token = site.token("acme", &owner, json!({ "role": role })).await;
        assert_eq!(simulate(&token, &draft).await.status, status, "{role}");
    }
    let narrowed = site.token("acme", &owner, json!({"role": "owner", "collections": ["crm"], "prefix": "a"})).await;
    assert_eq!(simulate(&narrowed, &draft).await.status, 403, "counts of the whole collection");
    // On the record, and nothing was changed by it.
    let trail = site.trail("acme", &owner).await;
    let counts: Vec<&Value> = trail
        .iter()
        .filter(|entry| entry["action"] == "retention.read" && entry["outcome"] == "allowed")
        .map(|entry| &entry["target"]["count"])
        .collect();
    assert_eq!(counts, [&json!(7), &json!(7), &json!(7)]);
    assert_eq!(site.get(CRM, &owner).await.json["retention"], present["retention"]);
    to(&clock, "2024-03-31T08:00:00Z");
    assert_eq!(site.get(&format!("{CRM}/records/d"), &owner).await.status, 200);
}

/// What a legal hold keeps is not told for destroyed: of those that a draft would end on a day they are counted by themselves, as long as the
/// hold stands. HOLD-6: not to an owner, where the hold is not disclosed.
#[tokio::test(flavor = "multi_thread")]
async fn a_simulation_counts_what_a_hold_keeps_by_itself() {
    let (site, _) = site().await;
    let owner = site.tenant("acme").await;
    let counsel = site.counsel("acme", &owner).await;
    let auditor = site.token("acme", &owner, json!({"role": "auditor"})).await;
    let draft = policy_of(&json!([{"name": "rule", "from": "created", "maximum": "1y", "then": "delete"}]));
    assert_eq!(site.send("PUT", CRM, &owner, Some(draft.clone())).await.status, 201);
    for (key, subject) in [("a", "7"), ("b", "7"), ("c", "8")] {
        assert_eq!(site.put(&format!("{CRM}/records/{key}"), &owner, subject, "v").await.status, 201);
    }
    let counts = async |token: &str| {
        let told = site.send("POST", &format!("{CRM}/simulations"), token, Some(json!({ "policy": draft }))).await.json;
        assert_eq!((&told["looked_at"], told["ends"].as_array().map(Vec::len)), (&json!(3), Some(1)), "{told}");
        ["records", "later", "held"].map(|name| told["ends"][0][name].as_u64().unwrap())
    };
    for (disclosed, to_owner) in [(true, 2), (false, 0)] {
        assert_eq!((counts(&owner).await, counts(&auditor).await), ([3, 0, 0], [3, 0, 0]));
        let hold = hold(json!({"scope": "subject", "subjects": ["7"], "disclosed": disclosed}));
        let placed = site.send("POST", "/v1/tenants/acme/holds", &counsel, Some(hold)).await;
        assert_eq!(placed.status, 201, "{placed:?}");
        assert_eq!((counts(&owner).await, counts(&auditor).await), ([3, 0, to_owner], [3, 0, 2]), "{disclosed}");
        let release = format!("/v1/tenants/acme/holds/{}/release", placed.json["id"].as_str().unwrap());
        assert_eq!(site.send("POST", &release, &counsel, Some(json!({"reason": "settled"}))).await.status, 200);
    }
    assert_eq!((counts(&owner).await, counts(&auditor).await), ([3, 0, 0], [3, 0, 0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulation_of_many_records_goes_on_behind_its_cursor() {
    let (site, _) = site().await;
    let owner = site.tenant("acme").await;
    assert_eq!(site.send("PUT", CRM, &owner, Some(json!({}))).await.status, 201);
    for first in (0..2_500).step_by(500) {
        let put = |at| json!({"op": "put", "collection": "crm", "key": format!("k{at}"), "value": "v", "subjects": ["7"]});
        let ops: Vec<Value> = (first..first + 500).map(put).collect();
        assert_eq!(site.send("POST", "/v1/tenants/acme/batch", &owner, Some(json!({ "ops": ops }))).await.status, 200);
    }
    let draft = policy_of(&json!([{"name": "rule", "from": "created", "maximum": "1y", "then": "delete"}]));
    let (mut counted, mut passes, mut cursor) = (0, 0, Value::Null);
    loop {
        let told = site.send("POST", &format!("{CRM}/simulations"), &owner, Some(json!({"policy": draft, "cursor": cursor}))).await.json;
        let records = told["ends"][0]["records"].as_u64().unwrap();
        assert!(records <= 2_100 && told["looked_at"] == records, "{told}");
        (counted, passes) = (counted + records, passes + 1);
        cursor = told["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!((counted, passes), (2_500, 2));
    let wrong = site.send("POST", &format!("{CRM}/simulations"), &owner, Some(json!({"policy": draft, "cursor": "AAAA"}))).await;
    assert_eq!(wrong.code(), "malformed-cursor");
}

const RUNS: &str = "/v1/jobs/retention/runs";
const REPORTS: &str = "/v1/tenants/acme/retention/reports";

/// Both phases, as owners, auditors and the operator see them.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_going_to_be_destroyed_is_told_and_what_was_is_reported() {
    let (site, clock) = site().await;
    let owner = site.tenant("acme").await;
    let auditor = site.token("acme", &owner, json!({"role": "auditor"})).await;
    let job = site.token("system", &site.operator, json!({"role": "job"})).await;
    let rule = json!({"name": "brief", "from": "created", "maximum": "30d", "then": "delete", "mark": "2w"});
    let made = site.send("PUT", CRM, &owner, Some(json!({"retention": {"time_zone": "UTC", "rules": [rule]}}))).await;
    assert_eq!((made.status, &made.json["retention"]["rules"][0]), (201, &rule), "{made:?}");
    for key in ["canary-1c55", "b", "c"] {
        assert_eq!(put(&site, &owner, key, &[], "v").await.status, 201);
    }
    let run = async |body: Value| site.send("POST", RUNS, &job, Some(body)).await.json;
    to(&clock, "2024-02-16T23:59:59Z");
    assert_eq!(run(json!({})).await["marked"], 0);
    to(&clock, "2024-02-17T00:00:00Z");
    let waiting = site.get(RUNS, &job).await;
    assert_eq!(
        (waiting.status, &waiting.json["due"], &waiting.json["to_mark"], &waiting.json["more"]),
        (200, &json!(0), &json!(3), &json!(false))
    );
    let done = run(json!({"limit": 2})).await;
    assert_eq!((&done["marked"], &done["more"]), (&json!(2), &json!(true)), "{done}");
    let rest = run(json!({"limit": 2, "cursor": done["next_cursor"]})).await;
    assert_eq!((&rest["marked"], &rest["more"], &rest["run"]), (&json!(1), &json!(false), &done["run"]), "{rest}");

    let explained = site.get(&format!("{CRM}/retention/b"), &auditor).await.json;
    assert_eq!(
        (explained["state"].as_str(), explained["marked_at"].as_str()),
        (Some("marked"), Some("2024-02-17T00:00:00.000Z")),
        "{explained}"
    );
    assert_eq!(explained["scheduled_at"], "2024-03-02T00:00:00.000Z");
    let first = site.get(&format!("{CRM}/marked?limit=2"), &owner).await;
    let second = site.get(&format!("{CRM}/marked?limit=2&cursor={}", first.json["next_cursor"].as_str().unwrap()), &owner).await;
    let mut listed: Vec<Value> = [&first, &second].iter().flat_map(|page| page.json["data"].as_array().unwrap().clone()).collect();
    listed.sort_by_key(|item| item["key"].as_str().unwrap().to_owned());
    assert_eq!((listed.len(), &second.json["next_cursor"]), (3, &Value::Null));
    let etag = listed[0]["etag"].as_str().unwrap();
    let b = json!({"key": "b", "etag": etag, "rule": "brief", "then": "delete", "marked_at": "2024-02-17T00:00:00.000Z",
        "ends_at": "2024-03-02T00:00:00.000Z", "held": false});
    assert_eq!(listed[0], b);
    assert_eq!(site.get(&format!("{CRM}/records/b"), &owner).await.header("etag"), etag);
    let shown = site.get(&format!("{CRM}/marked"), &auditor).await;
    assert!(shown.json["data"].as_array().unwrap().len() == 3 && !shown.text().contains("canary"), "who audits reads no names: {shown:?}");
    for (path, code) in [
        ("?limit=0", "malformed-query"),
        ("?limit=1001", "limit-exceeded"),
        ("?cursor=AAAA", "malformed-cursor"),
        ("?x=1", "malformed-query"),
    ] {
        assert_eq!(site.get(&format!("{CRM}/marked{path}"), &owner).await.code(), code, "{path}");
        assert_eq!(site.get(&format!("{REPORTS}{path}"), &owner).await.code(), code, "{path}");
    }

    // In time.
    let counsel = site.counsel("acme", &owner).await;
    let hold = hold(json!({"scope": "records", "records": [{"collection": "crm", "key": "b"}]}));
    assert_eq!(site.send("POST", "/v1/tenants/acme/holds", &counsel, Some(hold)).await.status, 201);
    to(&clock, "2024-03-02T00:00:00Z");
    let done = run(json!({})).await;
    assert_eq!((&done["destroyed"], &done["held"]), (&json!(2), &json!(1)), "{done}");

    let reports = site.get(REPORTS, &auditor).await;
    let told = |report: &Value| {
        (report["state"].clone(), report["cause"].clone(), report["destroyed"].clone(), report["held"].clone(), report["marked"].clone())
    };
    let all: Vec<_> = reports.json["data"].as_array().unwrap().iter().filter(|report| report["cause"] == "asked").map(told).collect();
    assert_eq!(
        all,
        [(json!("final"), json!("asked"), json!(0), json!(0), json!(3)), (json!("open"), json!("asked"), json!(2), json!(1), json!(0))]
    );
    let last = reports.json["data"].as_array().unwrap().last().unwrap();
    let one = site.get(&format!("{REPORTS}/{}", last["id"].as_str().unwrap()), &owner).await.json;
    let line = json!({"collection": "crm", "by": "rule", "rule": "brief", "then": "delete", "destroyed": 2, "held": 1, "marked": 0});
    assert_eq!((&one["lines"], &one["certificates"], &one["more_certificates"]), (&json!([line]), &json!([]), &json!(false)), "{one}");
    assert_eq!((&one["run"], one["principal"].as_str().map(str::len), &one["keys"]), (&done["run"], Some(32), &json!(0)));
    assert!(last["certificates"].is_null() && !reports.text().contains("canary"), "{reports:?}");
    for (id, code) in [("0".repeat(32), "not-found"), ("0".repeat(31), "malformed-id"), ("x".repeat(32), "malformed-id")] {
        assert_eq!(site.get(&format!("{REPORTS}/{id}"), &owner).await.code(), code, "{id}");
    }
    assert_eq!(site.get(REPORTS, &site.operator).await.status, 403, "the operator sees the counts of runs, and no tenant's");
    let actions = site.trail("acme", &owner).await;
    for (action, count) in [("retention.marked", 3), ("retention.report", 2)] {
        let recorded = actions.iter().filter(|entry| entry["action"] == action && entry["outcome"] == "allowed").count();
        assert_eq!(recorded, count, "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_destroys_what_is_due_and_can_do_nothing_else() {
    let (site, clock) = site().await;
    let owner = site.tenant("acme").await;
    assert_eq!(site.send("PUT", CRM, &owner, Some(policy(&rules()))).await.status, 201);
    for key in ["a", "b", "c"] {
        assert_eq!(put(&site, &owner, key, &[("lethe-meta-category", "contact")], "canary-77ab").await.status, 201);
    }
    let job = site.token("system", &site.operator, json!({"role": "job"})).await;
    let run = async |token: &str, body: Value| site.send("POST", RUNS, token, Some(body)).await;
    let mut early = run(&job, json!({})).await;
    assert_eq!(early.json.as_object_mut().unwrap().remove("run").unwrap().as_str().map(str::len), Some(32));
    let nothing = json!({"looked_at": 0, "destroyed": 0, "held": 0, "marked": 0, "moved": 0, "dropped": 0, "failed": 0, "more": false,
        "next_cursor": null});
    assert_eq!((early.status, &early.json), (200, &nothing));
    // Midnight in California after 29 February is 8 o'clock in UTC; at 7:59 the day's rows are looked at, and stay.
    for (at, limit, destroyed, more) in [
        ("2024-03-01T07:59:59.999Z", 10, 0, false),
        ("2024-03-01T08:00:00Z", 2, 2, true),
        ("2024-03-01T08:00:00Z", 10, 1, false),
        ("2024-03-01T08:00:00Z", 10, 0, false),
    ] {
        to(&clock, at);
        // Until then: a run for a moment before destroys nothing, and one for the future is one for now.
        let before = run(&job, json!({"until": "2024-03-01T07:59:59.999Z"})).await;
        assert_eq!(before.json["destroyed"], 0, "{at}: {before:?}");
        let done = run(&job, json!({"limit": limit, "until": "2999-01-01T00:00:00Z"})).await;
        assert_eq!((&done.json["destroyed"], &done.json["more"]), (&json!(destroyed), &json!(more)), "{at}: {done:?}");
    }
    for key in ["a", "b", "c"] {
        assert_eq!(site.get(&format!("{CRM}/records/{key}"), &owner).await.status, 404);
    }
    let trail = site.trail("acme", &owner).await;
    let deleted: Vec<&Value> = trail.iter().filter(|entry| entry["action"] == "record.delete").collect();
    assert!(deleted.len() == 3 && deleted.iter().all(|entry| entry["role"] == "job" && entry["outcome"] == "allowed"), "{deleted:?}");
    let runs = site.trail("system", &site.operator).await;
    let counts: Vec<&Value> =
        runs.iter().filter(|entry| entry["action"] == "retention.run").map(|entry| &entry["target"]["count"]).collect();
    assert_eq!(counts.iter().filter(|count| ***count == json!(2)).count(), 1, "{counts:?}");

    for (body, code) in [
        (json!({"limit": 0}), "invalid-body"),
        (json!({"limit": 10_001}), "limit-exceeded"),
        (json!({"until": "tomorrow"}), "invalid-body"),
        (json!({"surprise": 1}), "invalid-body"),
    ] {
        assert_eq!(run(&job, body.clone()).await.code(), code, "{body}");
    }
    for (token, status) in [(&owner, 403), (&site.operator, 200), (&site.token("acme", &owner, json!({"role": "eraser"})).await, 403)] {
        assert_eq!(run(token, json!({})).await.status, status);
    }
    // A job reads nothing, lists nothing, and changes nothing else: what it may ask for besides are snapshots, of which it is told a path.
    let of_jobs = [RUNS, "/v1/jobs/snapshots", "/v1/jobs/snapshots/{id}"];
    assert_eq!(put(&site, &owner, "d", &[("lethe-meta-category", "contact")], "canary-77ab").await.status, 201);
    for endpoint in
        endpoints().iter().filter(|endpoint| endpoint.access == lethe::http::Access::Credential && !of_jobs.contains(&endpoint.path))
    {
        let path = endpoint
            .path
            .replace("{tenant}", "acme")
            .replace("{collection}", "crm")
            .replace("{*key}", "d")
            .replace("{id}", &"0".repeat(32));
        let path = if path.ends_with("/import") { format!("{path}?bundle={}&from=0", "0".repeat(32)) } else { path };
        for path in [path.clone(), path.replace("/acme", "/system")] {
            let body = matches!(endpoint.method, "POST" | "PUT").then(|| match endpoint.path {
                "/v1/tenants" => json!({"tenant": "late"}),
                "/v1/tenants/{tenant}/tokens" => json!({"role": "job"}),
                "/v1/tenants/{tenant}/batch" => json!({"ops": [{"op": "delete", "collection": "crm", "key": "d"}]}),
                "/v1/tenants/{tenant}/shreds" => json!({"scope": "tenant", "confirm": "acme"}),
                "/v1/tenants/{tenant}/collections/{collection}/simulations" => json!({"policy": {}}),
                "/v1/tenants/{tenant}/holds" => json!({"matter": "m", "reason": "r", "custodian": "c", "scope": "tenant"}),
                path if path.ends_with("/export") => json!({"recipient": "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"}),
                path if path.ends_with("/aliases/query") || path.ends_with("/events/query") => json!({"subject": "1"}),
                path if path.ends_with("/events/remove") => json!({"subject": "1", "event": "left"}),
                path if path.ends_with("/events") => json!({"subject": "1", "event": "left", "at": "2026-01-31"}),
                path if path.ends_with("/aliases/remove") => json!({"alias": "1"}),
                path if path.ends_with("/aliases") => json!({"subject": "1", "alias": "2"}),
                "/v1/tenants/{tenant}/policy" => json!({"approvals": {}}),
                "/v1/tenants/{tenant}/termination" => json!({"confirm": "acme"}),
                path if path.contains("/holds/")
                    || path.ends_with("/bypasses")
                    || path.ends_with("/suspend")
                    || path.ends_with("/resume") =>
                {
                    json!({"reason": "r"})
                }
                _ => json!({}),
            });
            let answer = site.send(endpoint.method, &path, &job, body).await;
            assert!(matches!(answer.status, 403 | 404), "{} {path}: {answer:?}", endpoint.method);
        }
    }
    assert_eq!(site.get(&format!("{CRM}/records/d"), &owner).await.text(), "canary-77ab");
}

//! Legal holds over the wire: what is held is neither deleted nor overwritten nor shredded, on no path; what a hold stopped is carried
//! out when it ends; and who may know of it.

use std::{sync::Arc, time::Duration};

use lethe::domain::TestClock;
use reqwest::Method;
use serde_json::{Value, json};

use super::site::{Answer, Site, hold, id, id_of, record};

const DAY: Duration = Duration::from_hours(24);

/// A tenant with its owner and its counsel.
struct Tenant<'a> {
    site: &'a Site,
    name: String,
    owner: String,
    counsel: String,
}

async fn site() -> (Site, Arc<TestClock>) {
    Site::open_on("2024-01-31T20:00:00Z").await
}

/// As who may not know of the hold is told it.
fn is_held(answer: &Answer, named: &str) {
    assert_eq!((answer.status, answer.code()), (423, "legal-obligation"), "{named}: {answer:?}");
    assert!(answer.json["hold"].is_null(), "an owner is not told which: {answer:?}");
}

impl<'a> Tenant<'a> {
    async fn make(site: &'a Site, name: &str) -> Self {
        let owner = site.tenant_of_units(name).await;
        let counsel = site.counsel(name, &owner).await;
        Self { site, name: name.to_owned(), owner, counsel }
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/tenants/{}/{rest}", self.name)
    }

    fn record(&self, at: &str) -> String {
        record(&self.name, at)
    }

    async fn try_place(&self, token: &str, scope: Value) -> Answer {
        self.site.send("POST", &self.path("holds"), token, Some(hold(scope))).await
    }

    async fn place(&self, scope: Value) -> Value {
        let placed = self.try_place(&self.counsel, scope).await;
        assert_eq!((placed.status, placed.json["state"].as_str()), (201, Some("active")), "{placed:?}");
        placed.json
    }

    async fn hold(&self, token: &str, hold: &Value) -> Answer {
        self.site.get(&self.path(&format!("holds/{}", id(hold))), token).await
    }

    async fn change(&self, token: &str, hold: &Value, what: &str) -> Answer {
        self.site.send("POST", &self.path(&format!("holds/{}/{what}", id(hold))), token, Some(json!({"reason": "settled"}))).await
    }

    async fn release(&self, hold: &Value) -> Value {
        let released = self.change(&self.counsel, hold, "release").await;
        assert_eq!((released.status, released.json["state"].as_str()), (200, Some("released")), "{released:?}");
        released.json
    }

    async fn put(&self, at: &str, subjects: &str, value: &str) -> Answer {
        self.site.put(&self.record(at), &self.owner, subjects, value).await
    }

    async fn delete(&self, at: &str) -> Answer {
        self.site.send("DELETE", &self.record(at), &self.owner, None).await
    }

    async fn get(&self, at: &str) -> Answer {
        self.site.get(&self.record(at), &self.owner).await
    }

    async fn shred(&self, body: Value) -> Answer {
        self.site.shred(&self.name, &self.owner, body).await
    }

    /// An order, at the latest when it is done.
    async fn order(&self, id: &str) -> Answer {
        self.site.order(&self.name, &self.owner, id).await
    }
}

/// HOLD-1: no end date; it stands until it is removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_stands_until_it_is_released_whatever_the_time() {
    let (site, clock) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    assert_eq!(acme.put("crm/a", "7", "x").await.status, 201);
    let placed = acme.place(json!({"scope": "subject", "subject": "7"})).await;
    assert_eq!((&placed["subjects"], &placed["covers"]), (&json!(["7"]), &json!({"records": 1, "more": false})), "{placed}");
    assert!(placed["lapses_at"].is_null() && placed["too_late"] == json!([]), "{placed}");
    for _ in 0..3 {
        is_held(&acme.delete("crm/a").await, "delete");
        is_held(&acme.put("crm/a", "7", "y").await, "overwrite");
        assert_eq!(acme.get("crm/a").await.text(), "x");
        clock.advance(DAY * 4_000);
        site.run_retention().await;
    }
    let seen = acme.hold(&acme.counsel, &placed).await;
    assert_eq!((seen.status, &seen.json["state"], &seen.json["matter"]), (200, &json!("active"), &json!("2024-CV-1")));
    assert_eq!(acme.release(&placed).await["release_reason"], "settled");
    assert_eq!(acme.delete("crm/a").await.status, 204);
    let over = acme.change(&acme.counsel, &placed, "release").await;
    assert_eq!((over.status, over.code()), (409, "hold-over"));
}

/// Holds of every scope, on the record `a/b` of a collection, which is about person 7.
fn scopes(collection: &str) -> Vec<Value> {
    vec![
        json!({"scope": "tenant"}),
        json!({"scope": "subject", "subjects": ["7", "70"]}),
        json!({"scope": "collection", "collection": collection}),
        json!({"scope": "prefix", "collection": collection, "prefix": "a"}),
        json!({"scope": "records", "records": [{"collection": collection, "key": "a/b"}, {"collection": collection, "key": "z"}]}),
    ]
}

/// HOLD-2: every path on which a request destroys something, under holds of every scope, in collections of every unit.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_destroyed_by_no_request() {
    let (site, _) = site().await;
    for (round, collection) in ["crm", "all", "files"].into_iter().enumerate() {
        for (number, scope) in scopes(collection).into_iter().enumerate() {
            let named = format!("{collection}: {scope}");
            let tenant = Tenant::make(&site, &format!("t{round}-{number}")).await;
            let (held, free) = (format!("{collection}/a/b"), format!("{collection}/c"));
            assert_eq!(tenant.put(&held, "7", "held").await.status, 201);
            assert_eq!(tenant.put(&free, "9", "free").await.status, 201);
            let placed = tenant.place(scope).await;
            is_held(&tenant.delete(&held).await, &named);
            is_held(&tenant.put(&held, "7", "new").await, &named);
            is_held(&tenant.put(&held, "8", "new").await, &named);
            // Of a value that comes in rows of its own, too.
            is_held(&tenant.put(&held, "7", &"x".repeat(200_000)).await, &named);
            let other = json!({"op": "put", "collection": collection, "key": "other", "value": "new", "subjects": ["9"]});
            for op in [
                json!({"op": "put", "collection": collection, "key": "a/b", "value": "new", "subjects": ["7"]}),
                json!({"op": "delete", "collection": collection, "key": "a/b"}),
            ] {
                let batch = site.send("POST", &tenant.path("batch"), &tenant.owner, Some(json!({"ops": [other, op]}))).await;
                is_held(&batch, &named);
                assert_eq!(batch.json["op"], 1, "{named}: {batch:?}");
            }
            assert_eq!(tenant.get(&format!("{collection}/other")).await.status, 404, "nothing of a refused batch is done");
            let mut orders = vec![
                json!({"scope": "subject", "subject": "7"}),
                json!({"scope": "collection", "collection": collection}),
                json!({"scope": "tenant", "confirm": tenant.name}),
            ];
            if collection == "files" {
                orders.push(json!({"scope": "record", "collection": "files", "key": "a/b"}));
            }
            for order in orders {
                let named = format!("{named}: {order}");
                let answer = tenant.shred(order.clone()).await;
                is_held(&answer, &named);
                let queued = tenant.order(answer.json["order"].as_str().unwrap()).await;
                assert_eq!((queued.status, queued.json["state"].as_str()), (202, Some("held")), "{named}: {queued:?}");
                let denied = json!({"extent": "whole", "reason": "legal-obligation", "order": null, "targets": []});
                assert_eq!(queued.json["denied"], denied, "{named}");
                assert_eq!(tenant.shred(order).await.json["order"], answer.json["order"], "given again, it is the same one");
            }
            assert_eq!(tenant.get(&held).await.text(), "held", "{named}");
            // What is new is stored, and what is not held is as free as before.
            assert_eq!(tenant.put(&format!("{collection}/a/new"), "7", "new").await.status, 201, "{named}");
            let is_all = placed["scope"] == "tenant" || placed["scope"] == "collection";
            assert_eq!(tenant.put(&free, "9", "again").await.status, if is_all { 423 } else { 204 }, "{named}");
            // A hold on nothing of this keeps nothing.
            let elsewhere = Tenant::make(&site, &format!("e{round}-{number}")).await;
            assert_eq!(elsewhere.put(&held, "7", "x").await.status, 201);
            for scope in [
                json!({"scope": "subject", "subject": "8"}),
                json!({"scope": "prefix", "collection": collection, "prefix": "a/b/c"}),
                json!({"scope": "records", "records": [{"collection": collection, "key": "a"}]}),
            ] {
                elsewhere.place(scope).await;
            }
            assert_eq!(elsewhere.put(&held, "7", "y").await.status, 204, "{named}");
            let order = elsewhere.shred(json!({"scope": "subject", "subject": "7"})).await;
            assert_eq!((order.status, order.json["state"].as_str()), (200, Some("done")), "{named}: {order:?}");
        }
    }
}

/// What a hold stopped is queued: orders are carried out once no hold stands over them, and are certified as any.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_a_hold_stopped_is_carried_out_when_the_last_one_is_released() {
    let (site, _) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    for person in ["7", "8"] {
        for collection in ["crm", "all", "files"] {
            assert_eq!(acme.put(&format!("{collection}/{person}"), person, "x").await.status, 201);
        }
    }
    let first = acme.place(json!({"scope": "subject", "subject": "7"})).await;
    let second = acme.place(json!({"scope": "prefix", "collection": "all", "prefix": "7"})).await;
    let order = json!({"scope": "subject", "subject": "7"});
    let sent = |key: &'static str| {
        site.request(Method::POST, "/v1/tenants/acme/shreds", &acme.owner).header("idempotency-key", key).json(&order).send()
    };
    let stopped = Answer::of(sent("once").await.unwrap()).await;
    is_held(&stopped, "the order");
    let again = Answer::of(sent("once").await.unwrap()).await;
    is_held(&again, "the same again");
    assert_eq!(stopped.json["order"], again.json["order"]);
    let id = stopped.json["order"].as_str().unwrap();
    // Nobody else waits for it.
    assert_eq!(acme.shred(json!({"scope": "subject", "subject": "8"})).await.status, 200);
    acme.release(&first).await;
    let waits = acme.order(id).await;
    assert_eq!((waits.status, waits.json["state"].as_str()), (202, Some("held")), "the other hold stands: {waits:?}");
    assert!(waits.json["certificate"].is_null() && waits.json["salt"].is_string(), "its answer was a refusal: {waits:?}");
    let auditors = site.token("acme", &acme.owner, json!({"role": "auditor"})).await;
    let told = site.get(&format!("/v1/tenants/acme/shreds/{id}"), &auditors).await;
    assert_eq!((told.json["state"].as_str(), &told.json["salt"]), (Some("held"), &Value::Null), "{told:?}");
    assert_eq!(acme.get("crm/7").await.text(), "x");
    acme.release(&second).await;
    let done = acme.order(id).await;
    assert_eq!((done.status, done.json["state"].as_str()), (200, Some("done")), "{done:?}");
    assert_eq!((acme.get("crm/7").await.status, acme.get("all/7").await.status, acme.get("files/7").await.status), (410, 404, 410));
    let path = done.json["certificate"].as_str().unwrap();
    let note = site.client.get(format!("{}{path}", site.server.url())).send().await.unwrap().text().await.unwrap();
    assert!(note.contains("\"holds_checked\": true"), "{note}");
    let repeated = Answer::of(sent("once").await.unwrap()).await;
    assert_eq!((repeated.status, repeated.json["id"].as_str()), (200, Some(id)), "{repeated:?}");
    // On the record: refused, then given.
    let trail = site.trail("acme", &acme.owner).await;
    let orders: Vec<(&str, &str)> = trail
        .iter()
        .filter(|entry| entry["action"] == "shred.order" && entry["request"] == stopped.header("x-request-id"))
        .map(|entry| (entry["outcome"].as_str().unwrap(), entry["reason"].as_str().unwrap_or("")))
        .collect();
    assert_eq!(orders, [("failed", "legal-hold"), ("allowed", "")]);
}

/// HOLD-7: releasing the last hold on what is due destroys it within one run; and until then no run reads it again.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_waits_under_the_hold_and_goes_with_the_run_after_its_release() {
    let (site, clock) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    let end = "2024-02-03T00:00:00Z";
    for (key, person) in [("a", "7"), ("b", "7"), ("c", "8")] {
        let put = site.request(Method::PUT, &acme.record(&format!("crm/{key}")), &acme.owner);
        let put = put.header("lethe-subject", person).header("lethe-expires-at", end).body("x");
        assert_eq!(put.send().await.unwrap().status(), 201);
    }
    let first = acme.place(json!({"scope": "subject", "subject": "7"})).await;
    let second = acme.place(json!({"scope": "records", "records": [{"collection": "crm", "key": "a"}]})).await;
    clock.advance(DAY * 3);
    let done = site.run_retention().await;
    assert_eq!((&done["destroyed"], &done["held"]), (&json!(1), &json!(2)), "{done}");
    for _ in 0..3 {
        clock.advance(DAY);
        assert_eq!(site.run_retention().await["looked_at"], 0, "what is held is not read again");
    }
    is_held(&acme.delete("crm/a").await, "it is there");
    // What waited under one waits under the other then.
    acme.release(&second).await;
    let done = site.run_retention().await;
    assert_eq!((&done["destroyed"], &done["held"]), (&json!(0), &json!(1)), "{done}");
    assert_eq!(site.run_retention().await["looked_at"], 0);
    acme.release(&first).await;
    let done = site.run_retention().await;
    assert_eq!((&done["destroyed"], &done["held"]), (&json!(2), &json!(0)), "{done}");
    assert_eq!(acme.delete("crm/a").await.status, 404);
    assert_eq!(site.run_retention().await["looked_at"], 0);
}

/// What a hold keeps beyond its end has left the index of what is due, and is explained all the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_of_what_waits_under_a_hold_says_when_it_goes() {
    let (site, clock) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    let put = site.request(Method::PUT, &acme.record("crm/a"), &acme.owner).header("lethe-subject", "7");
    let put = put.header("lethe-expires-at", "2024-02-03T00:00:00Z").body("x").send().await.unwrap();
    assert_eq!(put.status(), 201);
    let placed = acme.place(json!({"scope": "subject", "subject": "7"})).await;
    let mut told = Vec::new();
    for held in ["0", "1", "0"] {
        let done = site.run_retention().await;
        assert_eq!(done["held"].to_string(), held, "{done}");
        let explained = site.get(&acme.path("collections/crm/retention/a"), &acme.counsel).await;
        let (json, why) = (&explained.json, explained.json["why"].as_str().unwrap_or_default());
        assert_eq!((&json["held"], &json["scheduled_at"]), (&json!(true), &json!("2024-02-03T00:00:00.000Z")), "{explained:?}");
        assert!(why.contains(id(&placed)) && !why.contains("nothing is scheduled"), "{why}");
        told.push(json["end"].clone());
        clock.advance(DAY * 3);
    }
    assert!(told.iter().all(|end| *end == told[0]), "{told:?}");
    acme.release(&placed).await;
    assert_eq!(site.run_retention().await["destroyed"], 1);
}

/// HOLD-5: a case number is needed; it ends after 90 days unless it is renewed; what it stopped runs then.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_for_law_enforcement_needs_a_case_number_and_ends_after_90_days() {
    let (site, clock) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    for person in ["7", "8"] {
        assert_eq!(acme.put(&format!("crm/{person}"), person, "x").await.status, 201);
    }
    let scope =
        |person: &str, number: Option<&str>| json!({"scope": "subject", "subject": person, "law_enforcement": true, "case_number": number});
    let refused = acme.try_place(&acme.counsel, scope("7", None)).await;
    assert_eq!((refused.status, refused.code()), (422, "unprocessable"), "{refused:?}");
    assert!(refused.text().contains("`case_number`"), "{refused:?}");
    let refused = acme.try_place(&acme.counsel, json!({"scope": "tenant", "case_number": "1"})).await;
    assert_eq!(refused.status, 422, "a case number alone is not taken for anything: {refused:?}");
    let renewed = acme.place(scope("7", Some("24-0815"))).await;
    let lapsing = acme.place(scope("8", Some("24-0816"))).await;
    assert_eq!((&renewed["lapses_at"], &renewed["case_number"]), (&json!("2024-04-30T20:00:00.000Z"), &json!("24-0815")), "{renewed}");
    let order = acme.shred(json!({"scope": "subject", "subject": "8"})).await;
    is_held(&order, "8");
    clock.advance(DAY * 60);
    let more = acme.change(&acme.counsel, &renewed, "renew").await;
    assert_eq!((more.status, &more.json["lapses_at"]), (200, &json!("2024-06-29T20:00:00.000Z")), "{more:?}");
    clock.advance(DAY * 29 + Duration::from_millis(86_399_999));
    site.run_retention().await;
    is_held(&acme.delete("crm/8").await, "to the last millisecond");
    clock.advance(Duration::from_millis(1));
    // Over at once, whether or not anybody has looked yet; and it cannot be given more time then.
    let seen = acme.hold(&acme.counsel, &lapsing).await;
    assert_eq!((&seen.json["state"], &seen.json["ended_at"]), (&json!("lapsed"), &lapsing["lapses_at"]), "{seen:?}");
    for what in ["renew", "release"] {
        assert_eq!(acme.change(&acme.counsel, &lapsing, what).await.code(), "hold-over");
    }
    site.run_retention().await;
    let done = acme.order(order.json["order"].as_str().unwrap()).await;
    assert_eq!((done.status, done.json["state"].as_str()), (200, Some("done")), "the pending deletion runs: {done:?}");
    is_held(&acme.delete("crm/7").await, "the renewed one stands");
    clock.advance(DAY * 60);
    assert_eq!(acme.delete("crm/7").await.status, 204);
    let plain = acme.place(json!({"scope": "tenant"})).await;
    assert_eq!(acme.change(&acme.counsel, &plain, "renew").await.status, 422, "any other stands until it is released");
    // The end by itself is on the record, in nobody's name.
    site.run_retention().await;
    let trail = site.trail("acme", &acme.owner).await;
    assert_eq!(trail.iter().filter(|entry| entry["action"] == "hold.release" && entry["outcome"] == "allowed").count(), 2);
}

/// HOLD-3: a permission of its own, a reason and a matter; the owner of the data can neither place nor remove a hold, nor make somebody
/// who could.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_neither_places_nor_releases_a_hold_nor_makes_or_dismisses_who_does() {
    let (site, clock) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    let auditor = site.token("acme", &acme.owner, json!({"role": "auditor"})).await;
    for (token, status) in [(&acme.owner, 403), (&auditor, 403), (&site.operator, 403)] {
        let refused = acme.try_place(token, json!({"scope": "tenant"})).await;
        assert_eq!(refused.status, status, "{refused:?}");
    }
    for missing in ["matter", "reason", "custodian"] {
        let mut body = hold(json!({"scope": "tenant"}));
        body.as_object_mut().unwrap().remove(missing);
        let refused = site.send("POST", &acme.path("holds"), &acme.counsel, Some(body.clone())).await;
        assert_eq!((refused.status, refused.code()), (422, "invalid-body"), "{missing}: {refused:?}");
        body[missing] = json!("  ");
        let refused = site.send("POST", &acme.path("holds"), &acme.counsel, Some(body)).await;
        assert_eq!((refused.status, refused.code()), (422, "unprocessable"), "{missing}: {refused:?}");
    }
    // While no hold stands, an owner appoints and dismisses, and the operator does neither.
    let empty = site.tenant("empty").await;
    let appoint = site.send("POST", "/v1/tenants/empty/tokens", &site.operator, Some(json!({"role": "counsel"}))).await;
    assert_eq!((appoint.status, site.get("/v1/tenants/empty/holds", &empty).await.status), (403, 200), "{appoint:?}");
    let spare = site.send("POST", &acme.path("tokens"), &acme.owner, Some(json!({"role": "counsel"}))).await;
    assert_eq!(site.send("DELETE", &acme.path(&format!("tokens/{}", id(&spare.json))), &acme.owner, None).await.status, 204);
    let kept = site.counsel("acme", &acme.owner).await;
    let placed = acme.place(json!({"scope": "tenant"})).await;
    let token = |token: &str| id_of(token).to_owned();
    let counsel = acme.path(&format!("tokens/{}", token(&acme.counsel)));
    // Nor does an owner who has kept a counsel's token from before: it ends what it placed itself, and so does who has a token from it.
    let made = site.token("acme", &kept, json!({"role": "counsel"})).await;
    for spare in [&kept, &made] {
        for what in ["release", "renew"] {
            assert_eq!(acme.change(spare, &placed, what).await.status, 403, "{what}");
        }
        assert_eq!(site.send("DELETE", &counsel, spare, None).await.status, 403);
    }
    let own = acme.try_place(&kept, json!({"scope": "tenant"})).await;
    assert_eq!((own.status, acme.change(&made, &own.json, "release").await.status), (201, 200), "{own:?}");
    assert_eq!(site.send("DELETE", &acme.path(&format!("tokens/{}", token(&made))), &kept, None).await.status, 204);
    assert_eq!(acme.change(&acme.owner, &placed, "release").await.status, 403);
    assert_eq!(site.send("POST", &acme.path("tokens"), &acme.owner, Some(json!({"role": "counsel"}))).await.status, 403);
    assert_eq!(site.send("DELETE", &counsel, &acme.owner, None).await.status, 403);
    // A counsel makes counsels and nobody else; the operator does where none is left, and releases nothing.
    let second = site.token("acme", &acme.counsel, json!({"role": "counsel", "expires_at": "2024-02-10T00:00:00Z"})).await;
    for role in ["owner", "reader", "eraser"] {
        assert_eq!(site.send("POST", &acme.path("tokens"), &acme.counsel, Some(json!({ "role": role }))).await.status, 403);
        assert_eq!(site.send("POST", &acme.path("tokens"), &site.operator, Some(json!({ "role": role }))).await.status, 403);
    }
    assert_eq!(site.send("POST", &acme.path("tokens"), &site.operator, Some(json!({"role": "counsel"}))).await.status, 403);
    assert_eq!(site.send("DELETE", &counsel, &site.operator, None).await.status, 403);
    assert_eq!(acme.change(&site.operator, &placed, "release").await.status, 403);
    let dismissed = site.send("DELETE", &counsel, &second, None).await;
    assert_eq!(dismissed.status, 204, "{dismissed:?}");
    clock.advance(DAY * 30);
    // A counsel is there, but none who could release it.
    let third = site.token("acme", &site.operator, json!({"role": "counsel"})).await;
    assert_eq!(site.send("DELETE", &acme.path(&format!("tokens/{}", token(&kept))), &third, None).await.status, 204);
    let over = site.send("DELETE", &acme.path(&format!("tokens/{}", token(&second))), &third, None).await;
    assert_eq!(over.status, 204, "{over:?}");
    assert_eq!(site.send("DELETE", &acme.path(&format!("tokens/{}", token(&auditor))), &third, None).await.status, 403);
    let listed = site.get(&acme.path("tokens"), &third).await;
    assert_eq!(listed.json["data"].as_array().unwrap().iter().filter(|token| token["role"] == "counsel").count(), 1, "{listed:?}");
    // Who cannot read a record reads none.
    assert_eq!(acme.put("crm/a", "7", "x").await.status, 201);
    assert_eq!(site.get(&acme.record("crm/a"), &third).await.status, 403);
    let released = acme.change(&third, &placed, "release").await;
    assert_eq!(released.status, 200, "{released:?}");
    assert_eq!(site.send("DELETE", &acme.path(&format!("tokens/{}", token(&third))), &acme.owner, None).await.status, 204);
    // In the system there is no such role.
    let refused = site.send("POST", "/v1/tenants/system/tokens", &site.operator, Some(json!({"role": "counsel"}))).await;
    assert_eq!(refused.status, 422, "{refused:?}");
}

/// HOLD-3: the token that an owner makes is an invitation. It places, releases and dismisses nothing; who accepts it has a token that no
/// owner has seen, once, and it goes with that: whoever has kept a copy ends no hold of the line that it began.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_owner_makes_is_an_invitation_that_makes_one_counsels_token_and_goes() {
    let (site, _) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    let invitation = site.token("acme", &acme.owner, json!({"role": "counsel"})).await;
    let tried = acme.try_place(&invitation, json!({"scope": "tenant"})).await;
    assert_eq!((tried.status, tried.code()), (403, "forbidden"), "{tried:?}");
    assert!(tried.json["detail"].as_str().unwrap().contains("make a counsel's token with it"), "{tried:?}");
    let colleague = acme.path(&format!("tokens/{}", id_of(&acme.counsel)));
    assert_eq!(site.send("DELETE", &colleague, &invitation, None).await.status, 403);
    let auditor = site.send("POST", &acme.path("tokens"), &invitation, Some(json!({"role": "auditor"}))).await;
    assert_eq!(auditor.status, 403, "{auditor:?}");

    // Of two who accept it at once, one does; also while another's hold stands.
    let placed = acme.place(json!({"scope": "tenant"})).await;
    let accept = async || site.send("POST", &acme.path("tokens"), &invitation, Some(json!({"role": "counsel"}))).await;
    let (one, other) = tokio::join!(accept(), accept());
    let (made, late) = if one.status == 201 { (one, other) } else { (other, one) };
    assert_eq!((made.status, late.status), (201, 401), "{made:?} {late:?}");
    let made = made.json["token"].as_str().unwrap();
    let own = acme.try_place(made, json!({"scope": "tenant"})).await;
    assert_eq!(own.status, 201, "{own:?}");
    for what in ["release", "renew"] {
        assert_eq!(acme.change(&invitation, &own.json, what).await.status, 401, "{what}");
        assert_eq!(acme.change(made, &placed, what).await.status, 403, "{what}: of another line");
    }
    let dismissed = site.send("DELETE", &acme.path(&format!("tokens/{}", id_of(made))), &invitation, None).await;
    assert_eq!(dismissed.status, 401, "{dismissed:?}");
    assert_eq!(acme.change(made, &own.json, "release").await.status, 200);
    // The trail has who invited, who accepted, and that the invitation is gone.
    let trail = site.trail("acme", &acme.owner).await;
    let invited = json!(id_of(&invitation));
    let by_it = trail.iter().filter(|entry| entry["principal"] == invited && entry["outcome"] == "allowed");
    let accepted: Vec<&str> = by_it.map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(accepted, ["counsel.appoint", "counsel.dismiss"], "{trail:#?}");
}

/// HOLD-6: who may know of a hold that is not disclosed; the refusal itself says that a legal obligation keeps it.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_told_to_counsels_and_auditors_and_to_the_others_if_it_is_disclosed() {
    let (site, _) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    let auditor = site.token("acme", &acme.owner, json!({"role": "auditor"})).await;
    assert_eq!(acme.put("crm/a", "7", "x").await.status, 201);
    let secret = acme.place(json!({"scope": "subject", "subject": "7"})).await;
    let listed = async |token: &str| {
        let page = site.get(&acme.path("holds"), token).await;
        assert_eq!(page.status, 200, "{page:?}");
        page.json["data"].as_array().unwrap().iter().map(|hold| id(hold).to_owned()).collect::<Vec<_>>()
    };
    let explained = async |token: &str| site.get(&acme.path("collections/crm/retention/a"), token).await.json;
    let (hidden, shown) = (vec![], vec![id(&secret).to_owned()]);
    for (token, seen) in [(&acme.owner, &hidden), (&auditor, &shown), (&acme.counsel, &shown)] {
        assert_eq!(&listed(token).await, seen);
        assert_eq!(acme.hold(token, &secret).await.status, if seen.is_empty() { 404 } else { 200 });
        let told = explained(token).await;
        assert_eq!((&told["held"], &told["holds"]), (&json!(!seen.is_empty()), &json!(seen)), "{told}");
        let why = told["why"].as_str().unwrap();
        let said = if seen.is_empty() { "a legal obligation keeps it".to_owned() } else { format!("legal hold {} keeps it", id(&secret)) };
        assert!(why.starts_with(&said), "{why}");
    }
    let refused = acme.delete("crm/a").await;
    is_held(&refused, "the owner's");
    assert!(!refused.text().contains(id(&secret)), "{refused:?}");
    // Nor does the trail name it to an owner.
    let text = serde_json::to_string(&site.trail("acme", &acme.owner).await).unwrap();
    assert!(text.contains("hold.place") && !text.contains(id(&secret)), "{text}");
    let told = acme.place(json!({"scope": "subject", "subject": "7", "disclosed": true})).await;
    let refused = acme.delete("crm/a").await;
    assert_eq!((refused.code(), &refused.json["hold"]), ("legal-hold", &told["id"]), "{refused:?}");
    let order = acme.shred(json!({"scope": "subject", "subject": "7"})).await;
    assert_eq!((order.status, order.code(), &order.json["hold"]), (423, "legal-hold", &told["id"]), "{order:?}");
    assert_eq!(listed(&acme.owner).await, [id(&told)]);
    assert_eq!(acme.hold(&acme.owner, &told).await.json["matter"], "2024-CV-1");
    assert_eq!(explained(&acme.owner).await["holds"], json!([id(&told)]));
    // Another tenant's counsel knows nothing of it.
    let other = Tenant::make(&site, "other").await;
    assert_eq!(site.get(&acme.path(&format!("holds/{}", id(&told))), &other.counsel).await.status, 404);
    assert_eq!(other.hold(&other.counsel, &told).await.status, 404);
    acme.release(&secret).await;
    acme.release(&told).await;
    // The order that was held takes the record along.
    assert_eq!(acme.order(order.json["order"].as_str().unwrap()).await.status, 200);
    assert_eq!(acme.put("crm/b", "8", "x").await.status, 201);
    let free = site.get(&acme.path("collections/crm/retention/b"), &acme.owner).await.json;
    assert_eq!((&free["held"], &free["holds"]), (&json!(false), &json!([])));
}

/// HOLD-6: who may know neither of rules nor of holds gets the same answer from either; who may know the rules has the law named.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_does_not_tell_a_hold_from_a_law_to_who_may_know_of_neither() {
    let (site, _) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    let law = json!({"period": "4y", "basis": "law 1"});
    let rules = json!([{"name": "books", "from": "created", "minimum": law, "maximum": "9y", "then": "delete"}]);
    for (collection, unit) in [("books", "subject"), ("papers", "record")] {
        let policy = json!({"shred_unit": unit, "retention": {"time_zone": "UTC", "rules": rules}});
        assert_eq!(site.send("PUT", &acme.path(&format!("collections/{collection}")), &acme.owner, Some(policy)).await.status, 201);
    }
    for (at, person) in [("crm/held", "7"), ("files/held", "7"), ("books/kept", "8"), ("papers/kept", "8")] {
        assert_eq!(acme.put(at, person, "x").await.status, 201, "{at}");
    }
    acme.place(json!({"scope": "subject", "subject": "7"})).await;
    let eraser = site.token("acme", &acme.owner, json!({"role": "eraser"})).await;
    // What differs between two answers by themselves is left out.
    let told = |answer: &Answer| {
        let mut json = answer.json.clone();
        for own in ["request_id", "instance", "order"] {
            json.as_object_mut().unwrap().remove(own);
        }
        (answer.status, answer.header("content-type").to_owned(), json)
    };
    let batch = |at: &str| {
        let (collection, key) = at.split_once('/').unwrap();
        json!({"ops": [{"op": "delete", "collection": collection, "key": key}]})
    };
    let record = |at: &str| {
        let (collection, key) = at.split_once('/').unwrap();
        json!({"scope": "record", "collection": collection, "key": key})
    };
    for (held, kept) in [("crm/held", "books/kept"), ("files/held", "papers/kept")] {
        let mut answers = Vec::new();
        for at in [held, kept] {
            let collection = at.split_once('/').unwrap().0;
            let mut asked = vec![
                site.send("DELETE", &acme.record(at), &eraser, None).await,
                site.send("POST", &acme.path("batch"), &eraser, Some(batch(at))).await,
            ];
            let orders = [json!({"scope": "collection", "collection": collection}), record(at)];
            for order in orders.into_iter().take(if collection == "files" || collection == "papers" { 2 } else { 1 }) {
                asked.push(site.send("POST", &acme.path("shreds"), &eraser, Some(order)).await);
            }
            answers.push(asked);
        }
        for (of_hold, of_law) in answers[0].iter().zip(&answers[1]) {
            assert_eq!((of_hold.status, of_hold.code()), (423, "legal-obligation"), "{of_hold:?}");
            assert_eq!(told(of_hold), told(of_law), "{held}, {kept}");
        }
    }
    let owners = acme.delete("books/kept").await;
    assert_eq!(
        (owners.code(), &owners.json["rule"], &owners.json["basis"]),
        ("legal-minimum", &json!("books"), &json!("law 1")),
        "{owners:?}"
    );
}

/// HOLD-6: an order for several persons is denied in part: it is carried out for those whom no hold keeps, and held for the others, who are
/// named; with what a law keeps it is in part, too.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_for_several_persons_is_denied_in_part_for_those_whom_a_hold_keeps() {
    let (site, _) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    for person in ["6", "7", "8", "9"] {
        assert_eq!(acme.put(&format!("crm/{person}"), person, "x").await.status, 201);
    }
    // 9 is held by a record that is under another's key.
    assert_eq!(acme.put("crm/both", "9,10", "x").await.status, 201);
    let (first, second) =
        (acme.place(json!({"scope": "subject", "subject": "7"})).await, acme.place(json!({"scope": "subject", "subject": "10"})).await);
    let eraser = site.token("acme", &acme.owner, json!({"role": "eraser"})).await;
    let order = json!({"scope": "subject", "subjects": ["9", "8", "7", "6"]});
    let send = async |token: &str, key: &str| {
        let request = site.request(Method::POST, &acme.path("shreds"), token).header("prefer", "wait=30");
        Answer::of(request.header("idempotency-key", key).json(&order).send().await.unwrap()).await
    };
    let done = send(&eraser, "once").await;
    assert_eq!((done.status, done.json["state"].as_str(), &done.json["targets"]), (200, Some("done"), &json!(["6", "8"])), "{done:?}");
    let held = done.json["denied"]["order"].clone();
    let denied = json!({"extent": "in-part", "reason": "legal-obligation", "order": held, "targets": ["7", "9"]});
    assert_eq!(done.json["denied"], denied, "{done:?}");
    assert!(!done.text().contains(id(&first)) && !done.text().contains(id(&second)), "{done:?}");
    for (person, status) in [("6", 410), ("7", 200), ("8", 410), ("9", 200)] {
        assert_eq!(acme.get(&format!("crm/{person}")).await.status, status, "{person}");
    }
    // Each is an order of its own, with a salt of its own and a certificate to come.
    let held = held.as_str().unwrap();
    let waits = site.get(&acme.path(&format!("shreds/{held}")), &eraser).await;
    assert_eq!((waits.json["state"].as_str(), waits.json["denied"]["extent"].as_str()), (Some("held"), Some("whole")), "{waits:?}");
    assert!(waits.json["salt"].is_string() && waits.json["salt"] != done.json["salt"], "{waits:?}");
    let given = site.get(&acme.path(&format!("shreds/{}", done.json["id"].as_str().unwrap())), &eraser).await;
    assert_eq!((given.json["state"].as_str(), &given.json["denied"]), (Some("done"), &Value::Null), "{given:?}");
    // The same again, by its key and without: the same two.
    let again = send(&eraser, "once").await;
    assert_eq!((&again.json["id"], &again.json["denied"]), (&done.json["id"], &denied), "{again:?}");
    let anew = send(&eraser, "twice").await;
    assert_eq!((anew.status, &anew.json["denied"]), (200, &denied), "{anew:?}");
    // Those whom holds keep alone are refused, as one is.
    let refused = acme.shred(json!({"scope": "subject", "subjects": ["7", "9"]})).await;
    is_held(&refused, "both");
    assert_eq!(refused.json["order"], held, "it is the same order");
    acme.release(&first).await;
    let part = send(&eraser, "thrice").await;
    let left = |answer: &Answer| answer.json["denied"]["targets"].clone();
    assert_eq!((&part.json["targets"], left(&part)), (&json!(["6", "7", "8"]), json!(["9"])), "{part:?}");
    acme.release(&second).await;
    for order in [held, part.json["denied"]["order"].as_str().unwrap()] {
        let gone = acme.order(order).await;
        assert_eq!((gone.status, gone.json["state"].as_str(), &gone.json["denied"]), (200, Some("done"), &Value::Null), "{gone:?}");
    }
    assert_eq!((acme.get("crm/7").await.status, acme.get("crm/9").await.status), (410, 410));
    assert_eq!(send(&eraser, "once").await.json["denied"], Value::Null, "nothing of it is denied any more");
    // What two persons approve is one thing, and held as such.
    assert_eq!(acme.put("crm/a", "a", "x").await.status, 201);
    assert_eq!(acme.put("crm/b", "b", "x").await.status, 201);
    acme.place(json!({"scope": "subject", "subject": "a"})).await;
    site.token("acme", &acme.owner, json!({"role": "owner"})).await;
    let policy = json!({"approvals": {"shred": ["subject"]}});
    assert_eq!(site.send("PUT", &acme.path("policy"), &acme.owner, Some(policy)).await.status, 200);
    let asked = acme.shred(json!({"scope": "subject", "subjects": ["a", "b"]})).await;
    assert_eq!((asked.status, asked.json["state"].as_str()), (202, Some("waiting-for-approval")), "{asked:?}");
    assert_eq!((&asked.json["targets"], &asked.json["denied"]), (&json!(["a", "b"]), &Value::Null), "{asked:?}");
}

/// Whoever names a held person takes nothing of that person's along.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_about_several_is_held_for_each_of_them() {
    let (site, _) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    // 8 is named second: 7's key seals it.
    assert_eq!(acme.put("crm/both", "7,8", "x").await.status, 201);
    assert_eq!(acme.put("crm/other", "7", "x").await.status, 201);
    let placed = acme.place(json!({"scope": "subject", "subject": "8"})).await;
    is_held(&acme.delete("crm/both").await, "delete");
    is_held(&acme.put("crm/both", "7", "y").await, "overwrite");
    is_held(&acme.shred(json!({"scope": "subject", "subject": "7"})).await, "the first one's key");
    is_held(&acme.shred(json!({"scope": "collection", "collection": "crm"})).await, "the collection's key");
    assert_eq!(acme.delete("crm/other").await.status, 204);
    let order = acme.shred(json!({"scope": "subject", "subject": "9"})).await;
    assert_eq!(order.status, 200, "who never wrote is nobody's: {order:?}");
    acme.release(&placed).await;
    // By then the collection is gone too, or goes with one of the orders: what is left of them is done.
    let gone = acme.get("crm/both").await;
    assert_eq!(gone.status, 410, "{gone:?}");
}

/// Placing takes an idempotency key; so do its other changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_placed_and_released_once_however_often_it_is_sent() {
    let (site, _) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    let send = async |path: &str, key: &str, body: Value| {
        let request = site.request(Method::POST, &acme.path(path), &acme.counsel).header("idempotency-key", key).json(&body);
        Answer::of(request.send().await.unwrap()).await
    };
    let first = send("holds", "a", hold(json!({"scope": "tenant"}))).await;
    let again = send("holds", "a", hold(json!({"scope": "tenant"}))).await;
    assert_eq!((first.status, again.status, &first.json["id"]), (201, 201, &again.json["id"]), "{again:?}");
    let other = send("holds", "a", hold(json!({"scope": "collection", "collection": "crm"}))).await;
    assert_eq!((other.status, other.code()), (422, "idempotency-mismatch"));
    let page = site.get(&acme.path("holds"), &acme.counsel).await;
    assert_eq!(page.json["data"].as_array().unwrap().len(), 1);
    let release = format!("holds/{}/release", id(&first.json));
    for _ in 0..2 {
        let released = send(&release, "b", json!({"reason": "settled"})).await;
        assert_eq!((released.status, released.json["state"].as_str()), (200, Some("released")), "{released:?}");
    }
    // Pages of holds, each once.
    for number in 0..5 {
        acme.place(json!({"scope": "subject", "subject": number.to_string(), "disclosed": number % 2 == 0})).await;
    }
    for (token, all) in [(&acme.counsel, 6), (&acme.owner, 3)] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = site.get(&acme.path(&format!("holds?limit=2{cursor}")), token).await;
            let data = page.json["data"].as_array().unwrap();
            assert!(data.len() == 2 || page.json["next_cursor"].is_null(), "{page:?}");
            seen.extend(data.iter().map(|hold| id(hold).to_owned()));
            match page.json["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
        assert_eq!((seen.len(), distinct.len()), (all, all));
    }
}

//! Every limit of the table, exceeded by one: the status, the code, and the limit's name and value.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use lethe::domain::limits::{self, Limit};
use lethe::domain::{SystemClock, TestClock};
use lethe::vault::store::schema::{self, Table};
use lethe::vault::store::{Commit, Durability, Space, Store as _, Urgency, Write};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::site::{Answer, CRM, Site, raw};

/// The configured limit of a value, other than the default.
const VALUE_LEN: u64 = 100_000;

/// How a limit is exceeded.
enum Way {
    /// By a request with these headers and this body.
    Ask(Method, String, Vec<(String, String)>, Body),
    /// By a value that does not say how long it is.
    Chunked,
    /// By one more unit of a record.
    Units,
    /// By one more change of a collection's rule.
    Rules,
    /// By one more legal hold.
    Holds,
    /// By one more alias of a person.
    Aliases,
    /// By one more report of a person's event.
    Events,
    /// By one more request for a second person, of all or of one token's.
    Approvals(Limit),
    /// By rules that were changed too often for their length.
    Past,
    /// By one more request without a credential.
    Stranger,
}

enum Body {
    Json(Value),
    Bytes(Vec<u8>),
}

/// One more than is accepted.
pub(super) fn one_over(limit: Limit) -> usize {
    usize::try_from(limit.max).unwrap() + 1
}

fn get(path: String) -> Way {
    Way::Ask(Method::GET, path, Vec::new(), Body::Bytes(Vec::new()))
}

fn post(path: &str, body: Value) -> Way {
    Way::Ask(Method::POST, path.into(), Vec::new(), Body::Json(body))
}

fn policy(body: Value) -> Way {
    Way::Ask(Method::PUT, format!("{CRM}2"), Vec::new(), Body::Json(body))
}

/// A put of a record with one header more.
fn header(name: &str, value: String) -> Way {
    headers(vec![(name.into(), value)])
}

fn headers(headers: Vec<(String, String)>) -> Way {
    Way::Ask(Method::PUT, format!("{CRM}/records/a"), headers, Body::Bytes(b"x".to_vec()))
}

/// A batch of one put with these fields besides.
fn batch(fields: &Value) -> Way {
    let mut op = json!({"op": "put", "collection": "crm", "key": "k", "value": "x", "subjects": ["1"]});
    op.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    post("/v1/tenants/acme/batch", json!({"ops": [op]}))
}

/// A hold with these fields.
fn hold(fields: &Value) -> Way {
    post("/v1/tenants/acme/holds", hold_of(fields))
}

fn hold_of(fields: &Value) -> Value {
    let mut hold = json!({"matter": "m", "reason": "r", "custodian": "c"});
    hold.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    hold
}

fn spaces(path: &str, limit: Limit) -> Way {
    let json = vec![("content-type".into(), "application/json".into())];
    Way::Ask(Method::POST, path.into(), json, Body::Bytes(vec![b' '; one_over(limit)]))
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("t{number}")).collect()
}

fn pairs(count: usize) -> Value {
    texts(count).into_iter().map(|name| (name, json!("x"))).collect::<serde_json::Map<_, _>>().into()
}

/// Those of how long data is kept.
fn cases_of_retention() -> Vec<(Limit, Way)> {
    let rule = |name: &str, basis: usize| {
        let minimum = json!({"period": "1d", "basis": "x".repeat(basis)});
        json!({"name": name, "from": "created", "minimum": minimum, "maximum": "1y", "then": "delete"})
    };
    let rules = |rules: Vec<Value>| policy(json!({"retention": {"time_zone": "UTC", "rules": rules}}));
    let longest = one_over(limits::BASIS_LEN) - 1;
    let many = texts(one_over(limits::ITEMS_PER_LIST));
    vec![
        (limits::RETENTION_LEN, rules(many.iter().skip(1).map(|name| rule(name, longest)).collect())),
        (limits::ITEMS_PER_LIST, rules(many.iter().map(|name| rule(name, 1)).collect())),
        (limits::BASIS_LEN, rules(vec![rule("a", longest + 1)])),
        (limits::HOLD_SUBJECTS, hold(&json!({"scope": "subject", "subjects": texts(one_over(limits::HOLD_SUBJECTS))}))),
        (
            limits::HOLD_RECORDS,
            hold(&json!({"scope": "records", "records": vec![json!({"collection": "crm", "key": "a"}); one_over(limits::HOLD_RECORDS)]})),
        ),
        (limits::HOLD_TEXT_LEN, hold(&json!({"scope": "tenant", "matter": "x".repeat(one_over(limits::HOLD_TEXT_LEN))}))),
        (limits::HOLDS, Way::Holds),
        (limits::APPROVAL_WINDOW, {
            let days = one_over(limits::APPROVAL_WINDOW);
            let body = json!({"approvals": {"window": format!("{days}d")}});
            Way::Ask(Method::PUT, "/v1/tenants/acme/policy".into(), Vec::new(), Body::Json(body))
        }),
        (limits::APPROVALS_PENDING, Way::Approvals(limits::APPROVALS_PENDING)),
        (limits::APPROVALS_PENDING_OF_TOKEN, Way::Approvals(limits::APPROVALS_PENDING_OF_TOKEN)),
        (
            limits::GRACE_DAYS,
            post("/v1/tenants/acme/termination", json!({"confirm": "acme", "grace": format!("{}d", one_over(limits::GRACE_DAYS))})),
        ),
        (limits::RETENTION_RUN, post("/v1/jobs/retention/runs", json!({"limit": one_over(limits::RETENTION_RUN)}))),
    ]
}

/// Every way to exceed a limit that a refusal of its own stands for.
fn cases() -> Vec<(Limit, Way)> {
    let mut cases = cases_of_retention();
    cases.extend(cases_of_the_rest());
    cases
}

fn cases_of_the_rest() -> Vec<(Limit, Way)> {
    let text = |limit: Limit| "x".repeat(one_over(limit));
    let media_type = format!("text/{}", "x".repeat(one_over(limits::CONTENT_TYPE_LEN) - 5));
    let items = one_over(limits::ITEMS_PER_LIST);
    let deletes: Vec<Value> =
        texts(one_over(limits::BATCH_OPS)).iter().map(|key| json!({"op": "delete", "collection": "crm", "key": key})).collect();
    let query = format!("{CRM}/query");
    vec![
        (limits::NAME_LEN, get(format!("/v1/tenants/{}", text(limits::NAME_LEN)))),
        (limits::NAME_LEN, get(format!("/v1/tenants/acme/collections/{}", text(limits::NAME_LEN)))),
        (limits::KEY_LEN, get(format!("{CRM}/records/{}", text(limits::KEY_LEN)))),
        (limits::KEY_LEN, batch(&json!({"key": text(limits::KEY_LEN)}))),
        (limits::KEY_SEGMENTS, get(format!("{CRM}/records/{}", vec!["a"; one_over(limits::KEY_SEGMENTS)].join("/")))),
        (limits::SUBJECT_LEN, header("lethe-subject", text(limits::SUBJECT_LEN))),
        (limits::SUBJECT_LEN, post(&query, json!({"subject": text(limits::SUBJECT_LEN)}))),
        (limits::SUBJECTS_PER_RECORD, header("lethe-subject", texts(one_over(limits::SUBJECTS_PER_RECORD)).join(","))),
        (limits::SUBJECTS_PER_RECORD, batch(&json!({"subjects": texts(one_over(limits::SUBJECTS_PER_RECORD))}))),
        (limits::METADATA_LEN, header("lethe-meta-a", text(limits::METADATA_LEN))),
        (limits::METADATA_LEN, batch(&json!({"custom": {"a": text(limits::METADATA_LEN)}}))),
        (limits::VALUE_LEN, Way::Ask(Method::PUT, format!("{CRM}/records/a"), Vec::new(), Body::Bytes(vec![0; 100_001]))),
        (limits::VALUE_LEN, Way::Chunked),
        (limits::INLINE_VALUE_LEN, batch(&json!({"value": text(limits::INLINE_VALUE_LEN)}))),
        (limits::JSON_BODY_LEN, spaces(&query, limits::JSON_BODY_LEN)),
        (limits::BATCH_BODY_LEN, spaces("/v1/tenants/acme/batch", limits::BATCH_BODY_LEN)),
        (limits::BATCH_OPS, post("/v1/tenants/acme/batch", json!({ "ops": deletes }))),
        (limits::LIST_LIMIT, get(format!("{CRM}/records?limit={}", one_over(limits::LIST_LIMIT)))),
        (limits::LIST_LIMIT, post(&query, json!({"limit": one_over(limits::LIST_LIMIT)}))),
        (
            limits::SHRED_SUBJECTS,
            post("/v1/tenants/acme/shreds", json!({"scope": "subject", "subjects": texts(one_over(limits::SHRED_SUBJECTS))})),
        ),
        (limits::RECORD_UNITS, Way::Units),
        (limits::RULE_CHANGES, Way::Rules),
        (limits::PAST_RETENTION_LEN, Way::Past),
        (limits::HEADERS_LEN, header("x-large", text(limits::HEADERS_LEN))),
        (limits::HEADERS_COUNT, headers(texts(one_over(limits::HEADERS_COUNT)).into_iter().map(|name| (name, "x".into())).collect())),
        (limits::URI_LEN, get(format!("{CRM}/records?cursor={}", text(limits::URI_LEN)))),
        (limits::IDEMPOTENCY_KEY_LEN, header("idempotency-key", text(limits::IDEMPOTENCY_KEY_LEN))),
        (limits::CONTENT_TYPE_LEN, header("content-type", media_type.clone())),
        (limits::CONTENT_TYPE_LEN, batch(&json!({"content_type": media_type}))),
        (limits::ITEMS_PER_LIST, policy(json!({"categories": texts(items)}))),
        (limits::ITEMS_PER_LIST, policy(json!({"purposes": texts(items)}))),
        (limits::ITEMS_PER_LIST, post("/v1/tenants/acme/tokens", json!({"role": "reader", "collections": texts(items)}))),
        (limits::ITEMS_PER_LIST, headers(texts(items).iter().map(|name| (format!("lethe-meta-{name}"), "x".into())).collect())),
        (limits::ITEMS_PER_LIST, batch(&json!({"custom": pairs(items)}))),
        (limits::ITEM_LEN, policy(json!({"categories": [text(limits::ITEM_LEN)]}))),
        (limits::ITEM_LEN, policy(json!({"purposes": [text(limits::ITEM_LEN)]}))),
        (limits::ITEM_LEN, header("lethe-purpose", text(limits::ITEM_LEN))),
        (
            limits::WAIT_SECS,
            Way::Ask(
                Method::POST,
                "/v1/tenants/acme/shreds".into(),
                vec![("prefer".into(), format!("wait={}", one_over(limits::WAIT_SECS)))],
                Body::Json(json!({"scope": "subject", "subject": "1"})),
            ),
        ),
        (limits::SUBJECT_ALIASES, Way::Aliases),
        (limits::SUBJECT_EVENTS, Way::Events),
        // The last: no stranger is told anything else any more.
        (limits::REFUSED_CREDENTIALS, Way::Stranger),
    ]
}

#[test]
fn every_limit_has_a_case() {
    let tried: BTreeSet<&str> = cases().iter().map(|(limit, _)| limit.name).collect();
    let missing: Vec<&str> = limits::ALL.iter().map(|limit| limit.name).filter(|name| !tried.contains(name)).collect();
    assert!(missing.is_empty(), "say in tests/api/limits.rs how {missing:?} are exceeded, and see that the refusal names them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_a_limit_names_it_and_its_value() {
    let clock = TestClock::at(lethe::domain::Clock::now(&SystemClock));
    let site = Site::open_at(&format!("[limits]\nvalue_len_bytes = {VALUE_LEN}\n"), Arc::new(clock)).await;
    let owner = site.acme().await;
    for (limit, way) in cases() {
        let told = match &way {
            Way::Ask(method, path, ..) => format!("{}: {method} {path:.60}", limit.name),
            Way::Chunked
            | Way::Units
            | Way::Rules
            | Way::Holds
            | Way::Aliases
            | Way::Events
            | Way::Approvals(_)
            | Way::Past
            | Way::Stranger => limit.name.to_owned(),
        };
        let answer = way.exceed(&site, &owner).await;
        let (status, code) = match limit.name {
            "value_len" | "inline_value_len" | "json_body_len" | "batch_body_len" => (413, "too-large"),
            "refused_credentials" => (429, "too-many-requests"),
            _ => (400, "limit-exceeded"),
        };
        assert_eq!((answer.status, answer.code()), (status, code), "{told}: {answer:?}");
        let max = if limit.name == "value_len" { VALUE_LEN } else { limit.max };
        assert_eq!((&answer.json["limit"], &answer.json["limit_max"]), (&json!(limit.name), &json!(max)), "{told}: {answer:?}");
    }
    assert_eq!(site.get(&format!("{CRM}/records"), &owner).await.json["data"], json!([]), "nothing was stored");
}

impl Way {
    async fn exceed(self, site: &Site, owner: &str) -> Answer {
        match self {
            Self::Ask(method, path, headers, body) => {
                // A connection of its own: one whose request was refused half-way is closed.
                let client = Client::of(reqwest::Client::builder().pool_max_idle_per_host(0));
                let mut request = client.request(method, format!("{}{path}", site.server.url())).bearer_auth(owner);
                if !headers.iter().any(|(name, _)| name == "lethe-subject") {
                    request = request.header("lethe-subject", "1");
                }
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                let request = match body {
                    Body::Json(body) => request.json(&body),
                    Body::Bytes(bytes) => request.body(bytes),
                };
                Answer::of(request.send().await.unwrap()).await
            }
            Self::Chunked => one_chunk_too_many(site, owner).await,
            Self::Units => one_unit_too_many(site, owner).await,
            Self::Rules => one_change_too_many(site, owner).await,
            Self::Holds => one_hold_too_many(site).await,
            Self::Aliases => one_alias_too_many(site, owner).await,
            Self::Events => one_report_too_many(site, owner).await,
            Self::Approvals(limit) => one_request_too_many(site, limit).await,
            Self::Past => past_too_long(site, owner).await,
            Self::Stranger => {
                for _ in 0..limits::REFUSED_CREDENTIALS.max {
                    assert_eq!(site.get("/v1/tenants", "nobody's").await.status, 401);
                }
                site.get("/v1/tenants", "nobody's").await
            }
        }
    }
}

/// By hand, and without the end: nothing is left unread, so the answer is not lost with the connection.
async fn one_chunk_too_many(site: &Site, owner: &str) -> Answer {
    let head = format!(
        "PUT {CRM}/records/a HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {owner}\r\nlethe-subject: 1\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let len = VALUE_LEN + 1;
    let sent = format!("{head}{len:x}\r\n{}", "x".repeat(usize::try_from(len).unwrap()));
    let answer = raw(site, sent.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, headers: reqwest::header::HeaderMap::new(), bytes: body.into(), json: serde_json::from_str(body).unwrap() }
}

/// A collection's rule to and fro; a policy that leaves it as it is changes nothing.
async fn one_change_too_many(site: &Site, owner: &str) -> Answer {
    let rule =
        async |rule: &str| site.send("PUT", "/v1/tenants/acme/collections/rules", owner, Some(json!({"secondary_subjects": rule}))).await;
    assert_eq!(rule("keep").await.status, 201);
    for change in 0..limits::RULE_CHANGES.max {
        assert_eq!(rule(if change % 2 == 0 { "delete" } else { "keep" }).await.status, 200, "{change}");
    }
    assert_eq!(rule("keep").await.status, 200);
    rule("delete").await
}

async fn one_alias_too_many(site: &Site, owner: &str) -> Answer {
    let add = async |number: u64| {
        let body = json!({"subject": "many", "alias": format!("many-{number}")});
        site.send("POST", "/v1/tenants/acme/subjects/aliases", owner, Some(body)).await
    };
    for number in 0..limits::SUBJECT_ALIASES.max {
        let added = add(number).await;
        assert!(matches!(added.status, 200 | 201), "{added:?}");
    }
    add(limits::SUBJECT_ALIASES.max).await
}

async fn one_report_too_many(site: &Site, owner: &str) -> Answer {
    let report = async |number: u64| {
        let body = json!({"subject": "eventful", "event": "moved", "at": format!("1{number:03}-01-31")});
        site.send("POST", "/v1/tenants/acme/subjects/events", owner, Some(body)).await
    };
    for number in 0..limits::SUBJECT_EVENTS.max {
        assert_eq!(report(number).await.status, 200, "{number}");
    }
    report(limits::SUBJECT_EVENTS.max).await
}

/// In a tenant of their own: they would keep what the others need.
async fn one_hold_too_many(site: &Site) -> Answer {
    let owner = site.tenant("held").await;
    let counsel = site.counsel("held", &owner).await;
    let place = async || {
        let body = hold_of(&json!({"scope": "subject", "subject": "7"}));
        site.send("POST", "/v1/tenants/held/holds", &counsel, Some(body)).await
    };
    for _ in 0..limits::HOLDS.max {
        assert_eq!(place().await.status, 201);
    }
    place().await
}

/// Of persons who never wrote, each asked for by itself.
async fn one_request_too_many(site: &Site, limit: Limit) -> Answer {
    let tenant = if limit.name == limits::APPROVALS_PENDING.name { "asked" } else { "asked-by-one" };
    let owner = site.tenant(tenant).await;
    site.token(tenant, &owner, json!({"role": "owner"})).await;
    let policy = json!({"approvals": {"shred": ["subject"]}});
    assert_eq!(site.send("PUT", &format!("/v1/tenants/{tenant}/policy"), &owner, Some(policy)).await.status, 200);
    let ask = async |token: &str, person: u64| {
        let body = json!({"scope": "subject", "subject": person.to_string()});
        site.send("POST", &format!("/v1/tenants/{tenant}/shreds"), token, Some(body)).await
    };
    let share = limits::APPROVALS_PENDING_OF_TOKEN.max;
    let mut eraser = String::new();
    for person in 0..limit.max {
        if person % share == 0 {
            eraser = site.token(tenant, &owner, json!({"role": "eraser"})).await;
        }
        assert_eq!(ask(&eraser, person).await.status, 202);
    }
    assert_eq!(ask(&eraser, limit.max - 1).await.status, 202, "the same is one");
    if limit == limits::APPROVALS_PENDING {
        return ask(&owner, limit.max).await;
    }
    let late = ask(&eraser, limit.max).await;
    assert_eq!(ask(&owner, limit.max).await.status, 202, "nobody else's place is taken");
    late
}

/// Long rules that are changed again and again; what leaves them as they are adds nothing.
async fn past_too_long(site: &Site, owner: &str) -> Answer {
    let put = async |number: usize| {
        let minimum = json!({"period": "1y", "basis": format!("{number:0>512}")});
        let name = |of: usize| format!("{of:x>8}");
        let rules: Vec<Value> =
            (0..20).map(|of| json!({"name": name(of), "from": "created", "minimum": minimum, "maximum": "2y", "then": "delete"})).collect();
        let policy = json!({"retention": {"time_zone": "UTC", "rules": rules}});
        site.send("PUT", "/v1/tenants/acme/collections/past", owner, Some(policy)).await
    };
    assert_eq!(put(0).await.status, 201);
    let len = serde_json::to_vec(&site.get("/v1/tenants/acme/collections/past", owner).await.json["retention"]).unwrap().len() as u64;
    let fit = usize::try_from(limits::PAST_RETENTION_LEN.max / len).unwrap();
    for number in 1..=fit {
        for _ in 0..2 {
            let put = put(number).await;
            assert_eq!(put.status, 200, "{number}: {put:?}");
        }
    }
    put(fit + 1).await
}

/// A record with as many units as it may have: its second one really, the others as rows that such puts would have left. Then
/// one more person.
async fn one_unit_too_many(site: &Site, owner: &str) -> Answer {
    site.collection("acme", "files", owner, "record").await;
    let path = "/v1/tenants/acme/collections/files/records/a";
    let store = &site.server.rooms().store;
    let units = schema::table(Table::Unit);
    let rows = async || store.scan(Space::Control, &units.from, &units.to, usize::MAX).await.unwrap();
    let before = rows().await;
    assert_eq!(site.put(path, owner, "1", "x").await.status, 201);
    // One under the record's name, one more under the person's; the former is the shorter.
    let made: Vec<_> = rows().await.into_iter().filter(|row| before.iter().all(|old| old.key != row.key)).collect();
    assert_eq!(made.len(), 2);
    let of_record = made.iter().min_by_key(|row| row.key.len()).unwrap();
    let (place, _slot) = of_record.key.split_at(of_record.key.len() - 6);
    let row = |slot: u64| {
        let key = [place, &slot.to_be_bytes()[2..]].concat();
        Write::Put { space: Space::Control, key: Bytes::from(key), value: of_record.value.clone() }
    };
    let fill = async |count: u64| {
        let writes = (0..count).map(|number| row(0xffff_0000_0000 + number)).collect();
        let commit = Commit { checks: vec![], writes, tail: None, durability: Durability::Synced, urgency: Urgency::Normal };
        store.commit(commit).await.unwrap();
    };
    fill(limits::RECORD_UNITS.max - 2).await;
    assert_eq!(site.put(path, owner, "2", "x").await.status, 204, "the last one");
    site.put(path, owner, "3", "x").await
}

//! What is sent: to every route what it answers, and what it refuses, with canaries wherever a byte can be chosen.

use std::{fs, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lethe::{
    domain::{Clock as _, SystemClock},
    vault::ops::bundle::{Frames, Kind, documents::SealedFrame, frames},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::prober::{Answer, Ask, Prober};
use crate::age::PAIRS;
use crate::site::{Server, Site, succeeded};

/// Values over it are refused; the setting of this test.
pub(super) const VALUE_LIMIT: usize = 600_000;

/// Categories of what is shredded stand in its certificate, which anybody may read (docs/threat-model.md).
pub(super) const PUBLIC: &str = "public: a category";

const TENANTS: (&str, &str) = ("POST /v1/tenants", "GET /v1/tenants");
const TENANT: &str = "GET /v1/tenants/{tenant}";
const MAKE_TOKEN: &str = "POST /v1/tenants/{tenant}/tokens";
const TOKENS: &str = "GET /v1/tenants/{tenant}/tokens";
const REVOKE: &str = "DELETE /v1/tenants/{tenant}/tokens/{id}";
const COLLECTIONS: &str = "GET /v1/tenants/{tenant}/collections";
const PUT_COLLECTION: &str = "PUT /v1/tenants/{tenant}/collections/{collection}";
const COLLECTION: &str = "GET /v1/tenants/{tenant}/collections/{collection}";
const LIST: &str = "GET /v1/tenants/{tenant}/collections/{collection}/records";
const QUERY: &str = "POST /v1/tenants/{tenant}/collections/{collection}/query";
const PUT: &str = "PUT /v1/tenants/{tenant}/collections/{collection}/records/{key}";
const GET: &str = "GET /v1/tenants/{tenant}/collections/{collection}/records/{key}";
const HEAD: &str = "HEAD /v1/tenants/{tenant}/collections/{collection}/records/{key}";
const DELETE: &str = "DELETE /v1/tenants/{tenant}/collections/{collection}/records/{key}";
const BATCH: &str = "POST /v1/tenants/{tenant}/batch";
const SHRED: &str = "POST /v1/tenants/{tenant}/shreds";
const SHRED_STATE: &str = "GET /v1/tenants/{tenant}/shreds/{id}";
const CERTIFICATE: &str = "GET /v1/certificates/{id}";
const AUDIT: &str = "GET /v1/tenants/{tenant}/audit";
const EXPLAIN: &str = "GET /v1/tenants/{tenant}/collections/{collection}/retention/{key}";
const SIMULATE: &str = "POST /v1/tenants/{tenant}/collections/{collection}/simulations";
const MARKED: &str = "GET /v1/tenants/{tenant}/collections/{collection}/marked";
const REPORTS: &str = "GET /v1/tenants/{tenant}/retention/reports";
const REPORT: &str = "GET /v1/tenants/{tenant}/retention/reports/{id}";
const RUN: &str = "POST /v1/jobs/retention/runs";
const PROGRESS: &str = "GET /v1/jobs/retention/runs";
const SNAPSHOT: &str = "POST /v1/jobs/snapshots";
const LET_GO: &str = "DELETE /v1/jobs/snapshots/{id}";

const PLACE: &str = "POST /v1/tenants/{tenant}/holds";
const HOLDS: &str = "GET /v1/tenants/{tenant}/holds";
const HOLD: &str = "GET /v1/tenants/{tenant}/holds/{id}";
const RENEW: &str = "POST /v1/tenants/{tenant}/holds/{id}/renew";
const RELEASE: &str = "POST /v1/tenants/{tenant}/holds/{id}/release";
const ADD_ALIAS: &str = "POST /v1/tenants/{tenant}/subjects/aliases";
const ASK_ALIASES: &str = "POST /v1/tenants/{tenant}/subjects/aliases/query";
const REMOVE_ALIAS: &str = "POST /v1/tenants/{tenant}/subjects/aliases/remove";
const EXPORT: &str = "POST /v1/tenants/{tenant}/export";
const IMPORT: &str = "POST /v1/tenants/{tenant}/import";
const REPORT_EVENT: &str = "POST /v1/tenants/{tenant}/subjects/events";
const ASK_EVENTS: &str = "POST /v1/tenants/{tenant}/subjects/events/query";
const REMOVE_EVENT: &str = "POST /v1/tenants/{tenant}/subjects/events/remove";

const PUT_POLICY: &str = "PUT /v1/tenants/{tenant}/policy";
const POLICY: &str = "GET /v1/tenants/{tenant}/policy";
const APPROVALS: &str = "GET /v1/tenants/{tenant}/approvals";
const APPROVAL: &str = "GET /v1/tenants/{tenant}/approvals/{id}";
const APPROVE: &str = "POST /v1/tenants/{tenant}/approvals/{id}/approve";
const REFUSE: &str = "POST /v1/tenants/{tenant}/approvals/{id}/refuse";
const WITHDRAW: &str = "POST /v1/tenants/{tenant}/approvals/{id}/withdraw";
const SHORTEN: &str = "POST /v1/tenants/{tenant}/collections/{collection}/shortenings";
const BYPASS: &str = "POST /v1/tenants/{tenant}/collections/{collection}/bypasses";

const SUSPEND: &str = "POST /v1/tenants/{tenant}/suspend";
const RESUME: &str = "POST /v1/tenants/{tenant}/resume";
const TERMINATE: &str = "POST /v1/tenants/{tenant}/termination";
const TERMINATION: &str = "GET /v1/tenants/{tenant}/termination";
const CANCEL: &str = "POST /v1/tenants/{tenant}/termination/cancel";
const STATES: &str = "GET /v1/tenants/{tenant}/states";

/// What was put in, to be read and shredded later.
pub(super) struct Store {
    pub(super) tenant: String,
    pub(super) owner: String,
    people: String,
    files: String,
    notes: String,
    subject: String,
    key: String,
    large: String,
    /// Declared by every collection.
    purpose: String,
}

impl Store {
    fn at(&self, rest: &str) -> String {
        format!("/v1/tenants/{}{rest}", self.tenant)
    }

    fn record(&self, collection: &str, key: &str) -> String {
        self.at(&format!("/collections/{collection}/records/{key}"))
    }
}

fn pairs(headers: &[(&str, String)]) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

async fn get(p: &Prober, route: &str, path: String, token: &str, status: u16) -> Answer {
    p.ask(Ask { route, path, token, status, ..Ask::default() }).await
}

async fn send(p: &Prober, route: &str, path: String, token: &str, body: Value, status: u16) -> Answer {
    text(p, route, path, token, body.to_string(), status).await
}

async fn text(p: &Prober, route: &str, path: String, token: &str, body: String, status: u16) -> Answer {
    let headers = pairs(&[("content-type", "application/json".into())]);
    p.ask(Ask { route, path, token, headers, body: body.into_bytes(), status }).await
}

async fn put(p: &Prober, path: String, token: &str, headers: &[(&str, String)], body: Vec<u8>, status: u16) -> Answer {
    p.ask(Ask { route: PUT, path, token, headers: pairs(headers), body, status }).await
}

/// A value with a canary in every 4 KiB.
fn large(p: &Prober, len: usize) -> Vec<u8> {
    let mut value = vec![b'.'; len];
    for part in value.chunks_mut(4_096).filter(|part| part.len() >= 64) {
        let canary = p.canary("a large value");
        part[17..17 + canary.len()].copy_from_slice(canary.as_bytes());
    }
    value
}

/// A hexadecimal id that is a canary's encoding, and so a canary itself.
fn id(p: &Prober) -> String {
    let canary = p.canary("an id");
    hex::encode(&canary.as_bytes()[4..20])
}

/// Fills a store of its own.
pub(super) async fn fill(p: &Prober) -> Store {
    let operator = p.operator.clone();
    let store = tenants(p, &operator).await;
    collections(p, &store).await;
    tokens(p, &store).await;
    records(p, &store).await;
    refused_records(p, &store).await;
    lists(p, &store).await;
    batches(p, &store).await;
    retention(p, &store).await;
    aliases(p, &store).await;
    bundles(p, &store).await;
    events(p, &store).await;
    holds(p, &store).await;
    two_persons(p, &store).await;
    states(p, &store).await;
    evidence(p, &store).await;
    everywhere(p, &store).await;
    store
}

async fn tenants(p: &Prober, operator: &str) -> Store {
    let tenant = p.canary("a tenant's name");
    let made = send(p, TENANTS.0, "/v1/tenants".into(), operator, json!({ "tenant": tenant }), 201).await;
    p.came_back(&made, &tenant);
    let owner = made.json()["token"].as_str().unwrap().to_owned();
    p.adopt_token("an owner's token", &owner);
    send(p, TENANTS.0, "/v1/tenants".into(), operator, json!({ "tenant": tenant }), 409).await;
    for (body, status) in [
        (format!("{{\"tenant\": \"{}", p.canary("broken JSON")), 400),
        (json!({"tenant": {p.canary("a wrong type"): 1}}).to_string(), 422),
        (json!({"tenant": [p.canary("a wrong type")]}).to_string(), 422),
        (json!({"tenant": "t", p.canary("an unknown field"): p.canary("its value")}).to_string(), 422),
        (json!({"tenant": format!("{}!", p.canary("a bad name"))}).to_string(), 400),
        (json!({"tenant": p.canary("a long name").repeat(4)}).to_string(), 400),
        (format!("{{\"tenant\":\"t\"}}{}", p.canary("after the JSON")), 400),
        (json!({"tenant": p.canary("a long body").repeat(60_000)}).to_string(), 413),
    ] {
        text(p, TENANTS.0, "/v1/tenants".into(), operator, body, status).await;
    }
    let content_type = format!("text/{}", p.canary("a content type"));
    let body = json!({"tenant": p.canary("a name in another type")}).to_string().into_bytes();
    let headers = pairs(&[("content-type", content_type)]);
    p.ask(Ask { route: TENANTS.0, path: "/v1/tenants".into(), token: operator, headers, body, status: 415 }).await;
    let wrong = format!("lethe_usr_{}_{}", id(p), p.canary("a wrong secret").repeat(2)[..43].to_owned());
    for token in [wrong, p.canary("no token")] {
        send(p, TENANTS.0, "/v1/tenants".into(), &token, json!({"tenant": p.canary("a stranger's name")}), 401).await;
        get(p, TENANT, format!("/v1/tenants/{tenant}"), &token, 401).await;
    }
    for scheme in ["Basic", "Bearer", "Bearer  ", "Digest"] {
        let headers = pairs(&[("authorization", format!("{scheme} {}", p.canary("a credential")))]);
        p.ask(Ask { route: TENANTS.1, path: "/v1/tenants".into(), headers, status: 401, ..Ask::default() }).await;
    }
    let listed = get(p, TENANTS.1, "/v1/tenants".into(), operator, 200).await;
    p.came_back(&listed, &tenant);
    for query in
        [format!("cursor={}", p.canary("a cursor")), format!("{}=1", p.canary("a parameter")), format!("limit={}", p.canary("a limit"))]
    {
        get(p, TENANTS.1, format!("/v1/tenants?{query}"), operator, 400).await;
    }
    let read = get(p, TENANT, format!("/v1/tenants/{tenant}"), &owner, 200).await;
    p.came_back(&read, &tenant);
    let other = format!("/v1/tenants/{}", p.canary("another tenant's name"));
    get(p, TENANT, other, &owner, 404).await;
    let names = ["a collection of people", "a collection of files", "a collection of notes", "a subject", "a key", "a large record's key"];
    let [people, files, notes, subject, key, large] = names.map(|what| p.canary(what));
    let key = format!("{key}/{}%40example.org", p.canary("a key's second segment"));
    Store { tenant, owner, people, files, notes, subject, key, large, purpose: p.canary("a purpose") }
}

async fn collections(p: &Prober, store: &Store) {
    for (collection, unit) in [(&store.people, "subject"), (&store.files, "collection"), (&store.notes, "record")] {
        let (category, purpose) = (p.canary(PUBLIC), &store.purpose);
        let path = store.at(&format!("/collections/{collection}"));
        let policy = json!({"shred_unit": unit, "categories": [category], "purposes": [purpose]});
        send(p, PUT_COLLECTION, path.clone(), &store.owner, policy, 201).await;
        let read = get(p, COLLECTION, path, &store.owner, 200).await;
        p.came_back(&read, &category);
        p.came_back(&read, purpose);
    }
    let listed = get(p, COLLECTIONS, store.at("/collections"), &store.owner, 200).await;
    p.came_back(&listed, &store.people);
    get(p, COLLECTIONS, store.at(&format!("/collections?cursor={}", p.canary("a cursor"))), &store.owner, 400).await;
    let path = store.at(&format!("/collections/{}", p.canary("a collection that was refused")));
    for (policy, status) in [
        (json!({"retention": p.canary("a retention")}), 422),
        (json!({"shred_unit": p.canary("a unit")}), 422),
        (json!({"categories": p.canary("categories")}), 422),
        (json!({"purposes": [p.canary("a purpose").repeat(8)]}), 400),
        (json!({p.canary("a field"): 1}), 422),
    ] {
        send(p, PUT_COLLECTION, path.clone(), &store.owner, policy, status).await;
    }
    get(p, COLLECTION, path, &store.owner, 404).await;
}

/// A tenant of which nothing is shredded: its categories stay its own.
pub(super) async fn bystander(p: &Prober) {
    let (tenant, category) = (p.canary("a bystander's name"), p.canary("a bystander's category"));
    let made = send(p, TENANTS.0, "/v1/tenants".into(), &p.operator, json!({ "tenant": tenant }), 201).await;
    let owner = made.json()["token"].as_str().unwrap().to_owned();
    let path = format!("/v1/tenants/{tenant}/collections/{}", p.canary("a bystander's collection"));
    let made = send(p, PUT_COLLECTION, path.clone(), &owner, json!({ "categories": [category] }), 201).await;
    p.came_back(&made, &category);
    let value = p.canary("a bystander's value").into_bytes();
    put(p, format!("{path}/records/{}", p.canary("a bystander's key")), &owner, &[("lethe-subject", "x".into())], value, 201).await;
}

async fn tokens(p: &Prober, store: &Store) {
    let path = store.at("/tokens");
    let prefix = p.canary("a token's prefix");
    let body = json!({"role": "reader", "prefix": prefix, "collections": [store.people]});
    let made = send(p, MAKE_TOKEN, path.clone(), &store.owner, body, 201).await.json();
    let (token, token_id) = (made["token"].as_str().unwrap(), made["id"].as_str().unwrap());
    p.adopt_token("a reader's token", token);
    let listed = get(p, TOKENS, path.clone(), &store.owner, 200).await;
    p.came_back(&listed, &prefix);
    get(p, TOKENS, format!("{path}?cursor={}", p.canary("a cursor")), &store.owner, 400).await;
    // Narrowed to another prefix: it may not even know.
    get(p, GET, store.record(&store.people, &p.canary("out of reach")), token, 404).await;
    get(p, AUDIT, store.at("/audit"), token, 403).await;
    for body in [
        json!({"role": p.canary("a role")}),
        json!({"role": "reader", "kind": p.canary("a kind")}),
        json!({"role": "reader", "expires_at": p.canary("a time")}),
        json!({"role": "reader", "collections": p.canary("collections")}),
        json!({"role": "reader", p.canary("a field"): 1}),
    ] {
        send(p, MAKE_TOKEN, path.clone(), &store.owner, body, 422).await;
    }
    let body = json!({"role": "reader", "collections": [format!("{}!", p.canary("a collection"))]});
    send(p, MAKE_TOKEN, path.clone(), &store.owner, body, 400).await;
    get(p, REVOKE, format!("{path}/{}", p.canary("a token's id")), &store.owner, 400).await;
    get(p, REVOKE, format!("{path}/{}", id(p)), &store.owner, 404).await;
    get(p, REVOKE, format!("{path}/{token_id}"), &store.owner, 204).await;
    get(p, LIST, store.record(&store.people, "").trim_end_matches('/').to_owned(), token, 401).await;
}

/// The headers of a full record; the canaries that come back with it are given, too.
fn full(p: &Prober, store: &Store) -> (Vec<(&'static str, String)>, Vec<String>) {
    let [second, pair, media, idempotency] =
        ["a second subject", "a custom pair", "a content type", "an idempotency key"].map(|what| p.canary(what));
    let name: &'static str = format!("lethe-meta-{}", p.canary("a custom pair's name")).leak();
    let headers = vec![
        ("lethe-subject", format!("{},{second}%40example.org", store.subject)),
        (name, pair.clone()),
        ("content-type", format!("text/x-{media}; charset=utf-8")),
        ("lethe-purpose", store.purpose.clone()),
        ("idempotency-key", idempotency),
    ];
    (headers, vec![second, pair, media, name.to_owned()])
}

async fn records(p: &Prober, store: &Store) {
    for collection in [&store.people, &store.files, &store.notes] {
        let value = p.canary("a small value");
        let path = store.record(collection, &store.key);
        let (headers, texts) = full(p, store);
        put(p, path.clone(), &store.owner, &headers, value.clone().into_bytes(), 201).await;
        // Again under its idempotency key; and another request under the same.
        put(p, path.clone(), &store.owner, &headers, value.clone().into_bytes(), 201).await;
        let other = p.canary("another value under the same idempotency key").into_bytes();
        put(p, path.clone(), &store.owner, &headers, other, 422).await;
        let read = get(p, GET, path.clone(), &store.owner, 200).await;
        p.came_back(&read, &value);
        for text in texts {
            p.came_back(&read, &text);
        }
        let head = get(p, HEAD, path.clone(), &store.owner, 200).await;
        p.came_back(&head, &store.subject);

        let bytes = large(p, 200_000);
        let path = store.record(collection, &store.large);
        let (headers, _) = full(p, store);
        put(p, path.clone(), &store.owner, &headers, bytes.clone(), 201).await;
        let read = get(p, GET, path.clone(), &store.owner, 200).await;
        assert!(read.bytes == bytes);
        let headers = pairs(&[("range", "bytes=70000-140000".into()), ("lethe-purpose", store.purpose.clone())]);
        let part = p.ask(Ask { route: GET, path: path.clone(), token: &store.owner, headers, status: 206, ..Ask::default() }).await;
        assert!(part.bytes == bytes[70_000..=140_000]);
        // Replaced: the old rows wait to be swept.
        let bytes = large(p, 100_000);
        put(p, path, &store.owner, &[("lethe-subject", store.subject.clone())], bytes, 204).await;

        let path = store.record(collection, &p.canary("the key of a record to be deleted"));
        let bytes = p.canary("a value to be deleted").into_bytes();
        put(p, path.clone(), &store.owner, &[("lethe-subject", store.subject.clone())], bytes, 201).await;
        let wrong = pairs(&[("if-match", format!("\"{}\"", p.canary("an entity tag")))]);
        p.ask(Ask { route: DELETE, path: path.clone(), token: &store.owner, headers: wrong, status: 412, ..Ask::default() }).await;
        get(p, DELETE, path, &store.owner, 204).await;
    }
}

async fn retention(p: &Prober, store: &Store) {
    let explained = |key: &str| store.at(&format!("/collections/{}/retention/{key}", store.people));
    get(p, EXPLAIN, explained(&store.key), &store.owner, 200).await;
    get(p, EXPLAIN, explained(&p.canary("a key that is not there")), &store.owner, 404).await;
    let simulations = store.at(&format!("/collections/{}/simulations", store.people));
    let rules = json!({"time_zone": "UTC", "rules": [{"name": "rule", "from": {"field": format!("/{}", p.canary("a field's name"))},
        "maximum": "1y", "then": "delete"}]});
    for (body, status) in [
        (json!({"policy": {"retention": rules}}), 200),
        (json!({"policy": {"retention": p.canary("a draft")}}), 422),
        (json!({"policy": {}, "cursor": p.canary("a cursor")}), 400),
        (json!({"policy": {}, p.canary("a field"): 1}), 422),
    ] {
        send(p, SIMULATE, simulations.clone(), &store.owner, body, status).await;
    }
    let made = send(p, MAKE_TOKEN, "/v1/tenants/system/tokens".into(), &p.operator, json!({"role": "job"}), 201).await.json();
    let token = made["token"].as_str().unwrap();
    p.adopt_token("a job's token", token);
    let path = || "/v1/jobs/retention/runs".to_owned();
    // Nothing is due: canaries stay.
    send(p, RUN, path(), token, json!({}), 200).await;
    for (body, status) in [
        (json!({"until": p.canary("a time")}), 422),
        (json!({"limit": p.canary("a limit")}), 422),
        (json!({p.canary("a field"): p.canary("its value")}), 422),
    ] {
        send(p, RUN, path(), token, body, status).await;
    }
    send(p, RUN, path(), &store.owner, json!({}), 403).await;
    get(p, PROGRESS, path(), token, 200).await;
    get(p, PROGRESS, format!("{}?{}=1", path(), p.canary("a parameter")), token, 400).await;
    get(p, PROGRESS, path(), &store.owner, 403).await;
    let marked = store.at(&format!("/collections/{}/marked", store.people));
    get(p, MARKED, marked.clone(), &store.owner, 200).await;
    get(p, MARKED, format!("{marked}?cursor={}", p.canary("a cursor")), &store.owner, 400).await;
    get(p, MARKED, marked, token, 404).await;
    let reports = store.at("/retention/reports");
    get(p, REPORTS, reports.clone(), &store.owner, 200).await;
    get(p, REPORTS, format!("{reports}?{}=1", p.canary("a parameter")), &store.owner, 400).await;
    get(p, REPORT, format!("{reports}/{}", id(p)), &store.owner, 404).await;
    // What is over at once is destroyed, and counted.
    let over = SystemClock.now().plus(Duration::from_secs(1)).to_rfc3339();
    let record = store.at(&format!("/collections/{}/records/over", store.people));
    put(p, record, &store.owner, &[("lethe-subject", "nobody".into()), ("lethe-expires-at", over)], b"over".to_vec(), 201).await;
    let destroyed = async { while send(p, RUN, path(), token, json!({}), 200).await.json()["destroyed"] != 1 {} };
    tokio::time::timeout(Duration::from_secs(30), destroyed).await.expect("a record whose time is over is destroyed");
    let all = get(p, REPORTS, reports.clone(), &store.owner, 200).await.json();
    get(p, REPORT, format!("{reports}/{}", all["data"][0]["id"].as_str().unwrap()), &store.owner, 200).await;
    get(p, REPORT, format!("{reports}/{}", p.canary("no id")), &store.owner, 400).await;
    snapshots(p, store, token).await;
}

/// A snapshot stays: its files are looked through with all others.
async fn snapshots(p: &Prober, store: &Store, job: &str) {
    let ask = |route, path: String, token, status| p.ask(Ask { route, path, token, status, ..Ask::default() });
    ask(SNAPSHOT, "/v1/jobs/snapshots".into(), job, 201).await;
    ask(SNAPSHOT, format!("/v1/jobs/snapshots?{}", p.canary("a parameter")), job, 400).await;
    ask(SNAPSHOT, "/v1/jobs/snapshots".into(), &store.owner, 403).await;
    ask(LET_GO, format!("/v1/jobs/snapshots/{}", "0".repeat(32)), &p.operator, 204).await;
    ask(LET_GO, format!("/v1/jobs/snapshots/{}", p.canary("an id")), job, 400).await;
}

/// One stays with the person, and goes with the person's shred.
async fn aliases(p: &Prober, store: &Store) {
    let add = store.at("/subjects/aliases");
    let (query, remove) = (format!("{add}/query"), format!("{add}/remove"));
    let [alias, gone] = ["an alias", "an alias that is taken away"].map(|what| p.canary(what));
    for (alias, status) in [(&alias, 201), (&alias, 200), (&gone, 201)] {
        let body = json!({"subject": store.subject, "alias": alias});
        let added = send(p, ADD_ALIAS, add.clone(), &store.owner, body, status).await;
        p.came_back(&added, alias);
    }
    let read = send(p, ASK_ALIASES, query.clone(), &store.owner, json!({"subject": alias}), 200).await;
    p.came_back(&read, &store.subject);
    let removed = send(p, REMOVE_ALIAS, remove.clone(), &store.owner, json!({"alias": gone}), 200).await;
    p.came_back(&removed, &alias);
    for (body, status) in [
        (json!({"subject": store.subject, "alias": store.subject}), 422),
        (json!({"subject": p.canary("another person"), "alias": alias}), 409),
        (json!({"subject": p.canary("a long subject").repeat(12), "alias": p.canary("its alias")}), 400),
        (json!({"subject": store.subject, "alias": p.canary("a refused alias"), p.canary("a field"): p.canary("its value")}), 422),
        (json!({"subject": store.subject, "alias": {p.canary("a wrong type"): 1}}), 422),
    ] {
        send(p, ADD_ALIAS, add.clone(), &store.owner, body, status).await;
    }
    for (route, path, field) in [(ASK_ALIASES, &query, "subject"), (REMOVE_ALIAS, &remove, "alias")] {
        for (body, status) in [
            (json!({field: p.canary("a long id").repeat(12)}), 400),
            (json!({field: p.canary("an id"), p.canary("a field"): p.canary("its value")}), 422),
        ] {
            send(p, route, path.clone(), &store.owner, body, status).await;
        }
        send(p, route, path.clone(), &p.operator, json!({field: p.canary("an operator's guess")}), 403).await;
    }
    send(p, REMOVE_ALIAS, remove, &store.owner, json!({"alias": gone}), 404).await;
}

/// The whole tenant, out and in again under another name: sealed on its way, and sealed where it comes to lie.
async fn bundles(p: &Prober, store: &Store) {
    let [own, counsel, auditor, _] = &PAIRS;
    let (path, key) = (store.at("/export"), own.recipient);
    let all = json!({"recipient": key, "counsel_recipient": counsel.recipient, "auditor_recipient": auditor.recipient});
    let sealed = send(p, EXPORT, path.clone(), &store.owner, all, 200).await;
    for body in [
        json!({"recipient": p.canary("a wrong recipient")}),
        json!({"recipient": key, p.canary("a field"): p.canary("its value")}),
        json!({"recipient": key, "counsel_recipient": p.canary("a wrong recipient")}),
        json!({"recipient": key, "auditor_recipient": p.canary("a wrong recipient")}),
    ] {
        send(p, EXPORT, path.clone(), &store.owner, body, 422).await;
    }
    send(p, EXPORT, path, &p.operator, json!({ "recipient": key }), 403).await;

    let (mut frames, mut plain, mut header) = (Frames::default(), Vec::new(), Value::Null);
    frames.feed(&own.open(&sealed.bytes).unwrap());
    while let Some(frame) = frames.take_frame().unwrap() {
        if frame.kind == Kind::Header {
            header = serde_json::from_slice(&frame.payload).unwrap();
        }
        frame.write(&mut plain).unwrap();
        if frame.kind.is_sealed() {
            let whose = if frame.kind == Kind::SealedHold { counsel } else { auditor };
            let opened = whose.open(SealedFrame::parse(frame.kind, &frame.payload).unwrap().sealed).unwrap();
            frames::write(Kind::Opened, &opened, &mut plain).unwrap();
        }
    }
    assert!(String::from_utf8_lossy(&plain).contains(&store.subject), "what is sealed is what was asked for");

    let tenant = p.canary("an imported tenant's name");
    let made = send(p, TENANTS.0, "/v1/tenants".into(), &p.operator, json!({"tenant": tenant, "import": true}), 201).await;
    let owner = made.json()["token"].as_str().unwrap().to_owned();
    p.adopt_token("an imported tenant's owner's token", &owner);
    let path = format!("/v1/tenants/{tenant}/import?bundle={}&from=0", header["bundle"].as_str().unwrap());
    let import = async |path: &str, body: &[u8], status: u16| {
        let headers = pairs(&[("content-type", "application/octet-stream".into())]);
        p.ask(Ask { route: IMPORT, path: path.to_owned(), token: &owner, headers, body: body.to_vec(), status }).await
    };
    import(&path, p.canary("no bundle").as_bytes(), 422).await;
    import(&format!("{path}&{}=1", p.canary("a parameter")), &[], 400).await;
    import(&path.replace("bundle=", &format!("bundle={}", p.canary("an id"))), &[], 400).await;
    // Within a frame, or within a record: what came whole before stays.
    import(&path, &plain[..plain.len() / 2], 422).await;
    let done = import(&path, &plain, 200).await;
    p.came_back(&done, &tenant);
    import(&path, &plain, 409).await;
}

/// What is reported stays with the person, and goes with the person's shred. A date is too common to be looked for, and so is the name of an
/// event; what is neither is refused, and told nowhere.
async fn events(p: &Prober, store: &Store) {
    let report = store.at("/subjects/events");
    let (query, remove) = (format!("{report}/query"), format!("{report}/remove"));
    for (event, at) in [("left", "2026-01-31"), ("left", "2026-02-28T12:00:00Z"), ("moved", "2026-01-31")] {
        let body = json!({"subject": store.subject, "event": event, "at": at});
        let reported = send(p, REPORT_EVENT, report.clone(), &store.owner, body, 200).await;
        p.came_back(&reported, &store.subject);
    }
    let read = send(p, ASK_EVENTS, query.clone(), &store.owner, json!({"subject": store.subject}), 200).await;
    p.came_back(&read, &store.subject);
    send(p, REMOVE_EVENT, remove.clone(), &store.owner, json!({"subject": store.subject, "event": "moved"}), 200).await;
    send(p, REMOVE_EVENT, remove.clone(), &store.owner, json!({"subject": store.subject, "event": "moved"}), 404).await;
    for (body, status) in [
        (json!({"subject": p.canary("a long subject").repeat(12), "event": "left", "at": "2026-01-31"}), 400),
        (json!({"subject": store.subject, "event": format!("{}!", p.canary("an event")), "at": "2026-01-31"}), 422),
        (json!({"subject": store.subject, "event": "left", "at": p.canary("a date")}), 422),
        (json!({"subject": store.subject, "event": "left", "at": "2026-01-31", p.canary("a field"): p.canary("its value")}), 422),
        (json!({"subject": store.subject, "event": {p.canary("a wrong type"): 1}, "at": "2026-01-31"}), 422),
    ] {
        send(p, REPORT_EVENT, report.clone(), &store.owner, body, status).await;
    }
    for (route, path) in [(ASK_EVENTS, &query), (REMOVE_EVENT, &remove)] {
        let with = |id: String| if route == ASK_EVENTS { json!({"subject": id}) } else { json!({"subject": id, "event": "left"}) };
        send(p, route, path.clone(), &store.owner, with(p.canary("a long id").repeat(12)), 400).await;
        send(p, route, path.clone(), &p.operator, with(p.canary("an operator's guess")), 403).await;
    }
}

/// Placed, met by those who destroy, and released again: what is shredded later is free.
async fn holds(p: &Prober, store: &Store) {
    let invitation = send(p, MAKE_TOKEN, store.at("/tokens"), &store.owner, json!({"role": "counsel"}), 201).await.json();
    let invitation = invitation["token"].as_str().unwrap();
    p.adopt_token("an invitation to a counsel", invitation);
    let made = send(p, MAKE_TOKEN, store.at("/tokens"), invitation, json!({"role": "counsel"}), 201).await.json();
    let counsel = made["token"].as_str().unwrap();
    p.adopt_token("a counsel's token", counsel);
    let (path, record) = (store.at("/holds"), store.record(&store.people, &store.key));
    // In a body, a key is not encoded.
    let key = store.key.replace("%40", "@");
    let prefix = key.split('/').next().unwrap();
    let scopes = [
        json!({"scope": "subject", "subjects": [store.subject, p.canary("a held person")]}),
        json!({"scope": "prefix", "collection": store.people, "prefix": prefix}),
        json!({"scope": "records", "records": [{"collection": store.people, "key": key}, {"collection": store.people, "key": p.canary("a held key")}]}),
    ];
    let mut placed = Vec::new();
    for mut body in scopes {
        let matter = p.canary("a matter");
        for (name, text) in [("matter", matter.clone()), ("reason", p.canary("a reason")), ("custodian", p.canary("a custodian"))] {
            body[name] = json!(text);
        }
        body["law_enforcement"] = json!(true);
        body["case_number"] = json!(p.canary("a case number"));
        let answer = send(p, PLACE, path.clone(), counsel, body, 201).await;
        p.came_back(&answer, &matter);
        placed.push(answer.json()["id"].as_str().unwrap().to_owned());
    }
    let subject = [("lethe-subject", store.subject.clone())];
    put(p, record.clone(), &store.owner, &subject, p.canary("a value over a held one").into_bytes(), 423).await;
    get(p, DELETE, record.clone(), &store.owner, 423).await;
    let delete = json!({"ops": [{"op": "delete", "collection": store.people, "key": key}]});
    send(p, BATCH, store.at("/batch"), &store.owner, delete, 423).await;
    get(p, EXPLAIN, store.at(&format!("/collections/{}/retention/{}", store.people, store.key)), &store.owner, 200).await;
    let shown = get(p, HOLD, format!("{path}/{}", placed[0]), counsel, 200).await;
    p.came_back(&shown, &store.subject);
    get(p, HOLDS, path.clone(), counsel, 200).await;
    let first = get(p, HOLDS, format!("{path}?limit=1"), counsel, 200).await.json();
    p.said("a cursor of holds", first["next_cursor"].to_string().into_bytes());
    get(p, HOLDS, format!("{path}?{}=1", p.canary("a parameter")), counsel, 400).await;
    get(p, HOLD, format!("{path}/{}", id(p)), counsel, 404).await;
    get(p, HOLD, format!("{path}/{}", p.canary("no id")), counsel, 400).await;
    let full = |scope: Value| {
        let mut body = json!({"matter": p.canary("a matter"), "reason": p.canary("a reason"), "custodian": p.canary("a custodian")});
        body.as_object_mut().unwrap().extend(scope.as_object().unwrap().clone());
        body
    };
    for (body, status) in [
        (full(json!({"scope": p.canary("a scope")})), 422),
        (full(json!({"scope": "tenant", "case_number": p.canary("a case number")})), 422),
        (full(json!({"scope": "subject", "subject": p.canary("a long subject").repeat(12)})), 400),
        (full(json!({"scope": "collection", "collection": p.canary("no collection")})), 404),
        (full(json!({"scope": "prefix", "collection": store.people, "prefix": format!("{}//x", p.canary("a prefix"))})), 400),
        (full(json!({"scope": "tenant", p.canary("a field"): p.canary("its value")})), 422),
        (full(json!({"scope": "tenant", "matter": p.canary("a long matter").repeat(30)})), 400),
    ] {
        send(p, PLACE, path.clone(), counsel, body, status).await;
    }
    send(p, PLACE, path.clone(), &store.owner, full(json!({"scope": "tenant"})), 403).await;
    for hold in &placed {
        for (route, what) in [(RENEW, "renew"), (RELEASE, "release")] {
            let path = format!("{path}/{hold}/{what}");
            send(p, route, path.clone(), &store.owner, json!({"reason": p.canary("an owner's reason")}), 403).await;
            send(p, route, path.clone(), counsel, json!({"reason": p.canary("a long reason").repeat(30)}), 400).await;
            send(p, route, path.clone(), counsel, json!({p.canary("a field"): p.canary("its value")}), 422).await;
            send(p, route, path.clone(), counsel, json!({"reason": p.canary("a reason")}), 200).await;
        }
    }
}

/// Asked, shown, refused and taken back; one person is enough for what follows.
async fn two_persons(p: &Prober, store: &Store) {
    let made = send(p, MAKE_TOKEN, store.at("/tokens"), &store.owner, json!({"role": "owner"}), 201).await.json();
    let second = made["token"].as_str().unwrap();
    p.adopt_token("a second owner's token", second);
    let (policy, path) = (store.at("/policy"), store.at("/approvals"));
    send(p, PUT_POLICY, policy.clone(), &store.owner, json!({"approvals": {"shred": ["record"]}}), 200).await;
    for (body, status) in [
        (json!({"approvals": {"shred": [p.canary("a scope")]}}), 422),
        (json!({"approvals": {"window": p.canary("a window")}}), 422),
        (json!({"approvals": {p.canary("a field"): p.canary("its value")}}), 422),
    ] {
        send(p, PUT_POLICY, policy.clone(), &store.owner, body, status).await;
    }
    get(p, POLICY, policy.clone(), &store.owner, 200).await;
    get(p, POLICY, format!("{policy}?{}", p.canary("a parameter")), &store.owner, 400).await;
    let ask = async |order: Value| {
        let asked = send(p, SHRED, store.at("/shreds"), &store.owner, order, 202).await.json();
        assert_eq!(asked["state"], "waiting-for-approval");
        asked["id"].as_str().unwrap().to_owned()
    };
    let person = ask(json!({"scope": "subject", "subjects": [store.subject, p.canary("a person who is asked for")]})).await;
    let collection = ask(json!({"scope": "collection", "collection": store.files})).await;
    let shown = get(p, APPROVAL, format!("{path}/{person}"), second, 200).await;
    p.came_back(&shown, &store.subject);
    get(p, APPROVAL, format!("{path}/{}", id(p)), second, 404).await;
    get(p, APPROVAL, format!("{path}/{}", p.canary("no id")), second, 400).await;
    get(p, APPROVALS, path.clone(), second, 200).await;
    let first = get(p, APPROVALS, format!("{path}?limit=1"), second, 200).await.json();
    p.said("a cursor of requests", first["next_cursor"].to_string().into_bytes());
    get(p, APPROVALS, format!("{path}?state={}", p.canary("a state")), second, 400).await;
    let record = store.record(&store.people, &store.key);
    get(p, DELETE, store.record(&store.notes, &p.canary("no key")), &store.owner, 404).await;
    get(p, GET, record, &store.owner, 200).await;
    send(p, APPROVE, format!("{path}/{person}/approve"), second, json!({"digest": p.canary("a digest")}), 422).await;
    send(p, APPROVE, format!("{path}/{person}/approve"), &store.owner, json!({}), 403).await;
    send(p, REFUSE, format!("{path}/{person}/refuse"), second, json!({"reason": p.canary("a long reason").repeat(30)}), 400).await;
    let reason = p.canary("a reason");
    let refused = send(p, REFUSE, format!("{path}/{person}/refuse"), second, json!({ "reason": reason }), 200).await;
    p.came_back(&refused, &reason);
    get(p, WITHDRAW, format!("{path}/{collection}/withdraw"), second, 403).await;
    get(p, WITHDRAW, format!("{path}/{collection}/withdraw"), &store.owner, 200).await;
    let kept = store.at(&format!("/collections/{}", p.canary("a collection with rules")));
    let rule = json!({"name": "rule", "from": {"field": format!("/{}", p.canary("a field's name"))}, "maximum": "1y", "then": "delete"});
    send(p, PUT_COLLECTION, kept.clone(), &store.owner, json!({"retention": {"time_zone": "UTC", "rules": [rule]}}), 201).await;
    get(p, SHORTEN, format!("{kept}/shortenings"), &store.owner, 202).await;
    let none = store.at(&format!("/collections/{}/shortenings", p.canary("no collection")));
    get(p, SHORTEN, none, &store.owner, 404).await;
    bypass(p, store, &kept).await;
    let looser = send(p, PUT_POLICY, policy, &store.owner, json!({"approvals": {}}), 202).await.json();
    let approve = format!("{path}/{}/approve", looser["id"].as_str().unwrap());
    send(p, APPROVE, approve, second, json!({"digest": looser["digest"]}), 200).await;
}

/// Asked for, where there is something to bypass and where there is nothing.
async fn bypass(p: &Prober, store: &Store, kept: &str) {
    let path = format!("{kept}/bypasses");
    send(p, BYPASS, path.clone(), &store.owner, json!({"reason": p.canary("a reason for nothing")}), 422).await;
    let law = json!({"period": "1d", "basis": p.canary("a law"), "mode": "governance"});
    for minimum in [Some(law), None] {
        let mut rule = json!({"name": "rule", "from": "created", "maximum": "1y", "then": "delete"});
        if let Some(minimum) = minimum {
            rule["minimum"] = minimum;
        }
        send(p, PUT_COLLECTION, kept.to_owned(), &store.owner, json!({"retention": {"time_zone": "UTC", "rules": [rule]}}), 200).await;
    }
    let reason = p.canary("a reason to bypass");
    let asked = send(p, BYPASS, path.clone(), &store.owner, json!({ "reason": reason }), 202).await;
    p.came_back(&asked, &reason);
    for (body, status) in [
        (json!({"reason": p.canary("a long reason").repeat(30)}), 400),
        (json!({"reason": format!("{}\n", p.canary("two lines"))}), 422),
        (json!({"reason": "r", p.canary("a field"): p.canary("its value")}), 422),
    ] {
        send(p, BYPASS, path.clone(), &store.owner, body, status).await;
    }
    send(p, BYPASS, path, &p.operator, json!({"reason": p.canary("an operator's reason")}), 404).await;
}

/// Suspended and resumed, ordered to end and that taken back; what is sent meanwhile is refused.
async fn states(p: &Prober, store: &Store) {
    let record = store.record(&store.people, &store.key);
    for (route, what) in [(SUSPEND, "suspend"), (RESUME, "resume")] {
        let path = store.at(&format!("/{what}"));
        send(p, route, path.clone(), &store.owner, json!({"reason": p.canary("an owner's reason")}), 403).await;
        send(p, route, path.clone(), &p.operator, json!({"reason": p.canary("a long reason").repeat(30)}), 400).await;
        send(p, route, path.clone(), &p.operator, json!({p.canary("a field"): p.canary("its value")}), 422).await;
        send(p, route, path.clone(), &p.operator, json!({"reason": p.canary("a reason")}), 200).await;
        send(p, route, path, &p.operator, json!({"reason": p.canary("a reason that comes late")}), 409).await;
        if what == "suspend" {
            let subject = [("lethe-subject", p.canary("a subject while suspended"))];
            put(p, record.clone(), &store.owner, &subject, p.canary("a value while suspended").into_bytes(), 403).await;
            get(p, GET, record.clone(), &store.owner, 403).await;
        }
    }
    let path = store.at("/termination");
    get(p, TERMINATION, path.clone(), &store.owner, 404).await;
    for (body, status) in [
        (json!({"confirm": p.canary("a wrong confirmation")}), 422),
        (json!({"confirm": store.tenant, "grace": p.canary("a grace")}), 422),
        (json!({"confirm": store.tenant, "grace": "50d"}), 400),
        (json!({"confirm": store.tenant, "reason": p.canary("a long reason").repeat(30)}), 400),
        (json!({"confirm": store.tenant, p.canary("a field"): p.canary("its value")}), 422),
        (json!({"confirm": store.tenant, "reason": p.canary("a reason")}), 202),
        (json!({"confirm": store.tenant, "reason": p.canary("a reason that comes late")}), 409),
    ] {
        send(p, TERMINATE, path.clone(), &store.owner, body, status).await;
    }
    get(p, TERMINATION, path.clone(), &store.owner, 200).await;
    get(p, TERMINATION, format!("{path}?{}=1", p.canary("a parameter")), &store.owner, 400).await;
    let subject = [("lethe-subject", p.canary("a subject in the grace"))];
    put(p, record, &store.owner, &subject, p.canary("a value in the grace").into_bytes(), 403).await;
    let cancel = store.at("/termination/cancel");
    send(p, CANCEL, cancel.clone(), &store.owner, json!({p.canary("a field"): p.canary("its value")}), 422).await;
    send(p, CANCEL, cancel.clone(), &store.owner, json!({"reason": p.canary("a reason")}), 200).await;
    send(p, CANCEL, cancel, &store.owner, json!({"reason": p.canary("a reason that comes late")}), 409).await;
    let path = store.at("/states");
    get(p, STATES, path.clone(), &store.owner, 200).await;
    get(p, STATES, format!("{path}?cursor={}", p.canary("no cursor")), &store.owner, 400).await;
    get(p, STATES, format!("{path}?{}=1", p.canary("a parameter")), &store.owner, 400).await;
}

async fn refused_records(p: &Prober, store: &Store) {
    let path = store.record(&store.people, &p.canary("a refused record's key"));
    let subject = ("lethe-subject", p.canary("a refused record's subject"));
    for (header, status) in [
        (("lethe-expires-at", p.canary("an expiry")), 400),
        (("content-type", p.canary("a content type")), 400),
        (("content-type", format!("text/{}", p.canary("a long content type").repeat(12))), 400),
        (("idempotency-key", p.canary("a long idempotency key").repeat(12)), 400),
        (("lethe-meta-x", format!("%zz{}", p.canary("a broken pair"))), 400),
        (("lethe-meta-x", p.canary("much metadata").repeat(800)), 400),
        (("if-match", p.canary("no entity tag")), 400),
        (("if-match", format!("\"{}\"", p.canary("an entity tag"))), 412),
        (("if-none-match", format!("\"{}\"", p.canary("an entity tag"))), 400),
        (("lethe-new-relationship", p.canary("a switch")), 400),
        (("lethe-purpose", p.canary("a purpose that nobody declared")), 422),
        (("lethe-purpose", p.canary("a long purpose").repeat(12)), 400),
        (("x-filler", p.canary("long headers").repeat(1_400)), 400),
    ] {
        let value = p.canary("a refused value").into_bytes();
        put(p, path.clone(), &store.owner, &[subject.clone(), header], value, status).await;
    }
    for subject in
        [p.canary("a long subject").repeat(12), format!("%ff{}", p.canary("a broken subject")), format!("{},,", p.canary("a list"))]
    {
        let value = p.canary("a refused value").into_bytes();
        put(p, path.clone(), &store.owner, &[("lethe-subject", subject)], value, 400).await;
    }
    // Without the subject that the collection asks for, too large, in no collection, as nobody, as the operator.
    let value = p.canary("a value without a subject").into_bytes();
    put(p, path.clone(), &store.owner, &[], value, 422).await;
    let value = large(p, VALUE_LIMIT + 5_000);
    put(p, path.clone(), &store.owner, std::slice::from_ref(&subject), value, 413).await;
    let missing = store.record(&p.canary("no collection"), &p.canary("its record"));
    let value = large(p, 100_000);
    put(p, missing.clone(), &store.owner, std::slice::from_ref(&subject), value, 404).await;
    get(p, GET, missing.clone(), &store.owner, 404).await;
    get(p, HEAD, missing.clone(), &store.owner, 404).await;
    get(p, DELETE, missing, &store.owner, 404).await;
    get(p, GET, path.clone(), &store.owner, 404).await;
    let operator = p.operator.clone();
    for (token, status) in [("", 401), (operator.as_str(), 404)] {
        let value = p.canary("a stranger's value").into_bytes();
        put(p, path.clone(), token, std::slice::from_ref(&subject), value, status).await;
        get(p, GET, store.record(&store.people, &store.key), token, status).await;
    }
    for key in [
        format!("{}%2f", p.canary("an encoded slash")),
        format!("{}//x", p.canary("an empty segment")),
        format!("{}%00", p.canary("a NUL")),
        format!("%ff{}", p.canary("not UTF-8")),
        p.canary("a long key").repeat(50),
        format!("{}/", p.canary("a segment")).repeat(40) + "x",
    ] {
        get(p, GET, store.record(&store.people, &key), &store.owner, 400).await;
        let value = p.canary("a value under a bad key").into_bytes();
        put(p, store.record(&store.people, &key), &store.owner, std::slice::from_ref(&subject), value, 400).await;
    }
    let path = store.record(&store.people, &store.key);
    get(p, GET, format!("{path}?{}={}", p.canary("a parameter"), p.canary("its value")), &store.owner, 400).await;
    for (range, status) in [(p.canary("a range"), 400), (format!("bytes={}-", p.canary("a range")), 400), ("bytes=700000-".into(), 416)] {
        let headers = pairs(&[("range", range)]);
        p.ask(Ask { route: GET, path: path.clone(), token: &store.owner, headers, status, ..Ask::default() }).await;
    }
}

async fn lists(p: &Prober, store: &Store) {
    let list = store.record(&store.people, "").trim_end_matches('/').to_owned();
    let query = store.at(&format!("/collections/{}/query", store.people));
    let first = get(p, LIST, format!("{list}?limit=1"), &store.owner, 200).await.json();
    let cursor = first["next_cursor"].as_str().unwrap().to_owned();
    // Opaque: it may stand in a log, and holds nobody's name.
    p.said("a cursor", cursor.clone().into_bytes());
    get(p, LIST, format!("{list}?limit=1&cursor={cursor}"), &store.owner, 200).await;
    let segment = store.key.split('/').next().unwrap();
    let of_prefix = get(p, LIST, format!("{list}?prefix={segment}"), &store.owner, 200).await;
    p.came_back(&of_prefix, segment);
    for body in
        [json!({"subject": store.subject}), json!({"prefix": segment, "limit": 5}), json!({"subject": store.subject, "prefix": segment})]
    {
        let found = send(p, QUERY, query.clone(), &store.owner, body, 200).await;
        p.came_back(&found, segment);
    }
    get(p, LIST, format!("{list}?subject={}&prefix={}", p.canary("nobody"), p.canary("no prefix")), &store.owner, 200).await;
    let narrowed = send(p, QUERY, query.clone(), &store.owner, json!({"subject": store.subject, "limit": 1}), 200).await.json();
    p.said("a cursor of a subject", narrowed["next_cursor"].to_string().into_bytes());
    for bad in ["cursor", "limit", "unknown"] {
        get(p, LIST, format!("{list}?{bad}={}", p.canary("a parameter")), &store.owner, 400).await;
    }
    get(p, LIST, format!("{list}?prefix={}//", p.canary("a prefix")), &store.owner, 400).await;
    for (body, status) in [
        (json!({"cursor": p.canary("a cursor")}), 400),
        (json!({"prefix": format!("{}/../x", p.canary("a prefix"))}), 400),
        (json!({"subject": p.canary("a long subject").repeat(12)}), 400),
        (json!({"limit": p.canary("a limit")}), 422),
        (json!({p.canary("a field"): p.canary("its value")}), 422),
    ] {
        send(p, QUERY, query.clone(), &store.owner, body, status).await;
    }
}

async fn batches(p: &Prober, store: &Store) {
    let path = store.at("/batch");
    let [key, text_value, json_value, bytes, media] =
        ["a batch's key", "a batch's text", "a batch's JSON", "a batch's bytes", "a batch's content type"].map(|what| p.canary(what));
    let op = |more: Value| {
        let mut op = json!({"op": "put", "collection": store.people, "subjects": [store.subject]});
        op.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        op
    };
    let value_base64 = STANDARD.encode(&bytes);
    let ops = json!({"ops": [
        op(json!({"key": format!("{key}/a"), "value": text_value, "content_type": format!("text/{media}")})),
        op(json!({"key": format!("{key}/b"), "value": {json_value.clone(): [json_value.clone()]}})),
        op(json!({"key": format!("{key}/c"), "value_base64": value_base64})),
        op(json!({"key": format!("{key}/d"), "value": p.canary("a batch's value")})),
    ]});
    let headers = pairs(&[("content-type", "application/json".into()), ("idempotency-key", p.canary("a batch's idempotency key"))]);
    for _ in 0..2 {
        let body = ops.to_string().into_bytes();
        p.ask(Ask { route: BATCH, path: path.clone(), token: &store.owner, headers: headers.clone(), body, status: 200 }).await;
    }
    for (name, value) in [("a", text_value), ("b", json_value), ("c", bytes)] {
        let read = get(p, GET, store.record(&store.people, &format!("{key}/{name}")), &store.owner, 200).await;
        p.came_back(&read, &value);
    }
    let long = STANDARD.encode(large(p, 70_000));
    let mut refused = vec![
        (op(json!({"op": p.canary("a verb"), "key": "k", "value": 1})), 422),
        (op(json!({"key": format!("{}/../x", p.canary("a key")), "value": p.canary("a value")})), 400),
        (op(json!({"key": "k", "value": p.canary("a value"), p.canary("a field"): 1})), 422),
        (op(json!({"key": "k", "value_base64": format!("{}!", p.canary("no base64"))})), 422),
        (op(json!({"key": "k", "value": p.canary("a value"), "content_type": p.canary("a content type")})), 422),
        (op(json!({"key": "k", "value": p.canary("a value"), "expires_at": p.canary("a time")})), 422),
        (op(json!({"key": p.canary("a key"), "value": p.canary("a value"), "if_match": p.canary("an entity tag")})), 400),
        (op(json!({"key": p.canary("a key"), "value_base64": long})), 413),
        (op(json!({"collection": p.canary("a collection"), "key": p.canary("a key"), "value": 1})), 404),
        (json!({"op": "delete", "collection": store.people, "key": p.canary("a key that is not")}), 404),
        (json!({"op": "check", "collection": store.people, "key": format!("{key}/a"), "if_match": p.canary("an entity tag")}), 400),
    ];
    refused.push((json!(p.canary("no operation")), 422));
    for (bad, status) in refused {
        let good = op(json!({"key": p.canary("the key of a batch that fails"), "value": p.canary("its value")}));
        send(p, BATCH, path.clone(), &store.owner, json!({"ops": [good, bad]}), status).await;
    }
    text(p, BATCH, path.clone(), &store.owner, format!("{{\"ops\": [{}", p.canary("broken JSON")), 400).await;
    let ops = json!({"ops": [json!({"op": "delete", "collection": store.people, "key": format!("{key}/d")})]});
    send(p, BATCH, path, &store.owner, ops, 200).await;
}

async fn evidence(p: &Prober, store: &Store) {
    let operator = p.operator.clone();
    let read = get(p, AUDIT, store.at("/audit?limit=1000&heads=true"), &store.owner, 200).await;
    for name in [&store.people, &store.subject, &store.purpose] {
        p.came_back(&read, name);
    }
    let read = read.json();
    assert!(read["data"].as_array().unwrap().len() > 50, "{read}");
    for query in ["after", "limit", "heads", "unknown"] {
        get(p, AUDIT, store.at(&format!("/audit?{query}={}", p.canary("a parameter"))), &store.owner, 400).await;
    }
    for (path, status) in [(p.canary("a certificate's id"), 400), (id(p), 404)] {
        get(p, CERTIFICATE, format!("/v1/certificates/{path}"), "", status).await;
    }
    get(p, "GET /log/checkpoint", "/log/checkpoint".into(), "", 200).await;
    get(p, "GET /log/checkpoint", format!("/log/checkpoint?{}", p.canary("a query")), "", 400).await;
    for path in [p.canary("a tile"), format!("0/{}", p.canary("a tile")), format!("../{}", p.canary("a tile"))] {
        get(p, "GET /log/tile/{path}", format!("/log/tile/{path}"), "", 404).await;
    }
    get(p, "GET /metrics", "/metrics".into(), &operator, 200).await;
    get(p, "GET /metrics", format!("/metrics?{}", p.canary("a query")), &store.owner, 400).await;
    for path in ["/health/live", "/health/ready", "/openapi.json"] {
        let route = format!("GET {path}");
        let status = if path == "/openapi.json" { 200 } else { 204 };
        get(p, &route, format!("{path}?{}", p.canary("a query")), "", status).await;
        get(p, &route, format!("{path}?{}", p.canary("a long query").repeat(400)), "", 400).await;
    }
}

/// No route, no such method, targets beyond every limit.
async fn everywhere(p: &Prober, store: &Store) {
    for path in
        [format!("/{}", p.canary("no route")), store.at(&format!("/{}", p.canary("no route"))), format!("/v1/{}/x?y", p.canary("no route"))]
    {
        get(p, "- GET", path, &store.owner, 404).await;
    }
    let record = store.record(&store.people, &store.key);
    let method = format!("- {}", p.canary("a method").to_uppercase());
    get(p, &method, record.clone(), &store.owner, 405).await;
    get(p, "- POST", record.clone(), &store.owner, 405).await;
    get(p, "- GET", format!("{record}?{}", p.canary("a long target").repeat(400)), &store.owner, 400).await;
}

fn count_lines(bytes: &[u8]) -> usize {
    std::str::from_utf8(bytes).unwrap().lines().count()
}

/// Import, put and a token by the program.
pub(super) fn command_line(p: &Prober, site: &Site, server: &Server, store: &Store) {
    let dir = site.path("client");
    fs::create_dir(&dir).unwrap();
    let mut lines = String::new();
    for number in 0..50 {
        let [name, subject] = ["an imported value", "an imported subject"].map(|what| p.canary(what));
        lines +=
            &json!({"id": format!("{number}-{}", p.canary("an imported key")), "person": subject, p.canary("an imported field"): name})
                .to_string();
        lines.push('\n');
    }
    fs::write(dir.join("import.jsonl"), &lines).unwrap();
    let collection = p.canary("an imported collection");
    let run = |arguments: &[&str]| {
        succeeded(server.lethe(&store.owner).env("LETHE_TENANT", &store.tenant).current_dir(&dir).args(arguments)).stdout
    };
    run(&["import", "--create", "--key", "id", "--subject", "person", "--collection", &collection, "import.jsonl"]);
    let listed = run(&["record", "ls", &collection, "--all", "--format", "json"]);
    assert_eq!(count_lines(&listed), 50);
    let exported = run(&["export", "--collection", &collection]);
    assert_eq!(count_lines(&exported), 50);
    fs::write(dir.join("value"), large(p, 300_000)).unwrap();
    let (key, subject) = (p.canary("a key of the command line"), p.canary("a subject of the command line"));
    let media = format!("application/{}", p.canary("a content type of the command line"));
    run(&["record", "put", &store.people, &key, "value", "--subject", &subject, "--content-type", &media]);
    assert!(run(&["record", "get", &store.people, &key]) == fs::read(dir.join("value")).unwrap());
    run(&["token", "create", "--role", "writer", "--save-token", "writer.token"]);
    p.adopt_token("a writer's token", fs::read_to_string(dir.join("writer.token")).unwrap().trim_end());
    run(&["shred", "subject", &subject, "--yes", "--wait"]);
    // A line that is no JSON, a record that is refused.
    fs::write(
        dir.join("bad.jsonl"),
        format!("{}\n{{\"id\": \"{}/../x\", \"person\": \"x\"}}\n", p.canary("a bad line"), p.canary("a bad key")),
    )
    .unwrap();
    let mut bad = server.lethe(&store.owner);
    bad.env("LETHE_TENANT", &store.tenant).current_dir(&dir);
    bad.args(["import", "--key", "id", "--subject", "person", "--collection", &collection, "bad.jsonl"]);
    assert!(!bad.output().unwrap().status.success());
}

/// What no client library would send.
pub(super) async fn raw_sockets(p: &Prober, server: &Server, store: &Store) {
    let address = server.url.trim_start_matches("http://").to_owned();
    let path = store.record(&store.people, &p.canary("a raw key"));
    let head = format!(
        "PUT {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nlethe-subject: {}\r\n",
        store.owner,
        p.canary("a raw subject")
    );
    let messages = [
        format!("{} / HTTP/1.1\r\n\r\n", p.canary("a raw method")),
        format!("GET /{} HTTP/9.9\r\n\r\n", p.canary("a raw target")),
        format!("GET / HTTP/1.1\r\n{}\r\n\r\n", p.canary("no header")),
        format!("GET / HTTP/1.1\r\nhost: x\r\n{}: \u{1}{}\r\n\r\n", p.canary("a header's name"), p.canary("a header's value")),
        format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", p.canary("a huge header").repeat(7_000)),
        format!("{}\r\n", p.canary("noise")),
        format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{}", p.canary("HTTP/2 noise").repeat(4)),
        format!("{head}content-length: 1\r\ncontent-length: 2\r\n\r\n{}", p.canary("a smuggled body")),
        format!("{head}transfer-encoding: {}\r\n\r\n0\r\n\r\n", p.canary("a transfer encoding")),
        format!("{head}content-length: {}\r\n\r\nx", p.canary("a length")),
        format!("{head}transfer-encoding: chunked\r\n\r\n{}\r\n", p.canary("no chunk")),
        format!("{head}transfer-encoding: chunked\r\n\r\n18\r\n{}\r\nzz", p.canary("a chunk")),
        format!("{head}content-length: 100000\r\n\r\n{}", p.canary("a body cut short")),
        format!("{head}content-length: 300000\r\n\r\n{}", String::from_utf8(large(p, 250_000)).unwrap()),
        format!(
            "{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{}",
            VALUE_LIMIT + 9_000,
            String::from_utf8(large(p, VALUE_LIMIT + 9_000)).unwrap()
        ),
    ];
    let address = &address;
    let talk = |message: String| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server may close before it has read all of it.
        let _ = stream.write_all(message.as_bytes()).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_mins(1), stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "no end: {}", message.chars().take(100).collect::<String>());
        p.said("the answer to a broken message", answer);
    };
    futures_util::future::join_all(messages.map(talk)).await;
    get(p, GET, path, &store.owner, 404).await;
}

/// Shreds what was put in, each way there is, and asks for it again.
pub(super) async fn empty(p: &Prober, store: &Store) {
    let path = store.at("/shreds");
    let record = store.record(&store.people, &store.key);
    let read = get(p, GET, record.clone(), &store.owner, 200).await;
    p.came_back(&read, &store.subject);
    for (body, status) in [
        (json!({"scope": p.canary("a scope")}), 422),
        (json!({"scope": "subject", "subject": p.canary("a long subject").repeat(12)}), 400),
        (json!({"scope": "subject", "subject": "x", p.canary("a field"): p.canary("its value")}), 422),
        (json!({"scope": "collection", "collection": p.canary("no collection")}), 404),
        (json!({"scope": "record", "collection": store.notes, "key": p.canary("no record")}), 404),
        (json!({"scope": "record", "collection": store.people, "key": store.key.replace("%40", "@")}), 422),
        (json!({"scope": "tenant", "confirm": p.canary("a wrong confirmation")}), 422),
    ] {
        send(p, SHRED, path.clone(), &store.owner, body, status).await;
    }
    let mut orders = vec![
        json!({"scope": "record", "collection": store.notes, "key": store.key.replace("%40", "@")}),
        json!({"scope": "subject", "subject": store.subject}),
        json!({"scope": "subject", "subjects": [p.canary("a subject that never wrote")]}),
        json!({"scope": "collection", "collection": store.files}),
    ];
    orders.push(json!({"scope": "tenant", "confirm": store.tenant}));
    let last = orders.len() - 1;
    for (at, order) in orders.into_iter().enumerate() {
        let headers = pairs(&[("content-type", "application/json".into()), ("prefer", "wait=30".into())]);
        let body = order.to_string().into_bytes();
        let done = p.ask(Ask { route: SHRED, path: path.clone(), token: &store.owner, headers, body, status: 200 }).await.json();
        get(p, SHRED_STATE, format!("{path}/{}", done["id"].as_str().unwrap()), &store.owner, 200).await;
        get(p, CERTIFICATE, done["certificate"].as_str().unwrap().to_owned(), "", 200).await;
        if at == 1 {
            for (route, path, status) in [
                (GET, record.clone(), 410),
                (HEAD, record.clone(), 410),
                (DELETE, record.clone(), 410),
                (SHRED_STATE, format!("{path}/{}", p.canary("an order's id")), 400),
                (SHRED_STATE, format!("{path}/{}", id(p)), 404),
            ] {
                get(p, route, path, &store.owner, status).await;
            }
            let value = p.canary("a value of who was shredded").into_bytes();
            put(p, record.clone(), &store.owner, &[("lethe-subject", store.subject.clone())], value, 410).await;
            let alias = json!({"subject": store.subject, "alias": p.canary("an alias of who was shredded")});
            send(p, ADD_ALIAS, store.at("/subjects/aliases"), &store.owner, alias, 410).await;
            let event = json!({"subject": store.subject, "event": "left", "at": "2026-03-31"});
            send(p, REPORT_EVENT, store.at("/subjects/events"), &store.owner, event, 410).await;
        }
        if at < last {
            let trail = get(p, AUDIT, store.at("/audit?limit=1000"), &store.owner, 200).await;
            assert!(trail.json()["data"].as_array().unwrap().len() > 50);
        }
    }
    let checkpoint = get(p, "GET /log/checkpoint", "/log/checkpoint".into(), "", 200).await;
    let size: u8 = std::str::from_utf8(&checkpoint.bytes).unwrap().lines().nth(1).unwrap().parse().unwrap();
    for level in ["0", "entries"] {
        get(p, "GET /log/tile/{path}", format!("/log/tile/{level}/000.p/{size}"), "", 200).await;
    }
    for (route, path) in [(GET, record), (COLLECTION, store.at(&format!("/collections/{}", store.people)))] {
        get(p, route, path, &store.owner, 410).await;
    }
    // Who ordered the tenant's shred still reads its trail, which names nobody any more.
    let trail = get(p, AUDIT, store.at("/audit?limit=1000"), &store.owner, 200).await;
    assert!(trail.json()["data"].as_array().unwrap().len() > 50);
}

//! Every route without a credential, with another tenant's, and with a role that may not; and its audit entry.

use std::collections::BTreeSet;
use std::time::Duration;

use lethe::domain::{Clock as _, SystemClock};
use lethe::http::{Access, endpoints};
use serde_json::{Value, json};

use super::bundles::coming;
use super::site::{Site, hold, id_of};

/// How a route is called, and how it answers those who may not. A route that does several things has several.
struct Case {
    method: &'static str,
    /// The route's template.
    route: &'static str,
    /// A real path; `{token}`, `{order}`, `{hold}` and what stands for requests of approval are ids that are there.
    path: &'static str,
    body: fn() -> Option<Value>,
    /// A role that may not, and what it is told.
    wrong_role: (&'static str, u16),
    /// What another tenant's owner is told: 404, or 403 for what is the store's own.
    other_tenant: u16,
    /// Who may, and the action that is found in the trail after it.
    right: (&'static str, &'static str),
}

const TENANTS: &str = "/v1/tenants";
const TENANT: &str = "/v1/tenants/{tenant}";
const TOKENS: &str = "/v1/tenants/{tenant}/tokens";
const TOKEN: &str = "/v1/tenants/{tenant}/tokens/{id}";
const COLLECTIONS: &str = "/v1/tenants/{tenant}/collections";
const COLLECTION: &str = "/v1/tenants/{tenant}/collections/{collection}";
const RECORDS: &str = "/v1/tenants/{tenant}/collections/{collection}/records";
const RECORD: &str = "/v1/tenants/{tenant}/collections/{collection}/records/{*key}";
const RETENTION: &str = "/v1/tenants/{tenant}/collections/{collection}/retention/{*key}";
const SIMULATIONS: &str = "/v1/tenants/{tenant}/collections/{collection}/simulations";
const RUNS: &str = "/v1/jobs/retention/runs";
const MARKED: &str = "/v1/tenants/{tenant}/collections/{collection}/marked";
const REPORTS: &str = "/v1/tenants/{tenant}/retention/reports";
const REPORT: &str = "/v1/tenants/{tenant}/retention/reports/{id}";
const HOLDS: &str = "/v1/tenants/{tenant}/holds";
const ALIASES: &str = "/v1/tenants/{tenant}/subjects/aliases";
const SNAPSHOTS: &str = "/v1/jobs/snapshots";
const SNAPSHOT: &str = "/v1/jobs/snapshots/{id}";
const QUERY: &str = "/v1/tenants/{tenant}/collections/{collection}/query";
const BATCH: &str = "/v1/tenants/{tenant}/batch";

fn none() -> Option<Value> {
    None
}

fn case(
    method: &'static str,
    route: &'static str,
    path: &'static str,
    body: fn() -> Option<Value>,
    wrong_role: (&'static str, u16),
    other_tenant: u16,
    right: (&'static str, &'static str),
) -> Case {
    Case { method, route, path, body, wrong_role, other_tenant, right }
}

/// Those about how long data is kept, and of jobs; the record is deleted by the others.
fn cases_of_retention() -> Vec<Case> {
    let explain = "/v1/tenants/acme/collections/crm/retention/eu/anna";
    vec![
        case("GET", RETENTION, explain, none, ("eraser", 403), 404, ("auditor", "retention.read")),
        case(
            "POST",
            SIMULATIONS,
            "/v1/tenants/acme/collections/crm/simulations",
            || Some(json!({"policy": {}})),
            ("reader", 403),
            404,
            ("auditor", "retention.read"),
        ),
        case("POST", SNAPSHOTS, SNAPSHOTS, none, ("owner", 403), 403, ("job", "backup.take")),
        case(
            "DELETE",
            SNAPSHOT,
            "/v1/jobs/snapshots/00000000000000000000000000000000",
            none,
            ("owner", 403),
            403,
            ("operator", "backup.take"),
        ),
        case("POST", RUNS, RUNS, || Some(json!({})), ("owner", 403), 403, ("operator", "retention.run")),
        case("GET", RUNS, RUNS, none, ("auditor", 403), 403, ("job", "retention.due")),
        case("GET", MARKED, "/v1/tenants/acme/collections/soon/marked", none, ("reader", 403), 404, ("auditor", "retention.marked")),
        case("GET", REPORTS, "/v1/tenants/acme/retention/reports", none, ("writer", 403), 404, ("owner", "retention.report")),
        case("GET", REPORT, "/v1/tenants/acme/retention/reports/{report}", none, ("counsel", 403), 404, ("auditor", "retention.report")),
    ]
}

/// What is kept from the owner most of all. The hold that is placed is on nobody whom the others are about.
fn cases_of_holds() -> Vec<Case> {
    let hold = || Some(hold(json!({"scope": "subject", "subject": "nobody"})));
    let reason = || Some(json!({"reason": "r"}));
    let (all, one) = ("/v1/tenants/acme/holds", "/v1/tenants/acme/holds/{hold}");
    let (release, renew) = ("/v1/tenants/acme/holds/{hold}/release", "/v1/tenants/acme/holds/{hold}/renew");
    vec![
        case("POST", HOLDS, all, hold, ("owner", 403), 404, ("counsel", "hold.place")),
        case("GET", HOLDS, all, none, ("writer", 403), 404, ("auditor", "hold.read")),
        case("GET", "/v1/tenants/{tenant}/holds/{id}", one, none, ("reader", 403), 404, ("counsel", "hold.read")),
        case("POST", "/v1/tenants/{tenant}/holds/{id}/renew", renew, reason, ("owner", 403), 404, ("counsel", "hold.renew")),
        case("POST", "/v1/tenants/{tenant}/holds/{id}/release", release, reason, ("owner", 403), 404, ("counsel", "hold.release")),
    ]
}

/// Of a person whom no other case is about.
fn cases_of_events() -> Vec<Case> {
    let event = || Some(json!({"subject": "anybody", "event": "contract-ended", "at": "2026-01-31"}));
    let (report, query, remove) =
        ("/v1/tenants/acme/subjects/events", "/v1/tenants/acme/subjects/events/query", "/v1/tenants/acme/subjects/events/remove");
    vec![
        case("POST", "/v1/tenants/{tenant}/subjects/events", report, event, ("reader", 403), 404, ("writer", "event.report")),
        case(
            "POST",
            "/v1/tenants/{tenant}/subjects/events/query",
            query,
            || Some(json!({"subject": "anybody"})),
            ("eraser", 403),
            404,
            ("reader", "event.read"),
        ),
        case(
            "POST",
            "/v1/tenants/{tenant}/subjects/events/remove",
            remove,
            || Some(json!({"subject": "anybody", "event": "contract-ended"})),
            ("auditor", 403),
            404,
            ("owner", "event.withdraw"),
        ),
    ]
}

/// Of persons whom no other case is about.
fn cases_of_aliases() -> Vec<Case> {
    let alias = || Some(json!({"subject": "somebody", "alias": "something"}));
    let (add, query, remove) =
        ("/v1/tenants/acme/subjects/aliases", "/v1/tenants/acme/subjects/aliases/query", "/v1/tenants/acme/subjects/aliases/remove");
    vec![
        case("POST", ALIASES, add, alias, ("reader", 403), 404, ("writer", "alias.add")),
        case(
            "POST",
            "/v1/tenants/{tenant}/subjects/aliases/query",
            query,
            || Some(json!({"subject": "somebody"})),
            ("eraser", 403),
            404,
            ("reader", "alias.read"),
        ),
        case(
            "POST",
            "/v1/tenants/{tenant}/subjects/aliases/remove",
            remove,
            || Some(json!({"alias": "something"})),
            ("counsel", 403),
            404,
            ("owner", "alias.remove"),
        ),
    ]
}

/// What is asked of a second owner: to make the policy looser, which takes nothing along.
fn cases_of_approvals() -> Vec<Case> {
    let policy = || Some(json!({"approvals": {"shred": ["tenant"]}}));
    let nothing = || Some(json!({}));
    let (of_policy, all) = ("/v1/tenants/acme/policy", "/v1/tenants/acme/approvals");
    vec![
        case("PUT", "/v1/tenants/{tenant}/policy", of_policy, policy, ("eraser", 403), 404, ("owner", "policy.write")),
        case("GET", "/v1/tenants/{tenant}/policy", of_policy, none, ("writer", 403), 404, ("auditor", "policy.read")),
        case("GET", "/v1/tenants/{tenant}/approvals", all, none, ("writer", 403), 404, ("auditor", "approval.read")),
        case(
            "GET",
            "/v1/tenants/{tenant}/approvals/{id}",
            "/v1/tenants/acme/approvals/{approval}",
            none,
            ("reader", 403),
            404,
            ("second", "approval.read"),
        ),
        case(
            "POST",
            "/v1/tenants/{tenant}/approvals/{id}/approve",
            "/v1/tenants/acme/approvals/{approval}/approve",
            nothing,
            ("auditor", 403),
            404,
            ("second", "approval.approve"),
        ),
        case(
            "POST",
            "/v1/tenants/{tenant}/approvals/{id}/refuse",
            "/v1/tenants/acme/approvals/{refused}/refuse",
            nothing,
            ("auditor", 403),
            404,
            ("second", "approval.refuse"),
        ),
        case(
            "POST",
            "/v1/tenants/{tenant}/approvals/{id}/withdraw",
            "/v1/tenants/acme/approvals/{withdrawn}/withdraw",
            none,
            ("reader", 403),
            404,
            ("owner", "approval.withdraw"),
        ),
        case(
            "POST",
            "/v1/tenants/{tenant}/collections/{collection}/shortenings",
            "/v1/tenants/acme/collections/kept/shortenings",
            none,
            ("writer", 403),
            404,
            ("owner", "approval.ask"),
        ),
        case(
            "POST",
            "/v1/tenants/{tenant}/collections/{collection}/bypasses",
            "/v1/tenants/acme/collections/kept/bypasses",
            || Some(json!({"reason": "r"})),
            ("governor", 403),
            404,
            ("owner", "approval.ask"),
        ),
    ]
}

/// The states of a tenant: each case takes back what the one before it did.
fn cases_of_states() -> Vec<Case> {
    let reason = || Some(json!({"reason": "r"}));
    let (suspend, resume) = ("/v1/tenants/{tenant}/suspend", "/v1/tenants/{tenant}/resume");
    let (end, cancel) = ("/v1/tenants/{tenant}/termination", "/v1/tenants/{tenant}/termination/cancel");
    let order = || Some(json!({"confirm": "acme"}));
    vec![
        case("POST", suspend, "/v1/tenants/acme/suspend", reason, ("owner", 403), 404, ("operator", "tenant.suspend")),
        case("POST", resume, "/v1/tenants/acme/resume", reason, ("owner", 403), 404, ("operator", "tenant.resume")),
        case("POST", end, "/v1/tenants/acme/termination", order, ("operator", 403), 404, ("owner", "tenant.terminate")),
        case("GET", end, "/v1/tenants/acme/termination", none, ("reader", 403), 404, ("auditor", "shred.read")),
        case("POST", cancel, "/v1/tenants/acme/termination/cancel", reason, ("writer", 403), 404, ("owner", "tenant.cancel")),
        case("GET", "/v1/tenants/{tenant}/states", "/v1/tenants/acme/states", none, ("counsel", 403), 404, ("auditor", "state.read")),
    ]
}

/// Of a whole tenant: one that is there, and one that is to come.
fn cases_of_bundles() -> Vec<Case> {
    const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    let recipients = || Some(json!({"recipient": RECIPIENT, "counsel_recipient": RECIPIENT, "auditor_recipient": RECIPIENT}));
    let import = "/v1/tenants/coming/import?bundle=00000000000000000000000000000000&from=0";
    vec![
        case(
            "POST",
            "/v1/tenants/{tenant}/export",
            "/v1/tenants/acme/export",
            recipients,
            ("reader", 403),
            404,
            ("owner", "tenant.export"),
        ),
        case("POST", "/v1/tenants/{tenant}/import", import, none, ("operator", 403), 404, ("comer", "tenant.import")),
    ]
}

fn cases() -> Vec<Case> {
    let mut cases = cases_of_holds();
    cases.extend(cases_of_bundles());
    cases.extend(cases_of_aliases());
    cases.extend(cases_of_events());
    cases.extend(cases_of_approvals());
    cases.extend(cases_of_states());
    cases.extend(cases_of_retention());
    cases.extend(cases_of_the_rest());
    cases
}

fn cases_of_the_rest() -> Vec<Case> {
    vec![
        case("POST", TENANTS, "/v1/tenants", || Some(json!({"tenant": "late"})), ("owner", 403), 403, ("operator", "tenant.create")),
        case("GET", TENANTS, "/v1/tenants", none, ("owner", 403), 403, ("operator", "tenant.list")),
        case("GET", TENANT, "/v1/tenants/acme", none, ("nobody", 401), 404, ("reader", "tenant.read")),
        case(
            "POST",
            TOKENS,
            "/v1/tenants/acme/tokens",
            || Some(json!({"role": "reader"})),
            ("writer", 403),
            404,
            ("owner", "token.create"),
        ),
        case("GET", TOKENS, "/v1/tenants/acme/tokens", none, ("writer", 403), 404, ("auditor", "token.list")),
        case("DELETE", TOKEN, "/v1/tenants/acme/tokens/{token}", none, ("operator", 403), 404, ("owner", "token.revoke")),
        case("GET", COLLECTIONS, "/v1/tenants/acme/collections", none, ("eraser", 403), 404, ("auditor", "collection.read")),
        case(
            "PUT",
            COLLECTION,
            "/v1/tenants/acme/collections/crm",
            || Some(json!({})),
            ("writer", 403),
            404,
            ("owner", "collection.write"),
        ),
        case("GET", COLLECTION, "/v1/tenants/acme/collections/crm", none, ("operator", 404), 404, ("auditor", "collection.read")),
        case("GET", RECORDS, "/v1/tenants/acme/collections/crm/records", none, ("eraser", 403), 404, ("reader", "record.list")),
        case(
            "POST",
            QUERY,
            "/v1/tenants/acme/collections/crm/query",
            || Some(json!({})),
            ("operator", 404),
            404,
            ("reader", "record.list"),
        ),
        case(
            "PUT",
            RECORD,
            "/v1/tenants/acme/collections/crm/records/eu/anna",
            || Some(json!({})),
            ("reader", 403),
            404,
            ("writer", "record.write"),
        ),
        case("GET", RECORD, "/v1/tenants/acme/collections/crm/records/eu/anna", none, ("operator", 404), 404, ("reader", "record.read")),
        case("HEAD", RECORD, "/v1/tenants/acme/collections/crm/records/eu/anna", none, ("auditor", 403), 404, ("reader", "record.read")),
        case("DELETE", RECORD, "/v1/tenants/acme/collections/crm/records/eu/anna", none, ("reader", 403), 404, ("eraser", "record.delete")),
        case(
            "POST",
            BATCH,
            "/v1/tenants/acme/batch",
            || Some(json!({"ops": [{"op": "put", "collection": "crm", "key": "b", "value": "x", "subjects": ["1"]}]})),
            ("reader", 403),
            404,
            ("writer", "record.write"),
        ),
        case(
            "POST",
            BATCH,
            "/v1/tenants/acme/batch",
            || Some(json!({"ops": [{"op": "check", "collection": "crm", "key": "b", "if_match": "*"}]})),
            ("eraser", 403),
            404,
            ("reader", "record.read"),
        ),
        case(
            "POST",
            BATCH,
            "/v1/tenants/acme/batch",
            || Some(json!({"ops": [{"op": "delete", "collection": "crm", "key": "b"}]})),
            ("reader", 403),
            404,
            ("eraser", "record.delete"),
        ),
        case(
            "POST",
            "/v1/tenants/{tenant}/shreds",
            "/v1/tenants/acme/shreds",
            || Some(json!({"scope": "subject", "subject": "9"})),
            ("writer", 403),
            404,
            ("eraser", "shred.order"),
        ),
        case(
            "GET",
            "/v1/tenants/{tenant}/shreds/{id}",
            "/v1/tenants/acme/shreds/{order}",
            none,
            ("reader", 403),
            404,
            ("owner", "shred.read"),
        ),
        case("GET", "/v1/tenants/{tenant}/audit", "/v1/tenants/acme/audit", none, ("writer", 403), 404, ("auditor", "audit.read")),
        case("GET", "/metrics", "/metrics", none, ("owner", 403), 403, ("operator", "metrics.read")),
    ]
}

#[test]
fn every_guarded_route_has_a_case() {
    let cases: BTreeSet<(&str, &str)> = cases().iter().map(|case| (case.method, case.route)).collect();
    let guarded: BTreeSet<(&str, &str)> = endpoints()
        .iter()
        .filter(|endpoint| endpoint.access == Access::Credential)
        .map(|endpoint| (endpoint.method, endpoint.path))
        .collect();
    let missing: Vec<_> = guarded.difference(&cases).collect();
    assert!(missing.is_empty(), "add a Case to tests/api/access.rs for each of {missing:?}: who may not, and the action in the trail");
    assert_eq!(cases.difference(&guarded).count(), 0, "a case without its route");
}

/// Credentials by role, and ids of what is there.
struct Tokens {
    by_role: Vec<(&'static str, String)>,
    token: String,
    order: String,
    hold: String,
    report: String,
    /// Requests for a second owner: one to be approved, one to be refused, one to be taken back.
    approvals: Vec<String>,
}

impl Tokens {
    async fn of(site: &Site) -> Self {
        let owner = site.acme().await;
        let mut tokens = vec![("operator", site.operator.clone())];
        for role in ["writer", "reader", "auditor", "eraser", "governor"] {
            tokens.push((role, site.token("acme", &owner, json!({ "role": role })).await));
        }
        tokens.push(("counsel", site.counsel("acme", &owner).await));
        tokens.push(("job", site.token("system", &site.operator, json!({"role": "job"})).await));
        tokens.push(("other", site.tenant("other").await));
        tokens.push(("comer", coming(site, "coming").await));
        tokens.push(("nobody", owner.replace(&owner[owner.len() - 4..], "AAAA")));
        let token = id_of(&site.token("acme", &owner, json!({"role": "reader"})).await).to_owned();
        let ordered = site.send("POST", "/v1/tenants/acme/shreds", &owner, Some(json!({"scope": "subject", "subject": "8"}))).await;
        let order = ordered.json["id"].as_str().unwrap().to_owned();
        tokens.push(("owner", owner));
        let body = hold(json!({"scope": "subject", "subject": "nobody", "law_enforcement": true, "case_number": "1"}));
        let (hold, report) = (String::new(), String::new());
        let mut tokens = Self { by_role: tokens, token, order, hold, report, approvals: Vec::new() };
        tokens.ask_for_a_second(site).await;
        tokens.mark(site).await;
        let placed = site.send("POST", "/v1/tenants/acme/holds", tokens.get("counsel"), Some(body)).await;
        placed.json["id"].as_str().unwrap().clone_into(&mut tokens.hold);
        tokens
    }

    /// A second owner, a policy that takes both to be made looser, and requests to do so; a collection with rules, and a law that it had.
    async fn ask_for_a_second(&mut self, site: &Site) {
        let owner = self.get("owner").to_owned();
        let second = site.token("acme", &owner, json!({"role": "owner"})).await;
        self.by_role.push(("second", second));
        let policy = |window: &str| json!({"shred": ["tenant"], "window": window});
        // Once it is approved that one is enough, one ends the tenant.
        for (approvals, status) in [(policy("7d"), 200), (json!({}), 202), (policy("9d"), 202), (policy("10d"), 202)] {
            let put = site.send("PUT", "/v1/tenants/acme/policy", &owner, Some(json!({ "approvals": approvals }))).await;
            assert_eq!(put.status, status, "{put:?}");
            self.approvals.extend(put.json["id"].as_str().map(str::to_owned));
        }
        let governed = json!({"period": "1y", "basis": "law 1", "mode": "governance"});
        for (minimum, status) in [(Some(governed), 201), (None, 200)] {
            let mut rule = json!({"name": "r", "from": "created", "maximum": "1y", "then": "delete"});
            if let Some(minimum) = minimum {
                rule["minimum"] = minimum;
            }
            let rules = json!({"retention": {"time_zone": "UTC", "rules": [rule]}});
            assert_eq!(site.send("PUT", "/v1/tenants/acme/collections/kept", &owner, Some(rules)).await.status, status);
        }
    }

    /// A record that is marked, and the report of the run that has marked it.
    async fn mark(&mut self, site: &Site) {
        let owner = self.get("owner");
        let rule = json!({"name": "r", "from": {"field": "/date"}, "maximum": "10d", "then": "delete", "mark": "10d"});
        let rules = json!({"retention": {"time_zone": "UTC", "rules": [rule]}});
        assert_eq!(site.send("PUT", "/v1/tenants/acme/collections/soon", owner, Some(rules)).await.status, 201);
        // Two days ago: it is marked from the beginning.
        let date = SystemClock.now().less(Duration::from_hours(48)).to_rfc3339();
        let value = json!({"date": &date[..10]}).to_string();
        assert_eq!(site.put("/v1/tenants/acme/collections/soon/records/k", owner, "nobody", &value).await.status, 201);
        let run = site.send("POST", RUNS, &site.operator, Some(json!({}))).await;
        assert_eq!(run.status, 200, "{run:?}");
        // The server's own run may have been faster.
        let reports = site.get("/v1/tenants/acme/retention/reports", owner).await;
        let report = reports.json["data"].as_array().unwrap().iter().find(|report| report["marked"] == 1);
        report.unwrap_or_else(|| panic!("{reports:?}"))["id"].as_str().unwrap().clone_into(&mut self.report);
    }

    /// The path of a case, with real ids.
    fn path(&self, case: &Case) -> String {
        let mut path = case.path.replace("{token}", &self.token).replace("{order}", &self.order).replace("{hold}", &self.hold);
        path = path.replace("{report}", &self.report);
        for (name, id) in ["{approval}", "{refused}", "{withdrawn}"].into_iter().zip(&self.approvals) {
            path = path.replace(name, id);
        }
        path
    }

    fn get(&self, name: &str) -> &str {
        &self.by_role.iter().find(|(candidate, _)| *candidate == name).unwrap().1
    }
}

fn entries_of(trail: &[Value], request: &str) -> Vec<(String, String)> {
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    trail.iter().filter(|entry| entry["request"] == *request).map(|entry| (text(entry, "action"), text(entry, "outcome"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_credential_every_guarded_route_is_401_and_recorded() {
    let site = Site::open().await;
    let tokens = Tokens::of(&site).await;
    let mut requests = Vec::new();
    for case in cases() {
        let url = format!("{}{}", site.server.url(), tokens.path(&case));
        let bare = site.client.request(case.method.parse().unwrap(), url).send().await.unwrap();
        assert_eq!(
            (bare.status().as_u16(), bare.headers()["www-authenticate"].as_bytes()),
            (401, &b"Bearer"[..]),
            "{} {}",
            case.method,
            case.route
        );
        requests.push(bare.headers()["x-request-id"].to_str().unwrap().to_owned());
        let forged = site.send(case.method, &tokens.path(&case), tokens.get("nobody"), (case.body)()).await;
        assert_eq!(forged.status, 401, "{} {}", case.method, case.route);
        requests.push(forged.header("x-request-id").to_owned());
    }
    let trail = site.trail("system", &site.operator).await;
    for request in requests {
        assert_eq!(entries_of(&trail, &request).len(), 1, "a refused credential is on the record");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_is_told_what_the_policy_says_and_is_recorded() {
    let site = Site::open().await;
    let tokens = Tokens::of(&site).await;
    assert_eq!(site.put("/v1/tenants/acme/collections/crm/records/eu/anna", tokens.get("owner"), "1", "x").await.status, 201);
    let mut denied = Vec::new();
    for case in cases() {
        let named = format!("{} {}", case.method, case.route);
        let (role, status) = case.wrong_role;
        let refused = site.send(case.method, &tokens.path(&case), tokens.get(role), (case.body)()).await;
        assert_eq!(refused.status, status, "{named} as {role}: {refused:?}");
        if status != 401 {
            denied.push((named.clone(), refused.header("x-request-id").to_owned(), role));
        }
        let other = site.send(case.method, &tokens.path(&case), tokens.get("other"), (case.body)()).await;
        assert_eq!(other.status, case.other_tenant, "{named} as another tenant's owner: {other:?}");
        denied.push((named, other.header("x-request-id").to_owned(), "another tenant's owner"));
    }
    // In the trail of the tenant aimed at, or of the store; not in that of whoever tried.
    let mut trail_of_all = site.trail("acme", tokens.get("auditor")).await;
    trail_of_all.extend(site.trail("system", &site.operator).await);
    trail_of_all.extend(site.trail("coming", tokens.get("comer")).await);
    for (named, request, role) in denied {
        let entries = entries_of(&trail_of_all, &request);
        assert!(
            matches!(&entries[..], [(_, outcome)] if outcome == "denied"),
            "{named} as {role}: its denial is recorded once, found {entries:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_names_cannot_be_told_from_names_that_are_not() {
    let site = Site::open().await;
    let tokens = Tokens::of(&site).await;
    let mut there = site.get("/v1/tenants/acme/collections/crm/records/eu/anna", tokens.get("other")).await;
    let mut not_there = site.get("/v1/tenants/nothing/collections/crm/records/eu/anna", tokens.get("other")).await;
    for answer in [&mut there, &mut not_there] {
        answer.json["request_id"] = Value::Null;
        for name in ["x-request-id", "date"] {
            answer.headers.remove(name);
        }
    }
    assert_eq!((there.status, &there.json, &there.headers), (not_there.status, &not_there.json, &not_there.headers));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_is_recorded_on_every_guarded_route() {
    let site = Site::open().await;
    let tokens = Tokens::of(&site).await;
    assert_eq!(site.put("/v1/tenants/acme/collections/crm/records/eu/anna", tokens.get("owner"), "1", "x").await.status, 201);
    let mut done = Vec::new();
    for case in cases() {
        let (role, action) = case.right;
        let mut request = site.request(case.method.parse().unwrap(), &tokens.path(&case), tokens.get(role)).header("lethe-subject", "1");
        if let Some(body) = (case.body)() {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        assert!((200..300).contains(&status), "{} {} as {role}: {status}", case.method, case.route);
        done.push((format!("{} {}", case.method, case.route), answer.headers()["x-request-id"].to_str().unwrap().to_owned(), action));
    }
    let mut trail_of_all = site.trail("acme", tokens.get("auditor")).await;
    trail_of_all.extend(site.trail("system", &site.operator).await);
    trail_of_all.extend(site.trail("coming", tokens.get("comer")).await);
    for (named, request, action) in done {
        let entries = entries_of(&trail_of_all, &request);
        let found = entries.iter().any(|(entry, outcome)| entry == action && outcome == "allowed");
        assert!(found, "{named}: add an audit entry {action:?} to its operation; found {entries:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_guarded_route_takes_a_parameter_that_it_does_not_know() {
    let site = Site::open().await;
    let tokens = Tokens::of(&site).await;
    for case in cases() {
        let named = format!("{} {}", case.method, case.route);
        let path = format!("{}?surprise=1", tokens.path(&case));
        let answer = site.send(case.method, &path, tokens.get(case.right.0), (case.body)()).await;
        let code = if case.method == "HEAD" { "" } else { "malformed-query" };
        assert_eq!((answer.status, answer.code()), (400, code), "{named}: say no_query, or parse its own");
    }
}

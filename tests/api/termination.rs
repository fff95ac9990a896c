//! A tenant's states over the wire: every step from every state, what each state leaves to whom, the end of a grace, and what remains.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use lethe::authn::Role;
use lethe::authz::{ActionKind, leaves as leaves_to};
use lethe::domain::{
    TestClock,
    lifecycle::{Step, TenantState},
};
use lethe::http::endpoints;
use reqwest::Method;
use serde_json::{Value, json};

use super::site::{Answer, Site, hold, id_of};
use crate::age::PAIRS;

const DAY: Duration = Duration::from_hours(24);

/// A store at noon of 1 March 2024.
async fn site() -> (Site, Arc<TestClock>) {
    Site::open_on("2024-03-01T12:00:00Z").await
}

/// A tenant with a token of each role, and a record.
struct Tenant<'a> {
    site: &'a Site,
    name: String,
    tokens: BTreeMap<&'static str, String>,
}

const ROLES: [&str; 8] = ["operator", "owner", "writer", "reader", "auditor", "eraser", "counsel", "governor"];

impl<'a> Tenant<'a> {
    async fn make(site: &'a Site, name: &str) -> Self {
        let owner = site.tenant(name).await;
        site.collection(name, "crm", &owner, "subject").await;
        let mut tokens = BTreeMap::from([("operator", site.operator.clone()), ("owner", owner.clone())]);
        for role in &ROLES[2..] {
            let made =
                if *role == "counsel" { site.counsel(name, &owner).await } else { site.token(name, &owner, json!({ "role": role })).await };
            tokens.insert(*role, made);
        }
        let tenant = Self { site, name: name.to_owned(), tokens };
        assert_eq!(tenant.put("owner").await.status, 201);
        tenant
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/tenants/{}{rest}", self.name)
    }

    async fn send(&self, method: &str, rest: &str, role: &str, body: Option<Value>) -> Answer {
        self.site.send(method, &self.path(rest), &self.tokens[role], body).await
    }

    async fn put(&self, role: &str) -> Answer {
        self.site.put(&self.path("/collections/crm/records/a"), &self.tokens[role], "7", "x").await
    }

    async fn get(&self, role: &str) -> Answer {
        self.send("GET", "/collections/crm/records/a", role, None).await
    }

    async fn state(&self) -> String {
        let shown = self.send("GET", "", "operator", None).await;
        shown.json["state"].as_str().unwrap_or(shown.code()).to_owned()
    }

    /// A step, by who may take it.
    async fn step(&self, step: Step) -> Answer {
        let reason = || Some(json!({"reason": "as the table says"}));
        match step {
            Step::Suspend => self.send("POST", "/suspend", "operator", reason()).await,
            Step::Resume => self.send("POST", "/resume", "operator", reason()).await,
            Step::Terminate => {
                let body = json!({"confirm": self.name, "reason": "as the table says"});
                self.send("POST", "/termination", "owner", Some(body)).await
            }
            Step::Cancel => self.send("POST", "/termination/cancel", "owner", reason()).await,
            Step::Shred => {
                let order = json!({"scope": "tenant", "confirm": self.name});
                self.site.shred(&self.name, &self.tokens["owner"], order).await
            }
            Step::GraceOver | Step::Restrict | Step::ShredDone => panic!("nobody takes this step: {step:?}"),
        }
    }

    /// Ends it at once, in part or not at all, for a hold keeps a person of it, or all.
    async fn end_under(&self, scope: Value) {
        let placed = self.send("POST", "/holds", "counsel", Some(hold(scope))).await;
        assert_eq!(placed.status, 201, "{placed:?}");
        let body = json!({"confirm": self.name, "grace": "0d", "reason": "as the table says"});
        let ordered = self.send("POST", "/termination", "owner", Some(body)).await;
        assert_eq!((ordered.status, ordered.json["state"].as_str()), (202, Some("ended")), "{ordered:?}");
        self.site.run_retention().await;
    }

    /// The keys of records that the trail names to a role.
    async fn named(&self, role: &str) -> BTreeSet<String> {
        let trail = self.site.trail(&self.name, &self.tokens[role]).await;
        trail.iter().filter_map(|entry| entry["names"]["key"].as_str().map(str::to_owned)).collect()
    }

    /// Whether it names none to a role.
    async fn names_nothing(&self, role: &str) -> bool {
        let named = self.named(role).await;
        !named.is_empty() && named.iter().all(|key| key.starts_with("unnamed-key-"))
    }

    /// Its steps in no order, for they may all be of one moment: what each was, from where to where, and why.
    async fn steps(&self) -> Vec<Stepped> {
        let told = self.send("GET", "/states", "owner", None).await;
        assert_eq!(told.status, 200, "{told:?}");
        let text = |row: &Value, field: &str| row[field].as_str().map(str::to_owned);
        let of = |row: &Value| (["step", "from", "to"].map(|field| text(row, field).unwrap()), text(row, "reason"));
        let mut steps: Vec<Stepped> = told.json["data"].as_array().unwrap().iter().map(of).collect();
        steps.sort();
        steps
    }

    async fn hold(&self, disclosed: bool) -> String {
        let body = hold(json!({"scope": "tenant", "disclosed": disclosed}));
        let placed = self.send("POST", "/holds", "counsel", Some(body)).await;
        assert_eq!(placed.status, 201, "{placed:?}");
        placed.json["id"].as_str().unwrap().to_owned()
    }

    async fn release(&self, hold: &str) {
        let released = self.send("POST", &format!("/holds/{hold}/release"), "counsel", Some(json!({"reason": "settled"}))).await;
        assert_eq!(released.status, 200, "{released:?}");
    }

    /// The trail, as soon as it tells that so many orders to shred are done.
    async fn ended(&self, orders: usize) -> Vec<Value> {
        let waited = tokio::time::timeout(Duration::from_mins(1), async {
            loop {
                // Between the order and the end of its keys nobody reads it.
                if self.send("GET", "/audit", "owner", None).await.status == 200 {
                    let trail = self.site.trail(&self.name, &self.tokens["owner"]).await;
                    if trail.iter().filter(|entry| entry["action"] == "shred.done").count() == orders {
                        return trail;
                    }
                }
            }
        });
        waited.await.expect("it is not shredded")
    }
}

/// A step, the state before it and the state behind it; and the reason.
type Stepped = ([String; 3], Option<String>);

/// The whole matrix of KST-5: from each state a tenant is brought to, each step is taken or refused as the table of the states says; and
/// the trail tells of each that was taken, and the record of states of old state, new state and reason. While its shred is ordered, and that is
/// not done, it takes none: `a_tenant_whose_shred_is_ordered_takes_no_step`, of the proofs.
#[tokio::test(flavor = "multi_thread")]
async fn every_step_from_every_state_is_the_tables() {
    let (site, _) = site().await;
    let steps = [Step::Suspend, Step::Resume, Step::Terminate, Step::Cancel, Step::Shred];
    let ways: [(TenantState, &[Step]); 7] = [
        (TenantState::Active, &[]),
        (TenantState::Suspended, &[Step::Suspend]),
        (TenantState::Terminating, &[Step::Terminate]),
        (TenantState::TerminatingSuspended, &[Step::Terminate, Step::Suspend]),
        // Held as a whole, so that it stays there.
        (TenantState::Ended, &[Step::Terminate, Step::GraceOver]),
        (TenantState::Restricted, &[Step::Terminate, Step::GraceOver, Step::Shred, Step::Restrict]),
        (TenantState::Shredded, &[Step::Shred, Step::ShredDone]),
    ];
    let by_the_store = [Step::GraceOver, Step::Restrict, Step::ShredDone];
    let mut tried = 0;
    for (from, way) in ways {
        for step in steps {
            let tenant = Tenant::make(&site, &format!("{}-{}", from.name(), step.name())).await;
            if from == TenantState::Ended {
                tenant.end_under(json!({"scope": "tenant"})).await;
            } else if from == TenantState::Restricted {
                tenant.end_under(json!({"scope": "subject", "subject": "7"})).await;
                tenant.ended(1).await;
            } else {
                for before in way.iter().filter(|step| !by_the_store.contains(step)) {
                    let reached = tenant.step(*before).await;
                    assert!((200..300).contains(&reached.status), "{reached:?}");
                }
            }
            let mut taken = way.to_vec();
            assert_eq!(tenant.state().await, from.name());
            let answer = tenant.step(step).await;
            let named = format!("{} by {}: {answer:?}", from.name(), step.name());
            let to = from.after(step);
            match (from, step, to) {
                (TenantState::Shredded, _, None) => assert_eq!((answer.status, answer.code()), (410, "shredded"), "{named}"),
                // One that was given before goes on; a new one is not taken.
                (TenantState::Suspended | TenantState::TerminatingSuspended, Step::Shred, Some(_)) => {
                    assert_eq!((answer.status, answer.code()), (403, "tenant-suspended"), "{named}");
                }
                (TenantState::Ended | TenantState::Restricted, Step::Shred, Some(_)) => {
                    assert_eq!((answer.status, answer.code()), (403, "tenant-terminating"), "{named}");
                }
                (_, _, None) => {
                    assert_eq!((answer.status, answer.code()), (409, "tenant-state"), "{named}");
                    assert_eq!(tenant.state().await, from.name(), "{named}");
                }
                (_, Step::Shred, Some(_)) => {
                    assert_eq!((answer.status, answer.json["state"].as_str()), (200, Some("done")), "{named}");
                    taken.extend([Step::Shred, Step::ShredDone]);
                }
                (_, _, Some(to)) => {
                    assert!((200..300).contains(&answer.status), "{named}");
                    assert_eq!((answer.json["state"].as_str(), tenant.state().await.as_str()), (Some(to.name()), to.name()), "{named}");
                    taken.push(step);
                }
            }
            let trail = site.trail(&tenant.name, &tenant.tokens["owner"]).await;
            let is_step = |entry: &&Value| {
                let of_state = ["tenant.suspend", "tenant.resume", "tenant.terminate", "tenant.cancel"].map(Value::from);
                entry["outcome"] == "allowed" && (of_state.contains(&entry["action"]) || entry["action"] == "shred.order")
            };
            let asked_for = taken.iter().filter(|step| !by_the_store.contains(step)).count();
            assert_eq!(trail.iter().filter(is_step).count(), asked_for, "each step is in the trail once: {named}: {trail:#?}");
            let mut state = TenantState::Active;
            let mut expected = Vec::new();
            for step in &taken {
                let to = state.after(*step).unwrap();
                let is_asked = [Step::Suspend, Step::Resume, Step::Terminate, Step::Cancel].contains(step);
                let reason = is_asked && !taken.contains(&Step::ShredDone);
                expected.push(([step.name(), state.name(), to.name()].map(str::to_owned), reason.then(|| "as the table says".to_owned())));
                state = to;
            }
            expected.sort();
            assert_eq!(tenant.steps().await, expected, "{named}: with its keys go the reasons");
            tried += 1;
        }
    }
    assert_eq!(tried, 35);
}

/// Whether a state leaves each role what it should: 403 with the state's code, or what the policy says.
async fn leaves(tenant: &Tenant<'_>, code: &str, left: &[(&str, &[&str])]) {
    let asks: [(&str, &str, &str, Option<Value>); 15] = [
        ("read", "GET", "/collections/crm/records/a", None),
        ("list", "GET", "/collections/crm/records", None),
        ("write", "PUT", "/collections/crm/records/b", Some(json!({}))),
        ("delete", "DELETE", "/collections/crm/records/none", None),
        ("policy", "GET", "/collections/crm", None),
        ("make", "PUT", "/collections/other", Some(json!({}))),
        ("explain", "GET", "/collections/crm/retention/a", None),
        ("batch", "POST", "/batch", Some(json!({"ops": [{"op": "check", "collection": "crm", "key": "a", "if_match": "*"}]}))),
        ("token", "POST", "/tokens", Some(json!({"role": "reader"}))),
        ("ids", "POST", "/subjects/aliases/query", Some(json!({"subject": "7"}))),
        ("alias", "POST", "/subjects/aliases", Some(json!({"subject": "7", "alias": "seven"}))),
        ("alias taken away", "POST", "/subjects/aliases/remove", Some(json!({"alias": "seven"}))),
        ("events", "POST", "/subjects/events/query", Some(json!({"subject": "7"}))),
        ("event", "POST", "/subjects/events", Some(json!({"subject": "7", "event": "left", "at": "2024-03-01"}))),
        ("event taken back", "POST", "/subjects/events/remove", Some(json!({"subject": "7", "event": "left"}))),
    ];
    for (what, method, rest, body) in asks {
        let may: &[&str] = left.iter().find(|(name, _)| *name == what).map_or(&[], |(_, roles)| roles);
        for role in &ROLES[1..] {
            let mut request =
                tenant.site.request(method.parse().unwrap(), &tenant.path(rest), &tenant.tokens[role]).header("lethe-subject", "7");
            if let Some(body) = &body {
                request = request.json(body);
            }
            let answer = Answer::of(request.send().await.unwrap()).await;
            let is_refused = answer.status == 403 && answer.code() == code;
            let is_not_its = answer.status == 403 && answer.code() == "forbidden";
            if may.contains(role) {
                assert!(!is_refused && !is_not_its, "{what} by {role}: {answer:?}");
            } else {
                assert!(is_refused || is_not_its, "{what} by {role}: {answer:?}");
            }
        }
    }
    for role in ["owner", "auditor"] {
        assert_eq!(tenant.send("GET", "/audit", role, None).await.status, 200);
        assert_eq!(tenant.send("GET", "/tokens", role, None).await.status, 200);
        assert_eq!(tenant.send("GET", "/holds", role, None).await.status, 200);
    }
}

/// Each route of a tenant: what it is for, and a request that changes nothing even where it is left, for it is refused behind that.
fn routes() -> Vec<(ActionKind, &'static str, &'static str, Option<Value>)> {
    let lines = || Some(json!({"reason": "two\nlines"}));
    let op = |op: &str, value: Option<&str>| {
        let mut op = json!({"op": op, "collection": "crm", "key": "a", "if_match": "*"});
        op.as_object_mut().unwrap().extend(value.map(|value| ("value".to_owned(), json!(value))));
        Some(json!({ "ops": [op] }))
    };
    let hold = json!({"matter": "two\nlines", "reason": "r", "custodian": "c", "scope": "tenant"});
    vec![
        (ActionKind::TenantRead, "GET", "", None),
        (ActionKind::TenantSuspend, "POST", "/suspend", lines()),
        (ActionKind::TenantResume, "POST", "/resume", lines()),
        (ActionKind::TenantTerminate, "POST", "/termination", Some(json!({"confirm": "another"}))),
        (ActionKind::ShredRead, "GET", "/termination", None),
        (ActionKind::TenantCancel, "POST", "/termination/cancel", lines()),
        (ActionKind::StateRead, "GET", "/states", None),
        (ActionKind::TenantExport, "POST", "/export", Some(json!({"recipient": PAIRS[0].recipient}))),
        (ActionKind::TenantImport, "POST", "/import?bundle=00000000000000000000000000000000&from=0", None),
        (ActionKind::TokenCreate, "POST", "/tokens", Some(json!({"role": "operator"}))),
        (ActionKind::TokenList, "GET", "/tokens", None),
        (ActionKind::TokenRevoke, "DELETE", "/tokens/{id}", None),
        (ActionKind::CollectionRead, "GET", "/collections", None),
        (ActionKind::CollectionWrite, "PUT", "/collections/{collection}", Some(json!({}))),
        (ActionKind::CollectionRead, "GET", "/collections/{collection}", None),
        (ActionKind::RecordList, "GET", "/collections/{collection}/records", None),
        (ActionKind::RecordList, "POST", "/collections/{collection}/query", Some(json!({}))),
        (ActionKind::RecordWrite, "PUT", "/collections/{collection}/records/{*key}", Some(json!({}))),
        (ActionKind::RecordRead, "GET", "/collections/{collection}/records/{*key}", None),
        (ActionKind::RecordRead, "HEAD", "/collections/{collection}/records/{*key}", None),
        (ActionKind::RecordDelete, "DELETE", "/collections/{collection}/records/{*key}", None),
        (ActionKind::RetentionRead, "GET", "/collections/{collection}/retention/{*key}", None),
        (ActionKind::RetentionRead, "POST", "/collections/{collection}/simulations", Some(json!({"policy": {}}))),
        (ActionKind::RetentionMarked, "GET", "/collections/{collection}/marked", None),
        (ActionKind::RetentionReport, "GET", "/retention/reports", None),
        (ActionKind::RetentionReport, "GET", "/retention/reports/{id}", None),
        (ActionKind::RecordRead, "POST", "/batch", op("check", None)),
        (ActionKind::RecordWrite, "POST", "/batch", op("put", Some("x"))),
        (ActionKind::RecordDelete, "POST", "/batch", op("delete", None)),
        (ActionKind::ShredOrder, "POST", "/shreds", Some(json!({"scope": "record", "collection": "crm", "key": "none"}))),
        (ActionKind::ShredRead, "GET", "/shreds/{id}", None),
        (ActionKind::HoldPlace, "POST", "/holds", Some(hold)),
        (ActionKind::HoldRead, "GET", "/holds", None),
        (ActionKind::HoldRead, "GET", "/holds/{id}", None),
        (ActionKind::HoldRelease, "POST", "/holds/{id}/release", lines()),
        (ActionKind::HoldRenew, "POST", "/holds/{id}/renew", lines()),
        (ActionKind::AliasAdd, "POST", "/subjects/aliases", Some(json!({"subject": "7", "alias": "seven"}))),
        (ActionKind::AliasRead, "POST", "/subjects/aliases/query", Some(json!({"subject": "7"}))),
        (ActionKind::AliasRemove, "POST", "/subjects/aliases/remove", Some(json!({"alias": "seven"}))),
        (ActionKind::EventReport, "POST", "/subjects/events", Some(json!({"subject": "7", "event": "left", "at": "2024-03-01"}))),
        (ActionKind::EventRead, "POST", "/subjects/events/query", Some(json!({"subject": "7"}))),
        (ActionKind::EventWithdraw, "POST", "/subjects/events/remove", Some(json!({"subject": "7", "event": "left"}))),
        (ActionKind::PolicyWrite, "PUT", "/policy", Some(json!({"approvals": {}}))),
        (ActionKind::PolicyRead, "GET", "/policy", None),
        (ActionKind::ApprovalRead, "GET", "/approvals", None),
        (ActionKind::ApprovalRead, "GET", "/approvals/{id}", None),
        (ActionKind::ApprovalApprove, "POST", "/approvals/{id}/approve", Some(json!({}))),
        (ActionKind::ApprovalRefuse, "POST", "/approvals/{id}/refuse", Some(json!({}))),
        (ActionKind::ApprovalWithdraw, "POST", "/approvals/{id}/withdraw", None),
        (ActionKind::RetentionShorten, "POST", "/collections/{collection}/shortenings", None),
        (ActionKind::RetentionShorten, "POST", "/collections/{collection}/bypasses", Some(json!({"reason": "two\nlines"}))),
        (ActionKind::AuditRead, "GET", "/audit", None),
    ]
}

/// Every route of a tenant, in every state that leaves less than all, by every role: what the table of states does not leave is refused.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_left_to_those_alone_to_whom_the_table_of_states_leaves_it() {
    const TENANT: &str = "/v1/tenants/{tenant}";
    let path = |route: &str| format!("{TENANT}{}", route.split('?').next().unwrap());
    let tried: BTreeSet<(&str, String)> = routes().iter().map(|(_, method, route, _)| (*method, path(route))).collect();
    let of_tenants = endpoints().into_iter().filter(|endpoint| endpoint.path.starts_with(TENANT));
    let missing: Vec<(&str, String)> = of_tenants.map(|endpoint| (endpoint.method, endpoint.path.to_owned())).collect();
    let missing: Vec<_> = missing.iter().filter(|endpoint| !tried.contains(endpoint)).collect();
    assert!(missing.is_empty(), "say in tests/api/termination.rs what these are for: {missing:?}");
    let (site, _) = site().await;
    let states: [(TenantState, &str, &[Step], Option<Value>); 5] = [
        (TenantState::Suspended, "tenant-suspended", &[Step::Suspend], None),
        (TenantState::Terminating, "tenant-terminating", &[Step::Terminate], None),
        (TenantState::TerminatingSuspended, "tenant-suspended", &[Step::Terminate, Step::Suspend], None),
        (TenantState::Ended, "tenant-terminating", &[], Some(json!({"scope": "tenant"}))),
        (TenantState::Restricted, "tenant-terminating", &[], Some(json!({"scope": "subject", "subject": "7"}))),
    ];
    for (state, code, steps, held) in states {
        let tenant = Tenant::make(&site, state.name()).await;
        for step in steps {
            assert!((200..300).contains(&tenant.step(*step).await.status));
        }
        if let Some(held) = held {
            tenant.end_under(held).await;
        }
        if state == TenantState::Restricted {
            tenant.ended(1).await;
        }
        assert_eq!(tenant.state().await, state.name());
        let (mut left, mut refused) = (0, 0);
        for (action, method, route, body) in routes() {
            let path = tenant.path(&route.replace("{id}", &"0".repeat(32)).replace("{collection}", "crm").replace("{*key}", "a"));
            for role in ROLES {
                let mut request = site.request(method.parse().unwrap(), &path, &tenant.tokens[role]).header("lethe-subject", "7");
                if let Some(body) = &body {
                    request = request.json(body);
                }
                let answer = Answer::of(request.send().await.unwrap()).await;
                let named = format!("{} by {role} while {}: {method} {path}: {answer:?}", action.name(), state.name());
                if leaves_to(state, action, Role::parse(role).unwrap()) {
                    assert_ne!((answer.status, answer.code()), (403, code), "{named}");
                    left += usize::from(answer.status != 403);
                } else {
                    // Of what is in a tenant the operator does not even know.
                    let is_unknown = role == "operator" && answer.status == 404;
                    let is_refused = answer.status == 403 && (method == "HEAD" || [code, "forbidden"].contains(&answer.code()));
                    assert!(is_unknown || is_refused, "{named}");
                    refused += usize::from(answer.code() == code);
                }
            }
        }
        assert!(left > 20 && refused > 10, "{}: {left} {refused}", state.name());
        assert_eq!(tenant.state().await, state.name(), "none of these changes it");
    }
}

/// KST-2: suspended, nothing is read or written, by anybody; what is due is destroyed all the same, holds hold, and all is there again.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_tenant_is_neither_read_nor_written_and_goes_on_as_before_when_it_is_resumed() {
    let (site, clock) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    let other = Tenant::make(&site, "other").await;
    let due = acme.site.request(Method::PUT, &acme.path("/collections/crm/records/due"), &acme.tokens["owner"]);
    let due = due.header("lethe-subject", "8").header("lethe-expires-at", "2024-03-03T00:00:00Z").body("x").send().await.unwrap();
    assert_eq!(due.status(), 201);
    let suspended = acme.step(Step::Suspend).await;
    assert_eq!(suspended.json["suspended_at"], "2024-03-01T12:00:00.000Z", "{suspended:?}");
    leaves(&acme, "tenant-suspended", &[("policy", &["owner", "auditor", "counsel"])]).await;
    let shred = acme.send("POST", "/shreds", "eraser", Some(json!({"scope": "subject", "subject": "7"}))).await;
    assert_eq!((shred.status, shred.code()), (403, "tenant-suspended"));
    assert_eq!(other.get("reader").await.text(), "x", "nobody else's");
    assert!(acme.names_nothing("owner").await && acme.names_nothing("auditor").await, "nor are names told");
    // A token can be taken away, and holds are placed and ended.
    let hold = acme.hold(true).await;
    clock.advance(DAY * 3);
    assert_eq!(site.run_retention().await["held"], 1);
    acme.release(&hold).await;
    assert_eq!(site.run_retention().await["destroyed"], 1);
    let listed = acme.send("GET", "/tokens", "owner", None).await;
    let reader = listed.json["data"].as_array().unwrap().iter().find(|token| token["role"] == "reader").unwrap().clone();
    let revoked = acme.send("DELETE", &format!("/tokens/{}", reader["id"].as_str().unwrap()), "owner", None).await;
    assert_eq!(revoked.status, 204, "{revoked:?}");

    let resumed = acme.step(Step::Resume).await;
    assert_eq!((resumed.json["state"].as_str(), &resumed.json["suspended_at"]), (Some("active"), &Value::Null));
    assert_eq!((acme.get("owner").await.text(), acme.put("writer").await.status), ("x", 204));
    assert_eq!(acme.get("reader").await.status, 401);
    assert!(acme.named("owner").await.contains("a") && acme.named("auditor").await.contains("a"));
    // Page by page: who took each, in which request, and why. The operator is shown no other's.
    clock.advance(Duration::from_secs(1));
    let ended = acme.send("POST", "/termination", "owner", Some(json!({"confirm": "acme", "reason": "an owner's"}))).await;
    assert_eq!(ended.status, 202, "{ended:?}");
    for (role, all) in [("owner", 3), ("auditor", 3), ("operator", 2)] {
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        for _ in 0..3 {
            let page = acme.send("GET", &format!("/states?limit=1{cursor}"), role, None).await;
            rows.extend(page.json["data"].as_array().unwrap().clone());
            cursor = page.json["next_cursor"].as_str().map_or_else(|| "&limit=none".to_owned(), |next| format!("&cursor={next}"));
        }
        assert_eq!((rows.len(), cursor.as_str()), (all, "&limit=none"), "{role}: {rows:?}");
        for (row, answer) in rows.iter().zip([&suspended, &resumed, &ended]) {
            let by = if row["step"] == "terminate" { "owner" } else { "operator" };
            assert_eq!((&row["by"], &row["role"]), (&json!(id_of(&acme.tokens[by])), &json!(by)), "{row}");
            assert_eq!(row["request"].as_str(), Some(answer.header("x-request-id")), "{row}");
        }
        let said: Vec<&Value> = rows.iter().map(|row| &row["reason"]).collect();
        assert_eq!(said, ["as the table says", "as the table says", "an owner's"][..all], "{role}");
    }
    assert_eq!(acme.send("GET", "/states?cursor=00", "owner", None).await.code(), "malformed-cursor");
    for role in ["writer", "eraser", "counsel"] {
        assert_eq!(acme.send("GET", "/states", role, None).await.code(), "forbidden", "{role}");
    }
    // Both in the tenant's trail and in the operator's, by the same change.
    let (own, system) = (site.trail("acme", &acme.tokens["auditor"]).await, site.trail("system", &site.operator).await);
    for action in ["tenant.suspend", "tenant.resume"] {
        let of = |trail: &[Value]| {
            trail.iter().find(|entry| entry["action"] == action && entry["outcome"] == "allowed").unwrap()["target"]["object"].clone()
        };
        assert!(of(&own).is_string() && of(&own) == of(&system), "{action}");
    }
}

/// RET-6: an owner ends all of the tenant in one call; owners read until the grace is over, nobody writes, and it can be taken back
/// until then. The shred that follows has its certificate.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_ends_when_its_grace_is_over_and_can_be_kept_until_then() {
    let (site, clock) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    let rules = json!({"time_zone": "UTC", "rules": [{"name": "books", "from": "created", "minimum": {"period": "4y", "basis": "a law"}, "maximum": "7y", "then": "delete"}]});
    let made = acme.send("PUT", "/collections/books", "owner", Some(json!({"retention": rules}))).await;
    assert_eq!(made.status, 201, "{made:?}");
    for (body, status) in [
        (json!({"confirm": "acm"}), 422),
        (json!({"confirm": "acme", "grace": "7 days"}), 422),
        (json!({"confirm": "acme", "grace": "43d"}), 400),
        (json!({"confirm": "acme", "reason": "two\nlines"}), 422),
        (json!({}), 422),
    ] {
        assert_eq!(acme.send("POST", "/termination", "owner", Some(body.clone())).await.status, status, "{body}");
    }
    assert_eq!(acme.send("GET", "/termination", "owner", None).await.status, 404);
    let ordered = acme.send("POST", "/termination", "owner", Some(json!({"confirm": "acme", "reason": "closed"}))).await;
    assert_eq!((ordered.status, ordered.json["state"].as_str()), (202, Some("terminating")), "{ordered:?}");
    assert_eq!(ordered.json["ends_at"], "2024-04-01T00:00:00.000Z");
    assert_eq!(ordered.json["minimums"], json!([{"collection": "books", "rule": "books", "basis": "a law", "period": "4y"}]));
    let what = |answer: &Answer| answer.json["remains"].as_array().unwrap().iter().map(|of| of["what"].clone()).collect::<Vec<_>>();
    assert_eq!(what(&ordered), ["audit-trail", "certificate", "name-token", "ciphertext"]);
    // Who may not know the collections' names is not told them here.
    let erasers = acme.send("GET", "/termination", "eraser", None).await;
    assert_eq!((erasers.status, &erasers.json["minimums"]), (200, &json!([])), "{erasers:?}");

    let left: [(&str, &[&str]); 8] = [
        ("read", &["owner"]),
        ("list", &["owner"]),
        ("ids", &["owner"]),
        ("events", &["owner"]),
        ("policy", &["owner", "auditor", "counsel"]),
        ("explain", &["owner", "auditor", "counsel"]),
        ("batch", &["owner"]),
        ("token", &["owner"]),
    ];
    leaves(&acme, "tenant-terminating", &left).await;
    assert!(acme.named("owner").await.contains("a") && acme.names_nothing("auditor").await, "names are told to who reads");
    // Of a hold that is not disclosed an owner is told that a legal obligation keeps something; an auditor which.
    let hold = acme.hold(false).await;
    let owners = acme.send("GET", "/termination", "owner", None).await;
    assert_eq!(
        (&owners.json["remains"][0]["what"], &owners.json["remains"][0]["hold"]),
        (&json!("legal-obligation"), &Value::Null),
        "{owners:?}"
    );
    let auditors = acme.send("GET", "/termination", "auditor", None).await;
    assert_eq!(auditors.json["remains"][0]["hold"], json!(hold), "{auditors:?}");
    acme.release(&hold).await;

    clock.advance(DAY * 30);
    site.run_retention().await;
    assert_eq!(acme.get("owner").await.text(), "x", "a moment before the end of its last day");
    let kept = acme.step(Step::Cancel).await;
    assert_eq!((kept.json["state"].as_str(), &kept.json["ends_at"]), (Some("active"), &Value::Null), "{kept:?}");
    assert_eq!((acme.put("writer").await.status, acme.get("reader").await.text()), (204, "x"));
    clock.advance(DAY * 60);
    site.run_retention().await;
    assert_eq!(acme.state().await, "active", "what was taken back does not come");

    let ordered = acme.send("POST", "/termination", "owner", Some(json!({"confirm": "acme", "grace": "2d"}))).await;
    assert_eq!(ordered.json["ends_at"], "2024-06-02T00:00:00.000Z", "{ordered:?}");
    // A person's request does not wait for the end.
    let shred = site.shred("acme", &acme.tokens["eraser"], json!({"scope": "subject", "subject": "7"})).await;
    assert_eq!(shred.json["state"], "done", "{shred:?}");
    clock.advance(DAY * 3);
    assert_eq!((acme.state().await, acme.step(Step::Cancel).await.code()), ("ended".to_owned(), "tenant-state"));
    assert_eq!(acme.send("GET", "/collections/crm/records", "owner", None).await.code(), "tenant-terminating", "before any job has run");
    site.run_retention().await;
    site.run_retention().await;
    let trail = acme.ended(2).await;
    assert_eq!(acme.get("owner").await.code(), "shredded");
    let of = |action: &str| trail.iter().filter(|entry| entry["action"] == action && entry["outcome"] == "allowed").collect::<Vec<_>>();
    assert_eq!((of("tenant.end").len(), of("tenant.terminate").len(), of("tenant.cancel").len()), (1, 2, 1), "{trail:#?}");
    // That of the person, and one of the tenant, in the name of who ordered its end.
    let orders = of("shred.order");
    assert_eq!(orders.len(), 2, "{orders:?}");
    assert_eq!(orders[1]["principal"], of("tenant.terminate")[1]["principal"]);
    assert_eq!(orders[1]["request"], of("tenant.terminate")[1]["request"]);
}

/// An end without a grace comes at once; a hold on the whole tenant keeps it as a whole, and the last release ends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_is_held_as_a_whole_ends_with_the_last_release() {
    let (site, clock) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    let (first, second) = (acme.hold(false).await, acme.hold(true).await);
    let ordered = acme.send("POST", "/termination", "owner", Some(json!({"confirm": "acme", "grace": "0d"}))).await;
    assert_eq!((ordered.status, ordered.json["state"].as_str()), (202, Some("ended")), "{ordered:?}");
    for _ in 0..3 {
        site.run_retention().await;
        assert_eq!(acme.state().await, "ended");
        clock.advance(DAY);
    }
    let left: [(&str, &[&str]); 5] = [
        ("policy", &["auditor", "counsel"]),
        ("explain", &["auditor", "counsel"]),
        ("read", &["auditor"]),
        ("list", &["auditor"]),
        ("batch", &["auditor"]),
    ];
    leaves(&acme, "tenant-terminating", &left).await;
    assert_eq!(acme.get("auditor").await.text(), "x", "who audits reads what is held");
    assert_eq!(acme.step(Step::Cancel).await.code(), "tenant-state");
    acme.release(&first).await;
    site.run_retention().await;
    assert_eq!(acme.state().await, "ended");
    acme.release(&second).await;
    acme.ended(1).await;

    let quick = Tenant::make(&site, "quick").await;
    let ordered = quick.send("POST", "/termination", "owner", Some(json!({"confirm": "quick", "grace": "0d"}))).await;
    assert_eq!(ordered.status, 202, "{ordered:?}");
    site.run_retention().await;
    quick.ended(1).await;
}

/// A step that is sent again with its idempotency key is taken once.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_sent_again_is_taken_once() {
    let (site, _) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    for (role, rest, body, state) in [
        ("operator", "/suspend", json!({"reason": "r"}), "suspended"),
        ("operator", "/resume", json!({"reason": "r"}), "active"),
        ("owner", "/termination", json!({"confirm": "acme"}), "terminating"),
        ("owner", "/termination/cancel", json!({}), "active"),
    ] {
        for _ in 0..2 {
            let request = site.request(Method::POST, &acme.path(rest), &acme.tokens[role]).header("idempotency-key", rest);
            let answer = Answer::of(request.json(&body).send().await.unwrap()).await;
            assert_eq!(answer.json["state"], state, "{rest}: {answer:?}");
        }
        let other = if rest == "/termination" { json!({"confirm": "acme", "grace": "1d"}) } else { json!({"reason": "another"}) };
        let request = site.request(Method::POST, &acme.path(rest), &acme.tokens[role]).header("idempotency-key", rest);
        let answer = Answer::of(request.json(&other).send().await.unwrap()).await;
        assert_eq!(answer.code(), "idempotency-mismatch", "{rest}: {answer:?}");
    }
    let trail = site.trail("acme", &acme.tokens["owner"]).await;
    let steps = ["tenant.suspend", "tenant.resume", "tenant.terminate", "tenant.cancel"];
    for action in steps {
        assert_eq!(trail.iter().filter(|entry| entry["action"] == action && entry["outcome"] == "allowed").count(), 1, "{action}");
    }
    assert_eq!(site.send("POST", "/v1/tenants/system/suspend", &site.operator, Some(json!({"reason": "r"}))).await.code(), "forbidden");
}

/// The same over the wire: of a person who is held, what there is of the person is kept; auditors read it, owners nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_of_a_tenant_that_ended_is_there_for_auditors_alone() {
    let (site, _) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    for (key, person) in [("b", "8"), ("c", "seven")] {
        let put = site.put(&acme.path(&format!("/collections/crm/records/{key}")), &acme.tokens["owner"], person, "y").await;
        assert_eq!(put.status, 201, "{put:?}");
    }
    let alias = json!({"subject": "7", "alias": "seven", "with_records": true});
    assert_eq!(acme.send("POST", "/subjects/aliases", "owner", Some(alias)).await.status, 201);
    let body = hold(json!({"scope": "subject", "subject": "7", "disclosed": true}));
    let hold = acme.send("POST", "/holds", "counsel", Some(body)).await.json["id"].as_str().unwrap().to_owned();
    let ordered = acme.send("POST", "/termination", "owner", Some(json!({"confirm": "acme", "grace": "0d"}))).await;
    assert_eq!(ordered.status, 202, "{ordered:?}");
    site.run_retention().await;
    acme.ended(1).await;
    assert_eq!(acme.state().await, "restricted");
    for role in &ROLES[1..] {
        let got = acme.get(role).await;
        match *role {
            "auditor" => assert_eq!((got.status, got.text()), (200, "x"), "{got:?}"),
            "owner" | "writer" | "reader" => assert_eq!((got.status, got.code()), (403, "tenant-terminating"), "{role}: {got:?}"),
            _ => assert_eq!(got.status, 403, "{role}: {got:?}"),
        }
    }
    // All there is, and by either id all of the person's: what is held of a person is so under every id.
    for query in [json!({}), json!({"subject": "7"}), json!({"subject": "seven"})] {
        let listed = acme.send("POST", "/collections/crm/query", "auditor", Some(query.clone())).await;
        let mut keys: Vec<&str> = listed.json["data"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap()).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["a", "c"], "{query}: {listed:?}");
    }
    for (rest, body) in [("/subjects/aliases/query", json!({"subject": "7"})), ("/subjects/aliases/remove", json!({"alias": "seven"}))] {
        assert_eq!(acme.send("POST", rest, "owner", Some(body)).await.code(), "tenant-terminating", "{rest}");
    }
    let gone = acme.send("GET", "/collections/crm/records/b", "auditor", None).await;
    assert!([404, 410].contains(&gone.status), "{gone:?}");
    // Nor does anything else name what is held to who does not read it.
    assert!(acme.named("auditor").await.contains("a") && acme.names_nothing("owner").await);
    for (role, is_told) in [("auditor", true), ("owner", false), ("eraser", false), ("counsel", false)] {
        let shown = acme.send("GET", &format!("/holds/{hold}"), role, None).await;
        let subjects: Vec<&str> = shown.json["subjects"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        assert_eq!(subjects.contains(&"7"), is_told, "{role}: {shown:?}");
        assert_eq!(subjects.iter().all(|id| id.starts_with("unnamed-subject-")), !is_told, "{role}: {shown:?}");
    }
    assert_eq!(acme.put("owner").await.code(), "tenant-terminating");
    let told = acme.send("GET", "/termination", "auditor", None).await;
    assert_eq!(
        (told.json["state"].as_str(), told.json["remains"][0]["hold"].as_str()),
        (Some("restricted"), Some(hold.as_str())),
        "{told:?}"
    );
    acme.release(&hold).await;
    let trail = acme.ended(2).await;
    assert!(trail.iter().any(|entry| entry["action"] == "record.read" && entry["role"] == "auditor" && entry["outcome"] == "allowed"));
}

/// What is held of a tenant that has ended stays in sight: an owner dismisses no auditor then, and the counsel of a hold that stands
/// appoints one, whether the tenant ended in part or is held as a whole.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_cannot_put_what_is_held_out_of_everybodys_sight() {
    for (scope, state) in [(json!({"scope": "subject", "subject": "7"}), "restricted"), (json!({"scope": "tenant"}), "ended")] {
        let (site, _) = site().await;
        let acme = Tenant::make(&site, "acme").await;
        let put = site.put(&acme.path("/collections/crm/records/b"), &acme.tokens["owner"], "8", "y").await;
        assert_eq!(put.status, 201, "{put:?}");
        // Of another line: the owner has kept it from before the hold.
        let kept = site.counsel("acme", &acme.tokens["owner"]).await;
        let placed = acme.send("POST", "/holds", "counsel", Some(hold(scope))).await;
        assert_eq!(placed.status, 201, "{placed:?}");
        let brief = json!({"role": "counsel", "expires_at": "2024-04-01T00:00:00Z"});
        let brief = site.token("acme", &acme.tokens["counsel"], brief).await;
        let tokens = acme.path("/tokens");
        let appoint = async |by: &str| site.send("POST", &tokens, by, Some(json!({"role": "auditor"}))).await;
        let dismiss = async |by: &str, token: &str| site.send("DELETE", &format!("{tokens}/{}", id_of(token)), by, None).await;
        let [owner, counsel, auditor] = ["owner", "counsel", "auditor"].map(|role| acme.tokens[role].as_str());
        assert_eq!(appoint(counsel).await.code(), "forbidden", "an owner's, as long as there is one who may");
        assert_eq!(dismiss(counsel, auditor).await.code(), "forbidden");

        let ordered = acme.send("POST", "/termination", "owner", Some(json!({"confirm": "acme", "grace": "0d"}))).await;
        assert_eq!((ordered.status, ordered.json["state"].as_str()), (202, Some("ended")), "{ordered:?}");
        // Before its shred is ordered all of it is there: what no hold is on is shown to nobody.
        assert_eq!(acme.get("auditor").await.text(), "x");
        let unheld = acme.send("GET", "/collections/crm/records/b", "auditor", None).await;
        let check = json!({"ops": [{"op": "check", "collection": "crm", "key": "b", "if_match": "*"}]});
        let checked = acme.send("POST", "/batch", "auditor", Some(check)).await;
        let listed = acme.send("POST", "/collections/crm/query", "auditor", Some(json!({}))).await;
        let listed = listed.json["data"].as_array().unwrap().len();
        assert_eq!((unheld.status, checked.status, listed), if state == "ended" { (200, 200, 2) } else { (404, 412, 1) });
        site.run_retention().await;
        if state == "restricted" {
            acme.ended(1).await;
        }
        assert_eq!(acme.state().await, state);

        assert_eq!(dismiss(owner, auditor).await.code(), "tenant-terminating");
        assert_eq!(appoint(owner).await.code(), "tenant-terminating");
        assert_eq!((dismiss(&kept, auditor).await.code(), appoint(&kept).await.code()), ("forbidden", "forbidden"));
        assert_eq!(site.send("POST", &tokens, counsel, Some(json!({"role": "reader"}))).await.code(), "forbidden");
        assert_eq!(acme.get("auditor").await.text(), "x");
        let made = appoint(&brief).await;
        assert_eq!(
            (made.status, &made.json["expires_at"]),
            (201, &json!("2024-04-01T00:00:00.000Z")),
            "no longer than who made it: {made:?}"
        );
        let made = appoint(counsel).await;
        assert_eq!(made.status, 201, "{made:?}");
        let other = made.json["token"].as_str().unwrap();
        assert_eq!(dismiss(counsel, auditor).await.status, 204);
        assert_eq!(acme.get("auditor").await.status, 401);
        assert_eq!(site.get(&acme.path("/collections/crm/records/a"), other).await.text(), "x");
        let trail = site.trail("acme", other).await;
        let of = |action: &str| trail.iter().filter(|entry| entry["action"] == action && entry["outcome"] == "allowed").count();
        assert_eq!((of("auditor.appoint"), of("auditor.dismiss")), (2, 1), "{trail:#?}");
        acme.release(placed.json["id"].as_str().unwrap()).await;
        site.run_retention().await;
        acme.ended(if state == "ended" { 1 } else { 2 }).await;
    }
}

/// What a state does not leave is not answered again either: what was sent before, with its idempotency key, is refused as what is new is.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_sent_again_is_refused_as_a_new_one_while_its_tenant_is_suspended() {
    let (site, clock) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    let batch = json!({"ops": [{"op": "put", "collection": "crm", "key": "b", "subjects": ["7"], "value": "x"}]});
    let records = "/collections/crm/records";
    let sent = async || {
        let of = |method: Method, path: &str, key: &str| {
            site.request(method, &acme.path(path), &acme.tokens["writer"]).header("idempotency-key", key)
        };
        [
            Answer::of(of(Method::POST, "/batch", "1").json(&batch).send().await.unwrap()).await,
            Answer::of(of(Method::PUT, &format!("{records}/c"), "2").header("lethe-subject", "7").body("x").send().await.unwrap()).await,
            Answer::of(of(Method::DELETE, &format!("{records}/a"), "3").send().await.unwrap()).await,
        ]
    };
    for (number, answer) in sent().await.iter().enumerate() {
        assert_eq!(answer.status, [200, 201, 204][number], "{answer:?}");
    }
    assert_eq!(acme.step(Step::Suspend).await.status, 200);
    for answer in sent().await {
        assert_eq!((answer.status, answer.code()), (403, "tenant-suspended"), "{answer:?}");
    }
    assert_eq!(acme.step(Step::Resume).await.status, 200);
    for (number, answer) in sent().await.iter().enumerate() {
        assert_eq!(answer.status, [200, 201, 204][number], "it was done before: {answer:?}");
    }
    let ordered = acme.send("POST", "/termination", "owner", Some(json!({"confirm": "acme", "grace": "1d"}))).await;
    assert_eq!(ordered.status, 202, "{ordered:?}");
    for ends in [false, true] {
        for answer in sent().await {
            assert_eq!((answer.status, answer.code()), (403, "tenant-terminating"), "ended: {ends}: {answer:?}");
        }
        clock.advance(DAY * 2);
    }
}

/// An end as one order among others: without thirty days of grace a law refuses it, and where two persons shred the tenant it is a request for the
/// second, whose word begins the grace. What the law keeps is left behind it, and the answer says so.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_refused_by_a_law_without_a_grace_and_asked_for_where_two_persons_shred() {
    let (site, clock) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    let second = site.token("acme", &acme.tokens["owner"], json!({"role": "owner"})).await;
    let rules = json!({"time_zone": "UTC", "rules": [{"name": "books", "from": "created", "minimum": {"period": "4y", "basis": "a law"}, "maximum": "7y", "then": "delete"}]});
    let made = acme.send("PUT", "/collections/books", "owner", Some(json!({"shred_unit": "subject", "retention": rules}))).await;
    assert_eq!(made.status, 201, "{made:?}");
    let put = site.put(&acme.path("/collections/books/records/a"), &acme.tokens["owner"], "7", "x").await;
    assert_eq!(put.status, 201, "{put:?}");
    let end = async |grace: &str| acme.send("POST", "/termination", "owner", Some(json!({"confirm": "acme", "grace": grace}))).await;
    for grace in ["0d", "1d", "29d"] {
        let kept = end(grace).await;
        assert_eq!((kept.status, kept.code(), &kept.json["records"]), (423, "legal-minimum", &json!(1)), "{grace}: {kept:?}");
    }
    let policy = acme.send("PUT", "/policy", "owner", Some(json!({"approvals": {"shred": ["tenant"]}}))).await;
    assert_eq!(policy.status, 200, "{policy:?}");
    for grace in ["0d", "29d"] {
        assert_eq!(end(grace).await.code(), "legal-minimum", "{grace}: what is refused is not asked for");
    }
    let asked = end("30d").await;
    assert_eq!((asked.status, asked.json["action"].as_str()), (202, Some("terminate")), "{asked:?}");
    assert_eq!((&asked.json["grace"], &asked.json["state"]), (&json!("30d"), &json!("pending")));
    assert_eq!((acme.state().await.as_str(), acme.put("writer").await.status), ("active", 204));
    assert_eq!(acme.send("GET", "/termination", "owner", None).await.status, 404);
    let approve = format!("/approvals/{}/approve", asked.json["id"].as_str().unwrap());
    assert_eq!(acme.send("POST", &approve, "owner", Some(json!({}))).await.code(), "not-second-person");
    assert_eq!(acme.send("POST", &approve, "eraser", Some(json!({}))).await.status, 404, "who may not end it knows of no request");
    let approved = site.send("POST", &acme.path(&approve), &second, Some(json!({}))).await;
    assert_eq!((approved.status, &approved.json["state"]), (200, &json!("approved")), "{approved:?}");
    let told = acme.send("GET", "/termination", "owner", None).await;
    assert_eq!((&told.json["state"], &told.json["ends_at"]), (&json!("terminating"), &json!("2024-04-01T00:00:00.000Z")), "{told:?}");
    assert_eq!(told.json["ordered_by"], json!(id_of(&acme.tokens["owner"])));
    assert_eq!(told.json["approved_by"], json!(id_of(&second)));
    let trail = site.trail("acme", &acme.tokens["owner"]).await;
    let of = |action: &str| trail.iter().filter(|entry| entry["action"] == action && entry["outcome"] == "allowed").collect::<Vec<_>>();
    assert_eq!((of("approval.ask").len(), of("approval.approve").len(), of("tenant.terminate").len()), (1, 1, 1), "{trail:#?}");
    assert_eq!(of("tenant.terminate")[0]["principal"], of("approval.ask")[0]["principal"], "in the name of who asked");

    let until = "2028-03-02T00:00:00.000Z";
    let left = |answer: &Answer| {
        let all = answer.json["remains"].as_array().unwrap().iter();
        all.filter(|one| one["what"] == "legal-minimum").map(|one| (one["until"].clone(), one["kept"].clone())).collect::<Vec<_>>()
    };
    let kept = json!({"collection": "books", "rule": "books", "basis": "a law", "records": 1});
    assert_eq!(left(&told), [(json!(until), kept.clone())], "{told:?}");
    let erasers = acme.send("GET", "/termination", "eraser", None).await;
    assert_eq!(left(&erasers), [(json!(until), Value::Null)], "who reads no policies is not told which: {erasers:?}");
    clock.advance(DAY * 31);
    site.run_retention().await;
    acme.ended(1).await;
    assert_eq!(acme.state().await, "restricted");
    assert_eq!(left(&acme.send("GET", "/termination", "auditor", None).await), [(json!(until), kept)]);
    let book = acme.path("/collections/books/records/a");
    assert_eq!(site.get(&book, &acme.tokens["auditor"]).await.code(), "forbidden", "for its purpose alone");
    let request = site.request(Method::GET, &book, &acme.tokens["auditor"]).header("lethe-purpose", "books");
    assert_eq!(Answer::of(request.send().await.unwrap()).await.text(), "x");
    assert_eq!(site.get(&book, &acme.tokens["owner"]).await.code(), "tenant-terminating");
    assert_eq!(acme.get("auditor").await.code(), "shredded", "what no law keeps is gone");
    let why = acme.send("GET", "/collections/books/retention/a", "counsel", None).await;
    assert_eq!(
        (&why.json["state"], &why.json["held"], &why.json["end"]["at"]),
        (&json!("restricted"), &json!(false), &json!(until)),
        "{why:?}"
    );
    assert!(why.json["why"].as_str().unwrap().starts_with("legal minimum: "), "{why:?}");
    let holds = acme.send("GET", "/holds", "counsel", None).await;
    assert_eq!(holds.json["data"], json!([]), "it is no hold: {holds:?}");
    let token = |role: &str| acme.send("POST", "/tokens", "owner", Some(json!({ "role": role })));
    assert_eq!((token("reader").await.code(), token("auditor").await.status), ("tenant-terminating", 201));
    clock.advance(DAY * (4 * 366));
    site.run_retention().await;
    let trail = acme.ended(2).await;
    let said = trail.iter().find(|entry| entry["action"] == "shred.order" && entry["reason"] == "legal-minimum");
    assert!(said.is_some(), "that a law has held the order for all of it: {trail:#?}");
}

//! A token that is revoked, or ends, while its request is under way changes nothing any more; and what is done for a request
//! whose client has hung up goes on counting.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use lethe::authn::{Narrowing, PresentedToken, Role, TokenKind};
use lethe::domain::{
    ApprovalId, Clock as _, CollectionName, CollectionPolicy, HoldId, RecordKey, ShredId, ShredUnit, SubjectId, SystemClock, TenantName,
    TestClock, TokenId,
    approval::{ApprovalRules, ShredScope},
    hold::{HoldScope, HoldText, NewHold},
    lifecycle::Grace,
    retention::{EventDate, EventName},
};
use lethe::http::tasks::Tasks;
use lethe::http::{self, Api, HttpOptions};
use lethe::vault::ops::{
    BatchOp, Caller, MintToken, NewAlias, PolicyChange, Precondition, PutRecord, Released, ShredOrder, Terminate, Terminated, Vault,
    VaultError,
};
use lethe::vault::store::schema::{self, Table};
use lethe::vault::store::{Commit, Durability, Row, Space, Store as _, StoreError, Tail, Urgency, Write};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use super::site::{CRM, Site, code_of, status_of};

fn acme() -> TenantName {
    TenantName::parse("acme").unwrap()
}

fn system() -> TenantName {
    TenantName::parse("system").unwrap()
}

fn collection(name: &str) -> CollectionName {
    CollectionName::parse(name).unwrap()
}

fn key(text: &str) -> RecordKey {
    RecordKey::parse(text).unwrap()
}

fn mint(role: Role) -> MintToken {
    let kind = if role == Role::Operator { TokenKind::Operator } else { TokenKind::Service };
    MintToken { role, kind, narrowing: Narrowing::default(), expires_at: None }
}

fn put_of(parts: Vec<Bytes>) -> PutRecord {
    PutRecord {
        content_type: "text/plain".into(),
        subjects: vec![SubjectId::parse("1").unwrap()],
        expires_at: None,
        custom: Vec::new(),
        precondition: Precondition::None,
        new_relationship: false,
        idempotency_key: None,
        length: None,
        body: stream::iter(parts.into_iter().map(Ok)).boxed(),
    }
}

fn batch_put(to: &str) -> BatchOp {
    BatchOp::Put {
        collection: collection(to),
        key: key("b"),
        value: "x".into(),
        content_type: "text/plain".into(),
        subjects: vec![SubjectId::parse("1").unwrap()],
        expires_at: None,
        custom: Vec::new(),
        precondition: Precondition::None,
        new_relationship: false,
    }
}

fn policy(unit: ShredUnit) -> CollectionPolicy {
    CollectionPolicy { shred_unit: unit, ..CollectionPolicy::default() }
}

/// What a change is made with.
struct With {
    vault: Vault,
    caller: Caller,
    /// A token to be revoked.
    victim: TokenId,
}

type Change = (&'static str, Role, fn(With) -> BoxFuture<'static, Result<(), VaultError>>);

fn order(with: With, order: ShredOrder) -> BoxFuture<'static, Result<(), VaultError>> {
    async move { with.vault.order_shred(&with.caller, &acme(), order, None, None).await.map(drop) }.boxed()
}

fn put_policy(
    with: With,
    name: &'static str,
    unit: ShredUnit,
    retention: Option<&'static str>,
) -> BoxFuture<'static, Result<(), VaultError>> {
    async move {
        let categories = retention.map(str::to_owned).into_iter().collect();
        let policy = CollectionPolicy { categories, ..policy(unit) };
        with.vault.put_collection(&with.caller, &acme(), &collection(name), policy, None).await.map(drop)
    }
    .boxed()
}

/// Everything that a token can change by itself.
const CHANGES: [Change; 25] = [
    ("token create", Role::Owner, |with| {
        async move { with.vault.create_token(&with.caller, &acme(), mint(Role::Owner), None).await.map(drop) }.boxed()
    }),
    ("the same with a key", Role::Owner, |with| {
        async move { with.vault.create_token(&with.caller, &acme(), mint(Role::Owner), Some("k".into())).await.map(drop) }.boxed()
    }),
    ("token revoke", Role::Owner, |with| async move { with.vault.revoke_token(&with.caller, &acme(), with.victim, None).await }.boxed()),
    ("collection", Role::Owner, |with| put_policy(with, "new", ShredUnit::Subject, None)),
    ("policy", Role::Owner, |with| put_policy(with, "crm", ShredUnit::Subject, Some("contact"))),
    ("shred unit", Role::Owner, |with| put_policy(with, "empty", ShredUnit::Record, None)),
    ("put", Role::Writer, |with| {
        async move { with.vault.put_record(&with.caller, &acme(), &collection("crm"), key("p"), put_of(vec!["x".into()])).await.map(drop) }
            .boxed()
    }),
    ("replace", Role::Writer, |with| {
        async move { with.vault.put_record(&with.caller, &acme(), &collection("crm"), key("a"), put_of(vec!["x".into()])).await.map(drop) }
            .boxed()
    }),
    ("put of a large value", Role::Writer, |with| {
        let part = Bytes::from(vec![b'x'; 50_000]);
        async move { with.vault.put_record(&with.caller, &acme(), &collection("crm"), key("l"), put_of(vec![part; 3])).await.map(drop) }
            .boxed()
    }),
    ("put that makes its collection", Role::Writer, |with| {
        async move { with.vault.put_record(&with.caller, &acme(), &collection("made"), key("p"), put_of(vec!["x".into()])).await.map(drop) }
            .boxed()
    }),
    ("delete", Role::Writer, |with| {
        async move { with.vault.delete_record(&with.caller, &acme(), &collection("crm"), key("a"), Precondition::None, None).await }.boxed()
    }),
    ("delete of a record with a unit", Role::Writer, |with| {
        async move { with.vault.delete_record(&with.caller, &acme(), &collection("notes"), key("n"), Precondition::None, None).await }
            .boxed()
    }),
    ("batch", Role::Writer, |with| {
        async move { with.vault.batch(&with.caller, &acme(), vec![batch_put("crm")], None).await.map(drop) }.boxed()
    }),
    ("batch that makes its collection", Role::Writer, |with| {
        async move { with.vault.batch(&with.caller, &acme(), vec![batch_put("made")], None).await.map(drop) }.boxed()
    }),
    ("alias", Role::Writer, |with| {
        let [subject, alias] = ["1", "one"].map(|id| SubjectId::parse(id).unwrap());
        let alias = NewAlias { subject, alias, with_records: false, new_relationship: false };
        async move { with.vault.add_alias(&with.caller, &acme(), alias, None).await.map(drop) }.boxed()
    }),
    ("alias taken away", Role::Owner, |with| {
        async move { with.vault.remove_alias(&with.caller, &acme(), SubjectId::parse("other").unwrap(), None).await.map(drop) }.boxed()
    }),
    ("event", Role::Writer, |with| {
        let report = (SubjectId::parse("1").unwrap(), EventName::parse("left").unwrap(), EventDate::parse("2026-01-31").unwrap());
        async move { with.vault.report_event(&with.caller, &acme(), report, None).await.map(drop) }.boxed()
    }),
    ("event taken back", Role::Owner, |with| {
        let event = (SubjectId::parse("2").unwrap(), EventName::parse("left").unwrap());
        async move { with.vault.withdraw_event(&with.caller, &acme(), event, None).await.map(drop) }.boxed()
    }),
    ("shred of a person", Role::Eraser, |with| order(with, ShredOrder::Subjects(vec![SubjectId::parse("1").unwrap()]))),
    ("shred of a collection", Role::Owner, |with| order(with, ShredOrder::Collection(collection("crm")))),
    ("shred of a tenant", Role::Owner, |with| order(with, ShredOrder::Tenant { confirm: "acme".into() })),
    ("tenant", Role::Operator, |with| {
        async move { with.vault.create_tenant(&with.caller, TenantName::parse("late").unwrap(), false, None).await.map(drop) }.boxed()
    }),
    ("operator's token", Role::Operator, |with| {
        async move { with.vault.create_token(&with.caller, &system(), mint(Role::Operator), None).await.map(drop) }.boxed()
    }),
    ("suspension", Role::Operator, |with| {
        async move {
            with.vault.suspend_tenant(&with.caller, &acme(), "r".into(), None).await?;
            with.vault.resume_tenant(&with.caller, &acme(), "r".into(), None).await.map(drop)
        }
        .boxed()
    }),
    ("termination", Role::Owner, |with| {
        let order = Terminate { confirm: "acme".into(), grace: Grace::parse("30d").unwrap(), reason: None };
        async move {
            with.vault.terminate_tenant(&with.caller, &acme(), order, None).await?;
            with.vault.cancel_termination(&with.caller, &acme(), None, None).await.map(drop)
        }
        .boxed()
    }),
];

/// Tenant `acme` that makes collections on write, with records to change.
async fn acme_with_records(site: &Site) -> String {
    let made = json!({"tenant": "acme", "create_collections_on_write": true});
    let owner = site.send("POST", "/v1/tenants", &site.operator, Some(made)).await.made_token();
    for (name, unit) in [("crm", "subject"), ("notes", "record"), ("empty", "subject")] {
        site.collection("acme", name, &owner, unit).await;
    }
    for path in [format!("{CRM}/records/a"), "/v1/tenants/acme/collections/notes/records/n".into()] {
        assert_eq!(site.put(&path, &owner, "1", "value").await.status, 201);
    }
    let alias = json!({"subject": "2", "alias": "other"});
    assert_eq!(site.send("POST", "/v1/tenants/acme/subjects/aliases", &owner, Some(alias)).await.status, 201);
    let event = json!({"subject": "2", "event": "left", "at": "2026-01-31"});
    assert_eq!(site.send("POST", "/v1/tenants/acme/subjects/events", &owner, Some(event)).await.status, 200);
    owner
}

fn token_id(text: &str) -> TokenId {
    text.split('_').nth(2).unwrap().parse().unwrap()
}

/// A token of that role, and who it stands for once it is authenticated.
async fn entered(site: &Site, owner: &str, role: Role, end: Option<String>) -> (String, Caller) {
    let by = if role == Role::Operator { &site.operator } else { owner };
    let tenant = if role == Role::Operator { "system" } else { "acme" };
    let text = site.token(tenant, by, json!({"role": role.name(), "expires_at": end})).await;
    let request = Vault::make_request_id();
    let principal = site.server.rooms().vault.authenticate(&PresentedToken::parse(&text).unwrap(), request).await.unwrap();
    (text, Caller::new(principal, request, None))
}

/// Every row that a change could change.
async fn rows(site: &Site) -> Vec<Row> {
    let store = &site.server.rooms().store;
    let mut rows = Vec::new();
    let tables = [
        Table::Tenant,
        Table::Collection,
        Table::AccessToken,
        Table::SubjectState,
        Table::Unit,
        Table::ShredOrder,
        Table::Made,
        Table::Alias,
        Table::Events,
        Table::EventQueue,
        Table::TenantChange,
        Table::TenantEnd,
        Table::Hold,
        Table::Approval,
        Table::ApprovalOpen,
        Table::ApprovalDue,
        Table::Shortening,
    ];
    for table in tables {
        let range = schema::table(table);
        rows.extend(store.scan(Space::Control, &range.from, &range.to, usize::MAX).await.unwrap());
    }
    rows.extend(store.scan(Space::Records, &[], &[0xff; 32], usize::MAX).await.unwrap());
    rows
}

/// A server, and its clock.
async fn timed() -> (TestClock, Site) {
    let clock = TestClock::at(SystemClock.now());
    let site = Site::open_at("", Arc::new(clock.clone())).await;
    (clock, site)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_revoked_or_has_ended_since_it_was_authenticated_changes_nothing() {
    let (clock, site) = timed().await;
    let owner = acme_with_records(&site).await;
    let victim = token_id(&site.token("acme", &owner, json!({"role": "reader"})).await);
    let vault = site.server.rooms().vault.clone();
    for (what, role, change) in CHANGES {
        for ends in [false, true] {
            // So that the brake on refused credentials does not count them together.
            clock.advance(Duration::from_mins(1));
            let end = ends.then(|| clock.now().plus(Duration::from_secs(30)).to_rfc3339());
            let (text, caller) = entered(&site, &owner, role, end).await;
            if ends {
                clock.advance(Duration::from_secs(30));
            } else {
                let (tenant, by) = if role == Role::Operator { ("system", &site.operator) } else { ("acme", &owner) };
                let path = format!("/v1/tenants/{tenant}/tokens/{}", token_id(&text));
                assert_eq!(site.send("DELETE", &path, by, None).await.status, 204);
            }
            let before = rows(&site).await;
            let request = caller.request;
            let done = change(With { vault: vault.clone(), caller, victim }).await;
            assert!(matches!(done, Err(VaultError::Unauthenticated)), "{what}, ends: {ends}: {done:?}");
            assert!(rows(&site).await == before, "{what}, ends: {ends}: something changed");
            let denied = site.trail("system", &site.operator).await;
            let denied = denied.iter().filter(|entry| entry["request"] == request.to_string() && entry["action"] == "auth.denied");
            assert_eq!(denied.count(), 1, "{what}, ends: {ends}: on the record, as any credential that is refused");
        }
    }
    // Each of them goes through with a token that holds: nothing else refused it. What is shredded comes last.
    let (last, first): (Vec<Change>, Vec<Change>) = CHANGES.into_iter().partition(|(what, ..)| what.starts_with("shred of a "));
    for (what, role, change) in first.into_iter().chain(last) {
        let (_, caller) = entered(&site, &owner, role, None).await;
        change(With { vault: vault.clone(), caller, victim }).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    }
}

/// Everything that takes two persons, to ask for and to decide, and who does it.
const OF_TWO: [(&str, Role); 18] = [
    ("a policy", Role::Owner),
    ("ask for a looser policy", Role::Owner),
    ("ask for an order", Role::Eraser),
    ("ask for shorter rules", Role::Owner),
    ("ask for a bypass", Role::Owner),
    ("ask for an end", Role::Owner),
    ("place a hold", Role::Counsel),
    ("ask for a release", Role::Counsel),
    ("approve a looser policy", Role::Owner),
    ("approve an order", Role::Eraser),
    ("approve shorter rules", Role::Owner),
    ("approve a bypass", Role::Governor),
    ("approve an end", Role::Owner),
    ("approve a release", Role::Counsel),
    ("refuse an order", Role::Eraser),
    ("refuse a release", Role::Counsel),
    ("refuse a bypass", Role::Governor),
    ("withdraw an order", Role::Owner),
];

/// A tenant of its own for each of these.
struct OfTwo {
    what: &'static str,
    way: &'static str,
    name: TenantName,
    owner: String,
    counsel: String,
    /// Whose word it is.
    token: String,
    hold: Option<HoldId>,
    asked: Option<ApprovalId>,
    caller: Option<Caller>,
}

impl OfTwo {
    /// A tenant with two owners and rules, and the token.
    async fn make(site: &Site, number: usize, (what, role): (&'static str, Role), way: &'static str, end: String) -> Self {
        let tenant = format!("t{number}");
        let owner = site.tenant(&tenant).await;
        site.token(&tenant, &owner, json!({"role": "owner"})).await;
        let crm = format!("/v1/tenants/{tenant}/collections/crm");
        let law = json!({"period": "1d", "basis": "law 1", "mode": "governance"});
        for (minimum, status) in [(law, 201), (json!(null), 200)] {
            let mut rule = json!({"name": "all", "from": "created", "maximum": "1y", "then": "delete"});
            if minimum.is_object() {
                rule["minimum"] = minimum;
            }
            let rules = json!({"retention": {"time_zone": "UTC", "rules": [rule]}});
            assert_eq!(site.send("PUT", &crm, &owner, Some(rules)).await.status, status);
        }
        let counsel = site.counsel(&tenant, &owner).await;
        let by = if role == Role::Counsel { &counsel } else { &owner };
        let end = (way == "ended").then_some(end);
        let token = site.token(&tenant, by, json!({"role": role.name(), "expires_at": end})).await;
        let name = TenantName::parse(&tenant).unwrap();
        Self { what, way, name, owner, counsel, token, hold: None, asked: None, caller: None }
    }

    /// Its policy and a hold, and what is asked for before somebody decides it.
    async fn ask(&mut self, site: &Site) {
        let vault = &site.server.rooms().vault;
        let [owner, counsel, caller] = [enter(site, &self.owner).await, enter(site, &self.counsel).await, enter(site, &self.token).await];
        let rules = ApprovalRules { shreds: Some(ShredScope::Subject), release_hold: true, ..ApprovalRules::default() };
        vault.put_policy(&owner, &self.name, rules, None).await.unwrap();
        self.hold = Some(vault.place_hold(&counsel, &self.name, new_hold("held"), None).await.unwrap().id);
        let asker = if self.what.starts_with("withdraw") { &caller } else { &owner };
        self.asked = match self.what {
            "approve an order" | "refuse an order" | "withdraw an order" => {
                Some(ApprovalId(vault.order_shred(asker, &self.name, of_person("1"), None, None).await.unwrap().id.0))
            }
            "approve a looser policy" => match vault.put_policy(asker, &self.name, ApprovalRules::default(), None).await.unwrap() {
                PolicyChange::Asked(asked) => Some(asked.id),
                PolicyChange::Now(view) => panic!("{view:?}"),
            },
            "approve shorter rules" => Some(vault.ask_shortening(asker, &self.name, &collection("crm"), None).await.unwrap().id),
            "approve a bypass" | "refuse a bypass" => {
                Some(vault.ask_bypass(asker, &self.name, &collection("crm"), "the law is another".into(), None).await.unwrap().id)
            }
            "approve an end" => match vault.terminate_tenant(asker, &self.name, self.end(), None).await.unwrap() {
                Terminated::Asked(asked) => Some(asked.id),
                Terminated::Now(view) => panic!("{view:?}"),
            },
            "approve a release" | "refuse a release" => {
                match vault.release_hold(&counsel, &self.name, self.hold.unwrap(), "settled".into(), None).await.unwrap() {
                    Released::Asked(asked) => Some(asked.id),
                    Released::Now(view) => panic!("{view:?}"),
                }
            }
            _ => None,
        };
        self.caller = Some(caller);
    }

    fn end(&self) -> Terminate {
        Terminate { confirm: self.name.as_str().into(), grace: Grace::parse("30d").unwrap(), reason: None }
    }

    async fn act(&self, vault: &Vault) -> Result<(), VaultError> {
        let (caller, name) = (self.caller.as_ref().unwrap(), &self.name);
        match (self.what, self.asked) {
            ("a policy", _) => {
                let rules = ApprovalRules { shreds: Some(ShredScope::Record), release_hold: true, ..ApprovalRules::default() };
                vault.put_policy(caller, name, rules, None).await.map(drop)
            }
            ("ask for a looser policy", _) => vault.put_policy(caller, name, ApprovalRules::default(), None).await.map(drop),
            ("ask for an order", _) => vault.order_shred(caller, name, of_person("1"), None, None).await.map(drop),
            ("ask for shorter rules", _) => vault.ask_shortening(caller, name, &collection("crm"), None).await.map(drop),
            ("ask for a bypass", _) => {
                vault.ask_bypass(caller, name, &collection("crm"), "the law is another".into(), None).await.map(drop)
            }
            ("ask for an end", _) => vault.terminate_tenant(caller, name, self.end(), None).await.map(drop),
            ("place a hold", _) => vault.place_hold(caller, name, new_hold("another"), None).await.map(drop),
            ("ask for a release", _) => vault.release_hold(caller, name, self.hold.unwrap(), "settled".into(), None).await.map(drop),
            (what, Some(id)) if what.starts_with("refuse") => vault.refuse_approval(caller, name, id, None, None).await.map(drop),
            (what, Some(id)) if what.starts_with("withdraw") => vault.withdraw_approval(caller, name, id, None).await.map(drop),
            (what, Some(id)) if what.starts_with("approve") => vault.approve(caller, name, id, None, None).await.map(drop),
            (what, _) => panic!("{what}"),
        }
    }
}

fn of_person(id: &str) -> ShredOrder {
    ShredOrder::Subjects(vec![SubjectId::parse(id).unwrap()])
}

fn new_hold(person: &str) -> NewHold {
    let text = HoldText {
        matter: "M-1".into(),
        reason: "a lawsuit".into(),
        custodian: "legal".into(),
        case_number: None,
        renewal_reason: None,
        release_reason: None,
    };
    NewHold { text, scope: HoldScope::Subjects(vec![SubjectId::parse(person).unwrap()]), disclosed: false, law_enforcement: false }
}

/// Who a token stands for.
async fn enter(site: &Site, token: &str) -> Caller {
    let request = Vault::make_request_id();
    let principal = site.server.rooms().vault.authenticate(&PresentedToken::parse(token).unwrap(), request).await.unwrap();
    Caller::new(principal, request, None)
}

/// The same of what takes two persons: neither is there a request in the name of who holds no token any more, nor is one decided on their word.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_revoked_or_has_ended_since_asks_for_no_second_person_and_is_none() {
    const DAY: Duration = Duration::from_hours(24);
    let (clock, site) = timed().await;
    let vault = site.server.rooms().vault.clone();
    let end = clock.now().plus(DAY * 10).to_rfc3339();
    let mut all = Vec::new();
    for of in OF_TWO {
        for way in ["revoked", "ended", "holds"] {
            all.push(OfTwo::make(&site, all.len(), of, way, end.clone()).await);
        }
    }
    // They count as second persons by now.
    clock.advance(DAY * 8);
    for one in &mut all {
        one.ask(&site).await;
    }
    clock.advance(DAY * 2);
    for one in &all {
        let named = format!("{}, {}", one.what, one.way);
        if one.way == "revoked" {
            let by = if one.what.ends_with("release") || one.what.ends_with("hold") { &one.counsel } else { &one.owner };
            let path = format!("/v1/tenants/{}/tokens/{}", one.name.as_str(), token_id(&one.token));
            assert_eq!(site.send("DELETE", &path, by, None).await.status, 204, "{named}");
        }
        let before = rows(&site).await;
        let done = one.act(&vault).await;
        if one.way == "holds" {
            done.unwrap_or_else(|error| panic!("{named}: nothing else refused it: {error:?}"));
            if one.what == "approve an order" {
                // Nothing changes behind the next one's back.
                let (id, wait) = (ShredId(one.asked.unwrap().0), Some(Duration::from_secs(30)));
                assert!(vault.shred(one.caller.as_ref().unwrap(), &one.name, id, wait).await.unwrap().done, "{named}");
            }
            continue;
        }
        assert!(matches!(done, Err(VaultError::Unauthenticated)), "{named}: {done:?}");
        assert!(rows(&site).await == before, "{named}: something changed");
        let request = one.caller.as_ref().unwrap().request.to_string();
        let denied = site.trail("system", &site.operator).await;
        let denied = denied.iter().filter(|entry| entry["request"] == request && entry["action"] == "auth.denied");
        assert_eq!(denied.count(), 1, "{named}: on the record, as any credential that is refused");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_revoked_while_a_large_value_comes_in_stores_nothing() {
    let site = Site::open().await;
    let owner = acme_with_records(&site).await;
    let (text, caller) = entered(&site, &owner, Role::Writer, None).await;
    let vault = site.server.rooms().vault.clone();
    let by = entered(&site, &owner, Role::Owner, None).await.1;
    let before = rows(&site).await.len();
    let part = || Ok(Bytes::from(vec![b'x'; 100_000]));
    let revoking = {
        let vault = vault.clone();
        async move {
            vault.revoke_token(&by, &acme(), token_id(&text), None).await.unwrap();
            part()
        }
    };
    let body = stream::iter([part()]).chain(stream::once(revoking)).boxed();
    let put = PutRecord { body, ..put_of(Vec::new()) };
    let done = vault.put_record(&caller, &acme(), &collection("crm"), key("l"), put).await;
    assert!(matches!(done, Err(VaultError::Unauthenticated)), "{done:?}");
    assert_eq!(site.get(&format!("{CRM}/records/l"), &owner).await.status, 404);
    assert_eq!(rows(&site).await.len() + 1, before, "but for the token, nothing came or went");
}

/// A request whose body comes in two halves, and what is done between them.
async fn in_two_halves(site: &Site, path: &str, token: &str, body: &str, between: impl Future<Output = ()>) -> String {
    let mut socket = TcpStream::connect(site.address()).await.unwrap();
    let (first, second) = body.split_at(body.len() / 2);
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    // The server asks for the body when its handler reads it: the token has been looked at.
    let mut asked = [0; 25];
    socket.read_exact(&mut asked).await.unwrap();
    assert!(asked.starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&asked));
    socket.write_all(first.as_bytes()).await.unwrap();
    between.await;
    socket.write_all(second.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_takes_its_time_does_not_outlast_its_token() {
    let (clock, site) = timed().await;
    let owner = acme_with_records(&site).await;
    let tokens = "/v1/tenants/acme/tokens";
    let query = format!("{CRM}/query");
    for (path, body) in [(tokens, r#"{"role": "owner"}"#), (query.as_str(), r#"{"subject": "1"}"#)] {
        let thief = site.token("acme", &owner, json!({"role": "owner"})).await;
        let revoke = async {
            let path = format!("{tokens}/{}", token_id(&thief));
            assert_eq!(site.send("DELETE", &path, &owner, None).await.status, 204);
        };
        let answer = in_two_halves(&site, path, &thief, body, revoke).await;
        assert_eq!((status_of(&answer), code_of(&answer).as_str()), (401, "unauthenticated"), "{path}: {answer}");
        let end = clock.now().plus(Duration::from_mins(1)).to_rfc3339();
        let brief = site.token("acme", &owner, json!({"role": "owner", "expires_at": end})).await;
        let answer = in_two_halves(&site, path, &brief, body, async { clock.advance(Duration::from_mins(1)) }).await;
        assert_eq!((status_of(&answer), code_of(&answer).as_str()), (401, "unauthenticated"), "{path}: {answer}");
        let answer = in_two_halves(&site, path, &owner, body, async {}).await;
        assert!(answer.starts_with("HTTP/1.1 20"), "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_an_end_makes_none_that_outlives_it() {
    let (clock, site) = timed().await;
    let owner = site.acme().await;
    let at = |secs: u64| clock.now().plus(Duration::from_secs(secs)).to_rfc3339();
    for (tenant, role, by) in [("acme", "owner", &owner), ("system", "operator", &site.operator)] {
        let path = format!("/v1/tenants/{tenant}/tokens");
        let make = async |by: &str, end: Option<String>| {
            let body = end.map_or_else(|| json!({"role": role}), |end| json!({"role": role, "expires_at": end}));
            site.send("POST", &path, by, Some(body)).await
        };
        let whole = make(by, None).await;
        assert_eq!((whole.status, whole.json["expires_at"].is_null()), (201, true));
        let parent = make(by, Some(at(60))).await;
        let token = parent.json["token"].as_str().unwrap().to_owned();
        let later = make(&token, Some(at(61))).await;
        assert_eq!((later.status, later.code()), (403, "forbidden"), "{later:?}");
        for (end, told) in [(Some(at(60)), at(60)), (Some(at(30)), at(30)), (None, at(60))] {
            let child = make(&token, end).await;
            assert_eq!((child.status, child.json["expires_at"].as_str().unwrap()), (201, told.as_str()), "{child:?}");
        }
        let heir = make(&token, None).await.json["token"].as_str().unwrap().to_owned();
        // With those that end nobody could make a token for good: the others stay.
        let revoke = async |whose: &str| site.send("DELETE", &format!("{path}/{}", token_id(whose)), &token, None).await;
        assert_eq!(revoke(whole.json["token"].as_str().unwrap()).await.status, 204);
        assert_eq!(revoke(by).await.code(), "last-owner", "{tenant}");
        clock.advance(Duration::from_mins(1));
        assert_eq!(make(&heir, None).await.status, 401, "it ended with the token that made it");
        let trail = site.trail(tenant, by).await;
        assert!(trail.iter().any(|entry| entry["action"] == "token.create" && entry["reason"] == "forbidden"), "{trail:?}");
    }
}

/// Holds the committer, and with it every commit behind this one, until the other end is dropped.
struct Blocks(std::sync::mpsc::Receiver<()>);

impl Tail for Blocks {
    fn rows(&mut self) -> Result<Vec<Write>, StoreError> {
        let _ended = self.0.recv();
        Ok(Vec::new())
    }

    fn settled(&mut self, _: bool) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_for_a_client_that_hung_up_keeps_its_memory_and_its_place() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let options = HttpOptions { max_requests: 2, bodies_len_bytes: 1_000_000, ..HttpOptions::default() };
    let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle();
    let router = http::router(&Api::new(site.server.rooms().vault.clone(), options, metrics, Tasks::default(), [7; 8]));
    let batch = |name: &str, len: usize| {
        let op = json!({"op": "put", "collection": "crm", "key": name, "value": "x", "subjects": ["1"]});
        let body = format!("{{\"ops\":[{op}{}]}}", " ".repeat(len));
        let request = ::http::Request::post("/v1/tenants/acme/batch").header("authorization", format!("Bearer {owner}"));
        let request = request.header("content-type", "application/json").body(axum::body::Body::from(body)).unwrap();
        router.clone().oneshot(request).map(|answer| answer.unwrap().status().as_u16())
    };
    let store = Arc::clone(&site.server.rooms().store);
    let (go_on, blocked) = std::sync::mpsc::sync_channel(0);
    let tail: Option<Box<dyn Tail>> = Some(Box::new(Blocks(blocked)));
    let commit = Commit { checks: Vec::new(), writes: Vec::new(), tail, durability: Durability::Written, urgency: Urgency::Normal };
    let tracker = tokio_util::task::TaskTracker::new();
    let blocking = tracker.spawn(async move { store.commit(commit).await });
    // A batch waits for its commit, and its client hangs up: what is dropped here is all that waits for it.
    let hang_up = async |name: &str, len: usize| {
        assert!(tokio::time::timeout(Duration::from_secs(3), batch(name, len)).await.is_err(), "{name} does not wait for its commit");
    };
    let answered = async |name: &str, len: usize| tokio::time::timeout(Duration::from_secs(10), batch(name, len)).await.ok();
    hang_up("large", 900_000).await;
    assert_eq!(answered("next", 900_000).await, Some(503), "there is memory for no other");
    hang_up("small", 10).await;
    assert_eq!(answered("third", 10).await, Some(503), "there is no place for another");
    drop(go_on);
    blocking.await.unwrap().unwrap();
    let goes_on = async { while batch("next", 900_000).await != 200 {} };
    tokio::time::timeout(Duration::from_mins(1), goes_on).await.expect("all is given back");
    for (name, status) in [("large", 200), ("small", 200), ("third", 404)] {
        assert_eq!(site.get(&format!("{CRM}/records/{name}"), &owner).await.status, status, "{name}");
    }
}

//! Two persons over the wire: what takes two waits for the second, is carried out by the second one's word in the name of the first, and
//! by nobody else's.

use std::{sync::Arc, time::Duration};

use lethe::domain::TestClock;
use reqwest::Method;
use serde_json::{Value, json};

use super::site::{Answer, Site, hold, id, id_of, record};

const DAY: Duration = Duration::from_hours(24);

/// A tenant with two owners, who were both there before anything was asked for.
struct Tenant<'a> {
    site: &'a Site,
    name: String,
    owner: String,
    second: String,
}

async fn site() -> (Site, Arc<TestClock>) {
    Site::open_on("2024-01-31T20:00:00Z").await
}

fn is(answer: &Answer, status: u16, code: &str, named: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{named}: {answer:?}");
}

impl<'a> Tenant<'a> {
    async fn make(site: &'a Site, name: &str) -> Self {
        let owner = site.tenant_of_units(name).await;
        let second = site.token(name, &owner, json!({"role": "owner"})).await;
        Self { site, name: name.to_owned(), owner, second }
    }

    /// The same with a policy.
    async fn with(site: &'a Site, name: &str, approvals: Value) -> Self {
        let tenant = Self::make(site, name).await;
        let set = tenant.put_policy(&tenant.owner, approvals).await;
        assert_eq!(set.status, 200, "{set:?}");
        tenant
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/tenants/{}/{rest}", self.name)
    }

    fn record(&self, at: &str) -> String {
        record(&self.name, at)
    }

    async fn put_policy(&self, token: &str, approvals: Value) -> Answer {
        self.site.send("PUT", &self.path("policy"), token, Some(json!({ "approvals": approvals }))).await
    }

    async fn policy(&self) -> Value {
        self.site.get(&self.path("policy"), &self.owner).await.json["approvals"].clone()
    }

    async fn put(&self, at: &str, subjects: &str) {
        assert_eq!(self.site.put(&self.record(at), &self.owner, subjects, "x").await.status, 201, "{at}");
    }

    async fn get(&self, at: &str) -> u16 {
        self.site.get(&self.record(at), &self.owner).await.status
    }

    async fn shred(&self, token: &str, order: Value) -> Answer {
        self.site.shred(&self.name, token, order).await
    }

    /// An order that waits; its id.
    async fn asked(&self, token: &str, order: Value) -> Answer {
        let asked = self.shred(token, order.clone()).await;
        assert_eq!((asked.status, asked.json["state"].as_str()), (202, Some("waiting-for-approval")), "{order}: {asked:?}");
        assert_eq!(asked.json["approval"], asked.json["id"], "{asked:?}");
        asked
    }

    async fn order(&self, id: &str) -> Answer {
        self.site.order(&self.name, &self.owner, id).await
    }

    async fn approval(&self, token: &str, id: &str) -> Answer {
        self.site.get(&self.path(&format!("approvals/{id}")), token).await
    }

    async fn decide(&self, token: &str, id: &str, what: &str) -> Answer {
        let body = (what != "withdraw").then(|| json!({}));
        self.site.send("POST", &self.path(&format!("approvals/{id}/{what}")), token, body).await
    }

    /// The second owner approves.
    async fn approve(&self, id: &str) -> Value {
        let approved = self.decide(&self.second, id, "approve").await;
        assert_eq!((approved.status, approved.json["state"].as_str()), (200, Some("approved")), "{approved:?}");
        approved.json
    }

    async fn certificate(&self, id: &str) -> Value {
        let url = format!("{}/v1/certificates/{id}", self.site.server.url());
        let note = self.site.client.get(url).send().await.unwrap().text().await.unwrap();
        let (from, to) = (note.find('{').unwrap(), note.rfind('}').unwrap());
        serde_json::from_str(&note[from..=to]).unwrap()
    }

    async fn trail(&self) -> Vec<Value> {
        self.site.trail(&self.name, &self.owner).await
    }
}

/// The entries of some actions: action, outcome, principal.
fn entries<'a>(trail: &'a [Value], actions: &[&str]) -> Vec<(&'a str, &'a str, &'a str)> {
    let text = |entry: &'a Value, name: &str| entry[name].as_str().unwrap();
    let of = trail.iter().filter(|entry| actions.contains(&entry["action"].as_str().unwrap()));
    of.map(|entry| (text(entry, "action"), text(entry, "outcome"), text(entry, "principal"))).collect()
}

/// An answer that was lost is given again, with the salt, to who sends the same request under its key, and to nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn the_salt_of_an_order_that_waits_is_told_again_under_its_idempotency_key_alone() {
    let (site, _) = site().await;
    let tenant = Tenant::with(&site, "acme", json!({"shred": ["subject"]})).await;
    tenant.put("crm/a", "7").await;
    let order = json!({"scope": "subject", "subject": "7"});
    let sent = async |token: &str| {
        let request = site.request(Method::POST, &tenant.path("shreds"), token).header("idempotency-key", "once").json(&order);
        Answer::of(request.send().await.unwrap()).await
    };
    let (first, again, other) = (sent(&tenant.owner).await, sent(&tenant.owner).await, sent(&tenant.second).await);
    assert!(first.json["salt"].is_string() && first.json["salt"] == again.json["salt"], "{first:?} {again:?}");
    assert_eq!((id(&other.json), &other.json["salt"]), (id(&first.json), &Value::Null), "{other:?}");
    tenant.approve(id(&first.json)).await;
    assert_eq!(tenant.order(id(&first.json)).await.json["state"], "done");
    let again = sent(&tenant.owner).await;
    assert_eq!((&again.json["state"], &again.json["salt"]), (&json!("done"), &Value::Null), "{again:?}");
}

/// CERT-2: each scope; nothing is destroyed until the second person approves, the first one cannot, and the certificate names both.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_takes_two_persons_waits_and_is_carried_out_by_the_second_ones_word() {
    let (site, _) = site().await;
    for (number, (order, at, status, shown)) in [
        (json!({"scope": "record", "collection": "files", "key": "a/b"}), "files/a/b", 410, json!({"collection": "files", "key": "a/b"})),
        (json!({"scope": "subject", "subjects": ["8", "7"]}), "crm/a/b", 410, json!({"subjects": ["7", "8"]})),
        (json!({"scope": "collection", "collection": "crm"}), "crm/a/b", 410, json!({"collection": "crm"})),
        (json!({"scope": "tenant", "confirm": "t3"}), "all/a/b", 410, json!({})),
    ]
    .into_iter()
    .enumerate()
    {
        let tenant = Tenant::with(&site, &format!("t{number}"), json!({"shred": ["record"]})).await;
        for collection in ["crm", "all", "files"] {
            tenant.put(&format!("{collection}/a/b"), "7").await;
            tenant.put(&format!("{collection}/c"), "8").await;
        }
        let asked = tenant.asked(&tenant.owner, order.clone()).await;
        let named = format!("{order}");
        assert_eq!(asked.json["salt"].as_str().map(str::len), Some(64), "the answer to the order is the one with the salt: {asked:?}");
        let order_id = id(&asked.json).to_owned();
        for collection in ["crm", "all", "files"] {
            assert_eq!(tenant.get(&format!("{collection}/a/b")).await, 200, "{named}: it waits");
        }
        let waits = tenant.order(&order_id).await;
        assert_eq!((waits.status, waits.json["state"].as_str()), (202, Some("waiting-for-approval")), "{named}: {waits:?}");
        // Not where it is read, and not for who asks for the same, were it the same owner.
        let of_second =
            Answer::of(site.request(Method::GET, &tenant.path(&format!("shreds/{order_id}")), &tenant.second).send().await.unwrap());
        let asks_too = [tenant.asked(&tenant.owner, order.clone()).await, tenant.asked(&tenant.second, order.clone()).await];
        for later in [waits, of_second.await].iter().chain(&asks_too) {
            assert_eq!((id(&later.json), &later.json["salt"]), (order_id.as_str(), &Value::Null), "{named}: {later:?}");
        }
        let told = tenant.approval(&tenant.second, &order_id).await;
        assert_eq!((told.status, told.json["state"].as_str(), told.json["action"].as_str()), (200, Some("pending"), Some("shred")));
        assert_eq!((&told.json["scope"], told.json["asked_by"].as_str()), (&order["scope"], Some(id_of(&tenant.owner))), "{told:?}");
        for (field, names) in shown.as_object().unwrap() {
            assert_eq!(&told.json[field], names, "{named}: {told:?}");
        }
        // Who asked cannot be the second person, however often.
        for _ in 0..2 {
            is(&tenant.decide(&tenant.owner, &order_id, "approve").await, 403, "not-second-person", &named);
        }
        assert_eq!(tenant.get("crm/c").await, 200, "{named}");
        let approved = tenant.approve(&order_id).await;
        assert_eq!(approved["ended_by"].as_str(), Some(id_of(&tenant.second)), "{approved}");
        assert_eq!(tenant.get(at).await, status, "{named}: from the approval on");
        let done = tenant.order(&order_id).await;
        assert_eq!((done.status, done.json["state"].as_str()), (200, Some("done")), "{named}: {done:?}");
        let approval = &tenant.certificate(&order_id).await["approval"];
        let expected = json!({"policy": "two-person", "performed_by": id_of(&tenant.owner), "approved_by": id_of(&tenant.second)});
        assert_eq!(*approval, expected, "{named}");
        let trail = tenant.trail().await;
        let (first, second) = (id_of(&tenant.owner), id_of(&tenant.second));
        let steps = entries(&trail, &["approval.ask", "approval.approve", "shred.order", "shred.done"]);
        let (done, denied): (Vec<_>, Vec<_>) = steps.into_iter().partition(|(_, outcome, _)| *outcome == "allowed");
        let expected = [
            ("approval.ask", "allowed", first),
            ("approval.approve", "allowed", second),
            ("shred.order", "allowed", first),
            ("shred.done", "allowed", first),
        ];
        assert_eq!(done, expected, "{named}");
        assert_eq!(denied, [("approval.approve", "denied", first); 2], "{named}");
        if order["scope"] != "tenant" {
            is(&tenant.decide(&tenant.second, &order_id, "approve").await, 409, "approval-over", &named);
        }
    }
    // Where one person is enough, the certificate says that.
    let free = Tenant::make(&site, "free").await;
    free.put("crm/a", "7").await;
    let done = free.shred(&free.owner, json!({"scope": "subject", "subject": "7"})).await;
    assert_eq!((done.status, &done.json["approval"]), (200, &Value::Null), "{done:?}");
    let approval = &free.certificate(id(&done.json)).await["approval"];
    assert_eq!(*approval, json!({"policy": "single", "performed_by": id_of(&free.owner), "approved_by": null}));
}

/// Each policy asks for what it names and for what takes more, and for nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_asks_for_two_persons_for_what_it_names_and_for_what_takes_more() {
    let (site, _) = site().await;
    let scopes = ["tenant", "collection", "subject", "record"];
    for (least, named) in scopes.into_iter().enumerate() {
        let tenant = Tenant::with(&site, &format!("t{least}"), json!({"shred": [named]})).await;
        assert_eq!(tenant.policy().await, json!({"shred": scopes[..=least], "release_hold": false, "window": "7d"}));
        for (at, scope) in scopes.into_iter().enumerate().rev() {
            tenant.put(&format!("files/{scope}"), "7").await;
            tenant.put(&format!("crm/{scope}"), scope).await;
            let order = match scope {
                "tenant" => json!({"scope": "tenant", "confirm": tenant.name}),
                "collection" => json!({"scope": "collection", "collection": "all"}),
                "subject" => json!({"scope": "subject", "subject": "subject"}),
                _ => json!({"scope": "record", "collection": "files", "key": "record"}),
            };
            if at <= least {
                tenant.asked(&tenant.owner, order).await;
            } else {
                let done = tenant.shred(&tenant.owner, order).await;
                assert_eq!((done.status, done.json["state"].as_str()), (200, Some("done")), "{named}: {scope}: {done:?}");
            }
        }
    }
}

/// OP-4: a token that is made later does not count until it has been there as long as a request waits; one of before the policy does.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_counts_as_a_second_person_only_once_it_has_been_there_as_long_as_a_request_waits() {
    let (site, clock) = site().await;
    let acme = Tenant::with(&site, "acme", json!({"shred": ["subject"], "window": "3d"})).await;
    acme.put("crm/a", "7").await;
    clock.advance(DAY);
    // Whoever has got hold of one owner's token makes another, and has both.
    let made = site.token("acme", &acme.owner, json!({"role": "owner"})).await;
    let order = json!({"scope": "subject", "subject": "7"});
    let first = id(&acme.asked(&acme.owner, order.clone()).await.json).to_owned();
    is(&acme.decide(&made, &first, "approve").await, 403, "not-second-person", "it was made a moment ago");
    clock.advance(DAY * 2);
    is(&acme.decide(&made, &first, "approve").await, 403, "not-second-person", "what counts is how old it was when it was asked for");
    assert_eq!(acme.decide(&acme.owner, &first, "withdraw").await.status, 200);
    clock.advance(DAY.saturating_sub(Duration::from_millis(1)));
    let early = id(&acme.asked(&acme.owner, order.clone()).await.json).to_owned();
    is(&acme.decide(&made, &early, "approve").await, 403, "not-second-person", "a millisecond early");
    assert_eq!(acme.decide(&acme.owner, &early, "withdraw").await.status, 200);
    clock.advance(Duration::from_millis(1));
    // It can ask at any time: somebody else must approve that.
    let asked = id(&acme.asked(&made, order.clone()).await.json).to_owned();
    is(&acme.decide(&made, &asked, "approve").await, 403, "not-second-person", "its own");
    assert_eq!(acme.decide(&made, &asked, "withdraw").await.status, 200);
    let late = id(&acme.asked(&acme.owner, order).await.json).to_owned();
    assert_eq!(acme.get("crm/a").await, 200);
    let approved = acme.decide(&made, &late, "approve").await;
    assert_eq!((approved.status, approved.json["state"].as_str()), (200, Some("approved")), "{approved:?}");
    assert_eq!(acme.get("crm/a").await, 410);
}

/// The policy itself: tighter by one, looser by two, as long as anything takes two.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_tighter_takes_one_person_and_what_is_looser_two() {
    let (site, clock) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    let nothing = json!({"shred": [], "release_hold": false, "window": "7d"});
    assert_eq!(acme.policy().await, nothing);
    let tight = [
        json!({"shred": ["tenant"]}),
        json!({"shred": ["collection"]}),
        json!({"shred": ["collection"], "release_hold": true}),
        json!({"shred": ["record"], "release_hold": true}),
    ];
    for policy in tight {
        let set = acme.put_policy(&acme.owner, policy).await;
        assert_eq!(set.status, 200, "{set:?}");
        assert_eq!(set.json["since"], "2024-01-31T20:00:00.000Z", "since anything takes two, without a break");
        clock.advance(DAY);
    }
    let all = acme.policy().await;
    assert_eq!(all, json!({"shred": ["tenant", "collection", "subject", "record"], "release_hold": true, "window": "7d"}));
    let looser = [
        json!({"shred": ["subject"], "release_hold": true}),
        json!({"shred": ["record"]}),
        json!({"shred": ["record"], "release_hold": true, "window": "8d"}),
        json!({"shred": ["record"], "release_hold": true, "window": "6d"}),
        json!({}),
    ];
    let mut waiting = Vec::new();
    for policy in looser {
        let asked = acme.put_policy(&acme.owner, policy.clone()).await;
        assert_eq!((asked.status, asked.json["action"].as_str()), (202, Some("loosen-policy")), "{policy}: {asked:?}");
        assert_eq!(asked.json["from"], all, "{asked:?}");
        is(&acme.decide(&acme.owner, id(&asked.json), "approve").await, 403, "not-second-person", "the policy");
        assert_eq!(acme.policy().await, all, "{policy}: it is as it was");
        waiting.push(id(&asked.json).to_owned());
    }
    // The same is asked for once.
    let again = acme.put_policy(&acme.owner, json!({})).await;
    assert_eq!((again.status, id(&again.json)), (202, waiting[4].as_str()), "{again:?}");
    acme.approve(&waiting[0]).await;
    assert_eq!(acme.policy().await, json!({"shred": ["tenant", "collection", "subject"], "release_hold": true, "window": "7d"}));
    // What another was asked of is not there any more: nobody knows what the second person would have approved.
    is(&acme.decide(&acme.second, &waiting[4], "approve").await, 409, "approval-over", "from another policy");
    let asked = acme.put_policy(&acme.second, json!({})).await;
    let approved = acme.decide(&acme.owner, id(&asked.json), "approve").await;
    assert_eq!((approved.status, &approved.json["to"]), (200, &nothing), "{approved:?}");
    assert_eq!(acme.policy().await, nothing);
    acme.put("crm/a", "7").await;
    assert_eq!(acme.shred(&acme.owner, json!({"scope": "subject", "subject": "7"})).await.status, 200, "one is enough again");
    // Two can be asked for only where there are two.
    let alone = site.tenant("alone").await;
    let refused = site.send("PUT", "/v1/tenants/alone/policy", &alone, Some(json!({"approvals": {"shred": ["tenant"]}}))).await;
    is(&refused, 422, "unprocessable", "no second owner");
    let narrowed = site.token("alone", &alone, json!({"role": "owner", "expires_at": "2025-01-01T00:00:00Z"})).await;
    let refused = site.send("PUT", "/v1/tenants/alone/policy", &alone, Some(json!({"approvals": {"shred": ["tenant"]}}))).await;
    is(&refused, 422, "unprocessable", "one with an end is not enough");
    assert_eq!(site.get("/v1/tenants/alone/policy", &narrowed).await.status, 200);
}

/// Who may do a thing may decide it, as far as the grant reaches; nobody else learns of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_decided_by_who_may_do_the_same_and_seen_by_nobody_else() {
    let (site, _) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    let token = async |body: Value| site.token("acme", &acme.owner, body).await;
    let (eraser, auditor, writer) =
        (token(json!({"role": "eraser"})).await, token(json!({"role": "auditor"})).await, token(json!({"role": "writer"})).await);
    let of_crm = token(json!({"role": "eraser", "collections": ["crm"]})).await;
    let of_files = token(json!({"role": "eraser", "collections": ["files"]})).await;
    let of_a = token(json!({"role": "eraser", "collections": ["files"], "prefix": "a"})).await;
    let of_z = token(json!({"role": "eraser", "collections": ["files"], "prefix": "z"})).await;
    let counsel = site.counsel("acme", &acme.owner).await;
    assert_eq!(acme.put_policy(&acme.owner, json!({"shred": ["record"]})).await.status, 200);
    let other = Tenant::with(&site, "other", json!({"shred": ["record"]})).await;
    acme.put("crm/a", "7").await;
    acme.put("files/a/b", "7").await;
    let by_person = id(&acme.asked(&eraser, json!({"scope": "subject", "subject": "7"})).await.json).to_owned();
    let by_collection = id(&acme.asked(&acme.owner, json!({"scope": "collection", "collection": "crm"})).await.json).to_owned();
    let by_record = id(&acme.asked(&acme.owner, json!({"scope": "record", "collection": "files", "key": "a/b"})).await.json).to_owned();
    let loosened = acme.put_policy(&acme.owner, json!({})).await;
    let by_policy = id(&loosened.json).to_owned();
    let all = [&by_person, &by_collection, &by_record, &by_policy];
    for (named, token, sees) in [
        ("owner", &acme.owner, vec![&by_person, &by_collection, &by_record, &by_policy]),
        ("auditor", &auditor, vec![&by_person, &by_collection, &by_record, &by_policy]),
        ("eraser", &eraser, vec![&by_person, &by_collection, &by_record]),
        ("eraser of crm", &of_crm, vec![&by_collection]),
        ("eraser of files", &of_files, vec![&by_record]),
        ("eraser of files under a", &of_a, vec![&by_record]),
        ("eraser of files under z", &of_z, vec![]),
        ("counsel", &counsel, vec![]),
    ] {
        let page = site.get(&acme.path("approvals"), token).await;
        let mut listed: Vec<&str> = page.json["data"].as_array().unwrap().iter().map(id).collect();
        let mut expected: Vec<&str> = sees.iter().map(|id| id.as_str()).collect();
        listed.sort_unstable();
        expected.sort_unstable();
        assert_eq!(listed, expected, "{named}: {page:?}");
        for request in all {
            let read = acme.approval(token, request).await.status;
            assert_eq!(read, if sees.contains(&request) { 200 } else { 404 }, "{named}");
            let is_own = token == if request == &by_person { &eraser } else { &acme.owner };
            if !is_own {
                let status = if named == "auditor" || sees.contains(&request) { 403 } else { 404 };
                assert_eq!(acme.decide(token, request, "withdraw").await.status, status, "{named} takes back what others asked for");
            }
        }
    }
    for (token, status) in [(&writer, 403), (&site.operator, 403), (&other.owner, 404)] {
        assert_eq!(site.get(&acme.path("approvals"), token).await.status, status);
        for what in ["approve", "refuse", "withdraw"] {
            assert_eq!(acme.decide(token, &by_person, what).await.status, status, "{what}");
        }
    }
    // Another tenant has no such request.
    for what in ["approve", "refuse", "withdraw"] {
        assert_eq!(other.decide(&other.owner, &by_person, what).await.status, 404, "{what}");
    }
    assert_eq!(other.approval(&other.owner, &by_person).await.status, 404);
    assert_eq!(acme.get("crm/a").await, 200);
    for request in all {
        assert_eq!(acme.approval(&auditor, request).await.json["state"], "pending", "nobody has decided anything");
    }
}

/// As far as a grant reaches, and no further, a second person approves.
#[tokio::test(flavor = "multi_thread")]
async fn a_narrowed_grant_approves_what_it_reaches_and_nothing_else() {
    let (site, _) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    let token = async |body: Value| site.token("acme", &acme.owner, body).await;
    let (of_crm, of_a) = (
        token(json!({"role": "eraser", "collections": ["crm"]})).await,
        token(json!({"role": "eraser", "collections": ["files"], "prefix": "a"})).await,
    );
    let auditor = token(json!({"role": "auditor"})).await;
    assert_eq!(acme.put_policy(&acme.owner, json!({"shred": ["record"]})).await.status, 200);
    for at in ["crm/x", "files/a/b", "files/z"] {
        acme.put(at, "7").await;
    }
    let asked = async |order: Value| id(&acme.asked(&acme.owner, order).await.json).to_owned();
    let record = asked(json!({"scope": "record", "collection": "files", "key": "a/b"})).await;
    let elsewhere = asked(json!({"scope": "record", "collection": "files", "key": "z"})).await;
    let person = asked(json!({"scope": "subject", "subject": "7"})).await;
    let collection = asked(json!({"scope": "collection", "collection": "crm"})).await;
    for (token, request) in [(&of_crm, &record), (&of_crm, &person), (&of_a, &elsewhere), (&of_a, &collection), (&of_a, &person)] {
        assert_eq!(acme.decide(token, request, "approve").await.status, 404);
    }
    assert_eq!(acme.decide(&auditor, &person, "approve").await.status, 403, "who sees all decides nothing");
    for at in ["crm/x", "files/a/b", "files/z"] {
        assert_eq!(acme.get(at).await, 200, "{at}");
    }
    for (token, request, at) in [(&of_a, &record, "files/a/b"), (&of_crm, &collection, "crm/x")] {
        let approved = acme.decide(token, request, "approve").await;
        assert_eq!((approved.status, approved.json["state"].as_str()), (200, Some("approved")), "{approved:?}");
        assert_eq!(acme.get(at).await, 410, "{at}");
    }
    assert_eq!(acme.get("files/z").await, 200);
}

/// Refused, taken back, over: nothing is done, and nobody can approve it any more; it can be asked for again.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_or_withdrawn_or_over_is_not_done() {
    let (site, clock) = site().await;
    let acme = Tenant::with(&site, "acme", json!({"shred": ["subject"]})).await;
    acme.put("crm/a", "7").await;
    let order = json!({"scope": "subject", "subject": "7"});
    let mut ended = Vec::new();
    for how in ["refused", "withdrawn", "expired"] {
        let asked = id(&acme.asked(&acme.owner, order.clone()).await.json).to_owned();
        match how {
            "refused" => {
                is(&acme.decide(&acme.owner, &asked, "refuse").await, 403, "not-second-person", "who asked takes it back instead");
                let path = acme.path(&format!("approvals/{asked}/refuse"));
                is(&site.send("POST", &path, &acme.second, Some(json!({"reason": "a\nb"}))).await, 422, "unprocessable", "one line");
                let refused = site.send("POST", &path, &acme.second, Some(json!({"reason": "wrong person"}))).await;
                assert_eq!((refused.status, refused.json["refusal_reason"].as_str()), (200, Some("wrong person")), "{refused:?}");
            }
            "withdrawn" => {
                assert_eq!(acme.decide(&acme.second, &asked, "withdraw").await.status, 403, "somebody else refuses instead");
                assert_eq!(acme.decide(&acme.owner, &asked, "withdraw").await.status, 200);
            }
            _ => {
                clock.advance((DAY * 7).saturating_sub(Duration::from_millis(1)));
                site.run_retention().await;
                assert_eq!(acme.approval(&acme.owner, &asked).await.json["state"], "pending", "to the last millisecond");
                clock.advance(Duration::from_millis(1));
                // Over at once, whether or not anybody has looked yet.
                assert_eq!(acme.approval(&acme.owner, &asked).await.json["state"], "expired");
                is(&acme.decide(&acme.second, &asked, "approve").await, 409, "approval-over", "a millisecond late");
                site.run_retention().await;
            }
        }
        let seen = acme.approval(&acme.second, &asked).await;
        assert_eq!((seen.status, seen.json["state"].as_str()), (200, Some(how)), "{seen:?}");
        assert_eq!(seen.json["order_state"], "not-approved", "{seen:?}");
        for (token, what) in [(&acme.second, "approve"), (&acme.second, "refuse"), (&acme.owner, "withdraw")] {
            is(&acme.decide(token, &asked, what).await, 409, "approval-over", how);
        }
        let dropped = acme.order(&asked).await;
        assert_eq!((dropped.status, dropped.json["state"].as_str()), (202, Some("not-approved")), "{dropped:?}");
        assert!(dropped.json["salt"].is_null() && dropped.json["certificate"].is_null(), "{dropped:?}");
        assert_eq!(acme.get("crm/a").await, 200, "{how}");
        ended.push(asked);
    }
    for (state, of) in [("refused", &ended[0]), ("withdrawn", &ended[1]), ("expired", &ended[2])] {
        let page = site.get(&acme.path(&format!("approvals?state={state}")), &acme.owner).await;
        assert_eq!(page.json["data"].as_array().unwrap().iter().map(id).collect::<Vec<_>>(), [of.as_str()], "{page:?}");
    }
    is(&site.get(&acme.path("approvals?state=open"), &acme.owner).await, 400, "malformed-query", "no such state");
    let trail = acme.trail().await;
    let (first, second) = (id_of(&acme.owner), id_of(&acme.second));
    let steps = entries(&trail, &["approval.ask", "approval.refuse", "approval.withdraw", "shred.order", "shred.done"]);
    let done: Vec<_> = steps.iter().filter(|(_, outcome, _)| *outcome == "allowed").map(|(action, _, who)| (*action, *who)).collect();
    let expected = [
        ("approval.ask", first),
        ("approval.refuse", second),
        ("approval.ask", first),
        ("approval.withdraw", first),
        ("approval.ask", first),
    ];
    assert_eq!(done, expected);
    let over: Vec<_> = trail.iter().filter(|entry| entry["action"] == "approval.expire").map(|entry| &entry["role"]).collect();
    assert_eq!(over, ["job"], "by itself");
    // It is as free as before.
    let asked = id(&acme.asked(&acme.owner, order).await.json).to_owned();
    acme.approve(&asked).await;
    assert_eq!(acme.get("crm/a").await, 410);
}

/// A request dies with the token that made it, however long others have to decide.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_in_the_name_of_who_may_not_act_any_more() {
    let (site, clock) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    let eraser = site.token("acme", &acme.owner, json!({"role": "eraser"})).await;
    let until = site.token("acme", &acme.owner, json!({"role": "eraser", "expires_at": "2024-02-01T20:00:00Z"})).await;
    assert_eq!(acme.put_policy(&acme.owner, json!({"shred": ["subject"]})).await.status, 200);
    for (person, token) in [("7", &eraser), ("8", &until)] {
        acme.put(&format!("crm/{person}"), person).await;
        let asked = id(&acme.asked(token, json!({"scope": "subject", "subject": person})).await.json).to_owned();
        if token == &eraser {
            assert_eq!(site.send("DELETE", &acme.path(&format!("tokens/{}", id_of(token))), &acme.owner, None).await.status, 204);
        } else {
            clock.advance(DAY);
        }
        is(&acme.decide(&acme.second, &asked, "approve").await, 409, "approval-over", person);
        assert_eq!(acme.get(&format!("crm/{person}")).await, 200);
        // It can be cleared away.
        assert_eq!(acme.decide(&acme.second, &asked, "refuse").await.status, 200);
    }
}

/// A hold that is there when it is carried out keeps what it is on; the order is held as approved, and runs with the release.
#[tokio::test(flavor = "multi_thread")]
async fn holds_are_looked_at_when_an_order_is_approved_and_keep_it_back() {
    let (site, _) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    let counsel = site.counsel("acme", &acme.owner).await;
    assert_eq!(acme.put_policy(&acme.owner, json!({"shred": ["tenant", "subject"]})).await.status, 200);
    acme.put("crm/a", "7").await;
    let asked = id(&acme.asked(&acme.owner, json!({"scope": "subject", "subject": "7"})).await.json).to_owned();
    let hold = hold(json!({"scope": "subject", "subject": "7"}));
    let placed = site.send("POST", &acme.path("holds"), &counsel, Some(hold)).await;
    assert_eq!((placed.status, &placed.json["too_late"]), (201, &json!([])), "{placed:?}");
    let approved = acme.approve(&asked).await;
    assert_eq!(approved["order_state"], "held", "{approved}");
    let held = acme.order(&asked).await;
    assert_eq!((held.status, held.json["state"].as_str()), (202, Some("held")), "{held:?}");
    assert_eq!(acme.get("crm/a").await, 200, "the law keeps it, whoever approves");
    let release = acme.path(&format!("holds/{}/release", id(&placed.json)));
    assert_eq!(site.send("POST", &release, &counsel, Some(json!({"reason": "settled"}))).await.status, 200);
    let done = acme.order(&asked).await;
    assert_eq!((done.status, done.json["state"].as_str()), (200, Some("done")), "{done:?}");
    assert_eq!(acme.get("crm/a").await, 410);
    let certificate = acme.certificate(&asked).await;
    assert_eq!((&certificate["approval"]["policy"], &certificate["holds_checked"]), (&json!("two-person"), &json!(true)));
    assert_eq!(certificate["approval"]["approved_by"].as_str(), Some(id_of(&acme.second)));
}

/// Two counsels: one asks for the release, another approves, and owners have no part in it.
#[tokio::test(flavor = "multi_thread")]
async fn the_release_of_a_hold_takes_two_counsels_where_the_policy_asks_for_them() {
    let (site, _) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    let token = async |by: &str, role: &str| site.token("acme", by, json!({ "role": role })).await;
    let (counsel, auditor) = (site.counsel("acme", &acme.owner).await, token(&acme.owner, "auditor").await);
    // One of the line that places the hold, and one of another, which an owner has brought in.
    let (second, outsider) = (token(&counsel, "counsel").await, site.counsel("acme", &acme.owner).await);
    assert_eq!(acme.put_policy(&acme.owner, json!({"release_hold": true})).await.status, 200);
    acme.put("crm/a", "7").await;
    let hold = hold(json!({"scope": "subject", "subject": "7"}));
    let placed = site.send("POST", &acme.path("holds"), &counsel, Some(hold)).await.json;
    let stopped = acme.shred(&acme.owner, json!({"scope": "subject", "subject": "7"})).await;
    is(&stopped, 423, "legal-obligation", "the order");
    let release = acme.path(&format!("holds/{}/release", id(&placed)));
    let send = async |key: &str| {
        let request = site.request(Method::POST, &release, &counsel).header("idempotency-key", key).json(&json!({"reason": "settled"}));
        Answer::of(request.send().await.unwrap()).await
    };
    let asked = send("once").await;
    assert_eq!((asked.status, asked.json["action"].as_str()), (202, Some("release-hold")), "{asked:?}");
    assert_eq!((&asked.json["hold"], &asked.json["reason"]), (&placed["id"], &json!("settled")), "{asked:?}");
    for key in ["once", "twice"] {
        let again = send(key).await;
        assert_eq!((again.status, &again.json["id"]), (202, &asked.json["id"]), "{again:?}");
    }
    let request = id(&asked.json);
    let active = async || site.get(&acme.path(&format!("holds/{}", id(&placed))), &counsel).await.json["state"].clone();
    assert_eq!(active().await, "active");
    is(&acme.decide(&counsel, request, "approve").await, 403, "not-second-person", "who asked");
    // The hold is not disclosed: an owner knows of neither. A counsel who could not release it decides nothing about it.
    for other in [&acme.owner, &acme.second, &outsider] {
        assert_eq!(acme.approval(other, request).await.status, 404);
        for what in ["approve", "refuse", "withdraw"] {
            assert_eq!(acme.decide(other, request, what).await.status, 404, "{what}");
        }
    }
    assert_eq!(site.send("POST", &release, &outsider, Some(json!({"reason": "settled"}))).await.status, 403, "nor asks for it");
    assert_eq!((acme.approval(&auditor, request).await.status, acme.decide(&auditor, request, "approve").await.status), (200, 403));
    assert_eq!((active().await, acme.get("crm/a").await), (json!("active"), 200));
    let approved = acme.decide(&second, request, "approve").await;
    assert_eq!((approved.status, approved.json["state"].as_str()), (200, Some("approved")), "{approved:?}");
    let released = site.get(&acme.path(&format!("holds/{}", id(&placed))), &counsel).await.json;
    assert_eq!((&released["state"], &released["release_reason"]), (&json!("released"), &json!("settled")), "{released}");
    assert_eq!(released["released_by"].as_str(), Some(id_of(&counsel)));
    // What it stopped runs.
    let done = acme.order(stopped.json["order"].as_str().unwrap()).await;
    assert_eq!((done.status, done.json["state"].as_str()), (200, Some("done")), "{done:?}");
    assert_eq!(acme.get("crm/a").await, 410);
    let trail = acme.trail().await;
    let steps = entries(&trail, &["hold.place", "approval.ask", "hold.release"]);
    let (done, denied): (Vec<_>, Vec<_>) = steps.into_iter().partition(|(_, outcome, _)| *outcome == "allowed");
    let expected = ["hold.place", "approval.ask", "hold.release"].map(|action| (action, "allowed", id_of(&counsel)));
    assert_eq!((done, denied), (expected.to_vec(), vec![("hold.release", "denied", id_of(&outsider))]));
    assert!(entries(&trail, &["approval.approve"]).contains(&("approval.approve", "allowed", id_of(&second))));
}

/// A person is asked for by all ids, and approved by those that were shown: who is given another meanwhile, or loses one, is asked for
/// again.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_approved_by_the_ids_that_were_asked_for_and_no_others() {
    let (site, _) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    let eraser = site.token("acme", &acme.owner, json!({"role": "eraser"})).await;
    assert_eq!(acme.put_policy(&acme.owner, json!({"shred": ["subject"]})).await.status, 200);
    for person in ["7", "ann", "other"] {
        acme.put(&format!("crm/{person}"), person).await;
    }
    let ids = async |what: &str, body: Value| {
        let changed = site.send("POST", &acme.path(&format!("subjects/aliases{what}")), &acme.owner, Some(body)).await;
        assert!([200, 201].contains(&changed.status), "{changed:?}");
    };
    let add = async |alias: &str| ids("", json!({"subject": "7", "alias": alias, "with_records": true})).await;
    let remove = async |alias: &str| ids("/remove", json!({ "alias": alias })).await;
    add("ann").await;
    let asked = acme.asked(&acme.owner, json!({"scope": "subject", "subject": "ann"})).await;
    assert_eq!(asked.json["targets"], json!(["ann", "7"]), "{asked:?}");
    let request = id(&asked.json);
    // By another id of the same person it is the same request.
    let again = acme.shred(&acme.second, json!({"scope": "subject", "subject": "7"})).await;
    assert_eq!((again.status, id(&again.json)), (202, request), "{again:?}");
    let shown = async |token: &str| acme.approval(token, request).await.json["subjects"].clone();
    assert_eq!(shown(&acme.second).await, json!(["ann", "7"]));
    // Who may not read a person's ids is told the one that was named.
    let told = shown(&eraser).await;
    assert!(told[0] == "ann" && told[1].as_str().unwrap().starts_with("shredded-subject-"), "{told}");

    add("other").await;
    for token in [&acme.second, &eraser] {
        is(&acme.decide(token, request, "approve").await, 409, "approval-over", "another id was given meanwhile");
    }
    remove("other").await;
    remove("ann").await;
    is(&acme.decide(&acme.second, request, "approve").await, 409, "approval-over", "one of the ids is somebody else's");
    for person in ["7", "ann", "other"] {
        assert_eq!(acme.get(&format!("crm/{person}")).await, 200, "{person}");
    }
    // With other ids it is another request.
    let named = acme.asked(&acme.owner, json!({"scope": "subject", "subject": "7"})).await;
    assert_ne!(id(&named.json), request);
    assert_eq!(acme.decide(&acme.owner, id(&named.json), "withdraw").await.status, 200);
    add("ann").await;
    let more = acme.asked(&acme.owner, json!({"scope": "subject", "subjects": ["7", "other"]})).await;
    acme.approve(request).await;
    assert_eq!(acme.order(request).await.json["state"], "done");
    assert_eq!([acme.get("crm/7").await, acme.get("crm/ann").await, acme.get("crm/other").await], [410, 410, 200]);
    // Whose ids went with the person since is in nobody's way.
    acme.approve(id(&more.json)).await;
    assert_eq!(acme.order(id(&more.json)).await.json["state"], "done");
    assert_eq!(acme.get("crm/other").await, 410);
    assert_eq!(shown(&acme.second).await.as_array().unwrap().len(), 2);
    assert!(!shown(&acme.second).await.to_string().contains("ann"), "nothing tells who it was");
}

/// Where a deletion would destroy a key, it is no way round; what rules end ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_would_shred_a_record_is_ordered_as_one() {
    let (site, clock) = site().await;
    let acme = Tenant::with(&site, "acme", json!({"shred": ["record"]})).await;
    for at in ["files/a", "crm/a", "all/a"] {
        acme.put(at, "7").await;
    }
    let end = site.request(Method::PUT, &acme.record("files/end"), &acme.owner).header("lethe-expires-at", "2024-02-01T20:00:00Z");
    assert_eq!(end.body("x").send().await.unwrap().status(), 201);
    is(&site.send("DELETE", &acme.record("files/a"), &acme.owner, None).await, 409, "approval-required", "a deletion");
    let ops = json!({"ops": [{"op": "delete", "collection": "crm", "key": "a"}, {"op": "delete", "collection": "files", "key": "a"}]});
    let batch = site.send("POST", &acme.path("batch"), &acme.owner, Some(ops)).await;
    is(&batch, 409, "approval-required", "in a batch");
    assert_eq!((&batch.json["op"], acme.get("files/a").await, acme.get("crm/a").await), (&json!(1), 200, 200), "nothing of it is done");
    for at in ["crm/a", "all/a"] {
        assert_eq!(site.send("DELETE", &acme.record(at), &acme.owner, None).await.status, 204, "no key goes with it: {at}");
    }
    clock.advance(DAY);
    assert_eq!(site.run_retention().await["destroyed"], 1, "that was decided with the record");
    assert!([404, 410].contains(&acme.get("files/end").await));
    let asked = id(&acme.asked(&acme.owner, json!({"scope": "record", "collection": "files", "key": "a"})).await.json).to_owned();
    acme.approve(&asked).await;
    assert_eq!(acme.get("files/a").await, 410);
}

/// The same is asked for once at a time, and done once, however often it is sent; and nothing but what was shown is approved.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_made_and_approved_once_however_often_it_is_sent() {
    let (site, _) = site().await;
    let acme = Tenant::with(&site, "acme", json!({"shred": ["subject"]})).await;
    acme.put("crm/a", "7").await;
    let send = async |path: &str, token: &str, key: &str, body: Value| {
        let request = site.request(Method::POST, &acme.path(path), token).header("idempotency-key", key).json(&body);
        Answer::of(request.send().await.unwrap()).await
    };
    let order = json!({"scope": "subject", "subject": "7"});
    let first = send("shreds", &acme.owner, "a", order.clone()).await;
    assert_eq!((first.status, first.json["state"].as_str()), (202, Some("waiting-for-approval")), "{first:?}");
    for (token, key) in [(&acme.owner, "a"), (&acme.owner, "b"), (&acme.second, "a")] {
        let again = send("shreds", token, key, order.clone()).await;
        assert_eq!((again.status, &again.json["id"]), (202, &first.json["id"]), "{again:?}");
    }
    let page = site.get(&acme.path("approvals?state=pending"), &acme.owner).await;
    assert_eq!(page.json["data"].as_array().unwrap().len(), 1, "{page:?}");
    let request = id(&first.json);
    let shown = acme.approval(&acme.second, request).await.json;
    let digest = shown["digest"].as_str().unwrap();
    let approve = format!("approvals/{request}/approve");
    let other = digest.replace(&digest[..1], if digest.starts_with('0') { "1" } else { "0" });
    is(&send(&approve, &acme.second, "c", json!({ "digest": other })).await, 412, "precondition-failed", "of another request");
    is(&send(&approve, &acme.second, "c", json!({"digest": "7"})).await, 422, "invalid-body", "no digest");
    for _ in 0..2 {
        let approved = send(&approve, &acme.second, "c", json!({ "digest": digest })).await;
        assert_eq!((approved.status, approved.json["state"].as_str()), (200, Some("approved")), "{approved:?}");
    }
    is(&send(&approve, &acme.second, "d", json!({ "digest": digest })).await, 409, "approval-over", "with another key");
    is(&send(&approve, &acme.second, "c", json!({})).await, 422, "idempotency-mismatch", "another request");
    assert_eq!(acme.order(request).await.status, 200);
    // Pages of requests, each once.
    for person in 0..5 {
        acme.asked(&acme.owner, json!({"scope": "subject", "subject": format!("p{person}")})).await;
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = site.get(&acme.path(&format!("approvals?limit=2{cursor}")), &acme.second).await;
        let data = page.json["data"].as_array().unwrap();
        assert!(data.len() == 2 || page.json["next_cursor"].is_null(), "{page:?}");
        seen.extend(data.iter().map(|request| id(request).to_owned()));
        match page.json["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), distinct.len()), (6, 6));
}

/// RET-4: rules that were made shorter hold for what is there once two owners say so; no minimum is undercut, and longer ones revive nothing.
#[tokio::test(flavor = "multi_thread")]
async fn shorter_rules_hold_for_what_is_there_once_two_owners_say_so() {
    let (site, clock) = site().await;
    // Without a policy: it takes two all the same.
    let acme = Tenant::make(&site, "acme").await;
    clock.advance(DAY * 7);
    let rules = |maximum: &str, minimum: Option<&str>| {
        let mut rule = json!({"name": "r", "from": "created", "maximum": maximum, "then": "delete"});
        if let Some(minimum) = minimum {
            rule["minimum"] = json!({"period": minimum, "basis": "a law"});
        }
        json!({"shred_unit": "subject", "retention": {"time_zone": "UTC", "rules": [rule]}})
    };
    let set =
        async |policy: Value| assert_eq!(site.send("PUT", &acme.path("collections/crm"), &acme.owner, Some(policy)).await.status, 200);
    let shortenings = acme.path("collections/crm/shortenings");
    is(&site.send("POST", &shortenings, &acme.owner, None).await, 422, "unprocessable", "nothing to shorten");
    // Of before there were rules: nothing ends it.
    acme.put("crm/before", "7").await;
    set(rules("7y", None)).await;
    acme.put("crm/long", "7").await;
    set(rules("30d", None)).await;
    acme.put("crm/short", "7").await;
    let scheduled =
        async |key: &str| site.get(&acme.path(&format!("collections/crm/retention/{key}")), &acme.owner).await.json["scheduled_at"].clone();
    let (soon, late) = (json!("2024-03-09T00:00:00.000Z"), json!("2031-02-08T00:00:00.000Z"));
    let expected = |of: [&Value; 3]| of.map(Clone::clone);
    let all = async || [scheduled("before").await, scheduled("long").await, scheduled("short").await];
    assert_eq!(all().await, expected([&Value::Null, &late, &soon]));
    let asked = site.send("POST", &shortenings, &acme.owner, None).await;
    assert_eq!((asked.status, asked.json["action"].as_str()), (202, Some("shorten-retention")), "{asked:?}");
    assert_eq!((&asked.json["collection"], asked.json["rules"].as_str().map(str::len)), (&json!("crm"), Some(64)), "{asked:?}");
    let request = id(&asked.json);
    is(&acme.decide(&acme.owner, request, "approve").await, 403, "not-second-person", "who asked");
    let fresh = site.token("acme", &acme.owner, json!({"role": "owner"})).await;
    is(&acme.decide(&fresh, request, "approve").await, 403, "not-second-person", "made a moment ago, and no policy makes it count");
    assert_eq!(acme.put_policy(&acme.owner, json!({"shred": ["tenant"]})).await.status, 200);
    is(&acme.decide(&fresh, request, "approve").await, 403, "not-second-person", "nor one that was made now");
    site.run_retention().await;
    assert_eq!(all().await, expected([&Value::Null, &late, &soon]), "nothing has changed");
    // Only the rules that were asked for.
    set(rules("20d", None)).await;
    is(&acme.decide(&acme.second, request, "approve").await, 409, "approval-over", "other rules");
    set(rules("30d", None)).await;
    let approved = acme.approve(request).await;
    assert_eq!(approved["done"], false, "{approved}");
    site.run_retention().await;
    assert_eq!(acme.approval(&acme.owner, request).await.json["done"], true);
    assert_eq!(all().await, expected([&soon, &soon, &soon]));
    clock.advance(DAY * 30);
    assert_eq!(site.run_retention().await["destroyed"], 0, "not a day early");
    clock.advance(DAY);
    assert_eq!(site.run_retention().await["destroyed"], 3);
    for key in ["before", "long", "short"] {
        assert_eq!(acme.get(&format!("crm/{key}")).await, 404, "{key}");
    }
    set(rules("9y", None)).await;
    site.run_retention().await;
    assert_eq!(acme.get("crm/long").await, 404, "a longer rule revives nothing");
    // A minimum stands, whoever says so.
    acme.put("crm/kept", "8").await;
    clock.advance(DAY * 400);
    set(rules("5y", Some("5y"))).await;
    let asked = site.send("POST", &shortenings, &acme.second, None).await.json;
    let approved = acme.decide(&acme.owner, id(&asked), "approve").await;
    assert_eq!(approved.status, 200, "{approved:?}");
    assert_eq!(site.run_retention().await["destroyed"], 0);
    let met = "2029-03-10T00:00:00.000Z";
    assert_eq!(scheduled("kept").await, met);
    // What is past a shorter end already goes with the next run, and not before somebody has approved that; what has been under the minimum
    // stays until that is met.
    set(rules("9y", None)).await;
    acme.put("crm/loose", "8").await;
    clock.advance(DAY * 400);
    set(rules("1y", None)).await;
    assert_eq!(site.run_retention().await["destroyed"], 0);
    // Two shortenings have two moments.
    clock.advance(Duration::from_secs(1));
    let asked = site.send("POST", &shortenings, &acme.second, None).await.json;
    assert_eq!((site.run_retention().await["destroyed"].clone(), acme.get("crm/loose").await), (json!(0), 200));
    assert_eq!(acme.decide(&acme.owner, id(&asked), "approve").await.status, 200);
    assert_eq!((site.run_retention().await["destroyed"].clone(), acme.get("crm/loose").await), (json!(1), 404));
    assert_eq!((scheduled("kept").await, acme.get("crm/kept").await), (json!(met), 200));
    let trail = acme.trail().await;
    let done: Vec<_> = trail.iter().filter(|entry| entry["action"] == "retention.shorten" && entry["role"] == "job").collect();
    assert_eq!(done.iter().map(|entry| entry["target"]["count"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 1, 1], "{done:?}");
}

/// HOLD-4: a minimum of the governance kind binds everybody, until an owner and a governor bypass it for what is there; and the answers say
/// what applied, and who lifted it why.
#[tokio::test(flavor = "multi_thread")]
async fn a_governance_minimum_binds_what_is_there_until_an_owner_and_a_governor_bypass_it() {
    let (site, clock) = site().await;
    let acme = Tenant::make(&site, "acme").await;
    let governor = site.token("acme", &acme.owner, json!({"role": "governor"})).await;
    let auditor = site.token("acme", &acme.owner, json!({"role": "auditor"})).await;
    clock.advance(DAY * 7);
    let rule = |minimum: Option<Value>| {
        let mut rule = json!({"name": "r", "from": "created", "maximum": if minimum.is_some() { "9y" } else { "30d" }, "then": "delete"});
        if let Some(minimum) = minimum {
            rule["minimum"] = minimum;
        }
        json!({"shred_unit": "subject", "retention": {"time_zone": "UTC", "rules": [rule]}})
    };
    let governance = || Some(json!({"period": "4y", "basis": "law 1", "mode": "governance"}));
    let set =
        async |policy: Value| assert_eq!(site.send("PUT", &acme.path("collections/crm"), &acme.owner, Some(policy)).await.status, 200);
    let bypasses = acme.path("collections/crm/bypasses");
    let ask = async |token: &str, reason: &str| site.send("POST", &bypasses, token, Some(json!({ "reason": reason }))).await;
    let why = "the law was repealed";
    let record = acme.path("collections/crm/records/a");
    let kept = async |named: &str| {
        let refused = site.send("DELETE", &record, &acme.owner, None).await;
        is(&refused, 423, "legal-minimum", named);
        let told = ["rule", "basis", "mode", "until"].map(|field| refused.json[field].clone());
        assert_eq!(told, [json!("r"), json!("law 1"), json!("governance"), json!("2028-02-08T00:00:00.000Z")], "{named}");
    };
    let explained = async |token: &str| site.get(&acme.path("collections/crm/retention/a"), token).await.json;

    set(rule(governance())).await;
    acme.put("crm/a", "7").await;
    kept("as long as the rules say so").await;
    is(&ask(&acme.owner, why).await, 422, "unprocessable", "today's rules bind, whoever bypasses");
    set(rule(None)).await;
    kept("what was there under them").await;
    for reason in ["", "two\nlines"] {
        is(&ask(&acme.owner, reason).await, 422, "unprocessable", "why is one line");
    }
    for other in [&governor, &auditor] {
        is(&ask(other, why).await, 403, "forbidden", "an owner asks");
    }
    let asked = ask(&acme.owner, why).await;
    assert_eq!((asked.status, asked.json["action"].as_str()), (202, Some("bypass-governance")), "{asked:?}");
    assert_eq!((&asked.json["reason"], &asked.json["collection"]), (&json!(why), &json!("crm")), "{asked:?}");
    assert_eq!((asked.json["rules"].as_str().map(str::len), asked.json.get("done")), (Some(64), None), "{asked:?}");
    let request = id(&asked.json);
    assert_eq!(ask(&acme.owner, why).await.json["id"], asked.json["id"], "it is asked for once");
    // Nobody but a governor, and no governor who was made for it.
    for owner in [&acme.owner, &acme.second] {
        is(&acme.decide(owner, request, "approve").await, 403, "forbidden", "an owner");
    }
    let fresh = site.token("acme", &acme.owner, json!({"role": "governor"})).await;
    is(&acme.decide(&fresh, request, "approve").await, 403, "not-second-person", "made a moment ago");
    for (token, status) in [(&governor, 200), (&auditor, 200), (&fresh, 200)] {
        assert_eq!(acme.approval(token, request).await.status, status);
    }
    clock.advance(DAY * 2);
    assert_eq!(site.run_retention().await["destroyed"], 0);
    kept("nothing has changed").await;
    let approved = acme.decide(&governor, request, "approve").await;
    assert_eq!((approved.status, approved.json["state"].as_str()), (200, Some("approved")), "{approved:?}");
    clock.advance(DAY);
    site.run_retention().await;
    assert_eq!(acme.approval(&governor, request).await.json["done"], true);

    // What was there ends by the rules of today, and is told why.
    let told = explained(&auditor).await;
    assert_eq!((&told["minimum"], &told["scheduled_at"]), (&Value::Null, &json!("2024-03-09T00:00:00.000Z")), "{told}");
    let bypassed = ["rule", "basis", "until"].map(|field| told["bypassed"][field].clone());
    assert_eq!(bypassed, [json!("r"), json!("law 1"), json!("2028-02-08T00:00:00.000Z")], "{told}");
    assert!(
        told["bypassed"]["at"].as_str().unwrap().starts_with("2024-02-09T") && told["why"].as_str().unwrap().contains("was bypassed at")
    );
    is(&ask(&acme.owner, why).await, 422, "unprocessable", "nothing is left of them");
    // What is written from now on is as ever under the rules of its day.
    set(rule(governance())).await;
    kept("by the rules that came behind").await;
    set(rule(Some(json!({"period": "4y", "basis": "law 1", "mode": "compliance"})))).await;
    is(&site.send("DELETE", &record, &acme.owner, None).await, 423, "legal-minimum", "nobody shortens that");
    set(rule(None)).await;
    let again = ask(&acme.second, why).await;
    assert_eq!(acme.decide(&governor, id(&again.json), "approve").await.status, 200, "{again:?}");
    let refused = site.send("DELETE", &record, &acme.owner, None).await;
    assert_eq!((refused.status, refused.json["mode"].as_str()), (423, Some("compliance")), "it was under that, too: {refused:?}");
    let trail = acme.trail().await;
    let steps = entries(&trail, &["approval.ask", "retention.bypass"]);
    let (owner, second, governor) = (id_of(&acme.owner), id_of(&acme.second), id_of(&governor));
    let expected = [("approval.ask", owner), ("retention.bypass", governor), ("approval.ask", second), ("retention.bypass", governor)];
    assert_eq!(steps, expected.map(|(action, by)| (action, "allowed", by)));
    let of_request = trail.iter().filter(|entry| entry["action"] == "retention.bypass").map(|entry| &entry["target"]["object"]);
    assert_eq!(of_request.collect::<Vec<_>>(), [&asked.json["id"], &again.json["id"]]);
    assert!(trail.iter().filter(|entry| entry["action"] == "retention.bypass").all(|entry| entry["role"] == "governor"));
}

//! A whole tenant goes out to an age recipient and comes in elsewhere: what was there is there, byte for byte, and held, due and known by
//! as many names as before; and until all of it is there nothing of it is served.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lethe::domain::TestClock;
use lethe::http::{Access, endpoints};
use lethe::vault::ops::bundle::{Checker, Frame, Frames, Kind, Part, Progress, Way, documents::SealedFrame, frames};
use reqwest::Method;
use serde_json::{Value, json};

use super::site::{Answer, Site, hold};
use crate::age::{PAIRS, Pair};

const DAY: Duration = Duration::from_hours(24);

/// Whom a bundle is sealed for, and within it what is not for everybody.
pub(super) const OWN: &Pair = &PAIRS[0];
pub(super) const COUNSEL: &Pair = &PAIRS[1];
pub(super) const AUDITOR: &Pair = &PAIRS[2];

/// A bundle as it was exported, and as it goes to an importing store.
pub(super) struct Bundle {
    pub(super) id: String,
    /// The frames of the file.
    pub(super) frames: Vec<Frame>,
    /// What follows some of them on the wire: what is sealed within them, opened.
    behind: BTreeMap<usize, Vec<u8>>,
}

impl Bundle {
    pub(super) fn of(sealed: &[u8]) -> Self {
        let mut reader = Frames::default();
        reader.feed(&OWN.open(sealed).unwrap());
        let (mut frames, mut behind, mut id) = (Vec::new(), BTreeMap::new(), String::new());
        let mut checker = Checker::new(Way::File, Progress::default());
        while let Some(frame) = reader.take_frame().unwrap() {
            let part = checker.take(&frame).unwrap();
            if let Part::Header(header) = &part {
                id.clone_from(&header.bundle);
            }
            if let Part::Sealed(payload) = &part {
                let whose = if frame.kind == Kind::SealedHold { COUNSEL } else { AUDITOR };
                let sealed = SealedFrame::parse(frame.kind, payload).unwrap().sealed;
                behind.insert(frames.len(), whose.open(sealed).unwrap());
            }
            frames.push(frame);
        }
        checker.finish().unwrap();
        assert!(reader.is_empty());
        Self { id, frames, behind }
    }

    /// Frames from one on, up to another.
    pub(super) fn wire(&self, from: usize, until: usize) -> Vec<u8> {
        let mut wire = Vec::new();
        for (at, frame) in self.frames[from..until].iter().enumerate() {
            frame.write(&mut wire).unwrap();
            if let Some(opened) = self.behind.get(&(from + at)) {
                frames::write(Kind::Opened, opened, &mut wire).unwrap();
            }
        }
        wire
    }

    /// Where a request may end: not within a record.
    fn ends(&self) -> Vec<usize> {
        let is_of_value = |frame: &Frame| matches!(frame.kind, Kind::Value | Kind::SealedValue | Kind::Gone);
        (1..=self.frames.len()).filter(|at| self.frames.get(*at).is_none_or(|next| !is_of_value(next))).collect()
    }

    fn documents(&self, kind: Kind) -> Vec<Value> {
        self.frames.iter().filter(|frame| frame.kind == kind).map(|frame| serde_json::from_slice(&frame.payload).unwrap()).collect()
    }
}

/// What is told of a record but for its version, which is the store's.
pub(super) fn unversioned(mut told: Value) -> Value {
    assert!(told["etag"].take().is_string(), "{told}");
    told
}

pub(super) async fn export(site: &Site, tenant: &str, token: &str, body: Value) -> Answer {
    site.send("POST", &format!("/v1/tenants/{tenant}/export"), token, Some(body)).await
}

pub(super) async fn import(site: &Site, tenant: &str, token: &str, bundle: &str, from: usize, body: Vec<u8>) -> Answer {
    let path = format!("/v1/tenants/{tenant}/import?bundle={bundle}&from={from}");
    Answer::of(site.request(Method::POST, &path, token).body(body).send().await.unwrap()).await
}

/// A tenant to import into; gives its owner's token.
pub(super) async fn coming(site: &Site, name: &str) -> String {
    site.send("POST", "/v1/tenants", &site.operator, Some(json!({"tenant": name, "import": true}))).await.made_token()
}

/// Everything that a tenant can have.
struct Source {
    site: Site,
    clock: Arc<TestClock>,
    owner: String,
    counsel: String,
    /// Path and value of each record.
    records: Vec<(String, Vec<u8>)>,
}

fn value(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap() ^ seed).collect()
}

impl Source {
    async fn make() -> Self {
        let (site, clock) = Site::open_on("2026-01-31T20:00:00Z").await;
        let owner = site.tenant("acme").await;
        let rules = json!({"time_zone": "UTC", "rules": [{"name": "month", "from": "modified", "maximum": "1m", "then": "delete"}]});
        for (name, policy) in [
            ("crm", json!({"purposes": ["support"], "categories": ["ccpa.pi.A"]})),
            ("files", json!({"shred_unit": "record"})),
            ("all", json!({"shred_unit": "collection", "secondary_subjects": "delete"})),
            ("month", json!({"shred_unit": "record", "retention": rules})),
            ("empty", json!({})),
        ] {
            let made = site.send("PUT", &format!("/v1/tenants/acme/collections/{name}"), &owner, Some(policy)).await;
            assert_eq!(made.status, 201, "{made:?}");
        }
        let counsel = site.counsel("acme", &owner).await;
        let mut source = Self { site, clock, owner, counsel, records: Vec::new() };
        for (at, subjects, len) in [
            ("crm/records/eu/anna", "7", 11),
            ("crm/records/us/b%C3%A9a", "8,9", 0),
            ("crm/records/eu/mail", "ann%40example.com", 65_536),
            ("crm/records/large", "8", 65_537),
            ("files/records/a/b/c", "7", 262_144),
            ("files/records/none", "", 300_001),
            ("all/records/x", "8,7", 3),
            ("month/records/m", "9", 40),
        ] {
            source.clock.advance(Duration::from_secs(61));
            source.put(at, subjects, value(len, u8::try_from(source.records.len()).unwrap())).await;
        }
        source
    }

    async fn put(&mut self, at: &str, subjects: &str, value: Vec<u8>) {
        let path = format!("/v1/tenants/acme/collections/{at}");
        let request = self.site.request(Method::PUT, &path, &self.owner).header("content-type", "image/x-test; a=b");
        let request = request.header("lethe-meta-origin", "caf%C3%A9").header("lethe-meta-b", "2");
        let request = if subjects.is_empty() { request } else { request.header("lethe-subject", subjects) };
        let request = if at.starts_with("crm/records/us") { request.header("lethe-expires-at", "2030-01-01T00:00:00Z") } else { request };
        let put = Answer::of(request.body(value.clone()).send().await.unwrap()).await;
        assert_eq!(put.status, 201, "{at}: {put:?}");
        self.records.push((path, value));
    }

    async fn hold(&self, scope: Value, disclosed: bool) -> String {
        let mut hold = hold(scope);
        hold["disclosed"] = json!(disclosed);
        let placed = self.site.send("POST", "/v1/tenants/acme/holds", &self.counsel, Some(hold)).await;
        assert_eq!(placed.status, 201, "{placed:?}");
        placed.json["id"].as_str().unwrap().to_owned()
    }

    async fn export(&self) -> Bundle {
        let asked = json!({"recipient": OWN.recipient, "counsel_recipient": COUNSEL.recipient, "auditor_recipient": AUDITOR.recipient});
        let answer = export(&self.site, "acme", &self.owner, asked).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/octet-stream"), "{answer:?}");
        Bundle::of(&answer.bytes)
    }
}

/// The keys of a list.
fn listed(page: &Answer) -> BTreeSet<String> {
    page.json["data"].as_array().unwrap().iter().map(|item| item["key"].to_string()).collect()
}

/// What a record's answer says of it, but for its version.
fn told(answer: &Answer) -> BTreeMap<String, String> {
    let is_told = |name: &str| name.starts_with("lethe-") || name == "content-type" || name == "content-length";
    let told = answer.headers.iter().filter(|(name, _)| is_told(name.as_str()));
    told.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_elsewhere_as_it_was_byte_for_byte() {
    let source = Source::make().await;
    let alias = json!({"subject": "7", "alias": "ann@example.com", "with_records": true});
    assert_eq!(source.site.send("POST", "/v1/tenants/acme/subjects/aliases", &source.owner, Some(alias)).await.status, 201);
    source.site.token("acme", &source.owner, json!({"role": "reader", "collections": ["crm"], "prefix": "eu"})).await;
    source.site.put("/v1/tenants/acme/collections/crm/records/gone", &source.owner, "66", "secret-of-66").await;
    let shred = json!({"scope": "subject", "subject": "66"});
    assert_eq!(source.site.shred("acme", &source.owner, shred).await.status, 200);

    let bundle = source.export().await;
    let kinds = |kind: Kind| bundle.frames.iter().filter(|frame| frame.kind == kind).count();
    assert_eq!((kinds(Kind::Collection), kinds(Kind::Record), kinds(Kind::Person), kinds(Kind::Certificate)), (5, 8, 1, 1));
    assert_eq!(kinds(Kind::Grant), 3, "owner, counsel, reader");
    assert!(kinds(Kind::Entry) > 20 && kinds(Kind::Trailer) == 1);
    let all: Vec<u8> = bundle.frames.iter().flat_map(|frame| frame.payload.to_vec()).collect();
    for gone in [&b"secret-of-66"[..], b"lethe_usr_", b"\"66\""] {
        assert!(!all.windows(gone.len()).any(|found| found == gone), "{}", String::from_utf8_lossy(gone));
    }

    let target = Site::open_at("", source.clock.clone()).await;
    let owner = coming(&target, "acme").await;
    let whole = bundle.wire(0, bundle.frames.len());
    let done = import(&target, "acme", &owner, &bundle.id, 0, whole).await;
    assert_eq!((done.status, done.json["state"].as_str(), &done.json["import"]["records"]), (200, Some("active"), &json!(8)), "{done:?}");

    for (path, value) in &source.records {
        let (was, is) = (source.site.get(path, &source.owner).await, target.get(path, &owner).await);
        assert_eq!((was.status, is.status), (200, 200), "{path}: {is:?}");
        assert!(is.bytes == *value && was.bytes == *value, "{path}: other bytes");
        assert_eq!(told(&is), told(&was), "{path}");
        let part = Answer::of(target.request(Method::GET, path, &owner).header("range", "bytes=-2").send().await.unwrap()).await;
        assert!(value.len() < 2 || part.bytes == value[value.len() - 2..], "{path}: {part:?}");
        let why = path.replace("/records/", "/retention/");
        let (was, is) = (source.site.get(&why, &source.owner).await, target.get(&why, &owner).await);
        assert_eq!(unversioned(was.json), unversioned(is.json), "{why}");
    }
    for collection in ["crm", "files", "all", "month", "empty"] {
        let path = format!("/v1/tenants/acme/collections/{collection}");
        let (mut was, mut is) = (source.site.get(&path, &source.owner).await.json, target.get(&path, &owner).await.json);
        for document in [&mut was, &mut is] {
            document["created_at"] = Value::Null;
        }
        assert_eq!(is, was);
        let list = format!("{path}/records");
        let (was, is) = (source.site.get(&list, &source.owner).await, target.get(&list, &owner).await);
        assert_eq!(listed(&is), listed(&was), "{path}");
    }
    for id in ["7", "ann@example.com"] {
        let asked = Some(json!({ "subject": id }));
        let read = target.send("POST", "/v1/tenants/acme/subjects/aliases/query", &owner, asked.clone()).await;
        assert_eq!(read.json, json!({"subject": "7", "aliases": ["ann@example.com"]}), "{read:?}");
        let listed = target.send("POST", "/v1/tenants/acme/collections/crm/query", &owner, asked).await;
        assert_eq!(listed.json["data"].as_array().unwrap().len(), 2, "{listed:?}");
    }
    // Who was erased there was never here, and whose tokens they were is for people to give anew.
    assert_eq!(target.get("/v1/tenants/acme/collections/crm/records/gone", &owner).await.status, 404);
    assert_eq!(target.get("/v1/tenants/acme/tokens", &owner).await.json["data"].as_array().unwrap().len(), 1);

    let of = |entry: &&Value, action: &str| entry["action"] == action && entry["target"]["object"] == bundle.id.as_str();
    let count = |trail: &[Value], action: &str| trail.iter().filter(|entry| of(entry, action)).count();
    let (there, here) = (source.site.trail("acme", &source.owner).await, target.trail("acme", &owner).await);
    let pages = count(&there, "tenant.export");
    assert!(pages > 8, "each page is on the record: {pages}");
    assert_eq!(count(&here, "tenant.import"), 2, "the request, and that it is done");
    assert_eq!(here.iter().filter(|entry| entry["action"] == "record.write").count(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_come_along_and_are_nobodys_to_end_but_the_operators_counsel() {
    let source = Source::make().await;
    let alias = json!({"subject": "7", "alias": "ann@example.com", "with_records": true});
    assert_eq!(source.site.send("POST", "/v1/tenants/acme/subjects/aliases", &source.owner, Some(alias)).await.status, 201);
    let on_person = source.hold(json!({"scope": "subject", "subject": "7"}), true).await;
    let on_prefix = source.hold(json!({"scope": "prefix", "collection": "crm", "prefix": "us"}), false).await;
    let law = json!({"scope": "records", "records": [{"collection": "files", "key": "none"}],
        "law_enforcement": true, "case_number": "24-1"});
    let on_record = source.hold(law, false).await;
    let unnamed = source.hold(json!({"scope": "records", "records": [{"collection": "files", "key": "not/there"}]}), true).await;
    let released = source.hold(json!({"scope": "tenant"}), true).await;
    let path = format!("/v1/tenants/acme/holds/{released}/release");
    assert_eq!(source.site.send("POST", &path, &source.counsel, Some(json!({"reason": "settled"}))).await.status, 200);

    let asked = json!({"recipient": OWN.recipient});
    let refused = export(&source.site, "acme", &source.owner, asked).await;
    assert_eq!((refused.status, refused.code()), (422, "unprocessable"), "a hold must not be lost, nor told: {refused:?}");

    let bundle = source.export().await;
    assert_eq!(bundle.behind.len(), 2);
    let ids: Vec<Value> = bundle.documents(Kind::Hold).iter().map(|hold| hold["id"].clone()).collect();
    assert!(ids.contains(&json!(on_person)) && ids.contains(&json!(unnamed)) && !ids.contains(&json!(released)), "{ids:?}");
    let told = bundle.documents(Kind::Hold).into_iter().find(|hold| hold["id"] == json!(on_person)).unwrap();
    let both = json!([{"subject": "7"}, {"subject": "ann@example.com"}]);
    assert_eq!((&told["on"], &told["unnamed"]), (&both, &json!(0)), "a person by each id, whatever the bundle says of the person");
    for frame in bundle.frames.iter().filter(|frame| frame.kind == Kind::SealedHold) {
        assert!(!frame.payload.windows(9).any(|text| text == b"2024-CV-1"), "a sealed hold is sealed");
    }

    let target = Site::open_at("", source.clock.clone()).await;
    let owner = coming(&target, "acme").await;
    // What was not opened is not taken in, and neither is anything else in its place.
    let mut closed = Vec::new();
    bundle.frames.iter().for_each(|frame| frame.write(&mut closed).unwrap());
    let refused = import(&target, "acme", &owner, &bundle.id, 0, closed).await;
    assert_eq!((refused.status, refused.code()), (422, "unprocessable"), "{refused:?}");
    let next = usize::try_from(target.get("/v1/tenants/acme", &owner).await.json["import"]["next"].as_u64().unwrap()).unwrap();
    assert!(next > 10, "what came before it stays");
    let done = import(&target, "acme", &owner, &bundle.id, next, bundle.wire(next, bundle.frames.len())).await;
    assert_eq!((done.status, done.json["state"].as_str()), (200, Some("active")), "{done:?}");

    let auditor = target.token("acme", &owner, json!({"role": "auditor"})).await;
    for (id, of) in [(&on_person, "subject"), (&on_prefix, "prefix"), (&on_record, "records")] {
        let path = format!("/v1/tenants/acme/holds/{id}");
        let (mut was, mut is) = (source.site.get(&path, &source.counsel).await, target.get(&path, &auditor).await);
        assert_eq!((is.status, is.json["state"].as_str()), (200, Some("active")), "{of}: {is:?}");
        for document in [&mut was.json, &mut is.json] {
            document["covers"] = Value::Null;
        }
        assert_eq!(is.json, was.json, "{of}");
    }
    assert_eq!(target.get(&format!("/v1/tenants/acme/holds/{unnamed}"), &auditor).await.status, 404, "it is on nothing that has a name");
    assert_eq!(target.get(&format!("/v1/tenants/acme/holds/{on_prefix}"), &owner).await.status, 404, "not for the owner to know");
    let ends = source.site.get(&format!("/v1/tenants/acme/holds/{on_record}"), &source.counsel).await;
    assert_eq!(ends.json["lapses_at"], target.get(&format!("/v1/tenants/acme/holds/{on_record}"), &auditor).await.json["lapses_at"]);

    // Of the hold on the person the owner knows.
    for (held, told) in [
        ("crm/records/eu/anna", "legal-hold"),
        ("crm/records/eu/mail", "legal-hold"),
        ("all/records/x", "legal-hold"),
        ("crm/records/us/b%C3%A9a", "legal-obligation"),
        ("files/records/none", "legal-obligation"),
    ] {
        let deleted = target.send("DELETE", &format!("/v1/tenants/acme/collections/{held}"), &owner, None).await;
        assert_eq!((deleted.status, deleted.code()), (423, told), "{held}: {deleted:?}");
    }
    assert_eq!(target.send("DELETE", "/v1/tenants/acme/collections/crm/records/large", &owner, None).await.status, 204, "held by none");
    // An owner brings in no counsel while holds stand; the operator does, for no counsel that there is could end them.
    let counsel = json!({"role": "counsel"});
    assert_eq!(target.send("POST", "/v1/tenants/acme/tokens", &owner, Some(counsel.clone())).await.status, 403);
    let brought = target.token("acme", &target.operator.clone(), counsel).await;
    for id in [&on_person, &on_prefix, &on_record] {
        let path = format!("/v1/tenants/acme/holds/{id}/release");
        let ended = target.send("POST", &path, &brought, Some(json!({"reason": "settled"}))).await;
        assert_eq!((ended.status, ended.json["state"].as_str()), (200, Some("released")), "{ended:?}");
    }
    assert_eq!(target.send("DELETE", "/v1/tenants/acme/collections/crm/records/eu/anna", &owner, None).await.status, 204);
}

/// It is what rules count from: none of it may come in half, or mean something else here.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_reported_of_a_person_comes_along_and_is_refused_in_another_form() {
    const EVENTS: &str = "/v1/tenants/acme/subjects/events";
    let source = Source::make().await;
    for at in ["2026-03-31", "2026-02-01T02:00:00Z"] {
        let report = json!({"subject": "7", "event": "contract-ended", "at": at});
        assert_eq!(source.site.send("POST", EVENTS, &source.owner, Some(report)).await.status, 200);
        source.clock.advance(DAY);
    }
    let bundle = source.export().await;
    let told = bundle.documents(Kind::Events);
    let numbered =
        |at: &str, reported_at: &str, no: u64| json!({"event": "contract-ended", "at": at, "reported_at": reported_at, "no": no});
    let report = |at: &str, reported_at: &str| numbered(at, reported_at, 7);
    let dates: Vec<&Value> = told[0]["reports"].as_array().unwrap().iter().map(|report| &report["at"]).collect();
    assert_eq!((told.len(), &told[0]["subject"], dates), (1, &json!("7"), vec![&json!("2026-03-31"), &json!("2026-02-01T02:00:00.000Z")]));

    let target = Site::open_at("", source.clock.clone()).await;
    let owner = coming(&target, "acme").await;
    let (early, late) = ("2026-02-01T00:00:00.000Z", "2026-02-02T00:00:00.000Z");
    let day = "2026-01-31";
    let of = |reports: Value| json!({"subject": "7", "reports": reports});
    // With another id since what has this number.
    let with =
        |no: u64| json!({"subject": "7", "reports": [], "joined": [{"id": "8", "at": late, "no": no, "reports": [report(day, early)]}]});
    let many: Vec<Value> = (0..=256 * 33).map(|_| report(day, early)).collect();
    for (bent, status, code) in [
        (of(json!([])), 422, "unprocessable"),
        (json!({"subject": "", "reports": [report(day, early)]}), 422, "unprocessable"),
        (of(json!([report("soon", early)])), 422, "unprocessable"),
        (of(json!([{"event": "No Name", "at": day, "reported_at": early, "no": 7}])), 422, "unprocessable"),
        (of(json!([{"event": "contract-ended", "at": day, "reported_at": early}])), 422, "unprocessable"),
        (of(json!([report(day, late), report(day, early)])), 422, "unprocessable"),
        (of(json!([numbered(day, early, 8), numbered(day, late, 7)])), 422, "unprocessable"),
        (with(7), 422, "unprocessable"),
        (of(json!(many)), 400, "limit-exceeded"),
    ] {
        let mut wire = bundle.wire(0, 1);
        Frame { kind: Kind::Events, payload: serde_json::to_vec(&bent).unwrap().into() }.write(&mut wire).unwrap();
        let refused = import(&target, "acme", &owner, &bundle.id, 0, wire).await;
        assert_eq!((refused.status, refused.code()), (status, code), "{bent}: {refused:?}");
        let detail = refused.json["detail"].as_str().unwrap();
        assert!(detail.contains(if status == 422 { "events" } else { "subject_events" }), "{bent}: {detail}");
    }
    let done = import(&target, "acme", &owner, &bundle.id, 0, bundle.wire(0, bundle.frames.len())).await;
    assert_eq!(done.json["state"], "active", "{done:?}");
    let asked = Some(json!({"subject": "7"}));
    let (path, trail) = (format!("{EVENTS}/query"), target.trail("acme", &owner).await);
    let was = source.site.send("POST", &path, &source.owner, asked.clone()).await;
    let is = target.send("POST", &path, &owner, asked).await;
    assert_eq!((is.status, &is.json), (200, &was.json), "{is:?}");
    let reports = trail.iter().filter(|entry| entry["action"] == "event.report").collect::<Vec<_>>();
    assert_eq!((reports.len(), &reports[0]["role"]), (1, &json!("owner")), "{reports:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_due_when_it_was() {
    let source = Source::make().await;
    let month = "/v1/tenants/acme/collections/month/records/m";
    source.clock.advance(DAY * 20);
    let bundle = source.export().await;
    source.clock.advance(DAY);
    let target = Site::open_at("", source.clock.clone()).await;
    let owner = coming(&target, "copy").await;
    let done = import(&target, "copy", &owner, &bundle.id, 0, bundle.wire(0, bundle.frames.len())).await;
    assert_eq!(done.json["state"], "active", "{done:?}");
    let copied = month.replace("acme", "copy");
    for (days, status) in [(5, 200), (5, 404)] {
        source.clock.advance(DAY * days);
        source.site.run_retention().await;
        target.run_retention().await;
        assert_eq!(source.site.get(month, &source.owner).await.status, status, "{days}");
        assert_eq!(target.get(&copied, &owner).await.status, status, "{days}: a month from when it was written, not from when it came");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn until_all_of_it_is_there_nothing_is_served() {
    let source = Source::make().await;
    let bundle = source.export().await;
    let target = Site::open_at("", source.clock.clone()).await;
    let owner = coming(&target, "acme").await;
    let last = bundle.frames.len() - 1;
    let part = import(&target, "acme", &owner, &bundle.id, 0, bundle.wire(0, last)).await;
    assert_eq!((part.status, part.json["state"].as_str()), (200, Some("importing")), "{part:?}");
    assert_eq!(part.json["import"]["next"], last);
    // What is looked at by who waits for it, or gives it up, is all that answers.
    let answers =
        ["GET /v1/tenants/{tenant}", "GET /v1/tenants/{tenant}/audit", "GET /v1/tenants/{tenant}/holds", "GET /v1/tenants/{tenant}/tokens"];
    let others = ["/import", "/shreds", "/shreds/{id}", "/holds/{id}", "/release", "/tokens/{id}"];
    let mut tried = 0;
    for endpoint in endpoints() {
        let named = format!("{} {}", endpoint.method, endpoint.path);
        let is_of_tenant = endpoint.access == Access::Credential && endpoint.path.starts_with("/v1/tenants/{tenant}");
        if !is_of_tenant || others.iter().any(|end| endpoint.path.ends_with(end)) {
            continue;
        }
        let path = endpoint.path.replace("{tenant}", "acme").replace("{collection}", "crm").replace("{id}", &"0".repeat(32));
        let path = path.replace("{*key}", "eu/anna");
        let body = match endpoint.path.rsplit('/').next().unwrap() {
            "tokens" => json!({"role": "reader"}),
            "batch" => json!({"ops": [{"op": "check", "collection": "crm", "key": "eu/anna", "if_match": "*"}]}),
            "holds" => json!({"matter": "m", "reason": "r", "custodian": "c", "scope": "tenant"}),
            "renew" | "suspend" | "resume" | "cancel" | "bypasses" => json!({"reason": "r"}),
            "termination" => json!({"confirm": "acme"}),
            "policy" => json!({"approvals": {}}),
            "aliases" => json!({"subject": "7", "alias": "8"}),
            "events" => json!({"subject": "7", "event": "left", "at": "2026-01-31"}),
            "remove" if endpoint.path.contains("events") => json!({"subject": "7", "event": "left"}),
            "remove" => json!({"alias": "8"}),
            "query" if endpoint.path.contains("subjects") => json!({"subject": "7"}),
            "simulations" => json!({"policy": {}}),
            "export" => json!({"recipient": OWN.recipient}),
            _ => json!({}),
        };
        let has_none = ["/withdraw", "/shortenings"].iter().any(|end| endpoint.path.ends_with(end));
        let body = (!has_none && endpoint.method != "GET" && endpoint.method != "HEAD" && endpoint.method != "DELETE").then_some(body);
        let answer = target.send(endpoint.method, &path, &owner, body).await;
        let expected: &[u16] = if answers.contains(&named.as_str()) { &[200, 403] } else { &[409, 403] };
        assert!(expected.contains(&answer.status), "{named}: {answer:?}");
        assert!(answer.status != 409 || endpoint.method == "HEAD" || answer.code() == "importing", "{named}: {answer:?}");
        tried += u32::from(answer.status == 409);
    }
    assert!(tried > 15, "{tried}");
    let done = import(&target, "acme", &owner, &bundle.id, last, bundle.wire(last, last + 1)).await;
    assert_eq!(done.json["state"], "active", "{done:?}");
    for again in [0, last, last + 1] {
        let refused = import(&target, "acme", &owner, &bundle.id, again, Vec::new()).await;
        assert_eq!((refused.status, refused.code()), (409, "not-importing"), "{again}");
    }
}

/// One that leaked is refused at once, however long the rest of the bundle takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_tenant_that_is_being_imported_is_revoked() {
    let source = Source::make().await;
    let bundle = source.export().await;
    let target = Site::open_at("", source.clock.clone()).await;
    let owner = coming(&target, "acme").await;
    import(&target, "acme", &owner, &bundle.id, 0, bundle.wire(0, 4)).await;
    // While no hold has come, an owner makes a counsel's.
    let counsel = target.counsel("acme", &owner).await;
    assert_eq!(target.get("/v1/tenants/acme/holds", &counsel).await.status, 200);
    let listed = target.get("/v1/tenants/acme/tokens", &owner).await;
    let ids = |role: &str| -> Vec<String> {
        let tokens = listed.json["data"].as_array().unwrap().iter().filter(|token| token["role"] == role);
        tokens.map(|token| token["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((ids("owner").len(), ids("counsel").len()), (1, 1), "{listed:?}");
    let revoke = async |id: &str| target.send("DELETE", &format!("/v1/tenants/acme/tokens/{id}"), &owner, None).await;
    let gone = revoke(&ids("counsel")[0]).await;
    assert_eq!(gone.status, 204, "{gone:?}");
    assert_eq!(target.get("/v1/tenants/acme/holds", &counsel).await.status, 401);
    assert_eq!(revoke(&"0".repeat(32)).await.status, 404);
    let last = revoke(&ids("owner")[0]).await;
    assert_eq!((last.status, last.code()), (409, "last-owner"), "{last:?}");
    let done = import(&target, "acme", &owner, &bundle.id, 4, bundle.wire(4, bundle.frames.len())).await;
    assert_eq!(done.json["state"], "active", "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_goes_on_where_it_broke_off_in_pieces_of_any_length() {
    let source = Source::make().await;
    source.hold(json!({"scope": "subject", "subject": "8"}), false).await;
    let bundle = source.export().await;
    let mut target = Site::open_at("", source.clock.clone()).await;
    let owner = coming(&target, "acme").await;
    let ends = bundle.ends();
    let mut at: usize = 0;
    for (turn, end) in ends.iter().copied().enumerate() {
        // From the last frame that is there, or some before it, or again from the first.
        let from = match turn % 3 {
            0 => at,
            1 => at.saturating_sub(2),
            _ => 0,
        };
        // One that breaks off within a frame, or within a record, leaves what came whole.
        let mut torn = bundle.wire(from, end);
        torn.truncate(torn.len() - 1);
        let broken = import(&target, "acme", &owner, &bundle.id, from, torn).await;
        assert_eq!((broken.status, broken.code()), (422, "unprocessable"), "{turn}: {broken:?}");
        let sent = import(&target, "acme", &owner, &bundle.id, from, bundle.wire(from, end)).await;
        assert_eq!(sent.status, 200, "{turn}: {sent:?}");
        at = end;
        let is_over = end == bundle.frames.len();
        assert_eq!(sent.json["state"], if is_over { "active" } else { "importing" });
        assert_eq!(sent.json["import"]["next"], if is_over { end - 1 } else { end }, "the trailer is not counted");
        if turn == ends.len() / 2 {
            target = target.again(source.clock.clone(), |_| {}).await;
        }
    }
    for (path, value) in &source.records {
        assert!(target.get(path, &owner).await.bytes == *value, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_rest_of_the_bundle_is_refused() {
    let source = Source::make().await;
    let (bundle, other) = (source.export().await, source.export().await);
    let target = Site::open_at("", source.clock.clone()).await;
    let owner = coming(&target, "acme").await;
    let taken = target.send("POST", "/v1/tenants", &target.operator, Some(json!({"tenant": "acme", "import": true}))).await;
    assert_eq!((taken.status, taken.code()), (409, "name-taken"));
    let both = json!({"tenant": "late", "import": true, "create_collections_on_write": true});
    assert_eq!(target.send("POST", "/v1/tenants", &target.operator, Some(both)).await.status, 422);

    let refused = async |bundle_id: &str, from: usize, body: Vec<u8>, told: &str| {
        let answer = import(&target, "acme", &owner, bundle_id, from, body).await;
        assert_eq!((answer.status, answer.code()), (422, "unprocessable"), "{told}: {answer:?}");
        assert!(answer.json["detail"].as_str().unwrap().contains(told), "{told}: {answer:?}");
    };
    refused(&bundle.id, 1, bundle.wire(1, 3), "at frame 0").await;
    refused(&bundle.id, 0, bundle.wire(1, 3), "not a bundle").await;
    refused(&bundle.id, 0, other.wire(0, 1), "header").await;
    refused(&bundle.id, 0, b"\x63\0\0\0\0".to_vec(), "kind 99").await;
    assert_eq!(import(&target, "acme", &owner, &bundle.id, 0, bundle.wire(0, 4)).await.status, 200);
    refused(&other.id, 0, other.wire(0, 4), "another bundle").await;
    refused(&bundle.id, 5, bundle.wire(5, 6), "at frame 4").await;
    let last = bundle.frames.len() - 1;
    refused(&bundle.id, 4, bundle.wire(last, last + 1), "hash").await;
    // A record that the rules of its collection, or of any, refuse.
    let mut bent = bundle.frames.iter().find(|frame| frame.kind == Kind::Record).unwrap().clone();
    let mut document: Value = serde_json::from_slice(&bent.payload).unwrap();
    document["subjects"] = json!([]);
    document["value_len"] = json!(0);
    for (name, value) in
        [("collection", json!("nowhere")), ("key", json!("a//b")), ("content_type", json!("a\r\nb: c")), ("custom", json!({"A b": ""}))]
    {
        let mut wrong = document.clone();
        wrong[name] = value;
        bent.payload = serde_json::to_vec(&wrong).unwrap().into();
        let mut body = bundle.wire(4, 6);
        bent.write(&mut body).unwrap();
        refused(&bundle.id, 4, body, "record").await;
        // What came before it is there.
        let next = target.get("/v1/tenants/acme", &owner).await.json["import"]["next"].as_u64();
        assert_eq!(next, Some(6), "{name}");
    }
    let id = "0".repeat(32);
    for query in ["?bundle=x&from=0", "?from=0", &format!("?bundle={id}"), &format!("?bundle={id}&from=-1")] {
        let answer = target.send("POST", &format!("/v1/tenants/acme/import{query}"), &owner, None).await;
        assert_eq!((answer.status, answer.code()), (400, "malformed-query"), "{query}");
    }
    // Given up, it is shredded; its name is used.
    let shred = json!({"scope": "tenant", "confirm": "acme"});
    let gone = target.shred("acme", &owner, shred).await;
    assert_eq!((gone.status, gone.json["state"].as_str()), (200, Some("done")), "{gone:?}");
    assert_eq!(import(&target, "acme", &owner, &bundle.id, 6, Vec::new()).await.status, 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_owner_exports_and_only_to_somebody() {
    let source = Source::make().await;
    let (site, key) = (&source.site, OWN.recipient);
    let other = site.tenant("other").await;
    assert_eq!(export(site, "acme", &other, json!({ "recipient": key })).await.status, 404);
    assert_eq!(export(site, "acme", &site.operator, json!({ "recipient": key })).await.status, 403);
    for role in ["writer", "reader", "auditor", "eraser"] {
        let token = site.token("acme", &source.owner, json!({ "role": role })).await;
        assert_eq!(export(site, "acme", &token, json!({ "recipient": key })).await.status, 403, "{role}");
    }
    let narrowed = site.token("acme", &source.owner, json!({"role": "owner", "collections": ["crm"]})).await;
    assert_eq!(export(site, "acme", &narrowed, json!({ "recipient": key })).await.status, 403, "an owner of one collection");
    let everybody = "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z";
    let second = json!({"recipient": key, "counsel_recipient": "x"});
    for bad in [json!({}), json!({"recipient": "age1"}), json!({"recipient": everybody}), second] {
        let refused = export(site, "acme", &source.owner, bad.clone()).await;
        assert_eq!((refused.status, refused.code()), (422, "invalid-body"), "{bad}: {refused:?}");
    }
    // What one of them wrote to be read by nobody else is read by nobody else.
    let answer = export(site, "acme", &source.owner, json!({ "recipient": key })).await;
    assert!(answer.bytes.starts_with(b"age-encryption.org/v1\n"));
    assert!(OWN.open(&answer.bytes).is_some() && PAIRS.iter().skip(1).all(|other| other.open(&answer.bytes).is_none()));
}

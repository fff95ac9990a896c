//! After a shred every answer shows a pseudonym for what was shredded, or nothing: every route is asked, with the names that a
//! client still holds, with cursors and idempotency keys from before. The command line is asked in `tests/cli.rs`.

use std::collections::BTreeSet;

use lethe::http::endpoints;
use serde_json::{Value, json};

use super::site::{Answer, Site};
use crate::age::PAIRS;

const TENANT: &str = "t3nant-9f41c";
const PEOPLE: &str = "p30ple-5d02e";
const NOTES: &str = "n0tes-77ab1";
const SHARED: &str = "sh4red-c3d9f";
const ANNA: &str = "subject-anna-81c7e2";
const BERT: &str = "subject-bert-40f6aa";
/// Anna's keys: one in each collection.
const KEYS: [(&str, &str); 3] = [(PEOPLE, "eu/key-anna-1b9d"), (NOTES, "key-anna-2e8f"), (SHARED, "key-anna-3a7c")];
const SECRET: &str = "value-of-anna-66e0d1";

/// What was reported of Anna.
const EVENT: &str = "contract-ended";
const ENDED_ON: &str = "1987-06-05";

/// Another id of Anna's.
const ALIAS: &str = "alias-of-anna-5b20d8";

/// Bert's keys, which stay.
fn berts(key: &str) -> String {
    key.replace("anna", "bert")
}

/// A client that looks for names in whatever it is told.
struct Asker<'a> {
    site: &'a Site,
    owner: String,
    auditor: String,
    eraser: String,
    counsel: String,
    /// What may no longer be in any answer; before the shred, nothing.
    gone: Vec<&'static str>,
    /// Names that answers held, with their routes.
    shown: BTreeSet<(&'static str, &'static str)>,
    /// Routes that were asked.
    asked: BTreeSet<(String, &'static str)>,
    cursors: Vec<(&'static str, Value)>,
    shreds: Vec<String>,
    /// Holds that were placed and released again.
    holds: Vec<String>,
    /// A second owner, and what was asked of them: refused and taken back.
    second: String,
    requests: Vec<String>,
}

const NAMES: [&str; 12] =
    [ENDED_ON, TENANT, PEOPLE, NOTES, SHARED, ANNA, ALIAS, "eu/key-anna-1b9d", "key-anna-1b9d", "key-anna-2e8f", "key-anna-3a7c", SECRET];

impl<'a> Asker<'a> {
    /// A tenant with three collections, one for each kind of unit, and records about Anna and Bert in each.
    async fn new(site: &'a Site) -> Self {
        let owner = site.tenant(TENANT).await;
        for (name, unit) in [(PEOPLE, "subject"), (NOTES, "record"), (SHARED, "collection")] {
            site.collection(TENANT, name, &owner, unit).await;
        }
        let auditor = site.token(TENANT, &owner, json!({"role": "auditor"})).await;
        let eraser = site.token(TENANT, &owner, json!({"role": "eraser"})).await;
        for (collection, key) in KEYS {
            // Tokens narrowed to what is Anna's: their list would tell. Where the unit is the collection her record is deleted and
            // leaves nothing that says whose its key was, as docs/threat-model.md states.
            if collection != SHARED {
                site.token(TENANT, &owner, json!({"role": "reader", "collections": [collection], "prefix": key})).await;
            }
        }
        site.token(TENANT, &owner, json!({"role": "reader", "prefix": ANNA})).await;
        let counsel = site.counsel(TENANT, &owner).await;
        let second = site.token(TENANT, &owner, json!({"role": "owner"})).await;
        let (cursors, shreds, holds, requests) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (gone, shown, asked) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        let mut asker = Self { site, owner, auditor, eraser, counsel, gone, shown, asked, cursors, shreds, holds, second, requests };
        asker.puts().await;
        asker.of_person(ALIASES, json!({"subject": ANNA, "alias": ALIAS})).await;
        asker.of_person(EVENTS, json!({"subject": ANNA, "event": EVENT, "at": ENDED_ON})).await;
        asker.ask_for_two().await;
        asker.place_holds().await;
        assert_eq!(asker.holds.len(), 6);
        asker
    }

    /// Orders to shred what is Anna's that wait for a second person: one is refused, the others are taken back, and one person is enough
    /// then for what follows.
    async fn ask_for_two(&mut self) {
        let (owner, second, tenant) = (self.owner.clone(), self.second.clone(), format!("/v1/tenants/{TENANT}"));
        let policy = Some(json!({"approvals": {"shred": ["record"]}}));
        self.ask("PUT", POLICY, &format!("{tenant}/policy"), &owner, &[], policy).await;
        for order in [
            json!({"scope": "subject", "subjects": [ANNA, BERT]}),
            json!({"scope": "record", "collection": NOTES, "key": "key-anna-2e8f"}),
            json!({"scope": "collection", "collection": PEOPLE}),
        ] {
            let asked = self.ask("POST", SHREDS, &format!("{tenant}/shreds"), &owner, &[], Some(order)).await;
            assert_eq!((asked.status, asked.json["state"].as_str()), (202, Some("waiting-for-approval")), "{asked:?}");
            let id = asked.json["id"].as_str().unwrap().to_owned();
            let path = format!("{tenant}/approvals/{id}");
            self.ask("GET", APPROVAL, &path, &second, &[], None).await;
            let ended = if self.requests.is_empty() {
                self.ask("POST", REFUSE, &format!("{path}/refuse"), &second, &[], Some(json!({"reason": "none of these"}))).await
            } else {
                self.ask("POST", WITHDRAW, &format!("{path}/withdraw"), &owner, &[], None).await
            };
            assert_eq!(ended.status, 200, "{ended:?}");
            self.requests.push(id);
        }
        let asked = self.ask("PUT", POLICY, &format!("{tenant}/policy"), &owner, &[], Some(json!({"approvals": {}}))).await;
        let path = format!("{tenant}/approvals/{}/approve", asked.json["id"].as_str().unwrap());
        let approved = self.ask("POST", APPROVE, &path, &second, &[], Some(json!({}))).await;
        assert_eq!(approved.status, 200, "{approved:?}");
    }

    /// Holds on all that is Anna's, each released at once: nothing that is shredded later is held.
    async fn place_holds(&mut self) {
        let (counsel, path) = (self.counsel.clone(), format!("/v1/tenants/{TENANT}/holds"));
        let mut scopes = vec![json!({"scope": "subject", "subjects": [ANNA, BERT]})];
        scopes.push(json!({"scope": "records", "records": KEYS.map(|(collection, key)| json!({"collection": collection, "key": key}))}));
        scopes.push(json!({"scope": "prefix", "collection": PEOPLE, "prefix": "eu/key-anna-1b9d"}));
        scopes.extend(KEYS.map(|(collection, _)| json!({"scope": "collection", "collection": collection})));
        for mut scope in scopes {
            for name in ["matter", "reason", "custodian"] {
                scope[name] = json!("none of these");
            }
            let placed = self.ask("POST", HOLDS, &path, &counsel, &[], Some(scope)).await;
            let Some(id) = placed.json["id"].as_str() else { continue };
            let reason = Some(json!({"reason": "settled"}));
            self.ask("POST", "/v1/tenants/{tenant}/holds/{id}/renew", &format!("{path}/{id}/renew"), &counsel, &[], reason.clone()).await;
            self.ask("POST", "/v1/tenants/{tenant}/holds/{id}/release", &format!("{path}/{id}/release"), &counsel, &[], reason).await;
            self.holds.push(id.to_owned());
        }
    }

    /// Says something of a person, or asks for it.
    async fn of_person(&mut self, route: &'static str, body: Value) {
        let (owner, path) = (self.owner.clone(), route.replace("{tenant}", TENANT));
        self.ask("POST", route, &path, &owner, &[], Some(body)).await;
    }

    /// Puts with idempotency keys: the first time they store, then they are replayed.
    async fn puts(&mut self) {
        for (collection, key) in KEYS {
            for (key, subject, value) in [(key.to_owned(), ANNA, SECRET), (berts(key), BERT, "value of bert")] {
                let path = format!("/v1/tenants/{TENANT}/collections/{collection}/records/{key}");
                let headers = [("lethe-subject", subject), ("idempotency-key", &key), ("content-type", "text/plain")];
                self.ask("PUT", RECORD, &path, &self.owner.clone(), &headers, Some(Value::String(value.into()))).await;
            }
        }
        let ops = json!({"ops": [{"op": "put", "collection": PEOPLE, "key": "key-anna-1b9d", "value": SECRET, "subjects": [ANNA]}]});
        self.ask("POST", BATCH, &format!("/v1/tenants/{TENANT}/batch"), &self.owner.clone(), &[("idempotency-key", "once")], Some(ops))
            .await;
    }

    async fn ask(
        &mut self,
        method: &str,
        route: &'static str,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let mut request = self.site.request(method.parse().unwrap(), path, token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request = match body {
            Some(Value::String(text)) => request.body(text),
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert!(answer.status < 500, "{method} {path}: {answer:?}");
        let mut told = format!("{:?}\n", answer.headers);
        told.push_str(&String::from_utf8_lossy(&answer.bytes));
        self.look(route, &format!("{method} {path}"), &told);
        self.asked.insert((method.to_owned(), route));
        answer
    }

    fn look(&mut self, route: &'static str, what: &str, told: &str) {
        for name in &self.gone {
            assert!(!told.contains(name), "{what} shows {name}, which is shredded: {told}");
        }
        self.shown.extend(NAMES.iter().filter(|name| told.contains(**name)).map(|name| (*name, route)));
    }

    /// Everything that only reads.
    async fn read_everything(&mut self) {
        let (owner, auditor, operator) = (self.owner.clone(), self.auditor.clone(), self.site.operator.clone());
        let tenant = format!("/v1/tenants/{TENANT}");
        for token in [&owner, &auditor, &operator] {
            self.ask("GET", "/v1/tenants", "/v1/tenants", token, &[], None).await;
            self.ask("GET", "/v1/tenants/{tenant}", &tenant, token, &[], None).await;
            self.ask("GET", TOKENS, &format!("{tenant}/tokens"), token, &[], None).await;
            self.ask("GET", COLLECTIONS, &format!("{tenant}/collections"), token, &[], None).await;
        }
        for token in [&owner, &auditor, &self.eraser.clone()] {
            self.ask("GET", TERMINATION, &format!("{tenant}/termination"), token, &[], None).await;
        }
        for token in [&owner, &auditor, &operator] {
            self.ask("GET", "/v1/tenants/{tenant}/states", &format!("{tenant}/states"), token, &[], None).await;
        }
        for (collection, key) in KEYS {
            let (path, bert) = (format!("{tenant}/collections/{collection}"), berts(key));
            self.ask("GET", COLLECTION, &path, &owner, &[], None).await;
            for token in [&owner, &auditor, &operator] {
                self.ask("POST", SIMULATIONS, &format!("{path}/simulations"), token, &[], Some(json!({"policy": {}}))).await;
                self.ask("GET", MARKED, &format!("{path}/marked"), token, &[], None).await;
            }
            for token in [owner.clone(), self.eraser.clone(), operator.clone()] {
                for key in [key, &bert] {
                    self.ask("GET", RECORD, &format!("{path}/records/{key}"), &token, &[], None).await;
                    self.ask("HEAD", RECORD, &format!("{path}/records/{key}"), &token, &[], None).await;
                    self.ask("GET", RETENTION, &format!("{path}/retention/{key}"), &token, &[], None).await;
                    self.ask("GET", RECORD, &format!("{path}/records/{key}"), &token, &[("range", "bytes=0-1")], None).await;
                }
            }
            let queries = [json!({}), json!({"prefix": key}), json!({"prefix": "eu"}), json!({"subject": ANNA}), json!({"subject": BERT})];
            for query in queries {
                let text: Vec<String> =
                    query.as_object().unwrap().iter().map(|(name, text)| format!("{name}={}", text.as_str().unwrap())).collect();
                self.ask("GET", RECORDS, &format!("{path}/records?{}", text.join("&")), &owner, &[], None).await;
                self.ask("POST", QUERY, &format!("{path}/query"), &owner, &[], Some(query)).await;
            }
        }
        for token in [&owner, &auditor, &operator] {
            self.ask("GET", RUNS, RUNS, token, &[], None).await;
            let reports = format!("{tenant}/retention/reports");
            self.ask("GET", REPORTS, &reports, token, &[], None).await;
            self.ask("GET", REPORT, &format!("{reports}/{}", "0".repeat(32)), token, &[], None).await;
        }
        for id in [ANNA, ALIAS, BERT] {
            self.of_person(ALIASES_QUERY, json!({"subject": id})).await;
            self.of_person(EVENTS_QUERY, json!({"subject": id})).await;
        }
        self.export().await;
        for (collection, query) in self.cursors.clone() {
            self.ask("POST", QUERY, &format!("{tenant}/collections/{collection}/query"), &owner, &[], Some(query)).await;
        }
        for token in [&owner, &auditor, &self.counsel.clone()] {
            self.ask("GET", HOLDS, &format!("{tenant}/holds"), token, &[], None).await;
            for id in self.holds.clone() {
                self.ask("GET", HOLD, &format!("{tenant}/holds/{id}"), token, &[], None).await;
            }
        }
        for token in [&owner, &auditor, &self.second.clone()] {
            self.ask("GET", POLICY, &format!("{tenant}/policy"), token, &[], None).await;
            self.ask("GET", APPROVALS, &format!("{tenant}/approvals"), token, &[], None).await;
            for id in self.requests.clone() {
                self.ask("GET", APPROVAL, &format!("{tenant}/approvals/{id}"), token, &[], None).await;
                self.ask("GET", "/v1/tenants/{tenant}/shreds/{id}", &format!("{tenant}/shreds/{id}"), token, &[], None).await;
            }
        }
        for id in self.shreds.clone() {
            let polled = self.ask("GET", "/v1/tenants/{tenant}/shreds/{id}", &format!("{tenant}/shreds/{id}"), &owner, &[], None).await;
            assert_eq!((polled.status, &polled.json["salt"]), (200, &Value::Null), "{polled:?}");
            let certificate = self.ask("GET", "/v1/certificates/{id}", &format!("/v1/certificates/{id}"), &owner, &[], None).await;
            assert_eq!(certificate.status, 200);
        }
        self.trail(TENANT, &auditor).await;
        self.trail("system", &operator).await;
        for (route, path) in [
            ("/log/checkpoint", "/log/checkpoint"),
            ("/health/live", "/health/live"),
            ("/health/ready", "/health/ready"),
            ("/metrics", "/metrics"),
            ("/openapi.json", "/openapi.json"),
        ] {
            self.ask("GET", route, path, &operator, &[], None).await;
        }
        self.read_log(&operator).await;
    }

    /// The whole tenant, as who has the recipient's key reads it.
    async fn export(&mut self) {
        let [own, _, auditor, _] = &PAIRS;
        let (owner, path) = (self.owner.clone(), format!("/v1/tenants/{TENANT}/export"));
        let asked = json!({"recipient": own.recipient, "auditor_recipient": auditor.recipient});
        let sealed = self.ask("POST", EXPORT, &path, &owner, &[], Some(asked)).await;
        if sealed.status != 200 {
            return;
        }
        let plain = own.open(&sealed.bytes).unwrap();
        self.look(EXPORT, &path, &String::from_utf8_lossy(&plain));
    }

    /// All leaves of the public log, which names nothing at any time.
    async fn read_log(&mut self, token: &str) {
        const TILE: &str = "/log/tile/{*path}";
        let checkpoint = self.ask("GET", "/log/checkpoint", "/log/checkpoint", token, &[], None).await;
        let size: usize = checkpoint.text().lines().nth(1).unwrap().parse().unwrap();
        if size == 0 {
            assert!(self.shreds.is_empty(), "each shred is a leaf");
            return;
        }
        assert!(size < 256, "more than one partial tile: {size}");
        for path in ["0/000.p", "entries/000.p"] {
            let path = format!("/log/tile/{path}/{size}");
            let tile = self.ask("GET", TILE, &path, token, &[], None).await;
            assert_eq!(tile.status, 200, "{path}: {tile:?}");
            let told = String::from_utf8_lossy(&tile.bytes);
            assert!(tile.bytes.len() >= 32 * size, "{path} holds {} bytes", tile.bytes.len());
            for name in NAMES {
                assert!(!told.contains(name), "{path} shows {name}: {told}");
            }
        }
    }

    /// A whole trail, page by page.
    async fn trail(&mut self, tenant: &str, token: &str) -> Vec<Value> {
        let (mut entries, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/tenants/{tenant}/audit?limit=50{after}");
            let page = self.ask("GET", "/v1/tenants/{tenant}/audit", &path, token, &[], None).await;
            entries.extend(page.json["data"].as_array().cloned().unwrap_or_default());
            match page.json["next_cursor"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return entries,
            }
        }
    }

    /// Takes the cursors that an interrupted list would go on from.
    async fn take_cursors(&mut self) {
        for (collection, _) in KEYS {
            for query in [json!({"limit": 1}), json!({"limit": 1, "subject": ANNA})] {
                let path = format!("/v1/tenants/{TENANT}/collections/{collection}/query");
                let page = self.ask("POST", QUERY, &path, &self.owner.clone(), &[], Some(query.clone())).await;
                if let Some(cursor) = page.json["next_cursor"].as_str() {
                    let mut query = query;
                    query["cursor"] = cursor.into();
                    self.cursors.push((collection, query));
                }
            }
        }
        assert!(self.cursors.len() >= 4, "{:?}", self.cursors);
    }

    /// Everything that would change something about Anna.
    async fn try_everything(&mut self) {
        let (owner, operator, tenant) = (self.owner.clone(), self.site.operator.clone(), format!("/v1/tenants/{TENANT}"));
        self.puts().await;
        self.place_holds().await;
        for (subject, alias) in [(ANNA, "new"), (ALIAS, "new"), (BERT, ALIAS)] {
            self.of_person(ALIASES, json!({"subject": subject, "alias": alias})).await;
        }
        for id in [ANNA, ALIAS] {
            self.of_person(EVENTS, json!({"subject": id, "event": EVENT, "at": "2020-02-02"})).await;
            self.of_person(EVENTS_REMOVE, json!({"subject": id, "event": EVENT})).await;
        }
        for alias in ["new", ANNA, ALIAS] {
            self.of_person(ALIASES_REMOVE, json!({"alias": alias})).await;
        }
        for (collection, key) in KEYS {
            let path = format!("{tenant}/collections/{collection}/records/{key}");
            self.ask("PUT", RECORD, &path, &owner, &[("lethe-subject", ANNA), ("if-match", "*")], Some(Value::String("new".into()))).await;
            self.ask("PUT", RECORD, &path, &owner, &[("lethe-purpose", "none")], Some(Value::String("new".into()))).await;
            self.ask("DELETE", RECORD, &path, &owner, &[("if-match", "\"0000000000000000\"")], None).await;
            let order = json!({"scope": "record", "collection": collection, "key": key});
            self.ask("POST", SHREDS, &format!("{tenant}/shreds"), &operator, &[], Some(order)).await;
            for op in ["delete", "check"] {
                let ops = json!({"ops": [{"op": op, "collection": collection, "key": key, "if_match": "\"0000000000000000\""}]});
                self.ask("POST", BATCH, &format!("{tenant}/batch"), &owner, &[], Some(ops)).await;
            }
            let shortenings = format!("{tenant}/collections/{collection}/shortenings");
            self.ask("POST", SHORTENINGS, &shortenings, &owner, &[], None).await;
            let (bypasses, reason) = (format!("{tenant}/collections/{collection}/bypasses"), json!({"reason": "none of these"}));
            self.ask("POST", BYPASSES, &bypasses, &owner, &[], Some(reason)).await;
            let policy = json!({"shred_unit": "subject", "retention": "forever"});
            self.ask("PUT", COLLECTION, &format!("{tenant}/collections/{collection}"), &owner, &[], Some(policy)).await;
        }
        for id in self.requests.clone() {
            for (route, what) in [(APPROVE, "approve"), (REFUSE, "refuse")] {
                let path = format!("{tenant}/approvals/{id}/{what}");
                self.ask("POST", route, &path, &self.second.clone(), &[], Some(json!({}))).await;
            }
            self.ask("POST", WITHDRAW, &format!("{tenant}/approvals/{id}/withdraw"), &owner, &[], None).await;
        }
        self.ask("PUT", POLICY, &format!("{tenant}/policy"), &owner, &[], Some(json!({"approvals": {}}))).await;
        let import = format!("{tenant}/import?bundle={}&from=0", "0".repeat(32));
        self.ask("POST", "/v1/tenants/{tenant}/import", &import, &owner, &[], Some(Value::String("new".into()))).await;
        self.ask("POST", TOKENS, &format!("{tenant}/tokens"), &owner, &[], Some(json!({"role": "operator"}))).await;
        self.ask("DELETE", TOKEN, &format!("{tenant}/tokens/{}", "0".repeat(32)), &owner, &[], None).await;
        self.ask("POST", "/v1/tenants", "/v1/tenants", &operator, &[], Some(json!({"tenant": TENANT}))).await;
        for token in [&operator, &owner] {
            self.ask("POST", RUNS, RUNS, token, &[], Some(json!({}))).await;
            self.ask("POST", SNAPSHOTS, SNAPSHOTS, token, &[], None).await;
            self.ask("DELETE", SNAPSHOT, &format!("{SNAPSHOTS}/{}", "0".repeat(32)), token, &[], None).await;
        }
        self.ask("POST", "/v1/rotate", "/v1/rotate", &owner, &[], None).await;
        self.change_states().await;
    }

    /// Stops the tenant and lets it go on, orders its end and takes that back.
    async fn change_states(&mut self) {
        let (owner, operator, tenant) = (self.owner.clone(), self.site.operator.clone(), format!("/v1/tenants/{TENANT}"));
        let reason = || Some(json!({"reason": "none of these"}));
        for token in [&owner, &operator] {
            self.ask("POST", "/v1/tenants/{tenant}/suspend", &format!("{tenant}/suspend"), token, &[], reason()).await;
            self.ask("POST", "/v1/tenants/{tenant}/resume", &format!("{tenant}/resume"), token, &[], reason()).await;
        }
        let confirm = Some(json!({"confirm": TENANT, "reason": "none of these"}));
        self.ask("POST", TERMINATION, &format!("{tenant}/termination"), &owner, &[], confirm).await;
        for token in [&owner, &self.auditor.clone(), &self.eraser.clone()] {
            self.ask("GET", TERMINATION, &format!("{tenant}/termination"), token, &[], None).await;
        }
        let cancel = "/v1/tenants/{tenant}/termination/cancel";
        self.ask("POST", cancel, &format!("{tenant}/termination/cancel"), &owner, &[], reason()).await;
    }

    /// Orders a shred and waits for it. Only this answer repeats what was named, and gives the salt.
    async fn shred(&mut self, order: Value) -> Answer {
        let request = self.site.request("POST".parse().unwrap(), &format!("/v1/tenants/{TENANT}/shreds"), &self.owner);
        let answer = Answer::of(request.header("prefer", "wait=60").json(&order).send().await.unwrap()).await;
        assert_eq!((answer.status, answer.json["state"].as_str()), (200, Some("done")), "{answer:?}");
        assert_eq!(answer.json["salt"].as_str().map(str::len), Some(64), "{answer:?}");
        self.shreds.push(answer.json["id"].as_str().unwrap().to_owned());
        answer
    }

    /// What was shredded is asked for everywhere.
    async fn is_gone(&mut self, names: &[&'static str]) {
        self.gone.extend(names);
        self.read_everything().await;
        self.try_everything().await;
        // Once more: what was just tried stands in the trail, too.
        self.trail(TENANT, &self.auditor.clone()).await;
    }
}

const EXPORT: &str = "/v1/tenants/{tenant}/export";
const TOKENS: &str = "/v1/tenants/{tenant}/tokens";
const TOKEN: &str = "/v1/tenants/{tenant}/tokens/{id}";
const COLLECTIONS: &str = "/v1/tenants/{tenant}/collections";
const COLLECTION: &str = "/v1/tenants/{tenant}/collections/{collection}";
const RECORDS: &str = "/v1/tenants/{tenant}/collections/{collection}/records";
const RECORD: &str = "/v1/tenants/{tenant}/collections/{collection}/records/{*key}";
const RETENTION: &str = "/v1/tenants/{tenant}/collections/{collection}/retention/{*key}";
const SIMULATIONS: &str = "/v1/tenants/{tenant}/collections/{collection}/simulations";
const MARKED: &str = "/v1/tenants/{tenant}/collections/{collection}/marked";
const REPORTS: &str = "/v1/tenants/{tenant}/retention/reports";
const REPORT: &str = "/v1/tenants/{tenant}/retention/reports/{id}";
const RUNS: &str = "/v1/jobs/retention/runs";
const QUERY: &str = "/v1/tenants/{tenant}/collections/{collection}/query";
const BATCH: &str = "/v1/tenants/{tenant}/batch";
const HOLDS: &str = "/v1/tenants/{tenant}/holds";
const HOLD: &str = "/v1/tenants/{tenant}/holds/{id}";
const ALIASES: &str = "/v1/tenants/{tenant}/subjects/aliases";
const ALIASES_QUERY: &str = "/v1/tenants/{tenant}/subjects/aliases/query";
const ALIASES_REMOVE: &str = "/v1/tenants/{tenant}/subjects/aliases/remove";
const EVENTS: &str = "/v1/tenants/{tenant}/subjects/events";
const EVENTS_QUERY: &str = "/v1/tenants/{tenant}/subjects/events/query";
const EVENTS_REMOVE: &str = "/v1/tenants/{tenant}/subjects/events/remove";
const POLICY: &str = "/v1/tenants/{tenant}/policy";
const APPROVALS: &str = "/v1/tenants/{tenant}/approvals";
const APPROVAL: &str = "/v1/tenants/{tenant}/approvals/{id}";
const APPROVE: &str = "/v1/tenants/{tenant}/approvals/{id}/approve";
const REFUSE: &str = "/v1/tenants/{tenant}/approvals/{id}/refuse";
const WITHDRAW: &str = "/v1/tenants/{tenant}/approvals/{id}/withdraw";
const SHORTENINGS: &str = "/v1/tenants/{tenant}/collections/{collection}/shortenings";
const BYPASSES: &str = "/v1/tenants/{tenant}/collections/{collection}/bypasses";
const TERMINATION: &str = "/v1/tenants/{tenant}/termination";
const SNAPSHOTS: &str = "/v1/jobs/snapshots";
const SNAPSHOT: &str = "/v1/jobs/snapshots/{id}";
const SHREDS: &str = "/v1/tenants/{tenant}/shreds";

#[tokio::test(flavor = "multi_thread")]
async fn a_shredded_person_is_named_by_no_answer() {
    let site = Site::open().await;
    let mut asker = Asker::new(&site).await;
    asker.take_cursors().await;
    asker.read_everything().await;
    // What could be seen before, so that not seeing it later says something.
    for (name, route) in [
        ("eu/key-anna-1b9d", "/v1/tenants/{tenant}/audit"),
        ("key-anna-2e8f", "/v1/tenants/{tenant}/audit"),
        ("key-anna-3a7c", "/v1/tenants/{tenant}/audit"),
        (ANNA, "/v1/tenants/{tenant}/audit"),
        (PEOPLE, "/v1/tenants/{tenant}/audit"),
        ("eu/key-anna-1b9d", TOKENS),
        (ANNA, TOKENS),
        ("eu/key-anna-1b9d", RECORDS),
        (ANNA, QUERY),
        (ANNA, RECORD),
        (SECRET, RECORD),
        (ANNA, HOLD),
        ("eu/key-anna-1b9d", HOLD),
        ("key-anna-3a7c", HOLD),
        (SHARED, HOLD),
        (ALIAS, ALIASES_QUERY),
        (ANNA, ALIASES_QUERY),
        (ENDED_ON, EVENTS_QUERY),
        (ANNA, APPROVAL),
        (ALIAS, APPROVAL),
        ("key-anna-2e8f", APPROVAL),
        (PEOPLE, APPROVAL),
        (ANNA, EXPORT),
        (ALIAS, EXPORT),
        (SECRET, EXPORT),
        ("key-anna-2e8f", EXPORT),
        (SHARED, EXPORT),
    ] {
        assert!(asker.shown.contains(&(name, route)), "{route} did not show {name} before: {:?}", asker.shown);
    }

    let done = asker.shred(json!({"scope": "subject", "subject": ANNA})).await;
    assert_eq!(done.json["targets"], json!([ANNA, ALIAS]));
    asker.is_gone(&[ANNA, ALIAS, "key-anna", SECRET, ENDED_ON]).await;
    let asked: BTreeSet<(&str, &str)> = asker.asked.iter().map(|(method, route)| (method.as_str(), *route)).collect();
    let missing: Vec<_> =
        endpoints().iter().map(|endpoint| (endpoint.method, endpoint.path)).filter(|route| !asked.contains(route)).collect();
    assert!(missing.is_empty(), "ask {missing:?} too, in tests/api/forgotten.rs");

    // The pseudonyms are always the same, and the others are named as before.
    let id = asker.shreds[0].clone();
    let polled = asker.site.get(&format!("/v1/tenants/{TENANT}/shreds/{id}"), &asker.owner).await;
    let pseudonym = polled.json["targets"][0].as_str().unwrap().to_owned();
    assert!(pseudonym.starts_with("shredded-subject-"), "{polled:?}");
    let trail = asker.trail(TENANT, &asker.auditor.clone()).await;
    let orders: Vec<&Value> = trail.iter().filter(|entry| entry["action"] == "shred.order").collect();
    assert_eq!(orders[0]["names"]["subject"], pseudonym.as_str(), "{orders:?}");
    let read = |key: &str| {
        trail
            .iter()
            .any(|entry| entry["action"] == "record.read" && entry["names"]["key"].as_str().is_some_and(|shown| shown.starts_with(key)))
    };
    assert!(read("shredded-key-") && read("eu/key-bert-1b9d") && read("key-bert-3a7c"));
}

/// Nor is a person of whom a law keeps everything: it is there for who audits, and for its purpose.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_of_whom_a_law_keeps_something_is_named_by_no_answer() {
    let site = Site::open().await;
    let mut asker = Asker::new(&site).await;
    let law = json!({"period": "1y", "basis": "law 1"});
    let rules = json!([{"name": "by-law", "from": "created", "minimum": law, "maximum": "2y", "then": "delete"}]);
    for (collection, unit) in [(PEOPLE, "subject"), (NOTES, "record"), (SHARED, "collection")] {
        let policy = json!({"shred_unit": unit, "retention": {"time_zone": "UTC", "rules": rules}});
        let path = format!("/v1/tenants/{TENANT}/collections/{collection}");
        assert_eq!(site.send("PUT", &path, &asker.owner, Some(policy)).await.status, 200);
    }
    asker.take_cursors().await;
    asker.read_everything().await;
    let done = asker.shred(json!({"scope": "subject", "subject": ANNA})).await;
    let kept: u64 = done.json["retained"].as_array().unwrap().iter().map(|one| one["records"].as_u64().unwrap()).sum();
    assert_eq!(kept, 4, "{done:?}");
    asker.is_gone(&[ANNA, ALIAS, "key-anna", SECRET, ENDED_ON]).await;
    for (collection, key) in KEYS {
        let path = format!("/v1/tenants/{TENANT}/collections/{collection}/records/{key}");
        let request = site.request("GET".parse().unwrap(), &path, &asker.auditor).header("lethe-purpose", "by-law");
        assert_eq!(Answer::of(request.send().await.unwrap()).await.text(), SECRET, "{collection}");
    }
    asker.trail(TENANT, &asker.auditor.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shredded_record_is_named_by_no_answer() {
    let site = Site::open().await;
    let mut asker = Asker::new(&site).await;
    asker.take_cursors().await;
    asker.read_everything().await;
    let done = asker.shred(json!({"scope": "record", "collection": NOTES, "key": "key-anna-2e8f"})).await;
    assert_eq!(done.json["targets"], json!(["key-anna-2e8f"]));
    asker.is_gone(&["key-anna-2e8f"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shredded_collection_is_named_by_no_answer() {
    let site = Site::open().await;
    let mut asker = Asker::new(&site).await;
    asker.take_cursors().await;
    asker.read_everything().await;
    for (collection, key) in KEYS {
        asker.shred(json!({"scope": "collection", "collection": collection})).await;
        asker.is_gone(&[collection, key]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shredded_tenant_is_named_by_no_answer() {
    let site = Site::open().await;
    let mut asker = Asker::new(&site).await;
    asker.take_cursors().await;
    asker.read_everything().await;
    assert!(asker.shown.contains(&(TENANT, "/v1/tenants/{tenant}/audit")), "the operator's trail names tenants");
    asker.shred(json!({"scope": "tenant", "confirm": TENANT})).await;
    asker.is_gone(&NAMES).await;

    // The trail outlives the tenant, for the token that ordered the shred; whoever else had it is told that it is gone.
    let entries = asker.trail(TENANT, &asker.owner.clone()).await;
    let of = |action: &str| entries.iter().filter(|entry| entry["action"] == action).collect::<Vec<_>>();
    assert_eq!(of("shred.done").len(), 1, "{entries:?}");
    let read = of("record.read").into_iter().find(|entry| entry["names"]["key"].is_string()).unwrap();
    for kind in ["collection", "key"] {
        assert!(read["names"][kind].as_str().unwrap().starts_with(&format!("shredded-{kind}-")), "{read:?}");
    }
    let reads = of("audit.read").len();
    let entries = asker.trail(TENANT, &asker.owner.clone()).await;
    assert!(entries.iter().filter(|entry| entry["action"] == "audit.read").count() > reads, "that it was read is in it, too");
    let audit = format!("/v1/tenants/{TENANT}/audit");
    for (token, status) in [(&asker.auditor, 410), (&asker.eraser, 403), (&asker.site.operator, 403)] {
        assert_eq!(asker.site.get(&audit, token).await.status, status);
    }
    let other = asker.site.tenant("other").await;
    assert_eq!(asker.site.get(&audit, &other).await.status, 404);
}

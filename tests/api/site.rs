//! A store, a server and a client: one for each test.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lethe::config::Config;
use lethe::domain::{Clock, SystemClock, TestClock, Timestamp};
use lethe::server::{self, Server, Start, rooms};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::{Ask, Client, expect_documented};

pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) client: Client,
    pub(crate) operator: String,
    config: Config,
    /// Removed with the site.
    _dir: TempDir,
}

pub(crate) const CRM: &str = "/v1/tenants/acme/collections/crm";

impl Site {
    /// A new store, served with the default settings.
    pub(crate) async fn open() -> Self {
        Self::open_with("").await
    }

    /// A new store, served with these settings of `[server]` or of other sections besides.
    pub(crate) async fn open_with(settings: &str) -> Self {
        Self::open_at(settings, Arc::new(SystemClock)).await
    }

    /// The same, with a time of one's own.
    pub(crate) async fn open_at(settings: &str, clock: Arc<dyn Clock>) -> Self {
        Self::open_in(TempDir::new().unwrap(), settings, clock).await
    }

    /// A new store by a clock of the test's, which begins at this time.
    pub(crate) async fn open_on(time: &str) -> (Self, Arc<TestClock>) {
        let clock = Arc::new(TestClock::at(Timestamp::parse_rfc3339(time).unwrap()));
        (Self::open_at("", clock.clone()).await, clock)
    }

    /// A new store in an empty directory of one's own.
    pub(crate) async fn open_in(dir: TempDir, settings: &str, clock: Arc<dyn Clock>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        for part in ["store", "mirror", "custody"] {
            std::fs::create_dir(dir.path().join(part)).unwrap();
        }
        let (store, mirror, root) = (dir.path().join("store"), dir.path().join("mirror"), dir.path().join("custody/root"));
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n{settings}\n[paths]\nmirror_dir = \"{}\"\n[[custody]]\nkind = \"file\"\npath = \"{}\"\n[store]\nreserve_len_bytes = 1048576\n",
            mirror.display(),
            root.display()
        );
        let config = Config::parse(&text, &store).unwrap();
        let operator = rooms::make(&config, Arc::clone(&clock)).await.unwrap().to_string();
        let server = server::open(config.clone(), Start::default(), clock).await.unwrap();
        let client = Client::of(reqwest::Client::builder().timeout(Duration::from_mins(1)));
        Self { server, client, operator, config, _dir: dir }
    }

    /// Ends the server in order, has something done where the store lies, and serves it again.
    pub(crate) async fn again(self, clock: Arc<dyn Clock>, meanwhile: impl FnOnce(&Path)) -> Self {
        let Self { server, client, operator, config, _dir: dir } = self;
        server.stop().await.unwrap();
        meanwhile(dir.path());
        let server = server::open(config.clone(), Start::default(), clock).await.unwrap();
        Self { server, client, operator, config, _dir: dir }
    }

    /// Without scheme: for raw sockets.
    pub(crate) fn address(&self) -> String {
        self.server.url().trim_start_matches("https://").trim_start_matches("http://").to_owned()
    }

    pub(crate) fn request(&self, method: Method, path: &str, token: &str) -> Ask {
        self.client.request(method, format!("{}{path}", self.server.url())).bearer_auth(token)
    }

    pub(crate) async fn send(&self, method: &str, path: &str, token: &str, body: Option<Value>) -> Answer {
        let request = self.request(method.parse().unwrap(), path, token);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        Answer::of(request.send().await.unwrap()).await
    }

    /// Makes a tenant; gives its owner's token.
    pub(crate) async fn tenant(&self, name: &str) -> String {
        self.send("POST", "/v1/tenants", &self.operator, Some(json!({ "tenant": name }))).await.made_token()
    }

    /// Makes a token.
    pub(crate) async fn token(&self, tenant: &str, owner: &str, body: Value) -> String {
        self.send("POST", &format!("/v1/tenants/{tenant}/tokens"), owner, Some(body)).await.made_token()
    }

    /// A counsel's token of a line of its own: an owner invites, and whoever accepts has a token that no owner has seen.
    pub(crate) async fn counsel(&self, tenant: &str, owner: &str) -> String {
        let invitation = self.token(tenant, owner, json!({"role": "counsel"})).await;
        self.token(tenant, &invitation, json!({"role": "counsel"})).await
    }

    /// Makes a collection.
    pub(crate) async fn collection(&self, tenant: &str, name: &str, owner: &str, unit: &str) {
        let path = format!("/v1/tenants/{tenant}/collections/{name}");
        let made = self.send("PUT", &path, owner, Some(json!({ "shred_unit": unit }))).await;
        assert_eq!(made.status, 201, "{made:?}");
    }

    /// A tenant with a collection of each unit; gives the owner's token.
    pub(crate) async fn tenant_of_units(&self, name: &str) -> String {
        let owner = self.tenant(name).await;
        for (collection, unit) in [("crm", "subject"), ("all", "collection"), ("files", "record")] {
            self.collection(name, collection, &owner, unit).await;
        }
        owner
    }

    /// Tenant `acme` with collection `crm` by subject; gives the owner's token.
    pub(crate) async fn acme(&self) -> String {
        let owner = self.tenant("acme").await;
        self.collection("acme", "crm", &owner, "subject").await;
        owner
    }

    pub(crate) async fn put(&self, path: &str, token: &str, subject: &str, value: &str) -> Answer {
        let request = self.request(Method::PUT, path, token).header("content-type", "text/plain").header("lethe-subject", subject);
        Answer::of(request.body(value.to_owned()).send().await.unwrap()).await
    }

    /// Orders to shred; the order when it is done, or has been waited for long enough.
    pub(crate) async fn shred(&self, tenant: &str, token: &str, order: Value) -> Answer {
        let path = format!("/v1/tenants/{tenant}/shreds");
        let request = self.request(Method::POST, &path, token).header("prefer", "wait=30").json(&order);
        Answer::of(request.send().await.unwrap()).await
    }

    /// An order that was given, at the latest when it is done.
    pub(crate) async fn order(&self, tenant: &str, token: &str, id: &str) -> Answer {
        let path = format!("/v1/tenants/{tenant}/shreds/{id}");
        Answer::of(self.request(Method::GET, &path, token).header("prefer", "wait=30").send().await.unwrap()).await
    }

    /// A run of retention, and what it did.
    pub(crate) async fn run_retention(&self) -> Value {
        let done = self.send("POST", "/v1/jobs/retention/runs", &self.operator, Some(json!({}))).await;
        assert_eq!(done.status, 200, "{done:?}");
        done.json
    }

    /// The whole trail of a tenant, oldest first.
    pub(crate) async fn trail(&self, tenant: &str, token: &str) -> Vec<Value> {
        let (mut entries, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("/v1/tenants/{tenant}/audit?limit=1000{after}"), token).await;
            assert_eq!(page.status, 200, "{page:?}");
            entries.extend(page.json["data"].as_array().unwrap().clone());
            match page.json["next_cursor"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return entries,
            }
        }
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.send("GET", path, token, None).await
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) bytes: Vec<u8>,
    /// Null if it is none.
    pub(crate) json: Value,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.unwrap().to_vec();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Self { status, headers, bytes, json }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or("")
    }

    /// The token that was made.
    pub(crate) fn made_token(&self) -> String {
        assert_eq!(self.status, 201, "{self:?}");
        self.json["token"].as_str().unwrap().to_owned()
    }
}

/// Lets the time pass up to a moment.
pub(crate) fn to(clock: &TestClock, time: &str) {
    clock.advance(Timestamp::parse_rfc3339(time).unwrap().since(clock.now()));
}

/// Where a record lies: collection, and behind the first slash its key.
pub(crate) fn record(tenant: &str, at: &str) -> String {
    let (collection, key) = at.split_once('/').unwrap();
    format!("/v1/tenants/{tenant}/collections/{collection}/records/{key}")
}

/// A hold to place: what every one says of itself, and its scope.
pub(crate) fn hold(mut scope: Value) -> Value {
    for (name, text) in [("matter", "2024-CV-1"), ("reason", "a lawsuit"), ("custodian", "legal")] {
        scope[name] = json!(text);
    }
    scope
}

pub(crate) fn id(document: &Value) -> &str {
    document["id"].as_str().unwrap()
}

/// The public part of a token.
pub(crate) fn id_of(token: &str) -> &str {
    token.split('_').nth(2).unwrap()
}

/// Sends bytes as they are and reads one whole answer, or less where the connection ends before.
pub(crate) async fn raw(site: &Site, bytes: &[u8]) -> String {
    raw_until(site, bytes, is_whole).await
}

/// The same, of all answers: until the server ends the connection, which it does when nothing follows, too.
pub(crate) async fn raw_to_end(site: &Site, bytes: &[u8]) -> String {
    raw_until(site, bytes, |_| false).await
}

/// Whether an answer's body is as long as its head says.
fn is_whole(answer: &[u8]) -> bool {
    let answer = String::from_utf8_lossy(answer);
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let len = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(|len| len.trim().to_owned()));
    len.is_some_and(|len| body.len() >= len.parse().unwrap())
}

async fn raw_until(site: &Site, bytes: &[u8], enough: fn(&[u8]) -> bool) -> String {
    let mut stream = TcpStream::connect(site.address()).await.unwrap();
    // What is refused half-way may end the connection before all is sent.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let reading = async { while !enough(&answer) && stream.read_buf(&mut answer).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(Duration::from_mins(2), reading).await.expect("neither an answer nor the end of the connection");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    // A refusal of ours; HTTP's own, before a request is one, have no document.
    if answer.contains("application/problem+json") {
        let head = String::from_utf8_lossy(bytes);
        let mut line = head.split(' ');
        let (method, target) = (line.next().unwrap(), line.next().unwrap());
        expect_documented(method, target.split('?').next().unwrap(), status_of(&answer));
    }
    answer
}

pub(crate) fn status_of(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

pub(crate) fn code_of(answer: &str) -> String {
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    let json: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    json["code"].as_str().unwrap_or_default().to_owned()
}

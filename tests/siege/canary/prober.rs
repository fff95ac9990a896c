//! Sends requests full of canaries, and keeps every answer that must not hold one.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use reqwest::{Method, header::HeaderMap};
use serde_json::Value;

use crate::scan::Canaries;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// What a route was tried with.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) answered: bool,
    pub(super) refused: bool,
}

pub(super) struct Prober {
    pub(super) operator: String,
    http: reqwest::Client,
    url: String,
    known: Mutex<Known>,
}

/// What was sent, and what was said to it.
pub(super) struct Known {
    pub(super) canaries: Canaries,
    /// By method and template.
    pub(super) covered: BTreeMap<String, Seen>,
    /// Answers that must not hold a canary, each with what it answered.
    pub(super) said: Vec<(String, Vec<u8>)>,
    pub(super) sent: usize,
    /// Answers of another status than the script says.
    pub(super) wrong: Vec<String>,
    /// How often a value or name came back to who may have it.
    pub(super) returned: usize,
}

/// An answer, read to its end.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) bytes: Vec<u8>,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    /// Its headers, a line each.
    fn head(&self) -> String {
        self.headers.iter().fold(String::new(), |mut lines, (name, value)| {
            writeln!(lines, "{name}: {value:?}").unwrap();
            lines
        })
    }
}

/// A request to a route.
#[derive(Default)]
pub(super) struct Ask<'a> {
    /// `METHOD /template`; a route that there is none of begins with `-`.
    pub(super) route: &'a str,
    pub(super) path: String,
    pub(super) token: &'a str,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// The status it must have.
    pub(super) status: u16,
}

/// Routes whose answers are the caller's own data, and so may hold names and values.
const OF_DATA: [&str; 42] = [
    "GET /v1/tenants/{tenant}/collections/{collection}/marked",
    "GET /v1/tenants/{tenant}/retention/reports",
    "GET /v1/tenants/{tenant}/retention/reports/{id}",
    "POST /v1/tenants",
    "GET /v1/tenants",
    "GET /v1/tenants/{tenant}",
    "POST /v1/tenants/{tenant}/suspend",
    "POST /v1/tenants/{tenant}/resume",
    "POST /v1/tenants/{tenant}/termination",
    "GET /v1/tenants/{tenant}/termination",
    "POST /v1/tenants/{tenant}/termination/cancel",
    "GET /v1/tenants/{tenant}/states",
    "POST /v1/tenants/{tenant}/tokens",
    "GET /v1/tenants/{tenant}/tokens",
    "GET /v1/tenants/{tenant}/collections",
    "PUT /v1/tenants/{tenant}/collections/{collection}",
    "GET /v1/tenants/{tenant}/collections/{collection}",
    "GET /v1/tenants/{tenant}/collections/{collection}/records",
    "POST /v1/tenants/{tenant}/collections/{collection}/query",
    "GET /v1/tenants/{tenant}/collections/{collection}/records/{key}",
    "HEAD /v1/tenants/{tenant}/collections/{collection}/records/{key}",
    "GET /v1/tenants/{tenant}/audit",
    "POST /v1/tenants/{tenant}/shreds",
    "GET /v1/tenants/{tenant}/shreds/{id}",
    "POST /v1/tenants/{tenant}/holds",
    "GET /v1/tenants/{tenant}/holds",
    "GET /v1/tenants/{tenant}/holds/{id}",
    "POST /v1/tenants/{tenant}/holds/{id}/renew",
    "POST /v1/tenants/{tenant}/holds/{id}/release",
    "POST /v1/tenants/{tenant}/subjects/aliases",
    "POST /v1/tenants/{tenant}/subjects/aliases/query",
    "POST /v1/tenants/{tenant}/subjects/aliases/remove",
    "POST /v1/tenants/{tenant}/subjects/events",
    "POST /v1/tenants/{tenant}/subjects/events/query",
    "POST /v1/tenants/{tenant}/subjects/events/remove",
    "GET /v1/tenants/{tenant}/approvals",
    "GET /v1/tenants/{tenant}/approvals/{id}",
    "POST /v1/tenants/{tenant}/approvals/{id}/refuse",
    "POST /v1/tenants/{tenant}/approvals/{id}/withdraw",
    "POST /v1/tenants/{tenant}/collections/{collection}/shortenings",
    "POST /v1/tenants/{tenant}/collections/{collection}/bypasses",
    "POST /v1/tenants/{tenant}/import",
];

impl Prober {
    pub(super) fn new(canaries: Canaries, operator: String) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let known = Known { canaries, covered: BTreeMap::new(), said: Vec::new(), sent: 0, wrong: Vec::new(), returned: 0 };
        Self { operator, http: reqwest::Client::new(), url: String::new(), known: Mutex::new(known) }
    }

    pub(super) fn connect(&mut self, url: &str, protocol: Protocol) {
        let builder = reqwest::Client::builder().no_proxy().timeout(Duration::from_mins(1));
        let builder =
            if protocol == Protocol::Http2 { builder.http2_prior_knowledge() } else { builder.http1_only().pool_max_idle_per_host(0) };
        self.http = builder.build().unwrap();
        url.clone_into(&mut self.url);
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap()
    }

    pub(super) fn canary(&self, what: &str) -> String {
        self.known().canaries.make(what)
    }

    pub(super) fn adopt_token(&self, what: &str, token: &str) {
        self.known().canaries.adopt_token(what, token);
    }

    /// An answer, or a part of one, that must not hold a canary.
    pub(super) fn said(&self, what: &str, bytes: Vec<u8>) {
        self.known().said.push((what.to_owned(), bytes));
    }

    /// Sends a request, with a canary in every header that nobody asked for; keeps what it must not repeat.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Answer {
        let Ask { route, path, token, headers, body, status } = ask;
        let method: Method = route.trim_start_matches("- ").split(' ').next().unwrap().parse().unwrap();
        let url: reqwest::Url = format!("{}{path}", self.url).parse().unwrap();
        let mut builder = self.http.request(method, url);
        if !token.is_empty() {
            builder = builder.bearer_auth(token);
        }
        for name in
            ["user-agent", "referer", "cookie", "tracestate", "baggage", "x-forwarded-for", "x-request-id", "traceparent", "x-unknown"]
        {
            if !headers.iter().any(|(given, _)| given == name) {
                builder = builder.header(name, self.canary(&format!("{route}: header {name}")));
            }
        }
        for (name, value) in &headers {
            builder = builder.header(name, value);
        }
        let sent = builder.body(body).send().await;
        let response = sent.unwrap_or_else(|error| panic!("{route} at {path}: {error:?}"));
        let answer = Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            bytes: response.bytes().await.unwrap_or_else(|error| panic!("{route} at {path}: {error:?}")).to_vec(),
        };
        let refused = answer.status >= 400;
        let mut known = self.known();
        known.sent += 1;
        // A head that is too long is refused by HTTP/2 itself.
        if answer.status != status && (answer.status, status) != (431, 400) {
            known.wrong.push(format!("{route} at {path}: {}, not {status}: {}", answer.status, String::from_utf8_lossy(&answer.bytes)));
        }
        if !route.starts_with('-') {
            let seen = known.covered.entry(route.to_owned()).or_default();
            (seen.answered, seen.refused) = (seen.answered || !refused, seen.refused || refused);
        }
        if refused || !OF_DATA.contains(&route) {
            let whose = format!("the answer {} to {route}", answer.status);
            let headers = answer.head();
            known.said.push((format!("{whose}, headers"), headers.into_bytes()));
            known.said.push((whose, answer.bytes.clone()));
        }
        drop(known);
        answer
    }

    /// The answer must hold this, or the rest of the test says nothing.
    pub(super) fn came_back(&self, answer: &Answer, text: &str) {
        let headers = answer.head();
        let whole = [headers.as_bytes(), &answer.bytes].concat();
        assert!(String::from_utf8_lossy(&whole).contains(text), "it did not come back: {}", String::from_utf8_lossy(&whole));
        self.known().returned += 1;
    }

    pub(super) async fn metrics(&self) -> String {
        let ask = Ask { route: "GET /metrics", path: "/metrics".into(), token: &self.operator, status: 200, ..Ask::default() };
        String::from_utf8(self.ask(ask).await.bytes).unwrap()
    }

    pub(super) async fn openapi(&self) -> Value {
        self.http.get(format!("{}/openapi.json", self.url)).send().await.unwrap().json().await.unwrap()
    }
}

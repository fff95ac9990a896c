//! The connection to a server: where it is, who asks, and what its answers mean.
//!
//! No proxy is used and no redirect followed, whatever the environment says: a token goes to the
//! address that was given. Plain HTTP carries it on loopback only.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{ArgMatches, parser::ValueSource};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header};
use serde_json::Value;

use super::failure::{Failure, Problem};
use crate::{
    domain::{CollectionName, NameError, RecordKey, TenantName},
    vault::ops::Vault,
};

/// How often something is asked for again when the server is busy or the connection broke.
const TRIES: u32 = 8;

/// What stays as it is in a path segment: RFC 3986 "unreserved".
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How to reach the server, and as whom.
#[derive(clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// The server's address.
    #[arg(long, global = true, env = "LETHE_ADDR", value_name = "URL", default_value = "http://127.0.0.1:8420")]
    addr: Url,
    /// The access token; better given in the environment or in a file than on the command line.
    #[arg(long, global = true, env = "LETHE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// A file that holds the access token; used where no token is given, or only in the environment and the file here.
    #[arg(long, global = true, env = "LETHE_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Trust the certificates in this PEM file, and no others.
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// The tenant a command is about.
#[derive(Debug, clap::Args)]
pub(crate) struct TenantArg {
    /// The tenant; may be left out where the token sees only one.
    #[arg(long, env = "LETHE_TENANT", value_name = "NAME")]
    tenant: Option<String>,
}

/// A client of one server.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<header::HeaderValue>,
}

impl Connection {
    /// Leaves out a token of the environment where the command line names a file: who types one means it.
    pub(crate) fn prefer_the_command_line(&mut self, matches: &ArgMatches) {
        let comes_from = |name: &str, source| matches.value_source(name) == Some(source);
        if comes_from("token", ValueSource::EnvVariable) && comes_from("token_file", ValueSource::CommandLine) {
            self.token = None;
        }
    }

    /// A client with the token, where one was given. Nothing is sent yet.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        self.client_that_waits(Some(Duration::from_secs(90)))
    }

    /// The same for requests that bring much: an answer may take as long as what is sent takes.
    pub(crate) fn patient_client(&self) -> Result<Client, Failure> {
        self.client_that_waits(None)
    }

    fn client_that_waits(&self, at_most: Option<Duration>) -> Result<Client, Failure> {
        if !matches!(self.addr.scheme(), "http" | "https") || self.addr.host_str().is_none() {
            return Err(Failure::local(format!("{}: the address must be an http or https URL", self.addr)));
        }
        let token = self.token()?;
        if token.is_some() && self.addr.scheme() == "http" && !is_loopback(&self.addr) {
            return Err(Failure::local(format!("{}: a token is sent over plain HTTP on loopback only; use https", self.addr)));
        }
        // Fails only where a provider is installed already, which serves as well.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .user_agent(concat!("lethe/", env!("CARGO_PKG_VERSION")));
        if let Some(at_most) = at_most {
            builder = builder.read_timeout(at_most);
        }
        if let Some(path) = &self.ca {
            let pem = std::fs::read(path).map_err(|error| Failure::file(path, &error))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|_| Failure::local(format!("{}: not PEM certificates", path.display())))?;
            if certificates.is_empty() {
                return Err(Failure::local(format!("{}: holds no certificate", path.display())));
            }
            builder = builder.tls_certs_only(certificates);
        }
        let http = builder.build().map_err(|error| Failure::local(format!("cannot make a client: {error}")))?;
        Ok(Client { http, base: self.addr.clone(), token })
    }

    /// The only certificates to trust, where they are given.
    pub(crate) fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    fn token(&self) -> Result<Option<header::HeaderValue>, Failure> {
        let text = match (&self.token, &self.token_file) {
            (Some(token), _) => token.clone(),
            (None, Some(path)) => std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?,
            (None, None) => return Ok(None),
        };
        bearer(&text).map(Some)
    }
}

/// The header of a token's text.
pub(crate) fn bearer(text: &str) -> Result<header::HeaderValue, Failure> {
    let mut value = header::HeaderValue::from_str(&format!("Bearer {}", text.trim()))
        .map_err(|_| Failure::local("the token holds characters that no token has"))?;
    value.set_sensitive(true);
    Ok(value)
}

impl TenantArg {
    /// The tenant's name: as given, or the only one that the token sees.
    pub(crate) async fn name(&self, client: &Client) -> Result<String, Failure> {
        if let Some(name) = &self.tenant {
            return Ok(name.clone());
        }
        let unclear = || Failure::local("which tenant? Say --tenant NAME or set LETHE_TENANT");
        let answer = match client.json(client.request(Method::GET, &["v1", "tenants"])?).await {
            Err(Failure::Refused(problem)) if problem.status == 403 || problem.status == 404 => return Err(unclear()),
            other => other?,
        };
        match answer.get("data").and_then(Value::as_array).map(Vec::as_slice) {
            Some([only]) => only.get("tenant").and_then(Value::as_str).map(str::to_owned).ok_or_else(unclear),
            _ => Err(unclear()),
        }
    }
}

impl Client {
    /// The same with another token.
    pub(crate) fn with_token(self, token: header::HeaderValue) -> Self {
        Self { token: Some(token), ..self }
    }

    /// Where the server is.
    pub(crate) const fn base(&self) -> &Url {
        &self.base
    }

    /// The header that says who asks.
    pub(crate) const fn token(&self) -> Option<&header::HeaderValue> {
        self.token.as_ref()
    }

    /// A request to `/seg/seg/...`, each segment percent-encoded. A segment that would lead elsewhere is refused.
    pub(crate) fn request(&self, method: Method, segments: &[&str]) -> Result<RequestBuilder, Failure> {
        self.request_with(method, segments, None)
    }

    /// The same with a query, which is encoded already.
    pub(crate) fn request_with(&self, method: Method, segments: &[&str], query: Option<&str>) -> Result<RequestBuilder, Failure> {
        // A URL resolves `.` and `..`, and no encoding keeps it from that: the request would be about something else.
        if let Some(segment) = segments.iter().find(|segment| matches!(**segment, "" | "." | "..")) {
            return Err(Failure::local(format!("\"{segment}\" cannot be asked for: {}", NameError::Segment)));
        }
        let mut url = self.base.clone();
        let path: Vec<String> = segments.iter().map(|segment| utf8_percent_encode(segment, SEGMENT).to_string()).collect();
        url.set_path(&format!("{}/{}", self.base.path().trim_end_matches('/'), path.join("/")));
        url.set_query(query);
        let request = self.http.request(method, url);
        Ok(match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, token.clone()),
            None => request,
        })
    }

    /// A GET with those of the query's pairs that have a value.
    pub(crate) fn get(&self, segments: &[&str], query: &[(&str, Option<&str>)]) -> Result<RequestBuilder, Failure> {
        let text: Vec<String> =
            query.iter().filter_map(|(name, value)| value.map(|value| format!("{name}={}", utf8_percent_encode(value, SEGMENT)))).collect();
        self.request_with(Method::GET, segments, (!text.is_empty()).then(|| text.join("&")).as_deref())
    }

    /// A request about a record; the key's slashes stay slashes. What the server would not take as a name is refused here.
    pub(crate) fn record(&self, method: Method, tenant: &str, collection: &str, key: &str) -> Result<RequestBuilder, Failure> {
        self.keyed(method, tenant, collection, "records", key)
    }

    /// The same for `what` else there is of a record.
    pub(crate) fn keyed(&self, method: Method, tenant: &str, collection: &str, what: &str, key: &str) -> Result<RequestBuilder, Failure> {
        let refused = |what: &'static str| move |error: NameError| Failure::local(format!("the {what} {error}"));
        TenantName::parse(tenant).map_err(refused("tenant's name"))?;
        CollectionName::parse(collection).map_err(refused("collection's name"))?;
        RecordKey::parse(key).map_err(refused("key"))?;
        let mut segments = vec!["v1", "tenants", tenant, "collections", collection, what];
        segments.extend(key.split('/'));
        self.request(method, &segments)
    }

    /// Sends it; any status but a 2xx is [`Failure::Refused`].
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await?;
        if response.status().is_success() { Ok(response) } else { Err(Failure::Refused(Box::new(problem(response).await))) }
    }

    /// Posts a change until its answer is there; it is made once.
    pub(crate) async fn change(&self, segments: &[&str], body: Option<&Value>) -> Result<Value, Failure> {
        let key = make_idempotency_key();
        let ask = async || {
            let request = self.request(Method::POST, segments)?.header("idempotency-key", &key);
            self.json(body.iter().fold(request, RequestBuilder::json)).await
        };
        patiently_once_there(ask).await
    }

    /// Sends it and reads a JSON answer; an empty one is `null`.
    pub(crate) async fn json(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let bytes = self.send(request).await?.bytes().await?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|_| Failure::Unreachable("the answer is not JSON: is this a Lethe server?".into()))
    }

    /// Which server and which store: the address, and the origin of the store's public log. State that is kept between two
    /// runs belongs to both, for another store may have a tenant of the same name.
    pub(crate) async fn destination(&self) -> Result<String, Failure> {
        let fetch = async || Ok(self.send(self.request(Method::GET, &["log", "checkpoint"])?).await?.text().await?);
        let origin = match patiently(fetch).await {
            Ok(note) => note.lines().next().unwrap_or_default().to_owned(),
            // A proxy may show the API alone: then the address has to do.
            Err(Failure::Refused(problem)) if matches!(problem.status, 401 | 403 | 404) => "unknown store".to_owned(),
            Err(failure) => return Err(failure),
        };
        Ok(format!("{} {origin}", self.base))
    }

    /// All items of a list that is cut in pages by `cursor`, at most `most`.
    pub(crate) async fn pages(
        &self,
        make: impl Fn(Option<&str>) -> Result<RequestBuilder, Failure>,
        most: usize,
    ) -> Result<Vec<Value>, Failure> {
        let mut items: Vec<Value> = Vec::new();
        let mut cursor: Option<String> = None;
        while items.len() < most {
            let mut page = self.json(make(cursor.as_deref())?).await?;
            if let Some(Value::Array(more)) = page.get_mut("data").map(Value::take) {
                items.extend(more);
            }
            cursor = page.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        items.truncate(most);
        Ok(items)
    }
}

/// A key for a request that is sent again if its answer is lost, and must not be carried out twice.
pub(crate) fn make_idempotency_key() -> String {
    Vault::make_request_id().to_string()
}

/// Tries again while the server is busy or the connection breaks, and gives up after a while.
pub(crate) async fn patiently<T>(attempt: impl AsyncFnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    patiently_from(0, attempt).await
}

/// [`patiently`] for a change: who was given a wrong address is told so at once, and who lost an answer asks until it comes.
pub(crate) async fn patiently_once_there<T>(attempt: impl AsyncFnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    patiently_from(1, attempt).await
}

/// The first `impatient` tries must find a server.
async fn patiently_from<T>(impatient: u32, mut attempt: impl AsyncFnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let mut tries = 0_u32;
    loop {
        let failure = match attempt().await {
            Ok(done) => return Ok(done),
            Err(failure) => failure,
        };
        tries = tries.saturating_add(1);
        let wait = match &failure {
            Failure::Refused(problem) if matches!(problem.status, 429 | 503) => {
                Duration::from_secs(problem.retry_after_secs.unwrap_or(1).min(30))
            }
            Failure::NotThere(_) if tries <= impatient => return Err(failure),
            Failure::Unreachable(_) | Failure::NotThere(_) => Duration::from_millis(200_u64.saturating_mul(1 << tries.min(6))),
            Failure::Refused(_) | Failure::Local(_) | Failure::Reported(_) | Failure::OutputClosed => return Err(failure),
        };
        if tries >= TRIES {
            return Err(failure);
        }
        pause(wait).await;
    }
}

/// Waits: between two tries, or two looks at work that goes on elsewhere.
pub(crate) async fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "the command line's only wait: it polls a server it cannot subscribe to")]
    tokio::time::sleep(time).await;
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        None => false,
    }
}

/// The answer's problem document; made up from the status where there is none.
async fn problem(response: Response) -> Problem {
    let status = response.status();
    let text_of = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let request_id = text_of("x-request-id");
    let retry_after_secs = text_of("retry-after").and_then(|text| text.parse().ok());
    let body = response.bytes().await.unwrap_or_default();
    let mut problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
    problem.status = status.as_u16();
    problem.request_id = problem.request_id.or(request_id);
    problem.retry_after_secs = retry_after_secs;
    if problem.title.is_empty() {
        status.canonical_reason().unwrap_or("no reason given").clone_into(&mut problem.title);
    }
    if problem.code.is_empty() {
        problem.code = if status == StatusCode::BAD_GATEWAY { "not-a-lethe-server".into() } else { "no-code".into() };
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(addr: &str, token: Option<&str>) -> Connection {
        Connection { addr: addr.parse().unwrap(), token: token.map(str::to_owned), token_file: None, ca: None }
    }

    #[test]
    fn a_token_travels_in_the_clear_on_loopback_only() {
        for (addr, fine) in [
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost:1", true),
            ("https://store.example", true),
            ("http://store.example", false),
            ("http://192.0.2.1", false),
            ("http://127.0.0.1.example", false),
        ] {
            assert_eq!(connection(addr, Some("lethe_x")).client().is_ok(), fine, "{addr}");
            assert!(connection(addr, None).client().is_ok(), "{addr} without a token");
        }
        assert!(connection("ftp://127.0.0.1", None).client().is_err());
    }

    #[test]
    fn segments_are_encoded_and_a_keys_slashes_stay() {
        let client = connection("http://127.0.0.1:1/base/", None).client().unwrap();
        let url = client.record(Method::GET, "acme", "people", "a b/%2f/é?#").unwrap().build().unwrap().url().clone();
        assert_eq!(url.as_str(), "http://127.0.0.1:1/base/v1/tenants/acme/collections/people/records/a%20b/%252f/%C3%A9%3F%23");
    }

    #[test]
    fn no_name_leads_to_another_resource() {
        let client = connection("http://127.0.0.1:1", None).client().unwrap();
        let asked = |tenant, collection, key| client.record(Method::DELETE, tenant, collection, key).is_ok();
        assert!(asked("acme", "crm", "a/..b/.c/%2e%2e"), "two dots are a segment only where they stand alone");
        for key in ["..", "../../invoices/records/5", "../../../tokens/1", "./a", "a/.", "a//b", ""] {
            assert!(!asked("acme", "crm", key), "{key:?}");
        }
        for name in ["..", ".", "", "a/b", "Crm"] {
            assert!(!asked(name, "crm", "a") && !asked("acme", name, "a"), "{name:?}");
        }
        for segment in ["..", ".", ""] {
            assert!(client.request(Method::DELETE, &["v1", "tenants", segment, "tokens"]).is_err(), "{segment:?}");
            assert!(client.get(&["v1", "tenants", "acme", "tokens", segment], &[]).is_err(), "{segment:?}");
        }
    }

    #[tokio::test]
    async fn what_may_pass_is_asked_for_again_and_what_may_not_is_not() {
        let refused = |status| Failure::Refused(Box::new(Problem { status, retry_after_secs: Some(0), ..Problem::default() }));
        for (status, tries) in [(503, TRIES), (429, TRIES), (410, 1), (500, 1)] {
            let mut asked = 0;
            let ask = async || {
                asked += 1;
                Err::<(), _>(refused(status))
            };
            assert!(patiently(ask).await.is_err());
            assert_eq!(asked, tries, "{status}");
        }
        let mut asked = 0;
        let ask = async || {
            asked += 1;
            if asked < 3 { Err(refused(503)) } else { Ok(asked) }
        };
        assert_eq!(patiently(ask).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_change_is_asked_for_again_only_where_a_server_was_there() {
        let answers = |failures: Vec<Failure>| {
            let mut failures = failures.into_iter();
            let mut asked = 0;
            move || {
                asked += 1;
                failures.next().map_or(Ok(asked), Err)
            }
        };
        let not_there = || Failure::NotThere(String::new());
        let mut wrong_address = answers(vec![not_there()]);
        assert!(matches!(patiently_once_there(async || wrong_address()).await, Err(Failure::NotThere(_))));
        let mut restarts = answers(vec![Failure::Unreachable(String::new()), not_there()]);
        assert_eq!(patiently_once_there(async || restarts()).await.unwrap(), 3);
        let mut starts = answers(vec![not_there()]);
        assert_eq!(patiently(async || starts()).await.unwrap(), 2);
    }

    #[test]
    fn the_token_does_not_print() {
        let client = connection("http://127.0.0.1:1", Some("lethe_secret")).client().unwrap();
        let request = client.request(Method::GET, &["v1"]).unwrap();
        assert!(!format!("{request:?}").contains("secret"));
    }
}

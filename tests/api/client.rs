//! The client of all API tests. It takes no answer whose status `/openapi.json` does not list for the route and method: so the
//! document stays true, and a new refusal needs its line there.

use std::fmt::Display;
use std::sync::LazyLock;
use std::time::Duration;

use lethe::http::{document, endpoints};
use reqwest::{ClientBuilder, Method, RequestBuilder, Response};
use serde_json::Value;

/// A client that holds answers against the document.
pub(crate) struct Client(reqwest::Client);

impl Client {
    pub(crate) fn of(builder: ClientBuilder) -> Self {
        Self(builder.build().unwrap())
    }

    pub(crate) fn request(&self, method: Method, url: String) -> Ask {
        Ask(self.0.clone(), self.0.request(method, url))
    }

    pub(crate) fn get(&self, url: impl Into<String>) -> Ask {
        self.request(Method::GET, url.into())
    }

    pub(crate) fn put(&self, url: impl Into<String>) -> Ask {
        self.request(Method::PUT, url.into())
    }
}

/// A request on its way; as [`RequestBuilder`].
pub(crate) struct Ask(reqwest::Client, RequestBuilder);

impl Ask {
    fn with(self, more: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Self {
        Self(self.0, more(self.1))
    }

    pub(crate) fn header(self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> Self {
        self.with(|request| request.header(name.as_ref(), value.as_ref()))
    }

    pub(crate) fn bearer_auth(self, token: impl Display) -> Self {
        self.with(|request| request.bearer_auth(token))
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.with(|request| request.json(body))
    }

    pub(crate) fn body(self, body: impl Into<reqwest::Body>) -> Self {
        self.with(|request| request.body(body))
    }

    pub(crate) fn timeout(self, after: Duration) -> Self {
        self.with(|request| request.timeout(after))
    }

    pub(crate) async fn send(self) -> reqwest::Result<Response> {
        let request = self.1.build()?;
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = self.0.execute(request).await?;
        expect_documented(method.as_str(), &path, response.status().as_u16());
        Ok(response)
    }
}

/// Each operation of the document: method, path in segments, statuses.
static DOCUMENTED: LazyLock<Vec<(&'static str, &'static str, Vec<u16>)>> = LazyLock::new(|| {
    let document = serde_json::to_value(document()).unwrap();
    let statuses = |method: &str, path: &str| {
        let operation = &document["paths"][path.replace("{*", "{")][method.to_lowercase()];
        operation["responses"].as_object().unwrap().keys().map(|status| status.parse().unwrap()).collect()
    };
    endpoints().iter().map(|endpoint| (endpoint.method, endpoint.path, statuses(endpoint.method, endpoint.path))).collect()
});

/// Whether a path, as it was sent, is one of a template's.
fn is_of(path: &str, template: &str) -> bool {
    let (mut path, mut template) = (path.split('/'), template.split('/'));
    loop {
        match (path.next(), template.next()) {
            (None, None) => return true,
            (Some(first), Some(rest)) if rest.starts_with("{*") => return !first.is_empty() || path.next().is_some(),
            (Some(segment), Some(name)) if segment == name || (name.starts_with('{') && !segment.is_empty()) => {}
            _ => return false,
        }
    }
}

/// What may be answered where no operation is: no such route, no such method, and what is looked at before the route.
const NO_OPERATION: [u16; 5] = [400, 401, 404, 405, 429];

/// # Panics
/// If the document does not list the status for that method and path.
pub(crate) fn expect_documented(method: &str, path: &str, status: u16) {
    let of = |method: &str| DOCUMENTED.iter().find(|(named, template, _)| *named == method && is_of(path, template));
    // A route that is read with GET answers HEAD as well.
    let operation = of(method).or_else(|| of("GET").filter(|_| method == "HEAD"));
    match operation {
        Some((_, template, statuses)) => assert!(
            statuses.contains(&status),
            "{method} {template} answered {status}, which /openapi.json does not list for it ({statuses:?}): say it in its \
             #[utoipa::path], or in http/openapi.rs where it follows from the route"
        ),
        None => assert!(NO_OPERATION.contains(&status), "{method} {path} answered {status}, and is no operation of /openapi.json"),
    }
}

#[test]
fn an_answer_that_the_document_does_not_list_is_not_taken() {
    let taken =
        |method: &'static str, path: &'static str, status| std::panic::catch_unwind(|| expect_documented(method, path, status)).is_ok();
    let record = "/v1/tenants/acme/collections/crm/records/a/b%2f";
    for (method, path, status) in [
        ("PUT", record, 201),
        ("PUT", record, 410),
        ("GET", record, 416),
        ("HEAD", "/v1/tenants", 200),
        ("GET", "/v1/tenants/acme", 410),
        ("GET", "/v2", 404),
        ("PATCH", record, 405),
        ("GET", "/v1/tenants/acme/collections/crm/records/", 400),
    ] {
        assert!(taken(method, path, status), "{method} {path} {status}");
    }
    for (method, path, status) in [
        ("PUT", record, 200),
        ("PUT", record, 416),
        ("DELETE", record, 201),
        ("GET", "/v1/tenants", 410),
        ("GET", "/health/live", 503),
        ("GET", "/v2", 200),
        ("PATCH", record, 200),
    ] {
        assert!(!taken(method, path, status), "{method} {path} {status}");
    }
}

//! A client that tells apart what was answered, and what may or may not have been done.

use std::time::Duration;

use reqwest::{Method, header::HeaderMap};
use serde_json::Value;

#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

/// No answer: it is not known whether anything was done.
#[derive(Debug)]
pub(crate) struct Unknown;

/// A request to be sent.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) token: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(url: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_mins(2)).build().unwrap();
        Self { http, url: url.to_owned() }
    }

    /// Sends it; a broken connection or a body that is cut off is [`Unknown`].
    pub(crate) async fn send(&self, request: Request<'_>) -> Result<Answer, Unknown> {
        let mut builder = self.http.request(request.method, format!("{}{}", self.url, request.path));
        if !request.token.is_empty() {
            builder = builder.bearer_auth(request.token);
        }
        for (name, value) in request.headers {
            builder = builder.header(*name, *value);
        }
        let response = builder.body(request.body).send().await.map_err(|_| Unknown)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.map_err(|_| Unknown)?.to_vec();
        Ok(Answer { status, headers, bytes })
    }

    /// A GET.
    pub(crate) async fn get(&self, path: &str, token: &str) -> Result<Answer, Unknown> {
        self.send(Request { method: Method::GET, path, token, headers: &[], body: Vec::new() }).await
    }

    /// A request with a JSON body.
    pub(crate) async fn json(
        &self,
        method: Method,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Result<Answer, Unknown> {
        let headers = [headers, &[("content-type", "application/json")]].concat();
        self.send(Request { method, path, token, headers: &headers, body: body.to_string().into_bytes() }).await
    }
}

impl Answer {
    /// Null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Panics unless it has this status.
    pub(crate) fn expect(self, status: u16, what: &str) -> Self {
        assert_eq!(self.status, status, "{what}: {}", self.text());
        self
    }
}

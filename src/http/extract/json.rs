//! JSON bodies, strictly: one document, UTF-8, within a limit, of the documented shape, no field unknown or twice.

use std::fmt::Write as _;

use axum::body::Body;
use axum::extract::FromRequest;
use http::{HeaderMap, Request, header};
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::body;
use super::headers::once;
use super::share::Unread;
use crate::domain::limits::{self, Limit};
use crate::domain::list;
use crate::http::Api;
use crate::http::problem::{Code, Problem};

/// A body parsed as JSON, of at most [`limits::JSON_BODY_LEN`].
pub(in crate::http) struct Json<T>(pub(in crate::http) T);

impl<T: DeserializeOwned> FromRequest<Api> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, api: &Api) -> Result<Self, Problem> {
        let headers = request.headers().clone();
        let Ok(body) = Unread::from_request(request, api).await;
        read(&headers, body, api, limits::JSON_BODY_LEN).await.map(Self)
    }
}

/// Reads and parses a JSON body of at most `limit`.
pub(in crate::http) async fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Unread, api: &Api, limit: Limit) -> Result<T, Problem> {
    check_content_type(headers)?;
    let bytes = body::read_all(body, api.options().progress_timeout, limit).await?;
    parse(&bytes)
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let text = once(headers, &header::CONTENT_TYPE)?.unwrap_or_default();
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    let charset = parameters.trim();
    let utf8 = charset.is_empty() || charset.eq_ignore_ascii_case("charset=utf-8") || charset.eq_ignore_ascii_case("charset=\"utf-8\"");
    if essence.trim().eq_ignore_ascii_case("application/json") && utf8 { Ok(()) } else { Err(Problem::new(Code::UnsupportedMediaType)) }
}

/// Parses a JSON document; the refusal names the field and what is wrong with it, never what was sent.
pub(in crate::http) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // Serde would take an array for a structure, its fields in order.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(Problem::with(Code::InvalidBody, "`$`: expected an object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| describe(&error))?;
    deserializer.end().map_err(|_| Problem::with(Code::MalformedJson, "something follows the JSON document"))?;
    Ok(value)
}

fn describe(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let inner = error.inner();
    match inner.classify() {
        Category::Io | Category::Syntax | Category::Eof => {
            let at = format!("not JSON, or not UTF-8, at line {} column {}", inner.line(), inner.column());
            Problem::told(Code::MalformedJson, at)
        }
        Category::Data => {
            if let Some(limit) = list::limit_in(&inner.to_string()) {
                return Problem::over(path(error.path(), false).trim_start_matches("$."), limit);
            }
            let (complaint, unknown) = complaint(&inner.to_string());
            let path = path(error.path(), unknown);
            Problem::told(Code::InvalidBody, format!("`{path}`: {complaint}, at line {} column {}", inner.line(), inner.column()))
        }
    }
}

/// Serde's complaint without anything that was sent: it quotes values and unknown names, so only the parts made of our
/// own words are kept. Tells also whether the last step of the path is an unknown name.
fn complaint(message: &str) -> (String, bool) {
    let message = message.rsplit_once(" at line ").map_or(message, |(message, _)| message);
    let expected = message.rsplit_once(", expected ").map_or("", |(_, expected)| expected);
    if message.starts_with("missing field ") || message.starts_with("duplicate field ") {
        (message.to_owned(), false)
    } else if message.starts_with("unknown field ") {
        (format!("unknown field; expected {expected}"), true)
    } else if expected.is_empty() {
        ("not a valid value".to_owned(), false)
    } else {
        (format!("expected {expected}"), false)
    }
}

fn path(path: &serde_path_to_error::Path, without_last: bool) -> String {
    use serde_path_to_error::Segment;
    let keep = path.iter().len().saturating_sub(usize::from(without_last));
    let mut text = String::from("$");
    for segment in path.iter().take(keep) {
        match segment {
            Segment::Seq { index } => write!(text, "[{index}]"),
            Segment::Map { key } => write!(text, ".{key}"),
            Segment::Enum { .. } | Segment::Unknown => write!(text, ".?"),
        }
        .unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Outer {
        name: String,
        items: Vec<Inner>,
    }

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Inner {
        size: u32,
    }

    fn refused(text: &str) -> (Code, String) {
        let problem = parse::<Outer>(text.as_bytes()).unwrap_err();
        let json: serde_json::Value = serde_json::from_slice(&problem.to_json(crate::domain::RequestId([0; 16]))).unwrap();
        (problem.code(), json["detail"].as_str().unwrap().to_owned())
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for text in ["", "{", "nope", "{\"name\": }", "{\"name\":\"a\",\"items\":[]} x", "{\"name\":\"\u{0}\"}", "{'name':1}"] {
            assert_eq!(refused(text).0, Code::MalformedJson, "{text:?}");
        }
        // Well-formed, and out of the range of what is read.
        let (code, detail) = refused(r#"{"name":"a","items":[{"size":1e400}]}"#);
        assert!(code == Code::MalformedJson && detail.starts_with("not JSON, or not UTF-8, at line 1 column "), "{detail}");
        assert_eq!(parse::<Outer>(b"{\"name\":\"\xff\",\"items\":[]}").unwrap_err().code(), Code::MalformedJson);
    }

    #[test]
    fn wrong_shapes_are_named_with_their_place() {
        for (text, part) in [
            (r#"{"name":"a"}"#, "missing field `items`"),
            (r#"{"name":"a","name":"b","items":[]}"#, "duplicate field `name`"),
            (r#"{"name":"a","items":[{"size":1,"size":2}]}"#, "duplicate field `size`"),
            (r#"{"name":"a","items":[{"size":"x"}]}"#, "`$.items[0].size`: expected u32"),
            (r#"{"name":"a","items":[{"size":-1}]}"#, "`$.items[0].size`: expected u32"),
            (r#"{"name":"a","items":[{"size":4294967296}]}"#, "`$.items[0].size`: expected u32"),
            (r#"{"name":7,"items":[]}"#, "`$.name`: expected a string"),
            (r#"["a",[]]"#, "`$`: expected an object"),
            ("null", "`$`: expected struct Outer"),
        ] {
            let (code, detail) = refused(text);
            assert!(code == Code::InvalidBody && detail.contains(part), "{text}: {} {detail}", code.name());
        }
    }

    #[test]
    fn nothing_that_was_sent_is_repeated() {
        for text in [
            r#"{"canary@example.org":1}"#,
            r#"{"name":"a","items":"canary@example.org"}"#,
            r#"{"name":"a","items":"canary@example.org, expected canary@example.org"}"#,
            r#"{"name":"a","items":[{"canary@example.org":1}]}"#,
            r#"{"name":{"canary@example.org":1},"items":[]}"#,
        ] {
            let (_, detail) = refused(text);
            assert!(!detail.contains("canary"), "{detail}");
        }
    }
}

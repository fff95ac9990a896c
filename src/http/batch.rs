//! `POST /v1/tenants/{tenant}/batch`: up to 1,000 puts, deletes and checks, all or none.

use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Uri};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Api;
use super::caller::{Authenticated, no_query};
use super::extract::headers::{self, etag, version_of_tag};
use super::extract::json;
use super::extract::path::RawPath;
use super::extract::share::Unread;
use super::problem::{Code, Problem};
use super::records::key_in_body;
use crate::domain::{CollectionName, CustomPairs, SubjectId, Timestamp, limits, list, record};
use crate::vault::ops::{BatchOp, BatchResult, Precondition};

/// A batch.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchDocument {
    /// Parsed one by one, so that a refusal names its position.
    #[serde(deserialize_with = "ops")]
    #[schema(value_type = Vec<OpDocument>)]
    ops: Vec<Box<RawValue>>,
}

fn ops<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Box<RawValue>>, D::Error> {
    list::list(deserializer, limits::BATCH_OPS)
}

/// Each once, as in the header.
fn subjects<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    list::optional_set(deserializer, limits::SUBJECTS_PER_RECORD)
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Verb {
    /// Store a record.
    Put,
    /// Delete a record.
    Delete,
    /// Hold a record against `if_match` or `if_none_match`.
    Check,
}

/// One operation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OpDocument {
    op: Verb,
    collection: String,
    key: String,
    /// A text, stored as its UTF-8, or any other JSON value, stored as it is written.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    value: Option<Box<RawValue>>,
    /// Bytes, in base64.
    #[serde(default)]
    value_base64: Option<String>,
    #[serde(default)]
    content_type: Option<String>,
    #[serde(default, deserialize_with = "subjects")]
    subjects: Option<Vec<String>>,
    #[serde(default)]
    expires_at: Option<String>,
    /// Pairs, as `Lethe-Meta-*` gives them: at most 64, names in lower case. Parsed apart: their names are not ours to repeat.
    #[serde(default)]
    #[schema(value_type = Option<HashMap<String, String>>)]
    custom: Option<Box<RawValue>>,
    #[serde(default)]
    new_relationship: Option<bool>,
    /// An `etag`, or `*`.
    #[serde(default)]
    if_match: Option<String>,
    /// `*`
    #[serde(default)]
    if_none_match: Option<String>,
}

/// What the operations did, in their order.
#[derive(Serialize, ToSchema)]
pub(super) struct ResultsDocument {
    results: Vec<ResultDocument>,
}

/// What one operation did.
#[derive(Serialize, ToSchema)]
struct ResultDocument {
    op: &'static str,
    /// The status it would have had alone.
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
}

impl From<BatchResult> for ResultDocument {
    fn from(result: BatchResult) -> Self {
        match result {
            BatchResult::Put { version, created } => Self { op: "put", status: if created { 201 } else { 204 }, etag: Some(etag(version)) },
            BatchResult::Deleted => Self { op: "delete", status: 204, etag: None },
            BatchResult::Checked => Self { op: "check", status: 200, etag: None },
        }
    }
}

/// Do all of it, or nothing.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/batch", tag = "records", params(("tenant" = String, Path), ("Idempotency-Key" = Option<String>, Header),
        ("Lethe-Purpose" = Option<String>, Header)),
    request_body = BatchDocument,
    responses((status = 200, body = ResultsDocument), (status = 409), (status = 412), (status = 423)))]
pub(super) async fn batch(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
    body: Unread,
) -> Result<axum::Json<ResultsDocument>, Problem> {
    no_query(&uri)?;
    let tenant = RawPath::of(&uri).tenant()?;
    let idempotency_key = headers::idempotency_key(&head)?;
    let document: BatchDocument = json::read(&head, body, &api, limits::BATCH_BODY_LEN).await?;
    let ops = document.parse()?;
    let results = api.vault().batch(&caller, &tenant, ops, idempotency_key).await?;
    Ok(axum::Json(ResultsDocument { results: results.into_iter().map(ResultDocument::from).collect() }))
}

fn refused(detail: &'static str) -> Problem {
    Problem::with(Code::InvalidBody, detail)
}

impl BatchDocument {
    fn parse(self) -> Result<Vec<BatchOp>, Problem> {
        // Each text goes as soon as it is parsed: all of them beside all that was made of them would be the body twice more.
        let parse = |op: Box<RawValue>| json::parse::<OpDocument>(op.get().as_bytes())?.parse();
        self.ops.into_iter().enumerate().map(|(position, op)| parse(op).map_err(|problem| problem.in_op(position))).collect()
    }
}

impl OpDocument {
    fn parse(self) -> Result<BatchOp, Problem> {
        let collection = CollectionName::parse(&self.collection).map_err(|error| Problem::name("collection", error))?;
        let key = key_in_body("key", &self.key)?;
        let precondition = precondition(self.if_match.as_deref(), self.if_none_match.as_deref())?;
        if self.op == Verb::Put {
            let (value, default_type) = value(self.value.as_deref(), self.value_base64.as_deref())?;
            let content_type = self.content_type.unwrap_or_else(|| default_type.to_owned());
            if content_type.len() as u64 > limits::CONTENT_TYPE_LEN.max {
                return Err(Problem::over("content_type", limits::CONTENT_TYPE_LEN));
            }
            headers::check_content_type(&content_type).map_err(|_| refused("`content_type` must be a media type"))?;
            let expires_at = self.expires_at.map(|text| Timestamp::parse_rfc3339(&text).ok_or(())).transpose();
            return Ok(BatchOp::Put {
                collection,
                key,
                value,
                content_type,
                subjects: subject_ids(&self.subjects.unwrap_or_default())?,
                expires_at: expires_at.map_err(|()| refused("`expires_at` must be a time of RFC 3339"))?,
                custom: self.custom.as_deref().map(custom).transpose()?.unwrap_or_default(),
                precondition,
                new_relationship: self.new_relationship.unwrap_or(false),
            });
        }
        let only_of_puts = self.value.is_some()
            || self.value_base64.is_some()
            || self.content_type.is_some()
            || self.subjects.is_some()
            || self.expires_at.is_some()
            || self.custom.is_some()
            || self.new_relationship.is_some();
        if only_of_puts {
            return Err(refused("a `delete` or `check` takes `collection`, `key`, `if_match` and `if_none_match` only"));
        }
        match (self.op, precondition) {
            (Verb::Check, Precondition::None) => Err(refused("a `check` needs `if_match` or `if_none_match`")),
            (Verb::Check, precondition) => Ok(BatchOp::Check { collection, key, precondition }),
            (Verb::Delete | Verb::Put, precondition) => Ok(BatchOp::Delete { collection, key, precondition }),
        }
    }
}

fn subject_ids(texts: &[String]) -> Result<Vec<SubjectId>, Problem> {
    texts.iter().map(|text| SubjectId::parse(text).map_err(|error| Problem::name("subjects", error))).collect()
}

fn custom(json: &RawValue) -> Result<Vec<(String, String)>, Problem> {
    let CustomPairs(pairs) = serde_json::from_str(json.get()).map_err(|error| match list::limit_in(&error.to_string()) {
        Some(limit) => Problem::over("custom", limit),
        None => refused("`custom` must be an object of text to text, each name once"),
    })?;
    if !pairs.iter().all(|(name, _)| record::is_custom_name(name)) {
        return Err(refused("each name of `custom` must be one that a header can have, in lower case"));
    }
    Ok(pairs)
}

/// The value's bytes, and the content type it has if none is given.
fn value(value: Option<&RawValue>, base64: Option<&str>) -> Result<(Bytes, &'static str), Problem> {
    match (value.map(RawValue::get), base64) {
        (None, Some(base64)) => {
            let bytes = STANDARD.decode(base64).map_err(|_| refused("`value_base64` must be base64 with padding"))?;
            Ok((bytes.into(), "application/octet-stream"))
        }
        (Some(json), None) if json.starts_with('"') => {
            let text: String = serde_json::from_str(json).map_err(|_| refused("`value` must be JSON"))?;
            Ok((text.into(), "text/plain; charset=utf-8"))
        }
        (Some(json), None) => Ok((json.to_owned().into(), "application/json")),
        (None, None) | (Some(_), Some(_)) => Err(refused("a `put` needs either `value` or `value_base64`")),
    }
}

fn precondition(if_match: Option<&str>, if_none_match: Option<&str>) -> Result<Precondition, Problem> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Precondition::None),
        (Some("*"), None) => Ok(Precondition::Present),
        (None, Some("*")) => Ok(Precondition::Absent),
        // As lists and headers give it, in quotes, or without them.
        (Some(tag), None) => {
            let quoted = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            match (version_of_tag(quoted.unwrap_or(tag)), quoted) {
                (Some(version), _) => Ok(Precondition::Versions(vec![version])),
                // A tag, but none that this store made: no record has it.
                (None, Some(_)) => Ok(Precondition::Versions(Vec::new())),
                (None, None) => Err(Problem::new(Code::MalformedTag)),
            }
        }
        (None, Some(_)) => Err(refused("`if_none_match` must be `*`")),
        (Some(_), Some(_)) => Err(refused("`if_match` and `if_none_match` exclude each other")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Version;

    fn parse(text: &str) -> Result<Vec<BatchOp>, Problem> {
        json::parse::<BatchDocument>(text.as_bytes())?.parse()
    }

    fn one_value(fields: &str) -> (Bytes, String) {
        let ops = parse(&format!(r#"{{"ops":[{{"op":"put","collection":"c","key":"k",{fields}}}]}}"#)).unwrap();
        match ops.into_iter().next() {
            Some(BatchOp::Put { value, content_type, .. }) => (value, content_type),
            _ => panic!("not a put"),
        }
    }

    #[test]
    fn values_come_as_text_as_json_or_as_base64() {
        assert_eq!(one_value(r#""value":"caf\u00e9""#), ("café".into(), "text/plain; charset=utf-8".into()));
        assert_eq!(one_value(r#""value":{"b": 1.0,"a":[]}"#), (r#"{"b": 1.0,"a":[]}"#.into(), "application/json".into()));
        assert_eq!(one_value(r#""value_base64":"AP8=","content_type":"image/png""#), (Bytes::from_static(&[0, 255]), "image/png".into()));
    }

    #[test]
    fn conditions_are_tags_with_or_without_quotes() {
        let of = |fields: &str| parse(&format!(r#"{{"ops":[{{"op":"check","collection":"c","key":"a/b",{fields}}}]}}"#));
        for tag in [r#""\"000000000000000a\"""#, r#""000000000000000a""#] {
            let ops = of(&format!(r#""if_match":{tag}"#)).unwrap();
            assert!(matches!(&ops[..], [BatchOp::Check { precondition: Precondition::Versions(v), .. }] if *v == [Version(10)]), "{tag}");
        }
        assert!(matches!(&of(r#""if_match":"*""#).unwrap()[..], [BatchOp::Check { precondition: Precondition::Present, .. }]));
        assert!(matches!(&of(r#""if_none_match":"*""#).unwrap()[..], [BatchOp::Check { precondition: Precondition::Absent, .. }]));
    }

    #[test]
    fn subjects_are_each_once_and_pairs_in_their_order() {
        let names: Vec<String> = (0..16).map(|number| format!("\"{number}\"")).collect();
        let twice = format!("{},{}", names.join(","), names.join(","));
        let fields = format!(r#""op":"put","collection":"c","key":"k","value":"","subjects":[{twice}],"custom":{{"b":"é","a":""}}"#);
        let ops = parse(&format!(r#"{{"ops":[{{{fields}}}]}}"#)).unwrap();
        let [BatchOp::Put { subjects, custom, .. }] = &ops[..] else { panic!("not a put") };
        assert_eq!(subjects.len(), 16);
        assert_eq!(*custom, [("b".to_owned(), "é".to_owned()), ("a".to_owned(), String::new())]);
        let over = fields.replace("[\"0\"", "[\"x\",\"0\"");
        assert_eq!(parse(&format!(r#"{{"ops":[{{{over}}}]}}"#)).map(|_| ()).unwrap_err().code(), Code::LimitExceeded);
    }

    #[test]
    fn a_list_is_read_no_further_than_its_limit() {
        // What follows the first one too many is not read: it is no JSON.
        let over = |text: &str| {
            let problem = parse(text).map(|_| ()).unwrap_err();
            assert_eq!(problem.code(), Code::LimitExceeded, "{text:.60}");
            let json: serde_json::Value = serde_json::from_slice(&problem.to_json(crate::domain::RequestId([0; 16]))).unwrap();
            (json["limit"].as_str().unwrap().to_owned(), json["detail"].as_str().unwrap().to_owned())
        };
        let ops = format!("{{\"ops\":[{}?", "0,".repeat(1_001));
        assert_eq!(over(&ops), ("batch_ops".into(), "`ops` is over the limit `batch_ops` of 1000 operations".into()));
        assert_eq!(parse(&ops.replacen("0,", "", 1)).map(|_| ()).unwrap_err().code(), Code::MalformedJson, "so many are read");
        let subjects: Vec<String> = (0..100_000).map(|number| format!("\"{number}\"")).collect();
        let op = format!("{{\"op\":\"put\",\"subjects\":[{}]}}", subjects.join(","));
        let told = "`subjects` is over the limit `subjects_per_record` of 16 subjects";
        assert_eq!(over(&format!("{{\"ops\":[{op}]}}")), ("subjects_per_record".into(), told.into()));
    }

    #[test]
    fn an_array_is_no_operation() {
        assert_eq!(parse(r#"{"ops":[["delete","c","k"]]}"#).map(|_| ()).unwrap_err().code(), Code::InvalidBody);
    }

    #[test]
    fn operations_of_the_wrong_shape_are_refused() {
        for (op, code) in [
            (r#""op":"put","collection":"c","key":"k""#, Code::InvalidBody),
            (r#""op":"put","collection":"c","key":"k","value":"a","value_base64":"AA==""#, Code::InvalidBody),
            (r#""op":"put","collection":"c","key":"k","value_base64":"AA""#, Code::InvalidBody),
            (r#""op":"put","collection":"c","key":"k","value":"a","content_type":"no""#, Code::InvalidBody),
            (r#""op":"put","collection":"c","key":"k","value":"a","expires_at":"no""#, Code::InvalidBody),
            (r#""op":"put","collection":"c","key":"k","value":"a","if_match":"*","if_none_match":"*""#, Code::InvalidBody),
            (r#""op":"check","collection":"c","key":"k","if_match":"zzz""#, Code::MalformedTag),
            (r#""op":"delete","collection":"c","key":"k","if_match":"""#, Code::MalformedTag),
            (r#""op":"put","collection":"C","key":"k","value":"a""#, Code::MalformedName),
            (r#""op":"put","collection":"c","key":"k/../l","value":"a""#, Code::MalformedName),
            (r#""op":"put","collection":"c","key":"k","value":"a","subjects":[""]"#, Code::MalformedName),
            (r#""op":"put","collection":"c","key":"k","value":"a","surprise":1"#, Code::InvalidBody),
            (r#""op":"put","collection":"c","key":"k","value":"a","custom":[]"#, Code::InvalidBody),
            (r#""op":"put","collection":"c","key":"k","value":"a","custom":{"a":1}"#, Code::InvalidBody),
            (r#""op":"put","collection":"c","key":"k","value":"a","custom":{"a":"1","a":"1"}"#, Code::InvalidBody),
            (r#""op":"put","collection":"c","key":"k","value":"a","custom":{"":"1"}"#, Code::InvalidBody),
            (r#""op":"put","collection":"c","key":"k","value":"a","custom":{"A":"1"}"#, Code::InvalidBody),
            (r#""op":"put","collection":"c","key":"k","value":"a","custom":{"a b":"1"}"#, Code::InvalidBody),
            (r#""op":"delete","collection":"c","key":"k","custom":{"a":"1"}"#, Code::InvalidBody),
            (r#""op":"put","collection":"c","key":"k","value":"a","value":"b""#, Code::InvalidBody),
            (r#""op":"delete","collection":"c","key":"k","value":"a""#, Code::InvalidBody),
            (r#""op":"check","collection":"c","key":"k""#, Code::InvalidBody),
            (r#""op":"read","collection":"c","key":"k""#, Code::InvalidBody),
            (r#""op":"delete","collection":["c"],"key":"k""#, Code::InvalidBody),
        ] {
            let refused = parse(&format!(r#"{{"ops":[{{{op}}}]}}"#)).map(|_| ()).unwrap_err();
            assert_eq!(refused.code(), code, "{op}");
        }
    }
}

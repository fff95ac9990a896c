//! `/v1/tenants/{tenant}/collections/{collection}/records/{key...}`: one record, raw bytes both ways.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};

use super::Api;
use super::caller::{Authenticated, no_query};
use super::extract::body::{self, BodyFailure};
use super::extract::headers::{self, Condition};
use super::extract::path::RawPath;
use super::problem::{Code, Problem};
use crate::domain::limits::{self, Limit};
use crate::domain::{RecordKey, RecordMeta, SubjectId};
use crate::vault::ops::{BodyError, GetRecord, Got, Precondition, PutRecord, RangeSpec, Value};

/// Store a record.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/collections/{collection}/records/{key}", tag = "records",
    params(("tenant" = String, Path), ("collection" = String, Path), ("key" = String, Path, description = "Segments separated by `/`"),
        ("Content-Type" = Option<String>, Header), ("Lethe-Subject" = Option<String>, Header, description = "Comma-separated, percent-encoded UTF-8"),
        ("Lethe-Expires-At" = Option<String>, Header, description = "RFC 3339"), ("Lethe-Purpose" = Option<String>, Header),
        ("Lethe-New-Relationship" = Option<bool>, Header),
        ("Lethe-Meta-{name}" = Option<String>, Header, description = "A custom pair, percent-encoded UTF-8; at most 64"), ("Idempotency-Key" = Option<String>, Header),
        ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header, description = "`*`")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, description = "Created"), (status = 204, description = "Replaced"), (status = 412), (status = 413), (status = 423)))]
pub(super) async fn put(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    no_query(&uri)?;
    let path = RawPath::of(&uri);
    let (tenant, collection, key) = (path.tenant()?, path.collection()?, path.key()?);
    let length = http_body::Body::size_hint(&body).exact();
    let limit = Limit { max: api.options().value_len_bytes, ..limits::VALUE_LEN };
    if length.is_some_and(|length| length > limit.max) {
        return Err(Problem::limit(limit));
    }
    let value = body::watched(body, api.options().progress_timeout, limit).map(|chunk| chunk.map_err(body_error));
    let put = PutRecord {
        content_type: headers::content_type(&head)?,
        subjects: headers::subjects(&head)?,
        expires_at: headers::expires_at(&head)?,
        custom: headers::custom(&head)?,
        precondition: precondition(headers::condition(&head)?),
        new_relationship: headers::new_relationship(&head)?,
        idempotency_key: headers::idempotency_key(&head)?,
        length,
        body: Box::pin(value),
    };
    let put = api.vault().put_record(&caller, &tenant, &collection, key, put).await?;
    let status = if put.created { StatusCode::CREATED } else { StatusCode::NO_CONTENT };
    Ok((status, [(header::ETAG, headers::etag(put.version))]).into_response())
}

/// Read a record.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/collections/{collection}/records/{key}", tag = "records",
    params(("tenant" = String, Path), ("collection" = String, Path), ("key" = String, Path), ("Range" = Option<String>, Header),
        ("If-Range" = Option<String>, Header), ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header),
        ("Lethe-Purpose" = Option<String>, Header)),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>), (status = 206),
        (status = 304, description = "As `If-None-Match` has it already"), (status = 412), (status = 416)))]
pub(super) async fn get(Authenticated(caller): Authenticated, State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let (uri, head) = (request.uri(), request.headers());
    no_query(uri)?;
    let path = RawPath::of(uri);
    let (range, range_of) = match headers::range(head)? {
        None => (None, None),
        Some((headers::Range::From(first, Some(last)), of)) => (Some(RangeSpec::FromTo(first, last)), of),
        Some((headers::Range::From(first, None), of)) => (Some(RangeSpec::From(first)), of),
        Some((headers::Range::Last(count), of)) => (Some(RangeSpec::Last(count)), of),
    };
    let get = GetRecord { head_only: false, range, range_of, precondition: precondition(headers::read_condition(head)?) };
    let got = api.vault().get_record(&caller, &path.tenant()?, &path.collection()?, &path.key()?, get).await?;
    Ok(answer(got, false))
}

/// Read a record's metadata.
#[utoipa::path(head, path = "/v1/tenants/{tenant}/collections/{collection}/records/{key}", tag = "records",
    params(("tenant" = String, Path), ("collection" = String, Path), ("key" = String, Path), ("If-Match" = Option<String>, Header),
        ("If-None-Match" = Option<String>, Header), ("Lethe-Purpose" = Option<String>, Header)),
    responses((status = 200), (status = 304, description = "As `If-None-Match` has it already"), (status = 412)))]
pub(super) async fn head(Authenticated(caller): Authenticated, State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let (uri, head) = (request.uri(), request.headers());
    no_query(uri)?;
    let path = RawPath::of(uri);
    let get = GetRecord { head_only: true, precondition: precondition(headers::read_condition(head)?), ..GetRecord::default() };
    let got = api.vault().get_record(&caller, &path.tenant()?, &path.collection()?, &path.key()?, get).await?;
    Ok(answer(got, true))
}

/// Delete a record.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/collections/{collection}/records/{key}", tag = "records",
    params(("tenant" = String, Path), ("collection" = String, Path), ("key" = String, Path), ("If-Match" = Option<String>, Header),
        ("Lethe-Purpose" = Option<String>, Header), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204), (status = 409), (status = 412), (status = 423)))]
pub(super) async fn delete(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
) -> Result<StatusCode, Problem> {
    no_query(&uri)?;
    let path = RawPath::of(&uri);
    let condition = headers::condition(&head)?;
    if condition == Condition::NoneMatchAny {
        return Err(Problem::with(Code::MalformedHeader, "`if-none-match` makes no sense for a delete"));
    }
    let (tenant, collection, key) = (path.tenant()?, path.collection()?, path.key()?);
    let idempotency_key = headers::idempotency_key(&head)?;
    api.vault().delete_record(&caller, &tenant, &collection, key, precondition(condition), idempotency_key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The empty key: no name.
pub(super) async fn without_key(Authenticated(_): Authenticated, uri: Uri) -> Problem {
    match RawPath::of(&uri).key() {
        Ok(_) => Problem::new(Code::MalformedName),
        Err(problem) => problem,
    }
}

pub(super) fn precondition(condition: Condition) -> Precondition {
    match condition {
        Condition::None => Precondition::None,
        Condition::Match(versions) => Precondition::Versions(versions),
        Condition::MatchAny => Precondition::Present,
        Condition::NoneMatch(versions) => Precondition::NotVersions(versions),
        Condition::NoneMatchAny => Precondition::Absent,
    }
}

pub(super) fn body_error(failure: BodyFailure) -> BodyError {
    match failure {
        BodyFailure::Broken => BodyError::Aborted,
        BodyFailure::Stalled => BodyError::Stalled,
        BodyFailure::TooLong(limit) => BodyError::TooLong(limit),
    }
}

fn answer(got: Got, head_only: bool) -> Response {
    let Got { meta, version, range, value } = got;
    let etag = HeaderValue::from_str(&headers::etag(version)).ok().map(|etag| (header::ETAG, etag));
    let mut response = match value {
        Value::Unchanged => {
            let mut response = StatusCode::NOT_MODIFIED.into_response();
            response.headers_mut().extend(etag);
            return response;
        }
        Value::Whole(bytes) => Body::from(bytes).into_response(),
        // A failure in the middle ends the connection before the announced length: the client sees a truncated answer.
        Value::Stream(stream) => Body::from_stream(stream).into_response(),
    };
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    let len = match &range {
        Some(range) => range.end.saturating_sub(range.start),
        None => meta.value_len,
    };
    let head = response.headers_mut();
    put_metadata(head, &meta);
    head.extend(etag);
    head.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    head.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    if let Some(range) = range {
        let line = format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), meta.value_len);
        head.extend(HeaderValue::from_str(&line).ok().map(|line| (header::CONTENT_RANGE, line)));
    }
    if head_only {
        *response.body_mut() = Body::empty();
    }
    response
}

fn put_metadata(head: &mut HeaderMap, meta: &RecordMeta) {
    let content_type = HeaderValue::from_str(&meta.content_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    head.insert(header::CONTENT_TYPE, content_type);
    let texts = [
        (&headers::LETHE_CREATED_AT, Some(meta.created_at)),
        (&headers::LETHE_MODIFIED_AT, Some(meta.modified_at)),
        (&headers::LETHE_EXPIRES_AT, meta.expires_at),
    ];
    for (name, time) in texts {
        let value = time.and_then(|time| HeaderValue::from_str(&time.to_rfc3339()).ok());
        head.extend(value.map(|value| (name.clone(), value)));
    }
    let subjects = headers::encoded_list(meta.subjects.iter().map(SubjectId::as_str));
    head.extend(subjects.map(|subjects| (headers::LETHE_SUBJECT.clone(), subjects)));
    for (name, text) in &meta.custom {
        let name = HeaderName::from_bytes(format!("{}{name}", headers::LETHE_META).as_bytes()).ok();
        let value = headers::encoded_list(std::iter::once(text.as_str())).or_else(|| HeaderValue::from_str("").ok());
        head.extend(name.zip(value));
    }
}

/// The key of a record in a JSON body.
pub(super) fn key_in_body(field: &str, text: &str) -> Result<RecordKey, Problem> {
    RecordKey::parse(text).map_err(|error| Problem::name(field, error))
}

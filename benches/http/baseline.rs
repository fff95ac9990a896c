//! What Lethe is compared with: the same door (`lethe::http::door`: hyper, its limits and timers), the same router, the
//! same shapes and header lines, over a [`Shelf`]. No seal, no access control, no audit, no metrics, no log.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Query, State},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, StatusCode, Uri, header};
use lethe::http::{
    door::{Door, DoorOptions},
    tasks::Tasks,
};
use serde::{Deserialize, Serialize};

use crate::shelf::{Row, Shelf};

/// As the store's own: longer values lie in rows of this size, four in one commit that is not synced.
const INLINE_LEN: usize = 65_536;
const ROW_LEN: usize = 65_536;
const ROWS_PER_COMMIT: usize = 4;
/// A record's row begins with one of these.
const INLINE: u8 = 0;
const MANIFEST: u8 = 1;

/// Serves until it is killed; prints one line like `lethe serve`.
pub(crate) async fn serve(shelf: Shelf) {
    let records = "/v1/tenants/{tenant}/collections/{collection}/records";
    let router = Router::new()
        .route("/v1/tenants/{tenant}/collections/{collection}", put(policy).get(policy))
        .route(&format!("{records}/{{*key}}"), put(put_record).get(get_record))
        .route(records, get(list))
        .route("/v1/tenants/{tenant}/batch", post(batch))
        .with_state(Arc::new(shelf));
    let address = "127.0.0.1:0".parse().expect("an address");
    let door = Door::bind(address, None, DoorOptions::default()).await.expect("a free port");
    crate::say(&format!("listening on {}", door.url()));
    door.serve(router, Tasks::default()).await;
}

async fn policy() -> &'static str {
    "{}"
}

/// The header lines that every answer of Lethe has.
fn with_lines(mut response: Response) -> Response {
    let head = response.headers_mut();
    for (name, value) in [
        ("x-request-id", "000102030405060708090a0b0c0d0e0f"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; sandbox"),
    ] {
        head.insert(name, http::HeaderValue::from_static(value));
    }
    response
}

/// The header lines of a record.
fn record(body: Body, len: usize) -> Response {
    let lines = [
        ("content-type", "application/octet-stream"),
        ("lethe-created-at", "2026-01-01T00:00:00.000Z"),
        ("lethe-modified-at", "2026-01-01T00:00:00.000Z"),
        ("lethe-subject", "s0123456789abcdef"),
        ("etag", "\"0123456789abcdef\""),
        ("accept-ranges", "bytes"),
    ];
    with_lines((lines, [(header::CONTENT_LENGTH, len)], body).into_response())
}

async fn get_record(State(shelf): State<Arc<Shelf>>, uri: Uri) -> Response {
    match shelf.get(uri.path(), false).await {
        None => with_lines(StatusCode::NOT_FOUND.into_response()),
        Some(row) if row.first() == Some(&MANIFEST) => {
            let (number, len) = manifest(&row);
            let rows = (0..len.div_ceil(ROW_LEN)).collect::<Vec<_>>();
            let body = stream::iter(rows).then(move |at| {
                let shelf = Arc::clone(&shelf);
                async move { shelf.get(&row_key(number, at), true).await.ok_or_else(|| std::io::Error::other("a row is missing")) }
            });
            record(Body::from_stream(body), len)
        }
        Some(row) => {
            let value = row.slice(1..);
            let len = value.len();
            record(Body::from(value), len)
        }
    }
}

/// With `if-none-match: *` it looks whether the record is there; without, it need not know, and says 204.
async fn put_record(State(shelf): State<Arc<Shelf>>, uri: Uri, head: HeaderMap, body: Body) -> Response {
    let is_new = head.contains_key(header::IF_NONE_MATCH);
    if is_new && shelf.get(uri.path(), false).await.is_some() {
        return with_lines(StatusCode::PRECONDITION_FAILED.into_response());
    }
    let len = head.get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<usize>().ok());
    let row = if len.is_some_and(|len| len <= INLINE_LEN) {
        let Ok(value) = axum::body::to_bytes(body, INLINE_LEN).await else { return StatusCode::BAD_REQUEST.into_response() };
        inline(&value)
    } else {
        let Some(row) = receive(&shelf, body).await else { return StatusCode::BAD_REQUEST.into_response() };
        row
    };
    if !shelf.put(vec![(uri.path().to_owned(), row)], true).await {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let status = if is_new { StatusCode::CREATED } else { StatusCode::NO_CONTENT };
    with_lines((status, [(header::ETAG, "\"0123456789abcdef\"")]).into_response())
}

fn inline(value: &[u8]) -> Bytes {
    let mut row = BytesMut::with_capacity(value.len().saturating_add(1));
    row.extend_from_slice(&[INLINE]);
    row.extend_from_slice(value);
    row.freeze()
}

/// Stores a long value row by row; gives the record's own row.
async fn receive(shelf: &Shelf, body: Body) -> Option<Bytes> {
    static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let (mut pending, mut waiting, mut at, mut len) = (BytesMut::new(), Vec::<Row>::new(), 0, 0_usize);
    let mut body = body.into_data_stream();
    loop {
        let piece = body.next().await.transpose().ok()?;
        let ended = piece.is_none();
        pending.extend_from_slice(&piece.unwrap_or_default());
        while pending.len() >= ROW_LEN || (ended && !pending.is_empty()) {
            let row = pending.split_to(pending.len().min(ROW_LEN)).freeze();
            len = len.saturating_add(row.len());
            waiting.push((row_key(number, at), row));
            at = at.saturating_add(1);
            if waiting.len() >= ROWS_PER_COMMIT && !shelf.put(std::mem::take(&mut waiting), false).await {
                return None;
            }
        }
        if ended {
            break;
        }
    }
    if !waiting.is_empty() && !shelf.put(waiting, false).await {
        return None;
    }
    let mut row = vec![MANIFEST];
    row.extend_from_slice(&number.to_be_bytes());
    row.extend_from_slice(&(len as u64).to_be_bytes());
    Some(row.into())
}

fn manifest(row: &[u8]) -> (u64, usize) {
    let number = |part: Option<&[u8]>| part.and_then(|part| part.try_into().ok()).map_or(0, u64::from_be_bytes);
    (number(row.get(1..9)), usize::try_from(number(row.get(9..17))).unwrap_or(0))
}

fn row_key(number: u64, at: usize) -> String {
    format!("rows/{number:016x}/{at:08x}")
}

#[derive(Serialize)]
struct Page {
    data: Vec<Item>,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct Item {
    key: String,
    etag: &'static str,
    content_type: &'static str,
    size: usize,
    created_at: &'static str,
    modified_at: &'static str,
    expires_at: Option<String>,
    subjects: Vec<String>,
}

async fn list(State(shelf): State<Arc<Shelf>>, uri: Uri, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let limit = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(100);
    let start = format!("{}/", uri.path());
    let prefix = format!("{start}{}/", query.get("prefix").map(String::as_str).unwrap_or_default());
    let item = |(key, value): Row| Item {
        subjects: vec![key.clone()],
        key: key.strip_prefix(&start).unwrap_or_default().to_owned(),
        etag: "\"0123456789abcdef\"",
        content_type: "application/octet-stream",
        size: value.len().saturating_sub(1),
        created_at: "2026-01-01T00:00:00.000Z",
        modified_at: "2026-01-01T00:00:00.000Z",
        expires_at: None,
    };
    let data = shelf.list(&prefix, limit).into_iter().map(item).collect();
    with_lines(axum::Json(Page { data, next_cursor: None }).into_response())
}

#[derive(Deserialize)]
struct Batch {
    ops: Vec<Op>,
}

#[derive(Deserialize)]
struct Op {
    collection: String,
    key: String,
    value: Option<String>,
    value_base64: Option<String>,
}

async fn batch(State(shelf): State<Arc<Shelf>>, uri: Uri, body: Body) -> Response {
    let Ok(body) = axum::body::to_bytes(body, 64 * 1024 * 1024).await else { return StatusCode::BAD_REQUEST.into_response() };
    let Ok(batch) = serde_json::from_slice::<Batch>(&body) else { return StatusCode::BAD_REQUEST.into_response() };
    let tenant = uri.path().strip_suffix("/batch").unwrap_or_default();
    let row = |op: Op| {
        let value = match (op.value, op.value_base64) {
            (Some(text), _) => text.into_bytes(),
            (None, base64) => STANDARD.decode(base64.unwrap_or_default()).unwrap_or_default(),
        };
        (format!("{tenant}/collections/{}/records/{}", op.collection, op.key), inline(&value))
    };
    let rows: Vec<Row> = batch.ops.into_iter().map(row).collect();
    let results =
        rows.iter().map(|_| serde_json::json!({ "op": "put", "status": 201, "etag": "\"0123456789abcdef\"" })).collect::<Vec<_>>();
    if !shelf.put(rows, true).await {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    with_lines(axum::Json(serde_json::json!({ "results": results })).into_response())
}

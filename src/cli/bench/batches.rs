//! Many records in one request: the load phase, and the import workload.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::try_join_all;
use http::{HeaderValue, Method, header};
use indicatif::ProgressBar;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use serde::Serialize;

use super::{
    super::{connection::pause, failure::Failure},
    drive::failure,
    records::Records,
    tally::{Op, Step},
    values::Value,
    wire::{Load, Target, Trouble, Wire},
};
use crate::domain::{Clock as _, SystemClock, limits};

/// A batch's body stays below this.
const BODY_LEN_MAX: u64 = 8 * 1024 * 1024;
/// Connections of the load phase.
const LOADERS: usize = 8;
/// How often a batch is sent when the server is busy.
const TRIES: u32 = 50;

/// How the values of a batch are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Bytes, in base64.
    Bytes,
    /// JSON text.
    Json,
}

/// Puts the records `first..end` in one request.
pub(crate) async fn put(
    wire: &mut Wire,
    head: http::request::Builder,
    records: &Records,
    values: &[Value],
    first: u64,
    shape: Shape,
) -> Result<(), Trouble> {
    let body = body(records, values, first, shape).map_err(|_| Trouble::Wrong("malformed-request"))?;
    let head = head.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    wire.send(head, Load::Whole(body.into())).await?.done().await
}

#[derive(Serialize)]
struct PutOp<'a> {
    op: &'static str,
    collection: &'a str,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    content_type: &'static str,
    subjects: [String; 1],
}

/// What else an operation says beside its value, in bytes, and more.
const AROUND_LEN: usize = 256;

/// The request's body, written operation by operation: a document of it first would cost as much as the server's own reading.
fn body(records: &Records, values: &[Value], first: u64, shape: Shape) -> serde_json::Result<Vec<u8>> {
    let each = usize::try_from(records.value_len).unwrap_or(usize::MAX).saturating_mul(3) / 2;
    let mut body = Vec::with_capacity(each.saturating_add(AROUND_LEN).saturating_mul(values.len()));
    body.extend_from_slice(b"{\"ops\":[");
    for (number, value) in (first..).zip(values) {
        if number > first {
            body.push(b',');
        }
        let (value, value_base64, content_type) = match shape {
            Shape::Bytes => (None, Some(STANDARD.encode(value.bytes())), "application/octet-stream"),
            Shape::Json => (Some(value.json()), None, "application/json"),
        };
        let subjects = [records.subject(number)];
        let op =
            PutOp { op: "put", collection: &records.collection, key: records.key(number), value, value_base64, content_type, subjects };
        serde_json::to_writer(&mut body, &op)?;
    }
    body.extend_from_slice(b"]}");
    Ok(body)
}

/// Stores the records `0..count`; gives the time it took.
pub(crate) async fn load(target: &Arc<Target>, records: &Records, count: u64, bar: &ProgressBar) -> Result<Duration, Failure> {
    let started = SystemClock.monotonic();
    let next = AtomicU64::new(0);
    let loaders = (0..LOADERS).map(|loader| loader_of(target, records, count, &next, loader as u64, bar));
    try_join_all(loaders).await?;
    bar.finish_and_clear();
    Ok(SystemClock.monotonic().saturating_sub(started))
}

async fn loader_of(
    target: &Arc<Target>,
    records: &Records,
    count: u64,
    next: &AtomicU64,
    loader: u64,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let Some(mut wire) = Wire::open(target, 1).await.map_err(failure)?.into_iter().next() else { return Ok(()) };
    let mut rng = SmallRng::seed_from_u64(records.seed.wrapping_sub(loader).wrapping_sub(1));
    let batch_len = batch_len(records.value_len);
    loop {
        let first = next.fetch_add(batch_len, Ordering::Relaxed);
        if first >= count {
            return Ok(());
        }
        let end = first.saturating_add(batch_len).min(count);
        let values: Vec<Value> = (first..end).map(|number| records.value(&mut rng, number)).collect();
        let mut tries = 0_u32;
        while let Err(trouble) = store(&mut wire, records, first, &values).await {
            tries = tries.saturating_add(1);
            let busy = matches!(&trouble, Trouble::Refused(problem) if matches!(problem.status, 429 | 503));
            if !busy || tries >= TRIES {
                return Err(failure(trouble));
            }
            pause(Duration::from_millis(100)).await;
        }
        bar.inc(end.saturating_sub(first));
    }
}

async fn store(wire: &mut Wire, records: &Records, first: u64, values: &[Value]) -> Result<(), Trouble> {
    match values {
        [one] => records.write(wire, first, *one).await.map(drop),
        several => {
            let head = wire.head(Method::POST, &format!("{}/batch", records.tenant_path));
            put(wire, head, records, several, first, Shape::Bytes).await
        }
    }
}

/// How many records of a length go into one request; those that are too long for a batch go alone.
fn batch_len(value_len: u64) -> u64 {
    if value_len > limits::INLINE_VALUE_LEN.max {
        return 1;
    }
    let each = value_len.saturating_mul(4).saturating_div(3).saturating_add(200);
    BODY_LEN_MAX.checked_div(each).unwrap_or(1).clamp(1, 500)
}

/// One connection's work on an import.
#[derive(Clone)]
pub(crate) struct Import {
    pub(crate) records: Arc<Records>,
    /// How many there are to import.
    pub(crate) count: u64,
    pub(crate) batch_len: u64,
    pub(crate) next: Arc<AtomicU64>,
    pub(crate) bar: ProgressBar,
}

impl Import {
    /// The next batch; nothing once all are on their way.
    pub(crate) async fn step(&self, wire: &mut Wire, rng: &mut SmallRng) -> Option<Step> {
        let first = self.next.fetch_add(self.batch_len, Ordering::Relaxed);
        if first >= self.count {
            return None;
        }
        let end = first.saturating_add(self.batch_len).min(self.count);
        let values: Vec<Value> =
            (first..end).map(|number| Value::new(self.records.seed, number, rng.random(), self.records.value_len)).collect();
        let head = wire.head(Method::POST, &format!("{}/batch", self.records.tenant_path));
        let begun = SystemClock.monotonic();
        let result = put(wire, head, &self.records, &values, first, Shape::Json).await;
        let ended = SystemClock.monotonic();
        let items = end.saturating_sub(first);
        self.bar.inc(items);
        Some(Step { op: Op::ImportBatch, begun, ended, items, bytes: items.saturating_mul(self.records.value_len), result })
    }

    /// Reads some of what was imported back, spread over all of it.
    pub(crate) async fn verify(&self, wire: &mut Wire) -> Vec<Trouble> {
        let stored = self.next.load(Ordering::Relaxed).min(self.count);
        let stride = usize::try_from(stored / 100).unwrap_or(usize::MAX).max(1);
        let mut troubles = Vec::new();
        for number in (0..stored).step_by(stride) {
            match self.read(wire, number).await {
                Ok(true) => {}
                Ok(false) => troubles.push(Trouble::Wrong("wrong-bytes")),
                Err(trouble) => troubles.push(trouble),
            }
        }
        troubles
    }

    async fn read(&self, wire: &mut Wire, number: u64) -> Result<bool, Trouble> {
        let answer = wire.send(wire.head(Method::GET, &self.records.path(number)), Load::Empty).await?;
        let bytes = answer.bytes().await?;
        Ok(bytes.len() as u64 == self.records.value_len && Value::is_json(self.records.seed, number, &bytes))
    }
}

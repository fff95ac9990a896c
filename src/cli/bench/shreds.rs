//! The shred workloads. Each operation makes its own victim first, which is not measured; then it counts from the order
//! to the certificate, and afterwards a read must be refused.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Method, StatusCode, header};
use rand::rngs::SmallRng;
use serde_json::{Value as Json, json};
use tokio::sync::Barrier;

use super::{
    super::connection::pause,
    batches::{self, Shape},
    records::Records,
    tally::{Op, Step},
    values::Value,
    wire::{Load, Trouble, Wire},
};
use crate::domain::{Clock as _, SystemClock};

/// How often a connection that rests shows that it is there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// Records in one request while a victim is made.
const BATCH_LEN: u64 = 500;

/// One connection's work on shreds of subjects.
#[derive(Clone)]
pub(crate) struct Subjects {
    /// Records of victims: a group for each.
    pub(crate) records: Arc<Records>,
    pub(crate) next: Arc<AtomicU64>,
    /// Records of each victim.
    pub(crate) group_len: u64,
    /// Victims of each order.
    pub(crate) per_order: u64,
    /// Where all connections meet before they order and behind their answers, if they are to order at the same moment.
    pub(crate) together: Option<Arc<Barrier>>,
    /// The epochs that the orders went with.
    pub(crate) epochs: Arc<Mutex<BTreeSet<u64>>>,
}

impl Subjects {
    pub(crate) async fn step(&self, wire: &mut Wire, rng: &mut SmallRng) -> Step {
        let count = self.group_len.saturating_mul(self.per_order);
        let first = self.next.fetch_add(1, Ordering::Relaxed).saturating_mul(count);
        let token = wire.target.token.clone();
        let filled = fill(wire, &self.records, &token, first, count, rng).await;
        meet(self.together.as_deref()).await;
        if let Err(trouble) = filled {
            meet(self.together.as_deref()).await;
            return failed(Op::ShredSubject, trouble);
        }
        let victims = (0..self.per_order).map(|victim| first.saturating_add(victim.saturating_mul(self.group_len)));
        let subjects: Vec<String> = victims.map(|number| self.records.subject(number)).collect();
        let order = json!({ "scope": "subject", "subjects": subjects });
        let order = (&order, self.together.as_deref());
        let step = shred(wire, Op::ShredSubject, &self.records, &token, (first, count), order, |answer| self.count_epochs(answer)).await;
        Step { items: self.per_order, ..step }
    }

    fn count_epochs(&self, answer: &Json) {
        let epochs = answer.get("epochs").and_then(Json::as_array).into_iter().flatten();
        let new = epochs.filter_map(|epoch| epoch.get("new").and_then(Json::as_u64));
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner).extend(new);
    }
}

/// One connection's work on shreds of tenants.
#[derive(Clone)]
pub(crate) struct Tenants {
    pub(crate) next: Arc<AtomicU64>,
    /// Records of each victim.
    pub(crate) count: u64,
    pub(crate) seed: u64,
    pub(crate) value_len: u64,
    /// Between a victim's load and its order.
    pub(crate) rest: Duration,
    /// What sets this run's tenants apart from those of earlier runs.
    pub(crate) run: String,
}

impl Tenants {
    pub(crate) async fn step(&self, wire: &mut Wire, rng: &mut SmallRng) -> Step {
        let tenant = format!("bench-{}-{}", self.run, self.next.fetch_add(1, Ordering::Relaxed));
        match self.make(wire, rng, &tenant).await {
            Ok((records, token)) => {
                if let Err(trouble) = rest(wire, &records, &token, self.rest).await {
                    return failed(Op::ShredTenant, trouble);
                }
                let order = json!({ "scope": "tenant", "confirm": tenant });
                shred(wire, Op::ShredTenant, &records, &token, (0, self.count), (&order, None), |_| ()).await
            }
            Err(trouble) => failed(Op::ShredTenant, trouble),
        }
    }

    /// A tenant with a collection and its records, and its owner's token.
    async fn make(&self, wire: &mut Wire, rng: &mut SmallRng, tenant: &str) -> Result<(Records, HeaderValue), Trouble> {
        let records = Records {
            tenant_path: format!("/v1/tenants/{tenant}"),
            collection: "bench".into(),
            seed: self.seed,
            value_len: self.value_len,
            value_dist: super::choose::LenDist::Fixed,
            group_len: None,
            by_group: false,
            run: String::new(),
            run_from: 0,
        };
        let operator = wire.target.token.clone();
        let made = document(wire, Method::POST, "/v1/tenants", &operator, &json!({ "tenant": tenant })).await?;
        let token = made.get("token").and_then(Json::as_str).and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
        let mut token = token.ok_or(Trouble::Wrong("tenant-without-token"))?;
        token.set_sensitive(true);
        let collection = format!("{}/collections/{}", records.tenant_path, records.collection);
        document(wire, Method::PUT, &collection, &token, &json!({ "shred_unit": "subject" })).await?;
        fill(wire, &records, &token, 0, self.count, rng).await?;
        Ok((records, token))
    }
}

/// Stores `count` records from number `first` on.
async fn fill(wire: &mut Wire, records: &Records, token: &HeaderValue, first: u64, count: u64, rng: &mut SmallRng) -> Result<(), Trouble> {
    let end = first.saturating_add(count);
    let mut from = first;
    while from < end {
        let to = from.saturating_add(BATCH_LEN).min(end);
        let values: Vec<Value> = (from..to).map(|number| records.value(rng, number)).collect();
        let head = wire.head_as(Method::POST, &format!("{}/batch", records.tenant_path), token);
        batches::put(wire, head, records, &values, from, Shape::Bytes).await?;
        from = to;
    }
    Ok(())
}

/// Orders a shred and waits for its end; the first and the last of `count` records from number `first` on must be unreadable then.
/// Those who order at the same moment wait for each other before they look: a look is no part of what is measured.
async fn shred(
    wire: &mut Wire,
    op: Op,
    records: &Records,
    token: &HeaderValue,
    (first, count): (u64, u64),
    (order, together): (&Json, Option<&Barrier>),
    answered: impl FnOnce(&Json),
) -> Step {
    let begun = SystemClock.monotonic();
    let ordered = ordered(wire, records, token, order).await;
    let ended = SystemClock.monotonic();
    meet(together).await;
    let mut result = ordered.map(|answer| answered(&answer));
    let last = first.saturating_add(count.saturating_sub(1));
    for number in if first == last { vec![first] } else { vec![first, last] } {
        if result.is_ok() {
            result = unreadable(wire, records, token, number).await;
        }
    }
    Step { op, begun, ended, items: 1, bytes: 0, result }
}

/// Waits for all others of those who order at the same moment.
async fn meet(together: Option<&Barrier>) {
    if let Some(together) = together {
        together.wait().await;
    }
}

/// Leaves the server in peace for so long, but for a read now and then: it would close a connection on which nothing comes.
async fn rest(wire: &mut Wire, records: &Records, token: &HeaderValue, time: Duration) -> Result<(), Trouble> {
    let until = SystemClock.monotonic().saturating_add(time);
    loop {
        let left = until.saturating_sub(SystemClock.monotonic());
        if left.is_zero() {
            return Ok(());
        }
        pause(left.min(SIGN_OF_LIFE)).await;
        wire.send_any(wire.head_as(Method::GET, &records.path(0), token), Load::Empty).await?.done().await?;
    }
}

async fn ordered(wire: &mut Wire, records: &Records, token: &HeaderValue, order: &Json) -> Result<Json, Trouble> {
    let answer = document(wire, Method::POST, &format!("{}/shreds", records.tenant_path), token, order).await?;
    if answer.get("state").and_then(Json::as_str) == Some("done") { Ok(answer) } else { Err(Trouble::Wrong("shred-still-pending")) }
}

async fn unreadable(wire: &mut Wire, records: &Records, token: &HeaderValue, number: u64) -> Result<(), Trouble> {
    let answer = wire.send_any(wire.head_as(Method::GET, &records.path(number), token), Load::Empty).await?;
    let status = answer.status;
    answer.done().await?;
    // A tenant's tokens go with it.
    let gone = matches!(status, StatusCode::GONE | StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED);
    if gone { Ok(()) } else { Err(Trouble::Wrong("readable-after-shred")) }
}

/// Sends a document and reads the one that comes back.
async fn document(wire: &mut Wire, method: Method, path: &str, token: &HeaderValue, body: &Json) -> Result<Json, Trouble> {
    let head = wire
        .head_as(method, path, token)
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header("prefer", HeaderValue::from_static("wait=60"));
    let bytes = wire.send(head, Load::Whole(body.to_string().into())).await?.bytes().await?;
    serde_json::from_slice(&bytes).map_err(|_| Trouble::Wrong("malformed-document"))
}

fn failed(op: Op, trouble: Trouble) -> Step {
    let now = SystemClock.monotonic();
    Step { op, begun: now, ended: now, items: 0, bytes: 0, result: Err(trouble) }
}

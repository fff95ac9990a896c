//! The door for programs: bytes in, typed requests to the vault's operations, bytes out.
//!
//! One resource a file, each handler from top to bottom: who asks ([`caller`]), what for ([`extract`]), the
//! operation, the answer. Nothing is decided here: authentication, permission and audit are the vault's, and a
//! handler cannot go round them, for it holds nothing but a [`Vault`]. Every refusal is a [`problem::Problem`].
//! Around all of it stand [`layers`] (ids, limits, places, metrics) and [`door`] (connections).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;

use crate::domain::RequestId;
use crate::domain::limits::{self, Limit};
use crate::vault::ops::Vault;

mod aliases;
mod approvals;
mod audit;
mod batch;
mod bundles;
mod caller;
mod certificates;
mod collections;
pub mod door;
mod events;
mod extract;
mod health;
mod holds;
mod layers;
mod lists;
mod log;
mod metrics;
mod openapi;
mod patience;
mod policy;
pub mod problem;
mod records;
mod refusals;
mod reports;
mod retention;
mod routes;
mod shreds;
mod snapshots;
mod states;
mod streams;
pub mod tasks;
mod tenants;
mod termination;
pub mod tls;
mod tokens;

pub use openapi::document;
pub use routes::{Access, Endpoint, endpoints};

use problem::{Code, Problem};

/// What the door can be set to.
#[derive(Debug, Clone, Copy)]
pub struct HttpOptions {
    /// Requests at work at a time; one more is answered 503.
    pub max_requests: usize,
    /// The same for what needs no credential, counted apart: strangers cannot keep out who has one.
    pub max_public_requests: usize,
    /// Bytes of all bodies together that are read whole, batches and JSON documents, while their requests are at work; the
    /// next one is answered 503. The first 64 KiB of each do not count.
    pub bodies_len_bytes: usize,
    /// How long a request's body may make no progress.
    pub progress_timeout: Duration,
    /// The longest value, in bytes.
    pub value_len_bytes: u64,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            max_requests: usize::try_from(limits::REQUESTS.max).unwrap_or(usize::MAX),
            max_public_requests: usize::try_from(limits::PUBLIC_REQUESTS.max).unwrap_or(usize::MAX),
            bodies_len_bytes: usize::try_from(limits::BODIES_LEN.max).unwrap_or(usize::MAX),
            progress_timeout: Duration::from_secs(30),
            value_len_bytes: limits::VALUE_LEN.max,
        }
    }
}

/// What every handler can reach. Cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    vault: Vault,
    options: HttpOptions,
    metrics: PrometheusHandle,
    places: Arc<Semaphore>,
    public_places: Arc<Semaphore>,
    /// A permit for each byte.
    bodies: Arc<Semaphore>,
    tasks: tasks::Tasks,
    measures: layers::Measures,
    /// Request ids made here: random for the process, counted within it.
    id_prefix: [u8; 8],
    ids: AtomicU64,
}

impl Api {
    /// `id_prefix` are random bytes of this process, to tell its request ids from another's.
    #[must_use]
    pub fn new(vault: Vault, options: HttpOptions, metrics: PrometheusHandle, tasks: tasks::Tasks, id_prefix: [u8; 8]) -> Self {
        let places = Arc::new(Semaphore::new(options.max_requests));
        let public_places = Arc::new(Semaphore::new(options.max_public_requests));
        let bodies = Arc::new(Semaphore::new(options.bodies_len_bytes.min(Semaphore::MAX_PERMITS)));
        let (measures, ids) = (layers::Measures::start(&endpoints()), AtomicU64::new(0));
        Self(Arc::new(Shared { vault, options, metrics, places, public_places, bodies, tasks, measures, id_prefix, ids }))
    }

    fn vault(&self) -> &Vault {
        &self.0.vault
    }

    fn options(&self) -> &HttpOptions {
        &self.0.options
    }

    /// The places for requests to a path.
    fn places(&self, path: &str) -> &Arc<Semaphore> {
        if routes::is_public(path) { &self.0.public_places } else { &self.0.places }
    }

    /// How many places there are for them.
    fn places_limit(&self, path: &str) -> Limit {
        let options = self.options();
        let (limit, max) = if routes::is_public(path) {
            (limits::PUBLIC_REQUESTS, options.max_public_requests)
        } else {
            (limits::REQUESTS, options.max_requests)
        };
        Limit { max: max as u64, ..limit }
    }

    /// A request's share of the memory for bodies, nothing yet.
    fn make_share(&self) -> extract::share::Share {
        let limit = Limit { max: self.options().bodies_len_bytes as u64, ..limits::BODIES_LEN };
        extract::share::Share::of(&self.0.bodies, limit)
    }

    fn measures(&self) -> &layers::Measures {
        &self.0.measures
    }

    fn render_metrics(&self) -> String {
        self.0.metrics.render()
    }

    fn is_stopping(&self) -> bool {
        self.0.tasks.is_stopping()
    }

    fn monotonic(&self) -> Duration {
        self.0.vault.clock().monotonic()
    }

    fn make_request_id(&self) -> RequestId {
        let [a, b, c, d, e, f, g, h] = self.0.id_prefix;
        let [i, j, k, l, m, n, o, p] = self.0.ids.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        RequestId([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
    }
}

/// All routes with everything around them.
pub fn router(api: &Api) -> Router {
    let mut router = Router::new();
    for endpoint in endpoints() {
        router = router.route(endpoint.path, endpoint.handler);
    }
    for (path, handler) in routes::refusals() {
        router = router.route(path, handler);
    }
    router
        .fallback(|| async { Problem::new(Code::NoSuchRoute) })
        .method_not_allowed_fallback(|| async { Problem::new(Code::MethodNotAllowed) })
        .layer(from_fn_with_state(api.clone(), layers::surround))
        .with_state(api.clone())
}

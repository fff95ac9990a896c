//! What the process tells about itself: JSON logs, metrics, and, where configured, traces over OTLP.
//!
//! None of them carries personal data: no name, key, subject, value, token or query, and of a path its template
//! only. Every metric's name, unit and labels are in one table, [`METRICS`], from which `docs/metrics.md` is
//! checked; rooms record with the `metrics` macros under these names.

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use std::sync::OnceLock;

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name in the exposition.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// What one of it is.
    pub unit: &'static str,
    /// Its labels, each with its values where these are few and fixed.
    pub labels: &'static [(&'static str, &'static [&'static str])],
    /// What it tells.
    pub help: &'static str,
}

const fn metric(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    labels: &'static [(&'static str, &'static [&'static str])],
    help: &'static str,
) -> Metric {
    Metric { name, kind, unit, labels, help }
}

use Kind::{Counter, Gauge, Histogram};

/// All metrics.
pub const METRICS: &[Metric] = &[
    metric(
        "lethe_http_requests_total",
        Counter,
        "requests",
        &[("method", &[]), ("route", &[]), ("status", &[])],
        "Requests answered, by route template and class of status",
    ),
    metric(
        "lethe_http_request_seconds",
        Histogram,
        "seconds",
        &[("method", &[]), ("route", &[])],
        "Time from a request's head to the head of its answer",
    ),
    metric("lethe_http_problems_total", Counter, "answers", &[("code", &[])], "Problem documents sent, by code"),
    metric("lethe_http_connections", Gauge, "connections", &[], "Open connections"),
    metric("lethe_http_connections_refused_total", Counter, "connections", &[], "Connections refused at the limit"),
    metric("lethe_http_answers_given_up_total", Counter, "answers", &[], "HTTP/2 answers reset because the peer did not take them"),
    metric("lethe_http_tls_failures_total", Counter, "connections", &[], "TLS handshakes that failed or took too long"),
    metric(
        "lethe_refused_credentials_total",
        Counter,
        "requests",
        &[("outcome", &["recorded", "braked", "failed"])],
        "Requests without a valid credential: recorded, beyond the brake (429), or not recorded for a failure (503)",
    ),
    metric(
        "lethe_store_commits_total",
        Counter,
        "commits",
        &[("outcome", &["committed", "conflict", "busy", "disk-full", "failed"])],
        "Commits answered, by outcome",
    ),
    metric("lethe_store_group_size", Histogram, "commits", &[], "Commits written together"),
    metric("lethe_store_queue_depth", Gauge, "commits", &[], "Commits that wait for the committer"),
    metric("lethe_store_fsync_seconds", Histogram, "seconds", &[("what", &["control", "data", "mirror"])], "Time of one sync to disk"),
    metric(
        "lethe_store_reads_total",
        Counter,
        "reads",
        &[("path", &["cache", "here", "pool"])],
        "Reads of single rows answered from the block cache (`cache`), past it by the thread that asked (`here`: while the system has the files in memory), and of rows and ranges by a thread of the pool (`pool`)",
    ),
    metric(
        "lethe_store_health",
        Gauge,
        "state",
        &[],
        "What the store can do: 0 all, 1 essential changes on the reserve of a full disk, 2 nothing until space is freed (a read is refused with its entry), 3 nothing until a restart",
    ),
    metric(
        "lethe_control_copy_lag_commits",
        Gauge,
        "commits",
        &[("copy", &[])],
        "Commits that a further copy of the control store, by its place in the settings, does not have",
    ),
    metric(
        "lethe_control_copy_failing",
        Gauge,
        "state",
        &[("copy", &[])],
        "1 while such a copy fails and is tried again, or does not answer, 0 otherwise",
    ),
    metric("lethe_store_free_bytes", Gauge, "bytes", &[], "Free space on the data's disk"),
    metric("lethe_epoch", Gauge, "epoch", &[], "The present epoch"),
    metric("lethe_epochs_total", Counter, "epochs", &[], "Epochs ended by shreds"),
    metric("lethe_epoch_page_bytes_total", Counter, "bytes", &[], "Bytes of fresh key pages written by epochs"),
    metric("lethe_keys_cached", Gauge, "keys", &[], "Keys held in memory"),
    metric("lethe_audit_lag_seconds", Gauge, "seconds", &[], "Age of the oldest audit entry that no checkpoint in the log covers"),
    metric("lethe_audit_lag_entries", Gauge, "entries", &[], "Audit entries that no checkpoint covers"),
    metric("lethe_metrics_unrecorded_total", Counter, "reads", &[], "Reads of the metrics that the audit trail could not take"),
    metric("lethe_keys_locked", Gauge, "state", &[], "1 if the memory of long-lived keys is kept out of swap, 0 if not"),
    metric("lethe_shreds_pending", Gauge, "orders", &[], "Orders to shred that are not certified yet"),
    metric("lethe_shred_oldest_pending_seconds", Gauge, "seconds", &[], "Age of the oldest of them"),
    metric("lethe_shreds_set_aside", Gauge, "orders", &[], "Orders that fail by themselves and are tried again alone, ever more rarely"),
    metric(
        "lethe_shred_unreadable_rows_total",
        Counter,
        "rows",
        &[],
        "Records that did not open and were removed with a shred all the same",
    ),
    metric("lethe_reclaim_entries_left", Gauge, "orders", &[], "Orders whose bytes are still to be reclaimed, counted up to 1,000"),
    metric("lethe_reclaim_ranges_left", Gauge, "ranges", &[], "Ranges of removed rows that still lie in files"),
    metric(
        "lethe_reclaimed_rows_total",
        Counter,
        "rows",
        &[("kind", &["record", "value"])],
        "Records and large values whose bytes were removed after a shred",
    ),
    metric(
        "lethe_job_failures_total",
        Counter,
        "passes",
        &[("job", &["reclaim", "sweep", "retention", "checkpoint"])],
        "Passes of background work that failed and are repeated",
    ),
    metric("lethe_retention_destroyed_total", Counter, "records", &[], "Records that were destroyed because their time was over"),
    metric(
        "lethe_retention_failures_total",
        Counter,
        "records",
        &[],
        "Records that are due, and reports of events, that could not be read; they stay and are tried again",
    ),
    metric("lethe_shred_seconds", Histogram, "seconds", &[], "Time from an order to its certificate in the log, once for each order"),
    metric("lethe_shred_failures_total", Counter, "orders", &[], "Attempts at a shred that failed and are repeated"),
    metric(
        "lethe_open_failures_total",
        Counter,
        "rows",
        &[("reason", &["suite", "framing", "commitment", "tag", "missing"])],
        "Stored rows and key pages that did not open, whose seal does not hold, or that are missing: damage or tampering",
    ),
];

/// How logs are written and where traces go.
#[derive(Debug, Clone)]
pub struct TelemetryOptions {
    /// A filter such as `info` or `lethe=debug`.
    pub log_filter: String,
    /// JSON lines, or text for people.
    pub json: bool,
    /// The OTLP endpoint for traces over HTTP, such as `http://127.0.0.1:4318/v1/traces`; none sends none.
    pub otlp_endpoint: Option<String>,
}

impl Default for TelemetryOptions {
    fn default() -> Self {
        Self { log_filter: "info".into(), json: true, otlp_endpoint: None }
    }
}

/// Why telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("the log filter is malformed")]
    Filter,
    /// Something in the process has set it up already.
    #[error("telemetry is set up already")]
    Twice,
    /// The exporter refused its settings.
    #[error("the OTLP exporter cannot be built")]
    Otlp,
}

/// Keeps the exporter alive; flushes it when dropped.
#[derive(Debug, Default)]
pub struct TelemetryGuard(Option<SdkTracerProvider>);

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take() {
            let _ = provider.shutdown();
        }
    }
}

/// Installs logs on standard error and, if configured, trace export. Once a process.
///
/// # Errors
/// [`TelemetryError`].
pub fn install(options: &TelemetryOptions) -> Result<TelemetryGuard, TelemetryError> {
    let filter = EnvFilter::try_new(&options.log_filter).map_err(|_| TelemetryError::Filter)?;
    let json = options.json.then(|| {
        tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(std::io::stderr)
            .with_filter(filter.clone())
    });
    let text = (!options.json).then(|| tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::io::stderr).with_filter(filter));
    let provider = options.otlp_endpoint.as_deref().map(exporter).transpose()?;
    // The log's filter is the log's: a request is traced though no line tells of it. Libraries log what they were sent (an
    // endpoint's path, a header); only our own spans are exported.
    let traces = provider.as_ref().map(|provider| {
        let own =
            tracing_subscriber::filter::filter_fn(|metadata| metadata.target().starts_with("lethe") && *metadata.level() <= Level::DEBUG);
        tracing_opentelemetry::layer().with_tracer(provider.tracer("lethe")).with_filter(own)
    });
    tracing_subscriber::registry().with(json).with(text).with(traces).try_init().map_err(|_| TelemetryError::Twice)?;
    Ok(TelemetryGuard(provider))
}

/// Whether [`install`] takes this filter.
///
/// # Errors
/// [`TelemetryError::Filter`].
pub fn check_filter(filter: &str) -> Result<(), TelemetryError> {
    EnvFilter::try_new(filter).map(drop).map_err(|_| TelemetryError::Filter)
}

fn exporter(endpoint: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter =
        opentelemetry_otlp::SpanExporter::builder().with_http().with_endpoint(endpoint).build().map_err(|_| TelemetryError::Otlp)?;
    let resource = opentelemetry_sdk::Resource::builder().with_service_name("lethe").build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// Makes the caller's span the parent of `span`, if traces are exported.
pub fn adopt_parent(span: &Span, trace_id: [u8; 16], parent_id: [u8; 8], sampled: bool) {
    let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let remote = SpanContext::new(TraceId::from_bytes(trace_id), SpanId::from_bytes(parent_id), flags, true, TraceState::default());
    let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote));
}

/// The process's metrics: installed at the first call, the same at every other.
#[must_use]
pub fn metrics_handle() -> PrometheusHandle {
    // A recorder is the process's own by the nature of the macros; what it measures, no setting changes.
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let recorder = builder().unwrap_or_default().build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_ok() {
                describe();
            }
            handle
        })
        .clone()
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_size".into()), &SIZES)
}

/// Upper bounds of times: 50 microseconds to 10 seconds.
const SECONDS: [f64; 17] = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper bounds of counts.
const SIZES: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Describes every metric and starts each whose labels are known at zero.
fn describe() {
    for metric in METRICS {
        match metric.kind {
            Counter => metrics::describe_counter!(metric.name, metric.help),
            Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
        for labels in known_labels(metric.labels) {
            match metric.kind {
                Counter => metrics::counter!(metric.name, labels).absolute(0),
                Gauge => metrics::gauge!(metric.name, labels).set(0.0),
                Histogram => drop(metrics::histogram!(metric.name, labels)),
            }
        }
    }
}

/// Every combination of the labels' values; none if a label's values are not fixed.
fn known_labels(labels: &[(&'static str, &'static [&'static str])]) -> Vec<Vec<metrics::Label>> {
    let mut combinations = vec![Vec::new()];
    for (name, values) in labels {
        combinations = combinations
            .into_iter()
            .flat_map(|labels: Vec<metrics::Label>| {
                values.iter().map(move |value| {
                    let mut labels = labels.clone();
                    labels.push(metrics::Label::new(*name, *value));
                    labels
                })
            })
            .collect();
    }
    combinations
}

#[cfg(test)]
mod tests;

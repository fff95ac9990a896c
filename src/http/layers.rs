//! What every request goes through: an id, a span, limits on its head, a place in the queue, and on the way out
//! the problem's body, the headers every answer has, the metrics, and a log line where the service is at fault.
//!
//! Who did what is in the audit trail; a line for each request is a debug one (`level = "info,lethe::http=debug"`).
//!
//! The route's template is all of the path that is ever logged or measured; its tail and query often hold names.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::Body as _;
use metrics::{Counter, Histogram, SharedString};
use tracing::Instrument as _;

use super::extract::path::lower_hex;
use super::extract::share::Place;
use super::problem::{Code, Problem};
use super::streams::Sent;
use super::{Api, Endpoint};
use crate::domain::{RequestId, limits};

static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static CSP: HeaderName = HeaderName::from_static("content-security-policy");

/// The outermost layer.
pub(super) async fn surround(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let started = api.monotonic();
    let id = request_id(request.headers()).unwrap_or_else(|| api.make_request_id());
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    let method = method_label(request.method());
    let trace = request.headers().get(&TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(TraceParent::parse);
    let span = tracing::debug_span!("request", request_id = %id, method, route, trace_id = tracing::field::Empty);
    if let Some(trace) = trace {
        span.record("trace_id", tracing::field::display(&trace.trace_id_text()));
        crate::telemetry::adopt_parent(&span, trace.trace_id, trace.parent_id, trace.sampled);
    }
    request.extensions_mut().insert(id);
    // Held until there is an answer: what was parsed of a body takes memory as the body did.
    let share = api.make_share();
    request.extensions_mut().insert(share.clone());
    let (mut response, place) = guarded(&api, request, next).instrument(span.clone()).await;
    drop(share);
    let reason = finish(&mut response, id);
    let response = sent(response, place);

    let status = response.status().as_u16();
    let took = api.monotonic().saturating_sub(started);
    api.measures().count(method, route, status, took);
    let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if reason.is_some() || (status >= 500 && status != 503) {
        tracing::error!(request_id = %id, method, route, status, duration_us, reason, "request failed");
    } else {
        span.in_scope(|| tracing::debug!(status, duration_us, "request answered"));
    }
    response
}

/// Lets the request through if its head is within the limits and there is a place for it.
async fn guarded(api: &Api, mut request: Request, next: Next) -> (Response, Option<Place>) {
    if let Err(problem) = check_head(&request) {
        return (problem.into_response(), None);
    }
    // Not even once: nothing of older data is answered before it is what it would be today.
    if api.vault().is_restoring() && request.uri().path() != "/health/live" {
        return (Problem::new(Code::Restoring).retry_after(5).into_response(), None);
    }
    // Probes and metrics must answer when everything else queues.
    let path = request.uri().path();
    let probe = path.starts_with("/health/") || path == "/metrics";
    let place = Arc::clone(api.places(path)).try_acquire_owned().ok().map(Place::new);
    if place.is_none() && !probe {
        return (Problem::limit(api.places_limit(path)).into_response(), None);
    }
    if let Some(place) = &place {
        request.extensions_mut().insert(place.clone());
    }
    (next.run(request).await, place)
}

/// The longest answer that does not keep its request's place: a refusal, a token, an order to shred. Who does not take such an
/// answer keeps nobody out; but each connection over HTTP/2 may leave as many of them untaken as it may have requests at work, and
/// no place bounds that memory.
const SMALL_LEN: u64 = 4 * 1024;

/// The answer on its way. A small one that is ready gives its place back at once. Any other keeps it until it has been sent.
fn sent(response: Response, place: Option<Place>) -> Response {
    let small = response.body().size_hint().upper().is_some_and(|len| len <= SMALL_LEN);
    let len = response.headers().get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse().ok());
    response.map(|body| Body::new(Sent::new(body, len, place.filter(|_| !small))))
}

fn check_head(request: &Request) -> Result<(), Problem> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target as u64 > limits::URI_LEN.max {
        return Err(Problem::limit(limits::URI_LEN));
    }
    let headers = request.headers();
    if headers.len() as u64 > limits::HEADERS_COUNT.max {
        return Err(Problem::limit(limits::HEADERS_COUNT));
    }
    // As HTTP/2 counts: 32 bytes for each line besides its text.
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len().saturating_add(value.len()).saturating_add(4)).sum();
    if bytes as u64 > limits::HEADERS_LEN.max {
        return Err(Problem::limit(limits::HEADERS_LEN));
    }
    Ok(())
}

/// Writes a problem's body and the headers that every answer has; why the service failed, where it did.
fn finish(response: &mut Response, id: RequestId) -> Option<String> {
    let problem = response.extensions_mut().remove::<Arc<Problem>>();
    if let Some(problem) = &problem {
        metrics::counter!("lethe_http_problems_total", "code" => problem.code().name()).increment(1);
        let json = problem.to_json(id);
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(json.len()));
        *response.body_mut() = Body::from(json);
    }
    let headers = response.headers_mut();
    // The router names a method once for each handler that takes it.
    if let Some(allowed) = headers.get(header::ALLOW).and_then(|allow| each_once(allow.to_str().ok()?)) {
        headers.insert(header::ALLOW, allowed);
    }
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(&X_REQUEST_ID, value);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A value may be HTML of somebody's making; no browser shall run it under this origin.
    headers.insert(&CSP, HeaderValue::from_static("default-src 'none'; sandbox"));
    problem?.reason().map(str::to_owned)
}

fn each_once(list: &str) -> Option<HeaderValue> {
    let mut names: Vec<&str> = Vec::new();
    for name in list.split(',').map(str::trim) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    HeaderValue::from_str(&names.join(", ")).ok()
}

/// The series of requests, made once: looking one up by its labels costs more than counting.
pub(super) struct Measures(HashMap<&'static str, [Option<Series>; METHODS.len()]>);

/// What is counted of one method on one route.
struct Series {
    answered: [Counter; STATUSES.len()],
    seconds: Histogram,
}

impl Measures {
    /// Starts the series of every route, method, class of status and code, so that a rate over them sees the first one.
    pub(super) fn start(endpoints: &[Endpoint]) -> Self {
        for code in Code::ALL {
            metrics::counter!("lethe_http_problems_total", "code" => code.name()).increment(0);
        }
        let mut of_routes = HashMap::new();
        let known = endpoints.iter().map(|endpoint| (endpoint.method, endpoint.path));
        for (method, route) in known.chain(METHODS.map(|method| (method, UNMATCHED))) {
            let of_route: &mut [Option<Series>; METHODS.len()] = of_routes.entry(route).or_default();
            if let Some(series) = METHODS.iter().position(|known| *known == method).and_then(|at| of_route.get_mut(at)) {
                *series = Some(Series::of(method, route));
            }
        }
        Self(of_routes)
    }

    /// Counts a request. A method that a route does not know makes its series when it is first used.
    fn count(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let at = METHODS.iter().position(|known| *known == method);
        let known = self.0.get(route).zip(at).and_then(|(of_route, at)| of_route.get(at)?.as_ref());
        match known {
            Some(series) => series.count(status, took),
            None => Series::of(method, route.to_owned()).count(status, took),
        }
    }
}

impl Series {
    fn of(method: &'static str, route: impl Into<SharedString>) -> Self {
        let route = route.into();
        let answered = STATUSES
            .map(|status| metrics::counter!("lethe_http_requests_total", "method" => method, "route" => route.clone(), "status" => status));
        Self { answered, seconds: metrics::histogram!("lethe_http_request_seconds", "method" => method, "route" => route) }
    }

    fn count(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).checked_sub(2).and_then(|class| self.answered.get(class));
        if let Some(answered) = class.or(self.answered.last()) {
            answered.increment(1);
        }
        self.seconds.record(took.as_secs_f64());
    }
}

/// The route of what has none.
const UNMATCHED: &str = "unmatched";
/// Classes of status from 200 on; the last is for all others.
const STATUSES: [&str; 5] = ["2xx", "3xx", "4xx", "5xx", "other"];
const METHODS: [&str; 6] = ["GET", "HEAD", "PUT", "POST", "DELETE", "other"];

/// A method as a label: clients can invent methods, and must not invent labels.
fn method_label(method: &http::Method) -> &'static str {
    METHODS.iter().copied().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// A client's own id: 32 hexadecimal digits, or a UUID as it is usually written. Answers, log and trail give it without
/// dashes and in lower case.
fn request_id(headers: &HeaderMap) -> Option<RequestId> {
    let text = headers.get(&X_REQUEST_ID)?.to_str().ok()?.to_ascii_lowercase();
    let dashed = text.len() == 36 && [8, 13, 18, 23].iter().all(|at| text.as_bytes().get(*at) == Some(&b'-'));
    let digits = if dashed { text.replace('-', "") } else { text };
    lower_hex(Some(&digits))
}

/// A W3C trace context's parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TraceParent {
    trace_id: [u8; 16],
    parent_id: [u8; 8],
    sampled: bool,
}

impl TraceParent {
    /// `00-<32 hex>-<16 hex>-<2 hex>`; anything else is ignored, as the specification has it.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(5, '-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let [_version] = hex_bytes::<1>(version)?;
        let [flags] = hex_bytes::<1>(flags)?;
        let (trace_id, parent_id) = (hex_bytes::<16>(trace)?, hex_bytes::<8>(parent)?);
        (trace_id != [0; 16] && parent_id != [0; 8]).then_some(Self { trace_id, parent_id, sampled: flags & 1 == 1 })
    }

    fn trace_id_text(&self) -> String {
        hex::encode(self.trace_id)
    }
}

fn hex_bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_small_answer_gives_its_place_back_before_it_is_sent() {
        let places = Arc::new(tokio::sync::Semaphore::new(1));
        for (len, free) in [(0, 1), (4_096, 1), (4_097, 0), (65_536, 0)] {
            let place = Place::new(Arc::clone(&places).try_acquire_owned().unwrap());
            let response = sent(Response::new(Body::from(vec![0; len])), Some(place));
            assert_eq!(places.available_permits(), free, "{len} bytes wait to be sent");
            drop(response);
            assert_eq!(places.available_permits(), 1, "{len} bytes were sent");
        }
    }

    #[test]
    fn trace_parents_are_read_strictly() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parsed = TraceParent::parse(good).unwrap();
        assert_eq!((parsed.trace_id_text().as_str(), parsed.sampled), ("0af7651916cd43dd8448eb211c80319c", true));
        assert!(TraceParent::parse("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more").is_some());
        for bad in [
            "",
            "00",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_ids_of_the_form_are_taken_from_requests() {
        let of = |text: &'static str| request_id(&HeaderMap::from_iter([(X_REQUEST_ID.clone(), HeaderValue::from_static(text))]));
        for good in [
            "000102030405060708090a0b0c0d0e0f",
            "000102030405060708090A0B0C0D0E0F",
            "00010203-0405-0607-0809-0a0b0c0d0e0f",
            "00010203-0405-0607-0809-0A0B0C0D0E0F",
        ] {
            assert_eq!(of(good).unwrap().to_string(), "000102030405060708090a0b0c0d0e0f", "{good}");
        }
        for bad in [
            "",
            "x",
            "000102030405060708090a0b0c0d0e0f0",
            "0001020304050607-0809-0a0b-0c0d0e0f",
            "00010203-0405-0607-0809-0a0b0c0d0e0",
            "00010203-0405-0607-0809-0a0b-c0d0e0f",
            "anna@example.org",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}

//! Every route, in one table. The router is made from it, `/openapi.json` is held against it, and the tests of
//! access go through it.

use axum::routing::{self, MethodRouter};

use super::{
    Api, aliases, approvals, audit, batch, bundles, certificates, collections, events, health, holds, lists, log, metrics, openapi, policy,
    records, reports, retention, shreds, snapshots, states, tenants, termination, tokens,
};

/// Who may use a route at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody: it tells nothing about a tenant.
    Public,
    /// Who shows a credential; what it may do is the policy's.
    Credential,
}

/// A method on a path.
#[derive(Debug)]
pub struct Endpoint {
    /// The method.
    pub method: &'static str,
    /// The path's template, as the router reads it; `{*key}` takes the rest of the path.
    pub path: &'static str,
    /// Who may use it at all.
    pub access: Access,
    /// What answers.
    pub handler: MethodRouter<Api>,
}

macro_rules! endpoint {
    ($method:literal, $verb:ident, $path:expr, $access:ident, $handler:path) => {
        Endpoint { method: $method, path: $path, access: Access::$access, handler: routing::$verb($handler) }
    };
}

const TENANTS: &str = "/v1/tenants";
const TENANT: &str = "/v1/tenants/{tenant}";
const SUSPEND: &str = "/v1/tenants/{tenant}/suspend";
const RESUME: &str = "/v1/tenants/{tenant}/resume";
const TERMINATION: &str = "/v1/tenants/{tenant}/termination";
const CANCEL: &str = "/v1/tenants/{tenant}/termination/cancel";
const STATES: &str = "/v1/tenants/{tenant}/states";
const EXPORT: &str = "/v1/tenants/{tenant}/export";
const IMPORT: &str = "/v1/tenants/{tenant}/import";
const TOKENS: &str = "/v1/tenants/{tenant}/tokens";
const TOKEN: &str = "/v1/tenants/{tenant}/tokens/{id}";
const COLLECTIONS: &str = "/v1/tenants/{tenant}/collections";
const COLLECTION: &str = "/v1/tenants/{tenant}/collections/{collection}";
const RECORDS: &str = "/v1/tenants/{tenant}/collections/{collection}/records";
const RECORD: &str = "/v1/tenants/{tenant}/collections/{collection}/records/{*key}";
/// The record whose key is empty: refused as a name, not as a route.
const NO_RECORD: &str = "/v1/tenants/{tenant}/collections/{collection}/records/";
const RETENTION: &str = "/v1/tenants/{tenant}/collections/{collection}/retention/{*key}";
const NO_RETENTION: &str = "/v1/tenants/{tenant}/collections/{collection}/retention/";
const SIMULATIONS: &str = "/v1/tenants/{tenant}/collections/{collection}/simulations";
const MARKED: &str = "/v1/tenants/{tenant}/collections/{collection}/marked";
const REPORTS: &str = "/v1/tenants/{tenant}/retention/reports";
const REPORT: &str = "/v1/tenants/{tenant}/retention/reports/{id}";
const RETENTION_RUNS: &str = "/v1/jobs/retention/runs";
const SNAPSHOTS: &str = "/v1/jobs/snapshots";
const SNAPSHOT: &str = "/v1/jobs/snapshots/{id}";
const QUERY: &str = "/v1/tenants/{tenant}/collections/{collection}/query";
const BATCH: &str = "/v1/tenants/{tenant}/batch";
const SHREDS: &str = "/v1/tenants/{tenant}/shreds";
const SHRED: &str = "/v1/tenants/{tenant}/shreds/{id}";
const HOLDS: &str = "/v1/tenants/{tenant}/holds";
const HOLD: &str = "/v1/tenants/{tenant}/holds/{id}";
const RELEASE: &str = "/v1/tenants/{tenant}/holds/{id}/release";
const RENEW: &str = "/v1/tenants/{tenant}/holds/{id}/renew";
const ALIASES: &str = "/v1/tenants/{tenant}/subjects/aliases";
const ALIASES_QUERY: &str = "/v1/tenants/{tenant}/subjects/aliases/query";
const ALIASES_REMOVE: &str = "/v1/tenants/{tenant}/subjects/aliases/remove";
const EVENTS: &str = "/v1/tenants/{tenant}/subjects/events";
const EVENTS_QUERY: &str = "/v1/tenants/{tenant}/subjects/events/query";
const EVENTS_REMOVE: &str = "/v1/tenants/{tenant}/subjects/events/remove";
const POLICY: &str = "/v1/tenants/{tenant}/policy";
const APPROVALS: &str = "/v1/tenants/{tenant}/approvals";
const APPROVAL: &str = "/v1/tenants/{tenant}/approvals/{id}";
const APPROVE: &str = "/v1/tenants/{tenant}/approvals/{id}/approve";
const REFUSE: &str = "/v1/tenants/{tenant}/approvals/{id}/refuse";
const WITHDRAW: &str = "/v1/tenants/{tenant}/approvals/{id}/withdraw";
const SHORTENINGS: &str = "/v1/tenants/{tenant}/collections/{collection}/shortenings";
const BYPASSES: &str = "/v1/tenants/{tenant}/collections/{collection}/bypasses";
const CERTIFICATE: &str = "/v1/certificates/{id}";
const CERTIFICATES: &str = "/v1/certificates/";
const LOG: &str = "/log/";
const OPENAPI: &str = "/openapi.json";
const AUDIT: &str = "/v1/tenants/{tenant}/audit";

/// All routes.
#[must_use]
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint!("POST", post, TENANTS, Credential, tenants::create),
        endpoint!("GET", get, TENANTS, Credential, tenants::list),
        endpoint!("GET", get, TENANT, Credential, tenants::read),
        endpoint!("POST", post, SUSPEND, Credential, tenants::suspend),
        endpoint!("POST", post, RESUME, Credential, tenants::resume),
        endpoint!("POST", post, TERMINATION, Credential, termination::order),
        endpoint!("GET", get, TERMINATION, Credential, termination::read),
        endpoint!("POST", post, CANCEL, Credential, termination::cancel),
        endpoint!("GET", get, STATES, Credential, states::list),
        endpoint!("POST", post, EXPORT, Credential, bundles::export),
        endpoint!("POST", post, IMPORT, Credential, bundles::import),
        endpoint!("POST", post, TOKENS, Credential, tokens::create),
        endpoint!("GET", get, TOKENS, Credential, tokens::list),
        endpoint!("DELETE", delete, TOKEN, Credential, tokens::revoke),
        endpoint!("GET", get, COLLECTIONS, Credential, collections::list),
        endpoint!("PUT", put, COLLECTION, Credential, collections::put),
        endpoint!("GET", get, COLLECTION, Credential, collections::read),
        endpoint!("GET", get, RECORDS, Credential, lists::list),
        endpoint!("POST", post, QUERY, Credential, lists::query),
        endpoint!("PUT", put, RECORD, Credential, records::put),
        endpoint!("GET", get, RECORD, Credential, records::get),
        endpoint!("HEAD", head, RECORD, Credential, records::head),
        endpoint!("DELETE", delete, RECORD, Credential, records::delete),
        endpoint!("GET", get, RETENTION, Credential, retention::explain),
        endpoint!("POST", post, SIMULATIONS, Credential, retention::simulate),
        endpoint!("GET", get, MARKED, Credential, reports::marked),
        endpoint!("GET", get, REPORTS, Credential, reports::list),
        endpoint!("GET", get, REPORT, Credential, reports::read),
        endpoint!("POST", post, RETENTION_RUNS, Credential, retention::run),
        endpoint!("GET", get, RETENTION_RUNS, Credential, retention::progress),
        endpoint!("POST", post, SNAPSHOTS, Credential, snapshots::take),
        endpoint!("DELETE", delete, SNAPSHOT, Credential, snapshots::release),
        endpoint!("POST", post, BATCH, Credential, batch::batch),
        endpoint!("POST", post, SHREDS, Credential, shreds::order),
        endpoint!("GET", get, SHRED, Credential, shreds::read),
        endpoint!("POST", post, HOLDS, Credential, holds::place),
        endpoint!("GET", get, HOLDS, Credential, holds::list),
        endpoint!("GET", get, HOLD, Credential, holds::read),
        endpoint!("POST", post, RELEASE, Credential, holds::release),
        endpoint!("POST", post, RENEW, Credential, holds::renew),
        endpoint!("POST", post, ALIASES, Credential, aliases::add),
        endpoint!("POST", post, ALIASES_QUERY, Credential, aliases::query),
        endpoint!("POST", post, ALIASES_REMOVE, Credential, aliases::remove),
        endpoint!("POST", post, EVENTS, Credential, events::report),
        endpoint!("POST", post, EVENTS_QUERY, Credential, events::query),
        endpoint!("POST", post, EVENTS_REMOVE, Credential, events::remove),
        endpoint!("PUT", put, POLICY, Credential, policy::put),
        endpoint!("GET", get, POLICY, Credential, policy::read),
        endpoint!("GET", get, APPROVALS, Credential, approvals::list),
        endpoint!("GET", get, APPROVAL, Credential, approvals::read),
        endpoint!("POST", post, APPROVE, Credential, approvals::approve),
        endpoint!("POST", post, REFUSE, Credential, approvals::refuse),
        endpoint!("POST", post, WITHDRAW, Credential, approvals::withdraw),
        endpoint!("POST", post, SHORTENINGS, Credential, approvals::shorten),
        endpoint!("POST", post, BYPASSES, Credential, approvals::bypass),
        endpoint!("GET", get, CERTIFICATE, Public, certificates::read),
        endpoint!("GET", get, AUDIT, Credential, audit::read),
        endpoint!("GET", get, "/log/checkpoint", Public, log::checkpoint),
        endpoint!("GET", get, "/log/tile/{*path}", Public, log::tile),
        endpoint!("GET", get, "/health/live", Public, health::live),
        endpoint!("GET", get, "/health/ready", Public, health::ready),
        endpoint!("GET", get, "/metrics", Credential, metrics::read),
        endpoint!("GET", get, OPENAPI, Public, openapi::read),
    ]
}

/// Whether a path is one of those for anybody, probes excepted.
pub(super) fn is_public(path: &str) -> bool {
    path == OPENAPI || [CERTIFICATES, LOG].iter().any(|prefix| path.starts_with(prefix))
}

/// Routes that only refuse, so that a malformed key is told apart from an unknown route.
pub(super) fn refusals() -> Vec<(&'static str, MethodRouter<Api>)> {
    vec![(NO_RECORD, routing::any(records::without_key)), (NO_RETENTION, routing::any(records::without_key))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_public_is_counted_apart() {
        for endpoint in endpoints() {
            let probe = endpoint.path.starts_with("/health/");
            assert_eq!(is_public(endpoint.path), endpoint.access == Access::Public && !probe, "{}", endpoint.path);
        }
    }
}

//! `/openapi.json`, made from the handlers; a test holds it against the routes, both ways.

use std::sync::OnceLock;

use axum::response::{IntoResponse, Response};
use http::header;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::routes::{Access, endpoints};
use super::{audit, batch, certificates, collections, health, lists, log, metrics, records, shreds, tenants, tokens};

#[derive(OpenApi)]
#[openapi(
    info(title = "Lethe", description = "An encrypted key-value store for customer data that can forget. Refusals are RFC 9457 problem documents; docs/errors.md has their codes."),
    paths(
        tenants::create, tenants::list, tenants::read,
        tokens::create, tokens::list, tokens::revoke,
        collections::list, collections::put, collections::read,
        lists::list, lists::query,
        records::put, records::get, records::head, records::delete,
        batch::batch,
        shreds::order, shreds::read,
        certificates::read, audit::read,
        log::checkpoint, log::tile,
        health::live, health::ready, metrics::read,
        read,
    ),
    modifiers(&Bearer, &Everywhere)
)]
struct Document;

/// The bearer token, asked for everywhere it is needed.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("lethe_<kind>_<id>_<secret>").build();
        document.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(scheme));
        document.security = Some(vec![SecurityRequirement::new("bearer", Vec::<String>::new())]);
    }
}

/// What no handler says for itself, from the table of routes: who needs no token, and the answers of what stands around
/// the handlers.
struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for endpoint in endpoints() {
            let item = document.paths.paths.get_mut(&endpoint.path.replace("{*", "{"));
            let Some(operation) = item.and_then(|item| operation(item, endpoint.method)) else { continue };
            let mut answers: &[(&str, &str)] = &[
                ("401", "No valid credential"),
                ("429", "Too many requests without one, with `Retry-After`"),
                ("503", "Busy, out of space or going down, with `Retry-After`"),
            ];
            if endpoint.access == Access::Public {
                operation.security = Some(Vec::new());
                // The probe of the process itself always answers.
                answers = if endpoint.path == LIVE { &[] } else { answers.get(2..).unwrap_or_default() };
            }
            for (status, description) in answers {
                let answer = ResponseBuilder::new().description(*description).build();
                operation.responses.responses.entry((*status).to_owned()).or_insert(answer.into());
            }
        }
    }
}

const LIVE: &str = "/health/live";

fn operation<'a>(item: &'a mut PathItem, method: &str) -> Option<&'a mut Operation> {
    match method {
        "GET" => item.get.as_mut(),
        "HEAD" => item.head.as_mut(),
        "PUT" => item.put.as_mut(),
        "POST" => item.post.as_mut(),
        "DELETE" => item.delete.as_mut(),
        _ => None,
    }
}

/// The whole document.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// Read this document.
#[utoipa::path(get, path = "/openapi.json", tag = "health", responses((status = 200, content_type = "application/json")))]
pub(super) async fn read() -> Response {
    static JSON: OnceLock<String> = OnceLock::new();
    let json = JSON.get_or_init(|| document().to_json().unwrap_or_default());
    ([(header::CONTENT_TYPE, "application/json")], json.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// The operation of each route as the document has it.
    fn operations() -> Vec<(String, Access, Value)> {
        let json = serde_json::to_value(document()).unwrap();
        let operation = |endpoint: &crate::http::Endpoint| {
            let of = &json["paths"][endpoint.path.replace("{*", "{")][endpoint.method.to_lowercase()];
            (format!("{} {}", endpoint.method, endpoint.path), endpoint.access, of.clone())
        };
        endpoints().iter().map(operation).collect()
    }

    /// The headers that an operation says it takes.
    fn headers(operation: &Value) -> BTreeSet<&str> {
        let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
        parameters.iter().filter(|parameter| parameter["in"] == "header").map(|parameter| parameter["name"].as_str().unwrap()).collect()
    }

    #[test]
    fn every_route_is_documented_and_nothing_else() {
        let json = serde_json::to_value(document()).unwrap();
        let documented: BTreeSet<(String, String)> = json["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone())))
            .collect();
        let routed: BTreeSet<(String, String)> =
            endpoints().iter().map(|endpoint| (endpoint.method.to_owned(), endpoint.path.replace("{*", "{"))).collect();
        assert_eq!(documented, routed, "a route and its #[utoipa::path] differ, or one is missing in openapi.rs or routes.rs");
    }

    #[test]
    fn every_change_documents_its_headers() {
        // `/query` changes nothing.
        let changes = |named: &str| !["GET ", "HEAD "].iter().any(|read| named.starts_with(read)) && !named.ends_with("/query");
        let own: &[(&str, &[&str])] = &[
            (
                "PUT /v1/tenants/{tenant}/collections/{collection}/records/{*key}",
                &[
                    "Content-Type",
                    "If-Match",
                    "If-None-Match",
                    "Lethe-Expires-At",
                    "Lethe-Meta-{name}",
                    "Lethe-New-Relationship",
                    "Lethe-Purpose",
                    "Lethe-Subject",
                ],
            ),
            ("DELETE /v1/tenants/{tenant}/collections/{collection}/records/{*key}", &["If-Match", "Lethe-Purpose"]),
            ("POST /v1/tenants/{tenant}/batch", &["Lethe-Purpose"]),
            ("POST /v1/tenants/{tenant}/shreds", &["Prefer"]),
        ];
        let mut seen = 0;
        for (named, _, operation) in operations().iter().filter(|(named, ..)| changes(named)) {
            let mut expected: BTreeSet<&str> =
                own.iter().filter(|(of, _)| of == named).flat_map(|(_, headers)| headers.iter().copied()).collect();
            expected.insert("Idempotency-Key");
            assert_eq!(headers(operation), expected, "{named}: every change takes an Idempotency-Key; say it in #[utoipa::path]");
            seen += 1;
        }
        assert_eq!(seen, 8);
    }

    #[test]
    fn who_needs_a_token_is_told_and_what_a_refusal_looks_like() {
        for (named, access, operation) in operations() {
            let answers = |status: &str| operation["responses"][status].is_object();
            match access {
                Access::Credential => {
                    assert!(operation["security"].is_null(), "{named}: the document's own security holds");
                    assert!(answers("401") && answers("429") && answers("503"), "{named}");
                }
                Access::Public => {
                    assert_eq!(operation["security"], serde_json::json!([]), "{named} asks for nothing");
                    assert!(!answers("401") && !answers("429"), "{named}");
                    assert_eq!(answers("503"), !named.ends_with(LIVE), "{named}");
                }
            }
        }
        let json = serde_json::to_value(document()).unwrap();
        assert_eq!(json["security"], serde_json::json!([{"bearer": []}]));
    }
}

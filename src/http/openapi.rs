//! `/openapi.json`, made from the handlers; a test holds it against the routes, both ways.

use std::sync::OnceLock;

use axum::response::{IntoResponse, Response};
use http::header;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

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
    modifiers(&Bearer)
)]
struct Document;

/// The bearer token, asked for everywhere it is needed.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("lethe_<kind>_<id>_<secret>").build();
        document.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(scheme));
        document.security = Some(vec![utoipa::openapi::SecurityRequirement::new("bearer", Vec::<String>::new())]);
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

    use super::*;
    use crate::http::endpoints;

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
}

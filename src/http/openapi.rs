//! `/openapi.json`, made from the handlers; a test holds it against the routes, both ways.

use std::sync::OnceLock;

use axum::response::IntoResponse;
use http::header;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, Response};
use utoipa::{Modify, OpenApi};

use super::problem::Code;
use super::routes::{Access, Endpoint, endpoints};
use super::{
    aliases, approvals, audit, batch, bundles, certificates, collections, events, health, holds, lists, log, metrics, policy, records,
    reports, retention, shreds, snapshots, states, tenants, termination, tokens,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Lethe", description = "An encrypted key-value store for customer data that can forget. Refusals are RFC 9457 problem documents; docs/errors.md has their codes."),
    paths(
        tenants::create, tenants::list, tenants::read, tenants::suspend, tenants::resume,
        termination::order, termination::read, termination::cancel, states::list, bundles::export, bundles::import,
        tokens::create, tokens::list, tokens::revoke,
        collections::list, collections::put, collections::read,
        lists::list, lists::query,
        records::put, records::get, records::head, records::delete,
        retention::explain, retention::simulate, retention::run, retention::progress, reports::marked, reports::list, reports::read,
        snapshots::take, snapshots::release,
        batch::batch,
        shreds::order, shreds::read,
        holds::place, holds::list, holds::read, holds::release, holds::renew,
        aliases::add, aliases::query, aliases::remove,
        events::report, events::query, events::remove,
        policy::put, policy::read,
        approvals::list, approvals::read, approvals::approve, approvals::refuse, approvals::withdraw, approvals::shorten, approvals::bypass,
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

/// What no handler says for itself: who needs no token, the refusals that follow from the table of routes and from what a
/// route takes, and what every refusal looks like. What a handler says in its `#[utoipa::path]` are its answers and the
/// refusals of its own; the API tests hold every answer they get against the sum.
struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        document.components.get_or_insert_default().schemas.insert(PROBLEM.into(), RefOr::T(problem_schema()));
        for endpoint in endpoints() {
            let item = document.paths.paths.get_mut(&endpoint.path.replace("{*", "{"));
            let Some(operation) = item.and_then(|item| operation(item, endpoint.method)) else { continue };
            if endpoint.access == Access::Public {
                operation.security = Some(Vec::new());
            }
            for status in refusals(&endpoint, operation) {
                operation.responses.responses.entry(status.to_string()).or_insert_with(|| RefOr::T(Response::default()));
            }
            for (status, answer) in &mut operation.responses.responses {
                if let RefOr::T(answer) = answer {
                    describe(status, answer, endpoint.method);
                }
            }
        }
    }
}

/// The statuses of what stands around a route's handler: limits of the head, the credential, the tenant, the body.
fn refusals(endpoint: &Endpoint, operation: &Operation) -> Vec<u16> {
    let parameters = operation.parameters.iter().flatten();
    let named: Vec<&str> =
        parameters.filter_map(|parameter| if let RefOr::T(of) = parameter { Some(of.name.as_str()) } else { None }).collect();
    let takes_json = matches!(&operation.request_body, Some(RefOr::T(body)) if body.content.contains_key("application/json"));
    let mut statuses = vec![400];
    // The probe of the process itself does nothing that could fail.
    if endpoint.path != LIVE {
        statuses.extend([500, 503]);
    }
    if endpoint.access == Access::Credential {
        statuses.extend([401, 403, 429]);
    }
    if endpoint.path.starts_with(OF_TENANT) {
        // Being imported, it serves nothing else.
        statuses.extend([404, 409, 410]);
    }
    if takes_json {
        statuses.extend([413, 415, 422]);
    }
    // A key that was used for another request, a purpose that is not declared.
    if named.iter().any(|name| ["Idempotency-Key", "Lethe-Purpose"].contains(name)) {
        statuses.push(422);
    }
    statuses
}

/// Gives an answer its line where the handler has none, and a refusal its shape.
fn describe(status: &str, answer: &mut Response, method: &str) {
    let line = match status {
        "200" => "Done",
        "201" => "Created",
        "202" => "Taken on; it is carried out behind the answer",
        "204" => "Done; no body",
        "206" => "The range that was asked for",
        "400" => "Malformed, or over a limit",
        "401" => "No valid credential",
        "403" => "The principal may not do this",
        "404" => "There is no such thing, or the principal may not know it",
        "409" => "Contradicts what is there",
        "410" => "Shredded",
        "412" => "The record is not in the expected state",
        "413" => "The body is too large",
        "415" => "The body is not `application/json` in UTF-8",
        "416" => "The range lies outside the value",
        "422" => "Well-formed, and cannot be carried out",
        "423" => "A legal obligation keeps it: a legal minimum, or a legal hold",
        "429" => "Too many requests without a credential, with `Retry-After`",
        "500" => "The server failed",
        "503" => "Busy, out of space or going down, with `Retry-After`",
        _ => "",
    };
    if answer.description.is_empty() {
        line.clone_into(&mut answer.description);
    }
    // An answer to HEAD has the headers alone.
    if status.starts_with(['4', '5']) && method != "HEAD" {
        let content = Content::new(Some(Ref::from_schema_name(PROBLEM)));
        answer.content.insert("application/problem+json".into(), RefOr::T(content));
    }
}

/// The fields of [`super::problem`]'s documents; a test holds it against them.
fn problem_schema() -> Schema {
    let text = |description: &str| ObjectBuilder::new().schema_type(Type::String).description(Some(description));
    let number = |description: &str| ObjectBuilder::new().schema_type(Type::Integer).description(Some(description));
    let codes = text("Stable; docs/errors.md says what to do").enum_values(Some(Code::ALL.iter().map(|code| code.name())));
    let mut problem = ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some("A refusal: an RFC 9457 document, `application/problem+json`"))
        .property("type", text("`urn:lethe:problem:` and the code"))
        .property("title", text("One line, the same for every refusal of this code"))
        .property("status", number("The HTTP status"))
        .property("code", codes)
        .property("detail", text("For people; never repeats what was sent, and may change"))
        .property("request_id", text("As in `X-Request-Id`, the audit trail and the log"))
        .property("limit", text("The limit that was exceeded; docs/limits.md"))
        .property("limit_max", number("Its value"))
        .property("certificate", text("The evidence of a shred, where the principal may see it"))
        .property("token_id", text("The token that the first request made"))
        .property("hold", text("The legal hold, where the principal may know of it"))
        .property("order", text("The order to shred that waits for the end of what keeps the data"))
        .property("rule", text("The retention rule whose legal minimum keeps the data, where the principal may know it"))
        .property("basis", text("The law that the rule cites"))
        .property("mode", text("`compliance`, or `governance`: an owner and a governor may bypass the minimum"))
        .property("until", text("When the minimum is met, RFC 3339; absent while the date that it counts from is not known"))
        .property("records", number("How many records a legal minimum keeps: as many at least"))
        .property("op", number("Which operation of a batch, counted from 0"));
    for name in ["type", "title", "status", "code", "detail", "request_id"] {
        problem = problem.required(name);
    }
    problem.into()
}

const PROBLEM: &str = "Problem";
const LIVE: &str = "/health/live";
const OF_TENANT: &str = "/v1/tenants/{tenant}";

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
pub(super) async fn read() -> axum::response::Response {
    static JSON: OnceLock<String> = OnceLock::new();
    let json = JSON.get_or_init(|| document().to_json().unwrap_or_default());
    ([(header::CONTENT_TYPE, "application/json")], json.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::super::problem::Problem;
    use super::*;
    use crate::domain::{
        HoldId, RequestId, ShredId, Timestamp, TokenId, limits,
        retention::{Law, Mode, RuleName},
    };

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
        // `/query`, `/simulations` and `/export` change nothing, `/import` passes over what is there, a run that is repeated destroys
        // nothing twice, and a snapshot that nobody copies from goes by itself.
        let of_its_own = |named: &str| {
            ["/query", "/simulations", "/export", "/import"].iter().any(|end| named.ends_with(end)) || named.contains(" /v1/jobs/")
        };
        let changes = |named: &str| !["GET ", "HEAD "].iter().any(|read| named.starts_with(read)) && !of_its_own(named);
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
        assert_eq!(seen, 25);
    }

    #[test]
    fn who_needs_a_token_is_told() {
        for (named, access, operation) in operations() {
            let answers = |status: &str| operation["responses"][status].is_object();
            match access {
                Access::Credential => {
                    assert!(operation["security"].is_null(), "{named}: the document's own security holds");
                    assert!(["401", "403", "429", "503"].into_iter().all(answers), "{named}");
                }
                Access::Public => {
                    assert_eq!(operation["security"], serde_json::json!([]), "{named} asks for nothing");
                    assert!(!["401", "403", "429"].into_iter().any(answers), "{named}");
                    assert_eq!(answers("503"), !named.ends_with(LIVE), "{named}");
                }
            }
        }
        let json = serde_json::to_value(document()).unwrap();
        assert_eq!(json["security"], serde_json::json!([{"bearer": []}]));
    }

    #[test]
    fn every_refusal_has_the_shape_of_a_problem_and_every_answer_its_line() {
        let mut refusals = 0;
        for (named, _, operation) in operations() {
            for (status, answer) in operation["responses"].as_object().unwrap() {
                assert!(answer["description"].as_str().is_some_and(|line| !line.is_empty()), "{named} {status}: say what it means");
                let shape = &answer["content"]["application/problem+json"]["schema"]["$ref"];
                if status.starts_with(['4', '5']) && !named.starts_with("HEAD ") {
                    assert_eq!(shape, "#/components/schemas/Problem", "{named} {status}");
                    refusals += 1;
                } else {
                    assert!(shape.is_null(), "{named} {status}");
                }
            }
        }
        assert!(refusals > 150, "{refusals}");
    }

    #[test]
    fn the_schema_of_a_problem_is_what_is_sent() {
        let schema = serde_json::to_value(document()).unwrap()["components"]["schemas"]["Problem"].clone();
        let fields = |json: &Value| json.as_object().unwrap().keys().cloned().collect::<BTreeSet<String>>();
        let sent = |problem: Problem| serde_json::from_slice::<Value>(&problem.to_json(RequestId([1; 16]))).unwrap();
        let largest = Problem::limit(limits::LIST_LIMIT).certificate(Some(ShredId([2; 16]))).token(TokenId([3; 16])).in_op(4);
        let largest = largest.hold(Some(HoldId([5; 16]))).order(Some(ShredId([6; 16])));
        let (rule, mode) = (RuleName::parse("tax").unwrap(), Mode::Governance);
        let law = Law { rule, basis: "law 1".into(), mode, until: Some(Timestamp(0)), known: None };
        let largest = largest.law(Some(Box::new(law))).records(Some(7));
        let largest = sent(largest);
        assert_eq!(fields(&schema["properties"]), fields(&largest));
        for (name, value) in largest.as_object().unwrap() {
            let kind = if value.is_number() { "integer" } else { "string" };
            assert_eq!(schema["properties"][name]["type"], kind, "{name}");
        }
        let required: BTreeSet<String> =
            schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
        assert_eq!(required, fields(&sent(Problem::new(Code::Busy))), "what every refusal has");
        let codes: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(schema["properties"]["code"]["enum"], serde_json::json!(codes));
    }
}

//! `/v1/tenants/{tenant}/policy`: what takes two persons in a tenant.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::approvals::ApprovalDocument;
use super::caller::{Authenticated, no_query};
use super::extract::Json;
use super::extract::headers;
use super::extract::path::RawPath;
use super::problem::{Code, Problem};
use crate::domain::approval::{ApprovalRules, ShredScope, Window};
use crate::domain::retention::Period;
use crate::domain::retention::period::PERIOD_FORM;
use crate::domain::{Timestamp, limits, list};
use crate::vault::ops::{PolicyChange, PolicyView};

/// What takes two persons in a tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PutPolicy {
    approvals: PutApprovals,
}

/// What takes two persons: what is left out does not.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutApprovals {
    /// Scopes of orders to shred: `tenant`, `collection`, `subject`, `record`. One asks for all that take more along, too.
    #[serde(default, deserialize_with = "scopes")]
    #[schema(value_type = Vec<String>)]
    shred: Vec<ShredScope>,
    /// The release of legal holds.
    #[serde(default)]
    release_hold: bool,
    /// How long a request waits, and as long must a token have been there before it counts as a second person: a period such as `7d`, of at most
    /// 90 days; `7d` without this field.
    #[serde(default)]
    window: Option<String>,
}

fn scopes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ShredScope>, D::Error> {
    list::list(deserializer, limits::ITEMS_PER_LIST)
}

impl PutApprovals {
    fn parse(self) -> Result<ApprovalRules, Problem> {
        let Self { shred, release_hold, window } = self;
        let window = match window {
            None => Window::default(),
            Some(text) => {
                let period = Period::parse(&text);
                let period =
                    period.ok_or_else(|| Problem::told(Code::InvalidBody, format!("`$.approvals.window`: expected {PERIOD_FORM}")))?;
                Window::of(period).map_err(|limit| Problem::over("approvals.window", limit))?
            }
        };
        Ok(ApprovalRules { shreds: shred.into_iter().max(), release_hold, window })
    }
}

/// A tenant's policy.
#[derive(Serialize, ToSchema)]
pub(super) struct TenantPolicy {
    approvals: ApprovalsDocument,
    /// Since when anything takes two persons, without a break; null where nothing does.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
}

/// What takes two persons.
#[derive(Serialize, ToSchema)]
pub(super) struct ApprovalsDocument {
    /// Scopes of orders to shred.
    shred: Vec<&'static str>,
    /// The release of legal holds.
    release_hold: bool,
    /// How long a request waits, in days.
    window: String,
}

impl From<ApprovalRules> for ApprovalsDocument {
    fn from(rules: ApprovalRules) -> Self {
        Self {
            shred: rules.scopes().map(ShredScope::name).collect(),
            release_hold: rules.release_hold,
            window: format!("{}d", rules.window.days()),
        }
    }
}

impl From<PolicyView> for TenantPolicy {
    fn from(view: PolicyView) -> Self {
        Self { approvals: view.approvals.into(), since: view.since }
    }
}

/// Change what takes two persons in a tenant. What is tighter holds at once; what is looser waits for a second owner (202).
#[utoipa::path(put, path = "/v1/tenants/{tenant}/policy", tag = "approvals",
    params(("tenant" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = PutPolicy,
    responses((status = 200, body = TenantPolicy), (status = 202, body = ApprovalDocument)))]
pub(super) async fn put(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
    Json(body): Json<PutPolicy>,
) -> Result<Response, Problem> {
    no_query(&uri)?;
    let (tenant, idempotency_key) = (RawPath::of(&uri).tenant()?, headers::idempotency_key(&head)?);
    Ok(match api.vault().put_policy(&caller, &tenant, body.approvals.parse()?, idempotency_key).await? {
        PolicyChange::Now(view) => axum::Json(TenantPolicy::from(view)).into_response(),
        PolicyChange::Asked(view) => (StatusCode::ACCEPTED, axum::Json(ApprovalDocument::from(*view))).into_response(),
    })
}

/// Read what takes two persons in a tenant.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/policy", tag = "approvals", params(("tenant" = String, Path)),
    responses((status = 200, body = TenantPolicy)))]
pub(super) async fn read(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
) -> Result<axum::Json<TenantPolicy>, Problem> {
    no_query(&uri)?;
    let view = api.vault().policy(&caller, &RawPath::of(&uri).tenant()?).await?;
    Ok(axum::Json(view.into()))
}

#[cfg(test)]
mod tests {
    use super::super::extract::json;
    use super::*;

    fn parse(approvals: &str) -> Result<ApprovalRules, Code> {
        let text = format!(r#"{{"approvals":{approvals}}}"#);
        let document: PutPolicy = json::parse(text.as_bytes()).map_err(|problem| problem.code())?;
        document.approvals.parse().map_err(|problem| problem.code())
    }

    #[test]
    fn a_policy_names_the_least_that_takes_two_persons_and_is_shown_with_all_that_takes_more() {
        for (sent, shown) in [
            ("{}", (vec![], false, "7d")),
            (r#"{"shred":[]}"#, (vec![], false, "7d")),
            (r#"{"shred":["tenant"]}"#, (vec!["tenant"], false, "7d")),
            (r#"{"shred":["subject","tenant"],"release_hold":true,"window":"2w"}"#, (vec!["tenant", "collection", "subject"], true, "14d")),
            (r#"{"shred":["record"],"window":"1d"}"#, (vec!["tenant", "collection", "subject", "record"], false, "1d")),
        ] {
            let ApprovalsDocument { shred, release_hold, window } = parse(sent).unwrap().into();
            assert_eq!((shred, release_hold, window.as_str()), shown, "{sent}");
        }
        for (sent, code) in [
            (r#"{"shred":["everything"]}"#, Code::InvalidBody),
            (r#"{"shred":"tenant"}"#, Code::InvalidBody),
            (r#"{"shorten":true}"#, Code::InvalidBody),
            (r#"{"window":"7"}"#, Code::InvalidBody),
            (r#"{"window":"0d"}"#, Code::InvalidBody),
            (r#"{"window":"91d"}"#, Code::LimitExceeded),
            ("null", Code::InvalidBody),
        ] {
            assert_eq!(parse(sent), Err(code), "{sent}");
        }
    }
}

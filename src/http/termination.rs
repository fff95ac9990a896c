//! `/v1/tenants/{tenant}/termination`: the end of a tenant, ordered and taken back by its owners.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::approvals::ApprovalDocument;
use super::caller::{Authenticated, no_query};
use super::extract::Json;
use super::extract::headers;
use super::extract::path::RawPath;
use super::problem::Problem;
use super::tenants::TenantDocument;
use crate::domain::Timestamp;
use crate::domain::lifecycle::{GRACE_DEFAULT, Grace, GraceError};
use crate::vault::ops::{KeptRecords, Minimum, Remaining, Terminate, Terminated, TerminationView, Unprocessable, VaultError};

/// A tenant to end.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderEnd {
    /// The tenant's name, again.
    #[schema(example = "acme")]
    confirm: String,
    /// How long it can be taken back: a period of the calendar in UTC, at most `42d`; `0d` ends it at once. Where a law keeps
    /// anything, at least `30d`.
    #[serde(default)]
    #[schema(example = "30d", default = "30d")]
    grace: Option<String>,
    /// Why: one line, for the record of the tenant's states.
    #[serde(default)]
    reason: Option<String>,
}

impl OrderEnd {
    fn parse(self) -> Result<Terminate, Problem> {
        let grace = Grace::parse(self.grace.as_deref().unwrap_or(GRACE_DEFAULT)).map_err(|error| match error {
            GraceError::Form => Problem::from(VaultError::from(Unprocessable::Grace)),
            GraceError::Over(limit) => Problem::over("grace", limit),
        })?;
        Ok(Terminate { confirm: self.confirm, grace, reason: self.reason })
    }
}

/// An end to take back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelEnd {
    /// Why: one line, for the record of the tenant's states.
    #[serde(default)]
    reason: Option<String>,
}

/// The end of a tenant, and what remains of it.
#[derive(Serialize, ToSchema)]
pub(super) struct TerminationDocument {
    #[serde(flatten)]
    tenant: TenantDocument,
    ordered_by: String,
    /// Who approved it, where the tenant's policy asks for two persons.
    approved_by: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    ordered_at: Timestamp,
    /// What is there behind the end, as far as the principal may know.
    remains: Vec<RemainingDocument>,
    /// Legal minimums of the collections, those included that they had. What they keep remains behind the end for auditors alone, so who
    /// must keep these records takes them along before.
    minimums: Vec<MinimumDocument>,
    /// Whether there are more of either than are listed.
    more: bool,
}

/// Something that remains.
#[derive(Serialize, ToSchema)]
struct RemainingDocument {
    /// `legal-hold`; `legal-obligation`, which is all holds that the principal may not know of; `legal-minimum`, `audit-trail`,
    /// `certificate`, `name-token` or `ciphertext`.
    what: &'static str,
    why: &'static str,
    /// Until when; null where nothing ends it by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// The hold, where the principal may know of it.
    hold: Option<String>,
    /// What a law keeps, where the principal may read policies.
    kept: Option<KeptDocument>,
}

/// Records that a law keeps.
#[derive(Serialize, ToSchema)]
struct KeptDocument {
    collection: String,
    /// The rule, whose name is their legal purpose.
    rule: String,
    /// The law that it cites.
    basis: String,
    /// How many; as many at least, where `more` says that not all were counted.
    records: u64,
}

/// A legal minimum.
#[derive(Serialize, ToSchema)]
struct MinimumDocument {
    collection: String,
    rule: String,
    /// The law that it cites.
    basis: String,
    #[schema(example = "7y")]
    period: String,
}

impl From<TerminationView> for TerminationDocument {
    fn from(view: TerminationView) -> Self {
        let TerminationView { tenant, ordered_by, approved_by, ordered_at, ends_at: _, remains, minimums, more } = view;
        let kept = |KeptRecords { collection, rule, basis, records }| KeptDocument { collection, rule, basis, records };
        let remaining = |Remaining { what, why, until, hold, kept: of }| {
            let hold = hold.map(|id| id.to_string());
            RemainingDocument { what, why, until, hold, kept: of.map(kept) }
        };
        let minimum = |Minimum { collection, rule, basis, period }| MinimumDocument { collection, rule, basis, period };
        Self {
            tenant: tenant.into(),
            ordered_by: ordered_by.to_string(),
            approved_by: approved_by.map(|by| by.to_string()),
            ordered_at,
            remains: remains.into_iter().map(remaining).collect(),
            minimums: minimums.into_iter().map(minimum).collect(),
            more,
        }
    }
}

/// End a tenant: nobody writes from now on, owners alone read, and after the grace it is shredded. The answer tells what remains then. Where the
/// tenant's policy asks two persons for its shred, it stays as it is until a second owner approves, and the answer is the request. With a
/// grace that can be over before thirty days are it is refused (423) where a law keeps anything.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/termination", tag = "tenants",
    params(("tenant" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = OrderEnd,
    responses((status = 202, body = TerminationDocument), (status = 409), (status = 423)))]
pub(super) async fn order(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
    Json(body): Json<OrderEnd>,
) -> Result<Response, Problem> {
    no_query(&uri)?;
    let idempotency_key = headers::idempotency_key(&head)?;
    let ordered = api.vault().terminate_tenant(&caller, &RawPath::of(&uri).tenant()?, body.parse()?, idempotency_key).await?;
    Ok(match ordered {
        Terminated::Now(view) => (StatusCode::ACCEPTED, axum::Json(TerminationDocument::from(*view))).into_response(),
        Terminated::Asked(view) => (StatusCode::ACCEPTED, axum::Json(ApprovalDocument::from(*view))).into_response(),
    })
}

/// Read when a tenant ends, and what remains of it, why, and until when.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/termination", tag = "tenants", params(("tenant" = String, Path)),
    responses((status = 200, body = TerminationDocument)))]
pub(super) async fn read(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
) -> Result<axum::Json<TerminationDocument>, Problem> {
    no_query(&uri)?;
    let view = api.vault().termination(&caller, &RawPath::of(&uri).tenant()?).await?;
    Ok(axum::Json(view.into()))
}

/// Take back the order to end a tenant, while its grace lasts.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/termination/cancel", tag = "tenants",
    params(("tenant" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = CancelEnd,
    responses((status = 200, body = TenantDocument), (status = 409)))]
pub(super) async fn cancel(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
    Json(body): Json<CancelEnd>,
) -> Result<axum::Json<TenantDocument>, Problem> {
    no_query(&uri)?;
    let idempotency_key = headers::idempotency_key(&head)?;
    let view = api.vault().cancel_termination(&caller, &RawPath::of(&uri).tenant()?, body.reason, idempotency_key).await?;
    Ok(axum::Json(view.into()))
}

//! `/v1/tenants/{tenant}/states`: the steps of a tenant from one state to another.

use axum::extract::State;
use http::Uri;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::caller::Authenticated;
use super::extract::path::RawPath;
use super::extract::query::{Query, page};
use super::problem::Problem;
use crate::domain::Timestamp;
use crate::vault::ops::StateChange;

/// A step from one state to another.
#[derive(Serialize, ToSchema)]
pub(super) struct StateChangeDocument {
    /// `suspend`, `resume`, `terminate`, `cancel`; `grace-over`; `shred`, of an order for the tenant, `restrict`, when all but what legal holds
    /// are on is gone, and `shred-done`.
    step: &'static str,
    from: &'static str,
    to: &'static str,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The id of the token that asked for it; zeros where the store found that a grace is over.
    by: String,
    role: &'static str,
    /// The request, as its answer named it in `X-Request-Id`.
    request: String,
    /// Why, where that was said; null once the tenant is shredded.
    reason: Option<String>,
}

impl From<StateChange> for StateChangeDocument {
    fn from(change: StateChange) -> Self {
        let StateChange { step, from, to, at, by, role, request, reason } = change;
        Self { step, from, to, at, by: by.to_string(), role: role.name(), request: request.to_string(), reason }
    }
}

/// A page of steps.
#[derive(Serialize, ToSchema)]
pub(super) struct StatePage {
    data: Vec<StateChangeDocument>,
    next_cursor: Option<String>,
}

/// List the steps of a tenant from one state to another, oldest first, with who took them and why: all of them to owners and auditors, and its
/// own to the operator, whose pages may be shorter than `limit`. When the tenant is shredded, to who ordered that.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/states", tag = "tenants",
    params(("tenant" = String, Path), ("cursor" = Option<String>, Query), ("limit" = Option<u64>, Query)),
    responses((status = 200, body = StatePage)))]
pub(super) async fn list(Authenticated(caller): Authenticated, State(api): State<Api>, uri: Uri) -> Result<axum::Json<StatePage>, Problem> {
    let query = Query::parse(&uri, page::PARAMETERS)?;
    let (changes, next) =
        api.vault().state_changes(&caller, &RawPath::of(&uri).tenant()?, query.text("cursor"), page::limit(&query)?).await?;
    Ok(axum::Json(StatePage { data: changes.into_iter().map(StateChangeDocument::from).collect(), next_cursor: next }))
}

//! `/v1/tenants`: the operator's.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::caller::{Authenticated, no_query};
use super::extract::Json;
use super::extract::headers;
use super::extract::path::RawPath;
use super::extract::query::{Query, page};
use super::problem::{Code, Problem};
use crate::domain::{TenantName, Timestamp};
use crate::vault::ops::TenantView;

/// A tenant to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTenant {
    /// Its name; names are never used again.
    #[schema(example = "acme")]
    tenant: String,
    /// Whether a write to an unknown collection makes it, with the default policy.
    #[serde(default)]
    create_collections_on_write: bool,
    /// Whether it is to be imported from a bundle: then it serves nothing until all of that is there, and the bundle says the other
    /// setting.
    #[serde(default)]
    import: bool,
}

/// A tenant that was created.
#[derive(Serialize, ToSchema)]
pub(super) struct CreatedTenant {
    tenant: String,
    /// The first owner's token; shown once.
    token: String,
}

/// A tenant.
#[derive(Serialize, ToSchema)]
pub(super) struct TenantDocument {
    /// Its name, or a pseudonym once it is shredded.
    tenant: String,
    /// `active`, `importing`, `suspended`, `terminating`, `terminating-suspended`, `ended`, `restricted`, `pending` or `shredded`.
    state: &'static str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Since when it is suspended.
    #[schema(value_type = Option<String>, format = DateTime)]
    suspended_at: Option<Timestamp>,
    /// When its grace ends, if it is ordered to end.
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<Timestamp>,
    create_collections_on_write: bool,
    /// How far its import has come; left out in a list, for the operator, and of a tenant that came from no bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    import: Option<ImportDocument>,
}

/// How far an import has come.
#[derive(Serialize, ToSchema)]
pub(super) struct ImportDocument {
    /// The bundle's id.
    bundle: String,
    /// The number of its next frame, from 0.
    next: u64,
    /// The running hash over those before it.
    chain: String,
    /// Records among them.
    records: u64,
}

impl From<TenantView> for TenantDocument {
    fn from(view: TenantView) -> Self {
        let import = view.import.map(|import| ImportDocument {
            bundle: import.bundle.to_string(),
            next: import.next,
            chain: import.chain,
            records: import.records,
        });
        let TenantView { name, state, suspended_at, ends_at, created_at, create_on_write, .. } = view;
        Self { tenant: name, state, created_at, suspended_at, ends_at, create_collections_on_write: create_on_write, import }
    }
}

/// Why a tenant is suspended or resumed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeTenant {
    /// One line, for the record of the tenant's states.
    reason: String,
}

/// A page of tenants.
#[derive(Serialize, ToSchema)]
pub(super) struct TenantPage {
    data: Vec<TenantDocument>,
    next_cursor: Option<String>,
}

/// Create a tenant, with its first owner's token.
#[utoipa::path(post, path = "/v1/tenants", tag = "tenants", params(("Idempotency-Key" = Option<String>, Header)), request_body = NewTenant,
    responses((status = 201, body = CreatedTenant), (status = 409)))]
pub(super) async fn create(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
    Json(body): Json<NewTenant>,
) -> Result<Response, Problem> {
    no_query(&uri)?;
    let name = TenantName::parse(&body.tenant).map_err(|error| Problem::name("tenant", error))?;
    let idempotency_key = headers::idempotency_key(&head)?;
    let minted = if body.import {
        if body.create_collections_on_write {
            return Err(Problem::with(Code::InvalidBody, "of a tenant that is imported, the bundle says `create_collections_on_write`"));
        }
        api.vault().create_tenant_for_import(&caller, name, idempotency_key).await?
    } else {
        api.vault().create_tenant(&caller, name, body.create_collections_on_write, idempotency_key).await?
    };
    let created = CreatedTenant { tenant: body.tenant, token: minted.text.to_string() };
    Ok((StatusCode::CREATED, axum::Json(created)).into_response())
}

/// List the tenants, in the order they were made.
#[utoipa::path(get, path = "/v1/tenants", tag = "tenants",
    params(("cursor" = Option<String>, Query), ("limit" = Option<u64>, Query)),
    responses((status = 200, body = TenantPage)))]
pub(super) async fn list(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
) -> Result<axum::Json<TenantPage>, Problem> {
    let query = Query::parse(&uri, page::PARAMETERS)?;
    let (views, next) = api.vault().tenants(&caller, query.text("cursor"), page::limit(&query)?).await?;
    let data = views.into_iter().map(TenantDocument::from).collect();
    Ok(axum::Json(TenantPage { data, next_cursor: next }))
}

/// Read a tenant's state.
#[utoipa::path(get, path = "/v1/tenants/{tenant}", tag = "tenants", params(("tenant" = String, Path)),
    responses((status = 200, body = TenantDocument)))]
pub(super) async fn read(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
) -> Result<axum::Json<TenantDocument>, Problem> {
    no_query(&uri)?;
    let view = api.vault().tenant(&caller, &RawPath::of(&uri).tenant()?).await?;
    Ok(axum::Json(view.into()))
}

/// Suspend a tenant: no data of it is read or written until it is resumed. Legal holds, retention and orders that were given go on.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/suspend", tag = "tenants",
    params(("tenant" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = ChangeTenant,
    responses((status = 200, body = TenantDocument), (status = 409)))]
pub(super) async fn suspend(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
    Json(body): Json<ChangeTenant>,
) -> Result<axum::Json<TenantDocument>, Problem> {
    let (tenant, key) = named(&uri, &head)?;
    Ok(axum::Json(api.vault().suspend_tenant(&caller, &tenant, body.reason, key).await?.into()))
}

/// Resume a suspended tenant.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/resume", tag = "tenants",
    params(("tenant" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = ChangeTenant,
    responses((status = 200, body = TenantDocument), (status = 409)))]
pub(super) async fn resume(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
    Json(body): Json<ChangeTenant>,
) -> Result<axum::Json<TenantDocument>, Problem> {
    let (tenant, key) = named(&uri, &head)?;
    Ok(axum::Json(api.vault().resume_tenant(&caller, &tenant, body.reason, key).await?.into()))
}

/// The tenant whose state a request changes, and its idempotency key.
fn named(uri: &Uri, head: &HeaderMap) -> Result<(TenantName, Option<String>), Problem> {
    no_query(uri)?;
    Ok((RawPath::of(uri).tenant()?, headers::idempotency_key(head)?))
}

//! `/v1/tenants/{tenant}/collections`: collections and their policies.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::caller::{Authenticated, no_query};
use super::extract::Json;
use super::extract::headers;
use super::extract::path::RawPath;
use super::extract::query::{Query, page};
use super::problem::Problem;
use crate::domain::{CollectionPolicy, Timestamp};
use crate::vault::ops::CollectionView;

/// A collection's policy document, as it is sent; its type for serde is [`CollectionPolicy`].
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the domain's type for OpenAPI, which the domain does not know")]
pub(super) struct PolicyDocument {
    /// `collection`, `subject` (the default) or `record`: what one destroyable key protects.
    shred_unit: Option<String>,
    /// What kinds of data it holds; certificates of its shreds, which are public, say it.
    categories: Option<Vec<String>>,
    /// What the data is for.
    purposes: Option<Vec<String>>,
    /// How long its records are kept; `until-deleted` by default.
    retention: Option<RetentionDocument>,
    /// `keep` (the default) or `delete`: records that only name a shredded subject second.
    secondary_subjects: Option<String>,
}

/// How long records are kept; its type for serde is the domain's.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the domain's type for OpenAPI, which the domain does not know")]
pub(super) enum RetentionDocument {
    /// `until-deleted`: until somebody deletes or shreds them.
    UntilDeleted(String),
    /// By rules.
    Rules(ScheduleDocument),
}

/// Rules, and the time zone whose days they count.
#[derive(Serialize, ToSchema)]
pub(super) struct ScheduleDocument {
    /// As IANA spells it, for example `America/Los_Angeles`.
    time_zone: String,
    /// From 1 to 64.
    rules: Vec<RuleDocument>,
}

/// A rule. Periods are whole years, months, weeks or days: `7y`, `18m`, `6w`, `30d`. A period is over at the end of its last day.
#[derive(Serialize, ToSchema)]
pub(super) struct RuleDocument {
    /// Its name in refusals and explanations.
    name: String,
    /// Which of the policy's categories it is for; all by default. A record says which it is of by its custom pair `category`; one
    /// that says none is of all.
    categories: Option<Vec<String>>,
    /// `created`, `modified`, `{"field": "/json/pointer"}`: a day or a time of RFC 3339 in the record's JSON value; or what is reported of the
    /// record's first subject: `{"event": "contract-ended"}`, or `subject-end`.
    #[schema(value_type = Object)]
    from: String,
    /// How long the law asks for.
    minimum: Option<MinimumDocument>,
    /// How long the records may be kept for the collection's purposes.
    maximum: String,
    /// At the maximum: `delete`, `shred` (where `shred_unit` is `record`), or `{"restrict": PERIOD}`: kept for its legal purpose alone
    /// until that period, from the same event, is over.
    #[schema(value_type = Object)]
    then: String,
}

/// A legal minimum.
#[derive(Serialize, ToSchema)]
pub(super) struct MinimumDocument {
    /// How long.
    period: String,
    /// The law that says so, cited.
    basis: String,
    /// `compliance`, which is the default: nobody shortens it for what is there; or `governance`: an owner and a governor may
    /// (`.../bypasses`).
    mode: Option<String>,
}

/// A collection.
#[derive(Serialize, ToSchema)]
pub(super) struct CollectionDocument {
    /// Its name, or a pseudonym once it is shredded.
    collection: String,
    /// `active`, `pending` or `shredded`.
    state: &'static str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[serde(flatten)]
    #[schema(value_type = PolicyDocument)]
    policy: CollectionPolicy,
}

impl From<CollectionView> for CollectionDocument {
    fn from(view: CollectionView) -> Self {
        Self { collection: view.name, state: view.state, created_at: view.created_at, policy: view.policy }
    }
}

/// A page of collections.
#[derive(Serialize, ToSchema)]
pub(super) struct CollectionPage {
    data: Vec<CollectionDocument>,
    next_cursor: Option<String>,
}

/// Create a collection, or replace its policy.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/collections/{collection}", tag = "collections",
    params(("tenant" = String, Path), ("collection" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = PolicyDocument,
    responses((status = 201, body = CollectionDocument), (status = 200, body = CollectionDocument), (status = 409)))]
pub(super) async fn put(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
    Json(policy): Json<CollectionPolicy>,
) -> Result<Response, Problem> {
    no_query(&uri)?;
    let path = RawPath::of(&uri);
    let idempotency_key = headers::idempotency_key(&head)?;
    // Boxed: it is the largest of all operations.
    let view = Box::pin(api.vault().put_collection(&caller, &path.tenant()?, &path.collection()?, policy, idempotency_key)).await?;
    let status = if view.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, axum::Json(CollectionDocument::from(view))).into_response())
}

/// Read a collection's policy.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/collections/{collection}", tag = "collections",
    params(("tenant" = String, Path), ("collection" = String, Path)),
    responses((status = 200, body = CollectionDocument)))]
pub(super) async fn read(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
) -> Result<axum::Json<CollectionDocument>, Problem> {
    no_query(&uri)?;
    let path = RawPath::of(&uri);
    let view = api.vault().collection(&caller, &path.tenant()?, &path.collection()?).await?;
    Ok(axum::Json(view.into()))
}

/// List the collections that the grant reaches.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/collections", tag = "collections",
    params(("tenant" = String, Path), ("cursor" = Option<String>, Query), ("limit" = Option<u64>, Query)),
    responses((status = 200, body = CollectionPage)))]
pub(super) async fn list(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
) -> Result<axum::Json<CollectionPage>, Problem> {
    let query = Query::parse(&uri, page::PARAMETERS)?;
    let (cursor, limit) = (query.text("cursor"), page::limit(&query)?);
    let (views, next) = api.vault().collections(&caller, &RawPath::of(&uri).tenant()?, cursor, limit).await?;
    let data = views.into_iter().map(CollectionDocument::from).collect();
    Ok(axum::Json(CollectionPage { data, next_cursor: next }))
}

//! `/v1/tenants/{tenant}/collections/{collection}/retention/{key...}`: why a record is kept, and until when.

use axum::extract::State;
use http::Uri;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::caller::{Authenticated, no_query};
use super::extract::headers;
use super::extract::path::RawPath;
use super::problem::Problem;
use crate::domain::Timestamp;
use crate::domain::retention::explain::Explanation;
use crate::vault::ops::RetentionView;

/// Why a record is kept, until when, by which rule, and what is to happen then.
#[derive(Serialize, ToSchema)]
pub(super) struct RetentionExplained {
    /// The record's, as of this answer.
    etag: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    modified_at: Timestamp,
    /// The record's own end, `Lethe-Expires-At`.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// The category that the record names by its custom pair `category`.
    category: Option<String>,
    #[serde(flatten)]
    #[schema(value_type = ExplanationDocument)]
    explanation: Explanation,
}

/// An explanation; its type for serde is the domain's.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the domain's type for OpenAPI, which the domain does not know")]
pub(super) struct ExplanationDocument {
    /// In one sentence, for people.
    why: String,
    /// `kept`, `restricted` (for its legal purpose alone) or `due` (its time is over).
    state: String,
    /// `until-deleted` or `rules`.
    retention: String,
    /// Whose days count; null without rules.
    time_zone: Option<String>,
    /// The legal minimum that ends last: `until`, `rule`, `basis`.
    #[schema(value_type = Option<Object>)]
    minimum: Option<String>,
    /// From when on it is for its legal purpose alone: `at`, `rule`.
    #[schema(value_type = Option<Object>)]
    restricted: Option<String>,
    /// The end: `at`; `rule`, null for the record's own; `put_off_by`, the rule whose minimum puts it off; `then`, `delete` or
    /// `shred`. Null where there is none, or it is not known yet.
    #[schema(value_type = Option<Object>)]
    end: Option<String>,
    /// The rules that are for this record: `rule`, `from`, `day` (day zero; null while it is not known), `minimum_until`,
    /// `maximum_at`, `end_at`, `then`.
    #[schema(value_type = Vec<Object>)]
    rules: Vec<String>,
}

impl From<RetentionView> for RetentionExplained {
    fn from(view: RetentionView) -> Self {
        let RetentionView { version, created_at, modified_at, expires_at, category, explanation } = view;
        Self { etag: headers::etag(version), created_at, modified_at, expires_at, category, explanation }
    }
}

/// Explain how long a record is kept, and why.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/collections/{collection}/retention/{key}", tag = "retention",
    params(("tenant" = String, Path), ("collection" = String, Path), ("key" = String, Path, description = "Segments separated by `/`"),
        ("Lethe-Purpose" = Option<String>, Header)),
    responses((status = 200, body = RetentionExplained)))]
pub(super) async fn explain(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
) -> Result<axum::Json<RetentionExplained>, Problem> {
    no_query(&uri)?;
    let path = RawPath::of(&uri);
    let view = api.vault().explain_retention(&caller, &path.tenant()?, &path.collection()?, &path.key()?).await?;
    Ok(axum::Json(view.into()))
}

//! `/v1/certificates/{id}`: signed notes. They hold no personal data and no names, so whoever knows the id may read
//! one: the tenant, and its tokens, may be gone.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Uri, header};

use super::Api;
use super::caller::no_query;
use super::extract::path::RawPath;
use super::problem::Problem;

/// Read a certificate of erasure.
#[utoipa::path(get, path = "/v1/certificates/{id}", tag = "evidence", params(("id" = String, Path)),
    responses((status = 200, content_type = "text/plain", body = String), (status = 404)))]
pub(super) async fn read(State(api): State<Api>, uri: Uri) -> Result<Response, Problem> {
    no_query(&uri)?;
    let note = api.vault().certificate(RawPath::of(&uri).certificate()?).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response())
}

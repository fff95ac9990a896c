//! `/metrics`: the Prometheus exposition, for the operator: it tells how much the store is used.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Uri, header};

use super::Api;
use super::caller::{Authenticated, no_query};
use super::problem::Problem;

/// Read the metrics.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, content_type = "text/plain", body = String)))]
pub(super) async fn read(Authenticated(caller): Authenticated, State(api): State<Api>, uri: Uri) -> Result<Response, Problem> {
    no_query(&uri)?;
    api.vault().permit_metrics(&caller).await?;
    api.vault().observe().await;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.render_metrics()).into_response())
}

//! `/health/live`: the process answers. `/health/ready`: it can do its work. Neither tells anything about data.

use axum::extract::State;
use http::StatusCode;

use super::Api;
use super::problem::{Code, Problem};

/// Does the process answer?
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 204)))]
pub(super) async fn live() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Can it do its work?
#[utoipa::path(get, path = "/health/ready", tag = "health", responses((status = 204)))]
pub(super) async fn ready(State(api): State<Api>) -> Result<StatusCode, Problem> {
    if api.is_stopping() {
        return Err(Problem::new(Code::ShuttingDown));
    }
    match api.vault().ready().await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(_) => Err(Problem::new(Code::Unavailable)),
    }
}

//! `/v1/jobs/snapshots`: the data store's files as they are now, kept on the server's machine to copy a backup from.

use axum::extract::State;
use http::{StatusCode, Uri};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::caller::{Authenticated, no_query};
use super::extract::path::RawPath;
use super::problem::Problem;
use crate::domain::Timestamp;
use crate::vault::ops::SnapshotView;

/// A snapshot of the data store.
#[derive(Serialize, ToSchema)]
pub(super) struct SnapshotTaken {
    id: String,
    /// The store's id.
    store: String,
    /// Its directory on the server's machine: `data` holds the files, and who copies from it keeps `lease` locked (`flock`).
    directory: String,
    #[schema(value_type = String, format = DateTime)]
    taken_at: Timestamp,
    /// The epoch of the control store.
    epoch: u64,
    /// Entries of the public log.
    log_size: u64,
    /// How many records there are, as the engine estimates.
    records_estimate: u64,
}

impl From<SnapshotView> for SnapshotTaken {
    fn from(view: SnapshotView) -> Self {
        let SnapshotView { id, store, dir, taken_at, epoch, log_size, records_estimate } = view;
        let directory = dir.display().to_string();
        Self { id: id.to_string(), store: store.to_string(), directory, taken_at, epoch: epoch.0, log_size, records_estimate }
    }
}

/// Take a snapshot of the data store, for `lethe backup` on the server's machine to copy from. It goes by itself once nobody holds its
/// lease.
#[utoipa::path(post, path = "/v1/jobs/snapshots", tag = "backup", responses((status = 201, body = SnapshotTaken)))]
pub(super) async fn take(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
) -> Result<(StatusCode, axum::Json<SnapshotTaken>), Problem> {
    no_query(&uri)?;
    let taken = api.vault().take_snapshot(&caller).await?;
    Ok((StatusCode::CREATED, axum::Json(taken.into())))
}

/// Let a snapshot go.
#[utoipa::path(delete, path = "/v1/jobs/snapshots/{id}", tag = "backup", params(("id" = String, Path)), responses((status = 204)))]
pub(super) async fn release(Authenticated(caller): Authenticated, State(api): State<Api>, uri: Uri) -> Result<StatusCode, Problem> {
    no_query(&uri)?;
    api.vault().release_snapshot(&caller, RawPath::of(&uri).snapshot()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

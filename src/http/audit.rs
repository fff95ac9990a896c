//! `/v1/tenants/{tenant}/audit`: the tenant's own trail.

use axum::extract::State;
use http::Uri;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::caller::Authenticated;
use super::extract::path::RawPath;
use super::extract::query::{Query, page};
use super::problem::{Code, Problem};
use crate::vault::audit::heads::ProvenHead;
use crate::vault::ops::NamedEntry;

/// A page of the trail, oldest first.
#[derive(Serialize, ToSchema)]
pub(super) struct TrailDocument {
    /// Entries: what was done, by whom, to what, and the bytes and hash that `lethe audit verify` checks. `names` says what the
    /// tokens of `target` stand for while the keys live, gives pseudonyms afterwards, and `unnamed-` and a token where the tenant's state leaves
    /// no data to the principal.
    #[schema(value_type = Vec<Object>)]
    data: Vec<serde_json::Value>,
    /// The `after` of the next page; null where nothing more is there yet.
    next_cursor: Option<String>,
    /// The `after` from where entries to come can be read.
    next: String,
    /// With `heads=true`: what the chains are verified against.
    #[serde(skip_serializing_if = "Option::is_none")]
    heads: Option<HeadsDocument>,
}

/// The heads of a tenant's chains in the log.
#[derive(Serialize, ToSchema)]
pub(super) struct HeadsDocument {
    /// The number that the chains are bound to.
    tenant_no: u64,
    /// Each with its proof against a signed checkpoint.
    #[schema(value_type = Vec<Object>)]
    proven: Vec<ProvenHead>,
}

/// Read the tenant's audit trail.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/audit", tag = "evidence",
    params(("tenant" = String, Path), ("after" = Option<String>, Query), ("limit" = Option<u64>, Query), ("heads" = Option<bool>, Query)),
    responses((status = 200, body = TrailDocument)))]
pub(super) async fn read(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
) -> Result<axum::Json<TrailDocument>, Problem> {
    let query = Query::parse(&uri, &["after", "limit", "heads"])?;
    let tenant = RawPath::of(&uri).tenant()?;
    let heads = match query.text("heads") {
        None | Some("false") => None,
        Some("true") => Some(api.vault().audit_heads(&caller, &tenant).await?),
        Some(_) => return Err(Problem::with(Code::MalformedQuery, "`heads` must be `true` or `false`")),
    };
    let heads = heads.map(|(number, proven)| HeadsDocument { tenant_no: number.0, proven });
    let page = api.vault().audit_page(&caller, &tenant, query.text("after"), page::limit(&query)?).await?;
    let data = page.entries.iter().map(NamedEntry::to_json).collect();
    Ok(axum::Json(TrailDocument { data, next_cursor: page.more.then(|| page.next.clone()), next: page.next, heads }))
}

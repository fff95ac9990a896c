//! `/v1/tenants/{tenant}/export` and `/import`: a whole tenant, out to an age recipient and in from a bundle.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use http::{HeaderValue, Uri, header};
use serde::Deserialize;
use utoipa::ToSchema;

use super::Api;
use super::caller::{Authenticated, no_query};
use super::extract::Json;
use super::extract::body;
use super::extract::path::RawPath;
use super::extract::query::Query;
use super::problem::{Code, Problem};
use super::records::body_error;
use super::tenants::TenantDocument;
use crate::domain::BundleId;
use crate::domain::limits::{self, Limit};
use crate::vault::ops::{ExportTenant, ImportPart, Recipient};

/// For whom a tenant is exported.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Export {
    /// An X25519 recipient of age: what is exported opens with its identity and with nothing else.
    #[schema(example = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p")]
    recipient: String,
    /// Another one, a counsel's: holds that only a counsel may know of are sealed for it within the export. Needed where such a hold
    /// stands.
    #[serde(default)]
    counsel_recipient: Option<String>,
    /// Another one, an auditor's: records that are kept for their legal purpose alone are sealed for it within the export. Needed where
    /// a collection has rules by which records can be.
    #[serde(default)]
    auditor_recipient: Option<String>,
}

fn recipient(field: &'static str, text: &str) -> Result<Recipient, Problem> {
    text.parse::<Recipient>().map_err(|error| Problem::told(Code::InvalidBody, format!("`{field}`: {error}")))
}

/// Export the tenant: a bundle (docs/export.md) in an age file. It is whole only if the age file is.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/export", tag = "tenants", params(("tenant" = String, Path)), request_body = Export,
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>)))]
pub(super) async fn export(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    Json(asked): Json<Export>,
) -> Result<Response, Problem> {
    no_query(&uri)?;
    // Its body may have taken its time.
    api.vault().holds(&caller).await?;
    let export = ExportTenant {
        recipient: recipient("recipient", &asked.recipient)?,
        counsel: asked.counsel_recipient.as_deref().map(|text| recipient("counsel_recipient", text)).transpose()?,
        auditor: asked.auditor_recipient.as_deref().map(|text| recipient("auditor_recipient", text)).transpose()?,
    };
    let stream = api.vault().export_tenant(&caller, &RawPath::of(&uri).tenant()?, export).await?;
    // A failure in the middle ends the connection, and the age file is cut short: nobody takes it for whole.
    let mut response = Body::from_stream(stream).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}

/// Import frames of a bundle into a tenant that was made for it, in as many requests as one likes. With the last one it is in use.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/import", tag = "tenants",
    params(("tenant" = String, Path), ("bundle" = String, Query, description = "The bundle's id"),
        ("from" = u64, Query, description = "The number of the first frame that is sent, from 0; those that are there already are passed over")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = TenantDocument), (status = 413), (status = 422), (status = 423)))]
pub(super) async fn import(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    body: Body,
) -> Result<axum::Json<TenantDocument>, Problem> {
    let query = Query::parse(&uri, &["bundle", "from"])?;
    let bundle = query.text("bundle").and_then(|text| text.parse::<BundleId>().ok());
    let bundle = bundle.ok_or_else(|| Problem::with(Code::MalformedQuery, "`bundle` must be the bundle's id, as its header has it"))?;
    let from = query.number("from")?.ok_or_else(|| Problem::with(Code::MalformedQuery, "`from` must be the number of the first frame"))?;
    let tenant = RawPath::of(&uri).tenant()?;
    // Each frame has its own limit, and each value the one that the configuration sets.
    let unlimited = Limit { max: u64::MAX, ..limits::VALUE_LEN };
    let body = body::watched(body, api.options().progress_timeout, unlimited).map(|chunk| chunk.map_err(body_error));
    let view = api.vault().import_tenant(&caller, &tenant, ImportPart { bundle, from, body: Box::pin(body) }).await?;
    Ok(axum::Json(view.into()))
}

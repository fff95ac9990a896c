//! `/v1/tenants/{tenant}/approvals`: what waits for a second person, and the second person's word;
//! `/v1/tenants/{tenant}/collections/{collection}/shortenings`: asking for one, so that rules hold for what is there already;
//! `.../bypasses`: the same where minimums of the governance kind stand over it.

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
use super::policy::ApprovalsDocument;
use super::problem::{Code, Problem};
use crate::domain::Timestamp;
use crate::vault::ops::{ApprovalView, ApprovalWhat, ShownScope};

/// A request for a second person.
#[derive(Serialize, ToSchema)]
pub(super) struct ApprovalDocument {
    /// Of an order to shred, the order's id.
    id: String,
    /// `pending`; `approved`, and carried out; `refused`; `withdrawn`, by who asked; or `expired`: nobody has decided in time.
    state: &'static str,
    /// `shred`, `release-hold`, `loosen-policy`, `shorten-retention`, `bypass-governance` or `terminate`.
    action: &'static str,
    /// SHA-256 of what is asked for, in hexadecimal: it does not change, and who approves may send it back to be sure.
    digest: String,
    /// Of a shred: `tenant`, `collection`, `subject` or `record`.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'static str>,
    /// Of a shred, by names as records that are there tell them; others are `unnamed-` and a token, those of what was shredded pseudonyms,
    /// and a person's other ids for who may not read them. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    subjects: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collection: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The state of the order to shred, as `GET .../shreds/{id}` tells it; `gone` where what it names went with another order while a legal
    /// hold kept it.
    #[serde(skip_serializing_if = "Option::is_none")]
    order_state: Option<&'static str>,
    /// Of a release: the legal hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<String>,
    /// Of a looser policy: what takes two persons, as it was when it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<ApprovalsDocument>,
    /// And as it would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<ApprovalsDocument>,
    /// Of a shortening, and of a bypass: SHA-256 of the rules that are to hold; the collection's policy shows them as long as it is not changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<String>,
    /// Of one that is approved: whether all that was there has been gone through.
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<bool>,
    /// Of an end of the tenant: how long it can be taken back, from the approval on.
    #[serde(skip_serializing_if = "Option::is_none")]
    grace: Option<String>,
    /// Why it is asked for, where that was said.
    reason: Option<String>,
    /// The id of the token that asked.
    asked_by: String,
    #[schema(value_type = String, format = DateTime)]
    asked_at: Timestamp,
    /// From when on nobody can approve it any more.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// The id of the token that decided.
    ended_by: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// Why it was refused, where that was said.
    refusal_reason: Option<String>,
}

impl From<ApprovalView> for ApprovalDocument {
    fn from(view: ApprovalView) -> Self {
        let mut document = Self {
            id: view.id.to_string(),
            state: view.state,
            action: "",
            digest: hex::encode(view.digest),
            scope: None,
            subjects: None,
            collection: None,
            key: None,
            order_state: None,
            hold: None,
            from: None,
            to: None,
            rules: None,
            done: None,
            grace: None,
            reason: view.reason,
            asked_by: view.asked_by.to_string(),
            asked_at: view.asked_at,
            expires_at: view.expires_at,
            ended_by: view.ended_by.map(|by| by.to_string()),
            ended_at: view.ended_at,
            refusal_reason: view.refusal,
        };
        match view.what {
            ApprovalWhat::Shred { scope, shown, order } => {
                let ShownScope { subjects, collection, records, .. } = shown.unwrap_or_default();
                let (of_record, key) = records.into_iter().next().unzip();
                document.action = "shred";
                document.scope = Some(scope);
                document.subjects = (!subjects.is_empty()).then_some(subjects);
                document.collection = collection.or(of_record);
                document.key = key;
                document.order_state = Some(order);
            }
            ApprovalWhat::ReleaseHold { hold } => {
                document.action = "release-hold";
                document.hold = Some(hold.to_string());
            }
            ApprovalWhat::LoosenPolicy { from, to } => {
                document.action = "loosen-policy";
                document.from = Some(from.into());
                document.to = Some(to.into());
            }
            ApprovalWhat::ShortenRetention { collection, rules, done } => {
                document.action = "shorten-retention";
                document.collection = Some(collection);
                document.rules = Some(hex::encode(rules));
                document.done = done;
            }
            ApprovalWhat::BypassGovernance { collection, rules, done } => {
                document.action = "bypass-governance";
                document.collection = Some(collection);
                document.rules = Some(hex::encode(rules));
                document.done = done;
            }
            ApprovalWhat::Terminate { grace } => {
                document.action = "terminate";
                document.grace = Some(grace);
            }
        }
        document
    }
}

/// A page of requests.
#[derive(Serialize, ToSchema)]
pub(super) struct ApprovalPage {
    data: Vec<ApprovalDocument>,
    next_cursor: Option<String>,
}

/// A second person's word.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Approve {
    /// `digest` of the request, as it was shown: another one is refused (412).
    #[serde(default)]
    digest: Option<String>,
}

/// A bypass that is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Bypass {
    /// Why: one line. Name nobody in it.
    reason: String,
}

/// A refusal.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Refuse {
    /// Why: one line.
    #[serde(default)]
    reason: Option<String>,
}

const STATES: [&str; 5] = ["pending", "approved", "refused", "withdrawn", "expired"];

/// List the requests for a second person that the principal may know of: what it could do itself, what it asked for. Auditors see all.
///
/// Where few among many are asked for, a page may be shorter than `limit`, or empty: `next_cursor` alone says whether there is more.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/approvals", tag = "approvals",
    params(("tenant" = String, Path), ("state" = Option<String>, Query, description = "Of this state alone"),
        ("cursor" = Option<String>, Query), ("limit" = Option<u64>, Query)),
    responses((status = 200, body = ApprovalPage)))]
pub(super) async fn list(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
) -> Result<axum::Json<ApprovalPage>, Problem> {
    let query = Query::parse(&uri, &["state", "cursor", "limit"])?;
    let state = query.text("state");
    if state.is_some_and(|state| !STATES.contains(&state)) {
        return Err(Problem::told(Code::MalformedQuery, format!("`state` must be one of {}", STATES.join(", "))));
    }
    let (cursor, limit) = (query.text("cursor"), page::limit(&query)?);
    let (views, next) = api.vault().approvals(&caller, &RawPath::of(&uri).tenant()?, state, cursor, limit).await?;
    Ok(axum::Json(ApprovalPage { data: views.into_iter().map(ApprovalDocument::from).collect(), next_cursor: next }))
}

/// Read a request for a second person, with the names of what it asks for.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/approvals/{id}", tag = "approvals",
    params(("tenant" = String, Path), ("id" = String, Path)), responses((status = 200, body = ApprovalDocument)))]
pub(super) async fn read(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
) -> Result<axum::Json<ApprovalDocument>, Problem> {
    no_query(&uri)?;
    let path = RawPath::of(&uri);
    let view = api.vault().approval(&caller, &path.tenant()?, path.approval()?).await?;
    Ok(axum::Json(view.into()))
}

/// Approve what somebody else asked for: it is carried out at once, in the name of who asked. It takes another token than the one that asked,
/// which may do the same itself, and was there long enough before.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/approvals/{id}/approve", tag = "approvals",
    params(("tenant" = String, Path), ("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = Approve,
    responses((status = 200, body = ApprovalDocument), (status = 409), (status = 412), (status = 423)))]
pub(super) async fn approve(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
    Json(body): Json<Approve>,
) -> Result<axum::Json<ApprovalDocument>, Problem> {
    no_query(&uri)?;
    let (path, idempotency_key) = (RawPath::of(&uri), headers::idempotency_key(&head)?);
    let digest = body.digest.map(|text| digest(&text)).transpose()?;
    // Boxed: whatever is approved is carried out in it.
    let view = Box::pin(api.vault().approve(&caller, &path.tenant()?, path.approval()?, digest, idempotency_key)).await?;
    Ok(axum::Json(view.into()))
}

fn digest(text: &str) -> Result<[u8; 32], Problem> {
    let mut digest = [0; 32];
    match hex::decode_to_slice(text, &mut digest) {
        Ok(()) => Ok(digest),
        Err(_) => Err(Problem::with(Code::InvalidBody, "`$.digest`: expected 64 hexadecimal digits")),
    }
}

/// Refuse what somebody else asked for: nothing is done.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/approvals/{id}/refuse", tag = "approvals",
    params(("tenant" = String, Path), ("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = Refuse,
    responses((status = 200, body = ApprovalDocument), (status = 409)))]
pub(super) async fn refuse(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
    Json(body): Json<Refuse>,
) -> Result<axum::Json<ApprovalDocument>, Problem> {
    no_query(&uri)?;
    let (path, idempotency_key) = (RawPath::of(&uri), headers::idempotency_key(&head)?);
    let view = api.vault().refuse_approval(&caller, &path.tenant()?, path.approval()?, body.reason, idempotency_key).await?;
    Ok(axum::Json(view.into()))
}

/// Take back what one asked for.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/approvals/{id}/withdraw", tag = "approvals",
    params(("tenant" = String, Path), ("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = ApprovalDocument), (status = 409)))]
pub(super) async fn withdraw(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
) -> Result<axum::Json<ApprovalDocument>, Problem> {
    no_query(&uri)?;
    let (path, idempotency_key) = (RawPath::of(&uri), headers::idempotency_key(&head)?);
    let view = api.vault().withdraw_approval(&caller, &path.tenant()?, path.approval()?, idempotency_key).await?;
    Ok(axum::Json(view.into()))
}

/// Ask for a second owner, so that the collection's rules of retention hold for what is there already, and not only for what is written from
/// now on. It takes two persons whatever the tenant's policy says. Minimums and legal holds stand, and what is there ends no earlier than
/// it is approved.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/collections/{collection}/shortenings", tag = "approvals",
    params(("tenant" = String, Path), ("collection" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 202, body = ApprovalDocument), (status = 422)))]
pub(super) async fn shorten(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
) -> Result<Response, Problem> {
    no_query(&uri)?;
    let (path, idempotency_key) = (RawPath::of(&uri), headers::idempotency_key(&head)?);
    let view = api.vault().ask_shortening(&caller, &path.tenant()?, &path.collection()?, idempotency_key).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(ApprovalDocument::from(view))).into_response())
}

/// Ask that the collection's rules of retention hold for what is there already, also where legal minimums of the mode `governance` of earlier
/// rules stand over it: those bind it no more once a governor approves. Minimums of the rules of today, those of the mode `compliance` and
/// legal holds stand. It takes an owner, who asks, and a governor, whatever the tenant's policy says.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/collections/{collection}/bypasses", tag = "approvals",
    params(("tenant" = String, Path), ("collection" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = Bypass,
    responses((status = 202, body = ApprovalDocument), (status = 422)))]
pub(super) async fn bypass(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
    Json(body): Json<Bypass>,
) -> Result<Response, Problem> {
    no_query(&uri)?;
    let (path, idempotency_key) = (RawPath::of(&uri), headers::idempotency_key(&head)?);
    let view = api.vault().ask_bypass(&caller, &path.tenant()?, &path.collection()?, body.reason, idempotency_key).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(ApprovalDocument::from(view))).into_response())
}

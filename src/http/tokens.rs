//! `/v1/tenants/{tenant}/tokens`: made, listed without secrets, revoked.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::caller::{Authenticated, no_query};
use super::extract::Json;
use super::extract::headers;
use super::extract::path::RawPath;
use super::extract::query::{Query, page};
use super::problem::{Code, Problem};
use crate::authn::{Narrowing, Role, TokenKind};
use crate::domain::{CollectionName, RecordKey, Timestamp, limits, list};
use crate::vault::ops::{MintToken, TokenView};

/// A token to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    /// `owner`, `writer`, `reader`, `auditor`, `eraser`, `counsel` or `governor`; in `system` only `operator` and `job`. A counsel's is made
    /// by a counsel, by the operator where holds stand and no counsel is left, and by an owner while no legal hold stands: that is an invitation,
    /// which makes one counsel's token and goes with it, and does nothing else; an auditor's, once the tenant has ended, by the counsel of a hold that stands.
    #[schema(example = "reader")]
    role: String,
    /// The only collections it reaches; all without this field.
    #[serde(default, deserialize_with = "collections")]
    collections: Option<Vec<String>>,
    /// The only keys it reaches: whole segments.
    #[serde(default)]
    prefix: Option<String>,
    /// When it ends, RFC 3339: with the token that makes it at the latest, which it also does without this field.
    #[serde(default)]
    expires_at: Option<String>,
    /// `service`, the default, or `user`; an operator's or a job's is of no other kind than its own.
    #[serde(default)]
    kind: Option<String>,
}

fn collections<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    list::optional(deserializer, limits::ITEMS_PER_LIST)
}

impl NewToken {
    fn parse(self) -> Result<MintToken, Problem> {
        let role = Role::parse(&self.role).ok_or_else(|| {
            Problem::with(
                Code::InvalidBody,
                "`role` must be `owner`, `writer`, `reader`, `auditor`, `eraser`, `counsel` or `governor`; in `system`, `operator` or `job`",
            )
        })?;
        let kind = match self.kind.as_deref() {
            None if role == Role::Operator => TokenKind::Operator,
            None | Some("service") => TokenKind::Service,
            Some("user") => TokenKind::User,
            Some(_) => return Err(Problem::with(Code::InvalidBody, "`kind` must be `service` or `user`")),
        };
        let collections = self.collections.as_deref().map(narrowed_to).transpose()?.unwrap_or_default();
        let prefix = self.prefix.map(|prefix| RecordKey::parse(&prefix)).transpose().map_err(|error| Problem::name("prefix", error))?;
        let expires_at = self.expires_at.map(|text| Timestamp::parse_rfc3339(&text).ok_or(())).transpose();
        let expires_at = expires_at.map_err(|()| Problem::with(Code::InvalidBody, "`expires_at` must be a time of RFC 3339"))?;
        Ok(MintToken { role, kind, narrowing: Narrowing { collections, prefix }, expires_at })
    }
}

/// No collections at all would read like all of them: it must be said by leaving the field out.
fn narrowed_to(names: &[String]) -> Result<Vec<CollectionName>, Problem> {
    if names.is_empty() {
        return Err(Problem::with(Code::InvalidBody, "`collections` must name at least one; leave it out for all"));
    }
    names.iter().map(|name| CollectionName::parse(name).map_err(|error| Problem::name("collections", error))).collect()
}

/// A token that was made.
#[derive(Serialize, ToSchema)]
pub(super) struct CreatedToken {
    id: String,
    /// The whole token; shown once.
    token: String,
    role: &'static str,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// A token without its secret.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenDocument {
    id: String,
    role: &'static str,
    kind: &'static str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// The only collections it reaches; null for all.
    collections: Option<Vec<String>>,
    prefix: Option<String>,
}

impl From<TokenView> for TokenDocument {
    fn from(view: TokenView) -> Self {
        let names: Vec<String> = view.narrowing.collections.iter().map(|name| name.as_str().to_owned()).collect();
        Self {
            id: view.id.to_string(),
            role: view.role.name(),
            kind: match view.kind {
                TokenKind::Service => "service",
                TokenKind::User => "user",
                TokenKind::Operator => "operator",
            },
            created_at: view.created_at,
            expires_at: view.expires_at,
            collections: (!names.is_empty()).then_some(names),
            prefix: view.narrowing.prefix.map(|prefix| prefix.as_str().to_owned()),
        }
    }
}

/// A page of tokens.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenPage {
    data: Vec<TokenDocument>,
    next_cursor: Option<String>,
}

/// Create a token, no wider than one's own.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/tokens", tag = "tokens", params(("tenant" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = NewToken,
    responses((status = 201, body = CreatedToken), (status = 409)))]
pub(super) async fn create(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
    Json(body): Json<NewToken>,
) -> Result<Response, Problem> {
    no_query(&uri)?;
    let tenant = RawPath::of(&uri).tenant()?;
    let idempotency_key = headers::idempotency_key(&head)?;
    let minted = api.vault().create_token(&caller, &tenant, body.parse()?, idempotency_key).await?;
    let created =
        CreatedToken { id: minted.id.to_string(), token: minted.text.to_string(), role: minted.role.name(), expires_at: minted.expires_at };
    Ok((StatusCode::CREATED, axum::Json(created)).into_response())
}

/// List the tokens, without secrets.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/tokens", tag = "tokens",
    params(("tenant" = String, Path), ("cursor" = Option<String>, Query), ("limit" = Option<u64>, Query)),
    responses((status = 200, body = TokenPage)))]
pub(super) async fn list(Authenticated(caller): Authenticated, State(api): State<Api>, uri: Uri) -> Result<axum::Json<TokenPage>, Problem> {
    let query = Query::parse(&uri, page::PARAMETERS)?;
    let (views, next) = api.vault().tokens(&caller, &RawPath::of(&uri).tenant()?, query.text("cursor"), page::limit(&query)?).await?;
    let data = views.into_iter().map(TokenDocument::from).collect();
    Ok(axum::Json(TokenPage { data, next_cursor: next }))
}

/// Revoke a token: refused from the next request on.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/tokens/{id}", tag = "tokens", params(("tenant" = String, Path), ("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204), (status = 409)))]
pub(super) async fn revoke(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
) -> Result<StatusCode, Problem> {
    no_query(&uri)?;
    let path = RawPath::of(&uri);
    let idempotency_key = headers::idempotency_key(&head)?;
    api.vault().revoke_token(&caller, &path.tenant()?, path.token()?, idempotency_key).await?;
    Ok(StatusCode::NO_CONTENT)
}

//! `/v1/tenants/{tenant}/subjects/aliases`: a person's several ids. They are personal, so they come in bodies and never in a URL.

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
use super::problem::Problem;
use crate::domain::SubjectId;
use crate::vault::ops::{NewAlias, PersonView};

/// Another id of a person.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AddAlias {
    /// The person, by any id.
    subject: String,
    /// The new id.
    #[schema(example = "ann@example.com")]
    alias: String,
    /// Whether records that name the new id already are the person's: they are shredded, held and listed with the others from then on.
    #[serde(default)]
    with_records: bool,
    /// Whether a person who was shredded, under either id, is known anew.
    #[serde(default)]
    new_relationship: bool,
}

impl AddAlias {
    fn parse(&self) -> Result<NewAlias, Problem> {
        let Self { subject, alias, with_records, new_relationship } = self;
        let (with_records, new_relationship) = (*with_records, *new_relationship);
        Ok(NewAlias { subject: subject_id("subject", subject)?, alias: subject_id("alias", alias)?, with_records, new_relationship })
    }
}

/// An alias to take away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RemoveAlias {
    alias: String,
}

/// Whose ids are asked for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AskPerson {
    /// The person, by any id.
    subject: String,
}

/// A person's ids.
#[derive(Serialize, ToSchema)]
pub(super) struct PersonDocument {
    /// The first: the one that the person was known by when the first alias came. Where there are no aliases, the id that was sent.
    subject: String,
    /// The others, in the order in which they came.
    aliases: Vec<String>,
}

impl From<PersonView> for PersonDocument {
    fn from(view: PersonView) -> Self {
        let aliases = view.aliases.into_iter().map(SubjectId::into_string).collect();
        Self { subject: view.subject.into_string(), aliases }
    }
}

fn subject_id(field: &str, text: &str) -> Result<SubjectId, Problem> {
    SubjectId::parse(text).map_err(|error| Problem::name(field, error))
}

/// Give a person another id: whatever is shredded, held or listed under one is so under all.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/subjects/aliases", tag = "subjects",
    params(("tenant" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = AddAlias,
    responses((status = 201, body = PersonDocument), (status = 200, description = "The person has it already", body = PersonDocument),
        (status = 409)))]
pub(super) async fn add(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
    Json(body): Json<AddAlias>,
) -> Result<Response, Problem> {
    no_query(&uri)?;
    let (tenant, idempotency_key) = (RawPath::of(&uri).tenant()?, headers::idempotency_key(&head)?);
    let (view, is_new) = api.vault().add_alias(&caller, &tenant, body.parse()?, idempotency_key).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, axum::Json(PersonDocument::from(view))).into_response())
}

/// Read a person's ids.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/subjects/aliases/query", tag = "subjects", params(("tenant" = String, Path)),
    request_body = AskPerson, responses((status = 200, body = PersonDocument)))]
pub(super) async fn query(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    Json(body): Json<AskPerson>,
) -> Result<axum::Json<PersonDocument>, Problem> {
    no_query(&uri)?;
    // Its body may have taken its time; what changes something looks at this in its commit.
    api.vault().holds(&caller).await?;
    let subject = subject_id("subject", &body.subject)?;
    let view = api.vault().person_ids(&caller, &RawPath::of(&uri).tenant()?, &subject).await?;
    Ok(axum::Json(view.into()))
}

/// Take an alias from a person: what was written under it is another person's from then on.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/subjects/aliases/remove", tag = "subjects",
    params(("tenant" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = RemoveAlias,
    responses((status = 200, body = PersonDocument)))]
pub(super) async fn remove(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
    Json(body): Json<RemoveAlias>,
) -> Result<axum::Json<PersonDocument>, Problem> {
    no_query(&uri)?;
    let (tenant, idempotency_key) = (RawPath::of(&uri).tenant()?, headers::idempotency_key(&head)?);
    let view = api.vault().remove_alias(&caller, &tenant, subject_id("alias", &body.alias)?, idempotency_key).await?;
    Ok(axum::Json(view.into()))
}

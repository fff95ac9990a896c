//! `/v1/tenants/{tenant}/subjects/events`: what happened between you and a person, as far as retention rules count from it. Ids are
//! personal, so they come in bodies and never in a URL.

use axum::extract::State;
use http::{HeaderMap, Uri};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::caller::{Authenticated, no_query};
use super::extract::Json;
use super::extract::headers;
use super::extract::path::RawPath;
use super::problem::{Code, Problem};
use crate::domain::SubjectId;
use crate::domain::Timestamp;
use crate::domain::retention::events::{DATE_FORM, EVENT_FORM};
use crate::domain::retention::{EventDate, EventName};
use crate::vault::ops::{EventView, EventsView};

/// When an event of a person was, or is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportEvent {
    /// The person, by any id.
    subject: String,
    /// The event, as rules name it; `subject-end` is the end of the person's relationship.
    #[schema(example = "contract-ended")]
    event: String,
    /// A day, which is that day wherever days are counted, or a time of RFC 3339; of the years 1 to 9000. It may lie ahead.
    #[schema(example = "2026-01-31")]
    at: String,
}

/// What is taken back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WithdrawEvent {
    /// The person, by any id.
    subject: String,
    /// The event.
    event: String,
}

/// Whose events are asked for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AskEvents {
    /// The person, by any id.
    subject: String,
}

/// What is known of a person's events.
#[derive(Serialize, ToSchema)]
pub(super) struct EventsDocument {
    /// The id that was sent.
    subject: String,
    /// The last report of each event, but of those that were taken back.
    events: Vec<EventDocument>,
}

/// One event.
#[derive(Serialize, ToSchema)]
pub(super) struct EventDocument {
    event: String,
    /// When it was, or is to be: a day, or a time.
    at: String,
    /// When that was reported.
    #[schema(value_type = String)]
    reported_at: Timestamp,
}

impl From<EventsView> for EventsDocument {
    fn from(view: EventsView) -> Self {
        let document = |EventView { event, at, reported_at }: EventView| EventDocument {
            event: event.as_str().to_owned(),
            at: at.to_text(),
            reported_at,
        };
        Self { subject: view.subject.into_string(), events: view.events.into_iter().map(document).collect() }
    }
}

fn subject_id(text: &str) -> Result<SubjectId, Problem> {
    SubjectId::parse(text).map_err(|error| Problem::name("subject", error))
}

fn event_name(text: &str) -> Result<EventName, Problem> {
    EventName::parse(text).ok_or_else(|| Problem::told(Code::InvalidBody, format!("`$.event`: expected {EVENT_FORM}")))
}

/// Report when an event of a person was, or is to be. A later report of the same event takes the place of this one; the same report again
/// changes nothing.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/subjects/events", tag = "subjects",
    params(("tenant" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = ReportEvent,
    responses((status = 200, body = EventsDocument), (status = 410, description = "The person was shredded")))]
pub(super) async fn report(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
    Json(body): Json<ReportEvent>,
) -> Result<axum::Json<EventsDocument>, Problem> {
    no_query(&uri)?;
    let (tenant, idempotency_key) = (RawPath::of(&uri).tenant()?, headers::idempotency_key(&head)?);
    let at = EventDate::parse(&body.at).ok_or_else(|| Problem::told(Code::InvalidBody, format!("`$.at`: expected {DATE_FORM}")))?;
    let report = (subject_id(&body.subject)?, event_name(&body.event)?, at);
    let view = api.vault().report_event(&caller, &tenant, report, idempotency_key).await?;
    Ok(axum::Json(view.into()))
}

/// Read what is known of a person's events.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/subjects/events/query", tag = "subjects", params(("tenant" = String, Path)),
    request_body = AskEvents, responses((status = 200, body = EventsDocument)))]
pub(super) async fn query(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    Json(body): Json<AskEvents>,
) -> Result<axum::Json<EventsDocument>, Problem> {
    no_query(&uri)?;
    // Its body may have taken its time; what changes something looks at this in its commit.
    api.vault().holds(&caller).await?;
    let view = api.vault().read_events(&caller, &RawPath::of(&uri).tenant()?, &subject_id(&body.subject)?).await?;
    Ok(axum::Json(view.into()))
}

/// Take back what was reported of an event: rules that count from it wait for it again. What was destroyed stays so.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/subjects/events/remove", tag = "subjects",
    params(("tenant" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = WithdrawEvent,
    responses((status = 200, body = EventsDocument), (status = 404, description = "Nothing is known of that event")))]
pub(super) async fn remove(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
    Json(body): Json<WithdrawEvent>,
) -> Result<axum::Json<EventsDocument>, Problem> {
    no_query(&uri)?;
    let (tenant, idempotency_key) = (RawPath::of(&uri).tenant()?, headers::idempotency_key(&head)?);
    let event = (subject_id(&body.subject)?, event_name(&body.event)?);
    let view = api.vault().withdraw_event(&caller, &tenant, event, idempotency_key).await?;
    Ok(axum::Json(view.into()))
}

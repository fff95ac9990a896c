//! `/v1/tenants/{tenant}/holds`: legal holds, placed, renewed and released by a counsel.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::approvals::ApprovalDocument;
use super::caller::{Authenticated, no_query};
use super::extract::Json;
use super::extract::headers;
use super::extract::path::RawPath;
use super::extract::query::{Query, page};
use super::problem::{Code, Problem};
use crate::domain::hold::{HoldScope, HoldText, NewHold};
use crate::domain::{CollectionName, RecordKey, SubjectId, Timestamp, limits, list};
use crate::vault::ops::{HoldView, Released, ShownScope, Unprocessable, VaultError};

/// What a hold is on.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Scope {
    Tenant,
    Subject,
    Collection,
    Prefix,
    Records,
}

/// One record.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RecordPlace {
    collection: String,
    key: String,
}

/// A hold to place.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlaceHold {
    /// The matter that it is for: one line, as the other texts.
    #[schema(example = "2026-CV-0117")]
    matter: String,
    reason: String,
    /// Who answers for what is held.
    custodian: String,
    /// `tenant`, all of it; `subject`, every record that names one of the persons; `collection`; `prefix`, the records of a collection
    /// under these segments; `records`, a list.
    scope: Scope,
    /// With scope `subject`.
    #[serde(default)]
    subject: Option<String>,
    /// With scope `subject`: several.
    #[serde(default, deserialize_with = "subjects")]
    subjects: Option<Vec<String>>,
    /// With scopes `collection` and `prefix`.
    #[serde(default)]
    collection: Option<String>,
    /// With scope `prefix`: whole segments.
    #[serde(default)]
    prefix: Option<String>,
    /// With scope `records`.
    #[serde(default, deserialize_with = "records")]
    records: Option<Vec<RecordPlace>>,
    /// Whether everybody in the tenant may know of it; otherwise only counsels and auditors do.
    #[serde(default)]
    disclosed: bool,
    /// A law enforcement agency asked for it: it needs the agency's `case_number`, and ends after 90 days unless it is renewed.
    #[serde(default)]
    law_enforcement: bool,
    #[serde(default)]
    case_number: Option<String>,
}

fn subjects<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    list::optional(deserializer, limits::HOLD_SUBJECTS)
}

fn records<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<RecordPlace>>, D::Error> {
    list::optional(deserializer, limits::HOLD_RECORDS)
}

impl PlaceHold {
    fn parse(self) -> Result<NewHold, Problem> {
        let Self {
            matter,
            reason,
            custodian,
            scope,
            subject,
            subjects,
            collection,
            prefix,
            records,
            disclosed,
            law_enforcement,
            case_number,
        } = self;
        let scope = match (scope, subject, subjects, collection, prefix, records) {
            (Scope::Tenant, None, None, None, None, None) => HoldScope::Tenant,
            (Scope::Subject, Some(subject), None, None, None, None) => HoldScope::Subjects(vec![subject_id("subject", &subject)?]),
            (Scope::Subject, None, Some(subjects), None, None, None) => {
                HoldScope::Subjects(subjects.iter().map(|subject| subject_id("subjects", subject)).collect::<Result<_, _>>()?)
            }
            (Scope::Collection, None, None, Some(collection), None, None) => HoldScope::Collection(collection_name(&collection)?),
            (Scope::Prefix, None, None, Some(collection), Some(prefix), None) => {
                HoldScope::Prefix(collection_name(&collection)?, record_key("prefix", &prefix)?)
            }
            (Scope::Records, None, None, None, None, Some(records)) => {
                let place = |place: &RecordPlace| Ok((collection_name(&place.collection)?, record_key("key", &place.key)?));
                HoldScope::Records(records.iter().map(place).collect::<Result<_, Problem>>()?)
            }
            (scope, ..) => {
                return Err(Problem::with(
                    Code::InvalidBody,
                    match scope {
                        Scope::Tenant => "scope `tenant` takes no `subject`, `subjects`, `collection`, `prefix` or `records`",
                        Scope::Subject => "scope `subject` takes either `subject` or `subjects`",
                        Scope::Collection => "scope `collection` takes `collection` only",
                        Scope::Prefix => "scope `prefix` takes `collection` and `prefix`",
                        Scope::Records => "scope `records` takes `records`: a list of `collection` and `key`",
                    },
                ));
            }
        };
        let text = HoldText { matter, reason, custodian, case_number, renewal_reason: None, release_reason: None };
        let hold = NewHold { text, scope, disclosed, law_enforcement };
        hold.validate().map_err(|error| Problem::from(VaultError::from(Unprocessable::from(error))))?;
        Ok(hold)
    }
}

fn collection_name(text: &str) -> Result<CollectionName, Problem> {
    CollectionName::parse(text).map_err(|error| Problem::name("collection", error))
}

fn subject_id(field: &str, text: &str) -> Result<SubjectId, Problem> {
    SubjectId::parse(text).map_err(|error| Problem::name(field, error))
}

fn record_key(field: &str, text: &str) -> Result<RecordKey, Problem> {
    RecordKey::parse(text).map_err(|error| Problem::name(field, error))
}

/// Why a hold is renewed, or released.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeHold {
    /// One line.
    reason: String,
}

/// A hold.
#[derive(Serialize, ToSchema)]
pub(super) struct HoldDocument {
    id: String,
    /// `active`; `released`, by a counsel; or `lapsed`: its time was over.
    state: &'static str,
    matter: String,
    reason: String,
    custodian: String,
    /// `tenant`, `subject`, `collection`, `prefix` or `records`.
    scope: &'static str,
    /// Names as records that are there tell them; others are `unnamed-` and a token, those of what was shredded pseudonyms. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    subjects: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collection: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<Vec<HeldRecord>>,
    disclosed: bool,
    law_enforcement: bool,
    case_number: Option<String>,
    /// The id of the token that placed it.
    placed_by: String,
    #[schema(value_type = String, format = DateTime)]
    placed_at: Timestamp,
    /// When it ends by itself, unless it is renewed.
    #[schema(value_type = Option<String>, format = DateTime)]
    lapses_at: Option<Timestamp>,
    renewal_reason: Option<String>,
    released_by: Option<String>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    release_reason: Option<String>,
    /// Readable records that it is on now. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    covers: Option<Covered>,
    /// Orders to shred that had destroyed keys of what it is on, and were not done, when it was placed: it came too late for them. In
    /// the answer to its placing.
    too_late: Vec<String>,
}

/// A record of a hold.
#[derive(Serialize, ToSchema)]
struct HeldRecord {
    collection: String,
    key: String,
}

/// How much a hold is on.
#[derive(Serialize, ToSchema)]
struct Covered {
    /// At most 1,000 are counted.
    records: u64,
    /// Whether there are more.
    more: bool,
}

impl From<HoldView> for HoldDocument {
    fn from(view: HoldView) -> Self {
        let HoldText { matter, reason, custodian, case_number, renewal_reason, release_reason } = view.text;
        let ShownScope { subjects, collection, prefix, records } = view.scope.unwrap_or_default();
        Self {
            id: view.id.to_string(),
            state: view.state,
            matter,
            reason,
            custodian,
            scope: view.kind,
            subjects: (!subjects.is_empty()).then_some(subjects),
            collection,
            prefix,
            records: (!records.is_empty()).then(|| records.into_iter().map(|(collection, key)| HeldRecord { collection, key }).collect()),
            disclosed: view.disclosed,
            law_enforcement: view.law_enforcement,
            case_number,
            placed_by: view.placed_by.to_string(),
            placed_at: view.placed_at,
            lapses_at: view.lapses_at,
            renewal_reason,
            released_by: view.released_by.map(|by| by.to_string()),
            ended_at: view.ended_at,
            release_reason,
            covers: view.covers.map(|(records, more)| Covered { records, more }),
            too_late: view.too_late.iter().map(ToString::to_string).collect(),
        }
    }
}

/// A page of holds.
#[derive(Serialize, ToSchema)]
pub(super) struct HoldPage {
    data: Vec<HoldDocument>,
    next_cursor: Option<String>,
}

/// Place a legal hold: from then on nothing that it is on is destroyed or overwritten.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/holds", tag = "holds",
    params(("tenant" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = PlaceHold,
    responses((status = 201, body = HoldDocument)))]
pub(super) async fn place(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
    Json(body): Json<PlaceHold>,
) -> Result<Response, Problem> {
    no_query(&uri)?;
    let (tenant, idempotency_key) = (RawPath::of(&uri).tenant()?, headers::idempotency_key(&head)?);
    let view = api.vault().place_hold(&caller, &tenant, body.parse()?, idempotency_key).await?;
    Ok((StatusCode::CREATED, axum::Json(HoldDocument::from(view))).into_response())
}

/// List the legal holds that the principal may know of, those that have ended included.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/holds", tag = "holds",
    params(("tenant" = String, Path), ("cursor" = Option<String>, Query), ("limit" = Option<u64>, Query)),
    responses((status = 200, body = HoldPage)))]
pub(super) async fn list(Authenticated(caller): Authenticated, State(api): State<Api>, uri: Uri) -> Result<axum::Json<HoldPage>, Problem> {
    let query = Query::parse(&uri, page::PARAMETERS)?;
    let (views, next) = api.vault().holds_of(&caller, &RawPath::of(&uri).tenant()?, query.text("cursor"), page::limit(&query)?).await?;
    Ok(axum::Json(HoldPage { data: views.into_iter().map(HoldDocument::from).collect(), next_cursor: next }))
}

/// Read a legal hold.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/holds/{id}", tag = "holds", params(("tenant" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = HoldDocument)))]
pub(super) async fn read(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
) -> Result<axum::Json<HoldDocument>, Problem> {
    no_query(&uri)?;
    let path = RawPath::of(&uri);
    let view = api.vault().hold(&caller, &path.tenant()?, path.hold()?).await?;
    Ok(axum::Json(view.into()))
}

/// Release a legal hold. What it alone has stopped is carried out: orders to shred at once, what is due with the next run of retention. Where the
/// tenant's policy asks for two persons, it stands until a second counsel approves (202).
#[utoipa::path(post, path = "/v1/tenants/{tenant}/holds/{id}/release", tag = "holds",
    params(("tenant" = String, Path), ("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = ChangeHold,
    responses((status = 200, body = HoldDocument), (status = 202, body = ApprovalDocument), (status = 409)))]
pub(super) async fn release(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
    Json(body): Json<ChangeHold>,
) -> Result<Response, Problem> {
    no_query(&uri)?;
    let (path, idempotency_key) = (RawPath::of(&uri), headers::idempotency_key(&head)?);
    Ok(match api.vault().release_hold(&caller, &path.tenant()?, path.hold()?, body.reason, idempotency_key).await? {
        Released::Now(view) => axum::Json(HoldDocument::from(*view)).into_response(),
        Released::Asked(view) => (StatusCode::ACCEPTED, axum::Json(ApprovalDocument::from(*view))).into_response(),
    })
}

/// Give a hold for law enforcement another 90 days.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/holds/{id}/renew", tag = "holds",
    params(("tenant" = String, Path), ("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = ChangeHold,
    responses((status = 200, body = HoldDocument), (status = 409)))]
pub(super) async fn renew(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
    Json(body): Json<ChangeHold>,
) -> Result<axum::Json<HoldDocument>, Problem> {
    no_query(&uri)?;
    let (path, idempotency_key) = (RawPath::of(&uri), headers::idempotency_key(&head)?);
    let view = api.vault().renew_hold(&caller, &path.tenant()?, path.hold()?, body.reason, idempotency_key).await?;
    Ok(axum::Json(view.into()))
}

#[cfg(test)]
mod tests {
    use super::super::extract::json;
    use super::*;

    fn parse(fields: &str) -> Result<NewHold, Code> {
        let text = format!(r#"{{"matter":"m","reason":"r","custodian":"c",{fields}}}"#);
        let document: PlaceHold = json::parse(text.as_bytes()).map_err(|problem| problem.code())?;
        document.parse().map_err(|problem| problem.code())
    }

    #[test]
    fn each_scope_takes_its_own_fields() {
        let scope = |fields: &str| parse(fields).map(|hold| hold.scope);
        assert_eq!(scope(r#""scope":"tenant""#), Ok(HoldScope::Tenant));
        assert!(matches!(scope(r#""scope":"subject","subject":"7""#), Ok(HoldScope::Subjects(subjects)) if subjects.len() == 1));
        assert!(matches!(scope(r#""scope":"subject","subjects":["7","8"]"#), Ok(HoldScope::Subjects(subjects)) if subjects.len() == 2));
        assert!(matches!(scope(r#""scope":"collection","collection":"crm""#), Ok(HoldScope::Collection(_))));
        assert!(matches!(scope(r#""scope":"prefix","collection":"crm","prefix":"a/b""#), Ok(HoldScope::Prefix(..))));
        assert!(
            matches!(scope(r#""scope":"records","records":[{"collection":"crm","key":"a/b"}]"#), Ok(HoldScope::Records(records)) if records.len() == 1)
        );
        for (fields, code) in [
            (r#""scope":"everything""#, Code::InvalidBody),
            (r#""disclosed":true"#, Code::InvalidBody),
            (r#""scope":"tenant","subject":"7""#, Code::InvalidBody),
            (r#""scope":"subject""#, Code::InvalidBody),
            (r#""scope":"subject","subject":"7","subjects":["8"]"#, Code::InvalidBody),
            (r#""scope":"collection","collection":"crm","prefix":"a""#, Code::InvalidBody),
            (r#""scope":"prefix","collection":"crm""#, Code::InvalidBody),
            (r#""scope":"records","records":[{"collection":"crm"}]"#, Code::InvalidBody),
            (r#""scope":"records","records":[],"collection":"crm""#, Code::InvalidBody),
            (r#""scope":"tenant","surprise":1"#, Code::InvalidBody),
            (r#""scope":"subject","subject":"""#, Code::MalformedName),
            (r#""scope":"prefix","collection":"crm","prefix":"a//b""#, Code::MalformedName),
            (&format!(r#""scope":"subject","subjects":[{}?"#, r#""x","#.repeat(1_001)), Code::LimitExceeded),
        ] {
            assert_eq!(parse(fields).map(|_| ()), Err(code), "{fields:.80}");
        }
    }
}

//! `/v1/tenants/{tenant}/shreds`: ordering a shred, and asking how it goes.

use std::time::Duration;

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
use super::problem::{Code, Problem};
use super::records::key_in_body;
use crate::domain::{CollectionName, SubjectId, Timestamp, limits, list};
use crate::vault::ops::{Denied, RetainedView, ShredOrder, ShredView};

/// What is to be shredded.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Scope {
    /// The whole tenant.
    Tenant,
    /// A collection.
    Collection,
    /// Persons, in all collections.
    Subject,
    /// One record of a collection whose unit is the record.
    Record,
}

/// An order to shred.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderDocument {
    scope: Scope,
    /// With scope `subject`.
    #[serde(default)]
    subject: Option<String>,
    /// With scope `subject`: several in one order, and one epoch.
    #[serde(default, deserialize_with = "subjects")]
    subjects: Option<Vec<String>>,
    /// With scopes `collection` and `record`.
    #[serde(default)]
    collection: Option<String>,
    /// With scope `record`.
    #[serde(default)]
    key: Option<String>,
    /// With scope `tenant`: its name, again.
    #[serde(default)]
    confirm: Option<String>,
}

fn subjects<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    list::optional(deserializer, limits::SHRED_SUBJECTS)
}

impl OrderDocument {
    fn parse(self) -> Result<ShredOrder, Problem> {
        let Self { scope, subject, subjects, collection, key, confirm } = self;
        match (scope, subject, subjects, collection, key, confirm) {
            (Scope::Tenant, None, None, None, None, confirm) => Ok(ShredOrder::Tenant { confirm: confirm.unwrap_or_default() }),
            (Scope::Collection, None, None, Some(collection), None, None) => Ok(ShredOrder::Collection(collection_name(&collection)?)),
            (Scope::Subject, Some(subject), None, None, None, None) => Ok(ShredOrder::Subjects(vec![subject_id("subject", &subject)?])),
            (Scope::Subject, None, Some(subjects), None, None, None) => {
                Ok(ShredOrder::Subjects(subjects.iter().map(|subject| subject_id("subjects", subject)).collect::<Result<_, _>>()?))
            }
            (Scope::Record, None, None, Some(collection), Some(key), None) => {
                Ok(ShredOrder::Record { collection: collection_name(&collection)?, key: key_in_body("key", &key)? })
            }
            (scope, ..) => Err(Problem::with(
                Code::InvalidBody,
                match scope {
                    Scope::Tenant => "scope `tenant` takes `confirm` only: the tenant's name, again",
                    Scope::Collection => "scope `collection` takes `collection` only",
                    Scope::Subject => "scope `subject` takes either `subject` or `subjects`",
                    Scope::Record => "scope `record` takes `collection` and `key`",
                },
            )),
        }
    }
}

fn collection_name(text: &str) -> Result<CollectionName, Problem> {
    CollectionName::parse(text).map_err(|error| Problem::name("collection", error))
}

fn subject_id(field: &str, text: &str) -> Result<SubjectId, Problem> {
    SubjectId::parse(text).map_err(|error| Problem::name(field, error))
}

/// An order, and how far it is.
#[derive(Serialize, ToSchema)]
pub(super) struct ShredDocument {
    id: String,
    /// `pending`: unreadable already, its keys about to be destroyed; `done`; `held`: a legal obligation keeps what it names, which is there
    /// as before, and the order is carried out once none does any more; `waiting-for-approval`: everything is there until a second person
    /// approves; or `not-approved`: nobody has, and nothing was done.
    state: &'static str,
    /// The id of the request for a second person, under `.../approvals`, where the tenant's policy asks for one.
    approval: Option<String>,
    /// As it was ordered; or `rest`: all of a tenant that ended but what legal holds are on.
    scope: &'static str,
    #[schema(value_type = String, format = DateTime)]
    ordered_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    done_at: Option<Timestamp>,
    /// Where the certificate is, once it is done.
    certificate: Option<String>,
    /// The salt of the certificate's commitments, in hexadecimal: in the answer to the order, also to the same request sent again under its
    /// idempotency key until the certificate is made, and, of an order that is held, in what its own token is told while it is held.
    /// Keep it: it is null in every other answer.
    salt: Option<String>,
    /// The subjects that were named and, behind them, their other ids, or the key, in the order of the commitments: as they are in the
    /// answer to the order (to who may not read a person's ids those that were named), pseudonyms in every later one.
    targets: Vec<String>,
    collections: Vec<TotalsDocument>,
    /// What a law keeps of what it names: empty until it is done.
    retained: Vec<RetainedDocument>,
    /// What of it is denied, for a legal obligation.
    denied: Option<DeniedDocument>,
    /// The epochs that carried it out.
    epochs: Vec<EpochDocument>,
}

/// What it touched in a collection.
#[derive(Serialize, ToSchema)]
struct TotalsDocument {
    /// `*` stands for what lies in no collection, a person's several ids, and for all collections behind the first 256.
    collection: String,
    /// Keys destroyed.
    units: u64,
    /// Records deleted because their unit is not the subject, or by the collection's policy.
    deleted: u64,
    /// Records kept that name the subject second.
    kept: u64,
}

/// What of an order is denied. A law keeps it, or a legal hold: who may not know of the hold is not told which of the two.
#[derive(Serialize, ToSchema)]
struct DeniedDocument {
    /// `in-part`, where the rest is carried out; or `whole`.
    extent: &'static str,
    /// `legal-obligation`.
    reason: &'static str,
    /// In the answer to an order for several persons some of whom are held: the order for these, which is carried out when nothing keeps them
    /// any more.
    order: Option<String>,
    /// These persons, as they were named in the order.
    targets: Vec<String>,
}

impl From<Denied> for DeniedDocument {
    fn from(Denied { in_part, order, targets }: Denied) -> Self {
        let extent = if in_part { "in-part" } else { "whole" };
        Self { extent, reason: "legal-obligation", order: order.map(|order| order.to_string()), targets }
    }
}

/// Records of a collection that the order left for their legal purpose alone, by the rule that keeps them. They are destroyed when its
/// minimum ends.
#[derive(Serialize, ToSchema)]
struct RetainedDocument {
    /// `*` for all that are not listed by themselves.
    collection: String,
    records: u64,
    /// Also the purpose for which an auditor may read them.
    rule: String,
    /// The law that the rule cites.
    basis: String,
    /// When the minimum of the last of them is met; null while the date that it counts from is not known.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// An epoch's step.
#[derive(Serialize, ToSchema)]
struct EpochDocument {
    old: u64,
    new: u64,
}

impl From<ShredView> for ShredDocument {
    fn from(view: ShredView) -> Self {
        let state = view.state();
        let totals = view.collections.into_iter();
        Self {
            id: view.id.to_string(),
            state,
            approval: view.second.map(|_| view.id.to_string()),
            scope: view.scope,
            ordered_at: view.ordered_at,
            done_at: view.done_at,
            certificate: view.done.then(|| format!("/v1/certificates/{}", view.id)),
            salt: view.salt,
            targets: view.targets,
            collections: totals
                .map(|(collection, totals)| TotalsDocument { collection, units: totals.units, deleted: totals.deleted, kept: totals.kept })
                .collect(),
            retained: view
                .retained
                .into_iter()
                .map(|RetainedView { collection, records, rule, basis, until }| RetainedDocument {
                    collection,
                    records,
                    rule,
                    basis,
                    until,
                })
                .collect(),
            denied: view.denied.map(DeniedDocument::from),
            epochs: view.epochs.into_iter().map(|(old, new)| EpochDocument { old, new }).collect(),
        }
    }
}

fn answer(view: ShredView) -> Response {
    let status = if view.done { StatusCode::OK } else { StatusCode::ACCEPTED };
    (status, axum::Json(ShredDocument::from(view))).into_response()
}

fn wait(head: &HeaderMap) -> Result<Option<Duration>, Problem> {
    Ok(headers::wait_secs(head)?.map(Duration::from_secs))
}

/// Order a shred: 202 with the order as it was given, or, with `Prefer: wait`, 200 once it is done within that time. Of several persons those
/// whom a legal hold keeps are left out, with an order of their own that is held (`denied`).
#[utoipa::path(post, path = "/v1/tenants/{tenant}/shreds", tag = "shreds",
    params(("tenant" = String, Path), ("Prefer" = Option<String>, Header, description = "`wait=N`, up to 60 seconds"),
        ("Idempotency-Key" = Option<String>, Header)), request_body = OrderDocument,
    responses((status = 202, body = ShredDocument), (status = 200, body = ShredDocument), (status = 423)))]
pub(super) async fn order(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
    Json(body): Json<OrderDocument>,
) -> Result<Response, Problem> {
    no_query(&uri)?;
    let (wait, idempotency_key) = (wait(&head)?, headers::idempotency_key(&head)?);
    let view = api.vault().order_shred(&caller, &RawPath::of(&uri).tenant()?, body.parse()?, wait, idempotency_key).await?;
    Ok(answer(view))
}

/// Ask how a shred goes.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/shreds/{id}", tag = "shreds",
    params(("tenant" = String, Path), ("id" = String, Path), ("Prefer" = Option<String>, Header, description = "`wait=N`, up to 60 seconds")),
    responses((status = 200, body = ShredDocument), (status = 202, body = ShredDocument)))]
pub(super) async fn read(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    head: HeaderMap,
) -> Result<Response, Problem> {
    no_query(&uri)?;
    let path = RawPath::of(&uri);
    let view = api.vault().shred(&caller, &path.tenant()?, path.shred()?, wait(&head)?).await?;
    Ok(answer(view))
}

#[cfg(test)]
mod tests {
    use super::super::extract::json;
    use super::*;

    fn parse(text: &str) -> Result<ShredOrder, Code> {
        let document: OrderDocument = json::parse(text.as_bytes()).map_err(|problem| problem.code())?;
        document.parse().map_err(|problem| problem.code())
    }

    #[test]
    fn each_scope_takes_its_own_fields() {
        assert!(matches!(parse(r#"{"scope":"tenant","confirm":"acme"}"#), Ok(ShredOrder::Tenant { confirm }) if confirm == "acme"));
        assert!(matches!(parse(r#"{"scope":"collection","collection":"crm"}"#), Ok(ShredOrder::Collection(_))));
        assert!(matches!(parse(r#"{"scope":"subject","subject":"7"}"#), Ok(ShredOrder::Subjects(subjects)) if subjects.len() == 1));
        assert!(matches!(parse(r#"{"scope":"subject","subjects":["7","8"]}"#), Ok(ShredOrder::Subjects(subjects)) if subjects.len() == 2));
        assert!(matches!(parse(r#"{"scope":"record","collection":"crm","key":"a/b"}"#), Ok(ShredOrder::Record { .. })));
        for (text, code) in [
            ("{}", Code::InvalidBody),
            (r#"{"scope":"everything"}"#, Code::InvalidBody),
            (r#"{"scope":"subject"}"#, Code::InvalidBody),
            (r#"{"scope":"subject","subject":"7","subjects":["8"]}"#, Code::InvalidBody),
            (r#"{"scope":"subject","subject":"7","collection":"crm"}"#, Code::InvalidBody),
            (r#"{"scope":"record","collection":"crm"}"#, Code::InvalidBody),
            (r#"{"scope":"collection","collection":"crm","key":"a"}"#, Code::InvalidBody),
            (r#"{"scope":"tenant","confirm":"acme","collection":"crm"}"#, Code::InvalidBody),
            (r#"{"scope":"subject","subject":""}"#, Code::MalformedName),
            // What follows the first one too many is not read: it is no JSON.
            (&format!(r#"{{"scope":"subject","subjects":[{}?"#, r#""x","#.repeat(2_001)), Code::LimitExceeded),
            (&format!(r#"{{"scope":"subject","subjects":[{}?"#, r#""x","#.repeat(2_000)), Code::MalformedJson),
            (r#"{"scope":"subject","subjects":null}"#, Code::InvalidBody),
            (r#"{"scope":"collection","collection":"../x"}"#, Code::MalformedName),
        ] {
            assert_eq!(parse(text).map(|_| ()), Err(code), "{text}");
        }
    }
}

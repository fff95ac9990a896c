//! `/v1/tenants/{tenant}/retention/reports`: what runs of retention have done, by counts;
//! `/v1/tenants/{tenant}/collections/{collection}/marked`: what they are going to destroy.

use axum::extract::State;
use http::Uri;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::caller::{Authenticated, no_query};
use super::extract::headers;
use super::extract::path::RawPath;
use super::extract::query::{Query, page};
use super::problem::Problem;
use crate::domain::Timestamp;
use crate::domain::retention::report::{By, Line};
use crate::vault::ops::{MarkedItem, ReportView};

/// What one run of retention did in a tenant on one day (UTC), or the server's own passes of a day.
#[derive(Serialize, ToSchema)]
pub(super) struct ReportDocument {
    id: String,
    /// `open` while its day lasts, and more may be counted; then `final`.
    state: &'static str,
    /// `server`, its own passes; `asked`, a run that an operator or a job has asked for; `restore`: older data was put back, and what was
    /// over by then went again, most of it for the second time.
    cause: &'static str,
    /// Id of the run, as its answer names it: of a run over several days each has a report. Zeros of the server's own.
    run: String,
    /// The run's first request, as the audit trail names it.
    request: String,
    /// The token that asked; null for the server's own.
    principal: Option<String>,
    /// When it first did something in the tenant, and last.
    #[schema(value_type = String, format = DateTime)]
    began_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    ended_at: Timestamp,
    /// It has destroyed what was due by then.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    /// Records that were destroyed: the sum of all lines, as the next two.
    destroyed: u64,
    /// Records that a legal hold kept at their end.
    held: u64,
    /// Records that were marked.
    marked: u64,
    /// Tries at records that could not be read, or that others were writing all the time.
    failed: u64,
    /// By collection and rule.
    lines: Vec<LineDocument>,
    /// Records that were destroyed with a key of their own: each has a certificate.
    keys: u64,
    /// Ids of the certificates of these keys, and of keys that went with the last record that a law kept under them, once they are issued:
    /// the first 1,000. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificates: Option<Vec<String>>,
    /// Whether there are more of them. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    more_certificates: Option<bool>,
}

/// What was done by one rule in one collection.
#[derive(Serialize, ToSchema)]
pub(super) struct LineDocument {
    /// Its name, a pseudonym once it is shredded; null in the lines of what found no place among 256.
    collection: Option<String>,
    /// `rule`; `own-end`, the records' own; `older-data`, of a restore: the rules of its time; `rest`, what found no place.
    by: &'static str,
    /// The rule's name.
    rule: Option<String>,
    /// `delete`; `shred`, with their own key; `restrict`, deleted behind their time in the restricted state.
    then: &'static str,
    destroyed: u64,
    held: u64,
    marked: u64,
}

impl LineDocument {
    fn of(line: &Line, collection: Option<String>) -> Self {
        let rule = if let By::Rule(rule) = &line.by { Some(rule.clone()) } else { None };
        let Line { destroyed, held, marked, .. } = *line;
        Self { collection, by: line.by.name(), rule, then: line.how.name(), destroyed, held, marked }
    }
}

impl ReportDocument {
    fn of(view: ReportView) -> Self {
        let ReportView { id, is_final, report, collections, .. } = view;
        Self {
            id: id.to_string(),
            state: if is_final { "final" } else { "open" },
            cause: report.cause.name(),
            destroyed: report.destroyed(),
            held: report.held(),
            marked: report.marked(),
            lines: report.lines.iter().zip(collections).map(|(line, collection)| LineDocument::of(line, collection)).collect(),
            run: report.run,
            request: report.request,
            principal: report.principal,
            began_at: Timestamp(report.began_at),
            ended_at: Timestamp(report.ended_at),
            until: Timestamp(report.until),
            failed: report.failed,
            keys: report.keys,
            certificates: None,
            more_certificates: None,
        }
    }
}

/// A page of reports, in the order of their days.
#[derive(Serialize, ToSchema)]
pub(super) struct ReportPage {
    data: Vec<ReportDocument>,
    /// Where the next page begins; null at the end.
    next_cursor: Option<String>,
}

/// List what runs of retention have done in a tenant.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/retention/reports", tag = "retention",
    params(("tenant" = String, Path), ("cursor" = Option<String>, Query), ("limit" = Option<u64>, Query)),
    responses((status = 200, body = ReportPage)))]
pub(super) async fn list(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
) -> Result<axum::Json<ReportPage>, Problem> {
    let query = Query::parse(&uri, page::PARAMETERS)?;
    let tenant = RawPath::of(&uri).tenant()?;
    let (views, next_cursor) = api.vault().retention_reports(&caller, &tenant, query.text("cursor"), page::limit(&query)?).await?;
    Ok(axum::Json(ReportPage { data: views.into_iter().map(ReportDocument::of).collect(), next_cursor }))
}

/// Read what a run of retention has done in a tenant, with the certificates of the keys that went with it.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/retention/reports/{id}", tag = "retention",
    params(("tenant" = String, Path), ("id" = String, Path)), responses((status = 200, body = ReportDocument)))]
pub(super) async fn read(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
) -> Result<axum::Json<ReportDocument>, Problem> {
    no_query(&uri)?;
    let path = RawPath::of(&uri);
    let mut view = api.vault().retention_report(&caller, &path.tenant()?, path.report()?).await?;
    let certificates = std::mem::take(&mut view.certificates).iter().map(ToString::to_string).collect();
    let more_certificates = Some(view.more_certificates);
    Ok(axum::Json(ReportDocument { certificates: Some(certificates), more_certificates, ..ReportDocument::of(view) }))
}

/// A record that is going to be destroyed.
#[derive(Serialize, ToSchema)]
pub(super) struct MarkedDocument {
    /// Its key, for owners; null for auditors, and while the record is restricted.
    key: Option<String>,
    /// Its version.
    etag: String,
    /// The rule that ends it.
    rule: String,
    /// `delete`; `shred`, with its own key; `restrict`: it is deleted behind its time in the restricted state.
    then: &'static str,
    /// Since when it is marked.
    #[schema(value_type = String, format = DateTime)]
    marked_at: Timestamp,
    /// When it is destroyed.
    #[schema(value_type = String, format = DateTime)]
    ends_at: Timestamp,
    /// Whether a legal hold keeps it then, too, of which the principal may know.
    held: bool,
}

impl From<MarkedItem> for MarkedDocument {
    fn from(item: MarkedItem) -> Self {
        let MarkedItem { key, version, rule, how, marked_at, ends_at, held } = item;
        let (key, rule) = (key.map(|key| key.as_str().to_owned()), rule.as_str().to_owned());
        Self { key, etag: headers::etag(version), rule, then: how.name(), marked_at, ends_at, held }
    }
}

/// A page of marked records, by the hour of their ends; behind them those whose end a date in the value decides, by its 32 days. A page
/// may hold fewer than were asked for, with more behind it.
#[derive(Serialize, ToSchema)]
pub(super) struct MarkedPage {
    data: Vec<MarkedDocument>,
    /// Where the next page begins; null at the end.
    next_cursor: Option<String>,
}

/// List the records of a collection that are marked: their rules are going to destroy them, unless a legal hold is placed.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/collections/{collection}/marked", tag = "retention",
    params(("tenant" = String, Path), ("collection" = String, Path), ("cursor" = Option<String>, Query), ("limit" = Option<u64>, Query),
        ("Lethe-Purpose" = Option<String>, Header)),
    responses((status = 200, body = MarkedPage)))]
pub(super) async fn marked(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
) -> Result<axum::Json<MarkedPage>, Problem> {
    let query = Query::parse(&uri, page::PARAMETERS)?;
    let path = RawPath::of(&uri);
    let (tenant, collection) = (path.tenant()?, path.collection()?);
    let (items, next_cursor) =
        Box::pin(api.vault().marked_records(&caller, &tenant, &collection, query.text("cursor"), page::limit(&query)?)).await?;
    Ok(axum::Json(MarkedPage { data: items.into_iter().map(MarkedDocument::from).collect(), next_cursor }))
}

//! `/v1/tenants/{tenant}/collections/{collection}/retention/{key...}`: why a record is kept, and until when; `.../simulations`: when a
//! draft of its policy would end what is in a collection; `/v1/jobs/retention/runs`: destroying what is due, and how much is.

use axum::extract::State;
use http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::caller::{Authenticated, no_query};
use super::collections::PolicyDocument;
use super::extract::path::RawPath;
use super::extract::{Json, headers};
use super::problem::{Code, Problem};
use crate::domain::retention::explain::Explanation;
use crate::domain::{CollectionPolicy, Timestamp, limits};
use crate::vault::ops::{Destroyed, DueHour, Ending, RetentionView, RunProgress, Simulated};

/// Why a record is kept, until when, by which rule, and what is to happen then.
#[derive(Serialize, ToSchema)]
pub(super) struct RetentionExplained {
    /// The record's, as of this answer.
    etag: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    modified_at: Timestamp,
    /// The record's own end, `Lethe-Expires-At`.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// The category that the record names by its custom pair `category`.
    category: Option<String>,
    /// Whether legal holds that the principal may know of keep it, whatever the rules say.
    held: bool,
    /// The ids of those that the principal may know of.
    holds: Vec<String>,
    /// The order to shred that has left it for its legal purpose alone; told to auditors and counsels, to others it is gone.
    restricted_by: Option<String>,
    #[serde(flatten)]
    #[schema(value_type = ExplanationDocument)]
    explanation: Explanation,
}

/// An explanation; its type for serde is the domain's.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the domain's type for OpenAPI, which the domain does not know")]
pub(super) struct ExplanationDocument {
    /// In one sentence, for people.
    why: String,
    /// `kept`, `marked` (it is going to be destroyed), `restricted` (for its legal purpose alone) or `due` (its time is over).
    state: String,
    /// `until-deleted` or `rules`.
    retention: String,
    /// Whose days count; null without rules.
    time_zone: Option<String>,
    /// The legal minimum that ends last: `until`, `rule`, `basis`, `mode` (`compliance` or `governance`).
    #[schema(value_type = Option<Object>)]
    minimum: Option<String>,
    /// One of the mode `governance` that would keep it longer, had nobody bypassed it: `at`, when that was; `until`, null where it would wait
    /// for a date; `rule`, `basis`.
    #[schema(value_type = Option<Object>)]
    bypassed: Option<String>,
    /// From when on it is for its legal purpose alone: `at`, `rule`.
    #[schema(value_type = Option<Object>)]
    restricted: Option<String>,
    /// The end: `at`; `rule`, null for the record's own; `put_off_by`, the rule whose minimum puts it off; `then`, `delete` or
    /// `shred`. Null where there is none, or it is not known yet.
    #[schema(value_type = Option<Object>)]
    end: Option<String>,
    /// When the store is to carry out the end, as it was written down when the record was stored, or to look again for one; null
    /// where nothing is written down, and nothing will happen by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    scheduled_at: Option<Timestamp>,
    /// From when on it is marked, before its rule destroys it; null where the rule says nothing of it, or nothing will happen by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    marked_at: Option<Timestamp>,
    /// The rules that are for this record: `rule`, `from`, `day` (day zero; null while it is not known), `minimum_until`,
    /// `maximum_at`, `end_at`, `then`.
    #[schema(value_type = Vec<Object>)]
    rules: Vec<String>,
}

impl From<RetentionView> for RetentionExplained {
    fn from(view: RetentionView) -> Self {
        let RetentionView { version, created_at, modified_at, expires_at, category, explanation, held, holds, restricted_by } = view;
        let holds = holds.iter().map(ToString::to_string).collect();
        let restricted_by = restricted_by.map(|order| order.to_string());
        Self { etag: headers::etag(version), created_at, modified_at, expires_at, category, held, holds, restricted_by, explanation }
    }
}

/// Explain how long a record is kept, and why.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/collections/{collection}/retention/{key}", tag = "retention",
    params(("tenant" = String, Path), ("collection" = String, Path), ("key" = String, Path, description = "Segments separated by `/`"),
        ("Lethe-Purpose" = Option<String>, Header)),
    responses((status = 200, body = RetentionExplained)))]
pub(super) async fn explain(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
) -> Result<axum::Json<RetentionExplained>, Problem> {
    no_query(&uri)?;
    let path = RawPath::of(&uri);
    let view = api.vault().explain_retention(&caller, &path.tenant()?, &path.collection()?, &path.key()?).await?;
    Ok(axum::Json(view.into()))
}

/// A draft of a policy.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Draft {
    /// As it would be sent to change the collection.
    #[schema(value_type = PolicyDocument)]
    policy: CollectionPolicy,
    /// `next_cursor` of the answer before, to go on behind it.
    #[serde(default)]
    cursor: Option<String>,
}

/// What one pass of a simulation found, of 2,000 records at most: counts of several passes add up.
#[derive(Serialize, ToSchema)]
pub(super) struct SimulationPass {
    /// Records that were looked at.
    looked_at: u64,
    /// Those that would end, by day, then by rule.
    ends: Vec<EndingDocument>,
    /// Records that nothing would end, or that lack the date that a rule with a minimum counts from.
    endless: u64,
    /// Records that do not open.
    unreadable: u64,
    /// To be sent as `cursor` for the next pass; null at the end.
    next_cursor: Option<String>,
}

/// Records that end on the same day by the same rule.
#[derive(Serialize, ToSchema)]
pub(super) struct EndingDocument {
    /// In the draft's time zone, or UTC where it has no rules.
    day: String,
    /// By which rule, or by which rule's minimum it is put off; null for the records' own end.
    rule: Option<String>,
    /// How many.
    records: u64,
    /// Those of them that are not destroyed then: they were stored with a later end, or with none, and keep that until they are
    /// written again.
    later: u64,
    /// Those of them that a legal hold of which the principal may know keeps now: they are not destroyed while it stands.
    held: u64,
}

impl From<Ending> for EndingDocument {
    fn from(ending: Ending) -> Self {
        let Ending { day, rule, records, later, held } = ending;
        Self { day: day.to_string(), rule: rule.map(|rule| rule.as_str().to_owned()), records, later, held }
    }
}

/// Simulate a draft of a policy: on which day it would end how many of the collection's records. Changes nothing.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/collections/{collection}/simulations", tag = "retention",
    params(("tenant" = String, Path), ("collection" = String, Path), ("Lethe-Purpose" = Option<String>, Header)),
    request_body = Draft, responses((status = 200, body = SimulationPass)))]
pub(super) async fn simulate(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    Json(draft): Json<Draft>,
) -> Result<axum::Json<SimulationPass>, Problem> {
    no_query(&uri)?;
    let path = RawPath::of(&uri);
    let (tenant, collection) = (path.tenant()?, path.collection()?);
    let Draft { policy, cursor } = draft;
    let (simulated, next_cursor) = Box::pin(api.vault().simulate_retention(&caller, &tenant, &collection, policy, cursor)).await?;
    let Simulated { looked_at, ends, endless, unreadable } = simulated;
    let ends = ends.into_iter().map(EndingDocument::from).collect();
    Ok(axum::Json(SimulationPass { looked_at, ends, endless, unreadable, next_cursor }))
}

/// A run to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRun {
    /// Records to deal with at most: to destroy, mark, move, drop or fail at; 1,000 by default. A run looks at 10,000 rows of the index
    /// at most.
    #[serde(default)]
    limit: Option<u64>,
    /// Only what was due by then, RFC 3339; now by default, and at the latest.
    #[serde(default)]
    until: Option<String>,
    /// `next_cursor` of the run before, to go on behind it.
    #[serde(default)]
    cursor: Option<String>,
}

/// What a run did.
#[derive(Serialize, ToSchema)]
pub(super) struct RunDone {
    /// Rows of the index that were read.
    looked_at: u64,
    /// Records that were destroyed: each is in its tenant's trail.
    destroyed: u64,
    /// Records whose time is over and that a legal hold keeps: they wait until it ends.
    held: u64,
    /// Records that were marked: they are going to be destroyed.
    marked: u64,
    /// Records that now end later, or have no end and are looked for again.
    moved: u64,
    /// Rows of the index that led to nothing any more.
    dropped: u64,
    /// Records that could not be read, or that others were writing all the time; they are tried again.
    failed: u64,
    /// Id of the run, of which this may be one pass: the reports of what it did in each tenant name it.
    run: String,
    /// Whether there is more to do.
    more: bool,
    /// To be sent as `cursor` then, so that the next run goes on behind this one; null at the end.
    next_cursor: Option<String>,
}

/// Destroy what is due, in all tenants. The server does so by itself, too; repeating a run destroys nothing twice.
#[utoipa::path(post, path = "/v1/jobs/retention/runs", tag = "retention", request_body = NewRun, responses((status = 200, body = RunDone)))]
pub(super) async fn run(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    Json(asked): Json<NewRun>,
) -> Result<axum::Json<RunDone>, Problem> {
    no_query(&uri)?;
    let until = asked.until.map(|text| Timestamp::parse_rfc3339(&text).ok_or(())).transpose();
    let until = until.map_err(|()| Problem::with(Code::InvalidBody, "`until` must be a time of RFC 3339"))?;
    let limit = asked.limit.unwrap_or(1_000);
    if limit == 0 {
        return Err(Problem::with(Code::InvalidBody, "`limit` must be at least 1"));
    }
    if limit > limits::RETENTION_RUN.max {
        return Err(Problem::limit(limits::RETENTION_RUN));
    }
    let (done, run, next_cursor) = api.vault().run_retention(&caller, until, limit, asked.cursor).await?;
    let Destroyed { looked_at, destroyed, held, marked, moved, dropped, failed, more } = done;
    let run = hex::encode(run);
    Ok(axum::Json(RunDone { looked_at, destroyed, held, marked, moved, dropped, failed, run, more, next_cursor }))
}

/// What is due now and still there.
#[derive(Serialize, ToSchema)]
pub(super) struct ProgressDocument {
    /// Records whose moment has come, as it was written down: a run destroys those of them that say so themselves. 10,000 rows of the
    /// index are counted at most.
    due: u64,
    /// Records that are to be marked.
    to_mark: u64,
    /// Records that had no end, and are to be looked at again.
    to_look_at: u64,
    /// Whether there is more than was counted.
    more: bool,
    /// Those that are due, by the hour in which they became so: the first 48 hours of them.
    by_hour: Vec<DueHourDocument>,
    /// Whether a run of the server's own is under way.
    under_way: bool,
    /// When the server has something to do next, in the past while it is behind; null where it knows of nothing.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_at: Option<Timestamp>,
}

/// What became due within an hour.
#[derive(Serialize, ToSchema)]
pub(super) struct DueHourDocument {
    /// The first moment of the hour.
    #[schema(value_type = String, format = DateTime)]
    hour: Timestamp,
    /// How many.
    due: u64,
}

/// Read how far the runs of retention have come: how much is due and still there, in all tenants, by counts.
#[utoipa::path(get, path = "/v1/jobs/retention/runs", tag = "retention", responses((status = 200, body = ProgressDocument)))]
pub(super) async fn progress(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
) -> Result<axum::Json<ProgressDocument>, Problem> {
    no_query(&uri)?;
    let RunProgress { due, to_mark, to_look_at, more, by_hour, under_way, next_at } = api.vault().retention_progress(&caller).await?;
    let by_hour = by_hour.into_iter().map(|DueHour { hour, due }| DueHourDocument { hour, due }).collect();
    Ok(axum::Json(ProgressDocument { due, to_mark, to_look_at, more, by_hour, under_way, next_at }))
}

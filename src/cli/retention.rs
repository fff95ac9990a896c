//! `lethe retention`: explain, simulate, marked, shorten, bypass, run, progress, reports, catalogue.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    connection::{Connection, TenantArg},
    failure::Failure,
    output::{Format, Output},
};
use crate::domain::retention::catalogue;

mod chart;
mod simulate;

/// What to do about how long data is kept.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Explain why a record is kept, until when, by which rule, and what is to happen then.
    Explain {
        /// Whose.
        tenant: String,
        /// Which collection.
        collection: String,
        /// Which record.
        key: String,
        /// What the explanation is wanted for; goes into the audit trail.
        #[arg(long)]
        purpose: Option<String>,
    },
    /// Show on which days a draft of a policy would end what is in a collection, by months. Changes nothing; what is not given is as in
    /// the present policy.
    Simulate(simulate::SimulateArgs),
    /// List the records of a collection that its rules are going to destroy, and when, so that a legal hold can be placed in time.
    Marked {
        /// Whose.
        tenant: String,
        /// Which collection.
        collection: String,
        /// What the list is wanted for; goes into the audit trail.
        #[arg(long)]
        purpose: Option<String>,
    },
    /// Ask a second owner that a collection's rules hold for what is there already, and not only for what is written from now on. What is there
    /// may be destroyed earlier then: simulate first.
    Shorten {
        /// Whose.
        tenant: String,
        /// Which collection.
        collection: String,
    },
    /// Ask the same of a governor, also where legal minimums of the mode `governance` of earlier rules stand over what is there: they bind it
    /// no more then. It takes a token of the role `governor` to approve.
    Bypass {
        /// Whose.
        tenant: String,
        /// Which collection.
        collection: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Destroy what is due, in all tenants, until nothing is: for an outside scheduler, with an operator's token or a job's. The server
    /// does so by itself, too.
    Run {
        /// At most so many records.
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        /// Only what was due by then (RFC 3339); now, otherwise.
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
    },
    /// Show how much is due and still there, in all tenants: with an operator's token or a job's.
    Progress,
    /// List what runs have done in a tenant, by day, as counts; or one report, with its counts by collection and rule, and the
    /// certificates of the keys that went with what was destroyed.
    Reports {
        /// One report's id.
        id: Option<String>,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// List legal periods, with the laws that set them: to be checked, copied and edited. None applies by itself; not legal advice.
    Catalogue,
}

pub(crate) async fn run(command: Command, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Explain { tenant, collection, key, purpose } => {
            let client = connection.client()?;
            let mut request = client.keyed(Method::GET, &tenant, &collection, "retention", &key)?;
            if let Some(purpose) = purpose {
                request = request.header("lethe-purpose", super::record::header_list(std::slice::from_ref(&purpose)));
            }
            let answer = client.json(request).await?;
            if out.format() == Format::Json {
                return out.json(&answer);
            }
            out.say(answer.get("why").and_then(Value::as_str).unwrap_or_default(), &answer)?;
            match answer.get("rules").and_then(Value::as_array) {
                Some(rules) if !rules.is_empty() => {
                    out.rows(&["rule", "from", "day", "minimum_until", "maximum_at", "then", "end_at"], rules)
                }
                Some(_) | None => Ok(()),
            }
        }
        Command::Simulate(args) => simulate::run(args, &connection.client()?, out).await,
        Command::Shorten { tenant, collection } => ask((&tenant, &collection, "shortenings"), None, connection, out).await,
        Command::Bypass { tenant, collection, reason } => {
            ask((&tenant, &collection, "bypasses"), Some(json!({ "reason": reason })), connection, out).await
        }
        Command::Marked { tenant, collection, purpose } => {
            let client = connection.client()?;
            let path = ["v1", "tenants", &tenant, "collections", &collection, "marked"];
            let page = |cursor: Option<&str>| {
                let request = client.get(&path, &[("cursor", cursor)])?;
                Ok(match &purpose {
                    Some(purpose) => request.header("lethe-purpose", super::record::header_list(std::slice::from_ref(purpose))),
                    None => request,
                })
            };
            let rows = client.pages(page, usize::MAX).await?;
            out.rows(&["key", "ends_at", "rule", "then", "marked_at", "held"], &rows)
        }
        Command::Progress => {
            let client = connection.client()?;
            let told = client.json(client.request(Method::GET, &["v1", "jobs", "retention", "runs"])?).await?;
            out.document(&told)
        }
        Command::Reports { id, tenant } => {
            let client = connection.client()?;
            let tenant = tenant.name(&client).await?;
            match id {
                None => {
                    let page =
                        |cursor: Option<&str>| client.get(&["v1", "tenants", &tenant, "retention", "reports"], &[("cursor", cursor)]);
                    let rows = client.pages(page, usize::MAX).await?;
                    out.rows(&["id", "state", "cause", "began_at", "ended_at", "destroyed", "held", "marked", "failed", "keys"], &rows)
                }
                Some(id) => {
                    let mut told =
                        client.json(client.request(Method::GET, &["v1", "tenants", &tenant, "retention", "reports", &id])?).await?;
                    if out.format() == Format::Json {
                        return out.json(&told);
                    }
                    let lines = told.as_object_mut().and_then(|report| report.remove("lines"));
                    out.document(&told)?;
                    match lines {
                        Some(Value::Array(lines)) if !lines.is_empty() => {
                            out.rows(&["collection", "by", "rule", "then", "destroyed", "held", "marked"], &lines)
                        }
                        Some(_) | None => Ok(()),
                    }
                }
            }
        }
        Command::Run { limit, until } => run_until_done(limit, until, connection, out).await,
        Command::Catalogue => {
            let documents: Vec<Value> = catalogue::shipped()
                .into_iter()
                .map(|period| {
                    let (length, basis) = (period.minimum.period, &period.minimum.basis);
                    let minimum = json!({"period": length, "basis": basis});
                    json!({"code": period.code, "period": length, "basis": basis, "covers": period.covers, "from": period.from, "minimum": minimum})
                })
                .collect();
            out.rows(&["code", "period", "basis", "covers", "from"], &documents)
        }
    }
}

/// Asks a second person that a collection's rules hold for what is there.
async fn ask(
    (tenant, collection, way): (&str, &str, &str),
    body: Option<Value>,
    connection: &Connection,
    out: &mut Output,
) -> Result<(), Failure> {
    let asked = connection.client()?.change(&["v1", "tenants", tenant, "collections", collection, way], body.as_ref()).await?;
    super::approval::note_if_asked(&asked);
    out.document(&asked)
}

/// The most that one request asks for.
const PASS: u64 = 1_000;
const COUNTS: [&str; 7] = ["destroyed", "held", "marked", "moved", "dropped", "failed", "looked_at"];

/// Repeats bounded passes until nothing is due, or as much as was asked for is destroyed.
async fn run_until_done(limit: Option<u64>, until: Option<String>, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    let client = connection.client()?;
    let mut totals = [0_u64; COUNTS.len()];
    let mut left = limit.unwrap_or(u64::MAX);
    let (mut cursor, mut run) = (Value::Null, Value::Null);
    let mut more = true;
    while more && left > 0 {
        let mut body = json!({ "limit": left.min(PASS), "cursor": cursor });
        if let (Some(until), Some(fields)) = (&until, body.as_object_mut()) {
            fields.insert("until".to_owned(), json!(until));
        }
        let mut done = client.json(client.request(Method::POST, &["v1", "jobs", "retention", "runs"])?.json(&body)).await?;
        let count = |name: &str| done.get(name).and_then(Value::as_u64).unwrap_or(0);
        for (total, name) in totals.iter_mut().zip(COUNTS) {
            *total = total.saturating_add(count(name));
        }
        left = left.saturating_sub(count("destroyed"));
        more = done.get("more").and_then(Value::as_bool).unwrap_or(false);
        cursor = done.get_mut("next_cursor").map(Value::take).unwrap_or_default();
        run = done.get_mut("run").map(Value::take).unwrap_or_default();
    }
    let [destroyed, held, marked, moved, dropped, failed, looked_at] = totals;
    let told = json!({"destroyed": destroyed, "held": held, "marked": marked, "moved": moved, "dropped": dropped, "failed": failed,
        "looked_at": looked_at, "run": run, "more": more});
    let rest = if more { "; more is due" } else { "" };
    out.say(
        &format!("{destroyed} records destroyed, {held} kept by legal holds, {marked} marked, {failed} could not be read, {moved} end later{rest}"),
        &told,
    )
}

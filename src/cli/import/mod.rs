//! `lethe import`: JSON Lines into a collection, at full speed.
//!
//! Read top-down: [`run`] opens input and state, [`pump`] keeps several batches in flight, [`send`] puts one
//! batch. A batch is atomic, so one record that the server refuses fails it whole: it is then cut at that record, and
//! halved after a few of them, until each stands alone and can be reported by its line. A token that may not write ends
//! the import at its first record. After a break the state file says where to go on.

use std::{
    io::{BufReader, IsTerminal, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::stream::{FuturesUnordered, StreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Method, header};
use serde::Serialize;
use serde_json::json;

use super::{
    bundle,
    connection::{Client, Connection, TenantArg, patiently},
    failure::{Failure, LOCAL, Problem, REFUSED},
    output::Output,
    record::{META, header_list},
};
use crate::domain::{Clock, CustomPairs, SystemClock};

pub(crate) mod lines;
pub(crate) mod state;
mod template;

use lines::{Bad, Batch, Batches, Put, Recipe};
use state::{Keeper, Place, Settled};
use template::Template;

/// So many refused records of a batch are found by what the server says of each; then the batch is halved. Each cut sends
/// what is behind it again, so that a batch of nothing but refused records would be sent five hundred times over.
const CUTS: u32 = 8;

/// `lethe import --key CustomerId --subject CustomerId customers.jsonl`, and what else there is to import.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<bundle::Import>,
    #[command(flatten)]
    lines: LineArgs,
}

/// What lines to import.
#[derive(clap::Args)]
struct LineArgs {
    /// The input: one JSON object a line; '-' for standard input.
    #[arg(required = true)]
    file: Option<PathBuf>,
    /// The field that is the record's key, or a template such as users/{UserId}.
    #[arg(long, value_name = "FIELD", required_unless_present = "envelope")]
    key: Option<Template>,
    /// A field with the id of a person the record is about; may be repeated, the first one's key seals it.
    #[arg(long = "subject", value_name = "FIELD")]
    subjects: Vec<String>,
    /// The collection; the file's name without its ending where left out.
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    /// Create the collection if it does not exist, by subject (by collection where no --subject is given).
    #[arg(long)]
    create: bool,
    /// The records' media type.
    #[arg(long, default_value = "application/json")]
    content_type: String,
    /// The lines are envelopes with key, subjects and value, as `export --envelope` writes them.
    #[arg(long, conflicts_with_all = ["key", "subjects", "content_type"])]
    envelope: bool,
    /// All persons were shredded and are known anew: opens new keys, and is audited. In an envelope: its `new_relationship`.
    #[arg(long)]
    new_relationship: bool,
    /// Where to note how far it got; INPUT.lethe-import where left out, and nowhere if that cannot be written.
    #[arg(long, value_name = "FILE")]
    resume_file: Option<PathBuf>,
    /// Batches in flight.
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: u16,
    #[command(flatten)]
    tenant: TenantArg,
}

pub(crate) async fn run(args: Args, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    let args = match args.command {
        Some(bundle::Import::Tenant(args)) => return Box::pin(bundle::import::run(args, connection, out)).await,
        None => args.lines,
    };
    let Some(file) = args.file.clone() else { return Err(Failure::local("which file? Say FILE, or - for standard input")) };
    let client = connection.client()?;
    let from_stdin = file == Path::new("-");
    let collection = match (&args.collection, from_stdin) {
        (Some(name), _) => name.clone(),
        (None, false) => file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        (None, true) => return Err(Failure::local("which collection? Say --collection NAME")),
    };
    // Opened first: an input that cannot be read changes nothing.
    let input = if from_stdin { None } else { Some(std::fs::File::open(&file).map_err(|error| Failure::file(&file, &error))?) };
    // What is read from a pipe is gone, also for whoever only looks at its beginning.
    let resumable = input.as_ref().is_some_and(|file| file.metadata().is_ok_and(|found| found.is_file()));
    if args.resume_file.is_some() && !resumable {
        return Err(Failure::local("a break can be gone on from in a file only: leave --resume-file out"));
    }
    let tenant = args.tenant.name(&client).await?;
    let is_there = ensure_collection(&client, &tenant, &collection, args.create, !args.subjects.is_empty() || args.envelope).await?;

    let mut keeper = if resumable { keeper(&args, &file, &client, &tenant, &collection).await? } else { Keeper::none() };
    let (offset, lines_before) = (keeper.state().offset, keeper.state().lines);
    let total = input.as_ref().and_then(|file| file.metadata().ok()).filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
    let reader: Box<dyn std::io::BufRead + Send> = match input {
        Some(mut input) => {
            if offset > 0 {
                input.seek(SeekFrom::Start(offset)).map_err(|error| Failure::file(&file, &error))?;
                super::output::note(&format!("going on at line {}", lines_before.saturating_add(1)));
            }
            Box::new(BufReader::with_capacity(1 << 20, input))
        }
        None => Box::new(BufReader::new(std::io::stdin())),
    };
    let recipe = match args.key {
        Some(key) => Recipe::Plain { key, subjects: args.subjects, content_type: args.content_type },
        None => Recipe::Envelope,
    };
    let batches = Batches::new(reader, recipe, offset, lines_before).of_a_new_relationship(args.new_relationship);
    let name = if from_stdin { "standard input".to_owned() } else { file.display().to_string() };
    let target = Target { client, tenant, collection, is_there, stored: AtomicBool::new(keeper.state().imported > 0) };
    let bar = progress(total, offset);
    let started = SystemClock.monotonic();
    let pumped = pump(batches, &target, usize::from(args.parallel), &mut keeper, &bar, &name).await;
    bar.finish_and_clear();
    let codes = pumped?;
    let state = keeper.finish()?;

    let secs = SystemClock.monotonic().saturating_sub(started).as_secs_f64();
    out.say(
        &format!(
            "{name}: {} records imported into {}, {} of {} lines rejected, {secs:.1} s",
            state.imported, target.collection, state.rejected, state.lines
        ),
        &json!({ "imported": state.imported, "rejected": state.rejected, "lines": state.lines, "bytes": state.offset, "seconds": secs }),
    )?;
    out.flush()?;
    match (state.rejected, codes.refused) {
        (0, _) => Ok(()),
        (_, true) => Err(Failure::Reported(REFUSED)),
        (_, false) => Err(Failure::Reported(LOCAL)),
    }
}

/// The state of an import from a file.
async fn keeper(args: &LineArgs, input: &Path, client: &Client, tenant: &str, collection: &str) -> Result<Keeper, Failure> {
    let recipe = args.key.as_ref().map(|key| json!([format!("{key:?}"), args.subjects, args.content_type]));
    let destination = json!([client.destination().await?, tenant, collection, recipe, args.new_relationship]).to_string();
    match &args.resume_file {
        Some(file) => Keeper::open(Place::Asked(file.clone()), &destination, input),
        None => Keeper::open(Place::Beside(beside(input, ".lethe-import")), &destination, input),
    }
}

/// Where records go.
struct Target {
    client: Client,
    tenant: String,
    collection: String,
    /// Whether the collection was there before; otherwise the first record makes it.
    is_there: bool,
    /// Whether any record was stored, now or before a break.
    stored: AtomicBool,
}

impl Target {
    /// Whether no record will fare better than the one that was refused so.
    fn takes_nothing(&self, problem: &Problem) -> bool {
        // A record out of a grant's reach is not found; forbidden is what the token's role may not do to any.
        let refuses_all = problem.status == 403 || problem.status == 404 && !self.is_there;
        refuses_all && !self.stored.load(Ordering::Relaxed)
    }
}

/// What kinds of rejection there were.
#[derive(Default)]
struct Codes {
    refused: bool,
}

/// Makes the collection if it is missing and `create` says so. Gives whether it is there; where the tenant makes collections
/// on write, it need not be.
pub(crate) async fn ensure_collection(
    client: &Client,
    tenant: &str,
    collection: &str,
    create: bool,
    by_subject: bool,
) -> Result<bool, Failure> {
    let segments = ["v1", "tenants", tenant, "collections", collection];
    match client.json(client.request(Method::GET, &segments)?).await {
        Err(Failure::Refused(problem)) if problem.status == 404 && create => {
            let unit = if by_subject { "subject" } else { "collection" };
            client.json(client.request(Method::PUT, &segments)?.json(&json!({ "shred_unit": unit }))).await.map(|_| true)
        }
        Err(Failure::Refused(mut problem)) if problem.status == 404 => {
            if creates_on_write(client, tenant).await? {
                return Ok(false);
            }
            problem.detail = Some(format!("collection {collection} of tenant {tenant}; --create makes one that is missing"));
            Err(Failure::Refused(problem))
        }
        // A writer may put without being shown the policy.
        Err(Failure::Refused(problem)) if problem.status == 403 => Ok(true),
        other => other.map(|_| true),
    }
}

/// Whether a write to an unknown collection of the tenant makes it.
async fn creates_on_write(client: &Client, tenant: &str) -> Result<bool, Failure> {
    match client.json(client.request(Method::GET, &["v1", "tenants", tenant])?).await {
        Ok(told) => Ok(told.get("create_collections_on_write").and_then(serde_json::Value::as_bool) == Some(true)),
        // Who may not know of the tenant has its collection missing all the same.
        Err(Failure::Refused(problem)) if matches!(problem.status, 403 | 404) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// Keeps up to `parallel` batches in flight until the input ends.
async fn pump<R: std::io::BufRead>(
    mut batches: Batches<R>,
    target: &Target,
    parallel: usize,
    keeper: &mut Keeper,
    bar: &ProgressBar,
    name: &str,
) -> Result<Codes, Failure> {
    let mut codes = Codes::default();
    let mut in_flight = FuturesUnordered::new();
    let mut waiting: Option<Batch> = None;
    let mut number = 0_u64;
    let mut at_end = false;
    loop {
        while !at_end && in_flight.len() < parallel {
            let Some(batch) = waiting
                .take()
                .map_or_else(|| batches.next().map_err(|error| Failure::local(format!("{name}: {error}"))), |batch| Ok(Some(batch)))?
            else {
                at_end = true;
                break;
            };
            if batch.barrier && !in_flight.is_empty() {
                waiting = Some(batch);
                break;
            }
            let this = number;
            in_flight.push(async move { (this, settle(target, batch).await) });
            number = number.saturating_add(1);
        }
        let Some((number, settled)) = in_flight.next().await else { return Ok(codes) };
        let (settled, bad, refused) = settled?;
        codes.refused |= refused;
        bar.suspend(|| bad.iter().for_each(|bad| super::output::note(&format!("{name}:{}: {}", bad.line, bad.reason))));
        bar.suspend(|| keeper.settle(number, settled))?;
        bar.set_position(keeper.state().offset);
        bar.set_message(format!("{} records", keeper.state().imported));
    }
}

/// Sends one batch; what the server refused line by line joins its bad lines.
async fn settle(target: &Target, batch: Batch) -> Result<(Settled, Vec<Bad>, bool), Failure> {
    let (mut imported, mut bad, mut refused, mut found) = (0_u64, batch.bad, false, 0_u32);
    // Halves that are still to be sent, last one on top, so that lines go in order.
    let mut left: Vec<&[Put]> = vec![&batch.puts];
    while let Some(puts) = left.pop() {
        match send(target, puts).await {
            Ok(()) => {
                imported = imported.saturating_add(puts.len() as u64);
                target.stored.store(true, Ordering::Relaxed);
            }
            Err(Failure::Refused(problem)) if is_about_records(&problem) => match puts {
                [] => {}
                [_] if target.takes_nothing(&problem) => return Err(Failure::Refused(problem)),
                [one] => {
                    (refused, found) = (true, found.saturating_add(1));
                    bad.push(Bad { line: one.line, reason: problem.summary() });
                }
                several => {
                    // The server may say which operation it was; else half of them are tried alone.
                    let middle = match problem.op.filter(|op| found < CUTS && *op < several.len()) {
                        Some(0) => 1,
                        Some(op) => op,
                        None => several.len() / 2,
                    };
                    let (first, second) = several.split_at(middle);
                    left.push(second);
                    left.push(first);
                }
            },
            Err(other) => return Err(other),
        }
    }
    bad.sort_by_key(|bad| bad.line);
    let settled = Settled { end: batch.end, lines: batch.lines, imported, rejected: bad.len() as u64 };
    Ok((settled, bad, refused))
}

/// Whether another record might fare better; not so for a token that is refused. 431: a large one's pairs are headers.
fn is_about_records(problem: &Problem) -> bool {
    matches!(problem.status, 400 | 403 | 404 | 409 | 410 | 412 | 413 | 415 | 422 | 423 | 431)
}

#[derive(Serialize)]
struct Op<'a> {
    #[serde(rename = "op")]
    verb: &'static str,
    collection: &'a str,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    content_type: &'a str,
    subjects: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<&'a str>,
    #[serde(skip_serializing_if = "CustomPairs::is_empty")]
    custom: &'a CustomPairs,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    new_relationship: bool,
}

#[derive(Serialize)]
struct Ops<'a> {
    ops: Vec<Op<'a>>,
}

/// Puts some records in one request; sends it again while the server is busy or the connection breaks.
async fn send(target: &Target, puts: &[Put]) -> Result<(), Failure> {
    let Target { client, tenant, collection, .. } = target;
    let body = match puts {
        [] => return Ok(()),
        [one] if one.is_large() => None,
        several => {
            let ops: Vec<Op<'_>> = several
                .iter()
                .map(|put| {
                    let value = std::str::from_utf8(&put.value).ok();
                    let value_base64 = value.is_none().then(|| STANDARD.encode(&put.value));
                    Op {
                        verb: "put",
                        collection,
                        key: &put.key,
                        value,
                        value_base64,
                        content_type: &put.content_type,
                        subjects: &put.subjects,
                        expires_at: put.expires_at.as_deref(),
                        custom: &put.custom,
                        new_relationship: put.new_relationship,
                    }
                })
                .collect();
            Some(bytes::Bytes::from(serde_json::to_vec(&Ops { ops }).map_err(|error| Failure::local(error.to_string()))?))
        }
    };
    patiently(async || {
        let request = match (&body, puts) {
            (None, [one, ..]) => put_alone(client.record(Method::PUT, tenant, collection, &one.key)?, one),
            (body, _) => {
                let request =
                    client.request(Method::POST, &["v1", "tenants", tenant, "batch"])?.header(header::CONTENT_TYPE, "application/json");
                request.body(body.clone().unwrap_or_default())
            }
        };
        // Read to its end, so that the connection can be used again.
        client.send(request).await?.bytes().await?;
        Ok(())
    })
    .await
}

/// The request of a record that is too large for a batch: all but the value goes into headers.
fn put_alone(request: reqwest::RequestBuilder, put: &Put) -> reqwest::RequestBuilder {
    let mut request = request.header(header::CONTENT_TYPE, &put.content_type);
    if !put.subjects.is_empty() {
        request = request.header("lethe-subject", header_list(&put.subjects));
    }
    if let Some(time) = &put.expires_at {
        request = request.header("lethe-expires-at", time);
    }
    if put.new_relationship {
        request = request.header("lethe-new-relationship", "true");
    }
    for (name, text) in &put.custom.0 {
        request = request.header(format!("{META}{name}"), header_list(std::slice::from_ref(text)));
    }
    request.body(put.value.clone())
}

/// A bar on a terminal, nothing elsewhere.
pub(crate) fn progress(total: Option<u64>, position: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {msg} {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} {bytes_per_sec} {msg}"),
    };
    bar.set_position(position);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The path with something behind its file name.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

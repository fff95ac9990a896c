//! `lethe backup`: takes, lists, verifies, prunes and rehearses backups of the data store. The copying is done here, on the server's
//! machine, from a snapshot that a running server takes, or of a store that is stopped.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use indicatif::ProgressBar;
use reqwest::{Method, header};
use serde_json::{Value, json};

use super::{
    bucket::BucketArgs,
    connection::{Client, Connection},
    failure::{Failure, LOCAL},
    import::progress as bar,
    output::{Output, note},
};
use crate::{
    config::Config,
    domain::{Clock as _, Epoch, SystemClock, Timestamp},
    server::backup::{self, BackupError, Location, Manifest, Place, Source},
};

/// `lethe backup --to PLACE`, and what else there is to do with backups.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    take: TakeArgs,
}

/// What to take.
#[derive(Debug, clap::Args)]
struct TakeArgs {
    /// The directory of backups, on another disk than the store's, or `s3://BUCKET/PREFIX`; made if it is not there.
    #[arg(long, value_name = "PLACE", required = true)]
    to: Option<PathBuf>,
    /// The store directory.
    #[arg(long, value_name = "DIR", required = true)]
    dir: Option<PathBuf>,
    #[command(flatten)]
    bucket: BucketArgs,
}

/// What else there is to do with backups.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the generations of a place of backups.
    List {
        #[command(flatten)]
        from: FromArgs,
        #[command(flatten)]
        bucket: BucketArgs,
    },
    /// Read every file of every generation, and hold it against its checksum.
    Verify {
        #[command(flatten)]
        from: FromArgs,
        /// Only this generation.
        #[arg(long, value_name = "N")]
        generation: Option<u64>,
        #[command(flatten)]
        bucket: BucketArgs,
    },
    /// Remove all generations but the newest, and the files that none of those needs.
    Prune {
        #[command(flatten)]
        from: FromArgs,
        /// How many generations stay.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        keep: u32,
        #[command(flatten)]
        bucket: BucketArgs,
    },
    /// Restore a generation beside a copy of today's control store, look at it, and remove it again, while the server runs or not.
    Rehearse(Box<RehearseArgs>),
}

/// Which place of backups.
#[derive(Debug, clap::Args)]
struct FromArgs {
    /// The directory of backups, or `s3://BUCKET/PREFIX`.
    #[arg(long, value_name = "PLACE")]
    from: PathBuf,
}

/// What to rehearse.
#[derive(Debug, clap::Args)]
struct RehearseArgs {
    #[command(flatten)]
    from: FromArgs,
    /// The store directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Which generation; the newest, otherwise.
    #[arg(long, value_name = "N")]
    generation: Option<u64>,
    /// Open one record in so many; those that a certificate names are all tried.
    #[arg(long, value_name = "N", default_value_t = 1)]
    one_in: u64,
    /// Where to rehearse; a new directory in the store's, otherwise. Needs room for the whole generation.
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// The keys are those of the demonstration.
    #[arg(long)]
    demo: bool,
    #[command(flatten)]
    bucket: BucketArgs,
}

pub(crate) async fn run(args: Args, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    match args.command {
        None => {
            let TakeArgs { to: Some(to), dir: Some(dir), bucket } = args.take else {
                return Err(Failure::local("--to and --dir are needed"));
            };
            take(&bucket.location(&to)?, &dir, connection, out).await
        }
        Some(Command::List { from, bucket }) => list(&bucket.location(&from.from)?, out),
        Some(Command::Verify { from, generation, bucket }) => verify(&bucket.location(&from.from)?, generation, out),
        Some(Command::Prune { from, keep, bucket }) => prune(&bucket.location(&from.from)?, keep, out),
        Some(Command::Rehearse(args)) => rehearse(*args, out).await,
    }
}

async fn take(to: &Location, dir: &Path, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    let config = Config::load(dir).map_err(failed)?;
    if let Location::Directory(to) = to {
        backup::refuse_inside(&config, to).map_err(failed)?;
    }
    let shown = Shown::default();
    let manifest = if let Some(stopped) = backup::of_stopped(&config, &SystemClock).map_err(failed)? {
        let taken = backup::take(&stopped.source, to, |bytes| shown.begin(bytes), &|bytes| shown.add(bytes));
        let released = stopped.release(&config);
        let manifest = taken.map_err(failed)?;
        released.map_err(failed)?;
        manifest
    } else {
        let client = operators(connection, &config)?;
        let mut source = ask(&client).await?;
        // Where this machine sees it: a server in a container has other paths.
        source.dir = backup::snapshot_dir(&config, source.id);
        if !source.dir.exists() {
            return Err(Failure::local(format!(
                "the server at {} took its snapshot, and it is not in {}: is it the server of this store, on this machine?",
                client.base(),
                source.dir.display()
            )));
        }
        let taken = backup::take(&source, to, |bytes| shown.begin(bytes), &|bytes| shown.add(bytes));
        let id = source.id.to_string();
        // Where this fails, it goes by itself.
        let released = client.send(client.request(Method::DELETE, &["v1", "jobs", "snapshots", &id])?).await;
        if released.is_err() {
            note("the server could not be told that the snapshot is not needed any more; it removes it by itself");
        }
        taken.map_err(failed)?
    };
    shown.end();
    let Manifest { generation, bytes, copied_files, copied_bytes, epoch, files, .. } = &manifest;
    let count = files.len();
    out.say(
        &format!("generation {generation}: {count} files, {bytes} bytes, of which {copied_files} files, {copied_bytes} bytes were copied; epoch {epoch}"),
        &told(&manifest),
    )
}

/// The client of a running server, with the operator's token of the store directory where no other is given.
fn operators(connection: &Connection, config: &Config) -> Result<Client, Failure> {
    let client = connection.client()?;
    if client.token().is_some() {
        return Ok(client);
    }
    let path = config.operator_token_file();
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Failure::local(format!(
            "the server is running, and asks who wants a snapshot: give an operator's token, or a job's, with --token-file ({}: {error})",
            path.display()
        ))
    })?;
    let mut token = header::HeaderValue::from_str(&format!("Bearer {}", text.trim()))
        .map_err(|_| Failure::local(format!("{}: not a token", path.display())))?;
    token.set_sensitive(true);
    Ok(client.with_token(token))
}

/// Has a running server take a snapshot.
async fn ask(client: &Client) -> Result<Source, Failure> {
    let answer = client.json(client.request(Method::POST, &["v1", "jobs", "snapshots"])?).await?;
    source_of(&answer).ok_or_else(|| Failure::local("the server's answer is not that of a snapshot"))
}

fn source_of(answer: &Value) -> Option<Source> {
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    let number = |name: &str| answer.get(name).and_then(Value::as_u64);
    Some(Source {
        id: text("id")?.parse().ok()?,
        dir: text("directory")?.into(),
        store: text("store")?.parse().ok()?,
        taken_at: Timestamp::parse_rfc3339(text("taken_at")?)?,
        epoch: Epoch(number("epoch")?),
        log_size: number("log_size")?,
        records_estimate: number("records_estimate")?,
    })
}

fn told(manifest: &Manifest) -> Value {
    json!({
        "generation": manifest.generation, "taken_at": manifest.taken_at(), "epoch": manifest.epoch, "log_size": manifest.log_size,
        "files": manifest.files.len(), "bytes": manifest.bytes, "copied_files": manifest.copied_files,
        "copied_bytes": manifest.copied_bytes, "records_estimate": manifest.records_estimate,
    })
}

fn list(from: &Location, out: &mut Output) -> Result<(), Failure> {
    let place = Place::open(from).map_err(failed)?;
    let mut rows = Vec::new();
    let mut damaged = false;
    for generation in place.generations().map_err(failed)? {
        match place.manifest(Some(generation)) {
            Ok(manifest) => rows.push(told(&manifest)),
            Err(error @ BackupError::S3(_)) => return Err(failed(error)),
            Err(error) => {
                note(&error.to_string());
                damaged = true;
            }
        }
    }
    out.rows(&["generation", "taken_at", "epoch", "log_size", "files", "bytes", "copied_bytes", "records_estimate"], &rows)?;
    out.flush()?;
    if damaged { Err(Failure::Reported(LOCAL)) } else { Ok(()) }
}

fn verify(from: &Location, generation: Option<u64>, out: &mut Output) -> Result<(), Failure> {
    let place = Place::open(from).map_err(failed)?;
    let shown = Shown::default();
    let verified = backup::verify(&place, generation, |bytes| shown.begin(bytes), &|bytes| shown.add(bytes)).map_err(failed)?;
    shown.end();
    for finding in &verified.findings {
        note(finding);
    }
    let count = verified.findings.len();
    out.say(
        &format!("{} generations, {} files, {} bytes: {count} findings", verified.generations, verified.files, verified.bytes),
        &json!({"generations": verified.generations, "files": verified.files, "bytes": verified.bytes, "findings": verified.findings}),
    )?;
    out.flush()?;
    if count == 0 { Ok(()) } else { Err(Failure::Reported(LOCAL)) }
}

fn prune(from: &Location, keep: u32, out: &mut Output) -> Result<(), Failure> {
    let place = Place::open_to_change(from).map_err(failed)?;
    let pruned = backup::prune(&place, usize::try_from(keep).unwrap_or(usize::MAX)).map_err(failed)?;
    out.say(
        &format!("{} generations removed, and {} files of {} bytes", pruned.generations.len(), pruned.files, pruned.bytes),
        &json!({"generations": pruned.generations, "files": pruned.files, "bytes": pruned.bytes}),
    )
}

async fn rehearse(args: RehearseArgs, out: &mut Output) -> Result<(), Failure> {
    let config = Config::load(&args.dir).map_err(failed)?;
    let from = args.bucket.location(&args.from.from)?;
    let shown = Shown::default();
    let how = (args.generation, args.one_in, args.work, args.demo);
    let rehearsed = backup::rehearse::rehearse(&config, &from, how, Arc::new(SystemClock), |bytes| shown.begin(bytes), &|bytes| {
        shown.add(bytes);
    })
    .await
    .map_err(failed)?;
    shown.end();
    let (proof, over) = (&rehearsed.proof, &rehearsed.over);
    for finding in &proof.findings {
        note(finding);
    }
    let age = SystemClock.now().since(rehearsed.manifest.taken_at());
    out.say(
        &format!(
            "generation {} of {}: copied in {:.1} s, ready {:.1} s later; {} records were over by now and destroyed, {} stay under legal holds\n\
             {} records and headers: {} named by {} certificates, none of which opened; of {} others tried, {} readable, {} shredded, {} damaged\n\
             {} findings",
            rehearsed.manifest.generation,
            rehearsed.manifest.taken_at().to_rfc3339(),
            rehearsed.copied_in.as_secs_f64(),
            rehearsed.ready_in.as_secs_f64(),
            over.destroyed,
            over.held,
            proof.records,
            proof.named,
            proof.certificates,
            proof.sampled,
            proof.readable,
            proof.shredded,
            proof.damaged,
            proof.findings.len()
        ),
        &json!({
            "generation": rehearsed.manifest.generation, "taken_at": rehearsed.manifest.taken_at(), "age_secs": age.as_secs(),
            "copied_ms": millis(rehearsed.copied_in), "ready_ms": millis(rehearsed.ready_in), "destroyed": over.destroyed, "held": over.held,
            "failed": over.failed, "certificates": proof.certificates, "units": proof.units, "records": proof.records, "named": proof.named,
            "sampled": proof.sampled, "readable": proof.readable, "shredded": proof.shredded, "damaged": proof.damaged,
            "findings": proof.findings,
        }),
    )?;
    out.flush()?;
    if proof.findings.is_empty() && proof.damaged == 0 { Ok(()) } else { Err(Failure::Reported(LOCAL)) }
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A bar on a terminal, once it is known how much there is to do.
#[derive(Default)]
pub(crate) struct Shown(Mutex<Option<ProgressBar>>);

impl Shown {
    pub(crate) fn begin(&self, bytes: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar(Some(bytes), 0));
    }

    pub(crate) fn add(&self, bytes: u64) {
        if let Some(bar) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            bar.inc(bytes);
        }
    }

    pub(crate) fn end(&self) {
        if let Some(bar) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }
}

pub(crate) fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::local(error.to_string())
}

//! `lethe bench`: drives a running server and says how fast it answered, and whether rightly.
//!
//! Read top-down: [`args`] is what can be asked; [`setup`] makes the collection and loads it ([`batches`]); [`drive`]
//! keeps connections ([`wire`]) busy by a [`schedule`]; a [`workload`]'s step is in [`records`], [`lists`], [`streams`],
//! [`shreds`]; [`tally`] counts, [`report`] and [`plot`] tell. Every value that is read is checked ([`values`]): a wrong
//! byte is an error, not a fast answer. The connection's token needs an owner's role, an operator's for shred-tenant.

use std::{
    io::IsTerminal as _,
    sync::{Arc, PoisonError, atomic::AtomicU64},
};

use indicatif::{ProgressBar, ProgressStyle};
use rand::{SeedableRng as _, rngs::SmallRng};

use super::{connection::Connection, failure::Failure, output::Output};
use crate::domain::{Clock as _, SystemClock};

mod args;
mod batches;
mod choose;
mod drive;
mod lists;
mod numbers;
mod plot;
mod records;
mod report;
mod schedule;
mod setup;
mod shreds;
mod streams;
mod tally;
mod values;
mod wire;
mod workload;

pub(crate) use args::Args;

use args::Load;
use batches::Import;
use choose::{Keys, Population};
use drive::{Drive, Measured};
use lists::{By, Lists};
use records::{Mix, Mixed, Records};
use report::Report;
use shreds::{Subjects, Tenants};
use streams::{Direction, Streams};
use wire::{Target, Wire};
use workload::{Work, Workload};

pub(crate) async fn run(args: Args, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    args.check()?;
    let client = connection.client()?;
    let target = setup::target(connection, &client, args.http)?;
    let run = format!("{:x}", SystemClock.now().0);
    // The operator, who shreds tenants, works in none.
    let own = args.workload != Workload::ShredTenant;
    let tenant = if own { args.tenant.name(&client).await? } else { String::new() };
    let records = records_of(&args, &tenant);
    let load = if own { setup::prepare(&args, &client, &target, &tenant, &records).await? } else { None };
    if args.load == Load::Only {
        let line = load.as_ref().map(report::Loaded::line).unwrap_or_default();
        return out.say(&line, &serde_json::json!({ "load": load }));
    }
    let usual = args.workload.usual();
    let drive = Drive {
        connections: usize::from(args.connections()),
        streams: usize::from(args.streams),
        rate: args.rate,
        warmup: args.warmup.unwrap_or(usual.warmup),
        duration: args.duration(),
        operations: args.operations(),
        grace: drive::GRACE,
        seed: args.seed ^ u64::try_from(SystemClock.now().0).unwrap_or(0),
    };
    let measured = measure(&args, &drive, &target, records, run).await?;
    let report = Report::new(&args, target.tls.is_some(), drive.warmup, load, measured);
    report.tell(out)?;
    out.flush()?;
    if let Some(path) = &args.plot {
        plot::draw(&report, path)?;
    }
    report.verdict()
}

/// The records that a workload finds in its collection, or stores there.
fn records_of(args: &Args, tenant: &str) -> Records {
    let by = args.by.unwrap_or(By::Prefix);
    let listed = args.workload == Workload::List;
    let suffix = if listed && by == By::Subject { "-by-subject" } else { "" };
    let usual = || format!("{}{suffix}", args.workload.collection());
    Records {
        tenant_path: format!("/v1/tenants/{tenant}"),
        collection: args.collection.clone().unwrap_or_else(usual),
        seed: args.seed,
        value_len: args.value_len(),
        value_dist: args.value_dist,
        group_len: listed.then(|| args.group_len()),
        by_group: by == By::Subject,
        run: String::new(),
        run_from: 0,
    }
}

async fn measure(args: &Args, drive: &Drive, target: &Arc<Target>, records: Records, run: String) -> Result<Measured, Failure> {
    match args.workload {
        Workload::Import => import(args, drive, target, Records { run, ..records }).await,
        Workload::ShredSubject => {
            let group_len = args.per_subject.unwrap_or(1);
            let records = Records { run, group_len: Some(group_len), by_group: true, ..records };
            let together = args.together.then(|| Arc::new(tokio::sync::Barrier::new(drive.connections.saturating_mul(drive.streams))));
            let (next, epochs, per_order) = (Arc::default(), Arc::default(), args.subjects_per_order.unwrap_or(1));
            let subjects = Subjects { records: Arc::new(records), next, group_len, per_order, together, epochs: Arc::clone(&epochs) };
            let measured = drive::drive(drive, target, |_| Work::Subjects(subjects.clone())).await?;
            let epochs = epochs.lock().unwrap_or_else(PoisonError::into_inner).len();
            Ok(Measured { epochs: Some(epochs as u64), ..measured })
        }
        Workload::ShredTenant => {
            let (rest, value_len) = (args.rest.unwrap_or_default(), args.value_len());
            let tenants = Tenants { next: Arc::default(), count: args.records(), seed: args.seed, value_len, rest, run };
            drive::drive(drive, target, |_| Work::Tenants(tenants.clone())).await
        }
        Workload::Stream => {
            let records = Arc::new(Records { run, ..records });
            let direction = args.direction.unwrap_or(Direction::Both);
            if direction == Direction::Get {
                store_streams(drive, target, &records).await?;
            }
            let streams = |number| Streams { records: Arc::clone(&records), direction, number, stored: false };
            drive::drive(drive, target, |number| Work::Streams(streams(number))).await
        }
        Workload::List => {
            let (group_len, by) = (args.group_len(), args.by.unwrap_or(By::Prefix));
            let groups = args.records().checked_div(group_len).unwrap_or(1);
            let lists = Lists { records: Arc::new(records), by, group_len, groups };
            drive::drive(drive, target, |_| Work::Lists(lists.clone())).await
        }
        Workload::YcsbA | Workload::YcsbB | Workload::YcsbC | Workload::YcsbD | Workload::YcsbF | Workload::Put | Workload::Get => {
            let (mix, usual) = args.workload.mix().unwrap_or((Mix::READS, Keys::Uniform));
            let population = Arc::new(Population::new(args.records()));
            // What it inserts lies behind the records that are there, and is of this run alone.
            let records = Arc::new(Records { run, run_from: args.records(), ..records });
            let mixed = Mixed { records, population, keys: args.keys.unwrap_or(usual), mix };
            drive::drive(drive, target, |_| Work::Mixed(mixed.clone())).await
        }
    }
}

async fn import(args: &Args, drive: &Drive, target: &Arc<Target>, records: Records) -> Result<Measured, Failure> {
    let (count, batch_len) = (args.records(), args.batch_len.unwrap_or(500));
    let bar = progress(count);
    let import = Import { records: Arc::new(records), count, batch_len, next: Arc::new(AtomicU64::new(0)), bar };
    let mut measured = drive::drive(drive, target, |_| Work::Import(import.clone())).await?;
    import.bar.finish_and_clear();
    for mut wire in Wire::open(target, 1).await.map_err(drive::failure)? {
        for trouble in import.verify(&mut wire).await {
            measured.tally.fail(&trouble.code());
        }
    }
    Ok(measured)
}

/// What is to be read is stored first, one value for each connection, and not measured.
async fn store_streams(drive: &Drive, target: &Arc<Target>, records: &Records) -> Result<(), Failure> {
    let mut rng = SmallRng::seed_from_u64(drive.seed);
    let streams = drive.connections.saturating_mul(drive.streams) as u64;
    let Some(mut wire) = Wire::open(target, 1).await.map_err(drive::failure)?.into_iter().next() else { return Ok(()) };
    for number in 0..streams {
        let value = records.value(&mut rng, number);
        records.write(&mut wire, number, value).await.map_err(drive::failure)?;
    }
    Ok(())
}

/// A bar of records on a terminal, nothing elsewhere.
fn progress(records: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(records);
    match ProgressStyle::with_template("{bar:30} {pos}/{len} records {per_sec} {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

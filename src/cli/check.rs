//! `lethe check`: reads a whole store at rest and holds every page, header, seal, index row and audit entry against its keys,
//! and the log against its checkpoint. The server must be stopped; nothing is changed but what a start finishes.

use std::{path::PathBuf, sync::Arc};

use serde_json::json;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    failure::{Failure, LOCAL},
    log::{verifier, verify},
    output::{Output, note},
};
use crate::{config::Config, domain::SystemClock, server::rooms};

/// `lethe check --dir D`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The keys are those of the demonstration.
    #[arg(long)]
    demo: bool,
}

pub(crate) async fn run(args: Args, out: &mut Output) -> Result<(), Failure> {
    let config = Config::load(&args.dir).map_err(|error| Failure::local(error.to_string()))?;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let rooms = rooms::open(&config, Arc::new(SystemClock), tasks.clone(), stop.clone(), args.demo)
        .await
        .map_err(|error| Failure::local(error.to_string()))?;
    let checked = rooms.vault.check().await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    rooms.store.close();
    let report = checked.map_err(|error| Failure::local(error.to_string()))?;
    let log = verify(&config.log_dir(), &verifier(&config.public_key_file())?, &[], &[])?;
    for finding in &report.findings {
        note(finding);
    }
    out.say(
        &format!(
            "{} tenants, {} tokens, {} collections, {} other sealed rows, {} pages, {} records, {} shredded, {} index rows, {} audit entries, {} log entries: {} findings",
            report.tenants,
            report.tokens,
            report.collections,
            report.sealed_rows,
            report.pages,
            report.records,
            report.shredded,
            report.index_rows,
            report.entries,
            log.head.size,
            report.findings.len()
        ),
        &json!({
            "tenants": report.tenants, "tokens": report.tokens, "collections": report.collections, "sealed_rows": report.sealed_rows,
            "pages": report.pages, "records": report.records,
            "shredded": report.shredded, "index_rows": report.index_rows, "due_rows": report.due_rows, "names": report.names,
            "aliases": report.aliases, "events": report.events, "orders": report.orders, "holds": report.holds, "approvals": report.approvals,
            "certificates": report.certificates, "uploads": report.uploads,
            "audit_entries": report.entries, "stated_gaps": report.stated_gaps, "log_entries": log.head.size, "findings": report.findings,
        }),
    )?;
    out.flush()?;
    if report.findings.is_empty() { Ok(()) } else { Err(Failure::Reported(LOCAL)) }
}

//! `lethe restore`: puts a backup back in the place of the data store, under today's control store. The server must be stopped.

use std::{path::PathBuf, sync::Arc};

use serde_json::json;

use super::{
    backup::{Shown, failed},
    bucket::BucketArgs,
    confirm::confirm_that,
    failure::Failure,
    output::Output,
};
use crate::{
    config::Config,
    domain::{Clock as _, SystemClock},
    server::backup::restore::{Asked, Restored, restore},
};

/// `lethe restore --from PLACE --dir STORE`
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own on the command line")]
pub(crate) struct Args {
    /// The directory of backups, or `s3://BUCKET/PREFIX`.
    #[arg(long, value_name = "PLACE")]
    from: PathBuf,
    /// The store directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Which generation; the newest, otherwise.
    #[arg(long, value_name = "N")]
    generation: Option<u64>,
    /// Hold what came back against every certificate, before it is put in its place: nothing that one names may open.
    #[arg(long)]
    verify: bool,
    /// Leave destroying what is over by now to the next start, which answers 503 until it is done.
    #[arg(long)]
    fenced: bool,
    /// Put it in its place although some records that may be over cannot be read: they stay, and every run of retention tries again.
    #[arg(long)]
    accept_failed: bool,
    /// Move the data store aside although legal holds stand: what they keep of what was written since the backup lies there then,
    /// and must not be removed until they end.
    #[arg(long)]
    despite_holds: bool,
    /// Do not ask for the store directory's name.
    #[arg(long)]
    yes: bool,
    /// The keys are those of the demonstration.
    #[arg(long)]
    demo: bool,
    #[command(flatten)]
    bucket: BucketArgs,
}

pub(crate) async fn run(args: Args, out: &mut Output) -> Result<(), Failure> {
    let config = Config::load(&args.dir).map_err(failed)?;
    let from = args.bucket.location(&args.from)?;
    let what = "puts a backup in the place of the data store; what is there is moved aside, not removed";
    confirm_that(what, &super::recover::shown(&args.dir)?, args.yes)?;
    let shown = Shown::default();
    let Args { generation, verify, fenced, accept_failed, despite_holds, demo, .. } = args;
    let asked = Asked { generation, verify, fenced, accept_failed, despite_holds, demo };
    let restored = restore(&config, &from, asked, Arc::new(SystemClock), |bytes| shown.begin(bytes), &|bytes| shown.add(bytes)).await;
    shown.end();
    let Restored { manifest, over, proof, moved_to, is_held } = restored.map_err(failed)?;
    let age = SystemClock.now().since(manifest.taken_at()).as_secs();
    let mut lines = vec![format!("generation {} of {} is in its place", manifest.generation, manifest.taken_at().to_rfc3339())];
    lines.push(match &over {
        Some(over) => format!(
            "{} records were over since and are destroyed, {} stay under legal holds, {} could not be read",
            over.destroyed, over.held, over.failed
        ),
        None => "the next start answers 503 until what is over is destroyed".to_owned(),
    });
    lines.extend(proof.as_ref().map(|proof| {
        format!(
            "proved: {} records that {} certificates name, none of which opens; of {} others tried, {} open, {} are shredded, {} damaged",
            proof.named, proof.certificates, proof.sampled, proof.readable, proof.shredded, proof.damaged
        )
    }));
    lines.extend(moved_to.as_ref().map(|path| format!("the old data store lies in {}", path.display())));
    lines.extend(is_held.then(|| {
        match &moved_to {
            Some(_) => "legal holds stand: what they keep of what was written since is in there, and it must not be removed until they end",
            None => "legal holds stand: what was written since, and they were to keep, is lost with the data store",
        }
        .to_owned()
    }));
    lines.push(format!("next: lethe check --dir {}, then start the server", args.dir.display()));
    out.say(
        &lines.join("\n"),
        &json!({
            "generation": manifest.generation, "taken_at": manifest.taken_at(), "age_secs": age, "fenced": over.is_none(),
            "destroyed": over.map(|over| over.destroyed), "held": over.map(|over| over.held),
            "failed": over.map(|over| over.failed), "moved_to": moved_to,
            "holds_stand": is_held,
            "certificates": proof.as_ref().map(|proof| proof.certificates), "named": proof.as_ref().map(|proof| proof.named),
            "readable": proof.as_ref().map(|proof| proof.readable), "damaged": proof.as_ref().map(|proof| proof.damaged),
        }),
    )
}

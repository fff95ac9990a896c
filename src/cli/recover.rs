//! `lethe recover`: makes a lost part of a store anew from what holds it too, offline. Nothing is written over: the new part
//! is made beside, synced and put in place by a rename, and what was there is moved aside. Cut short, it is run again.

use std::path::PathBuf;

use serde_json::json;

use super::{confirm::confirm_that, failure::Failure, output::Output};
use crate::{
    config::Config,
    server::recovery::{self, Part},
};

/// Which part to make anew.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// The control store, from its mirror: when it is lost, damaged, or an old copy was put back.
    Control(Args),
    /// The mirror, from the control store: when its disk is lost.
    Mirror(Args),
    /// The log of certificates, from its journal beside the mirror: when it is lost, or an old copy was put back.
    Log(Args),
}

/// `lethe recover control --dir D`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Do not ask for the store directory's name.
    #[arg(long)]
    yes: bool,
    /// Go on although the part is there and not behind, or what it is made from looks old.
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(command: &Command, out: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Control(args) => recover(args, Part::Control, "control store", out),
        Command::Mirror(args) => recover(args, Part::Mirror, "mirror", out),
        Command::Log(args) => recover(args, Part::Log, "log", out),
    }
}

fn recover(args: &Args, part: Part, name: &str, out: &mut Output) -> Result<(), Failure> {
    let config = Config::load(&args.dir).map_err(local)?;
    let doubt = recovery::doubt(&config, part).map_err(local)?;
    if let Some(doubt) = doubt.filter(|_| !args.force) {
        return Err(Failure::local(format!("{doubt} (--force goes on all the same)")));
    }
    let dir = std::path::absolute(&args.dir).map_err(|error| Failure::file(&args.dir, &error))?;
    let shown = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    confirm_that(&format!("makes the {name} anew; what is there is moved aside, not removed"), &shown, args.yes)?;
    let recovered = recovery::recover(&config, part).map_err(local)?;
    let what = match part {
        Part::Control => format!("{} rows", recovered.count),
        Part::Mirror => format!("as of commit {}", recovered.count),
        Part::Log => format!("{} entries, with the checkpoint it had", recovered.count),
    };
    let aside = recovered.moved_to.as_ref().map(|path| format!("\nthe old one lies in {}", path.display())).unwrap_or_default();
    out.say(
        &format!("the {name} is made anew: {what}{aside}\nnext: lethe check --dir {}", args.dir.display()),
        &json!({ "count": recovered.count, "moved_to": recovered.moved_to }),
    )
}

fn local(error: impl std::fmt::Display) -> Failure {
    Failure::local(error.to_string())
}

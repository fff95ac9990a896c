//! `lethe recover`: makes a lost part of a store anew from what holds it too, offline. Nothing is written over: the new part
//! is made beside, synced and put in place by a rename, and what was there is moved aside. Cut short, it is run again.
//! A lost operator's token has nothing that holds it too: it is replaced.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;

use super::{
    confirm::{confirm, confirm_that},
    failure::Failure,
    output::Output,
};
use crate::{
    config::Config,
    domain::SystemClock,
    server::recovery::{self, Part},
};

/// Which part to make anew.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// The control store, from its mirror: when it is lost, damaged, or an old copy was put back.
    Control(FromArgs),
    /// The mirror, from the control store: when its disk is lost.
    Mirror(Args),
    /// The log of certificates, from its journal beside the mirror: when it is lost, or an old copy was put back.
    Log(FromArgs),
    /// The operator's token, when it is lost: every operator's token is revoked, and a new one written to operator.token.
    Operator(OperatorArgs),
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

/// `lethe recover control --dir D --from DIR`
#[derive(Debug, clap::Args)]
pub(crate) struct FromArgs {
    #[command(flatten)]
    args: Args,
    /// A further copy of the control store to make it from, where the mirror is lost as well.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
}

/// `lethe recover operator --dir D`
#[derive(Debug, clap::Args)]
pub(crate) struct OperatorArgs {
    /// The store directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Do not ask for the store directory's name.
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(command: &Command, out: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Control(FromArgs { args, from }) => recover(args, Part::Control, from.as_deref(), out),
        Command::Mirror(args) => recover(args, Part::Mirror, None, out),
        Command::Log(FromArgs { args, from }) => recover(args, Part::Log, from.as_deref(), out),
        Command::Operator(args) => replace_operator(args, out).await,
    }
}

async fn replace_operator(args: &OperatorArgs, out: &mut Output) -> Result<(), Failure> {
    let config = Config::load(&args.dir).map_err(local)?;
    let path = config.operator_token_file();
    let what = format!("revokes every token of an operator and writes a new one to {}", path.display());
    confirm(&what, &shown(&args.dir)?, args.yes)?;
    let revoked = recovery::replace_operator(&config, Arc::new(SystemClock)).await.map_err(local)?;
    out.say(
        &format!("{revoked} revoked; the operator's token is in {}", path.display()),
        &json!({ "revoked": revoked, "operator_token_file": path }),
    )
}

fn recover(args: &Args, part: Part, from: Option<&Path>, out: &mut Output) -> Result<(), Failure> {
    let config = Config::load(&args.dir).map_err(local)?;
    let name = match part {
        Part::Control => "control store",
        Part::Mirror => "mirror",
        Part::Log => "log",
    };
    let doubt = recovery::doubt(&config, part, from).map_err(local)?;
    if let Some(doubt) = doubt.filter(|_| !args.force) {
        return Err(Failure::local(format!("{doubt} (--force goes on all the same)")));
    }
    confirm_that(&format!("makes the {name} anew; what is there is moved aside, not removed"), &shown(&args.dir)?, args.yes)?;
    let recovered = recovery::recover(&config, part, from).map_err(local)?;
    let what = match part {
        Part::Control => format!("{} rows, as of commit {}", recovered.count, recovered.control_seq.unwrap_or_default()),
        Part::Mirror => format!("as of commit {}", recovered.count),
        Part::Log => format!("{} entries, with the checkpoint it had", recovered.count),
    };
    let aside = recovered.moved_to.as_ref().map(|path| format!("\nthe old one lies in {}", path.display())).unwrap_or_default();
    out.say(
        &format!("the {name} is made anew: {what}{aside}\nnext: lethe check --dir {}", args.dir.display()),
        &json!({ "count": recovered.count, "control_seq": recovered.control_seq, "moved_to": recovered.moved_to }),
    )
}

/// The store directory's name, which confirms.
pub(crate) fn shown(dir: &Path) -> Result<String, Failure> {
    let dir = std::path::absolute(dir).map_err(|error| Failure::file(dir, &error))?;
    Ok(dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default())
}

fn local(error: impl std::fmt::Display) -> Failure {
    Failure::local(error.to_string())
}

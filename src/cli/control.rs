//! `lethe control`: further copies of the control store, brought along from outside the server.

use std::path::PathBuf;

use serde_json::json;

use super::{backup::failed, failure::Failure, output::Output};
use crate::{config::Config, server::copies};

/// What to do with copies.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Bring a copy to where the mirror is, while the server runs or not; where there is none, it is begun.
    Ship(ShipArgs),
}

/// `lethe control ship --to DIR --dir D`
#[derive(Debug, clap::Args)]
pub(crate) struct ShipArgs {
    /// The directory of the copy, on another disk than the store's and its mirror's.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The store directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

pub(crate) fn run(command: &Command, out: &mut Output) -> Result<(), Failure> {
    let Command::Ship(ShipArgs { to, dir }) = command;
    let config = Config::load(dir).map_err(failed)?;
    let brought = copies::ship(&config, to).map_err(failed)?;
    let copies::Brought { control_seq, epoch, moved_bytes } = brought;
    out.say(
        &format!("{} has the control store as of commit {control_seq}, epoch {}; {moved_bytes} bytes were copied", to.display(), epoch.0),
        &json!({ "control_seq": control_seq, "epoch": epoch.0, "moved_bytes": moved_bytes }),
    )
}

//! `lethe retention`: catalogue.

use serde_json::{Value, json};

use super::{failure::Failure, output::Output};
use crate::domain::retention::catalogue;

/// What to do about how long data is kept.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// List legal periods, with the laws that set them: to be checked, copied and edited. None applies by itself; not legal advice.
    Catalogue,
}

pub(crate) fn run(command: &Command, out: &mut Output) -> Result<(), Failure> {
    match command {
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

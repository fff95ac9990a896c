//! `lethe certificate`: fetch a certificate of deletion. It needs no access to the tenant, which may be gone.

use std::path::PathBuf;

use reqwest::Method;

use super::{connection::Connection, failure::Failure, output::Output};

/// What to do with certificates.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Fetch a certificate: a signed note.
    Get {
        /// The certificate's id, as the shred's answer gave it.
        id: String,
        /// Write to this file instead of standard output.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

pub(crate) async fn run(command: Command, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    let client = connection.client()?;
    match command {
        Command::Get { id, output } => {
            let note = client.send(client.request(Method::GET, &["v1", "certificates", &id])).await?.bytes().await?;
            match output {
                Some(path) => std::fs::write(&path, &note).map_err(|error| Failure::file(&path, &error)),
                None => out.write(&note),
            }
        }
    }
}

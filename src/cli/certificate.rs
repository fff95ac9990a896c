//! `lethe certificate`: fetch and verify certificates of deletion. Neither needs access to the tenant, which may be gone.

use std::path::PathBuf;

use reqwest::Method;
use serde_json::json;

use super::{
    connection::Connection,
    failure::Failure,
    log::{text, verifier, verify},
    output::Output,
};
use crate::vault::audit::{
    certificate::{Certificate, verify_certificate},
    checkpoint::LogProof,
};

/// What to do with certificates.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Fetch a certificate: a signed note.
    Get {
        /// The certificate's id or path, as the shred's answer gave it.
        id: String,
        /// Write to this file instead of standard output.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Verify a certificate offline: its signature, its form, and that it stands in the log.
    Verify(VerifyArgs),
}

/// What a certificate is held against.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// The certificate's file; '-' for standard input.
    certificate: PathBuf,
    /// The store's public key: signing.pub of the store directory.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// A copy of the log, as `lethe log fetch` makes it.
    #[arg(long, value_name = "DIR", required_unless_present = "proof")]
    log: Option<PathBuf>,
    /// A proof of its place in the log (c2sp.org/tlog-proof), instead of a copy.
    #[arg(long, value_name = "FILE", conflicts_with = "log")]
    proof: Option<PathBuf>,
}

pub(crate) async fn run(command: Command, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Get { id, output } => {
            let client = connection.client()?;
            // A shred's answer names the certificate by its path.
            let id = id.rsplit('/').next().unwrap_or_default();
            let note = client.send(client.request(Method::GET, &["v1", "certificates", id])?).await?.bytes().await?;
            match output {
                Some(path) => std::fs::write(&path, &note).map_err(|error| Failure::file(&path, &error)),
                None => out.write(&note),
            }
        }
        Command::Verify(args) => check(&args, out),
    }
}

fn check(args: &VerifyArgs, out: &mut Output) -> Result<(), Failure> {
    let refused = |error: &dyn std::fmt::Display| Failure::local(format!("{}: {error}", args.certificate.display()));
    let note = text(&args.certificate)?;
    let verifier = verifier(&args.key)?;
    let (certificate, head, index) = match (&args.log, &args.proof) {
        (_, Some(path)) => {
            let proof = LogProof::parse(&text(path)?).map_err(|error| Failure::local(format!("{}: {error}", path.display())))?;
            let (certificate, head) = verify_certificate(&note, &proof, &verifier).map_err(|error| refused(&error))?;
            (certificate, head, proof.index)
        }
        (Some(dir), None) => {
            let certificate = Certificate::open(&note, &verifier).map_err(|error| refused(&error))?;
            let report = verify(dir, &verifier, &[], std::slice::from_ref(&note))?;
            let index = report.found.first().copied().flatten().ok_or_else(|| refused(&"not in the log"))?;
            (certificate, report.head, index)
        }
        (None, None) => return Err(Failure::local("say --log DIR or --proof FILE")),
    };
    let document = serde_json::to_value(&certificate).map_err(|error| refused(&error))?;
    out.say(
        &format!(
            "valid: entry {index} of {} in the log {}\n{} units destroyed, effective {}, final {}\n{}",
            head.size,
            head.origin,
            certificate.totals.units,
            certificate.effective_at.to_rfc3339(),
            certificate.final_at.to_rfc3339(),
            certificate.statement,
        ),
        &json!({ "valid": true, "index": index, "log": head.origin, "log_size": head.size, "certificate": document }),
    )
}

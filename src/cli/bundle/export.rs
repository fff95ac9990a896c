//! `lethe export tenant`: a whole tenant into an age file. One that breaks off begins anew, a few times by itself.

use std::path::PathBuf;

use reqwest::Method;
use serde_json::json;

use super::super::{
    connection::{Connection, patiently_once_there},
    failure::Failure,
    output::{Output, note},
    record::save,
};

/// `lethe export tenant acme --to acme.age --recipient age1...`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which.
    name: String,
    /// Write to this new file.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// An X25519 recipient of age: only who has its identity opens the file.
    #[arg(long, value_name = "AGE")]
    recipient: String,
    /// A counsel's recipient: legal holds that only a counsel may know of are sealed for it within the file.
    #[arg(long, value_name = "AGE")]
    counsel_recipient: Option<String>,
    /// An auditor's recipient: records that are kept for their legal purpose alone are sealed for it within the file.
    #[arg(long, value_name = "AGE")]
    auditor_recipient: Option<String>,
}

pub(crate) async fn run(args: Args, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    let Args { name, to, recipient, counsel_recipient, auditor_recipient } = args;
    if to.exists() {
        return Err(Failure::file(&to, &std::io::ErrorKind::AlreadyExists.into()));
    }
    let client = connection.client()?;
    let asked = json!({ "recipient": recipient, "counsel_recipient": counsel_recipient, "auditor_recipient": auditor_recipient });
    // The server breaks off where something has changed meanwhile that must not be in it by half.
    let attempt = async || {
        let exported = async {
            let response = client.send(client.request(Method::POST, &["v1", "tenants", &name, "export"])?.json(&asked)).await?;
            save(response, &to).await
        };
        let exported = exported.await;
        // Also before its first byte.
        if matches!(exported, Err(Failure::Unreachable(_))) {
            note("the export broke off: it begins anew, unless it has done so too often");
        }
        exported
    };
    patiently_once_there(attempt).await?;
    let bytes = std::fs::metadata(&to).map_err(|error| Failure::file(&to, &error))?.len();
    out.say(
        &format!("{name}: exported to {}, {bytes} bytes, for {recipient}", to.display()),
        &json!({ "tenant": name, "file": to, "bytes": bytes, "recipient": recipient }),
    )
}

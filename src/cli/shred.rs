//! `lethe shred`: destroys keys. Asks for the name again, or takes `--yes`; `--wait` stays until it is done.

use std::{path::PathBuf, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    confirm::confirm,
    connection::{Client, Connection, TenantArg, make_idempotency_key, patiently_once_there, pause},
    failure::Failure,
    output::Output,
};

/// What to shred.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Everything about one person or several.
    Subject {
        /// The persons' ids.
        #[arg(value_name = "ID", required_unless_present = "from")]
        subjects: Vec<String>,
        /// Ids from this file, one a line ('-' for standard input, then with --yes).
        #[arg(long, value_name = "FILE", conflicts_with = "subjects")]
        from: Option<PathBuf>,
        #[command(flatten)]
        common: Common,
    },
    /// One record.
    Record {
        /// Which collection.
        collection: String,
        /// Which record.
        key: String,
        #[command(flatten)]
        common: Common,
    },
    /// A whole collection, its name and policy included.
    Collection {
        /// Which.
        collection: String,
        #[command(flatten)]
        common: Common,
    },
    /// A whole tenant.
    Tenant {
        /// Which.
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Stay until it is done, at most so many seconds.
        #[arg(long, value_name = "SECS", num_args = 0..=1, default_missing_value = "60")]
        wait: Option<u64>,
    },
    /// Show an order to shred.
    Show {
        /// The order's id.
        id: String,
        #[command(flatten)]
        tenant: TenantArg,
    },
}

/// What all orders take.
#[derive(clap::Args)]
pub(crate) struct Common {
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Stay until it is done, at most so many seconds.
    #[arg(long, value_name = "SECS", num_args = 0..=1, default_missing_value = "60")]
    wait: Option<u64>,
    #[command(flatten)]
    tenant: TenantArg,
}

pub(crate) async fn run(command: Command, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    let client = connection.client()?;
    let (tenant, body, wait) = match command {
        Command::Show { id, tenant } => {
            let tenant = tenant.name(&client).await?;
            let answer = client.json(client.request(Method::GET, &["v1", "tenants", &tenant, "shreds", &id])?).await?;
            note_if_denied(&answer);
            return out.document(&answer);
        }
        Command::Subject { subjects, from, common } => {
            let subjects = match from {
                Some(path) => lines_of(&path)?,
                None => subjects,
            };
            let tenant = common.tenant.name(&client).await?;
            let body = match subjects.as_slice() {
                [] => return Err(Failure::local("no subject was given")),
                [one] => {
                    confirm(&format!("shreds everything about subject {one}"), one, common.yes)?;
                    json!({ "scope": "subject", "subject": one })
                }
                many => {
                    let count = many.len().to_string();
                    confirm(&format!("shreds everything about {count} subjects"), &count, common.yes)?;
                    json!({ "scope": "subject", "subjects": many })
                }
            };
            (tenant, body, common.wait)
        }
        Command::Record { collection, key, common } => {
            let tenant = common.tenant.name(&client).await?;
            confirm(&format!("shreds record {key} of {collection}"), &key, common.yes)?;
            (tenant, json!({ "scope": "record", "collection": collection, "key": key }), common.wait)
        }
        Command::Collection { collection, common } => {
            let tenant = common.tenant.name(&client).await?;
            confirm(&format!("shreds collection {collection} of tenant {tenant}"), &collection, common.yes)?;
            (tenant, json!({ "scope": "collection", "collection": collection }), common.wait)
        }
        Command::Tenant { name, yes, wait } => {
            confirm(&format!("shreds tenant {name} with everything in it"), &name, yes)?;
            let body = json!({ "scope": "tenant", "confirm": name });
            (name, body, wait)
        }
    };
    let answer = order(&client, &tenant, &body, wait).await?;
    let kept =
        answer.get("retained").and_then(Value::as_array).map_or(0, |of| of.iter().filter_map(|one| one.get("records")?.as_u64()).sum());
    if kept > 0_u64 {
        super::output::note(&format!(
            "a law keeps {kept} records, for their legal purpose alone: `retained` says which, why and until when"
        ));
    }
    note_if_denied(&answer);
    super::approval::note_if_asked(&answer);
    out.document(&answer)
}

/// Says what of it is denied for a legal obligation.
fn note_if_denied(answer: &Value) {
    let Some(denied) = answer.get("denied").filter(|denied| denied.is_object()) else { return };
    let text = |name: &str| denied.get(name).and_then(Value::as_str);
    let extent = if text("extent") == Some("whole") { "whole" } else { "part" };
    let waits = text("order").map_or_else(String::new, |order| format!("; order {order} waits for those whom `denied` names"));
    super::output::note(&format!("denied in {extent}: legal obligation{waits}"));
}

/// Orders it; waits on the server first, then by asking again.
async fn order(client: &Client, tenant: &str, body: &Value, wait: Option<u64>) -> Result<Value, Failure> {
    let on_server = wait.map(|secs| secs.min(60));
    let key = make_idempotency_key();
    let ask = async || {
        let request = client.request(Method::POST, &["v1", "tenants", tenant, "shreds"])?.header("idempotency-key", &key).json(body);
        client.json(on_server.iter().fold(request, |request, secs| request.header("prefer", format!("wait={secs}")))).await
    };
    let mut answer = patiently_once_there(ask).await?;
    if answer.get("salt").is_none_or(Value::is_null) {
        super::output::note(
            "the order was taken, but its own answer was lost: names in the certificate can be shown to nobody without its salt, which is kept nowhere",
        );
    }
    let mut left = wait.unwrap_or(0).saturating_sub(on_server.unwrap_or(0));
    while left > 0 && state(&answer) == Some("pending") {
        pause(Duration::from_secs(1)).await;
        left = left.saturating_sub(1);
        let Some(id) = answer.get("id").and_then(Value::as_str).map(str::to_owned) else { break };
        match client.json(client.request(Method::GET, &["v1", "tenants", tenant, "shreds", &id])?).await {
            Ok(later) => answer = with_evidence(&answer, later),
            // The order stands, and its id and salt are in no other answer.
            Err(failure) => {
                super::output::note(&format!("how far it is could not be asked: {}", failure.summary()));
                break;
            }
        }
    }
    if wait.is_some() && state(&answer) == Some("pending") {
        super::output::note("still pending: it is unreadable already, and the certificate follows (lethe shred show ID)");
    }
    Ok(answer)
}

/// The later answer, with what the answer to the order alone has: the salt, the names instead of their pseudonyms, and who is left out.
fn with_evidence(first: &Value, mut later: Value) -> Value {
    if let Some(fields) = later.as_object_mut() {
        for name in ["salt", "targets"] {
            fields.extend(first.get(name).map(|value| (name.to_owned(), value.clone())));
        }
        let denied = first.get("denied").filter(|denied| denied.is_object());
        fields.extend(denied.map(|denied| ("denied".to_owned(), denied.clone())));
    }
    later
}

fn state(answer: &Value) -> Option<&str> {
    answer.get("state").and_then(Value::as_str)
}

fn lines_of(path: &std::path::Path) -> Result<Vec<String>, Failure> {
    let text = String::from_utf8(super::record::read_all(path)?).map_err(|_| Failure::local(format!("{}: not UTF-8", path.display())))?;
    Ok(text.lines().map(|line| line.trim_end_matches('\r')).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

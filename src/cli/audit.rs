//! `lethe audit`: a tenant's trail, listed, and verified offline against the heads of its chains in the log.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{
    connection::{Client, Connection, TenantArg},
    failure::{Failure, LOCAL},
    log::{text, verifier},
    output::{Format, Output},
};
use crate::{
    domain::{StoreId, TenantNo},
    vault::audit::{
        heads::ProvenHead,
        verify::{Verdict, verify_trail},
    },
};

/// What to do with the audit trail.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// List entries, oldest first.
    Ls {
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// All of them.
        #[arg(long, conflicts_with = "limit")]
        all: bool,
        /// Only entries after this one, as an earlier list's `next` gave it.
        #[arg(long, value_name = "POSITION")]
        after: Option<String>,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Fetch the heads of the trail's chains, with their proofs: keep them, and a trail cut off later is found out.
    Heads {
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Verify the trail: gaps, tampering, and an end cut off before a head in the log each have their verdict.
    Verify {
        /// The store's public key: signing.pub of the store directory.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Verify this trail (`audit ls --all --format json`) instead of the server's; offline, with --heads.
        #[arg(long, value_name = "FILE", requires = "heads")]
        trail: Option<PathBuf>,
        /// Hold it against these heads (`audit heads`) instead of the server's.
        #[arg(long, value_name = "FILE")]
        heads: Option<PathBuf>,
        #[command(flatten)]
        tenant: TenantArg,
    },
}

pub(crate) async fn run(command: Command, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Ls { limit, all, after, tenant } => {
            let client = connection.client()?;
            let tenant = tenant.name(&client).await?;
            let rows = trail(&client, &tenant, after.as_deref(), if all { usize::MAX } else { limit }).await?;
            let rows = if out.format() == Format::Human { rows.into_iter().map(named).collect() } else { rows };
            out.rows(&["writer", "seq", "time", "action", "outcome", "principal", "collection", "key", "subject"], &rows)
        }
        Command::Heads { tenant } => {
            let client = connection.client()?;
            let tenant = tenant.name(&client).await?;
            out.json(&heads(&client, &tenant).await?)
        }
        Command::Verify { key, trail: file, heads: kept, tenant } => {
            let verifier = verifier(&key)?;
            let (lines, heads) = match (file, kept) {
                (Some(file), Some(kept)) => (text(&file)?.lines().map(str::to_owned).collect(), parsed(&text(&kept)?)?),
                (_, kept) => {
                    let client = connection.client()?;
                    let tenant = tenant.name(&client).await?;
                    // The heads first: the trail only grows.
                    let heads = match kept {
                        Some(kept) => parsed(&text(&kept)?)?,
                        None => heads(&client, &tenant).await?,
                    };
                    let rows = trail(&client, &tenant, None, usize::MAX).await?;
                    (rows.iter().map(Value::to_string).collect::<Vec<_>>(), heads)
                }
            };
            judge(&lines, &heads, &verifier, out)
        }
    }
}

fn judge(lines: &[String], heads: &Value, verifier: &crate::vault::audit::note::Verifier, out: &mut Output) -> Result<(), Failure> {
    let malformed = || Failure::local("the heads are malformed");
    // The log's name is `lethe/` and the store's id.
    let store: StoreId =
        verifier.name().rsplit('/').next().and_then(|id| id.parse().ok()).ok_or_else(|| Failure::local("not the key of a store"))?;
    let tenant = heads.get("tenant_no").and_then(Value::as_u64).map(TenantNo).ok_or_else(malformed)?;
    let proven: Vec<ProvenHead> = serde_json::from_value(heads.get("proven").cloned().unwrap_or_default()).map_err(|_| malformed())?;
    let report = verify_trail(&store, tenant, lines.iter().map(String::as_str), &proven, verifier)
        .map_err(|error| Failure::local(error.to_string()))?;
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|found| json!({ "writer": found.writer.0, "from": found.from, "to": found.to, "verdict": found.verdict.name() }))
        .collect();
    let verdict = report.verdict.name();
    out.say(
        &format!("{verdict}: {} entries in {} chains, held against {} heads", report.entries, report.chains, report.heads),
        &json!({ "verdict": verdict, "entries": report.entries, "chains": report.chains, "heads": report.heads, "findings": findings }),
    )?;
    if !findings.is_empty() && out.format() == Format::Human {
        out.rows(&["verdict", "writer", "from", "to"], &findings)?;
    }
    out.flush()?;
    match report.verdict {
        Verdict::Ok | Verdict::StatedGap => Ok(()),
        Verdict::Truncated | Verdict::Gap | Verdict::Tampered => Err(Failure::Reported(LOCAL)),
    }
}

/// The entry with its names in the place of its numbers, as people read it.
fn named(mut entry: Value) -> Value {
    let names = entry.get_mut("names").map(Value::take).unwrap_or_default();
    if let Some(fields) = entry.as_object_mut() {
        for name in ["collection", "key", "subject"] {
            fields.insert(name.to_owned(), names.get(name).cloned().unwrap_or_default());
        }
    }
    entry
}

async fn trail(client: &Client, tenant: &str, after: Option<&str>, most: usize) -> Result<Vec<Value>, Failure> {
    let limit = most.min(1_000).to_string();
    let page =
        |cursor: Option<&str>| client.get(&["v1", "tenants", tenant, "audit"], &[("after", cursor.or(after)), ("limit", Some(&limit))]);
    client.pages(page, most).await
}

async fn heads(client: &Client, tenant: &str) -> Result<Value, Failure> {
    let request = client.get(&["v1", "tenants", tenant, "audit"], &[("limit", Some("1")), ("heads", Some("true"))])?;
    let mut page = client.json(request).await?;
    Ok(page.get_mut("heads").map(Value::take).unwrap_or_default())
}

fn parsed(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::local(format!("the heads: {error}")))
}

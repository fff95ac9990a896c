//! `lethe approval`: what waits for a second person, and the second person's word.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    confirm::confirm,
    connection::{Client, Connection, TenantArg},
    failure::Failure,
    output::Output,
};

/// What to do with requests for a second person.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// List the requests that one may know of, those that have ended included.
    List {
        /// Only those of this state: pending, approved, refused, withdrawn, expired.
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Show a request, and what it asks for.
    Show {
        /// The request's id; of an order to shred, the order's.
        id: String,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Approve what somebody else asked for: it is carried out at once. Shows it first, and asks.
    Approve {
        /// The request's id; of an order to shred, the order's.
        id: String,
        /// What was shown is what is meant: the request's digest. It is not asked then.
        #[arg(long, value_name = "HEX", conflicts_with = "yes")]
        digest: Option<String>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Refuse what somebody else asked for: nothing is done.
    Refuse {
        /// The request's id; of an order to shred, the order's.
        id: String,
        /// Why.
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Take back what one asked for.
    Withdraw {
        /// The request's id; of an order to shred, the order's.
        id: String,
        #[command(flatten)]
        tenant: TenantArg,
    },
}

pub(crate) async fn run(command: Command, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    let client = connection.client()?;
    match command {
        Command::List { state, tenant } => {
            let tenant = tenant.name(&client).await?;
            let page = |cursor: Option<&str>| {
                client.get(&["v1", "tenants", &tenant, "approvals"], &[("state", state.as_deref()), ("cursor", cursor)])
            };
            let rows = client.pages(page, usize::MAX).await?;
            out.rows(&["id", "state", "action", "scope", "asked_by", "asked_at", "expires_at"], &rows)
        }
        Command::Show { id, tenant } => {
            let tenant = tenant.name(&client).await?;
            out.document(&show(&client, &tenant, &id).await?)
        }
        Command::Approve { id, digest, yes, tenant } => {
            let tenant = tenant.name(&client).await?;
            let digest = match digest {
                Some(digest) => digest,
                // What is approved is what was shown.
                None => {
                    let shown = show(&client, &tenant, &id).await?;
                    confirm(&format!("approves {}", summary(&shown)), &id, yes)?;
                    shown.get("digest").and_then(Value::as_str).unwrap_or_default().to_owned()
                }
            };
            out.document(&decide(&client, &tenant, &id, "approve", Some(&json!({ "digest": digest }))).await?)
        }
        Command::Refuse { id, reason, tenant } => {
            let tenant = tenant.name(&client).await?;
            out.document(&decide(&client, &tenant, &id, "refuse", Some(&json!({ "reason": reason }))).await?)
        }
        Command::Withdraw { id, tenant } => {
            let tenant = tenant.name(&client).await?;
            out.document(&decide(&client, &tenant, &id, "withdraw", None).await?)
        }
    }
}

/// Says of an answer that it waits, and what for, if it does.
pub(crate) fn note_if_asked(answer: &Value) {
    let state = answer.get("state").and_then(Value::as_str);
    let is_asked = state == Some("waiting-for-approval") || (state == Some("pending") && answer.get("action").is_some());
    if let (true, Some(id)) = (is_asked, answer.get("id").and_then(Value::as_str)) {
        super::output::note(&format!("nothing is done yet: a second person must approve it (lethe approval approve {id})"));
    }
}

/// A request in one line: all that it asks for.
fn summary(shown: &Value) -> String {
    let fields = ["action", "scope", "subjects", "collection", "key", "hold", "from", "to", "rules", "grace", "reason", "asked_by"];
    let said = fields.into_iter().filter_map(|name| {
        let value = shown.get(name).filter(|value| !value.is_null())?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Some(format!("{} {text}", name.replace('_', " ")))
    });
    said.collect::<Vec<_>>().join(", ")
}

async fn show(client: &Client, tenant: &str, id: &str) -> Result<Value, Failure> {
    client.json(client.request(Method::GET, &["v1", "tenants", tenant, "approvals", id])?).await
}

async fn decide(client: &Client, tenant: &str, id: &str, what: &str, body: Option<&Value>) -> Result<Value, Failure> {
    client.change(&["v1", "tenants", tenant, "approvals", id, what], body).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_approves_is_asked_with_all_that_is_asked_for() {
        let shown = json!({"id": "0", "state": "pending", "action": "shred", "scope": "record", "collection": "crm", "key": "a\u{7}b", "reason": null,
            "asked_by": "01"});
        assert_eq!(summary(&shown), "action shred, scope record, collection crm, key a\u{7}b, asked by 01");
        let shown = json!({"action": "loosen-policy", "from": {"shred": ["tenant"]}, "to": {"shred": []}, "asked_by": "01"});
        assert_eq!(summary(&shown), r#"action loosen-policy, from {"shred":["tenant"]}, to {"shred":[]}, asked by 01"#);
    }
}

//! `lethe token`: create, list, revoke.

use std::path::PathBuf;

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    confirm::confirm,
    connection::{Client, Connection, TenantArg, make_idempotency_key, patiently, patiently_once_there},
    failure::Failure,
    output::Output,
    tenant::{NewSecretFile, show_token},
};

/// What to do with access tokens.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Create a token; it is shown only once.
    Create {
        /// What it may do: owner, writer, reader, auditor, eraser, counsel, governor; with --tenant system, operator or job.
        #[arg(long)]
        role: String,
        /// Whose it is: a service's or a person's; an operator's is of its own kind.
        #[arg(long, value_parser = ["service", "user"])]
        kind: Option<String>,
        /// Only this collection; may be repeated.
        #[arg(long = "collection", value_name = "NAME")]
        collections: Vec<String>,
        /// Only keys under this prefix, in whole segments.
        #[arg(long, value_name = "KEY")]
        prefix: Option<String>,
        /// When it ends (RFC 3339).
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
        /// Write the token to this new file (mode 0600) instead of printing it.
        #[arg(long, value_name = "FILE")]
        save_token: Option<PathBuf>,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// List tokens, without their secrets.
    Ls {
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Revoke a token, from its next request on.
    Revoke {
        /// The token's id.
        id: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        tenant: TenantArg,
    },
}

pub(crate) async fn run(command: Command, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    let client = connection.client()?;
    match command {
        Command::Create { role, kind, collections, prefix, expires_at, save_token, tenant } => {
            let tenant = tenant.name(&client).await?;
            let mut body = json!({ "role": role });
            if let Some(fields) = body.as_object_mut() {
                // A list that is left out narrows nothing; an empty one would allow nothing.
                fields.extend((!collections.is_empty()).then(|| ("collections".to_owned(), json!(collections))));
                fields.extend(kind.map(|kind| ("kind".to_owned(), json!(kind))));
                fields.extend(prefix.map(|prefix| ("prefix".to_owned(), json!(prefix))));
                fields.extend(expires_at.map(|time| ("expires_at".to_owned(), json!(time))));
            }
            let file = save_token.as_deref().map(NewSecretFile::create).transpose()?;
            let answer = create(&client, &tenant, &body).await;
            show_token(answer, file, "the token, shown only this once", out)
        }
        Command::Ls { tenant } => {
            let tenant = tenant.name(&client).await?;
            let page = |cursor: Option<&str>| client.get(&["v1", "tenants", &tenant, "tokens"], &[("cursor", cursor)]);
            let rows = client.pages(page, usize::MAX).await?;
            out.rows(&["id", "role", "kind", "collections", "prefix", "expires_at"], &rows)
        }
        Command::Revoke { id, yes, tenant } => {
            let tenant = tenant.name(&client).await?;
            confirm(&format!("revokes token {id}"), &id, yes)?;
            client.json(client.request(Method::DELETE, &["v1", "tenants", &tenant, "tokens", &id])?).await?;
            out.say("revoked", &json!({ "id": id, "revoked": true }))
        }
    }
}

/// How many tokens are made whose answers are lost.
const LOST: u32 = 3;

/// Makes the token. One whose answer was lost is revoked, and another is made: the server shows a secret once.
async fn create(client: &Client, tenant: &str, body: &Value) -> Result<Value, Failure> {
    let tokens = ["v1", "tenants", tenant, "tokens"];
    let mut lost = 0_u32;
    loop {
        let key = make_idempotency_key();
        let ask = async || client.json(client.request(Method::POST, &tokens)?.header("idempotency-key", &key).json(body)).await;
        let problem = match patiently_once_there(ask).await {
            Err(Failure::Refused(problem)) if problem.code == "secret-shown-once" => problem,
            other => return other,
        };
        let Some(id) = &problem.token_id else { return Err(Failure::Refused(problem)) };
        // Nobody but this run has sent the key: nobody has the secret.
        let revoke = async || client.json(client.request(Method::DELETE, &[&tokens[..], &[id]].concat())?).await;
        match patiently(revoke).await {
            // Revoked by a try whose answer was lost as well.
            Err(Failure::Refused(problem)) if problem.status == 404 => {}
            other => drop(other?),
        }
        lost = lost.saturating_add(1);
        if lost >= LOST {
            return Err(Failure::Unreachable("the answers were lost; the tokens that were made are revoked again".into()));
        }
    }
}

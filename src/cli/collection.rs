//! `lethe collection`: put (create or change), get, list.

use std::path::PathBuf;

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    connection::{Connection, TenantArg},
    failure::Failure,
    output::Output,
};

/// What to do with collections.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Create a collection, or replace its policy.
    Put {
        /// Lower-case letters, digits, '-', '_', '.'.
        name: String,
        #[command(flatten)]
        policy: PolicyArgs,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Show a collection's policy.
    Get {
        /// Which.
        name: String,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// List collections.
    Ls {
        #[command(flatten)]
        tenant: TenantArg,
    },
}

/// A collection's policy, by its fields or as a document.
#[derive(Debug, clap::Args)]
pub(crate) struct PolicyArgs {
    /// What one destroyable key protects; cannot change once there are records.
    #[arg(long, value_parser = ["subject", "collection", "record"], default_value = "subject")]
    shred_unit: String,
    /// A kind of data it holds; may be repeated.
    #[arg(long = "category", value_name = "CATEGORY")]
    categories: Vec<String>,
    /// What the data is for; may be repeated.
    #[arg(long = "purpose", value_name = "PURPOSE")]
    purposes: Vec<String>,
    /// How long it is kept: until-deleted, or an ISO 8601 duration such as P7Y.
    #[arg(long, default_value = "until-deleted")]
    retention: String,
    /// Send this JSON document instead ('-' for standard input).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["shred_unit", "categories", "purposes", "retention"])]
    policy: Option<PathBuf>,
}

impl PolicyArgs {
    fn document(&self) -> Result<Value, Failure> {
        let Some(path) = &self.policy else {
            return Ok(
                json!({ "shred_unit": self.shred_unit, "categories": self.categories, "purposes": self.purposes, "retention": self.retention }),
            );
        };
        let text = super::record::read_all(path)?;
        serde_json::from_slice(&text).map_err(|error| Failure::local(format!("{}: {error}", path.display())))
    }
}

pub(crate) async fn run(command: Command, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    let client = connection.client()?;
    match command {
        Command::Put { name, policy, tenant } => {
            let document = policy.document()?;
            let tenant = tenant.name(&client).await?;
            let answer =
                client.json(client.request(Method::PUT, &["v1", "tenants", &tenant, "collections", &name])?.json(&document)).await?;
            out.document(&answer)
        }
        Command::Get { name, tenant } => {
            let tenant = tenant.name(&client).await?;
            let answer = client.json(client.request(Method::GET, &["v1", "tenants", &tenant, "collections", &name])?).await?;
            out.document(&answer)
        }
        Command::Ls { tenant } => {
            let tenant = tenant.name(&client).await?;
            let page = |cursor: Option<&str>| client.get(&["v1", "tenants", &tenant, "collections"], &[("cursor", cursor)]);
            let rows = client.pages(page, usize::MAX).await?;
            out.rows(&["collection", "shred_unit", "retention", "categories", "purposes"], &rows)
        }
    }
}

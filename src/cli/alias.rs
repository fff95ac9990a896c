//! `lethe alias`: a person's several ids.

use reqwest::Method;
use serde_json::json;

use super::{
    connection::{Connection, TenantArg},
    failure::Failure,
    output::Output,
};

/// What to do with aliases.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Give a person another id: whatever is shredded, held or listed under one is so under all.
    Add {
        /// The person, by any id.
        subject: String,
        /// The new id.
        alias: String,
        /// Records that name the new id already are the person's.
        #[arg(long)]
        with_records: bool,
        /// The person was shredded, under either id, and is known anew.
        #[arg(long)]
        new_relationship: bool,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// List the ids of a person, the first one first.
    Ls {
        /// The person, by any id.
        subject: String,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Take an alias from a person: what was written under it is another person's from then on.
    Rm {
        /// The alias.
        alias: String,
        #[command(flatten)]
        tenant: TenantArg,
    },
}

pub(crate) async fn run(command: Command, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    let client = connection.client()?;
    let document = match command {
        Command::Add { subject, alias, with_records, new_relationship, tenant } => {
            let tenant = tenant.name(&client).await?;
            let body = json!({ "subject": subject, "alias": alias, "with_records": with_records, "new_relationship": new_relationship });
            client.change(&["v1", "tenants", &tenant, "subjects", "aliases"], Some(&body)).await?
        }
        Command::Ls { subject, tenant } => {
            let tenant = tenant.name(&client).await?;
            let path = ["v1", "tenants", &tenant, "subjects", "aliases", "query"];
            client.json(client.request(Method::POST, &path)?.json(&json!({ "subject": subject }))).await?
        }
        Command::Rm { alias, tenant } => {
            let tenant = tenant.name(&client).await?;
            client.change(&["v1", "tenants", &tenant, "subjects", "aliases", "remove"], Some(&json!({ "alias": alias }))).await?
        }
    };
    out.document(&document)
}

//! `lethe subject`: what happened between you and a person, as far as retention rules count from it.

use reqwest::Method;
use serde_json::json;

use super::{
    connection::{Connection, TenantArg},
    failure::Failure,
    output::Output,
};

/// What to do for a person.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Report, show and take back events that retention rules count from.
    #[command(subcommand)]
    Event(EventCommand),
}

/// What to do with a person's events.
#[derive(clap::Subcommand)]
pub(crate) enum EventCommand {
    /// Report when an event was, or is to be; an earlier report of it counts no more.
    Put {
        /// The person, by any id.
        subject: String,
        /// The event, as rules name it; subject-end is the end of the person's relationship.
        event: String,
        /// A day such as 2026-01-31, or a time of RFC 3339.
        at: String,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Show what is known of a person's events.
    Show {
        /// The person, by any id.
        subject: String,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Take back what was reported of an event: rules that count from it wait for it again.
    Remove {
        /// The person, by any id.
        subject: String,
        /// The event.
        event: String,
        #[command(flatten)]
        tenant: TenantArg,
    },
}

pub(crate) async fn run(command: Command, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    let client = connection.client()?;
    let Command::Event(command) = command;
    let document = match command {
        EventCommand::Put { subject, event, at, tenant } => {
            let tenant = tenant.name(&client).await?;
            let body = json!({ "subject": subject, "event": event, "at": at });
            client.change(&["v1", "tenants", &tenant, "subjects", "events"], Some(&body)).await?
        }
        EventCommand::Show { subject, tenant } => {
            let tenant = tenant.name(&client).await?;
            let path = ["v1", "tenants", &tenant, "subjects", "events", "query"];
            client.json(client.request(Method::POST, &path)?.json(&json!({ "subject": subject }))).await?
        }
        EventCommand::Remove { subject, event, tenant } => {
            let tenant = tenant.name(&client).await?;
            let body = json!({ "subject": subject, "event": event });
            client.change(&["v1", "tenants", &tenant, "subjects", "events", "remove"], Some(&body)).await?
        }
    };
    out.document(&document)
}

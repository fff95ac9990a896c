//! `lethe audit`: a tenant's trail.

use super::{
    connection::{Connection, TenantArg},
    failure::Failure,
    output::Output,
};

/// What to do with the audit trail.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// List entries, oldest first.
    Ls {
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Only entries after this one, as an earlier list's `next` gave it.
        #[arg(long, value_name = "POSITION")]
        after: Option<String>,
        #[command(flatten)]
        tenant: TenantArg,
    },
}

pub(crate) async fn run(command: Command, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    let client = connection.client()?;
    match command {
        Command::Ls { limit, after, tenant } => {
            let tenant = tenant.name(&client).await?;
            let page_limit = limit.min(1_000).to_string();
            let page = |cursor: Option<&str>| {
                client.get(&["v1", "tenants", &tenant, "audit"], &[("after", cursor.or(after.as_deref())), ("limit", Some(&page_limit))])
            };
            let rows = client.pages(page, limit).await?;
            out.rows(&["seq", "time", "action", "outcome", "principal", "target"], &rows)
        }
    }
}

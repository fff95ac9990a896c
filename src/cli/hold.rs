//! `lethe hold`: place, list, show, renew, release; all but reading with a counsel's token.

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{
    confirm::confirm,
    connection::{Connection, TenantArg},
    failure::Failure,
    output::Output,
};

/// What to do with legal holds.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Place a hold: from then on nothing that it is on is destroyed or overwritten.
    Place(Place),
    /// List the holds that one may know of, those that have ended included.
    List {
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Show a hold, what it is on and how many records that are.
    Show {
        /// The hold's id.
        id: String,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Release a hold. What it alone has stopped is then carried out.
    Release {
        /// The hold's id.
        id: String,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Give a hold for law enforcement another 90 days.
    Renew {
        /// The hold's id.
        id: String,
        /// Why.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        tenant: TenantArg,
    },
}

/// A hold to place.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("on").required(true).args(["everything", "subjects", "collection", "records"])))]
pub(crate) struct Place {
    /// The matter that it is for.
    #[arg(long)]
    matter: String,
    /// Why it is placed.
    #[arg(long)]
    reason: String,
    /// Who answers for what is held.
    #[arg(long)]
    custodian: String,
    /// On everything that the tenant has.
    #[arg(long)]
    everything: bool,
    /// On every record that names this person; may be repeated.
    #[arg(long = "subject", value_name = "ID")]
    subjects: Vec<String>,
    /// On this collection.
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    /// Only on its keys under this prefix, in whole segments.
    #[arg(long, value_name = "KEY", requires = "collection")]
    prefix: Option<String>,
    /// On this record; may be repeated.
    #[arg(long = "record", value_name = "COLLECTION/KEY")]
    records: Vec<String>,
    /// Let everybody in the tenant know of it.
    #[arg(long)]
    disclosed: bool,
    /// For law enforcement, under the agency's case number: it ends after 90 days unless it is renewed.
    #[arg(long, value_name = "NUMBER")]
    case_number: Option<String>,
    #[command(flatten)]
    tenant: TenantArg,
}

impl Place {
    fn body(&self) -> Result<Value, Failure> {
        let mut body = Map::new();
        let mut set = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
        set("matter", json!(self.matter));
        set("reason", json!(self.reason));
        set("custodian", json!(self.custodian));
        set("disclosed", json!(self.disclosed));
        if let Some(number) = &self.case_number {
            set("law_enforcement", json!(true));
            set("case_number", json!(number));
        }
        match (&self.collection, &self.prefix) {
            (Some(collection), prefix) => {
                set("scope", json!(if prefix.is_some() { "prefix" } else { "collection" }));
                set("collection", json!(collection));
                if let Some(prefix) = prefix {
                    set("prefix", json!(prefix));
                }
            }
            (None, _) if !self.subjects.is_empty() => {
                set("scope", json!("subject"));
                set("subjects", json!(self.subjects));
            }
            (None, _) if !self.records.is_empty() => {
                let place = |place: &String| {
                    let (collection, key) =
                        place.split_once('/').ok_or_else(|| Failure::local(format!("--record {place}: expected COLLECTION/KEY")))?;
                    Ok(json!({ "collection": collection, "key": key }))
                };
                set("scope", json!("records"));
                set("records", Value::Array(self.records.iter().map(place).collect::<Result<_, Failure>>()?));
            }
            (None, _) => set("scope", json!("tenant")),
        }
        Ok(Value::Object(body))
    }
}

pub(crate) async fn run(command: Command, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    let client = connection.client()?;
    match command {
        Command::Place(place) => {
            let body = place.body()?;
            let tenant = place.tenant.name(&client).await?;
            let placed = client.change(&["v1", "tenants", &tenant, "holds"], Some(&body)).await?;
            let late = placed.get("too_late").and_then(Value::as_array).map_or(0, Vec::len);
            if late > 0 {
                super::output::note(&format!("it came too late for {late} orders to shred, whose keys are gone: `too_late` names them"));
            }
            out.document(&placed)
        }
        Command::List { tenant } => {
            let tenant = tenant.name(&client).await?;
            let page = |cursor: Option<&str>| client.get(&["v1", "tenants", &tenant, "holds"], &[("cursor", cursor)]);
            let rows = client.pages(page, usize::MAX).await?;
            out.rows(&["id", "state", "matter", "custodian", "scope", "disclosed", "placed_at", "lapses_at"], &rows)
        }
        Command::Show { id, tenant } => {
            let tenant = tenant.name(&client).await?;
            let answer = client.json(client.request(Method::GET, &["v1", "tenants", &tenant, "holds", &id])?).await?;
            out.document(&answer)
        }
        Command::Release { id, reason, yes, tenant } => {
            let tenant = tenant.name(&client).await?;
            confirm(&format!("releases hold {id}, and what it has stopped is carried out"), &id, yes)?;
            let path = ["v1", "tenants", &tenant, "holds", &id, "release"];
            let released = client.change(&path, Some(&json!({ "reason": reason }))).await?;
            super::approval::note_if_asked(&released);
            out.document(&released)
        }
        Command::Renew { id, reason, tenant } => {
            let tenant = tenant.name(&client).await?;
            let path = ["v1", "tenants", &tenant, "holds", &id, "renew"];
            out.document(&client.change(&path, Some(&json!({ "reason": reason }))).await?)
        }
    }
}

//! `lethe collection`: put (create or change), get, list.

use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    connection::{Client, Connection, TenantArg},
    failure::Failure,
    output::{Format, Output},
};
use crate::domain::retention::rules::UNTIL_DELETED;

/// What to do with collections.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Create a collection, or change its policy: what is not given stays as it is.
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
    /// What one destroyable key protects; cannot change once there are records. A new collection's is subject.
    #[arg(long, value_parser = ["subject", "collection", "record"])]
    shred_unit: Option<String>,
    /// A kind of data it holds; may be repeated, and replaces those that were there.
    #[arg(long = "category", value_name = "CATEGORY")]
    categories: Vec<String>,
    /// What the data is for; may be repeated, and replaces those that were there.
    #[arg(long = "purpose", value_name = "PURPOSE")]
    purposes: Vec<String>,
    /// How long records are kept: until-deleted, or a file with the JSON document of their rules ('-' for standard input); docs/retention.md
    /// says what may be in it. A new collection's is until-deleted.
    #[arg(long, value_name = "until-deleted|FILE")]
    retention: Option<PathBuf>,
    /// What a person's shred does to records that name the person second. A new collection's is keep.
    #[arg(long, value_parser = ["keep", "delete"])]
    secondary_subjects: Option<String>,
    /// Replace the whole policy by this JSON document ('-' for standard input).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["shred_unit", "categories", "purposes", "retention", "secondary_subjects"])]
    policy: Option<PathBuf>,
}

impl PolicyArgs {
    /// The document to send: the one given, or the present one with what was given instead.
    pub(super) async fn document(&self, client: &Client, collection: &[&str]) -> Result<Value, Failure> {
        if let Some(path) = &self.policy {
            return read_json(path);
        }
        let retention = match self.retention.as_deref() {
            Some(word) if word == Path::new(UNTIL_DELETED) => Some(json!(UNTIL_DELETED)),
            Some(path) => Some(read_json(path)?),
            None => None,
        };
        let present = match client.json(client.request(Method::GET, collection)?).await {
            Err(Failure::Refused(problem)) if problem.status == 404 => Value::Null,
            other => other?,
        };
        let list = |items: &[String]| (!items.is_empty()).then(|| json!(items));
        let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
        let given = [
            ("shred_unit", text(&self.shred_unit)),
            ("categories", list(&self.categories)),
            ("purposes", list(&self.purposes)),
            ("retention", retention),
            ("secondary_subjects", text(&self.secondary_subjects)),
        ];
        // What neither says is the server's to choose.
        let said = given.into_iter().filter_map(|(name, given)| Some((name.to_owned(), given.or_else(|| present.get(name).cloned())?)));
        Ok(Value::Object(said.collect()))
    }
}

/// In a table, rules are shown by their names.
fn name_the_rules(collection: &mut Value) {
    let rules = collection.pointer("/retention/rules").and_then(Value::as_array);
    let names = rules.map(|rules| rules.iter().filter_map(|rule| rule.get("name")?.as_str()).collect::<Vec<_>>().join(", "));
    if let (Some(names), Some(retention)) = (names, collection.get_mut("retention")) {
        *retention = Value::from(format!("rules: {names}"));
    }
}

fn read_json(path: &Path) -> Result<Value, Failure> {
    let text = super::record::read_all(path)?;
    serde_json::from_slice(&text).map_err(|error| Failure::local(format!("{}: {error}", path.display())))
}

pub(crate) async fn run(command: Command, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    let client = connection.client()?;
    match command {
        Command::Put { name, policy, tenant } => {
            let tenant = tenant.name(&client).await?;
            let collection = ["v1", "tenants", &tenant, "collections", &name];
            let document = policy.document(&client, &collection).await?;
            let answer = client.json(client.request(Method::PUT, &collection)?.json(&document)).await?;
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
            let mut rows = client.pages(page, usize::MAX).await?;
            if out.format() == Format::Human {
                rows.iter_mut().for_each(name_the_rules);
            }
            out.rows(&["collection", "shred_unit", "retention", "categories", "purposes"], &rows)
        }
    }
}

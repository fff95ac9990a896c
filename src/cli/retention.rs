//! `lethe retention`: explain, catalogue.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    connection::Connection,
    failure::Failure,
    output::{Format, Output},
};
use crate::domain::retention::catalogue;

/// What to do about how long data is kept.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Explain why a record is kept, until when, by which rule, and what is to happen then.
    Explain {
        /// Whose.
        tenant: String,
        /// Which collection.
        collection: String,
        /// Which record.
        key: String,
        /// What the explanation is wanted for; goes into the audit trail.
        #[arg(long)]
        purpose: Option<String>,
    },
    /// List legal periods, with the laws that set them: to be checked, copied and edited. None applies by itself; not legal advice.
    Catalogue,
}

pub(crate) async fn run(command: Command, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Explain { tenant, collection, key, purpose } => {
            let client = connection.client()?;
            let mut request = client.keyed(Method::GET, &tenant, &collection, "retention", &key)?;
            if let Some(purpose) = purpose {
                request = request.header("lethe-purpose", super::record::header_list(std::slice::from_ref(&purpose)));
            }
            let answer = client.json(request).await?;
            if out.format() == Format::Json {
                return out.json(&answer);
            }
            out.say(answer.get("why").and_then(Value::as_str).unwrap_or_default(), &answer)?;
            match answer.get("rules").and_then(Value::as_array) {
                Some(rules) if !rules.is_empty() => {
                    out.rows(&["rule", "from", "day", "minimum_until", "maximum_at", "then", "end_at"], rules)
                }
                Some(_) | None => Ok(()),
            }
        }
        Command::Catalogue => {
            let documents: Vec<Value> = catalogue::shipped()
                .into_iter()
                .map(|period| {
                    let (length, basis) = (period.minimum.period, &period.minimum.basis);
                    let minimum = json!({"period": length, "basis": basis});
                    json!({"code": period.code, "period": length, "basis": basis, "covers": period.covers, "from": period.from, "minimum": minimum})
                })
                .collect();
            out.rows(&["code", "period", "basis", "covers", "from"], &documents)
        }
    }
}

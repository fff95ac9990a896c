//! `lethe retention simulate`: on which days a draft of a policy would end what is stored now, as a table by months and a picture.

use std::{collections::BTreeMap, path::PathBuf};

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    super::{
        collection::PolicyArgs,
        connection::Client,
        failure::Failure,
        output::{Format, Output},
    },
    chart,
};

/// Which draft, for which collection.
#[derive(Debug, clap::Args)]
pub(crate) struct SimulateArgs {
    /// Whose.
    tenant: String,
    /// Which collection.
    collection: String,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Draw the counts by months into this file, as SVG.
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
}

/// Records that end: all, those of them that end later, those that are held.
pub(super) type Counts = [u64; 3];

/// Their names in answers.
const COUNTS: [&str; 3] = ["records", "later", "held"];

/// Counts of all passes, by day and rule.
#[derive(Debug, Default)]
struct Totals {
    looked_at: u64,
    endless: u64,
    unreadable: u64,
    ends: BTreeMap<(String, String), Counts>,
}

pub(super) async fn run(args: SimulateArgs, client: &Client, out: &mut Output) -> Result<(), Failure> {
    let SimulateArgs { tenant, collection, policy, chart } = args;
    let place = ["v1", "tenants", &tenant, "collections", &collection];
    let draft = policy.document(client, &place).await?;
    let mut totals = Totals::default();
    let mut cursor = Value::Null;
    loop {
        let request = client.request(Method::POST, &[&place[..], &["simulations"]].concat())?;
        let mut pass = client.json(request.json(&json!({"policy": draft, "cursor": cursor}))).await?;
        totals.add(&pass);
        cursor = pass.get_mut("next_cursor").map(Value::take).unwrap_or_default();
        if cursor.is_null() {
            break;
        }
    }
    let months = totals.months();
    if let Some(path) = &chart {
        chart::draw(&format!("{collection}: records that end, by month"), &months, path)?;
    }
    if out.format() == Format::Json {
        return out.json(&totals.document());
    }
    let [ending, later, held] = totals.ends.values().copied().fold(Counts::default(), sum);
    let mut said = vec![format!("{} records looked at: {ending} would end, {} would not", totals.looked_at, totals.endless)];
    if later > 0 {
        said.push(format!(
            "{later} of them end later, or only once they are written again: what is stored keeps the end it was stored with"
        ));
    }
    if held > 0 {
        said.push(format!("a legal hold keeps {held} of them as long as it stands"));
    }
    if totals.unreadable > 0 {
        said.push(format!("{} could not be read", totals.unreadable));
    }
    out.say(&said.join("; "), &Value::Null)?;
    let cells: Vec<Vec<String>> = months
        .iter()
        .map(|((month, rule), counts)| [month.clone(), rule.clone()].into_iter().chain(counts.iter().map(u64::to_string)).collect())
        .collect();
    if cells.is_empty() { Ok(()) } else { out.table(&["month", "rule", "records", "later", "held"], &cells) }
}

impl Totals {
    fn add(&mut self, pass: &Value) {
        let count = |from: &Value, name: &str| from.get(name).and_then(Value::as_u64).unwrap_or(0);
        self.looked_at = self.looked_at.saturating_add(count(pass, "looked_at"));
        self.endless = self.endless.saturating_add(count(pass, "endless"));
        self.unreadable = self.unreadable.saturating_add(count(pass, "unreadable"));
        for end in pass.get("ends").and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| end.get(name).and_then(Value::as_str).map(str::to_owned);
            let rule = text("rule").unwrap_or_else(|| OWN_END.to_owned());
            let of = self.ends.entry((text("day").unwrap_or_default(), rule)).or_default();
            *of = sum(*of, COUNTS.map(|name| count(end, name)));
        }
    }

    /// The same by months: `2031-04`.
    fn months(&self) -> BTreeMap<(String, String), Counts> {
        let mut months: BTreeMap<(String, String), Counts> = BTreeMap::new();
        for ((day, rule), counts) in &self.ends {
            let month = day.rsplit_once('-').map_or(day.as_str(), |(month, _)| month);
            let of = months.entry((month.to_owned(), rule.clone())).or_default();
            *of = sum(*of, *counts);
        }
        months
    }

    fn document(&self) -> Value {
        let ends: Vec<Value> = self
            .ends
            .iter()
            .map(|((day, rule), [records, later, held])| {
                let rule = if rule == OWN_END { Value::Null } else { json!(rule) };
                json!({"day": day, "rule": rule, "records": records, "later": later, "held": held})
            })
            .collect();
        json!({"looked_at": self.looked_at, "endless": self.endless, "unreadable": self.unreadable, "ends": ends})
    }
}

fn sum(one: Counts, other: Counts) -> Counts {
    let [records, later, held] = one;
    let [more_records, more_later, more_held] = other;
    [records.saturating_add(more_records), later.saturating_add(more_later), held.saturating_add(more_held)]
}

/// What stands in the place of a rule's name; none has a space in it.
const OWN_END: &str = "their own end";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn passes_add_up_by_day_and_months_by_the_days_of_them() {
        let mut totals = Totals::default();
        for pass in [
            json!({"looked_at": 3, "endless": 1, "unreadable": 0, "ends": [
                {"day": "2031-04-30", "rule": "a", "records": 1, "later": 0, "held": 1},
                {"day": "2031-05-01", "rule": null, "records": 1, "later": 1, "held": 0}]}),
            json!({"looked_at": 2, "endless": 0, "unreadable": 1, "ends": [
                {"day": "2031-04-30", "rule": "a", "records": 1, "later": 1, "held": 1},
                {"day": "2031-04-01", "rule": "a", "records": 1, "later": 0, "held": 0}]}),
        ] {
            totals.add(&pass);
        }
        assert_eq!((totals.looked_at, totals.endless, totals.unreadable), (5, 1, 1));
        let month = |month: &str, rule: &str| (month.to_owned(), rule.to_owned());
        let expected = [(month("2031-04", "a"), [3, 1, 2]), (month("2031-05", OWN_END), [1, 1, 0])];
        assert_eq!(totals.months().into_iter().collect::<Vec<_>>(), expected);
        assert_eq!(totals.document()["ends"][1], json!({"day": "2031-04-30", "rule": "a", "records": 2, "later": 1, "held": 2}));
        assert_eq!(totals.document()["ends"][2]["rule"], Value::Null);
    }

    #[test]
    fn a_picture_has_a_bar_for_each_month_and_rule() {
        let dir = tempfile::tempdir().unwrap();
        let path: &Path = &dir.path().join("chart.svg");
        let bar = |month: &str, rule: &str, records| ((month.to_owned(), rule.to_owned()), [records, 0, 0]);
        let months = BTreeMap::from([bar("2031-04", "a", 3), bar("2031-04", "b", 2), bar("2033-01", "a", 7)]);
        chart::draw("crm", &months, path).unwrap();
        let svg = std::fs::read_to_string(path).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("2031-05") && svg.contains("2033-01"), "{svg}");
        // One for each in the chart, and one in the legend for each rule, beside the background and the legend's own.
        let bars = |color: &str| svg.matches(color).count();
        assert_eq!((bars("#1E88E5"), bars("#FB8C00")), (3, 2), "{svg}");
        chart::draw("nothing", &BTreeMap::new(), path).unwrap();
    }
}

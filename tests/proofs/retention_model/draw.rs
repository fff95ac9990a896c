//! What happens, drawn from a seed: always the same for one.

use std::time::Duration;

use lethe::{
    domain::{CollectionPolicy, ShredUnit, Timestamp, retention::Mode},
    vault::ops::PutRecord,
};
use serde_json::json;

use super::{
    calendar::{DAY_MS, Day},
    known::{Drawn, LEFT},
    model::{On, PERSONS},
};
use crate::{
    draw::Draw,
    harness::{filed_under, put_of},
    retention::policy,
};

/// How long things take in a store: days, months, or decades.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// The units of its rules; each with how many of them a minimum has at most, and a maximum beside it.
    units: &'static [(char, u64, u64)],
    /// How many days the clock goes on at most where it goes to no end.
    pub(super) step: u32,
    /// How far apart dates lie, in days.
    dates: u64,
}

const DAYS: Pace = Pace { units: &[('d', 20, 60)], step: 3, dates: 40 };
const MONTHS: Pace = Pace { units: &[('d', 20, 60), ('w', 6, 12), ('m', 6, 14)], step: 45, dates: 600 };
const DECADES: Pace = Pace { units: &[('w', 6, 12), ('m', 6, 14), ('y', 4, 8), ('y', 4, 8)], step: 300, dates: 2_400 };

pub(super) const PACES: [Pace; 3] = [DAYS, MONTHS, DECADES];

/// With days of 23 and of 25 hours, of 23 and a half, days that begin at one o'clock, one that never was, and none of those.
const ZONES: [&str; 7] =
    ["UTC", "America/Los_Angeles", "America/St_Johns", "America/Sao_Paulo", "Pacific/Apia", "Australia/Lord_Howe", "Asia/Kathmandu"];

/// The first parts of keys.
const PARTS: [&str; 2] = ["a", "b"];

impl Drawn {
    /// As it stands in the store.
    pub(super) fn value(&self) -> String {
        self.date.map_or_else(|| "{}".to_owned(), |day| json!({"date": day.text()}).to_string())
    }

    pub(super) fn put(&self, once: String) -> PutRecord {
        let put = put_of(Some(&self.subject.to_string()), self.value().as_bytes());
        PutRecord { expires_at: self.own, custom: filed_under(self.category), idempotency_key: Some(once), ..put }
    }
}

impl Draw {
    pub(super) fn millis(&mut self, bound: u64) -> Duration {
        Duration::from_millis(self.below(bound))
    }

    pub(super) fn key(&mut self) -> String {
        format!("{}/k{}", self.of(&PARTS), self.below(6))
    }

    pub(super) fn person(&mut self) -> usize {
        self.place(PERSONS)
    }

    /// A day, so many before and after that of a moment.
    fn day(&mut self, now: Timestamp, before: u64, after: u64) -> Day {
        let days = i64::try_from(self.below(before + after)).unwrap() - i64::try_from(before).unwrap();
        Day::of(now).plus(days)
    }

    /// When a person left, some time ago or ahead; or that the person is back.
    pub(super) fn left(&mut self, pace: Pace, now: Timestamp) -> Option<Day> {
        let day = self.day(now, pace.dates, pace.dates / 2);
        (self.below(4) > 0).then_some(day)
    }

    pub(super) fn record(&mut self, pace: Pace, now: Timestamp) -> Drawn {
        let date = self.day(now, pace.dates / 2, pace.dates / 2);
        let date = (self.below(3) > 0).then_some(date);
        let longest = pace.dates * u64::try_from(DAY_MS).unwrap();
        let own = (self.below(3) == 0).then(|| now.plus(Duration::from_millis(1) + self.millis(longest)));
        let category = self.of(&[None, None, Some("x"), Some("y")]);
        Drawn { own, date, category, subject: self.person() }
    }

    /// What a hold is on.
    pub(super) fn on(&mut self, name: String) -> On {
        match self.below(9) {
            0 => On::Tenant,
            1 => On::Collection,
            2 | 3 => On::Part(self.of(&PARTS)),
            4 | 5 => On::Record(name),
            _ => On::Person(self.person()),
        }
    }

    pub(super) fn policy(&mut self, pace: Pace, unit: ShredUnit) -> CollectionPolicy {
        loop {
            if self.below(6) == 0 {
                return CollectionPolicy { shred_unit: unit, ..CollectionPolicy::default() };
            }
            let categories = self.of(&[&[][..], &["x"], &["x", "y"]]);
            let count = (1 + self.place(3)).max(categories.len());
            let rules: Vec<_> = (0..count).map(|at| self.rule(pace, unit, at, categories.get(at).copied())).collect();
            let drawn = policy(unit, self.of(&ZONES), &json!(rules));
            let drawn = CollectionPolicy { categories: categories.iter().map(|name| (*name).to_owned()).collect(), ..drawn };
            if drawn.validate().is_ok() {
                return drawn;
            }
        }
    }

    fn rule(&mut self, pace: Pace, unit: ShredUnit, at: usize, category: Option<&str>) -> serde_json::Value {
        let (of, short, long) = self.of(pace.units);
        let least = 1 + self.below(short);
        let most = least + 1 + self.below(long);
        // One that is told in another unit may be longer than the maximum on some days, and is refused then.
        let law = if self.below(3) == 0 {
            let (of, short, _) = self.of(pace.units);
            format!("{}{of}", 1 + self.below(short))
        } else {
            format!("{least}{of}")
        };
        let from = self.of(&["created", "modified", "field", LEFT]);
        // Those that count from a report are told by their names.
        let name = if from == LEFT { format!("l{at}") } else { format!("r{at}") };
        let from = match from {
            "field" => json!({"field": "/date"}),
            LEFT => json!({"event": LEFT}),
            from => json!(from),
        };
        let then = match self.below(4) {
            0 => json!({"restrict": format!("{}{of}", most + 1 + self.below(long))}),
            1 if unit == ShredUnit::Record => json!("shred"),
            _ => json!("delete"),
        };
        let mut rule = json!({"name": name, "from": from, "maximum": format!("{most}{of}"), "then": then});
        if self.below(2) == 0 {
            rule["mark"] = json!(format!("{}d", self.below(20) + 1));
        }
        if self.below(2) == 0 {
            // Both kinds bind alike, for nobody bypasses one.
            let mode = if least.is_multiple_of(2) { Mode::Governance } else { Mode::Compliance };
            rule["minimum"] = json!({"period": law, "basis": "law", "mode": mode.name()});
        }
        if let Some(category) = category {
            rule["categories"] = json!([category]);
        }
        rule
    }
}

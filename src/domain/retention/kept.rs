//! What a law keeps: the minimum that stands over a record, by all the rules that it has been under since it was written, and what is
//! sealed with a record that a law keeps beyond what those say of it.

use super::{Facts, Mode, Rule, RuleName, Schedule, evaluate::Found};
use crate::domain::{ShredId, Timestamp};

/// A legal minimum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Law {
    /// The rule that has it.
    pub rule: RuleName,
    /// The law that the rule cites.
    pub basis: String,
    /// Who may shorten it for what is there.
    pub mode: Mode,
    /// The first moment at which it is met; `None` while the date that it counts from is not known.
    pub until: Option<Timestamp>,
    /// Beside one whose date is not known, the latest end of those that are: one that waits hides none of them.
    pub known: Option<Timestamp>,
}

/// Rules that a record is under, or was.
#[derive(Debug, Clone, Copy)]
pub struct Under<'a> {
    /// The rules.
    pub rules: &'a Schedule,
    /// The record, as they see it.
    pub facts: Facts<'a>,
    /// When they held no more; `None` of those that hold.
    pub ended_at: Option<Timestamp>,
    /// Whether their minimums of the governance kind are left out: somebody has bypassed them, or asks what nobody could.
    pub without_governance: bool,
}

/// Sealed with a record: the minimum of an earlier version of it, or that for which an order to shred has left it. Nobody shortens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The rule that had the minimum. It is also the record's legal purpose, once an order has restricted it.
    pub rule: RuleName,
    /// The law that the rule cited.
    pub basis: String,
    /// The first moment at which the minimum is met.
    pub until: Timestamp,
    /// The order to shred that has left the record for its legal purpose alone.
    pub restricted_by: Option<ShredId>,
}

/// The same of the governance kind, where it lasts longer: a bypass that comes behind it lifts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Governed {
    /// The rule that had the minimum.
    pub rule: RuleName,
    /// The law that the rule cited.
    pub basis: String,
    /// The first moment at which the minimum is met.
    pub until: Timestamp,
    /// The number of its collection's rules by which it was sealed: how many there had been before them.
    pub rules_no: u32,
}

impl Law {
    /// What keeps a record that has been under all of these rules, the latest first: the minimum that ends last, met or not, or one that
    /// waits for its date.
    ///
    /// A date that is not in the record's value is taken from a `newer` one, which is to take the record's place; one of an event is what was
    /// reported, and never an earlier day than it had since the record was written. Where nobody tells it, a rule that holds no more counts
    /// from the day on which that ended: the record has been kept for it until then, and whoever took the rule away has not shortened it;
    /// one that holds waits.
    #[must_use]
    pub fn over<'a>(all: impl IntoIterator<Item = Under<'a>>, newer: Option<&[u8]>) -> Option<Self> {
        let (mut found, mut found_newer) = (Found::new(), Found::new());
        let (mut waits, mut latest): (Vec<&Rule>, Option<(Timestamp, &Rule)>) = (Vec::new(), None);
        for Under { rules, facts, ended_at, without_governance } in all {
            let zone = &rules.time_zone;
            for rule in rules.rules.iter().filter(|rule| rule.is_for(facts.category)) {
                let Some(minimum) = rule.minimum.as_ref().filter(|minimum| !without_governance || minimum.mode == Mode::Compliance) else {
                    continue;
                };
                let told = rule.starts(&facts, zone, &mut found);
                let told = told.or_else(|| rule.starts(&Facts { value: newer, ..facts }, zone, &mut found_newer));
                let ended = ended_at.map(|at| zone.day_of(at));
                // What nobody has reported was when the person was shredded; a rule that held no more by then has not waited for that.
                let is_assumed = rule.from.reported().is_some_and(|event| facts.events.is_assumed(event));
                let from = if is_assumed { told.into_iter().chain(ended).min() } else { told.or(ended) };
                if from.is_none() {
                    waits.push(rule);
                }
                if let Some(day) = rule.binds_from(from, &facts, zone) {
                    let until = zone.end_of(minimum.period.last_day(day));
                    // Of two that end together that is told which nobody shortens.
                    latest = latest.filter(|(known, other)| (*known, other.mode()) >= (until, minimum.mode)).or(Some((until, rule)));
                }
            }
        }
        Self::of(waits, latest)
    }

    /// That of a rule which waits for its date, if there is one, beside the one whose minimum ends last of those that are known. Of several
    /// that wait it is one whose date the value should have, if there is one: who writes can tell that.
    pub(super) fn of<'a>(waits: impl IntoIterator<Item = &'a Rule>, latest: Option<(Timestamp, &'a Rule)>) -> Option<Self> {
        let waits = waits.into_iter().min_by_key(|rule| rule.from.reported().is_some());
        let (rule, until, known) = match (waits, latest) {
            (Some(rule), latest) => (rule, None, latest.map(|(until, _)| until)),
            (None, Some((until, rule))) => (rule, Some(until), None),
            (None, None) => return None,
        };
        Some(Self { until, known, ..Self::waiting(rule) })
    }

    /// That of a rule, while the date is not known that it counts from.
    #[must_use]
    pub fn waiting(rule: &Rule) -> Self {
        Self { rule: rule.name.clone(), basis: rule.basis().to_owned(), mode: rule.mode(), until: None, known: None }
    }

    /// Whether it keeps the record at a moment.
    #[must_use]
    pub fn stands(&self, at: Timestamp) -> bool {
        self.until.is_none_or(|until| until > at)
    }

    /// Whether it is all that there is to know of what nobody shortens: it is of that kind, and its date is known.
    #[must_use]
    pub fn is_firm(&self) -> bool {
        self.mode == Mode::Compliance && self.until.is_some()
    }

    /// The one of two that stands longer; one whose date is not known stands longest.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        let known = self.known_until().max(other.known_until());
        let longer = match (self.until, other.until) {
            (Some(_), None) => other,
            (Some(own), Some(others)) if (others, other.mode) > (own, self.mode) => other,
            (None | Some(_), _) => self,
        };
        if fault!("later-known") {
            return longer;
        }
        Self { known: known.filter(|_| longer.until.is_none()), ..longer }
    }

    /// The latest end that is known, whatever else waits for its date.
    #[must_use]
    pub fn known_until(&self) -> Option<Timestamp> {
        self.until.or(self.known)
    }
}

impl Kept {
    /// What it keeps the record by.
    #[must_use]
    pub fn law(&self) -> Law {
        Law { rule: self.rule.clone(), basis: self.basis.clone(), mode: Mode::Compliance, until: Some(self.until), known: None }
    }
}

impl Governed {
    /// What it keeps the record by, until it is bypassed.
    #[must_use]
    pub fn law(&self) -> Law {
        Law { rule: self.rule.clone(), basis: self.basis.clone(), mode: Mode::Governance, until: Some(self.until), known: None }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::retention::{EventDate, EventName, Events, Retention, events::NO_EVENTS};

    fn law(until: Option<i64>) -> Law {
        let (rule, mode) = (RuleName::parse("tax").unwrap(), Mode::Compliance);
        Law { rule, basis: "law 1".into(), mode, until: until.map(Timestamp), known: None }
    }

    fn schedule(rules: &Value) -> Schedule {
        let read = serde_json::from_value(json!({"time_zone": "UTC", "rules": rules})).unwrap();
        let Retention::Rules(schedule) = read else { panic!("{read:?}") };
        schedule
    }

    fn rule(name: &str, from: &Value, minimum: &str) -> Value {
        json!({"name": name, "from": from, "minimum": {"period": minimum, "basis": "law 1"}, "maximum": "90y", "then": "delete"})
    }

    fn time(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    /// By these rules, the latest first, each with when it held no more: the rule, until when, and what else is known.
    fn over(
        all: &[(&Schedule, Option<&str>)],
        value: Option<&'static str>,
        newer: Option<&str>,
    ) -> Option<(String, Option<Timestamp>, Option<Timestamp>)> {
        over_with(all, value, newer, &NO_EVENTS)
    }

    /// The same by what is known of its person.
    fn over_with(
        all: &[(&Schedule, Option<&str>)],
        value: Option<&'static str>,
        newer: Option<&str>,
        events: &Events,
    ) -> Option<(String, Option<Timestamp>, Option<Timestamp>)> {
        let created = time("2020-05-05T12:00:00Z");
        let value = value.map(str::as_bytes);
        let facts = Facts { created_at: created, modified_at: created, own_end: None, category: None, value, events, reports_seen: 0 };
        let all = all.iter().map(|(rules, ended_at)| Under { rules, facts, ended_at: ended_at.map(time), without_governance: false });
        let law = Law::over(all, newer.map(str::as_bytes))?;
        Some((law.rule.as_str().to_owned(), law.until, law.known))
    }

    #[test]
    fn a_rule_that_waits_for_its_date_hides_no_minimum_that_is_known() {
        let (books, long) = (Some(time("2027-05-06T00:00:00Z")), Some(time("2029-05-06T00:00:00Z")));
        let told = |rule: &str, until, known| Some((rule.to_owned(), until, known));
        let both = schedule(&json!([rule("books", &json!("created"), "7y"), rule("dated", &json!({"field": "/date"}), "1d")]));
        assert_eq!(over(&[(&both, None)], Some("{}"), None), told("dated", None, books));
        assert_eq!(over(&[(&both, None)], None, Some(r#"{"date": "2021-01-01"}"#)), told("books", books, None), "a newer value tells");
        let longer = schedule(&json!([rule("longer", &json!("created"), "9y")]));
        assert_eq!(over(&[(&both, None), (&longer, Some("2020-06-01T00:00:00Z"))], Some("{}"), None), told("dated", None, long));
        // What a value says itself counts, whatever a newer one says.
        let dated = schedule(&json!([rule("dated", &json!({"field": "/date"}), "1y")]));
        let own = over(&[(&dated, None)], Some(r#"{"date": "2022-01-01"}"#), Some(r#"{"date": "1970-01-01"}"#));
        assert_eq!(own, told("dated", Some(time("2023-01-02T00:00:00Z")), None));
    }

    #[test]
    fn a_rule_that_was_taken_away_while_it_waited_counts_from_that_day() {
        let dated = schedule(&json!([rule("dated", &json!({"field": "/date"}), "1y")]));
        let told = |until: Option<&str>| Some(("dated".to_owned(), until.map(time), None));
        assert_eq!(over(&[(&dated, Some("2024-02-29T10:00:00Z"))], Some("{}"), None), told(Some("2025-03-01T00:00:00Z")));
        let newer = Some(r#"{"date": "1999-12-31"}"#);
        assert_eq!(over(&[(&dated, Some("2024-02-29T10:00:00Z"))], Some("{}"), newer), told(Some("2001-01-01T00:00:00Z")));
        // It came back.
        let all = [(&dated, None), (&dated, Some("2024-02-29T10:00:00Z"))];
        assert_eq!(over(&all, Some("{}"), None), Some(("dated".to_owned(), None, Some(time("2025-03-01T00:00:00Z")))));
        assert_eq!(over(&all, Some("{}"), newer), told(Some("2001-01-01T00:00:00Z")));
        assert_eq!(over(&[], Some("{}"), None), None);
    }

    #[test]
    fn a_rule_that_was_taken_away_counts_from_what_was_reported_and_no_report_brings_it_forward() {
        let contract = schedule(&json!([rule("contract", &json!({"event": "contract-ended"}), "1y")]));
        let gone = [(&contract, Some("2024-02-29T10:00:00Z"))];
        let until = |all: &[(&Schedule, Option<&str>)], events: &Events| over_with(all, None, None, events).unwrap().1;
        let mut events = Events::default();
        let mut report = |at: Option<&str>, now: &str| {
            let at = at.map(|at| EventDate::parse(at).unwrap());
            assert!(events.report(&EventName::parse("contract-ended").unwrap(), at, (0, time(now))));
            events.clone()
        };
        let (known, longer, earlier) = (report(Some("2021-06-30"), "2024-03-01T00:00:00Z"), Some("2030-01-01"), Some("2021-01-01"));
        assert_eq!(
            (until(&gone, &NO_EVENTS), until(&gone, &known)),
            (Some(time("2025-03-01T00:00:00Z")), Some(time("2022-07-01T00:00:00Z")))
        );
        let late = Some(time("2031-01-02T00:00:00Z"));
        for events in
            [report(longer, "2024-04-01T00:00:00Z"), report(earlier, "2024-05-01T00:00:00Z"), report(None, "2024-06-01T00:00:00Z")]
        {
            assert_eq!(until(&gone, &events), late, "no later report brings it forward");
        }
        assert_eq!(until(&[(&contract, None)], &report(earlier, "2024-07-01T00:00:00Z")), late);
        let back = over_with(&[(&contract, None)], None, None, &report(None, "2024-08-01T00:00:00Z")).unwrap();
        assert_eq!((back.1, back.2), (None, late), "it waits again, and hides nothing that was known");
    }

    #[test]
    fn what_nobody_reported_of_who_was_shredded_keeps_no_longer_than_its_rule_did() {
        let contract = schedule(&json!([rule("contract", &json!({"event": "contract-ended"}), "1y")]));
        let shredded = Events::default().or_at(time("2026-03-01T10:00:00Z"));
        let until = |ended_at: Option<&'static str>| over_with(&[(&contract, ended_at)], None, None, &shredded).unwrap().1;
        let with_the_person = Some(time("2027-03-02T00:00:00Z"));
        assert_eq!((until(None), until(Some("2028-01-01T10:00:00Z"))), (with_the_person, with_the_person));
        assert_eq!(until(Some("2024-02-29T10:00:00Z")), Some(time("2025-03-01T00:00:00Z")));
    }

    #[test]
    fn of_two_that_wait_the_one_is_told_whose_date_the_value_should_have() {
        let both = schedule(&json!([rule("contract", &json!({"event": "left"}), "1y"), rule("dated", &json!({"field": "/date"}), "1y")]));
        let named = |value| over(&[(&both, None)], Some(value), None).unwrap().0;
        assert_eq!((named("{}"), named(r#"{"date": "2020-01-01"}"#)), ("dated".to_owned(), "contract".to_owned()));
    }

    /// HOLD-4: where those of the governance kind are left out, the others are what they were; of two that end together the one is told that
    /// nobody shortens, whichever comes first.
    #[test]
    fn without_the_governance_kind_a_record_is_kept_by_what_nobody_shortens() {
        let of = |mode: &str, mut rule: Value| {
            rule["minimum"]["mode"] = json!(mode);
            rule
        };
        let created = time("2020-05-05T12:00:00Z");
        let facts = Facts {
            created_at: created,
            modified_at: created,
            own_end: None,
            category: None,
            value: Some(b"{}"),
            events: &NO_EVENTS,
            reports_seen: 0,
        };
        let told = |rules: &Value, without_governance| {
            let rules = schedule(rules);
            let law = Law::over([Under { rules: &rules, facts, ended_at: None, without_governance }], None)?;
            Some((law.rule.as_str().to_owned(), law.mode, law.until, law.known))
        };
        let (long, short) = (Some(time("2027-05-06T00:00:00Z")), Some(time("2024-05-06T00:00:00Z")));
        let (governed, books) = (of("governance", rule("governed", &json!("created"), "7y")), rule("books", &json!("created"), "4y"));
        let expected = |name: &str, mode, until, known| Some((name.to_owned(), mode, until, known));
        for both in [json!([governed, books]), json!([books, governed])] {
            assert_eq!(told(&both, false), expected("governed", Mode::Governance, long, None));
            assert_eq!(told(&both, true), expected("books", Mode::Compliance, short, None));
        }
        assert_eq!(told(&json!([governed]), true), None);
        let same = of("governance", rule("same", &json!("created"), "4y"));
        for both in [json!([same, books]), json!([books, same])] {
            assert_eq!(told(&both, false), expected("books", Mode::Compliance, short, None));
        }
        // One that waits keeps what nobody may shorten no longer than it is asked for itself.
        let waits = of("governance", rule("waits", &json!({"field": "/date"}), "1d"));
        assert_eq!(told(&json!([waits, books]), false), expected("waits", Mode::Governance, None, short));
        assert_eq!(told(&json!([waits, books]), true), expected("books", Mode::Compliance, short, None));
        let waits = rule("waits", &json!({"field": "/date"}), "1d");
        assert_eq!(told(&json!([waits, governed]), true), expected("waits", Mode::Compliance, None, None));
    }

    #[test]
    fn of_two_laws_that_end_together_the_one_is_told_that_nobody_shortens() {
        let governed = Law { mode: Mode::Governance, ..law(Some(9)) };
        assert_eq!(governed.clone().later(law(Some(9))).mode, Mode::Compliance);
        assert_eq!(law(Some(9)).later(governed.clone()).mode, Mode::Compliance);
        assert_eq!(governed.clone().later(law(Some(8))).mode, Mode::Governance);
        assert!(law(Some(9)).is_firm() && !governed.is_firm() && !law(None).is_firm());
    }

    #[test]
    fn a_minimum_stands_until_its_moment_and_the_longest_of_several_counts() {
        assert!(law(Some(10)).stands(Timestamp(9)) && !law(Some(10)).stands(Timestamp(10)));
        assert!(law(None).stands(Timestamp(i64::MAX)), "what is not known yet may last");
        for (one, other, longer) in
            [(Some(1), Some(2), Some(2)), (Some(2), Some(1), Some(2)), (None, Some(9), None), (Some(9), None, None), (None, None, None)]
        {
            let later = law(one).later(law(other));
            let known = if longer.is_some() { None } else { one.max(other) };
            assert_eq!((later.until, later.known), (longer.map(Timestamp), known.map(Timestamp)));
            assert_eq!(later.known_until(), one.max(other).map(Timestamp), "what is known is known whichever is longer");
        }
    }
}

//! What the rules of a collection say of one record: how long it must be kept, how long it may be, and by which rule.

use jiff::civil::Date;

use super::{Event, Events, Law, Mode, Rule, Schedule, Then, Zone, pointer::Pointer};
use crate::domain::{Timestamp, retention::events::SUBJECT_END};

/// What rules look at in a record.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// First write of its key since it was last free.
    pub created_at: Timestamp,
    /// Last write.
    pub modified_at: Timestamp,
    /// The end that it was given itself.
    pub own_end: Option<Timestamp>,
    /// The category that it names, if it does.
    pub category: Option<&'a str>,
    /// Its value, where that was read whole.
    pub value: Option<&'a [u8]>,
    /// What is known of the events of whom it is about.
    pub events: &'a Events,
    /// The number up to which its write has seen them.
    pub reports_seen: u64,
}

/// What one rule says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// The day it counts from; `None` while that is not known.
    pub from: Option<Date>,
    /// The first moment at which its minimum is met, by what is known of it.
    pub minimum_until: Option<Timestamp>,
    /// The first moment after its maximum.
    pub maximum_at: Option<Timestamp>,
    /// The first moment at which nothing may be left.
    pub end_at: Option<Timestamp>,
}

/// A moment, and the rule it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound<'a> {
    /// When.
    pub at: Timestamp,
    /// By which rule.
    pub rule: &'a Rule,
}

/// The end of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End<'a> {
    /// From this moment on nothing of it may be left.
    pub at: Timestamp,
    /// The rule whose end it is; `None` for the record's own.
    pub rule: Option<&'a Rule>,
    /// The rule whose minimum puts the end off, if one does.
    pub put_off_by: Option<&'a Rule>,
}

/// What all rules together say of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook<'a> {
    /// Rule by rule, those that are for it.
    pub applied: Vec<Applied<'a>>,
    /// It must be kept until then. The latest of all minimums.
    pub minimum: Option<Bound<'a>>,
    /// From then on it is readable for its legal purpose only.
    pub restricted: Option<Bound<'a>>,
    /// When it ends: at the earliest of all ends, and never before the minimum. `None` while no rule has begun, or while one with
    /// a minimum has not.
    pub end: Option<End<'a>>,
}

/// Where a record stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// In use.
    Kept,
    /// Readable for its legal purpose only.
    Restricted,
    /// Its time is over.
    Due,
}

/// Why a record's own end is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside<'a> {
    /// Before this minimum.
    Early(Bound<'a>),
    /// After this end.
    Late(Bound<'a>),
}

/// The days at places of a value that was walked through for them, in a zone: once for each, whatever number of rules counts from it.
pub(super) type Found<'a> = Vec<(&'a Pointer, &'a Zone, Option<Date>)>;

impl Rule {
    /// The day it counts from; `None` if its field is not there, or no day, and while its event is not reported.
    pub(super) fn starts<'a>(&'a self, facts: &Facts<'_>, zone: &'a Zone, found: &mut Found<'a>) -> Option<Date> {
        match &self.from {
            Event::Created => Some(zone.day_of(facts.created_at)),
            Event::Modified => Some(zone.day_of(facts.modified_at)),
            Event::Field(pointer) => {
                if let Some((.., day)) = found.iter().find(|(known, of, _)| *known == pointer && *of == zone) {
                    return *day;
                }
                let day = day_at(facts.value?, pointer, zone);
                found.push((pointer, zone, day));
                day
            }
            Event::Reported(name) => facts.events.day(name.as_str(), zone),
            Event::SubjectEnd => facts.events.day(SUBJECT_END, zone),
            // No policy has such a rule.
            Event::TenantEnd => None,
        }
    }

    /// The day its minimum counts from, of one that counts from `from`: of an event the latest day that it had since the record was
    /// written, also where that was taken back and it waits again. So whoever corrects a report brings the minimum of nothing forward.
    pub(super) fn binds_from(&self, from: Option<Date>, facts: &Facts<'_>, zone: &Zone) -> Option<Date> {
        from.max(self.from.reported().and_then(|event| facts.events.latest_day(event, zone, facts.reports_seen)))
    }
}

/// A day in a JSON value: `2026-01-31`, or the day in the zone of a time of RFC 3339. Years 1 to 9000: later ones would leave no
/// room for a period.
fn day_at(value: &[u8], pointer: &Pointer, zone: &Zone) -> Option<Date> {
    let text = pointer.text_in(value)?;
    let day = if text.len() == 10 { text.parse().ok()? } else { zone.day_of(Timestamp::parse_rfc3339(&text)?) };
    (1..=9_000).contains(&day.year()).then_some(day)
}

impl Schedule {
    /// What the rules say of a record with these facts.
    #[must_use]
    pub fn outlook<'a>(&'a self, facts: &Facts<'_>) -> Outlook<'a> {
        let mut found = Found::new();
        let rules = self.rules.iter().filter(|rule| rule.is_for(facts.category));
        let applied: Vec<Applied<'a>> = rules.map(|rule| self.apply(rule, facts, &mut found)).collect();
        let bound = |applied: &Applied<'a>, at: Option<Timestamp>| at.map(|at| Bound { at, rule: applied.rule });
        let minimum = applied.iter().filter_map(|one| bound(one, one.minimum_until)).max_by_key(|bound| (bound.at, bound.rule.mode()));
        let end = Self::end(&applied, minimum, facts.own_end);
        let restricting = applied.iter().filter(|one| matches!(one.rule.then, Then::Restrict(_)));
        let restricted = restricting.filter_map(|one| bound(one, one.maximum_at)).min_by_key(|bound| bound.at);
        let restricted = restricted.filter(|bound| end.is_none_or(|end| bound.at < end.at));
        Outlook { applied, minimum, restricted, end }
    }

    fn apply<'a>(&'a self, rule: &'a Rule, facts: &Facts<'_>, found: &mut Found<'a>) -> Applied<'a> {
        let from = rule.starts(facts, &self.time_zone, found);
        let binds_from = rule.binds_from(from, facts, &self.time_zone);
        let over = |period: super::Period, from: Option<Date>| from.map(|day| self.time_zone.end_of(period.last_day(day)));
        Applied {
            rule,
            from,
            minimum_until: rule.minimum.as_ref().and_then(|minimum| over(minimum.period, binds_from)),
            maximum_at: over(rule.maximum, from),
            end_at: over(rule.end(), from),
        }
    }

    fn end<'a>(applied: &[Applied<'a>], minimum: Option<Bound<'a>>, own: Option<Timestamp>) -> Option<End<'a>> {
        // What a law may ask for is not known yet: nothing ends before it is.
        if applied.iter().any(|one| one.from.is_none() && one.rule.minimum.is_some()) {
            return None;
        }
        let by_rule = applied.iter().filter_map(|one| one.end_at.map(|at| (at, Some(one.rule))));
        let (at, rule) = by_rule.chain(own.map(|at| (at, None))).min_by_key(|(at, _)| *at)?;
        let put_off = minimum.filter(|minimum| minimum.at > at);
        Some(End { at: put_off.map_or(at, |minimum| minimum.at), rule, put_off_by: put_off.map(|minimum| minimum.rule) })
    }

    /// Whether a record's own end lies within the rules: not before the latest minimum, not after the earliest end that no
    /// minimum puts off.
    ///
    /// # Errors
    /// [`Outside`] names the rule and its moment.
    pub fn admits<'a>(&'a self, facts: &Facts<'_>) -> Result<(), Outside<'a>> {
        self.outlook(&Facts { own_end: None, ..*facts }).admits(facts.own_end)
    }
}

impl<'a> Outlook<'a> {
    /// Whether an own end lies within the rules, of an outlook without one.
    ///
    /// # Errors
    /// [`Outside`] names the rule and its moment.
    pub fn admits(&self, own: Option<Timestamp>) -> Result<(), Outside<'a>> {
        let Some(own) = own else { return Ok(()) };
        if let Some(minimum) = self.minimum.filter(|minimum| own < minimum.at) {
            return Err(Outside::Early(minimum));
        }
        match self.end {
            Some(End { at, rule: Some(rule), .. }) if own > at => Err(Outside::Late(Bound { at, rule })),
            Some(_) | None => Ok(()),
        }
    }

    /// The end of the record if it has this one of its own, of an outlook without one.
    #[must_use]
    pub fn end_with(&self, own: Option<Timestamp>) -> Option<End<'a>> {
        Schedule::end(&self.applied, self.minimum, own)
    }

    /// Where the record stands at `now`.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> Standing {
        if self.end.is_some_and(|end| end.at <= now) {
            Standing::Due
        } else if self.restricted.is_some_and(|restricted| restricted.at <= now) {
            Standing::Restricted
        } else {
            Standing::Kept
        }
    }

    /// The legal minimum that stands longest, met or not: one that waits for its date, if there is one.
    #[must_use]
    pub fn law(&self) -> Option<Law> {
        let waiting = self.applied.iter().filter(|one| one.from.is_none() && one.rule.minimum.is_some());
        Law::of(waiting.map(|one| one.rule), self.minimum.map(|bound| (bound.at, bound.rule)))
    }

    /// When the last of those minimums is met that nobody shortens.
    #[must_use]
    pub fn firm_until(&self) -> Option<Timestamp> {
        let firm = self.applied.iter().filter(|one| one.rule.mode() == Mode::Compliance);
        firm.filter_map(|one| one.minimum_until).max()
    }

    /// Whether one of the rules counts from a date that is somebody's: in the value, or of an event.
    #[must_use]
    pub fn counts_from_dates(&self) -> bool {
        self.applied.iter().any(|one| matches!(one.rule.from, Event::Field(_)) || one.rule.from.reported().is_some())
    }

    /// The first rule that waits for a date which the value should have.
    #[must_use]
    pub fn lacks_date(&self) -> Option<&Rule> {
        self.applied.iter().find(|one| one.from.is_none() && matches!(one.rule.from, Event::Field(_))).map(|one| one.rule)
    }

    /// The first rule that counts from what is reported of a person.
    #[must_use]
    pub fn by_event(&self) -> Option<&Rule> {
        self.applied.iter().find(|one| one.rule.from.reported().is_some()).map(|one| one.rule)
    }

    /// The first rule that waits for what it counts from.
    #[must_use]
    pub fn waiting(&self) -> Option<&Rule> {
        self.applied.iter().find(|one| one.from.is_none()).map(|one| one.rule)
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests that add small numbers")]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::{
        ShredUnit,
        retention::{EventDate, EventName, Retention, events::NO_EVENTS, pointer::WALKS},
    };

    fn schedule(zone: &str, rules: &Value) -> Schedule {
        let read = serde_json::from_value(json!({"time_zone": zone, "rules": rules})).unwrap();
        let Retention::Rules(schedule) = read else { panic!("{read:?}") };
        schedule
    }

    fn time(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    fn facts(created: &str) -> Facts<'static> {
        let (created_at, modified_at) = (time(created), time(created));
        Facts { created_at, modified_at, own_end: None, category: None, value: None, events: &NO_EVENTS, reports_seen: 0 }
    }

    #[test]
    fn a_period_is_over_when_its_last_day_is_in_the_zone_of_the_rules() {
        let seven = |zone: &str| schedule(zone, &json!([{"name": "a", "from": "created", "maximum": "7y", "then": "delete"}]));
        for (zone, created, end) in [
            // The evening of New Year's Eve in California is the morning of the new year in Europe.
            ("America/Los_Angeles", "2020-01-01T06:00:00Z", "2027-01-01T08:00:00Z"),
            ("Europe/Berlin", "2020-01-01T06:00:00Z", "2027-01-01T23:00:00Z"),
            ("UTC", "2020-01-01T06:00:00Z", "2027-01-02T00:00:00Z"),
            ("UTC", "2020-02-29T23:59:59.999Z", "2027-03-01T00:00:00Z"),
            // The last day ends by summer time, whatever the first began by.
            ("America/Los_Angeles", "2020-01-15T12:00:00-08:00", "2027-01-16T00:00:00-08:00"),
            ("America/Los_Angeles", "2019-03-14T12:00:00-07:00", "2026-03-15T00:00:00-07:00"),
            // The day on which clocks went forward, and that on which they went back.
            ("America/Los_Angeles", "2019-03-08T23:30:00-08:00", "2026-03-09T00:00:00-07:00"),
            ("America/Los_Angeles", "2019-11-01T00:10:00-07:00", "2026-11-02T00:00:00-08:00"),
        ] {
            let rules = seven(zone);
            let outlook = rules.outlook(&facts(created));
            let end = time(end);
            assert_eq!(outlook.end.map(|end| end.at), Some(end), "{created} in {zone}");
            assert_eq!(outlook.standing(Timestamp(end.0 - 1)), Standing::Kept);
            assert_eq!(outlook.standing(end), Standing::Due);
        }
    }

    /// What may not be destroyed on purpose: until when, and by which law; longest of all while that is not known.
    #[test]
    fn the_law_is_that_of_the_longest_minimum_or_of_one_that_waits() {
        let rule = |name: &str, from: Value, minimum: &str| json!({"name": name, "from": from, "minimum": {"period": minimum, "basis": format!("law {name}")}, "maximum": "9y", "then": "delete"});
        let rules = schedule(
            "UTC",
            &json!([
                {"name": "idle", "from": "created", "maximum": "9y", "then": "delete"},
                rule("short", json!("created"), "1y"),
                rule("dated", json!({"field": "/date"}), "2y"),
            ]),
        );
        let law = |value: &'static [u8]| {
            let law = rules.outlook(&Facts { value: Some(value), ..facts("2024-03-01T10:00:00Z") }).law().unwrap();
            (law.rule.as_str().to_owned(), law.basis.clone(), law.until, law.known)
        };
        let told = |rule: &str, until: Option<&str>, known: Option<&str>| {
            (rule.to_owned(), format!("law {rule}"), until.map(time), known.map(time))
        };
        assert_eq!(law(br#"{"date": "2024-03-01"}"#), told("dated", Some("2026-03-02T00:00:00Z"), None));
        assert_eq!(law(br#"{"date": "2020-03-01"}"#), told("short", Some("2025-03-02T00:00:00Z"), None));
        assert_eq!(law(b"{}"), told("dated", None, Some("2025-03-02T00:00:00Z")));
        let none = schedule("UTC", &json!([{"name": "idle", "from": "created", "maximum": "1y", "then": "delete"}]));
        assert_eq!(none.outlook(&facts("2024-03-01T10:00:00Z")).law(), None);
    }

    /// What waits for a report is kept; the report gives it its end, a later one another, and none takes it back.
    #[test]
    fn a_rule_counts_from_what_was_reported_last_and_its_minimum_from_the_latest_of_all() {
        let rules = schedule(
            "America/New_York",
            &json!([
                {"name": "contract", "from": {"event": "contract-ended"}, "minimum": {"period": "4y", "basis": "law"}, "maximum": "4y", "then": "delete"},
                {"name": "left", "from": "subject-end", "maximum": "30d", "then": "delete"},
            ]),
        );
        let mut events = Events::default();
        let mut report = |name: &str, at: Option<&str>, now: &str| {
            let at = at.map(|at| EventDate::parse(at).unwrap());
            assert!(events.report(&EventName::parse(name).unwrap(), at, (0, time(now))), "{name} {at:?}");
            events.clone()
        };
        let ends = |events: &Events| {
            let outlook = rules.outlook(&Facts { events, ..facts("2024-01-10T10:00:00Z") });
            (outlook.end.map(|end| end.at), outlook.law().unwrap().until, outlook.waiting().map(|rule| rule.name.as_str().to_owned()))
        };
        let at = |text: &str| Some(time(text));
        assert_eq!(ends(&NO_EVENTS), (None, None, Some("contract".into())));
        let left = report("subject-end", Some("2025-05-01"), "2025-05-02T00:00:00Z");
        assert_eq!(ends(&left), (None, None, Some("contract".into())), "a law whose date is not known keeps what another rule would end");
        // The evening in New York, by whose days it counts.
        let both = report("contract-ended", Some("2025-05-01T01:00:00Z"), "2025-05-03T00:00:00Z");
        let four = at("2029-05-01T00:00:00-04:00");
        assert_eq!(ends(&both), (four, four, None));
        let corrected = report("contract-ended", Some("2021-01-01"), "2025-06-01T00:00:00Z");
        assert_eq!(ends(&corrected), (four, four, None), "no minimum of what was there comes forward");
        // Which of them stood when it was written its number tells, and no clock.
        for (seen, until) in [(2, "2029-05-01T00:00:00-04:00"), (3, "2025-01-02T00:00:00-05:00")] {
            let written_since = Facts { events: &corrected, reports_seen: seen, ..facts("2024-01-10T10:00:00Z") };
            assert_eq!(rules.outlook(&written_since).minimum.unwrap().at, time(until), "{seen}");
        }
        let back = report("contract-ended", None, "2025-08-01T00:00:00Z");
        assert_eq!(ends(&back), (None, None, Some("contract".into())), "who comes back has ended nothing");
        assert!(rules.outlook(&facts("2024-01-10T10:00:00Z")).counts_from_dates());
        assert_eq!(rules.outlook(&facts("2024-01-10T10:00:00Z")).lacks_date(), None);
    }

    #[test]
    fn the_first_end_counts_and_a_minimum_puts_it_off() {
        fn of<'a>(own_end: Option<&str>, value: Option<&'a [u8]>) -> Facts<'a> {
            Facts { own_end: own_end.map(time), value, ..facts("2024-03-01T10:00:00Z") }
        }
        let rules = schedule(
            "UTC",
            &json!([
                {"name": "tax", "from": {"field": "/date"}, "minimum": {"period": "4y", "basis": "law"}, "maximum": "5y", "then": "shred"},
                {"name": "idle", "from": "modified", "maximum": "1y", "then": "delete"},
            ]),
        );
        let value = br#"{"date": "2024-02-29"}"#;
        let named = |rule: Option<&Rule>| rule.map(|rule| rule.name.as_str().to_owned());

        let facts = of(None, Some(value));
        let end = rules.outlook(&facts).end.unwrap();
        assert_eq!(
            (end.at, named(end.rule), named(end.put_off_by)),
            (time("2028-03-01T00:00:00Z"), Some("idle".into()), Some("tax".into()))
        );
        let facts = of(Some("2028-06-01T00:00:00Z"), Some(value));
        assert_eq!(rules.outlook(&facts).end.unwrap().rule.unwrap().name.as_str(), "idle", "the own end is later");
        // Without its date the law's time is not known: nothing ends.
        for none in
            [None, Some("{}"), Some("no json"), Some(r#"{"date": "soon"}"#), Some(r#"{"date": 7}"#), Some(r#"{"date": "9001-01-01"}"#)]
        {
            let facts = of(Some("2024-06-01T00:00:00Z"), none.map(str::as_bytes));
            let outlook = rules.outlook(&facts);
            assert_eq!((outlook.end, outlook.standing(time("2999-01-01T00:00:00Z"))), (None, Standing::Kept), "{none:?}");
            assert_eq!(outlook.waiting().map(|rule| rule.name.as_str()), Some("tax"));
        }
        // A time of RFC 3339 counts by its day in the zone.
        let late = br#"{"date": "2024-02-28T23:30:00-01:00"}"#;
        assert_eq!(rules.outlook(&of(None, Some(late))).minimum.unwrap().at, time("2028-03-01T00:00:00Z"));
    }

    #[test]
    fn what_is_restricted_is_kept_for_its_legal_purpose_until_its_end() {
        let rules = json!([{"name": "invoices", "from": "created", "minimum": {"period": "7y", "basis": "law"}, "maximum": "2y",
            "then": {"restrict": "7y"}}]);
        let rules = schedule("America/New_York", &rules);
        let outlook = rules.outlook(&facts("2020-05-05T12:00:00Z"));
        for (at, standing) in [
            ("2022-05-06T03:59:59Z", Standing::Kept),
            ("2022-05-06T04:00:00Z", Standing::Restricted),
            ("2027-05-06T03:59:59Z", Standing::Restricted),
            ("2027-05-06T04:00:00Z", Standing::Due),
        ] {
            assert_eq!(outlook.standing(time(at)), standing, "{at}");
        }
    }

    #[test]
    fn a_value_is_walked_once_for_each_place_however_many_rules_count_from_it() {
        let of = |count: usize| {
            let rule = |at| json!({"name": format!("r{at}"), "from": {"field": "/date"}, "maximum": "1y", "then": "delete"});
            schedule("UTC", &Value::Array((0..count).map(rule).collect()))
        };
        let value = json!({"a": ["some text"], "date": "2024-01-10"}).to_string();
        let facts = Facts { value: Some(value.as_bytes()), ..facts("2024-01-10T10:00:00Z") };
        let walks = |rules: &Schedule| {
            let before = WALKS.get();
            assert_eq!(rules.outlook(&facts).end.unwrap().at, time("2025-01-11T00:00:00Z"));
            WALKS.get() - before
        };
        assert_eq!((walks(&of(1)), walks(&of(64))), (1, 1));
    }

    #[test]
    fn a_record_of_a_category_goes_by_its_rules_and_one_of_none_by_all() {
        let rules = schedule(
            "UTC",
            &json!([
                {"name": "tax", "categories": ["tax"], "from": "created", "minimum": {"period": "4y", "basis": "law"}, "maximum": "4y", "then": "delete"},
                {"name": "contact", "categories": ["contact"], "from": "modified", "maximum": "1y", "then": "delete"},
            ]),
        );
        let end = |category| rules.outlook(&Facts { category, ..facts("2024-01-10T10:00:00Z") }).end.unwrap();
        assert_eq!(end(Some("tax")).at, time("2028-01-11T00:00:00Z"));
        assert_eq!(end(Some("contact")).at, time("2025-01-11T00:00:00Z"));
        assert_eq!((end(None).at, end(None).put_off_by.unwrap().name.as_str()), (time("2028-01-11T00:00:00Z"), "tax"));
    }

    #[test]
    fn an_own_end_lies_within_the_rules_to_the_millisecond() {
        let rules =
            json!([{"name": "a", "from": "created", "minimum": {"period": "1m", "basis": "law"}, "maximum": "3m", "then": "delete"}]);
        let rules = schedule("UTC", &rules);
        let (least, most) = (time("2023-03-01T00:00:00Z"), time("2023-05-01T00:00:00Z"));
        for (own, early, late) in [(least.0 - 1, true, false), (least.0, false, false), (most.0, false, false), (most.0 + 1, false, true)] {
            let admitted = rules.admits(&Facts { own_end: Some(Timestamp(own)), ..facts("2023-01-31T05:00:00Z") });
            match admitted {
                Err(Outside::Early(bound)) => assert!(early && bound.at == least && bound.rule.name.as_str() == "a"),
                Err(Outside::Late(bound)) => assert!(late && bound.at == most && bound.rule.name.as_str() == "a"),
                Ok(()) => assert!(!early && !late, "{own}"),
            }
        }
    }

    fn any_period() -> impl Strategy<Value = String> {
        prop_oneof![
            (1_u32..=30).prop_map(|count| format!("{count}y")),
            (1_u32..=60).prop_map(|count| format!("{count}m")),
            (1_u32..=60).prop_map(|count| format!("{count}w")),
            (1_u32..=800).prop_map(|count| format!("{count}d")),
        ]
    }

    prop_compose! {
        fn any_rule()(
            from in proptest::sample::select(vec![json!("created"), json!("modified"), json!({"field": "/date"}), json!({"field": "/other"})]),
            minimum in proptest::option::of(any_period()),
            maximum in any_period(),
            then in prop_oneof![Just(json!("delete")), Just(json!("shred")), any_period().prop_map(|until| json!({"restrict": until}))],
            categories in proptest::sample::subsequence(vec!["x", "y"], 0..=2),
        ) -> Value {
            let mut rule = json!({"from": from, "maximum": maximum, "then": then});
            if !categories.is_empty() {
                rule["categories"] = json!(categories);
            }
            if let Some(period) = minimum {
                rule["minimum"] = json!({"period": period, "basis": "law"});
            }
            rule
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_024, max_global_rejects: 1_000_000, ..ProptestConfig::default() })]

        /// Over sixty years of events, in zones that change their clocks in every way.
        #[test]
        fn no_record_ends_before_any_of_its_minimums_or_later_than_its_first_end(
            zone in proptest::sample::select(vec!["UTC", "America/Los_Angeles", "America/St_Johns", "America/Sao_Paulo", "Europe/Berlin",
                "Australia/Lord_Howe", "Pacific/Apia"]),
            rules in proptest::collection::vec(any_rule(), 1..5),
            created in 0_i64..1_900_000_000_000,
            idle in 0_i64..200_000_000_000,
            date in proptest::option::of(("19[7-9][0-9]|20[0-3][0-9]", 1_u8..=12, 1_u8..=28)),
            own in proptest::option::of(0_i64..1_500_000_000_000),
            category in proptest::option::of(proptest::sample::select(vec!["x", "y"])),
        ) {
            let named = rules.into_iter().enumerate().map(|(at, mut rule)| {
                rule["name"] = json!(format!("r{at}"));
                rule
            });
            let rules = schedule(zone, &Value::Array(named.collect()));
            // Only what an owner could store.
            prop_assume!(Retention::Rules(rules.clone()).validate(&["x".into(), "y".into()], ShredUnit::Record).is_ok());
            let value = date.map(|(year, month, day)| json!({"date": format!("{year}-{month:02}-{day:02}")}).to_string());
            let facts = Facts {
                created_at: Timestamp(created),
                modified_at: Timestamp(created + idle),
                own_end: own.map(|after| Timestamp(created + idle + after)),
                category,
                value: value.as_deref().map(str::as_bytes),
                events: &NO_EVENTS,
                reports_seen: 0,
            };
            let outlook = rules.outlook(&facts);
            for one in &outlook.applied {
                prop_assert!(one.minimum_until <= one.end_at, "{one:?}");
                prop_assert!(one.maximum_at <= one.end_at, "{one:?}");
            }
            let Some(end) = outlook.end else {
                let blocks = outlook.applied.iter().any(|one| one.from.is_none() && one.rule.minimum.is_some());
                let idle = outlook.applied.iter().all(|one| one.from.is_none()) && own.is_none();
                return if blocks || idle { Ok(()) } else { Err(TestCaseError::fail("no end")) };
            };
            let minimum = outlook.applied.iter().filter_map(|one| one.minimum_until).max();
            prop_assert!(minimum.is_none_or(|minimum| end.at >= minimum));
            let first = outlook.applied.iter().filter_map(|one| one.end_at).chain(facts.own_end).min().unwrap();
            prop_assert_eq!(end.at, minimum.map_or(first, |minimum| minimum.max(first)));
            prop_assert_eq!(end.put_off_by.is_some(), end.at > first);
            prop_assert!(outlook.restricted.is_none_or(|restricted| restricted.at < end.at));
            // An own end that is admitted changes nothing but to bring the end forward, to exactly itself.
            let without = rules.outlook(&Facts { own_end: None, ..facts });
            if rules.admits(&facts).is_ok() && let Some(own) = facts.own_end {
                let end = rules.outlook(&facts).end.unwrap().at;
                prop_assert_eq!(end, without.end.map_or(own, |end| end.at.min(own)));
            }
        }

        #[test]
        fn a_later_event_never_brings_an_end_forward(
            zone in proptest::sample::select(vec!["UTC", "America/St_Johns", "America/Sao_Paulo", "Pacific/Apia"]),
            maximum in any_period(),
            first in 0_i64..1_900_000_000_000,
            later in prop_oneof![0_i64..7_200_000, 0_i64..100_000_000_000],
        ) {
            let rules = schedule(zone, &json!([{"name": "a", "from": "modified", "maximum": maximum, "then": "delete"}]));
            let at = |modified_at| {
                let (created_at, modified_at) = (Timestamp(0), Timestamp(modified_at));
                Facts { created_at, modified_at, own_end: None, category: None, value: None, events: &NO_EVENTS, reports_seen: 0 }
            };
            let end = |at| rules.outlook(&at).end.unwrap().at;
            prop_assert!(end(at(first)) <= end(at(first + later)));
            prop_assert!(end(at(first)).0 > first);
        }
    }
}

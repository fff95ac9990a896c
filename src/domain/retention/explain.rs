//! What is told about one record's retention: why it is kept, until when, by which rule, and what is to happen then.

use std::time::Duration;

use serde::Serialize;

use super::{
    Event, Facts, Kept, Law, Mode, Retention, Rule, RuleName, Schedule, Then,
    evaluate::{Applied, Bound, End, Outlook, Standing},
    events::{SUBJECT_END, TENANT_END},
};
use crate::domain::{ShredUnit, Timestamp};

/// An explanation, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// In one sentence.
    pub why: String,
    /// `kept`, `marked` (it is going to be destroyed), `restricted` (for its legal purpose alone) or `due` (its time is over).
    pub state: &'static str,
    /// `until-deleted` or `rules`.
    pub retention: &'static str,
    /// Whose days count; `None` without rules.
    pub time_zone: Option<String>,
    /// The legal minimum that ends last.
    pub minimum: Option<TheMinimum>,
    /// One that would keep it longer, had nobody bypassed it.
    pub bypassed: Option<TheBypassed>,
    /// From when on it is for its legal purpose alone.
    pub restricted: Option<TheBound>,
    /// The end; `None` where there is none, or it is not known yet.
    pub end: Option<TheEnd>,
    /// When the store is to carry out the end, or to look again for one; `None` where nothing is written down.
    pub scheduled_at: Option<Timestamp>,
    /// From when on it is marked; `None` where its rule does not say so, or nothing is written down.
    pub marked_at: Option<Timestamp>,
    /// How long before its end the rule that ends it marks it.
    #[serde(skip)]
    marks_for: Duration,
    /// The rules that are for this record.
    pub rules: Vec<TheRule>,
}

/// A legal minimum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TheMinimum {
    /// The first moment at which it is met.
    pub until: Timestamp,
    /// By which rule.
    pub rule: String,
    /// The law that it cites.
    pub basis: String,
    /// Who may shorten it for what is there.
    pub mode: Mode,
}

/// A legal minimum that was bypassed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TheBypassed {
    /// When it was.
    pub at: Timestamp,
    /// Until when it would keep the record; `None` where it would wait for a date.
    pub until: Option<Timestamp>,
    /// By which rule.
    pub rule: String,
    /// The law that it cites.
    pub basis: String,
}

/// A moment and its rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TheBound {
    /// When.
    pub at: Timestamp,
    /// By which rule.
    pub rule: String,
}

/// An end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TheEnd {
    /// From this moment on nothing may be left.
    pub at: Timestamp,
    /// By which rule; `None`: by the record's own end.
    pub rule: Option<String>,
    /// The rule whose minimum puts the end off.
    pub put_off_by: Option<String>,
    /// `delete`, or `shred`: it has a key of its own, which is destroyed.
    pub then: &'static str,
}

/// One rule, applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TheRule {
    /// Its name.
    pub rule: String,
    /// `created`, `modified`, the JSON pointer of a field, `event:` with the name of what is to be reported, or `subject-end`.
    pub from: String,
    /// Day zero in the zone; `None` while it is not known.
    pub day: Option<String>,
    /// The first moment at which its minimum is met.
    pub minimum_until: Option<Timestamp>,
    /// The first moment after its maximum.
    pub maximum_at: Option<Timestamp>,
    /// The first moment at which nothing may be left.
    pub end_at: Option<Timestamp>,
    /// What is to happen at the maximum: `delete`, `shred` or `restrict`.
    pub then: &'static str,
}

/// Explains a record with these facts under a policy's retention, as of `now`.
#[must_use]
pub fn explain(retention: &Retention, unit: ShredUnit, facts: &Facts<'_>, now: Timestamp) -> Explanation {
    match retention {
        Retention::Rules(schedule) => by_rules(schedule, unit, facts, now),
        Retention::UntilDeleted => without_rules("its collection has no rules", unit, facts, now),
        Retention::Stated(_) => {
            without_rules("its collection states a duration from before there were rules, which has no effect", unit, facts, now)
        }
    }
}

/// What a deletion comes to: where a record has a key of its own, that is destroyed.
const fn destruction(unit: ShredUnit) -> &'static str {
    match unit {
        ShredUnit::Record => "shred",
        ShredUnit::Collection | ShredUnit::Subject => "delete",
    }
}

impl Explanation {
    /// Adds a law that keeps the record for longer than the rules of today say: they were others when it was written, or its earlier
    /// version has a longer minimum.
    #[must_use]
    pub fn under_law(mut self, law: Option<&Law>) -> Self {
        let Some(Law { rule, basis, mode, until: Some(until), .. }) = law else { return self };
        if self.minimum.as_ref().is_some_and(|known| known.until >= *until) {
            return self;
        }
        let rule = rule.as_str().to_owned();
        self.why = format!(
            "must be kept until {}, by rule `{rule}` ({basis}) as it was for it before; otherwise: {}",
            until.to_rfc3339(),
            self.why
        );
        self.minimum = Some(TheMinimum { until: *until, rule: rule.clone(), basis: basis.clone(), mode: *mode });
        if let Some(end) = self.end.as_mut().filter(|end| end.at < *until) {
            end.at = *until;
            end.put_off_by = Some(rule);
            self.state = if self.state == "due" { "kept" } else { self.state };
        }
        self
    }

    /// Adds one that would keep the record longer, and when somebody has bypassed it.
    #[must_use]
    pub fn had_nobody_bypassed(mut self, law: Option<(&Law, Timestamp)>) -> Self {
        let Some((Law { rule, basis, until, .. }, at)) = law else { return self };
        let rule = rule.as_str().to_owned();
        let when = until.map_or_else(|| "for longer".to_owned(), |until| format!("until {}", until.to_rfc3339()));
        self.why = format!("{}; rule `{rule}` ({basis}) would keep it {when}, and was bypassed at {}", self.why, at.to_rfc3339());
        self.bypassed = Some(TheBypassed { at, until: *until, rule, basis: basis.clone() });
        self
    }

    /// The same of a record that an order to shred has left for its legal purpose alone, until `end`.
    #[must_use]
    pub fn restricted_by_order(mut self, kept: &Kept, unit: ShredUnit, end: Option<Timestamp>, now: Timestamp) -> Self {
        let rule = kept.rule.as_str().to_owned();
        let until = match end {
            Some(end) => format!("until {}, by rule `{rule}` ({})", end.to_rfc3339(), kept.basis),
            None => format!("while rule `{rule}` ({}) waits for the date that it counts from", kept.basis),
        };
        self.why = format!("kept for its legal purpose alone {until}: whom it is about was shredded");
        self.state = if end.is_some_and(|end| end <= now) { "due" } else { "restricted" };
        self.marks_for = Duration::ZERO;
        self.end = end.map(|at| TheEnd { at, rule: Some(rule), put_off_by: None, then: destruction(unit) });
        self
    }

    /// The same of a record that a rule has restricted: it stays so where others that took the rule's place say nothing of it.
    #[must_use]
    pub fn restricted_before(mut self, rule: &RuleName) -> Self {
        if self.state == "kept" {
            self.state = "restricted";
            self.why = format!(
                "kept for its legal purpose alone: rule `{}` restricted it before other rules took its place; otherwise: {}",
                rule.as_str(),
                self.why
            );
        }
        self
    }

    /// The same of a record that the end of its tenant has left for a law alone: it goes when the minimum ends.
    #[must_use]
    pub fn left_by_end(mut self, law: &Law, unit: ShredUnit) -> Self {
        let Law { rule, basis, mode, until: Some(until), .. } = law else { return self };
        let rule = rule.as_str().to_owned();
        self.why = format!("legal minimum: its tenant has ended, and rule `{rule}` ({basis}) keeps it until {}", until.to_rfc3339());
        self.state = "restricted";
        self.marks_for = Duration::ZERO;
        self.minimum = Some(TheMinimum { until: *until, rule: rule.clone(), basis: basis.clone(), mode: *mode });
        self.end = Some(TheEnd { at: *until, rule: Some(rule), put_off_by: None, then: destruction(unit) });
        self
    }

    /// Adds when the store is to carry it out, `None` where it is not going to: it is written down when the record is.
    #[must_use]
    pub fn carried_out(mut self, at: Option<Timestamp>) -> Self {
        self.scheduled_at = at;
        let more = match (&self.end, at) {
            (Some(_), None) => {
                "; nothing is scheduled, for the record was stored before these rules: it ends by them once it is written again".to_owned()
            }
            (Some(end), Some(at)) if at > end.at => format!("; carried out at {}, as was written down when it was stored", at.to_rfc3339()),
            (Some(_) | None, _) => return self,
        };
        self.why.push_str(&more);
        self
    }

    /// Adds from when on it is marked, once it is told when it is carried out; it was last written at `modified_at`.
    #[must_use]
    pub fn marked(mut self, modified_at: Timestamp, now: Timestamp) -> Self {
        let (Some(end), Some(scheduled)) = (&self.end, self.scheduled_at) else { return self };
        if self.marks_for.is_zero() {
            return self;
        }
        let destroyed_at = end.at.max(scheduled);
        let marked_at = destroyed_at.less(self.marks_for).max(modified_at);
        self.marked_at = Some(marked_at);
        if marked_at <= now && now < destroyed_at && self.state != "restricted" {
            self.state = "marked";
            self.why = format!(
                "marked since {}: it is going to be destroyed at {}; {}",
                marked_at.to_rfc3339(),
                destroyed_at.to_rfc3339(),
                self.why
            );
        }
        self
    }
}

fn without_rules(because: &str, unit: ShredUnit, facts: &Facts<'_>, now: Timestamp) -> Explanation {
    let end = facts.own_end.map(|at| TheEnd { at, rule: None, put_off_by: None, then: destruction(unit) });
    let (state, why) = match facts.own_end {
        None => ("kept", format!("kept until somebody deletes or shreds it: {because}, and it has no end of its own")),
        Some(at) if at > now => ("kept", format!("may be kept until {}, its own end; {because}", at.to_rfc3339())),
        Some(at) => ("due", format!("its time is over since {}, its own end; {because}", at.to_rfc3339())),
    };
    let (restricted, minimum, bypassed) = (None, None, None);
    let rules = Vec::new();
    let (scheduled_at, marked_at, marks_for) = (None, None, Duration::ZERO);
    let retention = "until-deleted";
    Explanation { why, state, retention, time_zone: None, minimum, bypassed, restricted, end, scheduled_at, marked_at, marks_for, rules }
}

fn by_rules(schedule: &Schedule, unit: ShredUnit, facts: &Facts<'_>, now: Timestamp) -> Explanation {
    let outlook = schedule.outlook(facts);
    let state = match outlook.standing(now) {
        Standing::Kept => "kept",
        Standing::Restricted => "restricted",
        Standing::Due => "due",
    };
    Explanation {
        why: sentence(&outlook, now),
        state,
        retention: "rules",
        time_zone: Some(schedule.time_zone.name().to_owned()),
        minimum: outlook.minimum.map(|bound| TheMinimum {
            until: bound.at,
            rule: name(bound.rule),
            basis: basis(bound.rule).to_owned(),
            mode: bound.rule.mode(),
        }),
        bypassed: None,
        restricted: outlook.restricted.map(|Bound { at, rule }| TheBound { at, rule: name(rule) }),
        end: outlook.end.map(|end| TheEnd {
            at: end.at,
            rule: end.rule.map(name),
            put_off_by: end.put_off_by.map(name),
            then: destruction(unit),
        }),
        scheduled_at: None,
        marked_at: None,
        marks_for: outlook.end.and_then(|end| end.rule).map_or(Duration::ZERO, Rule::marks_for),
        rules: outlook.applied.iter().map(told).collect(),
    }
}

fn sentence(outlook: &Outlook<'_>, now: Timestamp) -> String {
    let by = |end: &End<'_>| end.put_off_by.or(end.rule).map_or("its own end".to_owned(), |rule| format!("by rule `{}`", name(rule)));
    let until = |end: &End<'_>| format!("until {}, {}", end.at.to_rfc3339(), by(end));
    let law = outlook.minimum.filter(|minimum| minimum.at > now);
    let law = law.map(|Bound { at, rule }| format!("must be kept until {}, by rule `{}` ({})", at.to_rfc3339(), name(rule), basis(rule)));
    match (outlook.standing(now), outlook.end, outlook.restricted, law) {
        (Standing::Due, Some(end), ..) => format!("its time is over since {}, {}", end.at.to_rfc3339(), by(&end)),
        (Standing::Restricted, Some(end), Some(since), law) => {
            let law = law.map_or_else(String::new, |law| format!("; {law}"));
            format!("kept for its legal purpose alone since {}, {}{law}", since.at.to_rfc3339(), until(&end))
        }
        (_, Some(end), _, Some(law)) if outlook.minimum.is_some_and(|minimum| minimum.at == end.at) => format!("{law}, and ends then"),
        (_, Some(end), _, Some(law)) => format!("{law}; may be kept {}", until(&end)),
        (_, Some(end), _, None) => format!("may be kept {}", until(&end)),
        (_, None, ..) => match outlook.waiting() {
            Some(rule) => match rule.from.reported() {
                Some(event) => format!("kept: rule `{}` waits until `{event}` is reported of whom it is about", name(rule)),
                None => format!("kept: rule `{}` waits for the date that it counts from", name(rule)),
            },
            None => "kept until somebody deletes or shreds it: no rule is for its category, and it has no end of its own".to_owned(),
        },
    }
}

fn name(rule: &Rule) -> String {
    rule.name.as_str().to_owned()
}

fn basis(rule: &Rule) -> &str {
    rule.basis()
}

fn told(applied: &Applied<'_>) -> TheRule {
    TheRule {
        rule: name(applied.rule),
        from: match &applied.rule.from {
            Event::Created => "created".to_owned(),
            Event::Modified => "modified".to_owned(),
            Event::Field(pointer) => pointer.as_str().to_owned(),
            Event::Reported(name) => format!("event:{}", name.as_str()),
            Event::SubjectEnd => SUBJECT_END.to_owned(),
            Event::TenantEnd => TENANT_END.to_owned(),
        },
        day: applied.from.map(|day| day.to_string()),
        minimum_until: applied.minimum_until,
        maximum_at: applied.maximum_at,
        end_at: applied.end_at,
        then: match applied.rule.then {
            Then::Delete => "delete",
            Then::Shred => "shred",
            Then::Restrict(_) => "restrict",
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::retention::{EventDate, EventName, Events, events::NO_EVENTS};

    fn time(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    fn facts(own_end: Option<&str>, value: Option<&'static str>) -> Facts<'static> {
        let created_at = time("2020-05-05T12:00:00Z");
        let (own_end, value) = (own_end.map(time), value.map(str::as_bytes));
        Facts { created_at, modified_at: created_at, own_end, category: None, value, events: &NO_EVENTS, reports_seen: 0 }
    }

    #[test]
    fn what_the_end_of_a_tenant_has_left_is_explained_by_the_law_that_keeps_it() {
        let (now, until) = (time("2024-01-01T00:00:00Z"), time("2025-01-01T00:00:00Z"));
        let rule = RuleName::parse("books").unwrap();
        let law = Law { rule, basis: "law 1".into(), mode: Mode::Governance, until: Some(until), known: None };
        let told = explain(&Retention::UntilDeleted, ShredUnit::Record, &facts(None, None), now);
        let told = told.left_by_end(&law, ShredUnit::Record).carried_out(law.until);
        assert_eq!(told.why, "legal minimum: its tenant has ended, and rule `books` (law 1) keeps it until 2025-01-01T00:00:00.000Z");
        assert_eq!((told.state, told.scheduled_at), ("restricted", Some(until)));
        assert_eq!(told.minimum.map(|minimum| (minimum.until, minimum.mode)), Some((until, Mode::Governance)));
        let end = told.end.unwrap();
        assert_eq!((end.at, end.rule.as_deref(), end.then), (until, Some("books"), "shred"));
    }

    #[test]
    fn without_rules_only_a_records_own_end_ends_it() {
        let now = time("2024-01-01T00:00:00Z");
        let told = explain(&Retention::UntilDeleted, ShredUnit::Subject, &facts(None, None), now);
        assert_eq!((told.state, told.retention, told.end), ("kept", "until-deleted", None));
        assert!(told.why.contains("until somebody deletes"), "{}", told.why);
        let told = explain(&Retention::Stated("P7Y".into()), ShredUnit::Subject, &facts(None, None), time("2999-01-01T00:00:00Z"));
        assert!(told.state == "kept" && told.why.contains("no effect"), "{}", told.why);
        for (end, state) in [("2024-01-01T00:00:00.001Z", "kept"), ("2024-01-01T00:00:00Z", "due")] {
            let told = explain(&Retention::UntilDeleted, ShredUnit::Subject, &facts(Some(end), None), now);
            assert_eq!((told.state, told.end.unwrap().rule), (state, None), "{end}");
        }
    }

    #[test]
    fn what_waits_for_a_report_says_for_which_and_what_was_reported_tells_the_day() {
        let rules = json!({"time_zone": "UTC", "rules": [
            {"name": "contract", "from": {"event": "contract-ended"}, "minimum": {"period": "4y", "basis": "law 1"}, "maximum": "4y", "then": "delete"},
            {"name": "left", "from": "subject-end", "maximum": "30d", "then": "delete"},
        ]});
        let retention: Retention = serde_json::from_value(rules).unwrap();
        let now = time("2021-01-01T00:00:00Z");
        let told = explain(&retention, ShredUnit::Subject, &facts(None, None), now);
        assert_eq!(told.why, "kept: rule `contract` waits until `contract-ended` is reported of whom it is about");
        let from: Vec<(&str, Option<&str>)> = told.rules.iter().map(|rule| (rule.from.as_str(), rule.day.as_deref())).collect();
        assert_eq!(from, [("event:contract-ended", None), ("subject-end", None)]);
        let mut events = Events::default();
        events.report(&EventName::parse("contract-ended").unwrap(), EventDate::parse("2020-12-31"), (1, now));
        let told = explain(&retention, ShredUnit::Subject, &Facts { events: &events, ..facts(None, None) }, now);
        assert_eq!((told.rules[0].day.as_deref(), told.minimum.unwrap().until), (Some("2020-12-31"), time("2025-01-01T00:00:00Z")));
    }

    #[test]
    fn a_record_is_marked_from_its_rules_delay_before_it_is_carried_out() {
        let retention = json!({"time_zone": "UTC", "rules": [
            {"name": "idle", "from": "created", "maximum": "90d", "then": "delete", "mark": "30d"},
            {"name": "tax", "from": "created", "minimum": {"period": "1d", "basis": "law"}, "maximum": "1y", "then": {"restrict": "2y"}, "mark": "7d"},
        ]});
        let retention: Retention = serde_json::from_value(retention).unwrap();
        let of = |own: Option<&str>, scheduled: Option<&str>, now: &str| {
            let facts = facts(own, None);
            let told = explain(&retention, ShredUnit::Subject, &facts, time(now)).carried_out(scheduled.map(time));
            let told = told.marked(facts.modified_at, time(now));
            (told.state, told.marked_at.map(Timestamp::to_rfc3339), told.why.starts_with("marked since"))
        };
        let end = "2020-08-04T00:00:00Z";
        let marked_at = Some("2020-07-05T00:00:00.000Z".to_owned());
        assert_eq!(of(None, Some(end), "2020-07-04T23:59:59.999Z"), ("kept", marked_at.clone(), false));
        assert_eq!(of(None, Some(end), "2020-07-05T00:00:00Z"), ("marked", marked_at.clone(), true));
        assert_eq!(of(None, Some(end), "2020-08-03T23:59:59.999Z"), ("marked", marked_at.clone(), true));
        assert_eq!(of(None, Some(end), end), ("due", marked_at, false));
        // One that was written down with a later end is marked before that, although its rules say that its time is over.
        let later = ("due", Some("2020-09-01T00:00:00.000Z".to_owned()), false);
        assert_eq!(of(None, Some("2020-10-01T00:00:00Z"), "2020-08-31T00:00:00Z"), later);
        assert_eq!(of(None, Some("2020-10-01T00:00:00Z"), "2020-09-01T00:00:00Z"), ("marked", later.1, true));
        // What is to end soon when it is written is marked from then on.
        let dated: Retention = serde_json::from_value(json!({"time_zone": "UTC", "rules": [
            {"name": "dated", "from": {"field": "/date"}, "maximum": "20d", "then": "delete", "mark": "20d"}]}))
        .unwrap();
        let (facts, now) = (facts(None, Some(r#"{"date": "2020-04-25"}"#)), time("2020-05-06T00:00:00Z"));
        let told =
            explain(&dated, ShredUnit::Subject, &facts, now).carried_out(Some(time("2020-05-16T00:00:00Z"))).marked(facts.modified_at, now);
        assert_eq!((told.state, told.marked_at), ("marked", Some(facts.modified_at)));
        // Its own end was somebody's word, and nothing that is not scheduled is destroyed.
        assert_eq!(of(Some("2020-07-01T00:00:00Z"), Some("2020-07-01T00:00:00Z"), "2020-06-30T00:00:00Z"), ("kept", None, false));
        assert_eq!(of(None, None, "2020-07-06T00:00:00Z"), ("kept", None, false));
    }

    /// HOLD-4: what applied is told: by which kind of minimum it is kept, and which would keep it had nobody bypassed it.
    #[test]
    fn a_minimum_that_was_bypassed_is_told_beside_the_one_that_keeps_the_record() {
        let retention: Retention = serde_json::from_value(json!({"time_zone": "UTC", "rules": [
            {"name": "books", "from": "created", "minimum": {"period": "1y", "basis": "law 1", "mode": "governance"}, "maximum": "2y",
                "then": "delete"}]}))
        .unwrap();
        let (facts, now) = (facts(None, None), time("2021-01-01T00:00:00Z"));
        let told = explain(&retention, ShredUnit::Subject, &facts, now);
        assert_eq!(told.minimum.as_ref().unwrap().mode, Mode::Governance);
        let rule = crate::domain::retention::RuleName::parse("old").unwrap();
        let law = |until| Law { rule: rule.clone(), basis: "law 2".into(), mode: Mode::Governance, until, known: None };
        for (until, said) in [
            (
                Some(time("2027-05-06T00:00:00Z")),
                "would keep it until 2027-05-06T00:00:00.000Z, and was bypassed at 2021-01-01T00:00:00.000Z",
            ),
            (None, "would keep it for longer, and was bypassed at 2021-01-01T00:00:00.000Z"),
        ] {
            let bypassed = told.clone().had_nobody_bypassed(Some((&law(until), now)));
            assert_eq!(bypassed.why, format!("{}; rule `old` (law 2) {said}", told.why));
            let expected = TheBypassed { at: now, until, rule: "old".into(), basis: "law 2".into() };
            assert_eq!((bypassed.bypassed, &bypassed.minimum), (Some(expected), &told.minimum));
        }
        assert_eq!(told.clone().had_nobody_bypassed(None), told);
        let under = told.under_law(Some(&Law { mode: Mode::Compliance, ..law(Some(time("2030-01-01T00:00:00Z"))) }));
        assert_eq!(under.minimum.unwrap().mode, Mode::Compliance);
    }

    #[test]
    fn the_sentence_names_the_rule_its_law_and_the_moment_at_every_stage() {
        let retention = json!({"time_zone": "America/New_York", "rules": [
            {"name": "invoices", "from": {"field": "/date"}, "minimum": {"period": "4y", "basis": "law 1"}, "maximum": "2y",
                "then": {"restrict": "7y"}},
            {"name": "idle", "from": "modified", "maximum": "6y", "then": "delete"},
        ]});
        let retention: Retention = serde_json::from_value(retention).unwrap();
        let dated = facts(None, Some(r#"{"date": "2020-02-29"}"#));
        let why = |now: &str, facts: &Facts<'_>| {
            let told = explain(&retention, ShredUnit::Subject, facts, time(now));
            (told.state, told.why)
        };
        let law = "must be kept until 2024-03-01T05:00:00.000Z, by rule `invoices` (law 1)";
        let end = "until 2026-05-06T04:00:00.000Z, by rule `idle`";
        assert_eq!(why("2021-01-01T00:00:00Z", &dated), ("kept", format!("{law}; may be kept {end}")));
        let since = format!("kept for its legal purpose alone since 2022-03-01T05:00:00.000Z, {end}");
        assert_eq!(why("2022-03-01T05:00:00Z", &dated), ("restricted", format!("{since}; {law}")));
        assert_eq!(why("2024-03-01T05:00:00Z", &dated), ("restricted", since));
        assert_eq!(why("2026-05-06T04:00:00Z", &dated), ("due", "its time is over since 2026-05-06T04:00:00.000Z, by rule `idle`".into()));
        // The record's own end, put off by the law.
        let own = Facts { own_end: Some(time("2023-01-01T00:00:00Z")), ..dated };
        assert_eq!(why("2021-01-01T00:00:00Z", &own), ("kept", format!("{law}, and ends then")));
        let told = explain(&retention, ShredUnit::Subject, &own, time("2021-01-01T00:00:00Z"));
        let end = told.end.unwrap();
        assert_eq!((end.rule, end.put_off_by.as_deref(), end.then), (None, Some("invoices"), "delete"));
        assert_eq!(told.minimum.unwrap().basis, "law 1");
        // A date that is not there.
        let (state, waits) = why("2999-01-01T00:00:00Z", &facts(None, Some("{}")));
        assert_eq!((state, waits.as_str()), ("kept", "kept: rule `invoices` waits for the date that it counts from"));
        let told = explain(&retention, ShredUnit::Subject, &facts(None, None), time("2021-01-01T00:00:00Z"));
        assert_eq!((told.rules[0].day.as_deref(), told.rules[1].day.as_deref()), (None, Some("2020-05-05")));
        assert_eq!((told.rules[0].from.as_str(), told.rules[0].then, told.rules[0].end_at), ("/date", "restrict", None));
    }
}

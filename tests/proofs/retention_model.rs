//! Retention in any order of writes, deletions, changes of rules, reports of events, their corrections and withdrawals, steps of the clock,
//! also back, and restarts, held against the rules themselves: none goes before its minimum or its end, and none is there after the first
//! run behind both the end that was written down and that of today. What a rule marks is marked once before; and the reports of all runs
//! together count what was destroyed and marked, each record once.
//!
//! What a law keeps is stated here as an owner would: with each write, and with each change of rules, every record is promised until when
//! it will be there, counted in days by this file alone; and whenever one is gone, by whatever hand, nothing is promised any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{civil::Date, tz::TimeZone};
use lethe::{
    domain::{
        Clock as _, CollectionPolicy, ShredUnit, SubjectId, TenantName, TestClock, Timestamp,
        retention::{Event, EventDate, EventName, Events, Facts, Rule, events::Report},
    },
    vault::ops::{Caller, Missing, PutRecord, VaultError},
};
use serde_json::{Value, json};

use crate::{
    draw::Draw,
    harness::{Open, coll, filed_under, findings, key, put_of},
    reports::counted,
    retention::{DAY, due_rows, one_rule, place, policy, run, set},
};

const HOUR_MS: i64 = 3_600_000;

/// When a record is looked for, as it was written down.
#[derive(Debug, Clone, Copy)]
enum Written {
    Nothing,
    End(Timestamp),
    /// It is marked at the one, and ends at the other.
    Marks {
        at: Timestamp,
        end: Timestamp,
    },
    /// The rules gave it no end since then.
    Endless {
        since: Timestamp,
        at: Timestamp,
    },
    /// The same where there are no rules that could.
    Asleep {
        since: Timestamp,
    },
}

/// The event of the rules that count from one.
const LEFT: &str = "left";

/// Rules of whatever number.
const ALL: usize = usize::MAX;

/// What a minimum has promised of a record.
#[derive(Debug, Clone)]
enum Promise {
    /// Its day is known: until then. By the rules of this number; what an earlier version was promised is by the first of all.
    Until(Timestamp, usize),
    Undated(Undated),
}

/// Its rule counts so many days from a date that is not there, or from what is reported of the person; where the rule has gone since, from
/// that day.
#[derive(Debug, Clone)]
struct Undated {
    no: usize,
    rule: String,
    by_event: bool,
    days: i64,
    zone: String,
    gone_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Known {
    created: Timestamp,
    modified: Timestamp,
    own: Option<Timestamp>,
    category: Option<&'static str>,
    value: String,
    /// Whom it is about.
    subject: usize,
    /// How many reports of whom there were when it was written.
    seen: usize,
    /// The number of the rules that it was written under.
    no: usize,
    promises: Vec<Promise>,
    written: Written,
}

/// The law over a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Law {
    Met,
    Until(Timestamp),
    /// A rule waits for a date, which the value should have or, if all that wait do so for that, somebody is to report.
    Unknown {
        by_event: bool,
    },
}

const fn hour(at: Timestamp) -> i64 {
    at.0 / HOUR_MS
}

fn zone_of(name: &str) -> TimeZone {
    jiff::tz::db().get(name).unwrap()
}

fn day_in(zone: &str, at: Timestamp) -> Date {
    jiff::Timestamp::from_millisecond(at.0).unwrap().to_zoned(zone_of(zone)).date()
}

/// The midnight behind the last of so many days from a day on.
fn days_from(day: Date, days: i64, zone: &str) -> Timestamp {
    let behind = day.checked_add(jiff::Span::new().days(days + 1)).unwrap();
    Timestamp(behind.to_zoned(zone_of(zone)).unwrap().timestamp().as_millisecond())
}

/// The day that was reported last, if it was not taken back.
fn day_now(events: &Events) -> Option<Date> {
    events.reports().last().and_then(|report| day_of(report.at))
}

/// The latest day that stood when so many reports had been made, or at any time since, whatever the clock said.
fn latest_day(events: &Events, seen: usize) -> Option<Date> {
    events.reports().iter().skip(seen.saturating_sub(1)).filter_map(|report| day_of(report.at)).max()
}

fn day_of(at: Option<EventDate>) -> Option<Date> {
    match at {
        Some(EventDate::Day(day)) => Some(day),
        Some(EventDate::Time(time)) => panic!("only days are reported here: {time:?}"),
        None => None,
    }
}

impl Undated {
    /// The first moment at which it is kept, by the rules up to `last`; `None` while it waits.
    fn until(&self, events: &Events, seen: usize, last: usize) -> Option<Timestamp> {
        let gone = self.gone_at.filter(|_| self.no < last).map(|at| day_in(&self.zone, at));
        let told = if self.by_event { day_now(events) } else { None };
        let day = told.or(gone)?;
        Some(self.kept_from(if self.by_event { latest_day(events, seen).map_or(day, |latest| latest.max(day)) } else { day }))
    }

    /// What it has promised by what was reported since, also while it waits again.
    fn reported(&self, events: &Events, seen: usize) -> Option<Timestamp> {
        latest_day(events, seen).filter(|_| self.by_event).map(|day| self.kept_from(day))
    }

    fn kept_from(&self, day: Date) -> Timestamp {
        days_from(day, self.days, &self.zone)
    }
}

impl Promise {
    /// The number of the rules that it comes from.
    const fn no(&self) -> usize {
        match self {
            Self::Until(_, no) | Self::Undated(Undated { no, .. }) => *no,
        }
    }

    /// The first moment at which it is kept, by the rules up to `last`; `None` while its rule waits.
    fn until(&self, events: &Events, seen: usize, last: usize) -> Option<Timestamp> {
        match self {
            Self::Until(until, _) => Some(*until),
            Self::Undated(undated) => undated.until(events, seen, last),
        }
    }
}

/// The end of a record by some rules, and how long before it these mark it.
#[derive(Debug, Clone, Copy)]
struct Ends {
    at: Timestamp,
    marks_for: Duration,
    /// Whether the rule whose end it is counts from what is reported.
    by_event: bool,
}

impl Ends {
    /// What is written down of it.
    fn written(self, now: Timestamp) -> Written {
        if self.marks_for.is_zero() {
            return Written::End(self.at);
        }
        Written::Marks { at: self.at.less(self.marks_for).max(now), end: self.at }
    }
}

impl Written {
    const fn end(self) -> Option<Timestamp> {
        match self {
            Self::End(end) | Self::Marks { end, .. } => Some(end),
            Self::Nothing | Self::Endless { .. } | Self::Asleep { .. } => None,
        }
    }

    /// The end that it has now, for who looks at it: what was to be marked goes no sooner than was written down, and what had no end
    /// is marked first.
    fn taken(self, found: Ends, now: Timestamp) -> Ends {
        match self {
            Self::Marks { end, .. } => Ends { at: found.at.max(end), ..found },
            Self::Endless { .. } if !found.marks_for.is_zero() => Ends { at: found.at.max(now.plus(found.marks_for)), ..found },
            Self::Endless { .. } | Self::Asleep { .. } | Self::End(_) | Self::Nothing => found,
        }
    }
}

impl Known {
    /// The day that stands in its value.
    fn date(&self) -> Option<Date> {
        let value: Value = serde_json::from_str(&self.value).unwrap();
        value["date"].as_str().map(|day| day.parse().unwrap())
    }

    fn is_of(&self, rule: &Rule, policy: &CollectionPolicy) -> bool {
        let category = self.category.filter(|category| policy.categories.iter().any(|known| known == category));
        rule.categories.is_empty() || category.is_none_or(|category| rule.categories.iter().any(|of| of == category))
    }

    /// What some rules, of this number, promise of it from now on.
    fn promised_by(&self, policy: &CollectionPolicy, no: usize) -> Vec<Promise> {
        let Some(schedule) = policy.retention.schedule() else { return Vec::new() };
        let zone = schedule.time_zone.name();
        let rules = schedule.rules.iter().filter(|rule| self.is_of(rule, policy));
        let promises = rules.filter_map(|rule| {
            let period = rule.minimum.as_ref()?.period.to_string();
            let days = period.strip_suffix('d').unwrap().parse().unwrap();
            let (day, by_event) = match &rule.from {
                Event::Created => (Some(day_in(zone, self.created)), false),
                Event::Modified => (Some(day_in(zone, self.modified)), false),
                Event::Field(_) => (self.date(), false),
                Event::Reported(event) => {
                    assert_eq!(event.as_str(), LEFT);
                    (None, true)
                }
                Event::SubjectEnd | Event::TenantEnd => panic!("none is drawn: {rule:?}"),
            };
            Some(match day {
                Some(day) => Promise::Until(days_from(day, days, zone), no),
                None => {
                    let (rule, zone) = (rule.name.as_str().to_owned(), zone.to_owned());
                    Promise::Undated(Undated { no, rule, by_event, days, zone, gone_at: None })
                }
            })
        });
        promises.collect()
    }

    /// The latest of its promises that are known, by the rules up to `last`.
    fn promised_until(&self, events: &Events, last: usize) -> Option<Timestamp> {
        let promises = self.promises.iter().filter(|promise| promise.no() <= last);
        promises.filter_map(|promise| promise.until(events, self.seen, last)).max()
    }

    /// Those of its promises that wait, by the rules up to `last`.
    fn waiting<'a>(&'a self, events: &'a Events, last: usize) -> impl Iterator<Item = &'a Undated> {
        self.promises.iter().filter_map(move |promise| match promise {
            Promise::Undated(undated) if undated.no <= last && undated.until(events, self.seen, last).is_none() => Some(undated),
            Promise::Until(..) | Promise::Undated(_) => None,
        })
    }

    /// What keeps it, whoever wants it gone.
    fn law(&self, events: &Events, now: Timestamp) -> Law {
        if self.waiting(events, ALL).next().is_some() {
            return Law::Unknown { by_event: self.waiting(events, ALL).all(|undated| undated.by_event) };
        }
        self.promised_until(events, ALL).filter(|until| *until > now).map_or(Law::Met, Law::Until)
    }

    /// Its end by these rules alone, and how long before it they mark it.
    fn end_under(&self, policy: &CollectionPolicy, events: &Events) -> Option<Ends> {
        let Some(schedule) = policy.retention.schedule() else {
            return self.own.map(|at| Ends { at, marks_for: Duration::ZERO, by_event: false });
        };
        let category = self.category.filter(|category| policy.categories.iter().any(|known| known == category));
        let value = Some(self.value.as_bytes());
        let (created_at, modified_at) = (self.created, self.modified);
        // The model numbers the reports of each person from 1 on.
        let reports_seen = self.seen as u64;
        let facts = Facts { created_at, modified_at, own_end: self.own, category, value, events, reports_seen };
        let end = schedule.outlook(&facts).end?;
        let by_event = end.rule.is_some_and(|rule| matches!(rule.from, Event::Reported(_)));
        Some(Ends { at: end.at, marks_for: end.rule.map_or(Duration::ZERO, Rule::marks_for), by_event })
    }

    /// The same by these rules, not before what it is promised.
    fn end(&self, policy: &CollectionPolicy, events: &Events) -> Option<Ends> {
        let end = self.end_under(policy, events)?;
        Some(Ends { at: self.promised_until(events, ALL).map_or(end.at, |until| end.at.max(until)), ..end })
    }

    /// The same for a run, which takes none before the mark has stood for its time since the last report, if that came behind the record.
    fn end_today(&self, policy: &CollectionPolicy, events: &Events) -> Option<Ends> {
        let end = self.end(policy, events)?;
        let reported = events.reports().get(self.seen..).and_then(<[Report]>::last).map(|report| report.reported_at);
        let reported = reported.filter(|_| end.by_event && !end.marks_for.is_zero());
        Some(Ends { at: reported.map_or(end.at, |at| end.at.max(at.plus(end.marks_for))), ..end })
    }

    /// Writes down what a report brings forward, for a run that follows it at `now`: by the rules that it was `written` under, not before it
    /// has been marked from the report on for as long as they say, nor before what it was promised by the rules up to the `last` of that
    /// moment. Whether it does.
    fn follow(&mut self, written: &CollectionPolicy, last: usize, events: &Events, now: Timestamp) -> bool {
        let Some(from) = events.reports().last().map(|report| report.reported_at) else { return false };
        let Some(end) = self.end_under(written, events) else { return false };
        if self.waiting(events, last).next().is_some() {
            return false;
        }
        let at = end.at.max(from.plus(end.marks_for));
        let end = Ends { at: self.promised_until(events, last).map_or(at, |until| at.max(until)), ..end };
        let is_as_early = match self.written {
            Written::Nothing | Written::Asleep { .. } => false,
            Written::End(end_before) | Written::Marks { end: end_before, .. } => end_before <= end.at,
            Written::Endless { at, .. } => hour(at) * HOUR_MS <= end.at.0,
        };
        if !is_as_early {
            self.written = end.written(now);
        }
        !is_as_early
    }

    /// Whether its own end has passed, and nothing puts that off: it is not there any more for who writes.
    fn is_over(&self, model: &Model, now: Timestamp) -> bool {
        let end = || self.end(&model.today, &model.reported[self.subject]);
        self.own.is_some_and(|own| own <= now) && end().is_some_and(|end| end.at <= now)
    }

    /// What is written down when it takes the place of another: an end that is brought forward is marked first, or comes when the old one
    /// would have.
    fn written_down(&self, other: Option<&Self>, model: &Model) -> Written {
        let now = self.modified;
        let Some(ends) = self.end(&model.today, &model.reported[self.subject]) else { return Written::Nothing };
        match other.filter(|other| !other.is_over(model, now)) {
            Some(other) if !ends.marks_for.is_zero() => {
                let marked = now.plus(ends.marks_for);
                Ends { at: ends.at.max(other.written.end().map_or(marked, |before| before.min(marked))), ..ends }.written(now)
            }
            Some(_) | None => ends.written(now),
        }
    }

    /// What is known of it when it overwrites another: what ended is made anew, and what was promised of the other is promised of this one,
    /// by the date that this one tells. Whether that is all that was promised: while a rule waits for a date, this one must have it; and
    /// while one waits for a report, this one must wait for the same.
    fn in_place_of(mut self, other: Option<&Self>, model: &Model) -> (Self, Answered) {
        let (now, no, today) = (self.modified, model.was.len(), &model.today);
        let mut answered = Answered { dates: true, reports: true };
        self.no = no;
        self.seen = model.reported[self.subject].reports().len();
        let Some(other) = other else {
            self.promises = self.promised_by(today, no);
            return (self, answered);
        };
        let events = &model.reported[other.subject];
        if !other.is_over(model, now) {
            self.created = other.created;
        }
        self.promises = self.promised_by(today, no);
        let of_this_one = &model.reported[self.subject];
        let waiting: BTreeSet<String> = self.waiting(of_this_one, ALL).map(|undated| undated.rule.clone()).collect();
        for promise in &other.promises {
            let until = match (promise, self.date()) {
                (Promise::Undated(undated), Some(day)) if !undated.by_event => Some(undated.kept_from(day)),
                _ => promise.until(events, other.seen, ALL),
            };
            let until = match promise {
                Promise::Undated(undated) if until.is_none() && undated.by_event => {
                    answered.reports &= waiting.contains(&undated.rule);
                    undated.reported(events, other.seen)
                }
                Promise::Until(..) | Promise::Undated(_) => {
                    answered.dates &= until.is_some();
                    until
                }
            };
            self.promises.extend(until.filter(|until| *until > now).map(|until| Promise::Until(until, 0)));
        }
        (self, answered)
    }

    /// The end that was written down, or when it is marked, or else the end of today.
    fn ends(&self, today: &CollectionPolicy, events: &Events) -> Option<Timestamp> {
        match self.written {
            Written::End(at) | Written::Marks { at, .. } => Some(at),
            Written::Nothing | Written::Endless { .. } | Written::Asleep { .. } => self.end(today, events).map(|end| end.at),
        }
    }

    /// There are rules again, from a moment on: it is looked for when it would have been, had it not slept.
    fn wake(&mut self, changed: Timestamp) {
        if let Written::Asleep { since } = self.written {
            let begin = |at: Timestamp| Timestamp(hour(at) * HOUR_MS);
            let mut at = looked_for_again(since, since);
            while begin(at) <= changed {
                at = looked_for_again(begin(at), since);
            }
            self.written = Written::Endless { since, at };
        }
    }

    fn is_looked_for(&self, now: Timestamp) -> bool {
        match self.written {
            Written::Nothing | Written::Asleep { .. } => false,
            Written::End(at) | Written::Marks { at, .. } => at <= now,
            Written::Endless { at, .. } => hour(at) <= hour(now),
        }
    }

    /// Whether a run destroys it that looks for it now, and finds this end.
    fn is_due(&self, found: Option<Ends>, now: Timestamp) -> bool {
        self.is_looked_for(now) && found.is_some_and(|found| self.written.taken(found, now).at <= now)
    }

    /// What a run writes down that looked for it and found that it has not ended; whether that marks it. What has no end sleeps where
    /// `sleeps` says so.
    fn looked_for(&mut self, found: Option<Ends>, sleeps: bool, now: Timestamp) -> bool {
        let unmarked = matches!(self.written, Written::Marks { .. } | Written::Endless { .. });
        let Some(found) = found else {
            let since = if let Written::Endless { since, .. } = self.written { since } else { now };
            let at = looked_for_again(now, since);
            self.written = if sleeps { Written::Asleep { since } } else { Written::Endless { since, at } };
            return false;
        };
        let ends = self.written.taken(found, now);
        let is_marked = unmarked && !ends.marks_for.is_zero() && ends.at.less(ends.marks_for) <= now;
        if is_marked {
            self.written = Written::End(ends.at);
        } else if hour(ends.at) > hour(now) || matches!(self.written, Written::Marks { .. }) {
            self.written = ends.written(now);
        }
        is_marked
    }
}

/// Whether what takes the place of a record keeps what was promised of that.
#[derive(Debug, Clone, Copy)]
struct Answered {
    /// It has the dates that are waited for.
    dates: bool,
    /// It waits for the reports that are waited for.
    reports: bool,
}

/// The rules of today and those before, what is known of each record, and what was reported of each person.
struct Model {
    today: CollectionPolicy,
    /// The oldest first, each with when it held no more.
    was: Vec<(Timestamp, CollectionPolicy)>,
    records: BTreeMap<String, Known>,
    reported: [Events; 3],
}

impl Model {
    /// From now on other rules hold: what is there is under these, too, and by those that went it is promised what it was. They change behind
    /// one another, whatever the clock says.
    fn change(&mut self, policy: CollectionPolicy, now: Timestamp) {
        let are_others = self.today.retention.schedule().is_some() && policy.categories != self.today.categories;
        if policy.retention != self.today.retention || are_others {
            let changed_at = Timestamp(self.was.last().map_or(now.0, |(changed, _)| now.0.max(changed.0 + 1)));
            self.was.push((changed_at, self.today.clone()));
            for known in self.records.values_mut() {
                for promise in &mut known.promises {
                    if let Promise::Undated(Undated { gone_at: gone_at @ None, .. }) = promise {
                        *gone_at = Some(changed_at);
                    }
                }
                known.promises.extend(known.promised_by(&policy, self.was.len()));
                known.wake(changed_at);
            }
        }
        self.today = policy;
    }

    /// Whether no rules of today give anything an end, and no law of any time keeps anything.
    fn ends_nothing(&self) -> bool {
        let mut all = self.was.iter().map(|(_, policy)| policy).chain([&self.today]).filter_map(|policy| policy.retention.schedule());
        self.today.retention.schedule().is_none() && all.all(|schedule| schedule.rules.iter().all(|rule| rule.minimum.is_none()))
    }

    /// Whether rules of any time count from what is reported.
    fn has_events(&self) -> bool {
        let all = self.was.iter().map(|(_, policy)| policy).chain([&self.today]);
        all.filter_map(|policy| policy.retention.schedule())
            .flat_map(|schedule| &schedule.rules)
            .any(|rule| matches!(rule.from, Event::Reported(_)))
    }

    /// It is reported when a person left, or taken back, and a run follows that. How many end earlier by it; `None` where that was known.
    fn report(&mut self, person: usize, at: Option<EventDate>, now: Timestamp) -> Option<usize> {
        if !self.reported[person].report(&EventName::parse(LEFT).unwrap(), at, (0, now)) {
            return None;
        }
        let (mut brought_forward, has_events) = (0, self.has_events());
        let Self { today, was, records, reported } = self;
        let (events, from) = (&reported[person], reported[person].reports().last().unwrap().reported_at);
        let until = was.iter().position(|(changed, _)| from.0 <= changed.0).unwrap_or(was.len());
        for known in records.values_mut().filter(|known| has_events && known.subject == person) {
            let written = was.get(known.no).map_or(&*today, |(_, policy)| policy);
            brought_forward += usize::from(known.follow(written, until.max(known.no), events, now));
        }
        Some(brought_forward)
    }

    fn law(&self, name: &str, now: Timestamp) -> Option<Law> {
        self.records.get(name).map(|known| known.law(&self.reported[known.subject], now))
    }

    /// Whether a record is kept by something that its rules of today do not ask for.
    fn is_kept_by_others(&self, name: &str, now: Timestamp) -> bool {
        self.records.get(name).is_some_and(|known| {
            let of_today = Known { promises: known.promised_by(&self.today, self.was.len()), value: known.value.clone(), ..*known };
            let events = &self.reported[known.subject];
            known.law(events, now) != of_today.law(events, now)
        })
    }
}

/// When what has had no end since then is looked for again.
fn looked_for_again(now: Timestamp, since: Timestamp) -> Timestamp {
    now.plus(now.since(since).clamp(DAY, DAY * 32))
}

impl Draw {
    /// What is put, and what is to be known of it when nothing was there before.
    fn put(&mut self, now: Timestamp) -> (PutRecord, Known) {
        let date = Timestamp(now.0 + i64::try_from(self.below(40)).unwrap() * 86_400_000 - 20 * 86_400_000).to_rfc3339();
        let value = if self.below(3) == 0 { "{}".to_owned() } else { json!({"date": date[..10]}).to_string() };
        let own = (self.below(3) == 0).then(|| now.plus(Duration::from_millis(1 + self.below(40 * 86_400_000))));
        let category = self.of(&[None, None, Some("x"), Some("y")]);
        let subject = usize::try_from(self.below(3)).unwrap();
        let put = PutRecord { expires_at: own, custom: filed_under(category), ..put_of(Some(&subject.to_string()), value.as_bytes()) };
        let (created, modified, seen, no, promises, written) = (now, now, 0, 0, Vec::new(), Written::Nothing);
        let known = Known { created, modified, own, category, value, subject, seen, no, promises, written };
        (put, known)
    }

    fn policy(&mut self) -> CollectionPolicy {
        loop {
            if self.below(6) == 0 {
                return CollectionPolicy::default();
            }
            let categories = self.of(&[&[][..], &["x"], &["x", "y"]]);
            let count = 1 + self.below(3);
            let rules: Vec<_> = (0..count.max(categories.len() as u64))
                .map(|at| {
                    let least = self.below(20) + 1;
                    let from = self.of(&["created", "modified", "field", LEFT]);
                    // Those that count from a report are told by their names.
                    let name = if from == LEFT { format!("l{at}") } else { format!("r{at}") };
                    let from = match from {
                        "field" => json!({"field": "/date"}),
                        LEFT => json!({"event": LEFT}),
                        from => json!(from),
                    };
                    let maximum = format!("{}d", least + self.below(60) + 1);
                    let mut rule = json!({"name": name, "from": from, "maximum": maximum, "then": "delete"});
                    if self.below(2) == 0 {
                        rule["mark"] = json!(format!("{}d", self.below(20) + 1));
                    }
                    if self.below(2) == 0 {
                        rule["minimum"] = json!({"period": format!("{least}d"), "basis": "law"});
                    }
                    if let Some(category) = categories.get(usize::try_from(at).unwrap()) {
                        rule["categories"] = json!([category]);
                    }
                    rule
                })
                .collect();
            let zone = self.of(&["UTC", "America/Los_Angeles", "America/St_Johns", "Pacific/Apia"]);
            let drawn = policy(ShredUnit::Subject, zone, &json!(rules));
            let drawn = CollectionPolicy { categories: categories.iter().map(|name| (*name).to_owned()).collect(), ..drawn };
            if drawn.validate().is_ok() {
                return drawn;
            }
        }
    }
}

/// Whether a law has refused a deletion, as it must what it keeps, and nothing else.
fn is_refused(deleted: &Result<(), VaultError>, law: Option<Law>, at: &str) -> bool {
    match (deleted, law) {
        (Ok(()), Some(Law::Met)) | (Err(VaultError::NotFound(_)), None) => false,
        (Err(VaultError::LegalMinimum { law: Some(told), .. }), Some(law)) => {
            let by_event = told.rule.as_str().starts_with('l');
            assert_eq!(told.until.map_or(Law::Unknown { by_event }, Law::Until), law, "{at}");
            true
        }
        _ => panic!("{at}: {deleted:?} under {law:?}"),
    }
}

/// Reports when a person left, or takes that back, and the model is told. How many end earlier by it.
async fn report(
    open: &Open,
    (owner, acme): (&Caller, &TenantName),
    (person, at): (usize, Option<EventDate>),
    now: Timestamp,
    model: &mut Model,
) -> usize {
    let (subject, event) = (SubjectId::parse(&person.to_string()).unwrap(), EventName::parse(LEFT).unwrap());
    let brought_forward = model.report(person, at, now);
    match at {
        Some(at) => drop(open.vault.report_event(owner, acme, (subject, event, at), None).await.unwrap()),
        None => match open.vault.withdraw_event(owner, acme, (subject, event), None).await {
            Ok(view) => assert!(brought_forward.is_some() && view.events.is_empty()),
            Err(error) => {
                assert!(brought_forward.is_none() && matches!(error, VaultError::NotFound(Missing::Event)), "{error:?}");
            }
        },
    }
    brought_forward.unwrap_or_default()
}

/// What runs did.
#[derive(Default)]
struct Ran {
    destroyed: u64,
    marked: u64,
    /// How often one had no end.
    endless: usize,
}

impl Ran {
    fn add(&mut self, other: &Self) {
        self.destroyed += other.destroyed;
        self.marked += other.marked;
        self.endless += other.endless;
    }
}

/// Runs, and holds what is there then against what is known of it.
async fn run_and_hold((open, clock): (&Open, &TestClock), (owner, acme): (&Caller, &TenantName), model: &mut Model, at: &str) -> Ran {
    // What the first one writes down for now may lie behind it; the second one has seen all.
    run(open, clock).await;
    run(open, clock).await;
    let (now, mut ran) = (clock.now(), Ran::default());
    let (mut gone, sleeps) = (Vec::new(), model.ends_nothing());
    let Model { today, records, reported, .. } = model;
    for (name, known) in records.iter_mut() {
        let events = &reported[known.subject];
        let found = known.end_today(today, events);
        let is_due = known.is_due(found, now);
        let is_there = open.vault.explain_retention(owner, acme, &coll("c"), &key(name)).await.is_ok();
        if is_there {
            assert!(!is_due, "{at}: {name} outlives its end: {known:?}");
            // Twice, as the runs.
            for _ in 0..2 {
                if known.is_looked_for(now) {
                    ran.marked += u64::from(known.looked_for(found, sleeps, now));
                    ran.endless += usize::from(found.is_none());
                }
            }
        } else {
            assert!(is_due && known.law(events, now) == Law::Met, "{at}: {name} died early: {known:?}");
            gone.push(name.clone());
        }
    }
    ran.destroyed = gone.len() as u64;
    records.retain(|name, _| !gone.contains(name));
    ran
}

/// Under a rule that ends everything, what was ever written down goes, and not before what was promised.
async fn assert_all_that_ends_goes(open: &Open, owner: &Caller, acme: &TenantName, clock: &TestClock, mut model: Model, seed: u64) {
    let last = policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "1d"));
    model.change(last.clone(), clock.now());
    set(open, owner, acme, last).await;
    let mut gone = BTreeSet::new();
    for _ in 0..20 {
        clock.advance(DAY * 20);
        run(open, clock).await;
        for (name, known) in &model.records {
            if open.vault.explain_retention(owner, acme, &coll("c"), &key(name)).await.is_err() && gone.insert(name) {
                assert_eq!(model.law(name, clock.now()), Some(Law::Met), "seed {seed}: {name} died early: {known:?}");
            }
        }
    }
    assert!(due_rows(open).await.is_empty(), "seed {seed}");
    for (name, known) in &model.records {
        assert_eq!(!gone.contains(name), matches!(known.written, Written::Nothing), "seed {seed}: {name}: {known:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_in_whatever_order_nothing_dies_early_and_nothing_outlives_its_end_by_more_than_a_run() {
    let (mut stored, mut all, mut refused, mut by_others, mut carried) = (0, Ran::default(), 0, 0, 0);
    let (mut reports, mut brought_forward, mut waited) = (0, 0, 0);
    for seed in 0..20_u64 {
        let (place, clock) = place().await;
        let mut open = place.open().await;
        let (acme, mut owner, token) = open.tenant(&place, "acme").await;
        let mut draw = Draw(seed);
        let today = draw.policy();
        set(&open, &owner, &acme, today.clone()).await;
        let mut model = Model { today, was: Vec::new(), records: BTreeMap::new(), reported: <[Events; 3]>::default() };
        let mut ran = Ran::default();
        for step in 0..160 {
            let at = format!("seed {seed}, step {step}");
            let name = format!("k{}", draw.below(12));
            match draw.below(14) {
                0..5 => {
                    let now = clock.now();
                    let (put, drawn) = draw.put(now);
                    let put = open.vault.put_record(&owner, &acme, &coll("c"), key(&name), put).await;
                    let (mut known, answered) = drawn.in_place_of(model.records.get(&name), &model);
                    match put {
                        Ok(_) => {
                            let events = &model.reported[known.subject];
                            assert!(answered.dates, "{at}: a date that a law waits for is not there: {known:?}");
                            assert!(answered.reports, "{at}: it does not wait for what a law waits for: {known:?}");
                            let promised = known.promised_until(events, ALL);
                            assert!(known.own.is_none_or(|own| promised.is_none_or(|until| own >= until)), "{at}: {known:?}");
                            let of_today = Known { promises: known.promised_by(&model.today, 0), value: known.value.clone(), ..known };
                            carried += usize::from(promised > of_today.promised_until(events, ALL));
                            let end = known.end(&model.today, events);
                            assert!(end.is_none_or(|end| end.at > now), "{at}: stored, and over already");
                            known.written = known.written_down(model.records.get(&name), &model);
                            model.records.insert(name, known);
                            stored += 1;
                        }
                        Err(VaultError::Unprocessable(_)) => {}
                        Err(VaultError::LegalMinimum { .. }) => {
                            // What is kept until somebody reports something is kept for that.
                            assert!(answered.dates && !answered.reports, "{at}: {known:?}");
                            waited += 1;
                        }
                        Err(error) => panic!("{at}: {error:?}"),
                    }
                }
                5 => {
                    let drawn = draw.policy();
                    model.change(drawn.clone(), clock.now());
                    set(&open, &owner, &acme, drawn).await;
                }
                6 if step % 3 == 0 => {
                    open.close().await;
                    open = place.open().await;
                    owner = open.caller(&token).await;
                }
                7 => {
                    let now = clock.now();
                    let law = model.law(&name, now);
                    let deleted = open.delete(&owner, &acme, ("c", &name)).await;
                    if is_refused(&deleted, law, &at) {
                        refused += 1;
                        by_others += usize::from(model.is_kept_by_others(&name, now));
                    } else {
                        model.records.remove(&name);
                    }
                }
                8 => clock.go_back(Duration::from_millis(draw.below(3 * 3_600_000))),
                9..11 => {
                    // When the person left, some weeks ago or ahead; or the person comes back.
                    let (person, now) = (usize::try_from(draw.below(3)).unwrap(), clock.now());
                    let day = Timestamp(now.0 + i64::try_from(draw.below(60)).unwrap() * 86_400_000 - 40 * 86_400_000);
                    let date = (draw.below(4) > 0).then(|| EventDate::parse(&day.to_rfc3339()[..10]).unwrap());
                    brought_forward += report(&open, (&owner, &acme), (person, date), now, &mut model).await;
                    reports += 1;
                    ran.add(&run_and_hold((&open, &clock), (&owner, &acme), &mut model, &at).await);
                }
                _ => {
                    // To the very moment of an end, or the one before, as often as anywhere.
                    let near = model.records.get(&name).and_then(|known| known.ends(&model.today, &model.reported[known.subject]));
                    let near = near.filter(|_| draw.below(2) == 0);
                    let near = near.map(|at| Timestamp(at.0 - i64::try_from(draw.below(2)).unwrap()));
                    match near.filter(|at| *at > clock.now()) {
                        Some(at) => clock.advance(at.since(clock.now())),
                        None => clock.advance(Duration::from_millis(draw.below(3 * 86_400_000))),
                    }
                    ran.add(&run_and_hold((&open, &clock), (&owner, &acme), &mut model, &at).await);
                }
            }
        }
        assert_eq!(counted(&open, &owner, &acme).await, [ran.destroyed, 0, ran.marked, 0], "seed {seed}: what the reports count");
        all.add(&ran);
        assert_all_that_ends_goes(&open, &owner, &acme, &clock, model, seed).await;
        assert_eq!(findings(&open).await, Vec::<String>::new(), "seed {seed}");
        open.close().await;
    }
    let Ran { destroyed, marked, endless } = all;
    assert!(stored > 300 && destroyed > 100 && endless > 20, "{stored} stored, {destroyed} destroyed, {endless} times no end");
    assert!(marked > 50, "{marked} marks");
    let told = format!("{refused} deletions refused by a law, {by_others} by others than today's, {carried} times one outlived its value");
    assert!(refused > 20 && by_others > 10 && carried > 5, "{told}");
    let told =
        format!("{reports} reports, {brought_forward} ends brought forward, {waited} times one was kept for what nobody had reported");
    assert!(reports > 200 && brought_forward > 20 && waited > 0, "{told}");
}

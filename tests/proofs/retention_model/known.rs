//! What is known of one record, and what follows from that: by the rules alone, by what they have promised, by what was written down.

use std::{collections::BTreeSet, time::Duration};

use lethe::domain::{
    CollectionPolicy, HoldId, Timestamp,
    retention::{Event, Rule, Then},
};

use super::{
    calendar::{Day, Period},
    model::{Model, Rules},
};
use crate::retention::DAY;

const HOUR_MS: i64 = 3_600_000;

/// The event of the rules that count from one.
pub(super) const LEFT: &str = "left";

/// Rules of whatever number.
const ALL: usize = usize::MAX;

/// What was reported of a person, in the order in which it came: on which day the person left, or that this is taken back; and when that
/// was said.
#[derive(Debug, Default)]
pub(super) struct Told(Vec<(Option<Day>, Timestamp)>);

impl Told {
    /// Takes in a report; `false` where it says what is known.
    pub(super) fn report(&mut self, day: Option<Day>, now: Timestamp) -> bool {
        if self.day_now() == day {
            return false;
        }
        // What is said later counts, whatever the clock says.
        let said_at = self.last().map_or(now, |last| last.max(now));
        self.0.push((day, said_at));
        true
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// When something was said last.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.last_behind(0)
    }

    /// The same, behind the first so many.
    fn last_behind(&self, seen: usize) -> Option<Timestamp> {
        self.0.get(seen..).and_then(<[_]>::last).map(|(_, said_at)| *said_at)
    }

    /// The day that was reported last, if it was not taken back.
    fn day_now(&self) -> Option<Day> {
        self.0.last().and_then(|(day, _)| *day)
    }

    /// The latest day that stood when so many reports had been made, or at any time since, whatever the clock said.
    fn latest_day(&self, seen: usize) -> Option<Day> {
        self.0.iter().skip(seen.saturating_sub(1)).filter_map(|(day, _)| *day).max()
    }
}

/// When a record is looked for, as it was written down.
#[derive(Debug, Clone, Copy)]
pub(super) enum Written {
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
}

/// What a minimum has promised of a record.
#[derive(Debug, Clone)]
enum Promise {
    /// Its day is known: until then. By the rules of this number; what an earlier version was promised is by the first of all.
    Until(Timestamp, usize),
    Undated(Undated),
}

/// Its rule counts so long from a date that is not there, or from what is reported of the person; where the rule has gone since, from
/// that day.
#[derive(Debug, Clone)]
struct Undated {
    no: usize,
    rule: String,
    by_event: bool,
    period: Period,
    zone: String,
    gone_at: Option<Timestamp>,
}

/// What a record is written with.
#[derive(Debug, Clone)]
pub(super) struct Drawn {
    /// The end that it is given itself.
    pub(super) own: Option<Timestamp>,
    /// The day in its value.
    pub(super) date: Option<Day>,
    pub(super) category: Option<&'static str>,
    /// Whom it is about.
    pub(super) subject: usize,
}

#[derive(Debug)]
pub(super) struct Known {
    created: Timestamp,
    modified: Timestamp,
    pub(super) drawn: Drawn,
    /// How many reports of whom there were when it was written.
    seen: usize,
    /// The number of the rules that it was written under.
    pub(super) no: usize,
    promises: Vec<Promise>,
    pub(super) written: Written,
    /// The hold under which it waits: its time was over, and a run has met it under that.
    pub(super) waits_under: Option<HoldId>,
}

/// The law over a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Law {
    Met,
    Until(Timestamp),
    /// A rule waits for a date, which the value should have or, if all that wait do so for that, somebody is to report.
    Unknown {
        by_event: bool,
    },
}

/// Whether what takes the place of a record keeps what was promised of that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    /// It has the dates that are waited for.
    pub(super) dates: bool,
    /// It waits for the reports that are waited for.
    pub(super) reports: bool,
}

/// The end of a record by some rules, and how long before it these mark it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) at: Timestamp,
    marks_for: Duration,
    /// Whether the rule whose end it is counts from what is reported.
    by_event: bool,
}

/// What the rules of one time say of a record, by themselves.
#[derive(Debug, Clone, Copy)]
struct Said {
    end: Option<Ends>,
    /// From when on it is for its legal purpose alone.
    restricted: Option<Timestamp>,
}

const fn hour(at: Timestamp) -> i64 {
    at.0 / HOUR_MS
}

fn period(of: lethe::domain::retention::Period) -> Period {
    Period::of(&of.to_string())
}

fn marks_for(rule: &Rule) -> Duration {
    let millis = rule.mark.map_or(0, |mark| period(mark).millis());
    Duration::from_millis(u64::try_from(millis).unwrap())
}

impl Undated {
    /// The first moment at which it is kept, by the rules up to `last`; `None` while it waits.
    fn until(&self, told: &Told, seen: usize, last: usize) -> Option<Timestamp> {
        let gone = self.gone_at.filter(|_| self.no < last).map(|at| Day::in_zone(at, &self.zone));
        let reported = if self.by_event { told.day_now() } else { None };
        let day = reported.or(gone)?;
        Some(self.kept_from(if self.by_event { told.latest_day(seen).map_or(day, |latest| latest.max(day)) } else { day }))
    }

    /// What it has promised by what was reported since, also while it waits again.
    fn reported(&self, told: &Told, seen: usize) -> Option<Timestamp> {
        told.latest_day(seen).filter(|_| self.by_event).map(|day| self.kept_from(day))
    }

    fn kept_from(&self, day: Day) -> Timestamp {
        day.over(self.period, &self.zone)
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
    fn until(&self, told: &Told, seen: usize, last: usize) -> Option<Timestamp> {
        match self {
            Self::Until(until, _) => Some(*until),
            Self::Undated(undated) => undated.until(told, seen, last),
        }
    }
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
            Self::Nothing | Self::Endless { .. } => None,
        }
    }

    /// The end that it has now, for who looks at it: what was to be marked goes no sooner than was written down, and what had no end
    /// is marked first.
    fn taken(self, found: Ends, now: Timestamp) -> Ends {
        match self {
            Self::Marks { end, .. } => Ends { at: found.at.max(end), ..found },
            Self::Endless { .. } if !found.marks_for.is_zero() => Ends { at: found.at.max(now.plus(found.marks_for)), ..found },
            Self::Endless { .. } | Self::End(_) | Self::Nothing => found,
        }
    }
}

impl Known {
    /// One that is written now, where nothing is promised of it yet.
    pub(super) fn new(drawn: Drawn, now: Timestamp) -> Self {
        let (created, modified, seen, no, promises, written, waits_under) = (now, now, 0, 0, Vec::new(), Written::Nothing, None);
        Self { created, modified, drawn, seen, no, promises, written, waits_under }
    }

    fn is_of(&self, rule: &Rule, policy: &CollectionPolicy) -> bool {
        let category = self.drawn.category.filter(|category| policy.categories.iter().any(|known| known == category));
        rule.categories.is_empty() || category.is_none_or(|category| rule.categories.iter().any(|of| of == category))
    }

    /// The day that a rule counts from; and whether it does from what is reported.
    fn counted_from(&self, rule: &Rule, zone: &str, told: &Told) -> (Option<Day>, bool) {
        match &rule.from {
            Event::Created => (Some(Day::in_zone(self.created, zone)), false),
            Event::Modified => (Some(Day::in_zone(self.modified, zone)), false),
            Event::Field(_) => (self.drawn.date, false),
            Event::Reported(event) => {
                assert_eq!(event.as_str(), LEFT);
                (told.day_now(), true)
            }
            Event::SubjectEnd | Event::TenantEnd => panic!("none is drawn: {rule:?}"),
        }
    }

    /// What some rules, of this number, promise of it from now on.
    fn promised_by(&self, policy: &CollectionPolicy, no: usize) -> Vec<Promise> {
        let Some(schedule) = policy.retention.schedule() else { return Vec::new() };
        let zone = schedule.time_zone.name();
        let rules = schedule.rules.iter().filter(|rule| self.is_of(rule, policy));
        let promises = rules.filter_map(|rule| {
            let period = period(rule.minimum.as_ref()?.period);
            // What is reported is asked for whenever the promise is.
            let (day, by_event) = self.counted_from(rule, zone, &Told::default());
            Some(match day {
                Some(day) => Promise::Until(day.over(period, zone), no),
                None => {
                    let (rule, zone) = (rule.name.as_str().to_owned(), zone.to_owned());
                    Promise::Undated(Undated { no, rule, by_event, period, zone, gone_at: None })
                }
            })
        });
        promises.collect()
    }

    /// Other rules come, of this number: it is promised what they promise, too.
    pub(super) fn is_promised(&mut self, policy: &CollectionPolicy, no: usize, changed_at: Timestamp) {
        for promise in &mut self.promises {
            if let Promise::Undated(Undated { gone_at: gone_at @ None, .. }) = promise {
                *gone_at = Some(changed_at);
            }
        }
        self.promises.extend(self.promised_by(policy, no));
    }

    /// The same record, if the rules of today had promised all that is promised of it.
    pub(super) fn of_today(&self, rules: &Rules) -> Self {
        let promises = self.promised_by(&rules.today, rules.no());
        Self { promises, drawn: self.drawn.clone(), ..*self }
    }

    /// The latest of its promises that are known.
    pub(super) fn promised_until(&self, told: &Told) -> Option<Timestamp> {
        self.promised_until_by(told, ALL)
    }

    /// The same by the rules up to `last`.
    fn promised_until_by(&self, told: &Told, last: usize) -> Option<Timestamp> {
        let promises = self.promises.iter().filter(|promise| promise.no() <= last);
        promises.filter_map(|promise| promise.until(told, self.seen, last)).max()
    }

    /// Those of its promises that wait, by the rules up to `last`.
    fn waiting<'a>(&'a self, told: &'a Told, last: usize) -> impl Iterator<Item = &'a Undated> {
        self.promises.iter().filter_map(move |promise| match promise {
            Promise::Undated(undated) if undated.no <= last && undated.until(told, self.seen, last).is_none() => Some(undated),
            Promise::Until(..) | Promise::Undated(_) => None,
        })
    }

    /// What keeps it, whoever wants it gone.
    pub(super) fn law(&self, told: &Told, now: Timestamp) -> Law {
        if self.waiting(told, ALL).next().is_some() {
            return Law::Unknown { by_event: self.waiting(told, ALL).all(|undated| undated.by_event) };
        }
        self.promised_until(told).filter(|until| *until > now).map_or(Law::Met, Law::Until)
    }

    /// What these rules say of it, by themselves.
    fn said_by(&self, policy: &CollectionPolicy, told: &Told) -> Said {
        let own = self.drawn.own.map(|at| Ends { at, marks_for: Duration::ZERO, by_event: false });
        let Some(schedule) = policy.retention.schedule() else { return Said { end: own, restricted: None } };
        let zone = schedule.time_zone.name();
        let (mut end, mut restricted, mut minimum, mut waits) = (None::<Ends>, None::<Timestamp>, None::<Timestamp>, false);
        for rule in schedule.rules.iter().filter(|rule| self.is_of(rule, policy)) {
            let (from, by_event) = self.counted_from(rule, zone, told);
            if let Some(law) = &rule.minimum {
                waits |= from.is_none();
                // Who corrects a report brings it no further forward.
                let binds_from = if by_event { from.max(told.latest_day(self.seen)) } else { from };
                minimum = minimum.max(binds_from.map(|day| day.over(period(law.period), zone)));
            }
            let Some(day) = from else { continue };
            let maximum = day.over(period(rule.maximum), zone);
            let at = match rule.then {
                Then::Delete | Then::Shred => maximum,
                Then::Restrict(until) => {
                    restricted = Some(restricted.map_or(maximum, |at| at.min(maximum)));
                    day.over(period(until), zone)
                }
            };
            // Of those that end it at one moment it is the first, and its own end comes last.
            if end.is_none_or(|known| at < known.at) {
                end = Some(Ends { at, marks_for: marks_for(rule), by_event });
            }
        }
        if let Some(own) = own.filter(|own| end.is_none_or(|known| own.at < known.at)) {
            end = Some(own);
        }
        let put_off = |end: Ends| Ends { at: minimum.map_or(end.at, |until| until.max(end.at)), ..end };
        let end = end.filter(|_| !waits).map(put_off);
        Said { end, restricted: restricted.filter(|at| end.is_none_or(|end| *at < end.at)) }
    }

    /// Its end by the rules of today, not before what it is promised.
    pub(super) fn end(&self, rules: &Rules, told: &Told) -> Option<Ends> {
        let end = self.said_by(&rules.today, told).end?;
        Some(Ends { at: self.promised_until(told).map_or(end.at, |until| end.at.max(until)), ..end })
    }

    /// The same for a run, which takes none before the mark has stood for its time since the last report, if that came behind the record.
    pub(super) fn end_today(&self, rules: &Rules, told: &Told) -> Option<Ends> {
        let end = self.end(rules, told)?;
        let reported = told.last_behind(self.seen).filter(|_| end.by_event && !end.marks_for.is_zero());
        Some(Ends { at: reported.map_or(end.at, |at| end.at.max(at.plus(end.marks_for))), ..end })
    }

    /// Whether it is for its legal purpose alone. A rule restricts what was written under it, or under one like it; what rules have restricted
    /// while they were in force stays so, whatever took their place.
    pub(super) fn is_restricted(&self, rules: &Rules, told: &Told, now: Timestamp) -> bool {
        let by = |policy: &CollectionPolicy| self.said_by(policy, told).restricted;
        let Some(written) = by(rules.at(self.no)) else { return false };
        rules.since(self.no).any(|(policy, ended_at)| {
            by(policy).map(|at| at.max(written)).is_some_and(|at| ended_at.map_or(at <= now, |ended_at| at <= ended_at))
        })
    }

    /// Whether its own end has passed, and nothing puts that off: it is not there any more for who writes, nor for who reads.
    pub(super) fn is_over(&self, rules: &Rules, told: &Told, now: Timestamp) -> bool {
        self.drawn.own.is_some_and(|own| own <= now) && self.end(rules, told).is_some_and(|end| end.at <= now)
    }

    /// Writes down what a report brings forward, for a run that follows it at `now`: by the rules that it was written under, not before it
    /// has been marked from the report on for as long as they say, nor before what it was promised by the rules up to the `last` of that
    /// moment. Whether it does; what waits under a hold is over already.
    pub(super) fn follow(&mut self, rules: &Rules, told: &Told, now: Timestamp) -> bool {
        let Some(from) = told.last().filter(|_| self.waits_under.is_none()) else { return false };
        let last = rules.until(from).max(self.no);
        let Some(end) = self.said_by(rules.at(self.no), told).end else { return false };
        if self.waiting(told, last).next().is_some() {
            return false;
        }
        let at = end.at.max(from.plus(end.marks_for));
        let end = Ends { at: self.promised_until_by(told, last).map_or(at, |until| at.max(until)), ..end };
        let is_as_early = match self.written {
            Written::Nothing => false,
            Written::End(before) | Written::Marks { end: before, .. } => before <= end.at,
            Written::Endless { at, .. } => hour(at) * HOUR_MS <= end.at.0,
        };
        if !is_as_early {
            self.written = end.written(now);
        }
        !is_as_early
    }

    /// What is written down when it takes the place of another: an end that is brought forward is marked first, or comes when the old one
    /// would have.
    pub(super) fn written_down(&self, other: Option<&Self>, model: &Model) -> Written {
        let (now, rules) = (self.modified, &model.rules);
        let Some(ends) = self.end(rules, model.told_of(self)) else { return Written::Nothing };
        match other.filter(|other| !other.is_over(rules, model.told_of(other), now)) {
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
    pub(super) fn in_place_of(mut self, other: Option<&Self>, model: &Model) -> (Self, Answered) {
        let (now, rules) = (self.modified, &model.rules);
        let mut answered = Answered { dates: true, reports: true };
        (self.no, self.seen) = (rules.no(), model.told_of(&self).count());
        if let Some(other) = other.filter(|other| !other.is_over(rules, model.told_of(other), now)) {
            self.created = other.created;
        }
        self.promises = self.promised_by(&rules.today, self.no);
        let Some(other) = other else { return (self, answered) };
        let told = model.told_of(other);
        let waiting: BTreeSet<String> = self.waiting(model.told_of(&self), ALL).map(|undated| undated.rule.clone()).collect();
        for promise in &other.promises {
            let until = match (promise, self.drawn.date) {
                (Promise::Undated(undated), Some(day)) if !undated.by_event => Some(undated.kept_from(day)),
                _ => promise.until(told, other.seen, ALL),
            };
            let until = match promise {
                Promise::Undated(undated) if until.is_none() && undated.by_event => {
                    answered.reports &= waiting.contains(&undated.rule);
                    undated.reported(told, other.seen)
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
    pub(super) fn ends(&self, rules: &Rules, told: &Told) -> Option<Timestamp> {
        match self.written {
            Written::End(at) | Written::Marks { at, .. } => Some(at),
            Written::Nothing | Written::Endless { .. } => self.end(rules, told).map(|end| end.at),
        }
    }

    pub(super) fn is_looked_for(&self, now: Timestamp) -> bool {
        match self.written {
            Written::Nothing => false,
            Written::End(at) | Written::Marks { at, .. } => at <= now,
            Written::Endless { at, .. } => hour(at) <= hour(now),
        }
    }

    /// Whether a run finds its time over that looks for it now, and finds this end.
    pub(super) fn is_due(&self, found: Option<Ends>, now: Timestamp) -> bool {
        self.is_looked_for(now) && found.is_some_and(|found| self.written.taken(found, now).at <= now)
    }

    /// What a run writes down that looked for it and found that it has not ended; whether that marks it.
    pub(super) fn looked_for(&mut self, found: Option<Ends>, now: Timestamp) -> bool {
        let unmarked = matches!(self.written, Written::Marks { .. } | Written::Endless { .. });
        let Some(found) = found else {
            let since = if let Written::Endless { since, .. } = self.written { since } else { now };
            self.written = Written::Endless { since, at: now.plus(now.since(since).clamp(DAY, DAY * 32)) };
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

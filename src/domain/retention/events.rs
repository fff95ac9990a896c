//! Events that a backend reports of a person, and that rules count from: the end of a contract, the end of the relationship.
//!
//! An event is known from its report on. A later report takes the place of an earlier one, and takes it back where it names no date.
//! Every report is remembered: what a law keeps is kept by the latest date that stood since, and older data that is put back ends as it
//! ended by what was known at the time.
//!
//! Reports are numbered in the order in which they came, from the counter of the versions of records. A record says up to which number its
//! write has seen them: what has stood since is told by that, and no clock has a part in it.

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Zone;
use crate::domain::{CollectionName, Timestamp};

/// The name of an event: as a rule's, lower-case letters, digits, `-`, `_` and `.`, at most 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventName(Box<str>);

/// The event that is the end of a person's relationship.
pub const SUBJECT_END: &str = "subject-end";
/// The end of a tenant, which no rule can count from: nothing of the tenant is there behind it.
pub const TENANT_END: &str = "tenant-end";
/// The form of an event's name, for refusals.
pub const EVENT_FORM: &str = "a name of a-z, 0-9, '-', '_' and '.', at most 64 bytes";
/// The form of an event's date, for refusals.
pub const DATE_FORM: &str = "a day such as \"2026-01-31\" or a time of RFC 3339, of the years 1 to 9000";

/// How many years a date that is reported may lie ahead.
pub const AHEAD_YEARS: i64 = 100;

impl EventName {
    /// Parses a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        CollectionName::parse(text).ok().map(|name| Self(name.as_str().into()))
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// When an event was, or is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventDate {
    /// On this day, wherever days are counted.
    Day(Date),
    /// At this moment: on the day that it lies in, where days are counted.
    Time(Timestamp),
}

impl EventDate {
    /// Reads a day or a time, of the years 1 to 9000: later ones would leave no room for a period.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let date = if text.len() == 10 { Self::Day(text.parse().ok()?) } else { Self::Time(Timestamp::parse_rfc3339(text)?) };
        (1..=9_000).contains(&date.day_in(&Zone::utc()).year()).then_some(date)
    }

    /// Whether it lies more than [`AHEAD_YEARS`] years ahead: what would be kept for so long is a mistake.
    #[must_use]
    pub fn is_too_far(self, now: Timestamp) -> bool {
        let utc = Zone::utc();
        let last = utc.day_of(now).checked_add(jiff::Span::new().years(AHEAD_YEARS));
        last.is_ok_and(|last| self.day_in(&utc) > last)
    }

    /// The day in a zone.
    #[must_use]
    pub fn day_in(self, zone: &Zone) -> Date {
        match self {
            Self::Day(day) => day,
            Self::Time(time) => zone.day_of(time),
        }
    }

    /// As it is written.
    #[must_use]
    pub fn to_text(self) -> String {
        match self {
            Self::Day(day) => day.to_string(),
            Self::Time(time) => time.to_rfc3339(),
        }
    }
}

/// What was reported of one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Which.
    pub event: EventName,
    /// When it was; `None`: what was reported before is taken back.
    pub at: Option<EventDate>,
    /// When that was reported.
    pub reported_at: Timestamp,
    /// Its number, behind all of the person that came before it.
    pub no: u64,
}

/// Since when something is known: behind what has a lower number, and by the clock.
type Since = (u64, Timestamp);

/// Since when all is known that was known from the beginning.
const EVER: Since = (0, Timestamp(i64::MIN));

/// Behind both.
fn behind(one: Since, other: Since) -> Since {
    (one.0.max(other.0), one.1.max(other.1))
}

/// Whether a report was made before it is known.
const fn is_late(known: Since, report: &Report) -> bool {
    known.0 > report.no
}

/// The token of an id.
type Id = [u8; 16];

/// What was reported under another id until that became the person's, too. Who is about that id has known it as it came; of all others, and
/// of what was reported of them, either knows from the moment on in which the two were joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The token of the id.
    pub id: Id,
    /// When it became the person's.
    pub at: Timestamp,
    /// The number of that, behind those of all reports of either by then.
    pub no: u64,
    /// What was known of it by then, in the order of time.
    pub reports: Vec<Report>,
}

impl Joined {
    const fn since(&self) -> Since {
        (self.no, self.at)
    }
}

/// What is known of a person's events, and was.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Events {
    /// In the order of time.
    reports: Vec<Report>,
    /// What came with other ids, in the order in which they came; nothing of that is in what one id is told ([`Events::seen_by`]).
    joined: Vec<Joined>,
    /// When all was that nobody has reported.
    otherwise: Option<Timestamp>,
    /// Until when reports were made in another store, which came from there: in this one all of them were known from the beginning.
    elsewhere: Option<Timestamp>,
}

/// Of whom nothing was reported.
pub static NO_EVENTS: Events = Events { reports: Vec::new(), joined: Vec::new(), otherwise: None, elsewhere: None };

impl Events {
    /// What these reports say.
    #[must_use]
    pub fn of(mut reports: Vec<Report>) -> Self {
        reports.sort_by_key(|report| report.no);
        Self { reports, joined: Vec::new(), otherwise: None, elsewhere: None }
    }

    /// The same with what came with other ids.
    #[must_use]
    pub fn with_joined(self, joined: Vec<Joined>) -> Self {
        Self { joined, ..self }
    }

    /// What came with other ids.
    #[must_use]
    pub fn joined(&self) -> &[Joined] {
        &self.joined
    }

    /// The same, where what was reported until then was reported in another store. What was over there by one of them, and is here, was kept
    /// there for reasons that did not come along: it is not over by that here.
    #[must_use]
    pub fn elsewhere_until(self, elsewhere: Option<Timestamp>) -> Self {
        Self { elsewhere, ..self }
    }

    /// Until when reports were made in another store, if any was.
    #[must_use]
    pub const fn elsewhere(&self) -> Option<Timestamp> {
        self.elsewhere
    }

    /// The same, where what nobody has reported was at `at`: after an order to shred nobody reports anything of the person any more, so
    /// what had not ended by then ended with it.
    #[must_use]
    pub fn or_at(self, at: Timestamp) -> Self {
        Self { otherwise: Some(at), ..self }
    }

    /// When all was that nobody has reported; `None` where that is not known.
    #[must_use]
    pub const fn otherwise(&self) -> Option<Timestamp> {
        self.otherwise
    }

    /// All reports, in the order of time, but what came with other ids.
    #[must_use]
    pub fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// The times of all reports that were not known to who has `seen` what has this number, each once; of those that were made in another
    /// store that of the last.
    #[must_use]
    pub fn moments(&self, seen: u64) -> Vec<Timestamp> {
        let from_there = self.reports.iter().filter(|report| Some(report.reported_at) <= self.elsewhere).count();
        let here = self.reports.iter().skip(from_there.saturating_sub(1)).filter(|report| report.no > seen);
        let mut moments: Vec<Timestamp> = here.map(|report| report.reported_at).collect();
        moments.dedup();
        moments
    }

    /// When an event was, as it is known now.
    #[must_use]
    pub fn date(&self, event: &str) -> Option<EventDate> {
        self.reported(event).or_else(|| self.otherwise.map(EventDate::Time))
    }

    /// Whether nobody has reported when an event was, and it is taken to have been when all else was.
    #[must_use]
    pub fn is_assumed(&self, event: &str) -> bool {
        self.otherwise.is_some() && self.reported(event).is_none()
    }

    /// The last report of each event that is known now.
    pub fn known(&self) -> impl Iterator<Item = &Report> {
        let is_last = move |place: usize, report: &Report| {
            !self.reports.iter().skip(place.saturating_add(1)).any(|later| later.event == report.event)
        };
        self.reports
            .iter()
            .enumerate()
            .filter(move |(place, report)| report.at.is_some() && is_last(*place, report))
            .map(|(_, report)| report)
    }

    /// Takes in a report of this number; `false`, and nothing is changed, where it says what is known.
    pub fn report(&mut self, event: &EventName, at: Option<EventDate>, (no, now): (u64, Timestamp)) -> bool {
        if self.reported(event.as_str()) == at {
            return false;
        }
        // Also where the clock went back: what is reported later counts.
        let reported_at = self.last_moment().map_or(now, |last| last.max(now));
        // Another store may have numbered higher what came from there.
        let no = if fault!("report-no") { no } else { no.max(self.last_no().saturating_add(1)) };
        self.reports.push(Report { event: event.clone(), at, reported_at, no });
        true
    }

    /// What is known of a person who has another id from now on, and what was known of that: of each event the later report counts for both.
    /// Neither has known by then what was reported of the other: nothing was over by that before, and no date stood by it.
    #[must_use]
    pub fn and(self, id: &Id, other: &Self, (no, now): (u64, Timestamp)) -> Self {
        let Self { reports, elsewhere: others, .. } = other.seen_by(id);
        // One that came before, was taken away and comes back.
        let own = self.without(id);
        let last = own.last_moment().max(reports.last().map(|last| last.reported_at));
        // Behind all reports of either.
        let at = last.map_or(now, |last| Timestamp(last.0.saturating_add(1)).max(now));
        let no = no.max(own.last_no().max(other.last_no()).saturating_add(1));
        let joined = own.joined.into_iter().chain([Joined { id: *id, at, no, reports }]).collect();
        Self { reports: own.reports, joined, otherwise: own.otherwise, elsewhere: own.elsewhere.max(others) }
    }

    /// The same, where an id is the person's no more: what came with it stays as it has counted for the others.
    #[must_use]
    pub fn without(mut self, id: &Id) -> Self {
        let Some(place) = self.joined.iter().position(|one| one.id == *id) else { return self };
        let joined = vec![self.joined.remove(place)];
        let reports = Self { reports: std::mem::take(&mut self.reports), joined, ..Self::default() }.seen(None).reports;
        Self { reports, ..self }
    }

    /// What is known of the person by what is about one of the ids: as of when it was reported, if that was of this id, and otherwise as of
    /// when this one and that were joined, as far as it counted from then on.
    #[must_use]
    pub fn seen_by(&self, id: &Id) -> Self {
        self.seen(Some(id))
    }

    fn seen(&self, id: Option<&Id>) -> Self {
        if self.joined.is_empty() {
            return self.clone();
        }
        let own = self.joined.iter().find(|one| Some(&one.id) == id && !fault!("events-seen")).map_or(EVER, Joined::since);
        let since = |report: &Report, from: Since| behind((report.no, report.reported_at), from);
        // Since when it is known, and which of two was made later.
        let mut all: Vec<(Since, (Timestamp, usize), &Report)> = Vec::with_capacity(self.count());
        all.extend(self.reports.iter().map(|report| (since(report, own), (report.reported_at, 0), report)));
        for (place, one) in self.joined.iter().enumerate() {
            let from = if Some(&one.id) == id || fault!("events-seen") { EVER } else { behind(one.since(), own) };
            let made = |report: &Report| (report.reported_at, place.saturating_add(1));
            all.extend(one.reports.iter().map(|report| (since(report, from), made(report), report)));
        }
        all.sort_by_key(|((no, _), made, _)| (*no, *made));
        let mut seen: Vec<((Timestamp, usize), Report)> = Vec::with_capacity(all.len());
        for (place, &(known, made, report)) in all.iter().enumerate() {
            if is_late(known, report) {
                let mut others = all.iter().skip(place.saturating_add(1)).take_while(|(other, ..)| other.0 == known.0);
                if others.any(|(_, _, later)| is_late(known, later) && later.event == report.event) {
                    // It did not count any more by then.
                    continue;
                }
                match seen.iter_mut().rfind(|(_, before)| before.event == report.event) {
                    Some((last, _)) if *last > made => continue,
                    Some((last, before)) if before.at == report.at => {
                        *last = made;
                        continue;
                    }
                    None if report.at.is_none() => continue,
                    Some(_) | None => {}
                }
            }
            seen.push((made, Report { reported_at: known.1, no: known.0, ..report.clone() }));
        }
        let reports = seen.into_iter().map(|(_, report)| report).collect();
        Self { reports, joined: Vec::new(), otherwise: self.otherwise, elsewhere: self.elsewhere }
    }

    /// How many reports there are, with those that came with other ids.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all().count()
    }

    /// What was known by a moment to who has `seen` what has this number, of what was reported in another store all.
    #[must_use]
    pub fn by(&self, moment: Timestamp, seen: u64) -> Self {
        let moment = self.elsewhere.map_or(moment, |until| until.max(moment));
        let known = self.reports.iter().filter(|report| report.reported_at <= moment || (report.no <= seen && !fault!("seen-by")));
        Self { reports: known.cloned().collect(), joined: Vec::new(), otherwise: self.otherwise, elsewhere: self.elsewhere }
    }

    /// What is known of some events alone.
    #[must_use]
    pub fn only(mut self, kept: impl Fn(&str) -> bool) -> Self {
        self.reports.retain(|report| kept(report.event.as_str()));
        self
    }

    /// The day of an event, as it is known now.
    pub(super) fn day(&self, event: &str, zone: &Zone) -> Option<Date> {
        self.date(event).map(|date| date.day_in(zone))
    }

    /// The latest day that was reported of an event, of those that stood for who has `seen` what has this number, or since: who corrects it
    /// brings no minimum forward.
    pub(super) fn latest_day(&self, event: &str, zone: &Zone, seen: u64) -> Option<Date> {
        let of_event: Vec<&Report> = self.of_event(event).collect();
        let stood = of_event.iter().enumerate().filter(|(place, _)| {
            let next = of_event.get(place.saturating_add(1));
            next.is_none_or(|next| next.no > seen)
        });
        stood.filter_map(|(_, report)| report.at).map(|date| date.day_in(zone)).max()
    }

    /// When an event was reported, or taken back, last, if that was not known to who has `seen` what has this number.
    #[must_use]
    pub fn last_reported(&self, event: &str, seen: u64) -> Option<Timestamp> {
        self.of_event(event).last().filter(|report| report.no > seen).map(|report| report.reported_at)
    }

    /// The number of what became known last; 0 where nothing did.
    #[must_use]
    pub fn last_no(&self) -> u64 {
        self.last_no_until(u64::MAX)
    }

    /// The same of what has no higher number than this.
    #[must_use]
    pub fn last_no_until(&self, no: u64) -> u64 {
        let all = self.all().map(|report| report.no).chain(self.joined.iter().map(|one| one.no));
        all.filter(|one| *one <= no).max().unwrap_or(0)
    }

    /// What was reported of an event last.
    fn reported(&self, event: &str) -> Option<EventDate> {
        // The last one of those that are.
        self.all().filter(|report| report.event.as_str() == event).max_by_key(|report| report.reported_at).and_then(|report| report.at)
    }

    fn all(&self) -> impl Iterator<Item = &Report> {
        self.reports.iter().chain(self.joined.iter().flat_map(|one| &one.reports))
    }

    /// When something became known last.
    fn last_moment(&self) -> Option<Timestamp> {
        self.all().map(|report| report.reported_at).chain(self.joined.iter().map(|one| one.at)).max()
    }

    fn of_event<'a>(&'a self, event: &'a str) -> impl Iterator<Item = &'a Report> {
        self.reports.iter().filter(move |report| report.event.as_str() == event)
    }
}

impl Serialize for EventName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EventName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&text), &EVENT_FORM))
    }
}

impl Serialize for EventDate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_text())
    }
}

impl<'de> Deserialize<'de> for EventDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&text), &DATE_FORM))
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests that add small numbers")]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> EventName {
        EventName::parse(text).unwrap()
    }

    fn date(text: &str) -> Option<EventDate> {
        EventDate::parse(text)
    }

    fn day(text: &str) -> Option<Date> {
        text.parse().ok()
    }

    #[test]
    fn a_date_is_a_day_or_a_time_whose_day_the_zone_tells() {
        let (angeles, utc) = (Zone::parse("America/Los_Angeles").unwrap(), Zone::utc());
        let late = EventDate::parse("2026-02-01T02:00:00Z").unwrap();
        assert_eq!((Some(late.day_in(&angeles)), Some(late.day_in(&utc))), (day("2026-01-31"), day("2026-02-01")));
        let plain = EventDate::parse("2026-02-01").unwrap();
        assert_eq!((plain.day_in(&angeles), plain.to_text()), (plain.day_in(&utc), "2026-02-01".into()));
        assert_eq!(EventDate::parse(&late.to_text()), Some(late));
        for text in ["", "2026", "2026-02-30", "soon", "9001-01-01", "-000001-01-01", "2026-02-01T25:00:00Z", "20260201"] {
            assert_eq!(EventDate::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_date_lies_at_most_a_hundred_years_ahead() {
        let now = Timestamp::parse_rfc3339("2026-03-01T23:59:59Z").unwrap();
        for (text, is_too_far) in [
            ("0001-01-01", false),
            ("2126-03-01", false),
            ("2126-03-01T23:59:59.999Z", false),
            ("2126-03-02T00:00:00Z", true),
            ("2126-03-02", true),
            ("9000-12-31", true),
        ] {
            assert_eq!(date(text).unwrap().is_too_far(now), is_too_far, "{text}");
        }
    }

    #[test]
    fn a_report_is_read_as_it_was_written_and_no_other_form_of_one_is() {
        for at in [date("2026-01-31"), date("2026-02-01T02:00:00.120Z"), None] {
            let report = Report { event: name("contract-ended"), at, reported_at: Timestamp(1_700_000_000_123), no: 7 };
            let json = serde_json::to_value(&report).unwrap();
            assert_eq!(json["at"], at.map_or(serde_json::Value::Null, |at| at.to_text().into()));
            assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
        }
        let whole = serde_json::json!({"event": "e", "at": "2026-01-31", "reported_at": "2026-02-01T00:00:00.000Z", "no": 7});
        assert!(serde_json::from_value::<Report>(whole.clone()).is_ok());
        let bent = [("event", "No Name"), ("at", "soon"), ("at", "9001-01-01"), ("reported_at", "2026-02-01"), ("no", "7"), ("more", "")];
        for (field, bent) in bent {
            let mut other = whole.clone();
            other[field] = bent.into();
            assert!(serde_json::from_value::<Report>(other).is_err(), "{field} {bent}");
        }
        let mut unnumbered = whole;
        unnumbered.as_object_mut().unwrap().remove("no");
        assert!(serde_json::from_value::<Report>(unnumbered).is_err());
    }

    #[test]
    fn the_last_report_counts_and_one_without_a_date_takes_back() {
        let mut events = Events::default();
        let (end, other) = (name("contract-ended"), name("other"));
        assert!(!events.report(&end, None, (9, Timestamp(1))), "there is nothing to take back");
        assert!(events.report(&end, date("2026-01-31"), (10, Timestamp(2))));
        assert!(!events.report(&end, date("2026-01-31"), (11, Timestamp(3))), "it is known");
        assert!(events.report(&other, date("2020-01-01"), (12, Timestamp(3))));
        assert!(events.report(&end, date("2026-02-28"), (13, Timestamp(4))));
        assert_eq!(
            (events.date("contract-ended"), events.date("other"), events.date("none")),
            (date("2026-02-28"), date("2020-01-01"), None)
        );
        assert_eq!(events.known().map(|report| report.event.as_str()).collect::<Vec<_>>(), ["other", "contract-ended"]);
        assert!(events.report(&end, None, (14, Timestamp(1))), "the clock went back");
        assert_eq!((events.date("contract-ended"), events.known().count(), events.reports().len()), (None, 1, 4));
        let by = |moment, seen| events.by(Timestamp(moment), seen);
        assert_eq!((by(3, 0).date("contract-ended"), by(3, 13).date("contract-ended")), (date("2026-01-31"), date("2026-02-28")));
        assert_eq!((by(1, 9), by(1, 14)), (Events::default(), events.clone()), "whatever the clock said, it was seen");
        assert_eq!((events.last_no(), events.last_no_until(13), events.last_no_until(9)), (14, 13, 0));
        // Behind those that another store has numbered.
        assert!(events.report(&end, date("2026-03-31"), (3, Timestamp(5))));
        assert_eq!(events.last_no(), 15);
        assert_eq!(events.clone().only(|event| event == "other").reports().len(), 1);
    }

    #[test]
    fn what_was_reported_in_another_store_was_known_in_this_one_from_the_beginning() {
        let mut events = Events::default();
        for (at, no, reported_at) in [("2024-01-01", 1, 10), ("2030-01-01", 2, 20), ("2020-01-01", 3, 40)] {
            events.report(&name("end"), date(at), (no, Timestamp(reported_at)));
        }
        let times = |moments: Vec<Timestamp>| moments.into_iter().map(|at| at.0).collect::<Vec<_>>();
        assert_eq!((times(events.moments(0)), events.by(Timestamp(15), 0).date("end")), (vec![10, 20, 40], date("2024-01-01")));
        let came = events.clone().elsewhere_until(Some(Timestamp(30)));
        assert_eq!((came.elsewhere(), times(came.moments(0))), (Some(Timestamp(30)), vec![20, 40]));
        // What was seen brings no end forward.
        for (seen, moments) in [(1, vec![20, 40]), (2, vec![40]), (3, vec![])] {
            assert_eq!((times(events.moments(seen)), times(came.moments(seen))), (moments.clone(), moments), "{seen}");
        }
        for moment in [0, 15, 39] {
            assert_eq!(came.by(Timestamp(moment), 0).date("end"), date("2030-01-01"), "{moment}");
        }
        assert_eq!(came.by(Timestamp(40), 0).date("end"), date("2020-01-01"));
        // Which of them stood when a record was written is told as it was there.
        let latest = |events: &Events, seen| events.latest_day("end", &Zone::utc(), seen);
        for (seen, day) in [(1, day("2030-01-01")), (2, day("2030-01-01")), (3, day("2020-01-01"))] {
            assert_eq!((latest(&came, seen), latest(&events, seen)), (day, day), "{seen}");
        }
        assert_eq!(events.and(&[1; 16], &came, (4, Timestamp(50))).elsewhere(), Some(Timestamp(30)));
        assert!(Events::default().elsewhere_until(Some(Timestamp(30))).moments(0).is_empty());
    }

    #[test]
    fn what_nobody_reported_was_when_the_person_was_shredded() {
        let mut events = Events::default();
        events.report(&name("known"), date("2020-05-05"), (1, Timestamp(1)));
        let order = Timestamp::parse_rfc3339("2026-03-01T12:00:00Z").unwrap();
        let events = events.or_at(order);
        assert_eq!((events.date("known"), events.date("subject-end")), (date("2020-05-05"), Some(EventDate::Time(order))));
        assert_eq!((events.is_assumed("known"), events.is_assumed("subject-end")), (false, true));
        assert_eq!(events.latest_day("subject-end", &Zone::utc(), 0), None);
    }

    #[test]
    fn the_latest_day_is_that_of_all_that_stood_since() {
        let mut events = Events::default();
        let end = name("end");
        // Whatever the clock says.
        for (at, no, reported_at) in [("2024-01-01", 1, 9_000_000), ("2030-01-01", 2, 10), ("2020-01-01", 3, 30)] {
            events.report(&end, date(at), (no, Timestamp(reported_at)));
        }
        let latest = |seen| events.latest_day("end", &Zone::utc(), seen);
        assert_eq!(events.day("end", &Zone::utc()), day("2020-01-01"));
        assert_eq!((latest(0), latest(1), latest(2)), (day("2030-01-01"), day("2030-01-01"), day("2030-01-01")));
        assert_eq!((latest(3), latest(u64::MAX)), (day("2020-01-01"), day("2020-01-01")));
        assert_eq!((events.last_reported("end", 2), events.last_reported("end", 3)), (Some(Timestamp(9_000_000)), None));
        let mut back = events.clone();
        back.report(&end, None, (4, Timestamp(40)));
        assert_eq!((back.day("end", &Zone::utc()), back.latest_day("end", &Zone::utc(), 3)), (None, day("2020-01-01")));
        assert_eq!(back.latest_day("end", &Zone::utc(), 4), None);
    }

    #[test]
    fn two_ids_of_one_person_know_what_either_knew() {
        let of = |at: &str, reported_at| {
            let mut events = Events::default();
            events.report(&name("end"), date(at), (0, Timestamp(reported_at)));
            events
        };
        let (first, added) = ([1; 16], [2; 16]);
        for (own, other) in [(("2024-01-01", 10), ("2025-01-01", 20)), (("2025-01-01", 20), ("2024-01-01", 10))] {
            let joined = of(own.0, own.1).and(&added, &of(other.0, other.1), (0, Timestamp(30)));
            assert_eq!((joined.date("end"), joined.count(), joined.last_no()), (date("2025-01-01"), 2, 2));
            for id in [first, added] {
                assert_eq!(joined.seen_by(&id).date("end"), date("2025-01-01"));
            }
        }
    }

    /// What each id is told: the reports of its own as they came, and the other's from the moment on in which the two were joined.
    #[test]
    fn nothing_was_over_by_a_report_of_another_id_before_the_two_were_joined() {
        let end = name("end");
        let of = |reports: &[(&str, i64)]| {
            let mut events = Events::default();
            for (at, reported_at) in reports {
                events.report(&end, date(at), (0, Timestamp(*reported_at)));
            }
            events
        };
        let joined = |own: &Events, id: Id, other: &Events, now| own.clone().and(&id, other, (0, Timestamp(now)));
        let told = |events: &Events, id: Id| {
            let seen = events.seen_by(&id);
            seen.reports().iter().map(|one| (one.at.map_or_else(String::new, EventDate::to_text), one.reported_at.0)).collect::<Vec<_>>()
        };
        let list = |all: &[(&str, i64)]| all.iter().map(|(at, known)| ((*at).to_owned(), *known)).collect::<Vec<_>>();
        let (first, added, third) = ([1; 16], [2; 16], [3; 16]);
        let own = of(&[("2040-01-01", 10)]);
        let mut both = joined(&own, added, &of(&[("2001-01-01", 15), ("2002-01-01", 20)]), 100);
        assert_eq!(told(&both, first), list(&[("2040-01-01", 10), ("2002-01-01", 100)]));
        assert_eq!(told(&both, added), list(&[("2001-01-01", 15), ("2002-01-01", 20)]), "its own date is the later one");
        let seen = both.seen_by(&first);
        let by = |moment| seen.by(Timestamp(moment), 0).date("end");
        assert_eq!((by(99), by(100)), (date("2040-01-01"), date("2002-01-01")));
        // The date that has lost stood until then, also for what was written behind the other's report.
        let nos: Vec<u64> = seen.reports().iter().map(|report| report.no).collect();
        assert_eq!(nos, [1, 3], "behind all of either");
        assert_eq!(seen.latest_day("end", &Zone::utc(), 2), day("2040-01-01"));
        assert_eq!(seen.latest_day("end", &Zone::utc(), 3), day("2002-01-01"));
        // A third one whose date was reported between: it loses, and knows of that from its own joining on.
        both = joined(&both, third, &of(&[("2003-01-01", 19)]), 200);
        assert_eq!(told(&both, first), list(&[("2040-01-01", 10), ("2002-01-01", 100)]));
        assert_eq!(told(&both, third), list(&[("2003-01-01", 19), ("2002-01-01", 200)]));
        // What is reported from then on is of all, also in the very moment.
        assert!(!both.report(&end, date("2002-01-01"), (0, Timestamp(200))) && both.report(&end, None, (0, Timestamp(1))));
        for (id, count) in [(first, 3), (added, 3), (third, 3)] {
            assert_eq!((told(&both, id).len(), told(&both, id).last().cloned()), (count, Some((String::new(), 200))));
        }
        assert_eq!(both.date("end"), None);
        // One that is taken away leaves what has counted for the others; when it comes back, nothing stands twice.
        let parted = both.clone().without(&added);
        assert_eq!((told(&parted, first), parted.joined().len()), (told(&both, first), 1));
        let again = joined(&both, added, &both.seen_by(&added), 300);
        assert_eq!((told(&again, first), again.joined().len()), (told(&both, first), 2));
        assert_eq!(told(&again, added), told(&both, added));
        // Of which nothing was known, nothing is taken back.
        let back = Events::of(vec![Report { event: end.clone(), at: None, reported_at: Timestamp(5), no: 1 }]);
        assert_eq!(told(&joined(&Events::default(), added, &back, 9), first), list(&[]));
        assert_eq!(told(&joined(&own, added, &back, 11), first), list(&[("2040-01-01", 10)]));
        assert_eq!(told(&joined(&own, added, &back, 11), added), list(&[("", 5), ("2040-01-01", 11)]));
    }

    /// The ids of one person, the first one first, while each is one's own.
    const IDS: [Id; 3] = [[1; 16], [2; 16], [3; 16]];

    /// Reports of three ids, who become one person, by a clock that is set on and back by hours.
    #[derive(Default)]
    struct Told {
        /// Under the first id also those of the ids that are its person's.
        rows: BTreeMap<Id, Events>,
        joined: Vec<Id>,
        no: u64,
        now: i64,
    }

    impl Told {
        /// What counts for a record that is about an id.
        fn seen_by(&self, id: Id) -> Events {
            self.rows.get(&self.of(id)).map_or_else(Events::default, |events| events.seen_by(&id))
        }

        fn of(&self, id: Id) -> Id {
            if self.joined.contains(&id) { IDS[0] } else { id }
        }

        fn next(&mut self) -> (u64, Timestamp) {
            self.no += 1;
            (self.no, Timestamp(self.now))
        }
    }

    /// A record, and the latest day that stood since it was written, as whoever watched it would tell.
    struct Watched {
        id: Id,
        seen: u64,
        latest: Option<Date>,
    }

    proptest! {
        /// A record's minimum counts from the latest day that has stood since it was written, neither from an earlier nor from a later one,
        /// whether its write has looked at what was reported, or its version tells.
        #[test]
        fn what_has_stood_since_a_record_was_written_is_told_by_numbers_alone(
            steps in prop::collection::vec((0..10_u8, 0..3_usize, 0..12_u8, -6 * 3_600_000..=6 * 3_600_000_i64), 1..60),
        ) {
            let (end, utc) = (name("end"), Zone::utc());
            let mut told = Told { now: 1_700_000_000_000, ..Told::default() };
            let mut watched: Vec<Watched> = Vec::new();
            for (what, which, drawn, step) in steps {
                told.now += step;
                let id = IDS[which];
                match what {
                    0..=4 => {
                        let of = told.of(id);
                        let (at, next) = (date(&format!("20{:02}-01-01", 20 + drawn)).filter(|_| drawn > 0), told.next());
                        told.rows.entry(of).or_default().report(&end, at, next);
                    }
                    5 if which > 0 && !told.joined.contains(&id) => {
                        let (own, next) = (told.rows.remove(&IDS[0]).unwrap_or_default(), told.next());
                        let other = told.rows.remove(&id).unwrap_or_default();
                        told.rows.insert(IDS[0], own.and(&id, &other, next));
                        told.joined.push(id);
                    }
                    _ => {
                        let (version, _) = told.next();
                        let seen = told.seen_by(id);
                        watched.extend([version, seen.last_no()].map(|seen| Watched { id, seen, latest: None }));
                    }
                }
                for one in &mut watched {
                    let seen = told.seen_by(one.id);
                    one.latest = one.latest.max(seen.day("end", &utc));
                    prop_assert_eq!(seen.latest_day("end", &utc, one.seen), one.latest);
                    // What was seen is known at any moment of older data.
                    let then = seen.by(Timestamp(i64::MIN), one.seen);
                    prop_assert_eq!(then.last_no(), seen.last_no_until(one.seen));
                }
            }
        }
    }
}

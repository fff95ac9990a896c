//! Events that a backend reports of a person, and that rules count from: the end of a contract, the end of the relationship.
//!
//! An event is known from its report on. A later report takes the place of an earlier one, and takes it back where it names no date.
//! Every report is remembered: what a law keeps is kept by the latest date that stood since, and older data that is put back ends as it
//! ended by what was known at the time.

use std::time::Duration;

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

/// How far the times of a report and of what is written may be from the order in which they came.
pub const ABOUT: Duration = Duration::from_mins(10);
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
}

/// Whether a report was made before it is known.
fn is_late(known: Timestamp, report: &Report) -> bool {
    known > report.reported_at
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
    /// What was known of it by then, in the order of time.
    pub reports: Vec<Report>,
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
        reports.sort_by_key(|report| report.reported_at);
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

    /// The times of all reports, each once; of those that were made in another store that of the last.
    #[must_use]
    pub fn moments(&self) -> Vec<Timestamp> {
        let from_there = self.reports.iter().filter(|report| Some(report.reported_at) <= self.elsewhere).count();
        let here = self.reports.iter().skip(from_there.saturating_sub(1));
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

    /// Takes in a report; `false`, and nothing is changed, where it says what is known.
    pub fn report(&mut self, event: &EventName, at: Option<EventDate>, now: Timestamp) -> bool {
        if self.reported(event.as_str()) == at {
            return false;
        }
        // Also where the clock went back: what is reported later counts.
        let reported_at = self.last_moment().map_or(now, |last| last.max(now));
        self.reports.push(Report { event: event.clone(), at, reported_at });
        true
    }

    /// What is known of a person who has another id from now on, and what was known of that: of each event the later report counts for both.
    /// Neither has known by then what was reported of the other: nothing was over by that before, and no date stood by it.
    #[must_use]
    pub fn and(self, id: &Id, other: &Self, now: Timestamp) -> Self {
        let Self { reports, elsewhere: others, .. } = other.seen_by(id);
        // One that came before, was taken away and comes back.
        let own = self.without(id);
        let last = own.last_moment().max(reports.last().map(|last| last.reported_at));
        // Behind all reports of either.
        let at = last.map_or(now, |last| Timestamp(last.0.saturating_add(1)).max(now));
        let joined = own.joined.into_iter().chain([Joined { id: *id, at, reports }]).collect();
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
        let ever = Timestamp(i64::MIN);
        let own = self.joined.iter().find(|one| Some(&one.id) == id && !fault!("events-seen")).map_or(ever, |one| one.at);
        // Since when it is known, and which of two was made later.
        let mut all: Vec<(Timestamp, (Timestamp, usize), &Report)> = Vec::with_capacity(self.count());
        all.extend(self.reports.iter().map(|report| (report.reported_at.max(own), (report.reported_at, 0), report)));
        for (place, one) in self.joined.iter().enumerate() {
            let from = if Some(&one.id) == id || fault!("events-seen") { ever } else { one.at.max(own) };
            let made = |report: &Report| (report.reported_at, place.saturating_add(1));
            all.extend(one.reports.iter().map(|report| (report.reported_at.max(from), made(report), report)));
        }
        all.sort_by_key(|(known, made, _)| (*known, *made));
        let mut seen: Vec<((Timestamp, usize), Report)> = Vec::with_capacity(all.len());
        for (place, &(known, made, report)) in all.iter().enumerate() {
            if is_late(known, report) {
                let mut behind = all.iter().skip(place.saturating_add(1)).take_while(|(other, ..)| *other == known);
                if behind.any(|(_, _, later)| is_late(known, later) && later.event == report.event) {
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
            seen.push((made, Report { reported_at: known, ..report.clone() }));
        }
        let reports = seen.into_iter().map(|(_, report)| report).collect();
        Self { reports, joined: Vec::new(), otherwise: self.otherwise, elsewhere: self.elsewhere }
    }

    /// How many reports there are, with those that came with other ids.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all().count()
    }

    /// What was known by a moment, of what was reported in another store all.
    #[must_use]
    pub fn by(&self, moment: Timestamp) -> Self {
        let moment = self.elsewhere.map_or(moment, |until| until.max(moment));
        let known = self.reports.iter().filter(|report| report.reported_at <= moment);
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

    /// The latest day that was reported of an event and stood at any time from a moment on, or [`ABOUT`] before: who corrects it brings no
    /// minimum forward, also where the clock was set back a little, or what was written meets the correction.
    pub(super) fn latest_day(&self, event: &str, zone: &Zone, since: Timestamp) -> Option<Date> {
        let of_event: Vec<&Report> = self.of_event(event).collect();
        let stood = of_event.iter().enumerate().filter(|(place, _)| {
            let next = of_event.get(place.saturating_add(1));
            next.is_none_or(|next| next.reported_at.plus(ABOUT) >= since)
        });
        stood.filter_map(|(_, report)| report.at).map(|date| date.day_in(zone)).max()
    }

    /// When an event was reported, or taken back, last.
    #[must_use]
    pub fn last_reported(&self, event: &str) -> Option<Timestamp> {
        self.of_event(event).last().map(|report| report.reported_at)
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
mod tests {
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
            let report = Report { event: name("contract-ended"), at, reported_at: Timestamp(1_700_000_000_123) };
            let json = serde_json::to_value(&report).unwrap();
            assert_eq!(json["at"], at.map_or(serde_json::Value::Null, |at| at.to_text().into()));
            assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
        }
        let whole = serde_json::json!({"event": "e", "at": "2026-01-31", "reported_at": "2026-02-01T00:00:00.000Z"});
        assert!(serde_json::from_value::<Report>(whole.clone()).is_ok());
        for (field, bent) in [("event", "No Name"), ("at", "soon"), ("at", "9001-01-01"), ("reported_at", "2026-02-01"), ("more", "")] {
            let mut other = whole.clone();
            other[field] = bent.into();
            assert!(serde_json::from_value::<Report>(other).is_err(), "{field} {bent}");
        }
    }

    #[test]
    fn the_last_report_counts_and_one_without_a_date_takes_back() {
        let mut events = Events::default();
        let (end, other) = (name("contract-ended"), name("other"));
        assert!(!events.report(&end, None, Timestamp(1)), "there is nothing to take back");
        assert!(events.report(&end, date("2026-01-31"), Timestamp(2)));
        assert!(!events.report(&end, date("2026-01-31"), Timestamp(3)), "it is known");
        assert!(events.report(&other, date("2020-01-01"), Timestamp(3)));
        assert!(events.report(&end, date("2026-02-28"), Timestamp(4)));
        assert_eq!(
            (events.date("contract-ended"), events.date("other"), events.date("none")),
            (date("2026-02-28"), date("2020-01-01"), None)
        );
        assert_eq!(events.known().map(|report| report.event.as_str()).collect::<Vec<_>>(), ["other", "contract-ended"]);
        assert!(events.report(&end, None, Timestamp(1)), "the clock went back");
        assert_eq!((events.date("contract-ended"), events.known().count(), events.reports().len()), (None, 1, 4));
        assert_eq!(events.by(Timestamp(3)).date("contract-ended"), date("2026-01-31"));
        assert_eq!(events.by(Timestamp(1)), Events::default());
        assert_eq!(events.clone().only(|event| event == "other").reports().len(), 1);
    }

    #[test]
    fn what_was_reported_in_another_store_was_known_in_this_one_from_the_beginning() {
        let mut events = Events::default();
        for (at, reported_at) in [("2024-01-01", 10), ("2030-01-01", 20), ("2020-01-01", 40)] {
            events.report(&name("end"), date(at), Timestamp(reported_at));
        }
        let times = |moments: Vec<Timestamp>| moments.into_iter().map(|at| at.0).collect::<Vec<_>>();
        assert_eq!((times(events.moments()), events.by(Timestamp(15)).date("end")), (vec![10, 20, 40], date("2024-01-01")));
        let came = events.clone().elsewhere_until(Some(Timestamp(30)));
        assert_eq!((came.elsewhere(), times(came.moments())), (Some(Timestamp(30)), vec![20, 40]));
        for moment in [0, 15, 39] {
            assert_eq!(came.by(Timestamp(moment)).date("end"), date("2030-01-01"), "{moment}");
        }
        assert_eq!(came.by(Timestamp(40)).date("end"), date("2020-01-01"));
        // Which of them stood when a record was written is told as it was there.
        let latest = |events: &Events, since| events.latest_day("end", &Zone::utc(), Timestamp(since));
        let [early, late] = [21, 41].map(|since| Timestamp(since).plus(ABOUT).0);
        assert_eq!((latest(&came, early), latest(&came, late)), (latest(&events, early), latest(&events, late)));
        assert_eq!(events.and(&[1; 16], &came, Timestamp(50)).elsewhere(), Some(Timestamp(30)));
        assert!(Events::default().elsewhere_until(Some(Timestamp(30))).moments().is_empty());
    }

    #[test]
    fn what_nobody_reported_was_when_the_person_was_shredded() {
        let mut events = Events::default();
        events.report(&name("known"), date("2020-05-05"), Timestamp(1));
        let order = Timestamp::parse_rfc3339("2026-03-01T12:00:00Z").unwrap();
        let events = events.or_at(order);
        assert_eq!((events.date("known"), events.date("subject-end")), (date("2020-05-05"), Some(EventDate::Time(order))));
        assert_eq!((events.is_assumed("known"), events.is_assumed("subject-end")), (false, true));
        assert_eq!(events.latest_day("subject-end", &Zone::utc(), Timestamp(0)), None);
    }

    #[test]
    fn the_latest_day_is_that_of_all_that_stood_since() {
        let mut events = Events::default();
        let end = name("end");
        for (at, reported_at) in [("2024-01-01", 10), ("2030-01-01", 20), ("2020-01-01", 30)] {
            events.report(&end, date(at), Timestamp(reported_at));
        }
        let latest = |since| events.latest_day("end", &Zone::utc(), Timestamp(since));
        // The clock may have been set back so far between a correction and what was written behind it.
        let about = 600_000;
        assert_eq!(events.day("end", &Zone::utc()), day("2020-01-01"));
        assert_eq!((latest(0), latest(about + 30), latest(about + 31)), (day("2030-01-01"), day("2030-01-01"), day("2020-01-01")));
        let mut back = events.clone();
        back.report(&end, None, Timestamp(40));
        assert_eq!((back.day("end", &Zone::utc()), back.latest_day("end", &Zone::utc(), Timestamp(about + 31))), (None, day("2020-01-01")));
    }

    #[test]
    fn two_ids_of_one_person_know_what_either_knew() {
        let of = |at: &str, reported_at| {
            let mut events = Events::default();
            events.report(&name("end"), date(at), Timestamp(reported_at));
            events
        };
        let (first, added) = ([1; 16], [2; 16]);
        for (own, other) in [(("2024-01-01", 10), ("2025-01-01", 20)), (("2025-01-01", 20), ("2024-01-01", 10))] {
            let joined = of(own.0, own.1).and(&added, &of(other.0, other.1), Timestamp(30));
            assert_eq!((joined.date("end"), joined.count()), (date("2025-01-01"), 2));
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
                events.report(&end, date(at), Timestamp(*reported_at));
            }
            events
        };
        let told = |events: &Events, id: Id| {
            let seen = events.seen_by(&id);
            seen.reports().iter().map(|one| (one.at.map_or_else(String::new, EventDate::to_text), one.reported_at.0)).collect::<Vec<_>>()
        };
        let list = |all: &[(&str, i64)]| all.iter().map(|(at, known)| ((*at).to_owned(), *known)).collect::<Vec<_>>();
        let (first, added, third) = ([1; 16], [2; 16], [3; 16]);
        let own = of(&[("2040-01-01", 10)]);
        let mut both = own.clone().and(&added, &of(&[("2001-01-01", 15), ("2002-01-01", 20)]), Timestamp(100));
        assert_eq!(told(&both, first), list(&[("2040-01-01", 10), ("2002-01-01", 100)]));
        assert_eq!(told(&both, added), list(&[("2001-01-01", 15), ("2002-01-01", 20)]), "its own date is the later one");
        let seen = both.seen_by(&first);
        assert_eq!((seen.by(Timestamp(99)).date("end"), seen.by(Timestamp(100)).date("end")), (date("2040-01-01"), date("2002-01-01")));
        // The date that has lost stood until then, also for what was written behind the other's report.
        assert_eq!(seen.latest_day("end", &Zone::utc(), Timestamp(50)), day("2040-01-01"));
        assert_eq!(seen.latest_day("end", &Zone::utc(), Timestamp(101).plus(ABOUT)), day("2002-01-01"));
        // A third one whose date was reported between: it loses, and knows of that from its own joining on.
        both = both.and(&third, &of(&[("2003-01-01", 19)]), Timestamp(200));
        assert_eq!(told(&both, first), list(&[("2040-01-01", 10), ("2002-01-01", 100)]));
        assert_eq!(told(&both, third), list(&[("2003-01-01", 19), ("2002-01-01", 200)]));
        // What is reported from then on is of all, also in the very moment.
        assert!(!both.report(&end, date("2002-01-01"), Timestamp(200)) && both.report(&end, None, Timestamp(1)));
        for (id, count) in [(first, 3), (added, 3), (third, 3)] {
            assert_eq!((told(&both, id).len(), told(&both, id).last().cloned()), (count, Some((String::new(), 200))));
        }
        assert_eq!(both.date("end"), None);
        // One that is taken away leaves what has counted for the others; when it comes back, nothing stands twice.
        let parted = both.clone().without(&added);
        assert_eq!((told(&parted, first), parted.joined().len()), (told(&both, first), 1));
        let again = both.clone().and(&added, &both.seen_by(&added), Timestamp(300));
        assert_eq!((told(&again, first), again.joined().len()), (told(&both, first), 2));
        assert_eq!(told(&again, added), told(&both, added));
        // Of which nothing was known, nothing is taken back.
        let back = Events::of(vec![Report { event: end.clone(), at: None, reported_at: Timestamp(5) }]);
        assert_eq!(told(&Events::default().and(&added, &back, Timestamp(9)), first), list(&[]));
        assert_eq!(told(&own.clone().and(&added, &back, Timestamp(11)), first), list(&[("2040-01-01", 10)]));
        assert_eq!(told(&own.and(&added, &back, Timestamp(11)), added), list(&[("", 5), ("2040-01-01", 11)]));
    }
}

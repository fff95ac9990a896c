//! The calendar as the model counts it: days one by one, months by their lengths, leap years by their rule. When a day begins in a zone is
//! asked of `jiff`, as the program asks it: there is no simple oracle of what governments have done to their clocks.

use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use lethe::domain::Timestamp;

use crate::retention::time;

pub(super) const DAY_MS: i64 = 86_400_000;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A day, by how many there were since 1 January 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day(i64);

/// So many of one unit, as rules write it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Period {
    count: i64,
    unit: char,
}

const fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

const fn year_len(year: i64) -> i64 {
    if is_leap(year) { 366 } else { 365 }
}

const fn month_len(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn zone_of(name: &str) -> TimeZone {
    ZONES.get(name).unwrap()
}

impl Period {
    pub(super) fn of(text: &str) -> Self {
        let (count, unit) = text.split_at(text.len() - 1);
        Self { count: count.parse().unwrap(), unit: unit.chars().next().unwrap() }
    }

    /// In milliseconds, of one that is told in days or weeks.
    pub(super) fn millis(self) -> i64 {
        match self.unit {
            'd' => self.count * DAY_MS,
            'w' => self.count * 7 * DAY_MS,
            _ => panic!("{self:?} has no days of its own"),
        }
    }
}

impl Day {
    fn new(year: i64, month: i64, day: i64) -> Self {
        let years: i64 = (1970..year).map(year_len).sum();
        let months: i64 = (1..month).map(|month| month_len(year, month)).sum();
        Self(years + months + day - 1)
    }

    /// Year, month, day of the month.
    fn parts(self) -> (i64, i64, i64) {
        assert!(self.0 >= 0, "{self:?} is before all days that are drawn");
        let (mut year, mut month, mut left) = (1970, 1, self.0);
        while left >= year_len(year) {
            left -= year_len(year);
            year += 1;
        }
        while left >= month_len(year, month) {
            left -= month_len(year, month);
            month += 1;
        }
        (year, month, left + 1)
    }

    /// As it stands in a value, and in a report.
    pub(super) fn text(self) -> String {
        let (year, month, day) = self.parts();
        format!("{year:04}-{month:02}-{day:02}")
    }

    /// The day in UTC.
    pub(super) const fn of(at: Timestamp) -> Self {
        Self(at.0.div_euclid(DAY_MS))
    }

    /// The day that a moment lies in: the last that has begun by then, also where clocks are set back over midnight.
    pub(super) fn in_zone(at: Timestamp, zone: &str) -> Self {
        let date = jiff::Timestamp::from_millisecond(at.0).unwrap().to_zoned(zone_of(zone)).date();
        let day = Self::new(date.year().into(), date.month().into(), date.day().into());
        let next = day.plus(1);
        if next.begins(zone) <= at { next } else { day }
    }

    pub(super) const fn plus(self, days: i64) -> Self {
        Self(self.0 + days)
    }

    /// Its first moment in a zone.
    fn begins(self, zone: &str) -> Timestamp {
        let (year, month, day) = self.parts();
        let date = jiff::civil::date(i16::try_from(year).unwrap(), i8::try_from(month).unwrap(), i8::try_from(day).unwrap());
        Timestamp(date.to_zoned(zone_of(zone)).unwrap().timestamp().as_millisecond())
    }

    /// The last day of a period of which it is day zero: the same day of the month, or the last that the month has.
    fn last_of(self, Period { count, unit }: Period) -> Self {
        let months = match unit {
            'd' => return self.plus(count),
            'w' => return self.plus(7 * count),
            'm' => count,
            'y' => 12 * count,
            _ => panic!("{unit} is no unit"),
        };
        let (year, month, day) = self.parts();
        let behind = month - 1 + months;
        let (year, month) = (year + behind / 12, behind % 12 + 1);
        Self::new(year, month, day.min(month_len(year, month)))
    }

    /// The first moment behind such a period, in a zone.
    pub(super) fn over(self, period: Period, zone: &str) -> Timestamp {
        self.last_of(period).plus(1).begins(zone)
    }
}

/// What the calendar is known to say, so that model and program are not wrong in the same way.
#[test]
fn the_models_calendar_is_that_of_the_wall() {
    let last = |day: (i64, i64, i64), period| Day::new(day.0, day.1, day.2).last_of(Period::of(period)).text();
    for (day, period, expected) in [
        ((2000, 1, 31), "1m", "2000-02-29"),
        ((2001, 1, 31), "1m", "2001-02-28"),
        ((2000, 2, 29), "1y", "2001-02-28"),
        ((2000, 2, 29), "4y", "2004-02-29"),
        ((2096, 2, 29), "4y", "2100-02-28"),
        ((2000, 8, 31), "18m", "2002-02-28"),
        ((1999, 12, 31), "1d", "2000-01-01"),
        ((2000, 2, 28), "1w", "2000-03-06"),
        ((2099, 12, 31), "60d", "2100-03-01"),
    ] {
        assert_eq!(last(day, period), expected, "{day:?} {period}");
    }
    for (at, zone, day, ends) in [
        ("2000-01-01T06:00:00Z", "America/Los_Angeles", "1999-12-31", "2000-01-02T08:00:00Z"),
        // Samoa went without 30 December 2011; in Sao Paulo the day began at one o'clock.
        ("2011-12-30T09:59:59Z", "Pacific/Apia", "2011-12-29", "2011-12-30T10:00:00Z"),
        ("2011-12-30T10:00:00Z", "Pacific/Apia", "2011-12-31", "2012-01-01T10:00:00Z"),
        ("2017-10-15T02:59:59Z", "America/Sao_Paulo", "2017-10-14", "2017-10-16T02:00:00Z"),
    ] {
        let found = Day::in_zone(time(at), zone);
        assert_eq!(found.text(), day, "{at} in {zone}");
        let over = found.over(Period::of("1d"), zone);
        assert_eq!(over, time(ends), "{at} in {zone}");
    }
}

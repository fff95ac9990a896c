//! Periods in units of the calendar. They are added to days, not to instants: a day has 23 or 25 hours twice a year.

use std::{collections::HashMap, fmt};

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest period, in years.
const YEARS_MAX: u16 = 200;

/// What a period counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Unit {
    Years,
    Months,
    Weeks,
    Days,
}

/// So many years, months, weeks or days: `7y`, `18m`, `6w`, `30d`. At least one, at most 200 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Period {
    count: u32,
    unit: Unit,
}

/// The form of a period, for refusals.
pub const PERIOD_FORM: &str =
    "a period of whole years, months, weeks or days from 1 day to 200 years, such as \"7y\", \"18m\", \"6w\" or \"30d\"";

impl Period {
    /// Reads a period; `None` if it is none. A leading zero or sign, a second unit, an upper-case letter are none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let unit = match text.bytes().last()? {
            b'y' => Unit::Years,
            b'm' => Unit::Months,
            b'w' => Unit::Weeks,
            b'd' => Unit::Days,
            _ => return None,
        };
        let digits = text.get(..text.len().saturating_sub(1))?;
        if digits.is_empty() || digits.len() > 6 || digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let count: u32 = digits.parse().ok()?;
        let per_year = match unit {
            Unit::Years => 1,
            Unit::Months => 12,
            Unit::Weeks => 52,
            Unit::Days => 365,
        };
        (count <= u32::from(YEARS_MAX).saturating_mul(per_year)).then_some(Self { count, unit })
    }

    /// The last day of the period whose day zero is `start`: the same day of the month so many months later, or the month's last
    /// where it has no such day (31 January and one month: 28 or 29 February; 29 February and one year: 28 February). Saturates at
    /// the end of the calendar, the year 9999.
    #[must_use]
    pub fn last_day(self, start: Date) -> Date {
        let count = i64::from(self.count);
        let span = match self.unit {
            Unit::Years => jiff::Span::new().try_years(count),
            Unit::Months => jiff::Span::new().try_months(count),
            Unit::Weeks => jiff::Span::new().try_weeks(count),
            Unit::Days => jiff::Span::new().try_days(count),
        };
        span.and_then(|span| start.checked_add(span)).unwrap_or(Date::MAX)
    }

    /// Whole months and days that it stands for; one of them is 0.
    const fn months_and_days(self) -> (u32, u32) {
        match self.unit {
            Unit::Years => (self.count.saturating_mul(12), 0),
            Unit::Months => (self.count, 0),
            Unit::Weeks => (0, self.count.saturating_mul(7)),
            Unit::Days => (0, self.count),
        }
    }

    /// How many days it is, where it is told in days or weeks: every month has others.
    #[must_use]
    pub const fn exact_days(self) -> Option<u32> {
        match self.months_and_days() {
            (0, days) => Some(days),
            _ => None,
        }
    }

    /// The fewest and the most days that it takes, over every day to begin on.
    #[must_use]
    pub fn days(self) -> (u32, u32) {
        let (months, days) = self.months_and_days();
        if months == 0 {
            return (days, days);
        }
        #[cfg(test)]
        MEASURED.with(|periods| periods.set(periods.get().saturating_add(1)));
        // The calendar repeats after 400 years: 4,800 months to begin in.
        let lengths: Vec<u32> = (0..CYCLE_MONTHS).map(month_len).collect();
        let len =
            |month: u32| lengths.get(usize::try_from(month.checked_rem(CYCLE_MONTHS).unwrap_or(0)).unwrap_or(0)).copied().unwrap_or(31);
        let mut sum: u32 = (0..months).map(len).fold(0, u32::saturating_add);
        let (mut fewest, mut most) = (u32::MAX, 0);
        for first in 0..CYCLE_MONTHS {
            let last = first.saturating_add(months);
            // From the first of a month nothing is cut off; from its last day, what the month of the end lacks.
            let cut = len(first).saturating_sub(len(last));
            most = most.max(sum);
            fewest = fewest.min(sum.saturating_sub(cut));
            sum = sum.saturating_sub(len(first)).saturating_add(len(last));
        }
        (fewest, most)
    }

    /// Whether it ends no later than `other`, whatever the day on which both begin.
    #[must_use]
    pub fn never_outlasts(self, other: Self) -> bool {
        self.never_outlasts_by(other, &mut Lengths::default())
    }

    /// The same, for who asks of many: to measure a period takes a walk over 400 years.
    #[must_use]
    pub fn never_outlasts_by(self, other: Self, lengths: &mut Lengths) -> bool {
        let ((months, days), (other_months, other_days)) = (self.months_and_days(), other.months_and_days());
        match (months > 0, other_months > 0) {
            (true, true) => months <= other_months,
            (false, false) => days <= other_days,
            (true, false) | (false, true) => lengths.of(self).1 <= lengths.of(other).0,
        }
    }
}

/// Periods that were measured: the fewest and the most days of each.
#[derive(Debug, Default)]
pub struct Lengths(HashMap<Period, (u32, u32)>);

impl Lengths {
    fn of(&mut self, period: Period) -> (u32, u32) {
        *self.0.entry(period).or_insert_with(|| period.days())
    }
}

const CYCLE_MONTHS: u32 = 4_800;

/// Days of the month at a place in the cycle that begins with January 2000.
fn month_len(place: u32) -> u32 {
    let year = i16::try_from(place.checked_div(12).unwrap_or(0)).unwrap_or(0).saturating_add(2_000);
    let month = i8::try_from(place.checked_rem(12).unwrap_or(0)).unwrap_or(0).saturating_add(1);
    Date::new(year, month, 1).map_or(31, |first| u32::from(first.days_in_month().unsigned_abs()))
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Years => 'y',
            Unit::Months => 'm',
            Unit::Weeks => 'w',
            Unit::Days => 'd',
        };
        write!(f, "{}{unit}", self.count)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&text), &PERIOD_FORM))
    }
}

#[cfg(test)]
thread_local! {
    /// Periods of months that this thread has measured.
    pub(super) static MEASURED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn period(text: &str) -> Period {
        Period::parse(text).unwrap()
    }

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn month_ends_and_leap_days_are_those_of_the_calendar() {
        for (start, added, last) in [
            ("2024-02-29", "1y", "2025-02-28"),
            ("2024-02-29", "4y", "2028-02-29"),
            ("2024-02-29", "12m", "2025-02-28"),
            ("2096-02-29", "4y", "2100-02-28"),
            ("2096-02-29", "8y", "2104-02-29"),
            ("2023-01-31", "1m", "2023-02-28"),
            ("2024-01-31", "1m", "2024-02-29"),
            ("2024-01-31", "3m", "2024-04-30"),
            ("2024-03-31", "11m", "2025-02-28"),
            ("2024-12-31", "1d", "2025-01-01"),
            ("2023-02-28", "1d", "2023-03-01"),
            ("2024-02-28", "1d", "2024-02-29"),
            ("2024-02-28", "1y", "2025-02-28"),
            ("2023-12-24", "2w", "2024-01-07"),
            ("2020-06-15", "7y", "2027-06-15"),
            ("2020-06-15", "18m", "2021-12-15"),
            ("1999-12-31", "200y", "2199-12-31"),
            ("9990-01-01", "50y", "9999-12-31"),
        ] {
            assert_eq!(period(added).last_day(date(start)), date(last), "{start} + {added}");
        }
    }

    #[test]
    fn what_is_no_period_is_refused() {
        for text in [
            "",
            "y",
            "7",
            "0d",
            "07y",
            "-7y",
            "+7y",
            "7Y",
            "P7Y",
            "7 y",
            "7y6m",
            "1.5y",
            "201y",
            "2401m",
            "10401w",
            "73001d",
            "99999999999d",
            "7h",
            "７y",
            "7y ",
            "d7",
        ] {
            assert_eq!(Period::parse(text), None, "{text:?}");
        }
        for text in ["1d", "30d", "6w", "18m", "7y", "200y", "2400m", "73000d"] {
            assert_eq!(period(text).to_string(), text);
        }
    }

    #[test]
    fn periods_of_other_units_are_compared_at_their_worst() {
        for (shorter, longer, holds) in [
            ("12m", "1y", true),
            ("1y", "12m", true),
            ("13m", "1y", false),
            ("365d", "1y", true),
            ("366d", "1y", false),
            ("1y", "366d", true),
            ("1y", "365d", false),
            ("1m", "31d", true),
            ("1m", "30d", false),
            ("28d", "1m", true),
            ("29d", "1m", false),
            // 31 January to 31 March and 28 February; July and August both have 31 days.
            ("2m", "62d", true),
            ("2m", "61d", false),
            ("59d", "2m", true),
            ("60d", "2m", false),
            ("2w", "14d", true),
            ("400y", "1d", false),
        ] {
            let Some((shorter, longer)) = Period::parse(shorter).zip(Period::parse(longer)) else { continue };
            assert_eq!(shorter.never_outlasts(longer), holds, "{shorter} within {longer}");
        }
    }

    fn any_period() -> impl Strategy<Value = Period> {
        prop_oneof![
            (1_u32..=200, Just('y')),
            (1_u32..=2_400, Just('m')),
            (1_u32..=10_400, Just('w')),
            (1_u32..=73_000, Just('d')),
            (1_u32..=40, Just('d')),
            (1_u32..=24, Just('m')),
        ]
        .prop_map(|(count, unit)| period(&format!("{count}{unit}")))
    }

    fn any_day() -> impl Strategy<Value = Date> {
        // Over two and a half cycles of leap years, and often at the end of a month.
        (1_600_i16..2_600, 1_i8..=12, 1_i8..=31, any::<bool>()).prop_map(|(year, month, day, last)| {
            let first = Date::new(year, month, 1).unwrap();
            let day = if last { first.days_in_month() } else { day.min(first.days_in_month()) };
            Date::new(year, month, day).unwrap()
        })
    }

    proptest! {
        #[test]
        fn a_later_start_never_ends_earlier(first in any_day(), second in any_day(), added in any_period()) {
            let (first, second) = (first.min(second), first.max(second));
            prop_assert!(added.last_day(first) <= added.last_day(second));
            prop_assert!(added.last_day(first) > first);
        }

        #[test]
        fn what_never_outlasts_ends_no_later_from_any_day(start in any_day(), one in any_period(), other in any_period()) {
            if one.never_outlasts(other) {
                prop_assert!(one.last_day(start) <= other.last_day(start), "{} {} from {}", one, other, start);
            }
        }

        #[test]
        fn no_day_takes_a_period_over_its_bounds(start in any_day(), added in any_period()) {
            let taken = u32::try_from(start.until(added.last_day(start)).unwrap().get_days()).unwrap();
            let (fewest, most) = added.days();
            prop_assert!((fewest..=most).contains(&taken), "{} from {}: {} not in {}..={}", added, start, taken, fewest, most);
        }

        #[test]
        fn a_period_is_read_as_it_is_written(added in any_period()) {
            prop_assert_eq!(Period::parse(&added.to_string()), Some(added));
        }
    }

    #[test]
    fn the_bounds_of_a_period_are_met_by_some_day() {
        for text in ["1m", "2m", "6m", "1y", "18m", "4y", "7y"] {
            let added = period(text);
            let (mut fewest, mut most) = (u32::MAX, 0);
            // A day of every month end and beginning of 400 years, both sides.
            for month in 0..CYCLE_MONTHS {
                let first = Date::new(2_000 + i16::try_from(month / 12).unwrap(), i8::try_from(month % 12).unwrap() + 1, 1).unwrap();
                for start in [first, first.last_of_month()] {
                    let taken = u32::try_from(start.until(added.last_day(start)).unwrap().get_days()).unwrap();
                    (fewest, most) = (fewest.min(taken), most.max(taken));
                }
            }
            assert_eq!(added.days(), (fewest, most), "{text}");
        }
    }
}

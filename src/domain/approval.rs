//! What takes two persons in a tenant: shreds, by how much they take along, and the release of legal holds, as its owner asks for it;
//! loosening that very policy; and always the shortening of what is kept already.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    limits::{self, Limit},
    retention::Period,
};

/// How much an order to shred takes along, the most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShredScope {
    /// The whole tenant.
    Tenant,
    /// A collection.
    Collection,
    /// Persons, in all collections.
    Subject,
    /// One record.
    Record,
}

impl ShredScope {
    /// All of them, the most first.
    pub const ALL: [Self; 4] = [Self::Tenant, Self::Collection, Self::Subject, Self::Record];

    /// The name clients use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Collection => "collection",
            Self::Subject => "subject",
            Self::Record => "record",
        }
    }
}

/// How long a request waits for a second person, in whole days of 24 hours. As long must a token have been there before it counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window(u16);

impl Default for Window {
    fn default() -> Self {
        Self(7)
    }
}

impl Window {
    /// A period as a window: of months and years the longest that they can be.
    ///
    /// # Errors
    /// The limit, if it is over it.
    pub fn of(period: Period) -> Result<Self, Limit> {
        let days = u16::try_from(period.days().1).unwrap_or(u16::MAX);
        if u64::from(days) > limits::APPROVAL_WINDOW.max { Err(limits::APPROVAL_WINDOW) } else { Ok(Self(days)) }
    }

    /// Its days.
    #[must_use]
    pub const fn days(self) -> u16 {
        self.0
    }

    /// As long, in time.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_hours(24).saturating_mul(u32::from(self.0))
    }
}

/// What takes two persons in a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ApprovalRules {
    /// Orders to shred as little as this, and all that take more: who asks for two persons to forget one person asks for as many to
    /// forget all of them. `None`: no order does.
    pub shreds: Option<ShredScope>,
    /// The release of a legal hold.
    pub release_hold: bool,
    /// How long a request waits.
    pub window: Window,
}

impl ApprovalRules {
    /// Whether one person is enough for everything.
    #[must_use]
    pub const fn asks_nothing(&self) -> bool {
        self.shreds.is_none() && !self.release_hold
    }

    /// Whether an order of this scope takes two.
    #[must_use]
    pub fn asks_for(&self, scope: ShredScope) -> bool {
        self.shreds.is_some_and(|least| scope <= least)
    }

    /// The scopes whose orders take two.
    pub fn scopes(&self) -> impl Iterator<Item = ShredScope> {
        ShredScope::ALL.into_iter().filter(|scope| self.asks_for(*scope))
    }

    /// Whether these give up something that `before` asks for. Another window does: a longer one lets requests wait longer, a shorter one
    /// lets a token count sooner.
    #[must_use]
    pub fn loosen(&self, before: &Self) -> bool {
        !before.asks_nothing()
            && (self.shreds < before.shreds || (before.release_hold && !self.release_hold) || self.window != before.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(shreds: Option<ShredScope>, release_hold: bool, days: u16) -> ApprovalRules {
        ApprovalRules { shreds, release_hold, window: Window(days) }
    }

    #[test]
    fn who_asks_for_two_to_forget_little_asks_for_two_to_forget_much() {
        for (at, least) in ShredScope::ALL.into_iter().enumerate() {
            let rules = rules(Some(least), false, 7);
            assert_eq!(rules.scopes().collect::<Vec<_>>(), ShredScope::ALL.get(..=at).unwrap());
            assert!(ShredScope::ALL.into_iter().all(|scope| rules.asks_for(scope) == (scope <= least)));
        }
        assert_eq!(rules(None, true, 7).scopes().count(), 0);
    }

    /// Every pair of policies: either nothing is given up, or it is a loosening; what asks for nothing gives nothing up.
    #[test]
    fn a_policy_is_loosened_by_whatever_it_no_longer_asks_for_and_by_another_window() {
        let mut all = Vec::new();
        for shreds in [None, Some(ShredScope::Tenant), Some(ShredScope::Collection), Some(ShredScope::Subject), Some(ShredScope::Record)] {
            for release in [false, true] {
                for days in [1, 7, 90] {
                    all.push(rules(shreds, release, days));
                }
            }
        }
        for before in &all {
            assert!(!before.loosen(before));
            for after in &all {
                let gives_up = ShredScope::ALL.into_iter().any(|scope| before.asks_for(scope) && !after.asks_for(scope))
                    || (before.release_hold && !after.release_hold)
                    || (!before.asks_nothing() && before.window != after.window);
                assert_eq!(after.loosen(before), gives_up, "{before:?} -> {after:?}");
            }
        }
    }

    #[test]
    fn a_window_is_whole_days_and_has_a_limit() {
        let of = |text: &str| Window::of(Period::parse(text).unwrap()).map(Window::days);
        assert_eq!((of("1d"), of("2w"), of("1m"), of("90d")), (Ok(1), Ok(14), Ok(31), Ok(90)));
        for over in ["91d", "3m", "200y"] {
            assert_eq!(of(over), Err(limits::APPROVAL_WINDOW), "{over}");
        }
        assert_eq!(Window::default().duration(), Duration::from_hours(168));
    }
}

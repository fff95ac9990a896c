//! What a law keeps: the minimum that stands over a record, and what is sealed with a record that a law keeps beyond what the rules
//! of today say of it.

use super::RuleName;
use crate::domain::{ShredId, Timestamp};

/// A legal minimum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Law {
    /// The rule that has it.
    pub rule: RuleName,
    /// The law that the rule cites.
    pub basis: String,
    /// The first moment at which it is met; `None` while the date that it counts from is not known.
    pub until: Option<Timestamp>,
}

/// Sealed with a record: the minimum of an earlier version of it, or that for which an order to shred has left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The rule that had the minimum. It is also the record's legal purpose, once an order has restricted it.
    pub rule: RuleName,
    /// The law that the rule cited.
    pub basis: String,
    /// The first moment at which the minimum is met.
    pub until: Timestamp,
    /// The order to shred that has left the record for its legal purpose alone.
    pub restricted_by: Option<ShredId>,
}

impl Law {
    /// Whether it keeps the record at a moment.
    #[must_use]
    pub fn stands(&self, at: Timestamp) -> bool {
        self.until.is_none_or(|until| until > at)
    }

    /// The one of two that stands longer; one whose date is not known stands longest.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        match (self.until, other.until) {
            (Some(_), None) => other,
            (Some(own), Some(others)) if others > own => other,
            (None | Some(_), _) => self,
        }
    }
}

impl Kept {
    /// What it keeps the record by.
    #[must_use]
    pub fn law(&self) -> Law {
        Law { rule: self.rule.clone(), basis: self.basis.clone(), until: Some(self.until) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn law(until: Option<i64>) -> Law {
        Law { rule: RuleName::parse("tax").unwrap(), basis: "law 1".into(), until: until.map(Timestamp) }
    }

    #[test]
    fn a_minimum_stands_until_its_moment_and_the_longest_of_several_counts() {
        assert!(law(Some(10)).stands(Timestamp(9)) && !law(Some(10)).stands(Timestamp(10)));
        assert!(law(None).stands(Timestamp(i64::MAX)), "what is not known yet may last");
        for (one, other, longer) in
            [(Some(1), Some(2), Some(2)), (Some(2), Some(1), Some(2)), (None, Some(9), None), (Some(9), None, None), (None, None, None)]
        {
            assert_eq!(law(one).later(law(other)), law(longer));
        }
    }
}

//! What an owner writes about how long a collection's records are kept: `"until-deleted"`, or rules.
//!
//! A rule counts from an event, in a named time zone. It may have a minimum, which a law demands and which names it, and it has
//! an end, always: its maximum, or what follows a time in the restricted state.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    Period, Zone,
    events::{EventName, SUBJECT_END, TENANT_END},
    period::Lengths,
    pointer::Pointer,
};
use crate::domain::{
    ShredUnit,
    limits::{self, Limit},
    list,
};

/// How long a collection's records are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Retention {
    /// Until somebody deletes or shreds them: the criterion where there is no period.
    #[default]
    UntilDeleted,
    /// By rules.
    Rules(Schedule),
    /// A duration that an earlier build stored and that was given no effect. It is shown as it was, counts as
    /// [`Retention::UntilDeleted`], and is refused in a new policy.
    Stated(String),
}

/// The rules of a collection, and the time zone whose days they count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Where days begin and end.
    pub time_zone: Zone,
    /// At least one.
    #[serde(deserialize_with = "items")]
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name in refusals and explanations; unlike the others'.
    pub name: RuleName,
    /// The categories it is for, of those that the policy declares; all where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "some_items")]
    pub categories: Vec<String>,
    /// What its periods count from.
    pub from: Event,
    /// How long the records must be kept, if a law says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Minimum>,
    /// How long they may be kept for the purposes of the collection.
    pub maximum: Period,
    /// What happens at the maximum.
    pub then: Then,
    /// How long before it is destroyed by this rule a record is marked, in days or weeks of 24-hour days, so that a hold can be placed
    /// in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Period>,
}

/// The longest mark: the list of what is marked looks so far ahead.
pub const MARK_DAYS_MAX: u32 = 366;

/// A legal minimum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Minimum {
    /// How long.
    pub period: Period,
    /// The law that says so, cited.
    pub basis: String,
    /// Who may shorten it for what is there.
    #[serde(default, skip_serializing_if = "Mode::is_compliance")]
    pub mode: Mode,
}

/// Who may shorten a minimum for what is there, by the words of S3 Object Lock. It binds everybody alike until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// An owner, with somebody who has a permission of its own for that.
    Governance,
    /// Nobody.
    #[default]
    Compliance,
}

impl Mode {
    /// The word that rules use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Governance => "governance",
            Self::Compliance => "compliance",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
    fn is_compliance(&self) -> bool {
        *self == Self::Compliance
    }
}

/// What a rule counts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// The record's first write since its key was last free.
    Created,
    /// The record's last write.
    Modified,
    /// A day or time in the record's JSON value.
    Field(Pointer),
    /// What the backend reports of whom the record is about.
    #[serde(rename = "event")]
    Reported(EventName),
    /// The end of that person's relationship, which is reported like any event.
    #[serde(rename = "subject-end")]
    SubjectEnd,
    /// The end of the tenant. No rule can count from it.
    #[serde(rename = "tenant-end")]
    TenantEnd,
}

impl Event {
    /// The event that has to be reported, if it is one.
    #[must_use]
    pub fn reported(&self) -> Option<&str> {
        match self {
            Self::Reported(name) => Some(name.as_str()),
            Self::SubjectEnd => Some(SUBJECT_END),
            Self::Created | Self::Modified | Self::Field(_) | Self::TenantEnd => None,
        }
    }
}

/// What happens at the end of the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    /// The record is deleted.
    Delete,
    /// The record's own key is destroyed: only where the shred unit is the record.
    Shred,
    /// It is kept for its legal purpose alone until this period, from the same event, is over; then it is deleted.
    Restrict(Period),
}

impl Rule {
    /// The period after which nothing is left.
    #[must_use]
    pub const fn end(&self) -> Period {
        match self.then {
            Then::Restrict(until) => until,
            Then::Delete | Then::Shred => self.maximum,
        }
    }

    /// How long before its end a record is marked; no time at all where the rule says nothing of it.
    #[must_use]
    pub fn marks_for(&self) -> Duration {
        let days = self.mark.and_then(Period::exact_days).unwrap_or(0);
        Duration::from_hours(u64::from(days).saturating_mul(24))
    }

    /// The law that its minimum cites; empty where it has none.
    #[must_use]
    pub fn basis(&self) -> &str {
        self.minimum.as_ref().map_or("", |minimum| &minimum.basis)
    }

    /// Who may shorten its minimum for what is there; nobody, where it has none.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.minimum.as_ref().map_or(Mode::Compliance, |minimum| minimum.mode)
    }

    /// Whether it is for records of a category; one that names none is of all.
    #[must_use]
    pub fn is_for(&self, category: Option<&str>) -> bool {
        self.categories.is_empty() || category.is_none_or(|category| self.categories.iter().any(|own| own == category))
    }
}

impl Schedule {
    /// Whether some rule looks into values.
    #[must_use]
    pub fn reads_values(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule.from, Event::Field(_)))
    }

    /// Whether some rule counts from what is reported of a person.
    #[must_use]
    pub fn has_events(&self) -> bool {
        self.rules.iter().any(|rule| rule.from.reported().is_some())
    }

    /// Whether some rule has a legal minimum.
    #[must_use]
    pub fn has_minimum(&self) -> bool {
        self.rules.iter().any(|rule| rule.minimum.is_some())
    }

    /// Whether some rule has a minimum of the governance kind.
    #[must_use]
    pub fn has_governance(&self) -> bool {
        self.rules.iter().any(|rule| rule.mode() == Mode::Governance)
    }

    /// Whether some rule leads into the restricted state.
    #[must_use]
    pub fn restricts(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule.then, Then::Restrict(_)))
    }

    /// The longest time before their end for which records are marked.
    #[must_use]
    pub fn longest_mark(&self) -> Duration {
        self.rules.iter().map(Rule::marks_for).max().unwrap_or_default()
    }

    /// Whether rules differ by category.
    #[must_use]
    pub fn has_categories(&self) -> bool {
        self.rules.iter().any(|rule| !rule.categories.is_empty())
    }
}

impl Retention {
    /// The rules, if there are any.
    #[must_use]
    pub const fn schedule(&self) -> Option<&Schedule> {
        match self {
            Self::Rules(schedule) => Some(schedule),
            Self::UntilDeleted | Self::Stated(_) => None,
        }
    }

    /// Checks what the shape alone cannot say, for a policy with these categories and this shred unit.
    ///
    /// # Errors
    /// [`RetentionError`] names the rule by its place.
    pub fn validate(&self, categories: &[String], unit: ShredUnit) -> Result<(), RetentionError> {
        let schedule = match self {
            Self::UntilDeleted => return Ok(()),
            Self::Stated(_) => return Err(RetentionError::Form),
            Self::Rules(schedule) => schedule,
        };
        if schedule.rules.is_empty() {
            return Err(RetentionError::NoRules);
        }
        let mut lengths = Lengths::default();
        for (at, rule) in schedule.rules.iter().enumerate() {
            rule.validate(at, categories, unit)?;
            if let Some(mark) = rule.mark
                && (mark.exact_days().is_none_or(|days| days > MARK_DAYS_MAX) || !mark.never_outlasts_by(rule.end(), &mut lengths))
            {
                return Err(RetentionError::Mark { at });
            }
            for (other_at, other) in schedule.rules.iter().enumerate() {
                if other_at < at && other.name == rule.name {
                    return Err(RetentionError::NameTwice { first: other_at, second: at });
                }
                if rule.from == other.from
                    && rule.shares_records_with(other)
                    && let Some(minimum) = &rule.minimum
                    && !minimum.period.never_outlasts_by(other.end(), &mut lengths)
                {
                    return Err(RetentionError::MinimumOverEnd { minimum: at, end: other_at });
                }
            }
        }
        if let Some(at) = categories.iter().position(|category| !schedule.rules.iter().any(|rule| rule.is_for(Some(category)))) {
            return Err(RetentionError::CategoryWithout { at });
        }
        let len = serde_json::to_vec(schedule).map_or(u64::MAX, |json| json.len() as u64);
        if len > limits::RETENTION_LEN.max { Err(RetentionError::Over(limits::RETENTION_LEN)) } else { Ok(()) }
    }
}

impl Rule {
    fn validate(&self, at: usize, categories: &[String], unit: ShredUnit) -> Result<(), RetentionError> {
        if let Some(minimum) = &self.minimum {
            let len = minimum.basis.len() as u64;
            if len > limits::BASIS_LEN.max {
                return Err(RetentionError::Over(limits::BASIS_LEN));
            }
            if minimum.basis.trim().is_empty() {
                return Err(RetentionError::BasisMissing { at });
            }
        }
        if self.categories.iter().any(|own| !categories.contains(own)) {
            return Err(RetentionError::CategoryUndeclared { at });
        }
        match &self.from {
            Event::TenantEnd => return Err(RetentionError::TenantEnd { at }),
            Event::Reported(name) if [SUBJECT_END, TENANT_END].contains(&name.as_str()) => return Err(RetentionError::EventIsAWord { at }),
            Event::Created | Event::Modified | Event::Field(_) | Event::Reported(_) | Event::SubjectEnd => {}
        }
        match self.then {
            Then::Delete => Ok(()),
            Then::Shred if unit == ShredUnit::Record => Ok(()),
            Then::Shred => Err(RetentionError::NotARecordUnit { at }),
            // Restricted for no time at all on some days would be a rule that says two things.
            Then::Restrict(until) if until.never_outlasts(self.maximum) || !self.maximum.never_outlasts(until) => {
                Err(RetentionError::RestrictedTooShort { at })
            }
            Then::Restrict(_) => Ok(()),
        }
    }

    fn shares_records_with(&self, other: &Self) -> bool {
        // A record that names no category is of all of them: any two rules may be for the same one.
        self.categories.is_empty() || other.categories.is_empty() || self.categories.iter().any(|own| other.categories.contains(own))
    }
}

/// What is wrong with rules that have the right shape. Rules are named by their place in the list, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RetentionError {
    /// Neither `until-deleted` nor rules.
    #[error("`retention` must be \"until-deleted\", or an object of `time_zone` and `rules`")]
    Form,
    /// An empty list.
    #[error("`retention.rules` must hold a rule; without one, `retention` is \"until-deleted\"")]
    NoRules,
    /// Two rules of one name.
    #[error("`retention.rules[{second}].name` is that of `retention.rules[{first}]`")]
    NameTwice {
        /// The first.
        first: usize,
        /// The second.
        second: usize,
    },
    /// A minimum that may outlast an end.
    #[error(
        "the minimum of `retention.rules[{minimum}]` may end after the end of `retention.rules[{end}]`, which counts from the same event: lengthen the `maximum`, or the period of `restrict`"
    )]
    MinimumOverEnd {
        /// The rule with the minimum.
        minimum: usize,
        /// The rule with the end, the same or another.
        end: usize,
    },
    /// A minimum without its law.
    #[error("`retention.rules[{at}].minimum.basis` must cite the law that asks for it")]
    BasisMissing {
        /// The rule.
        at: usize,
    },
    /// A restricted state that ends before it begins.
    #[error("`retention.rules[{at}].then.restrict` must be longer than its `maximum`: both count from the same event")]
    RestrictedTooShort {
        /// The rule.
        at: usize,
    },
    /// A mark of another unit than days or weeks, or one that is too long.
    #[error(
        "`retention.rules[{at}].mark` must be of days or weeks, at most {}d, and no longer than the rule keeps a record",
        MARK_DAYS_MAX
    )]
    Mark {
        /// The rule.
        at: usize,
    },
    /// A shred where the key is not the record's.
    #[error("`retention.rules[{at}].then` can be \"shred\" only where `shred_unit` is \"record\"; elsewhere use \"delete\"")]
    NotARecordUnit {
        /// The rule.
        at: usize,
    },
    /// A category that the policy does not have.
    #[error("`retention.rules[{at}].categories` must be of the policy's `categories`")]
    CategoryUndeclared {
        /// The rule.
        at: usize,
    },
    /// A rule that could never count.
    #[error(
        "`retention.rules[{at}].from` cannot be \"tenant-end\": with a tenant all of its records end, and what must be kept longer is exported within its grace. Where a customer of yours is meant, count from \"subject-end\", or from an event that you report of the customer"
    )]
    TenantEnd {
        /// The rule.
        at: usize,
    },
    /// An event that has a word of its own.
    #[error("`retention.rules[{at}].from.event` cannot be \"subject-end\" or \"tenant-end\": write \"from\": \"subject-end\"")]
    EventIsAWord {
        /// The rule.
        at: usize,
    },
    /// A category without a rule.
    #[error("`categories[{at}]` has no rule in `retention.rules`: each category needs a period")]
    CategoryWithout {
        /// The category's place in the policy.
        at: usize,
    },
    /// Too long.
    #[error("`retention` is over the limit {}", .0.name)]
    Over(Limit),
}

/// The name of a rule: as a collection's, lower-case letters, digits, `-`, `_` and `.`, at most 64 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct RuleName(Box<str>);

impl RuleName {
    /// Parses a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        crate::domain::CollectionName::parse(text).ok().map(|name| Self(name.as_str().into()))
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! serde_as_text {
    ($($name:ident, $form:literal;)*) => {
        $(
            impl Serialize for $name {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.serialize_str(self.as_str())
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let text = String::deserialize(deserializer)?;
                    Self::parse(&text).ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&text), &$form))
                }
            }
        )*
    };
}

serde_as_text! {
    RuleName, "a name of a-z, 0-9, '-', '_' and '.', at most 64 bytes";
    Pointer, "a JSON pointer such as \"/invoice/date\", at most 128 bytes";
}

fn items<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    list::list(deserializer, limits::ITEMS_PER_LIST)
}

/// The same where none at all would read like nothing and mean everything.
fn some_items<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let read = items(deserializer)?;
    if read.is_empty() {
        return Err(de::Error::invalid_length(0, &"at least one category; without `categories` a rule is for all of them"));
    }
    Ok(read)
}

/// The word for [`Retention::UntilDeleted`].
pub const UNTIL_DELETED: &str = "until-deleted";

impl Serialize for Retention {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::UntilDeleted => serializer.serialize_str(UNTIL_DELETED),
            Self::Rules(schedule) => schedule.serialize(serializer),
            Self::Stated(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Retention {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> de::Visitor<'de> for Form {
            type Value = Retention;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"until-deleted\", or an object of `time_zone` and `rules`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Retention, E> {
                Ok(if text == UNTIL_DELETED { Retention::UntilDeleted } else { Retention::Stated(text.to_owned()) })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Retention, A::Error> {
                Schedule::deserialize(de::value::MapAccessDeserializer::new(map)).map(Retention::Rules)
            }
        }

        deserializer.deserialize_any(Form)
    }
}

#[cfg(test)]
mod tests {

    use serde_json::{Value, json};

    use super::*;
    use crate::domain::retention::period::MEASURED;

    fn retention(rules: &Value) -> Retention {
        serde_json::from_value(json!({"time_zone": "America/Los_Angeles", "rules": rules})).unwrap()
    }

    fn checked(rules: &Value) -> Result<(), RetentionError> {
        retention(rules).validate(&["tax".into(), "contact".into()], ShredUnit::Subject)
    }

    /// A policy comes from anybody who may write one: to hold its rules against each other must not take seconds of a core.
    #[test]
    fn the_most_rules_are_held_against_each_other_by_measuring_each_period_once() {
        let rules: Vec<Value> = (0..64)
            .map(|at| {
                json!({"name": format!("r{at}"), "from": "created", "minimum": {"period": format!("{}m", at + 1), "basis": "law"},
                    "maximum": format!("{}d", 60_000 + at), "then": "delete"})
            })
            .collect();
        let retention = retention(&json!(rules));
        let before = MEASURED.get();
        assert_eq!(retention.validate(&[], ShredUnit::Subject), Ok(()));
        assert_eq!(MEASURED.get() - before, 64, "of days none need be measured");
    }

    #[test]
    fn rules_are_stored_as_they_are_written() {
        let rules = json!({"time_zone": "America/Los_Angeles", "rules": [
            {"name": "invoices", "categories": ["tax"], "from": {"field": "/invoice/date"},
                "minimum": {"period": "4y", "basis": "Cal. Rev. & Tax. Code 19057(a)"}, "maximum": "4y", "then": {"restrict": "7y"}},
            {"name": "rest", "from": "modified", "maximum": "18m", "then": "delete"},
            {"name": "contract", "from": {"event": "contract-ended"}, "maximum": "3y", "then": "delete"},
            {"name": "customer", "from": "subject-end", "maximum": "30d", "then": "delete"},
        ]});
        let read: Retention = serde_json::from_value(rules.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), rules);
        assert_eq!(read.validate(&["tax".into()], ShredUnit::Subject), Ok(()));
        for text in ["until-deleted", "P7Y"] {
            let read: Retention = serde_json::from_value(json!(text)).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), json!(text), "what was stored before is read as it was");
            assert_eq!(read.validate(&[], ShredUnit::Subject).is_ok(), text == "until-deleted", "{text}");
        }
    }

    /// HOLD-4: the kind of a minimum is written down where it is not the one that all had before there were two.
    #[test]
    fn a_minimum_is_of_the_kind_that_nobody_shortens_unless_it_says_so() {
        let rules = |minimum: Value| json!([{"name": "a", "from": "created", "minimum": minimum, "maximum": "1y", "then": "delete"}]);
        let plain = json!({"period": "1y", "basis": "law"});
        let with = |mode: &str| {
            let mut minimum = plain.clone();
            minimum["mode"] = json!(mode);
            rules(minimum)
        };
        for (written, mode, stored) in [
            (rules(plain.clone()), Mode::Compliance, rules(plain.clone())),
            (with("compliance"), Mode::Compliance, rules(plain.clone())),
            (with("governance"), Mode::Governance, with("governance")),
        ] {
            let read = retention(&written);
            let schedule = read.schedule().unwrap();
            assert_eq!((schedule.rules[0].mode(), schedule.has_governance()), (mode, mode == Mode::Governance), "{written}");
            assert_eq!(serde_json::to_value(&read).unwrap()["rules"], stored, "rules of before are the same bytes, and the same hash");
            assert_eq!(checked(&written), Ok(()), "{written}");
            assert_eq!(serde_json::to_value(mode).unwrap(), json!(mode.name()));
        }
        let none = retention(&json!([{"name": "a", "from": "created", "maximum": "1y", "then": "delete"}]));
        assert!(!none.schedule().unwrap().has_governance());
        assert!(Mode::Governance < Mode::Compliance, "of two that end together that is told which nobody shortens");
    }

    /// RET-3: a floor over a ceiling is refused.
    #[test]
    fn a_minimum_over_a_maximum_is_refused_by_the_places_of_its_rules() {
        let rule = |name: &str, from: &str, minimum: &str, maximum: &str, then: Value| json!({"name": name, "from": from, "minimum": {"period": minimum, "basis": "law"}, "maximum": maximum, "then": then});
        let over = |minimum, end| Err(RetentionError::MinimumOverEnd { minimum, end });
        assert_eq!(checked(&json!([rule("a", "created", "7y", "6y", json!("delete"))])), over(0, 0));
        assert_eq!(checked(&json!([rule("a", "created", "7y", "7y", json!("delete"))])), Ok(()));
        // A year may have 366 days, a month 28.
        assert_eq!(checked(&json!([rule("a", "created", "1y", "365d", json!("delete"))])), over(0, 0));
        assert_eq!(checked(&json!([rule("a", "created", "30d", "1m", json!("delete"))])), over(0, 0));
        // What is kept restricted is kept.
        assert_eq!(checked(&json!([rule("a", "created", "7y", "2y", json!({"restrict": "7y"}))])), Ok(()));
        assert_eq!(checked(&json!([rule("a", "created", "7y", "2y", json!({"restrict": "6y"}))])), over(0, 0));
        // One rule's minimum, another's end.
        let first = rule("a", "created", "1m", "2y", json!("delete"));
        assert_eq!(checked(&json!([first, rule("b", "created", "3y", "4y", json!("delete"))])), over(1, 0));
        assert_eq!(checked(&json!([first, rule("b", "modified", "3y", "4y", json!("delete"))])), Ok(()), "they begin apart");
        let of = |mut rule: Value, categories: Value| {
            rule["categories"] = categories;
            rule
        };
        let long = rule("b", "created", "3y", "4y", json!("delete"));
        assert_eq!(checked(&json!([of(first.clone(), json!(["contact"])), of(long.clone(), json!(["tax"]))])), Ok(()));
        assert_eq!(checked(&json!([of(first, json!(["contact", "tax"])), of(long, json!(["tax"]))])), over(1, 0));
    }

    #[test]
    fn rules_that_say_too_little_or_too_much_are_refused_by_place() {
        let good = json!({"name": "a", "from": "created", "maximum": "1y", "then": "delete"});
        let with = |field: &str, value: Value| {
            let mut rule = good.clone();
            rule[field] = value;
            rule
        };
        assert_eq!(checked(&json!([good])), Ok(()));
        for (rules, error) in [
            (json!([]), RetentionError::NoRules),
            (json!([good, with("name", json!("b")), good]), RetentionError::NameTwice { first: 0, second: 2 }),
            (json!([with("then", json!("shred"))]), RetentionError::NotARecordUnit { at: 0 }),
            (json!([with("then", json!({"restrict": "1y"}))]), RetentionError::RestrictedTooShort { at: 0 }),
            (json!([with("then", json!({"restrict": "12m"}))]), RetentionError::RestrictedTooShort { at: 0 }),
            (json!([with("then", json!({"restrict": "365d"}))]), RetentionError::RestrictedTooShort { at: 0 }),
            (json!([with("categories", json!(["health"]))]), RetentionError::CategoryUndeclared { at: 0 }),
            (json!([with("categories", json!(["tax"]))]), RetentionError::CategoryWithout { at: 1 }),
            (json!([with("minimum", json!({"period": "1m", "basis": " "}))]), RetentionError::BasisMissing { at: 0 }),
            (json!([with("from", json!("tenant-end"))]), RetentionError::TenantEnd { at: 0 }),
            (json!([with("from", json!({"event": "tenant-end"}))]), RetentionError::EventIsAWord { at: 0 }),
            (json!([with("from", json!({"event": "subject-end"}))]), RetentionError::EventIsAWord { at: 0 }),
            (json!([with("minimum", json!({"period": "1m", "basis": "x".repeat(513)}))]), RetentionError::Over(limits::BASIS_LEN)),
        ] {
            assert_eq!(checked(&rules), Err(error), "{rules}");
        }
        let many: Vec<Value> = (0..64).map(|number| with("name", json!(format!("{number}{}", "n".repeat(60))))).collect();
        assert_eq!(checked(&json!(many)), Ok(()));
        let long = |rule: &Value| {
            let mut rule = rule.clone();
            rule["minimum"] = json!({"period": "1m", "basis": "x".repeat(512)});
            rule
        };
        let long: Vec<Value> = many.iter().map(long).collect();
        assert_eq!(checked(&json!(long)), Err(RetentionError::Over(limits::RETENTION_LEN)), "a row has 100,000 bytes");
        assert_eq!(retention(&json!([with("then", json!("shred"))])).validate(&[], ShredUnit::Record), Ok(()));
    }

    #[test]
    fn a_mark_is_of_days_and_no_longer_than_the_record_is_kept() {
        let rule = |maximum: &str, then: Value, mark: &str| json!([{"name": "a", "from": "created", "maximum": maximum, "then": then, "mark": mark}]);
        for (maximum, then, mark, days) in [
            ("30d", json!("delete"), "30d", Some(30)),
            ("30d", json!("delete"), "31d", None),
            ("1m", json!("delete"), "28d", Some(28)),
            ("1m", json!("delete"), "29d", None),
            ("5y", json!("delete"), "366d", Some(366)),
            ("5y", json!("delete"), "367d", None),
            ("5y", json!("delete"), "52w", Some(364)),
            ("5y", json!("delete"), "53w", None),
            ("5y", json!("delete"), "1m", None),
            ("5y", json!("delete"), "1y", None),
            // What is restricted meanwhile is not destroyed.
            ("10d", json!({"restrict": "1y"}), "30d", Some(30)),
        ] {
            let retention = retention(&rule(maximum, then, mark));
            let is_good = retention.validate(&[], ShredUnit::Subject);
            assert_eq!(is_good, if days.is_some() { Ok(()) } else { Err(RetentionError::Mark { at: 0 }) }, "{mark} of {maximum}");
            if let Some(days) = days {
                assert_eq!(retention.schedule().unwrap().longest_mark(), Duration::from_hours(24 * days), "{mark}");
            }
        }
        let without = retention(&json!([{"name": "a", "from": "created", "maximum": "1y", "then": "delete"}]));
        assert_eq!(without.schedule().unwrap().longest_mark(), Duration::ZERO);
        assert!(!serde_json::to_string(&without).unwrap().contains("mark"), "rules of before are the same bytes, and the same hash");
    }

    #[test]
    fn what_has_not_the_shape_of_rules_is_not_read() {
        let good = json!({"name": "a", "from": "created", "maximum": "1y", "then": "delete"});
        let read = |rule: Value| serde_json::from_value::<Retention>(json!({"time_zone": "UTC", "rules": [rule]}));
        assert!(read(good.clone()).is_ok());
        for (field, value) in [
            ("name", json!("")),
            ("name", json!("Ann")),
            ("from", json!("birth")),
            ("from", json!({"field": "date"})),
            ("from", json!({"event": "Contract ended"})),
            ("from", json!({"event": ""})),
            ("from", json!({"event": "x".repeat(65)})),
            ("from", json!({"event": "left", "field": "/date"})),
            ("from", json!("left")),
            ("from", json!({"field": ""})),
            ("from", json!({"field": "/a~2"})),
            ("from", json!({"field": format!("/{}", "a".repeat(128))})),
            ("maximum", json!("P7Y")),
            ("maximum", json!("0d")),
            ("maximum", json!(7)),
            ("maximum", Value::Null),
            ("then", json!("burn")),
            ("then", json!({"restrict": "for ever"})),
            ("then", json!("restrict")),
            ("minimum", json!({"period": "1y"})),
            ("minimum", json!("1y")),
            ("minimum", json!({"period": "1y", "basis": "x", "surprise": 1})),
            ("minimum", json!({"period": "1y", "basis": "x", "mode": "Governance"})),
            ("minimum", json!({"period": "1y", "basis": "x", "mode": "none"})),
            ("minimum", json!({"period": "1y", "basis": "x", "mode": null})),
            ("mark", json!(30)),
            ("mark", json!("")),
            ("mark", json!("0d")),
            ("surprise", json!(1)),
        ] {
            let mut rule = good.clone();
            rule[field] = value.clone();
            assert!(read(rule).is_err(), "{field}: {value}");
        }
        for field in ["name", "from", "maximum", "then"] {
            let mut rule = good.clone();
            rule.as_object_mut().unwrap().remove(field);
            let refused = read(rule).unwrap_err().to_string();
            assert!(refused.contains(&format!("missing field `{field}`")), "a rule without an end is none: {refused}");
        }
        for schedule in [
            json!({"rules": [good]}),
            json!({"time_zone": "Europe/Atlantis", "rules": [good]}),
            json!({"time_zone": "UTC"}),
            json!({"time_zone": "UTC", "rules": [good], "surprise": 1}),
            json!(["until-deleted"]),
            json!(7),
            Value::Null,
        ] {
            assert!(serde_json::from_value::<Retention>(schedule.clone()).is_err(), "{schedule}");
        }
        let many: Vec<&Value> = vec![&good; 65];
        let over = serde_json::from_value::<Retention>(json!({"time_zone": "UTC", "rules": many})).unwrap_err();
        assert_eq!(list::limit_in(&over.to_string()), Some(limits::ITEMS_PER_LIST));
    }
}

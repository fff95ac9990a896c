//! A collection's policy document: what it holds, why, how long, and what one destroyable key protects.

use serde::{Deserialize, Deserializer, Serialize};

use super::limits::{self, Limit};
use super::list;
use super::retention::{Retention, RetentionError};

/// What one destroyable key protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum ShredUnit {
    /// The whole collection.
    Collection,
    /// One person's records in the collection.
    #[default]
    Subject,
    /// One record.
    Record,
}

/// The policy of a collection, as clients send and get it. Unknown fields are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectionPolicy {
    /// What one destroyable key protects; cannot change once the collection has records.
    #[serde(default)]
    pub shred_unit: ShredUnit,
    /// What kinds of data it holds, for example `ccpa.pi.A`.
    #[serde(default, deserialize_with = "items")]
    pub categories: Vec<String>,
    /// What the data is for.
    #[serde(default, deserialize_with = "items")]
    pub purposes: Vec<String>,
    /// How long it is kept: `until-deleted`, or rules.
    #[serde(default)]
    pub retention: Retention,
    /// Records that only name a shredded subject second: kept and listed, or deleted.
    #[serde(default)]
    pub secondary_subjects: SecondarySubjects,
}

/// What a subject's shred does to records that name the subject second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum SecondarySubjects {
    /// They stay; the answer counts them.
    #[default]
    Keep,
    /// They are deleted.
    Delete,
}

fn items<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    list::list(deserializer, limits::ITEMS_PER_LIST)
}

impl Default for CollectionPolicy {
    fn default() -> Self {
        Self {
            shred_unit: ShredUnit::Subject,
            categories: Vec::new(),
            purposes: Vec::new(),
            retention: Retention::UntilDeleted,
            secondary_subjects: SecondarySubjects::Keep,
        }
    }
}

/// What is wrong with a policy document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// `retention` contradicts itself, or the rest of the policy.
    #[error(transparent)]
    Retention(RetentionError),
    /// A list has an empty item.
    #[error("{0} must not hold an empty item")]
    Empty(&'static str),
    /// A list has too many items, or an item is too long.
    #[error("{field} is over the limit {}", limit.name)]
    Over {
        /// The list.
        field: &'static str,
        /// The limit.
        limit: Limit,
    },
}

impl CollectionPolicy {
    /// Checks what the shape alone cannot say.
    ///
    /// # Errors
    /// [`PolicyError`] names the field.
    pub fn validate(&self) -> Result<(), PolicyError> {
        for (name, items) in [("categories", &self.categories), ("purposes", &self.purposes)] {
            if items.len() as u64 > limits::ITEMS_PER_LIST.max {
                return Err(PolicyError::Over { field: name, limit: limits::ITEMS_PER_LIST });
            }
            if items.iter().any(|item| item.len() as u64 > limits::ITEM_LEN.max) {
                return Err(PolicyError::Over { field: name, limit: limits::ITEM_LEN });
            }
            if items.iter().any(String::is_empty) {
                return Err(PolicyError::Empty(name));
            }
        }
        match self.retention.validate(&self.categories, self.shred_unit) {
            Err(RetentionError::Over(limit)) => Err(PolicyError::Over { field: "retention", limit }),
            checked => checked.map_err(PolicyError::Retention),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_until_deleted_or_rules_that_fit_the_policy() {
        let rules = r#"{"time_zone": "UTC", "rules": [{"name": "a", "from": "created", "maximum": "7y", "then": "shred"}]}"#;
        for (retention, unit, accepted) in [
            ("\"until-deleted\"", "subject", Ok(())),
            (rules, "record", Ok(())),
            (rules, "subject", Err(RetentionError::NotARecordUnit { at: 0 })),
            ("\"P7Y\"", "subject", Err(RetentionError::Form)),
            ("\"7 years\"", "subject", Err(RetentionError::Form)),
            ("\"\"", "subject", Err(RetentionError::Form)),
        ] {
            let policy: CollectionPolicy =
                serde_json::from_str(&format!(r#"{{"shred_unit": "{unit}", "retention": {retention}}}"#)).unwrap();
            assert_eq!(policy.validate(), accepted.map_err(PolicyError::Retention), "{retention}");
        }
        assert_eq!(serde_json::from_str::<CollectionPolicy>("{}").unwrap().retention, Retention::UntilDeleted);
    }

    #[test]
    fn lists_hold_so_many_items_of_such_a_length_and_none_empty() {
        let of = |items: Vec<String>| CollectionPolicy { purposes: items, ..CollectionPolicy::default() }.validate();
        assert_eq!(of(vec!["x".repeat(128); 64]), Ok(()));
        assert_eq!(of(vec!["x".into(); 65]), Err(PolicyError::Over { field: "purposes", limit: limits::ITEMS_PER_LIST }));
        assert_eq!(of(vec!["x".repeat(129)]), Err(PolicyError::Over { field: "purposes", limit: limits::ITEM_LEN }));
        assert_eq!(of(vec![String::new()]), Err(PolicyError::Empty("purposes")));
    }
}

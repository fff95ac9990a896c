//! A collection's retention, held against the records that are stored in it. Collections without rules cost nothing here.

use super::{Unprocessable, VaultError, plan::Content};
use crate::domain::{
    CollectionPolicy, RecordMeta,
    retention::{Event, Facts, RuleName, evaluate::Outside},
};

/// The custom pair by which a record says which of its collection's categories it is of.
pub(super) const CATEGORY: &str = "category";

/// The category that a record names.
pub(super) fn category(meta: &RecordMeta) -> Option<&str> {
    meta.custom.iter().find(|(name, _)| name == CATEGORY).map(|(_, category)| category.as_str())
}

/// The facts that rules look at.
pub(super) fn facts<'a>(meta: &'a RecordMeta, value: Option<&'a [u8]>) -> Facts<'a> {
    Facts { created_at: meta.created_at, modified_at: meta.modified_at, own_end: meta.expires_at, category: category(meta), value }
}

/// Whether a record may be stored under the policy: its category is declared, each rule that is for it can tell when it begins,
/// and its own end lies within them.
///
/// # Errors
/// [`Unprocessable::CategoryUndeclared`], [`Unprocessable::NoDateForRule`], [`Unprocessable::TooLargeForRule`],
/// [`Unprocessable::BeforeMinimum`], [`Unprocessable::AfterEnd`].
pub(super) fn admit(policy: &CollectionPolicy, meta: &RecordMeta, content: &Content) -> Result<(), VaultError> {
    let Some(schedule) = policy.retention.schedule() else { return Ok(()) };
    if schedule.has_categories() && category(meta).is_some_and(|category| !policy.categories.iter().any(|known| known == category)) {
        return Err(Unprocessable::CategoryUndeclared.into());
    }
    let value = match content {
        Content::Inline(bytes) => Some(&bytes[..]),
        Content::Manifest { .. } => None,
    };
    let facts = facts(meta, value);
    if let Some(rule) = schedule.outlook(&facts).waiting() {
        let rule = rule.name.clone();
        return Err(match content {
            Content::Inline(_) => Unprocessable::NoDateForRule { rule },
            Content::Manifest { .. } => Unprocessable::TooLargeForRule { rule },
        }
        .into());
    }
    schedule.admits(&facts).map_err(|outside| {
        match outside {
            Outside::Early(bound) => Unprocessable::BeforeMinimum { rule: bound.rule.name.clone(), until: bound.at },
            Outside::Late(bound) => Unprocessable::AfterEnd { rule: bound.rule.name.clone(), end: bound.at },
        }
        .into()
    })
}

/// A rule that looks into the value of a record of this category: such a value must fit into one row.
pub(super) fn reads_value(policy: &CollectionPolicy, custom: &[(String, String)]) -> Option<RuleName> {
    let category = custom.iter().find(|(name, _)| name == CATEGORY).map(|(_, category)| category.as_str());
    let rules = policy.retention.schedule()?.rules.iter();
    rules.filter(|rule| rule.is_for(category)).find(|rule| matches!(rule.from, Event::Field(_))).map(|rule| rule.name.clone())
}

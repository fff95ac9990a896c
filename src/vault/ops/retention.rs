//! A collection's retention, held against the records that are stored in it. Collections without rules cost nothing here.

use std::time::Duration;

use super::{Unprocessable, VaultError, due::End, plan::Content};
use crate::domain::{
    CollectionPolicy, RecordMeta, Retention, Timestamp,
    retention::{Event, Events, Facts, Governed, Kept, Law, Rule, RuleName, evaluate::Outside},
};

/// The custom pair by which a record says which of its collection's categories it is of.
pub(super) const CATEGORY: &str = "category";

/// Rules, and the categories that are declared beside them.
pub(super) type Rules<'a> = (&'a Retention, &'a [String]);

/// Which of the rules that a collection has had and has: how many it had before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RulesNo(pub(super) usize);

impl RulesNo {
    /// As it is sealed and stored.
    pub(super) fn of(no: u32) -> Self {
        Self(usize::try_from(no).unwrap_or(usize::MAX))
    }

    /// The same the other way round.
    pub(super) fn stored(self) -> Result<u32, VaultError> {
        u32::try_from(self.0).map_err(|_| VaultError::Internal("number of rules".into()))
    }
}

/// The category that a record names.
pub(super) fn category(meta: &RecordMeta) -> Option<&str> {
    meta.custom.iter().find(|(name, _)| name == CATEGORY).map(|(_, category)| category.as_str())
}

/// The facts that rules look at. A category that the policy does not declare any more is like none: all rules are for the record,
/// where otherwise none would be, and nothing would ever end it.
pub(super) fn facts<'a>(policy: &CollectionPolicy, meta: &'a RecordMeta, value: Option<&'a [u8]>, events: &'a Events) -> Facts<'a> {
    facts_under(&policy.categories, meta, value, events)
}

/// The same where other categories are declared.
pub(super) fn facts_under<'a>(categories: &[String], meta: &'a RecordMeta, value: Option<&'a [u8]>, events: &'a Events) -> Facts<'a> {
    let category = category(meta).filter(|named| categories.iter().any(|known| known == named));
    Facts {
        created_at: meta.created_at,
        modified_at: meta.modified_at,
        own_end: meta.expires_at,
        category,
        value,
        events,
        reports_seen: meta.reports_seen(),
    }
}

/// The law that keeps what a write takes the place of.
#[derive(Clone, Copy, Default)]
pub(super) struct LawBefore<'a> {
    /// All of it.
    pub(super) law: Option<&'a Law>,
    /// What of it nobody shortens.
    pub(super) firm: Option<&'a Law>,
}

/// What is sealed with a record of the law that kept its earlier version.
#[derive(Default)]
pub(super) struct KeptOn {
    pub(super) kept: Option<Kept>,
    pub(super) governed: Option<Governed>,
}

impl KeptOn {
    /// Until when that keeps it.
    fn until(&self) -> Option<Timestamp> {
        let kept = self.kept.as_ref().map(|kept| kept.until);
        kept.max(self.governed.as_ref().map(|governed| governed.until))
    }
}

/// Whether a record may be stored under the policy, when it ends, and what it is kept for beyond that: its category is declared, each
/// rule that is for it can tell when it begins, or whose event that is, its own end lies within them, and its time is not over already.
/// `before` is the law that keeps what it takes the place of, by the dates that this one tells: where that lasts longer than what the rules
/// ask for now, it lasts for this, too; where it waits for a date, this one must tell that. `events` is what is known of its first person.
///
/// # Errors
/// [`Unprocessable::CategoryUndeclared`], [`Unprocessable::NoDateForRule`], [`Unprocessable::TooLargeForRule`],
/// [`Unprocessable::NobodyForRule`], [`Unprocessable::BeforeMinimum`], [`Unprocessable::AfterEnd`], [`Unprocessable::AlreadyOver`].
pub(super) fn admit(
    policy: &CollectionPolicy,
    meta: &RecordMeta,
    content: &Content,
    now: Timestamp,
    before: LawBefore<'_>,
    events: &Events,
) -> Result<(Option<End>, KeptOn), VaultError> {
    let Some(schedule) = policy.retention.schedule() else {
        let kept = kept_on(policy, before, (None, None), meta, content)?;
        return Ok((meta.expires_at.map(|at| End { at, by_date: false, marks_for: Duration::ZERO }), kept));
    };
    if schedule.has_categories() && category(meta).is_some_and(|category| !policy.categories.iter().any(|known| known == category)) {
        return Err(Unprocessable::CategoryUndeclared.into());
    }
    let value = match content {
        Content::Inline(bytes) => Some(&bytes[..]),
        Content::Manifest { .. } => None,
    };
    let outlook = schedule.outlook(&Facts { own_end: None, ..facts(policy, meta, value, events) });
    if let Some(rule) = outlook.by_event().filter(|_| meta.subjects.is_empty()) {
        return Err(Unprocessable::NobodyForRule { rule: rule.name.clone() }.into());
    }
    if let Some(rule) = outlook.lacks_date() {
        return Err(no_date(rule.name.clone(), content));
    }
    outlook.admits(meta.expires_at).map_err(|outside| match outside {
        Outside::Early(bound) => Unprocessable::BeforeMinimum { rule: bound.rule.name.clone(), until: bound.at },
        Outside::Late(bound) => Unprocessable::AfterEnd { rule: bound.rule.name.clone(), end: bound.at },
    })?;
    let kept = kept_on(policy, before, (outlook.minimum.map(|minimum| minimum.at), outlook.firm_until()), meta, content)?;
    let Some(end) = outlook.end_with(meta.expires_at) else { return Ok((None, kept)) };
    let at = kept.until().map_or(end.at, |until| end.at.max(until));
    match end.put_off_by.or(end.rule) {
        Some(rule) if at <= now => Err(Unprocessable::AlreadyOver { rule: rule.name.clone(), end: at }.into()),
        Some(_) | None => {
            let marks_for = end.rule.map_or(Duration::ZERO, Rule::marks_for);
            Ok((Some(End { at, by_date: outlook.counts_from_dates(), marks_for }), kept))
        }
    }
}

/// What of the law that kept a record is sealed with what takes its place. What nobody shortens is held against those minimums alone that
/// nobody shortens: a bypass lifts the others.
///
/// # Errors
/// Those of [`outlasting`].
fn kept_on(
    policy: &CollectionPolicy,
    before: LawBefore<'_>,
    (minimum, firm): (Option<Timestamp>, Option<Timestamp>),
    meta: &RecordMeta,
    content: &Content,
) -> Result<KeptOn, VaultError> {
    let whole = outlasting(policy, before.law, minimum, meta.expires_at, content)?;
    let kept = if fault!("bypass-sealed") { None } else { outlasting(policy, before.firm, firm, meta.expires_at, content)? };
    let governed = whole.filter(|whole| kept.as_ref().is_none_or(|kept| whole.until > kept.until) && !fault!("bypass-unsealed"));
    let governed = governed.map(|Kept { rule, basis, until, .. }| Governed { rule, basis, until, rules_no: meta.rules_no });
    Ok(KeptOn { kept, governed })
}

/// What of a law outlasts a minimum of today: nothing, where the rules ask for as much. One that waits for a report waits on for what takes the
/// place of what it kept ([`super::minimum::unreported`]); what is known of others beside it is sealed.
///
/// # Errors
/// [`Unprocessable::BeforeMinimum`] for an own end that is earlier; [`Unprocessable::NoDateForRule`] and
/// [`Unprocessable::TooLargeForRule`] where the law waits for a date: under another category what takes its place would be free of it.
fn outlasting(
    policy: &CollectionPolicy,
    before: Option<&Law>,
    minimum: Option<Timestamp>,
    own: Option<Timestamp>,
    content: &Content,
) -> Result<Option<Kept>, VaultError> {
    let Some(Law { rule, basis, mode: _, until, known }) = before else { return Ok(None) };
    let until = match *until {
        Some(until) => until,
        None if !counts_from_report(policy, rule) => return Err(no_date(rule.clone(), content)),
        None => match *known {
            Some(known) => known,
            None => return Ok(None),
        },
    };
    if minimum.is_some_and(|minimum| minimum >= until) {
        return Ok(None);
    }
    if own.is_some_and(|own| own < until) {
        return Err(Unprocessable::BeforeMinimum { rule: rule.clone(), until }.into());
    }
    Ok(Some(Kept { rule: rule.clone(), basis: basis.clone(), until, restricted_by: None }))
}

/// Whether a rule of today counts from what is reported of a person.
fn counts_from_report(policy: &CollectionPolicy, name: &RuleName) -> bool {
    let mut rules = policy.retention.schedule().into_iter().flat_map(|schedule| &schedule.rules);
    rules.any(|rule| rule.name == *name && rule.from.reported().is_some())
}

/// The refusal of a value that does not have the date a rule counts from.
fn no_date(rule: RuleName, content: &Content) -> VaultError {
    match content {
        Content::Inline(_) => Unprocessable::NoDateForRule { rule },
        Content::Manifest { .. } => Unprocessable::TooLargeForRule { rule },
    }
    .into()
}

/// A rule that looks into the value of a record of this category: such a value must fit into one row.
pub(super) fn reads_value(policy: &CollectionPolicy, custom: &[(String, String)]) -> Option<RuleName> {
    let category = custom.iter().find(|(name, _)| name == CATEGORY).map(|(_, category)| category.as_str());
    let rules = policy.retention.schedule()?.rules.iter();
    rules.filter(|rule| rule.is_for(category)).find(|rule| matches!(rule.from, Event::Field(_))).map(|rule| rule.name.clone())
}

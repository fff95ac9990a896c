//! The restricted state: a record that is kept for its legal purpose alone. A rule leads into it at its maximum, told from the record's
//! own times at every read; or an order to shred left the record there, for a law keeps it: that is sealed with the record. An auditor
//! reads it who states its purpose, the rule's name; to everybody else it is gone.
//!
//! A unit that seals records which an order left so is not destroyed with the order ([`super::spare`]). How many there are stands beside
//! them, in the commits of their own: with the last of them goes the key.

use std::collections::HashMap;

use bytes::Bytes;

use super::{
    Missing, Unprocessable, Vault, VaultError,
    deletions::Walk,
    directory::{Collection, Tenant, damaged},
    due::end_over,
    minimum::{Since, firm_over},
    plan::{Plan, entry, record_row, target, unchanged, unit_of},
    retention::{Rules, facts_under},
    rows::{KeptRecordsRow, State, SubjectRow, UnitRow},
};
use crate::{
    domain::{
        CollectionNo, RecordMeta, ShredId, ShredUnit, TenantNo, Timestamp, Version,
        retention::{Events, Governed, Kept, Law, RuleName, Schedule},
    },
    vault::{
        audit::{Action, Target},
        crypto::{Context, EncodedMeta, OpenError, Record, RecordHeader, Sealed, Token},
        keys::{LeaseKind, UnitRef},
        store::{Expect, Space, schema},
    },
};

/// That a record is restricted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Restricted {
    /// The order to shred that left it so; `None` where a rule did.
    pub(super) by: Option<ShredId>,
    /// The rule, whose name is the record's legal purpose.
    purpose: RuleName,
}

impl Restricted {
    /// What everybody but an auditor is told: that it is gone.
    pub(super) const fn refusal(&self) -> VaultError {
        match self.by {
            Some(order) => VaultError::Shredded { certificate: Some(order) },
            None => VaultError::NotFound(Missing::Record),
        }
    }

    /// The rule.
    pub(super) const fn rule(&self) -> &RuleName {
        &self.purpose
    }

    /// Whether it may be read for a stated purpose.
    pub(super) fn is_for(&self, purpose: Option<&str>) -> bool {
        purpose == Some(self.purpose.as_str())
    }
}

/// Whether a record is restricted. By a rule only where the rules under which it was written say so too: one that was made shorter
/// since touches nothing that is there. What rules restricted while they were in force stays so, whatever took their place: a longer one
/// revives nothing, and no owner lifts it alone.
pub(super) fn restricted(
    collection: &Collection,
    meta: &RecordMeta,
    value: Option<&[u8]>,
    events: &Events,
    now: Timestamp,
) -> Option<Restricted> {
    if let Some(Kept { rule, restricted_by: Some(order), .. }) = &meta.kept {
        // That for which the order has listed it, also once somebody has bypassed its minimum.
        let purpose = meta.governed.as_ref().map_or(rule, |governed| &governed.rule);
        return Some(Restricted { by: Some(*order), purpose: purpose.clone() });
    }
    let by_rule = |(rules, categories): Rules<'_>| {
        let schedule = rules.schedule().filter(|schedule| schedule.restricts())?;
        let outlook = schedule.outlook(&facts_under(categories, meta, value, events));
        outlook.restricted.map(|bound| (bound.at, bound.rule.name.clone()))
    };
    let (written_at, _) = by_rule(collection.rules_at(collection.rules_of(meta)))?;
    let in_force = |Since { rules, ended_at, .. }: Since<'_>| {
        let (at, purpose) = by_rule(rules)?;
        let at = at.max(written_at);
        // Those that are no more had restricted it before they ended.
        ended_at.map_or(at <= now, |ended_at| at <= ended_at).then_some(purpose)
    };
    let mut since =
        collection.rules_since(meta, collection.rules_now()).filter(|one| one.ended_at.is_none() || !fault!("restricted-before"));
    since.find_map(in_force).map(|purpose| Restricted { by: None, purpose })
}

/// What is sealed with a record that an order leaves for a law: what of that nobody shortens and, where it lasts longer, the law itself. Of one
/// that waits for its date, what is known beside it; where that is nothing, it is known until the order was decided.
fn left_for((law, firm): (&Law, Option<&Law>), decided_at: Timestamp, order: ShredId, rules_no: u32) -> (Kept, Option<Governed>) {
    let known = |law: &Law| law.known_until().unwrap_or(decided_at);
    let firm = firm.filter(|_| !fault!("bypass-left"));
    let (by, until) = firm.map_or((law, decided_at), |firm| (firm, known(firm)));
    let kept = Kept { rule: by.rule.clone(), basis: by.basis.clone(), until, restricted_by: Some(order) };
    let longer = Some(known(law)).filter(|known| *known > until);
    let governed = longer.map(|until| Governed { rule: law.rule.clone(), basis: law.basis.clone(), until, rules_no });
    (kept, governed)
}

impl Collection {
    /// Whether a record of it can be restricted: by a rule that it has or had, or by an order that a law has kept from it.
    pub(super) fn may_restrict(&self) -> bool {
        self.has_law || self.schedules().any(Schedule::restricts)
    }
}

/// That an order to shred of another store has left a record, which comes from there.
pub(super) struct Left {
    /// The order.
    pub(super) order: ShredId,
    /// When the law that keeps it ends.
    pub(super) until: Timestamp,
    /// The same of what nobody shortens.
    pub(super) firm_until: Timestamp,
    /// The number of the rules by which the other was sealed.
    pub(super) rules_no: u32,
    /// Whether the person whom it is about is erased.
    pub(super) is_erased: bool,
    /// What the order remembers of the person's events.
    pub(super) events: Events,
}

/// How many restricted records come and go with a plan, by the unit that seals them.
#[derive(Default)]
pub(super) struct Changes(HashMap<UnitRef, Change>);

#[derive(Default)]
struct Change {
    more: u64,
    fewer: u64,
}

impl Changes {
    fn one_more(&mut self, unit: UnitRef) {
        let change = self.0.entry(unit).or_default();
        change.more = change.more.saturating_add(1);
    }

    fn one_fewer(&mut self, unit: UnitRef) {
        let change = self.0.entry(unit).or_default();
        change.fewer = change.fewer.saturating_add(1);
    }
}

impl Vault {
    /// Whether an order has left the record at a place for its legal purpose alone.
    pub(super) async fn is_left(&self, tenant: &Tenant, no: CollectionNo, tokens: &[Token]) -> Result<bool, VaultError> {
        let collection = match self.collection_by_number(tenant.no, no).await {
            Ok(collection) if collection.has_law && collection.in_use().is_ok() => collection,
            Ok(_) | Err(VaultError::Shredded { .. } | VaultError::Internal(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        match self.existing(tenant, &collection, tokens, &record_row(tenant, no, tokens)).await {
            Ok(existing) => Ok(existing.and_then(|record| record.live).is_some_and(|live| live.restricted_by().is_some())),
            Err(VaultError::Internal(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Plans what an order leaves of a record that a law keeps: the same value under the same key, sealed anew and marked. Its end is
    /// that of the law; where one waits for its date, what is known of the others' is sealed with it.
    pub(super) async fn plan_restricted(
        &self,
        plan: &mut Plan,
        walk: &Walk<'_>,
        (collection, tokens): (&Collection, &[Token]),
        (header, stored): (RecordHeader, Bytes),
        (law, events): (&Law, &Events),
    ) -> Result<(), VaultError> {
        let tenant = walk.tenant;
        plan.hold(tenant, collection)?;
        let row = schema::record(tenant.no, collection.no, tokens);
        plan.check(Space::Records, row.clone(), unchanged(&header));
        let version = Version(self.inner.forest.lease(LeaseKind::Version).await?);
        let anew = RecordHeader { suite: self.inner.options.suite, version, ..header };
        let last = collection.rules_until(walk.decided_at);
        let rules_no = last.stored()?;
        let sealed = Sealed::<Record>::from_row(stored).map_err(damaged)?;
        let place = |header: &RecordHeader| Context::<Record>::record(&self.inner.store_id, tenant.no, collection.no, tokens, header);
        let (before, after) = (place(&header), place(&anew));
        let unit = unit_of(&header, tenant.no);
        let resealed = self.with_data(collection.unit, unit, collection.no, |key| {
            let opened = key.open_record(&before, &sealed)?;
            let value = opened.value.expose();
            let looked_into = Some(value).filter(|_| !header.is_manifest());
            let firm = firm_over(collection, last, &opened.meta, (looked_into, None), events);
            let (kept, governed) = left_for((law, firm.as_ref()), walk.decided_at, walk.order, rules_no);
            let meta = RecordMeta { kept: Some(kept), governed, ..opened.meta };
            let end = end_over(collection, collection.rules_now(), &meta, looked_into, events);
            Ok::<_, OpenError>((EncodedMeta::new(&meta).map(|meta| key.seal_record(&after, &meta, value)), end))
        });
        let (resealed, end) = resealed.await?.map_err(damaged)?;
        let resealed = resealed.map_err(|_| VaultError::Internal("metadata of a restricted record".into()))?;
        plan.put(Space::Records, row.clone(), resealed.into_row());
        self.plan_kept_end(plan, (tenant.no, collection.no, tokens), (version, end)).await?;
        if let Some(token) = tokens.last() {
            // Its key lives, and the trail must name the person no more.
            plan.delete(Space::Index, schema::trail_name(tenant.no, (unit.slot, unit.generation), collection.no, token));
        }
        if unit != collection.unit {
            plan.kept_units.one_more(unit);
        }
        let restricted = Target { object: Some(walk.order.0), ..target(tokens, &anew) };
        plan.entry(tenant.audit, entry(walk.actor, tenant, Action::RecordRestrict, collection.no, restricted));
        Ok(())
    }

    /// Has the person of a record that an order of another store has left be erased here, too, unless the person is known anew, or has
    /// anything here that a tombstone would keep from every later order; what the law counts from goes with it.
    pub(super) async fn plan_left_subject(
        &self,
        plan: &mut Plan,
        tenant: &Tenant,
        token: Token,
        row: Option<Bytes>,
        left: &Left,
    ) -> Result<(), VaultError> {
        self.plan_left_events(plan, tenant.no, &token, left).await?;
        if plan.subjects.contains(&token) {
            return Ok(());
        }
        let key = schema::subject_state(tenant.no, &token);
        match row {
            None if left.is_erased && (fault!("bundle-tomb") || !self.has_anything(tenant, &token).await?) => {
                plan.open(&self.inner.seals, key, Expect::Absent, &SubjectRow { state: State::Shredded(left.order.0) })?;
            }
            row => plan.check(Space::Control, key, row.map_or(Expect::Absent, Expect::Equals)),
        }
        plan.subjects.insert(token);
        Ok(())
    }

    /// Whether anything is there that an order about a person would destroy: what an order has left is none of that.
    async fn has_anything(&self, tenant: &Tenant, token: &Token) -> Result<bool, VaultError> {
        let units = schema::units_of_subject(tenant.no, token);
        let has_units = !self.inner.store.scan(Space::Control, &units.from, &units.to, 1).await?.is_empty();
        Ok(has_units || self.is_named(tenant, token).await?)
    }

    /// The unit of such a record: one of its own, which is spared as the one was that sealed it there, so that its key goes when the law is
    /// over; a collection's own, where that seals it.
    pub(super) async fn plan_left_unit(
        &self,
        plan: &mut Plan,
        tenant: &Tenant,
        collection: &Collection,
        subject: Option<&Token>,
        record: &[Token],
        left: &Left,
    ) -> Result<UnitRef, VaultError> {
        let of_record = match collection.policy.shred_unit {
            ShredUnit::Collection => return Ok(collection.unit),
            ShredUnit::Record => Some(record.last().copied().unwrap_or_default()),
            ShredUnit::Subject => None,
        };
        let subject = *subject.ok_or(Unprocessable::SubjectMissing)?;
        let unit = self.inner.forest.make_unit(tenant.no).await?;
        let seals = &self.inner.seals;
        if let Some(record) = &of_record {
            plan.open(seals, schema::record_unit(tenant.no, record, collection.no, unit.slot), Expect::Absent, &UnitRow::of(unit))?;
        }
        self.plan_spared(plan, unit, (subject, collection.no, of_record), left)?;
        plan.check(Space::Control, schema::unit_state(unit.tenant, unit.slot), Expect::Absent);
        Ok(unit)
    }

    /// Such a record is put with this plan.
    pub(super) fn plan_left_there(plan: &mut Plan, collection: &Collection, unit: UnitRef) {
        if unit != collection.unit {
            plan.check(Space::Control, schema::unit_state(unit.tenant, unit.slot), Expect::Absent);
            plan.kept_units.one_more(unit);
        }
    }

    /// A record that an order had left so is deleted with this plan.
    pub(super) fn plan_kept_gone(plan: &mut Plan, tenant: TenantNo, collection: &Collection, header: &RecordHeader) {
        let unit = unit_of(header, tenant);
        if unit != collection.unit {
            plan.kept_units.one_fewer(unit);
        }
    }

    /// Adds to a plan the counts of the restricted records of the units that it changes; gives the units of which none is left.
    pub(super) async fn settle_kept(&self, plan: &mut Plan) -> Result<Vec<UnitRef>, VaultError> {
        let mut emptied = Vec::new();
        for (unit, Change { more, fewer }) in std::mem::take(&mut plan.kept_units).0 {
            let key = schema::kept_records(unit.tenant, unit.slot);
            let stored = self.inner.store.get(Space::Index, &key).await?;
            let before = match &stored {
                Some(stored) => self.inner.seals.open::<KeptRecordsRow>(&key, stored)?.records,
                None => 0,
            };
            plan.check(Space::Index, key.clone(), stored.map_or(Expect::Absent, Expect::Equals));
            let records = before.saturating_add(more).saturating_sub(fewer);
            if records > 0 {
                let row = self.inner.seals.seal(&key, &KeptRecordsRow { records })?;
                plan.put(Space::Index, key, row);
            } else {
                plan.delete(Space::Index, key);
                emptied.push(unit);
            }
        }
        Ok(emptied)
    }
}

//! Legal minimums held against what is ordered: a record that a law keeps is not deleted, not shredded and not overwritten into one
//! that could be. What stands over a record is the longest of three: what the rules of today ask for, what those asked for under which
//! it was written, and what an earlier version of it was kept for. So neither a rule that is made shorter nor another date in the value
//! brings it forward; and a record whose rule waits for its date is kept until that is known.

use std::time::Duration;

use bytes::Bytes;

use super::{
    Caller, Vault, VaultError,
    collections::AtWork,
    directory::{Collection, Tenant},
    plan::{Actor, Live, Plan, unit_of},
    restricted::{self, Restricted},
    retention::{Rules, facts_under},
    rows::{Scope, State, SubjectRow},
    spare::Lawful,
};
use crate::{
    authn::Role,
    domain::{
        CollectionNo, RecordMeta, Retention, ShredId, SubjectId, TenantNo, Timestamp,
        retention::{Events, Kept, Law, RuleName, events::NO_EVENTS},
    },
    vault::{
        crypto::{Context, Data, Key, OpenedRecord, RECORD_HEADER_LEN, Record, RecordHeader, Sealed, Token},
        keys::UnitRef,
        store::{Check, Expect, Row, Space, schema},
    },
};

/// Records that are read and opened at once: each has up to 100 kB.
const AT_ONCE: usize = 64;
/// Records that are looked at to count what stands, once it is known that something does.
const COUNTED: u64 = 10_000;

/// A write is committed so soon behind the time that it bears, and a policy behind that at which it changes: longer would be a store that
/// stands still.
const COMMITTED_WITHIN: Duration = Duration::from_mins(1);

impl Collection {
    /// Its rules of today.
    pub(super) fn rules_now(&self) -> Rules<'_> {
        (&self.policy.retention, &self.policy.categories)
    }

    /// Its rules at a moment; at that of a change those before it, whatever came behind it.
    fn rules_until(&self, at: Timestamp) -> Rules<'_> {
        let was = self.past.retention_was.iter().find(|(changed, ..)| at.0 <= *changed);
        was.map_or_else(|| self.rules_now(), |(_, rules, categories)| (rules, categories.as_slice()))
    }

    /// The rules under which a record may have been written that bears a time: more than one set, where they changed within a minute
    /// before.
    pub(super) fn rules_for(&self, written_at: Timestamp) -> impl Iterator<Item = Rules<'_>> {
        let was = self.past.retention_was.iter().map(|(changed, rules, categories)| (*changed, (rules, categories.as_slice())));
        let earliest = written_at.0.saturating_sub(i64::try_from(COMMITTED_WITHIN.as_millis()).unwrap_or(i64::MAX));
        let mut is_over = false;
        was.chain([(i64::MAX, self.rules_now())])
            .skip_while(move |(changed, _)| *changed < earliest)
            .take_while(move |(changed, _)| !std::mem::replace(&mut is_over, *changed > written_at.0))
            .map(|(_, rules)| rules)
    }

    /// The names of the rules that it has, or had.
    pub(super) fn rules(&self) -> impl Iterator<Item = &str> {
        let all = self.past.retention_was.iter().map(|(_, was, _)| was).chain([&self.policy.retention]);
        all.filter_map(Retention::schedule).flat_map(|schedule| &schedule.rules).map(|rule| rule.name.as_str())
    }
}

/// The legal minimum that some rules ask for.
fn asked((rules, categories): Rules<'_>, meta: &RecordMeta, value: Option<&[u8]>, events: &Events) -> Option<Law> {
    let schedule = rules.schedule().filter(|schedule| schedule.has_minimum())?;
    schedule.outlook(&facts_under(categories, meta, value, events)).law()
}

/// The legal minimum that keeps a record now.
pub(super) fn standing(collection: &Collection, meta: &RecordMeta, value: Option<&[u8]>, events: &Events, now: Timestamp) -> Option<Law> {
    standing_under(collection.rules_now(), collection, meta, value, events, now)
}

/// The same at an earlier moment, by the rules until then.
pub(super) fn standing_at(collection: &Collection, meta: &RecordMeta, value: Option<&[u8]>, events: &Events, at: Timestamp) -> Option<Law> {
    standing_under(collection.rules_until(at), collection, meta, value, events, at)
}

fn standing_under(
    then: Rules<'_>,
    collection: &Collection,
    meta: &RecordMeta,
    value: Option<&[u8]>,
    events: &Events,
    at: Timestamp,
) -> Option<Law> {
    if !collection.has_law {
        return None;
    }
    // Mostly they are the same.
    let others = collection.rules_for(meta.modified_at).filter(|(rules, _)| !std::ptr::eq(*rules, then.0));
    let asked = [then].into_iter().chain(others).filter_map(|rules| asked(rules, meta, value, events));
    asked.chain(meta.kept.as_ref().map(Kept::law)).reduce(Law::later).filter(|law| law.stands(at))
}

/// The legal minimum that the rules asked for under which a record was written, or an earlier version of it, met or not.
pub(super) fn law_when_written(collection: &Collection, meta: &RecordMeta, value: Option<&[u8]>, events: &Events) -> Option<Law> {
    if !collection.has_law {
        return None;
    }
    let asked = collection.rules_for(meta.modified_at).filter_map(|rules| asked(rules, meta, value, events));
    asked.chain(meta.kept.as_ref().map(Kept::law)).reduce(Law::later)
}

/// The legal minimum that counts from what is reported of a person, of the rules under which a record was written, met or not.
pub(super) fn event_law_when_written(collection: &Collection, meta: &RecordMeta, value: Option<&[u8]>, events: &Events) -> Option<Law> {
    if !collection.has_law || !collection.has_events {
        return None;
    }
    let asked = |(rules, categories): Rules<'_>| rules.schedule()?.outlook(&facts_under(categories, meta, value, events)).law_by_event();
    collection.rules_for(meta.modified_at).filter_map(asked).reduce(Law::later)
}

/// What a law and the restricted state say of a record.
pub(super) fn weighed(
    collection: &Collection,
    meta: &RecordMeta,
    value: Option<&[u8]>,
    events: &Events,
    now: Timestamp,
) -> (Option<Law>, Option<Restricted>) {
    (standing(collection, meta, value, events, now), restricted::restricted(collection, meta, value, events, now))
}

/// Whether what takes the place of a record that a law keeps, for a time that is not known before somebody reports it, is kept for as long:
/// by its own rules, waiting for the same. That it is to be kept for something else cannot be sealed with it: there is no moment to seal.
pub(super) fn waits_on(collection: &Collection, before: &Law, after: Option<&Law>) -> bool {
    before.until.is_some() || !counts_from_event(collection, &before.rule) || after.is_some_and(|after| after.until.is_none())
}

/// Whether a rule that a collection has, or had, counts from what is reported of persons.
fn counts_from_event(collection: &Collection, name: &RuleName) -> bool {
    let all = collection.past.retention_was.iter().map(|(_, was, _)| was).chain([&collection.policy.retention]);
    let mut rules = all.filter_map(Retention::schedule).flat_map(|schedule| &schedule.rules);
    rules.any(|rule| rule.name == *name && rule.from.reported().is_some())
}

/// Whether a role may know of rules: those that read a collection's policy.
const fn knows_rules(role: Role) -> bool {
    matches!(role, Role::Owner | Role::Writer | Role::Reader | Role::Auditor | Role::Counsel)
}

/// What is told to who meets a minimum.
pub(super) fn refusal(law: Law, role: Role, records: Option<u64>) -> VaultError {
    VaultError::LegalMinimum { law: knows_rules(role).then(|| Box::new(law)), records }
}

/// What was found in a row that was opened.
enum Weighed {
    Kept(Law),
    Opened(Box<OpenedRecord>),
}

/// Minimums that stand over records of a collection or a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Minimums {
    /// The one that stands longest, of those that were looked at.
    pub(super) law: Law,
    /// How many records there are under one: as many at least.
    pub(super) records: u64,
}

impl Minimums {
    fn and(self, more: Self) -> Self {
        Self { law: self.law.later(more.law), records: self.records.saturating_add(more.records) }
    }
}

impl Vault {
    /// Holds a plan that deletes a record on purpose to no law keeping it, and to nobody's shred being about to decide on it.
    ///
    /// # Errors
    /// [`VaultError::LegalMinimum`]; [`VaultError::Shredded`] of what an order has restricted, or is about to.
    pub(super) async fn plan_deleted(
        &self,
        plan: &mut Plan,
        actor: Actor,
        tenant: &Tenant,
        collection: &Collection,
        live: &Live,
    ) -> Result<(), VaultError> {
        if !plan.is_asked() {
            return Ok(());
        }
        if let Some(order) = live.restricted_by() {
            return Err(VaultError::Shredded { certificate: Some(order) });
        }
        if collection.has_law {
            self.plan_undecided(plan, tenant, live.meta.subjects.first()).await?;
        }
        plan.check_all(&live.known);
        match &live.law {
            Some(law) => Err(refusal(law.clone(), actor.role, None)),
            None => Ok(()),
        }
    }

    /// Holds a plan that overwrites a record to nobody's shred being about to decide on it. What a law keeps may be corrected; what
    /// is restricted may not.
    ///
    /// # Errors
    /// [`VaultError::Restricted`]; [`VaultError::Shredded`].
    pub(super) async fn plan_overwritten(
        &self,
        plan: &mut Plan,
        tenant: &Tenant,
        collection: &Collection,
        live: &Live,
        by: Option<&SubjectId>,
    ) -> Result<(), VaultError> {
        if live.restricted.is_some() {
            return Err(VaultError::Restricted);
        }
        plan.check_all(&live.known);
        // The state of whom it is about from now on is held to anyway.
        let before = live.meta.subjects.first();
        if collection.has_law && before != by { self.plan_undecided(plan, tenant, before).await } else { Ok(()) }
    }

    /// Holds the first person that a record is about to the state that is read here: an order to shred decides what the law keeps of
    /// the person's records when nothing changes them any more.
    async fn plan_undecided(&self, plan: &mut Plan, tenant: &Tenant, subject: Option<&SubjectId>) -> Result<(), VaultError> {
        let Some(subject) = subject else { return Ok(()) };
        let tokens = self.subject_tokens(tenant, std::slice::from_ref(subject)).await?;
        let Some(token) = tokens.first().filter(|token| !plan.subjects.contains(*token)) else { return Ok(()) };
        let key = schema::subject_state(tenant.no, token);
        let row = self.inner.store.get(Space::Control, &key).await?;
        if let Some(row) = &row
            && let State::Pending(order) = self.inner.seals.open::<SubjectRow>(&key, row)?.state
        {
            return Err(VaultError::Shredded { certificate: Some(ShredId(order)) });
        }
        plan.check(Space::Control, key, row.map_or(Expect::Absent, Expect::Equals));
        Ok(())
    }

    /// Whether a law keeps anything of what an order of a collection, a record or a tenant would destroy; a person's order keeps by
    /// itself what a law keeps, and that of all of a tenant but what holds are on is the end of the tenant, which none holds up.
    pub(super) async fn minimums_over(&self, tenant: &Tenant, scope: &Scope) -> Result<Option<Minimums>, VaultError> {
        match scope {
            Scope::Tenant => self.minimums_in_tenant(tenant).await,
            Scope::Collection(no) => {
                let mut lawful = Lawful::default();
                match lawful.get(self, tenant.no, CollectionNo(*no)).await? {
                    Some(collection) => self.minimums_in(tenant, collection).await,
                    None => Ok(None),
                }
            }
            Scope::Record { collection, row, .. } => {
                let mut lawful = Lawful::default();
                let Some(collection) = lawful.get(self, tenant.no, CollectionNo(*collection)).await? else { return Ok(None) };
                let Some(value) = self.inner.store.get(Space::Records, row).await? else { return Ok(None) };
                let (rows, now) = (vec![Row { key: Bytes::copy_from_slice(row), value }], self.inner.clock.now());
                let laws = self.laws_of(tenant.no, collection, rows, (collection.rules_now(), now)).await?;
                Ok(laws.into_iter().next().map(|law| Minimums { law, records: 1 }))
            }
            Scope::Subjects(_) | Scope::Rest { .. } => Ok(None),
        }
    }

    /// That the record at a place stays as it is now: what keeps it is looked for behind this.
    pub(super) async fn record_unmoved(&self, row: &[u8]) -> Result<Check, VaultError> {
        let stored = self.inner.store.get(Space::Records, row).await?;
        let expect = stored.map_or(Expect::Absent, |stored| Expect::Prefix(stored.slice(..stored.len().min(RECORD_HEADER_LEN))));
        Ok(Check { space: Space::Records, key: Bytes::copy_from_slice(row), expect })
    }

    /// Freezes the collections of an order's scope in which a law may keep something: until what is returned is gone, and
    /// [`Vault::thaw_left`] was called, nothing is written to them. Of a tenant those that there are.
    pub(super) async fn freeze_lawful(
        &self,
        caller: Option<&Caller>,
        tenant: &Tenant,
        scope: &Scope,
    ) -> Result<Vec<AtWork<'_>>, VaultError> {
        let collections = match scope {
            Scope::Tenant => self.collections_in(tenant.no).await?,
            Scope::Collection(no) => vec![CollectionNo(*no)],
            Scope::Subjects(_) | Scope::Record { .. } | Scope::Rest { .. } => Vec::new(),
        };
        let mut frozen = Vec::new();
        for no in collections {
            let mut lawful = Lawful::default();
            if let Some(collection) = lawful.get(self, tenant.no, no).await? {
                frozen.push(self.freeze(caller, tenant, collection).await?);
            }
        }
        Ok(frozen)
    }

    /// The minimums that stand in a tenant. Opens every record of the collections that have rules with minimums until it meets one,
    /// and some more to count them.
    pub(super) async fn minimums_in_tenant(&self, tenant: &Tenant) -> Result<Option<Minimums>, VaultError> {
        let mut found: Option<Minimums> = None;
        for no in self.collections_in(tenant.no).await? {
            let mut lawful = Lawful::default();
            let Some(collection) = lawful.get(self, tenant.no, no).await? else { continue };
            if let Some(more) = self.minimums_in(tenant, collection).await? {
                found = Some(match found {
                    Some(found) => found.and(more),
                    None => more,
                });
            }
            if found.as_ref().is_some_and(|found| found.records >= COUNTED) {
                break;
            }
        }
        Ok(found)
    }

    /// The collections that there are in a tenant, and were.
    pub(super) async fn collections_in(&self, tenant: TenantNo) -> Result<Vec<CollectionNo>, VaultError> {
        let mut all = Vec::new();
        let mut range = schema::table_of_tenant(schema::Table::Collection, tenant);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            let number = |row: &Row| {
                let mut parts = schema::Parts::of(schema::Table::Collection, &row.key)?;
                parts.tenant()?;
                parts.collection()
            };
            all.extend(rows.iter().filter_map(number));
        }
        Ok(all)
    }

    /// The same of a collection.
    pub(super) async fn minimums_in(&self, tenant: &Tenant, collection: &Collection) -> Result<Option<Minimums>, VaultError> {
        if !collection.has_law {
            return Ok(None);
        }
        let (mut found, mut looked_at): (Option<Minimums>, u64) = (None, 0);
        let now = self.inner.clock.now();
        let mut range = schema::records_under(tenant.no, collection.no, &[]);
        while let Some(rows) = self.some_rows_of(Space::Records, &mut range, AT_ONCE).await? {
            looked_at = looked_at.saturating_add(rows.len() as u64);
            for law in self.laws_of(tenant.no, collection, rows, (collection.rules_now(), now)).await? {
                let one = Minimums { law, records: 1 };
                found = Some(match found {
                    Some(found) => found.and(one),
                    None => one,
                });
            }
            if found.is_some() && looked_at >= COUNTED {
                break;
            }
        }
        Ok(found)
    }

    /// The law that kept the record of a row at an earlier moment, by the rules until then, if one did.
    pub(super) async fn law_then(
        &self,
        tenant: TenantNo,
        collection: &Collection,
        row: Bytes,
        at: Timestamp,
    ) -> Result<Option<Law>, VaultError> {
        let Some(value) = self.inner.store.get(Space::Records, &row).await? else { return Ok(None) };
        let rows = vec![Row { key: row, value }];
        let laws = self.laws_of(tenant, collection, rows, (collection.rules_until(at), at)).await?;
        Ok(laws.into_iter().next())
    }

    /// What keeps those of some records that a law keeps at a moment, by the rules then. One that does not open is kept by nothing.
    async fn laws_of(
        &self,
        tenant: TenantNo,
        collection: &Collection,
        rows: Vec<Row>,
        (then, at): (Rules<'_>, Timestamp),
    ) -> Result<Vec<Law>, VaultError> {
        let mut closed: Vec<(RecordHeader, Context<Record>, Sealed<Record>)> = Vec::with_capacity(rows.len());
        let mut units: Vec<UnitRef> = Vec::with_capacity(rows.len());
        for row in rows {
            let (Ok(header), Some(tokens)) = (RecordHeader::parse(&row.value), schema::record_tokens(&row.key)) else { continue };
            let Ok(sealed) = Sealed::<Record>::from_row(row.value) else { continue };
            let context = Context::<Record>::record(&self.inner.store_id, tenant, collection.no, &tokens, &header);
            units.push(unit_of(&header, tenant));
            closed.push((header, context, sealed));
        }
        let open = |place: usize, key: &Key<Data>| {
            let (header, context, sealed) = closed.get(place)?;
            let record = key.open_record(context, sealed).ok()?;
            if collection.has_events {
                // It is asked what is known of its person, once the key is given back.
                return Some(Weighed::Opened(Box::new(record)));
            }
            let value = Some(record.value.expose()).filter(|_| !header.is_manifest());
            standing_under(then, collection, &record.meta, value, &NO_EVENTS, at).map(Weighed::Kept)
        };
        let mut laws = Vec::new();
        let found = self.with_data_each(collection.unit, &units, collection.no, open).await;
        for ((header, ..), found) in closed.iter().zip(found) {
            match found {
                Ok(Some(Weighed::Kept(law))) => laws.push(law),
                Ok(Some(Weighed::Opened(record))) => {
                    let known = match self.events_over(tenant, collection, &record.meta).await {
                        // The order about the person decides what a law keeps.
                        Err(VaultError::Shredded { .. }) => continue,
                        known => known?,
                    };
                    let value = Some(record.value.expose()).filter(|_| !header.is_manifest());
                    laws.extend(standing_under(then, collection, &record.meta, value, &known.events, at));
                }
                Ok(None) | Err(VaultError::Shredded { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(laws)
    }

    /// The refusal of an order over what a law keeps.
    ///
    /// # Errors
    /// [`VaultError::LegalMinimum`].
    pub(super) fn unless_kept(found: Option<Minimums>, role: Role) -> Result<(), VaultError> {
        found.map_or(Ok(()), |Minimums { law, records }| Err(refusal(law, role, Some(records))))
    }

    /// Shows the header of each record of a person in a collection that a law keeps as of the moment of an order, and the law.
    pub(super) async fn kept_of_subject(
        &self,
        tenant: &Tenant,
        collection: &Collection,
        subject: &Token,
        (order, at): (ShredId, Timestamp),
        mut show: impl FnMut(&RecordHeader, Law),
    ) -> Result<(), VaultError> {
        let mut range = schema::records_of_subject_in(tenant.no, subject, collection.no);
        while let Some(rows) = self.some_rows_of(Space::Index, &mut range, AT_ONCE).await? {
            for row in rows {
                let Some((_, _, tokens)) = schema::subject_record_parts(&row.key) else { continue };
                let key = schema::record(tenant.no, collection.no, &tokens);
                let Some(stored) = self.inner.store.get(Space::Records, &key).await? else { continue };
                let Ok(header) = RecordHeader::parse(&stored) else { continue };
                let Ok(sealed) = Sealed::<Record>::from_row(stored) else { continue };
                let context = Context::<Record>::record(&self.inner.store_id, tenant.no, collection.no, &tokens, &header);
                let unit = unit_of(&header, tenant.no);
                let opened = self.with_data(collection.unit, unit, collection.no, |key| key.open_record(&context, &sealed)).await;
                let record = match opened {
                    Ok(Ok(record)) => record,
                    // Bent: nobody reads it, and the law has nothing left to keep.
                    Ok(Err(_)) | Err(VaultError::Shredded { .. } | VaultError::Internal(_)) => continue,
                    Err(error) => return Err(error),
                };
                // It may name the person, and not first: another's unit seals it then.
                let first = record.meta.subjects.get(..1).unwrap_or_default();
                if self.subject_tokens(tenant, first).await?.first() != Some(subject) {
                    continue;
                }
                let events = self.events_of_order(tenant.no, collection, &record.meta, (order, subject, at)).await?;
                let value = Some(record.value.expose()).filter(|_| !header.is_manifest());
                if let Some(law) = standing_at(collection, &record.meta, value, &events, at) {
                    show(&header, law);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        domain::{CollectionName, CollectionPolicy, Gen, Slot},
        vault::ops::rows::Past,
    };

    fn rules(name: &str) -> Retention {
        let rule = json!({"name": name, "from": "created", "maximum": "1y", "then": "delete"});
        serde_json::from_value(json!({"time_zone": "UTC", "rules": [rule]})).unwrap()
    }

    #[test]
    fn what_is_written_about_when_rules_change_is_under_all_that_it_may_have_been_written_under() {
        let was: Vec<(i64, Retention, Vec<String>)> =
            [(1_000_000, "a"), (1_030_000, "b"), (2_000_000, "c")].into_iter().map(|(at, name)| (at, rules(name), Vec::new())).collect();
        let collection = Collection {
            no: CollectionNo(1),
            name: CollectionName::parse("c").unwrap(),
            state: State::Active,
            unit: UnitRef { tenant: TenantNo(1), slot: Slot::new(0).unwrap(), generation: Gen(0) },
            policy: CollectionPolicy { retention: rules("today"), ..CollectionPolicy::default() },
            past: Past { retention_was: was, ..Past::default() },
            has_law: true,
            has_events: false,
            created_at: Timestamp(0),
            row: Bytes::new(),
        };
        let named = |(rules, _): Rules<'_>| rules.schedule().unwrap().rules[0].name.as_str().to_owned();
        for (at, until, written) in [
            (999_999, "a", &["a"][..]),
            (1_000_000, "a", &["a", "b"][..]),
            (1_050_000, "c", &["a", "b", "c"][..]),
            (1_090_000, "c", &["b", "c"][..]),
            (1_090_001, "c", &["c"][..]),
            (3_000_000, "today", &["today"][..]),
        ] {
            assert_eq!(named(collection.rules_until(Timestamp(at))), until, "at {at}");
            assert_eq!(collection.rules_for(Timestamp(at)).map(named).collect::<Vec<_>>(), written, "at {at}");
        }
        assert_eq!(collection.rules().collect::<Vec<_>>(), ["a", "b", "c", "today"]);
    }
}

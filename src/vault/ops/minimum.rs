//! Legal minimums held against what is ordered: a record that a law keeps is not deleted, not shredded and not overwritten into one
//! that could be. What stands over a record is the longest of three: what the rules of today ask for, what those asked for under which
//! it was written, and what an earlier version of it was kept for. So neither a rule that is made shorter nor another date in the value
//! brings it forward; and a record whose rule waits for its date is kept until that is known.

use bytes::Bytes;

use super::{
    Vault, VaultError,
    directory::{Collection, Tenant},
    plan::{Actor, Live, Plan, unit_of},
    restricted::{self, Restricted},
    retention,
    rows::{Scope, State, SubjectRow},
};
use crate::{
    authn::Role,
    domain::{
        CollectionNo, CollectionPolicy, RecordMeta, Retention, ShredId, SubjectId, TenantNo, Timestamp,
        retention::{Facts, Kept, Law},
    },
    vault::{
        crypto::{Context, Data, Key, Record, RecordHeader, Sealed, Token},
        keys::UnitRef,
        store::{Expect, Row, Space, schema},
    },
};

/// Records that are read and opened at once: each has up to 100 kB.
const AT_ONCE: usize = 64;
/// Records that are looked at to count what stands, once it is known that something does.
const COUNTED: u64 = 10_000;

impl Collection {
    /// Its retention as it was at a moment.
    pub(super) fn retention_at(&self, at: Timestamp) -> &Retention {
        let was = self.past.retention_was.iter().find(|(changed, _)| at.0 < *changed);
        was.map_or(&self.policy.retention, |(_, was)| was)
    }

    /// The names of the rules that it has, or had.
    pub(super) fn rules(&self) -> impl Iterator<Item = &str> {
        let all = self.past.retention_was.iter().map(|(_, was)| was).chain([&self.policy.retention]);
        all.filter_map(Retention::schedule).flat_map(|schedule| &schedule.rules).map(|rule| rule.name.as_str())
    }
}

/// What rules look at in a record, where they may be others than those of the policy: a category that they name is one.
pub(super) fn facts_under<'a>(rules: &Retention, policy: &CollectionPolicy, meta: &'a RecordMeta, value: Option<&'a [u8]>) -> Facts<'a> {
    let facts = retention::facts(policy, meta, value);
    let named = retention::category(meta).filter(|named| rules.schedule().is_some_and(|schedule| schedule.names(named)));
    Facts { category: facts.category.or(named), ..facts }
}

/// The legal minimum that some rules ask for.
fn asked(rules: &Retention, policy: &CollectionPolicy, meta: &RecordMeta, value: Option<&[u8]>) -> Option<Law> {
    let schedule = rules.schedule().filter(|schedule| schedule.has_minimum())?;
    schedule.outlook(&facts_under(rules, policy, meta, value)).law()
}

/// The legal minimum that keeps a record now.
pub(super) fn standing(collection: &Collection, meta: &RecordMeta, value: Option<&[u8]>, now: Timestamp) -> Option<Law> {
    standing_under(&collection.policy.retention, collection, meta, value, now)
}

/// The same at an earlier moment, by the rules until then.
pub(super) fn standing_at(collection: &Collection, meta: &RecordMeta, value: Option<&[u8]>, at: Timestamp) -> Option<Law> {
    standing_under(collection.retention_at(at), collection, meta, value, at)
}

fn standing_under(then: &Retention, collection: &Collection, meta: &RecordMeta, value: Option<&[u8]>, at: Timestamp) -> Option<Law> {
    if !collection.has_law {
        return None;
    }
    let written = collection.retention_at(meta.modified_at);
    let asked = |rules: &Retention| asked(rules, &collection.policy, meta, value);
    let as_written = if std::ptr::eq(then, written) { None } else { asked(written) };
    let all = [asked(then), as_written, meta.kept.as_ref().map(Kept::law)];
    all.into_iter().flatten().reduce(Law::later).filter(|law| law.stands(at))
}

/// What a law and the restricted state say of a record.
pub(super) fn weighed(
    collection: &Collection,
    meta: &RecordMeta,
    value: Option<&[u8]>,
    now: Timestamp,
) -> (Option<Law>, Option<Restricted>) {
    (standing(collection, meta, value, now), restricted::restricted(collection, meta, value, now))
}

/// Whether a role may know of rules: those that read a collection's policy.
const fn knows_rules(role: Role) -> bool {
    matches!(role, Role::Owner | Role::Writer | Role::Reader | Role::Auditor | Role::Counsel)
}

/// What is told to who meets a minimum.
fn refusal(law: Law, role: Role, records: Option<u64>) -> VaultError {
    VaultError::LegalMinimum { law: knows_rules(role).then(|| Box::new(law)), records }
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
        if plan.is_decided() || plan.by_rule {
            return Ok(());
        }
        if let Some(order) = live.restricted_by() {
            return Err(VaultError::Shredded { certificate: Some(order) });
        }
        if collection.has_law {
            self.plan_undecided(plan, tenant, live.meta.subjects.first()).await?;
        }
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
    /// itself what a law keeps.
    pub(super) async fn minimums_over(&self, tenant: &Tenant, scope: &Scope) -> Result<Option<Minimums>, VaultError> {
        match scope {
            Scope::Tenant => self.minimums_in_tenant(tenant).await,
            Scope::Collection(no) => {
                let collection = self.collection_by_number(tenant.no, CollectionNo(*no)).await?;
                self.minimums_in(tenant, &collection).await
            }
            Scope::Record { collection, row, .. } => {
                let collection = self.collection_by_number(tenant.no, CollectionNo(*collection)).await?;
                if !collection.has_law {
                    return Ok(None);
                }
                let Some(value) = self.inner.store.get(Space::Records, row).await? else { return Ok(None) };
                let laws = self.laws_of(tenant.no, &collection, vec![Row { key: Bytes::copy_from_slice(row), value }]).await?;
                Ok(laws.into_iter().next().map(|law| Minimums { law, records: 1 }))
            }
            Scope::Subjects(_) => Ok(None),
        }
    }

    /// The minimums that stand in a tenant. Opens every record of the collections that have rules with minimums until it meets one,
    /// and some more to count them.
    pub(super) async fn minimums_in_tenant(&self, tenant: &Tenant) -> Result<Option<Minimums>, VaultError> {
        let mut found: Option<Minimums> = None;
        let mut range = schema::table_of_tenant(schema::Table::Collection, tenant.no);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                let no = schema::Parts::of(schema::Table::Collection, &row.key).and_then(|mut parts| {
                    parts.tenant()?;
                    parts.collection()
                });
                let Some(no) = no else { continue };
                let collection = match self.collection_by_number(tenant.no, no).await {
                    Ok(collection) => collection,
                    // Nobody reads a record of it, and none is kept for anybody.
                    Err(VaultError::Shredded { .. } | VaultError::Internal(_)) => continue,
                    Err(error) => return Err(error),
                };
                if let Some(more) = self.minimums_in(tenant, &collection).await? {
                    found = Some(match found {
                        Some(found) => found.and(more),
                        None => more,
                    });
                }
                if found.as_ref().is_some_and(|found| found.records >= COUNTED) {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    /// The same of a collection.
    pub(super) async fn minimums_in(&self, tenant: &Tenant, collection: &Collection) -> Result<Option<Minimums>, VaultError> {
        if !collection.has_law {
            return Ok(None);
        }
        let (mut found, mut looked_at): (Option<Minimums>, u64) = (None, 0);
        let mut range = schema::records_under(tenant.no, collection.no, &[]);
        while let Some(rows) = self.some_rows_of(Space::Records, &mut range, AT_ONCE).await? {
            looked_at = looked_at.saturating_add(rows.len() as u64);
            for law in self.laws_of(tenant.no, collection, rows).await? {
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

    /// What keeps those of some records that a law keeps now. One that does not open is kept by nothing.
    async fn laws_of(&self, tenant: TenantNo, collection: &Collection, rows: Vec<Row>) -> Result<Vec<Law>, VaultError> {
        let mut closed: Vec<(RecordHeader, Context<Record>, Sealed<Record>)> = Vec::with_capacity(rows.len());
        let mut units: Vec<UnitRef> = Vec::with_capacity(rows.len());
        for row in rows {
            let (Ok(header), Some(tokens)) = (RecordHeader::parse(&row.value), schema::record_tokens(&row.key)) else { continue };
            let Ok(sealed) = Sealed::<Record>::from_row(row.value) else { continue };
            let context = Context::<Record>::record(&self.inner.store_id, tenant, collection.no, &tokens, &header);
            units.push(unit_of(&header, tenant));
            closed.push((header, context, sealed));
        }
        let now = self.inner.clock.now();
        let open = |place: usize, key: &Key<Data>| {
            let (header, context, sealed) = closed.get(place)?;
            let record = key.open_record(context, sealed).ok()?;
            let value = Some(record.value.expose()).filter(|_| !header.is_manifest());
            standing(collection, &record.meta, value, now)
        };
        let mut laws = Vec::new();
        for law in self.with_data_each(collection.unit, &units, collection.no, open).await {
            match law {
                Ok(law) => laws.extend(law),
                Err(VaultError::Shredded { .. }) => {}
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

    /// Shows the header of each record of a person in a collection that a law keeps at a moment, and the law.
    pub(super) async fn kept_of_subject(
        &self,
        tenant: &Tenant,
        collection: &Collection,
        subject: &Token,
        at: Timestamp,
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
                let value = Some(record.value.expose()).filter(|_| !header.is_manifest());
                let Some(law) = standing_at(collection, &record.meta, value, at) else { continue };
                // It may name the person, and not first: another's unit seals it then.
                let first = record.meta.subjects.get(..1).unwrap_or_default();
                if self.subject_tokens(tenant, first).await?.first() == Some(subject) {
                    show(&header, law);
                }
            }
        }
        Ok(())
    }
}

//! The rows of the index of what is due: where a record's row lies, what stands in it, and how it comes and goes with the record.
//!
//! The key tells the hour that an end lies in; of an end that a date in the value or of an event decides, only the [`MONTH_HOURS`] that
//! it lies in, for the date is somebody's. The moment itself is sealed behind it, so what is due later is passed over without opening its
//! record. A second row leads from the record to the first: so it is found, and goes, when nobody can open the record any more.

use bytes::Bytes;

use crate::{
    domain::{
        CollectionNo, HoldId, RecordMeta, TenantNo, Timestamp, Version,
        retention::{Events, Kept},
    },
    vault::{
        crypto::{Context, DueEnd, Key, Plaintext, Sealed, TenantSecret, Token},
        ops::{
            Vault, VaultError,
            directory::Collection,
            minimum::law_over,
            plan::Plan,
            retention::{self, Rules, RulesNo},
        },
        store::{
            Durability, Expect, Row, Space, StoreError, Write,
            schema::{self, Due, Fineness, KeyRange, Parts, Table},
        },
    },
};

const HOUR_MS: i64 = 3_600_000;
/// Hours of which the key of a coarse row tells the first: 32 days.
pub(super) const MONTH_HOURS: u32 = 768;

/// When a record ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vault::ops) struct End {
    pub(in crate::vault::ops) at: Timestamp,
    /// Whether a date that is somebody's has a part in it: in its value, or of an event.
    pub(in crate::vault::ops) by_date: bool,
}

/// What stands in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// The record ends then.
    Ends(Timestamp),
    /// The rules have given it no end since then; it is looked for again in the row's hour.
    Endless(Timestamp),
}

/// When a record ends, by its own end, these rules of its collection and what is known of its person, and not before a minimum that it has
/// been under until then; `None` if nothing ends it, or it is not known yet.
pub(in crate::vault::ops) fn end_over(
    collection: &Collection,
    by: RulesNo,
    meta: &RecordMeta,
    value: Option<&[u8]>,
    events: &Events,
) -> Option<End> {
    put_off(collection, by, (meta, value, events), end_under(collection.rules_at(by), meta, value, events)?)
}

/// An end that is not before a minimum over a record, by all the rules from those under which it was written to those of `last`; `None`
/// while one waits for its date.
pub(in crate::vault::ops) fn put_off(
    collection: &Collection,
    last: RulesNo,
    (meta, value, events): (&RecordMeta, Option<&[u8]>, &Events),
    end: End,
) -> Option<End> {
    let Some(law) = law_over(collection, last, meta, (value, None), events) else { return Some(end) };
    let until = law.until?;
    if until <= end.at {
        return Some(end);
    }
    // Where any of them counts from a date that is somebody's, the key is to tell no more than the days around it.
    let mut asking = collection.rules_since(meta, last).filter_map(|((rules, _), _)| rules.schedule());
    let by_date = end.by_date || asking.any(|rules| rules.has_minimum() && (rules.reads_values() || rules.has_events()));
    Some(End { at: until, by_date })
}

/// The end by some rules alone, with the categories that are declared beside them, and by what is sealed with the record.
pub(in crate::vault::ops) fn end_under(
    (rules, categories): Rules<'_>,
    meta: &RecordMeta,
    value: Option<&[u8]>,
    events: &Events,
) -> Option<End> {
    let (end, law, by_date) = match rules.schedule() {
        None => (meta.expires_at, None, false),
        Some(schedule) => {
            let outlook = schedule.outlook(&retention::facts_under(categories, meta, value, events));
            (outlook.end.map(|end| end.at), outlook.law(), outlook.counts_from_dates())
        }
    };
    let at = match &meta.kept {
        None => end,
        // What an order left of it ends with the law that keeps it, and with no rule before or after.
        Some(Kept { until, restricted_by: Some(_), .. }) => match law {
            None => Some(*until),
            Some(law) => law.until.map(|law| law.max(*until)),
        },
        Some(kept) => end.map(|end| end.max(kept.until)),
    };
    at.map(|at| End { at, by_date })
}

/// Whether a record's time is over for whoever asks: its own end has passed, and no minimum puts it off. What a rule alone ends is
/// there until a run destroys it, which may be later where the rule was shortened.
pub(in crate::vault::ops) fn is_over(
    collection: &Collection,
    meta: &RecordMeta,
    value: Option<&[u8]>,
    events: &Events,
    now: Timestamp,
) -> bool {
    let end = || end_over(collection, collection.rules_now(), meta, value, events);
    meta.expires_at.is_some_and(|own| own <= now) && end().is_some_and(|end| end.at <= now)
}

/// The hour of the index, since 1970, that a moment lies in.
pub(super) fn hour_of(at: Timestamp) -> u32 {
    u32::try_from(at.0.max(0).checked_div(HOUR_MS).unwrap_or(0)).unwrap_or(u32::MAX)
}

/// The first moment of an hour of the index.
pub(super) fn begin_of(hour: u32) -> Timestamp {
    Timestamp(i64::from(hour).saturating_mul(HOUR_MS))
}

/// The hour that a row of such a key names for a moment.
pub(super) fn named_hour(fineness: Fineness, at: Timestamp) -> u32 {
    let hour = hour_of(at);
    match fineness {
        Fineness::Hour => hour,
        Fineness::Month => hour.saturating_sub(hour.checked_rem(MONTH_HOURS).unwrap_or(0)),
    }
}

/// The first hour behind that which a row names.
pub(super) fn next_hour(fineness: Fineness, named: u32) -> u32 {
    named.saturating_add(match fineness {
        Fineness::Hour => 1,
        Fineness::Month => MONTH_HOURS,
    })
}

/// What a row holds: the version that it was written for, and what is sealed behind it, where that opens.
pub(super) struct Stood {
    pub(super) version: Version,
    pub(super) when: Option<When>,
}

/// Opens what stands in rows of one tenant.
pub(super) fn stood(
    store: &crate::domain::StoreId,
    secret: &Key<TenantSecret>,
    tenant: TenantNo,
    key: &[u8],
    value: &Bytes,
) -> Option<Stood> {
    let version = Version(value.first_chunk().copied().map(u64::from_be_bytes)?);
    let when = Sealed::<DueEnd>::from_row(value.slice(8..)).ok().and_then(|sealed| {
        let opened = secret.derive_meta().open(&Context::of(store, tenant, &[key]), &sealed).ok()?;
        let (kind, at) = opened.expose().split_first()?;
        let at = Timestamp(at.try_into().map(i64::from_be_bytes).ok()?);
        match kind {
            0 => Some(When::Ends(at)),
            1 => Some(When::Endless(at)),
            _ => None,
        }
    });
    Some(Stood { version, when })
}

fn removal(leads: Bytes, known: &[u8]) -> impl Iterator<Item = Write> + use<> {
    let row = schema::due_led_to(&leads, known);
    row.into_iter().chain([leads]).map(|key| Write::Delete { space: Space::Index, key })
}

impl Vault {
    /// Writes down when a version of a record ends, in the commit of the record, in the place of what was written down before.
    /// `is_new`: nothing stood under the key, or nothing that could have an end.
    pub(in crate::vault::ops) async fn plan_due(
        &self,
        plan: &mut Plan,
        (tenant, collection, tokens): (TenantNo, CollectionNo, &[Token]),
        is_new: bool,
        (version, end): (Version, Option<End>),
    ) -> Result<(), VaultError> {
        let fineness = |end: End| if end.by_date { Fineness::Month } else { Fineness::Hour };
        let row = end.map(|end| (fineness(end), named_hour(fineness(end), end.at), When::Ends(end.at)));
        if let Some(end) = end {
            plan.first_due.at(fineness(end), end.at);
        }
        self.plan_row(plan, (tenant, collection, tokens), is_new, row.map(|row| (version, row))).await
    }

    /// Writes down an earlier end of a version of a record than stands there, in the place of that. `false`, and nothing is planned, where
    /// what stands there is as early; and where it waits under a legal hold: its time is over already.
    pub(in crate::vault::ops) async fn plan_earlier(
        &self,
        plan: &mut Plan,
        (tenant, collection, tokens): (TenantNo, CollectionNo, &[Token]),
        version: Version,
        end: End,
    ) -> Result<bool, VaultError> {
        let leads = schema::due_of(tenant, collection, tokens);
        if let Some(known) = self.inner.store.get(Space::Index, &leads).await? {
            let key = schema::due_led_to(&leads, &known).ok_or_else(|| StoreError::Damaged("due row".into()))?;
            let Some(value) = self.inner.store.get(Space::Index, &key).await? else { return Ok(false) };
            let due = schema::due_parts(&key).ok_or_else(|| StoreError::Damaged("due row".into()))?;
            let store = self.inner.store_id;
            let stood = self.with_tenant(tenant, |secret| stood(&store, secret, tenant, &key, &value)).await?;
            let is_as_early = stood.filter(|stood| stood.version == version).is_some_and(|stood| match stood.when {
                Some(When::Ends(at)) => at <= end.at,
                Some(When::Endless(_)) | None => begin_of(due.hour) <= end.at,
            });
            if is_as_early {
                return Ok(false);
            }
        }
        self.plan_due(plan, (tenant, collection, tokens), false, (version, Some(end))).await?;
        Ok(true)
    }

    /// Writes down that a version of a record has had no end since `since`: it is looked for again at `at`.
    pub(super) async fn plan_endless(
        &self,
        plan: &mut Plan,
        of: (TenantNo, CollectionNo, &[Token]),
        version: Version,
        (since, at): (Timestamp, Timestamp),
    ) -> Result<(), VaultError> {
        self.plan_row(plan, of, false, Some((version, (Fineness::Hour, hour_of(at), When::Endless(since))))).await
    }

    /// The same for one that an order has left for its legal purpose alone: where its end is not known, it is looked for again.
    pub(in crate::vault::ops) async fn plan_kept_end(
        &self,
        plan: &mut Plan,
        of: (TenantNo, CollectionNo, &[Token]),
        (version, end): (Version, Option<End>),
    ) -> Result<(), VaultError> {
        if end.is_some() {
            return self.plan_due(plan, of, false, (version, end)).await;
        }
        let now = self.inner.clock.now();
        let at = super::looked_for_again(now, now);
        plan.first_due.at(Fineness::Hour, at);
        self.plan_endless(plan, of, version, (now, at)).await
    }

    async fn plan_row(
        &self,
        plan: &mut Plan,
        (tenant, collection, tokens): (TenantNo, CollectionNo, &[Token]),
        is_new: bool,
        row: Option<(Version, (Fineness, u32, When))>,
    ) -> Result<(), VaultError> {
        let leads = schema::due_of(tenant, collection, tokens);
        let key = row.map(|(_, (fineness, hour, _))| schema::due(fineness, hour, tenant, collection, tokens));
        if !is_new {
            let known = self.inner.store.get(Space::Index, &leads).await?;
            plan.check(Space::Index, leads.clone(), known.clone().map_or(Expect::Absent, Expect::Equals));
            let before = known.and_then(|known| schema::due_led_to(&leads, &known)).filter(|before| key.as_ref() != Some(before));
            if let Some(before) = before {
                plan.delete(Space::Index, before);
            }
            if key.is_none() {
                plan.delete(Space::Index, leads.clone());
            }
        }
        if let (Some(key), Some((version, (.., when)))) = (key, row) {
            let (kind, Timestamp(at)) = match when {
                When::Ends(at) => (0, at),
                When::Endless(since) => (1, since),
            };
            let plain = Plaintext::<DueEnd>::new([&[kind][..], &at.to_be_bytes()].concat());
            let (store, suite) = (self.inner.store_id, self.inner.options.suite);
            let sealed =
                self.with_tenant(tenant, |secret| secret.derive_meta().seal(suite, &Context::of(&store, tenant, &[&key]), &plain)).await?;
            let value = [&version.to_be_bytes()[..], &sealed.into_row()].concat();
            plan.put(Space::Index, leads, schema::due_lead(&key));
            plan.put(Space::Index, key, value.into());
        }
        Ok(())
    }

    /// Removes a row that leads to nothing, and what leads to it.
    pub(super) async fn plan_dropped(&self, plan: &mut Plan, row: &[u8], due: &Due) -> Result<(), VaultError> {
        let leads = schema::due_of(due.tenant, due.collection, &due.record);
        let Some(known) = self.inner.store.get(Space::Index, &leads).await? else { return Ok(()) };
        if schema::due_led_to(&leads, &known).is_some_and(|led_to| led_to == row) {
            plan.check(Space::Index, leads.clone(), Expect::Equals(known));
            plan.delete(Space::Index, leads);
        }
        Ok(())
    }

    /// What removes a record's row, and what leads to it, where nobody can say any more when the record would have ended.
    pub(in crate::vault::ops) async fn due_removal(&self, record: &[u8]) -> Result<Vec<Write>, VaultError> {
        let mut parts = Parts::new(record);
        let (Some(tenant), Some(collection)) = (parts.tenant(), parts.collection()) else { return Ok(Vec::new()) };
        let Some(tokens) = parts.tokens() else { return Ok(Vec::new()) };
        let leads = schema::due_of(tenant, collection, &tokens);
        let Some(known) = self.inner.store.get(Space::Index, &leads).await? else { return Ok(Vec::new()) };
        Ok(removal(leads, &known).collect())
    }

    /// Removes the rows of all records that rows of this range lead from.
    pub(in crate::vault::ops) async fn drop_dues(&self, mut range: KeyRange) -> Result<(), VaultError> {
        while let Some(rows) = self.some_rows(Space::Index, &mut range).await? {
            let writes = rows.into_iter().flat_map(|row| removal(row.key, &row.value)).collect();
            self.data(writes, Vec::new(), Durability::Written).await?;
        }
        Ok(())
    }

    /// Whether what is sealed in a row opens.
    pub(in crate::vault::ops) async fn tells_when(&self, tenant: TenantNo, row: &Row) -> Result<bool, VaultError> {
        let store = self.inner.store_id;
        let stood = self.with_tenant(tenant, |secret| stood(&store, secret, tenant, &row.key, &row.value)).await?;
        Ok(stood.is_some_and(|stood| stood.when.is_some()))
    }

    /// What stands in a row of what is due that waits under a hold, also under one that has ended; `None` where it waits under none.
    pub(in crate::vault::ops) async fn waits_under_a_hold(&self, tenant: TenantNo, due: &[u8]) -> Result<Option<Bytes>, VaultError> {
        let mut range = schema::table_of_tenant(Table::Hold, tenant);
        while let Some(holds) = self.some_rows_of(Space::Control, &mut range, 256).await? {
            for hold in holds.iter().filter_map(|row| row.key.last_chunk::<16>()) {
                if let Some(value) = self.inner.store.get(Space::Index, &schema::held_due(HoldId(*hold), due)).await? {
                    return Ok(Some(value));
                }
            }
        }
        Ok(None)
    }

    /// When a version of a record is looked for: at its end as it was written down, or when it is looked again whether it has one. What
    /// is due and waits under a hold tells the same.
    pub(in crate::vault::ops) async fn scheduled(
        &self,
        (tenant, collection, tokens): (TenantNo, CollectionNo, &[Token]),
        version: Version,
    ) -> Result<Option<Timestamp>, VaultError> {
        let leads = schema::due_of(tenant, collection, tokens);
        let Some(key) = self.inner.store.get(Space::Index, &leads).await?.and_then(|known| schema::due_led_to(&leads, &known)) else {
            return Ok(None);
        };
        let value = match self.inner.store.get(Space::Index, &key).await? {
            Some(value) => Some(value),
            None => self.waits_under_a_hold(tenant, &key).await?,
        };
        let Some(value) = value else { return Ok(None) };
        let due = schema::due_parts(&key).ok_or_else(|| StoreError::Damaged("due row".into()))?;
        let store = self.inner.store_id;
        let stood = self.with_tenant(tenant, |secret| stood(&store, secret, tenant, &key, &value)).await?;
        Ok(stood.filter(|stood| stood.version == version).map(|stood| match stood.when {
            Some(When::Ends(at)) => at,
            Some(When::Endless(_)) | None => begin_of(due.hour),
        }))
    }
}

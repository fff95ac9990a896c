//! The rows of the index of what is due: where a record's row lies, what stands in it, and how it comes and goes with the record.
//!
//! The key tells the hour that an end lies in; of an end that a date in the value or of an event decides, only the [`MONTH_HOURS`] that
//! it lies in, for the date is somebody's. The moment itself is sealed behind it, so what is due later is passed over without opening its
//! record. A second row leads from the record to the first: so it is found, and goes, when nobody can open the record any more.
//!
//! Where the rule that ends a record marks it before, the row lies first where the mark comes, and tells both moments; the run that meets
//! it there moves it on to the end. So each record is marked once, in a commit, and a run costs what is marked and what is due.

use std::time::Duration;

use bytes::Bytes;

use super::looked_for_again;
use crate::{
    domain::{
        CollectionNo, HoldId, RecordMeta, TenantNo, Timestamp, Version,
        retention::{Events, Kept, Rule},
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
    /// How long before it the rule that ends the record marks it.
    pub(in crate::vault::ops) marks_for: Duration,
}

impl End {
    /// When it is marked.
    pub(in crate::vault::ops) fn marked_at(self) -> Timestamp {
        self.at.less(self.marks_for)
    }

    /// What is written down of it at `now`: what is marked from the beginning is met, and counted, by the next run.
    pub(super) fn written_at(self, now: Timestamp) -> When {
        if self.marks_for.is_zero() { When::Ends(self.at) } else { When::Marks(self.marked_at().max(now), self.at) }
    }

    /// The same end, which is known only since `now` and lies before that which was known until then: it comes when the mark has stood
    /// for its time, or when that other end comes, whichever is sooner. `None`: nothing ended the record.
    pub(in crate::vault::ops) fn known_since(self, now: Timestamp, before: Option<Timestamp>) -> Self {
        let marked = now.plus(self.marks_for);
        Self { at: self.at.max(before.map_or(marked, |before| before.min(marked))), ..self }
    }
}

/// What is written down of a record's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vault::ops) enum Written {
    /// When it ends.
    Ends(End),
    /// The rules have given it no end since then.
    Endless(Timestamp),
}

/// What stands in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// The record ends then.
    Ends(Timestamp),
    /// The rules have given it no end since then; it is looked for again in the row's hour.
    Endless(Timestamp),
    /// It is marked at the one moment, and ends at the other.
    Marks(Timestamp, Timestamp),
}

impl When {
    /// What is sealed: what it is, and its moments.
    fn sealed(self) -> Vec<u8> {
        let (kind, moments) = match self {
            Self::Ends(at) => (0_u8, vec![at]),
            Self::Endless(since) => (1, vec![since]),
            Self::Marks(at, end) => (2, vec![at, end]),
        };
        std::iter::once(kind).chain(moments.into_iter().flat_map(|Timestamp(at)| at.to_be_bytes())).collect()
    }

    fn opened(plain: &[u8]) -> Option<Self> {
        let (kind, moments) = plain.split_first()?;
        let (moments, rest) = moments.as_chunks::<8>();
        if !rest.is_empty() {
            return None;
        }
        match (kind, moments) {
            (0, [at]) => Some(Self::Ends(moment(*at))),
            (1, [since]) => Some(Self::Endless(moment(*since))),
            (2, [at, end]) => Some(Self::Marks(moment(*at), moment(*end))),
            _ => None,
        }
    }

    /// When a run looks at the record; `None`: in the hour of its row.
    pub(super) const fn looked_at(self) -> Option<Timestamp> {
        match self {
            Self::Ends(at) | Self::Marks(at, _) => Some(at),
            Self::Endless(_) => None,
        }
    }

    /// When the record ends, as it is written down.
    pub(super) const fn ends_at(self) -> Option<Timestamp> {
        match self {
            Self::Ends(end) | Self::Marks(_, end) => Some(end),
            Self::Endless(_) => None,
        }
    }

    /// The end of the record as who looks at it at `now` takes it: not before that which is to be marked, and what had none until then is
    /// marked first.
    pub(super) fn put_off(self, end: End, now: Timestamp) -> End {
        match self {
            Self::Marks(_, at) => End { at: end.at.max(at), ..end },
            Self::Endless(_) if !end.marks_for.is_zero() => end.known_since(now, None),
            Self::Endless(_) | Self::Ends(_) => end,
        }
    }

    /// Whether who looks at the record at `now` marks it: it has this end, and was not marked before.
    pub(super) fn marks_now(self, end: End, now: Timestamp) -> bool {
        matches!(self, Self::Marks(..) | Self::Endless(_)) && !end.marks_for.is_zero() && end.marked_at() <= now
    }
}

const fn moment(bytes: [u8; 8]) -> Timestamp {
    Timestamp(i64::from_be_bytes(bytes))
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
    end_over_by(collection, by, meta, value, events).map(|(end, _)| end)
}

/// The same with the rule that ends it, as [`end_by`] tells it.
fn end_over_by<'a>(
    collection: &'a Collection,
    by: RulesNo,
    meta: &RecordMeta,
    value: Option<&[u8]>,
    events: &Events,
) -> Option<(End, Option<&'a Rule>)> {
    let (end, rule) = end_by(collection.rules_at(by), meta, value, events)?;
    Some((put_off(collection, by, (meta, value, events), end)?, rule))
}

/// The same by the rules of today, for who looks whether it has come: where the rule counts from an event, and marks, not before the mark has
/// stood for its time since the last report of that which the record has had. What was marked before a report was taken back, and comes again,
/// is marked again.
pub(super) fn end_today<'a>(
    collection: &'a Collection,
    meta: &RecordMeta,
    value: Option<&[u8]>,
    events: &Events,
) -> Option<(End, Option<&'a Rule>)> {
    let (end, rule) = end_over_by(collection, collection.rules_now(), meta, value, events)?;
    let event = rule.filter(|_| !end.marks_for.is_zero()).and_then(|rule| rule.from.reported());
    let reported = event.and_then(|event| events.last_reported(event, meta.reports_seen()));
    let reported = reported.filter(|_| !fault!("mark-again"));
    let at = reported.map_or(end.at, |reported| end.at.max(reported.plus(end.marks_for)));
    Some((End { at, ..end }, rule))
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
    let mut asking = collection.rules_since(meta, last).filter_map(|since| since.rules.0.schedule());
    let by_date = end.by_date || asking.any(|rules| rules.has_minimum() && (rules.reads_values() || rules.has_events()));
    Some(End { at: until, by_date, ..end })
}

/// The end by some rules alone, with the categories that are declared beside them, by what is known of its person, and by what is sealed
/// with the record.
pub(in crate::vault::ops) fn end_under(rules: Rules<'_>, meta: &RecordMeta, value: Option<&[u8]>, events: &Events) -> Option<End> {
    end_by(rules, meta, value, events).map(|(end, _)| end)
}

/// The same with the rule that ends it; `None` for its own end, and for what an order left of it.
fn end_by<'a>((rules, categories): Rules<'a>, meta: &RecordMeta, value: Option<&[u8]>, events: &Events) -> Option<(End, Option<&'a Rule>)> {
    let (end, law, by_date, rule) = match rules.schedule() {
        None => (meta.expires_at, None, false, None),
        Some(schedule) => {
            let outlook = schedule.outlook(&retention::facts_under(categories, meta, value, events));
            let (end, rule) = outlook.end.map(|end| (end.at, end.rule)).unzip();
            (end, outlook.law(), outlook.counts_from_dates(), rule.flatten())
        }
    };
    let is_left = meta.kept.as_ref().is_some_and(|kept| kept.restricted_by.is_some());
    let rule = rule.filter(|_| !is_left);
    let at = match &meta.kept {
        None => end,
        // What an order left of it ends with the law that keeps it, and with no rule before or after.
        Some(Kept { until, restricted_by: Some(_), .. }) => match law {
            None => Some(*until),
            Some(law) => law.until.map(|law| law.max(*until)),
        },
        Some(kept) => end.map(|end| end.max(kept.until)),
    };
    at.map(|at| (End { at, by_date, marks_for: rule.map_or(Duration::ZERO, Rule::marks_for) }, rule))
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
#[derive(Clone, Copy)]
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
    let when = Sealed::<DueEnd>::from_row(value.slice(8..))
        .ok()
        .and_then(|sealed| When::opened(secret.derive_meta().open(&Context::of(store, tenant, &[key]), &sealed).ok()?.expose()));
    Some(Stood { version, when })
}

const fn fineness(end: End) -> Fineness {
    if end.by_date { Fineness::Month } else { Fineness::Hour }
}

/// Where a row lies that tells this of an end, and what it tells.
fn placed(end: End, when: When) -> (Fineness, u32, When) {
    let fineness = fineness(end);
    (fineness, named_hour(fineness, when.looked_at().unwrap_or(end.at)), when)
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
        let written = end.map(|end| (end, self.inner.clock.now()));
        self.plan_written_at(plan, (tenant, collection, tokens), is_new, version, written).await
    }

    /// The same as it is written down at a moment.
    async fn plan_written_at(
        &self,
        plan: &mut Plan,
        of: (TenantNo, CollectionNo, &[Token]),
        is_new: bool,
        version: Version,
        written: Option<(End, Timestamp)>,
    ) -> Result<(), VaultError> {
        let row = written.map(|(end, at)| (end, end.written_at(at)));
        if let Some((end, when)) = row {
            plan.first_due.at(fineness(end), when.looked_at().unwrap_or(end.at));
        }
        self.plan_row(plan, of, is_new, row.map(|(end, when)| (version, placed(end, when)))).await
    }

    /// Writes down that a version of a record is marked and ends then, in the place of when it was to be marked.
    pub(super) async fn plan_marked(
        &self,
        plan: &mut Plan,
        of: (TenantNo, CollectionNo, &[Token]),
        version: Version,
        end: End,
    ) -> Result<(), VaultError> {
        plan.first_due.at(fineness(end), end.at);
        self.plan_row(plan, of, false, Some((version, placed(end, When::Ends(end.at))))).await
    }

    /// Writes down an earlier end of a version of a record than stands there, in the place of that, as of the moment from which on it has
    /// had that: in older data what came behind it is still to come. `false`, and nothing is planned, where what stands there is as early;
    /// and where it waits under a legal hold: its time is over already.
    pub(in crate::vault::ops) async fn plan_earlier(
        &self,
        plan: &mut Plan,
        (tenant, collection, tokens): (TenantNo, CollectionNo, &[Token]),
        version: Version,
        (from, end): (Timestamp, End),
    ) -> Result<bool, VaultError> {
        let leads = schema::due_of(tenant, collection, tokens);
        if let Some(known) = self.inner.store.get(Space::Index, &leads).await? {
            let key = schema::due_led_to(&leads, &known).ok_or_else(|| StoreError::Damaged("due row".into()))?;
            let Some(value) = self.inner.store.get(Space::Index, &key).await? else { return Ok(false) };
            let due = schema::due_parts(&key).ok_or_else(|| StoreError::Damaged("due row".into()))?;
            let store = self.inner.store_id;
            let stood = self.with_tenant(tenant, |secret| stood(&store, secret, tenant, &key, &value)).await?;
            let is_as_early = stood
                .filter(|stood| stood.version == version)
                .is_some_and(|stood| stood.when.and_then(When::ends_at).unwrap_or(begin_of(due.hour)) <= end.at);
            if is_as_early {
                return Ok(false);
            }
        }
        let from = if fault!("plan-earlier-now") { self.inner.clock.now() } else { from };
        self.plan_written_at(plan, (tenant, collection, tokens), false, version, Some((end, from))).await?;
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
        let at = looked_for_again(now, now);
        plan.first_due.at(Fineness::Hour, at);
        self.plan_endless(plan, of, version, (now, at)).await
    }

    /// The same of what was written down elsewhere: as it was there, whatever the rules of today would say.
    pub(in crate::vault::ops) async fn plan_written(
        &self,
        plan: &mut Plan,
        of: (TenantNo, CollectionNo, &[Token]),
        is_new: bool,
        (version, written): (Version, Option<Written>),
    ) -> Result<(), VaultError> {
        match written {
            Some(Written::Endless(since)) => {
                let now = self.inner.clock.now();
                self.plan_endless(plan, of, version, (since, looked_for_again(now, since))).await
            }
            Some(Written::Ends(end)) => self.plan_due(plan, of, is_new, (version, Some(end))).await,
            None => self.plan_due(plan, of, is_new, (version, None)).await,
        }
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
            let plain = Plaintext::<DueEnd>::new(when.sealed());
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

    /// When a version of a record is looked for: at its end as it was written down, or when it is looked again whether it has one.
    pub(in crate::vault::ops) async fn scheduled(
        &self,
        of: (TenantNo, CollectionNo, &[Token]),
        version: Version,
    ) -> Result<Option<Timestamp>, VaultError> {
        let row = self.row_of(of, version).await?;
        Ok(row.map(|(due, when)| when.and_then(When::ends_at).unwrap_or(begin_of(due.hour))))
    }

    /// The end of a version of a record that is written down, if one is.
    pub(in crate::vault::ops) async fn end_written_down(
        &self,
        of: (TenantNo, CollectionNo, &[Token]),
        version: Version,
    ) -> Result<Option<Timestamp>, VaultError> {
        Ok(self.row_of(of, version).await?.and_then(|(_, when)| when.and_then(When::ends_at)))
    }

    /// What is written down of the end of a version of a record.
    pub(in crate::vault::ops) async fn written_down(
        &self,
        of: (TenantNo, CollectionNo, &[Token]),
        version: Version,
    ) -> Result<Option<Written>, VaultError> {
        Ok(self.row_of(of, version).await?.map(|(due, when)| {
            let by_date = due.fineness == Fineness::Month;
            let ends = |at, marks_for| Written::Ends(End { at, by_date, marks_for });
            match when {
                Some(When::Endless(since)) => Written::Endless(since),
                Some(When::Ends(at)) => ends(at, Duration::ZERO),
                Some(When::Marks(marked, at)) => ends(at, at.since(marked)),
                None => ends(begin_of(due.hour), Duration::ZERO),
            }
        }))
    }

    /// The row of a version of a record, and what is sealed in it where that opens. What is due and waits under a hold tells the same.
    async fn row_of(
        &self,
        (tenant, collection, tokens): (TenantNo, CollectionNo, &[Token]),
        version: Version,
    ) -> Result<Option<(Due, Option<When>)>, VaultError> {
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
        Ok(stood.filter(|stood| stood.version == version).map(|stood| (due, stood.when)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn end(at: i64, marks_for: u64) -> End {
        End { at: Timestamp(at), by_date: false, marks_for: Duration::from_millis(marks_for) }
    }

    #[test]
    fn what_stands_in_a_row_reads_back_and_nothing_else_is_read() {
        let [one, other] = [Timestamp(7), Timestamp(i64::MAX)];
        for when in [When::Ends(one), When::Endless(other), When::Marks(one, other)] {
            let sealed = when.sealed();
            assert_eq!(When::opened(&sealed), Some(when));
            for broken in [&sealed[..sealed.len() - 1], &[&sealed[..], &[0]].concat(), &[&[3][..], &sealed[1..]].concat(), &[]] {
                assert_eq!(When::opened(broken), None, "{when:?}");
            }
        }
        assert_eq!(When::opened(&[&[0][..], &[0; 16]].concat()), None);
        assert_eq!(When::opened(&[&[2][..], &[0; 8]].concat()), None);
        assert_eq!(When::Ends(one).sealed(), [&[0][..], &7_i64.to_be_bytes()].concat(), "rows of before are the same");
    }

    #[test]
    fn an_end_that_is_brought_forward_waits_for_its_mark_or_for_the_end_of_before() {
        let now = NOW.0;
        for (at, before, comes) in [
            (now + 500, None, now + 500),
            (now + 50, None, now + 100),
            (now + 50, Some(now + 5_000), now + 100),
            (now + 50, Some(now + 70), now + 70),
            // It was over, or sooner, before.
            (now + 50, Some(now - 5), now + 50),
            (now + 50, Some(now + 20), now + 50),
        ] {
            assert_eq!(end(at, 100).known_since(NOW, before.map(Timestamp)).at, Timestamp(comes), "{at} {before:?}");
            let without = end(at, 0).known_since(NOW, before.map(Timestamp)).at;
            assert_eq!(without, Timestamp(at), "without a mark nothing waits");
        }
        // What is to be marked goes no sooner than was written down.
        let marks = When::Marks(Timestamp(now - 5), Timestamp(now + 95));
        assert_eq!(marks.put_off(end(now - 50, 100), NOW).at, Timestamp(now + 95));
        assert_eq!(marks.put_off(end(now + 500, 100), NOW).at, Timestamp(now + 500));
        assert!(
            marks.marks_now(end(now + 95, 100), NOW)
                && !marks.marks_now(end(now + 101, 100), NOW)
                && !marks.marks_now(end(now + 95, 0), NOW)
        );
        assert!(!When::Ends(NOW).marks_now(end(now + 95, 100), NOW), "once");
        assert_eq!(When::Endless(NOW).put_off(end(now - 50, 100), NOW).at, Timestamp(now + 100));
        assert_eq!(When::Endless(NOW).put_off(end(now - 50, 0), NOW).at, Timestamp(now - 50));
        assert_eq!(end(now + 50, 100).written_at(NOW), When::Marks(NOW, Timestamp(now + 50)));
        assert_eq!(end(now + 500, 100).written_at(NOW), When::Marks(Timestamp(now + 400), Timestamp(now + 500)));
        assert_eq!(end(now + 500, 0).written_at(NOW), When::Ends(Timestamp(now + 500)));
    }
}

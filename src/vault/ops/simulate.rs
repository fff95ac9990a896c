//! Simulating retention: on which day a draft of a policy would end what is stored now. A read of a whole collection, in passes:
//! nothing of a value leaves but counts by day and rule.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::{
    Caller, Unprocessable, Vault, VaultError,
    access::InCollection,
    directory::{Collection, damaged},
    events::known::Known,
    minimum::law_until,
    plan::{entry, unit_of},
    refused::Place,
    retention,
};
use crate::{
    authn::Role,
    authz::RetentionRead,
    domain::{
        CollectionName, CollectionPolicy, RecordMeta, TenantName, Timestamp,
        retention::{Events, Kept, Law, Outlook, RuleName, Schedule, Zone},
    },
    vault::{
        audit::{Action, Target},
        crypto::{Context, Data, Key, OpenedRecord, Record, RecordHeader, Sealed, Token},
        store::{Row, Space, schema},
    },
};

/// Records of one pass.
const LOOKS: usize = 2_000;
/// Records that are read and opened at once: each has up to 100 kB.
const AT_ONCE: usize = 64;

/// Records that end on the same day, by the same rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The day that the end lies in, in the draft's time zone; in UTC where the draft has no rules.
    pub day: Date,
    /// By which rule, or which rule's minimum puts it off; `None` for their own end.
    pub rule: Option<RuleName>,
    /// How many.
    pub records: u64,
    /// Those of them that are not destroyed on that day: what was written down when they were stored is later, or nothing was, and
    /// they end so only once they are written again.
    pub later: u64,
    /// Those of them that a legal hold of which the caller may know keeps now: they are not destroyed while it stands.
    pub held: u64,
}

/// What one pass found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Simulated {
    /// Records that were looked at.
    pub looked_at: u64,
    /// By day, then by rule.
    pub ends: Vec<Ending>,
    /// Records that nothing would end, or that lack the date that a rule with a minimum counts from.
    pub endless: u64,
    /// Records that do not open.
    pub unreadable: u64,
}

/// Counts by day and by rule.
type Counts = BTreeMap<(Date, Option<String>), Ending>;

impl Vault {
    /// Holds a draft of a collection's policy against its records, from where the cursor says; with what is returned the next pass
    /// goes on, `None` at the end. The audit entry is in the store before this returns.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Shredded`], [`Unprocessable::Cursor`]; [`Unprocessable::Policy`] for a draft that
    /// could not be stored.
    pub async fn simulate_retention(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        collection: &CollectionName,
        draft: CollectionPolicy,
        cursor: Option<String>,
    ) -> Result<(Simulated, Option<String>), VaultError> {
        let caller = &caller.begin();
        let simulated = self.simulate_pass(caller, tenant, collection, draft, cursor);
        self.on_record(caller, Place::collection(tenant, collection), Action::RetentionRead, simulated).await
    }

    async fn simulate_pass(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        collection: &CollectionName,
        draft: CollectionPolicy,
        cursor: Option<String>,
    ) -> Result<(Simulated, Option<String>), VaultError> {
        let found = self.in_collection::<RetentionRead>(caller, tenant, collection, None).await?;
        found.collection.in_use()?;
        draft.validate().map_err(Unprocessable::from)?;
        let (no, list) = (found.collection.no, found.collection.no.to_be_bytes());
        let whole = schema::records_under(found.tenant.no, no, &[]);
        let mut range = whole.clone();
        if let Some(cursor) = cursor {
            range = range.after(&self.open_cursor(found.tenant.no, &list, &whole, &cursor).await?);
        }
        let (mut done, mut counts) = (Simulated::default(), Counts::new());
        let mut last = None;
        let mut looks = 0;
        while looks < LOOKS {
            let Some(rows) = self.some_rows_of(Space::Records, &mut range, AT_ONCE).await? else {
                last = None;
                break;
            };
            last = rows.last().map(|row| row.key.clone());
            looks = looks.saturating_add(rows.len());
            self.simulate_rows((&found, caller.principal.role()), &draft, rows, &mut done, &mut counts).await?;
        }
        done.ends = counts.into_values().collect();
        let next = match last {
            Some(last) => Some(self.seal_cursor(found.tenant.no, &list, &whole, &last).await?),
            None => None,
        };
        let purpose = self.purpose_token(caller, found.tenant.no, no).await?;
        let count = Some(u32::try_from(done.looked_at).unwrap_or(u32::MAX));
        let read = entry(caller, &found.tenant, Action::RetentionRead, no, Target { count, purpose, ..Target::default() });
        self.read_receipt(&found.tenant, read).await?;
        Ok((done, next))
    }

    async fn simulate_rows(
        &self,
        (found, role): (&InCollection<RetentionRead>, Role),
        draft: &CollectionPolicy,
        rows: Vec<Row>,
        done: &mut Simulated,
        counts: &mut Counts,
    ) -> Result<(), VaultError> {
        let (tenant, collection) = (&found.tenant, &found.collection);
        let mut closed = Vec::with_capacity(rows.len());
        let mut units = Vec::with_capacity(rows.len());
        for row in rows {
            let read = || {
                let header = RecordHeader::parse(&row.value).ok()?;
                let tokens = schema::record_tokens(&row.key)?;
                Some((header, tokens, (!header.is_tombstone()).then(|| Sealed::<Record>::from_row(row.value.clone()))))
            };
            match read() {
                // Shredded: only the header is left.
                Some((_, _, None)) => {}
                Some((header, tokens, Some(Ok(sealed)))) => {
                    let context = Context::<Record>::record(&self.inner.store_id, tenant.no, collection.no, &tokens, &header);
                    units.push(unit_of(&header, tenant.no));
                    closed.push((header, tokens, context, sealed));
                }
                Some((_, _, Some(Err(_)))) | None => done.unreadable = done.unreadable.saturating_add(1),
            }
        }
        let open = |place: usize, key: &Key<Data>| closed.get(place).map(|(_, _, context, sealed)| key.open_record(context, sealed));
        let opened = self.with_data_each(collection.unit, &units, collection.no, open).await;
        for ((header, tokens, ..), opened) in closed.iter().zip(opened) {
            match opened {
                Ok(Some(Ok(record))) => self.simulate_one((found, role), draft, (header, tokens, &record), done, counts).await?,
                Ok(Some(Err(error))) => {
                    let _ = damaged(error);
                    done.unreadable = done.unreadable.saturating_add(1);
                }
                Ok(None) | Err(VaultError::Shredded { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn simulate_one(
        &self,
        (found, role): (&InCollection<RetentionRead>, Role),
        draft: &CollectionPolicy,
        (header, tokens, record): (&RecordHeader, &[Token], &OpenedRecord),
        done: &mut Simulated,
        counts: &mut Counts,
    ) -> Result<(), VaultError> {
        let (tenant, collection) = (&found.tenant, &found.collection);
        if self.leaving(tenant, collection, &record.meta).await?.is_some() {
            return Ok(());
        }
        done.looked_at = done.looked_at.saturating_add(1);
        // What the draft counts from, whatever the rules of today do.
        let has_events = collection.has_events || draft.retention.schedule().is_some_and(Schedule::has_events);
        let known = if has_events { self.events_about(tenant.no, &record.meta).await } else { Ok(Known::default()) };
        let Known { events, .. } = match known {
            Err(VaultError::Shredded { .. }) => return Ok(()),
            known => known?,
        };
        let value = Some(record.value.expose()).filter(|_| !header.is_manifest());
        let zone = draft.retention.schedule().map_or_else(Zone::utc, |schedule| schedule.time_zone.clone());
        let Some((at, rule)) = end_by(draft, collection, (&record.meta, value, &events), self.inner.clock.now()) else {
            done.endless = done.endless.saturating_add(1);
            return Ok(());
        };
        let scheduled = self.scheduled((tenant.no, collection.no, tokens), header.version).await?;
        let is_later = scheduled.is_none_or(|scheduled| scheduled > at);
        let is_held = self.is_known_held(tenant, collection.no, tokens, &record.meta.subjects, role).await? && !fault!("simulate-held");
        let (day, named) = (zone.day_of(at), rule.as_ref().map(|rule| rule.as_str().to_owned()));
        let of = counts.entry((day, named)).or_insert(Ending { day, rule, records: 0, later: 0, held: 0 });
        of.records = of.records.saturating_add(1);
        of.later = of.later.saturating_add(u64::from(is_later));
        of.held = of.held.saturating_add(u64::from(is_held));
        Ok(())
    }
}

/// When a record would end if a draft took the place of its collection's rules at a moment, and by which rule: as a run would find it then,
/// which destroys nothing before a minimum that it has been under. `None` where nothing ends it, or a minimum waits for its date.
fn end_by(
    draft: &CollectionPolicy,
    collection: &Collection,
    (meta, value, events): (&RecordMeta, Option<&[u8]>, &Events),
    now: Timestamp,
) -> Option<(Timestamp, Option<RuleName>)> {
    let facts = retention::facts(draft, meta, value, events);
    let outlook = draft.retention.schedule().map(|schedule| schedule.outlook(&facts));
    let law_of_draft = outlook.as_ref().and_then(Outlook::law);
    let (mut at, mut rule) = match (&meta.kept, &outlook) {
        // What an order left of it ends with the law that keeps it, and with no rule before or after.
        (Some(kept @ Kept { restricted_by: Some(_), .. }), _) => {
            let law = law_of_draft.into_iter().fold(kept.law(), Law::later);
            (law.until?, Some(law.rule))
        }
        (Some(_) | None, Some(outlook)) => {
            let end = outlook.end?;
            (end.at, end.put_off_by.or(end.rule).map(|rule| rule.name.clone()))
        }
        (Some(_) | None, None) => (meta.expires_at?, None),
    };
    // Those of today would hold no more: one of them that waits for its date would count from now.
    if let Some(law) = law_until(collection, meta, value, events, now)
        && let Some(until) = law.until.filter(|until| *until > at)
    {
        (at, rule) = (until, Some(law.rule));
    }
    Some((at, rule))
}

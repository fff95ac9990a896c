//! What is marked in a collection: the records that a run has met on their way to their end, and that are going to be destroyed. They are
//! found where the index has their ends, within the time that the collection's rules mark records for, and tell themselves that they are
//! marked. The index lies by hours, and within an hour by tenants and collections: the list goes from one hour that has anything to the
//! next, so it costs the collection's own rows of that time, and a look for each hour in between. Behind them come those that are listed on
//! the collection's pages.

use bytes::Bytes;

use super::{
    ROWS,
    index::{When, end_today, named_hour, next_hour, stood},
    pages::Spot,
    rows_of_all,
};
use crate::{
    authn::Role,
    authz::RetentionMarked,
    domain::{
        CollectionName, RecordKey, TenantName, Timestamp, Version,
        retention::{RuleName, report::How},
    },
    vault::{
        audit::{Action, Target},
        crypto::{Context, Record, RecordHeader, Sealed},
        ops::{
            Caller, Vault, VaultError,
            access::InCollection,
            directory::damaged,
            events::known::Known,
            plan::{entry, record_row, unit_of},
            refused::Place,
            restricted::restricted,
        },
        store::{
            Row, Space,
            schema::{self, Due, Fineness, KeyRange},
        },
    },
};

/// Rows of the collection that one page looks at.
const LOOKS: usize = 2_000;
/// Pages of one read.
const PAGES: usize = 16;
/// Bytes of the number of a page, with which its key ends.
const PAGE_LEN: usize = 4;

/// A record that is marked.
#[derive(Debug, Clone)]
pub struct MarkedItem {
    /// Its key, for who may list keys; of what is restricted for nobody.
    pub key: Option<RecordKey>,
    /// Its version.
    pub version: Version,
    /// The rule that ends it.
    pub rule: RuleName,
    /// How.
    pub how: How,
    /// Since when it is marked.
    pub marked_at: Timestamp,
    /// When it is destroyed.
    pub ends_at: Timestamp,
    /// Whether legal holds that the caller may know of keep it then, too.
    pub held: bool,
}

impl Vault {
    /// The records of a collection that are marked, by the hour of their ends; behind them those whose end a date in the value, or of an
    /// event, decides, by its 32 days. At most `limit` behind a cursor; a page may hold fewer, and none, with more behind it. The audit
    /// entry is in the store before this returns.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Forbidden`], [`VaultError::Shredded`], [`super::super::Unprocessable::Cursor`].
    pub async fn marked_records(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        collection: &CollectionName,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<MarkedItem>, Option<String>), VaultError> {
        let caller = &caller.begin();
        let listed = self.marked_page(caller, tenant, collection, cursor, limit);
        self.on_record(caller, Place::collection(tenant, collection), Action::RetentionMarked, listed).await
    }

    async fn marked_page(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        collection: &CollectionName,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<MarkedItem>, Option<String>), VaultError> {
        let found = self.in_collection::<RetentionMarked>(caller, tenant, collection, None).await?;
        found.collection.in_use()?;
        let (no, whole) = (found.collection.no, rows_of_all());
        let list = [b"marked".as_slice(), &no.to_be_bytes()].concat();
        let after = match cursor {
            Some(cursor) => self.open_cursor(found.tenant.no, &list, &whole, cursor).await?,
            None => Bytes::new(),
        };
        let (items, last) = self.walk_marked(caller, &found, after, limit).await?;
        let next = match last {
            Some(last) => Some(self.seal_cursor(found.tenant.no, &list, &whole, &last).await?),
            None => None,
        };
        let purpose = self.purpose_token(caller, found.tenant.no, no).await?;
        let count = Some(u32::try_from(items.len()).unwrap_or(u32::MAX));
        let read = entry(caller, &found.tenant, Action::RetentionMarked, no, Target { count, purpose, ..Target::default() });
        self.read_receipt(&found.tenant, read).await?;
        Ok((items, next))
    }

    /// The next ones behind a row of the index, and the row that the page ends with; `None` at the end of all.
    async fn walk_marked(
        &self,
        caller: &Caller,
        found: &InCollection<RetentionMarked>,
        after: Bytes,
        limit: usize,
    ) -> Result<(Vec<MarkedItem>, Option<Bytes>), VaultError> {
        let (tenant, no, now) = (found.tenant.no, found.collection.no, self.inner.clock.now());
        let longest = found.collection.policy.retention.schedule().map(crate::domain::retention::Schedule::longest_mark);
        let Some(longest) = longest.filter(|longest| !longest.is_zero()) else { return Ok((Vec::new(), None)) };
        let until = now.plus(longest);
        let (mut items, mut looks) = (Vec::new(), 0_usize);
        for kind in Fineness::ALL {
            let end = schema::due_until(kind, named_hour(kind, until)).to;
            if after >= end {
                continue;
            }
            let gone_to = schema::due_parts(&after).filter(|due| due.fineness == kind);
            let mut hour = gone_to.as_ref().map_or(named_hour(kind, now), |due| due.hour);
            let mut from = gone_to.map_or_else(|| schema::due(kind, hour, tenant, no, &[]), |_| schema::successor(&after));
            loop {
                let own = schema::prefix(&schema::due(kind, hour, tenant, no, &[]));
                let rows = self.inner.store.scan(Space::Index, &from, &own.to.clone().min(end.clone()), ROWS).await?;
                let whens = self.whens(&rows).await?;
                for (row, when) in rows.iter().zip(whens) {
                    looks = looks.saturating_add(1);
                    items.extend(self.marked_at(caller, found, (row, when), (now, until)).await?);
                    if items.len() >= limit || looks >= LOOKS {
                        return Ok((items, Some(row.key.clone())));
                    }
                }
                if let Some(last) = rows.last().filter(|_| rows.len() >= ROWS) {
                    from = schema::successor(&last.key);
                    continue;
                }
                // The next hour in which anybody has anything.
                let next = self.inner.store.scan(Space::Index, &own.to, &end, 1).await?;
                let Some(due) = next.first().and_then(|row| schema::due_parts(&row.key)) else { break };
                hour = if (due.tenant, due.collection) <= (tenant, no) { due.hour } else { next_hour(kind, due.hour) };
                from = schema::due(kind, hour, tenant, no, &[]);
                if from >= end {
                    break;
                }
            }
        }
        let came = self.walk_marked_pages(caller, found, &after, (now, until), (&mut items, looks), limit).await?;
        Ok((items, came))
    }

    /// The same of what is listed on the collection's pages: where the page ends, if it does before the end of all.
    async fn walk_marked_pages(
        &self,
        caller: &Caller,
        found: &InCollection<RetentionMarked>,
        after: &Bytes,
        (now, until): (Timestamp, Timestamp),
        (items, mut looks): (&mut Vec<MarkedItem>, usize),
        limit: usize,
    ) -> Result<Option<Bytes>, VaultError> {
        let (tenant, no) = (found.tenant.no, found.collection.no);
        let (mut hour, last) = (named_hour(Fineness::Month, now), named_hour(Fineness::Month, until));
        while hour <= last {
            let KeyRange { from, to } = schema::due_pages_of(hour, tenant, no);
            // The page that the list has come to is gone on with.
            let begun =
                after.get(..from.len().saturating_add(PAGE_LEN)).filter(|begun| after.len() > begun.len() && begun.starts_with(&from));
            let from = begun.map_or_else(|| from.clone().max(schema::successor(after)), Bytes::copy_from_slice);
            let mut range = KeyRange { from, to };
            while let Some(pages) = self.some_rows_of(Space::Index, &mut range, PAGES).await? {
                for page in pages {
                    let Some(of) = schema::due_page_parts(&page.key) else { continue };
                    looks = looks.saturating_add(1);
                    let gone_to = Spot::on(&page.key, after);
                    let mut places = self.places_of(tenant, &page.key, &page.value).await?.unwrap_or_default();
                    places.retain(|place| place.at > now && place.at <= until && place.is_behind(gone_to));
                    for place in places {
                        let rows = self.rows_at(&of, &[place]).await?;
                        for (row, when) in rows.iter().zip(self.whens(&rows).await?) {
                            looks = looks.saturating_add(1);
                            items.extend(self.marked_at(caller, found, (row, when), (now, until)).await?);
                        }
                        if items.len() >= limit || looks >= LOOKS {
                            return Ok(Some(place.of_page(&page.key)));
                        }
                    }
                    if looks >= LOOKS {
                        return Ok(Some(page.key));
                    }
                }
            }
            hour = next_hour(Fineness::Month, hour);
        }
        Ok(None)
    }

    /// What is told of the record of a row, if it ends within a time and says itself that it is marked.
    async fn marked_at(
        &self,
        caller: &Caller,
        found: &InCollection<RetentionMarked>,
        (row, when): (&Row, Option<When>),
        (now, until): (Timestamp, Timestamp),
    ) -> Result<Option<MarkedItem>, VaultError> {
        match when {
            Some(When::Ends(at)) if at > now && at <= until => self.marked_item(caller, found, row, (at, now)).await,
            Some(When::Ends(_) | When::Endless(_) | When::Marks(..)) | None => Ok(None),
        }
    }

    /// What is told of the record of a row, if it says itself that it is marked.
    async fn marked_item(
        &self,
        caller: &Caller,
        found: &InCollection<RetentionMarked>,
        row: &Row,
        (at, now): (Timestamp, Timestamp),
    ) -> Result<Option<MarkedItem>, VaultError> {
        let (tenant, collection) = (&found.tenant, &found.collection);
        let Some(Due { record: tokens, .. }) = schema::due_parts(&row.key) else { return Ok(None) };
        let store = self.inner.store_id;
        let told = self.with_tenant(tenant.no, |secret| stood(&store, secret, tenant.no, &row.key, &row.value)).await?;
        let Some(stored) = self.inner.store.get(Space::Records, &record_row(tenant, collection.no, &tokens)).await? else {
            return Ok(None);
        };
        let header = RecordHeader::parse(&stored).map_err(damaged)?;
        if header.is_tombstone() || told.is_none_or(|told| told.version != header.version) {
            return Ok(None);
        }
        let sealed = Sealed::<Record>::from_row(stored).map_err(damaged)?;
        let context = Context::<Record>::record(&self.inner.store_id, tenant.no, collection.no, &tokens, &header);
        let unit = unit_of(&header, tenant.no);
        let opened = match self.with_data(collection.unit, unit, collection.no, |key| key.open_record(&context, &sealed)).await {
            Ok(Ok(opened)) => opened,
            // The run that meets it says so.
            Ok(Err(error)) => {
                error.counted();
                return Ok(None);
            }
            Err(VaultError::Shredded { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let meta = &opened.meta;
        if self.leaving(tenant, collection, meta).await?.is_some() {
            return Ok(None);
        }
        let Known { events, .. } = match self.events_over(tenant.no, collection, meta).await {
            Err(VaultError::Shredded { .. }) => return Ok(None),
            known => known?,
        };
        let value = Some(opened.value.expose()).filter(|_| !header.is_manifest());
        let Some((end, Some(rule))) = end_today(collection, meta, value, &events) else { return Ok(None) };
        let ends_at = end.at.max(at);
        let marked_at = ends_at.less(end.marks_for).max(meta.modified_at);
        if end.marks_for.is_zero() || marked_at > now {
            return Ok(None);
        }
        let is_shown = caller.principal.role() == Role::Owner && restricted(collection, meta, value, &events, now).is_none();
        Ok(Some(MarkedItem {
            key: is_shown.then(|| meta.key.clone()),
            version: header.version,
            rule: rule.name.clone(),
            how: How::of(Some(rule), collection.policy.shred_unit),
            marked_at,
            ends_at,
            held: self.is_known_held(&found.tenant, collection.no, &tokens, &meta.subjects, caller.principal.role()).await?,
        }))
    }
}

//! The shred log applied to the data store: what was deleted with an order is deleted again before older data is
//! served; the bytes of shredded records go in the background, their 22-byte headers stay as the tombstones behind 410.
//!
//! How far a data store has come stands in that store itself: a copy of an older date goes through the log from there. An entry
//! that cannot be done with yet is held back by name, and holds up no other.

use std::collections::HashSet;

use bytes::Bytes;

use super::{
    Vault, VaultError,
    deletions::Walk,
    plan::{unchanged, unit_of},
    rows::{MadeRow, PlainRow, PositionRow, Progress, ReclaimedRow, ReplyRow, Scope, ShredLogRow, UnitRow, UploadRow},
    shredder::{actor_of, is_its_own},
    spare::SparedSlots,
};
use crate::{
    domain::{CollectionNo, Epoch, ShredId, Slot, TenantNo, Timestamp, UploadId, Version},
    vault::{
        crypto::{OpenError, OpenReason, RecordHeader, Token},
        store::{
            Check, Commit, Durability, Expect, Row, Space, StoreError, Urgency, Write,
            schema::{self, KeyRange, Table},
        },
    },
};

/// Rows of one pass over a range.
const PASS: usize = 512;
/// Compactions of one pass at most.
const COMPACTIONS: usize = 16;
/// Entries of the shred log that are counted at most.
const COUNTED: usize = 1_000;

/// An upload without progress for so long has nobody behind it.
const UPLOAD_LOST: std::time::Duration = std::time::Duration::from_hours(1);

/// What a pass of background work did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Entries of the shred log that are done with.
    pub log_entries: u64,
    /// Records whose bytes are gone.
    pub records: u64,
    /// Large values whose rows are gone.
    pub uploads: u64,
    /// Idempotency replies that ran out.
    pub replies: u64,
    /// Ranges of rows whose remains left the files.
    pub compacted: u64,
}

/// A row that a sweep removes.
struct Swept {
    /// That it is still as it was read.
    unmoved: Option<Check>,
    writes: Vec<Write>,
}

/// What stands under a key after an order.
enum Buried {
    Nothing,
    /// A header alone.
    Header(Bytes),
    /// A record that another unit seals, by its header.
    Another(RecordHeader),
    /// Something that was written there meanwhile.
    Changed,
    /// Not even a header.
    Unreadable(Bytes),
}

impl Vault {
    /// Deletes again what was deleted with orders that this data store has not seen. Before anything is served.
    pub(super) async fn reapply_deletions(&self) -> Result<u64, VaultError> {
        let mut from = self.reclaimed_up_to().await?;
        let (mut deleted, mut spared): (u64, _) = (0, SparedSlots::default());
        for (_, entry) in self.held_back().await? {
            deleted = deleted.saturating_add(self.reapply(&entry, &mut spared).await?);
        }
        loop {
            let log = self.log_after(&from, PASS).await?;
            let Some((last, _)) = log.last() else { return Ok(deleted) };
            from = last.clone();
            for (_, entry) in log {
                deleted = deleted.saturating_add(self.reapply(&entry, &mut spared).await?);
            }
        }
    }

    /// The same for one order.
    async fn reapply(&self, entry: &ShredLogRow, spared: &mut SparedSlots) -> Result<u64, VaultError> {
        let subjects: &[Token] = match &entry.scope {
            Scope::Subjects(subjects) => subjects,
            Scope::Rest { .. } => &[],
            Scope::Tenant | Scope::Collection(_) | Scope::Record { .. } => return Ok(0),
        };
        let tenant = match self.tenant_unmarked(TenantNo(entry.tenant)).await {
            Ok(tenant) => tenant,
            Err(error) if is_its_own(&error) => {
                // Nothing of it is served, and reclaiming holds the entry back.
                tracing::error!(%error, tenant = entry.tenant, "a tenant cannot be used");
                return Ok(0);
            }
            Err(error) => return Err(error),
        };
        if tenant.in_use().is_err() {
            return Ok(0);
        }
        let Some(order) = self.shred_row(ShredId(entry.order)).await? else { return Ok(0) };
        if order.progress != Progress::Done {
            // Its own deletions are under way and are counted; its persons are pending until they are done.
            return Ok(0);
        }
        if matches!(entry.scope, Scope::Rest { .. }) {
            // What it deleted is deleted again under the keys that are kept; with what the last one leaves, less than any before it.
            if tenant.life.rest == Some(entry.order) {
                self.delete_unheld_again(ShredId(entry.order), &order).await?;
            }
            return Ok(0);
        }
        let (as_of, decided_at, at) = (Version(entry.version), order.decided_as_of(), PositionRow::default());
        let (actor, id) = (actor_of(&order), ShredId(entry.order));
        let mut walk = Walk { tenant: &tenant, actor, order: id, decided_at, subjects, as_of, bound: Some(as_of), at };
        self.drop_names_of_spared(tenant.no, subjects, spared).await?;
        let mut deleted: u64 = 0;
        while !walk.is_over() {
            let touched = self.delete_batch(&mut walk, None).await?;
            deleted = touched.values().map(|total| total.deleted).fold(deleted, u64::saturating_add);
        }
        Ok(deleted)
    }

    /// Works through at most `limit` entries of the shred log, and those that were held back.
    ///
    /// # Errors
    /// Those of the store; what was done so far stays done.
    pub async fn reclaim(&self, limit: usize) -> Result<Reclaimed, VaultError> {
        let mut done = Reclaimed::default();
        for (held, entry) in self.held_back().await? {
            if self.reclaim_or_hold(&entry, &mut done).await? {
                self.data(vec![Write::Delete { space: Space::Index, key: held }], Vec::new(), Durability::Synced).await?;
            }
        }
        let from = self.reclaimed_up_to().await?;
        let log = self.log_after(&from, limit).await?;
        let is_all = log.len() < limit;
        for (key, entry) in log {
            let passed = ReclaimedRow { up_to: key.to_vec() };
            let mut writes = vec![self.pass(schema::reclaimed(), &passed)?];
            if !self.reclaim_or_hold(&entry, &mut done).await? {
                writes.push(self.pass(schema::held_back(&key), &passed)?);
            }
            self.data(writes, Vec::new(), Durability::Synced).await?;
        }
        if is_all {
            // Nothing else waits: what was deleted leaves the files.
            self.compact_some(&mut done).await?;
        } else {
            self.inner.reclaim.notify_one();
        }
        metrics::counter!("lethe_reclaimed_rows_total", "kind" => "record").increment(done.records);
        metrics::counter!("lethe_reclaimed_rows_total", "kind" => "value").increment(done.uploads);
        Ok(done)
    }

    /// One entry of the shred log; `false` if it is to be held back, which holds up no other.
    async fn reclaim_or_hold(&self, entry: &ShredLogRow, done: &mut Reclaimed) -> Result<bool, VaultError> {
        match self.reclaim_entry(entry, done).await {
            Ok(true) => {
                done.log_entries = done.log_entries.saturating_add(1);
                Ok(true)
            }
            Err(error) if is_its_own(&error) => {
                tracing::error!(%error, "the bytes of an order stay for now");
                Ok(false)
            }
            other => other,
        }
    }

    async fn reclaim_entry(&self, entry: &ShredLogRow, done: &mut Reclaimed) -> Result<bool, VaultError> {
        // What could not be deleted again, for its tenant cannot be read, must not count as done.
        let tenant = self.tenant_by_number(TenantNo(entry.tenant)).await?.no;
        let order = self.shred_row(ShredId(entry.order)).await?;
        if matches!(entry.scope, Scope::Subjects(_) | Scope::Rest { .. })
            && order.as_ref().is_some_and(|order| order.progress != Progress::Done)
        {
            // A copy of this data store must not say that it is done with deletions which are not.
            return Ok(false);
        }
        let slots = self.slots_of(ShredId(entry.order)).await?;
        match &entry.scope {
            Scope::Tenant => {
                self.drop_uploads(schema::table_of_tenant(Table::UnitUpload, tenant), None, done).await?;
                // Before the rows: what a run lists meanwhile has a page by which a later one finds it.
                self.drop_pages(tenant, None).await?;
                self.drop_dues(schema::table_of_tenant(Table::DueOf, tenant)).await?;
                let records = schema::records_of_tenant(tenant);
                let mut ranges = vec![(Space::Records, records.clone())];
                for table in [
                    Table::SubjectRecord,
                    Table::SecondaryRecord,
                    Table::UnitUpload,
                    Table::Idempotency,
                    Table::TrailName,
                    Table::KeptRecords,
                    Table::Shortened,
                    Table::TenantImport,
                    Table::OpenReport,
                    Table::AsleepOf,
                ] {
                    ranges.push((Space::Index, schema::table_of_tenant(table, tenant)));
                }
                self.drop_whole(ranges).await?;
                self.inner.ranges.add(Space::Records, records);
            }
            // All that it left went with it.
            Scope::Rest { .. } => {}
            Scope::Collection(no) => {
                let no = CollectionNo(*no);
                self.drop_uploads(schema::table_of_tenant(Table::UnitUpload, tenant), Some(no), done).await?;
                self.drop_pages(tenant, Some(no)).await?;
                self.drop_dues(schema::due_of_collection(tenant, no)).await?;
                let records = schema::records_under(tenant, no, &[]);
                let [shortened, asleep] = [schema::shortened(tenant, no), schema::asleep_of(tenant, no)].map(|key| schema::prefix(&key));
                self.drop_whole(vec![(Space::Records, records.clone()), (Space::Index, shortened), (Space::Index, asleep)]).await?;
                for table in [Table::SubjectRecord, Table::SecondaryRecord, Table::TrailName] {
                    self.drop_index_of(schema::table_of_tenant(table, tenant), no).await?;
                }
                self.inner.ranges.add(Space::Records, records);
            }
            Scope::Subjects(tokens) => {
                let mut is_all = true;
                for token in tokens {
                    is_all &= self.bury_of_subject(tenant, token, &slots, done).await?;
                }
                self.drop_uploads_of_slots(tenant, &slots, done).await?;
                self.drop_names_of_slots(tenant, &slots).await?;
                // Others' orders may have left records for the law alone that these persons' keys sealed.
                self.drop_counts_of_slots(tenant, &slots).await?;
                return Ok(is_all);
            }
            Scope::Record { collection, row, .. } => {
                let persons = order.map(|order| order.persons).unwrap_or_default();
                if !self.bury_alone(tenant, (CollectionNo(*collection), row), &persons, &slots, done).await? {
                    return Ok(false);
                }
                // The key of a person that an order had spared goes by this, too: its row is at the person's token, and no record's.
                let of_person = row.last_chunk::<16>().copied().unwrap_or_default();
                if !self.bury_of_subject(tenant, &of_person, &slots, done).await? {
                    return Ok(false);
                }
                self.drop_uploads_of_slots(tenant, &slots, done).await?;
                self.drop_names_of_slots(tenant, &slots).await?;
                self.drop_counts_of_slots(tenant, &slots).await?;
            }
        }
        Ok(true)
    }

    /// Compacts some of the ranges that were touched; the next pass comes at once if more are left that need not wait.
    async fn compact_some(&self, done: &mut Reclaimed) -> Result<(), VaultError> {
        for _ in 0..COMPACTIONS {
            let Some(batch) = self.inner.ranges.take(self.inner.clock.monotonic(), self.inner.options.rows_wait) else { break };
            if let Err(error) = self.inner.store.compact(batch.0, &batch.1).await {
                self.inner.ranges.give_back(batch);
                return Err(error.into());
            }
            done.compacted = done.compacted.saturating_add(batch.1.len() as u64);
        }
        if self.inner.ranges.has_whole() {
            self.inner.reclaim.notify_one();
        }
        Ok(())
    }

    /// Sets the gauges of what is left to reclaim, and of where the keys are.
    pub(super) async fn observe_reclaim(&self) -> Result<(), VaultError> {
        let float = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
        let from = self.reclaimed_up_to().await?;
        let left = self.log_after(&from, COUNTED).await?.len().saturating_add(self.held_back().await?.len());
        metrics::gauge!("lethe_reclaim_entries_left").set(float(left));
        metrics::gauge!("lethe_reclaim_ranges_left").set(float(self.inner.ranges.len()));
        metrics::gauge!("lethe_keys_locked").set(f64::from(u8::from(self.inner.forest.is_memory_locked())));
        Ok(())
    }

    /// Removes rows of uploads that nobody finishes or needs any more, and idempotency replies that ran out: all that are due, at
    /// most `limit` in one commit. A row that cannot be read is counted and passed over.
    ///
    /// # Errors
    /// Those of the store; what was done so far stays done.
    pub async fn sweep(&self, now: Timestamp, limit: usize) -> Result<Reclaimed, VaultError> {
        let mut done = Reclaimed::default();
        // In the order of random ids, so all of them are looked at.
        let mut uploads = schema::table(Table::Upload);
        while let Some(rows) = self.some_rows_of(Space::Index, &mut uploads, limit).await? {
            let page = rows.iter().filter_map(|row| self.swept_upload(row, now)).collect();
            done.uploads = done.uploads.saturating_add(self.sweep_page(page).await?);
        }
        let due_at = u64::try_from(now.0).unwrap_or(0);
        for (space, mut due) in [(Space::Index, schema::idempotency_due_before(due_at)), (Space::Control, schema::made_due_before(due_at))]
        {
            while let Some(rows) = self.some_rows_of(space, &mut due, limit).await? {
                let mut page = Vec::with_capacity(rows.len());
                for row in rows {
                    page.extend(self.swept_reply(space, row.key, now).await?);
                }
                done.replies = done.replies.saturating_add(self.sweep_page(page).await?);
            }
        }
        Ok(done)
    }

    /// An upload whose rows can go.
    fn swept_upload(&self, row: &Row, now: Timestamp) -> Option<Swept> {
        let (Ok(upload), Some(id)) = (UploadRow::from_row(&row.value), row.key.last_chunk::<16>()) else {
            passed_over("upload");
            return None;
        };
        let id = UploadId(*id);
        let age = now.since(Timestamp(upload.heartbeat_at));
        let over =
            if upload.replaced { age >= self.inner.options.download_max } else { age >= UPLOAD_LOST && !self.inner.uploads.holds(id) };
        if !over {
            return None;
        }
        let rows = schema::blob_rows(id);
        self.inner.ranges.add(Space::Blobs, rows.clone());
        let unmoved = Check { space: Space::Index, key: row.key.clone(), expect: Expect::Equals(row.value.clone()) };
        let writes = vec![
            Write::DeleteRange { space: Space::Blobs, from: rows.from, to: rows.to },
            Write::Delete { space: Space::Index, key: row.key.clone() },
        ];
        Some(Swept { unmoved: Some(unmoved), writes })
    }

    /// An idempotency key whose time is over, by its row in the order of time: of the data store, or of control.
    async fn swept_reply(&self, space: Space, due: Bytes, now: Timestamp) -> Result<Option<Swept>, VaultError> {
        let (table, key): (_, fn(TenantNo, &Token) -> Bytes) =
            if space == Space::Control { (Table::MadeDue, schema::made) } else { (Table::IdempotencyDue, schema::idempotency) };
        let parts = schema::Parts::of(table, &due).and_then(|mut parts| Some((parts.u64()?, parts.tenant()?, parts.token()?)));
        let Some((_, tenant, token)) = parts else {
            passed_over("idempotency");
            return Ok(None);
        };
        let key = key(tenant, &token);
        let stored = self.inner.store.get(space, &key).await?;
        let mut swept = Swept { unmoved: None, writes: vec![Write::Delete { space, key: due }] };
        if let Some(stored) = stored {
            let expires_at = if space == Space::Control {
                self.inner.seals.open::<MadeRow>(&key, &stored).map(|row| row.expires_at)
            } else {
                ReplyRow::from_row(&stored).map(|row| row.expires_at).map_err(VaultError::from)
            };
            let Ok(expires_at) = expires_at else {
                passed_over("idempotency");
                return Ok(None);
            };
            // The key may have been used again since: then a later row stands for it.
            if expires_at <= now.0 {
                swept.unmoved = Some(Check { space, key: key.clone(), expect: Expect::Equals(stored) });
                swept.writes.push(Write::Delete { space, key });
            }
        }
        Ok(Some(swept))
    }

    /// Removes rows in one commit; where one of them has changed meanwhile, each by itself. How many went, of those that were more
    /// than a place in the order of time.
    async fn sweep_page(&self, page: Vec<Swept>) -> Result<u64, VaultError> {
        let checks: Vec<Check> = page.iter().filter_map(|swept| swept.unmoved.clone()).collect();
        let whole = checks.len() as u64;
        let writes = page.iter().flat_map(|swept| swept.writes.iter().cloned()).collect();
        if self.data(writes, checks, Durability::Written).await? {
            return Ok(whole);
        }
        let mut gone: u64 = 0;
        for Swept { unmoved, writes } in page {
            let counts = u64::from(unmoved.is_some());
            if self.data(writes, unmoved.into_iter().collect(), Durability::Written).await? {
                gone = gone.saturating_add(counts);
            }
        }
        Ok(gone)
    }

    /// Leaves only the header of each record of a subject that one of these slots sealed, and of its index what leads to a record that
    /// names it. `false` if others write one of these records all the time.
    async fn bury_of_subject(
        &self,
        tenant: TenantNo,
        subject: &Token,
        slots: &HashSet<u64>,
        done: &mut Reclaimed,
    ) -> Result<bool, VaultError> {
        let mut range = schema::records_of_subject(tenant, subject);
        let mut is_all = true;
        while let Some(rows) = self.some_rows_of(Space::Index, &mut range, PASS).await? {
            for row in rows {
                let mut is_done = false;
                for _ in 0..super::ATTEMPTS {
                    is_done = self.bury_led_to(tenant, subject, &row, slots, done).await?;
                    if is_done {
                        break;
                    }
                }
                is_all &= is_done;
            }
        }
        Ok(is_all)
    }

    /// The same for what one row of the index leads to, and those rows that lead there from whom it names besides; `false` if it was
    /// written to meanwhile.
    async fn bury_led_to(
        &self,
        tenant: TenantNo,
        subject: &Token,
        row: &Row,
        slots: &HashSet<u64>,
        done: &mut Reclaimed,
    ) -> Result<bool, VaultError> {
        let (_, no, tokens) = schema::subject_record_parts(&row.key).ok_or_else(|| VaultError::Internal("subject index row".into()))?;
        let record = schema::record(tenant, no, &tokens);
        let mut named = vec![*subject];
        named.extend(schema::named_besides(&row.value));
        let mut writes = Vec::new();
        let expect = match self.bury_record(tenant, &record, slots, done).await? {
            Buried::Changed => return Ok(false),
            Buried::Another(header) => {
                // Its key was written again, or it is sealed for somebody else and names the subject second.
                named = self.named_no_more(tenant, (no, &tokens), &named).await?;
                unchanged(&header)
            }
            Buried::Nothing => Expect::Absent,
            Buried::Header(header) => Expect::Equals(header),
            Buried::Unreadable(stored) => {
                let second = schema::secondary_record(tenant, subject, no, &tokens);
                let is_second = self.inner.store.get(Space::Index, &second).await?.is_some();
                if is_second || !self.sealed_for(tenant, subject, no, &tokens, slots).await? {
                    // It may be somebody else's, who is still there.
                    return Ok(true);
                }
                metrics::counter!("lethe_shred_unreadable_rows_total").increment(1);
                writes.push(Write::Delete { space: Space::Records, key: record.clone() });
                writes.extend(self.due_removal(&record).await?);
                Expect::Equals(stored)
            }
        };
        writes.extend(index_removal(tenant, no, &tokens, &named));
        let unmoved = Check { space: Space::Records, key: record, expect };
        self.data(writes, vec![unmoved], Durability::Written).await
    }

    /// Those of some persons whom the record at a place does not name.
    async fn named_no_more(&self, tenant: TenantNo, place: (CollectionNo, &[Token]), named: &[Token]) -> Result<Vec<Token>, VaultError> {
        let mut others = Vec::with_capacity(named.len());
        for token in named {
            if !self.still_names(tenant, place, token).await? {
                others.push(*token);
            }
        }
        Ok(others)
    }

    /// The same for a record that was ordered by itself, and that named these persons.
    async fn bury_alone(
        &self,
        tenant: TenantNo,
        (no, row): (CollectionNo, &[u8]),
        persons: &[Token],
        slots: &HashSet<u64>,
        done: &mut Reclaimed,
    ) -> Result<bool, VaultError> {
        let (key, tokens) = (Bytes::copy_from_slice(row), schema::record_tokens(row).unwrap_or_default());
        for _ in 0..super::ATTEMPTS {
            let mut named = persons.to_vec();
            let mut writes = Vec::new();
            let expect = match self.bury_record(tenant, row, slots, done).await? {
                Buried::Changed => continue,
                Buried::Nothing => Expect::Absent,
                Buried::Header(header) => Expect::Equals(header),
                Buried::Another(header) => {
                    named = self.named_no_more(tenant, (no, &tokens), &named).await?;
                    unchanged(&header)
                }
                Buried::Unreadable(stored) => {
                    if self.units_left_of(tenant, no, &tokens.last().copied().unwrap_or_default(), slots).await?.1 {
                        // Written again since.
                        return Ok(true);
                    }
                    metrics::counter!("lethe_shred_unreadable_rows_total").increment(1);
                    writes.extend(self.due_removal(row).await?);
                    writes.push(Write::Delete { space: Space::Records, key: key.clone() });
                    Expect::Equals(stored)
                }
            };
            writes.extend(index_removal(tenant, no, &tokens, &named));
            let unmoved = Check { space: Space::Records, key: key.clone(), expect };
            if self.data(writes, vec![unmoved], Durability::Written).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Leaves only a record's header, if one of these slots sealed it, or one that is shredded by now: what an order had spared, and older
    /// data has as it was before.
    async fn bury_record(&self, tenant: TenantNo, row: &[u8], slots: &HashSet<u64>, done: &mut Reclaimed) -> Result<Buried, VaultError> {
        let Some(stored) = self.inner.store.get(Space::Records, row).await? else { return Ok(Buried::Nothing) };
        let Ok(header) = RecordHeader::parse(&stored).map_err(OpenError::counted) else { return Ok(Buried::Unreadable(stored)) };
        if !slots.contains(&header.slot.number()) {
            if header.is_tombstone() {
                return Ok(Buried::Header(stored));
            }
            if !self.is_shredded(unit_of(&header, tenant)).await? {
                return Ok(Buried::Another(header));
            }
        }
        self.inner.ranges.add_row(Space::Records, row, self.inner.clock.monotonic());
        if header.is_tombstone() {
            return Ok(Buried::Header(stored));
        }
        let (key, buried) = (Bytes::copy_from_slice(row), Bytes::copy_from_slice(&header.to_tombstone().to_bytes()));
        let unmoved = Check { space: Space::Records, key: key.clone(), expect: Expect::Equals(stored) };
        let mut writes = vec![Write::Put { space: Space::Records, key, value: buried.clone() }];
        // When it would have ended is told by its value, it may be.
        writes.extend(self.due_removal(row).await?);
        if !self.data(writes, vec![unmoved], Durability::Written).await? {
            return Ok(Buried::Changed);
        }
        done.records = done.records.saturating_add(1);
        Ok(Buried::Header(buried))
    }

    /// Whether what stands under a key, and cannot say so itself, was sealed by a unit of this order: by one that was the record's
    /// own, while no other unit of the record is left; or by the subject's, under which the key has a name.
    async fn sealed_for(
        &self,
        tenant: TenantNo,
        subject: &Token,
        no: CollectionNo,
        tokens: &[Token],
        slots: &HashSet<u64>,
    ) -> Result<bool, VaultError> {
        let token = tokens.last().copied().unwrap_or_default();
        let (of_order, others) = self.units_left_of(tenant, no, &token, slots).await?;
        if of_order || others {
            return Ok(of_order && !others);
        }
        let Some(row) = self.control_row::<UnitRow>(&schema::unit(tenant, subject, no)).await? else { return Ok(false) };
        let unit = row.unit(tenant)?;
        let name = schema::trail_name(tenant, (unit.slot, unit.generation), no, &token);
        Ok(slots.contains(&unit.slot.number()) && self.inner.store.get(Space::Index, &name).await?.is_some())
    }

    /// Whether a record had units of its own that this order destroyed, and whether it has others that nobody did.
    async fn units_left_of(
        &self,
        tenant: TenantNo,
        no: CollectionNo,
        record: &Token,
        slots: &HashSet<u64>,
    ) -> Result<(bool, bool), VaultError> {
        let range = schema::units_of_record(tenant, record, no);
        let (mut of_order, mut others) = (false, false);
        for row in self.inner.store.scan(Space::Control, &range.from, &range.to, usize::MAX).await? {
            let unit = self.inner.seals.open::<UnitRow>(&row.key, &row.value)?.unit(tenant)?;
            if slots.contains(&unit.slot.number()) {
                of_order = true;
            } else if !self.is_shredded(unit).await? {
                others = true;
            }
        }
        Ok((of_order, others))
    }

    async fn drop_uploads_of_slots(&self, tenant: TenantNo, slots: &HashSet<u64>, done: &mut Reclaimed) -> Result<(), VaultError> {
        for slot in slots.iter().filter_map(|slot| Slot::new(*slot)) {
            self.drop_uploads(schema::uploads_of_unit(tenant, slot), None, done).await?;
        }
        Ok(())
    }

    /// Removes what the trail's tokens stood for under these units; nothing opens it any more.
    pub(super) async fn drop_names_of_slots(&self, tenant: TenantNo, slots: &HashSet<u64>) -> Result<(), VaultError> {
        let ranges = slots.iter().filter_map(|slot| Slot::new(*slot)).map(|slot| (Space::Index, schema::trail_names_of_slot(tenant, slot)));
        self.drop_ranges(ranges.collect()).await
    }

    /// Removes how many restricted records these units seal: none opens any more.
    async fn drop_counts_of_slots(&self, tenant: TenantNo, slots: &HashSet<u64>) -> Result<(), VaultError> {
        for slot in slots.iter().filter_map(|slot| Slot::new(*slot)) {
            let key = schema::kept_records(tenant, slot);
            if self.inner.store.get(Space::Index, &key).await?.is_some() {
                self.data(vec![Write::Delete { space: Space::Index, key }], Vec::new(), Durability::Written).await?;
            }
        }
        Ok(())
    }

    /// Removes the rows of large values listed in a range; only those of one collection if one is given.
    async fn drop_uploads(&self, range: KeyRange, collection: Option<CollectionNo>, done: &mut Reclaimed) -> Result<(), VaultError> {
        let mut range = range;
        loop {
            let rows = self.inner.store.scan(Space::Index, &range.from, &range.to, PASS).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            range = range.after(&last.key);
            for row in rows {
                let here = collection.is_none_or(|no| row.value.as_ref() == no.to_be_bytes());
                if let Some(id) = row.key.last_chunk::<16>().filter(|_| here) {
                    let blob = schema::blob_rows(UploadId(*id));
                    let writes = vec![
                        Write::DeleteRange { space: Space::Blobs, from: blob.from.clone(), to: blob.to.clone() },
                        Write::Delete { space: Space::Index, key: row.key.clone() },
                    ];
                    self.data(writes, Vec::new(), Durability::Written).await?;
                    self.inner.ranges.add(Space::Blobs, blob);
                    done.uploads = done.uploads.saturating_add(1);
                }
            }
        }
    }

    async fn drop_index_of(&self, range: KeyRange, collection: CollectionNo) -> Result<(), VaultError> {
        let mut range = range;
        loop {
            let rows = self.inner.store.scan(Space::Index, &range.from, &range.to, PASS).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            range = range.after(&last.key);
            let of = |key: &[u8]| {
                let named = schema::trail_name_parts(key).map(|(no, _)| no);
                named.or_else(|| schema::subject_record_parts(key).map(|(_, no, _)| no))
            };
            let gone = rows.into_iter().filter(|row| of(&row.key) == Some(collection));
            let writes: Vec<Write> = gone.map(|row| Write::Delete { space: Space::Index, key: row.key }).collect();
            self.data(writes, Vec::new(), Durability::Written).await?;
        }
    }

    /// The same of ranges that nobody reads or writes any more: files that hold nothing else go first, unread.
    async fn drop_whole(&self, ranges: Vec<(Space, KeyRange)>) -> Result<(), VaultError> {
        for (space, range) in &ranges {
            self.inner.store.drop_files(*space, range).await?;
        }
        self.drop_ranges(ranges).await
    }

    async fn drop_ranges(&self, ranges: Vec<(Space, KeyRange)>) -> Result<(), VaultError> {
        let writes = ranges.into_iter().map(|(space, range)| Write::DeleteRange { space, from: range.from, to: range.to }).collect();
        self.data(writes, Vec::new(), Durability::Written).await.map(drop)
    }

    /// A commit to the data store without an entry: it changes nothing that anyone can still read. `false` if a check failed.
    pub(super) async fn data(&self, writes: Vec<Write>, checks: Vec<Check>, durability: Durability) -> Result<bool, VaultError> {
        if writes.is_empty() {
            return Ok(true);
        }
        let commit = Commit { checks, writes, tail: None, durability, urgency: Urgency::Essential };
        match self.inner.store.commit(commit).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Entries of the shred log that this data store has passed by without being done with them, oldest first, by the keys of the
    /// rows that say so.
    async fn held_back(&self) -> Result<Vec<(Bytes, ShredLogRow)>, VaultError> {
        let range = schema::all_held_back();
        let mut held = Vec::new();
        for row in self.inner.store.scan(Space::Index, &range.from, &range.to, usize::MAX).await? {
            let entry: Option<ShredLogRow> = self.control_row(&schema::held_back_entry(&row.key)).await?;
            let entry = entry.ok_or_else(|| VaultError::Internal("an entry of the shred log is missing".into()))?;
            held.push((row.key, entry));
        }
        Ok(held)
    }

    /// The persons whose rows of the index are still to be reclaimed, and those whom their records name besides.
    pub(super) async fn subjects_behind(&self) -> Result<HashSet<(TenantNo, Token)>, VaultError> {
        let mut entries: Vec<ShredLogRow> = self.held_back().await?.into_iter().map(|(_, entry)| entry).collect();
        let mut from = self.reclaimed_up_to().await?;
        loop {
            let log = self.log_after(&from, PASS).await?;
            let Some((last, _)) = log.last() else { break };
            from = last.clone();
            entries.extend(log.into_iter().map(|(_, entry)| entry));
        }
        let mut behind = HashSet::new();
        for ShredLogRow { tenant, scope, order, .. } in entries {
            let tenant = TenantNo(tenant);
            let subjects = match scope {
                Scope::Subjects(subjects) => subjects,
                Scope::Record { .. } => {
                    let order = self.shred_row(ShredId(order)).await?;
                    behind.extend(order.into_iter().flat_map(|order| order.persons).map(|person| (tenant, person)));
                    continue;
                }
                Scope::Tenant | Scope::Collection(_) | Scope::Rest { .. } => continue,
            };
            for subject in subjects {
                let mut range = schema::records_of_subject(tenant, &subject);
                while let Some(rows) = self.some_rows(Space::Index, &mut range).await? {
                    let besides = rows.iter().flat_map(|row| schema::named_besides(&row.value));
                    behind.extend(besides.map(|other| (tenant, other)));
                }
                behind.insert((tenant, subject));
            }
        }
        Ok(behind)
    }

    /// The key of the last log entry that this data store has looked at.
    async fn reclaimed_up_to(&self) -> Result<Bytes, VaultError> {
        let key = schema::reclaimed();
        let beginning = schema::shred_log(Epoch(0), 0);
        let Some(row) = self.inner.store.get(Space::Index, &key).await? else { return Ok(beginning) };
        match self.inner.seals.open::<ReclaimedRow>(&key, &row) {
            Ok(passed) => Ok(passed.up_to.into()),
            // Whoever moved it on would keep deletions from being applied again: all are, which takes its time and changes nothing.
            Err(error) => {
                tracing::error!(?error, "how far bytes are reclaimed cannot be read: the whole log is gone through");
                Ok(beginning)
            }
        }
    }

    /// Says of an entry of the shred log that it was looked at.
    fn pass(&self, key: Bytes, passed: &ReclaimedRow) -> Result<Write, VaultError> {
        Ok(Write::Put { space: Space::Index, value: self.inner.seals.seal(&key, passed)?, key })
    }

    /// Orders in the shred log behind `after`, oldest first; the forest's own records of epochs are passed over.
    async fn log_after(&self, after: &[u8], limit: usize) -> Result<Vec<(Bytes, ShredLogRow)>, VaultError> {
        let end = schema::table(Table::ShredLog).to;
        let mut from = schema::successor(after);
        let mut log = Vec::new();
        while log.len() < limit {
            let rows = self.inner.store.scan(Space::Control, &from, &end, limit.max(2)).await?;
            let Some(last) = rows.last() else { break };
            from = schema::successor(&last.key);
            for row in rows {
                if row.key.last_chunk::<4>().is_some_and(|number| u32::from_be_bytes(*number) > 0) {
                    let entry = self.inner.seals.open(&row.key, &row.value)?;
                    log.push((row.key, entry));
                }
            }
        }
        log.truncate(limit);
        Ok(log)
    }
}

/// What removes the rows that lead to a record from persons.
fn index_removal(tenant: TenantNo, no: CollectionNo, tokens: &[Token], named: &[Token]) -> Vec<Write> {
    let rows = |token: &Token| [schema::subject_record(tenant, token, no, tokens), schema::secondary_record(tenant, token, no, tokens)];
    named.iter().flat_map(rows).map(|key| Write::Delete { space: Space::Index, key }).collect()
}

/// A row that no sweep can read, and no pass stops at.
fn passed_over(kind: &'static str) {
    OpenError::from(OpenReason::Framing).counted();
    tracing::error!(kind, "a row that the sweep cannot read stays");
}

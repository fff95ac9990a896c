//! Large values: rows of 64 KiB under a random upload id, made visible at once by the manifest that is committed
//! last. Memory is one row for each transfer; no key is held between two rows.

use std::{
    collections::HashSet,
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use sha2::{Digest as _, Sha256};

use super::{
    Body, BodyError, Caller, Missing, Put, Vault, VaultError,
    access::{InCollection, Permitted},
    directory::{Collection, Tenant, damaged},
    foresee::Looked,
    get::ValueStream,
    plan::{Content, Existing, Plan, PutFields, record_row, retrying},
    put::put_result,
    replies::Kept,
    rows::{PlainRow, UploadRow},
    watched::Watched,
};
use crate::{
    authn::Role,
    authz::{ActionKind, RecordWrite},
    domain::{CollectionName, CollectionNo, StoreId, TenantName, TenantNo, UploadId, limits},
    vault::{
        audit::Action,
        crypto::{Blob, BlobReader, BlobWriter, Context, Manifest, OpenReason, ROW_LEN, Receipt, random},
        keys::UnitRef,
        store::{Check, Commit, Durability, Expect, Space, Urgency, Write, schema},
    },
};

/// A body on its way in.
pub(super) struct Upload {
    /// What was read already.
    pub(super) start: Bytes,
    /// What is still to come.
    pub(super) rest: Body,
    /// The announced length in bytes.
    pub(super) length: Option<u64>,
}

/// Rows handed to the store in one commit.
const ROWS_PER_COMMIT: usize = 4;
/// How often an upload that comes in says so, however slowly it does.
const HEARTBEAT_EVERY: Duration = Duration::from_mins(1);

/// Uploads that this process takes in: no sweep takes their rows, whatever the clock says.
#[derive(Default)]
pub(super) struct LiveUploads(Mutex<HashSet<UploadId>>);

impl LiveUploads {
    fn lock(&self) -> MutexGuard<'_, HashSet<UploadId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is one of them.
    pub(super) fn holds(&self, id: UploadId) -> bool {
        self.lock().contains(&id)
    }
}

/// Keeps an upload among them.
pub(super) struct Live(Vault, UploadId);

impl Live {
    fn new(vault: &Vault, id: UploadId) -> Self {
        vault.inner.uploads.lock().insert(id);
        Self(vault.clone(), id)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.inner.uploads.lock().remove(&self.1);
    }
}

/// Where a large value comes from, part by part.
pub(super) trait Incoming: Send {
    /// The next part; `None` behind the last one.
    fn part(&mut self) -> impl Future<Output = Result<Option<Bytes>, VaultError>> + Send;
}

/// A body part by part, held to its limit and to the length that was announced.
struct Parts {
    body: Body,
    length: Option<u64>,
    max: u64,
    total: u64,
}

impl Parts {
    fn new(Upload { start, rest, length }: Upload, max: u64) -> Self {
        Self { body: stream::once(async { Ok(start) }).chain(rest).boxed(), length, max, total: 0 }
    }
}

impl Incoming for Parts {
    async fn part(&mut self) -> Result<Option<Bytes>, VaultError> {
        let Some(part) = self.body.next().await.transpose()? else {
            return if self.length.is_some_and(|length| length != self.total) { Err(BodyError::Length.into()) } else { Ok(None) };
        };
        self.total = self.total.saturating_add(part.len() as u64);
        if self.total > self.max {
            return Err(VaultError::Limit(limits::Limit { max: self.max, ..limits::VALUE_LEN }));
        }
        Ok(Some(part))
    }
}

/// A large value whose rows are stored, on its way into its record.
pub(super) struct Received {
    pub(super) content: Content,
    pub(super) id: UploadId,
    /// As long as it is kept, no sweep takes the rows.
    pub(super) live: Live,
}

/// An upload under way.
struct Sink {
    vault: Vault,
    id: UploadId,
    tenant: TenantNo,
    collection: CollectionNo,
    collection_unit: UnitRef,
    unit: UnitRef,
    context: Context<Blob>,
    writer: BlobWriter,
    next_row: u32,
    /// The last heartbeat, on the monotonic clock.
    beat_at: Duration,
    waiting: Vec<Write>,
    live: Live,
}

impl Sink {
    /// Seals a row and stores it with its neighbours.
    async fn row(&mut self, plain: &[u8], last: bool) -> Result<(), VaultError> {
        let (writer, context) = (&mut self.writer, &self.context);
        let sealed = self
            .vault
            .with_data(self.collection_unit, self.unit, self.collection, |key| writer.seal_row(key, context, plain, last))
            .await?;
        let sealed = sealed.map_err(|error| VaultError::Internal(error.to_string()))?;
        self.waiting.push(Write::Put { space: Space::Blobs, key: schema::blob(self.id, self.next_row), value: sealed.into() });
        self.next_row = self.next_row.checked_add(1).ok_or(BodyError::TooLong(limits::VALUE_LEN))?;
        if last || self.waiting.len() >= ROWS_PER_COMMIT { self.store().await } else { Ok(()) }
    }

    async fn store(&mut self) -> Result<(), VaultError> {
        let writes = std::mem::take(&mut self.waiting);
        self.commit(writes).await
    }

    /// Says that the upload goes on, if that was not said for long.
    async fn beat(&mut self) -> Result<(), VaultError> {
        let now = self.vault.inner.clock.monotonic();
        if now.saturating_sub(self.beat_at) < HEARTBEAT_EVERY {
            return Ok(());
        }
        self.beat_at = now;
        let row = self.vault.upload_row(self.id, self.tenant, false)?;
        self.commit(vec![row]).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<(), VaultError> {
        let checks = vec![Check { space: Space::Index, key: schema::upload(self.id), expect: Expect::Present }];
        for attempt in 0..super::ATTEMPTS {
            let commit = Commit {
                checks: checks.clone(),
                writes: writes.clone(),
                tail: None,
                durability: Durability::Written,
                urgency: Urgency::Normal,
            };
            match self.vault.inner.store.commit(commit).await {
                Ok(_) => return Ok(()),
                Err(crate::vault::store::StoreError::Busy) if attempt.saturating_add(1) < super::ATTEMPTS => tokio::task::yield_now().await,
                Err(other) => return Err(other.into()),
            }
        }
        Err(VaultError::Busy)
    }
}

/// The place a large value's rows lie in.
fn blob_context(store: &StoreId, unit: UnitRef, collection: CollectionNo, upload: &UploadId) -> Context<Blob> {
    Context::<Blob>::blob(store, unit.tenant, collection, unit.slot, unit.generation, upload)
}

impl Vault {
    /// Stores a value that does not fit into one row.
    pub(super) async fn put_large(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        collection: &CollectionName,
        fields: PutFields,
        upload: Upload,
        idempotency_key: Option<String>,
    ) -> Result<Put, VaultError> {
        if let Some(key) = &idempotency_key
            && let Permitted::There(target) = self.writable(caller, tenant, collection, &fields.key).await?
            && self.is_kept(&target.tenant, caller, key).await?
        {
            return self.repeat_large(caller, &target, &fields, upload, key).await;
        }
        let mut sink = retrying(|| self.begin_upload(caller, tenant, collection, &fields)).await?;
        let id = sink.id;
        let mut body = Parts::new(upload, self.inner.options.value_len_bytes);
        match self.receive(&mut sink, &mut body).await {
            Ok((value_len, digest)) => {
                let manifest = Manifest { upload: id, start: sink.writer.start() }.to_bytes();
                let content = Content::Manifest { manifest, value_len, unit: sink.unit, upload: id, digest };
                let (vault, caller, tenant, collection) = (self.clone(), caller.clone(), tenant.clone(), collection.clone());
                let live = sink.live;
                self.to_the_end(async move {
                    let _live = live;
                    let done = vault.put_manifest(&caller, &tenant, &collection, &fields, &content, idempotency_key.as_deref()).await;
                    if !matches!(done, Ok((_, true))) {
                        vault.drop_upload(id).await;
                    }
                    done.map(|(put, _)| put)
                })
                .await
            }
            Err(error) => {
                let vault = self.clone();
                self.inner.tasks.spawn(async move { vault.drop_upload(id).await });
                Err(error)
            }
        }
    }

    /// A put under an idempotency key that has a reply: the body is read to be compared, and nothing is stored. What the record
    /// has become since does not count, so no condition is looked at.
    async fn repeat_large(
        &self,
        caller: &Caller,
        target: &InCollection<RecordWrite>,
        fields: &PutFields,
        upload: Upload,
        idempotency_key: &str,
    ) -> Result<Put, VaultError> {
        let mut digest = Sha256::new();
        let mut body = Parts::new(upload, self.inner.options.value_len_bytes);
        while let Some(part) = body.part().await? {
            digest.update(&part);
        }
        let request = self.put_digest_of(target, fields, &digest.finalize()).await?;
        match self.kept_reply(&target.tenant, caller, idempotency_key, &request).await? {
            Kept::Reply(results) => {
                self.repeated(caller, &target.tenant, Action::RecordWrite, target.collection.no).await?;
                put_result(&results)
            }
            // Its time ran out while the body came in.
            Kept::Free(_) => Err(VaultError::Busy),
        }
    }

    /// Takes a large value in for a record that [`Vault::plan_put`] puts there, in a collection that is known already.
    pub(super) async fn receive_large(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        collection: &Collection,
        fields: &PutFields,
        body: &mut impl Incoming,
    ) -> Result<Received, VaultError> {
        let mut sink = retrying(|| self.begin_upload_in(caller, tenant, collection, fields)).await?;
        let id = sink.id;
        match self.receive(&mut sink, body).await {
            Ok((value_len, digest)) => {
                let manifest = Manifest { upload: id, start: sink.writer.start() }.to_bytes();
                let content = Content::Manifest { manifest, value_len, unit: sink.unit, upload: id, digest };
                Ok(Received { content, id, live: sink.live })
            }
            Err(error) => {
                self.drop_upload(id).await;
                Err(error)
            }
        }
    }

    /// Opens the record's unit and the upload's row.
    async fn begin_upload(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        collection: &CollectionName,
        fields: &PutFields,
    ) -> Result<Sink, VaultError> {
        let target = self.written_to(caller, tenant, collection, fields).await?;
        self.begin_upload_in(caller, &target.tenant, &target.collection, fields).await
    }

    async fn begin_upload_in(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        collection: &Collection,
        fields: &PutFields,
    ) -> Result<Sink, VaultError> {
        let mut plan = Plan::default();
        plan.hold(tenant, collection)?;
        let tokens = self.key_tokens(tenant, collection.no, &fields.key).await?;
        let subjects = self.subject_tokens(tenant, &fields.subjects).await?;
        let left = fields.left_by();
        // Whom a record is about that an order of another store has left may be erased by then.
        for subject in subjects.iter().skip(usize::from(left.is_some())) {
            self.hold_subject(&mut plan, tenant, *subject, fields.new_relationship).await?;
        }
        // A record that stands keeps its unit, and what would be refused in the end is refused before a byte is read.
        let row = record_row(tenant, collection.no, &tokens);
        let existing = self.existing(tenant, collection, &tokens, &row).await?;
        let live = existing.as_ref().and_then(|record| record.live.as_ref().map(|live| (record.header, live)));
        fields.precondition.holds(existing.as_ref().and_then(Existing::version))?;
        if let Some((_, live)) = live {
            let place = (collection.no, &tokens[..]);
            self.plan_overwritten(&mut plan, tenant, collection, live, fields.subjects.first()).await?;
            self.plan_unheld(&mut plan, caller.into(), tenant, place, &live.meta.subjects).await?;
        } else if let Some(closed) = &existing {
            self.plan_unclosed(&mut plan, tenant, &closed.header).await?;
        }
        let reuse = live.filter(|(_, live)| live.meta.subjects.first() == fields.subjects.first()).map(|(header, _)| header.slot);
        let unit = match &left {
            Some(left) => self.plan_left_unit(&mut plan, tenant, collection, subjects.first(), &tokens, left).await?,
            None => self.plan_unit(&mut plan, tenant, collection, subjects.first(), &tokens, reuse, Looked::Not).await?,
        };
        let id = UploadId(random::bytes());
        // Before its row says so: who sees the row may count from here.
        let beat_at = self.inner.clock.monotonic();
        let Write::Put { space, key, value } = self.upload_row(id, tenant.no, false)? else {
            return Err(VaultError::Internal("upload row".into()));
        };
        plan.put(space, key, value);
        let live = Live::new(self, id);
        self.commit_plan_for(caller, plan, Urgency::Normal).await.inspect_err(|_| self.forget_both(tenant, collection))?;
        let context = blob_context(&self.inner.store_id, unit, collection.no, &id);
        let suite = self.inner.options.suite;
        let writer = self.with_data(collection.unit, unit, collection.no, |key| BlobWriter::new(key, &context, suite)).await?;
        Ok(Sink {
            vault: self.clone(),
            id,
            tenant: tenant.no,
            collection: collection.no,
            collection_unit: collection.unit,
            unit,
            context,
            writer,
            next_row: 0,
            beat_at,
            waiting: Vec::new(),
            live,
        })
    }

    /// Reads the body to its end, row by row. Returns its length and its SHA-256.
    async fn receive(&self, sink: &mut Sink, body: &mut impl Incoming) -> Result<(u64, Vec<u8>), VaultError> {
        let mut digest = Sha256::new();
        let mut buffer = BytesMut::with_capacity(ROW_LEN.saturating_mul(2));
        let mut total: u64 = 0;
        while let Some(part) = body.part().await? {
            sink.beat().await?;
            total = total.saturating_add(part.len() as u64);
            digest.update(&part);
            buffer.extend_from_slice(&part);
            while buffer.len() >= ROW_LEN {
                let row = buffer.split_to(ROW_LEN);
                sink.row(&row, false).await?;
            }
        }
        sink.row(&buffer, true).await?;
        Ok((total, digest.finalize().to_vec()))
    }

    /// Commits the manifest with index and audit entry. The second value says whether the upload is now the record's.
    async fn put_manifest(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        collection: &CollectionName,
        fields: &PutFields,
        content: &Content,
        idempotency_key: Option<&str>,
    ) -> Result<(Put, bool), VaultError> {
        retrying(|| async {
            let target = self.written_to(caller, tenant, collection, fields).await?;
            let mut plan = Plan::default();
            let mut reply = None;
            if let Some(key) = idempotency_key {
                let digest = self.put_digest(&target, fields, content).await?;
                match self.kept_reply(&target.tenant, caller, key, &digest).await? {
                    Kept::Reply(results) => {
                        self.repeated(caller, &target.tenant, Action::RecordWrite, target.collection.no).await?;
                        return Ok((put_result(&results)?, false));
                    }
                    Kept::Free(slot) => reply = Some(slot),
                }
            }
            let (version, created) = self.plan_put(&mut plan, caller, &target.tenant, &target.collection, fields, content).await?;
            if let Some(slot) = reply {
                self.plan_reply(&mut plan, slot, &[(version.0, created)])?;
            }
            self.commit_plan_for(caller, plan, Urgency::Normal).await.inspect_err(|_| self.forget(&target))?;
            Ok((Put { version, created }, true))
        })
        .await
    }

    /// The row that protects an upload from the sweep, or hands it over to it.
    pub(super) fn upload_row(&self, id: UploadId, tenant: TenantNo, replaced: bool) -> Result<Write, VaultError> {
        let row = UploadRow { tenant: tenant.0, heartbeat_at: self.inner.clock.now().0, replaced };
        Ok(Write::Put { space: Space::Index, key: schema::upload(id), value: row.to_row()? })
    }

    /// Removes the rows of an upload that no record names. What fails here is left to the sweep.
    pub(super) async fn drop_upload(&self, id: UploadId) {
        let range = schema::blob_rows(id);
        let commit = Commit {
            checks: Vec::new(),
            writes: vec![
                Write::DeleteRange { space: Space::Blobs, from: range.from, to: range.to },
                Write::Delete { space: Space::Index, key: schema::upload(id) },
            ],
            tail: None,
            durability: Durability::Written,
            urgency: Urgency::Essential,
        };
        if let Err(error) = self.inner.store.commit(commit).await {
            tracing::warn!(%error, "rows of a broken upload are left to the sweep");
        }
    }

    /// Opens a large value row by row, each row under a key lent anew: a shred ends the stream at its next row, and so does a state of its
    /// tenant that leaves the reading to its reader no more. An order that deletes the record ends it too.
    pub(super) fn stream_value(
        &self,
        reader: Reader,
        place: Place,
        manifest: Manifest,
        value_len: u64,
        range: Option<Range<u64>>,
        (watched, receipt): (Watched, Receipt),
    ) -> ValueStream {
        let range = range.unwrap_or(0..value_len);
        let rows_of = BlobReader::new(manifest.start, value_len);
        let state = (self.clone(), reader, range.start, watched, receipt);
        let rows = stream::try_unfold(state, move |(vault, reader, at, watched, receipt)| async move {
            if at >= range.end {
                return Ok(None);
            }
            // As the row in the cache says, which each step of the tenant drops before it is answered.
            let tenant = vault.find_tenant(&reader.tenant).await?.ok_or(VaultError::NotFound(Missing::Tenant))?;
            if !fault!("leaves") {
                vault.leaves(&tenant, reader.action, reader.role)?;
            }
            let index = BlobReader::row_of(at);
            let part = vault.open_row(&place, &manifest, &rows_of, index, (&watched, &receipt)).await?;
            let row_start = index.saturating_mul(ROW_LEN as u64);
            let within = |offset: u64| usize::try_from(offset.saturating_sub(row_start)).unwrap_or(usize::MAX).min(part.len());
            let sent = part.slice(within(at)..within(range.end));
            let next = row_start.saturating_add(ROW_LEN as u64);
            Ok::<_, VaultError>(Some((sent, (vault, reader, next, watched, receipt))))
        });
        Box::pin(rows)
    }

    /// Opens a large value row by row and lets nothing out.
    pub(super) async fn check_value(&self, place: Place, manifest: &Manifest, value_len: u64) -> Result<(), VaultError> {
        let reader = BlobReader::new(manifest.start, value_len);
        let context = blob_context(&self.inner.store_id, place.unit, place.collection, &manifest.upload);
        for index in 0..reader.rows() {
            let number = u32::try_from(index).map_err(|_| VaultError::Internal("row number".into()))?;
            let row = self.inner.store.get(Space::Blobs, &schema::blob(manifest.upload, number)).await?;
            let row = row.ok_or_else(|| damaged(OpenReason::Missing.into()))?;
            let opened = self
                .with_data(place.collection_unit, place.unit, place.collection, |key| reader.open_row(key, &context, index, &row).map(drop))
                .await?;
            opened.map_err(damaged)?;
        }
        Ok(())
    }

    /// Opens one row.
    pub(super) async fn open_row(
        &self,
        place: &Place,
        manifest: &Manifest,
        reader: &BlobReader,
        index: u64,
        (watched, receipt): (&Watched, &Receipt),
    ) -> Result<Bytes, VaultError> {
        let number = u32::try_from(index).map_err(|_| VaultError::Internal("row number".into()))?;
        let row = self.inner.store.get(Space::Blobs, &schema::blob(manifest.upload, number)).await?;
        let row = row.ok_or_else(|| damaged(OpenReason::Missing.into()))?;
        let context = blob_context(&self.inner.store_id, place.unit, place.collection, &manifest.upload);
        let opened =
            self.with_data(place.collection_unit, place.unit, place.collection, |key| reader.open_row(key, &context, index, &row)).await?;
        if !fault!("still-sent") {
            self.still_sent(watched).await?;
        }
        Ok(opened.map_err(damaged)?.disclose_chunk(receipt).into())
    }
}

/// Who is sent a large value, by what.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    /// The tenant that it is read in.
    pub(super) tenant: TenantName,
    pub(super) action: ActionKind,
    pub(super) role: Role,
}

/// Where a large value's rows are sealed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    collection: CollectionNo,
    collection_unit: UnitRef,
    unit: UnitRef,
}

impl Place {
    /// The place of a record's rows.
    pub(super) const fn of(collection: &Collection, unit: UnitRef) -> Self {
        Self { collection: collection.no, collection_unit: collection.unit, unit }
    }

    /// The record's collection.
    pub(super) const fn collection(&self) -> CollectionNo {
        self.collection
    }
}

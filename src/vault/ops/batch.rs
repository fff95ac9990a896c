//! Up to 1,000 puts, deletes and checks in one commit: all of them, or none.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    Caller, Missing, Precondition, Unprocessable, Vault, VaultError,
    access::{Aim, InCollection, Permitted},
    deferred::Deferred,
    directory::Tenant,
    foresee::{FORESEEN, Foreseen, Wanted},
    plan::{Content, Plan, PutFields, entry, retrying},
    refused::Place,
    replies::{self, Kept},
    shred::Named,
};
use crate::{
    authz::{self, RecordDelete, RecordRead, RecordWrite, Resource},
    domain::{CollectionName, CollectionNo, RecordKey, SubjectId, TenantName, Timestamp, Version, limits},
    vault::{
        audit::{Action, Entry},
        store::Urgency,
    },
};

/// One operation of a batch.
#[derive(Clone)]
pub enum BatchOp {
    /// Stores a record.
    Put {
        /// Where.
        collection: CollectionName,
        /// Which.
        key: RecordKey,
        /// The value, at most `inline_value_len`.
        value: Bytes,
        /// MIME type of the value.
        content_type: String,
        /// Whom it is about.
        subjects: Vec<SubjectId>,
        /// When it is to be deleted, if ever.
        expires_at: Option<Timestamp>,
        /// Custom pairs.
        custom: Vec<(String, String)>,
        /// What must hold.
        precondition: Precondition,
        /// Whether a shredded subject may return.
        new_relationship: bool,
    },
    /// Deletes a record.
    Delete {
        /// Where.
        collection: CollectionName,
        /// Which.
        key: RecordKey,
        /// What must hold.
        precondition: Precondition,
    },
    /// Changes nothing: holds a record to a version, to being there, or to being absent.
    Check {
        /// Where.
        collection: CollectionName,
        /// Which.
        key: RecordKey,
        /// What must hold.
        precondition: Precondition,
    },
}

impl BatchOp {
    const fn place(&self) -> (&CollectionName, &RecordKey) {
        match self {
            Self::Put { collection, key, .. } | Self::Delete { collection, key, .. } | Self::Check { collection, key, .. } => {
                (collection, key)
            }
        }
    }

    const fn action(&self) -> Action {
        match self {
            Self::Put { .. } => Action::RecordWrite,
            Self::Delete { .. } => Action::RecordDelete,
            Self::Check { .. } => Action::RecordRead,
        }
    }

    /// What a put says besides its value; of the others what they share with it.
    fn fields(&self) -> PutFields {
        match self {
            Self::Put { key, content_type, subjects, expires_at, custom, precondition, new_relationship, .. } => PutFields {
                key: key.clone(),
                content_type: content_type.clone(),
                subjects: subjects.clone(),
                expires_at: *expires_at,
                custom: custom.clone(),
                precondition: precondition.clone(),
                new_relationship: *new_relationship,
                carried: None,
            },
            Self::Delete { key, precondition, .. } | Self::Check { key, precondition, .. } => PutFields {
                key: key.clone(),
                content_type: String::new(),
                subjects: Vec::new(),
                expires_at: None,
                custom: Vec::new(),
                precondition: precondition.clone(),
                new_relationship: false,
                carried: None,
            },
        }
    }
}

/// What a batch leaves to do when all its operations are planned.
#[derive(Default)]
struct Later {
    /// Shreds that go with deletions.
    shreds: Vec<(Deferred, Named)>,
    /// Collections that its puts are the first writes of.
    collections: BTreeSet<CollectionName>,
}

/// What one operation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchResult {
    /// Stored.
    Put {
        /// The version now.
        version: Version,
        /// Whether the key was free.
        created: bool,
    },
    /// Deleted.
    Deleted,
    /// The check held.
    Checked,
}

impl Vault {
    /// Does all operations in one durable commit, or none of them.
    ///
    /// # Errors
    /// [`VaultError::Batch`] with the index of the first operation that cannot be done, and why.
    pub async fn batch(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        ops: Vec<BatchOp>,
        idempotency_key: Option<String>,
    ) -> Result<Vec<BatchResult>, VaultError> {
        let caller = &caller.begin();
        self.on_record(caller, Place::tenant(tenant), Action::RecordWrite, self.batch_of(caller, tenant, ops, idempotency_key)).await
    }

    async fn batch_of(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        ops: Vec<BatchOp>,
        idempotency_key: Option<String>,
    ) -> Result<Vec<BatchResult>, VaultError> {
        if ops.is_empty() {
            return Err(Unprocessable::EmptyBatch.into());
        }
        if ops.len() as u64 > limits::BATCH_OPS.max {
            return Err(VaultError::Limit(limits::BATCH_OPS));
        }
        let mut seen = HashSet::new();
        for (index, op) in ops.iter().enumerate() {
            if !seen.insert(op.place()) {
                return Err(at(index, Unprocessable::DuplicateKey.into()));
            }
            if matches!(op, BatchOp::Put { value, .. } if value.len() as u64 > limits::INLINE_VALUE_LEN.max) {
                return Err(at(index, VaultError::Limit(limits::INLINE_VALUE_LEN)));
            }
        }
        drop(seen);
        let (vault, caller, tenant) = (self.clone(), caller.clone(), tenant.clone());
        self.to_the_end(async move { retrying(|| vault.batch_once(&caller, &tenant, &ops, idempotency_key.as_deref())).await }).await
    }

    async fn batch_once(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        ops: &[BatchOp],
        idempotency_key: Option<&str>,
    ) -> Result<Vec<BatchResult>, VaultError> {
        let mut plan = Plan::default();
        let mut results = Vec::with_capacity(ops.len());
        let mut later = Later::default();
        let mut reply = None;
        let found = self.find_tenant(tenant).await?.ok_or(VaultError::NotFound(Missing::Tenant));
        if let (Some(key), Ok(found)) = (idempotency_key, &found)
            && found.no == caller.principal.tenant()
        {
            // What the tenant's state does not leave is not answered again either.
            let found = &self.with_its_end(caller, Arc::clone(found)).await?;
            for (index, op) in ops.iter().enumerate() {
                self.admits_op(caller, found, op).map_err(|error| at(index, error))?;
            }
            let digest = self.batch_digest(found, ops).await?;
            match self.kept_reply(found, caller, key, &digest).await? {
                Kept::Reply(kept) => {
                    self.repeated(caller, found, Action::RecordWrite, CollectionNo::TENANT).await?;
                    return Ok(restore(ops, &kept));
                }
                Kept::Free(slot) => reply = Some(slot),
            }
        }
        let mut foreseen = Vec::new();
        for (index, op) in ops.iter().enumerate() {
            if foreseen.is_empty()
                && let Ok(found) = &found
            {
                let next = ops.get(index..).unwrap_or_default();
                foreseen = self.foresee_ops(caller, found, next.get(..FORESEEN).unwrap_or(next)).await;
                foreseen.reverse();
            }
            let seen = foreseen.pop().flatten();
            match self.batch_op(&mut plan, caller, tenant, op, seen, &mut later).await {
                Ok(done) => results.push(done),
                Err(VaultError::Busy) => return Err(VaultError::Busy),
                Err(error) => {
                    self.refuse_op(caller, tenant, op, &error).await?;
                    return Err(at(index, error));
                }
            }
        }
        if let (false, Ok(found)) = (later.collections.is_empty(), &found) {
            // Nothing else refuses this batch: its collections are made, and all is planned again with them.
            for collection in &later.collections {
                self.make_by_write(caller, found, collection).await?;
            }
            return Err(VaultError::Busy);
        }
        if let Some(slot) = reply {
            self.plan_reply(&mut plan, slot, &kept(&results))?;
        }
        self.commit_plan_for(caller, plan, Urgency::Normal).await.inspect_err(|_| self.inner.directory.forget_all())?;
        if let Ok(found) = found {
            self.shred_deferred(caller.into(), &found, later.shreds).await;
        }
        Ok(results)
    }

    /// Whether a tenant's state leaves an operation to the caller.
    fn admits_op(&self, caller: &Caller, tenant: &Tenant, op: &BatchOp) -> Result<(), VaultError> {
        match op {
            BatchOp::Put { .. } => self.admits::<RecordWrite>(caller, tenant),
            BatchOp::Delete { .. } => self.admits::<RecordDelete>(caller, tenant),
            BatchOp::Check { .. } => self.admits::<RecordRead>(caller, tenant),
        }
    }

    /// Records why a batch was refused, with what its operation was aimed at.
    async fn refuse_op(&self, caller: &Caller, tenant: &TenantName, op: &BatchOp, error: &VaultError) -> Result<(), VaultError> {
        let Some(outcome) = error.outcome().filter(|_| !caller.is_on_record()) else { return Ok(()) };
        let Some(found) = self.find_tenant(tenant).await?.filter(|found| found.no == caller.principal.tenant()) else { return Ok(()) };
        let (collection, key) = op.place();
        let Aim(no, target) = self.aim(&found, collection, Some(key)).await;
        let refused = Entry { outcome, ..entry(caller, &found, op.action(), no, target) };
        self.refuse(caller, &found, refused).await.map(drop)
    }

    /// What the puts among some operations are going to look at, each at its operation's place, and in which collection. Of a put
    /// that is not permitted nothing is looked at; what goes wrong here, its operation meets when its turn comes.
    async fn foresee_ops(&self, caller: &Caller, tenant: &Tenant, ops: &[BatchOp]) -> Vec<Option<(CollectionNo, Foreseen)>> {
        let mut all: Vec<Option<(CollectionNo, Foreseen)>> = ops.iter().map(|_| None).collect();
        let mut by_collection: BTreeMap<&CollectionName, (Vec<usize>, Vec<Wanted<'_>>)> = BTreeMap::new();
        for (place, op) in ops.iter().enumerate() {
            let BatchOp::Put { collection, key, subjects, .. } = op else { continue };
            let resource = Resource::collection::<RecordWrite>(tenant.no, collection, Some(key));
            if authz::decide::<RecordWrite>(&caller.principal, &resource).is_ok() {
                let (places, wanted) = by_collection.entry(collection).or_default();
                places.push(place);
                wanted.push(Wanted { key, subjects });
            }
        }
        for (name, (places, wanted)) in by_collection {
            let Ok(Some(collection)) = self.find_collection(tenant.no, name).await else { continue };
            if tenant.in_use().and(collection.in_use()).is_err() {
                continue;
            }
            let Ok(seen) = self.foresee(tenant, &collection, &wanted).await else { continue };
            for (place, seen) in places.into_iter().zip(seen) {
                if let Some(slot) = all.get_mut(place) {
                    *slot = Some((collection.no, seen));
                }
            }
        }
        all
    }

    async fn batch_op(
        &self,
        plan: &mut Plan,
        caller: &Caller,
        tenant: &TenantName,
        op: &BatchOp,
        foreseen: Option<(CollectionNo, Foreseen)>,
        later: &mut Later,
    ) -> Result<BatchResult, VaultError> {
        match op {
            BatchOp::Put { collection, value, .. } => {
                let fields = &op.fields();
                let found = match self.writable(caller, tenant, collection, &fields.key).await? {
                    Permitted::There(found) => found,
                    Permitted::Missing(found) => {
                        self.check_first_write(caller, &found, fields).await?;
                        later.collections.insert(collection.clone());
                        return Ok(BatchResult::Put { version: Version(0), created: true });
                    }
                };
                let content = Content::Inline(value.clone());
                let (tenant, collection) = (&found.tenant, &found.collection);
                let (version, created) = match foreseen {
                    Some((no, seen)) if no == collection.no => {
                        self.plan_foreseen(plan, caller, tenant, collection, fields, &content, seen).await?
                    }
                    Some(_) | None => self.plan_put(plan, caller, tenant, collection, fields, &content).await?,
                };
                Ok(BatchResult::Put { version, created })
            }
            BatchOp::Delete { collection, key, precondition } => {
                let found: InCollection<RecordDelete> = self.in_collection(caller, tenant, collection, Some(key)).await?;
                let tokens = self.key_tokens(&found.tenant, found.collection.no, key).await?;
                let purpose = self.purpose_token(caller, found.tenant.no, found.collection.no).await?;
                let deleted = self.plan_delete(plan, caller, &found.tenant, &found.collection, &tokens, precondition, purpose).await?;
                if let Some(deferred) = deleted {
                    later.shreds.push((
                        deferred,
                        Named {
                            collection: Some(collection.as_str().to_owned()),
                            targets: vec![key.as_str().to_owned()],
                            ..Named::default()
                        },
                    ));
                }
                Ok(BatchResult::Deleted)
            }
            BatchOp::Check { collection, key, precondition } => {
                let found: InCollection<RecordRead> = self.in_collection(caller, tenant, collection, Some(key)).await?;
                self.plan_check(plan, caller, &found.tenant, &found.collection, key, precondition).await?;
                Ok(BatchResult::Checked)
            }
        }
    }

    async fn batch_digest(&self, tenant: &Tenant, ops: &[BatchOp]) -> Result<[u8; 32], VaultError> {
        let described: Vec<Vec<u8>> = ops.iter().map(describe).collect();
        let mut parts: Vec<&[u8]> = vec![b"batch"];
        parts.extend(described.iter().map(Vec::as_slice));
        self.request_digest(tenant.no, &parts).await
    }
}

/// All that an operation says, each part with its length.
fn describe(op: &BatchOp) -> Vec<u8> {
    let (collection, key) = op.place();
    let mut text = Vec::new();
    let mut part = |bytes: &[u8]| {
        text.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        text.extend_from_slice(bytes);
    };
    part(collection.as_str().as_bytes());
    part(key.as_str().as_bytes());
    part(op.action().name().as_bytes());
    if let BatchOp::Put { value, .. } = op {
        part(value);
    }
    part(&replies::describe(&op.fields()));
    text
}

fn at(index: usize, error: VaultError) -> VaultError {
    VaultError::Batch { index, source: Box::new(error) }
}

/// Results as a kept reply holds them: version and created; zero for what has no version.
fn kept(results: &[BatchResult]) -> Vec<(u64, bool)> {
    results
        .iter()
        .map(|result| match result {
            BatchResult::Put { version, created } => (version.0, *created),
            BatchResult::Deleted | BatchResult::Checked => (0, false),
        })
        .collect()
}

fn restore(ops: &[BatchOp], kept: &[(u64, bool)]) -> Vec<BatchResult> {
    ops.iter()
        .zip(kept)
        .map(|(op, (version, created))| match op {
            BatchOp::Put { .. } => BatchResult::Put { version: Version(*version), created: *created },
            BatchOp::Delete { .. } => BatchResult::Deleted,
            BatchOp::Check { .. } => BatchResult::Checked,
        })
        .collect()
}

//! Up to 1,000 puts, deletes and checks in one commit: all of them, or none.

use std::collections::HashSet;

use bytes::Bytes;

use super::{
    Caller, Missing, Precondition, Unprocessable, Vault, VaultError,
    access::InCollection,
    deferred::Deferred,
    plan::{Content, Plan, PutFields, retrying},
    replies::Kept,
    shred::Named,
};
use crate::{
    authz::{RecordDelete, RecordRead, RecordWrite},
    domain::{CollectionName, RecordKey, SubjectId, TenantName, Timestamp, Version, limits},
    vault::store::Urgency,
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
        let mut shreds = Vec::new();
        let mut reply = None;
        let found = self.find_tenant(tenant).await?.ok_or(VaultError::NotFound(Missing::Tenant));
        if let (Some(key), Ok(found)) = (idempotency_key, &found)
            && found.no == caller.principal.tenant()
        {
            let digest = self.batch_digest(found, ops).await?;
            match self.kept_reply(found, caller, key, &digest).await? {
                Kept::Reply(kept) => return Ok(restore(ops, &kept)),
                Kept::Free(slot) => reply = Some(slot),
            }
        }
        for (index, op) in ops.iter().enumerate() {
            let done = self.batch_op(&mut plan, caller, tenant, op, &mut shreds).await;
            results.push(done.map_err(|error| if matches!(error, VaultError::Busy) { error } else { at(index, error) })?);
        }
        if let Some(slot) = reply {
            self.plan_reply(&mut plan, slot, &kept(&results))?;
        }
        if !ops.is_empty() {
            self.commit_plan(plan, Urgency::Normal).await.inspect_err(|_| self.inner.directory.forget_all())?;
        }
        if let Ok(found) = found {
            self.shred_deferred(caller.into(), &found, shreds).await;
        }
        Ok(results)
    }

    async fn batch_op(
        &self,
        plan: &mut Plan,
        caller: &Caller,
        tenant: &TenantName,
        op: &BatchOp,
        shreds: &mut Vec<(Deferred, Named)>,
    ) -> Result<BatchResult, VaultError> {
        match op {
            BatchOp::Put { collection, key, value, content_type, subjects, expires_at, custom, precondition, new_relationship } => {
                let found: InCollection<RecordWrite> = self.writable(caller, tenant, collection, key).await?;
                let fields = PutFields {
                    key: key.clone(),
                    content_type: content_type.clone(),
                    subjects: subjects.clone(),
                    expires_at: *expires_at,
                    custom: custom.clone(),
                    precondition: precondition.clone(),
                    new_relationship: *new_relationship,
                };
                let content = Content::Inline(value.clone());
                let (version, created) = self.plan_put(plan, caller, &found.tenant, &found.collection, &fields, &content).await?;
                Ok(BatchResult::Put { version, created })
            }
            BatchOp::Delete { collection, key, precondition } => {
                let found: InCollection<RecordDelete> = self.in_collection(caller, tenant, collection, Some(key)).await?;
                let tokens = self.key_tokens(&found.tenant, found.collection.no, key).await?;
                let purpose = self.purpose_token(caller, found.tenant.no, found.collection.no).await?;
                let deleted = self.plan_delete(plan, caller, &found.tenant, &found.collection, &tokens, precondition, purpose).await?;
                if let Some(deferred) = deleted {
                    shreds.push((
                        deferred,
                        Named { collection: Some(collection.as_str().to_owned()), targets: vec![key.as_str().to_owned()] },
                    ));
                }
                Ok(BatchResult::Deleted)
            }
            BatchOp::Check { collection, key, precondition } => {
                let found: InCollection<RecordRead> = self.in_collection(caller, tenant, collection, Some(key)).await?;
                self.plan_check(plan, &found.tenant, &found.collection, key, precondition).await?;
                Ok(BatchResult::Checked)
            }
        }
    }

    async fn batch_digest(&self, tenant: &super::directory::Tenant, ops: &[BatchOp]) -> Result<[u8; 32], VaultError> {
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
    match op {
        BatchOp::Put { value, content_type, subjects, expires_at, custom, precondition, new_relationship, .. } => {
            part(b"put");
            part(value);
            part(content_type.as_bytes());
            for subject in subjects {
                part(subject.as_str().as_bytes());
            }
            for (name, value) in custom {
                part(name.as_bytes());
                part(value.as_bytes());
            }
            part(format!("{expires_at:?} {precondition:?} {new_relationship}").as_bytes());
        }
        BatchOp::Delete { precondition, .. } => part(format!("delete {precondition:?}").as_bytes()),
        BatchOp::Check { precondition, .. } => part(format!("check {precondition:?}").as_bytes()),
    }
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

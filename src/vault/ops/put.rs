//! Storing a record.

use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};

use super::{
    BodyError, Caller, Missing, Unprocessable, Vault, VaultError,
    access::{InCollection, Permitted},
    collections::default_text,
    directory::{Collection, Tenant},
    plan::{Content, Plan, PutFields, retrying},
    refused::Place,
    replies::Kept,
};
use crate::{
    authz::RecordWrite,
    domain::{CollectionName, CollectionPolicy, RecordKey, ShredUnit, SubjectId, TenantName, Timestamp, Version, limits},
    vault::{audit::Action, store::Urgency},
};

/// A request's body, part by part.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// What must hold of the record that a change meets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// `If-Match`: it has one of these versions.
    Versions(Vec<Version>),
    /// `If-Match: *`: it is there.
    Present,
    /// `If-None-Match`: it has none of these versions.
    NotVersions(Vec<Version>),
    /// `If-None-Match: *`: it is not there.
    Absent,
}

impl Precondition {
    /// # Errors
    /// [`VaultError::PreconditionFailed`] if it does not hold of a record with `version`.
    pub(super) fn holds(&self, version: Option<Version>) -> Result<(), VaultError> {
        let holds = match (self, version) {
            (Self::None, _) | (Self::Present, Some(_)) | (Self::Absent | Self::NotVersions(_), None) => true,
            (Self::Versions(versions), Some(version)) => versions.contains(&version),
            (Self::NotVersions(versions), Some(version)) => !versions.contains(&version),
            (Self::Versions(_) | Self::Present, None) | (Self::Absent, Some(_)) => false,
        };
        if holds { Ok(()) } else { Err(VaultError::PreconditionFailed) }
    }
}

/// A record to store.
pub struct PutRecord {
    /// MIME type of the value.
    pub content_type: String,
    /// Whom it is about; the first one's unit seals it.
    pub subjects: Vec<SubjectId>,
    /// When it is to be deleted, if ever.
    pub expires_at: Option<Timestamp>,
    /// Custom pairs.
    pub custom: Vec<(String, String)>,
    /// What must hold.
    pub precondition: Precondition,
    /// Whether a shredded subject may return.
    pub new_relationship: bool,
    /// The client's key for safe repetition.
    pub idempotency_key: Option<String>,
    /// The announced length in bytes, if any.
    pub length: Option<u64>,
    /// The value.
    pub body: Body,
}

/// What a put did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put {
    /// The record's version now.
    pub version: Version,
    /// Whether the key was free.
    pub created: bool,
}

impl Vault {
    /// Stores a record: sealed under its unit, with its index rows and audit entry in one durable commit.
    ///
    /// # Errors
    /// Nothing is stored then. [`VaultError::Shredded`] if its subject, collection or tenant is;
    /// [`VaultError::PreconditionFailed`]; [`VaultError::Body`] if the body is not whole.
    pub async fn put_record(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        collection: &CollectionName,
        key: RecordKey,
        put: PutRecord,
    ) -> Result<Put, VaultError> {
        let caller = &caller.begin();
        let stored = self.put_any(caller, tenant, collection, key, put);
        self.on_record(caller, Place::collection(tenant, collection), Action::RecordWrite, stored).await
    }

    async fn put_any(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        collection: &CollectionName,
        key: RecordKey,
        put: PutRecord,
    ) -> Result<Put, VaultError> {
        let reads_value = match self.writable(caller, tenant, collection, &key).await? {
            Permitted::There(target) => {
                target.collection.in_use()?;
                super::retention::reads_value(&target.collection.policy, &put.custom)
            }
            Permitted::Missing(_) => None,
        };
        let max = self.inner.options.value_len_bytes;
        if put.length.is_some_and(|length| length > max) {
            return Err(VaultError::Limit(limits::Limit { max, ..limits::VALUE_LEN }));
        }
        let PutRecord { content_type, subjects, expires_at, custom, precondition, new_relationship, idempotency_key, length, body } = put;
        let fields = PutFields { key, content_type, subjects, expires_at, custom, precondition, new_relationship, carried: None };
        let read = read_inline(body, length).await?;
        let (vault, caller, tenant, collection) = (self.clone(), caller.clone(), tenant.clone(), collection.clone());
        match read {
            Read::Whole(value) => {
                // What is to be kept between its steps is moved once, and not with every future around it.
                let put = async move { Box::pin(vault.put_inline(&caller, &tenant, &collection, fields, value, idempotency_key)).await };
                self.to_the_end(put).await
            }
            Read::Large { start, rest } => {
                if let Some(rule) = reads_value {
                    return Err(Unprocessable::TooLargeForRule { rule }.into());
                }
                // The body is the client's to end, so the upload itself is not detached; its last commit is.
                let upload = super::blob::Upload { start, rest, length };
                Box::pin(self.put_large(&caller, &tenant, &collection, fields, upload, idempotency_key)).await
            }
        }
    }

    async fn put_inline(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        collection: &CollectionName,
        fields: PutFields,
        value: Bytes,
        idempotency_key: Option<String>,
    ) -> Result<Put, VaultError> {
        let content = Content::Inline(value);
        let _turn = self.inner.turns.of((tenant, collection, &fields.key)).await;
        retrying(|| async {
            let target = self.written_to(caller, tenant, collection, &fields).await?;
            let mut plan = Plan::default();
            let reply = match &idempotency_key {
                None => None,
                Some(key) => match self.kept_reply(&target.tenant, caller, key, &self.put_digest(&target, &fields, &content).await?).await?
                {
                    Kept::Reply(results) => {
                        self.repeated(caller, &target.tenant, Action::RecordWrite, target.collection.no).await?;
                        return put_result(&results);
                    }
                    Kept::Free(slot) => Some(slot),
                },
            };
            let (version, created) = self.plan_put(&mut plan, caller, &target.tenant, &target.collection, &fields, &content).await?;
            if let Some(slot) = reply {
                self.plan_reply(&mut plan, slot, &[(version.0, created)])?;
            }
            self.commit_plan_for(caller, plan, Urgency::Normal).await.inspect_err(|_| self.forget(&target))?;
            Ok(Put { version, created })
        })
        .await
    }

    /// The permit for a write; to a collection that is not there only where the tenant lets the first write make it.
    pub(super) async fn writable(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        collection: &CollectionName,
        key: &RecordKey,
    ) -> Result<Permitted<RecordWrite>, VaultError> {
        match self.permitted::<RecordWrite>(caller, tenant, collection, Some(key)).await? {
            Permitted::Missing(found) if !found.create_on_write => Err(VaultError::NotFound(Missing::Collection)),
            permitted @ (Permitted::There(_) | Permitted::Missing(_)) => Ok(permitted),
        }
    }

    /// The collection for a write, made now if this is its first one and nothing else refuses it.
    pub(super) async fn written_to(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        collection: &CollectionName,
        fields: &PutFields,
    ) -> Result<InCollection<RecordWrite>, VaultError> {
        match self.writable(caller, tenant, collection, &fields.key).await? {
            Permitted::There(found) => Ok(found),
            Permitted::Missing(found) => {
                self.check_first_write(caller, &found, fields).await?;
                self.make_by_write(caller, &found, collection).await?;
                self.in_collection::<RecordWrite>(caller, tenant, collection, Some(&fields.key)).await
            }
        }
    }

    /// Whether the write that makes a collection would be refused by the policy it is made with, or by what is there.
    pub(super) async fn check_first_write(&self, caller: &Caller, tenant: &Tenant, fields: &PutFields) -> Result<(), VaultError> {
        if caller.purpose.is_some() {
            return Err(Unprocessable::PurposeUndeclared.into());
        }
        fields.precondition.holds(None)?;
        self.check_expiry(fields)?;
        if fields.subjects.is_empty() && CollectionPolicy::default().shred_unit == ShredUnit::Subject {
            return Err(Unprocessable::SubjectMissing.into());
        }
        let mut plan = Plan::default();
        for subject in self.subject_tokens(tenant, &fields.subjects).await? {
            self.hold_subject(&mut plan, tenant, subject, fields.new_relationship).await?;
        }
        Ok(())
    }

    /// Makes the collection of a first write; another writer may have made it meanwhile.
    pub(super) async fn make_by_write(&self, caller: &Caller, tenant: &Tenant, collection: &CollectionName) -> Result<(), VaultError> {
        match self.make_collection(caller, tenant, default_text(collection), None).await {
            Ok(_) | Err(VaultError::Conflict(_) | VaultError::Busy) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// # Errors
    /// [`Unprocessable::ExpiryInThePast`] for a record that would be gone before it is there.
    pub(super) fn check_expiry(&self, fields: &PutFields) -> Result<(), VaultError> {
        match fields.expires_at {
            Some(end) if end <= self.inner.clock.now() => Err(Unprocessable::ExpiryInThePast.into()),
            Some(_) | None => Ok(()),
        }
    }

    /// After a conflict the cached rows may be the stale ones.
    pub(super) fn forget<A: crate::authz::Action>(&self, target: &InCollection<A>) {
        self.forget_both(&target.tenant, &target.collection);
    }

    /// The same.
    pub(super) fn forget_both(&self, tenant: &Tenant, collection: &Collection) {
        self.inner.directory.forget_tenant(&tenant.name);
        self.inner.directory.forget_collection(tenant.no, &collection.name);
    }
}

/// The result that a kept reply stands for.
pub(super) fn put_result(results: &[(u64, bool)]) -> Result<Put, VaultError> {
    match results {
        [(version, created)] => Ok(Put { version: Version(*version), created: *created }),
        _ => Err(VaultError::Internal("kept reply of another shape".into())),
    }
}

enum Read {
    /// The whole value.
    Whole(Bytes),
    /// What was read before it proved too long for one row, and the rest.
    Large { start: Bytes, rest: Body },
}

/// Reads a body up to the length that is stored in one row.
async fn read_inline(mut body: Body, length: Option<u64>) -> Result<Read, VaultError> {
    let announced = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    let inline = usize::try_from(limits::INLINE_VALUE_LEN.max).unwrap_or(usize::MAX);
    let mut buffer = BytesMut::with_capacity(announced.min(inline));
    while let Some(part) = body.next().await {
        buffer.extend_from_slice(&part?);
        if buffer.len() > inline {
            return Ok(Read::Large { start: buffer.freeze(), rest: body });
        }
    }
    if length.is_some_and(|length| length != buffer.len() as u64) {
        return Err(BodyError::Length.into());
    }
    Ok(Read::Whole(buffer.freeze()))
}

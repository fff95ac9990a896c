//! Replies kept for idempotency keys, for 24 hours: versions and whether each record was created, or the id of what was
//! made; nothing else, so that nothing in them names anyone or opens anything. Kept in the commit of the change itself,
//! in the store that it changes: [`Kept`] for data, [`Before`] for control.
//!
//! A key counts within the tenant and the token that sends it. What the operator makes, and the shred of a whole tenant, is
//! kept with the system tenant: a tenant's own key for it would come too late or be gone.

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{
    Caller, Conflict, Vault, VaultError,
    access::InCollection,
    directory::Tenant,
    plan::{Content, Plan, PutFields},
    rows::{MadeRow, PlainRow, ReplyRow},
};
use crate::{
    authz::RecordWrite,
    domain::{CollectionNo, TenantNo, Timestamp},
    vault::{
        crypto::Token,
        store::{Check, Expect, Space, Write, schema},
    },
};

/// How long a reply is kept.
pub(super) const KEPT: std::time::Duration = std::time::Duration::from_hours(24);

/// What stands under an idempotency key.
pub(super) enum Kept {
    /// The reply to this very request.
    Reply(Vec<(u64, bool)>),
    /// Nothing, or something that has run out.
    Free(Slot),
}

/// Where a reply will be kept.
pub(super) struct Slot {
    token: Token,
    tenant: crate::domain::TenantNo,
    request: [u8; 32],
    stale: Option<Bytes>,
}

/// What was made under an idempotency key before, in the control store.
pub(super) enum Before {
    /// By this very request.
    Made(MadeRow, Keeping),
    /// Nothing, or it has run out.
    Nothing(Keeping),
}

/// Where it is to be remembered what a change of the control store made.
pub(super) struct Keeping {
    token: Token,
    tenant: TenantNo,
    request: [u8; 32],
    old: Option<Bytes>,
    /// Of what was made before.
    expires_at: Option<i64>,
}

impl Keeping {
    /// The precondition and the rows that remember it, for the commit of the change.
    pub(super) fn rows(&self, vault: &Vault, id: [u8; 16], created: bool) -> Result<(Check, Vec<Write>), VaultError> {
        let expires_at = self.expires_at.unwrap_or_else(|| vault.inner.clock.now().plus(KEPT).0);
        let row = MadeRow { request: self.request, expires_at, id, created };
        let key = schema::made(self.tenant, &self.token);
        let check = Check { space: Space::Control, key: key.clone(), expect: self.old.clone().map_or(Expect::Absent, Expect::Equals) };
        let due = schema::made_due(u64::try_from(expires_at).unwrap_or(0), self.tenant, &self.token);
        let writes = vec![vault.inner.seals.put(key, &row)?, Write::Put { space: Space::Control, key: due, value: Bytes::new() }];
        Ok((check, writes))
    }
}

impl Vault {
    /// The row of an idempotency key, as the token that sends it means it.
    async fn idempotency_token(&self, tenant: TenantNo, caller: &Caller, key: &str) -> Result<Token, VaultError> {
        let scoped = format!("{}\n{key}", caller.principal.token());
        self.with_tenant(tenant, |secret| secret.derive_blind_index(CollectionNo::TENANT, "idempotency").text_token(&scoped)).await
    }

    /// Looks for what a change of the control store made before, in the place of `tenant`; `parts` are the request.
    pub(super) async fn made_before(&self, tenant: TenantNo, caller: &Caller, key: &str, parts: &[&[u8]]) -> Result<Before, VaultError> {
        let request = self.request_digest(tenant, parts).await?;
        let token = self.idempotency_token(tenant, caller, key).await?;
        let key = schema::made(tenant, &token);
        let stored = self.inner.store.get(Space::Control, &key).await?;
        let made = stored.as_ref().map(|row| self.inner.seals.open::<MadeRow>(&key, row)).transpose()?;
        let mut keeping = Keeping { token, tenant, request, old: stored, expires_at: None };
        match made {
            Some(made) if Timestamp(made.expires_at) > self.inner.clock.now() => {
                if made.request != request {
                    return Err(VaultError::Conflict(Conflict::IdempotencyMismatch));
                }
                keeping.expires_at = Some(made.expires_at);
                Ok(Before::Made(made, keeping))
            }
            Some(_) | None => Ok(Before::Nothing(keeping)),
        }
    }

    /// The id of what this token made so under this idempotency key; or where it is to be remembered, if a key was sent.
    pub(super) async fn made_by(
        &self,
        tenant: TenantNo,
        caller: &Caller,
        key: Option<&str>,
        parts: &[&[u8]],
    ) -> Result<Result<[u8; 16], Option<Keeping>>, VaultError> {
        let Some(key) = key else { return Ok(Err(None)) };
        Ok(match self.made_before(tenant, caller, key, parts).await? {
            Before::Made(made, _) => Ok(made.id),
            Before::Nothing(keeping) => Err(Some(keeping)),
        })
    }

    /// Looks for a reply of the data store.
    pub(super) async fn kept_reply(&self, tenant: &Tenant, caller: &Caller, key: &str, request: &[u8; 32]) -> Result<Kept, VaultError> {
        let token = self.idempotency_token(tenant.no, caller, key).await?;
        let stored = self.inner.store.get(Space::Index, &schema::idempotency(tenant.no, &token)).await?;
        if let Some(row) = &stored {
            let reply = ReplyRow::from_row(row)?;
            if Timestamp(reply.expires_at) > self.inner.clock.now() {
                return if reply.request == *request {
                    Ok(Kept::Reply(reply.results))
                } else {
                    Err(VaultError::Conflict(Conflict::IdempotencyMismatch))
                };
            }
        }
        Ok(Kept::Free(Slot { token, tenant: tenant.no, request: *request, stale: stored }))
    }

    /// Keeps a reply in the commit of the change.
    pub(super) fn plan_reply(&self, plan: &mut Plan, slot: Slot, results: &[(u64, bool)]) -> Result<(), VaultError> {
        let expires_at = self.inner.clock.now().plus(KEPT);
        let row = ReplyRow { request: slot.request, expires_at: expires_at.0, results: results.to_vec() };
        let key = schema::idempotency(slot.tenant, &slot.token);
        plan.check(Space::Index, key.clone(), slot.stale.map_or(Expect::Absent, Expect::Equals));
        plan.put(Space::Index, key, row.to_row()?);
        let due = u64::try_from(expires_at.0).unwrap_or(0);
        plan.put(Space::Index, schema::idempotency_due(due, slot.tenant, &slot.token), Bytes::new());
        Ok(())
    }

    /// An HMAC over all parts of a request, each with its length, under a key of the tenant.
    pub(super) async fn request_digest(&self, tenant: TenantNo, parts: &[&[u8]]) -> Result<[u8; 32], VaultError> {
        self.with_tenant(tenant, |secret| {
            let key = secret.derive_blind_index(CollectionNo::TENANT, "idempotent-request");
            let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).map_err(|_| VaultError::Internal("hmac key".into()))?;
            for part in parts {
                mac.update(&(part.len() as u64).to_be_bytes());
                mac.update(part);
            }
            Ok(mac.finalize().into_bytes().into())
        })
        .await?
    }

    /// The digest of a put, as [`Vault::kept_reply`] compares it.
    pub(super) async fn put_digest(
        &self,
        target: &InCollection<RecordWrite>,
        fields: &PutFields,
        content: &Content,
    ) -> Result<[u8; 32], VaultError> {
        let body: &[u8] = match content {
            Content::Inline(value) => value,
            Content::Manifest { digest, .. } => digest,
        };
        self.put_digest_of(target, fields, body).await
    }

    /// The same, of the value itself or, where it is large, its SHA-256.
    pub(super) async fn put_digest_of(
        &self,
        target: &InCollection<RecordWrite>,
        fields: &PutFields,
        body: &[u8],
    ) -> Result<[u8; 32], VaultError> {
        let parts: [&[u8]; 5] = [b"put", &target.collection.no.to_be_bytes(), fields.key.as_str().as_bytes(), &describe(fields), body];
        self.request_digest(target.tenant.no, &parts).await
    }

    /// Whether anything is kept under an idempotency key, for whatever request.
    pub(super) async fn is_kept(&self, tenant: &Tenant, caller: &Caller, key: &str) -> Result<bool, VaultError> {
        let token = self.idempotency_token(tenant.no, caller, key).await?;
        let stored = self.inner.store.get(Space::Index, &schema::idempotency(tenant.no, &token)).await?;
        let reply = stored.map(|row| ReplyRow::from_row(&row)).transpose()?;
        Ok(reply.is_some_and(|reply| Timestamp(reply.expires_at) > self.inner.clock.now()))
    }
}

/// All that a put says besides its key and its value: counted lists, each part with its length.
pub(super) fn describe(fields: &PutFields) -> Vec<u8> {
    let PutFields { key: _, content_type, subjects, expires_at, custom, precondition, new_relationship, carried: _ } = fields;
    let mut text = Vec::new();
    let mut part = |bytes: &[u8]| {
        text.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        text.extend_from_slice(bytes);
    };
    part(content_type.as_bytes());
    part(&(subjects.len() as u64).to_be_bytes());
    for subject in subjects {
        part(subject.as_str().as_bytes());
    }
    part(&(custom.len() as u64).to_be_bytes());
    for (name, value) in custom {
        part(name.as_bytes());
        part(value.as_bytes());
    }
    part(format!("{expires_at:?} {precondition:?} {new_relationship}").as_bytes());
    text
}

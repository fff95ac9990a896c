//! A tenant's own trail, and the public log.

use super::{
    Caller, Missing, TrailView, Vault, VaultError,
    access::InTenant,
    plan::{entry, retrying},
    refused::Place,
};
use crate::{
    authz::{AuditRead, KeyRotate},
    domain::{CollectionNo, RequestId, TenantName, TenantNo},
    vault::{
        audit::{Action, Target, Trail, heads::ProvenHead},
        crypto::random,
        keys::{EpochRecord, Extra},
    },
};

impl Vault {
    /// A page of the tenant's trail, oldest first, in the clear as far as keys live; the read itself is an entry of it.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Forbidden`].
    pub async fn audit_page(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<TrailView, VaultError> {
        let caller = &caller.begin();
        let read = async {
            let found = self.permit_audit(caller, tenant).await?;
            let page = self.inner.audit.read(found.tenant.no, found.tenant.audit, after, limit).await?;
            let entries = self.name_entries(caller, &found.tenant, page.entries).await?;
            Ok(TrailView { entries, next: page.next, more: page.more })
        };
        self.on_record(caller, Place::tenant(tenant), Action::AuditRead, read).await
    }

    /// A permit to read the trail, which is recorded first. The trail outlives its tenant: who ordered that shred reads it still.
    async fn permit_audit(&self, caller: &Caller, tenant: &TenantName) -> Result<InTenant<AuditRead>, VaultError> {
        let found = match self.in_shredded::<AuditRead>(caller, tenant).await? {
            Some(found) => found,
            None => self.in_tenant_or_importing::<AuditRead>(caller, tenant).await?,
        };
        self.read_receipt(&found.tenant, entry(caller, &found.tenant, Action::AuditRead, CollectionNo::TENANT, Target::default())).await?;
        Ok(found)
    }

    /// The heads of the tenant's chains with their proofs, as of the last checkpoint, and the tenant's number, which the
    /// chains are bound to: what a page of the trail is verified against.
    ///
    /// # Errors
    /// As [`Vault::audit_page`].
    pub async fn audit_heads(&self, caller: &Caller, tenant: &TenantName) -> Result<(TenantNo, Vec<ProvenHead>), VaultError> {
        let caller = &caller.begin();
        let read = async {
            let found = self.permit_audit(caller, tenant).await?;
            Ok((found.tenant.no, self.inner.audit.heads(found.tenant.no).await?))
        };
        self.on_record(caller, Place::tenant(tenant), Action::AuditRead, read).await
    }

    /// Puts the epochs that have ended into the log, and the heads of all audit chains that have grown into the control store
    /// and the log; how many heads.
    ///
    /// # Errors
    /// Those of the store and the log.
    pub async fn checkpoint_heads(&self) -> Result<u64, VaultError> {
        self.inner.audit.publish_epochs().await?;
        if let Err(error) = self.take_up_left().await {
            tracing::warn!(?error, "what an earlier start left uncovered is looked for again");
        }
        Ok(self.inner.audit.checkpoint().await?)
    }

    /// The next checkpoint covers what a start that was killed left uncovered. What does not open is told of and left: it
    /// cannot be vouched for.
    async fn take_up_left(&self) -> Result<(), VaultError> {
        let Some(tails) = self.inner.audit.left_tails().await? else { return Ok(()) };
        for tail in &tails {
            let taken = async {
                let tenant = self.tenant_by_number(tail.tenant).await?;
                Ok(self.inner.audit.take_up(tenant.audit, tail).await?)
            };
            match taken.await {
                Ok(()) => {}
                Err(error @ (VaultError::Internal(_) | VaultError::NotFound(_) | VaultError::Shredded { .. })) => tracing::error!(
                    tenant = tail.tenant.0,
                    writer = tail.writer.0,
                    from = tail.covered.saturating_add(1),
                    to = tail.last,
                    ?error,
                    "audit entries of an earlier start cannot be covered by a checkpoint"
                ),
                Err(error) => return Err(error),
            }
        }
        self.inner.audit.left_is_taken_up();
        Ok(())
    }

    /// Wipes the keys whose time in memory is over; how many.
    #[must_use]
    pub fn forget_keys(&self) -> usize {
        self.inner.forest.sweep()
    }

    /// An id for a request that does not come over HTTP.
    #[must_use]
    pub fn make_request_id() -> RequestId {
        RequestId(random::bytes())
    }

    /// Ends an epoch without a shred: a fresh root, the old one destroyed.
    ///
    /// # Errors
    /// [`VaultError::Forbidden`] for everyone but the operator.
    pub async fn rotate(&self, caller: &Caller) -> Result<(u64, u64), VaultError> {
        let (vault, caller) = (self.clone(), caller.clone());
        self.to_the_end(async move {
            let system = vault.permit_system::<KeyRotate>(&caller).await?;
            let report = retrying(|| async {
                let place = vault.inner.audit.prepare(Trail::Control, system.audit, system.no).await?;
                let rotated = |record: &EpochRecord| {
                    let target = Target { epoch: Some(record.new_epoch), ..Target::default() };
                    // Nothing waits for its receipt: the epoch's commit is the word that it is written.
                    let (tail, _) = place.tail(entry(&caller, &system, Action::KeyRotate, CollectionNo::TENANT, target));
                    Extra { tail: Some(tail), ..Extra::default() }
                };
                Ok(vault.inner.forest.shred_with(&[], rotated).await?)
            })
            .await?;
            if let Err(error) = vault.inner.audit.publish_epochs().await {
                tracing::warn!(%error, "an epoch comes into the log later");
            }
            Ok((report.record.old_epoch.0, report.record.new_epoch.0))
        })
        .await
    }

    /// The log's signed checkpoint.
    ///
    /// # Errors
    /// [`VaultError::Busy`] while the log is starting or stopping.
    pub async fn checkpoint(&self) -> Result<Vec<u8>, VaultError> {
        self.log_file("checkpoint").await
    }

    /// A file of the log, by its path below `/log/`.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] if there is none.
    pub async fn log_file(&self, path: &str) -> Result<Vec<u8>, VaultError> {
        let file = self.inner.audit.log_resource(path.to_owned()).await?;
        file.ok_or(VaultError::NotFound(Missing::Page))
    }
}

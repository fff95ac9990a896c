//! A tenant's own trail, and the public log.

use super::{Caller, Missing, Vault, VaultError, plan::entry};
use crate::{
    authz::AuditRead,
    domain::{CollectionNo, TenantName},
    vault::audit::{Action, Target, TrailPage},
};

impl Vault {
    /// A page of the tenant's trail, oldest first; the read itself is an entry of it.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Forbidden`].
    pub async fn audit_page(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<TrailPage, VaultError> {
        let found = self.in_tenant::<AuditRead>(caller, tenant).await?;
        self.read_receipt(&found.tenant, entry(caller, &found.tenant, Action::AuditRead, CollectionNo::TENANT, Target::default())).await?;
        Ok(self.inner.audit.read(found.tenant.no, found.tenant.audit, after, limit).await?)
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

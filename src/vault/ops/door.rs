//! What the door asks of the vault about itself.

use super::{Caller, Vault, VaultError, plan::entry};
use crate::{
    authz::MetricsRead,
    domain::CollectionNo,
    vault::audit::{Action, Target},
};

impl Vault {
    /// Whether the caller may read the store's metrics; recorded.
    ///
    /// # Errors
    /// [`VaultError::Forbidden`] for everyone but the operator.
    pub async fn permit_metrics(&self, caller: &Caller) -> Result<(), VaultError> {
        let system = self.permit_system::<MetricsRead>(caller).await?;
        let read = entry(caller, &system, Action::MetricsRead, CollectionNo::TENANT, Target::default());
        self.read_receipt(&system, read).await.map(drop)
    }

    /// Whether the log can be read, and with it the store.
    ///
    /// # Errors
    /// Whatever stands in the way.
    pub async fn ready(&self) -> Result<(), VaultError> {
        self.checkpoint().await.map(drop)
    }
}

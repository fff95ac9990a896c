//! What the door asks of the vault about itself.

use std::time::Duration;

use super::{Caller, Vault, VaultError, plan::entry};
use crate::{
    authz::MetricsRead,
    domain::{CollectionNo, Timestamp},
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

    /// Sets the gauges that are looked at rather than counted.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn observe(&self) -> Result<(), VaultError> {
        let float = |number: u64| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
        metrics::gauge!("lethe_keys_cached").set(float(self.inner.forest.cached_keys() as u64));
        metrics::gauge!("lethe_epoch").set(float(self.inner.forest.epoch().0));
        let pending = self.unfinished().await?;
        let mut oldest = Duration::ZERO;
        for id in &pending {
            if let Some(row) = self.shred_row(*id).await? {
                oldest = oldest.max(self.inner.clock.now().since(Timestamp(row.ordered_at)));
            }
        }
        metrics::gauge!("lethe_shreds_pending").set(float(pending.len() as u64));
        metrics::gauge!("lethe_shred_oldest_pending_seconds").set(oldest.as_secs_f64());
        Ok(())
    }

    /// Whether the store takes commits and the log can be read.
    ///
    /// # Errors
    /// Whatever stands in the way.
    pub async fn ready(&self) -> Result<(), VaultError> {
        if !self.inner.store.takes_commits() {
            return Err(VaultError::DiskFull);
        }
        self.checkpoint().await.map(drop)
    }
}

//! What the door asks of the vault about itself.

use std::{sync::atomic::Ordering, time::Duration};

use super::{Caller, Vault, VaultError, plan::entry, shredder::is_its_own};
use crate::{
    authz::MetricsRead,
    domain::{CollectionNo, Timestamp},
    vault::audit::{Action, Target},
};

/// A part that cannot do its work, and why.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// The store or its mirror takes no commits.
    #[error("the store takes no commits: {0}")]
    Store(#[source] VaultError),
    /// Custody failed, or an epoch was cut short.
    #[error("keys cannot be destroyed: {0}")]
    Custody(#[source] VaultError),
    /// A further copy of the control store that is to confirm the end of each epoch fails.
    #[error("copy {number} of the control store fails: {source}")]
    Copy {
        /// Its place in the settings, from 1 on.
        number: usize,
        /// Why.
        source: VaultError,
    },
    /// The log did not take what was brought to it last, or cannot be read.
    #[error("the log cannot do its work: {0}")]
    Log(#[source] VaultError),
}

impl NotReady {
    /// Why it cannot.
    #[must_use]
    pub const fn reason(&self) -> &VaultError {
        match self {
            Self::Store(error) | Self::Custody(error) | Self::Log(error) | Self::Copy { source: error, .. } => error,
        }
    }
}

impl Vault {
    /// Whether the caller may read the store's metrics; recorded. They tell nothing of anybody, and are wanted most when
    /// nothing can be written: an entry that cannot be made is counted, and the next one says how many are missing.
    ///
    /// # Errors
    /// [`VaultError::Forbidden`] for everyone but the operator.
    pub async fn permit_metrics(&self, caller: &Caller) -> Result<(), VaultError> {
        let system = self.permit_system::<MetricsRead>(caller).await?;
        let missing = self.inner.metrics_unrecorded.swap(0, Ordering::AcqRel);
        let target = Target { count: (missing > 0).then_some(missing), ..Target::default() };
        let read = entry(caller, &system, Action::MetricsRead, CollectionNo::TENANT, target);
        if let Err(error) = self.read_receipt(&system, read).await {
            self.inner.metrics_unrecorded.fetch_add(missing.saturating_add(1), Ordering::AcqRel);
            metrics::counter!("lethe_metrics_unrecorded_total").increment(1);
            tracing::warn!(%error, "metrics are read without an entry in the trail");
        }
        Ok(())
    }

    /// Sets the gauges that are looked at rather than counted; one that cannot be read stays as it was.
    pub async fn observe(&self) {
        let float = |number: u64| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
        self.inner.store.observe();
        metrics::gauge!("lethe_keys_cached").set(float(self.inner.forest.cached_keys() as u64));
        metrics::gauge!("lethe_epoch").set(float(self.inner.forest.epoch().0));
        let lag = self.inner.audit.lag();
        metrics::gauge!("lethe_audit_lag_seconds").set(lag.age.as_secs_f64());
        metrics::gauge!("lethe_audit_lag_entries").set(float(lag.entries));
        if let Err(error) = self.observe_reclaim().await {
            tracing::warn!(%error, "what is to be reclaimed cannot be counted");
        }
        match self.oldest_pending().await {
            Ok((pending, oldest)) => {
                metrics::gauge!("lethe_shreds_pending").set(float(pending));
                metrics::gauge!("lethe_shred_oldest_pending_seconds").set(oldest.as_secs_f64());
            }
            Err(error) => tracing::warn!(%error, "pending shreds cannot be counted"),
        }
    }

    /// How many orders are not certified yet, and the age of the oldest.
    async fn oldest_pending(&self) -> Result<(u64, Duration), VaultError> {
        let pending = self.unfinished().await?;
        let mut oldest = Duration::ZERO;
        for id in &pending {
            match self.shred_row(*id).await {
                Ok(Some(row)) => oldest = oldest.max(self.inner.clock.now().since(Timestamp(row.ordered_at))),
                // One that cannot be read is counted all the same, and the age of the others is told.
                Err(error) if !is_its_own(&error) => return Err(error),
                Ok(None) | Err(_) => {}
            }
        }
        Ok((pending.len() as u64, oldest))
    }

    /// Whether every part can do its work: the store and the mirror take commits, the copies that are to confirm an epoch follow, the
    /// forest and custody can shred, the log takes certificates. What failed for want of space, and what failed in custody or the log, is tried again meanwhile.
    ///
    /// # Errors
    /// [`NotReady`]: the first part that stands in the way.
    pub async fn ready(&self) -> Result<(), NotReady> {
        self.inner.store.takes_commits().map_err(|error| NotReady::Store(error.into()))?;
        if let Some((number, error)) = self.inner.store.failing_copy() {
            return Err(NotReady::Copy { number, source: error.into() });
        }
        self.inner.forest.ready().map_err(|error| NotReady::Custody(error.into()))?;
        if !self.inner.audit.is_log_whole() {
            let full = self.inner.audit.is_log_full();
            let failed = || VaultError::Unavailable("it did not take what was brought to it last".into());
            return Err(NotReady::Log(if full { VaultError::DiskFull } else { failed() }));
        }
        self.checkpoint().await.map(drop).map_err(NotReady::Log)
    }
}

//! Background work: each job is a struct with `run_once(now)` and a limit for each pass, so that a test runs it
//! when it likes and a pass never holds up the store for long. What fails is logged, counted, and tried again at
//! the next pass; nothing here is needed for a shred to hold.

use std::time::Duration;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    domain::Timestamp,
    vault::ops::{Destroyed, Reclaimed, Vault, VaultError},
};

/// Frees the bytes of what was shredded.
pub struct Reclaim {
    /// The room it works in.
    pub vault: Vault,
    /// Entries of the shred log in one pass.
    pub limit: usize,
}

/// Removes uploads that nobody finishes, idempotency replies that ran out and snapshots that nobody copies from, and records refused
/// credentials that were only counted.
pub struct Sweep {
    /// The room it works in.
    pub vault: Vault,
    /// Rows that are removed in one commit; a pass goes on until none is due.
    pub limit: usize,
}

/// Destroys the records whose time is over.
pub struct Retention {
    /// The room it works in.
    pub vault: Vault,
    /// Records in one pass; a run goes on until none is due.
    pub limit: u64,
}

/// Puts the heads of the audit chains into the log.
pub struct Checkpoint {
    /// The room it works in.
    pub vault: Vault,
}

/// Wipes keys whose time in memory is over.
pub struct ForgetKeys {
    /// The room it works in.
    pub vault: Vault,
}

impl Reclaim {
    /// One pass.
    ///
    /// # Errors
    /// Those of the store; what was done so far stays done.
    pub async fn run_once(&self, _now: Timestamp) -> Result<Reclaimed, VaultError> {
        self.vault.reclaim(self.limit).await
    }
}

impl Sweep {
    /// One pass.
    ///
    /// # Errors
    /// Those of the store; what was done so far stays done.
    pub async fn run_once(&self, now: Timestamp) -> Result<Reclaimed, VaultError> {
        let swept = self.vault.sweep(now, self.limit).await;
        // What gives a full disk room does not wait for what needs some.
        let let_go = self.vault.sweep_snapshots().await;
        self.vault.record_braked().await?;
        let_go?;
        swept
    }
}

impl Retention {
    /// One pass; it reads nothing while nothing is due.
    ///
    /// # Errors
    /// Those of the store; what was done so far stays done.
    pub async fn run_once(&self, now: Timestamp) -> Result<Destroyed, VaultError> {
        self.vault.run_retention_if_due(now, self.limit).await
    }
}

impl Checkpoint {
    /// One pass: how many heads were covered.
    ///
    /// # Errors
    /// Those of the store and the log; what was not covered is covered by the next.
    pub async fn run_once(&self, _now: Timestamp) -> Result<u64, VaultError> {
        self.vault.checkpoint_heads().await
    }
}

impl ForgetKeys {
    /// One pass: how many keys were wiped.
    #[must_use]
    pub fn run_once(&self, _now: Timestamp) -> usize {
        self.vault.forget_keys()
    }
}

/// How often each job runs.
const RECLAIM_EVERY: Duration = Duration::from_secs(10);
/// How long the reclaiming waits behind a shred: those of that time share its commits, flushes and compactions, which would
/// otherwise take the disk from the next shred.
const RECLAIM_PAUSE: Duration = Duration::from_secs(1);
const SWEEP_EVERY: Duration = Duration::from_mins(1);
const RETENTION_EVERY: Duration = Duration::from_mins(1);
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);
const FORGET_EVERY: Duration = Duration::from_secs(5);

/// Starts all jobs; they end with `stop`, the checkpoint with a last pass.
pub fn start(vault: &Vault, tasks: &TaskTracker, stop: &CancellationToken) {
    let now = |vault: &Vault| vault.clock().now();
    let reclaim = Reclaim { vault: vault.clone(), limit: 64 };
    let stopped = stop.clone();
    tasks.spawn(async move {
        let mut ticks = tokio::time::interval(RECLAIM_EVERY);
        loop {
            tokio::select! {
                () = stopped.cancelled() => return,
                () = reclaim.vault.reclaimable() => {
                    if tokio::time::timeout(RECLAIM_PAUSE, stopped.cancelled()).await.is_ok() {
                        return;
                    }
                }
                _ = ticks.tick() => {}
            }
            match reclaim.run_once(now(&reclaim.vault)).await {
                Ok(done) if done.log_entries > 0 => {
                    tracing::info!(entries = done.log_entries, records = done.records, uploads = done.uploads, "bytes reclaimed");
                }
                Ok(_) => {}
                Err(error) => failed("reclaim", &error),
            }
        }
    });
    let sweep = Sweep { vault: vault.clone(), limit: 1_000 };
    let stopped = stop.clone();
    tasks.spawn(async move {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        while next(&mut ticks, &stopped).await {
            if let Err(error) = sweep.run_once(now(&sweep.vault)).await {
                failed("sweep", &error);
            }
        }
    });
    let retention = Retention { vault: vault.clone(), limit: 1_000 };
    let stopped = stop.clone();
    tasks.spawn(async move {
        let mut ticks = tokio::time::interval(RETENTION_EVERY);
        while next(&mut ticks, &stopped).await {
            let mut goes_on = true;
            while goes_on && !stopped.is_cancelled() {
                goes_on = match retention.run_once(now(&retention.vault)).await {
                    Ok(done) => {
                        if done.destroyed > 0 {
                            tracing::info!(destroyed = done.destroyed, looked_at = done.looked_at, "records that were due are destroyed");
                        }
                        done.more
                    }
                    Err(error) => {
                        failed("retention", &error);
                        false
                    }
                };
            }
        }
    });
    let checkpoint = Checkpoint { vault: vault.clone() };
    let stopped = stop.clone();
    tasks.spawn(async move {
        let mut ticks = tokio::time::interval(CHECKPOINT_EVERY);
        loop {
            let goes_on = next(&mut ticks, &stopped).await;
            if let Err(error) = checkpoint.run_once(now(&checkpoint.vault)).await {
                failed("checkpoint", &error);
            }
            if !goes_on {
                return;
            }
        }
    });
    let forget = ForgetKeys { vault: vault.clone() };
    let stopped = stop.clone();
    tasks.spawn(async move {
        let mut ticks = tokio::time::interval(FORGET_EVERY);
        while next(&mut ticks, &stopped).await {
            let wiped = forget.run_once(now(&forget.vault));
            tracing::trace!(wiped, "keys forgotten");
        }
    });
}

/// Waits for the next tick; `false` once stopped.
async fn next(ticks: &mut tokio::time::Interval, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        _ = ticks.tick() => true,
    }
}

fn failed(job: &'static str, error: &VaultError) {
    metrics::counter!("lethe_job_failures_total", "job" => job).increment(1);
    tracing::error!(job, %error, "a pass failed; the next one tries again");
}

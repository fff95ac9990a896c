//! What the store counts: plain numbers for tests and doctors, and the same as metrics.

use std::{
    sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::reserve::Health;

/// Numbers since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Commits that were stored.
    pub committed: u64,
    /// Commits whose preconditions did not hold.
    pub conflicts: u64,
    /// Commits that were refused or failed for other reasons.
    pub refused: u64,
    /// Groups that were written.
    pub groups: u64,
    /// Commits in the largest group.
    pub largest_group: u64,
    /// Commits that wait now.
    pub queue_depth: u64,
    /// Writes that were synced: control batches, mirror frames and data batches.
    pub syncs: u64,
    /// Time they took together, in nanoseconds.
    pub sync_nanos: u64,
    /// Reads answered from memory.
    pub cached_reads: u64,
    /// Reads past the block cache that who asked made at once.
    pub here_reads: u64,
    /// Reads that went to a thread.
    pub pool_reads: u64,
    /// Free bytes of the store's disk when last looked.
    pub free_bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    /// By [`Outcome`].
    answered: [AtomicU64; Outcome::ALL.len()],
    groups: AtomicU64,
    largest_group: AtomicU64,
    queue_depth: AtomicU64,
    syncs: AtomicU64,
    sync_nanos: AtomicU64,
    /// By [`ReadFrom`].
    reads: [AtomicU64; 3],
    free_bytes: AtomicU64,
    health: AtomicU8,
}

/// How a commit was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Committed,
    Conflict,
    Busy,
    DiskFull,
    Failed,
}

/// Who answered a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadFrom {
    /// The block cache.
    Cache,
    /// Who asked, past it.
    Here,
    /// A thread of the pool.
    Pool,
}

impl Outcome {
    const ALL: [Self; 5] = [Self::Committed, Self::Conflict, Self::Busy, Self::DiskFull, Self::Failed];

    const fn label(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Conflict => "conflict",
            Self::Busy => "busy",
            Self::DiskFull => "disk-full",
            Self::Failed => "failed",
        }
    }
}

impl Counters {
    pub(super) fn queued(&self) {
        self.queue_depth.fetch_add(1, Relaxed);
    }

    pub(super) fn unqueued(&self) {
        self.queue_depth.fetch_sub(1, Relaxed);
    }

    pub(super) fn answered(&self, outcome: Outcome) {
        if let Some(count) = self.answered.get(outcome as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    fn count(&self, outcome: Outcome) -> u64 {
        self.answered.get(outcome as usize).map_or(0, |count| count.load(Relaxed))
    }

    #[expect(clippy::cast_precision_loss, reason = "metrics are floats; counts stay far below 2^52")]
    pub(super) fn wrote_group(&self, commits: usize) {
        self.groups.fetch_add(1, Relaxed);
        self.largest_group.fetch_max(commits as u64, Relaxed);
        metrics::histogram!("lethe_store_group_size").record(commits as f64);
    }

    /// Sets the gauges from what they stand for, and the counters that are counted here: a look-up by labels for each read
    /// would cost more than the read's own count.
    #[expect(clippy::cast_precision_loss, reason = "metrics are floats; counts stay far below 2^52, a rounded byte count will do")]
    pub(super) fn observe(&self) {
        for outcome in Outcome::ALL {
            metrics::counter!("lethe_store_commits_total", "outcome" => outcome.label()).absolute(self.count(outcome));
        }
        for (path, count) in ["cache", "here", "pool"].into_iter().zip(&self.reads) {
            metrics::counter!("lethe_store_reads_total", "path" => path).absolute(count.load(Relaxed));
        }
        metrics::gauge!("lethe_store_queue_depth").set(self.queue_depth.load(Relaxed) as f64);
        metrics::gauge!("lethe_store_health").set(f64::from(self.health.load(Relaxed)));
        metrics::gauge!("lethe_store_free_bytes").set(self.free_bytes.load(Relaxed) as f64);
    }

    pub(super) fn synced(&self, what: &'static str, took: Duration) {
        self.syncs.fetch_add(1, Relaxed);
        self.sync_nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        metrics::histogram!("lethe_store_fsync_seconds", "what" => what).record(took.as_secs_f64());
    }

    pub(super) fn read(&self, from: ReadFrom) {
        if let Some(count) = self.reads.get(from as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn looked(&self, health: Health, free_bytes: u64) {
        self.health.store(health as u8, Relaxed);
        self.free_bytes.store(free_bytes, Relaxed);
    }

    pub(super) fn close(&self) {
        self.health.store(Health::Closed as u8, Relaxed);
    }

    pub(super) fn health(&self) -> Health {
        Health::from_u8(self.health.load(Relaxed))
    }

    pub(super) fn stats(&self) -> Stats {
        let [cached_reads, here_reads, pool_reads] = self.reads.each_ref().map(|count| count.load(Relaxed));
        Stats {
            committed: self.count(Outcome::Committed),
            conflicts: self.count(Outcome::Conflict),
            refused: [Outcome::Busy, Outcome::DiskFull, Outcome::Failed].map(|outcome| self.count(outcome)).iter().sum(),
            groups: self.groups.load(Relaxed),
            largest_group: self.largest_group.load(Relaxed),
            queue_depth: self.queue_depth.load(Relaxed),
            syncs: self.syncs.load(Relaxed),
            sync_nanos: self.sync_nanos.load(Relaxed),
            cached_reads,
            here_reads,
            pool_reads,
            free_bytes: self.free_bytes.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_seen_although_nothing_is_written() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let counters = Counters::default();
            counters.looked(Health::Full, 5);
            counters.queued();
            counters.queued();
            counters.answered(Outcome::Busy);
            counters.read(ReadFrom::Pool);
            counters.observe();
            let told = ["lethe_store_queue_depth 2", "lethe_store_health 2", "lethe_store_free_bytes 5"];
            let counted = [r#"lethe_store_commits_total{outcome="busy"} 1"#, r#"lethe_store_reads_total{path="pool"} 1"#];
            for line in told.into_iter().chain(counted) {
                assert!(handle.render().lines().any(|told| told == line), "{line}: {}", handle.render());
            }
            counters.unqueued();
            counters.observe();
            assert!(handle.render().lines().any(|told| told == "lethe_store_queue_depth 1"));
        });
    }
}

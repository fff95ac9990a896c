//! Whether somebody who may have to wait for a disk that hangs comes on with what it is at.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::domain::Clock;

/// At nothing.
const IDLE: u64 = u64::MAX;

/// When it last came on.
pub(super) struct Pulse {
    clock: Arc<dyn Clock>,
    /// Milliseconds of the clock, or [`IDLE`].
    at: AtomicU64,
}

impl Pulse {
    /// Of one who has begun nothing.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, at: AtomicU64::new(IDLE) }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(IDLE)
    }

    /// It begins, or has come on.
    pub(super) fn beat(&self) {
        self.at.store(self.now(), Relaxed);
    }

    /// It is done.
    pub(super) fn rest(&self) {
        self.at.store(IDLE, Relaxed);
    }

    /// For how long nothing has come of it; not at all while it has nothing to do.
    pub(super) fn silence(&self) -> Duration {
        match self.at.load(Relaxed) {
            IDLE => Duration::ZERO,
            at => Duration::from_millis(self.now().saturating_sub(at)),
        }
    }
}

//! When the next request is due.
//!
//! Closed loop: as soon as the one before is answered. Open loop: at a fixed rate, whatever the server does. A request
//! that finds all connections busy waits, and its latency counts from when it was due, so that a server that stalls
//! cannot hide how many would have waited ("coordinated omission").

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::thread::nanosleep;
use tokio::sync::Semaphore;

use super::numbers::{float, nanos, whole};
use crate::domain::{Clock, SystemClock};

/// Request `n` is due at `start + n / rate`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start: Duration,
    rate: f64,
}

impl Schedule {
    /// `rate` in requests per second, above 0.
    pub(crate) const fn new(start: Duration, rate: f64) -> Self {
        Self { start, rate }
    }

    /// When request `number` is due.
    pub(crate) fn due(&self, number: u64) -> Duration {
        self.start.saturating_add(Duration::try_from_secs_f64(float(number) / self.rate).unwrap_or(Duration::MAX))
    }

    /// How many are due at `now`: at least one from the start on.
    pub(crate) fn owed(&self, now: Duration) -> u64 {
        let Some(gone) = now.checked_sub(self.start) else { return 0 };
        let about = whole(gone.as_secs_f64() * self.rate);
        // Rounding may be off by one either way; `due` decides.
        let first = about.saturating_sub(1);
        (first..=about.saturating_add(1)).find(|number| self.due(*number) > now).unwrap_or_else(|| about.saturating_add(2))
    }
}

/// Hands out requests until the end.
#[derive(Debug, Clone)]
pub(crate) enum Pace {
    /// One after the other.
    Closed,
    /// By a schedule.
    Open(Arc<Open>),
}

/// What the timer's thread and the connections share.
#[derive(Debug)]
pub(crate) struct Open {
    schedule: Schedule,
    /// A permit for each request that is due and not yet taken; closed at the end.
    due: Semaphore,
    taken: AtomicU64,
    end: Duration,
    /// Requests that a connection came for when the end was over.
    late: AtomicU64,
}

impl Open {
    /// Starts the timer. It ends at `end`, or when it is told to.
    pub(crate) fn start(schedule: Schedule, end: Duration) -> Arc<Self> {
        let open = Arc::new(Self { schedule, due: Semaphore::new(0), taken: AtomicU64::new(0), end, late: AtomicU64::new(0) });
        let timer = Arc::clone(&open);
        // A thread of its own: the runtime's timer knows whole milliseconds only.
        drop(std::thread::spawn(move || timer.run()));
        open
    }

    fn run(&self) {
        let end = self.end;
        let mut issued = 0_u64;
        while !self.due.is_closed() {
            let now = SystemClock.monotonic();
            // A timer that comes late owes what was due before the end all the same.
            let owed = self.schedule.owed(now.min(end.saturating_sub(Duration::from_nanos(1))));
            self.due.add_permits(usize::try_from(owed.saturating_sub(issued)).unwrap_or(0));
            issued = issued.max(owed);
            if now >= end {
                break;
            }
            pause(self.schedule.due(issued).min(end).saturating_sub(now));
        }
        self.due.close();
    }

    /// Waits for the next request; tells when it was due, or that the end has come.
    pub(crate) async fn next(&self) -> Option<Duration> {
        self.due.acquire().await.ok()?.forget();
        if SystemClock.monotonic() >= self.end {
            self.late.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.schedule.due(self.taken.fetch_add(1, Ordering::Relaxed)))
    }

    /// How many were due and not begun when the end came.
    pub(crate) fn missed(&self) -> u64 {
        (self.due.available_permits() as u64).saturating_add(self.late.load(Ordering::Relaxed))
    }

    /// Ends the timer early.
    pub(crate) fn stop(&self) {
        self.due.close();
    }
}

fn pause(time: Duration) {
    // Woken early by a signal, the loop above looks again. Never for long, so that it notices the end.
    let time = nanos(time).min(100_000_000);
    let request = rustix::thread::Timespec { tv_sec: 0, tv_nsec: i64::try_from(time).unwrap_or(0) };
    let _ = nanosleep(&request);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_owed_from_the_moment_it_is_due() {
        for rate in [0.5, 3.0, 1_000.0, 12_345.6, 1_000_000.0] {
            let schedule = Schedule::new(Duration::from_secs(100), rate);
            assert_eq!(schedule.owed(Duration::from_secs(99)), 0);
            for number in [0, 1, 2, 3, 10, 999, 1_000_003] {
                let due = schedule.due(number);
                assert_eq!(schedule.owed(due), number + 1, "request {number} at {rate}/s");
                assert_eq!(schedule.owed(due.saturating_sub(Duration::from_nanos(1))), number, "just before request {number} at {rate}/s");
            }
        }
    }

    #[tokio::test]
    async fn requests_come_by_the_schedule_although_nobody_takes_them() {
        let start = SystemClock.monotonic();
        let open = Open::start(Schedule::new(start, 1_000.0), start + Duration::from_millis(300));
        // A connection that stalls for 100 ms and then takes 60: the first was due at once, the others a millisecond apart.
        pause(Duration::from_millis(100));
        let stalled = SystemClock.monotonic();
        for number in 0..60_u32 {
            let due = open.next().await.unwrap();
            assert_eq!(due, start + Duration::from_millis(1) * number);
            assert!(due < stalled, "request {number} had waited for long");
        }
        while open.next().await.is_some() {
            if SystemClock.monotonic() > start + Duration::from_millis(200) {
                break;
            }
        }
        while !open.due.is_closed() {
            tokio::task::yield_now().await;
        }
        assert!(open.next().await.is_none());
        let taken = open.taken.load(Ordering::Relaxed);
        assert_eq!(taken + open.missed(), 300, "{taken} taken, {} missed", open.missed());
    }

    #[tokio::test]
    async fn a_request_that_is_taken_behind_the_end_is_missed() {
        let end = SystemClock.monotonic();
        let schedule = Schedule::new(end.saturating_sub(Duration::from_secs(1)), 3.0);
        let open = Open { schedule, due: Semaphore::new(3), taken: AtomicU64::new(0), end, late: AtomicU64::new(0) };
        assert!(open.next().await.is_none() && open.next().await.is_none());
        assert_eq!((open.taken.load(Ordering::Relaxed), open.due.available_permits(), open.missed()), (0, 1, 3));
    }

    #[tokio::test]
    async fn a_timer_that_is_stopped_ends_at_once() {
        let start = SystemClock.monotonic();
        let open = Open::start(Schedule::new(start + Duration::from_hours(1), 1.0), Duration::MAX);
        open.stop();
        assert!(open.next().await.is_none());
    }
}

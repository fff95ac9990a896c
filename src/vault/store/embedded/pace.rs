//! Where a read is made that is not answered from the block cache: by who asks, while the operating system has the files in
//! memory, or by a thread of the pool, while the disk has to be waited for.
//!
//! A change of threads costs more than a read from the page cache; a read from the disk would stop all that the asking thread
//! has to do. Which of the two it will be cannot be asked beforehand, so it is told from how long the last reads took, wherever
//! they were made. Never more reads are made by who asks than half of the threads that ask, and half of the processors: should a disk
//! hang from one moment to the next, other threads go on, and all further reads wait in the pool, whose queue is bounded.

use std::{
    sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

/// A read that took longer has waited for the disk.
const FAST: Duration = Duration::from_micros(50);
/// So many rows of a range take as long from memory as a read.
const ROWS: usize = 8;
/// What a slow read adds, and a fast one takes away: reads are made by who asks while fewer than one in nine is slow.
const SLOW: u32 = 8;
const SLOWEST: u32 = 64;
/// From here on reads go to the pool.
const TOO_SLOW: u32 = 32;

/// How reads have gone of late.
pub(crate) struct Pace {
    slowness: AtomicU32,
    here: AtomicUsize,
    most: usize,
}

/// The right to read on the asking thread, until it is dropped.
pub(crate) struct Leave<'a>(&'a Pace);

/// How a read is to be made.
pub(crate) enum Way<'a> {
    /// Here and now.
    Here(Leave<'a>),
    /// As many as may are reading; they are fast, so it is worth to let something else run and to ask again, but once or twice.
    Soon,
    /// By a thread of the pool.
    Pool,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.here.fetch_sub(1, Relaxed);
    }
}

impl Pace {
    /// Of so many threads that ask. Nothing is known yet: the first reads go to the pool.
    pub(crate) fn new(asking: usize) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { slowness: AtomicU32::new(SLOWEST), here: AtomicUsize::new(0), most: (processors / 2).max(1).min(asking / 2) }
    }

    /// How the next read is to be made.
    pub(crate) fn way(&self) -> Way<'_> {
        if self.most == 0 || self.slowness.load(Relaxed) >= TOO_SLOW {
            return Way::Pool;
        }
        // Counted first, and given back when it is dropped.
        let leave = Leave(self);
        if self.here.fetch_add(1, Relaxed) < self.most { Way::Here(leave) } else { Way::Soon }
    }

    /// A read past the cache took so long.
    pub(crate) fn took(&self, time: Duration) {
        let now = self.slowness.load(Relaxed);
        let next = if time > FAST { now.saturating_add(SLOW).min(SLOWEST) } else { now.saturating_sub(1) };
        // Reads that end at the same moment may count as one: it is a tendency.
        if next != now {
            self.slowness.store(next, Relaxed);
        }
    }

    /// A range of so many rows past the cache took so long.
    pub(crate) fn took_range(&self, time: Duration, rows: usize) {
        let reads = u32::try_from(rows / ROWS).unwrap_or(u32::MAX).saturating_add(1);
        self.took(time.checked_div(reads).unwrap_or(time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pace: &Pace, reads: u32, time: Duration) {
        (0..reads).for_each(|_| pace.took(time));
    }

    fn is_pool(pace: &Pace) -> bool {
        matches!(pace.way(), Way::Pool)
    }

    #[test]
    fn reads_are_made_by_who_asks_only_while_nearly_all_are_fast() {
        let (fast, slow) = (Duration::from_micros(3), Duration::from_millis(1));
        let pace = Pace::new(8);
        assert!(is_pool(&pace), "nothing is known yet");
        of(&pace, SLOWEST - TOO_SLOW, fast);
        assert!(is_pool(&pace));
        of(&pace, 1, fast);
        assert!(matches!(pace.way(), Way::Here(_)));
        of(&pace, 1_000, fast);
        of(&pace, 3, slow);
        assert!(!is_pool(&pace), "an outlier or three");
        of(&pace, 1, slow);
        assert!(is_pool(&pace));
        of(&pace, 1_000, slow);
        of(&pace, SLOWEST, fast);
        assert!(!is_pool(&pace), "however slow it was");
        for _ in 0..1_000 {
            of(&pace, 7, fast);
            of(&pace, 1, slow);
        }
        assert!(is_pool(&pace), "one of eight is too many");
    }

    #[test]
    fn a_read_that_hangs_leaves_the_other_threads_alone() {
        let pace = Pace { most: 2, ..Pace::new(8) };
        of(&pace, SLOWEST, Duration::ZERO);
        let (first, second) = (pace.way(), pace.way());
        assert!(matches!((&first, &second), (Way::Here(_), Way::Here(_))));
        for _ in 0..3 {
            assert!(matches!(pace.way(), Way::Soon), "who was refused holds nothing");
        }
        drop(first);
        assert!(matches!(pace.way(), Way::Here(_)));
        of(&pace, SLOWEST, Duration::from_secs(1));
        assert!(is_pool(&pace));
    }

    #[test]
    fn half_of_the_threads_that_ask_are_left_alone_however_many_processors_there_are() {
        for (asking, most) in [(1, 0), (2, 1), (3, 1)] {
            let pace = Pace::new(asking);
            of(&pace, SLOWEST, Duration::ZERO);
            let leaves: Vec<_> = std::iter::from_fn(|| if let Way::Here(leave) = pace.way() { Some(leave) } else { None }).collect();
            assert_eq!(leaves.len(), most, "of {asking}");
            assert_eq!(is_pool(&pace), most == 0, "the only thread reads nothing itself");
        }
    }

    #[test]
    fn a_range_is_slow_that_took_longer_than_its_rows_take_from_memory() {
        let pace = Pace::new(8);
        (0..SLOWEST).for_each(|_| pace.took_range(Duration::from_millis(1), 256));
        assert!(!is_pool(&pace), "many rows");
        (0..4).for_each(|_| pace.took_range(Duration::from_millis(1), 8));
        assert!(is_pool(&pace), "few");
        (0..SLOWEST).for_each(|_| pace.took_range(Duration::ZERO, 0));
        assert!(!is_pool(&pace));
        (0..4).for_each(|_| pace.took_range(Duration::from_millis(10), 256));
        assert!(is_pool(&pace));
    }
}

//! What is gone through by one at a time, and only while there is something to go through: whoever comes meanwhile waits until that one is
//! done. So nobody is told that all of it is done with while somebody is still at it, and data of an older date is not served before.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Mutex, MutexGuard};

/// Whether all of it is done with, and whose turn it is.
#[derive(Default)]
pub(super) struct Rounds {
    is_done: AtomicBool,
    turn: Mutex<()>,
}

/// A turn. Unless it came through everything, also where it is cut short, there is something left.
pub(super) struct Round<'a> {
    of: &'a Rounds,
    is_through: bool,
    _turn: MutexGuard<'a, ()>,
}

impl Rounds {
    /// There is something to go through.
    pub(super) fn wanted(&self) {
        self.is_done.store(false, Ordering::Release);
    }

    /// Waits until nobody is at it; `None` if all of it is done with by then.
    pub(super) async fn begin(&self) -> Option<Round<'_>> {
        if fault!("rounds-turn") && self.is_done.load(Ordering::Acquire) {
            return None;
        }
        let turn = self.turn.lock().await;
        // Before anything is looked at: what comes meanwhile takes it back.
        let was_done = self.is_done.swap(true, Ordering::AcqRel);
        (!was_done).then(|| Round { of: self, is_through: false, _turn: turn })
    }
}

impl Round<'_> {
    /// It came through everything.
    pub(super) fn through(mut self) {
        self.is_through = true;
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        // Before the turn is given on.
        if !self.is_through && !fault!("rounds-left") {
            self.of.wanted();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_comes_second_waits_for_the_first_and_goes_on_where_that_did_not_come_through() {
        for comes_through in [false, true] {
            let rounds = Rounds::default();
            let first = rounds.begin().await.unwrap();
            let mut second = std::pin::pin!(rounds.begin());
            assert!(futures_util::poll!(&mut second).is_pending(), "somebody is at it");
            if comes_through {
                first.through();
            } else {
                drop(first);
            }
            assert_eq!(second.await.is_none(), comes_through);
        }
    }

    #[tokio::test]
    async fn what_is_wanted_while_somebody_comes_through_is_gone_through_again() {
        let rounds = Rounds::default();
        let first = rounds.begin().await.unwrap();
        rounds.wanted();
        first.through();
        rounds.begin().await.unwrap().through();
        assert!(rounds.begin().await.is_none());
    }
}

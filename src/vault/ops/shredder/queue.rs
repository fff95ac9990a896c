//! The way to the shredder: a place in the queue is taken before an order's intent is durable, and who gave the order may wait here until
//! it is done. An epoch takes what waits, and waits itself for the orders that are being given at that moment.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use tokio::sync::{Notify, mpsc, watch};

use super::{
    super::{Inner, Vault, VaultError, rows::Progress},
    epoch::EPOCH_ORDERS,
};
use crate::domain::{ShredId, Timestamp};

/// Orders that may wait; the next one is told to come again.
const QUEUE: usize = 4_096;
/// The longest that an epoch waits for orders that are being given.
const GATHER_MAX: Duration = Duration::from_millis(100);

/// The way to the shredder.
pub(in crate::vault::ops) struct Queue {
    orders: mpsc::Sender<ShredId>,
    /// A place was given up without an order.
    given_up: Arc<Notify>,
    /// Counts orders that were done, so that who waits looks again.
    done: watch::Sender<u64>,
    vault: std::sync::OnceLock<std::sync::Weak<Inner>>,
    /// Whether shreds that go with deletions wait to be ordered.
    pub(in crate::vault::ops) deferred: AtomicBool,
    /// Orders about persons that spare nothing, and as of when that was decided: this process has closed all that they name.
    decided: Mutex<HashMap<ShredId, Timestamp>>,
}

/// A place in the queue, taken before the intent is durable: a durable intent is never refused.
pub(in crate::vault::ops) struct Place {
    permit: Option<mpsc::OwnedPermit<ShredId>>,
    given_up: Arc<Notify>,
}

impl Place {
    pub(in crate::vault::ops) fn send(mut self, id: ShredId) {
        drop(self.permit.take().map(|permit| permit.send(id)));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.permit.take().is_some() {
            self.given_up.notify_one();
        }
    }
}

impl Queue {
    /// A queue and its far end.
    pub(in crate::vault::ops) fn new() -> (Self, mpsc::Receiver<ShredId>) {
        let (orders, receiver) = mpsc::channel(QUEUE);
        let (done, vault, deferred) = (watch::Sender::new(0), std::sync::OnceLock::new(), AtomicBool::new(false));
        (Self { orders, given_up: Arc::default(), done, vault, deferred, decided: Mutex::default() }, receiver)
    }

    fn decided(&self) -> MutexGuard<'_, HashMap<ShredId, Timestamp>> {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As of when it was decided that an order spares nothing.
    pub(in crate::vault::ops) fn decided_at(&self, id: ShredId) -> Option<Timestamp> {
        self.decided().get(&id).copied()
    }

    /// It was decided that an order spares nothing.
    pub(in crate::vault::ops) fn was_decided(&self, id: ShredId, at: Timestamp) {
        self.decided().insert(id, at);
    }

    /// Its keys are gone, or it was taken back.
    pub(in crate::vault::ops) fn forget_decided(&self, id: ShredId) {
        self.decided().remove(&id);
    }

    pub(in crate::vault::ops) fn attach(&self, vault: &Vault) {
        // A second attachment would be the same vault.
        let _ = self.vault.set(std::sync::Arc::downgrade(&vault.inner));
    }

    /// A place, or [`VaultError::Busy`].
    pub(in crate::vault::ops) fn reserve(&self) -> Result<Place, VaultError> {
        let permit = self.orders.clone().try_reserve_owned().map_err(|_| VaultError::Busy)?;
        Ok(Place { permit: Some(permit), given_up: Arc::clone(&self.given_up) })
    }

    /// Takes what waits, and waits for the orders that others are giving at this moment: one epoch is for all of them.
    pub(super) async fn gather(&self, orders: &mut mpsc::Receiver<ShredId>, into: &mut Vec<ShredId>) {
        let all = async {
            loop {
                while let Ok(next) = orders.try_recv() {
                    into.push(next);
                }
                // The queue is empty: what is taken of it are places whose intents are on their way.
                if self.orders.capacity() >= QUEUE || into.len() >= EPOCH_ORDERS {
                    return;
                }
                tokio::select! {
                    next = orders.recv() => match next {
                        Some(next) => into.push(next),
                        None => return,
                    },
                    () = self.given_up.notified() => {}
                }
            }
        };
        // Over or not, an epoch begins with what is there.
        let _ = tokio::time::timeout(GATHER_MAX, all).await;
    }

    /// Waits until an order is done, at most `limit`.
    pub(in crate::vault::ops) async fn wait(&self, id: ShredId, limit: Duration) {
        let Some(inner) = self.vault.get().and_then(std::sync::Weak::upgrade) else { return };
        let vault = Vault { inner };
        let mut changes = self.done.subscribe();
        let until_done = async {
            loop {
                changes.borrow_and_update();
                let done = match vault.shred_row(id).await {
                    Ok(Some(row)) => {
                        // It waits for somebody, and not for this process.
                        matches!(row.progress, Progress::Held | Progress::Asked | Progress::Dropped)
                            || vault.is_done(id, &row).await.unwrap_or(true)
                    }
                    Ok(None) | Err(_) => true,
                };
                if done || changes.changed().await.is_err() {
                    return;
                }
            }
        };
        // Over or not, the caller reads the order's state.
        let _ = tokio::time::timeout(limit, until_done).await;
    }

    pub(super) fn tell(&self) {
        self.done.send_modify(|count| *count = count.wrapping_add(1));
    }
}

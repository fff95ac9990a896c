//! Tasks that shutdown waits for. A mutation runs in one, so that a client that hangs up cannot stop it half-way.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tracked spawner. Clones track together.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stopping: CancellationToken,
}

impl Tasks {
    /// Runs `task` to its end, whoever waits for it.
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.tracker.spawn(task)
    }

    /// The tracker itself, for a room that spawns its own.
    #[must_use]
    pub fn tracker(&self) -> TaskTracker {
        self.tracker.clone()
    }

    /// What is cancelled when the process is to stop.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Resolves when the process is to stop: for loops that would otherwise run on.
    pub async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Whether the process is to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Tells every task that it is time to stop.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Waits until all tasks have ended, for at most `limit`; tells whether they have.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.stop();
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }

    /// How many tasks run.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether none runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn draining_waits_for_tasks_whose_handle_was_dropped() {
        let tasks = Tasks::default();
        let (done, result) = tokio::sync::oneshot::channel();
        let inner = tasks.clone();
        drop(tasks.spawn(async move {
            inner.stopping().await;
            let _ = done.send(7);
        }));
        assert!(!tasks.is_empty() && !tasks.is_stopping());
        assert!(tasks.drain(Duration::from_secs(10)).await);
        assert_eq!(result.await, Ok(7));
    }

    #[tokio::test]
    async fn draining_gives_up_at_its_limit() {
        let tasks = Tasks::default();
        drop(tasks.spawn(std::future::pending::<()>()));
        assert!(!tasks.drain(Duration::from_millis(10)).await);
        assert_eq!(tasks.len(), 1);
    }
}

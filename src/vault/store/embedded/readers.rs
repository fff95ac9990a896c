//! The threads for reads that miss the cache: a fixed few, with a bounded queue.

use std::{
    io,
    sync::{Mutex, PoisonError},
    thread::JoinHandle,
};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::super::StoreError;

type Job = Box<dyn FnOnce() + Send>;

/// A fixed pool of threads.
pub(super) struct Pool {
    jobs: Mutex<Option<Sender<Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Pool {
    pub(super) fn start(name: &str, threads: usize, queue_len: usize) -> io::Result<Self> {
        let (jobs, queue) = bounded::<Job>(queue_len);
        let threads = (0..threads.max(1))
            .map(|_| {
                let queue = queue.clone();
                std::thread::Builder::new().name(name.into()).spawn(move || work(&queue))
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { jobs: Mutex::new(Some(jobs)), threads: Mutex::new(threads) })
    }

    /// Runs `job` on one of the threads.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if the queue is full, [`StoreError::Closed`] after [`Pool::stop`], and the job's own.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        // Who asked may be gone; then the answer is dropped.
        let job: Job = Box::new(move || drop(answer.send(job())));
        self.send(job)?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    // Apart from `run`, so that a caller who waits holds no sender: the threads end when the last one is gone.
    fn send(&self, job: Job) -> Result<(), StoreError> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.as_ref().ok_or(StoreError::Closed)?.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Closed,
        })
    }

    /// Takes no more jobs, finishes those that wait, and ends the threads.
    pub(super) fn stop(&self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A thread that panicked has nothing more to end.
            drop(thread.join());
        }
    }
}

fn work(queue: &Receiver<Job>) {
    queue.iter().for_each(|job| job());
}

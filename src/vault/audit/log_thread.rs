//! The log's own thread: files are written and synced there, never on a thread that serves requests.
//!
//! The queue is bounded; leaves that wait together are appended together, with one checkpoint. After an append that failed
//! the log is opened anew before the next one: a disk that was full, or failed for a moment, needs no restart.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
};

use tokio::sync::oneshot;

use super::{
    merkle::Hash,
    tlog::{Log, LogError, MAX_LEAF_LEN_BYTES},
};

/// Calls that may wait.
const QUEUE_LEN: usize = 1_024;
/// Leaves of one checkpoint, but for those that were brought together.
const BATCH_LEN: usize = 256;

/// Leaves that stay together, and who waits for them.
type Waiting = (Vec<Vec<u8>>, oneshot::Sender<Result<Appended, LogError>>);
type Reading = Box<dyn FnOnce(&Log) + Send>;

/// Where leaves have come into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Appended {
    /// The first one's index; the others follow it.
    pub(super) first: u64,
    /// The log's size and root behind them.
    pub(super) head: (u64, Hash),
}

enum Job {
    Append(Vec<Vec<u8>>, oneshot::Sender<Result<Appended, LogError>>),
    AppendMissing(Vec<Vec<u8>>, oneshot::Sender<Result<Vec<u64>, LogError>>),
    File(oneshot::Sender<Result<Option<(u64, Hash)>, LogError>>),
    Told((u64, Hash)),
    Read(Reading),
}

/// Sends work to the log's thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct LogThread {
    sender: Option<SyncSender<Job>>,
    /// An append has failed and the log could not be opened anew since.
    failed: Arc<AtomicBool>,
    /// For want of space.
    full: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl LogThread {
    pub(super) fn start(log: Log) -> Result<Self, LogError> {
        let (sender, receiver) = sync_channel(QUEUE_LEN);
        let failed = Arc::new(AtomicBool::new(false));
        let full = Arc::new(AtomicBool::new(false));
        let keeper = Keeper { log, failed: Arc::clone(&failed), full: Arc::clone(&full) };
        let thread = thread::Builder::new().name("log".into()).spawn(move || keeper.run(&receiver))?;
        Ok(Self { sender: Some(sender), failed, full, thread: Some(thread) })
    }

    /// Whether the last append failed: what waits for the log is not in it yet.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Whether that was for want of space.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// Appends leaves under one checkpoint; answers when they and it are durable.
    pub(super) async fn append(&self, leaves: Vec<Vec<u8>>) -> Result<Appended, LogError> {
        if leaves.iter().any(|leaf| leaf.len() > MAX_LEAF_LEN_BYTES) {
            return Err(LogError::LeafTooLong);
        }
        let (answer, answered) = oneshot::channel();
        self.send(Job::Append(leaves, answer))?;
        answered.await.map_err(|_| LogError::Closed)?
    }

    /// Appends the leaves that are not in the log yet.
    pub(super) async fn append_missing(&self, leaves: Vec<Vec<u8>>) -> Result<Vec<u64>, LogError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::AppendMissing(leaves, answer))?;
        answered.await.map_err(|_| LogError::Closed)?
    }

    /// Syncs the log's files where that was left for later; the head they have then, `None` if control knows of it.
    pub(super) async fn file(&self) -> Result<Option<(u64, Hash)>, LogError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::File(answer))?;
        answered.await.map_err(|_| LogError::Closed)?
    }

    /// Control knows of a filing. Where this cannot be said now, the next filing is told again.
    pub(super) fn told(&self, head: (u64, Hash)) {
        drop(self.send(Job::Told(head)));
    }

    /// Reads the log between two appends.
    pub(super) async fn read<T: Send + 'static>(&self, f: impl FnOnce(&Log) -> T + Send + 'static) -> Result<T, LogError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Read(Box::new(move |log| drop(answer.send(f(log))))))?;
        answered.await.map_err(|_| LogError::Closed)
    }

    fn send(&self, job: Job) -> Result<(), LogError> {
        let sender = self.sender.as_ref().ok_or(LogError::Closed)?;
        sender.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => LogError::Busy,
            TrySendError::Disconnected(_) => LogError::Closed,
        })
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// The log, and what of it others may see.
struct Keeper {
    log: Log,
    failed: Arc<AtomicBool>,
    full: Arc<AtomicBool>,
}

impl Keeper {
    fn run(mut self, jobs: &Receiver<Job>) {
        let mut waiting = None;
        while let Some(job) = waiting.take().or_else(|| jobs.recv().ok()) {
            match job {
                Job::Read(read) => read(&self.log),
                Job::Told(head) => self.log.told(head),
                Job::File(answer) => drop(answer.send(self.work(Log::file))),
                Job::AppendMissing(leaves, answer) => {
                    let leaves: Vec<&[u8]> = leaves.iter().map(Vec::as_slice).collect();
                    drop(answer.send(self.work(|log| log.append_missing(&leaves))));
                }
                Job::Append(leaves, answer) => {
                    let (mut count, mut batch) = (leaves.len(), vec![(leaves, answer)]);
                    while count < BATCH_LEN && waiting.is_none() {
                        match jobs.try_recv() {
                            Ok(Job::Append(leaves, answer)) => {
                                count = count.saturating_add(leaves.len());
                                batch.push((leaves, answer));
                            }
                            Ok(job) => waiting = Some(job),
                            Err(_) => break,
                        }
                    }
                    self.append(batch);
                }
            }
        }
    }

    /// Works on a log that is whole: one that has failed is opened anew first.
    fn work<T>(&mut self, work: impl FnOnce(&mut Log) -> Result<T, LogError>) -> Result<T, LogError> {
        let had_failed = self.log.has_failed();
        let opened = if had_failed { self.log.reopen() } else { Ok(()) };
        let done = opened.and_then(|()| work(&mut self.log));
        let has_failed = self.log.has_failed();
        match &done {
            Ok(_) if had_failed => tracing::warn!("log: opened anew, leaves are appended again"),
            Err(error) if has_failed && !had_failed => tracing::error!(%error, "log: an append failed"),
            Ok(_) | Err(_) => {}
        }
        let full = |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        self.full.store(has_failed && matches!(&done, Err(LogError::Io(error)) if full(error)), Ordering::Release);
        self.failed.store(has_failed, Ordering::Release);
        done
    }

    fn append(&mut self, batch: Vec<Waiting>) {
        let leaves: Vec<&[u8]> = batch.iter().flat_map(|(leaves, _)| leaves).map(Vec::as_slice).collect();
        match self.work(|log| log.append(&leaves)) {
            Ok(mut first) => {
                let head = (self.log.head().size, self.log.head().root);
                for (leaves, answer) in batch {
                    drop(answer.send(Ok(Appended { first, head })));
                    first = first.saturating_add(u64::try_from(leaves.len()).unwrap_or(u64::MAX));
                }
            }
            Err(error) => {
                let mut error = Some(error);
                for (_, answer) in batch {
                    drop(answer.send(Err(error.take().unwrap_or(LogError::Closed))));
                }
            }
        }
    }
}

//! The committer: a thread that takes what waits, has it written as one group ([`Core`]), and answers.

use std::{
    io,
    sync::{
        Arc, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use tokio::sync::oneshot;

use crate::domain::Clock;

use super::{
    super::StoreError,
    core::{Core, Desk, Shared, TICK},
    group::{Group, Joined, Submission},
};

/// What the committer is asked.
pub(super) enum Request {
    Commit(Submission),
    SyncMirror(oneshot::Sender<Result<(), StoreError>>),
    Stop,
}

pub(super) struct Committer {
    shared: Arc<Shared>,
    desk: Arc<Desk>,
    clock: Arc<dyn Clock>,
    queue: Receiver<Request>,
    held: Option<Request>,
    syncer: Syncer,
}

/// A thread that syncs what was only handed to the operating system, when it is told to: the committer looks at the disk
/// meanwhile, on which whoever writes at once relies, however long a sync takes.
pub(super) struct Syncer {
    begin: SyncSender<()>,
    thread: JoinHandle<()>,
}

/// What a sync has come to that nobody made.
fn unsynced() -> Result<(), StoreError> {
    Err(StoreError::Io("the thread for syncs has ended".into()))
}

/// Tells the core that a sync has panicked: it would wait for it for ever, and sync nothing any more.
struct Panicked(Arc<Desk>);

impl Drop for Panicked {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(core) = self.0.wait().as_mut()
        {
            core.synced(unsynced());
        }
    }
}

impl Syncer {
    pub(super) fn start(desk: Arc<Desk>, sync: impl Fn() -> Result<(), StoreError> + Send + 'static) -> io::Result<Self> {
        let (begin, begun) = sync_channel(1);
        let work = move || {
            let _panicked = Panicked(Arc::clone(&desk));
            for () in begun {
                let synced = sync();
                if let Some(core) = desk.wait().as_mut() {
                    core.synced(synced);
                }
            }
        };
        Ok(Self { begin, thread: std::thread::Builder::new().name("lethe-sync".into()).spawn(work)? })
    }

    /// Begins a sync; `false` where the thread is gone.
    pub(super) fn begin(&self) -> bool {
        self.begin.send(()).is_ok()
    }

    /// Ends it when the sync that is under way is done.
    pub(super) fn stop(self) {
        drop(self.begin);
        // Should it have panicked, the core knows.
        drop(self.thread.join());
    }
}

/// Syncs what was written without.
fn sync(shared: &Shared, clock: &dyn Clock) -> Result<(), StoreError> {
    let started = clock.monotonic();
    let synced = shared.with(|pair| pair.data.sync());
    shared.counters.synced("data", clock.monotonic().saturating_sub(started));
    synced
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, desk: Arc<Desk>, clock: Arc<dyn Clock>, queue: Receiver<Request>) -> io::Result<Self> {
        let (synced, time) = (Arc::clone(&shared), Arc::clone(&clock));
        let syncer = Syncer::start(Arc::clone(&desk), move || sync(&synced, &*time))?;
        Ok(Self { shared, desk, clock, queue, held: None, syncer })
    }

    /// Works until told to stop.
    pub(super) fn run(mut self) {
        let mut next_tick = self.clock.monotonic().saturating_add(TICK);
        loop {
            let left = next_tick.saturating_sub(self.clock.monotonic());
            // However busy the queue is: what is written at once goes by it, and waits for its sync all the same.
            let request = if left.is_zero() {
                Err(RecvTimeoutError::Timeout)
            } else {
                self.held.take().map_or_else(|| self.queue.recv_timeout(left), Ok)
            };
            match request {
                Ok(Request::Commit(first)) => self.group(first),
                Ok(Request::SyncMirror(answer)) => {
                    let synced = self.desk.wait().as_mut().map_or(Err(StoreError::Closed), Core::sync_mirror);
                    drop(answer.send(synced));
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.tick();
                    next_tick = self.clock.monotonic().saturating_add(TICK);
                }
                Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.syncer.stop();
        // Nobody writes any more.
        let core = self.desk.wait().take();
        if let Some(mut core) = core {
            if core.tick() {
                core.synced(sync(&self.shared, &*self.clock));
            }
            core.close();
        }
    }

    fn tick(&self) {
        let is_due = self.desk.wait().as_mut().is_some_and(Core::tick);
        if is_due
            && !self.syncer.begin()
            && let Some(core) = self.desk.wait().as_mut()
        {
            core.synced(unsynced());
        }
    }

    fn group(&mut self, first: Submission) {
        let (shared, desk) = (Arc::clone(&self.shared), Arc::clone(&self.desk));
        let mut held = desk.wait();
        let Some(core) = held.as_mut() else { return };
        if core.is_stalled() {
            core.tick();
        }
        let lent = shared.pair.read().unwrap_or_else(PoisonError::into_inner);
        let Some(pair) = lent.as_ref() else {
            shared.counters.unqueued();
            let before = first.before.and_then(|before| before.tail);
            return core.answer([before, first.commit.tail], first.answer, Err(StoreError::Closed));
        };
        core.look(pair);
        let mut group = Group::new(pair, core.take_known());
        let mut next = Some(first);
        while let Some(submission) = next {
            let joined = group.join(submission, |urgency, bytes, delta| core.room(urgency, bytes, delta));
            if let Joined::Later(submission) = joined {
                self.held = Some(Request::Commit(submission));
                break;
            }
            shared.counters.unqueued();
            next = if group.is_full() { None } else { self.next_commit() };
        }
        core.write(pair, group);
        core.compact_mirror(pair);
    }

    fn next_commit(&mut self) -> Option<Submission> {
        match self.queue.try_recv() {
            Ok(Request::Commit(submission)) => Some(submission),
            Ok(other) => {
                self.held = Some(other);
                None
            }
            Err(_) => None,
        }
    }
}

//! The thread that talks to custody, so that no sync and no slow device holds up a request.

use std::{
    sync::mpsc::{SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use tokio::sync::oneshot;

use super::{CustodyError, composite::Components};
use crate::vault::crypto::residue;

type Job = Box<dyn FnOnce(&mut Components) + Send>;

/// A handle to the thread. Dropping it waits until the job in hand is done, so that nobody else finds custody half-way.
pub(in crate::vault::keys) struct Desk {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Desk {
    /// Starts the thread, which owns the components.
    pub(in crate::vault::keys) fn open(mut components: Components) -> Result<Self, CustodyError> {
        let (jobs, inbox) = sync_channel::<Job>(1);
        let thread = thread::Builder::new().name("custody".to_owned()).spawn(move || {
            for job in inbox {
                residue::leaving_none(|| job(&mut components));
            }
        })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs `work` on the thread. Once begun it is finished, also if the caller goes away.
    pub(in crate::vault::keys) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Components) -> Result<T, CustodyError> + Send + 'static,
    ) -> Result<T, CustodyError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |components| {
            // A caller that went away needs no answer.
            drop(answer.send(work(components)));
        });
        // Callers hold the forest's epoch lock, so there is at most one job and the channel has room.
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok());
        if !sent {
            return Err(CustodyError::Io("the custody thread has ended or is busy".to_owned()));
        }
        answered.await.map_err(|_| CustodyError::Io("the custody thread has ended".to_owned()))?
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A job that panicked has told its caller by not answering.
            drop(thread.join());
        }
    }
}

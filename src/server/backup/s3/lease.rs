//! The lock of a bucket: an object that whoever changes the place writes, and writes anew every few seconds.
//!
//! No clock is compared with another one's. Who finds the object watches it: if it changes, its writer lives; if it stands still for
//! longer than its writer relies on it, the writer is gone, and the object is written over on the condition that it is still the one
//! that was watched. A writer that could not write it for a while does not rely on it any more, whatever kept it: it writes it anew before
//! it goes on, on the same condition, and where that is not met the lock is lost.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::client::{Client, Condition, Put, pause};
use crate::{
    domain::{Clock as _, SystemClock},
    server::backup::{BackupError, storage::LOCK_NAME},
    vault::crypto::random,
};

/// So often it is written anew, and looked at.
const BEAT: Duration = Duration::from_secs(5);
/// Beats that it stands still for before its writer is taken for gone.
const STILL: u32 = 6;
/// So long after it was written the writer relies on it: a beat less than others wait for.
const TRUST: Duration = Duration::from_secs(25);
/// Giving it back may take so long; then it is left, and the next one waits.
const RELEASE: Duration = Duration::from_secs(10);
/// Between two tries of that.
const AGAIN: Duration = Duration::from_millis(250);
/// So often it may come and go under the eyes of who waits for it.
const TURNS: usize = 4;
/// The entity tag of no lock.
const NOBODYS: &str = "\"00000000000000000000000000000000\"";

/// What the object holds.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    /// Of its writer, drawn anew for each.
    id: String,
    /// How often it was written anew, which makes it another one each time.
    beat: u64,
}

/// Held by whoever changes the place, until it is given back.
#[derive(Debug)]
pub(super) struct Lease {
    held: Arc<Held>,
    stop: CancellationToken,
    beats: JoinHandle<()>,
}

#[derive(Debug)]
struct Held {
    id: String,
    state: Mutex<State>,
    /// Held by who writes it anew: of two at once, one would find the other's.
    renewing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    /// The entity tag of what was written last.
    etag: String,
    /// Before that was sent.
    written_at: Duration,
    /// How often it was sent.
    beat: u64,
    /// Another process has it.
    is_lost: bool,
}

/// What became of a lock that was watched.
enum Watched {
    /// It is not there any more.
    Gone,
    /// Its writer lives.
    Alive,
    /// Nobody else holds it: it stood still, or is this process's own and the answer that said so was lost; its entity tag.
    Free(String),
}

impl Lease {
    /// Takes the lock; waits where its writer may be gone.
    ///
    /// # Errors
    /// [`BackupError::Locked`] where its writer lives; `s3-unconditional` where the server keeps no two from writing at once.
    pub(super) async fn take(client: &Arc<Client>, handle: &Handle) -> Result<Self, BackupError> {
        let id = hex::encode(random::bytes::<16>());
        let told = told(&id, 0)?;
        for _ in 0..TURNS {
            let written_at = SystemClock.monotonic();
            if let Put::Done(etag) = client.put(LOCK_NAME, &told, Condition::Absent).await? {
                prove_conditional(client, &told).await?;
                return Ok(Self::begin(client, handle, id, etag, written_at));
            }
            let etag = match watch(client, &id).await? {
                Watched::Gone => continue,
                Watched::Alive => break,
                Watched::Free(etag) => etag,
            };
            // Its own, too, is written over: when that was written is not known.
            let written_at = SystemClock.monotonic();
            if let Put::Done(etag) = client.put(LOCK_NAME, &told, Condition::Is(&etag)).await? {
                prove_conditional(client, &told).await?;
                return Ok(Self::begin(client, handle, id, etag, written_at));
            }
        }
        Err(BackupError::Locked(client.shown("")))
    }

    fn begin(client: &Arc<Client>, handle: &Handle, id: String, etag: String, written_at: Duration) -> Self {
        let state = Mutex::new(State { etag, written_at, beat: 0, is_lost: false });
        let held = Arc::new(Held { id, state, renewing: tokio::sync::Mutex::default() });
        let stop = CancellationToken::new();
        let beats = handle.spawn(beat(Arc::clone(client), Arc::clone(&held), stop.clone()));
        Self { held, stop, beats }
    }

    /// Refuses where another process has taken it. Where it was not written for so long that one may have, it is written anew first; tried
    /// once.
    ///
    /// # Errors
    /// [`BackupError::Locked`]; [`BackupError::S3`] where the server does not say.
    pub(super) async fn check(&self, client: &Client) -> Result<(), BackupError> {
        if self.held.is_relied_on() { Ok(()) } else { self.prove(client).await }
    }

    /// Writes it anew, by which the server says whether it was this process's all the time; tried once.
    ///
    /// # Errors
    /// As [`Lease::check`].
    pub(super) async fn prove(&self, client: &Client) -> Result<(), BackupError> {
        if self.held.renew(client).await? { Ok(()) } else { Err(BackupError::Locked(client.shown(""))) }
    }

    /// Gives it back, if it is still this process's: where the answer to a try was lost, it is looked at before the next one, for it may be
    /// another's by then. Where that fails it stands still, and the next one waits for it.
    pub(super) async fn release(self, client: &Client) {
        self.stop.cancel();
        let given = async {
            drop(self.beats.await);
            while self.held.is_relied_on() && client.delete_once(LOCK_NAME).await.is_err() {
                pause(AGAIN).await;
                if !self.held.is_still_ours(client).await {
                    return;
                }
            }
        };
        drop(tokio::time::timeout(RELEASE, given).await);
    }
}

impl Held {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_relied_on(&self) -> bool {
        let state = self.state();
        !state.is_lost && SystemClock.monotonic().saturating_sub(state.written_at) < TRUST
    }

    /// Whether the server has it as this process wrote it; asked until that is known.
    async fn is_still_ours(&self, client: &Client) -> bool {
        loop {
            match client.get_once(LOCK_NAME).await {
                Ok(found) => return found.is_some_and(|found| is_of(&found.bytes, &self.id)),
                Err(_) => pause(AGAIN).await,
            }
        }
    }

    /// Writes it anew; false where it is another process's, or nobody's. Where that is not known, it is an error.
    async fn renew(&self, client: &Client) -> Result<bool, BackupError> {
        let _renewing = self.renewing.lock().await;
        for _ in 0..TURNS {
            let (etag, beat) = {
                let mut state = self.state();
                if state.is_lost {
                    return Ok(false);
                }
                state.beat = state.beat.saturating_add(1);
                (state.etag.clone(), state.beat)
            };
            let written_at = SystemClock.monotonic();
            if let Put::Done(etag) = client.put_once(LOCK_NAME, &told(&self.id, beat)?, Condition::Is(&etag)).await? {
                let mut state = self.state();
                (state.etag, state.written_at) = (etag, written_at);
                return Ok(true);
            }
            // An earlier beat whose answer was lost has changed it, or another process.
            let found = client.get_once(LOCK_NAME).await?.filter(|found| is_of(&found.bytes, &self.id));
            let mut state = self.state();
            match found {
                Some(found) => state.etag = found.etag,
                None => state.is_lost = true,
            }
        }
        Err(BackupError::Locked(client.shown("")))
    }
}

/// Writes it anew with every beat, until it is to be given back or lost.
async fn beat(client: Arc<Client>, held: Arc<Held>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(BEAT);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // One that fails, or takes longer than it would be good for, is followed by the next.
        let written = tokio::time::timeout(TRUST, held.renew(&client));
        let given_up = async {
            stop.cancelled().await;
            pause(BEAT).await;
        };
        tokio::select! {
            () = given_up => return,
            _ = written => {}
        }
        if held.state().is_lost {
            return;
        }
    }
}

/// Looks whether the writer of the lock lives.
async fn watch(client: &Client, id: &str) -> Result<Watched, BackupError> {
    let Some(first) = client.get(LOCK_NAME).await? else { return Ok(Watched::Gone) };
    if is_of(&first.bytes, id) {
        return Ok(Watched::Free(first.etag));
    }
    for _ in 0..STILL {
        pause(BEAT).await;
        match client.get(LOCK_NAME).await? {
            None => return Ok(Watched::Gone),
            Some(found) if found.bytes != first.bytes => return Ok(Watched::Alive),
            Some(_) => {}
        }
    }
    Ok(Watched::Free(first.etag))
}

/// Sees that the server refuses what it must: a second lock, and to write over one that is not the one that it is told of.
async fn prove_conditional(client: &Client, told: &Bytes) -> Result<(), BackupError> {
    if !client.is_conditional() {
        return Ok(());
    }
    for condition in [Condition::Absent, Condition::Is(NOBODYS)] {
        if matches!(condition, Condition::Is(_)) && fault!("s3-match") {
            continue;
        }
        if let Put::Done(_) = client.put(LOCK_NAME, told, condition).await? {
            client.delete(LOCK_NAME).await?;
            return Err(client.unconditional(LOCK_NAME, "the server writes over what is there although it was told not to").into());
        }
    }
    Ok(())
}

fn told(id: &str, beat: u64) -> Result<Bytes, BackupError> {
    let text = serde_json::to_vec(&Told { id: id.to_owned(), beat }).map_err(|error| BackupError::Fault(error.to_string()))?;
    Ok(text.into())
}

fn is_of(bytes: &[u8], id: &str) -> bool {
    serde_json::from_slice::<Told>(bytes).is_ok_and(|told| told.id == id)
}

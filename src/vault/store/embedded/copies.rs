//! Further copies of the control store: a thread for each brings it along behind the mirror.
//!
//! A commit waits for none of them. Who ends an epoch asks those that are to confirm it, and waits until they have all that was
//! committed before ([`Copies::confirm`]). What a copy fails with is tried again every second; how it is brought along, and what is
//! refused, is in [`mirror`].

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::watch;

use crate::domain::StoreId;

use super::{
    super::StoreError,
    error::OpenError,
    mirror::{self, Follower, State, Way},
    options::{CopyPlace, EmbeddedOptions},
};

/// A copy is looked at as often although nothing is committed.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// What failed is tried again after so long.
const RETRY_EVERY: Duration = Duration::from_secs(1);
const ENDED: &str = "the store is closed";

/// What the copies are to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    /// The last control batch.
    seq: u64,
    /// How often somebody has asked.
    number: u64,
    is_over: bool,
}

/// How far a copy is.
#[derive(Debug, Clone)]
struct Progress {
    seq: u64,
    /// The last question that was answered.
    answered: u64,
    failure: Option<String>,
}

/// One copy.
struct Line {
    /// Its place in the settings, from 1 on.
    number: usize,
    place: CopyPlace,
    progress: watch::Sender<Progress>,
}

/// Tells whoever waits for a copy that its thread has ended, be it by a panic.
struct End<'a>(&'a Line);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.progress.send_modify(|progress| {
            progress.answered = u64::MAX;
            progress.failure.get_or_insert_with(|| ENDED.to_owned());
        });
    }
}

/// All copies of a store.
pub(super) struct Copies {
    options: EmbeddedOptions,
    lines: Vec<Line>,
    asked: Mutex<Asked>,
    changed: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Copies {
    /// Looks where the copies of a store stand whose control store stands at `control`.
    ///
    /// # Errors
    /// [`OpenError::ControlBehindCopy`], [`OpenError::CopyDiverged`], [`OpenError::Foreign`]: nothing may be opened. A copy that cannot be
    /// read is no error: it fails until it can be.
    pub(super) fn of(options: &EmbeddedOptions, store_id: StoreId, control: State) -> Result<Self, OpenError> {
        for CopyPlace { dir, .. } in &options.copies {
            match mirror::standing(dir) {
                Ok((store, _)) if store != store_id => return Err(OpenError::Foreign("a copy of the control store")),
                Ok((_, copy)) if copy.seq > control.seq => {
                    return Err(OpenError::ControlBehindCopy { dir: dir.clone(), control: control.seq, copy: copy.seq });
                }
                Ok((_, copy)) if copy.seq == control.seq && copy.digest != control.digest => {
                    return Err(OpenError::CopyDiverged { dir: dir.clone(), seq: copy.seq });
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "store: a copy of the control store cannot be read"),
            }
        }
        let line = |(place, number): (&CopyPlace, usize)| Line {
            number,
            place: place.clone(),
            progress: watch::Sender::new(Progress { seq: 0, answered: 0, failure: None }),
        };
        Ok(Self {
            options: options.clone(),
            lines: options.copies.iter().zip(1..).map(line).collect(),
            asked: Mutex::new(Asked { seq: control.seq, number: 0, is_over: false }),
            changed: Condvar::new(),
            threads: Mutex::default(),
        })
    }

    /// Starts to bring them along.
    ///
    /// # Errors
    /// Where a thread cannot be had.
    pub(super) fn start(self: &Arc<Self>) -> std::io::Result<()> {
        for place in 0..self.lines.len() {
            let copies = Arc::clone(self);
            let run = move || {
                if let Some(line) = copies.lines.get(place) {
                    copies.run(line);
                }
            };
            let thread = std::thread::Builder::new().name("lethe-copy".into()).spawn(run)?;
            self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(())
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Told behind each control batch that is in the mirror.
    pub(super) fn wrote(&self, seq: u64) {
        if !self.lines.is_empty() {
            self.asked().seq = seq;
            self.changed.notify_all();
        }
    }

    /// Resolves once every copy that is to confirm has what was committed before the call.
    ///
    /// # Errors
    /// [`StoreError::Io`] names the first that has not, though it was tried.
    pub(super) async fn confirm(&self) -> Result<(), StoreError> {
        if !self.lines.iter().any(|line| line.place.confirm) {
            return Ok(());
        }
        let Asked { seq, number, .. } = {
            let mut asked = self.asked();
            asked.number = asked.number.saturating_add(1);
            *asked
        };
        self.changed.notify_all();
        for line in self.lines.iter().filter(|line| line.place.confirm) {
            let mut progress = line.progress.subscribe();
            let settled = progress.wait_for(|progress| progress.seq >= seq || progress.answered >= number).await;
            let (has, failure) = match settled {
                Ok(progress) => (progress.seq, progress.failure.clone()),
                Err(_) => (0, Some(ENDED.to_owned())),
            };
            if has < seq {
                let reason = failure.unwrap_or_else(|| format!("it is at {has}, the control store at {seq}"));
                return Err(StoreError::Io(format!("copy {} of the control store: {reason}", line.number)));
            }
        }
        Ok(())
    }

    /// The first copy that is to confirm and fails, and why.
    pub(super) fn failing(&self) -> Option<(usize, StoreError)> {
        self.lines.iter().filter(|line| line.place.confirm).find_map(|line| {
            let failure = line.progress.borrow().failure.clone()?;
            Some((line.number, StoreError::Io(failure)))
        })
    }

    /// Sets the gauges.
    #[expect(clippy::cast_precision_loss, reason = "metrics are floats; counts stay far below 2^52")]
    pub(super) fn observe(&self) {
        let wanted = self.asked().seq;
        for line in &self.lines {
            let Progress { seq, failure, .. } = line.progress.borrow().clone();
            let copy = line.number.to_string();
            metrics::gauge!("lethe_control_copy_lag_commits", "copy" => copy.clone()).set(wanted.saturating_sub(seq) as f64);
            metrics::gauge!("lethe_control_copy_failing", "copy" => copy).set(if failure.is_some() { 1.0 } else { 0.0 });
        }
    }

    /// Brings every copy along once more and ends. Blocks.
    pub(super) fn stop(&self) {
        self.asked().is_over = true;
        self.changed.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // What it panicked with is told where it did; who waits for it is told that it has ended.
            drop(thread.join());
        }
    }

    /// The next thing that is asked; the same again where nothing was for a while.
    fn next(&self, done: Option<Asked>, patience: Duration) -> Asked {
        let asked = self.asked();
        let Some(done) = done else { return *asked };
        let (asked, _) = self.changed.wait_timeout_while(asked, patience, |asked| *asked == done).unwrap_or_else(PoisonError::into_inner);
        *asked
    }

    fn run(&self, line: &Line) {
        let _end = End(line);
        let way = Way { begins: false, sync: !self.options.danger_skip_sync, companion: self.options.companion };
        let (mut follower, mut done, mut patience): (Option<Follower>, Option<Asked>, Duration) = (None, None, LOOK_EVERY);
        loop {
            let asked = self.next(done, patience);
            let stepped = match &mut follower {
                Some(follower) => follower.step(asked.seq),
                none => Follower::open(&self.options.mirror_dir, &line.place.dir, way).and_then(|made| none.insert(made).step(asked.seq)),
            };
            patience = if stepped.is_ok() { LOOK_EVERY } else { RETRY_EVERY };
            if matches!(stepped, Err(OpenError::CopyMissing(_))) {
                // Its disk is gone; what comes in its place has a lock of its own.
                follower = None;
            }
            Self::tell(line, asked, stepped);
            if asked.is_over {
                return;
            }
            done = Some(asked);
        }
    }

    /// Says how a step went.
    fn tell(line: &Line, asked: Asked, stepped: Result<State, OpenError>) {
        let number = line.number;
        line.progress.send_modify(|progress| {
            progress.answered = asked.number;
            match stepped {
                Ok(state) => {
                    progress.seq = state.seq;
                    if progress.failure.take().is_some() {
                        tracing::warn!(number, seq = state.seq, "store: a copy of the control store is brought along again");
                    }
                }
                Err(error) => {
                    let reason = error.to_string();
                    if progress.failure.as_ref() != Some(&reason) {
                        tracing::error!(number, %error, "store: a copy of the control store fails; it is tried again");
                    }
                    progress.failure = Some(reason);
                }
            }
        });
    }
}

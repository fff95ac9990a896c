//! Further copies of the control store: a thread for each brings it along behind the mirror.
//!
//! A commit waits for none of them. Who ends an epoch asks those that are to confirm it, and waits until they have all that was
//! committed before ([`Copies::confirm`]). What a copy fails with is tried again, ever more rarely, whatever is committed meanwhile, and
//! at once for who asks; how it is brought along, and what is refused, is in [`mirror`].
//!
//! A disk may also do neither, succeed nor fail: a network mount whose server is gone lets every call wait. So nobody waits for a copy
//! for longer than [`EmbeddedOptions::copy_patience`], or, where nobody is held up by it, for longer than it comes on ([`Pulse`]); its
//! thread, which nothing can end, is left behind.

use std::{
    pin::pin,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::watch;

use crate::domain::{Clock, StoreId};

use super::{
    super::StoreError,
    error::{OpenError, at},
    mirror::{self, Follower, State, Way},
    options::{CopyPlace, EmbeddedOptions},
    pulse::Pulse,
};

/// A copy is looked at as often although nothing is committed.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// What failed is tried again after so long, and then after twice as long each time, up to a bound.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(30);
const ENDED: &str = "the store is closed";
const SILENT: &str = "it does not answer";

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
    /// The last question that was answered; behind all of them, once its thread has ended.
    answered: u64,
    failure: Option<String>,
    /// Somebody has waited for it in vain, and it has not answered since.
    is_late: bool,
}

/// One copy.
struct Line {
    /// Its place in the settings, from 1 on.
    number: usize,
    place: CopyPlace,
    progress: watch::Sender<Progress>,
    pulse: Arc<Pulse>,
}

impl Line {
    /// Whether it has what was asked for, or it was tried.
    fn has_answered(progress: &Progress, asked: Asked) -> bool {
        progress.seq >= asked.seq || progress.answered >= asked.number
    }

    fn has_ended(&self) -> bool {
        self.progress.borrow().answered == u64::MAX
    }

    /// That it has not confirmed, and why.
    fn failed(&self, reason: &str) -> StoreError {
        StoreError::Io(format!("copy {} of the control store: {reason}", self.number))
    }
}

/// Tells whoever waits for a copy that its thread has ended, be it by a panic.
struct End<'a>(&'a Copies, &'a Line);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let Self(copies, line) = self;
        line.progress.send_modify(|progress| {
            progress.answered = u64::MAX;
            progress.failure.get_or_insert_with(|| ENDED.to_owned());
        });
        // Who waits for the end looks while it holds this, and hears of it behind that.
        drop(copies.asked());
        copies.changed.notify_all();
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
    /// Looks where the copies of a store stand whose control store stands at `control`, as far as they come on.
    ///
    /// # Errors
    /// [`OpenError::ControlBehindCopy`], [`OpenError::CopyDiverged`], [`OpenError::Foreign`]: nothing may be opened. A copy that cannot be
    /// read, or does not answer, is no error: it fails until it can be.
    pub(super) fn of(options: &EmbeddedOptions, store_id: StoreId, control: State, clock: &Arc<dyn Clock>) -> Result<Self, OpenError> {
        let looks = options.copies.iter().map(|place| Look::begin(place, clock)).collect::<std::io::Result<Vec<_>>>();
        for (CopyPlace { dir, .. }, look) in options.copies.iter().zip(looks.map_err(at("starting threads"))?) {
            match look.standing(options.copy_patience) {
                Some(Ok((store, _))) if store != store_id => return Err(OpenError::Foreign("a copy of the control store")),
                Some(Ok((_, copy))) if copy.seq > control.seq => {
                    return Err(OpenError::ControlBehindCopy { dir: dir.clone(), control: control.seq, copy: copy.seq });
                }
                Some(Ok((_, copy))) if copy.seq == control.seq && copy.digest != control.digest => {
                    return Err(OpenError::CopyDiverged { dir: dir.clone(), seq: copy.seq });
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => tracing::warn!(%error, "store: a copy of the control store cannot be read"),
                None => tracing::error!(dir = %dir.display(), "store: a copy of the control store does not answer; it is not looked at"),
            }
        }
        let line = |(place, number): (&CopyPlace, usize)| Line {
            number,
            place: place.clone(),
            progress: watch::Sender::new(Progress { seq: 0, answered: 0, failure: None, is_late: false }),
            pulse: Arc::new(Pulse::new(Arc::clone(clock))),
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

    fn confirming(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.place.confirm)
    }

    /// Asks all copies to be as far as the mirror is.
    fn ask(&self) -> Asked {
        let asked = {
            let mut asked = self.asked();
            asked.number = asked.number.saturating_add(1);
            *asked
        };
        self.changed.notify_all();
        asked
    }

    /// Resolves once every copy that is to confirm has what was committed before the call. One that was waited for in vain, and has not
    /// answered since, fails at once.
    ///
    /// # Errors
    /// [`StoreError::Io`] names the first that has not, though it was tried, or that does not answer in time.
    pub(super) async fn confirm(&self) -> Result<(), StoreError> {
        if self.confirming().next().is_none() {
            return Ok(());
        }
        let asked = self.ask();
        if let Some(line) = self.confirming().find(|line| self.is_silent(line)) {
            return Err(line.failed(SILENT));
        }
        match tokio::time::timeout(self.options.copy_patience, self.answers(asked)).await {
            Ok(answered) => answered,
            Err(_) => self.confirming().map(|line| Self::late(line, asked)).find(Result::is_err).unwrap_or(Ok(())),
        }
    }

    /// The same for who holds nobody up meanwhile: waits as long as they come on.
    ///
    /// # Errors
    /// As [`Copies::confirm`].
    pub(super) async fn catch_up(&self) -> Result<(), StoreError> {
        let asked = self.ask();
        let mut answers = pin!(self.answers(asked));
        loop {
            if let Ok(answered) = tokio::time::timeout(self.options.copy_patience, answers.as_mut()).await {
                return answered;
            }
            let is_waited_for = |line: &&Line| !Line::has_answered(&line.progress.borrow(), asked);
            if let Some(line) = self.confirming().filter(is_waited_for).find(|line| line.pulse.silence() >= self.options.copy_patience) {
                return Self::late(line, asked);
            }
        }
    }

    /// What the copies that are to confirm answer, however long that takes.
    async fn answers(&self, asked: Asked) -> Result<(), StoreError> {
        for line in self.confirming() {
            let mut progress = line.progress.subscribe();
            let settled = progress.wait_for(|progress| Line::has_answered(progress, asked)).await;
            let (has, failure) = match settled {
                Ok(progress) => (progress.seq, progress.failure.clone()),
                Err(_) => (0, Some(ENDED.to_owned())),
            };
            if has < asked.seq {
                let reason = failure.unwrap_or_else(|| format!("it is at {has}, the control store at {}", asked.seq));
                return Err(line.failed(&reason));
            }
        }
        Ok(())
    }

    /// Remembers that a copy was waited for in vain, unless it has what was asked for by now.
    fn late(line: &Line, asked: Asked) -> Result<(), StoreError> {
        let mut has = false;
        line.progress.send_modify(|progress| {
            has = progress.seq >= asked.seq;
            if !Line::has_answered(progress, asked) {
                if !progress.is_late {
                    tracing::error!(number = line.number, "store: a copy of the control store does not answer; no epoch ends without it");
                }
                progress.is_late = true;
            }
        });
        if has { Ok(()) } else { Err(line.failed(SILENT)) }
    }

    /// Whether nothing has come of a copy for too long.
    fn is_silent(&self, line: &Line) -> bool {
        line.progress.borrow().is_late || line.pulse.silence() >= self.options.copy_patience
    }

    /// Why a copy fails, if it does.
    fn fault(&self, line: &Line) -> Option<String> {
        if self.is_silent(line) { Some(SILENT.to_owned()) } else { line.progress.borrow().failure.clone() }
    }

    /// The first copy that is to confirm and fails, and why.
    pub(super) fn failing(&self) -> Option<(usize, StoreError)> {
        self.confirming().find_map(|line| Some((line.number, StoreError::Io(self.fault(line)?))))
    }

    /// Sets the gauges.
    #[expect(clippy::cast_precision_loss, reason = "metrics are floats; counts stay far below 2^52")]
    pub(super) fn observe(&self) {
        let wanted = self.asked().seq;
        for line in &self.lines {
            let seq = line.progress.borrow().seq;
            let is_failing = self.fault(line).is_some();
            let copy = line.number.to_string();
            metrics::gauge!("lethe_control_copy_lag_commits", "copy" => copy.clone()).set(wanted.saturating_sub(seq) as f64);
            metrics::gauge!("lethe_control_copy_failing", "copy" => copy).set(if is_failing { 1.0 } else { 0.0 });
        }
    }

    /// Brings every copy along once more, as far as each comes in the time that it has, and ends. Blocks for no longer than that.
    pub(super) fn stop(&self) {
        let mut asked = self.asked();
        asked.is_over = true;
        self.changed.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let begun = self.lines.get(..threads.len()).unwrap_or_default();
        let is_at_work = |_: &mut Asked| !begun.iter().all(Line::has_ended);
        let waited = self.changed.wait_timeout_while(asked, self.options.copy_patience, is_at_work);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        for (line, thread) in begun.iter().zip(threads) {
            if line.has_ended() {
                // What it panicked with is told where it did; who waits for it is told that it has ended.
                drop(thread.join());
            } else {
                tracing::error!(number = line.number, "store: a copy of the control store does not answer; its thread is left behind");
            }
        }
    }

    /// The next thing that is asked; the same again where nothing was for a while. What has failed is not tried for each commit: a copy may
    /// have to be read as a whole for it.
    fn next(&self, done: Option<Asked>, failed_for: Option<Duration>) -> Asked {
        let asked = self.asked();
        let Some(done) = done else { return *asked };
        let is_idle = |asked: &mut Asked| match failed_for {
            None => *asked == done,
            Some(_) => (asked.number, asked.is_over) == (done.number, done.is_over),
        };
        let waited = self.changed.wait_timeout_while(asked, failed_for.unwrap_or(LOOK_EVERY), is_idle);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn run(&self, line: &Line) {
        let _end = End(self, line);
        let way = Way { begins: false, sync: !self.options.danger_skip_sync, companion: self.options.companion };
        let (mut follower, mut done, mut failed_for): (Option<Follower>, Option<Asked>, Option<Duration>) = (None, None, None);
        let mut is_doubtful = false;
        let open = |is_doubtful| -> Result<Follower, OpenError> {
            let pulse = Arc::clone(&line.pulse);
            let made = Follower::open(&self.options.mirror_dir, &line.place.dir, way)?;
            Ok(made.doubting(is_doubtful).told_to(move || pulse.beat()))
        };
        loop {
            let asked = self.next(done, failed_for);
            line.pulse.beat();
            let stepped = match &mut follower {
                Some(follower) => follower.step(asked.seq),
                none => open(is_doubtful).and_then(|made| none.insert(made).step(asked.seq)),
            };
            line.pulse.rest();
            failed_for = match (&stepped, failed_for) {
                (Ok(_), _) => None,
                (Err(_), None) => Some(RETRY_FIRST),
                (Err(_), Some(last)) => Some(last.saturating_mul(2).min(RETRY_LAST)),
            };
            if matches!(stepped, Err(OpenError::CopyMissing(_))) {
                // Its disk is gone; what comes in its place has a lock of its own, and may be what a sync has failed on.
                is_doubtful |= follower.take().is_some_and(|gone| gone.is_doubtful());
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
            progress.is_late = false;
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

/// A look at where a copy stands, on a thread of its own, which is left behind where nothing comes of it.
struct Look {
    standing: Receiver<Result<(StoreId, State), OpenError>>,
    pulse: Arc<Pulse>,
}

impl Look {
    fn begin(place: &CopyPlace, clock: &Arc<dyn Clock>) -> std::io::Result<Self> {
        let (told, standing) = sync_channel(1);
        let pulse = Arc::new(Pulse::new(Arc::clone(clock)));
        pulse.beat();
        let (dir, beats) = (place.dir.clone(), Arc::clone(&pulse));
        // Who has begun it may have gone on without it.
        let look = move || drop(told.send(mirror::standing(&dir, || beats.beat())));
        drop(std::thread::Builder::new().name("lethe-copy".into()).spawn(look)?);
        Ok(Self { standing, pulse })
    }

    /// What is found; `None` where nothing has come of it for so long.
    fn standing(&self, patience: Duration) -> Option<Result<(StoreId, State), OpenError>> {
        loop {
            let left = patience.saturating_sub(self.pulse.silence());
            match self.standing.recv_timeout(left) {
                Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
                found => return found.ok(),
            }
        }
    }
}

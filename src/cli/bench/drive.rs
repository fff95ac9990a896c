//! The run: connections that work until the end, each on its own, and one tally for all.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use rand::{SeedableRng as _, rngs::SmallRng};
use rustix::time::{ClockId, clock_gettime};

use super::{
    super::{connection::pause, failure::Failure},
    schedule::{Open, Pace, Schedule},
    tally::{Step, Tally},
    wire::{Target, Trouble, Wire},
    workload::Work,
};
use crate::domain::{Clock as _, SystemClock};

/// How long after the end an answer may still come.
pub(crate) const GRACE: Duration = Duration::from_mins(2);
/// How often a connection that broke is tried again.
const TRIES: u32 = 6;

/// How to drive.
pub(crate) struct Drive {
    pub(crate) connections: usize,
    /// Requests at a time on each connection.
    pub(crate) streams: usize,
    /// Requests per second; closed loop without it.
    pub(crate) rate: Option<f64>,
    pub(crate) warmup: Duration,
    /// After the warm-up; without it until there is nothing left to do.
    pub(crate) duration: Option<Duration>,
    /// Ends it after so many operations.
    pub(crate) operations: Option<u64>,
    /// How long after the end an answer may still come.
    pub(crate) grace: Duration,
    pub(crate) seed: u64,
}

/// What came of it.
pub(crate) struct Measured {
    pub(crate) tally: Tally,
    pub(crate) time: Duration,
    /// Requests that were due and not begun when the end came.
    pub(crate) missed: u64,
    /// Epochs that shreds of persons went with.
    pub(crate) epochs: Option<u64>,
    /// Of one processor, what this process itself took of it meanwhile.
    pub(crate) generator_cpu: f64,
}

/// Opens all connections, then works on all of them. `work` gives what the connection of a number does.
pub(crate) async fn drive(drive: &Drive, target: &Arc<Target>, work: impl Fn(u64) -> Work) -> Result<Measured, Failure> {
    let mut wires = Vec::new();
    for _ in 0..drive.connections {
        wires.extend(Wire::open(target, drive.streams).await.map_err(failure)?);
    }
    let (begin, cpu) = (SystemClock.monotonic(), cpu_time());
    let start = begin.saturating_add(drive.warmup);
    let end = drive.duration.map(|duration| start.saturating_add(duration));
    let open = drive.rate.map(|rate| Open::start(Schedule::new(begin, rate), end.unwrap_or(Duration::MAX)));
    let tally = Arc::new(Mutex::new(Tally::new(start)));
    let left = drive.operations.map(|operations| Arc::new(AtomicU64::new(operations)));
    let workers: Vec<_> = (0_u64..)
        .zip(wires)
        .map(|(number, wire)| {
            let pace = open.as_ref().map_or(Pace::Closed, |open| Pace::Open(Arc::clone(open)));
            let rng = SmallRng::seed_from_u64(drive.seed.wrapping_add(number));
            let worker = Worker { wire, rng, work: work(number), pace, start, end, left: left.clone(), tally: Arc::clone(&tally) };
            target.tasks.spawn(worker.run())
        })
        .collect();
    let stops: Vec<_> = workers.iter().map(tokio::task::JoinHandle::abort_handle).collect();
    let limit = end.map_or(Duration::MAX, |end| end.saturating_sub(begin).saturating_add(drive.grace));
    let ended = tokio::time::timeout(limit, join_all(workers)).await;
    let stuck = stops.iter().filter(|stop| !stop.is_finished()).inspect(|stop| stop.abort()).count();
    let wall = SystemClock.monotonic().saturating_sub(begin).as_secs_f64();
    let generator_cpu = if wall > 0.0 { cpu_time().saturating_sub(cpu).as_secs_f64() / wall } else { 0.0 };
    let missed = open.map_or(0, |open| {
        open.stop();
        open.missed()
    });
    for worker in ended.unwrap_or_default() {
        worker.map_err(|error| Failure::local(format!("a connection's task failed: {error}")))??;
    }
    let mut tally = Arc::try_unwrap(tally).map_or_else(
        // Those that were stopped may still hold it.
        |shared| std::mem::replace(&mut *lock(&shared), Tally::new(start)),
        |tally| tally.into_inner().unwrap_or_else(PoisonError::into_inner),
    );
    (0..stuck).for_each(|_| tally.fail("no-answer"));
    // With nothing but work to end it, the measured time ends with the last operation.
    let planned = if drive.operations.is_some() { None } else { end };
    let time = tally.finish(planned.unwrap_or(start));
    Ok(Measured { tally, time, missed, epochs: None, generator_cpu })
}

/// What this process has taken of processors so far, in user space and in the kernel.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap_or_default()
}

/// As the failure of the whole command.
pub(crate) fn failure(trouble: Trouble) -> Failure {
    match trouble {
        Trouble::Refused(problem) => Failure::Refused(problem),
        Trouble::Wrong(code) => Failure::Unreachable(format!("the answer is not that of a Lethe server: {code}")),
        Trouble::Broken(text) => Failure::Unreachable(text),
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request at a time, over and over.
struct Worker {
    wire: Wire,
    rng: SmallRng,
    work: Work,
    pace: Pace,
    start: Duration,
    end: Option<Duration>,
    left: Option<Arc<AtomicU64>>,
    tally: Arc<Mutex<Tally>>,
}

/// When a request is due.
enum Due {
    Now,
    At(Duration),
}

impl Worker {
    async fn run(mut self) -> Result<(), Failure> {
        while let Some(due) = self.next().await {
            let Some(step) = self.work.step(&mut self.wire, &mut self.rng).await else { break };
            let due = match due {
                Due::Now => None,
                Due::At(due) => Some(due),
            };
            lock(&self.tally).record(&step, due);
            self.mend(step).await?;
        }
        Ok(())
    }

    /// Waits for the next request; nothing once the end has come.
    async fn next(&self) -> Option<Due> {
        let due = match &self.pace {
            Pace::Closed if self.end.is_some_and(|end| SystemClock.monotonic() >= end) => return None,
            Pace::Closed => Due::Now,
            // It looks at the end by itself, and counts what came too late.
            Pace::Open(open) => Due::At(open.next().await?),
        };
        let now = SystemClock.monotonic();
        if let Some(left) = self.left.as_ref().filter(|_| now >= self.start) {
            let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            if taken.is_err() {
                if let Pace::Open(open) = &self.pace {
                    open.stop();
                }
                return None;
            }
        }
        Some(due)
    }

    /// Opens the connection anew if it broke.
    async fn mend(&mut self, step: Step) -> Result<(), Failure> {
        let Err(Trouble::Broken(_)) = step.result else { return Ok(()) };
        let mut tries = 0_u32;
        while let Err(trouble) = self.wire.reopen().await {
            tries = tries.saturating_add(1);
            if tries >= TRIES {
                return Err(failure(trouble));
            }
            pause(Duration::from_millis(50_u64.saturating_mul(1 << tries))).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::{
        super::{
            choose::{Keys, LenDist, Population},
            records::{Mix, Mixed, Records},
            wire::HttpVersion,
        },
        *,
    };
    use crate::server::Tasks;

    #[tokio::test]
    async fn who_gets_no_answer_is_stopped_and_counted() {
        // It takes connections, and nobody looks at them.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Arc::new(Target {
            scheme: "http".into(),
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
            authority: "127.0.0.1".into(),
            base: String::new(),
            tls: None,
            version: HttpVersion::One,
            token: HeaderValue::from_static("Bearer x"),
            tasks: Tasks::default(),
        });
        let records = Arc::new(Records {
            tenant_path: "/v1/tenants/t".into(),
            collection: "c".into(),
            seed: 1,
            value_len: 100,
            value_dist: LenDist::Fixed,
            group_len: None,
            by_group: false,
            run: String::new(),
            run_from: 0,
        });
        let mixed = Mixed { records, population: Arc::new(Population::new(1)), keys: Keys::Uniform, mix: Mix::READS };
        let for_a_second = Drive {
            connections: 3,
            streams: 1,
            rate: None,
            warmup: Duration::ZERO,
            duration: Some(Duration::from_secs(1)),
            operations: None,
            grace: Duration::ZERO,
            seed: 1,
        };
        let measured = drive(&for_a_second, &target, |_| Work::Mixed(mixed.clone())).await.unwrap();
        assert_eq!(measured.tally.errors, [("no-answer".to_owned(), 3)].into());
        assert_eq!(measured.tally.total(|part| part.operations), 0);
    }
}

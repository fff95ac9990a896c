//! What was measured: latencies of each kind of operation, errors by code, and a row for each second.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{
    numbers::{float, nanos},
    wire::Trouble,
};

/// Latencies are told apart up to an hour.
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;
/// Codes of errors that are told apart.
const CODES_MAX: usize = 64;

/// What kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Op {
    /// GET of a record.
    Read,
    /// PUT of a record that is there, or may be.
    Update,
    /// PUT of a new record.
    Insert,
    /// GET and PUT of the same record, counted as one.
    ReadModifyWrite,
    /// A list of a group's names.
    List,
    /// A batch of new records.
    ImportBatch,
    /// PUT of a large value.
    StreamPut,
    /// GET of a large value.
    StreamGet,
    /// From the order to the certificate.
    ShredSubject,
    /// The same for a tenant.
    ShredTenant,
}

/// One operation, done or failed.
#[derive(Debug)]
pub(crate) struct Step {
    /// What kind.
    pub(crate) op: Op,
    /// When the measured part began.
    pub(crate) begun: Duration,
    /// When it ended.
    pub(crate) ended: Duration,
    /// Records, names or orders that it was about.
    pub(crate) items: u64,
    /// Bytes of values.
    pub(crate) bytes: u64,
    /// How it ended.
    pub(crate) result: Result<(), Trouble>,
}

/// Percentiles in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Latency {
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    #[serde(rename = "p99.9")]
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// One second of the measured time.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Second {
    /// Since the end of the warm-up.
    #[serde(rename = "second")]
    pub(crate) number: u64,
    pub(crate) operations: u64,
    pub(crate) errors: u64,
    #[serde(flatten)]
    pub(crate) latency: Latency,
}

/// All operations of one kind.
pub(crate) struct Part {
    latencies: Histogram<u64>,
    pub(crate) operations: u64,
    pub(crate) items: u64,
    pub(crate) bytes: u64,
    /// The time that the operations took, added up.
    pub(crate) busy: Duration,
}

/// Everything since the end of the warm-up.
pub(crate) struct Tally {
    start: Duration,
    last: Duration,
    pub(crate) parts: BTreeMap<Op, Part>,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) series: Vec<Second>,
    second: Histogram<u64>,
    second_errors: u64,
}

fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, LATENCY_MAX_NS, digits)
        .expect("the bounds are constants, and the highest is more than twice the lowest")
}

impl Latency {
    fn of(latencies: &Histogram<u64>) -> Self {
        if latencies.is_empty() {
            return Self::default();
        }
        let micros = |nanos: u64| float(nanos) / 1_000.0;
        let at = |quantile: f64| micros(latencies.value_at_quantile(quantile));
        Self { mean: latencies.mean() / 1_000.0, p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: micros(latencies.max()) }
    }
}

impl Part {
    fn new() -> Self {
        Self { latencies: histogram(3), operations: 0, items: 0, bytes: 0, busy: Duration::ZERO }
    }

    /// Its percentiles.
    pub(crate) fn latency(&self) -> Latency {
        Latency::of(&self.latencies)
    }
}

impl Tally {
    /// What begins before `start` is warm-up.
    pub(crate) fn new(start: Duration) -> Self {
        Self {
            start,
            last: start,
            parts: BTreeMap::new(),
            errors: BTreeMap::new(),
            series: Vec::new(),
            second: histogram(2),
            second_errors: 0,
        }
    }

    /// Counts an operation; one that was `due` takes its time from then. Of an open loop all count that end after the
    /// warm-up, or a server that cannot keep up would seem to do nothing; of a closed one those that begin after it.
    pub(crate) fn record(&mut self, step: &Step, due: Option<Duration>) {
        let counts_from = if due.is_some() { step.ended } else { step.begun };
        if counts_from < self.start {
            return;
        }
        let (begun, now) = (due.unwrap_or(step.begun), step.ended);
        self.turn(now);
        self.last = self.last.max(now);
        if let Err(trouble) = &step.result {
            self.fail(&trouble.code());
            return;
        }
        let took = now.saturating_sub(begun);
        let part = self.parts.entry(step.op).or_insert_with(Part::new);
        part.latencies.saturating_record(nanos(took));
        part.operations = part.operations.saturating_add(1);
        part.items = part.items.saturating_add(step.items);
        part.bytes = part.bytes.saturating_add(step.bytes);
        part.busy = part.busy.saturating_add(took);
        self.second.saturating_record(nanos(took));
    }

    /// Counts an error that belongs to no operation that ended.
    pub(crate) fn fail(&mut self, code: &str) {
        self.second_errors = self.second_errors.saturating_add(1);
        let code = if self.errors.len() >= CODES_MAX && !self.errors.contains_key(code) { "other" } else { code };
        let count = self.errors.entry(code.to_owned()).or_default();
        *count = count.saturating_add(1);
    }

    /// Closes the seconds that are over; one in which nothing ended has a row too.
    fn turn(&mut self, now: Duration) {
        let current = now.saturating_sub(self.start).as_secs();
        while (self.series.len() as u64) < current {
            self.close_second();
        }
    }

    fn close_second(&mut self) {
        self.series.push(Second {
            number: (self.series.len() as u64).saturating_add(1),
            operations: self.second.len(),
            errors: self.second_errors,
            latency: Latency::of(&self.second),
        });
        self.second.reset();
        self.second_errors = 0;
    }

    /// Ends it at `end`, or when the last operation ended; gives the measured time.
    pub(crate) fn finish(&mut self, end: Duration) -> Duration {
        let end = end.max(self.last);
        self.turn(end);
        // The rest of a second has a row where it holds something and there is no whole one, or an error would be lost.
        if !self.second.is_empty() || self.second_errors > 0 {
            self.close_second();
        }
        end.saturating_sub(self.start)
    }

    /// The percentiles of all kinds together.
    pub(crate) fn latency(&self) -> Latency {
        let mut all = histogram(3);
        for part in self.parts.values() {
            // Of one shape, so that nothing is out of range.
            let _ = all.add(&part.latencies);
        }
        Latency::of(&all)
    }

    /// A total over all kinds.
    pub(crate) fn total(&self, of: impl Fn(&Part) -> u64) -> u64 {
        self.parts.values().map(of).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(begun: Duration, ended: Duration, result: Result<(), Trouble>) -> Step {
        Step { op: Op::Read, begun, ended, items: 1, bytes: 10, result }
    }

    const START: Duration = Duration::from_secs(100);

    fn at(millis: u64) -> Duration {
        START.saturating_add(Duration::from_millis(millis))
    }

    fn before(millis: u64) -> Duration {
        START.saturating_sub(Duration::from_millis(millis))
    }

    #[test]
    fn the_warm_up_is_not_counted_and_errors_are_no_operations() {
        let mut tally = Tally::new(START);
        tally.record(&step(before(1), at(5), Ok(())), None);
        tally.record(&step(at(0), at(2), Ok(())), None);
        tally.record(&step(at(0), at(3), Err(Trouble::Wrong("wrong-bytes"))), None);
        assert_eq!(tally.finish(at(1_000)), Duration::from_secs(1));
        assert_eq!((tally.total(|part| part.operations), tally.total(|part| part.bytes)), (1, 10));
        assert_eq!(tally.errors, BTreeMap::from([("wrong-bytes".to_owned(), 1)]));
        assert!((tally.latency().p99 - 2_000.0).abs() < 10.0, "{:?}", tally.latency());
        assert_eq!(tally.series.len(), 1);
    }

    #[test]
    fn a_request_that_waited_for_a_connection_counts_from_when_it_was_due() {
        let mut tally = Tally::new(START);
        tally.record(&step(at(900), at(901), Ok(())), Some(at(100)));
        // Due in the warm-up, and done only now: the server is behind, which must show.
        tally.record(&step(at(901), at(902), Ok(())), Some(before(1_000)));
        tally.record(&step(before(2), before(1), Ok(())), Some(before(3)));
        tally.finish(at(1_000));
        assert_eq!(tally.total(|part| part.operations), 2);
        let latency = tally.latency();
        assert!((latency.p50 - 801_000.0).abs() < 1_000.0 && (latency.max - 1_902_000.0).abs() < 2_000.0, "{latency:?}");
    }

    #[test]
    fn a_second_in_which_nothing_ended_has_a_row() {
        let mut tally = Tally::new(START);
        tally.record(&step(at(10), at(20), Ok(())), None);
        tally.record(&step(at(30), at(3_500), Ok(())), None);
        tally.finish(at(3_600));
        let rows: Vec<(u64, u64)> = tally.series.iter().map(|row| (row.number, row.operations)).collect();
        assert_eq!(rows, [(1, 1), (2, 0), (3, 0), (4, 1)]);
        assert!(tally.series[3].latency.max > 3_000_000.0);
    }

    #[test]
    fn foreign_codes_do_not_grow_without_bound() {
        let mut tally = Tally::new(START);
        (0..1_000).for_each(|number| tally.fail(&format!("code-{number}")));
        assert_eq!(tally.errors.len(), CODES_MAX + 1);
        assert_eq!(tally.errors.values().sum::<u64>(), 1_000);
    }
}

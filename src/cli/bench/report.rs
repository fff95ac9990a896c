//! What a run says: a table for people, one JSON document for programs.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{
    super::{
        failure::Failure,
        output::{Format, Output},
    },
    args::Args,
    drive::Measured,
    numbers::{float, per_second},
    tally::{Latency, Op, Part, Second},
    wire::HttpVersion,
};

/// All of a run. Its fields are stable: scripts read them.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) workload: String,
    #[serde(rename = "loop")]
    pub(crate) loop_kind: &'static str,
    rate_per_s: Option<f64>,
    connections: u16,
    streams: u16,
    http: u8,
    tls: bool,
    records: u64,
    value_len_bytes: u64,
    value_dist: String,
    keys: Option<String>,
    seed: u64,
    warmup_s: f64,
    pub(crate) duration_s: f64,
    load: Option<Loaded>,
    pub(crate) operations: u64,
    pub(crate) throughput_per_s: f64,
    /// Records, names or orders; the same as operations but for batches and lists.
    items: u64,
    items_per_s: f64,
    bytes: u64,
    bytes_per_s: f64,
    /// Requests of an open loop that were due and not begun at the end.
    missed: u64,
    /// Epochs that the shreds of persons went with.
    #[serde(skip_serializing_if = "Option::is_none")]
    epochs: Option<u64>,
    /// The generator's own share of a processor: near its number of threads, it is the generator that is measured.
    generator_cpu: f64,
    errors: Errors,
    latency_us: Latency,
    by_operation: BTreeMap<Op, OfOp>,
    pub(crate) series: Vec<Second>,
}

#[derive(Debug, Serialize)]
struct Errors {
    total: u64,
    by_code: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
struct OfOp {
    operations: u64,
    throughput_per_s: f64,
    items: u64,
    bytes: u64,
    /// Of one transfer while it runs.
    bytes_per_busy_s: f64,
    latency_us: Latency,
}

/// What the load phase did.
#[derive(Debug, Serialize)]
pub(crate) struct Loaded {
    records: u64,
    seconds: f64,
    records_per_s: f64,
}

impl Loaded {
    pub(crate) fn new(records: u64, time: Duration) -> Self {
        Self { records, seconds: time.as_secs_f64(), records_per_s: per_second(records, time) }
    }

    /// In one line.
    pub(crate) fn line(&self) -> String {
        format!("loaded {} records in {:.1} s, {:.0}/s", self.records, self.seconds, self.records_per_s)
    }
}

fn name(value: &impl clap::ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

impl Report {
    pub(crate) fn new(args: &Args, tls: bool, warmup: Duration, load: Option<Loaded>, measured: Measured) -> Self {
        let Measured { tally, time, missed, epochs, generator_cpu } = measured;
        let (operations, items) = (tally.total(|part| part.operations), tally.total(|part| part.items));
        let bytes = tally.total(|part| part.bytes);
        let latency_us = tally.latency();
        let by_operation = tally.parts.iter().map(|(op, part)| (*op, OfOp::new(part, time))).collect();
        Self {
            workload: name(&args.workload),
            loop_kind: if args.rate.is_some() { "open" } else { "closed" },
            rate_per_s: args.rate,
            connections: args.connections(),
            streams: args.streams,
            http: if args.http == HttpVersion::One { 1 } else { 2 },
            tls,
            records: args.records(),
            value_len_bytes: args.value_len(),
            value_dist: name(&args.value_dist),
            keys: args.workload.mix().map(|(_, usual)| name(&args.keys.unwrap_or(usual))),
            seed: args.seed,
            warmup_s: warmup.as_secs_f64(),
            duration_s: time.as_secs_f64(),
            load,
            operations,
            throughput_per_s: per_second(operations, time),
            items,
            items_per_s: per_second(items, time),
            bytes,
            bytes_per_s: per_second(bytes, time),
            missed,
            epochs,
            generator_cpu,
            errors: Errors { total: tally.errors.values().fold(0, |sum, count| sum.saturating_add(*count)), by_code: tally.errors },
            latency_us,
            by_operation,
            series: tally.series,
        }
    }

    /// Says it.
    pub(crate) fn tell(&self, out: &mut Output) -> Result<(), Failure> {
        if out.format() == Format::Json {
            let document = serde_json::to_value(self).map_err(|error| Failure::local(error.to_string()))?;
            return out.json(&document);
        }
        let mut lines = vec![self.title()];
        lines.extend(self.load.as_ref().map(Loaded::line));
        lines.push(format!(
            "{:.0} operations/s, {:.0} items/s, {:.1} MB/s; {} operations in {:.1} s",
            self.throughput_per_s,
            self.items_per_s,
            self.bytes_per_s / 1e6,
            self.operations,
            self.duration_s
        ));
        if self.missed > 0 {
            lines.push(format!("{} requests were due and never begun: the server cannot keep up with this rate", self.missed));
        }
        out.write(format!("{}\n", lines.join("\n")).as_bytes())?;
        let all = (self.by_operation.len() > 1).then(|| row("all", self.operations, &self.latency_us));
        let rows: Vec<Vec<String>> = self
            .by_operation
            .iter()
            .map(|(op, of)| {
                row(
                    &serde_json::to_value(op).ok().and_then(|op| op.as_str().map(str::to_owned)).unwrap_or_default(),
                    of.operations,
                    &of.latency_us,
                )
            })
            .chain(all)
            .collect();
        out.table(&["operation", "count", "mean ms", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"], &rows)?;
        let codes: Vec<String> = self.errors.by_code.iter().map(|(code, count)| format!("{count} {code}")).collect();
        let codes = if codes.is_empty() { "none".to_owned() } else { codes.join(", ") };
        out.write(format!("errors: {codes}\n").as_bytes())
    }

    /// What was measured, in one line.
    pub(crate) fn title(&self) -> String {
        let pace = self.rate_per_s.map_or_else(|| "closed loop".to_owned(), |rate| format!("open loop at {rate}/s"));
        let tls = if self.tls { " over TLS" } else { "" };
        format!(
            "{}: {} records, values of {} bytes ({}), {} connections, HTTP/{}{tls}, {pace}",
            self.workload, self.records, self.value_len_bytes, self.value_dist, self.connections, self.http
        )
    }

    /// Whether all went well; otherwise how the command ends.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        if self.errors.total == 0 {
            return Ok(());
        }
        let lost = |code: &String| code == "connection-broken" || code == "no-answer";
        let code = if self.errors.by_code.keys().all(lost) { super::super::failure::UNREACHABLE } else { super::super::failure::REFUSED };
        Err(Failure::Reported(code))
    }
}

impl OfOp {
    fn new(part: &Part, time: Duration) -> Self {
        Self {
            operations: part.operations,
            throughput_per_s: per_second(part.operations, time),
            items: part.items,
            bytes: part.bytes,
            bytes_per_busy_s: if part.busy.is_zero() { 0.0 } else { float(part.bytes) / part.busy.as_secs_f64() },
            latency_us: part.latency(),
        }
    }
}

fn row(name: &str, operations: u64, latency: &Latency) -> Vec<String> {
    let millis = |micros: f64| format!("{:.3}", micros / 1_000.0);
    let Latency { mean, p50, p90, p99, p999, max } = *latency;
    [name.to_owned(), operations.to_string()].into_iter().chain([mean, p50, p90, p99, p999, max].map(millis)).collect()
}

//! The rows of the table, group by group.
#![expect(clippy::indexing_slicing, reason = "a missing field of a JSON value is null, and arrays of three are indexed by which server")]

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde_json::Value;

use crate::{
    figures::{Goal, Row, median},
    scale::Scale,
    servers::{self, Serving, resident, rest, run},
};

/// Runs in which a rate may come to stand still, and by how much it may still move then.
const SETTLE_RUNS: usize = 8;
const SETTLED: f64 = 0.05;
/// How often bytes of a log are counted that may begin anew meanwhile.
const COUNTS: usize = 3;
/// Units by which memory is told.
const MILLION: u64 = 1_000_000;

/// Measures group after group and keeps the rows.
pub(crate) struct Session<'a> {
    top: &'a Path,
    scale: Scale,
    only: Vec<String>,
    plots: Option<PathBuf>,
    pub(crate) rows: Vec<Row>,
}

/// A group of rows, by its name.
type Group<'a> = (&'static str, fn(&mut Session<'a>, &mut Three));

/// The three kinds of server, all at work, all loaded with the same records.
struct Three {
    memory: Serving,
    rocks: Serving,
    lethe: Serving,
}

/// Which of them take part in a row.
#[derive(Clone, Copy)]
struct Turn<'a> {
    memory: Option<&'a Serving>,
    base: &'a Serving,
    lethe: &'a Serving,
}

impl Three {
    fn all(&self) -> Turn<'_> {
        Turn { memory: Some(&self.memory), base: &self.rocks, lethe: &self.lethe }
    }

    fn two(&self) -> Turn<'_> {
        Turn { memory: None, ..self.all() }
    }
}

impl Turn<'_> {
    /// Until no turn's flushes and compactions run on into another's.
    fn rest(&self) {
        rest(&[self.base, self.lethe]);
    }
}

fn throughput(report: &Value) -> f64 {
    report["throughput_per_s"].as_f64().unwrap_or(0.0)
}

fn p99_millis(report: &Value) -> f64 {
    report["latency_us"]["p99"].as_f64().unwrap_or(0.0) / 1_000.0
}

fn p50_millis(report: &Value) -> f64 {
    report["latency_us"]["p50"].as_f64().unwrap_or(0.0) / 1_000.0
}

fn errors(report: &Value) -> u64 {
    report["errors"]["total"].as_u64().unwrap_or(1) + missed(report)
}

/// Requests of an open loop that were due and never begun, if they are more than connections may have been about to begin at the end, and
/// than one in a thousand: with those left out a p99 is none.
fn missed(report: &Value) -> u64 {
    if report["loop"] != "open" {
        return 0;
    }
    let of = |name: &str| report[name].as_u64().unwrap_or(0);
    let allowed = of("connections").max((of("operations") + of("missed")) / 1_000);
    if of("missed") > allowed { of("missed") } else { 0 }
}

/// The share of a processor that the generator took.
fn generator(report: &Value) -> f64 {
    report["generator_cpu"].as_f64().unwrap_or(0.0)
}

/// Runs `lethe bench` against a server, as its tenant's owner; gives its report.
fn bench(server: &Serving, arguments: &[&str]) -> Value {
    bench_as(server, "bench", server.token.as_deref(), arguments)
}

fn bench_as(server: &Serving, tenant: &str, token: Option<&Path>, arguments: &[&str]) -> Value {
    let output = begin(server, tenant, token, arguments).wait_with_output().expect("it ends");
    finish(&output, arguments)
}

fn begin(server: &Serving, tenant: &str, token: Option<&Path>, arguments: &[&str]) -> Child {
    let mut command = server.client(token);
    command.env("LETHE_TENANT", tenant).arg("bench").args(arguments).args(["--format", "json"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a process")
}

fn finish(output: &std::process::Output, arguments: &[&str]) -> Value {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    if !output.status.success() {
        eprintln!("lethe bench {arguments:?}: {} {}", report["errors"], String::from_utf8_lossy(&output.stderr));
    }
    report
}

/// Stores the records `0..records`; what that set going is over when it returns.
fn load(server: &Serving, records: u64) {
    load_as(server, "bench", server.token.as_deref(), records);
    server.rest();
}

/// Stores the records `0..records` of a tenant: without them there is nothing to measure.
fn load_as(server: &Serving, tenant: &str, token: Option<&Path>, records: u64) {
    let arguments = ["get", "--load", "only", "--records", &records.to_string()];
    let output = begin(server, tenant, token, &arguments).wait_with_output().expect("it ends");
    assert!(output.status.success(), "{records} records could not be stored: {}", String::from_utf8_lossy(&output.stderr));
}

/// Reads until the rate stands still.
fn settle(server: &Serving, reads: &[&str]) {
    let mut before = 0.0;
    for _ in 0..SETTLE_RUNS {
        let rate = throughput(&bench(server, reads));
        if (rate - before).abs() <= before * SETTLED {
            return;
        }
        before = rate;
    }
    eprintln!("the rate of reads has not come to stand still: {before:.0}/s at last");
}

impl<'a> Session<'a> {
    /// Stores lie in `top`; plots go below `write`, where it is given.
    pub(crate) fn new(top: &'a Path, scale: Scale, only: Vec<String>, write: Option<&Path>) -> Self {
        let plots = write.map(|dir| dir.join("performance"));
        if let Some(plots) = &plots {
            std::fs::create_dir_all(plots).expect("a directory for plots");
        }
        Self { top, scale, only, plots, rows: Vec::new() }
    }

    /// All groups; after each of them `so_far` is told the rows that there are.
    pub(crate) fn run(&mut self, so_far: impl Fn(&[Row])) {
        let lethe = servers::lethe(&self.top.join("lethe"), "", false);
        let idle = lethe.resident();
        let memory = servers::baseline("memory", &self.top.join("memory"));
        let mut three = Three { memory, rocks: servers::baseline("rocks", &self.top.join("rocks")), lethe };
        for server in [&three.memory, &three.rocks, &three.lethe] {
            self.load(server);
        }
        if self.wants("memory") {
            let records = self.scale.records;
            self.own("resident memory, idle".into(), "MiB", vec![idle], Goal::AtMost(64.0));
            let what = format!("the same behind the load of {records} units and records");
            self.own(what, "MiB", vec![three.lethe.resident()], Goal::Stated);
        }
        // What is among so many units or records comes before what adds to them.
        let groups: [Group<'a>; 13] = [
            ("get", Self::get),
            ("put", Self::put),
            ("ycsb", Self::ycsb),
            ("memory", Self::memory_full),
            ("start", Self::start),
            ("shred subject", Self::shred_subject),
            ("shred tenant", Self::shred_tenant),
            ("list", Self::list),
            ("import", Self::import),
            ("stream", Self::stream),
            ("cold", Self::cold),
            ("tls", Self::tls),
            ("memory behind all", Self::memory),
        ];
        for (name, group) in groups {
            if self.wants(name) {
                eprintln!("{name}");
                // None bears what the one before it left to be done.
                three.rocks.rest();
                three.lethe.rest();
                group(self, &mut three);
                so_far(&self.rows);
            }
        }
        // The memory and the disk are for the stores that grow now.
        drop(three);
        for name in ["memory", "rocks", "lethe"] {
            std::fs::remove_dir_all(self.top.join(name)).expect("a directory that no server has any more");
        }
        if self.wants("growth") {
            eprintln!("growth");
            self.growth();
            so_far(&self.rows);
        }
    }

    /// What the server has come to need once its caches are full.
    fn memory_full(&mut self, three: &mut Three) {
        if !self.only.is_empty() {
            // Nothing may have been read or written yet.
            let (records, secs) = (self.scale.records.to_string(), (self.scale.secs * 5.0).to_string());
            for workload in ["get", "put", "ycsb-c"] {
                bench(&three.lethe, &[workload, "--load", "never", "--records", &records, "--duration", &secs]);
            }
        }
        let records = self.scale.records;
        let what = format!("resident memory with {records} units and records, behind reads and writes of them");
        self.own(what, "MiB", vec![three.lethe.resident()], Goal::AtMost(400.0));
    }

    /// How soon a server that was killed is there again. Its store has the records of the load, and the writes of the groups before.
    fn start(&mut self, three: &mut Three) {
        let starts: Vec<f64> = (0..self.scale.rounds).map(|_| three.lethe.kill_and_start()).collect();
        let records = self.scale.records;
        self.own(format!("start after kill -9 of a store with {records} records"), "s", starts, Goal::AtMost(2.0));
        assert_eq!(errors(&bench(&three.lethe, &["get", "--records", &records.to_string(), "--operations", "100"])), 0);
    }

    /// What the one server that most groups were measured with has come to need: its store has what they left.
    fn memory(&mut self, three: &mut Three) {
        self.own("resident memory behind all of the above".into(), "MiB", vec![three.lethe.resident()], Goal::Stated);
        let starts: Vec<f64> = (0..self.scale.rounds).map(|_| three.lethe.kill_and_start()).collect();
        self.own("start after kill -9 behind all of the above".into(), "s", starts, Goal::Stated);
    }

    fn wants(&self, group: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| group.contains(only.as_str()))
    }

    fn load(&self, server: &Serving) {
        load(server, self.scale.records);
    }

    /// Keeps a row, and tells it: a run of an hour shows how far it is.
    fn keep(&mut self, row: Row) {
        eprintln!("{}", row.line());
        self.rows.push(row);
    }

    fn own(&mut self, what: String, unit: &'static str, lethe: impl Into<Figures>, goal: Goal) {
        let Figures { values: lethe, errors, generator } = lethe.into();
        self.keep(Row { what, unit, memory: Vec::new(), base: Vec::new(), lethe, goal, errors, generator });
    }

    fn against(&mut self, what: String, unit: &'static str, base: impl Into<Figures>, lethe: impl Into<Figures>, goal: Goal) {
        let (base, lethe) = (base.into(), lethe.into());
        let (errors, generator) = (base.errors + lethe.errors, base.generator.max(lethe.generator));
        self.keep(Row { what, unit, memory: Vec::new(), base: base.values, lethe: lethe.values, goal, errors, generator });
    }

    /// Several rounds of one workload, the servers by turns; gives Lethe's median.
    fn turns(
        &mut self,
        what: &str,
        unit: &'static str,
        turn: Turn<'_>,
        arguments: &[&str],
        measure: impl Fn(&Value) -> f64,
        goal: Goal,
    ) -> f64 {
        let timed = self.timed(arguments);
        let timed: Vec<&str> = timed.iter().map(String::as_str).collect();
        let writes = !matches!(arguments.first(), Some(&("get" | "ycsb-c")));
        let (memory, base, lethe) = (Vec::new(), Vec::new(), Vec::new());
        let mut row = Row { what: what.into(), unit, memory, base, lethe, goal, errors: 0, generator: 0.0 };
        turn.rest();
        for round in 0..self.scale.rounds {
            let mut order = [(0, turn.memory), (1, Some(turn.base)), (2, Some(turn.lethe))];
            // Who goes first may meet a colder machine.
            if round % 2 == 1 {
                order.reverse();
            }
            for (which, server) in order {
                let Some(server) = server else { continue };
                if writes {
                    turn.rest();
                }
                let report = bench(server, &timed);
                row.errors += errors(&report);
                row.generator = row.generator.max(generator(&report));
                [&mut row.memory, &mut row.base, &mut row.lethe][which].push(measure(&report));
            }
        }
        let own = median(&row.lethe).unwrap_or(0.0);
        self.keep(row);
        own
    }

    /// A workload for as long as a turn of this scale, on the records of the load unless it says others.
    fn timed(&self, arguments: &[&str]) -> Vec<String> {
        let (secs, warmup, records) = (self.scale.secs.to_string(), self.scale.warmup_secs.to_string(), self.scale.records.to_string());
        let mut timed: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        timed.extend(["--duration", &secs, "--warmup", &warmup, "--load", "never"].map(str::to_owned));
        if !arguments.contains(&"--records") {
            timed.extend(["--records".to_owned(), records]);
        }
        timed
    }

    fn get(&mut self, three: &mut Three) {
        let peak = self.turns("GET 1 KiB, 32 connections", "1/s", three.all(), &["get"], throughput, Goal::RatioAtLeast(0.7));
        let half = (peak / 2.0).max(1.0).to_string();
        let open = ["get", "--rate", &half];
        self.turns("the same, p99 at half of the peak", "ms", three.two(), &open, p99_millis, Goal::RatioAtMost(2.0));
        self.plot(&three.lethe, "get");
        let reads = 5_000.0_f64.min(self.scale.secs * peak);
        let each = bytes_of_reads(&three.lethe, self.scale.records.min(1_000), reads);
        self.own("write-ahead log of each read, with its audit entry".into(), "bytes", each, Goal::AtMost(200.0));
        let durable = servers::lethe(&self.top.join("durable"), "[audit]\nreads = \"durable\"\n", false);
        let rocks = servers::baseline("rocks", &self.top.join("durable-rocks"));
        load(&durable, self.scale.aside);
        load(&rocks, self.scale.aside);
        let turn = Turn { memory: None, base: &rocks, lethe: &durable };
        let records = self.scale.aside.to_string();
        let reads = ["get", "--records", &records];
        self.turns("GET 1 KiB, 32 connections, audit.reads = durable", "1/s", turn, &reads, throughput, Goal::RatioAtLeast(0.25));
        let each = bytes_of_reads(&durable, self.scale.aside.min(1_000), 5_000.0_f64.min(self.scale.secs * peak));
        self.own("write-ahead log of each read, audit.reads = durable".into(), "bytes", each, Goal::Stated);
    }

    fn put(&mut self, three: &mut Three) {
        let peak = self.turns("durable PUT 1 KiB, 32 connections", "1/s", three.all(), &["put"], throughput, Goal::RatioAtLeast(0.7));
        let many = ["put", "--connections", "256"];
        let goal = Goal::RatioAtLeast(0.7);
        self.turns("the same, 256 connections", "1/s", three.all(), &many, throughput, goal);
        self.put_by_many(&three.lethe);
        let half = (peak / 2.0).max(1.0).to_string();
        self.turns("PUT, p99 at half of the peak", "ms", three.two(), &["put", "--rate", &half], p99_millis, Goal::RatioAtMost(2.0));
        self.plot(&three.lethe, "put");
    }

    /// Lethe beside itself, within a round.
    fn put_by_many(&mut self, lethe: &Serving) {
        let (mut few, mut many) = (Figures::default(), Figures::default());
        for round in 0..self.scale.rounds {
            let mut order = [("32", &mut few), ("256", &mut many)];
            if round % 2 == 1 {
                order.reverse();
            }
            for (connections, figures) in order {
                lethe.rest();
                let timed = self.timed(&["put", "--connections", connections]);
                let timed: Vec<&str> = timed.iter().map(String::as_str).collect();
                figures.add(&bench(lethe, &timed), throughput);
            }
        }
        self.against("Lethe's PUT with 256 connections beside 32".into(), "1/s", few, many, Goal::RatioAtLeast(1.0));
    }

    fn ycsb(&mut self, three: &mut Three) {
        for workload in ["ycsb-a", "ycsb-b", "ycsb-c", "ycsb-d", "ycsb-f"] {
            self.turns(workload, "1/s", three.two(), &[workload], throughput, Goal::RatioAtLeast(0.65));
        }
    }

    fn list(&mut self, three: &mut Three) {
        let records = self.scale.records.clamp(1_000, 20_000).to_string();
        let secs = self.scale.secs.to_string();
        for by in ["prefix", "subject"] {
            let (mut base, mut lethe) = (Figures::default(), Figures::default());
            for _ in 0..self.scale.rounds {
                for (server, cpu) in [(&three.rocks, &mut base), (&three.lethe, &mut lethe)] {
                    if by == "subject" && std::ptr::eq(server, &raw const three.rocks) {
                        continue;
                    }
                    let load = ["list", "--by", by, "--records", &records, "--load", "when-missing", "--operations", "1"];
                    if !bench(server, &load)["load"].is_null() {
                        server.rest();
                    }
                    let before = server.cpu();
                    let arguments = ["list", "--by", by, "--records", &records, "--load", "never", "--warmup", "0", "--duration", &secs];
                    let report = bench(server, &arguments);
                    let spent = (server.cpu() - before) * 1_000.0;
                    cpu.add(&report, |report| spent / report["operations"].as_f64().unwrap_or(1.0).max(1.0));
                }
            }
            self.against(format!("list of 1,000 names by {by}: server CPU"), "ms", base, lethe, Goal::AtMost(12.0));
        }
    }

    fn import(&mut self, three: &mut Three) {
        let records = self.scale.import.to_string();
        let (mut base, mut lethe) = (Figures::default(), Figures::default());
        for round in 0..self.scale.rounds.min(3) {
            let mut order = [(&three.rocks, &mut base), (&three.lethe, &mut lethe)];
            if round % 2 == 1 {
                order.reverse();
            }
            for (server, rates) in order {
                three.two().rest();
                rates.add(&bench(server, &["import", "--records", &records]), |report| report["items_per_s"].as_f64().unwrap_or(0.0));
            }
        }
        self.against(format!("import of {records} JSON records of 300 bytes"), "1/s", base, lethe, Goal::AtLeast(20_000.0));
    }

    fn stream(&mut self, three: &mut Three) {
        let len = format!("{}MiB", self.scale.stream_mib);
        let (mut put, mut get, mut growth, mut wrong) = (Row3::default(), Row3::default(), 0.0_f64, 0);
        let mut share = 0.0_f64;
        for _ in 0..self.scale.rounds.min(3) {
            for (which, server) in [&three.memory, &three.rocks, &three.lethe].into_iter().enumerate() {
                let before = server.resident();
                let (report, highest) = highest_resident(server.id(), || bench(server, &["stream", "--value-len", &len]));
                wrong += errors(&report);
                share = share.max(generator(&report));
                let speed = |op: &str| report["by_operation"][op]["bytes_per_busy_s"].as_f64().unwrap_or(0.0) / 1e6;
                put.0[which].push(speed("stream_put"));
                get.0[which].push(speed("stream_get"));
                if which == 2 {
                    growth = growth.max(highest - before);
                }
            }
        }
        for (what, Row3([memory, base, lethe])) in [(format!("stream of {len}, put"), put), (format!("stream of {len}, get"), get)] {
            self.keep(Row { what, unit: "MB/s", memory, base, lethe, goal: Goal::RatioAtLeast(0.6), errors: wrong, generator: share });
        }
        self.own("resident memory grows during it by, in the worst round".into(), "MiB", vec![growth], Goal::AtMost(64.0));
    }

    fn shred_subject(&mut self, three: &mut Three) {
        let lethe = &three.lethe;
        let small = servers::lethe(&self.top.join("small"), "", false);
        load(&small, 1_000);
        let (shreds, many) = (self.scale.shreds.to_string(), self.scale.subject.to_string());
        let few = (self.scale.shreds / 4).max(2).to_string();
        let one = ["shred-subject", "--load", "never", "--operations", &shreds];
        let large = ["shred-subject", "--load", "never", "--operations", &few, "--per-subject", &many];
        let mut syncs = Vec::new();
        let [mut full, mut among_few, mut of_many] = [Figures::default(), Figures::default(), Figures::default()];
        for _ in 0..self.scale.rounds {
            syncs.push(three_syncs(self.top));
            full.add(&bench(lethe, &one), p50_millis);
            among_few.add(&bench(&small, &one), p50_millis);
            of_many.add(&bench(lethe, &large), p50_millis);
        }
        let among = format!("shred of a subject among {} units", self.scale.records);
        self.against(format!("{among}, p50, beside three syncs"), "ms", syncs, full.clone(), Goal::RatioAtMost(3.0));
        self.against("the same beside one among 1,000 units".into(), "ms", among_few, full.clone(), Goal::RatioAtMost(2.0));
        self.against(format!("shred of a subject with {many} records beside one with 1"), "ms", full, of_many, Goal::RatioAtMost(2.0));
        self.shred_many(lethe);
    }

    /// Many subjects in one order, and many orders at one moment, beside one of one subject.
    fn shred_many(&mut self, lethe: &Serving) {
        let one = ["shred-subject", "--load", "never", "--operations", &self.scale.shreds.to_string()];
        let (subjects, orders) = (self.scale.subjects_at_once.to_string(), self.scale.orders_at_once.to_string());
        let order = ["shred-subject", "--load", "never", "--operations", "3", "--subjects-per-order", &subjects];
        let together = ["shred-subject", "--load", "never", "--together", "--connections", &orders, "--operations", &orders];
        // All begin at the same moment: the slowest one's time is that of all.
        let slowest = |report: &Value| report["latency_us"]["max"].as_f64().unwrap_or(0.0) / 1_000.0;
        let [mut single, mut in_one, mut at_once, mut epochs] = std::array::from_fn(|_| Figures::default());
        for _ in 0..self.scale.rounds {
            single.add(&bench(lethe, &one), p50_millis);
            in_one.add(&bench(lethe, &order), p50_millis);
            let report = bench(lethe, &together);
            at_once.add(&report, slowest);
            epochs.add(&report, |report| report["epochs"].as_f64().unwrap_or(0.0));
        }
        let what = format!("{subjects} subjects in one order beside one");
        self.against(what, "ms", single.clone(), in_one, Goal::RatioAtMost(20.0));
        self.against(format!("{orders} orders at one moment beside one"), "ms", single, at_once, Goal::RatioAtMost(60.0));
        self.own("the epochs they took".into(), "epochs", epochs, Goal::AtMost(10.0));
    }

    /// Reads of records whose unit's key is not in the cache beside those whose is, one at a time.
    fn cold(&mut self, _: &mut Three) {
        let records = self.scale.aside;
        // The cache has room for the keys of pages in any case, and for next to none of units, or for all of them.
        let [cold, warm] = [("cold", 1_024), ("warm", records * 4)].map(|(name, room)| {
            let server = servers::lethe(&self.top.join(name), &format!("[cache]\nkeys_max = {room}\n"), false);
            load(&server, records);
            server
        });
        let number = records.to_string();
        let all = (records * 3).to_string();
        bench(&warm, &["get", "--load", "never", "--records", &number, "--warmup", "0", "--operations", &all]);
        let turn = Turn { memory: None, base: &warm, lethe: &cold };
        let reads = ["get", "--connections", "1", "--records", &number];
        let what = "GET of a record whose unit is not in the cache beside one whose is, p50";
        self.turns(what, "ms", turn, &reads, p50_millis, Goal::RatioAtMost(2.0));
    }

    fn shred_tenant(&mut self, three: &mut Three) {
        let lethe = &three.lethe;
        let operator = lethe.operator.as_deref();
        let records = self.scale.tenant.to_string();
        let once = ["--operations", if self.scale.tenant > 100_000 { "1" } else { "3" }, "--rest", &self.scale.rest_secs.to_string()];
        let (mut base, mut full) = (Figures::default(), Figures::default());
        for _ in 0..self.scale.rounds.min(3) {
            for (records, figures) in [("1", &mut base), (&records, &mut full)] {
                lethe.rest();
                let arguments = [&["shred-tenant", "--records", records], &once[..]].concat();
                figures.add(&bench_as(lethe, "none", operator, &arguments), p50_millis);
            }
        }
        self.against(format!("shred of a tenant with {records} records beside one with 1"), "ms", base, full, Goal::RatioAtMost(2.0));
        self.reads_meanwhile(lethe, self.scale.tenant);
    }

    /// Reads of another tenant while one is shredded and its bytes are reclaimed, beside reads at rest.
    fn reads_meanwhile(&mut self, lethe: &Serving, records: u64) {
        let all = self.scale.records.to_string();
        let peak = throughput(&bench(lethe, &["get", "--load", "never", "--records", &all, "--duration", "1", "--warmup", "0"]));
        let (half, secs) = ((peak / 2.0).max(1.0).to_string(), self.scale.meanwhile_secs.to_string());
        let warm = ["get", "--load", "never", "--records", &all, "--rate", &half, "--duration", "2", "--warmup", "0"];
        // Nothing is left out of it: the shred takes milliseconds, and reclaiming begins a second behind it.
        let reads = ["get", "--load", "never", "--records", &all, "--rate", &half, "--duration", &secs, "--warmup", "0"];
        let [mut at_rest, mut meanwhile, mut left] = [Figures::default(), Figures::default(), Figures::default()];
        for round in 0..self.scale.rounds.min(3) {
            let (name, token) = (format!("victim-{round}"), lethe.dir.join(format!("victim-{round}.token")));
            run(lethe.client(lethe.operator.as_deref()).args(["tenant", "create", &name, "--save-token"]).arg(&token));
            load_as(lethe, &name, Some(&token), records);
            lethe.rest();
            bench(lethe, &warm);
            at_rest.add(&bench(lethe, &reads), p99_millis);
            let ranges = lethe.metric("lethe_reclaim_ranges_left");
            let reader = begin(lethe, "bench", lethe.token.as_deref(), &reads);
            // By then it reads.
            std::thread::park_timeout(Duration::from_millis(500));
            run(lethe.client(Some(&token)).args(["shred", "tenant", &name, "--yes", "--wait"]));
            meanwhile.add(&finish(&reader.wait_with_output().expect("it ends"), &reads), p99_millis);
            // Rows of single records wait for a day, and are as many as before.
            let [entries, left_over] = ["lethe_reclaim_entries_left", "lethe_reclaim_ranges_left"].map(|name| lethe.metric(name));
            let is_over = entries == Some(0.0) && left_over.is_some() && left_over <= ranges;
            // A range that is at work right now is no longer among them: what was not done by the end shows as work behind it.
            let before = lethe.cpu();
            lethe.rest();
            left.values.push(lethe.cpu() - before);
            left.errors += u64::from(!is_over);
        }
        self.against("GET of another tenant meanwhile, p99, beside at rest".into(), "ms", at_rest, meanwhile, Goal::RatioAtMost(2.0));
        let what =
            format!("what the server worked behind these {secs} s until it was at rest; errors: rounds in which reclaiming was not over");
        self.own(what, "s", left, Goal::Stated);
    }

    fn tls(&mut self, _: &mut Three) {
        let tls = servers::lethe(&self.top.join("tls"), "", true);
        let plain = servers::lethe(&self.top.join("plain"), "", false);
        load(&tls, self.scale.aside);
        load(&plain, self.scale.aside);
        let turn = Turn { memory: None, base: &plain, lethe: &tls };
        let records = self.scale.aside.to_string();
        let reads = ["get", "--records", &records];
        self.turns("GET 1 KiB over TLS 1.3 beside plain HTTP", "1/s", turn, &reads, throughput, Goal::RatioAtLeast(0.85));
    }

    /// How much slower reads become as a store grows, each server beside itself, and what memory each million takes.
    fn growth(&mut self) {
        let [few, many] = self.scale.grown;
        if many <= few {
            eprintln!("no rows of growth: {many} records are not more than {few}");
            return;
        }
        let lethe = servers::lethe(&self.top.join("grown"), "", false);
        let rocks = servers::baseline("rocks", &self.top.join("grown-rocks"));
        let (few_rates, first) = self.rates_among(&rocks, &lethe, few);
        // The first million fills the caches: what each further one takes is told from there on, where there are such.
        let (from, before) = if many >= MILLION * 2 {
            load(&lethe, MILLION);
            let number = MILLION.to_string();
            settle(&lethe, &self.reads_among(&number).each_ref().map(String::as_str));
            (MILLION, lethe.resident())
        } else {
            (few, first)
        };
        let (many_rates, after) = self.rates_among(&rocks, &lethe, many);
        let [base, own] = [0, 1].map(|which| Figures {
            values: few_rates[which].values.iter().zip(&many_rates[which].values).map(|(few, many)| few / many.max(1.0)).collect(),
            errors: few_rates[which].errors + many_rates[which].errors,
            generator: few_rates[which].generator.max(many_rates[which].generator),
        });
        let what = format!("GET, zipfian: times slower with {many} records than with {few}");
        self.against(what, "x", base, own, Goal::RatioAtMost(1.3));
        let what = format!("resident memory after it has grown to {many} units and records; with {few} {first:.0}");
        self.own(what, "MiB", vec![after], Goal::AtMost(400.0));
        let million = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / 1e6;
        let each = (after - before) / million(many - from);
        self.own(format!("the same for each 1000000 more, from {from} on"), "MiB", vec![each], Goal::Stated);
    }

    fn reads_among(&self, records: &str) -> [String; 11] {
        let (secs, warmup) = (self.scale.secs.to_string(), self.scale.warmup_secs.to_string());
        ["get", "--keys", "zipfian", "--load", "never", "--records", records, "--duration", &secs, "--warmup", &warmup].map(str::to_owned)
    }

    /// Rates of (b) and of Lethe with so many records, and Lethe's memory then.
    fn rates_among(&self, rocks: &Serving, lethe: &Serving, records: u64) -> ([Figures; 2], f64) {
        let number = records.to_string();
        let reads = self.reads_among(&number);
        let reads = reads.each_ref().map(String::as_str);
        for server in [rocks, lethe] {
            load(server, records);
            settle(server, &reads);
        }
        let [mut base, mut own] = [Figures::default(), Figures::default()];
        for round in 0..self.scale.rounds {
            let mut order = [(rocks, &mut base), (lethe, &mut own)];
            if round % 2 == 1 {
                order.reverse();
            }
            for (server, rates) in order {
                rates.add(&bench(server, &reads), throughput);
            }
        }
        ([base, own], lethe.resident())
    }

    fn plot(&self, server: &Serving, workload: &str) {
        if let Some(plots) = &self.plots {
            let file = plots.join(format!("{workload}.svg")).display().to_string();
            let (records, secs) = (self.scale.records.to_string(), (self.scale.secs * 3.0).to_string());
            bench(server, &[workload, "--load", "never", "--records", &records, "--duration", &secs, "--plot", &file]);
        }
    }
}

/// Values of the three servers.
#[derive(Default)]
struct Row3([Vec<f64>; 3]);

/// A figure of each round, and the errors of the runs that gave them.
#[derive(Default, Clone)]
struct Figures {
    values: Vec<f64>,
    errors: u64,
    /// The largest share of a processor that the generator took.
    generator: f64,
}

impl Figures {
    /// A run's figure; one that was not measured is an error.
    fn add(&mut self, report: &Value, measure: impl Fn(&Value) -> f64) {
        let value = measure(report);
        self.errors += errors(report) + u64::from(value <= 0.0);
        self.generator = self.generator.max(generator(report));
        self.values.push(value);
    }
}

impl From<Vec<f64>> for Figures {
    fn from(values: Vec<f64>) -> Self {
        Self { values, errors: 0, generator: 0.0 }
    }
}

/// What a read adds to the data store's write-ahead log; that it could not be told is an error.
fn bytes_of_reads(server: &Serving, records: u64, reads: f64) -> Figures {
    let arguments = ["get", "--warmup", "0", "--load", "never", "--records", &records.to_string(), "--operations", &format!("{reads:.0}")];
    for _ in 0..COUNTS {
        let before = server.wal_bytes();
        let done = bench(server, &arguments);
        let written = server.wal_bytes().checked_sub(before);
        // A log that began anew meanwhile tells nothing.
        if let Some((written, reads)) = written.zip(done["operations"].as_f64().filter(|reads| *reads > 0.0)) {
            let each = f64::from(u32::try_from(written).unwrap_or(u32::MAX)) / reads;
            return Figures { values: vec![each], errors: errors(&done), generator: generator(&done) };
        }
    }
    Figures { errors: 1, ..Figures::default() }
}

/// Does `work` and looks at a process's resident memory all the while; gives the highest, in MiB.
fn highest_resident<T>(id: u32, work: impl FnOnce() -> T) -> (T, f64) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut highest = resident(id);
            while !done.load(Ordering::Relaxed) {
                std::thread::park_timeout(Duration::from_millis(20));
                highest = highest.max(resident(id));
            }
            highest
        });
        let worked = work();
        done.store(true, Ordering::Relaxed);
        watch.thread().unpark();
        (worked, watch.join().unwrap_or(0.0))
    })
}

/// Milliseconds that three synced writes of 4 KiB take on the stores' disk: the median of some.
fn three_syncs(top: &Path) -> f64 {
    let mut file = std::fs::File::create(top.join("synced")).expect("a file");
    let mut times = Vec::new();
    for _ in 0..15 {
        let begun = crate::now();
        for _ in 0..3 {
            file.write_all(&[7; 4_096]).expect("written");
            file.sync_data().expect("synced");
        }
        times.push(crate::now().saturating_sub(begun).as_secs_f64() * 1_000.0);
    }
    median(&times).unwrap_or(0.0)
}

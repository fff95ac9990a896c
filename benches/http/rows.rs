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
    report::{Goal, Row, median},
    scale::Scale,
    servers::{self, Serving, resident, run},
};

/// Measures group after group and keeps the rows.
pub(crate) struct Session<'a> {
    top: &'a Path,
    scale: Scale,
    only: Option<String>,
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
    report["errors"]["total"].as_u64().unwrap_or(1)
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
    bench(server, &["get", "--load", "only", "--records", &records.to_string()]);
    server.rest();
}

impl<'a> Session<'a> {
    /// Stores lie in `top`; plots go below `write`, where it is given.
    pub(crate) fn new(top: &'a Path, scale: Scale, only: Option<String>, write: Option<&Path>) -> Self {
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
            self.own(format!("the same with {records} units and records"), "MiB", vec![three.lethe.resident()], Goal::AtMost(400.0));
        }
        let groups: [Group<'a>; 13] = [
            ("get", Self::get),
            ("put", Self::put),
            ("ycsb", Self::ycsb),
            ("start", Self::start),
            ("list", Self::list),
            ("import", Self::import),
            ("stream", Self::stream),
            ("shred subject", Self::shred_subject),
            ("shred tenant", Self::shred_tenant),
            ("cold", Self::cold),
            ("tls", Self::tls),
            ("memory", Self::memory),
            ("growth", Self::growth),
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
    }

    /// How soon a server that was killed is there again. Its store has the records of the load, and the writes of the groups before.
    fn start(&mut self, three: &mut Three) {
        let starts: Vec<f64> = (0..self.scale.rounds).map(|_| three.lethe.kill_and_start()).collect();
        let records = self.scale.records;
        self.own(format!("start after kill -9 of a store with {records} records"), "s", starts, Goal::AtMost(2.0));
        assert_eq!(errors(&bench(&three.lethe, &["get", "--records", &records.to_string(), "--operations", "100"])), 0);
    }

    /// What the one server that all groups were measured with has come to need.
    fn memory(&mut self, three: &mut Three) {
        self.own("resident memory behind all of the above".into(), "MiB", vec![three.lethe.resident()], Goal::Stated);
        let starts: Vec<f64> = (0..self.scale.rounds).map(|_| three.lethe.kill_and_start()).collect();
        self.own("start after kill -9 behind all of the above".into(), "s", starts, Goal::Stated);
    }

    fn wants(&self, group: &str) -> bool {
        self.only.as_ref().is_none_or(|only| group.contains(only.as_str()))
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
        let Figures { values: lethe, errors } = lethe.into();
        self.keep(Row { what, unit, memory: Vec::new(), base: Vec::new(), lethe, goal, errors });
    }

    fn against(&mut self, what: String, unit: &'static str, base: impl Into<Figures>, lethe: impl Into<Figures>, goal: Goal) {
        let (base, lethe) = (base.into(), lethe.into());
        let errors = base.errors + lethe.errors;
        self.keep(Row { what, unit, memory: Vec::new(), base: base.values, lethe: lethe.values, goal, errors });
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
        let (records, secs, warmup) = (self.scale.records.to_string(), self.scale.secs.to_string(), self.scale.warmup_secs.to_string());
        let timed = ["--duration", &secs, "--warmup", &warmup, "--load", "never"];
        let all = ["--records", records.as_str()];
        let all: &[&str] = if arguments.contains(&"--records") { &[] } else { &all };
        let arguments = [arguments, &timed, all].concat();
        let mut row = Row { what: what.into(), unit, memory: Vec::new(), base: Vec::new(), lethe: Vec::new(), goal, errors: 0 };
        turn.base.rest();
        turn.lethe.rest();
        for round in 0..self.scale.rounds {
            let mut order = [(0, turn.memory), (1, Some(turn.base)), (2, Some(turn.lethe))];
            // Who goes first may meet a colder machine.
            if round % 2 == 1 {
                order.reverse();
            }
            for (which, server) in order {
                let Some(server) = server else { continue };
                let report = bench(server, &arguments);
                row.errors += errors(&report);
                [&mut row.memory, &mut row.base, &mut row.lethe][which].push(measure(&report));
            }
        }
        let own = median(&row.lethe).unwrap_or(0.0);
        self.keep(row);
        own
    }

    fn get(&mut self, three: &mut Three) {
        let peak = self.turns("GET 1 KiB, 32 connections", "1/s", three.all(), &["get"], throughput, Goal::RatioAtLeast(0.7));
        let half = (peak / 2.0).max(1.0).to_string();
        let open = ["get", "--rate", &half];
        self.turns("the same, p99 at half of the peak", "ms", three.two(), &open, p99_millis, Goal::RatioAtMost(2.0));
        self.plot(&three.lethe, "get");
        let reads = 5_000.0_f64.min(self.scale.secs * peak);
        let before = three.lethe.wal_bytes();
        let done =
            bench(&three.lethe, &["get", "--warmup", "0", "--load", "never", "--records", "1000", "--operations", &format!("{reads:.0}")]);
        let written = three.lethe.wal_bytes().checked_sub(before);
        if let Some((written, reads)) = written.zip(done["operations"].as_f64()) {
            let each = f64::from(u32::try_from(written).unwrap_or(u32::MAX)) / reads;
            self.own("write-ahead log of each read, with its audit entry".into(), "bytes", vec![each], Goal::AtMost(200.0));
        }
        let durable = servers::lethe(&self.top.join("durable"), "[audit]\nreads = \"durable\"\n", false);
        let rocks = servers::baseline("rocks", &self.top.join("durable-rocks"));
        load(&durable, self.scale.aside);
        load(&rocks, self.scale.aside);
        let turn = Turn { memory: None, base: &rocks, lethe: &durable };
        let records = self.scale.aside.to_string();
        let reads = ["get", "--records", &records];
        self.turns("GET 1 KiB, 32 connections, audit.reads = durable", "1/s", turn, &reads, throughput, Goal::RatioAtLeast(0.25));
    }

    fn put(&mut self, three: &mut Three) {
        let peak = self.turns("durable PUT 1 KiB, 32 connections", "1/s", three.all(), &["put"], throughput, Goal::RatioAtLeast(0.7));
        let many = ["put", "--connections", "256"];
        let goal = Goal::RatioAtLeast(0.7);
        let more = self.turns("the same, 256 connections", "1/s", three.all(), &many, throughput, goal);
        self.against("Lethe's PUT with 256 connections beside 32".into(), "1/s", vec![peak], vec![more], Goal::RatioAtLeast(1.0));
        let half = (peak / 2.0).max(1.0).to_string();
        self.turns("PUT, p99 at half of the peak", "ms", three.two(), &["put", "--rate", &half], p99_millis, Goal::RatioAtMost(2.0));
        self.plot(&three.lethe, "put");
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
                    bench(server, &["list", "--by", by, "--records", &records, "--load", "when-missing", "--operations", "1"]);
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
        let (mut base, mut lethe, mut wrong) = (Vec::new(), Vec::new(), 0);
        for _ in 0..self.scale.rounds.min(3) {
            for (server, rates) in [(&three.rocks, &mut base), (&three.lethe, &mut lethe)] {
                let report = bench(server, &["import", "--records", &records]);
                wrong += errors(&report);
                rates.push(report["items_per_s"].as_f64().unwrap_or(0.0));
            }
        }
        let what = format!("import of {records} JSON records of 300 bytes");
        let goal = Goal::AtLeast(20_000.0);
        self.keep(Row { what, unit: "1/s", memory: Vec::new(), base, lethe, goal, errors: wrong });
    }

    fn stream(&mut self, three: &mut Three) {
        let len = format!("{}MiB", self.scale.stream_mib);
        let (mut put, mut get, mut growth, mut wrong) = (Row3::default(), Row3::default(), Vec::new(), 0);
        for _ in 0..self.scale.rounds.min(3) {
            for (which, server) in [&three.memory, &three.rocks, &three.lethe].into_iter().enumerate() {
                let before = server.resident();
                let (report, highest) = highest_resident(server.id(), || bench(server, &["stream", "--value-len", &len]));
                wrong += errors(&report);
                let speed = |op: &str| report["by_operation"][op]["bytes_per_busy_s"].as_f64().unwrap_or(0.0) / 1e6;
                put.0[which].push(speed("stream_put"));
                get.0[which].push(speed("stream_get"));
                if which == 2 {
                    growth.push(highest - before);
                }
            }
        }
        for (what, Row3([memory, base, lethe])) in [(format!("stream of {len}, put"), put), (format!("stream of {len}, get"), get)] {
            self.keep(Row { what, unit: "MB/s", memory, base, lethe, goal: Goal::RatioAtLeast(0.6), errors: wrong });
        }
        self.own("resident memory grows during it by".into(), "MiB", growth, Goal::AtMost(64.0));
    }

    fn shred_subject(&mut self, three: &mut Three) {
        let lethe = &three.lethe;
        let small = lethe.dir.join("small.token");
        run(lethe.client(lethe.operator.as_deref()).args(["tenant", "create", "small", "--save-token"]).arg(&small));
        bench_as(lethe, "small", Some(&small), &["get", "--load", "only", "--records", "1000"]);
        let (shreds, many) = (self.scale.shreds.to_string(), self.scale.subject.to_string());
        let few = (self.scale.shreds / 4).max(2).to_string();
        let one = ["shred-subject", "--load", "never", "--operations", &shreds];
        let large = ["shred-subject", "--load", "never", "--operations", &few, "--per-subject", &many];
        let mut syncs = Vec::new();
        let [mut full, mut among_few, mut of_many] = [Figures::default(), Figures::default(), Figures::default()];
        for _ in 0..self.scale.rounds {
            syncs.push(three_syncs(self.top));
            full.add(&bench(lethe, &one), p50_millis);
            among_few.add(&bench_as(lethe, "small", Some(&small), &one), p50_millis);
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
        let order = ["shred-subject", "--load", "never", "--operations", "2", "--subjects-per-order", &subjects];
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
        self.reads_meanwhile(lethe, &records);
    }

    /// Reads of another tenant while one is shredded and its bytes are reclaimed, beside reads at rest.
    fn reads_meanwhile(&mut self, lethe: &Serving, records: &str) {
        let all = self.scale.records.to_string();
        let peak = throughput(&bench(lethe, &["get", "--load", "never", "--records", &all, "--duration", "1", "--warmup", "0"]));
        // The reclaiming begins a second behind the shred.
        let (half, secs) = ((peak / 2.0).max(1.0).to_string(), (self.scale.secs * 2.0 + 2.0).to_string());
        let reads = ["get", "--load", "never", "--records", &all, "--rate", &half, "--duration", &secs];
        let (mut rest, mut meanwhile) = (Figures::default(), Figures::default());
        for round in 0..self.scale.rounds.min(3) {
            let (name, token) = (format!("victim-{round}"), lethe.dir.join(format!("victim-{round}.token")));
            run(lethe.client(lethe.operator.as_deref()).args(["tenant", "create", &name, "--save-token"]).arg(&token));
            bench_as(lethe, &name, Some(&token), &["get", "--load", "only", "--records", records]);
            lethe.rest();
            rest.add(&bench(lethe, &reads), p99_millis);
            let reader = begin(lethe, "bench", lethe.token.as_deref(), &reads);
            run(lethe.client(Some(&token)).args(["shred", "tenant", &name, "--yes", "--wait"]));
            meanwhile.add(&finish(&reader.wait_with_output().expect("it ends"), &reads), p99_millis);
        }
        self.against("GET of another tenant meanwhile, p99, beside at rest".into(), "ms", rest, meanwhile, Goal::RatioAtMost(2.0));
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

    /// How much slower reads become as a store grows, each server beside itself.
    fn growth(&mut self, _: &mut Three) {
        let lethe = servers::lethe(&self.top.join("grown"), "", false);
        let rocks = servers::baseline("rocks", &self.top.join("grown-rocks"));
        let (secs, warmup) = (self.scale.secs.to_string(), self.scale.warmup_secs.to_string());
        let [few, many] = self.scale.grown;
        let mut rates: [[Vec<f64>; 2]; 2] = Default::default();
        let mut resident = [0.0; 2];
        let mut wrong = 0;
        for (size, records) in [few, many].into_iter().enumerate() {
            for server in [&rocks, &lethe] {
                load(server, records);
            }
            let number = records.to_string();
            let reads = ["get", "--keys", "zipfian", "--load", "never", "--records", &number, "--duration", &secs, "--warmup", &warmup];
            for _ in 0..self.scale.rounds {
                for (server, rates) in [&rocks, &lethe].into_iter().zip(&mut rates) {
                    let report = bench(server, &reads);
                    wrong += errors(&report);
                    rates[size].push(throughput(&report));
                }
            }
            resident[size] = lethe.resident();
        }
        let slower = |[few, many]: [Vec<f64>; 2]| few.iter().zip(&many).map(|(few, many)| few / many.max(1.0)).collect::<Vec<_>>();
        let [base, own] = rates;
        let what = format!("GET, zipfian: times slower with {many} records than with {few}");
        let goal = Goal::RatioAtMost(1.3);
        self.keep(Row { what, unit: "x", memory: Vec::new(), base: slower(base), lethe: slower(own), goal, errors: wrong });
        let [before, after] = resident;
        self.own(
            format!("resident memory after it has grown to {many} units and records; with {few} {before:.0}"),
            "MiB",
            vec![after],
            Goal::AtMost(400.0),
        );
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
}

impl Figures {
    /// A run's figure; one that was not measured is an error.
    fn add(&mut self, report: &Value, measure: impl Fn(&Value) -> f64) {
        let value = measure(report);
        self.errors += errors(report) + u64::from(value <= 0.0);
        self.values.push(value);
    }
}

impl From<Vec<f64>> for Figures {
    fn from(values: Vec<f64>) -> Self {
        Self { values, errors: 0 }
    }
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

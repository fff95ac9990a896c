//! Rows and how they are told: medians, ratios within a round, spread, and whether the goal is reached.

use std::{fmt::Write as _, fs, path::Path, process::Command, time::Duration};

use crate::scale::ScaleName;

/// What a row is to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// Lethe over the row's baseline.
    RatioAtLeast(f64),
    /// The same.
    RatioAtMost(f64),
    /// Lethe's own figure.
    AtLeast(f64),
    /// The same.
    AtMost(f64),
    /// Only to be stated.
    Stated,
}

/// One row of the table: a value for each round.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) memory: Vec<f64>,
    /// What Lethe is compared with: baseline (b), or what the row's name says.
    pub(crate) base: Vec<f64>,
    pub(crate) lethe: Vec<f64>,
    pub(crate) goal: Goal,
    /// Errors in any of its runs.
    pub(crate) errors: u64,
}

/// All of a run.
#[derive(Clone, Copy)]
pub(crate) struct Report<'a> {
    pub(crate) rows: &'a [Row],
    pub(crate) scale: ScaleName,
    pub(crate) dir: &'a Path,
    /// What is known of the rows that miss their goal.
    pub(crate) notes: &'a str,
    pub(crate) took: Duration,
    /// As it was when the run began: the run itself writes into the tree.
    pub(crate) version: &'a str,
    /// Whether all groups have been measured.
    pub(crate) ended: bool,
}

/// The version of the tree.
pub(crate) fn version() -> String {
    said("git", &["describe", "--always", "--dirty"])
}

/// The middle value; nothing of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

fn figure(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(value) if value >= 1_000.0 => {
            let digits = format!("{value:.0}");
            let mut text = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at).is_multiple_of(3) {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

impl Row {
    fn ratios(&self) -> Vec<f64> {
        self.lethe.iter().zip(&self.base).filter(|(_, base)| **base > 0.0).map(|(lethe, base)| lethe / base).collect()
    }

    fn reached(&self) -> Option<bool> {
        let (ratio, own) = (median(&self.ratios()), median(&self.lethe));
        match self.goal {
            Goal::RatioAtLeast(goal) => ratio.map(|ratio| ratio >= goal),
            Goal::RatioAtMost(goal) => ratio.map(|ratio| ratio <= goal),
            Goal::AtLeast(goal) => own.map(|own| own >= goal),
            Goal::AtMost(goal) => own.map(|own| own <= goal),
            Goal::Stated => None,
        }
    }

    /// Its line of the table.
    pub(crate) fn line(&self) -> String {
        let ratios = self.ratios();
        let spread = match (ratios.iter().copied().reduce(f64::min), ratios.iter().copied().reduce(f64::max)) {
            (Some(low), Some(high)) if ratios.len() > 1 => format!("{low:.2}-{high:.2}"),
            _ => "-".into(),
        };
        let ratio = median(&ratios).map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}"));
        let goal = match self.goal {
            Goal::RatioAtLeast(goal) => format!(">= {goal:.2}x"),
            Goal::RatioAtMost(goal) => format!("<= {goal:.2}x"),
            Goal::AtLeast(goal) => format!(">= {}", figure(Some(goal))),
            Goal::AtMost(goal) => format!("<= {}", figure(Some(goal))),
            Goal::Stated => "stated".into(),
        };
        let reached = match self.reached() {
            _ if self.errors > 0 => format!("{} errors", self.errors),
            Some(true) => "yes".into(),
            Some(false) => "**no**".into(),
            None => String::new(),
        };
        let [memory, base, lethe] = [&self.memory, &self.base, &self.lethe].map(|values| figure(median(values)));
        format!("| {} | {} | {memory} | {base} | {lethe} | {ratio} | {spread} | {goal} | {reached} |", self.what, self.unit)
    }
}

impl Report<'_> {
    /// The table alone.
    pub(crate) fn table(&self) -> String {
        let mut text = "| what | unit | (a) memory | (b) RocksDB, or as said | Lethe | ratio | spread | to reach | reached |\n\
                        |---|---|--:|--:|--:|--:|---|---|---|\n"
            .to_owned();
        for row in self.rows {
            text += &row.line();
            text.push('\n');
        }
        text
    }

    /// `docs/performance.md`.
    pub(crate) fn document(&self) -> String {
        let mut text = "# Performance\n\nWritten by `make bench`; not to be edited.\n\n".to_owned();
        let lines = [
            ("command", format!("`cargo bench --profile release --bench http -- --scale {:?} --write docs`", self.scale).to_lowercase()),
            ("version", self.version.to_owned()),
            ("day", lethe::domain::Clock::now(&lethe::domain::SystemClock).to_rfc3339()),
            ("machine", machine()),
            ("disk", said("df", &["--output=source,fstype", &self.dir.display().to_string()])),
            (
                "time it took",
                format!("{:.0} min{}", self.took.as_secs_f64() / 60.0, if self.ended { "" } else { ", and it was stopped then" }),
            ),
        ];
        for (name, value) in lines {
            // Writing to a text does not fail.
            let _ = writeln!(text, "* {name}: {}", value.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        text += EXPLAINED;
        text += &self.table();
        text += self.notes;
        text += PLOTS;
        text
    }
}

const EXPLAINED: &str = "
Load generator (`lethe bench`) and servers share the machine. Servers take turns in each round; a figure is the median of the rounds, a ratio
the median of the ratios within a round, the spread their smallest and largest. Every value that was read was checked byte by byte.
Throughput is closed loop; p99 is open loop at half of Lethe's measured peak, for both servers, counted from when a request was due.
(a) answers the same bytes and header lines over the same HTTP stack from memory; (b) the same from a bare RocksDB with Lethe's options,
block cache and group commit; neither has access control, audit, sealing, metrics or a log. Lethe runs with its default settings:
one shred unit for each record, audit of reads `written` unless said otherwise, its log written to a file.

";

const PLOTS: &str = "
## Over time

One run of Lethe each, in the last round.

![GET](performance/get.svg)

![PUT](performance/put.svg)
";

fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor").trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().next().unwrap_or_default().trim_start_matches("MemTotal:").trim().to_owned();
    format!("{model}, {cores} cores, {memory} of memory, {}", said("uname", &["-sr"]))
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

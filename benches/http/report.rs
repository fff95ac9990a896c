//! What a run says: the table of its rows ([`figures`]), and the document.
//!
//! [`figures`]: crate::figures

use std::{fmt::Write as _, fs, path::Path, process::Command, time::Duration};

use crate::{figures::Row, scale::ScaleName};

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

    /// Whether the load generator was what was measured.
    fn generator(&self) -> String {
        let bound: Vec<String> = self.rows.iter().filter_map(Row::bound_by_generator).collect();
        let most = self.rows.iter().map(|row| row.generator).fold(0.0, f64::max);
        let told = format!("\nThe generator works on one thread, and took at most {most:.2} of a processor in any row.");
        if bound.is_empty() {
            return format!("{told}\n");
        }
        format!("{told} In these it had next to none of its own left, so that they tell of it, too: {}.\n", bound.join("; "))
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
        text += &self.generator();
        text += self.notes;
        text += PLOTS;
        text
    }
}

const EXPLAINED: &str = "
Load generator (`lethe bench`) and servers share the machine. Servers take turns in each round; a figure is the median of the rounds, a ratio
the median of the ratios within a round, the spread their smallest and largest (of Lethe's own figures where there is no ratio); where the goal
lies between these, the last column says that the spread crosses it. Every value that was read was checked byte by byte. Before each turn of a row
that writes both servers have come to rest, so that neither bears what the other's writes set going.
Throughput is closed loop; p99 is open loop at half of Lethe's measured peak, for both servers, counted from when a request was due. A row of an
open loop has errors if more requests were due and never begun than there are connections, and than one in a thousand.
(a) answers the same bytes and header lines over the same HTTP stack from memory; (b) the same from a bare RocksDB with Lethe's options,
block cache and group commit, which looks whether a record is there only for an insert of YCSB D; neither has access control, audit, sealing,
metrics or a log. Lethe runs with its default settings: one shred unit for each record, audit of reads `written` unless said otherwise, its log
written to a file.

";

const PLOTS: &str = "
## Over time

One run of Lethe each, closed loop, on its own behind the rounds of the rows above.

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

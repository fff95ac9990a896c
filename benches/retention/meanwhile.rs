//! How fast a server destroys what is due, as `lethe retention run` asks it to, and how long reads of another collection take meanwhile,
//! beside the same reads at rest in the same round.
//!
//! What is due ends by itself at one moment, which lies just behind the minute in which the server looks: so what was asked for is what
//! destroys it.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use lethe::domain::{Clock as _, SystemClock, Timestamp};
use serde_json::{Value, json};

use crate::{
    Sizes,
    figures::{Goal, Row},
    servers::{self, Serving, run},
};

/// How often the server looks by itself, and how soon behind that records end here.
const LOOKS: Duration = Duration::from_mins(1);
const BEHIND: Duration = Duration::from_secs(5);
/// Records of a person.
const OF_A_PERSON: usize = 10;
/// Of the time that a run takes alone reads are measured for so much: all of it lies within the run beside them.
const SHARE: f64 = 0.7;
const LEAST_SECS: f64 = 0.5;

/// A server, and the moment when it began.
struct Site {
    server: Serving,
    began: Timestamp,
    records: String,
}

pub(crate) fn measure(top: &Path, sizes: &Sizes) -> Vec<Row> {
    let site =
        Site { server: servers::lethe(&top.join("lethe"), "", false), began: SystemClock.now(), records: sizes.foreground.to_string() };
    site.bench(&["--load", "only"]);
    site.server.rest();
    let peak = site.bench(&["--load", "never", "--duration", "1", "--warmup", "0.3"]);
    let rate = (peak["throughput_per_s"].as_f64().unwrap_or(0.0) / 2.0).max(1.0).to_string();

    let end = site.load(sizes, 0);
    let (alone, took) = site.destroy(end, sizes.destroyed);
    let secs = (took * SHARE).max(LEAST_SECS).to_string();
    let reads = ["--load", "never", "--rate", &rate, "--duration", &secs, "--warmup", "0"];
    let (mut rest, mut meanwhile, mut rates, mut errors) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for round in 1..=sizes.rounds {
        let end = site.load(sizes, round);
        let at_rest = site.bench(&reads);
        wait_until(end);
        let reader = site.begin(&reads);
        let (destroyed, took) = site.destroy(end, sizes.destroyed);
        let beside = finish(reader);
        eprintln!("round {round}: destroyed within {took:.2} s, reads measured for {secs} s of it");
        for (report, times) in [(&at_rest, &mut rest), (&beside, &mut meanwhile)] {
            errors += report["errors"]["total"].as_u64().unwrap_or(1);
            times.push(report["latency_us"]["p99"].as_f64().unwrap_or(0.0) / 1_000.0);
        }
        rates.push(destroyed);
    }
    let due = sizes.destroyed;
    let row = |what: String, unit, base, lethe, goal| Row { what, unit, memory: Vec::new(), base, lethe, goal, errors, generator: 0.0 };
    vec![
        row(format!("{due} due records destroyed, beside reads at half of their peak"), "1/s", Vec::new(), rates, Goal::AtLeast(20_000.0)),
        row("the same alone".into(), "1/s", Vec::new(), vec![alone], Goal::Stated),
        row("GET meanwhile, p99, beside at rest".into(), "ms", rest, meanwhile, Goal::RatioAtMost(2.0)),
    ]
}

impl Site {
    fn begin(&self, arguments: &[&str]) -> Child {
        let mut command = self.server.client(self.server.token.as_deref());
        command.args(["bench", "get", "--records", &self.records, "--format", "json"]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("a process")
    }

    fn bench(&self, arguments: &[&str]) -> Value {
        finish(self.begin(arguments))
    }

    /// Stores records that end at one moment, and lets what that set going come to rest; gives the moment.
    fn load(&self, sizes: &Sizes, round: usize) -> Timestamp {
        let end = self.moment(Duration::from_secs(sizes.ahead_secs));
        let path = self.server.dir.join(format!("due-{round}.jsonl"));
        let mut file = BufWriter::new(File::create(&path).expect("a file"));
        for number in 0..sizes.destroyed {
            let line = json!({"key": format!("{round}/{number}"), "subjects": [format!("{round}-{}", number / OF_A_PERSON)],
                "expires_at": end.to_rfc3339(), "value": "as small as many invoices are, or as large as some notes"});
            writeln!(file, "{line}").expect("written");
        }
        file.into_inner().expect("flushed").sync_all().expect("synced");
        let mut import = self.server.client(self.server.token.as_deref());
        run(import.args(["import", "--envelope", "--collection", "due", "--create"]).arg(&path));
        self.server.rest();
        assert!(SystemClock.now() < end, "storing what is to be due took longer than it may");
        end
    }

    /// The first moment, at least so far ahead, that lies just behind one in which the server looks by itself.
    fn moment(&self, ahead: Duration) -> Timestamp {
        let least = SystemClock.now().plus(ahead);
        let mut moment = self.began.plus(BEHIND);
        while moment < least {
            moment = moment.plus(LOOKS);
        }
        moment
    }

    /// Has it destroyed, from the moment on when it is due; how many a second, and the seconds.
    fn destroy(&self, end: Timestamp, due: usize) -> (f64, f64) {
        wait_until(end);
        let begun = crate::now();
        let mut command = self.server.client(self.server.operator.as_deref());
        let said = run(command.args(["retention", "run", "--format", "json"]));
        let took = crate::now().saturating_sub(begun).as_secs_f64();
        let done: Value = serde_json::from_str(&said).unwrap_or_default();
        assert_eq!((&done["destroyed"], &done["failed"], &done["more"]), (&json!(due), &json!(0), &json!(false)), "{done}");
        #[expect(clippy::cast_precision_loss, reason = "a number for people")]
        let rate = due as f64 / took;
        (rate, took)
    }
}

fn finish(child: Child) -> Value {
    let output = child.wait_with_output().expect("it ends");
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn wait_until(moment: Timestamp) {
    while SystemClock.now() <= moment {
        std::thread::park_timeout(moment.since(SystemClock.now()).max(Duration::from_millis(1)));
    }
}

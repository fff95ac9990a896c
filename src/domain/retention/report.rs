//! What runs of retention have done in one tenant: counts by collection and rule, kept as evidence. No record is named, and no person.

use serde::{Deserialize, Serialize};

use super::{Rule, Then};
use crate::domain::{CollectionNo, ShredUnit, Timestamp};

/// Lines of one report; what finds no place among them stands together, by what was done.
pub const LINES_MAX: usize = 256;

/// Why there was a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The server made its own passes.
    Server,
    /// An operator or a job asked for it.
    Asked,
    /// Older data was put back: what was over by then went again, most of it for the second time.
    Restore,
}

impl Cause {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Asked => "asked",
            Self::Restore => "restore",
        }
    }
}

/// By what a record ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// A rule, by its name.
    Rule(String),
    /// Its own end.
    OwnEnd,
    /// Rules as they were when it was over, of data that was put back: which, nobody asked.
    OlderData,
    /// Whatever found no line of its own.
    Rest,
}

impl By {
    /// The word for it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Rule(_) => "rule",
            Self::OwnEnd => "own-end",
            Self::OlderData => "older-data",
            Self::Rest => "rest",
        }
    }
}

/// How a record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// It is deleted.
    Delete,
    /// Its own key is destroyed with it.
    Shred,
    /// It was restricted before, and is deleted when that is over, with its own key, where it has one.
    Restrict,
}

impl How {
    /// That of a record which a rule ends, or its own end, where the shred unit is this.
    #[must_use]
    pub fn of(rule: Option<&Rule>, unit: ShredUnit) -> Self {
        match (rule.map(|rule| rule.then), unit) {
            (Some(Then::Restrict(_)), _) => Self::Restrict,
            (_, ShredUnit::Record) => Self::Shred,
            (_, ShredUnit::Collection | ShredUnit::Subject) => Self::Delete,
        }
    }

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Shred => "shred",
            Self::Restrict => "restrict",
        }
    }
}

/// What became of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// It is destroyed; `with_key`: its own key is ordered to be.
    Destroyed {
        /// Whether a certificate follows.
        with_key: bool,
    },
    /// Its time is over, and a legal hold keeps it.
    Held,
    /// It was marked: it is going to be destroyed.
    Marked,
}

/// Counts of one collection and rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The collection's number; 0 in the lines of what found no place.
    pub collection: u32,
    /// By what.
    pub by: By,
    /// How.
    pub how: How,
    /// Records that are destroyed.
    pub destroyed: u64,
    /// Records that a legal hold keeps.
    pub held: u64,
    /// Records that were marked.
    pub marked: u64,
}

/// What one run did in one tenant on one day, or the server's own passes of a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Why there was a run.
    pub cause: Cause,
    /// Id of the run, in hexadecimal: that of a run over several days, or of several tenants, is one.
    pub run: String,
    /// The first request of it.
    pub request: String,
    /// Who asked: a token's id.
    pub principal: Option<String>,
    /// When it first did something, in milliseconds since 1970, as all times here.
    pub began_at: i64,
    /// When it last did.
    pub ended_at: i64,
    /// It has destroyed what was due by then.
    pub until: i64,
    /// By collection and rule.
    pub lines: Vec<Line>,
    /// Tries at records that could not be read, or that others were writing all the time.
    pub failed: u64,
    /// Records that were destroyed with a key of their own.
    pub keys: u64,
}

impl Report {
    /// Counts one record more.
    pub fn count(&mut self, collection: CollectionNo, by: &By, how: How, what: Counted) {
        let line = self.line(collection, by, how);
        let counter = match what {
            Counted::Destroyed { .. } => &mut line.destroyed,
            Counted::Held => &mut line.held,
            Counted::Marked => &mut line.marked,
        };
        *counter = counter.saturating_add(1);
        if what == (Counted::Destroyed { with_key: true }) {
            self.keys = self.keys.saturating_add(1);
        }
    }

    /// Something was done at `now`, of what was due by `until`.
    pub fn at_work(&mut self, now: Timestamp, until: Timestamp) {
        // Whatever the clock has done meanwhile.
        self.began_at = self.began_at.min(now.0);
        self.ended_at = self.ended_at.max(now.0);
        self.until = self.until.max(until.0);
    }

    fn line(&mut self, collection: CollectionNo, by: &By, how: How) -> &mut Line {
        let is = |line: &Line, collection: u32, by: &By| line.collection == collection && line.by == *by && line.how == how;
        let known = self.lines.iter().position(|line| is(line, collection.0, by));
        let own = |line: &&Line| line.by != By::Rest;
        let (collection, by) = match known {
            None if self.lines.iter().filter(own).count() >= LINES_MAX => (CollectionNo::TENANT.0, By::Rest),
            _ => (collection.0, by.clone()),
        };
        let place = known.or_else(|| self.lines.iter().position(|line| is(line, collection, &by)));
        let place = place.unwrap_or_else(|| {
            self.lines.push(Line { collection, by, how, destroyed: 0, held: 0, marked: 0 });
            self.lines.len().saturating_sub(1)
        });
        self.lines.get_mut(place).expect("it was found, or put there")
    }

    /// Records that it says are destroyed.
    #[must_use]
    pub fn destroyed(&self) -> u64 {
        self.lines.iter().map(|line| line.destroyed).fold(0, u64::saturating_add)
    }

    /// Records that it says a legal hold keeps.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.lines.iter().map(|line| line.held).fold(0, u64::saturating_add)
    }

    /// Records that it says were marked.
    #[must_use]
    pub fn marked(&self) -> u64 {
        self.lines.iter().map(|line| line.marked).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            cause: Cause::Server,
            run: "00".repeat(16),
            request: "00".repeat(16),
            principal: None,
            began_at: 1_000,
            ended_at: 1_000,
            until: 1_000,
            lines: Vec::new(),
            failed: 0,
            keys: 0,
        }
    }

    #[test]
    fn each_record_is_counted_once_in_the_line_of_its_collection_and_rule() {
        let mut report = report();
        let rule = |name: &str| By::Rule(name.to_owned());
        let gone = Counted::Destroyed { with_key: false };
        for (collection, by, how, what) in [
            (1, rule("a"), How::Delete, gone),
            (1, rule("a"), How::Delete, gone),
            (1, rule("a"), How::Delete, Counted::Marked),
            (1, rule("b"), How::Restrict, Counted::Destroyed { with_key: true }),
            (2, rule("a"), How::Delete, Counted::Held),
            (2, By::OwnEnd, How::Shred, Counted::Destroyed { with_key: true }),
        ] {
            report.count(CollectionNo(collection), &by, how, what);
        }
        let told: Vec<_> =
            report.lines.iter().map(|line| (line.collection, line.by.name(), line.how, line.destroyed, line.held, line.marked)).collect();
        assert_eq!(
            told,
            [
                (1, "rule", How::Delete, 2, 0, 1),
                (1, "rule", How::Restrict, 1, 0, 0),
                (2, "rule", How::Delete, 0, 1, 0),
                (2, "own-end", How::Shred, 1, 0, 0)
            ]
        );
        assert_eq!((report.destroyed(), report.held(), report.marked(), report.keys), (4, 1, 1, 2));
    }

    /// A row has 100,000 bytes, a tenant any number of collections: nothing is left uncounted for that.
    #[test]
    fn what_finds_no_line_is_counted_together() {
        let mut report = report();
        let name = "r".repeat(64);
        let limit = u32::try_from(LINES_MAX).unwrap();
        for no in 1..=limit + 50 {
            for how in [How::Delete, How::Restrict] {
                report.count(CollectionNo(no), &By::Rule(name.clone()), how, Counted::Destroyed { with_key: false });
            }
        }
        assert_eq!(report.destroyed(), u64::from(limit + 50) * 2);
        let rest: Vec<_> = report.lines.iter().filter(|line| line.by == By::Rest).map(|line| (line.collection, line.how)).collect();
        assert_eq!((report.lines.len() - rest.len(), rest), (LINES_MAX, vec![(0, How::Delete), (0, How::Restrict)]));
        // One that is known is counted where it stands.
        let before = report.lines[0].destroyed;
        report.count(CollectionNo(1), &By::Rule(name), How::Delete, Counted::Destroyed { with_key: false });
        assert_eq!(report.lines[0].destroyed, before + 1);
        for line in &mut report.lines {
            (line.destroyed, line.held, line.marked) = (u64::MAX, u64::MAX, u64::MAX);
        }
        let len = serde_json::to_vec(&report).unwrap().len();
        assert!(len < 90_000, "{len} bytes");
        assert_eq!(serde_json::from_slice::<Report>(&serde_json::to_vec(&report).unwrap()).unwrap(), report);
    }

    #[test]
    fn its_times_span_all_that_it_did_whatever_the_clock_does() {
        let mut report = report();
        for (now, until) in [(2_000, 1_500), (500, 400), (1_700, 1_700)] {
            report.at_work(Timestamp(now), Timestamp(until));
        }
        assert_eq!((report.began_at, report.ended_at, report.until), (500, 2_000, 1_700));
    }
}

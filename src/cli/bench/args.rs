//! What can be asked of a benchmark, and what of it goes together.

use std::{path::PathBuf, time::Duration};

use super::{
    super::{connection::TenantArg, failure::Failure},
    choose::{Keys, LenDist},
    lists::By,
    streams::Direction,
    values::{JSON_LEN_MIN, LEN_MIN},
    wire::HttpVersion,
    workload::Workload,
};
use crate::domain::limits;

/// When records are stored before the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Load {
    /// If they are not there with this seed and length.
    WhenMissing,
    /// Whether they are there or not.
    Always,
    /// Not at all.
    Never,
    /// And then no run.
    Only,
}

/// `lethe bench ycsb-b --records 100000 --connections 32 --duration 30`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to do.
    #[arg(value_enum)]
    pub(crate) workload: Workload,
    #[command(flatten)]
    pub(crate) tenant: TenantArg,
    /// The collection; created, by subject, if it does not exist. One of its own for each kind of workload where left out.
    #[arg(long, value_name = "NAME")]
    pub(crate) collection: Option<String>,
    /// When to store the records before the run.
    #[arg(long, value_enum, default_value_t = Load::WhenMissing)]
    pub(crate) load: Load,
    /// Records there are; with import those to store, with shred-tenant those of each victim.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) records: Option<u64>,
    /// Bytes of a value, or of the longest one; 1024, 64KiB, 1GiB.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) value_len: Option<u64>,
    /// How long values are.
    #[arg(long, value_enum, default_value_t = LenDist::Fixed)]
    pub(crate) value_dist: LenDist,
    /// How popular records are; the workload's own where left out.
    #[arg(long, value_enum)]
    pub(crate) keys: Option<Keys>,
    /// Connections at a time.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) connections: Option<u16>,
    /// The version of HTTP.
    #[arg(long, value_enum, default_value_t = HttpVersion::One)]
    pub(crate) http: HttpVersion,
    /// Requests at a time on each connection, with HTTP/2.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) streams: u16,
    /// Requests per second, whatever the server does, with ycsb-*, put, get and list (the others go by their own work); latency
    /// then counts from when a request was due.
    #[arg(long, value_name = "PER_SEC", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// How long to measure; import and stream end with their work where left out.
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    pub(crate) duration: Option<Duration>,
    /// How long to run before that.
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    pub(crate) warmup: Option<Duration>,
    /// End after so many operations.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) operations: Option<u64>,
    /// The same seed gives the same records; another one gives others.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// list: names in a group.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) group_len: Option<u64>,
    /// list: what a group is found by.
    #[arg(long, value_enum)]
    pub(crate) by: Option<By>,
    /// import: records in a batch.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=limits::BATCH_OPS.max))]
    pub(crate) batch_len: Option<u64>,
    /// shred-subject: records of each victim.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) per_subject: Option<u64>,
    /// shred-subject: victims of each order, which has one certificate.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=limits::SHRED_SUBJECTS.max))]
    pub(crate) subjects_per_order: Option<u64>,
    /// shred-subject: all connections make their victims first, then order at the same moment.
    #[arg(long)]
    pub(crate) together: bool,
    /// shred-tenant: how long the server may rest between a victim's load and the order.
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    pub(crate) rest: Option<Duration>,
    /// stream: which way.
    #[arg(long, value_enum)]
    pub(crate) direction: Option<Direction>,
    /// Threads of the generator, which shares the machine with the server.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) threads: u8,
    /// Draw latency and throughput over time to this SVG file.
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
}

impl Args {
    /// Refuses what does not go together.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let workload = self.workload;
        let misplaced = [
            ("--group-len", self.group_len.is_some() && workload != Workload::List, "list"),
            ("--by", self.by.is_some() && workload != Workload::List, "list"),
            ("--batch-len", self.batch_len.is_some() && workload != Workload::Import, "import"),
            ("--per-subject", self.per_subject.is_some() && workload != Workload::ShredSubject, "shred-subject"),
            ("--subjects-per-order", self.subjects_per_order.is_some() && workload != Workload::ShredSubject, "shred-subject"),
            ("--together", self.together && workload != Workload::ShredSubject, "shred-subject"),
            ("--rest", self.rest.is_some() && workload != Workload::ShredTenant, "shred-tenant"),
            ("--direction", self.direction.is_some() && workload != Workload::Stream, "stream"),
            ("--keys", self.keys.is_some() && workload.mix().is_none(), "ycsb-*, put and get"),
            ("--rate", self.rate.is_some() && workload.mix().is_none() && workload != Workload::List, "ycsb-*, put, get and list"),
            ("--load only", self.load == Load::Only && !workload.loads(), "ycsb-*, put, get, list and shred-subject"),
        ];
        if let Some((option, _, fitting)) = misplaced.iter().find(|(_, wrong, _)| *wrong) {
            return Err(Failure::local(format!("{option} goes with {fitting} only")));
        }
        if self.streams > 1 && self.http == HttpVersion::One {
            return Err(Failure::local("--streams goes with --http 2 only: HTTP/1.1 has one request at a time on a connection"));
        }
        let places = u64::from(self.connections()).saturating_mul(u64::from(self.streams));
        if self.together && self.operations.is_none_or(|operations| !operations.is_multiple_of(places)) {
            return Err(Failure::local(format!("--together needs --operations, a multiple of {places}: one for each that orders")));
        }
        if self.value_dist != LenDist::Fixed && matches!(workload, Workload::Import | Workload::ShredTenant) {
            return Err(Failure::local("--value-dist: this workload's values have one length"));
        }
        let by_batch = matches!(workload, Workload::Import | Workload::ShredTenant | Workload::ShredSubject);
        let most = if by_batch { limits::INLINE_VALUE_LEN.max } else { limits::VALUE_LEN.max };
        let (least, what) = if workload == Workload::Import {
            (JSON_LEN_MIN, "a record of an import")
        } else {
            (LEN_MIN, "a value, which tells a wrong byte by its head,")
        };
        let len = self.value_len();
        if !(least..=most).contains(&len) {
            return Err(Failure::local(format!("--value-len: {what} has {least} to {most} bytes, not {len}")));
        }
        Ok(())
    }

    /// Bytes of the longest value.
    pub(crate) fn value_len(&self) -> u64 {
        self.value_len.unwrap_or(self.workload.usual().value_len)
    }

    /// How many records there are.
    pub(crate) fn records(&self) -> u64 {
        let records = self.records.unwrap_or(self.workload.usual().records);
        // Whole groups, so that each list has the same length.
        if self.workload == Workload::List {
            return records.div_ceil(self.group_len()).saturating_mul(self.group_len());
        }
        records
    }

    /// Names in a group.
    pub(crate) fn group_len(&self) -> u64 {
        self.group_len.unwrap_or(1_000)
    }

    /// Connections at a time.
    pub(crate) fn connections(&self) -> u16 {
        self.connections.unwrap_or(self.workload.usual().connections)
    }

    /// How long to measure; nothing where the work ends it.
    pub(crate) fn duration(&self) -> Option<Duration> {
        let usual = || if self.operations.is_some() && self.rate.is_none() { None } else { self.workload.usual().duration };
        self.duration.or_else(usual)
    }

    /// After how many operations to end.
    pub(crate) fn operations(&self) -> Option<u64> {
        let both_ways = || u64::from(self.connections()).saturating_mul(u64::from(self.streams)).saturating_mul(2);
        let usual = || (self.workload == Workload::Stream && self.duration.is_none()).then(both_ways);
        self.operations.or_else(usual)
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "KiB" | "k" | "K" => 10,
        "MiB" | "m" | "M" => 20,
        "GiB" | "g" | "G" => 30,
        _ => return Err("the unit must be KiB, MiB or GiB".into()),
    };
    let number: u64 = number.parse().map_err(|_| "it must begin with a number".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "it is too large".into())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let secs: f64 = text.parse().map_err(|_| "it must be a number of seconds".to_owned())?;
    if !(0.0..=86_400.0).contains(&secs) {
        return Err("it must be 0 to 86400 seconds".into());
    }
    Ok(Duration::from_secs_f64(secs))
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "it must be a number".to_owned())?;
    if (0.001..=1e7).contains(&rate) { Ok(rate) } else { Err("it must be 0.001 to 10000000 per second".into()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn checked(line: &str) -> Result<Args, String> {
        let args = Line::try_parse_from(["bench"].into_iter().chain(line.split(' '))).map_err(|error| error.to_string())?.args;
        match args.check() {
            Ok(()) => Ok(args),
            Err(Failure::Local(text)) => Err(text),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn lengths_have_units() {
        assert_eq!(
            [bytes("100"), bytes("1KiB"), bytes("64 k"), bytes("2MiB"), bytes("1GiB")],
            [Ok(100), Ok(1 << 10), Ok(1 << 16), Ok(2 << 20), Ok(1 << 30)]
        );
        for wrong in ["", "KiB", "1TiB", "-1", "1.5MiB", "18446744073709551615KiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused_by_name() {
        for (line, told) in [
            ("get --by prefix", "--by goes with list only"),
            ("list --keys latest", "--keys goes with"),
            ("import --rate 5", "--rate goes with"),
            ("put --together", "--together goes with shred-subject only"),
            ("shred-subject --rest 1", "--rest goes with shred-tenant only"),
            ("get --subjects-per-order 2", "--subjects-per-order goes with shred-subject only"),
            ("shred-subject --together --connections 4 --operations 6", "a multiple of 4"),
            ("shred-subject --together", "needs --operations"),
            ("shred-subject --rate 5", "--rate goes with"),
            ("stream --load only", "--load only goes with"),
            ("get --streams 2", "--streams goes with --http 2"),
            ("get --value-len 31", "32 to"),
            ("import --value-len 100", "128 to 65536"),
            ("get --duration never", "number of seconds"),
            ("get --duration -1", "unexpected argument"),
            ("get --warmup nan", "0 to 86400"),
            ("get --rate 0", "0.001"),
            ("get --rate inf", "0.001"),
            ("get --connections 0", "1..=10000"),
            ("get --records 0", "1..="),
            ("get --http 3", "possible values: 1, 2"),
            ("ycsb-e", "ycsb-a"),
        ] {
            let refused = checked(line).expect_err(line);
            assert!(refused.contains(told), "{line}: {refused}");
        }
    }

    #[test]
    fn what_is_left_out_is_usual_for_the_workload() {
        let args = checked("ycsb-a").unwrap();
        assert_eq!((args.records(), args.value_len(), args.connections(), args.operations()), (10_000, 1_024, 32, None));
        assert_eq!(args.duration(), Some(Duration::from_secs(10)));
        let args = checked("stream --connections 3").unwrap();
        assert_eq!((args.value_len(), args.duration(), args.operations()), (1 << 30, None, Some(6)));
        assert_eq!(checked("list --records 1001").unwrap().records(), 2_000);
        assert_eq!(checked("get --operations 5").unwrap().duration(), None);
    }
}

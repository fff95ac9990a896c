//! The workloads, what is usual for each, and what one connection does in one step.

use std::time::Duration;

use rand::rngs::SmallRng;

use super::{
    batches::Import,
    choose::Keys,
    lists::Lists,
    records::{Mix, Mixed},
    shreds::{Subjects, Tenants},
    streams::Streams,
    tally::Step,
    wire::Wire,
};

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Workload {
    /// Half reads, half updates; zipfian.
    YcsbA,
    /// 95 % reads, 5 % updates; zipfian.
    YcsbB,
    /// Reads; zipfian.
    YcsbC,
    /// 95 % reads, the latest records most; 5 % inserts.
    YcsbD,
    /// Half reads, half read-modify-writes; zipfian.
    YcsbF,
    /// Writes of records that are there; all the same.
    Put,
    /// Reads; all the same.
    Get,
    /// Lists of one group's names.
    List,
    /// New JSON records, in batches, until all are stored.
    Import,
    /// Shreds of persons made for it.
    ShredSubject,
    /// Shreds of tenants made for it; takes an operator's token.
    ShredTenant,
    /// Large values, to the server and back.
    Stream,
}

/// What is usual where nothing is said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usual {
    pub(crate) records: u64,
    pub(crate) value_len: u64,
    pub(crate) connections: u16,
    pub(crate) warmup: Duration,
    /// Nothing where the work itself ends it.
    pub(crate) duration: Option<Duration>,
}

impl Workload {
    /// What is usual.
    pub(crate) const fn usual(self) -> Usual {
        let ten = Some(Duration::from_secs(10));
        let none = Duration::ZERO;
        match self {
            Self::YcsbA | Self::YcsbB | Self::YcsbC | Self::YcsbD | Self::YcsbF | Self::Put | Self::Get => {
                Usual { records: 10_000, value_len: 1_024, connections: 32, warmup: Duration::from_secs(2), duration: ten }
            }
            Self::List => Usual { records: 10_000, value_len: 1_024, connections: 4, warmup: Duration::from_secs(1), duration: ten },
            Self::Import => Usual { records: 100_000, value_len: 300, connections: 4, warmup: none, duration: None },
            Self::ShredSubject => Usual { records: 1_000, value_len: 1_024, connections: 1, warmup: none, duration: ten },
            Self::ShredTenant => Usual { records: 100, value_len: 1_024, connections: 1, warmup: none, duration: ten },
            Self::Stream => Usual { records: 1, value_len: 1 << 30, connections: 1, warmup: none, duration: None },
        }
    }

    /// The mix and the distribution of those that work on single records.
    pub(crate) const fn mix(self) -> Option<(Mix, Keys)> {
        match self {
            Self::YcsbA => Some((Mix { read: 50, update: 50, insert: 0, read_modify_write: 0 }, Keys::Zipfian)),
            Self::YcsbB => Some((Mix { read: 95, update: 5, insert: 0, read_modify_write: 0 }, Keys::Zipfian)),
            Self::YcsbC => Some((Mix::READS, Keys::Zipfian)),
            Self::YcsbD => Some((Mix { read: 95, update: 0, insert: 5, read_modify_write: 0 }, Keys::Latest)),
            Self::YcsbF => Some((Mix { read: 50, update: 0, insert: 0, read_modify_write: 50 }, Keys::Zipfian)),
            Self::Put => Some((Mix { read: 0, update: 100, insert: 0, read_modify_write: 0 }, Keys::Uniform)),
            Self::Get => Some((Mix::READS, Keys::Uniform)),
            Self::List | Self::Import | Self::ShredSubject | Self::ShredTenant | Self::Stream => None,
        }
    }

    /// Whether records are stored before it begins.
    pub(crate) const fn loads(self) -> bool {
        !matches!(self, Self::Import | Self::ShredTenant | Self::Stream)
    }

    /// The collection it works in.
    pub(crate) const fn collection(self) -> &'static str {
        match self {
            Self::List => "bench-list",
            Self::Import => "bench-import",
            Self::ShredSubject => "bench-shred",
            Self::Stream => "bench-stream",
            Self::YcsbA | Self::YcsbB | Self::YcsbC | Self::YcsbD | Self::YcsbF | Self::Put | Self::Get | Self::ShredTenant => "bench",
        }
    }
}

/// What one connection does.
pub(crate) enum Work {
    Mixed(Mixed),
    Lists(Lists),
    Import(Import),
    Streams(Streams),
    Subjects(Subjects),
    Tenants(Tenants),
}

impl Work {
    /// One operation; nothing where none is left.
    pub(crate) async fn step(&mut self, wire: &mut Wire, rng: &mut SmallRng) -> Option<Step> {
        Some(match self {
            Self::Mixed(work) => work.step(wire, rng).await,
            Self::Lists(work) => work.step(wire, rng).await,
            Self::Import(work) => return work.step(wire, rng).await,
            Self::Streams(work) => work.step(wire, rng).await,
            Self::Subjects(work) => work.step(wire, rng).await,
            Self::Tenants(work) => work.step(wire, rng).await,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn shares_make_up_the_whole() {
        for (mix, _) in Workload::value_variants().iter().filter_map(|workload| workload.mix()) {
            assert_eq!(mix.read + mix.update + mix.insert + mix.read_modify_write, 100, "{mix:?}");
        }
    }
}

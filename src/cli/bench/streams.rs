//! The stream workload: large values, made and checked piece by piece, so that memory stays bounded at any length.

use std::sync::Arc;

use rand::rngs::SmallRng;

use super::{
    records::Records,
    tally::{Op, Step},
    wire::Wire,
};
use crate::domain::{Clock as _, SystemClock};

/// Which way values go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Direction {
    /// To the server.
    Put,
    /// From it.
    Get,
    /// To it, and the same value back.
    Both,
}

/// One connection's work on streams: a record of its own.
#[derive(Clone)]
pub(crate) struct Streams {
    pub(crate) records: Arc<Records>,
    pub(crate) direction: Direction,
    /// Which record.
    pub(crate) number: u64,
    /// Whether it was put before.
    pub(crate) stored: bool,
}

impl Streams {
    pub(crate) async fn step(&mut self, wire: &mut Wire, rng: &mut SmallRng) -> Step {
        let put = match self.direction {
            Direction::Put => true,
            Direction::Get => false,
            Direction::Both => !self.stored,
        };
        self.stored = put;
        let begun = SystemClock.monotonic();
        let (op, result) = if put {
            (Op::StreamPut, self.records.write(wire, self.number, self.records.value(rng, self.number)).await)
        } else {
            (Op::StreamGet, self.records.read(wire, self.number).await)
        };
        let bytes = result.as_ref().map_or(0, |bytes| *bytes);
        Step { op, begun, ended: SystemClock.monotonic(), items: 1, bytes, result: result.map(drop) }
    }
}

//! What must be true of a record after a crash: the last acknowledged state, or one that was tried after it.

use crate::random::Random;

/// A record's path below `/v1/tenants/acme/collections/`, and what it may hold.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub(super) path: String,
    pub(super) subject: String,
    /// Lengths of its values are below this.
    pub(super) len_end: usize,
    state: State,
    /// Sent since then, and never answered.
    tried: Vec<State>,
}

/// Absent, or written by the write of this number.
pub(super) type State = Option<u64>;

impl Cell {
    pub(super) fn new(path: String, subject: &str, len_end: usize) -> Self {
        Self { path, subject: subject.to_owned(), len_end, state: None, tried: Vec::new() }
    }

    pub(super) const fn is_there(&self) -> bool {
        self.state.is_some()
    }

    pub(super) fn acknowledged(&mut self, state: State) {
        self.state = state;
        self.tried.clear();
    }

    pub(super) fn unanswered(&mut self, state: State) {
        self.tried.push(state);
    }

    /// Holds what was found after a crash against what may be there, and goes on from it.
    pub(super) fn found(&mut self, state: State) -> Fate {
        let fate = if self.tried.contains(&state) {
            Fate::Done
        } else if self.state == state {
            if self.tried.is_empty() { Fate::Kept } else { Fate::NotDone }
        } else {
            panic!("{}: {:?} was acknowledged, {:?} tried after it, and {state:?} is there", self.path, self.state, self.tried)
        };
        self.acknowledged(state);
        fate
    }
}

/// What became of a record in a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing was under way.
    Kept,
    /// What was under way had been stored.
    Done,
    /// What was under way had not been stored.
    NotDone,
}

/// The value of a record's write: says itself whose it is, and every byte follows from that.
pub(super) fn value(path: &str, number: u64, len: usize) -> Vec<u8> {
    let mut value = format!("{path} {number} {len}\n").into_bytes();
    let mut seed = number ^ len as u64;
    for byte in path.bytes() {
        seed = seed.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte);
    }
    let head = value.len();
    value.resize(head + len, 0);
    Random::new(seed).fill(&mut value[head..]);
    value
}

/// The number of the write that a value is of; panics unless it is that of `path`, and whole.
pub(super) fn number(path: &str, bytes: &[u8]) -> u64 {
    parse(path, bytes).unwrap_or_else(|what| panic!("{path}: {what}: {} bytes", bytes.len()))
}

pub(super) fn parse(path: &str, bytes: &[u8]) -> Result<u64, String> {
    let line = bytes.split(|byte| *byte == b'\n').next().and_then(|line| std::str::from_utf8(line).ok()).ok_or("not text")?;
    let [of, number, len] = line.split(' ').collect::<Vec<_>>()[..] else { return Err(format!("it begins with {line:?}")) };
    let (Ok(number), Ok(len)) = (number.parse(), len.parse()) else { return Err(format!("it begins with {line:?}")) };
    if of != path {
        return Err(format!("the value of {of}"));
    }
    if value(path, number, len) == bytes { Ok(number) } else { Err(format!("write {number} is torn")) }
}

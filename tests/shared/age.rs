//! Identities of age, and what is sealed for them, opened.

use lethe::vault::ops::bundle::{Identity, Incoming};

/// An identity and its recipient.
pub(crate) struct Pair {
    pub(crate) identity: &'static str,
    pub(crate) recipient: &'static str,
}

/// Made by rage, for tests: everybody knows them.
pub(crate) const PAIRS: [Pair; 4] = [
    Pair {
        identity: "AGE-SECRET-KEY-1P5Q3DH0UQEPGY568XX7T7N2Y5H9RYEWFDXKJMDKWRR3LF3F2PZ6QNP0EAM",
        recipient: "age15kgneng4g6avc032e5huw5nv8cjdls5acumc0cjnylpfh2e7cqlqajvj9s",
    },
    Pair {
        identity: "AGE-SECRET-KEY-1URQD6YTSFAMKZWFPHM3JK228A7RKNTYJ7W6GZD96YMMGFF2AA40SYZ2MAD",
        recipient: "age1v8t9qft8gypmt2xnsm8ahpprdwfeash9vacnyl54qagry48hg4assl6hu0",
    },
    Pair {
        identity: "AGE-SECRET-KEY-1TFK9302D8R6KUZLSMWXT2VTVR89XTS8A6RLKMWM6A5PJK6WN5XYQ4UULZY",
        recipient: "age15e7yp50nmst9jwtd7yyl4prhlpe3lqp29384qwkyg2p7k3j6z3esu0nu9v",
    },
    Pair {
        identity: "AGE-SECRET-KEY-1X5FPTHCM4MZX93T04EMSJZ5AJQ368EZR5563FFUSW84XMV86L4VQGQFTJT",
        recipient: "age1a75ssuhnyu26n3umtfll2hts0ll7p36ql6k5rdps0p60hdzx7d2slt6q5c",
    },
];

impl Pair {
    /// What is sealed for it; `None` where it is sealed for somebody else, or does not open whole.
    pub(crate) fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let identity: Identity = self.identity.parse().unwrap();
        let mut incoming = Incoming::open(sealed, &[identity]).ok()?;
        let mut plain = Vec::new();
        while let Some(chunk) = incoming.chunk().ok()? {
            plain.extend_from_slice(chunk);
        }
        Some(plain)
    }
}

//! What stands in the log beside certificates: heads of audit chains, and ends of epochs. Lines of text, no names.

use super::{certificate::EpochChange, merkle::Hash};
use crate::{
    domain::{Epoch, Timestamp},
    vault::keys::EpochRecord,
};

/// A leaf of the log that is no certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaf {
    /// A root over salted commitments to heads of audit chains.
    Heads {
        /// When they were read.
        time: Timestamp,
        /// How many.
        count: u64,
        /// RFC 6962 root over the commitments.
        root: Hash,
    },
    /// An epoch ended: a batch of shreds, or a rotation.
    Epoch {
        /// When.
        time: Timestamp,
        /// From which root to which, as certificates have it.
        change: EpochChange,
    },
}

/// First line of an epoch's leaf.
const EPOCH: &str = "lethe/v1/epoch";

impl Leaf {
    /// What the log is told of an epoch.
    #[must_use]
    pub fn of_epoch(record: &EpochRecord) -> Self {
        Self::Epoch { time: record.at, change: EpochChange::of(record) }
    }

    /// Whether a leaf's bytes are an epoch's.
    #[must_use]
    pub fn is_epoch(bytes: &[u8]) -> bool {
        bytes.strip_prefix(EPOCH.as_bytes()).is_some_and(|rest| rest.starts_with(b"\n"))
    }

    /// The leaf's bytes.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Heads { time, count, root } => {
                format!("lethe/v1/audit-heads\ntime {}\ncount {count}\nroot {}\n", time.to_rfc3339(), hex::encode(root))
            }
            Self::Epoch { time, change } => format!(
                "{EPOCH}\ntime {}\nold {}\nnew {}\nold-root {}\nnew-root {}\nroot-page {}\ndelta {}\n",
                time.to_rfc3339(),
                change.old,
                change.new,
                hex::encode(change.old_root_commitment),
                hex::encode(change.new_root_commitment),
                hex::encode(change.root_page_hash),
                hex::encode(change.delta_hash)
            ),
        }
    }

    /// Reads a leaf; `None` for anything that [`Leaf::to_text`] does not write.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        let header = lines.next()?;
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let time = Timestamp::parse_rfc3339(field("time")?)?;
        let leaf = match header {
            "lethe/v1/audit-heads" => Self::Heads { time, count: field("count")?.parse().ok()?, root: hash(field("root")?)? },
            EPOCH => {
                let change = EpochChange {
                    old: Epoch(field("old")?.parse().ok()?),
                    new: Epoch(field("new")?.parse().ok()?),
                    old_root_commitment: hash(field("old-root")?)?,
                    new_root_commitment: hash(field("new-root")?)?,
                    root_page_hash: hash(field("root-page")?)?,
                    delta_hash: hash(field("delta")?)?,
                };
                Self::Epoch { time, change }
            }
            _ => return None,
        };
        if leaf.to_text() == text { Some(leaf) } else { None }
    }
}

fn hash(text: &str) -> Option<Hash> {
    hex::decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_survive_their_text() {
        let heads = Leaf::Heads { time: Timestamp(1_790_000_000_000), count: 12, root: [0xab; 32] };
        let change = EpochChange {
            old: Epoch(7),
            new: Epoch(8),
            old_root_commitment: [1; 32],
            new_root_commitment: [2; 32],
            root_page_hash: [3; 32],
            delta_hash: [4; 32],
        };
        let epoch = Leaf::Epoch { time: Timestamp(1_790_000_000_000), change };
        assert!(Leaf::is_epoch(epoch.to_text().as_bytes()) && !Leaf::is_epoch(heads.to_text().as_bytes()));
        for leaf in [heads.clone(), epoch] {
            assert_eq!(Leaf::parse(&leaf.to_text()), Some(leaf));
        }
        let text = heads.to_text();
        assert!(text.starts_with("lethe/v1/audit-heads\ntime 2026-09-21T14:13:20.000Z\ncount 12\nroot abab"));
        for broken in [
            text.replace("12", "012"),
            text.replace("ab", "AB"),
            text.replace("audit-heads", "other"),
            format!("{text}\n"),
            text.trim_end().to_owned(),
        ] {
            assert_eq!(Leaf::parse(&broken), None, "{broken}");
        }
    }
}

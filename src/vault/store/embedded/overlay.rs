//! What the commits of a group, not written yet, make of the databases; and how preconditions are judged.

use std::collections::HashMap;

use bytes::Bytes;

use super::super::{Database, Expect, Space, Write};

/// The rows that earlier commits of the group set or removed.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    /// By space.
    rows: [HashMap<Bytes, Option<Bytes>>; SPACES],
    ranges: Vec<(Space, Bytes, Bytes)>,
}

const SPACES: usize = Space::DataAudit as usize + 1;

/// What an overlay knows of a row.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    /// Nothing: the database tells.
    Untouched,
    /// Removed.
    Absent,
    /// Set.
    Value(&'a Bytes),
}

impl Overlay {
    /// Adds a change behind all others.
    pub(super) fn apply(&mut self, write: Write) {
        match write {
            Write::Put { space, key, value } => self.set(space, key, Some(value)),
            Write::Delete { space, key } => self.set(space, key, None),
            Write::DeleteRange { space, from, to } => {
                if from >= to {
                    return;
                }
                if let Some(rows) = self.rows.get_mut(space as usize) {
                    rows.retain(|key, _| *key < from || *key >= to);
                }
                self.ranges.push((space, from, to));
            }
        }
    }

    fn set(&mut self, space: Space, key: Bytes, value: Option<Bytes>) {
        if let Some(rows) = self.rows.get_mut(space as usize) {
            rows.insert(key, value);
        }
    }

    /// What the row is now.
    pub(super) fn see(&self, space: Space, key: &Bytes) -> Seen<'_> {
        match self.rows.get(space as usize).and_then(|rows| rows.get(key)) {
            Some(Some(value)) => Seen::Value(value),
            Some(None) => Seen::Absent,
            None if self.ranges.iter().any(|(at, from, to)| *at == space && from <= key && key < to) => Seen::Absent,
            None => Seen::Untouched,
        }
    }

    /// Whether the row of this database was set or removed within the group.
    pub(super) fn touches(&self, database: Database, space: Space, key: &Bytes) -> bool {
        space.database() == database && self.see(space, key) != Seen::Untouched
    }
}

impl Expect {
    /// Whether a row that holds `value` is as expected.
    pub(super) fn holds(&self, value: Option<&[u8]>) -> bool {
        match (self, value) {
            (Self::Absent, value) => value.is_none(),
            (Self::Present, value) => value.is_some(),
            (Self::Equals(wanted), Some(value)) => wanted == value,
            (Self::Prefix(wanted), Some(value)) => value.starts_with(wanted),
            (Self::Equals(_) | Self::Prefix(_), None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str, value: &'static str) -> Write {
        Write::Put { space: Space::Records, key: key.into(), value: value.into() }
    }

    fn delete_range(from: &'static str, to: &'static str) -> Write {
        Write::DeleteRange { space: Space::Records, from: from.into(), to: to.into() }
    }

    #[test]
    fn a_row_set_behind_a_range_delete_stays_and_one_before_it_goes() {
        let mut overlay = Overlay::default();
        overlay.apply(put("b", "old"));
        overlay.apply(delete_range("a", "c"));
        assert_eq!(overlay.see(Space::Records, &"b".into()), Seen::Absent);
        overlay.apply(put("b", "new"));
        assert_eq!(overlay.see(Space::Records, &"b".into()), Seen::Value(&"new".into()));
        assert_eq!(overlay.see(Space::Records, &"bb".into()), Seen::Absent);
        assert_eq!(overlay.see(Space::Records, &"c".into()), Seen::Untouched);
        assert_eq!(overlay.see(Space::Blobs, &"b".into()), Seen::Untouched);
    }

    #[test]
    fn a_range_without_keys_touches_nothing() {
        let mut overlay = Overlay::default();
        overlay.apply(put("b", "value"));
        overlay.apply(delete_range("c", "a"));
        overlay.apply(delete_range("b", "b"));
        assert_eq!(overlay.see(Space::Records, &"b".into()), Seen::Value(&"value".into()));
    }

    #[test]
    fn each_expectation_is_judged() {
        let equals = Expect::Equals("ab".into());
        let prefix = Expect::Prefix("ab".into());
        for (expect, value, holds) in [
            (&Expect::Absent, None, true),
            (&Expect::Absent, Some(""), false),
            (&Expect::Present, None, false),
            (&Expect::Present, Some(""), true),
            (&equals, Some("ab"), true),
            (&equals, Some("abc"), false),
            (&equals, None, false),
            (&prefix, Some("abc"), true),
            (&prefix, Some("a"), false),
            (&prefix, None, false),
        ] {
            assert_eq!(expect.holds(value.map(str::as_bytes)), holds, "{expect:?} of {value:?}");
        }
    }
}

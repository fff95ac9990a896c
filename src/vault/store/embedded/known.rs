//! Control rows that commits keep asking for: tenants, collections, credentials. Only the committer writes, so what it has
//! seen of a row holds until it writes that row itself.

use std::collections::HashMap;

use bytes::Bytes;

use super::{
    super::{Expect, Space},
    overlay::{Overlay, Seen},
};

/// So many rows are known; then it begins anew, and those that are asked for often are soon back.
const ROWS_MAX: usize = 1_024;
/// A longer one is read each time.
const VALUE_LEN_MAX: usize = 2_048;

/// Rows of [`Space::Control`] that are there, as they are on disk.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<Bytes, Bytes>);

impl Known {
    /// The row's value, if it is known to be there.
    pub(super) fn see(&self, key: &Bytes) -> Option<&Bytes> {
        self.0.get(key)
    }

    /// The copy of a row that was just read, if it is one to keep. Rows that must not be there are asked for once.
    pub(super) fn copy(expect: &Expect, value: Option<&[u8]>) -> Option<Bytes> {
        let wanted = matches!(expect, Expect::Present | Expect::Equals(_));
        value.filter(|value| wanted && value.len() <= VALUE_LEN_MAX).map(Bytes::copy_from_slice)
    }

    /// Takes in what was read.
    pub(super) fn keep(&mut self, key: Bytes, value: Bytes) {
        if self.0.len() >= ROWS_MAX {
            self.0.clear();
        }
        self.0.insert(key, value);
    }

    /// What is known once the changes of a group are on disk.
    pub(super) fn after(mut self, group: &Overlay) -> Self {
        self.0.retain(|key, value| match group.see(Space::Control, key) {
            Seen::Untouched => true,
            Seen::Absent => false,
            Seen::Value(now) => {
                value.clone_from(now);
                true
            }
        });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::Write, *};

    fn known(rows: &[(&'static str, &'static str)]) -> Known {
        let mut known = Known::default();
        for (key, value) in rows {
            known.keep((*key).into(), (*value).into());
        }
        known
    }

    #[test]
    fn a_group_that_is_written_is_followed() {
        let mut group = Overlay::default();
        let space = Space::Control;
        group.apply(Write::Put { space, key: "set".into(), value: "new".into() });
        group.apply(Write::Delete { space, key: "removed".into() });
        group.apply(Write::DeleteRange { space, from: "x".into(), to: "y".into() });
        group.apply(Write::Put { space: Space::ControlAudit, key: "kept".into(), value: "of another space".into() });
        let known = known(&[("set", "old"), ("removed", "r"), ("xx", "r"), ("kept", "k")]).after(&group);
        let seen = ["set", "removed", "xx", "kept"].map(|key| known.see(&key.into()).cloned());
        assert_eq!(seen, [Some("new".into()), None, None, Some("k".into())]);
    }

    #[test]
    fn what_is_known_is_bounded() {
        let mut known = Known::default();
        for number in 0..10 * ROWS_MAX {
            known.keep(number.to_string().into(), "v".into());
            assert!(known.0.len() <= ROWS_MAX);
        }
        let long = vec![0; VALUE_LEN_MAX + 1];
        assert_eq!(Known::copy(&Expect::Present, Some(&long)), None);
        assert_eq!(Known::copy(&Expect::Present, Some(b"v")), Some("v".into()));
        assert_eq!(Known::copy(&Expect::Absent, Some(b"v")), None);
        assert_eq!(Known::copy(&Expect::Present, None), None);
    }
}

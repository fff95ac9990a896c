//! What a credential carries: a role in one tenant, and how far it was narrowed when it was made.

use std::fmt;

use crate::domain::{CollectionName, RecordKey};

/// What a principal may do, before narrowing. `authz::policy` says what each may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Runs the store: creates tenants, sees sizes and health, never data.
    Operator,
    /// Everything within one tenant.
    Owner,
    /// Reads and changes records.
    Writer,
    /// Reads records.
    Reader,
    /// Reads the audit trail and the policies, never records.
    Auditor,
    /// Deletes and shreds, never reads.
    Eraser,
    /// Destroys what is due in the whole store and takes snapshots for backups; reads nothing.
    Job,
    /// Places and releases a tenant's legal holds, and reads no record.
    Counsel,
    /// Approves that minimums of the governance kind are bypassed, and reads no record.
    Governor,
}

impl Role {
    /// All roles, in the order of the golden policy.
    pub const ALL: [Self; 9] =
        [Self::Operator, Self::Owner, Self::Writer, Self::Reader, Self::Auditor, Self::Eraser, Self::Job, Self::Counsel, Self::Governor];

    /// The name clients use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Owner => "owner",
            Self::Writer => "writer",
            Self::Reader => "reader",
            Self::Auditor => "auditor",
            Self::Eraser => "eraser",
            Self::Job => "job",
            Self::Counsel => "counsel",
            Self::Governor => "governor",
        }
    }

    /// The role of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// The role's number in stored rows; never reused for another role.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Operator => 1,
            Self::Owner => 2,
            Self::Writer => 3,
            Self::Reader => 4,
            Self::Auditor => 5,
            Self::Eraser => 6,
            Self::Job => 7,
            Self::Counsel => 8,
            Self::Governor => 9,
        }
    }

    /// The role of that number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.code() == code)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// To what a grant was narrowed. The default narrows nothing; the end time stands beside it, in the stored token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Narrowing {
    /// The only collections it reaches; empty means all.
    pub collections: Vec<CollectionName>,
    /// The only part of each collection it reaches, whole segments.
    pub prefix: Option<RecordKey>,
}

impl Narrowing {
    /// Whether it takes nothing away.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.collections.is_empty() && self.prefix.is_none()
    }

    /// Whether it reaches anything in that collection.
    #[must_use]
    pub fn reaches(&self, collection: &CollectionName) -> bool {
        self.collections.is_empty() || self.collections.contains(collection)
    }

    /// Whether that key, or everything under it, lies within.
    #[must_use]
    pub fn covers(&self, key: &RecordKey) -> bool {
        self.prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix))
    }

    /// Whether everything `other` reaches lies within.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        let collections = self.collections.is_empty()
            || (!other.collections.is_empty() && other.collections.iter().all(|collection| self.collections.contains(collection)));
        let prefix = match (&self.prefix, &other.prefix) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(outer), Some(inner)) => inner.starts_with(outer),
        };
        collections && prefix
    }

    /// `ver u8 (1) | L(prefix) | be16 count | L(collection) ...`, L = be16 length prefix; an empty prefix stands for none.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut row = vec![1];
        put_text(&mut row, self.prefix.as_ref().map_or("", RecordKey::as_str));
        row.extend(u16::try_from(self.collections.len()).unwrap_or(u16::MAX).to_be_bytes());
        for collection in &self.collections {
            put_text(&mut row, collection.as_str());
        }
        row
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` for anything else.
    #[must_use]
    pub fn from_bytes(row: &[u8]) -> Option<Self> {
        let (1, mut rest) = row.split_first().map(|(version, rest)| (*version, rest))? else { return None };
        let prefix = match take_text(&mut rest)? {
            "" => None,
            prefix => Some(RecordKey::parse(prefix).ok()?),
        };
        let count = take_u16(&mut rest)?;
        let collections = (0..count).map(|_| CollectionName::parse(take_text(&mut rest)?).ok()).collect::<Option<Vec<_>>>()?;
        rest.is_empty().then_some(Self { collections, prefix })
    }
}

/// Names and keys are far below 64 KiB, and lists far below 65,536 items (`domain::limits`).
fn put_text(row: &mut Vec<u8>, text: &str) {
    row.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    row.extend(text.as_bytes());
}

fn take_u16(rest: &mut &[u8]) -> Option<u16> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(u16::from_be_bytes(*head))
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let len = usize::from(take_u16(rest)?);
    let (text, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn narrowing(collections: &[&str], prefix: Option<&str>) -> Narrowing {
        Narrowing {
            collections: collections.iter().map(|name| CollectionName::parse(name).unwrap()).collect(),
            prefix: prefix.map(|prefix| RecordKey::parse(prefix).unwrap()),
        }
    }

    #[test]
    fn a_grant_contains_what_is_as_narrow_or_narrower() {
        let whole = Narrowing::default();
        let one = narrowing(&["a"], None);
        let one_part = narrowing(&["a"], Some("eu"));
        assert!(whole.contains(&whole) && whole.contains(&one_part) && one.contains(&one_part));
        assert!(!one.contains(&whole) && !one_part.contains(&one) && !one.contains(&narrowing(&["a", "b"], None)));
        assert!(!one_part.contains(&narrowing(&["a"], Some("europe"))));
        assert!(one_part.contains(&narrowing(&["a"], Some("eu/de"))));
    }

    #[test]
    fn names_and_codes_of_roles_read_back() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.name()), Some(role));
            assert_eq!(Role::from_code(role.code()), Some(role));
        }
        assert_eq!(Role::from_code(0), None);
        assert_eq!(Role::parse("Owner"), None);
    }

    proptest! {
        #[test]
        fn stored_narrowings_read_back(
            prefix in prop::option::of("[a-z]{1,9}(/[a-z]{1,9}){0,2}"), names in prop::collection::vec("[a-z][a-z0-9-]{0,9}", 0..4)
        ) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let narrowing = narrowing(&names, prefix.as_deref());
            let row = narrowing.to_bytes();
            prop_assert_eq!(Narrowing::from_bytes(&row), Some(narrowing));
            prop_assert_eq!(Narrowing::from_bytes(row.split_last().unwrap().1), None);
        }
    }
}

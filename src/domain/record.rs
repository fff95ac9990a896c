//! What a record carries besides its value. Sealed with it; how it is encoded is `vault::crypto`'s.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use super::{
    RecordKey, SubjectId, Timestamp, limits, list,
    retention::{Governed, Kept},
};

/// A record's metadata.
#[derive(Clone, PartialEq, Eq)]
pub struct RecordMeta {
    /// The record's key, so that lists can show names that are not on disk.
    pub key: RecordKey,
    /// MIME type of the value.
    pub content_type: String,
    /// Whom it is about; the first one's unit seals it. May be empty where the unit is not the subject.
    pub subjects: Vec<SubjectId>,
    /// First write of this key since it was last absent.
    pub created_at: Timestamp,
    /// This write.
    pub modified_at: Timestamp,
    /// When it is to be deleted, if ever.
    pub expires_at: Option<Timestamp>,
    /// Length of the value in bytes.
    pub value_len: u64,
    /// Custom pairs, in the order given.
    pub custom: Vec<(String, String)>,
    /// The number of its collection's rules under which it was written: how many there had been before them. Never a client's.
    pub rules_no: u32,
    /// Up to which number its write has seen what was reported of whom it is about; of one that has not looked `None` until it is sealed, and
    /// its version from then on. Never a client's.
    pub reports_no: Option<u64>,
    /// What a law keeps it for beyond what the rules say of it. Never a client's.
    pub kept: Option<Kept>,
    /// The same until somebody bypasses it. Never a client's.
    pub governed: Option<Governed>,
}

impl RecordMeta {
    /// Up to which number its write has seen what was reported; nothing, where that is not known yet.
    #[must_use]
    pub fn reports_seen(&self) -> u64 {
        self.reports_no.unwrap_or(0)
    }
}

impl fmt::Debug for RecordMeta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordMeta").field("value_len", &self.value_len).finish_non_exhaustive()
    }
}

/// Whether a content type is the media type that a header can tell.
#[must_use]
pub fn is_media_type(text: &str) -> bool {
    let token =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    let essence = text.split_once(';').map_or(text, |(essence, _)| essence).trim_end();
    let well_formed = essence.split_once('/').is_some_and(|(kind, subkind)| token(kind) && token(subkind));
    well_formed && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

/// Whether a custom pair of that name can be told in a header: a token, in lower case as every header's name is.
#[must_use]
pub fn is_custom_name(name: &str) -> bool {
    let of_token = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(of_token)
}

/// Custom pairs as JSON has them: an object of text to text, in the order given, each name once; read no further than
/// [`limits::ITEMS_PER_LIST`].
#[derive(Clone, PartialEq, Eq, Default)]
pub struct CustomPairs(pub Vec<(String, String)>);

impl CustomPairs {
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for CustomPairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CustomPairs({})", self.0.len())
    }
}

impl Serialize for CustomPairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, text)| (name, text)))
    }
}

impl<'de> Deserialize<'de> for CustomPairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = CustomPairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of text to text, each name once")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CustomPairs, A::Error> {
                let mut pairs: Vec<(String, String)> = Vec::new();
                while let Some((name, text)) = map.next_entry::<String, String>()? {
                    if pairs.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom("a name twice"));
                    }
                    if pairs.len() as u64 >= limits::ITEMS_PER_LIST.max {
                        return Err(list::over(limits::ITEMS_PER_LIST));
                    }
                    pairs.push((name, text));
                }
                Ok(CustomPairs(pairs))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_keep_their_order_and_no_name_comes_twice() {
        let pairs: CustomPairs = serde_json::from_str(r#"{"b": "1", "a": "", "é": "\u0000"}"#).unwrap();
        assert_eq!(serde_json::to_string(&pairs).unwrap(), r#"{"b":"1","a":"","é":"\u0000"}"#);
        for bad in [r#"{"a":"1","b":"2","a":"1"}"#, r#"{"a":1}"#, r#"{"a":null}"#, r#"["a","b"]"#, "null", r#""a""#] {
            assert!(serde_json::from_str::<CustomPairs>(bad).is_err(), "{bad}");
        }
        let many = |count: u64| (0..count).map(|number| format!("\"{number}\":\"\"")).collect::<Vec<_>>().join(",");
        assert_eq!(serde_json::from_str::<CustomPairs>(&format!("{{{}}}", many(64))).unwrap().0.len(), 64);
        // What follows the first one too many is not read: it is no JSON.
        let over = serde_json::from_str::<CustomPairs>(&format!("{{{},?", many(65))).unwrap_err();
        assert_eq!(list::limit_in(&over.to_string()), Some(limits::ITEMS_PER_LIST), "{over}");
    }
}

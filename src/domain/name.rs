//! Names that callers choose: tenants, collections, record keys, subjects. Parsed once, then trusted.
//!
//! None prints itself through `Debug`: record keys and subjects are often e-mail addresses.

use std::fmt;

use super::limits::{self, Limit};

/// Why a name was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("must not be empty")]
    Empty,
    /// Over a limit of `domain::limits`.
    #[error("longer than {} {} (limit {})", .0.max, .0.unit, .0.name)]
    TooLong(Limit),
    /// Not of the alphabet of tenant and collection names.
    #[error("must start with a letter or digit and hold only a-z, 0-9, '-', '_' and '.'")]
    Alphabet,
    /// An empty, `.` or `..` segment.
    #[error("segments between '/' must not be empty, '.' or '..'")]
    Segment,
    /// A slash inside a segment, that is an encoded one.
    #[error("a segment must not hold an encoded '/'")]
    EncodedSlash,
    /// A NUL character.
    #[error("must not hold NUL")]
    Nul,
    /// Not UTF-8.
    #[error("must be UTF-8")]
    Utf8,
    /// A `%` without two hexadecimal digits.
    #[error("a '%' must be followed by two hexadecimal digits")]
    Percent,
}

fn within(len: usize, limit: Limit) -> Result<(), NameError> {
    if len as u64 > limit.max { Err(NameError::TooLong(limit)) } else { Ok(()) }
}

macro_rules! short_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Parses a name: lower-case letters, digits, `-`, `_`, `.`; at most 64 bytes.
            ///
            /// # Errors
            /// [`NameError`] says which rule it breaks.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                if text.is_empty() {
                    return Err(NameError::Empty);
                }
                within(text.len(), limits::NAME_LEN)?;
                let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
                let first_is_plain = text.bytes().next().is_some_and(plain);
                if !first_is_plain || !text.bytes().all(|byte| plain(byte) || matches!(byte, b'-' | b'_' | b'.')) {
                    return Err(NameError::Alphabet);
                }
                Ok(Self(text.into()))
            }

            /// The name itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

short_name!(
    /// A tenant's name.
    TenantName
);
short_name!(
    /// A collection's name.
    CollectionName
);

/// The opaque id of the person a record is about. UTF-8, at most 256 bytes, no NUL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectId(Box<str>);

impl SubjectId {
    /// Parses a subject's id.
    ///
    /// # Errors
    /// [`NameError`] says which rule it breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        within(text.len(), limits::SUBJECT_LEN)?;
        if text.contains('\0') {
            return Err(NameError::Nul);
        }
        Ok(Self(text.into()))
    }

    /// The id itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id itself, taken out.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0.into()
    }
}

impl fmt::Debug for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectId(..)")
    }
}

/// A record's key: `seg/seg/...`. Segments are UTF-8, not empty, not `.` or `..`, without NUL or `/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey(Box<str>);

impl RecordKey {
    /// Parses a key whose segments are separated by `/`, nothing being encoded (JSON bodies).
    ///
    /// # Errors
    /// [`NameError`] says which rule it breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        within(text.len(), limits::KEY_LEN)?;
        within(text.split('/').count(), limits::KEY_SEGMENTS)?;
        if text.contains('\0') {
            return Err(NameError::Nul);
        }
        if text.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            return Err(NameError::Segment);
        }
        Ok(Self(text.into()))
    }

    /// Parses the tail of a URL's path: split on raw `/` first, then each segment percent-decoded.
    ///
    /// # Errors
    /// [`NameError`] says which rule it breaks; an encoded `/` is one.
    pub fn parse_path(raw: &str) -> Result<Self, NameError> {
        let mut decoded = String::with_capacity(raw.len());
        for (position, segment) in raw.split('/').enumerate() {
            if position > 0 {
                decoded.push('/');
            }
            let segment = percent_decode(segment)?;
            if segment.contains('/') {
                return Err(NameError::EncodedSlash);
            }
            decoded.push_str(&segment);
        }
        Self::parse(&decoded)
    }

    /// The whole key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The whole key, taken out.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0.into()
    }

    /// Its segments, in order.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Whether `prefix` (whole segments) begins this key or equals it.
    #[must_use]
    pub fn starts_with(&self, prefix: &Self) -> bool {
        self.0.strip_prefix(&*prefix.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordKey(..)")
    }
}

/// Decodes `%xx`; every `%` must be followed by two hexadecimal digits, and the result must be UTF-8.
///
/// # Errors
/// [`NameError::Percent`] or [`NameError::Utf8`].
pub fn percent_decode(text: &str) -> Result<String, NameError> {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let two_digits = [bytes.next(), bytes.next()].iter().all(|digit| digit.is_some_and(|digit| digit.is_ascii_hexdigit()));
            if !two_digits {
                return Err(NameError::Percent);
            }
        }
    }
    percent_encoding::percent_decode_str(text).decode_utf8().map(Into::into).map_err(|_| NameError::Utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tricks_with_paths_are_refused() {
        for (raw, error) in [
            ("", NameError::Empty),
            ("a//b", NameError::Segment),
            ("/a", NameError::Segment),
            ("a/", NameError::Segment),
            ("a/./b", NameError::Segment),
            ("a/../b", NameError::Segment),
            ("a/%2e%2e/b", NameError::Segment),
            ("a%2fb", NameError::EncodedSlash),
            ("a%2Fb", NameError::EncodedSlash),
            ("a%00b", NameError::Nul),
            ("a%ffb", NameError::Utf8),
            ("a%", NameError::Percent),
            ("a%2", NameError::Percent),
            ("a%zz", NameError::Percent),
        ] {
            assert_eq!(RecordKey::parse_path(raw).unwrap_err(), error, "{raw:?}");
        }
        let long = "x".repeat(1_025);
        assert!(matches!(RecordKey::parse_path(&long), Err(NameError::TooLong(limit)) if limit.name == "key_len"));
        assert_eq!(RecordKey::parse_path("a/b%20c/%C3%A9").unwrap().as_str(), "a/b c/é");
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let key = RecordKey::parse("users/ann/1").unwrap();
        for (prefix, begins) in [("users", true), ("users/ann", true), ("users/ann/1", true), ("users/an", false), ("user", false)] {
            assert_eq!(key.starts_with(&RecordKey::parse(prefix).unwrap()), begins, "{prefix}");
        }
    }

    #[test]
    fn names_do_not_print() {
        let key = RecordKey::parse("ann@example.com").unwrap();
        assert!(!format!("{key:?}").contains("ann"));
    }
}

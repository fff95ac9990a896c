//! Lists and objects of a JSON document that are read no further than their limit: two bytes of text can make an item of fifty in
//! memory, so counting afterwards would be too late.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use super::limits::{self, Limit};

/// Reads a list of at most so many items, and nothing behind the first one too many.
///
/// # Errors
/// One that [`limit_in`] finds the limit in, or the format's own.
pub fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D, limit: Limit) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(Items { limit, is_known: |_, _| false, item: PhantomData })
}

/// The same where a list may also be null.
///
/// # Errors
/// As [`list`].
pub fn optional<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D, limit: Limit) -> Result<Option<Vec<T>>, D::Error> {
    deserializer.deserialize_option(Optional(Items { limit, is_known: |_, _| false, item: PhantomData }))
}

/// The same, of items that count and are kept once, however often they come.
///
/// # Errors
/// As [`list`].
pub fn optional_set<'de, D: Deserializer<'de>, T: Deserialize<'de> + PartialEq>(
    deserializer: D,
    limit: Limit,
) -> Result<Option<Vec<T>>, D::Error> {
    deserializer.deserialize_option(Optional(Items { limit, is_known: <[T]>::contains, item: PhantomData }))
}

/// What a list says that has one more than its limit.
#[must_use]
pub fn over<E: Error>(limit: Limit) -> E {
    E::custom(format_args!("{OVER}{}", limit.name))
}

/// The limit that a list was over, if that is what the error says.
#[must_use]
pub fn limit_in(message: &str) -> Option<Limit> {
    // Nothing that was sent stands at the beginning of an error of serde's.
    let name = message.strip_prefix(OVER)?.split(' ').next()?;
    limits::ALL.iter().find(|limit| limit.name == name).copied()
}

const OVER: &str = "over the limit ";

struct Items<T> {
    limit: Limit,
    is_known: fn(&[T], &T) -> bool,
    item: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            if (self.is_known)(&items, &item) {
                continue;
            }
            if items.len() as u64 >= self.limit.max {
                return Err(over(self.limit));
            }
            items.push(item);
        }
        Ok(items)
    }
}

struct Optional<T>(Items<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Optional<T> {
    type Value = Option<Vec<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or null")
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self.0).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use serde::de::value::{Error, SeqDeserializer};

    use super::*;

    const TEN: Limit = Limit { name: "subjects_per_record", max: 10, unit: "subjects" };

    #[test]
    fn a_list_is_read_no_further_than_one_beyond_its_limit() {
        let read = |count: u32, of: fn(u32) -> u32, set: bool| {
            let mut taken = 0;
            let items = SeqDeserializer::<_, Error>::new((0..count).map(of).inspect(|_| taken += 1));
            let is_known = if set { <[u32]>::contains } else { |_: &[u32], _: &u32| false };
            let made = items.deserialize_seq(Items { limit: TEN, is_known, item: PhantomData });
            (made.map(|items| items.len()).map_err(|error| limit_in(&error.to_string()).unwrap().name), taken)
        };
        assert_eq!(read(10, |number| number, false), (Ok(10), 10));
        assert_eq!(read(1_000_000, |number| number, false), (Err("subjects_per_record"), 11));
        assert_eq!(read(1_000_000, |number| number, true), (Err("subjects_per_record"), 11));
        assert_eq!(read(1_000, |number| number % 10, true), (Ok(10), 1_000), "one for each that differs");
    }

    #[test]
    fn only_an_error_of_this_kind_has_a_limit() {
        for text in ["", "over the limit ", "over the limit nothing", "invalid type: string \"over the limit subjects_per_record\""] {
            assert_eq!(limit_in(text), None, "{text}");
        }
        assert_eq!(limit_in("over the limit list_limit at line 1 column 2"), Some(limits::LIST_LIMIT));
    }
}

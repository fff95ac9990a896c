//! A place in a JSON value, and the text that stands there. The value is walked, not built: it is somebody's data, and nothing
//! of it is copied but what was asked for.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::domain::limits;

/// A place in a JSON value, as RFC 6901 writes it: `/invoice/date`, `/lines/0/day`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(Box<str>);

impl Pointer {
    /// Parses a pointer of at most 128 bytes. The empty one, which is the whole value, is none here.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let escapes_are_whole = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        (text.starts_with('/') && text.len() as u64 <= limits::ITEM_LEN.max && escapes_are_whole).then(|| Self(text.into()))
    }

    /// The pointer itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text at this place; `None` if the bytes are not one JSON document, nothing or something else than text stands there,
    /// or a name on the way comes twice, for then programs do not agree on what stands there.
    #[must_use]
    pub fn text_in(&self, json: &[u8]) -> Option<String> {
        #[cfg(test)]
        WALKS.with(|walks| walks.set(walks.get().saturating_add(1)));
        let steps: Vec<String> = self.0.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
        let mut reader = serde_json::Deserializer::from_slice(json);
        let found = Steps(&steps).deserialize(&mut reader).ok()?;
        reader.end().ok()?;
        found
    }
}

/// The steps that are left.
struct Steps<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for Steps<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Steps<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.0.is_empty().then(|| text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let mut times = 0_u32;
        while let Some(is_next) = map.next_key_seed(Is(self.0.first()))? {
            if is_next {
                times = times.saturating_add(1);
                found = map.next_value_seed(Steps(self.0.get(1..).unwrap_or_default()))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found.filter(|_| times == 1))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let index = self.0.first().filter(|step| *step == "0" || !step.starts_with(['0', '+'])).and_then(|step| step.parse::<usize>().ok());
        let mut found = None;
        let mut at = 0_usize;
        loop {
            if index == Some(at) {
                match seq.next_element_seed(Steps(self.0.get(1..).unwrap_or_default()))? {
                    Some(text) => found = text,
                    None => return Ok(None),
                }
            } else if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(found);
            }
            at = at.saturating_add(1);
        }
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Whether a name is the one that is looked for.
struct Is<'a>(Option<&'a String>);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        Ok(self.0.is_some_and(|name| name == text))
    }
}

#[cfg(test)]
thread_local! {
    /// Values that this thread has walked through.
    pub(super) static WALKS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn at(pointer: &str, json: &str) -> Option<String> {
        Pointer::parse(pointer).unwrap().text_in(json.as_bytes())
    }

    #[test]
    fn the_text_at_a_place_is_found_and_nothing_else_is() {
        let json = r#"{"a": {"b": ["x", {"c": "deep"}]}, "n": 7, "": "empty", "a/b": "slash", "m~n": "tilde", "é": "\u0041", "0": "zero"}"#;
        for (pointer, text) in [
            ("/a/b/0", Some("x")),
            ("/a/b/1/c", Some("deep")),
            ("/", Some("empty")),
            ("/a~1b", Some("slash")),
            ("/m~0n", Some("tilde")),
            ("/é", Some("A")),
            ("/0", Some("zero")),
            ("/n", None),
            ("/a", None),
            ("/a/b", None),
            ("/a/b/2", None),
            ("/a/b/00", None),
            ("/a/b/+0", None),
            ("/a/b/-", None),
            ("/a/b/0/c", None),
            ("/none", None),
        ] {
            assert_eq!(at(pointer, json).as_deref(), text, "{pointer}");
        }
        for (json, text) in [
            (r#"{"a": "x"} "#, Some("x")),
            (r#"{"a": "x"} 7"#, None),
            (r#"{"a": "x""#, None),
            (r#"{"a": "x", "a": "y"}"#, None),
            (r#"{"a": "x", "a": "x"}"#, None),
            (r#"{"a": "x", "b": "y", "b": "z"}"#, Some("x")),
            (r#"{"a": "x", "b": nonsense}"#, None),
            (r#"["a", "x"]"#, None),
            (r#""a""#, None),
            ("null", None),
            ("", None),
        ] {
            assert_eq!(at("/a", json).as_deref(), text, "{json}");
        }
        assert_eq!(
            at("/a", &format!("{{\"a\": \"x\", \"b\": {}{}}}", "[".repeat(5_000), "]".repeat(5_000))).as_deref(),
            Some("x"),
            "skipped without a stack"
        );
        for none in ["", "a", "/a~", "/a~2", &format!("/{}", "a".repeat(128))] {
            assert_eq!(Pointer::parse(none), None, "{none}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ab/~0-9]{0,3}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[ab/~0-9]{0,2}", inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_walk_finds_what_a_tree_has_there(value in any_json(), steps in proptest::collection::vec("[ab/~0-9]{0,2}", 1..5)) {
            let steps: Vec<String> = steps.iter().map(|step| step.replace('~', "~0").replace('/', "~1")).collect();
            let escaped = format!("/{}", steps.join("/"));
            let pointer = Pointer::parse(&escaped).unwrap();
            let expected = value.pointer(pointer.as_str()).and_then(Value::as_str).map(str::to_owned);
            prop_assert_eq!(pointer.text_in(value.to_string().as_bytes()), expected);
        }
    }
}

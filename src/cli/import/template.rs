//! How a line becomes a key and subjects: a field's name, or a template such as `users/{UserId}`.
//!
//! A number becomes its decimal text exactly as it stands in the line, so `007` cannot become `7` and a
//! large number loses no digit. Inside a template a value must not hold `/`: it could leave its segment.

use std::{borrow::Cow, collections::HashMap};

use serde_json::value::RawValue;

/// A line's fields, their values not parsed yet.
pub(crate) type Fields<'a> = HashMap<Cow<'a, str>, &'a RawValue>;

/// A key's recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Template {
    /// The field's value is the key.
    Field(String),
    /// Text and fields, in turn.
    Parts(Vec<Part>),
}

/// One part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// As it stands.
    Text(String),
    /// The value of this field.
    Field(String),
}

impl std::str::FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("must name a field, or be a template such as users/{UserId}".into());
        }
        if !text.contains(['{', '}']) {
            return Ok(Self::Field(text.into()));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (before, from_brace) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
            if before.contains('}') {
                return Err("a '}' without a '{' before it".into());
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            let Some(inside) = from_brace.strip_prefix('{') else { break };
            let Some((field, after)) = inside.split_once('}') else { return Err("a '{' without a '}' after it".into()) };
            if field.is_empty() || field.contains('{') {
                return Err("braces must hold one field's name".into());
            }
            parts.push(Part::Field(field.into()));
            rest = after;
        }
        if parts.iter().any(|part| matches!(part, Part::Field(_))) {
            Ok(Self::Parts(parts))
        } else {
            Err("a template needs a field, or all keys are the same".into())
        }
    }
}

impl Template {
    /// The key that the template makes of a line.
    pub(crate) fn make(&self, fields: &Fields<'_>) -> Result<String, String> {
        match self {
            Self::Field(name) => text_of(fields, name).map(Cow::into_owned),
            Self::Parts(parts) => parts.iter().try_fold(String::new(), |mut key, part| {
                match part {
                    Part::Text(text) => key.push_str(text),
                    Part::Field(name) => {
                        let text = text_of(fields, name)?;
                        if text.contains('/') {
                            return Err(format!("field {name} holds a '/', which a template does not allow"));
                        }
                        key.push_str(&text);
                    }
                }
                Ok(key)
            }),
        }
    }
}

/// A string's content, or a number's digits.
fn text_of<'a>(fields: &Fields<'a>, name: &str) -> Result<Cow<'a, str>, String> {
    let raw = fields.get(name).ok_or_else(|| format!("field {name} is missing"))?.get();
    scalar(raw).ok_or_else(|| format!("field {name} is neither a string nor a plain decimal number"))
}

fn scalar(raw: &str) -> Option<Cow<'_, str>> {
    if raw.starts_with('"') {
        // A string without escapes is borrowed from the line.
        return serde_json::from_str::<Text<'_>>(raw).ok().map(|text| text.0);
    }
    let number = raw.starts_with(|first: char| first == '-' || first.is_ascii_digit()) && !raw.contains(['e', 'E']);
    number.then_some(Cow::Borrowed(raw))
}

#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The subjects of a line: of each field a string, a number, or a list of them.
pub(crate) fn subjects(names: &[String], fields: &Fields<'_>) -> Result<Vec<String>, String> {
    let mut subjects = Vec::with_capacity(names.len());
    for name in names {
        let raw = fields.get(name.as_str()).ok_or_else(|| format!("field {name} is missing"))?.get();
        if raw.starts_with('[') {
            let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(|error| error.to_string())?;
            for item in items {
                let text = scalar(item.get())
                    .ok_or_else(|| format!("field {name} holds something that is neither a string nor a plain decimal number"))?;
                subjects.push(text.into_owned());
            }
        } else {
            subjects.push(text_of(fields, name)?.into_owned());
        }
    }
    Ok(subjects)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(template: &str, line: &str) -> Result<String, String> {
        template.parse::<Template>().unwrap().make(&serde_json::from_str(line).unwrap())
    }

    #[test]
    fn a_key_is_a_field_or_a_template() {
        for (template, line, expected) in [
            ("CustomerId", r#"{"CustomerId": 7}"#, "7"),
            ("CustomerId", r#"{"CustomerId": "a/b"}"#, "a/b"),
            ("id", r#"{"id": "\u00e9 \"x\""}"#, "é \"x\""),
            ("customers/{id}", r#"{"id": 1.50}"#, "customers/1.50"),
            ("{a}-{b}/x", r#"{"a": "1", "b": 12345678901234567890123}"#, "1-12345678901234567890123/x"),
            ("n", r#"{"n": -3}"#, "-3"),
        ] {
            assert_eq!(key(template, line).unwrap(), expected, "{template} {line}");
        }
    }

    #[test]
    fn a_line_without_a_usable_field_says_which() {
        for (template, line, reason) in [
            ("id", r#"{"ID": 1}"#, "field id is missing"),
            ("id", r#"{"id": null}"#, "field id is neither"),
            ("id", r#"{"id": true}"#, "field id is neither"),
            ("id", r#"{"id": {"a": 1}}"#, "field id is neither"),
            ("id", r#"{"id": 1e5}"#, "field id is neither"),
            ("users/{id}", r#"{"id": "a/b"}"#, "holds a '/'"),
        ] {
            let error = key(template, line).unwrap_err();
            assert!(error.contains(reason), "{template} {line}: {error}");
        }
    }

    #[test]
    fn a_broken_template_is_refused() {
        for template in ["", "{", "}", "a}", "{}", "{a", "{a{b}}", "x{a}}"] {
            assert!(template.parse::<Template>().is_err(), "{template:?}");
        }
    }

    #[test]
    fn subjects_come_from_several_fields_and_from_lists() {
        let line = r#"{"a": 1, "b": ["x", 2], "c": []}"#;
        let names: Vec<String> = ["b", "a", "c"].map(str::to_owned).into();
        assert_eq!(subjects(&names, &serde_json::from_str(line).unwrap()).unwrap(), ["x", "2", "1"]);
        assert!(subjects(&["b".into()], &serde_json::from_str(r#"{"b": [null]}"#).unwrap()).is_err());
        assert!(subjects(&["d".into()], &serde_json::from_str(line).unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn no_value_leaves_its_segment(value in ".*") {
            let line = serde_json::json!({ "id": value }).to_string();
            if let Ok(key) = key("a/{id}/b", &line) {
                prop_assert_eq!(key.split('/').count(), 3);
                prop_assert_eq!(key, format!("a/{value}/b"));
            } else {
                prop_assert!(value.contains('/'));
            }
        }

        #[test]
        fn parsing_a_template_never_panics(text in ".*") {
            drop(text.parse::<Template>());
        }
    }
}

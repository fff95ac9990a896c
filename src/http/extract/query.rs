//! The query string, strictly: known names only, each once, percent-encoded UTF-8.

use http::Uri;

use crate::domain::name::percent_decode;
use crate::http::problem::{Code, Problem};

/// The parameters of a query string, decoded.
pub(in crate::http) struct Query(Vec<(&'static str, String)>);

impl Query {
    /// Parses the query of `uri`, whose parameters may be those of `known`.
    pub(in crate::http) fn parse(uri: &Uri, known: &[&'static str]) -> Result<Self, Problem> {
        let mut parameters: Vec<(&'static str, String)> = Vec::new();
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(name) = known.iter().find(|candidate| **candidate == name) else {
                return Err(Problem::told(Code::MalformedQuery, format!("unknown parameter; this route takes: {}", known.join(", "))));
            };
            if parameters.iter().any(|(seen, _)| seen == name) {
                return Err(Problem::told(Code::MalformedQuery, format!("`{name}` is given twice")));
            }
            // Forms write a space as `+`.
            let value = percent_decode(&value.replace('+', " "))
                .map_err(|error| Problem::told(Code::MalformedQuery, format!("`{name}` {error}")))?;
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    /// The text of a parameter.
    pub(in crate::http) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(candidate, _)| *candidate == name).map(|(_, value)| value.as_str())
    }

    /// The whole number of a parameter.
    pub(in crate::http) fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits => Ok(Some(number)),
            _ => Err(Problem::told(Code::MalformedQuery, format!("`{name}` must be a whole number"))),
        }
    }
}

/// The parameters of lists: where to go on, and how far.
pub(in crate::http) mod page {
    use super::Query;
    use crate::domain::limits;
    use crate::http::problem::{Code, Problem};

    /// The parameters of a list without others.
    pub(in crate::http) const PARAMETERS: &[&str] = &["cursor", "limit"];

    /// Items of a page for who does not say.
    const DEFAULT_LIMIT: usize = 100;

    /// Checks a page's size: 1 to the limit `list_limit`.
    pub(in crate::http) fn checked_limit(limit: Option<u64>) -> Result<usize, Problem> {
        match limit {
            None => Ok(DEFAULT_LIMIT),
            Some(0) => Err(Problem::with(Code::MalformedQuery, "`limit` must be at least 1")),
            Some(limit) if limit > limits::LIST_LIMIT.max => Err(Problem::limit(limits::LIST_LIMIT)),
            Some(limit) => Ok(usize::try_from(limit).unwrap_or(DEFAULT_LIMIT)),
        }
    }

    /// `limit`
    pub(in crate::http) fn limit(query: &Query) -> Result<usize, Problem> {
        checked_limit(query.number("limit")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Query, Code> {
        let uri: Uri = format!("/x?{text}").parse().unwrap();
        Query::parse(&uri, &["prefix", "limit"]).map_err(|problem| problem.code())
    }

    #[test]
    fn known_parameters_are_decoded() {
        let query = parse("prefix=a%2Fb+c&limit=10").unwrap();
        assert_eq!((query.text("prefix"), query.number("limit").unwrap()), (Some("a/b c"), Some(10)));
        assert!(parse("").unwrap().text("prefix").is_none());
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["unknown=1", "prefix=a&prefix=b", "prefix=%zz", "prefix=%ff", "Prefix=a"] {
            assert_eq!(parse(text).err(), Some(Code::MalformedQuery), "{text}");
        }
        for text in ["limit=", "limit=-1", "limit=+1", "limit=1.5", "limit=99999999999999999999", "limit=x", "limit=0x10"] {
            assert_eq!(parse(text).unwrap().number("limit").unwrap_err().code(), Code::MalformedQuery, "{text}");
        }
    }
}

//! How a command ends when it does not succeed: what is said on standard error, and with which exit code.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use serde::{Deserialize, Serialize};

use super::output::{Format, printable};

/// Usage, or something on this machine.
pub(crate) const LOCAL: u8 = 1;
/// The server refused.
pub(crate) const REFUSED: u8 = 2;
/// The server cannot be reached, or the transfer broke.
pub(crate) const UNREACHABLE: u8 = 3;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Usage, or something on this machine: exit code 1.
    Local(String),
    /// The server refused: exit code 2.
    Refused(Box<Problem>),
    /// The transfer broke: exit code 3. What was sent may have been done.
    Unreachable(String),
    /// There is no connection: exit code 3. Nothing was sent.
    NotThere(String),
    /// Already reported line by line; only the exit code is left.
    Reported(u8),
    /// Whoever read standard output has gone, as `head` does: no failure.
    OutputClosed,
}

/// A problem document (RFC 9457) as far as the command line shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The stable code of the catalogue.
    pub(crate) code: String,
    /// What kind of problem.
    pub(crate) title: String,
    /// What about this request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    /// What to quote to whoever runs the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_id: Option<String>,
    /// Which operation of a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) op: Option<usize>,
    /// The token whose secret was shown before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_id: Option<String>,
    /// The certificate of what was shredded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<String>,
    /// The legal hold that keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hold: Option<String>,
    /// The order to shred that waits for the end of holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) order: Option<String>,
    /// The rule whose minimum keeps it, the law that it cites, of which kind it is, until when, and how many records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) basis: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) records: Option<u64>,
    /// `Retry-After`, in seconds.
    #[serde(skip)]
    pub(crate) retry_after_secs: Option<u64>,
}

impl Problem {
    /// One line: title, detail, code.
    pub(crate) fn summary(&self) -> String {
        let mut text = self.title.clone();
        if let Some(detail) = self.detail.as_deref().filter(|detail| !detail.is_empty() && *detail != self.title) {
            text.push_str(": ");
            text.push_str(detail);
        }
        format!("{text} ({} {})", self.status, self.code)
    }

    /// What it names, one a line: what keeps the data, the evidence, what to quote.
    fn named(&self) -> Vec<String> {
        let records = self.records.map(|records| records.to_string());
        let fields = [
            ("certificate", &self.certificate),
            ("hold", &self.hold),
            ("order", &self.order),
            ("rule", &self.rule),
            ("basis", &self.basis),
            ("mode", &self.mode),
            ("until", &self.until),
            ("records", &records),
            ("request id", &self.request_id),
        ];
        fields.into_iter().filter_map(|(name, value)| Some(format!("{name}: {}", value.as_ref()?))).collect()
    }
}

impl Failure {
    /// Usage, or something on this machine.
    pub(crate) fn local(text: impl Into<String>) -> Self {
        Self::Local(text.into())
    }

    /// A file that cannot be used.
    pub(crate) fn file(path: &std::path::Path, error: &io::Error) -> Self {
        Self::Local(format!("{}: {error}", path.display()))
    }

    /// Whether no answer says what became of what was asked.
    pub(crate) fn is_of_no_answer(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::NotThere(_) => true,
            Self::Refused(problem) => problem.status >= 500,
            Self::Local(_) | Self::Reported(_) | Self::OutputClosed => false,
        }
    }

    /// What it is, for a note beside an answer that is there all the same.
    pub(crate) fn summary(&self) -> String {
        match self {
            Self::Local(text) | Self::Unreachable(text) | Self::NotThere(text) => text.clone(),
            Self::Refused(problem) => format!("refused: {}", problem.summary()),
            Self::Reported(_) | Self::OutputClosed => String::new(),
        }
    }

    /// Says it on standard error and gives the exit code.
    pub(crate) fn report(self, format: Format) -> ExitCode {
        let (code, text, problem) = match self {
            Self::Local(text) => (LOCAL, text, None),
            Self::Unreachable(text) | Self::NotThere(text) => (UNREACHABLE, text, None),
            Self::Refused(problem) => {
                let mut lines = vec![format!("refused: {}", problem.summary())];
                lines.extend(problem.named());
                (REFUSED, lines.join("\n"), Some(problem))
            }
            Self::Reported(code) => return ExitCode::from(code),
            Self::OutputClosed => return ExitCode::SUCCESS,
        };
        let line = match format {
            Format::Human => format!("lethe: {}\n", text.split('\n').map(printable).collect::<Vec<_>>().join("\n  ")),
            Format::Json => match problem {
                Some(problem) => format!("{}\n", serde_json::json!({ "error": problem })),
                None => format!("{}\n", serde_json::json!({ "error": { "detail": text } })),
            },
        };
        // Nothing is left to do if standard error is closed.
        drop(io::stderr().write_all(line.as_bytes()));
        ExitCode::from(code)
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        // What cannot be sent was not sent, and fares no better the next time.
        if error.is_builder() {
            return Self::Local("what was given cannot be sent: a header does not take it".into());
        }
        let mut text = if error.is_timeout() {
            "the server did not answer in time".to_owned()
        } else if error.is_connect() {
            "the server cannot be reached".to_owned()
        } else {
            "the transfer broke".to_owned()
        };
        let mut source = std::error::Error::source(&error);
        // The innermost cause is the one that says what to do: connection refused, unknown issuer.
        while let Some(inner) = source.and_then(std::error::Error::source) {
            source = Some(inner);
        }
        if let Some(source) = source {
            text = format!("{text}: {source}");
        }
        if error.is_connect() { Self::NotThere(text) } else { Self::Unreachable(text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_in_one_line_with_its_code() {
        let problem: Problem = serde_json::from_str(
            r#"{"type":"about:blank","title":"Shredded","status":410,"code":"shredded","detail":"the key was destroyed","extra":1}"#,
        )
        .unwrap();
        assert_eq!(problem.summary(), "Shredded: the key was destroyed (410 shredded)");
        let bare = Problem { detail: None, ..problem };
        assert_eq!(bare.summary(), "Shredded (410 shredded)");
        assert!(bare.named().is_empty());
    }

    #[test]
    fn what_keeps_the_data_is_told_with_the_refusal() {
        let told = |text: &str| serde_json::from_str::<Problem>(text).unwrap().named();
        assert_eq!(
            told(r#"{"status":423,"code":"legal-hold","hold":"h1","order":"o1","request_id":"r"}"#),
            ["hold: h1", "order: o1", "request id: r"]
        );
        assert_eq!(
            told(r#"{"status":423,"code":"legal-minimum","rule":"tax","basis":"a law","until":"2031-01-01T00:00:00.000Z","records":2}"#),
            ["rule: tax", "basis: a law", "until: 2031-01-01T00:00:00.000Z", "records: 2"]
        );
        assert_eq!(told(r#"{"status":423,"code":"legal-obligation","order":"o1"}"#), ["order: o1"]);
        assert_eq!(told(r#"{"status":410,"code":"shredded","certificate":"c1"}"#), ["certificate: c1"]);
    }
}

//! Reads JSON Lines and cuts them into batches: at most 1,000 operations and 8 MiB each.
//!
//! A bad line is reported and skipped. Two lines with one key never travel at the same time: the second
//! one waits behind a barrier, so a key that stands twice ends with its last line.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    io::{self, BufRead},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::template::{Fields, Template, subjects};
use crate::{
    cli::record::META,
    domain::{CustomPairs, RecordKey, SubjectId, limits, list},
};

/// One batch's body stays below this, well under the server's limit.
const BATCH_LEN_BYTES: usize = 8 * 1024 * 1024;
/// A longer line is reported, not read into memory.
#[expect(clippy::cast_possible_truncation, reason = "64 MiB; a `usize` of 32 bits holds it")]
pub(crate) const LINE_LEN_BYTES: usize = limits::LINE_LEN.max as usize;
/// So many keys are remembered to keep equal ones apart; then a barrier lets them be forgotten.
const IN_FLIGHT_KEYS: usize = 100_000;

/// What each line is turned into.
#[derive(Debug, Clone)]
pub(crate) enum Recipe {
    /// The line is the value; key and subjects are fields of it.
    Plain {
        /// The key's recipe.
        key: Template,
        /// The subjects' fields.
        subjects: Vec<String>,
        /// Of all records.
        content_type: String,
    },
    /// The line is an envelope, as `export --envelope` writes it.
    Envelope,
}

/// A record as `export --envelope` writes it and `import --envelope` reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Envelope {
    /// The record's key.
    pub(crate) key: String,
    /// Its media type.
    #[serde(default = "octets")]
    pub(crate) content_type: String,
    /// Whom it is about.
    #[serde(default)]
    pub(crate) subjects: Vec<String>,
    /// When it was written; only told, not set again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) modified_at: Option<String>,
    /// When it is to be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<String>,
    /// Its custom pairs.
    #[serde(default, skip_serializing_if = "CustomPairs::is_empty")]
    pub(crate) custom: CustomPairs,
    /// Its person was shredded and is known anew; only read, never written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) new_relationship: bool,
    /// Its value, if that is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
    /// Its value otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) value_base64: Option<String>,
}

fn octets() -> String {
    "application/octet-stream".into()
}

/// One record to put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Put {
    /// Its line's number, from 1.
    pub(crate) line: u64,
    /// Its key.
    pub(crate) key: String,
    /// Whom it is about.
    pub(crate) subjects: Vec<String>,
    /// Its media type.
    pub(crate) content_type: String,
    /// When it is to be deleted.
    pub(crate) expires_at: Option<String>,
    /// Its custom pairs.
    pub(crate) custom: CustomPairs,
    /// Its person was shredded and is known anew.
    pub(crate) new_relationship: bool,
    /// Its value.
    pub(crate) value: Vec<u8>,
}

impl Put {
    /// Whether it is too large for a batch and travels alone.
    pub(crate) fn is_large(&self) -> bool {
        self.value.len() as u64 > limits::INLINE_VALUE_LEN.max
    }

    /// What travels in headers where the value travels alone must be what they can hold; in a batch the server says so.
    fn check_headers(&self) -> Result<(), String> {
        let fits = |text: &str| HeaderValue::from_str(text).is_ok();
        if !fits(&self.content_type) {
            return Err("the content_type is no media type".into());
        }
        if !self.expires_at.as_deref().is_none_or(fits) {
            return Err("the expires_at is no time of RFC 3339".into());
        }
        // Lower case, as the server asks of a batch's: a header would change the name silently.
        let named = |name: &str| {
            HeaderName::from_bytes(format!("{META}{name}").as_bytes()).is_ok_and(|header| header.as_str().strip_prefix(META) == Some(name))
        };
        if self.custom.0.iter().all(|(name, _)| !name.is_empty() && named(name)) {
            Ok(())
        } else {
            Err("a name in custom is not one that a header can have, in lower case".into())
        }
    }

    /// About what it takes in a batch's body.
    fn len(&self) -> usize {
        let texts = self.subjects.iter().chain(self.custom.0.iter().flat_map(|(name, text)| [name, text])).map(String::len);
        [self.value.len(), self.key.len(), 128].into_iter().chain(texts).fold(0, usize::saturating_add)
    }
}

/// A line that cannot be a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bad {
    /// Its number, from 1.
    pub(crate) line: u64,
    /// Why.
    pub(crate) reason: String,
}

/// Some lines, in order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// What to put.
    pub(crate) puts: Vec<Put>,
    /// Lines that cannot be.
    pub(crate) bad: Vec<Bad>,
    /// All lines, empty ones included.
    pub(crate) lines: u64,
    /// The offset behind the last one.
    pub(crate) end: u64,
    /// Whether all earlier batches must be settled before this one is sent.
    pub(crate) barrier: bool,
}

/// Cuts an input into batches.
pub(crate) struct Batches<R> {
    input: R,
    recipe: Recipe,
    new_relationship: bool,
    line: u64,
    offset: u64,
    buffer: Vec<u8>,
    held: Option<Put>,
    barrier: bool,
    hasher: RandomState,
    in_flight: HashSet<u64>,
}

impl<R: BufRead> Batches<R> {
    /// Starts at `offset`, with `lines` lines before it.
    pub(crate) fn new(input: R, recipe: Recipe, offset: u64, lines: u64) -> Self {
        let (hasher, in_flight) = (RandomState::new(), HashSet::new());
        Self {
            input,
            recipe,
            new_relationship: false,
            line: lines,
            offset,
            buffer: Vec::new(),
            held: None,
            barrier: false,
            hasher,
            in_flight,
        }
    }

    /// Whether every record's person is known anew, whatever its line says.
    pub(crate) fn of_a_new_relationship(self, new_relationship: bool) -> Self {
        Self { new_relationship, ..self }
    }

    /// The next batch, or `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Batch>> {
        let barrier = std::mem::take(&mut self.barrier) || self.in_flight.len() >= IN_FLIGHT_KEYS;
        let mut batch = Batch { end: self.offset, barrier, ..Batch::default() };
        if batch.barrier {
            self.in_flight.clear();
        }
        let mut len = 0_usize;
        // A held line was read with the batch before, but is settled with this one.
        if let Some(put) = self.held.take() {
            self.in_flight.insert(self.hasher.hash_one(&put.key));
            len = put.len();
            batch.lines = 1;
            let large = put.is_large();
            batch.puts.push(put);
            if large {
                return Ok(Some(batch));
            }
        }
        while (batch.puts.len() as u64) < limits::BATCH_OPS.max && len < BATCH_LEN_BYTES && batch.lines < 100_000 {
            let before = self.offset;
            let Some(fits) = self.read_line()? else { break };
            self.line = self.line.saturating_add(1);
            let text = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if fits && text.iter().all(u8::is_ascii_whitespace) {
                batch.lines = batch.lines.saturating_add(1);
                batch.end = self.offset;
                continue;
            }
            let made = if fits {
                self.recipe.put(self.line, text)
            } else {
                Err(format!("longer than the limit `line_len` of {LINE_LEN_BYTES} bytes"))
            };
            match made {
                Ok(mut put) => {
                    put.new_relationship |= self.new_relationship;
                    let repeated = !self.in_flight.insert(self.hasher.hash_one(&put.key));
                    let cut = repeated
                        || len.saturating_add(put.len()) > BATCH_LEN_BYTES && !batch.puts.is_empty()
                        || put.is_large() && !batch.puts.is_empty();
                    if cut {
                        self.held = Some(put);
                        self.barrier = repeated;
                        batch.end = before;
                        return Ok(Some(batch));
                    }
                    len = len.saturating_add(put.len());
                    let large = put.is_large();
                    batch.puts.push(put);
                    batch.lines = batch.lines.saturating_add(1);
                    batch.end = self.offset;
                    if large {
                        break;
                    }
                }
                Err(reason) => {
                    batch.bad.push(Bad { line: self.line, reason });
                    batch.lines = batch.lines.saturating_add(1);
                    batch.end = self.offset;
                }
            }
        }
        if batch.puts.is_empty() && batch.lines == 0 {
            return Ok(None);
        }
        Ok(Some(batch))
    }

    /// Reads a line into the buffer; `None` at the end, `false` if it is too long to keep.
    fn read_line(&mut self) -> io::Result<Option<bool>> {
        self.buffer.clear();
        let mut fits = true;
        let mut some = false;
        loop {
            let available = self.input.fill_buf()?;
            if available.is_empty() {
                return Ok(some.then_some(fits));
            }
            some = true;
            let newline = available.iter().position(|byte| *byte == b'\n');
            let take = newline.map_or(available.len(), |position| position.saturating_add(1));
            if self.buffer.len().saturating_add(take) > LINE_LEN_BYTES {
                fits = false;
                self.buffer.clear();
            }
            if fits {
                self.buffer.extend_from_slice(available.get(..take).unwrap_or_default());
            }
            self.input.consume(take);
            self.offset = self.offset.saturating_add(take as u64);
            if newline.is_some() {
                return Ok(Some(fits));
            }
        }
    }
}

impl Recipe {
    fn put(&self, line: u64, bytes: &[u8]) -> Result<Put, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
        let put = match self {
            Self::Plain { key, subjects: names, content_type } => {
                let fields: Fields<'_> = serde_json::from_str(text).map_err(|error| format!("not a JSON object: {}", position(&error)))?;
                let key = key.make(&fields)?;
                Put {
                    line,
                    key,
                    subjects: subjects(names, &fields)?,
                    content_type: content_type.clone(),
                    expires_at: None,
                    custom: CustomPairs::default(),
                    new_relationship: false,
                    value: bytes.to_vec(),
                }
            }
            Self::Envelope => {
                let mut envelope: Envelope =
                    serde_json::from_str(text).map_err(|error| format!("not an envelope: {}", position(&error)))?;
                let value = match (envelope.value.take(), envelope.value_base64.take()) {
                    (Some(text), None) => text.into_bytes(),
                    (None, Some(text)) => STANDARD.decode(text).map_err(|_| "value_base64 is not base64".to_owned())?,
                    (Some(_), Some(_)) | (None, None) => return Err("an envelope holds either value or value_base64".into()),
                };
                let Envelope { key, content_type, subjects, expires_at, custom, new_relationship, .. } = envelope;
                Put { line, key, subjects, content_type, expires_at, custom, new_relationship, value }
            }
        };
        RecordKey::parse(&put.key).map_err(|error| format!("the key {error}"))?;
        for subject in &put.subjects {
            SubjectId::parse(subject).map_err(|error| format!("the subject {error}"))?;
        }
        if put.is_large() {
            put.check_headers()?;
        }
        Ok(put)
    }
}

/// What serde says and where, without the piece of input that its message may quote.
fn position(error: &serde_json::Error) -> String {
    if let Some(limit) = list::limit_in(&error.to_string()) {
        return format!("over the limit `{}` of {} {} at column {}", limit.name, limit.max, limit.unit, error.column());
    }
    let what = match error.classify() {
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => "syntax error",
        serde_json::error::Category::Data => "unexpected type or field",
        serde_json::error::Category::Eof => "ends too early",
    };
    format!("{what} at column {}", error.column())
}

#[cfg(test)]
mod tests;

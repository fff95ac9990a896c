//! The one writer of the command line: a table or a sentence for people, JSON for programs, raw bytes
//! for values. What a server sent is never written to a terminal with its control characters.

use std::io::{self, BufWriter, Write};

use serde_json::Value;

use super::failure::Failure;

/// For whom to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Tables and sentences.
    Human,
    /// One JSON document a line.
    Json,
}

/// Standard output, or a buffer in tests.
pub(crate) struct Output {
    format: Format,
    out: Box<dyn Write + Send>,
}

impl Output {
    /// Writes to standard output.
    pub(crate) fn stdout(format: Format) -> Self {
        Self { format, out: Box::new(BufWriter::new(io::stdout())) }
    }

    /// For whom it writes.
    pub(crate) const fn format(&self) -> Format {
        self.format
    }

    /// A sentence for people, a document for programs.
    pub(crate) fn say(&mut self, human: &str, json: &Value) -> Result<(), Failure> {
        match self.format {
            Format::Human => {
                for line in human.lines() {
                    self.write(printable(line).as_bytes())?;
                    self.write(b"\n")?;
                }
                Ok(())
            }
            Format::Json => self.json(json),
        }
    }

    /// One JSON document on a line of its own, whatever the format.
    pub(crate) fn json(&mut self, json: &Value) -> Result<(), Failure> {
        self.write(format!("{json}\n").as_bytes())
    }

    /// A table for people, the documents themselves for programs: one a line.
    pub(crate) fn rows(&mut self, columns: &[&str], documents: &[Value]) -> Result<(), Failure> {
        if self.format == Format::Json {
            return documents.iter().try_for_each(|document| self.json(document));
        }
        let cells: Vec<Vec<String>> = documents
            .iter()
            .map(|document| columns.iter().map(|column| cell(document.get(*column).unwrap_or(&Value::Null))).collect())
            .collect();
        self.table(columns, &cells)
    }

    /// A table with a head.
    pub(crate) fn table(&mut self, columns: &[&str], cells: &[Vec<String>]) -> Result<(), Failure> {
        let head: Vec<String> = columns.iter().map(|column| column.replace('_', " ").to_uppercase()).collect();
        let width = |position: usize| {
            let of = |row: &Vec<String>| row.get(position).map_or(0, |cell| cell.chars().count());
            cells.iter().map(of).chain([of(&head)]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns.len()).map(width).collect();
        for row in [&head].into_iter().chain(cells) {
            let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            self.write(line.join("  ").trim_end().as_bytes())?;
            self.write(b"\n")?;
        }
        Ok(())
    }

    /// Name and value, one a line, for people; the document itself for programs.
    pub(crate) fn document(&mut self, document: &Value) -> Result<(), Failure> {
        let Some(fields) = document.as_object().filter(|_| self.format == Format::Human) else {
            return self.json(document);
        };
        let width = fields.keys().map(|name| name.chars().count()).max().unwrap_or(0);
        for (name, value) in fields {
            let name = name.replace('_', " ");
            self.write(format!("{name:<width$}  {}\n", cell(value)).as_bytes())?;
        }
        Ok(())
    }

    /// Bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).map_err(|error| closed_or_local(&error))
    }

    /// Everything written so far leaves the process.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|error| closed_or_local(&error))
    }
}

/// A note for people, on standard error, so that it never mixes with what a program reads.
pub(crate) fn note(text: &str) {
    // Nothing is left to do if standard error is closed.
    drop(io::stderr().write_all(format!("{}\n", printable(text)).as_bytes()));
}

/// The text with control characters written as escapes: a record's key may hold any.
pub(crate) fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, character| {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
        line
    })
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => printable(text),
        Value::Array(items) if items.is_empty() => "-".into(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => printable(&value.to_string()),
    }
}

fn closed_or_local(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe { Failure::OutputClosed } else { Failure::local(format!("cannot write: {error}")) }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::*;

    /// What was written, to be read by a test.
    #[derive(Clone, Default)]
    pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }

        pub(crate) fn output(&self, format: Format) -> Output {
            Output { format, out: Box::new(self.clone()) }
        }
    }

    #[test]
    fn a_table_lines_up_and_escapes_control_characters() {
        let written = Written::default();
        let rows = [json!({"key": "a\u{1b}[31m", "size": 7, "subjects": ["1", "2"]}), json!({"key": "longer/key", "size": 12345})];
        written.output(Format::Human).rows(&["key", "size", "subjects"], &rows).unwrap();
        assert_eq!(written.text(), "KEY          SIZE   SUBJECTS\na\\u{1b}[31m  7      1, 2\nlonger/key   12345  -\n");
    }

    #[test]
    fn programs_get_one_document_a_line() {
        let written = Written::default();
        written.output(Format::Json).rows(&["key"], &[json!({"key": "a", "etag": "\"1\""}), json!({"key": "b"})]).unwrap();
        assert_eq!(written.text(), "{\"etag\":\"\\\"1\\\"\",\"key\":\"a\"}\n{\"key\":\"b\"}\n");
    }
}

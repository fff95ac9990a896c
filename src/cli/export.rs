//! `lethe export`: a collection as JSON Lines, the reverse of `lethe import`.
//!
//! Plain lines are the values themselves, for collections of JSON; `--envelope` keeps key, subjects and media
//! type and takes any value. With `--output` a break can be gone on from: after each page of the list the
//! state file notes the cursor and the output's length, and the next run cuts the output back to it.

use std::{
    fs::File,
    io::{BufWriter, Seek, SeekFrom, Write},
    path::PathBuf,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::{StreamExt, stream};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    connection::{Client, Connection, TenantArg},
    failure::{Failure, LOCAL},
    import::{beside, lines::Envelope, progress, state},
    output::{Output, note},
    record::list,
};

/// `lethe export --collection customers --output customers.jsonl`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The collection.
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// Write to this file; without it to standard output, where a break cannot be gone on from.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only keys under this prefix, in whole segments.
    #[arg(long, value_name = "KEY")]
    prefix: Option<String>,
    /// Only records about this person.
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// Write envelopes with key, subjects and value, for `import --envelope`.
    #[arg(long)]
    envelope: bool,
    /// Where to note how far it got; OUTPUT.lethe-export where left out.
    #[arg(long, value_name = "FILE", requires = "output")]
    resume_file: Option<PathBuf>,
    /// Values fetched at a time.
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: u16,
    #[command(flatten)]
    tenant: TenantArg,
}

/// Where an export stands.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    source: String,
    cursor: Option<String>,
    output_len: u64,
    exported: u64,
    skipped: u64,
}

/// What became of one record.
enum Fetched {
    Line(Vec<u8>),
    /// Removed or shredded since it was listed.
    Gone,
    /// It cannot stand on a line.
    Unfit(String),
}

pub(crate) async fn run(args: Args, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    let client = connection.client()?;
    let tenant = args.tenant.name(&client).await?;
    let source = json!([tenant, args.collection, args.prefix, args.subject, args.envelope]).to_string();
    let resume_file = args.output.as_deref().map(|output| args.resume_file.clone().unwrap_or_else(|| beside(output, ".lethe-export")));
    let mut at = match resume_file.as_deref().map(state::read::<State>).transpose()?.flatten() {
        Some(at) if at.source == source => at,
        Some(_) => return Err(Failure::local("an export of something else broke off here; finish that one, or remove its state file")),
        None => State { source, ..State::default() },
    };
    let mut sink = match &args.output {
        Some(path) => Sink::File(open_at(path, at.output_len, at.cursor.is_some()).map_err(|error| Failure::file(path, &error))?),
        None => Sink::Stdout(out),
    };
    let bar = progress(None, at.output_len);
    loop {
        let request =
            list(&client, &tenant, &args.collection, args.prefix.as_deref(), args.subject.as_deref(), at.cursor.as_deref(), 1_000);
        let page = client.json(request).await?;
        let items = page.get("data").and_then(Value::as_array).cloned().unwrap_or_default();
        let fetch_one = |item: Value| fetch(&client, &tenant, &args.collection, item, args.envelope);
        let mut lines = stream::iter(items).map(fetch_one).buffered(usize::from(args.parallel));
        while let Some(fetched) = lines.next().await {
            match fetched? {
                Fetched::Line(line) => {
                    sink.write(&line)?;
                    at.output_len = at.output_len.saturating_add(line.len() as u64);
                    at.exported = at.exported.saturating_add(1);
                }
                Fetched::Gone => {}
                Fetched::Unfit(reason) => {
                    at.skipped = at.skipped.saturating_add(1);
                    bar.suspend(|| note(&reason));
                }
            }
            bar.set_position(at.output_len);
        }
        at.cursor = page.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        sink.flush()?;
        match (&at.cursor, &resume_file) {
            (None, Some(path)) => {
                // There is one only if there was more than one page.
                drop(std::fs::remove_file(path));
                break;
            }
            (None, None) => break,
            (Some(_), Some(path)) => state::write(path, &at)?,
            (Some(_), None) => {}
        }
    }
    bar.finish_and_clear();
    if args.output.is_some() {
        out.say(
            &format!("{} records exported, {} skipped", at.exported, at.skipped),
            &json!({ "exported": at.exported, "skipped": at.skipped, "bytes": at.output_len }),
        )?;
        out.flush()?;
    }
    if at.skipped > 0 { Err(Failure::Reported(LOCAL)) } else { Ok(()) }
}

enum Sink<'a> {
    File(BufWriter<File>),
    Stdout(&'a mut Output),
}

impl Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::File(file) => file.write_all(bytes).map_err(|error| Failure::local(format!("cannot write: {error}"))),
            Self::Stdout(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        match self {
            Self::File(file) => {
                file.flush().and_then(|()| file.get_ref().sync_data()).map_err(|error| Failure::local(format!("cannot write: {error}")))
            }
            Self::Stdout(out) => out.flush(),
        }
    }
}

/// A new file, or the one that a break left, cut back to what is known to be whole.
fn open_at(path: &std::path::Path, len: u64, resumes: bool) -> std::io::Result<BufWriter<File>> {
    let mut file = if resumes { File::options().write(true).open(path)? } else { File::create_new(path)? };
    file.set_len(len)?;
    file.seek(SeekFrom::Start(len))?;
    Ok(BufWriter::with_capacity(1 << 20, file))
}

async fn fetch(client: &Client, tenant: &str, collection: &str, item: Value, envelope: bool) -> Result<Fetched, Failure> {
    let text = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
    let Some(key) = text("key") else { return Ok(Fetched::Unfit("a listed record has no key".into())) };
    let value = match client.send(client.record(Method::GET, tenant, collection, &key)).await {
        Ok(response) => response.bytes().await?.to_vec(),
        Err(Failure::Refused(problem)) if matches!(problem.status, 404 | 410) => return Ok(Fetched::Gone),
        Err(failure) => return Err(failure),
    };
    if !envelope {
        return Ok(plain_line(&key, value));
    }
    let subjects =
        item.get("subjects").and_then(Value::as_array).map(|items| items.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    let (value, value_base64) = match String::from_utf8(value) {
        Ok(text) => (Some(text), None),
        Err(bytes) => (None, Some(STANDARD.encode(bytes.as_bytes()))),
    };
    let envelope = Envelope {
        key,
        content_type: text("content_type").unwrap_or_else(|| "application/octet-stream".into()),
        subjects: subjects.unwrap_or_default(),
        modified_at: text("modified_at"),
        value,
        value_base64,
    };
    let mut line = serde_json::to_vec(&envelope).map_err(|error| Failure::local(error.to_string()))?;
    line.push(b'\n');
    Ok(Fetched::Line(line))
}

/// The value on a line of its own: as it is, or made compact where it spans several.
fn plain_line(key: &str, mut value: Vec<u8>) -> Fetched {
    let Ok(parsed) = serde_json::from_slice::<Box<serde_json::value::RawValue>>(&value) else {
        return Fetched::Unfit(format!("{key}: not JSON; --envelope exports any value"));
    };
    if value.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        value = compact(parsed.get()).into_bytes();
    }
    value.push(b'\n');
    Fetched::Line(value)
}

/// JSON without the white space between its tokens; numbers and strings stay as written.
fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    json.chars()
        .filter(|character| {
            let keep = in_string || !character.is_ascii_whitespace();
            if in_string {
                in_string = escaped || *character != '"';
                escaped = !escaped && *character == '\\';
            } else {
                in_string = *character == '"';
            }
            keep
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_over_several_lines_becomes_one() {
        let value = "{\n  \"a\": 1.50,\n  \"b\": \"x \\\" y\\\\\", \"c d\": [1, 2]\r\n}";
        let Fetched::Line(line) = plain_line("k", value.into()) else { panic!("not a line") };
        assert_eq!(String::from_utf8(line).unwrap(), "{\"a\":1.50,\"b\":\"x \\\" y\\\\\",\"c d\":[1,2]}\n");
        let Fetched::Line(line) = plain_line("k", b"{\"a\": 1}".to_vec()) else { panic!("not a line") };
        assert_eq!(line, b"{\"a\": 1}\n");
        assert!(matches!(plain_line("k", vec![0xff]), Fetched::Unfit(_)));
        assert!(matches!(plain_line("k", b"hello".to_vec()), Fetched::Unfit(_)));
    }

    #[test]
    fn going_on_cuts_the_output_back_and_a_fresh_start_overwrites_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        std::fs::write(&path, "whole\nhal").unwrap();
        assert!(open_at(&path, 0, false).is_err());
        open_at(&path, 6, true).unwrap().write_all(b"next\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "whole\nnext\n");
    }
}

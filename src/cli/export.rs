//! `lethe export`: a collection as JSON Lines, the reverse of `lethe import`.
//!
//! Plain lines are the values themselves, for collections of JSON; `--envelope` keeps key, subjects, media type,
//! end and custom pairs, and takes any value. With `--output` a break can be gone on from: before the first page of the list and after
//! each the state file notes the cursor and the output's length, and the next run cuts the output back to it.
//!
//! Memory is bounded: a value that would not fit a line that `import` takes is left out and told, and those under way
//! share [`BUDGET_KIB`].

use std::{
    fs::File,
    io::{self, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::{StreamExt, stream};
use percent_encoding::percent_decode;
use reqwest::{
    Method,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    bundle,
    connection::{Client, Connection, TenantArg, patiently},
    failure::{Failure, LOCAL},
    import::{
        beside,
        lines::{Envelope, LINE_LEN_BYTES},
        progress, state,
    },
    output::{Output, note},
    record::{META, list},
};
use crate::domain::CustomPairs;

/// What the values under way may take in memory, all together.
const BUDGET_KIB: u32 = 256 * 1024;
/// A value, its base64 and its line are in memory at a time.
const COPIES: u64 = 4;

/// `lethe export --collection customers --output customers.jsonl`, and what else there is to export.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<bundle::Export>,
    #[command(flatten)]
    lines: LineArgs,
}

/// What to export as lines.
#[derive(clap::Args)]
struct LineArgs {
    /// The collection.
    #[arg(long, value_name = "NAME", required = true)]
    collection: Option<String>,
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
    /// Values fetched at a time, fewer of large ones.
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
    let args = match args.command {
        Some(bundle::Export::Tenant(args)) => return Box::pin(bundle::export::run(args, connection, out)).await,
        None => args.lines,
    };
    let Some(collection) = args.collection.clone() else { return Err(Failure::local("which collection? Say --collection NAME")) };
    let client = connection.client()?;
    let tenant = args.tenant.name(&client).await?;
    let resume_file = args.output.as_deref().map(|output| args.resume_file.clone().unwrap_or_else(|| beside(output, ".lethe-export")));
    let (mut at, mut sink) = match (&args.output, &resume_file) {
        (Some(output), Some(file)) => {
            let source = json!([client.destination().await?, tenant, collection, args.prefix, args.subject, args.envelope]);
            let (at, output) = begin(output, file, source.to_string())?;
            (at, Sink::File(output))
        }
        _ => (State::default(), Sink::Stdout(out)),
    };
    let budget = Semaphore::new(BUDGET_KIB as usize);
    let bar = progress(None, at.output_len);
    loop {
        let ask = async || {
            let cursor = at.cursor.as_deref();
            let request = list(&client, &tenant, &collection, args.prefix.as_deref(), args.subject.as_deref(), cursor, 1_000)?;
            client.json(request).await
        };
        let page = patiently(ask).await?;
        let items = page.get("data").and_then(Value::as_array).cloned().unwrap_or_default();
        // Shares are taken in the order of the list, which is the order in which they are given back.
        let shares = stream::iter(items).then(|item| share(&budget, item));
        let fetch_one = |(item, share)| {
            let fetching = fetch(&client, &tenant, &collection, item, args.envelope);
            async move { (fetching.await, share) }
        };
        let mut lines = std::pin::pin!(shares.map(fetch_one).buffered(usize::from(args.parallel)));
        while let Some((fetched, _share)) = lines.next().await {
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
                // Without it the next export finds its output there, and refuses to write over it.
                std::fs::remove_file(path).map_err(|error| Failure::file(path, &error))?;
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

/// Goes on where the state says, or begins a new output. The state is there before the output, so that what a break leaves
/// is always known for what it is.
fn begin(output: &Path, file: &Path, source: String) -> Result<(State, BufWriter<File>), Failure> {
    let broken = |error: io::Error| Failure::file(output, &error);
    match state::read::<State>(file)? {
        Some(at) if at.source == source => {
            let opened = open_at(output, at.output_len).map_err(broken)?;
            Ok((at, opened))
        }
        Some(at) => Err(Failure::local(format!(
            "{}: an export of {} broke off here, this one is of {source}; finish that one, or remove the file",
            file.display(),
            at.source
        ))),
        None if output.exists() => Err(broken(io::ErrorKind::AlreadyExists.into())),
        None => {
            let at = State { source, ..State::default() };
            state::write(file, &at)?;
            let made = File::create_new(output).inspect_err(|_| drop(std::fs::remove_file(file)));
            Ok((at, BufWriter::with_capacity(1 << 20, made.map_err(broken)?)))
        }
    }
}

/// The output that a break left, cut back to what is known to be whole. A shorter one is not that output.
fn open_at(path: &Path, len: u64) -> io::Result<BufWriter<File>> {
    let mut file = File::options().write(true).create(len == 0).truncate(false).open(path)?;
    let found = file.metadata()?.len();
    if found < len {
        let short = format!("{found} bytes long, but {len} were written before the break; remove it and its state file to start afresh");
        return Err(io::Error::new(io::ErrorKind::InvalidData, short));
    }
    file.set_len(len)?;
    file.seek(SeekFrom::Start(len))?;
    Ok(BufWriter::with_capacity(1 << 20, file))
}

type Share<'a> = Option<SemaphorePermit<'a>>;

/// Waits until there is room for the value of a listed record.
async fn share(budget: &Semaphore, item: Value) -> (Value, Share<'_>) {
    let size = item.get("size").and_then(Value::as_u64).unwrap_or(0);
    let kib = u32::try_from(size.saturating_mul(COPIES) / 1024).unwrap_or(u32::MAX).clamp(1, BUDGET_KIB);
    // The budget is never closed.
    let share = budget.acquire_many(kib).await.ok();
    (item, share)
}

async fn fetch(client: &Client, tenant: &str, collection: &str, item: Value, envelope: bool) -> Result<Fetched, Failure> {
    let text = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
    let Some(key) = text("key") else { return Ok(Fetched::Unfit("a listed record has no key".into())) };
    let (head, value) = match patiently(async || read(client, tenant, collection, &key).await).await {
        Ok(Some(read)) => read,
        Ok(None) => return Ok(too_long(&key)),
        Err(Failure::Refused(problem)) if matches!(problem.status, 404 | 410) => return Ok(Fetched::Gone),
        // Listed to who audits what legal holds have left, and kept for its legal purpose alone.
        Err(Failure::Refused(problem)) if problem.code == "forbidden" => {
            return Ok(Fetched::Unfit(format!("{key}: not read without its legal purpose; lethe record get --purpose fetches it")));
        }
        Err(failure) => return Err(failure),
    };
    if !envelope {
        return Ok(fitting(&key, plain_line(&key, value)));
    }
    let subjects =
        item.get("subjects").and_then(Value::as_array).map(|items| items.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    let (value, value_base64) = match String::from_utf8(value) {
        Ok(text) => (Some(text), None),
        Err(bytes) => (None, Some(STANDARD.encode(bytes.as_bytes()))),
    };
    let envelope = Envelope {
        key: key.clone(),
        content_type: text("content_type").unwrap_or_else(|| "application/octet-stream".into()),
        subjects: subjects.unwrap_or_default(),
        modified_at: text("modified_at"),
        expires_at: head.get("lethe-expires-at").and_then(|time| time.to_str().ok()).map(str::to_owned),
        custom: custom(&head),
        new_relationship: false,
        value,
        value_base64,
    };
    let mut line = serde_json::to_vec(&envelope).map_err(|error| Failure::local(error.to_string()))?;
    line.push(b'\n');
    Ok(fitting(&key, Fetched::Line(line)))
}

/// A record's head and value, or `None` if it is longer than any line may be; the rest is not fetched then.
async fn read(client: &Client, tenant: &str, collection: &str, key: &str) -> Result<Option<(HeaderMap, Vec<u8>)>, Failure> {
    let mut response = client.send(client.record(Method::GET, tenant, collection, key)?).await?;
    let mut value = Vec::new();
    if response.content_length().is_some_and(|len| len > LINE_LEN_BYTES as u64) {
        return Ok(None);
    }
    while let Some(chunk) = response.chunk().await? {
        if value.len().saturating_add(chunk.len()) > LINE_LEN_BYTES {
            return Ok(None);
        }
        value.extend_from_slice(&chunk);
    }
    Ok(Some((response.headers().clone(), value)))
}

fn fitting(key: &str, fetched: Fetched) -> Fetched {
    if matches!(&fetched, Fetched::Line(line) if line.len() > LINE_LEN_BYTES) { too_long(key) } else { fetched }
}

fn too_long(key: &str) -> Fetched {
    Fetched::Unfit(format!(
        "{key}: its line would be longer than the limit `line_len` of {LINE_LEN_BYTES} bytes; lethe record get fetches it"
    ))
}

/// The custom pairs that an answer carries, by name.
fn custom(head: &HeaderMap) -> CustomPairs {
    let pair = |(name, text): (&HeaderName, &HeaderValue)| {
        let text = percent_decode(text.as_bytes()).decode_utf8().ok()?;
        Some((name.as_str().strip_prefix(META)?.to_owned(), text.into_owned()))
    };
    let mut pairs: Vec<(String, String)> = head.iter().filter_map(pair).collect();
    pairs.sort_unstable();
    CustomPairs(pairs)
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
        let file = dir.path().join("state");
        assert!(begin(&path, &file, "s".into()).is_err(), "an output of somebody else's");
        assert!(!file.exists());
        let broken = State { source: "s".into(), output_len: 6, ..State::default() };
        state::write(&file, &broken).unwrap();
        begin(&path, &file, "s".into()).unwrap().1.write_all(b"next\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "whole\nnext\n");
        assert!(begin(&path, &file, "t".into()).is_err(), "another source");
    }

    #[test]
    fn an_output_that_got_shorter_is_not_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let (path, file) = (dir.path().join("out"), dir.path().join("state"));
        state::write(&file, &State { source: "s".into(), output_len: 6, ..State::default() }).unwrap();
        for text in ["who", ""] {
            std::fs::write(&path, text).unwrap();
            assert!(begin(&path, &file, "s".into()).is_err());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        std::fs::remove_file(&path).unwrap();
        assert!(begin(&path, &file, "s".into()).is_err(), "an output that is gone");
    }

    #[test]
    fn an_export_is_known_from_before_its_first_byte() {
        let dir = tempfile::tempdir().unwrap();
        let (path, file) = (dir.path().join("out"), dir.path().join("state"));
        begin(&path, &file, "s".into()).unwrap().1.write_all(b"half a page").unwrap();
        assert!(file.exists());
        let (at, _) = begin(&path, &file, "s".into()).unwrap();
        assert_eq!((at.output_len, std::fs::metadata(&path).unwrap().len()), (0, 0));
        std::fs::remove_file(&path).unwrap();
        assert!(begin(&path, &file, "s".into()).is_ok(), "a break between state and output");
    }

    #[tokio::test]
    async fn large_values_wait_for_each_other() {
        let budget = Semaphore::new(BUDGET_KIB as usize);
        let (_, large) = share(&budget, json!({ "size": LINE_LEN_BYTES })).await;
        assert_eq!(budget.available_permits(), 0, "one of the longest takes all");
        drop(large);
        let (_, small) = share(&budget, json!({ "size": 0 })).await;
        assert!(small.is_some());
        assert_eq!(budget.available_permits(), BUDGET_KIB as usize - 1);
    }
}

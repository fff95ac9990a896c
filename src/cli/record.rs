//! `lethe record`: put, get, list, remove. Values stream in both directions; `-` is standard input.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, header};
use serde_json::{Value, json};
use tokio_util::io::ReaderStream;

use super::{
    confirm::confirm,
    connection::{Client, Connection, TenantArg},
    failure::Failure,
    output::Output,
};

/// What to do with records.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Store a value under a key.
    Put(PutArgs),
    /// Fetch a value.
    Get {
        /// Which collection.
        collection: String,
        /// Which record.
        key: String,
        /// Write to this file instead of standard output; it appears only when it is whole.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Only these bytes, for example 0-1023.
        #[arg(long, value_name = "FROM-TO")]
        range: Option<String>,
        /// What the data is wanted for; goes into the audit trail.
        #[arg(long)]
        purpose: Option<String>,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// List records.
    Ls {
        /// Which collection.
        collection: String,
        /// Only keys under this prefix, in whole segments.
        #[arg(long, value_name = "KEY")]
        prefix: Option<String>,
        /// Only records about this person.
        #[arg(long, value_name = "ID")]
        subject: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// All of them.
        #[arg(long, conflicts_with = "limit")]
        all: bool,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Remove a record. Its bytes may live on in old backups; `lethe shred record` leaves nothing readable.
    Rm {
        /// Which collection.
        collection: String,
        /// Which record.
        key: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        tenant: TenantArg,
    },
}

/// A value to store.
#[derive(clap::Args)]
pub(crate) struct PutArgs {
    /// Which collection.
    collection: String,
    /// Which record.
    key: String,
    /// The value's file; '-' for standard input.
    #[arg(default_value = "-")]
    file: PathBuf,
    /// The person it is about; may be repeated, the first one's key seals it.
    #[arg(long = "subject", value_name = "ID")]
    subjects: Vec<String>,
    /// The value's media type.
    #[arg(long, default_value = "application/octet-stream")]
    content_type: String,
    /// Only if the record still has this `ETag`.
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    /// Only if there is no such record yet.
    #[arg(long, conflicts_with = "if_match")]
    create_only: bool,
    /// When it is to be deleted (RFC 3339).
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// The person was shredded and is known anew: opens a new key, and is audited.
    #[arg(long)]
    new_relationship: bool,
    /// A pair of the application's own, kept with the record; may be repeated. Names are put in lower case.
    #[arg(long = "meta", value_name = "NAME=TEXT", value_parser = pair)]
    pairs: Vec<(String, String)>,
    /// What the data is stored for; goes into the audit trail.
    #[arg(long)]
    purpose: Option<String>,
    #[command(flatten)]
    tenant: TenantArg,
}

pub(crate) async fn run(command: Command, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    let client = connection.client()?;
    match command {
        Command::Put(args) => put(args, &client, out).await,
        Command::Get { collection, key, output, range, purpose, tenant } => {
            let tenant = tenant.name(&client).await?;
            let mut request = client.record(Method::GET, &tenant, &collection, &key)?;
            if let Some(range) = range {
                request = request.header(header::RANGE, format!("bytes={range}"));
            }
            if let Some(purpose) = purpose {
                request = request.header("lethe-purpose", header_list(std::slice::from_ref(&purpose)));
            }
            let response = client.send(request).await?;
            match output.filter(|path| path != Path::new("-")) {
                Some(path) => save(response, &path).await,
                None => print(response, out).await,
            }
        }
        Command::Ls { collection, prefix, subject, limit, all, tenant } => {
            let tenant = tenant.name(&client).await?;
            let most = if all { usize::MAX } else { limit };
            let page =
                |cursor: Option<&str>| list(&client, &tenant, &collection, prefix.as_deref(), subject.as_deref(), cursor, most.min(1_000));
            let rows = client.pages(page, most).await?;
            out.rows(&["key", "size", "content_type", "modified_at", "subjects", "etag"], &rows)
        }
        Command::Rm { collection, key, yes, tenant } => {
            let tenant = tenant.name(&client).await?;
            confirm(&format!("removes record {key} of {collection}"), &key, yes)?;
            client.json(client.record(Method::DELETE, &tenant, &collection, &key)?).await?;
            out.say("removed", &json!({ "key": key, "removed": true }))
        }
    }
}

/// A page of a list. By body: names and subjects may be personal, and addresses are logged on the way.
pub(crate) fn list(
    client: &Client,
    tenant: &str,
    collection: &str,
    prefix: Option<&str>,
    subject: Option<&str>,
    cursor: Option<&str>,
    limit: usize,
) -> Result<reqwest::RequestBuilder, Failure> {
    let mut body = json!({ "limit": limit });
    if let Some(fields) = body.as_object_mut() {
        for (name, value) in [("prefix", prefix), ("subject", subject), ("cursor", cursor)] {
            fields.extend(value.map(|value| (name.to_owned(), Value::from(value))));
        }
    }
    Ok(client.request(Method::POST, &["v1", "tenants", tenant, "collections", collection, "query"])?.json(&body))
}

/// What the headers of custom pairs begin with.
pub(crate) const META: &str = "lethe-meta-";

/// The value of a header of several texts, or of one: comma-separated, percent-encoded.
pub(crate) fn header_list(subjects: &[String]) -> String {
    subjects.iter().map(|subject| utf8_percent_encode(subject, NON_ALPHANUMERIC).to_string()).collect::<Vec<_>>().join(",")
}

/// A pair as it is given: the name is what a header's may be.
fn pair(text: &str) -> Result<(String, String), String> {
    let (name, text) = text.split_once('=').ok_or("must be NAME=TEXT")?;
    let header = header::HeaderName::from_bytes(format!("{META}{name}").as_bytes()).ok().filter(|_| !name.is_empty());
    let header = header.ok_or("the name must be one that a header can have")?;
    Ok((header.as_str().strip_prefix(META).unwrap_or_default().to_owned(), text.to_owned()))
}

async fn put(args: PutArgs, client: &Client, out: &mut Output) -> Result<(), Failure> {
    let tenant = args.tenant.name(client).await?;
    let mut request = client.record(Method::PUT, &tenant, &args.collection, &args.key)?.header(header::CONTENT_TYPE, &args.content_type);
    if !args.subjects.is_empty() {
        request = request.header("lethe-subject", header_list(&args.subjects));
    }
    if let Some(etag) = &args.if_match {
        request = request.header(header::IF_MATCH, etag);
    }
    if args.create_only {
        request = request.header(header::IF_NONE_MATCH, "*");
    }
    if let Some(time) = &args.expires_at {
        request = request.header("lethe-expires-at", time);
    }
    if args.new_relationship {
        request = request.header("lethe-new-relationship", "true");
    }
    for (name, text) in &args.pairs {
        request = request.header(format!("{META}{name}"), header_list(std::slice::from_ref(text)));
    }
    if let Some(purpose) = &args.purpose {
        request = request.header("lethe-purpose", header_list(std::slice::from_ref(purpose)));
    }
    request = if args.file == Path::new("-") {
        request.body(reqwest::Body::wrap_stream(ReaderStream::with_capacity(tokio::io::stdin(), 65_536)))
    } else {
        let broken = |error: std::io::Error| Failure::file(&args.file, &error);
        let file = tokio::fs::File::open(&args.file).await.map_err(broken)?;
        let len = file.metadata().await.map_err(broken)?.len();
        request.header(header::CONTENT_LENGTH, len).body(reqwest::Body::wrap_stream(ReaderStream::with_capacity(file, 65_536)))
    };
    let response = client.send(request).await?;
    let created = response.status() == reqwest::StatusCode::CREATED;
    let etag = response.headers().get(header::ETAG).and_then(|etag| etag.to_str().ok()).unwrap_or_default().to_owned();
    let verb = if created { "created" } else { "replaced" };
    out.say(&format!("{verb} {}  {etag}", args.key), &json!({ "key": args.key, "created": created, "etag": etag }))
}

async fn print(mut response: reqwest::Response, out: &mut Output) -> Result<(), Failure> {
    while let Some(chunk) = response.chunk().await? {
        out.write(&chunk)?;
    }
    Ok(())
}

/// Writes beside the target and renames: a transfer that breaks leaves no half file under the name.
pub(crate) async fn save(mut response: reqwest::Response, path: &Path) -> Result<(), Failure> {
    let broken = |error: std::io::Error| Failure::file(path, &error);
    let partial = part_of(path);
    let mut file = std::fs::File::create(&partial).map_err(broken)?;
    let received = async {
        while let Some(chunk) = response.chunk().await? {
            file.write_all(&chunk).map_err(broken)?;
        }
        file.sync_all().map_err(broken)
    }
    .await;
    match received {
        Ok(()) => std::fs::rename(&partial, path).map_err(broken),
        Err(failure) => {
            // The failure itself matters more than the file that it leaves.
            drop(std::fs::remove_file(&partial));
            Err(failure)
        }
    }
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

/// A whole small file; `-` is standard input.
pub(crate) fn read_all(path: &Path) -> Result<Vec<u8>, Failure> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map_err(|error| Failure::local(format!("standard input: {error}")))?;
        return Ok(bytes);
    }
    std::fs::read(path).map_err(|error| Failure::file(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_encoded_so_that_a_comma_in_an_id_stays_in_it() {
        assert_eq!(header_list(&["a,b".into(), "é 1".into()]), "a%2Cb,%C3%A9%201");
    }

    #[test]
    fn a_pair_is_a_name_for_a_header_and_any_text() {
        let of = |name: &str, text: &str| Ok((name.to_owned(), text.to_owned()));
        assert_eq!(pair("origin=café = 1"), of("origin", "café = 1"));
        assert_eq!(pair("Origin="), of("origin", ""));
        assert_eq!(pair("lethe-meta-a=b"), of("lethe-meta-a", "b"));
        for bad in ["", "=", "=x", "name", "a b=x", "é=x", "a:b=x"] {
            assert!(pair(bad).is_err(), "{bad:?}");
        }
    }
}

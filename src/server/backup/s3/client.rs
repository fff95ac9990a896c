//! Requests to an S3 server, each signed, bounded in time and tried again where it may pass: small objects as a whole, files as streams of
//! which no more than a part is in memory.
//!
//! No proxy is used and no redirect followed, whatever the environment says: what is signed goes to the address that was given.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_credential_types::Credentials;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode, Url, header};
use sha2::{Digest as _, Sha256};
use tokio_util::io::ReaderStream;

use super::{
    Settings, answer,
    error::{Kind, S3Error},
    sign::Signer,
};
use crate::{
    domain::{Clock as _, SystemClock},
    server::backup::{BackupError, Progress},
};

/// How often something is tried that may pass.
const TRIES: u32 = 8;
/// Between the first two tries; twice as long each time, up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A small request has its answer within this.
const ANSWER: Duration = Duration::from_mins(1);
/// A transfer of which nothing moves for so long is broken off.
const STALL_SECS: u32 = 60;
/// Bytes of one read of a file that is sent.
const CHUNK: usize = 256 * 1024;
/// The longest object that is read as a whole: a manifest of a million files has less.
const SMALL: usize = 512 * 1024 * 1024;
/// So much of a refusal is read, and so much of it shown.
const REFUSAL: usize = 64 * 1024;
const SHOWN: usize = 300;

/// What stays as it is in a query: RFC 3986 "unreserved".
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// On which condition an object is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Condition<'a> {
    /// There is none of that name.
    Absent,
    /// The one that is there has this entity tag.
    Is(&'a str),
}

/// What became of a conditional write.
#[derive(Debug)]
pub(super) enum Put {
    /// It was written, and has this entity tag.
    Done(String),
    /// The condition was not met.
    Unmet,
}

/// A small object.
#[derive(Debug)]
pub(super) struct Small {
    pub(super) bytes: Vec<u8>,
    pub(super) etag: String,
}

/// An answer that is not a failure.
enum Reply {
    Good(Response),
    /// There is no such object.
    Absent,
    /// The condition was not met.
    Unmet,
}

/// Who asks an S3 server about what lies below a prefix in a bucket.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    /// Of the bucket, without a slash at its end.
    base: String,
    /// What all names begin with: nothing, or something that ends with a slash.
    prefix: String,
    /// `s3://BUCKET/PREFIX`, without a slash at its end.
    shown: String,
    region: String,
    credentials: Credentials,
    /// Whether the server is relied on for conditional writes.
    is_conditional: bool,
    /// Whether it has answered before.
    was_there: AtomicBool,
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Result<Self, S3Error> {
        let (base, region) = settings.address()?;
        let wrong = |told: String| S3Error::new(Kind::Settings, settings.shown(), told);
        // Fails only where a provider is installed already, which serves as well.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .connect_timeout(Duration::from_secs(10))
            .pool_max_idle_per_host(super::AT_A_TIME)
            .user_agent(concat!("lethe/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &settings.ca {
            let pem = fs::read(path).map_err(|error| wrong(format!("{}: {error}", path.display())))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
            if certificates.is_empty() {
                return Err(wrong(format!("{}: holds no PEM certificates", path.display())));
            }
            builder = builder.tls_certs_only(certificates);
        }
        let http = builder.build().map_err(|error| wrong(format!("cannot make a client: {error}")))?;
        let prefix = if settings.prefix.is_empty() { String::new() } else { format!("{}/", settings.prefix) };
        Ok(Self {
            http,
            base,
            prefix,
            shown: settings.shown(),
            region,
            credentials: settings.credentials.clone(),
            is_conditional: !settings.unconditional,
            was_there: AtomicBool::new(false),
        })
    }

    /// How an object is called in messages; all of them, by an empty name.
    pub(super) fn shown(&self, name: &str) -> String {
        if name.is_empty() { self.shown.clone() } else { format!("{}/{name}", self.shown) }
    }

    pub(super) const fn is_conditional(&self) -> bool {
        self.is_conditional
    }

    /// A small object; `None` where there is none.
    pub(super) async fn get(&self, name: &str) -> Result<Option<Small>, BackupError> {
        patiently(async || Ok(self.get_once(name).await?)).await
    }

    /// The same, tried once.
    pub(super) async fn get_once(&self, name: &str) -> Result<Option<Small>, S3Error> {
        let request = self.request(Method::GET, &self.object(name)?, &[], &empty())?;
        match self.answered(name, request).await? {
            Reply::Good(response) => {
                let etag = etag_of(&response);
                Ok(Some(Small { bytes: self.all_of(name, response, SMALL).await?, etag }))
            }
            Reply::Absent => Ok(None),
            Reply::Unmet => Err(S3Error::new(Kind::Refused, self.shown(name), "the server names a condition where there is none")),
        }
    }

    /// Writes a small object on a condition. Where an answer is lost, the condition may be unmet by what was written then: the caller looks.
    pub(super) async fn put(&self, name: &str, bytes: &Bytes, condition: Condition<'_>) -> Result<Put, BackupError> {
        patiently(async || Ok(self.put_once(name, bytes, condition).await?)).await
    }

    /// The same, tried once.
    pub(super) async fn put_once(&self, name: &str, bytes: &Bytes, condition: Condition<'_>) -> Result<Put, S3Error> {
        if !self.is_conditional {
            return self.put_looking(name, bytes, condition).await;
        }
        match self.written(name, bytes, Some(condition)).await? {
            Reply::Good(response) => match etag_of(&response) {
                etag if etag.is_empty() => Err(self.unconditional(name, "the server gives no entity tags")),
                etag => Ok(Put::Done(etag)),
            },
            // What was to be written over is gone.
            Reply::Absent | Reply::Unmet => Ok(Put::Unmet),
        }
    }

    /// The same for a server that knows no conditions: looked at before and behind, which does not keep two from writing at once.
    async fn put_looking(&self, name: &str, bytes: &Bytes, condition: Condition<'_>) -> Result<Put, S3Error> {
        let is_met = match (self.get_once(name).await?, condition) {
            (None, Condition::Absent) => true,
            (Some(found), Condition::Is(etag)) => found.etag == etag,
            (None, Condition::Is(_)) | (Some(_), Condition::Absent) => false,
        };
        if !is_met {
            return Ok(Put::Unmet);
        }
        self.written(name, bytes, None).await?;
        let found = self.get_once(name).await?.filter(|found| found.bytes == *bytes);
        Ok(found.map_or(Put::Unmet, |found| Put::Done(found.etag)))
    }

    async fn written(&self, name: &str, bytes: &Bytes, condition: Option<Condition<'_>>) -> Result<Reply, S3Error> {
        let sha256: [u8; 32] = Sha256::digest(bytes).into();
        let mut headers = vec![("x-amz-checksum-sha256", STANDARD.encode(sha256))];
        match condition {
            None => {}
            Some(Condition::Absent) => headers.push(("if-none-match", "*".to_owned())),
            Some(Condition::Is(etag)) => headers.push(("if-match", etag.to_owned())),
        }
        let request = self.request(Method::PUT, &self.object(name)?, &headers, &hex::encode(sha256))?;
        match self.answered(name, request.body(bytes.clone())).await {
            Err(error) if condition.is_some() && error.kind == Kind::Unsupported => {
                Err(self.unconditional(name, "the server takes no conditions"))
            }
            answered => answered,
        }
    }

    /// What there is to say of a server that does not keep two from writing at once.
    pub(super) fn unconditional(&self, name: &str, told: &str) -> S3Error {
        S3Error::new(Kind::Unconditional, self.shown(name), told)
    }

    /// Removes an object; that there is none is as well.
    pub(super) async fn delete(&self, name: &str) -> Result<(), BackupError> {
        patiently(async || Ok(self.delete_once(name).await?)).await
    }

    /// The same, tried once.
    pub(super) async fn delete_once(&self, name: &str) -> Result<(), S3Error> {
        let request = self.request(Method::DELETE, &self.object(name)?, &[], &empty())?;
        self.answered(name, request).await?;
        Ok(())
    }

    /// Names behind the prefix, and lengths, of all objects below it whose names begin with `part`.
    pub(super) async fn list(&self, part: &str) -> Result<Vec<(String, u64)>, BackupError> {
        let (mut found, mut next): (_, Option<String>) = (Vec::new(), None);
        loop {
            let page = patiently(async || Ok(self.page(part, next.as_deref()).await?)).await?;
            if next.is_some() && page.next == next {
                return Err(S3Error::new(Kind::Endpoint, self.shown(""), "the list does not come to its end").into());
            }
            found.extend(page.objects);
            next = page.next;
            if next.is_none() {
                return Ok(found);
            }
        }
    }

    /// The first of them, in their order; a thousand at most.
    pub(super) async fn first(&self, part: &str) -> Result<Vec<(String, u64)>, BackupError> {
        Ok(patiently(async || Ok(self.page(part, None).await?)).await?.objects)
    }

    async fn page(&self, part: &str, next: Option<&str>) -> Result<answer::Page, S3Error> {
        let begin = format!("{}{part}", self.prefix);
        // The bucket itself: a host has a path, and a path no second slash.
        let slash = if self.base.matches('/').count() > 2 { "" } else { "/" };
        let mut address = format!("{}{slash}?list-type=2&max-keys=1000&prefix={}", self.base, utf8_percent_encode(&begin, QUERY));
        if let Some(next) = next {
            address.push_str("&continuation-token=");
            address.extend(utf8_percent_encode(next, QUERY));
        }
        let request = self.request(Method::GET, &self.parsed(&address)?, &[], &empty())?;
        let at = self.shown("");
        let no_list = |told: &str| S3Error::new(Kind::Endpoint, at.as_str(), told);
        let Reply::Good(response) = self.answered("", request).await? else {
            return Err(no_list("the server has no list of what is there"));
        };
        let text = String::from_utf8(self.all_of("", response, SMALL).await?).map_err(|_| no_list("the list is not a text"))?;
        let mut page = answer::page(&text).ok_or_else(|| no_list("the answer is not the list that was asked for"))?;
        for (name, _) in &mut page.objects {
            *name = name.strip_prefix(&self.prefix).ok_or_else(|| no_list("the list names what was not asked for"))?.to_owned();
        }
        Ok(page)
    }

    /// Copies a file of this machine there. `sha256` and `len` are what it holds: the server refuses other bytes.
    pub(super) async fn upload(
        &self,
        name: &str,
        from: &Path,
        (sha256, len): (&str, u64),
        progress: Progress<'_>,
    ) -> Result<(), BackupError> {
        let mut meter = Meter { progress, told: 0 };
        patiently(async || self.upload_once(name, from, (sha256, len), &mut meter).await).await?;
        meter.reach(len);
        Ok(())
    }

    async fn upload_once(&self, name: &str, from: &Path, (sha256, len): (&str, u64), meter: &mut Meter<'_>) -> Result<(), BackupError> {
        let file = tokio::fs::File::open(from).await.map_err(|error| BackupError::at(from, error))?;
        let sent = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&sent);
        let bytes = ReaderStream::with_capacity(file, CHUNK).inspect_ok(move |bytes| {
            counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        });
        let digest = hex::decode(sha256).map_err(|error| BackupError::Fault(error.to_string()))?;
        let headers = [("x-amz-checksum-sha256", STANDARD.encode(digest))];
        let request = self.request(Method::PUT, &self.object(name)?, &headers, sha256)?;
        let request = request.header(header::CONTENT_LENGTH, len).body(Body::wrap_stream(bytes));
        let mut sending = pin!(request.send());
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        let (mut seen, mut still) = (0, 0_u32);
        let response = loop {
            tokio::select! {
                response = &mut sending => break response.map_err(|error| self.broken(name, error))?,
                _ = ticks.tick() => {
                    let now = sent.load(Ordering::Relaxed);
                    meter.reach(now.min(len));
                    still = if now == seen { still.saturating_add(1) } else { 0 };
                    seen = now;
                    if still > STALL_SECS {
                        return Err(self.stalled(name).into());
                    }
                }
            }
        };
        match self.judged(name, response).await? {
            Reply::Good(response) if etag_of(&response).is_empty() => {
                Err(S3Error::new(Kind::Endpoint, self.shown(name), "what answers gives the file no entity tag").into())
            }
            Reply::Good(_) => Ok(()),
            Reply::Absent | Reply::Unmet => {
                Err(S3Error::new(Kind::Refused, self.shown(name), "the server names a condition where there is none").into())
            }
        }
    }

    /// Reads an object to its end, into a new file where one is named, durably; SHA-256 and length of what was read. One that is longer than
    /// `most` is refused at the first byte behind that.
    pub(super) async fn download(
        &self,
        name: &str,
        most: u64,
        to: Option<&Path>,
        progress: Progress<'_>,
    ) -> Result<Option<(String, u64)>, BackupError> {
        let mut meter = Meter { progress, told: 0 };
        let read = patiently(async || self.download_once(name, most, to, &mut meter).await).await;
        if let (Err(_), Some(to)) = (&read, to) {
            // The failure itself matters more than what it leaves.
            drop(fs::remove_file(to));
        }
        read
    }

    async fn download_once(
        &self,
        name: &str,
        most: u64,
        to: Option<&Path>,
        meter: &mut Meter<'_>,
    ) -> Result<Option<(String, u64)>, BackupError> {
        let request = self.request(Method::GET, &self.object(name)?, &[], &empty())?;
        let Reply::Good(mut response) = self.answered(name, request).await? else { return Ok(None) };
        let mut file = match to {
            None => None,
            Some(path) => {
                let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
                Some((path, file.map_err(|error| BackupError::at(path, error))?))
            }
        };
        let (mut hash, mut len) = (Sha256::new(), 0_u64);
        while let Some(bytes) = self.chunk_of(name, &mut response).await? {
            len = len.saturating_add(bytes.len() as u64);
            if len > most {
                return Err(BackupError::longer(self.shown(name), most));
            }
            hash.update(&bytes);
            if let Some((path, file)) = &mut file {
                file.write_all(&bytes).map_err(|error| BackupError::at(path, error))?;
            }
            meter.reach(len);
        }
        if let Some((path, file)) = file {
            file.sync_all().map_err(|error| BackupError::at(path, error))?;
        }
        Ok(Some((hex::encode(hash.finalize()), len)))
    }

    fn object(&self, name: &str) -> Result<Url, S3Error> {
        self.parsed(&format!("{}/{}{name}", self.base, self.prefix))
    }

    fn parsed(&self, address: &str) -> Result<Url, S3Error> {
        address.parse::<Url>().map_err(|error| S3Error::new(Kind::Settings, self.shown(""), format!("{address}: {error}")))
    }

    /// A signed request, without its body.
    fn request(&self, method: Method, url: &Url, headers: &[(&'static str, String)], sha256: &str) -> Result<RequestBuilder, S3Error> {
        let signer = Signer { credentials: &self.credentials, region: &self.region };
        let signed = signer.headers(&method, url, headers, sha256, SystemClock.now());
        let signed = signed.map_err(|error| S3Error::new(Kind::Settings, self.shown(""), format!("cannot sign: {error}")))?;
        let mut request = self.http.request(method, url.clone());
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        for (name, value) in signed {
            request = request.header(name, value);
        }
        Ok(request)
    }

    /// Sends a small request and judges its answer.
    async fn answered(&self, name: &str, request: RequestBuilder) -> Result<Reply, S3Error> {
        let response = match tokio::time::timeout(ANSWER, request.send()).await {
            Ok(response) => response.map_err(|error| self.broken(name, error))?,
            Err(_) => return Err(self.stalled(name)),
        };
        self.judged(name, response).await
    }

    async fn judged(&self, name: &str, response: Response) -> Result<Reply, S3Error> {
        self.was_there.store(true, Ordering::Relaxed);
        let status = response.status();
        if status.is_success() {
            return Ok(Reply::Good(response));
        }
        if status == StatusCode::PRECONDITION_FAILED {
            return Ok(Reply::Unmet);
        }
        let (region, retry_after) = (header_of(&response, "x-amz-bucket-region"), header_of(&response, "retry-after"));
        let retry_after = retry_after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        // What is longer, or does not come, is no refusal of an S3 server.
        let text = self.all_of(name, response, REFUSAL).await.unwrap_or_default();
        let refusal = answer::refusal(&String::from_utf8_lossy(&text));
        let code = refusal.as_ref().map_or("", |refusal| refusal.code.as_str());
        if status == StatusCode::NOT_FOUND && code != "NoSuchBucket" && !code.is_empty() {
            return Ok(Reply::Absent);
        }
        let what = refusal.as_ref().map_or_else(String::new, |refusal| format!(" {}: {}", refusal.code, refusal.message));
        let region = region.or_else(|| refusal.as_ref().map(|refusal| refusal.region.clone())).filter(|region| !region.is_empty());
        let region = region.map_or_else(String::new, |region| format!(" (region {region})"));
        let told = format!("the server answered {}{what}{region}", status.as_u16());
        let told: String = told.chars().filter(|letter| !letter.is_control()).take(SHOWN).collect();
        Err(S3Error::new(answer::kind(status, code), self.shown(name), told).after(retry_after))
    }

    /// All bytes of an answer, so many at most.
    async fn all_of(&self, name: &str, mut response: Response, most: usize) -> Result<Vec<u8>, S3Error> {
        let mut all = Vec::new();
        while let Some(bytes) = self.chunk_of(name, &mut response).await? {
            if all.len().saturating_add(bytes.len()) > most {
                return Err(S3Error::new(Kind::Refused, self.shown(name), format!("the answer is longer than {most} bytes")));
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    async fn chunk_of(&self, name: &str, response: &mut Response) -> Result<Option<Bytes>, S3Error> {
        match tokio::time::timeout(Duration::from_secs(u64::from(STALL_SECS)), response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| self.broken(name, error)),
            Err(_) => Err(self.stalled(name)),
        }
    }

    fn stalled(&self, name: &str) -> S3Error {
        S3Error::new(Kind::Unreachable, self.shown(name), format!("nothing came for {STALL_SECS} seconds"))
    }

    /// A transfer that broke; its address is not told, for it is the one that was given.
    fn broken(&self, name: &str, error: reqwest::Error) -> S3Error {
        let what = if error.is_connect() { "the server cannot be reached" } else { "the transfer broke" };
        let error = error.without_url();
        let mut innermost: &dyn std::error::Error = &error;
        // The innermost cause is the one that says what to do: connection refused, unknown issuer.
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        // Who was given a wrong address is told so at once.
        let is_wrong = error.is_connect() && !self.was_there.load(Ordering::Relaxed);
        S3Error::new(if is_wrong { Kind::Endpoint } else { Kind::Unreachable }, self.shown(name), format!("{what}: {innermost}"))
    }
}

/// Tells of bytes once, however often they are sent.
struct Meter<'a> {
    progress: Progress<'a>,
    told: u64,
}

impl Meter<'_> {
    fn reach(&mut self, at: u64) {
        if at > self.told {
            (self.progress)(at.saturating_sub(self.told));
            self.told = at;
        }
    }
}

/// Tries again what may pass, ever more rarely, and gives up after a while.
pub(super) async fn patiently<T>(mut attempt: impl AsyncFnMut() -> Result<T, BackupError>) -> Result<T, BackupError> {
    let mut wait = FIRST_WAIT;
    for _ in 1..TRIES {
        match attempt().await {
            Err(BackupError::S3(error)) if error.is_passing() => {
                pause(error.retry_after().unwrap_or(wait).min(LONGEST_WAIT)).await;
                wait = wait.saturating_mul(2);
            }
            done => return done,
        }
    }
    attempt().await
}

/// Waits: between two tries, or two looks at a lock.
pub(super) async fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "nobody tells when a server can do again what it could not")]
    tokio::time::sleep(time).await;
}

fn header_of(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn etag_of(response: &Response) -> String {
    header_of(response, "etag").unwrap_or_default()
}

/// SHA-256 of nothing.
fn empty() -> String {
    hex::encode(Sha256::digest(b""))
}

//! A bucket of an S3-compatible server as the place of backups.
//!
//! An object is there whole or not at all, and an upload that is cut short leaves nothing: files are sent in one request each, which none of
//! the data store's is too long for. Whoever changes the place holds the lock ([`lease`]); a manifest is written on the condition that there
//! is none of its number, and looked at once more under the lock should that have been lost meanwhile.
//!
//! What is stored is what a directory of backups holds: ciphertext under names that are checksums.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use aws_credential_types::Credentials;
use bytes::Bytes;
use reqwest::Url;
use tokio::runtime::{Builder, Handle, Runtime};
use zeroize::Zeroizing;

use self::{
    client::{Client, Condition, Put, patiently},
    lease::Lease,
};
use super::{
    BackupError, Progress, copy,
    storage::{FILES, FORMAT_NAME, GENERATIONS, LOCK_NAME, Storage},
};

mod answer;
mod client;
mod error;
mod lease;
mod sign;
#[cfg(test)]
mod tests;

pub use error::{Kind, S3Error};

/// What a place in a bucket begins with.
pub const SCHEME: &str = "s3://";
/// Requests at a time: each waits for the network most of its time.
const AT_A_TIME: usize = 8;
/// The longest file that one request takes.
const LARGEST: u64 = 5 * 1024 * 1024 * 1024;

/// Which bucket, where, and who asks.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The bucket's name.
    pub bucket: String,
    /// What the names of all objects begin with, without slashes at its ends; may be empty.
    pub prefix: String,
    /// The server's address; that of AWS in the region, otherwise.
    pub endpoint: Option<String>,
    /// The region; `us-east-1` where an address is given.
    pub region: Option<String>,
    /// The bucket's name comes in the path; in the host's name, otherwise.
    pub path_style: bool,
    /// The only certificates to trust, PEM.
    pub ca: Option<PathBuf>,
    /// The server takes no conditional writes; nobody else writes meanwhile.
    pub unconditional: bool,
    /// Who asks. Wiped when the last copy is dropped.
    pub credentials: Credentials,
}

/// Who asks. The secrets are moved, not copied.
#[must_use]
pub fn credentials(key_id: String, mut secret: Zeroizing<String>, token: Option<String>) -> Credentials {
    Credentials::new(key_id, std::mem::take(&mut *secret), token, None, "lethe")
}

/// Reads `s3://BUCKET/PREFIX`: bucket and prefix.
///
/// # Errors
/// `s3-settings` where a name could lead elsewhere, or is none.
pub fn parse(text: &str) -> Result<(String, String), S3Error> {
    let wrong = |told: &str| Err(S3Error::new(Kind::Settings, text, told));
    let Some(rest) = text.strip_prefix(SCHEME) else { return wrong("a bucket is named as s3://BUCKET/PREFIX") };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_end_matches('/');
    let is_plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if bucket.is_empty() || bucket.len() > 255 || !is_plain(bucket) || matches!(bucket, "." | "..") {
        return wrong("a bucket's name has letters, digits, dots, hyphens and underscores");
    }
    let is_segment = |name: &str| is_plain(name) && !matches!(name, "" | "." | "..");
    if prefix.len() > 512 || !(prefix.is_empty() || prefix.split('/').all(is_segment)) {
        return wrong("a prefix has letters, digits, dots, hyphens, underscores, and slashes between them, 512 at most");
    }
    Ok((bucket.to_owned(), prefix.to_owned()))
}

impl Settings {
    /// `s3://BUCKET/PREFIX`.
    fn shown(&self) -> String {
        if self.prefix.is_empty() { format!("{SCHEME}{}", self.bucket) } else { format!("{SCHEME}{}/{}", self.bucket, self.prefix) }
    }

    /// The bucket's address, without a slash at its end, and the region.
    fn address(&self) -> Result<(String, String), S3Error> {
        let wrong = |told: &str| S3Error::new(Kind::Settings, self.shown(), told);
        let region = match (&self.region, &self.endpoint) {
            (Some(region), _) => region.clone(),
            (None, Some(_)) => "us-east-1".to_owned(),
            (None, None) => return Err(wrong("which region? Say --s3-region, or --s3-endpoint for a server that is not AWS's")),
        };
        if region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(wrong("a region's name has letters, digits and hyphens"));
        }
        let endpoint = self.endpoint.clone().unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let mut url: Url = endpoint.parse().map_err(|_| wrong("--s3-endpoint is not a URL"))?;
        let is_bare = url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        let Some(host) = url.host_str().filter(|_| is_bare && matches!(url.scheme(), "http" | "https")).map(str::to_owned) else {
            return Err(wrong("--s3-endpoint is http or https, a host and perhaps a port and a path, and no more"));
        };
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().ok();
        if url.scheme() == "http" && host != "localhost" && address.is_none_or(|address| !address.is_loopback()) {
            return Err(wrong("plain HTTP is for loopback only; use https"));
        }
        // No certificate is for a name with a dot more.
        if self.path_style || address.is_some() || self.bucket.contains('.') {
            return Ok((format!("{}/{}", url.as_str().trim_end_matches('/'), self.bucket), region));
        }
        let named = format!("{}.{host}", self.bucket);
        url.set_host(Some(&named)).map_err(|_| wrong("the bucket's name cannot be in a host's; say --s3-addressing path"))?;
        if url.host_str() != Some(named.as_str()) {
            return Err(wrong("the bucket's name cannot be in a host's; say --s3-addressing path"));
        }
        Ok((url.as_str().trim_end_matches('/').to_owned(), region))
    }
}

/// What lies below a prefix in a bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    client: Arc<Client>,
    /// Held by whoever changes it.
    lease: Option<Lease>,
    handle: Handle,
    /// All requests are made here: who asks may be in a runtime of its own, or in none.
    runtime: Option<Runtime>,
}

impl Bucket {
    pub(super) fn of(settings: &Settings) -> Result<Self, BackupError> {
        let client = Arc::new(Client::new(settings)?);
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("lethe-s3").enable_all().build();
        let runtime = runtime.map_err(|error| BackupError::Fault(format!("cannot start a thread: {error}")))?;
        Ok(Self { client, lease: None, handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Waits for work, in a thread that is in no runtime.
    fn wait<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        let handle = &self.handle;
        thread::scope(|scope| match scope.spawn(move || handle.block_on(work())).join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    fn lease(&self) -> Result<&Lease, BackupError> {
        self.lease.as_ref().ok_or_else(|| BackupError::Fault("a place of backups is changed without its lock".into()))
    }

    fn give_back(&mut self) {
        if let Some(lease) = self.lease.take() {
            let client = Arc::clone(&self.client);
            self.wait(async move || lease.release(&client).await);
        }
    }

    /// Refuses where another process may be at work by now.
    fn check(&self) -> Result<(), BackupError> {
        let held = self.lease()?;
        self.wait(async || patiently(async || held.check(&self.client).await).await)
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.give_back();
        // Dropped, it would wait, which is not allowed in a runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Storage for Bucket {
    fn shown(&self, name: &str) -> String {
        self.client.shown(name)
    }

    fn make(&mut self) -> Result<(), BackupError> {
        if self.read(FORMAT_NAME)?.is_none() {
            let found = self.wait(async || self.client.first("").await)?;
            let ours = |name: &str| name == LOCK_NAME || [FILES, GENERATIONS].iter().any(|part| name.starts_with(&format!("{part}/")));
            if found.iter().any(|(name, _)| !ours(name)) {
                return Err(BackupError::NotEmpty(self.shown("")));
            }
        }
        self.lock()
    }

    fn lock(&mut self) -> Result<(), BackupError> {
        // Written anew beside this one, it would be taken for somebody's who lives.
        self.give_back();
        let lease = self.wait(async || Lease::take(&self.client, &self.handle).await)?;
        self.lease = Some(lease);
        Ok(())
    }

    fn prove(&self) -> Result<(), BackupError> {
        let held = self.lease()?;
        self.wait(async || patiently(async || held.prove(&self.client).await).await)
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, BackupError> {
        Ok(self.wait(async || self.client.get(name).await)?.map(|found| found.bytes))
    }

    fn publish(&self, name: &str, bytes: &[u8]) -> Result<bool, BackupError> {
        self.check()?;
        let sent = Bytes::copy_from_slice(bytes);
        Ok(match self.wait(async || self.client.put(name, &sent, Condition::Absent).await)? {
            Put::Done(_) => true,
            // Unless it is the one of a try whose answer was lost.
            Put::Unmet => self.read(name)?.is_some_and(|found| found == bytes),
        })
    }

    fn list(&self, part: &str) -> Result<Vec<(String, u64)>, BackupError> {
        let part = format!("{part}/");
        let found = self.wait(async || self.client.list(&part).await)?;
        // What lies deeper is none of ours.
        let names = found.into_iter().filter_map(|(name, len)| Some((name.strip_prefix(&part)?.to_owned(), len)));
        Ok(names.filter(|(name, _)| !name.is_empty() && !name.contains('/')).collect())
    }

    fn remove(&self, part: &str, names: &[String]) -> Result<(), BackupError> {
        let held = self.lease()?;
        let remove = |_, name: &String| {
            let name = format!("{part}/{name}");
            // The lock may have been lost since the last try.
            self.wait(async || {
                patiently(async || {
                    held.check(&self.client).await?;
                    Ok(self.client.delete_once(&name).await?)
                })
                .await
            })
        };
        copy::for_all(AT_A_TIME, names, remove)?;
        Ok(())
    }

    fn bring(&self, _: usize, from: &Path, digest: Option<(String, u64)>, progress: Progress<'_>) -> Result<(String, u64), BackupError> {
        let (sha256, len) = match digest {
            Some(digest) => digest,
            None => copy::digest(from, &|_| ())?,
        };
        self.check()?;
        let name = format!("{FILES}/{sha256}");
        if len > LARGEST {
            return Err(S3Error::new(Kind::Refused, self.shown(&name), format!("{len} bytes are more than one request takes")).into());
        }
        self.wait(async || self.client.upload(&name, from, (sha256.as_str(), len), progress).await)?;
        Ok((sha256, len))
    }

    fn fetch(&self, sha256: &str, len: u64, to: Option<&Path>, progress: Progress<'_>) -> Result<Option<(String, u64)>, BackupError> {
        let name = format!("{FILES}/{sha256}");
        self.wait(async || self.client.download(&name, len, to, progress).await)
    }

    fn settle(&self) -> Result<(), BackupError> {
        // What was answered for stays; what is left to know is whether nobody came in between.
        self.check()
    }

    fn at_a_time(&self) -> usize {
        AT_A_TIME
    }
}

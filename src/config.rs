//! `lethe.toml` as types. Unknown keys are refused, every number carries its unit in its name, and a
//! secret is only ever the path of a file. [`Config::load`] is the way in: it reads the file, resolves
//! relative paths against the file's directory, and holds the settings against each other, so that the
//! rooms behind can trust what they are handed. Nothing else in the server reads the environment.

use std::{
    net::SocketAddr,
    path::{Component, Path, PathBuf},
    sync::mpsc::{Receiver, sync_channel},
    time::Duration,
};

use serde::Deserialize;

use crate::domain::limits;

/// The name of the configuration file in a store directory.
pub const FILE_NAME: &str = "lethe.toml";

/// The name of the operator's token file in a store directory.
pub const OPERATOR_TOKEN_FILE: &str = "operator.token";

/// All settings of one store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The door: address, TLS, time limits.
    #[serde(default)]
    pub server: Server,
    /// Where things lie.
    pub paths: Paths,
    /// The components of the root secret; all of them are needed to open the store.
    pub custody: Vec<Custody>,
    /// Further copies of the control store.
    #[serde(default)]
    pub control: Control,
    /// What a request may ask.
    #[serde(default)]
    pub limits: Limits,
    /// How evidence is kept.
    #[serde(default)]
    pub audit: Audit,
    /// How records are sealed.
    #[serde(default)]
    pub sealing: Sealing,
    /// What stays in memory, and how long.
    #[serde(default)]
    pub cache: Cache,
    /// The embedded engine.
    #[serde(default)]
    pub store: StoreSettings,
    /// The log on standard error.
    #[serde(default)]
    pub log: Log,
    /// Traces, off unless an endpoint is set.
    #[serde(default)]
    pub telemetry: Telemetry,
    /// The store directory: where `lethe.toml` lies. Not a key of the file.
    #[serde(skip)]
    pub dir: PathBuf,
}

/// The door.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address and port; port 0 takes a free one. Plain HTTP is refused on anything but loopback.
    pub listen: SocketAddr,
    /// Certificate chain, PEM. Read again on SIGHUP.
    pub tls_cert_file: Option<PathBuf>,
    /// Its private key, PEM. Read again on SIGHUP.
    pub tls_key_file: Option<PathBuf>,
    /// Connections at a time; further ones are answered 503.
    pub connections_max: usize,
    /// Bytes of batches and JSON bodies in memory at a time, all together; a further one is answered 503.
    pub bodies_len_bytes: u64,
    /// From a connection's first byte to the end of its request's headers.
    pub header_timeout_secs: u64,
    /// How long a transfer may stand still. There is no limit on its total time.
    pub stall_timeout_secs: u64,
    /// How long going down may take after SIGTERM; running requests have most of it.
    pub drain_timeout_secs: u64,
    /// Threads that serve requests; without it one for each core that the process may use.
    pub worker_threads: Option<usize>,
}

/// Where things lie. Relative paths start at the directory of `lethe.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paths {
    /// A second copy of the control store, on a disk of its own.
    pub mirror_dir: PathBuf,
    /// The Ed25519 seed that signs certificates and checkpoints; mode 0600.
    #[serde(default = "signing_key_file")]
    pub signing_key_file: PathBuf,
}

/// Where one component of the root secret is held.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Custody {
    /// A file of two slots, overwritten in place. On a path of its own, never in a backup.
    File {
        /// The file.
        path: PathBuf,
    },
}

/// The control store.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Control {
    /// Where further copies of it are kept, beside the mirror.
    pub copies: Vec<ControlCopy>,
}

/// Where a further copy of the control store is kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlCopy {
    /// Its directory, on a disk or mount of its own.
    pub dir: PathBuf,
    /// No epoch ends before the copy has it.
    #[serde(default)]
    pub confirm: bool,
}

/// What a request may ask. The fixed limits are in `domain::limits`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest value.
    pub value_len_bytes: u64,
}

/// How evidence is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// How durable a read's entry is before its answer leaves.
    pub reads: AuditReads,
}

/// How durable a read's audit entry is before its answer leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditReads {
    /// Handed to the operating system: survives a killed process, not a power cut.
    #[default]
    Written,
    /// Synced to disk.
    Durable,
}

/// How records are sealed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sealing {
    /// The suite of new records; both always open.
    pub suite: SuiteChoice,
}

/// The suite of new records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum SuiteChoice {
    /// AES where the processor has it in hardware, `XChaCha20` elsewhere.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// Suite 1.
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm,
    /// Suite 2.
    #[serde(rename = "xchacha20-poly1305")]
    XChaCha20Poly1305,
}

/// What stays in memory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Unit keys held at a time, by pages of 64 and 1,024 at least, in locked memory where the limit allows.
    pub keys_max: u64,
    /// How long a key stays, counted from when it was loaded, however often it is used.
    pub keys_ttl_secs: u64,
    /// Blocks of ciphertext.
    pub blocks_len_bytes: u64,
}

/// The embedded engine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    /// Space kept back so that audited reads, deletes and shreds go on when the disk is full.
    pub reserve_len_bytes: u64,
    /// Commits that may wait; more are answered 503.
    pub commit_queue_len: usize,
}

/// The log on standard error.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A level, or directives such as `info,lethe::http=debug`.
    pub level: String,
    /// One JSON object a line, or text for a terminal.
    pub format: LogFormat,
}

/// The log's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For a terminal.
    Text,
}

/// Traces.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// An OTLP endpoint over HTTP, for example `http://127.0.0.1:4318`; nothing is exported without it. Without a path it is
    /// the base of the signals, and traces go to `/v1/traces` there; with one they go where it says.
    pub otlp_endpoint: Option<String>,
}

impl Telemetry {
    /// Where traces go: the OTLP specification's way from the base endpoint to the signal's.
    #[must_use]
    pub fn traces_endpoint(&self) -> Option<String> {
        let endpoint = self.otlp_endpoint.as_deref()?;
        let is_base = endpoint.parse::<http::Uri>().is_ok_and(|url| url.path() == "/" && url.query().is_none());
        Some(if is_base { format!("{}/v1/traces", endpoint.trim_end_matches('/')) } else { endpoint.to_owned() })
    }

    /// Whether it is a URL that the exporter takes.
    fn is_valid(&self) -> bool {
        let valid = |url: http::Uri| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty());
        self.otlp_endpoint.as_deref().is_none_or(|endpoint| endpoint.parse().is_ok_and(valid))
    }
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not TOML, has an unknown key, or a value of the wrong type.
    #[error("{}: {message}", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What and where.
        message: String,
    },
    /// A value that cannot be.
    #[error("{field} {reason}")]
    Invalid {
        /// The key, with its table.
        field: &'static str,
        /// What it must be.
        reason: &'static str,
    },
    /// A backup of the store directory would hold the root secret.
    #[error("custody {} lies inside the store directory {}: a backup of the store would hold the key that shredding destroys", custody.display(), store.display())]
    CustodyInsideStore {
        /// The custody's path.
        custody: PathBuf,
        /// The store directory.
        store: PathBuf,
    },
    /// A backup of the mirror would hold the root secret.
    #[error("custody {} lies inside the mirror {}", custody.display(), mirror.display())]
    CustodyInsideMirror {
        /// The custody's path.
        custody: PathBuf,
        /// The mirror's directory.
        mirror: PathBuf,
    },
}

impl Config {
    /// Reads `dir/lethe.toml`, resolves its paths against `dir`, and checks it.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, the key or the two paths that do not go together.
    pub fn load(dir: &Path) -> Result<Self, ConfigError> {
        let path = dir.join(FILE_NAME);
        let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        Self::parse(&text, dir).map_err(|error| match error {
            ConfigError::Parse { message, .. } => ConfigError::Parse { path, message },
            other @ (ConfigError::Read { .. }
            | ConfigError::Invalid { .. }
            | ConfigError::CustodyInsideStore { .. }
            | ConfigError::CustodyInsideMirror { .. }) => other,
        })
    }

    /// Parses the text of a `lethe.toml` that lies in `dir`.
    ///
    /// # Errors
    /// As [`Config::load`], reading excepted.
    pub fn parse(text: &str, dir: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text)
            .map_err(|error| ConfigError::Parse { path: FILE_NAME.into(), message: error.to_string().trim_end().to_owned() })?;
        config.dir = resolved(dir);
        config.resolve_paths();
        config.validate()?;
        Ok(config)
    }

    /// The file that holds the operator's token.
    #[must_use]
    pub fn operator_token_file(&self) -> PathBuf {
        self.dir.join(OPERATOR_TOKEN_FILE)
    }

    /// Where what must never go back in time is.
    #[must_use]
    pub fn control_dir(&self) -> PathBuf {
        self.dir.join("control")
    }

    /// Where what may be restored from a backup of any date is.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Where the public log of certificates and checkpoints is.
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// The log's journal, from which a lost log is made again.
    #[must_use]
    pub fn log_journal(&self) -> PathBuf {
        self.paths.mirror_dir.join("log.journal")
    }

    /// The public key of certificates and checkpoints, beside the signing key.
    #[must_use]
    pub fn public_key_file(&self) -> PathBuf {
        self.paths.signing_key_file.with_extension("pub")
    }

    /// How long a key stays in the cache, counted from when it was loaded.
    #[must_use]
    pub const fn keys_ttl(&self) -> Duration {
        Duration::from_secs(self.cache.keys_ttl_secs)
    }

    fn resolve_paths(&mut self) {
        let dir = self.dir.clone();
        let paths = &mut self.paths;
        for path in [&mut paths.mirror_dir, &mut paths.signing_key_file] {
            *path = resolved(&dir.join(&path));
        }
        for custody in &mut self.custody {
            let Custody::File { path } = custody;
            *path = resolved(&dir.join(&path));
        }
        // Of a mount whose server is gone no link is followed, and none of the rooms waits for that.
        let copies: Vec<_> = self.control.copies.iter().map(|copy| dir.join(&copy.dir)).collect();
        let looks: Vec<_> = copies.iter().map(|path| followed(path.clone())).collect();
        for (copy, (path, look)) in self.control.copies.iter_mut().zip(copies.iter().zip(looks)) {
            copy.dir = look.recv_timeout(FOLLOW_WITHIN).unwrap_or_else(|_| walked(path, |_| None));
        }
        for path in [&mut self.server.tls_cert_file, &mut self.server.tls_key_file].into_iter().flatten() {
            *path = dir.join(&path);
        }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let invalid = |field, reason| Err(ConfigError::Invalid { field, reason });
        if self.custody.is_empty() {
            return invalid("custody", "needs at least one component");
        }
        // Each may be a link to another disk.
        let rooms = [self.control_dir(), self.data_dir(), self.log_dir()].map(|dir| resolved(&dir));
        for (position, Custody::File { path }) in self.custody.iter().enumerate() {
            if path.starts_with(&self.dir) || rooms.iter().any(|dir| path.starts_with(dir)) {
                return Err(ConfigError::CustodyInsideStore { custody: path.clone(), store: self.dir.clone() });
            }
            if path.starts_with(&self.paths.mirror_dir) {
                return Err(ConfigError::CustodyInsideMirror { custody: path.clone(), mirror: self.paths.mirror_dir.clone() });
            }
            if self.custody.iter().take(position).any(|Custody::File { path: earlier }| earlier == path) {
                return invalid("custody.path", "is given twice: two components in one file are one component");
            }
        }
        if self.paths.mirror_dir.starts_with(self.control_dir()) {
            return invalid("paths.mirror_dir", "lies inside the control store that it is to outlive");
        }
        for (position, ControlCopy { dir, .. }) in self.control.copies.iter().enumerate() {
            let meets = |other: &Path| dir.starts_with(other) || other.starts_with(dir);
            if meets(&self.dir) || meets(&self.paths.mirror_dir) || rooms.iter().any(|room| meets(room)) {
                return invalid("control.copies", "names a directory of the store or of its mirror, which the copy is to outlive");
            }
            if self.custody.iter().any(|Custody::File { path }| path.starts_with(dir)) {
                return invalid("control.copies", "names a directory that holds custody: who has the copy would have the root");
            }
            if self.control.copies.iter().take(position).any(|earlier| earlier.dir == *dir) {
                return invalid("control.copies", "names a directory twice");
            }
        }
        if self.server.tls_cert_file.is_some() != self.server.tls_key_file.is_some() {
            return invalid("server.tls_cert_file", "and server.tls_key_file belong together: set both or neither");
        }
        self.check_listen(self.server.listen)?;
        for (field, value) in [
            ("server.connections_max", self.server.connections_max as u64),
            ("server.header_timeout_secs", self.server.header_timeout_secs),
            ("server.stall_timeout_secs", self.server.stall_timeout_secs),
            ("limits.value_len_bytes", self.limits.value_len_bytes),
            ("cache.keys_max", self.cache.keys_max),
            ("cache.keys_ttl_secs", self.cache.keys_ttl_secs),
            ("cache.blocks_len_bytes", self.cache.blocks_len_bytes),
            ("store.commit_queue_len", self.store.commit_queue_len as u64),
        ] {
            if value == 0 {
                return invalid(field, "must be at least 1");
            }
        }
        for (field, value) in [
            ("server.header_timeout_secs", self.server.header_timeout_secs),
            ("server.stall_timeout_secs", self.server.stall_timeout_secs),
            ("server.drain_timeout_secs", self.server.drain_timeout_secs),
        ] {
            if value > 86_400 {
                return invalid(field, "must be at most 86400");
            }
        }
        for (field, value) in
            [("server.connections_max", self.server.connections_max), ("store.commit_queue_len", self.store.commit_queue_len)]
        {
            if value > 1_000_000 {
                return invalid(field, "must be at most 1000000");
            }
        }
        if self.server.bodies_len_bytes < limits::BATCH_BODY_LEN.max {
            return invalid("server.bodies_len_bytes", "must be at least 67108864, the longest batch");
        }
        if !self.telemetry.is_valid() {
            return invalid("telemetry.otlp_endpoint", "must be a URL such as http://127.0.0.1:4318");
        }
        if self.server.worker_threads.is_some_and(|threads| !(1..=1_024).contains(&threads)) {
            return invalid("server.worker_threads", "must be 1 to 1024");
        }
        Ok(())
    }

    /// The threads that serve requests: as set, or one for each core that the process may use, and never fewer than two.
    #[must_use]
    pub fn worker_threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(2, std::num::NonZero::get).max(2);
        self.server.worker_threads.unwrap_or_else(cores)
    }

    /// Whether the server may listen there: plain HTTP is for loopback only.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] for another address without TLS.
    pub fn check_listen(&self, listen: SocketAddr) -> Result<(), ConfigError> {
        if self.server.tls_cert_file.is_none() && !listen.ip().is_loopback() {
            return Err(ConfigError::Invalid {
                field: "server.listen",
                reason: "is not a loopback address: set server.tls_cert_file and server.tls_key_file",
            });
        }
        Ok(())
    }
}

/// How long a path is followed that may lead to a disk which does not answer.
const FOLLOW_WITHIN: Duration = Duration::from_secs(10);

/// The path as [`resolved`] has it, from a thread of its own; it comes to nothing where the thread never does.
fn followed(path: PathBuf) -> Receiver<PathBuf> {
    let (told, found) = sync_channel(1);
    // Without a thread nothing is found either.
    drop(std::thread::Builder::new().name("lethe-path".into()).spawn(move || drop(told.send(resolved(&path)))));
    found
}

/// The path with symbolic links followed as far as it exists, and `.` and `..` taken out of the rest.
fn resolved(path: &Path) -> PathBuf {
    walked(path, |path| path.canonicalize().ok())
}

/// The path without `.` and `..`; `real` says where each step of it leads, if anywhere else.
fn walked(path: &Path, real: impl Fn(&Path) -> Option<PathBuf>) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut out = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => {
                out.push(component);
                // Followed at each step, so that `..` after a link means what the kernel makes of it.
                if let Some(real) = real(&out) {
                    out = real;
                }
            }
        }
    }
    out
}

fn signing_key_file() -> PathBuf {
    "signing.key".into()
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8420)),
            tls_cert_file: None,
            tls_key_file: None,
            connections_max: usize::try_from(limits::CONNECTIONS.max).unwrap_or(usize::MAX),
            bodies_len_bytes: limits::BODIES_LEN.max,
            header_timeout_secs: 10,
            stall_timeout_secs: 30,
            drain_timeout_secs: 30,
            worker_threads: None,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { value_len_bytes: limits::VALUE_LEN.max }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self { keys_max: 750_000, keys_ttl_secs: 300, blocks_len_bytes: 128 * 1024 * 1024 }
    }
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self { reserve_len_bytes: 64 * 1024 * 1024, commit_queue_len: usize::try_from(limits::COMMITS.max).unwrap_or(usize::MAX) }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Json }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const SMALL: &str = "[paths]\nmirror_dir = \"../s-mirror\"\n[[custody]]\nkind = \"file\"\npath = \"../s-custody/root\"\n";

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("/srv/s"))
    }

    #[test]
    fn a_small_file_is_enough_and_paths_start_at_its_directory() {
        let config = parse(SMALL).unwrap();
        assert_eq!(config.control_dir(), Path::new("/srv/s/control"));
        assert_eq!(config.paths.mirror_dir, Path::new("/srv/s-mirror"));
        assert_eq!(config.custody, [Custody::File { path: "/srv/s-custody/root".into() }]);
        assert_eq!(config.limits.value_len_bytes, 5 * 1024 * 1024 * 1024);
        assert_eq!(config.audit.reads, AuditReads::Written);
    }

    #[test]
    fn every_committed_configuration_is_accepted() {
        for file in ["deploy/lethe.toml", "keys-example/store/lethe.toml"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
            let text = std::fs::read_to_string(&path).unwrap();
            Config::parse(&text, path.parent().unwrap()).unwrap_or_else(|error| panic!("{file}: {error}"));
        }
    }

    const EXAMPLE: &str = include_str!("../deploy/lethe.toml");
    const REQUIRED: [&str; 3] = ["paths.mirror_dir", "custody.kind", "custody.path"];

    /// Every key there is, with its table: serde names them where it meets one that it does not know.
    fn keys() -> BTreeSet<String> {
        let expected = |text: String| -> Vec<String> {
            let told = parse(&text).unwrap_err().to_string();
            let (_, names) = told.rsplit_once("expected ").unwrap();
            names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        let unknown = "nope = 1\n";
        let of = |table: &str| match table {
            "paths" => expected(SMALL.replace("[paths]\n", &format!("[paths]\n{unknown}"))),
            "custody" => [expected(format!("{SMALL}{unknown}")), vec!["kind".to_owned()]].concat(),
            table => expected(format!("[{table}]\n{unknown}{SMALL}")),
        };
        let tables = expected(format!("{unknown}{SMALL}"));
        tables.iter().flat_map(|table| of(table).into_iter().map(move |key| format!("{table}.{key}"))).collect()
    }

    /// The keys of deploy/lethe.toml with their values; none where the key stands behind a `#`.
    fn example() -> BTreeMap<String, Option<String>> {
        let (mut table, mut found) = (String::new(), BTreeMap::new());
        for line in EXAMPLE.lines() {
            if let Some(name) = line.strip_prefix('[') {
                table = name.trim_matches(['[', ']']).to_owned();
            }
            let (told, rest) = line.strip_prefix("# ").map_or((true, line), |rest| (false, rest));
            let Some((key, value)) = rest.split_once(" = ") else { continue };
            if key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
                let value = value.strip_prefix('"').map_or_else(|| value.split(' ').next(), |text| text.split('"').next());
                found.insert(format!("{table}.{key}"), value.filter(|_| told).map(str::to_owned));
            }
        }
        found
    }

    #[test]
    fn the_example_holds_every_setting_with_its_default() {
        assert_eq!(example().into_keys().collect::<BTreeSet<_>>(), keys(), "deploy/lethe.toml and config.rs differ");
        let (mut given, defaults) = (parse(EXAMPLE).unwrap(), parse(SMALL).unwrap());
        given.paths.mirror_dir.clone_from(&defaults.paths.mirror_dir);
        given.custody.clone_from(&defaults.custody);
        assert_eq!(given, defaults, "deploy/lethe.toml says what is no default");
        // What has no default is an example that would do.
        let all: String = EXAMPLE
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line).to_owned() + "\n")
            .collect();
        let all = parse(&all).unwrap();
        assert!(all.server.tls_key_file.is_some() && all.server.worker_threads.is_some() && all.telemetry.otlp_endpoint.is_some());
    }

    #[test]
    fn the_table_of_the_documents_has_every_setting_with_its_default() {
        let settings = include_str!("../docs/operations.md").split("\n## ").find(|part| part.starts_with("Settings\n")).unwrap();
        let rows = settings.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        let told: BTreeMap<String, String> =
            rows.map(|(key, rest)| (key.to_owned(), rest.split(" | ").next().unwrap().trim_matches('`').to_owned())).collect();
        let default = |(key, value): (String, Option<String>)| {
            let required = REQUIRED.contains(&key.as_str()).then(|| "required".to_owned());
            (key, required.or(value).unwrap_or_else(|| "none".to_owned()))
        };
        assert_eq!(told, example().into_iter().map(default).collect(), "docs/operations.md and deploy/lethe.toml differ");
    }

    /// What docs/operations.md appends to the settings that `init` made.
    #[test]
    fn the_settings_of_a_container_are_reachable_from_outside_it() {
        let config = parse(&format!("{SMALL}{}", include_str!("../deploy/container.toml"))).unwrap();
        assert!(config.server.listen.ip().is_unspecified());
        assert_eq!(config.server.tls_key_file, Some("/etc/lethe/tls/key.pem".into()));
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        for (text, name) in
            [("colour = 1\n", "colour"), ("[server]\nport = 1\n", "port"), ("[cache]\nkeys_ttl = 5\n", "keys_ttl"), ("[demo]\n", "demo")]
        {
            let error = parse(&format!("{text}{SMALL}")).unwrap_err();
            assert!(matches!(&error, ConfigError::Parse { message, .. } if message.contains(name)), "{text:?}: {error}");
        }
        let error = parse(&format!("{SMALL}slot = 1\n")).unwrap_err();
        assert!(error.to_string().contains("slot"), "{error}");
    }

    #[test]
    fn custody_inside_the_store_or_the_mirror_is_refused() {
        for path in ["root", "./x/../root", "../s/control/root", "/srv/s/deep/root"] {
            let error = parse(&SMALL.replace("../s-custody/root", path)).unwrap_err();
            assert!(matches!(error, ConfigError::CustodyInsideStore { .. }), "{path}: {error}");
        }
        let error = parse(&SMALL.replace("../s-custody/root", "../s-mirror/root")).unwrap_err();
        assert!(matches!(error, ConfigError::CustodyInsideMirror { .. }), "{error}");
    }

    #[test]
    fn custody_reached_through_a_link_is_still_inside_the_store() {
        let top = tempfile::tempdir().unwrap();
        let store = top.path().join("s");
        std::fs::create_dir(&store).unwrap();
        std::os::unix::fs::symlink(&store, top.path().join("elsewhere")).unwrap();
        let text = SMALL.replace("../s-custody/root", "../elsewhere/root");
        assert!(matches!(Config::parse(&text, &store), Err(ConfigError::CustodyInsideStore { .. })));
    }

    #[test]
    fn settings_that_cannot_be_are_refused() {
        for (text, field) in [
            ("[server]\nlisten = \"0.0.0.0:80\"\n", "server.listen"),
            ("[server]\ntls_cert_file = \"a.pem\"\n", "server.tls_cert_file"),
            ("[server]\nconnections_max = 9000000000000000000\n", "server.connections_max"),
            ("[server]\nconnections_max = 0\n", "server.connections_max"),
            ("[server]\nstall_timeout_secs = 9000000000000000000\n", "server.stall_timeout_secs"),
            ("[server]\nbodies_len_bytes = 67108863\n", "server.bodies_len_bytes"),
            ("[server]\nworker_threads = 0\n", "server.worker_threads"),
            ("[server]\nworker_threads = 5000\n", "server.worker_threads"),
            ("[store]\ncommit_queue_len = 9000000000000000000\n", "store.commit_queue_len"),
            ("[cache]\nkeys_ttl_secs = 0\n", "cache.keys_ttl_secs"),
            ("[limits]\nvalue_len_bytes = 0\n", "limits.value_len_bytes"),
            ("[telemetry]\notlp_endpoint = \"127.0.0.1:4318\"\n", "telemetry.otlp_endpoint"),
            ("[telemetry]\notlp_endpoint = \"ftp://127.0.0.1\"\n", "telemetry.otlp_endpoint"),
            ("[telemetry]\notlp_endpoint = \"http://\"\n", "telemetry.otlp_endpoint"),
        ] {
            let error = parse(&format!("{text}{SMALL}")).unwrap_err();
            assert!(matches!(error, ConfigError::Invalid { field: name, .. } if name == field), "{text:?}: {error}");
        }
        for dir in ["../s", "copies", "/srv", "../s-mirror", "../s-mirror/deep", "../s-custody", "control"] {
            let error = parse(&format!("[control]\ncopies = [{{dir = \"{dir}\"}}]\n{SMALL}")).unwrap_err();
            assert!(matches!(error, ConfigError::Invalid { field: "control.copies", .. }), "{dir}: {error}");
        }
        let copies = r#"{dir = "../a"}, {dir = "/srv/b/../a", confirm = true}"#;
        let error = parse(&format!("[control]\ncopies = [{copies}]\n{SMALL}")).unwrap_err();
        assert!(error.to_string().contains("twice"), "{error}");
        let twice = format!("{SMALL}[[custody]]\nkind = \"file\"\npath = \"../s-custody/root\"\n");
        assert!(matches!(parse(&twice), Err(ConfigError::Invalid { field: "custody.path", .. })));
        assert!(matches!(parse("custody = []\n[paths]\nmirror_dir = \"m\"\n"), Err(ConfigError::Invalid { field: "custody", .. })));
    }

    #[test]
    fn copies_of_control_are_where_the_settings_say_and_confirm_nothing_unasked() {
        let copies = r#"[{dir = "../a"}, {dir = "/mnt/b", confirm = true}]"#;
        let config = parse(&format!("[control]\ncopies = {copies}\n{SMALL}")).unwrap();
        let expected = [("/srv/a", false), ("/mnt/b", true)].map(|(dir, confirm)| ControlCopy { dir: dir.into(), confirm });
        assert_eq!(config.control.copies, expected);
        let unknown = parse(&format!("[control]\ncopies = [{{dir = \"../a\", sync = true}}]\n{SMALL}")).unwrap_err();
        assert!(unknown.to_string().contains("sync"), "{unknown}");
    }

    #[test]
    fn a_server_has_as_many_threads_as_it_is_told_or_as_there_are_cores() {
        let cores = std::thread::available_parallelism().unwrap().get();
        assert_eq!(parse(SMALL).unwrap().worker_threads(), cores.max(2));
        assert_eq!(parse(&format!("[server]\nworker_threads = 7\n{SMALL}")).unwrap().worker_threads(), 7);
    }

    #[test]
    fn traces_go_to_their_path_below_a_base_and_where_a_path_says() {
        let of = |endpoint: &str| {
            parse(&format!("{SMALL}[telemetry]\notlp_endpoint = \"{endpoint}\"\n")).unwrap().telemetry.traces_endpoint().unwrap()
        };
        assert_eq!(of("http://127.0.0.1:4318"), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(of("https://collector.example/"), "https://collector.example/v1/traces");
        assert_eq!(of("http://127.0.0.1:4318/v1/traces"), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(of("http://127.0.0.1/otlp?key=1"), "http://127.0.0.1/otlp?key=1");
        assert_eq!(parse(SMALL).unwrap().telemetry.traces_endpoint(), None);
    }

    #[test]
    fn tls_opens_every_address() {
        let text = format!("[server]\nlisten = \"0.0.0.0:443\"\ntls_cert_file = \"c.pem\"\ntls_key_file = \"k.pem\"\n{SMALL}");
        assert_eq!(parse(&text).unwrap().server.tls_cert_file, Some("/srv/s/c.pem".into()));
    }
}

//! An S3 server on loopback (moto, a program in Python: `scripts/install-s3-server`), started by a test and stopped by it; and what stands before it
//! and makes requests fail.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use reqwest::{Client, ClientBuilder, Method, StatusCode};
use serde_json::Value;

use crate::site::{Served, Site, addr, done, refused};

/// The bucket that is there.
const BUCKET: &str = "backups";
/// The place of backups in it.
pub(crate) const PLACE: &str = "s3://backups/eu/one";
/// What lies below it begins with this.
pub(crate) const BELOW: &str = "eu/one/";

/// The server; killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    scheme: &'static str,
    port: u16,
    client: Client,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An access key.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// Policies of users.
pub(crate) const ALL: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;
pub(crate) const READ: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":"*"}]}"#;

/// Where the program lies.
fn program() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "the script puts it there")]
    let home = std::env::var_os("HOME").expect("a home");
    let path = PathBuf::from(home).join(".cache/lethe/tools/s3/bin/moto_server");
    assert!(path.exists(), "no S3 server at {}: run scripts/install-s3-server (make test does)", path.display());
    path
}

impl Server {
    /// Starts it on a free port, with an empty bucket; it asks for no signature yet.
    pub(crate) async fn start() -> Self {
        Self::start_with("http", &[], Client::builder()).await
    }

    /// The same behind TLS, with a certificate, for whatever name, and its key, PEM.
    pub(crate) async fn start_behind_tls(cert: &Path, key: &Path) -> Self {
        let arguments = ["-c", cert.to_str().unwrap(), "-k", key.to_str().unwrap()];
        Self::start_with("https", &arguments, Client::builder().tls_danger_accept_invalid_certs(true)).await
    }

    async fn start_with(scheme: &'static str, arguments: &[&str], client: ClientBuilder) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut command = Command::new(program());
        command.args(["-H", "127.0.0.1", "-p", "0"]).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut told = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        let port = loop {
            let before = said.len();
            assert!(told.read_line(&mut said).unwrap() > 0, "the S3 server does not start: {said}");
            if let Some((_, port)) = said[before..].split_once("://127.0.0.1:") {
                break port.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
            }
        };
        // It says a line for each request. Ends with the server.
        std::thread::spawn(move || drop(io::copy(&mut told, &mut io::sink())));
        let server = Self { child, scheme, port, client: client.no_proxy().build().unwrap() };
        let (status, told) = server.ask(Method::PUT, &format!("/{BUCKET}"), "s3", Vec::new()).await;
        assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&told));
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// A request whose signature is none: for the time in which the server asks for none.
    async fn ask(&self, method: Method, path: &str, service: &str, body: Vec<u8>) -> (StatusCode, Vec<u8>) {
        let scope = format!("Credential=test/20260101/us-east-1/{service}/aws4_request");
        let request = self.client.request(method, format!("{}{path}", self.url()));
        let request = request.header("authorization", format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"));
        let form = "application/x-www-form-urlencoded";
        let request = if service == "s3" { request } else { request.header("content-type", form) };
        let answer = request.body(body).send().await.unwrap();
        (answer.status(), answer.bytes().await.unwrap().to_vec())
    }

    /// Whether it asks for signatures, and holds them against those that it makes itself.
    pub(crate) async fn enforce(&self, signatures: bool) {
        let count = if signatures { "0" } else { "inf" };
        let answer = self.client.post(format!("{}/moto-api/reset-auth", self.url())).body(count).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }

    /// Makes a user who may do what a policy says; the access key.
    pub(crate) async fn user(&self, name: &str, policy: &str) -> Keys {
        let policy = percent_encoding::utf8_percent_encode(policy, percent_encoding::NON_ALPHANUMERIC);
        let mut answered = String::new();
        for call in [
            format!("Action=CreateUser&UserName={name}"),
            format!("Action=PutUserPolicy&UserName={name}&PolicyName=p&PolicyDocument={policy}"),
            format!("Action=CreateAccessKey&UserName={name}"),
        ] {
            let (status, told) = self.ask(Method::POST, "/", "iam", format!("{call}&Version=2010-05-08").into_bytes()).await;
            answered = String::from_utf8(told).unwrap();
            assert_eq!(status, StatusCode::OK, "{answered}");
        }
        let told = |tag: &str| between(&answered, tag).pop().unwrap();
        Keys { id: told("AccessKeyId"), secret: told("SecretAccessKey") }
    }

    /// Names of all objects of the bucket that begin with this.
    pub(crate) async fn names(&self, prefix: &str) -> Vec<String> {
        let path = format!("/{BUCKET}?list-type=2&max-keys=1000&prefix={}", prefix.replace('/', "%2F"));
        let (status, told) = self.ask(Method::GET, &path, "s3", Vec::new()).await;
        let told = String::from_utf8(told).unwrap();
        assert_eq!(status, StatusCode::OK, "{told}");
        let mut names = between(&told, "Key");
        names.sort();
        names
    }

    pub(crate) async fn get(&self, name: &str) -> Vec<u8> {
        let (status, bytes) = self.ask(Method::GET, &format!("/{BUCKET}/{name}"), "s3", Vec::new()).await;
        assert_eq!(status, StatusCode::OK, "{name}");
        bytes
    }

    pub(crate) async fn put(&self, name: &str, bytes: Vec<u8>) {
        assert_eq!(self.ask(Method::PUT, &format!("/{BUCKET}/{name}"), "s3", bytes).await.0, StatusCode::OK, "{name}");
    }

    pub(crate) async fn delete(&self, name: &str) {
        let (status, _) = self.ask(Method::DELETE, &format!("/{BUCKET}/{name}"), "s3", Vec::new()).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{name}");
    }
}

/// What stands between the tags of a name.
fn between(text: &str, tag: &str) -> Vec<String> {
    let open = format!("<{tag}>");
    text.split(&open).skip(1).map(|part| part.split_once("</").unwrap().0.to_owned()).collect()
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Behind the bucket, with its query.
    pub(crate) name: String,
    pub(crate) len: usize,
    pub(crate) is_conditional: bool,
}

impl Seen {
    /// Whether a file of the data store is sent.
    pub(crate) fn is_file(&self) -> bool {
        self.method == "PUT" && self.name.starts_with("eu/one/files/")
    }

    /// Whether the lock is written.
    pub(crate) fn is_lock(&self) -> bool {
        self.method == "PUT" && self.name == "eu/one/lock"
    }

    /// Whether it is asked whose the place is.
    pub(crate) fn is_look_whose(&self) -> bool {
        self.method == "GET" && self.name == "eu/one/format"
    }

    /// Whether it is said whose the place is.
    pub(crate) fn is_format(&self) -> bool {
        self.method == "PUT" && self.name == "eu/one/format"
    }

    /// Whether it is asked what lies in a part.
    pub(crate) fn is_list_of(&self, part: &str) -> bool {
        self.method == "GET" && self.name.contains("list-type=2") && self.name.ends_with(&format!("prefix=eu%2Fone%2F{part}%2F"))
    }

    /// Whether a manifest is sent.
    pub(crate) fn is_manifest(&self) -> bool {
        self.method == "PUT" && self.name.starts_with("eu/one/generations/")
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    /// Answered with this status, and this code of S3's.
    Refused(u16, &'static str),
    /// Answered with this status by something that is no S3 server.
    Page(u16),
    /// The connection breaks before the server has all of it.
    Cut,
    /// The server has done it, and the connection breaks.
    Lost,
    /// The connection breaks in the middle of the answer.
    Half,
    /// It stands still until [`Proxy::let_on`], then it passes.
    Held,
    /// The server has done it, and its answer stands still until then.
    Late,
    /// The server has done it, and nobody is told, ever.
    Deaf,
    /// The list ends before the last object, and does not say how many there are.
    Short,
    /// Answered with this, as if all were well.
    Said(&'static str),
    /// The server is not told of conditions.
    Stripped,
    /// The server is not told which object is to be written over.
    Unmatched,
}

type Rule = Box<dyn FnMut(&Seen) -> Fate + Send>;

/// What stands before the server. Its threads end with the process.
pub(crate) struct Proxy {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: u16,
    rule: Mutex<Rule>,
    seen: Mutex<Vec<Seen>>,
    /// Whether a request has come that stands still.
    has_stopped: AtomicBool,
    lets_on: (Mutex<bool>, Condvar),
}

impl Proxy {
    pub(crate) fn before(server: &Server, rule: impl FnMut(&Seen) -> Fate + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            upstream: server.port,
            rule: Mutex::new(Box::new(rule)),
            seen: Mutex::default(),
            has_stopped: AtomicBool::new(false),
            lets_on: (Mutex::new(false), Condvar::new()),
        });
        let sharing = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, sharing) = (stream.unwrap(), Arc::clone(&sharing));
                // Who asks may have gone.
                std::thread::spawn(move || drop(sharing.pass(&stream)));
            }
        });
        Self { url, shared }
    }

    /// Other rules from here on.
    pub(crate) fn rule(&self, rule: impl FnMut(&Seen) -> Fate + Send + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
    }

    /// What has come since this was last called.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.shared.seen.lock().unwrap())
    }

    /// Whether a request stands still, or has been done without an answer.
    pub(crate) fn has_stopped(&self) -> bool {
        self.shared.has_stopped.load(Ordering::Acquire)
    }

    pub(crate) fn let_on(&self) {
        *self.shared.lets_on.0.lock().unwrap() = true;
        self.shared.lets_on.1.notify_all();
    }
}

impl Shared {
    /// One request, and what becomes of it. The connection is closed behind it.
    fn pass(&self, stream: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut lines: Vec<String> = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            lines.push(line);
        }
        let value = |name: &str| {
            let mut named = lines.iter().filter_map(|line| line.split_once(':')).filter(|(known, _)| known.eq_ignore_ascii_case(name));
            named.next().map(|(_, value)| value.trim().to_owned())
        };
        let mut body = vec![0; value("content-length").map_or(0, |len| len.parse().unwrap())];
        reader.read_exact(&mut body)?;
        let mut first = lines[0].split(' ');
        let (method, path) = (first.next().unwrap().to_owned(), first.next().unwrap());
        let name = path.trim_start_matches('/').split_once('/').map_or(path, |(_, name)| name).to_owned();
        let is_conditional = value("if-none-match").is_some() || value("if-match").is_some();
        let seen = Seen { method, name, len: body.len(), is_conditional };
        let fate = {
            let mut rule = self.rule.lock().unwrap();
            (*rule)(&seen)
        };
        self.seen.lock().unwrap().push(seen);
        match fate {
            Fate::Pass => self.answer(stream, &lines, &body, |answer| answer),
            Fate::Refused(status, code) => {
                let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>so it is</Message></Error>");
                refuse(stream, status, &text)
            }
            Fate::Page(status) => refuse(stream, status, "<html><body>welcome</body></html>"),
            Fate::Said(text) => refuse(stream, 200, text),
            Fate::Short => {
                let answer = String::from_utf8(self.asked(&lines, &body)?).unwrap();
                let list = answer.split_once("\r\n\r\n").unwrap().1;
                let (before, last) = list.rsplit_once("<Contents>").unwrap();
                let short = format!("{before}{}", last.split_once("</Contents>").unwrap().1);
                let (before, counted) = short.split_once("<KeyCount>").unwrap();
                refuse(stream, 200, &format!("{before}{}", counted.split_once("</KeyCount>").unwrap().1))
            }
            Fate::Cut => {
                let mut upstream = TcpStream::connect(("127.0.0.1", self.upstream))?;
                upstream.write_all(lines.concat().as_bytes())?;
                upstream.write_all(b"\r\n")?;
                upstream.write_all(&body[..body.len() / 2])
            }
            Fate::Lost => self.answer(stream, &lines, &body, |_| &[]),
            Fate::Half => self.answer(stream, &lines, &body, |answer| &answer[..answer.len() / 2]),
            Fate::Held => {
                self.stand_still();
                self.answer(stream, &lines, &body, |answer| answer)
            }
            Fate::Late => self.answer(stream, &lines, &body, |answer| {
                self.stand_still();
                answer
            }),
            Fate::Deaf => {
                self.answer(stream, &lines, &body, |_| &[])?;
                self.has_stopped.store(true, Ordering::Release);
                loop {
                    std::thread::park();
                }
            }
            Fate::Stripped | Fate::Unmatched => {
                let left_out = if fate == Fate::Stripped { "if-" } else { "if-match:" };
                let is_kept = |line: &&String| !line.to_ascii_lowercase().starts_with(left_out);
                let lines: Vec<String> = lines.iter().filter(is_kept).cloned().collect();
                self.answer(stream, &lines, &body, |answer| answer)
            }
        }
    }

    /// Until [`Proxy::let_on`].
    fn stand_still(&self) {
        self.has_stopped.store(true, Ordering::Release);
        let (lets_on, told) = &self.lets_on;
        drop(told.wait_while(lets_on.lock().unwrap(), |lets_on| !*lets_on).unwrap());
    }

    /// Has the server do it; so much of its answer goes back.
    fn answer(&self, mut stream: &TcpStream, lines: &[String], body: &[u8], part: impl FnOnce(&[u8]) -> &[u8]) -> io::Result<()> {
        stream.write_all(part(&self.asked(lines, body)?))
    }

    /// Has the server do it; its answer.
    fn asked(&self, lines: &[String], body: &[u8]) -> io::Result<Vec<u8>> {
        let mut upstream = TcpStream::connect(("127.0.0.1", self.upstream))?;
        let head = format!("{}Connection: close\r\n{}\r\n", lines[0], lines[1..].concat());
        upstream.write_all(head.as_bytes())?;
        upstream.write_all(body)?;
        let mut answer = Vec::new();
        upstream.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

fn refuse(mut stream: &TcpStream, status: u16, text: &str) -> io::Result<()> {
    let len = text.len();
    stream.write_all(format!("HTTP/1.1 {status} so\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{text}").as_bytes())
}

/// Who runs commands about the place in the bucket.
pub(crate) struct Asks<'a> {
    pub(crate) site: &'a Site,
    pub(crate) url: String,
    pub(crate) keys: Keys,
}

impl<'a> Asks<'a> {
    pub(crate) fn new(site: &'a Site, url: &str) -> Self {
        Self { site, url: url.to_owned(), keys: Keys { id: "someone".into(), secret: "a-secret-canary".into() } }
    }

    /// A command that reaches the server as these settings say.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.site.command(arguments);
        for name in ["SESSION_TOKEN", "PROFILE", "CA_BUNDLE", "SHARED_CREDENTIALS_FILE", "ENDPOINT_URL", "DEFAULT_REGION", "REGION"] {
            command.env_remove(format!("AWS_{name}"));
        }
        command.env("AWS_ACCESS_KEY_ID", &self.keys.id).env("AWS_SECRET_ACCESS_KEY", &self.keys.secret);
        command.env("AWS_ENDPOINT_URL_S3", &self.url);
        command
    }

    /// Runs a command that must succeed; standard output.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        done(self.command(arguments), arguments)
    }

    /// Runs a command that must be refused with exit code 1; what it says, in which no secret may be.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let told = refused(self.command(arguments), arguments);
        assert!(!told.contains(&self.keys.secret), "{told}");
        told
    }

    /// Takes a backup; what the command says of it.
    pub(crate) fn back_up(&self, served: Option<&Served>) -> Value {
        self.json(&["--addr", addr(served), "backup", "--to", PLACE, "--dir", "store"])
    }

    pub(crate) fn restore(&self, more: &[&str]) -> Value {
        self.json(&[&["restore", "--from", PLACE, "--dir", "store", "--yes"], more].concat())
    }

    pub(crate) fn verify(&self) -> Value {
        self.json(&["backup", "verify", "--from", PLACE])
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[&["--format", "json"], arguments].concat())).unwrap()
    }
}

//! A store made and served by the real program, and a client.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use reqwest::{Client, Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The parts of a store.
pub(crate) const PARTS: [&str; 5] = ["store", "store-mirror", "a", "b", "keep"];

pub(crate) struct Site {
    dir: tempfile::TempDir,
    pub(crate) client: Client,
}

/// A server that is killed when it is dropped.
pub(crate) struct Served {
    pub(crate) child: Child,
    pub(crate) url: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Served {
    /// Ends it in order; it must have gone well.
    pub(crate) fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Site {
    /// A store of two components of custody, with a tenant and a collection.
    pub(crate) async fn make() -> Self {
        Self::make_in(&std::env::temp_dir(), "[store]\nreserve_len_bytes = 1048576\n").await
    }

    /// The same below a directory, with these settings.
    pub(crate) async fn make_in(parent: &Path, more: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir_in(parent).unwrap();
        let client = Client::builder().timeout(Duration::from_mins(1)).build().unwrap();
        let site = Self { dir, client };
        let (store, a, b) = (site.text("store"), site.text("a"), site.text("b"));
        site.ok(&["init", "--dir", &store, "--custody", &a, "--custody", &b]);
        let mut settings = fs::read_to_string(site.path("store/lethe.toml")).unwrap();
        settings.push('\n');
        settings.push_str(more);
        fs::write(site.path("store/lethe.toml"), settings).unwrap();
        let served = site.serve(|_| ());
        let made = site.send(&served, Method::POST, "/v1/tenants", &site.operator(), r#"{"tenant": "acme"}"#).await;
        let made: Value = serde_json::from_str(&made.1).unwrap();
        fs::create_dir(site.path("keep")).unwrap();
        fs::write(site.path("keep/owner"), made["token"].as_str().unwrap()).unwrap();
        let put = site.send(&served, Method::PUT, "/v1/tenants/acme/collections/c", &site.owner(), r#"{"shred_unit": "subject"}"#).await;
        assert_eq!(put.0, StatusCode::CREATED, "{}", put.1);
        served.stop();
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn operator(&self) -> String {
        fs::read_to_string(self.path("store/operator.token")).unwrap().trim().to_owned()
    }

    pub(crate) fn owner(&self) -> String {
        fs::read_to_string(self.path("keep/owner")).unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lethe"));
        command.args(arguments).stdin(Stdio::null()).current_dir(self.dir.path());
        for name in ["LETHE_ADDR", "LETHE_TOKEN", "LETHE_TOKEN_FILE", "LETHE_TENANT"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs a command that must succeed; standard output.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        done(self.command(arguments), arguments)
    }

    /// The same; what it says in JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[&["--format", "json"], arguments].concat())).unwrap()
    }

    /// Runs a command that must be refused with exit code 1; what it says.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        refused(self.command(arguments), arguments)
    }

    pub(crate) fn recover(&self, part: &str, more: &[&str]) -> Output {
        self.command(&[&["recover", part, "--yes", "--dir", "store"], more].concat()).output().unwrap()
    }

    /// Serves the store; `with` may change the command first.
    pub(crate) fn serve(&self, with: impl FnOnce(&mut Command)) -> Served {
        self.try_serve_with(with).unwrap_or_else(|log| panic!("not served: {log}"))
    }

    /// Serves the store, or gives what the server logged.
    pub(crate) fn try_serve(&self) -> Result<Served, String> {
        self.try_serve_with(|_| ())
    }

    fn try_serve_with(&self, with: impl FnOnce(&mut Command)) -> Result<Served, String> {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0", "--dir", "store"]);
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("server.log")).unwrap();
        command.stdout(Stdio::piped()).stderr(log);
        with(&mut command);
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let Some(url) = line.strip_prefix("listening on ") else {
            drop(child.wait());
            return Err(fs::read_to_string(self.path("server.log")).unwrap());
        };
        Ok(Served { url: url.trim_end().to_owned(), child })
    }

    pub(crate) async fn send(&self, served: &Served, method: Method, path: &str, token: &str, body: &str) -> (StatusCode, String) {
        let request = self.client.request(method, format!("{}{path}", served.url)).bearer_auth(token);
        let request = request.header("content-type", "application/json").header("lethe-subject", "8").body(body.to_owned());
        match request.send().await {
            Ok(answer) => (answer.status(), answer.text().await.unwrap_or_default()),
            // As after a killed server: nothing was acknowledged.
            Err(_) => (StatusCode::IM_A_TEAPOT, String::new()),
        }
    }

    /// Orders a person's shred and waits for it at most so long.
    pub(crate) async fn shred(&self, served: &Served, subject: &str, wait_secs: u32) -> (StatusCode, String) {
        let order = format!(r#"{{"scope": "subject", "subjects": ["{subject}"]}}"#);
        let request = self.client.post(format!("{}/v1/tenants/acme/shreds", served.url)).bearer_auth(self.owner());
        let request = request.header("prefer", format!("wait={wait_secs}")).header("content-type", "application/json").body(order);
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    /// Shreds a person and waits for the certificate, which must be in the log.
    pub(crate) async fn shredded(&self, served: &Served, subject: &str) {
        let (status, told) = self.shred(served, subject, 30).await;
        assert!(status == StatusCode::OK && told.contains("\"done\""), "{status} {told}");
        let told: Value = serde_json::from_str(&told).unwrap();
        let (status, told) = self.send(served, Method::GET, told["certificate"].as_str().unwrap(), &self.owner(), "").await;
        assert_eq!(status, StatusCode::OK, "{told}");
    }

    pub(crate) async fn put(&self, served: &Served, key: &str, value: &str) -> StatusCode {
        let path = format!("/v1/tenants/acme/collections/c/records/{key}");
        self.send(served, Method::PUT, &path, &self.owner(), value).await.0
    }

    pub(crate) async fn get(&self, served: &Served, key: &str) -> (StatusCode, String) {
        let path = format!("/v1/tenants/acme/collections/c/records/{key}");
        self.send(served, Method::GET, &path, &self.owner(), "").await
    }

    /// Everything that was acknowledged reads as it was written.
    pub(crate) async fn holds(&self, served: &Served, acknowledged: &BTreeMap<String, String>) {
        for (key, value) in acknowledged {
            assert_eq!(self.get(served, key).await, (StatusCode::OK, value.clone()), "{key} was acknowledged");
        }
    }

    pub(crate) async fn ready(&self, served: &Served) -> StatusCode {
        self.send(served, Method::GET, "/health/ready", "", "").await.0
    }

    /// What an orchestrator is told of a server that is not ready: its code, and the part that cannot work.
    pub(crate) async fn not_ready(&self, served: &Served) -> (String, String) {
        let (status, told) = self.send(served, Method::GET, "/health/ready", "", "").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{told}");
        let told: Value = serde_json::from_str(&told).unwrap();
        let detail = told["detail"].as_str().unwrap();
        let part = ["store", "custody", "log"].into_iter().find(|part| detail.contains(part)).unwrap_or_else(|| panic!("{told}"));
        (told["code"].as_str().unwrap().to_owned(), part.to_owned())
    }

    /// How many roots each component of custody has.
    pub(crate) fn roots(&self) -> [usize; 2] {
        // Byte 4 of a slot: held.
        ["a", "b"].map(|name| fs::read(self.path(name).join("root")).unwrap().chunks(4_096).filter(|slot| slot[4] == 1).count())
    }

    /// Keeps the parts under another name.
    pub(crate) fn keep(&self, name: &str) {
        for part in PARTS.iter().filter(|part| **part != "keep") {
            copy(&self.path(part), &self.path(&format!("{name}/{part}")));
        }
    }

    /// Puts a part, or a part of a part, back as it was kept.
    pub(crate) fn put_back(&self, name: &str, part: &str) {
        let path = self.path(part);
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&path).unwrap(),
            Ok(_) => fs::remove_file(&path).unwrap(),
            Err(_) => {}
        }
        copy(&self.path(&format!("{name}/{part}")), &path);
    }

    /// Puts all parts back.
    pub(crate) fn reset(&self, name: &str) {
        for part in PARTS.iter().filter(|part| **part != "keep") {
            self.put_back(name, part);
        }
    }
}

/// Where a server is asked, or where nobody answers.
pub(crate) fn addr(served: Option<&Served>) -> &str {
    served.map_or("http://127.0.0.1:9", |served| served.url.as_str())
}

/// Runs a command with these arguments, which must succeed; standard output.
pub(crate) fn done(mut command: Command, arguments: &[&str]) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command with these arguments, which must be refused with exit code 1; what it says.
pub(crate) fn refused(mut command: Command, arguments: &[&str]) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", stderr(&output));
    stderr(&output)
}

/// The code of a problem document.
pub(crate) fn code(told: &str) -> String {
    let told: Value = serde_json::from_str(told).unwrap_or_default();
    told["code"].as_str().unwrap_or_default().to_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Copies a file or directory, with its modes.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// Waits until it is so; fails after a minute.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waits = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_mins(1), waits).await.is_ok(), "not after a minute: {what}");
}

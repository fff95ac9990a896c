//! A store in a temporary directory, and the server on it: a child process with a log file.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use lethe::domain::{Clock as _, SystemClock};
use rustix::process::{Pid, Signal};

/// A store that `lethe init` made.
pub(crate) struct Site {
    dir: tempfile::TempDir,
}

/// The program, without the caller's own settings.
pub(crate) fn lethe() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lethe"));
    for name in ["LETHE_ADDR", "LETHE_TOKEN", "LETHE_TOKEN_FILE", "LETHE_TENANT"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

impl Site {
    /// A new store, with these tables added to its settings.
    pub(crate) fn make(settings: &str) -> Self {
        let site = Self { dir: tempfile::tempdir().unwrap() };
        succeeded(lethe().args(["init", "--dir"]).arg(site.path("store")));
        let file = site.path("store/lethe.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text + "\n" + settings).unwrap();
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn operator(&self) -> String {
        fs::read_to_string(self.path("store/operator.token")).unwrap().trim_end().to_owned()
    }

    /// What the servers have logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }

    /// `lethe serve`, not waited for.
    pub(crate) fn spawn(&self) -> Child {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("server.log")).unwrap();
        let mut command = lethe();
        command.args(["serve", "--listen", "127.0.0.1:0", "--dir"]).arg(self.path("store"));
        command.stdout(Stdio::piped()).stderr(log).spawn().unwrap()
    }

    /// A server that listens.
    pub(crate) fn start(&self) -> Server {
        let started = SystemClock.monotonic();
        let mut child = self.spawn();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let Some(url) = line.strip_prefix("listening on ") else { panic!("it said {line:?} and logged:\n{}", self.log_tail()) };
        let url = url.trim_end().to_owned();
        Server { child, out, url, took: SystemClock.monotonic().saturating_sub(started) }
    }

    /// The end of the log, for who reads a failed test.
    pub(crate) fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().filter(|line| !line.contains("request answered")).collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

/// A server at work; killed when dropped.
pub(crate) struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
    pub(crate) url: String,
    /// From the start of the process to its first line.
    pub(crate) took: Duration,
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// SIGKILL, and waits until it is dead.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end; what it said on standard output after its first line comes with it.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        (status, rest)
    }

    /// SIGTERM: must end well.
    pub(crate) fn stop(self) {
        self.signal(Signal::TERM);
        let (status, _) = self.wait();
        assert!(status.success(), "SIGTERM ended in {status}");
    }

    /// The program as client of this server.
    pub(crate) fn lethe(&self, token: &str) -> Command {
        let mut command = lethe();
        command.env("LETHE_ADDR", &self.url).env("LETHE_TOKEN", token);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs a command that must succeed.
pub(crate) fn succeeded(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{:?} ended in {}: {told}{}",
        command.get_args(),
        output.status,
        String::from_utf8_lossy(&output.stdout)
    );
    output
}

/// Every file below; what goes while it is looked for is left out.
pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let list = if entry.file_type().is_ok_and(|kind| kind.is_dir()) { &mut dirs } else { &mut files };
            list.push(entry.path());
        }
    }
    files.sort();
    files
}

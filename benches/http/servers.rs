//! Servers as processes of their own, and what can be seen of them from outside.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// The program that is measured.
pub(crate) const LETHE: &str = env!("CARGO_BIN_EXE_lethe");

/// A server that works less than this in a second does nothing but its ticks.
const IDLE_CPU_SECS: f64 = 0.03;
const REST_MAX: Duration = Duration::from_mins(10);

/// A server that runs until it is dropped.
pub(crate) struct Serving {
    child: Child,
    pub(crate) url: String,
    /// A file with an owner's token, where there is one to have.
    pub(crate) token: Option<PathBuf>,
    /// The same of the operator.
    pub(crate) operator: Option<PathBuf>,
    /// A file with the certificate to trust.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) dir: PathBuf,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a server and waits until it says where it listens.
fn start(mut command: Command, log: &Path) -> (Child, String) {
    let log = fs::File::options().create(true).append(true).open(log).expect("a log");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().expect("a process");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("it is piped")).read_line(&mut line).expect("readable");
    let url = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("the server said {line:?}"));
    (child, url.trim_end().to_owned())
}

/// One of the baselines: this program in another role.
pub(crate) fn baseline(role: &str, dir: &Path) -> Serving {
    fs::create_dir_all(dir).expect("a directory");
    let mut command = Command::new(std::env::current_exe().expect("this program has a file"));
    command.args(["--role", role, "--dir"]).arg(dir.join("rows"));
    let (child, url) = start(command, &dir.join("log"));
    Serving { child, url, token: None, operator: None, ca: None, dir: dir.to_owned() }
}

/// `lethe serve` on a new store with a tenant `bench`, and these settings besides the usual ones.
pub(crate) fn lethe(dir: &Path, settings: &str, tls: bool) -> Serving {
    fs::create_dir_all(dir).expect("a directory");
    let store = dir.join("store");
    run(Command::new(LETHE).args(["init", "--dir"]).arg(&store));
    let mut settings = settings.to_owned();
    let ca = tls.then(|| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()]).expect("a certificate");
        let (chain, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        fs::write(&chain, made.cert.pem()).expect("written");
        fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        settings = format!("{settings}\n[server]\ntls_cert_file = \"{}\"\ntls_key_file = \"{}\"\n", chain.display(), key.display());
        chain
    });
    let file = store.join("lethe.toml");
    let usual = fs::read_to_string(&file).expect("written by init");
    fs::write(&file, format!("{usual}\n{settings}")).expect("written");
    let mut serving = serve(dir);
    serving.ca = ca;
    let token = dir.join("owner.token");
    let mut create = serving.client(serving.operator.as_deref());
    run(create.args(["tenant", "create", "bench", "--save-token"]).arg(&token));
    serving.token = Some(token);
    serving
}

/// `lethe serve` on the store that is there.
fn serve(dir: &Path) -> Serving {
    let store = dir.join("store");
    let mut command = Command::new(LETHE);
    command.args(["serve", "--listen", "127.0.0.1:0", "--dir"]).arg(&store);
    let (child, url) = start(command, &dir.join("log"));
    Serving { child, url, token: None, operator: Some(store.join("operator.token")), ca: None, dir: dir.to_owned() }
}

/// Runs a command that must succeed; gives what it said.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().expect("a process");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

impl Serving {
    /// `lethe` as a client of this server.
    pub(crate) fn client(&self, token: Option<&Path>) -> Command {
        let mut command = Command::new(LETHE);
        command.env_remove("LETHE_TOKEN").env_remove("LETHE_TOKEN_FILE").env("LETHE_ADDR", &self.url).env("LETHE_TENANT", "bench");
        match token {
            Some(file) => command.env("LETHE_TOKEN_FILE", file),
            None => command.env("LETHE_TOKEN", "none"),
        };
        if let Some(ca) = &self.ca {
            command.arg("--ca").arg(ca);
        }
        command
    }

    /// Kills it as `kill -9` does and starts it again; gives the seconds until it listened.
    pub(crate) fn kill_and_start(&mut self) -> f64 {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        let begun = crate::now();
        let mut fresh = serve(&self.dir);
        let took = crate::now().saturating_sub(begun).as_secs_f64();
        // The old one is dropped, which finds its process gone.
        std::mem::swap(&mut self.child, &mut fresh.child);
        self.url.clone_from(&fresh.url);
        took
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in MiB.
    pub(crate) fn resident(&self) -> f64 {
        resident(self.id())
    }

    /// Seconds of processor time so far, in user space and in the kernel.
    pub(crate) fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        let after = stat.rsplit(')').next().unwrap_or_default();
        let ticks: f64 = after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
        ticks / f64::from(u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100))
    }

    /// Waits until what its last load set going is over.
    pub(crate) fn rest(&self) {
        rest(&[self]);
    }

    /// A figure of its metrics, which the operator reads.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let token = fs::read_to_string(self.operator.as_deref()?).ok()?;
        let authority = self.url.strip_prefix("http://")?;
        let mut stream = TcpStream::connect(authority).ok()?;
        let (token, close) = (token.trim(), "connection: close\r\n\r\n");
        write!(stream, "GET /metrics HTTP/1.1\r\nhost: {authority}\r\nauthorization: Bearer {token}\r\n{close}").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
    }

    /// Bytes of the data store's write-ahead log.
    pub(crate) fn wal_bytes(&self) -> u64 {
        let files = fs::read_dir(self.dir.join("store/data")).into_iter().flatten().flatten();
        let logs = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "log"));
        logs.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
    }
}

/// Waits until what their last load set going (flushes, compactions, syncs of what was only written) is over: until none of them
/// has done more than its ticks for two seconds.
pub(crate) fn rest(servers: &[&Serving]) {
    let begun = crate::now();
    let mut quiet = 0;
    while quiet < 2 {
        let before: Vec<f64> = servers.iter().map(|server| server.cpu()).collect();
        std::thread::park_timeout(Duration::from_secs(1));
        let is_quiet = servers.iter().zip(before).all(|(server, before)| server.cpu() - before < IDLE_CPU_SECS);
        quiet = if is_quiet { quiet + 1 } else { 0 };
        assert!(crate::now().saturating_sub(begun) < REST_MAX, "a server did not come to rest");
    }
}

/// Resident memory of a process in MiB.
pub(crate) fn resident(id: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

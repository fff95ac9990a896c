//! The command line from outside: its help texts, and its exit codes where no server is needed.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    path::Path,
    process::{Command, Output},
};

/// The program, without the caller's own settings.
fn lethe(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lethe"));
    for name in ["LETHE_ADDR", "LETHE_TOKEN", "LETHE_TOKEN_FILE", "LETHE_TENANT"] {
        command.env_remove(name);
    }
    command.args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Every command's help, in the order of the tree.
fn all_help(command: &mut clap::Command, path: &str, out: &mut String) {
    let help = command.clone().bin_name(path).term_width(100).render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    *out += "=== ";
    *out += path;
    *out += "\n";
    *out += lines.join("\n").trim_end();
    *out += "\n\n";
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    for name in names {
        all_help(command.find_subcommand_mut(&name).unwrap(), &format!("{path} {name}"), out);
    }
}

#[test]
fn help_is_that_of_the_golden_file() {
    let mut command = lethe::cli::command();
    command.build();
    let mut help = String::new();
    all_help(&mut command, "lethe", &mut help);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/help.txt");
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    if golden != help {
        let fresh = std::env::temp_dir().join("lethe-help.txt");
        std::fs::write(&fresh, &help).unwrap();
        panic!("the help texts differ from {}; if they should, copy {} over it", path.display(), fresh.display());
    }
}

#[test]
fn the_long_version_tells_what_seals() {
    let told = |argument| String::from_utf8(lethe(&[argument]).stdout).unwrap();
    let (number, sealing) = (env!("CARGO_PKG_VERSION"), if cfg!(feature = "ring") { "ring" } else { "aes-gcm" });
    assert_eq!(told("-V"), format!("lethe {number}\n"));
    assert_eq!(told("--version"), format!("lethe {number}\nAES-256-GCM: {sealing}\n"));
}

#[test]
fn help_shows_no_token_from_the_environment() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_lethe")).args(["record", "get", "--help"]).env("LETHE_TOKEN", "lethe_canary").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("LETHE_TOKEN") && !text.contains("canary"), "{text}");
}

#[test]
fn usage_and_local_failures_end_with_1() {
    for arguments in [
        &["no-such-command"][..],
        &["record"],
        &["record", "get", "customers"],
        &["import", "--key", "{broken", "x.jsonl"],
        &["import", "--key", "id", "--tenant", "t", "no-such-file.jsonl"],
        &["record", "get", "c", "k", "--tenant", "t", "--addr", "http://store.example", "--token", "lethe_x"],
        &["tenant", "ls", "--addr", "ftp://127.0.0.1"],
        &["tenant", "ls", "--token-file", "no-such-file"],
        &["doctor", "--dir", "no-such-directory"],
        &["bench", "no-such-workload"],
        &["bench", "get", "--by", "prefix", "--token", "lethe_x"],
        &["bench", "get", "--tenant", "t"],
        &["certificate", "verify", "no-such-file", "--key", "no-such-file", "--log", "."],
    ] {
        let output = lethe(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", stderr(&output));
        assert!(arguments[0] == "doctor" || !output.stderr.is_empty(), "{arguments:?} said nothing");
    }
}

#[test]
fn a_server_that_is_not_there_ends_with_3() {
    // Bound and closed again: nothing listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let output = lethe(&["tenant", "ls", "--addr", &format!("http://127.0.0.1:{port}")]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("cannot be reached"), "{}", stderr(&output));
}

/// A server that answers a request, its head in lower case but for the first line, with whatever it is given; nothing is a
/// connection that breaks.
fn answering(mut answer: impl FnMut(&str, &str, &[u8]) -> String + Send + 'static) -> String {
    use std::io::{BufRead as _, Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = std::io::BufReader::new(stream.unwrap());
            let (mut line, mut head) = (String::new(), String::new());
            stream.read_line(&mut line).unwrap();
            while stream.read_line(&mut head).unwrap() > 2 {}
            let head = head.to_ascii_lowercase();
            let mut body = vec![0; value_of(&head, "content-length").map_or(0, |len| len.parse().unwrap())];
            stream.read_exact(&mut body).unwrap();
            let answer = answer(line.trim_end_matches(" HTTP/1.1\r\n"), &head, &body);
            // Who has seen enough need not take all of it.
            drop(stream.get_mut().write_all(answer.as_bytes()));
        }
    });
    url
}

/// A header's value; head and name are in lower case.
fn value_of<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// An answer that ends the connection.
fn answer(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// A server of answers made up beforehand: for each request line the next of its answers, and the last one for ever.
fn made_up(answers: Vec<(&'static str, Vec<String>)>) -> String {
    let mut answers: std::collections::BTreeMap<_, _> = answers.into_iter().collect();
    answering(move |line, _, _| {
        let of_line = answers.get_mut(line).unwrap();
        if of_line.len() > 1 { of_line.remove(0) } else { of_line.first().unwrap().clone() }
    })
}

#[test]
fn an_export_asks_a_busy_server_again_and_leaves_out_what_no_line_can_hold() {
    let busy = || answer("503 Busy\r\nretry-after: 0", r#"{"code":"busy","title":"busy"}"#);
    let records = r#"{"data":[{"key":"a","size":7},{"key":"b","size":67108865},{"key":"c","size":7}],"next_cursor":null}"#;
    let url = made_up(vec![
        ("POST /v1/tenants/t/collections/c/query", vec![busy(), answer("200 OK", records)]),
        ("GET /v1/tenants/t/collections/c/records/a", vec![busy(), busy(), answer("200 OK", r#"{"a":1}"#)]),
        // The value itself never comes: it is not waited for.
        ("GET /v1/tenants/t/collections/c/records/b", vec!["HTTP/1.1 200 OK\r\ncontent-length: 67108865\r\n\r\n".into()]),
        // Of what legal holds have left of a tenant, what a law keeps is listed, and not read without its purpose.
        ("GET /v1/tenants/t/collections/c/records/c", vec![answer("403 No", r#"{"code":"forbidden","title":"forbidden"}"#)]),
    ]);
    let output = lethe(&["export", "--tenant", "t", "--collection", "c", "--addr", &url]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "{\"a\":1}\n", "{}", stderr(&output));
    assert!(output.status.code() == Some(1) && stderr(&output).starts_with("b: its line would be longer"), "{}", stderr(&output));
    assert!(stderr(&output).contains("\nc: not read without its legal purpose"), "{}", stderr(&output));
}

#[test]
fn an_export_of_a_tenant_waits_for_a_busy_server_and_begins_anew_where_it_broke_off() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("t.age");
    let url = made_up(vec![(
        "POST /v1/tenants/t/export",
        vec![
            answer("503 Busy\r\nretry-after: 0", r#"{"code":"busy","title":"busy"}"#),
            // Nothing at all, and a half.
            String::new(),
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 9\r\n\r\nthe ".into(),
            answer("429 Later\r\nretry-after: 0", r#"{"code":"too-many-requests","title":"later"}"#),
            answer("200 OK", "the whole"),
        ],
    )]);
    let output = lethe(&["export", "tenant", "t", "--to", to.to_str().unwrap(), "--recipient", "age1", "--addr", &url]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(std::fs::read(&to).unwrap(), b"the whole");
    assert_eq!(stderr(&output).matches("broke off").count(), 2, "it says so each time: {}", stderr(&output));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no half is left beside it");
}

#[test]
fn an_import_of_nothing_but_refused_lines_does_not_send_each_of_them_hundreds_of_times() {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.jsonl");
    std::fs::write(&file, (0..1_000).map(|id| format!("{{\"id\": {id}}}\n")).collect::<Vec<_>>().concat()).unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let url = answering(move |line, _, body| match line {
        "POST /v1/tenants/t/batch" => {
            let batch: serde_json::Value = serde_json::from_slice(body).unwrap();
            count.fetch_add(batch["ops"].as_array().unwrap().len(), Ordering::Relaxed);
            answer("422 No", r#"{"code":"subject-required","title":"no subject","op":0}"#)
        }
        "GET /log/checkpoint" => answer("404 No", "{}"),
        _ => answer("200 OK", "{}"),
    });
    let output = lethe(&["import", "--tenant", "t", "--key", "id", "--addr", &url, file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert_eq!(stderr(&output).lines().filter(|line| line.contains("subject-required")).count(), 1_000, "{}", stderr(&output));
    let sent = sent.load(Ordering::Relaxed);
    // Eight cuts of a thousand, then ten rounds of halves.
    assert!(sent < 20_000, "{sent} records were sent for a thousand lines");
}

/// A server that breaks the connection at the first `POST {path}` and then gives the answers, and what it was asked since:
/// method and path, and the idempotency key.
fn losing_an_answer(path: &'static str, answers: Vec<String>) -> (String, std::sync::mpsc::Receiver<(String, Option<String>)>) {
    let (told, asked) = std::sync::mpsc::sync_channel(16);
    let mut answers = std::iter::once(String::new()).chain(answers);
    let url = answering(move |line, head, _| {
        assert!(line == format!("POST {path}") || line.starts_with("DELETE "), "{line}");
        told.send((line.to_owned(), value_of(head, "idempotency-key").map(str::to_owned))).unwrap();
        answers.next().unwrap()
    });
    (url, asked)
}

#[test]
fn a_tenant_whose_answer_was_lost_is_asked_for_again_by_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token").to_str().unwrap().to_owned();
    let made = answer("201 Created", r#"{"tenant":"acme","token":"lethe_svc_x"}"#);
    let (url, asked) = losing_an_answer("/v1/tenants", vec![made.clone(), String::new(), made]);
    let create = ["tenant", "create", "acme", "--addr", &url, "--save-token"];
    let output = lethe(&[&create[..], &[&file]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "lethe_svc_x\n");
    let other = lethe(&[&create[..], &[&(file + "2")]].concat());
    assert!(other.status.success(), "{}", stderr(&other));
    let keys: Vec<String> = asked.try_iter().map(|(_, key)| key.unwrap()).collect();
    assert!(keys.len() == 4 && keys[0] == keys[1] && keys[2] == keys[3] && keys[0] != keys[2] && keys[0].len() == 32, "{keys:?}");
}

#[test]
fn a_token_whose_answer_was_lost_is_revoked_and_another_is_made() {
    let shown = answer("409 No", r#"{"code":"secret-shown-once","title":"shown","token_id":"ab"}"#);
    let (url, asked) = losing_an_answer(
        "/v1/tenants/t/tokens",
        vec![shown, answer("204 Gone", ""), answer("201 Created", r#"{"id":"cd","token":"lethe_svc_y"}"#)],
    );
    let output = lethe(&["token", "create", "--tenant", "t", "--role", "reader", "--addr", &url, "--format", "json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("lethe_svc_y"), "{output:?}");
    let (lines, keys): (Vec<String>, Vec<Option<String>>) = asked.try_iter().unzip();
    let create = "POST /v1/tenants/t/tokens";
    assert_eq!(lines, [create, create, "DELETE /v1/tenants/t/tokens/ab", create]);
    assert!(keys[0].is_some() && keys[0] == keys[1] && keys[3].is_some() && keys[0] != keys[3], "{keys:?}");
}

#[test]
fn an_order_whose_answer_was_lost_is_repeated_by_its_key() {
    let done = answer("200 OK", r#"{"id":"1","state":"done","salt":null,"targets":["shredded-subject-x"]}"#);
    let (url, asked) = losing_an_answer("/v1/tenants/t/shreds", vec![done]);
    let output = lethe(&["shred", "subject", "7", "--yes", "--tenant", "t", "--addr", &url]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("its own answer was lost"), "{}", stderr(&output));
    let keys: Vec<Option<String>> = asked.try_iter().map(|(_, key)| key).collect();
    assert!(keys.len() == 2 && keys[0].is_some() && keys[0] == keys[1], "{keys:?}");
}

#[test]
fn a_large_line_whose_headers_are_too_long_stops_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.jsonl");
    let large = "x".repeat(100_000);
    std::fs::write(&file, ["a", "b"].map(|key| format!("{{\"key\":\"{key}\",\"value\":\"{large}\"}}\n")).concat()).unwrap();
    let url = made_up(vec![
        ("GET /v1/tenants/t/collections/c", vec![answer("200 OK", "{}")]),
        ("GET /log/checkpoint", vec![answer("404 No", "{}")]),
        // The HTTP library's, before anything of ours sees the request.
        ("PUT /v1/tenants/t/collections/c/records/a", vec![answer("431 Too Large", "")]),
        ("PUT /v1/tenants/t/collections/c/records/b", vec![answer("204 Done", "")]),
    ]);
    let output = lethe(&["import", "--envelope", "--tenant", "t", "--addr", &url, file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("c.jsonl:1: ") && stderr(&output).lines().count() == 1, "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains(" 1 records imported"), "{output:?}");
}

#[test]
fn who_waits_for_a_shred_beyond_the_server_keeps_the_names_and_the_salt() {
    let ordered = answer("202 Accepted", r#"{"id":"1","state":"pending","salt":"ab","targets":["7"],"certificate":null}"#);
    let done = r#"{"id":"1","state":"done","salt":null,"targets":["shredded-subject-x"],"certificate":"/v1/certificates/1"}"#;
    // Over 60 seconds the server is asked again; here it answers the order at once.
    let told = |later: String| {
        let url = made_up(vec![("POST /v1/tenants/t/shreds", vec![ordered.clone()]), ("GET /v1/tenants/t/shreds/1", vec![later])]);
        let arguments = ["shred", "subject", "7", "--yes", "--wait", "61", "--tenant", "t", "--addr", &url, "--format", "json"];
        let output = lethe(&arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        (serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap(), stderr(&output))
    };
    let (whole, _) = told(answer("200 OK", done));
    let expected = serde_json::json!({"id": "1", "state": "done", "salt": "ab", "targets": ["7"], "certificate": "/v1/certificates/1"});
    assert_eq!(whole, expected);
    let (first, note) = told(answer("500 No", "{}"));
    assert_eq!((&first["id"], &first["salt"], &first["state"]), (&"1".into(), &"ab".into(), &"pending".into()));
    assert!(note.contains("could not be asked"), "{note}");
}

#[test]
fn a_destructive_verb_that_is_not_confirmed_does_nothing() {
    // Nothing listens on port 1: had it sent anything, it would have ended with 3.
    let output = lethe(&["shred", "tenant", "acme", "--addr", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let output = lethe(&["shred", "tenant", "acme", "--yes", "--addr", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
}

#[test]
fn a_name_that_leads_elsewhere_is_refused_before_anything_is_sent() {
    // Nothing listens on port 1: had it sent anything, it would have ended with 3.
    let there = ["--tenant", "acme", "--addr", "http://127.0.0.1:1"];
    for arguments in [
        &["record", "rm", "crm", "../../invoices/records/5", "--yes"][..],
        &["record", "rm", "crm", "../../../tokens/1", "--yes"],
        &["record", "rm", "..", "a", "--yes"],
        &["record", "get", "crm", "./a"],
        &["record", "put", "crm", "a/../b", "Cargo.toml"],
        &["token", "revoke", "..", "--yes"],
        &["collection", "get", "."],
        &["shred", "tenant", "..", "--yes"],
    ] {
        let with = if arguments[0] == "shred" { &there[2..] } else { &there[..] };
        let output = lethe(&[arguments, with].concat());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn failures_for_programs_are_json() {
    let output = lethe(&["tenant", "ls", "--addr", "http://127.0.0.1:1", "--format", "json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert!(document["error"]["detail"].is_string(), "{document}");
}

#[test]
fn completions_exist_for_the_usual_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let output = lethe(&["completions", shell]);
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains("import"), "{shell}");
    }
}

#[path = "shared/age.rs"]
mod age;
#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/bundle.rs"]
mod bundle;
// The arithmetic of the bench of HTTP, for its tests: a bench runs none.
#[path = "../benches/http/figures.rs"]
mod figures;
#[path = "cli/readme.rs"]
mod readme;
#[path = "cli/rehearsal.rs"]
mod rehearsal;

mod with_a_server {
    //! The same program as client, against itself as server.

    use std::{
        fs,
        io::{BufRead, BufReader, Write},
        os::unix::fs::PermissionsExt,
        path::PathBuf,
        process::{Child, Stdio},
        time::Duration,
    };

    use lethe::domain::{Clock as _, SystemClock};
    use rustix::process::{Pid, Signal};

    use super::*;

    /// A store with a tenant `acme`, served.
    pub(super) struct Served {
        dir: tempfile::TempDir,
        server: Child,
        url: String,
    }

    impl Served {
        pub(super) fn start() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store = dir.path().join("store");
            let made = lethe(&["init", "--dir", store.to_str().unwrap()]);
            assert!(made.status.success(), "{}", stderr(&made));
            let (server, url) = spawn(dir.path());
            let served = Self { dir, server, url };
            let owner = served.path("acme.token");
            served.ok("store/operator.token", &["tenant", "create", "acme", "--save-token", owner.to_str().unwrap()]);
            served
        }

        /// Goes down, as systemd would have it.
        pub(super) fn stop(&mut self) {
            self.signal(Signal::TERM);
            self.server.wait().unwrap();
        }

        /// Serves again after [`Served::stop`].
        pub(super) fn serve(&mut self) {
            (self.server, self.url) = spawn(self.dir.path());
        }

        pub(super) fn url(&self) -> &str {
            &self.url
        }

        pub(super) fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        pub(super) fn command(&self, token_file: &str, arguments: &[&str]) -> Command {
            let mut command = Command::new(env!("CARGO_BIN_EXE_lethe"));
            command.args(arguments).env("LETHE_ADDR", &self.url).env("LETHE_TENANT", "acme").env("LETHE_TOKEN_FILE", self.path(token_file));
            command.env_remove("LETHE_TOKEN").current_dir(self.dir.path()).stdin(Stdio::null());
            command
        }

        pub(super) fn run(&self, token_file: &str, arguments: &[&str]) -> Output {
            self.command(token_file, arguments).output().unwrap()
        }

        /// Must succeed; standard output.
        pub(super) fn ok(&self, token_file: &str, arguments: &[&str]) -> String {
            let output = self.run(token_file, arguments);
            assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
            String::from_utf8(output.stdout).unwrap()
        }

        /// The same as the owner of acme.
        pub(super) fn owner(&self, arguments: &[&str]) -> String {
            self.ok("acme.token", arguments)
        }

        fn signal(&self, signal: Signal) {
            rustix::process::kill_process(Pid::from_child(&self.server), signal).unwrap();
        }

        pub(super) fn write(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).unwrap();
        }
    }

    /// Serves the store in `dir`; gives the URL too.
    fn spawn(dir: &Path) -> (Child, String) {
        let mut server = Command::new(env!("CARGO_BIN_EXE_lethe"))
            .args(["serve", "--listen", "127.0.0.1:0", "--dir"])
            .arg(dir.join("store"))
            .stdout(Stdio::piped())
            .stderr(fs::File::create(dir.join("server.log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let url = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}")).trim_end().to_owned();
        (server, url)
    }

    impl Drop for Served {
        fn drop(&mut self) {
            drop(self.server.kill());
            drop(self.server.wait());
        }
    }

    pub(super) fn json_lines(text: &str) -> Vec<serde_json::Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn init_makes_a_private_store_and_never_writes_over_one() {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        let store = at("s").to_str().unwrap().to_owned();
        let made = lethe(&["init", "--dir", &store]);
        assert!(made.status.success(), "{}", stderr(&made));
        let text = String::from_utf8(made.stdout).unwrap();
        assert_eq!(text.lines().filter(|line| line.starts_with("  ")).count(), 3, "the next three commands: {text}");
        for secret in ["s/operator.token", "s/signing.key", "s-custody/root"] {
            assert_eq!(fs::metadata(at(secret)).unwrap().permissions().mode() & 0o777, 0o600, "{secret}");
        }
        let token = fs::read(at("s/operator.token")).unwrap();
        assert_eq!(lethe(&["init", "--dir", &store]).status.code(), Some(1));
        assert_eq!(fs::read(at("s/operator.token")).unwrap(), token);
        let inside = lethe(&["init", "--dir", at("t").to_str().unwrap(), "--custody", at("t/custody").to_str().unwrap()]);
        assert_eq!(inside.status.code(), Some(1));
        assert!(stderr(&inside).contains("inside the store"), "{}", stderr(&inside));
        assert!(!at("t").exists(), "a refused init makes nothing");
        let doctor = lethe(&["doctor", "--dir", &store]);
        let told = String::from_utf8(doctor.stdout).unwrap();
        assert!(doctor.status.success(), "{told}");
        let custody = told.lines().find(|line| line.contains("custody: ")).unwrap();
        assert!(custody.starts_with("warning") && custody.contains(": level ") && custody.contains("same-volume-as-data=yes"), "{told}");
        fs::set_permissions(at("s-custody/root"), fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(lethe(&["doctor", "--dir", &store]).status.code(), Some(1));
        let served = lethe(&["serve", "--dir", &store, "--listen", "127.0.0.1:0"]);
        assert_eq!(served.status.code(), Some(1), "custody that others can read is refused");
    }

    #[test]
    fn a_record_goes_in_and_out_and_the_exit_codes_tell_who_refused() {
        let served = Served::start();
        served.owner(&["collection", "put", "people", "--category", "contact"]);
        served.write("value", "hello");
        let put = served.owner(&["record", "put", "people", "a/1", "value", "--subject", "7, x", "--content-type", "text/plain"]);
        assert!(put.starts_with("created a/1"), "{put}");
        assert_eq!(served.owner(&["record", "get", "people", "a/1"]), "hello");
        assert_eq!(served.owner(&["record", "get", "people", "a/1", "--range", "1-2"]), "el");
        served.owner(&["record", "get", "people", "a/1", "--output", "copy"]);
        assert_eq!(fs::read(served.path("copy")).unwrap(), b"hello");
        let rows = json_lines(&served.owner(&["record", "ls", "people", "--subject", "7, x", "--format", "json"]));
        assert_eq!((rows.len(), &rows[0]["key"], &rows[0]["size"]), (1, &"a/1".into(), &5.into()));

        let again = served
            .run("acme.token", &["record", "put", "people", "a/1", "value", "--subject", "7, x", "--create-only", "--format", "json"]);
        assert_eq!(again.status.code(), Some(2));
        let problem: serde_json::Value = serde_json::from_slice(&again.stderr).unwrap();
        assert_eq!(problem["error"]["code"], "precondition-failed", "{problem}");
        assert!(problem["error"]["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{problem}");
        let told = served.run("acme.token", &["record", "get", "people", "nobody"]);
        assert_eq!(told.status.code(), Some(2));
        assert!(stderr(&told).contains("not-found") && stderr(&told).contains("request id: "), "{}", stderr(&told));

        served.owner(&["record", "rm", "people", "a/1", "--yes"]);
        assert_eq!(served.run("acme.token", &["record", "get", "people", "a/1"]).status.code(), Some(2));
    }

    #[test]
    fn what_was_shredded_is_named_by_no_command() {
        const ANNA: [&str; 3] = ["key-anna-1b9d", "subject-anna-81c7", "value-of-anna"];
        let served = Served::start();
        served.owner(&["collection", "put", "people"]);
        for (name, value) in [("anna", "value-of-anna"), ("bert", "value-of-bert")] {
            served.write("value", value);
            let (key, subject) = (format!("eu/key-{name}-1b9d"), format!("subject-{name}-81c7"));
            served.owner(&["record", "put", "people", &key, "value", "--subject", &subject]);
            served.owner(&["record", "get", "people", &key]);
        }
        let commands = [
            &["export", "--collection", "people", "--envelope"][..],
            &["record", "ls", "people"],
            &["audit", "ls", "--all"],
            &["audit", "ls", "--all", "--format", "json"],
        ];
        let before: Vec<String> = commands.iter().map(|command| served.owner(command)).collect();
        assert!(before[0].contains(ANNA[2].trim()) || before[0].contains("dmFsdWUtb2YtYW5uYQ"), "{}", before[0]);
        assert!(before[1..].iter().all(|told| told.contains(ANNA[0]) && told.contains(ANNA[1])), "{before:?}");
        served.owner(&["shred", "subject", ANNA[1], "--yes", "--wait"]);
        for command in commands {
            let told = served.owner(command);
            assert!(ANNA.iter().all(|name| !told.contains(name)) && !told.contains("dmFsdWUtb2YtYW5uYQ"), "{command:?}: {told}");
            assert!(told.contains("key-bert-1b9d"), "{command:?}: {told}");
        }
        let trail = served.owner(&["audit", "ls", "--all"]);
        assert!(trail.contains("shredded-key-") && trail.contains("shredded-subject-"), "{trail}");
        let gone = served.run("acme.token", &["record", "get", "people", "eu/key-anna-1b9d"]);
        assert!(gone.status.code() == Some(2) && !stderr(&gone).contains(ANNA[0]), "{}", stderr(&gone));
    }

    #[test]
    fn a_token_lives_in_its_file_and_dies_when_it_is_revoked() {
        let served = Served::start();
        served.owner(&["collection", "put", "people"]);
        let made = served.owner(&["token", "create", "--role", "reader", "--save-token", "reader.token", "--format", "json"]);
        assert!(!made.contains("lethe_"), "the token is in its file alone: {made}");
        let id = json_lines(&made)[0]["id"].as_str().unwrap().to_owned();
        served.ok("reader.token", &["record", "ls", "people"]);
        assert!(served.owner(&["token", "ls"]).contains(&id));
        served.owner(&["token", "revoke", &id, "--yes"]);
        assert_eq!(served.run("reader.token", &["record", "ls", "people"]).status.code(), Some(2));
    }

    #[test]
    fn an_import_reports_each_bad_line_and_stores_the_good_ones() {
        let served = Served::start();
        let mut lines: Vec<String> = (1..=2_500).map(|id| format!("{{\"CustomerId\": {id}, \"Name\": \"n{id}\"}}")).collect();
        lines[9] = "not json".into();
        lines[1_999] = "{\"Name\": \"without a key\"}".into();
        served.write("customers.jsonl", &lines.join("\n"));
        // The subject of line 1,200 is shredded: that line is refused by the server, the rest of its batch is not.
        served.owner(&["collection", "put", "customers"]);
        served.write("v", "{}");
        served.owner(&["record", "put", "customers", "1200", "v", "--subject", "1200"]);
        served.owner(&["shred", "subject", "1200", "--yes", "--wait"]);
        let import = ["import", "--key", "CustomerId", "--subject", "CustomerId", "customers.jsonl", "--format", "json"];
        let output = served.run("acme.token", &import);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let told = stderr(&output);
        for (line, reason) in [(10, "not a JSON object"), (1_200, "410 subject-erased"), (2_000, "field CustomerId is missing")] {
            assert!(
                told.lines().any(|text| text.starts_with(&format!("customers.jsonl:{line}: ")) && text.contains(reason)),
                "{line}: {told}"
            );
        }
        assert_eq!(told.lines().count(), 3, "{told}");
        let summary = &json_lines(&String::from_utf8(output.stdout).unwrap())[0];
        assert_eq!((&summary["imported"], &summary["rejected"], &summary["lines"]), (&2_497.into(), &3.into(), &2_500.into()));
        assert_eq!(json_lines(&served.owner(&["record", "ls", "customers", "--all", "--format", "json"])).len(), 2_497);
        assert!(!served.path("customers.jsonl.lethe-import").exists(), "an import that is through leaves no state file");
    }

    #[test]
    fn an_import_with_a_token_that_may_not_write_ends_at_once() {
        let served = Served::start();
        served.owner(&["collection", "put", "things", "--shred-unit", "collection"]);
        served.owner(&["token", "create", "--role", "reader", "--save-token", "reader.token"]);
        served.write("things.jsonl", &lines(2_500));
        let import = ["import", "--key", "id", "things.jsonl"];
        let output = served.run("reader.token", &import);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("forbidden"), "{}", stderr(&output));
        assert!(!stderr(&output).contains("things.jsonl:"), "no line is at fault: {}", stderr(&output));
        assert!(served.owner(&import).contains(" 2500 records imported"), "nothing was settled by it");
    }

    #[test]
    fn a_large_line_that_cannot_be_sent_is_reported_and_stops_no_other() {
        let served = Served::start();
        served.owner(&["collection", "put", "things"]);
        let line =
            |key: &str, more: &str| format!("{{\"key\":\"{key}\",\"subjects\":[\"7\"],\"value\":\"{}\"{more}}}\n", "x".repeat(100_000));
        let bad = [line("a", r#","custom":{"a b":"x"}"#), line("b", r#","content_type":"a/b\n""#)].concat();
        served.write("things.jsonl", &(bad + &line("good", "")));
        let output = served.run("acme.token", &["import", "--envelope", "things.jsonl"]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let told: Vec<String> = stderr(&output).lines().map(str::to_owned).collect();
        assert!(told.len() == 2 && told[0].starts_with("things.jsonl:1: ") && told[1].starts_with("things.jsonl:2: "), "{told:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(" 1 records imported"), "{output:?}");
        let typed = served.run("acme.token", &["record", "put", "things", "k", "things.jsonl", "--content-type", "a/b\n"]);
        assert_eq!(typed.status.code(), Some(1), "nothing is wrong with the connection: {}", stderr(&typed));
    }

    #[test]
    fn an_import_makes_the_collection_where_the_tenant_makes_them_on_write_and_names_create_elsewhere() {
        let served = Served::start();
        let owner = "loose.token";
        served.ok("store/operator.token", &["tenant", "create", "loose", "--create-collections-on-write", "--save-token", owner]);
        served.write("things.jsonl", &lines(2_500));
        let import = ["import", "--key", "id", "--subject", "id", "things.jsonl"];
        let loose = [&import[..], &["--tenant", "loose"]].concat();
        let narrowed =
            ["token", "create", "--role", "writer", "--collection", "other", "--save-token", "narrowed.token", "--tenant", "loose"];
        served.ok(owner, &["collection", "put", "other", "--tenant", "loose"]);
        served.ok(owner, &narrowed);
        let out_of_reach = served.run("narrowed.token", &loose);
        assert_eq!(out_of_reach.status.code(), Some(2), "{}", stderr(&out_of_reach));
        assert!(!stderr(&out_of_reach).contains("things.jsonl:"), "no line is at fault: {}", stderr(&out_of_reach));
        let made = served.ok(owner, &loose);
        assert!(made.contains(" 2500 records imported into things, 0 of "), "{made}");
        let refused = served.run("acme.token", &import);
        assert!(refused.status.code() == Some(2) && stderr(&refused).contains("--create"), "{}", stderr(&refused));
        served.owner(&[&import[..], &["--create"]].concat());
    }

    #[test]
    fn a_policy_that_is_changed_keeps_what_was_not_given() {
        let served = Served::start();
        let put = |more: &[&str]| json_lines(&served.owner(&[&["collection", "put", "crm", "--format", "json"], more].concat())).remove(0);
        let policy = |told: &serde_json::Value| {
            ["shred_unit", "categories", "purposes", "retention", "secondary_subjects"].map(|name| told[name].clone())
        };
        let new = serde_json::json!(["subject", [], [], "until-deleted", "keep"]);
        assert_eq!(serde_json::json!(policy(&put(&[]))), new);
        let rules =
            serde_json::json!({"time_zone": "UTC", "rules": [{"name": "all", "from": "created", "maximum": "7y", "then": "shred"}]});
        served.write("rules", &rules.to_string());
        put(&["--shred-unit", "record", "--category", "contact", "--retention", "rules", "--secondary-subjects", "delete"]);
        let changed = put(&["--purpose", "billing"]);
        assert_eq!(serde_json::json!(policy(&changed)), serde_json::json!(["record", ["contact"], ["billing"], rules, "delete"]));
        let listed = served.owner(&["collection", "ls"]);
        assert!(listed.contains("rules: all"), "{listed}");
        let again = put(&["--retention", "until-deleted"]);
        assert_eq!(again["retention"], "until-deleted");
        let refused = served.run("acme.token", &["collection", "put", "crm", "--retention", "no-such-file"]);
        assert!(refused.status.code() == Some(1) && stderr(&refused).contains("no-such-file"), "{}", stderr(&refused));
        served.write("wrong", &rules.to_string().replace("7y", "seven years"));
        let refused = served.run("acme.token", &["collection", "put", "crm", "--retention", "wrong"]);
        assert!(refused.status.code() == Some(2) && stderr(&refused).contains("a period of whole years"), "{}", stderr(&refused));
        served.write("policy", "{}");
        assert_eq!(serde_json::json!(policy(&put(&["--policy", "policy"]))), new, "a document is the whole policy");
    }

    #[test]
    fn the_catalogue_of_legal_periods_is_printed_and_can_be_copied_into_a_rule() {
        let served = Served::start();
        let shown = served.owner(&["retention", "catalogue"]);
        for said in ["CODE", "ccpa.request-record", "24m", "11 CCR 7101(a)", "Cal. Lab. Code 226(a)", "26 USC 6501(e)", "29 CFR 1602.14"] {
            assert!(shown.contains(said), "{said}: {shown}");
        }
        let periods = json_lines(&served.owner(&["retention", "catalogue", "--format", "json"]));
        for period in &periods {
            let rule = serde_json::json!({"name": period["code"], "from": "created", "minimum": period["minimum"], "maximum": "10y", "then": "delete"});
            served.write("rules", &serde_json::json!({"time_zone": "America/Los_Angeles", "rules": [rule]}).to_string());
            served.owner(&["collection", "put", "crm", "--retention", "rules"]);
        }
        assert!(periods.len() >= 13);
        served.owner(&["record", "put", "crm", "a/b", "--subject", "7", "rules"]);
        let told = served.ok("acme.token", &["retention", "explain", "acme", "crm", "a/b"]);
        assert!(told.starts_with("must be kept until ") && told.contains("by rule `us.audit-workpapers` (17 CFR 210.2-06(a))"), "{told}");
        assert!(told.contains("MINIMUM UNTIL") && told.lines().count() == 3, "{told}");
        let told = json_lines(&served.ok("acme.token", &["retention", "explain", "acme", "crm", "a/b", "--format", "json"])).remove(0);
        assert_eq!((told["state"].as_str(), told["end"]["rule"].as_str()), (Some("kept"), Some("us.audit-workpapers")), "{told}");
        let simulate = ["retention", "simulate", "acme", "crm", "--retention", "rules", "--chart", "chart.svg"];
        let told = served.ok("acme.token", &simulate);
        assert!(told.starts_with("1 records looked at: 1 would end, 0 would not") && told.contains("us.audit-workpapers"), "{told}");
        assert!(fs::read_to_string(served.path("chart.svg")).unwrap().contains("us.audit-workpapers"));
        let told = json_lines(&served.ok("acme.token", &[&simulate[..4], &["--retention", "until-deleted", "--format", "json"]].concat()))
            .remove(0);
        assert_eq!((told["endless"].as_u64(), told["ends"].as_array().map(Vec::len)), (Some(1), Some(0)), "{told}");
        let refused = served.run("acme.token", &["retention", "explain", "acme", "crm", "none"]);
        assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
        let job = ["token", "create", "--tenant", "system", "--role", "job", "--save-token", "job.token"];
        served.ok("store/operator.token", &job);
        let told = json_lines(&served.ok("job.token", &["retention", "run", "--limit", "5", "--format", "json"])).remove(0);
        assert_eq!((told["destroyed"].as_u64(), told["more"].as_bool()), (Some(0), Some(false)), "{told}");
        let told = served.ok("job.token", &["retention", "run", "--until", "2020-01-01T00:00:00Z"]);
        assert!(told.starts_with("0 records destroyed"), "{told}");
        assert_eq!(served.run("acme.token", &["retention", "run"]).status.code(), Some(2), "an owner is no job");
        let untouched = served.owner(&["collection", "put", "new", "--format", "json"]);
        assert_eq!(json_lines(&untouched).remove(0)["retention"], "until-deleted", "none applies by itself");
    }

    #[test]
    fn what_is_marked_is_listed_and_what_runs_did_is_reported() {
        let served = Served::start();
        let one = |token: &str, arguments: &[&str]| json_lines(&served.ok(token, &[arguments, &["--format", "json"]].concat())).remove(0);
        let rule = serde_json::json!({"name": "soon", "from": {"field": "/date"}, "maximum": "10d", "then": "delete", "mark": "10d"});
        served.write("rules", &serde_json::json!({"time_zone": "UTC", "rules": [rule]}).to_string());
        served.owner(&["collection", "put", "crm", "--retention", "rules"]);
        // Two days ago: it is marked from the beginning.
        let date = SystemClock.now().less(Duration::from_hours(48)).to_rfc3339();
        served.write("value", &serde_json::json!({"date": &date[..10]}).to_string());
        served.owner(&["record", "put", "crm", "a/b", "--subject", "7", "value"]);
        served.ok("store/operator.token", &["token", "create", "--tenant", "system", "--role", "job", "--save-token", "job.token"]);
        let progress = one("job.token", &["retention", "progress"]);
        assert_eq!(progress["due"], 0, "{progress}");
        let told = served.ok("job.token", &["retention", "run"]);
        assert!(
            told.starts_with("0 records destroyed, 0 kept by legal holds, ") && told.contains(" marked, 0 could not be read"),
            "{told}"
        );
        let listed = served.owner(&["retention", "marked", "acme", "crm"]);
        assert!(listed.contains("MARKED AT") && listed.contains("a/b") && listed.contains("soon"), "{listed}");
        let told = served.ok("acme.token", &["retention", "explain", "acme", "crm", "a/b"]);
        assert!(told.starts_with("marked since "), "{told}");
        // By that run, or by the server's own, whichever came first.
        let reports = json_lines(&served.owner(&["retention", "reports", "--format", "json"]));
        let marked: u64 = reports.iter().map(|report| report["marked"].as_u64().unwrap()).sum();
        assert_eq!(marked, 1, "{reports:?}");
        let id = reports.iter().find(|report| report["marked"] == 1).unwrap()["id"].as_str().unwrap().to_owned();
        let report = one("acme.token", &["retention", "reports", &id]);
        assert_eq!((&report["lines"][0]["collection"], &report["lines"][0]["marked"]), (&"crm".into(), &1.into()), "{report}");
        let shown = served.owner(&["retention", "reports", &id]);
        assert!(shown.contains("COLLECTION") && shown.contains("soon") && shown.contains(&id), "{shown}");
        assert!(served.owner(&["retention", "reports"]).contains(&id));
        let refused = served.run("job.token", &["retention", "reports", "--tenant", "acme"]);
        assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    }

    #[test]
    fn a_hold_is_placed_shown_and_released_and_an_import_over_what_it_keeps_rejects_the_line() {
        let served = Served::start();
        let one = |token: &str, arguments: &[&str]| json_lines(&served.ok(token, &[arguments, &["--format", "json"]].concat())).remove(0);
        served.owner(&["collection", "put", "crm"]);
        served.write("value", "x");
        for person in ["7", "8"] {
            served.owner(&["record", "put", "crm", person, "--subject", person, "value"]);
        }
        served.owner(&["token", "create", "--role", "counsel", "--save-token", "invitation.token"]);
        served.ok("invitation.token", &["token", "create", "--role", "counsel", "--save-token", "counsel.token"]);
        let why = ["hold", "place", "--matter", "M-1", "--reason", "a lawsuit", "--custodian", "legal"];
        let placed = one("counsel.token", &[&why[..], &["--subject", "7"]].concat());
        assert_eq!((placed["scope"].as_str(), placed["covers"]["records"].as_u64()), (Some("subject"), Some(1)), "{placed}");
        let id = placed["id"].as_str().unwrap();
        let refused = served.run("acme.token", &["record", "rm", "crm", "7", "--yes"]);
        assert!(refused.status.code() == Some(2) && stderr(&refused).contains("legal-obligation"), "{}", stderr(&refused));
        let refused = served.run("acme.token", &["shred", "subject", "7", "--yes"]);
        assert!(refused.status.code() == Some(2) && stderr(&refused).contains("legal-obligation"), "{}", stderr(&refused));
        served.write("crm.jsonl", "{\"id\": 7}\n{\"id\": 8}\n");
        let import = served.run("acme.token", &["import", "--key", "id", "--subject", "id", "crm.jsonl"]);
        assert!(import.status.code() == Some(2) && stderr(&import).contains("legal-obligation"), "{}", stderr(&import));
        assert_eq!(
            (served.owner(&["record", "get", "crm", "7"]), served.owner(&["record", "get", "crm", "8"])),
            ("x".into(), "{\"id\": 8}".into())
        );
        let told = served.ok("acme.token", &["retention", "explain", "acme", "crm", "7"]);
        assert!(told.starts_with("a legal obligation keeps it"), "{told}");
        for scope in [
            &["--collection", "crm", "--prefix", "a/b"][..],
            &["--record", "crm/8", "--record", "crm/a/c"],
            &["--everything", "--disclosed", "--case-number", "24-1"],
        ] {
            let placed = one("counsel.token", &[&why[..], scope].concat());
            let path = one("counsel.token", &["hold", "show", placed["id"].as_str().unwrap()]);
            assert_eq!(path["scope"], placed["scope"]);
        }
        let wrong = served.run("counsel.token", &[&why[..], &["--record", "crm"]].concat());
        assert!(wrong.status.code() == Some(1) && stderr(&wrong).contains("COLLECTION/KEY"), "{}", stderr(&wrong));
        let holds = json_lines(&served.ok("counsel.token", &["hold", "list", "--format", "json"]));
        assert_eq!(holds.len(), 4);
        let last = holds.iter().find(|hold| hold["law_enforcement"] == true).unwrap()["id"].as_str().unwrap();
        let renewed = one("counsel.token", &["hold", "renew", last, "--reason", "the agency asked"]);
        assert_eq!(renewed["renewal_reason"], "the agency asked");
        assert_eq!(served.run("acme.token", &["hold", "release", id, "--reason", "mine", "--yes"]).status.code(), Some(2));
        for hold in &holds {
            let released = one("counsel.token", &["hold", "release", hold["id"].as_str().unwrap(), "--reason", "settled", "--yes"]);
            assert_eq!(released["state"], "released");
        }
        let gone = served.run("acme.token", &["record", "get", "crm", "7"]);
        assert!(gone.status.code() == Some(2) && stderr(&gone).contains("shredded"), "the order that it stopped: {}", stderr(&gone));
    }

    #[test]
    fn what_takes_two_persons_is_asked_for_shown_and_decided() {
        let served = Served::start();
        let one = |token: &str, arguments: &[&str]| json_lines(&served.ok(token, &[arguments, &["--format", "json"]].concat())).remove(0);
        served.owner(&["collection", "put", "crm"]);
        served.write("value", "x");
        for person in ["7", "8", "9"] {
            served.owner(&["record", "put", "crm", person, "--subject", person, "value"]);
        }
        let alone = served.run("acme.token", &["tenant", "policy", "acme", "--shred", "subject"]);
        assert_eq!(alone.status.code(), Some(2), "nobody could approve anything: {}", stderr(&alone));
        served.owner(&["token", "create", "--role", "owner", "--save-token", "second.token"]);
        let set = one("acme.token", &["tenant", "policy", "acme", "--shred", "subject", "--window", "3d"]);
        assert_eq!(set["approvals"]["shred"], serde_json::json!(["tenant", "collection", "subject"]), "{set}");
        assert_eq!(one("second.token", &["tenant", "policy", "acme"]), set);

        let mut orders = Vec::new();
        for person in ["7", "8", "9"] {
            let ordered = served.run("acme.token", &["shred", "subject", person, "--yes", "--wait", "--format", "json"]);
            assert!(ordered.status.success() && stderr(&ordered).contains("a second person must approve it"), "{}", stderr(&ordered));
            let order = json_lines(&String::from_utf8(ordered.stdout).unwrap()).remove(0);
            assert_eq!((&order["state"], &order["approval"]), (&"waiting-for-approval".into(), &order["id"]), "{order}");
            orders.push(order["id"].as_str().unwrap().to_owned());
        }
        assert_eq!(served.owner(&["record", "get", "crm", "7"]), "x");
        let waiting = json_lines(&served.ok("second.token", &["approval", "list", "--state", "pending", "--format", "json"]));
        assert_eq!(waiting.len(), 3);
        let shown = one("second.token", &["approval", "show", &orders[0]]);
        assert_eq!((&shown["action"], &shown["subjects"]), (&"shred".into(), &serde_json::json!(["7"])), "{shown}");

        let own = served.run("acme.token", &["approval", "approve", &orders[0], "--yes"]);
        assert!(own.status.code() == Some(2) && stderr(&own).contains("not-second-person"), "{}", stderr(&own));
        let other = served.run("second.token", &["approval", "approve", &orders[0], "--digest", &"0".repeat(64)]);
        assert_eq!(other.status.code(), Some(2), "what was shown is what is approved: {}", stderr(&other));
        let asked = served.run("second.token", &["approval", "approve", &orders[0]]);
        assert_ne!(asked.status.code(), Some(0), "nobody was there to be asked");
        assert_eq!(served.owner(&["record", "get", "crm", "7"]), "x");
        let approved = one("second.token", &["approval", "approve", &orders[0], "--digest", shown["digest"].as_str().unwrap()]);
        assert_eq!(approved["state"], "approved");
        let gone = served.run("acme.token", &["record", "get", "crm", "7"]);
        assert!(gone.status.code() == Some(2) && stderr(&gone).contains("shredded"), "{}", stderr(&gone));
        let refused = one("second.token", &["approval", "refuse", &orders[1], "--reason", "still a customer"]);
        assert_eq!((&refused["state"], &refused["refusal_reason"]), (&"refused".into(), &"still a customer".into()));
        assert_eq!(one("acme.token", &["approval", "withdraw", &orders[2]])["state"], "withdrawn");
        for (order, person) in [(&orders[1], "8"), (&orders[2], "9")] {
            assert_eq!(one("acme.token", &["shred", "show", order])["state"], "not-approved");
            assert_eq!(served.owner(&["record", "get", "crm", person]), "x");
        }

        served.write(
            "rules.json",
            r#"{"time_zone": "UTC", "rules": [{"name": "short", "from": "created", "maximum": "1d", "then": "delete"}]}"#,
        );
        served.owner(&["collection", "put", "crm", "--retention", "rules.json"]);
        let shorter = one("acme.token", &["retention", "shorten", "acme", "crm"]);
        assert_eq!((&shorter["action"], &shorter["state"]), (&"shorten-retention".into(), &"pending".into()), "{shorter}");
        let new = served.run("second.token", &["approval", "approve", shorter["id"].as_str().unwrap(), "--yes"]);
        assert!(new.status.code() == Some(2) && stderr(&new).contains("not-second-person"), "it was made a moment ago: {}", stderr(&new));
        served.owner(&["token", "create", "--role", "governor", "--save-token", "governor.token"]);
        let nothing = served.run("acme.token", &["retention", "bypass", "acme", "crm", "--reason", "none"]);
        assert!(nothing.status.code() == Some(2) && stderr(&nothing).contains("governance"), "{}", stderr(&nothing));
        served.write(
            "governed.json",
            r#"{"time_zone": "UTC", "rules": [{"name": "law", "from": "created", "minimum": {"period": "1y", "basis": "law 1",
                "mode": "governance"}, "maximum": "1y", "then": "delete"}]}"#,
        );
        served.owner(&["collection", "put", "crm", "--retention", "governed.json"]);
        served.owner(&["collection", "put", "crm", "--retention", "rules.json"]);
        let bypass = one("acme.token", &["retention", "bypass", "acme", "crm", "--reason", "the law has changed"]);
        assert_eq!((&bypass["action"], &bypass["reason"]), (&"bypass-governance".into(), &"the law has changed".into()), "{bypass}");
        let new = served.run("governor.token", &["approval", "approve", bypass["id"].as_str().unwrap(), "--yes"]);
        assert!(new.status.code() == Some(2) && stderr(&new).contains("not-second-person"), "it was made a moment ago: {}", stderr(&new));
        one("acme.token", &["approval", "withdraw", bypass["id"].as_str().unwrap()]);
        let looser = one("acme.token", &["tenant", "policy", "acme", "--one-person"]);
        assert_eq!((&looser["action"], &looser["state"]), (&"loosen-policy".into(), &"pending".into()), "{looser}");
        one("second.token", &["approval", "approve", looser["id"].as_str().unwrap(), "--yes"]);
        assert_eq!(one("acme.token", &["tenant", "policy", "acme"])["approvals"]["shred"], serde_json::json!([]));
        served.owner(&["shred", "subject", "8", "--yes", "--wait"]);
        assert_eq!(served.run("acme.token", &["record", "get", "crm", "8"]).status.code(), Some(2), "by one, as before");
    }

    #[test]
    fn a_tenant_is_stopped_and_resumed_and_its_end_is_ordered_shown_and_taken_back() {
        let served = Served::start();
        let operator = "store/operator.token";
        let one = |token: &str, arguments: &[&str]| json_lines(&served.ok(token, &[arguments, &["--format", "json"]].concat())).remove(0);
        served.owner(&["collection", "put", "crm"]);
        served.write("value", "{\"id\": 7}");
        served.owner(&["record", "put", "crm", "7", "--subject", "7", "value"]);
        let unasked = served.run(operator, &["tenant", "suspend", "acme", "--reason", "unpaid"]);
        assert!(unasked.status.code() == Some(1) && stderr(&unasked).contains("not confirmed"), "{}", stderr(&unasked));
        assert_eq!(one(operator, &["tenant", "suspend", "acme", "--reason", "unpaid", "--yes"])["state"], "suspended");
        let refused = served.run("acme.token", &["record", "get", "crm", "7"]);
        assert!(refused.status.code() == Some(2) && stderr(&refused).contains("tenant-suspended"), "{}", stderr(&refused));
        let rows = json_lines(&served.ok(operator, &["tenant", "ls", "--format", "json"]));
        assert_eq!(rows.iter().find(|row| row["tenant"] == "acme").unwrap()["state"], "suspended");
        assert_eq!(one(operator, &["tenant", "resume", "acme", "--reason", "paid"])["state"], "active");
        assert_eq!(served.owner(&["record", "get", "crm", "7"]), "{\"id\": 7}");

        assert_eq!(served.run(operator, &["tenant", "terminate", "acme", "--yes"]).status.code(), Some(2), "an owner's alone");
        let ordered = one("acme.token", &["tenant", "terminate", "acme", "--grace", "6w", "--reason", "closed", "--yes"]);
        assert_eq!(ordered["state"], "terminating", "{ordered}");
        let shown = one("acme.token", &["tenant", "show", "acme"]);
        assert!(shown["remains"].is_array() && shown["ends_at"] == ordered["ends_at"], "{shown}");
        let shown = one(operator, &["tenant", "show", "acme"]);
        assert!(shown["remains"].is_null() && shown["ends_at"] == ordered["ends_at"], "what remains is not the operator's: {shown}");
        let refused = served.run("acme.token", &["record", "put", "crm", "8", "--subject", "8", "value"]);
        assert!(refused.status.code() == Some(2) && stderr(&refused).contains("tenant-terminating"), "{}", stderr(&refused));
        assert_eq!(served.owner(&["export", "--collection", "crm"]).lines().count(), 1, "its owner takes the data along");
        let twice = served.run("acme.token", &["tenant", "terminate", "acme", "--yes"]);
        assert!(twice.status.code() == Some(2) && stderr(&twice).contains("tenant-state"), "{}", stderr(&twice));
        assert_eq!(one("acme.token", &["tenant", "cancel-termination", "acme"])["state"], "active");
        let late = served.run("acme.token", &["tenant", "cancel-termination", "acme"]);
        assert!(late.status.code() == Some(2) && stderr(&late).contains("tenant-state"), "{}", stderr(&late));
        let steps = |token: &str| {
            let rows = json_lines(&served.ok(token, &["tenant", "states", "acme", "--format", "json"]));
            let text = |row: &serde_json::Value, field: &str| row[field].as_str().unwrap_or("-").to_owned();
            rows.iter().map(|row| format!("{}: {}", text(row, "step"), text(row, "reason"))).collect::<Vec<_>>()
        };
        assert_eq!(steps("acme.token"), ["suspend: unpaid", "resume: paid", "terminate: closed", "cancel: -"]);
        assert_eq!(steps(operator), ["suspend: unpaid", "resume: paid"], "its own");
    }

    #[test]
    fn a_token_file_of_the_command_line_goes_before_a_token_of_the_environment() {
        let served = Served::start();
        let with = |arguments: &[&str]| {
            let mut command = served.command("no-such-file", arguments);
            command.env("LETHE_TOKEN", "lethe_svc_of-the-environment");
            command.output().unwrap().status.code()
        };
        assert_eq!(with(&["token", "ls", "--token-file", "acme.token"]), Some(0));
        assert_eq!(with(&["--token-file", "acme.token", "token", "ls"]), Some(0));
        assert_eq!(with(&["token", "ls"]), Some(2), "of two in the environment, the token");
        let token = fs::read_to_string(served.path("acme.token")).unwrap();
        assert_eq!(with(&["token", "ls", "--token", token.trim(), "--token-file", "no-such-file"]), Some(0), "of two here, the token");
    }

    #[test]
    fn an_import_that_was_killed_goes_on_where_it_was_and_export_gives_the_input_back() {
        let served = Served::start();
        let input: Vec<String> = (0..20_000).map(|id| format!("{{\"id\": {id}, \"filler\": \"{}\"}}", "x".repeat(200))).collect();
        served.write("things.jsonl", &(input.join("\n") + "\n"));
        let import = ["import", "--create", "--key", "t/{id}", "things.jsonl", "--parallel", "2"];
        let mut first = served.command("acme.token", &import).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let state = served.path("things.jsonl.lethe-import");
        while !state.exists() {
            assert!(first.try_wait().unwrap().is_none(), "it was through before it could be killed");
            std::thread::yield_now();
        }
        first.kill().unwrap();
        first.wait().unwrap();
        assert!(state.exists());
        let second = served.run("acme.token", &import);
        assert!(second.status.success(), "{}", stderr(&second));
        assert!(stderr(&second).contains("going on at line "), "{}", stderr(&second));
        served.owner(&["export", "--collection", "things", "--output", "back.jsonl", "--parallel", "64"]);
        let back = fs::read_to_string(served.path("back.jsonl")).unwrap();
        let mut back: Vec<&str> = back.lines().collect();
        back.sort_unstable();
        let mut input: Vec<&str> = input.iter().map(String::as_str).collect();
        input.sort_unstable();
        assert!(back == input, "{} lines came back of {}", back.len(), input.len());
        assert_eq!(served.run("acme.token", &["export", "--collection", "things", "--output", "back.jsonl"]).status.code(), Some(1));
    }

    /// Starts a command and kills it at a moment.
    fn killed_when(served: &Served, arguments: &[&str], is_time: impl Fn() -> bool) {
        let mut child = served.command("acme.token", arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while !is_time() {
            assert!(child.try_wait().unwrap().is_none(), "it was through before it could be killed");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(super) fn lines(count: usize) -> String {
        let line = |id: usize| format!("{{\"id\": {id}, \"filler\": \"{}\"}}\n", "x".repeat(200));
        (0..count).map(line).collect::<Vec<_>>().concat()
    }

    #[test]
    fn an_import_goes_on_only_into_the_store_and_with_the_recipe_it_began_with() {
        let (served, other) = (Served::start(), Served::start());
        served.write("things.jsonl", &lines(20_000));
        let import = ["import", "--create", "--key", "id", "things.jsonl", "--parallel", "1"];
        let state = served.path("things.jsonl.lethe-import");
        killed_when(&served, &import, || state.exists());
        let kept = fs::read(&state).unwrap();
        let another = |mut command: Command| {
            let refused = command.output().unwrap();
            assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
            assert!(stderr(&refused).contains("broke off here"), "{}", stderr(&refused));
            assert_eq!(fs::read(&state).unwrap(), kept);
        };
        // Another store with a tenant of the same name.
        let mut elsewhere = served.command("acme.token", &import);
        elsewhere.env("LETHE_ADDR", &other.url).env("LETHE_TOKEN_FILE", other.path("acme.token"));
        another(elsewhere);
        another(served.command("acme.token", &[&import[..], &["--content-type", "text/plain"]].concat()));
        served.owner(&import);
        let input = served.run("acme.token", &["import", "--key", "id", "--collection", "things", "--resume-file", "state", "-"]);
        assert_eq!(input.status.code(), Some(1), "standard input cannot be gone on from");
    }

    #[test]
    fn an_import_from_a_pipe_loses_no_line() {
        let served = Served::start();
        let pipe = served.path("things.pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::from(0o600), 0).unwrap();
        let import = ["import", "--create", "--key", "id", "--collection", "things", "things.pipe"];
        let child = served.command("acme.token", &import).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        fs::write(&pipe, lines(1_000)).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(String::from_utf8_lossy(&output.stdout).contains(" 1000 records imported"), "{output:?}");
    }

    #[test]
    fn an_import_from_a_directory_that_cannot_be_written_to_is_told_once_and_goes_through() {
        let served = Served::start();
        served.write("things.jsonl", &lines(5_000));
        // In the way of the state, for root as well as for anybody else.
        fs::create_dir(served.path("things.jsonl.lethe-import.new")).unwrap();
        let import = ["import", "--create", "--key", "id", "things.jsonl"];
        let output = served.run("acme.token", &import);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        assert!(stderr(&output).contains("not after a break"), "{}", stderr(&output));
        assert!(String::from_utf8(output.stdout).unwrap().contains("5000 records imported"));
        let named = served.run("acme.token", &[&import[..], &["--resume-file", "no-such-directory/state"]].concat());
        assert_eq!(named.status.code(), Some(1), "a place that was named must do: {}", stderr(&named));
    }

    #[test]
    fn an_export_that_was_killed_goes_on_where_it_was() {
        let served = Served::start();
        let input = lines(6_000);
        served.write("things.jsonl", &input);
        served.owner(&["import", "--create", "--key", "id", "things.jsonl"]);
        let export = ["export", "--collection", "things", "--output", "back.jsonl", "--parallel", "2"];
        let (back, state) = (served.path("back.jsonl"), served.path("back.jsonl.lethe-export"));
        // Before the first page, and before anything is known but that it began.
        killed_when(&served, &export, || fs::read_to_string(&state).is_ok_and(|text| text.contains("\"cursor\":null")));
        assert!(fs::metadata(&back).is_ok_and(|found| found.len() < 1_000_000) || !back.exists());
        killed_when(&served, &export, || fs::read_to_string(&state).is_ok_and(|text| text.contains("\"cursor\":\"")));
        // Cut, the output is not what the state tells of; filling it up with zeros would not make it so.
        let whole = fs::read(&back).unwrap();
        fs::write(&back, &whole[..10]).unwrap();
        let cut = served.run("acme.token", &export);
        assert!(cut.status.code() == Some(1) && stderr(&cut).contains("before the break"), "{}", stderr(&cut));
        assert_eq!(fs::read(&back).unwrap(), &whole[..10]);
        fs::write(&back, &whole).unwrap();
        let elsewhere = served.run("acme.token", &[&export[..], &["--envelope"]].concat());
        assert!(elsewhere.status.code() == Some(1) && stderr(&elsewhere).contains("broke off here"), "{}", stderr(&elsewhere));
        served.owner(&export);
        assert!(!state.exists());
        let text = fs::read_to_string(&back).unwrap();
        let (mut back, mut input): (Vec<&str>, Vec<&str>) = (text.lines().collect(), input.lines().collect());
        back.sort_unstable();
        input.sort_unstable();
        assert!(back == input, "{} lines came back of {}", back.len(), input.len());
    }

    #[test]
    fn whatever_opens_custody_writes_no_core_file() {
        let top = tempfile::tempdir().unwrap();
        let settings = top.path().join("lethe.toml");
        // Each waits here for its settings, before it has opened anything.
        rustix::fs::mknodat(rustix::fs::CWD, &settings, rustix::fs::FileType::Fifo, rustix::fs::Mode::from(0o600), 0).unwrap();
        for command in [&["check"][..], &["rotate"], &["recover", "control"], &["recover", "log"]] {
            let mut lethe = Command::new(env!("CARGO_BIN_EXE_lethe"));
            lethe.args(command).arg("--dir").arg(top.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = lethe.spawn().unwrap();
            let mut fifo = fs::OpenOptions::new().write(true).open(&settings).unwrap();
            let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
            fifo.write_all(b"no settings").unwrap();
            drop(fifo);
            assert_eq!(child.wait().unwrap().code(), Some(1));
            let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
            // The hard limit: nobody raises it again.
            assert_eq!(core.split_whitespace().rev().nth(1), Some("0"), "{command:?}: {core}");
        }
    }

    #[test]
    fn an_envelope_carries_any_value_from_one_collection_to_another() {
        let served = Served::start();
        served.owner(&["collection", "put", "one"]);
        fs::write(served.path("bytes"), [0_u8, 255, 10, 13]).unwrap();
        fs::write(served.path("large"), vec![7_u8; 200_000]).unwrap();
        served.owner(&["record", "put", "one", "a/é", "bytes", "--subject", "p/1", "--subject", "q", "--content-type", "image/x-test"]);
        served.owner(&["record", "put", "one", "large", "large", "--subject", "q"]);
        // With what the command line cannot set but an application can: pairs, and an end.
        let envelope = |key: &str, value: &str| {
            serde_json::json!({
                "key": key, "value": value, "subjects": ["q"], "expires_at": "2999-12-31T23:59:59.500Z",
                "custom": {"empty": "", "origin": "café, \"x\" %41", "z.y-x_w": "a\u{0}b\n"}
            })
        };
        let told = [envelope("small/told", "x"), envelope("large/told", &"x".repeat(100_000))];
        served.write("told.jsonl", &told.map(|line| line.to_string()).join("\n"));
        served.owner(&["import", "--envelope", "--collection", "one", "told.jsonl"]);
        let plain = served.run("acme.token", &["export", "--collection", "one"]);
        assert_eq!(plain.status.code(), Some(1), "what is not JSON cannot stand on a plain line");
        served.write("one.jsonl", &served.owner(&["export", "--collection", "one", "--envelope"]));
        served.owner(&["import", "--envelope", "--create", "--collection", "two", "one.jsonl"]);
        for (key, file) in [("a/é", "bytes"), ("large", "large")] {
            served.owner(&["record", "get", "two", key, "--output", "back"]);
            assert_eq!(fs::read(served.path("back")).unwrap(), fs::read(served.path(file)).unwrap(), "{key}");
        }
        let rows = json_lines(&served.owner(&["record", "ls", "two", "--prefix", "a", "--format", "json"]));
        assert_eq!(rows[0]["subjects"], serde_json::json!(["p/1", "q"]));
        assert_eq!(rows[0]["content_type"], "image/x-test");
        // And all of it, twice: through an export, an import and an export again.
        let lines = |collection: &str| {
            let mut lines = json_lines(&served.owner(&["export", "--collection", collection, "--envelope"]));
            lines.sort_by_key(|line| line["key"].as_str().unwrap().to_owned());
            for line in &mut lines {
                line.as_object_mut().unwrap().remove("modified_at");
            }
            lines
        };
        let (one, two) = (lines("one"), lines("two"));
        assert_eq!(one, two);
        for line in one.iter().filter(|line| line["key"].as_str().unwrap().ends_with("/told")) {
            assert_eq!(line["custom"], envelope("", "")["custom"], "{}", line["key"]);
            assert_eq!(line["expires_at"], "2999-12-31T23:59:59.500Z", "{}", line["key"]);
        }
        assert_eq!(one.len(), 4);
    }

    #[test]
    fn a_returning_person_is_written_about_by_every_verb_only_when_it_says_so() {
        let served = Served::start();
        served.owner(&["collection", "put", "people"]);
        served.write("v", "{}");
        served.write("large", &format!("{{\"id\": \"large\", \"who\": 7, \"x\": \"{}\"}}", "x".repeat(100_000)));
        served.write("small.jsonl", "{\"id\": 1, \"who\": 7}\n{\"id\": 2, \"who\": 8}\n");
        let envelope = |more: &str| format!("{{\"key\": \"e\", \"subjects\": [\"7\"], \"value\": \"x\"{more}}}");
        served.write("said.jsonl", &envelope(", \"new_relationship\": true"));
        served.write("unsaid.jsonl", &envelope(""));
        let plain = |file: &'static str| vec!["import", "--collection", "people", "--key", "id", "--subject", "who", file];
        let enveloped = |file: &'static str| vec!["import", "--collection", "people", "--envelope", file];
        let new = "--new-relationship";
        for (without, with) in [
            (vec!["record", "put", "people", "k", "v", "--subject", "7"], None),
            (plain("small.jsonl"), None),
            (plain("large"), None),
            (enveloped("unsaid.jsonl"), None),
            (enveloped("unsaid.jsonl"), Some(enveloped("said.jsonl"))),
        ] {
            served.owner(&["record", "put", "people", "first", "v", "--subject", "7", new]);
            served.owner(&["shred", "subject", "7", "--yes", "--wait"]);
            let refused = served.run("acme.token", &without);
            assert!(refused.status.code() == Some(2) && stderr(&refused).contains("subject-erased"), "{without:?}: {}", stderr(&refused));
            served.owner(&with.unwrap_or_else(|| [&without[..], &[new]].concat()));
        }
        let trail = served.owner(&["audit", "ls", "--all"]);
        assert_eq!(trail.matches("subject.return").count(), 5, "each is on the record: {trail}");
        let back = served.owner(&["export", "--collection", "people", "--envelope"]);
        assert!(!back.contains("new_relationship"), "nobody returns by being copied: {back}");
    }

    #[test]
    fn a_person_is_erased_by_an_alias_and_stays_so_under_every_id() {
        let served = Served::start();
        served.owner(&["collection", "put", "people"]);
        served.write("v", "{}");
        let put = |key: &'static str, subject: &'static str| ["record", "put", "people", key, "v", "--subject", subject];
        let refused = |arguments: &[&str], code: &str| {
            let refused = served.run("acme.token", arguments);
            assert!(refused.status.code() == Some(2) && stderr(&refused).contains(code), "{arguments:?}: {}", stderr(&refused));
        };
        let ids = |of: &str| json_lines(&served.owner(&["alias", "ls", of, "--format", "json"])).remove(0);
        let both = serde_json::json!({"subject": "7", "aliases": ["ann@example.com"]});
        served.owner(&put("a", "7"));
        served.owner(&["alias", "add", "7", "ann@example.com"]);
        served.owner(&put("b", "ann@example.com"));
        assert_eq!((ids("7"), ids("ann@example.com")), (both.clone(), both.clone()));
        assert_eq!(served.owner(&["record", "ls", "people", "--subject", "7", "--format", "json"]).lines().count(), 2);
        refused(&["alias", "add", "8", "ann@example.com"], "alias-taken");
        served.owner(&["alias", "rm", "ann@example.com"]);
        refused(&["alias", "rm", "ann@example.com"], "not-found");
        refused(&["alias", "add", "7", "ann@example.com"], "alias-has-records");
        served.owner(&["alias", "add", "7", "ann@example.com", "--with-records"]);
        assert_eq!(ids("7"), both);
        served.owner(&["shred", "subject", "ann@example.com", "--yes", "--wait"]);
        for id in ["7", "ann@example.com"] {
            refused(&put("c", id), "subject-erased");
            refused(&["alias", "ls", id], "shredded");
        }
        refused(&["alias", "add", "7", "new"], "subject-erased");
        served.owner(&["alias", "add", "7", "new", "--new-relationship"]);
        served.owner(&put("c", "new"));
        served.owner(&put("d", "7"));
        refused(&put("e", "ann@example.com"), "subject-erased");
        assert_eq!(ids("new"), serde_json::json!({"subject": "7", "aliases": ["new"]}));
    }

    #[test]
    fn what_is_reported_of_a_person_is_explained_shown_and_taken_back() {
        let served = Served::start();
        let rules = |from: serde_json::Value| {
            let rule = serde_json::json!({"name": "contracts", "from": from, "maximum": "3y", "then": "delete"});
            serde_json::json!({"time_zone": "UTC", "rules": [rule]}).to_string()
        };
        served.write("ends.json", &rules(serde_json::json!({"event": "contract-ended"})));
        served.write("tenant.json", &rules(serde_json::json!("tenant-end")));
        served.write("v", "{}");
        let refused = |arguments: &[&str], told: &str| {
            let refused = served.run("acme.token", arguments);
            assert!(refused.status.code() == Some(2) && stderr(&refused).contains(told), "{arguments:?}: {}", stderr(&refused));
        };
        refused(&["collection", "put", "crm", "--retention", "tenant.json"], "count from \"subject-end\"");
        served.owner(&["collection", "put", "crm", "--retention", "ends.json"]);
        served.owner(&["record", "put", "crm", "k", "v", "--subject", "7"]);
        let explained = || json_lines(&served.owner(&["retention", "explain", "acme", "crm", "k", "--format", "json"])).remove(0);
        assert_eq!(explained()["why"], "kept: rule `contracts` waits until `contract-ended` is reported of whom it is about");
        assert_eq!((&explained()["end"], &explained()["rules"][0]["from"]), (&serde_json::Value::Null, &"event:contract-ended".into()));
        let event = |arguments: &[&str]| {
            let arguments = [&["subject", "event"], arguments, &["--format", "json"]].concat();
            json_lines(&served.owner(&arguments)).remove(0)
        };
        let put = event(&["put", "7", "contract-ended", "2099-01-31"]);
        assert_eq!((&put["subject"], &put["events"][0]["event"]), (&"7".into(), &"contract-ended".into()));
        assert_eq!(event(&["show", "7"])["events"][0]["at"], "2099-01-31");
        assert_eq!(explained()["end"]["at"], "2102-02-01T00:00:00.000Z");
        assert_eq!(explained()["rules"][0]["day"], "2099-01-31");
        assert!(served.owner(&["subject", "event", "show", "7"]).contains("contract-ended"), "for people, too");
        assert_eq!(event(&["remove", "7", "contract-ended"])["events"], serde_json::json!([]));
        refused(&["subject", "event", "remove", "7", "contract-ended"], "not-found");
        refused(&["subject", "event", "put", "7", "contract-ended", "soon"], "invalid-body");
        served.owner(&["shred", "subject", "7", "--yes", "--wait"]);
        refused(&["subject", "event", "put", "7", "contract-ended", "2026-01-31"], "subject-erased");
        refused(&["subject", "event", "show", "7"], "shredded");
    }

    #[test]
    fn a_record_is_put_with_its_pairs_and_its_purpose() {
        let served = Served::start();
        served.owner(&["collection", "put", "people", "--purpose", "billing"]);
        served.write("v", "x");
        let put = ["record", "put", "people", "k", "v", "--subject", "7", "--meta", "Origin=café, 1=2", "--meta", "empty="];
        served.owner(&[&put[..], &["--purpose", "billing"]].concat());
        let line = &json_lines(&served.owner(&["export", "--collection", "people", "--envelope"]))[0];
        assert_eq!(line["custom"], serde_json::json!({"empty": "", "origin": "café, 1=2"}), "{line}");
        let trail = json_lines(&served.owner(&["audit", "ls", "--all", "--format", "json"]));
        let put_entry = trail.iter().find(|entry| entry["action"] == "record.write").unwrap();
        assert_eq!(put_entry["names"]["purpose"], "billing", "{put_entry}");
        let other = served.run("acme.token", &[&put[..], &["--purpose", "advertising"]].concat());
        assert!(other.status.code() == Some(2) && stderr(&other).contains("purpose-undeclared"), "{}", stderr(&other));
        assert_eq!(served.run("acme.token", &["record", "put", "people", "k", "v", "--meta", "no"]).status.code(), Some(1));
    }

    #[test]
    fn a_tenant_and_a_token_are_made_as_they_are_asked_for() {
        let served = Served::start();
        let owner = "loose.token";
        let create = ["tenant", "create", "loose", "--create-collections-on-write", "--save-token", owner];
        served.ok("store/operator.token", &create);
        let shown = &json_lines(&served.ok("store/operator.token", &["tenant", "show", "loose", "--format", "json"]))[0];
        assert_eq!(shown["create_collections_on_write"], true, "{shown}");
        served.write("v", "x");
        let put = ["record", "put", "unheard-of", "k", "v", "--subject", "7"];
        served.ok(owner, &[&put[..], &["--tenant", "loose"]].concat());
        assert_eq!(served.run("acme.token", &put).status.code(), Some(2), "acme was made without");
        for (kind, begins) in [("user", "lethe_usr_"), ("service", "lethe_svc_")] {
            let made = &json_lines(&served.owner(&["token", "create", "--role", "reader", "--kind", kind, "--format", "json"]))[0];
            assert!(made["token"].as_str().unwrap().starts_with(begins), "{kind}");
            let listed = json_lines(&served.owner(&["token", "ls", "--format", "json"]));
            assert!(listed.iter().any(|token| token["id"] == made["id"] && token["kind"] == kind), "{kind}: {listed:?}");
        }
        assert_eq!(served.run("acme.token", &["token", "create", "--role", "reader", "--kind", "robot"]).status.code(), Some(1));
    }

    #[test]
    fn a_certificate_verifies_offline_and_a_changed_one_does_not() {
        let mut served = Served::start();
        served.owner(&["collection", "put", "people"]);
        served.write("v", "{}");
        served.owner(&["record", "put", "people", "1", "v", "--subject", "7"]);
        let answer = &json_lines(&served.owner(&["shred", "subject", "7", "--yes", "--wait", "--format", "json"]))[0];
        assert_eq!(answer["state"], "done");
        served.owner(&["certificate", "get", answer["certificate"].as_str().unwrap(), "-o", "note"]);
        served.owner(&["log", "fetch", "log"]);
        served.owner(&["log", "checkpoint", "-o", "checkpoint", "--key", "store/signing.pub"]);
        served.server.kill().unwrap();
        let verify = |file: &str| served.run("acme.token", &["certificate", "verify", file, "--key", "store/signing.pub", "--log", "log"]);
        let good = verify("note");
        assert!(good.status.success(), "{}", stderr(&good));
        let note = fs::read_to_string(served.path("note")).unwrap();
        served.write("changed", &note.replacen("\"units\":", "\"units\":1", 1));
        assert_ne!(fs::read(served.path("changed")).unwrap(), note.as_bytes());
        assert_eq!(verify("changed").status.code(), Some(1));
        let log = ["log", "verify", "log", "--key", "store/signing.pub", "--certificate", "note", "--earlier", "checkpoint"];
        let whole = served.run("acme.token", &log);
        assert!(whole.status.success(), "{}", stderr(&whole));
    }

    #[test]
    fn a_trail_is_verified_offline_and_each_fault_has_its_verdict() {
        let served = Served::start();
        served.owner(&["collection", "put", "people"]);
        served.write("v", "{}");
        for key in ["1", "2", "3"] {
            served.owner(&["record", "put", "people", key, "v", "--subject", "7"]);
        }
        served.owner(&["audit", "verify", "--key", "store/signing.pub"]);
        served.write("heads", &served.owner(&["audit", "heads"]));
        let trail = served.owner(&["audit", "ls", "--all", "--format", "json"]);
        let verdict = |text: String| {
            served.write("trail", &text);
            let output = served.run(
                "acme.token",
                &["audit", "verify", "--key", "store/signing.pub", "--trail", "trail", "--heads", "heads", "--format", "json"],
            );
            let report = &json_lines(&String::from_utf8(output.stdout).unwrap())[0];
            (output.status.code(), report["verdict"].as_str().unwrap().to_owned())
        };
        let lines: Vec<&str> = trail.lines().collect();
        assert_eq!(verdict(trail.clone()), (Some(0), "ok".into()));
        let data: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].contains("record.")).collect();
        let without =
            |at: usize| lines.iter().enumerate().filter(|(line, _)| *line != at).map(|(_, line)| *line).collect::<Vec<_>>().join("\n");
        assert_eq!(verdict(without(data[1])), (Some(1), "gap".into()));
        assert_eq!(verdict(trail.replacen("record.", "recorf.", 1)), (Some(1), "tampered".into()));
    }

    #[test]
    fn a_store_at_rest_is_checked_to_the_last_byte_and_a_changed_byte_is_found() {
        let mut served = Served::start();
        served.owner(&["collection", "put", "people"]);
        served.write("v", "{}");
        fs::write(served.path("large"), vec![7_u8; 300_000]).unwrap();
        for (key, value, subject) in [("1", "v", "7"), ("2", "v", "8"), ("3", "large", "8")] {
            served.owner(&["record", "put", "people", key, value, "--subject", subject]);
        }
        served.owner(&["shred", "subject", "7", "--yes", "--wait"]);
        let running = served.run("acme.token", &["check", "--dir", "store"]);
        assert_eq!(running.status.code(), Some(1), "a store that is served is locked");
        served.signal(Signal::TERM);
        served.server.wait().unwrap();
        let report = &json_lines(&served.owner(&["check", "--dir", "store", "--format", "json"]))[0];
        assert_eq!((&report["records"], &report["findings"]), (&2.into(), &serde_json::json!([])), "{report}");
        assert!(report["pages"].as_u64().unwrap() >= 2, "{report}");
        let rotated = &json_lines(&served.owner(&["rotate", "--dir", "store", "--format", "json"]))[0];
        assert_eq!(rotated["new"].as_u64(), rotated["old"].as_u64().map(|old| old + 1));
        served.owner(&["check", "--dir", "store"]);
        // The log's first entry, changed by one byte.
        let bundle = fs::read_dir(served.path("store/log/tile/entries/000.p")).unwrap().next().unwrap().unwrap().path();
        let mut bytes = fs::read(&bundle).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&bundle, bytes).unwrap();
        assert_eq!(served.run("acme.token", &["check", "--dir", "store"]).status.code(), Some(1));
    }

    #[test]
    fn a_lost_operators_token_is_replaced_with_the_server_stopped() {
        let mut served = Served::start();
        let file = "store/operator.token";
        let second = "second.token";
        served.ok(file, &["token", "create", "--tenant", "system", "--role", "operator", "--save-token", second]);
        served.ok(second, &["tenant", "ls"]);
        let lost = fs::read(served.path(file)).unwrap();
        let recover = ["recover", "operator", "--dir", "store", "--yes", "--format", "json"];
        let running = served.run(file, &recover);
        assert_eq!(running.status.code(), Some(1), "a store that is served is locked");
        assert_eq!(fs::read(served.path(file)).unwrap(), lost, "nothing was done");
        served.stop();
        let unconfirmed = served.run(file, &["recover", "operator", "--dir", "store"]);
        assert_eq!(unconfirmed.status.code(), Some(1), "it asks first");
        fs::rename(served.path(file), served.path("lost.token")).unwrap();
        // Of a run that was cut short.
        served.write("store/operator.token.new", "lethe_op_half");
        let told = &json_lines(&served.ok("lost.token", &recover))[0];
        assert_eq!(told["revoked"], 2, "{told}");
        assert!(!told.to_string().contains("lethe_op_"), "the token is in its file alone");
        assert_eq!(fs::metadata(served.path(file)).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!served.path("store/operator.token.new").exists());
        served.serve();
        for revoked in ["lost.token", second] {
            assert_eq!(served.run(revoked, &["tenant", "ls"]).status.code(), Some(2), "{revoked} holds no more");
        }
        served.ok(file, &["tenant", "ls"]);
        assert_eq!(json_lines(&served.ok(file, &["token", "ls", "--tenant", "system", "--format", "json"])).len(), 1);
        let trail = json_lines(&served.ok(file, &["audit", "ls", "--all", "--tenant", "system", "--format", "json"]));
        let done = |action: &str| trail.iter().filter(|entry| entry["action"] == action && entry["role"] == "system").count();
        assert_eq!((done("token.revoke"), done("token.create")), (2, 1), "{trail:?}");
        served.owner(&["collection", "put", "people"]);
    }

    #[test]
    fn the_demonstrations_keys_are_served_only_when_asked_for() {
        let top = tempfile::tempdir().unwrap();
        let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("keys-example");
        let copied = Command::new("cp")
            .arg("-R")
            .arg(keys.join("store"))
            .arg(keys.join("store-custody"))
            .arg(keys.join("store-mirror"))
            .arg(top.path())
            .status();
        assert!(copied.unwrap().success());
        assert!(Command::new("chmod").args(["-R", "u=rwX,go="]).arg(top.path()).status().unwrap().success());
        let store = top.path().join("store").to_str().unwrap().to_owned();
        let refused = lethe(&["serve", "--dir", &store, "--listen", "127.0.0.1:0"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(stderr(&refused).contains("--demo"), "{}", stderr(&refused));
        let mut served = Command::new(env!("CARGO_BIN_EXE_lethe"))
            .args(["serve", "--demo", "--listen", "127.0.0.1:0", "--dir", &store])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(served.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let url = line.strip_prefix("listening on ").unwrap().trim_end().to_owned();
        let token = top.path().join("store/operator.token");
        let ca = keys.join("ca.pem");
        let list = |ca: &[&str]| lethe(&[&["tenant", "ls", "--addr", &url, "--token-file", token.to_str().unwrap()], ca].concat());
        let trusted = list(&["--ca", ca.to_str().unwrap()]);
        let untrusted = list(&[]);
        served.kill().unwrap();
        served.wait().unwrap();
        assert!(trusted.status.success(), "{}", stderr(&trusted));
        let rotate = |demo: &[&str]| lethe(&[&["rotate", "--dir", &store], demo].concat());
        let refused = rotate(&[]);
        assert!(refused.status.code() == Some(1) && stderr(&refused).contains("--demo"), "{}", stderr(&refused));
        let rotated = rotate(&["--demo"]);
        assert!(rotated.status.success(), "{}", stderr(&rotated));
        assert_eq!(untrusted.status.code(), Some(3), "a certificate of nobody's is not trusted: {}", stderr(&untrusted));
    }

    #[test]
    fn a_server_ends_cleanly_on_sigterm() {
        let mut served = Served::start();
        served.owner(&["collection", "put", "people"]);
        served.signal(Signal::TERM);
        let status = served.server.wait().unwrap();
        assert!(status.success(), "{status}: {}", fs::read_to_string(served.path("server.log")).unwrap());
    }
}

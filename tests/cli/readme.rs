//! The tour of README.md, as it stands there: a newcomer's first five minutes.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::symlink,
    process::Command,
};

/// The commands of the tour, and what they are said to print.
fn tour() -> (String, Vec<String>) {
    let readme = include_str!("../../README.md");
    let part = readme.split("\n## ").find(|part| part.starts_with("Five minutes with curl\n")).unwrap();
    let blocks: Vec<&str> = part.split("```").skip(1).step_by(2).map(|block| block.strip_prefix("sh\n").unwrap()).collect();
    assert_eq!(blocks.len(), 2, "curl, and the command line");
    let (told, commands): (Vec<&str>, Vec<&str>) = blocks.iter().flat_map(|block| block.lines()).partition(|line| line.starts_with("#> "));
    (commands.join("\n"), told.iter().map(|line| line["#> ".len()..].to_owned()).collect())
}

/// What is left of `said` behind what is told, whose `...` stand for anything; nothing if it is not said.
fn behind<'a>(said: &'a str, told: &str) -> Option<&'a str> {
    // An answer's body has no end of line: the next one follows at once.
    told.split("...").try_fold(said, |rest, part| rest.split_once(part).map(|(_, behind)| behind))
}

/// So often the tour begins again because its port was taken between looking for it and serving there.
const PORTS: usize = 5;

#[test]
fn the_tour_of_the_readme_does_what_it_says() {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert!((0..PORTS).any(|_| walk(free())), "{PORTS} ports were taken by others");
}

#[test]
fn a_tour_whose_port_is_taken_begins_again() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    // Whoever has it answers nothing. Ends with the process.
    std::thread::spawn(move || taken.incoming().for_each(drop));
    assert!(!walk(port));
}

/// Walks the tour on a port; false if another program has it.
fn walk(port: u16) -> bool {
    let (commands, told) = tour();
    let top = tempfile::tempdir().unwrap();
    // The home of who has just said `make build`.
    let built = top.path().join(".cache/lethe/target/release");
    fs::create_dir_all(&built).unwrap();
    symlink(env!("CARGO_BIN_EXE_lethe"), built.join("lethe")).unwrap();
    let here = top.path().join("here");
    fs::create_dir(&here).unwrap();
    // All as it stands there, but for a port that is free on this machine.
    let commands =
        commands.replace("8420", &port.to_string()).replace("serve --dir store", &format!("serve --dir store --listen 127.0.0.1:{port}"));
    let script = format!("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{commands}\n");
    let mut bash = Command::new("bash");
    for name in ["LETHE_TOKEN", "LETHE_TOKEN_FILE", "LETHE_TENANT", "CARGO_TARGET_DIR"] {
        bash.env_remove(name);
    }
    bash.env("HOME", top.path()).env("LETHE_ADDR", format!("http://127.0.0.1:{port}")).current_dir(&here);
    let output = bash.arg("-c").arg(script).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let log = fs::read_to_string(here.join("serve.log")).unwrap_or_default();
    // The tour may have ended with the answers of whoever has the port, before the server could say so.
    let is_taken = || log.contains("cannot listen there") || (!log.contains("lethe: ") && TcpStream::connect(("127.0.0.1", port)).is_ok());
    if !out.contains("listening on ") && is_taken() {
        return false;
    }
    assert!(output.status.success(), "{}\n{out}\n{err}\n{log}", output.status);
    let mut rest = out.as_ref();
    for line in told {
        let line = line.replace("8420", &port.to_string());
        rest = behind(rest, &line).unwrap_or_else(|| panic!("not said, or not in its turn: {line}\n{out}\n{err}"));
    }
    true
}

#[test]
fn what_is_told_is_looked_for_in_its_turn() {
    assert_eq!(behind("a{b:1,c:2}404\n", "{b:...,c:"), Some("2}404\n"));
    assert_eq!(behind("2}404\n", "404"), Some("\n"));
    assert_eq!(behind("\n", "404"), None);
    assert_eq!(behind("{c:2,b:1}", "{b:...,c:"), None);
}

//! The command line from outside: its help texts, and its exit codes where no server is needed.

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
    out.push_str(&format!("=== {path}\n{}\n\n", lines.join("\n").trim_end()));
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

#[test]
fn a_destructive_verb_that_is_not_confirmed_does_nothing() {
    // Nothing listens on port 1: had it sent anything, it would have ended with 3.
    let output = lethe(&["shred", "tenant", "acme", "--addr", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let output = lethe(&["shred", "tenant", "acme", "--yes", "--addr", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
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

//! A whole tenant through the command line: from one store into another, whatever breaks off or is bent on its way.
#![expect(clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Stdio};

use super::{
    age::PAIRS,
    stderr,
    with_a_server::{Served, json_lines, lines},
};

/// Writes an identity file; gives its recipient.
fn key(served: &Served, name: &str, which: usize) -> &'static str {
    served.write(name, &format!("# made by a test\n\n{}\n", PAIRS[which].identity));
    PAIRS[which].recipient
}

/// A source with records, its export, and a store to import into with all that it takes.
fn exported() -> (Served, Served) {
    let (source, target) = (Served::start(), Served::start());
    source.owner(&["collection", "put", "people", "--purpose", "billing"]);
    source.write("v", "value of anna");
    source.write("large", &"0123456789".repeat(30_000));
    source.write("empty", "");
    source.owner(&["record", "put", "people", "eu/anna", "v", "--subject", "7", "--meta", "origin=café"]);
    source.owner(&["record", "put", "people", "large", "large", "--subject", "8"]);
    source.owner(&["record", "put", "people", "empty", "empty", "--subject", "7", "--subject", "8"]);
    source.owner(&["alias", "add", "7", "ann@example.com"]);
    source.owner(&["subject", "event", "put", "ann@example.com", "contract-ended", "2099-01-31"]);
    let recipient = key(&source, "key", 0);
    source.owner(&["export", "tenant", "acme", "--to", "acme.age", "--recipient", recipient]);
    for (from, to) in [("acme.age", "acme.age"), ("key", "key"), ("store/signing.pub", "source.pub")] {
        fs::copy(source.path(from), target.path(to)).unwrap();
    }
    (source, target)
}

const CHECK: [&str; 7] = ["import", "tenant", "--from", "acme.age", "--identity", "key", "--check"];
const IMPORT: [&str; 10] = ["import", "tenant", "--from", "acme.age", "--identity", "key", "--as", "moved", "--owner-token", "moved.token"];

fn is_there(target: &Served, source: &Served) {
    for key in ["eu/anna", "large", "empty"] {
        let of = |served: &Served, token: &str, tenant: &str| served.ok(token, &["record", "get", "people", key, "--tenant", tenant]);
        assert!(of(target, "moved.token", "moved") == of(source, "acme.token", "acme"), "{key}");
    }
    let ids = target.ok("moved.token", &["alias", "ls", "ann@example.com", "--tenant", "moved", "--format", "json"]);
    assert_eq!(json_lines(&ids)[0], serde_json::json!({"subject": "7", "aliases": ["ann@example.com"]}));
    let known = target.ok("moved.token", &["subject", "event", "show", "7", "--tenant", "moved", "--format", "json"]);
    assert_eq!(json_lines(&known)[0]["events"][0]["at"], "2099-01-31");
}

#[test]
fn a_tenant_moves_from_one_store_to_another() {
    let (source, target) = exported();
    let again = source.run("acme.token", &["export", "tenant", "acme", "--to", "acme.age", "--recipient", "age1"]);
    assert!(again.status.code() == Some(1) && stderr(&again).contains("acme.age"), "never over a file: {}", stderr(&again));
    let nobody = source.run("acme.token", &["export", "tenant", "acme", "--to", "new.age", "--recipient", "age1"]);
    assert!(nobody.status.code() == Some(2) && !source.path("new.age").exists(), "{}", stderr(&nobody));

    let checked = target.ok("store/operator.token", &[&CHECK[..], &["--key", "source.pub", "--format", "json"]].concat());
    let told = &json_lines(&checked)[0];
    assert_eq!((&told["trail"], &told["counts"]["records"], &told["from"]["tenant"]), (&"ok".into(), &3.into(), &"acme".into()), "{told}");
    assert_eq!((&told["grants"][0]["role"], &told["counts"]["events"]), (&"owner".into(), &1.into()), "{told}");
    assert!(!target.path("moved.token").exists());

    let taken = target.run("store/operator.token", &[&IMPORT[..6], &["--owner-token", "new.token"]].concat());
    assert!(taken.status.code() == Some(2) && stderr(&taken).contains("name-taken"), "there is an acme: {}", stderr(&taken));
    assert!(!target.path("new.token").exists(), "a token that was not made has no file");

    let done = target.ok("store/operator.token", &[&IMPORT[..], &["--key", "source.pub"]].concat());
    assert!(done.contains("moved: imported, 3 records in 1 collections"), "{done}");
    is_there(&target, &source);
    let is_in = |bytes: &[u8]| bytes.windows(13).any(|found| found == b"value of anna");
    let sealed = fs::read(target.path("acme.age")).unwrap();
    assert!(!is_in(&sealed) && is_in(&PAIRS[0].open(&sealed).unwrap()) && PAIRS[1].open(&sealed).is_none());
    let shown = target.ok("moved.token", &["tenant", "show", "moved", "--format", "json"]);
    assert_eq!((&json_lines(&shown)[0]["state"], &json_lines(&shown)[0]["import"]["records"]), (&"active".into(), &3.into()));
    // Once more it says the same, and does nothing.
    target.ok("store/operator.token", &IMPORT);
    // Into a tenant that is no import's it does not go.
    let other = target.run("store/operator.token", &[&IMPORT[..6], &["--as", "acme", "--owner-token", "acme.token"]].concat());
    assert!(other.status.code() == Some(1) && stderr(&other).contains("not made for an import"), "{}", stderr(&other));
}

/// Killed between the two, it has left an empty file; what that is to keep is asked for again.
#[test]
fn an_import_that_was_killed_before_it_had_its_token_asks_again() {
    let (source, target) = exported();
    target.write("moved.token", "");
    fs::set_permissions(target.path("moved.token"), fs::Permissions::from_mode(0o644)).unwrap();
    target.ok("store/operator.token", &IMPORT);
    is_there(&target, &source);
    let mode = fs::metadata(target.path("moved.token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // What is no token is nobody's to write over.
    target.write("other.token", "\n");
    let mut with = IMPORT;
    (with[7], with[9]) = ("other", "other.token");
    let refused = target.run("store/operator.token", &with);
    assert!(!refused.status.success(), "{}", stderr(&refused));
    assert_eq!(fs::read(target.path("other.token")).unwrap(), b"\n");
}

#[test]
fn a_bundle_that_is_bent_cut_or_somebody_elses_brings_nothing() {
    let (source, target) = exported();
    let whole = fs::read(target.path("acme.age")).unwrap();
    let refused = |bytes: &[u8], arguments: &[&str], told: &str| {
        fs::write(target.path("acme.age"), bytes).unwrap();
        let output = target.run("store/operator.token", arguments);
        assert!(output.status.code() == Some(1) && stderr(&output).contains(told), "{told}: {}", stderr(&output));
        assert!(!target.path("moved.token").exists(), "nothing is made of it");
    };
    let bent = |at: usize| {
        let mut bent = whole.clone();
        if let Some(byte) = bent.get_mut(at) {
            *byte ^= 1;
        }
        bent
    };
    let last = whole.len().checked_sub(1).unwrap();
    for at in (0..=last).step_by(whole.len().div_ceil(24)).chain([last]) {
        refused(&bent(at), &IMPORT, "acme.age: ");
    }
    for len in (0..last).step_by(whole.len().div_ceil(12)).chain([last]) {
        refused(whole.get(..len).unwrap(), &IMPORT, "acme.age: ");
    }
    refused(&[&whole[..], b"x"].concat(), &IMPORT, "acme.age: ");
    // The identity of another, and the key of another store.
    key(&target, "other", 1);
    let mut with = IMPORT;
    with[5] = "other";
    refused(&whole, &with, "another identity");
    refused(&whole, &[&IMPORT[..], &["--key", "store/signing.pub"]].concat(), "another store");
    target.write("none", "# nothing\n");
    with[5] = "none";
    refused(&whole, &with, "holds no identity");
    // As it was, it is taken.
    fs::write(target.path("acme.age"), &whole).unwrap();
    target.ok("store/operator.token", &IMPORT);
    is_there(&target, &source);
}

#[test]
fn an_import_that_was_killed_goes_on_with_the_token_that_is_there() {
    let source = Served::start();
    source.write("things.jsonl", &lines(20_000));
    source.owner(&["import", "--create", "--key", "id", "things.jsonl", "--parallel", "4"]);
    let recipient = key(&source, "key", 0);
    source.owner(&["export", "tenant", "acme", "--to", "acme.age", "--recipient", recipient]);
    let begun = |path: &Path| fs::metadata(path).is_ok_and(|token| token.len() > 0);
    let mut child = source.command("store/operator.token", &IMPORT).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !begun(&source.path("moved.token")) {
        assert!(child.try_wait().unwrap().is_none(), "it was through before it could be killed");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let shown = source.ok("moved.token", &["tenant", "show", "moved", "--format", "json"]);
    assert_eq!(json_lines(&shown)[0]["state"], "importing");
    let waits = source.run("moved.token", &["record", "ls", "things", "--tenant", "moved"]);
    assert!(waits.status.code() == Some(2) && stderr(&waits).contains("importing"), "{}", stderr(&waits));
    source.ok("store/operator.token", &IMPORT);
    let sorted = |tenant: &str, token: &str| {
        let text = source.ok(token, &["export", "--collection", "things", "--tenant", tenant, "--parallel", "64"]);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    let (was, is) = (sorted("acme", "acme.token"), sorted("moved", "moved.token"));
    assert!(was == is && was.len() == 20_000, "{} and {}", was.len(), is.len());
}

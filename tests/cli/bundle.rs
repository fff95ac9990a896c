//! A whole tenant through the command line: from one store into another, whatever breaks off or is bent on its way.
#![expect(clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use chacha20poly1305::{
    ChaCha20Poly1305,
    aead::{AeadInOut as _, KeyInit},
};
use curve25519_dalek::MontgomeryPoint;
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use lethe::vault::ops::bundle::{
    Checker, Frames, Kind, Progress, Way,
    documents::{Header, Trailer},
};
use rustix::fs::{FlockOperation, flock};
use sha2::Sha256;

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

/// The same bundle with another salt, and all that follows from that but the signature, sealed anew: whole to everybody who has not the key
/// of its store.
fn exchanged(sealed: &[u8]) -> Vec<u8> {
    let (mut reader, mut checker, mut plain) = (Frames::default(), Checker::new(Way::File, Progress::default()), Vec::new());
    reader.feed(&PAIRS[0].open(sealed).unwrap());
    while let Some(mut frame) = reader.take_frame().unwrap() {
        if frame.kind == Kind::Header {
            let header: Header = serde_json::from_slice(&frame.payload).unwrap();
            frame.payload = serde_json::to_vec(&Header { salt: "0".repeat(64), ..header }).unwrap().into();
        }
        if frame.kind == Kind::Trailer {
            let trailer: Trailer = serde_json::from_slice(&frame.payload).unwrap();
            let chain = hex::encode(checker.progress().chain);
            frame.payload = serde_json::to_vec(&Trailer { chain, ..trailer }).unwrap().into();
        }
        checker.take(&frame).unwrap();
        frame.write(&mut plain).unwrap();
    }
    checker.finish().unwrap();
    seal(PAIRS[0].recipient, &plain)
}

/// Seals for a recipient in the age format, as anybody can.
fn seal(recipient: &str, plain: &[u8]) -> Vec<u8> {
    let (point, secret, file_key, nonce) = (point_of(recipient), [7; 32], [8; 16], [9; 16]);
    let share = MontgomeryPoint::mul_base_clamped(secret).to_bytes();
    let shared = MontgomeryPoint(point).mul_clamped(secret).to_bytes();
    let derived = |secret: &[u8], salt: &[u8], info: &[u8]| {
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(Some(salt), secret).expand(info, &mut key).unwrap();
        key
    };
    let sealed = |key: [u8; 32], nonce: [u8; 12], plain: &[u8]| {
        let mut sealed = plain.to_vec();
        let cipher = ChaCha20Poly1305::new((&key).into());
        let tag = cipher.encrypt_inout_detached((&nonce).into(), &[], sealed.as_mut_slice().into()).unwrap();
        sealed.extend_from_slice(&<[u8; 16]>::from(tag));
        sealed
    };
    let wrapped = sealed(derived(&shared, &[share, point].concat(), b"age-encryption.org/v1/X25519"), [0; 12], &file_key);
    let (share, wrapped) = (STANDARD_NO_PAD.encode(share), STANDARD_NO_PAD.encode(wrapped));
    let header = format!("age-encryption.org/v1\n-> X25519 {share}\n{wrapped}\n---");
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&derived(&file_key, &[], b"header")).unwrap();
    mac.update(header.as_bytes());
    let mut file = format!("{header} {}\n", STANDARD_NO_PAD.encode(mac.finalize().into_bytes())).into_bytes();
    file.extend_from_slice(&nonce);
    let (key, chunks) = (derived(&file_key, &nonce, b"payload"), plain.chunks(65_536));
    let last = chunks.len().saturating_sub(1);
    for (number, chunk) in chunks.enumerate() {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&(number as u64).to_be_bytes());
        nonce[11] = u8::from(number == last);
        file.extend(sealed(key, nonce, chunk));
    }
    file
}

/// The 32 bytes of a recipient: symbols of five bits each, of which a checksum follows.
fn point_of(recipient: &str) -> [u8; 32] {
    let symbols = recipient.strip_prefix("age1").unwrap().bytes().take(52);
    let value = |symbol: u8| b"qpzry9x8gf2tvdw0s3jn54khce6mua7l".iter().position(|known| *known == symbol).unwrap() as u64;
    // Seven whole groups: the last four symbols are not there, and zero.
    let values: Vec<u64> = symbols.map(value).chain([0; 4]).collect();
    let groups = values.chunks(8).map(|eight| eight.iter().fold(0_u64, |held, value| (held << 5) | value));
    let bytes: Vec<u8> = groups.flat_map(|held| held.to_be_bytes()[3..].to_vec()).collect();
    bytes[..32].try_into().unwrap()
}

/// It is read twice: once to be verified, and once to be sent. What is sent is what was verified, and goes on behind what the server has.
#[test]
fn a_bundle_that_is_exchanged_once_it_was_verified_brings_no_tenant_into_use() {
    let (source, target) = exported();
    // More than one request brings.
    source.write("long", &"0123456789".repeat(900_000));
    source.owner(&["record", "put", "people", "long", "long", "--subject", "8"]);
    source.owner(&["export", "tenant", "acme", "--to", "long.age", "--recipient", PAIRS[0].recipient]);
    let whole = fs::read(source.path("long.age")).unwrap();
    let other = exchanged(&whole);
    let refused = |output: &Output, told: &str| {
        assert!(output.status.code() == Some(1) && stderr(output).contains(told), "{told}: {}", stderr(output));
    };
    let state = || {
        let shown = target.ok("moved.token", &["tenant", "show", "moved", "--format", "json"]);
        let shown = json_lines(&shown).remove(0);
        (shown["state"].as_str().unwrap().to_owned(), shown["import"]["next"].as_u64().unwrap())
    };
    fs::write(target.path("acme.age"), &other).unwrap();
    target.ok("store/operator.token", &CHECK);
    refused(&target.run("store/operator.token", &[&CHECK[..], &["--key", "source.pub"]].concat()), "not signed by this key");

    // A pipe gives each reading what is written for it.
    let pipe = target.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut with = IMPORT;
    with[3] = "pipe";
    let mut child = target.command("store/operator.token", &with).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    fs::write(&pipe, &whole).unwrap();
    while !fs::metadata(target.path("moved.token")).is_ok_and(|token| token.len() > 0) {
        assert!(child.try_wait().unwrap().is_none(), "it makes a tenant once it has verified");
        std::thread::yield_now();
    }
    // Who has seen enough need not take all of it.
    drop(fs::write(&pipe, &other));
    refused(&child.wait_with_output().unwrap(), "the bundle was exchanged since it was verified");
    let (is, next) = state();
    assert!(is == "importing" && next > 0, "{is}, {next}");

    fs::write(target.path("acme.age"), &whole).unwrap();
    refused(&target.run("store/operator.token", &IMPORT), "other frames than those of this bundle");
    assert_eq!(state().0, "importing");
    // By the frames that are there it goes on.
    fs::write(target.path("acme.age"), &other).unwrap();
    target.ok("store/operator.token", &IMPORT);
    is_there(&target, &source);
}

/// An order upon what a law may keep is under way, and no epoch ends while somebody may hold keys: until the two are through, no export is.
#[test]
fn an_export_that_the_server_breaks_off_begins_anew_by_itself() {
    let served = Served::start();
    let (recipient, auditor) = (key(&served, "key", 0), key(&served, "auditor", 1));
    let minimum = serde_json::json!({"period": "7y", "basis": "law 1"});
    let rule = serde_json::json!({"name": "books", "from": "created", "minimum": minimum, "maximum": "7y", "then": "delete"});
    served.write("rules", &serde_json::json!({"time_zone": "UTC", "rules": [rule]}).to_string());
    served.owner(&["collection", "put", "people"]);
    served.owner(&["collection", "put", "books", "--retention", "rules"]);
    served.write("v", "a value");
    served.write("large", &"0123456789".repeat(30_000));
    // What has left before the break, what goes, and what the law keeps.
    served.owner(&["record", "put", "people", "large", "large", "--subject", "8"]);
    served.owner(&["record", "put", "people", "goes", "v", "--subject", "7"]);
    served.owner(&["record", "put", "books", "kept", "v", "--subject", "7"]);
    let looks = fs::OpenOptions::new().write(true).create(true).truncate(false).open(served.path("store/keys.lock")).unwrap();
    flock(&looks, FlockOperation::NonBlockingLockShared).unwrap();
    served.owner(&["shred", "subject", "7", "--yes"]);
    let export = ["export", "tenant", "acme", "--to", "acme.age", "--recipient", recipient, "--auditor-recipient", auditor];
    let mut child = served.command("acme.token", &export).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut told, mut said) = (BufReader::new(child.stderr.take().unwrap()), String::new());
    told.read_line(&mut said).unwrap();
    assert!(said.contains("broke off") && said.contains("begins anew"), "{said}");
    assert!(!served.path("acme.age").exists(), "no half of it");
    drop(looks);
    told.read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    assert!(!served.path("acme.age.part").exists());
    let check = [&CHECK[..], &["--auditor-identity", "auditor", "--format", "json"]].concat();
    let checked = json_lines(&served.owner(&check)).remove(0);
    let counts = ["records", "sealed_records", "certificates"].map(|kind| checked["counts"][kind].as_u64());
    assert_eq!(counts, [Some(1); 3], "as the order has left it: {checked}");
}

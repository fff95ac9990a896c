//! Canaries: random texts that must not be found where they do not belong, in whatever encoding.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use aho_corasick::AhoCorasick;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

use crate::{random::Random, site::files_below};

/// A canary is so long, and its core is what is searched for: a key's first characters may be left out in a block of
/// keys that share them.
const LEN: usize = 24;
const MARGIN: usize = 4;

pub(crate) struct Canaries {
    random: Random,
    /// What is searched for, and where it was put.
    cores: Vec<(Vec<u8>, String)>,
}

impl Canaries {
    pub(crate) const fn new(random: Random) -> Self {
        Self { random, cores: Vec::new() }
    }

    /// A new one; lower-case letters and digits, so it can stand anywhere.
    pub(crate) fn make(&mut self, what: &str) -> String {
        const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let text: String = (0..LEN).map(|_| char::from(ALPHABET[self.random.below(36)])).collect();
        self.adopt(what, text.as_bytes());
        text
    }

    /// A secret that somebody else made.
    pub(crate) fn adopt(&mut self, what: &str, secret: &[u8]) {
        self.cores.push((secret[MARGIN..LEN - MARGIN].to_vec(), what.to_owned()));
    }

    /// The access token's secret: as text, and its bytes.
    pub(crate) fn adopt_token(&mut self, what: &str, token: &str) {
        // base64url may hold '_' itself: the first three are those of the form.
        let secret = token.splitn(4, '_').nth(3).unwrap();
        self.adopt(what, secret.as_bytes());
        self.adopt(&format!("{what}, its bytes"), &URL_SAFE_NO_PAD.decode(secret).unwrap());
    }

    pub(crate) fn len(&self) -> usize {
        self.cores.len()
    }

    pub(crate) fn net(&self) -> Net {
        let mut patterns = Vec::new();
        let mut names = Vec::new();
        for (core, what) in &self.cores {
            for (encoding, pattern) in encodings(core) {
                patterns.push(pattern);
                names.push(format!("{what}, {encoding}"));
            }
        }
        // Hexadecimal and percent-encoding come in either case; the rest is long enough to be told apart without it.
        Net { search: AhoCorasick::builder().ascii_case_insensitive(true).build(&patterns).unwrap(), names }
    }
}

/// Every form of a text that this test knows.
fn encodings(core: &[u8]) -> Vec<(String, Vec<u8>)> {
    let each = |form: &dyn Fn(&mut String, u8)| {
        let mut text = String::new();
        for byte in core {
            form(&mut text, *byte);
        }
        text.into_bytes()
    };
    let mut all: Vec<(String, Vec<u8>)> = vec![
        ("raw".into(), core.to_vec()),
        ("hex".into(), hex::encode(core).into_bytes()),
        ("UTF-16 LE".into(), core.iter().flat_map(|byte| [*byte, 0]).collect()),
        ("UTF-16 BE".into(), core.iter().flat_map(|byte| [0, *byte]).collect()),
        ("percent".into(), each(&|text, byte| write!(text, "%{byte:02x}").unwrap())),
        ("JSON escapes".into(), each(&|text, byte| write!(text, "\\u{byte:04x}").unwrap())),
        ("a list of numbers".into(), each(&|text, byte| write!(text, "{byte}, ").unwrap())),
        ("a dense list of numbers".into(), each(&|text, byte| write!(text, "{byte},").unwrap())),
    ];
    for shift in 0..3 {
        let padded = [&[0; 2][..shift], core].concat();
        // The characters that hold bits of this text alone.
        let (from, to) = ((shift * 8).div_ceil(6), padded.len() * 8 / 6);
        for (name, engine) in [("base64", STANDARD_NO_PAD), ("base64url", URL_SAFE_NO_PAD)] {
            let text = engine.encode(&padded).into_bytes()[from..to].to_vec();
            if !all.iter().any(|(_, seen)| *seen == text) {
                all.push((format!("{name} at {shift}"), text));
            }
        }
    }
    all
}

/// Looks for many canaries at once.
pub(crate) struct Net {
    search: AhoCorasick,
    names: Vec<String>,
}

impl Net {
    /// What is in there.
    pub(crate) fn caught(&self, bytes: &[u8]) -> BTreeSet<&str> {
        self.search.find_overlapping_iter(bytes).map(|found| self.names[found.pattern().as_usize()].as_str()).collect()
    }

    /// What is in the files below, each with the file; and how many bytes these have.
    pub(crate) fn caught_below(&self, dir: &Path) -> (BTreeSet<String>, usize) {
        assert!(dir.is_dir(), "{} is not there", dir.display());
        let mut all = BTreeSet::new();
        let mut len = 0;
        for file in files_below(dir) {
            // A file of a server at work may be gone again.
            let Ok(bytes) = fs::read(&file) else { continue };
            len += bytes.len();
            all.extend(self.caught(&bytes).into_iter().map(|what| format!("{}: {what}", file.display())));
            let name = file.to_string_lossy().into_owned();
            all.extend(self.caught(name.as_bytes()).into_iter().map(|what| format!("the file name {name}: {what}")));
        }
        (all, len)
    }
}

#[test]
fn a_planted_canary_is_caught_in_every_encoding_and_alignment() {
    let mut canaries = Canaries::new(Random::new(1));
    let texts: Vec<String> = (0..100).map(|number| canaries.make(&number.to_string())).collect();
    let net = canaries.net();
    let dir = tempfile::tempdir().unwrap();
    let plant = |name: String, form: Vec<u8>| {
        let file = dir.path().join(&name);
        fs::write(&file, [vec![0xa5; 10_000], form, vec![0xa5; 100]].concat()).unwrap();
        let (caught, _) = net.caught_below(dir.path());
        assert!(!caught.is_empty() && caught.iter().all(|what| what.contains(": 42, ")), "{name}: {caught:?}");
        fs::remove_file(file).unwrap();
    };
    let text = texts[42].as_bytes();
    let wide: Vec<u16> = texts[42].encode_utf16().collect();
    plant("raw".into(), text.to_vec());
    plant("upper".into(), text.to_ascii_uppercase());
    plant("without its head".into(), text[MARGIN..].to_vec());
    plant("hex".into(), hex::encode(text).into_bytes());
    plant("HEX".into(), hex::encode_upper(text).into_bytes());
    plant("utf-16le".into(), wide.iter().flat_map(|unit| unit.to_le_bytes()).collect());
    plant("utf-16be".into(), wide.iter().flat_map(|unit| unit.to_be_bytes()).collect());
    let percent = |upper| text.iter().map(|byte| if upper { format!("%{byte:02X}") } else { format!("%{byte:02x}") }).collect::<String>();
    plant("percent".into(), percent(false).into_bytes());
    plant("Percent".into(), percent(true).into_bytes());
    plant("Debug of bytes".into(), format!("{text:?}").into_bytes());
    plant("JSON of bytes".into(), serde_json::to_vec(text).unwrap());
    for before in 0..3 {
        let whole = [&b"xyz"[..before], text, b"and more"].concat();
        plant(format!("base64 {before}"), STANDARD_NO_PAD.encode(&whole).into_bytes());
        plant(format!("base64url {before}"), URL_SAFE_NO_PAD.encode(&whole).into_bytes());
    }
    assert_eq!(net.caught_below(dir.path()).0.len(), 0);
    fs::write(dir.path().join(format!("{}.sst", texts[7])), "").unwrap();
    assert_eq!(net.caught_below(dir.path()).0.len(), 1, "a file's name is looked at, too");
}

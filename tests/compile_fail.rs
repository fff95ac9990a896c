//! What must not compile: each file of `tests/compile_fail` is one misuse, written as an outsider would write it.
//!
//! A line that must be refused ends with `//~ CODE message`, `-` where an error has no code. The compiler's errors and the marks must
//! be the same, so a case cannot pass by failing elsewhere or for another reason. The cases are compiled against the library
//! that this test is linked with: trybuild would build it, and RocksDB, a second time.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// One error: line, code, message.
type Refusal = (u64, String, String);

/// The directory of the libraries, and the newest build of ours that is not newer than this test.
fn library() -> (PathBuf, PathBuf) {
    let test = std::env::current_exe().unwrap();
    let deps = test.parent().unwrap().to_owned();
    let built = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let linked = built(&test);
    let ours = fs::read_dir(&deps).unwrap().map(|entry| entry.unwrap().path()).filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("liblethe-") && name.ends_with(".rlib") && built(path) <= linked
    });
    let newest = ours.max_by_key(|path| built(path)).expect("cargo built the library before this test");
    (deps, newest)
}

/// Compiles a case and returns the compiler's errors.
fn compile(case: &Path, deps: &Path, library: &Path) -> Vec<Refusal> {
    let rustc = Path::new(env!("CARGO")).with_file_name("rustc");
    let out = std::env::temp_dir().join(format!("lethe-compile-fail-{}-{}", std::process::id(), case.file_stem().unwrap().display()));
    fs::create_dir_all(&out).unwrap();
    let output = Command::new(rustc)
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "--error-format=json", "--cap-lints=allow", "--crate-name=case"])
        .arg("--out-dir")
        .arg(&out)
        .arg(format!("--extern=lethe={}", library.display()))
        .arg(format!("-Ldependency={}", deps.display()))
        .arg(case)
        .output()
        .unwrap();
    fs::remove_dir_all(&out).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let diagnostics = stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{stderr}")));
    let errors: Vec<_> = diagnostics.filter(|diagnostic| diagnostic["level"] == "error").filter_map(|error| refusal(&error)).collect();
    assert_eq!(output.status.success(), errors.is_empty(), "{}: {stderr}", case.display());
    errors
}

/// An error with a place; the closing count of errors has none.
fn refusal(error: &Value) -> Option<Refusal> {
    let spans = error["spans"].as_array().unwrap();
    let line = spans.iter().find(|span| span["is_primary"] == true)?["line_start"].as_u64().unwrap();
    let code = error["code"]["code"].as_str().unwrap_or("-").to_owned();
    // Only the first line: what follows explains. Whether paths are shortened depends on every other name of the library.
    let message = error["message"].as_str().unwrap().lines().next().unwrap_or_default();
    let message = message.replace("lethe::vault::", "").replace("crypto::", "");
    Some((line, code, message))
}

/// The marks of a case.
fn expected(source: &str) -> Vec<Refusal> {
    let marks = (1..).zip(source.lines()).filter_map(|(number, line)| Some((number, line.split_once("//~ ")?.1)));
    marks
        .map(|(number, mark)| {
            let (code, message) = mark.split_once(' ').unwrap();
            (number, code.to_owned(), message.to_owned())
        })
        .collect()
}

fn cases() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_fail");
    let mut cases: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

#[test]
fn each_misuse_is_refused_for_its_own_reason() {
    let (deps, library) = library();
    let cases = cases();
    assert!(cases.len() >= 25, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let source = fs::read_to_string(case).unwrap();
        let (expected, found) = (expected(&source), compile(case, &deps, &library));
        assert!(!expected.is_empty(), "{} marks no line", case.display());
        let same = expected.len() == found.len()
            && expected.iter().zip(&found).all(|(mark, error)| (mark.0, &mark.1) == (error.0, &error.1) && error.2.starts_with(&mark.2));
        if !same {
            wrong.push(format!("{}\n  expected {expected:?}\n  found    {found:?}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The same road to the compiler lets right code through: a case does not fail because the library is not found.
#[test]
fn right_use_compiles() {
    let (deps, library) = library();
    let directory = tempfile::tempdir().unwrap();
    let case = directory.path().join("right.rs");
    let source = "
        use lethe::vault::crypto::{Data, Context, Cursor, Key, OpenError, Plaintext, Receipt, Sealed, Suite};
        pub fn seal(key: &Key<Data>, context: &Context<Cursor>, bytes: Vec<u8>) -> Sealed<Cursor> {
            key.seal(Suite::preferred(), context, &Plaintext::new(bytes))
        }
        pub fn open(key: &Key<Data>, context: &Context<Cursor>, sealed: &Sealed<Cursor>, receipt: Receipt) -> Result<Vec<u8>, OpenError> {
            Ok(key.open(context, sealed)?.disclose(receipt))
        }";
    fs::write(&case, source).unwrap();
    assert_eq!(compile(&case, &deps, &library), []);
}

/// Outside the crate `pub(crate)` and `pub(in crate::vault)` look alike; inside, the first opens keys and plaintext to every room.
#[test]
fn nothing_of_keys_plaintext_and_receipts_is_open_to_the_whole_crate() {
    let sources: Vec<_> = ["crypto", "keys", "audit"].iter().flat_map(|room| sources_under(&format!("src/vault/{room}"))).collect();
    assert!(sources.iter().any(|path| path.ends_with("crypto/key.rs")) && sources.iter().any(|path| path.ends_with("crypto/plaintext.rs")));
    for path in &sources {
        let source = fs::read_to_string(path).unwrap();
        assert!(!source.contains("pub(crate)"), "{}: use pub(in crate::vault)", path.display());
    }
}

/// The vault's rooms could all make one, but a receipt is the audit room's word that an entry is written.
#[test]
fn only_the_audit_room_makes_receipts() {
    let makers = sources_under("src").into_iter().filter(|path| fs::read_to_string(path).unwrap().contains("Receipt::durable("));
    let others: Vec<_> = makers.filter(|path| !path.components().any(|part| part.as_os_str() == "audit")).collect();
    assert!(others.is_empty(), "{others:?}");
}

/// All files under a directory of the crate; none if there is no such directory.
fn sources_under(directory: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { left.push(path) } else { found.push(path) }
        }
    }
    found
}

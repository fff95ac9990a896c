//! The one source of randomness: the operating system's generator. Every key, salt and id comes from here.

/// Fills `bytes` with random bytes.
///
/// # Panics
/// If the operating system has no randomness to give: nothing can be made safely then.
#[expect(clippy::disallowed_methods, reason = "the one place that may")]
pub fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the kernel's generator does not fail once the system has booted");
}

/// `N` random bytes: for salts and ids, not for keys, which are filled in place.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    fn files(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { files(&path, found) } else { found.push(path) }
        }
    }

    /// Whether a file's code names a crate in a path.
    fn names(text: &str, of: &str) -> bool {
        let path = format!("{of}::");
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let whole = |before: &str| !before.ends_with(|last: char| last.is_alphanumeric() || last == '_');
        code.into_iter().any(|line| line.match_indices(&path).any(|(at, _)| line.get(..at).is_some_and(whole)))
    }

    /// clippy.toml bans the ways one by one; this the crates as a whole.
    #[test]
    fn randomness_is_drawn_in_one_file_and_seeded_draws_are_the_benchs() {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (mut all, mut wrong) = (Vec::new(), Vec::new());
        files(&src, &mut all);
        for file in all {
            let (place, text) = (file.strip_prefix(&src).unwrap(), fs::read_to_string(&file).unwrap());
            for (of, allowed) in [
                ("getrandom", place == Path::new("vault/crypto/random.rs")),
                ("rand", place.starts_with("cli/bench")),
                ("rand_core", false),
                ("rand_distr", place.starts_with("cli/bench")),
            ] {
                if names(&text, of) && !allowed {
                    wrong.push(format!("{} names {of}", place.display()));
                }
            }
        }
        assert!(wrong.is_empty(), "draw from vault::crypto::random: {wrong:?}");
        let calls = |path: &str| names(&format!("let x = {path}::random();"), "rand");
        assert!(calls("rand") && calls("::rand") && !calls("operand") && !names(&format!("// {}::x", "rand"), "rand"));
    }
}

//! `lethe init`: makes a store: directories, `lethe.toml`, custody, mirror, signing key, the operator's token.

use std::{
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;

use super::{failure::Failure, import::beside, output::Output};
use crate::{
    config::{Config, FILE_NAME},
    domain::SystemClock,
    server::rooms,
};

/// `lethe init --dir D`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store directory to make.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// A directory for the root secret, outside the store; may be repeated, all are needed then. D-custody where left out.
    #[arg(long, value_name = "DIR")]
    custody: Vec<PathBuf>,
    /// A directory for the mirror of the control store, better on another disk. D-mirror where left out.
    #[arg(long, value_name = "DIR")]
    mirror: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, out: &mut Output) -> Result<(), Failure> {
    let dir = std::path::absolute(&args.dir).map_err(|error| Failure::file(&args.dir, &error))?;
    let custody = if args.custody.is_empty() { vec![beside(&dir, "-custody")] } else { args.custody };
    let mirror = args.mirror.unwrap_or_else(|| beside(&dir, "-mirror"));
    let custody = custody.iter().map(|dir| absolute(dir)).collect::<Result<Vec<_>, _>>()?;
    let mirror = absolute(&mirror)?;
    let text = settings(&dir, &custody, &mirror);
    // Held against each other before anything is made.
    let config = Config::parse(&text, &dir).map_err(|error| Failure::local(error.to_string()))?;
    refuse_leftovers(&dir, &custody, &mirror)?;

    for made in [&dir, &mirror].into_iter().chain(&custody) {
        make_dir(made)?;
    }
    let made = async {
        rooms::write_new(&dir.join(FILE_NAME), 0o600, text.as_bytes())?;
        let token = rooms::make(&config, Arc::new(SystemClock)).await?;
        rooms::write_new(&config.operator_token_file(), 0o600, format!("{}\n", *token).as_bytes())
    };
    if let Err(error) = made.await {
        return Err(Failure::local(format!(
            "{error}\nthe store is half made: remove {} and what lies beside it, then try again",
            dir.display()
        )));
    }
    let shown = quoted(&dir);
    out.say(
        &format!(
            "made {}\n\nnext:\n  lethe serve --dir {shown}\n  export LETHE_TOKEN_FILE={shown}/operator.token\n  lethe tenant create acme --save-token acme.token",
            dir.display()
        ),
        &json!({ "dir": dir, "custody": custody, "mirror": mirror, "operator_token_file": config.operator_token_file() }),
    )
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::file(path, &error))
}

/// The smallest `lethe.toml`; every other setting has a default.
fn settings(dir: &Path, custody: &[PathBuf], mirror: &Path) -> String {
    let quote = |path: &Path| toml::Value::String(relative(dir, path).display().to_string()).to_string();
    let components: Vec<String> =
        custody.iter().map(|dir| format!("[[custody]]\nkind = \"file\"\npath = {}\n", quote(&dir.join("root")))).collect();
    format!(
        "# Lethe's settings; docs/operations.md lists them all. Unknown keys are refused.\n\n[paths]\n# A second copy of what must never be lost; better on another disk.\nmirror_dir = {}\n\n\
         # The root secret. Shredding destroys it: keep it on a medium of its own, and out of every backup.\n{}",
        quote(mirror),
        components.join("\n")
    )
}

/// A path beside the store directory is written so that all three can be moved together.
fn relative(dir: &Path, path: &Path) -> PathBuf {
    match dir.parent().and_then(|parent| path.strip_prefix(parent).ok()) {
        Some(rest) if dir.parent() != Some(Path::new("/")) => Path::new("..").join(rest),
        Some(_) | None => path.to_path_buf(),
    }
}

/// What is there already is never written over, nor mixed with a new store.
fn refuse_leftovers(dir: &Path, custody: &[PathBuf], mirror: &Path) -> Result<(), Failure> {
    for path in [dir, mirror].into_iter().chain(custody.iter().map(PathBuf::as_path)) {
        match std::fs::read_dir(path) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(Failure::local(format!("{} is not empty", path.display())));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::file(path, &error)),
        }
    }
    Ok(())
}

fn make_dir(path: &Path) -> Result<(), Failure> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| Failure::file(path, &error))
}

/// The path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-".contains(character);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Custody;

    #[test]
    fn the_settings_that_init_writes_are_those_it_was_asked_for() {
        let dir = Path::new("/srv/stores/a");
        let custody = [PathBuf::from("/srv/stores/a-custody"), PathBuf::from("/mnt/a \"quoted\" key")];
        let text = settings(dir, &custody, Path::new("/srv/stores/a-mirror"));
        assert!(text.contains("\"../a-mirror\""), "{text}");
        let config = Config::parse(&text, dir).unwrap();
        assert_eq!(config.paths.mirror_dir, Path::new("/srv/stores/a-mirror"));
        assert_eq!(config.custody.len(), 2);
        assert_eq!(config.custody[1], Custody::File { path: "/mnt/a \"quoted\" key/root".into() });
    }

    #[test]
    fn what_is_there_is_not_written_over() {
        let top = tempfile::tempdir().unwrap();
        let (dir, custody, mirror) = (top.path().join("s"), top.path().join("c"), top.path().join("m"));
        assert!(refuse_leftovers(&dir, std::slice::from_ref(&custody), &mirror).is_ok());
        std::fs::create_dir(&custody).unwrap();
        assert!(refuse_leftovers(&dir, std::slice::from_ref(&custody), &mirror).is_ok());
        std::fs::write(custody.join("root"), "x").unwrap();
        assert!(refuse_leftovers(&dir, std::slice::from_ref(&custody), &mirror).is_err());
    }

    #[test]
    fn a_path_is_quoted_for_the_shell() {
        assert_eq!(quoted(Path::new("/srv/a-b.c")), "/srv/a-b.c");
        assert_eq!(quoted(Path::new("/srv/it's")), "'/srv/it'\\''s'");
    }
}

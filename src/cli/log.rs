//! `lethe log`: the public log of certificates. Its copy is verified offline, with nothing but the store's public key.

use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::json;

use super::{
    connection::{Client, Connection},
    failure::Failure,
    output::Output,
};
use crate::vault::audit::{
    checkpoint::Checkpoint,
    note::Verifier,
    tiles::Tile,
    tlog::{LogReport, verify_log},
};

/// What to do with the log.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Copy the log, or bring a copy up to date.
    Fetch {
        /// The copy's directory.
        dir: PathBuf,
    },
    /// Verify a copy of the log offline: signature, every entry and tile, and that it grew from earlier checkpoints.
    Verify {
        /// The copy's directory; a store's own log directory serves as well.
        dir: PathBuf,
        /// The store's public key: signing.pub of the store directory.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// A checkpoint kept from earlier; may be repeated.
        #[arg(long = "earlier", value_name = "FILE")]
        earlier: Vec<PathBuf>,
        /// A certificate that must be in it; may be repeated.
        #[arg(long = "certificate", value_name = "FILE")]
        certificates: Vec<PathBuf>,
    },
    /// Fetch the signed checkpoint: keep it, and the log can never be shown shorter or otherwise to you.
    Checkpoint {
        /// Write to this file instead of standard output.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Verify it with the store's public key first.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
}

pub(crate) async fn run(command: Command, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Fetch { dir } => {
            let size = fetch(&connection.client()?, &dir).await?;
            out.say(&format!("{size} entries in {}", dir.display()), &json!({ "size": size, "dir": dir }))
        }
        Command::Verify { dir, key, earlier, certificates } => {
            let verifier = verifier(&key)?;
            let earlier = earlier.iter().map(|path| text(path)).collect::<Result<Vec<_>, _>>()?;
            let notes = certificates.iter().map(|path| text(path)).collect::<Result<Vec<_>, _>>()?;
            let report = verify(&dir, &verifier, &earlier, &notes)?;
            if let Some((path, _)) = certificates.iter().zip(&report.found).find(|(_, found)| found.is_none()) {
                return Err(Failure::local(format!("{}: not in the log", path.display())));
            }
            let root = hex::encode(report.head.root);
            out.say(
                &format!("the log {} is whole: {} entries, root {root}", report.head.origin, report.head.size),
                &json!({ "log": report.head.origin, "size": report.head.size, "root": root, "found": report.found }),
            )
        }
        Command::Checkpoint { output, key } => {
            let note = checkpoint(&connection.client()?).await?;
            if let Some(key) = key {
                Checkpoint::open(&note, &verifier(&key)?).map_err(|error| Failure::local(error.to_string()))?;
            }
            match output {
                Some(path) => std::fs::write(&path, &note).map_err(|error| Failure::file(&path, &error)),
                None => out.write(note.as_bytes()),
            }
        }
    }
}

/// A store's public key from its file.
pub(crate) fn verifier(path: &Path) -> Result<Verifier, Failure> {
    Verifier::parse(&text(path)?).map_err(|error| Failure::local(format!("{}: {error}", path.display())))
}

/// Holds a copy of the log against its checkpoint and earlier ones, and looks for certificates.
pub(crate) fn verify(dir: &Path, verifier: &Verifier, earlier: &[String], notes: &[String]) -> Result<LogReport, Failure> {
    let earlier: Vec<&str> = earlier.iter().map(String::as_str).collect();
    let leaves: Vec<&[u8]> = notes.iter().map(String::as_bytes).collect();
    verify_log(dir, verifier, &earlier, &leaves).map_err(|error| Failure::local(format!("{}: {error}", dir.display())))
}

/// A file's text; `-` is standard input.
pub(crate) fn text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(super::record::read_all(path)?).map_err(|_| Failure::local(format!("{}: not UTF-8", path.display())))
}

async fn checkpoint(client: &Client) -> Result<String, Failure> {
    Ok(client.send(client.request(Method::GET, &["log", "checkpoint"])?).await?.text().await?)
}

/// Fetches what the copy lacks, the checkpoint last: a copy that broke off is an older log, not a broken one.
async fn fetch(client: &Client, dir: &Path) -> Result<u64, Failure> {
    let note = checkpoint(client).await?;
    let size = size_of(&note).ok_or_else(|| Failure::local("the server's checkpoint is malformed"))?;
    for tile in tiles_of(size) {
        let path = dir.join(tile.path());
        if path.exists() {
            continue;
        }
        let url = format!("log/{}", tile.path());
        let bytes = client.send(client.request(Method::GET, &url.split('/').collect::<Vec<_>>())?).await?.bytes().await?;
        put(&path, &bytes)?;
    }
    put(&dir.join("checkpoint"), note.as_bytes())?;
    Ok(size)
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let part = super::import::beside(path, ".part");
    made.and_then(|()| std::fs::write(&part, bytes))
        .and_then(|()| std::fs::rename(&part, path))
        .map_err(|error| Failure::file(path, &error))
}

/// The size a checkpoint states, its signature not checked: [`verify_log`] does that.
fn size_of(note: &str) -> Option<u64> {
    note.lines().nth(1)?.parse().ok()
}

/// Every tile and bundle of a log of this size.
fn tiles_of(size: u64) -> Vec<Tile> {
    let levels = (0_u8..8).map(|level| (Some(level), size.checked_shr(u32::from(level).saturating_mul(8)).unwrap_or(0)));
    let mut tiles = Vec::new();
    for (level, hashes) in levels.chain([(None, size)]) {
        tiles.extend((0..hashes >> 8).map(|index| Tile { level, index, width: 256 }));
        let rest = u16::try_from(hashes & 0xff).unwrap_or(0);
        tiles.extend((rest > 0).then_some(Tile { level, index: hashes >> 8, width: rest }));
    }
    tiles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::audit::{note::Signer, tlog::Log};

    #[test]
    fn a_copy_of_all_tiles_verifies() {
        let (store, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let signer = || Signer::from_seed("lethe/test", &[7; 32]).unwrap();
        let mut log = Log::open(store.path(), signer(), None).unwrap();
        let leaves: Vec<Vec<u8>> = (0..600_u32).map(|leaf| leaf.to_string().into_bytes()).collect();
        log.append(&leaves.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
        for tile in tiles_of(600) {
            put(&copy.path().join(tile.path()), &log.resource(&tile.path()).unwrap().expect("served")).unwrap();
        }
        put(&copy.path().join("checkpoint"), log.checkpoint().as_bytes()).unwrap();
        assert_eq!(size_of(log.checkpoint()), Some(600));
        let report = verify(copy.path(), &signer().verifier(), &[], &["599".into(), "600".into()]).unwrap();
        assert_eq!(report.found, [Some(599), None]);
        std::fs::remove_file(copy.path().join(Tile { level: None, index: 1, width: 256 }.path())).unwrap();
        assert!(verify(copy.path(), &signer().verifier(), &[], &[]).is_err());
    }
}

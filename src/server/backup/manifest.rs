//! What a generation of a backup consists of. Stored bytes: `docs/format.md`, "Backups".

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::BackupError;
use crate::domain::{StoreId, Timestamp};

/// The format of the directory and of its manifests.
pub(super) const FORMAT: u32 = 1;
const MAGIC: &str = "lethe/v1/backup ";

/// One generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this format.
    pub format: u32,
    /// The store's id, 32 hexadecimal digits.
    pub store: String,
    /// Its number in this directory, from 1 on, never given twice.
    pub generation: u64,
    /// When the snapshot was taken: milliseconds since 1970, UTC.
    pub taken_at_ms: i64,
    /// The epoch of the control store then.
    pub epoch: u64,
    /// Entries of the public log then.
    pub log_size: u64,
    /// How many records there were, as the engine estimates.
    pub records_estimate: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Files that earlier generations did not have, and their bytes.
    pub copied_files: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// The files of the data store.
    pub files: Vec<File>,
}

/// A file of the data store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its name in the data store's directory.
    pub name: String,
    /// In bytes.
    pub len: u64,
    /// SHA-256, 64 hexadecimal digits: its name in `files/`.
    pub sha256: String,
    /// Inode and time of change (nanoseconds since 1970) where it was copied from: one that has them still is the same file, and is
    /// not read again. What it holds is vouched for by `sha256` alone.
    pub seen: (u64, i128),
}

impl Manifest {
    /// When the snapshot was taken.
    #[must_use]
    pub const fn taken_at(&self) -> Timestamp {
        Timestamp(self.taken_at_ms)
    }

    /// `lethe/v1/backup SHA256\n`, of what follows, and JSON on one line.
    pub(super) fn to_text(&self) -> Result<String, BackupError> {
        let mut json = serde_json::to_string(self).map_err(|error| BackupError::Fault(error.to_string()))?;
        json.push('\n');
        Ok(format!("{MAGIC}{}\n{json}", hex::encode(Sha256::digest(json.as_bytes()))))
    }

    /// Reads what [`Manifest::to_text`] wrote; `Err` says what is wrong.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "it is not a text")?;
        let (sum, json) = text.strip_prefix(MAGIC).and_then(|rest| rest.split_once('\n')).ok_or("it does not begin as a manifest does")?;
        if hex::encode(Sha256::digest(json.as_bytes())) != sum {
            return Err("its checksum does not match".into());
        }
        let format = serde_json::from_str::<Versioned>(json).map_err(|error| error.to_string())?.format;
        if format != FORMAT {
            return Err(format!("it has format {format}, this version knows {FORMAT}"));
        }
        let manifest: Self = serde_json::from_str(json).map_err(|error| error.to_string())?;
        match manifest.files.iter().find(|file| !is_plain(&file.name) || !is_digest(&file.sha256)) {
            Some(file) => Err(format!("it names {:?}", file.name)),
            None => Ok(manifest),
        }
    }

    /// Whether it is of this store.
    pub(super) fn is_of(&self, store: StoreId) -> bool {
        self.store == store.to_string()
    }
}

#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

/// A file's name as the engine gives them, which leads nowhere else.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let file =
            File { name: "000012.sst".into(), len: 3, sha256: hex::encode(Sha256::digest(b"abc")), seen: (7, 1_700_000_000_123_456_789) };
        Manifest {
            format: FORMAT,
            store: StoreId([7; 16]).to_string(),
            generation: 3,
            taken_at_ms: 1_700_000_000_000,
            epoch: 5,
            log_size: 9,
            records_estimate: 1,
            bytes: 3,
            copied_files: 1,
            copied_bytes: 3,
            files: vec![file],
        }
    }

    #[test]
    fn a_manifest_with_any_bent_byte_is_refused() {
        let text = manifest().to_text().unwrap().into_bytes();
        assert_eq!(Manifest::parse(&text).unwrap(), manifest());
        for at in 0..text.len() {
            for bit in [1_u8, 0x20, 0x80] {
                let mut bent = text.clone();
                bent[at] ^= bit;
                assert!(Manifest::parse(&bent).is_err(), "byte {at} with bit {bit}");
            }
        }
        for len in 0..text.len() {
            assert!(Manifest::parse(&text[..len]).is_err(), "the first {len} bytes");
        }
    }

    #[test]
    fn a_manifest_that_names_files_elsewhere_is_refused() {
        for name in ["../x", "a/b", "", ".", "..", ".hidden", "a b", "/etc/passwd"] {
            let mut bad = manifest();
            bad.files[0].name = name.into();
            assert!(Manifest::parse(bad.to_text().unwrap().as_bytes()).is_err(), "{name:?}");
        }
        let mut bad = manifest();
        bad.files[0].sha256 = "../../../x".into();
        assert!(Manifest::parse(bad.to_text().unwrap().as_bytes()).is_err());
    }

    #[test]
    fn a_manifest_of_a_later_format_is_refused_with_its_number() {
        let later = Manifest { format: 2, ..manifest() };
        let refusal = Manifest::parse(later.to_text().unwrap().as_bytes()).unwrap_err();
        assert!(refusal.contains("format 2") && refusal.contains("knows 1"), "{refusal}");
    }
}

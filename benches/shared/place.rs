//! Where a bench keeps its stores: on a disk, as what is measured are syncs, too.

use std::{fs, path::Path};

use tempfile::TempDir;

/// File systems that lie in memory, by `statfs` magic.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58F6];

/// A directory below `dir`, whatever lies there; without one below the target directory, unless that lies in memory.
pub(crate) fn make(dir: Option<&Path>) -> Result<TempDir, String> {
    let above = dir.unwrap_or(Path::new(env!("CARGO_TARGET_TMPDIR")));
    let failed = |error: std::io::Error| format!("{}: no place for stores: {error}", above.display());
    if dir.is_none() {
        fs::create_dir_all(above).map_err(failed)?;
        let magic = rustix::fs::statfs(above).map_err(|error| failed(error.into()))?.f_type;
        if IN_MEMORY.contains(&(magic.unsigned_abs() & 0xFFFF_FFFF)) {
            let above = above.display();
            return Err(format!("{above} lies in memory, where a sync costs nothing; say --dir DIR, or set CARGO_TARGET_DIR, on a disk"));
        }
    }
    tempfile::tempdir_in(above).map_err(failed)
}

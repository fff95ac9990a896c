//! The library before the C library, compiled once for a test run.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Where it lies; compiled at the first call.
fn library() -> &'static Path {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BUILT.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shim.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disaster/shim.c");
        let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-Wall", "-o"]).arg(&path).arg(source).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        (dir, path)
    });
    path
}

/// Puts the shim before a program that is about to be started.
pub(crate) fn before(command: &mut Command) -> &mut Command {
    command.env("LD_PRELOAD", library())
}

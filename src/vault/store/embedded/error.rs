//! Why a store was not opened. Each reason has a name of its own, which operators look up.

use std::{io::ErrorKind, path::PathBuf};

/// Why a store was not opened, created or rebuilt. Messages begin with the [name](OpenError::name).
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("store-locked: another process has {0} open")]
    Locked(PathBuf),
    /// There is no store.
    #[error("store-missing: no store at {0}")]
    Missing(PathBuf),
    /// There is a store already, or what is left of one.
    #[error("store-exists: {0} is already there")]
    Exists(PathBuf),
    /// Written by a version that this one does not know.
    #[error("unknown-format: {place} has format {found}, this version knows {known}")]
    UnknownFormat {
        /// Where.
        place: String,
        /// What is there.
        found: String,
        /// What would be understood.
        known: u32,
    },
    /// Control, data and mirror are not of one store.
    #[error("foreign-store: {0} belongs to another store")]
    Foreign(&'static str),
    /// The control store is older than the data store has seen: an old copy was put back.
    #[error(
        "control-behind-data: control store is at {control}, data store has seen {data}; put today's mirror back if it is old too, then run lethe recover control"
    )]
    ControlBehindData {
        /// The control store's sequence number.
        control: u64,
        /// The one the data store has seen.
        data: u64,
    },
    /// The control store is older than its mirror: it was lost or an old copy was put back.
    #[error("control-behind-mirror: control store is at {control}, its mirror at {mirror}; run lethe recover control")]
    ControlBehindMirror {
        /// The control store's sequence number.
        control: u64,
        /// The mirror's.
        mirror: u64,
    },
    /// Control store and mirror took different ways from a common past.
    #[error(
        "mirror-diverged: control store and mirror differ at {0}: one of them is a copy that was written to elsewhere; find out which, then run lethe recover control or lethe recover mirror"
    )]
    MirrorDiverged(u64),
    /// The control store is older than a further copy of it: an old copy was put back, with the mirror.
    #[error(
        "control-behind-copy: control store and mirror are at {control}, the copy at {} is at {copy}: an old copy of them was put back; run lethe recover control --from {}",
        dir.display(),
        dir.display()
    )]
    ControlBehindCopy {
        /// Where the copy is.
        dir: PathBuf,
        /// The control store's sequence number.
        control: u64,
        /// The copy's.
        copy: u64,
    },
    /// Control store and a further copy of it took different ways from a common past.
    #[error(
        "copy-diverged: control store and the copy at {} differ at {seq}: one of them was written to elsewhere; find out which, and move the other aside",
        dir.display()
    )]
    CopyDiverged {
        /// Where the copy is.
        dir: PathBuf,
        /// The copy's sequence number.
        seq: u64,
    },
    /// There is no copy where one is to be kept.
    #[error("copy-missing: no copy of the control store at {}; mount its disk, or begin it with lethe control ship --to {}", .0.display(), .0.display())]
    CopyMissing(PathBuf),
    /// There is no mirror.
    #[error("mirror-missing: no mirror at {0}; if its disk is lost for good, run lethe recover mirror")]
    MirrorMissing(PathBuf),
    /// The mirror is damaged before its end.
    #[error("mirror-damaged: {path} at byte {offset}: {detail}; if the control store opens, run lethe recover mirror")]
    MirrorDamaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong.
        detail: &'static str,
    },
    /// A database is not there at all.
    #[error(
        "{database}-missing: there is no database at {path}; {}",
        if *.database == "control" { "run lethe recover control" } else { "put back a backup of it, of any date" }
    )]
    DatabaseMissing {
        /// `control` or `data`.
        database: &'static str,
        /// Where it should be.
        path: PathBuf,
    },
    /// A database is damaged.
    #[error("{database}-damaged: {detail}")]
    Damaged {
        /// `control` or `data`.
        database: &'static str,
        /// What the engine says: file, place, reason.
        detail: String,
    },
    /// There is no room for what opening must write.
    #[error("disk-full: {0}: the disk is full; free space, then start again")]
    DiskFull(String),
    /// The operating system refused.
    #[error("store-io: {place}: {source}")]
    Io {
        /// What was being done.
        place: String,
        /// Why not.
        source: std::io::Error,
    },
}

impl OpenError {
    /// The name, as documents have it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Locked(_) => "store-locked",
            Self::Missing(_) => "store-missing",
            Self::Exists(_) => "store-exists",
            Self::UnknownFormat { .. } => "unknown-format",
            Self::Foreign(_) => "foreign-store",
            Self::ControlBehindData { .. } => "control-behind-data",
            Self::ControlBehindMirror { .. } => "control-behind-mirror",
            Self::MirrorDiverged(_) => "mirror-diverged",
            Self::ControlBehindCopy { .. } => "control-behind-copy",
            Self::CopyDiverged { .. } => "copy-diverged",
            Self::CopyMissing(_) => "copy-missing",
            Self::MirrorMissing(_) => "mirror-missing",
            Self::MirrorDamaged { .. } => "mirror-damaged",
            Self::DatabaseMissing { database, .. } => match database.as_bytes() {
                b"control" => "control-missing",
                _ => "data-missing",
            },
            Self::Damaged { database, .. } => match database.as_bytes() {
                b"control" => "control-damaged",
                _ => "data-damaged",
            },
            Self::DiskFull(_) => "disk-full",
            Self::Io { .. } => "store-io",
        }
    }
}

/// Names the place in an I/O error.
pub(super) fn at(place: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> OpenError {
    move |source| {
        let is_full = matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        if is_full { OpenError::DiskFull(place.to_string()) } else { OpenError::Io { place: place.to_string(), source } }
    }
}

/// Whether the engine's text of an error tells of a full disk.
pub(super) fn is_disk_full(text: &str) -> bool {
    text.contains("No space left on device")
}

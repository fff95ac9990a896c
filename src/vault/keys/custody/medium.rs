//! What lies under a custody file, as far as the kernel tells: it decides what overwriting is worth.

use std::{fs, io::Read, os::fd::AsFd, path::Path};

use super::Level;

/// File systems that overwrite in place, by `statfs` magic.
const IN_PLACE: &[(u64, &str)] = &[(0xEF53, "ext"), (0x5846_5342, "xfs"), (0x4d44, "vfat"), (0x2011_BAB0, "exfat"), (0x0102_1994, "tmpfs")];
/// File systems that may keep the old bytes, by `statfs` magic.
const KEEPS_OLD: &[(u64, &str)] = &[
    (0x9123_683E, "btrfs"),
    (0x2FC1_2FC1, "zfs"),
    (0xCA45_1A4E, "bcachefs"),
    (0xF2F5_2010, "f2fs"),
    (0x3434, "nilfs"),
    (0x794C_7630, "overlay"),
    (0x6969, "nfs"),
    (0xFF53_4D42, "cifs"),
    (0xFE53_4D42, "smb2"),
    (0x0102_1997, "9p"),
    (0x00C3_6400, "ceph"),
    (0x6573_5546, "fuse"),
];

/// What is known about the medium under a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Medium {
    /// What overwriting is worth there.
    pub(super) level: Level,
    /// Why: short `name=value` words.
    pub(super) evidence: Vec<String>,
}

/// Looks at the file system and device under `file`; `data` is a directory of the store's data, if known.
pub(super) fn inspect(file: &fs::File, data: Option<&Path>) -> std::io::Result<Medium> {
    let magic = rustix::fs::fstatfs(file.as_fd())?.f_type;
    let device = rustix::fs::fstat(file.as_fd())?.st_dev;
    let shared = match data {
        Some(data) => rustix::fs::stat(data).is_ok_and(|data| data.st_dev == device),
        None => false,
    };
    Ok(judge(
        magic.unsigned_abs() & 0xFFFF_FFFF,
        rotational(rustix::fs::major(device), rustix::fs::minor(device)),
        journals_data(rustix::fs::major(device), rustix::fs::minor(device)),
        shared,
    ))
}

/// The rules, apart from the looking.
fn judge(magic: u64, rotational: Option<bool>, journals_data: bool, shared: bool) -> Medium {
    let in_place = IN_PLACE.iter().find(|(known, _)| *known == magic);
    let keeps_old = KEEPS_OLD.iter().find(|(known, _)| *known == magic);
    let name = in_place.or(keeps_old).map_or("unknown", |(_, name)| *name);
    let mut evidence = vec![format!("file-system={name}")];
    evidence.push(format!("rotational={}", rotational.map_or("unknown", |yes| if yes { "yes" } else { "no" })));
    evidence.push(format!("same-volume-as-data={}", if shared { "yes" } else { "no" }));
    if journals_data {
        evidence.push("journals-data=yes".to_owned());
    }
    let level = if in_place.is_none() || journals_data {
        Level::Logical
    } else if shared {
        Level::SharedVolume
    } else if rotational == Some(true) {
        Level::Medium
    } else {
        Level::Interface
    };
    Medium { level, evidence }
}

/// Whether the disk under a device turns; `None` where `/sys` does not say.
fn rotational(major: u32, minor: u32) -> Option<bool> {
    let device = format!("/sys/dev/block/{major}:{minor}");
    [format!("{device}/queue/rotational"), format!("{device}/../queue/rotational")]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok())
        .map(|text| text.trim() == "1")
}

/// Whether the file system writes file contents to its journal too.
fn journals_data(major: u32, minor: u32) -> bool {
    let device = format!("{major}:{minor}");
    mounts().is_ok_and(|table| table.lines().any(|line| line.split(' ').nth(2) == Some(device.as_str()) && line.contains("data=journal")))
}

/// The table of mounts. The kernel tells no length of it: room for most of them saves reading it in ever longer pieces.
fn mounts() -> std::io::Result<String> {
    let mut table = String::with_capacity(16 * 1024);
    fs::File::open("/proc/self/mountinfo")?.read_to_string(&mut table)?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_keep_old_bytes_is_only_a_logical_destruction() {
        for (magic, name) in KEEPS_OLD {
            let medium = judge(*magic, Some(true), false, false);
            assert_eq!(medium.level, Level::Logical, "{name}");
            assert!(medium.evidence.contains(&format!("file-system={name}")));
        }
        assert_eq!(judge(0x1234_5678, Some(true), false, false).level, Level::Logical, "an unknown file system");
        assert_eq!(judge(0xEF53, Some(true), true, false).level, Level::Logical, "a journal of file contents");
    }

    #[test]
    fn the_volume_and_the_disk_lower_the_level() {
        assert_eq!(judge(0xEF53, Some(true), false, false).level, Level::Medium);
        assert_eq!(judge(0xEF53, Some(false), false, false).level, Level::Interface);
        assert_eq!(judge(0xEF53, None, false, false).level, Level::Interface);
        assert_eq!(judge(0xEF53, Some(true), false, true).level, Level::SharedVolume);
    }

    #[test]
    fn the_file_system_of_a_real_file_is_known() {
        let file = tempfile::tempfile().unwrap();
        let medium = inspect(&file, Some(&std::env::temp_dir())).unwrap();
        assert!(!medium.evidence.contains(&"file-system=unknown".to_owned()), "{:?}", medium.evidence);
    }
}

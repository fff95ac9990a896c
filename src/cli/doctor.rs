//! `lethe doctor`: looks at a store's configuration and machine, and says what to change. Changes nothing.
//!
//! Each check is one function from what was read to findings; [`run`] lists them all and fails if one does.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{
    failure::{Failure, LOCAL},
    output::Output,
};
use crate::{
    config::{Config, Custody},
    domain::{Clock, SystemClock, Timestamp},
    server::{
        self, ServerError,
        rooms::{self, CustodyError, Description},
    },
};

/// `lethe doctor --dir D`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// As it should be.
    Good,
    /// It works, and is worth less than it could be.
    Warning,
    /// It must be changed.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    verdict: Verdict,
    what: &'static str,
    detail: String,
    change: Option<String>,
}

impl Finding {
    fn good(what: &'static str, detail: impl Into<String>) -> Self {
        Self { verdict: Verdict::Good, what, detail: detail.into(), change: None }
    }

    fn warning(what: &'static str, detail: impl Into<String>, change: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, what, detail: detail.into(), change: Some(change.into()) }
    }

    fn bad(what: &'static str, detail: impl Into<String>, change: impl Into<String>) -> Self {
        Self { verdict: Verdict::Bad, what, detail: detail.into(), change: Some(change.into()) }
    }
}

pub(crate) fn run(args: &Args, out: &mut Output) -> Result<(), Failure> {
    let findings = match Config::load(&args.dir) {
        Ok(config) => {
            let mut findings = vec![Finding::good("configuration", config.dir.join(crate::config::FILE_NAME).display().to_string())];
            findings.extend(permissions(&config));
            findings.extend(loaded(&config));
            findings.extend(custody(&config));
            findings.extend(mirror(&config));
            findings.extend(copies(&config));
            findings.push(clock(&config, SystemClock.now()));
            findings.extend(disks(&config));
            findings.extend(limits());
            findings.push(threads(&config));
            findings.push(swap(&fs::read_to_string("/proc/swaps").unwrap_or_default()));
            findings
        }
        Err(error) => vec![Finding::bad("configuration", error.to_string(), "correct lethe.toml, or name the store directory with --dir")],
    };
    for finding in &findings {
        let word = match finding.verdict {
            Verdict::Good => "good",
            Verdict::Warning => "warning",
            Verdict::Bad => "bad",
        };
        let advice = finding.change.as_ref().map(|change| format!("\n         {change}")).unwrap_or_default();
        out.say(
            &format!("{word:<7}  {}: {}{advice}", finding.what, finding.detail),
            &json!({ "verdict": word, "check": finding.what, "detail": finding.detail, "change": finding.change }),
        )?;
    }
    out.flush()?;
    if findings.iter().any(|finding| finding.verdict == Verdict::Bad) { Err(Failure::Reported(LOCAL)) } else { Ok(()) }
}

/// Secrets are for their owner alone; nobody else may change what the server reads.
fn permissions(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let owner = fs::metadata(&config.dir).map(|found| found.uid());
    let mut secrets = vec![config.paths.signing_key_file.clone()];
    secrets.extend(config.server.tls_key_file.clone());
    // The operator may have taken the token elsewhere; that is better still.
    secrets.extend(Some(config.operator_token_file()).filter(|path| path.exists()));
    for path in secrets {
        let shown = path.display();
        findings.push(match fs::symlink_metadata(&path) {
            Err(error) => Finding::bad("permissions", format!("{shown}: {error}"), "put it back, or correct its path in lethe.toml"),
            Ok(found) if found.mode() & 0o077 != 0 => Finding::bad(
                "permissions",
                format!("{shown}: others may use it (mode {:04o})", found.mode() & 0o7777),
                format!("chmod 0600 {shown}"),
            ),
            Ok(found) if owner.as_ref().is_ok_and(|owner| *owner != found.uid()) => Finding::bad(
                "permissions",
                format!("{shown}: another user than the store directory's owns it"),
                format!("chown --reference={} {shown}", config.dir.display()),
            ),
            Ok(_) => Finding::good("permissions", format!("{shown}: its owner's alone")),
        });
    }
    let mut dirs = vec![config.dir.clone(), config.paths.mirror_dir.clone()];
    dirs.extend(config.custody.iter().filter_map(|Custody::File { path }| path.parent().map(Path::to_path_buf)));
    for path in dirs {
        if fs::metadata(&path).is_ok_and(|found| found.mode() & 0o022 != 0) {
            let shown = path.display();
            findings.push(Finding::bad("permissions", format!("{shown}: others may put files there"), format!("chmod go-w {shown}")));
        }
    }
    findings
}

/// What a start loads before it opens the store, by the start's own functions.
fn loaded(config: &Config) -> Vec<Finding> {
    let judge = |(what, examined): (&'static str, Result<String, ServerError>)| match examined {
        Ok(detail) => Finding::good(what, detail),
        Err(error) => Finding::bad(what, error.to_string(), "a start refuses it: put the right file there, or correct lethe.toml"),
    };
    server::examine(config).into_iter().map(judge).collect()
}

/// Each component is private to the server's user, and lies where overwriting it is worth something: the level that every
/// certificate will name.
fn custody(config: &Config) -> Vec<Finding> {
    let judge = |(path, examined): (&Path, Result<Description, CustodyError>)| match examined {
        Ok(found) => judge_custody(&found),
        Err(error) => Finding::bad(
            "custody",
            format!("{}: {error}", path.display()),
            format!(
                "it must be the file that init made, of mode 0600, with one link, owned by who owns {}; lose it and everything is lost",
                config.dir.display()
            ),
        ),
    };
    rooms::examine_custody(config).into_iter().map(judge).collect()
}

fn judge_custody(found: &Description) -> Finding {
    let detail = format!("{}: level {} ({})", found.place, found.level.as_str(), found.evidence.join(" "));
    let has = |word: &str| found.evidence.iter().any(|known| known == word);
    if has("file-system=tmpfs") {
        Finding::warning("custody", detail, "it is in memory: the next boot loses it, and with it every record; put it on a disk")
    } else if has("same-volume-as-data=yes") {
        Finding::warning(
            "custody",
            detail,
            "an image of the volume holds both; give custody a small one that no backup and no snapshot reaches",
        )
    } else if found.level.is_lowered() {
        Finding::warning(
            "custody",
            detail,
            "the old root may stay where it was; put custody on a local ext4 or xfs without data journalling",
        )
    } else {
        Finding::good("custody", detail)
    }
}

/// The mirror is worth most on a medium of its own.
fn mirror(config: &Config) -> Option<Finding> {
    let device = |path: &Path| fs::metadata(path).ok().map(|found| found.dev());
    let mirror = device(&config.paths.mirror_dir)?;
    (device(&config.dir) == Some(mirror)).then(|| {
        Finding::warning(
            "mirror",
            format!(
                "{} is on the volume of the control store: losing it loses both, and with them every record",
                config.paths.mirror_dir.display()
            ),
            "set paths.mirror_dir to another disk",
        )
    })
}

/// Further copies of the control store are there, level with the mirror, and on media of their own.
fn copies(config: &Config) -> Vec<Finding> {
    let device = |path: &Path| fs::metadata(path).ok().map(|found| found.dev());
    let ours = [device(&config.dir), device(&config.paths.mirror_dir)];
    let judge = |examined: server::copies::Examined<'_>| {
        let shown = examined.copy.dir.display();
        match examined.standing {
            Err(error) => {
                Finding::bad("copies", error, format!("mount the disk of {shown}, or begin the copy: lethe control ship --to {shown}"))
            }
            Ok((copy, mirror)) if copy > mirror => Finding::bad(
                "copies",
                format!("{shown} is at {copy}, the mirror at {mirror}: an old copy of control store and mirror was put back"),
                format!("lethe recover control --from {shown}"),
            ),
            Ok((copy, mirror)) if copy < mirror => Finding::warning(
                "copies",
                format!("{shown} is at {copy}, the mirror at {mirror}"),
                "if that stays so, see why in the server's log, or run lethe control ship",
            ),
            Ok(_) if ours.contains(&device(&examined.copy.dir)) => Finding::warning(
                "copies",
                format!("{shown} is on the volume of the control store or of its mirror: losing it loses both"),
                "name a directory on another disk in control.copies",
            ),
            Ok((copy, _)) => Finding::good("copies", format!("{shown} is at {copy}, as the mirror is")),
        }
    };
    server::copies::examine(config).into_iter().map(judge).collect()
}

/// A clock before the store's own files would make tokens and retention wrong.
fn clock(config: &Config, now: Timestamp) -> Finding {
    let secs = now.0.div_euclid(1_000);
    let newest = [config.dir.clone(), config.control_dir(), config.data_dir()]
        .iter()
        .filter_map(|dir| fs::read_dir(dir).ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.metadata().ok().map(|found| found.mtime()))
        .max();
    match newest {
        Some(newest) if newest > secs.saturating_add(60) => Finding::bad(
            "clock",
            format!("{} s behind the store's newest file", newest.saturating_sub(secs)),
            "set the clock, and keep it with NTP",
        ),
        Some(_) | None => Finding::good("clock", now.to_rfc3339()),
    }
}

/// Free space where things are written.
fn disks(config: &Config) -> Vec<Finding> {
    [("data", config.data_dir()), ("control", config.control_dir()), ("mirror", config.paths.mirror_dir.clone())]
        .into_iter()
        .map(|(name, path)| match rustix::fs::statvfs(&path) {
            Ok(found) => {
                let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
                judge_disk(name, bytes(found.f_bavail), bytes(found.f_blocks), config.store.reserve_len_bytes)
            }
            Err(_) => {
                Finding::bad("disk", format!("{name}: {} is not there", path.display()), "start the server once, or put the directory back")
            }
        })
        .collect()
}

fn judge_disk(name: &str, free: u64, total: u64, reserve: u64) -> Finding {
    let mib = |bytes: u64| bytes / 1_048_576;
    let detail = format!("{name}: {} of {} MiB free", mib(free), mib(total));
    if free < reserve {
        Finding::bad("disk", detail, format!("make room: less than the reserve of {} MiB is left", mib(reserve)))
    } else if free < total / 10 {
        Finding::warning("disk", detail, "make room: less than a tenth is left")
    } else {
        Finding::good("disk", detail)
    }
}

/// What the kernel allows this process.
fn limits() -> [Finding; 2] {
    use rustix::process::{Resource, getrlimit};
    let current = |resource| getrlimit(resource).current;
    [
        judge_limit("memlock", current(Resource::Memlock), 40 * 1_048_576, "keys may be swapped out: raise it (systemd: LimitMEMLOCK=64M)"),
        judge_limit("nofile", current(Resource::Nofile), 16_384, "connections may be refused: raise it (systemd: LimitNOFILE=65536)"),
    ]
}

fn judge_limit(name: &str, current: Option<u64>, wanted: u64, change: &str) -> Finding {
    match current {
        None => Finding::good("limits", format!("{name}: unlimited")),
        Some(current) if current >= wanted => Finding::good("limits", format!("{name}: {current}")),
        Some(current) => Finding::warning("limits", format!("{name}: {current}, {wanted} would be better"), change),
    }
}

/// Threads that serve requests, against the cores there are.
fn threads(config: &Config) -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let detail = format!("{} for {cores} cores", config.worker_threads());
    match config.server.worker_threads {
        Some(set) if set < cores => {
            Finding::warning("threads", detail, "cores stay unused: raise server.worker_threads, or leave it out for one a core")
        }
        Some(_) | None => Finding::good("threads", detail),
    }
}

/// Swap may hold plaintext and keys that could not be locked.
fn swap(table: &str) -> Finding {
    let on_disk: Vec<&str> =
        table.lines().skip(1).filter_map(|line| line.split_whitespace().next()).filter(|device| !device.contains("zram")).collect();
    if on_disk.is_empty() {
        return Finding::good("swap", "none on disk");
    }
    Finding::warning(
        "swap",
        format!("{} may hold values and keys", on_disk.join(", ")),
        "switch it off, or encrypt it with a key made at each boot",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::{
        domain::StoreId,
        vault::keys::{FileCustody, Level},
    };

    fn store() -> (tempfile::TempDir, Config) {
        let top = tempfile::tempdir().unwrap();
        for dir in ["s/control", "s/data", "s-mirror", "s-custody"] {
            fs::create_dir_all(top.path().join(dir)).unwrap();
        }
        fs::write(top.path().join("s/signing.key"), "x").unwrap();
        fs::set_permissions(top.path().join("s/signing.key"), fs::Permissions::from_mode(0o600)).unwrap();
        FileCustody::create(&top.path().join("s-custody/root"), StoreId([1; 16])).unwrap();
        let text = "[paths]\nmirror_dir = \"../s-mirror\"\n[[custody]]\nkind = \"file\"\npath = \"../s-custody/root\"\n";
        let config = Config::parse(text, &top.path().join("s")).unwrap();
        (top, config)
    }

    fn bad(findings: &[Finding]) -> Vec<&Finding> {
        findings.iter().filter(|finding| finding.verdict == Verdict::Bad).collect()
    }

    #[test]
    fn a_secret_that_others_may_read_is_told_with_the_command_that_mends_it() {
        let (_top, config) = store();
        assert_eq!(bad(&permissions(&config)), Vec::<&Finding>::new());
        fs::set_permissions(&config.paths.signing_key_file, fs::Permissions::from_mode(0o640)).unwrap();
        let findings = permissions(&config);
        assert!(bad(&findings)[0].change.as_deref().unwrap().starts_with("chmod 0600 "));
        fs::remove_file(&config.paths.signing_key_file).unwrap();
        assert_eq!(bad(&permissions(&config)).len(), 1);
        fs::set_permissions(&config.dir, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(bad(&permissions(&config)).len(), 2);
    }

    /// What a start would refuse is not good: in each case the same text that it ends with.
    #[test]
    fn what_a_start_would_refuse_to_load_is_bad() {
        let (top, mut config) = store();
        let at = |name: &str| top.path().join(name);
        let signer = crate::vault::audit::note::Signer::make("lethe/test").unwrap();
        fs::write(&config.paths.signing_key_file, signer.danger_to_text().as_bytes()).unwrap();
        let write = |name: &str| {
            let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
            fs::write(at(&format!("{name}.pem")), made.cert.pem()).unwrap();
            fs::write(at(&format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
        };
        write("one");
        write("other");
        fs::write(at("nothing"), "nothing").unwrap();
        let told = |config: &Config| bad(&loaded(config)).iter().map(|finding| (finding.what, finding.detail.clone())).collect::<Vec<_>>();
        assert_eq!(told(&config), [], "plain");
        for (chain, key, reason) in [
            ("one.pem", "one.key", None),
            ("one.pem", "other.key", Some("does not belong")),
            ("nothing", "one.key", Some("no PEM certificate chain")),
            ("one.pem", "nothing", Some("no PEM private key")),
            ("no-such-file", "one.key", Some("cannot read")),
        ] {
            (config.server.tls_cert_file, config.server.tls_key_file) = (Some(at(chain)), Some(at(key)));
            let found = told(&config);
            assert_eq!(found.len(), usize::from(reason.is_some()), "{chain} {key}: {found:?}");
            assert!(found.iter().all(|(what, detail)| *what == "TLS" && detail.contains(reason.unwrap())), "{found:?}");
        }
        (config.server.tls_cert_file, config.server.tls_key_file) = (None, None);
        for text in ["x", ""] {
            fs::write(&config.paths.signing_key_file, text).unwrap();
            let found = told(&config);
            assert!(found.len() == 1 && found[0].0 == "signing key", "{text:?}: {found:?}");
        }
        fs::write(&config.paths.signing_key_file, signer.danger_to_text().as_bytes()).unwrap();
        config.log.level = "lethe=loud".into();
        let found = told(&config);
        assert!(found.len() == 1 && found[0].0 == "log", "{found:?}");
    }

    #[test]
    fn custody_and_mirror_on_the_datas_volume_are_warned_of() {
        let (_top, config) = store();
        assert_eq!(mirror(&config).unwrap().verdict, Verdict::Warning);
        let findings = custody(&config);
        assert_eq!((findings.len(), findings[0].verdict), (1, Verdict::Warning), "{findings:?}");
        assert!(findings[0].detail.contains("same-volume-as-data=yes"), "{findings:?}");
    }

    #[test]
    fn the_level_of_custody_is_told_with_its_evidence() {
        let (_top, mut config) = store();
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = memory.path().join("root");
        FileCustody::create(&path, StoreId([1; 16])).unwrap();
        config.custody = vec![Custody::File { path }];
        let apart = &custody(&config)[0];
        let told = "level interface (file-system=tmpfs rotational=unknown same-volume-as-data=no)";
        assert!(apart.detail.contains(told), "{apart:?}");
        assert!(apart.change.as_deref().is_some_and(|change| change.contains("next boot")), "{apart:?}");
    }

    #[test]
    fn a_good_medium_is_good_and_one_that_keeps_old_bytes_is_warned_of() {
        let of = |level, file_system: &str| {
            let evidence = vec![format!("file-system={file_system}"), "same-volume-as-data=no".to_owned()];
            judge_custody(&Description { kind: "file", place: "/c/root".into(), level, evidence })
        };
        assert_eq!(of(Level::Medium, "ext").verdict, Verdict::Good);
        assert_eq!(of(Level::Interface, "xfs").verdict, Verdict::Good);
        let kept = of(Level::Logical, "overlay");
        assert_eq!(kept.verdict, Verdict::Warning);
        assert!(kept.detail.contains("level logical (file-system=overlay"), "{kept:?}");
    }

    #[test]
    fn custody_that_a_start_would_refuse_is_bad() {
        let (top, config) = store();
        let (path, link) = (top.path().join("s-custody/root"), top.path().join("link"));
        let told = |config: &Config| custody(config).remove(0);
        fs::hard_link(&path, &link).unwrap();
        assert!(told(&config).verdict == Verdict::Bad && told(&config).detail.contains("one link"), "{:?}", told(&config));
        fs::remove_file(&link).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(told(&config).verdict == Verdict::Bad && told(&config).detail.contains("0600"), "{:?}", told(&config));
        fs::remove_file(&path).unwrap();
        assert!(told(&config).verdict == Verdict::Bad && told(&config).detail.contains("missing"), "{:?}", told(&config));
    }

    #[test]
    fn threads_fewer_than_cores_are_warned_of() {
        let (_top, mut config) = store();
        assert_eq!(threads(&config).verdict, Verdict::Good);
        config.server.worker_threads = Some(0);
        assert_eq!(threads(&config).verdict, Verdict::Warning);
    }

    #[test]
    fn a_clock_behind_the_stores_files_is_bad() {
        let (_top, config) = store();
        let now = SystemClock.now();
        assert_eq!(clock(&config, now).verdict, Verdict::Good);
        assert_eq!(clock(&config, Timestamp(now.0 - 3_600_000)).verdict, Verdict::Bad);
    }

    #[test]
    fn space_limits_and_swap_are_judged_by_what_the_server_needs() {
        assert_eq!(judge_disk("data", 10, 100, 20).verdict, Verdict::Bad);
        assert_eq!(judge_disk("data", 9, 100, 5).verdict, Verdict::Warning);
        assert_eq!(judge_disk("data", 50, 100, 5).verdict, Verdict::Good);
        assert_eq!(judge_limit("memlock", Some(65_536), 8 << 20, "").verdict, Verdict::Warning);
        assert_eq!(judge_limit("memlock", None, 8 << 20, "").verdict, Verdict::Good);
        let head = "Filename\tType\tSize\tUsed\tPriority\n";
        assert_eq!(swap(head).verdict, Verdict::Good);
        assert_eq!(swap(&format!("{head}/dev/zram0 partition 1 0 1\n")).verdict, Verdict::Good);
        assert_eq!(swap(&format!("{head}/swapfile file 1 0 -2\n")).verdict, Verdict::Warning);
    }
}

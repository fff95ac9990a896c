//! A lost part of a store made anew from what holds it too, offline: the control store from its mirror, the mirror from
//! control, the log from its journal. What is there is moved aside, never written over. And a lost operator's token replaced.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    copies::refuse_stale,
    rooms::{self, RoomError, engine, read_signer, write_new},
};
use crate::{
    config::Config,
    domain::Clock,
    vault::{
        audit::{journal, known_log_head, log_head_key, tlog::Log},
        store::{
            Space,
            embedded::{Embedded, EmbeddedOptions, Standing, mirror},
            schema,
        },
    },
};

/// What can be made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The control store.
    Control,
    /// Its mirror.
    Mirror,
    /// The log of certificates.
    Log,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Rows of the control store, commits of the mirror, entries of the log.
    pub count: u64,
    /// The last commit of the control store that it has, of a control store or a mirror.
    pub control_seq: Option<u64>,
    /// Where the old part lies now, if there was one.
    pub moved_to: Option<PathBuf>,
}

/// The engine with a further copy in the place of its mirror, where one is named.
fn engine_of(config: &Config, from: Option<&Path>) -> EmbeddedOptions {
    let options = engine(config);
    let mirror_dir = from.map_or_else(|| options.mirror_dir.clone(), Path::to_owned);
    EmbeddedOptions { mirror_dir, ..options }
}

/// The log's journal, of a further copy where one is named.
fn journal_of(config: &Config, from: Option<&Path>) -> PathBuf {
    from.map_or_else(|| config.log_journal(), |dir| dir.join(journal::follow::NAME))
}

/// Why a part should not be made anew without a second thought, from the mirror or from a further copy of it; `None` if nothing speaks
/// against it.
///
/// # Errors
/// [`RoomError`]: it cannot be made anew; from a copy whose root is destroyed by no means.
pub fn doubt(config: &Config, part: Part, from: Option<&Path>) -> Result<Option<String>, RoomError> {
    let Standing { control, mirror, data } = Embedded::standing(&engine_of(config, from))?;
    Ok(match part {
        Part::Control => {
            if let Some(dir) = from {
                refuse_stale(config, dir)?;
                if let (Some(copy), Some(whole)) = (mirror, Embedded::standing(&engine(config))?.mirror)
                    && whole >= copy
                {
                    return Ok(Some(format!(
                        "the mirror is whole, is at {whole}, and the copy at {copy}: recover from the mirror, without --from"
                    )));
                }
            }
            let name = if from.is_some() { "copy" } else { "mirror" };
            match (control, mirror, data) {
                (Some(control), Some(mirror), _) if control >= mirror => {
                    Some(format!("the control store opens, is at {control}, and its {name} at {mirror}: there is nothing to recover"))
                }
                (_, Some(mirror), Some(data)) if mirror < data => {
                    Some(format!("the {name} is at {mirror}, the data store has seen {data}: this {name} is an old copy, find today's"))
                }
                _ => None,
            }
        }
        Part::Mirror => match (control, mirror) {
            (Some(control), Some(mirror)) if mirror > control => {
                Some(format!("the mirror is whole, is at {mirror}, and the control store at {control}: recover the control store"))
            }
            (Some(_), Some(mirror)) => Some(format!("the mirror is whole and is at {mirror}: there is nothing to recover")),
            _ => None,
        },
        Part::Log => {
            let (dir, signer, known) = (config.log_dir(), read_signer(config)?, log_head(config, from)?);
            // A copy's journal is only read.
            let opened = match from {
                None => Log::open_with_journal(&dir, &config.log_journal(), signer, known),
                Some(_) => Log::open(&dir, signer, known),
            };
            let told = |log: Log| format!("the log is there and has {} entries: there is nothing to recover", log.head().size);
            opened.ok().map(told)
        }
    })
}

/// Makes a part anew, from the mirror or from a further copy of it.
///
/// # Errors
/// [`RoomError`]: what was there is as it was, or lies aside.
pub fn recover(config: &Config, part: Part, from: Option<&Path>) -> Result<Recovered, RoomError> {
    let options = engine_of(config, from);
    Ok(match part {
        Part::Control => {
            from.map_or(Ok(()), |dir| refuse_stale(config, dir))?;
            let rebuilt = Embedded::rebuild_control_from_mirror(&options)?;
            let count = u64::try_from(rebuilt.rows).unwrap_or(u64::MAX);
            Recovered { count, control_seq: Some(rebuilt.control_seq), moved_to: rebuilt.moved_to }
        }
        Part::Mirror => {
            let rebuilt = Embedded::rebuild_mirror_from_control(&options)?;
            Recovered { count: rebuilt.control_seq, control_seq: Some(rebuilt.control_seq), moved_to: rebuilt.moved_to }
        }
        Part::Log => {
            let known = log_head(config, from)?;
            let _hold = Embedded::hold(&options)?;
            let rebuilt = journal::rebuild(&config.log_dir(), &journal_of(config, from), read_signer(config)?, known)?;
            Recovered { count: rebuilt.size, control_seq: None, moved_to: rebuilt.moved_to }
        }
    })
}

/// Cuts the log's journal behind the leaves that the mirror's control store knows of, or keeps for the log. Of a copy of both that is made
/// beside a server the journal is never behind, and may have gone on.
pub(super) fn cut_journal(config: &Config) -> Result<(), RoomError> {
    let (head, outbox) = (log_head_key(), schema::table(schema::Table::LogOutbox));
    let rows = mirror::restore_some(&config.paths.mirror_dir, |space, key| {
        space == Space::Control && (&head[..] == key || (&outbox.from[..] <= key && key < &outbox.to[..]))
    })?;
    let mut rows = rows.rows;
    let known = known_log_head(rows.remove(&(Space::Control, head.clone())).as_ref())?;
    let kept: HashSet<[u8; 32]> = rows.keys().filter_map(|(_, key)| key.last_chunk::<32>().copied()).collect();
    Ok(journal::cut(&config.log_journal(), known.map_or(0, |(size, _)| size), |hash| kept.contains(hash))?)
}

/// Revokes every operator's token and puts a new one in the place of `operator.token`; tells how many were revoked. Cut short
/// at any point, it is run again.
///
/// # Errors
/// [`RoomError`]: the old tokens hold and the file is as it was, unless it says that the new one lies beside it.
pub async fn replace_operator(config: &Config, clock: Arc<dyn Clock>) -> Result<usize, RoomError> {
    let path = config.operator_token_file();
    let fresh = path.with_added_extension("new");
    let at = |source| RoomError::File { path: fresh.clone(), source };
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let rooms = rooms::open(config, clock, tasks.clone(), stop.clone(), false).await?;
    let keep = |text: &str| {
        // Of a run that was cut short; nobody else writes here while the store is locked.
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(at(error)),
            Ok(()) | Err(_) => {}
        }
        write_new(&fresh, 0o600, format!("{text}\n").as_bytes())
    };
    let replaced = rooms.vault.replace_operators(keep).await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    rooms.store.close();
    let revoked = replaced?;
    std::fs::rename(&fresh, &path).and_then(|()| std::fs::File::open(&config.dir)?.sync_all()).map_err(at)?;
    Ok(revoked)
}

/// The log's head as the control store knows it: read from the mirror, its equal, or from a copy of it, which need nothing to be opened.
fn log_head(config: &Config, from: Option<&Path>) -> Result<Option<(u64, [u8; 32])>, RoomError> {
    let rows = mirror::restore(from.unwrap_or(&config.paths.mirror_dir))?.rows;
    Ok(known_log_head(rows.get(&(Space::Control, log_head_key())))?)
}

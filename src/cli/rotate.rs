//! `lethe rotate`: ends an epoch without a shred: a fresh root, the old one destroyed. The server must be stopped.

use std::{path::PathBuf, sync::Arc};

use serde_json::json;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{failure::Failure, output::Output};
use crate::{
    authn::PresentedToken,
    config::Config,
    domain::SystemClock,
    server::rooms::{self, Rooms},
    vault::ops::{Caller, Vault},
};

/// `lethe rotate --dir D`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The operator's token; operator.token of the store directory where left out.
    #[arg(long, value_name = "FILE")]
    operator_token: Option<PathBuf>,
    /// The keys are those of the demonstration.
    #[arg(long)]
    demo: bool,
}

pub(crate) async fn run(args: Args, out: &mut Output) -> Result<(), Failure> {
    let config = Config::load(&args.dir).map_err(|error| Failure::local(error.to_string()))?;
    let path = args.operator_token.unwrap_or_else(|| config.operator_token_file());
    let token = std::fs::read_to_string(&path).map_err(|error| Failure::file(&path, &error))?;
    let token = PresentedToken::parse(token.trim()).map_err(|_| Failure::local(format!("{}: not a token", path.display())))?;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let rooms = rooms::open(&config, Arc::new(SystemClock), tasks.clone(), stop.clone(), args.demo)
        .await
        .map_err(|error| Failure::local(error.to_string()))?;
    let rotated = rotate(&rooms, &token).await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    rooms.store.close();
    let (old, new) = rotated?;
    out.say(&format!("epoch {old} is over, its root destroyed; this is epoch {new}"), &json!({ "old": old, "new": new }))
}

async fn rotate(rooms: &Rooms, token: &PresentedToken) -> Result<(u64, u64), Failure> {
    let request = Vault::make_request_id();
    let local = |error: crate::vault::ops::VaultError| Failure::local(error.to_string());
    let principal = rooms.vault.authenticate(token, request).await.map_err(local)?;
    rooms.vault.rotate(&Caller::new(principal, request, None)).await.map_err(local)
}

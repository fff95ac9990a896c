//! `lethe serve`: serves a store until SIGTERM, and says where it listens in one line on standard output.

use std::{net::SocketAddr, path::PathBuf};

use serde_json::json;

use super::{failure::Failure, output::Output};
use crate::{
    config::Config,
    server::{self, Start},
};

/// `lethe serve --dir D`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Listen here instead of `server.listen`; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Serve although the keys are those of the demonstration, which the whole world has.
    #[arg(long)]
    demo: bool,
}

impl Args {
    /// The settings to serve with.
    pub(super) fn config(&self) -> Result<Config, Failure> {
        let mut config = Config::load(&self.dir).map_err(|error| Failure::local(error.to_string()))?;
        if let Some(listen) = self.listen {
            config.check_listen(listen).map_err(|error| Failure::local(error.to_string()))?;
            config.server.listen = listen;
        }
        Ok(config)
    }
}

pub(crate) async fn run(args: Args, config: Option<Config>, out: &mut Output) -> Result<(), Failure> {
    let config = config.map_or_else(|| args.config(), Ok)?;
    let server = server::start(config, Start { demo: args.demo }).await.map_err(|error| Failure::local(error.to_string()))?;
    out.say(&format!("listening on {}", server.url()), &json!({ "listening": server.url() }))?;
    out.flush()?;
    server.wait().await.map_err(|error| Failure::local(error.to_string()))
}

//! `lethe tenant`: create, list, show, policy, suspend, resume, terminate, cancel-termination, states. Shredding a tenant at once is
//! `lethe shred tenant`.

use std::{
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::PathBuf,
};

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    confirm::{confirm, confirm_that},
    connection::{Client, Connection, make_idempotency_key, patiently_once_there},
    failure::Failure,
    output::{Format, Output},
};

/// What to do with tenants.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Create a tenant; prints its first owner's token, which is shown only once.
    Create {
        /// Lower-case letters, digits, '-', '_', '.'; never to be used again once shredded.
        name: String,
        /// A write to an unknown collection makes it, with the default policy, instead of being refused.
        #[arg(long)]
        create_collections_on_write: bool,
        /// Write the owner's token to this new file (mode 0600) instead of printing it.
        #[arg(long, value_name = "FILE")]
        save_token: Option<PathBuf>,
        /// Ask again for an answer that was lost, with the key that was told then: an owner's token that nobody used is replaced.
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
    },
    /// List tenants.
    Ls,
    /// Show one tenant; one that is ordered to end with what remains then, to its owners, auditors and erasers.
    Show {
        /// Which.
        name: String,
    },
    /// Stop a tenant: no data of it is read or written until it is resumed. With the operator's token.
    Suspend {
        /// Which.
        name: String,
        /// Why: one line, for the record.
        #[arg(long)]
        reason: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Let a suspended tenant go on. With the operator's token.
    Resume {
        /// Which.
        name: String,
        /// Why: one line, for the record.
        #[arg(long)]
        reason: String,
    },
    /// Order a tenant's end: nobody writes from then on, owners alone read, and after the grace it is shredded. With an owner's token.
    Terminate {
        /// Which.
        name: String,
        /// How long it can be taken back: at most 42d; 0d ends it at once.
        #[arg(long, value_name = "PERIOD", default_value = "30d")]
        grace: String,
        /// Why: one line, for the record.
        #[arg(long)]
        reason: Option<String>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Take back the order to end a tenant, while its grace lasts. With an owner's token.
    CancelTermination {
        /// Which.
        name: String,
        /// Why: one line, for the record.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Show a tenant's steps from one state to another: who took each, when and why.
    States {
        /// Which.
        name: String,
    },
    /// Show or set what takes two persons in a tenant. What is set is the whole: what is not given takes one. Tighter holds at once, looser
    /// waits for a second owner.
    Policy(PolicyArgs),
}

/// What takes two persons in a tenant.
#[derive(Debug, clap::Args)]
pub(crate) struct PolicyArgs {
    /// Which tenant.
    name: String,
    /// Orders to shred this take two persons, and all that take more along: tenant, collection, subject, record.
    #[arg(long, value_name = "SCOPE", value_parser = ["tenant", "collection", "subject", "record"])]
    shred: Option<String>,
    /// The release of legal holds takes two counsels.
    #[arg(long)]
    release_hold: bool,
    /// How long a request waits, and as long must a token have been there before it counts as a second person; 7d, otherwise.
    #[arg(long, value_name = "PERIOD")]
    window: Option<String>,
    /// One person is enough for everything.
    #[arg(long, conflicts_with_all = ["shred", "release_hold", "window"])]
    one_person: bool,
}

pub(crate) async fn run(command: Command, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    let client = connection.client()?;
    match command {
        Command::Create { name, create_collections_on_write, save_token, idempotency_key } => {
            let file = save_token.as_deref().map(NewSecretFile::create).transpose()?;
            let body = json!({ "tenant": name, "create_collections_on_write": create_collections_on_write });
            let key = idempotency_key.unwrap_or_else(make_idempotency_key);
            // The name is never free again, and only this answer has the owner's token: it is asked for until it comes.
            let mut sent = false;
            let ask = async || {
                let request = client.request(Method::POST, &["v1", "tenants"])?.header("idempotency-key", &key).json(&body);
                let answer = client.json(request).await;
                sent |= !matches!(answer, Err(Failure::NotThere(_)));
                answer
            };
            let answer = patiently_once_there(ask).await;
            if sent && answer.as_ref().is_err_and(Failure::is_of_no_answer) {
                super::output::note(&format!("the tenant may have been made: ask again with --idempotency-key {key}"));
            }
            show_token(answer, file, "the owner's token, shown only this once", out)
        }
        Command::Ls => {
            let rows = client.pages(|cursor| client.get(&["v1", "tenants"], &[("cursor", cursor)]), usize::MAX).await?;
            out.rows(&["tenant", "state", "created_at"], &rows)
        }
        Command::Show { name } => {
            let shown = client.json(client.request(Method::GET, &["v1", "tenants", &name])?).await?;
            if shown.get("ends_at").is_none_or(Value::is_null) {
                return out.document(&shown);
            }
            match client.json(client.request(Method::GET, &["v1", "tenants", &name, "termination"])?).await {
                // It has all that the tenant's own has.
                Ok(ending) => out.document(&ending),
                // Not everybody who may know of a tenant may know what remains of it.
                Err(Failure::Refused(_)) => out.document(&shown),
                Err(failure) => Err(failure),
            }
        }
        Command::Suspend { name, reason, yes } => {
            confirm_that(&format!("stops tenant {name}: no data of it is read or written until it is resumed"), &name, yes)?;
            out.document(&client.change(&["v1", "tenants", &name, "suspend"], Some(&json!({ "reason": reason }))).await?)
        }
        Command::Resume { name, reason } => {
            out.document(&client.change(&["v1", "tenants", &name, "resume"], Some(&json!({ "reason": reason }))).await?)
        }
        Command::Terminate { name, grace, reason, yes } => {
            let what = format!("ends tenant {name}: nobody writes any more, and it is shredded when {grace} are over");
            if grace == "0d" { confirm(&what, &name, yes) } else { confirm_that(&what, &name, yes) }?;
            let body = json!({ "confirm": name, "grace": grace, "reason": reason });
            let ordered = client.change(&["v1", "tenants", &name, "termination"], Some(&body)).await?;
            super::approval::note_if_asked(&ordered);
            out.document(&ordered)
        }
        Command::CancelTermination { name, reason } => {
            out.document(&client.change(&["v1", "tenants", &name, "termination", "cancel"], Some(&json!({ "reason": reason }))).await?)
        }
        Command::States { name } => {
            let page = |cursor: Option<&str>| client.get(&["v1", "tenants", &name, "states"], &[("cursor", cursor)]);
            let rows = client.pages(page, usize::MAX).await?;
            out.rows(&["at", "step", "from", "to", "role", "by", "reason"], &rows)
        }
        Command::Policy(args) => policy(&args, &client, out).await,
    }
}

async fn policy(args: &PolicyArgs, client: &Client, out: &mut Output) -> Result<(), Failure> {
    let PolicyArgs { name, shred, release_hold, window, one_person } = args;
    let path = ["v1", "tenants", name, "policy"];
    if shred.is_none() && !release_hold && window.is_none() && !one_person {
        return out.document(&client.json(client.request(Method::GET, &path)?).await?);
    }
    let mut approvals = json!({ "shred": shred.iter().collect::<Vec<_>>(), "release_hold": release_hold });
    if let (Some(window), Some(fields)) = (window, approvals.as_object_mut()) {
        fields.insert("window".to_owned(), json!(window));
    }
    let (body, key) = (json!({ "approvals": approvals }), make_idempotency_key());
    let ask = async || client.json(client.request(Method::PUT, &path)?.header("idempotency-key", &key).json(&body)).await;
    let answer = patiently_once_there(ask).await?;
    super::approval::note_if_asked(&answer);
    out.document(&answer)
}

/// A file for a secret, made before the secret is asked for: a token that cannot be kept is not created.
pub(crate) struct NewSecretFile {
    path: PathBuf,
    file: std::fs::File,
}

impl NewSecretFile {
    /// A new, empty file that only its owner may read; an existing one is refused.
    pub(crate) fn create(path: &std::path::Path) -> Result<Self, Failure> {
        let file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| Failure::file(path, &error))?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// The same; an empty one is what is left where this was broken off before, and is taken up again. Only for a secret that is the same,
    /// or takes the place of what was asked for before.
    pub(crate) fn take_up(path: &std::path::Path) -> Result<Self, Failure> {
        if !std::fs::metadata(path).is_ok_and(|left| left.is_file() && left.len() == 0) {
            return Self::create(path);
        }
        let file = std::fs::OpenOptions::new().write(true).open(path).map_err(|error| Failure::file(path, &error))?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(|error| Failure::file(path, &error))?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    pub(crate) fn fill(&mut self, secret: &str) -> Result<(), Failure> {
        self.file
            .write_all(format!("{secret}\n").as_bytes())
            .and_then(|()| self.file.sync_all())
            .map_err(|error| Failure::file(&self.path, &error))
    }

    pub(crate) fn abandon(self) {
        // It is ours and holds nothing whole; left behind it would only be in the way.
        drop(std::fs::remove_file(&self.path));
    }
}

/// Prints an answer that holds a token, or keeps the token in its file and prints the rest.
pub(crate) fn show_token(answer: Result<Value, Failure>, file: Option<NewSecretFile>, what: &str, out: &mut Output) -> Result<(), Failure> {
    let (mut answer, file) = match (answer, file) {
        (Ok(answer), file) => (answer, file),
        (Err(failure), file) => {
            if let Some(file) = file {
                file.abandon();
            }
            return Err(failure);
        }
    };
    if let Some(mut file) = file {
        let token = answer.get("token").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Err(failure) = file.fill(&token) {
            // It exists, and nobody will be shown it again: better printed than lost.
            file.abandon();
            super::output::note(&format!("the token could not be kept in its file, and is printed instead: {what}"));
            out.document(&answer)?;
            out.flush()?;
            return Err(failure);
        }
        if let Some(fields) = answer.as_object_mut() {
            fields.remove("token");
            fields.insert("token_file".into(), json!(file.path));
        }
    } else if out.format() == Format::Human {
        super::output::note(what);
    }
    out.document(&answer)
}

#[cfg(test)]
mod tests {
    use super::{super::output::tests::Written, *};

    #[test]
    fn a_token_that_its_file_does_not_take_is_printed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "").unwrap();
        // Opened for reading: as on a full disk, nothing can be written.
        let file = NewSecretFile { path: path.clone(), file: std::fs::File::open(&path).unwrap() };
        let written = Written::default();
        let shown = show_token(Ok(json!({ "tenant": "a", "token": "lethe_x" })), Some(file), "once", &mut written.output(Format::Json));
        assert!(matches!(shown, Err(Failure::Local(_))), "{shown:?}");
        assert_eq!(written.text(), "{\"tenant\":\"a\",\"token\":\"lethe_x\"}\n");
        assert!(!path.exists(), "an empty file is no token's");
    }
}

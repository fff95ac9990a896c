//! `lethe import tenant`: verifies a whole bundle, makes the tenant, and sends the bundle's frames.
//!
//! Nothing is sent before all of it was read once and found whole. The server notes how far it has come: what breaks off, this command
//! or the server, goes on from there with the same command. The new tenant serves nothing until the last frame is there.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_util::stream;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    super::{
        connection::{Client, Connection, bearer, patiently, patiently_once_there},
        failure::Failure,
        log::verifier,
        output::{Format, Output, note},
        tenant::NewSecretFile,
    },
    opened::{Identities, Opened},
};
use crate::{
    domain::{StoreId, TenantNo},
    vault::{
        audit::{
            certificate::Certificate,
            note::Verifier,
            verify::{TrailCheck, TrailReport, Verdict},
        },
        ops::bundle::{
            BundleError, Checker, Frame, Kind, Part, Progress, Way,
            documents::{GrantDoc, Header, HoldDoc, LeftOut, OpenedFrame, RecordDoc, SealedFrame, ThingDoc, Trailer},
        },
    },
};

/// What one request brings, but for a large value, which is not cut.
const REQUEST_LEN: usize = 8 * 1024 * 1024;
/// What is handed on at once.
const PIECE_LEN: usize = 256 * 1024;

/// `lethe import tenant --from acme.age --identity key.txt --owner-token acme-owner.token`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The bundle, as `export tenant` wrote it.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The identity of age that it is sealed for, as `age-keygen` writes it.
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    /// The new tenant's name; that of the old one where left out.
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// Where the new tenant's owner's token is kept (mode 0600); an import that broke off goes on with the one that is there.
    #[arg(long, value_name = "FILE", required_unless_present = "check")]
    owner_token: Option<PathBuf>,
    /// The counsel's identity, where legal holds are sealed for one.
    #[arg(long, value_name = "FILE")]
    counsel_identity: Option<PathBuf>,
    /// The auditor's identity, where records are sealed for one: those that are kept for their legal purpose alone.
    #[arg(long, value_name = "FILE")]
    auditor_identity: Option<PathBuf>,
    /// The public key of the store that it is from, its signing.pub: that store has made it, and its audit trail is whole.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Verify the bundle, and import nothing.
    #[arg(long)]
    check: bool,
}

/// A bundle, and what opens it.
struct Bundle {
    path: PathBuf,
    identities: Identities,
    others: Arc<Others>,
}

/// Who opens what is sealed within a bundle.
struct Others {
    counsel: Option<Identities>,
    auditor: Option<Identities>,
}

impl Others {
    /// Whose a frame of that kind is; `None` for who opens the bundle, or where that one is not here.
    fn of(&self, kind: Kind) -> Option<&Identities> {
        if kind == Kind::SealedHold { self.counsel.as_ref() } else { self.auditor.as_ref().filter(|_| kind.is_sealed()) }
    }
}

/// What was found in a bundle that is whole.
struct Verified {
    header: Header,
    trailer: Trailer,
    grants: Vec<GrantDoc>,
    /// Holds on things without a name, or under a collection that is not there: their ids, and how many such things.
    unnamed: Vec<(String, u64)>,
    /// The trail, where it was held against a key.
    trail: Option<TrailReport>,
}

pub(crate) async fn run(args: Args, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    let key = args.key.as_deref().map(verifier).transpose()?;
    let counsel = args.counsel_identity.as_deref().map(Identities::read).transpose()?;
    let auditor = args.auditor_identity.as_deref().map(Identities::read).transpose()?;
    let others = Arc::new(Others { counsel, auditor });
    let bundle = Bundle { path: args.from, identities: Identities::read(&args.identity)?, others };
    let verified = bundle.verify(key.as_ref())?;
    if key.is_none() {
        note("the bundle is whole; who has made it was not verified: that takes --key");
    }
    let name = args.name.unwrap_or_else(|| verified.header.tenant.clone());
    let Some(owner) = args.owner_token.filter(|_| !args.check) else { return tell("verified", &name, &verified, out) };
    for (kind, what, option) in [
        (Kind::SealedHold, "legal holds are sealed for a counsel", "--counsel-identity"),
        (Kind::SealedRecord, "records that are kept for their legal purpose alone are sealed for an auditor", "--auditor-identity"),
    ] {
        let sealed = verified.trailer.counts.get(kind.name()).copied().unwrap_or(0);
        if sealed > 0 && bundle.others.of(kind).is_none() {
            return Err(Failure::local(format!("{sealed} {what}: they come along with {option} only")));
        }
    }
    let client = owners(&name, &owner, &verified.header, connection).await?;
    let target = Target { client, name, header: verified.header.clone(), chain: verified.trailer.chain.clone() };
    patiently(async || target.bring(&bundle).await).await?;
    tell("imported", &target.name, &verified, out)
}

impl Bundle {
    fn open(&self) -> Result<Opened, Failure> {
        Opened::open(&self.path, &self.identities)
    }

    /// Reads all of it: every seal, the running hash, what is sealed for others that are here; and with a key the trailer's signature, the
    /// trail and the certificates.
    fn verify(&self, key: Option<&Verifier>) -> Result<Verified, Failure> {
        let mut opened = self.open()?;
        let mut checker = Checker::new(Way::File, Progress::default());
        let (mut header, mut trailer, mut trail) = (None, None, None);
        let (mut grants, mut unnamed, mut collections) = (Vec::new(), Vec::new(), HashSet::new());
        while let Some(frame) = opened.frame()? {
            match checker.take(&frame).map_err(|error| opened.refused(error))? {
                Part::Header(found) => {
                    trail = key.map(|key| trail_of(&found, key)).transpose()?;
                    header = Some(found);
                }
                Part::Collection(collection) => {
                    collections.insert(collection.collection);
                }
                Part::Hold(hold) => unnamed.extend(unnamed_in(&hold, &collections)),
                Part::Sealed(payload) => {
                    if let Some(whose) = self.others.of(frame.kind) {
                        let plain = whose.open_frame(&frame)?;
                        let sealed = SealedFrame::parse(frame.kind, &payload).map_err(|error| opened.refused(error))?;
                        let inner = OpenedFrame::parse(&plain).and_then(|inner| inner.payload(frame.kind, &sealed.commitment));
                        let inner = inner.map_err(|error| opened.refused(error))?;
                        if frame.kind == Kind::SealedHold {
                            let hold = HoldDoc::parse(inner).map_err(|error| opened.refused(error))?;
                            unnamed.extend(unnamed_in(&hold, &collections));
                        }
                        if frame.kind == Kind::SealedRecord {
                            RecordDoc::parse(inner).map_err(|error| opened.refused(error))?;
                        }
                    }
                }
                Part::Grant(grant) => grants.push(grant),
                Part::Certificate(text) => {
                    if let Some(key) = key {
                        Certificate::open(&text, key).map_err(|error| Failure::local(format!("a certificate in the bundle: {error}")))?;
                    }
                }
                Part::Head(head) => {
                    if let (Some(trail), Some(key)) = (&mut trail, key) {
                        trail.head(&head, key).map_err(|error| Failure::local(format!("the audit trail in the bundle: {error}")))?;
                    }
                }
                Part::Entry(line) => {
                    if let Some(trail) = &mut trail {
                        trail.line(&line).map_err(|error| Failure::local(format!("the audit trail in the bundle: {error}")))?;
                    }
                }
                Part::Trailer(found) => trailer = Some(*found),
                Part::Record(_) | Part::Value(_) | Part::Gone | Part::Person(_) | Part::Events(_) => {}
            }
        }
        checker.finish().map_err(|error| opened.refused(error))?;
        let (Some(header), Some(trailer)) = (header, trailer) else { return Err(opened.refused(BundleError::Cut)) };
        if let Some(key) = key {
            trailer.verify(&header, key).map_err(|error| opened.refused(error))?;
        }
        let trail = trail.map(TrailCheck::finish);
        if let Some(report) = &trail {
            match report.verdict {
                Verdict::Ok | Verdict::StatedGap => {}
                bad @ (Verdict::Truncated | Verdict::Gap | Verdict::Tampered) => {
                    return Err(Failure::local(format!("the audit trail in the bundle: {}", bad.name())));
                }
            }
        }
        Ok(Verified { header, trailer, grants, unnamed, trail })
    }
}

/// The trail of the tenant of a bundle; the key must be that of its store.
fn trail_of(header: &Header, key: &Verifier) -> Result<TrailCheck, Failure> {
    let store: StoreId = header.store.parse().map_err(|_| Failure::local(BundleError::Form(Kind::Header).to_string()))?;
    // A store's name is `lethe/` and its id.
    if key.name().rsplit('/').next() != Some(header.store.as_str()) {
        return Err(Failure::local("the bundle is from another store than the key"));
    }
    Ok(TrailCheck::new(store, TenantNo(header.tenant_no)))
}

/// How much a hold is on that it is not on where it comes to, if there is any.
fn unnamed_in(hold: &HoldDoc, collections: &HashSet<String>) -> Option<(String, u64)> {
    let is_missing = |thing: &&ThingDoc| match thing {
        ThingDoc::Under { collection, .. } | ThingDoc::Record { collection, .. } => !collections.contains(collection),
        ThingDoc::Tenant | ThingDoc::Subject(_) => false,
    };
    let unnamed = hold.unnamed.saturating_add(hold.on.iter().filter(is_missing).count() as u64);
    (unnamed > 0).then(|| (hold.id.clone(), unnamed))
}

/// A client with the token of the new tenant's owner: the one that is kept in the file, or that of a tenant that is made now. An empty file
/// keeps none: who made it was killed before the answer came.
async fn owners(name: &str, file: &Path, header: &Header, connection: &Connection) -> Result<Client, Failure> {
    let client = connection.patient_client()?;
    if file.exists() {
        let text = std::fs::read_to_string(file).map_err(|error| Failure::file(file, &error))?;
        if !text.is_empty() {
            return Ok(client.with_token(bearer(&text)?));
        }
    }
    let mut kept = NewSecretFile::take_up(file)?;
    let body = json!({ "tenant": name, "import": true });
    // By this key the same command, given again, is answered as if it were the first.
    let key = format!("{}-{name}", header.bundle);
    let ask = async || {
        let request = client.request(Method::POST, &["v1", "tenants"])?.header("idempotency-key", &key).json(&body);
        client.json(request).await
    };
    let made = match patiently_once_there(ask).await {
        Ok(made) => made,
        Err(failure) => {
            kept.abandon();
            return Err(failure);
        }
    };
    let token = made.get("token").and_then(Value::as_str).unwrap_or_default();
    let bearer = bearer(token)?;
    if let Err(failure) = kept.fill(token) {
        // Sent again, it is replaced by another.
        kept.abandon();
        return Err(failure);
    }
    Ok(client.with_token(bearer))
}

/// Where a bundle goes.
struct Target {
    client: Client,
    name: String,
    header: Header,
    /// The running hash over all frames before the trailer, as they were verified.
    chain: String,
}

/// How far a tenant's import has come, as the server tells.
struct State {
    is_importing: bool,
    next: u64,
    chain: Option<String>,
}

impl Target {
    /// Sends what is not there yet.
    async fn bring(&self, bundle: &Bundle) -> Result<(), Failure> {
        let mut state = self.state(&self.client.json(self.client.request(Method::GET, &["v1", "tenants", &self.name])?).await?)?;
        if !state.is_importing {
            return Ok(());
        }
        let source = Arc::new(Mutex::new(Source::at(bundle, &self.chain, &state)?));
        loop {
            let from = lock(&source).checker.progress().next;
            if state.next != from {
                return Err(Failure::Unreachable("the server took in something else than what was sent".into()));
            }
            let pieces = stream::unfold((source.clone(), 0_usize), |(source, sent)| async move {
                let piece = lock(&source).piece(sent).transpose()?;
                let len = piece.as_ref().map_or(0, Bytes::len);
                Some((piece, (source, sent.saturating_add(len))))
            });
            let query = format!("bundle={}&from={from}", self.header.bundle);
            let request = self.client.request_with(Method::POST, &["v1", "tenants", &self.name, "import"], Some(&query))?;
            let request = request.header("content-type", "application/octet-stream").body(reqwest::Body::wrap_stream(pieces));
            let answer = self.client.json(request).await;
            if let Some(failure) = lock(&source).failed.take() {
                return Err(failure);
            }
            state = self.state(&answer?)?;
            if !state.is_importing {
                return Ok(());
            }
            if lock(&source).checker.is_over() {
                return Err(Failure::Unreachable("the server has all of the bundle, and the tenant is not in use".into()));
            }
        }
    }

    fn state(&self, tenant: &Value) -> Result<State, Failure> {
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let import = tenant.get("import").filter(|import| !import.is_null());
        let of_another = import.is_some_and(|import| text(import, "bundle").as_ref() != Some(&self.header.bundle));
        let is_importing = match text(tenant, "state").as_deref() {
            Some("importing") => true,
            Some("active") if import.is_some() => false,
            _ => return Err(Failure::local(format!("{} is a tenant that was not made for an import", self.name))),
        };
        if of_another {
            return Err(Failure::local(format!("{} is, or was, imported from another bundle", self.name)));
        }
        let next = import.and_then(|import| import.get("next")).and_then(Value::as_u64).unwrap_or(0);
        Ok(State { is_importing, next, chain: import.and_then(|import| text(import, "chain")) })
    }
}

/// A bundle that is sent.
struct Source {
    opened: Opened,
    checker: Checker,
    others: Arc<Others>,
    /// The running hash over what was verified, before its trailer.
    chain: String,
    /// Why nothing more can be read.
    failed: Option<Failure>,
}

fn lock(source: &Mutex<Source>) -> MutexGuard<'_, Source> {
    source.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source {
    /// Reads up to where the server is, which must be there by the same frames.
    fn at(bundle: &Bundle, verified: &str, state: &State) -> Result<Self, Failure> {
        let (mut opened, mut checker) = (bundle.open()?, Checker::new(Way::File, Progress::default()));
        while checker.progress().next < state.next {
            let frame = opened.frame()?.ok_or_else(|| opened.refused(BundleError::Cut))?;
            checker.take(&frame).map_err(|error| opened.refused(error))?;
        }
        let chain = hex::encode(checker.progress().chain);
        if state.chain.as_ref().is_some_and(|there| *there != chain) {
            return Err(Failure::local("the server has taken in other frames than those of this bundle"));
        }
        // From here on it is held to what the server is going to hold it to.
        let checker = Checker::new(Way::Wire, checker.progress().clone());
        Ok(Self { opened, checker, others: bundle.others.clone(), chain: verified.to_owned(), failed: None })
    }

    /// The next piece of a request of which so much was sent; `None` at its end.
    fn piece(&mut self, sent: usize) -> Result<Option<Bytes>, std::io::Error> {
        self.frames(sent).map_err(|failure| {
            self.failed = Some(failure);
            std::io::ErrorKind::InvalidData.into()
        })
    }

    fn frames(&mut self, sent: usize) -> Result<Option<Bytes>, Failure> {
        let mut piece = Vec::new();
        while piece.len() < PIECE_LEN && (sent.saturating_add(piece.len()) < REQUEST_LEN || self.checker.is_within()) {
            let Some(frame) = self.opened.frame()? else { break };
            if frame.kind == Kind::Trailer && hex::encode(self.checker.progress().chain) != self.chain {
                // The tenant must not come into use by it.
                return Err(Failure::local("the bundle was exchanged since it was verified"));
            }
            self.checker.take(&frame).map_err(|error| self.opened.refused(error))?;
            frame.write(&mut piece).map_err(|error| self.opened.refused(error))?;
            self.open_behind(&frame, &mut piece)?;
        }
        Ok((!piece.is_empty()).then(|| piece.into()))
    }

    /// Behind a sealed frame comes what it opens to.
    fn open_behind(&mut self, frame: &Frame, piece: &mut Vec<u8>) -> Result<(), Failure> {
        if !frame.kind.is_sealed() {
            return Ok(());
        }
        let Some(whose) = self.others.of(frame.kind) else { return Err(self.opened.refused(BundleError::Sealed)) };
        let plain = Bytes::from_owner(whose.open_frame(frame)?);
        let behind = Frame { kind: Kind::Opened, payload: plain };
        self.checker.take(&behind).map_err(|error| self.opened.refused(error))?;
        behind.write(piece).map_err(|error| self.opened.refused(error))
    }
}

/// What became of it, and what is left for people to do.
fn tell(done: &str, name: &str, verified: &Verified, out: &mut Output) -> Result<(), Failure> {
    let Verified { header, trailer, grants, unnamed, trail } = verified;
    let grants: Vec<Value> = grants
        .iter()
        .map(|grant| {
            json!({ "role": grant.role, "kind": grant.kind, "collections": grant.collections, "prefix": grant.prefix,
                "expires_at": grant.expires_at })
        })
        .collect();
    let count = |kind: Kind| trailer.counts.get(kind.name()).copied().unwrap_or(0);
    let told = json!({
        "tenant": name,
        "bundle": header.bundle,
        "from": { "store": header.store, "tenant": header.tenant, "exported_at": header.exported_at },
        "counts": trailer.counts,
        "left_out": trailer.left_out,
        "trail": trail.as_ref().map(|report| report.verdict.name()),
        "holds_in_part": unnamed.iter().map(|(hold, things)| json!({ "hold": hold, "things": things })).collect::<Vec<_>>(),
        "grants": grants,
    });
    let (records, collections) = (count(Kind::Record).saturating_add(count(Kind::SealedRecord)), count(Kind::Collection));
    out.say(&format!("{name}: {done}, {records} records in {collections} collections, bundle {}", header.bundle), &told)?;
    if out.format() == Format::Human && !grants.is_empty() {
        out.say("these tokens are to be made anew:", &Value::Null)?;
        out.rows(&["role", "kind", "collections", "prefix", "expires_at"], &grants)?;
    }
    for (hold, things) in unnamed {
        note(&format!("legal hold {hold} was also on {things} things that have no name in the bundle: place another on those"));
    }
    if trailer.left_out != LeftOut::default() {
        note(&format!(
            "not in the bundle: {} records that did not open, {} whose time was over, {} other rows that did not open",
            trailer.left_out.unreadable, trailer.left_out.over, trailer.left_out.bent
        ));
    }
    out.flush()
}

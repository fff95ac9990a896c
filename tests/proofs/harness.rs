//! A whole store in a temp directory: made, opened, closed, copied, put back.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use lethe::{
    authn::{Narrowing, PresentedToken, Role, TokenKind},
    domain::{
        ApprovalId, Clock, CollectionName, CollectionPolicy, Epoch, RecordKey, RequestId, RootId, ShredId, ShredUnit, StoreId, SubjectId,
        SystemClock, TenantName, TestClock,
        approval::{ApprovalRules, ShredScope},
        hold::{HoldScope, HoldText, NewHold},
        lifecycle::Grace,
    },
    vault::{
        audit::{
            journal::{self, RebuiltLog},
            note::{Signer, Verifier},
        },
        keys::{Custody, CustodyError, Description, DestroyReceipt, FileCustody, Forest, ForestOptions, custody::Held, recovery::Ground},
        ops::{
            BatchOp, Body, Caller, GetRecord, Got, HoldView, MintToken, NamedEntry, NewAlias, Precondition, Put, PutRecord, ShredOrder,
            ShredView, Terminate, Value, Vault, VaultError, VaultOptions, VaultParts,
        },
        store::{
            Store,
            embedded::{Embedded, EmbeddedOptions},
        },
    },
};
use tempfile::TempDir;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::meddling::Meddler;

/// Where the parts of a store lie.
pub(crate) struct Place {
    root: TempDir,
    pub(crate) operator: String,
    pub(crate) options: VaultOptions,
    /// Skips syncing: for tests that kill nothing.
    pub(crate) unsynced: bool,
    /// The time of what is opened from now on.
    pub(crate) clock: Arc<dyn Clock>,
    /// Between the vault and its store.
    pub(crate) meddler: Meddler,
    /// The components of custody, by their paths.
    components: Vec<&'static str>,
    /// So many times they refuse to destroy.
    pub(crate) refusals: Arc<AtomicUsize>,
}

/// File custody that refuses to destroy, so many times.
struct Stumbling {
    inner: FileCustody,
    refusals: Arc<AtomicUsize>,
}

impl Custody for Stumbling {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn load(&self) -> Result<Vec<Held>, CustodyError> {
        self.inner.load()
    }

    fn prepare(&self, epoch: Epoch, root_id: RootId, secret: &[u8; 32]) -> Result<(), CustodyError> {
        self.inner.prepare(epoch, root_id, secret)
    }

    fn destroy(&self, root_id: RootId) -> Result<DestroyReceipt, CustodyError> {
        let refused = self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if refused { Err(CustodyError::Io("planted".to_owned())) } else { self.inner.destroy(root_id) }
    }

    fn destroyed(&self, root_id: RootId) -> Result<Option<DestroyReceipt>, CustodyError> {
        self.inner.destroyed(root_id)
    }

    fn scrub(&self) -> Result<(), CustodyError> {
        self.inner.scrub()
    }

    fn describe(&self) -> Result<Description, CustodyError> {
        self.inner.describe()
    }
}

/// A store in use.
pub(crate) struct Open {
    pub(crate) vault: Vault,
    pub(crate) store: Arc<Embedded>,
    pub(crate) forest: Forest,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// How long who gives an order waits for it.
pub(crate) const WAIT: Option<Duration> = Some(Duration::from_secs(30));

pub(crate) const STORE: StoreId = StoreId([7; 16]);
const SEED: [u8; 32] = [9; 32];

impl Place {
    /// A new store with an operator.
    pub(crate) async fn make() -> Self {
        Self::make_with(VaultOptions::default(), false).await
    }

    /// The same with a suite or other options, and perhaps without syncing.
    pub(crate) async fn make_with(options: VaultOptions, unsynced: bool) -> Self {
        Self::make_of(options, unsynced, vec!["custody/root"]).await
    }

    /// A new store, unsynced, that goes by this clock.
    pub(crate) async fn make_by(clock: &TestClock) -> Self {
        let mut place = Self::make_with(VaultOptions::default(), true).await;
        place.clock = Arc::new(clock.clone());
        place
    }

    /// The same with a clock that stands at the present.
    pub(crate) async fn make_clocked() -> (Self, TestClock) {
        let clock = TestClock::at(SystemClock.now());
        (Self::make_by(&clock).await, clock)
    }

    /// A new store with these components of custody.
    pub(crate) async fn make_of(options: VaultOptions, unsynced: bool, components: Vec<&'static str>) -> Self {
        // What the store logs is part of a failed test's output.
        let _ = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_test_writer().try_init();
        let root = tempfile::tempdir().unwrap();
        let (operator, clock, meddler) = (String::new(), Arc::new(SystemClock), Meddler::default());
        let refusals = Arc::new(AtomicUsize::new(0));
        let mut place = Self { root, operator, options, unsynced, clock, meddler, components, refusals };
        std::fs::create_dir(place.path("log")).unwrap();
        std::fs::create_dir(place.path("custody")).unwrap();
        Embedded::create(&place.options(), STORE).unwrap();
        for component in &place.components {
            FileCustody::create(&place.path(component), STORE).unwrap();
        }
        let store = Embedded::open(place.options(), Arc::clone(&place.clock)).unwrap();
        let forest = Forest::create(place.ground(Arc::clone(&store) as _).unwrap(), ForestOptions::default()).await.unwrap();
        place.operator = Vault::create(place.parts(Arc::clone(&store) as _, &forest).0).await.unwrap().to_string();
        store.close();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn options(&self) -> EmbeddedOptions {
        EmbeddedOptions {
            block_cache_bytes: 8 << 20,
            memtable_bytes: 4 << 20,
            reserve_bytes: 1 << 20,
            headroom_bytes: 1 << 20,
            mirror_ahead_bytes: 1 << 20,
            danger_skip_sync: self.unsynced,
            ..EmbeddedOptions::new(self.path("store"), self.path("mirror"))
        }
    }

    fn ground(&self, store: Arc<dyn Store>) -> Result<Ground, String> {
        let clock = Arc::clone(&self.clock);
        let mut custody: Vec<Box<dyn Custody>> = Vec::new();
        for component in &self.components {
            let path = self.path(component);
            let opened = FileCustody::open(&path, Some(&self.path("store")), STORE, Arc::clone(&clock));
            let inner = opened.map_err(|error| format!("{}: {error}", path.display()))?;
            custody.push(Box::new(Stumbling { inner, refusals: Arc::clone(&self.refusals) }));
        }
        Ok(Ground { store_id: STORE, store, custody, clock })
    }

    fn parts(&self, store: Arc<dyn Store>, forest: &Forest) -> (VaultParts, CancellationToken, TaskTracker) {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let parts = VaultParts {
            store_id: STORE,
            store: self.meddler.over(store),
            forest: forest.clone(),
            signer: signer(),
            log_signer: signer(),
            log_dir: self.path("log"),
            log_journal: self.path("mirror/log.journal"),
            clock: Arc::clone(&self.clock),
            options: self.options.clone(),
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        (parts, stop, tasks)
    }

    /// Opens the store, as a start of the server does.
    pub(crate) async fn open(&self) -> Open {
        self.try_open().await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same; a start that is refused says why.
    pub(crate) async fn try_open(&self) -> Result<Open, String> {
        self.open_through(|store| store).await
    }

    /// The same, with the meddler between the key forest and the store too.
    pub(crate) async fn open_meddled(&self) -> Open {
        self.open_through(|store| self.meddler.over(store)).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Opens the store as a restore does, before its data is in its place: nothing is begun.
    pub(crate) async fn open_idle(&self) -> Open {
        self.open_as(|store| store, false).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// As a start does; everything that is read and written goes through what is made of the engine.
    pub(crate) async fn open_through(&self, made: impl FnOnce(Arc<Embedded>) -> Arc<dyn Store>) -> Result<Open, String> {
        self.open_as(made, true).await
    }

    async fn open_as(&self, made: impl FnOnce(Arc<Embedded>) -> Arc<dyn Store>, begins: bool) -> Result<Open, String> {
        let store = Embedded::open(self.options(), Arc::clone(&self.clock)).map_err(|error| error.to_string())?;
        let through = made(Arc::clone(&store));
        let opened = async {
            let (forest, _) =
                Forest::open(self.ground(Arc::clone(&through))?, ForestOptions::default()).await.map_err(|error| error.to_string())?;
            let (parts, stop, tasks) = self.parts(through, &forest);
            let opened = if begins { Vault::open(parts).await } else { Vault::open_idle(parts).await.map(|(vault, _)| vault) };
            let vault = opened.map_err(|error| error.to_string())?;
            Ok((vault, forest, stop, tasks))
        };
        let opened: Result<_, String> = opened.await;
        let (vault, forest, stop, tasks) = opened.inspect_err(|_| store.close())?;
        Ok(Open { vault, store, forest, stop, tasks })
    }

    /// What the store's signatures are verified with.
    pub(crate) fn verifier() -> Verifier {
        signer().verifier()
    }

    /// Makes the log anew from its journal.
    pub(crate) fn rebuild_log(&self, known: Option<(u64, [u8; 32])>) -> Result<RebuiltLog, String> {
        journal::rebuild(&self.path("log"), &self.path("mirror/log.journal"), signer(), known).map_err(|error| error.to_string())
    }

    /// Copies a part of the store aside.
    pub(crate) fn copy(&self, part: &str, to: &str) {
        copy_of(&self.path(part), &self.path(to));
    }

    /// Puts a copy back in the place of a part.
    pub(crate) fn put_back(&self, copy: &str, part: &str) {
        self.lose(part);
        copy_of(&self.path(copy), &self.path(part));
    }

    /// Removes a part.
    pub(crate) fn lose(&self, part: &str) {
        let path = self.path(part);
        if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
    }
}

fn signer() -> Signer {
    Signer::from_seed("lethe.test", &SEED).unwrap()
}

fn copy_of(from: &Path, to: &Path) {
    if from.is_dir() {
        copy_dir(from, to);
    } else {
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    }
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

impl Open {
    /// Ends it in order.
    pub(crate) async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.store.close();
    }

    pub(crate) async fn caller(&self, token: &str) -> Caller {
        let request = RequestId([1; 16]);
        let principal = self.vault.authenticate(&PresentedToken::parse(token).unwrap(), request).await.unwrap();
        Caller::new(principal, request, None)
    }

    /// A tenant and its first owner.
    pub(crate) async fn tenant(&self, place: &Place, tenant: &str) -> (TenantName, Caller, String) {
        let operator = self.caller(&place.operator).await;
        let minted = self.vault.create_tenant(&operator, name(tenant), false, None).await.unwrap();
        let caller = self.caller(&minted.text).await;
        (name(tenant), caller, minted.text.to_string())
    }

    pub(crate) async fn token(&self, owner: &Caller, tenant: &TenantName, role: Role) -> (String, lethe::domain::TokenId) {
        let mint = MintToken { role, kind: TokenKind::Service, narrowing: Narrowing::default(), expires_at: None };
        let mut minted = self.vault.create_token(owner, tenant, mint.clone(), None).await.unwrap();
        if role == Role::Counsel && owner.principal.role() == Role::Owner {
            // An owner invites; whoever accepts has a token that no owner has seen.
            let invited = self.caller(&minted.text).await;
            minted = self.vault.create_token(&invited, tenant, mint, None).await.unwrap();
        }
        (minted.text.to_string(), minted.id)
    }

    /// Who has a new token of this role.
    pub(crate) async fn with_role(&self, owner: &Caller, tenant: &TenantName, role: Role) -> Caller {
        self.caller(&self.token(owner, tenant, role).await.0).await
    }

    /// A new counsel, and the hold that it places.
    pub(crate) async fn counsel_holds(&self, owner: &Caller, tenant: &TenantName, scope: HoldScope) -> (Caller, HoldView) {
        let counsel = self.with_role(owner, tenant, Role::Counsel).await;
        let placed = self.vault.place_hold(&counsel, tenant, hold_of(scope), None).await.unwrap();
        (counsel, placed)
    }

    pub(crate) async fn collection(&self, caller: &Caller, tenant: &TenantName, collection: &str, unit: ShredUnit) {
        let policy = CollectionPolicy { shred_unit: unit, ..CollectionPolicy::default() };
        self.vault.put_collection(caller, tenant, &coll(collection), policy, None).await.unwrap();
    }

    pub(crate) async fn put(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        at: (&str, &str),
        subject: Option<&str>,
        value: &[u8],
    ) -> Result<Put, VaultError> {
        self.vault.put_record(caller, tenant, &coll(at.0), key(at.1), put_of(subject, value)).await
    }

    pub(crate) async fn delete(&self, caller: &Caller, tenant: &TenantName, at: (&str, &str)) -> Result<(), VaultError> {
        self.vault.delete_record(caller, tenant, &coll(at.0), key(at.1), Precondition::None, None).await
    }

    /// Gives a person another id, with what is written under it.
    pub(crate) async fn add_alias(&self, caller: &Caller, tenant: &TenantName, of: &str, alias: &str) {
        self.vault.add_alias(caller, tenant, alias_of(of, alias), None).await.unwrap();
    }

    pub(crate) async fn get(&self, caller: &Caller, tenant: &TenantName, at: (&str, &str)) -> Result<Vec<u8>, VaultError> {
        let got = self.vault.get_record(caller, tenant, &coll(at.0), &key(at.1), GetRecord::default()).await?;
        read(got).await
    }

    /// From now on such orders take two persons; gives the second, who was there before.
    pub(crate) async fn ask_for_two(&self, owner: &Caller, tenant: &TenantName, shreds: ShredScope) -> Caller {
        let second = self.with_role(owner, tenant, Role::Owner).await;
        let rules = ApprovalRules { shreds: Some(shreds), ..ApprovalRules::default() };
        self.vault.put_policy(owner, tenant, rules, None).await.unwrap();
        second
    }

    pub(crate) async fn approve(&self, second: &Caller, tenant: &TenantName, id: ApprovalId) -> Result<(), VaultError> {
        self.vault.approve(second, tenant, id, None, None).await.map(drop)
    }

    /// All that a tenant's trail has of an action.
    pub(crate) async fn trail(&self, caller: &Caller, tenant: &TenantName, action: &str) -> Vec<NamedEntry> {
        let (mut all, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = self.vault.audit_page(caller, tenant, after.as_deref(), 1_000).await.unwrap();
            all.extend(page.entries.into_iter().filter(|named| named.entry.entry.action.name() == action));
            if !page.more {
                return all;
            }
            after = Some(page.next);
        }
    }

    /// An order that was given, as it is when it is done, or is not to be waited for any longer.
    pub(crate) async fn awaited(&self, caller: &Caller, tenant: &TenantName, order: ShredId) -> ShredView {
        self.vault.shred(caller, tenant, order, WAIT).await.unwrap()
    }

    /// Shreds and waits until it is certified.
    pub(crate) async fn shred(&self, caller: &Caller, tenant: &TenantName, order: ShredOrder) -> ShredView {
        let view = self.vault.order_shred(caller, tenant, order, WAIT, None).await.unwrap();
        assert!(view.done, "the shred is not done after 30 s");
        view
    }

    pub(crate) async fn shred_subject(&self, caller: &Caller, tenant: &TenantName, subject: &str) -> ShredView {
        self.shred(caller, tenant, person(subject)).await
    }
}

pub(crate) async fn read(got: Got) -> Result<Vec<u8>, VaultError> {
    match got.value {
        Value::Unchanged => panic!("nothing was said of a version that is known"),
        Value::Whole(bytes) => Ok(bytes.to_vec()),
        Value::Stream(mut parts) => {
            let mut whole = Vec::new();
            while let Some(part) = parts.next().await {
                whole.extend_from_slice(&part?);
            }
            Ok(whole)
        }
    }
}

pub(crate) fn put_of(subject: Option<&str>, value: &[u8]) -> PutRecord {
    put_about(subject.as_slice(), value)
}

/// A put about several persons, the one whose key it is first.
pub(crate) fn put_about(names: &[&str], value: &[u8]) -> PutRecord {
    PutRecord {
        content_type: "application/octet-stream".into(),
        subjects: subjects(names),
        expires_at: None,
        custom: Vec::new(),
        precondition: Precondition::None,
        new_relationship: false,
        idempotency_key: None,
        length: Some(value.len() as u64),
        body: body(value),
    }
}

/// What a record says of itself that is filed under a category, or under none.
pub(crate) fn filed_under(category: Option<&str>) -> Vec<(String, String)> {
    category.map(|category| ("category".to_owned(), category.to_owned())).into_iter().collect()
}

/// A put in a batch, under the number as the record's key.
pub(crate) fn put_op(collection: &str, number: usize, names: &[&str]) -> BatchOp {
    BatchOp::Put {
        collection: coll(collection),
        key: key(&number.to_string()),
        value: b"v".to_vec().into(),
        content_type: "text/plain".into(),
        subjects: subjects(names),
        expires_at: None,
        custom: Vec::new(),
        precondition: Precondition::None,
        new_relationship: false,
    }
}

/// A body in parts of 10,000 bytes.
pub(crate) fn body(value: &[u8]) -> Body {
    let parts: Vec<_> = value.chunks(10_000).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
    stream::iter(parts).boxed()
}

pub(crate) fn name(text: &str) -> TenantName {
    TenantName::parse(text).unwrap()
}

pub(crate) fn coll(text: &str) -> CollectionName {
    CollectionName::parse(text).unwrap()
}

pub(crate) fn key(text: &str) -> RecordKey {
    RecordKey::parse(text).unwrap()
}

pub(crate) fn subject(text: &str) -> SubjectId {
    SubjectId::parse(text).unwrap()
}

pub(crate) fn subjects(names: &[&str]) -> Vec<SubjectId> {
    names.iter().map(|name| subject(name)).collect()
}

/// Another id of a person, with what is written under it.
pub(crate) fn alias_of(person: &str, alias: &str) -> NewAlias {
    NewAlias { subject: subject(person), alias: subject(alias), with_records: true, new_relationship: false }
}

/// An order to forget these persons.
pub(crate) fn persons(names: &[&str]) -> ShredOrder {
    ShredOrder::Subjects(subjects(names))
}

/// An order to forget a person.
pub(crate) fn person(name: &str) -> ShredOrder {
    persons(&[name])
}

/// An order to end a tenant.
pub(crate) fn end_of(tenant: &str, grace: &str) -> Terminate {
    Terminate { confirm: tenant.into(), grace: Grace::parse(grace).unwrap(), reason: None }
}

/// A hold as a counsel places it.
pub(crate) fn hold_of(scope: HoldScope) -> NewHold {
    let text = HoldText {
        matter: "M-1".into(),
        reason: "a lawsuit".into(),
        custodian: "legal".into(),
        case_number: None,
        renewal_reason: None,
        release_reason: None,
    };
    NewHold { text, scope, disclosed: false, law_enforcement: false }
}

/// The same on a person.
pub(crate) fn hold_on(person: &str) -> NewHold {
    hold_of(HoldScope::Subjects(vec![subject(person)]))
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what}: not so after 30 s"));
}

/// What a check of the whole store finds.
pub(crate) async fn findings(open: &Open) -> Vec<String> {
    open.vault.check().await.unwrap().findings
}

/// What the proof finds of what was shredded.
pub(crate) async fn contradictions(open: &Open) -> Vec<String> {
    open.vault.prove_shreds(1).await.unwrap().findings
}

/// Whether the long proofs are asked for.
#[expect(clippy::disallowed_methods, reason = "make proof asks for more so")]
pub(crate) fn proof() -> bool {
    std::env::var_os("LETHE_PROOF").is_some()
}

/// What a certificate says.
pub(crate) async fn certificate(open: &Open, id: ShredId) -> serde_json::Value {
    let note = open.vault.certificate(id).await.unwrap();
    let note = std::str::from_utf8(&note).unwrap();
    let (from, to) = (note.find('{').unwrap(), note.rfind('}').unwrap());
    serde_json::from_str(&note[from..=to]).unwrap()
}

/// Whether an operation met a 410.
pub(crate) fn is_shredded<T>(result: &Result<T, VaultError>) -> bool {
    matches!(result, Err(VaultError::Shredded { .. } | VaultError::SubjectErased { .. }))
}

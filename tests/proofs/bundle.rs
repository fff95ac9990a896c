//! A tenant as a bundle, tried to be broken: a process that dies at any commit of an import, data of an earlier date put back in its
//! middle, a token that is revoked in it, a shred in the middle of an export, bytes that are bent in the source.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use lethe::{
    authn::Role,
    domain::{
        BundleId, Clock as _, CollectionPolicy, ShredUnit, TenantName, TenantNo,
        hold::NewHold,
        retention::{EventDate, EventName},
    },
    vault::{
        ops::{
            Body, Caller, Conflict, ExportTenant, ImportPart, NewAlias, PutRecord, Recipient, TenantView, Unprocessable, ValueStream,
            VaultError, VaultOptions,
            bundle::{
                Checker, Frame, Frames, Kind, Part, Progress, Way,
                documents::{SealedFrame, Trailer},
                frames,
            },
        },
        store::{Space, StoreError, schema},
    },
};
use serde_json::{Value, json};

use crate::{
    age::{PAIRS, Pair},
    erased::{Acme, COLLECTIONS},
    harness::{Open, Place, alias_of, body, coll, findings, hold_on, is_shredded, key, name, persons, put_of, subject, subjects},
    kept::lawful,
    rows,
};

/// A bundle in the clear.
pub(crate) struct Bundle {
    id: BundleId,
    pub(crate) frames: Vec<Frame>,
    /// What some of them are opened to, on their way.
    behind: BTreeMap<usize, Vec<u8>>,
    trailer: Trailer,
}

pub(crate) fn to_somebody() -> ExportTenant {
    let of = |pair: &Pair| pair.recipient.parse::<Recipient>().unwrap();
    ExportTenant { recipient: of(&PAIRS[0]), counsel: None, auditor: Some(of(&PAIRS[1])) }
}

impl Bundle {
    async fn of(open: &Open, acme: &Acme) -> Self {
        Self::exported(open, &acme.owner, &acme.name).await
    }

    pub(crate) async fn exported(open: &Open, owner: &Caller, tenant: &TenantName) -> Self {
        Self::taken(open.vault.export_tenant(owner, tenant, to_somebody()).await.unwrap()).await
    }

    /// All of one that is being made.
    pub(crate) async fn taken(mut stream: ValueStream) -> Self {
        let mut sealed = Vec::new();
        while let Some(piece) = stream.next().await {
            sealed.extend_from_slice(&piece.unwrap());
        }
        Self::opened(&sealed)
    }

    fn opened(sealed: &[u8]) -> Self {
        let plain = PAIRS[0].open(sealed).unwrap();
        let (mut reader, mut checker) = (Frames::default(), Checker::new(Way::File, Progress::default()));
        reader.feed(&plain);
        let (mut frames, mut behind, mut id, mut trailer) = (Vec::new(), BTreeMap::new(), None, None);
        while let Some(frame) = reader.take_frame().unwrap() {
            let part = checker.take(&frame).unwrap();
            if let Part::Header(header) = &part {
                id = header.bundle.parse().ok();
            }
            if let Part::Sealed(payload) = &part {
                let sealed = SealedFrame::parse(frame.kind, payload).unwrap().sealed;
                behind.insert(frames.len(), PAIRS[1].open(sealed).unwrap());
            }
            if let Part::Trailer(found) = part {
                trailer = Some(*found);
            }
            frames.push(frame);
        }
        checker.finish().unwrap();
        Self { id: id.unwrap(), frames, behind, trailer: trailer.unwrap() }
    }

    fn wire(&self, from: usize, until: usize) -> Vec<u8> {
        let mut wire = Vec::new();
        for at in from..until {
            self.frames[at].write(&mut wire).unwrap();
            if let Some(opened) = self.behind.get(&at) {
                frames::write(Kind::Opened, opened, &mut wire).unwrap();
            }
        }
        wire
    }

    /// The same with others among its frames, and a trailer that has counted them.
    fn with(&self, place: usize, more: Vec<Frame>) -> Self {
        let behind = self.behind.iter().map(|(at, opened)| (if *at < place { *at } else { at + more.len() }, opened.clone())).collect();
        let mut frames = self.frames.clone();
        frames.pop();
        frames.splice(place..place, more);
        let mut checker = Checker::new(Way::File, Progress::default());
        for frame in &frames {
            checker.take(frame).unwrap();
        }
        let Progress { next, chain, counts, .. } = checker.progress();
        let trailer = Trailer { frames: *next, counts: counts.by_name(), chain: hex::encode(chain), ..self.trailer.clone() };
        frames.push(Frame { kind: Kind::Trailer, payload: serde_json::to_vec(&trailer).unwrap().into() });
        Self { id: self.id, frames, behind, trailer }
    }

    /// The frames of a record with a value of one byte as another.
    fn record_as(&self, of: (&str, &str), (collection, key, subject): (&str, &str, &str), value: u8) -> Vec<Frame> {
        let documents = self.frames.iter().filter(|frame| frame.kind == Kind::Record);
        let mut documents = documents.map(|frame| serde_json::from_slice::<Value>(&frame.payload).unwrap());
        let mut document = documents.find(|document| document["collection"] == of.0 && document["key"] == of.1).unwrap();
        for (name, value) in [("collection", json!(collection)), ("key", json!(key)), ("subjects", json!([subject]))] {
            document[name] = value;
        }
        let frame = |kind: Kind, payload: Vec<u8>| Frame { kind, payload: payload.into() };
        vec![frame(Kind::Record, serde_json::to_vec(&document).unwrap()), frame(Kind::Value, vec![value])]
    }

    fn first(&self, kind: Kind) -> usize {
        self.frames.iter().position(|frame| frame.kind == kind).unwrap()
    }

    fn count(&self, kind: Kind) -> usize {
        self.frames.iter().filter(|frame| frame.kind == kind).count()
    }

    pub(crate) async fn import(
        &self,
        open: &Open,
        owner: &Caller,
        tenant: &str,
        (from, until): (usize, usize),
    ) -> Result<TenantView, VaultError> {
        self.import_body(open, owner, tenant, from, body(&self.wire(from, until))).await
    }

    async fn import_body(&self, open: &Open, owner: &Caller, tenant: &str, from: usize, body: Body) -> Result<TenantView, VaultError> {
        let part = ImportPart { bundle: self.id, from: from as u64, body };
        open.vault.import_tenant(owner, &name(tenant), part).await
    }
}

/// How an export ends that somebody takes to its end.
pub(crate) async fn end_of(mut stream: ValueStream) -> Option<Result<Bytes, VaultError>> {
    loop {
        match stream.next().await {
            Some(Ok(_)) => {}
            end => return end,
        }
    }
}

/// A tenant to import into, and its owner's token.
pub(crate) async fn coming(open: &Open, place: &Place, tenant: &str) -> String {
    let operator = open.caller(&place.operator).await;
    open.vault.create_tenant_for_import(&operator, name(tenant), None).await.unwrap().text.to_string()
}

const LARGE: usize = 200_000;

fn large() -> Vec<u8> {
    (0..LARGE).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// What a law alone keeps of person 6, who was shredded.
fn left() -> [(&'static str, Vec<u8>); 2] {
    [("left", b"left".to_vec()), ("left/large", large())]
}

const ENDED: [&str; 2] = ["contract-ended", "2026-01-31"];

/// Person 7, also known as `ann`, with a large value and the end of a contract; the others as they are.
async fn source(open: &Open, place: &Place) -> Acme {
    let acme = Acme::make(open, place).await;
    acme.put(open, ("files", "large"), &["7"], &large(), false).await.unwrap();
    let alias = NewAlias { with_records: false, ..alias_of("7", "ann") };
    open.vault.add_alias(&acme.owner, &acme.name, alias, None).await.unwrap();
    let report = (subject("ann"), EventName::parse(ENDED[0]).unwrap(), EventDate::parse(ENDED[1]).unwrap());
    open.vault.report_event(&acme.owner, &acme.name, report, None).await.unwrap();
    let policy = lawful(ShredUnit::Subject, "4y");
    open.vault.put_collection(&acme.owner, &acme.name, &coll("law"), policy, None).await.unwrap();
    for (at, value) in left() {
        acme.put(open, ("law", at), &["6"], &value, false).await.unwrap();
    }
    acme.shred(open, "6").await;
    acme
}

async fn is_all_there(open: &Open, owner: Caller, tenant: &str, when: &str) {
    let copy = Acme { name: name(tenant), owner };
    for (collection, _) in COLLECTIONS {
        for person in ["7", "8"] {
            assert_eq!(copy.get(open, (collection, person)).await.unwrap(), person.as_bytes(), "{when}");
        }
    }
    assert!(copy.get(open, ("files", "large")).await.unwrap() == large(), "{when}: other bytes");
    let view = open.vault.person_ids(&copy.owner, &copy.name, &subject("ann")).await.unwrap();
    assert_eq!((view.subject, view.aliases), (subject("7"), subjects(&["ann"])), "{when}");
    let known = open.vault.read_events(&copy.owner, &copy.name, &subject("ann")).await.unwrap().events;
    let known: Vec<_> = known.iter().map(|one| [one.event.as_str().to_owned(), one.at.to_text()]).collect();
    assert_eq!(known, [ENDED.map(str::to_owned)], "{when}");
    let mut auditor = open.with_role(&copy.owner, &copy.name, Role::Auditor).await;
    auditor.purpose = Some("invoices".into());
    for (at, value) in left() {
        assert!(open.get(&auditor, &copy.name, ("law", at)).await.unwrap() == value, "{when}: {at}");
        assert!(is_shredded(&copy.get(open, ("law", at)).await), "{when}: {at}");
    }
    assert!(is_shredded(&copy.put(open, ("people", "6"), &["6"], b"stale", false).await), "{when}: erased");
    assert_eq!(findings(open).await, Vec::<String>::new(), "{when}");
}

async fn next(open: &Open, owner: &Caller, tenant: &str) -> (&'static str, usize) {
    let view = open.vault.tenant(owner, &name(tenant)).await.unwrap();
    (view.state, view.import.map_or(0, |import| usize::try_from(import.next).unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_dies_at_any_commit_goes_on_to_the_same_end() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let mut open = place.open().await;
    let bundle = Bundle::of(&open, &source(&open, &place).await).await;
    let last = bundle.frames.len();
    let (mut deaths, mut furthest) = (0, 0);
    for dies_at in 0.. {
        let tenant = format!("copy{dies_at}");
        let token = coming(&open, &place, &tenant).await;
        let owner = open.caller(&token).await;
        let commits = Arc::new(AtomicUsize::new(0));
        let met = commits.clone();
        place
            .meddler
            .refuse(move |_| (met.fetch_add(1, Ordering::SeqCst) >= dies_at).then(|| StoreError::Io("the process is dead".into())));
        let died = bundle.import(&open, &owner, &tenant, (0, last)).await;
        place.meddler.refuse_nothing();
        if died.is_ok() {
            is_all_there(&open, owner, &tenant, "at once").await;
            break;
        }
        deaths += 1;
        open.close().await;
        open = place.open().await;
        let owner = open.caller(&token).await;
        let (state, at) = next(&open, &owner, &tenant).await;
        let when = format!("died at commit {dies_at}, at frame {at}");
        assert_eq!(state, "importing", "{when}");
        furthest = furthest.max(at);
        let done = bundle.import(&open, &owner, &tenant, (at, last)).await.unwrap();
        assert_eq!(done.state, "active", "{when}");
        is_all_there(&open, owner, &tenant, &when).await;
    }
    assert!(deaths > 8 && furthest > last / 2, "{deaths} deaths, the furthest at frame {furthest} of {last}");
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_data_that_is_put_back_takes_the_import_back_with_it() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let bundle = Bundle::of(&open, &source(&open, &place).await).await;
    let token = coming(&open, &place, "copy").await;
    let owner = open.caller(&token).await;
    let first = bundle.frames.iter().position(|frame| frame.kind == Kind::Record).unwrap();
    bundle.import(&open, &owner, "copy", (0, first + 2)).await.unwrap();
    let (_, before) = next(&open, &owner, "copy").await;
    open.close().await;
    place.copy("store/data", "older");
    let open = place.open().await;
    let last = bundle.frames.len();
    bundle.import(&open, &owner, "copy", (before, last - 1)).await.unwrap();
    assert_eq!(next(&open, &owner, "copy").await, ("importing", last - 1));
    open.close().await;
    place.put_back("older", "store/data");
    let open = place.open().await;
    assert_eq!(next(&open, &owner, "copy").await, ("importing", before), "of the same moment as the records");
    bundle.import(&open, &owner, "copy", (before, last)).await.unwrap();
    is_all_there(&open, owner, "copy", "after older data").await;
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_revoked_in_the_middle_brings_nothing_more() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let bundle = Bundle::of(&open, &source(&open, &place).await).await;
    let token = coming(&open, &place, "copy").await;
    let owner = open.caller(&token).await;
    let last = bundle.frames.len();
    let first = bundle.frames.iter().position(|frame| frame.kind == Kind::Record).unwrap();
    let (vault, operator) = (open.vault.clone(), open.caller(&place.operator).await);
    let (begin, rest) = (Bytes::from(bundle.wire(0, first)), Bytes::from(bundle.wire(first, last)));
    let id = owner.principal.token();
    let store = open.store.clone();
    let revoked = async move {
        // As `recover operator` or a restore of control would leave it: the row is gone.
        rows::set(&store, Space::Control, &schema::access_token(id), None).await;
        Ok(rest)
    };
    let parts: Body = stream::once(async move { Ok(begin) }).chain(stream::once(revoked)).boxed();
    let refused = bundle.import_body(&open, &owner, "copy", 0, parts).await;
    assert!(matches!(refused, Err(VaultError::Unauthenticated)), "{:?}", refused.err());
    let tenants = vault.tenants(&operator, None, 10).await.unwrap().0;
    assert_eq!(tenants.iter().find(|tenant| tenant.name == "copy").unwrap().state, "importing");
    assert_eq!(rows::records(&open.store, TenantNo(2)).await, []);
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shred_in_the_middle_of_an_export_takes_along_what_has_not_left() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let acme = source(&open, &place).await;
    for number in 0..20 {
        acme.put(&open, ("files", format!("many/{number}").as_str()), &["7"], &vec![number; 1 << 20], false).await.unwrap();
    }
    let export = to_somebody();
    let mut stream = open.vault.export_tenant(&acme.owner, &acme.name, export).await.unwrap();
    let mut sealed = Vec::new();
    while sealed.len() < 3 << 20 {
        sealed.extend_from_slice(&stream.next().await.unwrap().unwrap());
    }
    acme.shred(&open, "7").await;
    while let Some(piece) = stream.next().await {
        sealed.extend_from_slice(&piece.unwrap());
    }
    assert!(sealed.len() < 6 << 20, "nothing is read ahead of who takes it: {}", sealed.len());
    let bundle = Bundle::opened(&sealed);
    assert!(bundle.count(Kind::Gone) <= 1, "the value that was on its way, if one was");
    assert_eq!((bundle.count(Kind::Person), bundle.count(Kind::Events)), (0, 0));
    // Of it an import makes nothing.
    let owner = open.caller(&coming(&open, &place, "copy").await).await;
    bundle.import(&open, &owner, "copy", (0, bundle.frames.len())).await.unwrap();
    let copy = Acme { name: name("copy"), owner };
    let there = async |number: u8| copy.get(&open, ("files", format!("many/{number}").as_str())).await;
    let mut whole = 0;
    for number in 0..20 {
        if let Ok(value) = there(number).await {
            assert!(value == vec![number; 1 << 20], "{number}");
            whole += 1;
        }
    }
    assert!((1..6).contains(&whole), "{whole}");
    assert_eq!(copy.get(&open, ("people", "8")).await.unwrap(), b"8");
    open.close().await;
}

/// The bundle has told which rules its records were written under.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_that_change_in_the_middle_of_an_export_end_it() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    for number in 0..40 {
        acme.put(&open, ("files", format!("many/{number}").as_str()), &["7"], &vec![7; 1 << 18], false).await.unwrap();
    }
    let mut stream = open.vault.export_tenant(&acme.owner, &acme.name, to_somebody()).await.unwrap();
    for _ in 0..10 {
        stream.next().await.unwrap().unwrap();
    }
    let policy = lawful(ShredUnit::Record, "4y");
    open.vault.put_collection(&acme.owner, &acme.name, &coll("files"), policy, None).await.unwrap();
    let end = end_of(stream).await;
    assert!(matches!(end, Some(Err(VaultError::Busy))), "{end:?}");
    open.close().await;
}

/// A law may keep it: until that is decided it is neither there nor restricted, and must not be missing in both stores.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_order_is_about_to_leave_for_a_law_is_in_the_bundle_once_it_has() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open_meddled().await;
    let acme = source(&open, &place).await;
    for (at, value) in [("7", b"7".to_vec()), ("7/large", large())] {
        acme.put(&open, ("law", at), &["7"], &value, false).await.unwrap();
    }
    let refused = place.meddler.refuse_epochs(StoreError::DiskFull);
    let order = persons(&["7"]);
    let order = open.vault.order_shred(&acme.owner, &acme.name, order, None, None).await.unwrap().id;
    refused.next().await;
    let end = end_of(open.vault.export_tenant(&acme.owner, &acme.name, to_somebody()).await.unwrap()).await;
    assert!(matches!(end, Some(Err(VaultError::Busy))), "{end:?}");
    place.meddler.refuse_nothing();
    assert!(open.awaited(&acme.owner, &acme.name, order).await.done);
    let bundle = Bundle::of(&open, &acme).await;
    assert_eq!((bundle.count(Kind::SealedRecord), bundle.trailer.left_out.unreadable), (4, 0));
    open.close().await;
}

/// The same where the order comes while a page of them is on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_order_leaves_for_a_law_in_the_middle_of_a_page_ends_the_export() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    open.vault.put_collection(&acme.owner, &acme.name, &coll("law"), lawful(ShredUnit::Subject, "4y"), None).await.unwrap();
    for number in 0..20 {
        acme.put(&open, ("law", format!("many/{number}").as_str()), &["7"], &vec![number; 1 << 20], false).await.unwrap();
    }
    let mut stream = open.vault.export_tenant(&acme.owner, &acme.name, to_somebody()).await.unwrap();
    let mut len = 0;
    while len < 3 << 20 {
        len += stream.next().await.unwrap().unwrap().len();
    }
    acme.shred(&open, "7").await;
    let end = end_of(stream).await;
    assert!(matches!(end, Some(Err(VaultError::Busy))), "{end:?}");
    assert_eq!(Bundle::of(&open, &acme).await.count(Kind::SealedRecord), 20);
    open.close().await;
}

/// What the bundle has told of the person before would lie under the tombstone that a record restricted since brings along: no order in the
/// new store could ever find it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shred_in_the_middle_of_an_export_that_leaves_something_for_a_law_ends_it() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let acme = source(&open, &place).await;
    acme.put(&open, ("law", "7"), &["7"], b"7", false).await.unwrap();
    for number in 0..20 {
        acme.put(&open, ("files", format!("many/{number}").as_str()), &["8"], &vec![number; 1 << 20], false).await.unwrap();
    }
    let mut stream = open.vault.export_tenant(&acme.owner, &acme.name, to_somebody()).await.unwrap();
    let mut len = 0;
    // The people have left by then.
    while len < 3 << 20 {
        len += stream.next().await.unwrap().unwrap().len();
    }
    acme.shred(&open, "7").await;
    let end = end_of(stream).await;
    assert!(matches!(end, Some(Err(VaultError::Busy))), "{end:?}");
    // Begun behind it, it says that the person is erased, and nothing else of the person.
    let bundle = Bundle::of(&open, &acme).await;
    assert_eq!((bundle.count(Kind::SealedRecord), bundle.count(Kind::Person)), (3, 0));
    open.close().await;
}

/// A bundle that an earlier build has made so, or somebody else: nobody is erased over what is there, and who came back is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tombstone_comes_over_what_a_later_order_is_to_find() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let bundle = Bundle::of(&open, &source(&open, &place).await).await;
    let (records, persons_from) = (bundle.first(Kind::Record), bundle.first(Kind::Person));
    let people = bundle.record_as(("people", "8"), ("people", "6", "6"), b'6');
    let whole = bundle.record_as(("people", "8"), ("all", "6", "6"), b'6');
    // Under the same rules, in the same commit but for that.
    let behind = bundle.record_as(("people", "8"), ("law", "6", "6"), b'6');
    for (tenant, place_of, more, at) in [
        ("under-a-key", records, people, ("people", "6")),
        ("under-the-collections", records, whole, ("all", "6")),
        ("behind-it", persons_from, behind, ("law", "6")),
    ] {
        let bent = bundle.with(place_of, more);
        let owner = open.caller(&coming(&open, &place, tenant).await).await;
        let done = bent.import(&open, &owner, tenant, (0, bent.frames.len())).await.unwrap();
        assert_eq!(done.state, "active", "{tenant}");
        let copy = Acme { name: name(tenant), owner };
        assert_eq!(copy.get(&open, at).await.unwrap(), b"6", "{tenant}");
        assert_eq!(copy.returns(&open).await, usize::from(tenant == "behind-it"), "{tenant}");
        assert!(is_shredded(&copy.get(&open, ("law", "left")).await), "{tenant}");
        copy.shred(&open, "6").await;
        let gone = copy.get(&open, at).await;
        assert!(gone.is_err(), "{tenant}: {gone:?}");
        assert!(is_shredded(&copy.put(&open, ("people", "6"), &["6"], b"stale", false).await), "{tenant}: erased");
    }
    open.close().await;
}

/// A hold on what was made in a collection whose page had gone by keeps nobody from importing, and stands over what has come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_hold_is_on_in_a_collection_that_has_not_come_is_dropped() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let bundle = Bundle::of(&open, &source(&open, &place).await).await;
    let header: Value = serde_json::from_slice(&bundle.frames[0].payload).unwrap();
    let hold = |id: u8, on: Value| {
        let document = json!({"id": hex::encode([id; 16]), "matter": "M-1", "reason": "a lawsuit", "custodian": "legal", "case_number": null,
            "renewal_reason": null, "disclosed": true, "placed_by": header["exported_by"], "placed_at": header["exported_at"],
            "lapses_at": null, "on": on, "unnamed": 0});
        Frame { kind: Kind::Hold, payload: serde_json::to_vec(&document).unwrap().into() }
    };
    let record = |collection: &str| json!({"record": {"collection": collection, "key": "8"}});
    let holds =
        vec![hold(1, json!([record("late"), record("people")])), hold(2, json!([{"under": {"collection": "late", "prefix": null}}]))];
    let bundle = bundle.with(bundle.first(Kind::Grant), holds);
    let owner = open.caller(&coming(&open, &place, "copy").await).await;
    let done = bundle.import(&open, &owner, "copy", (0, bundle.frames.len())).await.unwrap();
    assert_eq!(done.state, "active");
    let delete = async |key_of: &str| open.delete(&owner, &name("copy"), ("people", key_of)).await;
    let held = delete("8").await;
    assert!(matches!(held, Err(VaultError::LegalHold { .. })), "{held:?}");
    delete("7").await.unwrap();
    open.close().await;
}

/// However fast the trail grows while its pages leave.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_of_a_tenant_that_is_at_work_ends() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let work = async || {
        for _ in 0..400 {
            acme.get(&open, ("people", "7")).await.unwrap();
        }
    };
    work().await;
    let mut stream = open.vault.export_tenant(&acme.owner, &acme.name, to_somebody()).await.unwrap();
    let mut sealed = Vec::new();
    let mut pieces = 0;
    while let Some(piece) = stream.next().await {
        sealed.extend_from_slice(&piece.unwrap());
        work().await;
        pieces += 1;
        assert!(pieces < 30, "as much comes as leaves, or more");
    }
    let bundle = Bundle::opened(&sealed);
    let entries = bundle.count(Kind::Entry);
    assert!(entries > 400, "all from before it are there: {entries}");
    open.close().await;
}

/// One whose page went by is not in the bundle, and neither is what it has taken back that an order had closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_comes_in_the_middle_of_an_export_ends_it() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open_meddled().await;
    let acme = source(&open, &place).await;
    let counsel = open.with_role(&acme.owner, &acme.name, Role::Counsel).await;
    for number in 0..20 {
        acme.put(&open, ("files", format!("many/{number}").as_str()), &["8"], &vec![number; 1 << 20], false).await.unwrap();
    }
    let refused = place.meddler.refuse_epochs(StoreError::DiskFull);
    let order = persons(&["8"]);
    let order = open.vault.order_shred(&acme.owner, &acme.name, order, None, None).await.unwrap().id;
    refused.next().await;
    // Of who is about to go nothing is in it; a large value of another has the export wait for who takes it.
    acme.put(&open, ("files", "large/2"), &["7"], &vec![7; 4 << 20], false).await.unwrap();
    let mut stream = open.vault.export_tenant(&acme.owner, &acme.name, to_somebody()).await.unwrap();
    let mut len = 0;
    while len < 1 << 20 {
        len += stream.next().await.unwrap().unwrap().len();
    }
    let hold = NewHold { disclosed: true, ..hold_on("8") };
    let placed = open.vault.place_hold(&counsel, &acme.name, hold, None).await.unwrap();
    let end = end_of(stream).await;
    assert!(matches!(end, Some(Err(VaultError::Busy))), "{end:?}");
    assert!(open.awaited(&acme.owner, &acme.name, order).await.held);
    let bundle = Bundle::of(&open, &acme).await;
    let there: Vec<_> = bundle.frames.iter().filter(|frame| frame.kind == Kind::Record).map(|frame| frame.payload.clone()).collect();
    let of_eight = |record: &&Bytes| record.windows(9).any(|part| part == b"\"many/19\"");
    assert_eq!((bundle.count(Kind::Hold), there.iter().filter(of_eight).count()), (1, 1));
    // And one that is released while it goes on.
    let mut stream = open.vault.export_tenant(&acme.owner, &acme.name, to_somebody()).await.unwrap();
    stream.next().await.unwrap().unwrap();
    place.meddler.refuse_nothing();
    open.vault.release_hold(&counsel, &acme.name, placed.id, "settled".into(), None).await.unwrap();
    let end = end_of(stream).await;
    assert!(matches!(end, Some(Err(VaultError::Busy))), "{end:?}");
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_open_and_what_is_over_is_left_out_and_counted() {
    let (place, clock) = Place::make_clocked().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let over = PutRecord { expires_at: Some(clock.now().plus(Duration::from_mins(1))), ..put_of(Some("8"), b"v") };
    open.vault.put_record(&acme.owner, &acme.name, &coll("all"), key("over"), over).await.unwrap();
    clock.advance(Duration::from_secs(61));
    for row in &rows::records(&open.store, TenantNo(1)).await[..2] {
        rows::set(&open.store, Space::Records, &row.key, Some(rows::bent(&row.value))).await;
    }
    let bundle = Bundle::of(&open, &acme).await;
    let left = bundle.trailer.left_out;
    assert_eq!((left.unreadable, left.over, left.bent, bundle.count(Kind::Record)), (2, 1, 0, 4));
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_import_at_once_bring_each_record_once() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let bundle = Bundle::of(&open, &source(&open, &place).await).await;
    let token = coming(&open, &place, "copy").await;
    let owner = open.caller(&token).await;
    let all = (0, bundle.frames.len());
    let (one, two) = tokio::join!(bundle.import(&open, &owner, "copy", all), bundle.import(&open, &owner, "copy", all));
    for done in [&one, &two] {
        let expected = match done {
            Ok(view) => view.state == "active",
            Err(error) => matches!(error, VaultError::Busy | VaultError::Conflict(Conflict::NotImporting)),
        };
        assert!(expected, "{:?}", done.as_ref().err());
    }
    if one.is_err() && two.is_err() {
        let (_, at) = next(&open, &owner, "copy").await;
        bundle.import(&open, &owner, "copy", (at, all.1)).await.unwrap();
    }
    let writes = open.trail(&owner, &name("copy"), "record.write").await;
    assert_eq!(writes.len(), bundle.count(Kind::Record) + bundle.count(Kind::SealedRecord), "{writes:?}");
    is_all_there(&open, owner, "copy", "of two").await;
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_importing_tenant_is_nobodys_else() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let acme = source(&open, &place).await;
    let bundle = Bundle::of(&open, &acme).await;
    let token = coming(&open, &place, "copy").await;
    let owner = open.caller(&token).await;
    let whole = (0, bundle.frames.len());
    assert!(matches!(bundle.import(&open, &acme.owner, "copy", whole).await, Err(VaultError::NotFound(_))), "another tenant's owner");
    let operator = open.caller(&place.operator).await;
    assert!(matches!(bundle.import(&open, &operator, "copy", whole).await, Err(VaultError::Forbidden)));
    let into = bundle.import(&open, &acme.owner, "acme", whole).await;
    assert!(matches!(into, Err(VaultError::Conflict(Conflict::NotImporting))), "a tenant that is in use");
    let copy = Acme { name: name("copy"), owner: owner.clone() };
    for refused in [copy.put(&open, ("people", "9"), &["9"], b"v", false).await, copy.get(&open, ("people", "9")).await.map(drop)] {
        assert!(matches!(refused, Err(VaultError::Conflict(Conflict::Importing))), "{refused:?}");
    }
    let made = open.vault.put_collection(&owner, &copy.name, &coll("x"), CollectionPolicy::default(), None).await;
    assert!(matches!(made, Err(VaultError::Conflict(Conflict::Importing))));
    let other = Bundle::of(&open, &acme).await;
    bundle.import(&open, &owner, "copy", (0, 2)).await.unwrap();
    let mixed = other.import(&open, &owner, "copy", (2, 4)).await;
    assert!(matches!(mixed, Err(VaultError::Unprocessable(Unprocessable::OtherBundle))), "{:?}", mixed.err());
    bundle.import(&open, &owner, "copy", (2, bundle.frames.len())).await.unwrap();
    let reader = open.with_role(&owner, &copy.name, Role::Reader).await;
    assert_eq!(open.get(&reader, &copy.name, ("people", "7")).await.unwrap(), b"7");
    open.collection(&owner, &copy.name, "later", ShredUnit::Record).await;
    open.close().await;
}

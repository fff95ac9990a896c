//! A bundle that is bent, cut, or put together anew is not taken, wherever.

use super::super::{FORMAT, VERSION, documents::LeftOut};
use super::*;
use crate::{
    domain::{
        Timestamp,
        retention::{EventDate, EventName, events::Report},
    },
    vault::audit::note::Signer,
};

fn signer() -> Signer {
    Signer::from_seed("lethe/07070707070707070707070707070707", &[9; 32]).unwrap()
}

fn header() -> Header {
    Header {
        format: FORMAT.into(),
        version: VERSION,
        bundle: "11".repeat(16),
        store: "07".repeat(16),
        tenant: "acme".into(),
        tenant_no: 5,
        exported_at: Timestamp(1_700_000_000_000),
        exported_by: "22".repeat(16),
        created_at: Timestamp(1_600_000_000_000),
        create_collections_on_write: false,
        approvals: None,
        salt: "33".repeat(32),
    }
}

fn json(kind: Kind, document: &impl serde::Serialize) -> Frame {
    Frame { kind, payload: serde_json::to_vec(document).unwrap().into() }
}

fn raw(kind: Kind, payload: &[u8]) -> Frame {
    Frame { kind, payload: Bytes::copy_from_slice(payload) }
}

fn record(key: &str, value_len: u64) -> Frame {
    let time = "2026-01-31T00:00:00.000Z";
    let document = serde_json::json!({"collection": "crm", "key": key, "content_type": "text/plain", "subjects": ["7"], "created_at": time,
        "modified_at": time, "expires_at": null, "value_len": value_len, "rules_no": 0, "reports_no": 0, "due": {"ends": {"at": time, "by_date": false}}});
    json(Kind::Record, &document)
}

fn hold(id: u8) -> HoldDoc {
    HoldDoc {
        id: hex::encode([id; 16]),
        matter: "m".into(),
        reason: "r".into(),
        custodian: "c".into(),
        case_number: None,
        renewal_reason: None,
        disclosed: false,
        placed_by: hex::encode([1; 16]),
        placed_at: Timestamp(0),
        lapses_at: None,
        on: Vec::new(),
        unnamed: 0,
    }
}

/// What was reported of person 7: the end of a contract, which was taken back.
fn events() -> EventsDoc {
    let report = |at: Option<&str>, (no, reported_at)| Report {
        event: EventName::parse("contract-ended").unwrap(),
        at: at.and_then(EventDate::parse),
        reported_at: Timestamp(reported_at),
        no,
    };
    EventsDoc {
        subject: "7".into(),
        reports: vec![report(Some("2026-01-31"), (7, 1_700_000_000_000)), report(None, (9, 1_700_000_000_001))],
        joined: Vec::new(),
    }
}

/// What was sealed, and the frame that it would be sealed in; a test seals nothing.
fn sealed(id: u8) -> (Frame, Frame) {
    let plain = [&[id; 32][..], &serde_json::to_vec(&hold(id)).unwrap()].concat();
    let commitment = OpenedFrame::parse(&plain).unwrap().commitment(Kind::SealedHold);
    (raw(Kind::SealedHold, &[&commitment[..], b"sealed"].concat()), raw(Kind::Opened, &plain))
}

/// A bundle of these frames behind its header, with its trailer.
fn whole(frames: Vec<Frame>) -> Vec<Frame> {
    let mut all = vec![json(Kind::Header, &header())];
    all.extend(frames);
    let mut progress = Progress::default();
    for frame in &all {
        progress.add(frame.kind, &frame.payload);
    }
    all.push(trailer(&progress));
    all
}

fn trailer(progress: &Progress) -> Frame {
    let (Header { bundle, store, .. }, chain) = (header(), hex::encode(progress.chain));
    let (counts, left_out) = (progress.counts.by_name(), LeftOut { unreadable: 2, over: 4, bent: 6 });
    let mut trailer = Trailer { frames: progress.next, counts, left_out, chain, note: String::new() };
    trailer.note = signer().sign(&trailer.signed_text(&bundle, &store)).unwrap();
    json(Kind::Trailer, &trailer)
}

fn some() -> Vec<Frame> {
    whole(vec![
        record("a", 0),
        record("b", 5),
        raw(Kind::Value, b"12345"),
        record("c", 7),
        raw(Kind::Value, b"123"),
        raw(Kind::Value, b"4567"),
        record("d", 9),
        raw(Kind::Value, b"1"),
        raw(Kind::Gone, b""),
        json(Kind::Person, &PersonDoc { subject: "7".into(), aliases: vec!["ann".into()] }),
        json(Kind::Events, &events()),
        raw(Kind::Entry, b"{}"),
        raw(Kind::Entry, b"{\"a\":1}"),
    ])
}

fn read(way: Way, frames: &[Frame]) -> Result<Trailer, BundleError> {
    let mut checker = Checker::new(way, Progress::default());
    let mut found = None;
    for frame in frames {
        if let Part::Trailer(trailer) = checker.take(frame)? {
            found = Some(*trailer);
        }
    }
    checker.finish()?;
    Ok(found.unwrap())
}

fn refused(frames: &[Frame]) -> Option<BundleError> {
    read(Way::File, frames).err()
}

#[test]
fn a_whole_bundle_is_taken_and_its_trailer_is_its_stores() {
    let trailer = read(Way::File, &some()).unwrap();
    assert_eq!((trailer.frames, trailer.counts["records"], trailer.counts["values"], trailer.counts["gone"]), (14, 4, 4, 1));
    assert_eq!((trailer.counts["persons"], trailer.counts["events"]), (1, 1));
    assert_eq!(trailer.verify(&header(), &signer().verifier()), Ok(()));
    let another = Signer::from_seed("lethe/07070707070707070707070707070707", &[8; 32]).unwrap().verifier();
    assert_eq!(trailer.verify(&header(), &another), Err(BundleError::Signature));
    for bent in [Header { bundle: "12".repeat(16), ..header() }, Header { store: "08".repeat(16), ..header() }] {
        assert_eq!(trailer.verify(&bent, &signer().verifier()), Err(BundleError::Signature));
    }
}

#[test]
fn each_byte_counts_in_a_bundle() {
    let frames = some();
    let mut tried = 0;
    for at in 0..frames.len() {
        for place in 0..frames[at].payload.len() {
            let mut bent = frames.clone();
            let mut payload = bent[at].payload.to_vec();
            payload[place] ^= 1;
            bent[at].payload = payload.into();
            // What the trailer says besides is looked at with the key.
            let taken = read(Way::File, &bent).and_then(|trailer| trailer.verify(&header(), &signer().verifier()));
            assert!(taken.is_err(), "byte {place} of frame {at}");
            tried += 1;
        }
    }
    assert!(tried > 1_000, "{tried}");
}

#[test]
fn no_frame_is_left_out_said_twice_moved_or_added() {
    let frames = some();
    for at in 0..frames.len() {
        assert_eq!(refused(&frames[..at]), Some(BundleError::Cut), "cut before frame {at}");
        let mut without = frames.clone();
        without.remove(at);
        assert!(refused(&without).is_some(), "without frame {at}");
        let mut twice = frames.clone();
        twice.insert(at, frames[at].clone());
        assert!(refused(&twice).is_some(), "frame {at} twice");
        if at > 0 {
            let mut moved = frames.clone();
            moved.swap(at - 1, at);
            assert!(refused(&moved).is_some(), "frame {at} before the one before");
        }
    }
    assert_eq!(refused(&[&frames[..], &[record("e", 0)]].concat()), Some(BundleError::Behind));
    assert_eq!(refused(&[&frames[..], &frames[..1]].concat()), Some(BundleError::Behind));
    assert_eq!(refused(&[]), Some(BundleError::Cut));
}

#[test]
fn what_is_no_bundle_or_one_of_another_version_is_refused_by_its_name() {
    let with = |header: serde_json::Value| refused(&[json(Kind::Header, &header)]);
    let header = serde_json::to_value(header()).unwrap();
    let other = |name: &str, value: serde_json::Value| {
        let mut header = header.clone();
        header[name] = value;
        with(header)
    };
    assert_eq!(with(header.clone()), Some(BundleError::Cut), "as it is, it is taken");
    assert_eq!(other("version", 2.into()), Some(BundleError::Version(2)));
    assert_eq!(other("version", "1".into()), Some(BundleError::NotABundle));
    assert_eq!(other("format", "tar".into()), Some(BundleError::NotABundle));
    assert_eq!(other("more", 1.into()), Some(BundleError::Form(Kind::Header)));
    assert_eq!(other("tenant_no", "x".into()), Some(BundleError::Form(Kind::Header)));
    assert_eq!(refused(&[raw(Kind::Header, b"PK")]), Some(BundleError::NotABundle));
    assert_eq!(refused(&[record("a", 0)]), Some(BundleError::NotABundle));
    // A later version may have other fields: it is its number that is told.
    let later = serde_json::json!({"format": FORMAT, "version": 9, "unheard": []});
    assert_eq!(with(later), Some(BundleError::Version(9)));
}

#[test]
fn values_add_up_to_what_their_records_say() {
    for (frames, error) in [
        (vec![record("a", 5), raw(Kind::Value, b"123456")], BundleError::Value),
        (vec![record("a", 5), raw(Kind::Value, b"")], BundleError::Value),
        (vec![record("a", 5), raw(Kind::Value, b"1234"), record("b", 0)], BundleError::Value),
        (vec![record("a", 5), raw(Kind::Entry, b"{}")], BundleError::Value),
        (vec![record("a", 0), raw(Kind::Value, b"1")], BundleError::Order(Kind::Value)),
        (vec![raw(Kind::Gone, b"")], BundleError::Order(Kind::Gone)),
        (vec![record("a", 1), raw(Kind::Value, b"1"), raw(Kind::Gone, b"")], BundleError::Order(Kind::Gone)),
        (vec![record("a", 1), raw(Kind::Gone, b"x")], BundleError::Form(Kind::Gone)),
        (vec![raw(Kind::Entry, b"{}"), record("a", 0)], BundleError::Order(Kind::Record)),
        (vec![raw(Kind::Entry, b"\xff")], BundleError::Form(Kind::Entry)),
    ] {
        assert_eq!(refused(&whole(frames.clone())), Some(error), "{frames:?}");
    }
}

/// A document, with something else in one of its places.
fn with(mut document: serde_json::Value, place: &str, value: serde_json::Value) -> serde_json::Value {
    *document.pointer_mut(place).unwrap() = value;
    document
}

#[test]
fn what_was_reported_of_a_person_comes_with_the_persons_and_is_refused_in_another_form() {
    let person = json(Kind::Person, &PersonDoc { subject: "8".into(), aliases: vec!["bob".into()] });
    let told = json(Kind::Events, &events());
    assert_eq!(refused(&whole(vec![record("a", 0), told.clone(), person, told.clone(), json(Kind::Hold, &hold(1))])), None);
    assert_eq!(refused(&whole(vec![told.clone(), record("a", 0)])), Some(BundleError::Order(Kind::Record)));
    assert_eq!(refused(&whole(vec![json(Kind::Hold, &hold(1)), told.clone()])), Some(BundleError::Order(Kind::Events)));
    let mut checker = Checker::new(Way::File, Progress::default());
    checker.take(&json(Kind::Header, &header())).unwrap();
    let Ok(Part::Events(read)) = checker.take(&told) else { panic!("it is read") };
    assert_eq!(read, events());
    let good = serde_json::to_value(events()).unwrap();
    assert_eq!(refused(&whole(vec![json(Kind::Events, &good)])), None);
    for (place, value) in [
        ("/subject", 7.into()),
        ("/reports", serde_json::Value::Null),
        ("/reports/0/event", "No Name".into()),
        ("/reports/0/at", "soon".into()),
        ("/reports/0/at", "9001-01-01".into()),
        ("/reports/1/reported_at", 5.into()),
        ("/reports/1/no", "9".into()),
        ("/reports/1/no", (-1).into()),
        ("/reports/1", serde_json::json!({"event": "e", "at": null, "reported_at": "2026-01-31T00:00:00.000Z"})),
        ("/reports/1", serde_json::json!({"event": "e", "at": null, "reported_at": "2026-01-31T00:00:00.000Z", "no": 9, "by": "x"})),
    ] {
        let bent = with(good.clone(), place, value);
        assert_eq!(refused(&whole(vec![json(Kind::Events, &bent)])), Some(BundleError::Form(Kind::Events)), "{bent}");
    }
}

/// Without what an order remembers nothing would end what it has left, or it would end too early.
#[test]
fn a_record_that_an_order_has_left_says_what_the_order_remembers() {
    let mut document: serde_json::Value = serde_json::from_slice(&record("r", 0).payload).unwrap();
    let time = "2026-01-31T00:00:00.000Z";
    let order = "44".repeat(16);
    let left_by = serde_json::json!({"order": order, "is_erased": true, "as_of": time, "reports": events().reports});
    document["kept"] = serde_json::json!({"rule": "tax", "basis": "law 1", "until": time, "left_by": left_by});
    let payload = |document: &serde_json::Value| serde_json::to_vec(document).unwrap();
    let read = RecordDoc::parse(&payload(&document)).unwrap();
    let left = read.kept.clone().unwrap().left_by.unwrap();
    assert_eq!((Some(left.as_of), left.reports), (Timestamp::parse_rfc3339(time), events().reports));
    assert_eq!(serde_json::to_value(&read).unwrap()["kept"], document["kept"]);
    // Nothing that a law counts from was reported.
    let mut none = document.clone();
    none["kept"]["left_by"].as_object_mut().unwrap().remove("reports");
    assert!(RecordDoc::parse(&payload(&none)).unwrap().kept.unwrap().left_by.unwrap().reports.is_empty());
    let mut without = document.clone();
    without["kept"]["left_by"].as_object_mut().unwrap().remove("as_of");
    let bent = with(document.clone(), "/kept/left_by/reports/0/at", "soon".into());
    for wrong in [without, bent] {
        assert!(matches!(RecordDoc::parse(&payload(&wrong)), Err(BundleError::Form(Kind::SealedRecord))), "{wrong}");
        let frame = json(Kind::Record, &wrong);
        assert_eq!(refused(&whole(vec![frame])), Some(BundleError::Form(Kind::Record)), "{wrong}");
    }
}

/// HOLD-4: which of the two kinds of minimums keeps a record goes along, and what was bypassed.
#[test]
fn what_keeps_a_record_until_somebody_bypasses_it_goes_along() {
    let mut document: serde_json::Value = serde_json::from_slice(&record("r", 0).payload).unwrap();
    assert!(document.get("governed").is_none(), "left out where it is nothing");
    document["governed"] = serde_json::json!({"rule": "tax", "basis": "law 1", "until": "2026-01-31T00:00:00.000Z", "rules_no": 3});
    let payload = |document: &serde_json::Value| serde_json::to_vec(document).unwrap();
    let read = RecordDoc::parse(&payload(&document)).unwrap();
    assert_eq!(read.governed.as_ref().unwrap().rules_no, 3);
    assert_eq!(serde_json::to_value(&read).unwrap()["governed"], document["governed"]);
    for (place, value) in [("/governed/rules_no", (-1).into()), ("/governed/until", "soon".into()), ("/governed/rule", "Tax!".into())] {
        let bent = with(document.clone(), place, value);
        assert!(matches!(RecordDoc::parse(&payload(&bent)), Err(BundleError::Form(Kind::SealedRecord))), "{bent}");
    }
}

#[test]
fn a_check_that_broke_off_goes_on_from_its_progress() {
    let frames = some();
    for cut in 1..frames.len() {
        let mut first = Checker::new(Way::File, Progress::default());
        for frame in &frames[..cut] {
            assert!(first.take(frame).is_ok());
        }
        if first.is_within() {
            continue;
        }
        let Progress { next, chain, rank, counts } = first.progress().clone();
        let kept = Progress { next, chain, rank, counts: Counts::from_numbers(&counts.to_numbers()) };
        assert_eq!(kept, *first.progress());
        let mut second = Checker::new(Way::File, kept.clone());
        for frame in &frames[cut..] {
            assert!(second.take(frame).is_ok(), "{cut}");
        }
        assert!(second.is_over());
        // From another place, or with another hash, it ends nowhere.
        let mut bent = Checker::new(Way::File, Progress { chain: [1; 32], ..kept });
        let ended = frames[cut..].iter().try_for_each(|frame| bent.take(frame).map(drop));
        assert_eq!(ended, Err(BundleError::Chain), "{cut}");
    }
}

#[test]
fn a_sealed_hold_comes_opened_on_the_wire_and_nowhere_else() {
    let ((first, opened), (second, other)) = (sealed(1), sealed(2));
    let file = whole(vec![first.clone(), second.clone()]);
    assert!(read(Way::File, &file).is_ok());
    assert_eq!(read(Way::Wire, &file).err(), Some(BundleError::Sealed), "not opened");
    let wire = |behind: [&Frame; 2]| {
        let mut wire = file.clone();
        wire.insert(3, behind[1].clone());
        wire.insert(2, behind[0].clone());
        wire
    };
    assert!(read(Way::Wire, &wire([&opened, &other])).is_ok());
    assert_eq!(read(Way::File, &wire([&opened, &other])).err(), Some(BundleError::Order(Kind::Opened)));
    assert_eq!(read(Way::Wire, &wire([&other, &opened])).err(), Some(BundleError::Sealed), "another's");
    let mut bent = opened.payload.to_vec();
    for place in 0..bent.len() {
        bent[place] ^= 1;
        assert_eq!(read(Way::Wire, &wire([&raw(Kind::Opened, &bent), &other])).err(), Some(BundleError::Sealed), "{place}");
        bent[place] ^= 1;
    }
    let twice = [&file[..2], &[opened.clone(), opened.clone()], &file[2..]].concat();
    assert_eq!(read(Way::Wire, &twice).err(), Some(BundleError::Order(Kind::Opened)));
}

/// A frame of that kind, and what follows it on the wire.
fn closed(kind: Kind, payload: &[u8]) -> [Frame; 2] {
    let plain = [&[9; 32][..], payload].concat();
    let commitment = OpenedFrame::parse(&plain).unwrap().commitment(kind);
    [raw(kind, &[&commitment[..], b"sealed"].concat()), raw(Kind::Opened, &plain)]
}

#[test]
fn a_sealed_record_comes_opened_with_its_value_on_the_wire_and_stays_sealed_in_its_file() {
    let sealed = |value_len: u64| closed(Kind::SealedRecord, &record("r", value_len).payload);
    let part = |bytes: &[u8]| closed(Kind::SealedValue, bytes);
    let file = |parts: &[[Frame; 2]]| parts.iter().map(|[frame, _]| frame.clone()).collect::<Vec<_>>();
    let taken = |parts: &[[Frame; 2]], more: &[Frame]| {
        let whole = whole([file(parts), more.to_vec()].concat());
        let mut wire = vec![whole[0].clone()];
        wire.extend(parts.iter().flatten().cloned());
        wire.extend_from_slice(&whole[1 + parts.len()..]);
        (read(Way::File, &whole).err(), read(Way::Wire, &wire).err())
    };
    let person = json(Kind::Person, &PersonDoc { subject: "7".into(), aliases: vec!["ann".into()] });
    assert_eq!(taken(&[sealed(5), part(b"123"), part(b"45"), sealed(0)], &[record("b", 0), person.clone()]), (None, None));
    assert_eq!(taken(&[sealed(5), part(b"12")], &[raw(Kind::Gone, b""), record("b", 0)]), (None, None));
    // How long a value is that stays sealed, nobody can tell.
    assert_eq!(taken(&[sealed(5), part(b"12345"), part(b"6")], &[]), (None, Some(BundleError::Order(Kind::SealedValue))));
    assert_eq!(taken(&[sealed(5), part(b"123456")], &[]), (None, Some(BundleError::Value)));
    assert_eq!(taken(&[sealed(5), part(b"1234")], &[record("b", 0)]), (None, Some(BundleError::Value)));
    assert_eq!(taken(&[sealed(5), part(b"")], &[]), (None, Some(BundleError::Value)));
    let long = vec![0; VALUE_LEN + 1];
    assert_eq!(taken(&[sealed(100_000), part(&long)], &[]), (None, Some(BundleError::TooLong(Kind::SealedValue))));
    // A part in the clear is none of it, and one that is sealed is none of another.
    let both = |error: BundleError| (Some(error), Some(error));
    assert_eq!(taken(&[sealed(1)], &[raw(Kind::Value, b"1")]), (Some(BundleError::Order(Kind::Value)), Some(BundleError::Value)));
    assert_eq!(taken(&[part(b"1")], &[]), both(BundleError::Order(Kind::SealedValue)));
    assert_eq!(taken(&[], &[raw(Kind::Gone, b"")]), both(BundleError::Order(Kind::Gone)));
    assert_eq!(taken(&[], &[person, file(&[sealed(0)]).remove(0)]), both(BundleError::Order(Kind::SealedRecord)));
    // What is sealed as one kind is not taken as another.
    let [hold, opened] = closed(Kind::SealedHold, &record("r", 0).payload);
    assert_eq!(taken(&[[raw(Kind::SealedRecord, &hold.payload), opened]], &[]), (None, Some(BundleError::Sealed)));
}

//! What the parts of a request cost, one by one: the raw ciphers of both suites, and another implementation of them beside; a record's
//! seal and open, HKDF, a token, a grant, an audit entry, and the fresh pages of one shredded unit.

#![expect(clippy::arithmetic_side_effects, reason = "a bench: it is told its sizes")]

use std::{hint::black_box, sync::Arc, time::Duration};

use aes_gcm::{
    Aes256Gcm,
    aead::{AeadInOut, KeyInit},
};
use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hkdf::Hkdf;
use lethe::{
    authn::{MintedToken, Narrowing, PresentedToken, Role, StoredToken, TokenKind},
    authz::{self, RecordRead, Resource},
    domain::{
        CollectionName, CollectionNo, PrincipalId, RecordKey, RecordMeta, RequestId, Slot, StoreId, SubjectId, SystemClock, TenantNo,
        Timestamp, TokenId, Version,
    },
    vault::{
        audit::{self, Action, Audit, AuditOptions, Entry, Outcome, Target, Trail, chain, note::Signer},
        crypto::{Context, EncodedMeta, Key, RecordHeader, Suite},
        keys::{Forest, ForestOptions, LeaseKind, ShredTarget, UnitRef},
        store::Store,
    },
};
use sha2::{Sha256, Sha512};
use tokio::runtime::Runtime;

#[path = "shared/ground.rs"]
mod ground;

const STORE: StoreId = StoreId([0xbe; 16]);
const COLLECTION: CollectionNo = CollectionNo(1);
const SIZES: [usize; 2] = [1_024, 16_384];

/// The cipher alone, in place, as the suites use it: one chunk under one key, which each record has of its own. What ring has of them
/// stands beside it; it has no XChaCha20-Poly1305, which is ChaCha20-Poly1305 under a key of one more block.
fn raw(c: &mut Criterion) {
    let mut group = c.benchmark_group("raw-aead");
    for len in SIZES {
        group.throughput(Throughput::Bytes(len as u64));
        raw_of::<Aes256Gcm>(&mut group, "aes-256-gcm", len);
        ring_of::<Aes256Gcm>(&mut group, "aes-256-gcm", &ring::aead::AES_256_GCM, len);
        raw_of::<ChaCha20Poly1305>(&mut group, "chacha20-poly1305", len);
        ring_of::<ChaCha20Poly1305>(&mut group, "chacha20-poly1305", &ring::aead::CHACHA20_POLY1305, len);
        raw_of::<XChaCha20Poly1305>(&mut group, "xchacha20-poly1305", len);
    }
    group.finish();
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

const KEY: [u8; 32] = [7; 32];

/// So many zeros under that key, with a nonce of zeros, and their tag.
fn sealed_by<A: AeadInOut + KeyInit>(len: usize) -> (Vec<u8>, aes_gcm::aead::Tag<A>) {
    let cipher = A::new_from_slice(&KEY).expect("a key of the cipher's length");
    let mut sealed = vec![0; len];
    let nonce = aes_gcm::aead::Nonce::<A>::default();
    let tag = cipher.encrypt_inout_detached(&nonce, b"", sealed.as_mut_slice().into()).expect("short enough");
    (sealed, tag)
}

fn raw_of<A: AeadInOut + KeyInit>(group: &mut Group<'_>, name: &str, len: usize) {
    let make = || A::new_from_slice(black_box(&KEY)).expect("a key of the cipher's length");
    let cipher = make();
    let nonce = aes_gcm::aead::Nonce::<A>::default();
    let (sealed, tag) = sealed_by::<A>(len);
    group.bench_function(BenchmarkId::new(format!("{name}/seal"), len), |b| {
        let mut buffer = vec![0; len];
        b.iter(|| cipher.encrypt_inout_detached(&nonce, b"", black_box(buffer.as_mut_slice()).into()));
    });
    group.bench_function(BenchmarkId::new(format!("{name}/key and seal"), len), |b| {
        let mut buffer = vec![0; len];
        b.iter(|| make().encrypt_inout_detached(&nonce, b"", black_box(buffer.as_mut_slice()).into()));
    });
    group.bench_function(BenchmarkId::new(format!("{name}/open"), len), |b| {
        b.iter_batched_ref(
            || sealed.clone(),
            |buffer| cipher.decrypt_inout_detached(&nonce, b"", buffer.as_mut_slice().into(), &tag).expect("it opens"),
            criterion::BatchSize::SmallInput,
        );
    });
}

/// The same by ring, held against what `A` makes of it.
fn ring_of<A: AeadInOut + KeyInit>(group: &mut Group<'_>, name: &str, algorithm: &'static ring::aead::Algorithm, len: usize) {
    use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey};

    let make = || LessSafeKey::new(UnboundKey::new(algorithm, black_box(&KEY)).expect("a key of the cipher's length"));
    let nonce = || Nonce::assume_unique_for_key([0; 12]);
    let cipher = make();
    let mut sealed = vec![0; len];
    let tag = cipher.seal_in_place_separate_tag(nonce(), Aad::empty(), &mut sealed).expect("short enough");
    let (ours, our_tag) = sealed_by::<A>(len);
    assert!(sealed == ours && AsRef::<[u8]>::as_ref(&tag) == our_tag.as_slice(), "{name} is not the same cipher");
    group.bench_function(BenchmarkId::new(format!("{name}/seal by ring"), len), |b| {
        let mut buffer = vec![0; len];
        b.iter(|| cipher.seal_in_place_separate_tag(nonce(), Aad::empty(), black_box(buffer.as_mut_slice())));
    });
    group.bench_function(BenchmarkId::new(format!("{name}/key and seal by ring"), len), |b| {
        let mut buffer = vec![0; len];
        b.iter(|| make().seal_in_place_separate_tag(nonce(), Aad::empty(), black_box(buffer.as_mut_slice())));
    });
    group.bench_function(BenchmarkId::new(format!("{name}/open by ring"), len), |b| {
        b.iter_batched_ref(
            || sealed.clone(),
            |buffer| {
                let plain = cipher.open_in_place_separate_tag(nonce(), Aad::empty(), tag, buffer.as_mut_slice(), 0..).expect("it opens");
                plain.len()
            },
            criterion::BatchSize::SmallInput,
        );
    });
}

/// A store on a memory disk where there is one, with a tenant and some units.
struct Site {
    dir: tempfile::TempDir,
    runtime: Runtime,
    store: Arc<dyn Store>,
    forest: Forest,
    tenant: TenantNo,
    units: Vec<UnitRef>,
}

impl Site {
    fn open() -> Self {
        let (dir, ground) = ground::make(STORE, Arc::new(SystemClock));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let store = Arc::clone(&ground.store);
        let (forest, tenant, units) = runtime.block_on(async {
            let forest = Forest::create(ground, ForestOptions::default()).await.expect("a forest");
            let tenant = TenantNo(forest.lease(LeaseKind::Tenant).await.expect("a number"));
            forest.make_tenant(tenant).await.expect("a tenant");
            let mut units = Vec::new();
            for _ in 0..1_000 {
                units.push(forest.make_unit(tenant).await.expect("a unit"));
            }
            (forest, tenant, units)
        });
        Self { dir, runtime, store, forest, tenant, units }
    }

    /// The first two units: one stands for the collection's.
    fn pair(&self) -> [UnitRef; 2] {
        [*self.units.first().expect("a unit"), *self.units.get(1).expect("a second unit")]
    }
}

fn records(c: &mut Criterion) {
    let site = Site::open();
    let [collection, unit] = site.pair();
    let load = |unit: UnitRef| site.runtime.block_on(site.forest.load_unit(site.tenant, unit.slot)).expect("a key");
    for unit in [collection, unit] {
        load(unit);
    }
    let mut group = c.benchmark_group("record");
    for suite in [Suite::Aes256Gcm, Suite::XChaCha20Poly1305] {
        for len in SIZES {
            group.throughput(Throughput::Bytes(len as u64));
            let header = RecordHeader { suite, flags: 0, slot: unit.slot, generation: unit.generation, version: Version(1) };
            let context = Context::record(&STORE, site.tenant, COLLECTION, &[[1; 16]], &header);
            let meta = EncodedMeta::new(&meta(len as u64)).expect("short enough");
            let value = vec![7; len];
            let lent = |f: &mut dyn FnMut(&Key<lethe::vault::crypto::Data>)| {
                site.forest.lend_data(collection, unit, COLLECTION, |key| f(key)).expect("keys that are loaded");
            };
            lent(&mut |key| {
                let sealed = key.seal_record(&context, &meta, &value);
                group.bench_function(BenchmarkId::new(format!("{suite:?}/seal"), len), |b| {
                    b.iter(|| key.seal_record(&context, &meta, black_box(&value)));
                });
                group.bench_function(BenchmarkId::new(format!("{suite:?}/open"), len), |b| {
                    b.iter(|| key.open_record(&context, black_box(&sealed)).map(|_| ()).expect("it opens"));
                });
            });
        }
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("lend the key", |b| {
        b.iter(|| site.forest.lend_data(collection, unit, COLLECTION, |_| ()).expect("keys that are loaded"));
    });
    group.finish();
}

fn meta(value_len: u64) -> RecordMeta {
    RecordMeta {
        key: RecordKey::parse("u0123456789abcdef").expect("a key"),
        content_type: "application/octet-stream".into(),
        subjects: vec![SubjectId::parse("s0123456789abcdef").expect("a subject")],
        created_at: Timestamp(0),
        modified_at: Timestamp(0),
        expires_at: None,
        value_len,
        custom: Vec::new(),
        rules_no: 0,
        reports_no: None,
        kept: None,
        governed: None,
    }
}

/// What a record's key comes from: two steps of SHA-256, and SHA-512 over all that says where it lies.
fn derivations(c: &mut Criterion) {
    c.bench_function("hkdf-expand-sha-256 of 32 bytes", |b| {
        let prk = Hkdf::<Sha256>::from_prk(&[7; 32]).expect("32 bytes");
        let mut out = [0; 32];
        b.iter(|| black_box(&prk).expand(b"lethe/v1/dek\0\0\x04\0\0\0\x01", &mut out));
    });
    c.bench_function("hkdf-expand-sha-512 of a record's 88 bytes", |b| {
        // The salt, and a context as long as that of a record whose name has one segment.
        let (prk, salt, context) = ([7_u8; 64], [7_u8; 24], [7_u8; 83]);
        let info: [&[u8]; 5] = [b"c2sp.org/chunked-encryption@v1+", b"AEAD_AES_256_GCM", &[0], &salt, &context];
        let mut out = [0; 88];
        b.iter(|| Hkdf::<Sha512>::from_prk(black_box(prk.as_slice())).expect("64 bytes").expand_multi_info(&info, &mut out));
    });
}

/// Who asks, and whether it may: a token, and the decision that a request for a record asks for.
fn access(c: &mut Criterion) {
    let tenant = TenantNo(1);
    let collection = CollectionName::parse("customers").expect("a name");
    let key = RecordKey::parse("europe/u0123456789abcdef").expect("a key");
    let minted = MintedToken::new(TokenKind::User, TokenId([3; 16]), [5; 32]);
    let (id, hash) = (minted.id(), minted.hash());
    let stored = |role, narrowing| StoredToken {
        id,
        hash,
        tenant,
        role,
        kind: TokenKind::User,
        created_at: Timestamp(0),
        expires_at: None,
        narrowing,
    };
    let header = format!("Bearer {}", minted.into_text().as_str());
    let verified = |stored: &StoredToken| {
        PresentedToken::parse_bearer(black_box(&header)).expect("a token").verify(stored, Timestamp(0)).expect("the token")
    };
    let owners = stored(Role::Owner, Narrowing::default());
    c.bench_function("token: parse, hash and verify", |b| b.iter(|| verified(&owners)));
    let narrowing = Narrowing { collections: vec![collection.clone()], prefix: Some(RecordKey::parse("europe").expect("a prefix")) };
    let cases = [
        ("an owner", true, verified(&owners)),
        ("a reader of one prefix", true, verified(&stored(Role::Reader, narrowing))),
        ("an auditor, refused", false, verified(&stored(Role::Auditor, Narrowing::default()))),
    ];
    let mut group = c.benchmark_group("grant: decide on a read");
    for (name, may, principal) in &cases {
        // As a request does it: the resource is made of what it names, and a permit holds both.
        let decide = || {
            let resource = Resource::collection::<RecordRead>(tenant, black_box(&collection), Some(black_box(&key)));
            authz::decide::<RecordRead>(black_box(principal), &resource)
        };
        assert_eq!(decide().is_ok(), *may, "{name}");
        group.bench_function(*name, |b| b.iter(decide));
    }
    group.finish();
}

/// An entry as bytes of the chain, and as the committer makes its row: numbered, chained, sealed.
fn entries(c: &mut Criterion) {
    let site = Site::open();
    let [unit, _] = site.pair();
    let entry = Entry {
        tenant: site.tenant,
        action: Action::RecordRead,
        outcome: Outcome::Allowed,
        principal: PrincipalId([3; 16]),
        role: audit::Role::Owner,
        request: RequestId([4; 16]),
        collection: COLLECTION,
        target: Target { record: Some([1; 16]), unit: Some((Slot::new(1).expect("a slot"), lethe::domain::Gen(0))), ..Target::default() },
    };
    c.bench_function("audit entry: encode and chain", |b| {
        let mut head = chain::start(&STORE, site.tenant, lethe::domain::WriterId(1));
        b.iter(|| head = chain::next(&head, &black_box(&entry).encode(Timestamp(0))));
    });
    let (log, signer) = (site.dir.path().join("log"), Signer::make("lethe/bench").expect("a name"));
    let clock = Arc::new(SystemClock);
    let open = Audit::open(Arc::clone(&site.store), site.forest.clone(), STORE, clock, log.as_path(), signer, AuditOptions::default());
    let (audit, _) = site.runtime.block_on(open).expect("an audit room");
    for (name, count) in [("audit entry: a row of one, chained and sealed", 1), ("audit entry: a row of 128, chained and sealed", 128)] {
        let run = vec![entry.clone(); count];
        let (mut tail, _receipt) = site.runtime.block_on(audit.tail_of_run(Trail::Data, unit, run)).expect("a tail");
        c.bench_function(name, |b| {
            b.iter(|| {
                let rows = tail.rows().expect("its unit's key is held");
                // Not stored: the chain goes back to where it was.
                tail.settled(false);
                rows
            });
        });
    }
}

/// The forest's share of a shred without I/O: fresh pages for one unit, up to the root.
fn rekey(c: &mut Criterion) {
    let site = Site::open();
    let mut next = 0;
    let mut group = c.benchmark_group("page re-key");
    group.sample_size(20);
    group.bench_function("one unit's path", |b| {
        b.iter_custom(|rounds| {
            let mut total = Duration::ZERO;
            for _ in 0..rounds {
                next = (next + 1) % site.units.len();
                let slot = site.units.get(next).expect("below the number of units").slot;
                let targets = [ShredTarget::Unit { tenant: site.tenant, slot }];
                let report = site.runtime.block_on(site.forest.shred(&targets, vec![], vec![])).expect("a shred");
                total = total.saturating_add(report.timings.rekey);
            }
            total
        });
    });
    group.finish();
}

criterion_group!(benches, raw, records, derivations, access, entries, rekey);
criterion_main!(benches);

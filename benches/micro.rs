//! What the parts of a request cost, one by one: the raw ciphers of both suites, a record's seal and open, HKDF, a token,
//! an audit entry, and the fresh pages of one shredded unit.

#![expect(clippy::arithmetic_side_effects, reason = "a bench: it is told its sizes")]

use std::{hint::black_box, sync::Arc, time::Duration};

use aes_gcm::{
    Aes256Gcm,
    aead::{AeadInOut, KeyInit, array::typenum::Unsigned as _},
};
use chacha20poly1305::XChaCha20Poly1305;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hkdf::Hkdf;
use lethe::{
    authn::{MintedToken, Narrowing, PresentedToken, Role, StoredToken, TokenKind},
    domain::{
        CollectionNo, PrincipalId, RecordKey, RecordMeta, RequestId, Slot, StoreId, SubjectId, SystemClock, TenantNo, Timestamp, TokenId,
        Version,
    },
    vault::{
        audit::{self, Action, Entry, Outcome, Target, chain},
        crypto::{Context, EncodedMeta, Key, RecordHeader, Suite},
        keys::{Forest, ForestOptions, LeaseKind, ShredTarget, UnitRef},
    },
};
use sha2::Sha256;
use tokio::runtime::Runtime;

#[path = "shared/ground.rs"]
mod ground;

const STORE: StoreId = StoreId([0xbe; 16]);
const COLLECTION: CollectionNo = CollectionNo(1);
const SIZES: [usize; 2] = [1_024, 16_384];

/// The cipher alone, in place, as the suites use it: one chunk under one key.
fn raw(c: &mut Criterion) {
    let mut group = c.benchmark_group("raw-aead");
    for len in SIZES {
        group.throughput(Throughput::Bytes(len as u64));
        raw_of::<Aes256Gcm>(&mut group, "aes-256-gcm", len);
        raw_of::<XChaCha20Poly1305>(&mut group, "xchacha20-poly1305", len);
    }
    group.finish();
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

fn raw_of<A: AeadInOut + KeyInit>(group: &mut Group<'_>, name: &str, len: usize) {
    let cipher = A::new_from_slice(&vec![7; A::KeySize::USIZE]).expect("a key of the cipher's length");
    let nonce = aes_gcm::aead::Nonce::<A>::default();
    let mut sealed = vec![0; len];
    let tag = cipher.encrypt_inout_detached(&nonce, b"", sealed.as_mut_slice().into()).expect("short enough");
    group.bench_function(BenchmarkId::new(format!("{name}/seal"), len), |b| {
        let mut buffer = vec![0; len];
        b.iter(|| cipher.encrypt_inout_detached(&nonce, b"", black_box(buffer.as_mut_slice()).into()));
    });
    group.bench_function(BenchmarkId::new(format!("{name}/open"), len), |b| {
        b.iter_batched_ref(
            || sealed.clone(),
            |buffer| cipher.decrypt_inout_detached(&nonce, b"", buffer.as_mut_slice().into(), &tag).expect("it opens"),
            criterion::BatchSize::SmallInput,
        );
    });
}

/// A store on a memory disk where there is one, with a tenant and some units.
struct Site {
    _dir: tempfile::TempDir,
    runtime: Runtime,
    forest: Forest,
    tenant: TenantNo,
    units: Vec<UnitRef>,
}

impl Site {
    fn open() -> Self {
        let (dir, ground) = ground::make(STORE, Arc::new(SystemClock));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
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
        Self { _dir: dir, runtime, forest, tenant, units }
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
        kept: None,
    }
}

fn small(c: &mut Criterion) {
    c.bench_function("hkdf-expand-sha-256 of 32 bytes", |b| {
        let prk = Hkdf::<Sha256>::from_prk(&[7; 32]).expect("32 bytes");
        let mut out = [0; 32];
        b.iter(|| black_box(&prk).expand(b"lethe/v1/dek\0\0\x04\0\0\0\x01", &mut out));
    });
    let minted = MintedToken::new(TokenKind::User, TokenId([3; 16]), [5; 32]);
    let stored = StoredToken {
        id: minted.id(),
        hash: minted.hash(),
        tenant: TenantNo(1),
        role: Role::Owner,
        kind: TokenKind::User,
        created_at: Timestamp(0),
        expires_at: None,
        narrowing: Narrowing::default(),
    };
    let header = format!("Bearer {}", minted.into_text().as_str());
    c.bench_function("token: parse, hash and verify", |b| {
        b.iter(|| PresentedToken::parse_bearer(black_box(&header)).expect("a token").verify(&stored, Timestamp(0)).expect("the token"));
    });
    let entry = Entry {
        tenant: TenantNo(1),
        action: Action::RecordRead,
        outcome: Outcome::Allowed,
        principal: PrincipalId([3; 16]),
        role: audit::Role::Owner,
        request: RequestId([4; 16]),
        collection: COLLECTION,
        target: Target { record: Some([1; 16]), unit: Some((Slot::new(1).expect("a slot"), lethe::domain::Gen(0))), ..Target::default() },
    };
    c.bench_function("audit entry: encode and chain", |b| {
        let mut head = chain::start(&STORE, TenantNo(1), lethe::domain::WriterId(1));
        b.iter(|| head = chain::next(&head, &black_box(&entry).encode(Timestamp(0))));
    });
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

criterion_group!(benches, raw, records, small, rekey);
criterion_main!(benches);

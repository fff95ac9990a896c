//! What a certificate commits to, opened by who has the answer to the order and knows what its keys sealed.

use lethe::{
    domain::{Gen, ShredUnit, Slot, TenantNo},
    vault::{
        audit::{
            certificate::Certificate,
            commitments::{Commitments, KeyId, Label},
        },
        crypto::RecordHeader,
        ops::{ShredOrder, ShredView},
    },
};

use crate::{
    harness::{Open, Place, coll, key},
    rows,
};

const ACME: TenantNo = TenantNo(1);

/// The keys that seal the records, as their headers name them, in the order of their collections.
async fn sealed_under(open: &Open) -> Vec<(Slot, Gen)> {
    let rows = rows::records(&open.store, ACME).await;
    rows.iter().map(|row| RecordHeader::parse(&row.value).unwrap()).map(|head| (head.slot, head.generation)).collect()
}

fn ids(units: &[(Slot, Gen)]) -> Vec<Vec<u8>> {
    units.iter().map(|(slot, generation)| KeyId::Unit(ACME, *slot, Some(*generation)).to_bytes()).collect()
}

/// Whether the key ids of an order's certificate are these, for who has its answer.
async fn opens(open: &Open, view: &ShredView, ids: &[Vec<u8>]) -> bool {
    let note = open.vault.certificate(view.id).await.unwrap();
    let certificate = Certificate::open(std::str::from_utf8(&note).unwrap(), &Place::verifier()).unwrap();
    let salt: [u8; 32] = hex::decode(view.salt.as_ref().unwrap()).unwrap().try_into().unwrap();
    let commitments = Commitments::from_salt(salt);
    assert!(!certificate.key_ids.opens(&Commitments::from_salt([0; 32]), Label::KeyId, ids), "a salt says nothing");
    certificate.key_ids.count() == ids.len() as u64 && certificate.key_ids.opens(&commitments, Label::KeyId, ids)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificates_key_ids_are_those_in_the_headers_of_what_was_shredded() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    for (collection, unit) in [("a", ShredUnit::Subject), ("b", ShredUnit::Subject), ("c", ShredUnit::Record)] {
        open.collection(&owner, &acme, collection, unit).await;
        open.put(&owner, &acme, (collection, "of 7"), Some("7"), b"v").await.unwrap();
    }
    let units = sealed_under(&open).await;
    assert_eq!(units.len(), 3);
    let (mut units, record_unit) = (units[..2].to_vec(), &units[2..]);
    for collection in ["a", "b", "c"] {
        open.put(&owner, &acme, (collection, "of 8"), Some("8"), b"v").await.unwrap();
    }

    let record = ShredOrder::Record { collection: coll("c"), key: key("of 7") };
    let done = open.shred(&owner, &acme, record).await;
    assert!(opens(&open, &done, &ids(record_unit)).await && !opens(&open, &done, &ids(&units[..1])).await);

    units.sort_by_key(|(slot, _)| slot.number());
    let done = open.shred_subject(&owner, &acme, "7").await;
    assert!(opens(&open, &done, &ids(&units)).await);
    let next: Vec<_> = units.iter().map(|(slot, generation)| (*slot, Gen(generation.0 + 1))).collect();
    assert!(!opens(&open, &done, &ids(&next)).await, "a generation is part of the key's name");
    units.reverse();
    assert!(!opens(&open, &done, &ids(&units)).await, "so is its place");

    let done = open.shred(&owner, &acme, ShredOrder::Tenant { confirm: "acme".into() }).await;
    assert!(opens(&open, &done, &[KeyId::Tenant(ACME, Gen(0)).to_bytes()]).await, "the tenant took the salt with it");
    open.close().await;
}

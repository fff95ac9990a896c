//! Bearer tokens: `lethe_<kind>_<id>_<secret>`, id 32 lower-case hexadecimal digits, secret 43 characters of
//! unpadded base64url (256 bits).
//!
//! Stored is SHA-256 of the 32 secret bytes: enough for a secret of full entropy, where a slow hash would only
//! cost. Compared in constant time. The text is shown once, by whoever minted it.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Narrowing, Principal, Role, Unauthenticated};
use crate::domain::{TenantNo, Timestamp, TokenId};

/// Who holds a token; part of its text, so that a scanner or a reader can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// A program.
    Service,
    /// A person.
    User,
    /// Who runs the store.
    Operator,
}

impl TokenKind {
    const ALL: [Self; 3] = [Self::Service, Self::User, Self::Operator];

    /// The three letters in the token's text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "svc",
            Self::User => "usr",
            Self::Operator => "op",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The kind's number in stored rows; never reused for another kind.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Service => 1,
            Self::User => 2,
            Self::Operator => 3,
        }
    }

    /// The kind of that number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// SHA-256 of the secret, which is forgotten once it is hashed.
fn hash(secret: &[u8; 32]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// A token as a request presented it: well-formed, not yet believed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PresentedToken {
    kind: TokenKind,
    id: TokenId,
    hash: [u8; 32],
}

impl PresentedToken {
    /// Parses the text of a token; nothing but the one form is accepted.
    ///
    /// # Errors
    /// [`Unauthenticated::Malformed`], whatever is wrong.
    pub fn parse(text: &str) -> Result<Self, Unauthenticated> {
        Self::parse_parts(text).ok_or(Unauthenticated::Malformed)
    }

    /// Parses the value of an `Authorization` header: `Bearer`, one space, a token.
    ///
    /// # Errors
    /// [`Unauthenticated::Malformed`], whatever is wrong.
    pub fn parse_bearer(header: &str) -> Result<Self, Unauthenticated> {
        let (scheme, text) = header.split_once(' ').ok_or(Unauthenticated::Malformed)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Unauthenticated::Malformed);
        }
        Self::parse(text)
    }

    fn parse_parts(text: &str) -> Option<Self> {
        let (kind, rest) = text.strip_prefix("lethe_")?.split_once('_')?;
        let (id, secret_text) = rest.split_once('_')?;
        if id.bytes().any(|byte| byte.is_ascii_uppercase()) || secret_text.len() != 43 {
            return None;
        }
        let mut secret = Zeroizing::new([0_u8; 32]);
        let written = URL_SAFE_NO_PAD.decode_slice(secret_text, secret.as_mut_slice()).ok()?;
        (written == 32).then_some(())?;
        Some(Self { kind: TokenKind::parse(kind)?, id: id.parse().ok()?, hash: hash(&secret) })
    }

    /// Under which id to look it up.
    #[must_use]
    pub const fn id(&self) -> TokenId {
        self.id
    }

    /// What kind of token it says it is.
    #[must_use]
    pub const fn kind(&self) -> TokenKind {
        self.kind
    }

    /// Holds it against what is stored under its id.
    ///
    /// # Errors
    /// [`Unauthenticated::Unknown`] if id, secret or kind differ, [`Unauthenticated::Expired`] from its end time on.
    pub fn verify(&self, stored: &StoredToken, now: Timestamp) -> Result<Principal, Unauthenticated> {
        let same_secret: bool = stored.hash.ct_eq(&self.hash).into();
        if !same_secret || stored.id != self.id || stored.kind != self.kind {
            return Err(Unauthenticated::Unknown);
        }
        if stored.expires_at.is_some_and(|end| now >= end) {
            return Err(Unauthenticated::Expired);
        }
        Ok(Principal::of(stored))
    }
}

impl fmt::Debug for PresentedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PresentedToken({}, {})", self.kind.name(), self.id)
    }
}

/// A new token: its text to be shown once, and the hash to be stored.
pub struct MintedToken {
    id: TokenId,
    hash: [u8; 32],
    text: Zeroizing<String>,
}

impl MintedToken {
    /// Makes the token of these random bytes, which the caller drew for it alone.
    #[must_use]
    pub fn new(kind: TokenKind, id: TokenId, secret: [u8; 32]) -> Self {
        let secret = Zeroizing::new(secret);
        let secret_text = Zeroizing::new(URL_SAFE_NO_PAD.encode(secret.as_slice()));
        let text = Zeroizing::new(format!("lethe_{}_{id}_{}", kind.name(), secret_text.as_str()));
        Self { id, hash: hash(&secret), text }
    }

    /// Its public part.
    #[must_use]
    pub const fn id(&self) -> TokenId {
        self.id
    }

    /// What to store of its secret.
    #[must_use]
    pub const fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The whole text, with the secret: for the one answer that shows it.
    #[must_use]
    pub fn into_text(self) -> Zeroizing<String> {
        self.text
    }
}

impl fmt::Debug for MintedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MintedToken({})", self.id)
    }
}

/// What the control store keeps of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredToken {
    /// Under which id it is stored.
    pub id: TokenId,
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
    /// Where it is valid; the system tenant for an operator's.
    pub tenant: TenantNo,
    /// What it may do there.
    pub role: Role,
    /// Who holds it.
    pub kind: TokenKind,
    /// From then on it is refused.
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// How far it reaches.
    pub narrowing: Narrowing,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{CollectionName, RecordKey};

    const ID: TokenId = TokenId([0xab; 16]);

    fn minted() -> (String, [u8; 32]) {
        let minted = MintedToken::new(TokenKind::Service, ID, [7; 32]);
        assert_eq!(minted.id(), ID);
        let hash = minted.hash();
        (minted.into_text().to_string(), hash)
    }

    fn stored(hash: [u8; 32]) -> StoredToken {
        StoredToken {
            id: ID,
            hash,
            tenant: TenantNo(9),
            role: Role::Reader,
            kind: TokenKind::Service,
            expires_at: Some(Timestamp(1_000)),
            created_at: Timestamp(10),
            narrowing: Narrowing {
                collections: vec![CollectionName::parse("crm").unwrap()],
                prefix: Some(RecordKey::parse("eu/de").unwrap()),
            },
        }
    }

    #[test]
    fn the_text_of_a_token_is_of_the_documented_form_and_reads_back() {
        let (text, _) = minted();
        assert_eq!(text.len(), "lethe_svc_".len() + 32 + 1 + 43);
        assert!(text.starts_with("lethe_svc_abababababababababababababababab_"));
        let presented = PresentedToken::parse(&text).unwrap();
        assert_eq!((presented.id(), presented.kind()), (ID, TokenKind::Service));
        assert!(PresentedToken::parse_bearer(&format!("Bearer {text}")).is_ok());
        assert!(PresentedToken::parse_bearer(&format!("bearer {text}")).is_ok());
    }

    #[test]
    fn other_forms_are_refused() {
        let (good, _) = minted();
        let last = good.char_indices().last().unwrap().0;
        let mut bad = vec![
            String::new(),
            "lethe".into(),
            "lethe___".into(),
            good.replace("lethe", "Lethe"),
            good.replace("svc", "root"),
            good.replace("svc", ""),
            good.replace("abab", "ABAB"),
            good.replace("abab", "aba"),
            good.replace("abab", "abag"),
            format!("{good}A"),
            format!("{good}="),
            format!(" {good}"),
            format!("{good}\n"),
            good[..last].into(),
            // The last character carries four bits; one that sets the other two is another spelling of the same secret.
            format!("{}d", &good[..last]),
        ];
        bad.push(format!("{}+", &good[..last]));
        for text in &bad {
            assert_eq!(PresentedToken::parse(text), Err(Unauthenticated::Malformed), "{text:?}");
        }
        for header in [good.clone(), format!("Basic {good}"), format!("Bearer  {good}"), "Bearer".into(), "Bearer ".into()] {
            assert_eq!(PresentedToken::parse_bearer(&header), Err(Unauthenticated::Malformed), "{header:?}");
        }
    }

    #[test]
    fn only_the_right_secret_id_and_kind_before_the_end_make_a_principal() {
        let (text, hash) = minted();
        let presented = PresentedToken::parse(&text).unwrap();
        let token = stored(hash);
        let principal = presented.verify(&token, Timestamp(999)).unwrap();
        assert_eq!((principal.tenant(), principal.role(), principal.token()), (TenantNo(9), Role::Reader, ID));
        assert_eq!((principal.id().0, principal.narrowing()), (ID.0, &token.narrowing));
        assert_eq!([999, 1_000].map(|now| principal.has_ended(Timestamp(now))), [false, true]);
        assert_eq!(presented.verify(&token, Timestamp(1_000)), Err(Unauthenticated::Expired));
        for other in [
            stored([7; 32]),
            StoredToken { kind: TokenKind::User, ..token.clone() },
            StoredToken { id: TokenId([0xac; 16]), ..token.clone() },
        ] {
            assert_eq!(presented.verify(&other, Timestamp(0)), Err(Unauthenticated::Unknown));
        }
    }

    #[test]
    fn nothing_of_a_token_prints_its_secret() {
        let minted = MintedToken::new(TokenKind::Service, ID, [7; 32]);
        let printed = format!("{minted:?}");
        let text = minted.into_text();
        let presented = PresentedToken::parse(&text).unwrap();
        for printed in [printed, format!("{presented:?}")] {
            assert!(!printed.contains(&text[text.len() - 43..]) && !printed.contains(&hex::encode([7; 32])), "{printed}");
        }
    }

    #[test]
    fn codes_of_kinds_read_back() {
        for kind in TokenKind::ALL {
            assert_eq!((TokenKind::from_code(kind.code()), TokenKind::parse(kind.name())), (Some(kind), Some(kind)));
        }
        assert_eq!(TokenKind::from_code(0), None);
    }

    proptest! {
        #[test]
        fn no_text_panics_the_parser(text in ".{0,120}") {
            prop_assert!(PresentedToken::parse(&text).is_err());
        }
    }
}

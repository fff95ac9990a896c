//! Who is asking: a credential becomes a [`Principal`], and only here is one made.
//!
//! One scheme a file; the first is the bearer token ([`token`]). This room is pure: it parses what was
//! presented and holds it against what `vault::ops` found stored under the token's id. It keeps no
//! secret longer than it takes to hash it, and prints none.

pub mod grant;
pub mod principal;
pub mod token;

pub use grant::{Narrowing, Role};
pub use principal::Principal;
pub use token::{MintedToken, PresentedToken, StoredToken, TokenKind};

/// Why a credential makes no principal. All look alike outside; the difference is for the audit trail and counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// No credential came with the request.
    #[error("no credential")]
    Missing,
    /// Not of a form this store ever made.
    #[error("credential is malformed")]
    Malformed,
    /// No token is stored under this id, or another one is.
    #[error("credential is unknown")]
    Unknown,
    /// Its end time has passed.
    #[error("credential has expired")]
    Expired,
}

//! An authenticated user, service, job or operator.

use super::{Narrowing, Role, StoredToken, TokenKind};
use crate::domain::{PrincipalId, TenantNo, Timestamp, TokenId};

/// Who asks. Made by [`super::PresentedToken::verify`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    token: TokenId,
    kind: TokenKind,
    tenant: TenantNo,
    role: Role,
    narrowing: Narrowing,
    expires_at: Option<Timestamp>,
}

impl Principal {
    /// Of a token that holds.
    pub(super) fn of(token: &StoredToken) -> Self {
        let StoredToken { id, kind, tenant, role, narrowing, expires_at, .. } = token;
        Self { token: *id, kind: *kind, tenant: *tenant, role: *role, narrowing: narrowing.clone(), expires_at: *expires_at }
    }

    /// How audit entries name it. A token is a principal of its own, so this is the token's id.
    #[must_use]
    pub const fn id(&self) -> PrincipalId {
        PrincipalId(self.token.0)
    }

    /// The token it came with.
    #[must_use]
    pub const fn token(&self) -> TokenId {
        self.token
    }

    /// What kind of token that is.
    #[must_use]
    pub const fn kind(&self) -> TokenKind {
        self.kind
    }

    /// Where it belongs; the system tenant for an operator.
    #[must_use]
    pub const fn tenant(&self) -> TenantNo {
        self.tenant
    }

    /// What it may do there, before narrowing.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// To what its grant was narrowed.
    #[must_use]
    pub const fn narrowing(&self) -> &Narrowing {
        &self.narrowing
    }

    /// When its token ends.
    #[must_use]
    pub const fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// Whether that time has come.
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| now >= end)
    }
}

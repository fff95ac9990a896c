//! An authenticated user, service, job or operator.

use super::{Narrowing, Role, TokenKind};
use crate::domain::{PrincipalId, TenantNo, TokenId};

/// Who asks. Made by [`super::PresentedToken::verify`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    token: TokenId,
    kind: TokenKind,
    tenant: TenantNo,
    role: Role,
    narrowing: Narrowing,
}

impl Principal {
    pub(super) const fn new(token: TokenId, kind: TokenKind, tenant: TenantNo, role: Role, narrowing: Narrowing) -> Self {
        Self { token, kind, tenant, role, narrowing }
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
}

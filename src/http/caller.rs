//! Who asks: the extractor that every guarded handler begins with.

use axum::extract::FromRequestParts;
use http::header;
use http::request::Parts;

use super::Api;
use super::extract::headers::{once, purpose};
use super::extract::share::{Place, Share};
use super::problem::{Code, Problem};
use crate::authn::PresentedToken;
use crate::domain::{PrincipalId, RequestId};
use crate::vault::ops::{Caller, VaultError};

/// An authenticated caller. A failure is on the record before it is answered.
pub(super) struct Authenticated(pub(super) Caller);

impl FromRequestParts<Api> for Authenticated {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let request = request_id(parts);
        let presented =
            once(&parts.headers, &header::AUTHORIZATION).ok().flatten().and_then(|text| PresentedToken::parse_bearer(text).ok());
        let Some(presented) = presented else {
            // Nobody can be named: the entry carries zeros.
            let _receipt = api.vault().refuse_credential(PrincipalId([0; 16]), request).await?;
            return Err(VaultError::Unauthenticated.into());
        };
        let principal = api.vault().authenticate(&presented, request).await?;
        let purpose = purpose(&parts.headers)?;
        // What is done for it counts as long as it is done: a client that hangs up frees nothing that is still in use.
        let held = (parts.extensions.get::<Share>().cloned(), parts.extensions.get::<Place>().cloned());
        Ok(Self(Caller::new(principal, request, purpose).holding(held)))
    }
}

/// The id that `layers` gave the request.
pub(super) fn request_id(parts: &Parts) -> RequestId {
    parts.extensions.get::<RequestId>().copied().unwrap_or(RequestId([0; 16]))
}

/// Refuses a query string where none is taken.
pub(super) fn no_query(uri: &http::Uri) -> Result<(), Problem> {
    match uri.query() {
        None | Some("") => Ok(()),
        Some(_) => Err(Problem::with(Code::MalformedQuery, "this route takes no query string")),
    }
}

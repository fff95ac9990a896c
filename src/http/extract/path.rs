//! The path as it was sent. Segments are split at raw `/` before anything is decoded, so an encoded slash is never one.

use http::Uri;

use crate::domain::{ApprovalId, CollectionName, HoldId, RecordKey, ReportId, ShredId, SnapshotId, TenantName, TokenId};
use crate::http::problem::{Code, Problem};

/// The raw segments of a path such as `/v1/tenants/{tenant}/...`; the router has seen to its shape.
pub(in crate::http) struct RawPath<'a>(&'a str);

impl<'a> RawPath<'a> {
    pub(in crate::http) fn of(uri: &'a Uri) -> Self {
        Self(uri.path())
    }

    /// What follows the `position`-th segment (`v1` is the first, at 0) and its slash, slashes included.
    fn tail(&self, position: usize) -> Option<&'a str> {
        self.0.strip_prefix('/')?.splitn(position.saturating_add(1), '/').nth(position)
    }

    fn segment(&self, position: usize) -> Option<&'a str> {
        self.tail(position)?.split('/').next()
    }

    /// `/v1/tenants/{tenant}`
    pub(in crate::http) fn tenant(&self) -> Result<TenantName, Problem> {
        let text = self.segment(2).unwrap_or_default();
        TenantName::parse(text).map_err(|error| Problem::name("tenant", error))
    }

    /// `/v1/tenants/{tenant}/collections/{collection}`
    pub(in crate::http) fn collection(&self) -> Result<CollectionName, Problem> {
        let text = self.segment(4).unwrap_or_default();
        CollectionName::parse(text).map_err(|error| Problem::name("collection", error))
    }

    /// `/v1/tenants/{tenant}/collections/{collection}/records/{key...}`, and `retention` in the place of `records`
    pub(in crate::http) fn key(&self) -> Result<RecordKey, Problem> {
        RecordKey::parse_path(self.tail(6).unwrap_or_default()).map_err(|error| Problem::name("key", error))
    }

    /// `/v1/tenants/{tenant}/tokens/{id}`
    pub(in crate::http) fn token(&self) -> Result<TokenId, Problem> {
        lower_hex(self.segment(4)).ok_or_else(|| Problem::new(Code::MalformedId))
    }

    /// `/v1/tenants/{tenant}/shreds/{id}`
    pub(in crate::http) fn shred(&self) -> Result<ShredId, Problem> {
        lower_hex(self.segment(4)).ok_or_else(|| Problem::new(Code::MalformedId))
    }

    /// `/v1/tenants/{tenant}/holds/{id}`, and what follows it
    pub(in crate::http) fn hold(&self) -> Result<HoldId, Problem> {
        lower_hex(self.segment(4)).ok_or_else(|| Problem::new(Code::MalformedId))
    }

    /// `/v1/tenants/{tenant}/approvals/{id}`, and what follows it
    pub(in crate::http) fn approval(&self) -> Result<ApprovalId, Problem> {
        lower_hex(self.segment(4)).ok_or_else(|| Problem::new(Code::MalformedId))
    }

    /// `/v1/tenants/{tenant}/retention/reports/{id}`
    pub(in crate::http) fn report(&self) -> Result<ReportId, Problem> {
        lower_hex(self.segment(5)).ok_or_else(|| Problem::new(Code::MalformedId))
    }

    /// `/v1/jobs/snapshots/{id}`
    pub(in crate::http) fn snapshot(&self) -> Result<SnapshotId, Problem> {
        lower_hex(self.segment(3)).ok_or_else(|| Problem::new(Code::MalformedId))
    }

    /// `/v1/certificates/{id}`
    pub(in crate::http) fn certificate(&self) -> Result<ShredId, Problem> {
        lower_hex(self.segment(2)).ok_or_else(|| Problem::new(Code::MalformedId))
    }

    /// `/log/tile/{path...}`
    pub(in crate::http) fn tile(&self) -> &'a str {
        self.tail(2).unwrap_or_default()
    }
}

/// An id in its one spelling.
pub(in crate::http) fn lower_hex<T: std::str::FromStr>(text: Option<&str>) -> Option<T> {
    text.filter(|text| !text.bytes().any(|byte| byte.is_ascii_uppercase()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &'static str) -> Result<RecordKey, Code> {
        let uri = Uri::from_static(path);
        RawPath::of(&uri).key().map_err(|problem| problem.code())
    }

    #[test]
    fn keys_are_split_before_they_are_decoded() {
        const BASE: &str = "/v1/tenants/acme/collections/crm/records/";
        assert_eq!(BASE.len(), 41);
        assert_eq!(key("/v1/tenants/acme/collections/crm/records/a/b%20c").unwrap().as_str(), "a/b c");
        for refused in [
            "/v1/tenants/acme/collections/crm/records/a%2fb",
            "/v1/tenants/acme/collections/crm/records/a%2Fb",
            "/v1/tenants/acme/collections/crm/records/..",
            "/v1/tenants/acme/collections/crm/records/a/../b",
            "/v1/tenants/acme/collections/crm/records/%2e%2e/b",
            "/v1/tenants/acme/collections/crm/records/a//b",
            "/v1/tenants/acme/collections/crm/records//a",
            "/v1/tenants/acme/collections/crm/records/a/",
            "/v1/tenants/acme/collections/crm/records/",
            "/v1/tenants/acme/collections/crm/records/a%00",
            "/v1/tenants/acme/collections/crm/records/%ff",
            "/v1/tenants/acme/collections/crm/records/%zz",
            "/v1/tenants/acme/collections/crm/records/%",
        ] {
            assert_eq!(key(refused), Err(Code::MalformedName), "{refused}");
        }
    }

    #[test]
    fn names_and_ids_are_taken_from_their_places() {
        let uri = Uri::from_static("/v1/tenants/acme/tokens/0123456789abcdef0123456789abcdef");
        let path = RawPath::of(&uri);
        assert_eq!(path.tenant().unwrap().as_str(), "acme");
        assert_eq!(path.token().unwrap().to_string(), "0123456789abcdef0123456789abcdef");
        let uri = Uri::from_static("/v1/tenants/acme/tokens/0123456789ABCDEF0123456789abcdef");
        assert_eq!(RawPath::of(&uri).token().unwrap_err().code(), Code::MalformedId);
        let uri = Uri::from_static("/v1/tenants/%61cme/collections/Crm");
        assert_eq!(RawPath::of(&uri).tenant().unwrap_err().code(), Code::MalformedName);
        assert_eq!(RawPath::of(&uri).collection().unwrap_err().code(), Code::MalformedName);
        let uri = Uri::from_static("/log/tile/0/x001/234.p/5");
        assert_eq!(RawPath::of(&uri).tile(), "0/x001/234.p/5");
    }
}

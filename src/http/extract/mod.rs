//! From bytes to typed requests: paths, headers, queries, JSON. Parsed once here; handlers meet no raw string.
//!
//! No refusal repeats what was sent.

pub(super) mod body;
pub(super) mod headers;
pub(super) mod json;
pub(super) mod path;
pub(super) mod query;
pub(super) mod share;

pub(super) use json::Json;

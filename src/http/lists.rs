//! Lists of a collection's records, by prefix and by subject. By URL, or by body where names and subjects are
//! personal and URLs get logged on their way.

use axum::extract::State;
use http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::caller::{Authenticated, no_query};
use super::extract::Json;
use super::extract::headers::etag;
use super::extract::path::RawPath;
use super::extract::query::{Query, page};
use super::problem::Problem;
use super::records::key_in_body;
use crate::domain::{SubjectId, Timestamp};
use crate::vault::ops::{ListItem, ListPage, ListQuery};

/// What to list.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QueryDocument {
    /// Keys that begin with these whole segments.
    #[serde(default)]
    prefix: Option<String>,
    /// Records that name this subject.
    #[serde(default)]
    subject: Option<String>,
    /// The `next_cursor` of the page before.
    #[serde(default)]
    cursor: Option<String>,
    /// At most so many; 100 without this field. A page may hold fewer although there is more: it ends at about 1 MiB of metadata.
    #[serde(default)]
    limit: Option<u64>,
}

impl QueryDocument {
    fn parse(self) -> Result<ListQuery, Problem> {
        // A prefix may be written with the slash that ends it, and an empty one is none.
        let prefix = self.prefix.as_deref().map(|prefix| prefix.strip_suffix('/').unwrap_or(prefix)).filter(|prefix| !prefix.is_empty());
        let prefix = prefix.map(|prefix| key_in_body("prefix", prefix)).transpose()?;
        let subject =
            self.subject.map(|subject| SubjectId::parse(&subject)).transpose().map_err(|error| Problem::name("subject", error))?;
        Ok(ListQuery { prefix, subject, cursor: self.cursor, limit: page::checked_limit(self.limit)? })
    }
}

/// A record of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct ItemDocument {
    key: String,
    etag: String,
    content_type: String,
    size: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    modified_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    subjects: Vec<String>,
}

impl From<ListItem> for ItemDocument {
    fn from(item: ListItem) -> Self {
        Self {
            key: item.meta.key.into_string(),
            etag: etag(item.version),
            size: item.meta.value_len,
            created_at: item.meta.created_at,
            modified_at: item.meta.modified_at,
            expires_at: item.meta.expires_at,
            subjects: item.meta.subjects.into_iter().map(SubjectId::into_string).collect(),
            content_type: item.meta.content_type,
        }
    }
}

/// A page of records, of at most `limit` and about 1 MiB of metadata. Their order is stable and not alphabetical.
#[derive(Serialize, ToSchema)]
pub(super) struct RecordPage {
    data: Vec<ItemDocument>,
    /// Where the next page begins; null at the end, whatever the number of records in `data`.
    next_cursor: Option<String>,
}

impl From<ListPage> for RecordPage {
    fn from(page: ListPage) -> Self {
        Self { data: page.items.into_iter().map(ItemDocument::from).collect(), next_cursor: page.next_cursor }
    }
}

/// List records by prefix or subject.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/collections/{collection}/records", tag = "records",
    params(("tenant" = String, Path), ("collection" = String, Path), ("prefix" = Option<String>, Query), ("subject" = Option<String>, Query),
        ("cursor" = Option<String>, Query), ("limit" = Option<u64>, Query), ("Lethe-Purpose" = Option<String>, Header)),
    responses((status = 200, body = RecordPage)))]
pub(super) async fn list(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
) -> Result<axum::Json<RecordPage>, Problem> {
    let path = RawPath::of(&uri);
    let query = Query::parse(&uri, &["prefix", "subject", "cursor", "limit"])?;
    let text = |name: &str| query.text(name).map(str::to_owned);
    let query = QueryDocument { prefix: text("prefix"), subject: text("subject"), cursor: text("cursor"), limit: query.number("limit")? };
    let page = api.vault().list(&caller, &path.tenant()?, &path.collection()?, query.parse()?).await?;
    Ok(axum::Json(page.into()))
}

/// List records, the query in the body.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/collections/{collection}/query", tag = "records",
    params(("tenant" = String, Path), ("collection" = String, Path), ("Lethe-Purpose" = Option<String>, Header)), request_body = QueryDocument,
    responses((status = 200, body = RecordPage)))]
pub(super) async fn query(
    Authenticated(caller): Authenticated,
    State(api): State<Api>,
    uri: Uri,
    Json(query): Json<QueryDocument>,
) -> Result<axum::Json<RecordPage>, Problem> {
    no_query(&uri)?;
    // Its body may have taken its time; what changes something looks at this in its commit.
    api.vault().holds(&caller).await?;
    let path = RawPath::of(&uri);
    let page = api.vault().list(&caller, &path.tenant()?, &path.collection()?, query.parse()?).await?;
    Ok(axum::Json(page.into()))
}

//! Lists of names: by prefix, or by subject. Order is that of the tokens: stable, not alphabetical.

use bytes::Bytes;

use super::{
    Caller, Unprocessable, Vault, VaultError,
    directory::{Collection, Tenant, damaged, pseudonym},
    due::is_over,
    events::known::Known,
    plan::{entry, named, order_of, subject_target, unit_of},
    refused::Place,
    restricted::restricted,
    rows::SubjectRow,
};
use crate::{
    authz::RecordList,
    domain::{
        CollectionName, RecordKey, RecordMeta, ShredUnit, SubjectId, TenantName, TenantNo, Version,
        retention::{Events, Schedule, events::NO_EVENTS},
    },
    vault::{
        audit::{Action, Target},
        crypto::{Context, Cursor, Data, EncodedMeta, Key, OpenedRecord, Plaintext, Record, RecordHeader, Sealed, Token},
        store::{
            Row, Space,
            schema::{self, KeyRange},
        },
    },
};

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Keys that begin with these whole segments.
    pub prefix: Option<RecordKey>,
    /// Records that name this subject.
    pub subject: Option<SubjectId>,
    /// Where the last page ended.
    pub cursor: Option<String>,
    /// At most so many records; from 1 to the limit `list_limit`. A page of long names ends earlier ([`PAGE_LEN`]).
    pub limit: usize,
}

/// One record of a list.
pub struct ListItem {
    /// Its metadata without the custom pairs; subjects that are shredded are pseudonyms.
    pub meta: RecordMeta,
    /// Its version.
    pub version: Version,
}

/// A page of a list.
pub struct ListPage {
    /// The records.
    pub items: Vec<ListItem>,
    /// Where the next page begins; `None` at the end.
    pub next_cursor: Option<String>,
}

/// Bytes of metadata, as a record's limit counts them, after which a page ends whatever its `limit`: it is held until its entry is in
/// the trail and then until it is sent, for as many requests as are at work.
pub const PAGE_LEN: usize = 1024 * 1024;

/// Rows read at once.
const SCAN_ROWS: usize = 256;
/// Records opened at once: what lies behind a page's end is opened in vain, and held with it.
const OPENED_ROWS: usize = 32;

impl Vault {
    /// Lists records of a collection. Its audit entry is in the store before this returns.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Shredded`], [`Unprocessable::Cursor`].
    pub async fn list(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        collection: &CollectionName,
        query: ListQuery,
    ) -> Result<ListPage, VaultError> {
        let caller = &caller.begin();
        let listed = self.list_page(caller, tenant, collection, query);
        self.on_record(caller, Place::collection(tenant, collection), Action::RecordList, listed).await
    }

    async fn list_page(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        collection: &CollectionName,
        query: ListQuery,
    ) -> Result<ListPage, VaultError> {
        let found = self.in_collection::<RecordList>(caller, tenant, collection, query.prefix.as_ref()).await?;
        found.collection.in_use()?;
        let prefix = match &query.prefix {
            Some(prefix) => self.key_tokens(&found.tenant, found.collection.no, prefix).await?,
            None => Vec::new(),
        };
        let of = self.of_whom(&found.tenant, query.subject.as_ref()).await?;
        let (tenant, no) = (found.tenant.no, found.collection.no);
        let (ranges, target): (Vec<KeyRange>, Target) = match &of {
            Of::Person { token, ids, .. } => {
                let under = |id: &Token| schema::prefix(&schema::subject_record(tenant, id, no, &prefix));
                (ids.iter().map(under).collect(), subject_target(*token))
            }
            Of::Everybody => {
                (vec![schema::records_under(tenant, no, &prefix)], prefix.last().map_or(Target::default(), |token| named(*token)))
            }
        };
        // Of a cursor.
        let range = whole(&ranges);
        let limit = query.limit.max(1);
        let ranges = match &query.cursor {
            Some(cursor) => {
                let last = self.open_cursor(tenant, &no.to_be_bytes(), &range, cursor).await?;
                // Of an id that the person does not have any more.
                behind(ranges, &last).ok_or(Unprocessable::Cursor)?
            }
            None => ranges,
        };
        let mut items = Vec::with_capacity(limit.min(SCAN_ROWS));
        let mut len = 0_usize;
        let mut last = None;
        let mut is_whole = true;
        'pages: for mut rest in ranges {
            loop {
                let rows = self.inner.store.scan(of.space(), &rest.from, &rest.to, SCAN_ROWS.min(limit.saturating_add(1))).await?;
                let Some(end) = rows.last().map(|row| row.key.clone()) else { break };
                let full = rows.len();
                let mut rows = rows.into_iter();
                while rows.len() > 0 {
                    let some = rows.by_ref().take(OPENED_ROWS).collect();
                    for (key, item) in self.list_items(&found.tenant, &found.collection, &of, some).await? {
                        if items.len() == limit || len >= PAGE_LEN {
                            is_whole = false;
                            break 'pages;
                        }
                        len = len.saturating_add(EncodedMeta::len_of(&item.meta));
                        items.push(item);
                        last = Some(key);
                    }
                }
                rest = rest.after(&end);
                if full < SCAN_ROWS.min(limit.saturating_add(1)) {
                    break;
                }
            }
        }
        let next_cursor = match last.filter(|_| !is_whole) {
            Some(last) => Some(self.seal_cursor(tenant, &no.to_be_bytes(), &range, &last).await?),
            None => None,
        };
        let purpose = self.purpose_token(caller, tenant, no).await?;
        let count = u32::try_from(items.len()).ok();
        let listed = Target { count, purpose, ..target };
        self.read_receipt(&found.tenant, entry(caller, &found.tenant, Action::RecordList, no, listed)).await?;
        Ok(ListPage { items, next_cursor })
    }

    /// Of whom a list is: of a person by all ids.
    async fn of_whom<'a>(&self, tenant: &Tenant, subject: Option<&'a SubjectId>) -> Result<Of<'a>, VaultError> {
        let Some(asked) = subject else { return Ok(Of::Everybody) };
        let token = self.subject_tokens(tenant, std::slice::from_ref(asked)).await?.first().copied().unwrap_or_default();
        self.refuse_shredded_subject(tenant, &token).await?;
        let ids = self.person(tenant.no, token).await?.tokens().collect();
        Ok(Of::Person { asked, token, ids })
    }

    /// The records behind rows of the index, each with its index row's key; those that are gone are left out.
    async fn indexed(&self, tenant: &Tenant, collection: &Collection, rows: Vec<Row>) -> Result<Vec<(Option<Bytes>, Row)>, VaultError> {
        let record = |row: &Row| {
            let (_, _, tokens) = schema::subject_record_parts(&row.key).ok_or_else(|| VaultError::Internal("subject index row".into()))?;
            Ok::<_, VaultError>(schema::record(tenant.no, collection.no, &tokens))
        };
        let records = rows.iter().map(record).collect::<Result<Vec<Bytes>, _>>()?;
        let stored = self.inner.store.get_many(Space::Records, &records).await?;
        let found = rows.into_iter().zip(records).zip(stored);
        Ok(found.filter_map(|((index, key), stored)| Some((Some(index.key), Row { key, value: stored? }))).collect())
    }

    /// Opens the metadata of the records in, or behind, rows of a list; each item with the key of its row. Left out is what is
    /// shredded, expired, restricted, only a header any more, or not about `of`. Of a tenant that ended in part all that is left is held, and
    /// told to whoever audits: also what is expired or restricted, whose value takes its purpose.
    async fn list_items(
        &self,
        tenant: &Tenant,
        collection: &Collection,
        of: &Of<'_>,
        rows: Vec<Row>,
    ) -> Result<Vec<(Bytes, ListItem)>, VaultError> {
        let rows = match of {
            Of::Person { .. } => self.indexed(tenant, collection, rows).await?,
            Of::Everybody => rows.into_iter().map(|row| (None, row)).collect(),
        };
        let mut closed = Vec::with_capacity(rows.len());
        let mut units = Vec::with_capacity(rows.len());
        for (at, row) in rows {
            let header = RecordHeader::parse(&row.value).map_err(damaged)?;
            if header.is_tombstone() {
                continue;
            }
            let sealed = Sealed::<Record>::from_row(row.value).map_err(damaged)?;
            let tokens = schema::record_tokens(&row.key).ok_or_else(|| VaultError::Internal("record row".into()))?;
            let context = Context::<Record>::record(&self.inner.store_id, tenant.no, collection.no, &tokens, &header);
            units.push(unit_of(&header, tenant.no));
            closed.push((at.unwrap_or(row.key), header, context, sealed));
        }
        let now = self.inner.clock.now();
        let may_restrict = if fault!("restricted-listed") {
            collection.policy.retention.schedule().is_some_and(Schedule::restricts)
        } else {
            collection.schedules().any(Schedule::restricts)
        };
        let reads_values = collection.schedules().any(Schedule::reads_values);
        let is_left = tenant.has_ended(now) && !fault!("x5");
        let is_seen = |meta: &RecordMeta, value: Option<&[u8]>, events: &Events| {
            !is_over(collection, meta, value, events, now) && restricted(collection, meta, value, events, now).is_none()
        };
        let open = |place: usize, key: &Key<Data>| {
            closed.get(place).map(|(_, header, context, sealed)| {
                let meta = key.open_meta(context, sealed)?;
                if !is_left && meta.kept.as_ref().is_some_and(|kept| kept.restricted_by.is_some()) {
                    return Ok(None);
                }
                if !is_left && (may_restrict || meta.expires_at.is_some_and(|end| end <= now)) {
                    // A minimum may put that off, and it, or the restricted state, may count from a date in the value.
                    let record = if reads_values { Some(key.open_record(context, sealed)?) } else { None };
                    if collection.has_events {
                        // Or from what is reported of its person, which is asked once the key is given back.
                        return Ok(Some(Seen { meta, is_weighed: true, record: record.map(Box::new) }));
                    }
                    let value = record.as_ref().map(|record| record.value.expose()).filter(|_| !header.is_manifest());
                    if !is_seen(&meta, value, &NO_EVENTS) {
                        return Ok(None);
                    }
                }
                Ok(Some(Seen { meta: without_custom(meta), is_weighed: false, record: None }))
            })
        };
        let opened = self.with_data_each(collection.unit, &units, collection.no, open).await;
        let mut items = Vec::with_capacity(closed.len());
        for ((at, header, ..), opened) in closed.into_iter().zip(opened) {
            let seen = match opened {
                Ok(Some(seen)) => seen.map_err(damaged)?,
                Ok(None) | Err(VaultError::Shredded { .. }) => continue,
                Err(other) => return Err(other),
            };
            let Some(Seen { meta, is_weighed, record }) = seen else { continue };
            if is_weighed {
                let Known { events, .. } = match self.events_over(tenant.no, collection, &meta).await {
                    Err(VaultError::Shredded { .. }) => continue,
                    known => known?,
                };
                let value = record.as_ref().map(|record| record.value.expose()).filter(|_| !header.is_manifest());
                if !is_seen(&meta, value, &events) {
                    continue;
                }
            }
            let meta = without_custom(meta);
            if let Some(meta) = self.listed(tenant, collection, meta, of, &at).await? {
                items.push((at, ListItem { meta, version: header.version }));
            }
        }
        Ok(items)
    }

    /// A record's metadata as a list gives it, found by a row with that key; `None` if it is on its way out, or not about `of`.
    async fn listed(
        &self,
        tenant: &Tenant,
        collection: &Collection,
        meta: RecordMeta,
        of: &Of<'_>,
        at: &[u8],
    ) -> Result<Option<RecordMeta>, VaultError> {
        if self.leaving(tenant, collection, &meta).await?.is_some() {
            return Ok(None);
        }
        if tenant.has_ended(self.inner.clock.now()) {
            let tokens = match of {
                Of::Everybody => schema::record_tokens(at),
                Of::Person { .. } => schema::subject_record_parts(at).map(|(.., tokens)| tokens),
            };
            let tokens = tokens.ok_or_else(|| VaultError::Internal("row of a list".into()))?;
            if self.is_hidden_by_end(tenant, (collection.no, &tokens), &meta.subjects).await? {
                return Ok(None);
            }
        }
        // An index row may be left from a shredded record whose key was written again.
        let is_about = match of {
            Of::Everybody => true,
            Of::Person { asked, ids, .. } if ids.len() == 1 => meta.subjects.contains(asked),
            Of::Person { ids, .. } => {
                // By whichever of the person's ids; by several, it is shown once.
                let named = self.subject_tokens(tenant, &meta.subjects).await?;
                let found_by = schema::subject_record_parts(at).map(|(id, ..)| id);
                ids.iter().find(|id| named.contains(id)).copied() == found_by
            }
        };
        if !is_about {
            return Ok(None);
        }
        self.veil_subjects(tenant, collection, meta).await.map(Some)
    }

    /// A subject that was shredded has no list.
    pub(super) async fn refuse_shredded_subject(&self, tenant: &Tenant, subject: &Token) -> Result<(), VaultError> {
        let row = self.control_row::<SubjectRow>(&schema::subject_state(tenant.no, subject)).await?;
        row.map_or(Ok(()), |row| super::directory::in_use(row.state))
    }

    /// Whether a subject was shredded, or is being shredded, and did not return.
    pub(super) async fn is_subject_shredded(&self, tenant: &Tenant, token: &Token) -> Result<bool, VaultError> {
        let row = self.control_row::<SubjectRow>(&schema::subject_state(tenant.no, token)).await?;
        Ok(row.is_some_and(|row| order_of(row.state).is_some()))
    }

    /// Puts a pseudonym in the place of each subject of an opened record that was shredded. The first subject's shred takes
    /// the unit along unless that is the collection's: what opened tells that it lives.
    pub(super) async fn veil_subjects(
        &self,
        tenant: &Tenant,
        collection: &Collection,
        mut meta: RecordMeta,
    ) -> Result<RecordMeta, VaultError> {
        let alive = usize::from(collection.policy.shred_unit != ShredUnit::Collection);
        let others = meta.subjects.get_mut(alive..).unwrap_or_default();
        let tokens = self.subject_tokens(tenant, others).await?;
        for (subject, token) in others.iter_mut().zip(&tokens) {
            if self.is_subject_shredded(tenant, token).await? {
                *subject = SubjectId::parse(&pseudonym("subject", token)).map_err(Unprocessable::from)?;
            }
        }
        Ok(meta)
    }

    /// Where a page of a list of control rows begins: behind its cursor, or at the beginning.
    pub(super) async fn begin_page(
        &self,
        tenant: TenantNo,
        list: &str,
        range: &KeyRange,
        cursor: Option<&str>,
    ) -> Result<Bytes, VaultError> {
        match cursor {
            None => Ok(range.from.clone()),
            Some(cursor) => Ok(schema::successor(&self.open_cursor(tenant, list.as_bytes(), range, cursor).await?)),
        }
    }

    /// A page of a list of control rows: at most `limit` of them, and the key of the last one if there are more.
    pub(super) async fn page(
        &self,
        tenant: TenantNo,
        list: &str,
        range: &KeyRange,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Row>, Option<Bytes>), VaultError> {
        let from = self.begin_page(tenant, list, range, cursor).await?;
        let mut rows = self.inner.store.scan(Space::Control, &from, &range.to, limit.saturating_add(1)).await?;
        let is_more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().map(|row| row.key.clone()).filter(|_| is_more);
        Ok((rows, last))
    }

    /// The cursor of the page behind `last`, if there is more.
    pub(super) async fn end_page(
        &self,
        tenant: TenantNo,
        list: &str,
        range: &KeyRange,
        last: Option<Bytes>,
    ) -> Result<Option<String>, VaultError> {
        match last {
            None => Ok(None),
            Some(last) => Ok(Some(self.seal_cursor(tenant, list.as_bytes(), range, &last).await?)),
        }
    }

    /// Sealed for the list it belongs to: a collection's number, or the list's name.
    pub(super) async fn seal_cursor(&self, tenant: TenantNo, list: &[u8], range: &KeyRange, last: &[u8]) -> Result<String, VaultError> {
        let context = Context::<Cursor>::of(&self.inner.store_id, tenant, &[list, &range.from, &range.to]);
        let plain = Plaintext::<Cursor>::new(last.to_vec());
        let suite = self.inner.options.suite;
        let sealed = self.with_tenant(tenant, |secret| secret.derive_meta().seal(suite, &context, &plain)).await?;
        Ok(encode(&sealed.into_row()))
    }

    pub(super) async fn open_cursor(&self, tenant: TenantNo, list: &[u8], range: &KeyRange, cursor: &str) -> Result<Bytes, VaultError> {
        let context = Context::<Cursor>::of(&self.inner.store_id, tenant, &[list, &range.from, &range.to]);
        let refused = || VaultError::from(Unprocessable::Cursor);
        let row = decode(cursor).ok_or_else(refused)?;
        let sealed = Sealed::<Cursor>::from_row(row).map_err(|_| refused())?;
        let opened = self.with_tenant(tenant, |secret| secret.derive_meta().open(&context, &sealed)).await?.map_err(|_| refused())?;
        Ok(Bytes::copy_from_slice(opened.expose()))
    }
}

/// Of whom a list is.
enum Of<'a> {
    Everybody,
    /// The id that was asked for, its token, and the tokens of all ids of that person.
    Person {
        asked: &'a SubjectId,
        token: Token,
        ids: Vec<Token>,
    },
}

impl Of<'_> {
    const fn space(&self) -> Space {
        match self {
            Self::Everybody => Space::Records,
            Self::Person { .. } => Space::Index,
        }
    }
}

/// A row of a list, once it is opened.
struct Seen {
    meta: RecordMeta,
    /// Whether what is known of its person decides if a list gives it, with its value, where that was read.
    is_weighed: bool,
    record: Option<Box<OpenedRecord>>,
}

/// Of the custom pairs no list gives any, and they can be most of it.
fn without_custom(meta: RecordMeta) -> RecordMeta {
    RecordMeta { custom: Vec::new(), ..meta }
}

/// From where the first of some ranges begins to where the last one ends.
fn whole(ranges: &[KeyRange]) -> KeyRange {
    let from = ranges.first().map(|range| range.from.clone()).unwrap_or_default();
    KeyRange { from, to: ranges.last().map(|range| range.to.clone()).unwrap_or_default() }
}

/// What is left of some ranges behind a key of one of them; `None` if it lies in none.
fn behind(ranges: Vec<KeyRange>, last: &[u8]) -> Option<Vec<KeyRange>> {
    let at = ranges.iter().position(|range| range.from.as_ref() <= last && last < range.to.as_ref())?;
    let mut left = ranges.into_iter().skip(at);
    let first = left.next()?.after(last);
    Some(std::iter::once(first).chain(left).collect())
}

fn encode(row: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(row)
}

fn decode(cursor: &str) -> Option<Bytes> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(cursor).ok().map(Bytes::from)
}

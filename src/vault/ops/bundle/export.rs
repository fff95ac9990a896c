//! Exporting a tenant: everything that can be read of it goes, piece by piece, into a stream that is sealed for one recipient.
//!
//! What is disclosed is in the trail before it leaves: an entry when the export begins, one for each page of it, one at its end. A page
//! is read sealed, and opened one by one as the client takes it; what it does not take yet is not read. So a shred that comes meanwhile
//! takes along what has not left.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    task::{Context as Waker, Poll},
};

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream};
use tokio::sync::mpsc::{self, Receiver, Sender};
use zeroize::Zeroizing;

use super::{
    FORMAT, Kind, Progress, VERSION,
    documents::{
        CollectionDoc, DueDoc, EventsDoc, GovernedDoc, GrantDoc, Header, JoinedDoc, KeptDoc, LeftBy, LeftOut, OpenedFrame, PersonDoc,
        RecordDoc, RetentionWas, Trailer,
    },
    frames,
};
use crate::{
    authz::TenantExport,
    domain::{
        CollectionNo, CustomPairs, RecordMeta, ShredId, ShredUnit, SubjectId, TenantName, Timestamp, WriterId,
        retention::{Events, Governed, Kept},
    },
    vault::{
        audit::{Action, Target},
        crypto::{
            BlobReader, Context, Manifest, OpenedRecord, Outgoing, Receipt, Recipient, Record, RecordHeader, Sealed, Token, TooManyChunks,
            random,
        },
        keys::{LeaseKind, UnitRef},
        ops::{
            Caller, Missing, TokenView, Unprocessable, ValueStream, Vault, VaultError,
            access::InTenant,
            blob::Place,
            directory::{Collection, Tenant, damaged},
            due::{Written, is_over},
            events::known::Known,
            plan::{entry, order_of, retrying, unit_of},
            refused::Place as Asked,
            restricted::restricted,
            retention::RulesNo,
            rows::{ApprovalRulesRow, Progress as Progressed},
            tokens::token_of,
            watched::Watched,
        },
        store::{
            Row, Space,
            schema::{self, Table},
        },
    },
};

/// Records of one page: their rows, of up to 100 kB, are in memory until they have left.
const RECORDS: usize = 32;
/// Of what is smaller.
const ROWS: usize = 256;
/// Entries of the trail of one page, and of those that are given their names together.
const ENTRIES: usize = 256;
const NAMED: usize = 16;
/// Sealed bytes that make a piece of the answer.
const PIECE_LEN: usize = 65_536;

/// For whom a tenant is exported.
pub struct ExportTenant {
    /// Whom it is sealed for.
    pub recipient: Recipient,
    /// Whom those holds are sealed for, within it, that only a counsel may know of.
    pub counsel: Option<Recipient>,
    /// Whom those records are sealed for, within it, that are kept for their legal purpose alone.
    pub auditor: Option<Recipient>,
}

impl Vault {
    /// Exports a tenant as a bundle, sealed for a recipient. The stream is not whole without its end: one that breaks off opens for
    /// nobody as a whole bundle.
    ///
    /// # Errors
    /// [`Unprocessable::CounselRecipientMissing`], [`Unprocessable::AuditorRecipientMissing`]; [`VaultError::NotFound`], [`VaultError::Forbidden`].
    pub async fn export_tenant(&self, caller: &Caller, name: &TenantName, export: ExportTenant) -> Result<ValueStream, VaultError> {
        let caller = &caller.begin();
        let begun = async move {
            let InTenant { tenant, .. } = self.in_tenant::<TenantExport>(caller, name).await?;
            if export.counsel.is_none() && self.has_undisclosed_holds(&tenant).await? {
                return Err(Unprocessable::CounselRecipientMissing.into());
            }
            if export.auditor.is_none() && self.may_restrict(&tenant).await? {
                return Err(Unprocessable::AuditorRecipientMissing.into());
            }
            let (sender, receiver) = mpsc::channel(1);
            let maker = Maker {
                vault: self.clone(),
                caller: caller.clone(),
                tenant,
                bundle: random::bytes(),
                begun: self.inner.forest.lease(LeaseKind::Version).await?,
                has_reports: false,
                counsel: export.counsel,
                auditor: export.auditor,
                out: Outgoing::to(&export.recipient),
                sender,
                progress: Progress::default(),
                left_out: LeftOut::default(),
            };
            let receipt = maker.told(CollectionNo::TENANT, None).await?;
            Ok(streamed(Box::pin(maker.make(receipt)), receiver))
        };
        self.on_record(caller, Asked::tenant(name), Action::TenantExport, begun).await
    }

    /// Whether a tenant may have records that are kept for their legal purpose alone: by the rules of its collections. Which ones are is
    /// told as they are opened.
    async fn may_restrict(&self, tenant: &Tenant) -> Result<bool, VaultError> {
        for no in self.collections_in(tenant.no).await? {
            match self.collection_by_number(tenant.no, no).await {
                Ok(collection) if order_of(collection.state).is_none() && collection.may_restrict() => return Ok(true),
                // One that is bent is left out.
                Ok(_) | Err(VaultError::Shredded { .. } | VaultError::Internal(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

/// What makes a bundle.
struct Maker {
    vault: Vault,
    caller: Caller,
    tenant: Arc<Tenant>,
    bundle: [u8; 16],
    /// The version given out when it began: what an order has destroyed since has a later one, whatever the clock says.
    begun: u64,
    /// Whether anything had been reported of anybody when it began.
    has_reports: bool,
    counsel: Option<Recipient>,
    auditor: Option<Recipient>,
    out: Outgoing,
    sender: Sender<Bytes>,
    progress: Progress,
    left_out: LeftOut,
}

/// A record that was opened, and is not disclosed yet.
struct Opened {
    tokens: Vec<Token>,
    header: RecordHeader,
    record: OpenedRecord,
    events: Events,
    left_by: Option<LeftBy>,
}

impl Maker {
    async fn make(mut self, receipt: Receipt) -> Result<(), VaultError> {
        let (holds, _) = self.vault.hold_state(self.tenant.no).await?;
        self.header(&receipt).await?;
        self.has_reports = !self.reported().await?.is_empty();
        let collections = self.collections().await?;
        let told = collections.iter().map(|(no, _)| *no).collect();
        for (no, rules) in collections {
            self.records(no, rules).await?;
        }
        let reported = self.reported().await?;
        let named = self.persons(&reported).await?;
        let known = self.events().await?;
        self.are_told(&reported, &known, &named).await?;
        self.holds(&told).await?;
        self.grants().await?;
        self.certificates().await?;
        self.trail().await?;
        self.end(holds).await
    }

    /// Whether an export that was begun may go on, for it takes its time: the credential must still hold, and the tenant be in a state
    /// in which it is exported.
    async fn may_go_on(&self) -> Result<(), VaultError> {
        self.vault.holds(&self.caller).await?;
        self.vault.in_tenant::<TenantExport>(&self.caller, &self.tenant.name).await.map(drop)
    }

    /// Records that a page is about to leave: of a collection, or of the tenant itself, with so many in it.
    async fn told(&self, collection: CollectionNo, count: Option<usize>) -> Result<Receipt, VaultError> {
        self.may_go_on().await?;
        let count = count.and_then(|count| u32::try_from(count).ok());
        let target = Target { object: Some(self.bundle), count, ..Target::default() };
        self.vault.read_receipt(&self.tenant, entry(&self.caller, &self.tenant, Action::TenantExport, collection, target)).await
    }

    /// Seals a frame, and sends what is sealed once it makes a piece.
    async fn frame(&mut self, kind: Kind, payload: &[u8], receipt: &Receipt) -> Result<(), VaultError> {
        self.out.write(&frames::head(kind, payload.len())?, receipt)?;
        self.out.write(payload, receipt)?;
        if kind != Kind::Trailer {
            self.progress.add(kind, payload);
        }
        if self.out.waiting() >= PIECE_LEN {
            let piece = self.out.take();
            self.send(piece).await?;
        }
        Ok(())
    }

    async fn document(&mut self, kind: Kind, document: &impl serde::Serialize, receipt: &Receipt) -> Result<(), VaultError> {
        let json = serde_json::to_vec(document).map_err(|_| VaultError::Internal("a document of a bundle".into()))?;
        self.frame(kind, &json, receipt).await
    }

    async fn send(&self, piece: Vec<u8>) -> Result<(), VaultError> {
        self.sender.send(piece.into()).await.map_err(|_| VaultError::Internal("nobody takes an export".into()))
    }

    async fn header(&mut self, receipt: &Receipt) -> Result<(), VaultError> {
        let header = Header {
            format: FORMAT.into(),
            version: VERSION,
            bundle: hex::encode(self.bundle),
            store: self.vault.store_id().to_string(),
            tenant: self.tenant.name.as_str().to_owned(),
            tenant_no: self.tenant.no.0,
            exported_at: self.vault.clock().now(),
            exported_by: self.caller.principal.id().to_string(),
            created_at: self.tenant.created_at,
            create_collections_on_write: self.tenant.create_on_write,
            approvals: self.tenant.approvals.map(ApprovalRulesRow::rules),
            salt: hex::encode(random::bytes::<32>()),
        };
        self.document(Kind::Header, &header, receipt).await
    }

    /// A collection that is there and opens.
    async fn readable(&mut self, no: CollectionNo) -> Result<Option<Collection>, VaultError> {
        match self.vault.collection_by_number(self.tenant.no, no).await {
            Ok(collection) if order_of(collection.state).is_none() => Ok(Some(collection)),
            Ok(_) | Err(VaultError::Shredded { .. }) => Ok(None),
            Err(VaultError::Internal(reason)) => {
                self.bent("a collection", &reason);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn bent(&mut self, what: &'static str, reason: &str) {
        self.left_out.bent = self.left_out.bent.saturating_add(1);
        tracing::error!(tenant = self.tenant.no.0, reason, "{what} that cannot be read is left out of an export");
    }

    /// All collections; the number of each, and which of its rules hold.
    async fn collections(&mut self) -> Result<Vec<(CollectionNo, RulesNo)>, VaultError> {
        let mut range = schema::table_of_tenant(Table::Collection, self.tenant.no);
        let mut numbers = Vec::new();
        while let Some(rows) = self.vault.some_rows_of(Space::Control, &mut range, ROWS).await? {
            let mut page = Vec::with_capacity(rows.len());
            for row in rows {
                let no = row.key.last_chunk().map(|no| CollectionNo(u32::from_be_bytes(*no)));
                let no = no.ok_or_else(|| VaultError::Internal("collection row".into()))?;
                page.extend(self.readable(no).await?);
            }
            let receipt = self.told(CollectionNo::TENANT, Some(page.len())).await?;
            for collection in page {
                numbers.push((collection.no, collection.rules_now()));
                self.document(Kind::Collection, &collection_doc(collection), &receipt).await?;
            }
        }
        Ok(numbers)
    }

    /// The records of a collection. The count of a page is that of its rows: some of them may not be there any more when they are opened.
    async fn records(&mut self, no: CollectionNo, rules: RulesNo) -> Result<(), VaultError> {
        let mut range = schema::records_under(self.tenant.no, no, &[]);
        loop {
            let Some(collection) = self.readable(no).await?.map(Arc::new) else { return Ok(()) };
            if collection.rules_now() != rules {
                // A law may keep what is under rules that the bundle has not told: it is begun anew.
                return Err(VaultError::Busy);
            }
            let Some(rows) = self.vault.some_rows_of(Space::Records, &mut range, RECORDS).await? else { return Ok(()) };
            let receipt = self.told(no, Some(rows.len())).await?;
            for row in rows {
                if let Some(opened) = self.opened(&collection, row).await? {
                    self.record(&collection, opened, &receipt).await?;
                }
            }
        }
    }

    /// Opens a record; `None` where it is not there, for whatever reason.
    async fn opened(&mut self, collection: &Collection, row: Row) -> Result<Option<Opened>, VaultError> {
        match self.open(collection, row).await {
            Ok(Some(opened)) => {
                let value = Some(opened.record.value.expose()).filter(|_| !opened.header.is_manifest());
                if is_over(collection, &opened.record.meta, value, &opened.events, self.vault.clock().now()) {
                    self.left_out.over = self.left_out.over.saturating_add(1);
                    return Ok(None);
                }
                Ok(Some(opened))
            }
            Ok(None) | Err(VaultError::Shredded { .. }) => Ok(None),
            Err(VaultError::Internal(reason)) => {
                self.unreadable(collection.no, &reason);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn unreadable(&mut self, collection: CollectionNo, reason: &str) {
        self.left_out.unreadable = self.left_out.unreadable.saturating_add(1);
        let tenant = self.tenant.no.0;
        tracing::error!(tenant, collection = collection.0, reason, "a record that does not open is left out of an export");
    }

    async fn open(&self, collection: &Collection, row: Row) -> Result<Option<Opened>, VaultError> {
        let (vault, tenant) = (&self.vault, &self.tenant);
        let header = RecordHeader::parse(&row.value).map_err(damaged)?;
        if header.is_tombstone() {
            return Ok(None);
        }
        let tokens = schema::record_tokens(&row.key).ok_or_else(|| VaultError::Internal("record row".into()))?;
        let sealed = Sealed::<Record>::from_row(row.value).map_err(damaged)?;
        let context = Context::<Record>::record(&vault.inner.store_id, tenant.no, collection.no, &tokens, &header);
        let unit = unit_of(&header, tenant.no);
        let record = vault.with_data(collection.unit, unit, collection.no, |key| key.open_record(&context, &sealed)).await?;
        let mut record = record.map_err(damaged)?;
        if let Some(order) = vault.leaving(tenant, collection, &record.meta).await? {
            return self.unless_kept(collection, order, (&row.key, &header)).await.map(|()| None);
        }
        let Known { events, .. } = match record.meta.kept.as_ref().and_then(|kept| kept.restricted_by) {
            // Rules that come later may count from that, here or elsewhere.
            Some(_) => vault.events_about(tenant.no, &record.meta).await?,
            None => match vault.events_over(tenant.no, collection, &record.meta).await {
                // It was ordered meanwhile.
                Err(VaultError::Shredded { .. }) if collection.has_law => return Err(VaultError::Busy),
                known => known?,
            },
        };
        let left_by = self.left_by(collection, &record.meta, &events).await?;
        let seen = self.seen(collection, &record.meta, &events).await?;
        record.meta.reports_no = Some(if fault!("reports-moved") { record.meta.reports_seen() } else { seen });
        Ok(Some(Opened { tokens, header, record, events, left_by }))
    }

    /// The number of the last report that the write of a record has seen, of those that the bundle tells: its version is none of another
    /// store's, and what is reported there is numbered behind them. Rules that come later may count from it, also in a collection that has
    /// none.
    async fn seen(&self, collection: &Collection, meta: &RecordMeta, events: &Events) -> Result<u64, VaultError> {
        let (seen, is_left) = (meta.reports_seen(), meta.kept.as_ref().is_some_and(|kept| kept.restricted_by.is_some()));
        if collection.has_events || is_left || !self.has_reports {
            return Ok(events.last_no_until(seen));
        }
        match self.vault.events_about(self.tenant.no, meta).await {
            Ok(known) => Ok(known.events.last_no_until(seen)),
            // The bundle does not tell them.
            Err(VaultError::Shredded { .. } | VaultError::Internal(_)) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Holds a record that an order takes to no law keeping it: what one keeps is there for its legal purpose alone once the order is done,
    /// and belongs in the bundle then.
    ///
    /// # Errors
    /// [`VaultError::Busy`] while the order is under way, and where it has left the record since that was read: the export is begun anew.
    async fn unless_kept(&self, collection: &Collection, order: ShredId, (row, header): (&[u8], &RecordHeader)) -> Result<(), VaultError> {
        if !collection.has_law {
            return Ok(());
        }
        if self.vault.shred_row(order).await?.is_some_and(|order| order.progress != Progressed::Done)
            && !fault!("bundle-law")
            && !fault!("bundle-law1")
        {
            return Err(VaultError::Busy);
        }
        let stands = self.vault.inner.store.get(Space::Records, row).await?;
        let is_another = stands.is_some_and(|stands| !stands.starts_with(&header.to_bytes()));
        if is_another && !fault!("bundle-law") && !fault!("bundle-law2") { Err(VaultError::Busy) } else { Ok(()) }
    }

    /// The order that has left a record for its legal purpose alone, if one has, and what it remembers of the person.
    ///
    /// # Errors
    /// [`VaultError::Busy`] where the order has erased the person since the export began: of what the bundle has told of the person before,
    /// a tombstone would leave nothing that an order could find.
    async fn left_by(&self, collection: &Collection, meta: &RecordMeta, events: &Events) -> Result<Option<LeftBy>, VaultError> {
        let Some(order) = meta.kept.as_ref().and_then(|kept| kept.restricted_by) else { return Ok(None) };
        // Without that nothing would ever end the record in another store.
        let as_of = events.otherwise().ok_or_else(|| VaultError::Internal("the order that has left a record".into()))?;
        let is_erased = self.is_erased(collection, meta).await?;
        // One of another store has no row here, and was not carried out meanwhile.
        if is_erased && self.vault.shred_row(order).await?.is_some_and(|order| order.version > self.begun) && !fault!("bundle-shred") {
            return Err(VaultError::Busy);
        }
        Ok(Some(LeftBy { order: order.to_string(), is_erased, as_of, reports: events.reports().to_vec() }))
    }

    async fn record(&mut self, collection: &Arc<Collection>, opened: Opened, receipt: &Receipt) -> Result<(), VaultError> {
        let Opened { tokens, header, record: OpenedRecord { meta, value }, events, left_by } = opened;
        let of = (self.tenant.no, collection.no, &tokens[..]);
        let due = self.vault.written_down(of, header.version).await?;
        let looked_into = Some(value.expose()).filter(|_| !header.is_manifest());
        let is_restricted = restricted(collection, &meta, looked_into, &events, self.vault.clock().now()).is_some();
        // What is restricted stays, whoever is shredded.
        let is_watched = header.is_manifest() && !is_restricted;
        let watched = if is_watched { self.vault.watched(&self.tenant, collection, &meta).await? } else { Watched::default() };
        let meta = self.vault.veil_subjects(&self.tenant, collection, meta).await?;
        let len = meta.value_len;
        let json = serde_json::to_vec(&record_doc(collection, meta, due, left_by));
        let json = json.map_err(|_| VaultError::Internal("a document of a bundle".into()))?;
        self.of_record(Kind::Record, &json, is_restricted, receipt).await?;
        if header.is_manifest() {
            let manifest = Manifest::parse(value.expose()).map_err(damaged)?;
            let whose = (&**collection, unit_of(&header, self.tenant.no));
            return self.large(whose, &manifest, len, is_restricted, (&watched, receipt)).await;
        }
        self.parts(value.expose(), is_restricted, receipt).await
    }

    /// Whether the person whom a record is about is erased, and named by it all the same: of a collection's own unit the name is veiled.
    async fn is_erased(&self, collection: &Collection, meta: &RecordMeta) -> Result<bool, VaultError> {
        let Some(first) = meta.subjects.get(..1).filter(|_| collection.policy.shred_unit != ShredUnit::Collection) else {
            return Ok(false);
        };
        let Some(token) = self.vault.subject_tokens(&self.tenant, first).await?.pop() else { return Ok(false) };
        self.vault.is_subject_shredded(&self.tenant, &token).await
    }

    /// A frame of a record, sealed where the record is kept for its legal purpose alone.
    async fn of_record(&mut self, kind: Kind, payload: &[u8], is_restricted: bool, receipt: &Receipt) -> Result<(), VaultError> {
        if !is_restricted {
            return self.frame(kind, payload, receipt).await;
        }
        let kind = if kind == Kind::Record { Kind::SealedRecord } else { Kind::SealedValue };
        // One whose collection has had such rules only since the export began.
        let auditor = self.auditor.ok_or(Unprocessable::AuditorRecipientMissing)?;
        let sealed = sealed_for(&auditor, kind, payload, receipt)?;
        self.frame(kind, &sealed, receipt).await
    }

    /// Whether the tenant is in a state still in which it is exported, as the row in the cache says, which each step of it drops.
    async fn is_left_to_export(&self) -> Result<(), VaultError> {
        let tenant = self.vault.find_tenant(&self.tenant.name).await?.ok_or(VaultError::NotFound(Missing::Tenant))?;
        self.vault.admits::<TenantExport>(&self.caller, &tenant)
    }

    /// A large value, row by row. Its last part leaves once all rows have opened: what breaks off before is said to be gone.
    ///
    /// # Errors
    /// [`VaultError::Busy`] where an order takes it of which a law may keep it: the export is begun anew.
    async fn large(
        &mut self,
        (collection, unit): (&Collection, UnitRef),
        manifest: &Manifest,
        len: u64,
        is_restricted: bool,
        (watched, receipt): (&Watched, &Receipt),
    ) -> Result<(), VaultError> {
        let (place, reader) = (Place::of(collection, unit), BlobReader::new(manifest.start, len));
        let mut last = Bytes::new();
        for index in 0..reader.rows() {
            self.is_left_to_export().await?;
            let part = match self.vault.open_row(&place, manifest, &reader, index, (watched, receipt)).await {
                Ok(part) => part,
                Err(VaultError::Shredded { .. }) if collection.has_law => return Err(VaultError::Busy),
                Err(VaultError::Shredded { .. }) => return self.frame(Kind::Gone, &[], receipt).await,
                Err(VaultError::Internal(reason)) => {
                    self.unreadable(place.collection(), &reason);
                    return self.frame(Kind::Gone, &[], receipt).await;
                }
                Err(error) => return Err(error),
            };
            if !part.is_empty() {
                let whole = std::mem::replace(&mut last, part);
                self.parts(&whole, is_restricted, receipt).await?;
            }
        }
        self.parts(&last, is_restricted, receipt).await
    }

    /// A value, or some of it.
    async fn parts(&mut self, bytes: &[u8], is_restricted: bool, receipt: &Receipt) -> Result<(), VaultError> {
        for part in bytes.chunks(frames::VALUE_LEN) {
            self.of_record(Kind::Value, part, is_restricted, receipt).await?;
        }
        Ok(())
    }

    /// The persons who have several ids. Gives the ids, as they were told, of those of whom something was reported.
    async fn persons(&mut self, reported: &[Token]) -> Result<Vec<Vec<Token>>, VaultError> {
        let (mut range, mut named) = (schema::table_of_tenant(Table::Alias, self.tenant.no), Vec::new());
        while let Some(rows) = self.vault.some_rows_of(Space::Control, &mut range, ROWS).await? {
            let receipt = self.told(CollectionNo::TENANT, Some(rows.len())).await?;
            for row in rows {
                let token = row.key.last_chunk::<16>().ok_or_else(|| VaultError::Internal("alias row".into()))?;
                match retrying(|| self.person(*token)).await {
                    Ok(Some((ids, person))) => {
                        self.document(Kind::Person, &person, &receipt).await?;
                        named.extend(Some(ids).filter(|ids| ids.iter().any(|id| reported.binary_search(id).is_ok())));
                    }
                    Ok(None) | Err(VaultError::Shredded { .. }) => {}
                    Err(VaultError::Internal(reason)) => self.bent("a person's list of ids", &reason),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(named)
    }

    /// Of whom anything was reported, by the first id of each, in their order.
    async fn reported(&self) -> Result<Vec<Token>, VaultError> {
        let (mut range, mut reported) = (schema::table_of_tenant(Table::Events, self.tenant.no), Vec::new());
        while let Some(rows) = self.vault.some_rows_of(Space::Control, &mut range, ROWS).await? {
            reported.extend(rows.iter().filter_map(|row| row.key.last_chunk::<16>().copied()));
        }
        Ok(reported)
    }

    /// Holds the bundle to having told what was reported of these persons, and to those whom it has given several ids having them still. Of
    /// two who have become one since, what was known of the one may have come behind the page of the other; and what comes of one who has
    /// become two would be taken, where the bundle comes to, for all that is known of the person whom it has told of.
    ///
    /// # Errors
    /// [`VaultError::Busy`]: the export is begun anew.
    async fn are_told(&self, reported: &[Token], known: &HashSet<Token>, named: &[Vec<Token>]) -> Result<(), VaultError> {
        for some in reported.chunks(ROWS) {
            if fault!("export-told") {
                break;
            }
            let keys: Vec<Bytes> = some.iter().map(|token| schema::events(self.tenant.no, token)).collect();
            let rows = self.vault.inner.store.get_many(Space::Control, &keys).await?;
            for (token, row) in
                some.iter().zip(rows).filter(|(token, row)| row.is_none() || (!known.contains(*token) && !fault!("export-known")))
            {
                if self.vault.is_subject_shredded(&self.tenant, token).await? {
                    continue;
                }
                // What has gone with the person tells nothing, whatever is left of the row.
                let is_left = row.is_some() && matches!(self.vault.events_carried(&self.tenant, *token).await, Ok(None));
                if !is_left {
                    return Err(VaultError::Busy);
                }
            }
        }
        for ids in named {
            if fault!("export-split") {
                break;
            }
            let Some(first) = ids.first() else { continue };
            let person = self.vault.person(self.tenant.no, *first).await?;
            if !ids.iter().all(|id| person.has(id)) && !self.vault.is_subject_shredded(&self.tenant, first).await? {
                return Err(VaultError::Busy);
            }
        }
        Ok(())
    }

    /// What was reported of persons, which rules count from. Gives of whom it was told, or could not be.
    async fn events(&mut self) -> Result<HashSet<Token>, VaultError> {
        let (mut range, mut known) = (schema::table_of_tenant(Table::Events, self.tenant.no), HashSet::new());
        while let Some(rows) = self.vault.some_rows_of(Space::Control, &mut range, ROWS).await? {
            let receipt = self.told(CollectionNo::TENANT, Some(rows.len())).await?;
            for row in rows {
                let token = row.key.last_chunk::<16>().ok_or_else(|| VaultError::Internal("events row".into()))?;
                match retrying(|| self.vault.events_carried(&self.tenant, *token)).await {
                    Ok(Some(carried)) => {
                        let joined = carried.joined.into_iter();
                        let joined = joined.map(|(id, (at, no), reports)| JoinedDoc { id: id.into_string(), at, no, reports }).collect();
                        let document = EventsDoc { subject: carried.subject.into_string(), reports: carried.reports, joined };
                        self.document(Kind::Events, &document, &receipt).await?;
                        known.insert(*token);
                    }
                    Ok(None) | Err(VaultError::Shredded { .. }) => {}
                    Err(VaultError::Internal(reason)) => {
                        self.bent("what was reported of a person", &reason);
                        known.insert(*token);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(known)
    }

    /// The person whose first id this is, and the ids by their tokens; `None` for every other.
    async fn person(&self, token: Token) -> Result<Option<(Vec<Token>, PersonDoc)>, VaultError> {
        let person = self.vault.person(self.tenant.no, token).await?;
        if person.first() != token || self.vault.is_subject_shredded(&self.tenant, &token).await? {
            return Ok(None);
        }
        let mut ids = self.vault.ids_of(self.tenant.no, &person).await?.into_iter().map(SubjectId::into_string);
        Ok(ids.next().map(|subject| (person.tokens().collect(), PersonDoc { subject, aliases: ids.collect() })))
    }

    /// The holds that stand: those that only a counsel may know of, sealed for one.
    async fn holds(&mut self, collections: &HashSet<CollectionNo>) -> Result<(), VaultError> {
        let mut range = schema::table_of_tenant(Table::Hold, self.tenant.no);
        while let Some(rows) = self.vault.some_rows_of(Space::Control, &mut range, ROWS).await? {
            let receipt = self.told(CollectionNo::TENANT, Some(rows.len())).await?;
            for row in rows {
                let Some(hold) = self.vault.carried_hold(&self.tenant, &row, collections).await? else { continue };
                if hold.disclosed {
                    self.document(Kind::Hold, &hold, &receipt).await?;
                } else {
                    // One that was placed since the export began may be the first.
                    let counsel = self.counsel.ok_or(Unprocessable::CounselRecipientMissing)?;
                    let json = serde_json::to_vec(&hold).map_err(|_| VaultError::Internal("a document of a bundle".into()))?;
                    let sealed = sealed_for(&counsel, Kind::SealedHold, &json, &receipt)?;
                    self.frame(Kind::SealedHold, &sealed, &receipt).await?;
                }
            }
        }
        Ok(())
    }

    /// What the tokens allow, without their secrets.
    async fn grants(&mut self) -> Result<(), VaultError> {
        let mut range = schema::table_of_tenant(Table::TenantAccessToken, self.tenant.no);
        while let Some(rows) = self.vault.some_rows_of(Space::Control, &mut range, ROWS).await? {
            let receipt = self.told(CollectionNo::TENANT, Some(rows.len())).await?;
            for row in rows {
                match self.vault.token_view(&self.tenant, token_of(&row.key)?).await {
                    Ok(Some(view)) => self.document(Kind::Grant, &grant_doc(&view), &receipt).await?,
                    Ok(None) => {}
                    Err(VaultError::Internal(reason)) => self.bent("a token", &reason),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// The certificates of what the tenant has had shredded.
    async fn certificates(&mut self) -> Result<(), VaultError> {
        let mut range = schema::table_of_tenant(Table::TenantShredOrder, self.tenant.no);
        while let Some(rows) = self.vault.some_rows_of(Space::Control, &mut range, ROWS).await? {
            let receipt = self.told(CollectionNo::TENANT, None).await?;
            for row in rows {
                let id = row.key.last_chunk::<16>().ok_or_else(|| VaultError::Internal("order row".into()))?;
                let note = self.vault.inner.store.get(Space::Control, &schema::certificate(ShredId(*id))).await?;
                if let Some(note) = note {
                    self.frame(Kind::Certificate, &note, &receipt).await?;
                }
            }
        }
        Ok(())
    }

    /// The heads of the trail's chains, then its entries: all that the heads are of are there then, and what was written until then. What is
    /// written meanwhile ends it, however much that is.
    async fn trail(&mut self) -> Result<(), VaultError> {
        let heads = self.vault.inner.audit.heads(self.tenant.no).await?;
        let receipt = self.told(CollectionNo::TENANT, None).await?;
        // By the clock alone an entry that was written while it was ahead would cut off what the heads are of.
        let until = self.vault.clock().now();
        let mut awaited: HashMap<WriterId, u64> = heads.iter().map(|head| (WriterId(head.writer), head.seq)).collect();
        for head in heads {
            self.document(Kind::Head, &head, &receipt).await?;
        }
        let mut after: Option<String> = None;
        loop {
            let (vault, tenant) = (&self.vault, &self.tenant);
            let page = vault.inner.audit.read(tenant.no, tenant.audit, after.as_deref(), ENTRIES).await?;
            for entry in &page.entries {
                if awaited.get(&entry.writer).is_some_and(|last| *last <= entry.seq) {
                    awaited.remove(&entry.writer);
                }
            }
            let is_newer = page.entries.first().is_some_and(|first| first.time > until);
            let mut entries = page.entries.into_iter();
            while entries.len() > 0 {
                let some = entries.by_ref().take(NAMED).collect();
                let named = self.vault.name_entries(&self.caller, &self.tenant, some).await?;
                for named in named {
                    self.document(Kind::Entry, &named.to_json(), &receipt).await?;
                }
            }
            if !page.more || (is_newer && awaited.is_empty()) {
                return Ok(());
            }
            self.may_go_on().await?;
            after = Some(page.next);
        }
    }

    /// The trailer, unless the holds are others than when the export began: one whose page went by before is not in the bundle, nor is what
    /// one has taken back that an order had closed.
    ///
    /// # Errors
    /// [`VaultError::Busy`]: the export is begun anew.
    async fn end(mut self, holds: Option<Bytes>) -> Result<(), VaultError> {
        let records = usize::try_from(self.progress.counts.records()).ok();
        let receipt = self.told(CollectionNo::TENANT, records).await?;
        if self.vault.hold_state(self.tenant.no).await?.0 != holds && !fault!("bundle-hold") {
            return Err(VaultError::Busy);
        }
        let (bundle, store) = (hex::encode(self.bundle), self.vault.store_id().to_string());
        let mut trailer = Trailer {
            frames: self.progress.next,
            counts: self.progress.counts.by_name(),
            left_out: self.left_out,
            chain: hex::encode(self.progress.chain),
            note: String::new(),
        };
        let signed = self.vault.inner.signer.sign(&trailer.signed_text(&bundle, &store));
        trailer.note = signed.map_err(|error| VaultError::Internal(format!("trailer of a bundle: {error}")))?;
        self.document(Kind::Trailer, &trailer, &receipt).await?;
        let Self { out, sender, .. } = self;
        let piece = out.finish()?;
        sender.send(piece.into()).await.map_err(|_| VaultError::Internal("nobody takes an export".into()))
    }
}

fn collection_doc(collection: Collection) -> CollectionDoc {
    let (was, bypassed) = (collection.past.retention_was.into_iter(), collection.past.bypassed);
    CollectionDoc {
        collection: collection.name.as_str().to_owned(),
        created_at: collection.created_at,
        policy: collection.policy,
        retention_was: was.map(|(until, retention, categories)| RetentionWas { until: Timestamp(until), retention, categories }).collect(),
        bypassed,
    }
}

fn grant_doc(view: &TokenView) -> GrantDoc {
    GrantDoc {
        id: view.id.to_string(),
        role: view.role.name().to_owned(),
        kind: view.kind.name().to_owned(),
        collections: view.narrowing.collections.iter().map(|name| name.as_str().to_owned()).collect(),
        prefix: view.narrowing.prefix.as_ref().map(|key| key.as_str().to_owned()),
        created_at: view.created_at,
        expires_at: view.expires_at,
    }
}

fn record_doc(collection: &Collection, meta: RecordMeta, due: Option<Written>, left_by: Option<LeftBy>) -> RecordDoc {
    RecordDoc {
        collection: collection.name.as_str().to_owned(),
        key: meta.key.into_string(),
        content_type: meta.content_type,
        subjects: meta.subjects.into_iter().map(SubjectId::into_string).collect(),
        created_at: meta.created_at,
        modified_at: meta.modified_at,
        expires_at: meta.expires_at,
        custom: CustomPairs(meta.custom),
        value_len: meta.value_len,
        rules_no: meta.rules_no,
        reports_no: meta.reports_no.unwrap_or(0),
        due: due.map(|written| match written {
            Written::Ends(end) => {
                let marks_at = (!end.marks_for.is_zero()).then(|| end.marked_at());
                DueDoc::Ends { at: end.at, marks_at, by_date: end.by_date }
            }
            Written::Endless(since) => DueDoc::Endless { since },
        }),
        kept: meta.kept.map(|Kept { rule, basis, until, restricted_by: _ }| KeptDoc { rule, basis, until, left_by }),
        governed: meta.governed.filter(|_| !fault!("bypass-moved")).map(|Governed { rule, basis, until, rules_no }| GovernedDoc {
            rule,
            basis,
            until,
            rules_no,
        }),
    }
}

/// A frame's payload, sealed for somebody within the bundle: `commitment | an age file`.
fn sealed_for(recipient: &Recipient, kind: Kind, payload: &[u8], receipt: &Receipt) -> Result<Vec<u8>, VaultError> {
    let plain = Zeroizing::new([&random::bytes::<32>()[..], payload].concat());
    let mut sealed = OpenedFrame::parse(&plain)?.commitment(kind).to_vec();
    let mut out = Outgoing::to(recipient);
    out.write(&plain, receipt)?;
    sealed.extend(out.finish()?);
    Ok(sealed)
}

/// What is made, as it is made, to whoever takes it: nothing is made while nobody takes, and nothing any more once nobody will.
fn streamed(mut made: BoxFuture<'static, Result<(), VaultError>>, mut pieces: Receiver<Bytes>) -> ValueStream {
    let mut is_made = false;
    let next = move |waker: &mut Waker<'_>| -> Poll<Option<Result<Bytes, VaultError>>> {
        if let Poll::Ready(Some(piece)) = pieces.poll_recv(waker) {
            return Poll::Ready(Some(Ok(piece)));
        }
        if !is_made {
            match made.as_mut().poll(waker) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => is_made = true,
                Poll::Ready(Err(error)) => {
                    is_made = true;
                    pieces.close();
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        pieces.poll_recv(waker).map(|piece| piece.map(Ok))
    };
    Box::pin(stream::poll_fn(next))
}

impl From<TooManyChunks> for VaultError {
    fn from(error: TooManyChunks) -> Self {
        Self::Internal(error.to_string())
    }
}

//! Sealing and opening: the verbs of keys for content.
//!
//! A record's row is `header | Cobblestone`, anything else `suite u8 | Cobblestone`; a record's plaintext is
//! `be32 length | metadata | value`. Each sealing draws a fresh salt, so no key has a budget of nonces.

use zeroize::Zeroizing;

use crate::domain::RecordMeta;

use super::{
    Content, Context, OpenError, OpenReason, Plaintext, Record, RecordHeader, Sealed, Suite, Value,
    cobblestone::{self, Opener, SALT_LEN},
    header::RECORD_HEADER_LEN,
    key::{Data, Key, SealsContent},
    random,
    record_meta::{self, EncodedMeta},
};

impl<R: SealsContent> Key<R> {
    /// Seals content in its place.
    #[must_use]
    pub fn seal<T: Content>(&self, suite: Suite, context: &Context<T>, plaintext: &Plaintext<T>) -> Sealed<T> {
        self.seal_with_salt(suite, context, plaintext, &random::bytes())
    }

    pub(super) fn seal_with_salt<T: Content>(
        &self,
        suite: Suite,
        context: &Context<T>,
        plaintext: &Plaintext<T>,
        salt: &[u8; SALT_LEN],
    ) -> Sealed<T> {
        let parts = [plaintext.expose()];
        let mut row = Vec::with_capacity(cobblestone::sealed_len(plaintext.len()).saturating_add(1));
        row.push(suite.to_byte());
        cobblestone::seal_into(&mut row, suite, self.expose(), salt, context.bytes(), &parts);
        Sealed::made(row, suite)
    }

    /// Opens content in its place.
    ///
    /// # Errors
    /// [`OpenError`] if it was sealed under another key or in another place, or was changed.
    pub fn open<T: Content>(&self, context: &Context<T>, sealed: &Sealed<T>) -> Result<Plaintext<T>, OpenError> {
        let opener = Opener::new(sealed.suite(), self.expose(), context.bytes(), sealed.body())?;
        Ok(Plaintext::wrap(opener.open()?))
    }
}

/// A record, opened.
pub struct OpenedRecord {
    /// Its metadata, the key among it: check it against the key that was asked for.
    pub meta: RecordMeta,
    /// Its value, or its manifest where the header says so.
    pub value: Plaintext<Value>,
}

impl Key<Data> {
    /// Seals a record in its place; suite and header are the context's.
    #[must_use]
    pub fn seal_record(&self, context: &Context<Record>, meta: &EncodedMeta, value: &[u8]) -> Sealed<Record> {
        self.seal_record_with_salt(context, meta, value, &random::bytes())
    }

    pub(super) fn seal_record_with_salt(
        &self,
        context: &Context<Record>,
        meta: &EncodedMeta,
        value: &[u8],
        salt: &[u8; SALT_LEN],
    ) -> Sealed<Record> {
        let header = context.header();
        let suite = context.suite();
        let meta = meta.bytes();
        let meta_len = u32::try_from(meta.len()).expect("metadata is at most 17 KiB").to_be_bytes();
        let len = value.len().saturating_add(meta.len()).saturating_add(4);
        let mut row = Vec::with_capacity(cobblestone::sealed_len(len).saturating_add(RECORD_HEADER_LEN));
        row.extend_from_slice(header);
        cobblestone::seal_into(&mut row, suite, self.expose(), salt, context.bytes(), &[&meta_len, meta, value]);
        Sealed::made(row, suite)
    }

    /// Opens a record.
    ///
    /// # Errors
    /// [`OpenError`] if it was sealed under another key or in another place, or was changed.
    pub fn open_record(&self, context: &Context<Record>, sealed: &Sealed<Record>) -> Result<OpenedRecord, OpenError> {
        let mut plain = self.opener(context, sealed)?.open()?;
        let (meta, value) = split(&plain)?;
        let mut meta = record_meta::decode(meta)?;
        tell_seen(sealed, &mut meta)?;
        let before = plain.len().saturating_sub(value.len());
        plain.drain(..before);
        Ok(OpenedRecord { meta, value: Plaintext::wrap(plain) })
    }

    /// Opens a record's metadata alone, for lists and HEAD: only the chunks that hold it are opened and verified.
    ///
    /// # Errors
    /// [`OpenError`] as for [`Key::open_record`]; damage behind the metadata's chunks is not seen.
    pub fn open_meta(&self, context: &Context<Record>, sealed: &Sealed<Record>) -> Result<RecordMeta, OpenError> {
        let opener = self.opener(context, sealed)?;
        let mut plain = Zeroizing::new(Vec::new());
        opener.open_until(&mut plain, 4)?;
        let len = plain.first_chunk().ok_or(OpenReason::Framing)?;
        let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| OpenReason::Framing)?;
        opener.open_until(&mut plain, len.saturating_add(4))?;
        let mut meta = record_meta::decode(split(&plain)?.0)?;
        tell_seen(sealed, &mut meta)?;
        Ok(meta)
    }

    fn opener<'a>(&self, context: &Context<Record>, sealed: &'a Sealed<Record>) -> Result<Opener<'a>, OpenError> {
        if sealed.header()?.to_bytes() != *context.header() {
            return Err(OpenReason::Framing.into());
        }
        Ok(Opener::new(sealed.suite(), self.expose(), context.bytes(), sealed.body())?)
    }
}

/// What a write that did not look has seen of what was reported: all that was numbered before its version.
fn tell_seen(sealed: &Sealed<Record>, meta: &mut RecordMeta) -> Result<(), OpenError> {
    meta.reports_no = Some(meta.reports_no.unwrap_or(sealed.header()?.version.0));
    Ok(())
}

/// Cuts a record's plaintext, or its beginning, into metadata and what follows.
fn split(plain: &[u8]) -> Result<(&[u8], &[u8]), OpenReason> {
    let (len, rest) = plain.split_first_chunk().ok_or(OpenReason::Framing)?;
    let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| OpenReason::Framing)?;
    rest.split_at_checked(len).ok_or(OpenReason::Framing)
}

impl Context<Record> {
    /// The suite of its header.
    fn suite(&self) -> Suite {
        RecordHeader::parse(self.header()).expect("it was made from a header").suite
    }
}

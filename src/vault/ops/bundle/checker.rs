//! That a bundle is whole and in order, frame by frame, in the memory of one frame.
//!
//! `h_0` is 32 zero bytes; `h_i` the hash of `h_(i-1)`, the kind and the payload of frame i. The trailer has the last one, the number of
//! frames and how many there are of each kind. So no frame can be bent, left out, added, moved or said twice, and a check that was broken
//! off goes on from its [`Progress`].

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    BundleError, Frame, Kind,
    documents::{CollectionDoc, EventsDoc, GrantDoc, Header, HoldDoc, OpenedFrame, PersonDoc, RecordDoc, SealedFrame, Trailer, parse},
    frames::VALUE_LEN,
};
use crate::vault::{
    audit::heads::ProvenHead,
    crypto::hash::{self, Purpose},
};

/// Where a bundle is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In its file: what is sealed stays sealed.
    File,
    /// On its way to an importing store: behind each sealed frame comes what it was opened to.
    Wire,
}

/// What was in a frame.
pub enum Part {
    /// What bundle this is.
    Header(Header),
    /// A collection.
    Collection(CollectionDoc),
    /// A record, also one that was opened; its value follows.
    Record(RecordDoc),
    /// The next part of its value.
    Value(Bytes),
    /// The record is not there.
    Gone,
    /// A person.
    Person(PersonDoc),
    /// What was reported of a person.
    Events(EventsDoc),
    /// A hold, also one that was opened.
    Hold(HoldDoc),
    /// What is sealed for a counsel or an auditor: the frame's payload. On the wire it comes opened next.
    Sealed(Bytes),
    /// A grant.
    Grant(GrantDoc),
    /// A certificate's note.
    Certificate(String),
    /// A head of a chain of the trail.
    Head(Box<ProvenHead>),
    /// A line of the trail.
    Entry(String),
    /// The end, which agrees with all that came before it.
    Trailer(Box<Trailer>),
}

/// How many frames there are of each kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts(BTreeMap<Kind, u64>);

impl Counts {
    /// Of stored numbers, in the order of the kinds; what is missing is 0.
    #[must_use]
    pub fn from_numbers(numbers: &[u64]) -> Self {
        Self(Kind::ALL.iter().copied().zip(numbers.iter().copied()).filter(|(_, count)| *count > 0).collect())
    }

    /// The numbers as they are stored.
    #[must_use]
    pub fn to_numbers(&self) -> Vec<u64> {
        Kind::ALL.iter().map(|kind| self.of(*kind)).collect()
    }

    /// How many of a kind.
    #[must_use]
    pub fn of(&self, kind: Kind) -> u64 {
        self.0.get(&kind).copied().unwrap_or(0)
    }

    /// How many records, those that are sealed included.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.of(Kind::Record).saturating_add(self.of(Kind::SealedRecord))
    }

    /// By name, as a trailer has them.
    #[must_use]
    pub fn by_name(&self) -> BTreeMap<String, u64> {
        self.0.iter().map(|(kind, count)| (kind.name().to_owned(), *count)).collect()
    }

    fn add(&mut self, kind: Kind) {
        let count = self.0.entry(kind).or_default();
        *count = count.saturating_add(1);
    }
}

/// How far a bundle was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// The number of the next frame, from 0.
    pub next: u64,
    /// The running hash over those before it.
    pub chain: [u8; 32],
    /// The rank of the last one.
    pub rank: u8,
    /// How many there are of each kind.
    pub counts: Counts,
}

impl Progress {
    /// Takes a frame into the running hash.
    pub(super) fn add(&mut self, kind: Kind, payload: &[u8]) {
        self.chain = hash::of_fields(Purpose::Bundle, &[&self.chain, &[kind.code()], payload]);
        self.next = self.next.saturating_add(1);
        self.rank = kind.rank();
        self.counts.add(kind);
    }
}

/// Reads a bundle.
pub struct Checker {
    way: Way,
    progress: Progress,
    /// What is still to come of the value of the last record, and in frames of which kind.
    left: Option<(u64, Kind)>,
    /// Whether the last record is sealed, and stays so: how long its value is cannot be told.
    is_in_sealed: bool,
    /// Kind and commitment of the sealed frame before, which comes opened next.
    sealed: Option<(Kind, [u8; 32])>,
    is_over: bool,
}

impl Checker {
    /// Begins, or goes on.
    #[must_use]
    pub const fn new(way: Way, progress: Progress) -> Self {
        Self { way, progress, left: None, is_in_sealed: false, sealed: None, is_over: false }
    }

    /// How far it was read.
    #[must_use]
    pub const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Whether the last frame needs another to be understood.
    #[must_use]
    pub const fn is_within(&self) -> bool {
        self.left.is_some() || self.sealed.is_some()
    }

    /// Whether the trailer was read.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Reads the next frame.
    ///
    /// # Errors
    /// [`BundleError`]; nothing may be read on then.
    pub fn take(&mut self, frame: &Frame) -> Result<Part, BundleError> {
        let Frame { kind, payload } = frame;
        let kind = *kind;
        if self.is_over {
            return Err(BundleError::Behind);
        }
        if (self.progress.next == 0) != (kind == Kind::Header) {
            return Err(if kind == Kind::Header { BundleError::Order(kind) } else { BundleError::NotABundle });
        }
        if kind == Kind::Opened || self.sealed.is_some() {
            return self.take_opened(frame);
        }
        self.take_of_value(frame)?;
        if kind.rank() < self.progress.rank {
            return Err(BundleError::Order(kind));
        }
        if kind == Kind::Trailer {
            return self.take_trailer(payload);
        }
        let part = part_of(frame)?;
        if let Part::Record(record) = &part {
            self.left = Some((record.value_len, Kind::Value)).filter(|(len, _)| *len > 0);
        }
        if let Part::Sealed(_) = &part {
            let is_opened = self.way == Way::Wire;
            self.sealed = is_opened.then_some((kind, SealedFrame::parse(kind, payload)?.commitment));
            self.is_in_sealed = !is_opened && kind != Kind::SealedHold;
        }
        self.progress.add(kind, payload);
        Ok(part)
    }

    /// # Errors
    /// [`BundleError::Cut`] if the trailer was not read.
    pub const fn finish(&self) -> Result<(), BundleError> {
        if self.is_over { Ok(()) } else { Err(BundleError::Cut) }
    }

    /// Parts of a value follow their record, and nothing else does until all of it is there.
    fn take_of_value(&mut self, Frame { kind, payload }: &Frame) -> Result<(), BundleError> {
        let is_in_sealed = std::mem::take(&mut self.is_in_sealed);
        match (self.left, *kind) {
            (Some((left, Kind::Value)), Kind::Value) => self.take_part_of(left, Kind::Value, payload.len()),
            // It is counted when it was opened.
            (Some((_, Kind::SealedValue)), Kind::SealedValue) => Ok(()),
            (Some(_), Kind::Gone) => {
                self.left = None;
                gone(payload)
            }
            (Some(_), _) => Err(BundleError::Value),
            (None, Kind::SealedValue) if is_in_sealed => Ok(()),
            (None, Kind::Gone) if is_in_sealed => gone(payload),
            (None, kind @ (Kind::Value | Kind::SealedValue | Kind::Gone)) => Err(BundleError::Order(kind)),
            (None, _) => Ok(()),
        }
    }

    fn take_part_of(&mut self, left: u64, kind: Kind, len: usize) -> Result<(), BundleError> {
        let rest = left.checked_sub(len as u64).filter(|_| len > 0).ok_or(BundleError::Value)?;
        self.left = Some((rest, kind)).filter(|(rest, _)| *rest > 0);
        Ok(())
    }

    /// What a sealed frame was opened to: what would have stood in its place.
    fn take_opened(&mut self, Frame { kind, payload }: &Frame) -> Result<Part, BundleError> {
        let Some((sealed, commitment)) = self.sealed.take() else { return Err(BundleError::Order(*kind)) };
        if *kind != Kind::Opened {
            return Err(BundleError::Sealed);
        }
        let opened = OpenedFrame::parse(payload)?.payload(sealed, &commitment)?;
        if sealed == Kind::SealedHold {
            return parse(sealed, opened).map(Part::Hold);
        }
        if sealed == Kind::SealedRecord {
            let record: RecordDoc = parse(sealed, opened)?;
            self.left = Some((record.value_len, Kind::SealedValue)).filter(|(len, _)| *len > 0);
            return Ok(Part::Record(record));
        }
        if opened.len() > VALUE_LEN {
            return Err(BundleError::TooLong(sealed));
        }
        let (left, _) = self.left.ok_or(BundleError::Value)?;
        self.take_part_of(left, sealed, opened.len())?;
        Ok(Part::Value(Bytes::copy_from_slice(opened)))
    }

    fn take_trailer(&mut self, payload: &[u8]) -> Result<Part, BundleError> {
        let trailer: Trailer = parse(Kind::Trailer, payload)?;
        if trailer.chain != hex::encode(self.progress.chain) {
            return Err(BundleError::Chain);
        }
        if trailer.frames != self.progress.next || trailer.counts != self.progress.counts.by_name() {
            return Err(BundleError::Counts);
        }
        self.is_over = true;
        Ok(Part::Trailer(Box::new(trailer)))
    }
}

fn part_of(Frame { kind, payload }: &Frame) -> Result<Part, BundleError> {
    let kind = *kind;
    Ok(match kind {
        Kind::Header => Part::Header(Header::parse(payload)?),
        Kind::Collection => Part::Collection(parse(kind, payload)?),
        Kind::Record => Part::Record(parse(kind, payload)?),
        Kind::Value => Part::Value(payload.clone()),
        Kind::Gone => Part::Gone,
        Kind::Person => Part::Person(parse(kind, payload)?),
        Kind::Events => Part::Events(parse(kind, payload)?),
        Kind::Hold => Part::Hold(parse(kind, payload)?),
        Kind::SealedHold | Kind::SealedRecord | Kind::SealedValue => {
            SealedFrame::parse(kind, payload)?;
            Part::Sealed(payload.clone())
        }
        Kind::Grant => Part::Grant(parse(kind, payload)?),
        Kind::Certificate => Part::Certificate(text(kind, payload)?),
        Kind::Head => Part::Head(Box::new(parse(kind, payload)?)),
        Kind::Entry => Part::Entry(text(kind, payload)?),
        Kind::Trailer | Kind::Opened => return Err(BundleError::Order(kind)),
    })
}

fn gone(payload: &[u8]) -> Result<(), BundleError> {
    if payload.is_empty() { Ok(()) } else { Err(BundleError::Form(Kind::Gone)) }
}

fn text(kind: Kind, payload: &[u8]) -> Result<String, BundleError> {
    String::from_utf8(payload.to_vec()).map_err(|_| BundleError::Form(kind))
}

#[cfg(test)]
mod tests;

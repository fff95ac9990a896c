//! A frame of the mirror's log, and the encoding of changes.
//!
//! ```text
//! frame = "LMF1" | body length be32 | kind u8 | sequence be64 | previous digest 32 | body | digest 32
//! digest = SHA-256 of all before it
//! body of Rows, Delta = ( 1 | space u8 | key | value  or  2 | space u8 | key  or  3 | space u8 | from | to )*, each byte string behind its length be32
//! ```
//! A frame proves itself, and through the previous digest its place; so a torn tail (nothing whole behind it) and a
//! damaged middle (a whole frame behind it) are told apart.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::super::super::{Space, Write};

pub(super) const MAGIC: [u8; 4] = *b"LMF1";
pub(super) const HEADER_LEN: usize = 49;
pub(super) const DIGEST_LEN: usize = 32;
/// No body is longer: a commit's limit and room for the group around it.
pub(super) const BODY_LEN_MAX: usize = 512 * 1024 * 1024;

/// A SHA-256 digest: a frame's, and of a delta also the control store's state's.
pub(in super::super) type Digest = [u8; DIGEST_LEN];

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// First of a file: format and store id.
    Head = 1,
    /// Rows of a snapshot.
    Rows = 2,
    /// End of a snapshot: sequence and digest of the state it holds.
    Base = 3,
    /// The changes of one control batch.
    Delta = 4,
}

/// A frame that proved itself.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) seq: u64,
    pub(super) previous: Digest,
    pub(super) body: Vec<u8>,
    pub(super) digest: Digest,
}

/// Bytes of a frame around its body.
pub(super) const OVERHEAD: usize = HEADER_LEN + DIGEST_LEN;

pub(super) fn encode(kind: Kind, seq: u64, previous: &Digest, body: &[u8]) -> std::io::Result<(Vec<u8>, Digest)> {
    let len = u32::try_from(body.len()).ok().filter(|_| body.len() <= BODY_LEN_MAX);
    let len = len.ok_or_else(|| std::io::Error::other("a mirror frame is too long"))?;
    let mut frame = Vec::with_capacity(body.len().saturating_add(OVERHEAD));
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&len.to_be_bytes());
    frame.push(kind as u8);
    frame.extend_from_slice(&seq.to_be_bytes());
    frame.extend_from_slice(previous);
    frame.extend_from_slice(body);
    let digest = Digest::from(Sha256::digest(&frame));
    frame.extend_from_slice(&digest);
    Ok((frame, digest))
}

/// The body's length if `header` begins a frame.
pub(super) fn body_len(header: &[u8; HEADER_LEN]) -> Option<usize> {
    let (magic, rest) = header.split_first_chunk::<4>()?;
    let (len, _) = rest.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
    (*magic == MAGIC && len <= BODY_LEN_MAX).then_some(len)
}

/// The frame of a header, its body and its digest; `None` if it does not prove itself.
pub(super) fn decode(header: &[u8; HEADER_LEN], body: Vec<u8>, digest: Digest) -> Option<Frame> {
    let proof = Sha256::new().chain_update(header).chain_update(&body).finalize();
    if proof.as_slice() != digest {
        return None;
    }
    let (_, rest) = header.split_first_chunk::<8>()?;
    let (kind, rest) = rest.split_first()?;
    let (seq, rest) = rest.split_first_chunk::<8>()?;
    let kind = match kind {
        1 => Kind::Head,
        2 => Kind::Rows,
        3 => Kind::Base,
        4 => Kind::Delta,
        _ => return None,
    };
    Some(Frame { kind, seq: u64::from_be_bytes(*seq), previous: rest.try_into().ok()?, body, digest })
}

const fn space_tag(space: Space) -> u8 {
    match space {
        Space::Control => 1,
        Space::ControlAudit => 2,
        Space::Records => 3,
        Space::Blobs => 4,
        Space::Index => 5,
        Space::DataAudit => 6,
    }
}

fn put_bytes(body: &mut Vec<u8>, bytes: &[u8]) {
    // A row has at most 100 kB, so the length always fits.
    body.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    body.extend_from_slice(bytes);
}

/// Bytes that [`put_write`] appends.
pub(in super::super) fn write_len(write: &Write) -> usize {
    match write {
        Write::Put { key, value, .. } => key.len().saturating_add(value.len()).saturating_add(10),
        Write::Delete { key, .. } => key.len().saturating_add(6),
        Write::DeleteRange { from, to, .. } => from.len().saturating_add(to.len()).saturating_add(10),
    }
}

/// Appends a change to a body.
pub(in super::super) fn put_write(body: &mut Vec<u8>, write: &Write) {
    let (tag, space, first, second) = match write {
        Write::Put { space, key, value } => (1, space, key, Some(value)),
        Write::Delete { space, key } => (2, space, key, None),
        Write::DeleteRange { space, from, to } => (3, space, from, Some(to)),
    };
    body.push(tag);
    body.push(space_tag(*space));
    put_bytes(body, first);
    if let Some(second) = second {
        put_bytes(body, second);
    }
}

fn take_bytes(rest: &mut &[u8]) -> Option<Bytes> {
    let (len, tail) = rest.split_first_chunk::<4>()?;
    let (bytes, tail) = tail.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
    *rest = tail;
    Some(Bytes::copy_from_slice(bytes))
}

fn take_write(rest: &mut &[u8]) -> Option<Write> {
    let ([tag, space], tail) = rest.split_first_chunk::<2>()?;
    *rest = tail;
    // Only the control store is mirrored.
    let space = match space {
        1 => Space::Control,
        2 => Space::ControlAudit,
        _ => return None,
    };
    match tag {
        1 => Some(Write::Put { space, key: take_bytes(rest)?, value: take_bytes(rest)? }),
        2 => Some(Write::Delete { space, key: take_bytes(rest)? }),
        3 => Some(Write::DeleteRange { space, from: take_bytes(rest)?, to: take_bytes(rest)? }),
        _ => None,
    }
}

/// The changes of a body; `None` if it is not well-formed.
pub(super) fn take_writes(body: &[u8]) -> Option<Vec<Write>> {
    let mut rest = body;
    let mut writes = Vec::new();
    while !rest.is_empty() {
        writes.push(take_write(&mut rest)?);
    }
    Some(writes)
}

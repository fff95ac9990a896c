//! Reading the mirror's log from its beginning, each frame proven.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek as _, SeekFrom},
    path::Path,
};

use crate::domain::StoreId;

use super::{
    super::error::{OpenError, at},
    Base, FORMAT, State,
    frame::{self, DIGEST_LEN, Digest, Frame, HEADER_LEN, Kind, OVERHEAD},
};

/// What a log holds, read to its end.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) store_id: StoreId,
    pub(super) state: State,
    /// Bytes of the snapshot at the beginning.
    pub(super) base_len: u64,
    /// Bytes of all whole frames; what lies behind is a torn tail.
    pub(super) len: u64,
}

/// Bytes read at once.
const READ_LEN: usize = 1024 * 1024;

/// Reads `path` and hands the body of each frame with rows or changes to `each`, in order.
pub(super) fn read(path: &Path, each: impl FnMut(Kind, &[u8]) -> Option<()>) -> Result<Contents, OpenError> {
    let file = open(path)?;
    let len = file.metadata().map_err(at(path.display()))?.len();
    read_file(path, &file, len, each, |_| ())
}

/// Opens a log for reading.
pub(super) fn open(path: &Path) -> Result<File, OpenError> {
    match File::open(path) {
        Ok(file) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(OpenError::MirrorMissing(path.to_owned())),
        Err(error) => Err(at(path.display())(error)),
    }
}

/// The same of an open log's first `limit` bytes, to which somebody may be adding; `stands` is told every state that a frame ends.
pub(super) fn read_file(
    path: &Path,
    file: &File,
    limit: u64,
    mut each: impl FnMut(Kind, &[u8]) -> Option<()>,
    mut stands: impl FnMut(State),
) -> Result<Contents, OpenError> {
    let mut cursor = file;
    cursor.seek(SeekFrom::Start(0)).map_err(at(path.display()))?;
    let mut input = BufReader::with_capacity(READ_LEN, cursor.take(limit));
    let mut offset = 0_u64;
    let damaged = |offset, detail| OpenError::MirrorDamaged { path: path.to_owned(), offset, detail };
    let mut store_id = None;
    let mut base: Option<Base> = None;
    let mut previous: Digest = [0; DIGEST_LEN];
    let mut seq = 0;
    loop {
        let frame = match next(&mut input).map_err(at(path.display()))? {
            Next::Whole(frame) => frame,
            Next::Broken if base.is_none() => return Err(damaged(offset, "the snapshot is not whole")),
            Next::Broken if whole_frame_behind(file, offset, limit).map_err(at(path.display()))? => {
                return Err(damaged(offset, "a frame is damaged, and whole frames follow"));
            }
            // A broken frame with nothing whole behind it is a torn end.
            Next::End | Next::Broken => break,
        };
        if frame.previous != previous {
            return Err(damaged(offset, "a frame does not follow from the one before it"));
        }
        previous = frame.digest;
        match (frame.kind, &base, store_id) {
            (Kind::Head, None, None) => store_id = Some(parse_head(path, &frame.body).ok_or_else(|| damaged(offset, "unreadable head"))??),
            (Kind::Rows, None, Some(_)) => {}
            (Kind::Base, None, Some(_)) => {
                seq = frame.seq;
                previous = frame.body.as_slice().try_into().map_err(|_| damaged(offset, "unreadable base"))?;
                base = Some(Base { len: offset.saturating_add(frame_len(&frame)) });
            }
            (Kind::Delta, Some(_), _) if frame.seq == seq.saturating_add(1) => seq = frame.seq,
            _ => return Err(damaged(offset, "a frame is out of place")),
        }
        if matches!(frame.kind, Kind::Rows | Kind::Delta) {
            each(frame.kind, &frame.body).ok_or_else(|| damaged(offset, "unreadable rows"))?;
        }
        if matches!(frame.kind, Kind::Base | Kind::Delta) {
            stands(State { seq, digest: previous });
        }
        offset = offset.saturating_add(frame_len(&frame));
    }
    match (store_id, base) {
        (Some(store_id), Some(base)) => Ok(Contents { store_id, state: State { seq, digest: previous }, base_len: base.len, len: offset }),
        _ => Err(damaged(offset, "the snapshot is not whole")),
    }
}

/// How far whole deltas that follow a state reach from `from` on, within the first `limit` bytes, and the state behind them; `None` where
/// what stands there does not follow.
pub(super) fn follow(file: &File, from: u64, limit: u64, mut state: State) -> io::Result<Option<(u64, State)>> {
    let mut cursor = file;
    cursor.seek(SeekFrom::Start(from))?;
    let mut input = BufReader::with_capacity(READ_LEN, cursor.take(limit.saturating_sub(from)));
    let mut offset = from;
    loop {
        let frame = match next(&mut input)? {
            Next::Whole(frame) => frame,
            // Somebody may be at writing it.
            Next::End | Next::Broken => return Ok(Some((offset, state))),
        };
        if frame.kind != Kind::Delta || frame.previous != state.digest || Some(frame.seq) != state.seq.checked_add(1) {
            return Ok(None);
        }
        state = State { seq: frame.seq, digest: frame.digest };
        offset = offset.saturating_add(frame_len(&frame));
    }
}

fn frame_len(frame: &Frame) -> u64 {
    (frame.body.len() as u64).saturating_add(OVERHEAD as u64)
}

fn parse_head(path: &Path, body: &[u8]) -> Option<Result<StoreId, OpenError>> {
    let (format, store_id) = body.split_first_chunk::<4>()?;
    let format = u32::from_be_bytes(*format);
    if format != FORMAT {
        return Some(Err(OpenError::UnknownFormat { place: path.display().to_string(), found: format.to_string(), known: FORMAT }));
    }
    store_id.try_into().ok().map(StoreId).map(Ok)
}

enum Next {
    End,
    Whole(Frame),
    Broken,
}

fn next(input: &mut impl Read) -> io::Result<Next> {
    let mut header = Vec::with_capacity(HEADER_LEN);
    input.take(HEADER_LEN as u64).read_to_end(&mut header)?;
    if header.is_empty() {
        return Ok(Next::End);
    }
    let Ok(header) = <[u8; HEADER_LEN]>::try_from(header) else { return Ok(Next::Broken) };
    let Some(len) = frame::body_len(&header) else { return Ok(Next::Broken) };
    let mut body = Vec::new();
    input.take(len as u64).read_to_end(&mut body)?;
    let mut digest = Vec::with_capacity(DIGEST_LEN);
    input.take(DIGEST_LEN as u64).read_to_end(&mut digest)?;
    let whole = Digest::try_from(digest).ok().filter(|_| body.len() == len);
    Ok(whole.and_then(|digest| frame::decode(&header, body, digest)).map_or(Next::Broken, Next::Whole))
}

/// Whether a frame that proves itself begins anywhere behind `offset`, within the first `limit` bytes.
fn whole_frame_behind(file: &File, offset: u64, limit: u64) -> io::Result<bool> {
    let from = offset.saturating_add(1);
    let mut cursor = file;
    cursor.seek(SeekFrom::Start(from))?;
    let mut rest = Vec::new();
    cursor.take(limit.saturating_sub(from)).read_to_end(&mut rest)?;
    let mut tail = rest.as_slice();
    while let Some(start) = tail.windows(frame::MAGIC.len()).position(|window| window == frame::MAGIC) {
        tail = tail.get(start..).unwrap_or_default();
        if let Next::Whole(_) = next(&mut &*tail)? {
            return Ok(true);
        }
        tail = tail.get(1..).unwrap_or_default();
    }
    Ok(false)
}

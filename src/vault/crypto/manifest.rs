//! The manifest of a large value: what the sealed record holds in the value's place.

use crate::domain::UploadId;

use super::{
    OpenError, OpenReason, Suite,
    cobblestone::{COMMIT_LEN, SALT_LEN},
};

/// How a large value's ciphertext begins; kept in the manifest, not with the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobStart {
    /// How its chunks are sealed.
    pub suite: Suite,
    /// Its salt, drawn once; an upload begun anew draws a new one.
    pub salt: [u8; SALT_LEN],
    /// The commitment to key, salt and context.
    pub commit: [u8; COMMIT_LEN],
}

/// Which rows hold a large value; its length stands in the record's metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manifest {
    /// The id its rows are stored under.
    pub upload: UploadId,
    /// How its ciphertext begins.
    pub start: BlobStart,
}

impl Manifest {
    /// Length of the encoding.
    pub const LEN: usize = 16 + 1 + SALT_LEN + COMMIT_LEN;

    /// `upload_id16 | suite u8 | salt24 | commit32`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.upload.0[..], &[self.start.suite.to_byte()], &self.start.salt, &self.start.commit].concat()
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// [`OpenError`] if it has another length or an unknown suite.
    pub fn parse(bytes: &[u8]) -> Result<Self, OpenError> {
        let (upload, rest) = bytes.split_first_chunk().ok_or(OpenReason::Framing)?;
        let (&[suite], rest) = rest.split_first_chunk().ok_or(OpenReason::Framing)?;
        let (salt, rest) = rest.split_first_chunk().ok_or(OpenReason::Framing)?;
        let commit = rest.try_into().map_err(|_| OpenReason::Framing)?;
        Ok(Self { upload: UploadId(*upload), start: BlobStart { suite: Suite::from_byte(suite)?, salt: *salt, commit } })
    }
}

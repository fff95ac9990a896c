//! A bundle in its age file, opened frame by frame: nothing of it is written anywhere.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::super::failure::Failure;
use crate::vault::ops::bundle::{AgeError, BundleError, Frame, Frames, Identity, Incoming, documents::SealedFrame};

/// Identities of age, and the file that they are from.
pub(super) struct Identities {
    path: PathBuf,
    identities: Vec<Identity>,
}

impl Identities {
    /// Reads a file as `age-keygen` writes it: one identity a line, comments behind `#`.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let parsed = |line: &str| line.parse::<Identity>().map_err(|error| Failure::local(format!("{}: {error}", path.display())));
        let identities: Vec<Identity> = lines.map(parsed).collect::<Result<_, _>>()?;
        if identities.is_empty() {
            return Err(Failure::local(format!("{}: holds no identity", path.display())));
        }
        Ok(Self { path: path.to_owned(), identities })
    }

    /// Opens what is sealed in a frame for one of them: `salt | payload`.
    pub(super) fn open_frame(&self, frame: &Frame) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let SealedFrame { sealed, .. } = SealedFrame::parse(frame.kind, &frame.payload).map_err(refused)?;
        match self.open(sealed) {
            Ok(plain) => Ok(plain),
            Err(AgeError::NoMatch) => {
                let what = frame.kind.name().replace('_', " ");
                Err(Failure::local(format!("{}: {what} are sealed for another identity", self.path.display())))
            }
            Err(AgeError::Header | AgeError::Cut | AgeError::Bent | AgeError::Io(_)) => Err(refused(BundleError::Sealed)),
        }
    }

    fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, AgeError> {
        // As long at most: it does not grow, which would leave a copy behind.
        let mut plain = Zeroizing::new(Vec::with_capacity(sealed.len()));
        let mut incoming = Incoming::open(sealed, &self.identities)?;
        while let Some(chunk) = incoming.chunk()? {
            plain.extend_from_slice(chunk);
        }
        Ok(plain)
    }
}

/// A bundle that is read.
pub(super) struct Opened {
    path: PathBuf,
    incoming: Incoming<BufReader<File>>,
    frames: Frames,
}

/// What is read at once.
const BUFFER_LEN: usize = 65_536;

impl Opened {
    /// Opens a file that is sealed for one of these.
    pub(super) fn open(path: &Path, identities: &Identities) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|error| Failure::file(path, &error))?;
        let incoming = Incoming::open(BufReader::with_capacity(BUFFER_LEN, file), &identities.identities);
        let incoming = incoming.map_err(|error| unopened(path, error))?;
        Ok(Self { path: path.to_owned(), incoming, frames: Frames::default() })
    }

    /// The next frame; `None` at the end of the file.
    pub(super) fn frame(&mut self) -> Result<Option<Frame>, Failure> {
        loop {
            if let Some(frame) = self.frames.take_frame().map_err(|error| self.refused(error))? {
                return Ok(Some(frame));
            }
            match self.incoming.chunk().map_err(|error| unopened(&self.path, error))? {
                Some(chunk) => self.frames.feed(chunk),
                None if self.frames.is_empty() => return Ok(None),
                None => return Err(self.refused(BundleError::Cut)),
            }
        }
    }

    /// Why the bundle is not taken.
    pub(super) fn refused(&self, error: BundleError) -> Failure {
        Failure::local(format!("{}: {error}", self.path.display()))
    }
}

fn unopened(path: &Path, error: AgeError) -> Failure {
    match error {
        AgeError::Io(error) => Failure::file(path, &error),
        error @ (AgeError::Header | AgeError::NoMatch | AgeError::Cut | AgeError::Bent) => {
            Failure::local(format!("{}: {error}", path.display()))
        }
    }
}

fn refused(error: BundleError) -> Failure {
    Failure::local(error.to_string())
}

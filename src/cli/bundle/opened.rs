//! A bundle in its age file, opened frame by frame: nothing of it is written anywhere.

use std::{
    fs::File,
    io::{BufReader, ErrorKind, Read as _},
    path::{Path, PathBuf},
};

use age::{DecryptError, Decryptor, stream::StreamReader, x25519::Identity};
use zeroize::Zeroizing;

use super::super::failure::Failure;
use crate::vault::ops::bundle::{BundleError, Frame, Frames, documents::SealedHold};

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
        let identities: Vec<Identity> = lines
            .map(|line| line.parse().map_err(|_| Failure::local(format!("{}: not an X25519 identity of age", path.display()))))
            .collect::<Result<_, _>>()?;
        if identities.is_empty() {
            return Err(Failure::local(format!("{}: holds no identity", path.display())));
        }
        Ok(Self { path: path.to_owned(), identities })
    }

    fn all(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.identities.iter().map(|identity| identity as &dyn age::Identity)
    }

    /// Opens a hold that is sealed for one of them: `salt | HoldDoc`.
    pub(super) fn open_hold(&self, payload: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let SealedHold { sealed, .. } = SealedHold::parse(payload).map_err(refused)?;
        let mut plain = Zeroizing::new(Vec::new());
        let opened = Decryptor::new(sealed).and_then(|decryptor| decryptor.decrypt(self.all()));
        let mut reader = opened.map_err(|error| {
            if matches!(error, DecryptError::NoMatchingKeys) {
                Failure::local(format!("{}: a legal hold is sealed for another identity", self.path.display()))
            } else {
                refused(BundleError::SealedHold)
            }
        })?;
        reader.read_to_end(&mut plain).map_err(|_| refused(BundleError::SealedHold))?;
        Ok(plain)
    }
}

/// A bundle that is read.
pub(super) struct Opened {
    path: PathBuf,
    reader: StreamReader<BufReader<File>>,
    frames: Frames,
    buffer: Zeroizing<Vec<u8>>,
}

/// What is opened at once: a chunk of age.
const CHUNK_LEN: usize = 65_536;

impl Opened {
    /// Opens a file that is sealed for one of these.
    pub(super) fn open(path: &Path, identities: &Identities) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|error| Failure::file(path, &error))?;
        let broken = |what: &str| Failure::local(format!("{}: {what}", path.display()));
        let decryptor = Decryptor::new_buffered(BufReader::with_capacity(CHUNK_LEN, file));
        let reader = decryptor.and_then(|decryptor| decryptor.decrypt(identities.all())).map_err(|error| {
            if matches!(error, DecryptError::NoMatchingKeys) {
                broken("it is sealed for another identity")
            } else if matches!(&error, DecryptError::Io(error) if error.kind() == ErrorKind::UnexpectedEof) {
                broken("it is cut short")
            } else {
                broken("it is no age file, or is bent")
            }
        })?;
        let buffer = Zeroizing::new(vec![0; CHUNK_LEN]);
        Ok(Self { path: path.to_owned(), reader, frames: Frames::default(), buffer })
    }

    /// The next frame; `None` at the end of the file.
    pub(super) fn frame(&mut self) -> Result<Option<Frame>, Failure> {
        loop {
            if let Some(frame) = self.frames.take_frame().map_err(|error| self.refused(error))? {
                return Ok(Some(frame));
            }
            let read = match self.reader.read(&mut self.buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(self.refused(BundleError::Cut)),
                Err(error) if error.kind() == ErrorKind::InvalidData => return Err(self.broken("a byte of it is bent")),
                Err(error) => return Err(Failure::file(&self.path, &error)),
            };
            if read == 0 {
                return if self.frames.is_empty() { Ok(None) } else { Err(self.refused(BundleError::Cut)) };
            }
            self.frames.feed(self.buffer.get(..read).unwrap_or_default());
        }
    }

    /// Why the bundle is not taken.
    pub(super) fn refused(&self, error: BundleError) -> Failure {
        self.broken(&error.to_string())
    }

    fn broken(&self, what: &str) -> Failure {
        Failure::local(format!("{}: {what}", self.path.display()))
    }
}

fn refused(error: BundleError) -> Failure {
    Failure::local(error.to_string())
}

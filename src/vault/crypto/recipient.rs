//! What leaves the vault for somebody outside, sealed for a recipient in the age format ([c2sp.org/age]): an X25519 recipient, a file
//! key of its own for each stream, and ChaCha20-Poly1305 over chunks of 64 KiB, of which the last says that it is the last.
//!
//! The crate `age` does it, and draws its file keys from the kernel's generator by itself. Its buffer of one chunk is not wiped.
//!
//! [c2sp.org/age]: https://c2sp.org/age

use std::{
    fmt,
    io::{self, Write},
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use age::{Encryptor, stream::StreamWriter, x25519};

use super::Receipt;

/// Whom something is sealed for.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient(x25519::Recipient);

/// A text that is no recipient, or one that seals for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an X25519 recipient of age: `age1` and 58 characters behind it")]
pub struct RecipientError;

impl FromStr for Recipient {
    type Err = RecipientError;

    fn from_str(text: &str) -> Result<Self, RecipientError> {
        let parsed: x25519::Recipient = text.parse().map_err(|_| RecipientError)?;
        if LOW_ORDER.contains(&parsed.to_string().as_str()) { Err(RecipientError) } else { Ok(Self(parsed)) }
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recipient(..)")
    }
}

/// A stream that could not be sealed. It is written to memory, so only a fault of the library gets here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stream for a recipient cannot be sealed")]
pub struct NotSealed;

/// A stream on its way to a recipient: plaintext in, ciphertext out as it comes.
pub struct Outgoing {
    writer: StreamWriter<Collected>,
    collected: Collected,
}

impl Outgoing {
    /// Begins a stream.
    ///
    /// # Errors
    /// [`NotSealed`].
    pub fn to(recipient: &Recipient) -> Result<Self, NotSealed> {
        let wanted: &dyn age::Recipient = &recipient.0;
        let collected = Collected::default();
        let encryptor = Encryptor::with_recipients(std::iter::once(wanted)).map_err(|_| NotSealed)?;
        let writer = encryptor.wrap_output(collected.clone()).map_err(|_| NotSealed)?;
        Ok(Self { writer, collected })
    }

    /// Seals what follows. The receipt says that the disclosure stands in the audit trail.
    ///
    /// # Errors
    /// [`NotSealed`].
    pub fn write(&mut self, plain: &[u8], _receipt: &Receipt) -> Result<(), NotSealed> {
        self.writer.write_all(plain).map_err(|_| NotSealed)
    }

    /// Bytes of ciphertext that wait to be taken.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.collected.lock().len()
    }

    /// Takes the ciphertext that waits.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut *self.collected.lock())
    }

    /// Seals the last chunk, without which the stream does not open, and takes what waits.
    ///
    /// # Errors
    /// [`NotSealed`].
    pub fn finish(self) -> Result<Vec<u8>, NotSealed> {
        let Self { writer, collected } = self;
        drop(writer.finish().map_err(|_| NotSealed)?);
        Ok(std::mem::take(&mut *collected.lock()))
    }
}

/// Ciphertext that was not taken yet: the library keeps one end.
#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<u8>>>);

impl Collected {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Collected {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The points of small order of Curve25519, in both spellings of their top bit: with one of them the shared secret is zero, whoever asks.
/// RFC 7748, section 6.1, leaves the check to the caller; the library panics there.
const LOW_ORDER: [&str; 14] = [
    "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z",
    "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqzqqsuwj9m",
    "age1qyqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqj7vrya",
    "age1qyqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqzqqk67yly",
    "age1ur4h5lpmgxu2u9jku0a0r87ydtdqnr0tnsetrlvxvgz3vh6fhqqqzyt4v9",
    "age1ur4h5lpmgxu2u9jku0a0r87ydtdqnr0tnsetrlvxvgz3vh6fhzqqxqejhu",
    "age1t7wft09r2zxzfvwsk92eeql0tvzyghxytqwgapkcyf8dm5ylz9ts6wm9s8",
    "age1t7wft09r2zxzfvwsk92eeql0tvzyghxytqwgapkcyf8dm5ylz8ts72fzt7",
    "age1anlllllllllllllllllllllllllllllllllllllllllllllllals4n2t7m",
    "age1anllllllllllllllllllllllllllllllllllllllllllllllllls3hcv9z",
    "age1ahlllllllllllllllllllllllllllllllllllllllllllllllalsn46ayy",
    "age1ahlllllllllllllllllllllllllllllllllllllllllllllllllsh3g6la",
    "age1amlllllllllllllllllllllllllllllllllllllllllllllllalselrwrv",
    "age1amlllllllllllllllllllllllllllllllllllllllllllllllllsam3fc4",
];

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers of tests")]

    use std::io::Read as _;

    use super::*;
    use crate::domain::{TenantNo, WriterId};

    fn receipt() -> Receipt {
        Receipt::durable(TenantNo(1), WriterId(1), 1)
    }

    fn opened(sealed: &[u8], identity: &x25519::Identity) -> Option<Vec<u8>> {
        let mut plain = Vec::new();
        let wanted: &dyn age::Identity = identity;
        age::Decryptor::new(sealed).ok()?.decrypt(std::iter::once(wanted)).ok()?.read_to_end(&mut plain).ok()?;
        Some(plain)
    }

    #[test]
    fn a_stream_opens_for_its_recipient_whole_and_for_nobody_else() {
        let identity = x25519::Identity::generate();
        let recipient: Recipient = identity.to_public().to_string().parse().unwrap();
        for len in [0_usize, 1, 65_535, 65_536, 65_537, 300_000] {
            let plain = vec![7; len];
            let mut out = Outgoing::to(&recipient).unwrap();
            let mut sealed = Vec::new();
            for part in plain.chunks(10_000) {
                out.write(part, &receipt()).unwrap();
                sealed.extend(out.take());
                assert_eq!(out.waiting(), 0);
            }
            sealed.extend(out.finish().unwrap());
            assert_eq!(opened(&sealed, &identity).as_deref(), Some(&plain[..]), "{len}");
            assert_eq!(opened(&sealed, &x25519::Identity::generate()), None);
            assert_eq!(opened(&sealed[..sealed.len() - 1], &identity), None, "cut short");
        }
    }

    #[test]
    fn a_stream_that_is_not_finished_does_not_open() {
        let identity = x25519::Identity::generate();
        let mut out = Outgoing::to(&identity.to_public().to_string().parse().unwrap()).unwrap();
        out.write(&vec![7; 200_000], &receipt()).unwrap();
        assert_eq!(opened(&out.take(), &identity), None);
    }

    #[test]
    fn what_is_no_recipient_and_what_seals_for_everybody_is_refused() {
        let good = x25519::Identity::generate().to_public().to_string();
        assert!(good.parse::<Recipient>().is_ok());
        let secret = x25519::Identity::generate();
        let secret = age::secrecy::ExposeSecret::expose_secret(&secret.to_string()).to_owned();
        for bad in ["", "age1", "age1x", &good[1..], &format!("{good}q"), &secret, "ssh-ed25519 AAAA", "age1pq1x"] {
            assert_eq!(bad.parse::<Recipient>(), Err(RecipientError), "{bad}");
        }
        for point in LOW_ORDER {
            assert!(point.parse::<x25519::Recipient>().is_ok(), "{point}: the library takes it");
            assert_eq!(point.parse::<Recipient>(), Err(RecipientError), "{point}");
            assert_eq!(point.to_uppercase().parse::<Recipient>(), Err(RecipientError), "{point}");
        }
    }
}

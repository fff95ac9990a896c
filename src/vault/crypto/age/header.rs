//! A file's header: for whom the file key is wrapped, and that nobody has changed it since.
//!
//! ```text
//! age-encryption.org/v1
//! -> X25519 BASE64(ephemeral share)
//! BASE64(file key, sealed)
//! --- BASE64(HMAC-SHA-256 over all before the space)
//! ```
//! A file may be for several: stanzas of other kinds, and for others, are passed over. Base64 is without padding, and there is one
//! spelling of everything.

use std::io::{BufRead, Read as _};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use chacha20poly1305::{
    ChaCha20Poly1305,
    aead::{AeadInOut, KeyInit, inout::InOutBuf},
};
use curve25519_dalek::MontgomeryPoint;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{super::random, AgeError, Identity, Recipient, agreed, derive};

const VERSION: &[u8] = b"age-encryption.org/v1";
const KIND: &str = "X25519";
const INFO: &[u8] = b"age-encryption.org/v1/X25519";
/// The longest header that is read.
const LEN_MAX: u64 = 64 * 1024;
/// Characters of a full line of a stanza's body; its last one is shorter.
const LINE_LEN: usize = 64;
const TAG_LEN: usize = 16;

pub(super) const FILE_KEY_LEN: usize = 16;
/// The secret of one file.
pub(super) type FileKey = Zeroizing<[u8; FILE_KEY_LEN]>;

/// The header of a file for a recipient.
pub(super) fn write(recipient: &Recipient, file_key: &FileKey) -> Vec<u8> {
    let mut secret = Zeroizing::new([0; 32]);
    random::fill(secret.as_mut_slice());
    let (share, sealed) = wrap(recipient, &secret, file_key).expect("no recipient is of small order");
    let (share, sealed) = (STANDARD_NO_PAD.encode(share), STANDARD_NO_PAD.encode(sealed));
    let mut header = [VERSION, b"\n-> X25519 ", share.as_bytes(), b"\n", sealed.as_bytes(), b"\n---"].concat();
    let mac = STANDARD_NO_PAD.encode(mac_of(file_key, &header).finalize().into_bytes());
    header.extend_from_slice(b" ");
    header.extend_from_slice(mac.as_bytes());
    header.extend_from_slice(b"\n");
    header
}

/// The share, and the file key sealed.
pub(super) fn wrap(recipient: &Recipient, secret: &[u8; 32], file_key: &FileKey) -> Option<([u8; 32], Vec<u8>)> {
    let share = MontgomeryPoint::mul_base_clamped(*secret).to_bytes();
    let shared = agreed(&recipient.0, secret)?;
    let mut sealed = Zeroizing::new(**file_key);
    let buffer = InOutBuf::from(sealed.as_mut_slice());
    let tag = wrapping(&shared, &share, recipient).encrypt_inout_detached((&[0_u8; 12]).into(), &[], buffer);
    let tag: [u8; TAG_LEN] = tag.expect("16 bytes are far below the cipher's limit").into();
    Some((share, [&sealed[..], &tag].concat()))
}

/// Reads a header, and gives the file key if one of the identities opens it. Nothing behind it is read.
///
/// # Errors
/// [`AgeError`], but for [`AgeError::Bent`].
pub(super) fn read(source: &mut impl BufRead, identities: &[Identity]) -> Result<FileKey, AgeError> {
    let mut lines = Lines { source: source.take(LEN_MAX), all: Vec::new() };
    if lines.line()? != VERSION {
        return Err(AgeError::Header);
    }
    let (mut file_key, mut stanzas, mut is_of_passphrase) = (None, 0_u64, false);
    loop {
        let line = lines.line()?;
        if let Some(mac) = line.strip_prefix(b"--- ") {
            let mac = decode::<32>(mac)?;
            let until = lines.all.len().saturating_sub(line.len()).saturating_add(2);
            // Sealed with a passphrase it is sealed with nothing else.
            if stanzas == 0 || (is_of_passphrase && stanzas > 1) {
                return Err(AgeError::Header);
            }
            let file_key: FileKey = file_key.ok_or(AgeError::NoMatch)?;
            let sealed = lines.all.get(..until).ok_or(AgeError::Header)?;
            return mac_of(&file_key, sealed).verify_slice(&mac).map(|()| file_key).map_err(|_| AgeError::Header);
        }
        let arguments = arguments(line.strip_prefix(b"-> ").ok_or(AgeError::Header)?)?;
        let body = body(&mut lines)?;
        stanzas = stanzas.saturating_add(1);
        match arguments.split_first() {
            Some((kind, [share])) if kind == KIND => {
                let found = unwrap(&decode(share.as_bytes())?, &body, identities)?;
                file_key = file_key.or(found);
            }
            Some((kind, _)) if kind == KIND => return Err(AgeError::Header),
            Some((kind, _)) => is_of_passphrase |= kind == "scrypt",
            None => return Err(AgeError::Header),
        }
    }
}

/// The file key, if it is wrapped for one of the identities.
fn unwrap(share: &[u8; 32], body: &[u8], identities: &[Identity]) -> Result<Option<FileKey>, AgeError> {
    let Some((sealed, tag)) = body.split_first_chunk::<FILE_KEY_LEN>() else { return Err(AgeError::Header) };
    let tag: [u8; TAG_LEN] = tag.try_into().map_err(|_| AgeError::Header)?;
    for identity in identities {
        let shared = agreed(share, &identity.0).ok_or(AgeError::Header)?;
        let cipher = wrapping(&shared, share, &identity.recipient());
        let mut key = Zeroizing::new(*sealed);
        if cipher.decrypt_inout_detached((&[0_u8; 12]).into(), &[], InOutBuf::from(key.as_mut_slice()), (&tag).into()).is_ok() {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// What wraps one file key: used once, so its nonce is zero.
fn wrapping(shared: &[u8; 32], share: &[u8; 32], recipient: &Recipient) -> ChaCha20Poly1305 {
    let key = derive(shared, &[*share, recipient.0].concat(), INFO);
    ChaCha20Poly1305::new((&*key).into())
}

pub(super) fn mac_of(file_key: &FileKey, header: &[u8]) -> Hmac<Sha256> {
    let key = derive(file_key.as_slice(), &[], b"header");
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key.as_slice()).expect("HMAC takes keys of every length");
    mac.update(header);
    mac
}

/// The lines of a header, which is kept as it was read.
struct Lines<R> {
    source: std::io::Take<R>,
    all: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// The next line, without its end.
    fn line(&mut self) -> Result<Vec<u8>, AgeError> {
        let start = self.all.len();
        self.source.read_until(b'\n', &mut self.all)?;
        let line = self.all.get(start..).unwrap_or_default().strip_suffix(b"\n");
        line.map(<[u8]>::to_vec).ok_or(if self.source.limit() == 0 { AgeError::Header } else { AgeError::Cut })
    }
}

/// Arguments of a stanza: printable, and one space between two.
fn arguments(line: &[u8]) -> Result<Vec<String>, AgeError> {
    let text = std::str::from_utf8(line).map_err(|_| AgeError::Header)?;
    let is_argument = |argument: &str| !argument.is_empty() && argument.bytes().all(|byte| byte.is_ascii_graphic());
    let all: Vec<String> = text.split(' ').map(str::to_owned).collect();
    if all.iter().all(|argument| is_argument(argument)) { Ok(all) } else { Err(AgeError::Header) }
}

/// The body of a stanza: full lines, and one that is not, which may be empty.
fn body<R: BufRead>(lines: &mut Lines<R>) -> Result<Vec<u8>, AgeError> {
    let mut text = Vec::new();
    loop {
        let line = lines.line()?;
        if line.len() > LINE_LEN {
            return Err(AgeError::Header);
        }
        text.extend_from_slice(&line);
        if line.len() < LINE_LEN {
            return STANDARD_NO_PAD.decode(text).map_err(|_| AgeError::Header);
        }
    }
}

fn decode<const N: usize>(text: &[u8]) -> Result<[u8; N], AgeError> {
    STANDARD_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(AgeError::Header)
}

//! Bech32 ([BIP 173]) of 32 bytes, read: a prefix, `1`, 52 symbols of five bits each, and a checksum of six.
//!
//! [BIP 173]: https://github.com/bitcoin/bips/blob/master/bip-0173.mediawiki

use zeroize::Zeroizing;

const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
/// Symbols of 32 bytes; the last has four bits too many, which are zero.
const SYMBOLS: usize = 52;
const CHECKSUM: usize = 6;
/// What a bit of the checksum's top adds to it.
const GENERATOR: [(u32, u32); 5] = [(1, 0x3b6a_57b2), (2, 0x2650_8e6d), (4, 0x1ea1_19fa), (8, 0x3d42_33dd), (16, 0x2a14_62b3)];

/// The bytes of a text with that prefix; `None` where it is none. The text is in the prefix's case, all of it.
pub(super) fn decode(prefix: &str, text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let is_upper = prefix.bytes().any(|byte| byte.is_ascii_uppercase());
    let symbols = text.strip_prefix(prefix)?.strip_prefix('1')?;
    if symbols.len() != SYMBOLS.saturating_add(CHECKSUM) {
        return None;
    }
    // Seven whole groups of eight symbols: the last four of them are not there, and zero.
    let mut values = Zeroizing::new([0_u8; SYMBOLS + 4]);
    let mut check = prefix.bytes().map(|byte| byte.to_ascii_lowercase() >> 5).fold(1, add);
    check = add(check, 0);
    check = prefix.bytes().map(|byte| byte.to_ascii_lowercase() & 31).fold(check, add);
    for (at, byte) in symbols.bytes().enumerate() {
        if is_upper && byte.is_ascii_lowercase() {
            return None;
        }
        let symbol = if is_upper { byte.to_ascii_lowercase() } else { byte };
        let value = ALPHABET.iter().position(|known| *known == symbol).and_then(|value| u8::try_from(value).ok())?;
        check = add(check, value);
        if let Some(place) = values.get_mut(at).filter(|_| at < SYMBOLS) {
            *place = value;
        }
    }
    let mut bytes = Zeroizing::new([0_u8; 35]);
    for (eight, five) in values.chunks_exact(8).zip(bytes.chunks_exact_mut(5)) {
        let held = eight.iter().fold(0_u64, |held, value| (held << 5) | u64::from(*value));
        let [_, _, _, group @ ..] = held.to_be_bytes();
        five.copy_from_slice(&group);
    }
    let (whole, rest) = bytes.split_first_chunk::<32>()?;
    let is_right = check == 1 && rest.iter().all(|byte| *byte == 0);
    is_right.then(|| Zeroizing::new(*whole))
}

fn add(check: u32, value: u8) -> u32 {
    let top = check >> 25;
    let next = ((check & 0x01ff_ffff) << 5) ^ u32::from(value);
    GENERATOR.iter().filter(|(bit, _)| top & bit != 0).fold(next, |next, (_, adds)| next ^ adds)
}

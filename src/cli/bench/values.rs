//! Values that say themselves what they must be, so that a wrong byte is told from a fast answer.
//!
//! A value is a sequence of 8-byte words, big-endian: the record's number, a nonce, the length in bytes, a mix of these
//! three with the seed; behind this head each word is a mix of the fourth one and its own position. So a part from
//! anywhere in a value of any length is made, and checked, without the rest.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;

use super::numbers::{STEP, mix, mix_all};

/// The shortest value: its head.
pub(crate) const LEN_MIN: u64 = 32;
/// The shortest value that is JSON text: without filler.
pub(crate) const JSON_LEN_MIN: u64 = 128;
const HEAD_LEN: usize = 32;

/// A value, not yet made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value {
    number: u64,
    nonce: u64,
    len: u64,
    root: u64,
}

impl Value {
    /// The value of record `number` with `len` bytes, at least [`LEN_MIN`].
    pub(crate) fn new(seed: u64, number: u64, nonce: u64, len: u64) -> Self {
        let len = len.max(LEN_MIN);
        Self { number, nonce, len, root: mix_all(&[seed, number, nonce, len]) }
    }

    /// Its length in bytes.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    const fn word(&self, position: u64) -> [u8; 8] {
        match position {
            0 => self.number,
            1 => self.nonce,
            2 => self.len,
            3 => self.root,
            _ => mix(self.root.wrapping_add(position.wrapping_mul(STEP))),
        }
        .to_be_bytes()
    }

    /// Writes the bytes that begin at `offset`.
    pub(crate) fn fill(&self, offset: u64, into: &mut [u8]) {
        let mut position = offset / 8;
        let skipped = usize::try_from(offset % 8).unwrap_or(0);
        let ahead = if skipped == 0 { 0 } else { 8_usize.saturating_sub(skipped).min(into.len()) };
        let (first, rest) = into.split_at_mut(ahead);
        if !first.is_empty() {
            let word = self.word(position);
            first.iter_mut().zip(word.iter().skip(skipped)).for_each(|(to, from)| *to = *from);
            position = position.wrapping_add(1);
        }
        let mut words = rest.chunks_exact_mut(8);
        for to in &mut words {
            to.copy_from_slice(&self.word(position));
            position = position.wrapping_add(1);
        }
        let last = self.word(position);
        words.into_remainder().iter_mut().zip(last).for_each(|(to, from)| *to = from);
    }

    /// At most `most` of its bytes from `offset` on.
    pub(crate) fn part(&self, offset: u64, most: u64) -> Bytes {
        let len = usize::try_from(self.len.saturating_sub(offset).min(most)).unwrap_or(0);
        let mut bytes = BytesMut::zeroed(len);
        self.fill(offset, &mut bytes);
        bytes.freeze()
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> Bytes {
        self.part(0, self.len)
    }

    /// The same as JSON text of exactly its length, at least [`JSON_LEN_MIN`].
    pub(crate) fn json(&self) -> String {
        let mut text = format!(r#"{{"number":"{:016x}","nonce":"{:016x}","root":"{:016x}","text":""#, self.number, self.nonce, self.root);
        let filler = self.len.max(JSON_LEN_MIN).saturating_sub(text.len() as u64).saturating_sub(2);
        let filler = usize::try_from(filler).unwrap_or(0);
        let mut raw = vec![0; filler.div_ceil(2)];
        self.fill(LEN_MIN, &mut raw);
        let mut hex = hex::encode(raw);
        hex.truncate(filler);
        text.push_str(&hex);
        text.push_str("\"}");
        text
    }

    /// Whether `bytes` are the JSON text of record `number`.
    pub(crate) fn is_json(seed: u64, number: u64, bytes: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct Head<'a> {
            nonce: &'a str,
        }
        let nonce = serde_json::from_slice::<Head<'_>>(bytes).ok().and_then(|head| u64::from_str_radix(head.nonce, 16).ok());
        nonce.is_some_and(|nonce| Self::new(seed, number, nonce, bytes.len() as u64).json().as_bytes() == bytes)
    }
}

/// Holds bytes that arrive against what the value of one record must be.
pub(crate) struct Check {
    seed: u64,
    number: u64,
    head: [u8; HEAD_LEN],
    value: Option<Value>,
    at: u64,
    wrong: bool,
}

impl Check {
    /// Expects a value of record `number`.
    pub(crate) const fn new(seed: u64, number: u64) -> Self {
        Self { seed, number, head: [0; HEAD_LEN], value: None, at: 0, wrong: false }
    }

    /// The next bytes.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        let had = usize::try_from(self.at).map_or(HEAD_LEN, |at| at.min(HEAD_LEN));
        let (head, body) = bytes.split_at(bytes.len().min(HEAD_LEN.saturating_sub(had)));
        self.head.iter_mut().skip(had).zip(head).for_each(|(to, from)| *to = *from);
        self.at = self.at.saturating_add(head.len() as u64);
        if !head.is_empty() && self.at == LEN_MIN {
            self.value = self.announced();
        }
        let mut expected = [0; 4_096];
        for part in body.chunks(expected.len()) {
            let (expected, _) = expected.split_at_mut(part.len());
            match &self.value {
                Some(value) if !self.wrong => {
                    value.fill(self.at, expected);
                    self.wrong = expected != part;
                }
                Some(_) | None => self.wrong = true,
            }
            self.at = self.at.saturating_add(part.len() as u64);
        }
    }

    /// Whether all of it was there and right.
    pub(crate) fn is_right(&self) -> bool {
        !self.wrong && self.value.is_some_and(|value| value.len == self.at)
    }

    /// The value that the head announces; nothing if the head cannot be this record's.
    fn announced(&self) -> Option<Value> {
        let (words, _) = self.head.as_chunks::<8>();
        let [_, nonce, len, _] = words else { return None };
        let value = Value::new(self.seed, self.number, u64::from_be_bytes(*nonce), u64::from_be_bytes(*len));
        let mut head = [0; HEAD_LEN];
        value.fill(0, &mut head);
        (head == self.head).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(seed: u64, number: u64, bytes: &[u8], step: usize) -> bool {
        let mut check = Check::new(seed, number);
        bytes.chunks(step).for_each(|part| check.take(part));
        check.is_right()
    }

    #[test]
    fn a_value_is_known_again_however_it_is_cut() {
        for len in [32, 33, 39, 40, 41, 1_000, 1_024, 10_001] {
            let bytes = Value::new(7, 3, 99, len).bytes();
            assert_eq!(bytes.len() as u64, len);
            for step in [1, 5, 8, 31, 32, 33, 4_095, 4_097, 20_000] {
                assert!(holds(7, 3, &bytes, step), "{len} bytes by {step}");
            }
        }
    }

    #[test]
    fn any_part_is_the_same_as_in_the_whole() {
        let value = Value::new(1, 2, 3, 1_003);
        let whole = value.bytes();
        for offset in [0, 1, 7, 8, 9, 31, 32, 500, 1_002, 1_003] {
            for len in [0, 1, 2, 7, 8, 9, 300] {
                let part = value.part(offset, len);
                let start = usize::try_from(offset).unwrap();
                assert_eq!(part, whole[start..(start + usize::try_from(len).unwrap()).min(whole.len())], "{len} bytes at {offset}");
            }
        }
    }

    #[test]
    fn one_bent_bit_anywhere_is_found() {
        let bytes = Value::new(7, 3, 99, 137).bytes().to_vec();
        for at in 0..bytes.len() {
            for bit in [1, 0x80] {
                let mut bent = bytes.clone();
                bent[at] ^= bit;
                assert!(!holds(7, 3, &bent, 50), "byte {at}");
            }
        }
    }

    #[test]
    fn another_record_another_seed_and_another_length_are_found() {
        let bytes = Value::new(7, 3, 99, 137).bytes().to_vec();
        assert!(holds(7, 3, &bytes, 64));
        assert!(!holds(7, 4, &bytes, 64) && !holds(8, 3, &bytes, 64));
        assert!(!holds(7, 3, &bytes[..136], 64) && !holds(7, 3, &bytes[..20], 64) && !holds(7, 3, &[], 64));
        assert!(!holds(7, 3, &[&bytes[..], &[0]].concat(), 64));
    }

    #[test]
    fn json_values_have_their_length_and_are_known_again() {
        for len in [128, 129, 300, 1_001] {
            let text = Value::new(7, 3, 99, len).json();
            assert_eq!(text.len() as u64, len);
            assert!(serde_json::from_str::<serde_json::Value>(&text).unwrap().is_object());
            assert!(Value::is_json(7, 3, text.as_bytes()));
            assert!(
                !Value::is_json(7, 4, text.as_bytes()) && !Value::is_json(7, 3, text.replace("\"text\":\"", "\"text\":\"0").as_bytes())
            );
            let bent = text.replacen(&text[text.len() - 3..text.len() - 2], "z", 1);
            assert!(!Value::is_json(7, 3, bent.as_bytes()));
        }
    }
}

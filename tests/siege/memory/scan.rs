//! Looks for keys in the memory of another process: as they are, and in the forms that algorithms hold them in.

use std::{collections::BTreeMap, fs::File, os::unix::fs::FileExt as _};

use aho_corasick::AhoCorasick;

use super::forest::{Key, Keys};

/// Keys to look for.
pub(super) struct Search {
    patterns: AhoCorasick,
    names: Vec<(String, &'static str)>,
    longest: usize,
}

impl Search {
    pub(super) fn of(keys: &Keys) -> Self {
        let (mut patterns, mut names) = (Vec::new(), Vec::new());
        for (name, key) in keys {
            for (form, pattern) in forms(key) {
                patterns.push(pattern);
                names.push((name.clone(), form));
            }
        }
        let longest = patterns.iter().map(Vec::len).max().unwrap_or(1);
        Self { patterns: AhoCorasick::new(&patterns).unwrap(), names, longest }
    }

    /// What is in the process's memory: key and form, with the mappings it was seen in.
    pub(super) fn find(&self, pid: u32) -> BTreeMap<(String, &'static str), Vec<String>> {
        let mut found: BTreeMap<_, Vec<String>> = BTreeMap::new();
        let memory = File::open(format!("/proc/{pid}/mem")).expect("readable memory");
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let mut buffer = vec![0; 4 << 20];
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let (range, access) = (words.next().unwrap(), words.next().unwrap());
            let what = words.nth(3).unwrap_or("anonymous");
            if !access.starts_with('r') || what.starts_with("[v") {
                continue;
            }
            let (from, to) = range.split_once('-').unwrap();
            let (mut at, end) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
            let size = end - at;
            while at < end {
                let len = buffer.len().min(usize::try_from(end - at).unwrap());
                // A mapping may go while it is read.
                let Ok(read) = memory.read_at(&mut buffer[..len], at) else { break };
                for hit in self.patterns.find_overlapping_iter(&buffer[..read]) {
                    let place = format!("{what} of {} KiB at {:x}", size >> 10, at + hit.start() as u64);
                    let places = found.entry(self.names[hit.pattern().as_usize()].clone()).or_default();
                    if !places.contains(&place) {
                        places.push(place);
                    }
                }
                // The next part begins with the end of this one, so that nothing is cut in two.
                let step = if read == len && at + (len as u64) < end { read - self.longest } else { read.max(1) };
                at += step as u64;
            }
        }
        found
    }
}

/// A key's forms. Half a key is searched for as well: who has one half has the other within reach of nobody, but where a half
/// is, the whole was.
pub(super) fn forms(key: &Key) -> Vec<(&'static str, Vec<u8>)> {
    let mut forms = vec![("first half", key[..16].to_vec()), ("second half", key[16..].to_vec())];
    // HMAC mixes a key with two constants, and SHA-2 holds its block as numbers.
    for (form, mask) in [("as it is", 0), ("HMAC's inner", 0x36), ("HMAC's outer", 0x5c)] {
        let masked: Vec<u8> = key.iter().map(|byte| byte ^ mask).collect();
        if mask != 0 {
            forms.push((form, masked.clone()));
        }
        forms.push((form, masked.chunks(4).flat_map(|word| word.iter().rev().copied()).collect()));
        forms.push((form, masked.chunks(8).flat_map(|word| word.iter().rev().copied()).collect()));
    }
    // Any two neighbours of AES's round keys give all others. The first two are the key.
    forms.extend(schedule(key).windows(32).step_by(16).skip(1).map(|keys| ("AES round keys", keys.to_vec())));
    forms
}

/// FIPS 197, section 5.2, for 256 bits.
fn schedule(key: &Key) -> Vec<u8> {
    let sbox = sbox();
    let mut words: Vec<[u8; 4]> = key.chunks(4).map(|word| word.try_into().unwrap()).collect();
    let mut rcon = 1_u8;
    for at in 8..60 {
        let mut word = words[at - 1];
        if at % 8 == 0 {
            word.rotate_left(1);
            word = word.map(|byte| sbox[usize::from(byte)]);
            word[0] ^= rcon;
            rcon = double(rcon);
        } else if at % 8 == 4 {
            word = word.map(|byte| sbox[usize::from(byte)]);
        }
        words.push(std::array::from_fn(|byte| words[at - 8][byte] ^ word[byte]));
    }
    words.concat()
}

const fn double(byte: u8) -> u8 {
    (byte << 1) ^ (if byte & 0x80 == 0 { 0 } else { 0x1b })
}

/// AES's S-box, by walking the field with 3 and its inverse.
fn sbox() -> [u8; 256] {
    let mut sbox = [0; 256];
    let (mut p, mut q) = (1_u8, 1_u8);
    loop {
        p ^= double(p);
        q ^= q << 1;
        q ^= q << 2;
        q ^= q << 4;
        if q & 0x80 != 0 {
            q ^= 0x09;
        }
        sbox[usize::from(p)] = q ^ q.rotate_left(1) ^ q.rotate_left(2) ^ q.rotate_left(3) ^ q.rotate_left(4) ^ 0x63;
        if p == 1 {
            break;
        }
    }
    sbox[0] = 0x63;
    sbox
}

/// FIPS 197, appendix A.3.
#[test]
fn round_keys_are_those_of_the_standard() {
    let key = hex::decode("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4").unwrap();
    let keys = schedule(&key.try_into().unwrap());
    assert_eq!(keys.len(), 240);
    assert_eq!(hex::encode(&keys[32..48]), "9ba354118e6925afa51a8b5f2067fcde");
    assert_eq!(hex::encode(&keys[224..]), "fe4890d1e6188d0b046df344706c631e");
}

/// This process holds a key in each form, and then no longer.
#[test]
fn a_key_in_memory_is_found_in_every_form() {
    let mut random = crate::random::Random::new(7);
    let mut key = [0; 32];
    random.fill(&mut key);
    let search = Search::of(&Keys::from([("planted".into(), key)]));
    for (form, pattern) in forms(&key) {
        let held = std::hint::black_box([vec![1; 100], pattern].concat());
        assert!(search.find(std::process::id()).contains_key(&("planted".into(), form)), "{form}");
        drop(held);
    }
}

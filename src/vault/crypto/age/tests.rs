//! Files that another program has sealed, files that are sealed here, and files that are bent or cut anywhere.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use chacha20poly1305::aead::AeadInOut as _;
use hmac::Mac as _;

use super::{
    header::{FileKey, mac_of, wrap},
    stream::{CHUNK_LEN, cipher, nonce_of},
    *,
};
use crate::vault::crypto::{Receipt, random};

/// Made by rage: identity and recipient.
const ANN: [&str; 2] = [
    "AGE-SECRET-KEY-1P5Q3DH0UQEPGY568XX7T7N2Y5H9RYEWFDXKJMDKWRR3LF3F2PZ6QNP0EAM",
    "age15kgneng4g6avc032e5huw5nv8cjdls5acumc0cjnylpfh2e7cqlqajvj9s",
];
const BOB: [&str; 2] = [
    "AGE-SECRET-KEY-1URQD6YTSFAMKZWFPHM3JK228A7RKNTYJ7W6GZD96YMMGFF2AA40SYZ2MAD",
    "age1v8t9qft8gypmt2xnsm8ahpprdwfeash9vacnyl54qagry48hg4assl6hu0",
];

/// Sealed by rage: for Ann, "what another program has sealed"; for Bob and Ann, nothing. Both have a stanza of a kind that nobody knows.
const FOR_ANN: &str = "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSAxVVZ3QkNxNGZSZUFXVDJELzBMd1o0V1ZnTGJHSTlkOUJMeFVpdEQzWHpZCkh4ZDdVZmR4UUZ4MFVONWsvTW5jUnVnbHE4NVlCem5tVEFYT3ptbjZLYkkKLT4gKktpSi1ncmVhc2UgaSdsamplPCAhTjJgNjg9dwoyM0I2UHhxYkxJMXl3TlNKbWFhRWIwd0I1SnBzWG04bE5GS2l2aEZMUTJrMnBtdG5LWnNML05jZ3hZSVB6NG4vCjRQYnoxSFYvODAyM1RST0hmajlWQmppUytUczUzK0xxTHlXWVd4Zkk5Z3JDYVRYWEw5L0prMnFVNEJVVFczMGEKbXcKLS0tIFZKT3Fhb1Y5UjJLd1Qrc2FPRDl6Vmx3NVh0alp4U0tmODFWZUwxdWdVV3MK3chCYavzMOeRJarfDnqQGH44Yfz7xn7gyj/S+WV3loSoGHVLp0hBWGkg6fkWXVtBe9890tmcyQTIvT9J0hqD";
const FOR_BOTH: &str = "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSA2a1RNc0J3ZitIckNGbTRCbWdoVExsdHZqR1Y2MHBWc2g3NHJ2MjJYVmxRCm1zQVhqVTgyNU9sYjZVWjBjZzVrV2Q5ejBacDdva1ZGTDlnTmZ0V2thb28KLT4gWDI1NTE5IEw3UUo0YmZxa1loM293TkdUbFNBQzVMZXA2NWRLNGxKTE1ZSGc0MnZIem8KRHNzTDFMcVJhTzhtbkQ5eENrQXUzN3MwSk12N0VYdG5razIvZ3VhNlphMAotPiBOdi1ncmVhc2UgKz4hTHIgRDxvdVw5L08gLUFUelIKSUpqUG0wbHpHeWtqUWZySWgwN25rbzJXN1dOTjFvNC9haXhtSE10dnF3bVhrRUFualNKeVR1cGpoYndRdit0dQp5dwotLS0gL2Q5Qjd1OEZGTTZLT0wxSWRxbFAxRzczUGhuK296NkhsOE9MdzR4ZWZhVQpcyzZwKpOCt6tzf865cB2FH8YC/2FTBgTvi1fnuAlO5Q==";

fn identity([secret, _]: [&str; 2]) -> Identity {
    secret.parse().unwrap()
}

fn recipient([_, public]: [&str; 2]) -> Recipient {
    public.parse().unwrap()
}

fn opened(file: &[u8], identities: &[Identity]) -> Result<Vec<u8>, AgeError> {
    let mut incoming = Incoming::open(file, identities)?;
    let mut plain = Vec::new();
    while let Some(chunk) = incoming.chunk()? {
        plain.extend_from_slice(chunk);
    }
    Ok(plain)
}

fn sealed(plain: &[u8], pieces: usize) -> Vec<u8> {
    let receipt = Receipt::of_test();
    let mut out = Outgoing::to(&recipient(ANN));
    let mut file = Vec::new();
    for piece in plain.chunks(pieces) {
        out.write(piece, &receipt).unwrap();
        file.extend(out.take());
        assert_eq!(out.waiting(), 0);
    }
    file.extend(out.finish().unwrap());
    file
}

#[test]
fn what_another_program_has_sealed_opens_and_its_keys_are_read() {
    for pair in [ANN, BOB] {
        assert!(identity(pair).recipient() == recipient(pair), "{}", pair[1]);
    }
    let (ann, both) = (STANDARD.decode(FOR_ANN).unwrap(), STANDARD.decode(FOR_BOTH).unwrap());
    assert_eq!(opened(&ann, &[identity(ANN)]).unwrap(), b"what another program has sealed");
    assert_eq!(opened(&ann, &[identity(BOB), identity(ANN)]).unwrap(), b"what another program has sealed");
    assert!(matches!(opened(&ann, &[identity(BOB)]), Err(AgeError::NoMatch)));
    for pair in [ANN, BOB] {
        assert_eq!(opened(&both, &[identity(pair)]).unwrap(), b"");
    }
}

#[test]
fn a_file_opens_for_its_recipient_whole_and_for_nobody_else() {
    for len in [0_usize, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 2 * CHUNK_LEN, 300_000] {
        let plain: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
        for pieces in [10_000, CHUNK_LEN, 1 << 20] {
            let file = sealed(&plain, pieces);
            assert!(opened(&file, &[identity(ANN)]).unwrap() == plain, "{len} in pieces of {pieces}");
            assert!(matches!(opened(&file, &[identity(BOB)]), Err(AgeError::NoMatch)));
            assert!(matches!(opened(&file[..file.len() - 1], &[identity(ANN)]), Err(AgeError::Bent)), "{len}");
            assert!(matches!(opened(&[&file[..], b"x"].concat(), &[identity(ANN)]), Err(AgeError::Bent)), "{len}");
        }
    }
    assert_ne!(sealed(b"same", 9), sealed(b"same", 9), "under other keys each time");
}

#[test]
fn a_file_that_ends_between_two_chunks_is_cut() {
    let file = sealed(&vec![7; 3 * CHUNK_LEN], CHUNK_LEN);
    let begin = file.len() - 3 * (CHUNK_LEN + 16);
    for chunks in 0..3 {
        let cut = &file[..begin + chunks * (CHUNK_LEN + 16)];
        assert!(matches!(opened(cut, &[identity(ANN)]), Err(AgeError::Cut)), "{chunks}");
    }
    for len in 0..begin {
        assert!(matches!(opened(&file[..len], &[identity(ANN)]), Err(AgeError::Cut)), "{len}");
    }
    // Chunks that are said twice, left out or exchanged.
    let chunk = |number: usize| &file[begin + number * (CHUNK_LEN + 16)..begin + (number + 1) * (CHUNK_LEN + 16)];
    for order in [&[0, 0, 1, 2][..], &[0, 2], &[1, 0, 2], &[2]] {
        let other = [&file[..begin], &order.iter().map(|number| chunk(*number)).collect::<Vec<_>>().concat()].concat();
        assert!(matches!(opened(&other, &[identity(ANN)]), Err(AgeError::Bent)), "{order:?}");
    }
}

#[test]
fn each_byte_of_a_file_counts() {
    let file = sealed(b"some", 9);
    for at in 0..file.len() {
        for bit in [1, 32, 128] {
            let mut bent = file.clone();
            bent[at] ^= bit;
            assert!(opened(&bent, &[identity(ANN)]).is_err(), "bit {bit} of byte {at}");
        }
    }
}

/// A file of that text with these stanzas, whose hash agrees.
fn with(file_key: &FileKey, stanzas: &str) -> Vec<u8> {
    let header = format!("age-encryption.org/v1\n{stanzas}---").into_bytes();
    let mac = STANDARD_NO_PAD.encode(mac_of(file_key, &header).finalize().into_bytes());
    let nonce = random::bytes();
    let mut chunk = b"text".to_vec();
    let tag = cipher(file_key, &nonce).encrypt_inout_detached((&nonce_of(0, true)).into(), &[], chunk.as_mut_slice().into()).unwrap();
    [&header[..], b" ", mac.as_bytes(), b"\n", &nonce, &chunk, &<[u8; 16]>::from(tag)].concat()
}

#[test]
fn a_header_has_one_spelling() {
    let file_key: FileKey = Zeroizing::new(random::bytes());
    let (share, body) = wrap(&recipient(ANN), &random::bytes(), &file_key).unwrap();
    let (share, body) = (STANDARD_NO_PAD.encode(share), STANDARD_NO_PAD.encode(body));
    let right = format!("-> X25519 {share}\n{body}\n");
    let read = |stanzas: &str| opened(&with(&file_key, stanzas), &[identity(ANN)]);
    let full = "A".repeat(64);
    for taken in [
        right.clone(),
        format!("{right}-> other\n\n"),
        format!("-> other with !~ arguments\n{full}\n{full}\nAAAA\n{right}"),
        format!("-> other\n{full}\n\n{right}"),
        format!("-> x25519 {share}\n{body}\n{right}"),
    ] {
        assert_eq!(read(&taken).unwrap(), b"text", "{taken}");
    }
    let low_order = STANDARD_NO_PAD.encode([0; 32]);
    // The last symbol of 32 bytes has two bits too many.
    let other_spelling = |text: &str| format!("{}{}", &text[..42], if text.ends_with(['A', 'Q', 'g', 'w']) { 'B' } else { '9' });
    for refused in [
        String::new(),
        format!("-> \n\n{right}"),
        format!("->  other\n\n{right}"),
        format!("-> other \n\n{right}"),
        format!("-> oth\u{e9}r\n\n{right}"),
        format!("other\n{right}"),
        format!("-> other\n{right}"),
        format!("-> other\n{full}\n{right}"),
        format!("-> other\n{full}A\n\n{right}"),
        format!("-> other\nAA==\n{right}"),
        format!("-> other\nA\n{right}"),
        format!("-> other\nAAAA\nAAAA\n{right}"),
        format!("-> scrypt AAAA 1\nAAAA\n{right}"),
        format!("-> X25519\n{body}\n"),
        format!("-> X25519 {share} more\n{body}\n"),
        format!("-> X25519 {share}\n{body}AAAA\n"),
        format!("-> X25519 {share}\n{}\n", &body[..40]),
        format!("-> X25519 {low_order}\n{body}\n"),
        format!("-> X25519 {}\n{body}\n", other_spelling(&share)),
        format!("-> X25519 {share}\n{}\n", other_spelling(&body)),
        format!("-> X25519 {share}\r\n{body}\n"),
        format!("-> other\n{}\n{right}", vec![full.as_str(); 1_100].join("\n")),
    ] {
        assert!(matches!(read(&refused), Err(AgeError::Header)), "{refused}: {:?}", read(&refused));
    }
    let other = format!("-> other\n\n-> x25519 {share}\n{body}\n");
    assert!(matches!(read(&other), Err(AgeError::NoMatch)));
    assert!(matches!(opened(b"age-encryption.org/v2\n", &[identity(ANN)]), Err(AgeError::Header)));
    assert!(matches!(opened(b"PK and more\n", &[identity(ANN)]), Err(AgeError::Header)));
}

#[test]
fn what_is_no_recipient_and_what_seals_for_everybody_is_refused() {
    let [secret, good] = ANN;
    for bad in ["", "age1", "age1x", &good[1..], &format!("{good}q"), &good.to_uppercase(), secret, "ssh-ed25519 AAAA", "age1pq1x"] {
        assert_eq!(bad.parse::<Recipient>(), Err(RecipientError), "{bad}");
    }
    let but_one = |text: &str, at: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = if bytes[at].eq_ignore_ascii_case(&b'q') { b'p' } else { b'q' };
        String::from_utf8(bytes).unwrap()
    };
    for at in 4..good.len() {
        assert_eq!(but_one(good, at).parse::<Recipient>(), Err(RecipientError), "symbol {at}");
    }
    for bad in ["", good, &secret.to_lowercase(), &but_one(secret, 20), &secret.replacen('P', "p", 1), &secret[..secret.len() - 1]] {
        assert!(bad.parse::<Identity>().is_err(), "{bad}");
    }
    // The points of small order, in both spellings of their top bit.
    for point in [
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
    ] {
        assert!(bech32::decode("age", point).is_some(), "{point} is well formed");
        assert_eq!(point.parse::<Recipient>(), Err(RecipientError), "{point}");
    }
}

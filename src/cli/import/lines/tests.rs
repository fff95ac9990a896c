//! Batches: their limits, their order, and what bad lines do to them.

use proptest::prelude::*;

use super::*;

fn plain() -> Recipe {
    Recipe::Plain { key: "id".parse().unwrap(), subjects: vec!["id".into()], content_type: "application/json".into() }
}

fn all(input: &[u8], recipe: Recipe) -> Vec<Batch> {
    let mut batches = Batches::new(input, recipe, 0, 0);
    let mut out = Vec::new();
    while let Some(batch) = batches.next().unwrap() {
        out.push(batch);
    }
    out
}

#[test]
fn bad_lines_are_told_by_number_and_the_good_ones_go_on() {
    let input = b"{\"id\": 1}\n\nnot json\n{\"id\": 2}\r\n[1]\n{\"id\": \"..\"}\n{\"x\": 1}\n\xff\n{\"id\": 3, \"id\": 4}\n{\"id\": 5}";
    let batches = all(input, plain());
    assert_eq!(batches.len(), 1);
    let batch = &batches[0];
    assert_eq!(batch.puts.iter().map(|put| (put.line, put.key.as_str())).collect::<Vec<_>>(), [(1, "1"), (4, "2"), (9, "4"), (10, "5")]);
    assert_eq!(batch.puts[1].value, b"{\"id\": 2}");
    assert_eq!(batch.bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [3, 5, 6, 7, 8]);
    assert_eq!((batch.lines, batch.end), (10, input.len() as u64));
}

#[test]
fn a_bad_lines_reason_does_not_quote_it() {
    let batches = all(b"{\"id\": secret-canary}\n{\"secret-canary\"\n\"secret-canary\"\n", plain());
    assert_eq!(batches[0].bad.len(), 3);
    assert!(batches[0].bad.iter().all(|bad| !bad.reason.contains("canary")), "{:?}", batches[0].bad);
}

#[test]
fn a_batch_holds_at_most_a_thousand_operations() {
    let input = (0..2_500).map(|id| format!("{{\"id\": {id}}}\n")).collect::<Vec<_>>().concat();
    let sizes: Vec<usize> = all(input.as_bytes(), plain()).iter().map(|batch| batch.puts.len()).collect();
    assert_eq!(sizes, [1_000, 1_000, 500]);
}

#[test]
fn a_batch_stays_below_eight_mebibytes_and_a_large_value_travels_alone() {
    let line = |id: u32, len: usize| format!("{{\"id\": {id}, \"x\": \"{}\"}}\n", "x".repeat(len));
    let input: String = (0..400).map(|id| line(id, 50_000)).chain([line(400, 70_000), line(401, 10)]).collect();
    let batches = all(input.as_bytes(), plain());
    assert!(batches.iter().all(|batch| batch.puts.iter().map(|put| put.value.len()).sum::<usize>() <= BATCH_LEN_BYTES));
    let large: Vec<usize> = batches.iter().filter(|batch| batch.puts.iter().any(Put::is_large)).map(|batch| batch.puts.len()).collect();
    assert_eq!(large, [1]);
    assert_eq!(batches.iter().map(|batch| batch.puts.len()).sum::<usize>(), 402);
}

#[test]
fn a_key_that_stands_twice_waits_for_the_first_one() {
    let batches = all(b"{\"id\": 1}\n{\"id\": 2}\n{\"id\": 1, \"x\": 1}\n{\"id\": 3}\n{\"id\": 2}\n", plain());
    let shape: Vec<(bool, Vec<u64>)> =
        batches.iter().map(|batch| (batch.barrier, batch.puts.iter().map(|put| put.line).collect())).collect();
    assert_eq!(shape, [(false, vec![1, 2]), (true, vec![3, 4, 5])]);
}

#[test]
fn an_envelope_comes_back_as_it_went() {
    let envelope = Envelope {
        key: "a/b".into(),
        content_type: "image/png".into(),
        subjects: vec!["7".into()],
        modified_at: Some("2026-01-01T00:00:00Z".into()),
        expires_at: Some("2999-01-01T00:00:00Z".into()),
        custom: CustomPairs(vec![("origin".into(), "café, 1".into())]),
        new_relationship: true,
        value: None,
        value_base64: Some(STANDARD.encode([0, 255])),
    };
    let line = serde_json::to_string(&envelope).unwrap();
    let batches = all(line.as_bytes(), Recipe::Envelope);
    let expected = Put {
        line: 1,
        key: "a/b".into(),
        subjects: vec!["7".into()],
        content_type: "image/png".into(),
        expires_at: Some("2999-01-01T00:00:00Z".into()),
        custom: CustomPairs(vec![("origin".into(), "café, 1".into())]),
        new_relationship: true,
        value: vec![0, 255],
    };
    assert_eq!(batches[0].puts, [expected]);
    let bad = all(
        b"{\"key\":\"a\"}\n{\"key\":\"a\",\"value\":\"\",\"value_base64\":\"\"}\n{\"key\":\"a\",\"value_base64\":\"?\"}\n",
        Recipe::Envelope,
    );
    assert_eq!(bad[0].bad.len(), 3);
}

#[test]
fn a_large_envelope_with_what_no_header_can_hold_is_a_bad_line_and_the_next_one_is_not() {
    let line = |fields: &str, len: usize| format!("{{\"key\":\"k\",\"value\":\"{}\"{fields}}}\n", "x".repeat(len));
    let bad = [
        r#","custom":{"a b":"x"}"#,
        r#","custom":{"A":"x"}"#,
        r#","custom":{"":"x"}"#,
        r#","content_type":"a/b\n""#,
        r#","expires_at":"\n""#,
    ];
    let mut input: String = bad.map(|fields| line(fields, 70_000)).concat();
    input += &line(r#","custom":{"a-b":"x\n"},"content_type":"a/b""#, 70_000);
    // A small one goes as it is: the server says what it thinks of it.
    input += &line(bad[0], 10);
    let batches = all(input.as_bytes(), Recipe::Envelope);
    let puts: Vec<u64> = batches.iter().flat_map(|batch| &batch.puts).map(|put| put.line).collect();
    let reported: Vec<u64> = batches.iter().flat_map(|batch| &batch.bad).map(|bad| bad.line).collect();
    assert_eq!((puts, reported), (vec![6, 7], vec![1, 2, 3, 4, 5]));
}

proptest! {
    /// However an input is cut, each line is settled once, in order, and going on at any batch's end gives the rest.
    #[test]
    fn every_line_is_settled_once_and_any_batch_end_is_a_place_to_go_on(ids in proptest::collection::vec(0_u8..20, 0..200), junk in proptest::collection::vec(any::<bool>(), 200)) {
        let lines: Vec<String> = ids.iter().zip(&junk).map(|(id, junk)| if *junk { "junk\n".into() } else { format!("{{\"id\": {id}}}\n") }).collect();
        let input = lines.concat();
        let batches = all(input.as_bytes(), plain());
        let mut seen: Vec<u64> = Vec::new();
        for batch in &batches {
            let mut here: Vec<u64> = batch.puts.iter().map(|put| put.line).chain(batch.bad.iter().map(|bad| bad.line)).collect();
            here.sort_unstable();
            prop_assert_eq!(here.len() as u64, batch.lines);
            seen.extend(here);
            let so_far: usize = lines.iter().take(seen.len()).map(String::len).sum();
            prop_assert_eq!(batch.end, so_far as u64);
            let keys: HashSet<&str> = batch.puts.iter().map(|put| put.key.as_str()).collect();
            prop_assert_eq!(keys.len(), batch.puts.len());
        }
        prop_assert_eq!(seen, (1..=lines.len() as u64).collect::<Vec<_>>());
        prop_assert_eq!(batches.last().map_or(0, |batch| batch.end), input.len() as u64);
    }
}

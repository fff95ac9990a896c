//! Ranges of rows beside the files that hold them.

use super::super::schema::{KEY_LEN_MAX, KeyRange};

/// Ranges that begin in the same file as one, from the first of them to the end of the last: a compaction writes whole files anew, so
/// each is written once. `ends` are the last keys of the files, in order.
pub(super) fn spans(ranges: &[KeyRange], ends: &[Vec<u8>]) -> Vec<KeyRange> {
    let mut ranges = ranges.to_vec();
    ranges.sort_unstable_by(|one, other| one.from.cmp(&other.from));
    let mut spans: Vec<(usize, KeyRange)> = Vec::new();
    for range in ranges {
        let file = ends.partition_point(|end| end[..] < range.from[..]);
        match spans.last_mut() {
            Some((known, span)) if *known == file => {
                if span.to < range.to {
                    span.to = range.to;
                }
            }
            _ => spans.push((file, range)),
        }
    }
    spans.into_iter().map(|(_, span)| span).collect()
}

/// The last key that there can be before `key`; `None` before the first.
pub(super) fn last_before(key: &[u8]) -> Option<Vec<u8>> {
    let (last, rest) = key.split_last()?;
    let mut before = rest.to_vec();
    if let Some(less) = last.checked_sub(1) {
        before.push(less);
        before.resize(KEY_LEN_MAX, u8::MAX);
    }
    Some(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: u8, to: u8) -> KeyRange {
        KeyRange { from: vec![from].into(), to: vec![to].into() }
    }

    #[test]
    fn each_file_is_compacted_once_and_no_range_is_lost() {
        let ends = [vec![10], vec![20], vec![30]];
        let ranges = [range(25, 26), range(1, 2), range(9, 12), range(3, 4), range(10, 11), range(31, 32), range(40, 50)];
        assert_eq!(spans(&ranges, &ends), [range(1, 12), range(25, 26), range(31, 50)]);
        assert_eq!(spans(&ranges, &[]), [range(1, 50)]);
        assert_eq!(spans(&[], &ends), []);
    }

    #[test]
    fn no_key_lies_between_one_and_the_last_before_it() {
        assert_eq!(last_before(&[]), None);
        assert_eq!(last_before(&[7, 0]), Some(vec![7]));
        assert_eq!(last_before(&[0]), Some(vec![]));
        let before = last_before(&[7, 3]).unwrap();
        assert!(before.starts_with(&[7, 2, 255]) && before.len() == KEY_LEN_MAX && before[..] < [7, 3][..]);
        let longest = [&[7, 3][..], &[0]].concat();
        assert_eq!(last_before(&longest), Some(vec![7, 3]));
    }
}

//! What calls leave on the stack. Ciphers, hashes and the compiler put copies of keys into frames that end without being
//! wiped; a stack that is idle keeps them for hours, and whatever is built over them and moved to the heap takes them along.
//!
//! So whoever touches key material in the clear runs it here: the stack it may have used is overwritten when it is done.
//! `tests/siege/memory.rs` reads the memory of a whole server to see that this is enough.

use std::hint::black_box;

/// How far below a lent key's caller ciphers and hashes go, and a third more: a test measures them in the build at hand.
const LENT_LEN_BYTES: usize = 16 * 1024;
/// The same for epochs, walks and custody, which go through more of our own frames.
const DEEP_LEN_BYTES: usize = 48 * 1024;

/// Runs `f` and overwrites the stack below this call. What `f` returns must hold no key outside a box that wipes itself.
pub(in crate::vault) fn leaving_none<T>(f: impl FnOnce() -> T) -> T {
    let result = below(f);
    overwrite::<DEEP_LEN_BYTES>();
    result
}

/// The same for one use of a key: an opening, a sealing, a token.
pub(in crate::vault) fn leaving_none_of_one_use<T>(f: impl FnOnce() -> T) -> T {
    let result = below(f);
    overwrite::<LENT_LEN_BYTES>();
    result
}

/// A frame of its own, so that all of `f` lies where [`overwrite`] will.
#[inline(never)]
fn below<T>(f: impl FnOnce() -> T) -> T {
    f()
}

#[inline(never)]
fn overwrite<const LEN: usize>() {
    let mut stack = [0_u8; LEN];
    // Without this nobody would ever have seen the zeros, and the compiler would write none.
    black_box(&mut stack);
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::fs::FileExt};

    use super::*;
    use crate::{
        domain::{CollectionNo, Epoch, RecordKey, StoreId, TenantNo, TreeId},
        vault::crypto::{
            AuditEntry, Branch, Context, Data, EncodedMeta, Key, PageId, PageSlots, Plaintext, Sealed, TenantSecret, Unit,
            tests::{SUITES, record_place, some_bytes, some_meta},
        },
    };

    /// More than anything here needs.
    const PAINTED_LEN_BYTES: usize = 256 * 1024;

    #[test]
    fn results_come_back_whole() {
        assert_eq!(leaving_none(|| vec![7_u8; 100_000]).len(), 100_000);
        assert_eq!(leaving_none_of_one_use(|| [9_u8; 4_096]), [9; 4_096]);
    }

    /// Paints the stack below its caller; where the paint begins.
    #[inline(never)]
    fn paint() -> usize {
        #[expect(clippy::large_stack_arrays, reason = "the stack is what it is for")]
        let mut stack = [0xa5_u8; PAINTED_LEN_BYTES];
        black_box(&mut stack);
        stack.as_ptr().addr()
    }

    /// How deep `f` goes: down to the last byte that is not painted any more.
    #[inline(never)]
    fn depth_of<T>(f: impl FnOnce() -> T) -> usize {
        let from = paint();
        drop(below(f));
        let mut stack = vec![0; PAINTED_LEN_BYTES];
        File::open("/proc/self/mem").unwrap().read_exact_at(&mut stack, from as u64).unwrap();
        stack.iter().skip_while(|byte| **byte == 0xa5).count()
    }

    #[test]
    fn what_is_overwritten_reaches_below_every_use_of_a_key() {
        let (unit, other) = (Key::<Unit>::make(), Key::<Unit>::make());
        let (data, secret) = (Key::<Data>::make(), Key::<TenantSecret>::make());
        let name = RecordKey::parse("a/b/c/d").unwrap();
        let mut depths = vec![
            ("derive", depth_of(|| unit.derive_data(&other, CollectionNo(1)))),
            ("tokens", depth_of(|| secret.derive_names(CollectionNo(1)).key_tokens(&name))),
        ];
        for suite in SUITES {
            let (context, meta) = (record_place(suite), EncodedMeta::new(&some_meta(40_000)).unwrap());
            let value = some_bytes(40_000);
            let sealed = data.seal_record(&context, &meta, &value);
            depths.push(("seal", depth_of(|| data.seal_record(&context, &meta, &value))));
            depths.push(("open", depth_of(|| data.open_record(&context, &sealed).unwrap())));
            let place = Context::<AuditEntry>::of(&StoreId([1; 16]), TenantNo(1), &[b"x"]);
            depths.push(("entry", depth_of(|| data.seal(suite, &place, &Plaintext::new(vec![1; 200])))));
            depths.push((
                "sealed",
                depth_of(|| Sealed::<AuditEntry>::from_row(data.seal(suite, &place, &Plaintext::new(vec![])).into_row())),
            ));
        }
        for (name, depth) in &depths {
            assert!(*depth > 256 && *depth * 4 / 3 <= LENT_LEN_BYTES, "{name} goes {depth} bytes deep: {depths:?}");
        }

        let (branch, id) = (Key::<Branch>::make(), PageId { tree: TreeId([1; 16]), level: 0, index: 0 });
        let store = StoreId([1; 16]);
        let page = branch.wrap_page(&store, &id, Epoch(1), &PageSlots::make_random());
        let wrap = depth_of(|| branch.wrap_page(&store, &id, Epoch(1), &PageSlots::make_random()));
        let unwrap = depth_of(|| branch.unwrap_page(&store, &id, &page).unwrap());
        assert!(wrap.max(unwrap) > 256 && wrap.max(unwrap) * 3 <= DEEP_LEN_BYTES, "pages go {wrap} and {unwrap} bytes deep");
    }
}

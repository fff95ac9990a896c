use lethe::vault::crypto::{Context, EncodedMeta, Key, Record, Sealed, Unit};

pub fn misuse(unit: &Key<Unit>, context: &Context<Record>, meta: &EncodedMeta) -> Sealed<Record> {
    unit.seal_record(context, meta, b"value") //~ E0599 no method named `seal_record` found for reference `&Key<Unit>`
}

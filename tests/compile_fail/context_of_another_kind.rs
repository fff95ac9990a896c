use lethe::vault::crypto::{AuditTarget, Context, Cursor, Data, Key, OpenError, Plaintext, Sealed};

pub fn misuse(key: &Key<Data>, context: &Context<AuditTarget>, sealed: &Sealed<Cursor>) -> Result<Plaintext<Cursor>, OpenError> {
    key.open(context, sealed) //~ E0308 mismatched types
}

use lethe::vault::crypto::{Context, Cursor, Data, Key, Sealed, Suite};

pub fn misuse(key: &Key<Data>, context: &Context<Cursor>, sealed: &Sealed<Cursor>) -> Sealed<Cursor> {
    key.seal(Suite::Aes256Gcm, context, sealed) //~ E0308 mismatched types
}

use lethe::vault::crypto::{Branch, Context, Cursor, Key, Plaintext, Sealed, Suite};

pub fn misuse(kek: &Key<Branch>, context: &Context<Cursor>, plaintext: &Plaintext<Cursor>) -> Sealed<Cursor> {
    kek.seal(Suite::Aes256Gcm, context, plaintext) //~ E0599 the method `seal` exists for reference `&Key<Branch>`, but its trait bounds were not satisfied
}

use lethe::vault::crypto::BlobWriter;

pub fn misuse(writer: BlobWriter) -> (BlobWriter, BlobWriter) {
    (writer.clone(), writer) //~ E0599 no method named `clone` found for struct
}

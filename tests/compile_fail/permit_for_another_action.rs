use lethe::authz::{Permit, RecordRead, RecordWrite};

fn read(_: &Permit<RecordRead>) {}

pub fn misuse(permit: &Permit<RecordWrite>) {
    read(permit); //~ E0308 mismatched types
}

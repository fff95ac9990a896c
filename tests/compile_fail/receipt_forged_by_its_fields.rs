use lethe::{
    domain::{TenantNo, WriterId},
    vault::crypto::Receipt,
};

pub fn misuse() -> Receipt {
    Receipt { tenant: TenantNo(1), writer: WriterId(1), seq: 1 } //~ E0451 fields `tenant`, `writer` and `seq` of struct `Receipt` are private
}

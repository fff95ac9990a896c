use lethe::{
    domain::{TenantNo, WriterId},
    vault::crypto::Receipt,
};

pub fn misuse() -> Receipt {
    Receipt::durable(TenantNo(1), WriterId(1), 1) //~ E0624 associated function `durable` is private
}

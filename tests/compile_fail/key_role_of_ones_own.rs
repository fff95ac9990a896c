use lethe::vault::crypto::Role;

pub enum Mine {}

impl Role for Mine {} //~ E0277 the trait bound `Mine: key::sealed::Role` is not satisfied

use lethe::vault::crypto::Kind;

pub enum Mine {}

impl Kind for Mine {} //~ E0277 the trait bound `Mine: content::sealed::Kind` is not satisfied

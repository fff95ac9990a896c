//! How long data is kept: periods of the calendar, the rules of a collection, and what they say of one record. Pure: times, rules
//! and "now" go in, an answer comes out; nothing here destroys anything.
//!
//! Read [`period`] for what "seven years from" means to the day, [`rules`] for what an owner may write, [`evaluate`] for what
//! follows from it, [`events`] for what a backend reports, [`explain`] for how that is told, [`kept`] for what a law keeps whatever is
//! ordered, [`catalogue`] for legal periods to begin with, [`report`] for what a run did.

pub mod catalogue;
pub mod evaluate;
pub mod events;
pub mod explain;
pub mod kept;
pub mod period;
pub mod pointer;
pub mod report;
pub mod rules;
pub mod zone;

pub use evaluate::{Facts, Outlook};
pub use events::{EventDate, EventName, Events};
pub use kept::{Governed, Kept, Law, Under};
pub use period::Period;
pub use rules::{Event, Mode, Retention, RetentionError, Rule, RuleName, Schedule, Then};
pub use zone::Zone;

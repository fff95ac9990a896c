//! The keys of all rows: one table.

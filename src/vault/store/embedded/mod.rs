//! The embedded engine: two RocksDB databases and one committer.

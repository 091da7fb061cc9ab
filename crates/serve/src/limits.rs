//! How much one who asks may have, and all together.

use std::time::Duration;

/// Longest statement a server can be told to take, KiB. The planner walks a statement by recursion: the stack of the
/// threads must hold the deepest that fits ([`OPERATORS_MAX`] bounds the depth, this the rest).
pub const STATEMENT_KIB_MAX: u32 = 1024;

/// Most operators (`+`, `AND`, `||`, `UNION` ..) in one statement. `a + a + a ..` becomes a tree as deep as it is long, and what
/// walks it recurses.
pub const OPERATORS_MAX: usize = 1_000;

/// Stack that the threads of the runtime need so that the deepest statement fits, bytes. Reserved, not used.
pub const THREAD_STACK_BYTES: usize = 64 << 20;

/// Most statements in one message of the simple protocol.
pub(crate) const STATEMENTS_MAX: usize = 64;

/// Most prepared statements, and most portals and cursors, that a connection may keep.
pub(crate) const PREPARED_MAX: usize = 256;

/// What is allowed. `Default` is what `aortica config print` shows.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once, each door for itself.
    pub connections: usize,
    /// Queries that are worked on at once; more wait.
    pub queries: usize,
    /// Longest wait for a turn.
    pub turn_within: Duration,
    /// Longest work on one query; time in which the client reads does not count.
    pub query_within: Duration,
    /// Memory of all queries together, bytes.
    pub memory_bytes: usize,
    /// Memory of one query, bytes; sorts and groups beyond it use temporary files.
    pub query_memory_bytes: usize,
    /// Temporary files of one query, bytes.
    pub query_disk_bytes: u64,
    /// Rows of one answer; `None` is no limit.
    pub rows: Option<u64>,
    /// Length of a statement, bytes.
    pub statement_bytes: usize,
    /// From the first byte to the password's end.
    pub startup_within: Duration,
    /// A connection on which nothing is asked for this long is closed.
    pub idle_within: Duration,
    /// A client that takes no byte of its answer for this long is cut off.
    pub stall_within: Duration,
    /// After the signal to stop, queries may go on for this long.
    pub drain_within: Duration,
    /// Age beyond which the tables are looked up anew before a query.
    pub refresh_after: Duration,
    /// Partitions that one query is worked on in.
    pub threads: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 256,
            queries: 4,
            turn_within: Duration::from_secs(30),
            query_within: Duration::from_secs(120),
            memory_bytes: 2 << 30,
            query_memory_bytes: 512 << 20,
            query_disk_bytes: 4 << 30,
            rows: None,
            statement_bytes: 128 << 10,
            startup_within: Duration::from_secs(10),
            idle_within: Duration::from_secs(3600),
            stall_within: Duration::from_secs(60),
            drain_within: Duration::from_secs(25),
            refresh_after: Duration::from_secs(2),
            threads: 2,
        }
    }
}

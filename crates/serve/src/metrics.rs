//! What Prometheus is told.

use crate::error::Result;
use crate::refusal::Reason;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Where a client comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Postgres,
    Http,
}

impl Door {
    pub fn label(self) -> &'static str {
        match self {
            Door::Postgres => "postgres",
            Door::Http => "http",
        }
    }
}

/// The answer was given to its end.
pub(crate) const DONE: &str = "done";
/// The client went before the end.
pub(crate) const LEFT: &str = "left";

/// Buckets of the time of a query, seconds.
const SECONDS: [f64; 10] = [0.005, 0.02, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0];

#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// By door and outcome: `done`, `left`, or the reason of the refusal.
    pub queries: IntCounterVec,
    pub seconds: HistogramVec,
    pub rows: IntCounterVec,
    pub connections: IntGaugeVec,
    /// Connections that ended by our will, by door and reason.
    pub refused: IntCounterVec,
    pub memory: IntGauge,
    pub reloads: IntCounterVec,
}

impl Metrics {
    pub fn register(registry: &Registry) -> Result<Metrics> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone())).map(|()| counters)
        };
        let queries = counters(
            "aortica_serve_queries_total",
            "queries by door and outcome: done, left, or why not",
            &["door", "outcome"],
        )?;
        let rows = counters("aortica_serve_rows_total", "rows sent", &["door"])?;
        let refused =
            counters("aortica_serve_refused_total", "connections that the server ended, and why", &["door", "reason"])?;
        let reloads = counters("aortica_serve_reloads_total", "the tables looked up anew", &["outcome"])?;
        let seconds = HistogramVec::new(
            HistogramOpts::new("aortica_serve_query_seconds", "work on a query; reading by the client does not count")
                .buckets(SECONDS.to_vec()),
            &["door"],
        )?;
        registry.register(Box::new(seconds.clone()))?;
        let connections = IntGaugeVec::new(Opts::new("aortica_serve_connections", "open connections"), &["door"])?;
        registry.register(Box::new(connections.clone()))?;
        let memory = IntGauge::new("aortica_serve_memory_bytes", "memory that queries have reserved")?;
        registry.register(Box::new(memory.clone()))?;
        // No alarm sees an increase in a counter that first appears with 1.
        for door in [Door::Postgres, Door::Http].map(Door::label) {
            for outcome in [DONE, LEFT].into_iter().chain(Reason::ALL.map(Reason::label)) {
                queries.with_label_values(&[door, outcome]);
            }
            for reason in Reason::ALL {
                refused.with_label_values(&[door, reason.label()]);
            }
            rows.with_label_values(&[door]);
            connections.with_label_values(&[door]);
        }
        for outcome in [DONE, "failed"] {
            reloads.with_label_values(&[outcome]);
        }
        Ok(Metrics { queries, seconds, rows, connections, refused, memory, reloads })
    }

    pub fn refuse(&self, door: Door, reason: Reason) {
        self.refused.with_label_values(&[door.label(), reason.label()]).inc();
    }

    /// Counts a connection for as long as what is returned lives.
    pub fn connection(&self, door: Door) -> Connected {
        let gauge = self.connections.with_label_values(&[door.label()]);
        gauge.inc();
        Connected(gauge)
    }
}

pub(crate) struct Connected(IntGauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

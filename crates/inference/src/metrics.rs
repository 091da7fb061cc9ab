//! The counters of the served models for Prometheus, under Triton's names where they mean the same.

use crate::server::Served;
use crate::session::Session;
use crate::stage::Stage;
use crate::statistics::FailureReason;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts};
use std::sync::{Arc, Weak};

/// Name, meaning, and value for one model.
type Counter = (&'static str, &'static str, fn(&Session) -> u64);

const COUNTERS: [Counter; 6] = [
    ("nv_inference_request_success", "Requests that were answered", |session| {
        session.statistics().requests_succeeded()
    }),
    ("nv_inference_count", "Rows computed, padding not counted", |session| session.statistics().rows_computed()),
    ("nv_inference_exec_count", "Batches computed", |session| {
        session.statistics().executions().values().map(|execution| execution.count).sum()
    }),
    ("nv_inference_request_duration_us", "Answered requests: microseconds from arrival to answer", |session| {
        microseconds(session, 0)
    }),
    ("nv_inference_queue_duration_us", "Answered requests: microseconds in the queue", |session| {
        microseconds(session, 1)
    }),
    ("nv_inference_compute_infer_duration_us", "Answered requests: microseconds being computed", |session| {
        microseconds(session, 2)
    }),
];
const LABELS: [&str; 2] = ["model", "version"];
const FAILURES: (&str, &str) = ("nv_inference_request_failure", "Requests that were not answered, by reason");
const FAILURE_LABELS: [&str; 3] = ["model", "version", "reason"];
const PENDING: (&str, &str) = ("aortica_inference_pending_rows", "Rows waiting or being computed");
/// Triton has no such counter; the rows of a batch say whether requests find each other.
const BATCHES: (&str, &str) = ("aortica_inference_batches", "Batches computed, by their rows without padding");
const BATCH_LABELS: [&str; 3] = ["model", "version", "rows"];
const READY: (&str, &str) = ("aortica_inference_model_ready", "1 when the model takes requests, else 0");

fn microseconds(session: &Session, which: usize) -> u64 {
    u64::try_from(session.statistics().durations()[which].as_micros()).unwrap_or(u64::MAX)
}

/// Reads the counters of all loaded models whenever metrics are gathered.
pub(crate) struct ModelCollector {
    /// Weak, so that a registry that outlives the service does not keep its models loaded.
    served: Weak<Served>,
    descriptions: Vec<Desc>,
}

impl ModelCollector {
    pub fn new(served: &Arc<Served>) -> ModelCollector {
        let plain = COUNTERS.iter().map(|(name, help, _)| (*name, *help, &LABELS[..]));
        let others = [
            (FAILURES.0, FAILURES.1, &FAILURE_LABELS[..]),
            (PENDING.0, PENDING.1, &LABELS[..]),
            (BATCHES.0, BATCHES.1, &BATCH_LABELS[..]),
            (READY.0, READY.1, &LABELS[..]),
        ];
        let descriptions = plain
            .chain(others)
            .filter_map(|(name, help, labels)| {
                let labels = labels.iter().map(|label| (*label).to_owned()).collect();
                Desc::new(name.into(), help.into(), labels, Default::default()).ok()
            })
            .collect();
        ModelCollector { served: Arc::downgrade(served), descriptions }
    }

    fn gather(&self) -> prometheus::Result<Vec<MetricFamily>> {
        let Some(served) = self.served.upgrade() else { return Ok(Vec::new()) };
        let sessions = || served.models().iter().filter_map(|model| model.session().ok());
        let mut families = Vec::new();
        for (name, help, value) in COUNTERS {
            let counters = IntCounterVec::new(Opts::new(name, help), &LABELS)?;
            for session in sessions() {
                let manifest = session.manifest();
                counters.get_metric_with_label_values(&[manifest.name(), manifest.version()])?.inc_by(value(session));
            }
            families.extend(counters.collect());
        }
        let failures = IntCounterVec::new(Opts::new(FAILURES.0, FAILURES.1), &FAILURE_LABELS)?;
        let pending = IntGaugeVec::new(Opts::new(PENDING.0, PENDING.1), &LABELS)?;
        let batches = IntCounterVec::new(Opts::new(BATCHES.0, BATCHES.1), &BATCH_LABELS)?;
        let ready = IntGaugeVec::new(Opts::new(READY.0, READY.1), &LABELS)?;
        for model in served.models() {
            let labels = [model.manifest.name(), model.manifest.version()];
            ready.get_metric_with_label_values(&labels)?.set(model.is_ready().into());
        }
        for session in sessions() {
            let (name, version) = (session.manifest().name(), session.manifest().version());
            for reason in FailureReason::ALL {
                failures
                    .get_metric_with_label_values(&[name, version, reason.label()])?
                    .inc_by(session.statistics().requests_failed(reason));
            }
            pending.get_metric_with_label_values(&[name, version])?.set(session.pending_rows() as i64);
            for (rows, execution) in session.statistics().executions() {
                batches.get_metric_with_label_values(&[name, version, &rows.to_string()])?.inc_by(execution.count);
            }
        }
        families.extend(failures.collect());
        families.extend(pending.collect());
        families.extend(batches.collect());
        families.extend(ready.collect());
        Ok(families)
    }
}

impl Collector for ModelCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gather().unwrap_or_else(|error| {
            tracing::error!(%error, "the counters of the models could not be gathered");
            Vec::new()
        })
    }
}

//! A lake with a few rows, served in this process on free ports.

use ::lake::{Lake, store_for};
use domain::outcome::Outcome;
use domain::record::{OutcomeRecord, RECORD_SCHEMA_VERSION};
use domain::{Digest, FailReason, Fingerprint, InstanceFacts, Item};
use serve::{Bound, Identity, Limits, Server, Users};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub struct Served {
    pub lake: Lake,
    pub pg: SocketAddr,
    pub http: SocketAddr,
    pub registry: prometheus::Registry,
    pub stop: CancellationToken,
    pub running: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Small, so that they are reached.
pub fn limits() -> Limits {
    Limits {
        query_memory_bytes: 32 << 20,
        memory_bytes: 128 << 20,
        query_disk_bytes: 8 << 20,
        refresh_after: Duration::ZERO,
        drain_within: Duration::from_secs(5),
        ..Limits::default()
    }
}

pub async fn serve(limits: Limits) -> Served {
    serve_to(limits, None, None).await
}

pub async fn serve_to(limits: Limits, users: Option<Users>, identity: Option<Identity>) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let place = store_for(folder.path().join("lake").to_str().unwrap(), &[]).unwrap();
    let lake = Lake::create_if_absent(place).await.unwrap();
    let registry = prometheus::Registry::new();
    let server = Server {
        lake: lake.clone(),
        limits,
        aggregate: None,
        users,
        identity,
        unprotected: false,
        registry: registry.clone(),
    };
    let any = "127.0.0.1:0".parse().unwrap();
    let bound: Bound = server.bind(Some(any), Some(any)).await.unwrap();
    let (pg, http) = (bound.postgres().unwrap(), bound.http().unwrap());
    let stop = CancellationToken::new();
    let running = tokio::spawn(bound.run(stop.clone()));
    Served { lake, pg, http, registry, stop, running, _folder: folder }
}

impl Served {
    /// Commits items that failed: rows without readings.
    pub async fn commit(&self, numbers: std::ops::Range<u64>) {
        let record = |number: u64| {
            let item = Item {
                uri: format!("s3://bucket/{number:08}.dcm"),
                size_bytes: number,
                version: String::new(),
                hints: Default::default(),
            };
            OutcomeRecord {
                schema_version: RECORD_SCHEMA_VERSION,
                submission_id: "s".to_owned(),
                item_id: item.id(),
                attempt: 1,
                fingerprint: Fingerprint::from_digest(Digest::of(b"f")),
                pipeline: "p 1".to_owned(),
                image_id: None,
                facts: InstanceFacts { sex: Some("F".to_owned()), ..InstanceFacts::default() },
                outcome: Outcome::Failed { reason: FailReason::Truncated },
                artifact_key: None,
                scored_at_us: 1_700_000_000_000_000 + number as i64,
            }
        };
        let mut committer = self.lake.committer().await.unwrap();
        committer.commit(numbers.map(record).collect()).await.unwrap();
    }

    /// The value of a metric with these labels.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap_or_else(|| panic!("no metric {name}"));
        let fits = |metric: &&prometheus::proto::Metric| {
            labels
                .iter()
                .all(|(name, value)| metric.get_label().iter().any(|l| l.name() == *name && l.value() == *value))
        };
        let metric = family.get_metric().iter().find(fits).unwrap_or_else(|| panic!("{name} has no {labels:?}"));
        metric.get_counter().get_value() + metric.get_gauge().get_value()
    }

    pub fn queries(&self, outcome: &str) -> f64 {
        self.metric("aortica_serve_queries_total", &[("door", "postgres"), ("outcome", outcome)])
    }

    /// Waits until a metric has a value.
    pub async fn until(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let reached = async {
            while self.metric(name, labels) != value {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), reached).await;
        assert!(waited.is_ok(), "{name} {labels:?} is {}, not {value}", self.metric(name, labels));
    }
}

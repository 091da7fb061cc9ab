//! What each role tells Prometheus. Labels come from closed lists only (reasons, faults, steps, lanes), so that the number
//! of series is bounded whatever images come.

use crate::queue::topology::Lane;
use domain::{ExcludeReason, FailReason, Fault, Outcome};
use lake::CommitReport;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use std::time::Duration;

/// Upper bounds of durations, seconds: a warp takes milliseconds, a slow store a minute.
const SECONDS: &[f64] = &[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0];
const ROWS: &[f64] = &[1.0, 10.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0];

/// A step of the way of one image: label `step`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Fetch,
    Decode,
    Locate,
    Segment,
    Grade,
    Score,
    Publish,
}

impl Step {
    pub(crate) const ALL: [Step; 7] =
        [Step::Fetch, Step::Decode, Step::Locate, Step::Segment, Step::Grade, Step::Score, Step::Publish];

    pub fn name(self) -> &'static str {
        match self {
            Step::Fetch => "fetch",
            Step::Decode => "decode",
            Step::Locate => "locate",
            Step::Segment => "segment",
            Step::Grade => "grade",
            Step::Score => "score",
            Step::Publish => "publish",
        }
    }
}

/// What happened to a job message: label `fate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobFate {
    Acknowledged,
    /// Waits for another try.
    Retried,
    DeadLettered,
    /// Handed back at the end of the worker.
    GivenBack,
    PutAside,
    /// The connection that brought it is gone; it comes again.
    Lost,
}

impl JobFate {
    const ALL: [JobFate; 6] = [
        JobFate::Acknowledged,
        JobFate::Retried,
        JobFate::DeadLettered,
        JobFate::GivenBack,
        JobFate::PutAside,
        JobFate::Lost,
    ];

    fn name(self) -> &'static str {
        match self {
            JobFate::Acknowledged => "acknowledged",
            JobFate::Retried => "retried",
            JobFate::DeadLettered => "dead_lettered",
            JobFate::GivenBack => "given_back",
            JobFate::PutAside => "put_aside",
            JobFate::Lost => "lost",
        }
    }
}

const FAULTS: [Fault; 5] =
    [Fault::Transient { retry_after: None }, Fault::Overloaded, Fault::InvalidInput, Fault::Misconfigured, Fault::Bug];

/// The metrics of this crate. Clones share them. Every label value is there from the start, with 0: Prometheus sees no
/// increase in a counter that first appears with 1, and an alarm on the first fault would never ring.
#[derive(Debug, Clone)]
pub struct Metrics {
    items: IntCounterVec,
    steps: HistogramVec,
    bytes_read: IntCounter,
    in_flight: IntGauge,
    faults: IntCounterVec,
    overlays_failed: IntCounter,
    jobs: IntCounterVec,
    jobs_published: IntCounter,
    commit_rows: Histogram,
    commit_seconds: Histogram,
    conflicts: IntCounter,
    lane_depth: IntGaugeVec,
    broker_connected: IntGauge,
    redelivered: IntCounterVec,
    duplicates: IntCounter,
}

impl Metrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// One of the names is taken: two sets in one registry.
    pub fn new(registry: &Registry) -> prometheus::Result<Metrics> {
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let metric = IntCounter::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntCounterVec> {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| -> prometheus::Result<Histogram> {
            let metric = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let steps = HistogramVec::new(
            HistogramOpts::new("aortica_step_seconds", "time of one image in one step, waiting included")
                .buckets(SECONDS.to_vec()),
            &["step"],
        )?;
        registry.register(Box::new(steps.clone()))?;
        let in_flight = IntGauge::new("aortica_images_in_flight", "images between fetch and publish")?;
        registry.register(Box::new(in_flight.clone()))?;
        let lane_depth =
            IntGaugeVec::new(Opts::new("aortica_lane_depth", "messages that wait, when last asked"), &["lane"])?;
        registry.register(Box::new(lane_depth.clone()))?;
        let items = counters("aortica_items_total", "items by outcome and reason", &["status", "reason"])?;
        let failed = FailReason::ALL.iter().map(|reason| Outcome::Failed { reason: *reason });
        let excluded = ExcludeReason::ALL.iter().map(|reason| Outcome::Excluded { reason: *reason });
        for outcome in failed.chain(excluded) {
            items.with_label_values(&labels_of(&outcome));
        }
        items.with_label_values(&["scored", "none"]);
        let faults = counters("aortica_faults_total", "failures of ours or of others, by kind", &["fault"])?;
        FAULTS.iter().for_each(|fault| drop(faults.with_label_values(&[fault.name()])));
        let jobs = counters("aortica_jobs_total", "job messages by what became of them", &["fate"])?;
        JobFate::ALL.iter().for_each(|fate| drop(jobs.with_label_values(&[fate.name()])));
        Step::ALL.iter().for_each(|step| drop(steps.with_label_values(&[step.name()])));
        let broker_connected =
            IntGauge::new("aortica_broker_connected", "1 when the broker last answered, 0 while it is away")?;
        registry.register(Box::new(broker_connected.clone()))?;
        let redelivered = counters(
            "aortica_redelivered_total",
            "messages that came again: their reader died or lost its connection",
            &["lane"],
        )?;
        for lane in [Lane::Jobs, Lane::JobsDead, Lane::Records] {
            redelivered.with_label_values(&[lane.name()]);
        }
        Ok(Metrics {
            items,
            steps,
            bytes_read: counter("aortica_read_bytes_total", "bytes of objects fetched")?,
            in_flight,
            faults,
            overlays_failed: counter("aortica_overlays_failed_total", "overlays that could not be written")?,
            jobs,
            jobs_published: counter("aortica_jobs_published_total", "jobs confirmed by the broker")?,
            commit_rows: histogram("aortica_commit_records", "records of one commit", ROWS)?,
            commit_seconds: histogram("aortica_commit_seconds", "time of one commit", SECONDS)?,
            conflicts: counter("aortica_conflicts_total", "second results that differed from the row in the lake")?,
            lane_depth,
            broker_connected,
            redelivered,
            duplicates: counter("aortica_commit_duplicates_total", "rows of records that a table had already")?,
        })
    }

    /// A set that nobody reads.
    pub fn unread() -> Metrics {
        Metrics::new(&Registry::new()).expect("a fresh registry has no names")
    }

    pub(crate) fn outcome(&self, outcome: &Outcome) {
        self.items.with_label_values(&labels_of(outcome)).inc();
    }

    pub(crate) fn step(&self, step: Step, took: Duration) {
        self.steps.with_label_values(&[step.name()]).observe(took.as_secs_f64());
    }

    pub(crate) fn bytes_read(&self, bytes: u64) {
        self.bytes_read.inc_by(bytes);
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.faults.with_label_values(&[fault.name()]).inc();
    }

    pub(crate) fn overlay_failed(&self) {
        self.overlays_failed.inc();
    }

    pub(crate) fn job(&self, fate: JobFate) {
        self.jobs.with_label_values(&[fate.name()]).inc();
    }

    pub(crate) fn job_published(&self) {
        self.jobs_published.inc();
    }

    pub(crate) fn committed(&self, records: usize, report: &CommitReport, took: Duration) {
        self.commit_rows.observe(records as f64);
        self.commit_seconds.observe(took.as_secs_f64());
        self.conflicts.inc_by(report.conflicts as u64);
        self.duplicates.inc_by(report.duplicates as u64);
    }

    /// Whether the broker was there when it was last tried.
    pub(crate) fn broker_connected(&self, connected: bool) {
        self.broker_connected.set(connected.into());
    }

    /// Counts a message that was delivered before.
    pub(crate) fn delivered(&self, lane: Lane, deliveries_before: u32) {
        if deliveries_before > 0 {
            self.redelivered.with_label_values(&[lane.name()]).inc();
        }
    }

    pub(crate) fn depth(&self, lane: Lane, messages: u64) {
        self.lane_depth.with_label_values(&[lane.name()]).set(i64::try_from(messages).unwrap_or(i64::MAX));
    }

    /// No number rather than an old one.
    pub(crate) fn forget_depths(&self) {
        self.lane_depth.reset();
    }

    /// Counts an image in flight until dropped.
    pub(crate) fn in_flight(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }
}

fn labels_of(outcome: &Outcome) -> [&'static str; 2] {
    [outcome.status(), outcome.reason().unwrap_or("none")]
}

pub(crate) struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_series_is_bounded_by_closed_lists() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        for _ in 0..3 {
            for reason in FailReason::ALL {
                metrics.outcome(&Outcome::Failed { reason: *reason });
            }
            for reason in ExcludeReason::ALL {
                metrics.outcome(&Outcome::Excluded { reason: *reason });
            }
        }
        let items = registry.gather().into_iter().find(|f| f.name() == "aortica_items_total").unwrap();
        assert_eq!(items.get_metric().len(), FailReason::ALL.len() + ExcludeReason::ALL.len() + 1, "and scored");
        assert!(Metrics::new(&registry).is_err(), "a second set in one registry is a mistake");
    }

    #[test]
    fn every_fault_and_fate_is_there_before_it_first_happens() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let series = |name: &str| registry.gather().into_iter().find(|f| f.name() == name).unwrap().get_metric().len();
        let before = [series("aortica_faults_total"), series("aortica_jobs_total"), series("aortica_step_seconds")];
        metrics.fault(Fault::Transient { retry_after: Some(Duration::from_secs(1)) });
        metrics.fault(Fault::Bug);
        metrics.job(JobFate::Lost);
        metrics.step(Step::Publish, Duration::ZERO);
        assert_eq!(before, [5, 6, 7]);
        let after = [series("aortica_faults_total"), series("aortica_jobs_total"), series("aortica_step_seconds")];
        assert_eq!(after, before);
    }
}

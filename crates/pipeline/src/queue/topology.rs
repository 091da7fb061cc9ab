//! Names and properties of all queues, in one place.
//!
//! ```text
//! jobs --(delivered 4 times in vain, or given up)--> jobs.dead --(committer)--> a failed row
//!   ^---- jobs.retry.10s / 60s / 600s (wait, then back) <---- transient faults
//! jobs.parked: messages of a newer schema          records, records.dead, records.parked: the same for results
//! events: notifications of a bucket, bound to the store's exchange          events.dead: what is no notification
//! ```

use std::time::Duration;

/// Messages a queue holds at most; a full one refuses the publisher.
pub const MAX_MESSAGES: i64 = 20_000_000;
/// Deliveries after the first one that a job gets before it counts as one that kills its reader. A dropped connection
/// counts too.
pub const DELIVERY_LIMIT: u32 = 3;
/// How long a job waits before it is tried again, by the number of times it has waited.
pub const RETRY_WAITS: [Duration; 3] = [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(600)];
/// Times a job may wait; then it goes to the dead letters. With the waits above: about two hours.
pub const MAX_RETRIES: u32 = 14;

/// One queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    Jobs,
    /// Index into [`RETRY_WAITS`].
    JobsRetry(usize),
    JobsDead,
    JobsParked,
    Records,
    RecordsDead,
    RecordsParked,
    /// What a bucket tells.
    Events,
    EventsDead,
}

impl Lane {
    pub const ALL: [Lane; 11] = [
        Lane::Jobs,
        Lane::JobsRetry(0),
        Lane::JobsRetry(1),
        Lane::JobsRetry(2),
        Lane::JobsDead,
        Lane::JobsParked,
        Lane::Records,
        Lane::RecordsDead,
        Lane::RecordsParked,
        Lane::Events,
        Lane::EventsDead,
    ];

    /// Name within a namespace: also the metric label.
    pub fn name(self) -> &'static str {
        match self {
            Lane::Jobs => "jobs",
            Lane::JobsRetry(0) => "jobs.retry.10s",
            Lane::JobsRetry(1) => "jobs.retry.60s",
            Lane::JobsRetry(_) => "jobs.retry.600s",
            Lane::JobsDead => "jobs.dead",
            Lane::JobsParked => "jobs.parked",
            Lane::Records => "records",
            Lane::RecordsDead => "records.dead",
            Lane::RecordsParked => "records.parked",
            Lane::Events => "events",
            Lane::EventsDead => "events.dead",
        }
    }

    /// Name of the queue in the broker. `namespace` keeps installations on one broker apart.
    pub fn queue(self, namespace: &str) -> String {
        format!("{namespace}.{}", self.name())
    }

    /// Where a message goes that is given up, or delivered too often.
    pub fn dead(self) -> Option<Lane> {
        match self {
            Lane::Jobs => Some(Lane::JobsDead),
            Lane::Records => Some(Lane::RecordsDead),
            Lane::Events => Some(Lane::EventsDead),
            Lane::JobsRetry(_) | Lane::JobsDead | Lane::JobsParked => None,
            Lane::RecordsDead | Lane::RecordsParked | Lane::EventsDead => None,
        }
    }

    /// Where messages of a newer schema wait for an upgrade.
    pub fn parked(self) -> Option<Lane> {
        match self {
            Lane::Jobs | Lane::JobsDead => Some(Lane::JobsParked),
            Lane::Records => Some(Lane::RecordsParked),
            Lane::JobsRetry(_) | Lane::JobsParked | Lane::RecordsDead | Lane::RecordsParked => None,
            Lane::Events | Lane::EventsDead => None,
        }
    }

    /// For a waiting lane: how long, and where to after that.
    pub fn waits(self) -> Option<(Duration, Lane)> {
        match self {
            Lane::JobsRetry(step) => Some((RETRY_WAITS[step.min(RETRY_WAITS.len() - 1)], Lane::Jobs)),
            Lane::Jobs
            | Lane::JobsDead
            | Lane::JobsParked
            | Lane::Records
            | Lane::RecordsDead
            | Lane::RecordsParked
            | Lane::Events
            | Lane::EventsDead => None,
        }
    }

    /// The lane in which a job waits that has waited `retries` times before; `None` when it has waited enough.
    pub fn retry(retries: u32) -> Option<Lane> {
        (retries < MAX_RETRIES).then(|| Lane::JobsRetry((retries as usize).min(RETRY_WAITS.len() - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_apart_and_every_dead_end_exists() {
        let names: HashSet<String> = Lane::ALL.iter().map(|l| l.queue("a")).collect();
        assert_eq!(names.len(), Lane::ALL.len());
        for lane in Lane::ALL {
            for next in [lane.dead(), lane.parked(), lane.waits().map(|(_, to)| to)].into_iter().flatten() {
                assert!(Lane::ALL.contains(&next));
            }
        }
    }

    #[test]
    fn waits_grow_and_end() {
        assert_eq!(Lane::retry(0), Some(Lane::JobsRetry(0)));
        assert_eq!(Lane::retry(9), Some(Lane::JobsRetry(2)));
        assert_eq!(Lane::retry(MAX_RETRIES), None);
        let total: Duration = (0..MAX_RETRIES).filter_map(Lane::retry).filter_map(|l| l.waits()).map(|(w, _)| w).sum();
        assert!(total < Duration::from_secs(3 * 3600), "a job ends the same day: {total:?}");
    }
}

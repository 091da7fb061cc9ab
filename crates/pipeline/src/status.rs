//! `status`: how far every submission is, and what waits on the queues.
//!
//! The lake alone says what has become of each item; the broker adds what waits where. Without a broker the first half
//! stands by itself. Memory is that of the lake's census, however many items there are.

use crate::error::Result;
use crate::queue::topology::Lane;
use crate::queue::{Broker, LaneState};
use lake::{Lake, Tally};
use serde::Serialize;

/// The rate is that of the last ten minutes: long enough for a slow worker, short enough to see one die.
const RATE_WINDOW_S: i64 = 600;
const US: i64 = 1_000_000;

/// All that `status` tells.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Microseconds since 1970 UTC.
    pub at_us: i64,
    pub broker: BrokerStatus,
    /// The newest first.
    pub submissions: Vec<SubmissionStatus>,
    /// Age of the oldest submission with pending items, seconds; its items have waited as long.
    pub oldest_pending_s: Option<u64>,
}

/// What the broker told.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BrokerStatus {
    /// Every lane, in the order in which messages go.
    Lanes(Vec<LaneStatus>),
    /// Why there is nothing to tell.
    Unknown(String),
}

/// One queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LaneStatus {
    pub lane: &'static str,
    /// `None` where the broker has no such queue yet.
    #[serde(flatten)]
    pub state: Option<LaneState>,
}

/// One submission.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SubmissionStatus {
    #[serde(flatten)]
    pub tally: Tally,
    /// Since its manifest was written, seconds.
    pub age_s: u64,
    /// Rows made a second, of the last ten minutes.
    pub rate_per_s: f64,
    /// At that rate, for what is pending; `None` when nothing is, or nothing moves.
    pub left_s: Option<u64>,
}

impl SubmissionStatus {
    fn of(tally: Tally, now_us: i64) -> SubmissionStatus {
        let age_us = (now_us - tally.submitted_us).max(0);
        // a submission of a minute ago has had one minute; store and program may disagree on the time by seconds
        let window_s = (age_us as f64 / US as f64).clamp(1.0, RATE_WINDOW_S as f64);
        let rate_per_s = tally.recent as f64 / window_s;
        let moving = tally.pending > 0 && rate_per_s > 0.0;
        SubmissionStatus {
            age_s: (age_us / US) as u64,
            rate_per_s,
            left_s: moving.then(|| (tally.pending as f64 / rate_per_s).ceil() as u64),
            tally,
        }
    }
}

impl Status {
    /// Whether every item of every submission asked about has its row.
    pub fn is_complete(&self) -> bool {
        self.submissions.iter().all(|s| s.tally.pending == 0)
    }
}

/// Asks the lake, and the broker where there is one. `ids`: these submissions, or all where it is empty.
///
/// # Errors
/// Those of the lake. A broker that fails is a [`BrokerStatus::Unknown`].
pub async fn status(lake: &Lake, broker: Result<&dyn Broker, String>, ids: &[String], now_us: i64) -> Result<Status> {
    let tallies = lake.census(ids, now_us - RATE_WINDOW_S * US).await?;
    let submissions: Vec<_> = tallies.into_iter().map(|tally| SubmissionStatus::of(tally, now_us)).collect();
    let waiting = submissions.iter().filter(|s| s.tally.pending > 0);
    let oldest_pending_s = waiting.map(|s| s.age_s).max();
    let broker = match broker {
        Ok(broker) => lanes(broker).await.map_or_else(|e| BrokerStatus::Unknown(e.to_string()), BrokerStatus::Lanes),
        Err(why) => BrokerStatus::Unknown(why),
    };
    Ok(Status { at_us: now_us, broker, submissions, oldest_pending_s })
}

async fn lanes(broker: &dyn Broker) -> Result<Vec<LaneStatus>> {
    let mut lanes = Vec::with_capacity(Lane::ALL.len());
    for lane in Lane::ALL {
        lanes.push(LaneStatus { lane: lane.name(), state: broker.look(lane).await? });
    }
    Ok(lanes)
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;

//! The places in a worker and a committer at which a death is worth a test; the lake has its own
//! ([`CrashPoint::OF_LAKE`]). What dies there is decided by the simulation that came with the lake; without one, nothing.

use crate::metrics::Step;
use lake::CrashPoint;

/// An outcome is durable beside the readings; its record is not published.
pub(crate) const OUTCOME_PUT: CrashPoint = CrashPoint::named("outcome_put");
/// The broker has confirmed a record; its job is with us.
pub(crate) const PUBLISHED: CrashPoint = CrashPoint::named("published");
/// All is done but for the job's acknowledgement.
pub(crate) const BEFORE_ACKNOWLEDGE: CrashPoint = CrashPoint::named("before_acknowledge");
/// A job was put on another lane and is still on its own.
pub(crate) const MOVED: CrashPoint = CrashPoint::named("moved");
/// A batch is in the tables; none of its records is acknowledged.
pub(crate) const BATCH_COMMITTED: CrashPoint = CrashPoint::named("batch_committed");

/// What has been done at the end of a step.
pub(crate) const fn after(step: Step) -> CrashPoint {
    CrashPoint::named(match step {
        Step::Fetch => "fetched",
        Step::Decode => "decoded",
        Step::Locate => "located",
        Step::Segment => "segmented",
        Step::Grade => "graded",
        Step::Score => "scored",
        Step::Publish => "artifact_put",
    })
}

/// The points of this crate that an image of a pipeline which segments can meet; one that grades dies at "graded" instead.
#[cfg(test)]
pub(crate) const OF_PIPELINE: [CrashPoint; 11] = [
    after(Step::Fetch),
    after(Step::Decode),
    after(Step::Locate),
    after(Step::Segment),
    after(Step::Score),
    after(Step::Publish),
    OUTCOME_PUT,
    PUBLISHED,
    BEFORE_ACKNOWLEDGE,
    MOVED,
    BATCH_COMMITTED,
];

//! The message that a worker publishes and the committer folds into the lake.

use crate::identity::{Fingerprint, ImageId, ItemId};
use crate::outcome::Outcome;
use crate::radiograph::InstanceFacts;
use serde::{Deserialize, Serialize};

/// Version of the message. A committer parks messages of an unknown newer version.
pub const RECORD_SCHEMA_VERSION: u32 = 1;

/// What became of one item in one attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutcomeRecord {
    pub schema_version: u32,
    /// Digest of the item manifest that this item belongs to.
    pub submission_id: String,
    pub item_id: ItemId,
    /// 1 for the first try; a replay counts on.
    pub attempt: u32,
    pub fingerprint: Fingerprint,
    /// `name version`.
    pub pipeline: String,
    /// Missing when the object could not be decoded far enough to have one.
    pub image_id: Option<ImageId>,
    pub facts: InstanceFacts,
    pub outcome: Outcome,
    /// Key of the artifact in the lake's store, for scored items.
    pub artifact_key: Option<String>,
    /// When the pixels were read, microseconds since 1970 UTC. The only clock value; it takes no part in any digest.
    pub scored_at_us: i64,
}

impl OutcomeRecord {
    /// The same without corners, walls, midline and plaques: no row shows them, the artifact keeps them, and they are most of
    /// what a message would carry.
    #[must_use]
    pub fn without_evidence(mut self) -> OutcomeRecord {
        if let Outcome::Scored { reading } = &mut self.outcome {
            reading.corners = Vec::new();
            reading.walls = Vec::new();
            reading.midline = Vec::new();
            reading.plaques = Vec::new();
        }
        self
    }
}

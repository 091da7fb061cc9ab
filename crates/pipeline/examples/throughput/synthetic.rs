//! Items, jobs and readings of a population that does not exist.

use crate::Result;
use domain::reading::Reading;
use domain::record::{OutcomeRecord, RECORD_SCHEMA_VERSION};
use domain::{Digest, Fingerprint, Grade, ImageId, InstanceFacts, Item, Outcome, SegmentGrade};
use lake::paths::artifact_key;
use pipeline::job::{JOB_SCHEMA_VERSION, Job};

/// Images of one participant.
const IMAGES_EACH: u64 = 2;

/// Makes what a worker would have made of item 0, 1, 2, ..
#[derive(Clone)]
pub struct Population {
    reading: Reading,
    pub submission: String,
}

impl Population {
    /// Of readings like that of one simulated image (`aortica phantom`, three segments with calcium).
    pub fn new() -> Result<Population> {
        let reading = serde_json::from_str(include_str!("reading.json"))?;
        Ok(Population { reading, submission: Digest::of(b"throughput").short(32) })
    }

    pub fn fingerprint(&self) -> &Fingerprint {
        &self.reading.fingerprint
    }

    /// Names ascend with the numbers, as those of a bucket are listed.
    pub fn item(number: u64) -> Item {
        Item {
            uri: format!("s3://throughput/films/{:04}/{number:010}.dcm", number / 10_000),
            size_bytes: 500_000 + number % 400_000,
            version: format!("{:016x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            hints: Default::default(),
        }
    }

    pub fn job(&self, number: u64) -> Job {
        Job {
            schema_version: JOB_SCHEMA_VERSION,
            submission_id: self.submission.clone(),
            item: Population::item(number),
            attempt: 1,
            pipeline: self.reading.pipeline.clone(),
            fingerprint: self.reading.fingerprint.clone(),
        }
    }

    /// The reading of an item, with all evidence. Half of all people have no calcium; the others have it in some segments.
    pub fn reading(&self, item: &Item) -> Reading {
        let id = item.id();
        let mut reading = self.reading.clone();
        reading.image_id = ImageId::from_digest(Digest::of(id.as_str().as_bytes()));
        let dice = Digest::of(reading.image_id.as_str().as_bytes()).0;
        let ill = dice[31] % 2 == 1;
        for (segment, die) in reading.segments.iter_mut().zip(dice) {
            let grade = if ill { die % 4 } else { 0 };
            segment.grade = Grade::new(grade).map_or(segment.grade, SegmentGrade::Assessed);
            // rows of a level, so that there are as many lengths as a real one has
            segment.calcified_rows = u32::from(grade) * 7 + u32::from(die / 64);
            let share = f64::from(segment.calcified_rows) / f64::from(segment.rows.max(1));
            segment.length_pct = Some((1e4 * share).round() / 1e2);
            segment.length_mm = Some((3.2e4 * share).round() / 1e3);
            segment.confidence = 0.5 + f64::from(die) / 512.0;
        }
        let grades: [SegmentGrade; 8] = std::array::from_fn(|at| reading.segments[at].grade);
        let aac24 = domain::grade::Aac24::of(&grades);
        reading.summary.category = aac24.category(Default::default());
        reading.summary.aac8_total = aac24.total.map(|total| total.min(8));
        reading.summary.aac24 = aac24;
        reading.summary.confidence = 0.5 + f64::from(dice[8]) / 512.0;
        reading
    }

    pub fn record(&self, item: &Item, submission: &str) -> OutcomeRecord {
        let (id, reading) = (item.id(), self.reading(item));
        let number = item.version.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let hashed = |kind: &str, number: u64| Some(Digest::of(format!("{kind}{number}").as_bytes()).short(20));
        OutcomeRecord {
            schema_version: RECORD_SCHEMA_VERSION,
            submission_id: submission.to_owned(),
            item_id: id,
            attempt: 1,
            fingerprint: reading.fingerprint.clone(),
            pipeline: reading.pipeline.clone(),
            image_id: Some(reading.image_id.clone()),
            facts: InstanceFacts {
                participant_id: hashed("participant", number / IMAGES_EACH),
                study_id: hashed("study", number / IMAGES_EACH),
                series_id: hashed("series", number),
                sop_id: hashed("sop", number),
                key_name: Some("k1".into()),
                site_id: Some(format!("site{:02}", number % 20)),
                modality: Some("DX".into()),
                body_part: Some("LSPINE".into()),
                view_position: Some("LATERAL".into()),
                scanner_maker: Some(["Hologic", "GE", "Siemens"][(number % 3) as usize].into()),
                scanner_model: Some(["Horizon A", "iDXA", "Ysio"][(number % 3) as usize].into()),
                image_date: Some(format!("20{:02}-{:02}-{:02}", 10 + number % 14, 1 + number % 12, 1 + number % 28)),
                sex: Some(["F", "M"][(number % 2) as usize].into()),
                age_years: Some(50 + (number % 41) as u16),
                rows_px: Some(reading.height_px),
                columns_px: Some(reading.width_px),
                transfer_syntax: Some("1.2.840.10008.1.2.1".into()),
                burned_in_annotation: None,
            },
            artifact_key: Some(artifact_key(&reading.fingerprint, &reading.image_id)),
            outcome: Outcome::Scored { reading: Box::new(reading) },
            scored_at_us: 1_700_000_000_000_000 + number as i64 % 1_000_000_000,
        }
    }
}

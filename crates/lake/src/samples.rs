//! Records for the tests of this crate.

use domain::grade::{Aac24, NotAssessable};
use domain::outcome::Outcome;
use domain::reading::{READING_SCHEMA_VERSION, SegmentReading, Summary};
use domain::record::{OutcomeRecord, RECORD_SCHEMA_VERSION};
use domain::{
    Digest, ExcludeReason, Extent, FailReason, Fingerprint, Grade, ImageId, InstanceFacts, Item, Reading, Segment,
    SegmentGrade, TieRule,
};

pub(crate) fn fingerprint(name: &str) -> Fingerprint {
    Fingerprint::from_digest(Digest::of(name.as_bytes()))
}

pub(crate) fn item(number: u64) -> Item {
    Item {
        uri: format!("s3://bucket/images/{number:08}.dcm"),
        size_bytes: 1000 + number,
        version: "v1".to_owned(),
        hints: Default::default(),
    }
}

pub(crate) fn image(number: u64) -> ImageId {
    ImageId::from_digest(Digest::of(&number.to_le_bytes()))
}

/// `grades[i]` of segment i; `None` is not assessable.
pub(crate) fn reading(image_number: u64, fingerprint: &Fingerprint, grades: [Option<u8>; 8]) -> Reading {
    let segments: Vec<SegmentReading> = Segment::all()
        .into_iter()
        .zip(grades)
        .map(|(segment, grade)| SegmentReading {
            level: segment.level,
            wall: segment.wall,
            grade: match grade {
                Some(value) => SegmentGrade::Assessed(Grade::new(value).unwrap()),
                None => SegmentGrade::NotAssessable(NotAssessable::Masked),
            },
            calcified_rows: 10,
            rows: 64,
            length_pct: grade.map(|g| f64::from(g) * 33.0),
            length_mm: grade.map(|g| f64::from(g) * 10.0),
            confidence: 0.9,
            exceeds: None,
        })
        .collect();
    let aac24 = Aac24::of(&std::array::from_fn(|i| segments[i].grade));
    Reading {
        schema_version: READING_SCHEMA_VERSION,
        image_id: image(image_number),
        fingerprint: fingerprint.clone(),
        pipeline: "vfa-unet 1.0.0".to_owned(),
        rule: TieRule::Kauppila,
        extent: Extent::MidDisc,
        width_px: 400,
        height_px: 1100,
        pixel_aspect: Some(1.0),
        anterior_right: false,
        corners: Vec::new(),
        walls: Vec::new(),
        midline: Vec::new(),
        plaques: Vec::new(),
        segments,
        flags: Vec::new(),
        summary: Summary {
            category: aac24.category(Default::default()),
            aac24,
            aac8_total: aac24.total.map(|t| t / 3),
            affected_levels: aac24.total.map(|t| t.min(4)),
            affected_walls: aac24.total.map(|t| t.min(8)),
            length_mm: Some(12.5),
            length_pct: Some(f64::from(aac24.min) * 4.0),
            confidence: 0.5 + (image_number % 50) as f64 / 100.0,
            level_confidence: 0.95,
            flag_review: false,
        },
        models: Vec::new(),
    }
}

/// Item, image and participant `number`, scored in its first attempt.
pub(crate) fn scored(number: u64, grades: [u8; 8]) -> OutcomeRecord {
    let fingerprint = fingerprint("f");
    let reading = reading(number, &fingerprint, grades.map(Some));
    OutcomeRecord {
        schema_version: RECORD_SCHEMA_VERSION,
        submission_id: "s".to_owned(),
        item_id: item(number).id(),
        attempt: 1,
        fingerprint,
        pipeline: reading.pipeline.clone(),
        image_id: Some(image(number)),
        facts: InstanceFacts {
            participant_id: Some(format!("{number:020}")),
            study_id: Some(format!("{:020}", number + 1000)),
            image_date: Some("2020-05-17".to_owned()),
            sex: Some(if number.is_multiple_of(2) { "F" } else { "M" }.to_owned()),
            age_years: Some(60 + (number % 30) as u16),
            ..InstanceFacts::default()
        },
        artifact_key: Some(crate::paths::artifact_key(&reading.fingerprint, &reading.image_id)),
        outcome: Outcome::Scored { reading: Box::new(reading) },
        scored_at_us: 1_700_000_000_000_000 + number as i64,
    }
}

pub(crate) fn failed(number: u64, reason: FailReason) -> OutcomeRecord {
    OutcomeRecord { outcome: Outcome::Failed { reason }, artifact_key: None, ..scored(number, [0; 8]) }
}

pub(crate) fn excluded(number: u64, reason: ExcludeReason) -> OutcomeRecord {
    OutcomeRecord { outcome: Outcome::Excluded { reason }, artifact_key: None, ..scored(number, [0; 8]) }
}

pub(crate) fn attempt(attempt: u32, record: OutcomeRecord) -> OutcomeRecord {
    OutcomeRecord { attempt, ..record }
}

/// Grades that spread over the whole range.
pub(crate) fn grades(number: u64) -> [u8; 8] {
    std::array::from_fn(|i| ((number >> i) % 4) as u8 * u8::from(!number.is_multiple_of(3)))
}

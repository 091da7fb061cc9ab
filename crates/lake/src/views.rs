//! The tables that people query, as SQL over the tables that the files hold.

use crate::paths::Table;
use crate::schema::{READINGS, columns};
use domain::{Segment, Wall};

/// `instances` without the outcomes that a better one replaced. The side with revisions above 0 is small (replayed
/// items), so that it is the one held in memory while the table streams by.
pub(crate) const CURRENT_INSTANCES: &str = "
SELECT i.*
FROM (
    SELECT item_id AS newest_item, fingerprint AS newest_fingerprint, max(revision) AS newest_revision
    FROM instances WHERE revision > 0 GROUP BY item_id, fingerprint
) newest
RIGHT JOIN instances i ON i.item_id = newest.newest_item AND i.fingerprint = newest.newest_fingerprint
WHERE i.revision >= coalesce(newest.newest_revision, 0)";

/// One row per item and fingerprint: who, when, what became of it, and what the pixels say.
///
/// `primary_image`: of the scored images of one participant, visit and fingerprint the one with most segments assessed,
/// then the highest confidence; ties by the smallest image_id and item_id, so that every run names the same. A visit is a day,
/// where the day is unknown a study; an image without a participant stands for itself.
pub(crate) fn readings() -> String {
    let results = columns(Table::Results);
    let list: Vec<String> = READINGS
        .iter()
        .map(|name| match *name {
            "primary_image" => "coalesce(i.status = 'scored' AND row_number() OVER (
                    PARTITION BY coalesce(i.participant_id, i.item_id), coalesce(CAST(i.image_date AS VARCHAR), i.study_id, ''),
                        i.fingerprint
                    ORDER BY CASE WHEN i.status = 'scored' THEN 0 ELSE 1 END, r.aac_n_segments DESC NULLS LAST,
                        r.confidence DESC NULLS LAST, i.image_id, i.item_id) = 1, false) AS primary_image"
                .to_owned(),
            "image_shared" => "coalesce(i.image_id IS NOT NULL AND min(i.participant_id) OVER (
                    PARTITION BY i.image_id, i.fingerprint) < max(i.participant_id) OVER (
                    PARTITION BY i.image_id, i.fingerprint), false) AS image_shared"
                .to_owned(),
            name if columns(Table::Instances).iter().any(|c| c.name == name) => format!("i.{name}"),
            name => format!("r.{name}"),
        })
        .chain(results.iter().filter(|c| is_detail(&c.name)).map(|c| format!("r.{}", c.name)))
        .collect();
    format!(
        "SELECT {} FROM parts.current_instances i LEFT JOIN results r
         ON i.status = 'scored' AND i.image_id = r.image_id AND i.fingerprint = r.fingerprint",
        list.join(", ")
    )
}

/// Columns of single segments beside the grade: in `segments`, not in `readings`.
fn is_detail(name: &str) -> bool {
    Segment::all().iter().any(|s| name.strip_prefix(s.column().as_str()).is_some_and(|rest| !rest.is_empty()))
}

/// The SQL behind a table of the codebook.
pub(crate) fn definition(table: &str) -> String {
    match table {
        "readings" => "SELECT * FROM parts.readings_wide".to_owned(),
        "segments" => segments(),
        "ledger" => LEDGER.to_owned(),
        "latest_by_image_date" => LATEST_BY_IMAGE_DATE.to_owned(),
        "latest_by_scored_at" => LATEST_BY_SCORED_AT.to_owned(),
        "flow" => FLOW.to_owned(),
        other => unreachable!("table {other} of the codebook has a definition"),
    }
}

/// One row per scored image and segment.
fn segments() -> String {
    let pick = |detail: &str| {
        let arms: Vec<String> = Segment::all()
            .iter()
            .map(|segment| format!("WHEN {} THEN r.{}{detail}", segment.index(), segment.column()))
            .collect();
        format!("CASE s.number {} END", arms.join(" "))
    };
    let rows: Vec<String> = Segment::all()
        .iter()
        .map(|segment| {
            let wall = match segment.wall {
                Wall::Anterior => "anterior",
                Wall::Posterior => "posterior",
            };
            format!("({}, '{}', '{wall}', '{}')", segment.index(), segment.level.vertebra().name(), segment.column())
        })
        .collect();
    format!(
        "SELECT r.participant_id, r.image_id, r.item_id, r.image_date, r.fingerprint, r.primary_image,
             s.level, s.wall, s.segment, {} AS grade, {} AS length_pct, {} AS length_mm, {} AS confidence,
             {} AS not_assessable, {} AS p_above_0, {} AS p_above_1, {} AS p_above_2
         FROM parts.readings_wide r
         CROSS JOIN (SELECT column1 AS number, column2 AS level, column3 AS wall, column4 AS segment
                     FROM (VALUES {})) s
         WHERE r.status = 'scored'",
        pick(""),
        pick("_pct"),
        pick("_mm"),
        pick("_conf"),
        pick("_na"),
        pick("_p1"),
        pick("_p2"),
        pick("_p3"),
        rows.join(", ")
    )
}

/// Of each participant and fingerprint the primary image of the latest visit.
const LATEST_BY_IMAGE_DATE: &str = "
SELECT * EXCLUDE (place) FROM (
    SELECT *, row_number() OVER (
        PARTITION BY coalesce(participant_id, item_id), fingerprint
        ORDER BY image_date DESC NULLS LAST, confidence DESC NULLS LAST, image_id, item_id) AS place
    FROM readings WHERE primary_image)
WHERE place = 1";

/// Of each item the reading made last, whatever the fingerprint.
const LATEST_BY_SCORED_AT: &str = "
SELECT * EXCLUDE (place) FROM (
    SELECT *, row_number() OVER (PARTITION BY item_id ORDER BY scored_at DESC NULLS LAST, fingerprint) AS place
    FROM readings)
WHERE place = 1";

/// One row per submission and item: every item has one, from `pending` on.
const LEDGER: &str = "
SELECT m.submission, m.item_id, m.fingerprint, coalesce(i.status, 'pending') AS status, i.fail_reason, i.attempt, i.image_id
FROM parts.items m
LEFT JOIN parts.current_instances i ON m.item_id = i.item_id AND m.fingerprint = i.fingerprint";

/// From items to participants, by fingerprint; each item under one reason.
const FLOW: &str = "
SELECT fingerprint, CAST(place AS INT) AS place, step, CAST(n AS INT) AS n FROM (
    SELECT fingerprint, 0 AS place, 'items received' AS step, count(*) AS n FROM ledger GROUP BY fingerprint
    UNION ALL
    SELECT fingerprint, CASE status WHEN 'failed' THEN 1 WHEN 'excluded' THEN 2 ELSE 3 END,
        CASE WHEN fail_reason IS NULL THEN status ELSE status || ': ' || fail_reason END, count(*)
    FROM ledger GROUP BY fingerprint, status, fail_reason
    UNION ALL
    SELECT fingerprint, 5, 'participants with a primary image', count(*) FROM latest_by_image_date GROUP BY fingerprint
    UNION ALL
    SELECT fingerprint, 6, 'participants with a known category', count(aac24_cat) FROM latest_by_image_date GROUP BY fingerprint
    UNION ALL
    SELECT fingerprint, 7, 'participants with all segments assessed', count(aac24_total) FROM latest_by_image_date GROUP BY fingerprint)";

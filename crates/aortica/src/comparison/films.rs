//! Three images as every method reads them: which ones, and how they are drawn.

use crate::overlay::{BESIDE, Frame, Marks, draw, level_rows, png};
use anyhow::Context;
use domain::{Landmark, Level, Radiograph, Reading, Segment, Wall};
use learning::evaluate::{MethodRows, ReadRow, TruthRow};
use phantom::label;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::Path;

/// An image by truth and by every method.
#[derive(Serialize)]
pub struct Film {
    pub title: String,
    pub pictures: Vec<Picture>,
}

/// The image as one of them reads it.
#[derive(Serialize)]
pub struct Picture {
    /// Name of the method, or truth.
    pub of: String,
    /// In base 64.
    pub png: Option<String>,
    pub said: String,
}

/// An image that is shown.
pub struct Choice<'a> {
    pub title: String,
    pub truth: &'a TruthRow,
}

/// The images with the least, the middle and the largest mean absolute difference of the methods' totals from truth: of those that every
/// method gave a total which gave any, with calcium where there are three such. Of equal ones that with more calcium.
pub fn choose<'a>(truth: &'a [TruthRow], methods: &[MethodRows]) -> Vec<Choice<'a>> {
    let by_id: Vec<HashMap<&str, u8>> = methods
        .iter()
        .map(|method| method.rows.iter().filter_map(|row| Some((row.sop_id.as_str(), row.total()?))).collect())
        .filter(|totals: &HashMap<&str, u8>| !totals.is_empty())
        .collect();
    let mut known: Vec<(u32, u8, &TruthRow)> = truth
        .iter()
        .filter(|image| image.is_assessable())
        .filter_map(|image| {
            let seen = image.total()?;
            let apart = by_id.iter().map(|totals| Some(u32::from(totals.get(image.sop_id.as_str())?.abs_diff(seen))));
            Some((apart.sum::<Option<u32>>()?, seen, image))
        })
        .collect();
    if known.iter().filter(|(_, seen, _)| *seen > 0).count() >= 3 {
        known.retain(|(_, seen, _)| *seen > 0);
    }
    if by_id.is_empty() || known.is_empty() {
        return Vec::new();
    }
    known.sort_by_key(|(apart, seen, _)| (*apart, Reverse(*seen)));
    let last = known.len() - 1;
    let mut places = vec![(0, "Best"), (last / 2, "Median"), (last, "Worst")];
    places.dedup_by_key(|(place, _)| *place);
    places
        .into_iter()
        .map(|(place, name)| {
            let (apart, seen, truth) = known[place];
            let mean = f64::from(apart) / by_id.len() as f64;
            Choice { title: format!("{name}: truth {seen}, off by {mean:.1} on average"), truth }
        })
        .collect()
}

/// Draws an image by truth and by every method, all with the same crop. `masks`: the folder of the label masks, where there is one.
///
/// # Errors
/// A mask that cannot be read; a picture that cannot be written.
pub fn film(
    choice: &Choice,
    radiograph: &Radiograph,
    masks: Option<&Path>,
    methods: &[(String, Option<ReadRow>, Option<Reading>)],
) -> anyhow::Result<Film> {
    let runs = masks.map(|folder| calcium(folder, choice.truth)).transpose()?.unwrap_or_default();
    let truth = of_truth(choice.truth, runs);
    let aspect = choice.truth.row_mm / choice.truth.column_mm;
    let frame = Frame::around(radiograph, &truth, aspect, BESIDE);
    let drawn = |marks: &Marks| -> anyhow::Result<Option<String>> {
        let canvas = frame.as_ref().and_then(|frame| draw(radiograph, marks, frame));
        canvas.map(|canvas| Ok(serve::base64::encode(&png(&canvas)?))).transpose()
    };
    let seen = choice.truth.total();
    let said = |total: Option<u8>| match (total, seen) {
        (Some(total), Some(seen)) if total == seen => format!("AAC-24 {total}, as truth"),
        (Some(total), Some(seen)) => {
            let (apart, way) = (total.abs_diff(seen), if total > seen { "above" } else { "below" });
            format!("AAC-24 {total}, {apart} {way} truth")
        }
        _ => "no total".to_owned(),
    };
    let mut pictures = vec![Picture {
        of: "Truth".to_owned(),
        png: drawn(&truth)?,
        said: seen.map_or("no total".to_owned(), |seen| format!("AAC-24 {seen}")),
    }];
    for (name, row, reading) in methods {
        let marks = reading.as_ref().map(|reading| {
            let marks = Marks::of(reading);
            // a method that locates nothing writes its grades where truth has the levels
            if marks.corners.is_empty() {
                Marks { level_rows: truth.level_rows, anterior_right: truth.anterior_right, ..marks }
            } else {
                marks
            }
        });
        let png = marks.as_ref().map(&drawn).transpose()?.flatten();
        let said = said(row.as_ref().and_then(ReadRow::total));
        pictures.push(Picture { of: name.clone(), png, said });
    }
    Ok(Film { title: choice.title.clone(), pictures })
}

fn of_truth(truth: &TruthRow, runs: Vec<(Wall, u32, u32, u32)>) -> Marks<'_> {
    let corners: Vec<(Landmark, _)> =
        truth.corners.iter().enumerate().filter_map(|(c, at)| Some((Landmark::from_channel(c), (*at)?))).collect();
    let (anterior, posterior) = truth.walls.split_at(truth.walls.len() / 2);
    // which side a body's anterior corners lie on, over L1..L4
    let side: f64 = corners
        .iter()
        .filter(|(landmark, _)| Level::ALL.iter().any(|level| level.vertebra() == landmark.vertebra))
        .map(|(landmark, at)| if landmark.channel().is_some_and(|c| c % 2 == 0) { at.x } else { -at.x })
        .sum();
    Marks {
        level_rows: level_rows(&corners),
        corners,
        walls: vec![(Wall::Anterior, anterior), (Wall::Posterior, posterior)],
        plaques: Vec::new(),
        runs,
        segments: Segment::all().into_iter().zip(truth.visible).collect(),
        anterior_right: side > 0.0,
        head: truth.total().map_or("truth".to_owned(), |total| format!("truth {total}")),
        foot: String::new(),
    }
}

/// Runs of pixels with calcium that can be seen.
fn calcium(folder: &Path, truth: &TruthRow) -> anyhow::Result<Vec<(Wall, u32, u32, u32)>> {
    let name = Path::new(&truth.file).file_stem().context("the truth names a file without a name")?;
    let bytes = std::fs::read(folder.join(name).with_extension("png")).context("the mask of an image that is shown")?;
    let mask = image::load_from_memory_with_format(&bytes, image::ImageFormat::Png)?.into_luma8();
    let mut runs = Vec::new();
    for (wall, bit) in [(Wall::Anterior, label::ANTERIOR_VISIBLE), (Wall::Posterior, label::POSTERIOR_VISIBLE)] {
        for (row, pixels) in mask.rows().enumerate() {
            let mut start = None;
            for (column, on) in pixels.map(|pixel| pixel.0[0] & bit != 0).chain([false]).enumerate() {
                match (on, start) {
                    (true, None) => start = Some(column),
                    (false, Some(from)) => {
                        runs.push((wall, row as u32, from as u32, column as u32));
                        start = None;
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::grade::NotAssessable;
    use domain::{Grade, SegmentGrade};
    use learning::evaluate::{ReadSegment, Status};

    fn grades(total: u8) -> [SegmentGrade; 8] {
        std::array::from_fn(|k| {
            let grade = total.saturating_sub(3 * k as u8).min(3);
            Grade::new(grade).map_or(SegmentGrade::NotAssessable(NotAssessable::Masked), SegmentGrade::Assessed)
        })
    }

    fn truth(id: &str, total: u8) -> TruthRow {
        TruthRow {
            sop_id: id.into(),
            participant: 0,
            file: String::new(),
            lateral_lumbar: true,
            site: String::new(),
            scanner_maker: String::new(),
            scanner_model: String::new(),
            corners: [None; Landmark::COUNT],
            walls: Vec::new(),
            row_mm: 1.0,
            column_mm: 1.0,
            visible: grades(total),
        }
    }

    fn method(rows: &[(&str, u8)]) -> MethodRows {
        let row = |(id, total): &(&str, u8)| ReadRow {
            segments: Some(grades(*total).map(|grade| ReadSegment { grade, confidence: 1.0, exceeds: None })),
            ..ReadRow::unscored((*id).into(), Status::Scored)
        };
        MethodRows { name: "m".into(), fingerprint: "f".into(), rows: rows.iter().map(row).collect() }
    }

    #[test]
    fn best_median_and_worst_are_of_images_that_all_methods_scored() {
        let truths = [truth("a", 0), truth("b", 2), truth("c", 9), truth("d", 4), truth("e", 24), truth("f", 9)];
        let one = method(&[("a", 0), ("b", 2), ("c", 8), ("d", 12), ("e", 24), ("f", 9)]);
        // "e" has no total by the second method; the third read nothing at all
        let two = method(&[("a", 20), ("b", 2), ("c", 9), ("d", 4), ("f", 9)]);
        let chosen = choose(&truths, &[one, two, method(&[])]);
        let ids: Vec<&str> = chosen.iter().map(|choice| choice.truth.sop_id.as_str()).collect();
        assert_eq!(ids, ["f", "b", "d"], "equal ones by calcium, no image without any");
        assert_eq!(chosen[2].title, "Worst: truth 4, off by 4.0 on average");
        assert!(choose(&truths, &[method(&[])]).is_empty());
        assert_eq!(choose(&truths[..1], &[method(&[("a", 1)])]).len(), 1);
    }
}

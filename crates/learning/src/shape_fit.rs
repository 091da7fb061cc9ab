//! Fits the shape model of spine and aorta to simulated truth.

use crate::error::{Error, Result};
use domain::{ImagePx, Point};
use phantom::{Cohort, Truth};
use rayon::prelude::*;
use scoring::shape::{AnnotatedShape, DISC_LINES, POINTS, ShapeModel, VERTEBRAL_POINTS, shape_landmark};

/// Rows of the pictures that are simulated only for their truth.
const TRUTH_ROWS: u32 = 160;
/// Most shapes of one fit; 60 coordinates are long settled by then.
pub const SHAPES_MAX: usize = 20_000;
/// Share of the variance that the modes hold.
pub const VARIANCE_SHARE: f64 = 0.98;

/// The 30 points of a lateral picture in the order of [`scoring::shape`]; `None` for other views.
pub fn annotated_shape(truth: &Truth, aspect: f64) -> Option<AnnotatedShape> {
    let discs = truth.aorta_at_discs.as_ref()?;
    let mut points = [Point::<ImagePx>::new(0.0, 0.0); POINTS];
    for (index, point) in points[..VERTEBRAL_POINTS].iter_mut().enumerate() {
        *point = truth.corners[shape_landmark(index).channel()?]?;
    }
    for (line, (anterior, posterior)) in discs.iter().enumerate() {
        points[VERTEBRAL_POINTS + line] = *anterior;
        points[VERTEBRAL_POINTS + DISC_LINES + line] = *posterior;
    }
    Some(AnnotatedShape { points, aspect })
}

/// Fits to the first `count` pictures of a cohort; those of other views are passed over. The cohort must not be one that is
/// scored later: the model is fitted on a separate population (science.md, section 8).
///
/// # Errors
/// [`Error::Setting`] for a count out of 10..=[`SHAPES_MAX`] or beyond the cohort, and [`Error::Scoring`] when too few of the
/// pictures are lateral.
pub fn fit_shape(cohort: &Cohort, count: usize) -> Result<ShapeModel> {
    if !(10..=SHAPES_MAX).contains(&count) {
        return Err(Error::Setting { name: "count", problem: format!("is {count}, not within 10..={SHAPES_MAX}") });
    }
    if count > cohort.len() {
        return Err(Error::Setting { name: "count", problem: format!("is {count}, the cohort has {}", cohort.len()) });
    }
    let shapes: Vec<Option<AnnotatedShape>> = (0..count)
        .into_par_iter()
        .map(|index| {
            let simulated = cohort.simulate_scaled(index, TRUTH_ROWS);
            annotated_shape(&simulated.truth, simulated.spacing.aspect_or_square())
        })
        .collect();
    let shapes: Vec<AnnotatedShape> = shapes.into_iter().flatten().collect();
    Ok(ShapeModel::fit(&shapes, VARIANCE_SHARE)?)
}

//! The statistical shape model of lumbar spine and aorta (Chaplin & Cootes, section 2.1).
//!
//! Shapes have 30 points. They are compared in a frame free of position, size and rotation: the vertebral points centred,
//! the mean height of L1-L4 as unit, anterior to the left. There a shape is `mean + P b + e`: b the weights of the principal
//! modes (normal, independent), e what the kept modes leave out (equal and independent per coordinate: probabilistic principal
//! components, Tipping and Bishop, 1999). Given some vertebral points with their standard errors, pose and b have a joint
//! normal distribution with a closed form, and so has the aorta.

use crate::error::{Error, ErrorKind, Result};
use crate::locate::believable_aspect;
use domain::reading::LocatedCorner;
use domain::{Corner, ImagePx, Landmark, Point, Vertebra};
use nalgebra::{Complex, DMatrix, DVector, SymmetricEigen};
use serde::{Deserialize, Serialize};

/// Points of a shape.
pub const POINTS: usize = 30;
/// The first points are vertebral: T12 inferior corners (anterior, posterior), then L1..L4 each in the order of
/// [`Corner::ALL`], then L5 superior corners. Then the anterior and the posterior wall at the mid-discs T12/L1 .. L4/L5.
pub const VERTEBRAL_POINTS: usize = 20;
/// Mid-disc lines, T12/L1 to L4/L5.
pub const DISC_LINES: usize = 5;
/// Version of the JSON.
pub const SHAPE_SCHEMA_VERSION: u32 = 1;

/// Fewest shapes that a model may be fitted to.
const MIN_SHAPES: usize = 10;
/// Fewest vertebral points that fix pose and shape.
const MIN_OBSERVED: usize = 6;
/// Below this no coordinate of a shape is reproducible, (vertebral heights) squared.
const RESIDUAL_FLOOR: f64 = 1e-8;
const COORDINATES: usize = 2 * POINTS;
const POSE: usize = 4;
/// Dimensions in which aligned shapes can differ.
const FREE: usize = COORDINATES - POSE;
/// Parts of the training shapes, each held out once.
const FOLDS: usize = 10;

type Frame = Complex<f64>;

/// Position of a named corner in a shape, `None` for corners that the model does not use.
pub fn shape_index(landmark: Landmark) -> Option<usize> {
    let corner = landmark.corner.index();
    match landmark.vertebra {
        Vertebra::T12 => corner.checked_sub(2),
        Vertebra::L1 | Vertebra::L2 | Vertebra::L3 | Vertebra::L4 => {
            Some(2 + 4 * (landmark.vertebra.index() - 1) + corner)
        }
        Vertebra::L5 => (corner < 2).then_some(18 + corner),
        Vertebra::S1 => None,
    }
}

/// The corner at a position 0..20 of a shape.
///
/// # Panics
/// If `index` is not in 0..20.
pub fn shape_landmark(index: usize) -> Landmark {
    assert!(index < VERTEBRAL_POINTS, "shape point {index} is not vertebral");
    // T12 starts with its third corner, so the channel of the heatmap is two ahead.
    Landmark::from_channel(index + 2)
}

/// One annotated shape: 30 points in the order of [`VERTEBRAL_POINTS`], anterior on either side.
#[derive(Debug, Clone, PartialEq)]
pub struct AnnotatedShape {
    pub points: [Point<ImagePx>; POINTS],
    /// Height of a pixel over its width.
    pub aspect: f64,
}

/// A principal mode of variation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mode {
    /// Variance of the mode's weight, (vertebral heights) squared; the residual variance is left out of it.
    variance: f64,
    /// Unit vector: x0, y0, x1, y1, .. of the 30 points.
    direction: Vec<f64>,
}

/// Mean and modes of variation of spine and aorta.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShapeModel {
    schema_version: u32,
    /// Shapes that the model was fitted to.
    n_shapes: usize,
    /// Share of the variance that the modes hold, 0..1.
    variance_share: f64,
    /// Mean shape, vertebral heights.
    mean: Vec<[f64; 2]>,
    modes: Vec<Mode>,
    /// What the modes leave out, per coordinate, (vertebral heights) squared.
    residual_variance: f64,
}

/// Spine and aorta as the model sees them, given located corners.
#[derive(Debug, Clone, PartialEq)]
pub struct AortaEstimate {
    /// Anterior wall at the five mid-disc lines, head to foot.
    pub anterior: [Point<ImagePx>; DISC_LINES],
    /// Posterior wall at the five mid-disc lines.
    pub posterior: [Point<ImagePx>; DISC_LINES],
    /// Standard error of the anterior wall along the disc line, pixel widths.
    pub anterior_sd_px: [f64; DISC_LINES],
    pub posterior_sd_px: [f64; DISC_LINES],
    /// Standard error of the middle between the walls along the disc line, pixel widths.
    pub middle_sd_px: [f64; DISC_LINES],
    /// The vertebral points: the located ones, drawn towards the model as their errors ask, and the missing ones imputed.
    pub vertebrae: [Point<ImagePx>; VERTEBRAL_POINTS],
    /// Their standard errors (root mean square of both axes), pixel widths.
    pub vertebrae_sd_px: [f64; VERTEBRAL_POINTS],
    /// Height of a pixel over its width, as used.
    pub aspect: f64,
    /// Whether anterior is to the right in the image.
    pub anterior_right: bool,
    /// Mean height of L1-L4, pixel widths.
    pub vertebral_height_px: f64,
    /// Squared Mahalanobis distance of the located corners from the model.
    pub mahalanobis_squared: f64,
    /// Its expectation for a shape of the model's population: 2 x corners - 4.
    pub degrees_of_freedom: usize,
    /// Distance of each located corner from what the model and the other corners let expect, in standard errors; in the
    /// order of the corners given, `None` for those that the model does not use.
    pub corner_deviation: Vec<Option<f64>>,
}

impl AortaEstimate {
    /// Share of the model's population whose corners would lie farther from the model (chi-squared tail after
    /// Wilson and Hilferty, 1931). Small: an unusual shape, or corners that are wrong.
    pub fn tail_probability(&self) -> f64 {
        let k = self.degrees_of_freedom.max(1) as f64;
        let z = ((self.mahalanobis_squared / k).cbrt() - (1.0 - 2.0 / (9.0 * k))) / (2.0 / (9.0 * k)).sqrt();
        normal_tail(z)
    }

    /// Position of a vertebral point by name; `None` for corners that the model does not hold.
    pub fn corner(&self, vertebra: Vertebra, corner: Corner) -> Option<Point<ImagePx>> {
        shape_index(Landmark { vertebra, corner }).map(|index| self.vertebrae[index])
    }
}

/// Upper tail of the standard normal distribution (Abramowitz and Stegun 26.2.17, error below 1e-7).
fn normal_tail(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let series = [0.319_381_53, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let polynomial = series.iter().rev().fold(0.0, |sum, c| (sum + c) * t);
    let tail = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * polynomial;
    if z >= 0.0 { tail } else { 1.0 - tail }
}

/// Pixel widths as unit of both axes; anterior to the left when `mirror` is right.
fn to_square(p: Point<ImagePx>, aspect: f64, mirror: bool) -> Frame {
    Complex::new(if mirror { -p.x } else { p.x }, p.y * aspect)
}

fn to_image(z: Frame, aspect: f64, mirror: bool) -> Point<ImagePx> {
    Point::new(if mirror { -z.re } else { z.re }, z.im / aspect)
}

/// A similarity of the plane: `square = scale_rotation * frame + shift`.
#[derive(Debug, Clone, Copy)]
struct Pose {
    scale_rotation: Frame,
    shift: Frame,
}

impl Pose {
    /// The least-squares similarity from `frame` onto `square`, and the sum of squared residuals.
    fn fit(frame: &[Frame], square: &[Frame], weights: &[f64]) -> (Pose, f64) {
        let total: f64 = weights.iter().sum();
        let centre = |z: &[Frame]| z.iter().zip(weights).map(|(z, w)| z * *w).sum::<Frame>() / total;
        let (from, to) = (centre(frame), centre(square));
        let mut across = Complex::new(0.0, 0.0);
        let mut spread = 0.0;
        for ((f, s), w) in frame.iter().zip(square).zip(weights) {
            across += (f - from).conj() * (s - to) * *w;
            spread += (f - from).norm_sqr() * w;
        }
        let scale_rotation = across / spread.max(f64::MIN_POSITIVE);
        let pose = Pose { scale_rotation, shift: to - scale_rotation * from };
        let residual =
            frame.iter().zip(square).zip(weights).map(|((f, s), w)| (s - pose.apply(*f)).norm_sqr() * w).sum();
        (pose, residual)
    }

    fn apply(&self, frame: Frame) -> Frame {
        self.scale_rotation * frame + self.shift
    }

    fn inverse(&self, square: Frame) -> Frame {
        (square - self.shift) / self.scale_rotation
    }
}

/// Mean distance of the upper from the lower corners of L1-L4.
fn mean_height(shape: &[Frame]) -> f64 {
    (0..4).flat_map(|level| [2 + 4 * level, 3 + 4 * level]).map(|i| (shape[i] - shape[i + 2]).norm()).sum::<f64>() / 8.0
}

/// Whether a shape that runs from head to foot has anterior on the right hand side of the picture.
fn is_mirrored(points: &[Point<ImagePx>; POINTS], aspect: f64) -> bool {
    let square = points.map(|p| to_square(p, aspect, false));
    let down = square[18] + square[19] - square[0] - square[1];
    let back: Frame = (0..VERTEBRAL_POINTS / 2).map(|pair| square[2 * pair + 1] - square[2 * pair]).sum();
    down.re * back.im - down.im * back.re > 0.0
}

/// The vertebral points centred on 0, in units of the mean vertebral height.
fn normalised(shape: &[Frame]) -> Vec<Frame> {
    let centre = shape[..VERTEBRAL_POINTS].iter().sum::<Frame>() / VERTEBRAL_POINTS as f64;
    let height = mean_height(shape);
    shape.iter().map(|z| (z - centre) / height).collect()
}

/// To nine decimals, so that the last bits of different machines do not show in the file.
fn rounded(value: f64) -> f64 {
    let value = (value * 1e9).round() / 1e9;
    if value == 0.0 { 0.0 } else { value }
}

impl ShapeModel {
    /// Fits mean and modes to annotated shapes.
    ///
    /// Shapes are aligned to their mean on the vertebral points alone, because only these are seen when the model is used
    /// (generalised Procrustes in tangent space: the deviations of the vertebral points are at right angles to shift,
    /// rotation and growth of the mean). The modes hold the share `variance` of the variance, 0.5..1; what is left stays as
    /// noise per coordinate.
    ///
    /// # Errors
    /// [`ErrorKind::TrainingShapes`]: fewer than 10 shapes, a point that is not finite, a vertebra without height, or a
    /// share out of range.
    pub fn fit(shapes: &[AnnotatedShape], variance: f64) -> Result<ShapeModel> {
        let refuse = |message: String| Err(Error::new(ErrorKind::TrainingShapes, message));
        if shapes.len() < MIN_SHAPES {
            return refuse(format!("{} shapes, at least {MIN_SHAPES} are needed", shapes.len()));
        }
        if !(0.5..=1.0).contains(&variance) {
            return refuse(format!("variance share {variance} is not in 0.5..=1"));
        }
        let mut aligned: Vec<Vec<Frame>> = Vec::with_capacity(shapes.len());
        for (index, shape) in shapes.iter().enumerate() {
            let mirror = is_mirrored(&shape.points, shape.aspect);
            let square = shape.points.map(|p| to_square(p, shape.aspect, mirror));
            if !square.iter().all(|z| z.re.is_finite() && z.im.is_finite()) || mean_height(&square) <= 0.0 {
                return refuse(format!("shape {index} has a point that is not finite, or vertebrae without height"));
            }
            aligned.push(normalised(&square));
        }
        let mean = align(&mut aligned);
        Ok(ShapeModel::from_aligned(&aligned, &mean, variance))
    }

    fn from_aligned(aligned: &[Vec<Frame>], mean: &[Frame], variance: f64) -> ShapeModel {
        let deviations = DMatrix::from_fn(COORDINATES, aligned.len(), |row, column| {
            let d = aligned[column][row / 2] - mean[row / 2];
            if row % 2 == 0 { d.re } else { d.im }
        });
        let directions = principal_directions(&deviations);
        let variances = held_out_variances(&deviations);
        // The alignment took four degrees of freedom: the last four directions hold nothing.
        let total: f64 = variances[..FREE].iter().sum();
        let mut kept = 0;
        let mut held = 0.0;
        while kept < FREE - 1 && held < variance * total {
            held += variances[kept];
            kept += 1;
        }
        let left = &variances[kept..FREE];
        let residual = (left.iter().sum::<f64>() / left.len() as f64).max(RESIDUAL_FLOOR);
        let modes = (0..kept).filter(|&index| variances[index] > 1.001 * residual).map(|index| {
            let direction = directions.column(index);
            // Eigenvectors have no sign of their own; the largest entry is made positive.
            let sign = direction[direction.iamax()].signum();
            Mode {
                variance: rounded(variances[index] - residual),
                direction: direction.iter().map(|entry| rounded(sign * entry)).collect(),
            }
        });
        ShapeModel {
            schema_version: SHAPE_SCHEMA_VERSION,
            n_shapes: aligned.len(),
            variance_share: rounded(if total > 0.0 { held / total } else { 1.0 }),
            mean: mean.iter().map(|z| [rounded(z.re), rounded(z.im)]).collect(),
            modes: modes.collect(),
            residual_variance: rounded(residual),
        }
    }

    /// Reads a model.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeModel`]: not JSON of this schema version, wrong sizes, or variances that are not positive.
    pub fn from_json(text: &str) -> Result<ShapeModel> {
        let refuse = |message: String| Error::new(ErrorKind::ShapeModel, message);
        let model: ShapeModel = serde_json::from_str(text).map_err(|e| refuse(format!("shape model: {e}")))?;
        if model.schema_version != SHAPE_SCHEMA_VERSION {
            return Err(refuse(format!(
                "schema version {} is not {SHAPE_SCHEMA_VERSION}; fit the model again with this version",
                model.schema_version
            )));
        }
        let sizes = model.mean.len() == POINTS
            && model.modes.len() <= COORDINATES
            && model.modes.iter().all(|m| m.direction.len() == COORDINATES);
        if !sizes {
            return Err(refuse("a shape model has 30 points and modes of 60 coordinates".to_owned()));
        }
        let mut variances = std::iter::once(model.residual_variance).chain(model.modes.iter().map(|m| m.variance));
        if !variances.all(|v| v.is_finite() && v > 0.0) {
            return Err(refuse("variances must be positive".to_owned()));
        }
        let height = mean_height(&model.mean_frame());
        if (height - 1.0).abs() > 1e-3 {
            return Err(refuse(format!("the mean vertebral height is {height}, expected 1")));
        }
        Ok(model)
    }

    /// One line of JSON, the same bytes for the same model.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a shape model is plain numbers")
    }

    pub fn n_shapes(&self) -> usize {
        self.n_shapes
    }

    pub fn n_modes(&self) -> usize {
        self.modes.len()
    }

    /// Share of the variance that the modes hold, 0..1.
    pub fn variance_share(&self) -> f64 {
        self.variance_share
    }

    /// Shape with the weights `b` in standard deviations of the modes (missing ones 0), vertebral heights, anterior left.
    pub fn shape(&self, b: &[f64]) -> [[f64; 2]; POINTS] {
        let mut shape: [[f64; 2]; POINTS] = std::array::from_fn(|i| self.mean[i]);
        for (mode, weight) in self.modes.iter().zip(b) {
            for (index, entry) in mode.direction.iter().enumerate() {
                shape[index / 2][index % 2] += weight * mode.variance.sqrt() * entry;
            }
        }
        shape
    }

    fn mean_frame(&self) -> Vec<Frame> {
        self.mean.iter().map(|[x, y]| Complex::new(*x, *y)).collect()
    }

    /// Estimates the aorta, and vertebral points that are missing, from located corners (seed, section 2.1).
    ///
    /// `corners` may be any subset; those that the model does not hold are passed over. Their `sd_px` are image pixels along
    /// the finer axis. `aspect` is the height of a pixel over its width. Anterior may be to either side.
    ///
    /// # Errors
    /// [`ErrorKind::Geometry`]: fewer than 6 usable corners, or all of them in (nearly) one place.
    pub fn estimate(&self, corners: &[LocatedCorner], aspect: f64) -> Result<AortaEstimate> {
        let aspect = believable_aspect(aspect);
        let mut observed = Vec::with_capacity(corners.len());
        for (given, corner) in corners.iter().enumerate() {
            if let Some(index) = shape_index(corner.landmark).filter(|_| corner.at.is_finite()) {
                // The finer axis has the larger count of pixels; in pixel widths it shrinks where rows are the finer ones.
                let sd = (corner.sd_px * aspect.min(1.0)).max(1e-3);
                observed.push(Observed { given, index, at: corner.at, variance: sd * sd });
            }
        }
        if observed.len() < MIN_OBSERVED {
            let message = format!("{} corners of T12-L5, at least {MIN_OBSERVED} are needed", observed.len());
            return Err(Error::new(ErrorKind::Geometry, message));
        }
        let mean = self.mean_frame();
        let frame: Vec<Frame> = observed.iter().map(|o| mean[o.index]).collect();
        let weights: Vec<f64> = observed.iter().map(|o| 1.0 / o.variance).collect();
        let fits = [false, true].map(|mirror| {
            let square: Vec<Frame> = observed.iter().map(|o| to_square(o.at, aspect, mirror)).collect();
            let (pose, residual) = Pose::fit(&frame, &square, &weights);
            (mirror, square, pose, residual)
        });
        let [plain, mirrored] = fits;
        let (mirror, square, pose, _) = if mirrored.3 < plain.3 { mirrored } else { plain };
        let size = pose.scale_rotation.norm();
        if size.is_nan() || size <= 1e-6 {
            return Err(Error::new(ErrorKind::Geometry, "the located corners lie in one place"));
        }
        let posterior = self.posterior(&observed, &square, pose)?;
        let mut estimate = posterior.estimate(aspect, mirror);
        estimate.corner_deviation = vec![None; corners.len()];
        for (o, deviation) in observed.iter().zip(&posterior.deviation) {
            estimate.corner_deviation[o.given] = Some(*deviation);
        }
        Ok(estimate)
    }

    /// The joint distribution of pose and mode weights: Gauss-Newton on the pose, in which the model is not linear.
    fn posterior(&self, observed: &[Observed], square: &[Frame], mut pose: Pose) -> Result<Posterior<'_>> {
        let modes = self.modes.len();
        let size = POSE + modes;
        let mut shape = self.mean_frame();
        let mut weights = DVector::zeros(modes);
        let mut solved = None;
        for _ in 0..20 {
            let scale = pose.scale_rotation.norm();
            let mut precision = DMatrix::<f64>::zeros(size, size);
            let mut right = DVector::<f64>::zeros(size);
            for (mode, stored) in self.modes.iter().enumerate() {
                precision[(POSE + mode, POSE + mode)] = 1.0 / stored.variance;
            }
            for (o, z) in observed.iter().zip(square) {
                let deviation = pose.inverse(*z) - self.mean_at(o.index);
                for axis in 0..2 {
                    let row = self.design_row(shape[o.index], 2 * o.index + axis);
                    let noise = o.variance / (scale * scale) + self.residual_variance;
                    let value = if axis == 0 { deviation.re } else { deviation.im };
                    precision.syger(1.0 / noise, &row, &row, 1.0);
                    right.axpy(value / noise, &row, 1.0);
                }
            }
            // syger fills the lower triangle only, which is all that the factorisation reads.
            let factor = precision.cholesky().ok_or_else(|| {
                Error::new(
                    ErrorKind::Geometry,
                    "the located corners do not fix position, size and direction of the spine",
                )
            })?;
            let solution = factor.solve(&right);
            let step = Complex::new(solution[2], solution[3]);
            let shift = Complex::new(solution[0], solution[1]);
            pose.shift += pose.scale_rotation * shift;
            pose.scale_rotation *= Complex::new(1.0, 0.0) + step;
            weights.copy_from(&solution.rows(POSE, modes));
            shape = self.shape_frame(&weights);
            let still = step.norm() + shift.norm() < 1e-10;
            solved = Some(factor);
            if still {
                break;
            }
        }
        let covariance = solved.map(|factor| factor.inverse()).expect("the loop runs at least once");
        let mut posterior = Posterior {
            model: self,
            pose,
            shape,
            covariance,
            vertebrae: Vec::new(),
            mahalanobis_squared: 0.0,
            deviation: Vec::new(),
        };
        posterior.mahalanobis_squared = self.modes.iter().zip(weights.iter()).map(|(m, b)| b * b / m.variance).sum();
        posterior.add_vertebrae(observed, square);
        Ok(posterior)
    }

    fn mean_at(&self, index: usize) -> Frame {
        Complex::new(self.mean[index][0], self.mean[index][1])
    }

    fn shape_frame(&self, weights: &DVector<f64>) -> Vec<Frame> {
        let mut shape = self.mean_frame();
        for (mode, weight) in self.modes.iter().zip(weights.iter()) {
            for (point, entry) in shape.iter_mut().zip(mode.direction.chunks_exact(2)) {
                *point += Complex::new(entry[0], entry[1]) * *weight;
            }
        }
        shape
    }

    /// How one coordinate changes with shift x, shift y, growth, rotation, and the mode weights.
    fn design_row(&self, at: Frame, coordinate: usize) -> DVector<f64> {
        let pose = if coordinate.is_multiple_of(2) { [1.0, 0.0, at.re, -at.im] } else { [0.0, 1.0, at.im, at.re] };
        let modes = self.modes.iter().map(|mode| mode.direction[coordinate]);
        DVector::from_iterator(POSE + self.modes.len(), pose.into_iter().chain(modes))
    }
}

/// Eigenvectors of the covariance of the columns, largest variance first.
fn principal_directions(deviations: &DMatrix<f64>) -> DMatrix<f64> {
    let eigen = SymmetricEigen::new(deviations * deviations.transpose());
    let mut order: Vec<usize> = (0..COORDINATES).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    DMatrix::from_fn(COORDINATES, COORDINATES, |row, column| eigen.eigenvectors[(row, order[column])])
}

/// Variance of new shapes along the principal directions, largest first.
///
/// Eigenvalues of a sample are too large at the head and too small at the tail, where standard errors would come out too
/// small. Held-out shapes tell the truth: the directions come from nine tenths, the variances from the other tenth
/// (Bartz, 2016: cross-validated eigenvalues).
fn held_out_variances(deviations: &DMatrix<f64>) -> Vec<f64> {
    let n = deviations.ncols();
    let mut variances = vec![0.0; COORDINATES];
    for fold in 0..FOLDS {
        let part = |held: bool| {
            let columns: Vec<usize> = (0..n).filter(|i| (i % FOLDS == fold) == held).collect();
            deviations.select_columns(&columns)
        };
        let projected = principal_directions(&part(false)).transpose() * part(true);
        for (variance, row) in variances.iter_mut().zip(projected.row_iter()) {
            *variance += row.norm_squared() / (n - 1) as f64;
        }
    }
    variances.sort_by(|a, b| b.total_cmp(a));
    variances
}

/// Aligns the shapes to their common mean and returns it: vertebral points centred, mean height 1.
fn align(shapes: &mut [Vec<Frame>]) -> Vec<Frame> {
    let mut mean = shapes[0].clone();
    for _ in 0..50 {
        for shape in shapes.iter_mut() {
            let centre = shape[..VERTEBRAL_POINTS].iter().sum::<Frame>() / VERTEBRAL_POINTS as f64;
            let mut overlap = Complex::new(0.0, 0.0);
            let mut size = 0.0;
            for (z, m) in shape.iter().zip(&mean).take(VERTEBRAL_POINTS) {
                overlap += (z - centre).conj() * m;
                size += m.norm_sqr();
            }
            // Turned so that the overlap with the mean is real, scaled so that it equals the mean's own.
            let scale_rotation = overlap / overlap.norm() * (size / overlap.norm());
            for z in shape.iter_mut() {
                *z = (*z - centre) * scale_rotation;
            }
        }
        let sum = |index: usize| shapes.iter().map(|s| s[index]).sum::<Frame>() / shapes.len() as f64;
        let next = normalised(&(0..POINTS).map(sum).collect::<Vec<_>>());
        let change: f64 = next.iter().zip(&mean).map(|(a, b)| (a - b).norm_sqr()).sum();
        mean = next;
        if change < 1e-24 {
            break;
        }
    }
    // The first shape set the direction; the spine is made to run straight down, so that the model does not depend on it.
    let down = mean[18] + mean[19] - mean[0] - mean[1];
    let upright = Complex::new(0.0, 1.0) * down.conj() / down.norm();
    for z in mean.iter_mut().chain(shapes.iter_mut().flatten()) {
        *z *= upright;
    }
    mean
}

struct Observed {
    /// Position in the list that the caller gave.
    given: usize,
    /// Position in the shape.
    index: usize,
    at: Point<ImagePx>,
    /// Pixel widths squared, per axis.
    variance: f64,
}

struct Posterior<'a> {
    model: &'a ShapeModel,
    pose: Pose,
    /// Mean + P b.
    shape: Vec<Frame>,
    /// Of pose and mode weights.
    covariance: DMatrix<f64>,
    /// Vertebral points and their variance per axis, in the frame.
    vertebrae: Vec<(Frame, f64)>,
    mahalanobis_squared: f64,
    /// Per observed corner.
    deviation: Vec<f64>,
}

impl Posterior<'_> {
    fn variance_of(&self, row: &DVector<f64>) -> f64 {
        row.dot(&(&self.covariance * row))
    }

    /// Vertebral points: model and observation weighed by their variances, coordinate by coordinate.
    fn add_vertebrae(&mut self, observed: &[Observed], square: &[Frame]) {
        let scale_squared = self.pose.scale_rotation.norm_sqr();
        let own = self.model.residual_variance;
        let mut vertebrae: Vec<(Frame, f64)> = (0..VERTEBRAL_POINTS)
            .map(|index| {
                let variance = |c| self.variance_of(&self.model.design_row(self.shape[index], c)) + own;
                (self.shape[index], (variance(2 * index) + variance(2 * index + 1)) / 2.0)
            })
            .collect();
        for (o, z) in observed.iter().zip(square) {
            let residual = self.pose.inverse(*z) - self.shape[o.index];
            let noise = o.variance / scale_squared;
            let mut at = self.shape[o.index];
            let (mut variance, mut deviation) = (0.0, 0.0);
            for axis in 0..2 {
                let coordinate = 2 * o.index + axis;
                let value = if axis == 0 { residual.re } else { residual.im };
                let model = self.variance_of(&self.model.design_row(self.shape[o.index], coordinate));
                let gain = own / (own + noise);
                if axis == 0 {
                    at.re += gain * value
                } else {
                    at.im += gain * value
                }
                variance += ((1.0 - gain).powi(2) * model + gain * noise) / 2.0;
                self.mahalanobis_squared += value * value / (own + noise);
                // Left out, a corner would miss its prediction by value / (1 - leverage) with variance (own + noise) / (1 - leverage).
                let leverage = (model / (own + noise)).min(0.999);
                deviation += value * value / ((own + noise) * (1.0 - leverage));
            }
            vertebrae[o.index] = (at, variance);
            self.deviation.push((deviation / 2.0).sqrt());
        }
        self.vertebrae = vertebrae;
    }

    fn estimate(&self, aspect: f64, mirror: bool) -> AortaEstimate {
        let scale = self.pose.scale_rotation.norm();
        let image = |z: Frame| to_image(self.pose.apply(z), aspect, mirror);
        let wall = |first: usize| std::array::from_fn(|line| image(self.shape[first + line]));
        let (anterior, posterior) = (VERTEBRAL_POINTS, VERTEBRAL_POINTS + DISC_LINES);
        let sd = |share_anterior: f64, share_posterior: f64| {
            std::array::from_fn(|line| {
                scale * self.sd_across(anterior + line, posterior + line, [share_anterior, share_posterior])
            })
        };
        AortaEstimate {
            anterior: wall(anterior),
            posterior: wall(posterior),
            anterior_sd_px: sd(1.0, 0.0),
            posterior_sd_px: sd(0.0, 1.0),
            middle_sd_px: sd(0.5, 0.5),
            vertebrae: std::array::from_fn(|i| image(self.vertebrae[i].0)),
            vertebrae_sd_px: std::array::from_fn(|i| scale * self.vertebrae[i].1.sqrt()),
            aspect,
            anterior_right: mirror,
            vertebral_height_px: scale * mean_height(&self.shape),
            mahalanobis_squared: self.mahalanobis_squared,
            degrees_of_freedom: 2 * self.deviation.len() - POSE,
            corner_deviation: Vec::new(),
        }
    }

    /// Standard error of a weighted sum of two opposite wall points, along the line that joins them, vertebral heights.
    fn sd_across(&self, anterior: usize, posterior: usize, shares: [f64; 2]) -> f64 {
        let across = self.shape[posterior] - self.shape[anterior];
        let across = across / across.norm().max(1e-9);
        let mut row = DVector::zeros(POSE + self.model.modes.len());
        let mut own = 0.0;
        for (index, share) in [anterior, posterior].into_iter().zip(shares) {
            for (axis, part) in [across.re, across.im].into_iter().enumerate() {
                let coordinate = 2 * index + axis;
                row.axpy(share * part, &self.model.design_row(self.shape[index], coordinate), 1.0);
                own += (share * part).powi(2) * self.model.residual_variance;
            }
        }
        (self.variance_of(&row) + own).sqrt()
    }
}

#[cfg(test)]
#[path = "shape_tests.rs"]
pub(crate) mod tests;

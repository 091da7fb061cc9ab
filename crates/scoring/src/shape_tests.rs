use super::*;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub(crate) fn normal(rng: &mut impl Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
}

/// A spine of straight vertebrae 1 high and 1.3 deep with discs of 0.35, the aorta 0.7 wide and 0.3 in front of it.
pub(crate) fn textbook() -> [[f64; 2]; POINTS] {
    let mut shape = [[0.0; 2]; POINTS];
    for (index, point) in shape.iter_mut().enumerate().take(VERTEBRAL_POINTS) {
        let landmark = shape_landmark(index);
        let top = 1.35 * (landmark.vertebra.index() as f64 - 1.0);
        *point = [(landmark.corner.index() % 2) as f64 * 1.3, top + (landmark.corner.index() / 2) as f64];
    }
    for line in 0..DISC_LINES {
        let y = 1.35 * line as f64 - 0.175;
        shape[20 + line] = [-1.0, y];
        shape[25 + line] = [-0.3, y];
    }
    shape
}

/// Bending, aortic course and calibre, and disc height: a linear-Gaussian population.
pub(crate) fn draw(rng: &mut impl Rng) -> [[f64; 2]; POINTS] {
    let mut shape = textbook();
    let (bend, shift, slant, calibre) =
        (0.05 * normal(rng), 0.15 * normal(rng), 0.05 * normal(rng), 0.08 * normal(rng));
    for (index, [x, y]) in shape.iter_mut().enumerate() {
        let along = (*y - 2.5) / 2.5;
        *x += bend * (along * along - 0.4) * 4.0;
        if index >= VERTEBRAL_POINTS {
            // The course of the aorta follows the bend, so that the vertebrae tell something about it.
            *x += 2.0 * bend + shift + slant * along + if index < 25 { -calibre } else { calibre };
        }
        *x += 0.02 * normal(rng);
        *y += 0.02 * normal(rng);
    }
    shape
}

pub(crate) fn place(shape: &[[f64; 2]; POINTS], scale: f64, angle: f64, mirror: bool, aspect: f64) -> AnnotatedShape {
    let points = shape.map(|[x, y]| {
        let z = Complex::new(x, y) * Complex::from_polar(scale, angle) + Complex::new(300.0, 250.0);
        Point::new(if mirror { 900.0 - z.re } else { z.re }, z.im / aspect)
    });
    AnnotatedShape { points, aspect }
}

pub(crate) fn corners(points: &[Point<ImagePx>], sd_px: f64) -> Vec<LocatedCorner> {
    let corner = |(index, at): (usize, &Point<ImagePx>)| LocatedCorner {
        landmark: shape_landmark(index),
        at: *at,
        sd_px,
        confidence: 0.9,
    };
    points[..VERTEBRAL_POINTS].iter().enumerate().map(corner).collect()
}

pub(crate) fn model(n: usize, rng: &mut impl Rng) -> ShapeModel {
    let shapes: Vec<AnnotatedShape> = (0..n)
        .map(|i| {
            let (scale, angle) = (60.0 + 80.0 * rng.random::<f64>(), 0.3 * normal(rng));
            place(&draw(rng), scale, angle, i % 2 == 0, 0.7 + 0.7 * rng.random::<f64>())
        })
        .collect();
    ShapeModel::fit(&shapes, 0.98).unwrap()
}

#[test]
fn the_layout_names_every_vertebral_point_once() {
    for index in 0..VERTEBRAL_POINTS {
        assert_eq!(shape_index(shape_landmark(index)), Some(index));
    }
    assert_eq!(Landmark::all().filter(|l| shape_index(*l).is_some()).count(), VERTEBRAL_POINTS);
    assert_eq!(shape_index(Landmark { vertebra: Vertebra::T12, corner: Corner::PosteriorInferior }), Some(1));
    assert_eq!(shape_index(Landmark { vertebra: Vertebra::L5, corner: Corner::AnteriorSuperior }), Some(18));
}

#[test]
fn standard_errors_are_calibrated_on_a_linear_gaussian_truth() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let model = model(1000, &mut rng);
    for (sd, missing) in [(0.5, false), (4.0, false), (4.0, true)] {
        let (mut within, mut total, mut unusual) = (0usize, 0usize, 0usize);
        let mut bias = 0.0;
        for trial in 0..600 {
            let truth = place(&draw(&mut rng), 80.0, 0.2 * normal(&mut rng), trial % 2 == 0, 1.3);
            let mut seen = corners(&truth.points, sd);
            for corner in &mut seen {
                corner.at.x += sd * normal(&mut rng);
                corner.at.y += sd / 1.3 * normal(&mut rng);
            }
            if missing {
                seen.drain(18..);
                seen.drain(..2);
            }
            let estimate = model.estimate(&seen, 1.3).unwrap();
            unusual += usize::from(estimate.tail_probability() < 0.01);
            for line in 0..DISC_LINES {
                let walls = [
                    (estimate.anterior[line], truth.points[20 + line], estimate.anterior_sd_px[line]),
                    (estimate.posterior[line], truth.points[25 + line], estimate.posterior_sd_px[line]),
                ];
                let (a, p) = (estimate.anterior[line], estimate.posterior[line]);
                let (ux, uy) = (p.x - a.x, (p.y - a.y) * 1.3);
                for (found, truth, sd) in walls {
                    let along = ((found.x - truth.x) * ux + (found.y - truth.y) * 1.3 * uy) / ux.hypot(uy);
                    within += usize::from(along.abs() <= sd);
                    bias += along / sd;
                    total += 1;
                }
            }
        }
        let share = within as f64 / total as f64;
        println!("sd {sd} px, T12 and L5 missing {missing}: {share:.3} within 1 SE, {unusual} of 600 unusual at 1 %");
        assert!((share - 0.683).abs() < 0.06, "{share} within one standard error at {sd} px");
        assert!((bias / total as f64).abs() < 0.15, "mean error of {} standard errors", bias / total as f64);
        assert!(unusual <= 12, "{unusual} of 600 beyond the 1 % tail");
    }
}

#[test]
fn what_the_spine_tells_about_the_aorta_is_used() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let model = model(400, &mut rng);
    let (mut conditional, mut marginal) = (0.0, 0.0);
    for _ in 0..200 {
        let truth = place(&draw(&mut rng), 100.0, 0.0, false, 1.0);
        let estimate = model.estimate(&corners(&truth.points, 0.5), 1.0).unwrap();
        let mean = place(&model.shape(&[]), 100.0, 0.0, false, 1.0);
        let (shift, _) = Pose::fit(
            &mean.points[..20].iter().map(|p| to_square(*p, 1.0, false)).collect::<Vec<_>>(),
            &truth.points[..20].iter().map(|p| to_square(*p, 1.0, false)).collect::<Vec<_>>(),
            &[1.0; 20],
        );
        for line in 0..DISC_LINES {
            let expected = to_image(shift.apply(to_square(mean.points[20 + line], 1.0, false)), 1.0, false);
            conditional += estimate.anterior[line].distance(truth.points[20 + line]).powi(2);
            marginal += expected.distance(truth.points[20 + line]).powi(2);
        }
    }
    assert!(conditional < 0.8 * marginal, "mean squared error {conditional} against {marginal} of the mean shape");
}

#[test]
fn mirrored_scaled_and_turned_input_gives_the_same_aorta() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let model = model(100, &mut rng);
    let shape = draw(&mut rng);
    let plain = model.estimate(&corners(&place(&shape, 80.0, 0.0, false, 1.0).points, 2.0), 1.0).unwrap();
    let mirrored = model.estimate(&corners(&place(&shape, 80.0, 0.0, true, 1.0).points, 2.0), 1.0).unwrap();
    assert!(!plain.anterior_right && mirrored.anterior_right);
    for line in 0..DISC_LINES {
        let flipped = Point::new(900.0 - mirrored.anterior[line].x, mirrored.anterior[line].y);
        assert!(plain.anterior[line].distance(flipped) < 1e-6);
        assert!((plain.anterior_sd_px[line] - mirrored.anterior_sd_px[line]).abs() < 1e-9);
    }
    // Twice as large, squeezed rows: standard errors grow with the scale when those of the corners do.
    let large = model.estimate(&corners(&place(&shape, 160.0, 0.4, false, 0.5).points, 8.0), 0.5).unwrap();
    for line in 0..DISC_LINES {
        assert!((large.posterior_sd_px[line] / plain.posterior_sd_px[line] - 2.0).abs() < 1e-6);
    }
    assert!((large.vertebral_height_px / plain.vertebral_height_px - 2.0).abs() < 1e-6);
}

#[test]
fn missing_corners_are_imputed_with_larger_errors_and_wrong_ones_stand_out() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let model = model(200, &mut rng);
    let truth = place(&draw(&mut rng), 80.0, 0.1, false, 1.0);
    let mut seen = corners(&truth.points, 1.5);
    let full = model.estimate(&seen, 1.0).unwrap();
    let partial = model.estimate(&seen[..16], 1.0).unwrap();
    for index in 16..VERTEBRAL_POINTS {
        assert!(partial.vertebrae[index].distance(truth.points[index]) < 12.0, "imputed within .15 of a height");
        assert!(partial.vertebrae_sd_px[index] > full.vertebrae_sd_px[index]);
    }
    assert!(partial.anterior_sd_px[4] > full.anterior_sd_px[4]);
    assert!(full.tail_probability() > 0.001, "{}", full.tail_probability());
    seen[9].at.x += 40.0;
    let wrong = model.estimate(&seen, 1.0).unwrap();
    assert!(wrong.tail_probability() < 1e-4);
    let worst =
        (0..seen.len()).max_by(|&a, &b| wrong.corner_deviation[a].partial_cmp(&wrong.corner_deviation[b]).unwrap());
    assert_eq!(worst, Some(9));
}

#[test]
fn json_reads_back_to_the_same_model_and_bytes() {
    let model = model(60, &mut ChaCha8Rng::seed_from_u64(1));
    let text = model.to_json();
    let back = ShapeModel::from_json(&text).unwrap();
    assert_eq!(back, model);
    assert_eq!(back.to_json(), text);
    assert!(model.n_modes() >= 3 && model.variance_share() >= 0.98);
    let future = text.replace("\"schema_version\":1", "\"schema_version\":9");
    assert_eq!(ShapeModel::from_json(&future).unwrap_err().kind, ErrorKind::ShapeModel);
    assert_eq!(ShapeModel::from_json("{}").unwrap_err().kind, ErrorKind::ShapeModel);
}

#[test]
fn too_little_to_go_on_is_an_error() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let model = model(20, &mut rng);
    let truth = place(&textbook(), 80.0, 0.0, false, 1.0);
    let seen = corners(&truth.points, 1.0);
    assert_eq!(model.estimate(&seen[..5], 1.0).unwrap_err().kind, ErrorKind::Geometry);
    let one_place = corners(&[truth.points[0]; POINTS], 1.0);
    assert_eq!(model.estimate(&one_place, 1.0).unwrap_err().kind, ErrorKind::Geometry);
    let few = vec![truth.clone(); 3];
    assert_eq!(ShapeModel::fit(&few, 0.98).unwrap_err().kind, ErrorKind::TrainingShapes);
}

use super::*;
use crate::levels::tests::Drawing;
use crate::region::REGION_WIDTH;
use crate::rules::METHOD_REVISION;
use crate::shape::AnnotatedShape;
use crate::shape::tests::{corners, model, place, textbook};
use domain::{Grade, PixelSpacing, Raster};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn shape_model() -> ShapeModel {
    model(150, &mut ChaCha8Rng::seed_from_u64(33))
}

fn identity() -> ReadingIdentity {
    ReadingIdentity {
        image_id: ImageId::from_digest(Digest::of(b"image")),
        fingerprint: Fingerprint::from_digest(Digest::of(b"method")),
        pipeline: "test 1.0.0".to_owned(),
        models: vec![("locate".to_owned(), Digest::of(b"locate"))],
    }
}

/// A picture with bright streaks on the walls: three quarters of L3 anterior, a quarter of L4 posterior, and the located spine.
struct Scene {
    raster: Raster,
    shape: AnnotatedShape,
}

/// How a scene is laid out in the picture.
#[derive(Clone, Copy)]
struct Layout {
    scale: f64,
    mirror: bool,
    shift: (f64, f64),
}

const PLAIN: Layout = Layout { scale: 80.0, mirror: false, shift: (0.0, 0.0) };

impl Scene {
    fn new(model: &ShapeModel, layout: Layout) -> Scene {
        let unit = layout.scale / 80.0;
        let (width, height) = ((700.0 * unit) as u32, (1000.0 * unit) as u32);
        let mut shape = place(&textbook(), layout.scale, 0.04, false, 1.0);
        for p in &mut shape.points {
            // `place` puts the origin at (300, 250) whatever the scale.
            *p = Point::new(
                (p.x - 300.0) + 300.0 * unit + layout.shift.0 * unit,
                (p.y - 250.0) + 250.0 * unit + layout.shift.1 * unit,
            );
        }
        let estimate = model.estimate(&corners(&shape.points, unit), 1.0).unwrap();
        let region = Region::new(&estimate, 3.0).unwrap();
        let walls = Wall::ALL.map(|wall| region.wall_column(wall));
        let mut pixels = vec![0u16; width as usize * height as usize];
        for y in 0..height {
            for x in 0..width {
                let at = Point::new(f64::from(x), f64::from(y));
                let mut grey = 9_000.0 + 3_000.0 * (at.x / unit / 90.0).sin() + 2_000.0 * (at.y / unit / 70.0).cos();
                if let Some(p) = region.to_region(at) {
                    let streak = |wall: usize, from: f64, to: f64| {
                        (p.x - walls[wall]).abs() < 6.0 && p.y >= from - 0.5 && p.y < to - 0.5
                    };
                    if streak(0, 132.0, 180.0) || streak(1, 200.0, 216.0) {
                        // Not flat: exactly equal pixels of the highest level are metal.
                        grey = 50_000.0 + f64::from((x * 31 + y * 17) % 400);
                    }
                }
                let column = if layout.mirror { width - 1 - x } else { x };
                pixels[(y * width + column) as usize] = grey as u16;
            }
        }
        if layout.mirror {
            for p in &mut shape.points {
                p.x = f64::from(width - 1) - p.x;
            }
        }
        Scene { raster: Raster::new(width, height, pixels), shape }
    }

    fn picture(&self) -> Picture {
        Picture {
            width_px: self.raster.width(),
            height_px: self.raster.height(),
            spacing: PixelSpacing::square_mm(0.3),
            burned_in_annotation: false,
        }
    }

    fn located(&self, model: &ShapeModel, sd_px: f64) -> Located {
        let corners = corners(&self.shape.points, sd_px);
        let estimate = model.estimate(&corners, 1.0).unwrap();
        let region = Region::new(&estimate, 3.0).unwrap();
        let spine = Spine { corners, estimate, uncertain: [false; 4], confidence: 0.9, level_confidence: 0.97 };
        Located { spine, region }
    }
}

/// Stands for the network: bright pixels are calcium of the nearer wall.
fn bright_is_calcium(region: &Region, image: &RegionImage) -> Vec<f32> {
    let mut probabilities = vec![0.01; 2 * image.pixels.len()];
    for (i, &p) in image.pixels.iter().enumerate() {
        if p > 200 {
            let posterior = (i % REGION_WIDTH) as f64 > region.midline_column();
            probabilities[usize::from(posterior) * image.pixels.len() + i] = 0.97;
        }
    }
    probabilities
}

fn read(scene: &Scene, located: &Located, rules: &ScoringRules) -> Reading {
    let image = located.region.warp(&scene.raster);
    let probabilities = bright_is_calcium(&located.region, &image);
    let picture = scene.picture();
    let evidence = Evidence { located, image: &image, probabilities: &probabilities, picture: &picture };
    score(&evidence, identity(), rules).unwrap()
}

fn grades(reading: &Reading) -> Vec<Option<u8>> {
    reading.segments.iter().map(|s| s.grade.grade().map(Grade::value)).collect()
}

#[test]
fn flips_scales_and_shifts_of_image_and_landmarks_keep_the_grades() {
    let model = shape_model();
    let layouts = [
        PLAIN,
        Layout { mirror: true, ..PLAIN },
        Layout { scale: 160.0, ..PLAIN },
        Layout { scale: 60.0, ..PLAIN },
        Layout { shift: (60.0, -40.0), ..PLAIN },
    ];
    for layout in layouts {
        let scene = Scene::new(&model, layout);
        let reading = read(&scene, &scene.located(&model, layout.scale / 80.0), &ScoringRules::default());
        assert_eq!(grades(&reading), [0, 0, 0, 0, 3, 0, 0, 1].map(Some));
        assert_eq!(reading.summary.aac24.total, Some(4));
        assert_eq!(reading.anterior_right, layout.mirror);
        assert_eq!(reading.plaques.len(), 2);
        assert!(reading.flags.is_empty(), "{:?}", reading.flags);
        let l3 = &reading.segments[4];
        assert!(l3.calcified_rows.abs_diff(48) <= 1, "{}", l3.calcified_rows);
        let level_mm = 1.35 * layout.scale * 0.3;
        assert!((l3.length_mm.unwrap() / (0.75 * level_mm) - 1.0).abs() < 0.04, "{:?}", l3.length_mm);
    }
}

#[test]
fn a_mirrored_image_reads_pixel_for_pixel_alike() {
    let model = shape_model();
    let plain = Scene::new(&model, PLAIN);
    let mirrored = Scene::new(&model, Layout { mirror: true, ..PLAIN });
    let (a, b) = (plain.located(&model, 1.0), mirrored.located(&model, 1.0));
    let (a, b) = (a.region.warp(&plain.raster), b.region.warp(&mirrored.raster));
    let worst = a.pixels.iter().zip(&b.pixels).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst <= Some(2), "{worst:?}");
}

#[test]
fn plaques_are_outlined_where_they_are_in_the_image() {
    let model = shape_model();
    let scene = Scene::new(&model, PLAIN);
    let located = scene.located(&model, 1.0);
    let reading = read(&scene, &located, &ScoringRules::default());
    let plaque = reading.plaques.iter().find(|p| p.wall == Wall::Anterior).unwrap();
    let n = plaque.contour.len() as f64;
    let centre = Point::new(
        plaque.contour.iter().map(|p| p.x).sum::<f64>() / n,
        plaque.contour.iter().map(|p| p.y).sum::<f64>() / n,
    );
    let expected = located.region.to_image(Point::new(located.region.wall_column(Wall::Anterior), 155.5));
    assert!(centre.distance(expected) < 6.0, "{centre:?} {expected:?}");
    assert!((plaque.length_mm.unwrap() - reading.segments[4].length_mm.unwrap()).abs() < 1e-6);
    assert_eq!(reading.midline.len(), 5);
    assert!(reading.walls.iter().all(|w| w.points.len() == 5 && w.sd_px.iter().all(|sd| *sd > 0.0)));
}

#[test]
fn regions_without_an_aorta_in_the_picture_are_excluded() {
    let model = shape_model();
    let shape = place(&textbook(), 80.0, 0.0, false, 1.0);
    let drawing = Drawing::spine(&shape, 0.9);
    let rules = ScoringRules::default();
    let whole = Picture { width_px: 600, height_px: 1000, spacing: PixelSpacing::square_mm(0.3), ..Picture::default() };
    assert!(matches!(find_region(&drawing.output(), &whole, &model, &rules).unwrap(), Localisation::Found(_)));
    let cut = Picture { height_px: 300, ..whole };
    assert_eq!(
        find_region(&drawing.output(), &cut, &model, &rules).unwrap(),
        Localisation::Excluded(ExcludeReason::LevelsIncomplete)
    );
}

#[test]
fn of_several_looks_the_names_most_clearly_seen_count_and_of_those_the_clearest_look() {
    let model = shape_model();
    let rules = ScoringRules::default();
    let picture = Picture { width_px: 600, height_px: 1000, ..Picture::default() };
    // One picture, looked at as if its pixels had this aspect; the names may be shifted by vertebrae.
    let named = |aspect: f64, height: f64, shift: usize| {
        let mut shape = place(&textbook(), 80.0, 0.0, false, 1.1);
        shape.aspect = aspect;
        if shift > 0 {
            let step = shape.points[6].y - shape.points[2].y;
            shape.points.iter_mut().for_each(|point| point.y += step * shift as f64);
        }
        Drawing::spine(&shape, height)
    };
    let seen = |aspect: f64, height: f64| named(aspect, height, 0);
    let chosen = |drawings: &[Drawing]| {
        let outputs: Vec<LocateOutput> = drawings.iter().map(Drawing::output).collect();
        match find_region_among(&outputs, &picture, &model, &rules).unwrap() {
            Localisation::Found(located) => Ok((located.spine.estimate.aspect, located.spine.level_confidence)),
            Localisation::Excluded(reason) => Err(reason),
        }
    };
    let aspect_of = |drawings: &[Drawing]| chosen(drawings).map(|(aspect, _)| aspect);
    assert_eq!(aspect_of(&[seen(1.0, 0.8), seen(1.3, 0.9), seen(1.2, 0.85)]), Ok(1.3));
    assert_eq!(aspect_of(&[seen(1.0, 0.89), seen(1.3, 0.9)]), Ok(1.0), "square unless another is clearly better");
    let nothing = || Drawing::new(1.0);
    assert_eq!(aspect_of(&[nothing(), seen(1.2, 0.7)]), Ok(1.2));
    assert_eq!(aspect_of(&[nothing(), nothing()]), Err(ExcludeReason::SpineNotFound));
    assert_eq!(find_region_among(&[], &picture, &model, &rules).unwrap_err().kind, ErrorKind::NetworkOutput);

    // One sure look against two that agree: the names of the two count, and they are doubted by what the one saw.
    let (_, sure) = chosen(&[seen(1.0, 0.8), seen(1.2, 0.8)]).unwrap();
    let (aspect, doubted) = chosen(&[seen(1.0, 0.7), named(1.1, 0.95, 1), seen(1.2, 0.75)]).unwrap();
    assert_eq!(aspect, 1.2);
    let share = (0.7 + 0.75) / (0.7 + 0.75 + 0.95);
    assert!((doubted / sure - share).abs() < 0.03, "{doubted} of {sure}, expected {share}");

    // A faint look between two sure ones has both on its side. It decides the names, and the clearest of all three is taken.
    let lowered = |aspect: f64, height: f64, px: f64| {
        let mut shape = place(&textbook(), 80.0, 0.0, false, 1.1);
        shape.aspect = aspect;
        shape.points.iter_mut().for_each(|point| point.y += px);
        Drawing::spine(&shape, height)
    };
    let apart = [lowered(1.0, 0.9, 0.0), lowered(1.2, 0.6, 22.0), lowered(1.1, 0.95, 44.0)];
    assert_eq!(aspect_of(&apart[..2]), Ok(1.0));
    assert_eq!(aspect_of(&apart), Ok(1.1), "not the faint one in the middle");
}

/// The whole way from heatmaps to JSON on a synthetic image.
fn golden() -> String {
    let model = shape_model();
    let mut scene = Scene::new(&model, PLAIN);
    scene.raster.pixels_mut()[..700 * 60].fill(0);
    let mut drawing = Drawing::spine(&scene.shape, 0.85);
    for (i, value) in drawing.heatmaps.iter_mut().enumerate() {
        *value = (*value + ((i * 48_271) % 1009) as f32 * 2e-5).min(1.0);
    }
    let rules = ScoringRules { min_plaque_mm: 1.0, ..ScoringRules::default() };
    let picture = scene.picture();
    let Localisation::Found(located) = find_region(&drawing.output(), &picture, &model, &rules).unwrap() else {
        panic!("a clear spine was excluded");
    };
    serde_json::to_string(&read(&scene, &located, &rules)).unwrap()
}

#[test]
fn output_changes_only_with_the_method_revision() {
    let text = golden();
    assert_eq!(text, golden(), "the same image gives the same bytes");
    let reading: Reading = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&reading).unwrap(), text);
    assert_eq!(grades(&reading), [0, 0, 0, 0, 3, 0, 0, 1].map(Some));
    // When this fails because the method was meant to change: raise METHOD_REVISION and put both new values here.
    let golden = (5, "5a0275c90916f0461133d7b2256bfe14f235b859926fe7811f16e896b7b88be6");
    assert_eq!((METHOD_REVISION, Digest::of(text.as_bytes()).to_hex().as_str()), golden, "{text}");
}

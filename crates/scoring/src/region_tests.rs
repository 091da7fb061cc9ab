use super::*;
use crate::shape::VERTEBRAL_POINTS;
use proptest::prelude::*;

/// An aorta with walls at given places, the same standard errors on every line.
pub(crate) fn aorta(anterior: [[f64; 2]; 5], posterior: [[f64; 2]; 5], sd: f64) -> AortaEstimate {
    let right = anterior[0][0] > posterior[0][0];
    AortaEstimate {
        anterior: anterior.map(Point::from),
        posterior: posterior.map(Point::from),
        anterior_sd_px: [sd; 5],
        posterior_sd_px: [sd / 2.0; 5],
        middle_sd_px: [sd / 2.0; 5],
        vertebrae: [Point::new(0.0, 0.0); VERTEBRAL_POINTS],
        vertebrae_sd_px: [1.0; VERTEBRAL_POINTS],
        aspect: 1.0,
        anterior_right: right,
        vertebral_height_px: 80.0,
        mahalanobis_squared: 30.0,
        degrees_of_freedom: 36,
        corner_deviation: Vec::new(),
    }
}

fn straight(sd: f64) -> Region {
    let line = |x: f64| std::array::from_fn(|i| [x, 50.0 + 100.0 * i as f64]);
    Region::new(&aorta(line(200.0), line(260.0), sd), 3.0).unwrap()
}

prop_compose! {
    /// Curved, tapering, rotated aortas of any size, facing either side.
    fn any_region()(
        mirror in any::<bool>(), bend in -0.12f64..0.12, turn in -0.3f64..0.3, scale in 0.3f64..4.0,
        widths in prop::array::uniform5(40.0f64..80.0), fan in prop::array::uniform5(-0.08f64..0.08), sd in 2.0f64..14.0,
    ) -> Region {
        let place = |x: f64, y: f64| {
            let (x, y) = (x * turn.cos() - y * turn.sin(), x * turn.sin() + y * turn.cos());
            [scale * if mirror { -x } else { x } + 500.0, scale * y + 400.0]
        };
        let wall = |side: f64| std::array::from_fn(|i| {
            let down = i as f64 - 2.0;
            let centre = bend * down * down * 60.0;
            place(centre + side * widths[i] / 2.0, 100.0 * down + side * widths[i] / 2.0 * fan[i])
        });
        Region::new(&aorta(wall(-1.0), wall(1.0), sd * scale), 3.0).unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_warp_has_an_inverse_everywhere(region in any_region(), x in -0.5f64..127.5, y in -0.5f64..255.5) {
        let there = region.to_image(Point::new(x, y));
        let back = region.to_region(there).expect("inside");
        prop_assert!((back.x - x).hypot(back.y - y) <= 0.01, "({x}, {y}) came back as {back:?}");
        prop_assert!(region.to_image(back).distance(there) <= 0.01);
    }

    #[test]
    fn the_grid_of_pixels_comes_back_too(region in any_region()) {
        for y in (0..256).step_by(5) {
            for x in (0..128).step_by(7) {
                let p = Point::new(f64::from(x), f64::from(y));
                let back = region.to_region(region.to_image(p)).expect("inside");
                prop_assert!(p.distance(back) <= 0.01);
            }
        }
    }
}

#[test]
fn disc_lines_and_walls_lie_where_they_should() {
    let region = straight(10.0);
    // Aorta 60 wide, margins 30 before and 15 behind: 105 px in 128 columns.
    let column = |x: f64| (x - 170.0) / 105.0 * 128.0 - 0.5;
    assert!((region.wall_column(Wall::Anterior) - column(200.0)).abs() < 1e-9);
    assert!((region.wall_column(Wall::Posterior) - column(260.0)).abs() < 1e-9);
    assert!((region.midline_column() - column(230.0)).abs() < 1e-9);
    assert!((region.wall_sd_columns(Wall::Anterior) - 10.0 / 105.0 * 128.0).abs() < 1e-9);
    for line in 0..5 {
        let p = region.to_region(Point::new(230.0, 50.0 + 100.0 * f64::from(line))).unwrap();
        assert!((p.y - (64.0 * f64::from(line) - 0.5)).abs() < 1e-9);
    }
    assert_eq!(region.to_region(Point::new(169.0, 100.0)), None);
    assert_eq!(region.to_region(Point::new(230.0, 451.0)), None);
    assert!(!region.anterior_right());
}

#[test]
fn rows_have_the_length_of_the_wall() {
    let region = straight(10.0);
    let spacing = PixelSpacing { row_mm: Some(0.2), column_mm: Some(0.4), aspect: None };
    let rows = region.row_lengths_mm(40.0, &spacing).unwrap();
    assert_eq!(rows.len(), 256);
    assert!((rows.iter().sum::<f64>() - 80.0).abs() < 1e-9, "400 px of .2 mm");
    assert_eq!(region.row_lengths_mm(40.0, &PixelSpacing { row_mm: Some(0.0), ..spacing }), None);
    assert_eq!(region.line(40.0).len(), 5);
}

#[test]
fn crossing_or_reversed_lines_are_refused() {
    let line = |x: f64| std::array::from_fn(|i| [x, 50.0 + 100.0 * i as f64]);
    let mut crossing: [[f64; 2]; 5] = line(200.0);
    crossing[2][1] = 480.0;
    assert_eq!(Region::new(&aorta(crossing, line(260.0), 10.0), 3.0).unwrap_err().kind, ErrorKind::Geometry);
    assert_eq!(Region::new(&aorta(line(200.0), line(200.0), 10.0), 3.0).unwrap_err().kind, ErrorKind::Geometry);
}

#[test]
fn warping_brings_image_content_to_its_place_and_marks_what_is_missing() {
    let region = straight(10.0);
    let noise = |i: u32| (i.wrapping_mul(2_654_435_761) >> 20) as u16 % 500;
    // A bright rectangle at x 225..235, y 150..250: L2, in the middle.
    let pixels = |width: u32, height: u32| {
        (0..width * height)
            .map(|i| {
                let (x, y) = (i % width, i / width);
                noise(i) + if (225..235).contains(&x) && (150..250).contains(&y) { 40_000 } else { 10_000 }
            })
            .collect()
    };
    let image = region.warp(&Raster::new(400, 420, pixels(400, 420)));
    let at = |x: f64, y: f64| {
        let p = region.to_region(Point::new(x, y)).unwrap();
        p.y.round() as usize * REGION_WIDTH + p.x.round() as usize
    };
    assert_eq!(image.pixels[at(230.0, 200.0)], 255);
    assert!(
        image.pixels[at(230.0, 145.0)] < 20
            && image.pixels[at(230.0, 255.0)] < 20
            && image.pixels[at(205.0, 200.0)] < 20
    );
    assert!(image.valid[at(230.0, 418.0)] && !image.valid[at(230.0, 422.0)]);
    assert_eq!(image.state[at(230.0, 430.0)], PixelState::Outside);
    let mut labels = vec![0u8; 400 * 420];
    for y in 199..202 {
        labels[y * 400 + 229..y * 400 + 232].fill(3);
    }
    let warped = region.warp_labels(&labels, 400, 420);
    assert_eq!(warped.iter().max(), Some(&3));
    assert_eq!(warped[at(230.0, 200.0)], 3);
}

#[test]
fn a_coarse_region_averages_the_area() {
    let line = |x: f64| std::array::from_fn(|i| [x, 50.0 + 500.0 * i as f64]);
    let region = Region::new(&aorta(line(400.0), line(800.0), 40.0), 3.0).unwrap();
    // Checkerboard of single pixels: 7.8 image rows per region row.
    let raster = Raster::new(
        1200,
        2200,
        (0..1200 * 2200u32).map(|i| if (i % 1200 + i / 1200) % 2 == 0 { 10_000 } else { 30_000 }).collect(),
    );
    let mut pixels = raster.pixels().to_vec();
    for y in 0..2200usize {
        for (i, pixel) in pixels[y * 1200 + 600..y * 1200 + 700].iter_mut().enumerate() {
            *pixel = 40_000 + (i as u16 * 37 + y as u16 * 11) % 2_000;
        }
    }
    let image = region.warp(&Raster::new(1200, 2200, pixels));
    let row = &image.pixels[128 * REGION_WIDTH..129 * REGION_WIDTH];
    let flat: Vec<u8> = row[5..40].to_vec();
    assert!(flat.iter().max().unwrap() - flat.iter().min().unwrap() < 60, "{flat:?}");
}

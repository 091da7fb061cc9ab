use super::*;
use proptest::prelude::*;

/// A picture of noise.
fn noise(width: usize, height: usize, seed: u64) -> Vec<u8> {
    let mut state = seed ^ 0x9E37_79B9_7F4A_7C15;
    (0..width * height)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

/// The definition, pixel by pixel.
fn by_pixels(feature: &HaarFeature, pixel: impl Fn(usize, usize) -> i32) -> i32 {
    let (across, down) = feature.kind.cells();
    let (w, h) = (usize::from(feature.width), usize::from(feature.height));
    let mut sum = 0;
    for y in 0..down * h {
        for x in 0..across * w {
            let sign = if (x / w + y / h).is_multiple_of(2) { 1 } else { -1 };
            sum += sign * pixel(usize::from(feature.x) + x, usize::from(feature.y) + y);
        }
    }
    sum
}

fn feature() -> impl Strategy<Value = HaarFeature> {
    let all = HaarFeature::all();
    (0..all.len()).prop_map(move |i| all[i])
}

/// A stump and a deeper tree over two features.
fn small() -> Forest {
    let features = vec![
        HaarFeature::new(HaarKind::TwoAcross, (3, 4), (5, 6)).unwrap(),
        HaarFeature::new(HaarKind::Checker, (0, 1), (10, 10)).unwrap(),
    ];
    let stump = vec![
        Node::Split { feature: 0, threshold: 100, right: 2 },
        Node::Leaf { probability: 0.25 },
        Node::Leaf { probability: 1.0 },
    ];
    let deep = vec![
        Node::Split { feature: 1, threshold: -50, right: 4 },
        Node::Split { feature: 0, threshold: 0, right: 3 },
        Node::Leaf { probability: 0.0 },
        Node::Leaf { probability: 0.5 },
        Node::Leaf { probability: 0.75 },
    ];
    Forest::new(features, &[stump, deep]).unwrap()
}

#[test]
fn a_patch_has_all_its_features_once() {
    let all = HaarFeature::all();
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
    // Along a side of 21 pixels, n cells of w pixels have 21 - n w + 1 places.
    let places = |n: usize| (1..=PATCH / n).map(|w| PATCH - n * w + 1).sum::<usize>();
    let expected = 2 * places(1) * places(2) + 2 * places(1) * places(3) + places(2) * places(2);
    assert_eq!(all.len(), expected);
}

#[test]
fn the_map_is_the_walk_of_each_window() {
    let region = noise(REGION_WIDTH, REGION_HEIGHT, 1);
    let forest = small();
    let map = forest.respond(&region);
    let mut seen = std::collections::BTreeSet::new();
    for row in 0..REGION_HEIGHT {
        for column in 0..REGION_WIDTH {
            let near = |at: usize, by: usize, size: usize| (at + by).saturating_sub(PATCH_REACH).min(size - 1);
            let pixel = |x: usize, y: usize| {
                i32::from(region[near(row, y, REGION_HEIGHT) * REGION_WIDTH + near(column, x, REGION_WIDTH)])
            };
            let [first, second] = [0, 1].map(|f| by_pixels(&forest.features[f], pixel));
            let stump = if first <= 100 { 0.25 } else { 1.0 };
            let deep = match (second <= -50, first <= 0) {
                (true, true) => 0.0,
                (true, false) => 0.5,
                (false, _) => 0.75,
            };
            let found = map[row * REGION_WIDTH + column];
            assert!((found - (stump + deep) / 2.0).abs() < 1e-4, "({column}, {row}): {found}");
            seen.insert((found * 1000.0) as i32);
        }
    }
    assert!(seen.len() >= 5, "all leaves are reached: {seen:?}");
}

#[test]
fn a_file_gives_the_forest_back_and_any_other_byte_is_refused() {
    let forest = small();
    let bytes = forest.to_bytes();
    assert_eq!(Forest::from_bytes(&bytes).unwrap(), forest);
    for length in 0..bytes.len() {
        assert_eq!(Forest::from_bytes(&bytes[..length]).unwrap_err().kind, ErrorKind::Forest);
    }
    for place in 0..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[place] ^= 1;
        assert!(Forest::from_bytes(&wrong).is_err(), "byte {place}");
    }
    let newer = {
        let mut newer = bytes.clone();
        newer[7] = 2;
        Forest::from_bytes(&newer).unwrap_err().to_string()
    };
    assert!(newer.contains("version"), "{newer}");
}

#[test]
fn trees_that_do_not_end_are_refused() {
    let features = vec![HaarFeature::new(HaarKind::TwoDown, (0, 0), (1, 1)).unwrap()];
    let leaf = Node::Leaf { probability: 0.5 };
    let split = |right| Node::Split { feature: 0, threshold: 0, right };
    for tree in [
        vec![],
        vec![split(1)],
        vec![split(0), leaf, leaf],
        vec![split(1), leaf, leaf],
        vec![split(3), leaf, leaf],
        vec![split(2), leaf, split(2)],
        vec![Node::Split { feature: 1, threshold: 0, right: 2 }, leaf, leaf],
    ] {
        assert_eq!(Forest::new(features.clone(), &[tree]).unwrap_err().kind, ErrorKind::Forest);
    }
    assert!(Forest::new(features.clone(), &[]).is_err(), "no tree");
    assert!(Forest::new(vec![], &[vec![leaf]]).is_err(), "no feature");
    assert!(Forest::new(features, &[vec![split(2), leaf, leaf]]).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn integral_images_give_what_pixels_give(feature in feature(), seed in any::<u64>(), column in 0usize..9, row in 0usize..5) {
        let (width, height) = (PATCH + 9, PATCH + 5);
        let pixels = noise(width, height, seed);
        let expected = by_pixels(&feature, |x, y| i32::from(pixels[(row + y) * width + column + x]));
        prop_assert_eq!(feature.value(&IntegralImage::of(&pixels, width), column, row), expected);
    }

    #[test]
    fn hostile_files_are_refused_not_walked(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(&body);
        let digest = Digest::of(&bytes);
        bytes.extend(digest.0);
        if let Ok(forest) = Forest::from_bytes(&bytes) {
            prop_assert_eq!(forest.to_bytes(), bytes);
        }
    }
}

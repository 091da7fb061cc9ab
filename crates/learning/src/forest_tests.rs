use super::*;

/// Regions of smooth grey with bright vertical streaks, three columns wide, which are the calcium; and bright dots, which are not.
fn regions(count: usize, seed: u64) -> Vec<LabelledRegion> {
    let mut draw = Draw::named("streaks", &[seed]);
    let region = |_| {
        let mut pixels: Vec<u8> =
            (0..REGION_WIDTH * REGION_HEIGHT).map(|_| (90.0 + 6.0 * draw.normal()).clamp(0.0, 255.0) as u8).collect();
        let mut calcified = vec![false; pixels.len()];
        for _ in 0..4 {
            let (column, row, rows) = (5 + draw.below(110), draw.below(200), 20 + draw.below(35));
            for row in row..row + rows {
                for column in column..column + 3 {
                    pixels[row * REGION_WIDTH + column] = 150;
                    calcified[row * REGION_WIDTH + column] = true;
                }
            }
        }
        for _ in 0..60 {
            let (column, row) = (draw.below(REGION_WIDTH - 2), draw.below(REGION_HEIGHT - 2));
            for place in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let pixel = (row + place.0) * REGION_WIDTH + column + place.1;
                if !calcified[pixel] {
                    pixels[pixel] = 150;
                }
            }
        }
        LabelledRegion { valid: vec![true; pixels.len()], pixels, calcified }
    };
    (0..count).map(region).collect()
}

fn settings() -> ForestSettings {
    ForestSettings {
        patches: 1200,
        transforms: 3,
        trees: 6,
        features: 200,
        leaf_min: 4,
        seed: 9,
        ..ForestSettings::default()
    }
}

#[test]
fn a_forest_learns_streaks_and_is_the_same_on_any_number_of_threads() {
    let (training, unseen) = (regions(8, 1), regions(4, 2));
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| train_forest(&training, &settings()).unwrap())
    };
    let forest = with_threads(1);
    assert_eq!(forest.to_bytes(), with_threads(3).to_bytes());
    let other = train_forest(&training, &ForestSettings { seed: 10, ..settings() }).unwrap();
    assert_ne!(forest, other);
    let judged = judge_forest(&forest, &unseen).unwrap();
    let best = judged.iter().max_by(|a, b| a.dice.total_cmp(&b.dice)).unwrap();
    // Marking everything has a Dice of about 2 x .013; brightness alone would take the dots along.
    assert!(best.dice > 0.75 && best.accuracy > 0.98, "{best:?}");
}

/// The forest of pipelines/vfa-forest on images that it never saw: a smoke alarm, the model's card has the measure.
#[test]
fn the_shipped_forest_marks_calcium_far_above_chance() {
    let folder = tempfile::tempdir().unwrap();
    let config = phantom::Config::from_toml(include_str!("../../../pipelines/training/track-a.toml")).unwrap();
    let cohort = phantom::Cohort::new(config, 31, 16, 1).unwrap();
    phantom::write_cohort(&cohort, folder.path(), 2, &|_, _| ()).unwrap();
    let annotations = crate::annotations::read_annotations(&folder.path().join("truth.parquet")).unwrap();
    let shape = include_str!("../../../pipelines/vfa-unet/shape.json");
    let set = crate::annotated_set::AnnotatedSet {
        annotations: &annotations,
        images: &folder.path().join("images"),
        masks: &folder.path().join("masks"),
        shape: &scoring::ShapeModel::from_json(shape).unwrap(),
        target: crate::annotated_set::Target::Binary,
        variants: 0,
        seed: 1,
    };
    set.write(&folder.path().join("shards"), |_| ()).unwrap();
    let regions = crate::regions::read_regions(&folder.path().join("shards")).unwrap();
    assert_eq!(regions.len(), annotations.len());
    let forest = Forest::from_bytes(include_bytes!("../../../pipelines/vfa-forest/forest.bin")).unwrap();
    let judged = judge_forest(&forest, &regions).unwrap();
    let shipped = judged.iter().find(|q| (q.threshold - 0.95).abs() < 1e-9).unwrap();
    // Pixels marked at random have a Dice of at most twice the share of calcium, about .01.
    assert!(shipped.dice > 0.2 && shipped.accuracy > 0.98, "{shipped:?}");
}

#[test]
fn judging_counts_what_a_person_would_count() {
    // A leaf alone marks all pixels up to its probability, and none above.
    let features = vec![HaarFeature::all()[0]];
    let forest = Forest::new(features, &[vec![Node::Leaf { probability: 0.6 }]]).unwrap();
    let mut region = regions(1, 3).remove(0);
    region.valid[..REGION_WIDTH * 128].fill(false);
    let valid = region.valid.iter().filter(|v| **v).count() as f64;
    let calcified = region.calcified.iter().zip(&region.valid).filter(|(c, v)| **c && **v).count() as f64;
    let judged = judge_forest(&forest, &[region]).unwrap();
    let at = |threshold: f64| judged.iter().find(|q| (q.threshold - threshold).abs() < 1e-9).unwrap();
    assert!((at(0.5).dice - 2.0 * calcified / (valid + calcified)).abs() < 1e-12);
    assert!((at(0.5).accuracy - calcified / valid).abs() < 1e-12);
    assert_eq!(at(0.61).dice, 0.0);
    assert!((at(0.61).accuracy - (1.0 - calcified / valid)).abs() < 1e-12);
}

#[test]
fn patches_are_balanced_distinct_and_seen() {
    let mut regions = regions(5, 4);
    regions[2].valid.fill(false);
    let found = places(&regions, &settings()).unwrap();
    assert_eq!(found.iter().filter(|(_, calcified)| *calcified).count(), 600);
    let distinct: BTreeSet<_> = found.iter().map(|(place, _)| *place).collect();
    assert_eq!(distinct.len(), 1200);
    for ((number, pixel), calcified) in found {
        assert!(regions[number].valid[pixel] && regions[number].calcified[pixel] == calcified);
    }
    let few = places(&regions, &ForestSettings { patches: 100_000, ..settings() }).unwrap_err();
    assert!(few.to_string().contains("calcified pixels, but there are"), "{few}");
    let out = train_forest(&regions, &ForestSettings { trees: 0, ..settings() }).unwrap_err();
    assert!(out.to_string().contains("trees is 0"), "{out}");
}

#[test]
fn a_patch_of_no_change_is_the_region_itself_and_turning_turns_it() {
    let region = regions(1, 5).remove(0).pixels;
    let (row, column) = (100, 60);
    let plain = patch(&region, row * REGION_WIDTH + column, 1.0, 0.0);
    for y in 0..PATCH {
        for x in 0..PATCH {
            assert_eq!(plain[y * PATCH + x], region[(row + y - PATCH_REACH) * REGION_WIDTH + column + x - PATCH_REACH]);
        }
    }
    let quarter = patch(&region, row * REGION_WIDTH + column, 1.0, std::f64::consts::FRAC_PI_2);
    // What lay below the centre lies to its right: x' = row offset, y' = minus column offset.
    assert_eq!(quarter[PATCH_REACH * PATCH + PATCH_REACH + 4], plain[(PATCH_REACH + 4) * PATCH + PATCH_REACH]);
    let wide = patch(&region, row * REGION_WIDTH + column, 2.0, 0.0);
    assert_eq!(wide[PATCH_REACH * PATCH + PATCH_REACH + 3], plain[PATCH_REACH * PATCH + PATCH_REACH + 6]);
    let corner = patch(&region, 0, 1.0, 0.0);
    assert_eq!(corner[0], region[0], "beyond the region its border goes on");
}

use super::*;
use domain::Raster;
use phantom::{Config, label};
use std::path::PathBuf;

fn cohort(seed: u64, pictures: u64) -> Cohort {
    Cohort::new(Config::training(), seed, pictures, 1).unwrap()
}

fn lateral_cohort(seed: u64, pictures: u64) -> Cohort {
    let mut config = Config::training();
    config.negatives.share = 0.0;
    Cohort::new(config, seed, pictures, 1).unwrap()
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (PathBuf::from(path.file_name().unwrap()), std::fs::read(&path).unwrap()))
        .collect();
    all.sort();
    all
}

fn written(task: Task, cohort: &Cohort, threads: usize, seed: u64) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let set = TrainingSet { cohort, task, seed, count: 5, variants: 2 };
    pool.install(|| set.write(folder.path(), |_| ())).unwrap();
    files(folder.path())
}

fn model() -> ShapeModel {
    crate::fit_shape(&lateral_cohort(5, 60), 60).unwrap()
}

#[test]
fn a_set_is_the_same_on_any_number_of_threads_and_another_for_another_seed() {
    let cohort = cohort(3, 4);
    let alone = written(Task::Locate, &cohort, 1, 3);
    assert_eq!(
        alone.iter().map(|(name, _)| name.to_str().unwrap()).collect::<Vec<_>>(),
        ["shard-00000.corners.npy", "shard-00000.images.npy", "shard-00000.view.npy"]
    );
    assert_eq!(alone, written(Task::Locate, &cohort, 3, 3));
    assert_ne!(alone, written(Task::Locate, &cohort, 1, 4));
    let (model, lateral) = (model(), lateral_cohort(3, 4));
    let alone = written(Task::Segment(&model), &lateral, 1, 3);
    assert_eq!(alone, written(Task::Segment(&model), &lateral, 3, 3));
    let regions = alone.iter().find(|(name, _)| name.ends_with("shard-00000.regions.npy")).unwrap();
    assert!(regions.1.len() > 5 * 256 * 128, "five samples of 256 x 128");
}

#[test]
fn corners_of_a_changed_picture_lie_where_its_dots_have_gone() {
    let cohort = lateral_cohort(8, 6);
    let (mut dots, mut seen) = (0, 0);
    for index in 0..6 {
        let mut simulated = cohort.simulate_scaled(index, LOCATE_ROWS);
        let (width, height) = (simulated.raster.width() as usize, simulated.raster.height() as usize);
        let mut pixels = vec![300u16; width * height];
        for p in simulated.truth.corners.iter().flatten() {
            for (dx, dy) in (-4i64..=4).flat_map(|dx| (-4i64..=4).map(move |dy| (dx, dy))) {
                let (x, y) = (p.x.round() as i64 + dx, p.y.round() as i64 + dy);
                if x >= 0 && y >= 0 && (x as usize) < width && (y as usize) < height {
                    pixels[y as usize * width + x as usize] = 900;
                }
            }
        }
        simulated.raster = Raster::new(width as u32, height as u32, pixels);
        let picture = Picture::of(&simulated.raster);
        for variant in 0..4 {
            let sample = locate_sample(&simulated, &picture, &mut Draw::named("dots", &[index as u64, variant]));
            for corner in sample.corners.iter().filter(|c| c[2] > 0.0) {
                let (x, y) = (corner[0].round() as usize, corner[1].round() as usize);
                let around = |reach: i64| -> f64 {
                    let ring: Vec<f64> = (-reach..=reach)
                        .flat_map(|dx| (-reach..=reach).map(move |dy| (dx, dy)))
                        .filter(|(dx, dy)| dx.abs().max(dy.abs()) == reach)
                        .filter_map(|(dx, dy)| {
                            let (x, y) = (x as i64 + dx, y as i64 + dy);
                            let inside = x >= 0 && y >= 0 && x < STAGE_WIDTH as i64 && y < STAGE_HEIGHT as i64;
                            inside.then(|| f64::from(sample.image[y as usize * STAGE_WIDTH + x as usize]))
                        })
                        .collect();
                    crate::metrics::mean(&ring).unwrap_or(0.0)
                };
                dots += 1;
                seen += usize::from(around(0) > around(7) + 10.0);
            }
        }
    }
    // Boxes, shutters and strong noise hide some.
    assert!(dots > 200 && seen * 100 > dots * 85, "{seen} of {dots} dots are at their corners");
}

#[test]
fn labels_of_a_region_lie_where_the_plaque_has_gone() {
    let mut config = Config::training();
    config.negatives.share = 0.0;
    config.population.burden_at_60 = 2.5;
    let (model, cohort) = (model(), Cohort::new(config, 9, 12, 1).unwrap());
    let (mut contrast, mut samples) = (0, 0);
    for index in 0..12 {
        let mut simulated = cohort.simulate_scaled(index, 900);
        let visible = |bits: &u8| bits & (label::ANTERIOR_VISIBLE | label::POSTERIOR_VISIBLE) != 0;
        if simulated.truth.labels.iter().filter(|b| visible(b)).count() < 100 {
            continue;
        }
        // A background of one grey would count as blanked by the scanner.
        let grey = |(i, bits): (usize, &u8)| if visible(bits) { 900 } else { 300 + (i * 7919 % 97) as u16 };
        let pixels = simulated.truth.labels.iter().enumerate().map(grey).collect();
        simulated.raster = Raster::new(simulated.raster.width(), simulated.raster.height(), pixels);
        let sample = segment_sample(&simulated, &model, &mut Draw::named("plaque", &[index as u64])).unwrap();
        let mean_of = |wanted: bool| {
            let greys: Vec<f64> = (sample.region.iter().zip(&sample.valid).zip(&sample.labels))
                .filter(|((_, valid), bits)| **valid == 1 && visible(bits) == wanted)
                .map(|((grey, _), _)| f64::from(*grey))
                .collect();
            crate::metrics::mean(&greys)
        };
        if let (Some(plaque), Some(rest)) = (mean_of(true), mean_of(false)) {
            samples += 1;
            contrast += usize::from(plaque > rest + 60.0);
        }
    }
    assert!(samples >= 3 && contrast == samples, "{contrast} of {samples} regions");
}

#[test]
fn sets_that_cannot_be_made_are_refused_by_name() {
    let cohort = cohort(1, 2);
    let folder = tempfile::tempdir().unwrap();
    let refused = |count, variants| {
        let set = TrainingSet { cohort: &cohort, task: Task::Locate, seed: 1, count, variants };
        set.write(folder.path(), |_| ()).unwrap_err().to_string()
    };
    assert!(refused(0, 1).contains("count"));
    assert!(refused(9, 4).contains("needs 3 pictures, the cohort has 2"));
    assert!(refused(4, 65).contains("variants"));
}

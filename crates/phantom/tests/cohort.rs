//! The simulator as its users see it: determinism, truth that agrees with itself, plausible populations, files.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int32Type;
use domain::grade::{Aac24, Category, CategoryCut};
use domain::{Landmark, Level, Segment, TieRule, Wall};
use phantom::{Cohort, Config, Reader, SAMPLES_PER_SEGMENT, Simulated, View, label, write_cohort};
use std::collections::BTreeMap;
use std::path::Path;

fn lateral(seed: u64, participants: u64) -> Cohort {
    let mut config = Config::training();
    config.negatives.share = 0.0;
    Cohort::new(config, seed, participants, 1).unwrap()
}

fn folder_bytes(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut out = BTreeMap::new();
    for sub in ["", "images", "masks"] {
        for entry in std::fs::read_dir(folder.join(sub)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
                out.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    out
}

#[test]
fn a_folder_is_the_same_bytes_whatever_the_threads() {
    let mut config = Config::default();
    config.sites.0.truncate(2);
    config.negatives.share = 0.3;
    let cohort = Cohort::new(config, 11, 4, 2).unwrap();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_cohort(&cohort, one.path(), 1, &|_, _| {}).unwrap();
    let calls = std::sync::atomic::AtomicUsize::new(0);
    write_cohort(&cohort, two.path(), 2, &|done, total| {
        assert!(done >= 1 && done <= total && total == 8);
        calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    })
    .unwrap();
    assert_eq!(calls.into_inner(), 8);
    let (a, b) = (folder_bytes(one.path()), folder_bytes(two.path()));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    assert_eq!(a.len(), 8 + 8 + 4);
    for (name, bytes) in &a {
        assert!(bytes == &b[name], "{name} differs");
    }
    the_tables_describe_the_pictures(&cohort, one.path());
}

/// Every row of truth.parquet names a file and agrees with the picture; NULL where there is nothing to assess.
fn the_tables_describe_the_pictures(cohort: &Cohort, folder: &Path) {
    let read = |name: &str| {
        let file = std::fs::File::open(folder.join(name)).unwrap();
        let reader =
            parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        let batches: Vec<arrow::array::RecordBatch> = reader.map(|b| b.unwrap()).collect();
        arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
    };
    let truth = read("truth.parquet");
    assert_eq!(truth.num_rows(), cohort.len());
    let text = |name: &str| truth.column_by_name(name).unwrap().as_string::<i32>().clone();
    let number = |name: &str| truth.column_by_name(name).unwrap().as_primitive::<Int32Type>().clone();
    let corners = truth.column_by_name("corner_x").unwrap().as_list::<i32>().clone();
    let mut lateral = 0;
    for row in 0..truth.num_rows() {
        assert!(folder.join(text("file").value(row)).is_file());
        let s = cohort.simulate(row);
        assert_eq!(text("sop_uid").value(row), s.header.sop_uid);
        assert_eq!(text("view").value(row), s.truth.view.name());
        let is_lateral = s.truth.view == View::LateralLumbar;
        lateral += usize::from(is_lateral);
        assert_eq!(corners.value(row).len(), if is_lateral { Landmark::COUNT } else { 0 });
        let total = Aac24::of(&s.truth.geometric).total.map(i32::from);
        let column = number("geometric_total");
        assert_eq!((!column.is_null(row)).then(|| column.value(row)), total);
    }
    assert_eq!(read("human_readings.parquet").num_rows(), 2 * lateral);
    let participants = std::fs::read_to_string(folder.join("participants.csv")).unwrap();
    assert_eq!(participants.lines().count() as u64, 1 + cohort.participants());
}

#[test]
fn another_seed_or_visit_gives_another_picture_of_the_same_or_another_person() {
    let config = Config { negatives: phantom::Negatives { share: 0.0, ..Default::default() }, ..Config::default() };
    let cohort = Cohort::new(config.clone(), 3, 2, 2).unwrap();
    let (first, second) = (cohort.simulate_scaled(0, 200), cohort.simulate_scaled(1, 200));
    assert_eq!(first.header.patient_id, second.header.patient_id);
    assert_ne!(first.header.sop_uid, second.header.sop_uid);
    assert_ne!(first.raster.pixels(), second.raster.pixels());
    let other = Cohort::new(config, 4, 2, 2).unwrap().simulate_scaled(0, 200);
    assert_ne!(first.header.patient_id, other.header.patient_id);
    // calcium never regresses between visits
    for participant in 0..2 {
        let visits: Vec<Simulated> = (0..2).map(|v| cohort.simulate_scaled(participant * 2 + v, 200)).collect();
        for k in 0..Segment::COUNT {
            assert!(visits[1].truth.calcified[k].0 >= visits[0].truth.calcified[k].0);
        }
    }
}

#[test]
fn truth_agrees_with_itself() {
    let cohort = lateral(21, 16);
    for index in 0..cohort.len() {
        let s = cohort.simulate_scaled(index, 420);
        let truth = &s.truth;
        assert_eq!(truth.view, View::LateralLumbar);
        assert_eq!(truth.labels.len(), s.raster.pixels().len());
        for segment in Segment::all() {
            let k = segment.index();
            let (there, seen) = truth.calcified[k];
            assert!(seen <= there && there <= SAMPLES_PER_SEGMENT);
            for (grade, rows) in [(truth.geometric[k], there), (truth.visible[k], seen)] {
                if let Some(grade) = grade.grade() {
                    assert_eq!(Some(grade), TieRule::Kauppila.grade(rows, SAMPLES_PER_SEGMENT));
                }
            }
        }
        corners_are_ordered(&s);
        labels_lie_at_their_walls(&s);
    }
}

/// Anterior corners lie nearer to the aorta than posterior ones, and bodies follow from head to foot.
fn corners_are_ordered(s: &Simulated) {
    let corner = |channel: usize| s.truth.corners[channel].expect("a lateral picture has all corners");
    let discs = s.truth.aorta_at_discs.expect("a lateral picture has an aorta");
    let sign = if s.header.anterior_right { 1.0 } else { -1.0 };
    for landmark in Landmark::all() {
        let channel = landmark.channel().unwrap();
        if channel % 2 == 0 {
            let (front, back) = (corner(channel), corner(channel + 1));
            assert!(sign * (front.x - back.x) > 0.0, "{landmark:?} of {}", s.header.sop_uid);
        }
    }
    for level in Level::ALL {
        let v = level.vertebra().index();
        assert!(corner(4 * v).y < corner(4 * v + 2).y && corner(4 * v + 2).y < corner(4 * v + 4).y + 3.0);
        let (anterior, posterior) = discs[level.index()];
        assert!(sign * (anterior.x - posterior.x) > 0.0);
        let (next, _) = discs[level.index() + 1];
        assert!(anterior.y < next.y);
    }
}

/// Every pixel labelled as plaque of a wall lies within 4 mm of that wall's line.
fn labels_lie_at_their_walls(s: &Simulated) {
    let (row_mm, column_mm) = (s.spacing.row_mm.unwrap(), s.spacing.column_mm.unwrap());
    let width = s.raster.width() as usize;
    for (wall, bit) in [(Wall::Anterior, label::ANTERIOR), (Wall::Posterior, label::POSTERIOR)] {
        let line = match wall {
            Wall::Anterior => &s.truth.anterior,
            Wall::Posterior => &s.truth.posterior,
        };
        let (top, bottom) = (line[0].y, line[line.len() - 1].y);
        for (k, bits) in s.truth.labels.iter().enumerate().filter(|(_, bits)| **bits & bit != 0) {
            let (x, y) = ((k % width) as f64, (k / width) as f64);
            if y < top + 8.0 || y > bottom - 8.0 {
                continue;
            }
            let near = line.iter().map(|p| ((p.x - x) * column_mm).hypot((p.y - y) * row_mm)).fold(f64::MAX, f64::min);
            assert!(near < 4.0, "{bits:#b} at ({x}, {y}) is {near:.1} mm from the {wall:?} wall");
        }
    }
}

#[test]
fn a_scaled_picture_is_the_same_scene() {
    let cohort = lateral(5, 6);
    for index in 0..3 {
        let (full, small) = (cohort.simulate(index), cohort.simulate_scaled(index, 256));
        assert_eq!(small.raster.height(), 256.min(full.raster.height()));
        let k = f64::from(small.raster.height()) / f64::from(full.raster.height());
        for (a, b) in full.truth.corners.iter().flatten().zip(small.truth.corners.iter().flatten()) {
            assert!(((a.y + 0.5) * k - 0.5 - b.y).abs() < 1.0);
        }
        assert_eq!(full.truth.geometric.map(|g| g.grade()), small.truth.geometric.map(|g| g.grade()));
    }
}

#[test]
fn prevalence_and_severity_are_those_of_the_literature() {
    // totals come from the geometry alone, so thousands can be drawn
    let config = Config::default();
    let cohort = Cohort::new(config, 77, 1200, 1).unwrap();
    let mut by_level = [0u32; 4];
    let mut by_wall = [0u32; 2];
    let (mut any_57, mut n_57, mut women) = (0, 0, [0u32; 3]);
    for index in 0..cohort.participants() {
        let p = cohort.participant(index);
        let grades = cohort.geometric_grades(&p, 0);
        let aac = Aac24::of(&grades);
        let total = aac.total.unwrap();
        for segment in Segment::all() {
            let grade = u32::from(grades[segment.index()].grade().unwrap().value());
            by_level[segment.level.index()] += grade;
            by_wall[segment.wall.index()] += grade;
        }
        if (50.0..64.0).contains(&p.age_at_entry) {
            n_57 += 1;
            any_57 += u32::from(total > 0);
        }
        if !p.male && p.age_at_entry > 70.0 {
            women[CategoryCut::default().of(f64::from(total)) as usize] += 1;
        }
    }
    let share = f64::from(any_57) / f64::from(n_57);
    assert!((0.20..0.42).contains(&share), "prevalence about 57 years is {share:.3}; NHANES has .288");
    let all: u32 = women.iter().sum();
    let part = |c: Category| f64::from(women[c as usize]) / f64::from(all);
    // Perth, women over 70: 45 / 37 / 18 %
    assert!((0.35..0.58).contains(&part(Category::Low)), "low {:.3}", part(Category::Low));
    assert!((0.22..0.47).contains(&part(Category::Moderate)), "moderate {:.3}", part(Category::Moderate));
    assert!((0.10..0.32).contains(&part(Category::High)), "high {:.3}", part(Category::High));
    assert!(by_level[2] + by_level[3] > by_level[0] + by_level[1], "by level {by_level:?}");
    assert!(by_wall[1] >= by_wall[0], "anterior, posterior {by_wall:?}");
}

#[test]
fn negatives_say_so_and_have_no_grades() {
    let mut config = Config::default();
    config.negatives.share = 1.0;
    let cohort = Cohort::new(config, 2, 24, 1).unwrap();
    let mut seen = std::collections::HashSet::new();
    for index in 0..cohort.len() {
        let s = cohort.simulate_scaled(index, 160);
        assert_ne!(s.truth.view, View::LateralLumbar);
        assert!(s.truth.corners.iter().all(Option::is_none) && !s.truth.assessable());
        assert!(cohort.human_reading(&s, Reader::A, 0).is_none());
        seen.insert(s.truth.view);
    }
    assert_eq!(seen.len(), 4, "all kinds appear among 24: {seen:?}");
}

#[test]
fn readers_repeat_themselves_better_than_each_other_and_near_the_published_agreement() {
    let mut config = Config::default();
    config.negatives.share = 0.0;
    config.population.burden_at_60 = 0.5;
    config.sites.0.truncate(1);
    let cohort = Cohort::new(config, 8, 110, 1).unwrap();
    let mut pairs = [Vec::new(), Vec::new()];
    for index in 0..cohort.len() {
        let s = cohort.simulate_scaled(index, 128);
        let total = |reader, repeat| {
            let grades = cohort.human_reading(&s, reader, repeat).unwrap();
            Aac24::of(&grades).total.map(f64::from)
        };
        if let (Some(a), Some(again), Some(b)) = (total(Reader::A, 0), total(Reader::A, 1), total(Reader::B, 0)) {
            pairs[0].push((a, again));
            pairs[1].push((a, b));
        }
    }
    let [intra, inter] = pairs.map(|p| correlation(&p));
    assert!((0.85..0.995).contains(&intra), "intra-reader {intra:.3}; published ICC .93");
    assert!((0.80..0.99).contains(&inter), "inter-reader {inter:.3}; published ICC .91");
}

fn correlation(pairs: &[(f64, f64)]) -> f64 {
    let n = pairs.len() as f64;
    let (ma, mb) = (pairs.iter().map(|p| p.0).sum::<f64>() / n, pairs.iter().map(|p| p.1).sum::<f64>() / n);
    let cov: f64 = pairs.iter().map(|p| (p.0 - ma) * (p.1 - mb)).sum();
    let va: f64 = pairs.iter().map(|p| (p.0 - ma).powi(2)).sum();
    let vb: f64 = pairs.iter().map(|p| (p.1 - mb).powi(2)).sum();
    cov / (va * vb).sqrt()
}

#[test]
fn wrong_counts_are_refused() {
    assert!(Cohort::new(Config::default(), 1, 0, 1).unwrap_err().to_string().contains("participants is 0"));
    assert!(Cohort::new(Config::default(), 1, 1, 51).unwrap_err().to_string().contains("visits is 51"));
}

//! The cohort of track A is frozen: methods are compared on it, so nobody may change it unseen.
//!
//! Who must change the configuration, or the simulator in a way that changes its truth, trains and compares every method anew and then
//! writes what these tests say into pipelines/training/track-a.frozen.toml.

use domain::{Digest, SegmentGrade};
use phantom::{Cohort, Config, Reader, Simulated, label};

/// The cohort, and what was written down of it.
fn frozen() -> (Cohort, toml::Table) {
    let read = |name: &str| {
        let path = format!("{}/../../pipelines/training/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    };
    let written: toml::Table = read("track-a.frozen.toml").parse().unwrap();
    let number = |key: &str| written[key].as_integer().unwrap() as u64;
    let config = Config::from_toml(&read("track-a.toml")).unwrap();
    (Cohort::new(config, number("seed"), number("participants"), 1).unwrap(), written)
}

/// What is true of a picture, as text: rounded, so that the last bits of another processor's functions do not show.
fn truth(simulated: &Simulated) -> String {
    let truth = &simulated.truth;
    let pixels = |bit: u8| truth.labels.iter().filter(|bits| **bits & bit != 0).count();
    let corners: Vec<String> = truth.corners.iter().flatten().map(|p| format!("{:.1},{:.1}", p.x, p.y)).collect();
    // Digits of the eight grades, x where there is none.
    let grades = |of: &[SegmentGrade; 8]| -> String {
        of.iter().map(|s| s.grade().map_or("x".into(), |grade| grade.value().to_string())).collect()
    };
    let rows: Vec<String> = truth.calcified.iter().map(|(_, visible)| visible.to_string()).collect();
    format!(
        "{} x {} of {:.4} x {:.4} mm, {} {}, {}, {} {}, {}",
        simulated.raster.width(),
        simulated.raster.height(),
        simulated.spacing.column_mm.unwrap(),
        simulated.spacing.row_mm.unwrap(),
        grades(&truth.geometric),
        grades(&truth.visible),
        rows.join(" "),
        pixels(label::ANTERIOR_VISIBLE),
        pixels(label::POSTERIOR_VISIBLE),
        corners.join(" ")
    )
}

#[test]
fn configuration_and_truth_are_those_that_methods_were_compared_on() {
    let (cohort, written) = frozen();
    let configuration = Digest::of(cohort.config().to_toml().as_bytes()).to_hex();
    assert_eq!(written["configuration_sha256"].as_str(), Some(configuration.as_str()));
    let picked = [0, 1, 2, 3, 5, 8, 13, 21];
    let truths: Vec<String> = picked.map(|index| truth(&cohort.simulate(index))).into();
    let found = Digest::of(truths.join("\n").as_bytes()).to_hex();
    assert_eq!(written["truth_sha256"].as_str(), Some(found.as_str()), "{}", truths.join("\n"));
}

/// Dice of two readings is 1 where a reader does nothing by chance, and a share elsewhere.
#[test]
fn a_reader_without_noise_reads_the_same_twice() {
    let (cohort, _) = frozen();
    let mut exact = cohort.config().clone();
    (exact.readers.end_sd_mm, exact.readers.miss, exact.readers.false_plaques) = (0.0, 0.0, 0.0);
    let exact = Cohort::new(exact, cohort.seed(), cohort.participants(), 1).unwrap();
    let mut marked = 0;
    for index in 0..24 {
        let twice = exact.repeat_dice(&exact.simulate_scaled(index, 200), Reader::A);
        assert!(twice.is_none_or(|dice| dice == 1.0), "picture {index}: {twice:?}");
        marked += usize::from(twice.is_some());
        let noisy = cohort.repeat_dice(&cohort.simulate_scaled(index, 200), Reader::A);
        assert!(noisy.is_none_or(|dice| (0.0..=1.0).contains(&dice)), "picture {index}: {noisy:?}");
    }
    assert!(marked >= 6, "{marked} pictures with calcium");
}

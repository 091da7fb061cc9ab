use super::*;
use crate::fit_shape;
use domain::SegmentGrade;
use phantom::{Cohort, Config};

fn lateral(seed: u64, pictures: u64) -> Cohort {
    let mut config = Config::training();
    config.negatives.share = 0.0;
    config.population.burden_at_60 = 2.0;
    Cohort::new(config, seed, pictures, 1).unwrap()
}

#[test]
fn grades_are_the_visible_truth_and_hidden_segments_have_none() {
    let (model, cohort) = (fit_shape(&lateral(5, 60), 60).unwrap(), lateral(11, 8));
    let inputs = [GradeInput::Region, GradeInput::Spine];
    let (mut graded, mut calcified, mut lost) = (0, 0, 0);
    for index in 0..8 {
        let simulated = cohort.simulate_scaled(index, 900);
        let sample = located_sample(&simulated, &model, &inputs, &mut Draw::named("grade", &[index as u64])).unwrap();
        assert!(sample.inputs.iter().all(|pixels| pixels.len() == 256 * 128) && sample.inputs.len() == 2);
        assert_eq!(sample.view, 0);
        for (i, truth) in simulated.truth.visible.iter().enumerate() {
            match (sample.assessable[i], truth) {
                (1, SegmentGrade::Assessed(grade)) => {
                    assert_eq!(sample.grades[i], grade.value());
                    graded += 1;
                    calcified += usize::from(grade.value() > 0);
                }
                (0, _) => {
                    assert_eq!(sample.grades[i], 0);
                    lost += usize::from(truth.grade().is_some());
                }
                other => panic!("segment {i}: {other:?}"),
            }
        }
    }
    assert!(graded >= 40 && calcified >= 10 && lost <= 12, "{graded} graded, {calcified} calcified, {lost} lost");
}

#[test]
fn what_a_cut_takes_away_is_not_assessable() {
    let cohort = lateral(11, 1);
    let truth = cohort.simulate_scaled(0, 720).truth;
    let discs = truth.aorta_at_discs.unwrap();
    let all = Labels(std::array::from_fn(|_| Grade::new(2)));
    // The frame ends at the L2/L3 disc.
    let cut_y = (discs[2].0.y + discs[2].1.y) / 2.0;
    let seen = all.where_seen(&truth, |p| p.y <= cut_y);
    let kept: Vec<bool> = seen.0.iter().map(Option::is_some).collect();
    assert_eq!(kept, [true, true, true, true, false, false, false, false]);
    // A quarter of the wall out of sight is allowed, a half is not.
    let part = |share: f64| {
        let (from, to) = (discs[0].0.y, discs[1].0.y);
        all.where_seen(&truth, |p| p.y > from + share * (to - from)).0[0].is_some()
    };
    assert!(part(0.2) && !part(0.5));
}

#[test]
fn a_picture_of_another_view_has_no_grade() {
    let mut config = Config::training();
    config.negatives.share = 1.0;
    let cohort = Cohort::new(config, 4, 2, 1).unwrap();
    let simulated = cohort.simulate_scaled(0, 720);
    let picture = Picture::of(&simulated.raster);
    let sample = image_sample(&simulated, &picture, &mut Draw::named("grade image", &[0]));
    assert_eq!((sample.assessable, sample.inputs[0].len()), ([0; 8], 512 * 256));
    assert!(sample.view > 0);
}

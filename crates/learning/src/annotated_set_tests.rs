use super::*;
use crate::command::{FoldsArgs, TargetName, TrainingSetArgs, folds, training_set};
use crate::folds;
use ndarray::Array3;
use ndarray_npy::ReadNpyExt;
use phantom::{Cohort, Config, Simulated, write_cohort};
use std::path::PathBuf;

/// A corner and where it lies.
type Named = (Landmark, Point<ImagePx>);

const SHAPE: &str = include_str!("../../../pipelines/vfa-unet/shape.json");

fn cohort(participants: u64) -> Cohort {
    let config = Config::from_toml(include_str!("../../../pipelines/training/track-a.toml")).unwrap();
    Cohort::new(config, 77, participants, 1).unwrap()
}

/// A cohort as files, with its table of folds.
fn study(participants: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_cohort(&cohort(participants), folder.path(), 2, &|_, _| ()).unwrap();
    let args = FoldsArgs {
        truth: folder.path().to_owned(),
        folds: 2,
        validation: 1,
        seed: 1,
        select: None,
        min_total: 1,
        max_total: 24,
        out: folder.path().join("folds.csv"),
    };
    let told = folds(&args).unwrap();
    assert!(told.contains("fold 1:  training"), "{told}");
    folder
}

fn options(folder: &Path, part: folds::Part, variants: Option<usize>, out: &str) -> TrainingSetArgs {
    TrainingSetArgs {
        truth: folder.to_owned(),
        images: None,
        folds: folder.join("folds.csv"),
        fold: 0,
        part,
        variants,
        target: TargetName::Walls,
        shape: PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../pipelines/vfa-unet/shape.json")),
        seed: 5,
        out: folder.join(out),
    }
}

fn tensor(folder: &Path, name: &str) -> Array3<u8> {
    Array3::read_npy(std::fs::File::open(folder.join(format!("shard-00000.{name}.npy"))).unwrap()).unwrap()
}

#[test]
fn files_become_tensors_of_every_part_the_same_on_any_number_of_threads() {
    let folder = study(12);
    let rows = crate::fold_table::read_folds(&folder.path().join("folds.csv")).unwrap();
    let trained = rows.iter().filter(|r| r.fold == 0 && r.part == folds::Part::Training).count();
    let with_threads = |threads: usize, args: &TrainingSetArgs| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| training_set(args, |_, _| ())).unwrap();
        ["regions", "valid", "labels"].map(|name| tensor(&args.out, name))
    };
    let walls = options(folder.path(), folds::Part::Training, Some(3), "walls");
    let one = with_threads(1, &walls);
    assert_eq!(one[0].dim(), (3 * trained, REGION_HEIGHT, REGION_WIDTH));
    assert_eq!(one, with_threads(2, &walls));
    assert!(one[2].iter().all(|label| *label <= 3) && one[2].iter().any(|label| *label > 0));
    let binary = TrainingSetArgs { target: TargetName::Binary, out: folder.path().join("binary"), ..walls };
    let both = with_threads(2, &binary);
    assert_eq!((&both[0], &both[1]), (&one[0], &one[1]), "the target changes nothing but labels");
    assert_eq!(both[2], one[2].mapv(|label| u8::from(label > 0)));
    let index = std::fs::read_to_string(folder.path().join("binary/samples.csv")).unwrap();
    assert_eq!(index.lines().count(), 1 + 3 * trained);
    assert!(index.lines().last().unwrap().ends_with(",2"));

    let validation = options(folder.path(), folds::Part::Validation, None, "validation");
    assert_eq!(with_threads(2, &validation)[0].dim().0, 1, "each image once, as it is");
    let mut lost = options(folder.path(), folds::Part::Test, None, "test");
    lost.fold = 2;
    assert!(training_set(&lost, |_, _| ()).unwrap_err().to_string().contains("no fold 2"));
    lost.fold = 0;
    lost.images = Some(folder.path().join("masks"));
    assert!(training_set(&lost, |_, _| ()).unwrap_err().to_string().starts_with("cannot read the file of image "));
}

/// The truth counts samples along the walls; the labels of an unchanged region must give the same shares of its rows.
#[test]
fn labels_of_an_unchanged_region_say_what_the_truth_says() {
    let folder = study(12);
    let args = options(folder.path(), folds::Part::Test, None, "plain");
    training_set(&args, |_, _| ()).unwrap();
    let labels = tensor(&args.out, "labels");
    let cohort = cohort(12);
    let index = std::fs::read_to_string(args.out.join("samples.csv")).unwrap();
    let (mut compared, mut calcified) = (0, 0);
    for (sample, line) in index.lines().skip(1).enumerate() {
        let file = line.split(',').nth(1).unwrap();
        let number: usize = file[file.len() - 10..file.len() - 4].parse().unwrap();
        let truth = cohort.simulate(number - 1).truth;
        for segment in domain::Segment::all() {
            let bit = [label::ANTERIOR_VISIBLE, label::POSTERIOR_VISIBLE][segment.wall.index()];
            let rows = (0..64).filter(|row| {
                let row = labels.index_axis(ndarray::Axis(0), sample).row(segment.level.index() * 64 + row).to_owned();
                row.iter().any(|label| label & bit != 0)
            });
            let share = rows.count() as f64 / 64.0;
            let truth = f64::from(truth.calcified[segment.index()].1) / f64::from(phantom::SAMPLES_PER_SEGMENT);
            assert!((share - truth).abs() < 0.15, "sample {sample} {segment:?}: {share} of the rows, truth {truth}");
            compared += 1;
            calcified += usize::from(truth > 0.0);
        }
    }
    assert!(compared >= 16 && calcified >= 4, "{calcified} of {compared} segments");
}

fn points(simulated: &Simulated) -> Vec<(Landmark, Point<ImagePx>)> {
    (0..VERTEBRAL_POINTS)
        .map(|index| {
            let landmark = shape_landmark(index);
            (landmark, simulated.truth.corners[landmark.channel().unwrap()].unwrap())
        })
        .collect()
}

#[test]
fn variants_stay_within_the_papers_ranges_and_use_them() {
    let simulated = cohort(1).simulate(0);
    let (points, aspect) = (points(&simulated), simulated.spacing.aspect_or_square());
    let model = ShapeModel::from_json(SHAPE).unwrap();
    let region = Region::new(&model.estimate(&located(&points, 1.0), aspect).unwrap(), MARGIN_SD).unwrap();
    let size = extent(&region);
    // Similarity of least squares between the points and their variant: complex numbers, pixel widths.
    let fit = |moved: &[(Landmark, Point<ImagePx>)]| {
        let square = |p: &Point<ImagePx>| (p.x, p.y * aspect);
        let mean = |of: &[(Landmark, Point<ImagePx>)]| {
            let sum = of.iter().map(|(_, p)| square(p)).fold((0.0, 0.0), |s, p| (s.0 + p.0, s.1 + p.1));
            (sum.0 / of.len() as f64, sum.1 / of.len() as f64)
        };
        let (from, to) = (mean(&points), mean(moved));
        let (mut re, mut im, mut norm) = (0.0, 0.0, 0.0);
        for ((_, p), (_, q)) in points.iter().zip(moved) {
            let (p, q) = (square(p), square(q));
            let ((px, py), (qx, qy)) = ((p.0 - from.0, p.1 - from.1), (q.0 - to.0, q.1 - to.1));
            re += px * qx + py * qy;
            im += px * qy - py * qx;
            norm += px * px + py * py;
        }
        ((to.0 - from.0) / size.0, (to.1 - from.1) / size.1, re.hypot(im) / norm, im.atan2(re).to_degrees())
    };
    let fits: Vec<_> = (0..400).map(|i| fit(&moved(&points, aspect, size, &mut Draw::named("moved", &[i])))).collect();
    // Errors of 5 px on 20 points leave about 1 px on their mean, 1 % on the scale, and half a degree.
    let slack = 5.0 / size.0;
    for (of, most, rest) in [
        (fits.iter().map(|f| f.0).collect::<Vec<_>>(), TRANSLATION_MAX, slack),
        (fits.iter().map(|f| f.1).collect(), TRANSLATION_MAX, slack),
        (fits.iter().map(|f| f.2 - 1.0).collect(), 0.05, 0.04),
        (fits.iter().map(|f| f.3).collect(), ROTATION_MAX_DEG, 2.5),
    ] {
        let (low, high) = of.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
        assert!(low >= -most - rest && high <= most + rest, "{low}..{high}, at most {most}");
        assert!(low < -0.85 * most && high > 0.85 * most, "{low}..{high} do not fill {most}");
    }
    let residual: Vec<f64> = (0..200)
        .flat_map(|i| {
            let moved = moved(&points, aspect, (0.0, 0.0), &mut Draw::named("moved", &[i]));
            let (_, _, scale, turn) = fit(&moved);
            let (sin, cos) = turn.to_radians().sin_cos();
            let centre = |of: &[(Landmark, Point<ImagePx>)]| of.iter().map(|(_, p)| p.x).sum::<f64>() / of.len() as f64;
            let middle = |of: &[(Landmark, Point<ImagePx>)]| of.iter().map(|(_, p)| p.y).sum::<f64>() / of.len() as f64;
            let (cx, cy, dx) = (centre(&points), middle(&points), centre(&moved));
            let off = |((_, p), (_, q)): (&Named, &Named)| {
                let (x, y) = (p.x - cx, (p.y - cy) * aspect);
                q.x - dx - scale * (cos * x - sin * y)
            };
            points.iter().zip(&moved).map(off).collect::<Vec<f64>>()
        })
        .collect();
    let sd = (residual.iter().map(|r| r * r).sum::<f64>() / residual.len() as f64).sqrt();
    // The fit takes 4 of 40 degrees of freedom.
    assert!((sd - CORNER_NOISE_PX * (0.9f64).sqrt()).abs() < 0.3, "errors of the points: {sd} px");
}

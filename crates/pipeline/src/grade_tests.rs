use crate::pipeline::Pipeline;
use crate::progress::{Progress, RunReport};
use crate::run::{ScoreOptions, score};
use crate::testing::{Shows, Study, graded_directory, lake, picture, sql};
use domain::ExcludeReason;
use lake::Lake;
use scoring::GradeInput;
use std::collections::BTreeMap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

async fn scored(input: GradeInput) -> (Study, Lake, RunReport) {
    let study = Study::of(graded_directory(input));
    study.add("a.png", &picture(Shows::LateralSpine, 1));
    study.add("b.png", &picture(Shows::LateralSpine, 2));
    study.add("frontal.png", &picture(Shows::FrontalSpine, 3));
    let lake = lake().await;
    let (progress, _) = watch::channel(Progress::default());
    let (steps, source) = (study.steps(&lake), study.source().await);
    let options = ScoreOptions::default();
    let report = score(&steps, &lake, &source, &options, &progress, &CancellationToken::new()).await.unwrap();
    (study, lake, report)
}

const GRADES: &str = "SELECT DISTINCT aac_l1_ant AS l1a, aac_l4_ant AS l4a, aac_l4_post AS l4p, aac24_total AS total, aac24_min AS least,
    aac8_total AS aac8, aac_length_mm AS mm FROM readings WHERE status = 'scored'";

fn cells(table: &str) -> Vec<&str> {
    let row = table.lines().nth(3).unwrap();
    row.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[tokio::test]
async fn a_network_that_grades_gives_rows_without_lengths() {
    for input in [GradeInput::Spine, GradeInput::Region] {
        let (study, lake, report) = scored(input).await;
        assert_eq!(report.outcomes.scored, 2);
        assert_eq!(report.outcomes.excluded, BTreeMap::from([(ExcludeReason::WrongView, 1)]));
        assert_eq!(study.asked(), 3, "the view comes from `locate`");
        let table = sql(&lake, GRADES).await;
        assert_eq!(cells(&table), ["0", "1", "3", "4", "4"], "and lengths are empty: {table}");
    }
}

#[tokio::test]
async fn an_image_graded_as_a_whole_needs_no_localisation() {
    let (study, lake, report) = scored(GradeInput::Image).await;
    assert_eq!((report.outcomes.scored, study.asked()), (2, 0));
    assert_eq!(report.outcomes.excluded, BTreeMap::from([(ExcludeReason::WrongView, 1)]));
    let table = sql(&lake, GRADES).await;
    assert_eq!(cells(&table), ["1", "3", "4"], "L1 in front is not assessable, so that there is no total: {table}");
}

#[test]
fn a_network_with_other_tensors_is_refused_before_it_runs() {
    let folder = graded_directory(GradeInput::Image);
    let path = folder.path().join("grade.toml");
    let whole = std::fs::read_to_string(&path).unwrap();
    let refused = |from: &str, to: &str| {
        assert!(whole.contains(from));
        std::fs::write(&path, whole.replacen(from, to, 1)).unwrap();
        Pipeline::load(folder.path()).unwrap_err().to_string()
    };
    let other = refused("\"exceeds\"", "\"grades\"");
    assert!(other.contains("grade.toml") && other.contains("output `exceeds`"), "{other}");
    assert!(refused("size = 256", "size = 128").contains("one input `image`, UINT8 [batch, 1, 512, 256]"));
    let names = Pipeline::load(graded_directory(GradeInput::Spine).path()).unwrap();
    assert_eq!(names.networks().map(|m| m.name().to_owned()).collect::<Vec<_>>(), ["locate", "grade"]);
}

#[test]
fn the_network_that_grades_is_part_of_the_fingerprint() {
    let folder = graded_directory(GradeInput::Image);
    let first = Pipeline::load(folder.path()).unwrap().fingerprint("cpu");
    let path = folder.path().join("grade.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let digest = domain::Digest::of(b"grade").to_string();
    assert!(text.contains(&digest));
    std::fs::write(&path, text.replace(&digest, &domain::Digest::of(b"other").to_string())).unwrap();
    assert_ne!(Pipeline::load(folder.path()).unwrap().fingerprint("cpu"), first);
}

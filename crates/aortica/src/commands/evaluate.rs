//! `aortica evaluate`: the readings of a lake against the truth of a simulated cohort; pipelines side by side.

use crate::cli::EvaluateArgs;
use crate::comparison::films::{Choice, Film, choose, film};
use crate::exit::usage;
use crate::settings::Settings;
use crate::{comparison, page, study_key, wiring};
use anyhow::Context;
use arrow::array::{Array, AsArray};
use domain::grade::CategoryCut;
use domain::{ExcludeReason, FailReason, Fingerprint, ImageId, Outcome, Reading, StudyKey};
use futures::{StreamExt, TryStreamExt};
use imaging::{DecodeContext, Decoded};
use lake::{Artifacts, Lake, SessionOptions};
use learning::evaluate::{MethodRows, ReadRow, Reference, evaluate};
use learning::fold_table::read_folds;
use learning::{read_human_readings, read_outcomes, read_truth};
use statistics::Confidence;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

/// Artifacts that are fetched at once.
pub(super) const ARTIFACTS_AT_ONCE: usize = 16;

pub fn run(args: &EvaluateArgs, settings: &Settings) -> anyhow::Result<()> {
    let path = args.key.clone().unwrap_or_else(|| settings.key_path(&args.lake.lake));
    if !path.exists() {
        return Err(usage(format!(
            "study key {} does not exist; give the one that the lake was scored with (--key)",
            path.display()
        )));
    }
    let key = study_key::load_or_create(&path)?;
    let table = args.truth.join("truth.parquet");
    if !table.exists() {
        return Err(usage(format!(
            "{} does not exist: --truth takes the folder that `aortica phantom` wrote",
            table.display()
        )));
    }
    let pseudonym = |uid: &str| key.pseudonym("instance", uid);
    let mut truth = read_truth(&table, pseudonym)?;
    if let Some(file) = &args.only {
        let named: HashSet<String> = read_folds(file)?.into_iter().map(|row| row.image.file).collect();
        truth.retain(|image| named.contains(&image.file));
    }
    let readings = args.truth.join("human_readings.parquet");
    let humans = if readings.exists() { read_human_readings(&readings, pseudonym)? } else { Vec::new() };
    let followed = args.truth.join("participants.csv");
    let outcomes = if followed.exists() { read_outcomes(&table, &followed)? } else { Vec::new() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let lake = runtime.block_on(wiring::open_lake(&args.lake.lake))?;
    let Read { methods, images } = runtime.block_on(read_methods(&lake, args.cross_validated))?;
    let reference = Reference {
        truth: &truth,
        humans: &humans,
        outcomes: &outcomes,
        folder: (!args.no_masks && args.truth.join("masks").exists()).then_some(args.truth.as_path()),
        cut: CategoryCut::default(),
        confidence: Confidence::new(args.confidence).map_err(|error| usage(format!("--confidence: {error}")))?,
    };
    let evaluation = evaluate(reference, &methods)?;
    if let Some(file) = &args.html {
        let folder = args.images.clone().unwrap_or_else(|| args.truth.join("images"));
        let masks = Some(args.truth.join("masks")).filter(|masks| masks.exists());
        let mut films = Vec::new();
        for choice in choose(&truth, &methods) {
            let readings = runtime.block_on(readings_of(&lake, &choice, &methods, &images))?;
            films.extend(drawn(&choice, &folder, masks.as_deref(), &key, &readings)?);
        }
        page::write(file, &comparison::page(&evaluation, &films, &args.title)?)?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&evaluation)?);
    } else {
        print!("{}", evaluation.table());
        if let Some(file) = &args.html {
            println!("\nPage: {} (open it in a browser; it needs nothing else)", file.display());
        }
    }
    Ok(())
}

/// What the lake holds of all methods.
struct Read {
    methods: Vec<MethodRows>,
    /// Where the artifacts of scored rows are, by the method's fingerprint and instance.
    images: HashMap<(String, String), (Fingerprint, ImageId)>,
}

/// An image as each method read it: name, row, reading.
type Readings = Vec<(String, Option<ReadRow>, Option<Reading>)>;

async fn readings_of(
    lake: &Lake,
    choice: &Choice<'_>,
    methods: &[MethodRows],
    images: &HashMap<(String, String), (Fingerprint, ImageId)>,
) -> anyhow::Result<Readings> {
    let artifacts = lake.artifacts();
    let sop = &choice.truth.sop_id;
    let mut readings = Vec::new();
    for method in methods {
        let row = method.rows.iter().find(|row| row.sop_id == *sop).cloned();
        let reading = match images.get(&(method.fingerprint.clone(), sop.clone())) {
            Some((fingerprint, image)) => artifacts.get(fingerprint, image).await?,
            None => None,
        };
        readings.push((method.name.clone(), row, reading));
    }
    readings.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(readings)
}

/// `None` where the picture is not there, or cannot be decoded here.
fn drawn(
    choice: &Choice,
    folder: &Path,
    masks: Option<&Path>,
    key: &StudyKey,
    readings: &Readings,
) -> anyhow::Result<Option<Film>> {
    let Some(name) = Path::new(&choice.truth.file).file_name() else { return Ok(None) };
    let Ok(bytes) = std::fs::read(folder.join(name)) else { return Ok(None) };
    let Decoded::Radiograph(radiograph) = imaging::decode(&bytes, &DecodeContext::new(key.clone())) else {
        return Ok(None);
    };
    film(choice, &radiograph, masks, readings).map(Some)
}

/// A row of `readings`, of which the artifact tells the rest.
pub(super) struct Wanted {
    pub sop: String,
    pub status: String,
    reason: String,
    image: Option<String>,
    pub fingerprint: String,
    pub pipeline: String,
}

/// The rows of a lake that name an instance.
pub(super) async fn wanted(lake: &Lake) -> anyhow::Result<Vec<Wanted>> {
    let session = lake.session(SessionOptions::default()).await?;
    let batches = session
        .collect(
            "SELECT sop_id, status, fail_reason, image_id, fingerprint, pipeline FROM readings \
             WHERE sop_id IS NOT NULL AND fingerprint IS NOT NULL",
        )
        .await?;
    let mut wanted = Vec::new();
    for batch in &batches {
        let column = |index: usize| -> anyhow::Result<Vec<Option<String>>> {
            let text = arrow::compute::cast(batch.column(index), &arrow::datatypes::DataType::Utf8)?;
            let text = text.as_string::<i32>();
            Ok((0..text.len()).map(|row| text.is_valid(row).then(|| text.value(row).to_owned())).collect())
        };
        let (sop, status, reason, image) = (column(0)?, column(1)?, column(2)?, column(3)?);
        let (fingerprint, pipeline) = (column(4)?, column(5)?);
        for row in 0..batch.num_rows() {
            let text = |column: &[Option<String>]| column[row].clone().unwrap_or_default();
            wanted.push(Wanted {
                sop: text(&sop),
                status: text(&status),
                reason: text(&reason),
                image: image[row].clone(),
                fingerprint: text(&fingerprint),
                pipeline: text(&pipeline),
            });
        }
    }
    Ok(wanted)
}

/// Every reading of the lake by fingerprint, with corners, outlines and grades from its artifact. `cross_validated`: by name and version of
/// the pipeline; the method's fingerprint is then that of all of them in the order of the alphabet, joined.
async fn read_methods(lake: &Lake, cross_validated: bool) -> anyhow::Result<Read> {
    let wanted = wanted(lake).await?;
    let methods_of = methods_of(&wanted, cross_validated);
    let images = wanted
        .iter()
        .filter_map(|row| {
            let image = row.image.as_deref().and_then(ImageId::parse)?;
            let fingerprint = Fingerprint::parse(&row.fingerprint)?;
            Some(((methods_of[&row.fingerprint].clone(), row.sop.clone()), (fingerprint, image)))
        })
        .collect();
    let artifacts = lake.artifacts();
    let rows: Vec<(String, String, Option<ReadRow>)> = futures::stream::iter(wanted)
        .map(|wanted| {
            let artifacts = &artifacts;
            async move {
                let row = ReadRow::of(wanted.sop.clone(), &outcome(artifacts, &wanted).await?);
                anyhow::Ok((wanted.fingerprint, wanted.pipeline, row))
            }
        })
        .buffered(ARTIFACTS_AT_ONCE)
        .try_collect()
        .await?;
    let mut methods: BTreeMap<String, MethodRows> = BTreeMap::new();
    for (fingerprint, pipeline, row) in rows {
        let fingerprint = methods_of[&fingerprint].clone();
        let method = methods.entry(fingerprint.clone()).or_insert_with(|| MethodRows {
            name: pipeline,
            fingerprint,
            rows: Vec::new(),
        });
        method.rows.extend(row);
    }
    let mut methods: Vec<MethodRows> = methods.into_values().collect();
    let names: Vec<String> = methods.iter().map(|method| method.name.clone()).collect();
    for method in &mut methods {
        // one pipeline in two precisions, or before and after a change of its rules
        if names.iter().filter(|name| **name == method.name).count() > 1 {
            method.name = format!("{} {}", method.name, &method.fingerprint[..6]);
        }
    }
    Ok(Read { methods, images })
}

/// The fingerprint of the method that each fingerprint belongs to: its own, or that of all pipelines of its name and version together.
fn methods_of(rows: &[Wanted], cross_validated: bool) -> HashMap<String, String> {
    let mut of_name: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in rows {
        let name = if cross_validated { row.pipeline.as_str() } else { row.fingerprint.as_str() };
        of_name.entry(name).or_default().insert(&row.fingerprint);
    }
    let joined = |together: &BTreeSet<&str>| together.iter().copied().collect::<Vec<_>>().join("+");
    of_name
        .values()
        .flat_map(|together| together.iter().map(move |one| ((*one).to_owned(), joined(together))))
        .collect()
}

/// What became of an image, with its reading from the artifact.
pub(super) async fn outcome(artifacts: &Artifacts, wanted: &Wanted) -> anyhow::Result<Outcome> {
    Ok(match wanted.status.as_str() {
        "scored" => {
            let image = wanted.image.as_deref().and_then(ImageId::parse);
            let named = image.zip(Fingerprint::parse(&wanted.fingerprint));
            let (image, fingerprint) = named.context("a scored row without image id or fingerprint")?;
            let reading = artifacts.get(&fingerprint, &image).await?;
            let reading = reading.with_context(|| format!("the artifact of image {image} is missing"))?;
            Outcome::Scored { reading: Box::new(reading) }
        }
        "excluded" => Outcome::Excluded { reason: wanted.reason.parse::<ExcludeReason>().map_err(anyhow::Error::msg)? },
        _ => Outcome::Failed { reason: wanted.reason.parse::<FailReason>().map_err(anyhow::Error::msg)? },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pipeline: &str, fingerprint: &str) -> Wanted {
        Wanted {
            sop: "s".into(),
            status: "scored".into(),
            reason: String::new(),
            image: None,
            fingerprint: fingerprint.into(),
            pipeline: pipeline.into(),
        }
    }

    #[test]
    fn folds_of_one_pipeline_are_one_method_only_when_asked() {
        let rows =
            [row("ours 1.0.0", "bb"), row("ours 1.0.0", "aa"), row("ours 1.1.0", "cc"), row("theirs 1.0.0", "dd")];
        let apart = methods_of(&rows, false);
        assert!(apart.iter().all(|(one, method)| one == method) && apart.len() == 4);
        let together = methods_of(&rows, true);
        let of = |fingerprint: &str| together[fingerprint].as_str();
        assert_eq!([of("aa"), of("bb"), of("cc"), of("dd")], ["aa+bb", "aa+bb", "cc", "dd"]);
    }
}

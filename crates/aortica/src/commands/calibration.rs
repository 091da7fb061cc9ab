//! `aortica train calibration`: how sure a pipeline's readings are, learned from its readings of a simulated cohort.

use super::evaluate::{ARTIFACTS_AT_ONCE, Wanted, outcome, wanted};
use crate::cli::{CalibrationArgs, PipelineChoice};
use crate::exit::usage;
use crate::settings::Settings;
use crate::{study_key, wiring};
use anyhow::Context;
use domain::{Outcome, SegmentGrade};
use futures::{StreamExt, TryStreamExt};
use lake::Lake;
use learning::calibration::{Example, fit_calibration};
use learning::read_truth;
use std::collections::{BTreeSet, HashMap};

pub fn run(args: &CalibrationArgs, settings: &Settings) -> anyhow::Result<()> {
    let definition = wiring::definition(&PipelineChoice { pipeline: args.pipeline.clone() })?;
    let path = args.key.clone().unwrap_or_else(|| settings.key_path(&args.lake.lake));
    if !path.exists() {
        return Err(usage(format!("study key {} does not exist; give the one of the lake (--key)", path.display())));
    }
    let key = study_key::load_or_create(&path)?;
    let truth = read_truth(&args.truth.join("truth.parquet"), |uid| key.pseudonym("instance", uid))?;
    let visible: HashMap<String, [SegmentGrade; 8]> =
        truth.into_iter().filter(|row| row.lateral_lumbar).map(|row| (row.sop_id, row.visible)).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let examples = runtime.block_on(async {
        let lake = wiring::open_lake(&args.lake.lake).await?;
        let chosen = chosen(wanted(&lake).await?, &definition.name, args.fingerprint.as_deref())?;
        examples(&lake, chosen, &visible).await
    })?;
    let fitted = fit_calibration(&examples, &definition.rules())?;
    std::fs::write(&args.out, fitted.calibration.to_json())
        .with_context(|| format!("writing {}", args.out.display()))?;
    print!("{}", fitted.told());
    Ok(())
}

/// The scored rows of one fingerprint of the pipeline.
fn chosen(rows: Vec<Wanted>, pipeline: &str, fingerprint: Option<&str>) -> anyhow::Result<Vec<Wanted>> {
    let of_pipeline = |row: &Wanted| row.pipeline.split_once(' ').is_some_and(|(name, _)| name == pipeline);
    let rows: Vec<Wanted> = rows
        .into_iter()
        .filter(|row| row.status == "scored" && fingerprint.map_or_else(|| of_pipeline(row), |f| row.fingerprint == f))
        .collect();
    let found: BTreeSet<&str> = rows.iter().map(|row| row.fingerprint.as_str()).collect();
    match found.len() {
        0 => Err(usage(format!("the lake has no readings of {}", fingerprint.unwrap_or(pipeline)))),
        1 => Ok(rows),
        _ => {
            let found: Vec<&str> = found.into_iter().collect();
            Err(usage(format!("the lake has several sets of readings; choose by --fingerprint: {}", found.join(", "))))
        }
    }
}

async fn examples(
    lake: &Lake,
    rows: Vec<Wanted>,
    visible: &HashMap<String, [SegmentGrade; 8]>,
) -> anyhow::Result<Vec<Example>> {
    let artifacts = lake.artifacts();
    let known = rows.into_iter().filter_map(|row| Some((*visible.get(&row.sop)?, row)));
    let read = futures::stream::iter(known).map(|(visible, row)| {
        let artifacts = &artifacts;
        async move { anyhow::Ok((visible, outcome(artifacts, &row).await?)) }
    });
    let found: Vec<([SegmentGrade; 8], Outcome)> = read.buffered(ARTIFACTS_AT_ONCE).try_collect().await?;
    let example = |(visible, outcome)| match outcome {
        Outcome::Scored { reading } => Some(Example { visible, reading: *reading }),
        Outcome::Excluded { .. } | Outcome::Failed { .. } => None,
    };
    Ok(found.into_iter().filter_map(example).collect())
}

//! `aortica evaluate`: the readings of a lake against the truth of a simulated cohort.

use crate::cli::EvaluateArgs;
use crate::exit::usage;
use crate::settings::Settings;
use crate::{study_key, wiring};
use anyhow::Context;
use arrow::array::{Array, AsArray, RecordBatch};
use domain::grade::CategoryCut;
use domain::{ExcludeReason, FailReason, Fingerprint, ImageId, Outcome};
use futures::{StreamExt, TryStreamExt};
use lake::{Lake, SessionOptions};
use learning::evaluate::{ReadRow, evaluate};
use learning::truth_table::read_truth;

/// Artifacts that are fetched at once.
const ARTIFACTS_AT_ONCE: usize = 16;

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
    let truth = read_truth(&table, |uid| key.pseudonym("instance", uid))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let rows = runtime.block_on(async {
        let lake = wiring::open_lake(&args.lake.lake).await?;
        read_rows(&lake).await
    })?;
    let evaluation = evaluate(&truth, &rows, CategoryCut::default())?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&evaluation)?);
    } else {
        print!("{}", evaluation.table());
    }
    Ok(())
}

/// Every reading of the lake, with corners and grades from its artifact.
async fn read_rows(lake: &Lake) -> anyhow::Result<Vec<ReadRow>> {
    let session = lake.session(SessionOptions::default()).await?;
    let fingerprints = session.collect("SELECT DISTINCT fingerprint FROM readings").await?;
    let fingerprints: usize = fingerprints.iter().map(RecordBatch::num_rows).sum();
    if fingerprints > 1 {
        return Err(usage(format!(
            "the lake holds readings of {fingerprints} pipelines or versions; score into a lake of its own to evaluate one"
        )));
    }
    let batches = session
        .collect("SELECT sop_id, status, fail_reason, image_id, fingerprint FROM readings WHERE sop_id IS NOT NULL")
        .await?;
    let mut wanted = Vec::new();
    for batch in &batches {
        let column = |index: usize| -> anyhow::Result<Vec<Option<String>>> {
            let text = arrow::compute::cast(batch.column(index), &arrow::datatypes::DataType::Utf8)?;
            let text = text.as_string::<i32>();
            Ok((0..text.len()).map(|row| text.is_valid(row).then(|| text.value(row).to_owned())).collect())
        };
        let (sop, status, reason, image, fingerprint) = (column(0)?, column(1)?, column(2)?, column(3)?, column(4)?);
        for row in 0..batch.num_rows() {
            wanted.push((
                sop[row].clone(),
                status[row].clone(),
                reason[row].clone(),
                image[row].clone(),
                fingerprint[row].clone(),
            ));
        }
    }
    let artifacts = lake.artifacts();
    let rows = futures::stream::iter(wanted)
        .map(|(sop, status, reason, image, fingerprint)| {
            let artifacts = &artifacts;
            async move {
                let reason = reason.unwrap_or_default();
                let outcome = match status.as_deref() {
                    Some("scored") => {
                        let (image, fingerprint) = (image.unwrap_or_default(), fingerprint.unwrap_or_default());
                        let named = ImageId::parse(&image).zip(Fingerprint::parse(&fingerprint));
                        let (image, fingerprint) = named.context("a scored row without image id or fingerprint")?;
                        let reading = artifacts.get(&fingerprint, &image).await?;
                        let reading = reading.with_context(|| format!("the artifact of image {image} is missing"))?;
                        Outcome::Scored { reading: Box::new(reading) }
                    }
                    Some("excluded") => {
                        Outcome::Excluded { reason: reason.parse::<ExcludeReason>().map_err(anyhow::Error::msg)? }
                    }
                    _ => Outcome::Failed { reason: reason.parse::<FailReason>().map_err(anyhow::Error::msg)? },
                };
                anyhow::Ok(ReadRow::of(sop.unwrap_or_default(), &outcome))
            }
        })
        .buffered(ARTIFACTS_AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(rows.into_iter().flatten().collect())
}

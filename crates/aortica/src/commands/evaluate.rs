//! `aortica evaluate`: the readings of a lake against the truth of a simulated cohort; pipelines side by side.

use crate::cli::EvaluateArgs;
use crate::exit::usage;
use crate::settings::Settings;
use crate::{study_key, wiring};
use anyhow::Context;
use arrow::array::{Array, AsArray};
use domain::grade::CategoryCut;
use domain::{ExcludeReason, FailReason, Fingerprint, ImageId, Outcome};
use futures::{StreamExt, TryStreamExt};
use lake::{Artifacts, Lake, SessionOptions};
use learning::evaluate::{MethodRows, ReadRow, Reference, evaluate};
use learning::{read_human_readings, read_truth};
use statistics::Confidence;
use std::collections::BTreeMap;

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
    let truth = read_truth(&table, pseudonym)?;
    let readings = args.truth.join("human_readings.parquet");
    let humans = if readings.exists() { read_human_readings(&readings, pseudonym)? } else { Vec::new() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let methods = runtime.block_on(async {
        let lake = wiring::open_lake(&args.lake.lake).await?;
        read_methods(&lake).await
    })?;
    let reference = Reference {
        truth: &truth,
        humans: &humans,
        folder: (!args.no_masks && args.truth.join("masks").exists()).then_some(args.truth.as_path()),
        cut: CategoryCut::default(),
        confidence: Confidence::new(args.confidence).map_err(|error| usage(format!("--confidence: {error}")))?,
    };
    let evaluation = evaluate(reference, &methods)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&evaluation)?);
    } else {
        print!("{}", evaluation.table());
    }
    Ok(())
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

/// Every reading of the lake by fingerprint, with corners, outlines and grades from its artifact.
async fn read_methods(lake: &Lake) -> anyhow::Result<Vec<MethodRows>> {
    let wanted = wanted(lake).await?;
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
    Ok(methods)
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

//! What was done, with what: versions, digests, rules.

use super::Report;
use super::words::{Table, count, shown, text};
use crate::cohort::digest_of;
use anyhow::Context;
use domain::{Fingerprint, ImageId};
use minijinja::{Value, context};

/// Version, and the commit it was built from.
const PROGRAM: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("AORTICA_COMMIT"), ")");

pub async fn section(report: &mut Report<'_>) -> anyhow::Result<Value> {
    let fingerprint = report.cohort.fingerprint.clone();
    let made = format!(
        "SELECT min(pipeline) AS pipeline, min(scoring_rule) AS rule, min(scoring_extent) AS extent, min(key_name) AS key_name,
             CAST(max(scored_at) AS VARCHAR) AS as_of, min(image_id) FILTER (WHERE status = 'scored') AS image_id, count(*) AS images,
             count(DISTINCT submission) AS submissions
         FROM readings WHERE fingerprint = '{fingerprint}'"
    );
    // The image only leads to an artifact; it is no number of the page.
    let made = report.cohort.rows(&made).await?.into_iter().next().context("a count has a row")?;
    let of = |column: &str| text(&made, column).unwrap_or_else(|| "not known".to_owned());
    report.fact("program", PROGRAM);
    report.fact("fingerprint", fingerprint.clone());
    report.fact("as_of", of("as_of"));
    report.fact("pipeline", of("pipeline"));
    report.fact("rule", of("rule"));

    let mut table = Table::new("What made the readings", &["", ""]);
    table.row(["Program of this report", PROGRAM]);
    table.row(["Pipeline".to_owned(), of("pipeline")]);
    table.row(["Fingerprint".to_owned(), fingerprint.clone()]);
    for (model, digest) in models(report, &fingerprint, text(&made, "image_id")).await? {
        table.row([format!("Network {model}, SHA-256"), digest]);
    }
    table.row(["Rule at exactly 1/3 and 2/3 of a wall".to_owned(), of("rule")]);
    table.row(["Extent of a segment".to_owned(), super::words::plain(&of("extent"))]);
    table.row([
        "Images, submissions".to_owned(),
        format!("{}, {}", count(&made, "images"), count(&made, "submissions")),
    ]);
    table.row(["Newest reading".to_owned(), of("as_of")]);
    table.row(["Study key of the pseudonyms".to_owned(), of("key_name")]);
    for (name, path) in [("Joined file", &report.args.cohort.with), ("Human readings", &report.args.cohort.human)] {
        if let Some(path) = path {
            table.row([format!("{name}, SHA-256"), digest_of(path)?]);
        }
    }
    Ok(context! {
        table => shown(&table),
        with => report.args.cohort.with.is_some(),
        human => report.cohort.has_human,
        facts => shown(&report.facts),
    })
}

/// The networks of a fingerprint, from the evidence of one of its images.
async fn models(
    report: &Report<'_>,
    fingerprint: &str,
    image: Option<String>,
) -> anyhow::Result<Vec<(String, String)>> {
    let named = image.as_deref().and_then(ImageId::parse).zip(Fingerprint::parse(fingerprint));
    let Some((image, fingerprint)) = named else { return Ok(Vec::new()) };
    let reading = report.cohort.lake.artifacts().get(&fingerprint, &image).await?;
    let models = reading.map_or(Vec::new(), |reading| reading.models);
    Ok(models.into_iter().map(|(name, digest)| (name, digest.to_string())).collect())
}

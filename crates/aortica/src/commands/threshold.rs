//! `aortica train threshold`: from which probability on a pixel should be called calcified.

use crate::cli::ThresholdArgs;
use crate::exit::usage;
use crate::settings::Settings;
use crate::wiring;
use futures::{StreamExt, TryStreamExt};
use learning::forest::judge_forest;
use learning::regions::{LabelledRegion, read_regions};
use learning::threshold::{MarkQuality, judge_marks, told};
use pipeline::Pipeline;
use pipeline::steps::{Stages, mark_region};
use std::sync::Arc;

pub fn run(args: &ThresholdArgs, settings: &Settings) -> anyhow::Result<()> {
    let pipeline = wiring::pipeline(&args.pipeline, settings)?;
    let regions = read_regions(&args.validation)?;
    let judged = match pipeline.forest() {
        Some(forest) => judge_forest(forest, &regions)?,
        None => by_network(pipeline, &regions, settings)?,
    };
    if args.all {
        println!("threshold,dice,accuracy");
        for MarkQuality { threshold, dice, accuracy } in &judged {
            println!("{threshold:.2},{dice:.6},{accuracy:.6}");
        }
    } else {
        print!("{}", told(&judged, regions.len()));
    }
    Ok(())
}

fn by_network(
    pipeline: Arc<Pipeline>,
    regions: &[LabelledRegion],
    settings: &Settings,
) -> anyhow::Result<Vec<MarkQuality>> {
    let marking = pipeline.definition().segment.as_ref().and_then(|segment| segment.by.model());
    let Some(manifest) = marking.and_then(|model| pipeline.network(model)) else {
        let name = &pipeline.definition().name;
        return Err(usage(format!("{name} marks no calcium: it has no [segment] whose threshold could be found")));
    };
    let name = manifest.name().to_owned();
    let threads = std::thread::available_parallelism()?.get();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let maps: Vec<Vec<f32>> = runtime.block_on(async {
        let Stages(stages) = wiring::networks(pipeline, &[], threads, settings).await?.stages;
        let stage = stages.into_iter().find(|stage| stage.manifest().name() == name);
        let stage = stage.ok_or_else(|| anyhow::anyhow!("no stage computes {name}"))?;
        let marked = futures::stream::iter(regions).map(|region| mark_region(stage.as_ref(), region.pixels.clone()));
        anyhow::Ok(marked.buffered(2 * threads).try_collect().await?)
    })?;
    Ok(judge_marks(regions, |region| maps[region].clone())?)
}

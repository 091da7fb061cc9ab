//! `aortica pipeline`: what can be run.

use crate::cli::{PipelineChoice, PipelineCommand};
use crate::settings::Settings;
use crate::wiring;
use inference::{Forms, ModelManifest};
use pipeline::Pipeline;
use serde_json::json;

pub fn run(command: &PipelineCommand, settings: &Settings) -> anyhow::Result<()> {
    match command {
        PipelineCommand::List { json } => list(*json),
        PipelineCommand::Show { pipeline, json } => {
            let pipeline = wiring::pipeline(&PipelineChoice { pipeline: pipeline.clone() }, settings)?;
            show(&pipeline, *json)
        }
    }
}

fn list(as_json: bool) -> anyhow::Result<()> {
    let found = pipeline::pipeline::list(&wiring::pipelines()?);
    let rows: Vec<_> = found
        .iter()
        .map(|(folder, loaded)| {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match loaded {
                Ok(p) => json!({"name": name, "version": p.definition().version, "summary": p.definition().summary,
                    "fingerprint": p.fingerprint("cpu"), "problem": null}),
                Err(e) => json!({"name": name, "version": null, "summary": null, "fingerprint": null, "problem": e.to_string()}),
            }
        })
        .collect();
    if as_json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        for row in &rows {
            let text = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
            println!(
                "{:<16} {:<8} {}",
                text("name"),
                text("version"),
                row["problem"].as_str().map_or(text("summary"), |p| format!("cannot run: {p}"))
            );
        }
    }
    Ok(())
}

fn show(pipeline: &Pipeline, as_json: bool) -> anyhow::Result<()> {
    let forms = |name: &str| -> Vec<&str> {
        let all = pipeline.forms().flat_map(Forms::all);
        all.filter(|form| form.name() == name).map(|form| form.precision().name()).collect()
    };
    let model = |m: &ModelManifest| {
        json!({"name": m.name(), "version": m.version(), "summary": m.summary(), "sha256": m.digest(),
            "precision": m.precision().name(), "forms": forms(m.name()), "gflop": m.gflop_per_row(), "batch": m.batch().preferred})
    };
    let shown = json!({
        "fingerprint": pipeline.fingerprint("cpu"),
        "definition": pipeline.definition(),
        "models": pipeline.networks().map(model).collect::<Vec<_>>(),
        "forest": pipeline.forest().map(|forest| json!({"trees": forest.size().0, "nodes": forest.size().1})),
        "shape_model": pipeline.shape().map(|shape| json!({"shapes": shape.n_shapes(), "modes": shape.n_modes(),
            "variance_share": shape.variance_share()})),
    });
    if as_json {
        println!("{}", serde_json::to_string_pretty(&shown)?);
        return Ok(());
    }
    let definition = pipeline.definition();
    println!("{} {}\n{}\n", definition.name, definition.version, definition.summary);
    println!("fingerprint on cpu  {}", pipeline.fingerprint("cpu"));
    for m in pipeline.networks() {
        let gflop = m.gflop_per_row().map_or(String::new(), |g| format!(", {g:.2} GFLOP an image"));
        let others = forms(m.name()).join(", ");
        println!(
            "model {:<13} {} ({}; there are {others}{gflop})",
            m.name(),
            m.digest().short(16),
            m.precision().name()
        );
    }
    if let Some(forest) = pipeline.forest() {
        let (trees, nodes) = forest.size();
        println!("forest              {trees} trees, {nodes} nodes, {} features", forest.features().len());
    }
    if let Some(shape) = pipeline.shape() {
        println!("shape model         {} shapes, {} modes", shape.n_shapes(), shape.n_modes());
    }
    println!("folder              {}\n", pipeline.directory().display());
    print!("{}", toml::to_string_pretty(definition)?);
    Ok(())
}

//! Every file under pipelines/ and schemas/, and what is JSON under k8s/, is parsed (invariant 11); `make k8s` does the rest.

use std::path::{Path, PathBuf};
use tests::{repository, run, stdout};

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("work") {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_table_and_schema_parses() {
    let top = repository();
    let toml = files(&top.join("pipelines"), "toml");
    assert!(toml.len() >= 3, "a definition and two manifests");
    for path in toml {
        let text = std::fs::read_to_string(&path).unwrap();
        text.parse::<toml::Table>().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
    for folder in ["pipelines", "schemas", "k8s"] {
        for path in files(&top.join(folder), "json") {
            let text = std::fs::read_to_string(&path).unwrap();
            serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
    }
}

#[test]
fn every_pipeline_is_listed_and_shown_with_its_fingerprint() {
    let list = stdout(&["pipeline", "list", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    let definitions =
        files(&repository().join("pipelines"), "toml").into_iter().filter(|p| p.ends_with("pipeline.toml")).count();
    assert_eq!(names.len(), definitions);
    for name in names {
        let shown: serde_json::Value = serde_json::from_str(&stdout(&["pipeline", "show", name, "--json"])).unwrap();
        assert_eq!(shown["fingerprint"].as_str().unwrap().len(), 32);
    }
    run(&["pipeline", "show", "no-such-pipeline"], 2);
}

#[test]
fn tracked_models_stay_small() {
    let models = ["onnx", "bin"].iter().flat_map(|extension| files(&repository().join("pipelines"), extension));
    let bytes: u64 = models.map(|path| path.metadata().unwrap().len()).sum();
    assert!(bytes > 0 && bytes <= 40_000_000, "{bytes} bytes of models");
}

//! Rules of ARCHITECTURE.md that the source itself can be asked about.

use tests::repository;

fn dependencies(crate_name: &str) -> Vec<String> {
    let path = repository().join("crates").join(crate_name).join("Cargo.toml");
    let manifest: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    manifest["dependencies"].as_table().unwrap().keys().cloned().collect()
}

#[test]
fn pure_crates_know_no_io_and_no_runtime() {
    for name in ["domain", "scoring", "phantom"] {
        for banned in ["tokio", "object_store", "lapin", "ort", "tonic", "datafusion", "futures"] {
            assert!(!dependencies(name).iter().any(|d| d == banned), "{name} must not depend on {banned}");
        }
    }
}

/// Every .rs file of a folder and below, but not in `except`.
fn sources(folder: &std::path::Path, except: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()) {
        if path.is_dir() && !path.ends_with(except) {
            found.extend(sources(&path, except));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn statistics_are_pure_outside_of_their_sql() {
    for banned in ["tokio", "object_store", "lapin", "ort", "tonic", "futures", "arrow", "parquet"] {
        assert!(!dependencies("statistics").iter().any(|d| d == banned), "statistics must not depend on {banned}");
    }
    let files = sources(&repository().join("crates/statistics/src"), "sql");
    assert!(files.len() > 20, "the pure part is there");
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        for banned in ["datafusion", "std::fs", "std::io", "std::net", "async fn", ".await"] {
            assert!(!text.contains(banned), "{} uses {banned}", path.display());
        }
    }
}

#[test]
fn heavy_dependencies_stay_behind_their_fence() {
    let fences = [
        ("ort", "inference"),
        ("tonic", "inference"),
        ("lapin", "pipeline"),
        ("deltalake-core", "lake"),
        ("hayro-jpeg2000", "imaging"),
        ("statrs", "statistics"),
        ("datafusion-postgres", "serve"),
    ];
    for entry in std::fs::read_dir(repository().join("crates")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        for (dependency, fence) in fences {
            assert!(
                name == fence || !dependencies(&name).iter().any(|d| d == dependency),
                "{dependency} belongs to {fence}, not to {name}"
            );
        }
    }
}

#[test]
fn stage_services_cannot_see_images_or_identifiers() {
    let allowed = ["domain"];
    for dependency in dependencies("inference") {
        let own = repository().join("crates").join(&dependency).is_dir();
        assert!(!own || allowed.contains(&dependency.as_str()), "inference must not depend on {dependency}");
    }
}

//! The one place that reads the process environment and the clock (invariant 10).

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970 UTC.
pub fn now_us() -> i64 {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64)
}

#[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Credentials and settings of S3-compatible stores: every `AWS_*` variable, as object_store names them.
pub fn store_options() -> Vec<(String, String)> {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    std::env::vars().filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty()).collect()
}

/// URL of the broker, with credentials: `AORTICA_AMQP_URL`, or the content of the file `AORTICA_AMQP_URL_FILE` names.
pub fn amqp_url() -> anyhow::Result<Option<String>> {
    secret("AORTICA_AMQP_URL")
}

/// The token of the stage services: `AORTICA_STAGE_TOKEN`, or the content of the file `AORTICA_STAGE_TOKEN_FILE` names.
pub fn stage_token() -> anyhow::Result<Option<String>> {
    secret("AORTICA_STAGE_TOKEN")
}

/// A secret by environment (`NAME`) or by file (`NAME_FILE`).
fn secret(name: &str) -> anyhow::Result<Option<String>> {
    if let Some(value) = variable(name) {
        return Ok(Some(value));
    }
    let Some(path) = variable(&format!("{name}_FILE")) else { return Ok(None) };
    let text = std::fs::read_to_string(&path)
        .map_err(|e| anyhow::anyhow!("{name}_FILE names {path}, which cannot be read: {e}"))?;
    Ok(Some(text.trim().to_owned()))
}

/// Log filter, `RUST_LOG` style: `AORTICA_LOG`.
pub fn log_filter() -> Option<String> {
    variable("AORTICA_LOG")
}

/// Whether the user asked for no colours (<https://no-color.org>).
pub fn no_color() -> bool {
    variable("NO_COLOR").is_some()
}

/// Where an ONNX Runtime library may be, best guess first: `ORT_DYLIB_PATH`, beside the program, then the folder that
/// `make runtime` fills, seen from the working folder and from the program.
pub fn onnxruntime_candidates() -> Vec<PathBuf> {
    let name = if cfg!(target_os = "macos") { "libonnxruntime.dylib" } else { "libonnxruntime.so" };
    if let Some(path) = variable("ORT_DYLIB_PATH") {
        return vec![PathBuf::from(path)];
    }
    let mut candidates = vec![PathBuf::from(".cache/onnxruntime").join(name)];
    if let Ok(program) = std::env::current_exe() {
        for folder in program.ancestors().skip(1).take(4) {
            candidates.push(folder.join(name));
            candidates.push(folder.join(".cache/onnxruntime").join(name));
        }
    }
    candidates
}

/// Where pipelines may be, best guess first: `AORTICA_PIPELINES`, then `pipelines` beside the working folder and above
/// the program.
pub fn pipeline_folders() -> Vec<PathBuf> {
    if let Some(path) = variable("AORTICA_PIPELINES") {
        return vec![PathBuf::from(path)];
    }
    let mut folders = vec![PathBuf::from("pipelines")];
    if let Ok(program) = std::env::current_exe() {
        folders.extend(program.ancestors().skip(1).take(4).map(|f| f.join("pipelines")));
    }
    folders
}

/// Where the user's history of SQL statements is kept, if there is a home to keep it in.
pub fn history_file() -> Option<PathBuf> {
    let state = variable("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".local/state")))?;
    Some(state.join("aortica").join("query_history"))
}

//! Tests with real models. They need the ONNX Runtime library: `make test` sets ORT_DYLIB_PATH to the pinned one.

mod repository;
mod rest;
mod retry;
mod secure;
mod service;
mod session;

use inference::{ModelManifest, Runtime, Session, SessionConfig, Tensor};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

pub fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models")
}

pub fn manifest(name: &str) -> ModelManifest {
    ModelManifest::read(&models().join(format!("{name}.toml"))).unwrap()
}

/// What this crate has logged so far, of all tests.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

pub fn log() -> String {
    String::from_utf8(LOG.lock().unwrap().clone()).unwrap()
}

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Keeps the log from the first test on: spans that are met before there is a log would never be in it.
static LOGGING: LazyLock<()> = LazyLock::new(|| {
    let logger = tracing_subscriber::fmt().json().with_env_filter("inference=debug").with_writer(|| Log);
    logger.try_init().expect("there is no other log");
});

/// The library, or `None` (said aloud, past the capture of test output) where no path is set.
#[expect(clippy::disallowed_methods, reason = "the make targets tell the tests where the library is")]
pub fn runtime() -> Option<Runtime> {
    LazyLock::force(&LOGGING);
    match std::env::var_os("ORT_DYLIB_PATH") {
        Some(path) => Some(Runtime::load(Path::new(&path)).expect("ORT_DYLIB_PATH names a usable library")),
        None => {
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            let said = writeln!(
                std::io::stderr(),
                "SKIPPED {test}: ORT_DYLIB_PATH is not set; `make runtime` installs the library, `make test` sets it"
            );
            said.expect("stderr can be written");
            None
        }
    }
}

/// No delay, so that tests wait for nothing; the queue is as small as the largest request of the models.
pub fn prompt() -> SessionConfig {
    SessionConfig { longest_delay: Duration::ZERO, queue_rows: 64, ..SessionConfig::default() }
}

pub fn session(runtime: &Runtime, name: &str) -> Session {
    Session::start(runtime, manifest(name), prompt()).unwrap()
}

/// `rows` rows for input `image` of `scale` (1 x 4 x 8) or `conv` (1 x 24 x 16), each different.
pub fn pictures(rows: usize, row_shape: &[usize], seed: u32) -> Tensor {
    let pixels: usize = row_shape.iter().product();
    let mut state = seed;
    let values: Vec<u8> = (0..rows * pixels)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    let shape: Vec<usize> = std::iter::once(rows).chain(row_shape.iter().copied()).collect();
    Tensor::new("image", &shape, values).unwrap()
}

/// A copy of a manifest and its model in a folder of its own, with one text replaced by another.
pub fn changed(name: &str, from: &str, to: &str) -> (tempfile::TempDir, ModelManifest) {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(models().join(format!("{name}.toml"))).unwrap();
    assert!(text.contains(from), "{from}");
    std::fs::copy(models().join(format!("{name}.onnx")), folder.path().join(format!("{name}.onnx"))).unwrap();
    let manifest = ModelManifest::parse(&text.replacen(from, to, 1), folder.path()).unwrap();
    (folder, manifest)
}

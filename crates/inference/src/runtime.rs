//! The ONNX Runtime library, loaded from a file at run time.

use crate::error::{Error, ErrorKind, Result};
use ort::environment::Environment;
use ort::logging::LogLevel;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// What to do about a library that is absent or unusable; the end of every such message.
const ADVICE: &str = "run `make runtime` to install the pinned library, or point ORT_DYLIB_PATH at another";

/// The loaded library. The process has at most one, which stays until the process ends; clones are the same one.
#[derive(Clone)]
pub struct Runtime {
    environment: Environment,
    library: PathBuf,
}

static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

impl Runtime {
    /// Loads the shared library (`libonnxruntime.so` or what it is called on this system) at `path`, or returns the
    /// one that was loaded from there before.
    ///
    /// # Errors
    /// Kind `Library`, naming the file and what to do: the file is absent, is no ONNX Runtime library, or is older than
    /// the interface that this program was built for; or another library is already in use. Never panics.
    pub fn load(path: &Path) -> Result<Runtime> {
        let wrong = |message: String| Error::new(ErrorKind::Library, message);
        let library = path.canonicalize().map_err(|error| {
            wrong(format!("the ONNX Runtime library {} cannot be found ({error}); {ADVICE}", path.display()))
        })?;
        if !library.is_file() {
            return Err(wrong(format!("the ONNX Runtime library {} is not a file; {ADVICE}", path.display())));
        }
        // A thread that panicked while holding the lock left `None` or a whole runtime behind; both can be used.
        let mut loaded = LOADED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(runtime) = loaded.as_ref() {
            if runtime.library == library {
                return Ok(runtime.clone());
            }
            return Err(wrong(format!(
                "the ONNX Runtime library {} cannot be loaded beside {}, which this process already uses",
                library.display(),
                runtime.library.display()
            )));
        }
        let runtime = open(&library)?;
        *loaded = Some(runtime.clone());
        Ok(runtime)
    }

    /// The file that was loaded.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// What the library says of its own build: version, commit, compiler flags.
    pub fn build(&self) -> &'static str {
        ort::info()
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }
}

fn open(library: &Path) -> Result<Runtime> {
    let unusable = |reason: String| {
        Error::new(
            ErrorKind::Library,
            format!("the ONNX Runtime library {} cannot be used: {reason}; {ADVICE}", library.display()),
        )
    };
    // `init_from` reports what it foresees as errors; a library that breaks its own interface makes it panic.
    let opened = std::panic::catch_unwind(|| {
        let builder = ort::init_from(library).map_err(|error| error.to_string())?;
        let environment =
            builder.with_name("aortica").with_telemetry(false).build().map_err(|error| error.to_string())?;
        environment.set_log_level(LogLevel::Warning);
        share_arena(&environment).map_err(|error| error.to_string())?;
        Ok::<Environment, String>(environment)
    });
    match opened {
        Ok(Ok(environment)) => Ok(Runtime { environment, library: library.to_path_buf() }),
        Ok(Err(reason)) => Err(unusable(reason)),
        Err(_) => Err(unusable("it does not offer the interface of an ONNX Runtime".into())),
    }
}

/// Registers one CPU arena for all sessions, which grows by what is asked for (strategy kSameAsRequested) instead of
/// to the next power of two, so that memory stays near what the fixed batch shapes need.
fn share_arena(environment: &Environment) -> ort::Result<()> {
    use ort::AsPointer;
    use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
    const SAME_AS_REQUESTED: i32 = 1;
    const DEFAULT: i32 = -1;
    let memory = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Arena, MemoryType::Default)?;
    let mut arena = std::ptr::null_mut();
    // SAFETY: the environment and the memory description live through these calls, `arena` is written by the first,
    // copied by the second and released once.
    unsafe {
        ort::Error::result_from_status((ort::api().CreateArenaCfg)(
            0,
            SAME_AS_REQUESTED,
            DEFAULT,
            DEFAULT,
            &mut arena,
        ))?;
        let registered = (ort::api().CreateAndRegisterAllocator)(environment.ptr().cast_mut(), memory.ptr(), arena);
        (ort::api().ReleaseArenaCfg)(arena);
        ort::Error::result_from_status(registered)
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Runtime({})", self.library.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &Path) -> String {
        let error = Runtime::load(path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Library);
        assert_eq!(error.fault(), domain::Fault::Misconfigured);
        let message = error.to_string();
        assert!(message.contains("make runtime"), "{message}");
        message
    }

    /// A shared library built here, whose `OrtGetApiBase` (where it has one) reports `version`.
    fn library(folder: &Path, name: &str, source: &str) -> PathBuf {
        let code = folder.join(format!("{name}.rs"));
        std::fs::write(&code, source).unwrap();
        let output = folder.join(format!("lib{name}.so"));
        let rustc = option_env!("RUSTC").unwrap_or("rustc");
        let done = std::process::Command::new(rustc)
            .args(["--edition", "2021", "--crate-type", "cdylib", "-C", "panic=abort", "-o"])
            .arg(&output)
            .arg(&code)
            .output()
            .expect("rustc runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        output
    }

    #[test]
    fn an_absent_library_is_an_error_that_names_it() {
        assert!(refused(Path::new("/nowhere/libonnxruntime.so")).contains("/nowhere/libonnxruntime.so"));
    }

    #[test]
    fn a_folder_and_a_text_file_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(refused(folder.path()).contains("not a file"));
        let text = folder.path().join("libonnxruntime.so");
        std::fs::write(&text, "this is no library").unwrap();
        assert!(refused(&text).contains("cannot be used"));
    }

    #[test]
    fn a_library_that_is_too_old_or_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let other = library(folder.path(), "other", "#[no_mangle] pub extern \"C\" fn unrelated() {}");
        assert!(refused(&other).contains("OrtGetApiBase"));
        let old = library(
            folder.path(),
            "old",
            r#"
            #[repr(C)]
            pub struct Base {
                api: extern "C" fn(u32) -> *const u8,
                version: extern "C" fn() -> *const u8,
            }
            extern "C" fn api(_: u32) -> *const u8 { std::ptr::null() }
            extern "C" fn version() -> *const u8 { b"1.10.0\0".as_ptr() }
            static BASE: Base = Base { api, version };
            #[no_mangle] pub extern "C" fn OrtGetApiBase() -> *const Base { &BASE }
            "#,
        );
        assert!(refused(&old).contains("1.10.0"));
    }
}

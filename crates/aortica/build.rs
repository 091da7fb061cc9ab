//! Build facts for `aortica --version`.

use std::process::Command;

fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

// A build script is told by the environment what it builds; the program itself reads it in one place.
#[allow(clippy::disallowed_methods)]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // HEAD names a branch; its log grows with every commit.
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = output_of("git", &["rev-parse", "--path-format=absolute", "--git-path", file]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let commit = output_of("git", &["describe", "--always", "--abbrev=10"]).unwrap_or_else(|| "unknown".to_owned());
    let compiler = output_of(&std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned()), &["--version"]);
    println!("cargo::rustc-env=AORTICA_COMMIT={commit}");
    println!("cargo::rustc-env=AORTICA_RUSTC={}", compiler.unwrap_or_default());
    println!("cargo::rustc-env=AORTICA_PROFILE={}", std::env::var("PROFILE").unwrap_or_default());
    println!("cargo::rustc-env=AORTICA_TARGET={}", std::env::var("TARGET").unwrap_or_default());
}

//! What the integration tests share: the program as a user runs it, and a simulated cohort.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

/// Top of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

/// The program under test, built by the make target before the tests run.
fn program() -> PathBuf {
    let here = std::env::current_exe().expect("a test has a path");
    let path = here.ancestors().nth(2).expect("target/<profile>/deps").join("aortica");
    assert!(path.exists(), "{} is missing: run `make build` first", path.display());
    path
}

/// A command of the program, in the repository, with a quiet log and no colours.
pub fn aortica(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).current_dir(repository()).env("NO_COLOR", "1");
    // what the machine has set is not part of a test
    command.env_remove("AORTICA_AMQP_URL").env_remove("AORTICA_AMQP_URL_FILE");
    command
}

/// Runs to the end; panics with everything printed unless the exit code is `code`.
pub fn run(arguments: &[&str], code: i32) -> Output {
    let output = aortica(arguments).output().expect("the program starts");
    assert_eq!(
        output.status.code(),
        Some(code),
        "aortica {}\nstdout:\n{}\nstderr:\n{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// What a run printed on stdout.
pub fn stdout(arguments: &[&str]) -> String {
    String::from_utf8(run(arguments, 0).stdout).expect("output is UTF-8")
}

pub fn start(arguments: &[&str]) -> Child {
    aortica(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts")
}

/// Answer of a query as CSV.
pub fn query(lake: &Path, sql: &str) -> String {
    stdout(&["query", "--lake", text(lake), "--format", "csv", sql])
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

/// Everything of `readings` that must not depend on when and how often the run was started, one line a row.
pub fn table(lake: &Path) -> String {
    let columns = stdout(&["codebook", "--format", "csv"])
        .lines()
        .skip(1)
        .filter_map(|line| line.split(',').next().map(str::to_owned))
        .filter(|name| !["scored_at", "attempt", "submission_id"].contains(&name.as_str()))
        .collect::<Vec<_>>()
        .join(", ");
    query(lake, &format!("SELECT {columns} FROM readings ORDER BY item_id"))
}

/// A cohort of 24 participants, simulated once for the whole test run.
pub fn cohort() -> &'static Path {
    static COHORT: OnceLock<tempfile::TempDir> = OnceLock::new();
    COHORT
        .get_or_init(|| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            run(&["phantom", "--participants", "24", "--seed", "77", "--out", text(folder.path())], 0);
            folder
        })
        .path()
}

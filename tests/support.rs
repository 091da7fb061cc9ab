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

/// What is on a page of the program.
pub struct Page {
    /// Ids of its sections.
    pub sections: String,
    pub drawings: usize,
    /// Pictures, which lie in the page itself.
    pub images: usize,
}

/// Reads a page as XML and says what is on it, and what should not be.
const LOOK: &str = r#"
import sys, xml.etree.ElementTree as tree
page = tree.parse(sys.argv[1]).getroot()
name = lambda element: element.tag.rsplit('}')[-1]
every = list(page.iter())
print(' '.join(e.get('id') for e in every if name(e) == 'section'))
drawings = [e for e in every if name(e) == 'svg']
said = [e for e in drawings if len(''.join(e[0].itertext())) > 5 and len(''.join(e[1].itertext())) > 10 and name(e[0]) == 'title' and name(e[1]) == 'desc']
print(len(drawings), len(said))
images = [e for e in every if name(e) == 'img']
held = [e for e in images if e.get('src', '').startswith('data:image/png;base64,iVBOR') and e.get('alt')]
print(len(images), len(held))
ids = [e.get('id') for e in every if e.get('id')]
print(len(ids) - len(set(ids)))
links = [v for e in every if e not in held for k, v in e.attrib.items() if k.rsplit('}')[-1] in ('href', 'src', 'srcset', 'action', 'data')]
print(' '.join(v for v in links if not v.startswith('#') or v[1:] not in ids))
print(len([e for e in every if name(e) in ('script', 'link', 'iframe', 'object', 'embed')]))
numbers = [v for e in every for k, v in e.attrib.items() if k in ('x', 'y', 'x1', 'x2', 'y1', 'y2', 'cx', 'cy', 'r', 'width', 'height') and name(e) != 'svg']
print(len([v for v in numbers if not -1 <= float(v) <= 4000]))
for image in held:
    image.set('src', '')
print(tree.tostring(page, encoding='unicode'))
"#;

/// Checks what every page of the program must be: well-formed, whole in itself, its drawings described, without numbers that are none.
pub fn sound_page(path: &Path) -> Page {
    let output = Command::new("python3").args(["-c", LOOK, text(path)]).output().expect("python3 starts");
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    let seen = String::from_utf8(output.stdout).expect("output is UTF-8");
    let seen: Vec<&str> = seen.splitn(8, '\n').collect();
    let pair = |line: &str| -> (usize, usize) {
        let (a, b) = line.split_once(' ').expect("two numbers");
        (a.parse().expect("a number"), b.parse().expect("a number"))
    };
    let ((drawings, described), (images, held)) = (pair(seen[1]), pair(seen[2]));
    assert_eq!(described, drawings, "every drawing has title and description");
    assert_eq!(held, images, "every picture lies in the page and is described");
    assert_eq!(seen[3], "0", "ids that occur twice");
    assert_eq!(seen[4], "", "links that lead elsewhere, or nowhere");
    assert_eq!(seen[5], "0", "scripts, style sheets, frames");
    assert_eq!(seen[6], "0", "shapes outside of their drawing");
    for wrong in ["NaN", "None", "undefined", "inf%", "url(", "@import", "http://www.w3.org/2000/svg\" href"] {
        // the letters of a picture's bytes may spell anything
        assert!(!seen[7].contains(wrong), "{wrong} in {}", path.display());
    }
    Page { sections: seen[0].to_owned(), drawings, images }
}

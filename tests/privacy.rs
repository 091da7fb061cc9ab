//! Patient identifiers never leave `imaging` (invariant 9): what the headers hold is nowhere in what the program writes.

use std::path::Path;
use tests::{cohort, run, text};

/// Values of PatientName, PatientID, dates of birth and accession numbers of the cohort's own headers.
fn identifiers(file: &Path) -> Vec<String> {
    let bytes = std::fs::read(file).unwrap();
    let tags: [(&[u8], &[u8]); 5] = [
        (&[0x10, 0x00, 0x10, 0x00], b"PN"),
        (&[0x10, 0x00, 0x20, 0x00], b"LO"),
        (&[0x10, 0x00, 0x30, 0x00], b"DA"),
        (&[0x08, 0x00, 0x50, 0x00], b"SH"),
        (&[0x08, 0x00, 0x18, 0x00], b"UI"),
    ];
    let mut found = Vec::new();
    for (tag, vr) in tags {
        let key = [tag, vr].concat();
        if let Some(at) = bytes.windows(6).position(|w| w == key) {
            let length = usize::from(u16::from_le_bytes([bytes[at + 6], bytes[at + 7]]));
            let value = String::from_utf8_lossy(&bytes[at + 8..at + 8 + length]).trim_matches(['\0', ' ']).to_owned();
            if value.len() >= 4 {
                found.push(value);
            }
        }
    }
    assert!(found.len() >= 4, "the simulated headers carry identifiers to look for: {found:?}");
    found
}

fn files_under(folder: &Path, into: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() { files_under(&entry.path(), into) } else { into.push(entry.path()) }
    }
}

#[test]
fn no_identifier_of_a_header_is_in_any_output() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, overlays) = (folder.path().join("lake"), folder.path().join("overlays"));
    let images = cohort().join("images");
    let output =
        run(&["--log", "debug", "score", text(&images), "--lake", text(&lake), "--overlays", text(&overlays)], 0);
    let answer = run(&["query", "--lake", text(&lake), "--format", "csv", "SELECT * FROM readings"], 0);
    let mut outputs = vec![
        ("stdout".to_owned(), output.stdout),
        ("log".to_owned(), output.stderr),
        ("query".to_owned(), answer.stdout),
    ];
    let mut files = Vec::new();
    files_under(&lake, &mut files);
    files_under(&overlays, &mut files);
    assert!(files.len() > 30, "artifacts, tables and overlays were written");
    outputs.extend(
        files.iter().map(|f| (f.strip_prefix(folder.path()).unwrap().display().to_string(), std::fs::read(f).unwrap())),
    );

    for source in std::fs::read_dir(&images).unwrap().flatten() {
        for identifier in identifiers(&source.path()) {
            for (name, bytes) in &outputs {
                let hit = memchr::memmem::find(bytes, identifier.as_bytes()).is_some() || name.contains(&identifier);
                assert!(!hit, "an identifier of {} is in {name}", source.file_name().display());
            }
        }
    }
}

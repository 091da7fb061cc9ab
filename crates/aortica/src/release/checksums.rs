//! `SHA256SUMS`: what the files of a release were, in the form of sha256sum.

use crate::exit::usage;
use anyhow::Context;
use domain::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Name of the list.
pub const SUMS: &str = "SHA256SUMS";

/// Files of a release that is checked.
const FILES_MAX: usize = 10_000;

/// The list of some files by their paths within the release.
pub fn sums(files: &BTreeMap<String, Vec<u8>>) -> String {
    files.iter().map(|(path, bytes)| format!("{}  {path}\n", Digest::of(bytes))).collect()
}

/// Checks every file of a release; how many there are.
///
/// # Errors
/// Names what differs, lacks, or is not of the release.
pub fn verify(folder: &Path) -> anyhow::Result<usize> {
    let list = folder.join(SUMS);
    let text = std::fs::read_to_string(&list)
        .with_context(|| format!("{} is no release: {}", folder.display(), list.display()))?;
    let mut problems = Vec::new();
    let mut known = BTreeSet::from([SUMS.to_owned()]);
    for (number, line) in text.lines().enumerate() {
        let Some((sum, path)) = line.split_once("  ").filter(|(sum, path)| sum.len() == 64 && is_inside(path)) else {
            return Err(usage(format!(
                "line {} of {} is no checksum of a file of the release",
                number + 1,
                list.display()
            )));
        };
        known.insert(path.to_owned());
        match std::fs::read(folder.join(path)) {
            Ok(bytes) if Digest::of(&bytes).to_hex() == sum => {}
            Ok(_) => problems.push(format!("{path} differs")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => problems.push(format!("{path} is missing")),
            Err(error) => return Err(error).with_context(|| folder.join(path).display().to_string()),
        }
    }
    let mut found = BTreeSet::new();
    list_files(folder, "", &mut found)?;
    problems.extend(found.difference(&known).map(|path| format!("{path} is not of the release")));
    if problems.is_empty() {
        return Ok(known.len() - 1);
    }
    Err(usage(format!("{} is not what was released: {}", folder.display(), problems.join("; "))))
}

/// Whether a path stays in the folder that it counts from.
fn is_inside(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    !path.is_empty() && parts.all(|part| matches!(part, std::path::Component::Normal(_)))
}

fn list_files(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if found.len() >= FILES_MAX {
            return Err(usage(format!("{} has more than {FILES_MAX} files: it is no release", folder.display())));
        }
        match entry.file_type()?.is_dir() {
            true => list_files(&entry.path(), &format!("{path}/"), found)?,
            false => drop(found.insert(path)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let files = BTreeMap::from([("a.csv".to_owned(), b"1".to_vec()), ("tables/b.csv".to_owned(), b"2".to_vec())]);
        std::fs::create_dir(at("tables")).unwrap();
        files.iter().for_each(|(path, bytes)| std::fs::write(at(path), bytes).unwrap());
        assert!(verify(folder.path()).is_err(), "without a list it is no release");
        std::fs::write(at(SUMS), sums(&files)).unwrap();
        assert_eq!(verify(folder.path()).unwrap(), 2);
        // echo -n 1 | sha256sum
        assert!(sums(&files).starts_with("6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b  a.csv\n"));
        std::fs::write(at("tables/b.csv"), "3").unwrap();
        std::fs::remove_file(at("a.csv")).unwrap();
        std::fs::write(at("tables/more.csv"), "").unwrap();
        let said = verify(folder.path()).unwrap_err().to_string();
        for problem in ["a.csv is missing", "tables/b.csv differs", "tables/more.csv is not of the release"] {
            assert!(said.contains(problem), "{said}");
        }
        std::fs::write(at(SUMS), format!("{}  ../secret\n", "0".repeat(64))).unwrap();
        assert!(verify(folder.path()).unwrap_err().to_string().contains("line 1"));
    }
}

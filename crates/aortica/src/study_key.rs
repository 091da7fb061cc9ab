//! The study's key file: made at the first run, reused ever after, readable by its owner only.

use anyhow::{Context, bail};
use domain::StudyKey;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

/// Reads the key, or makes it where there is none. Two processes that start at once agree on one key: the file is
/// created exclusively, and the loser reads the winner's.
pub fn load_or_create(path: &Path) -> anyhow::Result<StudyKey> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text).with_context(|| format!("study key file {}", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => create(path),
        Err(error) => Err(error).with_context(|| format!("study key file {} cannot be read", path.display())),
    }
}

fn create(path: &Path) -> anyhow::Result<StudyKey> {
    let mut secret = [0; 32];
    std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut secret)).context("/dev/urandom")?;
    let name = format!("k-{}", domain::Digest::of(&secret).short(8));
    let text = format!(
        "# aortica study key. Whoever has it can link pseudonyms to identifiers: keep it apart from the lake, back it up.\n\
         name = \"{name}\"\nsecret = \"{}\"\n",
        secret.iter().map(|b| format!("{b:02x}")).collect::<String>()
    );
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("folder {}", folder.display()))?;
    // Written whole under another name (readable by its owner only), then moved unless there is one: the key file is never
    // seen half written, nor replaced.
    let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        Ok(file)
    });
    let written = written.with_context(|| format!("study key file {} cannot be made", path.display()))?;
    match written.persist_noclobber(path) {
        Ok(_) => Ok(StudyKey::new(name, secret)),
        Err(refused) if refused.error.kind() == ErrorKind::AlreadyExists => {
            let text = std::fs::read_to_string(path).with_context(|| format!("study key file {}", path.display()))?;
            parse(&text).with_context(|| format!("study key file {}", path.display()))
        }
        Err(refused) => Err(refused.error).with_context(|| format!("study key file {} cannot be made", path.display())),
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    name: String,
    secret: String,
}

fn parse(text: &str) -> anyhow::Result<StudyKey> {
    // The error of the TOML parser quotes the line, which may be the secret: it is not passed on.
    let Ok(file) = toml::from_str::<KeyFile>(text) else {
        bail!("is not a study key: it needs the two lines name = \"..\" and secret = \"64 hexadecimal digits\"");
    };
    let Ok(secret) = file.secret.parse::<domain::Digest>() else {
        bail!("holds a secret that is not 64 hexadecimal digits");
    };
    Ok(StudyKey::new(file.name, secret.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_reused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/study.key");
        let keys: Vec<StudyKey> = std::thread::scope(|s| {
            let threads: Vec<_> = (0..4).map(|_| s.spawn(|| load_or_create(&path).unwrap())).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        for key in &keys {
            assert_eq!(key.expose_secret(), load_or_create(&path).unwrap().expose_secret());
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(folder.path().join("keys")).unwrap().count(), 1, "no part file stays");
    }

    #[test]
    fn a_damaged_key_file_is_refused_without_showing_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("study.key");
        std::fs::write(&path, "name = \"k\"\nsecret = \"deadbeef").unwrap();
        let message = format!("{:#}", load_or_create(&path).unwrap_err());
        assert!(message.contains("study.key") && !message.contains("deadbeef"), "{message}");
    }
}

//! Who may ask, and what for: a TOML file of names, roles, SCRAM verifiers and digests of tokens. It holds nothing that opens a door.

use crate::error::{Error, Result};
use crate::scram::{Verifier, random_text, same};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::SystemTime;

/// Largest users file, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Shortest password, characters.
const PASSWORD_LENGTH_MIN: usize = 8;
/// Longest password, bytes.
const PASSWORD_LENGTH_MAX: usize = 1024;
const NAME_LENGTH_MAX: usize = 63;
/// Begins every token, so that one found lying about can be told.
const TOKEN_PREFIX: &str = "aortica_";

/// What a user may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Rows: as good as access to the files of the lake.
    Row,
    /// Numbers over groups, under disclosure control.
    Aggregate,
}

/// One who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub role: Role,
}

impl User {
    /// Where there is no users file, whoever reaches the socket.
    pub(crate) fn anyone(name: &str) -> User {
        User { name: name.to_owned(), role: Role::Row }
    }
}

/// One entry of the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    role: Role,
    /// `SCRAM-SHA-256$..`, as PostgreSQL writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    scram: Option<String>,
    /// SHA-256 of the bearer token, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_sha256: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, rename = "user")]
    users: Vec<Entry>,
}

#[derive(Debug, Default)]
struct Known {
    users: BTreeMap<String, (User, Option<Verifier>)>,
    tokens: Vec<([u8; 32], User)>,
}

/// The users of a file, read anew when the file changes: who is taken out, logs in no more.
#[derive(Debug)]
pub struct Users {
    path: PathBuf,
    known: RwLock<(Option<SystemTime>, Arc<Known>)>,
    /// Makes the salts of those who do not exist.
    secret: String,
}

impl Users {
    /// # Errors
    /// The file cannot be read, or an entry is wrong; the message says which.
    pub fn read(path: &Path) -> Result<Users> {
        let changed = modified(path);
        let known = read(path)?.check(path)?;
        Ok(Users { path: path.to_owned(), known: RwLock::new((changed, Arc::new(known))), secret: random_text() })
    }

    fn known(&self) -> Arc<Known> {
        let changed = modified(&self.path);
        if let Ok(known) = self.known.read()
            && known.0 == changed
        {
            return Arc::clone(&known.1);
        }
        let Ok(mut known) = self.known.write() else { return Arc::default() };
        match read(&self.path).and_then(|document| document.check(&self.path)) {
            Ok(fresh) => *known = (changed, Arc::new(fresh)),
            // A half-written file must not lock everybody out.
            Err(error) => tracing::error!(%error, "the users are those of before"),
        }
        Arc::clone(&known.1)
    }

    /// The verifier of a name and, if there is one, its user. Names that do not exist look as those that do.
    pub(crate) fn verifier(&self, name: &str) -> (Verifier, Option<User>) {
        match self.known().users.get(name) {
            Some((user, Some(verifier))) => (verifier.clone(), Some(user.clone())),
            _ => (Verifier::of_nobody(self.secret.as_bytes(), name), None),
        }
    }

    /// Takes as long as the key derivation does, whether or not there is such a user.
    pub(crate) fn with_password(&self, name: &str, password: &str) -> Option<User> {
        let (verifier, user) = self.verifier(name);
        verifier.fits(password).then_some(user).flatten()
    }

    pub(crate) fn with_token(&self, token: &str) -> Option<User> {
        let digest = Sha256::digest(token.as_bytes()).into();
        self.known().tokens.iter().find(|(known, _)| same(known, &digest)).map(|(_, user)| user.clone())
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|file| file.modified()).ok()
}

fn read(path: &Path) -> Result<Document> {
    let wrong = |problem: String| Error::Users { path: path.to_owned(), problem };
    let length = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len();
    if length > FILE_BYTES_MAX {
        return Err(wrong(format!("it has {length} bytes, more than {FILE_BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    // The parser's message shows the line, which may hold a verifier.
    toml::from_str(&text).map_err(|e| {
        let line = e.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
        wrong(format!("line {line}: {}", e.message()))
    })
}

impl Document {
    fn check(self, path: &Path) -> Result<Known> {
        let mut known = Known::default();
        for entry in self.users {
            let wrong =
                |problem: &str| Error::Users { path: path.to_owned(), problem: format!("{}: {problem}", entry.name) };
            check_name(&entry.name).map_err(|e| wrong(&e.to_string()))?;
            let user = User { name: entry.name.clone(), role: entry.role };
            let verifier = entry.scram.as_deref().map(str::parse).transpose().map_err(wrong)?;
            if let Some(digest) = &entry.token_sha256 {
                let bytes = hex::decode(digest).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
                let bytes = bytes.ok_or_else(|| wrong("token_sha256 is not 64 hexadecimal digits"))?;
                known.tokens.push((bytes, user.clone()));
            }
            if verifier.is_none() && entry.token_sha256.is_none() {
                return Err(wrong("neither scram nor token_sha256: the user could never log in"));
            }
            if known.users.insert(entry.name.clone(), (user, verifier)).is_some() {
                return Err(wrong("the name comes twice"));
            }
        }
        if known.users.is_empty() {
            let problem = "it names no user; `aortica serve user NAME` adds one".to_owned();
            return Err(Error::Users { path: path.to_owned(), problem });
        }
        Ok(known)
    }
}

fn check_name(name: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'@');
    if name.is_empty() || name.len() > NAME_LENGTH_MAX || !name.bytes().all(plain) {
        return Err(Error::Password("a user's name has 1 to 63 letters, digits and _ - . @"));
    }
    Ok(())
}

/// Puts a user with a password into a file, or gives one who is there another password. The file is made where there is none, for its
/// owner's eyes only.
///
/// # Errors
/// Name or password are not fit; the file cannot be read or written.
pub fn set_password(path: &Path, name: &str, role: Role, password: &str) -> Result<()> {
    if password.chars().count() < PASSWORD_LENGTH_MIN {
        return Err(Error::Password("a password has at least 8 characters"));
    }
    if password.len() > PASSWORD_LENGTH_MAX || password.chars().any(char::is_control) {
        return Err(Error::Password("a password has at most 1024 bytes and no control characters"));
    }
    let verifier = Verifier::of_password(password).to_string();
    change(path, name, role, |entry| entry.scram = Some(verifier))
}

/// Gives a user a fresh bearer token for HTTP, in place of any before. The token is returned and kept nowhere.
///
/// # Errors
/// The name is not fit; the file cannot be read or written.
pub fn set_token(path: &Path, name: &str, role: Role) -> Result<String> {
    // 288 bits, in characters that need no quoting anywhere.
    let token = format!("{TOKEN_PREFIX}{}{}", random_text(), random_text()).replace('+', "-").replace('/', "_");
    let digest = hex::encode(Sha256::digest(token.as_bytes()));
    change(path, name, role, |entry| entry.token_sha256 = Some(digest))?;
    Ok(token)
}

fn change(path: &Path, name: &str, role: Role, set: impl FnOnce(&mut Entry)) -> Result<()> {
    check_name(name)?;
    let wrong = |problem: String| Error::Users { path: path.to_owned(), problem };
    let mut document = if path.exists() { read(path)? } else { Document::default() };
    let place = match document.users.iter().position(|entry| entry.name == name) {
        Some(place) => place,
        None => {
            document.users.push(Entry { name: name.to_owned(), role, scram: None, token_sha256: None });
            document.users.len() - 1
        }
    };
    let entry = &mut document.users[place];
    entry.role = role;
    set(entry);
    let text = toml::to_string(&document).map_err(|e| wrong(e.to_string()))?;
    write_private(path, &text).map_err(|e| wrong(e.to_string()))
}

/// Writes beside, then renames: a reader sees the old file or the new one.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let beside = path.with_extension("toml.new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        (folder, path)
    }

    #[test]
    fn passwords_and_tokens_open_and_are_nowhere_in_the_file() {
        let (_folder, path) = file();
        set_password(&path, "anna", Role::Row, "correct horse").unwrap();
        let token = set_token(&path, "anna", Role::Row).unwrap();
        set_password(&path, "ben", Role::Aggregate, "battery staple").unwrap();
        let users = Users::read(&path).unwrap();
        let anna = User { name: "anna".into(), role: Role::Row };
        assert_eq!(users.with_password("anna", "correct horse"), Some(anna.clone()));
        assert_eq!(users.with_password("anna", "battery staple"), None);
        assert_eq!(users.with_password("eve", "correct horse"), None);
        assert_eq!(users.with_password("ben", "battery staple").unwrap().role, Role::Aggregate);
        assert_eq!(users.with_token(&token), Some(anna));
        assert_eq!(users.with_token(&token.to_lowercase()), None);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("horse") && !text.contains(&token), "{text}");
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn who_is_taken_out_logs_in_no_more() {
        let (_folder, path) = file();
        set_password(&path, "anna", Role::Row, "correct horse").unwrap();
        set_password(&path, "ben", Role::Row, "battery staple").unwrap();
        let users = Users::read(&path).unwrap();
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.truncate(text.find("[[user]]\nname = \"ben\"").unwrap());
        std::fs::write(&path, text).unwrap();
        // Not left to the resolution of the file system's clock.
        let later = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(2_000_000_000);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert!(users.with_password("anna", "correct horse").is_some());
        assert!(users.with_password("ben", "battery staple").is_none());
        // A file that cannot be understood changes nothing.
        std::fs::write(&path, "[[user]").unwrap();
        assert!(users.with_password("anna", "correct horse").is_some());
    }

    #[test]
    fn a_wrong_file_is_explained_without_its_secrets() {
        let (_folder, path) = file();
        let refused = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Users::read(&path).unwrap_err().to_string()
        };
        let plain = refused("[[user]]\nname = \"anna\"\nrole = \"row\"\npassword = \"hunter22\"\n");
        assert!(plain.contains("line 4") && plain.contains("password") && !plain.contains("hunter22"), "{plain}");
        assert!(
            refused("[[user]]\nname = \"anna\"\nrole = \"row\"\nscram = \"hunter22\"\n").contains("SCRAM-SHA-256$")
        );
        assert!(refused("[[user]]\nname = \"anna\"\nrole = \"admin\"\n").contains("admin"));
        assert!(refused("[[user]]\nname = \"anna\"\nrole = \"row\"\n").contains("never log in"));
        assert!(refused("[[user]]\nname = \"a b\"\nrole = \"row\"\n").contains("letters"));
        assert!(refused("").contains("no user"));
        assert!(set_password(&path, "anna", Role::Row, "short").is_err());
    }
}

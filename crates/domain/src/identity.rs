//! Digests and keyed pseudonyms.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// A SHA-256 digest, printed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

impl Digest {
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// Digest of several fields. Each is preceded by its length, so that ("ab", "c") differs from ("a", "bc").
    pub fn of_fields<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> Digest {
        let mut hasher = Sha256::new();
        for field in fields {
            hasher.update((field.len() as u64).to_le_bytes());
            hasher.update(field);
        }
        Digest(hasher.finalize().into())
    }

    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// The first `digits` hexadecimal digits.
    pub fn short(self, digits: usize) -> String {
        self.to_hex()[..digits.min(64)].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..", self.short(12))
    }
}
impl TryFrom<String> for Digest {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
impl std::str::FromStr for Digest {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| format!("a digest has 64 hexadecimal digits, this text has {} characters", text.len()))?;
        Ok(Digest(bytes))
    }
}
impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_hex()
    }
}

macro_rules! named_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes 32 hexadecimal digits, as the ids are stored.
            pub fn parse(text: &str) -> Option<Self> {
                (text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
                    .then(|| Self(text.to_owned()))
            }

            pub fn from_digest(digest: Digest) -> Self {
                Self(digest.short(32))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

named_id!(
    /// What the pixels are: digest over the encoded pixel data, transfer syntax and pixel-module attributes (128 bits).
    /// Independent of our decoder and of everything that names a patient.
    ImageId
);
named_id!(
    /// One object of a submission: digest of uri and version (128 bits). The only name of an image in logs.
    ItemId
);
named_id!(
    /// How the pixels were read: digest of pipeline definition, models, method revision, precision, execution provider.
    Fingerprint
);

impl ImageId {
    /// Id of several fields. Each is preceded by its length, so that ("ab", "c") differs from ("a", "bc"). BLAKE3, because
    /// every pixel of every image passes through it, and SHA-256 is slow where the processor has no instructions for it.
    pub fn of_fields<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> ImageId {
        let mut hasher = blake3::Hasher::new();
        for field in fields {
            hasher.update(&(field.len() as u64).to_le_bytes());
            hasher.update(field);
        }
        ImageId::from_digest(Digest(*hasher.finalize().as_bytes()))
    }
}

/// The study's secret key. Pseudonyms are keyed hashes (HMAC-SHA-256, 80 bits shown in hexadecimal), so that nobody
/// without the key can test a guessed identifier (invariant 9). Never printed.
#[derive(Clone)]
pub struct StudyKey {
    name: String,
    secret: [u8; 32],
}

impl StudyKey {
    /// `name` is the key's version, stored beside the pseudonyms; it is not secret.
    pub fn new(name: impl Into<String>, secret: [u8; 32]) -> StudyKey {
        StudyKey { name: name.into(), secret }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bytes, for the one place that writes the key file.
    pub fn expose_secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// Pseudonym of an identifier. `kind` ("participant", "study", ..) keeps equal texts of different kinds apart.
    /// Blanks around the identifier do not count; an empty one has no pseudonym.
    pub fn pseudonym(&self, kind: &str, identifier: &str) -> Option<String> {
        let identifier = identifier.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        if identifier.is_empty() {
            return None;
        }
        Some(hex::encode(&self.mac(kind, identifier)[..10]))
    }

    /// Shift of all dates of a participant in days, -182..=182 and never 0, the same for images and outcomes.
    pub fn date_shift_days(&self, identifier: &str) -> i64 {
        let mac = self.mac("date-shift", identifier.trim());
        let draw = u64::from_le_bytes(mac[..8].try_into().expect("eight bytes")) % 364;
        let shift = draw as i64 - 182;
        if shift >= 0 { shift + 1 } else { shift }
    }

    fn mac(&self, kind: &str, identifier: &str) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("hmac takes a key of any length");
        mac.update(&(kind.len() as u64).to_le_bytes());
        mac.update(kind.as_bytes());
        mac.update(identifier.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for StudyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StudyKey").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_keep_field_borders() {
        assert_eq!(Digest::of(b"abc").to_hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_ne!(Digest::of_fields([&b"ab"[..], b"c"]), Digest::of_fields([&b"a"[..], b"bc"]));
        let id = ImageId::from_digest(Digest::of(b"x"));
        assert_eq!(ImageId::parse(id.as_str()), Some(id));
        assert!(ImageId::parse("ABC").is_none());
        assert_ne!(ImageId::of_fields([&b"ab"[..], b"c"]), ImageId::of_fields([&b"a"[..], b"bc"]));
        // BLAKE3 of one field "abc" behind its length, by another implementation
        assert_eq!(ImageId::of_fields([&b"abc"[..]]).as_str(), "2c43cb52459d810e4b6ce3aab77f69c2");
    }

    #[test]
    fn pseudonyms_are_keyed_stable_and_apart_by_kind() {
        let key = StudyKey::new("k1", [7; 32]);
        let other = StudyKey::new("k1", [8; 32]);
        let of = |k: &StudyKey, kind, id| k.pseudonym(kind, id).unwrap();
        assert_eq!(of(&key, "participant", "12345"), of(&key, "participant", " 12345\0"));
        assert_ne!(of(&key, "participant", "12345"), of(&key, "study", "12345"));
        assert_ne!(of(&key, "participant", "12345"), of(&other, "participant", "12345"));
        assert_eq!(key.pseudonym("participant", "  "), None);
        assert!(!format!("{key:?}").contains('7'), "a key does not print");
        for id in 0..500 {
            let shift = key.date_shift_days(&id.to_string());
            assert!(shift != 0 && (-182..=182).contains(&shift));
        }
    }
}

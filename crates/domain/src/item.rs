//! One object of a submission.

use crate::identity::{Digest, ItemId};
use serde::{Deserialize, Serialize};

/// One object to be read: a file or an object of a bucket, in the version that was listed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Item {
    /// `file:///..` or `s3://bucket/key`, percent-encoded.
    pub uri: String,
    pub size_bytes: u64,
    /// ETag or version id of the store; for files, modification time in nanoseconds. Changes when the content may have.
    pub version: String,
    /// What the submission's manifest says about the image, where it is better known than from the file.
    #[serde(default, skip_serializing_if = "ItemHints::is_empty")]
    pub hints: ItemHints,
}

/// Optional columns of a manifest of images.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemHints {
    /// Distance of pixel centres along rows and columns, micrometres (an integer, so that items compare exactly).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixel_spacing_um: Option<u32>,
    /// Height of a pixel over its width, in millionths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixel_aspect_ppm: Option<u32>,
    /// Already a pseudonym: replaced by a keyed hash before it leaves the process that read the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participant: Option<String>,
}

impl ItemHints {
    pub fn is_empty(&self) -> bool {
        *self == ItemHints::default()
    }
}

impl Item {
    /// Same uri, size, version and hints: same item, whoever listed it and however often.
    pub fn id(&self) -> ItemId {
        let hints = serde_json::to_vec(&self.hints).expect("hints are plain values");
        ItemId::from_digest(Digest::of_fields([
            self.uri.as_bytes(),
            &self.size_bytes.to_le_bytes()[..],
            self.version.as_bytes(),
            &hints,
        ]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_changes_identity_with_its_version_only() {
        let item = Item { uri: "s3://b/k".into(), size_bytes: 3, version: "e1".into(), hints: ItemHints::default() };
        assert_eq!(item.id(), item.clone().id());
        assert_ne!(item.id(), Item { version: "e2".into(), ..item.clone() }.id());
        let json = serde_json::to_string(&item).unwrap();
        assert!(!json.contains("hints"));
        assert_eq!(serde_json::from_str::<Item>(&json).unwrap(), item);
    }
}

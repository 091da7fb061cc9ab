//! Every object key of a lake, built and parsed here and nowhere else.
//!
//! ```text
//! results/                                   Delta table: one row per image and fingerprint; part-<token>.parquet and a log
//! instances/                                 Delta table: what became of each item
//! items/<submission>/part-00000.parquet ..   the items of a submission, sorted by uri
//! items/<submission>/submission.json         written last: without it the submission does not exist
//! items/_incoming-<token>-00000.parquet      sorted runs of a list being written
//! artifacts/<fingerprint>/<2 hex>/<image_id>.json                          what the pixels say, with the evidence
//! artifacts/<fingerprint>/items/<2 hex>/<item_id>-<attempt>-<status>.json   what became of an item in an attempt
//! conflicts/<table>/<key>/<digest>.json      second, differing results
//! human_readings/*.parquet                   readings by people
//! _probe-put                                 asks the store whether it refuses a second put; stays
//! ```

use domain::{Digest, Fingerprint, ImageId, ItemId};
use object_store::path::Path;

/// The keys of the lake at `root`.
#[derive(Debug, Clone)]
pub struct LakePaths {
    root: Path,
}

/// The two Delta tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    Results,
    Instances,
}

impl Table {
    pub fn name(self) -> &'static str {
        match self {
            Table::Results => "results",
            Table::Instances => "instances",
        }
    }
}

impl LakePaths {
    pub fn new(root: Path) -> LakePaths {
        LakePaths { root }
    }

    fn below(&self, parts: &[&str]) -> Path {
        parts.iter().fold(self.root.clone(), |path, part| path.join(*part))
    }

    pub fn table(&self, table: Table) -> Path {
        self.below(&[table.name()])
    }

    pub fn human_readings(&self) -> Path {
        self.below(&["human_readings"])
    }

    pub fn probe(&self) -> Path {
        self.below(&["_probe-put"])
    }

    /// A file of rows.
    pub fn part(&self, table: Table, token: &str) -> Path {
        self.table(table).join(format!("part-{token}.parquet"))
    }

    pub fn items(&self) -> Path {
        self.below(&["items"])
    }

    pub fn item_part(&self, submission: &str, part: usize) -> Path {
        self.below(&["items", submission, &format!("part-{part:05}.parquet")])
    }

    pub fn submission(&self, submission: &str) -> Path {
        self.below(&["items", submission, "submission.json"])
    }

    /// The submission whose marker this is.
    pub fn parse_submission(&self, path: &Path) -> Option<String> {
        let mut parts = path.prefix_match(&self.root)?;
        let (items, submission, file) = (parts.next()?, parts.next()?, parts.next()?);
        let is_marker = items.as_ref() == "items" && file.as_ref() == "submission.json" && parts.next().is_none();
        is_marker.then(|| submission.as_ref().to_owned())
    }

    pub fn item_run(&self, token: &str, run: usize) -> Path {
        self.below(&["items", &format!("_incoming-{token}-{run:05}.parquet")])
    }

    pub fn artifact(&self, fingerprint: &Fingerprint, image: &ImageId) -> Path {
        self.below(&artifact_key(fingerprint, image).split('/').collect::<Vec<_>>())
    }

    /// What an artifact is about.
    pub fn parse_artifact(&self, path: &Path) -> Option<(Fingerprint, ImageId)> {
        let mut parts = path.prefix_match(&self.root)?;
        let (artifacts, fingerprint) = (parts.next()?, parts.next()?);
        let (shard, file) = (parts.next()?, parts.next()?);
        let image = ImageId::parse(file.as_ref().strip_suffix(".json")?)?;
        let right = artifacts.as_ref() == "artifacts"
            && image.as_str().starts_with(shard.as_ref())
            && shard.as_ref().len() == 2;
        (right && parts.next().is_none()).then_some((Fingerprint::parse(fingerprint.as_ref())?, image))
    }

    pub fn artifacts(&self) -> Path {
        self.below(&["artifacts"])
    }

    /// What became of an item in an attempt. `status`: scored, excluded or failed.
    pub fn item_outcome(&self, fingerprint: &Fingerprint, item: &ItemId, attempt: u32, status: &str) -> Path {
        let name = format!("{item}-{attempt}-{status}.json");
        self.below(&["artifacts", fingerprint.as_str(), "items", &item.as_str()[..2], &name])
    }

    /// The outcomes whose items begin with this byte, 0..256.
    pub fn outcomes_folder(&self, fingerprint: &Fingerprint, byte: u32) -> Path {
        self.below(&["artifacts", fingerprint.as_str(), "items", &format!("{byte:02x}")])
    }

    /// The readings whose images begin with this byte, 0..256.
    pub fn readings_folder(&self, fingerprint: &Fingerprint, byte: u32) -> Path {
        self.below(&["artifacts", fingerprint.as_str(), &format!("{byte:02x}")])
    }

    /// What an outcome is about: fingerprint, item, attempt and status.
    pub fn parse_item_outcome(&self, path: &Path) -> Option<(Fingerprint, ItemId, u32, &'static str)> {
        let parts: Vec<_> = path.prefix_match(&self.root)?.collect();
        let [artifacts, fingerprint, items, shard, file] = parts.as_slice() else { return None };
        let mut name = file.as_ref().strip_suffix(".json")?.split('-');
        let (item, attempt, status) = (ItemId::parse(name.next()?)?, name.next()?.parse().ok()?, name.next()?);
        let status = ["scored", "excluded", "failed"].into_iter().find(|known| *known == status)?;
        let right = artifacts.as_ref() == "artifacts"
            && items.as_ref() == "items"
            && shard.as_ref() == &item.as_str()[..2]
            && name.next().is_none();
        right.then_some((Fingerprint::parse(fingerprint.as_ref())?, item, attempt, status))
    }

    pub fn conflict(&self, table: &str, key: &str, digest: Digest) -> Path {
        self.below(&["conflicts", table, key, &format!("{}.json", digest.short(32))])
    }
}

/// Key of an artifact relative to the lake, as `OutcomeRecord::artifact_key` and the column `artifact_key` hold it.
pub fn artifact_key(fingerprint: &Fingerprint, image: &ImageId) -> String {
    format!("artifacts/{fingerprint}/{}/{image}.json", &image.as_str()[..2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back() {
        let paths = LakePaths::new(Path::from("some/where"));
        let fingerprint = Fingerprint::from_digest(Digest::of(b"f"));
        let image = ImageId::from_digest(Digest::of(b"i"));
        let key = paths.artifact(&fingerprint, &image);
        assert_eq!(key.as_ref(), format!("some/where/{}", artifact_key(&fingerprint, &image)));
        assert_eq!(paths.parse_artifact(&key), Some((fingerprint.clone(), image)));
        assert_eq!(paths.parse_artifact(&paths.conflict("results", "k", Digest::of(b""))), None);

        let item = ItemId::from_digest(Digest::of(b"o"));
        let outcome = paths.item_outcome(&fingerprint, &item, 12, "failed");
        assert_eq!(paths.parse_item_outcome(&outcome), Some((fingerprint, item, 12, "failed")));
        assert_eq!((paths.parse_item_outcome(&key), paths.parse_artifact(&outcome)), (None, None));

        assert_eq!(paths.parse_submission(&paths.submission("ab")), Some("ab".to_owned()));
        assert_eq!(paths.parse_submission(&paths.item_part("ab", 0)), None);
        assert_eq!(paths.parse_submission(&LakePaths::new(Path::from("else")).submission("ab")), None);
        assert_eq!(paths.item_part("ab", 7).as_ref(), "some/where/items/ab/part-00007.parquet");
    }
}

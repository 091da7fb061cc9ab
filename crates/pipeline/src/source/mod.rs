//! SRC: what the user points at, as a stream of items.
//!
//! A folder (recursive, hidden names skipped), `s3://bucket/prefix`, one file or object, or a manifest (`.csv`, `.parquet`)
//! of addresses. Listed one by one in any order: the lake sorts the list when it writes it down, so that the same content
//! is the same submission and memory does not grow with the list.

mod bucket;
mod folder;
mod manifest;
pub mod stores;
pub mod uri;

#[cfg(test)]
mod tests;

use crate::error::{Error, ErrorKind, Result, of_store};
use domain::item::ItemHints;
use domain::{Item, StudyKey};
use futures::stream::{self, BoxStream, StreamExt};
use object_store::ObjectStoreExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stores::{Place, Stores};
use uri::Address;

/// Version of an item whose object was not there when the list was made. It stays an item, so that the ledger says so.
pub const VERSION_MISSING: &str = "missing";

#[derive(Debug, Clone)]
enum Kind {
    Folder(PathBuf),
    Prefix { bucket: String, prefix: String },
    One(Item),
    Manifest(Address),
}

/// A checked SRC. Listing it twice gives the same items, as long as nothing changes.
#[derive(Debug, Clone)]
pub struct Source {
    kind: Kind,
    stores: Arc<Stores>,
    key: Option<Arc<StudyKey>>,
    /// Addresses that are not listed, nor what lies below them.
    skip: Vec<String>,
}

impl Source {
    /// Looks at SRC: a path, `file://..` or `s3://..`. `key` makes pseudonyms of a manifest's `participant` column.
    ///
    /// # Errors
    /// [`ErrorKind::Source`] when there is nothing at SRC; [`ErrorKind::Unreachable`] and [`ErrorKind::Refused`] of stores.
    pub async fn open(src: &str, stores: Arc<Stores>, key: Option<Arc<StudyKey>>) -> Result<Source> {
        let address = match uri::parse(src) {
            Some(address) => address,
            None if src.contains("://") => {
                let message = "SRC must be a path, file:///path or s3://bucket/prefix";
                return Err(Error::new(ErrorKind::Source, message));
            }
            None => Address::File(PathBuf::from(src)),
        };
        let kind = match address {
            Address::File(path) => Kind::of_path(&path)?,
            Address::Object { bucket, key } => Kind::of_object(&stores, bucket, key).await?,
        };
        Ok(Source { kind, stores, key, skip: Vec::new() })
    }

    /// Leaves out a file, or everything below a folder or prefix: the lake, when it lies inside SRC.
    #[must_use]
    pub fn without(&self, place: &str) -> Source {
        let address = match uri::parse(place).unwrap_or_else(|| Address::File(PathBuf::from(place))) {
            // as SRC is, so that a link on the way does not hide it
            Address::File(path) => Address::File(path.canonicalize().unwrap_or(path)),
            object => object,
        };
        let mut source = self.clone();
        source.skip.push(uri::of(&address).trim_end_matches('/').to_owned());
        source
    }

    /// The items, in any order. The stream ends after its first error.
    pub fn items(&self) -> BoxStream<'static, Result<Item>> {
        let listed = match &self.kind {
            Kind::Folder(root) => folder::items(root.clone()),
            Kind::Prefix { bucket, prefix } => bucket::items(&self.stores, bucket, prefix),
            Kind::One(item) => stream::once(std::future::ready(Ok(item.clone()))).boxed(),
            Kind::Manifest(address) => manifest::items(address.clone(), self.stores.clone(), self.key.clone()),
        };
        let skip = self.skip.clone();
        let wanted = listed.filter(move |item| {
            let below = |place: &String| {
                let rest = item.as_ref().ok().and_then(|item| item.uri.strip_prefix(place.as_str()));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            let skipped = skip.iter().any(below);
            std::future::ready(!skipped)
        });
        let mut failed = false;
        let until_error = wanted.take_while(move |item| {
            let go_on = !failed;
            failed |= item.is_err();
            std::future::ready(go_on)
        });
        until_error.boxed()
    }
}

impl Source {
    /// Whether SRC is a bucket or a prefix of one.
    pub fn is_prefix(&self) -> bool {
        matches!(self.kind, Kind::Prefix { .. })
    }

    /// One object of a bucket as a listing would give it; `None` when it is not there, or its key cannot be addressed.
    pub(crate) async fn object(&self, bucket: &str, key: &str) -> Result<Option<Item>> {
        let Ok(path) = object_store::path::Path::parse(key) else { return Ok(None) };
        match self.stores.bucket(bucket)?.head(&path).await {
            Ok(meta) => Ok(Some(object_item(bucket, &meta))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(of_store(&error, "looking at an object")),
        }
    }

    /// Whether an object of this address would be listed if it were there. What a list (CSV, Parquet) names is not known.
    pub fn covers(&self, uri: &str) -> bool {
        let below = |place: &str| uri.strip_prefix(place.trim_end_matches('/')).is_some_and(|r| r.starts_with('/'));
        let inside = match &self.kind {
            Kind::Folder(root) => below(&uri::of_file(root)),
            Kind::Prefix { bucket, prefix } => below(&uri::of_object(bucket, prefix)),
            Kind::One(item) => item.uri == uri,
            Kind::Manifest(_) => false,
        };
        inside && !self.skip.iter().any(|place| uri == place || below(place))
    }
}

impl Kind {
    fn of_path(path: &Path) -> Result<Kind> {
        let wrong = |e: std::io::Error| Error::new(ErrorKind::Source, format!("SRC {}: {e}", path.display()));
        let path = path.canonicalize().map_err(wrong)?;
        let facts = path.metadata().map_err(wrong)?;
        if facts.is_dir() {
            Ok(Kind::Folder(path))
        } else if is_manifest(&path.to_string_lossy()) {
            Ok(Kind::Manifest(Address::File(path)))
        } else {
            Ok(Kind::One(file_item(&path, &facts)))
        }
    }

    async fn of_object(stores: &Stores, bucket: String, key: String) -> Result<Kind> {
        if is_manifest(&key) {
            return Ok(Kind::Manifest(Address::Object { bucket, key }));
        }
        let prefix = key.trim_end_matches('/').to_owned();
        if !prefix.is_empty() && !key.ends_with('/') {
            let Place::Object { store, key } = stores.place(&uri::of_object(&bucket, &key))? else {
                return Err(Error::new(ErrorKind::Bug, "an object's address led to a file"));
            };
            match store.head(&key).await {
                Ok(meta) => return Ok(Kind::One(object_item(&bucket, &meta))),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(of_store(&error, "looking at SRC")),
            }
        }
        Ok(Kind::Prefix { bucket, prefix })
    }
}

fn is_manifest(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with(".csv") || name.ends_with(".parquet")
}

/// Version of a file: its modification time in nanoseconds since 1970.
pub(crate) fn file_version(facts: &std::fs::Metadata) -> String {
    (i128::from(facts.mtime()) * 1_000_000_000 + i128::from(facts.mtime_nsec())).to_string()
}

/// Version of an object: its ETag without quotes, else its version id, else the time of change.
pub(crate) fn object_version(meta: &object_store::ObjectMeta) -> String {
    match (&meta.e_tag, &meta.version) {
        (Some(tag), _) => tag.trim_start_matches("W/").trim_matches('"').to_owned(),
        (None, Some(version)) => version.clone(),
        (None, None) => meta.last_modified.timestamp_micros().to_string(),
    }
}

fn file_item(path: &Path, facts: &std::fs::Metadata) -> Item {
    Item { uri: uri::of_file(path), size_bytes: facts.len(), version: file_version(facts), hints: ItemHints::default() }
}

fn object_item(bucket: &str, meta: &object_store::ObjectMeta) -> Item {
    Item {
        uri: uri::of_object(bucket, meta.location.as_ref()),
        size_bytes: meta.size,
        version: object_version(meta),
        hints: ItemHints::default(),
    }
}

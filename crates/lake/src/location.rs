//! Where files are: a folder, or a prefix of a bucket.

use crate::error::{Error, Result};
use crate::rehearsal::Rehearsed;
use object_store::ObjectStore;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ClientOptions, RetryConfig};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Times that a request to S3 is tried again, by the one retry layer that there is.
const RETRIES_MAX: usize = 8;
/// After which no request is tried again.
const RETRY_TIME_MAX: Duration = Duration::from_secs(120);
/// Longest wait for one answer; the option `timeout` sets another.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest wait for a connection; the option `connect_timeout` sets another.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// A store and the place in it that an address names.
#[derive(Debug, Clone)]
pub struct Location {
    /// The whole store: the file system from `/`, or the bucket.
    pub store: Arc<dyn ObjectStore>,
    /// The folder, file or prefix within the store.
    pub root: Path,
    /// The same place as a URL without a trailing slash: `file:///..` or `s3://bucket/prefix`.
    pub url: Url,
    /// The simulation that the store is part of; none in production.
    pub rehearsed: Rehearsed,
}

impl Location {
    /// A store that lives as long as the value, for tests.
    pub fn in_memory() -> Location {
        let url = Url::parse("memory:///lake").expect("a valid url");
        Location { store: Arc::new(InMemory::new()), root: Path::from("lake"), url, rehearsed: Rehearsed::default() }
    }

    /// The same store through a wrapper (one that injects faults, or counts).
    pub fn with_store(self, wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Location {
        Location { store: wrap(self.store), ..self }
    }

    /// The same place in a simulation.
    #[must_use]
    pub fn rehearsed(self, rehearsed: Rehearsed) -> Location {
        Location { rehearsed, ..self }
    }

    /// URL of an object of the store, percent-encoded.
    pub fn url_of(&self, path: &Path) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("/{path}"));
        url
    }
}

/// Opens the store behind an address: a path, `file:///path`, or `s3://bucket/prefix`.
///
/// `options` are the names of [`AmazonS3ConfigKey`] with their values (`aws_access_key_id`, `aws_secret_access_key`, `aws_region`,
/// `aws_endpoint`, ..); a path ignores them. An endpoint that begins with `http://` is taken as leave to use plain HTTP.
///
/// # Errors
/// The address is no path or URL of these kinds; an option is unknown or wrong. The place itself is not looked at.
pub fn store_for(address: &str, options: &[(String, String)]) -> Result<Location> {
    let wrong = |problem: &str| Error::Address { address: address.to_owned(), problem: problem.to_owned() };
    if address.is_empty() {
        return Err(wrong("it is empty"));
    }
    match address.split_once("://") {
        None => local(std::path::Path::new(address), &wrong),
        Some(("file", _)) => {
            let url = Url::parse(address).map_err(|e| wrong(&e.to_string()))?;
            local(&url.to_file_path().map_err(|()| wrong("not an absolute file url"))?, &wrong)
        }
        Some(("s3", _)) => {
            let url = Url::parse(address).map_err(|e| wrong(&e.to_string()))?;
            s3(url, options, &wrong)
        }
        Some((scheme, _)) => Err(wrong(&format!("unknown scheme {scheme}"))),
    }
}

fn local(path: &std::path::Path, wrong: &dyn Fn(&str) -> Error) -> Result<Location> {
    let absolute = std::path::absolute(path).map_err(|e| wrong(&e.to_string()))?;
    // `..` is resolved by name: the place need not exist yet, and the store refuses dots.
    let mut clean = std::path::PathBuf::new();
    for part in absolute.components() {
        match part {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            std::path::Component::CurDir => {}
            other => clean.push(other),
        }
    }
    let url = Url::from_file_path(&clean).map_err(|()| wrong("not an absolute path"))?;
    let root = Path::from_absolute_path(&clean).map_err(|e| wrong(&e.to_string()))?;
    Ok(Location { store: Arc::new(LocalFileSystem::new()), root, url, rehearsed: Rehearsed::default() })
}

fn s3(mut url: Url, options: &[(String, String)], wrong: &dyn Fn(&str) -> Error) -> Result<Location> {
    let bucket = url.host_str().filter(|b| !b.is_empty()).ok_or_else(|| wrong("it names no bucket"))?.to_owned();
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.port().is_some() {
        return Err(wrong("only s3://bucket/prefix is understood; keys and endpoints are options"));
    }
    let root = Path::from_url_path(url.path()).map_err(|e| wrong(&e.to_string()))?;
    url.set_path(&format!("/{root}"));

    let retry = RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRY_TIME_MAX, ..RetryConfig::default() };
    let client = ClientOptions::new().with_timeout(REQUEST_TIME_MAX).with_connect_timeout(CONNECT_TIME_MAX);
    let mut builder = AmazonS3Builder::new().with_bucket_name(bucket).with_retry(retry).with_client_options(client);
    for (name, value) in options {
        let key: AmazonS3ConfigKey = name.to_ascii_lowercase().parse().map_err(|_| Error::StorageOption {
            name: name.clone(),
            problem: "unknown; see AmazonS3ConfigKey of the object_store crate".to_owned(),
        })?;
        if matches!(key, AmazonS3ConfigKey::Endpoint) && value.starts_with("http://") {
            builder = builder.with_allow_http(true);
        }
        builder = builder.with_config(key, value);
    }
    let store = builder.build().map_err(|e| Error::StorageOption { name: "s3".to_owned(), problem: e.to_string() })?;
    Ok(Location { store: Arc::new(store), root, url, rehearsed: Rehearsed::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_a_store_and_a_place() {
        let plain = store_for("/data/my lake/../lake b/", &[]).unwrap();
        assert_eq!(plain.root.as_ref(), "data/lake b");
        assert_eq!(plain.url.as_str(), "file:///data/lake%20b");
        assert_eq!(store_for("file:///data/lake%20b", &[]).unwrap().root, plain.root);
        assert_eq!(plain.url_of(&plain.root.clone().join("x")).as_str(), "file:///data/lake%20b/x");

        let options = [("aws_endpoint", "http://127.0.0.1:9"), ("AWS_REGION", "eu-west-1")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()));
        let s3 = store_for("s3://bucket/a/b/", &options).unwrap();
        assert_eq!((s3.root.as_ref(), s3.url.as_str()), ("a/b", "s3://bucket/a/b"));
    }

    #[test]
    fn wrong_addresses_and_options_say_so() {
        for address in ["", "ftp://x/y", "s3://", "s3://user@b/c"] {
            assert_eq!(store_for(address, &[]).unwrap_err().fault(), domain::Fault::InvalidInput, "{address}");
        }
        let unknown = [("aws_nonsense".to_owned(), "1".to_owned())];
        assert!(store_for("s3://b/c", &unknown).unwrap_err().to_string().contains("aws_nonsense"));
    }
}

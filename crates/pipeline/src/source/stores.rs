//! The places that images are read from, opened once each.

use super::uri::{self, Address};
use crate::error::{Error, ErrorKind, Result};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Buckets that one process reads from.
const MAX_BUCKETS: usize = 64;
/// The one retry layer in front of a store: attempts and the whole time of one request.
const MAX_RETRIES: usize = 5;
const RETRY_WITHIN: Duration = Duration::from_secs(60);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens buckets as items name them, with one set of S3 settings. Local files need no opening.
#[derive(Default)]
pub struct Stores {
    s3: Vec<(AmazonS3ConfigKey, String)>,
    opened: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

/// Where one item lies.
#[derive(Debug, Clone)]
pub enum Place {
    File(PathBuf),
    Object { store: Arc<dyn ObjectStore>, key: object_store::path::Path },
}

// the settings hold secrets
impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}

impl Stores {
    /// `s3` are settings of `object_store` (region, endpoint, credentials), read from the environment by the caller. An
    /// endpoint that begins with `http://` is taken as leave to use plain HTTP.
    pub fn new(s3: Vec<(AmazonS3ConfigKey, String)>) -> Stores {
        Stores { s3, opened: Mutex::default() }
    }

    /// Puts a store in the place of a bucket, as tests do with one in memory.
    #[must_use]
    pub fn with_bucket(self, bucket: &str, store: Arc<dyn ObjectStore>) -> Stores {
        self.opened.lock().expect("no panic while opening").insert(bucket.to_owned(), store);
        self
    }

    /// # Errors
    /// [`ErrorKind::Source`] for an address that is none; [`ErrorKind::Refused`] for settings that do not open the bucket.
    pub fn place(&self, uri: &str) -> Result<Place> {
        match uri::parse(uri) {
            Some(Address::File(path)) => Ok(Place::File(path)),
            Some(Address::Object { bucket, key }) => {
                let key = object_store::path::Path::parse(&key).map_err(|_| {
                    Error::new(ErrorKind::Source, "an object key with empty, `.` or `..` parts cannot be addressed")
                })?;
                Ok(Place::Object { store: self.bucket(&bucket)?, key })
            }
            None => Err(Error::new(ErrorKind::Source, "an item's address is neither file:///path nor s3://bucket/key")),
        }
    }

    /// The store of a bucket, opened at first use.
    pub fn bucket(&self, bucket: &str) -> Result<Arc<dyn ObjectStore>> {
        let mut opened = self.opened.lock().expect("no panic while opening");
        if let Some(store) = opened.get(bucket) {
            return Ok(store.clone());
        }
        if opened.len() >= MAX_BUCKETS {
            let message = format!("more than {MAX_BUCKETS} buckets in one run; split the manifest by bucket");
            return Err(Error::new(ErrorKind::Source, message));
        }
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_client_options(
                ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT),
            )
            .with_retry(RetryConfig {
                backoff: BackoffConfig::default(),
                max_retries: MAX_RETRIES,
                retry_timeout: RETRY_WITHIN,
            });
        for (key, value) in &self.s3 {
            if matches!(key, AmazonS3ConfigKey::Endpoint) && value.starts_with("http://") {
                builder = builder.with_allow_http(true);
            }
            builder = builder.with_config(*key, value);
        }
        let store: Arc<dyn ObjectStore> = Arc::new(builder.build().map_err(|e| {
            Error::caused(ErrorKind::Refused, "the S3 settings do not open the bucket; check endpoint and region", e)
        })?);
        opened.insert(bucket.to_owned(), store.clone());
        Ok(store)
    }
}

//! A store with the faults that stores have.

use super::fate::{Fate, Fault};
use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::sync::Arc;

/// The object that takes down whoever reads it.
pub(super) const KILLER: &str = "killer";

#[derive(Debug)]
pub(super) struct FaultyStore {
    pub inner: Arc<dyn ObjectStore>,
    pub fate: Arc<Fate>,
}

impl std::fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FaultyStore")
    }
}

fn broken() -> Error {
    Error::Generic { store: "faulty", source: "connection reset".to_owned().into() }
}

fn existing(location: &Path) -> Error {
    Error::AlreadyExists { path: location.to_string(), source: "precondition failed".to_owned().into() }
}

impl FaultyStore {
    /// A body that ends after its first half: with an error, or as if that were all.
    async fn cut(found: GetResult, with_error: bool) -> Result<GetResult> {
        let GetResult { meta, range, attributes, .. } = &found;
        let (meta, range, attributes) = (meta.clone(), range.clone(), attributes.clone());
        let whole = found.bytes().await?;
        let half = Ok(whole.slice(..whole.len() / 2));
        let pieces = if with_error { vec![half, Err(broken())] } else { vec![half] };
        Ok(GetResult { payload: GetResultPayload::Stream(stream::iter(pieces).boxed()), meta, range, attributes })
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let (fate, what) = (&self.fate, format!("put {location}"));
        fate.pause(&what).await;
        let creates = options.mode == PutMode::Create;
        if fate.happens(Fault::PutFails, &what) {
            return Err(broken());
        }
        if creates && fate.happens(Fault::PutRefusedInVain, &what) {
            return Err(existing(location));
        }
        let done = self.inner.put_opts(location, payload, options).await?;
        // the answer is on its way while others see the object
        fate.pause(&format!("answer of {what}")).await;
        if creates && fate.happens(Fault::PutLandsAsExisting, &what) {
            return Err(existing(location));
        }
        if fate.happens(Fault::PutLandsAsError, &what) {
            return Err(broken());
        }
        Ok(done)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (fate, what) = (&self.fate, format!("get {location}"));
        fate.pause(&what).await;
        if location.filename() == Some(KILLER) {
            fate.killed_by_item().await;
        }
        if fate.happens(Fault::GetFails, &what) {
            return Err(broken());
        }
        let found = self.inner.get_opts(location, options).await?;
        if fate.happens(Fault::GetBreaksOff, &what) {
            return FaultyStore::cut(found, true).await;
        }
        // HTTP tells an announced length from a shorter body, so that the table library, which does not, never sees one
        let ours = !location.as_ref().contains("_delta_log");
        if ours && found.range.end > found.range.start && fate.happens(Fault::GetCutShort, &what) {
            return FaultyStore::cut(found, false).await;
        }
        Ok(found)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, fate) = (self.inner.clone(), self.fate.clone());
        let deleted = locations.and_then(move |location| {
            let (inner, fate) = (inner.clone(), fate.clone());
            async move {
                let what = format!("delete {location}");
                fate.pause(&what).await;
                if fate.happens(Fault::DeleteFails, &what) {
                    return Err(broken());
                }
                inner.delete(&location).await?;
                if fate.happens(Fault::DeleteLandsAsError, &what) {
                    return Err(broken());
                }
                Ok(location)
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (inner, fate, prefix) = (self.inner.clone(), self.fate.clone(), prefix.cloned());
        let listed = async move {
            let what = format!("list {}", prefix.as_ref().map_or("", |prefix| prefix.as_ref()));
            fate.pause(&what).await;
            if fate.happens(Fault::ListFails, &what) {
                return stream::iter(vec![Err(broken())]);
            }
            let mut found: Vec<Result<ObjectMeta>> = inner.list(prefix.as_ref()).collect().await;
            if fate.happens(Fault::ListBreaksOff, &what) {
                found.truncate(found.len() / 2);
                found.push(Err(broken()));
            }
            stream::iter(found)
        };
        stream::once(listed).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

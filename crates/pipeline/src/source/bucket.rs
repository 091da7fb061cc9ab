//! A prefix of a bucket.

use super::{object_item, stores::Stores};
use crate::error::{Error, ErrorKind, Result, of_store};
use domain::Item;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;

/// Objects at or below `prefix/`, in the order in which the store lists them (S3: by key). Folder markers (empty objects
/// whose key is the folder of the next one) are no items.
pub(super) fn items(stores: &Stores, bucket: &str, prefix: &str) -> BoxStream<'static, Result<Item>> {
    let (store, prefix) = match stores.bucket(bucket).and_then(|store| Ok((store, parse(prefix)?))) {
        Ok(opened) => opened,
        Err(error) => return stream::once(std::future::ready(Err(error))).boxed(),
    };
    let bucket = bucket.to_owned();
    let objects = store.list(prefix.as_ref()).map_err(|e| of_store(&e, "listing SRC"));
    without_markers(objects.map_ok(move |meta| object_item(&bucket, &meta)).boxed())
}

fn parse(prefix: &str) -> Result<Option<Path>> {
    let path = (!prefix.is_empty()).then(|| Path::parse(prefix)).transpose();
    path.map_err(|_| Error::new(ErrorKind::Source, "SRC has an empty, `.` or `..` part between slashes"))
}

/// Holds each empty object back until the next one shows whether it is a folder's marker.
fn without_markers(items: BoxStream<'static, Result<Item>>) -> BoxStream<'static, Result<Item>> {
    let ended = stream::once(std::future::ready(None));
    let mut held: Option<Item> = None;
    items
        .map(Some)
        .chain(ended)
        .flat_map(move |next| {
            let mut out = Vec::with_capacity(2);
            if let Some(empty) = held.take() {
                let marks = |item: &Item| item.uri.strip_prefix(&empty.uri).is_some_and(|rest| rest.starts_with('/'));
                if !matches!(&next, Some(Ok(item)) if marks(item)) {
                    out.push(Ok(empty));
                }
            }
            match next {
                Some(Ok(item)) if item.size_bytes == 0 => held = Some(item),
                Some(other) => out.push(other),
                None => {}
            }
            stream::iter(out)
        })
        .boxed()
}

//! Item -> its bytes, in the version that was listed.

use super::{Stop, Way};
use crate::error::{Error, ErrorKind, of_store};
use crate::source::stores::{Place, Stores};
use crate::source::{file_version, object_version};
use bytes::{Bytes, BytesMut};
use domain::{FailReason, Item};
use futures::TryStreamExt;
use object_store::{GetOptions, ObjectStore};
use std::io::{ErrorKind as Io, Read};
use std::path::PathBuf;

/// The bytes of an item: as many as were listed, of the version that was listed.
#[derive(Debug, Clone)]
pub(crate) struct FetchedObject {
    pub bytes: Bytes,
}

/// Reads an item's object.
///
/// An object that has gone, or that is another version by now, is `not_found`: the next listing has the new one. A store
/// that breaks off in the middle is not the image's fault: an error, to be tried again.
pub(crate) async fn fetch(item: &Item, stores: &Stores, max_bytes: u64) -> Way<FetchedObject> {
    if item.size_bytes > max_bytes {
        return Err(Stop::failed(FailReason::TooLarge));
    }
    let bytes = match stores.place(&item.uri)? {
        Place::File(path) => {
            let wanted = item.clone();
            tokio::task::spawn_blocking(move || read_file(path, &wanted))
                .await
                .map_err(|e| Error::caused(ErrorKind::Bug, "reading a file ended abnormally", e))??
        }
        Place::Object { store, key } => read_object(store.as_ref(), &key, item).await?,
    };
    Ok(FetchedObject { bytes })
}

fn read_file(path: PathBuf, item: &Item) -> Way<Bytes> {
    let mut file = std::fs::File::open(path).map_err(of_file)?;
    let facts = file.metadata().map_err(of_file)?;
    if !facts.is_file() || facts.len() != item.size_bytes || file_version(&facts) != item.version {
        return Err(Stop::failed(FailReason::NotFound));
    }
    let mut bytes = Vec::with_capacity(item.size_bytes as usize);
    // one byte more would show that the file has grown since
    (&mut file).take(item.size_bytes + 1).read_to_end(&mut bytes).map_err(of_file)?;
    if bytes.len() as u64 != item.size_bytes {
        return Err(Stop::failed(FailReason::NotFound));
    }
    Ok(bytes.into())
}

fn of_file(error: std::io::Error) -> Stop {
    match error.kind() {
        Io::NotFound | Io::NotADirectory | Io::IsADirectory => Stop::failed(FailReason::NotFound),
        Io::PermissionDenied => Stop::failed(FailReason::AccessDenied),
        // the path is the item's and stays out of the message
        kind => Stop::from(Error::new(ErrorKind::Unreachable, format!("a file cannot be read: {kind}"))),
    }
}

async fn read_object(store: &dyn ObjectStore, key: &object_store::path::Path, item: &Item) -> Way<Bytes> {
    let found = match store.get_opts(key, GetOptions::default()).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return Err(Stop::failed(FailReason::NotFound)),
        Err(object_store::Error::PermissionDenied { .. }) => return Err(Stop::failed(FailReason::AccessDenied)),
        Err(error) => return Err(of_store(&error, "fetching an image").into()),
    };
    if found.meta.size != item.size_bytes || object_version(&found.meta) != item.version {
        return Err(Stop::failed(FailReason::NotFound));
    }
    let mut bytes = BytesMut::with_capacity(item.size_bytes as usize);
    let mut body = found.into_stream();
    while let Some(chunk) = body.try_next().await.map_err(|e| of_store(&e, "fetching an image"))? {
        if bytes.len() + chunk.len() > item.size_bytes as usize {
            return Err(cut_off().into());
        }
        bytes.extend_from_slice(&chunk);
    }
    if bytes.len() as u64 != item.size_bytes {
        return Err(cut_off().into());
    }
    Ok(bytes.freeze())
}

fn cut_off() -> Error {
    Error::new(ErrorKind::Unreachable, "the object store sent another number of bytes than it announced")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Source, stores::Stores};
    use futures::TryStreamExt;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;
    use std::sync::Arc;

    async fn outcome(item: &Item, stores: &Stores) -> Result<Bytes, FailReason> {
        match fetch(item, stores, 1000).await {
            Ok(fetched) => Ok(fetched.bytes),
            Err(Stop::Outcome(ended)) => match ended.outcome {
                domain::Outcome::Failed { reason } => Err(reason),
                other => panic!("{other:?}"),
            },
            Err(Stop::Error(error)) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn only_the_listed_version_is_read() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a b");
        std::fs::write(&path, b"abc").unwrap();
        let stores = Arc::new(Stores::default());
        let source = Source::open(root.path().to_str().unwrap(), stores.clone(), None).await.unwrap();
        let items: Vec<Item> = source.items().try_collect().await.unwrap();
        assert_eq!(outcome(&items[0], &stores).await.unwrap().as_ref(), b"abc");
        let big = Item { size_bytes: 1001, ..items[0].clone() };
        assert_eq!(outcome(&big, &stores).await.unwrap_err(), FailReason::TooLarge);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(outcome(&items[0], &stores).await.unwrap_err(), FailReason::NotFound, "changed since");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(outcome(&items[0], &stores).await.unwrap_err(), FailReason::NotFound);
    }

    #[tokio::test]
    async fn objects_too() {
        let store = Arc::new(InMemory::new());
        let key = object_store::path::Path::from("k");
        store.put(&key, "abc".into()).await.unwrap();
        let stores = Arc::new(Stores::default().with_bucket("b", store.clone()));
        let source = Source::open("s3://b", stores.clone(), None).await.unwrap();
        let items: Vec<Item> = source.items().try_collect().await.unwrap();
        assert_eq!(outcome(&items[0], &stores).await.unwrap().as_ref(), b"abc");
        store.put(&key, "abd".into()).await.unwrap();
        assert_eq!(outcome(&items[0], &stores).await.unwrap_err(), FailReason::NotFound, "another version by now");
        store.delete(&key).await.unwrap();
        assert_eq!(outcome(&items[0], &stores).await.unwrap_err(), FailReason::NotFound);
    }
}

//! Faults that stores really have: a put that lands and is reported as failed or as "already exists", a store that
//! refuses nothing, a log that another version wrote.

use crate::artifact::ArtifactPut;
use crate::paths::Table;
use crate::samples::{fingerprint, grades, reading, scored};
use crate::table::LakeTable;
use crate::tests::{lake, number};
use crate::{Error, Lake, Location};
use async_trait::async_trait;
use deltalake_core::kernel::{DataType, StructField};
use deltalake_core::logstore::{StorageConfig, default_logstore};
use deltalake_core::operations::create::CreateBuilder;
use domain::Fault;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    /// The put lands and is reported as a conflict: the store retried after a timeout.
    LandsAsAlreadyExists,
    /// The put lands and is reported as lost.
    LandsAsError,
    /// The put is lost.
    Fails,
    /// The put is lost and reported as a conflict: two put at once, and neither won.
    RefusedInVain,
    /// Conditional puts overwrite.
    Overwrites,
}

/// Gives each `every`th conditional put a fate.
#[derive(Debug)]
struct Faulty {
    inner: Arc<dyn ObjectStore>,
    fate: Fate,
    every: usize,
    puts: AtomicUsize,
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Faulty({:?})", self.fate)
    }
}

fn lost() -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: "connection reset".to_string().into() }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let due = options.mode == PutMode::Create
            && (self.puts.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(self.every);
        if !due {
            return self.inner.put_opts(location, payload, options).await;
        }
        match self.fate {
            Fate::Fails => Err(lost()),
            Fate::RefusedInVain => {
                let source = "conflict".to_string().into();
                Err(object_store::Error::AlreadyExists { path: location.to_string(), source })
            }
            Fate::Overwrites => {
                self.inner.put_opts(location, payload, PutOptions { mode: PutMode::Overwrite, ..options }).await
            }
            Fate::LandsAsError => {
                self.inner.put_opts(location, payload, options).await?;
                Err(lost())
            }
            Fate::LandsAsAlreadyExists => {
                self.inner.put_opts(location, payload, options).await?;
                let source = "precondition failed".to_string().into();
                Err(object_store::Error::AlreadyExists { path: location.to_string(), source })
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn faulty(location: &Location, fate: Fate, every: usize) -> Location {
    let wrap = |inner| Arc::new(Faulty { inner, fate, every, puts: AtomicUsize::new(0) }) as Arc<dyn ObjectStore>;
    location.clone().with_store(wrap)
}

#[tokio::test]
async fn a_commit_that_landed_unseen_is_not_committed_twice() {
    for fate in [Fate::LandsAsAlreadyExists, Fate::LandsAsError] {
        let lake = lake().await;
        let through = Lake::open(faulty(lake.location(), fate, 2)).await.unwrap();
        let mut committer = through.committer().await.unwrap();
        for n in 0..10u64 {
            let report = committer.commit(vec![scored(n, grades(n))]).await.unwrap();
            assert_eq!((report.results_added, report.instances_added, report.races_lost), (1, 1, 0), "{fate:?}");
        }
        for sql in ["SELECT count(*) FROM results", "SELECT count(*) FROM instances", "SELECT count(*) FROM readings"] {
            assert_eq!(number(&lake, sql).await, 10, "{fate:?}: {sql}");
        }
    }
}

#[tokio::test]
async fn a_commit_that_was_lost_is_transient_and_succeeds_when_given_again() {
    let lake = lake().await;
    let through = Lake::open(faulty(lake.location(), Fate::Fails, 3)).await.unwrap();
    let mut committer = through.committer().await.unwrap();
    let mut failures = 0;
    for n in 0..10u64 {
        while let Err(error) = committer.commit(vec![scored(n, grades(n))]).await {
            assert_eq!(error.fault(), Fault::Transient { retry_after: None }, "{error}");
            failures += 1;
            assert!(failures < 50, "{error}");
        }
    }
    assert!(failures > 3);
    assert_eq!(number(&lake, "SELECT count(*) FROM results").await, 10);
    assert_eq!(number(&lake, "SELECT count(*) FROM readings WHERE aac24_total IS NOT NULL").await, 10);
}

#[tokio::test]
async fn an_object_that_was_refused_as_existing_and_is_not_there_is_put_again() {
    let lake = lake().await;
    let through = Lake::open(faulty(lake.location(), Fate::RefusedInVain, 2)).await.unwrap();
    let (artifacts, transient) = (through.artifacts(), Fault::Transient { retry_after: None });
    let mut refused = 0;
    for n in 0..4 {
        let reading = reading(n, &fingerprint("f"), [Some(1); 8]);
        while let Err(error) = artifacts.put(&reading).await {
            assert_eq!((error.fault(), refused < 7), (transient, true), "{error}");
            refused += 1;
        }
        while let Err(error) = artifacts.put_outcome(scored(n, grades(n))).await {
            assert_eq!((error.fault(), refused < 7), (transient, true), "{error}");
            refused += 1;
        }
        assert!(lake.artifacts().get(&reading.fingerprint, &reading.image_id).await.unwrap().is_some());
    }
    assert_eq!(refused, 7, "every second put, and so each of the eight once but for the first");
}

#[tokio::test]
async fn a_store_that_is_away_is_not_taken_for_one_that_cannot() {
    let location = faulty(&Location::in_memory(), Fate::Fails, 2);
    let error = Lake::create_if_absent(location).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Transient { retry_after: None }, "{error}");
}

#[tokio::test]
async fn a_store_that_lets_two_writers_win_is_refused() {
    let location = faulty(&Location::in_memory(), Fate::Overwrites, 1);
    let error = Lake::create_if_absent(location).await.unwrap_err();
    assert!(matches!(error, Error::ConditionalPut { .. }), "{error}");
    assert_eq!(error.fault(), Fault::Misconfigured);
}

#[tokio::test]
async fn an_artifact_that_landed_unseen_is_there() {
    let lake = lake().await;
    let through = Lake::open(faulty(lake.location(), Fate::LandsAsAlreadyExists, 1)).await.unwrap();
    let reading = reading(1, &fingerprint("f"), [Some(1); 8]);
    assert_eq!(through.artifacts().put(&reading).await.unwrap().1, ArtifactPut::Present);
    assert_eq!(lake.artifacts().get(&reading.fingerprint, &reading.image_id).await.unwrap(), Some(reading));
}

/// The log of a table as deltalake makes it.
fn log_store(lake: &Lake, table: Table) -> deltalake_core::logstore::LogStoreRef {
    let (location, root) = (lake.location(), lake.paths().table(table));
    let prefixed = Arc::new(PrefixStore::new(Arc::clone(&location.store), root.clone()));
    default_logstore(prefixed, Arc::clone(&location.store), &location.url_of(&root), &StorageConfig::default())
}

#[tokio::test]
async fn an_older_table_gains_the_columns_it_lacks() {
    let older = lake().await;
    // A lake elsewhere whose results lack what later versions added.
    let location = Location::in_memory();
    let lake = Lake::create_if_absent(location.clone()).await.unwrap();
    let store = Arc::clone(&location.store);
    let log: Vec<_> =
        futures::TryStreamExt::try_collect(store.list(Some(&lake.paths().table(Table::Results)))).await.unwrap();
    for object in log {
        let object: ObjectMeta = object;
        object_store::ObjectStoreExt::delete(&store, &object.location).await.unwrap();
    }
    let old_columns = crate::schema::columns(Table::Results).iter().filter(|c| !c.name.ends_with("_na"));
    CreateBuilder::new()
        .with_log_store(log_store(&lake, Table::Results))
        .with_columns(old_columns.map(|c| c.delta_field()))
        .await
        .unwrap();
    let lake = Lake::open(location).await.unwrap();
    assert_eq!(number(&lake, "SELECT count(*) FROM readings").await, 0, "an older lake can be queried");
    lake.committer().await.unwrap().commit(vec![scored(1, [1; 8])]).await.unwrap();
    assert_eq!(number(&lake, "SELECT count(*) FROM segments WHERE not_assessable IS NULL").await, 8);
    drop(older);
}

#[tokio::test]
async fn columns_of_a_newer_version_survive() {
    let lake = lake().await;
    let mut committer = lake.committer().await.unwrap();
    committer.commit(vec![scored(0, [1; 8])]).await.unwrap();
    let mut table = deltalake_core::DeltaTable::new(log_store(&lake, Table::Results));
    table.load().await.unwrap();
    table.add_columns().with_fields([StructField::nullable("from_the_future", DataType::DOUBLE)]).await.unwrap();
    let mut compacted = 0;
    for n in 1..17 {
        compacted += committer.commit(vec![scored(n, [1; 8])]).await.unwrap().files_compacted;
    }
    assert!(compacted >= 16);
    let sql = "SELECT count(*) FROM results WHERE from_the_future IS NULL";
    assert_eq!(number(&lake, sql).await, 17);
    let table = LakeTable::open(lake.location(), lake.paths(), Table::Results).await.unwrap().unwrap();
    assert!(table.file_schema().unwrap().field_with_name("from_the_future").is_ok());
}

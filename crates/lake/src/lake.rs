//! A lake as others see it.

use crate::artifact::Artifacts;
use crate::census::Tally;
use crate::committer::Committer;
use crate::error::{Error, Result};
use crate::items::{ItemManifests, Submission};
use crate::location::Location;
use crate::paths::{LakePaths, Table};
use crate::pending::{OpenItems, Wanted};
use crate::session::{LakeSession, SessionOptions};
use crate::table::LakeTable;
use domain::{FailReason, Fingerprint, Reason};
use object_store::path::Path;
use object_store::{PutMode, PutOptions};

/// An open lake. Cheap to clone; each use reads the newest version.
#[derive(Debug, Clone)]
pub struct Lake {
    location: Location,
    paths: LakePaths,
}

impl Lake {
    /// Opens a lake.
    ///
    /// # Errors
    /// There is none at this place, or its tables are not ours.
    pub async fn open(location: Location) -> Result<Lake> {
        let lake = Lake::at(location);
        for table in [Table::Results, Table::Instances] {
            if LakeTable::open(&lake.location, &lake.paths, table).await?.is_none() {
                return Err(Error::NotALake { address: lake.location.url.to_string() });
            }
        }
        Ok(lake)
    }

    /// Opens a lake and makes it where there is none; any number of processes may do so at once.
    ///
    /// # Errors
    /// Besides those of the store: the store lets two writers create the same object.
    pub async fn create_if_absent(location: Location) -> Result<Lake> {
        let lake = Lake::at(location);
        lake.probe_conditional_put().await?;
        for table in [Table::Results, Table::Instances] {
            LakeTable::create_if_absent(&lake.location, &lake.paths, table).await?;
        }
        Ok(lake)
    }

    /// What is left of a lake whose tables may be lost: for its artifacts and manifests. Nothing is looked at.
    pub fn remains(location: Location) -> Lake {
        Lake::at(location)
    }

    fn at(location: Location) -> Lake {
        let paths = LakePaths::new(location.root.clone());
        Lake { location, paths }
    }

    pub fn location(&self) -> &Location {
        &self.location
    }

    pub fn paths(&self) -> &LakePaths {
        &self.paths
    }

    /// A writer of the tables. It reads all keys once; use one for many batches.
    pub async fn committer(&self) -> Result<Committer> {
        Committer::open(&self.location, &self.paths).await
    }

    /// The files of both tables at their newest versions, with their sizes in bytes.
    pub async fn files(&self) -> Result<Vec<(Path, u64)>> {
        let mut files = Vec::new();
        for table in [Table::Results, Table::Instances] {
            let open = LakeTable::open(&self.location, &self.paths, table).await?;
            let open = open.ok_or_else(|| Error::NotALake { address: self.location.url.to_string() })?;
            files.extend(open.files()?.into_values().map(|file| (file.path, file.size)));
        }
        Ok(files)
    }

    /// The evidence behind the rows.
    pub fn artifacts(&self) -> Artifacts {
        Artifacts::new(&self.location, &self.paths)
    }

    /// What a submission still needs. Scored and excluded items are done, failed ones too unless their reason is in `retry`.
    pub async fn open_items(&self, submission: &Submission, retry: &[FailReason]) -> Result<OpenItems> {
        let reasons = retry.iter().copied().map(Reason::Failed).collect();
        let wanted = Wanted { pending: true, reasons, ..Wanted::default() };
        OpenItems::find(&self.location, &self.paths, submission, &wanted).await
    }

    /// The items of a submission that are to be read again, each with the attempt that is due.
    pub async fn items_again(&self, submission: &Submission, wanted: &Wanted) -> Result<OpenItems> {
        OpenItems::find(&self.location, &self.paths, submission, wanted).await
    }

    /// How each submission stands, the newest first; those with these ids, or all. Rows scored at or after `since_us`
    /// (microseconds since 1970 UTC) are counted as recent.
    ///
    /// # Errors
    /// Those of the store; there is no submission of an id.
    pub async fn census(&self, ids: &[String], since_us: i64) -> Result<Vec<Tally>> {
        crate::census::census(&self.location, &self.paths, ids, since_us).await
    }

    /// `name version` of the pipeline that made the rows of a fingerprint; `None` where it made none.
    pub async fn pipeline_of(&self, fingerprint: &Fingerprint) -> Result<Option<String>> {
        crate::census::pipeline_of(&self.location, &self.paths, fingerprint).await
    }

    /// What the submissions consist of.
    pub fn items(&self) -> ItemManifests {
        ItemManifests::new(&self.location, &self.paths)
    }

    /// SQL over the newest version.
    pub async fn session(&self, options: SessionOptions) -> Result<LakeSession> {
        LakeSession::open(&self.location, &self.paths, options).await
    }

    /// Stores differ in conditional put, and commits rest on it; so it is asked for rather than assumed.
    async fn probe_conditional_put(&self) -> Result<()> {
        let store = &self.location.store;
        // one name for all, so that a process that dies here leaves nothing behind that another would not use
        let path = self.paths.probe();
        let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let refused = |problem: String| Error::ConditionalPut { address: self.location.url.to_string(), problem };
        match store.put_opts(&path, "first".into(), create()).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
                return Err(refused("conditional put is not implemented".to_owned()));
            }
            Err(source) => return Err(Error::Store { what: "writing to the lake", source }),
        }
        match store.put_opts(&path, "second".into(), create()).await {
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(()),
            Ok(_) => Err(refused("the second put was taken".to_owned())),
            // says nothing about conditional puts: a store that is away is not one that cannot
            Err(source) => Err(Error::Store { what: "writing to the lake", source }),
        }
    }
}

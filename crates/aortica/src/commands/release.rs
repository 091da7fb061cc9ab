//! `aortica release`: a frozen, checksummed snapshot of the cohort under disclosure control.

use crate::cli::{ReleaseArgs, ReleaseCommand, Visit};
use crate::cli_disclosure::MakeRelease;
use crate::cohort::{Link, digest_of, participants};
use crate::exit::usage;
use crate::release::papers::{Edition, Source};
use crate::release::{checksums, codebook, files, labels, papers, tables, workbook};
use crate::wiring;
use anyhow::Context;
use arrow::array::AsArray;
use arrow::datatypes::DataType;
use domain::{Fingerprint, ImageId};
use lake::{AggregateSession, Lake, LakeSession, Population, SessionOptions};
use std::collections::BTreeMap;
use std::path::Path;

pub fn run(args: &ReleaseArgs) -> anyhow::Result<()> {
    if let Some(ReleaseCommand::Verify { folder }) = &args.command {
        let files = checksums::verify(folder)?;
        println!("{}: all {files} files are as they were released", folder.display());
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(release(&args.make))
}

async fn release(args: &MakeRelease) -> anyhow::Result<()> {
    let (Some(lake), Some(name), Some(out)) = (&args.lake, &args.name, &args.out) else {
        return Err(usage("say which lake is released (--lake, --name, -o), or `release verify DIR`"));
    };
    check_name(name)?;
    check_folder(out)?;
    let policy = wiring::policy(args.policy.as_deref(), lake)?;
    let lake = wiring::open_lake(lake).await?;
    let session = lake.session(SessionOptions::default()).await?;
    let fingerprint = session.fingerprint(args.fingerprint.as_deref()).await?;
    let link = Link { file: args.with.as_deref(), key: &args.key, visit: Visit::Latest };
    if let Some(counts) = participants(&session, link, &fingerprint).await? {
        eprintln!("{counts}");
    }
    let source = source(&lake, &session, &fingerprint, args.with.as_deref()).await?;
    let edition = Edition { name: name.clone(), date: date(args, &source)?, authors: args.authors.clone() };

    let of =
        Population { table: "participants", imaged: "scored_participants", fingerprint: &fingerprint, occasion: name };
    let told = AggregateSession::open(&session, of, &policy, &SessionOptions::default()).await?;
    let mut tables = tables::protected(&told)?;
    if args.rows {
        tables.push(tables::rows(&session).await?);
    }

    let mut all: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for table in &tables {
        all.insert(format!("{}/{}.csv", table.folder, table.name), files::csv(table)?);
        all.insert(format!("{}/{}.parquet", table.folder, table.name), files::parquet(table)?);
    }
    // The rows come last, in a workbook of their own.
    let (public, rows) = tables.split_at(tables.iter().filter(|table| table.folder == "tables").count());
    all.insert("tables.xlsx".to_owned(), workbook::workbook(&edition, public)?);
    if !rows.is_empty() {
        all.insert("rows/rows.xlsx".to_owned(), workbook::workbook(&edition, rows)?);
    }
    all.insert("codebook.csv".to_owned(), codebook::codebook(&tables)?);
    all.insert("labels.R".to_owned(), labels::r(&edition.name, &tables).into_bytes());
    all.insert("labels.do".to_owned(), labels::stata(&edition.name, &tables).into_bytes());
    all.insert("labels.sas".to_owned(), labels::sas(&edition.name, &tables).into_bytes());
    all.insert("provenance.json".to_owned(), papers::provenance(&edition, &source, &policy, &told, &tables)?);
    all.insert("CITATION.cff".to_owned(), papers::citation(&edition, &source).into_bytes());
    all.insert("README.md".to_owned(), papers::readme(&edition, &policy, &told, &tables).into_bytes());
    write(out, &all)?;

    let (withheld, counts) = told.withheld();
    println!(
        "{}: {} files, {} tables; {withheld} of {counts} counts withheld",
        out.display(),
        all.len() + 1,
        tables.len()
    );
    if told.refused() > 0 {
        println!("{} of them because they differ too little from what was told before", told.refused());
    }
    if args.rows {
        println!(
            "rows/ has one row a participant and is not under disclosure control: give it to nobody who may not see rows"
        );
    }
    Ok(())
}

fn check_name(name: &str) -> anyhow::Result<()> {
    if name.trim().is_empty() || name.len() > 200 || name.chars().any(char::is_control) {
        return Err(usage("--name is a title of 1 to 200 bytes on one line"));
    }
    Ok(())
}

/// A release is never written over anything.
fn check_folder(out: &Path) -> anyhow::Result<()> {
    match std::fs::read_dir(out) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(usage(format!("{} is not empty; a release is made in a folder of its own", out.display()))),
            None => Ok(()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| out.display().to_string()),
    }
}

/// All files or none: written beside the folder, then given its name.
fn write(out: &Path, files: &BTreeMap<String, Vec<u8>>) -> anyhow::Result<()> {
    let beside = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(beside)?;
    let draft = tempfile::Builder::new().prefix(".release-").tempdir_in(beside)?;
    let folder = draft.path().join("release");
    for (path, bytes) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(&folder))?;
        std::fs::write(&path, bytes)?;
    }
    std::fs::write(folder.join(checksums::SUMS), checksums::sums(files))?;
    // An empty folder gives way to the new one.
    std::fs::rename(&folder, out).with_context(|| out.display().to_string())
}

/// The day that was given, else that of the newest reading.
fn date(args: &MakeRelease, source: &Source) -> anyhow::Result<String> {
    let Some(date) = &args.date else {
        let newest = source.newest_scored_at.get(..10).unwrap_or_default();
        return newest.parse::<jiff::civil::Date>().map(|date| date.to_string()).map_err(|_| {
            usage("no reading says when it was made, so that the release needs a day: --date YYYY-MM-DD")
        });
    };
    date.parse::<jiff::civil::Date>()
        .map(|date| date.to_string())
        .map_err(|_| usage(format!("{date:?} is no day: --date YYYY-MM-DD")))
}

/// What the participants' readings were made by.
async fn source(lake: &Lake, session: &LakeSession, fingerprint: &str, file: Option<&Path>) -> anyhow::Result<Source> {
    let texts = |column: &'static str| {
        let order = if column == "scored_at" { "1 DESC LIMIT 1" } else { "1" };
        let sql = format!(
            "SELECT DISTINCT CAST({column} AS VARCHAR) FROM scored_participants WHERE {column} IS NOT NULL ORDER BY {order}"
        );
        async move {
            let mut found = Vec::new();
            for batch in session.collect(&sql).await? {
                let texts = arrow::compute::cast(batch.column(0), &DataType::Utf8)?;
                found.extend(texts.as_string::<i32>().iter().flatten().map(str::to_owned));
            }
            anyhow::Ok(found)
        }
    };
    let image = session
        .collect("SELECT CAST(image_id AS VARCHAR) AS image FROM scored_participants ORDER BY image LIMIT 1")
        .await?;
    let image = image.iter().flat_map(|batch| arrow::compute::cast(batch.column(0), &DataType::Utf8)).next();
    let image = image.and_then(|image| image.as_string::<i32>().iter().flatten().next().and_then(ImageId::parse));
    let reading = match image.zip(Fingerprint::parse(fingerprint)) {
        Some((image, fingerprint)) => lake.artifacts().get(&fingerprint, &image).await?,
        None => None,
    };
    let models = reading.map(|reading| reading.models).unwrap_or_default();
    Ok(Source {
        fingerprint: fingerprint.to_owned(),
        pipelines: texts("pipeline").await?,
        scoring_rules: texts("scoring_rule").await?,
        models: models.into_iter().map(|(stage, digest)| (stage, digest.to_hex())).collect(),
        newest_scored_at: texts("scored_at").await?.pop().unwrap_or_default(),
        joined_file: file.map(digest_of).transpose()?,
    })
}

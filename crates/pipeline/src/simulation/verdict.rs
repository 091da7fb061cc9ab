//! What must hold when nothing is pending, read from the files by means that are not the lake's own: the log line by line,
//! the rows with the Parquet crate.

use super::world::World;
use crate::queue::Broker;
use crate::queue::topology::Lane;
use arrow::array::{AsArray, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::{FutureExt, StreamExt};
use lake::Location;
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::{BTreeMap, BTreeSet};

/// The one column that differs from run to run: when the pixels were read.
const CLOCK: &str = "scored_at";

/// The rows of the files of both tables as text, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Rows {
    pub results: Vec<String>,
    pub instances: Vec<String>,
}

/// All objects of a lake by key below its root.
struct Objects(BTreeMap<String, bytes::Bytes>);

impl Objects {
    fn of(location: &Location) -> Objects {
        let listed = location.store.list(Some(&location.root)).collect::<Vec<_>>();
        let listed = listed.now_or_never().expect("a store in memory answers at once");
        let read = |path: object_store::path::Path| {
            let get = async { location.store.get(&path).await.unwrap().bytes().await.unwrap() };
            get.now_or_never().expect("a store in memory answers at once")
        };
        let root = format!("{}/", location.root);
        let object = |path: object_store::path::Path| {
            (path.as_ref().strip_prefix(&root).expect("below the root").to_owned(), read(path))
        };
        Objects(listed.into_iter().map(|meta| object(meta.unwrap().location)).collect())
    }

    fn below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a str, &'a bytes::Bytes)> {
        self.0.iter().filter_map(move |(key, bytes)| Some((key.strip_prefix(folder)?.strip_prefix('/')?, bytes)))
    }

    /// Names of the files that the log says are part of the table.
    fn active(&self, table: &str) -> BTreeSet<String> {
        let mut active = BTreeSet::new();
        let log = format!("{table}/_delta_log");
        for (_, commit) in self.below(&log).filter(|(name, _)| name.ends_with(".json")) {
            for line in commit.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let action: serde_json::Value = serde_json::from_slice(line).unwrap();
                let file = |kind: &str| action[kind]["path"].as_str().map(str::to_owned);
                active.extend(file("add"));
                if let Some(removed) = file("remove") {
                    active.remove(&removed);
                }
            }
        }
        active
    }

    fn batches(&self, key: &str) -> Vec<RecordBatch> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(self.0[key].clone()).unwrap().build().unwrap();
        reader.map(Result::unwrap).collect()
    }

    fn table(&self, table: &str) -> Vec<RecordBatch> {
        self.active(table).iter().flat_map(|file| self.batches(&format!("{table}/{file}"))).collect()
    }
}

fn text_of(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default();
    let schema = batch.schema();
    let columns: Vec<_> =
        schema.fields().iter().zip(batch.columns()).filter(|(field, _)| field.name() != CLOCK).collect();
    let columns: Vec<_> = columns
        .iter()
        .map(|(field, array)| (field.name(), ArrayFormatter::try_new(array, &options).unwrap()))
        .collect();
    let row = |row: usize| {
        let cells = columns.iter().map(|(name, values)| format!("{name}={}", values.value(row)));
        cells.collect::<Vec<_>>().join(" ")
    };
    (0..batch.num_rows()).map(row).collect()
}

/// The values of some columns, row by row.
fn keys(batches: &[RecordBatch], columns: &[&str]) -> Vec<Vec<String>> {
    let mut keys = Vec::new();
    for batch in batches {
        let texts: Vec<_> = columns.iter().map(|name| batch.column_by_name(name).unwrap().as_string::<i32>()).collect();
        keys.extend((0..batch.num_rows()).map(|row| texts.iter().map(|text| text.value(row).to_owned()).collect()));
    }
    keys
}

/// What lies in a lake, and the rows of its tables, each file read once.
struct Found {
    objects: Objects,
    results: Vec<RecordBatch>,
    instances: Vec<RecordBatch>,
}

impl Found {
    fn of(location: &Location) -> Found {
        let objects = Objects::of(location);
        let (results, instances) = (objects.table("results"), objects.table("instances"));
        Found { objects, results, instances }
    }

    fn rows(&self) -> Rows {
        let text = |table: &[RecordBatch]| {
            let mut rows: Vec<String> = table.iter().flat_map(text_of).collect();
            rows.sort();
            rows
        };
        Rows { results: text(&self.results), instances: text(&self.instances) }
    }
}

pub(super) fn rows(location: &Location) -> Rows {
    Found::of(location).rows()
}

/// What does not hold, if anything.
pub(super) fn wrong(world: &World, expected: &Rows) -> Option<String> {
    if world.overdue() {
        return Some("it does not end: something is pending for ever".to_owned());
    }
    let found = Found::of(&world.location);
    [messages_left(world), rows_differ(&found, expected), keys_twice(&found), ledger(&found), objects_left(&found)]
        .into_iter()
        .flatten()
        .next()
}

fn messages_left(world: &World) -> Option<String> {
    let depth = |lane: Lane| world.broker.depth(lane).now_or_never().expect("at once").unwrap();
    let left: Vec<_> = Lane::ALL.into_iter().map(|lane| (lane.name(), depth(lane))).filter(|(_, n)| *n > 0).collect();
    (!left.is_empty() || world.broker.unsettled() > 0).then(|| format!("messages are left: {left:?}"))
}

fn rows_differ(found: &Found, expected: &Rows) -> Option<String> {
    let found = found.rows();
    let differ = |table: &str, found: &[String], expected: &[String]| {
        let (found, expected): (BTreeSet<_>, BTreeSet<_>) = (found.iter().collect(), expected.iter().collect());
        let only = |a: &BTreeSet<&String>, b: &BTreeSet<&String>| {
            a.difference(b).map(|row| format!("\n  {row}")).collect::<String>()
        };
        format!(
            "{table}: only disturbed:{}\n{table}: only undisturbed:{}\n",
            only(&found, &expected),
            only(&expected, &found)
        )
    };
    (found != *expected).then(|| {
        let instances = differ("instances", &found.instances, &expected.instances);
        format!(
            "the table is not the undisturbed one\n{}{instances}",
            differ("results", &found.results, &expected.results)
        )
    })
}

/// Invariant 4, in the files.
fn keys_twice(found: &Found) -> Option<String> {
    for (table, batches, id) in [("results", &found.results, "image_id"), ("instances", &found.instances, "item_id")] {
        let mut keys = keys(batches, &[id, "fingerprint"]);
        let rows = keys.len();
        keys.sort();
        keys.dedup();
        if keys.len() < rows {
            return Some(format!("{table} has {rows} rows of {} keys", keys.len()));
        }
    }
    None
}

/// Invariant 5: every item of every manifest has a row, and no row is of another item.
fn ledger(Found { objects, instances, .. }: &Found) -> Option<String> {
    let parts = objects.0.keys().filter(|key| key.starts_with("items/") && key.ends_with(".parquet"));
    let listed: BTreeSet<Vec<String>> = parts.flat_map(|key| keys(&objects.batches(key), &["item_id"])).collect();
    let told: BTreeSet<Vec<String>> = keys(instances, &["item_id"]).into_iter().collect();
    (listed != told || listed.is_empty())
        .then(|| format!("{} items are listed, {} have rows", listed.len(), told.len()))
}

/// Nothing lies in the lake that is neither part of it nor taken away by a committer's sweep, and all evidence is there.
fn objects_left(Found { objects, results, instances }: &Found) -> Option<String> {
    let mut evidence: BTreeSet<String> = BTreeSet::new();
    for key in objects.0.keys() {
        let parts: Vec<&str> = key.split('/').collect();
        match parts.as_slice() {
            ["results" | "instances", "_delta_log", ..] | ["_probe-put"] => {}
            // what the log names, and what a sweep finds when it is a week old
            ["results" | "instances", file] if file.starts_with("part-") && file.ends_with(".parquet") => {}
            ["items", _, "submission.json"] => {}
            ["items", _, part] if part.starts_with("part-") => {}
            ["artifacts", fingerprint, "items", _, name] => {
                evidence.insert(format!("{fingerprint} item {}", name.trim_end_matches(".json")));
            }
            ["artifacts", fingerprint, _, name] => {
                evidence.insert(format!("{fingerprint} image {}", name.trim_end_matches(".json")));
            }
            _ => return Some(format!("{key} is left behind")),
        }
    }
    let mut told: BTreeSet<String> = BTreeSet::new();
    told.extend(keys(results, &["fingerprint", "image_id"]).iter().map(|k| format!("{} image {}", k[0], k[1])));
    let instances = keys(instances, &["fingerprint", "item_id", "status"]);
    told.extend(instances.iter().map(|k| format!("{} item {}-1-{}", k[0], k[1], k[2])));
    (told != evidence).then(|| {
        let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
        format!(
            "rows without evidence {:?}, evidence without rows {:?}",
            only(&told, &evidence),
            only(&evidence, &told)
        )
    })
}

//! Statistics over many readings, timed: `tests/bench/statistics.sh` runs it beside another engine on the same files.
//!
//! ```text
//! statistics_speed generate --out DIR [--rows N] [--pairs N]     readings-*.parquet and pairs-*.parquet of people who do not exist
//! statistics_speed query --dir DIR [--threads N] [--rounds N] [--memory MIB] < statements.json
//! ```
//!
//! The files are written as the lake writes its own (zstd, row groups of 65,536). `query` takes `{"name": "SQL", ..}` on the tables
//! `readings` and `pairs`, and prints for each the seconds of every round and the rows of the last. The session is the lake's.

use arrow::array::{
    ArrayRef, Date32Array, Float64Builder, Int8Builder, Int32Array, Int32Builder, RecordBatch, StringArray,
};
use arrow::json::ArrayWriter;
use datafusion::prelude::ParquetReadOptions;
use lake::{Lake, LakeSession, Location, SessionOptions};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

const USAGE: &str = "statistics_speed generate --out DIR [--rows N] [--pairs N] | query --dir DIR [--threads N] [--rounds N] [--memory MIB]";
/// Files of each table: as many as keep both cores busy.
const FILES: u64 = 4;
const BATCH_ROWS: u64 = 65_536;
const ROW_GROUP_ROWS: usize = 65_536;

/// Cheap repeatable numbers (SplitMix64).
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// 0..below.
    fn below(&mut self, below: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(below)) >> 64) as u64
    }

    /// A score as populations have them: four of ten people 0, then fewer the higher.
    fn score(&mut self) -> i8 {
        if self.below(10) < 4 { 0 } else { (self.below(25) * self.below(26) / 25) as i8 }
    }

    /// Another reading of the same picture: mostly the same, else one or two points off.
    fn again(&mut self, score: i8) -> i8 {
        let off = [0, 0, 0, 0, 0, 1, -1, 1, -1, 2, -2, 3][self.below(12) as usize];
        (score + off).clamp(0, 24)
    }
}

fn properties() -> Result<WriterProperties> {
    let unique = ColumnPath::from("participant_id");
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_column_dictionary_enabled(unique, false)
        .build())
}

/// Columns of `readings` that studies group and describe by, and a human reading beside the model's.
fn readings(first: u64, rows: u64) -> Result<RecordBatch> {
    const MAKERS: [&str; 3] = ["GE", "Hologic", "Siemens"];
    const CATEGORIES: [&str; 3] = ["low", "moderate", "high"];
    let mut draws = Draws(first);
    let rows_usize = rows as usize;
    let mut participants = Vec::with_capacity(rows_usize);
    let (mut sexes, mut sites, mut makers) = (Vec::new(), Vec::new(), Vec::new());
    let (mut ages, mut dates) = (Vec::with_capacity(rows_usize), Vec::with_capacity(rows_usize));
    let (mut totals, mut references) = (Int32Builder::new(), Int32Builder::new());
    let (mut labels, mut statuses) = (Vec::new(), Vec::new());
    let (mut lengths, mut confidences) = (Float64Builder::new(), Float64Builder::new());
    let names: Vec<String> = (0..40).map(|site| format!("site{site:02}")).collect();
    for number in first..first + rows {
        participants.push(format!("{:020x}", Draws(number / 2).next()));
        let bits = draws.next();
        sexes.push(if bits & 1 == 0 { "F" } else { "M" });
        ages.push(50 + (bits >> 1 & 31) as i32 + (bits >> 6 & 7) as i32);
        sites.push(names[(bits >> 9 & 31) as usize].as_str());
        makers.push(MAKERS[(bits >> 14 & 0xff) as usize % 3]);
        dates.push(14_000 + (bits >> 22 & 0xfff) as i32);
        // one in fifty has no score, one in ten was read by a person too
        if bits >> 34 & 0x3f == 0 {
            statuses.push("excluded");
            totals.append_null();
            references.append_null();
            labels.push(None);
            lengths.append_null();
            confidences.append_null();
            continue;
        }
        statuses.push("scored");
        let score = draws.score();
        totals.append_value(i32::from(score));
        references.append_value(i32::from(draws.again(score)));
        labels.push(Some(CATEGORIES[usize::from(score >= 2) + usize::from(score >= 6)]));
        lengths.append_value(if score == 0 { 0.0 } else { draws.below(60_000) as f64 / 997.0 });
        confidences.append_value(0.5 + draws.below(5_000) as f64 / 1e4);
    }
    let columns: [(&str, ArrayRef); 11] = [
        ("participant_id", Arc::new(StringArray::from_iter_values(participants))),
        ("sex", Arc::new(StringArray::from_iter_values(sexes))),
        ("age_years", Arc::new(Int32Array::from(ages))),
        ("site_id", Arc::new(StringArray::from_iter_values(sites))),
        ("scanner_maker", Arc::new(StringArray::from_iter_values(makers))),
        ("image_date", Arc::new(Date32Array::from(dates))),
        ("status", Arc::new(StringArray::from_iter_values(statuses))),
        ("aac24_total", Arc::new(totals.finish())),
        ("reference", Arc::new(references.finish())),
        ("aac24_cat_label", Arc::new(StringArray::from_iter(labels))),
        ("aac_length_mm", Arc::new(lengths.finish())),
    ];
    let with_confidence = columns.into_iter().chain([("confidence", Arc::new(confidences.finish()) as ArrayRef)]);
    Ok(RecordBatch::try_from_iter_with_nullable(with_confidence.map(|(name, values)| (name, values, true)))?)
}

/// Two scores of as many pictures, one byte each.
fn pairs(first: u64, rows: u64) -> Result<RecordBatch> {
    let mut draws = Draws(first ^ 0x5851_F42D_4C95_7F2D);
    let (mut references, mut models) = (Int8Builder::new(), Int8Builder::new());
    for _ in 0..rows {
        let score = draws.score();
        references.append_value(score);
        models.append_value(draws.again(score));
    }
    let columns: [(&str, ArrayRef); 2] =
        [("reference", Arc::new(references.finish())), ("model", Arc::new(models.finish()))];
    Ok(RecordBatch::try_from_iter(columns)?)
}

/// Writes `rows` rows to some files, each on a thread.
fn write(folder: &Path, name: &str, rows: u64, batch: fn(u64, u64) -> Result<RecordBatch>) -> Result<()> {
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..FILES)
            .map(|file| {
                let (from, to) = (rows * file / FILES, rows * (file + 1) / FILES);
                let path = folder.join(format!("{name}-{file}.parquet"));
                scope.spawn(move || -> Result<()> {
                    let mut writer: Option<ArrowWriter<File>> = None;
                    for first in (from..to).step_by(BATCH_ROWS as usize) {
                        let batch = batch(first, BATCH_ROWS.min(to - first))?;
                        let writer = match &mut writer {
                            Some(writer) => writer,
                            None => {
                                let file = File::create(&path)?;
                                writer.insert(ArrowWriter::try_new(file, batch.schema(), Some(properties()?))?)
                            }
                        };
                        writer.write(&batch)?;
                    }
                    writer.map(ArrowWriter::close).transpose()?;
                    Ok(())
                })
            })
            .collect();
        writers.into_iter().try_for_each(|writer| writer.join().map_err(|_| "a writer panicked")?)
    })
}

fn peak_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.split_whitespace().nth(1).ok_or("no VmHWM")?.parse::<f64>()? / 1024.0)
}

async fn session(folder: &Path, threads: usize, memory_mib: usize) -> Result<LakeSession> {
    let lake = Lake::create_if_absent(Location::in_memory()).await?;
    let options = SessionOptions { memory_mib, threads, sources: false, ..SessionOptions::default() };
    let session = lake.session(options).await?;
    // beside the lake's own, empty table of that name
    let context = session.context();
    for table in ["readings", "pairs"] {
        let files: Vec<String> = (0..FILES)
            .map(|file| folder.join(format!("{table}-{file}.parquet")))
            .filter(|path| path.exists())
            .map(|path| path.display().to_string())
            .collect();
        if !files.is_empty() {
            let frame = context.read_parquet(files, ParquetReadOptions::default()).await?;
            context.deregister_table(table)?;
            context.register_table(table, frame.into_view())?;
        }
    }
    Ok(session)
}

async fn query(folder: &Path, threads: usize, rounds: usize, memory_mib: usize) -> Result<Value> {
    let statements: Map<String, Value> = serde_json::from_reader(std::io::stdin())?;
    let session = session(folder, threads, memory_mib).await?;
    let mut told = Map::new();
    for (name, sql) in statements {
        let sql = sql.as_str().ok_or("a statement is a text")?;
        let (mut seconds, mut rows) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let began = Instant::now();
            rows = session.collect(sql).await?;
            seconds.push(began.elapsed().as_secs_f64());
        }
        let mut writer = ArrayWriter::new(Vec::new());
        writer.write_batches(&rows.iter().collect::<Vec<_>>())?;
        writer.finish()?;
        let rows: Value = serde_json::from_slice(&writer.into_inner())?;
        told.insert(name, json!({ "seconds": seconds, "rows": rows, "peak_mib": peak_mib()? }));
    }
    Ok(told.into())
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let what = words.next().ok_or(USAGE)?;
    let mut values = HashMap::new();
    while let Some(word) = words.next() {
        let name = word.strip_prefix("--").filter(|name| USAGE.contains(&format!("--{name} "))).ok_or(USAGE)?;
        values.insert(name.to_owned(), words.next().ok_or(USAGE)?);
    }
    let number = |name: &str, default: u64| values.get(name).map_or(Ok(default), |value| value.parse::<u64>());
    let told = match what.as_str() {
        "generate" => {
            let folder = Path::new(values.get("out").ok_or(USAGE)?);
            std::fs::create_dir_all(folder)?;
            let (rows, paired) = (number("rows", 10_000_000)?, number("pairs", 100_000_000)?);
            let began = Instant::now();
            write(folder, "readings", rows, readings)?;
            let readings_s = began.elapsed().as_secs_f64();
            write(folder, "pairs", paired, pairs)?;
            let pairs_s = began.elapsed().as_secs_f64() - readings_s;
            json!({ "readings": rows, "readings_s": readings_s, "pairs": paired, "pairs_s": pairs_s })
        }
        "query" => {
            let folder = Path::new(values.get("dir").ok_or(USAGE)?);
            let memory_mib = number("memory", 1024)? as usize;
            query(folder, number("threads", 2)? as usize, number("rounds", 5)? as usize, memory_mib).await?
        }
        _ => return Err(USAGE.into()),
    };
    println!("{told}");
    Ok(())
}

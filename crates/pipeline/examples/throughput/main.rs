//! How much the distributed roles carry: jobs through a broker to rows, records into a lake, and a lake of ten million items that is
//! taken up again. `tests/bench/queue.sh` runs all of it and keeps the record.
//!
//! ```text
//! throughput limit  --amqp URL [--messages N] [--in-flight N]             what the broker and its client carry without us
//! throughput worker --amqp URL [--jobs N] [--prefetch N] [--lake ADDRESS] jobs to committed rows; pixels and networks left out
//! throughput commit --lake DIR [--rows N] [--amqp URL]                    records to rows, from memory or from a broker
//! throughput fill   --lake DIR [--rows N]                                 a lake of so many items, straight into the tables
//! throughput resume --lake DIR [--rows N]                                 from a listing of it to the first open item
//! ```
//!
//! `--option NAME=VALUE` (repeated) are settings of an S3 store, `--broker-pid PID` counts the broker's processor time too. Each prints
//! one JSON object. Readings are one of a simulated image, with the segments of a population and ids of their own.

mod broker_limit;
mod committing;
mod meter;
mod resuming;
mod synthetic;
mod working;

use std::collections::HashMap;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T, E = Error> = std::result::Result<T, E>;

const USAGE: &str = "throughput limit|worker|commit|fill|resume [--amqp URL] [--lake ADDRESS] [--rows N] [--jobs N] \
                     [--messages N] [--in-flight N] [--prefetch N] [--option NAME=VALUE].. [--broker-pid PID]";

/// The words of the command line.
struct Options {
    values: HashMap<String, String>,
    /// Of the store.
    store: Vec<(String, String)>,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Options> {
        const KNOWN: [&str; 8] = ["amqp", "lake", "rows", "jobs", "messages", "in-flight", "prefetch", "broker-pid"];
        let mut options = Options { values: HashMap::new(), store: Vec::new() };
        while let Some(word) = words.next() {
            let value = words.next().ok_or(USAGE)?;
            match word.strip_prefix("--").ok_or(USAGE)? {
                "option" => {
                    let (name, value) = value.split_once('=').ok_or(USAGE)?;
                    options.store.push((name.to_owned(), value.to_owned()));
                }
                name if KNOWN.contains(&name) => {
                    options.values.insert(name.to_owned(), value);
                }
                _ => return Err(USAGE.into()),
            }
        }
        Ok(options)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    fn needed(&self, name: &str) -> Result<&str> {
        self.text(name).ok_or_else(|| format!("--{name} is missing\n{USAGE}").into())
    }

    fn number(&self, name: &str, default: u64) -> Result<u64> {
        Ok(self.text(name).map_or(Ok(default), str::parse)?)
    }

    fn broker_pid(&self) -> Result<Option<u32>> {
        Ok(self.text("broker-pid").map(str::parse).transpose()?)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let what = words.next().ok_or(USAGE)?;
    let options = Options::parse(words)?;
    let told = match what.as_str() {
        "limit" => broker_limit::run(&options).await?,
        "worker" => working::run(&options).await?,
        "commit" => committing::run(&options).await?,
        "fill" => resuming::fill(&options).await?,
        "resume" => resuming::resume(&options).await?,
        _ => return Err(USAGE.into()),
    };
    println!("{told}");
    Ok(())
}

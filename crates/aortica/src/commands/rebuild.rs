//! `aortica rebuild`: the tables of a lake anew from its artifacts.

use crate::cli::RebuildArgs;
use crate::commands::distributed::block_on;
use crate::exit::EXIT_STOPPED;
use crate::{signals, wiring};
use lake::{Lake, Rebuilt};

/// A line on stderr after so many objects.
const TOLD_EVERY: u64 = 100_000;

pub fn run(args: &RebuildArgs) -> anyhow::Result<u8> {
    block_on(2, async {
        let cancel = signals::stop_on_signal();
        // what can be wrong with the source comes before a new lake is made
        let other = args.from.as_deref().map(wiring::remains_of_lake).transpose()?;
        let lake = wiring::create_lake(&args.lake.lake).await?;
        let Some(done) = cancel.run_until_cancelled(rebuild(&lake, other.as_ref())).await else {
            eprintln!("stopped; what is done is kept, the same command goes on");
            return Ok(EXIT_STOPPED);
        };
        let (copied, rebuilt) = done?;
        if args.json {
            println!("{}", serde_json::json!({ "copied": copied, "rebuilt": rebuilt }));
        } else {
            print(copied, &rebuilt);
        }
        Ok(0)
    })
}

async fn rebuild(lake: &Lake, other: Option<&Lake>) -> anyhow::Result<(Option<u64>, Rebuilt)> {
    let copied = match other {
        Some(other) => Some(lake.copy_evidence_from(other, told("objects looked at")).await?),
        None => None,
    };
    Ok((copied, lake.rebuild(told("outcomes read")).await?))
}

fn told(what: &'static str) -> impl FnMut(u64) {
    let mut last = 0;
    move |n| {
        if n / TOLD_EVERY > last {
            last = n / TOLD_EVERY;
            eprintln!("{n} {what}");
        }
    }
}

fn print(copied: Option<u64>, rebuilt: &Rebuilt) {
    if let Some(copied) = copied {
        println!("{copied:>9} objects copied");
    }
    println!("{:>9} outcomes among the artifacts", rebuilt.outcomes);
    println!("{:>9} rows added to instances", rebuilt.instances_added);
    println!("{:>9} rows added to results", rebuilt.results_added);
    for (n, what) in [
        (rebuilt.without_reading, "scored items without their reading: they stay pending; submit them again"),
        (rebuilt.unreadable, "objects that this version cannot read; --log warn names them"),
        (rebuilt.conflicts, "rows that a table had otherwise; copies are under conflicts/"),
    ] {
        if n > 0 {
            println!("{n:>9} {what}");
        }
    }
}

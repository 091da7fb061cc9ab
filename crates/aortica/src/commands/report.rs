//! `aortica report`: the page of a study, and beside it every number on it.

use crate::cli::ReportArgs;
use crate::cohort::Cohort;
use crate::exit::usage;
use crate::report::Report;
use crate::settings::Settings;
use anyhow::Context;
use std::path::Path;

pub fn run(args: &ReportArgs, settings: &Settings) -> anyhow::Result<()> {
    if let Some(day) = &args.date {
        let known: Result<jiff::civil::Date, _> = day.parse();
        known.map_err(|_| usage(format!("--date takes a day as YYYY-MM-DD, not {day:?}")))?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (page, numbers) = runtime.block_on(async {
        let cohort = Cohort::open(&args.cohort, settings).await?;
        let more = args.of.iter().chain(&args.site).chain(&args.cohort.covariates).chain(&args.cohort.event);
        let more: Vec<String> = more.chain(&args.cohort.until).chain(&args.cohort.time).cloned().collect();
        cohort.hold(&more).await?;
        let mut report = Report::new(&cohort, args).await?;
        let page = report.page().await?;
        anyhow::Ok((page, report.numbers))
    })?;
    write(&args.out, &page)?;
    println!("Report: {} (open it in a browser; it needs nothing else)", args.out.display());
    if args.json {
        let beside = args.out.with_extension("json");
        write(&beside, &format!("{}\n", serde_json::to_string_pretty(&numbers)?))?;
        println!("Numbers: {}", beside.display());
    }
    Ok(())
}

/// Whole or not at all.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, text).with_context(|| format!("{}", part.display()))?;
    std::fs::rename(&part, path).with_context(|| format!("{}", path.display()))
}

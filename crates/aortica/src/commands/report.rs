//! `aortica report`: the page of a study, and beside it every number on it.

use crate::cli::ReportArgs;
use crate::cohort::{Cohort, Row, aggregate};
use crate::exit::usage;
use crate::page::write;
use crate::report::Report;
use crate::report::protected::{self, Heading};
use crate::settings::Settings;
use crate::wiring;
use lake::{Policy, Role};
use std::collections::BTreeMap;

pub fn run(args: &ReportArgs, settings: &Settings) -> anyhow::Result<()> {
    if let Some(day) = &args.date {
        let known: Result<jiff::civil::Date, _> = day.parse();
        known.map_err(|_| usage(format!("--date takes a day as YYYY-MM-DD, not {day:?}")))?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (page, numbers) = runtime.block_on(async {
        if let Role::Aggregate(policy) = wiring::role(&args.role, &args.cohort.lake.lake)? {
            return told(args, &policy).await;
        }
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

/// The page under disclosure control.
async fn told(args: &ReportArgs, policy: &Policy) -> anyhow::Result<(String, BTreeMap<String, Vec<Row>>)> {
    let of = &args.cohort;
    let given = [
        ("--human", of.human.is_some()),
        ("--event", of.event.is_some()),
        ("--covariates", !of.covariates.is_empty()),
        ("--of", !args.of.is_empty()),
        ("--site", args.site.is_some()),
    ];
    if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
        return Err(usage(format!("{option} asks for what the aggregate role is not told; it needs --role rows")));
    }
    let (session, fingerprint) = aggregate(of, policy, &args.title).await?;
    let heading = Heading { title: &args.title, date: args.date.as_deref(), fingerprint: &fingerprint };
    protected::page(&session, policy, &heading)
}

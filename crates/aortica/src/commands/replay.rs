//! `aortica replay`: another try for items that failed, or were excluded, for some reasons.

use crate::cli::ReplayArgs;
use crate::commands::distributed::{block_on, broker};
use crate::exit::{EXIT_STOPPED, usage};
use crate::settings::Settings;
use crate::{signals, wiring};
use domain::{ExcludeReason, FailReason, Reason};
use pipeline::metrics::Metrics;
use pipeline::queue::{Queue, topology::Lane};
use pipeline::replay::{ReplayOptions, ReplayReport, count, replay};

pub fn run(args: &ReplayArgs, settings: &Settings) -> anyhow::Result<u8> {
    let reasons = reasons(&args.reasons)?;
    block_on(2, async {
        let cancel = signals::stop_on_signal();
        let lake = wiring::open_lake(&args.lake.lake).await?;
        let options = ReplayOptions { reasons, submissions: args.submissions.clone(), metrics: Metrics::unread() };
        let report = if args.dry_run {
            count(&lake, &options).await?
        } else {
            let jobs = Queue::new(broker(settings, "replay", &cancel, &Metrics::unread()).await?, Lane::Jobs);
            replay(&lake, &jobs, &options, &cancel).await?
        };
        if args.json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            print(&report, args.dry_run);
        }
        Ok(if report.cancelled { EXIT_STOPPED } else { 0 })
    })
}

/// Names of reasons, and the two words for all of a kind.
fn reasons(names: &[String]) -> anyhow::Result<Vec<Reason>> {
    let mut reasons = Vec::new();
    for name in names {
        match name.as_str() {
            "failed" => reasons.extend(FailReason::ALL.iter().copied().map(Reason::Failed)),
            "excluded" => reasons.extend(ExcludeReason::ALL.iter().copied().map(Reason::Excluded)),
            name => {
                let reason = name.parse();
                reasons.push(reason.map_err(|e| usage(format!("--reason {e}; or `failed` or `excluded` for all")))?);
            }
        }
    }
    reasons.sort();
    reasons.dedup();
    Ok(reasons)
}

fn print(report: &ReplayReport, dry_run: bool) {
    for (reason, items) in &report.by_reason {
        println!("{items:>9} {reason}");
    }
    if report.submissions.is_empty() {
        println!("nothing to replay: no item has these reasons");
        return;
    }
    for replayed in &report.submissions {
        println!(
            "{:>9} items of submission {}, for workers of fingerprint {}",
            replayed.items, replayed.submission, replayed.fingerprint
        );
    }
    if dry_run {
        println!("nothing was published; without --dry-run these items get jobs");
    } else {
        println!("{:>9} jobs on the queue", report.published);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_named_one_by_one_or_all_of_a_kind() {
        let of = |names: &[&str]| reasons(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["blank", "blank"]).unwrap(), [Reason::Excluded(ExcludeReason::Blank)]);
        assert_eq!(of(&["failed"]).unwrap().len(), FailReason::ALL.len());
        let everything = of(&["excluded", "failed", "internal"]).unwrap();
        assert_eq!(everything.len(), FailReason::ALL.len() + ExcludeReason::ALL.len());
        let error = of(&["stage_faild"]).unwrap_err();
        assert_eq!(crate::exit::fault_of(&error), domain::Fault::InvalidInput);
        assert!(error.to_string().contains("stage_failed"), "{error}");
    }
}

//! `aortica rescore`: new rules for readings that were made already.

use crate::cli::{PipelineChoice, RescoreArgs};
use crate::commands::distributed::block_on;
use crate::exit::EXIT_STOPPED;
use crate::settings::Settings;
use crate::{signals, wiring};
use pipeline::rescore::{Rescoring, rescore};

pub fn run(args: &RescoreArgs, settings: &Settings) -> anyhow::Result<u8> {
    let mut settings = settings.clone();
    wiring::choose_readers(&mut settings, &args.readers);
    let settings = &settings;
    block_on(2, async {
        let cancel = signals::stop_on_signal();
        let choose = |name: &String| wiring::pipeline(&PipelineChoice { pipeline: name.clone() }, settings);
        let (old, new) = (choose(&args.from)?, choose(&args.pipeline)?);
        let lake = wiring::open_lake(&args.lake.lake).await?;
        let provider = wiring::provider(&old, settings)?;
        let rescoring = Rescoring { old: &old, new: &new, provider: &provider };
        let report = rescore(&lake, rescoring, &cancel).await?;
        if args.json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            println!("{:>9} outcomes of fingerprint {}", report.outcomes, report.from);
            println!("{:>9} scored ones, scored anew", report.rescored);
            println!("{:>9} rows added under fingerprint {}", report.rows_added, report.to);
            if report.without_reading > 0 {
                println!(
                    "{:>9} cannot be read, or lost their reading; `aortica reconcile` tells more",
                    report.without_reading
                );
            }
        }
        Ok(if report.cancelled { EXIT_STOPPED } else { 0 })
    })
}

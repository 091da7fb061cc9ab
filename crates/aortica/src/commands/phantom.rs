//! `aortica phantom`: a simulated cohort with exact truth.

use crate::cli::PhantomArgs;
use crate::progress::{Progress, plain_duration};
use crate::settings::Settings;
use anyhow::Context;
use phantom::{Cohort, Config};
use std::sync::Mutex;
use std::time::Duration;

pub fn run(args: &PhantomArgs, settings: &Settings) -> anyhow::Result<u8> {
    let config = match &args.config {
        None => Config::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
            Config::from_toml(&text).with_context(|| format!("{}", path.display()))?
        }
    };
    if args.print_config {
        print!("{}", config.to_toml());
        return Ok(0);
    }
    let cohort = Cohort::new(config, args.seed, u64::from(args.participants), args.visits)?;
    #[allow(clippy::disallowed_methods, reason = "how long a person has waited takes no part in results")]
    let began = std::time::Instant::now();
    let shown = Mutex::new(Progress::start("images", cohort.len() as u64, false));
    let update = |done: usize, total: usize| {
        if let Ok(mut shown) = shown.try_lock() {
            shown.update(done as u64, total as u64, "simulated");
        }
    };
    phantom::write_cohort(&cohort, &args.out, settings.threads(args.threads), &update)?;
    shown.into_inner().expect("no panic while drawing").finish();
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{} images of {} participants in {} ({:.1}/s), seed {}: {}",
        cohort.len(),
        args.participants,
        plain_duration(Duration::from_secs_f64(seconds)),
        cohort.len() as f64 / seconds.max(1e-9),
        args.seed,
        args.out.display()
    );
    Ok(0)
}

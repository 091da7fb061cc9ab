//! `aortica policy`: check and print the policy of disclosure control.

use crate::cli::PolicyCommand;
use lake::Policy;

pub fn run(command: &PolicyCommand) -> anyhow::Result<()> {
    match command {
        PolicyCommand::Check { file } => {
            let policy = Policy::load(file)?;
            let strata: Vec<&str> = policy.strata.iter().map(|s| s.name.as_str()).collect();
            println!(
                "{}: every key is understood; counts under {} are withheld, up to {} of the strata {} are crossed",
                file.display(),
                policy.threshold,
                policy.strata_at_once.min(strata.len()),
                strata.join(", ")
            );
            if let Some(log) = &policy.log {
                println!("log of what was told: {}", log.display());
            }
        }
        PolicyCommand::Print { file } => {
            let policy = file.as_deref().map_or_else(|| Ok(Policy::default()), Policy::load)?;
            print!("{}", toml::to_string_pretty(&policy)?);
        }
    }
    Ok(())
}

//! `aortica config`: check, print, describe.

use crate::cli::ConfigCommand;
use crate::settings::{self, Settings};
use std::path::Path;

pub fn run(command: &ConfigCommand, file: Option<&Path>) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check { file: named } => {
            let path = named.as_deref().or(file);
            settings::load(path)?;
            match path {
                Some(path) => println!("{}: every setting is understood", path.display()),
                None => println!("no file given: the defaults are in force (name a file, or use --settings FILE)"),
            }
        }
        ConfigCommand::Print => print!("{}", toml::to_string_pretty(&settings::load(file)?)?),
        ConfigCommand::Schema => println!("{}", serde_json::to_string_pretty(&schemars::schema_for!(Settings))?),
    }
    Ok(())
}

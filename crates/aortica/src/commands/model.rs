//! `aortica model`: single networks, apart from pipelines.

use crate::cli::ModelCommand;
use crate::exit::usage;
use crate::wiring;
use inference::{FormChoice, Forms, ModelManifest, repository};

pub fn run(command: &ModelCommand) -> anyhow::Result<()> {
    match command {
        ModelCommand::Describe { model, name, model_version } => {
            let stem = model.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let name = name.clone().unwrap_or(stem);
            let manifest = repository::describe(&wiring::runtime()?, model, &name, model_version)?;
            print!("{}", manifest.text()?);
        }
        ModelCommand::Repository { folders, precision, out } => {
            let mut models = Vec::new();
            for folder in folders {
                models.extend(ModelManifest::read_folder(folder)?);
            }
            if models.is_empty() {
                return Err(usage("no model was given".to_owned()));
            }
            let choice = FormChoice { precision: precision.map(Into::into), ..FormChoice::default() };
            let models = Forms::choose_each(models, |_| Ok(choice))?;
            for path in repository::write(out, &models)? {
                println!("{}", path.display());
            }
        }
    }
    Ok(())
}

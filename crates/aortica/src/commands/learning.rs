//! `aortica folds`, `training-set`, `train`: what methods are trained on and compared by. What they do lives in `learning::command`.

use crate::progress::Progress;
use learning::command::{self, FoldsArgs, TrainCommand, TrainingSetArgs};

pub fn folds(args: &FoldsArgs) -> anyhow::Result<()> {
    print!("{}", command::folds(args)?);
    Ok(())
}

pub fn training_set(args: &TrainingSetArgs) -> anyhow::Result<()> {
    let mut shown = None;
    let told = command::training_set(args, |done, total| {
        let progress = shown.get_or_insert_with(|| Progress::start("samples", total as u64, false));
        progress.update(done as u64, total as u64, "written");
    })?;
    if let Some(progress) = shown {
        progress.finish();
    }
    print!("{told}");
    Ok(())
}

pub fn train(what: &TrainCommand) -> anyhow::Result<()> {
    print!("{}", command::train(what)?);
    Ok(())
}

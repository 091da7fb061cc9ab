//! `aortica-learning`: what a machine that only trains needs, without tables, stores and services.

use clap::{Args, Parser, Subcommand};
use learning::command::{self, FoldsArgs, TrainCommand, TrainingSetArgs};
use learning::shape_fit::fit_shape;
use learning::training_set::{Task, TrainingSet};
use phantom::{Cohort, Config};
use scoring::GradeInput;
use scoring::shape::ShapeModel;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Makes what the networks of aortica are trained with, out of simulated radiographs.
///
/// A whole training, from nothing to models (see pipelines/training/README.md):
///
///   aortica-learning fit-shape --seed 101 --out pipelines/vfa-unet/shape.json
///   aortica-learning training-set locate --seed 1 --count 20000 --out work/locate
///   python locate.py --shards work/locate ..
///
/// The same seed gives the same bytes, whatever the number of threads.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fit the shape model of spine and aorta to simulated truth, and write it as JSON.
    FitShape {
        #[command(flatten)]
        population: Population,
        /// Pictures to simulate.
        #[arg(long, default_value_t = 2000)]
        count: usize,
        /// File to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Write training tensors as shards of .npy files.
    #[command(subcommand)]
    TrainingSet(Set),
    Folds(FoldsArgs),
    #[command(subcommand)]
    Train(TrainCommand),
}

#[derive(Subcommand)]
enum Set {
    /// For the network that finds vertebral corners: images, corners, view.
    Locate {
        #[command(flatten)]
        population: Population,
        #[command(flatten)]
        samples: Samples,
        /// Samples out of one simulated picture, each turned, cut and exposed in its own way.
        #[arg(long, default_value_t = 4)]
        variants: usize,
    },
    /// For the network that marks calcification: regions, valid, labels.
    Segment {
        #[command(flatten)]
        population: Population,
        #[command(flatten)]
        samples: Samples,
        /// Samples out of one simulated picture, each with its own errors of the corners.
        #[arg(long, default_value_t = 8)]
        variants: usize,
        /// Shape model that places the regions.
        #[arg(long)]
        shape: PathBuf,
    },
    /// Of annotated images in files, with the paper's augmentation (as `aortica training-set`): regions, valid, labels.
    Annotated(TrainingSetArgs),
    /// For networks that grade the eight segments themselves: pictures, grades, assessable, view.
    Grade {
        #[command(flatten)]
        population: Population,
        #[command(flatten)]
        samples: Samples,
        /// What the network is shown: the whole `image`, the straightened `region` around the aorta, or the picture around the
        /// `spine`. Region and spine may both be given: they are cut from the same simulated pictures.
        #[arg(long = "input", required = true)]
        inputs: Vec<Input>,
        /// Samples out of one simulated picture.
        #[arg(long, default_value_t = 4)]
        variants: usize,
        /// Shape model that places regions and crops; not for `image`.
        #[arg(long)]
        shape: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Input {
    Image,
    Region,
    Spine,
}

impl From<Input> for GradeInput {
    fn from(input: Input) -> GradeInput {
        match input {
            Input::Image => GradeInput::Image,
            Input::Region => GradeInput::Region,
            Input::Spine => GradeInput::Spine,
        }
    }
}

#[derive(Args)]
struct Population {
    /// Seed of the simulated population. Use another one for each purpose: shape, training, validation, test.
    #[arg(long)]
    seed: u64,
    /// Simulator settings: `training` (the hardest), `default`, or a TOML file.
    #[arg(long, default_value = "training")]
    config: String,
    /// Threads; 0 takes all cores.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

#[derive(Args)]
struct Samples {
    /// Samples to write.
    #[arg(long)]
    count: usize,
    /// Folder to write shards into.
    #[arg(long)]
    out: PathBuf,
}

/// A failure with its exit code.
struct Failure {
    message: String,
    code: u8,
}

impl From<learning::Error> for Failure {
    fn from(error: learning::Error) -> Failure {
        let code = error.fault().exit_code();
        let mut message = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Failure { message, code }
    }
}

impl Population {
    fn config(&self) -> Result<Config, Failure> {
        match self.config.as_str() {
            "training" => Ok(Config::training()),
            "default" => Ok(Config::default()),
            path => Config::from_toml(&read(Path::new(path))?).map_err(|error| learning::Error::from(error).into()),
        }
    }

    fn use_threads(&self) -> Result<(), Failure> {
        let built = rayon::ThreadPoolBuilder::new().num_threads(self.threads).build_global();
        built.map_err(|error| Failure { message: format!("cannot start threads: {error}"), code: 5 })
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure { message: format!("cannot read {}: {error}", path.display()), code: 3 })
}

fn fit(population: &Population, count: usize, out: &Path) -> Result<(), Failure> {
    let mut config = population.config()?;
    config.negatives.share = 0.0;
    let cohort = Cohort::new(config, population.seed, count as u64, 1).map_err(learning::Error::from)?;
    let model = fit_shape(&cohort, count)?;
    std::fs::write(out, model.to_json() + "\n")
        .map_err(|error| Failure { message: format!("cannot write {}: {error}", out.display()), code: 3 })?;
    println!(
        "{} shapes, {} modes hold {:.4} of the variance",
        model.n_shapes(),
        model.n_modes(),
        model.variance_share()
    );
    Ok(())
}

fn write(set: &TrainingSet, out: &Path) -> Result<(), Failure> {
    let started = Instant::now();
    set.write(out, |done| {
        let rate = done as f64 / started.elapsed().as_secs_f64();
        eprintln!("{done} of {} samples, {rate:.1} a second", set.count);
    })?;
    Ok(())
}

fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::FitShape { population, count, out } => {
            population.use_threads()?;
            fit(&population, count, &out)
        }
        Command::Folds(args) => {
            print!("{}", command::folds(&args)?);
            Ok(())
        }
        Command::Train(what) => {
            print!("{}", command::train(&what)?);
            Ok(())
        }
        Command::TrainingSet(Set::Annotated(args)) => {
            print!("{}", command::training_set(&args, |done, total| eprintln!("{done} of {total} samples"))?);
            Ok(())
        }
        Command::TrainingSet(Set::Locate { population, samples, variants }) => {
            population.use_threads()?;
            let pictures = samples.count.div_ceil(variants.max(1));
            let cohort = Cohort::new(population.config()?, population.seed, pictures as u64, 1)
                .map_err(learning::Error::from)?;
            let (seed, count) = (population.seed, samples.count);
            write(&TrainingSet { cohort: &cohort, task: Task::Locate, seed, count, variants }, &samples.out)
        }
        Command::TrainingSet(Set::Segment { population, samples, variants, shape }) => {
            population.use_threads()?;
            let model = ShapeModel::from_json(&read(&shape)?).map_err(learning::Error::from)?;
            let mut config = population.config()?;
            // Only lateral pictures have a region.
            config.negatives.share = 0.0;
            let pictures = samples.count.div_ceil(variants.max(1));
            let cohort = Cohort::new(config, population.seed, pictures as u64, 1).map_err(learning::Error::from)?;
            let (seed, count) = (population.seed, samples.count);
            write(&TrainingSet { cohort: &cohort, task: Task::Segment(&model), seed, count, variants }, &samples.out)
        }
        Command::TrainingSet(Set::Grade { population, samples, inputs, variants, shape }) => {
            population.use_threads()?;
            let mut config = population.config()?;
            let model = match (&shape, inputs.as_slice()) {
                (None, [Input::Image]) => None,
                (Some(shape), others) if !others.contains(&Input::Image) => {
                    // Only lateral pictures have a spine to locate.
                    config.negatives.share = 0.0;
                    Some(ShapeModel::from_json(&read(shape)?).map_err(learning::Error::from)?)
                }
                _ => {
                    let message =
                        "--input image goes alone and without --shape; region and spine need --shape".to_owned();
                    return Err(Failure { message, code: 2 });
                }
            };
            let pictures = samples.count.div_ceil(variants.max(1));
            let cohort = Cohort::new(config, population.seed, pictures as u64, 1).map_err(learning::Error::from)?;
            let inputs: Vec<GradeInput> = inputs.into_iter().map(GradeInput::from).collect();
            let task = model.as_ref().map_or(Task::GradeImage, |model| Task::GradeLocated(model, &inputs));
            let (seed, count) = (population.seed, samples.count);
            write(&TrainingSet { cohort: &cohort, task, seed, count, variants }, &samples.out)
        }
    }
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { message, code }) => {
            eprintln!("aortica-learning: {message}");
            ExitCode::from(code)
        }
    }
}

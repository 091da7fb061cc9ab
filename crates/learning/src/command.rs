//! Commands that `aortica` and `aortica-learning` share: their options, and what they do.

use crate::annotated_set::{AnnotatedSet, Target};
use crate::annotations::{Annotation, read_annotations, truth_file};
use crate::error::{Error, Result};
use crate::fold_table::{read_folds, write_folds};
use crate::folds::{Candidate, FoldPlan, Part, Selection, plan, select};
use crate::forest::{ForestSettings, judge_forest, train_forest};
use crate::regions::read_regions;
use crate::threshold;
use clap::{Args, Subcommand, ValueEnum};
use scoring::shape::ShapeModel;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Variants of a training image unless told otherwise (Chaplin & Cootes, section 2.3).
const VARIANTS: usize = 30;
/// A shape model of 30 points has some 30 kB.
const SHAPE_BYTES_MAX: u64 = 4 << 20;

/// Divide the annotated images of a cohort into folds, by participant.
#[derive(Debug, Args)]
#[command(
    after_help = "Example, the counts of Chaplin and Cootes (39 test, 31 validate, 125 train in each of 5 folds):\n  \
aortica phantom --participants 400 --seed 1946 --config pipelines/training/track-a.toml --out track-a\n  \
aortica folds --truth track-a --select 195 --min-total 1 --max-total 16 --folds 5 --validation 31 --seed 1 -o folds.csv\n\n\
Only lateral images whose eight segments can all be assessed take part. No participant is in two parts of a fold, each tests in \
one fold, and the parts have like mixes of scores. The same truth, options and seed give the same bytes."
)]
pub struct FoldsArgs {
    /// The folder that `aortica phantom` wrote, or one laid out alike with truth.parquet or annotations.csv (docs/train-your-own.md).
    #[arg(long, value_name = "DIR|FILE")]
    pub truth: PathBuf,
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub folds: usize,
    /// Participants who validate in each fold.
    #[arg(long, value_name = "N", default_value_t = 31)]
    pub validation: usize,
    #[arg(long, value_name = "S")]
    pub seed: u64,
    /// Take so many participants at random, each with one image; without it, all images of all.
    #[arg(long, value_name = "N")]
    pub select: Option<usize>,
    /// Lowest visible AAC-24 total of an image that takes part.
    #[arg(long, value_name = "0..24", default_value_t = 0)]
    pub min_total: u8,
    /// Highest such total.
    #[arg(long, value_name = "0..24", default_value_t = 24)]
    pub max_total: u8,
    /// The table to write, CSV or Parquet by its ending: fold, part, file, participant_id, visible_total.
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Write training tensors of annotated images, with the paper's augmentation.
#[derive(Debug, Args)]
#[command(after_help = "Example, 125 images x 30 variants = 3,750 samples:\n  \
aortica training-set --truth track-a --folds folds.csv --fold 0 --part training --seed 1 \\\n    \
--shape pipelines/vfa-unet/shape.json --out work/fold-0/training\n\n\
Each variant has errors of 5 px on the vertebral points (through the shape model they bend the region), is scaled by .95 to 1.05, \
turned by up to 10 degrees and shifted by up to 5 % (Chaplin and Cootes). Pictures go through the code that scores.\n\
Shards: pipelines/training/README.md; samples.csv says which sample is of which file.")]
pub struct TrainingSetArgs {
    /// The folder that `aortica phantom` wrote (truth.parquet, images/, masks/), or one laid out alike, with annotations.csv in place of
    /// the table (docs/train-your-own.md).
    #[arg(long, value_name = "DIR")]
    pub truth: PathBuf,
    /// Folder of the pictures; default: images/ beside the truth.
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// The table that `folds` wrote.
    #[arg(long, value_name = "FILE")]
    pub folds: PathBuf,
    /// Which fold, from 0.
    #[arg(long, value_name = "K")]
    pub fold: usize,
    #[arg(long, value_name = "training|validation|test")]
    pub part: Part,
    /// Samples out of one image; 0 takes each image once and as it is. Default: 30 of a training image, 0 of others.
    #[arg(long, value_name = "N")]
    pub variants: Option<usize>,
    /// What labels say: `walls` (bit 0 anterior, bit 1 posterior) or `binary` (1 either).
    #[arg(long, value_enum, default_value = "walls")]
    pub target: TargetName,
    /// Shape model that places the regions.
    #[arg(long, value_name = "FILE")]
    pub shape: PathBuf,
    #[arg(long, value_name = "S")]
    pub seed: u64,
    /// Folder to write shards into.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// [`Target`] on a command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum TargetName {
    Walls,
    Binary,
}

impl From<TargetName> for Target {
    fn from(name: TargetName) -> Target {
        match name {
            TargetName::Walls => Target::Walls,
            TargetName::Binary => Target::Binary,
        }
    }
}

/// What is trained by this program itself; networks are trained by pipelines/training.
#[derive(Debug, Subcommand)]
pub enum TrainCommand {
    Forest(ForestArgs),
}

/// Train the random forest on Haar-like features (Chaplin and Cootes) and write it for `[segment] forest = ".."` of a pipeline.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
aortica training-set --truth track-a --folds folds.csv --fold 0 --part training --variants 0 --seed 1 \\\n    \
--shape pipelines/vfa-unet/shape.json --out work/forest/training        # and so the part validation\n  \
aortica train forest --training work/forest/training --validation work/forest/validation --seed 1 --out forest.bin\n\n\
With --validation it prints Dice and accuracy there under the best threshold, which belongs into the pipeline's [segment]; the forest \
answers too often, because half of what it was trained on is calcium. The same tensors, options and seed give the same bytes.")]
pub struct ForestArgs {
    /// Folders of shards (`training-set`; each image once, `--variants 0`).
    #[arg(long, value_name = "DIR", required = true, num_args = 1..)]
    pub training: Vec<PathBuf>,
    /// Folder of shards by which the threshold is chosen.
    #[arg(long, value_name = "DIR")]
    pub validation: Option<PathBuf>,
    /// Patches, half of them around calcified pixels.
    #[arg(long, value_name = "N", default_value_t = ForestSettings::default().patches)]
    pub patches: usize,
    /// Random scalings and rotations of each patch.
    #[arg(long, value_name = "N", default_value_t = ForestSettings::default().transforms)]
    pub transforms: usize,
    #[arg(long, value_name = "N", default_value_t = ForestSettings::default().trees)]
    pub trees: usize,
    /// Haar-like features, drawn out of all of a patch.
    #[arg(long, value_name = "N", default_value_t = ForestSettings::default().features)]
    pub features: usize,
    /// Features among which each node chooses; 0 takes the square root of their number.
    #[arg(long, value_name = "N", default_value_t = ForestSettings::default().tried)]
    pub tried: usize,
    /// Fewest examples of a leaf.
    #[arg(long, value_name = "N", default_value_t = ForestSettings::default().leaf_min)]
    pub leaf_min: usize,
    /// Longest path from a root to a leaf.
    #[arg(long, value_name = "N", default_value_t = ForestSettings::default().depth_max)]
    pub depth_max: usize,
    #[arg(long, value_name = "S")]
    pub seed: u64,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Trains what is asked for, writes it, and returns what to tell the person.
///
/// # Errors
/// Those of [`read_regions`], [`train_forest`] and [`judge_forest`]; [`Error::Io`].
pub fn train(command: &TrainCommand) -> Result<String> {
    let TrainCommand::Forest(args) = command;
    let mut regions = Vec::new();
    for folder in &args.training {
        regions.extend(read_regions(folder)?);
    }
    let unseen = args.validation.as_deref().map(read_regions).transpose()?;
    let settings = ForestSettings {
        patches: args.patches,
        transforms: args.transforms,
        trees: args.trees,
        features: args.features,
        tried: args.tried,
        leaf_min: args.leaf_min,
        depth_max: args.depth_max,
        seed: args.seed,
    };
    let forest = train_forest(&regions, &settings)?;
    let bytes = forest.to_bytes();
    let io = |source| Error::Io { action: "write", what: "the forest".into(), source };
    std::fs::write(&args.out, &bytes).map_err(io)?;
    let (trees, nodes) = forest.size();
    let mut told = format!(
        "{trees} trees of {nodes} nodes, {} KiB, from {} regions; digest {}\n",
        bytes.len() / 1024,
        regions.len(),
        domain::Digest::of(&bytes)
    );
    if let Some(unseen) = unseen {
        told += &threshold::told(&judge_forest(&forest, &unseen)?, unseen.len());
    }
    Ok(told)
}

/// Makes the table of folds and returns what to tell the person: counts and mean totals by fold and part.
///
/// # Errors
/// Those of [`read_annotations`], [`select`], [`plan`] and [`write_folds`].
pub fn folds(args: &FoldsArgs) -> Result<String> {
    let annotations = read_annotations(&truth_file(&args.truth))?;
    let candidates: Vec<Candidate> =
        annotations.into_iter().map(|a| a.image).filter(|image| image.total.is_some()).collect();
    let selection = Selection { totals: args.min_total..=args.max_total, count: args.select };
    let images = select(&candidates, &selection, args.seed)?;
    let rows = plan(&images, FoldPlan { folds: args.folds, validation: args.validation, seed: args.seed })?;
    write_folds(&args.out, &rows)?;
    let mut told = format!("{} images of {} that can be assessed\n", images.len(), candidates.len());
    for fold in 0..args.folds {
        told += &format!("fold {fold}:");
        for part in Part::ALL {
            let of: Vec<f64> = rows
                .iter()
                .filter(|row| row.fold == fold && row.part == part)
                .map(|row| f64::from(row.image.total.unwrap_or(0)))
                .collect();
            let mean = crate::metrics::mean(&of).unwrap_or(0.0);
            told += &format!("  {} {} (mean total {mean:.2})", part.name(), of.len());
        }
        told.push('\n');
    }
    Ok(told)
}

/// Writes the tensors and returns what to tell the person. `progress(done, total)` is told samples.
///
/// # Errors
/// Those of [`read_annotations`], [`read_folds`] and [`AnnotatedSet::write`]; [`Error::FoldTable`] for a fold that is not there or a file
/// that the truth does not know.
pub fn training_set(args: &TrainingSetArgs, mut progress: impl FnMut(usize, usize)) -> Result<String> {
    let shape = read_shape(&args.shape)?;
    let annotations = chosen(args)?;
    let folder = if args.truth.is_dir() { args.truth.as_path() } else { args.truth.parent().unwrap_or(Path::new(".")) };
    let images = args.images.clone().unwrap_or_else(|| folder.join("images"));
    let default_variants = if args.part == Part::Training { VARIANTS } else { 0 };
    let set = AnnotatedSet {
        annotations: &annotations,
        images: &images,
        masks: &folder.join("masks"),
        shape: &shape,
        target: args.target.into(),
        variants: args.variants.unwrap_or(default_variants),
        seed: args.seed,
    };
    let total = set.len();
    set.write(&args.out, |done| progress(done, total))?;
    Ok(format!("{} images, {total} samples in {}\n", annotations.len(), args.out.display()))
}

/// The annotations of a part of a fold, in the order of the table.
fn chosen(args: &TrainingSetArgs) -> Result<Vec<Annotation>> {
    let mut known: BTreeMap<String, Annotation> =
        read_annotations(&truth_file(&args.truth))?.into_iter().map(|a| (a.image.file.clone(), a)).collect();
    let rows = read_folds(&args.folds)?;
    let refused = |problem: String| Error::FoldTable { problem };
    if !rows.iter().any(|row| row.fold == args.fold) {
        return Err(refused(format!("has no fold {}", args.fold)));
    }
    let wanted = rows.iter().enumerate().filter(|(_, row)| row.fold == args.fold && row.part == args.part);
    wanted
        .map(|(number, row)| {
            let found = known.remove(&row.image.file);
            found.ok_or_else(|| {
                refused(format!("row {} names a file that the truth does not know, or twice", number + 1))
            })
        })
        .collect()
}

fn read_shape(path: &Path) -> Result<ShapeModel> {
    let io = |source| Error::Io { action: "read", what: "the shape model".into(), source };
    if std::fs::metadata(path).map_err(io)?.len() > SHAPE_BYTES_MAX {
        return Err(Error::Setting { name: "shape", problem: "is no shape model: too large a file".into() });
    }
    Ok(ShapeModel::from_json(&std::fs::read_to_string(path).map_err(io)?)?)
}

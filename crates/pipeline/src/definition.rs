//! What a pipeline is: `pipelines/<name>/pipeline.toml`, read strictly and checked before anything runs.
//!
//! The file is read into private `Raw..` structs that refuse unknown keys and remember where each value stood, and from
//! them into [`PipelineDefinition`], whose values are all in range. An error names the line and the key.

use crate::error::{Error, ErrorKind, Result};
use domain::grade::CategoryCut;
use domain::{Digest, Extent, TieRule};
use scoring::GradeInput;
use scoring::region::{REGION_HEIGHT, REGION_WIDTH, ROWS_PER_LEVEL};
use scoring::rules::{MidlineRule, ScoringRules};
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use toml::Spanned;

/// Name of the file inside a pipeline's directory.
pub const DEFINITION_FILE: &str = "pipeline.toml";
/// A definition is a page of text; more is a mistake.
const MAX_DEFINITION_BYTES: u64 = 64 * 1024;
const MAX_MODALITIES: usize = 32;
/// Thresholds at 0 or 1 would let everything pass, or nothing.
const PROBABILITY: RangeInclusive<f64> = 0.01..=0.99;

/// Why a setting of marked calcium is refused.
const UNMARKED: &str = "has no use with [grade]: no calcium is marked";

/// A checked pipeline definition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PipelineDefinition {
    /// Lower case letters, digits and hyphens; the name of its directory.
    pub name: String,
    pub version: String,
    /// One line for `pipeline list`; takes no part in the digest.
    pub summary: String,
    pub accept: Accept,
    /// Missing only where a network grades the image as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locate: Option<Locate>,
    /// Missing where `locate` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// Marks calcium, from which grades are counted. There is either this or `grade`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<Segment>,
    /// Gives the grades itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grade: Option<Grade>,
    pub score: Score,
    pub category: CategoryCut,
    pub review: Review,
}

/// Which images are read at all; anything else is excluded with a reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Accept {
    /// DICOM modalities. A missing one is allowed: anatomy decides.
    pub modalities: Vec<String>,
    /// Below this height of a vertebral body in image pixels, the picture is too coarse to measure.
    pub min_vertebral_height_px: f64,
}

/// The stage that names vertebral corners.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Locate {
    /// Name of the model: manifest `<model>.toml` beside the definition; or `<pipeline>/<model>`, that of a pipeline in the next folder, so that
    /// pipelines which differ in one step keep the others once.
    pub model: String,
    /// Peak of a corner's heatmap, 0..1, below which the corner counts as not found.
    pub min_confidence: f64,
}

/// The canonical region around the aorta.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Region {
    /// File of the statistical shape model beside the definition, or `<pipeline>/<file>`.
    pub shape_model: String,
    pub width_px: u32,
    pub height_px: u32,
    pub rows_per_level: u32,
    /// How many standard errors of the estimated walls the region is widened by.
    pub margin_sd: f64,
}

/// What marks calcification.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Segment {
    #[serde(flatten)]
    pub by: Marking,
    /// Probability, 0..1, from which a pixel is calcified.
    pub threshold: f64,
}

/// A network, or a forest that is part of the pipeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Marking {
    /// Name of the model, as in `locate`. Its answer has a map for each wall, or one for both.
    Model(String),
    /// File of the forest, beside the definition or `<pipeline>/<file>`. It answers with one map for both walls.
    Forest(String),
}

impl Marking {
    /// The network, if it is one.
    pub fn model(&self) -> Option<&str> {
        match self {
            Marking::Model(name) => Some(name),
            Marking::Forest(_) => None,
        }
    }
}

/// The stage that grades the eight segments itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Grade {
    /// Name of the model, as in `locate`.
    pub model: String,
    /// What the network is shown.
    pub input: GradeInput,
    /// Probability, 0..1, from which a grade is exceeded.
    pub threshold: f64,
}

/// How rows of calcium become grades; of a network that grades itself, what its grades mean.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    pub rule: TieRule,
    pub extent: Extent,
    /// Only where calcium is marked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub midline: Option<MidlineRule>,
    /// Plaques shorter than this along the wall do not count, mm; 0 counts all, as in the paper. Only where calcium is marked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_plaque_mm: Option<f64>,
    /// Largest share of a segment's rows without a view of the wall, 0..0.9; beyond it the segment is not assessable.
    pub max_hidden_share: f64,
}

/// When a person should look.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Review {
    /// Readings below this confidence, 0..1, carry `flag_review`.
    pub flag_below_confidence: f64,
    /// File of the calibration, beside the definition or `<pipeline>/<file>`: probabilities of the grades, an interval for the total, and a
    /// flag where the category is doubtful. Only where calcium is marked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<String>,
}

impl PipelineDefinition {
    /// Reads and checks `directory/pipeline.toml`.
    ///
    /// # Errors
    /// [`ErrorKind::Definition`], naming line and key.
    pub fn load(directory: &Path) -> Result<PipelineDefinition> {
        let path = directory.join(DEFINITION_FILE);
        let text = read_limited(&path, MAX_DEFINITION_BYTES)?;
        let text = String::from_utf8(text)
            .map_err(|_| Error::new(ErrorKind::Definition, format!("{}: not UTF-8 text", path.display())))?;
        PipelineDefinition::parse(&text, &path.display().to_string())
    }

    /// Checks the text of a definition; `file` is what messages call it.
    ///
    /// # Errors
    /// [`ErrorKind::Definition`], naming line and key.
    pub fn parse(text: &str, file: &str) -> Result<PipelineDefinition> {
        let raw: Raw = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            Error::new(ErrorKind::Definition, format!("{file}, line {line}: {}", error.message().trim()))
        })?;
        Check { text, file }.definition(raw)
    }

    /// Names of the networks as the definition calls them, in the order in which images meet them.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        let locate = self.locate.as_ref().map(|locate| locate.model.as_str());
        let segment = self.segment.as_ref().and_then(|segment| segment.by.model());
        let grade = self.grade.as_ref().map(|grade| grade.model.as_str());
        [locate, segment, grade].into_iter().flatten()
    }

    /// `name version`, as readings and rows carry it.
    pub fn label(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// The parameters between the networks' outputs and a reading; those of steps that the pipeline does not have are the defaults and
    /// without effect.
    pub fn rules(&self) -> ScoringRules {
        let unused = ScoringRules::default();
        let grade = self.grade.as_ref().map_or(unused.threshold, |grade| grade.threshold);
        ScoringRules {
            rule: self.score.rule,
            extent: self.score.extent,
            midline: self.score.midline.unwrap_or(unused.midline),
            min_plaque_mm: self.score.min_plaque_mm.unwrap_or(unused.min_plaque_mm),
            threshold: self.segment.as_ref().map_or(grade, |segment| segment.threshold),
            margin_sd: self.region.as_ref().map_or(unused.margin_sd, |region| region.margin_sd),
            min_confidence: self.locate.as_ref().map_or(unused.min_confidence, |locate| locate.min_confidence),
            min_vertebral_height_px: self.accept.min_vertebral_height_px,
            flag_below_confidence: self.review.flag_below_confidence,
            max_hidden_share: self.score.max_hidden_share,
            categories: self.category,
        }
    }

    /// Digest of everything that can change a reading: not of comments, order, or the summary.
    pub fn digest(&self) -> Digest {
        let counted = PipelineDefinition { summary: String::new(), ..self.clone() };
        Digest::of(&serde_json::to_vec(&counted).expect("a definition is plain values"))
    }
}

/// Reads a small file of a pipeline directory.
pub(crate) fn read_limited(path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let wrong = |what: String| Error::new(ErrorKind::Definition, format!("{}: {what}", path.display()));
    let size = std::fs::metadata(path).map_err(|e| wrong(format!("cannot be read: {e}")))?.len();
    if size > max_bytes {
        return Err(wrong(format!("has {size} bytes, at most {max_bytes} are read")));
    }
    std::fs::read(path).map_err(|e| wrong(format!("cannot be read: {e}")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: Spanned<String>,
    version: Spanned<String>,
    summary: Spanned<String>,
    accept: RawAccept,
    locate: Option<Spanned<RawLocate>>,
    region: Option<Spanned<RawRegion>>,
    segment: Option<Spanned<RawSegment>>,
    grade: Option<Spanned<RawGrade>>,
    score: RawScore,
    category: RawCategory,
    review: RawReview,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAccept {
    modalities: Spanned<Vec<String>>,
    min_vertebral_height_px: Spanned<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLocate {
    model: Spanned<String>,
    min_confidence: Spanned<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRegion {
    shape_model: Spanned<String>,
    width_px: Spanned<u32>,
    height_px: Spanned<u32>,
    rows_per_level: Spanned<u32>,
    margin_sd: Spanned<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSegment {
    model: Option<Spanned<String>>,
    forest: Option<Spanned<String>>,
    threshold: Spanned<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGrade {
    model: Spanned<String>,
    input: GradeInput,
    threshold: Spanned<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScore {
    rule: TieRule,
    extent: Extent,
    midline: Option<Spanned<MidlineRule>>,
    min_plaque_mm: Option<Spanned<f64>>,
    max_hidden_share: Spanned<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCategory {
    moderate_from: Spanned<f64>,
    high_from: Spanned<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReview {
    flag_below_confidence: Spanned<f64>,
    calibration: Option<Spanned<String>>,
}

/// The stages of a definition.
struct Way {
    locate: Option<Locate>,
    region: Option<Region>,
    segment: Option<Segment>,
    grade: Option<Grade>,
}

/// The text under test, for line numbers.
struct Check<'a> {
    text: &'a str,
    file: &'a str,
}

impl Check<'_> {
    fn definition(&self, raw: Raw) -> Result<PipelineDefinition> {
        let Raw { name, version, summary, accept, locate, region, segment, grade, score, category, review } = raw;
        let way = self.way(locate, region, segment, grade)?;
        let is_marked = way.segment.is_some();
        let high_from = self.number("category.high_from", category.high_from, 0.2..=24.0)?;
        // below, so that no band is empty
        let below_high = high_from - 0.1;
        let moderate_from = self.number("category.moderate_from", category.moderate_from, 0.1..=below_high)?;
        Ok(PipelineDefinition {
            name: self.plain_name("name", name)?,
            version: self.line("version", version, 32)?,
            summary: self.line("summary", summary, 200)?,
            accept: Accept {
                modalities: self.modalities(accept.modalities)?,
                min_vertebral_height_px: self.number(
                    "accept.min_vertebral_height_px",
                    accept.min_vertebral_height_px,
                    4.0..=1000.0,
                )?,
            },
            locate: way.locate,
            region: way.region,
            segment: way.segment,
            grade: way.grade,
            score: Score {
                rule: score.rule,
                extent: score.extent,
                midline: self.of_marks("score.midline", score.midline, is_marked)?.map(Spanned::into_inner),
                min_plaque_mm: self
                    .of_marks("score.min_plaque_mm", score.min_plaque_mm, is_marked)?
                    .map(|mm| self.number("score.min_plaque_mm", mm, 0.0..=50.0))
                    .transpose()?,
                max_hidden_share: self.number("score.max_hidden_share", score.max_hidden_share, 0.0..=0.9)?,
            },
            category: CategoryCut { moderate_from, high_from },
            review: Review {
                flag_below_confidence: self.number(
                    "review.flag_below_confidence",
                    review.flag_below_confidence,
                    0.0..=1.0,
                )?,
                calibration: match review.calibration {
                    Some(file) if !is_marked => return Err(self.refuse("review.calibration", &file, UNMARKED)),
                    file => file.map(|file| self.file_name("review.calibration", file)).transpose()?,
                },
            },
        })
    }

    /// The stages, of which exactly one gives evidence for grades, and the first two are there where it needs them.
    fn way(
        &self,
        locate: Option<Spanned<RawLocate>>,
        region: Option<Spanned<RawRegion>>,
        segment: Option<Spanned<RawSegment>>,
        grade: Option<Spanned<RawGrade>>,
    ) -> Result<Way> {
        if let (Some(_), Some(grade)) = (&segment, &grade) {
            return Err(self.refuse("[grade]", grade, "cannot stand beside [segment]: one of them gives the grades"));
        }
        if segment.is_none() && grade.is_none() {
            let message = format!("{}: missing table [segment] or [grade]: one of them gives the grades", self.file);
            return Err(Error::new(ErrorKind::Definition, message));
        }
        let is_located = grade.as_ref().is_none_or(|grade| grade.get_ref().input.is_located());
        if is_located && (locate.is_none() || region.is_none()) {
            let missing = if locate.is_none() { "locate" } else { "region" };
            let message = format!(
                "{}: missing table [{missing}]: only a pipeline with grade.input = \"image\" does without",
                self.file
            );
            return Err(Error::new(ErrorKind::Definition, message));
        }
        const USELESS: &str = "has no use where grade.input is \"image\": nothing is located";
        if let (false, Some(locate)) = (is_located, &locate) {
            return Err(self.refuse("[locate]", locate, USELESS));
        }
        if let (false, Some(region)) = (is_located, &region) {
            return Err(self.refuse("[region]", region, USELESS));
        }
        let way = Way {
            locate: locate.map(|locate| self.locate(locate.into_inner())).transpose()?,
            region: region.map(|region| self.region(region.into_inner())).transpose()?,
            segment: segment.map(|segment| self.segment(segment.into_inner())).transpose()?,
            grade: grade.map(|grade| self.grade(grade.into_inner())).transpose()?,
        };
        let marking = way.segment.as_ref().and_then(|segment| segment.by.model());
        let second = marking.or(way.grade.as_ref().map(|grade| grade.model.as_str())).map(|name| place(name).1);
        let first = way.locate.as_ref().map(|locate| place(&locate.model).1);
        if let Some(name) = first.filter(|first| second == Some(*first)) {
            let message = format!("{}: two networks are called {name}: services are told apart by name", self.file);
            return Err(Error::new(ErrorKind::Definition, message));
        }
        Ok(way)
    }

    fn locate(&self, locate: RawLocate) -> Result<Locate> {
        Ok(Locate {
            model: self.model_name("locate.model", locate.model)?,
            min_confidence: self.number("locate.min_confidence", locate.min_confidence, PROBABILITY)?,
        })
    }

    fn region(&self, region: RawRegion) -> Result<Region> {
        Ok(Region {
            shape_model: self.file_name("region.shape_model", region.shape_model)?,
            width_px: self.exactly("region.width_px", region.width_px, REGION_WIDTH)?,
            height_px: self.exactly("region.height_px", region.height_px, REGION_HEIGHT)?,
            rows_per_level: self.exactly("region.rows_per_level", region.rows_per_level, ROWS_PER_LEVEL)?,
            margin_sd: self.number("region.margin_sd", region.margin_sd, 0.5..=6.0)?,
        })
    }

    fn segment(&self, segment: RawSegment) -> Result<Segment> {
        Ok(Segment {
            by: self.marking(segment.model, segment.forest, &segment.threshold)?,
            threshold: self.number("segment.threshold", segment.threshold, PROBABILITY)?,
        })
    }

    /// Exactly one of the two; `near` stands for the section where there is none.
    fn marking(
        &self,
        model: Option<Spanned<String>>,
        forest: Option<Spanned<String>>,
        near: &Spanned<f64>,
    ) -> Result<Marking> {
        match (model, forest) {
            (Some(model), None) => Ok(Marking::Model(self.model_name("segment.model", model)?)),
            (None, Some(forest)) => Ok(Marking::Forest(self.file_name("segment.forest", forest)?)),
            (Some(_), Some(forest)) => Err(self.refuse(
                "segment.forest",
                &forest,
                "stands beside segment.model: calcium is marked by one of them",
            )),
            (None, None) => Err(self.refuse("segment", near, "needs model (a network) or forest (a file)")),
        }
    }

    fn grade(&self, grade: RawGrade) -> Result<Grade> {
        Ok(Grade {
            model: self.model_name("grade.model", grade.model)?,
            input: grade.input,
            threshold: self.number("grade.threshold", grade.threshold, PROBABILITY)?,
        })
    }

    /// A setting of marked calcium: there where calcium is marked, and only there.
    fn of_marks<T>(&self, key: &str, value: Option<Spanned<T>>, is_marked: bool) -> Result<Option<Spanned<T>>> {
        match (&value, is_marked) {
            (None, true) => Err(Error::new(ErrorKind::Definition, format!("{}: missing field `{key}`", self.file))),
            (Some(stated), false) => Err(self.refuse(key, stated, UNMARKED)),
            _ => Ok(value),
        }
    }

    fn refuse<T>(&self, key: &str, value: &Spanned<T>, what: impl Display) -> Error {
        let line = line_of(self.text, value.span().start);
        Error::new(ErrorKind::Definition, format!("{}, line {line}: {key} {what}", self.file))
    }

    fn number(&self, key: &str, value: Spanned<f64>, range: RangeInclusive<f64>) -> Result<f64> {
        let number = *value.get_ref();
        if !range.contains(&number) {
            let (low, high) = (range.start(), range.end());
            return Err(self.refuse(key, &value, format!("is {number}, but must be from {low} to {high}")));
        }
        Ok(number)
    }

    fn exactly(&self, key: &str, value: Spanned<u32>, only: usize) -> Result<u32> {
        let number = *value.get_ref();
        if number as usize != only {
            return Err(self.refuse(
                key,
                &value,
                format!("is {number}, but this program reads regions of {only} only"),
            ));
        }
        Ok(number)
    }

    fn plain_name(&self, key: &str, value: Spanned<String>) -> Result<String> {
        if !is_plain(value.get_ref()) {
            let what = "must be 1 to 64 lower case letters, digits, hyphens or underscores";
            return Err(self.refuse(key, &value, what));
        }
        Ok(value.into_inner())
    }

    /// The name of a model of this pipeline, or behind the name of another one.
    fn model_name(&self, key: &str, value: Spanned<String>) -> Result<String> {
        let (pipeline, model) = place(value.get_ref());
        if !pipeline.is_none_or(is_plain) || !is_plain(model) {
            let what = "must be a name, or PIPELINE/NAME: lower case letters, digits, hyphens or underscores";
            return Err(self.refuse(key, &value, what));
        }
        Ok(value.into_inner())
    }

    /// A file beside the definition, or behind the name of another pipeline: pipelines lie side by side and move together.
    fn file_name(&self, key: &str, value: Spanned<String>) -> Result<String> {
        let (pipeline, file) = place(value.get_ref());
        let bad = file.is_empty() || file.len() > 128 || file.starts_with('.') || file.contains(['/', '\\']);
        if bad || !pipeline.is_none_or(is_plain) {
            return Err(self.refuse(key, &value, "must be the name of a file beside the definition, or PIPELINE/FILE"));
        }
        Ok(value.into_inner())
    }

    fn line(&self, key: &str, value: Spanned<String>, max: usize) -> Result<String> {
        let text = value.get_ref();
        if text.trim().is_empty() || text.chars().count() > max || text.contains('\n') {
            return Err(self.refuse(key, &value, format!("must be one line of 1 to {max} characters")));
        }
        Ok(value.into_inner())
    }

    fn modalities(&self, value: Spanned<Vec<String>>) -> Result<Vec<String>> {
        // CS of DICOM PS3.5, table 6.2-1: at most 16 capitals, digits, blanks, underscores
        let code = |m: &String| {
            !m.is_empty()
                && m.len() <= 16
                && m.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        };
        let list = value.get_ref();
        if list.is_empty() || list.len() > MAX_MODALITIES || !list.iter().all(code) {
            let what = format!("must be 1 to {MAX_MODALITIES} DICOM codes in capitals, such as \"DX\"");
            return Err(self.refuse("accept.modalities", &value, what));
        }
        let mut sorted = value.into_inner();
        sorted.sort();
        sorted.dedup();
        Ok(sorted)
    }
}

/// 1 to 64 lower case letters, digits, hyphens or underscores.
fn is_plain(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}

/// Of what model or file of another pipeline: its name, if another is meant, and the rest.
pub(crate) fn place(name: &str) -> (Option<&str>, &str) {
    name.split_once('/').map_or((None, name), |(pipeline, rest)| (Some(pipeline), rest))
}

/// Line of a byte of the text, counted from 1.
fn line_of(text: &str, byte: usize) -> usize {
    text.as_bytes()[..byte.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::LazyLock;

    static GOOD: LazyLock<String> = LazyLock::new(crate::testing::definition);

    fn refused(text: &str) -> String {
        let error = PipelineDefinition::parse(text, "pipeline.toml").unwrap_err();
        assert_eq!(error.fault(), domain::Fault::Misconfigured);
        error.to_string()
    }

    #[test]
    fn the_shipped_definition_is_read_whole() {
        let definition = PipelineDefinition::parse(&GOOD, "pipeline.toml").unwrap();
        assert_eq!(definition.label(), "aortica 1.3.0");
        assert_eq!(definition.score.rule, TieRule::Kauppila);
        assert_eq!(definition.score.extent, Extent::MidDisc);
        assert!(definition.accept.modalities.contains(&"BMD".to_owned()));
        assert_eq!(definition.category, CategoryCut::default());
    }

    #[test]
    fn a_wrong_key_or_value_is_named_with_its_line() {
        let line = |needle: &str| GOOD.lines().position(|l| l.contains(needle)).unwrap() + 1;
        let unknown = refused(&GOOD.replace("threshold =", "treshold ="));
        assert!(
            unknown.contains(&format!("line {}", line("threshold ="))) && unknown.contains("treshold"),
            "{unknown}"
        );
        let range = refused(&GOOD.replace("min_confidence = 0.5", "min_confidence = 1.5"));
        assert!(range.contains(&format!("line {}: locate.min_confidence is 1.5", line("min_confidence"))), "{range}");
        let rule = refused(&GOOD.replace("\"kauppila\"", "\"kaupila\""));
        assert!(rule.contains("kaupila") && rule.contains(&format!("line {}", line("\"kauppila\""))), "{rule}");
        let nan = refused(&GOOD.replace("margin_sd = 3.0", "margin_sd = nan"));
        assert!(nan.contains("region.margin_sd"), "{nan}");
        let outside = refused(&GOOD.replace("\"shape.json\"", "\"../shape.json\""));
        assert!(outside.contains("region.shape_model"), "{outside}");
        let elsewhere = |name: &str| GOOD.replace("\"shape.json\"", name);
        let other = PipelineDefinition::parse(&elsewhere("\"vfa-unet/shape.json\""), "pipeline.toml").unwrap();
        assert_eq!(other.region.unwrap().shape_model, "vfa-unet/shape.json");
        for wrong in ["\"vfa-unet/../shape.json\"", "\"/shape.json\"", "\"a/b/shape.json\"", "\"vfa-unet/\""] {
            assert!(refused(&elsewhere(wrong)).contains("region.shape_model must be"), "{wrong}");
        }
        let model = refused(&GOOD.replace("model = \"locate\"", "model = \"../locate\""));
        assert!(model.contains("locate.model must be a name"), "{model}");
        let twice = refused(&GOOD.replace("model = \"segment\"", "model = \"other/locate\""));
        assert!(twice.contains("two networks are called locate"), "{twice}");
        let size = refused(&GOOD.replace("width_px = 128", "width_px = 64"));
        assert!(size.contains("region.width_px is 64"), "{size}");
        assert!(refused("").contains("missing field"), "an empty file says what is missing");
        let upside_down = refused(&GOOD.replace("moderate_from = 2.0", "moderate_from = 7.0"));
        assert!(upside_down.contains("category.moderate_from"), "{upside_down}");
    }

    #[test]
    fn a_network_may_grade_instead_and_only_with_what_it_needs() {
        let graded = crate::testing::graded_definition;
        let (spine, region, image) = (graded(GradeInput::Spine), graded(GradeInput::Region), graded(GradeInput::Image));
        let parsed = |text: &str| PipelineDefinition::parse(text, "pipeline.toml").unwrap();
        let located = parsed(&spine);
        assert_eq!(located.grade.as_ref().map(|g| (g.model.as_str(), g.input)), Some(("grade", GradeInput::Spine)));
        assert_eq!(located.models().collect::<Vec<_>>(), ["locate", "grade"]);
        assert_eq!((located.rules().threshold, &located.segment), (0.5, &None));
        let whole = parsed(&image);
        assert!(whole.locate.is_none() && whole.region.is_none());
        let digests = [&spine, &region, &image].map(|text| parsed(text).digest());
        assert!(digests[0] != digests[1] && digests[1] != digests[2]);

        assert!(refused(&spine.replace("\"spine\"", "\"image\"")).contains("[locate] has no use"));
        assert!(refused(&image.replace("\"image\"", "\"region\"")).contains("missing table [locate]"));
        assert!(refused(&spine.replace("\"spine\"", "\"aorta\"")).contains("aorta"));
        let both = refused(&format!("{}\n[grade]\nmodel = \"grade\"\ninput = \"spine\"\nthreshold = 0.5\n", *GOOD));
        assert!(both.contains("[grade] cannot stand beside [segment]"), "{both}");
        let midline = refused(&spine.replace("[score]", "[score]\nmidline = \"sigmoid\""));
        assert!(midline.contains("score.midline has no use"), "{midline}");
        let calibrated = refused(&spine.replace("flag_below", "calibration = \"certainty.json\"\nflag_below"));
        assert!(calibrated.contains("review.calibration has no use"), "{calibrated}");
        let unmarked = refused(&GOOD.replace("min_plaque_mm = 0.0", ""));
        assert!(unmarked.contains("missing field `score.min_plaque_mm`"), "{unmarked}");
    }

    #[test]
    fn calcium_is_marked_by_a_network_or_by_a_forest() {
        let by = |lines: &str| GOOD.replace("model = \"segment\"", lines);
        let marking = |text: &str| {
            let definition = PipelineDefinition::parse(text, "pipeline.toml").unwrap();
            (definition.digest(), definition.segment.unwrap().by)
        };
        let (forest, network) = (marking(&by("forest = \"forest.bin\"")), marking(&GOOD));
        assert_eq!(forest.1, Marking::Forest("forest.bin".into()));
        assert_eq!(network.1, Marking::Model("segment".into()));
        assert_ne!(forest.0, network.0);
        let both = refused(&by("model = \"segment\"\nforest = \"forest.bin\""));
        assert!(both.contains("segment.forest stands beside segment.model"), "{both}");
        assert!(refused(&by("")).contains("segment needs model (a network) or forest (a file)"));
        assert!(refused(&by("forest = \"../forest.bin\"")).contains("segment.forest must be the name of a file"));
    }

    #[test]
    fn the_digest_knows_what_matters() {
        let digest = |text: &str| PipelineDefinition::parse(text, "pipeline.toml").unwrap().digest();
        assert_eq!(digest(&GOOD), digest(&format!("# a comment\n{}", *GOOD)));
        assert_ne!(digest(&GOOD), digest(&GOOD.replace("threshold = 0.5", "threshold = 0.6")));
        assert_ne!(digest(&GOOD), digest(&GOOD.replace("\"kauppila\"", "\"manitoba\"")));
    }
}

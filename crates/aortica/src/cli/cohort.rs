//! What `stats` and `report` are told: which participants, and what files know of them.

use super::{LakeChoice, RoleChoice, TableFormat};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// What `stats` works out. The unit is the participant: the primary image of one visit (--visit).
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StatsName {
    /// Items received, excluded and failed by reason, scored, with a total, and linked to the file
    Flow,
    /// Table 1 of the columns --of, by group (--by), with missing values and standardised mean differences
    Table1,
    /// Mean, SD, median and quartiles of AAC-24
    Score,
    /// Share of participants with AAC-24 of at least 1, 2 (moderate or high) and 6 (high), and its bounds
    Prevalence,
    /// Prevalence of AAC-24 >= 1 directly standardised to ESP2013 and WHO 2000-2025, or to your own table (--standard)
    Standardised,
    /// AAC-24 against a score of people (--human, or --with and --score): bias, limits, ICC, CCC, kappa, R2
    Agreement,
    /// The same pairs: bias and limits of agreement alone
    BlandAltman,
    /// The same pairs as low, moderate, high: accuracy, kappa, sensitivity, specificity, PPV, NPV
    Classes,
    /// The same pairs tested: Wilcoxon, McNemar, Bowker, Stuart-Maxwell
    Paired,
    /// AUC of AAC-24 for an outcome of the file (--event)
    Auc,
    /// Sensitivity and specificity of every threshold for that outcome
    Roc,
    /// Kaplan-Meier curve by category (--event with --until or --time)
    Survival,
    /// Log-rank test across categories
    Logrank,
    /// Hazard ratios of moderate and high against low, adjusted for --covariates
    Cox,
    /// Harrell's C of AAC-24 alone
    Cindex,
    /// Change of participants with totals at two visits or more, a year and in all
    Progression,
    /// Categories at the first and the last visit: which share of each went where
    Transitions,
    /// Trend of the prevalences and of the score over the values of a column (--over)
    Trend,
    /// Scores of visits from a day on (--split) against those before: PSI, KS distance, Wasserstein distance
    Drift,
    /// Mean and prevalence over all visits, intervals by bootstrap of whole participants
    Clustered,
    /// The statistics functions of SQL
    Functions,
}

/// The visit whose primary image stands for a participant.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Visit {
    /// The last one
    Latest,
    /// The first one, where outcomes are counted from the first image
    First,
}

impl Visit {
    pub fn name(self) -> &'static str {
        match self {
            Visit::Latest => "latest",
            Visit::First => "first",
        }
    }
}

/// Which participants, and what files know of them.
#[derive(Args)]
pub struct CohortArgs {
    #[command(flatten)]
    pub lake: LakeChoice,
    /// The visit whose primary image stands for a participant.
    #[arg(long, value_enum, default_value = "latest")]
    pub visit: Visit,
    /// Covariates, scores or outcomes, one row a participant (.csv or .parquet). Only participants that are in it are analysed.
    #[arg(long, value_name = "FILE")]
    pub with: Option<PathBuf>,
    /// The column of FILE that holds the participant key.
    #[arg(long, value_name = "COLUMN", default_value = "participant_id")]
    pub key: String,
    /// Readings by people, one row an image and reader (.csv or .parquet): sop_id or sop_uid, aac24_total, and rater_id or reader_id.
    #[arg(long, value_name = "FILE")]
    pub human: Option<PathBuf>,
    /// The study key that the lake was scored with, for human readings by sop_uid; default: from the settings.
    #[arg(long, value_name = "FILE")]
    pub study_key: Option<PathBuf>,
    /// The column of FILE that says whether the outcome happened: true or false, 1 or 0.
    #[arg(long, value_name = "COLUMN")]
    pub event: Option<String>,
    /// The column of FILE with the day (YYYY-MM-DD) of the outcome or of the end of observation; time runs from the image, in days.
    #[arg(long, value_name = "COLUMN", conflicts_with = "time")]
    pub until: Option<String>,
    /// The column of FILE with the time from the image to then, in any one unit.
    #[arg(long, value_name = "COLUMN")]
    pub time: Option<String>,
    /// Numeric columns to adjust for.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    pub covariates: Vec<String>,
    /// Least change of a participant, in points, that is not noise (1.96 * sqrt(2) * standard error of measurement).
    #[arg(long, value_name = "POINTS")]
    pub detectable: Option<f64>,
    /// Which readings, where the lake holds those of several pipelines or versions.
    #[arg(long, value_name = "FINGERPRINT")]
    pub fingerprint: Option<String>,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  aortica stats prevalence --lake lake --by sex\n  \
aortica stats table1 --lake lake --by aac24_cat_label --of age_years,sex,scanner_model\n  \
aortica stats agreement --lake lake --human human_readings.parquet\n  \
aortica stats agreement --lake lake --with readers.csv --score aac24 --by scanner_model\n  \
aortica stats cox --lake lake --with outcomes_keyed.csv --event died --until last_seen --covariates age_years\n\n\
FILE is CSV or Parquet and is joined by participant key: `aortica pseudonymise` turns identifiers into keys.\n\
Group columns may come from the readings, from the file, or be age_from (five-year bands) or, with --human, reader.\n\
Prevalence counts a participant whose total is missing where the assessed segments decide; as one calcified segment decides but a\n\
zero needs all eight, the share leans upwards, and the two bounds are given beside it.\n\
Answers are long: statistic, groups, n, estimate, std_error, conf_low, conf_high, conf_level, method; empty where not defined.")]
pub struct StatsArgs {
    #[arg(value_enum)]
    pub name: StatsName,
    #[command(flatten)]
    pub cohort: CohortArgs,
    #[command(flatten)]
    pub role: RoleChoice,
    /// Group by these columns.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    pub by: Vec<String>,
    /// Columns of Table 1.
    #[arg(
        long,
        value_name = "COLUMN",
        value_delimiter = ',',
        default_value = "age_years,sex,scanner_maker,aac24_total,aac24_cat_label"
    )]
    pub of: Vec<String>,
    /// The column of FILE with the reference score, 0..24.
    #[arg(long, value_name = "COLUMN")]
    pub score: Option<String>,
    /// Standard population of your own (.csv: age_from, weight; bands begin at multiples of five years, the last is open). Bands in which
    /// the cohort has no ages are left out, younger participants too.
    #[arg(long, value_name = "FILE")]
    pub standard: Option<PathBuf>,
    /// Exact intervals (Clopper-Pearson) of classes instead of Wilson's.
    #[arg(long)]
    pub exact: bool,
    /// The numeric column over whose values a trend is looked for.
    #[arg(long, value_name = "COLUMN", default_value = "age_from")]
    pub over: String,
    /// The first day (YYYY-MM-DD) of the later period.
    #[arg(long, value_name = "DAY")]
    pub split: Option<String>,
    #[arg(long, value_enum, default_value = "table")]
    pub format: TableFormat,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  aortica report --lake lake -o report.html\n  \
aortica pseudonymise outcomes.csv --column patient_id --key lake.key -o outcomes_keyed.csv\n  \
aortica report --lake lake --with outcomes_keyed.csv --event died --until last_seen --covariates age_years \\\n      \
--human human_readings.parquet --title \"AAC in the north, 2015-2025\" -o report.html\n\n\
The page needs nothing else: no script, no font, no network. Print it from a browser, or open it in a word processor. Sections whose\n\
inputs are missing say what to give. The same inputs give the same bytes; --date puts a day on the page.\n\
Small groups are shown as they are: the page is for the study file. With --role aggregate it holds what the policy of disclosure control\n\
tells, as a release does, and can be handed on.")]
pub struct ReportArgs {
    #[command(flatten)]
    pub cohort: CohortArgs,
    #[command(flatten)]
    pub role: RoleChoice,
    /// Where the page is written.
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    pub out: PathBuf,
    /// Also write every number as JSON beside the page (FILE with the ending .json).
    #[arg(long)]
    pub json: bool,
    /// Heading of the page.
    #[arg(long, value_name = "TEXT", default_value = "Abdominal aortic calcification: study report")]
    pub title: String,
    /// Day of the report (YYYY-MM-DD); none is printed without it, so that the same inputs give the same bytes.
    #[arg(long, value_name = "DAY")]
    pub date: Option<String>,
    /// Further columns of FILE for Table 1.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    pub of: Vec<String>,
    /// The column that names the site, where the readings themselves name none.
    #[arg(long, value_name = "COLUMN")]
    pub site: Option<String>,
}

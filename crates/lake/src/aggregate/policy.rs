//! What the aggregate role may be told, as a file that an ethics committee can read.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Values of one stratum, `other` and `unknown` not counted.
pub const VALUES_MAX: usize = 100;
/// Strata of a policy.
pub const STRATA_MAX: usize = 12;

/// The policy of disclosure control; every key has a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Counts from 1 to one less are withheld, and so is what would give them away. Default 10; from 2 to 1,000.
    pub threshold: u64,
    /// Counts are told as multiples of this, and shares are worked out from them; 0 tells them as they are. Default 0; at most 100.
    pub rounding: u64,
    /// Strata that may be crossed in one table. Default 2.
    pub strata_at_once: usize,
    /// Scores at which the bands of AAC-24 begin, after 0. Prevalences are told at these and at no other. Default 1, 2 and 6.
    pub score_cuts: Vec<u8>,
    /// What may be asked for. Default: all.
    pub functions: Vec<Function>,
    /// Folder of the log of what was told, with its participants: as restricted as the rows. Default: beside the policy file, named like it
    /// with `.released` behind; without a policy file beside the lake.
    pub log: Option<PathBuf>,
    /// SHA-256 of the files that the aggregate role may join (`stats --with`): whoever chooses the file chooses who is counted. Default: none.
    pub files: Vec<String>,
    /// The strata, in the order in which they are shown. Default: sex, age_band and scanner_maker.
    pub strata: Vec<Stratum>,
}

/// A stratum with fixed values. Whoever has none of them is `other`, who has a missing one `unknown`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stratum {
    pub name: String,
    /// Column of `latest_by_image_date` or of the file that is joined. Default: the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Values in their order. Without these and `from`: those that at least `threshold` participants have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
    /// For numbers: where bands begin, after the first. `[50, 60]` makes <50, 50-59, 60+.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<i64>>,
}

/// What the aggregate role may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Function {
    /// Number of participants with a total.
    Participants,
    /// Share of participants in each band of the score.
    ScoreBands,
    /// Share of participants with at least each cut.
    Prevalence,
    /// Mean, SD, median and quartiles.
    Score,
    /// Prevalence of AAC-24 >= 1, directly standardised.
    Standardised,
    /// What became of the items.
    Flow,
}

impl Function {
    pub const ALL: [Function; 6] = [
        Function::Participants,
        Function::ScoreBands,
        Function::Prevalence,
        Function::Score,
        Function::Standardised,
        Function::Flow,
    ];

    /// As SQL and the policy call it.
    pub fn name(self) -> &'static str {
        match self {
            Function::Participants => "participants",
            Function::ScoreBands => "score_bands",
            Function::Prevalence => "prevalence",
            Function::Score => "score",
            Function::Standardised => "standardised",
            Function::Flow => "flow",
        }
    }

    pub fn about(self) -> &'static str {
        match self {
            Function::Participants => {
                "Participants with all eight segments assessed: the primary image of the latest visit"
            }
            Function::ScoreBands => "Share of participants in each band of AAC-24, with Wilson's interval",
            Function::Prevalence => "Share of participants with AAC-24 of at least each cut, with Wilson's interval",
            Function::Score => "Mean, SD, median and quartiles of AAC-24, with intervals",
            Function::Standardised => {
                "Prevalence of AAC-24 >= 1 directly standardised to ESP2013 and WHO 2000-2025, five-year age bands"
            }
            Function::Flow => "Items received, scored, excluded and failed by reason, and participants",
        }
    }
}

impl Default for Policy {
    fn default() -> Policy {
        let stratum = |name: &str, column: Option<&str>, values: Option<&[&str]>, from: Option<&[i64]>| Stratum {
            name: name.to_owned(),
            column: column.map(str::to_owned),
            values: values.map(|values| values.iter().map(|v| (*v).to_owned()).collect()),
            from: from.map(<[i64]>::to_vec),
        };
        Policy {
            threshold: 10,
            rounding: 0,
            strata_at_once: 2,
            score_cuts: vec![1, 2, 6],
            functions: Function::ALL.to_vec(),
            log: None,
            strata: vec![
                stratum("sex", None, Some(&["F", "M"]), None),
                stratum("age_band", Some("age_years"), None, Some(&[50, 60, 70, 80])),
                stratum("scanner_maker", None, None, None),
            ],
            files: Vec::new(),
        }
    }
}

impl Policy {
    /// Reads a policy file. The log is beside it unless it says otherwise; a relative path counts from its folder.
    ///
    /// # Errors
    /// [`Error::Policy`] names the file, and the line where the file is not understood.
    pub fn load(path: &Path) -> Result<Policy> {
        let refused = |problem: String| Error::Policy { problem: format!("{}: {problem}", path.display()) };
        let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
        let mut policy = Policy::parse(&text).map_err(|problem| refused(problem.trim_end().to_owned()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let beside = || PathBuf::from(format!("{}.released", path.file_stem().unwrap_or_default().to_string_lossy()));
        policy.log = Some(folder.join(policy.log.unwrap_or_else(beside)));
        Ok(policy)
    }

    /// The defaults, with the log beside a lake that is a folder.
    ///
    /// # Errors
    /// The lake is elsewhere: then a policy file must say where the log is.
    pub fn beside(lake: &str) -> Result<Policy> {
        let local = lake.strip_prefix("file://").unwrap_or(lake).trim_end_matches('/');
        if local.contains("://") {
            let problem = "the log of what was told lies beside a local lake; for this one write a policy file that names a folder as `log`, and give it with --policy";
            return Err(Error::Policy { problem: problem.to_owned() });
        }
        Ok(Policy { log: Some(PathBuf::from(format!("{local}.released"))), ..Policy::default() })
    }

    fn parse(text: &str) -> std::result::Result<Policy, String> {
        let policy: Policy = toml::from_str(text).map_err(|error| error.to_string())?;
        policy.check()?;
        Ok(policy)
    }

    fn check(&self) -> std::result::Result<(), String> {
        let within = |name: &str, value: u64, low: u64, high: u64| match (low..=high).contains(&value) {
            true => Ok(()),
            false => Err(format!("{name} is {value}, but must be from {low} to {high}")),
        };
        within("threshold", self.threshold, 2, 1_000)?;
        within("rounding", self.rounding, 0, 100)?;
        within("strata_at_once", self.strata_at_once as u64, 0, 4)?;
        within("number of strata", self.strata.len() as u64, 0, STRATA_MAX as u64)?;
        let rising = self.score_cuts.windows(2).all(|pair| pair[0] < pair[1]);
        if self.score_cuts.is_empty() || !rising || self.score_cuts.iter().any(|cut| !(1..=24).contains(cut)) {
            return Err("score_cuts must be scores from 1 to 24, ascending".to_owned());
        }
        let mut names = BTreeSet::new();
        for stratum in &self.strata {
            stratum.check()?;
            if !names.insert(&stratum.name) {
                return Err(format!("stratum {} is there twice", stratum.name));
            }
        }
        let digest = |text: &String| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if let Some(wrong) = self.files.iter().find(|file| !digest(file)) {
            return Err(format!("files are SHA-256 digests, 64 hexadecimal digits (sha256sum FILE), not {wrong:?}"));
        }
        Ok(())
    }
}

/// Columns of the tables that the functions give, which no stratum may be called.
pub(crate) const TAKEN: [&str; 10] =
    ["statistic", "step", "n", "estimate", "std_error", "conf_low", "conf_high", "conf_level", "method", "suppressed"];

impl Stratum {
    fn check(&self) -> std::result::Result<(), String> {
        let name = &self.name;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty()
            || name.len() > 32
            || !name.starts_with(|c: char| c.is_ascii_lowercase())
            || !name.chars().all(plain)
        {
            return Err(format!(
                "stratum {name:?}: a name is 1 to 32 small letters, digits or underscores, a letter first"
            ));
        }
        if TAKEN.contains(&name.as_str()) {
            return Err(format!(
                "stratum {name}: tables have a column of that name already; call it otherwise and give its column"
            ));
        }
        match (&self.values, &self.from) {
            (Some(_), Some(_)) => Err(format!("stratum {name}: give values or from, not both")),
            (Some(values), None) => {
                let distinct: BTreeSet<_> = values.iter().collect();
                let reserved = values.iter().any(|value| value == OTHER || value == UNKNOWN);
                if values.is_empty() || values.len() > VALUES_MAX || distinct.len() < values.len() || reserved {
                    return Err(format!(
                        "stratum {name}: values are 1 to {VALUES_MAX} different ones; {OTHER} and {UNKNOWN} are always there"
                    ));
                }
                Ok(())
            }
            (None, Some(from))
                if from.is_empty() || from.len() >= VALUES_MAX || !from.windows(2).all(|w| w[0] < w[1]) =>
            {
                Err(format!("stratum {name}: from are 1 to {} whole numbers, ascending", VALUES_MAX - 1))
            }
            _ => Ok(()),
        }
    }

    /// The column that it is made of.
    pub fn column(&self) -> &str {
        self.column.as_deref().unwrap_or(&self.name)
    }
}

/// The value of whoever has none of the named ones.
pub const OTHER: &str = "other";
/// The value of whoever has none.
pub const UNKNOWN: &str = "unknown";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_policy_is_told_with_its_line() {
        let refused = |text: &str| Policy::parse(text).unwrap_err();
        let unknown = refused("threshold = 20\nroundig = 5\n");
        assert!(unknown.contains("line 2") && unknown.contains("roundig"), "{unknown}");
        assert!(refused("threshold = 1\n").contains("threshold is 1, but must be from 2 to 1000"));
        assert!(refused("score_cuts = [6, 2]\n").contains("ascending"));
        assert!(refused("functions = [\"maximum\"]\n").contains("maximum"));
        let stratum = |rest: &str| refused(&format!("[[strata]]\nname = \"site\"\n{rest}"));
        assert!(stratum("values = [\"a\", \"a\"]").contains("stratum site"));
        assert!(stratum("values = [\"unknown\"]").contains("always there"));
        assert!(stratum("values = [\"a\"]\nfrom = [1]").contains("not both"));
        assert!(stratum("from = [70, 60]").contains("ascending"));
        assert!(stratum("[[strata]]\nname = \"site\"").contains("twice"));
        assert!(refused("[[strata]]\nname = \"estimate\"").contains("call it otherwise"));
        assert!(refused("files = [\"outcomes.csv\"]").contains("sha256sum"));
    }

    #[test]
    fn the_defaults_print_and_read_back() {
        let text = toml::to_string(&Policy::default()).unwrap();
        assert_eq!(Policy::parse(&text).unwrap(), Policy::default());
    }

    #[test]
    fn the_log_lies_beside_the_file_or_the_lake() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("study.toml");
        std::fs::write(&path, "threshold = 5\n").unwrap();
        assert_eq!(Policy::load(&path).unwrap().log, Some(folder.path().join("study.released")));
        std::fs::write(&path, "log = \"told\"\n").unwrap();
        assert_eq!(Policy::load(&path).unwrap().log, Some(folder.path().join("told")));
        assert_eq!(Policy::beside("work/lake/").unwrap().log, Some(PathBuf::from("work/lake.released")));
        assert!(Policy::beside("s3://bucket/lake").unwrap_err().to_string().contains("--policy"));
        assert!(Policy::load(&folder.path().join("none.toml")).unwrap_err().to_string().contains("none.toml"));
    }
}

//! What the lake's ledger says of a submission.

use crate::error::{Error, ErrorKind, Result};
use crate::progress::Counts;
use lake::Lake;
use std::collections::BTreeMap;
use std::str::FromStr;

/// Items of a submission by outcome; those without a row are not counted (invariant 5: they are pending).
///
/// # Errors
/// Those of the lake; it has no submission of this id.
pub async fn counts(lake: &Lake, submission: &str) -> Result<Counts> {
    let asked = [submission.to_owned()];
    let tallies = lake.census(&asked, i64::MAX).await?;
    let [tally] = &tallies[..] else {
        return Err(Error::new(ErrorKind::Bug, "the ledger tells of more than the submission asked about"));
    };
    Ok(Counts { scored: tally.scored, excluded: by_reason(&tally.excluded)?, failed: by_reason(&tally.failed)? })
}

fn by_reason<R: FromStr + Ord>(items: &BTreeMap<&'static str, u64>) -> Result<BTreeMap<R, u64>> {
    let known =
        |name: &str| name.parse().map_err(|_| Error::new(ErrorKind::Bug, format!("the ledger has a reason {name}")));
    items.iter().map(|(name, items)| Ok((known(name)?, *items))).collect()
}

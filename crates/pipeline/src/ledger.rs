//! What the lake's ledger says of a submission.

use crate::error::{Error, ErrorKind, Result};
use crate::progress::Counts;
use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use domain::{ExcludeReason, FailReason};
use lake::{Lake, SessionOptions};

/// Items of a submission by outcome; those without a row are not counted (invariant 5: they are pending).
///
/// # Errors
/// Those of the lake.
pub async fn counts(lake: &Lake, submission: &str) -> Result<Counts> {
    if !submission.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Error::new(ErrorKind::Source, "a submission's id has hexadecimal digits only"));
    }
    let session = lake.session(SessionOptions::default()).await?;
    let sql = format!(
        "SELECT status, fail_reason, count(*) AS items FROM ledger
         WHERE submission = '{submission}' AND status <> 'pending' GROUP BY status, fail_reason"
    );
    let mut answer = session.query(&sql).await?;
    let mut counts = Counts::default();
    let odd = |what: &str| Error::new(ErrorKind::Bug, format!("the ledger has {what}"));
    while let Some(batch) = answer.next().await? {
        let column = |i: usize, kind: &DataType| cast(batch.column(i), kind).map_err(|_| odd("another shape"));
        let (status, reason) = (column(0, &DataType::Utf8)?, column(1, &DataType::Utf8)?);
        let items = column(2, &DataType::Int64)?;
        for row in 0..batch.num_rows() {
            let items = u64::try_from(items.as_primitive::<Int64Type>().value(row)).unwrap_or(0);
            let reasons = reason.as_string::<i32>();
            let reason = if reasons.is_valid(row) { reasons.value(row) } else { "" };
            match status.as_string::<i32>().value(row) {
                "scored" => counts.scored += items,
                "excluded" => {
                    let reason: ExcludeReason = reason.parse().map_err(|_| odd("an unknown reason of exclusion"))?;
                    *counts.excluded.entry(reason).or_default() += items;
                }
                "failed" => {
                    let reason: FailReason = reason.parse().map_err(|_| odd("an unknown reason of failure"))?;
                    *counts.failed.entry(reason).or_default() += items;
                }
                _ => return Err(odd("an unknown status")),
            }
        }
    }
    Ok(counts)
}

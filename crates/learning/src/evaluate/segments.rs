//! Agreement of the eight grades, one by one, by level and by wall.

use super::rows::{ReadRow, TruthRow};
use domain::{Level, Segment, Wall};
use serde::Serialize;
use statistics::kappa::{KappaWeights, kappa};
use statistics::proportion::{Interval, proportion};
use statistics::{Confidence, Estimate, SquareTable};

/// Segments that both sides graded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GradeAgreement {
    /// `all`, a segment such as `aac_l1_ant`, a level or a wall.
    pub of: String,
    /// Share with the same grade, 0..1; the interval takes segments of one image as independent.
    pub same: Estimate,
    pub kappa_quadratic: Estimate,
    /// Reference by row, model by column, grades 0..3.
    pub confusion: [[u64; 4]; 4],
}

/// Whether what can be assessed was, and nothing else; shares 0..1 in scored images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Assessability {
    /// Of segments that truth can assess: those without a grade.
    pub falsely_not_assessable: Estimate,
    /// Of segments that truth cannot assess: those that got a grade all the same.
    pub falsely_assessed: Estimate,
}

pub(super) fn assessability(pairs: &[(&TruthRow, &ReadRow)], confidence: Confidence) -> Assessability {
    let (mut missed, mut invented) = ((0, 0), (0, 0));
    for (truth, row) in pairs {
        let Some(segments) = &row.segments else { continue };
        for (read, seen) in segments.iter().zip(&truth.visible) {
            let can = seen.grade().is_some();
            let counter = if can { &mut missed } else { &mut invented };
            counter.1 += 1;
            counter.0 += u64::from(read.grade.grade().is_some() != can);
        }
    }
    let share = |(part, of): (u64, u64)| proportion(part, of, Interval::Wilson, confidence);
    Assessability { falsely_not_assessable: share(missed), falsely_assessed: share(invented) }
}

/// All segments together, then each segment, level and wall.
pub(super) fn segments(
    pairs: &[(&TruthRow, &ReadRow)],
    confidence: Confidence,
) -> statistics::Result<Vec<GradeAgreement>> {
    let mut each = [[[0u64; 4]; 4]; Segment::COUNT];
    for (truth, row) in pairs {
        let Some(segments) = &row.segments else { continue };
        for (table, (read, seen)) in each.iter_mut().zip(segments.iter().zip(&truth.visible)) {
            if let (Some(read), Some(seen)) = (read.grade.grade(), seen.grade()) {
                table[usize::from(seen.value())][usize::from(read.value())] += 1;
            }
        }
    }
    let pooled = |of: String, of_these: &dyn Fn(Segment) -> bool| -> statistics::Result<GradeAgreement> {
        let mut confusion = [[0; 4]; 4];
        for segment in Segment::all().into_iter().filter(|s| of_these(*s)) {
            for (row, counts) in confusion.iter_mut().zip(&each[segment.index()]) {
                row.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
        }
        let table = SquareTable::new(4, confusion.iter().flatten().copied().collect())?;
        Ok(GradeAgreement {
            of,
            same: proportion(table.diagonal(), table.n(), Interval::Wilson, confidence),
            kappa_quadratic: kappa(&table, KappaWeights::Quadratic, confidence),
            confusion,
        })
    };
    let mut found = vec![pooled("all".to_owned(), &|_| true)?];
    for segment in Segment::all() {
        found.push(pooled(segment.column(), &|s| s == segment)?);
    }
    for level in Level::ALL {
        found.push(pooled(level.column().to_owned(), &|s| s.level == level)?);
    }
    for wall in Wall::ALL {
        found.push(pooled(["anterior", "posterior"][wall.index()].to_owned(), &|s| s.wall == wall)?);
    }
    Ok(found)
}

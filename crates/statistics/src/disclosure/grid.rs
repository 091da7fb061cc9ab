//! The fixed family of counts: every combination of a few strata, with all margins.

use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// Counts of one family: the audit's matrix has at most this many rows.
pub const ENTRIES_MAX: usize = 4_000;

/// Cells of one family, the product of the values of all dimensions: the audit's matrix has at most this many columns.
pub const CELLS_MAX: usize = 10_000;

/// One count of a [`Grid`]: for each dimension 0 for "all", or `v + 1` for its value `v`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Entry(Vec<u16>);

impl Entry {
    /// One value or all (`None`) for each dimension.
    pub fn of(values: &[Option<usize>]) -> Entry {
        Entry(values.iter().map(|value| value.map_or(0, |v| v as u16 + 1)).collect())
    }

    /// Value along a dimension; `None` for all.
    pub fn value(&self, dimension: usize) -> Option<usize> {
        self.0.get(dimension).and_then(|v| usize::from(*v).checked_sub(1))
    }

    /// The same with another value, or all, along one dimension.
    pub fn with(&self, dimension: usize, value: Option<usize>) -> Entry {
        let mut entry = self.clone();
        entry.0[dimension] = value.map_or(0, |v| v as u16 + 1);
        entry
    }

    /// Dimensions along which it has a value.
    pub fn fixed(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().filter(|(_, v)| **v > 0).map(|(dimension, _)| dimension)
    }

    /// How many dimensions have a value: 0 is the total.
    pub fn depth(&self) -> usize {
        self.fixed().count()
    }

    /// Whether everyone of `other` belongs here too, by the values alone.
    pub fn holds(&self, other: &Entry) -> bool {
        self.0.iter().zip(&other.0).all(|(own, others)| *own == 0 || own == others)
    }
}

/// Dimensions with their numbers of values, and which of their combinations are counted.
///
/// The strata come first, of which at most `at_once` have a value at a time; a band of the score may follow, which is crossed with
/// all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grid {
    sizes: Vec<usize>,
    strata: usize,
    at_once: usize,
}

impl Grid {
    /// # Errors
    /// [`ErrorKind::Argument`] for a dimension with fewer than two values, [`ErrorKind::Limit`] beyond [`ENTRIES_MAX`] counts or [`CELLS_MAX`] cells.
    pub fn new(strata: &[usize], at_once: usize, bands: Option<usize>) -> Result<Grid> {
        let sizes: Vec<usize> = strata.iter().copied().chain(bands).collect();
        if sizes.iter().any(|size| *size < 2) {
            return Err(Error::new(ErrorKind::Argument, "every stratum needs at least two values"));
        }
        let mut grid = Grid { sizes, strata: strata.len(), at_once };
        grid.at_once = at_once.min(strata.len());
        let entries = grid.combinations().saturating_mul(bands.map_or(1, |bands| bands + 1));
        let cells = grid.sizes.iter().try_fold(1_usize, |all, size| all.checked_mul(*size));
        if entries > ENTRIES_MAX || cells.is_none_or(|cells| cells > CELLS_MAX) {
            let context = format!(
                "these strata make {entries} counts of {} cells, more than the {ENTRIES_MAX} counts and {CELLS_MAX} cells that are checked \
                 together; take fewer strata or values, or fewer strata at once",
                cells.map_or("countless".to_owned(), |cells| cells.to_string())
            );
            return Err(Error::new(ErrorKind::Limit, context));
        }
        Ok(grid)
    }

    /// Values of each dimension.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Dimensions that are strata; the one after them, if any, is the band of the score.
    pub fn strata(&self) -> usize {
        self.strata
    }

    pub fn at_once(&self) -> usize {
        self.at_once
    }

    /// Number of combinations of strata, by the elementary symmetric polynomials of their sizes.
    fn combinations(&self) -> usize {
        let mut ways = vec![0_usize; self.at_once + 1];
        ways[0] = 1;
        for size in &self.sizes[..self.strata] {
            for taken in (0..self.at_once).rev() {
                ways[taken + 1] = ways[taken + 1].saturating_add(ways[taken].saturating_mul(*size));
            }
        }
        ways.into_iter().fold(0, usize::saturating_add)
    }

    /// All counts: the total first, then by the number of dimensions with a value.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = vec![Entry(vec![0; self.sizes.len()])];
        for (dimension, size) in self.sizes.iter().enumerate() {
            for place in 0..entries.len() {
                if dimension < self.strata && entries[place].depth() >= self.at_once {
                    continue;
                }
                let more: Vec<Entry> = (0..*size).map(|v| entries[place].with(dimension, Some(v))).collect();
                entries.extend(more);
            }
        }
        entries.sort_by(|a, b| a.depth().cmp(&b.depth()).then_with(|| a.cmp(b)));
        entries
    }

    /// Number of the cell with one value in every dimension.
    pub fn cell(&self, values: &[usize]) -> u32 {
        values.iter().zip(&self.sizes).fold(0, |cell, (value, size)| cell * *size as u32 + *value as u32)
    }

    /// The values of a cell, one for each dimension.
    pub fn values(&self, cell: u32) -> Vec<usize> {
        let mut rest = cell as usize;
        let mut values = vec![0; self.sizes.len()];
        for (value, size) in values.iter_mut().zip(&self.sizes).rev() {
            *value = rest % size;
            rest /= size;
        }
        values
    }

    /// The counts that a member of a cell belongs to.
    pub fn entries_of(&self, cell: u32) -> Vec<Entry> {
        let values = self.values(cell);
        let mut entries = vec![Entry(vec![0; self.sizes.len()])];
        for (dimension, value) in values.into_iter().enumerate() {
            for place in 0..entries.len() {
                if dimension >= self.strata || entries[place].depth() < self.at_once {
                    entries.push(entries[place].with(dimension, Some(value)));
                }
            }
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_is_every_combination_with_its_margins() {
        let grid = Grid::new(&[2, 3, 4], 2, Some(5)).unwrap();
        let strata = 1 + (2 + 3 + 4) + (2 * 3 + 2 * 4 + 3 * 4);
        let entries = grid.entries();
        assert_eq!(entries.len(), strata * 6);
        assert_eq!(entries[0].depth(), 0);
        assert!(entries.iter().all(|e| e.fixed().filter(|d| *d < 3).count() <= 2));
        let distinct: std::collections::BTreeSet<_> = entries.iter().collect();
        assert_eq!(distinct.len(), entries.len());
        for cell in 0..120 {
            assert_eq!(grid.cell(&grid.values(cell)), cell);
            let own = grid.entries_of(cell);
            assert_eq!(own.len(), (1 + 3 + 3) * 2);
            assert!(own.iter().all(|entry| distinct.contains(entry)));
        }
    }

    #[test]
    fn a_family_too_large_to_be_checked_is_refused() {
        let error = Grid::new(&[100, 100], 2, None).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Limit);
        assert_eq!(Grid::new(&[3, 1], 1, None).unwrap_err().kind, ErrorKind::Argument);
        assert_eq!(Grid::new(&[100, 100], 1, None).unwrap().entries().len(), 201);
        assert_eq!(Grid::new(&[usize::MAX, 3], 0, None).unwrap_err().kind, ErrorKind::Limit);
    }
}

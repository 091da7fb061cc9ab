//! Whether a count, taken from one that was told before, would leave a small group.

use super::grid::{Entry, Grid};
use std::collections::{BTreeMap, BTreeSet};

/// A member of a cohort (a digest of the participant) and the cell of the grid that it is in.
pub type Member = (u64, u32);

/// The counts of `now` that must not be told because of what was told before.
///
/// Two counts differ by those who are in one of both only. Refused is a count that differs from any count told before by at least 1 and fewer
/// than `threshold`; and one that was withheld before (the same entry of the same grid) and has not changed by `threshold` since: told
/// now, it would complete the old table.
///
/// Both lists ascend by member and name each once. The grids may differ. Takes one pass, and memory by the pairs of cells that occur.
pub fn small_differences(
    (grid, now): (&Grid, &[Member]),
    (grid_before, before): (&Grid, &[Member]),
    told_before: &BTreeSet<Entry>,
    threshold: u64,
) -> BTreeSet<Entry> {
    let mut common: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    let mut place = 0;
    for (member, cell) in now {
        while before.get(place).is_some_and(|other| other.0 < *member) {
            place += 1;
        }
        if let Some((_, cell_before)) = before.get(place).filter(|other| other.0 == *member) {
            *common.entry((*cell, *cell_before)).or_default() += 1;
        }
    }
    let (sizes, sizes_before) = (sizes(grid, now), sizes(grid_before, before));
    let mut shared: BTreeMap<(Entry, Entry), u64> = BTreeMap::new();
    for ((cell, cell_before), count) in common {
        for entry in grid.entries_of(cell) {
            for other in grid_before.entries_of(cell_before) {
                let same = grid == grid_before && entry == other;
                if same || told_before.contains(&other) {
                    *shared.entry((entry.clone(), other)).or_default() += count;
                }
            }
        }
    }
    let differs_little = |entry: &Entry, other: &Entry, both: u64| {
        let difference = sizes[entry] + sizes_before[other] - 2 * both;
        difference < threshold && (difference > 0 || !told_before.contains(other))
    };
    let found = shared.into_iter().filter(|((entry, other), both)| differs_little(entry, other, *both));
    found.map(|((entry, _), _)| entry).collect()
}

fn sizes(grid: &Grid, members: &[Member]) -> BTreeMap<Entry, u64> {
    let mut cells: BTreeMap<u32, u64> = BTreeMap::new();
    for (_, cell) in members {
        *cells.entry(*cell).or_default() += 1;
    }
    let mut sizes = BTreeMap::new();
    for (cell, count) in cells {
        for entry in grid.entries_of(cell) {
            *sizes.entry(entry).or_default() += count;
        }
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        Grid::new(&[2], 1, None).unwrap()
    }

    /// `of_each` members in each of two cells, from `first` on.
    fn members(first: u64, of_each: u64) -> Vec<Member> {
        (0..2 * of_each).map(|i| (first + i, (i % 2) as u32)).collect()
    }

    fn found(now: &[Member], before: &[Member]) -> BTreeSet<Entry> {
        let all = grid().entries().into_iter().collect();
        small_differences((&grid(), now), (&grid(), before), &all, 10)
    }

    #[test]
    fn the_same_people_may_be_counted_again_and_others_too() {
        assert!(found(&members(0, 50), &members(0, 50)).is_empty());
        assert!(found(&members(0, 50), &members(1_000, 50)).is_empty());
        assert!(found(&members(0, 60), &members(0, 50)).is_empty(), "each count differs by 10 at least");
    }

    #[test]
    fn one_more_person_refuses_the_counts_that_hold_it() {
        let before = members(0, 50);
        let mut now = before.clone();
        now.push((500, 1));
        let expected = BTreeSet::from([Entry::of(&[None]), Entry::of(&[Some(1)])]);
        assert_eq!(found(&now, &before), expected);
        assert_eq!(found(&before, &now), expected, "in either order");
    }

    #[test]
    fn what_was_withheld_stays_so_until_it_has_changed_enough() {
        let before = members(0, 50);
        let mut now = before.clone();
        now.push((500, 1));
        let told = BTreeSet::from([Entry::of(&[Some(0)])]);
        let refused = small_differences((&grid(), &now), (&grid(), &before), &told, 10);
        let withheld_still = BTreeSet::from([Entry::of(&[None]), Entry::of(&[Some(1)])]);
        assert_eq!(refused, withheld_still, "and stays withheld until it has changed by the threshold");
        now.extend((501..510).map(|member| (member, 1)));
        assert!(small_differences((&grid(), &now), (&grid(), &before), &told, 10).is_empty());
    }

    #[test]
    fn other_strata_that_nearly_coincide_are_found() {
        // Before: by a stratum whose first value holds members 0..50; now by one whose first value holds 0..53.
        let cut = |at: u64| -> Vec<Member> { (0..200).map(|m| (m, u32::from(m >= at))).collect() };
        let expected = BTreeSet::from([Entry::of(&[Some(0)]), Entry::of(&[Some(1)])]);
        assert_eq!(found(&cut(53), &cut(50)), expected);
        assert!(found(&cut(70), &cut(50)).is_empty());
    }
}

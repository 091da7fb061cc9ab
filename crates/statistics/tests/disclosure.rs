//! Suppression of random tables, judged by another route: real linear algebra over the cells, and enumeration.

use nalgebra::{DMatrix, DVector};
use proptest::prelude::*;
use statistics::disclosure::{Counts, Entry, Grid, suppress};
use std::collections::BTreeSet;

/// One to three strata with few values, up to two at a time, with or without bands, and counts of which many are small.
fn tables() -> impl Strategy<Value = (Grid, Counts)> {
    let sizes = proptest::collection::vec(2_usize..5, 1..4);
    (sizes, 1_usize..3, proptest::option::of(2_usize..4)).prop_flat_map(|(sizes, at_once, bands)| {
        let grid = Grid::new(&sizes, at_once, bands).unwrap();
        let cells = grid.sizes().iter().product::<usize>();
        let count = prop_oneof![3 => Just(0_u64), 4 => 1_u64..10, 5 => 10_u64..80];
        let counts = proptest::collection::vec(count, cells);
        (Just(grid), counts.prop_map(|counts| (0_u32..).zip(counts).collect()))
    })
}

/// The cells of an entry as a vector of 0 and 1.
fn vector(grid: &Grid, entry: &Entry) -> DVector<f64> {
    let cells = grid.sizes().iter().product::<usize>();
    let holds = |cell: usize| {
        let values = grid.values(cell as u32);
        entry.fixed().all(|dimension| entry.value(dimension) == Some(values[dimension]))
    };
    DVector::from_iterator(cells, (0..cells).map(|cell| f64::from(u8::from(holds(cell)))))
}

fn sum(grid: &Grid, counts: &Counts, entry: &Entry) -> u64 {
    let vector = vector(grid, entry);
    counts.iter().filter(|(cell, _)| vector[**cell as usize] > 0.0).map(|(_, n)| n).sum()
}

/// An orthonormal basis of the span of the told entries, by Gram-Schmidt done twice.
fn basis(vectors: Vec<DVector<f64>>) -> Vec<DVector<f64>> {
    let mut basis: Vec<DVector<f64>> = Vec::new();
    for vector in vectors {
        let left = residual(&basis, vector);
        if left.norm() > 1e-7 {
            basis.push(left.normalize());
        }
    }
    basis
}

fn residual(basis: &[DVector<f64>], mut vector: DVector<f64>) -> DVector<f64> {
    for _ in 0..2 {
        for known in basis {
            let along = vector.dot(known);
            vector.axpy(-along, known, 1.0);
        }
    }
    vector
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_withheld_count_is_a_combination_of_told_ones((grid, counts) in tables()) {
        let withheld = suppress(&grid, &counts, &BTreeSet::new(), 10);
        let told: Vec<Entry> = grid.entries().into_iter().filter(|e| !withheld.contains(e)).collect();
        // Cells of a told total of 0 are known to be 0.
        let zeros = told.iter().filter(|e| sum(&grid, &counts, e) == 0).map(|e| vector(&grid, e));
        let empty = zeros.fold(DVector::zeros(counts.len()), |all: DVector<f64>, one| all.sup(&one));
        let left = |e: &Entry| vector(&grid, e).zip_map(&empty, |holds, is_empty| holds * (1.0 - is_empty));
        let basis = basis(told.iter().map(left).collect());
        for entry in &told {
            let n = sum(&grid, &counts, entry);
            prop_assert!(n == 0 || n >= 10, "{entry:?} is told with {n}");
        }
        for entry in &withheld {
            prop_assert!(residual(&basis, left(entry)).norm() > 1e-6, "{entry:?} follows from the rest");
        }
    }

    #[test]
    fn what_remains_of_a_told_total_is_no_small_group((grid, counts) in tables()) {
        let withheld = suppress(&grid, &counts, &BTreeSet::new(), 10);
        for entry in &withheld {
            for dimension in entry.fixed() {
                if withheld.contains(&entry.with(dimension, None)) {
                    continue;
                }
                let line = (0..grid.sizes()[dimension]).map(|value| entry.with(dimension, Some(value)));
                let remainder: u64 = line.filter(|e| withheld.contains(e)).map(|e| sum(&grid, &counts, &e)).sum();
                prop_assert!(remainder >= 10, "{remainder} beside {entry:?}");
            }
        }
    }
}

/// Each withheld cell of a small table has at least two values that agree with everything told, by trying all of them.
#[test]
fn a_withheld_cell_has_several_possible_values() {
    let rows = [[3_u64, 12, 15], [14, 2, 11], [20, 13, 16]];
    let grid = Grid::new(&[3, 3], 2, None).unwrap();
    let cells = rows.iter().enumerate().flat_map(|(r, row)| row.iter().enumerate().map(move |(c, n)| (r, c, *n)));
    let counts: Counts = cells.map(|(r, c, n)| (grid.cell(&[r, c]), n)).collect();
    let withheld = suppress(&grid, &counts, &BTreeSet::new(), 10);
    assert!(withheld.iter().all(|e| e.depth() == 2), "the margins are told");
    let hidden: Vec<usize> =
        (0..9).filter(|cell| withheld.contains(&Entry::of(&[Some(cell / 3), Some(cell % 3)]))).collect();
    let margins = DMatrix::from_fn(6, 9, |line, cell| {
        f64::from(u8::from(if line < 3 { cell / 3 == line } else { cell % 3 == line - 3 }))
    });
    let truth = DVector::from_iterator(9, rows.iter().flatten().map(|n| *n as f64));
    let totals = &margins * &truth;
    let mut possible = vec![BTreeSet::new(); 9];
    let mut values = vec![0_u64; hidden.len()];
    'all: loop {
        let mut guess = truth.clone();
        hidden.iter().zip(&values).for_each(|(cell, value)| guess[*cell] = *value as f64);
        if &margins * &guess == totals {
            for (cell, value) in hidden.iter().zip(&values) {
                possible[*cell].insert(*value);
            }
        }
        for value in &mut values {
            *value += 1;
            if *value <= 20 {
                continue 'all;
            }
            *value = 0;
        }
        break;
    }
    assert!(hidden.len() >= 4);
    for cell in hidden {
        assert!(possible[cell].len() >= 2, "cell {cell}: {:?}", possible[cell]);
    }
}

//! The three categories: confusion of each method with truth.

use super::{Panel, cells, side_by_side};
use crate::page::svg::{Anchor, Svg};
use crate::page::words::{Estimated, Figure, shown};
use learning::evaluate::{Evaluation, Method};
use minijinja::{Value, context};

const NAMES: [&str; 3] = ["low", "moderate", "high"];

pub fn section(evaluation: &Evaluation) -> Value {
    let panels: Vec<Panel> = evaluation
        .methods
        .iter()
        .enumerate()
        .filter(|(_, method)| method.all.totals.images > 0)
        .map(|(place, method)| Panel { method: method.name.clone(), figure: confusion(place, method) })
        .collect();
    let mut table = side_by_side(evaluation, "Categories");
    table.row(cells(evaluation, "In the same category", |m| {
        Estimated::told(&m.all.totals.categories.accuracy).percent()
    }));
    table.row(cells(evaluation, "Kappa", |m| Estimated::told(&m.all.totals.categories.kappa_unweighted).value(3)));
    table.row(cells(evaluation, "Kappa, linear weights", |m| {
        Estimated::told(&m.all.totals.categories.kappa_linear).value(3)
    }));
    table.row(cells(evaluation, "Kappa, quadratic weights", |m| {
        Estimated::told(&m.all.totals.categories.kappa_quadratic).value(3)
    }));
    for (class, name) in NAMES.into_iter().enumerate() {
        table.row(cells(evaluation, &format!("Sensitivity, {name}"), |m| {
            let found = m.all.totals.categories.by_category.iter().find(|of| of.class == class);
            found.map(|of| Estimated::told(&of.sensitivity).percent()).unwrap_or_default()
        }));
        table.row(cells(evaluation, &format!("Specificity, {name}"), |m| {
            let found = m.all.totals.categories.by_category.iter().find(|of| of.class == class);
            found.map(|of| Estimated::told(&of.specificity).percent()).unwrap_or_default()
        }));
    }
    let table = table.noted("The plain share in the same category, not the average over classes of some papers.");
    context! { panels => shown(&panels), table => shown(&table) }
}

fn confusion(place: usize, method: &Method) -> Figure {
    const SIDE: f64 = 86.0;
    const LEFT: f64 = 112.0;
    const TOP: f64 = 34.0;
    let table = &method.all.totals.categories.confusion;
    let words: Vec<String> = NAMES
        .iter()
        .zip(table)
        .map(|(name, row)| format!("truth {name}: {} low, {} moderate, {} high", row[0], row[1], row[2]))
        .collect();
    let mut svg = Svg::new(
        &format!("confusion-{place}"),
        (400.0, TOP + 3.0 * SIDE + 30.0),
        &format!("Categories by {} against truth", method.name),
        &words.join("; "),
    );
    svg.text((LEFT + 1.5 * SIDE, 12.0), Anchor::Middle, "name", "Method");
    svg.text_upwards((16.0, TOP + 1.5 * SIDE), "name", "Truth");
    for (row, (name, counts)) in NAMES.iter().zip(table).enumerate() {
        let (y, sum) = (TOP + SIDE * row as f64, counts.iter().sum::<u64>());
        svg.text((LEFT - 10.0, y + SIDE / 2.0 + 4.5), Anchor::End, "label", name);
        svg.text((LEFT + SIDE * (row as f64 + 0.5), TOP - 8.0), Anchor::Middle, "label", name);
        for (column, n) in counts.iter().enumerate() {
            let x = LEFT + SIDE * column as f64;
            let share = if sum > 0 { *n as f64 / sum as f64 } else { 0.0 };
            svg.tinted((x, y), (SIDE, SIDE), share);
            let class = if share > 0.55 { "on-dark" } else { "on-light" };
            let middle = x + SIDE / 2.0;
            svg.text((middle, y + SIDE / 2.0), Anchor::Middle, class, &n.to_string());
            if sum > 0 {
                let said = format!("{:.0} %", 100.0 * share);
                svg.text((middle, y + SIDE / 2.0 + 18.0), Anchor::Middle, class, &said);
            }
        }
    }
    let accuracy = Estimated::told(&method.all.totals.categories.accuracy).percent();
    Figure { svg: svg.finish(), caption: format!("In the same category: {accuracy}") }
}

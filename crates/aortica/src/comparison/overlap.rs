//! Overlap of what a method outlined with the plaque that could be seen, beside how far a reader's annotation repeats.

use super::{cells, names, side_by_side};
use crate::page::charts::{Grouped, grouped_whiskers};
use crate::page::svg::Scale;
use crate::page::words::{Estimated, Figure, NOTHING, Table, fixed, shown};
use learning::evaluate::{Evaluation, MaskAgreement, Method};
use minijinja::{Value, context};

const WALLS: [&str; 3] = ["either", "anterior", "posterior"];

pub fn section(evaluation: &Evaluation) -> Value {
    let has_masks = evaluation.methods.iter().any(|method| !method.masks.is_empty());
    let mut table = side_by_side(evaluation, "Overlap by image");
    let mut rows = Vec::new();
    for wall in WALLS {
        table.heading(if wall == "either" {
            "Either wall"
        } else if wall == "anterior" {
            "Anterior"
        } else {
            "Posterior"
        });
        let of = |method: &Method, say: &dyn Fn(&MaskAgreement) -> String| {
            let found = method.masks.iter().find(|masks| masks.wall == wall);
            found.map_or(NOTHING.to_owned(), say)
        };
        table.row(cells(evaluation, "Images with calcium on either side", |m| {
            of(m, &|a| (a.images - a.both_empty).to_string())
        }));
        table.row(cells(evaluation, "Dice", |m| of(m, &|a| with_sd(&a.dice, a.dice_sd))));
        table.row(cells(evaluation, "Jaccard", |m| of(m, &|a| with_sd(&a.jaccard, a.jaccard_sd))));
        table.row(cells(evaluation, "Pixel accuracy", |m| of(m, &|a| with_sd(&a.accuracy, a.accuracy_sd))));
        table.row(cells(evaluation, "ASSD, mm", |m| of(m, &|a| Estimated::told(&a.assd_mm).value(2))));
        table.row(cells(evaluation, "HD95, mm", |m| of(m, &|a| Estimated::told(&a.hd95_mm).value(2))));
        let values = evaluation.methods.iter();
        let values =
            values.map(|m| Estimated::told(&m.masks.iter().find(|masks| masks.wall == wall)?.dice).interval(1.0));
        rows.push((if wall == "either" { "either wall" } else { wall }.to_owned(), values.collect()));
    }
    let svg = grouped_whiskers(
        ("dice-chart", "Mean Dice by wall", "Values are in the table below."),
        &Scale { from: 0.0, to: 1.0, name: "Dice, mean by image" },
        &Grouped { series: &names(evaluation), rows: &rows },
    );
    let figure = has_masks.then(|| Figure { svg, caption: "Mean Dice with its confidence interval.".to_owned() });
    let mut repeat = Table::new("A simulated reader's annotation, repeated", &["Reader", "Images", "Dice", "SD"]);
    for reader in &evaluation.repeat_dice {
        let dice = Estimated::told(&reader.dice);
        let sd = reader.dice_sd.map_or(NOTHING.to_owned(), |sd| fixed(sd, 3));
        repeat.row([reader.reader.clone(), dice.n.to_string(), dice.value(3), sd]);
    }
    let repeat = (!repeat.rows.is_empty()).then_some(repeat);
    context! { has_masks, figure => shown(figure), table => shown(&table), repeat => shown(repeat) }
}

fn with_sd(mean: &statistics::Estimate, sd: Option<f64>) -> String {
    let sd = sd.map_or(String::new(), |sd| format!("\nSD {}", fixed(sd, 3)));
    format!("{}{sd}", Estimated::told(mean).value(3))
}

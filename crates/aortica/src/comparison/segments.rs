//! The eight grades one by one, by level and by wall.

use super::{cells, names, side_by_side};
use crate::page::charts::{Grouped, GroupedRow, grouped_whiskers};
use crate::page::svg::Scale;
use crate::page::words::{Estimated, Figure, shown};
use learning::evaluate::Evaluation;
use minijinja::{Value, context};

pub fn section(evaluation: &Evaluation) -> Value {
    let mut agreement = side_by_side(evaluation, "Segments with the grade of truth");
    let mut kappa = side_by_side(evaluation, "Kappa of the grades, quadratic weights");
    let mut rows = Vec::new();
    let places = evaluation.methods.first().map_or(0, |method| method.all.segments.len());
    for place in 0..places {
        let label = in_words(&evaluation.methods[0].all.segments[place].of);
        agreement.row(cells(evaluation, &label, |m| Estimated::told(&m.all.segments[place].same).percent()));
        kappa.row(cells(evaluation, &label, |m| Estimated::told(&m.all.segments[place].kappa_quadratic).value(3)));
        let values = evaluation.methods.iter();
        let values = values.map(|m| Estimated::told(&m.all.segments[place].same).interval(100.0)).collect();
        rows.push((label, values));
    }
    let lowest = rows.iter().flat_map(|(_, values): &GroupedRow| values.iter().flatten());
    let lowest = lowest.map(|(_, low, _)| *low).fold(100.0, f64::min);
    let svg = grouped_whiskers(
        ("segment-chart", "Segments with the grade of truth", "Values are in the table below."),
        &Scale {
            from: (lowest / 10.0).floor() * 10.0,
            to: 100.0,
            name: "Same grade as truth, % of segments that both graded",
        },
        &Grouped { series: &names(evaluation), rows: &rows },
    );
    let caption = "Share of segments with the grade of truth.".to_owned();
    context! { figure => shown(Figure { svg, caption }), agreement => shown(&agreement), kappa => shown(&kappa) }
}

/// `aac_l1_ant` as "L1 anterior".
fn in_words(of: &str) -> String {
    let words: Vec<String> = of
        .split('_')
        .filter(|word| *word != "aac")
        .map(|word| match word {
            "ant" => "anterior".to_owned(),
            "post" => "posterior".to_owned(),
            level if level.len() == 2 && level.starts_with('l') => level.to_uppercase(),
            word => word.to_owned(),
        })
        .collect();
    words.join(" ")
}

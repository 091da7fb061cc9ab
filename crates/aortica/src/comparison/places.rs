//! The same by scanner and by site: where a method does worse.

use super::{cells, names, side_by_side};
use crate::page::charts::{Grouped, GroupedRow, grouped_whiskers};
use crate::page::svg::Scale;
use crate::page::words::{Estimated, Figure, NOTHING, Table, shown};
use learning::evaluate::{Agreement, Evaluation, Method};
use minijinja::{Value, context};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

type Groups = BTreeMap<String, Agreement>;

#[derive(Serialize)]
struct Place {
    title: &'static str,
    figure: Figure,
    table: Table,
}

pub fn section(evaluation: &Evaluation) -> Value {
    type Of = fn(&Method) -> &Groups;
    let kinds: [(&str, &str, Of); 3] = [
        ("maker", "Scanner maker", |m| &m.by_scanner_maker),
        ("model", "Scanner model", |m| &m.by_scanner_model),
        ("site", "Site", |m| &m.by_site),
    ];
    let places: Vec<Place> = kinds.into_iter().map(|(id, title, of)| place(evaluation, (id, title), of)).collect();
    context! { places => shown(&places) }
}

fn place(evaluation: &Evaluation, (id, title): (&str, &'static str), of: fn(&Method) -> &Groups) -> Place {
    let groups: BTreeSet<&String> = evaluation.methods.iter().flat_map(|m| of(m).keys()).collect();
    let mut table = side_by_side(evaluation, format!("{title}: agreement with truth"));
    let mut rows = Vec::new();
    for group in groups {
        let images = evaluation.methods.iter().find_map(|m| of(m).get(group)).map_or(0, |a| a.scored.n);
        table.heading(format!("{group} (n = {images})"));
        let mut add = |name: &str, say: fn(&Agreement) -> String| {
            table.row(cells(evaluation, name, |m| of(m).get(group).map_or(NOTHING.to_owned(), say)));
        };
        add("Scored", |a| Estimated::told(&a.scored).percent());
        add("R\u{b2}, identity line", |a| Estimated::told(&a.totals.r2.identity).value(3));
        add("ICC(2,1)", |a| Estimated::told(&a.totals.icc_2_1).value(3));
        add("Mean absolute error, points", |a| Estimated::told(&a.totals.difference.mae).value(2));
        add("Bias, points", |a| Estimated::told(&a.totals.difference.bias).value(2));
        add("In the same category", |a| Estimated::told(&a.totals.categories.accuracy).percent());
        let error = |m: &Method| Estimated::told(&of(m).get(group)?.totals.difference.mae).interval(1.0);
        rows.push((group.clone(), evaluation.methods.iter().map(error).collect()));
    }
    let highest = rows.iter().flat_map(|(_, values): &GroupedRow| values.iter().flatten());
    let highest = highest.map(|(value, _, high)| high.min(2.5 * value)).fold(1.0, f64::max);
    let name = format!("Mean absolute error by {}", title.to_lowercase());
    let svg = grouped_whiskers(
        (&format!("{id}-chart"), &name, "Values are in the table below."),
        &Scale { from: 0.0, to: highest, name: "Mean absolute error, points" },
        &Grouped { series: &names(evaluation), rows: &rows },
    );
    Place { title, figure: Figure { svg, caption: format!("{name}.") }, table }
}

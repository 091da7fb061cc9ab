//! Is a method as close to the first reader as the second reader is?

use super::{cells, side_by_side};
use crate::page::charts::{Whisker, whiskers};
use crate::page::svg::Scale;
use crate::page::words::{Estimated, Figure, NOTHING, shown};
use learning::evaluate::{AgainstReader, BesideReader, Evaluation, Method};
use minijinja::{Value, context};

pub fn section(evaluation: &Evaluation) -> Value {
    let Some(first) = evaluation.methods.iter().find_map(|method| method.readers.as_ref()) else {
        return context! { reader => (), other => (), figure => (), table => () };
    };
    let other = first.other.as_ref().map(|other| other.reader.clone());
    let mut table = side_by_side(evaluation, format!("Against reader {}", first.reader));
    let against = |method: &Method, say: &dyn Fn(&AgainstReader) -> String| {
        method.readers.as_ref().map_or(NOTHING.to_owned(), say)
    };
    let beside = |method: &Method, say: &dyn Fn(&BesideReader) -> String| {
        method.readers.as_ref().and_then(|r| r.other.as_ref()).map_or(NOTHING.to_owned(), say)
    };
    table.row(cells(evaluation, "Images", |m| against(m, &|r| r.totals.images.to_string())));
    table.row(cells(evaluation, "ICC(2,1)", |m| against(m, &|r| Estimated::told(&r.totals.icc_2_1).value(3))));
    table.row(cells(evaluation, "Mean absolute difference, points", |m| {
        against(m, &|r| Estimated::told(&r.totals.difference.mae).value(2))
    }));
    table.row(cells(evaluation, "Bias, points", |m| {
        against(m, &|r| Estimated::told(&r.totals.difference.bias).value(2))
    }));
    let mut rows = Vec::new();
    if let Some(name) = &other {
        let same = |m: &Method, of: fn(&BesideReader) -> &statistics::Estimate| {
            beside(m, &|b| Estimated::told(of(b)).value(3))
        };
        table.heading(format!("On the images that reader {name} read too"));
        table.row(cells(evaluation, &format!("ICC(2,1) of reader {name}"), |m| same(m, |b| &b.icc_of_readers)));
        table.row(cells(evaluation, "ICC(2,1) of the method", |m| same(m, |b| &b.icc_of_method)));
        table.row(cells(evaluation, "Method less reader", |m| same(m, |b| &b.difference)));
        table.row(cells(evaluation, "No worse (limit above \u{2212}.02)", |m| {
            beside(m, &|b| b.no_worse.map_or(NOTHING, |fine| if fine { "yes" } else { "no" }).to_owned())
        }));
        for (series, method) in evaluation.methods.iter().enumerate() {
            let difference =
                method.readers.as_ref().and_then(|r| r.other.as_ref()).map(|b| Estimated::told(&b.difference));
            if let Some(difference) = difference {
                let (value, said) = (difference.interval(1.0), difference.value(3));
                rows.push(Whisker { label: method.name.clone(), series, value, said });
            }
        }
    }
    let ends = |start: f64, edge: fn(f64, f64) -> f64, of: fn((f64, f64, f64)) -> f64| {
        rows.iter().filter_map(|row| row.value).map(of).fold(start, edge)
    };
    let (low, high) = (ends(-0.05, f64::min, |v| v.1), ends(0.05, f64::max, |v| v.2));
    let figure = (!rows.is_empty()).then(|| {
        let svg = whiskers(
            ("reader-chart", "ICC of each method less that of the second reader", "Values are at the right."),
            &Scale { from: low, to: high, name: "Difference of ICC(2,1) with the first reader" },
            &rows,
        );
        let caption = "To the right of 0 a method is closer to the first reader than the second reader is.".to_owned();
        Figure { svg, caption }
    });
    context! { reader => &first.reader, other, figure => shown(figure), table => shown(&table) }
}

//! Totals against truth: scatter and Bland-Altman plot of each method, on the same axes.

use super::{Panel, cells, side_by_side};
use crate::page::charts::{Differences, bland_altman, radius, reach};
use crate::page::svg::{Plot, Scale, Size};
use crate::page::words::{Estimated, Figure, NOTHING, fixed, p_value, shown};
use learning::evaluate::{Evaluation, Method};
use minijinja::{Value, context};

const SIZE: Size = Size { width: 400.0, height: 360.0, below: 0.0, ticks_down: 6 };
/// Where categories begin, points.
const CUTS: [f64; 2] = [2.0, 6.0];

pub fn section(evaluation: &Evaluation) -> Value {
    let largest = evaluation.methods.iter().flat_map(|method| &method.all.totals.pairs);
    let largest = largest.map(|pair| pair.reference.max(pair.model)).max().unwrap_or(0).max(8);
    let told: Vec<[Estimated; 3]> = evaluation
        .methods
        .iter()
        .map(|method| {
            let d = &method.all.totals.difference;
            [&d.bias, &d.lower_limit, &d.upper_limit].map(Estimated::told)
        })
        .collect();
    let spots: Vec<Vec<(f64, f64, u64)>> = evaluation.methods.iter().map(spots).collect();
    let differences: Vec<Differences> = spots
        .iter()
        .zip(&told)
        .map(|(spots, [bias, lower, upper])| Differences { spots, bias, lower, upper })
        .collect();
    // the same axes for all, so that they can be compared by eye
    let furthest = differences.iter().map(reach).fold(1.0, f64::max);
    let mut scatter = Vec::new();
    let mut agreement = Vec::new();
    for (place, (method, differences)) in evaluation.methods.iter().zip(&differences).enumerate() {
        if method.all.totals.pairs.is_empty() {
            continue;
        }
        scatter.push(Panel { method: method.name.clone(), figure: against_truth(place, method, f64::from(largest)) });
        let bias = Estimated::told(&method.all.totals.difference.bias);
        let said = format!(
            "Difference of {} and truth against their mean, {} images; bias {}, limits of agreement {} and {}.",
            method.name,
            bias.n,
            bias.value(2),
            differences.lower.value(2),
            differences.upper.value(2)
        );
        let svg = bland_altman(
            (&format!("difference-{place}"), &format!("Bland-Altman plot of {}", method.name), &said),
            SIZE,
            differences,
            (f64::from(largest), furthest),
            ("Mean of method and truth, points", "Method \u{2212} truth, points"),
        );
        let caption = format!("Bias {}", bias.value(2));
        agreement.push(Panel { method: method.name.clone(), figure: Figure { svg, caption } });
    }
    context! { scatter => shown(&scatter), agreement => shown(&agreement), table => shown(measures(evaluation)) }
}

fn spots(method: &Method) -> Vec<(f64, f64, u64)> {
    let mut spots: std::collections::BTreeMap<(u8, i16), u64> = std::collections::BTreeMap::new();
    for pair in &method.all.totals.pairs {
        let place = (pair.reference + pair.model, i16::from(pair.model) - i16::from(pair.reference));
        *spots.entry(place).or_default() += pair.images;
    }
    spots.into_iter().map(|((sum, difference), n)| (f64::from(sum) / 2.0, f64::from(difference), n)).collect()
}

fn against_truth(place: usize, method: &Method, largest: f64) -> Figure {
    let totals = &method.all.totals;
    let r2 = |e| Estimated::told(e).point(3);
    let caption = format!(
        "R\u{b2} {} about the identity line, {} of the regression line, {} through the origin (centred); n\u{a0}=\u{a0}{}",
        r2(&totals.r2.identity),
        r2(&totals.r2.ols),
        r2(&totals.r2.origin_centred),
        totals.images
    );
    let (from, to) = (-0.8, largest + 0.8);
    let mut plot = Plot::sized(
        (&format!("scatter-{place}"), &format!("AAC-24 by {} against truth", method.name), &caption),
        SIZE,
        &Scale { from, to, name: "Truth, points" },
        &Scale { from, to, name: "Method, points" },
    );
    for cut in CUTS {
        // between two whole totals
        let (start, end) = (plot.at(from, cut - 0.5), plot.at(to, cut - 0.5));
        plot.svg.line(start, end, "cut");
        let (start, end) = (plot.at(cut - 0.5, from), plot.at(cut - 0.5, to));
        plot.svg.line(start, end, "cut");
    }
    let (start, end) = (plot.at(0.0, 0.0), plot.at(largest, largest));
    plot.svg.line(start, end, "mean");
    for pair in &totals.pairs {
        let at = plot.at(f64::from(pair.reference), f64::from(pair.model));
        let said = format!("truth {}, method {}: {}", pair.reference, pair.model, pair.images);
        plot.svg.marker(0, at, radius(pair.images), &said);
    }
    Figure { svg: plot.svg.finish(), caption }
}

fn measures(evaluation: &Evaluation) -> crate::page::words::Table {
    let mut table = side_by_side(evaluation, "Agreement with truth");
    let value = |of: &statistics::Estimate, digits| Estimated::told(of).value(digits);
    table.row(cells(evaluation, "Images with both totals", |m| m.all.totals.images.to_string()));
    table.row(cells(evaluation, "R\u{b2}, identity line", |m| value(&m.r2_identity, 3)));
    table.row(cells(evaluation, "ICC(2,1)", |m| value(&m.all.totals.icc_2_1, 3)));
    table.row(cells(evaluation, "Mean absolute error, points", |m| value(&m.all.totals.difference.mae, 2)));
    table.row(cells(evaluation, "Bias, points", |m| value(&m.all.totals.difference.bias, 2)));
    table.row(cells(evaluation, "Limits of agreement, points", |m| {
        let d = &m.all.totals.difference;
        let point = |of: &statistics::Estimate| Estimated::told(of).point(2);
        format!("{} to {}", point(&d.lower_limit), point(&d.upper_limit))
    }));
    table.row(cells(evaluation, "Wilcoxon, p", |m| p_value(m.all.totals.wilcoxon.test.p_value)));
    table.row(cells(evaluation, "Differs at .05/3", |m| {
        m.all.totals.differs.map_or(NOTHING, |differs| if differs { "yes" } else { "no" }).to_owned()
    }));
    table.row(cells(evaluation, "AAC-24 above 0, truth", |m| {
        Estimated::told(&m.all.totals.prevalence_reference).percent()
    }));
    table.row(cells(evaluation, "AAC-24 above 0, method", |m| {
        Estimated::told(&m.all.totals.prevalence_model).percent()
    }));
    let level = evaluation.methods.first().map_or(0.95, |m| m.all.totals.r2.identity.conf_level);
    table.noted(format!("In brackets: {} % confidence intervals.", fixed(100.0 * level, 0)))
}

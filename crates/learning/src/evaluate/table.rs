//! The evaluation as text: methods side by side, then each method by scanner and site.

use super::{Agreement, Evaluation, Method};
use statistics::Estimate;
use std::collections::BTreeMap;
use std::fmt::Write;

const NAME_WIDTH: usize = 38;
const COLUMN_WIDTH: usize = 24;
const GROUP_WIDTH: usize = 14;

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".into(), |v| format!("{v:.digits$}"))
}

/// `estimate [low, high]`, all three times `scale`.
fn interval(of: &Estimate, scale: f64, digits: usize) -> String {
    let scaled = |v: Option<f64>| v.map(|v| v * scale);
    let value = number(scaled(of.estimate), digits);
    match (of.conf_low, of.conf_high) {
        (Some(low), Some(high)) => format!("{value} [{:.digits$}, {:.digits$}]", low * scale, high * scale),
        _ => value,
    }
}

/// Mean and standard deviation across images.
fn spread(mean: &Estimate, sd: Option<f64>) -> String {
    format!("{} (SD {})", number(mean.estimate, 3), number(sd, 3))
}

impl Evaluation {
    /// Every measure by name, with its value for each method in their order: `value [low, high]`.
    pub fn measures(&self) -> Vec<(String, Vec<String>)> {
        let lines = method_lines().into_iter();
        lines.map(|(name, of)| (name, self.methods.iter().map(of).collect())).collect()
    }

    /// Plain tables, one line per measure.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mix = &self.case_mix;
        let _ = writeln!(
            text,
            "case mix: {} images, {} of them negatives, {} assessable: {} of total 0, {} low, {} moderate, {} high, mean {}\n",
            mix.images,
            mix.negatives,
            mix.assessable,
            mix.total_zero,
            mix.low,
            mix.moderate,
            mix.high,
            number(mix.mean_total, 2)
        );
        for reader in &self.repeat_dice {
            let said = spread(&reader.dice, reader.dice_sd);
            let _ = writeln!(
                text,
                "reader {} again: Dice of what was marked twice {said}, {} images",
                reader.reader, reader.dice.n
            );
        }
        let columns: Vec<(&str, &Method)> = self.methods.iter().map(|m| (m.name.as_str(), m)).collect();
        lines(&mut text, "", &columns, COLUMN_WIDTH, &method_lines());
        for method in &self.methods {
            let scored = |groups: &BTreeMap<String, Agreement>| groups.len() > 1;
            for (title, groups) in [
                ("scanner maker", &method.by_scanner_maker),
                ("scanner model", &method.by_scanner_model),
                ("site", &method.by_site),
            ] {
                if scored(groups) {
                    let columns: Vec<(&str, &Agreement)> = groups.iter().map(|(n, a)| (n.as_str(), a)).collect();
                    let _ = writeln!(text, "\n{} by {title}", method.name);
                    lines(&mut text, "", &columns, GROUP_WIDTH, &group_lines());
                }
            }
        }
        text
    }
}

type Line<T> = (String, Box<dyn Fn(&T) -> String>);

fn lines<T>(text: &mut String, corner: &str, columns: &[(&str, &T)], width: usize, lines: &[Line<T>]) {
    let _ = write!(text, "{corner:<NAME_WIDTH$}");
    for (name, _) in columns {
        let _ = write!(text, "{:>width$}", name.chars().take(width - 1).collect::<String>());
    }
    text.push('\n');
    for (name, of) in lines {
        let _ = write!(text, "{name:<NAME_WIDTH$}");
        for (_, column) in columns {
            let _ = write!(text, "{:>width$}", of(column));
        }
        text.push('\n');
    }
}

fn line<T>(name: &str, of: impl Fn(&T) -> String + 'static) -> Line<T> {
    (name.to_owned(), Box::new(of))
}

fn method_lines() -> Vec<Line<Method>> {
    let mut found: Vec<Line<Method>> = vec![
        line("images without a row", |m: &Method| m.without_row.to_string()),
        line("negatives excluded %", |m: &Method| interval(&m.negatives_excluded, 100.0, 1)),
        line("assessable images", |m: &Method| m.all.scored.n.to_string()),
        line("scored %", |m: &Method| interval(&m.all.scored, 100.0, 1)),
        line("segments falsely not assessable %", |m: &Method| {
            interval(&m.all.assessability.falsely_not_assessable, 100.0, 2)
        }),
        line("segments falsely assessed %", |m: &Method| interval(&m.all.assessability.falsely_assessed, 100.0, 1)),
        line("corner error, mean % of height", |m: &Method| number(m.all.localisation.corner_error_pct.estimate, 2)),
        line("corner error, median %", |m: &Method| number(m.all.localisation.corner_error_median_pct, 2)),
        line("corner error, 95th percentile %", |m: &Method| number(m.all.localisation.corner_error_p95_pct, 2)),
        line("level shifted %", |m: &Method| interval(&m.all.localisation.level_shifted, 100.0, 2)),
        line("images with both totals", |m: &Method| m.all.totals.images.to_string()),
        line("R2, identity line", |m: &Method| interval(&m.r2_identity, 1.0, 3)),
        line("R2, least squares", |m: &Method| interval(&m.all.totals.r2.ols, 1.0, 3)),
        line("R2, through origin, centred", |m: &Method| interval(&m.all.totals.r2.origin_centred, 1.0, 3)),
        line("R2, through origin, uncentred", |m: &Method| interval(&m.all.totals.r2.origin_uncentred, 1.0, 3)),
        line("ICC(2,1)", |m: &Method| interval(&m.all.totals.icc_2_1, 1.0, 3)),
        line("ICC(3,1)", |m: &Method| interval(&m.all.totals.icc_3_1, 1.0, 3)),
        line("Lin's concordance", |m: &Method| interval(&m.all.totals.concordance, 1.0, 3)),
        line("Pearson", |m: &Method| interval(&m.all.totals.pearson, 1.0, 3)),
        line("Spearman", |m: &Method| interval(&m.all.totals.spearman, 1.0, 3)),
        line("mean absolute error", |m: &Method| interval(&m.all.totals.difference.mae, 1.0, 2)),
        line("bias (read - truth)", |m: &Method| interval(&m.all.totals.difference.bias, 1.0, 2)),
        line("limits of agreement", |m: &Method| {
            let d = &m.all.totals.difference;
            format!("{} to {}", number(d.lower_limit.estimate, 2), number(d.upper_limit.estimate, 2))
        }),
        line("Wilcoxon p (differs below .0167)", |m: &Method| number(m.all.totals.wilcoxon.test.p_value, 4)),
        line("kappa of totals, linear", |m: &Method| interval(&m.all.totals.kappa_linear, 1.0, 3)),
        line("kappa of totals, quadratic", |m: &Method| interval(&m.all.totals.kappa_quadratic, 1.0, 3)),
        line("category accuracy %", |m: &Method| interval(&m.all.totals.categories.accuracy, 100.0, 1)),
        line("kappa of categories, linear", |m: &Method| interval(&m.all.totals.categories.kappa_linear, 1.0, 3)),
        line("P(total 0 | truth 0)", |m: &Method| interval(&m.all.totals.zero_given_zero, 1.0, 3)),
        line("prevalence of calcium %, truth", |m: &Method| interval(&m.all.totals.prevalence_reference, 100.0, 1)),
        line("prevalence of calcium %, read", |m: &Method| interval(&m.all.totals.prevalence_model, 100.0, 1)),
        line("prevalence of calcium %, expected", |m: &Method| {
            m.all.certainty.prevalence_expected.as_ref().map_or("-".into(), |of| interval(of, 100.0, 1))
        }),
    ];
    for (place, name) in [(0, "segment agreement %"), (9, "  L1"), (10, "  L2"), (11, "  L3"), (12, "  L4")] {
        found.push(line(name, move |m: &Method| interval(&m.all.segments[place].same, 100.0, 1)));
    }
    for (place, name) in [(13, "  anterior"), (14, "  posterior")] {
        found.push(line(name, move |m: &Method| interval(&m.all.segments[place].same, 100.0, 1)));
    }
    for (place, wall) in ["either wall", "anterior", "posterior"].into_iter().enumerate() {
        let mask = move |m: &Method, of: fn(&super::MaskAgreement) -> String| m.masks.get(place).map_or("-".into(), of);
        found.push(line(&format!("Dice, {wall}"), move |m| mask(m, |a| spread(&a.dice, a.dice_sd))));
        found.push(line(&format!("Jaccard, {wall}"), move |m| mask(m, |a| spread(&a.jaccard, a.jaccard_sd))));
        found.push(line(&format!("pixel accuracy, {wall}"), move |m| mask(m, |a| spread(&a.accuracy, a.accuracy_sd))));
        found.push(line(&format!("Dice of all pixels, {wall}"), move |m| mask(m, |a| number(a.micro_dice, 3))));
        found.push(line(&format!("HD95 mm, {wall}"), move |m| mask(m, |a| interval(&a.hd95_mm, 1.0, 2))));
        found.push(line(&format!("ASSD mm, {wall}"), move |m| mask(m, |a| interval(&a.assd_mm, 1.0, 2))));
    }
    found.extend([
        line("calibration error of segments", |m: &Method| number(m.all.certainty.expected_calibration_error, 3)),
        line("  P(above 0), P(above 1), P(above 2)", |m: &Method| {
            m.all.certainty.exceeds_calibration_error.map(|error| number(error, 3)).join(" ")
        }),
        interval_line("95 % interval holds the total %", None),
        interval_line("  true total 0", Some(0)),
        interval_line("  true total 1", Some(1)),
        interval_line("  true total 2-5", Some(2)),
        interval_line("  true total 6-11", Some(3)),
        interval_line("  true total 12-24", Some(4)),
        line("  mean width, points", |m: &Method| {
            number(m.all.certainty.interval.as_ref().and_then(|of| of.all.mean_width), 2)
        }),
        line("flagged for review %", |m: &Method| interval(&m.all.certainty.flag.flagged, 100.0, 1)),
        line("  category errors found %", |m: &Method| interval(&m.all.certainty.flag.category_errors_found, 100.0, 1)),
        line("  low for high or reverse found %", |m: &Method| {
            interval(&m.all.certainty.flag.low_high_found, 100.0, 1)
        }),
        line("most doubtful 20 %: errors found %", |m: &Method| {
            interval(&m.all.certainty.most_doubtful_fifth.category_errors_found, 100.0, 1)
        }),
        line("  low for high or reverse found %", |m: &Method| {
            interval(&m.all.certainty.most_doubtful_fifth.low_high_found, 100.0, 1)
        }),
        line("ICC(2,1) with the first reader", |m: &Method| {
            m.readers.as_ref().map_or("-".into(), |r| interval(&r.totals.icc_2_1, 1.0, 3))
        }),
        line("  of the second reader with the first", |m: &Method| {
            let other = m.readers.as_ref().and_then(|r| r.other.as_ref());
            other.map_or("-".into(), |o| interval(&o.icc_of_readers, 1.0, 3))
        }),
        line("  method less second reader", |m: &Method| {
            let other = m.readers.as_ref().and_then(|r| r.other.as_ref());
            other.map_or("-".into(), |o| interval(&o.difference, 1.0, 3))
        }),
    ]);
    for (place, category) in ["moderate", "high"].into_iter().enumerate() {
        let of = move |m: &Method, of: fn(&super::Hazards) -> &Vec<Estimate>| {
            let found = m.hazards.as_ref().and_then(|hazards| of(hazards).get(place));
            found.map_or("-".into(), |ratio| interval(ratio, 1.0, 2))
        };
        found.push(line(&format!("hazard ratio, {category}, truth"), move |m: &Method| of(m, |h| &h.reference)));
        found.push(line(&format!("hazard ratio, {category}, read"), move |m: &Method| of(m, |h| &h.model)));
    }
    found
}

/// Coverage of all images, or of a band of the true total with its mean width.
fn interval_line(name: &str, band: Option<usize>) -> Line<Method> {
    line(name, move |m: &Method| {
        let Some(of) = &m.all.certainty.interval else { return "-".into() };
        match band.map(|place| &of.by_band[place]) {
            None => interval(&of.all.covered, 100.0, 1),
            Some(band) => {
                let covered = number(band.covered.estimate.map(|share| 100.0 * share), 1);
                format!("{covered} (width {})", number(band.mean_width, 2))
            }
        }
    })
}

fn group_lines() -> Vec<Line<Agreement>> {
    vec![
        line("assessable images", |a: &Agreement| a.scored.n.to_string()),
        line("scored %", |a: &Agreement| number(a.scored.estimate.map(|v| 100.0 * v), 1)),
        line("corner error, mean % of height", |a: &Agreement| number(a.localisation.corner_error_pct.estimate, 2)),
        line("level shifted %", |a: &Agreement| number(a.localisation.level_shifted.estimate.map(|v| 100.0 * v), 2)),
        line("images with both totals", |a: &Agreement| a.totals.images.to_string()),
        line("R2, identity line", |a: &Agreement| number(a.totals.r2.identity.estimate, 3)),
        line("ICC(2,1)", |a: &Agreement| number(a.totals.icc_2_1.estimate, 3)),
        line("mean absolute error", |a: &Agreement| number(a.totals.difference.mae.estimate, 2)),
        line("bias (read - truth)", |a: &Agreement| number(a.totals.difference.bias.estimate, 2)),
        line("category accuracy %", |a: &Agreement| {
            number(a.totals.categories.accuracy.estimate.map(|v| 100.0 * v), 1)
        }),
        line("segment agreement %", |a: &Agreement| number(a.segments[0].same.estimate.map(|v| 100.0 * v), 1)),
    ]
}

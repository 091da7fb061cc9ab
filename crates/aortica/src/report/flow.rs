//! From items received to participants analysed, with one reason for each that is left out.

use super::Report;
use super::svg::{Anchor, Svg};
use super::words::{Figure, Table, count, plain, share, shown, text};
use crate::cli::Visit;
use crate::cohort::Row;
use crate::statements;
use minijinja::{Value, context};

/// One box of the middle column, with what left before it.
struct Stage {
    name: &'static str,
    n: u64,
    /// What left between the box above and this one.
    left: Vec<(String, u64)>,
}

fn n_of(rows: &[Row], step: &str) -> u64 {
    super::words::find(rows, &[("step", step)]).map_or(0, |row| count(row, "n"))
}

/// Reasons of a status, the commonest first.
fn reasons(rows: &[Row], status: &str) -> Vec<(String, u64)> {
    let of = |row: &Row| {
        let step = text(row, "step")?;
        let reason = step.strip_prefix(status)?;
        (reason.is_empty() || reason.starts_with(": "))
            .then(|| (plain(reason.strip_prefix(": ").unwrap_or(status)), count(row, "n")))
    };
    let mut found: Vec<(String, u64)> = rows.iter().filter_map(of).collect();
    found.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    found
}

fn total(parts: &[(String, u64)]) -> u64 {
    parts.iter().map(|(_, n)| n).sum()
}

fn left(name: &str, before: u64, after: u64) -> Vec<(String, u64)> {
    vec![(name.to_owned(), before.saturating_sub(after))]
}

pub async fn section(report: &mut Report<'_>) -> anyhow::Result<Value> {
    let sql = statements::flow(&report.cohort.fingerprint, report.cohort.has_file);
    let rows = report.ask("flow", &sql).await?;
    let n = |step: &str| n_of(&rows, step);
    let (failed, excluded, pending) = (reasons(&rows, "failed"), reasons(&rows, "excluded"), reasons(&rows, "pending"));
    let (received, scored) = (n("items received"), n("scored"));
    let people = n("participants with a primary image");
    let mut unread = failed.clone();
    unread.extend(pending.iter().map(|(_, n)| ("not read yet".to_owned(), *n)));
    let mut stages = vec![
        Stage { name: "Images received", n: received, left: Vec::new() },
        Stage { name: "Images read", n: received.saturating_sub(total(&unread)), left: unread },
        Stage { name: "Lateral spine, scored", n: scored, left: excluded.clone() },
        Stage {
            name: match report.args.cohort.visit {
                Visit::Latest => "Participants, image of the latest visit",
                Visit::First => "Participants, image of the first visit",
            },
            n: people,
            left: left("further images of a participant", scored, people),
        },
    ];
    let known = n("participants with a known category");
    stages.push(Stage {
        name: "Category known",
        n: known,
        left: left("segments not assessed leave it open", people, known),
    });
    let total_known = n("participants with all segments assessed");
    stages.push(Stage {
        name: "All segments assessed, total known",
        n: total_known,
        left: left("category known, total not", known, total_known),
    });
    let analysed = n("participants analysed");
    if report.cohort.has_file {
        stages.push(Stage {
            name: "Linked to the file",
            n: analysed,
            left: left("not in the file", total_known, analysed),
        });
    }
    report.fact("received", received.to_string());
    report.fact("scored", share(scored, received));
    report.fact("excluded", share(total(&excluded), received));
    report.fact("failed", share(total(&failed), received));
    report.fact("participants", people.to_string());
    report.fact("visit", report.args.cohort.visit.name());
    report.fact("categories", share(known, people));
    report.fact("totals", share(analysed, people));

    let mut table = Table::new("Images and participants at each step", &["Step", "n", "Left out before it"]);
    for stage in &stages {
        let out: Vec<String> =
            stage.left.iter().filter(|(_, n)| *n > 0).map(|(reason, n)| format!("{reason}: {n}")).collect();
        let out = if out.is_empty() { super::words::NOTHING.to_owned() } else { out.join("; ") };
        table.row([stage.name.to_owned(), stage.n.to_string(), out]);
    }
    let figure = Figure {
        svg: drawing(&stages),
        caption: "Flow of images and participants. One primary reason each.".to_owned(),
    };
    Ok(
        context! { figure => shown(&figure), table => shown(&table), linked => report.cohort.has_file, visit => report.args.cohort.visit.name() },
    )
}

/// Boxes one under the other, what left at the right.
fn drawing(stages: &[Stage]) -> String {
    const BOX: f64 = 270.0;
    const OUT: f64 = 340.0;
    const LINE: f64 = 18.0;
    const GAP: f64 = 22.0;
    const LINES_MAX: usize = 8;
    let said: Vec<Vec<String>> = stages.iter().map(|stage| leaving(&stage.left, LINES_MAX)).collect();
    let out_height = |lines: &[String]| if lines.is_empty() { 0.0 } else { LINE * lines.len() as f64 + 14.0 };
    let between: Vec<f64> = said.iter().map(|lines| (out_height(lines) + 16.0).max(GAP)).collect();
    let height = 20.0 + stages.iter().zip(&between).map(|(_, gap)| gap + 50.0).sum::<f64>();
    let words: Vec<String> = stages.iter().map(|s| format!("{}: {}", s.name, s.n)).collect();
    let mut svg = Svg::new("flow-chart", (720.0, height), "Flow of images and participants", &words.join("; "));
    let mut y = 4.0;
    for (place, stage) in stages.iter().enumerate() {
        if place > 0 {
            let (top, middle) = (y, y + between[place] / 2.0);
            y += between[place];
            svg.arrow((10.0 + BOX / 2.0, top), (10.0 + BOX / 2.0, y));
            let lines = &said[place];
            if !lines.is_empty() {
                let size = out_height(lines);
                svg.arrow((10.0 + BOX / 2.0, middle), (360.0, middle));
                svg.rect((360.0, middle - size / 2.0), (OUT, size), "box out");
                for (line, words) in lines.iter().enumerate() {
                    let at = (372.0, middle - size / 2.0 + 20.0 + LINE * line as f64);
                    svg.text(at, Anchor::Start, if line == 0 { "strong" } else { "small" }, words);
                }
            }
        }
        svg.rect((10.0, y), (BOX, 50.0), "box");
        svg.text((10.0 + BOX / 2.0, y + 21.0), Anchor::Middle, "label", stage.name);
        svg.text((10.0 + BOX / 2.0, y + 39.0), Anchor::Middle, "strong", &format!("n = {}", stage.n));
        y += 50.0;
    }
    svg.finish()
}

/// What left, a line each: the sum first where there are several reasons, the rarest together where there are many.
fn leaving(left: &[(String, u64)], lines_max: usize) -> Vec<String> {
    let left: Vec<&(String, u64)> = left.iter().filter(|(_, n)| *n > 0).collect();
    let line = |(reason, n): &(String, u64)| format!("{reason}: {n}");
    if left.len() < 2 {
        return left.into_iter().map(line).collect();
    }
    let mut lines = vec![format!("left out: {}", left.iter().map(|(_, n)| n).sum::<u64>())];
    let shown = if left.len() > lines_max - 1 { lines_max - 2 } else { left.len() };
    lines.extend(left[..shown].iter().map(|part| line(part)));
    if shown < left.len() {
        let rest: u64 = left[shown..].iter().map(|(_, n)| n).sum();
        lines.push(format!("{} other reasons: {rest}", left.len() - shown));
    }
    lines
}

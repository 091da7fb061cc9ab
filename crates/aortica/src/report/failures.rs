//! Images that have no score, and readings that ask for a person.

use super::Report;
use super::svg::{Anchor, Svg};
use super::words::{Figure, Table, count, plain, share, shown, text};
use crate::cohort::Row;
use minijinja::{Value, context};

/// Reasons that are drawn.
const REASONS_MAX: usize = 20;

pub async fn section(report: &mut Report<'_>) -> anyhow::Result<Value> {
    let own = format!("fingerprint = '{}'", report.cohort.fingerprint);
    let reasons = format!(
        "SELECT status, fail_reason, count(*) AS n FROM ledger WHERE {own} AND status IN ('failed', 'excluded')
         GROUP BY status, fail_reason ORDER BY n DESC, status, fail_reason"
    );
    let reasons = report.ask("reasons", &reasons).await?;
    let flags = format!(
        "SELECT flag, count(*) AS n FROM (SELECT unnest(string_to_array(quality_flags, ';')) AS flag FROM readings
         WHERE {own} AND status = 'scored' AND quality_flags <> '') WHERE flag <> '' GROUP BY flag ORDER BY n DESC, flag"
    );
    let flags = report.ask("quality_flags", &flags).await?;
    let scored =
        report.cohort.count(&format!("SELECT count(*) FROM readings WHERE {own} AND status = 'scored'")).await? as u64;
    let review = format!("SELECT count(*) FROM readings WHERE {own} AND status = 'scored' AND flag_review");
    let review = report.cohort.count(&review).await? as u64;
    report.fact("review", share(review, scored));
    let segments =
        "SELECT segment, not_assessable, count(*) AS n FROM segments s JOIN participants p USING (item_id, fingerprint)
        WHERE not_assessable IS NOT NULL GROUP BY segment, not_assessable ORDER BY segment, not_assessable";
    let segments = report.ask("segments_not_assessed", segments).await?;
    let mut table = Table::new("Reasons", &["Reason", "", "Images"]);
    for row in &reasons {
        let reason = plain(&text(row, "fail_reason").unwrap_or_else(|| "not said".to_owned()));
        table.row([reason, text(row, "status").unwrap_or_default(), count(row, "n").to_string()]);
    }
    let mut flagged = Table::new("What to know of the scored images", &["Flag", "Images, of the scored"]);
    flagged.row(["a person should look".to_owned(), share(review, scored)]);
    for row in &flags {
        flagged.row([plain(&text(row, "flag").unwrap_or_default()), share(count(row, "n"), scored)]);
    }
    let mut lost =
        Table::new("Segments that could not be assessed, of the participants", &["Segment", "Why", "Participants"]);
    for row in &segments {
        let segment = text(row, "segment").unwrap_or_default();
        // aac_l3_post: the level, then the wall
        let words = match segment.trim_start_matches("aac_").split_once('_') {
            Some((level, "ant")) => format!("{}, anterior wall", level.to_uppercase()),
            Some((level, "post")) => format!("{}, posterior wall", level.to_uppercase()),
            _ => segment,
        };
        let why = plain(&text(row, "not_assessable").unwrap_or_default());
        lost.row([words, why, count(row, "n").to_string()]);
    }
    Ok(context! {
        figure => shown(drawing(&reasons)),
        table => shown(&table),
        flagged => shown(&flagged),
        lost => shown((!segments.is_empty()).then_some(lost)),
    })
}

fn drawing(reasons: &[Row]) -> Option<Figure> {
    const ROW: f64 = 24.0;
    const LABELS: f64 = 250.0;
    const WIDTH: f64 = 720.0;
    let bars: Vec<(String, bool, u64)> = reasons
        .iter()
        .take(REASONS_MAX)
        .map(|row| {
            let failed = text(row, "status").as_deref() == Some("failed");
            let reason = plain(&text(row, "fail_reason").unwrap_or_default());
            (format!("{reason} ({})", if failed { "failed" } else { "excluded" }), failed, count(row, "n"))
        })
        .collect();
    let most = bars.iter().map(|(.., n)| *n).max()? as f64;
    let words: Vec<String> = bars.iter().map(|(name, _, n)| format!("{name}: {n}")).collect();
    let size = (WIDTH, 8.0 + ROW * bars.len() as f64);
    let mut svg = Svg::new("reasons-chart", size, "Images without a score by reason", &words.join("; "));
    for (place, (name, failed, n)) in bars.iter().enumerate() {
        let y = 4.0 + ROW * place as f64;
        let length = (WIDTH - LABELS - 70.0) * *n as f64 / most;
        svg.text((LABELS - 10.0, y + 16.5), Anchor::End, "label", name);
        svg.rect((LABELS, y + 3.0), (length, ROW - 7.0), if *failed { "bar s1" } else { "bar" });
        svg.text((LABELS + length + 8.0, y + 16.5), Anchor::Start, "label", &n.to_string());
    }
    let caption = "Images without a score by primary reason. Excluded: no lateral spine that can be scored. Failed: could not be read.".to_owned();
    Some(Figure { svg: svg.finish(), caption })
}

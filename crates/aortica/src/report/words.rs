//! Numbers of answers as a page says them.

use crate::cohort::Row;
use minijinja::Value;
use serde::Serialize;

/// Where there is nothing to say.
pub const NOTHING: &str = "\u{2013}";

/// A number with `digits` after the point and a true minus.
pub fn fixed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let is_zero = text.trim_start_matches('-').chars().all(|c| c == '0' || c == '.');
    match text.strip_prefix('-') {
        Some(size) if is_zero => size.to_owned(),
        Some(size) => format!("\u{2212}{size}"),
        None => text,
    }
}

/// The number of a column.
pub fn number(row: &Row, column: &str) -> Option<f64> {
    row.get(column).and_then(serde_json::Value::as_f64)
}

/// The count of a column; 0 where it is missing.
pub fn count(row: &Row, column: &str) -> u64 {
    row.get(column).and_then(serde_json::Value::as_u64).unwrap_or(0)
}

/// The text of a column, also of a number.
pub fn text(row: &Row, column: &str) -> Option<String> {
    match row.get(column) {
        None | Some(serde_json::Value::Null) => None,
        Some(serde_json::Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    }
}

/// The first row in which columns have these texts.
pub fn find<'a>(rows: &'a [Row], wanted: &[(&str, &str)]) -> Option<&'a Row> {
    rows.iter().find(|row| wanted.iter().all(|(column, value)| text(row, column).as_deref() == Some(*value)))
}

/// An estimate of an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Estimated {
    pub n: u64,
    pub estimate: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub method: String,
}

impl Estimated {
    pub fn of(row: &Row) -> Estimated {
        Estimated {
            n: count(row, "n"),
            estimate: number(row, "estimate"),
            low: number(row, "conf_low"),
            high: number(row, "conf_high"),
            method: text(row, "method").unwrap_or_default(),
        }
    }

    /// Of the row that has these texts; nothing where there is none.
    pub fn find(rows: &[Row], wanted: &[(&str, &str)]) -> Estimated {
        find(rows, wanted).map(Estimated::of).unwrap_or_default()
    }

    fn said(&self, digits: usize, scale: f64, unit: &str) -> String {
        let Some(estimate) = self.estimate else {
            // A method may say why it answers nothing.
            return match self.method.strip_prefix("refused: ") {
                Some(reason) => reason.to_owned(),
                None => NOTHING.to_owned(),
            };
        };
        let value = fixed(estimate * scale, digits);
        match (self.low, self.high) {
            (Some(low), Some(high)) => {
                format!("{value}{unit} ({} to {})", fixed(low * scale, digits), fixed(high * scale, digits))
            }
            _ => format!("{value}{unit}"),
        }
    }

    /// 1.24 (0.98 to 1.50)
    pub fn value(&self, digits: usize) -> String {
        self.said(digits, 1.0, "")
    }

    /// 51.9 % (38.9 to 64.6)
    pub fn percent(&self) -> String {
        self.said(1, 100.0, " %")
    }

    /// 51.9 %
    pub fn point_percent(&self) -> String {
        self.estimate.map_or(NOTHING.to_owned(), |v| format!("{} %", fixed(v * 100.0, 1)))
    }

    /// Without the interval.
    pub fn point(&self, digits: usize) -> String {
        self.estimate.map_or(NOTHING.to_owned(), |v| fixed(v, digits))
    }

    /// Value and limits, times `scale`; a value without limits is its own.
    pub fn interval(&self, scale: f64) -> Option<(f64, f64, f64)> {
        let value = self.estimate?;
        Some((value * scale, self.low.unwrap_or(value) * scale, self.high.unwrap_or(value) * scale))
    }
}

/// Anything as a template sees it.
pub fn shown(of: impl Serialize) -> Value {
    Value::from_serialize(of)
}

/// p as journals print it.
pub fn p_value(p: Option<f64>) -> String {
    match p {
        None => NOTHING.to_owned(),
        Some(p) if p < 0.001 => "< .001".to_owned(),
        Some(p) => format!("{p:.3}").trim_start_matches('0').to_owned(),
    }
}

/// part of whole as 12 (34.5 %).
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return part.to_string();
    }
    format!("{part} ({:.1} %)", 100.0 * part as f64 / whole as f64)
}

/// Names of the program in words: `wrong_view` as "wrong view".
pub fn plain(name: &str) -> String {
    name.replace('_', " ")
}

/// A table of the page.
#[derive(Debug, Clone, Serialize)]
pub struct Table {
    pub caption: String,
    pub head: Vec<String>,
    pub rows: Vec<TableRow>,
    pub note: String,
}

/// One row; a heading has one cell that spans all columns.
#[derive(Debug, Clone, Serialize)]
pub struct TableRow {
    pub cells: Vec<String>,
    pub heading: bool,
}

impl Table {
    pub fn new(caption: impl Into<String>, head: &[&str]) -> Table {
        let head = head.iter().map(|h| (*h).to_owned()).collect();
        Table { caption: caption.into(), head, rows: Vec::new(), note: String::new() }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(TableRow { cells: cells.into_iter().map(Into::into).collect(), heading: false });
    }

    pub fn heading(&mut self, text: impl Into<String>) {
        self.rows.push(TableRow { cells: vec![text.into()], heading: true });
    }

    #[must_use]
    pub fn noted(mut self, note: impl Into<String>) -> Table {
        self.note = note.into();
        self
    }
}

/// A drawing of the page.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    pub svg: String,
    pub caption: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_said_as_in_print() {
        assert_eq!((fixed(-0.04, 1), fixed(-1.26, 1), fixed(2.0, 0)), ("0.0".into(), "\u{2212}1.3".into(), "2".into()));
        assert_eq!(
            (p_value(Some(0.0004)), p_value(Some(0.0312)), p_value(None)),
            ("< .001".into(), ".031".into(), NOTHING.into())
        );
        let row: Row = serde_json::from_str(
            r#"{"n": 54, "estimate": 0.5186, "conf_low": 0.3885, "conf_high": 0.6461, "method": "proportion, wilson"}"#,
        )
        .unwrap();
        assert_eq!(Estimated::of(&row).percent(), "51.9 % (38.9 to 64.6)");
        let refused: Row =
            serde_json::from_str(r#"{"n": 5, "estimate": null, "method": "refused: fewer than 10 events"}"#).unwrap();
        assert_eq!(Estimated::of(&refused).percent(), "fewer than 10 events");
        assert_eq!((share(1, 8), share(0, 0)), ("1 (12.5 %)".into(), "0".into()));
    }
}

//! Scripts that read the CSV files into R, Stata and SAS with types, labels and the order of the values.

use super::tables::{Meaning, Table};
use arrow::datatypes::DataType;
use std::fmt::Write;

/// Longest text of a coded or free column, bytes; SAS wants to know it in advance.
const SAS_TEXT_BYTES: usize = 200;

/// For R, without packages.
pub fn r(name: &str, tables: &[Table]) -> String {
    let mut text = format!(
        "# {}: the tables with labels, and values in their order. In R:\n\
         #   source(\"labels.R\"); release <- read_release(\".\"); str(release)\n\
         read_release <- function(folder = \".\") {{\n  \
         read <- function(path, texts) {{\n    \
         utils::read.csv(file.path(folder, path), na.strings = \"\", check.names = FALSE, stringsAsFactors = FALSE,\n      \
         encoding = \"UTF-8\", colClasses = texts)\n  }}\n  release <- list()\n",
        one_line(name)
    );
    let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    for table in tables {
        let texts = (0..table.columns.len()).filter(|column| table.is_text(*column));
        let texts: Vec<String> = texts.map(|c| format!("{} = \"character\"", quote(&table.columns[c].name))).collect();
        let path = format!("{}/{}.csv", table.folder, table.name);
        // writing to a String does not fail
        let _ = writeln!(text, "  t <- read({}, c({}))", quote(&path), texts.join(", "));
        for meaning in &table.columns {
            let column = format!("t[[{}]]", quote(&meaning.name));
            if is_boolean(table, meaning) {
                let _ = writeln!(text, "  {column} <- as.logical({column})");
            } else if !meaning.choices.is_empty() {
                let list = |of: fn(&(String, String)) -> &String| {
                    meaning.choices.iter().map(|c| quote(of(c))).collect::<Vec<_>>().join(", ")
                };
                let (codes, labels) = (list(|c| &c.0), list(|c| &c.1));
                let _ = writeln!(text, "  {column} <- factor({column}, levels = c({codes}), labels = c({labels}))");
            }
            let _ = writeln!(text, "  attr({column}, \"label\") <- {}", quote(&label(meaning)));
        }
        let _ =
            writeln!(text, "  attr(t, \"label\") <- {}\n  release[[{}]] <- t", quote(&table.about), quote(&table.name));
    }
    text.push_str("  release\n}\n");
    text
}

/// For Stata 14 and later: writes NAME.dta for each table into the working folder.
pub fn stata(name: &str, tables: &[Table]) -> String {
    let quote = |text: &str| format!("`\"{}\"'", text.replace('`', "'"));
    let mut text = format!(
        "* {}: the tables with labels. In Stata, from a folder outside of the release:\n\
         *   do RELEASE/labels.do RELEASE\n\
         version 14\nargs folder\nif \"`folder'\" == \"\" local folder \".\"\n",
        one_line(name)
    );
    for table in tables {
        let texts = (0..table.columns.len()).filter(|column| table.is_text(*column));
        let texts: Vec<String> = texts.map(|column| (column + 1).to_string()).collect();
        let _ = writeln!(
            text,
            "\nimport delimited using \"`folder'/{}/{}.csv\", varnames(1) case(preserve) encoding(\"utf-8\") stringcols({}) clear\nlabel data {}",
            table.folder,
            table.name,
            texts.join(" "),
            quote(&cut(&table.about, 80))
        );
        for (place, meaning) in table.columns.iter().enumerate() {
            let column = &meaning.name;
            text.push_str(&stata_values(table, place, &quote));
            let _ = writeln!(text, "label variable {column} {}", quote(&cut(&label(meaning), 80)));
        }
        let _ = writeln!(text, "save \"{}.dta\", replace", table.name);
    }
    text
}

/// The values of a column with their labels. Texts become numbers in the order of the values.
fn stata_values(table: &Table, place: usize, quote: &dyn Fn(&str) -> String) -> String {
    let meaning = &table.columns[place];
    let (column, set) = (&meaning.name, format!("v{}", place + 1));
    if meaning.choices.is_empty() {
        return String::new();
    }
    if !table.is_text(place) && !is_boolean(table, meaning) {
        let choices: String = meaning.choices.iter().map(|(code, label)| format!(" {code} {}", quote(label))).collect();
        return format!("label define {set}{choices}\nlabel values {column} {set}\n");
    }
    let numbered = |of: fn(&(String, String)) -> &String| -> String {
        meaning.choices.iter().enumerate().map(|(i, choice)| format!(" {} {}", i + 1, quote(of(choice)))).collect()
    };
    format!(
        "label define {set}{}\ncapture tostring {column}, replace\nencode {column}, generate(coded_) label({set}) noextend\n\
         order coded_, after({column})\ndrop {column}\nrename coded_ {column}\nlabel define {set}{}, modify\n",
        numbered(|choice| &choice.0),
        numbered(|choice| &choice.1)
    )
}

/// For SAS: a data set for each table, with formats that keep the order of the values.
pub fn sas(name: &str, tables: &[Table]) -> String {
    let quote = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let mut text = format!(
        "/* {}: the tables with labels. Set the folder of the release, then run. */\n%let folder = .;\n",
        one_line(name).replace("*/", "* /")
    );
    for (number, table) in tables.iter().enumerate() {
        let coded = |place: usize| !table.columns[place].choices.is_empty();
        let as_text =
            |place: usize| table.is_text(place) || is_boolean(table, &table.columns[place]) || !is_number(table, place);
        // Names of formats may not end in a digit.
        let format = |place: usize| format!("{}t{}c{}f", if as_text(place) { "$" } else { "" }, number + 1, place + 1);
        text.push_str("\nproc format;\n");
        for (place, meaning) in table.columns.iter().enumerate().filter(|(place, _)| coded(*place)) {
            let code = |code: &str| if as_text(place) { quote(code) } else { code.to_owned() };
            let choices: String =
                meaning.choices.iter().map(|(c, label)| format!(" {} = {}", code(c), quote(label))).collect();
            let _ = writeln!(text, "  value {} (notsorted){choices};", format(place));
        }
        let names: Vec<&String> = table.columns.iter().map(|c| &c.name).collect();
        let texts: Vec<String> =
            (0..names.len()).filter(|place| as_text(*place)).map(|place| names[place].clone()).collect();
        let input: Vec<String> = (0..names.len())
            .map(|place| if as_text(place) { format!("{} $", names[place]) } else { names[place].clone() })
            .collect();
        let _ = writeln!(
            text,
            "run;\ndata {}(label={});\n  infile \"&folder/{}/{}.csv\" dsd firstobs=2 truncover lrecl=1000000 encoding='utf-8';",
            table.name,
            quote(&cut(&table.about, 256)),
            table.folder,
            table.name
        );
        if !texts.is_empty() {
            let _ = writeln!(text, "  length {} ${SAS_TEXT_BYTES};", texts.join(" "));
        }
        let _ = writeln!(text, "  input {};", input.join(" "));
        for (place, meaning) in table.columns.iter().enumerate() {
            let _ = writeln!(text, "  label {} = {};", meaning.name, quote(&cut(&label(meaning), 256)));
            if coded(place) {
                let _ = writeln!(text, "  format {} {}.;", meaning.name, format(place));
            }
        }
        text.push_str("run;\n");
    }
    text
}

/// The label with its unit.
fn label(meaning: &Meaning) -> String {
    match meaning.unit.is_empty() {
        true => meaning.label.clone(),
        false => format!("{} [{}]", meaning.label, meaning.unit),
    }
}

fn is_boolean(table: &Table, meaning: &Meaning) -> bool {
    table.batch.column_by_name(&meaning.name).is_some_and(|column| *column.data_type() == DataType::Boolean)
}

fn is_number(table: &Table, place: usize) -> bool {
    table.batch.column(place).data_type().is_numeric()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// At most so many characters.
fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

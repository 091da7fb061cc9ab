//! What the tables that people query hold, column by column. `aortica codebook` prints it; the session puts it into the
//! metadata of the columns; a test holds both to each other.

use crate::schema::{Column, Kind, READINGS, column, describe};

/// A table or view and its columns in their order.
#[derive(Debug, Clone)]
pub struct TableEntry {
    pub name: &'static str,
    /// What one row is.
    pub about: &'static str,
    pub columns: Vec<Column>,
}

/// The tables and views of every session, the main one first.
pub fn codebook() -> Vec<TableEntry> {
    vec![
        TableEntry {
            name: "readings",
            about: "One row per item and fingerprint: who, when, what became of it, and what the pixels say",
            columns: readings(),
        },
        TableEntry {
            name: "segments",
            about: "One row per scored image and segment: the eight grades of readings, long, with their details",
            columns: segments(),
        },
        TableEntry {
            name: "ledger",
            about: "One row per submission and item: what became of each, from pending on",
            columns: ledger(),
        },
        TableEntry {
            name: "latest_by_image_date",
            about: "The rows of readings that are the primary image of their participant's latest visit",
            columns: readings(),
        },
        TableEntry {
            name: "latest_by_scored_at",
            about: "The rows of readings that were made last for their item, whatever the fingerprint",
            columns: readings(),
        },
        TableEntry {
            name: "flow",
            about: "One row per fingerprint and step, from items received to participants with all segments assessed",
            columns: flow(),
        },
    ]
}

fn of(names: &[&str]) -> Vec<Column> {
    names.iter().filter_map(|name| describe(name)).cloned().collect()
}

fn readings() -> Vec<Column> {
    of(READINGS)
}

fn segments() -> Vec<Column> {
    use Kind::*;
    let mut columns = of(&["participant_id", "image_id", "item_id", "image_date", "fingerprint", "primary_image"]);
    columns.extend([
        column("level", Text, "", "Vertebral level", "L1, L2, L3, L4"),
        column("wall", Text, "", "Wall of the aorta", "anterior, posterior"),
        column("segment", Text, "", "Column of readings that has the grade", "aac_l1_ant .. aac_l4_post"),
        column("grade", Integer, "grade", "AAC grade", "0 none, 1 up to 1/3, 2 up to 2/3, 3 more; NULL not assessable"),
        column("length_pct", Real, "percent", "Calcified share of the wall", "0..100"),
        column("length_mm", Real, "mm", "Calcified length of the wall", "NULL when the pixel spacing is unknown"),
        column("confidence", Real, "", "Confidence of the grade", "0..1; of a calibrated pipeline its probability"),
        column(
            "not_assessable",
            Text,
            "",
            "Why there is no grade",
            "outside_image, masked, implant, level_uncertain; NULL when assessed",
        ),
    ]);
    columns.extend(["p_above_0", "p_above_1", "p_above_2"].into_iter().zip(["above 0", "above 1", "above 2"]).map(
        |(name, above)| {
            let label = format!("Probability that the grade is {above}").into();
            Column { label, ..column(name, Real, "", "", "0..1; NULL unless calibrated, or graded by a network") }
        },
    ));
    columns
}

fn ledger() -> Vec<Column> {
    let mut columns = of(&["submission", "item_id", "fingerprint"]);
    columns[0].label = "The submission".into();
    columns.push(column(
        "status",
        Kind::Text,
        "",
        "What became of the item under this fingerprint",
        "pending, scored, excluded, failed",
    ));
    columns.extend(of(&["fail_reason", "attempt", "image_id"]));
    columns
}

fn flow() -> Vec<Column> {
    let mut columns = of(&["fingerprint"]);
    columns.extend([
        column(
            "place",
            Kind::Integer,
            "",
            "Order of the steps",
            "1 failed, 2 excluded, 3 scored or pending, by reason",
        ),
        column("step", Kind::Text, "", "What is counted", "status: reason where an item has no score"),
        column("n", Kind::Integer, "", "Items, or participants", ""),
    ]);
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SessionOptions;
    use crate::tests::lake;

    #[tokio::test]
    async fn the_tables_have_the_columns_of_the_book_with_their_labels() {
        let session = lake().await.session(SessionOptions::default()).await.unwrap();
        for table in codebook() {
            let schema = session.query(&format!("SELECT * FROM {}", table.name)).await.unwrap().schema();
            assert_eq!(schema.fields().len(), table.columns.len(), "{}", table.name);
            for (field, column) in schema.fields().iter().zip(&table.columns) {
                let place = format!("{}.{}", table.name, column.name);
                assert_eq!(*field.name(), column.name, "{place}");
                assert_eq!(*field.data_type(), column.kind.arrow(), "{place}");
                assert_eq!(*field.metadata(), column.metadata(), "{place}");
            }
        }
    }
}

//! `aortica pseudonymise`: an identifier column of a covariate file becomes the participant key of the lake.

use crate::cli::PseudonymiseArgs;
use crate::exit::usage;
use crate::settings::Settings;
use crate::study_key;
use anyhow::Context;
use std::path::PathBuf;

pub fn run(args: &PseudonymiseArgs, settings: &Settings) -> anyhow::Result<()> {
    let key_path: PathBuf = args.key.clone().or_else(|| settings.study.key_file.clone()).ok_or_else(|| {
        usage("which study key? give --key FILE (score made it beside the lake), or set study.key_file")
    })?;
    if !key_path.exists() {
        return Err(usage(format!(
            "study key {} does not exist: keys of another study would not join",
            key_path.display()
        )));
    }
    let key = study_key::load_or_create(&key_path)?;
    let mut reader = csv::Reader::from_path(&args.file).with_context(|| format!("{}", args.file.display()))?;
    let header = reader.headers()?.clone();
    let find = |name: &str| {
        header.iter().position(|h| h.trim() == name).ok_or_else(|| {
            let known = header.iter().collect::<Vec<_>>().join(", ");
            usage(format!("{} has no column {name:?}; it has {known}", args.file.display()))
        })
    };
    let id_column = find(&args.column)?;
    let date_columns = args.shift_dates.iter().map(|name| find(name)).collect::<anyhow::Result<Vec<_>>>()?;

    let part = args.out.with_extension("part");
    let mut writer = csv::Writer::from_path(&part).with_context(|| format!("{}", part.display()))?;
    writer.write_record(header.iter().enumerate().map(|(i, h)| if i == id_column { "participant_id" } else { h }))?;
    let (mut rows, mut without, mut bad_dates) = (0u64, 0u64, 0u64);
    for (index, record) in reader.records().enumerate() {
        let record = record.with_context(|| format!("{}, row {}", args.file.display(), index + 2))?;
        let pseudonym = key.pseudonym("participant", &record[id_column]);
        let shift = pseudonym.as_deref().map(|p| key.date_shift_days(p));
        let fields = record.iter().enumerate().map(|(column, field)| {
            if column == id_column {
                pseudonym.clone().unwrap_or_default()
            } else if date_columns.contains(&column) && !field.trim().is_empty() {
                shifted(field.trim(), shift).unwrap_or_else(|| {
                    bad_dates += 1;
                    String::new()
                })
            } else {
                field.to_owned()
            }
        });
        let fields: Vec<String> = fields.collect();
        writer.write_record(&fields)?;
        rows += 1;
        without += u64::from(pseudonym.is_none());
    }
    writer.flush()?;
    drop(writer);
    std::fs::rename(&part, &args.out).with_context(|| format!("{}", args.out.display()))?;
    println!("{rows} rows written to {}; {without} had no identifier", args.out.display());
    if bad_dates > 0 {
        println!("{bad_dates} dates were left empty: they are not YYYY-MM-DD, or their row has no identifier");
    }
    Ok(())
}

fn shifted(text: &str, shift_days: Option<i64>) -> Option<String> {
    let day: jiff::civil::Date = text.parse().ok()?;
    let moved = day.checked_add(jiff::Span::new().days(shift_days?)).ok()?;
    Some(moved.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_become_the_keys_of_the_lake_and_dates_move_together() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("in.csv"), "mrn,died,note\n 77 ,2020-02-28,x\n,2020-01-01,y\n77,unknown,z\n").unwrap();
        let key = study_key::load_or_create(&at("study.key")).unwrap();
        let args = PseudonymiseArgs {
            file: at("in.csv"),
            column: "mrn".into(),
            shift_dates: vec!["died".into()],
            key: Some(at("study.key")),
            out: at("out.csv"),
        };
        run(&args, &Settings::default()).unwrap();
        let text = std::fs::read_to_string(at("out.csv")).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split(',').collect()).collect();
        let pseudonym = key.pseudonym("participant", "77").unwrap();
        assert_eq!(lines[0], ["participant_id", "died", "note"]);
        assert_eq!(lines[1][0], pseudonym);
        let moved: jiff::civil::Date = lines[1][1].parse().unwrap();
        let days = (moved - jiff::civil::date(2020, 2, 28)).get_days();
        assert_eq!(i64::from(days), key.date_shift_days(&pseudonym));
        assert_eq!(lines[2], ["", "", "y"]);
        assert_eq!(lines[3], [pseudonym.as_str(), "", "z"]);

        let wrong = PseudonymiseArgs { column: "nhs".into(), ..args };
        assert!(run(&wrong, &Settings::default()).unwrap_err().to_string().contains("it has mrn, died, note"));
    }
}

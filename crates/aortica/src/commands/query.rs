//! `aortica query`: SQL over the lake, one statement or a prompt.

use crate::cli::{QueryArgs, TableFormat};
use crate::exit::usage;
use crate::{environment, wiring};
use lake::{Answer, Door, Format, LakeSession, Role, SessionOptions, write_answer};
use rustyline::error::ReadlineError;
use std::io::{IsTerminal, Write};

impl From<TableFormat> for Format {
    fn from(format: TableFormat) -> Format {
        match format {
            TableFormat::Table => Format::Table,
            TableFormat::Csv => Format::Csv,
            TableFormat::Json => Format::Json,
            TableFormat::Parquet => Format::Parquet,
        }
    }
}

pub fn run(args: &QueryArgs) -> anyhow::Result<()> {
    check_terminal(args.format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let lake = wiring::open_lake(&args.lake.lake).await?;
        let options = SessionOptions {
            sources: args.with_sources,
            mixed_fingerprints: args.mixed_fingerprints,
            ..SessionOptions::default()
        };
        let role = wiring::role(&args.role, &args.lake.lake)?;
        if args.with_sources && matches!(role, Role::Aggregate(_)) {
            return Err(usage("--with-sources shows rows, which the aggregate role does not see"));
        }
        let door = lake.door(options, &role, args.fingerprint.as_deref(), "query").await?;
        match &args.sql {
            Some(sql) => write(door.query(sql).await?, args.format.into()).await,
            None => prompt(&door, args).await,
        }
    })
}

/// Parquet on a screen helps nobody.
pub fn check_terminal(format: TableFormat) -> anyhow::Result<()> {
    if format == TableFormat::Parquet && std::io::stdout().is_terminal() {
        return Err(usage("Parquet is not for the terminal: send it to a file with > answer.parquet"));
    }
    Ok(())
}

/// Answers one statement on stdout.
pub async fn answer(session: &LakeSession, sql: &str, format: Format) -> anyhow::Result<()> {
    write(session.query(sql).await?, format).await
}

/// Writes an answer to stdout.
pub async fn write(answer: Answer, format: Format) -> anyhow::Result<()> {
    match write_answer(answer, format, std::io::stdout()).await {
        // The reader has seen enough (`| head`): no fault of ours.
        Err(lake::Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map(|_| ()).map_err(Into::into),
    }
}

async fn prompt(door: &Door, args: &QueryArgs) -> anyhow::Result<()> {
    println!("SQL over {}: {}. A statement ends with ; and \\q leaves.", args.lake.lake, door.tables().join(", "));
    let mut editor = rustyline::DefaultEditor::new()?;
    let history = environment::history_file();
    if let Some(path) = &history {
        let _ = editor.load_history(path);
    }
    let mut statement = String::new();
    loop {
        match editor.readline(if statement.is_empty() { "aortica> " } else { "      -> " }) {
            Ok(line) if statement.is_empty() && matches!(line.trim(), "\\q" | "exit" | "quit") => break,
            Ok(line) => {
                statement.push_str(&line);
                statement.push('\n');
                if !line.trim_end().ends_with(';') {
                    if statement.trim().is_empty() {
                        statement.clear();
                    }
                    continue;
                }
                let sql = statement.trim().trim_end_matches(';').to_owned();
                statement.clear();
                if sql.is_empty() {
                    continue;
                }
                let _ = editor.add_history_entry(format!("{sql};"));
                let answered = match door.query(&sql).await {
                    Ok(answer) => write(answer, args.format.into()).await,
                    Err(error) => Err(error.into()),
                };
                if let Err(error) = answered {
                    println!("{error:#}");
                }
                std::io::stdout().flush()?;
            }
            Err(ReadlineError::Interrupted) => statement.clear(),
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(path) = history {
        let kept = path
            .parent()
            .map(std::fs::create_dir_all)
            .transpose()
            .and_then(|_| editor.save_history(&path).map_err(std::io::Error::other));
        if let Err(error) = kept {
            tracing::debug!(%error, "the history of statements was not kept");
        }
    }
    Ok(())
}

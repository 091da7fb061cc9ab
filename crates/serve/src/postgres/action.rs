//! What a statement asks for, told from its tree: the kinds that are served, and a refusal for every other.

use crate::refusal::{Reason, Refusal};
use datafusion::sql::sqlparser::ast::{
    CloseCursor, Declare, DeclareType, DiscardObject, FetchDirection, Query, Set, Statement, Value, ValueWithSpan,
};

/// One statement of a client.
#[derive(Debug, Clone)]
pub(super) enum Action {
    /// Rows of the lake.
    Rows(Statement),
    Set(Set),
    Show(String),
    Begin,
    Commit,
    Rollback,
    /// What is true anyway; the tag of the answer.
    Nothing(&'static str),
    Declare {
        cursor: String,
        query: Box<Query>,
    },
    /// `None`: all that is left.
    Fetch {
        cursor: String,
        rows: Option<usize>,
    },
    /// `None`: all.
    Close {
        cursor: Option<String>,
    },
    /// `None`: all.
    Deallocate {
        name: Option<String>,
    },
    Discard,
}

impl Action {
    pub fn of(statement: Statement) -> Result<Action, Refusal> {
        Ok(match statement {
            Statement::Query(_) => Action::Rows(statement),
            Statement::Explain { statement: ref inner, .. } if matches!(**inner, Statement::Query(_)) => {
                Action::Rows(statement)
            }
            Statement::ExplainTable { .. } | Statement::ShowTables { .. } | Statement::ShowColumns { .. } => {
                Action::Rows(statement)
            }
            Statement::Set(set) => Action::Set(set),
            Statement::ShowVariable { variable } => {
                let words: Vec<String> = variable.into_iter().map(|word| word.value.to_ascii_lowercase()).collect();
                Action::Show(words.join(" "))
            }
            Statement::ShowCatalogs { .. } => Action::Show("catalogs".to_owned()),
            Statement::StartTransaction { .. } => Action::Begin,
            Statement::Commit { .. } => Action::Commit,
            Statement::Rollback { savepoint: None, .. } => Action::Rollback,
            // Nothing is written, so there is nothing to go back to.
            Statement::Rollback { savepoint: Some(_), .. } => Action::Nothing("ROLLBACK"),
            Statement::Savepoint { .. } => Action::Nothing("SAVEPOINT"),
            Statement::ReleaseSavepoint { .. } => Action::Nothing("RELEASE"),
            Statement::UNLISTEN { .. } => Action::Nothing("UNLISTEN"),
            Statement::Reset(_) => Action::Nothing("RESET"),
            Statement::Declare { stmts } => declare(stmts)?,
            Statement::Fetch { name, direction, .. } => Action::Fetch { cursor: name.value, rows: rows(&direction)? },
            Statement::Close { cursor: CloseCursor::All } => Action::Close { cursor: None },
            Statement::Close { cursor: CloseCursor::Specific { name } } => Action::Close { cursor: Some(name.value) },
            Statement::Deallocate { name, .. } => {
                let all = name.value.eq_ignore_ascii_case("all") && name.quote_style.is_none();
                Action::Deallocate { name: (!all).then_some(name.value) }
            }
            Statement::Discard { object_type: DiscardObject::ALL } => Action::Discard,
            Statement::Discard { .. } => Action::Nothing("DISCARD"),
            Statement::Copy { .. } => {
                return Err(Refusal::new(
                    Reason::ReadOnly,
                    "COPY is not served; for a file, psql writes the answer of a SELECT with --csv -o FILE, and HTTP gives CSV and Arrow",
                ));
            }
            _ => return Err(Refusal::new(Reason::ReadOnly, "the lake can only be read: write SELECT or EXPLAIN")),
        })
    }
}

fn declare(mut cursors: Vec<Declare>) -> Result<Action, Refusal> {
    let one = (cursors.len() == 1).then(|| cursors.remove(0));
    let cursor = one.filter(|one| one.declare_type == Some(DeclareType::Cursor) && one.binary != Some(true));
    match cursor.map(|cursor| (cursor.names.into_iter().next(), cursor.for_query)) {
        Some((Some(name), Some(query))) => Ok(Action::Declare { cursor: name.value, query }),
        _ => Err(Refusal::statement("a cursor is declared as DECLARE name CURSOR FOR SELECT ..")),
    }
}

fn rows(direction: &FetchDirection) -> Result<Option<usize>, Refusal> {
    let count = |limit: &ValueWithSpan| match &limit.value {
        Value::Number(digits, _) => {
            digits.parse().map(Some).map_err(|_| Refusal::statement("FETCH wants a whole number"))
        }
        _ => Err(Refusal::statement("FETCH wants a whole number")),
    };
    match direction {
        FetchDirection::Next | FetchDirection::Forward { limit: None } => Ok(Some(1)),
        FetchDirection::Forward { limit: Some(limit) } | FetchDirection::Count { limit } => count(limit),
        FetchDirection::ForwardAll | FetchDirection::All => Ok(None),
        _ => Err(Refusal::statement("a cursor goes forward only: FETCH n, FETCH FORWARD n or FETCH ALL")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    fn action(sql: &str) -> Result<Action, Refusal> {
        Action::of(Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().remove(0))
    }

    #[test]
    fn nothing_that_writes_is_served() {
        for sql in [
            "INSERT INTO readings VALUES (1)",
            "UPDATE readings SET aac24_total = 0",
            "DELETE FROM readings",
            "TRUNCATE readings",
            "DROP TABLE readings",
            "CREATE TABLE t AS SELECT 1",
            "CREATE VIEW v AS SELECT 1",
            "ALTER TABLE readings ADD COLUMN x INT",
            "CREATE FUNCTION f() RETURNS INT LANGUAGE SQL AS 'SELECT 1'",
            "COPY readings TO '/tmp/x'",
            "COPY readings FROM STDIN",
            "EXPLAIN ANALYZE DELETE FROM readings",
            "PREPARE p AS DELETE FROM readings",
            "EXECUTE p",
            "GRANT ALL ON readings TO eve",
            "LISTEN x",
            "LOCK TABLE readings",
            "VACUUM",
            "CALL f()",
        ] {
            let Ok(statements) = Parser::parse_sql(&PostgreSqlDialect {}, sql) else { continue };
            for statement in statements {
                assert_eq!(Action::of(statement).unwrap_err().reason, Reason::ReadOnly, "{sql}");
            }
        }
    }

    #[test]
    fn what_clients_do_around_their_queries_is_understood() {
        assert!(matches!(action("BEGIN READ ONLY").unwrap(), Action::Begin));
        assert!(matches!(action("FETCH FORWARD 100 FROM c").unwrap(), Action::Fetch { rows: Some(100), .. }));
        assert!(matches!(action("FETCH ALL FROM c").unwrap(), Action::Fetch { rows: None, .. }));
        assert!(matches!(action("DEALLOCATE ALL").unwrap(), Action::Deallocate { name: None }));
        assert!(matches!(action("DISCARD ALL").unwrap(), Action::Discard));
        let declared = action("DECLARE c NO SCROLL CURSOR FOR SELECT 1").unwrap();
        assert!(matches!(declared, Action::Declare { cursor, .. } if cursor == "c"));
        assert!(
            matches!(action("SHOW TRANSACTION ISOLATION LEVEL").unwrap(), Action::Show(name) if name == "transaction isolation level")
        );
        assert!(action("FETCH PRIOR FROM c").is_err());
    }
}

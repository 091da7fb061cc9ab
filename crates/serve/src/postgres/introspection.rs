//! What SQLAlchemy asks of the catalog in a form that DataFusion cannot plan: subqueries that look up sequences, collations and defaults of
//! each column, and arrays of the columns of constraints and indexes. A lake has none of these, so that each is NULL, and the rest of the
//! statement is answered. And what RPostgres asks: whether a table exists, as the only value of a statement, and the numbered schemas of the
//! search path.

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Query, SelectItem, SetExpr,
    Statement, TableFactor, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::ops::ControlFlow;

/// Tables of which a lake has no row.
const EMPTY: [&str; 3] = ["pg_sequence", "pg_collation", "pg_attrdef"];
/// Columns of `pg_type` that say the same of every type.
const ALIKE: [&str; 1] = ["typcollation"];
/// Columns of `pg_constraint` and `pg_index` that hold column numbers.
const NUMBERS: [&str; 6] = ["indkey", "conkey", "confkey", "indclass", "indoption", "indcollation"];
/// Column of `pg_class` that the catalog lacks.
const OPTIONS: &str = "reloptions";
/// Functions of what a lake does not have.
const ABSENT: [&str; 2] = ["pg_get_indexdef", "pg_get_serial_sequence"];

/// Schemas in the order in which names are looked up, with their numbers.
const SEARCH_PATH: &str = "(SELECT 'pg_catalog' AS table_schema, 1 AS nr UNION ALL SELECT 'public', 2)";

/// Puts NULL for what a lake does not have, and what can be planned for what cannot.
pub(super) fn simplify(statement: &mut Statement) {
    // It never breaks off.
    let _: ControlFlow<()> = statement.visit(&mut Nulls);
    if let Statement::Query(query) = statement {
        counted(query);
    }
}

/// `SELECT EXISTS (..)` by a count.
fn counted(query: &mut Query) {
    let SetExpr::Select(select) = &mut *query.body else { return };
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(Expr::Exists { subquery, negated }) = item else { continue };
        let sign = if *negated { "=" } else { ">" };
        let text = format!("SELECT (SELECT count(*) {sign} 0 FROM ({subquery}) AS found) AS \"exists\"");
        if let Some(SetExpr::Select(mut other)) = parsed(&text)
            && let Some(counted) = other.projection.pop()
        {
            *item = counted;
        }
    }
}

fn parsed(sql: &str) -> Option<SetExpr> {
    match Parser::parse_sql(&PostgreSqlDialect {}, sql).ok()?.pop()? {
        Statement::Query(query) => Some(*query.body),
        _ => None,
    }
}

/// `unnest(current_schemas(..)) WITH ORDINALITY AS alias(..)` as rows.
fn numbered_schemas(relation: &TableFactor) -> Option<TableFactor> {
    let TableFactor::UNNEST { alias: Some(alias), array_exprs, with_ordinality: true, .. } = relation else {
        return None;
    };
    let [Expr::Function(function)] = array_exprs.as_slice() else { return None };
    if name(function)? != "current_schemas" {
        return None;
    }
    let Some(SetExpr::Select(mut select)) = parsed(&format!("SELECT 1 FROM {SEARCH_PATH} {alias}")) else {
        return None;
    };
    select.from.pop().map(|from| from.relation)
}

struct Nulls;

impl VisitorMut for Nulls {
    type Break = ();

    fn pre_visit_table_factor(&mut self, relation: &mut TableFactor) -> ControlFlow<()> {
        if let Some(rows) = numbered_schemas(relation) {
            *relation = rows;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        match expression {
            Expr::Subquery(query) if is_of_nothing(query) => *expression = Expr::value(Value::Null),
            Expr::Function(function) if is_of_numbers(function) => *expression = null(DataType::Integer(None)),
            Expr::Function(function) if name(function).is_some_and(|name| ABSENT.contains(&name.as_str())) => {
                *expression = null(DataType::Text);
            }
            Expr::CompoundIdentifier(names) if names.last().is_some_and(|name| name.value == OPTIONS) => {
                *expression = null(DataType::Text);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn null(data_type: DataType) -> Expr {
    let nothing = Box::new(Expr::value(Value::Null));
    Expr::Cast { kind: CastKind::Cast, expr: nothing, data_type, array: false, format: None }
}

fn name(function: &Function) -> Option<String> {
    function.name.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.to_ascii_lowercase())
}

fn is_of_nothing(query: &Query) -> bool {
    let SetExpr::Select(select) = &*query.body else { return false };
    let of = |names: &[&str], relation: &TableFactor| match relation {
        TableFactor::Table { name, .. } => {
            name.0.last().and_then(|part| part.as_ident()).is_some_and(|ident| names.contains(&ident.value.as_str()))
        }
        _ => false,
    };
    let alike = || {
        let [SelectItem::UnnamedExpr(Expr::CompoundIdentifier(column))] = select.projection.as_slice() else {
            return false;
        };
        column.last().is_some_and(|name| ALIKE.contains(&name.value.as_str()))
    };
    select.from.iter().any(|from| of(&EMPTY, &from.relation) || (of(&["pg_type"], &from.relation) && alike()))
}

/// `unnest(pg_index.indkey)` and `generate_subscripts(pg_index.indkey, 1)`.
fn is_of_numbers(function: &Function) -> bool {
    if !matches!(name(function).as_deref(), Some("unnest" | "generate_subscripts")) {
        return false;
    }
    let FunctionArguments::List(arguments) = &function.args else { return false };
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = arguments.args.first() else { return false };
    let column = match first {
        Expr::CompoundIdentifier(names) => names.last(),
        Expr::Identifier(name) => Some(name),
        _ => None,
    };
    column.is_some_and(|name| NUMBERS.contains(&name.value.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simplified(sql: &str) -> String {
        let mut statement = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().remove(0);
        simplify(&mut statement);
        statement.to_string()
    }

    #[test]
    fn what_a_lake_does_not_have_is_null() {
        let default = "SELECT CASE WHEN a.atthasdef THEN (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d \
                       WHERE d.adrelid = a.attrelid) ELSE NULL END AS x FROM pg_catalog.pg_attribute a";
        let wanted = "SELECT CASE WHEN a.atthasdef THEN NULL ELSE NULL END AS x FROM pg_catalog.pg_attribute a";
        assert_eq!(simplified(default), wanted);
        let numbers = "SELECT unnest(pg_catalog.pg_index.indkey) AS n, generate_subscripts(i.indkey, 1) AS o FROM i";
        assert_eq!(simplified(numbers), "SELECT CAST(NULL AS INTEGER) AS n, CAST(NULL AS INTEGER) AS o FROM i");
    }

    #[test]
    fn what_cannot_be_planned_is_said_in_another_way() {
        let exists = "SELECT EXISTS (SELECT 1 FROM information_schema.tables WHERE table_name = 'readings')";
        let wanted = "SELECT (SELECT count(*) > 0 FROM (SELECT 1 FROM information_schema.tables WHERE table_name = 'readings') \
                      AS found) AS \"exists\"";
        assert_eq!(simplified(exists), wanted);
        let schemas =
            "SELECT * FROM unnest(current_schemas(true)) WITH ORDINALITY AS tbl(table_schema, nr) WHERE nr > 1";
        let rows = simplified(schemas);
        assert!(rows.contains("'public', 2") && rows.contains("tbl (table_schema, nr) WHERE nr > 1"), "{rows}");
    }

    #[test]
    fn what_people_write_stays() {
        for sql in [
            "SELECT 1 FROM readings AS r WHERE EXISTS (SELECT 1 FROM segments AS s WHERE s.item_id = r.item_id)",
            "SELECT (SELECT max(aac24_total) FROM readings) AS m",
            "SELECT unnest(aac_classes(s)) FROM states",
            "SELECT (SELECT typname FROM pg_type LIMIT 1)",
        ] {
            assert_eq!(simplified(sql), sql);
        }
    }
}

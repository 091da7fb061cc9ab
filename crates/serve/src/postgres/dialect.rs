//! Statements as PostgreSQL's clients write them, in the form that DataFusion plans.
//!
//! datafusion-postgres rewrites what clients ask of the catalog so that it can be planned. One of its rules puts NULL for any subquery that
//! looks at the rows around it, and the first row for one that may have several: right for the catalog of a lake, a wrong answer about
//! readings. So that rule is applied to statements about the catalog alone.

use datafusion::sql::sqlparser::ast::{ObjectName, Statement, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion_postgres::datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_postgres::datafusion_pg_catalog::sql::rules::{
    AliasDuplicatedProjectionRewrite, CurrentUserVariableToSessionUserFunctionCall, FixArrayLiteral,
    FixVersionColumnName, PrependUnqualifiedPgTableName, ResolveUnqualifiedIdentifier, RewriteArrayAnyAllOperation,
    RewritePgCatalogOperator, RewriteRegCastToSubquery, SqlStatementRewriteRule, StripCallableQualifier, StripCollate,
};
use std::ops::ControlFlow;
use std::sync::Arc;

pub(super) struct Dialect {
    catalog: PostgresCompatibilityParser,
    /// In the order of [`PostgresCompatibilityParser`].
    readings: Vec<Arc<dyn SqlStatementRewriteRule>>,
}

impl Dialect {
    pub fn new() -> Dialect {
        let readings: Vec<Arc<dyn SqlStatementRewriteRule>> = vec![
            Arc::new(AliasDuplicatedProjectionRewrite),
            Arc::new(ResolveUnqualifiedIdentifier),
            Arc::new(RewriteArrayAnyAllOperation),
            Arc::new(PrependUnqualifiedPgTableName),
            Arc::new(StripCallableQualifier),
            Arc::new(FixArrayLiteral),
            Arc::new(CurrentUserVariableToSessionUserFunctionCall),
            Arc::new(StripCollate),
            Arc::new(RewritePgCatalogOperator),
            Arc::new(RewriteRegCastToSubquery::new()),
            Arc::new(FixVersionColumnName),
        ];
        Dialect { catalog: PostgresCompatibilityParser::new(), readings }
    }

    /// # Errors
    /// It is no SQL.
    pub fn parse(&self, sql: &str) -> Result<Vec<Statement>, ParserError> {
        let of_catalog = self.catalog.parse(sql)?;
        // What only the other parser understands (ABORT, some of what psql asks) is not about readings.
        let Ok(plain) = Parser::parse_sql(&PostgreSqlDialect {}, sql) else { return Ok(of_catalog) };
        if plain.len() != of_catalog.len() {
            return Ok(of_catalog);
        }
        let rewritten = |statement| self.readings.iter().fold(statement, |statement, rule| rule.rewrite(statement));
        let chosen = |(plain, of_catalog)| if asks_catalog(&plain) { of_catalog } else { rewritten(plain) };
        Ok(plain.into_iter().zip(of_catalog).map(chosen).collect())
    }
}

fn asks_catalog(statement: &Statement) -> bool {
    struct Catalog;
    impl Visitor for Catalog {
        type Break = ();

        fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
            let is_catalog = |name: String| name.starts_with("pg_") || name == "information_schema";
            let mut names = relation.0.iter().filter_map(|part| part.as_ident());
            match names.any(|name| is_catalog(name.value.to_ascii_lowercase())) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }
    statement.visit(&mut Catalog).is_break()
}

//! `SET` and `SHOW`: few settings can be changed, those that clients send of themselves are taken where they ask for what is the case anyway,
//! and every other is refused by name.

use crate::catalog::{CATALOG, SERVER_VERSION};
use crate::refusal::Refusal;
use datafusion::sql::sqlparser::ast::{Expr, Set, Value};
use std::time::Duration;

/// What can be changed for the rest of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// `statement_timeout`; never more than the server's limit.
    pub within: Duration,
    pub application_name: String,
}

/// Names that `SHOW` knows beside `statement_timeout` and `application_name`, with their values.
const SHOWN: [(&str, &str); 22] = [
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("datestyle", "ISO, MDY"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "on"),
    ("extra_float_digits", "1"),
    ("idle_in_transaction_session_timeout", "0"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("is_superuser", "off"),
    ("jit", "off"),
    ("lock_timeout", "0"),
    ("max_identifier_length", "63"),
    ("row_security", "on"),
    ("search_path", "public"),
    ("server_encoding", "UTF8"),
    ("server_version", SERVER_VERSION),
    ("server_version_num", "160006"),
    ("standard_conforming_strings", "on"),
    ("timezone", "UTC"),
    ("transaction_read_only", "on"),
];

impl Settings {
    pub fn new(within: Duration) -> Settings {
        Settings { within, application_name: String::new() }
    }

    /// Takes a `SET`, or says that it cannot be.
    pub fn set(&mut self, set: &Set, limit: Duration) -> Result<(), Refusal> {
        match set {
            Set::SingleAssignment { variable, values, .. } => {
                let name = variable.to_string().to_ascii_lowercase().replace('"', "");
                let value = values.iter().map(text).collect::<Vec<_>>().join(", ");
                self.assign(&name, &value, limit)
            }
            // Instants are sent with their offset, so that they are right in any zone.
            Set::SetTimeZone { .. } => Ok(()),
            Set::SetNames { charset_name, .. } => self.assign("client_encoding", &charset_name.value, limit),
            // There is one kind of transaction: each statement reads one version of the lake.
            Set::SetTransaction { .. } | Set::SetNamesDefault {} => Ok(()),
            other => Err(cannot(&other.to_string())),
        }
    }

    /// One setting by name, from `SET` or from the startup message.
    pub fn assign(&mut self, name: &str, value: &str, limit: Duration) -> Result<(), Refusal> {
        let value = value.trim();
        let is = |wanted: &[&str]| {
            wanted.iter().any(|w| value.eq_ignore_ascii_case(w)) || value.eq_ignore_ascii_case("default")
        };
        let fits = match name {
            "statement_timeout" => {
                let asked = duration(value).ok_or_else(|| {
                    Refusal::statement(format!("statement_timeout {value:?} is not like 30s, 500ms or 2min"))
                })?;
                self.within = if asked.is_zero() { limit } else { asked.min(limit) };
                true
            }
            "application_name" => {
                self.application_name = value.chars().filter(|c| !c.is_control()).take(63).collect();
                true
            }
            "client_encoding" => is(&["utf8", "utf-8", "unicode"]),
            "datestyle" => value.to_ascii_lowercase().starts_with("iso") || is(&[]),
            "intervalstyle" => is(&["postgres"]),
            "bytea_output" => is(&["hex"]),
            "standard_conforming_strings" | "default_transaction_read_only" | "transaction_read_only" => {
                is(&["on", "true", "yes", "1"])
            }
            "search_path" => value.split(',').all(|schema| {
                let schema = schema.trim().trim_matches(['"', '\'']);
                ["", "public", "pg_catalog", "$user", "default"].contains(&schema)
            }),
            // They change nothing that is served.
            "timezone"
            | "extra_float_digits"
            | "client_min_messages"
            | "jit"
            | "row_security"
            | "lock_timeout"
            | "idle_in_transaction_session_timeout"
            | "default_transaction_isolation"
            | "geqo"
            | "tcp_keepalives_idle" => true,
            _ => return Err(cannot(name)),
        };
        if fits {
            Ok(())
        } else {
            let now = self.show(name).unwrap_or_default();
            Err(Refusal::statement(format!("{name} is {now:?} here and cannot be {value:?}")))
        }
    }

    /// The value of a setting.
    pub fn show(&self, name: &str) -> Option<String> {
        match name {
            "statement_timeout" => Some(format!("{}ms", self.within.as_millis())),
            "application_name" => Some(self.application_name.clone()),
            "transaction_isolation" | "transaction isolation level" => Some("read committed".to_owned()),
            "time zone" => Some("UTC".to_owned()),
            "session_authorization" | "role" => Some("none".to_owned()),
            "database" | "catalogs" => Some(CATALOG.to_owned()),
            name => SHOWN.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()),
        }
    }
}

fn cannot(name: &str) -> Refusal {
    Refusal::statement(format!(
        "{name} cannot be set here; what can is statement_timeout, for less than the server's limit"
    ))
}

fn text(value: &Expr) -> String {
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => text.clone(),
            other => other.to_string(),
        },
        Expr::Identifier(name) => name.value.clone(),
        other => other.to_string(),
    }
}

/// `30s`, `500ms`, `2min`, `1h`, or milliseconds.
fn duration(text: &str) -> Option<Duration> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    let each_ms = match text[end..].trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(each_ms)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::ast::Statement;
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    const LIMIT: Duration = Duration::from_secs(60);

    fn set(sql: &str) -> Result<Settings, String> {
        let statement = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().remove(0);
        let Statement::Set(set) = statement else { panic!("{sql}") };
        let mut settings = Settings::new(LIMIT);
        settings.set(&set, LIMIT).map(|()| settings).map_err(|refusal| refusal.message)
    }

    #[test]
    fn what_clients_send_of_themselves_is_taken() {
        for sql in [
            "SET extra_float_digits = 3",
            "SET DateStyle TO 'ISO, MDY'",
            "SET client_encoding TO 'UTF8'",
            "SET NAMES 'utf8'",
            "SET search_path TO \"$user\", public",
            "SET TIME ZONE 'Europe/Berlin'",
            "SET timezone TO 'UTC'",
            "SET standard_conforming_strings = on",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        ] {
            set(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
        }
    }

    #[test]
    fn the_time_limit_can_only_be_lowered() {
        assert_eq!(set("SET statement_timeout = '5s'").unwrap().within.as_secs(), 5);
        assert_eq!(set("SET statement_timeout TO 250").unwrap().within.as_millis(), 250);
        for sql in ["SET statement_timeout = 0", "SET statement_timeout = '2h'"] {
            assert_eq!(set(sql).unwrap().within, LIMIT, "{sql}");
        }
        assert!(set("SET statement_timeout = 'soon'").unwrap_err().contains("500ms"));
        assert!(set("SET statement_timeout = 18446744073709551615").is_ok());
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        for (sql, part) in [
            ("SET datafusion.execution.batch_size = 1000000", "datafusion.execution.batch_size"),
            ("SET default_transaction_read_only = off", "default_transaction_read_only"),
            ("SET client_encoding = 'LATIN1'", "UTF8"),
            ("SET DateStyle = 'German'", "ISO"),
            ("SET search_path = parts", "search_path"),
            ("SET ROLE postgres", "ROLE"),
            ("SET work_mem = '100GB'", "work_mem"),
        ] {
            let refused = set(sql).unwrap_err();
            assert!(refused.contains(part), "{sql}: {refused}");
        }
    }
}

//! The routes, who may take them, and what is answered.

use super::formats::{Encoder, Format};
use crate::base64;
use crate::metrics::Door;
use crate::query::{Answer, Asker, Queries};
use crate::refusal::{Reason, Refusal};
use crate::statement::measure;
use crate::users::{Role, User, Users};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast;
use futures::stream::{StreamExt, try_unfold};
use prometheus::{Encoder as _, Registry, TextEncoder};
use serde::Deserialize;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What the JSON around a statement may have beside it, bytes.
const BESIDE_STATEMENT_BYTES: usize = 4096;

/// The description of the routes: <https://spec.openapis.org/oas/v3.1.0>
pub(super) const OPENAPI: &str = include_str!("../../../../schemas/serve-openapi.json");

#[derive(Clone)]
pub(super) struct Routes {
    pub queries: Arc<Queries>,
    pub users: Option<Arc<Users>>,
    /// Whether only this machine is served, to whomever asks: then a page of the Web must not be able to ask by a name of its own.
    pub local_names_only: bool,
    pub registry: Registry,
}

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    sql: String,
    format: Option<Format>,
    /// Longest work, seconds; not more than the server's limit.
    timeout_s: Option<f64>,
}

pub(super) fn router(routes: Routes) -> Router {
    Router::new()
        .route("/v1/query", get(get_query).post(post_query))
        .route("/openapi.json", get(|| async { ([(header::CONTENT_TYPE, "application/json")], OPENAPI) }))
        .route("/health/live", get(|| async { StatusCode::OK }))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .fallback(|| async {
            Refusal::new(Reason::Missing, "there is no such path; /openapi.json lists those there are")
        })
        .layer(from_fn_with_state(routes.clone(), host))
        .with_state(routes)
}

/// A page of the Web can have a browser ask this machine under a name of its own (DNS rebinding), and would read the answer.
async fn host(State(routes): State<Routes>, request: Request, next: Next) -> Response {
    let named =
        request.uri().host().or_else(|| request.headers().get(header::HOST).and_then(|host| host.to_str().ok()));
    if routes.local_names_only && !named.is_some_and(is_local) {
        let message =
            "only this machine is served, as localhost or by its address; name users with --users to serve others";
        return Refusal::new(Reason::Host, message).into_response();
    }
    next.run(request).await
}

fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None if host.matches(':').count() > 1 => host,
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

async fn get_query(State(routes): State<Routes>, request: Request) -> Result<Response, Refusal> {
    let user = routes.user(request.headers()).await?;
    let question = question(request.uri().query().unwrap_or_default())?;
    routes.answer(user, question, request.headers()).await
}

async fn post_query(State(routes): State<Routes>, request: Request) -> Result<Response, Refusal> {
    let user = routes.user(request.headers()).await?;
    let (parts, body) = request.into_parts();
    let limits = &routes.queries.limits;
    let most = limits.statement_bytes * 2 + BESIDE_STATEMENT_BYTES;
    let body = tokio::time::timeout(limits.startup_within, to_bytes(body, most))
        .await
        .map_err(|_| Refusal::new(Reason::Silence, "the body took too long to come"))?
        .map_err(|_| Refusal::new(Reason::Size, format!("the body is cut off, or has more than {most} bytes")))?;
    let question = serde_json::from_slice(&body).map_err(|error| {
        let message = format!("the body is not like {{\"sql\": \"SELECT ..\", \"format\": \"json\"}}: {error}");
        Refusal::new(Reason::Protocol, message)
    })?;
    routes.answer(user, question, &parts.headers).await
}

fn question(query: &str) -> Result<Question, Refusal> {
    let wrong = |message: String| Refusal::new(Reason::Protocol, message);
    let (mut sql, mut format, mut timeout_s) = (None, None, None);
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "sql" => sql = Some(value.into_owned()),
            "format" => {
                let known = Format::ALL.into_iter().find(|known| known.name() == value);
                format = Some(known.ok_or_else(|| wrong(format!("format {value:?} is not json, csv or arrow")))?);
            }
            "timeout_s" => {
                timeout_s =
                    Some(value.parse().map_err(|_| wrong(format!("timeout_s {value:?} is not a number of seconds")))?);
            }
            other => {
                return Err(wrong(format!("there is no parameter {other:?}; there are sql, format and timeout_s")));
            }
        }
    }
    let sql = sql.ok_or_else(|| wrong("the parameter sql is missing: /v1/query?sql=SELECT%201".to_owned()))?;
    Ok(Question { sql, format, timeout_s })
}

impl Routes {
    /// Who asks, by `Authorization: Bearer` or `Basic`.
    async fn user(&self, headers: &HeaderMap) -> Result<User, Refusal> {
        let Some(users) = &self.users else { return Ok(User::anyone("anyone")) };
        let none = || Refusal::new(Reason::Credentials, "name a user and a password (Basic), or a token (Bearer)");
        let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(none)?;
        let (kind, credentials) = header.split_once(' ').ok_or_else(none)?;
        let credentials = credentials.trim();
        let unknown = |what: &str| Refusal::new(Reason::Credentials, format!("{what} is not known here"));
        if kind.eq_ignore_ascii_case("bearer") {
            return users.with_token(credentials).ok_or_else(|| unknown("the token"));
        }
        if !kind.eq_ignore_ascii_case("basic") {
            return Err(none());
        }
        let pair = base64::decode(credentials).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(none)?;
        let (name, password) = pair.split_once(':').ok_or_else(none)?;
        let (users, name, password) = (Arc::clone(users), name.to_owned(), password.to_owned());
        // Some thousand hashes: not on a thread that others wait for.
        let user = tokio::task::spawn_blocking(move || users.with_password(&name, &password)).await;
        user.ok().flatten().ok_or_else(|| unknown("that user with that password"))
    }

    async fn answer(&self, user: User, question: Question, headers: &HeaderMap) -> Result<Response, Refusal> {
        let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).and_then(Format::accepted);
        let format = question.format.or(accepted).unwrap_or_default();
        let limit = self.queries.limits.query_within;
        let within = match question.timeout_s {
            None => limit,
            Some(seconds) => Duration::try_from_secs_f64(seconds)
                .map_err(|_| Refusal::new(Reason::Protocol, "timeout_s is a number of seconds"))?
                .min(limit),
        };
        let statement = statement(&question.sql, self.queries.limits.statement_bytes)?;
        let asker = Asker { user, door: Door::Http, within, cancel: CancellationToken::new() };
        let answer = self.queries.ask(&asker, statement).await?;
        let body = body(answer, format).await?;
        Ok(([(header::CONTENT_TYPE, format.content_type()), (header::CACHE_CONTROL, "no-store")], body).into_response())
    }
}

/// One statement that reads.
fn statement(sql: &str, bytes_max: usize) -> Result<Statement, Refusal> {
    measure(sql, bytes_max)?;
    let no_sql = |error: datafusion::error::DataFusionError| {
        Refusal::statement(format!("this is no SQL: {}", error.strip_backtrace()))
    };
    let parsed = DFParserBuilder::new(sql).build().and_then(|mut parser| parser.parse_statements());
    let mut statements = parsed.map_err(no_sql)?;
    let statement = match (statements.pop_front(), statements.is_empty()) {
        (Some(statement), true) => statement,
        (None, _) => return Err(Refusal::statement("there is no statement")),
        _ => return Err(Refusal::statement("one statement at a time")),
    };
    let reads = match &statement {
        Statement::Statement(inner) => matches!(
            **inner,
            ast::Statement::Query(_)
                | ast::Statement::ExplainTable { .. }
                | ast::Statement::ShowTables { .. }
                | ast::Statement::ShowColumns { .. }
        ),
        Statement::Explain(explained) => {
            matches!(&*explained.statement, Statement::Statement(inner) if matches!(**inner, ast::Statement::Query(_)))
        }
        _ => false,
    };
    if reads {
        Ok(statement)
    } else {
        Err(Refusal::new(Reason::ReadOnly, "the lake can only be read: write SELECT, EXPLAIN or DESCRIBE"))
    }
}

/// The answer as it comes. Its first rows are waited for, so that what is wrong with a query is told by the status; what goes wrong
/// later cuts the body off.
async fn body(mut answer: Answer, format: Format) -> Result<Body, Refusal> {
    let mut encoder = Encoder::new(format, &answer.schema)?;
    let first = answer.batches.next().await.transpose()?;
    let (first, ended) = match first {
        Some(batch) => (encoder.batch(&batch)?, false),
        None => (encoder.end()?, true),
    };
    let rest = try_unfold((answer, encoder, ended), |(mut answer, mut encoder, ended)| async move {
        if ended {
            return Ok::<_, std::io::Error>(None);
        }
        let next = answer.batches.next().await.transpose().map_err(std::io::Error::other)?;
        let (bytes, ended) = match next {
            Some(batch) => (encoder.batch(&batch), false),
            None => (encoder.end(), true),
        };
        let bytes = bytes.map_err(std::io::Error::other)?;
        Ok(Some((Bytes::from(bytes), (answer, encoder, ended))))
    });
    let first = futures::stream::once(async move { Ok(Bytes::from(first)) });
    Ok(Body::from_stream(first.chain(rest)))
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.reason.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let error = serde_json::json!({"error": {"code": self.reason.label(), "message": self.message}});
        let mut response = (status, axum::Json(error)).into_response();
        let headers = response.headers_mut();
        match self.reason {
            Reason::Credentials => {
                headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Basic realm=\"aortica\""));
            }
            Reason::Busy | Reason::Connections | Reason::Stopping | Reason::Store => {
                headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
            }
            _ => {}
        }
        response
    }
}

async fn ready(State(routes): State<Routes>) -> StatusCode {
    match routes.queries.snapshots.newest(Role::Row).await {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn metrics(State(routes): State<Routes>) -> Response {
    let used = i64::try_from(routes.queries.memory.used()).unwrap_or(i64::MAX);
    routes.queries.metrics.memory.set(used);
    let mut text = Vec::new();
    match TextEncoder::new().encode(&routes.registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => Refusal::new(Reason::Internal, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_names() {
        for local in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:80", "[::1]:8080", "127.8.8.8"] {
            assert!(is_local(local), "{local}");
        }
        for other in ["evil.example", "evil.example:8080", "localhost.evil.example", "10.0.0.1", "", "[::2]:80"] {
            assert!(!is_local(other), "{other}");
        }
    }

    #[test]
    fn one_statement_that_reads() {
        for sql in [
            "SELECT 1",
            "WITH a AS (SELECT 1) SELECT * FROM a;",
            "EXPLAIN SELECT 1",
            "DESCRIBE readings",
            "SHOW TABLES",
        ] {
            statement(sql, 1000).unwrap_or_else(|refusal| panic!("{sql}: {refusal}"));
        }
        for (sql, reason) in [
            ("DROP TABLE readings", Reason::ReadOnly),
            ("EXPLAIN DELETE FROM readings", Reason::ReadOnly),
            ("COPY readings TO '/tmp/x'", Reason::ReadOnly),
            ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'", Reason::ReadOnly),
            ("SET datafusion.execution.batch_size = 1", Reason::ReadOnly),
            ("SELECT 1; SELECT 2", Reason::Statement),
            ("", Reason::Statement),
            ("SELEC 1", Reason::Statement),
        ] {
            assert_eq!(statement(sql, 1000).unwrap_err().reason, reason, "{sql}");
        }
    }

    #[test]
    fn a_question_in_the_address() {
        let asked = question("sql=SELECT%20'a%26b'%20%2B%201&format=csv&timeout_s=1.5").unwrap();
        assert_eq!(
            (asked.sql.as_str(), asked.format, asked.timeout_s),
            ("SELECT 'a&b' + 1", Some(Format::Csv), Some(1.5))
        );
        for (wrong, part) in
            [("", "sql"), ("sql=1&format=xml", "xml"), ("sql=1&user=x", "user"), ("sql=1&timeout_s=x", "timeout_s")]
        {
            assert!(question(wrong).unwrap_err().message.contains(part), "{wrong}");
        }
    }
}

//! Statements of a client, in both of PostgreSQL's protocols.
//!
//! pgwire's defaults gather all rows of an execution before they send one, and reserve room for as many rows as the client
//! says; so an execution is streamed here.

use super::action::Action;
use super::client::Client;
use super::dialect::Dialect;
use super::introspection;
use super::parameters::Parameters;
use crate::limits::STATEMENTS_MAX;
use crate::query::{Answer, Prepared, Queries};
use crate::refusal::{Reason, Refusal};
use crate::statement::measure;
use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::sql::parser::Statement as PlannedStatement;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion_postgres::arrow_pg::datatypes::{arrow_schema_to_pg_fields, encode_recordbatch};
use datafusion_postgres::pgwire::api::portal::{Format, Portal, PortalExecutionState};
use datafusion_postgres::pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use datafusion_postgres::pgwire::api::results::{DataRowEncoder, FieldInfo, QueryResponse, Response, Tag};
use datafusion_postgres::pgwire::api::stmt::{QueryParser, StoredStatement};
use datafusion_postgres::pgwire::api::store::{Entry, MemPortalStore, PortalStore};
use datafusion_postgres::pgwire::api::{ClientInfo, ClientPortalStore, DEFAULT_NAME, PgWireConnectionState, Type};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::data::DataRow;
use datafusion_postgres::pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Execute, Parse, ParseComplete, PortalSuspended, TARGET_TYPE_BYTE_PORTAL,
    TARGET_TYPE_BYTE_STATEMENT,
};
use datafusion_postgres::pgwire::messages::response::{EmptyQueryResponse, TransactionStatus};
use futures::stream::{self, StreamExt};
use futures::{Sink, SinkExt};
use std::fmt::Debug;
use std::sync::Arc;

/// A statement as it is kept: what it does and, where it reads, its plan.
#[derive(Clone)]
pub(super) struct Kept {
    action: Arc<Action>,
    prepared: Option<Prepared>,
    /// Columns of its answer, where there are any.
    columns: Option<SchemaRef>,
}

pub(super) type Store = MemPortalStore<Kept>;

/// Answers the statements of all clients.
pub(super) struct Statements {
    queries: Arc<Queries>,
    dialect: Dialect,
}

/// Takes statements apart for the extended protocol.
pub(super) struct Preparer(Arc<Statements>);

impl Statements {
    pub fn new(queries: Arc<Queries>) -> Statements {
        Statements { queries, dialect: Dialect::new() }
    }

    fn parse(&self, sql: &str) -> Result<Vec<Statement>, Refusal> {
        measure(sql, self.queries.limits.statement_bytes)?;
        let mut statements =
            self.dialect.parse(sql).map_err(|error| Refusal::statement(format!("this is no SQL: {error}")))?;
        if statements.len() > STATEMENTS_MAX {
            return Err(Refusal::new(
                Reason::Size,
                format!("{} statements came at once, and {STATEMENTS_MAX} are taken", statements.len()),
            ));
        }
        statements.iter_mut().for_each(introspection::simplify);
        Ok(statements)
    }

    /// What a statement does; a plan, where it reads.
    async fn prepare(&self, client: &Client, statement: Statement) -> Result<Kept, Refusal> {
        let action = Action::of(statement)?;
        let (prepared, columns) = match &action {
            Action::Rows(statement) => {
                let statement = PlannedStatement::Statement(statement.clone());
                let prepared = self.queries.prepare(&client.asker(), Arc::new(statement)).await?;
                let columns = Arc::clone(prepared.plan.schema().inner());
                (Some(prepared), Some(columns))
            }
            Action::Show(name) => (None, Some(Arc::new(Schema::new(vec![Field::new(name, DataType::Utf8, true)])))),
            Action::Fetch { cursor, .. } => (None, client.cursor(cursor)),
            _ => (None, None),
        };
        Ok(Kept { action: Arc::new(action), prepared, columns })
    }

    /// Does what a statement says.
    async fn run<C>(
        &self,
        wire: &mut C,
        kept: &Kept,
        format: &Format,
        portal: Option<&Portal<Kept>>,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
    {
        let client = client(wire)?;
        let store = store(wire)?;
        let ends = matches!(*kept.action, Action::Commit | Action::Rollback);
        if wire.transaction_status() == TransactionStatus::Error && !ends {
            let refusal = Refusal::statement("the transaction failed before; end it with ROLLBACK");
            return Err(PgWireError::from(refusal));
        }
        let nothing = |tag: &str| Ok(Response::Execution(Tag::new(tag)));
        match &*kept.action {
            Action::Rows(_) => {
                let prepared = kept.prepared.as_ref().ok_or_else(unprepared)?;
                let values = match portal {
                    Some(portal) => Parameters::of(&prepared.plan)?.values(portal)?,
                    None => None,
                };
                let answer = self.queries.answer(&client.asker(), prepared, values).await?;
                Ok(Response::Query(response(answer, format)?))
            }
            Action::Set(set) => {
                let limit = self.queries.limits.query_within;
                client.settings(|settings| settings.set(set, limit))?;
                nothing("SET")
            }
            Action::Show(name) => match client.settings(|settings| settings.show(name)) {
                Some(value) => Ok(Response::Query(shown(name, &value)?)),
                None => Err(Refusal::statement(format!("there is no setting {name:?}")).into()),
            },
            Action::Begin => Ok(match wire.transaction_status() {
                TransactionStatus::Idle => Response::TransactionStart(Tag::new("BEGIN")),
                _ => Response::Execution(Tag::new("BEGIN")),
            }),
            Action::Commit | Action::Rollback => {
                close(&client, store, client.drop_cursors());
                let failed = wire.transaction_status() == TransactionStatus::Error;
                let undone = failed || matches!(*kept.action, Action::Rollback);
                Ok(Response::TransactionEnd(Tag::new(if undone { "ROLLBACK" } else { "COMMIT" })))
            }
            Action::Nothing(tag) => nothing(tag),
            Action::Declare { cursor, query } => {
                self.declare(&client, store, cursor, Statement::Query(query.clone())).await?;
                nothing("DECLARE CURSOR")
            }
            Action::Fetch { cursor, rows } => Ok(Response::Query(fetch(store, cursor, *rows).await?)),
            Action::Close { cursor: Some(cursor) } => {
                client.cursor(cursor).ok_or_else(|| no_cursor(cursor))?;
                close(&client, store, vec![cursor.clone()]);
                nothing("CLOSE CURSOR")
            }
            Action::Close { cursor: None } => {
                close(&client, store, client.drop_cursors());
                nothing("CLOSE CURSOR ALL")
            }
            Action::Deallocate { name: Some(name) } => {
                store.rm_statement(name);
                client.drop_statement(name);
                nothing("DEALLOCATE")
            }
            Action::Deallocate { name: None } => {
                client.drop_statements().iter().for_each(|name| store.rm_statement(name));
                nothing("DEALLOCATE ALL")
            }
            Action::Discard => {
                close(&client, store, client.drop_cursors());
                client.drop_statements().iter().for_each(|name| store.rm_statement(name));
                let limit = self.queries.limits.query_within;
                client.settings(|settings| *settings = super::settings::Settings::new(limit));
                nothing("DISCARD ALL")
            }
        }
    }

    /// A cursor is a portal that `FETCH` reads from.
    async fn declare(&self, client: &Client, store: &Store, cursor: &str, query: Statement) -> PgWireResult<()> {
        let kept = self.prepare(client, query).await?;
        let prepared = kept.prepared.as_ref().ok_or_else(unprepared)?;
        let answer = self.queries.answer(&client.asker(), prepared, None).await?;
        client.keep_cursor(cursor, Arc::clone(&answer.schema))?;
        let statement = Arc::new(StoredStatement::new(cursor.to_owned(), kept, Vec::new()));
        let portal = Portal::new_cursor(cursor.to_owned(), statement);
        portal.start(response(answer, &Format::UnifiedText)?).await;
        store.put_portal(Arc::new(portal));
        Ok(())
    }
}

fn unprepared() -> Refusal {
    Refusal::new(Reason::Internal, "a fault of the server: a statement without a plan")
}

fn no_cursor(name: &str) -> Refusal {
    Refusal::new(Reason::Missing, format!("there is no cursor {name:?}"))
}

/// The client of a connection. There is none before it has logged in, and then nothing is answered.
fn client<C: ClientInfo>(wire: &C) -> PgWireResult<Arc<Client>> {
    let client = wire.session_extensions().get::<Arc<Client>>();
    client
        .map(|client| (*client).clone())
        .ok_or_else(|| Refusal::new(Reason::Credentials, "nobody has logged in").fatal())
}

fn store<C>(wire: &C) -> PgWireResult<&Store>
where
    C: ClientPortalStore,
    C::PortalStore: PortalStore,
{
    wire.portal_store().as_any().downcast_ref::<Store>().ok_or_else(|| unprepared().into())
}

fn close(client: &Client, store: &Store, names: Vec<String>) {
    for name in names {
        store.rm_portal(&name);
        client.drop_portal(&name);
    }
}

/// Rows as they travel.
fn response(answer: Answer, format: &Format) -> PgWireResult<QueryResponse> {
    let fields = Arc::new(fields(&answer.schema, format)?);
    let encoded = Arc::clone(&fields);
    let rows = answer.batches.flat_map(move |batch| match batch {
        Ok(batch) => stream::iter(encode_recordbatch(Arc::clone(&encoded), batch)).boxed(),
        Err(refusal) => stream::iter([Err(PgWireError::from(refusal))]).boxed(),
    });
    Ok(QueryResponse::new(fields, rows))
}

fn fields(columns: &Schema, format: &Format) -> PgWireResult<Vec<FieldInfo>> {
    if let Format::Individual(codes) = format
        && codes.len() != columns.fields().len()
    {
        let message = format!("{} formats were named for {} columns", codes.len(), columns.fields().len());
        return Err(Refusal::new(Reason::Protocol, message).into());
    }
    arrow_schema_to_pg_fields(columns, format, None)
}

fn shown(name: &str, value: &str) -> PgWireResult<QueryResponse> {
    let columns = Schema::new(vec![Field::new(name, DataType::Utf8, true)]);
    let fields = Arc::new(fields(&columns, &Format::UnifiedText)?);
    let mut encoder = DataRowEncoder::new(Arc::clone(&fields));
    encoder.encode_field(&Some(value))?;
    let row = encoder.take_row();
    let mut response = QueryResponse::new(fields, stream::iter([Ok(row)]));
    response.set_command_tag("SHOW");
    Ok(response)
}

/// The next rows of a cursor.
async fn fetch(store: &Store, cursor: &str, rows: Option<usize>) -> PgWireResult<QueryResponse> {
    let Some(Entry::Value(portal)) = store.get_portal(cursor) else { return Err(no_cursor(cursor).into()) };
    let columns = match &*portal.state().lock().await {
        PortalExecutionState::Suspended(response) => response.row_schema(),
        _ => Arc::new(Vec::new()),
    };
    let left = rows.unwrap_or(usize::MAX);
    let rows = stream::try_unfold((portal, left), |(portal, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let row = next_row(&portal).await?;
        Ok(row.map(|row| (row, (portal, left - 1))))
    });
    let mut response = QueryResponse::new(columns, rows);
    response.set_command_tag("FETCH");
    Ok(response)
}

async fn next_row(portal: &Portal<Kept>) -> PgWireResult<Option<DataRow>> {
    let state = portal.state();
    let mut state = state.lock().await;
    let PortalExecutionState::Suspended(response) = &mut *state else { return Ok(None) };
    response.data_rows().next().await.transpose()
}

#[async_trait]
impl SimpleQueryHandler for Statements {
    async fn do_query<C>(&self, wire: &mut C, sql: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let client = client(wire)?;
        let statements = self.parse(sql)?;
        if statements.is_empty() {
            return Ok(vec![Response::EmptyQuery]);
        }
        let mut responses = Vec::with_capacity(statements.len());
        for statement in statements {
            let kept = self.prepare(&client, statement).await?;
            responses.push(self.run(wire, &kept, &Format::UnifiedText, None).await?);
        }
        Ok(responses)
    }
}

#[async_trait]
impl QueryParser for Preparer {
    type Statement = Kept;

    async fn parse_sql<C>(&self, wire: &C, sql: &str, _types: &[Option<Type>]) -> PgWireResult<Option<Kept>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let client = client(wire)?;
        let mut statements = self.0.parse(sql)?;
        match statements.len() {
            0 => Ok(None),
            1 => Ok(Some(self.0.prepare(&client, statements.remove(0)).await?)),
            _ => Err(Refusal::statement("a prepared statement is one statement").into()),
        }
    }

    fn get_parameter_types(&self, kept: &Kept) -> PgWireResult<Vec<Type>> {
        match &kept.prepared {
            Some(prepared) => Parameters::of(&prepared.plan)?.wire_types(),
            None => Ok(Vec::new()),
        }
    }

    fn get_result_schema(&self, kept: &Kept, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        match &kept.columns {
            Some(columns) => fields(columns, format.unwrap_or(&Format::UnifiedText)),
            None => Ok(Vec::new()),
        }
    }
}

/// The extended protocol.
pub(super) struct Extended {
    pub statements: Arc<Statements>,
}

#[async_trait]
impl ExtendedQueryHandler for Extended {
    type Statement = Kept;
    type QueryParser = Preparer;

    fn query_parser(&self) -> Arc<Preparer> {
        Arc::new(Preparer(Arc::clone(&self.statements)))
    }

    async fn on_parse<C>(&self, wire: &mut C, message: Parse) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Kept>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        client(wire)?.keep_statement(name)?;
        match StoredStatement::parse(wire, &message, self.query_parser()).await? {
            Some(statement) => wire.portal_store().put_statement(Arc::new(statement)),
            None => wire.portal_store().put_empty_statement(name),
        }
        wire.feed(PgWireBackendMessage::ParseComplete(ParseComplete::new())).await?;
        Ok(())
    }

    async fn on_bind<C>(&self, wire: &mut C, message: Bind) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Kept>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statement = message.statement_name.as_deref().unwrap_or(DEFAULT_NAME);
        let portal = message.portal_name.as_deref().unwrap_or(DEFAULT_NAME);
        let codes = &message.parameter_format_codes;
        if codes.len() > 1 && codes.len() != message.parameters.len() {
            let text = format!("{} formats were named for {} values", codes.len(), message.parameters.len());
            return Err(Refusal::new(Reason::Protocol, text).into());
        }
        client(wire)?.keep_portal(portal)?;
        match wire.portal_store().get_statement(statement) {
            Some(Entry::Value(statement)) => {
                let bound = Portal::try_new(&message, statement)?;
                wire.portal_store().put_portal(Arc::new(bound));
            }
            Some(Entry::Empty) => wire.portal_store().put_empty_portal(portal),
            None => return Err(PgWireError::StatementNotFound(statement.to_owned())),
        }
        wire.feed(PgWireBackendMessage::BindComplete(BindComplete::new())).await?;
        Ok(())
    }

    async fn on_execute<C>(&self, wire: &mut C, message: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Kept>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        // 0 and less: all.
        let rows_max = usize::try_from(message.max_rows).ok().filter(|max| *max > 0).unwrap_or(usize::MAX);
        let portal = match wire.portal_store().get_portal(name) {
            Some(Entry::Value(portal)) => portal,
            Some(Entry::Empty) => {
                wire.feed(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await?;
                return Ok(());
            }
            None => return Err(PgWireError::PortalNotFound(name.to_owned())),
        };
        wire.set_state(PgWireConnectionState::QueryInProgress);
        let begun = !matches!(*portal.state().lock().await, PortalExecutionState::Initial);
        if !begun {
            let mut status = wire.transaction_status();
            match self.do_query(wire, &portal, rows_max).await? {
                Response::Query(response) => portal.start(response).await,
                Response::Execution(tag) => complete(wire, tag).await?,
                Response::TransactionStart(tag) => {
                    complete(wire, tag).await?;
                    status = status.to_in_transaction_state();
                }
                Response::TransactionEnd(tag) => {
                    complete(wire, tag).await?;
                    status = status.to_idle_state();
                }
                _ => return Err(unprepared().into()),
            }
            wire.set_transaction_status(status);
        }
        send_rows(wire, &portal, rows_max).await?;
        wire.set_state(PgWireConnectionState::ReadyForQuery);
        Ok(())
    }

    async fn on_close<C>(&self, wire: &mut C, message: Close) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Kept>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        let client = client(wire)?;
        match message.target_type {
            TARGET_TYPE_BYTE_STATEMENT => {
                wire.portal_store().rm_statement(name);
                client.drop_statement(name);
            }
            TARGET_TYPE_BYTE_PORTAL => {
                wire.portal_store().rm_portal(name);
                client.drop_portal(name);
            }
            _ => {}
        }
        wire.feed(PgWireBackendMessage::CloseComplete(CloseComplete::new())).await?;
        Ok(())
    }

    async fn do_query<C>(&self, wire: &mut C, portal: &Portal<Kept>, _max_rows: usize) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Kept>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let kept = portal.statement.statement.clone();
        self.statements.run(wire, &kept, &portal.result_column_format, Some(portal)).await
    }
}

async fn complete<C>(wire: &mut C, tag: Tag) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    wire.feed(PgWireBackendMessage::CommandComplete(tag.into())).await?;
    Ok(())
}

/// Sends rows of a portal one by one as they come, at most so many.
async fn send_rows<C>(wire: &mut C, portal: &Portal<Kept>, rows_max: usize) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let state = portal.state();
    let mut state = state.lock().await;
    let PortalExecutionState::Suspended(response) = &mut *state else { return Ok(()) };
    let tag = response.command_tag().to_owned();
    let mut rows = 0;
    let ended = loop {
        if rows == rows_max {
            break false;
        }
        match response.data_rows().next().await.transpose() {
            Ok(Some(row)) => wire.feed(PgWireBackendMessage::DataRow(row)).await?,
            Ok(None) => break true,
            Err(error) => {
                *state = PortalExecutionState::Finished;
                return Err(error);
            }
        }
        rows += 1;
    };
    if ended {
        *response = QueryResponse::new(response.row_schema(), stream::empty());
        complete(wire, Tag::new(&tag).with_rows(rows)).await
    } else {
        wire.feed(PgWireBackendMessage::PortalSuspended(PortalSuspended::new())).await?;
        Ok(())
    }
}

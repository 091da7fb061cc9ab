//! PostgreSQL's protocol, version 3. The messages are pgwire's and the catalog is datafusion-postgres's; accepting, TLS, logging in,
//! limits and what a statement may do are ours, because theirs have no bounds.

mod action;
mod client;
mod dialect;
mod handler;
mod introspection;
mod negotiate;
mod parameters;
mod settings;
mod startup;
mod wire;

use crate::metrics::Door;
use crate::query::Queries;
use crate::refusal::{Reason, Refusal};
use crate::users::Users;
use async_trait::async_trait;
use client::{Client, Clients};
use datafusion_postgres::pgwire::api::cancel::CancelHandler;
use datafusion_postgres::pgwire::api::{
    ClientInfo, DefaultClient, NoopHandler, PgWireConnectionState, RandomPidSecretKeyGenerator,
};
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError};
use datafusion_postgres::pgwire::messages::cancel::CancelRequest;
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use datafusion_postgres::pgwire::tokio::server::{PgWireMessageServerCodec, process_error, process_message};
use futures::{SinkExt, StreamExt};
use handler::{Extended, Kept, Statements};
use negotiate::{Ended, Negotiated, Socket, negotiate};
use startup::{Entrance, Login};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::codec::{Framed, FramedParts};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Pause after the system refused a connection (mostly: no file descriptors), instead of a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a message may have beside its statement: names, values of parameters.
const BESIDE_STATEMENT_BYTES: usize = 1 << 20;
/// Pause between two looks whether a client is still there, while it has sent something that waits to be read.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Connections that are told at once that there is no room; more are closed without a word.
const TURNED_AWAY_MAX: usize = 64;
/// Longest farewell.
pub(crate) const FAREWELL_WITHIN: Duration = Duration::from_secs(2);

type Wired = Framed<Socket, PgWireMessageServerCodec<Kept>>;

/// The door.
pub(crate) struct Postgres {
    queries: Arc<Queries>,
    tls: Option<TlsAcceptor>,
    entrance: Arc<Entrance>,
    statements: Arc<Statements>,
}

impl Postgres {
    pub fn new(queries: &Arc<Queries>, tls: Option<TlsAcceptor>, users: Option<Arc<Users>>) -> Postgres {
        let entrance = Entrance {
            users,
            encrypted_only: tls.is_some(),
            clients: Arc::new(Clients::default()),
            keys: RandomPidSecretKeyGenerator::default(),
            query_within: queries.limits.query_within,
        };
        Postgres {
            queries: Arc::clone(queries),
            tls,
            entrance: Arc::new(entrance),
            statements: Arc::new(Statements::new(Arc::clone(queries))),
        }
    }

    /// Serves until `stop`; then connections end as soon as they are idle.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let door = Arc::new(self);
        let room = Arc::new(Semaphore::new(door.queries.limits.connections));
        let turned_away = Arc::new(Semaphore::new(TURNED_AWAY_MAX));
        let connections = TaskTracker::new();
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Small messages must not wait for the acknowledgement of those before.
            let _ = stream.set_nodelay(true);
            let (door, stop) = (Arc::clone(&door), stop.clone());
            if let Ok(place) = Arc::clone(&room).try_acquire_owned() {
                connections.spawn(async move {
                    let _place = place;
                    let _counted = door.queries.metrics.connection(Door::Postgres);
                    door.connection(stream, from, stop).await;
                });
            } else {
                door.queries.metrics.refuse(Door::Postgres, Reason::Connections);
                if let Ok(place) = Arc::clone(&turned_away).try_acquire_owned() {
                    connections.spawn(async move {
                        let _place = place;
                        let most = door.queries.limits.connections;
                        let message = format!("all {most} connections are taken; try again later");
                        let refusal = Refusal::new(Reason::Connections, message);
                        let _ = tokio::time::timeout(FAREWELL_WITHIN, door.turn_away(stream, refusal)).await;
                    });
                }
            }
        }
        drop(listener);
        connections.close();
        connections.wait().await;
    }

    /// One connection from its first byte to its last.
    async fn connection(&self, stream: TcpStream, from: SocketAddr, stop: CancellationToken) {
        let gone = CancellationToken::new();
        let _gone = gone.clone().drop_guard();
        match watch(&stream) {
            Ok(watched) => {
                let gone = gone.clone();
                tokio::spawn(async move { gone.run_until_cancelled(until_gone(watched, gone.clone())).await });
            }
            Err(error) => tracing::debug!(%error, "a client is not watched"),
        }
        let begun = Instant::now();
        let limits = &self.queries.limits;
        let negotiating = negotiate(stream, self.tls.clone(), limits.stall_within);
        let negotiated = tokio::select! {
            () = stop.cancelled() => return,
            negotiated = tokio::time::timeout(limits.startup_within, negotiating) => negotiated,
        };
        match negotiated {
            Ok(Ok(negotiated)) => self.talk(negotiated, from, begun + limits.startup_within, gone, stop).await,
            Ok(Err(Ended::Left)) => {}
            Ok(Err(Ended::Refused(refusal))) => self.note(&refusal),
            Err(_) => self.queries.metrics.refuse(Door::Postgres, Reason::Silence),
        }
    }

    async fn talk(
        &self,
        negotiated: Negotiated,
        from: SocketAddr,
        log_in_until: Instant,
        gone: CancellationToken,
        stop: CancellationToken,
    ) {
        let client = DefaultClient::new(from, negotiated.encrypted);
        let mut parts =
            FramedParts::new::<PgWireBackendMessage>(negotiated.socket, PgWireMessageServerCodec::new(client));
        parts.read_buf = negotiated.head;
        let mut wire: Wired = Framed::from_parts(parts);
        wire.set_state(PgWireConnectionState::AwaitingStartup);
        let login = Arc::new(Login::new(&self.entrance, gone));
        let extended = Arc::new(Extended { statements: Arc::clone(&self.statements) });
        let cancel = Arc::new(Cancel(Arc::clone(&self.entrance.clients)));
        let mut welcome = false;
        loop {
            let message = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    return self.farewell(&mut wire, Refusal::new(Reason::Stopping, "the server is stopping")).await;
                }
                () = self.late(welcome, log_in_until) => {
                    let message = if welcome { "nothing was asked for too long" } else { "logging in took too long" };
                    return self.farewell(&mut wire, Refusal::new(Reason::Silence, message)).await;
                }
                message = wire.next() => message,
            };
            let message = match message {
                None | Some(Ok(PgWireFrontendMessage::Terminate(_))) => return,
                Some(Ok(message)) => message,
                Some(Err(error)) => return self.broken(&mut wire, error).await,
            };
            let in_extended = message.is_extended_query();
            let handled = process_message(
                message,
                &mut wire,
                Arc::clone(&login),
                Arc::clone(&self.statements),
                Arc::clone(&extended),
                Arc::new(NoopHandler),
                Arc::clone(&cancel),
            );
            let handled = std::panic::AssertUnwindSafe(handled);
            match futures::FutureExt::catch_unwind(handled).await {
                Ok(Ok(())) => {}
                // Before the login is done, an error ends the connection: pgwire itself would go on to serve it.
                Ok(Err(error)) if !welcome || is_broken(&error) => return self.broken(&mut wire, error).await,
                Ok(Err(error)) => {
                    let info = ErrorInfo::from(error);
                    let fatal = info.is_fatal();
                    let answered = process_error(&mut wire, PgWireError::UserError(Box::new(info)), in_extended).await;
                    if fatal || answered.is_err() {
                        return;
                    }
                }
                Err(_panic) => {
                    let refusal = Refusal::new(Reason::Internal, "a fault of the server; its log says more");
                    return self.farewell(&mut wire, refusal).await;
                }
            }
            if !welcome && wire.session_extensions().get::<Arc<Client>>().is_some() {
                welcome = true;
                let limits = &self.queries.limits;
                wire.get_mut().logged_in(limits.statement_bytes + BESIDE_STATEMENT_BYTES);
            } else if !welcome
                && matches!(wire.state(), PgWireConnectionState::ReadyForQuery | PgWireConnectionState::AwaitingStartup)
            {
                // A request to cancel was served; nothing else comes over such a connection.
                return;
            }
        }
    }

    /// Waits until a client has been silent for too long.
    fn late(&self, welcome: bool, log_in_until: Instant) -> impl Future<Output = ()> {
        let until = if welcome { Instant::now() + self.queries.limits.idle_within } else { log_in_until };
        tokio::time::sleep_until(until)
    }

    /// The protocol was broken, or the login failed.
    async fn broken(&self, wire: &mut Wired, error: PgWireError) {
        let info = match error {
            PgWireError::IoError(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<Refusal>()) {
                Some(refusal) => return self.farewell(wire, refusal.clone()).await,
                // The client is gone.
                None => return,
            },
            error => ErrorInfo::from(error),
        };
        let reason = Reason::ALL.into_iter().find(|reason| reason.sqlstate() == info.code).unwrap_or(Reason::Protocol);
        self.farewell(wire, Refusal::new(reason, info.message)).await;
    }

    fn note(&self, refusal: &Refusal) {
        self.queries.metrics.refuse(Door::Postgres, refusal.reason);
        tracing::debug!(reason = refusal.reason.label(), "a connection was ended");
    }

    /// Says why, and closes.
    async fn farewell(&self, wire: &mut Wired, refusal: Refusal) {
        self.note(&refusal);
        let info = ErrorInfo::from(refusal.fatal());
        let said = async {
            wire.send(PgWireBackendMessage::ErrorResponse(info.into())).await?;
            wire.get_mut().shutdown().await
        };
        let _ = tokio::time::timeout(FAREWELL_WITHIN, said).await;
    }

    /// Reads the startup message, because a client hears nothing before it has sent one; then says why not.
    async fn turn_away(&self, stream: TcpStream, refusal: Refusal) {
        let Ok(negotiated) = negotiate(stream, self.tls.clone(), FAREWELL_WITHIN).await else { return };
        let client = DefaultClient::new(SocketAddr::from(([0, 0, 0, 0], 0)), negotiated.encrypted);
        let mut wire: Wired = Framed::new(negotiated.socket, PgWireMessageServerCodec::new(client));
        let info = ErrorInfo::from(refusal.fatal());
        let _ = wire.send(PgWireBackendMessage::ErrorResponse(info.into())).await;
        let _ = wire.get_mut().shutdown().await;
    }
}

/// Whether the connection itself failed, so that nothing can be said over it any more.
fn is_broken(error: &PgWireError) -> bool {
    matches!(error, PgWireError::IoError(_))
}

/// A second handle of a socket, to see its end while the first is busy.
fn watch(stream: &TcpStream) -> std::io::Result<TcpStream> {
    use std::os::fd::AsFd;
    let watched = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
    TcpStream::from_std(watched)
}

/// Cancels `gone` when the other side has closed or lost the connection: a query for nobody is not worked on.
async fn until_gone(watched: TcpStream, gone: CancellationToken) {
    let mut byte = [0];
    loop {
        match watched.peek(&mut byte).await {
            Ok(0) | Err(_) => return gone.cancel(),
            Ok(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

struct Cancel(Arc<Clients>);

#[async_trait]
impl CancelHandler for Cancel {
    async fn on_cancel_request(&self, request: CancelRequest) {
        self.0.cancel(&(request.pid, request.secret_key.to_bytes()));
    }
}

//! SQL over HTTP: `/v1/query` answers in JSON, CSV or Arrow, as the rows come.

mod formats;
mod routes;

use crate::metrics::Door;
use crate::query::Queries;
use crate::refusal::Reason;
use crate::stall::Unstalled;
use crate::users::Users;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use prometheus::Registry;
use routes::{Routes, router};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Pause after the system refused a connection (mostly: no file descriptors), instead of a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Requests at once on one connection of HTTP/2.
const STREAMS_MAX: u32 = 16;
/// What is said, without TLS, where every connection is taken.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\nConnection: close\r\n\
Content-Length: 89\r\n\r\n{\"error\":{\"code\":\"connections\",\"message\":\"all connections are taken; try again later\"}}\r\n";

/// The door.
pub(crate) struct Http {
    routes: Routes,
    tls: Option<TlsAcceptor>,
}

impl Http {
    pub fn new(
        queries: &Arc<Queries>,
        tls: Option<TlsAcceptor>,
        users: Option<Arc<Users>>,
        registry: Registry,
        local: bool,
    ) -> Http {
        let local_names_only = local && users.is_none();
        Http { routes: Routes { queries: Arc::clone(queries), users, local_names_only, registry }, tls }
    }

    /// Serves until `stop`; then requests that were taken are answered to their end.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let queries = Arc::clone(&self.routes.queries);
        let room = Arc::new(Semaphore::new(queries.limits.connections));
        let connections = TaskTracker::new();
        let door = Arc::new(self);
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let mut stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                queries.metrics.refuse(Door::Http, Reason::Connections);
                if door.tls.is_none() {
                    // The socket's own buffer takes it at once.
                    let _ = stream.try_write(FULL);
                    let _ = stream.shutdown().await;
                }
                continue;
            };
            let (door, stop) = (Arc::clone(&door), stop.clone());
            connections.spawn(async move {
                let _place = place;
                let _counted = door.routes.queries.metrics.connection(Door::Http);
                door.connection(stream, stop).await;
            });
        }
        drop(listener);
        connections.close();
        connections.wait().await;
    }

    async fn connection(&self, stream: TcpStream, stop: CancellationToken) {
        let limits = &self.routes.queries.limits;
        let stream = match &self.tls {
            None => Either::Left(stream),
            Some(tls) => match tokio::time::timeout(limits.startup_within, tls.accept(stream)).await {
                Ok(Ok(stream)) => Either::Right(stream),
                Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => return self.routes.queries.metrics.refuse(Door::Http, Reason::Silence),
            },
        };
        let stream = Unstalled::new(stream, limits.stall_within);
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.startup_within);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .keep_alive_interval(limits.stall_within)
            .keep_alive_timeout(limits.startup_within);
        let service = TowerToHyperService::new(router(self.routes.clone()));
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended with an error");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_made_answer_has_the_length_it_says() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
        let error: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(error["error"]["code"], "connections");
    }
}

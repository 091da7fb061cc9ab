//! Accepting connections: one loop for gRPC and for HTTP, with a bound on connections, and an end that loses nothing.

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Largest piece in which a message travels, and most that waits in a stream to be sent. With HTTP/2's 16 KiB a picture would be
/// cut into ten pieces and heatmaps into fifty.
pub(crate) const FRAME_BYTES: u32 = 1 << 20;
/// Flow-control windows. The default of 64 KiB would make a picture wait for several round trips.
const WINDOW_BYTES: u32 = 4 << 20;
/// A client that does not answer a ping for this long is gone, and its requests with it.
const PING_EVERY: Duration = Duration::from_secs(20);
const PONG_WITHIN: Duration = Duration::from_secs(20);
/// Longest wait for the head of an HTTP/1 request, the pause between two on one connection included.
const HEAD_WITHIN: Duration = Duration::from_secs(60);
/// Longest TLS handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Pause after the system refused a connection (mostly: no file descriptors), instead of a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How connections on one socket are served.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    /// Most connections at once; more wait in the system's backlog.
    pub connections_max: usize,
    /// Most requests at once on one connection.
    pub streams_max: u32,
    /// HTTP/2 alone, or HTTP/1 as well.
    pub http2_only: bool,
}

/// Serves `router` on `listener` until `stop`. Then the socket is closed, every connection finishes the requests that it
/// has taken, and the future ends when the last is gone. Dropping it earlier cuts the connections off.
///
/// With `tls`, a connection begins with a handshake, which must not take long.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: ConnectionLimits,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(limits.connections_max));
    let builder = Arc::new(http(limits));
    let connections = TaskTracker::new();
    // Cuts off what is left when this future is dropped.
    let cut = CancellationToken::new();
    let _cut_on_drop = cut.clone().drop_guard();
    while let Some((stream, place)) = accepted(&listener, &room, &stop).await {
        // Without this, small answers would wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let (builder, router) = (Arc::clone(&builder), router.clone());
        let (stop, cut, tls) = (stop.clone(), cut.clone(), tls.clone());
        connections.spawn(async move {
            let _place: OwnedSemaphorePermit = place;
            let stream = match tls {
                None => Either::Left(stream),
                Some(tls) => {
                    let handshake = timeout(HANDSHAKE_WITHIN, tls.accept(stream));
                    let Some(done) = stop.run_until_cancelled(handshake).await else { return };
                    match done {
                        Ok(Ok(stream)) => Either::Right(stream),
                        Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
                        Err(_) => return tracing::debug!("a TLS handshake took too long"),
                    }
                }
            };
            let service = TowerToHyperService::new(router);
            let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        ended = connection.as_mut() => ended,
                        () = cut.cancelled() => Ok(()),
                    }
                }
                () = cut.cancelled() => Ok(()),
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended with an error");
            }
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// The next connection and its place among the allowed ones; `None` at `stop`.
async fn accepted(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let next = async {
        let place = Arc::clone(room).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((stream, place)),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        accepted = next => accepted,
    }
}

fn http(limits: ConnectionLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .max_send_buf_size(FRAME_BYTES as usize)
        .max_concurrent_streams(limits.streams_max)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    if limits.http2_only { builder.http2_only() } else { builder }
}

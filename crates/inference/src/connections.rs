//! Accepting connections: one loop for gRPC and for HTTP, with a bound on connections, and an end that loses nothing.

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Largest piece in which a message travels, and most that waits in a stream to be sent. With HTTP/2's 16 KiB a picture would be
/// cut into ten pieces, and heatmaps into fourteen.
pub(crate) const FRAME_BYTES: u32 = 1 << 20;
/// Flow-control windows. The default of 64 KiB would make a picture wait for several round trips.
const WINDOW_BYTES: u32 = 4 << 20;
/// A client that does not answer a ping for this long is gone, and its requests with it.
const PING_EVERY: Duration = Duration::from_secs(20);
const PONG_WITHIN: Duration = Duration::from_secs(20);
/// Longest wait for the head of an HTTP/1 request, the pause between two on one connection included.
const HEAD_WITHIN: Duration = Duration::from_secs(60);
/// Longest silence after a connection was made: who says nothing must not keep a place that others wait for.
pub(crate) const FIRST_BYTE_WITHIN: Duration = Duration::from_secs(30);
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
    /// Longest wait for a connection's first byte.
    pub first_byte_within: Duration,
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
            let spoke = CancellationToken::new();
            let stream = Listened { stream, spoke: spoke.clone() };
            let silence = timeout(limits.first_byte_within, spoke.cancelled());
            let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                Err(_) = silence => return tracing::debug!("a connection said nothing"),
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

/// A stream that tells when it was first read from.
struct Listened<S> {
    stream: S,
    spoke: CancellationToken,
}

impl<S: AsyncRead + Unpin> AsyncRead for Listened<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context, into: &mut ReadBuf) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        if into.filled().len() > before && !self.spoke.is_cancelled() {
            self.spoke.cancel();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Listened<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context,
        pieces: &[IoSlice],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Places for one connection, which one that says nothing would keep for ever.
    #[tokio::test]
    async fn who_says_nothing_gives_its_place_to_who_does() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "here" }));
        let first_byte_within = Duration::from_millis(50);
        let limits = ConnectionLimits { connections_max: 1, streams_max: 1, http2_only: false, first_byte_within };
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, None, router, limits, stop.clone()));
        let mut silent = TcpStream::connect(address).await.unwrap();
        assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0, "it is closed");
        let mut speaking = TcpStream::connect(address).await.unwrap();
        speaking.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        speaking.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
        stop.cancel();
        serving.await.unwrap();
    }
}

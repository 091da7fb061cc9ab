//! A connection whose client takes no data is cut off: what waits to be sent holds a query's memory.

use crate::refusal::{Reason, Refusal};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

pub(crate) struct Unstalled<S> {
    inner: S,
    within: Duration,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Unstalled<S> {
    pub fn new(inner: S, within: Duration) -> Unstalled<S> {
        Unstalled { inner, within, stalled: None }
    }

    /// Whether the client has taken nothing for too long.
    fn stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let within = self.within;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(within)));
        ready!(timer.as_mut().poll(cx));
        let message = format!("no data were taken for {} s", within.as_secs());
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, Refusal::new(Reason::Silence, message)))
    }

    fn moved<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match poll {
            Poll::Ready(result) => {
                self.stalled = None;
                Poll::Ready(result)
            }
            Poll::Pending => self.stalled(cx).map(Err),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unstalled<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unstalled<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.moved(cx, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_flush(cx);
        self.moved(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.moved(cx, poll)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::poll;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_cut_off() {
        let (_client, server) = tokio::io::duplex(16);
        let mut stream = Unstalled::new(server, Duration::from_millis(20));
        let error = stream.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let refusal = error.get_ref().unwrap().downcast_ref::<Refusal>().unwrap();
        assert_eq!(refusal.reason, Reason::Silence);
    }

    #[tokio::test]
    async fn the_time_begins_anew_with_every_byte_taken() {
        let (mut client, server) = tokio::io::duplex(16);
        let mut stream = Unstalled::new(server, Duration::from_secs(60));
        {
            let mut write = std::pin::pin!(stream.write_all(&[0; 20]));
            assert!(poll!(write.as_mut()).is_pending());
            client.read_exact(&mut [0; 8]).await.unwrap();
            assert!(poll!(write.as_mut()).is_ready());
        }
        assert!(stream.stalled.is_none());
    }
}

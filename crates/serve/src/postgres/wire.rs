//! The bytes of a connection under guard, before the library sees them: messages have lengths that can be, and no longer than they may
//! (pgwire by itself waits for messages of up to 1 GiB).

use crate::refusal::{Reason, Refusal};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest message before a client has logged in, bytes; as PostgreSQL's own limit for them.
pub(super) const STARTUP_BYTES_MAX: usize = 10_000;

/// Where in a message the next byte lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the type (first byte) and length (four bytes, counting themselves) of a message.
    Head { bytes: [u8; 5], got: usize },
    /// That many bytes before the next message.
    Body { left: usize },
}

const HEAD: Place = Place::Head { bytes: [0; 5], got: 0 };

pub(super) struct Wire<S> {
    inner: S,
    place: Place,
    logged_in: bool,
    message_bytes_max: usize,
}

impl<S> Wire<S> {
    /// `startup_left`: bytes of the startup message that are still to come; messages with a type follow.
    pub fn new(inner: S, startup_left: usize) -> Wire<S> {
        Wire {
            inner,
            place: if startup_left > 0 { Place::Body { left: startup_left } } else { HEAD },
            logged_in: false,
            message_bytes_max: STARTUP_BYTES_MAX,
        }
    }

    /// From now on, queries may come.
    pub fn logged_in(&mut self, message_bytes_max: usize) {
        self.logged_in = true;
        self.message_bytes_max = message_bytes_max;
    }

    fn follow(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        while let Some((first, rest)) = bytes.split_first() {
            match &mut self.place {
                Place::Body { left } => {
                    let skipped = bytes.len().min(*left);
                    *left -= skipped;
                    bytes = &bytes[skipped..];
                    if *left == 0 {
                        self.place = HEAD;
                    }
                }
                Place::Head { bytes: head, got } => {
                    head[*got] = *first;
                    *got += 1;
                    bytes = rest;
                    if *got == head.len() {
                        let head = *head;
                        self.place = match self.check(head)? {
                            0 => HEAD,
                            left => Place::Body { left },
                        };
                    }
                }
            }
        }
        Ok(())
    }

    /// Bytes that follow a head.
    fn check(&self, [kind, length @ ..]: [u8; 5]) -> Result<usize, Refusal> {
        let known: &[u8] = if self.logged_in { b"QPBDEHSCXpdcf" } else { b"pX" };
        if !known.contains(&kind) {
            let message = format!("a message of type {:?} has no place here", char::from(kind));
            return Err(Refusal::new(Reason::Protocol, message));
        }
        match usize::try_from(i32::from_be_bytes(length)) {
            Ok(length) if length > self.message_bytes_max => {
                let message = format!("a message of {length} bytes came, and {} are taken", self.message_bytes_max);
                Err(Refusal::new(Reason::Size, message))
            }
            Ok(length) if length >= 4 => Ok(length - 4),
            _ => Err(Refusal::new(Reason::Protocol, "a message came with a length that cannot be")),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        let followed = self.follow(&buffer.filled()[before..]);
        Poll::Ready(followed.map_err(|refusal| io::Error::new(io::ErrorKind::InvalidData, refusal)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend((body.len() as i32 + 4).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    /// What is wrong with some bytes, given piece by piece.
    async fn read(logged_in: Option<usize>, startup_left: usize, bytes: &[u8], piece: usize) -> Option<Refusal> {
        let (client, server) = tokio::io::duplex(1 << 16);
        let mut wire = Wire::new(server, startup_left);
        if let Some(max) = logged_in {
            wire.logged_in(max);
        }
        let (_keep, mut write) = tokio::io::split(client);
        write.write_all(bytes).await.unwrap();
        write.shutdown().await.unwrap();
        let mut buffer = vec![0; piece];
        loop {
            match wire.read(&mut buffer).await {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return error.get_ref()?.downcast_ref::<Refusal>().cloned(),
            }
        }
    }

    #[tokio::test]
    async fn messages_are_followed_however_they_are_cut() {
        let mut bytes = vec![7; 20];
        bytes.extend(message(b'p', b"secret"));
        bytes.extend(message(b'X', b""));
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(read(None, 20, &bytes, piece).await, None, "{piece}");
            let early = [&bytes[..20], &message(b'Q', b"SELECT 1")].concat();
            assert_eq!(read(None, 20, &early, piece).await.unwrap().reason, Reason::Protocol, "{piece}");
            let long = [message(b'Q', &[0; 100]), message(b'Q', &[0; 101])].concat();
            assert_eq!(read(Some(105), 0, &long, piece).await, None, "{piece}");
            assert_eq!(read(Some(104), 0, &long, piece).await.unwrap().reason, Reason::Size, "{piece}");
        }
        for length in [-1i32, 0, 3, i32::MIN] {
            let bytes = [&b"Q"[..], &length.to_be_bytes()].concat();
            assert_eq!(read(Some(1000), 0, &bytes, 5).await.unwrap().reason, Reason::Protocol, "{length}");
        }
    }
}

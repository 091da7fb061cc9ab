//! The first bytes of a connection: TLS or none, a request to cancel, or a startup message.
//!
//! They are read one by one from the bare socket. A library that reads ahead would carry bytes that came before TLS into
//! it, and anyone on the way could put them there (CVE-2021-23214).

use super::wire::{STARTUP_BYTES_MAX, Wire};
use crate::refusal::{Reason, Refusal};
use crate::stall::Unstalled;
use bytes::{BufMut, BytesMut};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

/// Codes of the messages without a type: <https://www.postgresql.org/docs/16/protocol-message-formats.html>
const CANCEL: u32 = 80_877_102;
const WANTS_TLS: u32 = 80_877_103;
const WANTS_GSS: u32 = 80_877_104;
/// First byte of a TLS handshake that comes without being asked for (`sslnegotiation=direct`).
const TLS_HANDSHAKE: u8 = 0x16;
/// Asking for TLS and for GSS, each once.
const QUESTIONS_MAX: usize = 2;

pub(super) type Socket = Wire<Unstalled<Either<TcpStream, TlsStream<TcpStream>>>>;

/// A connection of which the head of the startup message was read.
pub(super) struct Negotiated {
    pub socket: Socket,
    pub encrypted: bool,
    /// Length and code of the startup message or request to cancel.
    pub head: BytesMut,
}

/// Why a connection went no further: it left, or it is told something.
#[derive(Debug)]
pub(super) enum Ended {
    Left,
    Refused(Refusal),
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Ended {
        Ended::Left
    }
}

pub(super) async fn negotiate(
    mut stream: TcpStream,
    tls: Option<TlsAcceptor>,
    stall_within: Duration,
) -> Result<Negotiated, Ended> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(Ended::Left);
    }
    if first[0] == TLS_HANDSHAKE {
        let Some(tls) = tls else { return Err(Ended::Left) };
        let stream = tls.accept(stream).await?;
        if stream.get_ref().1.alpn_protocol() != Some(b"postgresql") {
            return Err(Ended::Left);
        }
        return startup(Either::Right(stream), true, stall_within).await;
    }
    for _ in 0..=QUESTIONS_MAX {
        let head = head(&mut stream).await?;
        match (head.code, &tls) {
            (WANTS_TLS, Some(tls)) if head.length == 8 => {
                stream.write_all(b"S").await?;
                let stream = tls.accept(stream).await?;
                return startup(Either::Right(stream), true, stall_within).await;
            }
            (WANTS_TLS | WANTS_GSS, _) if head.length == 8 => stream.write_all(b"N").await?,
            _ => return follow(head, Either::Left(stream), false, stall_within),
        }
    }
    Err(Ended::Refused(Refusal::new(Reason::Protocol, "the same was asked again")))
}

async fn startup(
    mut stream: Either<TcpStream, TlsStream<TcpStream>>,
    encrypted: bool,
    stall_within: Duration,
) -> Result<Negotiated, Ended> {
    let head = head(&mut stream).await?;
    follow(head, stream, encrypted, stall_within)
}

fn follow(
    head: Head,
    stream: Either<TcpStream, TlsStream<TcpStream>>,
    encrypted: bool,
    stall_within: Duration,
) -> Result<Negotiated, Ended> {
    let refused = |message: &str| Err(Ended::Refused(Refusal::new(Reason::Protocol, message)));
    let fits = match head.code {
        // 16 bytes in version 3.0; keys of up to 256 bytes later.
        CANCEL => (16..=268).contains(&head.length),
        code if code >> 16 == 3 => (9..=STARTUP_BYTES_MAX).contains(&head.length),
        _ => return refused("these are not the first bytes of PostgreSQL's protocol, version 3"),
    };
    if !fits {
        return refused("the startup message has a length that cannot be");
    }
    let mut bytes = BytesMut::with_capacity(head.length);
    bytes.put_u32(head.length as u32);
    bytes.put_u32(head.code);
    Ok(Negotiated { socket: Wire::new(Unstalled::new(stream, stall_within), head.length - 8), encrypted, head: bytes })
}

struct Head {
    length: usize,
    code: u32,
}

async fn head(stream: &mut (impl AsyncReadExt + Unpin)) -> Result<Head, Ended> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes).await?;
    let [a, b, c, d, code @ ..] = bytes;
    Ok(Head { length: u32::from_be_bytes([a, b, c, d]) as usize, code: u32::from_be_bytes(code) })
}

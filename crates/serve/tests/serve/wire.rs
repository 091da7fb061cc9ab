//! A client of PostgreSQL's protocol, byte by byte: it can be as wrong as it likes.

use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// An `ErrorResponse`: severity, SQLSTATE, message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    pub severity: String,
    pub code: String,
    pub message: String,
}

pub type Rows = Vec<Vec<Option<String>>>;

pub struct Client<S = TcpStream> {
    pub stream: S,
    pub pid: i32,
    pub key: i32,
}

/// What came until the server was ready again.
#[derive(Debug, Default)]
pub struct Reply {
    pub rows: Rows,
    pub columns: Vec<String>,
    pub tags: Vec<String>,
    /// Types of all messages in order.
    pub kinds: String,
    pub failed: Option<Failed>,
    /// `I`, `T` or `E`; none where the connection ended.
    pub status: Option<u8>,
}

pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((body.len() as i32 + 4).to_be_bytes());
    bytes.extend(body);
    bytes
}

pub fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = 196_608i32.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend(format!("{name}\0{value}\0").bytes());
    }
    body.push(0);
    let mut bytes = (body.len() as i32 + 4).to_be_bytes().to_vec();
    bytes.extend(body);
    bytes
}

pub async fn connect(address: SocketAddr) -> Client {
    try_connect(address).await.expect("the server lets in")
}

pub async fn try_connect(address: SocketAddr) -> Result<Client, Failed> {
    log_in(TcpStream::connect(address).await.unwrap(), &[("user", "anna"), ("database", "lake")]).await
}

pub async fn log_in<S>(stream: S, parameters: &[(&str, &str)]) -> Result<Client<S>, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut client = Client { stream, pid: 0, key: 0 };
    client.send(&startup(parameters)).await;
    let reply = client.reply().await;
    match reply.failed {
        Some(failed) => Err(failed),
        None => {
            assert_eq!(reply.status, Some(b'I'), "{reply:?}");
            Ok(client)
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the server reads");
    }

    /// One message; `None` at the end of the connection.
    pub async fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = i32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let mut body = vec![0; length as usize - 4];
        self.stream.read_exact(&mut body).await.ok()?;
        Some((head[0], body))
    }

    pub async fn reply(&mut self) -> Reply {
        let mut reply = Reply::default();
        while let Some((kind, body)) = self.message().await {
            reply.kinds.push(char::from(kind));
            match kind {
                b'D' => reply.rows.push(row(&body)),
                b'T' => reply.columns = columns(&body),
                b'C' => reply.tags.push(text(&body)),
                b'K' => {
                    self.pid = i32::from_be_bytes(body[..4].try_into().unwrap());
                    self.key = i32::from_be_bytes(body[4..8].try_into().unwrap());
                }
                b'E' => reply.failed = Some(failed(&body)),
                b'Z' => {
                    reply.status = Some(body[0]);
                    return reply;
                }
                _ => {}
            }
        }
        reply
    }

    pub async fn ask(&mut self, sql: &str) -> Reply {
        self.send(&message(b'Q', format!("{sql}\0").as_bytes())).await;
        self.reply().await
    }

    pub async fn rows(&mut self, sql: &str) -> Rows {
        let reply = self.ask(sql).await;
        assert_eq!(reply.failed, None, "{sql}");
        reply.rows
    }

    /// The only value of the only row.
    pub async fn value(&mut self, sql: &str) -> String {
        let rows = self.rows(sql).await;
        assert_eq!((rows.len(), rows[0].len()), (1, 1), "{sql}");
        rows[0][0].clone().unwrap_or_default()
    }

    pub async fn refused(&mut self, sql: &str) -> Failed {
        let reply = self.ask(sql).await;
        reply.failed.unwrap_or_else(|| panic!("{sql} was answered: {:?}", reply.tags))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
}

fn row(body: &[u8]) -> Vec<Option<String>> {
    let mut rest = &body[2..];
    let mut values = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_at(4);
        let length = i32::from_be_bytes(length.try_into().unwrap());
        let (value, after) = after.split_at(length.max(0) as usize);
        values.push((length >= 0).then(|| text(value)));
        rest = after;
    }
    values
}

fn columns(body: &[u8]) -> Vec<String> {
    let mut rest = &body[2..];
    let mut names = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == 0).unwrap();
        names.push(text(&rest[..end]));
        rest = &rest[end + 1 + 18..];
    }
    names
}

fn failed(body: &[u8]) -> Failed {
    let fields: Vec<String> = body.split(|byte| *byte == 0).filter(|field| !field.is_empty()).map(text).collect();
    let field = |kind: char| fields.iter().find_map(|field| field.strip_prefix(kind)).unwrap_or_default().to_owned();
    Failed { severity: field('S'), code: field('C'), message: field('M') }
}

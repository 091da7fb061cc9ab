//! Both doors over one lake, from listening to the last answer.

use crate::error::{Error, Result};
use crate::http::Http;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::postgres::Postgres;
use crate::query::Queries;
use crate::snapshot::{Aggregate, Snapshots};
use crate::tls::{Identity, Protocol};
use crate::users::{Role, Users};
use lake::Lake;
use prometheus::Registry;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What is served to whom.
pub struct Server {
    pub lake: Lake,
    pub limits: Limits,
    /// `None`: nobody is told numbers under disclosure control.
    pub aggregate: Option<Aggregate>,
    /// `None`: whoever reaches the socket sees the rows.
    pub users: Option<Users>,
    /// `None`: nothing is encrypted.
    pub identity: Option<Identity>,
    /// Serve other machines although there are no users, or no TLS.
    pub unprotected: bool,
    pub registry: Registry,
}

/// A server that listens and has read the lake.
pub struct Bound {
    queries: Arc<Queries>,
    postgres: Option<(TcpListener, Postgres)>,
    http: Option<(TcpListener, Http)>,
}

impl Server {
    /// Listens on the addresses given, and opens the lake. Port 0 takes a free one ([`Bound::postgres`], [`Bound::http`]).
    ///
    /// # Errors
    /// An address is taken; it can be reached from other machines without TLS and users, and `unprotected` is not set; certificate,
    /// key or lake cannot be read.
    pub async fn bind(self, postgres: Option<SocketAddr>, http: Option<SocketAddr>) -> Result<Bound> {
        for address in postgres.iter().chain(&http) {
            self.check(*address)?;
        }
        let metrics = Metrics::register(&self.registry)?;
        let snapshots = Snapshots::new(self.lake, self.aggregate, &self.limits, metrics.clone());
        // A lake that cannot be read is told now, not to the first who asks.
        snapshots.newest(Role::Row).await.map_err(Error::Unreadable)?;
        let queries = Arc::new(Queries::new(snapshots, self.limits, metrics));
        let users = self.users.map(Arc::new);
        let tls = |protocol| self.identity.as_ref().map(|identity| identity.acceptor(&protocol)).transpose();
        let mut bound = Bound { queries: Arc::clone(&queries), postgres: None, http: None };
        if let Some(address) = postgres {
            let door = Postgres::new(&queries, tls(Protocol::Postgres)?, users.clone());
            bound.postgres = Some((listen(address).await?, door));
        }
        if let Some(address) = http {
            let door = Http::new(&queries, tls(Protocol::Http)?, users, self.registry, !self.unprotected);
            bound.http = Some((listen(address).await?, door));
        }
        Ok(bound)
    }

    fn check(&self, address: SocketAddr) -> Result<()> {
        if address.ip().is_loopback() || self.unprotected {
            return Ok(());
        }
        match (&self.users, &self.identity) {
            (Some(_), Some(_)) => Ok(()),
            (None, _) => Err(Error::Unprotected { address, missing: "a users file is needed (--users)" }),
            (_, None) => {
                Err(Error::Unprotected { address, missing: "TLS is needed (--tls-certificate and --tls-key)" })
            }
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
}

impl Bound {
    pub fn postgres(&self) -> Option<SocketAddr> {
        self.postgres.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }

    pub fn http(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }

    /// Serves until `stop`. Then nothing new is taken, and what runs has [`Limits::drain_within`] to end.
    pub async fn run(self, stop: CancellationToken) {
        let postgres = async {
            if let Some((listener, door)) = self.postgres {
                door.serve(listener, stop.clone()).await;
            }
        };
        let http = async {
            if let Some((listener, door)) = self.http {
                door.serve(listener, stop.clone()).await;
            }
        };
        let drained = async {
            stop.cancelled().await;
            tokio::time::sleep(self.queries.limits.drain_within).await;
            self.queries.cut.cancel();
            // What was cut off still says so to its clients.
            tokio::time::sleep(crate::postgres::FAREWELL_WITHIN).await;
        };
        tokio::select! {
            _ = async { tokio::join!(postgres, http) } => {}
            () = drained => {}
        }
    }
}

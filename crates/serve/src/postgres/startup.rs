//! From the startup message to a client who is known: TLS where the server has it, then SCRAM.

use super::client::{Client, Clients};
use super::settings::Settings;
use crate::catalog::SERVER_VERSION;
use crate::refusal::{Reason, Refusal};
use crate::scram::{Handshake, MECHANISM};
use crate::users::{User, Users};
use async_trait::async_trait;
use datafusion_postgres::pgwire::api::auth::{
    DefaultServerParameterProvider, StartupHandler, finish_authentication, protocol_negotiation,
};
use datafusion_postgres::pgwire::api::{
    ClientInfo, METADATA_DATABASE, METADATA_USER, PgWireConnectionState, PidSecretKeyGenerator,
    RandomPidSecretKeyGenerator,
};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::startup::{Authentication, PasswordMessageFamily, Startup};
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use futures::{Sink, SinkExt};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Shared by all connections.
pub(super) struct Entrance {
    pub users: Option<Arc<Users>>,
    /// Whether only TLS is let in.
    pub encrypted_only: bool,
    pub clients: Arc<Clients>,
    pub keys: RandomPidSecretKeyGenerator,
    pub query_within: Duration,
}

/// The startup of one connection.
pub(super) struct Login {
    pub entrance: Arc<Entrance>,
    pub gone: CancellationToken,
    progress: Mutex<Progress>,
}

#[derive(Default)]
enum Progress {
    #[default]
    Nothing,
    /// Named itself; its first message of SCRAM comes next.
    Named(String, Settings),
    /// Its proof comes next. A name that does not exist has no user.
    Challenged(Box<Handshake>, Option<User>, String, Settings),
}

impl Login {
    pub fn new(entrance: &Arc<Entrance>, gone: CancellationToken) -> Login {
        Login { entrance: Arc::clone(entrance), gone, progress: Mutex::default() }
    }

    fn take(&self) -> Progress {
        std::mem::take(&mut *self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, progress: Progress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    async fn welcome<C>(&self, client: &mut C, user: User, settings: Settings) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let (pid, key) = self.entrance.keys.generate(client);
        client.set_pid_and_secret_key(pid, key.clone());
        let known = Arc::new(Client::new(user, settings, self.gone.clone()));
        let entered = self.entrance.clients.enter((pid, key.to_bytes()), &known);
        client.session_extensions().insert(known);
        client.session_extensions().insert(entered);
        let mut parameters = DefaultServerParameterProvider::default();
        parameters.server_version = format!("{SERVER_VERSION} (aortica {})", env!("CARGO_PKG_VERSION"));
        parameters.is_superuser = false;
        parameters.default_transaction_read_only = true;
        parameters.time_zone = "UTC".to_owned();
        finish_authentication(client, &parameters).await
    }

    fn named(&self, startup: &Startup, encrypted: bool) -> Result<(String, Settings), Refusal> {
        if self.entrance.encrypted_only && !encrypted {
            return Err(Refusal::new(
                Reason::Unencrypted,
                "this server wants TLS; connect with sslmode=require or stronger",
            ));
        }
        let parameter = |name: &str| startup.parameters.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let name = parameter(METADATA_USER)
            .ok_or_else(|| Refusal::new(Reason::Protocol, "the startup message names no user"))?;
        if parameter("replication").is_some_and(|value| !["false", "off", "no", "0"].contains(&value)) {
            return Err(Refusal::new(Reason::ReadOnly, "there is nothing to replicate here"));
        }
        let limit = self.entrance.query_within;
        let mut settings = Settings::new(limit);
        if let Some(name) = parameter("application_name") {
            settings.assign("application_name", name, limit)?;
        }
        if let Some(encoding) = parameter("client_encoding") {
            settings.assign("client_encoding", encoding.trim_matches('\''), limit)?;
        }
        // options=-c statement_timeout=5s
        let options = parameter("options").unwrap_or_default();
        let assigned = options.split_whitespace().filter_map(|word| word.trim_start_matches("-c").split_once('='));
        for (name, value) in assigned.chain(parameter("statement_timeout").map(|value| ("statement_timeout", value))) {
            settings.assign(&name.trim_start_matches('-').replace('-', "_"), value, limit)?;
        }
        Ok((name.to_owned(), settings))
    }
}

/// What a wrong name and a wrong password are both told.
fn unknown(name: &str) -> Refusal {
    Refusal::new(Reason::Credentials, format!("user {name:?} and password do not match"))
}

#[async_trait]
impl StartupHandler for Login {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        match (self.take(), message) {
            (Progress::Nothing, PgWireFrontendMessage::Startup(startup)) => {
                protocol_negotiation(client, &startup).await?;
                let (name, settings) = self.named(&startup, client.is_secure()).map_err(Refusal::fatal)?;
                client.metadata_mut().insert(METADATA_USER.to_owned(), name.clone());
                client.metadata_mut().insert(METADATA_DATABASE.to_owned(), crate::catalog::CATALOG.to_owned());
                if self.entrance.users.is_none() {
                    return self.welcome(client, User::anyone(&name), settings).await;
                }
                client.set_state(PgWireConnectionState::AuthenticationInProgress);
                self.put(Progress::Named(name, settings));
                let offered = Authentication::SASL(vec![MECHANISM.to_owned()]);
                client.send(PgWireBackendMessage::Authentication(offered)).await?;
                Ok(())
            }
            (Progress::Named(name, settings), PgWireFrontendMessage::PasswordMessageFamily(message)) => {
                let initial = message.into_sasl_initial_response()?;
                let first = initial.data.filter(|_| initial.auth_method == MECHANISM);
                let first = first.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
                let (Some(users), Some(first)) = (&self.entrance.users, first) else {
                    return Err(unknown(&name).fatal());
                };
                let (verifier, user) = users.verifier(&name);
                let (handshake, answer) = Handshake::begin(verifier, first).map_err(|_| unknown(&name).fatal())?;
                self.put(Progress::Challenged(Box::new(handshake), user, name, settings));
                let answer = Authentication::SASLContinue(answer.into_bytes().into());
                client.send(PgWireBackendMessage::Authentication(answer)).await?;
                Ok(())
            }
            (
                Progress::Challenged(handshake, user, name, settings),
                PgWireFrontendMessage::PasswordMessageFamily(message),
            ) => {
                let proof = sasl_response(message)?;
                let proof = std::str::from_utf8(&proof).map_err(|_| unknown(&name).fatal())?;
                let answer = handshake.finish(proof).map_err(|_| unknown(&name).fatal())?;
                let user = user.ok_or_else(|| unknown(&name).fatal())?;
                let answer = Authentication::SASLFinal(answer.into_bytes().into());
                client.feed(PgWireBackendMessage::Authentication(answer)).await?;
                self.welcome(client, user, settings).await
            }
            _ => Err(Refusal::new(Reason::Protocol, "a message came that has no place in the startup").fatal()),
        }
    }
}

fn sasl_response(message: PasswordMessageFamily) -> PgWireResult<bytes::Bytes> {
    Ok(message.into_sasl_response()?.data)
}

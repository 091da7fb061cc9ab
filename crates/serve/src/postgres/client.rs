//! One client: who it is, its settings, what it runs and keeps.

use super::settings::Settings;
use crate::limits::PREPARED_MAX;
use crate::metrics::Door;
use crate::query::Asker;
use crate::refusal::{Reason, Refusal};
use crate::users::User;
use bytes::Bytes;
use datafusion::arrow::datatypes::SchemaRef;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio_util::sync::CancellationToken;

/// A client that has logged in. It lives in the extensions of its connection.
pub(super) struct Client {
    pub user: User,
    /// Cancelled when the connection is gone.
    pub gone: CancellationToken,
    kept: Mutex<Kept>,
}

struct Kept {
    settings: Settings,
    /// Ends what runs now.
    running: CancellationToken,
    statements: BTreeSet<String>,
    portals: BTreeSet<String>,
    /// Names and columns of the cursors that are open.
    cursors: BTreeMap<String, SchemaRef>,
}

impl Client {
    pub fn new(user: User, settings: Settings, gone: CancellationToken) -> Client {
        let kept = Kept {
            settings,
            running: gone.child_token(),
            statements: BTreeSet::new(),
            portals: BTreeSet::new(),
            cursors: BTreeMap::new(),
        };
        Client { user, gone, kept: Mutex::new(kept) }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing panics while it is held; should it all the same, what is kept is still whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the next statement: what ends it is fresh.
    pub fn asker(&self) -> Asker {
        let mut kept = self.kept();
        kept.running = self.gone.child_token();
        Asker {
            user: self.user.clone(),
            door: Door::Postgres,
            within: kept.settings.within,
            cancel: kept.running.clone(),
        }
    }

    pub fn cancel(&self) {
        self.kept().running.cancel();
    }

    pub fn settings<T>(&self, with: impl FnOnce(&mut Settings) -> T) -> T {
        with(&mut self.kept().settings)
    }

    pub fn keep_statement(&self, name: &str) -> Result<(), Refusal> {
        keep(&mut self.kept().statements, name, "prepared statements")
    }

    pub fn keep_portal(&self, name: &str) -> Result<(), Refusal> {
        keep(&mut self.kept().portals, name, "portals")
    }

    pub fn drop_statement(&self, name: &str) {
        self.kept().statements.remove(name);
    }

    pub fn drop_statements(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.kept().statements)
    }

    pub fn drop_portal(&self, name: &str) {
        let mut kept = self.kept();
        kept.portals.remove(name);
        kept.cursors.remove(name);
    }

    pub fn keep_cursor(&self, name: &str, columns: SchemaRef) -> Result<(), Refusal> {
        let mut kept = self.kept();
        if kept.cursors.contains_key(name) {
            return Err(Refusal::statement(format!("there is a cursor {name:?} already; CLOSE it first")));
        }
        keep(&mut kept.portals, name, "cursors")?;
        kept.cursors.insert(name.to_owned(), columns);
        Ok(())
    }

    pub fn cursor(&self, name: &str) -> Option<SchemaRef> {
        self.kept().cursors.get(name).cloned()
    }

    /// Forgets all cursors; returns their names.
    pub fn drop_cursors(&self) -> Vec<String> {
        let mut kept = self.kept();
        let names: Vec<String> = std::mem::take(&mut kept.cursors).into_keys().collect();
        for name in &names {
            kept.portals.remove(name);
        }
        names
    }
}

fn keep(names: &mut BTreeSet<String>, name: &str, what: &str) -> Result<(), Refusal> {
    if names.len() >= PREPARED_MAX && !names.contains(name) {
        return Err(Refusal::new(
            Reason::Size,
            format!("the connection keeps {PREPARED_MAX} {what}, the most that are allowed; close some"),
        ));
    }
    names.insert(name.to_owned());
    Ok(())
}

/// Clients by the key that a request to cancel must show.
#[derive(Default)]
pub(super) struct Clients(Mutex<HashMap<(i32, Bytes), Weak<Client>>>);

impl Clients {
    fn all(&self) -> MutexGuard<'_, HashMap<(i32, Bytes), Weak<Client>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client is known for as long as what is returned lives.
    pub fn enter(self: &Arc<Self>, key: (i32, Bytes), client: &Arc<Client>) -> Entered {
        self.all().insert(key.clone(), Arc::downgrade(client));
        Entered { clients: Arc::clone(self), key }
    }

    pub fn cancel(&self, key: &(i32, Bytes)) {
        let client = self.all().get(key).and_then(Weak::upgrade);
        if let Some(client) = client {
            client.cancel();
        }
    }
}

pub(super) struct Entered {
    clients: Arc<Clients>,
    key: (i32, Bytes),
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.clients.all().remove(&self.key);
    }
}

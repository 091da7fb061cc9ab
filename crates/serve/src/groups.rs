//! What the aggregate role is asked over: a session without rows, of numbers that may be told (`lake::AggregateSession`).
//!
//! Opening it counts the whole cohort and writes into the policy's log, so that one session serves all who hold the role, and is opened
//! again only after [`COUNTED_AGAIN_AFTER`].

use crate::catalog;
use crate::growth;
use crate::refusal::{Reason, Refusal};
use crate::window::CountWindows;
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::SessionContext;
use lake::{Lake, Policy, SessionOptions};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How old the numbers may grow. Readings that come meanwhile would change few of them: a count that moved by less than the threshold is
/// withheld.
const COUNTED_AGAIN_AFTER: Duration = Duration::from_secs(600);
/// What the log of the policy says the numbers were told for.
const OCCASION: &str = "serve";

/// What the role may be told, and of which readings.
#[derive(Debug, Clone)]
pub struct Disclosure {
    pub policy: Arc<Policy>,
    /// Needed where the lake holds readings of several pipelines or versions.
    pub fingerprint: Option<String>,
}

pub(crate) struct Groups {
    lake: Lake,
    options: SessionOptions,
    /// `None`: the role is not served.
    disclosure: Option<Disclosure>,
    counted: Mutex<Option<(SessionContext, Instant)>>,
}

impl Groups {
    pub fn new(lake: Lake, options: SessionOptions, disclosure: Option<Disclosure>) -> Groups {
        Groups { lake, options, disclosure, counted: Mutex::new(None) }
    }

    /// The session of the role. The first who asks waits until the cohort is counted.
    pub async fn session(&self) -> Result<SessionContext, Refusal> {
        let Some(disclosure) = &self.disclosure else {
            return Err(Refusal::new(
                Reason::Role,
                "the role aggregate is for numbers over groups under disclosure control, which this server does not offer (--policy); rows are not for it",
            ));
        };
        let mut counted = self.counted.lock().await;
        if let Some((context, at)) = counted.as_ref()
            && at.elapsed() < COUNTED_AGAIN_AFTER
        {
            return Ok(context.clone());
        }
        let at = Instant::now();
        let context = self.count(disclosure).await?;
        *counted = Some((context.clone(), at));
        Ok(context)
    }

    async fn count(&self, disclosure: &Disclosure) -> Result<SessionContext, Refusal> {
        let role = lake::Role::Aggregate(Arc::clone(&disclosure.policy));
        let fingerprint = disclosure.fingerprint.as_deref();
        let door = self.lake.door(self.options.clone(), &role, fingerprint, OCCASION).await;
        let door = door.map_err(|error| match error {
            lake::Error::Policy { .. } => {
                tracing::error!(%error, "the policy of disclosure control cannot be served");
                Refusal::new(
                    Reason::Internal,
                    "the policy of disclosure control does not fit this lake; the server's log says more",
                )
            }
            other => Refusal::of_lake(&other),
        })?;
        let context = door.context().clone();
        let failed = |error: DataFusionError| {
            tracing::error!(%error, "no session for the role aggregate");
            Refusal::new(Reason::Internal, "a fault of the server; its log says more")
        };
        catalog::install(&context).await.map_err(failed)?;
        growth::bound(&context).map_err(failed)?;
        let state = SessionStateBuilder::new_from_existing(context.state())
            .with_physical_optimizer_rule(Arc::new(CountWindows))
            .build();
        Ok(SessionContext::new_with_state(state))
    }
}

//! One request, whichever socket it came by: which model, whether it is the one that is expected, which outputs.

use crate::error::{Error, ErrorKind, Result};
use crate::manifest::ModelManifest;
use crate::protocol::disagreement;
use crate::server::Served;
use crate::stage::Stage;
use crate::tensor::{Tensor, TensorBatch};
use crate::trace::Trace;
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument;

/// A deadline further away than this is none.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// What a request says beside its tensors.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub model: String,
    /// Empty: the newest.
    pub version: String,
    /// SHA-256 of the model file that the caller expects, hexadecimal.
    pub digest: Option<String>,
    /// The outputs wanted, in this order; all when empty.
    pub outputs: Vec<String>,
    /// How long the caller waits.
    pub timeout: Option<Duration>,
    pub trace: Option<Trace>,
}

impl Served {
    /// The outputs of the model that is asked for. `batch` decodes the tensors once the model is known to be there.
    pub async fn answer(
        &self,
        asked: Asked,
        batch: impl FnOnce() -> Result<TensorBatch>,
    ) -> Result<(&ModelManifest, Vec<Tensor>)> {
        let model = self.find(&asked.model, &asked.version)?;
        let session = model.session()?;
        let manifest = session.manifest();
        let digest = manifest.digest().to_hex();
        if let Some(expected) = &asked.digest
            && *expected != digest
        {
            return Err(disagreement(manifest, format!("has sha256 {digest}, the caller expects {expected:.64}")));
        }
        // No more names than there are outputs, so that a small request has no large answer.
        if let Some(unknown) =
            asked.outputs.iter().find(|name| manifest.outputs().iter().all(|spec| spec.name != **name))
        {
            return Err(Error::new(
                ErrorKind::Request,
                format!("model `{}` has no output `{unknown:.100}`", manifest.name()),
            ));
        }
        if let Some(twice) = (1..asked.outputs.len()).find(|&at| asked.outputs[..at].contains(&asked.outputs[at])) {
            return Err(Error::new(
                ErrorKind::Request,
                format!("output `{:.100}` is asked for twice", asked.outputs[twice]),
            ));
        }
        let mut batch = batch()?;
        if let Some(timeout) = asked.timeout.filter(|timeout| *timeout <= TIMEOUT_MAX) {
            batch = batch.with_deadline(Instant::now() + timeout);
        }
        let trace = asked.trace.map(|trace| trace.to_string()).unwrap_or_default();
        let span = tracing::info_span!("infer", model = manifest.name(), trace);
        let outputs = async {
            let began = Instant::now();
            let answered = session.infer(batch).await;
            match &answered {
                Ok(_) => tracing::debug!(took = ?began.elapsed(), "answered"),
                Err(error) => tracing::debug!(%error, fault = error.fault().name(), "not answered"),
            }
            answered
        }
        .instrument(span)
        .await?;
        Ok((&model.manifest, selected(outputs, &asked.outputs)))
    }
}

/// The outputs that were asked for, in that order; all when none was named.
fn selected(outputs: Vec<Tensor>, wanted: &[String]) -> Vec<Tensor> {
    if wanted.is_empty() {
        return outputs;
    }
    wanted.iter().filter_map(|name| outputs.iter().find(|tensor| tensor.name() == name)).cloned().collect()
}

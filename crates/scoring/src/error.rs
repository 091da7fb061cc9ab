//! What can go wrong in scoring. A bad image is not an error but an [`domain::ExcludeReason`] (invariant 6).

use domain::Fault;

/// A failure of scoring, with what was being done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{kind}: {context}")]
pub struct Error {
    pub kind: ErrorKind,
    /// What is wrong, where, and what to do. Holds no identifier.
    pub context: String,
}

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// A network's answer has the wrong size or holds numbers that are no probabilities: the model or its service is at fault.
    #[error("unusable network output")]
    NetworkOutput,
    /// A shape model file that cannot be read or contradicts itself.
    #[error("invalid shape model")]
    ShapeModel,
    /// A file that is no forest, or trees that do not end.
    #[error("invalid forest")]
    Forest,
    /// Scoring rules outside their written ranges.
    #[error("invalid scoring rules")]
    Rules,
    /// Points that span no shape or no region: too few, coincident, or folded over.
    #[error("degenerate geometry")]
    Geometry,
    /// Shapes that no model can be fitted to.
    #[error("unusable training shapes")]
    TrainingShapes,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, context: impl Into<String>) -> Error {
        Error { kind, context: context.into() }
    }

    /// Who must act, and whether to try again.
    pub fn fault(&self) -> Fault {
        match self.kind {
            ErrorKind::NetworkOutput | ErrorKind::ShapeModel | ErrorKind::Forest | ErrorKind::Rules => {
                Fault::Misconfigured
            }
            ErrorKind::Geometry | ErrorKind::TrainingShapes => Fault::InvalidInput,
        }
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

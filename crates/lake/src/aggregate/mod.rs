//! Disclosure control: the aggregate role, which is told numbers of groups and never a row.
//!
//! The role does not get a filtered view of the rows, whose every leak would have to be found: its SQL session holds no rows at all.
//! When a session is opened, the cohort is counted once by the strata of the policy; `statistics::disclosure` decides for all
//! those counts at once, in view of everything told before ([`released`]), which of them may be told; and the functions of the
//! policy answer from those alone. So any statement may be run over the answers, on whatever way: there is nothing behind them.
//!
//! It is not differential privacy: see the module of that name in `statistics` and `docs/releases.md`.

mod cohort;
mod door;
mod functions;
mod policy;
mod released;
mod session;
mod tables;
#[cfg(test)]
mod tests;

pub use cohort::MEMBERS_MAX;
pub use door::{Door, Role};
pub use policy::{Function, Policy, STRATA_MAX, Stratum, VALUES_MAX};
pub use released::COHORTS_MAX;
pub use session::{AggregateSession, Population};

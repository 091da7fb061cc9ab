//! What a role may ask. Every statement is planned and run in the session that is chosen here, and nowhere else.

use crate::groups::Groups;
use crate::refusal::{Reason, Refusal};
use crate::snapshot::Snapshot;
use crate::users::{Role, User};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use lake::LakeSession;

/// The session that a user's statements see: `row` all rows, `aggregate` what may be told of groups, and that session must hold
/// no rows.
pub(crate) async fn session(user: &User, snapshot: &Snapshot, groups: &Groups) -> Result<SessionContext, Refusal> {
    match user.role {
        Role::Row => Ok(snapshot.context.clone()),
        Role::Aggregate => groups.session().await,
    }
}

/// Refuses a statistic over readings of several pipelines or versions. The session of groups is made of one of them.
pub(crate) async fn one_fingerprint(user: &User, snapshot: &Snapshot, plan: &LogicalPlan) -> Result<(), Refusal> {
    match user.role {
        Role::Row => snapshot.session.refuse_mixture(plan).await.map_err(|error| Refusal::of_lake(&error)),
        Role::Aggregate => Ok(()),
    }
}

/// Lets a plan pass that reads.
pub(crate) fn reading(plan: LogicalPlan) -> Result<LogicalPlan, Refusal> {
    match LakeSession::read_only().verify_plan(&plan) {
        Ok(()) => Ok(plan),
        Err(_) => Err(Refusal::new(Reason::ReadOnly, "the lake can only be read: write SELECT or EXPLAIN")),
    }
}

//! What a role may ask. Every statement is planned and run in the session that is chosen here, and nowhere else.

use crate::refusal::{Reason, Refusal};
use crate::snapshot::Snapshot;
use crate::users::{Role, User};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use lake::LakeSession;

/// The session that a user's statements see: `row` all rows, `aggregate` what may be told of groups, and that session must hold
/// no rows.
pub(crate) fn session<'a>(user: &User, snapshot: &'a Snapshot) -> Result<&'a SessionContext, Refusal> {
    match user.role {
        Role::Row => Ok(&snapshot.context),
        Role::Aggregate => Err(Refusal::new(
            Reason::Role,
            "the role aggregate is for numbers over groups under disclosure control, which this server does not offer; rows are not for it",
        )),
    }
}

/// Lets a plan pass that reads.
pub(crate) fn reading(plan: LogicalPlan) -> Result<LogicalPlan, Refusal> {
    match LakeSession::read_only().verify_plan(&plan) {
        Ok(()) => Ok(plan),
        Err(_) => Err(Refusal::new(Reason::ReadOnly, "the lake can only be read: write SELECT or EXPLAIN")),
    }
}

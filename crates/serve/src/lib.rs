//! The lake for those who ask over the network: PostgreSQL's protocol and HTTP, with users, roles, limits and reasons.
//!
//! A statement goes [`statement`] (not too long, not too deep) → plan over the newest [`snapshot`] of what the role may
//! see → [`query`] (memory, time, rows, turns) → rows through one of the two doors.

mod base64;
mod catalog;
mod error;
mod growth;
mod http;
mod limits;
mod memory;
mod metrics;
mod postgres;
mod query;
mod refusal;
mod scram;
mod server;
mod snapshot;
mod stall;
mod statement;
mod tls;
mod users;
mod window;

pub use error::{Error, Result};
pub use limits::{Limits, STATEMENT_KIB_MAX, THREAD_STACK_BYTES};
pub use refusal::{Reason, Refusal};
pub use server::{Bound, Server};
pub use snapshot::Aggregate;
pub use tls::Identity;
pub use users::{Role, User, Users, set_password, set_token};

//! One file per subcommand, or per few that share their wiring.

pub mod calibration;
pub mod codebook;
pub mod config;
pub mod distributed;
pub mod evaluate;
pub mod infer;
pub mod learning;
pub mod model;
pub mod phantom;
pub mod pipeline;
pub mod policy;
pub mod pseudonymise;
pub mod query;
pub mod rebuild;
pub mod reconcile;
pub mod release;
pub mod replay;
pub mod report;
pub mod rescore;
pub mod score;
pub mod serve;
pub mod stats;
pub mod status;
pub mod threshold;

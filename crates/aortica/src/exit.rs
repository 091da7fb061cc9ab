//! From an error to a message and an exit code.

use domain::Fault;
use std::fmt;

/// An error of the command line itself.
#[derive(Debug)]
pub struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Usage {}

pub fn usage(message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Usage(message.into()))
}

/// Someone must act: a library, a model, a credential is missing.
#[derive(Debug)]
pub struct Misconfigured(String);

impl fmt::Display for Misconfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Misconfigured {}

pub fn misconfigured(message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Misconfigured(message.into()))
}

/// A signal came before there was anything to finish.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
pub struct Stopped;

/// Stopped by a signal.
pub const EXIT_STOPPED: u8 = 130;

/// An error with its causes in one line. Some libraries put their cause into their own text: it is told once.
pub fn message(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if !told.contains(&text) {
            told = if told.is_empty() { text } else { format!("{told}: {text}") };
        }
    }
    told
}

/// The kind of failure of an error: that of the first crate's error in its chain.
pub fn fault_of(error: &anyhow::Error) -> Fault {
    for cause in error.chain() {
        if cause.is::<Usage>() {
            return Fault::InvalidInput;
        }
        if cause.is::<Misconfigured>() {
            return Fault::Misconfigured;
        }
        let fault = None
            .or_else(|| cause.downcast_ref::<pipeline::Error>().map(pipeline::Error::fault))
            .or_else(|| cause.downcast_ref::<lake::Error>().map(lake::Error::fault))
            .or_else(|| cause.downcast_ref::<inference::Error>().map(inference::Error::fault))
            .or_else(|| cause.downcast_ref::<serve::Error>().map(serve::Error::fault))
            .or_else(|| cause.downcast_ref::<phantom::Error>().map(phantom::Error::fault))
            .or_else(|| cause.downcast_ref::<learning::Error>().map(learning::Error::fault))
            .or_else(|| cause.downcast_ref::<scoring::Error>().map(scoring::Error::fault));
        if let Some(fault) = fault {
            return fault;
        }
        if cause.is::<std::io::Error>() || cause.is::<toml::de::Error>() || cause.is::<csv::Error>() {
            return Fault::InvalidInput;
        }
    }
    Fault::Bug
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let inner = std::io::Error::other("disk gone");
        let middle = anyhow::Error::new(inner).context("writing rows: disk gone").context("the lake");
        assert_eq!(message(&middle), "the lake: writing rows: disk gone");
    }
}

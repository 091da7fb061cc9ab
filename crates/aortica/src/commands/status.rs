//! `aortica status`: how far each submission is, and what waits on the queues.

use crate::cli::StatusArgs;
use crate::commands::distributed::{amqp_settings, block_on};
use crate::exit::EXIT_STOPPED;
use crate::progress::plain_duration;
use crate::settings::Settings;
use crate::{environment, signals, wiring};
use pipeline::metrics::Metrics;
use pipeline::queue::Broker;
use pipeline::queue::amqp::AmqpBroker;
use pipeline::status::{BrokerStatus, LaneStatus, Status, SubmissionStatus, status};
use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

/// A broker that does not answer within this is left out of the picture.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Submissions that are shown to a person; JSON has all.
const SHOWN: usize = 20;
/// Clears a terminal, and goes to its first line.
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

pub fn run(args: &StatusArgs, settings: &Settings) -> anyhow::Result<u8> {
    block_on(2, async {
        let cancel = signals::stop_on_signal();
        let lake = wiring::open_lake(&args.lake.lake).await?;
        let mut broker = connect(settings).await;
        loop {
            let seen = broker.as_ref().map(|broker| broker as &dyn Broker).map_err(Clone::clone);
            let now = status(&lake, seen, &args.submissions, environment::now_us()).await?;
            show(&now, args)?;
            let Some(seconds) = args.watch else { return Ok(0) };
            if now.is_complete() {
                return Ok(0);
            }
            let wait = tokio::time::sleep(Duration::from_secs(seconds));
            if cancel.run_until_cancelled(wait).await.is_none() {
                return Ok(EXIT_STOPPED);
            }
            if broker.is_err() {
                broker = connect(settings).await;
            }
        }
    })
}

/// The broker, to look at only, or why there is none.
async fn connect(settings: &Settings) -> Result<AmqpBroker, String> {
    let amqp = amqp_settings(settings, "status", CONNECT_WITHIN, &Metrics::unread()).map_err(|e| e.to_string())?;
    let amqp = amqp.ok_or("no broker is named; set AORTICA_AMQP_URL or AORTICA_AMQP_URL_FILE to see the queues")?;
    AmqpBroker::observe(amqp).await.map_err(|e| e.to_string())
}

fn show(now: &Status, args: &StatusArgs) -> anyhow::Result<()> {
    if args.json {
        println!("{}", serde_json::to_string(now)?);
        return Ok(());
    }
    if args.watch.is_some() && std::io::stdout().is_terminal() {
        print!("{CLEAR}");
    }
    println!("{}", text(now)?);
    Ok(())
}

fn text(now: &Status) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    match &now.broker {
        BrokerStatus::Lanes(lanes) => queues(&mut out, lanes)?,
        BrokerStatus::Unknown(why) => writeln!(out, "queues unknown: {why}")?,
    }
    if now.submissions.is_empty() {
        writeln!(out, "\nno submission yet: `aortica submit SRC` or `score SRC` makes one")?;
    }
    for shown in now.submissions.iter().take(SHOWN) {
        submission(&mut out, shown)?;
    }
    if now.submissions.len() > SHOWN {
        let older = &now.submissions[SHOWN..];
        let pending: u64 = older.iter().map(|s| s.tally.pending).sum();
        writeln!(out, "\nand {} older submissions with {pending} pending items (--json lists all)", older.len())?;
    }
    if let Some(seconds) = now.oldest_pending_s {
        writeln!(out, "\nthe oldest pending item was submitted {} ago", plain_duration(Duration::from_secs(seconds)))?;
    }
    Ok(out)
}

fn queues(out: &mut String, lanes: &[LaneStatus]) -> std::fmt::Result {
    writeln!(out, "{:<18}{:>10}{:>11}", "queue", "ready", "consumers")?;
    for LaneStatus { lane, state } in lanes {
        match state {
            Some(state) => writeln!(out, "{lane:<18}{:>10}{:>11}", state.ready, state.consumers)?,
            None => writeln!(out, "{lane:<18}{:>10}{:>11}", "-", "-")?,
        }
    }
    let state = |name: &str| lanes.iter().find(|l| l.lane == name).and_then(|l| l.state);
    for (lane, role) in [("jobs", "worker"), ("records", "commit"), ("jobs.dead", "commit")] {
        if state(lane).is_some_and(|s| s.ready > 0 && s.consumers == 0) {
            writeln!(out, "{lane}: nobody takes from it; start `aortica {role}`")?;
        }
    }
    for lane in ["jobs.parked", "records.parked"] {
        if state(lane).is_some_and(|s| s.ready > 0) {
            writeln!(out, "{lane}: messages of a newer version; upgrade, then move them back to where they came from")?;
        }
    }
    if lanes.iter().all(|l| l.state.is_none()) {
        writeln!(out, "the broker has none of these queues yet: is `queue.name` right? `aortica submit` makes them")?;
    }
    writeln!(out, "(ready: waits; what is in the hands of consumers is not told over AMQP)")
}

fn submission(out: &mut String, shown: &SubmissionStatus) -> std::fmt::Result {
    let SubmissionStatus { tally, age_s, rate_per_s, left_s } = shown;
    let age = plain_duration(Duration::from_secs(*age_s));
    writeln!(out, "\nsubmission {}, {age} ago, fingerprint {}", tally.submission, tally.fingerprint)?;
    let mut line = |indent: usize, label: &str, n: u64| {
        let share = if tally.items == 0 { 0.0 } else { 100.0 * n as f64 / tally.items as f64 };
        let label = format!("{:indent$}{label}", "");
        writeln!(out, "{label:<34}{n:>9}  {share:>5.1} %")
    };
    line(2, "items", tally.items)?;
    line(4, "scored", tally.scored)?;
    for (name, reasons) in [("failed", &tally.failed), ("excluded", &tally.excluded)] {
        line(4, name, reasons.values().sum())?;
        for (reason, n) in reasons {
            line(6, reason, *n)?;
        }
    }
    line(4, "pending", tally.pending)?;
    if tally.pending > 0 {
        let left = match left_s {
            Some(seconds) => format!("about {} left", plain_duration(Duration::from_secs(*seconds))),
            None => "no row in the last ten minutes".to_owned(),
        };
        writeln!(out, "  {rate_per_s:.1} rows/s, {left}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::queue::LaneState;

    fn lane(lane: &'static str, ready: u64, consumers: u64) -> LaneStatus {
        LaneStatus { lane, state: Some(LaneState { ready, consumers }) }
    }

    #[test]
    fn a_person_is_told_what_to_do() {
        let now = |lanes| Status {
            at_us: 0,
            broker: BrokerStatus::Lanes(lanes),
            submissions: Vec::new(),
            oldest_pending_s: Some(7800),
        };
        let stuck = text(&now(vec![lane("jobs", 7, 0), lane("records", 3, 1), lane("jobs.parked", 1, 0)])).unwrap();
        assert!(stuck.contains("start `aortica worker`") && stuck.contains("jobs.parked: messages"), "{stuck}");
        assert!(!stuck.contains("start `aortica commit`") && stuck.contains("2 h 10 min ago"), "{stuck}");
        let none = text(&now(vec![LaneStatus { lane: "jobs", state: None }])).unwrap();
        assert!(none.contains("none of these queues yet"), "{none}");
    }
}

//! Wall time, processor time of this process and of the broker, and peak memory.

use crate::Result;
use serde_json::{Value, json};
use std::time::Instant;

/// Linux counts processor time in hundredths of a second.
const TICKS_A_SECOND: f64 = 100.0;

/// What was measured between two points.
pub struct Meter {
    began: Instant,
    own_s: f64,
    broker: Option<(u32, f64)>,
}

impl Meter {
    pub fn start(broker: Option<u32>) -> Result<Meter> {
        let broker = broker.map(|pid| Ok::<_, crate::Error>((pid, processor_s(&pid.to_string())?))).transpose()?;
        Ok(Meter { began: Instant::now(), own_s: processor_s("self")?, broker })
    }

    /// `count` things were done since the start.
    pub fn stop(self, count: u64) -> Result<Value> {
        let wall_s = self.began.elapsed().as_secs_f64();
        let own_s = processor_s("self")? - self.own_s;
        let broker_s = self.broker.map(|(pid, before)| Ok::<_, crate::Error>(processor_s(&pid.to_string())? - before));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(json!({
            "count": count,
            "wall_s": wall_s,
            "per_s": count as f64 / wall_s,
            "own_processor_s": own_s,
            "own_processor_us_each": 1e6 * own_s / count.max(1) as f64,
            "broker_processor_s": broker_s.transpose()?,
            "cores": cores,
            "peak_mib": peak_mib()?,
        }))
    }
}

/// User and system time of a process, by `/proc/PID/stat`.
fn processor_s(pid: &str) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // the name, in brackets, may hold anything
    let fields: Vec<&str> = stat.rsplit_once(')').ok_or("no /proc/PID/stat")?.1.split_whitespace().collect();
    let ticks = |at: usize| Ok::<f64, crate::Error>(fields.get(at).ok_or("no /proc/PID/stat")?.parse()?);
    Ok((ticks(11)? + ticks(12)?) / TICKS_A_SECOND)
}

/// Largest resident set so far, MiB.
pub fn peak_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.split_whitespace().nth(1).ok_or("no VmHWM")?.parse::<f64>()? / 1024.0)
}

//! Progress on a terminal as a bar with rate and time left; elsewhere plain lines, not too many.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::fmt::Write;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Plain lines come at most this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

pub struct Progress {
    bar: Option<ProgressBar>,
    what: &'static str,
    started: Instant,
    last_line: Instant,
}

impl Progress {
    /// `what` is counted, in the plural: "images".
    pub fn start(what: &'static str, total: u64, quiet: bool) -> Progress {
        #[allow(clippy::disallowed_methods, reason = "how long a person has waited takes no part in results")]
        let now = Instant::now();
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let style =
                ProgressStyle::with_template("{bar:32.cyan/blue} {pos}/{len} {what}  {rate}  {eta_left}  {msg}")
                    .expect("a valid template")
                    .with_key("what", move |_: &ProgressState, w: &mut dyn Write| write!(w, "{what}").unwrap_or(()))
                    .with_key("rate", |s: &ProgressState, w: &mut dyn Write| {
                        write!(w, "{:.1}/s", s.per_sec()).unwrap_or(())
                    })
                    .with_key("eta_left", |s: &ProgressState, w: &mut dyn Write| {
                        write!(w, "{} left", plain_duration(s.eta())).unwrap_or(())
                    });
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(8));
            bar.set_style(style);
            bar
        });
        Progress { bar, what, started: now, last_line: now }
    }

    /// `note` is shown behind the numbers: "3 failed".
    pub fn update(&mut self, done: u64, total: u64, note: &str) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(note.to_owned());
        } else if self.last_line.elapsed() >= LINE_EVERY && !std::io::stderr().is_terminal() {
            #[allow(clippy::disallowed_methods, reason = "how long a person has waited takes no part in results")]
            let now = Instant::now();
            self.last_line = now;
            let seconds = self.started.elapsed().as_secs_f64();
            let rate = done as f64 / seconds.max(1e-3);
            let left = Duration::from_secs_f64(((total.saturating_sub(done)) as f64 / rate.max(1e-3)).min(1e8));
            eprintln!("{done}/{total} {}  {rate:.1}/s  {} left  {note}", self.what, plain_duration(left));
        }
    }

    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `42 s`, `3 min 5 s`, `2 h 10 min`.
pub fn plain_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..=59 => format!("{seconds} s"),
        60..=3599 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_plainly() {
        assert_eq!(
            [59, 185, 7800].map(|s| plain_duration(Duration::from_secs(s))),
            ["59 s", "3 min 5 s", "2 h 10 min"]
        );
    }
}

//! Whose turn it is among the jobs that a worker holds.
//!
//! A job that comes again was in hand when a worker died, perhaps because of it, together with others that did nothing
//! wrong and would otherwise count as often as the one that kills (invariant 6). So what comes again is read alone. That is
//! not yet enough: whatever waits behind the one that kills is counted with it, too. So of those that came again as often,
//! the first come is first at one death and the last at the next: each innocent one is read before the one that kills
//! at one of the two, and is done. What has come again less often goes before what came more often.

use std::collections::VecDeque;
use std::time::Duration;

/// The broker hands over within this time what was in hand together.
const TOGETHER: Duration = Duration::from_millis(200);

/// Jobs that wait for their turn. At most as many as the prefetch.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    first_time: VecDeque<T>,
    /// With the number of deliveries before this one, in the order of arrival.
    returned: VecDeque<(u32, T)>,
    /// One that came again is being read.
    one_alone: bool,
    /// Nothing has come for a while.
    quiet: bool,
}

impl<T> Default for Turns<T> {
    fn default() -> Turns<T> {
        Turns { first_time: VecDeque::new(), returned: VecDeque::new(), one_alone: false, quiet: false }
    }
}

impl<T> Turns<T> {
    pub fn take_in(&mut self, deliveries_before: u32, job: T) {
        if deliveries_before == 0 {
            self.first_time.push_back(job);
        } else {
            self.returned.push_back((deliveries_before, job));
            self.quiet = false;
        }
    }

    /// Jobs that were not begun.
    pub fn waiting(&self) -> usize {
        self.first_time.len() + self.returned.len()
    }

    pub fn some_returned(&self) -> bool {
        !self.returned.is_empty()
    }

    /// Nothing is being read any more.
    pub fn idle(&mut self) {
        self.one_alone = false;
    }

    /// A job that may be read beside others.
    pub fn together(&mut self) -> Option<T> {
        if self.one_alone || self.some_returned() {
            return None;
        }
        self.first_time.pop_front()
    }

    /// How long nothing must come before the next one is read alone: its order among the others is known by then.
    pub fn quiet_before_alone(&self) -> Duration {
        if self.quiet { Duration::ZERO } else { TOGETHER }
    }

    /// The next one that came again. Call when nothing is being read.
    pub fn alone(&mut self) -> Option<T> {
        self.quiet = true;
        let least = self.returned.iter().map(|(before, _)| *before).min()?;
        let mut places = self.returned.iter().enumerate().filter(|(_, (before, _))| *before == least);
        let place = if least % 2 == 1 { places.next() } else { places.next_back() };
        let (_, job) = self.returned.remove(place?.0)?;
        self.one_alone = true;
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lives of a worker that holds `jobs` and dies whenever it reads one of `kill`. Returns what was done, and how often
    /// each of the others was delivered in vain.
    fn lives(jobs: &[u32], kill: &[u32], limit: u32) -> (Vec<u32>, Vec<u32>) {
        let mut held: Vec<(u32, u32)> = jobs.iter().map(|job| (0, *job)).collect();
        let mut done = Vec::new();
        let mut dead = Vec::new();
        while !held.is_empty() {
            let mut turns = Turns::default();
            for (before, job) in &held {
                turns.take_in(*before, *job);
            }
            // read together, nothing is done before the one that kills is
            let first_time: Vec<u32> = std::iter::from_fn(|| turns.together()).collect();
            if !first_time.iter().any(|job| kill.contains(job)) {
                done.extend(first_time);
                while let Some(job) = turns.alone() {
                    if kill.contains(&job) {
                        break;
                    }
                    done.push(job);
                    turns.idle();
                }
            }
            held.retain(|(_, job)| !done.contains(job));
            held.iter_mut().for_each(|(before, _)| *before += 1);
            dead.extend(held.extract_if(.., |(before, _)| *before > limit).map(|(_, job)| job));
        }
        (done, dead)
    }

    #[test]
    fn the_one_that_kills_dies_alone_wherever_it_stands() {
        let jobs: Vec<u32> = (0..16).collect();
        for killer in 0..16 {
            let (mut done, dead) = lives(&jobs, &[killer], 3);
            done.sort_unstable();
            assert_eq!(dead, [killer]);
            assert_eq!(done, jobs.iter().copied().filter(|job| *job != killer).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_came_less_often_goes_first_and_new_ones_wait() {
        let mut turns = Turns::default();
        turns.take_in(0, "new");
        assert_eq!(turns.together(), Some("new"));
        for (before, job) in [(2, "c"), (1, "a"), (0, "later"), (2, "d"), (1, "b")] {
            turns.take_in(before, job);
        }
        assert_eq!((turns.together(), turns.waiting(), turns.quiet_before_alone()), (None, 5, TOGETHER));
        let order: Vec<&str> = std::iter::from_fn(|| turns.alone()).collect();
        assert_eq!(order, ["a", "b", "d", "c"]);
        assert_eq!(
            (turns.together(), turns.quiet_before_alone()),
            (None, Duration::ZERO),
            "the last one is still read"
        );
        turns.idle();
        assert_eq!(turns.together(), Some("later"));
    }
}

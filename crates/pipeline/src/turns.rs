//! Whose turn it is among the jobs that a worker holds.
//!
//! A job that comes again was in hand when a worker died, perhaps because of it, together with others that did nothing
//! wrong and would otherwise count as often as the one that kills (invariant 6). So what comes again is read alone. That is
//! not yet enough: whatever waits behind the one that kills is counted with it, too. So those that came again as often are
//! read by their names, upwards at one death and downwards at the next: each innocent one is read before the one that kills
//! at one of the two, and is done. By names, since brokers do not promise an order of what comes again. What has come again
//! less often goes before what came more often, but for the last delivery of something, which goes first: behind
//! one that kills and has come less often it would be the one to die.

use crate::queue::topology::DELIVERY_LIMIT;
use std::collections::VecDeque;
use std::time::Duration;

/// The broker hands over within this time what was in hand together.
const TOGETHER: Duration = Duration::from_millis(200);

/// Jobs that wait for their turn, with their names. At most as many as the prefetch.
#[derive(Debug)]
pub(crate) struct Turns<N, T> {
    first_time: VecDeque<T>,
    /// With the number of deliveries before this one.
    returned: Vec<(u32, N, T)>,
    /// One that came again is being read.
    one_alone: bool,
    /// Nothing has come for a while.
    quiet: bool,
}

impl<N, T> Default for Turns<N, T> {
    fn default() -> Turns<N, T> {
        Turns { first_time: VecDeque::new(), returned: Vec::new(), one_alone: false, quiet: false }
    }
}

impl<N: Ord, T> Turns<N, T> {
    pub fn take_in(&mut self, deliveries_before: u32, job: T, name: impl FnOnce(&T) -> N) {
        if deliveries_before == 0 {
            self.first_time.push_back(job);
        } else {
            let name = name(&job);
            self.returned.push((deliveries_before, name, job));
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
        let counts = self.returned.iter().map(|(before, ..)| *before);
        let (least, most) = (counts.clone().min()?, counts.max()?);
        let turn = if most >= DELIVERY_LIMIT { most } else { least };
        let places = (0..self.returned.len()).filter(|place| self.returned[*place].0 == turn);
        let name = |place: &usize| &self.returned[*place].1;
        let place = if turn % 2 == 1 { places.min_by_key(name) } else { places.max_by_key(name) };
        let (_, _, job) = self.returned.swap_remove(place?);
        self.one_alone = true;
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lives of a worker that holds jobs, each with its deliveries in vain, and dies whenever it reads one of `kill`. It is
    /// handed them in another order each time. Returns what was done, and what went to the dead letters.
    fn lives(mut held: Vec<(u32, u32)>, kill: &[u32], limit: u32) -> (Vec<u32>, Vec<u32>) {
        let mut done = Vec::new();
        let mut dead = Vec::new();
        while !held.is_empty() {
            let mut turns = Turns::default();
            let middle = held.len() / 2;
            held.rotate_left(middle);
            for (before, job) in &held {
                turns.take_in(*before, *job, |job| *job);
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
    fn the_one_that_kills_dies_alone_wherever_it_stands_and_however_often_others_came() {
        // deliveries in vain of the one that kills, and of the others
        for (own, others) in [(0, 0), (1, 1), (2, 2), (1, 2), (2, 1), (1, 3), (2, 3), (3, 1), (3, 2)] {
            for killer in 0..16 {
                let held = (0..16).map(|job| (if job == killer { own } else { others }, job)).collect();
                let (mut done, dead) = lives(held, &[killer], DELIVERY_LIMIT);
                done.sort_unstable();
                assert_eq!(dead, [killer], "{own}, {others}");
                assert_eq!(done, (0..16).filter(|job| *job != killer).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn last_deliveries_go_first_then_what_came_less_often_and_new_ones_wait() {
        let mut turns = Turns::default();
        turns.take_in(0, "new", |job| *job);
        assert_eq!(turns.together(), Some("new"));
        for (before, job) in [(2, "c"), (1, "b"), (0, "later"), (2, "d"), (1, "a"), (3, "last")] {
            turns.take_in(before, job, |job| *job);
        }
        assert_eq!((turns.together(), turns.waiting(), turns.quiet_before_alone()), (None, 6, TOGETHER));
        let order: Vec<&str> = std::iter::from_fn(|| turns.alone()).collect();
        assert_eq!(order, ["last", "a", "b", "d", "c"]);
        assert_eq!(
            (turns.together(), turns.quiet_before_alone()),
            (None, Duration::ZERO),
            "the last one is still read"
        );
        turns.idle();
        assert_eq!(turns.together(), Some("later"));
    }
}

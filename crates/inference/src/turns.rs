//! Who computes next on a device that several models share.
//!
//! As many batches are computed at once as the device bears (the cores of a CPU; on a GPU two, so that one is copied while
//! the other is computed). Of the models that wait for a turn, the one comes next that has used the device least: a model
//! with long batches does not starve one with short batches, whatever their demand. A model that was idle neither saves up time
//! nor pays for what it used while nobody else wanted the device: all who come start level, at a clock that goes with the turns
//! (start-time fair queuing; Goyal, Vin and Cheng 1997).

use crate::session::{Device, SessionConfig};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A device and its turns. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Turns {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    at_once: usize,
    free: usize,
    models: Vec<Usage>,
    waiting: Vec<Waiting>,
    arrivals: u64,
    /// What the model had used that got the last turn; never goes back.
    clock: Duration,
}

/// What one model has had of the device.
#[derive(Debug, Default)]
struct Usage {
    used: Duration,
    /// Turns that it holds or waits for.
    claims: usize,
}

#[derive(Debug)]
struct Waiting {
    model: usize,
    arrival: u64,
    go: oneshot::Sender<()>,
}

/// The place of one model among those of a device.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    turns: Turns,
    model: usize,
}

/// Leave to compute; given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    place: Place,
    /// When the turn came; `None` for one that never came.
    began: Option<Instant>,
    released: bool,
}

impl Turns {
    /// `at_once`: batches that are computed at the same time, at least 1.
    pub fn new(at_once: usize) -> Turns {
        let at_once = at_once.max(1);
        let state = State {
            at_once,
            free: at_once,
            models: Vec::new(),
            waiting: Vec::new(),
            arrivals: 0,
            clock: Duration::ZERO,
        };
        Turns { state: Arc::new(Mutex::new(state)) }
    }

    /// Those of each device that the models use: as many batches at once as the model that asks for most, on a GPU at least
    /// two, on a CPU `spare` more.
    pub fn of_devices<'a>(models: impl Iterator<Item = &'a SessionConfig>, spare: usize) -> BTreeMap<Device, Turns> {
        let mut at_once: BTreeMap<Device, usize> = BTreeMap::new();
        for config in models {
            let least = if config.device == Device::Cpu { 1 } else { 2 };
            let most = at_once.entry(config.device).or_insert(least);
            *most = (*most).max(config.runners);
        }
        let spare = |device: Device| if device == Device::Cpu { spare } else { 0 };
        at_once.into_iter().map(|(device, at_once)| (device, Turns::new(at_once + spare(device)))).collect()
    }

    pub(crate) fn place(&self) -> Place {
        let mut state = self.lock();
        state.models.push(Usage::default());
        Place { turns: self.clone(), model: state.models.len() - 1 }
    }

    /// What every model has used so far, in the order in which they came.
    #[cfg(test)]
    fn used(&self) -> Vec<Duration> {
        self.lock().models.iter().map(|usage| usage.used).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic is done while the lock is held.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn claim(&mut self, model: usize) {
        let usage = &mut self.models[model];
        if usage.claims == 0 {
            usage.used = usage.used.max(self.clock);
        }
        usage.claims += 1;
    }

    fn wait(&mut self, model: usize) -> oneshot::Receiver<()> {
        let (go, wait) = oneshot::channel();
        self.waiting.push(Waiting { model, arrival: self.arrivals, go });
        self.arrivals += 1;
        wait
    }

    fn take(&mut self, model: usize) {
        self.free -= 1;
        self.clock = self.clock.max(self.models[model].used);
    }

    /// Takes back what a claim held, `began` when it had its turn.
    fn release(&mut self, model: usize, began: Option<Instant>) {
        let usage = &mut self.models[model];
        usage.claims -= 1;
        if let Some(began) = began {
            usage.used += began.elapsed();
            self.free += 1;
            self.grant();
        }
    }

    /// Hands free turns to those who wait.
    fn grant(&mut self) {
        while self.free > 0 {
            let next = (0..self.waiting.len())
                .min_by_key(|&at| (self.models[self.waiting[at].model].used, self.waiting[at].arrival));
            let Some(next) = next else { return };
            let waiting = self.waiting.swap_remove(next);
            // One that has gone does not take a turn; its claim is given back by its own drop.
            if waiting.go.send(()).is_ok() {
                self.take(waiting.model);
            }
        }
    }
}

impl Place {
    /// Waits for a turn. Dropping the future gives the wait up.
    pub async fn turn(&self) -> Turn {
        let wait = {
            let mut state = self.turns.lock();
            state.claim(self.model);
            if state.free > 0 && state.waiting.is_empty() {
                state.take(self.model);
                None
            } else {
                Some(state.wait(self.model))
            }
        };
        self.granted(wait).await
    }

    /// The turn of a claim, at once or when it is given.
    async fn granted(&self, wait: Option<oneshot::Receiver<()>>) -> Turn {
        let mut turn = Turn { place: self.clone(), began: None, released: false };
        if let Some(wait) = wait {
            let mut given = Given { turns: &self.turns, wait, taken: false };
            // The sender is dropped only with the state itself, which this place keeps.
            given.taken = (&mut given.wait).await.is_ok();
            debug_assert!(given.taken);
        }
        turn.began = Some(Instant::now());
        turn
    }
}

impl Turn {
    /// Whether nobody else computes on the device or waits for it.
    pub fn is_alone(&self) -> bool {
        let state = self.place.turns.lock();
        state.free + 1 == state.at_once && state.waiting.is_empty()
    }

    /// Gives the turn back and waits for the next: in line before the device is handed on, so that a model with one runner is
    /// among those of whom the next is chosen.
    pub async fn renew(mut self) -> Turn {
        let place = self.place.clone();
        let wait = {
            let mut state = place.turns.lock();
            state.claim(place.model);
            let wait = state.wait(place.model);
            state.release(place.model, self.began);
            self.released = true;
            wait
        };
        drop(self);
        place.granted(Some(wait)).await
    }
}

/// A turn that may have been handed over just when the waiter went away: then it goes back.
struct Given<'a> {
    turns: &'a Turns,
    wait: oneshot::Receiver<()>,
    taken: bool,
}

impl Drop for Given<'_> {
    fn drop(&mut self) {
        if !self.taken {
            let mut state = self.turns.lock();
            self.wait.close();
            if self.wait.try_recv().is_ok() {
                state.free += 1;
                state.grant();
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.released {
            self.place.turns.lock().release(self.place.model, self.began);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use futures::future::BoxFuture;

    /// Adds to what a model has used, as if it had computed for so long.
    fn spend(turns: &Turns, model: usize, ms: u64) {
        turns.lock().models[model].used += Duration::from_millis(ms);
    }

    #[test]
    fn a_cpu_bears_its_runners_and_the_spare_batches_and_a_gpu_two() {
        let models = [(Device::Cpu, 3), (Device::Cpu, 2), (Device::Cuda(1), 1)];
        let models = models.map(|(device, runners)| SessionConfig { device, runners, ..SessionConfig::default() });
        let at_once = |spare| -> Vec<(Device, usize)> {
            let turns = Turns::of_devices(models.iter(), spare);
            turns.into_iter().map(|(device, turns)| (device, turns.lock().at_once)).collect()
        };
        assert_eq!(at_once(0), [(Device::Cpu, 3), (Device::Cuda(1), 2)]);
        assert_eq!(at_once(1), [(Device::Cpu, 4), (Device::Cuda(1), 2)]);
    }

    #[tokio::test]
    async fn who_has_the_device_to_itself_is_told() {
        let turns = Turns::new(2);
        let (one, other) = (turns.place(), turns.place());
        let first = one.turn().await;
        assert!(first.is_alone());
        let second = other.turn().await;
        assert!(!first.is_alone() && !second.is_alone());
        let mut third = Box::pin(one.turn());
        assert!(third.as_mut().now_or_never().is_none());
        drop(second);
        assert!(!first.is_alone(), "the one who waited has the turn now");
        drop(third);
        assert!(first.is_alone());
    }

    #[tokio::test]
    async fn the_model_that_has_used_least_comes_next() {
        let turns = Turns::new(1);
        let (long, short) = (turns.place(), turns.place());
        let mut held = Some(long.turn().await);
        let mut order = Vec::new();
        let mut waiting = [Box::pin(long.turn()), Box::pin(short.turn())];
        // both wait all the time; a turn of the first takes ten times as long
        for _ in 0..40 {
            for wait in &mut waiting {
                assert!(wait.as_mut().now_or_never().is_none(), "the device is busy");
            }
            drop(held.take());
            let model = (0..2).find(|model| match waiting[*model].as_mut().now_or_never() {
                Some(turn) => {
                    held = Some(turn);
                    true
                }
                None => false,
            });
            let model = model.expect("a free device is given to somebody");
            spend(&turns, model, if model == 0 { 100 } else { 10 });
            order.push(model);
            waiting[model] = Box::pin(if model == 0 { long.turn() } else { short.turn() });
        }
        let shorts = order.iter().filter(|model| **model == 1).count();
        assert!((34..=38).contains(&shorts), "ten short turns for a long one: {order:?}");
        let used = turns.used();
        assert!(used[0].abs_diff(used[1]) <= Duration::from_millis(120), "{used:?}");
    }

    #[tokio::test]
    async fn with_one_runner_each_the_time_is_shared_all_the_same() {
        let turns = Turns::new(1);
        let (long, short) = (turns.place(), turns.place());
        let mut held = long.turn().await;
        let mut other: BoxFuture<'_, Turn> = Box::pin(short.turn());
        assert!(other.as_mut().now_or_never().is_none());
        let mut order = Vec::new();
        for _ in 0..44 {
            let model = held.place.model;
            order.push(model);
            spend(&turns, model, if model == 0 { 100 } else { 10 });
            // whoever computes asks again while it still has its turn
            let mut again: BoxFuture<'_, Turn> = Box::pin(held.renew());
            held = match again.as_mut().now_or_never() {
                Some(turn) => turn,
                None => {
                    let turn = other.as_mut().now_or_never().expect("one of the two has the turn");
                    other = again;
                    turn
                }
            };
        }
        let shorts = order.iter().filter(|model| **model == 1).count();
        assert!((38..=42).contains(&shorts), "ten short turns for a long one: {order:?}");
    }

    #[tokio::test]
    async fn what_was_used_alone_is_not_held_against_a_model() {
        let turns = Turns::new(1);
        let (early, late) = (turns.place(), turns.place());
        let alone = early.turn().await;
        spend(&turns, 0, 3_600_000);
        drop(alone);
        drop(early.turn().await);
        // the first was idle meanwhile; the second comes, and starts level
        let held = late.turn().await;
        assert!(turns.used()[1] >= Duration::from_secs(3600));
        drop(held);
    }

    #[tokio::test]
    async fn an_idle_model_does_not_save_up_time() {
        let turns = Turns::new(2);
        let (busy, late) = (turns.place(), turns.place());
        let first = busy.turn().await;
        spend(&turns, 0, 5000);
        drop((first.renew().await, late.turn().await));
        assert!(turns.used()[1] >= Duration::from_millis(5000), "starts level with those at work");
    }

    #[tokio::test]
    async fn who_gives_up_waiting_costs_nothing() {
        let turns = Turns::new(1);
        let place = turns.place();
        let held = place.turn().await;
        let mut gone = Box::pin(place.turn());
        assert!(gone.as_mut().now_or_never().is_none());
        let mut patient = Box::pin(place.turn());
        assert!(patient.as_mut().now_or_never().is_none());
        // handed the turn, but gone before it could look
        drop(held);
        drop(gone);
        let turn = patient.as_mut().now_or_never().expect("the turn went on to the next");
        drop(turn);
        let state = turns.lock();
        assert_eq!((state.free, state.models[0].claims), (1, 0));
    }
}

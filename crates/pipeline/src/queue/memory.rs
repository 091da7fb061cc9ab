//! A broker in memory, with the promises of the real one (but for surviving the process) and its ways to disappoint:
//! redelivery, a delivery limit, waiting lanes.

use super::topology::{DELIVERY_LIMIT, Lane};
use super::{Broker, Consumer, ConsumerId, Delivery, LaneState, Parcel, Receipt};
use crate::error::{Error, ErrorKind, Result};
use crate::time::{self, Instant};
use async_trait::async_trait;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;

/// Messages a lane in memory holds at most.
const MAX_MESSAGES: usize = 1_000_000;

#[derive(Debug, Clone)]
struct Waiting {
    parcel: Parcel,
    deliveries: u32,
    /// For waiting lanes: when it moves on.
    due: Option<Instant>,
}

#[derive(Debug, Default)]
struct Lanes(HashMap<Lane, VecDeque<Waiting>>);

#[derive(Debug, Default)]
struct Shared {
    lanes: Mutex<Lanes>,
    /// Consumers that were not stopped, by lane.
    consumers: Mutex<HashMap<Lane, u64>>,
    /// Messages that consumers hold.
    unsettled: AtomicU64,
    changed: Notify,
}

/// A broker in this process. Clones share the queues.
#[derive(Debug, Clone, Default)]
pub struct MemoryBroker {
    shared: Arc<Shared>,
    /// Waiting lanes wait this long instead of their own time.
    wait: Option<Duration>,
}

impl MemoryBroker {
    /// A broker for the impatient: all waiting lanes wait for `wait` only.
    pub fn waiting(wait: Duration) -> MemoryBroker {
        MemoryBroker { wait: Some(wait), ..MemoryBroker::default() }
    }

    /// Messages that were delivered and neither settled nor given back yet.
    pub fn unsettled(&self) -> u64 {
        self.shared.unsettled.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().expect("no panic while the lanes are locked")
    }

    fn consumers(&self) -> MutexGuard<'_, HashMap<Lane, u64>> {
        self.consumers.lock().expect("no panic while counting")
    }

    fn consumer_leaves(&self, lane: Lane) {
        if let Some(count) = self.consumers().get_mut(&lane) {
            *count -= 1;
        }
    }
}

impl Lanes {
    fn of(&mut self, lane: Lane) -> &mut VecDeque<Waiting> {
        self.0.entry(lane).or_default()
    }

    /// Moves on what has waited long enough.
    fn settle_waits(&mut self, now: Instant) {
        for lane in Lane::ALL {
            let Some((_, to)) = lane.waits() else { continue };
            while self.of(lane).front().is_some_and(|w| w.due.is_some_and(|due| due <= now)) {
                let Some(waiting) = self.of(lane).pop_front() else { break };
                self.of(to).push_back(Waiting { deliveries: 0, due: None, ..waiting });
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.0.values().filter_map(|lane| lane.front()?.due).min()
    }

    /// Puts a delivered message back, or among the dead when it was delivered too often.
    fn give_back(&mut self, lane: Lane, mut waiting: Waiting) {
        match lane.dead() {
            Some(dead) if waiting.deliveries > DELIVERY_LIMIT => {
                waiting.parcel.reason = Some("delivery_limit".to_owned());
                self.of(dead).push_back(Waiting { deliveries: 0, ..waiting });
            }
            _ => self.of(lane).push_front(waiting),
        }
    }
}

#[async_trait]
impl Broker for MemoryBroker {
    async fn publish(&self, lane: Lane, parcel: Parcel) -> Result<()> {
        let due = lane.waits().map(|(wait, _)| time::now() + self.wait.unwrap_or(wait));
        let mut lanes = self.shared.lanes();
        let queue = lanes.of(lane);
        if queue.len() >= MAX_MESSAGES {
            return Err(Error::new(ErrorKind::QueueFull, format!("the queue {} is full", lane.name())));
        }
        queue.push_back(Waiting { parcel, deliveries: 0, due });
        drop(lanes);
        self.shared.changed.notify_waiters();
        Ok(())
    }

    async fn consume(&self, lane: Lane, prefetch: u16) -> Result<Box<dyn Consumer>> {
        *self.shared.consumers().entry(lane).or_default() += 1;
        let id = ConsumerId::next();
        let held = Arc::new(Held { id, shared: self.shared.clone(), lane, taken: Mutex::default() });
        Ok(Box::new(MemoryConsumer { held, prefetch: usize::from(prefetch.max(1)), next_tag: 0, stopped: false }))
    }

    async fn look(&self, lane: Lane) -> Result<Option<LaneState>> {
        let consumers = self.shared.consumers().get(&lane).copied().unwrap_or(0);
        let mut lanes = self.shared.lanes();
        lanes.settle_waits(time::now());
        Ok(Some(LaneState { ready: lanes.of(lane).len() as u64, consumers }))
    }
}

/// What one consumer has taken and not settled.
#[derive(Debug)]
struct Held {
    id: ConsumerId,
    shared: Arc<Shared>,
    lane: Lane,
    /// `None` once the consumer has gone.
    taken: Mutex<Option<HashMap<u64, Waiting>>>,
}

impl Held {
    fn settle(&self, tag: u64) -> Result<Waiting> {
        let mut taken = self.taken.lock().expect("no panic while settling");
        let settled = taken.as_mut().and_then(|t| t.remove(&tag));
        self.shared.changed.notify_waiters();
        let settled = settled.ok_or_else(gone)?;
        self.shared.unsettled.fetch_sub(1, Ordering::Relaxed);
        Ok(settled)
    }

    /// Settles a message and all before it that are not.
    fn settle_up_to(&self, tag: u64) -> Result<()> {
        let mut taken = self.taken.lock().expect("no panic while settling");
        let messages = taken.as_mut().filter(|messages| messages.contains_key(&tag)).ok_or_else(gone)?;
        let held = messages.len();
        messages.retain(|other, _| *other > tag);
        self.shared.unsettled.fetch_sub((held - messages.len()) as u64, Ordering::Relaxed);
        self.shared.changed.notify_waiters();
        Ok(())
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Lost, "the consumer has gone; the message comes again")
}

struct MemoryConsumer {
    held: Arc<Held>,
    prefetch: usize,
    next_tag: u64,
    stopped: bool,
}

impl MemoryConsumer {
    fn take(&mut self) -> Option<Delivery> {
        let mut taken = self.held.taken.lock().expect("no panic while settling");
        let taken = taken.get_or_insert_default();
        let mut lanes = self.held.shared.lanes();
        // also when nothing more may be taken: who waits for what is due would else wait for the past, without end
        lanes.settle_waits(time::now());
        if taken.len() >= self.prefetch {
            return None;
        }
        let mut waiting = lanes.of(self.held.lane).pop_front()?;
        let deliveries_before = waiting.deliveries;
        waiting.deliveries += 1;
        self.next_tag += 1;
        taken.insert(self.next_tag, waiting.clone());
        self.held.shared.unsettled.fetch_add(1, Ordering::Relaxed);
        let receipt = Box::new(MemoryReceipt { held: self.held.clone(), tag: self.next_tag });
        Some(Delivery { parcel: waiting.parcel, deliveries_before, receipt })
    }
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn next(&mut self) -> Result<Delivery> {
        loop {
            if self.stopped {
                return Err(Error::new(ErrorKind::Cancelled, "this consumer was stopped"));
            }
            let shared = self.held.shared.clone();
            let changed = shared.changed.notified();
            tokio::pin!(changed);
            // listen before looking, so that nothing that comes in between is missed
            changed.as_mut().enable();
            if let Some(delivery) = self.take() {
                return Ok(delivery);
            }
            let due = shared.lanes().next_due();
            match due {
                Some(due) => tokio::select! { biased; () = changed => {}, () = time::sleep_until(due) => {} },
                None => changed.await,
            }
        }
    }

    async fn stop(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.stopped, true) {
            self.held.shared.consumer_leaves(self.held.lane);
        }
        Ok(())
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        if !self.stopped {
            self.held.shared.consumer_leaves(self.held.lane);
        }
        let taken = self.held.taken.lock().map(|mut taken| taken.take()).ok().flatten();
        let mut unsettled: Vec<(u64, Waiting)> = taken.into_iter().flatten().collect();
        self.held.shared.unsettled.fetch_sub(unsettled.len() as u64, Ordering::Relaxed);
        // oldest first on the lane again
        unsettled.sort_by_key(|(tag, _)| std::cmp::Reverse(*tag));
        let mut lanes = self.held.shared.lanes();
        for (_, waiting) in unsettled {
            lanes.give_back(self.held.lane, waiting);
        }
        drop(lanes);
        self.held.shared.changed.notify_waiters();
    }
}

struct MemoryReceipt {
    held: Arc<Held>,
    tag: u64,
}

#[async_trait]
impl Receipt for MemoryReceipt {
    async fn acknowledge(self: Box<Self>) -> Result<()> {
        self.held.settle(self.tag).map(drop)
    }

    async fn acknowledge_with_earlier(self: Box<Self>) -> Result<()> {
        self.held.settle_up_to(self.tag)
    }

    fn place(&self) -> (ConsumerId, u64) {
        (self.held.id, self.tag)
    }

    async fn give_back(self: Box<Self>) -> Result<()> {
        let waiting = self.held.settle(self.tag)?;
        self.held.shared.lanes().give_back(self.held.lane, waiting);
        self.held.shared.changed.notify_waiters();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::conformance::{self, Pace};

    #[tokio::test]
    async fn the_broker_in_memory_keeps_the_promises() {
        let pace = Pace { a_while: Duration::from_millis(20), retry: Duration::from_millis(60) };
        let open = move |_| {
            let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::waiting(pace.retry));
            Box::pin(async { broker }) as futures::future::BoxFuture<'_, _>
        };
        conformance::all(&open, pace).await;
    }
}

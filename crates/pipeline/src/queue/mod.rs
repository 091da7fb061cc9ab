//! Durable queues between the roles: one broker interface, in memory for tests and over AMQP for the real thing, both
//! held to `conformance`.
//!
//! What both promise: a published message is durable once `publish` returns; every message is delivered at least once
//! until it is settled; an unsettled one comes back when its consumer goes; one that came back more than
//! [`topology::DELIVERY_LIMIT`] times goes to the dead letters, as does a rejected one; nobody gets more than its prefetch.

pub mod amqp;
#[cfg(test)]
mod conformance;
pub mod memory;
pub mod topology;

use crate::error::{ErrorKind, Result};
use crate::job::Message;
use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use topology::Lane;

/// A message and what the broker knows about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parcel {
    pub payload: Bytes,
    /// Times that the message has waited in a retry lane.
    pub retries: u32,
    /// Why it lies where it lies: a short word such as a fault or `delivery_limit`, never free text.
    pub reason: Option<String>,
}

/// A broker of durable queues.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Puts a message on a lane; it is durable when this returns. May be called many times at once.
    ///
    /// # Errors
    /// `Unreachable` once the budget for reconnecting is spent, `QueueFull`, `Refused` when the lane is not there or not
    /// ours. After an error the message may or may not be on the lane.
    async fn publish(&self, lane: Lane, parcel: Parcel) -> Result<()>;

    /// Starts to receive. At most `prefetch` messages are unsettled at a time.
    ///
    /// # Errors
    /// As for `publish`.
    async fn consume(&self, lane: Lane, prefetch: u16) -> Result<Box<dyn Consumer>>;

    /// What the broker tells of a lane; `None` where it has none of this name.
    async fn look(&self, lane: Lane) -> Result<Option<LaneState>>;

    /// Messages that wait on the lane, without those that are with consumers; 0 where there is no lane.
    async fn depth(&self, lane: Lane) -> Result<u64> {
        Ok(self.look(lane).await?.map_or(0, |state| state.ready))
    }
}

/// What a broker tells of a lane; its counts may lag by seconds. How many messages are with consumers (unacknowledged),
/// AMQP does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LaneState {
    /// Messages that wait to be delivered.
    pub ready: u64,
    /// Processes that take from it.
    pub consumers: u64,
}

/// Receives from one lane. Dropping it gives everything unsettled back.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for the next message. May be dropped while waiting without losing one.
    ///
    /// # Errors
    /// `Unreachable` once the budget for reconnecting is spent: the end of the stream is a fault, not an end.
    async fn next(&mut self) -> Result<Delivery>;

    /// Takes no more messages; those taken can still be settled until the consumer is dropped.
    async fn stop(&mut self) -> Result<()>;
}

/// A message in our hands until it is settled.
pub struct Delivery {
    pub parcel: Parcel,
    /// Times that it was delivered before.
    pub deliveries_before: u32,
    pub receipt: Box<dyn Receipt>,
}

/// The duty to settle one message. Dropping it settles nothing: the message comes back when the consumer goes.
#[async_trait]
pub trait Receipt: Send + Sync {
    /// Done: the message is gone.
    ///
    /// # Errors
    /// `Lost` when the connection was lost since: the message comes again, here or elsewhere.
    async fn acknowledge(self: Box<Self>) -> Result<()>;

    /// Done, and so is every message that the same consumer was given before it and that is not settled yet: one word to the
    /// broker for a whole batch.
    ///
    /// # Errors
    /// As of [`Receipt::acknowledge`]; then all of them come again.
    async fn acknowledge_with_earlier(self: Box<Self>) -> Result<()>;

    /// Not done: back on the lane at once, counted as one delivery.
    async fn give_back(self: Box<Self>) -> Result<()>;

    /// Who gave the message, and which of theirs it is; a consumer that was opened anew is another one.
    fn place(&self) -> (ConsumerId, u64);
}

/// A consumer of this process, of whatever broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConsumerId(u64);

impl ConsumerId {
    pub(crate) fn next() -> ConsumerId {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        ConsumerId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Acknowledges messages together with everything that their consumers were given before the last of them: all that must be
/// done, or settled otherwise.
///
/// # Errors
/// The first error that is not `Lost`: a message whose connection is gone comes again, and that is no fault.
pub async fn acknowledge_all(deliveries: Vec<Delivery>) -> Result<()> {
    let mut last: BTreeMap<ConsumerId, (u64, Box<dyn Receipt>)> = BTreeMap::new();
    for Delivery { receipt, .. } in deliveries {
        let (consumer, number) = receipt.place();
        if last.get(&consumer).is_none_or(|(latest, _)| *latest < number) {
            last.insert(consumer, (number, receipt));
        }
    }
    for (_, receipt) in last.into_values() {
        match receipt.acknowledge_with_earlier().await {
            Err(error) if error.kind() != ErrorKind::Lost => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery").field("deliveries_before", &self.deliveries_before).finish_non_exhaustive()
    }
}

impl Delivery {
    /// Puts the message on another lane, then acknowledges it here.
    ///
    /// # Errors
    /// Of `publish` and `acknowledge`; after either the message comes again, so that nothing is lost.
    pub async fn move_to(self, broker: &dyn Broker, lane: Lane, reason: &str) -> Result<()> {
        self.copy_to(broker, lane, reason).await?;
        self.receipt.acknowledge().await
    }

    /// Puts the message on another lane and leaves it here: the first half of a move.
    ///
    /// # Errors
    /// Of `publish`.
    pub async fn copy_to(&self, broker: &dyn Broker, lane: Lane, reason: &str) -> Result<()> {
        let retries = self.parcel.retries + u32::from(lane.waits().is_some());
        let parcel = Parcel { retries, reason: Some(reason.to_owned()), payload: self.parcel.payload.clone() };
        broker.publish(lane, parcel).await
    }
}

/// A lane of messages of one type: jobs or records.
pub struct Queue<M> {
    broker: Arc<dyn Broker>,
    lane: Lane,
    message: PhantomData<fn(M) -> M>,
}

impl<M> Clone for Queue<M> {
    fn clone(&self) -> Queue<M> {
        Queue { broker: self.broker.clone(), lane: self.lane, message: PhantomData }
    }
}

/// What a lane gave: a message, or something that is none.
#[derive(Debug)]
pub enum Received<M> {
    Message {
        message: M,
        delivery: Delivery,
    },
    /// Not for this program: put it aside.
    Odd(Odd),
}

/// A message of a newer schema, or one that cannot be read.
#[derive(Debug)]
pub struct Odd {
    delivery: Delivery,
    lane: Option<Lane>,
    pub reason: &'static str,
}

impl Odd {
    /// Moves it to the parked or to the dead lane. From the dead lane there is no further: what nobody can read is let go.
    ///
    /// # Errors
    /// Of `publish` and `acknowledge`.
    pub async fn put_aside(self, broker: &dyn Broker) -> Result<()> {
        match self.lane {
            Some(lane) => self.delivery.move_to(broker, lane, self.reason).await,
            None => self.delivery.receipt.acknowledge().await,
        }
    }
}

impl<M: Message> Queue<M> {
    pub fn new(broker: Arc<dyn Broker>, lane: Lane) -> Queue<M> {
        Queue { broker, lane, message: PhantomData }
    }

    pub fn broker(&self) -> &Arc<dyn Broker> {
        &self.broker
    }

    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// Durable when this returns.
    pub async fn publish(&self, message: &M) -> Result<()> {
        self.broker.publish(self.lane, Parcel { payload: message.encode()?, ..Parcel::default() }).await
    }

    pub async fn consume(&self, prefetch: u16) -> Result<Receiver<M>> {
        Ok(Receiver { queue: self.clone(), consumer: self.broker.consume(self.lane, prefetch).await? })
    }
}

/// Receives messages of one type.
pub struct Receiver<M> {
    queue: Queue<M>,
    consumer: Box<dyn Consumer>,
}

impl<M: Message> Receiver<M> {
    pub fn lane(&self) -> Lane {
        self.queue.lane
    }

    /// The next message. May be dropped while waiting without losing one.
    ///
    /// # Errors
    /// Of [`Consumer::next`].
    pub async fn next(&mut self) -> Result<Received<M>> {
        let delivery = self.next_unread().await?;
        Ok(self.queue.read(delivery))
    }

    /// The next message, to be read later with [`Queue::read`]. May be dropped while waiting without losing one.
    ///
    /// # Errors
    /// Of [`Consumer::next`].
    pub async fn next_unread(&mut self) -> Result<Delivery> {
        self.consumer.next().await
    }

    pub async fn stop(&mut self) -> Result<()> {
        self.consumer.stop().await
    }
}

impl<M: Message> Queue<M> {
    /// What a delivery of this lane says. Computes only, so that many may be read at once.
    pub fn read(&self, delivery: Delivery) -> Received<M> {
        let error = match M::decode(&delivery.parcel.payload) {
            Ok(message) => return Received::Message { message, delivery },
            Err(error) => error,
        };
        let (lane, reason) = match error.kind() {
            ErrorKind::NewerMessage => (self.lane.parked(), "newer_schema"),
            _ => (self.lane.dead(), "unreadable_message"),
        };
        tracing::warn!(lane = self.lane.name(), reason, "a message is put aside: {error}");
        Received::Odd(Odd { delivery, lane, reason })
    }
}

//! A broker with the faults that brokers and the way to them have. Like RabbitMQ it hands over up to the prefetch before it
//! is asked, so that what was never begun counts as delivered, too.

use super::fate::{Fate, Fault};
use crate::error::{Error, ErrorKind, Result};
use crate::queue::memory::MemoryBroker;
use crate::queue::topology::Lane;
use crate::queue::{Broker, Consumer, ConsumerId, Delivery, LaneState, Parcel, Receipt};
use async_trait::async_trait;
use futures::FutureExt;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

#[derive(Clone)]
pub(super) struct FaultyBroker {
    pub inner: MemoryBroker,
    pub fate: Arc<Fate>,
}

fn away() -> Error {
    Error::new(ErrorKind::Unreachable, "the broker is away, as the simulation wants it")
}

#[async_trait]
impl Broker for FaultyBroker {
    async fn publish(&self, lane: Lane, parcel: Parcel) -> Result<()> {
        let (fate, what) = (&self.fate, format!("publish {}", lane.name()));
        fate.pause(&what).await;
        if fate.happens(Fault::PublishFails, &what) {
            return Err(away());
        }
        if fate.happens(Fault::QueueFull, &what) {
            return Err(Error::new(ErrorKind::QueueFull, "the queue is full, as the simulation wants it"));
        }
        if fate.happens(Fault::Duplicated, &what) {
            self.inner.publish(lane, parcel.clone()).await?;
        }
        self.inner.publish(lane, parcel).await?;
        fate.pause(&format!("confirm of {what}")).await;
        if fate.happens(Fault::ConfirmLost, &what) {
            return Err(away());
        }
        Ok(())
    }

    async fn consume(&self, lane: Lane, prefetch: u16) -> Result<Box<dyn Consumer>> {
        self.fate.pause(&format!("consume {}", lane.name())).await;
        let inner = self.inner.consume(lane, prefetch).await?;
        let mut consumer =
            FaultyConsumer { broker: self.clone(), lane, prefetch, inner, here: Vec::new(), line: Line::new() };
        consumer.receive()?;
        Ok(Box::new(consumer))
    }

    async fn look(&self, lane: Lane) -> Result<Option<LaneState>> {
        self.inner.look(lane).await
    }
}

/// What a consumer and its receipts know of their connection.
struct Line {
    id: ConsumerId,
    cut: AtomicBool,
    told: Notify,
    /// What came over it and is not settled, in the order in which it was handed on: brokers number messages so, also
    /// those that come in another order than they were put.
    unsettled: Mutex<BTreeMap<u64, Box<dyn Receipt>>>,
    handed_on: AtomicU64,
}

impl Line {
    fn new() -> Arc<Line> {
        Arc::new(Line {
            id: ConsumerId::next(),
            cut: AtomicBool::new(false),
            told: Notify::new(),
            unsettled: Mutex::default(),
            handed_on: AtomicU64::new(0),
        })
    }

    fn unsettled(&self) -> MutexGuard<'_, BTreeMap<u64, Box<dyn Receipt>>> {
        self.unsettled.lock().expect("no panic while settling")
    }
}

struct FaultyConsumer {
    broker: FaultyBroker,
    lane: Lane,
    prefetch: u16,
    inner: Box<dyn Consumer>,
    /// Handed over by the broker and not asked for yet.
    here: Vec<Delivery>,
    line: Arc<Line>,
}

impl FaultyConsumer {
    /// Takes what the broker hands over at once.
    fn receive(&mut self) -> Result<()> {
        while let Some(next) = self.inner.next().now_or_never() {
            self.here.push(next?);
        }
        Ok(())
    }

    /// A new connection: what was unsettled on the old one comes again.
    async fn reconnect(&mut self) -> Result<()> {
        self.here.clear();
        self.inner = self.broker.inner.consume(self.lane, self.prefetch).await?;
        self.line = Line::new();
        Ok(())
    }
}

#[async_trait]
impl Consumer for FaultyConsumer {
    async fn next(&mut self) -> Result<Delivery> {
        let fate = self.broker.fate.clone();
        let what = format!("next of {}", self.lane.name());
        loop {
            if self.line.cut.load(Ordering::Relaxed) {
                self.reconnect().await?;
            }
            self.receive()?;
            if self.here.is_empty() {
                let line = self.line.clone();
                tokio::select! {
                    biased;
                    () = line.told.notified() => {}
                    next = self.inner.next() => self.here.push(next?),
                }
                continue;
            }
            if self.lane == Lane::Jobs {
                fate.between_jobs().await;
            }
            if fate.happens(Fault::StreamEnds, &what) {
                return Err(away());
            }
            if fate.happens(Fault::Reconnected, &what) {
                self.line.cut.store(true, Ordering::Relaxed);
                continue;
            }
            let place = match fate.happens(Fault::OutOfOrder, &what) {
                true => fate.below(self.here.len() as u64, &what) as usize,
                false => 0,
            };
            let Delivery { parcel, deliveries_before, receipt } = self.here.remove(place);
            let number = self.line.handed_on.fetch_add(1, Ordering::Relaxed);
            self.line.unsettled().insert(number, receipt);
            let receipt = FaultyReceipt { number, lane: self.lane, fate, line: self.line.clone() };
            return Ok(Delivery { parcel, deliveries_before, receipt: Box::new(receipt) });
        }
    }

    async fn stop(&mut self) -> Result<()> {
        self.inner.stop().await
    }
}

struct FaultyReceipt {
    number: u64,
    lane: Lane,
    fate: Arc<Fate>,
    line: Arc<Line>,
}

impl FaultyReceipt {
    /// One word on the line for some of its messages.
    async fn settle(&self, numbers: RangeInclusive<u64>) -> Result<()> {
        let what = format!("acknowledge {}", self.lane.name());
        self.fate.pause(&what).await;
        let lost = || Error::new(ErrorKind::Lost, "the connection is gone; the message comes again");
        if self.line.cut.load(Ordering::Relaxed) {
            return Err(lost());
        }
        if self.fate.happens(Fault::AcknowledgementLost, &what) {
            self.line.cut.store(true, Ordering::Relaxed);
            self.line.told.notify_one();
            return Err(lost());
        }
        let settled: Vec<_> = self.line.unsettled().extract_if(numbers, |_, _| true).collect();
        for (_, receipt) in settled {
            receipt.acknowledge().await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Receipt for FaultyReceipt {
    async fn acknowledge(self: Box<Self>) -> Result<()> {
        self.settle(self.number..=self.number).await
    }

    async fn acknowledge_with_earlier(self: Box<Self>) -> Result<()> {
        self.settle(0..=self.number).await
    }

    fn place(&self) -> (ConsumerId, u64) {
        (self.line.id, self.number)
    }

    async fn give_back(self: Box<Self>) -> Result<()> {
        let receipt = self.line.unsettled().remove(&self.number);
        match receipt {
            Some(receipt) => receipt.give_back().await,
            None => Err(Error::new(ErrorKind::Lost, "it was settled before")),
        }
    }
}

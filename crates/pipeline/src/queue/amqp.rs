//! RabbitMQ through lapin: quorum queues, publisher confirms with `mandatory`, prefetch per consumer.
//!
//! lapin's own recovery is left off: since 4.0 it restores no channel, gives up after 16 attempts, and can hang. Instead
//! every broken connection, channel or consumer is thrown away and opened anew, within a written budget of time; when that
//! is spent the caller gets `Unreachable` and the process exits. The end of a consumer's stream is such a break (since
//! 4.3 the server cancels consumers that hold a message too long). Every call has a time limit.

use super::topology::{Lane, MAX_MESSAGES};
use super::{Broker, Consumer, ConsumerId, Delivery, LaneState, Parcel, Receipt};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::Metrics;
use crate::run::chain;
use async_trait::async_trait;
use futures::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

/// No single call to the broker takes longer; a longer one is a break.
const CALL_WITHIN: Duration = Duration::from_secs(30);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A silent peer is noticed after about two of these.
const HEARTBEAT_SECONDS: u16 = 20;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Publishing one message is tried on so many connections.
const PUBLISH_ATTEMPTS: u32 = 5;
/// Times in a row that a consumer is opened anew without getting a message.
const REOPENINGS: u32 = 10;
/// Lanes without a dead lane of their own: more than any consumer will fail, so that no server default drops a message.
const NO_DELIVERY_LIMIT: i64 = 1_000_000;
const PERSISTENT: u8 = 2;
const RETRIES_HEADER: &str = "x-aortica-retries";
const REASON_HEADER: &str = "x-aortica-reason";

/// Where the broker is. The URL holds the password and is never printed.
#[derive(Clone)]
pub struct AmqpSettings {
    /// `amqp://user:password@host:5672/vhost` or `amqps://..`.
    pub url: String,
    /// Before the names of all queues: installations on one broker.
    pub namespace: String,
    /// Deliveries after the first one that a job or record gets; [`topology::DELIVERY_LIMIT`](super::topology) by default.
    /// The same for all roles of a namespace: queues that exist keep theirs.
    pub delivery_limit: u32,
    /// Role and host, as the broker's operator sees the connection.
    pub connection_name: String,
    /// How long a broker may be away before we give up.
    pub reconnect_within: Duration,
    /// Told whether the broker is there.
    pub metrics: Metrics,
}

impl std::fmt::Debug for AmqpSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AmqpSettings").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// A connection to RabbitMQ that mends itself. Clones share it.
#[derive(Clone)]
pub struct AmqpBroker {
    shared: Arc<Shared>,
}

struct Shared {
    settings: AmqpSettings,
    /// Whether a new connection declares the queues.
    declares: bool,
    uri: AMQPUri,
    link: Mutex<Option<Arc<Link>>>,
    connections: AtomicU64,
}

/// One connection and the channel that publishes.
struct Link {
    connection: Connection,
    publisher: Channel,
}

impl AmqpBroker {
    /// Connects, and declares all queues.
    ///
    /// # Errors
    /// `Refused` for a wrong URL, password, virtual host, or queues that exist with other properties; `Unreachable` when
    /// nothing answers within the budget.
    pub async fn connect(settings: AmqpSettings) -> Result<AmqpBroker> {
        AmqpBroker::start(settings, true).await
    }

    /// Connects to look only: no queue is made.
    ///
    /// # Errors
    /// As [`AmqpBroker::connect`].
    pub async fn observe(settings: AmqpSettings) -> Result<AmqpBroker> {
        AmqpBroker::start(settings, false).await
    }

    async fn start(settings: AmqpSettings, declares: bool) -> Result<AmqpBroker> {
        let mut uri: AMQPUri = settings.url.parse().map_err(|_| {
            let message = "the broker's address is not amqp://user:password@host:port/vhost or amqps://..";
            Error::new(ErrorKind::Refused, message)
        })?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        uri.query.connection_timeout.get_or_insert(CONNECT_WITHIN.as_millis() as u64);
        let shared = Shared { settings, declares, uri, link: Mutex::default(), connections: AtomicU64::new(0) };
        let broker = AmqpBroker { shared: Arc::new(shared) };
        broker.link().await?;
        Ok(broker)
    }

    /// Has an exchange deliver to the lane `events`. The binding is durable, and making it again changes nothing.
    ///
    /// # Errors
    /// `Refused` when there is no such exchange or we may not bind to it.
    pub async fn bind_events(&self, exchange: &str, routing_key: &str) -> Result<()> {
        let link = self.link().await?;
        let channel = call(CALL_WITHIN, "opening a channel", link.connection.create_channel()).await?;
        let queue = Lane::Events.queue(&self.shared.settings.namespace);
        let options = QueueBindOptions::default();
        let binding =
            channel.queue_bind(queue.into(), exchange.into(), routing_key.into(), options, FieldTable::default());
        let bound = async {
            match binding.await {
                Err(error) if is_not_found(&error) => Ok(false),
                bound => bound.map(|()| true),
            }
        };
        if !call(CALL_WITHIN, "binding to the exchange", bound).await? {
            let message =
                format!("the broker has no exchange {exchange}; declare it (durable, topic), then start again");
            return Err(Error::new(ErrorKind::Refused, message));
        }
        let _ = timeout(CALL_WITHIN, channel.close(200, "done".into())).await;
        Ok(())
    }

    /// Connections opened so far: 1 when nothing ever broke.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Says goodbye to the broker.
    pub async fn close(&self) {
        if let Some(link) = self.shared.link.lock().await.take() {
            // a connection that cannot be closed is gone already
            let _ = timeout(CALL_WITHIN, link.connection.close(200, "done".into())).await;
        }
    }

    /// The living connection, made anew if need be. Everybody who needs one waits for the same attempt.
    async fn link(&self) -> Result<Arc<Link>> {
        let mut slot = self.shared.link.lock().await;
        if let Some(link) = slot.as_ref().filter(|l| l.is_alive()) {
            return Ok(link.clone());
        }
        *slot = None;
        let give_up = Instant::now() + self.shared.settings.reconnect_within;
        let mut wait = FIRST_WAIT;
        loop {
            let error = match self.open().await {
                Ok(link) => {
                    let link = Arc::new(link);
                    *slot = Some(link.clone());
                    self.shared.connections.fetch_add(1, Ordering::Relaxed);
                    self.shared.settings.metrics.broker_connected(true);
                    return Ok(link);
                }
                Err(error) if error.kind() == ErrorKind::Unreachable => error,
                Err(error) => return Err(error),
            };
            self.shared.settings.metrics.broker_connected(false);
            if Instant::now() + wait > give_up {
                return Err(error);
            }
            let (wait_ms, why) = (wait.as_millis() as u64, chain(&error));
            tracing::warn!(wait_ms, "no connection to the broker, trying again: {why}");
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn open(&self) -> Result<Link> {
        let name = self.shared.settings.connection_name.clone();
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connecting = Connection::connect_uri(self.shared.uri.clone(), properties);
        let connection = call(CONNECT_WITHIN * 2, "connecting to the broker", connecting).await?;
        let publisher = call(CALL_WITHIN, "opening a channel", connection.create_channel()).await?;
        call(CALL_WITHIN, "asking for confirms", publisher.confirm_select(ConfirmSelectOptions::default())).await?;
        for lane in Lane::ALL.into_iter().filter(|_| self.shared.declares) {
            let queue = lane.queue(&self.shared.settings.namespace);
            let declared = publisher.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments(self, lane));
            call(CALL_WITHIN, "declaring the queues", declared).await?;
        }
        Ok(Link { connection, publisher })
    }

    /// Forgets a connection that failed, unless somebody has replaced it already.
    async fn drop_link(&self, broken: &Arc<Link>) {
        let mut slot = self.shared.link.lock().await;
        if slot.as_ref().is_some_and(|link| Arc::ptr_eq(link, broken)) {
            *slot = None;
        }
    }

    async fn open_stream(&self, lane: Lane, prefetch: u16) -> Result<Stream> {
        let link = self.link().await?;
        let opened = async {
            let channel = call(CALL_WITHIN, "opening a channel", link.connection.create_channel()).await?;
            let qos = channel.basic_qos(prefetch.max(1), BasicQosOptions::default());
            call(CALL_WITHIN, "setting the prefetch", qos).await?;
            let queue = lane.queue(&self.shared.settings.namespace);
            let options = BasicConsumeOptions::default();
            let consuming = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
            let deliveries = call(CALL_WITHIN, "starting to consume", consuming).await?;
            let (id, open) = (ConsumerId::next(), Arc::new(AtomicBool::new(true)));
            Ok(Stream { id, deliveries, channel, open, _link: link.clone() })
        };
        let opened = opened.await;
        if opened.is_err() {
            self.drop_link(&link).await;
        }
        opened
    }
}

impl Link {
    fn is_alive(&self) -> bool {
        self.connection.status().connected() && self.publisher.status().connected()
    }

    async fn publish(&self, queue: &str, parcel: &Parcel) -> Result<()> {
        let mut headers = FieldTable::default();
        if parcel.retries > 0 {
            headers.insert(RETRIES_HEADER.into(), AMQPValue::LongLongInt(i64::from(parcel.retries)));
        }
        if let Some(reason) = &parcel.reason {
            headers.insert(REASON_HEADER.into(), AMQPValue::LongString(reason.as_str().into()));
        }
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into())
            .with_headers(headers);
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let published = async {
            let sent = self.publisher.basic_publish("".into(), queue.into(), options, &parcel.payload, properties);
            sent.await?.await
        };
        match call(CALL_WITHIN, "publishing", published).await? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) => {
                let message = format!("the broker has no queue {queue}; was it deleted? start this role again");
                Err(Error::new(ErrorKind::Refused, message))
            }
            Confirmation::Nack(_) => {
                Err(Error::new(ErrorKind::QueueFull, format!("the queue {queue} is full; start more consumers")))
            }
            Confirmation::NotRequested => Err(Error::new(ErrorKind::Bug, "published on a channel without confirms")),
        }
    }
}

#[async_trait]
impl Broker for AmqpBroker {
    async fn publish(&self, lane: Lane, parcel: Parcel) -> Result<()> {
        let queue = lane.queue(&self.shared.settings.namespace);
        let mut attempt = 0;
        loop {
            let link = self.link().await?;
            attempt += 1;
            match link.publish(&queue, &parcel).await {
                Err(error) if error.kind() == ErrorKind::Unreachable && attempt < PUBLISH_ATTEMPTS => {
                    self.drop_link(&link).await;
                }
                done => return done,
            }
        }
    }

    async fn consume(&self, lane: Lane, prefetch: u16) -> Result<Box<dyn Consumer>> {
        let stream = self.open_stream(lane, prefetch).await?;
        let broker = self.clone();
        Ok(Box::new(AmqpConsumer { broker, lane, prefetch, stream: Some(stream), stopped: false, reopenings: 0 }))
    }

    async fn look(&self, lane: Lane) -> Result<Option<LaneState>> {
        let link = self.link().await?;
        // a channel of its own: asking for a queue that is not there closes the channel
        let channel = call(CALL_WITHIN, "opening a channel", link.connection.create_channel()).await?;
        let queue = lane.queue(&self.shared.settings.namespace);
        let asked =
            channel.queue_declare(queue.into(), QueueDeclareOptions::durable().passive(), FieldTable::default());
        let answer = async {
            match asked.await {
                Err(error) if is_not_found(&error) => Ok(None),
                answer => answer.map(Some),
            }
        };
        let found = call(CALL_WITHIN, "asking for a queue's depth", answer).await?;
        if found.is_some() {
            // what matters has been answered
            let _ = timeout(CALL_WITHIN, channel.close(200, "done".into())).await;
        }
        Ok(found.map(|queue| LaneState {
            ready: u64::from(queue.message_count()),
            consumers: u64::from(queue.consumer_count()),
        }))
    }
}

fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), lapin::ErrorKind::ProtocolError(protocol)
        if matches!(protocol.kind(), AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND)))
}

struct Stream {
    id: ConsumerId,
    deliveries: lapin::Consumer,
    channel: Channel,
    /// Cleared when the stream goes: its messages are then the broker's again, and an acknowledgement that raced the
    /// closing channel would settle what somebody else is given.
    open: Arc<AtomicBool>,
    /// Keeps the connection open as long as messages are in our hands.
    _link: Arc<Link>,
}

impl Drop for Stream {
    /// Takes leave in order: first the consumer, then its channel, then our share of the connection. Dropped together,
    /// lapin sends both farewells at once, and an answer to the first that arrives after the second breaks the whole
    /// connection, the publisher's channel with it.
    fn drop(&mut self) {
        self.open.store(false, Ordering::Release);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (deliveries, channel, link) = (self.deliveries.clone(), self.channel.clone(), self._link.clone());
        runtime.spawn(async move {
            // a channel or connection that is gone already needs no farewell; a consumer that was cancelled before may be
            // cancelled again
            if channel.status().connected() {
                let cancel = channel.basic_cancel(deliveries.tag(), BasicCancelOptions::default());
                let _ = timeout(CALL_WITHIN, cancel).await;
            }
            drop(deliveries);
            if channel.status().connected() {
                let _ = timeout(CALL_WITHIN, channel.close(200, "done".into())).await;
            }
            drop((channel, link));
        });
    }
}

struct AmqpConsumer {
    broker: AmqpBroker,
    lane: Lane,
    prefetch: u16,
    /// `None` between a break and the next opening.
    stream: Option<Stream>,
    stopped: bool,
    reopenings: u32,
}

#[async_trait]
impl Consumer for AmqpConsumer {
    async fn next(&mut self) -> Result<Delivery> {
        loop {
            if self.stopped {
                return Err(Error::new(ErrorKind::Cancelled, "this consumer was stopped"));
            }
            let Some(stream) = self.stream.as_mut() else {
                if self.reopenings >= REOPENINGS {
                    let message = format!("the broker ended the consumer of {} {REOPENINGS} times", self.lane.name());
                    return Err(Error::new(ErrorKind::Unreachable, message));
                }
                sleep((FIRST_WAIT * 2_u32.saturating_pow(self.reopenings)).min(LONGEST_WAIT)).await;
                self.reopenings += 1;
                self.stream = Some(self.broker.open_stream(self.lane, self.prefetch).await?);
                continue;
            };
            match stream.deliveries.next().await {
                Some(Ok(delivery)) => {
                    self.reopenings = 0;
                    return Ok(received(delivery, stream.id, stream.open.clone()));
                }
                Some(Err(error)) => {
                    tracing::warn!(lane = self.lane.name(), "the consumer broke, opening it anew: {error}");
                    self.stream = None;
                }
                None => {
                    tracing::warn!(lane = self.lane.name(), "the broker ended the consumer, opening it anew");
                    self.stream = None;
                }
            }
        }
    }

    async fn stop(&mut self) -> Result<()> {
        self.stopped = true;
        if let Some(stream) = &self.stream {
            let cancel = stream.channel.basic_cancel(stream.deliveries.tag(), BasicCancelOptions::default());
            call(CALL_WITHIN, "cancelling the consumer", cancel).await?;
        }
        Ok(())
    }
}

fn received(delivery: lapin::message::Delivery, consumer: ConsumerId, open: Arc<AtomicBool>) -> Delivery {
    let lapin::message::Delivery { properties, data, acker, delivery_tag, .. } = delivery;
    let headers = properties.headers().clone().unwrap_or_default();
    let number = |name: &str| headers.inner().get(name).and_then(whole_number).unwrap_or(0);
    let own_reason = headers.inner().get(REASON_HEADER).and_then(text);
    let broker_reason = last_death(&headers);
    let reason = match broker_reason {
        // a job that waited, and later killed its reader, carries both
        Some(reason) if reason == "delivery_limit" || own_reason.is_none() => Some(reason),
        _ => own_reason,
    };
    Delivery {
        deliveries_before: number("x-delivery-count"),
        parcel: Parcel { payload: data.into(), retries: number(RETRIES_HEADER), reason },
        receipt: Box::new(AmqpReceipt { acker, consumer, tag: delivery_tag, open }),
    }
}

/// Why the broker itself moved the message last: `delivery_limit`, `expired`, `rejected`, `maxlen`.
fn last_death(headers: &FieldTable) -> Option<String> {
    let Some(AMQPValue::FieldArray(deaths)) = headers.inner().get("x-death") else { return None };
    let AMQPValue::FieldTable(newest) = deaths.as_slice().first()? else { return None };
    newest.inner().get("reason").and_then(text)
}

fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ShortString(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

fn whole_number(value: &AMQPValue) -> Option<u32> {
    let number = match value {
        AMQPValue::ShortShortInt(n) => i64::from(*n),
        AMQPValue::ShortShortUInt(n) => i64::from(*n),
        AMQPValue::ShortInt(n) => i64::from(*n),
        AMQPValue::ShortUInt(n) => i64::from(*n),
        AMQPValue::LongInt(n) => i64::from(*n),
        AMQPValue::LongUInt(n) => i64::from(*n),
        AMQPValue::LongLongInt(n) => *n,
        _ => return None,
    };
    u32::try_from(number).ok()
}

struct AmqpReceipt {
    acker: lapin::Acker,
    consumer: ConsumerId,
    tag: u64,
    open: Arc<AtomicBool>,
}

impl AmqpReceipt {
    /// A receipt whose connection is gone cannot be settled; neither can one whose settling got no answer.
    async fn settle(&self, doing: &str, sending: impl Future<Output = lapin::Result<bool>>) -> Result<()> {
        let lost = || {
            let message = "the connection that brought the message is gone; the message comes again";
            Error::new(ErrorKind::Lost, message)
        };
        if !self.open.load(Ordering::Acquire) {
            return Err(lost());
        }
        match call(CALL_WITHIN, doing, sending).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(lost()),
        }
    }
}

#[async_trait]
impl Receipt for AmqpReceipt {
    async fn acknowledge(self: Box<Self>) -> Result<()> {
        self.settle("acknowledging", self.acker.ack(BasicAckOptions::default())).await
    }

    async fn acknowledge_with_earlier(self: Box<Self>) -> Result<()> {
        self.settle("acknowledging", self.acker.ack(BasicAckOptions { multiple: true })).await
    }

    fn place(&self) -> (ConsumerId, u64) {
        (self.consumer, self.tag)
    }

    async fn give_back(self: Box<Self>) -> Result<()> {
        let options = BasicNackOptions { multiple: false, requeue: true };
        self.settle("giving a message back", self.acker.nack(options)).await
    }
}

fn arguments(broker: &AmqpBroker, lane: Lane) -> FieldTable {
    let mut table = FieldTable::default();
    let mut text = |name: &str, value: String| {
        table.insert(name.into(), AMQPValue::LongString(value.into()));
    };
    text("x-queue-type", "quorum".to_owned());
    text("x-overflow", "reject-publish".to_owned());
    let next = lane.dead().or(lane.waits().map(|(_, to)| to));
    if let Some(next) = next {
        text("x-dead-letter-exchange", String::new());
        text("x-dead-letter-routing-key", next.queue(&broker.shared.settings.namespace));
        text("x-dead-letter-strategy", "at-least-once".to_owned());
    }
    let limit = match lane.dead() {
        Some(_) => i64::from(broker.shared.settings.delivery_limit),
        None => NO_DELIVERY_LIMIT,
    };
    table.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(limit));
    table.insert("x-max-length".into(), AMQPValue::LongLongInt(MAX_MESSAGES));
    if let Some((wait, _)) = lane.waits() {
        table.insert("x-message-ttl".into(), AMQPValue::LongLongInt(wait.as_millis() as i64));
    }
    table
}

/// Awaits a call for at most `within`, and sorts its error by who must act.
async fn call<T>(within: Duration, doing: &str, future: impl Future<Output = lapin::Result<T>>) -> Result<T> {
    match timeout(within, future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(sorted(error, doing)),
        Err(_) => {
            let message = format!("{doing}: no answer within {} s", within.as_secs());
            Err(Error::new(ErrorKind::Unreachable, message))
        }
    }
}

fn sorted(error: lapin::Error, doing: &str) -> Error {
    let refused = match error.kind() {
        lapin::ErrorKind::ProtocolError(protocol) => match protocol.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => Some("check user, password and permissions"),
            AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => {
                Some("the queue exists with other properties; delete it once it is empty, or take another namespace")
            }
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Some("the queue is not there; start this role again"),
            AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => Some("check the virtual host and its permissions"),
            _ => None,
        },
        lapin::ErrorKind::InvalidProtocolVersion(_) => Some("the server speaks another protocol; is it RabbitMQ?"),
        lapin::ErrorKind::AuthProviderError(_) => Some("check user and password"),
        _ => None,
    };
    match refused {
        Some(hint) => Error::caused(ErrorKind::Refused, format!("{doing}: the broker refused; {hint}"), error),
        None => Error::caused(ErrorKind::Unreachable, format!("{doing}: the broker does not answer"), error),
    }
}

#[cfg(test)]
impl AmqpBroker {
    /// On a new connection: RabbitMQ answers a consumer's farewell twice when the queue is deleted at the same moment,
    /// which breaks the connection of that consumer.
    pub(crate) async fn delete_queues(&self) {
        self.close().await;
        let link = self.link().await.unwrap();
        for lane in Lane::ALL {
            let queue = lane.queue(&self.shared.settings.namespace);
            let options = lapin::options::QueueDeleteOptions::default();
            link.publisher.queue_delete(queue.into(), options).await.unwrap();
        }
        self.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::conformance::{self, Pace};
    use crate::queue::topology::{DELIVERY_LIMIT, RETRY_WAITS};
    use crate::testing::{amqp_settings, broker_of_the_harness};

    #[test]
    fn the_reason_is_the_last_one_and_not_an_earlier_wait() {
        let mut death = FieldTable::default();
        death.insert("reason".into(), AMQPValue::LongString("delivery_limit".into()));
        let mut headers = FieldTable::default();
        headers.insert(REASON_HEADER.into(), AMQPValue::LongString("transient".into()));
        headers.insert(RETRIES_HEADER.into(), AMQPValue::LongLongInt(4));
        headers.insert("x-death".into(), AMQPValue::FieldArray(vec![AMQPValue::FieldTable(death)].into()));
        headers.insert("x-delivery-count".into(), AMQPValue::LongInt(2));
        let mut delivery = lapin::message::Delivery::mock(1, "".into(), "".into(), true, b"x".to_vec());
        delivery.properties = BasicProperties::default().with_headers(headers);
        let got = received(delivery, ConsumerId::next(), Arc::new(AtomicBool::new(true)));
        assert_eq!((got.deliveries_before, got.parcel.retries), (2, 4));
        assert_eq!(got.parcel.reason.as_deref(), Some("delivery_limit"));
    }

    #[tokio::test]
    async fn a_broker_that_is_not_there_is_given_up_in_time_and_without_its_password() {
        // a port that was free a moment ago
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = AmqpSettings {
            url: format!("amqp://user:hunter2@127.0.0.1:{port}/%2f"),
            namespace: "test".into(),
            delivery_limit: DELIVERY_LIMIT,
            connection_name: "test".into(),
            reconnect_within: Duration::from_millis(300),
            metrics: Metrics::unread(),
        };
        assert!(!format!("{settings:?}").contains("hunter2"));
        let error = AmqpBroker::connect(settings).await.err().unwrap();
        assert_eq!(error.fault(), domain::Fault::Transient { retry_after: None });
        assert!(!format!("{error:?}").contains("hunter2"));
        let wrong = AmqpSettings {
            url: "http://user:hunter2@x".into(),
            namespace: "test".into(),
            delivery_limit: DELIVERY_LIMIT,
            connection_name: "test".into(),
            reconnect_within: Duration::ZERO,
            metrics: Metrics::unread(),
        };
        let error = AmqpBroker::connect(wrong).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(!format!("{error:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn rabbitmq_keeps_the_promises() {
        let Some(url) = broker_of_the_harness("rabbitmq_keeps_the_promises") else { return };
        let opened = Arc::new(std::sync::Mutex::new(Vec::new()));
        let pace = Pace { a_while: Duration::from_millis(300), retry: RETRY_WAITS[0] };
        let open = |namespace| {
            let (url, opened) = (url.clone(), opened.clone());
            let opening = async move {
                let broker = AmqpBroker::connect(amqp_settings(&url, namespace)).await.unwrap();
                opened.lock().unwrap().push(broker.clone());
                Arc::new(broker) as Arc<dyn Broker>
            };
            Box::pin(opening) as futures::future::BoxFuture<'_, _>
        };
        conformance::all(&open, pace).await;
        let opened = opened.lock().unwrap().clone();
        for broker in opened {
            broker.delete_queues().await;
        }
    }

    #[tokio::test]
    async fn a_lost_connection_is_replaced_and_the_message_comes_again() {
        let Some(url) = broker_of_the_harness("a_lost_connection_is_replaced") else { return };
        let broker = AmqpBroker::connect(amqp_settings(&url, "lost")).await.unwrap();
        broker.publish(Lane::Jobs, Parcel { payload: "a".into(), ..Parcel::default() }).await.unwrap();
        let mut consumer = broker.consume(Lane::Jobs, 1).await.unwrap();
        let held = consumer.next().await.unwrap();
        let link = broker.link().await.unwrap();
        link.connection.close(320, "as an operator would".into()).await.unwrap();
        drop(link);
        assert!(held.receipt.acknowledge().await.is_err(), "the duty went with the connection");
        let again = timeout(CALL_WITHIN, consumer.next()).await.unwrap().unwrap();
        assert_eq!((again.parcel.payload.as_ref(), again.deliveries_before), (&b"a"[..], 1));
        again.receipt.acknowledge().await.unwrap();
        broker.publish(Lane::Jobs, Parcel::default()).await.unwrap();
        assert_eq!(broker.connections(), 2);
        drop(consumer);
        broker.delete_queues().await;
    }

    #[tokio::test]
    async fn consumers_that_leave_do_not_break_the_connection() {
        let Some(url) = broker_of_the_harness("consumers_that_leave") else { return };
        let broker = AmqpBroker::connect(amqp_settings(&url, "leaving")).await.unwrap();
        for round in 0..30 {
            let mut consumer = broker.consume(Lane::Jobs, 1).await.unwrap();
            broker.publish(Lane::Jobs, Parcel { payload: "a".into(), ..Parcel::default() }).await.unwrap();
            let got = timeout(CALL_WITHIN, consumer.next()).await.unwrap().unwrap();
            got.receipt.acknowledge().await.unwrap();
            if round % 3 == 0 {
                consumer.stop().await.unwrap();
            }
        }
        broker.publish(Lane::Jobs, Parcel::default()).await.unwrap();
        assert_eq!(broker.connections(), 1);
        broker.delete_queues().await;
    }

    #[tokio::test]
    async fn an_exchange_delivers_to_the_lane_of_events() {
        let Some(url) = broker_of_the_harness("an_exchange_delivers_to_the_lane_of_events") else { return };
        let broker = AmqpBroker::connect(amqp_settings(&url, "bound")).await.unwrap();
        let exchange = format!("test-{}-bucket", std::process::id());
        let error = broker.bind_events(&exchange, "#").await.unwrap_err();
        assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("no exchange"), "{error}");
        let link = broker.link().await.unwrap();
        let durable = lapin::options::ExchangeDeclareOptions { durable: true, ..Default::default() };
        let kind = lapin::ExchangeKind::Topic;
        let channel = &link.publisher;
        channel.exchange_declare(exchange.as_str().into(), kind, durable, FieldTable::default()).await.unwrap();
        for _ in 0..2 {
            broker.bind_events(&exchange, "#").await.unwrap();
        }
        let sent = channel.basic_publish(
            exchange.as_str().into(),
            "images.created".into(),
            BasicPublishOptions::default(),
            b"{}",
            BasicProperties::default(),
        );
        sent.await.unwrap().await.unwrap();
        let mut consumer = broker.consume(Lane::Events, 1).await.unwrap();
        let got = timeout(CALL_WITHIN, consumer.next()).await.unwrap().unwrap();
        assert_eq!(got.parcel.payload.as_ref(), b"{}");
        got.receipt.acknowledge().await.unwrap();
        drop(consumer);
        channel.exchange_delete(exchange.as_str().into(), Default::default()).await.unwrap();
        drop(link);
        broker.delete_queues().await;
    }

    #[tokio::test]
    async fn looking_makes_no_queue() {
        let Some(url) = broker_of_the_harness("looking_makes_no_queue") else { return };
        let observer = AmqpBroker::observe(amqp_settings(&url, "observed")).await.unwrap();
        for _ in 0..2 {
            assert_eq!(observer.look(Lane::Jobs).await.unwrap(), None);
        }
        let broker = AmqpBroker::connect(amqp_settings(&url, "observed")).await.unwrap();
        broker.publish(Lane::Jobs, Parcel::default()).await.unwrap();
        assert_eq!(observer.look(Lane::Jobs).await.unwrap(), Some(LaneState { ready: 1, consumers: 0 }));
        assert_eq!(observer.connections(), 1, "a question about nothing does not break the connection");
        broker.delete_queues().await;
    }

    #[tokio::test]
    async fn wrong_credentials_are_refused_at_once() {
        let Some(url) = broker_of_the_harness("wrong_credentials_are_refused_at_once") else { return };
        let mut uri: AMQPUri = url.parse().unwrap();
        uri.authority.userinfo.password = "wrong".into();
        let wrong = format!(
            "amqp://{}:wrong@{}:{}/%2f",
            uri.authority.userinfo.username, uri.authority.host, uri.authority.port
        );
        let error =
            timeout(CALL_WITHIN, AmqpBroker::connect(amqp_settings(&wrong, "refused"))).await.unwrap().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
    }
}

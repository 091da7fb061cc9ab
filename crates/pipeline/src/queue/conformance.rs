//! What every broker must do: run by the one in memory and, where the harness gives a broker, by RabbitMQ.

use super::topology::{DELIVERY_LIMIT, Lane};
use super::{Broker, Delivery, LaneState, Parcel, Queue, Received, acknowledge_all};
use crate::job::{JOB_SCHEMA_VERSION, Job, Message};
use domain::{Digest, Fingerprint, Item};
use futures::future::BoxFuture;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Opens a broker whose queues in this namespace are empty.
pub(crate) type Open<'a> = &'a (dyn Fn(&'static str) -> BoxFuture<'a, Arc<dyn Broker>> + Sync);

/// Longer than any broker that works takes to deliver.
const SOON: Duration = Duration::from_secs(10);

/// How long to look for what must not come, and how long the first waiting lane waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub a_while: Duration,
    pub retry: Duration,
}

pub(crate) async fn all(open: Open<'_>, pace: Pace) {
    settled_messages_are_gone(open("settle").await, pace).await;
    one_word_settles_all_before_it_and_nothing_after(open("multiple").await, pace).await;
    the_prefetch_bounds_what_is_taken(open("prefetch").await, pace).await;
    unsettled_messages_come_back(open("redelivery").await).await;
    a_message_that_kills_its_readers_ends_among_the_dead(open("poison").await).await;
    moved_messages_keep_their_count_and_reason(open("move").await, pace).await;
    a_waiting_message_returns(open("retry").await, pace).await;
    messages_that_cannot_be_read_are_put_aside(open("aside").await).await;
    two_consumers_share_one_lane(open("share").await).await;
    a_stopped_consumer_takes_nothing_more(open("stop").await, pace).await;
    a_lane_tells_what_waits_and_who_takes(open("look").await).await;
}

fn parcel(text: &str) -> Parcel {
    Parcel { payload: text.to_owned().into(), ..Parcel::default() }
}

fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.parcel.payload.to_vec()).unwrap()
}

async fn next(consumer: &mut Box<dyn super::Consumer>) -> Delivery {
    timeout(SOON, consumer.next()).await.expect("a message comes soon").unwrap()
}

async fn nothing_comes(consumer: &mut Box<dyn super::Consumer>, pace: Pace) {
    assert!(timeout(pace.a_while, consumer.next()).await.is_err(), "nothing more may come");
}

async fn settled_messages_are_gone(broker: Arc<dyn Broker>, pace: Pace) {
    let sent: BTreeSet<String> = (0..200).map(|n| n.to_string()).collect();
    let publish = sent.iter().map(|n| broker.publish(Lane::Jobs, parcel(n)));
    futures::future::try_join_all(publish).await.unwrap();
    assert_eq!(broker.depth(Lane::Jobs).await.unwrap(), 200);
    assert_eq!(broker.depth(Lane::Records).await.unwrap(), 0, "lanes are apart");
    let mut consumer = broker.consume(Lane::Jobs, 16).await.unwrap();
    let mut got = BTreeSet::new();
    for _ in 0..200 {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.deliveries_before, 0);
        got.insert(text(&delivery));
        delivery.receipt.acknowledge().await.unwrap();
    }
    assert_eq!(got, sent);
    nothing_comes(&mut consumer, pace).await;
    drop(consumer);
    let mut again = broker.consume(Lane::Jobs, 16).await.unwrap();
    nothing_comes(&mut again, pace).await;
}

async fn one_word_settles_all_before_it_and_nothing_after(broker: Arc<dyn Broker>, pace: Pace) {
    for n in 0..8 {
        broker.publish(Lane::Jobs, parcel(&n.to_string())).await.unwrap();
    }
    let (mut one, mut other) =
        (broker.consume(Lane::Jobs, 4).await.unwrap(), broker.consume(Lane::Jobs, 4).await.unwrap());
    let (mut of_one, mut of_other) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        of_one.push(next(&mut one).await);
        of_other.push(next(&mut other).await);
    }
    // the last of each stays in hand, and one in the middle was given back
    let (last, last_of_other) = (text(&of_one.pop().unwrap()), text(&of_other.pop().unwrap()));
    let returned = of_one.remove(1);
    let returned_text = text(&returned);
    returned.receipt.give_back().await.unwrap();
    let back = next(&mut one).await;
    assert_eq!((text(&back), back.deliveries_before), (returned_text, 1));
    of_one.reverse(); // the order in which they are told does not matter
    acknowledge_all(of_one.into_iter().chain(of_other).collect()).await.unwrap();
    drop((one, other));
    let mut again = broker.consume(Lane::Jobs, 8).await.unwrap();
    let mut left = BTreeSet::new();
    for _ in 0..3 {
        left.insert(text(&next(&mut again).await));
    }
    assert_eq!(left, BTreeSet::from([last, last_of_other, text(&back)]));
    nothing_comes(&mut again, pace).await;
    assert!(acknowledge_all(vec![back]).await.is_ok(), "what is somebody else's by now comes again: no fault");
}

async fn the_prefetch_bounds_what_is_taken(broker: Arc<dyn Broker>, pace: Pace) {
    for n in 0..5 {
        broker.publish(Lane::Jobs, parcel(&n.to_string())).await.unwrap();
    }
    let mut consumer = broker.consume(Lane::Jobs, 2).await.unwrap();
    let first = next(&mut consumer).await;
    let _second = next(&mut consumer).await;
    nothing_comes(&mut consumer, pace).await;
    first.receipt.acknowledge().await.unwrap();
    next(&mut consumer).await;
}

async fn unsettled_messages_come_back(broker: Arc<dyn Broker>) {
    broker.publish(Lane::Records, parcel("a")).await.unwrap();
    let mut consumer = broker.consume(Lane::Records, 4).await.unwrap();
    let late = next(&mut consumer).await;
    drop(consumer);
    assert!(late.receipt.acknowledge().await.is_err(), "too late: the message is somebody else's");
    let mut consumer = broker.consume(Lane::Records, 4).await.unwrap();
    let again = next(&mut consumer).await;
    assert_eq!((text(&again).as_str(), again.deliveries_before), ("a", 1));
    again.receipt.give_back().await.unwrap();
    let again = next(&mut consumer).await;
    assert_eq!(again.deliveries_before, 2);
    again.receipt.acknowledge().await.unwrap();
}

async fn a_message_that_kills_its_readers_ends_among_the_dead(broker: Arc<dyn Broker>) {
    broker.publish(Lane::Jobs, parcel("poison")).await.unwrap();
    for before in 0..=DELIVERY_LIMIT {
        let mut consumer = broker.consume(Lane::Jobs, 1).await.unwrap();
        assert_eq!(next(&mut consumer).await.deliveries_before, before);
    }
    let mut dead = broker.consume(Lane::JobsDead, 1).await.unwrap();
    let delivery = next(&mut dead).await;
    assert_eq!(delivery.parcel.reason.as_deref(), Some("delivery_limit"));
    assert_eq!(text(&delivery), "poison");
    delivery.receipt.acknowledge().await.unwrap();
    assert_eq!(broker.depth(Lane::Jobs).await.unwrap(), 0);
}

async fn moved_messages_keep_their_count_and_reason(broker: Arc<dyn Broker>, pace: Pace) {
    broker.publish(Lane::Jobs, parcel("a")).await.unwrap();
    let mut consumer = broker.consume(Lane::Jobs, 1).await.unwrap();
    next(&mut consumer).await.move_to(broker.as_ref(), Lane::JobsDead, "bug").await.unwrap();
    let mut dead = broker.consume(Lane::JobsDead, 1).await.unwrap();
    let delivery = next(&mut dead).await;
    let expected = Parcel { reason: Some("bug".into()), ..parcel("a") };
    assert_eq!(delivery.parcel, expected);
    delivery.receipt.acknowledge().await.unwrap();
    nothing_comes(&mut consumer, pace).await;
}

async fn a_waiting_message_returns(broker: Arc<dyn Broker>, pace: Pace) {
    broker.publish(Lane::Jobs, parcel("a")).await.unwrap();
    let mut consumer = broker.consume(Lane::Jobs, 1).await.unwrap();
    let lane = Lane::retry(0).unwrap();
    next(&mut consumer).await.move_to(broker.as_ref(), lane, "transient").await.unwrap();
    nothing_comes(&mut consumer, pace).await;
    let back = timeout(pace.retry + SOON, consumer.next()).await.expect("it comes back").unwrap();
    assert_eq!((back.parcel.retries, back.parcel.reason.as_deref()), (1, Some("transient")));
    back.receipt.acknowledge().await.unwrap();
}

async fn messages_that_cannot_be_read_are_put_aside(broker: Arc<dyn Broker>) {
    let job = Job {
        schema_version: JOB_SCHEMA_VERSION,
        submission_id: "s".into(),
        item: Item { uri: "s3://b/k".into(), size_bytes: 1, version: "1".into(), hints: Default::default() },
        attempt: 1,
        pipeline: "p 1".into(),
        fingerprint: Fingerprint::from_digest(Digest::of(b"f")),
    };
    let newer = Job { schema_version: JOB_SCHEMA_VERSION + 1, ..job.clone() };
    let jobs: Queue<Job> = Queue::new(broker.clone(), Lane::Jobs);
    jobs.publish(&newer).await.unwrap();
    broker.publish(Lane::Jobs, parcel("{")).await.unwrap();
    jobs.publish(&job).await.unwrap();
    let mut receiver = jobs.consume(8).await.unwrap();
    let mut put_aside = BTreeSet::new();
    let mut got = Vec::new();
    for _ in 0..3 {
        match timeout(SOON, receiver.next()).await.unwrap().unwrap() {
            Received::Message { message, delivery } => {
                got.push(message);
                delivery.receipt.acknowledge().await.unwrap();
            }
            Received::Odd(odd) => {
                put_aside.insert(odd.reason);
                odd.put_aside(broker.as_ref()).await.unwrap();
            }
        }
    }
    assert_eq!(got, [job]);
    assert_eq!(put_aside, BTreeSet::from(["newer_schema", "unreadable_message"]));
    let mut parked = broker.consume(Lane::JobsParked, 1).await.unwrap();
    assert_eq!(next(&mut parked).await.parcel.payload, newer.encode().unwrap(), "parked as it came");
    assert_eq!(broker.depth(Lane::JobsDead).await.unwrap(), 1);
}

async fn two_consumers_share_one_lane(broker: Arc<dyn Broker>) {
    for n in 0..20 {
        broker.publish(Lane::Jobs, parcel(&n.to_string())).await.unwrap();
    }
    let mut one = broker.consume(Lane::Jobs, 10).await.unwrap();
    let mut other = broker.consume(Lane::Jobs, 10).await.unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..10 {
        assert!(seen.insert(text(&next(&mut one).await)));
        assert!(seen.insert(text(&next(&mut other).await)));
    }
    assert_eq!(seen.len(), 20, "each message went to one of them");
}

async fn a_stopped_consumer_takes_nothing_more(broker: Arc<dyn Broker>, pace: Pace) {
    broker.publish(Lane::Jobs, parcel("a")).await.unwrap();
    let mut consumer = broker.consume(Lane::Jobs, 4).await.unwrap();
    let taken = next(&mut consumer).await;
    consumer.stop().await.unwrap();
    broker.publish(Lane::Jobs, parcel("b")).await.unwrap();
    assert!(consumer.next().await.is_err());
    taken.receipt.acknowledge().await.expect("what was taken can still be settled");
    drop(consumer);
    let mut other = broker.consume(Lane::Jobs, 4).await.unwrap();
    assert_eq!(text(&next(&mut other).await), "b");
    nothing_comes(&mut other, pace).await;
}

async fn a_lane_tells_what_waits_and_who_takes(broker: Arc<dyn Broker>) {
    // a broker's counts follow what happens, soon but not at once
    let tells = async |ready: u64, consumers: u64| {
        let told = async {
            while broker.look(Lane::JobsDead).await.unwrap() != Some(LaneState { ready, consumers }) {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, told).await.unwrap_or_else(|_| panic!("{ready} messages and {consumers} consumers"));
    };
    tells(0, 0).await;
    for text in ["a", "b", "c"] {
        broker.publish(Lane::JobsDead, parcel(text)).await.unwrap();
    }
    tells(3, 0).await;
    let mut consumer = broker.consume(Lane::JobsDead, 1).await.unwrap();
    let held = next(&mut consumer).await;
    tells(2, 1).await; // what is in hand does not wait
    held.receipt.acknowledge().await.unwrap();
    consumer.stop().await.unwrap();
    drop(consumer);
    tells(2, 0).await;
}

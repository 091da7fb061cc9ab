//! What the broker and its client carry without us: jobs taken, records published with confirm, jobs acknowledged. Messages and
//! queues are those of the roles, nothing is read or made.

use crate::meter::Meter;
use crate::synthetic::Population;
use crate::{Options, Result};
use futures::stream::{FuturesUnordered, StreamExt};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use pipeline::job::Message;
use serde_json::{Value, json};

const PERSISTENT: u8 = 2;

pub async fn run(options: &Options) -> Result<Value> {
    let (messages, in_flight) = (options.number("messages", 30_000)?, options.number("in-flight", 256)?);
    let population = Population::new()?;
    let record = population.record(&Population::item(1), &population.submission).without_evidence().encode()?;
    let job = population.job(1).encode()?;
    let connection = Connection::connect(options.needed("amqp")?, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let (jobs, records) = ("throughput.limit.jobs", "throughput.limit.records");
    for queue in [jobs, records] {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments).await?;
    }

    let meter = Meter::start(options.broker_pid()?)?;
    let mut sending = FuturesUnordered::new();
    for _ in 0..messages {
        sending.push(publish(&channel, jobs, &job));
        if sending.len() as u64 >= in_flight {
            sending.next().await.transpose()?;
        }
    }
    while sending.next().await.transpose()?.is_some() {}
    drop(sending);
    let published = meter.stop(messages)?;

    let taking = connection.create_channel().await?;
    taking.basic_qos(u16::try_from(in_flight)?, BasicQosOptions::default()).await?;
    let consuming = taking.basic_consume(jobs.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
    let mut deliveries = consuming.await?;
    let meter = Meter::start(options.broker_pid()?)?;
    let (mut moving, mut taken) = (FuturesUnordered::new(), 0);
    while taken < messages || !moving.is_empty() {
        tokio::select! {
            Some(moved) = moving.next(), if !moving.is_empty() => { let () = moved?; }
            Some(delivery) = deliveries.next(), if taken < messages => {
                taken += 1;
                let (delivery, channel, record) = (delivery?, &channel, &record);
                moving.push(async move {
                    publish(channel, records, record).await?;
                    delivery.acker.ack(BasicAckOptions::default()).await?;
                    Ok::<(), crate::Error>(())
                });
            }
            else => return Err("the broker ended the consumer".into()),
        }
    }
    drop(moving);
    let moved = meter.stop(messages)?;
    for queue in [jobs, records] {
        channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
    }
    connection.close(200, "done".into()).await?;
    let bytes = json!({ "job": job.len(), "record": record.len() });
    Ok(
        json!({ "in_flight": in_flight, "message_bytes": bytes, "publish_confirm": published, "take_publish_confirm_ack": moved }),
    )
}

async fn publish(channel: &Channel, queue: &str, payload: &[u8]) -> Result<()> {
    let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    match channel.basic_publish("".into(), queue.into(), options, payload, properties).await?.await? {
        lapin::Confirmation::Ack(None) => Ok(()),
        other => Err(format!("the broker did not take a message: {other:?}").into()),
    }
}

//! Jobs from what a bucket itself tells: notifications of created objects, published by the store (Ceph RGW, MinIO and its
//! heirs; AWS through a bridge) to an exchange, whose queue is our lane `events`.
//!
//! A batch of notifications becomes a submission like any other: items first, then jobs. Notifications are hints: stores
//! repeat them, and lose them when they restart. So each object is looked at, which gives the item that a listing would
//! give, whatever the notification says of size and ETag; what was read already gets no job; and `reconcile` finds what
//! was never told. A batch is acknowledged when its jobs are durable.

use crate::error::{Error, ErrorKind, Result};
use crate::job::Job;
use crate::metrics::Metrics;
use crate::queue::topology::Lane;
use crate::queue::{Broker, Delivery, Queue};
use crate::run::chain;
use crate::source::{Source, uri};
use crate::submit::JobTemplate;
use domain::{Fault, Fingerprint, Item};
use futures::stream::{self, StreamExt, TryStreamExt};
use lake::Lake;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Notifications in hand at once: the most that a submission is made of.
const BATCH: u16 = 1_000;
/// Objects that one notification may tell of; stores tell of one.
const RECORDS_MAX: usize = 1_000;
/// A notification is a page of text.
const NOTIFICATION_BYTES_MAX: usize = 1 << 20;
/// Objects looked at at once.
const LOOKS: usize = 32;
/// A batch that fails for a passing cause is tried so often; the store retries single requests by itself.
const ATTEMPTS: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_secs(5);

/// How notifications are followed.
#[derive(Debug, Clone)]
pub struct EventOptions {
    /// `name version` of the pipeline that shall read.
    pub pipeline: String,
    pub fingerprint: Fingerprint,
    /// How long the first notification of a batch waits for others: each batch is a submission.
    pub every: Duration,
    pub metrics: Metrics,
}

/// What came of the notifications.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct EventReport {
    pub notifications: u64,
    /// Objects that they call created.
    pub created: u64,
    /// Of these, objects that do not lie below SRC.
    pub elsewhere: u64,
    /// Of these, objects that are gone again, or that no address can name.
    pub gone: u64,
    /// Messages that are no notifications; they lie on the lane `events.dead`.
    pub unreadable: u64,
    pub submissions: u64,
    /// Jobs that the broker has confirmed.
    pub published: u64,
}

/// An object that a notification calls created.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Created {
    bucket: String,
    /// As it stands in the notification: encoded as in a form by most stores, plain by some.
    key: String,
}

impl Created {
    /// What the key may be, the likelier first.
    fn keys(&self) -> Vec<String> {
        let spaced = self.key.replace('+', "%20");
        let decoded = String::from_utf8(uri::decode(&spaced)).ok().filter(|decoded| *decoded != self.key);
        decoded.into_iter().chain([self.key.clone()]).collect()
    }
}

/// The objects that a notification calls created: none for those of other events, and for the test message that AWS sends.
///
/// The form is that of AWS ("Event message structure", Amazon S3 User Guide), which Ceph ("Bucket Notifications") and MinIO
/// ("Bucket notifications") use too.
fn parse(bytes: &[u8]) -> Result<Vec<Created>> {
    #[derive(Deserialize)]
    struct Notification {
        #[serde(rename = "Records")]
        records: Option<Vec<Record>>,
        #[serde(rename = "Event")]
        event: Option<String>,
    }
    #[derive(Deserialize)]
    struct Record {
        #[serde(rename = "eventName")]
        event_name: String,
        s3: S3,
    }
    #[derive(Deserialize)]
    struct S3 {
        bucket: Bucket,
        object: Object,
    }
    #[derive(Deserialize)]
    struct Bucket {
        name: String,
    }
    #[derive(Deserialize)]
    struct Object {
        key: String,
    }
    // what serde found is not quoted: keys may name people
    let wrong = |what: &str| Error::new(ErrorKind::Message, format!("a notification {what}"));
    if bytes.len() > NOTIFICATION_BYTES_MAX {
        return Err(wrong("is larger than any store sends"));
    }
    let notification: Notification = serde_json::from_slice(bytes).map_err(|_| wrong("is not in the form of S3"))?;
    let records = match (notification.records, notification.event.as_deref()) {
        (Some(records), _) => records,
        (None, Some("s3:TestEvent")) => Vec::new(),
        (None, _) => return Err(wrong("has no Records")),
    };
    if records.len() > RECORDS_MAX {
        return Err(wrong("tells of more objects than any store does"));
    }
    let created = records.into_iter().filter(|record| {
        let name = record.event_name.strip_prefix("s3:").unwrap_or(&record.event_name);
        name.starts_with("ObjectCreated:") && !record.s3.object.key.ends_with('/')
    });
    Ok(created.map(|record| Created { bucket: record.s3.bucket.name, key: record.s3.object.key }).collect())
}

/// Follows the lane `events` until cancelled. `source` is the prefix of a bucket: objects elsewhere are left aside.
///
/// # Errors
/// SRC is no prefix; the broker stays away beyond its budget; store or lake fail beyond a few tries. What was not
/// acknowledged comes again.
pub async fn follow(
    source: &Source,
    lake: &Lake,
    broker: Arc<dyn Broker>,
    options: &EventOptions,
    cancel: &CancellationToken,
) -> Result<EventReport> {
    if !source.is_prefix() {
        let message = "only s3://bucket/prefix tells of its objects; submit a folder, file or list without --events";
        return Err(Error::new(ErrorKind::Source, message));
    }
    let source = source.without(lake.location().url.as_str());
    let follower = Follower { source, lake, jobs: Queue::new(broker.clone(), Lane::Jobs), options };
    let mut consumer = broker.consume(Lane::Events, BATCH).await?;
    let mut report = EventReport::default();
    while let Some(first) = cancel.run_until_cancelled(consumer.next()).await {
        let mut batch = vec![first?];
        let due = tokio::time::Instant::now() + options.every;
        while batch.len() < usize::from(BATCH) {
            let next = tokio::time::timeout_at(due, consumer.next());
            match cancel.run_until_cancelled(next).await {
                Some(Ok(delivery)) => batch.push(delivery?),
                Some(Err(_)) | None => break,
            }
        }
        follower.settle(batch, broker.as_ref(), &mut report).await?;
    }
    consumer.stop().await?;
    Ok(report)
}

struct Follower<'a> {
    source: Source,
    lake: &'a Lake,
    jobs: Queue<Job>,
    options: &'a EventOptions,
}

impl Follower<'_> {
    /// A batch to its end: jobs published, messages settled.
    async fn settle(&self, batch: Vec<Delivery>, broker: &dyn Broker, report: &mut EventReport) -> Result<()> {
        let mut created = BTreeSet::new();
        let (mut readable, mut unreadable) = (Vec::with_capacity(batch.len()), Vec::new());
        for delivery in batch {
            report.notifications += 1;
            match parse(&delivery.parcel.payload) {
                Ok(objects) => {
                    report.created += objects.len() as u64;
                    created.extend(objects);
                    readable.push(delivery);
                }
                Err(error) => {
                    tracing::warn!("a message is put aside: {error}");
                    unreadable.push(delivery);
                }
            }
        }
        let mut wait = FIRST_WAIT;
        let mut attempt = 1;
        let submitted = loop {
            match self.submit(&created).await {
                Err(error) if attempt < ATTEMPTS && is_passing(error.fault()) => {
                    tracing::warn!(attempt, "notifications could not be followed, trying again: {}", chain(&error));
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                    attempt += 1;
                }
                done => break done?,
            }
        };
        report.elsewhere += submitted.elsewhere;
        report.gone += submitted.gone;
        report.published += submitted.published;
        report.submissions += submitted.submissions;
        for delivery in readable {
            settled(delivery.receipt.acknowledge().await)?;
        }
        for delivery in unreadable {
            report.unreadable += 1;
            settled(delivery.move_to(broker, Lane::EventsDead, "unreadable_message").await)?;
        }
        Ok(())
    }

    /// Looks at the objects and submits those that are there.
    async fn submit(&self, created: &BTreeSet<Created>) -> Result<EventReport> {
        let mut report = EventReport::default();
        let mut items: BTreeSet<Item> = BTreeSet::new();
        let looks = created.iter().filter_map(|object| {
            let keys: Vec<String> = object
                .keys()
                .into_iter()
                .filter(|key| self.source.covers(&uri::of_object(&object.bucket, key)))
                .collect();
            report.elsewhere += u64::from(keys.is_empty());
            (!keys.is_empty()).then_some((&object.bucket, keys))
        });
        let looks: Vec<_> = looks.collect();
        let mut looked = stream::iter(looks).map(|(bucket, keys)| self.look(bucket, keys)).buffer_unordered(LOOKS);
        while let Some(found) = looked.try_next().await? {
            match found {
                Some(item) => drop(items.insert(item)),
                None => report.gone += 1,
            }
        }
        if items.is_empty() {
            return Ok(report);
        }
        let list = stream::iter(items.into_iter().map(Ok::<_, lake::Error>));
        let submission = self.lake.items().write(&self.options.fingerprint, list).await?;
        let work = self.lake.open_items(&submission, &[]).await?.into_stream().await?;
        let template = JobTemplate {
            submission: &submission.submission,
            pipeline: &self.options.pipeline,
            fingerprint: &self.options.fingerprint,
        };
        // to its end: a batch that was told to us is small
        let never = CancellationToken::new();
        let published = || self.options.metrics.job_published();
        report.published = template.publish_all(&self.jobs, work, &never, published).await?;
        report.submissions = 1;
        Ok(report)
    }

    async fn look(&self, bucket: &str, keys: Vec<String>) -> Result<Option<Item>> {
        for key in keys {
            if let Some(item) = self.source.object(bucket, &key).await? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }
}

fn is_passing(fault: Fault) -> bool {
    matches!(fault, Fault::Transient { .. } | Fault::Overloaded)
}

/// A message whose connection broke comes again; its jobs are there already then.
fn settled(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::Lost => Ok(()),
        result => result,
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;

use super::*;
use crate::distributed_tests::{completed, mixed_study, submitted};
use crate::queue::Parcel;
use crate::queue::memory::MemoryBroker;
use crate::testing::{Shows, lake, picture};
use std::collections::BTreeMap;
use std::sync::Arc;

/// When the clock of the tests starts, and with it the rows.
const ROWS_US: i64 = 1_700_000_000_000_000;

#[tokio::test]
async fn status_adds_up_with_a_broker_and_without() {
    let study = mixed_study();
    let (lake, broker): (Lake, Arc<dyn Broker>) = (lake().await, Arc::new(MemoryBroker::default()));
    let first = submitted(&study, &lake, &broker).await;
    completed(&study.steps(&lake), &lake, &broker, &first.submission).await;
    study.add("later.png", &picture(Shows::LateralSpine, 9));
    let second = submitted(&study, &lake, &broker).await;
    broker.publish(Lane::JobsParked, Parcel::default()).await.unwrap();
    let _consumer = broker.consume(Lane::Records, 1).await.unwrap();

    // the store's clock is the real one: an hour later by it
    let submitted_us = lake.census(&[], 0).await.unwrap()[0].submitted_us;
    let now_us = submitted_us + 3600 * US;
    let told = status(&lake, Ok(broker.as_ref()), &[], now_us).await.unwrap();
    let of = |id: &str| told.submissions.iter().find(|s| s.tally.submission == id).unwrap();
    let (done, open) = (of(&first.submission), of(&second.submission));
    assert_eq!((done.tally.items, done.tally.scored, done.tally.pending), (9, 6, 0));
    assert_eq!(done.tally.failed, BTreeMap::from([("stage_failed", 1)]));
    assert_eq!(done.tally.excluded, BTreeMap::from([("not_an_image", 1), ("wrong_view", 1)]));
    assert_eq!((open.tally.items, open.tally.pending, open.age_s), (10, 1, 3600));
    assert_eq!((told.oldest_pending_s, told.is_complete()), (Some(3600), false));
    assert_eq!(open.left_s, None, "rows of years ago are no rate");
    let BrokerStatus::Lanes(lanes) = &told.broker else { panic!("{:?}", told.broker) };
    let lane = |name| lanes.iter().find(|l| l.lane == name).unwrap().state.unwrap();
    assert_eq!((lane("jobs").ready, lane("jobs.parked").ready, lane("records").consumers), (1, 1, 1));
    let json = serde_json::to_value(&told).unwrap();
    assert_eq!(json["submissions"][0]["pending"].as_u64().map(|n| n < 2), Some(true), "{json}");
    assert_eq!(json["broker"]["lanes"][0]["ready"], 1);

    let alone = status(&lake, Err("no broker is set".into()), &[first.submission], now_us).await.unwrap();
    assert_eq!(alone.broker, BrokerStatus::Unknown("no broker is set".into()));
    assert!(alone.is_complete() && alone.submissions.len() == 1);
}

#[tokio::test]
async fn rate_and_time_left_follow_the_last_ten_minutes() {
    let tally = |recent: u64, pending: u64, submitted_us: i64| Tally {
        submission: String::new(),
        fingerprint: domain::Fingerprint::from_digest(domain::Digest::of(b"f")),
        submitted_us,
        items: recent + pending,
        scored: recent,
        excluded: BTreeMap::new(),
        failed: BTreeMap::new(),
        pending,
        recent,
        last_row_us: None,
    };
    let old = SubmissionStatus::of(tally(6000, 90, ROWS_US - 7200 * US), ROWS_US);
    assert_eq!((old.rate_per_s, old.left_s, old.age_s), (10.0, Some(9), 7200));
    let young = SubmissionStatus::of(tally(100, 95, ROWS_US - 50 * US), ROWS_US);
    assert_eq!((young.rate_per_s, young.left_s), (2.0, Some(48)), "a submission of 50 s had 50 s");
    let clock_behind = SubmissionStatus::of(tally(3, 1, ROWS_US + 5 * US), ROWS_US);
    assert_eq!((clock_behind.age_s, clock_behind.rate_per_s), (0, 3.0));
    assert_eq!(SubmissionStatus::of(tally(0, 4, ROWS_US), ROWS_US).left_s, None);
}

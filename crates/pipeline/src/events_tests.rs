use super::*;
use crate::queue::Parcel;
use crate::queue::memory::MemoryBroker;
use crate::source::stores::Stores;
use crate::testing::{Shows, Study, lake, picture};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;

/// After "Event message structure" in the Amazon S3 User Guide.
const AWS: &str = r#"{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","awsRegion":"us-west-2",
    "eventTime":"1970-01-01T00:00:00.000Z","eventName":"ObjectCreated:Put","userIdentity":{"principalId":"A"},
    "s3":{"s3SchemaVersion":"1.0","configurationId":"c","bucket":{"name":"images","arn":"arn:aws:s3:::images"},
    "object":{"key":"study/a+film%281%29.png","size":1024,"eTag":"d41d8cd98f00b204e9800998ecf8427e",
    "versionId":"096fKKXTRTtl3on89fVO.nfljtsv6qko","sequencer":"0055AED6DCD90281E5"}}}]}"#;
/// As MinIO writes it: the key encoded with its slashes, the event with its service.
const MINIO: &str = r#"{"EventName":"s3:ObjectCreated:Put","Key":"images/study/b.png","Records":[{"eventVersion":"2.0",
    "eventSource":"minio:s3","eventName":"s3:ObjectCreated:CompleteMultipartUpload","s3":{"bucket":{"name":"images"},
    "object":{"key":"study%2Fb.png","size":7,"eTag":"x","contentType":"image/png"}}}]}"#;
/// As Ceph writes it: the size as text, the key as it is.
const CEPH: &str = r#"{"Records":[{"eventVersion":"2.2","eventSource":"ceph:s3","eventName":"ObjectCreated:Put",
    "s3":{"s3SchemaVersion":"1.0","configurationId":"mynotif1","bucket":{"name":"images","id":"x"},
    "object":{"key":"study/c+d.png","size":"1024","eTag":"37b51d194a7513e45b56f6524f2d51f2","versionId":"",
    "sequencer":"F7E6D75DC742D108","metadata":[],"tags":[]}},"eventId":"","opaqueData":"me@example.com"}]}"#;
const REMOVED: &str = r#"{"Records":[{"eventName":"ObjectRemoved:Delete","s3":{"bucket":{"name":"images"},
    "object":{"key":"study/a.png"}}}]}"#;
const TEST: &str =
    r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2014-10-13T15:57:02.089Z","Bucket":"images"}"#;

fn created(bucket: &str, key: &str) -> String {
    serde_json::json!({"Records": [{"eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}]})
    .to_string()
}

#[test]
fn notifications_of_three_kinds_of_stores_are_read() {
    let keys = |text: &str| {
        let objects = parse(text.as_bytes()).unwrap();
        objects.iter().map(|o| (o.bucket.clone(), o.keys())).collect::<Vec<_>>()
    };
    let of = |keys: &[&str]| vec![("images".to_owned(), keys.iter().map(|k| (*k).to_owned()).collect::<Vec<_>>())];
    assert_eq!(keys(AWS), of(&["study/a film(1).png", "study/a+film%281%29.png"]));
    assert_eq!(keys(MINIO), of(&["study/b.png", "study%2Fb.png"]));
    assert_eq!(keys(CEPH), of(&["study/c d.png", "study/c+d.png"]));
    assert_eq!(keys(&created("images", "plain.png")), of(&["plain.png"]));
    assert!(keys(REMOVED).is_empty() && keys(TEST).is_empty() && keys(&created("images", "folder/")).is_empty());
    for wrong in
        ["", "{}", "[]", r#"{"Records":[{"eventName":"ObjectCreated:Put"}]}"#, r#"{"Records":[{"key":"Doe^Jane"}]}"#]
    {
        let error = parse(wrong.as_bytes()).unwrap_err();
        assert!(error.kind() == ErrorKind::Message && !format!("{error:?}").contains("Doe"), "{error:?}");
    }
    assert!(parse(&vec![b' '; NOTIFICATION_BYTES_MAX + 1]).is_err());
}

#[tokio::test]
async fn what_a_bucket_tells_is_submitted_once_and_like_a_listing() {
    let mut study = Study::new();
    let bucket = Arc::new(InMemory::new());
    study.stores = Arc::new(Stores::new(Vec::new()).with_bucket("images", bucket.clone()));
    for (seed, name) in (0u64..).zip(["a film(1).png", "b.png", "c+d.png", "silent.png"]) {
        let content = picture(Shows::LateralSpine, seed);
        bucket.put(&Path::parse(format!("study/{name}")).unwrap(), content.into()).await.unwrap();
    }
    let source = Source::open("s3://images/study", study.stores.clone(), None).await.unwrap();
    let (lake, broker): (Lake, Arc<dyn Broker>) = (lake().await, Arc::new(MemoryBroker::default()));
    let options = EventOptions {
        pipeline: study.pipeline.definition().label(),
        fingerprint: study.pipeline.fingerprint("cpu"),
        every: Duration::from_millis(50),
        metrics: Metrics::unread(),
    };
    let tell = async |text: &str| {
        let parcel = Parcel { payload: text.to_owned().into(), ..Parcel::default() };
        broker.publish(Lane::Events, parcel).await.unwrap();
    };
    let followed = async |source: &Source| {
        let cancel = CancellationToken::new();
        let until_empty = async {
            while broker.depth(Lane::Events).await.unwrap() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            cancel.cancel();
        };
        tokio::join!(follow(source, &lake, broker.clone(), &options, &cancel), until_empty).0
    };
    for text in [AWS, MINIO, CEPH, AWS, TEST, REMOVED, "no notification"] {
        tell(text).await;
    }
    for (bucket, key) in [("images", "elsewhere/x.png"), ("other", "study/x.png"), ("images", "study/gone.png")] {
        tell(&created(bucket, key)).await;
    }
    let report = followed(&source).await.unwrap();
    let expected = EventReport {
        notifications: 10,
        created: 7,
        elsewhere: 2,
        gone: 1,
        unreadable: 1,
        submissions: report.submissions,
        published: 3,
    };
    assert_eq!(report, expected);
    assert_eq!((broker.depth(Lane::EventsDead).await.unwrap(), broker.depth(Lane::Events).await.unwrap()), (1, 0));

    // the items are those that a listing gives
    let mut jobs = Queue::<Job>::new(broker.clone(), Lane::Jobs).consume(10).await.unwrap();
    let mut told = BTreeSet::new();
    for _ in 0..3 {
        let crate::queue::Received::Message { message, delivery } = jobs.next().await.unwrap() else { panic!("a job") };
        told.insert(message.item);
        delivery.receipt.acknowledge().await.unwrap();
    }
    let listed: BTreeSet<Item> = source.items().try_collect().await.unwrap();
    let silent: Vec<&Item> = listed.difference(&told).collect();
    assert!(told.is_subset(&listed) && silent.len() == 1 && silent[0].uri.ends_with("silent.png"), "{silent:?}");

    let folder = study.source().await;
    let refused = followed(&folder).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Source);
}

#[tokio::test]
async fn what_has_its_row_gets_no_job() {
    let mut study = Study::new();
    let bucket = Arc::new(InMemory::new());
    study.stores = Arc::new(Stores::new(Vec::new()).with_bucket("images", bucket.clone()));
    bucket.put(&Path::from("a.png"), picture(Shows::LateralSpine, 1).into()).await.unwrap();
    let source = Source::open("s3://images", study.stores.clone(), None).await.unwrap();
    let lake = lake().await;
    let (progress, _) = tokio::sync::watch::channel(Default::default());
    let cancel = CancellationToken::new();
    let options = crate::run::ScoreOptions::default();
    crate::run::score(&study.steps(&lake), &lake, &source, &options, &progress, &cancel).await.unwrap();
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::default());
    let options = EventOptions {
        pipeline: study.pipeline.definition().label(),
        fingerprint: study.pipeline.fingerprint("cpu"),
        every: Duration::ZERO,
        metrics: Metrics::unread(),
    };
    let created = created("images", "a.png");
    let follower = Follower { source, lake: &lake, jobs: Queue::new(broker.clone(), Lane::Jobs), options: &options };
    let submitted = follower.submit(&parse(created.as_bytes()).unwrap().into_iter().collect()).await.unwrap();
    assert_eq!((submitted.submissions, submitted.published), (1, 0));
}

use super::*;
use crate::error::ErrorKind;
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

/// By uri: listing has no order of its own.
async fn listed(source: &Source) -> Vec<Item> {
    let mut items: Vec<Item> = source.items().try_collect().await.unwrap();
    items.sort();
    items
}

async fn open(src: &Path) -> Source {
    Source::open(src.to_str().unwrap(), Arc::default(), None).await.unwrap()
}

fn names(items: &[Item], root: &Path) -> Vec<String> {
    let root = format!("{}/", uri::of_file(&root.canonicalize().unwrap()));
    items.iter().map(|i| i.uri.strip_prefix(&root).unwrap().to_owned()).collect()
}

fn write(root: &Path, name: &[u8], content: &[u8]) {
    let path = root.join(OsStr::from_bytes(name));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

#[tokio::test]
async fn a_folder_is_listed_whole_but_for_hidden_names() {
    let root = tempfile::tempdir().unwrap();
    for name in
        [&b"b/2.dcm"[..], b"b/1.dcm", b"b.dcm", b"a b.dcm", b"a/x", b"\xffodd", b".hidden", b".h/x", b"b/.h", b"c"]
    {
        write(root.path(), name, b"abc");
    }
    let items = listed(&open(root.path()).await).await;
    let expected = ["%FFodd", "a%20b.dcm", "a/x", "b.dcm", "b/1.dcm", "b/2.dcm", "c"];
    assert_eq!(names(&items, root.path()), expected);
    assert!(items.iter().all(|i| i.size_bytes == 3 && i.version.parse::<i128>().is_ok_and(|ns| ns > 0)));
    assert_eq!(listed(&open(root.path()).await).await, items, "listing again gives the same items");
}

#[tokio::test]
async fn a_changed_file_is_another_item() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), b"a", b"1");
    let before = listed(&open(root.path()).await).await;
    let file = std::fs::File::options().write(true).open(root.path().join("a")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 5)).unwrap();
    let after = listed(&open(root.path()).await).await;
    assert_eq!(after[0].version, "1000000000000000005");
    assert_ne!(before[0].id(), after[0].id());
}

#[tokio::test]
async fn links_are_followed_and_loops_are_not() {
    let root = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    write(root.path(), b"sub/a", b"1");
    write(other.path(), b"b", b"1");
    symlink(root.path(), root.path().join("sub/up")).unwrap();
    symlink(other.path(), root.path().join("other")).unwrap();
    symlink(root.path().join("sub/a"), root.path().join("link")).unwrap();
    symlink(root.path().join("nowhere"), root.path().join("broken")).unwrap();
    let items = listed(&open(root.path()).await).await;
    assert_eq!(names(&items, root.path()), ["link", "other/b", "sub/a"]);
}

#[tokio::test]
async fn the_lake_inside_the_source_is_left_out() {
    let root = tempfile::tempdir().unwrap();
    for name in [&b"a"[..], b"lake/results/x.parquet", b"lakeside/b", b"z"] {
        write(root.path(), name, b"1");
    }
    write(root.path(), b"lake.key", b"secret");
    let place = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let source = open(root.path()).await.without(&place("lake")).without(&place("lake.key"));
    assert_eq!(names(&listed(&source).await, root.path()), ["a", "lakeside/b", "z"]);
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let error = Source::open("/no/such/folder", Arc::default(), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Source);
    assert!(error.to_string().contains("/no/such/folder"), "the user typed it: {error}");
    let error = Source::open("gs://bucket/x", Arc::default(), None).await.unwrap_err();
    assert!(error.to_string().contains("s3://"), "{error}");
}

async fn bucket(keys: &[(&str, &str)]) -> Arc<Stores> {
    let store = InMemory::new();
    for (key, content) in keys {
        store.put(&object_store::path::Path::parse(key).unwrap(), (*content).to_owned().into()).await.unwrap();
    }
    Arc::new(Stores::default().with_bucket("films", Arc::new(store)))
}

#[tokio::test]
async fn a_prefix_is_listed_without_folder_markers() {
    let stores = bucket(&[("p/a", ""), ("p/a/1.dcm", "x"), ("p/empty", ""), ("p/z 1", "xy"), ("q/other", "x")]).await;
    let source = Source::open("s3://films/p", stores.clone(), None).await.unwrap();
    let items = listed(&source).await;
    let uris: Vec<&str> = items.iter().map(|i| i.uri.as_str()).collect();
    assert_eq!(uris, ["s3://films/p/a/1.dcm", "s3://films/p/empty", "s3://films/p/z%201"]);
    assert_eq!(items[2].size_bytes, 2);
    assert!(!items[2].version.is_empty());
    let one = Source::open("s3://films/p/z 1", stores.clone(), None).await.unwrap();
    assert_eq!(listed(&one).await, items[2..]);
    assert_eq!(listed(&Source::open("s3://films", stores, None).await.unwrap()).await.len(), 4);
}

fn key() -> Option<Arc<StudyKey>> {
    Some(Arc::new(StudyKey::new("k1", [7; 32])))
}

#[tokio::test]
async fn a_manifest_says_what_is_better_known() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), b"films/a.dcm", b"abc");
    let csv = "uri,pixel_spacing_mm,participant,pixel_aspect\n\
               films/a.dcm,0.15,P7,\n\
               s3://films/p/x,,,1.25\n\
               films/gone.dcm,,,\n";
    write(root.path(), b"list.csv", csv.as_bytes());
    let stores = bucket(&[("p/x", "12345")]).await;
    let list = root.path().join("list.csv");
    let source = Source::open(list.to_str().unwrap(), stores, key()).await.unwrap();
    let items: Vec<Item> = source.items().try_collect().await.unwrap();
    assert_eq!(items.len(), 3);
    assert!(items[0].uri.ends_with("/films/a.dcm") && items[0].size_bytes == 3);
    assert_eq!(items[0].hints.pixel_spacing_um, Some(150));
    assert_eq!(items[0].hints.participant, key().unwrap().pseudonym("participant", "P7"));
    assert_eq!((items[1].size_bytes, items[1].hints.pixel_aspect_ppm), (5, Some(1_250_000)));
    assert_eq!(items[2].version, VERSION_MISSING, "what is not there stays in the account");
}

#[tokio::test]
async fn wrong_manifests_are_explained() {
    let root = tempfile::tempdir().unwrap();
    let refusal = async |csv: &str, key| {
        write(root.path(), b"list.csv", csv.as_bytes());
        let list = root.path().join("list.csv");
        let source = Source::open(list.to_str().unwrap(), Arc::default(), key).await.unwrap();
        let error = source.items().try_collect::<Vec<Item>>().await.unwrap_err();
        assert_eq!(error.fault(), domain::Fault::InvalidInput);
        error.to_string()
    };
    let unknown = refusal("uri,pixel_spacng_mm\na,1\n", None).await;
    assert!(unknown.contains("pixel_spacng_mm") && unknown.contains("pixel_spacing_mm"), "{unknown}");
    assert!(refusal("path\na\n", None).await.contains("path"));
    let number = refusal("uri,pixel_spacing_mm\na,\nb,wide\n", None).await;
    assert!(number.contains("row 2") && !number.contains("wide"), "{number}");
    let range = refusal("uri,pixel_aspect\na,77\n", None).await;
    assert!(range.contains("row 1: pixel_aspect"), "{range}");
    let participant = refusal("uri,participant\na,Doe\n", None).await;
    assert!(participant.contains("study key") && !participant.contains("Doe"), "{participant}");
    assert!(refusal("uri,participant\n,Doe\n", key()).await.contains("row 1: uri is empty"));
    assert!(refusal("uri,pixel_aspect\na\n", None).await.contains("line 2"));
}

#[tokio::test]
async fn a_parquet_manifest_reads_like_csv() {
    use arrow::array::{Float32Array, StringArray};
    let root = tempfile::tempdir().unwrap();
    write(root.path(), b"a.dcm", b"abc");
    let batch = arrow::array::RecordBatch::try_from_iter([
        ("uri", Arc::new(StringArray::from(vec!["a.dcm", "b.dcm"])) as arrow::array::ArrayRef),
        ("pixel_spacing_mm", Arc::new(Float32Array::from(vec![Some(0.25), None]))),
    ])
    .unwrap();
    let path = root.path().join("list.parquet");
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let items = listed(&open(&path).await).await;
    assert_eq!(items[0].hints.pixel_spacing_um, Some(250));
    assert_eq!((items[1].hints.pixel_spacing_um, items[1].version.as_str()), (None, VERSION_MISSING));

    std::fs::write(&path, b"PAR1 and then nothing").unwrap();
    let error = open(&path).await.items().try_collect::<Vec<Item>>().await.unwrap_err();
    assert!(error.to_string().contains("Parquet"), "{error}");
}

//! The schemas in schemas/ say what the messages are: real messages are checked against them, and the lists of reasons
//! and flags against the words of `domain`.

use crate::job::{JOB_SCHEMA_VERSION, Job, Message};
use crate::progress::Progress;
use crate::run::{ScoreOptions, score};
use crate::testing::{Shows, Study, lake, picture};
use domain::item::ItemHints;
use domain::reading::READING_SCHEMA_VERSION;
use domain::record::RECORD_SCHEMA_VERSION;
use domain::{ExcludeReason, FailReason, Item, Outcome};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const JOB: &str = include_str!("../../../schemas/job.schema.json");
const READING: &str = include_str!("../../../schemas/reading.schema.json");
const ITEM_OUTCOME: &str = include_str!("../../../schemas/item_outcome.schema.json");
const RECORD: &str = include_str!("../../../schemas/outcome_record.schema.json");

/// The part of JSON Schema that these files use; a keyword beyond it fails the test.
struct Schema {
    root: Value,
}

impl Schema {
    fn parse(text: &str) -> Schema {
        let root: Value = serde_json::from_str(text).unwrap();
        assert_eq!(root["$schema"], "https://json-schema.org/draft/2020-12/schema");
        Schema { root }
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        self.at(&self.root, value, "$")
    }

    fn at(&self, schema: &Value, value: &Value, path: &str) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{path}: {what}, found {value}"));
        for (keyword, wanted) in schema.as_object().expect("a schema is an object") {
            match keyword.as_str() {
                "$schema" | "$id" | "title" | "description" | "$defs" | "required" => {}
                "$ref" => match wanted.as_str().unwrap() {
                    "reading.schema.json" => Schema::parse(READING).check(value)?,
                    local => {
                        let name = local.strip_prefix("#/$defs/").expect("a reference within the file");
                        self.at(&self.root["$defs"][name], value, path)?;
                    }
                },
                "type" => {
                    let kinds: Vec<&Value> = wanted.as_array().map_or(vec![wanted], |list| list.iter().collect());
                    if !kinds.iter().any(|kind| is(kind.as_str().unwrap(), value)) {
                        return wrong(&format!("is not {wanted}"));
                    }
                }
                "enum" if !wanted.as_array().unwrap().contains(value) => return wrong("is not listed"),
                "const" if wanted != value => return wrong("is another"),
                "minimum" if value.as_f64().is_some_and(|v| v < wanted.as_f64().unwrap()) => return wrong("too small"),
                "maximum" if value.as_f64().is_some_and(|v| v > wanted.as_f64().unwrap()) => return wrong("too large"),
                "minItems" if value.as_array().is_some_and(|v| v.len() < size(wanted)) => return wrong("too few"),
                "maxItems" if value.as_array().is_some_and(|v| v.len() > size(wanted)) => return wrong("too many"),
                "pattern" => {
                    assert_eq!(wanted, "^[0-9a-f]{32}$", "the one pattern that is known here");
                    let hex = |text: &str| text.len() == 32 && text.bytes().all(|b| b"0123456789abcdef".contains(&b));
                    if value.as_str().is_some_and(|text| !hex(text)) {
                        return wrong("is no id");
                    }
                }
                "items" => {
                    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.at(wanted, item, &format!("{path}[{i}]"))?;
                    }
                }
                "oneOf" => {
                    let fits = wanted.as_array().unwrap().iter().filter(|s| self.at(s, value, path).is_ok()).count();
                    if fits != 1 {
                        return wrong(&format!("fits {fits} of the alternatives"));
                    }
                }
                "properties" => self.properties(schema, wanted, value, path)?,
                "additionalProperties" => assert_eq!(wanted, &Value::Bool(false)),
                "enum" | "const" | "minimum" | "exclusiveMinimum" | "maximum" | "minItems" | "maxItems" => {}
                other => panic!("the keyword {other} is not known here"),
            }
        }
        Ok(())
    }

    fn properties(&self, schema: &Value, wanted: &Value, value: &Value, path: &str) -> Result<(), String> {
        let Some(fields) = value.as_object() else { return Err(format!("{path}: is no object")) };
        for name in schema["required"].as_array().into_iter().flatten() {
            if !fields.contains_key(name.as_str().unwrap()) {
                return Err(format!("{path}: {name} is missing"));
            }
        }
        for (name, field) in fields {
            match wanted.get(name) {
                Some(schema) => self.at(schema, field, &format!("{path}.{name}"))?,
                // written schemas name everything that we write, also where readers accept more
                None => return Err(format!("{path}.{name} is not in the schema")),
            }
        }
        Ok(())
    }
}

fn size(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("the type {other} is not known here"),
    }
}

#[tokio::test]
async fn the_messages_and_artifacts_of_a_run_are_what_their_schemas_say() {
    let study = Study::with_spines(2);
    study.add("frontal.png", &picture(Shows::FrontalSpine, 1));
    study.add("poison.png", &picture(Shows::Poison, 1));
    let lake = lake().await;
    let steps = study.steps(&lake);
    let items: Vec<Item> = futures::TryStreamExt::try_collect(study.source().await.items()).await.unwrap();
    let errand = crate::steps::Errand { submission: "0123", attempt: 1, denied_waits: false };
    let (record_schema, reading_schema) = (Schema::parse(RECORD), Schema::parse(READING));
    let mut statuses = Vec::new();
    for item in &items {
        let record = steps.read(item, errand).await.unwrap();
        statuses.push(record.outcome.status());
        let json: Value = serde_json::from_slice(&record.encode().unwrap()).unwrap();
        record_schema.check(&json).unwrap();
        if let Outcome::Scored { reading } = &record.outcome {
            let artifact = lake.artifacts().get(&reading.fingerprint, &reading.image_id).await.unwrap();
            let artifact = serde_json::to_value(artifact.unwrap()).unwrap();
            reading_schema.check(&artifact).unwrap();
            let spoilt = serde_json::to_string(&artifact).unwrap().replacen("\"rows\":64", "\"rows\":-1", 1);
            assert!(reading_schema.check(&serde_json::from_str(&spoilt).unwrap()).is_err(), "the check can fail");
        }
    }
    statuses.sort_unstable();
    assert_eq!(statuses, ["excluded", "failed", "scored", "scored"]);
    let outcome_schema = Schema::parse(ITEM_OUTCOME);
    let store = &lake.location().store;
    let kept: Vec<_> = futures::TryStreamExt::try_collect(store.list(Some(&lake.paths().artifacts()))).await.unwrap();
    let kept: Vec<_> = kept.iter().filter(|o| lake.paths().parse_item_outcome(&o.location).is_some()).collect();
    assert_eq!(kept.len(), 4);
    for object in kept {
        let bytes = object_store::ObjectStoreExt::get(store, &object.location).await.unwrap().bytes().await.unwrap();
        let mut outcome: Value = serde_json::from_slice(&bytes).unwrap();
        outcome_schema.check(&outcome).unwrap();
        outcome["outcome"]["status"] = "lost".into();
        assert!(outcome_schema.check(&outcome).is_err());
    }
    // a run writes them too: the same steps
    let (progress, _) = watch::channel(Progress::default());
    let cancel = CancellationToken::new();
    let source = study.source().await;
    let report = score(&steps, &lake, &source, &ScoreOptions::default(), &progress, &cancel).await.unwrap();
    assert_eq!((report.outcomes.scored, report.conflicts), (2, 0));
}

#[test]
fn a_job_is_what_its_schema_says() {
    let hints = ItemHints { pixel_spacing_um: Some(150), pixel_aspect_ppm: Some(1), participant: Some("p".into()) };
    for hints in [ItemHints::default(), hints] {
        let job = Job {
            schema_version: JOB_SCHEMA_VERSION,
            submission_id: "0123".into(),
            item: Item { uri: "s3://b/k".into(), size_bytes: 1, version: "v".into(), hints },
            attempt: 1,
            pipeline: "vfa-unet 1.0.0".into(),
            fingerprint: domain::Fingerprint::from_digest(domain::Digest::of(b"f")),
        };
        let mut json = serde_json::to_value(&job).unwrap();
        Schema::parse(JOB).check(&json).unwrap();
        json["fingerprint"] = "short".into();
        assert!(Schema::parse(JOB).check(&json).is_err());
    }
}

#[test]
fn the_schemas_list_every_reason_and_the_current_versions() {
    let record = Schema::parse(RECORD).root;
    let listed = |at: usize| -> Vec<String> {
        let reasons = &record["properties"]["outcome"]["oneOf"][at]["properties"]["reason"]["enum"];
        serde_json::from_value(reasons.clone()).unwrap()
    };
    let kept = Schema::parse(ITEM_OUTCOME).root;
    let differs =
        |at: usize| kept["properties"]["outcome"]["oneOf"][at] != record["properties"]["outcome"]["oneOf"][at];
    assert_eq!([0, 1, 2].map(differs), [true, false, false], "only the reading is left out");
    assert_eq!(kept["$defs"], record["$defs"]);
    assert_eq!(listed(1), ExcludeReason::ALL.iter().map(|r| r.name()).collect::<Vec<_>>());
    assert_eq!(listed(2), FailReason::ALL.iter().map(|r| r.name()).collect::<Vec<_>>());
    for (schema, version) in [
        (JOB, JOB_SCHEMA_VERSION),
        (READING, READING_SCHEMA_VERSION),
        (RECORD, RECORD_SCHEMA_VERSION),
        (ITEM_OUTCOME, lake::ITEM_OUTCOME_SCHEMA_VERSION),
    ] {
        let text = Schema::parse(schema).root["properties"]["schema_version"]["description"].to_string();
        assert!(text.starts_with(&format!("\"{version};")), "{text}");
    }
}

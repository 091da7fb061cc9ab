//! The protocol over HTTP, asked by bare messages.

use crate::service::{Service, one};
use crate::{manifest, pictures, prompt};
use inference::ServerConfig;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct Answer {
    pub status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)))
            .map(|(_, v)| v)
    }
}

pub async fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
    // a server that refuses early may close before all is written
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("an HTTP head");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: answer[end + 4..].to_vec() }
}

async fn get(service: &Service, path: &str) -> Answer {
    ask(service.http, "GET", path, &[], b"").await
}

async fn post(service: &Service, path: &str, body: serde_json::Value) -> Answer {
    ask(service.http, "POST", path, &[], body.to_string().as_bytes()).await
}

const INFER: &str = "/v2/models/scale/infer";

#[tokio::test]
async fn models_are_described() {
    let models = vec![(manifest("scale"), prompt()), (manifest("types"), prompt())];
    let Some(service) = Service::start(models, ServerConfig::default()).await else { return };
    let server = get(&service, "/v2").await.json();
    assert_eq!(server["name"], "aortica");
    assert!(server["extensions"].as_array().unwrap().contains(&"binary_tensor_data".into()));
    for path in ["/v2/models/scale", "/v2/models/scale/versions/1"] {
        let metadata = get(&service, path).await.json();
        assert_eq!((&metadata["name"], &metadata["versions"]), (&"scale".into(), &serde_json::json!(["1"])));
        let image = serde_json::json!({"name": "image", "datatype": "UINT8", "shape": [-1, 1, 4, 8]});
        assert_eq!(metadata["inputs"][0], image);
    }
    assert_eq!(get(&service, "/v2/models/scale/ready").await.status, 200);
    assert_eq!(get(&service, "/v2/models/scale/versions/7/ready").await.status, 404);
    let config = get(&service, "/v2/models/scale/config").await.json();
    assert_eq!((&config["max_batch_size"], &config["input"][0]["data_type"]), (&16.into(), &"TYPE_UINT8".into()));
    assert_eq!(config["parameters"]["sha256"]["string_value"], manifest("scale").digest().to_hex());
    assert_eq!(config["instance_group"][0]["kind"], "KIND_CPU");
    let index = ask(service.http, "POST", "/v2/repository/index", &[], b"{}").await.json();
    assert_eq!(index[1], serde_json::json!({"name": "types", "version": "1", "state": "READY", "reason": ""}));
    assert_eq!(get(&service, "/v2/models/stats").await.json()["model_stats"].as_array().unwrap().len(), 2);
    let nothing = get(&service, "/v2/models/nothing").await;
    assert_eq!(nothing.status, 404);
    assert!(nothing.json()["error"].as_str().unwrap().contains("there is `scale` version 1"));
    assert_eq!(get(&service, "/nowhere").await.status, 404);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn numbers_and_bytes_give_the_same_answer() {
    let Some(service) = Service::start(one("scale"), ServerConfig::default()).await else { return };
    let image = pictures(2, &[1, 4, 8], 5);
    let values = image.values::<u8>().unwrap().into_owned();
    let described = serde_json::json!({"name": "image", "datatype": "UINT8", "shape": [2, 1, 4, 8]});
    let mut with_data = described.clone();
    with_data["data"] = values.clone().into();
    let answer = post(&service, INFER, serde_json::json!({"id": "seven", "inputs": [with_data]})).await;
    assert_eq!(answer.status, 200, "{:?}", answer.json());
    let json = answer.json();
    assert_eq!((&json["id"], &json["model_version"]), (&"seven".into(), &"1".into()));
    assert_eq!(json["parameters"]["model_sha256"], manifest("scale").digest().to_hex());
    let numbers = |place: usize| -> Vec<f32> {
        json["outputs"][place]["data"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap() as f32).collect()
    };
    assert_eq!((numbers(0).len(), numbers(1).len()), (64, 2));

    let mut as_bytes = described.clone();
    as_bytes["parameters"] = serde_json::json!({"binary_data_size": 64});
    let head = serde_json::json!({
        "inputs": [as_bytes], "outputs": [{"name": "mean", "parameters": {"binary_data": true}}, {"name": "scaled"}],
    })
    .to_string();
    let length = head.len().to_string();
    let body = [head.as_bytes(), &values].concat();
    let answer = ask(service.http, "POST", INFER, &[("Inference-Header-Content-Length", &length)], &body).await;
    assert_eq!(answer.status, 200);
    let length: usize = answer.header("inference-header-content-length").unwrap().parse().unwrap();
    let (head, raw) = answer.body.split_at(length);
    let head: serde_json::Value = serde_json::from_slice(head).unwrap();
    assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], 8);
    let mean: Vec<f32> = raw.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    assert_eq!(mean, numbers(1));
    assert_eq!(head["outputs"][1]["data"], json["outputs"][0]["data"]);
    let counted = get(&service, "/v2/models/scale/stats").await.json();
    assert_eq!(counted["model_stats"][0]["inference_count"], 4);
    assert_eq!(counted["model_stats"][0]["inference_stats"]["success"]["count"], 2);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn refusals_say_why() {
    let config = ServerConfig { message_bytes_max: 4096, ..ServerConfig::default() };
    let Some(service) = Service::start(one("scale"), config).await else { return };
    let image = |shape: serde_json::Value, data: Vec<u8>| serde_json::json!({"inputs": [{"name": "image", "datatype": "UINT8", "shape": shape, "data": data}]});
    let good = image([1, 1, 4, 8].into(), vec![7; 32]);
    let mut other_digest = good.clone();
    other_digest["parameters"] = serde_json::json!({"model_sha256": "00".repeat(32)});
    let mut late = good.clone();
    late["parameters"] = serde_json::json!({"timeout": 1});
    let mut no_output = good.clone();
    no_output["outputs"] = serde_json::json!([{"name": "median"}]);
    let cases = [
        (INFER, image([1, 1, 8, 4].into(), vec![7; 32]), 400, "tensor `image`: expected UINT8 [N, 1, 4, 8]"),
        (INFER, serde_json::json!("text"), 400, "not the JSON of an inference request"),
        (INFER, no_output, 400, "no output `median`"),
        (INFER, other_digest, 409, "the caller expects 0000"),
        (INFER, late, 504, "the deadline passed"),
        ("/v2/models/nothing/infer", good.clone(), 404, "no model `nothing`"),
    ];
    for (path, body, status, expected) in cases {
        let answer = post(&service, path, body).await;
        assert_eq!(answer.status, status, "{expected}");
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(expected), "{error}");
    }
    let mut twice = good.clone();
    twice["outputs"] = serde_json::json!([{"name": "mean"}, {"name": "mean"}]);
    let answer = post(&service, INFER, twice).await;
    assert!(answer.status == 400 && answer.json()["error"].as_str().unwrap().contains("asked for twice"));
    let large = ask(service.http, "POST", INFER, &[], &[b' '; 5000]).await;
    assert_eq!(large.status, 413);
    let packed = ask(service.http, "POST", INFER, &[("Content-Encoding", "gzip")], b"x").await;
    assert!(packed.status == 400 && packed.json()["error"].as_str().unwrap().contains("compressed"));
    assert_eq!(ask(service.http, "GET", INFER, &[], b"").await.status, 405);
    assert_eq!(post(&service, INFER, good).await.status, 200, "and goes on");
    service.stop().await.unwrap();
}

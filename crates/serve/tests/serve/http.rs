//! HTTP: formats, errors, who may ask, and that the description is true.

use crate::lake::{Served, limits, serve, serve_to};
use serve::{Limits, Role, Server, Users, set_password, set_token};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Response {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// Whether the body came to its end.
    whole: bool,
}

impl Response {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

async fn request(address: SocketAddr, head: &str, body: &str) -> Response {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let host = if head.to_lowercase().contains("host:") { "" } else { "Host: localhost\r\n" };
    let text = format!("{head}\r\n{host}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let (body, whole) = match head.contains("transfer-encoding: chunked") {
        true => dechunked(&bytes[end + 4..]),
        false => (bytes[end + 4..].to_vec(), true),
    };
    Response { status, head, body, whole }
}

fn dechunked(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return (body, true);
        }
        let chunk = &bytes[end + 2..];
        if chunk.len() < length + 2 {
            break;
        }
        body.extend(&chunk[..length]);
        bytes = &chunk[length + 2..];
    }
    (body, false)
}

async fn post(served: &Served, question: serde_json::Value) -> Response {
    request(served.http, "POST /v1/query HTTP/1.1\r\nContent-Type: application/json", &question.to_string()).await
}

async fn get(served: &Served, path: &str) -> Response {
    request(served.http, &format!("GET {path} HTTP/1.1"), "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_every_format() {
    let served = serve(limits()).await;
    let sql = "SELECT value AS n, CASE WHEN value = 1 THEN 'a,b' END AS t FROM range(1, 3) ORDER BY 1";
    let json = post(&served, serde_json::json!({"sql": sql})).await;
    assert_eq!(json.json(), serde_json::json!([{"n": 1, "t": "a,b"}, {"n": 2, "t": null}]));
    assert!(json.head.contains("content-type: application/json") && json.head.contains("no-store"), "{}", json.head);
    let csv = post(&served, serde_json::json!({"sql": sql, "format": "csv"})).await;
    assert_eq!(csv.text(), "n,t\n1,\"a,b\"\n2,\n");
    let arrow = post(&served, serde_json::json!({"sql": sql, "format": "arrow"})).await;
    let reader = datafusion::arrow::ipc::reader::StreamReader::try_new(arrow.body.as_slice(), None).unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 2);
    let accepted = request(served.http, "GET /v1/query?sql=SELECT%201%20AS%20n HTTP/1.1\r\nAccept: text/csv", "").await;
    assert_eq!(accepted.text(), "n\n1\n");
    let empty = post(&served, serde_json::json!({"sql": "SELECT * FROM range(0)", "format": "json"})).await;
    assert_eq!(empty.json(), serde_json::json!([]));
    let long = post(&served, serde_json::json!({"sql": "SELECT * FROM range(100000)", "format": "csv"})).await;
    assert_eq!((long.text().lines().count(), long.whole), (100_001, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_by_status_code_and_words() {
    let served = serve(Limits { rows: Some(50_000), ..limits() }).await;
    for (question, status, code, part) in [
        (serde_json::json!({"sql": "SELECT aac24 FROM readings"}), 400, "statement", "aac24_total"),
        (serde_json::json!({"sql": "DROP TABLE readings"}), 403, "read_only", "only be read"),
        (serde_json::json!({"sql": "SELECT 1", "format": "xml"}), 400, "protocol", "xml"),
        (serde_json::json!({"sql": "SELECT 1", "user": "x"}), 400, "protocol", "user"),
        (serde_json::json!({"sql": "SELECT [1, 2] AS l", "format": "csv"}), 400, "statement", "column l"),
        (serde_json::json!({"sql": "SELECT sum(value) OVER () FROM range(10000000000)"}), 422, "memory", "32 MiB"),
        (serde_json::json!({"sql": format!("SELECT '{}'", "x".repeat(5_000))}), 413, "size", "5000 bytes"),
        (
            serde_json::json!({"sql": "SELECT sum(a.value * b.value) FROM range(10000000) a, range(10000000) b", "timeout_s": 0.1}),
            422,
            "time",
            "0.1 s",
        ),
    ] {
        let response = post(&served, question.clone()).await;
        assert_eq!((response.status, response.code().as_str()), (status, code), "{question}: {}", response.text());
        assert!(response.text().contains(part), "{question}: {}", response.text());
    }
    assert_eq!(get(&served, "/v1/query").await.code(), "protocol");
    assert_eq!(get(&served, "/v2").await.status, 404);
    let cut = post(&served, serde_json::json!({"sql": "SELECT * FROM range(60000)"})).await;
    assert_eq!((cut.status, cut.whole), (200, false), "a body that was cut off can be told from a whole one");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_come_with_passwords_or_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    set_password(&path, "anna", Role::Row, "correct horse").unwrap();
    let token = set_token(&path, "anna", Role::Row).unwrap();
    set_password(&path, "ben", Role::Aggregate, "battery staple").unwrap();
    let served = serve_to(limits(), Some(Users::read(&path).unwrap()), None).await;
    let ask = async |authorization: &str| {
        let head = format!("GET /v1/query?sql=SELECT%201 HTTP/1.1\r\nHost: study.example\r\n{authorization}");
        request(served.http, head.trim_end(), "").await
    };
    // echo -n 'anna:correct horse' | base64
    assert_eq!(ask("Authorization: Basic YW5uYTpjb3JyZWN0IGhvcnNl").await.status, 200);
    assert_eq!(ask(&format!("Authorization: Bearer {token}")).await.status, 200);
    let nobody = ask("").await;
    assert_eq!((nobody.status, nobody.code().as_str()), (401, "credentials"));
    assert!(nobody.head.contains("www-authenticate: basic"), "{}", nobody.head);
    // echo -n 'anna:battery staple' | base64
    for wrong in ["Basic YW5uYTpiYXR0ZXJ5IHN0YXBsZQ==", "Basic !!", "Basic YW5uYQ==", "Bearer nothing", "Digest x", "x"]
    {
        assert_eq!(ask(&format!("Authorization: {wrong}")).await.status, 401, "{wrong}");
    }
    // echo -n 'ben:battery staple' | base64
    let aggregate = ask("Authorization: Basic YmVuOmJhdHRlcnkgc3RhcGxl").await;
    assert_eq!((aggregate.status, aggregate.code().as_str()), (403, "role"));
    // Health and metrics tell nothing of the lake.
    assert_eq!(request(served.http, "GET /health/ready HTTP/1.1", "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_the_web_cannot_ask_by_a_name_of_its_own() {
    let served = serve(limits()).await;
    for path in ["/v1/query?sql=SELECT%201", "/metrics"] {
        let rebound = request(served.http, &format!("GET {path} HTTP/1.1\r\nHost: evil.example"), "").await;
        assert_eq!((rebound.status, rebound.code().as_str()), (403, "host"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_true() {
    let served = serve(limits()).await;
    let document = get(&served, "/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    let methods = ["GET", "POST", "PUT", "DELETE", "PATCH"];
    for (path, described) in paths {
        for method in methods {
            let answer = request(served.http, &format!("{method} {path} HTTP/1.1"), "").await;
            let there = described.get(method.to_lowercase()).is_some();
            assert_eq!(answer.status == 405, !there, "{method} {path}: {}", answer.status);
            assert_ne!(answer.status, 404, "{method} {path}");
        }
    }
    let source = include_str!("../../src/http/routes.rs");
    let routes = source.matches(".route(\"").count();
    assert_eq!(routes, paths.len(), "a route is not described");
    let codes =
        document["components"]["schemas"]["Refusal"]["properties"]["error"]["properties"]["code"]["enum"].clone();
    let mut codes: Vec<String> = serde_json::from_value(codes).unwrap();
    let mut labels: Vec<String> = served
        .registry
        .gather()
        .iter()
        .filter(|family| family.name() == "aortica_serve_refused_total")
        .flat_map(|family| family.get_metric().iter().flat_map(|metric| metric.get_label().iter()))
        .filter(|label| label.name() == "reason")
        .map(|label| label.value().to_owned())
        .collect();
    codes.sort();
    labels.sort();
    labels.dedup();
    assert_eq!(codes, labels);
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_is_told_what_happened() {
    let served = serve(limits()).await;
    post(&served, serde_json::json!({"sql": "SELECT * FROM range(7)"})).await;
    post(&served, serde_json::json!({"sql": "SELECT nothing"})).await;
    let text = get(&served, "/metrics").await;
    for line in [
        "aortica_serve_queries_total{door=\"http\",outcome=\"done\"} 1",
        "aortica_serve_queries_total{door=\"http\",outcome=\"statement\"} 1",
        "aortica_serve_queries_total{door=\"http\",outcome=\"memory\"} 0",
        "aortica_serve_rows_total{door=\"http\"} 7",
        "aortica_serve_memory_bytes 0",
    ] {
        assert!(text.text().contains(line), "{line} is not in\n{}", text.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_answers_what_it_took() {
    let mut served = serve(limits()).await;
    let (address, stop) = (served.http, served.stop.clone());
    let asked = tokio::spawn(async move {
        request(address, "GET /v1/query?sql=SELECT%20sum(value)%20FROM%20range(20000000)&format=csv HTTP/1.1", "").await
    });
    served.until("aortica_serve_connections", &[("door", "http")], 1.0).await;
    stop.cancel();
    let answer = asked.await.unwrap();
    assert!(answer.status == 200 && answer.text().contains("199999990000000"), "{}", answer.text());
    tokio::time::timeout(Duration::from_secs(60), &mut served.running).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn other_machines_are_not_served_by_accident() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    set_password(&path, "anna", Role::Row, "correct horse").unwrap();
    for (users, missing) in [(None, "users file"), (Some(Users::read(&path).unwrap()), "TLS")] {
        let place = ::lake::store_for(folder.path().join("lake").to_str().unwrap(), &[]).unwrap();
        let lake = ::lake::Lake::create_if_absent(place).await.unwrap();
        let registry = prometheus::Registry::new();
        let server =
            Server { lake, limits: limits(), aggregate: None, users, identity: None, unprotected: false, registry };
        let refused = server.bind(Some("0.0.0.0:0".parse().unwrap()), None).await.err().unwrap().to_string();
        assert!(refused.contains(missing) && refused.contains("--unprotected"), "{refused}");
    }
}

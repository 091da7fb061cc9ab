//! TLS, tokens and traces between client and service.

use crate::rest::ask;
use crate::service::{Service, client_of, one};
use crate::{manifest, pictures};
use inference::{
    ClientConfig, ErrorKind, Identity, ServerConfig, Stage, StageClient, TensorBatch, Token, Trace, conformance,
};
use std::path::PathBuf;
use std::time::Duration;

const TOKEN: &str = "a-token-for-the-tests";

/// A certificate for 127.0.0.1 that signs itself, as files.
fn identity() -> (tempfile::TempDir, Identity) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let identity = Identity {
        certificate: write("stage.pem", made.cert.pem()),
        key: write("stage.key", made.signing_key.serialize_pem()),
    };
    (folder, identity)
}

fn config(endpoint: String) -> ClientConfig {
    ClientConfig {
        endpoints: vec![endpoint],
        attempts_max: 1,
        deadline: Duration::from_secs(20),
        ..ClientConfig::default()
    }
}

#[tokio::test]
async fn a_service_with_certificate_and_token_answers_who_has_both() {
    let (_folder, identity) = identity();
    let token = Token::new(TOKEN).unwrap();
    let server =
        ServerConfig { identity: Some(identity.clone()), token: Some(token.clone()), ..ServerConfig::default() };
    let Some(service) = Service::begin(one("scale"), server).await else { return };
    let secure = || ClientConfig {
        ca_certificate: Some(identity.certificate.clone()),
        token: Some(token.clone()),
        ..config(format!("https://{}", service.grpc))
    };
    let good = StageClient::new(manifest("scale"), ClientConfig { attempts_max: 100, ..secure() }).unwrap();
    assert_eq!(good.verify().await.unwrap(), "cpu");
    conformance::check(&good).await;

    let kind = async |config: ClientConfig| {
        let client = StageClient::new(manifest("scale"), config).unwrap();
        let error = client.infer(pictures(1, &[1, 4, 8], 1).into()).await.unwrap_err();
        assert!(!error.to_string().contains(TOKEN), "{error}");
        error.kind()
    };
    assert_eq!(kind(ClientConfig { token: None, ..secure() }).await, ErrorKind::Settings);
    let other = Token::new("another-token-altogether").unwrap();
    assert_eq!(kind(ClientConfig { token: Some(other), ..secure() }).await, ErrorKind::Settings);
    assert_eq!(
        kind(ClientConfig { ca_certificate: None, ..secure() }).await,
        ErrorKind::Unavailable,
        "not signed by the system's"
    );
    assert_eq!(kind(config(service.endpoint())).await, ErrorKind::Unavailable, "plain text to a TLS socket");
    drop(good);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn health_and_metrics_need_no_token_and_everything_else_does() {
    let server = ServerConfig { token: Some(Token::new(TOKEN).unwrap()), ..ServerConfig::default() };
    let Some(service) = Service::start(one("scale"), server).await else { return };
    for path in ["/v2/health/live", "/v2/health/ready", "/metrics"] {
        assert_eq!(ask(service.http, "GET", path, &[], b"").await.status, 200, "{path}");
    }
    for path in ["/v2", "/v2/models/scale", "/v2/models/scale/infer", "/nowhere"] {
        let refused = ask(service.http, "GET", path, &[], b"").await;
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.json()["error"].as_str().unwrap().contains("Bearer"));
    }
    let named = format!("Bearer {TOKEN}");
    assert_eq!(ask(service.http, "GET", "/v2/models/scale", &[("Authorization", &named)], b"").await.status, 200);
    // On this machine a token may travel in plain text; elsewhere it is refused before anything is sent.
    let token = Some(Token::new(TOKEN).unwrap());
    let near = ClientConfig { token: token.clone(), ..config(service.endpoint()) };
    StageClient::new(manifest("scale"), near).unwrap().verify().await.unwrap();
    let far = ClientConfig { token, ..config("http://stage.example:8001".into()) };
    let refused = StageClient::new(manifest("scale"), far).unwrap_err();
    assert!(refused.to_string().contains("use https"), "{refused}");
    service.stop().await.unwrap();
}

#[tokio::test]
async fn files_that_are_no_certificate_are_named() {
    let (folder, identity) = identity();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let (_other, stranger) = self::identity();
    for (identity, expected) in [
        (Identity { certificate: "no/such.pem".into(), key: identity.key.clone() }, "no/such.pem"),
        (Identity { certificate: empty.clone(), key: identity.key.clone() }, "holds no certificate"),
        (Identity { certificate: identity.certificate.clone(), key: empty }, "empty.pem"),
        (Identity { certificate: identity.certificate.clone(), key: stranger.key }, "do not fit"),
    ] {
        let server = ServerConfig { identity: Some(identity), ..ServerConfig::default() };
        let Some(service) = Service::begin(one("scale"), server).await else { return };
        let error = service.ended().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn the_trace_of_a_request_is_in_the_log_of_the_service() {
    let Some(service) = Service::start(one("scale"), ServerConfig::default()).await else { return };
    let client = client_of(manifest("scale"), &service);
    let trace = Trace::new(0xfeed_0000_0000_0000_0000_0000_0000_beef, 7);
    client.infer(TensorBatch::from(pictures(1, &[1, 4, 8], 1)).with_trace(trace)).await.unwrap();
    drop(client);
    service.stop().await.unwrap();
    let log = crate::log();
    let line = log.lines().find(|line| line.contains("feed000000000000000000000000beef")).expect("the trace is logged");
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["span"]["model"], &line["fields"]["message"]), (&"scale".into(), &"answered".into()));
}

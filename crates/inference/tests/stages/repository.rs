//! Repositories in Triton's layout: written, read back, served; models without a manifest; servers that number versions.

use crate::service::{Service, client_of};
use crate::{changed, manifest, models, pictures, prompt, runtime};
use inference::{Device, ErrorKind, ServerConfig, Session, SessionConfig, Stage, golden, repository};

#[tokio::test]
async fn a_repository_is_written_read_and_served() {
    let Some(runtime) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let originals = [manifest("scale"), manifest("conv")];
    assert!(!repository::is_repository(folder.path()));
    repository::write(folder.path(), &originals).unwrap();
    assert!(repository::is_repository(folder.path()));
    let config = std::fs::read_to_string(folder.path().join("scale/config.pbtxt")).unwrap();
    for line in [
        "name: \"scale\"",
        "backend: \"onnxruntime\"",
        "max_batch_size: 16",
        "input { name: \"image\" data_type: TYPE_UINT8 dims: [ 1, 4, 8 ] }",
        &format!("parameters {{ key: \"sha256\" value: {{ string_value: \"{}\" }} }}", originals[0].digest().to_hex()),
    ] {
        assert!(config.lines().any(|l| l == line), "{line}\n{config}");
    }
    let read = repository::read(&runtime, folder.path(), |_| true).unwrap();
    assert_eq!(read.iter().map(|m| m.name()).collect::<Vec<_>>(), ["conv", "scale"]);
    assert_eq!((read[1].digest(), read[1].inputs()), (originals[0].digest(), originals[0].inputs()));

    let models = read.iter().map(|manifest| (manifest.clone(), prompt())).collect();
    let Some(service) = Service::start(models, ServerConfig::default()).await else { return };
    // the original's manifest fits the copy that is served
    let client = client_of(originals[0].clone(), &service);
    client.verify().await.unwrap();
    assert!(golden::check(&client_of(read[1].clone(), &service)).await.unwrap().is_some());
    drop(client);
    service.stop().await.unwrap();

    let twice = repository::write(folder.path(), &[manifest("scale"), manifest("scale")]).unwrap_err();
    assert!(twice.to_string().contains("two models are called `scale`"), "{twice}");
    let (_folder, wrong) = changed("scale", &manifest("scale").digest().to_hex(), &"00".repeat(32));
    assert_eq!(repository::write(folder.path(), &[wrong]).unwrap_err().kind(), ErrorKind::Digest);
}

#[tokio::test]
async fn a_model_without_a_manifest_is_described_by_its_file() {
    let Some(runtime) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (name, version) in [("scale", "1"), ("scale", "12"), ("fixed", "3")] {
        let place = folder.path().join(name).join(version);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::copy(models().join(format!("{name}.onnx")), place.join("model.onnx")).unwrap();
    }
    let read = repository::read(&runtime, folder.path(), |_| true).unwrap();
    let listed: Vec<_> = read.iter().map(|m| (m.name(), m.version())).collect();
    assert_eq!(listed, [("fixed", "3"), ("scale", "1"), ("scale", "12")]);
    // a model that cannot be served does not keep the others from being served
    let odd = folder.path().join("odd/1");
    std::fs::create_dir_all(&odd).unwrap();
    std::fs::write(odd.join("model.onnx"), b"no model").unwrap();
    assert!(repository::read(&runtime, folder.path(), |_| true).is_err());
    assert_eq!(repository::read(&runtime, folder.path(), |name| name == "scale").unwrap().len(), 2);
    assert_eq!(read[1].inputs()[0].to_string(), manifest("scale").inputs()[0].to_string());
    assert_eq!(read[0].batch().preferred, manifest("fixed").batch().preferred, "a fixed first axis is the batch");
    let session = Session::start(&runtime, read[1].clone(), prompt()).unwrap();
    let ours = crate::session(&runtime, "scale");
    let image = pictures(2, &[1, 4, 8], 3);
    let bytes = async |stage: &Session| -> Vec<u8> {
        let outputs = stage.infer(image.clone().into()).await.unwrap();
        outputs.iter().find(|t| t.name() == "mean").unwrap().bytes().to_vec()
    };
    assert_eq!(bytes(&session).await, bytes(&ours).await);
    // what is described can be written down and read again
    let text = read[1].text().unwrap();
    assert_eq!(&inference::ModelManifest::parse(&text, &folder.path().join("scale/1")).unwrap(), &read[1]);

    let garbage = folder.path().join("garbage.onnx");
    std::fs::write(&garbage, b"no model").unwrap();
    let refused = repository::describe(&runtime, &garbage, "garbage", "1").unwrap_err();
    assert!(refused.kind() == ErrorKind::Model && refused.to_string().contains("garbage.onnx"), "{refused}");
    let absent = repository::describe(&runtime, &folder.path().join("none.onnx"), "none", "1").unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::Model);
}

#[tokio::test]
async fn a_server_that_numbers_versions_is_asked_for_the_newest() {
    let Some(service) = Service::start(crate::service::one("scale"), ServerConfig::default()).await else { return };
    // served as version 1, as Triton would; the caller's manifest says 1.4.2
    let (_folder, ours) = changed("scale", "version = \"1\"", "version = \"1.4.2\"");
    let client = client_of(ours, &service);
    client.verify().await.unwrap();
    assert!(client.infer(pictures(1, &[1, 4, 8], 1).into()).await.is_ok());
    let (folder, _) = changed("scale", "version = \"1\"", "version = \"1.4.2\"");
    let text = std::fs::read_to_string(models().join("scale.toml")).unwrap();
    let text = text
        .replace("version = \"1\"", "version = \"1.4.2\"")
        .replace(&manifest("scale").digest().to_hex(), &"00".repeat(32));
    let other = inference::ModelManifest::parse(&text, folder.path()).unwrap();
    assert_eq!(
        client_of(other, &service).verify().await.unwrap_err().kind(),
        ErrorKind::Disagreement,
        "the digest decides"
    );
    service.stop().await.unwrap();
}

#[test]
fn a_gpu_that_is_not_there_is_an_error_or_the_cpu_as_chosen() {
    let Some(runtime) = runtime() else { return };
    let on = |fall_back| SessionConfig { device: Device::Cuda(0), fall_back, ..prompt() };
    match Session::start(&runtime, manifest("scale"), on(None)) {
        Ok(session) => assert_eq!(session.provider(), "cuda", "this machine has one"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Settings);
            assert!(
                error.to_string().contains("ORT_DYLIB_PATH") && error.to_string().contains("--device cpu"),
                "{error}"
            );
            let session = Session::start(&runtime, manifest("scale"), on(Some(3))).unwrap();
            assert_eq!((session.provider(), session.config().runners), ("cpu", 3));
        }
    }
}

//! Loading, refusing and computing in this process.

use crate::{changed, manifest, models, pictures, prompt, runtime, session};
use futures::FutureExt;
use half::f16;
use inference::statistics::FailureReason;
use inference::tensor::named;
use inference::{Device, ErrorKind, ModelManifest, Session, SessionConfig, Stage, Tensor, TensorBatch, Turns};
use std::path::Path;

fn refused(manifest: ModelManifest, config: SessionConfig) -> Option<inference::Error> {
    let runtime = runtime()?;
    Some(Session::start(&runtime, manifest, config).map(|_| ()).unwrap_err())
}

#[tokio::test]
async fn outputs_are_the_models_and_in_order() {
    let Some(runtime) = runtime() else { return };
    let session = session(&runtime, "scale");
    let image = pictures(3, &[1, 4, 8], 1);
    let outputs = session.infer(image.clone().into()).await.unwrap();
    assert_eq!(outputs.iter().map(Tensor::name).collect::<Vec<_>>(), ["scaled", "mean"]);
    assert_eq!(outputs[0].shape(), [3, 1, 4, 8]);
    assert_eq!(outputs[1].shape(), [3, 1]);
    for row in 0..3 {
        let pixels = image.row::<u8>(row).unwrap();
        let scaled: Vec<f32> = pixels.iter().map(|&grey| f32::from(grey) / 255.0).collect();
        assert_eq!(outputs[0].row::<f32>(row).unwrap().as_ref(), scaled);
        let mean = scaled.iter().sum::<f32>() / 32.0;
        assert!((outputs[1].row::<f32>(row).unwrap()[0] - mean).abs() < 1e-6);
    }
}

#[tokio::test]
async fn every_element_type_passes_unchanged() {
    let Some(runtime) = runtime() else { return };
    let session = session(&runtime, "types");
    let small = Tensor::new("small", &[3, 3], vec![-128_i8, 0, 127, 1, 2, 3, -1, -2, -3]).unwrap();
    let halves: Vec<f16> = [0.5, -0.5, 2.0, 0.0, 0.25, -4.0, 1.0, 1.5, 3.0].map(f16::from_f32).to_vec();
    let half = Tensor::new("half", &[3, 3], halves).unwrap();
    // Inputs are found by name, in whatever order they come.
    let outputs = session.infer(TensorBatch::new(vec![half.clone(), small.clone()])).await.unwrap();
    let sum = named(&outputs, "sum").unwrap().values::<f32>().unwrap().into_owned();
    assert_eq!(sum, [-127.5, -0.5, 129.0, 1.0, 2.25, -1.0, 0.0, -0.5, 0.0]);
    let twice = named(&outputs, "twice").unwrap().values::<f16>().unwrap().into_owned();
    assert_eq!(twice[2].to_f32(), 4.0);
    assert_eq!(named(&outputs, "same").unwrap().bytes(), small.bytes());
}

/// Fixed shapes: a row's answer has the same bits alone, in company, and in any place of the batch.
#[tokio::test]
async fn neighbours_do_not_change_a_row() {
    let Some(runtime) = runtime() else { return };
    let session = session(&runtime, "conv");
    let together = pictures(4, &[1, 24, 16], 7);
    let in_company = session.infer(together.clone().into()).await.unwrap();
    let row_bytes = 24 * 16;
    for row in 0..4 {
        let bytes = together.bytes().slice(row * row_bytes..(row + 1) * row_bytes);
        let alone = Tensor::from_bytes("image", together.dtype(), &[1, 1, 24, 16], bytes).unwrap();
        let answer = session.infer(alone.into()).await.unwrap();
        assert_eq!(
            answer[0].bytes(),
            &in_company[0].bytes().slice(row * 4 * row_bytes * 4..(row + 1) * 4 * row_bytes * 4)
        );
    }
}

/// More rows than the shape are split over batches and put together again.
#[tokio::test]
async fn a_long_request_is_split_and_a_longer_one_refused() {
    let Some(runtime) = runtime() else { return };
    let session = session(&runtime, "scale");
    let image = pictures(15, &[1, 4, 8], 3);
    let outputs = session.infer(image.clone().into()).await.unwrap();
    let want: Vec<f32> = image.values::<u8>().unwrap().iter().map(|&grey| f32::from(grey) / 255.0).collect();
    assert_eq!(outputs[0].values::<f32>().unwrap().as_ref(), want);
    assert_eq!(session.statistics().executions().keys().copied().collect::<Vec<_>>(), [3, 4]);
    let error = session.infer(pictures(17, &[1, 4, 8], 3).into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Request);
    assert!(error.to_string().contains("1 to 16 rows"), "{error}");
}

/// The network fails on one row of a full batch: the others are answered as if it had not been there.
#[tokio::test]
async fn only_the_bad_row_fails() {
    let Some(runtime) = runtime() else { return };
    let mut config = prompt();
    config.longest_delay = std::time::Duration::from_secs(10);
    let session = Session::start(&runtime, manifest("picky"), config).unwrap();
    // Four requests fill the shape, so that they are computed together and at once.
    let ask = |number: u8| session.infer(Tensor::new("number", &[1, 1], vec![number]).unwrap().into());
    let (a, b, bad, c) = tokio::join!(ask(2), ask(3), ask(200), ask(9));
    let square = |answer: inference::Result<Vec<Tensor>>| answer.unwrap()[0].values::<f32>().unwrap()[0];
    assert_eq!([square(a), square(b), square(c)], [4.0, 9.0, 81.0]);
    let error = bad.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Compute);
    assert!(error.to_string().contains("row 0 of the request"), "{error}");
    assert_eq!(session.statistics().requests_failed(FailureReason::Backend), 1);
    assert_eq!(session.statistics().requests_succeeded(), 3);

    let mixed = Tensor::new("number", &[4, 1], vec![1_u8, 2, 77, 3]).unwrap();
    let error = session.infer(mixed.into()).await.unwrap_err();
    assert!(error.to_string().contains("row 2 of the request"), "{error}");
}

#[test]
fn a_file_with_another_digest_is_refused() {
    let (folder, manifest) = changed("scale", "sha256", "sha256");
    let path = folder.path().join("scale.onnx");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let Some(error) = refused(manifest, prompt()) else { return };
    assert_eq!(error.kind(), ErrorKind::Digest);
    assert!(error.to_string().contains("scale.onnx has sha256"), "{error}");
}

#[test]
fn a_corrupt_or_missing_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = b"this is no model";
    std::fs::write(folder.path().join("scale.onnx"), garbage).unwrap();
    let text = std::fs::read_to_string(models().join("scale.toml")).unwrap();
    let digest = manifest("scale").digest().to_hex();
    let text = text.replace(&digest, &domain::Digest::of(garbage).to_hex());
    let corrupt = ModelManifest::parse(&text, folder.path()).unwrap();
    let Some(error) = refused(corrupt, prompt()) else { return };
    assert_eq!(error.kind(), ErrorKind::Model);
    assert!(error.to_string().contains("cannot be loaded"), "{error}");

    let missing = ModelManifest::parse(&text, Path::new("no/such/folder")).unwrap();
    let error = refused(missing, prompt()).unwrap();
    assert!(error.to_string().contains("cannot be read"), "{error}");
}

#[test]
fn a_model_that_is_not_what_its_manifest_says_is_refused_by_tensor() {
    let cases = [
        ("scale", "name = \"image\"", "name = \"picture\"", "input `image`"),
        ("scale", "name = \"mean\"", "name = \"median\"", "output `mean`"),
        ("scale", "dtype = \"UINT8\"", "dtype = \"INT8\"", "input `image` is u8"),
        ("scale", "{ axis = \"column\", size = 8 }", "{ axis = \"column\", size = 9 }", "INT8"),
        ("fixed", "preferred = 2", "preferred = 4", "fixed batch of 2 rows"),
    ];
    for (name, from, to, expected) in cases {
        let (_folder, manifest) = changed(name, from, to);
        let Some(error) = refused(manifest, prompt()) else { return };
        assert_eq!(error.kind(), ErrorKind::Model);
        let message = error.to_string();
        let expected = if expected == "INT8" { "UINT8 [N, 1, 4, 9] in the manifest" } else { expected };
        assert!(message.contains("is not what its manifest says") && message.contains(expected), "{message}");
    }
}

#[test]
fn settings_out_of_range_and_devices_that_are_not_there_are_refused() {
    let wrong = |config: SessionConfig| refused(manifest("scale"), config);
    let Some(error) = wrong(SessionConfig { threads: 0, ..prompt() }) else { return };
    assert!(error.to_string().contains("threads must be 1 to 256"), "{error}");
    let error = wrong(SessionConfig { runners: 257, ..prompt() }).unwrap();
    assert!(error.to_string().contains("runners must be 1 to 256"), "{error}");
    let error = wrong(SessionConfig { queue_rows: 15, ..prompt() }).unwrap();
    assert_eq!(error.kind(), ErrorKind::Settings);
    // The pinned library is the CPU build.
    let error = wrong(SessionConfig { device: Device::Cuda(0), ..prompt() }).unwrap();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(error.to_string().contains("cannot use CUDA device 0"), "{error}");
}

#[tokio::test]
async fn several_runners_answer_as_one_does() {
    let Some(runtime) = runtime() else { return };
    let config = |runners| SessionConfig { runners, queue_rows: 256, ..prompt() };
    let start = |runners| Session::start(&runtime, manifest("conv"), config(runners)).unwrap();
    let (one, three) = (start(1), start(3));
    let frames: Vec<_> = (0..40).map(|seed| pictures(1 + seed as usize % 4, &[1, 24, 16], seed)).collect();
    let answers = futures::future::join_all(frames.iter().map(|frame| three.infer(frame.clone().into()))).await;
    for (frame, answer) in frames.iter().zip(answers) {
        let expected = one.infer(frame.clone().into()).await.unwrap();
        assert_eq!(answer.unwrap()[0].bytes(), expected[0].bytes());
    }
    assert_eq!(three.pending_rows(), 0);
}

/// Who asks alone is answered by more threads, with the same bytes as when others ask too.
#[tokio::test]
async fn an_answer_does_not_tell_whether_others_asked() {
    let Some(runtime) = runtime() else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/vfa-unet");
    let turns = Turns::new(2);
    let config = |alone_threads| SessionConfig { runners: 2, alone_threads, ..prompt() };
    let manifests = ModelManifest::read_folder(&folder).unwrap();
    assert!(manifests.len() >= 2);
    for manifest in manifests {
        let name = manifest.name().to_owned();
        let shape = manifest.inputs()[0].row_shape();
        let pixels: usize = shape.iter().product();
        let input = manifest.inputs()[0].name.clone();
        let frame = |seed: usize| {
            let values = (0..pixels).map(|i| ((i * (seed + 3)) >> 3) as u8).collect::<Vec<u8>>();
            Tensor::new(input.as_str(), &[&[1], &shape[..]].concat(), values).unwrap()
        };
        let plain = Session::start(&runtime, manifest.clone(), config(2)).unwrap();
        assert_eq!(plain.alone_threads(), 1, "{name}: without turns nobody knows of the others");
        let shared = Session::start_beside(&runtime, manifest, config(2), Some(&turns)).unwrap();
        assert_eq!(shared.alone_threads(), 2, "{name}");
        let crowd = futures::future::join_all((0..6).map(|seed| shared.infer(frame(seed).into()))).await;
        for (seed, crowded) in crowd.into_iter().enumerate() {
            let expected = plain.infer(frame(seed).into()).await.unwrap();
            let alone = shared.infer(frame(seed).into()).await.unwrap();
            for (output, (crowded, alone)) in expected.iter().zip(crowded.unwrap().iter().zip(&alone)) {
                assert_eq!(output.bytes(), alone.bytes(), "{name}");
                assert_eq!(output.bytes(), crowded.bytes(), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn draining_answers_what_was_accepted_and_refuses_the_rest() {
    let Some(runtime) = runtime() else { return };
    let session = session(&runtime, "conv");
    let mut asked: Vec<_> = (0..12).map(|seed| session.infer(pictures(4, &[1, 24, 16], seed).into()).boxed()).collect();
    // Polled once, they are in the queue (or answered already).
    let early: Vec<_> = asked.iter_mut().map(|request| request.as_mut().now_or_never()).collect();
    session.drain().await;
    assert!(!session.is_ready());
    assert_eq!(session.pending_rows(), 0);
    for (request, early) in asked.into_iter().zip(early) {
        let answer = match early {
            Some(answer) => answer,
            None => request.now_or_never().expect("answered before the drain ended"),
        };
        assert_eq!(answer.unwrap()[0].rows(), 4);
    }
    let error = session.infer(pictures(1, &[1, 24, 16], 0).into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

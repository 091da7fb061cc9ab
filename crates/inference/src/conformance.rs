//! What every [`Stage`] keeps to, as one suite that sessions, clients and stand-ins are put through in tests.

use crate::error::{ErrorKind, Result};
use crate::stage::Stage;
use crate::tensor::{Tensor, TensorBatch};
use futures::future::{FutureExt, join_all};
use std::time::Duration;
use tokio::time::Instant;

/// Puts `stage` through the suite; panics with what was not kept. The stage must serve the test model `scale`
/// (tests/models): input `image` UINT8 [N, 1, 4, 8], outputs `scaled` = image / 255, FP32 [N, 1, 4, 8], and `mean` of
/// scaled, FP32 [N, 1]; requests of at most 16 rows; room for 64 rows in its queue.
pub async fn check(stage: &dyn Stage) {
    assert_eq!(stage.manifest().name(), "scale", "the suite is written for this model");
    answers_have_the_rows_that_were_asked(stage).await;
    many_at_once_are_not_mixed_up(stage).await;
    wrong_requests_are_refused_by_tensor(stage).await;
    deadlines_are_kept(stage).await;
    given_up_requests_do_no_harm(stage).await;
}

const PIXELS: usize = 32;

/// `rows` rows of which no two are alike, for different seeds either.
fn image(rows: usize, seed: usize) -> Tensor {
    let values = (0..rows * PIXELS).map(|index| (index * 7 + seed * 13 + index / PIXELS * 5) as u8).collect();
    Tensor::new("image", &[rows, 1, 4, 8], values).expect("the shape fits")
}

fn expect_answer(image: &Tensor, outputs: &[Tensor]) {
    let rows = image.rows();
    let names: Vec<&str> = outputs.iter().map(Tensor::name).collect();
    assert_eq!(names, ["scaled", "mean"], "outputs come in the manifest's order");
    assert_eq!(outputs[0].shape(), [rows, 1, 4, 8]);
    assert_eq!(outputs[1].shape(), [rows, 1]);
    for row in 0..rows {
        let want: Vec<f32> = image.row::<u8>(row).expect("bytes").iter().map(|&grey| f32::from(grey) / 255.0).collect();
        assert_eq!(outputs[0].row::<f32>(row).expect("floats").as_ref(), want, "row {row}");
        let mean = want.iter().sum::<f32>() / PIXELS as f32;
        let got = outputs[1].row::<f32>(row).expect("floats")[0];
        assert!((got - mean).abs() < 1e-5, "mean of row {row}: {got}, not {mean}");
    }
}

/// Fewer rows than the shape, as many, more, and the most.
async fn answers_have_the_rows_that_were_asked(stage: &dyn Stage) {
    for rows in [1, 3, 4, 5, 16] {
        let image = image(rows, rows);
        let outputs = stage.infer(image.clone().into()).await.expect("an answer");
        expect_answer(&image, &outputs);
    }
}

async fn many_at_once_are_not_mixed_up(stage: &dyn Stage) {
    let images: Vec<Tensor> = (0..24).map(|seed| image(1 + seed % 3, 100 + seed)).collect();
    let answers = join_all(images.iter().map(|image| stage.infer(image.clone().into()))).await;
    for (image, answer) in images.iter().zip(answers) {
        expect_answer(image, &answer.expect("an answer"));
    }
}

async fn wrong_requests_are_refused_by_tensor(stage: &dyn Stage) {
    let refused = async |batch: TensorBatch, part: &str| {
        let error = stage.infer(batch).await.expect_err("a refusal");
        assert_eq!(error.kind(), ErrorKind::Request, "{error}");
        assert!(!error.fault().is_retryable());
        assert!(error.to_string().contains(part), "`{error}` does not say `{part}`");
    };
    let tensor = |name: &str, shape: &[usize]| {
        Tensor::new(name, shape, vec![0_u8; shape.iter().product()]).expect("the shape fits")
    };
    refused(TensorBatch::new(vec![]), "`image` is missing; expected UINT8 [N, 1, 4, 8]").await;
    refused(tensor("picture", &[1, 1, 4, 8]).into(), "`image`").await;
    refused(tensor("image", &[1, 1, 8, 4]).into(), "expected UINT8 [N, 1, 4, 8], got UINT8 [1, 1, 8, 4]").await;
    refused(tensor("image", &[17, 1, 4, 8]).into(), "1 to 16 rows").await;
    refused(tensor("image", &[0, 1, 4, 8]).into(), "1 to 16 rows").await;
    let floats = Tensor::new("image", &[1, 1, 4, 8], vec![0.0_f32; PIXELS]).expect("the shape fits");
    refused(floats.into(), "got FP32").await;
    let twice = TensorBatch::new(vec![tensor("image", &[1, 1, 4, 8]), tensor("image", &[1, 1, 4, 8])]);
    refused(twice, "image").await;
}

async fn deadlines_are_kept(stage: &dyn Stage) {
    let past = TensorBatch::from(image(1, 1)).with_deadline(Instant::now());
    let error = stage.infer(past).await.expect_err("too late");
    assert_eq!(error.kind(), ErrorKind::Deadline, "{error}");
    assert!(error.fault().is_retryable());
    let ample = TensorBatch::from(image(2, 1)).with_deadline(Instant::now() + Duration::from_secs(60));
    let answer: Result<Vec<Tensor>> = stage.infer(ample).await;
    expect_answer(&image(2, 1), &answer.expect("an answer"));
}

/// Futures that were polled once and then dropped leave room for others and answers where they belong.
async fn given_up_requests_do_no_harm(stage: &dyn Stage) {
    for round in 0..8 {
        for seed in 0..8 {
            // Whether it was answered at once or is dropped on the way makes no difference.
            let _ = stage.infer(image(4, seed).into()).now_or_never();
        }
        let image = image(3, 200 + round);
        // What was given up may fill the queue until it is noticed: that is no fault of the stage.
        let outputs = loop {
            match stage.infer(image.clone().into()).await {
                Ok(outputs) => break outputs,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}"),
            }
            tokio::task::yield_now().await;
        };
        expect_answer(&image, &outputs);
    }
}

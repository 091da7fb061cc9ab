//! Networks in several precisions: which one computes, that the row says so, and how far they agree.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use tests::{aortica, cohort, query, run, text};

const GRADES: &str =
    "aac_l1_ant, aac_l1_post, aac_l2_ant, aac_l2_post, aac_l3_ant, aac_l3_post, aac_l4_ant, aac_l4_post";

#[test]
fn each_precision_has_rows_of_its_own_and_they_agree() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    let images = cohort().join("images");
    for more in [&["--precision", "fp32"][..], &["--precision", "int8"], &[]] {
        run(&[&["score", text(&images), "--lake", text(&lake)], more].concat(), 0);
    }
    let count = query(&lake, "SELECT count(*) AS n FROM readings GROUP BY fingerprint");
    assert_eq!(
        count, "n\n24\n24\n",
        "int8 is what a CPU computes without a word, and it is another fingerprint than fp32"
    );

    // A few of 192 segments may fall on the other side of a threshold; `make prove` has the figure of 300 participants.
    let grades =
        query(&lake, &format!("SELECT image_id, {GRADES} FROM readings WHERE status = 'scored' ORDER BY image_id"));
    let rows: Vec<Vec<&str>> = grades.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let pairs: Vec<_> = rows.chunks(2).filter(|pair| pair.len() == 2 && pair[0][0] == pair[1][0]).collect();
    assert!(pairs.len() >= 20, "{} images were scored in both", pairs.len());
    let different: usize = pairs.iter().map(|p| p[0].iter().zip(&p[1]).filter(|(a, b)| a != b).count()).sum();
    assert!(different * 100 <= pairs.len() * 8 * 3, "{different} of {} segments differ", pairs.len() * 8);
}

#[test]
fn a_client_takes_the_precision_that_the_service_has_unless_told() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    let images = cohort().join("images");
    let mut service = aortica(&[
        "infer",
        "pipelines/aortica",
        "--precision",
        "fp32",
        "--grpc",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::null())
    .spawn()
    .unwrap();
    let mut line = String::new();
    BufReader::new(service.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let addresses: serde_json::Value = serde_json::from_str(&line).unwrap();
    let url = format!("http://{}", addresses["grpc"].as_str().unwrap());
    let score = |more: &[&str], code| {
        let arguments = ["score", text(&images), "--lake", text(&lake), "--limit", "3"];
        run(&[&arguments[..], more].concat(), code)
    };
    score(&["--stages", &url], 0);
    score(&["--precision", "fp32"], 0);
    let refused = score(&["--stages", &url, "--precision", "int8"], 3);
    service.kill().unwrap();
    service.wait().unwrap();
    assert_eq!(
        query(&lake, "SELECT count(*) AS n FROM readings GROUP BY fingerprint"),
        "n\n6\n",
        "the service's fp32 and that of this process give one fingerprint: the second run went on where the first stopped"
    );
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(message.contains("locate") && message.contains("sha256"), "{message}");
}

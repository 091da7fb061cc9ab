//! Readings and truth of a simulated cohort meet, and the first metrics are in their plausible ranges.

use tests::{cohort, repository, run, sound_page, stdout, text};

#[test]
fn the_shipped_models_read_a_cohort_that_they_never_saw() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    run(&["score", text(&cohort().join("images")), "--lake", text(&lake)], 0);
    let arguments = ["evaluate", "--lake", text(&lake), "--truth", text(cohort()), "--json"];
    let evaluation: serde_json::Value = serde_json::from_str(&stdout(&arguments)).unwrap();
    let number = |pointer: &str| evaluation.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN);
    assert_eq!(evaluation["methods"][0]["without_row"], 0, "{evaluation:#}");
    // Far below what the models reach (models' cards): a smoke alarm for broken wiring, not a measure.
    assert!(number("/methods/0/all/scored/estimate") >= 0.7, "{evaluation:#}");
    assert!(number("/methods/0/all/localisation/corner_error_median_pct") <= 12.0, "{evaluation:#}");
    assert!(number("/methods/0/all/certainty/interval/all/covered/estimate") >= 0.7, "{evaluation:#}");
    let expected = number("/methods/0/all/certainty/prevalence_expected/estimate");
    assert!((expected - number("/methods/0/all/totals/prevalence_reference/estimate")).abs() < 0.3, "{evaluation:#}");
    run(&["evaluate", "--lake", text(&lake), "--truth", text(folder.path())], 2);

    let certain = "SELECT count(*) FILTER (WHERE aac24_low <= aac24_total AND aac24_total <= aac24_high) AS inside, count(aac24_total) AS n,
        max(abs(aac24_p_low + aac24_p_moderate + aac24_p_high - 1)) < 0.001 AND
        max(aac24_p_moderate + aac24_p_high - aac24_p_above_0) < 0.001 AS whole FROM readings WHERE status = 'scored'";
    let answer = stdout(&["query", "--lake", text(&lake), "--format", "json", certain]);
    let answer: serde_json::Value = serde_json::from_str(answer.trim()).unwrap();
    let row = answer.get(0).unwrap_or(&answer);
    assert!(row["inside"] == row["n"] && row["whole"] == true, "{answer}");
    let out = folder.path().join("certainty.json");
    let arguments = ["train", "calibration", "--lake", text(&lake), "--truth", text(cohort()), "--out", text(&out)];
    run(&arguments, 2);
    assert!(!out.exists(), "too few readings to learn from");
}

#[test]
fn the_forest_reads_a_cohort_by_the_same_commands() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    run(&["score", text(&cohort().join("images")), "--lake", text(&lake), "--pipeline", "vfa-forest"], 0);
    let arguments = ["evaluate", "--lake", text(&lake), "--truth", text(cohort()), "--json"];
    let evaluation: serde_json::Value = serde_json::from_str(&stdout(&arguments)).unwrap();
    let number = |pointer: &str| evaluation.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN);
    assert_eq!(evaluation["methods"][0]["without_row"], 0, "{evaluation:#}");
    assert!(number("/methods/0/all/scored/estimate") >= 0.7, "{evaluation:#}");
    let shown: serde_json::Value =
        serde_json::from_str(&stdout(&["pipeline", "show", "vfa-forest", "--json"])).unwrap();
    assert_eq!(shown["forest"]["trees"], 10);
    assert_eq!(shown["models"].as_array().map(Vec::len), Some(1), "one network, of the pipeline beside it");
}

#[test]
fn the_page_shows_every_figure_by_every_method_and_names_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let lake = at("lake");
    let work = at("work");
    std::fs::create_dir_all(work.join("default/cohort")).unwrap();
    let images = cohort().join("images");
    for pipeline in ["aortica", "vfa-forest"] {
        let told = stdout(&["score", text(&images), "--lake", text(&lake), "--pipeline", pipeline, "--json"]);
        std::fs::write(work.join(format!("default/{pipeline}.run.json")), told).unwrap();
    }
    let asked = ["evaluate", "--lake", text(&lake), "--truth", text(cohort()), "--json"];
    let page = |name: &str, more: &[&str]| {
        let path = at(name);
        let printed = stdout(&[&asked[..], &["--html", text(&path)], more].concat());
        let html = std::fs::read_to_string(&path).unwrap();
        (sound_page(&path), html, serde_json::from_str::<serde_json::Value>(&printed).unwrap())
    };
    let (seen, html, numbers) = page("comparison.html", &["--title", "Methods <compared> & drawn"]);
    let sections = "films totals categories segments overlap readers certainty places measures";
    assert_eq!(seen.sections, sections);
    // of each method scatter, Bland-Altman, confusion, reliability; together segments, Dice, readers, two of abstention, three places
    assert_eq!((seen.drawings, seen.images), (2 * 4 + 8, 3 * 3), "three images by truth and two methods");
    for id in
        ["scatter-1", "difference-1", "confusion-1", "reliability-1", "abstention-error", "dice-chart", "model-chart"]
    {
        assert!(html.contains(&format!("id=\"{id}\"")), "{id}");
    }
    assert!(html.contains("Methods &lt;compared&gt; &amp; drawn") && html.contains("Best: truth"));

    // The numbers of the page are those that are printed.
    for (method, name) in numbers["methods"].as_array().unwrap().iter().zip(["aortica", "vfa-forest"]) {
        assert!(method["name"].as_str().unwrap().starts_with(name));
        let totals = &method["all"]["totals"];
        let mae = totals["difference"]["mae"]["estimate"].as_f64().unwrap();
        assert!(html.contains(&format!("<td>{mae:.2} (")), "{mae}");
        for n in totals["categories"]["confusion"].as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap()) {
            assert!(html.contains(&format!(">{n}</text>")), "{n} of the confusion");
        }
    }
    assert!(numbers["repeat_dice"][0]["dice"]["estimate"].as_f64().is_some_and(|dice| dice > 0.3 && dice < 1.0));

    // docs/results.md is written out of them, and says what was not measured.
    std::fs::write(work.join("default/evaluation.json"), numbers.to_string()).unwrap();
    std::fs::write(work.join("default/set.json"), r#"{"name": "default", "seed": 77, "participants": 24}"#).unwrap();
    std::fs::copy(cohort().join("phantom.toml"), work.join("default/cohort/phantom.toml")).unwrap();
    std::fs::write(work.join("pipelines.json"), stdout(&["pipeline", "list", "--json"])).unwrap();
    let results = at("results.md");
    let write = repository().join("pipelines/results/write.py");
    let arguments = ["-B", text(&write), "--work", text(&work), "--ours", "aortica", "--out", text(&results)];
    let output = std::process::Command::new("python3").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let written = std::fs::read_to_string(&results).unwrap();
    let mae = &numbers["methods"][0]["all"]["totals"]["difference"]["mae"];
    let of = |part: &str| mae[part].as_f64().unwrap();
    let said = format!(
        "| mean absolute error <= 1.2 | {:.2} [{:.2}, {:.2}] |",
        of("estimate"),
        of("conf_low"),
        of("conf_high")
    );
    assert!(written.contains(&said), "{said} in {written}");
    assert!(written.contains("within 10 % of truth's | not measured here | - |"), "no followed population was given");

    // The same bytes again; no pictures where there are none; some of the images alone.
    let (_, again, _) = page("again.html", &["--title", "Methods <compared> & drawn"]);
    assert!(html == again, "the same inputs, the same bytes");
    let (bare, text_only, _) = page("bare.html", &["--images", text(folder.path())]);
    assert_eq!((bare.images, bare.sections.as_str()), (0, sections));
    assert!(text_only.contains("--images DIR"));
    let folds = at("folds.csv");
    run(
        &["folds", "--truth", text(cohort()), "--folds", "2", "--validation", "2", "--seed", "1", "-o", text(&folds)],
        0,
    );
    let (_, _, some) = page("some.html", &["--only", text(&folds)]);
    assert!(some["case_mix"]["negatives"] == 0 && some["case_mix"]["images"] == some["case_mix"]["assessable"]);

    // Nobody is named, no place of a file.
    let known = std::fs::read_to_string(cohort().join("participants.csv")).unwrap();
    let planted = known.lines().skip(1).flat_map(|line| {
        let fields: Vec<&str> = line.split(',').collect();
        [fields[0].to_owned(), fields[2].to_owned(), fields[6].to_owned()]
    });
    let places = [cohort(), folder.path(), &repository()].map(|path| text(path).to_owned());
    for name in planted.chain(places).chain(["img_0000".to_owned()]) {
        assert!(!name.is_empty() && !html.contains(&name), "{name} is on the page");
    }
}

/// A cross-validation: each fold's pipeline reads the images that its fold tests, and all of them together are one method.
#[test]
fn pipelines_of_the_folds_are_judged_as_one_method() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (folds, lake) = (at("folds.csv"), at("lake"));
    run(
        &["folds", "--truth", text(cohort()), "--folds", "2", "--validation", "3", "--seed", "1", "-o", text(&folds)],
        0,
    );
    let table = std::fs::read_to_string(&folds).unwrap();
    let definition = std::fs::read_to_string(repository().join("pipelines/aortica/pipeline.toml")).unwrap();
    let mut tested = Vec::new();
    for (fold, threshold) in [("0", "threshold = 0.45"), ("1", "threshold = 0.5")] {
        let pipeline = at(fold).join("aortica");
        std::fs::create_dir_all(&pipeline).unwrap();
        std::os::unix::fs::symlink(repository().join("pipelines/vfa-unet"), at(fold).join("vfa-unet")).unwrap();
        let lines: Vec<String> = definition
            .lines()
            .filter(|line| !line.starts_with("calibration"))
            .map(|line| if line.starts_with("threshold") { threshold.to_owned() } else { line.to_owned() })
            .collect();
        std::fs::write(pipeline.join("pipeline.toml"), lines.join("\n")).unwrap();
        let files: Vec<String> = table
            .lines()
            .map(|line| line.split(',').collect::<Vec<_>>())
            .filter(|fields| fields[0] == fold && fields[1] == "test")
            .map(|fields| text(&cohort().join(fields[2])).to_owned())
            .collect();
        let manifest = at(&format!("{fold}.csv"));
        std::fs::write(&manifest, format!("uri\n{}\n", files.join("\n"))).unwrap();
        run(&["score", text(&manifest), "--lake", text(&lake), "--pipeline", text(&pipeline)], 0);
        tested.push((manifest, files.len()));
    }
    let asked = ["evaluate", "--lake", text(&lake), "--truth", text(cohort()), "--only", text(&folds), "--json"];
    let evaluated =
        |more: &[&str]| -> serde_json::Value { serde_json::from_str(&stdout(&[&asked[..], more].concat())).unwrap() };
    let apart = evaluated(&[]);
    assert_eq!(apart["methods"].as_array().map(Vec::len), Some(2), "each by itself lacks the other's images");
    let lacks: Vec<_> =
        apart["methods"].as_array().unwrap().iter().map(|m| m["without_row"].as_u64().unwrap()).collect();
    let images = (tested[0].1 + tested[1].1) as u64;
    assert_eq!(lacks.iter().sum::<u64>(), images);
    let page = at("folds.html");
    let together = evaluated(&["--cross-validated", "--html", text(&page)]);
    let methods = together["methods"].as_array().unwrap();
    assert_eq!((methods.len(), &methods[0]["without_row"]), (1, &serde_json::json!(0)));
    assert_eq!(methods[0]["all"]["scored"]["n"].as_u64(), Some(images));
    assert!(methods[0]["fingerprint"].as_str().unwrap().split('+').count() == 2);
    assert_eq!(sound_page(&page).images, 3 * 2, "three images by truth and by the pipeline of their fold");

    // From which probability on a pixel counts, by images that this fold tests nothing on.
    let shards = at("validation");
    let shape = repository().join("pipelines/vfa-unet/shape.json");
    let asked =
        ["--truth", text(cohort()), "--folds", text(&folds), "--fold", "0", "--part", "validation", "--seed", "1"];
    run(&[&["training-set"], &asked[..], &["--shape", text(&shape), "--out", text(&shards)]].concat(), 0);
    let threshold = ["train", "threshold", "--validation", text(&shards), "--pipeline"];
    let ours = at("0").join("aortica");
    let told = stdout(&[&threshold[..], &[text(&ours)]].concat());
    assert!(told.lines().count() == 2 && told.contains("3 regions, best: threshold 0."), "{told}");
    let all = stdout(&[&threshold[..], &[text(&ours), "--all"]].concat());
    let half: Vec<&str> = all.lines().find(|line| line.starts_with("0.50,")).unwrap().split(',').collect();
    assert!(told.contains(&format!("mean Dice {:.3}", half[1].parse::<f64>().unwrap())), "{told} {half:?}");
    assert!(stdout(&[&threshold[..], &["vfa-forest"]].concat()).contains("3 regions, at .5: threshold 0.50"));
    run(&[&threshold[..], &["lvlcrnet"]].concat(), 2);

    // An image that the pipelines of two folds read is nobody's.
    let (manifest, _) = &tested[0];
    let other = at("1").join("aortica");
    run(&["score", text(manifest), "--lake", text(&lake), "--pipeline", text(&other)], 0);
    let asked = ["evaluate", "--lake", text(&lake), "--truth", text(cohort()), "--only", text(&folds)];
    let refused = run(&[&asked[..], &["--cross-validated"]].concat(), 2);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("two rows of aortica"), "{refused:?}");
}

//! A folder with 30 % garbage: each file is accounted for by reason, and the good ones score as without it.

use std::path::Path;
use tests::{cohort, query, run, text};

/// A minimal DICOM file: explicit little endian, the given attributes in order, then pixels.
fn dicom(modality: &str, rows: u16, columns: u16, pixels: &[u8]) -> Vec<u8> {
    let mut meta = Vec::new();
    let element = |out: &mut Vec<u8>, group: u16, element: u16, vr: &str, value: &[u8]| {
        out.extend(group.to_le_bytes());
        out.extend(element.to_le_bytes());
        out.extend(vr.as_bytes());
        let mut value = value.to_vec();
        if value.len() % 2 == 1 {
            value.push(if vr == "UI" { 0 } else { b' ' });
        }
        if matches!(vr, "OB" | "OW") {
            out.extend([0, 0]);
            out.extend((value.len() as u32).to_le_bytes());
        } else {
            out.extend((value.len() as u16).to_le_bytes());
        }
        out.extend(value);
    };
    element(&mut meta, 2, 0x0001, "OB", &[0, 1]);
    element(&mut meta, 2, 0x0002, "UI", b"1.2.840.10008.5.1.4.1.1.7");
    element(&mut meta, 2, 0x0003, "UI", b"2.25.1");
    element(&mut meta, 2, 0x0010, "UI", b"1.2.840.10008.1.2.1");
    element(&mut meta, 2, 0x0012, "UI", b"2.25.2");
    let mut file = vec![0; 128];
    file.extend(b"DICM");
    let mut length = Vec::new();
    element(&mut length, 2, 0, "UL", &(meta.len() as u32).to_le_bytes());
    file.extend(length);
    file.extend(meta);
    element(&mut file, 8, 0x0016, "UI", b"1.2.840.10008.5.1.4.1.1.7");
    element(&mut file, 8, 0x0018, "UI", b"2.25.1");
    element(&mut file, 8, 0x0060, "CS", modality.as_bytes());
    element(&mut file, 0x28, 0x0002, "US", &1u16.to_le_bytes());
    element(&mut file, 0x28, 0x0004, "CS", b"MONOCHROME2");
    element(&mut file, 0x28, 0x0010, "US", &rows.to_le_bytes());
    element(&mut file, 0x28, 0x0011, "US", &columns.to_le_bytes());
    for (tag, value) in [(0x0100, 16u16), (0x0101, 16), (0x0102, 15), (0x0103, 0)] {
        element(&mut file, 0x28, tag, "US", &value.to_le_bytes());
    }
    element(&mut file, 0x7fe0, 0x0010, "OW", pixels);
    file
}

/// A frontal chest radiograph.
fn chest(folder: &Path) -> Vec<u8> {
    let (config, out) = (folder.join("chest.toml"), folder.join("chest"));
    std::fs::write(&config, "[negatives]\nshare = 1.0\nfrontal = 0.0\ncervical = 0.0\nblank = 0.0\n").unwrap();
    let participant = ["phantom", "--participants", "1", "--seed", "5", "--config", text(&config), "--out", text(&out)];
    run(&participant, 0);
    let image = std::fs::read_dir(out.join("images")).unwrap().next().unwrap().unwrap().path();
    std::fs::read(image).unwrap()
}

#[test]
fn garbage_is_accounted_for_and_hurts_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    std::fs::create_dir(&images).unwrap();
    let mut good: Vec<_> = std::fs::read_dir(cohort().join("images")).unwrap().map(|e| e.unwrap().path()).collect();
    good.sort();
    for source in &good {
        std::fs::copy(source, images.join(source.file_name().unwrap())).unwrap();
    }
    let whole = std::fs::read(&good[0]).unwrap();
    let chest = chest(folder.path());
    let slice = vec![40; 128 * 128 * 2];
    let garbage: Vec<(&str, Vec<u8>)> = vec![
        ("a.txt", b"the quick brown fox".to_vec()),
        ("b.csv", b"a,b\n1,2\n".to_vec()),
        ("zero.dcm", Vec::new()),
        ("cut.dcm", whole[..whole.len() / 2].to_vec()),
        ("head.dcm", whole[..200].to_vec()),
        ("chest.dcm", chest),
        ("ct.dcm", dicom("CT", 128, 128, &slice)),
        ("mr.dcm", dicom("MR", 128, 128, &slice)),
        ("bomb.dcm", dicom("DX", 40_000, 40_000, &slice)),
        ("blank.dcm", dicom("DX", 128, 128, &slice)),
        ("noise.png", (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()),
    ];
    for (name, bytes) in &garbage {
        std::fs::write(images.join(name), bytes).unwrap();
    }
    let settings = folder.path().join("settings.toml");
    std::fs::write(&settings, format!("[study]\nkey_file = {:?}\n", text(&folder.path().join("study.key")))).unwrap();
    let score = |images: &Path, lake: &Path| {
        run(&["--settings", text(&settings), "score", text(images), "--lake", text(lake)], 0);
    };
    let (clean, mixed) = (folder.path().join("clean"), folder.path().join("mixed"));
    score(&cohort().join("images"), &clean);
    score(&images, &mixed);

    let reasons = query(
        &mixed,
        "SELECT status, fail_reason, count(*) FROM ledger WHERE fail_reason IN ('not_an_image', 'truncated', 'wrong_modality', \
         'too_large', 'unreadable') GROUP BY 1, 2 ORDER BY 1, 2",
    );
    let lines: Vec<&str> = reasons.lines().skip(1).collect();
    let of = |reason: &str| {
        lines
            .iter()
            .filter(|l| l.split(',').nth(1) == Some(reason))
            .map(|l| l.rsplit(',').next().unwrap().parse::<u32>().unwrap())
            .sum::<u32>()
    };
    assert_eq!(of("wrong_modality"), 2, "{reasons}");
    assert_eq!(of("too_large"), 1, "{reasons}");
    assert!(of("not_an_image") >= 4, "two texts, an empty file and noise: {reasons}");
    assert_eq!(of("not_an_image") + of("truncated") + of("unreadable"), 6, "{reasons}");
    // the others of the cohort that are no lateral spine are excluded alike
    let of_views = |lake: &Path| {
        let views =
            "SELECT count(*) FROM ledger WHERE fail_reason IN ('wrong_view', 'spine_not_found', 'levels_incomplete')";
        query(lake, views).lines().last().unwrap().parse::<u32>().unwrap()
    };
    assert_eq!(of_views(&mixed), of_views(&clean) + 1, "the chest");
    let total = query(&mixed, "SELECT count(*) FROM ledger WHERE status IN ('scored', 'excluded', 'failed')");
    assert_eq!(total.lines().last(), Some((good.len() + garbage.len()).to_string().as_str()));

    let scores = "SELECT image_id, aac24_total, aac24_min, aac24_max, aac_length_pct FROM readings WHERE status = 'scored' ORDER BY image_id";
    let (alone, beside) = (query(&clean, scores), query(&mixed, scores));
    assert!(alone.lines().count() > 10, "most of the cohort is scored");
    assert_eq!(alone, beside);
}

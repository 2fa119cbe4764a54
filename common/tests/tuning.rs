//! Head and body trained apart, as fine-tuning needs it: each executor against PyTorch's parameter groups, and what a
//! run makes of it.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::artifact::Data;
use artifacts::images::Unsaved;
use artifacts::{Framing, Images, Preparation, Provenance};
use common::device::Device;
use common::training::{Optimizer, Pictures, Settings, Sizes, Targets, Training, Tuning};
use executor::{Batch, Loss, Precision, Rule, State, Update};
use graph::{Graph, Weights};
use std::path::Path;

#[path = "reference/devices.rs"]
mod devices;
#[path = "reference/formula.rs"]
#[allow(dead_code)] // pictures and distances are others'
mod formula;
#[path = "reference/torch_tuning.rs"]
mod torch_tuning;
use devices::{DEVICES, model};
use formula::formula;
use torch_tuning::RUNS;

/// Two steps of the head alone, then four of everything, the body at a tenth of the rate: by PyTorch.
pub(crate) struct Run {
    rule: Rule,
    lr: f32,
    /// Whether batch norms keep to their stored statistics in the later steps, too.
    stored: bool,
    losses: &'static [f64],
    after: &'static [(&'static str, f64, f64)],
}

const SIZE: usize = 8;
const FROZEN: usize = 2;
const NETWORK: &str =
    "input 3;a:conv 3>4 k3 p1;n:bn 4;hardswish;b:conv 4>5 k1;m:bn 5;relu6;gap;f:linear 5>3 bias";

/// As in torch_tuning.py.
fn weights(graph: &Graph) -> Weights {
    let mut weights = formula(graph);
    for gamma in ["n.weight", "m.weight"] {
        let gamma = weights.get_mut(gamma).expect("the network has two batch norms");
        gamma.values.iter_mut().for_each(|v| *v += 0.5);
    }
    weights
}

fn batch(step: usize) -> Batch {
    let wave = |i: usize| f64::sin(0.37 * i as f64 + step as f64) as f32;
    let mut labels = vec![0.0; 12];
    for (i, class) in [0, 1, 2, 1].into_iter().enumerate() {
        labels[3 * i + class] = 1.0;
    }
    let pictures = (0..4 * 3 * SIZE * SIZE).map(wave).collect();
    Batch { pictures, labels, teacher: Vec::new() }
}

fn fingerprint(values: &[f32]) -> f64 {
    let terms = values.iter().enumerate();
    terms.map(|(i, v)| f64::from(*v) * f64::sin(1.0 + i as f64)).sum()
}

/// Learning rates, decay, bias corrections of a body that rested, the norm that is clipped, averages, statistics:
/// losses before every step, and every tensor after all of them.
#[test]
fn head_and_body_are_pytorchs_parameter_groups_on_every_device() {
    let graph: Graph = NETWORK.parse().unwrap();
    for (run, device) in RUNS.iter().flat_map(|r| DEVICES.map(|d| (r, d))) {
        let at = format!("{:?}, stored {}, {device}", run.rule, run.stored);
        let start = weights(&graph);
        let mut executor = device.executor(&model(graph.clone(), start.clone(), SIZE)).unwrap();
        let layout = executor.parametrisation().layout().clone();
        for (step, expected) in run.losses.iter().enumerate() {
            let update =
                Update { weight_decay: 0.1, clip: 0.5, ema: 0.9, ..Update::new(run.rule, run.lr) };
            let update = if step < FROZEN {
                Update { body: 0.0, ..update }
            } else {
                Update { body: 0.1, rested: FROZEN as i32, stored: run.stored, ..update }
            };
            executor.set_losses(0.0).unwrap();
            executor.step(batch(step), Loss::LABELS, &update).unwrap();
            let loss = executor.losses().unwrap();
            assert!(
                (loss - expected).abs() < 2e-5,
                "{at}, step {step}: {loss}, PyTorch {expected}"
            );
            let State { variables, average, momenta, .. } = executor.download().unwrap();
            if step + 1 == FROZEN {
                // Of a body at rest not a bit changes.
                let body = |w: &Weights| -> Weights {
                    w.iter()
                        .filter(|(n, _)| !n.starts_with("f."))
                        .map(|(n, a)| (n.clone(), a.clone()))
                        .collect()
                };
                for buffer in [&variables, &average] {
                    let now = layout.unpack(buffer).unwrap();
                    assert_eq!(body(&now), body(&start), "{at}");
                    assert_ne!(now["f.weight"], start["f.weight"], "{at}");
                }
                for momentum in momenta.iter().filter(|m| !m.is_empty()) {
                    let now = layout.unpack(momentum).unwrap();
                    assert!(
                        body(&now).values().all(|a| a.values.iter().all(|v| *v == 0.0)),
                        "{at}"
                    );
                }
            }
        }
        let state = executor.download().unwrap();
        let [now, average] = [&state.variables, &state.average].map(|b| layout.unpack(b).unwrap());
        assert_eq!(run.after.len(), now.len(), "{at}");
        for (name, expected, averaged) in run.after {
            let found = [&now, &average].map(|w| fingerprint(&w[*name].values));
            for (found, expected) in found.into_iter().zip([expected, averaged]) {
                assert!(
                    (found - expected).abs() < 3e-5,
                    "{at}: {name} {found}, PyTorch {expected}"
                );
            }
        }
    }
}

/// What is told apart: the last layer with weights and its bias, wherever they lie among the variables.
#[test]
fn the_head_is_the_last_layer_with_weights() {
    let graph: Graph =
        "input 3;a:conv 3>4 k1 bias;n:bn 4;relu;f:conv 4>2 k1 bias;relu;gap".parse().unwrap();
    let parametrisation =
        executor::Parametrisation::new(graph::Layout::of(&graph), &Default::default()).unwrap();
    let parts = |body: f32, rested: i32| -> Vec<(usize, usize, bool, bool)> {
        let update = Update { body, rested, ..Update::new(Rule::Sgd, 0.1) };
        let parts = parametrisation.updates(&update).into_iter();
        parts.map(|p| (p.range.start, p.range.end, p.decays, p.is_head)).collect()
    };
    // Weights: a 12, f 8. Then a.bias 4, γ 4, β 4, f.bias 2. Statistics are updated by nobody.
    assert_eq!(parts(1.0, 0), [(0, 20, true, false), (20, 34, false, false)]);
    let apart =
        [(0, 12, true, false), (12, 20, true, true), (20, 32, false, false), (32, 34, false, true)];
    assert_eq!(parts(0.5, 0), apart);
    assert_eq!(parts(1.0, 3), apart);
    assert_eq!(parts(0.0, 0), [(12, 20, true, true), (32, 34, false, true)]);
}

/// 12 pictures of three classes, in another colour each.
fn colours(folder: &Path) -> Images {
    let value = |i: usize, p: usize| (p / 64 == i % 3) as usize * 150 + (p * 31 + i * 57) % 90;
    let out = folder.join("images.safetensors");
    Unsaved {
        preparation: Preparation { size: SIZE, framing: Framing::Crop, exif: false },
        classes: ["0", "1", "2"].map(String::from).into(),
        labels: (0..12).map(|i| Some(i % 3)).collect(),
        names: (0..12).map(|i| format!("{}_{i}.png", i % 3)).collect(),
        pixels: Data::Bytes(
            (0..12).flat_map(|i| (0..192).map(move |p| value(i, p) as u8)).collect(),
        ),
    }
    .save(&out, &Provenance::new("test", &()).unwrap())
    .unwrap();
    Images::load(&out).unwrap()
}

/// Three epochs of three steps, the first of the head alone: stopped after any step and gone on from the state, a run
/// ends with the bits of one that never stopped. The head alone learns in the first epoch, the body in the second.
#[test]
fn a_tuned_run_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let images = colours(folder.path());
    let graph: Graph = NETWORK.parse().unwrap();
    let settings = Settings {
        epochs: 3,
        batch: 4,
        optimizer: Optimizer::Adamw,
        lr: 0.01,
        warmup: 0.0,
        weight_decay: 0.01,
        clip: 1.0,
        label_smoothing: 0.0,
        ema: 0.9,
        slim: 0.0,
        sizes: Sizes::FULL,
        seed: 1,
        precision: Precision::F32,
    };
    let targets = Targets::Labels("flip".parse().unwrap());
    let begin = || {
        let pictures = Pictures { train: &images, validation: &images };
        let model = model(graph.clone(), weights(&graph), SIZE);
        let training = Training::new(model, pictures, &targets, &settings, None, Device::Cpu);
        training.unwrap().tuned(Tuning { body_lr: 0.1, freeze: 1 }).unwrap()
    };
    let mut whole = begin();
    let mut bodies = Vec::new();
    let note = |t: &Training, _: &_| {
        bodies.push(t.last()?.weights["b.weight"].clone());
        Ok(())
    };
    whole.run(|_| Ok(()), note).unwrap();
    assert_eq!(bodies[0], weights(&graph)["b.weight"]);
    assert_ne!(bodies[1], bodies[0]);
    let whole = whole.saved().unwrap();
    for stop in 1..9 {
        let mut training = begin();
        let mut steps = 0;
        let tick = |_: &Training| {
            steps += 1;
            anyhow::ensure!(steps < stop, "stopped");
            Ok(())
        };
        training.run(tick, |_, _| Ok(())).unwrap_err();
        let saved = training.saved().unwrap();
        let mut training = begin();
        training.resume(saved).unwrap();
        training.run(|_| Ok(()), |_, _| Ok(())).unwrap();
        let found = training.saved().unwrap();
        assert!(found.state == whole.state && found.log == whole.log, "after step {stop}");
    }
}

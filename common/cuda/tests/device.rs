//! What is around a step: graphs, transfers, failures, and what opening a device costs. What only the stand-in driver
//! of tools/cuda can be asked for (a kernel that fails, an old device) is asked of it in processes of their own; on a
//! GPU these are left out, and say so.

#![cfg(feature = "cuda")]
#![allow(clippy::print_stderr, clippy::print_stdout)] // tests say what they measured

use cuda::Network;
use executor::{Batch, Executor, Loss, Rule, State, Update};
use graph::grid::Grids;
use graph::rng::Rng;
use graph::{Graph, Weights};
use std::process::Command;
use views::{Normalization, Pictures, Policy, View, render};

const NORMALIZATION: Normalization = Normalization { mean: [0.5, 0.4, 0.3], std: [0.2, 0.25, 0.3] };

/// Pictures of noise.
struct Noise {
    size: usize,
    bytes: Vec<u8>,
}

impl Noise {
    fn new(count: usize, size: usize) -> Self {
        let rng = &mut Rng::new(1, "pixels", 0);
        let bytes = (0..count * 3 * size * size).map(|_| (rng.bits() >> 56) as u8).collect();
        Self { size, bytes }
    }
}

impl Pictures for Noise {
    fn count(&self) -> usize {
        self.bytes.len() / (3 * self.size * self.size)
    }

    fn size(&self) -> usize {
        self.size
    }

    fn pixels(&self, i: usize) -> &[u8] {
        let n = 3 * self.size * self.size;
        &self.bytes[i * n..(i + 1) * n]
    }
}

fn small() -> (Graph, Weights) {
    let text = "input 3;a:conv 3>8 k3 p1;b:bn 8;relu;c:conv 8>8 k3 p1 g8;d:bn 8;relu6;gap;f:linear 8>4 bias";
    let graph: Graph = text.parse().unwrap();
    let weights = graph::init::weights(&graph, 1);
    (graph, weights)
}

fn network() -> Network {
    let (graph, weights) = small();
    Network::new(&graph, &weights, &Grids::new(), 12, 0).unwrap()
}

fn batch(pictures: usize, has_teacher: bool, rendered: bool, seed: u64) -> Batch {
    let rng = &mut Rng::new(seed, "batch", 0);
    let mut some = |n: usize| (0..n).map(|_| rng.between(0.0, 1.0)).collect::<Vec<f32>>();
    let floats = if rendered { 0 } else { pictures * 3 * 12 * 12 };
    let (pictures, teacher) =
        (some(floats), if has_teacher { some(4 * pictures) } else { Vec::new() });
    Batch { labels: some(teacher.len().max(4)), pictures, teacher }
}

/// A schedule: a learning rate that rises and falls, an average, both rules, a head that is trained alone, batches of
/// two sizes, with and without a teacher, pictures that are fed and pictures that are rendered; in between answers and
/// gradients are asked for. The same bytes, whether passes are launched kernel by kernel or as a graph.
#[test]
fn graphs_change_nothing() {
    let images = Noise::new(9, 12);
    let policy: Policy = "flip,scale=0.4,colour=0.2,mixup=0.3,cutmix=1".parse().unwrap();
    let run = |mut network: Network| {
        let kept = network.keep(&images, &NORMALIZATION).unwrap().unwrap();
        let mut seen = Vec::new();
        for k in 0..60u64 {
            let phase = k / 12;
            let update = Update {
                ema: if phase > 0 { 0.9 } else { 0.0 },
                clip: if phase == 2 { 0.5 } else { 0.0 },
                weight_decay: 0.01,
                body: if phase == 3 { 0.0 } else { 1.0 },
                rested: if phase > 3 { 12 } else { 0 },
                stored: phase == 3,
                ..Update::new(Rule::AdamW, 0.01 * (1.0 + (k as f32).sin()))
            };
            let (pictures, has_teacher) = ([6, 6, 5, 5, 6][phase as usize], phase != 1);
            let mut of = batch(pictures, has_teacher, phase == 4, k);
            of.labels.resize(4 * pictures, 0.25);
            let target = Loss { alpha: 0.5, temperature: 2.0 };
            if phase == 4 {
                let view = |i: usize| (i, View::of(&policy, 5, i, k as usize, 9, 12));
                let views: Vec<_> = (0..pictures).map(|j| view((j + k as usize) % 9)).collect();
                network.step_on(kept, &views, of, target, &update).unwrap();
            } else {
                network.step(of, target, &update).unwrap();
            }
            if k % 9 == 8 {
                seen.extend(network.logits(&batch(3, false, false, k).pictures).unwrap());
                seen.extend(network.logits_on(kept, &[(2, View::plain(2))]).unwrap());
            }
            if k == 30 {
                let mut of = batch(4, false, false, k);
                of.labels.resize(16, 0.25);
                seen.extend(network.gradient(of, Loss::LABELS).unwrap().1);
            }
            if k == 42 {
                let state = network.download().unwrap();
                network.upload(state).unwrap();
            }
        }
        (network.losses().unwrap(), network.download().unwrap(), seen, network.replays())
    };
    let with = run(network());
    let without = run(network().without_graphs());
    assert_eq!(without.3, 0);
    // Of twelve steps of a phase two come before, or three where memory grew; three things come in between.
    eprintln!("{} of 60 passes were replayed", with.3);
    assert!(with.3 > 35, "only {} passes were replayed", with.3);
    assert_eq!((with.0, &with.2), (without.0, &without.2));
    assert!(with.1 == without.1, "other bytes with graphs");
    let mut still = with.1.variables.clone();
    still.dedup();
    assert!(still.len() > 100 && with.1.variables.iter().all(|v| v.is_finite()));
}

/// Five pinned buffers' worth of pictures go up; each arrives where it belongs.
#[test]
fn many_pictures_arrive_whole() {
    let images = Noise::new(110, 256);
    assert!(images.bytes.len() > 5 * (4 << 20));
    let graph: Graph = "input 3;gap;f:linear 3>2 bias".parse().unwrap();
    let weights = graph::init::weights(&graph, 1);
    let mut network = Network::new(&graph, &weights, &Grids::new(), 256, 0).unwrap();
    let kept = network.keep(&images, &NORMALIZATION).unwrap().unwrap();
    for first in [0, 37, 74] {
        let views: Vec<_> = (first..(first + 37).min(110)).map(|i| (i, View::plain(i))).collect();
        let found = network.rendered(kept, &views).unwrap();
        let mut expected = vec![0.0; 3 * 256 * 256];
        for (found, (i, view)) in found.chunks(expected.len()).zip(&views) {
            render(&images, *i, view, &NORMALIZATION, &mut expected);
            assert!(found == expected, "picture {i} is another");
        }
    }
    // The same by the other way: 7 MB of floats, in one piece, and the answers to both.
    let all: Vec<f32> = (0..9)
        .flat_map(|i| {
            let mut x = vec![0.0; 3 * 256 * 256];
            render(&images, i, &View::plain(i), &NORMALIZATION, &mut x);
            x
        })
        .collect();
    let views: Vec<_> = (0..9).map(|i| (i, View::plain(i))).collect();
    assert_eq!(network.logits(&all).unwrap(), network.logits_on(kept, &views).unwrap());
    assert!(
        network.logits_on(kept, &[(110, View::plain(0))]).is_err(),
        "a picture that is not there"
    );
}

/// What this process is to do as a child of another test, in words on its output.
#[test]
fn as_a_child() {
    let Ok(what) = std::env::var("CHILD") else { return };
    let (graph, weights) = small();
    let trained = |steps: u64| -> anyhow::Result<Network> {
        let mut network = Network::new(&graph, &weights, &Grids::new(), 12, 0)?;
        for k in 0..steps {
            let update = Update::new(Rule::Sgd, 0.01);
            network.step(batch(1, true, false, k), Loss::LABELS, &update)?;
        }
        Ok(network)
    };
    let train = |steps: u64| -> anyhow::Result<State> { trained(steps)?.download() };
    match what.as_str() {
        "three" => (0..3).for_each(|_| drop(train(2).unwrap())),
        "one" => drop(train(2).unwrap()),
        "side by side" => {
            side_by_side();
            println!("told: done");
        }
        "keep" => {
            let (images, mut kept) = (Noise::new(110, 256), Vec::new());
            let network = || Network::new(&graph, &weights, &Grids::new(), 256, 0).unwrap();
            let mut networks = [network(), network()];
            for i in [0, 0, 1] {
                kept.push(match networks[i].keep(&images, &NORMALIZATION) {
                    Ok(album) => if album.is_some() { "kept" } else { "not kept" }.to_owned(),
                    Err(e) => e.to_string(),
                });
            }
            println!("told: {}", kept.join("; "));
        }
        "replay" => {
            let network = trained(20).unwrap();
            let bits = |v: f32| u64::from(v.to_bits());
            let variables = network.download().unwrap().variables;
            let sum = variables.into_iter().fold(0u64, |h, v| h.wrapping_mul(31) + bits(v));
            let refused = network.refused().unwrap_or("nothing");
            println!("told: {sum} after {} replays, {refused} was refused", network.replays());
        }
        _ => println!("told: {:#}", train(20).err().map_or("nothing".into(), |e| e.to_string())),
    }
}

/// What a child says on a stand-in driver with these switches; None on a GPU.
fn child(what: &str, switches: &[(&str, &str)]) -> Option<String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "as_a_child", "--nocapture"]);
    command.env("CHILD", what).env("EMU_STATS", "1").env("RUST_BACKTRACE", "1");
    let output = command.envs(switches.iter().copied()).output().unwrap();
    let text = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
    if !text[1].contains("emu: ") {
        eprintln!("no stand-in driver: {what} {switches:?} is left out");
        return None;
    }
    Some(text.concat())
}

/// What was counted before `word` at the end of a process.
fn counted(text: &str, word: &str) -> usize {
    let lines = text.lines().filter_map(|l| l.strip_prefix("emu: "));
    let count = lines.flat_map(|l| l.split(", ")).find_map(|c| c.strip_suffix(word));
    count.unwrap_or_else(|| panic!("no {word} in {text}")).trim().parse().unwrap()
}

#[test]
fn executors_one_after_the_other_share_what_costs_to_open() {
    let (Some(one), Some(three)) = (child("one", &[]), child("three", &[])) else { return };
    for word in ["modules", "streams", "handles"] {
        assert_eq!(counted(&one, word), counted(&three, word), "{word}");
    }
    assert_eq!((counted(&three, "streams"), counted(&three, "handles")), (1, 1));
    assert!(counted(&three, "kernel launches") > 2 * counted(&one, "kernel launches"));
    // Exact buffers are for one size each, so there are more of them.
    let exact = child("one", &[("CRUMB_CUDA", "exact")]).unwrap();
    let plain = child("one", &[("CRUMB_CUDA", "")]).unwrap();
    assert!(counted(&exact, "allocations") > counted(&plain, "allocations"));
    // Each gave back all its memory: what is left is its stream's, as in the other.
    assert_eq!(counted(&one, "live blocks"), counted(&three, "live blocks"));
}

/// What the line of a child says that begins with `told:`.
fn told(text: &str) -> &str {
    text.lines().find_map(|l| l.split("told: ").nth(1)).unwrap_or_else(|| panic!("{text}"))
}

/// Three threads, each of which opens executors and captures passes on them.
fn side_by_side() {
    let train = || {
        let mut all = Vec::new();
        for round in 0..5 {
            let mut network = network();
            for k in 0..4 {
                let update = Update::new(Rule::Sgd, 0.01);
                network.step(batch(1, true, false, k), Loss::LABELS, &update).unwrap();
            }
            assert_eq!((network.refused(), network.replays()), (None, 2), "round {round}");
            // Kept, so that the next takes a stream of its own.
            all.push(network);
        }
    };
    std::thread::scope(|s| (0..3).for_each(|_| drop(s.spawn(train))));
}

#[test]
fn captures_and_openings_are_not_in_each_others_way() {
    side_by_side();
    let Some(text) = child("side by side", &[("EMU_SLOW", "1")]) else { return };
    assert_eq!(told(&text), "done", "{text}");
}

/// 21.6 MB of pictures are kept by what the device has and what the network has kept, not by what is free just now: where
/// others have it, here a second network, that is said.
#[test]
fn pictures_are_kept_by_the_size_of_the_device() {
    let Some(text) = child("keep", &[("EMU_MEMORY", "43000000")]) else { return };
    assert_eq!(told(&text), "not kept; not kept; not kept");
    let text = child("keep", &[("EMU_MEMORY", "46000000")]).unwrap();
    assert!(
        told(&text).starts_with("kept; not kept; the device has no room for 21 MB of pictures"),
        "{text}"
    );
}

/// The driver refuses what a pass launches, early and late, while that is captured: it is launched kernel by kernel, and
/// the bytes are the same.
#[test]
fn what_cannot_be_captured_is_launched() {
    let Some(text) = child("replay", &[]) else { return };
    let (bytes, replays) = told(&text).split_once(" after ").unwrap();
    assert!(replays.starts_with("18 replays, nothing"), "{replays}");
    for (at, pools) in [("1", "0"), ("4", "1"), ("15", "0"), ("15", "1")] {
        let text = child("replay", &[("EMU_REFUSE", at), ("EMU_POOLS", pools)]).unwrap();
        let (others, replays) = told(&text).split_once(" after ").unwrap();
        assert_eq!(bytes, others, "other bytes where {at} was refused");
        assert!(replays.starts_with("0 replays") && !replays.contains("nothing"), "{replays}");
    }
}

#[test]
fn failures_are_told_as_what_they_are() {
    for lazy in ["0", "1"] {
        let Some(text) = child("fail", &[("EMU_FAIL", "60"), ("EMU_LAZY", lazy)]) else { return };
        assert!(
            told(&text).starts_with("an earlier kernel failed: CUDA_ERROR_ILLEGAL_ADDRESS"),
            "{text}"
        );
        assert!(!text.contains("no room") && !text.contains("backtrace::"), "{text}");
        // Kernels of a first pass: behind some of them a library is asked next, which says that it fails itself.
        for at in ["1", "2", "4", "7", "9", "12", "14"] {
            let text = child("fail", &[("EMU_FAIL", at), ("EMU_LAZY", lazy)]).unwrap();
            assert!(told(&text).starts_with("an earlier kernel failed"), "{at}: {}", told(&text));
        }
        let text = child("fail", &[("EMU_LAZY", lazy)]).unwrap();
        assert_eq!(told(&text), "nothing");
    }
    let text = child("fail", &[("EMU_MEMORY", "4300000")]).unwrap();
    assert!(told(&text).contains("--batch") || told(&text).contains("no room"), "{text}");
    let text = child("fail", &[("EMU_CAPABILITY", "61")]).unwrap();
    let wanted = "generations 7.5, 8.0, 8.6, 8.9, 9.0, 10.0, 12.0, and PTX of the first";
    assert!(told(&text).contains(wanted) && told(&text).contains("device 0 is of 6.1"), "{text}");
    assert!(told(&text).contains("older than all of them"), "{text}");
    // Newer than all that were compiled for: PTX.
    assert_eq!(told(&child("fail", &[("EMU_CAPABILITY", "130")]).unwrap()), "nothing");
}

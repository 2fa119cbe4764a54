//! What a header says of settings is what was set, to the last bit: interrupted runs go on, and `--reuse`
//! keeps files, only if it is.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::artifact::save;
use artifacts::plan::{Plan, Sensitivity};
use artifacts::{Artifact, Header, Kind, Provenance};
use graph::rng::Rng;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;

/// The settings that a file says it was made with.
fn written(path: &Path, settings: &impl Serialize) -> Value {
    let provenance = Provenance::new("test", settings).unwrap();
    save(path, &Header::new(Kind::State, &provenance, &()).unwrap(), Vec::new()).unwrap();
    Artifact::read(path).unwrap().source.provenance.settings
}

fn check<T: Serialize>(values: &[T]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let Value::Array(found) = written(&path, &values) else { panic!("a list is none") };
    assert_eq!(found.len(), values.len());
    let wanted = values.iter().map(|v| serde_json::to_value(v).unwrap());
    let off: Vec<_> = wanted.zip(&found).filter(|(a, b)| a != *b).take(5).collect();
    assert!(off.is_empty(), "written and read back: {off:?}");
    assert!(Artifact::is_made_by(&path, &Provenance::new("test", &values).unwrap()));
}

/// Random bits.
fn bits(name: &str, n: u64) -> impl Iterator<Item = u64> {
    (0..n).map(move |i| Rng::new(7, name, i).bits())
}

#[test]
fn every_setting_comes_back_as_it_went() {
    let fractions: Vec<f32> = (0..=10_000).map(|k| k as f32 / 10_000.0).collect();
    check(&fractions);
    let floats: Vec<f32> = bits("f32", 100_000).map(|b| f32::from_bits(b as u32)).collect();
    assert!(floats.iter().any(|v| v.is_subnormal()) && floats.iter().any(|v| *v > 1e30));
    check(&floats);
    check(&bits("f64", 100_000).map(f64::from_bits).collect::<Vec<_>>());
    let near = |n: u64| (n.saturating_sub(3)..=n.saturating_add(3)).collect::<Vec<_>>();
    check(&[0, 1 << 24, 1 << 53, 1 << 63, u64::MAX].map(near));
    check(&[i64::MIN, i64::MIN + 1, -(1 << 53) - 1, -1, 0]);
    let text = |b: u64| char::from_u32(b as u32 % 0x0011_0000).unwrap_or('"');
    check(
        &bits("text", 10_000).map(|b| [text(b), text(b >> 21), text(b >> 42)]).collect::<Vec<_>>(),
    );
    check(&["", "\"\\\u{0}\n\t\u{7f}", "é ∑ 早安 🍜", "0.999", "null"]);
}

/// f32 widened to f64 as every program since the first has written it; by NumPy:
/// `float(numpy.float32(0.999))` and so on. So files of older programs are known again, and today's are the
/// same to the byte.
#[test]
fn files_of_older_programs_are_known_again() {
    for (set, text) in [
        (0.999f32, "0.9990000128746033"),
        (0.998, "0.9980000257492065"),
        (0.9, "0.8999999761581421"),
        (2e-3, "0.0020000000949949026"),
        (1e-2, "0.009999999776482582"),
        (5e-4, "0.0005000000237487257"),
        (0.25, "0.25"),
        (4.0, "4.0"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let found = written(&path, &json!({ "ema": set }));
        let bytes = std::fs::read(&path).unwrap();
        let wanted = format!("{{\\\"ema\\\":{text}}}");
        assert!(String::from_utf8_lossy(&bytes).contains(&wanted), "{set} is not {text}");
        assert_eq!(found["ema"].as_f64(), Some(f64::from(set)), "{set}");
    }
}

/// What was measured for a plan is read as it was written.
#[test]
fn plans_come_back_as_they_went() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plan");
    let nats: Vec<f64> = bits("nats", 1000).map(|b| (b >> 11) as f64 / 2f64.powi(60)).collect();
    let sensitivity = Sensitivity { bits: vec![2], nats: [("f.weight".to_owned(), nats)].into() };
    let plan = Plan {
        budget: 300_000,
        bytes: 299_999,
        lambda: 0.1155,
        choices: [].into(),
        payload: Vec::new(),
        sensitivity: Some(sensitivity),
    };
    plan.save(&path, &Provenance::new("test", &()).unwrap()).unwrap();
    assert!(Plan::load(&path).unwrap().0 == plan);
}

/// What `distill --init` used to record of a fresh network: such files are still known again.
#[test]
fn what_decided_nothing_is_no_setting() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let made = |role: &str, settings: Value| {
        let mut provenance = Provenance::new("distill", &settings).unwrap();
        provenance.parents.insert(role.to_owned(), "0123456789abcdef".to_owned());
        provenance
    };
    let old = json!({ "arch": null, "ema": 0.999f32, "raw_pixels": false, "width": 1.0 });
    for (role, now) in [("init", json!({ "ema": 0.999f32 })), ("images", old.clone())] {
        let header = Header::new(Kind::Model, &made(role, old.clone()), &()).unwrap();
        save(&path, &header, Vec::new()).unwrap();
        assert!(Artifact::is_made_by(&path, &made(role, now)), "{role}");
    }
}

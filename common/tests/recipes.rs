//! The flags of every recipe go into a header and come back: their runs go on and are known again.

use artifacts::artifact::save;
use artifacts::{Artifact, Header, Kind, Provenance};
use clap::Parser;
use common::sizing::Sizing;
use common::training::Settings;
use serde::Serialize;
use std::path::Path;
use views::Policy;

#[path = "reference/recipes.rs"]
mod recipes;

/// The flags of every program that trains.
#[derive(Parser, Serialize)]
struct Flags {
    #[command(flatten)]
    #[serde(flatten)]
    settings: Settings,
    #[command(flatten)]
    #[serde(flatten)]
    sizing: Sizing,
    #[arg(long)]
    arch: Option<String>,
    #[arg(long, default_value = "none")]
    augment: Policy,
    #[arg(long)]
    alpha: Option<f32>,
    #[arg(long)]
    temperature: Option<f32>,
    #[arg(long)]
    body_lr: Option<f32>,
}

#[test]
fn the_settings_of_every_recipe_come_back_as_they_went() {
    let dir = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (name, recipe) in recipes::all(root) {
        for variable in ["TEACHER", "STUDENT", "TUNE", "QUANT", "LEARN", "MEND", "Q2_STUDENT"] {
            let words = recipe[variable].iter().map(String::as_str);
            let flags = Flags::try_parse_from(["flags"].into_iter().chain(words));
            let flags = flags.unwrap_or_else(|e| panic!("{name}, {variable}: {e}"));
            let provenance = Provenance::new("train", &flags).unwrap();
            let path = dir.path().join("x");
            save(&path, &Header::new(Kind::State, &provenance, &()).unwrap(), Vec::new()).unwrap();
            let found = Artifact::read(&path).unwrap().source.provenance;
            assert_eq!(found, provenance, "{name}, {variable}");
        }
    }
}

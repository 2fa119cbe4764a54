//! `prepare model`: weights from another program → a model artifact.

use anyhow::{Context, Result, bail, ensure};
use checkpoint::{Bundle, Contents, Format, Tensor, Values};
use common::cli;
use graph::families::{self, Family};
use graph::grid::Grids;
use graph::{Graph, Weights};
use model::artifact::{self, Header, Kind};
use model::{Fit, Input, Model as Network, Normalization, Preparation, Provenance, Source};
use serde::Serialize;
use std::path::PathBuf;

/// Read weights written by PyTorch, NumPy or safetensors.
///
/// The content decides the format: PyTorch before and since 1.6, pickles of arrays (the course's
/// encode8 and encode16), npz, safetensors. Nothing in the file is executed. Every network family
/// (--arch) is recognised by its tensor names, at any widths, with the strides of the original; other
/// networks are kept as a plain bundle of tensors, to be looked into with report show.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  prepare model teacher_resnet18.bin --size 256 --fit center --out teacher.safetensors
  prepare model 8_bit_model.pkl --arch studentnet --out student.safetensors
  prepare model checkpoint.ckpt --out bundle.safetensors")]
pub(crate) struct Model {
    /// File to read.
    file: PathBuf,
    /// Insist on this network family.
    #[arg(long, value_parser = cli::families())]
    arch: Option<String>,
    /// Class names in the order of the logits, separated by commas [default: numbers].
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    classes: Vec<String>,
    /// Where to write the model.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    input: Feeding,
}

/// How the network was fed; no weights file says so. The defaults are the course's.
#[derive(Serialize, clap::Args)]
struct Feeding {
    /// Side of the pictures it was trained on, pixels.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(8..=4096))]
    size: u16,
    /// How its pictures became squares.
    #[arg(long, default_value = "center", value_parser = cli::fits())]
    fit: Fit,
    /// Mean subtracted from each colour, 0 to 1.
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', num_args = 1, default_values_t = [0.0, 0.0, 0.0])]
    mean: Vec<f32>,
    /// Standard deviation each colour was divided by.
    #[arg(long, alias = "deviation", value_name = "R,G,B", value_delimiter = ',', num_args = 1, default_values_t = [1.0, 1.0, 1.0])]
    std: Vec<f32>,
}

impl Model {
    pub(crate) fn run(self) -> Result<String> {
        let _claim = artifact::claim(&self.out, &[&self.file])?;
        let bytes = std::fs::read(&self.file)
            .with_context(|| format!("cannot read {}", self.file.display()))?;
        let at = || format!("{}", self.file.display());
        let Contents { format, tensors: bundle, notes } =
            checkpoint::read(&bytes).with_context(at)?;
        notes.iter().for_each(|n| cli::note(&format!("{}: {n}", self.file.display())));
        let hash = Source::hash(&bytes);
        let weights: Weights = bundle
            .iter()
            .map(|(n, t)| Ok((n.clone(), t.to_array()?)))
            .collect::<Result<_>>()
            .with_context(at)?;
        let only = self.arch.as_deref().map(families::find).transpose()?;
        let among = only.map_or(families::ALL, std::slice::from_ref);
        match families::recognise(among, &weights) {
            Ok((family, graph)) => {
                graph.check_values(&weights).with_context(at)?;
                self.save_model(family, graph, weights, format, hash)
            }
            Err(reason) if only.is_some() => Err(reason).with_context(at),
            Err(_) => self.save_bundle(&bundle, format, hash),
        }
    }

    fn provenance(&self, settings: &impl Serialize, hash: String) -> Result<Provenance> {
        let mut provenance = Provenance::new("prepare model", settings)?;
        provenance.parents.insert("file".to_owned(), hash);
        Ok(provenance)
    }

    fn save_model(
        self,
        family: &Family,
        graph: Graph,
        weights: Weights,
        format: Format,
        hash: String,
    ) -> Result<String> {
        let triple = |name: &str, v: &[f32]| -> Result<[f32; 3]> {
            let finite = v.iter().all(|x| x.is_finite());
            ensure!(v.len() == 3 && finite, "--{name}: expected three numbers R,G,B, got {v:?}");
            Ok([v[0], v[1], v[2]])
        };
        let normalization = Normalization {
            mean: triple("mean", &self.input.mean)?,
            std: triple("std", &self.input.std)?,
        };
        ensure!(normalization.std.iter().all(|d| *d > 0.0), "--std must be above 0");
        let n = graph.classes();
        let classes = match self.classes.len() {
            0 => (0..n).map(|c| c.to_string()).collect(),
            given if given == n => self.classes.clone(),
            given => bail!("--classes names {given} classes, the network has {n}"),
        };
        let size = usize::from(self.input.size);
        let preparation = Preparation { size, fit: self.input.fit, exif: false };
        graph.shapes(size).context("--size")?;
        let input = Input { preparation, normalization };
        let parameters = graph.parameter_count();
        let model = Network { graph, weights, input, classes, grids: Grids::new() };
        model.save(&self.out, &self.provenance(&self.input, hash)?)?;
        Ok(format!(
            "{}: {} of {} parameters from a {format} file",
            self.out.display(),
            family.name,
            cli::count(parameters),
        ))
    }

    fn save_bundle(self, bundle: &Bundle, format: Format, hash: String) -> Result<String> {
        // The order of the original, which safetensors does not keep.
        let names: Vec<&String> = bundle.iter().map(|(n, _)| n).collect();
        let header = Header::new(Kind::Bundle, &self.provenance(&(), hash)?, &names)?;
        let tensor = |(name, t): &(String, Tensor)| -> Result<artifact::Tensor> {
            Ok(match &t.values {
                Values::I64(v) => artifact::Tensor::i64(name, &t.shape, v),
                _ => artifact::Tensor::f32(name, &t.to_array()?),
            })
        };
        let tensors = bundle.iter().map(tensor).collect::<Result<_>>()?;
        artifact::save(&self.out, &header, tensors)?;
        Ok(format!(
            "{}: a bundle of {} tensors from a {format} file; the network is none of the known \
             families, so it can be shown but not run",
            self.out.display(),
            bundle.len(),
        ))
    }
}

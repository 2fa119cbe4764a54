//! `prepare model`: weights from another program → a model artifact.

use crate::evidence;
use anyhow::{Context, Result, bail, ensure};
use checkpoint::{Bundle, Contents, Format, Tensor, Values};
use common::cli;
use graph::families;
use graph::grid::Grids;
use graph::schedule::{Fusing, Schedule};
use graph::{Graph, Weights};
use model::artifact::{self, Header, Kind};
use model::{Fit, Input, Model as Network, Normalization, Preparation, Provenance, Source};
use serde::Serialize;
use std::path::PathBuf;

/// Read weights written by PyTorch, NumPy or safetensors.
///
/// The content decides the format: PyTorch before and since 1.6, pickles of arrays (the course's
/// encode8 and encode16), npz, safetensors. Nothing in the file is executed. Every network family
/// (--arch) is recognised by its tensor names, at any widths, with the strides and activations of the
/// original; --graph describes any other. Without it that is kept as a plain bundle of tensors, and a draft
/// of its graph is printed for you to correct; what shows that it is another network stands there in lines
/// that begin with "?", with which it is refused. What no file says is printed as assumed. --photos weighs it:
/// batch norms remember the statistics of the pictures they were trained on. It cannot tell relu from relu6
/// where nothing exceeds 6, nor the order of strides in deep layers.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  prepare model teacher_resnet18.bin --size 256 --fit center --out teacher.safetensors
  prepare model 8_bit_model.pkl --arch studentnet --out student.safetensors
  prepare model mine.pt --out bundle.safetensors >net.txt     # then correct net.txt
  prepare model mine.pt --graph net.txt --photos some-photos --size 128 --out model.safetensors")]
pub(crate) struct Model {
    /// File to read.
    file: PathBuf,
    /// The network, where it is none of the families or not quite: in the language of artifacts (FORMAT.md,
    /// "The graph"; report show prints those of models), as text or in a file. There nodes may have a line
    /// each, and comments behind #.
    #[arg(long, value_name = "TEXT|FILE", conflicts_with = "arch")]
    graph: Option<String>,
    /// Photos of the kind it was trained on, a few dozen (fewer than eight cannot tell), without labels: the
    /// statistics that batch norms hold are compared with those of these photos, and other readings of the
    /// file with them.
    #[arg(long, value_name = "FOLDER")]
    photos: Option<PathBuf>,
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

/// What the header keeps: what was assumed beyond the file.
#[derive(Serialize)]
struct Record<'a> {
    network: &'a str,
    #[serde(flatten)]
    input: &'a Feeding,
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
    /// Order of the colours it was trained on; bgr turns its first layer round.
    #[arg(long, value_enum, default_value = "rgb")]
    colour: Colour,
    /// Standard deviation each colour was divided by.
    #[arg(long, alias = "deviation", value_name = "R,G,B", value_delimiter = ',', num_args = 1, default_values_t = [1.0, 1.0, 1.0])]
    std: Vec<f32>,
}

/// Order of a picture's planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Colour {
    /// As PIL and torchvision give them.
    Rgb,
    /// As OpenCV gives them.
    Bgr,
}

/// What programs put before every name of a network that they wrap.
const PREFIXES: [&str; 7] =
    ["module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "encoder."];

/// How much of every name is a prefix that all share: nothing, then one prefix, then two, and so on.
fn prefixes(names: &[&str]) -> Vec<usize> {
    let mut lengths = vec![0];
    while let Some(&length) = lengths.last()
        && let Some(prefix) = PREFIXES
            .iter()
            .find(|p| !names.is_empty() && names.iter().all(|n| n[length..].starts_with(**p)))
    {
        lengths.push(length + prefix.len());
    }
    lengths
}

/// A draft of the graph of a bundle.
fn draft(bundle: &Bundle) -> String {
    let names: Vec<&str> = bundle.iter().map(|(n, _)| n.as_str()).collect();
    let length = prefixes(&names).last().copied().unwrap_or(0);
    let tensors: Vec<_> =
        bundle.iter().map(|(n, t)| (n[length..].to_owned(), t.shape.clone())).collect();
    graph::draft::draft(&tensors)
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
        match self.network(weights).with_context(at)? {
            Some((name, graph, weights)) => {
                graph.check_values(&weights).with_context(at)?;
                self.save_model(&name, graph, weights, format, hash)
            }
            None => self.save_bundle(&bundle, format, hash),
        }
    }

    /// What the network is called, its graph, and its weights under their own names; None for an
    /// unknown one, which is said.
    fn network(&self, weights: Weights) -> Result<Option<(String, Graph, Weights)>> {
        let names: Vec<&str> = weights.keys().map(String::as_str).collect();
        let without = |length: &usize| -> Weights {
            weights.iter().map(|(n, a)| (n[*length..].to_owned(), a.clone())).collect()
        };
        let mut forms: Vec<Weights> = prefixes(&names).iter().map(without).collect();
        if let Some(given) = &self.graph {
            let text = match std::fs::read_to_string(given) {
                Ok(file) => file,
                Err(e) if !given.contains(':') => {
                    return Err(e).with_context(|| format!("--graph: cannot read {given}"));
                }
                Err(_) => given.clone(),
            };
            let graph: Graph = text.parse().context("--graph")?;
            // The names without the prefixes that the graph's lack.
            let names: Vec<String> = graph.parameters().map(|p| p.name).collect();
            let known = |w: &Weights| names.iter().filter(|n| w.contains_key(*n)).count();
            let best = (0..forms.len()).rev().max_by_key(|i| known(&forms[*i])).unwrap_or(0);
            let weights = forms.swap_remove(best);
            graph.check_weights(&weights).context("--graph")?;
            return Ok(Some(("--graph".to_owned(), graph, weights)));
        }
        let only = self.arch.as_deref().map(families::find).transpose()?;
        let among = only.map_or(families::ALL, std::slice::from_ref);
        let mut reason = None;
        for weights in &forms {
            match families::recognise(among, weights) {
                Ok((family, graph)) => {
                    return Ok(Some((family.name.to_owned(), graph, weights.clone())));
                }
                Err(e) => reason = reason.or(Some(e)),
            }
        }
        if let (Some(_), Some(reason)) = (only, reason) {
            return Err(reason.into());
        }
        for weights in &forms {
            if let Some(text) = families::nearest(weights)? {
                cli::note(&format!("none of the known networks; {text}"));
                break;
            }
        }
        Ok(None)
    }

    fn provenance(&self, settings: &impl Serialize, hash: String) -> Result<Provenance> {
        let mut provenance = Provenance::new("prepare model", settings)?;
        provenance.parents.insert("file".to_owned(), hash);
        Ok(provenance)
    }

    fn save_model(
        self,
        name: &str,
        graph: Graph,
        mut weights: Weights,
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
        graph.check_classes().with_context(|| self.file.display().to_string())?;
        let n = graph.classes();
        let classes = match self.classes.len() {
            0 => (0..n).map(|c| c.to_string()).collect(),
            given if given == n => self.classes.clone(),
            given => bail!("--classes names {given} classes, the network has {n}"),
        };
        let size = usize::from(self.input.size);
        let preparation = Preparation { size, fit: self.input.fit, exif: false };
        Schedule::new(&graph, size, Fusing::NONE).context("--size")?;
        let input = Input { preparation, normalization };
        let parameters = graph.parameter_count();
        if self.input.colour == Colour::Bgr {
            evidence::turn_colours(&graph, &mut weights)?;
        }
        let model = Network { graph, weights, input, classes, grids: Grids::new() };
        // No file of weights says these.
        let Feeding { mean, std, fit, colour, .. } = &self.input;
        let activations = evidence::activations(&model.graph);
        cli::note(&format!(
            "assumed: {activations}; pictures of {size} px, {fit}; {colour:?}, mean {mean:?}, std {std:?}"
        ));
        if let Some(folder) = &self.photos {
            evidence::weigh(&model, folder)?;
        }
        model.save(
            &self.out,
            &self.provenance(&Record { network: name, input: &self.input }, hash)?,
        )?;
        Ok(format!(
            "{}: {name} of {} parameters from a {format} file",
            self.out.display(),
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
        // A graph file as a whole: the summary is a comment.
        Ok(format!(
            "# {}: a bundle of {} tensors from a {format} file, which can be shown but not run: the \
             network is none of the known families. Say which with --graph\n{}",
            self.out.display(),
            bundle.len(),
            draft(bundle).trim_end(),
        ))
    }
}

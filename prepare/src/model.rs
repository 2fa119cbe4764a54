//! `prepare model`: weights from another program → a model artifact.

use crate::feeding::{Colour, Feeding};
use crate::names::{Known, Names};
use crate::nearest::{few, nearest};
use crate::{draft::draft, evidence};
use anyhow::{Context, Result, bail, ensure};
use artifacts::artifact::{self, Header, Kind};
use artifacts::{Input, Model as Network, Preparation, Provenance, Source, classes};
use checkpoint::{Bundle, Contents, Format, Tensor, Values};
use clap::parser::ValueSource;
use common::cli;
use common::share::Share;
use graph::grid::Grids;
use graph::schedule::{Fusing, Schedule};
use graph::{Graph, Op, Weights, families};
use photos::MAX_PIXELS;
use prepare::folder::Limits;
use serde::Serialize;
use std::path::PathBuf;

/// Read weights written by PyTorch, NumPy or safetensors.
///
/// The content decides the format: PyTorch before and since 1.6, pickles of arrays (the course's
/// encode8 and encode16), npz, safetensors. Nothing in the file is executed. Every network family
/// (--arch) is recognised by its tensor names, under any prefix and beside other tensors, at any widths, with
/// the strides and activations of the original; pruning masks, weight norm and spectral norm are multiplied
/// out; --graph describes any other. Without it that is kept as a plain bundle of tensors, and a draft of its
/// graph is printed for you to correct; what shows that it is another network stands there in lines that
/// begin with "?", with which it is refused. What no file says is printed as assumed. --photos weighs it:
/// batch norms remember the statistics of the pictures they were trained on. It cannot tell relu from relu6
/// where nothing exceeds 6, nor the order of strides in deep layers.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  prepare model teacher_resnet18.bin --size 256 --fit center --out teacher.safetensors
  prepare model 8_bit_model.pkl --arch studentnet --out student.safetensors
  prepare model mine.pt --out bundle.safetensors >net.txt     # then correct net.txt
  prepare model mine.pt --graph net.txt --photos some-photos --size 128 --out model.safetensors")]
pub(crate) struct Model {
    // Looks at all flags, so before those that take theirs.
    #[command(flatten)]
    given: Given,
    /// File to read.
    file: PathBuf,
    /// The network, where it is none of the families or not quite: in the language of artifacts (FORMAT.md,
    /// "The graph"; report graph prints those of families and models), as text or in a file. There nodes may have a line
    /// each, and comments behind #.
    #[arg(long, value_name = "TEXT|FILE", conflicts_with = "arch")]
    graph: Option<String>,
    /// Photos of the kind it was trained on, a few dozen (fewer than eight cannot tell), without labels: the
    /// statistics that batch norms hold are compared with those of these photos, and other readings of the
    /// file with them.
    #[arg(long, value_name = "FOLDER")]
    photos: Option<PathBuf>,
    /// Insist on this network family; tensors of modules beside its own are then left out.
    #[arg(long, value_parser = cli::families())]
    arch: Option<String>,
    /// Which of several networks in the file: the key of a dictionary (model_ema), the beginning of names
    /// (student), or one behind the other (state_dict.encoder_k) [default: the one with a name for a whole
    /// network, such as model, then the largest, then the first].
    #[arg(long, value_name = "NAME")]
    weights_of: Option<String>,
    #[command(flatten)]
    classes: cli::Classes,
    /// Where to write the model.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Share of the --photos that may be unreadable and are left out, with a line on stderr each; more are an
    /// error. Without --photos nothing is read.
    #[arg(long, value_name = "SHARE", default_value = "0.01")]
    unreadable: Share,
    /// Of --photos, those of more pixels are unreadable.
    #[arg(long, value_name = "N", default_value_t = MAX_PIXELS)]
    max_pixels: u64,
    #[command(flatten)]
    input: Feeding,
    #[command(flatten)]
    threads: cli::Threads,
}

/// What the header keeps of a model: what was read, and what was assumed beyond the file.
#[derive(Serialize)]
struct Record<'a> {
    network: &'a str,
    #[serde(flatten)]
    part: Option<Part<'a>>,
    #[serde(flatten)]
    input: &'a Feeding,
}

/// Which of several networks in the file was read, and all that the header keeps of a bundle.
#[derive(Serialize)]
struct Part<'a> {
    weights_of: &'a str,
}

/// Of the flags that only models need, those on the command line, by name.
struct Given(Vec<&'static str>);

const OF_MODELS: [&str; 11] = [
    "photos",
    "classes",
    "unreadable",
    "max-pixels",
    "size",
    "fit",
    "mean",
    "colour",
    "std",
    "exif",
    "epsilon",
];

impl clap::Args for Given {
    fn augment_args(command: clap::Command) -> clap::Command {
        command
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        command
    }
}

impl clap::FromArgMatches for Given {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
        let source = |flag: &str| matches.value_source(&flag.replace('-', "_"));
        let is_given = |flag: &&str| source(flag) == Some(ValueSource::CommandLine);
        Ok(Self(OF_MODELS.into_iter().filter(is_given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Model {
    pub(crate) fn run(self) -> Result<String> {
        self.threads.start()?;
        let _claim = artifact::claim(&self.out, &[&self.file])?;
        let bytes = std::fs::read(&self.file)
            .with_context(|| format!("cannot read {}", self.file.display()))?;
        let at = || format!("{}", self.file.display());
        let Contents { format, tensors: bundle, others, notes } = match &self.weights_of {
            None => checkpoint::read(&bytes),
            Some(part) => checkpoint::read_part(&bytes, part).context("--weights-of"),
        }
        .with_context(at)?;
        notes.iter().for_each(|n| cli::note(&format!("{}: {n}", self.file.display())));
        if !others.is_empty() {
            cli::note(&format!("--weights-of reads another dictionary: {}", few(&others)));
        }
        let hash = Source::hash(&bytes);
        match self.network(&bundle).with_context(at)? {
            Some((name, graph, weights)) => {
                graph.check_values(&weights).with_context(at)?;
                self.save_model(&name, graph, weights, format, hash)
            }
            None => {
                if !self.given.0.is_empty() {
                    let flags: Vec<String> =
                        self.given.0.iter().map(|f| format!("--{f}")).collect();
                    let flags = flags.join(", ");
                    cli::note(&format!("nothing is done with {flags}: the network is unknown"));
                }
                self.save_bundle(&bundle, format, hash)
            }
        }
    }

    /// What the network is called, its graph, and its weights under their own names; None for an
    /// unknown one, which is said.
    fn network(&self, bundle: &Bundle) -> Result<Option<(String, Graph, Weights)>> {
        if let Some(given) = &self.graph {
            let (graph, weights) = described(given, bundle).context("--graph")?;
            return Ok(Some(("--graph".to_owned(), graph, weights)));
        }
        let names = Names::new(bundle);
        let only = self.arch.as_deref().map(families::find).transpose()?;
        let among = only.map_or(families::ALL, std::slice::from_ref);
        let mut known = names.known(among)?;
        if known.is_empty() {
            let nearest = nearest(&names, among)?;
            ensure!(only.is_none(), "not --arch {}: {nearest}", self.arch.as_deref().unwrap_or(""));
            cli::note(&format!("none of the known networks; {nearest}"));
            return Ok(None);
        }
        let Known { family, part, doubt } = known.remove(0);
        if !doubt.is_empty() && only.is_none() && self.weights_of.is_none() {
            cli::note(&format!("none of the known networks; {doubt}"));
            return Ok(None);
        }
        let under = match part.prefix.trim_end_matches('.') {
            "" => String::new(),
            prefix => format!(" under {prefix}"),
        };
        let left = names.left_over(&part).map(|l| format!("; left over: {l}")).unwrap_or_default();
        if !(under.is_empty() && left.is_empty()) {
            cli::note(&format!("{}{under}{left}", family.name));
        }
        for Known { family, part, .. } in known {
            let prefix = part.prefix.trim_end_matches('.');
            cli::note(&format!("--weights-of {prefix} reads another: {}", family.name));
        }
        let weights = names.weights(&part)?;
        Ok(Some((family.name.to_owned(), part.graph, weights)))
    }

    fn part(&self) -> Option<Part<'_>> {
        self.weights_of.as_deref().map(|weights_of| Part { weights_of })
    }

    fn provenance(&self, settings: &impl Serialize, hash: String) -> Result<Provenance> {
        let mut provenance = Provenance::new("prepare model", settings)?;
        provenance.parents.insert("file".to_owned(), hash);
        Ok(provenance)
    }

    fn save_model(
        mut self,
        name: &str,
        graph: Graph,
        mut weights: Weights,
        format: Format,
        hash: String,
    ) -> Result<String> {
        self.input.complete(name, &self.given.0);
        let normalization = self.input.normalization()?;
        graph.check_classes().with_context(|| self.file.display().to_string())?;
        let graph = match self.input.epsilon {
            None => graph,
            Some(epsilon) => with_epsilon(&graph, epsilon).context("--epsilon")?,
        };
        let n = graph.classes();
        let names = self.classes.names()?;
        let classes = match names.len() {
            0 => classes::numbers(n),
            given if given == n => names.to_vec(),
            given => bail!("--classes names {given} classes, the network has {n}"),
        };
        let size = usize::from(self.input.size);
        let preparation = Preparation { size, framing: self.input.fit, exif: self.input.exif };
        Schedule::new(&graph, size, Fusing::NONE).context("--size")?;
        let input = Input { preparation, normalization };
        let parameters = graph.parameter_count();
        if self.input.colour == Colour::Bgr {
            evidence::turn_colours(&graph, &mut weights)?;
        }
        let model = Network {
            graph,
            weights,
            input,
            classes,
            grids: Grids::new(),
            views: views::FixedViews::PLAIN,
        };
        cli::note(&format!("assumed: {}", self.input.assumed(&model)));
        if let Some(folder) = &self.photos {
            let limits = Limits { unreadable: self.unreadable, max_pixels: self.max_pixels };
            evidence::weigh(&model, folder, limits)?;
        }
        let record = Record { network: name, part: self.part(), input: &self.input };
        model.save(&self.out, &self.provenance(&record, hash)?)?;
        Ok(format!(
            "{}: {name} of {} parameters from a {format} file",
            self.out.display(),
            cli::count(parameters),
        ))
    }

    fn save_bundle(self, bundle: &Bundle, format: Format, hash: String) -> Result<String> {
        // The order of the original, which safetensors does not keep.
        let names: Vec<&String> = bundle.iter().map(|(n, _)| n).collect();
        let header = Header::new(Kind::Bundle, &self.provenance(&self.part(), hash)?, &names)?;
        let tensor = |(name, t): &(String, Tensor)| -> Result<artifact::Tensor> {
            Ok(if let Values::I64(v) = &t.values {
                artifact::Tensor::i64(name, &t.shape, v)
            } else {
                artifact::Tensor::f32(name, &t.to_array()?)
            })
        };
        artifact::save(&self.out, &header, bundle.iter().map(tensor).collect::<Result<_>>()?)?;
        // A graph file as a whole: the summary is a comment.
        Ok(format!(
            "# {}: a bundle of {} tensors from a {format} file, which can be shown but not run: the \
             network is none of the known families. Say which with --graph\n{}",
            self.out.display(),
            bundle.len(),
            draft(&Names::new(bundle).for_draft()).trim_end(),
        ))
    }
}

/// The network of a graph that is given as text or in a file, and its weights in the file, under whatever
/// prefix.
fn described(given: &str, bundle: &Bundle) -> Result<(Graph, Weights)> {
    let text = match std::fs::read_to_string(given) {
        Ok(file) => file,
        Err(e) if !given.contains(':') => {
            return Err(e).with_context(|| format!("cannot read {given}"));
        }
        Err(_) => given.to_owned(),
    };
    let graph: Graph = text.parse()?;
    // By the file's names, and by those that draft and families have.
    let forms = [Names::of_file(bundle), Names::new(bundle)];
    let parts = forms.iter().map(|names| (names, names.part_for(&graph))).rev();
    let (names, (_, part)) = parts.max_by_key(|(_, (count, _))| *count).context("no names")?;
    let weights = names.weights(&part)?;
    graph.check_weights(&weights)?;
    if let Some(left) = names.left_over(&part) {
        cli::note(&format!("left over: {left}"));
    }
    Ok((graph, weights))
}

/// `graph` with this ε in every batch norm.
fn with_epsilon(graph: &Graph, epsilon: f32) -> Result<Graph> {
    let is_norm = |n: &graph::Node| matches!(n.op, Op::BatchNorm(_));
    ensure!(graph.nodes().iter().any(is_norm), "the network has no batch norm");
    Ok(graph.with_epsilon(epsilon)?)
}

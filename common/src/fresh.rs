//! A fresh network: a family's, of some size, or one's own.

use crate::cli;
use crate::sizing::Sizing;
use anyhow::{Result, anyhow, bail, ensure};
use artifacts::{Images, Model};
use graph::Graph;
use serde::{Serialize, Serializer};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Flags of the programs that train: the network that is not given as --init.
#[derive(Clone, Debug, clap::Args)]
pub struct Fresh {
    /// Network family of a fresh network.
    #[arg(long, required_unless_present_any = ["init", "graph"], value_parser = cli::families())]
    arch: Option<String>,
    /// Instead of a family: a network of your own, in the language of FORMAT.md ("The graph"), a node a line. What
    /// stands behind a # is not read, nor are empty lines. report graph prints a family's, to begin with.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["arch", "Sizing"])]
    graph: Option<Own>,
    #[command(flatten)]
    sizing: Sizing,
    /// Feed pixel values in 0..1 as they are, instead of scaling by the training pictures' mean and standard
    /// deviation (the course's setting).
    #[arg(long)]
    raw_pixels: bool,
}

/// A graph that was read from a file.
#[derive(Clone, Debug)]
struct Own {
    file: PathBuf,
    graph: Graph,
}

impl FromStr for Own {
    type Err = anyhow::Error;

    fn from_str(file: &str) -> Result<Self> {
        // The command line tells the outermost message alone.
        let text = std::fs::read_to_string(file).map_err(|e| anyhow!("cannot read {file}: {e}"))?;
        Ok(Self { file: file.into(), graph: text.parse()? })
    }
}

impl Fresh {
    /// The file of one's own network, where there is one.
    pub fn file(&self) -> Option<&Path> {
        self.graph.as_ref().map(|own| own.file.as_path())
    }

    /// The untrained model for `images`, its weights drawn from `seed`.
    ///
    /// # Errors
    /// Neither a family nor a graph; a graph of another number of classes; as [`Sizing::graph`] and
    /// [`Model::fresh`].
    pub fn model(&self, images: &Images, seed: u64) -> Result<Model> {
        let build = |classes| {
            let Some(Own { file, graph }) = &self.graph else {
                let Some(arch) = &self.arch else { bail!("--init, --arch or --graph is needed") };
                return self.sizing.graph(arch, classes);
            };
            let (file, found) = (file.display(), graph.classes());
            ensure!(
                found == classes,
                "{file}: its last node gives {found} logits, the pictures have {classes} classes"
            );
            Ok(graph.clone())
        };
        Model::fresh(build, images, self.raw_pixels, seed)
    }
}

/// A family is recorded with its size, a graph as itself: the same file may hold another one tomorrow.
impl Serialize for Fresh {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Family<'a> {
            arch: &'a Option<String>,
            #[serde(flatten)]
            sizing: &'a Sizing,
        }
        #[derive(Serialize)]
        struct Record<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            graph: Option<String>,
            #[serde(flatten)]
            family: Option<Family<'a>>,
            raw_pixels: bool,
        }
        let Self { arch, graph, sizing, raw_pixels } = self;
        let family = graph.is_none().then_some(Family { arch, sizing });
        let graph = graph.as_ref().map(|own| own.graph.to_string());
        Record { graph, family, raw_pixels: *raw_pixels }.serialize(serializer)
    }
}

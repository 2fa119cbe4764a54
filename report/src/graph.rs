//! `report graph`: a network as the text that `train --graph` takes.

use anyhow::{Context, Result, bail};
use artifacts::Model;
use common::cli;
use common::sizing::Sizing;
use graph::{Graph as Network, families};
use std::fmt::Write;
use std::path::Path;

/// Print a network as text, to be changed and handed to train --graph.
///
/// A node a line, in the language of FORMAT.md ("The graph"), with its number, and the shape of its result, behind a #.
/// A node that reads another than the one before it says so by number (@3,7).
#[derive(clap::Args)]
#[command(after_help = "Examples:
  report graph resnet18 --width 0.5 --stem-stride 2 --classes 11 >net.txt
  report graph artifacts/smoke/student.safetensors >net.txt
  train --graph net.txt --images training.safetensors --validation validation.safetensors --out mine.safetensors")]
pub(crate) struct Graph {
    /// A model, plain or coded, or the name of a network family (--arch of train).
    #[arg(value_name = "MODEL|FAMILY")]
    of: String,
    /// Classes of a family's network.
    #[arg(long, value_name = "N", default_value_t = 11)]
    classes: usize,
    /// Side of the pictures that shapes are told for [default: a model's own, 64 for a family].
    #[arg(long, value_name = "PIXELS")]
    size: Option<usize>,
    #[command(flatten)]
    sizing: Sizing,
}

/// Pictures that a family's shapes are told for.
const SIZE: usize = 64;

impl Graph {
    pub(crate) fn run(self) -> Result<String> {
        let path = Path::new(&self.of);
        let (network, size) = if families::ALL.iter().any(|f| f.name == self.of) {
            (self.sizing.graph(&self.of, self.classes)?, SIZE)
        } else if path.exists() {
            let (model, _) = Model::load(path)?;
            (model.graph, model.input.preparation.size)
        } else {
            bail!("{}: neither a file nor a family; families: {}", self.of, names())
        };
        text(&self.of, &network, self.size.unwrap_or(size))
    }
}

fn names() -> String {
    families::ALL.iter().map(|f| f.name).collect::<Vec<_>>().join(", ")
}

/// `network`, called `name`, a node a line.
fn text(name: &str, network: &Network, size: usize) -> Result<String> {
    let shapes = network.shapes(size).context("--size")?;
    let parameters = cli::count(network.parameter_count());
    let macs = cli::count(usize::try_from(network.multiplications(size)?)?);
    let mut out =
        format!("# {name}: {parameters} parameters, {macs} multiplications for {size} × {size}\n");
    for (i, (node, [h, w, c])) in network.to_string().split(';').zip(shapes).enumerate() {
        writeln!(out, "{node:<44} # {i}: {c} × {h} × {w}")?;
    }
    Ok(out.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is printed is read as the network that it was made of; parameters by hand: 3·4·9 + 4 + 2·(4·2) and
    /// 5·4 + 5; multiplications 3·4·9·64 + 4·5.
    #[test]
    fn what_is_printed_is_read_again() {
        let network: Network =
            "input 3;a:conv 3>4 k3 p1 bias;b:bn 4;relu;add @3,1;gap;f:linear 4>5 bias"
                .parse()
                .unwrap();
        let printed = text("x", &network, 8).unwrap();
        assert_eq!(printed.parse::<Network>().unwrap(), network);
        let mut lines = printed.lines();
        assert_eq!(lines.next(), Some("# x: 145 parameters, 6,932 multiplications for 8 × 8"));
        let fourth = lines.nth(4).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(fourth, "add @3,1 # 4: 4 × 8 × 8");
    }
}

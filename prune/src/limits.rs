//! How small a model is to become, and what it becomes layer by layer.

use anyhow::{Result, ensure};
use artifacts::Model;
use comfy_table::{CellAlignment, Table, presets};
use common::cli;
use common::share::Share;
use graph::Node;
use serde::Serialize;

/// What the smaller model must keep to; at most one of them.
#[derive(Serialize, clap::Args)]
#[cfg_attr(test, derive(Default))]
pub(crate) struct Limits {
    /// As little as leaves at most so many parameters.
    #[arg(long, value_name = "N", conflicts_with_all = ["macs", "bytes"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<usize>,
    /// As little as leaves at most so many multiplications per picture.
    #[arg(long, value_name = "N", conflicts_with = "bytes")]
    #[serde(skip_serializing_if = "Option::is_none")]
    macs: Option<u64>,
    /// As little as lets quantize pack --bits BITS write at most so many bytes.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    /// Bits per weight that --bytes and the predicted file of --dry-run mean: 2 to 8, or 16.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(2..=16))]
    #[serde(skip_serializing_if = "is_usual")]
    bits: u8,
}

/// Headers leave out what nobody asked for.
fn is_usual(bits: &u8) -> bool {
    *bits == 8
}

impl Limits {
    /// Whether one of them was given.
    pub(crate) fn is_any(&self) -> bool {
        self.params.is_some() || self.macs.is_some() || self.bytes.is_some()
    }

    /// Bytes of the file that quantize pack --bits makes of `model`.
    fn file_bytes(&self, model: &Model) -> Result<usize> {
        let folded = model.folded()?;
        let (spec, payload) = folded.with_bits(self.bits)?;
        folded.file_bytes(spec, payload)
    }

    /// The excess of `model` in words; None if it keeps to the limits.
    fn excess(&self, model: &Model) -> Result<Option<String>> {
        let size = model.input.preparation.size;
        let over = |n: u64, most: u64, what: &str| {
            let (n, most) = (cli::count(n as usize), cli::count(most as usize));
            Some(format!("{n} {what}, more than {most}"))
        };
        if let Some(most) = self.params
            && model.graph.parameter_count() > most
        {
            return Ok(over(model.graph.parameter_count() as u64, most as u64, "parameters"));
        }
        if let Some(most) = self.macs
            && model.graph.multiplications(size)? > most
        {
            return Ok(over(model.graph.multiplications(size)?, most, "multiplications"));
        }
        if let Some(most) = self.bytes {
            let bytes = self.file_bytes(model)?;
            if bytes > most {
                return Ok(over(bytes as u64, most as u64, "bytes"));
            }
        }
        Ok(None)
    }

    /// Of the models that `make` gives for shares of 0 to 1, larger ones being smaller, the one of the
    /// least share that keeps to the limits.
    ///
    /// # Errors
    /// When none does, or what `make` says.
    pub(crate) fn least(&self, make: impl Fn(Share) -> Result<Model>) -> Result<Model> {
        let at = |cut: u32| make(Share::of_parts(cut, CUTS));
        let (mut low, mut high) = (0, CUTS);
        let mut best = at(high)?;
        let excess = self.excess(&best)?;
        ensure!(
            excess.is_none(),
            "the smallest that these settings lead to still has {}",
            excess.unwrap_or_default()
        );
        while low < high {
            let middle = low.midpoint(high);
            let model = at(middle)?;
            if self.excess(&model)?.is_none() {
                (high, best) = (middle, model);
            } else {
                low = middle + 1;
            }
        }
        Ok(best)
    }

    /// A line per layer of what it was and is, then totals and the file of quantize pack --bits.
    pub(crate) fn table(&self, before: &Model, after: &Model) -> Result<String> {
        let size = before.input.preparation.size;
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["layer", "channels", "of", "parameters", "of", "MACs", "of"]);
        let (old, new) = (layers(before)?, layers(after)?);
        for layer in old {
            // A layer that was factored is two now.
            let own = |name: &str| {
                name == layer.name
                    || name.strip_prefix(&layer.name).is_some_and(|end| end == ".0" || end == ".1")
            };
            let now: Vec<&Layer> = new.iter().filter(|l| own(&l.name)).collect();
            let widths: Vec<String> = now.iter().map(|l| l.channels.to_string()).collect();
            table.add_row([
                layer.name.clone(),
                widths.join(" > "),
                layer.channels.to_string(),
                cli::count(now.iter().map(|l| l.parameters).sum()).to_string(),
                cli::count(layer.parameters).to_string(),
                cli::count(now.iter().map(|l| l.macs).sum()).to_string(),
                cli::count(layer.macs).to_string(),
            ]);
        }
        let total = |m: &Model| -> Result<[String; 2]> {
            let macs = m.graph.multiplications(size)? as usize;
            let parameters = m.graph.parameter_count();
            Ok([cli::count(parameters), cli::count(macs)].map(|n| n.to_string()))
        };
        let ([p, m], [q, n]) = (total(after)?, total(before)?);
        table.add_row(["total".to_owned(), String::new(), String::new(), p, q, m, n]);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        Ok(format!(
            "{}\nquantize pack --bits {}: {} bytes, {} before",
            table.trim_fmt(),
            self.bits,
            cli::count(self.file_bytes(after)?),
            cli::count(self.file_bytes(before)?),
        ))
    }
}

/// Shares that are tried: ten thousandths.
const CUTS: u32 = 10_000;

/// A convolution or linear layer.
struct Layer {
    name: String,
    channels: usize,
    /// Its own; those of batch norms count in the total only.
    parameters: usize,
    macs: usize,
}

fn layers(model: &Model) -> Result<Vec<Layer>> {
    let shapes = model.graph.shapes(model.input.preparation.size)?;
    let layer = |(node, [h, w, _]): (&Node, [usize; 3])| {
        let conv = node.op.as_conv()?;
        let size = |p: graph::Parameter| p.shape.iter().product::<usize>();
        Some(Layer {
            name: node.name.clone(),
            channels: conv.output,
            parameters: node.parameters().into_iter().map(size).sum(),
            macs: node.op.about().multiplications([h, w]) as usize,
        })
    };
    Ok(model.graph.nodes().iter().zip(shapes).filter_map(layer).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use artifacts::{Framing, Input, Preparation};
    use graph::Graph;
    use graph::grid::Grids;
    use views::{FixedViews, Normalization};

    /// 3n + 2n weights, on pictures of 4 px 48n + 2n multiplications.
    fn model(n: usize) -> Model {
        let graph: Graph =
            format!("input 3;a:conv 3>{n} k1;relu;gap;f:linear {n}>2").parse().unwrap();
        let weights = graph::init::weights(&graph, 1);
        let preparation = Preparation { size: 4, framing: Framing::Crop, exif: false };
        let input = Input { preparation, normalization: Normalization::NONE };
        let classes = ["a", "b"].map(str::to_owned).to_vec();
        Model { graph, weights, input, classes, grids: Grids::new(), views: FixedViews::PLAIN }
    }

    /// Of 20 channels those that are left.
    fn cut(share: Share) -> Result<Model> {
        Ok(model((20 - share.at_most(20)).max(1)))
    }

    fn left(limits: &Limits) -> Result<usize> {
        Ok(limits.least(cut)?.graph.parameter_count() / 5)
    }

    #[test]
    fn as_little_goes_as_the_limits_ask() {
        for (params, channels) in [(100, 20), (99, 19), (57, 11), (55, 11), (54, 10), (5, 1)] {
            let limits = Limits { params: Some(params), ..Limits::default() };
            assert_eq!(left(&limits).unwrap(), channels, "{params}");
        }
        for (macs, channels) in [(1000, 20), (500, 10), (499, 9)] {
            let limits = Limits { macs: Some(macs), ..Limits::default() };
            assert_eq!(left(&limits).unwrap(), channels, "{macs}");
        }
        let bytes =
            |n: usize| Limits { bits: 8, ..Limits::default() }.file_bytes(&model(n)).unwrap();
        let limits = Limits { bytes: Some(bytes(14)), bits: 8, ..Limits::default() };
        assert!(bytes(14) < bytes(15));
        assert_eq!(left(&limits).unwrap(), 14);
    }

    #[test]
    fn what_cannot_be_kept_to_is_said() {
        let refused = |limits: Limits| limits.least(cut).err().unwrap().to_string();
        let told = refused(Limits { params: Some(4), ..Limits::default() });
        assert!(told.contains("still has 5 parameters, more than 4"), "{told}");
        let told = refused(Limits { macs: Some(49), ..Limits::default() });
        assert!(told.contains("still has 50 multiplications, more than 49"), "{told}");
    }

    #[test]
    fn the_table_is_as_counted_by_hand() {
        let limits = Limits { bits: 8, ..Limits::default() };
        let table = limits.table(&model(8), &model(5)).unwrap();
        let lines: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["layer", "channels", "of", "parameters", "of", "MACs", "of"]);
        assert_eq!(lines[1], ["a", "5", "8", "15", "24", "240", "384"]);
        assert_eq!(lines[2], ["f", "2", "2", "10", "16", "10", "16"]);
        assert_eq!(lines[3], ["total", "25", "40", "250", "400"]);
        let [now, before] = [5, 8].map(|n| limits.file_bytes(&model(n)).unwrap());
        let file = format!("quantize pack --bits 8: {now} bytes, {before} before");
        assert_eq!(lines[4].join(" "), file);
    }
}

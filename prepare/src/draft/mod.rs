//! A first guess at the graph of an unknown network, from the names and shapes of its tensors in the order
//! of their file, for a person to correct.
//!
//! Shapes give the operations. Numbers in names (PyTorch's `Sequential`) tell how many layers without
//! weights stood between two with; names like `downsample` mark shortcuts. Strides, pools and the kind of
//! activation stand nowhere. What shows that the network is another than the draft says ([`doubts`]) stands in
//! lines at its head, with which it is refused as a graph.

mod doubts;
#[cfg(test)]
mod tests;

use doubts::{Doubt, Doubts};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Components of names that layers beside the main path have.
const SHORTCUTS: [&str; 5] = ["downsample", "shortcut", "skip", "identity", "residual"];

const HEAD: &str = "\
# A draft from names and shapes alone. Guesses are marked \"?\". No file says where strides are (s2), pools
# (max k2 s2), which activation (relu, relu6, hardswish, silu, sigmoid, hardsigmoid), where branches meet
# (add @i,j; concat @i,j; mul @i,j).
";

const SETTLE: &str = "\
# It is not this network: settle what the next lines say, then take them out.
";

/// What a layer's tensors make it.
enum Kind {
    Conv {
        output: usize,
        input: usize,
        kernel: [usize; 2],
        bias: bool,
    },
    Linear {
        output: usize,
        input: usize,
        bias: bool,
    },
    Norm {
        channels: usize,
    },
    /// Of no operation: why, and one of its tensors.
    Unknown(Doubt, String),
}

/// A layer with weights.
struct Layer<'a> {
    name: &'a str,
    path: Vec<&'a str>,
    kind: Kind,
}

impl Layer<'_> {
    /// How much of the path is a block that this layer is a shortcut of.
    fn shortcut(&self) -> Option<usize> {
        self.path.iter().position(|part| SHORTCUTS.contains(part))
    }

    /// Whether a path begins with the first `depth` components of this one.
    fn shares(&self, other: Option<&Self>, depth: usize) -> bool {
        other.is_some_and(|o| o.path.get(..depth) == self.path.get(..depth))
    }

    /// Layers without weights before `next`, by the numbers in both names.
    fn gap(&self, next: &Self) -> Option<usize> {
        let n = self.path.iter().zip(&next.path).take_while(|(a, b)| a == b).count();
        let number = |l: &Self| l.path.get(n)?.parse::<usize>().ok();
        number(next)?.checked_sub(number(self)? + 1)
    }

    /// Whether the numbers that `gap` reads are the last of this layer's name.
    fn is_leaf(&self, next: &Self) -> bool {
        self.path.len() == 1 || self.shares(Some(next), self.path.len() - 1)
    }
}

/// Tensors of the same layer together, in the order of the file.
fn layers(tensors: &[(String, Vec<usize>)]) -> Vec<Layer<'_>> {
    let mut names: Vec<&str> = Vec::new();
    let mut ends: BTreeMap<&str, BTreeMap<&str, &[usize]>> = BTreeMap::new();
    for (tensor, shape) in tensors {
        let (name, end) = tensor.rsplit_once('.').unwrap_or(("", tensor));
        if !ends.contains_key(name) {
            names.push(name);
        }
        ends.entry(name).or_default().insert(end, shape);
    }
    names.into_iter().map(|name| layer(name, &ends[name])).collect()
}

/// The layer of these tensors, by the ends of their names.
fn layer<'a>(name: &'a str, ends: &BTreeMap<&str, &[usize]>) -> Layer<'a> {
    let bias = ends.contains_key("bias");
    let kind = match (ends.get("weight"), ends.get("running_mean")) {
        (Some([_]), Some([channels])) => Kind::Norm { channels: *channels },
        (Some([output, input, h, w]), None) => {
            Kind::Conv { output: *output, input: *input, kernel: [*h, *w], bias }
        }
        (Some([output, input]), None) => Kind::Linear { output: *output, input: *input, bias },
        _ => {
            let some = ends.iter().next().map(|(end, shape)| format!("{name}.{end} {shape:?}"));
            let some = some.unwrap_or_default().trim_start_matches('.').to_owned();
            Kind::Unknown(doubts::unknown(name, ends), some)
        }
    };
    Layer { name, path: name.split('.').collect(), kind }
}

/// A node of the draft.
struct Line {
    text: String,
    channels: usize,
    remark: &'static str,
}

#[derive(Default)]
struct Draft<'a> {
    lines: Vec<Line>,
    /// What shows that it is another network.
    doubts: Doubts,
    /// Of every beginning of a name, the node that its first layer reads.
    starts: BTreeMap<&'a [&'a str], usize>,
    /// Of a block with a shortcut, where the main path ends.
    mains: BTreeMap<&'a [&'a str], usize>,
    /// Lengths of the names of blocks with shortcuts.
    depths: BTreeSet<usize>,
    is_flat: bool,
}

/// The draft, a node per line; see the module. `tensors` are names and shapes in the file's order.
pub(crate) fn draft(tensors: &[(String, Vec<usize>)]) -> String {
    let layers = layers(tensors);
    let depths = layers.iter().filter_map(Layer::shortcut).collect();
    let mut draft = Draft { depths, ..Draft::default() };
    doubts::among(&layers, &mut draft.doubts);
    draft.push("input 3".to_owned(), 3, "");
    for (i, layer) in layers.iter().enumerate() {
        draft.layer(layer);
        if let Some(next) = layers.get(i + 1) {
            draft.behind(&layers[..=i], layer, next);
        }
    }
    draft.text()
}

impl<'a> Draft<'a> {
    fn last(&self) -> usize {
        self.lines.len() - 1
    }

    fn push(&mut self, text: String, channels: usize, remark: &'static str) {
        self.lines.push(Line { text, channels, remark });
    }

    fn activation(&mut self, remark: &'static str) {
        self.push("relu".to_owned(), self.lines[self.last()].channels, remark);
    }

    /// The layer's own node.
    fn layer(&mut self, layer: &'a Layer<'a>) {
        let last = self.last();
        for depth in 1..=layer.path.len() {
            self.starts.entry(&layer.path[..depth]).or_insert(last);
        }
        let mut from = last;
        if let Some(depth) = layer.shortcut() {
            let block = &layer.path[..depth];
            if self.starts.get(&layer.path[..=depth]) == Some(&last) {
                self.mains.entry(block).or_insert(last);
                from = self.starts.get(block).copied().unwrap_or(last);
            }
        }
        let name = layer.name;
        match layer.kind {
            Kind::Norm { channels } => self.push(format!("{name}:bn {channels}"), channels, ""),
            Kind::Conv { output, input, kernel, bias } => {
                self.conv(name, [output, input], kernel, bias, from);
            }
            Kind::Linear { output, input, bias } => self.linear(name, [output, input], bias),
            Kind::Unknown(doubt, ref tensor) => self.doubts.push(doubt, tensor),
        }
    }

    fn conv(
        &mut self,
        name: &str,
        [o, i]: [usize; 2],
        [h, w]: [usize; 2],
        bias: bool,
        from: usize,
    ) {
        let last = self.last();
        let fits =
            |c: usize| i == c || (i > 0 && c.is_multiple_of(i) && o.is_multiple_of((c / i).max(1)));
        let (mut from, mut remark) = (from, "");
        if !fits(self.lines[from].channels) {
            // Of a transposed convolution the first dimension is what it reads.
            let turned = o == self.lines[from].channels && h == w && h > 1;
            self.doubts.push(if turned { Doubt::Transposed } else { Doubt::Branches }, name);
            remark = " ? the node before it has other channels";
            from = self.lines.iter().rposition(|l| l.channels == i).unwrap_or(from);
        }
        if h != w {
            self.doubts.push(Doubt::Oblong, name);
            remark = " ? its window is not square";
        }
        let c = self.lines[from].channels;
        let groups = if fits(c) { c / i.max(1) } else { 1 };
        let mut text = format!("{name}:conv {}>{o} k{h}", i * groups);
        let padding = if h > 1 { format!(" p{}", h / 2) } else { String::new() };
        text += &padding;
        if groups > 1 {
            let _ = write!(text, " g{groups}");
        }
        text += if bias { " bias" } else { "" };
        if from != last {
            let _ = write!(text, " @{from}");
        }
        self.push(text, o, remark);
    }

    fn linear(&mut self, name: &str, [output, input]: [usize; 2], bias: bool) {
        let c = self.lines[self.last()].channels.max(1);
        let side = (1..=15).find(|s| input.is_multiple_of(c) && input / c == s * s);
        let (mut side, mut remark) = (side, "");
        if !self.is_flat && side == Some(1) {
            self.push("gap".to_owned(), c, "");
        } else if !self.is_flat && side.is_some() {
            remark = " ? flat";
        } else if side.is_none() {
            self.doubts.push(Doubt::Branches, name);
            (side, remark) = (Some(1), " ? the node before it has other channels");
        }
        self.is_flat = true;
        let side = side.filter(|s| *s > 1);
        let channels = input / side.unwrap_or(1).pow(2);
        let window = side.map(|s| format!(" k{s}")).unwrap_or_default();
        let bias = if bias { " bias" } else { "" };
        self.push(format!("{name}:linear {channels}>{output}{window}{bias}"), output, remark);
    }

    /// What stands between a layer and the next without having weights.
    fn behind(&mut self, so_far: &'a [Layer<'a>], layer: &'a Layer<'a>, next: &'a Layer<'a>) {
        let is_normed = matches!(next.kind, Kind::Norm { .. });
        if matches!(layer.kind, Kind::Unknown(..))
            || (is_normed && !matches!(layer.kind, Kind::Norm { .. }))
        {
            return;
        }
        let enters = |l: &Layer<'_>| l.shortcut().is_some_and(|d| l.shares(Some(next), d + 1));
        if next.shortcut().is_some() && !enters(layer) {
            return; // the main path of a block ends without an activation
        }
        let joined = self.joins(so_far, layer, next);
        let is_linear = matches!(layer.kind, Kind::Linear { .. });
        match layer.gap(next).filter(|_| layer.is_leaf(next)) {
            Some(0) => {}
            Some(gap) => {
                self.activation("");
                if gap > 1 && !is_linear {
                    self.push("max k2 s2".to_owned(), self.lines[self.last()].channels, " ?");
                }
            }
            None => {
                if joined == Some(true) || (joined.is_none() && !narrows(so_far)) {
                    self.activation(" ?");
                }
                if layer.gap(next).is_some_and(|g| g > 0) && !is_linear {
                    self.push("max k2 s2".to_owned(), self.lines[self.last()].channels, " ?");
                }
            }
        }
    }

    /// Adds what ended with `layer` to what it began from, if it is a block that is known to; whether an
    /// activation follows.
    fn joins(
        &mut self,
        so_far: &[Layer<'a>],
        layer: &'a Layer<'a>,
        next: &Layer<'a>,
    ) -> Option<bool> {
        let last = self.last();
        let channels = |at: usize| self.lines[at].channels;
        for depth in self.depths.iter().copied().filter(|d| *d < layer.path.len()) {
            let block = &layer.path[..depth];
            if layer.shares(Some(next), depth) || block.last()?.parse::<usize>().is_err() {
                continue;
            }
            let other = match self.mains.get(block) {
                Some(main) => *main,
                None => *self.starts.get(block)?,
            };
            if channels(other) == channels(last) {
                self.push(
                    format!("add @{},{}", last.min(other), last.max(other)),
                    channels(last),
                    " ?",
                );
                return Some(true);
            }
        }
        let depth = layer.path.len() - 1;
        let start = *self.starts.get(&layer.path[..depth])?;
        let widens = so_far.iter().find(|l| layer.shares(Some(l), depth)).is_some_and(|l| {
            matches!(l.kind, Kind::Conv { output, input, kernel: [1, 1], .. } if output > input)
        });
        let is_inverted =
            depth > 0 && widens && narrows(so_far) && !layer.shares(Some(next), depth);
        if is_inverted && channels(start) == channels(last) {
            self.push(format!("add @{start},{last}"), channels(last), " ?");
        }
        is_inverted.then_some(false)
    }

    fn text(self) -> String {
        let mut out = HEAD.to_owned();
        let mut open = self.doubts.lines().peekable();
        if open.peek().is_some() {
            out += SETTLE;
        }
        open.for_each(|line| out += &(line + "\n"));
        for (i, Line { text, remark, .. }) in self.lines.iter().enumerate() {
            let _ = writeln!(out, "{text:<50} # {i}{remark}");
        }
        out
    }
}

/// Whether the last convolution is 1 × 1 and has fewer outputs than inputs, as at the end of a linear
/// bottleneck (Sandler et al. 2018, section 3.2): no activation stands behind it.
fn narrows(so_far: &[Layer<'_>]) -> bool {
    let last = so_far.iter().rev().find(|l| matches!(l.kind, Kind::Conv { .. }));
    last.is_some_and(
        |l| matches!(l.kind, Kind::Conv { output, input, kernel: [1, 1], .. } if output < input),
    )
}

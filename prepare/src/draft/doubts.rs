//! What names and shapes show of a network that the draft does not say: operations that the language lacks,
//! branches that no chain has. A draft with doubts is refused as a graph until a person has settled them.

use super::{Kind, Layer, SHORTCUTS};
use graph::text::OPEN;
use std::collections::BTreeMap;

/// Why a draft may be of another network than the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Doubt {
    /// Channels squeezed to a few numbers per picture, which multiply the channels (Hu et al. 2018,
    /// "Squeeze-and-excitation networks", section 3).
    Excitation,
    /// Normalized by the statistics of each picture (Ba et al. 2016, Wu & He 2018, Ulyanov et al. 2016).
    PictureNorm,
    /// Queries, keys and values (Vaswani et al. 2017).
    Attention,
    /// GRU, LSTM, RNN.
    Recurrent,
    /// A linear layer, and convolutions after it.
    LinearBefore,
    /// A convolution whose result is larger than what it reads.
    Transposed,
    /// A window that is higher than wide, or wider than high.
    Oblong,
    /// A window over one dimension, or three.
    Dimensions,
    /// A batch norm that has no γ and β.
    BareNorm,
    /// It reads something else than the node before it.
    Branches,
    /// A tensor of no operation.
    Tensors,
}

impl Doubt {
    /// In words, without the signs that end a line of a graph's text (`;` and `#`).
    fn text(self) -> &'static str {
        match self {
            Self::Excitation => {
                "squeeze-and-excitation: channels are multiplied by what becomes of their means, say by gap \
                 before these two layers, sigmoid or hardsigmoid behind them, and mul @ of the channels and that"
            }
            Self::PictureNorm => {
                "a norm without running statistics (layer, group or instance norm), for which there is no \
                 operation"
            }
            Self::Attention => "attention, for which there is no operation",
            Self::Recurrent => "a recurrent layer, for which there is no operation",
            Self::LinearBefore => {
                "linear layers before convolutions: they may work on each pixel, or multiply channels"
            }
            Self::Transposed => "a transposed convolution, for which there is no operation",
            Self::Oblong => "a window that is not square, for which there is no operation",
            Self::Dimensions => {
                "a convolution of other than two dimensions, for which there is no operation"
            }
            Self::BareNorm => {
                "a batch norm without weight and bias: add to the file a weight of ones and a bias of zeros"
            }
            Self::Branches => {
                "branches: it reads another node than the one before it, or branches end here, say by @ what is \
                 read, and where they meet (add, concat, mul)"
            }
            Self::Tensors => "tensors of no operation",
        }
    }
}

/// Doubts and the layers that raise them.
#[derive(Default)]
pub(super) struct Doubts(BTreeMap<Doubt, Vec<String>>);

/// Layers that are named with a doubt; of more, how many.
const NAMED: usize = 3;

impl Doubts {
    /// A doubt about the layer `name`.
    pub(super) fn push(&mut self, doubt: Doubt, name: &str) {
        // Signs of a graph's text would end the line.
        let name = name.replace([';', '#', '\n', '\r'], "_");
        self.0.entry(doubt).or_default().push(name);
    }

    /// A line each, which begins with the sign of what is not settled.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(|(doubt, names)| {
            let more = names.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let some = names[..names.len().min(NAMED)].join(", ");
            format!("{}{some}{more}: {}", OPEN, doubt.text())
        })
    }
}

/// Parts of names that layers of squeeze-and-excitation have.
const EXCITATIONS: [&str; 4] = ["se", "squeeze", "excit", "attention"];

/// Parts of names that transposed convolutions have: their shapes, `[in, out, k, k]`, do not show.
const TRANSPOSED: [&str; 4] = ["deconv", "transpose", "upconv", "upsample"];

/// Ends of the tensors of recurrent layers, and of attention.
const RECURRENT: [&str; 4] = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"];
const ATTENTION: [&str; 7] =
    ["attn", "attention", "qkv", "in_proj", "class_token", "cls_token", "pos_embed"];

/// Whether a name has one of these in it, short ones as a word of their own.
fn has_part(name: &str, of: &[&str]) -> bool {
    let name = name.to_lowercase();
    let is_word = |part: &str| name.split(['.', '_']).any(|word| word == part);
    of.iter().any(|part| is_word(part) || (part.len() > 3 && name.contains(part)))
}

/// What a layer of no operation is, by its name and the ends of its tensors' names.
pub(super) fn unknown(name: &str, ends: &BTreeMap<&str, &[usize]>) -> Doubt {
    let any = |of: &[&str]| ends.keys().any(|end| of.iter().any(|o| end.starts_with(o)));
    if any(&RECURRENT) {
        return Doubt::Recurrent;
    }
    if any(&ATTENTION) || has_part(name, &ATTENTION) {
        return Doubt::Attention;
    }
    match (ends.get("weight"), ends.get("bias")) {
        _ if ends.contains_key("running_mean") => Doubt::BareNorm,
        (Some([n]), Some([m])) if n == m => Doubt::PictureNorm,
        (Some([_, _, _] | [_, _, _, _, _]), _) => Doubt::Dimensions,
        _ => Doubt::Tensors,
    }
}

impl Layer<'_> {
    /// Input and output of a layer that sees each pixel alone.
    fn pointwise(&self) -> Option<[usize; 2]> {
        match self.kind {
            Kind::Conv { input, output, kernel: [1, 1], .. }
            | Kind::Linear { input, output, .. } => Some([input, output]),
            Kind::Conv { .. } | Kind::Norm { .. } | Kind::Unknown(..) => None,
        }
    }

    fn has_bias(&self) -> bool {
        matches!(self.kind, Kind::Conv { bias: true, .. } | Kind::Linear { bias: true, .. })
    }
}

/// Doubts that several layers together raise.
pub(super) fn among(layers: &[Layer<'_>], doubts: &mut Doubts) {
    let is_conv = |l: &Layer| matches!(l.kind, Kind::Conv { .. });
    let last_conv = layers.iter().rposition(is_conv).unwrap_or(0);
    for (i, layer) in layers.iter().enumerate() {
        if excites(layers, i, last_conv) {
            match second_branch(&layers[i..]) {
                Some(second) => doubts.push(Doubt::Branches, second.name),
                None => doubts.push(Doubt::Excitation, layer.name),
            }
        } else if matches!(layer.kind, Kind::Linear { .. }) && i < last_conv {
            let is_second = i > 0 && excites(layers, i - 1, last_conv);
            if !is_second {
                let attends = has_part(layer.name, &ATTENTION);
                let doubt = if attends { Doubt::Attention } else { Doubt::LinearBefore };
                doubts.push(doubt, layer.name);
            }
        } else if is_conv(layer) && has_part(layer.name, &TRANSPOSED) {
            doubts.push(Doubt::Transposed, layer.name);
        } else if is_conv(layer) && begins_block(layers, i) {
            doubts.push(Doubt::Branches, layer.name);
        }
    }
}

/// Whether layer `i` is a shortcut that stands before the layers it goes round: what those read is before it.
fn begins_block(layers: &[Layer<'_>], i: usize) -> bool {
    let is_shortcut = |part: &&str| SHORTCUTS.contains(part) || *part == "proj";
    let Some(depth) = layers[i].path.iter().position(is_shortcut).filter(|d| *d > 0) else {
        return false;
    };
    let is_first = i == 0 || !layers[i].shares(Some(&layers[i - 1]), depth);
    let mut others = layers[i + 1..].iter().take_while(|l| layers[i].shares(Some(l), depth));
    is_first && others.any(|l| !layers[i].shares(Some(l), depth + 1))
}

/// Whether layer `i` squeezes channels that the next widens to as many again without a norm behind either: by
/// names, or where both have a bias, as those of a bottleneck between norms have not. Linear layers behind the
/// last convolution do so too, as those of a classifier: of them only names tell.
fn excites(layers: &[Layer<'_>], i: usize, last_conv: usize) -> bool {
    let [layer, next, behind, ..] = &layers[i..] else { return false };
    let (Some([c, squeezed]), Some([input, output])) = (layer.pointwise(), next.pointwise()) else {
        return false;
    };
    let goes_on = !matches!(behind.kind, Kind::Norm { .. });
    let is_named = has_part(layer.name, &EXCITATIONS) || has_part(next.name, &EXCITATIONS);
    let is_linear = |l: &Layer| matches!(l.kind, Kind::Linear { .. });
    let classifies = (is_linear(layer) || is_linear(next)) && i + 1 > last_conv;
    let shows = is_named || (layer.has_bias() && next.has_bias() && !classifies);
    c == output && input == squeezed && squeezed < c && goes_on && shows
}

/// Of channels that two convolutions of one module read after they were squeezed, the second: what both give
/// is put together (Iandola et al. 2016, "SqueezeNet", section 3.2, the Fire module), and multiplies nothing.
fn second_branch<'s, 'a>(layers: &'s [Layer<'a>]) -> Option<&'s Layer<'a>> {
    let [squeeze, first, second, ..] = layers else { return None };
    let [_, squeezed] = squeeze.pointwise()?;
    let reads = matches!(second.kind, Kind::Conv { input, .. } if input == squeezed);
    // Each pixel of one channel is also what a convolution of as many groups as channels reads.
    (reads && squeezed > 1 && first.shares(Some(second), first.path.len() - 1)).then_some(second)
}

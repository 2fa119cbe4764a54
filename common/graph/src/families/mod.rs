//! Network families. Each file builds a graph from a table of widths; parameter names are the
//! keys of the original's PyTorch state dict, so that checkpoints load by name both ways.

mod densenet;
mod efficientnet;
mod efficientnet_lite;
mod inverted_residual;
mod mobilenet_v1;
mod mobilenet_v2;
mod mobilenet_v3;
mod plain;
mod resnet;
mod shufflenet_v2;
mod squeezenet;
mod studentnet;

pub use resnet::resnet18;
pub use studentnet::studentnet;

use crate::error::{Error, Result, bail, ensure};
use crate::network::{Builder, Graph, Weights};
use crate::op::{Activation, BatchNorm, Conv, Window};

/// An architecture at any width.
pub struct Family {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// By how much its stem makes pictures smaller: 1, 2, or 4 where a pool follows the strided
    /// convolution.
    pub stem_stride: usize,
    /// Most blocks that can be added at its end.
    most_blocks: usize,
    build: fn(&Knobs) -> Result<Graph>,
}

/// What a family leaves open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knobs {
    /// Factor on every inner width, 0.01 to 16.
    pub width: f32,
    /// By how much the stem makes pictures smaller; None: the family's own. A stem of 4 becomes one
    /// of 2 by leaving out its pool, one of 1 by a convolution of stride 1 besides.
    pub stem_stride: Option<usize>,
    /// Blocks added at the end, for pictures as they come out of the last.
    pub extra_blocks: usize,
    /// Number of classes.
    pub classes: usize,
}

impl Knobs {
    /// The family as it was published, for so many classes.
    pub const fn standard(classes: usize) -> Self {
        Self { width: 1.0, stem_stride: None, extra_blocks: 0, classes }
    }

    /// Width `n` times the factor.
    fn scaled(&self, n: usize) -> usize {
        self.multiple(n, 1)
    }

    /// Width `n` times the factor, as a multiple of `of`.
    fn multiple(&self, n: usize, of: usize) -> usize {
        ((n as f32 * self.width) as usize / of * of).max(of)
    }
}

/// Every family there is.
pub const ALL: &[Family] = &[
    studentnet::FAMILY,
    mobilenet_v1::FAMILY,
    mobilenet_v2::FAMILY,
    mobilenet_v3::FAMILY_SMALL,
    mobilenet_v3::FAMILY_LARGE,
    efficientnet::FAMILY,
    efficientnet_lite::FAMILY,
    shufflenet_v2::FAMILY,
    squeezenet::FAMILY,
    densenet::FAMILY_121,
    densenet::FAMILY_100,
    resnet::FAMILY_18,
    resnet::FAMILY_34,
    plain::ORDINARY,
    plain::SEPARABLE,
    plain::GROUPED,
];

/// The family called `name`.
///
/// # Errors
/// A name that none has.
pub fn find(name: &str) -> Result<&'static Family> {
    let names = || ALL.iter().map(|f| f.name).collect::<Vec<_>>().join(", ");
    let found = ALL.iter().find(|f| f.name == name);
    found.ok_or_else(|| Error::new(format!("no network family {name:?}; known: {}", names())))
}

/// Range of [`Knobs::width`].
const WIDTHS: std::ops::RangeInclusive<f32> = 0.01..=16.0;

/// Halvings of the interval of widths when a size is looked for: less than a channel of the widest.
const HALVINGS: u32 = 24;

impl Family {
    /// The network.
    ///
    /// # Errors
    /// Knobs out of range, or that this family does not have.
    pub fn build(&self, knobs: &Knobs) -> Result<Graph> {
        let Knobs { width, stem_stride, extra_blocks, classes } = *knobs;
        ensure!(WIDTHS.contains(&width), "width factor {width} is not in 0.01..=16");
        ensure!(classes >= 2, "a classifier needs at least 2 classes, not {classes}");
        let (name, own) = (self.name, self.stem_stride);
        let stem_stride = stem_stride.unwrap_or(own);
        let possible: Vec<usize> = self.stem_strides().collect();
        ensure!(
            possible.contains(&stem_stride),
            "the stem of {name} has stride {own}: expected one of {possible:?}, not {stem_stride}"
        );
        let most = self.most_blocks;
        ensure!(
            extra_blocks <= most,
            "{name} takes {most} extra blocks at most, not {extra_blocks}"
        );
        (self.build)(&Knobs { stem_stride: Some(stem_stride), ..*knobs })
    }

    /// The strides its stem can have.
    fn stem_strides(&self) -> impl Iterator<Item = usize> {
        let own = self.stem_stride;
        [4, 2, 1].into_iter().filter(move |s| *s <= own)
    }

    /// The widest network that `fits`, at any factor: larger ones are taken not to fit either.
    ///
    /// # Errors
    /// As [`Family::build`], or when not even the narrowest fits.
    pub fn widest(&self, knobs: &Knobs, fits: impl Fn(&Graph) -> bool) -> Result<Graph> {
        let at = |width: f32| self.build(&Knobs { width, ..*knobs });
        let (mut low, mut high) = (*WIDTHS.start(), *WIDTHS.end());
        let mut best = at(low)?;
        ensure!(
            fits(&best),
            "even the narrowest {} has {} parameters, which is too much",
            self.name,
            best.parameter_count()
        );
        for _ in 0..HALVINGS {
            let middle = (low * high).sqrt();
            // One beyond the limits of graphs does not fit either.
            match at(middle) {
                Ok(graph) if fits(&graph) => (low, best) = (middle, graph),
                _ => high = middle,
            }
        }
        Ok(best)
    }

    /// Its networks for weights of any widths and blocks: knobs that no weight shows are those of
    /// `stem_strides`.
    fn variants(&self, stem_strides: impl Iterator<Item = usize>) -> impl Iterator<Item = Knobs> {
        let blocks = 0..=self.most_blocks;
        let knobs = move |stem: usize, extra_blocks| Knobs {
            stem_stride: Some(stem),
            extra_blocks,
            ..Knobs::standard(2)
        };
        stem_strides.flat_map(move |s| blocks.clone().map(move |b| knobs(s, b)))
    }
}

/// Every network of `families` that names of weights tell apart, at standard width; the stem's stride, which
/// no weight shows, is the family's own.
///
/// # Errors
/// Only a family that cannot be built.
pub fn forms(families: &[Family]) -> Result<Vec<(&Family, Graph)>> {
    let mut forms = Vec::new();
    for family in families {
        for knobs in family.variants([family.stem_stride].into_iter()) {
            forms.push((family, family.build(&knobs)?));
        }
    }
    Ok(forms)
}

/// What the original of a family calls a tensor today. torchvision's own download of DenseNet-121 is older
/// than its code, which then came to be without dots before the numbers of a layer's two halves.
pub fn current_name(name: &str) -> String {
    if !name.contains(".denselayer") {
        return name.to_owned();
    }
    let halves = ["norm.1.", "norm.2.", "conv.1.", "conv.2."];
    halves.iter().fold(name.to_owned(), |name, half| {
        name.replace(&format!(".{half}"), &format!(".{}", half.replacen('.', "", 1)))
    })
}

/// A folded network of a known family as the original has it, batch norms included. Their ε, which a folded
/// network does not hold, is `epsilon`; None: the family's own.
///
/// # Errors
/// A network of no known family; an ε out of range.
pub fn unfold(folded: &Graph, weights: &Weights, epsilon: Option<f32>) -> Result<(Graph, Weights)> {
    for family in ALL {
        for knobs in family.variants(family.stem_strides()) {
            let original = family.build(&knobs)?.factored_like(weights)?;
            let original = epsilon.map_or(Ok(original.clone()), |e| original.with_epsilon(e))?;
            let Ok((graph, unfolded)) = original.unfold(weights) else { continue };
            // Names and widths agree; strides and activations must as well.
            let (normless, mut rest) = graph.fold_norms(unfolded.clone())?;
            if normless == *folded || normless.join_head(&mut rest)? == *folded {
                return Ok((graph, unfolded));
            }
        }
    }
    bail!("a network of no known family")
}

/// A convolution without bias called `conv` and its batch norm `norm`, reading `input`.
fn conv_norm(net: &mut Builder, [conv, norm]: [&str; 2], shape: Conv, input: usize) -> usize {
    let at = net.push(conv, Conv { bias: false, ..shape }, vec![input]);
    net.push(norm, BatchNorm::new(shape.output), vec![at])
}

/// [`conv_norm`] of the latest node, with an activation behind it.
fn conv_norm_act(net: &mut Builder, names: [&str; 2], shape: Conv, act: Activation) -> usize {
    let last = net.last();
    conv_norm(net, names, shape, last);
    net.then("", act)
}

/// [`conv_norm_act`] under the names `name.0` and `name.1`.
fn conv_norm_act_in(net: &mut Builder, name: &str, shape: Conv, act: Activation) -> usize {
    conv_norm_act(net, [&format!("{name}.0"), &format!("{name}.1")], shape, act)
}

/// A convolution in which every output sees every input channel.
const fn dense(input: usize, output: usize, window: Window) -> Conv {
    Conv { input, output, window, groups: 1, bias: false }
}

/// A `kernel` × `kernel` convolution of each channel alone, padded to keep the size at stride 1.
const fn depthwise(channels: usize, kernel: usize, stride: usize) -> Conv {
    filters(channels, centred(kernel, stride))
}

/// A window with the margin that keeps the size at stride 1.
const fn centred(kernel: usize, stride: usize) -> Window {
    Window::new(kernel, stride, kernel / 2)
}

/// A convolution of each channel alone.
const fn filters(channels: usize, window: Window) -> Conv {
    Conv { input: channels, output: channels, window, groups: channels, bias: false }
}

/// A 1 × 1 convolution.
const fn pointwise(input: usize, output: usize) -> Conv {
    dense(input, output, Window::POINT)
}

/// The strides of a stem of convolution and pool that make `stem` together; 1: no pool.
fn stem(knobs: &Knobs) -> (usize, usize) {
    match knobs.stem_stride {
        Some(1) => (1, 1),
        Some(2) => (2, 1),
        _ => (2, 2),
    }
}

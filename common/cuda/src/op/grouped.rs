//! Convolution in groups, by kernels of its own: depthwise with windows of 3 and 5, and all others.

use super::{Mode, Site};
use crate::launch::{Arg, Ptr, args, argument};
use crate::slide::{Divisor, Slide};
use crate::sums::{Cut, Parts, THREADS, chunk, columns};
use crate::values::{Engine, Statistics};
use candle_core::{Result, bail};
use graph::op::BatchNorm;
use graph::{Bounds, Geometry, Op};

/// How depthwise kernels cut lines into tiles of four, and tiles into blocks.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tiles {
    count: u32,
    chunk: u32,
    log: u32,
    by_line: Divisor,
}

/// Outputs, and inputs and outputs of a group.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Groups {
    by_o: Divisor,
    by_inputs: Divisor,
    by_outputs: Divisor,
}

argument!(Tiles, Groups);

impl Groups {
    fn new(g: &Geometry) -> Self {
        let [by_o, by_inputs, by_outputs] =
            [g.output, g.input / g.groups, g.output / g.groups].map(Divisor::new);
        Self { by_o, by_inputs, by_outputs }
    }
}

/// A depthwise convolution as its kernels take it, over lines of positions or of pixels.
struct Depthwise {
    tiles: Tiles,
    /// Blocks over channels, and over tiles.
    grid: [usize; 2],
    /// Tiles, those of a block, and values of a line.
    sizes: [usize; 3],
}

impl Depthwise {
    /// `lines` of `width` values of `c` channels.
    fn new([lines, width, c]: [usize; 3], s: Slide) -> Self {
        let by_line = width.div_ceil(4);
        let (count, (log, wide)) = (lines * by_line, columns(c, s.lanes()));
        let chunk = chunk(count, log, wide);
        let tiles =
            Tiles { count: count as u32, chunk: chunk as u32, log, by_line: Divisor::new(by_line) };
        Self { tiles, grid: [wide, count.div_ceil(chunk)], sizes: [count, chunk, width] }
    }

    /// A kernel for windows of 3 or 5, of blocks over channels and tiles, `deep` times.
    fn launch(
        &self,
        engine: &Engine,
        name: &'static str,
        deep: usize,
        s: Slide,
        args: &[Arg],
    ) -> Result<()> {
        let all = [&[s.into(), self.tiles.into()], args].concat();
        let [wide, high] = self.grid;
        engine.kernels.grid(name, [wide, high, deep].map(|n| n as u32), THREADS as u32, &all)
    }
}

/// Whether there are kernels for it that take it in tiles.
fn is_tiled(g: &Geometry) -> bool {
    let (k, stride) = (g.window.kernel, g.window.stride);
    g.is_depthwise() && matches!((k, stride), (3 | 5, 1 | 2))
}

/// `y = clamp(x ∗ weight + bias)`, with the sums for a batch norm that alone reads it, if that goes by its batch.
///
/// # Errors
/// A device that fails.
pub(super) fn forward(
    engine: &mut Engine,
    site: &Site,
    g: &Geometry,
    bias: Ptr,
    mode: Mode,
) -> Result<()> {
    let (&Site { x, y, n, .. }, weight) = (site, site.parameter(0));
    let Bounds { lo, hi } = site.fused.bounds;
    if !is_tiled(g) {
        let s = Slide::new(g, &[]).narrow();
        let all = args![s, Groups::new(g), x, weight, bias, lo, hi, y];
        return engine.kernels.spread("grouped_forward", n, all);
    }
    let s = Slide::new(g, &[x, y]);
    let (width, c) = (g.out_width(), g.output);
    let cut = Depthwise::new([g.batch * g.out_height(), width, c], s);
    let reads =
        |i: &usize| matches!(site.schedule.operations[*i].op, Op::BatchNorm(BatchNorm { .. }));
    let is_wanted =
        matches!(mode, Mode::Training { .. }) && site.reader().is_some_and(|i| reads(&i));
    let [_, parts] = cut.grid;
    let partials = is_wanted.then(|| engine.memory.take(parts * 3 * c)).transpose()?;
    let to = partials.as_ref().map_or(Ptr::NULL, |b| b.at);
    let turned = 0usize;
    let all = args![turned, x, weight, bias, lo, hi, y, to];
    if g.window.kernel == 3 {
        cut.launch(engine, "depthwise3_forward", 1, s, all)?;
    } else {
        cut.launch(engine, "depthwise5_forward", 1, s, all)?;
    }
    let [tiles, chunk, width] = cut.sizes;
    let of = Arg::from(Parts::new(tiles, chunk, width));
    let sums = partials.map(|partials| Statistics { partials, parts, of });
    if let Some(old) = std::mem::replace(&mut engine.values[site.i].sums, sums) {
        engine.memory.give(old.partials); // of a pass that failed
    }
    Ok(())
}

/// Most numbers of a filter, which a grid has layers for: CUDA's limit of its third side.
const DEEPEST: usize = 65_535;

/// The gradients of the weights, to `dw`, and of x, to `dx`, of that of the result.
///
/// # Errors
/// A device that fails.
pub(super) fn backward(
    engine: &mut Engine,
    g: &Geometry,
    [x, grad, weight, dw]: [Ptr; 4],
    dx: Option<Ptr>,
) -> Result<()> {
    if is_tiled(g) {
        depthwise_weight(engine, g, [x, grad, dw])?;
        return dx.map_or(Ok(()), |dx| depthwise_input(engine, g, [grad, weight, dx]));
    }
    let (s, groups) = (Slide::new(g, &[]).narrow(), Groups::new(g));
    if g.patch() > DEEPEST {
        bail!(
            "a filter of a grouped convolution of {} numbers: on CUDA at most {DEEPEST}",
            g.patch()
        )
    }
    let rows = [g.rows(), g.output];
    let (log, wide) = columns(g.output, 1);
    let cut = Cut::every(chunk(g.rows(), log, wide), rows, 1);
    let ([_, parts], each) = (cut.grid(), g.patch());
    let n = g.output * each;
    let partials = engine.memory.take(parts * n)?;
    engine.columns("grouped_weight", cut, each, args![s, groups, x, grad, partials.at])?;
    engine.sum(n, parts, n, partials.at, dw)?;
    engine.memory.give(partials);
    let Some(dx) = dx else { return Ok(()) };
    engine.kernels.spread("grouped_input", g.batch * g.floats(), args![s, groups, grad, weight, dx])
}

fn depthwise_weight(engine: &mut Engine, g: &Geometry, [x, grad, dw]: [Ptr; 3]) -> Result<()> {
    let (s, c) = (Slide::new(g, &[x, grad]), g.output);
    let cut = Depthwise::new([g.batch * g.out_height(), g.out_width(), c], s);
    let ([_, parts], n) = (cut.grid, c * g.window.taps());
    let partials = engine.memory.take(parts * n)?;
    let all = args![x, grad, partials.at];
    if g.window.kernel == 3 {
        cut.launch(engine, "depthwise3_weight", 1, s, all)?;
    } else {
        cut.launch(engine, "depthwise5_weight", g.window.kernel, s, all)?;
    }
    engine.sum(n, parts, n, partials.at, dw)?;
    engine.memory.give(partials);
    Ok(())
}

fn depthwise_input(engine: &Engine, g: &Geometry, [grad, weight, dx]: [Ptr; 3]) -> Result<()> {
    let s = Slide::new(g, &[grad, dx]);
    let cut = Depthwise::new([g.batch * g.height, g.width, g.input], s);
    if g.window.stride == 1 {
        // The same convolution with mirrored taps, of nothing but gradients.
        let (turned, Bounds { lo, hi }) = (1usize, Bounds::NONE);
        let all = args![turned, grad, weight, Ptr::NULL, lo, hi, dx, Ptr::NULL];
        return if g.window.kernel == 3 {
            cut.launch(engine, "depthwise3_forward", 1, s.back(), all)
        } else {
            cut.launch(engine, "depthwise5_forward", 1, s.back(), all)
        };
    }
    let all = args![grad, weight, dx];
    if g.window.kernel == 3 {
        cut.launch(engine, "depthwise3_input", 1, s, all)
    } else {
        cut.launch(engine, "depthwise5_input", 1, s, all)
    }
}

//! Nodes → steps.

use super::{LINEAR, Misfit, Node, Op, Step};
use crate::conv::Window;

/// Weights up to this many floats go through the fused pointwise convolution; of larger ones the
/// products dominate, and partial weight gradients would cost more than they save.
const FUSED_WEIGHT: usize = 512 * 1024;

fn misfit<T>(text: String) -> Result<T, Misfit> {
    Err(Misfit(text))
}

/// Nodes that read each node.
fn readers(nodes: &[Node]) -> Vec<Vec<usize>> {
    let mut readers = vec![Vec::new(); nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        node.inputs.iter().for_each(|j| readers[*j].push(i));
    }
    readers
}

fn shape(node: &Node, inputs: &[[usize; 3]], parameters: &[usize]) -> Result<[usize; 3], Misfit> {
    let Some(&[h, w, c]) = inputs.first() else { return misfit("a node without input".into()) };
    let length = |i: usize| node.parameters.get(i).and_then(|p| parameters.get(*p)).copied();
    match node.op {
        Op::Input => misfit("a second input".into()),
        Op::Conv(win, out) => {
            let Window { kernel, stride, padding, groups } = win;
            let fits = kernel > 0
                && stride > 0
                && groups > 0
                && c % groups == 0
                && out % groups == 0
                && h + 2 * padding >= kernel
                && w + 2 * padding >= kernel
                && length(0) == Some(out * (c / groups.max(1)) * kernel * kernel)
                && length(1).is_none_or(|n| n == out);
            if !fits {
                return misfit(format!("{win:?} to {out} channels on {h} × {w} × {c}"));
            }
            let side = |n: usize| (n + 2 * padding - kernel) / stride + 1;
            Ok([side(h), side(w), out])
        }
        Op::Norm if (0..2).any(|i| length(i) != Some(c)) => {
            misfit(format!("a batch norm of other than {c} channels"))
        }
        Op::MaxPool(win) => {
            let fits = (1..=15).contains(&win.kernel)
                && win.stride > 0
                && win.padding < win.kernel
                && h + 2 * win.padding >= win.kernel
                && w + 2 * win.padding >= win.kernel;
            if !fits {
                return misfit(format!("{win:?} on {h} × {w}"));
            }
            Ok([win.output(h), win.output(w), c])
        }
        Op::GlobalAvgPool => Ok([1, 1, c]),
        Op::Add if inputs.get(1) != Some(&[h, w, c]) => misfit("a sum of two shapes".into()),
        Op::Norm | Op::Clamp(..) | Op::Add => Ok([h, w, c]),
    }
}

/// Whether a step is a pointwise convolution that is fused with its surroundings.
pub(super) fn is_pointwise(op: Op, input: usize) -> bool {
    matches!(op, Op::Conv(Window { kernel: 1, stride: 1, padding: 0, groups: 1 }, out)
        if input * out <= FUSED_WEIGHT)
}

/// Fused steps for pictures of `size`.
pub(super) fn fuse(
    nodes: &[Node],
    parameters: &[usize],
    size: [usize; 3],
) -> Result<Vec<Step>, Misfit> {
    let readers = readers(nodes);
    let mut steps: Vec<Step> = Vec::new();
    // The step that gives each node's result.
    let mut place = vec![0; nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        if i > 0 && node.inputs.iter().any(|j| *j >= i) {
            return misfit(format!("node {i} reads a later one"));
        }
        let inputs: Vec<usize> = node.inputs.iter().map(|j| place[*j]).collect();
        let shapes: Vec<[usize; 3]> = inputs.iter().map(|s| steps[*s].shape).collect();
        let shape = if i == 0 { size } else { shape(node, &shapes, parameters)? };
        let alone = inputs.first().is_some_and(|_| readers[node.inputs[0]] == [i]);
        if let (Some(&before), true) = (inputs.first(), alone) {
            let channels = steps[before].inputs.first().map_or(0, |s| steps[*s].shape[2]);
            let step = &mut steps[before];
            let is_new = step.bounds == LINEAR && step.pool.is_none();
            match node.op {
                Op::Clamp(lo, hi) if is_new && can_clamp(step.op) => {
                    step.bounds = (lo, hi);
                    place[i] = before;
                    continue;
                }
                Op::MaxPool(w) if is_new && w.tiles() && is_pointwise(step.op, channels) => {
                    (step.pool, step.shape) = (Some(w), shape);
                    place[i] = before;
                    continue;
                }
                _ => {}
            }
        }
        place[i] = steps.len();
        steps.push(Step {
            op: node.op,
            inputs,
            parameters: node.parameters.clone(),
            bounds: LINEAR,
            pool: None,
            lazy: false,
            shape,
            last_reader: usize::MAX,
        });
    }
    mark_lazy(&mut steps);
    mark_last_readers(&mut steps);
    Ok(steps)
}

fn can_clamp(op: Op) -> bool {
    matches!(op, Op::Conv(..) | Op::Norm | Op::Add)
}

/// Batch norms whose every reader normalizes for itself.
fn mark_lazy(steps: &mut [Step]) {
    for i in 0..steps.len().saturating_sub(1) {
        let c = steps[i].shape[2];
        let mut readers = steps.iter().filter(|s| s.inputs.contains(&i));
        let lazy = steps[i].op == Op::Norm
            && readers.all(|r| matches!(r.op, Op::MaxPool(_)) || is_pointwise(r.op, c));
        steps[i].lazy = lazy;
    }
}

/// A lazy step's input is read when its own readers run.
fn mark_last_readers(steps: &mut [Step]) {
    for i in 0..steps.len() {
        let last = |i: usize| steps.iter().rposition(|s| s.inputs.contains(&i));
        let mut reader = last(i);
        if let Some(r) = reader
            && steps[r].lazy
        {
            reader = last(r).max(reader);
        }
        steps[i].last_reader = reader.unwrap_or(usize::MAX);
    }
}

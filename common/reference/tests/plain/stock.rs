//! A third party: networks in candle's own operations alone, so that a kernel that is wrong on both
//! sides of a comparison is seen. In f64 it is the truth, in f32 it shows what rounding costs.
//!
//! Of these operations only those are used whose gradients are right in candle-core 0.11.1: convolution
//! of square pictures, products, sums, `relu`, `minimum`, `cat`, `narrow`, `index_select`. Max pools are
//! the maximum of the shifted pictures that `index_select` gives, as candle's own pool has a wrong
//! gradient. Pictures are NCHW.

use candle_core::{DType, Device, Result, Tensor, Var};
use graph::op::{Activation, Blur, Conv};
use graph::{Graph, Margin, Op, Weights, Window};
use std::collections::BTreeMap;

/// Gradients by name.
pub(crate) type Gradients = BTreeMap<String, Vec<f64>>;

/// Logits `[b, classes]`, and gradients of Σ logits · `r` by name; with the statistics of the batch.
pub(crate) fn pass(
    graph: &Graph,
    weights: &Weights,
    x: &[f32],
    size: usize,
    r: &[f32],
    dtype: DType,
) -> Result<(Vec<f64>, Gradients)> {
    let cpu = &Device::Cpu;
    let mut vars = BTreeMap::new();
    for (name, a) in weights {
        let t = Tensor::from_slice(&a.values, a.shape.as_slice(), cpu)?.to_dtype(dtype)?;
        vars.insert(name.clone(), Var::from_tensor(&t)?);
    }
    let b = x.len() / (3 * size * size);
    let x = Tensor::from_slice(x, (b, size, size, 3), cpu)?.permute((0, 3, 1, 2))?;
    let x = x.to_dtype(dtype)?;
    let mut values: Vec<Tensor> = Vec::new();
    for node in graph.nodes() {
        let get = |end: &str| vars[&format!("{}.{end}", node.name)].as_tensor();
        let inputs: Vec<&Tensor> = node.inputs.iter().map(|j| &values[*j]).collect();
        let value = match node.op {
            Op::Input(_) => x.contiguous()?,
            Op::Conv(_) | Op::Linear(_) => {
                let conv = node.op.as_conv().unwrap();
                let bias = conv.bias.then(|| get("bias"));
                convolution(inputs[0], get("weight"), bias, &conv)?
            }
            Op::BatchNorm(norm) => {
                let x = inputs[0];
                let mean = x.mean_keepdim((0, 2, 3))?;
                let centered = x.broadcast_sub(&mean)?;
                let variance = centered.sqr()?.mean_keepdim((0, 2, 3))?;
                let y = centered.broadcast_div(&(variance + f64::from(norm.epsilon))?.sqrt()?)?;
                y.broadcast_mul(&line(get("weight"))?)?.broadcast_add(&line(get("bias"))?)?
            }
            Op::ScaleShift(_) => {
                let y = inputs[0].broadcast_mul(&line(get("weight"))?)?;
                y.broadcast_add(&line(get("bias"))?)?
            }
            Op::Activation(f) => activation(inputs[0], f)?,
            Op::MaxPool(p) => taps(inputs[0], p.0, f64::NEG_INFINITY)?
                .into_iter()
                .reduce(|a, b| a.maximum(&b).unwrap())
                .unwrap(),
            Op::AvgPool(p) => average(inputs[0], p.0)?,
            Op::GlobalAvgPool(_) => inputs[0].mean_keepdim((2, 3))?,
            Op::Blur(blur) => filtered(&filtered(inputs[0], blur, 2)?, blur, 3)?,
            Op::Add(_) => (inputs[0] + inputs[1])?,
            Op::Mul(_) => inputs[0].broadcast_mul(inputs[1])?,
            Op::Concat(_) => Tensor::cat(&inputs, 1)?,
            Op::Split(s) => inputs[0].narrow(1, s.start, s.end - s.start)?,
            Op::Shuffle(s) => {
                let n = inputs[0].dim(1)?;
                let order: Vec<u32> = (0..n).map(|c| s.source(c, n) as u32).collect();
                inputs[0].contiguous()?.index_select(&Tensor::new(order, cpu)?, 1)?
            }
        };
        values.push(value);
    }
    let y = values.pop().unwrap().flatten_from(1)?;
    let r = Tensor::from_slice(r, y.shape(), cpu)?.to_dtype(dtype)?;
    let store = (&y * r)?.sum_all()?.backward()?;
    let mut gradients = BTreeMap::new();
    for (name, v) in &vars {
        if let Some(g) = store.get(v) {
            gradients.insert(name.clone(), g.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?);
        }
    }
    Ok((y.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?, gradients))
}

fn activation(x: &Tensor, f: Activation) -> Result<Tensor> {
    let hardsigmoid = || (x + 3.0)?.relu()?.minimum(6.0)? / 6.0;
    let sigmoid = || (x.neg()?.exp()? + 1.0)?.recip();
    match f {
        Activation::Relu => x.relu(),
        Activation::Relu6 => x.relu()?.minimum(6.0),
        Activation::Hardswish => x * hardsigmoid()?,
        Activation::Silu => x * sigmoid()?,
        Activation::Sigmoid => sigmoid(),
        Activation::Hardsigmoid => hardsigmoid(),
    }
}

/// `[c]` → `[1, c, 1, 1]`.
fn line(v: &Tensor) -> Result<Tensor> {
    v.reshape((1, (), 1, 1))
}

/// Pixels of margin before and behind a side of `n`, by the definitions of PyTorch and TensorFlow.
fn margins(window: Window, n: usize) -> [usize; 2] {
    match window.margin {
        Margin::Each(padding) | Margin::Ceil(padding) => [padding; 2],
        Margin::Same => {
            let positions = n.div_ceil(window.stride);
            let all = ((positions - 1) * window.stride + window.kernel).saturating_sub(n);
            [all / 2, all - all / 2]
        }
    }
}

fn convolution(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, conv: &Conv) -> Result<Tensor> {
    let Conv { output, input, window, groups, .. } = *conv;
    let w = w.reshape((output, input / groups, window.kernel, window.kernel))?;
    let (_, _, height, width) = x.dims4()?;
    let ([above, below], [left, right]) = (margins(window, height), margins(window, width));
    let x = x.pad_with_zeros(2, above, below)?.pad_with_zeros(3, left, right)?;
    let y = x.contiguous()?.conv2d(&w, 0, window.stride, 1, groups)?;
    match bias {
        Some(b) => y.broadcast_add(&line(b)?),
        None => Ok(y),
    }
}

/// For every tap of the window the picture it sees, `[b, c, oh, ow]`; `outside` where it sees none.
fn taps(x: &Tensor, win: Window, outside: f64) -> Result<Vec<Tensor>> {
    let (b, c, h, w) = x.dims4()?;
    let cpu = &Device::Cpu;
    // A row and a column behind the picture stand for everything outside.
    let row = Tensor::full(outside, (b, c, 1, w), cpu)?.to_dtype(x.dtype())?;
    let column = Tensor::full(outside, (b, c, h + 1, 1), cpu)?.to_dtype(x.dtype())?;
    let framed = Tensor::cat(&[&Tensor::cat(&[x, &row], 2)?, &column], 3)?.contiguous()?;
    let places = |n: usize, k: usize| {
        let place = |o: usize| match (o * win.stride + k).checked_sub(margins(win, n)[0]) {
            Some(i) if i < n => i as u32,
            _ => n as u32,
        };
        Tensor::new((0..win.output(n)).map(place).collect::<Vec<u32>>(), cpu)
    };
    let mut all = Vec::new();
    for (ky, kx) in (0..win.kernel).flat_map(|y| (0..win.kernel).map(move |x| (y, x))) {
        let rows = framed.index_select(&places(h, ky)?, 2)?.contiguous()?;
        all.push(rows.index_select(&places(w, kx)?, 3)?);
    }
    Ok(all)
}

/// Along dimension `dim`, as a product with a matrix `[n, positions]`; beyond the border the picture is mirrored.
fn filtered(x: &Tensor, blur: Blur, dim: usize) -> Result<Tensor> {
    let (n, taps) = (x.dim(dim)?, blur.taps.values());
    let positions = n.div_ceil(blur.stride);
    let sum: f64 = taps.iter().map(|t| f64::from(*t)).sum();
    let mut matrix = vec![0.0; n * positions];
    for (at, (k, tap)) in
        (0..positions).flat_map(|at| taps.iter().enumerate().map(move |t| (at, t)))
    {
        let i = (at * blur.stride + k) as i64 - ((taps.len() - 1) / 2) as i64;
        let last = n as i64 - 1;
        let i = last - (last - i.abs()).abs();
        matrix[i as usize * positions + at] += f64::from(*tap) / sum;
    }
    let matrix = Tensor::from_vec(matrix, (n, positions), &Device::Cpu)?.to_dtype(x.dtype())?;
    let x = x.transpose(dim, 3)?.contiguous()?;
    x.broadcast_matmul(&matrix)?.transpose(dim, 3)?.contiguous()
}

fn average(x: &Tensor, win: Window) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    let sum = taps(x, win, 0.0)?.into_iter().reduce(|a, b| (a + b).unwrap()).unwrap();
    // How many taps lie in the padded picture.
    let counts = |n: usize| -> Vec<f64> {
        let end = |o: usize| (o * win.stride + win.kernel).min(n + 2 * margins(win, n)[0]);
        (0..win.output(n)).map(|o| (end(o) - o * win.stride) as f64).collect()
    };
    let (rows, columns) = (counts(h), counts(w));
    let n: Vec<f64> = rows.iter().flat_map(|r| columns.iter().map(move |c| r * c)).collect();
    let n = Tensor::from_vec(n, (1, 1, rows.len(), columns.len()), &Device::Cpu)?;
    let n = n.to_dtype(x.dtype())?;
    sum.broadcast_div(&n)
}

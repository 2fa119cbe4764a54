//! An update over all variables, and the rounding of those on grids, in a few launches each.

use crate::launch::{Arg, Kernels, Ptr, args};
use crate::memory::{Buffer, Memory};
use crate::transfer::table;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr};
use candle_core::{CudaDevice, Result, bail};
use executor::update::{ADAM_FLOOR, BETA1, BETA2, SGD_MOMENTUM};
use executor::{Parametrisation, Part, Rule, Update};
use graph::grid::top;

/// What is done to each variable.
pub(super) struct Kinds {
    /// Bits: 1 it is updated, 2 it decays, 4 it is a γ, 8 it is the head's.
    kinds: CudaSlice<u8>,
    of: Sort,
}

/// What [`Parametrisation::updates`] goes by: integers settled, head and body alike, the body at rest.
type Sort = [bool; 3];

fn sort(update: &Update) -> Sort {
    [update.settled, update.is_even(), update.rests()]
}

/// Partial sums of squares, a block each; as many for every network, so that shapes alone decide.
const PARTS: usize = 512;

impl Kinds {
    pub(super) fn new(p: &Parametrisation, update: &Update, device: &CudaDevice) -> Result<Self> {
        let mut kinds = vec![0u8; p.len()];
        for Part { range, decays, is_head } in p.updates(update) {
            kinds[range].fill(1 + 2 * u8::from(decays) + 8 * u8::from(is_head));
        }
        p.layout().gammas().for_each(|r| kinds[r].iter_mut().for_each(|k| *k |= 4));
        Ok(Self { kinds: table(device, &kinds)?, of: sort(update) })
    }

    /// Whether they hold for `update`.
    pub(super) fn holds(&self, update: &Update) -> bool {
        self.of == sort(update)
    }
}

/// What an update works on, all of one layout.
pub(super) struct Buffers<'a> {
    pub(super) variables: &'a Buffer,
    pub(super) gradient: &'a Buffer,
    pub(super) momenta: &'a (Buffer, Option<Buffer>),
    pub(super) kinds: &'a Kinds,
    /// What follows the variables, and by which share of the way.
    pub(super) average: Option<(Ptr, f32)>,
    pub(super) n: usize,
}

fn address<T>(slice: &CudaSlice<T>, device: &CudaDevice) -> Ptr {
    Ptr(slice.device_ptr(&device.cuda_stream()).0)
}

/// Step number `step`, from 1.
///
/// # Errors
/// A device that fails.
pub(super) fn step(
    update: &Update,
    buffers: &Buffers,
    step: i32,
    kernels: &Kernels,
    memory: &mut Memory,
) -> Result<()> {
    let Buffers { variables, gradient, momenta: (first, second), kinds, average, n } = buffers;
    let n = *n;
    let (average, share) = average.unwrap_or((Ptr::NULL, 0.0));
    let kinds = address(&kinds.kinds, &kernels.device);
    let (p, g) = (variables.at, gradient.at);
    if update.slim > 0.0 {
        kernels.spread("slim", n, args![kinds, p, update.slim, g])?;
    }
    let mut scratch = None;
    let mut scale = Ptr::NULL;
    if update.clip > 0.0 {
        // Doubles, so two floats each; then the factor.
        let buffer = memory.take(2 * PARTS + 1)?;
        scale = buffer.at.at(2 * PARTS);
        let all = args![n, kinds, g, buffer.at];
        kernels.grid("square_partials", [PARTS as u32, 1, 1], 256, all)?;
        let all = args![PARTS, buffer.at, update.clip, scale];
        kernels.grid("clip_scale", [1, 1, 1], 256, all)?;
        scratch = Some(buffer);
    }
    let (lr, body_lr, decay) = (update.lr_of(true), update.lr_of(false), update.weight_decay);
    match update.rule {
        Rule::Sgd => {
            let mut all = args![kinds, g, scale, lr, body_lr, SGD_MOMENTUM, decay, p].to_vec();
            all.extend_from_slice(args![first.at, share, average]);
            kernels.spread("sgd", n, &all)?;
        }
        Rule::AdamW => {
            let Some(second) = second else {
                bail!("AdamW goes on from a state of SGD, which has no second momenta")
            };
            let corrections = |is_head| {
                let step = update.count(step, is_head);
                [1.0 - BETA1.powi(step), (1.0 - BETA2.powi(step)).sqrt()]
            };
            let mut all = args![kinds, g, scale, lr, body_lr, BETA1, BETA2, ADAM_FLOOR].to_vec();
            all.push(decay.into());
            all.extend([true, false].into_iter().flat_map(corrections).map(Arg::from));
            all.extend_from_slice(args![p, first.at, second.at, share, average]);
            kernels.spread("adamw", n, &all)?;
        }
    }
    scratch.into_iter().for_each(|b| memory.give(b));
    Ok(())
}

/// Rows of all tensors on grids.
pub(super) struct Rows {
    count: usize,
    /// Where the logarithms of the scales begin among the variables.
    logs: u64,
    starts: CudaSlice<u64>,
    lengths: CudaSlice<u32>,
    tops: CudaSlice<f32>,
}

impl Rows {
    /// None where nothing is on a grid.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn new(p: &Parametrisation, device: &CudaDevice) -> Result<Option<Self>> {
        if p.is_identity() {
            return Ok(None);
        }
        let (mut starts, mut lengths, mut tops) = (Vec::new(), Vec::new(), Vec::new());
        for (slot, bits, logs) in p.on_grids() {
            let slot = &p.layout().slots()[slot];
            let length = slot.range.len() / logs.len().max(1);
            for row in 0..logs.len() {
                starts.push((slot.range.start + row * length) as u64);
                lengths.push(length as u32);
                tops.push(f32::from(top(bits)));
            }
        }
        Ok(Some(Self {
            count: starts.len(),
            logs: p.layout().len() as u64,
            starts: table(device, &starts)?,
            lengths: table(device, &lengths)?,
            tops: table(device, &tops)?,
        }))
    }

    fn tables(&self, device: &CudaDevice) -> [Arg; 4] {
        [
            self.count.into(),
            address(&self.starts, device).into(),
            address(&self.lengths, device).into(),
            address(&self.tops, device).into(),
        ]
    }

    /// Puts what the network computes with into `parameters`, which hold the variables already.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn round(&self, kernels: &Kernels, variables: Ptr, parameters: Ptr) -> Result<()> {
        let mut all = self.tables(&kernels.device).to_vec();
        all.extend([Arg::L(self.logs), variables.into(), parameters.into()]);
        kernels.grid("round_rows", [self.count as u32, 1, 1], 32, &all)
    }

    /// Turns gradients of the parameters into those of the variables.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn gradients(&self, kernels: &Kernels, variables: Ptr, gradient: Ptr) -> Result<()> {
        let mut all = self.tables(&kernels.device).to_vec();
        all.extend([Arg::L(self.logs), variables.into(), gradient.into()]);
        kernels.grid("grid_gradients", [self.count.div_ceil(64) as u32, 1, 1], 64, &all)
    }
}

//! A map times another of its shape, or of one pixel whose values are factors of whole channels: the gate of
//! squeeze-and-excitation (Hu et al. 2018, "Squeeze-and-excitation networks", equation 4).

use super::{Operation, Result, Walk, Words, ensure, meets};
use std::ops::RangeInclusive;

/// Product of two inputs; the second has the shape of the first, or one pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mul;

impl Mul {
    pub(super) fn parse(_: &str, _: &mut Words) -> Result<Self> {
        Ok(Self)
    }
}

impl Operation for Mul {
    fn inputs(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn channels(&self, channels: &[usize]) -> Result<usize> {
        meets(channels[0], channels[1])?;
        Ok(channels[0])
    }

    fn size(&self, sizes: &[[usize; 2]]) -> Result<[usize; 2]> {
        let [map, gate] = [sizes[0], sizes[1]];
        ensure!(gate == map || gate == [1, 1], "product of maps of {map:?} and {gate:?}");
        Ok(map)
    }

    fn text(&self) -> String {
        "mul".to_owned()
    }

    fn ids(&self, inputs: &[&[usize]], walk: &mut Walk) -> Vec<usize> {
        walk.pair(inputs)
    }
}

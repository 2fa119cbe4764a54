//! What each tensor costs the network at every width, for the reader of a plan.

use super::measure::{Log, Measure};
use anyhow::{Context, Result};
use artifacts::Model;
use artifacts::plan::Sensitivity;
use codec::{Choice, Integers, Rows};
use graph::Role;

/// Bits at which every tensor is measured.
pub(super) const BITS: [u8; 7] = [2, 3, 4, 5, 6, 7, 8];

/// Divergence of every weight of the network, quantized alone at every width with a scale per channel.
pub(super) fn sensitivity(
    model: &Model,
    measure: &mut Measure,
    log: &mut Log,
) -> Result<Sensitivity> {
    let mut found = Sensitivity { bits: BITS.to_vec(), nats: [].into() };
    for parameter in model.graph.parameters().filter(|p| p.role == Role::Weight) {
        let name = parameter.name;
        let array = model.weights.get(&name);
        let array = array.with_context(|| format!("tensor {name} is missing"))?;
        let mut alone = |bits| {
            log.next(|| {
                let choice = Choice { rows: Rows::Channel, bits, coarser: 0 };
                let mut weights = model.weights.clone();
                weights.insert(name.clone(), Integers::new(array, choice, 0.0)?.array()?);
                Ok(measure.of(&weights)?.0)
            })
        };
        let nats = BITS.into_iter().map(&mut alone).collect::<Result<_>>()?;
        found.nats.insert(name, nats);
    }
    Ok(found)
}

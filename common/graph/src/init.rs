//! Fresh weights.

use crate::array::Array;
use crate::network::{Graph, Weights};
use crate::op::{Op, Role};
use crate::rng::Rng;

/// He et al. 2015 (fan in) for convolutions, whose biases are zero; `U(±1/√in)` for linear layers and
/// their biases; batch norms that do nothing yet. Each tensor is a function of `seed` and its name alone.
pub fn weights(graph: &Graph, seed: u64) -> Weights {
    let mut weights = Weights::new();
    for node in graph.nodes() {
        for p in node.parameters() {
            let mut array = Array::filled(&p.shape, 0.0);
            let rng = &mut Rng::new(seed, &p.name, 0);
            match (p.role, node.op) {
                (Role::Weight | Role::Bias, Op::Linear(linear)) => {
                    let bound = 1.0 / ((linear.input * linear.side.pow(2)) as f32).sqrt();
                    array.values.fill_with(|| rng.between(-bound, bound));
                }
                (Role::Weight, _) => {
                    let fan_in: usize = p.shape[1..].iter().product();
                    let std = (2.0 / fan_in as f32).sqrt();
                    array.values.fill_with(|| std * rng.normal());
                }
                (Role::Gamma | Role::Scale | Role::Variance, _) => array.values.fill(1.0),
                (Role::Bias | Role::Beta | Role::Shift | Role::Mean, _) => {}
            }
            weights.insert(p.name, array);
        }
    }
    weights
}

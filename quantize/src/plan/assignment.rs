//! Bytes shared out among tensors: the assignment of least total divergence (Shoham & Gersho 1988,
//! "Efficient bit allocation for an arbitrary set of quantizers": each tensor minimises divergence +
//! price · bytes at a price common to all).

use anyhow::{Context, Result, ensure};
use codec::{Choice, Choices, Integers, Rows, uniform_choices};
use graph::{Array, Graph};

/// Bits at which every tensor is measured.
pub(super) const BITS: [u8; 7] = [2, 3, 4, 5, 6, 7, 8];

/// Price of a bit, in squared scales, that rounding pays for when it is best spent: a uniform grid's
/// error of 1/12 squared scale falls by 6.02 dB per bit, 2 ln 2 / 12 = 0.1155.
pub(super) const PRICE: f32 = 0.1155;

/// Scales between two widths, in sixteenths of an octave.
const QUARTERS: [i16; 4] = [0, 4, 8, 12];

/// A grid that a tensor may get.
struct Candidate {
    choice: Choice,
    bytes: f64,
    divergence: f64,
}

/// A weight and its possible grids.
pub(super) struct Layer {
    pub(super) name: String,
    /// Number of its values.
    pub(super) count: usize,
    /// Divergence when it alone is quantized, nats, at each of [`BITS`].
    pub(super) divergence: Vec<f64>,
    grids: Vec<Candidate>,
}

impl Layer {
    /// With all grids there are: bytes by the entropy of the integers, divergence between two
    /// measured widths on a straight line of its logarithm, as it falls with the squared scale.
    pub(super) fn new(name: String, array: &Array, divergence: Vec<f64>) -> Result<Self> {
        let mut grids = Vec::new();
        for (i, &bits) in BITS.iter().enumerate() {
            for coarser in QUARTERS {
                let share = f64::from(coarser) / 16.0;
                let here = divergence[i].max(1e-9);
                let nats = match i.checked_sub(1).map(|j| divergence[j].max(1e-9)) {
                    Some(below) => here.powf(1.0 - share) * below.powf(share),
                    None if coarser == 0 => here,
                    None => here * 4f64.powf(share),
                };
                let choice = Choice { rows: Rows::Channel, bits, coarser };
                let bytes = Integers::new(array, choice, PRICE)?.entropy();
                grids.push(Candidate { choice, bytes, divergence: nats });
            }
        }
        Ok(Self { name, count: array.values.len(), divergence, grids })
    }

    /// The grid of least divergence + price · bytes.
    fn cheapest(&self, price: f64) -> Option<&Candidate> {
        let cost = |g: &&Candidate| g.divergence + price * g.bytes;
        self.grids.iter().min_by(|a, b| cost(a).total_cmp(&cost(b)))
    }

    /// The grid in `choices`.
    fn chosen(&self, choices: &Choices) -> Option<&Candidate> {
        let chosen = choices.get(&self.name);
        self.grids.iter().find(|g| Some(&g.choice) == chosen)
    }

    /// Its estimated bytes.
    pub(super) fn chosen_bytes(&self, choices: &Choices) -> f64 {
        self.chosen(choices).map_or(0.0, |g| g.bytes)
    }
}

/// Halvings of the price's interval.
const HALVINGS: u32 = 60;

/// A grid for every tensor of `graph`; weights take at most `budget` bytes by estimate, vectors the
/// usual bits.
pub(super) fn assign(graph: &Graph, layers: &[Layer], budget: f64) -> Result<Choices> {
    let at = |price: f64| -> Option<Vec<&Candidate>> {
        layers.iter().map(|l| l.cheapest(price)).collect()
    };
    let bytes = |grids: &[&Candidate]| grids.iter().map(|g| g.bytes).sum::<f64>();
    // Nats per byte; the whole range there can be.
    let (mut low, mut high) = (1e-15f64, 1e3f64);
    let mut best = at(high).context("a network without weights")?;
    ensure!(
        bytes(&best) <= budget,
        "at the coarsest grids the weights take about {:.0} bytes, {budget:.0} are left for them: \
         prune the model, or raise --budget",
        bytes(&best)
    );
    for _ in 0..HALVINGS {
        let price = (low * high).sqrt();
        let grids = at(price).context("a network without weights")?;
        if bytes(&grids) <= budget {
            (high, best) = (price, grids);
        } else {
            low = price;
        }
    }
    let mut choices = uniform_choices(graph, Rows::Channel, 8);
    let mut spare = budget - bytes(&best);
    // What the common price leaves over goes to one tensor after the other: each gets the best grid
    // that the rest pays for.
    for (layer, grid) in layers.iter().zip(best) {
        let affordable = layer.grids.iter().filter(|g| g.bytes - grid.bytes <= spare);
        let finest = affordable.min_by(|a, b| a.divergence.total_cmp(&b.divergence));
        let better = finest.filter(|g| g.divergence < grid.divergence).unwrap_or(grid);
        spare -= better.bytes - grid.bytes;
        choices.insert(layer.name.clone(), better.choice);
    }
    Ok(choices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph::rng::Rng;

    /// Two weights of 20,000 Gaussian values; the divergence of the first is a hundred times that of
    /// the second at every width. By the theory of bit allocation it gets ½ log2(100) = 3.3 bits more.
    #[test]
    fn sensitive_weights_get_more_bits() -> Result<()> {
        let graph: Graph = "input 3;a:conv 3>4 k1;b:conv 4>4 k1;gap;f:linear 4>2".parse()?;
        let values = |name: &str| {
            let rng = &mut Rng::new(1, name, 0);
            Array::new(vec![1, 20_000], (0..20_000).map(|_| rng.normal()).collect())
        };
        let falling = |top: f64| -> Vec<f64> { (0..7).map(|i| top / 4f64.powi(i)).collect() };
        let layers = [("a.weight", 1.0), ("b.weight", 0.01)]
            .map(|(n, top)| Layer::new(n.to_owned(), &values(n)?, falling(top)));
        let [a, b] = layers;
        let layers = [a?, b?];
        let mut last = f64::INFINITY;
        for budget in [12_000.0, 16_000.0, 20_000.0, 24_000.0] {
            let choices = assign(&graph, &layers, budget)?;
            let bytes: f64 = layers.iter().map(|l| l.chosen_bytes(&choices)).sum();
            assert!(bytes <= budget && bytes > 0.93 * budget, "{bytes} of {budget}");
            let bits = |n: &str| f32::from(choices[n].bits) - f32::from(choices[n].coarser) / 16.0;
            let more = bits("a.weight") - bits("b.weight");
            assert!((more - 3.3).abs() < 0.6, "{more} bits more at {budget} bytes");
            let divergence =
                layers.iter().map(|l| l.chosen(&choices).map_or(0.0, |g| g.divergence));
            let divergence = divergence.sum();
            assert!(divergence < last, "{divergence} at {budget} bytes, {last} with fewer");
            last = divergence;
        }
        assert!(assign(&graph, &layers, 500.0).is_err());
        Ok(())
    }
}

//! Networks made at random.

use graph::families::Knobs;
use graph::grid::{Grid, Grids, Scale};
use graph::op::Activation;
use graph::rng::Rng;
use graph::{Graph, Role, Weights, Window};
use std::fmt::Write;

/// Puts a random network together.
struct Sketch<'a> {
    rng: &'a mut Rng,
    text: String,
    channels: usize,
    side: usize,
    last: usize,
}

impl Sketch<'_> {
    fn node(&mut self, what: &str) {
        write!(self.text, ";{what}").unwrap();
        self.last += 1;
    }

    /// A convolution of any kind that fits.
    fn convolution(&mut self, layer: usize) {
        let (rng, side, channels) = (&mut *self.rng, self.side, self.channels);
        let kernel = [1, 1, 2, 3, 5][rng.below(5)].min(side);
        let (stride, padding) = (1 + rng.below(2), rng.below(kernel));
        let (kernel, stride, padding) = if rng.chance(0.4) {
            (3.min(side), 1, 3.min(side) / 2)
        } else {
            (kernel, stride, padding)
        };
        let groups = [1, 1, channels, 2][rng.below(4)];
        let groups = if channels % groups == 0 { groups } else { 1 };
        let out = if rng.chance(0.5) && groups == channels {
            channels
        } else {
            groups * (1 + rng.below(20 / groups + 1))
        };
        let bias = if rng.chance(0.5) { " bias" } else { "" };
        let same = rng.chance(0.3);
        let margin = if same { "same".to_owned() } else { format!("p{padding}") };
        let words = format!("k{kernel} s{stride} {margin} g{groups}{bias}");
        self.node(&format!("c{layer}:conv {channels}>{out} {words}"));
        self.channels = out;
        let padded = (side + 2 * padding - kernel) / stride + 1;
        self.side = if same { side.div_ceil(stride) } else { padded };
    }

    fn pool(&mut self) {
        const POOLS: [(&str, Window); 8] = [
            ("max", Window::new(2, 2, 0)),
            ("max", Window::new(3, 2, 1)),
            ("max", Window::new(3, 3, 0)),
            ("max", Window::new(2, 1, 0)),
            ("max", Window::ceil(3, 2, 0)),
            ("max", Window::same(3, 2)),
            ("avg", Window::new(2, 2, 0)),
            ("avg", Window::ceil(3, 2, 1)),
        ];
        if self.rng.chance(0.2) {
            let (taps, stride) =
                (["1,1", "1,2,1", "1,3,3,1"][self.rng.below(3)], 1 + self.rng.below(2));
            self.node(&format!("blur {taps} s{stride}"));
            self.side = (self.side - 1) / stride + 1;
            return;
        }
        let (verb, window) = POOLS[self.rng.below(POOLS.len())];
        self.node(&format!("{verb}{window}"));
        self.side = window.output(self.side);
    }

    /// What joins and parts channels, reading `start`, a node of `before` channels and this side.
    fn join(&mut self, start: usize, before: usize) {
        let here = self.last;
        match self.rng.below(6) {
            0 if before == self.channels => self.node(&format!("add @{here},{start}")),
            1 if before == self.channels => self.node(&format!("mul @{here},{start}")),
            2 => {
                self.node("gap");
                self.node("sigmoid");
                self.node(&format!("mul @{here},{}", self.last));
            }
            3 => {
                self.node(&format!("concat @{start},{here}"));
                self.channels += before;
            }
            4 if self.channels > 1 => {
                let cut = 1 + self.rng.below(self.channels - 1);
                self.node(&format!("split 0..{cut}"));
                self.node(&format!("split {cut}..{} @{here}", self.channels));
                self.node(&format!("concat @{},{}", here + 2, here + 1));
            }
            _ if self.channels.is_multiple_of(2) => self.node("shuffle g2"),
            _ => {}
        }
    }
}

/// A random network for pictures of `size`: convolutions of every kind in every order with batch norms,
/// scales, activations, pools, blurs, sums, products, concatenations, splits and shuffles between them.
pub(crate) fn random_graph(rng: &mut Rng, size: usize) -> Graph {
    let text = String::from("input 3");
    let mut s = Sketch { rng, text, channels: 3, side: size, last: 0 };
    for layer in 0..3 + s.rng.below(5) {
        let (start, before, before_side) = (s.last, s.channels, s.side);
        s.convolution(layer);
        if s.rng.chance(0.7) {
            let c = s.channels;
            let epsilon = ["", " eps1e-3", " eps0.1"][layer % 3];
            let norm =
                if s.rng.chance(0.85) { format!("bn {c}{epsilon}") } else { format!("scale {c}") };
            s.node(&format!("n{layer}:{norm}"));
        }
        if s.rng.chance(0.5) && s.side == before_side && start > 0 {
            s.join(start, before);
        }
        if s.rng.chance(0.8) {
            let activation = Activation::ALL[s.rng.below(Activation::ALL.len())].name();
            s.node(activation);
        }
        if s.rng.chance(0.4) && s.side > 3 {
            s.pool();
        }
    }
    let (c, side) = (s.channels, s.side);
    if s.rng.chance(0.3) && side > 1 && side < 6 {
        s.node(&format!("f:linear {c}>4 k{side} bias"));
    } else if s.rng.chance(0.8) {
        s.node("gap");
        s.node(&format!("f:linear {c}>4 bias"));
    } else {
        s.node(&format!("f:conv {c}>4 k1 bias"));
        s.node("relu");
        s.node("gap");
    }
    s.text.parse().unwrap_or_else(|e| panic!("{}: {e}", s.text))
}

/// A ResNet-18 of four classes.
pub(crate) fn resnet(width: f32) -> Graph {
    let knobs = Knobs { width, ..Knobs::standard(4) };
    graph::families::find("resnet18").unwrap().build(&knobs).unwrap()
}

pub(crate) fn random_weights(graph: &Graph, seed: u64) -> Weights {
    let mut weights = graph::init::weights(graph, seed);
    for p in graph.parameters() {
        let rng = &mut Rng::new(seed, &p.name, 0);
        let Some(a) = weights.get_mut(&p.name) else { continue };
        match p.role {
            Role::Weight => {}
            Role::Variance => a.values.fill_with(|| rng.between(0.5, 2.0)),
            _ => a.values.fill_with(|| rng.between(-1.0, 1.0)),
        }
    }
    weights
}

/// A folded network with every trained tensor on a grid, channel by channel or whole.
pub(crate) fn on_grids(seed: u64) -> (Graph, Weights, Grids) {
    let text = "input 3;c0:conv 3>9 k3 p1;n0:bn 9;relu6;c1:conv 9>9 k3 p1 g9;n1:bn 9;relu;\
                c2:conv 9>14 k1;max k2 s2;concat @7,8;n2:bn 23;relu;gap;f:linear 23>4 bias";
    let text = text.replace("concat @7,8", "c3:conv 14>9 k1 bias;concat @8,9");
    let graph: Graph = text.parse().unwrap();
    let (graph, weights) = graph.fold(random_weights(&graph, seed)).unwrap();
    let grid = |p: graph::Parameter| {
        let weight = p.role == Role::Weight;
        let rows = if weight { p.shape[0] } else { 1 };
        let code = -40 - 3 * (seed as i16 % 5);
        let scales = (0..rows).map(|i| Scale::from_code(code + i as i16 % 7)).collect();
        (p.name, Grid { bits: if weight { 4 } else { 10 }, scales })
    };
    let grids = graph.parameters().map(grid).collect();
    (graph, weights, grids)
}

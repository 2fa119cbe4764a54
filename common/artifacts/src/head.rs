//! The last layer of a network: kept, or made anew for other classes, where training goes on from weights that
//! others learned.

use crate::classes;
use crate::images::Images;
use crate::model::Model;
use crate::pictures::{Input, Preparation};
use anyhow::{Context, Result, bail, ensure};
use graph::schedule::{Fusing, Schedule};
use graph::{Graph, Op};
use views::FixedViews;

/// What became of the last layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// It stayed: the pictures have the model's classes.
    Kept,
    /// It was drawn anew, for the pictures' classes.
    New,
}

/// `graph` with so many classes, and the name of the layer that makes their logits.
///
/// # Errors
/// A network that does not end in a linear layer or a convolution of one group.
fn with_classes(graph: &Graph, classes: usize) -> Result<(Graph, String)> {
    let mut nodes = graph.nodes().to_vec();
    let at = graph.head().context("its logits come from several layers, not from a last one")?;
    let name = nodes[at].name.clone();
    let op = &mut nodes[at].op;
    if let Op::Linear(linear) = op {
        linear.output = classes;
    } else if let Op::Conv(conv) = op
        && conv.groups == 1
    {
        conv.output = classes;
    } else {
        let text = op.about().text();
        bail!(
            "its logits come from {name} ({text}), not from a linear layer or an ungrouped convolution"
        );
    }
    let graph = Graph::new(nodes)?;
    ensure!(
        graph.classes() == classes,
        "what follows its layer {name} does not keep the classes apart"
    );
    Ok((graph, name))
}

impl Model {
    /// This model for `images`, to be trained further on them. Its last layer is kept where they have its classes,
    /// as many and by [`classes::agree`]; else it is drawn from `seed` for theirs, as [`graph::init`] draws. Pictures
    /// may have another size if the network takes it, which then is the model's and leaves it the plain view alone;
    /// normalization stays.
    ///
    /// # Errors
    /// Weights on grids; pictures without labels, prepared otherwise but in size, or of a size that the network does
    /// not take; a network whose last layer cannot be replaced.
    pub fn for_images(self, images: &Images, seed: u64) -> Result<(Self, Head)> {
        ensure!(
            self.grids.is_empty(),
            "its weights lie on grids, rounded to ship, and training would leave them: go on from the model that \
             it was made from, or tune on the grids of a plan by distill --init --quant"
        );
        let at = &images.source.name;
        let found = &images.classes;
        ensure!(!found.is_empty(), "{at}: its pictures have no labels");
        let (preparation, Preparation { size, .. }) = (images.preparation, images.preparation);
        let wanted = Preparation { size, ..self.input.preparation };
        ensure!(
            preparation == wanted,
            "{at}: its pictures were prepared with {preparation}; run prepare images with {wanted}: what is not \
             their size must be the model's"
        );
        let agree =
            found.len() == self.classes.len() && classes::agree(&self.classes, found).is_ok();
        let input = Input { preparation, ..self.input };
        // Views count pixels: of another size they would be others.
        let same_size = preparation == self.input.preparation;
        let views = if same_size { self.views } else { FixedViews::PLAIN };
        let (model, head) = if agree {
            // Names say more than numbers.
            let is_named = classes::numbers(found.len()) != *found;
            let classes = if is_named { found.clone() } else { self.classes.clone() };
            (Self { input, classes, views, ..self }, Head::Kept)
        } else {
            let (graph, name) = with_classes(&self.graph, found.len())?;
            let mut drawn = graph::init::weights(&graph, seed);
            let mut weights = self.weights;
            for (tensor, array) in &mut weights {
                if tensor.rsplit_once('.').is_some_and(|(layer, _)| layer == name) {
                    *array = drawn.remove(tensor).context("a tensor of the last layer")?;
                }
            }
            graph.check_weights(&weights)?;
            let classes = found.clone();
            (Self { graph, weights, input, classes, views, ..self }, Head::New)
        };
        Schedule::new(&model.graph, size, Fusing::NONE)
            .with_context(|| format!("{at}: its pictures do not fit the network"))?;
        Ok((model, head))
    }
}

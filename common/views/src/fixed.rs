//! The views that a model is asked with: a few that never change, whose logits are averaged.
//!
//! One list of words, `flip,shift=P,zoom=P` with whole pixels P, means one set of views, in this order: the picture
//! as it is; with `shift` what stands P pixels above, below, left and right; with `zoom` its middle without P pixels
//! at each side, enlarged to the whole; with `flip` all of these again, mirrored left-right. Ten-crop testing
//! (Krizhevsky et al. 2012, section 4.1) without crops: what a network sees has the size it was trained on.
//!
//! Every view reads rows and columns apart, so it is two lists of [`Tap`]s: few lines of code in a page, and
//! a gather or a product of matrices in other programs' files.

use crate::render::{Normalization, Tap, blend, neighbours};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The views that a model is asked with; by default the picture as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct FixedViews {
    /// Each view mirrored left-right, too.
    flip: bool,
    /// By how many pixels views are moved in each of four directions; 0 = none is.
    shift: u8,
    /// How many pixels a view leaves out at each side; 0 = there is none that does.
    zoom: u8,
}

impl FixedViews {
    /// The picture as it is.
    pub const PLAIN: Self = Self { flip: false, shift: 0, zoom: 0 };

    /// Whether the picture as it is is all there is.
    pub fn is_plain(&self) -> bool {
        *self == Self::PLAIN
    }

    /// Views of a picture.
    pub fn count(&self) -> usize {
        (1 + 4 * usize::from(self.shift > 0) + usize::from(self.zoom > 0)) << usize::from(self.flip)
    }

    /// Checks that pictures of `size` pixels are large enough for these views.
    ///
    /// # Errors
    /// Views that move or leave out more than a quarter of a side.
    pub fn check(&self, size: usize) -> Result<()> {
        let most = usize::from(self.shift.max(self.zoom));
        ensure!(4 * most <= size, "views {self}: of {size} px at most {} can be", size / 4);
        Ok(())
    }

    /// What the rows, top to bottom, and the columns, left to right, of view `k` read of a picture of `size`
    /// pixels. Beyond the border it is mirrored, as in [`render`](crate::render()).
    pub fn taps(&self, k: usize, size: usize) -> [Vec<Tap>; 2] {
        let half = self.count() >> usize::from(self.flip);
        let (mirrored, k) = (k >= half, k % half);
        // How far right and down it looks, and what it leaves out.
        let (mut down, mut right, mut out) = (0.0, 0.0, 0.0);
        let by = f32::from(self.shift);
        match (k, self.shift > 0) {
            (0, _) => {}
            (1, true) => down = -by,
            (2, true) => down = by,
            (3, true) => right = -by,
            (4, true) => right = by,
            _ => out = f32::from(self.zoom),
        }
        // Exact where nothing is left out.
        let scale = (size as f32 - 2.0 * out) / size as f32;
        let tap = |at: usize, by: f32| neighbours(out + (at as f32 + 0.5) * scale - 0.5 + by, size);
        let rows = (0..size).map(|y| tap(y, down)).collect();
        let columns = 0..size;
        let columns = columns.map(|x| tap(if mirrored { size - 1 - x } else { x }, right));
        [rows, columns.collect()]
    }

    /// View `k` of a prepared picture, planes R, G, B `[3, size, size]` → `out` `[size, size, 3]`.
    pub fn render(
        &self,
        k: usize,
        pixels: &[u8],
        size: usize,
        normalization: &Normalization,
        out: &mut [f32],
    ) {
        if k == 0 {
            return normalization.apply(pixels, out);
        }
        let [rows, columns] = self.taps(k, size);
        for (row, out) in rows.iter().zip(out.chunks_exact_mut(3 * size)) {
            for (column, out) in columns.iter().zip(out.as_chunks_mut::<3>().0) {
                *out = blend(pixels, size, *row, *column);
                normalization.scale(out);
            }
        }
    }

    /// The logits of the plain views alone, `[n, views, classes]` → `[n, classes]`.
    pub fn first(&self, logits: &[f32], classes: usize) -> Vec<f32> {
        let all = logits.chunks_exact(classes.max(1));
        all.step_by(self.count()).flatten().copied().collect()
    }

    /// The mean of the views' logits, `[n, views, classes]` → `[n, classes]`: a sum in the order of the views,
    /// divided by their number.
    pub fn mean(&self, logits: &[f32], classes: usize) -> Vec<f32> {
        let count = self.count();
        let mut out = Vec::with_capacity(logits.len() / count);
        for views in logits.chunks_exact((count * classes).max(1)) {
            let sum = |c: usize| (0..count).fold(0.0, |sum, k| sum + views[k * classes + c]);
            out.extend((0..classes).map(|c| sum(c) / count as f32));
        }
        out
    }
}

impl FromStr for FixedViews {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut views = Self::PLAIN;
        for word in text.split(',').map(str::trim).filter(|w| !w.is_empty() && *w != "none") {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let slot = match (key, value) {
                ("flip", "") => {
                    views.flip = true;
                    continue;
                }
                ("shift", _) => &mut views.shift,
                ("zoom", _) => &mut views.zoom,
                _ => bail!("unknown view {word:?}; known: none, flip, shift=P, zoom=P"),
            };
            let pixels = value.parse().ok().filter(|p| *p > 0);
            *slot = pixels.with_context(|| format!("{word:?}: expected {key}=P, whole pixels"))?;
        }
        Ok(views)
    }
}

impl fmt::Display for FixedViews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |key: &str, pixels: u8| (pixels > 0).then(|| format!("{key}={pixels}"));
        let flip = self.flip.then(|| "flip".to_owned());
        let words = [flip, word("shift", self.shift), word("zoom", self.zoom)];
        let words: Vec<String> = words.into_iter().flatten().collect();
        f.write_str(if words.is_empty() { "none" } else { "" })?;
        f.write_str(&words.join(","))
    }
}

impl From<FixedViews> for String {
    fn from(views: FixedViews) -> Self {
        views.to_string()
    }
}

impl TryFrom<String> for FixedViews {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

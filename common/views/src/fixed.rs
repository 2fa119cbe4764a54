//! The views that a model is asked with: a few that never change, whose logits are averaged.
//!
//! One list of words, `flip,shift=P,zoom=P` with whole pixels P, means one set of views, in this order: the picture
//! as it is; with `shift` what stands P pixels above, below, left and right; with `zoom` its middle without P pixels
//! at each side, enlarged to the whole; with `flip` all of these again, mirrored left-right. Ten-crop testing
//! (Krizhevsky et al. 2012, section 4.1) without crops: what a network sees has the size it was trained on.
//!
//! Every view reads rows and columns apart, so it is two lists of [`Tap`]s: few lines of code in a page, and
//! a gather or a product of matrices in other programs' files.

use crate::render::{Normalization, Tap, blend};
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The views that a model is asked with; by default the picture as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedViews {
    /// Each view mirrored left-right, too.
    #[serde(default, skip_serializing_if = "is_off")]
    pub flip: bool,
    /// By how many pixels views are moved in each of four directions; 0 = none is.
    #[serde(default, skip_serializing_if = "is_none")]
    pub shift: u8,
    /// How many pixels a view leaves out at each side; 0 = there is none that does.
    #[serde(default, skip_serializing_if = "is_none")]
    pub zoom: u8,
}

fn is_off(flip: &bool) -> bool {
    !flip
}

fn is_none(pixels: &u8) -> bool {
    *pixels == 0
}

impl FixedViews {
    /// The picture as it is.
    pub const PLAIN: Self = Self { flip: false, shift: 0, zoom: 0 };

    /// Whether the picture as it is is all there is.
    pub fn is_plain(&self) -> bool {
        self.words() == 0
    }

    /// How many of `flip`, `shift` and `zoom` there are.
    pub fn words(&self) -> usize {
        usize::from(self.flip) + usize::from(self.shift > 0) + usize::from(self.zoom > 0)
    }

    /// Views of a picture.
    pub fn count(&self) -> usize {
        (1 + 4 * usize::from(self.shift > 0) + usize::from(self.zoom > 0)) << usize::from(self.flip)
    }

    /// Whether pictures of `size` pixels are large enough: a quarter of a side is the most that a view may move or
    /// leave out.
    pub fn fit(&self, size: usize) -> bool {
        4 * usize::from(self.shift.max(self.zoom)) <= size
    }

    /// What row or column `at` of view `k` reads of a picture of `size` pixels; beyond the border it is mirrored, as
    /// in [`render`](crate::render()).
    fn tap(&self, k: usize, is_row: bool, at: usize, size: usize) -> Tap {
        let half = self.count() >> usize::from(self.flip);
        let at = if k >= half && !is_row { size - 1 - at } else { at };
        // The moved views are 1 and 2 along rows, 3 and 4 along columns.
        let (k, moved) = (k % half, 4 * usize::from(self.shift > 0));
        let (mut by, mut out) = (0, 0);
        if k > moved {
            out = self.zoom;
        } else if (k > 0) && is_row == (k <= 2) {
            by = i32::from(self.shift) * (1 - k as i32 % 2 * 2);
        }
        // Exact where nothing is left out.
        let (out, n) = (f32::from(out), size as i32);
        let place = out + (at as f32 + 0.5) * ((size as f32 - 2.0 * out) / size as f32) - 0.5;
        // A view looks beyond one border at most, and not far.
        let mirror = |i: i32| (if i < 0 { -1 - i } else { i.min(2 * n - 1 - i) }) as usize;
        let first = place as i32 + by;
        (mirror(first), mirror(first + 1), place - place.floor())
    }

    /// What the rows, top to bottom, and the columns, left to right, of view `k` read of a picture of `size` pixels.
    pub fn taps(&self, k: usize, size: usize) -> [Vec<Tap>; 2] {
        [true, false].map(|is_row| (0..size).map(|at| self.tap(k, is_row, at, size)).collect())
    }

    /// View `k` of a prepared picture, planes R, G, B `[3, size, size]` → `out` `[size, size, 3]`. View 0 is what
    /// [`Normalization::apply`] makes, which takes less time.
    pub fn render(
        &self,
        k: usize,
        pixels: &[u8],
        size: usize,
        normalization: &Normalization,
        out: &mut [f32],
    ) {
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
        if text == "none" {
            return Ok(views);
        }
        for (i, word) in text.split(',').enumerate() {
            // No word is two of the three.
            let pixels = |key: &str| word.strip_prefix(key)?.parse().ok().filter(|p| *p > 0);
            let (shift, zoom) = (pixels("shift="), pixels("zoom="));
            let is_known = word == "flip" || shift.or(zoom).is_some();
            ensure!(
                is_known,
                "no view {word:?}: expected none, flip, shift=P, zoom=P, P whole pixels"
            );
            views.flip |= word == "flip";
            views.shift = shift.unwrap_or(views.shift);
            views.zoom = zoom.unwrap_or(views.zoom);
            ensure!(views.words() == i + 1, "{text:?}: a view is named twice");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_they_are_written() -> Result<()> {
        for (text, count) in [
            ("none", 1),
            ("flip", 2),
            ("shift=3", 5),
            ("flip,zoom=12", 4),
            ("flip,shift=1,zoom=2", 12),
        ] {
            let views: FixedViews = text.parse()?;
            assert_eq!((views.to_string().as_str(), views.count()), (text, count));
            assert_eq!(views.is_plain(), text == "none");
        }
        assert_eq!("zoom=2,flip".parse::<FixedViews>()?.to_string(), "flip,zoom=2");
        for bad in [
            "flop",
            "flip=1",
            "shift",
            "shift=0",
            "shift=0.1",
            "zoom=-1",
            "zoom=256",
            "flip,",
            "",
            "zoom=2,none",
            "flip,flip",
            "shift=1,shift=2",
        ] {
            assert!(bad.parse::<FixedViews>().is_err(), "{bad}");
        }
        let views: FixedViews = "shift=3,zoom=4".parse()?;
        assert!(views.fit(16) && !views.fit(15));
        Ok(())
    }

    /// By hand, red in fifths, of 4 × 4 pixels that begin with 0 1 2 5 and 4 3 0 1. The first pixel of the views: the
    /// picture's own; above it its mirror image; 4 below; left of it its mirror image again; 1 to the right; and of
    /// the middle half, whose pixels lie at 0.75, 1.25 …, a mean of four with weights 1/4 and 3/4 each way.
    const FIRST: [f32; 12] = [0.0, 0.0, 4.0, 0.0, 1.0, 2.625, 5.0, 5.0, 1.0, 2.0, 5.0, 0.875];

    #[test]
    fn views_are_what_they_say() -> Result<()> {
        let views: FixedViews = "flip,shift=1,zoom=1".parse()?;
        let mut pixels = vec![0u8; 48];
        pixels[..8].copy_from_slice(&[0, 51, 102, 255, 204, 153, 0, 51]);
        let (mut out, mut all) = (vec![0.0; 48], Vec::new());
        let normalization = Normalization { mean: [0.5, 0.0, 0.0], std: [0.5, 1.0, 1.0] };
        for (k, expected) in FIRST.iter().enumerate() {
            views.render(k, &pixels, 4, &normalization, &mut out);
            let found = 5.0 * (out[0] * 0.5 + 0.5);
            assert!((found - expected).abs() < 1e-5, "view {k}: {found}, not {expected}");
            all.extend([found, -1.0]);
        }
        // 26.5 / 12, and the first alone.
        let mean = views.mean(&all, 2);
        assert!((mean[0] - 2.208_333_3).abs() < 1e-5 && mean[1] == -1.0, "{mean:?}");
        assert_eq!(views.first(&all, 2), [all[0], -1.0]);
        let two = [all.as_slice(), &[3.0; 24]].concat();
        assert_eq!(views.mean(&two, 2), [mean[0], -1.0, 3.0, 3.0]);
        Ok(())
    }

    /// Views that move and mirror take bytes as they are: the very values of the plain view elsewhere.
    #[test]
    fn what_is_moved_and_mirrored_is_not_blended() -> Result<()> {
        let size = 37;
        let pixels: Vec<u8> = (0..3 * size * size).map(|i| (i * 97 % 251) as u8).collect();
        let normalization = Normalization { mean: [0.4, 0.5, 0.6], std: [0.3, 0.2, 0.1] };
        let view = |text: &str, k| {
            let mut out = vec![0.0; 3 * size * size];
            text.parse::<FixedViews>().unwrap().render(k, &pixels, size, &normalization, &mut out);
            out
        };
        let plain = view("none", 0);
        let mut applied = vec![0.0; plain.len()];
        normalization.apply(&pixels, &mut applied);
        assert_eq!(plain, applied);
        let [mirrored, right] = [view("flip", 1), view("shift=3", 4)];
        for y in 0..size {
            for x in 0..size {
                let at = |x: usize| (y * size + x) * 3..(y * size + x) * 3 + 3;
                assert_eq!(mirrored[at(x)], plain[at(size - 1 - x)]);
                let read = if x + 3 < size { x + 3 } else { 2 * size - 1 - (x + 3) };
                assert_eq!(right[at(x)], plain[at(read)]);
            }
        }
        Ok(())
    }
}

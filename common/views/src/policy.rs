//! How random views of pictures are drawn: crop, flip, rotation, colour, mixing.

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How views are drawn. Written as a comma-separated list, e.g. `flip,shift=0.1,rotate=15,cutmix=1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Policy {
    /// Mirror left-right half of the time.
    pub flip: bool,
    /// Move by up to this fraction of the side, each way.
    pub shift: f32,
    /// Cut out a square of at least this fraction of the area and enlarge it; 0 = off
    /// (RandomResizedCrop with aspect ratio 1).
    pub scale: f32,
    /// Rotate by up to this many degrees, each way.
    pub rotate: f32,
    /// Change brightness, contrast and saturation by a factor in `1 ± colour`.
    pub colour: f32,
    /// α of mixup (Zhang et al. 2018); 0 = off.
    pub mixup: f32,
    /// α of CutMix (Yun et al. 2019); 0 = off. Of several ways to mix each view draws one, evenly.
    pub cutmix: f32,
    /// ResizeMix (Qin et al. 2020, section 3.2): the whole partner, made smaller, its side a share of the picture's
    /// between [`LEAST_SIDE`] and this (0.8 in the paper); 0 = off.
    pub resizemix: f32,
    /// Share of the views that are not mixed, where others are.
    pub plain: f32,
}

/// The smallest side of a partner that ResizeMix makes smaller, as a share of the picture's.
pub const LEAST_SIDE: f32 = 0.1;

/// Smallest α of mixing.
const LEAST_ALPHA: f32 = 0.01;

impl Policy {
    /// Whether views are mixed with a partner.
    pub fn mixes(&self) -> bool {
        self.mixup > 0.0 || self.cutmix > 0.0 || self.resizemix > 0.0
    }
}

impl FromStr for Policy {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut policy = Self::default();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty() && *p != "none") {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            if key == "flip" {
                ensure!(value.is_empty(), "{part:?}: flip takes no value");
                policy.flip = true;
                continue;
            }
            let (slot, max) = match key {
                "shift" => (&mut policy.shift, 0.5),
                "scale" => (&mut policy.scale, 1.0),
                "rotate" => (&mut policy.rotate, 180.0),
                "colour" => (&mut policy.colour, 1.0),
                "mixup" => (&mut policy.mixup, 1.0),
                "cutmix" => (&mut policy.cutmix, 1.0),
                "resizemix" => (&mut policy.resizemix, 1.0),
                "plain" => (&mut policy.plain, 1.0),
                _ => bail!(
                    "unknown augmentation {key:?}; known: flip, shift, scale, rotate, colour, mixup, cutmix, \
                     resizemix, plain"
                ),
            };
            let value: f32 =
                value.parse().map_err(|_| anyhow::anyhow!("{part:?}: expected {key}=NUMBER"))?;
            ensure!((0.0..=max).contains(&value), "{part:?}: expected 0..={max}");
            // Of smaller ones a draw takes for ever; nothing is mixed long before.
            let least = match key {
                "mixup" | "cutmix" => LEAST_ALPHA,
                "resizemix" => LEAST_SIDE,
                _ => 0.0,
            };
            ensure!(value == 0.0 || value >= least, "{part:?}: expected 0, or {least} to {max}");
            *slot = value;
        }
        ensure!(
            policy.plain == 0.0 || policy.mixes(),
            "plain={} of {text:?} is the share of views that are not mixed, and none is",
            policy.plain
        );
        Ok(policy)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.flip {
            parts.push("flip".to_owned());
        }
        for (key, value) in [
            ("shift", self.shift),
            ("scale", self.scale),
            ("rotate", self.rotate),
            ("colour", self.colour),
            ("mixup", self.mixup),
            ("cutmix", self.cutmix),
            ("resizemix", self.resizemix),
            ("plain", self.plain),
        ] {
            if value > 0.0 {
                parts.push(format!("{key}={value}"));
            }
        }
        f.write_str(if parts.is_empty() { "none" } else { "" })?;
        f.write_str(&parts.join(","))
    }
}

impl From<Policy> for String {
    fn from(p: Policy) -> Self {
        p.to_string()
    }
}

impl TryFrom<String> for Policy {
    type Error = anyhow::Error;

    fn try_from(s: String) -> Result<Self> {
        s.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_written_as_they_are_read() -> Result<()> {
        let text = "flip,shift=0.1,scale=0.5,rotate=15,colour=0.2,mixup=0.2,cutmix=1";
        assert_eq!(text.parse::<Policy>()?.to_string(), text);
        let more = format!("{text},resizemix=0.8,plain=0.25");
        assert_eq!(more.parse::<Policy>()?.to_string(), more);
        assert_eq!("none".parse::<Policy>()?.to_string(), "none");
        assert_eq!("none".parse::<Policy>()?, Policy::default());
        for bad in [
            "flop",
            "shift",
            "shift=x",
            "shift=0.6",
            "flip=1",
            "mixup=-1",
            "mixup=nan",
            "cutmix=1e-30",
            "resizemix=0.05",
            "flip,plain=0.2",
            "mixup=1,plain=1.5",
        ] {
            assert!(bad.parse::<Policy>().is_err(), "{bad}");
        }
        Ok(())
    }
}

//! How pictures become a network's input. It travels in every artifact made from them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use views::Normalization;

/// How a picture of any size becomes a square.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// Resize the short side, cut the middle out of the long one.
    Crop,
    /// Resize both sides, whatever becomes of the proportions.
    Squash,
    /// Resize the long side, black bars beside the short one.
    Letterbox,
    /// No resizing: the middle of the picture, black where it is too small (torchvision's
    /// CenterCrop alone, the course's preparation).
    Center,
}

impl Framing {
    /// Every way there is: name, what it does.
    pub const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Crop, "crop", "Resize the short side, cut the middle out of the long one"),
        (Self::Squash, "squash", "Resize both sides, whatever becomes of the proportions"),
        (Self::Letterbox, "letterbox", "Resize the long side, black bars beside the short one"),
        (
            Self::Center,
            "center",
            "No resizing: the middle of the picture, black where it is too small \
             (torchvision's CenterCrop alone, the course's preparation)",
        ),
    ];
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Self::ALL.iter().find(|(framing, ..)| framing == self);
        f.write_str(known.map_or("", |(_, name, _)| name))
    }
}

impl FromStr for Framing {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        let known = Self::ALL.iter().find(|(_, n, _)| *n == name);
        known.map(|(framing, ..)| *framing).ok_or_else(|| anyhow::anyhow!("no fit {name:?}"))
    }
}

/// How pictures are prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparation {
    /// Side of the square, pixels.
    pub size: usize,
    /// How it is made.
    #[serde(rename = "fit")]
    pub framing: Framing,
    /// Whether the EXIF orientation is obeyed.
    pub exif: bool,
}

impl Preparation {
    /// Bytes of one prepared picture: 3 planes.
    pub fn bytes(&self) -> usize {
        3 * self.size * self.size
    }
}

/// As flags of `prepare images`.
impl fmt::Display for Preparation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exif = if self.exif { " --exif" } else { "" };
        write!(f, "--size {} --fit {}{exif}", self.size, self.framing)
    }
}

/// Largest side a picture may be prepared to.
pub const MAX_SIZE: usize = 4096;

/// How pictures become the network's input.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Decoding and resizing.
    pub preparation: Preparation,
    /// Scaling of pixel values.
    pub normalization: Normalization,
}

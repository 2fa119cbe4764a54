//! A look at every picture of a layout: what it is by its bytes, and what it looks like.

use crate::layout::Shown;
use anyhow::{Result, bail};
use artifacts::Source;
use photos::Trouble;
use photos::fingerprint::Look;
use rayon::prelude::*;
use std::path::Path;

/// A picture that was looked at.
pub struct Seen {
    /// What its layout says of it.
    pub shown: Shown,
    /// The hash of its file's bytes.
    pub content: String,
    /// What it looks like.
    pub look: Look,
}

/// All pictures of a layout.
pub struct Survey {
    /// Those that can be read, in the order of the layout.
    pub seen: Vec<Seen>,
    /// The others, with the reason.
    pub unreadable: Vec<(Shown, String)>,
}

/// Looks at the pictures of `folder`, on all threads; `tick` is called for each. Pictures of more than
/// `max_pixels` are unreadable.
///
/// # Errors
/// What the file system says.
pub fn survey(
    folder: &Path,
    pictures: Vec<Shown>,
    max_pixels: u64,
    tick: impl Fn() + Sync,
) -> Result<Survey> {
    let look = |shown: &Shown| {
        let bytes = photos::read(&folder.join(&shown.file))?;
        let look = Look::of(&bytes, max_pixels)?;
        tick();
        Ok((Source::hash(&bytes), look))
    };
    let looks: Vec<Result<(String, Look), Trouble>> = pictures.par_iter().map(look).collect();
    let mut all = Survey { seen: Vec::new(), unreadable: Vec::new() };
    for (shown, look) in pictures.into_iter().zip(looks) {
        match look {
            Ok((content, look)) => all.seen.push(Seen { shown, content, look }),
            Err(Trouble::Picture(reason)) => all.unreadable.push((shown, reason)),
            Err(e @ Trouble::Disk(_)) => bail!("{}: {e}", folder.join(&shown.file).display()),
        }
    }
    Ok(all)
}

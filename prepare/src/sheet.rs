//! Finds as a page of small pictures: one file, which needs nothing else.

use crate::finds::{Find, Kind, line};
use common::cli::count;
use common::sheet::{self, Sheet};
use rayon::prelude::*;
use std::path::Path;

/// Most pixels of a side.
const SIDE: u32 = 96;

/// The page of these finds among the pictures of `folder`, at most `limit` of a kind.
pub fn page(title: &str, folder: &Path, finds: &[Find], limit: usize, max_pixels: u64) -> String {
    let mut out = Sheet::new(title);
    if finds.is_empty() {
        out.paragraph("Nothing found.");
    }
    for kind in Kind::ALL {
        let of: Vec<&Find> = finds.iter().filter(|f| f.kind == kind).collect();
        if of.is_empty() {
            continue;
        }
        out.heading(&format!("{}: {}", kind.about(), count(of.len())));
        let shown = &of[..of.len().min(limit)];
        let figures: Vec<String> =
            shown.par_iter().map(|find| figure(folder, find, max_pixels)).collect();
        out.figures(&figures);
        if of.len() > shown.len() {
            out.paragraph(&format!("… and {} more.", count(of.len() - shown.len())));
        }
    }
    out.end()
}

fn figure(folder: &Path, find: &Find, max_pixels: u64) -> String {
    let places = [Some(&find.place), find.other.as_ref()];
    let places = places.into_iter().flatten().filter(|place| !place.file.is_empty());
    let pictures = places.filter_map(|place| {
        let bytes = photos::read(&folder.join(&place.file)).ok()?;
        let small = photos::thumbnail(&bytes, SIDE, max_pixels).ok()?;
        Some((small, place.file.as_str()))
    });
    sheet::figure(pictures, &line(find))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finds::Place;

    /// A name that would be an element of the page is text; what cannot be read is told without a picture.
    #[test]
    fn names_are_text() {
        let file = "<img src=x onerror=\"alert('&')\">.jpg".to_owned();
        let place = Place { file, split: None, label: Some("<b>".to_owned()) };
        let find = Find { kind: Kind::Unreadable, place, other: None, detail: String::new() };
        let page = page("a & b", Path::new("/nowhere"), &[find.clone(), find], 1, 1);
        assert!(page.contains(
            "<figcaption>unreadable: &lt;img src=x onerror=&quot;alert('&amp;')&quot;&gt;.jpg [&lt;b&gt;]"
        ));
        assert!(page.contains("<h1>a &amp; b</h1>") && page.contains("<p>… and 1 more.</p>"));
        assert_eq!(page.matches("<img").count(), 0);
    }
}

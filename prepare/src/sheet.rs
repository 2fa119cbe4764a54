//! Finds as a page of small pictures: one file, which needs nothing else.

use crate::finds::{Find, Kind, line};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::cli::count;
use rayon::prelude::*;
use std::path::Path;

/// Most pixels of a side.
const SIDE: u32 = 96;

const STYLE: &str = "body{font:15px sans-serif;margin:2em;max-width:70em}\
figure{display:inline-block;margin:0 1em 1em 0;vertical-align:top;max-width:16em}\
figcaption{font-size:12px;overflow-wrap:anywhere}img{margin-right:4px}";

/// The page of these finds among the pictures of `folder`, at most `limit` of a kind.
pub fn page(title: &str, folder: &Path, finds: &[Find], limit: usize, max_pixels: u64) -> String {
    let title = escaped(title);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n<h1>{title}</h1>\n"
    );
    if finds.is_empty() {
        out += "<p>Nothing found.</p>\n";
    }
    for kind in Kind::ALL {
        let of: Vec<&Find> = finds.iter().filter(|f| f.kind == kind).collect();
        if of.is_empty() {
            continue;
        }
        out += &format!("<h2>{}: {}</h2>\n", escaped(kind.about()), count(of.len()));
        let shown = &of[..of.len().min(limit)];
        let figures: Vec<String> =
            shown.par_iter().map(|find| figure(folder, find, max_pixels)).collect();
        out += &figures.concat();
        if of.len() > shown.len() {
            out += &format!("<p>… and {} more.</p>\n", count(of.len() - shown.len()));
        }
    }
    out + "</html>\n"
}

fn figure(folder: &Path, find: &Find, max_pixels: u64) -> String {
    let places = [Some(&find.place), find.other.as_ref()];
    let pictures = places.into_iter().flatten().filter(|place| !place.file.is_empty());
    let pictures: String = pictures
        .filter_map(|place| {
            let bytes = photos::read(&folder.join(&place.file)).ok()?;
            let small = photos::thumbnail(&bytes, SIDE, max_pixels).ok()?;
            let (data, name) = (BASE64_STANDARD.encode(small), escaped(&place.file));
            Some(format!("<img src=\"data:image/jpeg;base64,{data}\" alt=\"{name}\">"))
        })
        .collect();
    format!("<figure>{pictures}<figcaption>{}</figcaption></figure>\n", escaped(&line(find)))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
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

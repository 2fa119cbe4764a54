//! A page of small pictures with a line each: one HTML file, which needs nothing else.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

const STYLE: &str = "body{font:15px sans-serif;margin:2em;max-width:70em}\
figure{display:inline-block;margin:0 1em 1em 0;vertical-align:top;max-width:16em}\
figcaption{font-size:12px;overflow-wrap:anywhere}img{margin-right:4px}";

/// A page that is being written. Every text is text: what would be an element is escaped.
pub struct Sheet(String);

impl Sheet {
    /// A page of this title, which is its headline, too.
    pub fn new(title: &str) -> Self {
        let title = escaped(title);
        Self(format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n<h1>{title}</h1>\n"
        ))
    }

    /// A headline of a part.
    pub fn heading(&mut self, text: &str) {
        self.0 += &format!("<h2>{}</h2>\n", escaped(text));
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) {
        self.0 += &format!("<p>{}</p>\n", escaped(text));
    }

    /// What [`figure`] made.
    pub fn figures(&mut self, figures: &[String]) {
        self.0 += &figures.concat();
    }

    /// The page.
    pub fn end(self) -> String {
        self.0 + "</html>\n"
    }
}

/// Pictures, each a JPEG and what it is called, beside each other above one line.
pub fn figure<'a>(pictures: impl IntoIterator<Item = (Vec<u8>, &'a str)>, line: &str) -> String {
    let image = |(jpeg, name): (Vec<u8>, &str)| {
        let (data, name) = (BASE64_STANDARD.encode(jpeg), escaped(name));
        format!("<img src=\"data:image/jpeg;base64,{data}\" alt=\"{name}\">")
    };
    let pictures: String = pictures.into_iter().map(image).collect();
    format!("<figure>{pictures}<figcaption>{}</figcaption></figure>\n", escaped(line))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: the bytes 0, 16, 131 are 000000 000001 000010 000011, the letters A, B, C, D of base64.
    #[test]
    fn a_page_holds_its_pictures_and_texts_are_texts() {
        let mut sheet = Sheet::new("a & b");
        sheet.heading("<i>");
        sheet.figures(&[figure([(vec![0, 16, 131], "\"x\"")], "1 > 0")]);
        let page = sheet.end();
        assert!(page.contains("<title>a &amp; b</title>") && page.contains("<h2>&lt;i&gt;</h2>"));
        assert!(page.contains(
            "<figure><img src=\"data:image/jpeg;base64,ABCD\" alt=\"&quot;x&quot;\">\
             <figcaption>1 &gt; 0</figcaption></figure>"
        ));
    }
}

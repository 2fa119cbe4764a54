//! The report in print.

use crate::charts::FONT;
use crate::document::{Block, Document, Table};
use anyhow::{Context, Result, anyhow};
use std::fmt::Write;
use typst_as_lib::TypstEngine;
use typst_layout::PagedDocument;

/// Latin letters, and the Chinese ones that the report uses (fonts/make_subset.py).
pub(crate) const REGULAR: &[u8] = include_bytes!("../fonts/NotoSansTC-Regular-subset.ttf");
const BOLD: &[u8] = include_bytes!("../fonts/NotoSansTC-Bold-subset.ttf");

/// The PDF's bytes; `font` is one more to look for letters in.
pub(crate) fn pdf(document: &Document, font: Option<Vec<u8>>) -> Result<Vec<u8>> {
    let fonts = [REGULAR.to_vec(), BOLD.to_vec()].into_iter().chain(font);
    let charts: Vec<(String, Vec<u8>)> = document
        .charts()
        .map(|c| (format!("{}.svg", c.name), c.svg.clone().into_bytes()))
        .collect();
    let engine = TypstEngine::builder()
        .main_file(markup(document))
        .fonts(fonts.chain(typst_assets::fonts().map(<[u8]>::to_vec)))
        .with_static_file_resolver(charts.iter().map(|(n, b)| (n.as_str(), b.as_slice())))
        .build();
    let pages: PagedDocument =
        engine.compile().output.map_err(|e| anyhow!("typesetting: {e}")).context("report.pdf")?;
    typst_pdf::pdf(&pages, &typst_pdf::PdfOptions::default())
        .map_err(|e| anyhow!("typesetting: {e:?}"))
        .context("report.pdf")
}

/// A string of Typst's.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn markup(document: &Document) -> String {
    let mut out = String::new();
    let (language, region) =
        document.language.split_once('-').map_or((document.language, ""), |(l, r)| (l, r));
    let region = if region.is_empty() { "none".to_owned() } else { quoted(region) };
    let _ = writeln!(
        out,
        "#set document(title: {title}, date: none)\n\
         #set page(paper: \"a4\", margin: (x: 2.2cm, y: 2.2cm), numbering: \"1\")\n\
         #set text(font: ({font}, \"Libertinus Serif\", \"DejaVu Sans Mono\"), size: 10pt, lang: {lang}, region: {region})\n\
         #set par(justify: true, leading: 0.7em)\n\
         #set heading(numbering: none)\n\
         #show heading: it => block(above: 1.2em, below: 0.8em, it)\n\
         #set table(stroke: none, inset: (x: 4pt, y: 3pt))\n\
         #show table: set par(justify: false)\n\
         #show figure.where(kind: table): set figure.caption(position: top)\n\
         #show figure.caption: set text(size: 9pt)\n\
         #show figure.caption.where(kind: table): it => block(sticky: true, it)\n\
         #align(center, text(size: 17pt, weight: \"bold\", {title}))\n\
         #v(0.4em)\n#text(size: 9pt, {subtitle})",
        title = quoted(&document.title),
        subtitle = quoted(&document.subtitle),
        font = quoted(FONT),
        lang = quoted(language),
    );
    for block in &document.blocks {
        let _ = match block {
            Block::Heading(text) => writeln!(out, "#heading({})", quoted(text)),
            Block::Text(text) => writeln!(out, "#par({})", quoted(text)),
            Block::Chart(caption, chart) => writeln!(
                out,
                "#figure(image({}, width: {}), kind: image, supplement: {}, caption: {})",
                quoted(&format!("{}.svg", chart.name)),
                if chart.name == "lineage" { "100%" } else { "82%" },
                quoted(document.figure),
                quoted(caption)
            ),
            // A short table that two pages share reads badly, a long one may need both.
            Block::Table(caption, table) => writeln!(
                out,
                "#[\n#show figure: set block(breakable: {})\n#figure({}, kind: table, supplement: {}, caption: {})\n]",
                table.rows.len() > 12,
                table_markup(table),
                quoted(document.table),
                quoted(caption)
            ),
        };
    }
    out
}

fn table_markup(table: &Table) -> String {
    let columns = table.header.len();
    let align: Vec<&str> =
        (0..columns).map(|i| if i < table.words { "left" } else { "right" }).collect();
    let cells = |row: &[String]| row.iter().map(|c| format!("{},", quoted(c))).collect::<String>();
    let header: String = table.header.iter().map(|c| format!("strong({}),", quoted(c))).collect();
    let body: String = table.rows.iter().map(|r| cells(r)).collect();
    // So many columns would break the names in the first.
    let size = match columns {
        0..=6 => 8.5,
        7 | 8 => 8.0,
        _ => 7.5,
    };
    format!(
        "text(size: {size}pt, table(columns: {columns}, align: ({}), table.hline(), table.header({header}), \
         table.hline(stroke: 0.5pt), {body} table.hline()))",
        align.join(", ") + ","
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every Chinese letter of the sources is in both fonts, else it would be an empty box.
    #[test]
    fn every_letter_has_its_glyph() {
        let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut letters = std::collections::BTreeSet::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let text = std::fs::read_to_string(&path).unwrap();
                    letters.extend(text.chars().filter(|c| *c as u32 >= 0x2e80));
                }
            }
        }
        assert!(letters.len() > 200, "{}", letters.len());
        for font in [REGULAR, BOLD] {
            let face = ttf_parser::Face::parse(font, 0).unwrap();
            let without: String =
                letters.iter().filter(|c| face.glyph_index(**c).is_none()).collect();
            assert!(without.is_empty(), "run fonts/make_subset.py: no glyphs of {without}");
        }
    }

    #[test]
    fn text_is_no_markup() {
        assert_eq!(quoted("a \"b\" \\ #c"), "\"a \\\"b\\\" \\\\ #c\"");
    }
}

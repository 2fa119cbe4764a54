//! The report as one web page.

use crate::document::{Block, Document, Table};
use crate::pdf::REGULAR;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::fmt::Write;

const STYLE: &str = "
body { font: 16px/1.6 'Noto Sans TC', system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem;
  color: #111; background: #fff; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
.about { color: #555; font-size: .9rem; }
figure { margin: 1.2rem 0; overflow-x: auto; } figcaption { font-size: .9rem; color: #333; margin: .3rem 0; }
figure svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: .86rem; width: 100%; }
th { text-align: right; border-bottom: 1px solid #333; border-top: 2px solid #333; padding: .25rem .5rem; }
td { text-align: right; padding: .2rem .5rem; border-bottom: 1px solid #eee; font-variant-numeric: tabular-nums; }
.words { text-align: left; }
nav a { margin-right: 1rem; white-space: nowrap; }
";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// The page, fonts and charts inside.
pub(crate) fn html(document: &Document) -> String {
    let mut out = String::new();
    let title = escaped(&document.title);
    let _ = writeln!(
        out,
        "<!doctype html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n\
         @font-face {{ font-family: 'Noto Sans TC'; src: url(data:font/ttf;base64,{}); }}{STYLE}</style>\n\
         </head>\n<body>\n<h1>{title}</h1>\n<p class=\"about\">{}</p>",
        document.language,
        BASE64_STANDARD.encode(REGULAR),
        escaped(&document.subtitle),
    );
    let headings = document.blocks.iter().filter_map(|b| match b {
        Block::Heading(text) => Some(escaped(text)),
        _ => None,
    });
    let links =
        headings.enumerate().map(|(i, text)| format!("<a href=\"#c{}\">{text}</a>\n", i + 1));
    let _ = writeln!(out, "<nav>\n{}</nav>", links.collect::<String>());
    let (mut chapters, mut figures, mut tables) = (0, 0, 0);
    for block in &document.blocks {
        let _ = match block {
            Block::Heading(text) => {
                chapters += 1;
                writeln!(out, "<h2 id=\"c{chapters}\">{}</h2>", escaped(text))
            }
            Block::Text(text) => writeln!(out, "<p>{}</p>", escaped(text)),
            Block::Chart(caption, chart) => {
                figures += 1;
                let caption = format!("{} {figures}: {}", document.figure, escaped(caption));
                let svg = chart.svg.find("<svg").map_or("", |at| &chart.svg[at..]);
                writeln!(
                    out,
                    "<figure id=\"{}\">\n{}\n<figcaption>{caption}</figcaption>\n</figure>",
                    chart.name,
                    own_ids(svg, &chart.name)
                )
            }
            Block::Table(caption, table) => {
                tables += 1;
                let caption = format!("{} {tables}: {}", document.table, escaped(caption));
                let rows = table_rows(table);
                writeln!(out, "<figure>\n<figcaption>{caption}</figcaption>\n{rows}</figure>")
            }
        };
    }
    out + "</body>\n</html>\n"
}

/// `svg` with ids that no other chart of the page has.
fn own_ids(svg: &str, name: &str) -> String {
    svg.replace("id=\"", &format!("id=\"{name}-"))
        .replace("url(#", &format!("url(#{name}-"))
        .replace("href=\"#", &format!("href=\"#{name}-"))
}

fn table_rows(table: &Table) -> String {
    let class = |i: usize| if i < table.words { " class=\"words\"" } else { "" };
    let row = |cells: &[String], tag: &str| {
        let cells = cells.iter().enumerate();
        let cells = cells
            .map(|(i, c)| format!("<{tag}{}>{}</{tag}>", class(i), escaped(c)))
            .collect::<String>();
        format!("<tr>{cells}</tr>\n")
    };
    let body: String = table.rows.iter().map(|r| row(r, "td")).collect();
    format!(
        "<table>\n<thead>{}</thead>\n<tbody>\n{body}</tbody>\n</table>\n",
        row(&table.header, "th")
    )
}

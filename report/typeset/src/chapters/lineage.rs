//! What was made from what.

use super::{chart, heading};
use crate::charts::FONT;
use crate::data::Data;
use crate::document::Block;
use crate::words::Language;
use rows::Edge;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A file and those it was made from, seeds and cuts left out.
type Parents = BTreeMap<String, Vec<String>>;

/// What is left out of a name: the seed of an experiment, the cuts of a chain, the ending.
fn unseeded(file: &str) -> String {
    let stem = file.strip_suffix(".safetensors").unwrap_or(file);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match stem.split_once('/') {
        None => stem.to_owned(),
        Some(("q3", rest)) => format!("q3/{}", rest.split('-').next().unwrap_or(rest)),
        Some((folder, rest)) => {
            let rest = rest.strip_suffix(".bin").unwrap_or(rest);
            match rest.rsplit_once('-') {
                Some((way, end)) if is_number(end) => format!("{folder}/{way}"),
                _ => format!("{folder}/{rest}"),
            }
        }
    }
}

fn parents(edges: &[Edge]) -> Parents {
    let mut all = Parents::new();
    // Nothing is made from pictures that only measure.
    let is_measuring = |e: &Edge| e.file == "testing.safetensors";
    let is_kind = |e: &Edge| ["model", "coded", "images", "logits"].contains(&e.kind.as_str());
    let is_shown = |e: &&Edge| is_kind(e) && !is_measuring(e);
    for edge in edges.iter().filter(is_shown) {
        let (name, from) = (unseeded(&edge.file), unseeded(&edge.from));
        let own = all.entry(name.clone()).or_default();
        if !from.is_empty() && from != name && !own.contains(&from) {
            own.push(from);
        }
    }
    let names: Vec<String> = all.keys().cloned().collect();
    for own in all.values_mut() {
        own.retain(|p| names.contains(p) && p != "validation");
        // Pictures and logits are parents of nearly everything: drawn where there is no model for one.
        let is_common = |p: &String| p == "training" || p == "logits" || p.ends_with("logits-b");
        if own.iter().any(|p| !is_common(p)) {
            own.retain(|p| !is_common(p));
        } else if own.iter().any(|p| p != "training") {
            own.retain(|p| p != "training");
        }
    }
    all.remove("validation");
    all
}

/// Steps from what was made of nothing shown; `left` ends what a damaged file could make a circle.
fn depth(name: &str, parents: &Parents, left: usize) -> usize {
    let own = parents.get(name).map_or(&[][..], Vec::as_slice);
    match left {
        0 => 0,
        _ => own.iter().map(|p| 1 + depth(p, parents, left - 1)).max().unwrap_or(0),
    }
}

/// Width and height of a box, and from column to column and row to row, in pixels.
const BOX: (f64, f64) = (118.0, 22.0);
const STEP: (f64, f64) = (134.0, 28.0);

/// Boxes in columns, parents left of what was made from them, each near its parents' height.
fn drawn(parents: &Parents) -> String {
    let mut columns = BTreeMap::<usize, Vec<&String>>::new();
    for name in parents.keys() {
        columns.entry(depth(name, parents, 12)).or_default().push(name);
    }
    let mut place = BTreeMap::<&str, (f64, f64)>::new();
    let most = columns.values().map(Vec::len).max().unwrap_or(1);
    for (column, names) in &mut columns {
        let height = |name: &String| {
            let own: Vec<f64> =
                parents[name].iter().filter_map(|p| place.get(p.as_str())).map(|p| p.1).collect();
            own.iter().sum::<f64>() / own.len().max(1) as f64
        };
        names.sort_by(|a, b| height(a).total_cmp(&height(b)).then(a.cmp(b)));
        let first = (most - names.len()) as f64 / 2.0;
        let at = |row: usize| (8.0 + *column as f64 * STEP.0, 8.0 + (first + row as f64) * STEP.1);
        let new: Vec<_> = names.iter().enumerate().map(|(r, n)| (n.as_str(), at(r))).collect();
        place.extend(new);
    }
    let (width, height) = (columns.len() as f64 * STEP.0, 16.0 + most as f64 * STEP.1);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"{FONT}\" font-size=\"12\">\n"
    );
    for (name, own) in parents {
        let (x, y) = place[name.as_str()];
        for (px, py) in own.iter().filter_map(|p| place.get(p.as_str())) {
            let (from, to, mid) = (px + BOX.0, x, (px + BOX.0 + x) / 2.0);
            let (a, b) = (py + BOX.1 / 2.0, y + BOX.1 / 2.0);
            let _ = writeln!(
                svg,
                "<path d=\"M{from} {a} C{mid} {a} {mid} {b} {to} {b}\" fill=\"none\" stroke=\"#999\"/>"
            );
        }
    }
    for (name, (x, y)) in &place {
        let ((w, h), at) = (BOX, y + 15.0);
        let text = name.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"4\" fill=\"#eef4fb\" \
             stroke=\"#0072B2\"/>\n<text x=\"{}\" y=\"{at}\">{text}</text>",
            x + 5.0
        );
    }
    svg + "</svg>\n"
}

pub(super) fn all(data: &Data, l: Language) -> Vec<Block> {
    let parents = parents(&data.lineage);
    if parents.is_empty() {
        return Vec::new();
    }
    vec![
        heading(l, "8. Lineage", "八、來歷"),
        chart(
            "lineage",
            drawn(&parents),
            l,
            "What was made from what, left to right. The seeds of an experiment and the cuts of a chain are one box; \
             pictures and logits are drawn as parents only of what has no model for one.",
            "由左至右，每個檔案由何而來。同一實驗的各種子與同一鏈的各次剪枝合為一格；只有沒有模型作為來源者，才畫出圖片與 \
             logits。",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_and_cuts_are_left_out() {
        for (file, name) in [
            ("q1/pruning-2.safetensors", "q1/pruning"),
            ("q1/low-rank-1.safetensors", "q1/low-rank"),
            ("q1/quantized.bin", "q1/quantized"),
            ("q3/0.1-2-3-cut.safetensors", "q3/0.1"),
            ("bits/trained-4.bin", "bits/trained"),
            ("model.bin", "model.bin"),
            ("tuned1.safetensors", "tuned1"),
        ] {
            assert_eq!(unseeded(file), name);
        }
    }

    #[test]
    fn pictures_are_parents_of_what_has_no_model() {
        let edge = |file: &str, from: &str| Edge {
            file: format!("{file}.safetensors"),
            kind: "model".to_owned(),
            stage: String::new(),
            role: String::new(),
            from: from.to_owned(),
        };
        let found = parents(&[
            edge("training", ""),
            edge("teacher", "training.safetensors"),
            edge("logits", "teacher.safetensors"),
            edge("student", "logits.safetensors"),
            edge("student", "training.safetensors"),
            edge("tuned1", "student.safetensors"),
            edge("tuned1", "logits.safetensors"),
        ]);
        assert_eq!(found["student"], ["logits"]);
        assert_eq!(found["tuned1"], ["student"]);
        assert_eq!(depth("tuned1", &found, 12), 4);
        assert!(drawn(&found).contains(">tuned1</text>"));
    }
}

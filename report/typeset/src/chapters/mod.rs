//! The report's chapters: the data → blocks of text, tables and charts.

mod lineage;
mod making;
mod questions;
mod stages;

use crate::data::Data;
use crate::document::{Block, Chart, Document, Table};
use crate::words::{Language, count, interval, mean, p_value};
use rows::{Pair, Way};

/// The whole report.
pub(crate) fn document(data: &Data, language: Language, name: &str) -> Document {
    let mut blocks = Vec::new();
    for part in [
        questions::first(data, language),
        questions::second(data, language),
        questions::third(data, language),
        questions::fourth(data, language),
        stages::all(data, language),
        making::bytes(data, language),
        making::curves(data, language),
        lineage::all(data, language),
        making::cost(data, language),
    ] {
        blocks.extend(part);
    }
    let n = count(data.pictures() as f64);
    let subtitle = match language {
        Language::En => format!(
            "Recipe {name}; every accuracy is top-1 on the same {n} validation pictures. Means are over seeds, \
             ± one standard deviation; intervals are 95 % (Student's t over seeds, Wilson's for a single model). \
             Two models are called different only where McNemar's exact test finds p < 0.05 for every seed, in \
             one direction; p is then the largest of them."
        ),
        Language::Zh => format!(
            "設定 {name}；所有準確率皆為同一批 {n} 張驗證圖片上的 top-1。平均值取自各隨機種子，± 為一個標準差；\
             區間為 95 %（多個種子用 Student t，單一模型用 Wilson）。只有當每個種子的 McNemar 精確檢定都得到 \
             p < 0.05 且方向一致時，才稱兩個模型不同；所列 p 為其中最大者。"
        ),
    };
    Document {
        title: language.say("Network compression: report", "網路壓縮報告").to_owned(),
        subtitle,
        language: language.code(),
        figure: language.say("Figure", "圖"),
        table: language.say("Table", "表"),
        blocks,
    }
}

fn heading(language: Language, en: &str, zh: &str) -> Block {
    Block::Heading(language.say(en, zh).to_owned())
}

fn text(language: Language, en: &str, zh: &str) -> Block {
    Block::Text(language.say(en, zh).to_owned())
}

fn chart(name: &str, svg: String, language: Language, en: &str, zh: &str) -> Block {
    Block::Chart(language.say(en, zh).to_owned(), Chart { name: name.to_owned(), svg })
}

fn strings<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

/// Experiments with their sizes and accuracies.
fn ways_table(ways: &[&Way], language: Language, caption: (&str, &str)) -> Block {
    let header = match language {
        Language::En => ["", "parameters", "bytes", "MACs", "seeds", "top-1", "95 % interval"],
        Language::Zh => ["", "參數量", "位元組", "乘法次數", "種子數", "top-1", "95 % 區間"],
    };
    let row = |w: &&Way| {
        vec![
            language.experiment(&w.question, &w.way, w.cut),
            count(w.parameters),
            count(w.bytes),
            count(w.multiplications),
            w.seeds.to_string(),
            mean(w),
            interval(w),
        ]
    };
    let table = Table { header: strings(header), rows: ways.iter().map(row).collect(), words: 1 };
    Block::Table(language.say(caption.0, caption.1).to_owned(), table)
}

/// Paired tests.
fn pairs_table(pairs: &[&Pair], language: Language) -> Block {
    let header = match language {
        Language::En => ["A", "B", "only A right", "only B right", "B − A", "p", "better"],
        Language::Zh => ["A", "B", "僅 A 答對", "僅 B 答對", "B − A", "p", "較佳"],
    };
    let row = |p: &&Pair| {
        let name = |way: &str, cut| language.experiment(&p.question, way, cut);
        vec![
            name(&p.a, p.a_cut),
            name(&p.b, p.b_cut),
            count(p.only_a as f64),
            count(p.only_b as f64),
            format!("{:+.2}", 100.0 * p.difference),
            p_value(p.p).trim_start_matches("= ").to_owned(),
            match p.better.as_str() {
                "a" => "A",
                "b" => "B",
                _ => language.say("none", "無差異"),
            }
            .to_owned(),
        ]
    };
    let seeds = pairs.iter().map(|p| p.seeds).max().unwrap_or(0);
    let caption = match language {
        Language::En => format!(
            "Paired tests on the same pictures, {seeds} for each pair that has as many seeds: answers added up over \
             them, p the largest of them; B − A in points."
        ),
        Language::Zh => {
            format!(
                "同一批圖片上的配對檢定，每組依種子數最多 {seeds} 次：答案相加，p 取最大者；B − A 以百分點計。"
            )
        }
    };
    let table = Table { header: strings(header), rows: pairs.iter().map(row).collect(), words: 2 };
    Block::Table(caption, table)
}

/// The best of several by its mean, and what the tests say of it beside each other one.
fn best(ways: &[&Way], pairs: &[&Pair], language: Language) -> String {
    let Some(best) = ways.iter().max_by(|a, b| a.top1.total_cmp(&b.top1)) else {
        return String::new();
    };
    let name = language.experiment(&best.question, &best.way, best.cut);
    let mut said = match language {
        Language::En => format!("The highest mean is that of {name}, {}.", mean(best)),
        Language::Zh => format!("平均最高的是{name}，{}。", mean(best)),
    };
    for pair in pairs.iter().filter(|p| p.a == best.way || p.b == best.way) {
        said += language.say(" ", "");
        said += &language.verdict(pair);
    }
    said
}

//! The report's chapters: the data → blocks of text, tables and charts.

mod evidence;
mod lineage;
mod made;
mod making;
mod questions;
mod stages;

use crate::data::Data;
use crate::document::{Block, Chart, Document, Table};
use crate::words::{Language, count, interval, mean, p_value, passes, percent};
use rows::{Pair, RESAMPLES, Way};

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
    Document {
        title: language.say("Network compression: report", "網路壓縮報告").to_owned(),
        subtitle: subtitle(data, language, name),
        language: language.code(),
        figure: language.say("Figure", "圖"),
        table: language.say("Table", "表"),
        blocks,
    }
}

/// What all numbers of the report are about, and by which rule two models are called different.
fn subtitle(data: &Data, language: Language, name: &str) -> String {
    let (n, draws) = (count(data.pictures() as f64), count(RESAMPLES as f64));
    let seeds = data.ways.iter().map(|w| w.seeds).max().unwrap_or(1);
    let tested = if data.is_tested() {
        language.say(
            ", and on test pictures, which neither trained nor chose anything, where the column says so",
            "；標明測試者為測試圖片，未用於訓練或選擇",
        )
    } else {
        ""
    };
    let means = match (language, seeds) {
        (_, 1) => String::new(),
        (Language::En, n) => {
            format!(" Means are over up to {n} seeds, ± one standard deviation over them.")
        }
        (Language::Zh, n) => format!("平均值取自至多 {n} 個隨機種子，± 為一個標準差。"),
    };
    match language {
        Language::En => format!(
            "Recipe {name}; every accuracy is top-1, per cent, on the same {n} validation pictures{tested}.{means} \
             Intervals are 95 %, over seeds and pictures together: a bootstrap of {draws} resamples, each of as many \
             seeds and as many pictures; ways.csv has those over seeds alone (Student's t) and over pictures alone \
             (Wilson), too. Two models are called different only where McNemar's exact test finds p < 0.05 for every \
             seed, in one direction; p is the largest of them, corrected for all pairs of the question (Holm): \
             more than an interval, of one pair at a time, that leaves out 0. Passes: how often the training pictures were seen, own + inherited from what it goes on from."
        ),
        Language::Zh => format!(
            "設定 {name}；所有準確率皆為同一批 {n} 張驗證圖片上的 top-1（%）{tested}。{means}\
             區間為 95 %，同時取自種子與圖片：重抽 {draws} 次，每次取同樣多的種子與圖片；ways.csv 另有僅取自種子（Student t）與\
             僅取自圖片（Wilson）的區間。只有當每個種子的 McNemar 精確檢定都得到 p < 0.05 且方向一致時，才稱兩個模型不同；\
             所列 p 為其中最大者，並依同一題的所有組合校準（Holm），比單一組合的區間不含 0 更嚴格。輪次：訓練圖片被看過幾輪，自身 + 來源。"
        ),
    }
}

fn heading(language: Language, en: &str, zh: &str) -> Block {
    Block::Heading(language.say(en, zh).to_owned())
}

fn chart(name: &str, svg: String, language: Language, en: &str, zh: &str) -> Block {
    Block::Chart(language.say(en, zh).to_owned(), Chart { name: name.to_owned(), svg })
}

fn strings<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

/// Experiments with their sizes, the passes of their trainings, and accuracies.
fn ways_table(ways: &[&Way], language: Language, caption: (&str, &str)) -> Block {
    let mut header = strings(match language {
        Language::En => ["", "parameters", "bytes", "MACs, M", "seeds", "passes", "top-1", "95 %"],
        Language::Zh => ["", "參數量", "位元組", "乘法（百萬）", "種子數", "輪次", "top-1", "95 %"],
    });
    let is_tested = ways.iter().any(|w| w.test_top1.is_some());
    if is_tested {
        header.extend(strings(match language {
            Language::En => ["test", "95 %"],
            Language::Zh => ["測試", "95 %"],
        }));
    }
    let row = |w: &&Way| {
        let mut row = vec![
            language.experiment(&w.question, &w.way, w.cut),
            count(w.parameters),
            count(w.bytes),
            format!("{:.1}", w.multiplications / 1e6),
            w.seeds.to_string(),
            passes(w),
            mean(w),
            interval(w.low, w.high),
        ];
        if is_tested {
            let ends = w.test_low.zip(w.test_high);
            row.push(w.test_top1.map_or(String::new(), |t| format!("{:.2}", 100.0 * t)));
            row.push(ends.map_or(String::new(), |(low, high)| interval(low, high)));
        }
        row
    };
    let rows = ways.iter().map(row).collect();
    let caption = language.say(caption.0, caption.1).to_owned();
    Block::Table(caption, Table { header, rows, words: 1 })
}

/// Differences with their intervals, and paired tests.
fn pairs_table(pairs: &[&Pair], language: Language) -> Block {
    let mut header = strings(match language {
        Language::En => ["A", "B", "B − A", "95 %", "only A", "only B", "p", "Holm", "better"],
        Language::Zh => ["A", "B", "B − A", "95 %", "僅 A 答對", "僅 B 答對", "p", "Holm", "較佳"],
    });
    let is_tested = pairs.iter().any(|p| p.test_difference.is_some());
    if is_tested {
        header.push(language.say("test B − A", "測試 B − A").to_owned());
    }
    let points = |value: f64| format!("{:+.2}", 100.0 * value);
    let row = |p: &&Pair| {
        let name = |way: &str, cut| language.experiment(&p.question, way, cut);
        let plain = |p: f64| p_value(p).trim_start_matches("= ").to_owned();
        let mut row = vec![
            name(&p.a, p.a_cut),
            name(&p.b, p.b_cut),
            points(p.difference),
            match language {
                Language::En => format!("{:+.1} to {:+.1}", 100.0 * p.low, 100.0 * p.high),
                Language::Zh => format!("{:+.1} 至 {:+.1}", 100.0 * p.low, 100.0 * p.high),
            },
            count(p.only_a as f64),
            count(p.only_b as f64),
            plain(p.p),
            plain(p.holm),
            match p.better.as_str() {
                "a" => "A",
                "b" => "B",
                _ => language.say("none", "無差異"),
            }
            .to_owned(),
        ];
        if is_tested {
            row.push(p.test_difference.map_or(String::new(), points));
        }
        row
    };
    let caption = language.say(
        "Differences in points on the same pictures, with their intervals; pictures that one alone has right, added up \
         over seeds; the largest p over seeds, and after Holm's correction.",
        "同一批圖片上的差異（百分點）與區間；僅一方答對的張數，各種子相加；各種子 p 的最大者，以及 Holm 校準後的 p。",
    );
    let table = Table { header, rows: pairs.iter().map(row).collect(), words: 2 };
    Block::Table(caption.to_owned(), table)
}

/// The best of several by its mean, and what the tests say of it beside each other one.
fn best(ways: &[&Way], pairs: &[&Pair], language: Language) -> String {
    let Some(best) = ways.iter().max_by(|a, b| a.top1.total_cmp(&b.top1)) else {
        return String::new();
    };
    let name = language.experiment(&best.question, &best.way, best.cut);
    let mut said = match language {
        Language::En => format!("The highest mean is that of {name}, {}.", percent(best.top1)),
        Language::Zh => format!("平均最高的是{name}，{}。", percent(best.top1)),
    };
    for pair in pairs.iter().filter(|p| p.a == best.way || p.b == best.way) {
        said += language.say(" ", "");
        said += &language.verdict(pair);
    }
    said
}

//! The pipeline's stages: what each did to the answers.

use super::{chart, heading, pairs_table, strings, ways_table};
use crate::charts::{self, Series};
use crate::data::Data;
use crate::document::{Block, Table};
use crate::words::{Language, percent};
use rows::{Class, Way};

const ORDER: [&str; 4] = ["teacher", "student", "pruned", "shipped"];

pub(super) fn all(data: &Data, l: Language) -> Vec<Block> {
    let ways: Vec<&Way> = ORDER.iter().filter_map(|s| data.stage(s)).collect();
    let pairs = data.pairs_of("stages");
    let mut blocks = vec![
        heading(l, "5. From the teacher to the shipped file", "五、從教師到繳交檔案"),
        ways_table(&ways, l, ("The pipeline's models.", "流程中的各模型。")),
        pairs_table(&pairs, l),
        classes(data, l),
    ];
    blocks.push(Block::Text(hurt(data, l)));
    let mut names: Vec<String> = data.confusion.iter().map(|c| c.class.clone()).collect();
    names.dedup();
    let values: Vec<Vec<f64>> = names
        .iter()
        .map(|n| {
            data.confusion.iter().filter(|c| c.class == *n).map(|c| c.pictures as f64).collect()
        })
        .collect();
    let shown: Vec<String> = names.iter().map(|n| l.name(n)).collect();
    let svg = charts::matrix(
        l.say("answered", "模型回答"),
        l.say("true class", "真實類別"),
        &shown,
        &values,
    );
    let last = ways.last().map_or(String::new(), |w| l.name(&w.way));
    let most = data.confusion.iter().filter(|c| c.class != c.answered).max_by_key(|c| c.pictures);
    blocks.push(chart(
        "confusion",
        svg,
        l,
        &format!("What the last of these models ({last}) takes each class for, pictures."),
        &format!("最後的模型（{last}）把各類別認成什麼（張數）。"),
    ));
    if let Some(c) = most {
        let (class, other, n) = (l.name(&c.class), l.name(&c.answered), c.pictures);
        blocks.push(Block::Text(match l {
            Language::En => {
                format!("Its commonest mistake: {n} pictures of {class} taken for {other}.")
            }
            Language::Zh => format!("其最常見的錯誤：{n} 張「{class}」被認成「{other}」。"),
        }));
    }
    blocks.push(calibration(data, l));
    blocks
}

fn classes(data: &Data, l: Language) -> Block {
    let stages: Vec<&str> =
        ORDER.iter().copied().filter(|s| data.classes.iter().any(|c| c.stage == *s)).collect();
    let of =
        |stage: &str| -> Vec<&Class> { data.classes.iter().filter(|c| c.stage == stage).collect() };
    let mut header = strings(match l {
        Language::En => ["class", "pictures"],
        Language::Zh => ["類別", "張數"],
    });
    header.extend(stages.iter().map(|s| l.name(s)));
    let first = of(stages.first().copied().unwrap_or_default());
    let rows = first.iter().enumerate().map(|(i, class)| {
        let mut row = vec![l.name(&class.name), class.pictures.to_string()];
        row.extend(stages.iter().map(|s| of(s).get(i).map_or(String::new(), |c| percent(c.top1))));
        row
    });
    let table = Table { rows: rows.collect(), header, words: 1 };
    Block::Table(l.say("Top-1 per class.", "各類別的 top-1。").to_owned(), table)
}

/// Which classes a stage hurt or helped, as far as a test finds it.
fn hurt(data: &Data, l: Language) -> String {
    let mut said = Vec::new();
    let classes = data.classes.iter().filter(|c| c.stage == ORDER[0]).count().max(1);
    for stage in ORDER.iter().skip(1) {
        let of: Vec<&Class> = data.classes.iter().filter(|c| c.stage == *stage).collect();
        if of.is_empty() {
            continue;
        }
        // As many tests as classes: Bonferroni's bound.
        let found: Vec<&&Class> =
            of.iter().filter(|c| c.p.is_some_and(|p| p < 0.05 / classes as f64)).collect();
        let stage = crate::words::begun(&l.name(stage));
        if found.is_empty() {
            said.push(match l {
                Language::En => {
                    format!("{stage}: no class changed significantly against the stage before.")
                }
                Language::Zh => format!("{stage}：與前一階段相比，沒有類別有顯著變化。"),
            });
        }
        for c in found {
            let (lost, won) = (c.lost.unwrap_or(0), c.won.unwrap_or(0));
            let name = l.name(&c.name);
            said.push(match l {
                Language::En => format!(
                    "{stage}: {name} lost {lost} pictures and won {won} against the stage before."
                ),
                Language::Zh => {
                    format!("{stage}：與前一階段相比，{name}失去 {lost} 張、贏得 {won} 張。")
                }
            });
        }
    }
    let note = match l {
        Language::En => format!("(McNemar's exact test, p < 0.05 divided by {classes} classes.)"),
        Language::Zh => format!("（McNemar 精確檢定，p < 0.05 除以 {classes} 個類別。）"),
    };
    said.push(note);
    said.join(l.say(" ", ""))
}

fn calibration(data: &Data, l: Language) -> Block {
    let stages = ORDER.iter().filter(|s| data.calibration.iter().any(|b| b.stage == **s));
    let series = stages.map(|s| Series {
        name: l.name(s),
        points: data
            .calibration
            .iter()
            .filter(|b| b.stage == *s && b.pictures > 0)
            .map(|b| (b.confidence, b.accuracy, 0.0))
            .collect(),
    });
    let perfect = Series {
        name: l.say("perfect", "理想").to_owned(),
        points: vec![(0.0, 0.0, 0.0), (1.0, 1.0, 0.0)],
    };
    let series: Vec<Series> = series.chain([perfect]).collect();
    let svg = charts::lines(
        l.say("confidence", "信心"),
        l.say("share that is right", "答對比例"),
        &series,
    );
    chart("calibration", svg, l, "How far probabilities can be believed.", "機率可信的程度。")
}

//! The assignment's four questions.

use super::made::{is_controlled, is_one_recipe, loss, origin, ranking};
use super::{best, chart, evidence, heading, pairs_table, ways_table};
use crate::charts::{self, Series};
use crate::data::Data;
use crate::document::Block;
use crate::words::{Language, begun, count, cut_share, percent};
use rows::Way;

/// Names, means and both ends of their intervals, for a chart.
fn bars(ways: &[&Way], language: Language) -> Vec<(String, f64, f64, f64)> {
    let row = |w: &&Way| {
        let name = language.experiment(&w.question, &w.way, w.cut);
        (name, 100.0 * w.top1, 100.0 * w.low, 100.0 * w.high)
    };
    ways.iter().map(row).collect()
}

fn accuracy(language: Language) -> &'static str {
    language.say("validation top-1, %", "驗證準確率 top-1（%）")
}

/// How each way of question 1 makes the teacher small, of those that there are.
fn descriptions(data: &Data, ways: &[&Way], l: Language) -> Vec<String> {
    let arch = data.setting("q1/architecture-", "arch").unwrap_or("?");
    let of = |w: &&Way| {
        let text = match (w.way.as_str(), l) {
            ("none", Language::En) => {
                format!("the same network, narrower, trained {}", loss(data, "q1/none-", l))
            }
            ("none", Language::Zh) => format!("同款的窄網路，{}訓練", loss(data, "q1/none-", l)),
            ("distillation", Language::En) => {
                format!("the same narrow network, trained {}", loss(data, "q1/distillation-", l))
            }
            ("distillation", Language::Zh) => {
                format!("同一窄網路，{}訓練", loss(data, "q1/distillation-", l))
            }
            ("architecture", Language::En) => {
                format!("another family ({arch}), trained {}", loss(data, "q1/architecture-", l))
            }
            ("architecture", Language::Zh) => {
                format!("另一種網路（{arch}），{}訓練", loss(data, "q1/architecture-", l))
            }
            ("pruning", Language::En) => format!(
                "whole channels are cut ({}), then it is trained on {}",
                ranking(data, "q1/cut", l),
                loss(data, "q1/pruning-", l)
            ),
            ("pruning", Language::Zh) => format!(
                "移除整個通道：{}，再{}微調",
                ranking(data, "q1/cut", l),
                loss(data, "q1/pruning-", l)
            ),
            ("low-rank", Language::En) => format!(
                "layers become two thinner ones each, by singular values, then it is trained on {}",
                loss(data, "q1/low-rank-", l)
            ),
            ("low-rank", Language::Zh) => {
                format!("以奇異值把層換成兩個較薄的層，再{}微調", loss(data, "q1/low-rank-", l))
            }
            ("quantization", Language::En) => {
                let each = 8.0 * w.bytes / w.parameters;
                let trained = if w.passes == Some(0) { ", rounded without training" } else { "" };
                format!("all parameters stay, in {each:.1} bits of the file each{trained}")
            }
            ("quantization", Language::Zh) => {
                let each = 8.0 * w.bytes / w.parameters;
                let trained = if w.passes == Some(0) { "，直接取整而不訓練" } else { "" };
                format!("保留全部參數，每個佔檔案 {each:.1} 位元{trained}")
            }
            _ => return None,
        };
        Some(match l {
            Language::En => format!("{}: {text}.", begun(&l.name(&w.way))),
            Language::Zh => format!("{}：{text}。", l.name(&w.way)),
        })
    };
    ways.iter().filter_map(of).collect()
}

/// Whether the ways of question 1 saw the pictures equally often, and what their seeds vary.
fn fairness(ways: &[&Way], l: Language) -> String {
    let all: Option<Vec<usize>> = ways
        .iter()
        .filter(|w| w.way != "quantization")
        .map(|w| Some(w.passes? + w.inherited?))
        .collect();
    let ends = all.as_ref().and_then(|a| a.iter().min().zip(a.iter().max()));
    let mut said = match (l, ends) {
        (Language::En, Some((a, b))) if a == b => {
            format!("All that is trained for it has seen the pictures {a} times in all.")
        }
        (Language::Zh, Some((a, b))) if a == b => {
            format!("凡為此訓練者，訓練圖片總共都看過 {a} 輪。")
        }
        (Language::En, Some((a, b))) => {
            format!(
                "The ways have seen the pictures {a} to {b} times in all: what they reach is not of the way alone."
            )
        }
        (Language::Zh, Some((a, b))) => {
            format!("各種方法看過訓練圖片共 {a} 至 {b} 輪：結果並非只來自方法本身。")
        }
        (_, None) => l
            .say(
                "How often the big model has seen the pictures is not known.",
                "大模型看過訓練圖片幾輪，無從得知。",
            )
            .to_owned(),
    };
    if ways.iter().any(|w| w.seeds > 1 && w.inherited.is_none_or(|n| n > 0)) {
        said += l.say(
            " Where passes are inherited, all seeds go on from the one teacher, so that their spread is that of going on; \
             else it is that of whole trainings.",
            "凡有來源輪次者，所有種子都由同一個教師出發，其標準差只反映之後的訓練；其他則反映整個訓練。",
        );
    }
    said
}

pub(super) fn first(data: &Data, l: Language) -> Vec<Block> {
    let mut ways = data.of("q1");
    if ways.is_empty() {
        return Vec::new();
    }
    let pairs = data.pairs_of("q1");
    let mut said: Vec<String> = data
        .stage("teacher")
        .map(|big| {
            let (size, top1) = (count(big.parameters), percent(big.top1));
            match l {
                Language::En => format!(
                    "One big model, teacher (a) with {size} parameters and {top1} top-1, made small in the ways below, each \
                     alone."
                ),
                Language::Zh => {
                    format!("同一個大模型（教師 a，{size} 個參數，top-1 {top1}）以下列方法壓縮，每種單獨使用。")
                }
            }
        })
        .into_iter()
        .collect();
    said.extend(descriptions(data, &ways, l));
    said.push(fairness(&ways, l));
    let mut blocks = vec![
        heading(l, "1. One big model, made small", "一、同一大模型的壓縮"),
        Block::Text(said.join(l.say(" ", ""))),
        ways_table(
            &ways,
            l,
            ("One big model, made small in each way.", "同一大模型，各種壓縮法。"),
        ),
    ];
    ways.sort_by(|a, b| b.top1.total_cmp(&a.top1));
    let svg = charts::intervals(accuracy(l), &bars(&ways, l));
    blocks.push(chart("question1", svg, l, "Top-1 with 95 % intervals.", "top-1 與 95 % 區間。"));
    blocks.push(Block::Text(best(&ways, &pairs, l)));
    blocks.push(pairs_table(&pairs, l));
    blocks.extend(evidence::table(data, &ways, l));
    blocks.extend(evidence::first(data, l).map(Block::Text));
    blocks
}

pub(super) fn second(data: &Data, l: Language) -> Vec<Block> {
    let students = data.of("q2");
    if students.is_empty() {
        return Vec::new();
    }
    let has_b = students.iter().any(|w| w.way == "teacher-b");
    let is_controlled = is_controlled(data, &students);
    let mut ways: Vec<&Way> = data.stage("teacher").into_iter().collect();
    ways.extend(students);
    let pairs = data.pairs_of("q2");
    let mut said = vec![match l {
        Language::En => format!("Teacher (a) is {}.", origin(data, "teacher.safetensors", l)),
        Language::Zh => format!("教師 a {}。", origin(data, "teacher.safetensors", l)),
    }];
    said.push(match (l, has_b) {
        (Language::En, true) => {
            format!("Teacher (b) is {}.", origin(data, "q2/teacher-b.safetensors", l))
        }
        (Language::Zh, true) => format!("教師 b {}。", origin(data, "q2/teacher-b.safetensors", l)),
        (Language::En, false) => {
            "No teacher (b) was given (TEACHER_B=), so rows (b) and (e) are missing.".to_owned()
        }
        (Language::Zh, false) => "沒有提供教師 b（TEACHER_B=），因此缺少 b 與 e 兩列。".to_owned(),
    });
    let from = loss(data, "q2/from-", l);
    said.push(match l {
        Language::En => format!("The student learns from labels alone, or {from}."),
        Language::Zh => format!("學生僅從標籤學習，或{from}學習。"),
    });
    if is_controlled {
        said.push(
            l.say(
                "All students have the same stored views of every picture, and by their files the settings of a seed are the \
                 same but for α and temperature: the loss is what differs.",
                "所有學生使用每張圖片的相同視圖；依檔案所記，同一種子的設定僅有 α 與溫度不同：不同之處僅在損失。",
            )
            .to_owned(),
        );
    }
    let mut blocks = vec![
        heading(l, "2. Teachers and students", "二、教師與學生"),
        Block::Text(said.join(l.say(" ", ""))),
        ways_table(&ways, l, ("Teachers and students.", "教師與學生。")),
    ];
    blocks.push(chart(
        "question2",
        charts::intervals(accuracy(l), &bars(&ways, l)),
        l,
        "Top-1 with 95 % intervals.",
        "top-1 與 95 % 區間。",
    ));
    let said: Vec<String> = pairs.iter().map(|p| l.verdict(p)).collect();
    blocks.push(Block::Text(said.join(l.say(" ", ""))));
    blocks.push(pairs_table(&pairs, l));
    blocks.extend(evidence::table(data, &ways, l));
    blocks.extend(evidence::second(data, l).map(Block::Text));
    blocks
}

pub(super) fn third(data: &Data, l: Language) -> Vec<Block> {
    let cuts = data.of("q3");
    if cuts.is_empty() {
        return Vec::new();
    }
    let mut names: Vec<&str> = cuts.iter().map(|w| w.way.as_str()).collect();
    names.dedup();
    let series: Vec<Series> = names
        .iter()
        .map(|name| {
            let start = data.stage("student");
            let chain = cuts.iter().filter(|w| w.way == *name).copied();
            let share = cut_share(name);
            let point = |w: &Way| (w.parameters / 1000.0, 100.0 * w.top1, 100.0 * w.deviation);
            Series {
                name: match l {
                    Language::En => format!("{share} per cut"),
                    Language::Zh => format!("每次 {share}"),
                },
                points: start.into_iter().chain(chain).map(point).collect(),
            }
        })
        .collect();
    let pairs = data.pairs_of("q3");
    let rank = ranking(data, "q3/", l);
    let tuned = loss(data, "q3/", l);
    let intro = match l {
        Language::En => format!(
            "From the student, a share of the channels is cut ({rank}), the network tuned {tuned}, and so on. Every line \
             begins at the student."
        ),
        Language::Zh => format!(
            "從學生網路開始，每次移除一部分通道：{rank}，再{tuned}微調，如此反覆。每條線都從學生開始。"
        ),
    };
    let has_bars = series.iter().any(|s| s.points.iter().any(|p| p.2 > 0.0));
    let caption = match has_bars {
        true => (
            "Validation accuracy against parameters, a line per share; bars are one standard deviation over seeds.",
            "驗證準確率與參數量，每種比例一條線；誤差線為各種子的一個標準差。",
        ),
        false => (
            "Validation accuracy against parameters, a line per share.",
            "驗證準確率與參數量，每種比例一條線。",
        ),
    };
    let svg = charts::lines(l.say("parameters, thousands", "參數量（千）"), accuracy(l), &series);
    let mut blocks = vec![
        heading(l, "3. Shares of a cut", "三、剪枝比例"),
        Block::Text(intro),
        chart("question3", svg, l, caption.0, caption.1),
    ];
    if !pairs.is_empty() {
        let mut said =
            vec![l.say("Where chains are nearest in size:", "各鏈參數量最接近之處：").to_owned()];
        said.extend(pairs.iter().map(|p| l.verdict(p)));
        said.extend(evidence::third(data, &pairs, l));
        blocks.push(Block::Text(said.join(l.say(" ", ""))));
    }
    blocks.push(ways_table(&cuts, l, ("Every cut.", "每次剪枝。")));
    if !pairs.is_empty() {
        blocks.push(pairs_table(&pairs, l));
    }
    let ends: Vec<&Way> =
        names.iter().filter_map(|n| cuts.iter().rev().find(|w| w.way == *n).copied()).collect();
    blocks.extend(evidence::table(data, &ends, l));
    blocks
}

pub(super) fn fourth(data: &Data, l: Language) -> Vec<Block> {
    let ways = data.of("q4");
    if ways.is_empty() {
        return Vec::new();
    }
    let pairs = data.pairs_of("q4");
    let sizes: Vec<String> = ways.iter().map(|w| format!("{:.2} MB", w.bytes / 1e6)).collect();
    let is_alike = is_one_recipe(data, "q4/");
    let intro = match l {
        Language::En => format!(
            "One network with ordinary convolutions, with each but the first replaced by a depthwise and a pointwise one, and \
             with each but the first in groups; as wide as about equal parameters allow (files of {}), trained {}{}.",
            sizes.join(", "),
            loss(data, "q4/", l),
            if is_alike { " with the same settings" } else { "" }
        ),
        Language::Zh => format!(
            "同一個網路：使用一般卷積；除第一層外換成深度卷積加逐點卷積；除第一層外換成分組卷積；寬度取到參數量約略相等\
             （檔案 {}），{}{}訓練。",
            sizes.join("、"),
            if is_alike { "以相同設定" } else { "" },
            loss(data, "q4/", l)
        ),
    };
    let mut blocks = vec![
        heading(l, "4. Three kinds of convolution", "四、三種卷積"),
        Block::Text(intro),
        ways_table(&ways, l, ("Three twins.", "三個孿生網路。")),
        chart(
            "question4",
            charts::intervals(accuracy(l), &bars(&ways, l)),
            l,
            "Top-1 with 95 % intervals.",
            "top-1 與 95 % 區間。",
        ),
        Block::Text(best(&ways, &pairs, l)),
        pairs_table(&pairs, l),
    ];
    blocks.extend(evidence::table(data, &ways, l));
    blocks.extend(evidence::fields(data, l));
    blocks.extend(evidence::fourth(data, &pairs, l).map(Block::Text));
    blocks
}

//! The assignment's four questions.

use super::{best, chart, heading, pairs_table, text, ways_table};
use crate::charts::{self, Series};
use crate::data::Data;
use crate::document::Block;
use crate::words::{Language, count, cut_share, percent};
use rows::Way;

/// Names, means and both ends for a chart of intervals: over seeds where there are several.
fn bars(ways: &[&Way], language: Language) -> Vec<(String, f64, f64, f64)> {
    let row = |w: &&Way| {
        let (low, high) = match w.half {
            Some(half) => (w.top1 - half, w.top1 + half),
            None => (w.low, w.high),
        };
        let name = language.experiment(&w.question, &w.way, w.cut);
        (name, 100.0 * w.top1, 100.0 * low, 100.0 * high)
    };
    ways.iter().map(row).collect()
}

fn accuracy(language: Language) -> &'static str {
    language.say("validation top-1, %", "驗證準確率 top-1（%）")
}

pub(super) fn first(data: &Data, l: Language) -> Vec<Block> {
    let mut ways = data.of("q1");
    if ways.is_empty() {
        return Vec::new();
    }
    let big = data.stage("teacher");
    let pairs = data.pairs_of("q1");
    let size = |w: &Way| count(w.parameters);
    let small: Vec<f64> =
        ways.iter().filter(|w| w.way != "quantization").map(|w| w.parameters).collect();
    let (least, most) = small.iter().fold((f64::MAX, 0.0f64), |(a, b), v| (a.min(*v), b.max(*v)));
    let intro = big.map_or(String::new(), |big| match l {
        Language::En => format!(
            "One big model, teacher (a) with {} parameters and {} top-1, made small in five ways, each alone. \
             Pruning cuts whole channels (first-order Taylor, across the network); low rank replaces a layer by \
             two thinner ones (singular values); both are then trained on from labels. Distillation trains a \
             narrower copy of the network on the big one's logits, architecture design another family from \
             labels; \"narrower, nothing else\" is the same narrow copy from labels, to compare with. These have \
             {} to {} parameters. Quantization keeps all parameters and stores each in 8 bits, so that its file \
             is about as large as the others' in 32.",
            size(big), percent(big.top1), count(least), count(most)
        ),
        Language::Zh => format!(
            "同一個大模型（教師 a，{} 個參數，top-1 {}）分別用五種方法壓縮，每種單獨使用。剪枝依一階 Taylor 分數\
             移除整個通道（全網路排序）；低秩近似以奇異值把一層換成兩個較薄的層；兩者之後僅用標籤微調。知識蒸餾\
             讓較窄的同款網路學習大模型的 logits；架構設計用另一種網路從標籤訓練；「僅縮窄網路」是同一窄網路只用\
             標籤訓練，作為對照。以上各有 {} 至 {} 個參數。權重量化保留全部參數，每個存成 8 位元，檔案大小因而\
             與其他方法的 32 位元檔案相近。",
            size(big), percent(big.top1), count(least), count(most)
        ),
    });
    let mut blocks = vec![
        heading(l, "1. Five ways to make one model small", "一、同一模型的五種壓縮法"),
        Block::Text(intro),
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
    blocks
}

pub(super) fn second(data: &Data, l: Language) -> Vec<Block> {
    let students = data.of("q2");
    if students.is_empty() {
        return Vec::new();
    }
    let mut ways: Vec<&Way> = data.stage("teacher").into_iter().collect();
    ways.extend(students);
    let pairs = data.pairs_of("q2");
    let mut blocks = vec![
        heading(l, "2. Teachers and students", "二、教師與學生"),
        text(
            l,
            "(a) is the teacher trained from scratch, (b) one fine-tuned elsewhere, where its file was given. \
             The student learns from labels alone, or from labels and a teacher's logits. All students see the same \
             stored views of every picture, and each seed is used by all: the loss is what differs.",
            "a 為從頭訓練的教師；b 為在別處微調的教師（若有提供檔案）。學生僅從標籤學習，或同時學習教師的 logits。所有學生 \
             使用每張圖片的相同視圖與相同的隨機種子：不同之處僅在損失。",
        ),
        ways_table(&ways, l, ("Teachers and students.", "教師與學生。")),
    ];
    if !ways.iter().any(|w| w.way == "teacher-b") {
        blocks.push(text(
            l,
            "No teacher (b) was given (TEACHER_B=), so rows (b) and (e) are missing.",
            "沒有提供教師 b（TEACHER_B=），因此缺少 b 與 e 兩列。",
        ));
    }
    blocks.push(chart(
        "question2",
        charts::intervals(accuracy(l), &bars(&ways, l)),
        l,
        "Top-1 with 95 % intervals.",
        "top-1 與 95 % 區間。",
    ));
    blocks.push(Block::Text(explained(data, &pairs, l)));
    blocks.push(pairs_table(&pairs, l));
    blocks
}

/// What was found of distillation, and what besides was measured that bears on it.
fn explained(data: &Data, pairs: &[&rows::Pair], l: Language) -> String {
    let mut said: Vec<String> = pairs.iter().map(|p| l.verdict(p)).collect();
    let mean = |way: &str, f: fn(&rows::Trial) -> f64| {
        let of: Vec<f64> =
            data.trials.iter().filter(|t| t.question == "q2" && t.way == way).map(f).collect();
        (!of.is_empty()).then(|| of.iter().sum::<f64>() / of.len() as f64)
    };
    for way in ["scratch", "from-a", "from-b"] {
        if let (Some(error), Some(nll)) = (mean(way, |t| t.calibration_error), mean(way, |t| t.nll))
        {
            let name = l.name(way);
            said.push(match l {
                Language::En => format!(
                    "{}: confidence is off by {:.3} on average (calibration error), the right class costs \
                     {nll:.3} nats.", crate::words::begun(&name), error),
                Language::Zh => format!("{name}：信心平均偏差 {:.3}（校準誤差），正確類別平均 {nll:.3} nats。", error),
            });
        }
    }
    said.join(l.say(" ", ""))
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
    let mut blocks = vec![
        heading(l, "3. Shares of a cut", "三、剪枝比例"),
        text(
            l,
            "From the student, a share of the channels with the smallest |γ| of each batch norm is cut, the \
             network tuned with the teacher's logits, and so on. Every line begins at the student.",
            "從學生網路開始，每次移除各批次正規化層中 |γ| 最小的一部分通道，再用教師的 logits 微調，如此反覆。\
             每條線都從學生開始。",
        ),
        chart(
            "question3",
            charts::lines(l.say("parameters, thousands", "參數量（千）"), accuracy(l), &series),
            l,
            "Validation accuracy against parameters, a line per share; bars are one standard deviation over seeds.",
            "驗證準確率與參數量，每種比例一條線；誤差線為各種子的一個標準差。",
        ),
    ];
    let said: Vec<String> = pairs.iter().map(|p| l.verdict(p)).collect();
    let lead = l.say("Where the chains are nearest in size: ", "各鏈參數量最接近之處：");
    blocks.push(Block::Text(format!("{lead}{}", said.join(l.say(" ", "")))));
    blocks.push(ways_table(&cuts, l, ("Every cut.", "每次剪枝。")));
    blocks.push(pairs_table(&pairs, l));
    blocks
}

pub(super) fn fourth(data: &Data, l: Language) -> Vec<Block> {
    let ways = data.of("q4");
    if ways.is_empty() {
        return Vec::new();
    }
    let pairs = data.pairs_of("q4");
    let sizes: Vec<String> = ways.iter().map(|w| format!("{:.2} MB", w.bytes / 1e6)).collect();
    let intro = match l {
        Language::En => format!(
            "One network, five layers deep, with ordinary convolutions, with each replaced by a depthwise and a \
             pointwise one, and with each in groups; as wide as about equal parameters allow ({} as 32-bit \
             files), trained from labels in the same way.",
            sizes.join(", ")
        ),
        Language::Zh => format!(
            "同一個五層網路：使用一般卷積、把卷積換成深度卷積加逐點卷積、換成分組卷積；寬度取到參數量約略相等\
             （32 位元檔案 {}），以相同方式從標籤訓練。",
            sizes.join("、")
        ),
    };
    vec![
        heading(l, "4. Three kinds of convolution near 1 MB", "四、約 1 MB 的三種卷積"),
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
    ]
}

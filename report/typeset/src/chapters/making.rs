//! How the models were made: bytes, training, cost.

use super::{chart, heading, strings, ways_table};
use crate::charts::{self, Series};
use crate::data::Data;
use crate::document::{Block, Table};
use crate::words::{Language, count};
use rows::Spent;
use std::collections::BTreeMap;

/// Accuracy against bytes; where the shipped file's bytes go; what each tensor costs.
pub(super) fn bytes(data: &Data, l: Language) -> Vec<Block> {
    let mut blocks = vec![heading(l, "6. Bytes", "六、位元組")];
    let ways = data.of("bits");
    if !ways.is_empty() {
        let series: Vec<Series> = ["rounded", "trained"]
            .iter()
            .map(|name| {
                let mut points: Vec<_> = ways
                    .iter()
                    .filter(|w| w.way == *name)
                    .map(|w| (w.bytes / 1000.0, 100.0 * w.top1, 0.0))
                    .collect();
                points.sort_by(|a, b| a.0.total_cmp(&b.0));
                Series { name: l.name(name), points }
            })
            .collect();
        let svg = charts::lines(
            l.say("bytes of the file, thousands", "檔案大小（千位元組）"),
            l.say("validation top-1, %", "驗證準確率 top-1（%）"),
            &series,
        );
        let bits = ways.iter().map(|w| w.cut);
        let (least, most) = (bits.clone().min().unwrap_or(0), bits.max().unwrap_or(0));
        blocks.push(chart("bytes", svg, l,
            &format!("Accuracy against bytes: every weight of one network in {least} to {most} bits, rounded, and trained on these grids."),
            &format!("準確率與檔案大小：同一網路的權重存成 {least} 至 {most} 位元，直接取整，或在格點上訓練。")));
        blocks.push(ways_table(&ways, l, ("Bits per weight.", "每個權重的位元數。")));
        let said: Vec<String> = data.pairs_of("bits").iter().map(|p| l.verdict(p)).collect();
        blocks.push(Block::Text(said.join(l.say(" ", ""))));
    }
    if !data.waterfall.is_empty() {
        let rows: Vec<(String, f64)> = data
            .waterfall
            .iter()
            .filter(|p| p.bytes >= 256)
            .map(|p| (l.name(&p.part), p.bytes as f64))
            .collect();
        let all: usize = data.waterfall.iter().map(|p| p.bytes).sum();
        let rest: usize = data.waterfall.iter().filter(|p| p.bytes < 256).map(|p| p.bytes).sum();
        let weights: usize = data.waterfall.iter().map(|p| p.values).sum();
        let (widest, narrowest) = data
            .waterfall
            .iter()
            .filter(|p| p.values >= 1000)
            .fold((0.0f64, f64::MAX), |(a, b), p| (a.max(p.bits_each), b.min(p.bits_each)));
        blocks.push(chart(
            "waterfall",
            charts::bars(l.say("bytes", "位元組"), &rows),
            l,
            "Where the bytes of the shipped file go (parts of at least 256 bytes).",
            "繳交檔案的位元組用在何處（256 位元組以上的部分）。",
        ));
        let (all, rest, weights) = (count(all as f64), count(rest as f64), count(weights as f64));
        blocks.push(Block::Text(match l {
            Language::En => format!(
                "{all} bytes in all, {rest} of them in parts of fewer than 256; {weights} values. \
                Tensors of at least 1,000 values take {narrowest:.2} to {widest:.2} bits each."
            ),
            Language::Zh => format!(
                "共 {all} 位元組，其中 {rest} 位元組屬於小於 256 的部分；{weights} 個數值。\
                至少 1,000 個數值的張量，每個數值用 {narrowest:.2} 至 {widest:.2} 位元。"
            ),
        }));
    }
    blocks.extend(sensitivity(data, l));
    if blocks.len() > 1 { blocks } else { Vec::new() }
}

fn sensitivity(data: &Data, l: Language) -> Option<Block> {
    let mut tensors: Vec<&str> = data.sensitivity.iter().map(|n| n.tensor.as_str()).collect();
    tensors.dedup();
    let at = |tensor: &str, bits: u8| {
        data.sensitivity.iter().find(|n| n.tensor == tensor && n.bits == bits).map(|n| n.nats)
    };
    // At 3 bits differences show; those of 8 are rounding.
    const SHOWN: u8 = 3;
    let rows: Vec<(String, f64)> =
        tensors.iter().filter_map(|t| Some(((*t).to_owned(), at(t, SHOWN)?))).collect();
    (!rows.is_empty()).then(|| {
        chart("sensitivity",
            charts::bars(l.say("divergence, nats", "散度（nats）"), &rows), l,
            "What it costs to store one layer alone in 3 bits: how far the answers move (Kullback–Leibler).",
            "單獨把一層存成 3 位元的代價：答案偏移多少（Kullback–Leibler 散度）。")
    })
}

/// The pipeline's trainings, and the first seed of each experiment's.
pub(super) fn curves(data: &Data, l: Language) -> Vec<Block> {
    let mut blocks = vec![heading(l, "7. Training", "七、訓練過程")];
    let series = |models: &[&str], value: fn(&rows::Point) -> f64| -> Vec<Series> {
        let of = |m: &&str| Series {
            name: l.name(m.rsplit('/').next().unwrap_or(m)),
            points: data
                .curves
                .iter()
                .filter(|p| p.model == **m)
                .map(|p| (p.epoch as f64, value(p), 0.0))
                .collect(),
        };
        models.iter().map(of).filter(|s| s.points.len() > 1).collect()
    };
    let epoch = l.say("epoch", "訓練輪次");
    let pipeline = pipeline(data);
    let pipeline: Vec<&str> = pipeline.iter().map(String::as_str).collect();
    let accuracy = named(series(&pipeline, |p| 100.0 * p.top1), l);
    if accuracy.is_empty() {
        return Vec::new();
    }
    blocks.push(chart(
        "curves",
        charts::lines(epoch, l.say("validation top-1, %", "驗證準確率 top-1（%）"), &accuracy),
        l,
        "The pipeline's trainings: accuracy after each epoch.",
        "流程中的訓練：每輪之後的準確率。",
    ));
    blocks.push(chart(
        "losses",
        charts::lines(
            epoch,
            l.say("training loss", "訓練損失"),
            &named(series(&pipeline, |p| p.loss), l),
        ),
        l,
        "Their losses; of what is distilled, the teacher's part by its weight α is in it.",
        "訓練損失；蒸餾者依 α 包含教師的部分。",
    ));
    blocks.extend(choice(data, l).map(Block::Text));
    let seed = data.trials.iter().filter(|t| t.question == "q4").map(|t| t.seed).min().unwrap_or(1);
    let twins: Vec<String> = data.of("q4").iter().map(|w| format!("q4/{}-{seed}", w.way)).collect();
    let mut twins: Vec<Series> =
        series(&twins.iter().map(String::as_str).collect::<Vec<_>>(), |p| 100.0 * p.top1);
    for s in &mut twins {
        s.name = l.name(s.name.rsplit_once('-').map_or(s.name.as_str(), |(way, _)| way));
    }
    if !twins.is_empty() {
        blocks.push(chart(
            "twins",
            charts::lines(epoch, l.say("validation top-1, %", "驗證準確率 top-1（%）"), &twins),
            l,
            &format!("The twins of question 4, seed {seed}."),
            &format!("第四題的孿生網路，種子 {seed}。"),
        ));
    }
    blocks
}

/// The pipeline's models in the order of their making: what is in no folder, tuned ones by their number.
fn pipeline(data: &Data) -> Vec<String> {
    let tuned = |model: &str| model.strip_prefix("tuned").and_then(|n| n.parse::<u32>().ok());
    let place = |model: &str| match (model, tuned(model)) {
        ("teacher", _) => Some((0, 0)),
        ("student", _) => Some((1, 0)),
        (_, Some(n)) => Some((2, n)),
        ("quantized", _) => Some((3, 0)),
        _ => None,
    };
    let all: BTreeMap<(u32, u32), String> =
        data.curves.iter().filter_map(|p| Some((place(&p.model)?, p.model.clone()))).collect();
    all.into_values().collect()
}

/// Curves of tuned models called by the cut that they follow, where there are several.
fn named(mut series: Vec<Series>, l: Language) -> Vec<Series> {
    let number = |name: &str| name.strip_prefix("tuned").and_then(|n| n.parse::<u32>().ok());
    for s in &mut series {
        if let Some(n) = number(&s.name) {
            s.name = match l {
                Language::En => format!("after cut {n}"),
                Language::Zh => format!("第 {n} 次剪枝後"),
            };
        }
    }
    series
}

/// By how much choosing the best epoch may flatter.
fn choice(data: &Data, l: Language) -> Option<String> {
    let most = data.choices.iter().max_by(|a, b| a.gain.total_cmp(&b.gain))?;
    let n = data.choices.len();
    let mean = 100.0 * data.choices.iter().map(|c| c.gain).sum::<f64>() / n as f64;
    let (largest, model) = (100.0 * most.gain, &most.model);
    let averages = data.settings.iter().filter(|s| s.setting == "ema");
    let is_averaged = averages.clone().count() > 0 && averages.clone().all(|s| s.value != "0.0");
    let why = match (l, is_averaged) {
        (Language::En, true) => "learning rates end as a cosine at 0 and weights are averaged",
        (Language::En, false) => "learning rates end as a cosine at 0",
        (Language::Zh, true) => "學習率以餘弦降至 0，權重又取平均",
        (Language::Zh, false) => "學習率以餘弦降至 0",
    };
    let mut said = match l {
        Language::En => format!(
            "What chose is not what judges: the validation pictures chose the best epoch of each training, and are what \
             accuracies are measured on. Over the {n} trainings of two epochs or more, the best epoch's top-1 stands above \
             that of the last, which nothing chose, by {mean:.2} points in the mean and {largest:.2} at most ({model}). As \
             {why}, late epochs are about equally good, so that this is about the most that choosing adds. It would not be \
             where accuracy still rises at the end, or where a recipe's settings were chosen by the same pictures; where a \
             network gets worse towards the end, part of it is real."
        ),
        Language::Zh => format!(
            "選擇者不應同時是評判者：每次訓練的最佳輪次由驗證圖片選出，準確率也以其計算。在 {n} 次至少兩輪的訓練中，最佳輪次的 top-1 比\
             最後一輪（未經選擇）平均高 {mean:.2} 個百分點，最多 {largest:.2}（{model}）。因{why}，最後幾輪大致同樣好，\
             故此差距約為選擇所能增加的上限。若準確率到最後仍上升，或設定也由同一批圖片選出，則不然；若網路到最後變差，\
             則其中一部分是真的。"
        ),
    };
    let tested = data.trials.iter().filter_map(|t| Some(t.test_top1? - t.top1));
    let tested: Vec<f64> = tested.collect();
    if !tested.is_empty() {
        let more = 100.0 * tested.iter().sum::<f64>() / tested.len() as f64;
        said += &match l {
            Language::En => format!(
                " On the test pictures the {} models stand {more:+.2} points beside the validation pictures in the mean: \
                 choice, and the difference of the pictures.",
                tested.len()
            ),
            Language::Zh => format!(
                "在測試圖片上，{} 個模型與驗證圖片相比平均 {more:+.2} 個百分點：來自選擇，以及圖片的差異。",
                tested.len()
            ),
        };
    }
    Some(said)
}

/// Seconds, speed and memory, stage by stage.
pub(super) fn cost(data: &Data, l: Language) -> Vec<Block> {
    if data.costs.is_empty() {
        return Vec::new();
    }
    let mut stages = BTreeMap::<&str, Vec<&Spent>>::new();
    for spent in &data.costs {
        stages.entry(&spent.stage).or_default().push(spent);
    }
    let header = match l {
        Language::En => {
            ["stage", "runs", "seconds", "longest", "pictures per second", "peak memory, MB"]
        }
        Language::Zh => ["階段", "次數", "秒數", "最長", "每秒圖片數", "記憶體峰值（MB）"],
    };
    let row = |(stage, of): (&&str, &Vec<&Spent>)| {
        let seconds: f64 = of.iter().map(|s| s.seconds).sum();
        let pictures: usize = of.iter().map(|s| s.pictures).sum();
        let longest = of.iter().map(|s| s.seconds).fold(0.0, f64::max);
        let peak = of.iter().map(|s| s.peak_bytes).max().unwrap_or(0);
        let speed =
            if pictures > 0 { count(pictures as f64 / seconds.max(1e-3)) } else { String::new() };
        vec![
            (*stage).to_owned(),
            of.len().to_string(),
            format!("{seconds:.1}"),
            format!("{longest:.1}"),
            speed,
            count(peak as f64 / 1e6),
        ]
    };
    let total: f64 = data.costs.iter().map(|s| s.seconds).sum();
    let table = Table { header: strings(header), rows: stages.iter().map(row).collect(), words: 1 };
    let told = match l {
        Language::En => format!(
            "{total:.0} seconds in all, of runs that were finished; each counts from its start, \
            so that what runs beside it makes it longer."
        ),
        Language::Zh => format!(
            "全部完成的執行共 {total:.0} 秒；各從啟動時起算，同時執行的其他工作會使其變長。"
        ),
    };
    vec![
        heading(l, "9. Cost", "九、成本"),
        Block::Table(l.say("Every stage, all runs of it.", "各階段的所有執行。").to_owned(), table),
        Block::Text(told),
    ]
}

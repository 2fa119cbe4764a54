//! What besides accuracy was measured and could explain it. Whatever is not measured is called a hypothesis, and said
//! only where the numbers leave room for it.

use super::strings;
use crate::data::Data;
use crate::document::{Block, Table};
use crate::words::{Language, begun, percent};
use rows::{Evidence, Field, Gain, Pair, Way};

/// Agreement, calibration, work for each right answer, and the classes that profit and suffer most.
pub(super) fn table(data: &Data, ways: &[&Way], l: Language) -> Option<Block> {
    let header = match l {
        Language::En => [
            "",
            "as (a)",
            "calibration error",
            "temperature",
            "M MACs per right",
            "gains most",
            "loses most",
        ],
        Language::Zh => [
            "",
            "同教師 a",
            "校準誤差",
            "溫度",
            "每答對一張的乘法（百萬）",
            "最有利類別",
            "最不利類別",
        ],
    };
    let rows: Vec<Vec<String>> = ways
        .iter()
        .filter_map(|w| {
            let Evidence {
                agreement,
                calibration_error,
                temperature,
                multiplications_per_right,
                ..
            } = data.evidence_of(w)?;
            let gains = gains(data, w);
            let class = |g: Option<&&Gain>, is_shown: fn(f64) -> bool| {
                g.filter(|g| is_shown(g.difference)).map_or(String::new(), |g| {
                    format!("{} {:+.1}", l.name(&g.class), 100.0 * g.difference)
                })
            };
            Some(vec![
                l.experiment(&w.question, &w.way, w.cut),
                agreement
                    .filter(|_| w.way != "teacher")
                    .map_or(String::new(), |a| format!("{:.1} %", 100.0 * a)),
                format!("{calibration_error:.3}"),
                format!("{temperature:.2}"),
                multiplications_per_right.map_or(String::new(), |m| format!("{:.1}", m / 1e6)),
                class(gains.last(), |d| d > 0.0),
                class(gains.first(), |d| d < 0.0),
            ])
        })
        .collect();
    let than = ways.iter().find_map(|w| gains(data, w).first().map(|g| g.than.clone()))?;
    let than = l.name(&than);
    let caption = match l {
        Language::En => format!(
            "Evidence: share of pictures answered as teacher (a) does; calibration error, and the temperature that fits; \
             multiplications for each right answer; classes, in points against: {than}."
        ),
        Language::Zh => format!(
            "其他量測：與教師 a 回答相同的比例；校準誤差與最合適的溫度；每答對一張圖片的乘法次數；各類別的變化（百分點，與「{than}」相比）。"
        ),
    };
    (!rows.is_empty())
        .then(|| Block::Table(caption, Table { header: strings(header), rows, words: 1 }))
}

/// The classes of an experiment, from the one that loses most to the one that gains most.
fn gains<'a>(data: &'a Data, way: &Way) -> Vec<&'a Gain> {
    let is = |g: &&Gain| g.question == way.question && g.way == way.way && g.cut == way.cut;
    let mut all: Vec<&Gain> = data.gains.iter().filter(is).collect();
    all.sort_by(|a, b| a.difference.total_cmp(&b.difference));
    all
}

fn find<'a>(data: &'a Data, question: &str, way: &str) -> Option<&'a Way> {
    data.ways.iter().find(|w| w.question == question && w.way == way)
}

/// Whether a cut network does what it was cut from does.
pub(super) fn first(data: &Data, l: Language) -> Option<String> {
    let (cut, fresh) = (find(data, "q1", "pruning")?, find(data, "q1", "none")?);
    let agreement = |w| data.evidence_of(w).and_then(|e| e.agreement);
    let (of_cut, of_fresh) = (agreement(cut)?, agreement(fresh)?);
    let (a, b) = (l.name(&cut.way), l.name(&fresh.way));
    let mut said = match l {
        Language::En => format!(
            "{}: {} of the pictures are answered as teacher (a) does; {b}: {}.",
            begun(&a),
            percent(of_cut),
            percent(of_fresh)
        ),
        Language::Zh => {
            format!(
                "{a}：{} 的圖片與教師 a 回答相同；{b}：{}。",
                percent(of_cut),
                percent(of_fresh)
            )
        }
    };
    let is_pair = |p: &&Pair| [&p.a, &p.b] == ["none", "pruning"];
    let is_better = data.pairs_of("q1").into_iter().find(is_pair).is_some_and(|p| p.better == "b");
    said += match (of_cut > of_fresh, is_better) {
        (true, true) => l.say(
            " A hypothesis: a cut network keeps what the big one has found; one that begins narrow does not find it in \
             as many passes.",
            "一個假設：剪枝後的網路保留大模型已習得者，而一開始就窄的網路在同樣輪次中得不到。",
        ),
        (true, false) => l.say(
            " A hypothesis: a cut network keeps the big one's answers, its mistakes included, and one that begins narrow \
             finds others that are about as often right.",
            "一個假設：剪枝後的網路保留大模型的回答，包含其錯誤；一開始就窄的網路得到其他回答，而答對比例相近。",
        ),
        _ => "",
    };
    Some(said)
}

/// How sure teacher and students are, and whether the teacher has something to tell.
pub(super) fn second(data: &Data, l: Language) -> Option<String> {
    let (teacher, alone) = (data.stage("teacher")?, find(data, "q2", "scratch")?);
    let taught = find(data, "q2", "from-a")?;
    let (sure, as_alone, as_taught) =
        (data.evidence_of(teacher)?, data.evidence_of(alone)?, data.evidence_of(taught)?);
    let ahead = 100.0 * (teacher.top1 - alone.top1);
    let agreements = as_alone.agreement.zip(as_taught.agreement)?;
    let mut said = match l {
        Language::En => format!(
            "Teacher (a) less the student from labels: {ahead:+.1} points; the teacher's probabilities are off by {:.3} \
             and fit best at temperature {:.2}. The student from labels answers as it does on {} of the pictures, the \
             distilled one on {}.",
            sure.calibration_error,
            sure.temperature,
            percent(agreements.0),
            percent(agreements.1)
        ),
        Language::Zh => format!(
            "教師 a 與僅標籤的學生相差 {ahead:+.1} 個百分點；其機率平均偏差 {:.3}，最合適的溫度為 {:.2}。僅標籤的學生在 {} 的圖片上\
             與教師回答相同，蒸餾的學生為 {}。",
            sure.calibration_error,
            sure.temperature,
            percent(agreements.0),
            percent(agreements.1)
        ),
    };
    let pairs = data.pairs_of("q2");
    let pair = pairs.iter().find(|p| [p.a.as_str(), p.b.as_str()] == ["from-a", "scratch"])?;
    said += match (pair.better.as_str(), agreements.1 > agreements.0) {
        ("a", true) => l.say(
            " A hypothesis: the teacher's probabilities tell which classes look alike, which labels do not.",
            "一個假設：教師的機率說明哪些類別相似，標籤則無。",
        ),
        ("none", true) => l.say(
            " A hypothesis: the student learns to answer as the teacher does, its mistakes included, so that agreement \
             grows and accuracy does not.",
            "一個假設：學生學到與教師相同的回答，包含其錯誤，因此較為一致，準確率則未必較高。",
        ),
        _ => "",
    };
    Some(said)
}

/// How long the chains were trained up to where they are nearest in size.
pub(super) fn third(data: &Data, pairs: &[&Pair], l: Language) -> Vec<String> {
    let said = |pair: &&Pair| {
        let cut = |way: &str, cut| {
            data.ways.iter().find(|w| w.question == "q3" && w.way == way && w.cut == cut)
        };
        let (a, b) = (cut(&pair.a, pair.a_cut)?, cut(&pair.b, pair.b_cut)?);
        let (own_a, own_b) = (a.passes?, b.passes?);
        let name = |w: &Way| l.experiment(&w.question, &w.way, w.cut);
        let mut said = match l {
            Language::En => format!(
                "Up to there {} took {own_a} passes after the student, {} took {own_b}.",
                name(a),
                name(b)
            ),
            Language::Zh => {
                format!(
                    "到此為止，{}在學生之後訓練 {own_a} 輪，{}訓練 {own_b} 輪。",
                    name(a),
                    name(b)
                )
            }
        };
        let is_longer = match pair.better.as_str() {
            "a" => own_a > own_b,
            "b" => own_b > own_a,
            _ => false,
        };
        if is_longer {
            said += l.say(
                " A hypothesis: these passes account for the difference, and not the share of a cut.",
                "一個假設：差異來自這些輪次，而非剪枝比例。",
            );
        }
        Some(said)
    };
    pairs.iter().filter_map(said).collect()
}

/// Channels, maps and receptive fields of the twins.
pub(super) fn fields(data: &Data, l: Language) -> Option<Block> {
    let mut twins: Vec<&str> = data.fields.iter().map(|f| f.way.as_str()).collect();
    twins.dedup();
    let header = match l {
        Language::En => ["", "convolutions", "map", "channels", "sees"],
        Language::Zh => ["", "卷積數", "圖", "通道", "可見範圍"],
    };
    let row = |way: &str| {
        let of: Vec<&Field> = data.fields.iter().filter(|f| f.way == way).collect();
        // Of each map what the last layer gives that makes it.
        let is_end = |i: &usize| of.get(i + 1).is_none_or(|next| next.map != of[*i].map);
        let joined = |value: fn(&Field) -> usize| {
            let ends = (0..of.len()).filter(is_end);
            ends.map(|i| value(of[i]).to_string()).collect::<Vec<_>>().join(" → ")
        };
        let layers = of.iter().filter(|f| !f.layer.contains(' ')).count();
        vec![
            l.name(way),
            layers.to_string(),
            joined(|f| f.map),
            joined(|f| f.channels),
            joined(|f| f.field),
        ]
    };
    let header = strings(header);
    let rows: Vec<Vec<String>> = twins.iter().map(|way| row(way)).collect();
    let caption = l.say(
        "Convolutions; side of each map, pixels, and behind its last layer the channels and the side of the square of the \
         picture that a value sees (receptive field, Araujo et al. 2019).",
        "卷積數；各圖的大小（像素），以及其最後一層的通道數與一個數值所見圖片範圍的大小（Araujo 等，2019）。",
    );
    let caption = caption.to_owned();
    if rows.is_empty() {
        return None;
    }
    Some(Block::Table(caption, Table { header, rows, words: 1 }))
}

/// What the twins share, and in what they differ.
pub(super) fn fourth(data: &Data, pairs: &[&Pair], l: Language) -> Option<String> {
    let ends = |way: &str| {
        let of = data.fields.iter().filter(|f| f.way == way);
        let (field, map) = of.clone().next_back().map(|f| (f.field, f.map))?;
        Some((field, map, of.map(|f| f.channels).max()?))
    };
    let twins: Vec<(&Way, (usize, usize, usize))> =
        data.of("q4").into_iter().filter_map(|w| Some((w, ends(&w.way)?))).collect();
    let (_, (field, map, _)) = *twins.first()?;
    if twins.iter().any(|(_, e)| (e.0, e.1) != (field, map)) {
        return None;
    }
    let (widest, (.., channels)) = twins.iter().max_by_key(|t| t.1.2)?;
    let name = l.name(&widest.way);
    let mut said = match l {
        Language::En => format!(
            "All end in maps of {map} × {map}, each value of which sees {field} × {field} pixels: field and maps explain no \
             difference. The widest, with {channels} channels, is that of {name}."
        ),
        Language::Zh => format!(
            "全部以 {map} × {map} 的圖作結，其中每個數值所見為 {field} × {field} 像素：範圍與大小無從說明差異。最寬者為{name}，{channels} 個通道。"
        ),
    };
    let wins = |p: &&&Pair| {
        (p.better == "a" && p.a == widest.way) || (p.better == "b" && p.b == widest.way)
    };
    if pairs.iter().any(|p| wins(&p)) {
        said += l.say(
            " A hypothesis: at equal parameters it is its width that helps.",
            "一個假設：參數量相同時，有利的是寬度。",
        );
    }
    Some(said)
}

//! How models were made, in words: only what their files say.

use crate::data::Data;
use crate::words::Language;
use rows::Way;

/// What made a teacher, as its file says: `trained from scratch`, and so on.
pub(super) fn origin(data: &Data, file: &str, l: Language) -> &'static str {
    let of = |e: &&rows::Edge| e.file == file;
    let stage = data.lineage.iter().find(of).map(|e| e.stage.as_str());
    let goes_on = data.lineage.iter().filter(of).any(|e| e.role == "init");
    match (stage, goes_on) {
        (Some("train"), false) => {
            l.say("trained from scratch on these pictures", "以這些圖片從頭訓練")
        }
        (Some("train"), true) => {
            l.say("trained on from weights from elsewhere", "由別處的權重繼續訓練")
        }
        _ => l.say("from a file that was trained elsewhere", "來自別處訓練的檔案"),
    }
}

/// What learns from a teacher's logits, in words, where all files whose paths begin so agree.
pub(super) fn loss(data: &Data, path: &str, l: Language) -> String {
    let is_here = |s: &&rows::Setting| s.file.starts_with(path);
    let are_labels = data.settings.iter().filter(is_here).any(|s| s.stage == "train");
    match (data.number(path, "alpha"), data.number(path, "temperature")) {
        (Some(0.0), _) => l.say("from labels", "僅用標籤").to_owned(),
        (None, _) if are_labels => l.say("from labels", "僅用標籤").to_owned(),
        (Some(alpha), Some(t)) => match l {
            Language::En => {
                format!("from labels and the teacher's logits (α {alpha:.2}, temperature {t})")
            }
            Language::Zh => format!("用標籤與教師的 logits（α {alpha:.2}，溫度 {t}）"),
        },
        _ => l.say("from labels and the teacher's logits", "用標籤與教師的 logits").to_owned(),
    }
}

/// By what channels were ranked and compared, as the cuts at `path` say.
pub(super) fn ranking(data: &Data, path: &str, l: Language) -> String {
    let by = match data.setting(path, "by") {
        Some("gamma") => l.say("the smallest |γ| of each batch norm", "批次正規化層中最小的 |γ|"),
        Some("taylor") => l.say("the smallest first-order Taylor terms", "最小的一階 Taylor 分數"),
        other => other.unwrap_or("?"),
    };
    let scope = match data.setting(path, "scope") {
        Some("global") => l.say("across the network", "全網路排序"),
        Some("layer") => l.say("layer by layer", "各層分別"),
        other => other.unwrap_or("?"),
    };
    let per = match data.setting(path, "per") {
        Some("parameter") => l.say(", per parameter", "，以每個參數計"),
        _ => "",
    };
    match l {
        Language::En => format!("{by}, {scope}{per}"),
        Language::Zh => format!("{by}（{scope}{per}）"),
    }
}

/// Whether all files whose paths begin so were trained with the same settings, but for seed and network.
pub(super) fn is_one_recipe(data: &Data, path: &str) -> bool {
    let of = data.settings.iter().filter(|s| s.file.starts_with(path));
    let names: std::collections::BTreeSet<&str> = of.map(|s| s.setting.as_str()).collect();
    let differs = |name: &&&str| data.setting(path, name).is_none();
    !names.is_empty() && names.iter().filter(differs).all(|n| ["arch", "seed"].contains(n))
}

/// Whether the students of every seed differ in their loss alone, as their files say.
pub(super) fn is_controlled(data: &Data, students: &[&Way]) -> bool {
    let of = |way: &str, seed: u32| {
        let file = format!("q2/{way}-{seed}.safetensors");
        let all = data.settings.iter().filter(move |s| s.file == file);
        let is_kept = |s: &&rows::Setting| !["alpha", "temperature"].contains(&s.setting.as_str());
        let mut all: Vec<_> =
            all.filter(is_kept).map(|s| (&s.stage, &s.setting, &s.value)).collect();
        all.sort();
        all
    };
    let is_student = |t: &&rows::Trial| t.question == "q2" && t.seed > 0;
    let seeds: std::collections::BTreeSet<u32> =
        data.trials.iter().filter(is_student).map(|t| t.seed).collect();
    let students: Vec<&&Way> = students.iter().filter(|w| w.way != "teacher-b").collect();
    !seeds.is_empty()
        && seeds.iter().all(|seed| {
            let first = students.first().map(|w| of(&w.way, *seed));
            students.iter().all(|w| {
                Some(of(&w.way, *seed)) == first && first.as_ref().is_some_and(|f| !f.is_empty())
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tests::parsed;

    /// Path, stage and settings.
    type File<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

    fn made(files: &[File<'_>]) -> Data {
        let row = |file: &str, stage: &str, (setting, value): &(&str, &str)| rows::Setting {
            file: file.to_owned(),
            stage: stage.to_owned(),
            setting: (*setting).to_owned(),
            value: (*value).to_owned(),
        };
        let rows = files.iter().flat_map(|(f, s, all)| all.iter().map(move |pair| row(f, s, pair)));
        Data { settings: rows.collect(), ..Data::default() }
    }

    /// What is said of a cut or a loss is what the files have, and nothing where they disagree.
    #[test]
    fn words_follow_the_files() {
        let data = made(&[
            ("q1/cut.safetensors", "prune channels", &[("by", "taylor"), ("scope", "global")]),
            ("q3/0.1-1-1-cut.safetensors", "prune channels", &[("by", "l1"), ("scope", "layer")]),
            ("q1/none-1.safetensors", "distill", &[("alpha", "0.0"), ("temperature", "20.0")]),
            ("q2/from-a-1.safetensors", "distill", &[("alpha", "0.7"), ("temperature", "4.0")]),
            ("q4/plain-1.safetensors", "train", &[("seed", "1")]),
            ("x/a.safetensors", "distill", &[("alpha", "0.7"), ("temperature", "4.0")]),
            ("x/b.safetensors", "distill", &[("alpha", "0.9"), ("temperature", "4.0")]),
        ]);
        let en = Language::En;
        assert_eq!(
            ranking(&data, "q1/cut", en),
            "the smallest first-order Taylor terms, across the network"
        );
        assert_eq!(ranking(&data, "q3/", en), "l1, layer by layer");
        assert_eq!(loss(&data, "q1/none-", en), "from labels");
        assert_eq!(loss(&data, "q4/", en), "from labels");
        let taught = "from labels and the teacher's logits";
        assert_eq!(loss(&data, "q2/from-", en), format!("{taught} (α 0.70, temperature 4)"));
        assert_eq!(loss(&data, "x/", en), taught);
        assert!(
            is_one_recipe(&data, "q4/")
                && !is_one_recipe(&data, "x/")
                && !is_one_recipe(&data, "y/")
        );
    }

    /// Two students of a seed whose learning rates differ are no comparison of losses.
    #[test]
    fn control_is_read_from_the_files() {
        let way = |way: &str| -> Way {
            let header = "question,way,step,seeds,parameters,bytes,multiplications,top1,deviation,low,high,student_half,\
                          wilson_low,wilson_high,passes,inherited,test_top1,test_low,test_high";
            let row = format!("{header}\nq2,{way},0,1,95,200,300,1,0,0.7,1,,0.7,1,,,,,\n");
            parsed(&row).remove(0)
        };
        let trial = "question,way,seed,step,parameters,bytes,multiplications,pictures,correct,top1,wilson_low,\
                     wilson_high,calibration_error,nll,passes,inherited,test_top1\nq2,scratch,1,0,9,9,9,8,8,1,1,1,0,0,,,\n";
        let (a, b) = (way("from-a"), way("scratch"));
        for (lr, expected) in [("0.1", true), ("0.2", false)] {
            let mut data = made(&[
                ("q2/from-a-1.safetensors", "distill", &[("alpha", "0.7"), ("lr", "0.1")]),
                ("q2/scratch-1.safetensors", "distill", &[("alpha", "0.0"), ("lr", lr)]),
            ]);
            data.trials = parsed(trial);
            assert_eq!(is_controlled(&data, &[&a, &b]), expected, "{lr}");
        }
    }
}

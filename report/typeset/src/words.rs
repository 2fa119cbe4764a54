//! The report's languages. Sentences stand in both beside each other where they are used; here are the words
//! that several places share.

use rows::{Pair, Way};

/// English or Traditional Chinese.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Language {
    /// English.
    En,
    /// Traditional Chinese.
    Zh,
}

impl Language {
    /// The one of the two that is this language's.
    pub(crate) fn say<'a>(self, en: &'a str, zh: &'a str) -> &'a str {
        match self {
            Self::En => en,
            Self::Zh => zh,
        }
    }

    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh-TW",
        }
    }

    /// A way of a question, a stage, a class: its name in this language, or as it is.
    pub(crate) fn name(self, word: &str) -> String {
        let known = NAMES.iter().find(|(key, ..)| *key == word);
        known.map_or(word, |(_, en, zh)| self.say(en, zh)).to_owned()
    }

    /// What an experiment is called, with its cut where it has one.
    pub(crate) fn experiment(self, question: &str, way: &str, cut: u32) -> String {
        match (question, cut) {
            ("q3", k) => {
                let share = cut_share(way);
                match self {
                    Self::En => format!("{k} × {share}"),
                    Self::Zh => format!("{k} 次 {share}"),
                }
            }
            ("bits", bits) => match self {
                Self::En => format!("{bits} bits, {}", self.name(way)),
                Self::Zh => format!("{bits} 位元，{}", self.name(way)),
            },
            _ => self.name(way),
        }
    }

    /// How far two experiments are apart, and what the paired test says of it.
    pub(crate) fn verdict(self, pair: &Pair) -> String {
        let a = self.experiment(&pair.question, &pair.a, pair.a_cut);
        let b = self.experiment(&pair.question, &pair.b, pair.b_cut);
        let p = p_value(pair.holm);
        let (difference, ends) = (100.0 * pair.difference, (pair.low, pair.high));
        let between = |ends| self.between(ends);
        match (self, pair.better.as_str()) {
            (Self::En, "a") => begun(&format!(
                "{a} is better than {b} by {:.1} points ({}; p {p}).",
                -difference,
                between((-ends.1, -ends.0))
            )),
            (Self::En, "b") => begun(&format!(
                "{b} is better than {a} by {difference:.1} points ({}; p {p}).",
                between(ends)
            )),
            (Self::En, _) => format!(
                "{} less {a}: {difference:+.1} points ({}), no significant difference (p {p}).",
                begun(&b),
                between(ends)
            ),
            (Self::Zh, "a") => format!(
                "{a}比{b}高 {:.1} 個百分點（{}；p {p}）。",
                -difference,
                between((-ends.1, -ends.0))
            ),
            (Self::Zh, "b") => {
                format!("{b}比{a}高 {difference:.1} 個百分點（{}；p {p}）。", between(ends))
            }
            (Self::Zh, _) => format!(
                "{b}與{a}之差：{difference:+.1} 個百分點（{}），沒有顯著差異（p {p}）。",
                between(ends)
            ),
        }
    }

    /// A 95 % interval of a difference, in points.
    fn between(self, (low, high): (f64, f64)) -> String {
        let (low, high) = (100.0 * low, 100.0 * high);
        match self {
            Self::En => format!("95 %: {low:+.1} to {high:+.1}"),
            Self::Zh => format!("95 %：{low:+.1} 至 {high:+.1}"),
        }
    }
}

/// The share that every cut of a chain of question 3 takes, by which the chain is named, in per cent.
pub(crate) fn cut_share(way: &str) -> String {
    let share: f64 = way.parse().expect("Data::load reads no chain of another name");
    format!("{:.0} %", 100.0 * share)
}

/// A sentence begins with a capital.
pub(crate) fn begun(sentence: &str) -> String {
    let mut rest = sentence.chars();
    rest.next().map_or(String::new(), |first| first.to_uppercase().chain(rest).collect())
}

/// A p value as it is read: `≤ 0.0001`, or four digits.
pub(crate) fn p_value(p: f64) -> String {
    if p < 1e-4 { "< 0.0001".to_owned() } else { format!("= {p:.4}") }
}

/// A whole number with commas.
pub(crate) fn count(n: f64) -> String {
    let digits = format!("{:.0}", n.max(0.0));
    let mut out = String::new();
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(d);
    }
    out
}

/// A share in per cent, two digits.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// The mean over seeds with its spread, per cent.
pub(crate) fn mean(way: &Way) -> String {
    match way.student_half {
        Some(_) => format!("{:.2} ± {:.2}", 100.0 * way.top1, 100.0 * way.deviation),
        None => format!("{:.2}", 100.0 * way.top1),
    }
}

/// An interval, in per cent.
pub(crate) fn interval(low: f64, high: f64) -> String {
    format!("{:.1}–{:.1}", 100.0 * low.max(0.0), 100.0 * high.min(1.0))
}

/// Passes over the training pictures, own and inherited; a question mark where nothing is known.
pub(crate) fn passes(way: &Way) -> String {
    match (way.passes, way.inherited) {
        (None, _) => "?".to_owned(),
        (Some(own), None) => format!("{own} + ?"),
        (Some(own), Some(0)) => own.to_string(),
        (Some(own), Some(before)) => format!("{own} + {before}"),
    }
}

/// Key, English, Traditional Chinese.
const NAMES: [(&str, &str, &str); 42] = [
    ("none", "narrow copy", "僅縮窄網路"),
    ("distillation", "knowledge distillation", "知識蒸餾"),
    ("architecture", "architecture design", "架構設計"),
    ("pruning", "network pruning", "網路剪枝"),
    ("low-rank", "low-rank approximation", "低秩近似"),
    ("quantization", "weight quantization", "權重量化"),
    ("scratch", "student from labels", "學生（僅標籤）"),
    ("from-a", "student from teacher (a)", "學生（教師 a 蒸餾）"),
    ("from-b", "student from teacher (b)", "學生（教師 b 蒸餾）"),
    ("teacher", "teacher (a)", "教師 a"),
    ("teacher-b", "teacher (b)", "教師 b"),
    ("student", "student", "學生"),
    ("pruned", "pruned", "剪枝後"),
    ("quantized", "on grids", "格點上"),
    ("shipped", "shipped file", "繳交檔案"),
    ("plain", "ordinary convolutions", "一般卷積"),
    ("plain_separable", "depthwise + pointwise", "深度 + 逐點卷積"),
    ("plain_grouped", "group convolutions", "分組卷積"),
    ("rounded", "rounded", "直接取整"),
    ("trained", "trained", "量化訓練"),
    ("header", "header", "檔頭"),
    ("Bread", "Bread", "麵包"),
    ("Dairy product", "Dairy product", "乳製品"),
    ("Dessert", "Dessert", "甜點"),
    ("Egg", "Egg", "蛋"),
    ("Fried food", "Fried food", "油炸食物"),
    ("Meat", "Meat", "肉類"),
    ("Noodles/Pasta", "Noodles/Pasta", "麵食"),
    ("Rice", "Rice", "米飯"),
    ("Seafood", "Seafood", "海鮮"),
    ("Soup", "Soup", "湯"),
    ("Vegetable/Fruit", "Vegetable/Fruit", "蔬菜水果"),
    ("T-shirt", "T-shirt", "T恤"),
    ("Trouser", "Trouser", "長褲"),
    ("Pullover", "Pullover", "套頭衫"),
    ("Dress", "Dress", "洋裝"),
    ("Coat", "Coat", "外套"),
    ("Sandal", "Sandal", "涼鞋"),
    ("Shirt", "Shirt", "襯衫"),
    ("Sneaker", "Sneaker", "運動鞋"),
    ("Bag", "Bag", "包"),
    ("Boot", "Boot", "靴子"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(count(1_234_567.4), "1,234,567");
        assert_eq!(count(12.0), "12");
        assert_eq!(p_value(0.00005), "< 0.0001");
        assert_eq!(p_value(0.04321), "= 0.0432");
        assert_eq!(percent(0.12345), "12.35 %");
    }

    /// A difference is told only where the test found one.
    #[test]
    fn verdicts_say_no_more_than_the_test() {
        let pair = |better: &str| Pair {
            question: "q1".to_owned(),
            a: "pruning".to_owned(),
            a_cut: 0,
            b: "low-rank".to_owned(),
            b_cut: 0,
            seeds: 3,
            difference: -0.03,
            low: -0.05,
            high: -0.011,
            only_a: 5,
            only_b: 2,
            p: 0.001,
            holm: 0.01,
            better: better.to_owned(),
            test_difference: None,
            test_low: None,
            test_high: None,
        };
        let said = Language::En.verdict(&pair("none"));
        assert!(said.contains("no significant difference") && !said.contains("better"), "{said}");
        assert_eq!(
            Language::En.verdict(&pair("a")),
            "Network pruning is better than low-rank approximation by 3.0 points (95 %: +1.1 to +5.0; p = 0.0100)."
        );
        assert!(Language::Zh.verdict(&pair("none")).contains("沒有顯著差異"));
    }
}

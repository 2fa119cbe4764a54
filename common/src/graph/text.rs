//! The text form of a graph, see [`super`].

use super::{Graph, LIMIT, MAX_NODES, Node, Op, Window};
use anyhow::{Context, Result, bail, ensure};
use std::fmt;
use std::str::FromStr;

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, node) in self.nodes().iter().enumerate() {
            if i > 0 {
                f.write_str(";")?;
            }
            if !node.name.is_empty() {
                write!(f, "{}:", node.name)?;
            }
            f.write_str(&describe(node))?;
            if i > 0 && node.inputs != [i - 1] {
                let inputs: Vec<String> = node.inputs.iter().map(usize::to_string).collect();
                write!(f, " @{}", inputs.join(","))?;
            }
        }
        Ok(())
    }
}

/// A node without its name and inputs.
pub(super) fn describe(node: &Node) -> String {
    let window = |w: Window| {
        let mut s = format!(" k{}", w.kernel);
        if w.stride != 1 {
            s += &format!(" s{}", w.stride);
        }
        if w.padding != 0 {
            s += &format!(" p{}", w.padding);
        }
        s
    };
    let biased = |b: bool| if b { " bias" } else { "" };
    match node.op {
        Op::Input { channels } => format!("input {channels}"),
        Op::Conv { input, output, window: w, groups, bias } => {
            let groups = if groups == 1 { String::new() } else { format!(" g{groups}") };
            format!("conv {input}>{output}{}{groups}{}", window(w), biased(bias))
        }
        Op::BatchNorm { channels } => format!("bn {channels}"),
        Op::Relu => "relu".to_owned(),
        Op::Relu6 => "relu6".to_owned(),
        Op::MaxPool(w) => format!("max{}", window(w)),
        Op::GlobalAvgPool => "gap".to_owned(),
        Op::Linear { input, output, bias } => format!("linear {input}>{output}{}", biased(bias)),
        Op::Add => "add".to_owned(),
    }
}

impl FromStr for Graph {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split(';').take(MAX_NODES + 1).collect();
        let nodes = parts.iter().enumerate().map(|(i, part)| {
            parse_node(part.trim(), i).with_context(|| format!("node {i}, {part:?}"))
        });
        Self::new(nodes.collect::<Result<_>>()?)
    }
}

/// The words after an operation's name.
#[derive(Default)]
struct Words {
    pair: Option<(usize, usize)>,
    number: Option<usize>,
    window: Option<Window>,
    groups: Option<usize>,
    bias: bool,
    inputs: Option<Vec<usize>>,
}

fn number(text: &str) -> Result<usize> {
    let n: usize = text.parse().map_err(|_| anyhow::anyhow!("{text:?} is not a whole number"))?;
    ensure!(n <= LIMIT, "{n} is larger than {LIMIT}");
    Ok(n)
}

fn parse_words<'a>(words: impl Iterator<Item = &'a str>) -> Result<Words> {
    let mut out = Words::default();
    for word in words {
        let window = out.window.unwrap_or(Window { kernel: 1, stride: 1, padding: 0 });
        if word == "bias" {
            out.bias = true;
        } else if let Some((a, b)) = word.split_once('>') {
            out.pair = Some((number(a)?, number(b)?));
        } else if let Some(n) = word.strip_prefix('k') {
            out.window = Some(Window { kernel: number(n)?, ..window });
        } else if let Some(n) = word.strip_prefix('s') {
            out.window = Some(Window { stride: number(n)?, ..window });
        } else if let Some(n) = word.strip_prefix('p') {
            out.window = Some(Window { padding: number(n)?, ..window });
        } else if let Some(n) = word.strip_prefix('g') {
            out.groups = Some(number(n)?);
        } else if let Some(list) = word.strip_prefix('@') {
            out.inputs = Some(list.split(',').map(number).collect::<Result<_>>()?);
        } else {
            out.number = Some(number(word)?);
        }
    }
    Ok(out)
}

fn parse_node(text: &str, i: usize) -> Result<Node> {
    let (name, rest) = text.split_once(':').unwrap_or(("", text));
    let mut words = rest.split_whitespace();
    let verb = words.next().unwrap_or_default();
    let w = parse_words(words)?;
    let pair = w.pair.context("expected IN>OUT");
    let one = w.number.context("expected a number of channels");
    let window = w.window.context("expected a window kN");
    let op = match verb {
        "input" => Op::Input { channels: one? },
        "conv" => {
            let (input, output) = pair?;
            let groups = w.groups.unwrap_or(1);
            Op::Conv { input, output, window: window?, groups, bias: w.bias }
        }
        "bn" => Op::BatchNorm { channels: one? },
        "relu" => Op::Relu,
        "relu6" => Op::Relu6,
        "max" => Op::MaxPool(window?),
        "gap" => Op::GlobalAvgPool,
        "linear" => {
            let (input, output) = pair?;
            Op::Linear { input, output, bias: w.bias }
        }
        "add" => Op::Add,
        _ => bail!("unknown operation {verb:?}"),
    };
    let before = if i == 0 { Vec::new() } else { vec![i - 1] };
    Ok(Node { name: name.to_owned(), op, inputs: w.inputs.unwrap_or(before) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_it_is_written() -> Result<()> {
        let text = "input 3;a:conv 3>8 k3 s2 p1 bias;b:bn 8;relu6;c:conv 8>8 k3 p1 g8;\
                    d:bn 8;relu;add @3,6;max k3 s2 p1;gap;f:linear 8>2 bias";
        assert_eq!(text.parse::<Graph>()?.to_string(), text);
        Ok(())
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            "input 3",
            "input 4;gap;f:linear 4>2",
            "gap;f:linear 3>2",
            "input 3;gap;f:linear 4>2",
            "input 3;gap;linear 3>2",
            "input 3;gap;f:linear 3>2 @9",
            "input 3;gap;f:linear 3>2 @2",
            "input 3;f:conv 3>4 k3 g2;gap;f:linear 4>2",
            "input 3;a:conv 3>4 k3;a:conv 4>4 k3;gap;f:linear 4>2",
            "input 3;a:conv 3>99999999999999999999 k3;gap",
            "input 3;a:conv 3>2000000 k3;gap",
            "input 3;max k3 s0;gap;f:linear 3>2",
            "input 3;max k3 p3;gap;f:linear 3>2",
            "input 3;add @0;gap;f:linear 3>2",
            "input 3;warp;gap;f:linear 3>2",
            "input 3;input 3;gap;f:linear 3>2",
        ] {
            assert!(bad.parse::<Graph>().is_err(), "{bad}");
        }
    }
}

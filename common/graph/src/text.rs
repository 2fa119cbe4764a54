//! Graphs as text, as artifacts store them: one node per `;`. Written by hand, one node per line does
//! as well, and what stands behind a `#` is not read. A line that begins with `?` is what a draft leaves open:
//! with it the text is refused.
//!
//! ```text
//! input 3;cnn.0.0:conv 3>16 k3 p1 bias;cnn.0.1:bn 16;relu6;max k2 s2;…;gap;fc.0:linear 256>11 bias
//! ```
//!
//! `name:` is the prefix of the node's parameters, equal to the key in the PyTorch state dict of the
//! original. A node reads the one before it unless `@i` or `@i,j` says otherwise (counted from 0). What
//! the words of an operation mean stands in its file of [`crate::op`].

use crate::error::{Error, Result, bail, ensure};
use crate::network::{Graph, MAX_NODES, Node};
use crate::op::{Op, VERBS, Words};
use std::fmt;
use std::str::FromStr;

/// What a line begins with that somebody must settle before the text is a graph.
pub const OPEN: &str = "? ";

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, node) in self.nodes().iter().enumerate() {
            if i > 0 {
                f.write_str(";")?;
            }
            if !node.name.is_empty() {
                write!(f, "{}:", node.name)?;
            }
            f.write_str(&node.op.about().text())?;
            if i > 0 && node.inputs != [i - 1] {
                let inputs: Vec<String> = node.inputs.iter().map(usize::to_string).collect();
                write!(f, " @{}", inputs.join(","))?;
            }
        }
        Ok(())
    }
}

impl FromStr for Graph {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, code(line)));
        let parts = lines.flat_map(|(at, line)| line.split(';').map(move |part| (at, part.trim())));
        let parts = parts.filter(|(_, part)| !part.is_empty()).take(MAX_NODES + 1);
        let parts: Vec<(usize, &str)> = parts.collect();
        let open: Vec<&str> = parts.iter().filter_map(|(_, p)| p.strip_prefix(OPEN)).collect();
        ensure!(
            open.is_empty(),
            "a draft that is not this network; settle this, then take out the lines that begin with \"?\": {}",
            open.join("; ")
        );
        // In a file people count lines, in a header there is but one.
        let place = |i: usize| match parts.last() {
            Some((1, _)) | None => format!("node {i}"),
            Some(_) => format!("line {}, node {i}", parts[i].0),
        };
        let node = |(i, (_, part)): (usize, &(usize, &str))| {
            parse_node(part, i).map_err(|e| e.at(format!("{}, {part:?}", place(i))))
        };
        Self::placed(parts.iter().enumerate().map(node).collect::<Result<_>>()?, &place)
    }
}

/// What stands before a comment.
fn code(line: &str) -> &str {
    line.split('#').next().unwrap_or_default()
}

fn parse_node(text: &str, i: usize) -> Result<Node> {
    let (name, rest) = text.split_once(':').unwrap_or(("", text));
    let (verb, mut words) = Words::new(rest);
    let Some(op) = Op::parse(verb, &mut words) else {
        bail!("unknown operation {verb:?}; known: {}", VERBS.join(", "))
    };
    let op = op?;
    let before = if i == 0 { Vec::new() } else { vec![i - 1] };
    let inputs = words.inputs()?.unwrap_or(before);
    let rest = words.rest();
    ensure!(rest.is_empty(), "{rest:?} says nothing about {verb}");
    Ok(Node { name: name.to_owned(), op, inputs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_it_is_written() -> Result<()> {
        for text in [
            "input 3;a:conv 3>8 k3 s2 p1 bias;b:bn 8;relu6;c:conv 8>8 k3 p1 g8;\
             d:bn 8;relu;add @3,6;max k3 s2 p1;gap;f:linear 8>2 bias",
            "input 3;a:conv 3>8 k1;split 0..4;split 4..8 @1;concat @3,2,1;shuffle g2;s:scale 16;\
             avg k3 s2 ceil;max k2 s2 ceil;b:conv 16>2 k1;relu;gap",
            "input 3;a:conv 3>8 k3 s2 same;b:conv 8>8 k5 same g8 bias;max k3 s2 same;gap;f:linear 8>2",
            "input 3;a:conv 3>8 k3 bias;hardswish;b:conv 8>8 k1;silu;f:linear 8>2 k4 bias",
            "input 3;a:conv 3>8 k3;b:bn 8 eps1e-3;relu;c:bn 8 eps1.001e-5 @1;add @3,4;gap;f:linear 8>2",
        ] {
            assert_eq!(text.parse::<Graph>()?.to_string(), text);
        }
        Ok(())
    }

    fn with_epsilon(word: &str) -> Result<Graph> {
        format!("input 3;n:bn 3 {word};gap;f:linear 3>2").parse()
    }

    /// Every ε that is accepted comes back bit by bit; PyTorch's default is not written.
    #[test]
    fn epsilons_are_read_as_they_are_written() -> Result<()> {
        let plain = "input 3;n:bn 3;gap;f:linear 3>2";
        for word in ["", "eps1e-5", "eps0.00001"] {
            assert_eq!(with_epsilon(word)?.to_string(), plain);
        }
        assert_eq!(with_epsilon("eps0.001")?, with_epsilon("eps1e-3")?);
        assert_eq!(with_epsilon("eps0.001")?, plain.parse::<Graph>()?.with_epsilon(1e-3)?);
        // Of every power of two in question, and of all digits.
        for bits in (1e-12f32.to_bits()..=1f32.to_bits()).step_by(65_537) {
            let graph = plain.parse::<Graph>()?.with_epsilon(f32::from_bits(bits))?;
            let text = graph.to_string();
            assert_eq!(text.parse::<Graph>()?, graph, "{text}");
            assert!(text.len() <= plain.len() + " eps1.17549435e-38".len(), "{text}");
        }
        for bad in
            ["eps0", "eps-1e-3", "eps1.1", "epsinf", "epsnan", "eps", "eps1e-3x", "eps1e-3 eps1e-3"]
        {
            assert!(with_epsilon(bad).is_err(), "{bad}");
        }
        for bad in [0.0, -1e-5, f32::NAN, f32::INFINITY, 1.5] {
            assert!(plain.parse::<Graph>()?.with_epsilon(bad).is_err(), "{bad}");
        }
        let e = with_epsilon("eps2").unwrap_err().to_string();
        assert!(e.contains("the epsilon 2 is no decimal from 1e-12 to 1"), "{e}");
        Ok(())
    }

    #[test]
    fn a_node_may_have_its_line_and_a_comment() -> Result<()> {
        let lines = "# by hand\ninput 3  # 0\n\na:conv 3>8 k3;relu # 1; 2\r\n gap\nf:linear 8>2\n";
        let text = "input 3;a:conv 3>8 k3;relu;gap;f:linear 8>2";
        assert_eq!(lines.parse::<Graph>()?, text.parse::<Graph>()?);
        Ok(())
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            "input 3",
            "input 3;gap",
            "input 4;gap;f:linear 4>2",
            "gap;f:linear 3>2",
            "input 3;gap;f:linear 4>2",
            "input 3;gap;linear 3>2",
            "input 3;gap;f:linear 3>2 @9",
            "input 3;gap;f:linear 3>2 @2",
            "input 3;gap;f:linear 3>2 bias bias",
            "input 3;gap;f:linear 3>2 s3",
            "input 3;f:linear 3>2 k16",
            "input 3;f:conv 3>4 k3 g2;gap;f:linear 4>2",
            "input 3;f:conv 3>4 k3 ceil;gap;f:linear 4>2",
            "input 3;f:conv 3>4 k3 same p1;gap;f:linear 4>2",
            "input 3;f:conv 3>4 k3 same same;gap;f:linear 4>2",
            "input 3;max k3 same ceil;gap;f:linear 3>2",
            "input 3;avg k3 same;gap;f:linear 3>2",
            "input 3;a:conv 3>4 k3;a:conv 4>4 k3;gap;f:linear 4>2",
            "input 3;a:conv 3>99999999999999999999 k3;gap",
            "input 3;a:conv 3>2000000 k3;gap",
            "input 3;max k3 s0;gap;f:linear 3>2",
            "input 3;max k3 p3;gap;f:linear 3>2",
            "input 3;avg k16;gap;f:linear 3>2",
            "input 3;split 2..2;gap;f:linear 1>2",
            "input 3;split 1..4;gap;f:linear 3>2",
            "input 3;shuffle g2;gap;f:linear 3>2",
            "input 3;shuffle g0;gap;f:linear 3>2",
            "input 3;shuffle;gap;f:linear 3>2",
            "input 3;f:conv 3>4 k1 gx;gap;g:linear 4>2",
            "input 3;concat @0;gap;f:linear 3>2",
            "input 3;add @0;gap;f:linear 3>2",
            "input 3;warp;gap;f:linear 3>2",
            "input 3;input 3;gap;f:linear 3>2",
        ] {
            assert!(bad.parse::<Graph>().is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_name_the_node() {
        let error = |t: &str| t.parse::<Graph>().unwrap_err().to_string();
        let e = error("input 3;gap;f:linear 4>2");
        assert_eq!(e, "node 2: \"linear 4>2\": expects 4 channels, its input has 3");
        assert!(error("input 3;f:konv 3>4 k3").contains("unknown operation \"konv\""));
        // Of several lines the line is told, however many are empty or comments.
        let lines = |last: &str| format!("# mine\n\ninput 3 # 0\ngap; # 1\n\n{last}\n");
        let e = error(&lines("f:linear 4>2"));
        assert_eq!(e, "line 6, node 2: \"linear 4>2\": expects 4 channels, its input has 3");
        let e = error(&lines("f:linear 3"));
        assert_eq!(e, "line 6, node 2, \"f:linear 3\": expected IN>OUT");
        let e = error(&lines("linear 3>2"));
        assert!(e.starts_with("line 6, node 2: parameters need a name of their own"), "{e}");
    }
}

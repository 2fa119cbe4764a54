//! Networks beyond what any machine should be asked for are refused in a sentence; those in use are not.

#![allow(clippy::print_stderr)] // tests say what they measured

use graph::families::{ALL, Knobs, find};
use graph::limits::{MAX_FLOATS, MAX_MULTIPLICATIONS, MAX_RESULTS};
use graph::schedule::{Fusing, Schedule};
use graph::{Graph, Result};

/// `@node`, so many times.
fn again(node: usize, times: usize) -> String {
    format!("concat @{}", vec![node.to_string(); times].join(","))
}

fn graph(text: &str) -> Graph {
    text.parse().unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn schedule(text: &str, size: usize) -> Result<Schedule> {
    Schedule::new(&text.parse()?, size, Fusing::NONE)
}

fn refusal<T>(found: Result<T>) -> String {
    found.err().expect("refused").to_string()
}

/// Every family on the pictures it is for, 256 px and less, needs a thirtieth of what is allowed or less
/// (DenseNet-100, made for 32 px, a quarter at 256); small ones run on the largest pictures there are.
#[test]
fn networks_in_use_are_far_below() {
    for family in ALL {
        let graph = family.build(&Knobs::standard(1000)).unwrap();
        let fits = |size: &usize| Schedule::new(&graph, *size, Fusing::NONE).is_ok();
        let largest = [256, 512, 1024, 2048, 4096].into_iter().rfind(fits);
        let floats = Schedule::new(&graph, 256, Fusing::NONE).unwrap().floats();
        let (name, work) = (family.name, graph.multiplications(256).unwrap());
        eprintln!(
            "{name}: {floats} numbers, {work} multiplications at 256 px; up to {largest:?} px"
        );
        let share = if name == "densenet100" { 3 } else { 30 };
        assert!(floats < MAX_RESULTS / share && work < MAX_MULTIPLICATIONS / 512, "{name}");
        assert!(largest >= Some(if name == "densenet100" { 256 } else { 1024 }), "{name}");
    }
    let student = find("studentnet").unwrap().build(&Knobs::standard(11)).unwrap();
    assert!(Schedule::new(&student, 4096, Fusing::NONE).is_ok());
}

/// 3 · 256 = 768 channels, then 768 · 256 = 196,608; a result of them on 37 × 37 px has 269,156,352 numbers,
/// on 36 × 36 px 254,803,968, of 2²⁸ = 268,435,456.
#[test]
fn a_result_has_a_largest_size() {
    let text = format!("input 3;{};{};gap;f:linear 196608>2", again(0, 256), again(1, 256));
    assert!(text.len() < 2048, "{}", text.len());
    let graph = graph(&text);
    assert_eq!(graph.shapes(36).unwrap()[2], [36, 36, 196_608]);
    assert_eq!(
        refusal(graph.shapes(37)),
        "node 2 (concat) for pictures of 37 px: a result of 37 × 37 × 196608 numbers, at most 268435456 fit"
    );
    assert!(refusal(schedule(&text, 4096)).contains("4096 × 4096 × 768"));
    // 3 · 4096² is the largest picture; sizes whose product would wrap in 32 or 64 bits are seen.
    let head = "input 3;gap;f:linear 3>2";
    assert!(schedule(head, 4096).is_ok());
    for size in [1 << 16, 1 << 32, usize::MAX / 2] {
        assert!(refusal(schedule(head, size)).contains(&format!("{size} × {size} × 3")), "{size}");
    }
}

/// Results that are small one by one: 8 of them with 768 channels on 512 px, 201,326,592 numbers each, and
/// the picture's 786,432, are 1,611,399,168 numbers; 11 of them 2,215,378,944, of 2³¹ = 2,147,483,648.
#[test]
fn all_results_together_have_a_largest_size() {
    let text = |times: usize| {
        let nodes = vec![again(0, 256); times].join(";");
        format!("input 3;{nodes};gap;f:linear 768>2")
    };
    let floats = |times: usize| Ok(schedule(&text(times), 512)?.floats());
    assert_eq!(floats(8), Ok(1_611_399_168 + 768 + 2));
    let refused = refusal(floats(11));
    assert_eq!(
        refused,
        "the results of one picture of 512 px are 2215379714 numbers in 14 operations, at most 2147483648 fit"
    );
}

/// Layers count together; one more output with 2²⁰ inputs is too much. Windows of 15 px over 2²⁰ channels are
/// sums of 225 · 2²⁰ products.
#[test]
fn parameters_have_a_largest_size() {
    // 3 · 2²⁰ + 253 · 2²⁰ = 2²⁸.
    let largest = graph("input 3;a:conv 3>1048576 k1;gap;f:linear 1048576>253");
    assert_eq!(largest.parameter_count() as u64, MAX_FLOATS);
    let refused = |text: &str| refusal(text.parse::<Graph>());
    assert_eq!(
        refused("input 3;a:conv 3>1048576 k1;gap;f:linear 1048576>253 bias"),
        "node 3: more than 268435456 parameters up to here"
    );
    assert_eq!(
        refused("input 3;a:conv 3>1048576 k1;gap;f:linear 1048576>1048576"),
        "node 3: \"linear 1048576>1048576\": a weight of 1048576 × 1048576 numbers, at most 268435456 fit"
    );
    assert_eq!(
        refused("input 3;a:conv 3>1048576 k1;b:conv 1048576>2 k15 g2;gap"),
        "node 2: \"conv 1048576>2 k15 g2\": sums of 117964800 products are larger than 1048576"
    );
}

/// 64 channels on 2,048 px are 2²⁸ numbers; a 15 × 15 window over 64 channels for each is 64 · 225 · 2²⁸ =
/// 3,865,470,566,400 multiplications, and before the first are 3 · 2²⁸ = 805,306,368. Four stay below 2⁴⁴.
#[test]
fn work_has_a_largest_size() {
    let count = |layers: usize| {
        let nodes: Vec<String> = (0..layers).map(|i| format!("l{i}:conv 64>64 k15 p7")).collect();
        let text = format!("input 3;a:conv 3>64 k1;{};gap;f:linear 64>2", nodes.join(";"));
        graph(&text).multiplications(2048)
    };
    assert_eq!(count(4), Ok(4 * 3_865_470_566_400 + 805_306_368 + 128));
    assert_eq!(
        refusal(count(5)),
        "node 6 (conv 64>64 k15 p7) for pictures of 2048 px: 19328158138368 multiplications up to here, at \
         most 17592186044416 are done"
    );
}

/// Of a margin alone a wide window makes a result.
#[test]
fn pictures_of_nothing_are_refused() {
    let text = "input 3;a:conv 3>4 k15 p14;gap;f:linear 4>2";
    assert_eq!(refusal(schedule(text, 0)), "pictures of 0 px");
    assert!(schedule(text, 1).is_ok());
}

/// A network that answers nothing but its first class.
#[test]
fn one_logit_is_refused() {
    let refused = refusal(graph("input 3;gap;f:linear 3>1 bias").shapes(8));
    assert!(refused.starts_with("the network gives 1 logit") && refused.contains("logits 0 and x"));
    assert!(graph("input 3;gap;f:linear 3>2 bias").shapes(8).is_ok());
}

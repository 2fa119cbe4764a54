//! What is never stored, because whoever reads it makes it as it reads.

use graph::schedule::Schedule;
use graph::{Bounds, Op};

/// Batch norms that nothing clamps and only sums, or max pools, read are never stored: a sum makes them as it reads them.
pub(super) fn take_in(schedule: &mut Schedule) {
    let operations = &mut schedule.operations;
    for i in 0..operations.len() {
        let readers: Vec<usize> =
            (i + 1..operations.len()).filter(|r| operations[*r].inputs.contains(&i)).collect();
        let takes = |r: &usize| {
            let op = &operations[*r].op;
            matches!(op, Op::Add(_)) || op.about().takes_affine()
        };
        let own = &operations[i];
        if own.op.about().is_affine()
            && own.bounds == Bounds::NONE
            && !readers.is_empty()
            && readers.iter().all(takes)
        {
            let input = own.inputs[0];
            operations[i].lazy = true;
            // What it reads is read when its own readers run.
            let last = operations[i].last_reader.max(operations[input].last_reader);
            operations[input].last_reader = last;
        }
    }
}

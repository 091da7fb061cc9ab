//! Every measure of every method, as `aortica evaluate` prints them.

use super::side_by_side;
use crate::page::words::shown;
use learning::evaluate::Evaluation;
use minijinja::{Value, context};

pub fn section(evaluation: &Evaluation) -> Value {
    let mut table = side_by_side(evaluation, "Every measure");
    for (name, values) in evaluation.measures() {
        // value above its interval, so that many methods find room
        let values = values.iter().map(|value| value.replacen(" [", "\n[", 1).replacen(" (SD", "\n(SD", 1));
        table.row(std::iter::once(name).chain(values));
    }
    context! { table => shown(&table) }
}

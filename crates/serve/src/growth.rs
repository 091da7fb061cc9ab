//! Functions that make much of little. DataFusion counts the memory of sorts, joins and groups, but not that of expressions: without
//! a bound, `repeat('x', 100000000000)` would end the process. So functions whose results can be longer than their arguments
//! are served with a look at the arguments first.

use crate::refusal::Refusal;
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, exec_err};
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::expr::{BinaryExpr, ScalarFunction};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, LogicalPlan, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::BinaryOperator;
use std::sync::Arc;

/// Longest text that a function makes, bytes. A constant is repeated for every row of a batch (8,192).
pub(crate) const TEXT_BYTES_MAX: u64 = 16 << 10;
/// Most bytes that a function makes for one batch.
const BATCH_BYTES_MAX: u64 = 64 << 20;

/// Longest text of a number, a date or a truth value, bytes.
const PLAIN_BYTES: u64 = 64;

/// How a result's length follows from the arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Growth {
    /// The text, as often as the number says.
    Repeat,
    /// As long as the number says, in characters of up to four bytes.
    Pad,
    /// Every place, or every one that matches, by another text.
    Replace,
    /// All arguments one after the other.
    Join,
    /// All arguments beside each other, lists included.
    Gather,
    /// As many values as the number says.
    Fill,
    /// From a number to another by steps.
    Range,
    /// Values in values in values: what is sent doubles at each level, what is held does not.
    Nest,
}

const FUNCTIONS: [(&str, Growth); 20] = [
    ("repeat", Growth::Repeat),
    ("lpad", Growth::Pad),
    ("rpad", Growth::Pad),
    ("replace", Growth::Replace),
    ("regexp_replace", Growth::Replace),
    ("translate", Growth::Join),
    ("overlay", Growth::Join),
    ("concat", Growth::Join),
    ("concat_ws", Growth::Join),
    ("array_to_string", Growth::Gather),
    ("array_concat", Growth::Gather),
    ("array_append", Growth::Gather),
    ("array_prepend", Growth::Gather),
    ("make_array", Growth::Gather),
    ("array_repeat", Growth::Fill),
    ("array_resize", Growth::Fill),
    ("range", Growth::Range),
    ("generate_series", Growth::Range),
    ("struct", Growth::Nest),
    ("named_struct", Growth::Nest),
];

/// What is sent of them doubles at each level.
const NESTING: [&str; 2] = ["struct", "named_struct"];

/// Puts the bounds into a session. Functions that it lacks stay lacking.
pub(crate) fn bound(context: &SessionContext) -> Result<()> {
    for (name, growth) in FUNCTIONS {
        if let Ok(inner) = context.udf(name) {
            context.register_udf(ScalarUDF::from(Bounded { inner, growth }));
        }
    }
    context.state_ref().write().register_expr_planner(Arc::new(BoundedConcat))
}

/// Refuses a plan that nests values in values in a way that no registered function sees: `struct(..)` is made by the planner itself.
pub(crate) fn refuse_nesting(plan: &LogicalPlan) -> Result<(), Refusal> {
    let mut nests = false;
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                nests |= matches!(part, Expr::ScalarFunction(call) if NESTING.contains(&call.func.name()));
                Ok(if nests { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })
        })
    });
    match walked {
        Ok(_) if !nests => Ok(()),
        Ok(_) => Err(Refusal::statement("struct is not served: write the values as columns of their own")),
        Err(error) => Err(Refusal::statement(error.to_string())),
    }
}

/// A function behind a look at its arguments.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    growth: Growth,
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    // `simplify` is left alone: it would put the bare function in the place of this one.

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.growth.check(self.name(), &args)?;
        self.inner.invoke_with_args(args)
    }
}

impl Growth {
    fn check(self, name: &str, args: &ScalarFunctionArgs) -> Result<()> {
        let rows = args.number_rows;
        let arg = |place: usize| args.args.get(place);
        let bytes = |place: usize| arg(place).map_or(Ok(Sizes::Same(0)), |value| Sizes::bytes(value, rows));
        let numbers = |place: usize| arg(place).map_or(Ok(Sizes::Same(0)), Sizes::numbers);
        let each: Box<dyn Fn(usize) -> u64> = match self {
            Growth::Repeat => {
                let (text, times) = (bytes(0)?, numbers(1)?);
                Box::new(move |row| text.of(row).saturating_mul(times.of(row)))
            }
            Growth::Pad => {
                let length = numbers(1)?;
                Box::new(move |row| length.of(row).saturating_mul(4))
            }
            Growth::Replace => {
                // At most one replacement before each byte and one at the end; what groups bring into it (`\1`) was there before,
                // once for each time that it is named.
                let (text, by) = (bytes(0)?, bytes(2)?);
                Box::new(move |row| {
                    let places = text.of(row).saturating_add(1);
                    places.saturating_mul(by.of(row).saturating_mul(2).saturating_add(1))
                })
            }
            Growth::Join | Growth::Gather => {
                let all: Vec<Sizes> = args.args.iter().map(|value| Sizes::bytes(value, rows)).collect::<Result<_>>()?;
                Box::new(move |row| all.iter().fold(0, |sum: u64, sizes| sum.saturating_add(sizes.of(row))))
            }
            Growth::Fill => {
                // array_repeat(value, n), array_resize(list, n, value)
                let value = if name == "array_repeat" { bytes(0)? } else { bytes(2)? };
                let times = numbers(1)?;
                Box::new(move |row| times.of(row).saturating_mul(value.of(row).max(8)))
            }
            Growth::Range => {
                if args.args.iter().any(|value| !value.data_type().is_integer() && value.data_type() != DataType::Null)
                {
                    return exec_err!("{name} in an expression is served for whole numbers only");
                }
                let (first, second) = (numbers(0)?, numbers(1)?);
                Box::new(move |row| first.of(row).saturating_add(second.of(row)).saturating_mul(8))
            }
            Growth::Nest => return exec_err!("{name} is not served: write the values as columns of their own"),
        };
        let value_max = if matches!(self, Growth::Gather | Growth::Fill | Growth::Range) {
            BATCH_BYTES_MAX
        } else {
            TEXT_BYTES_MAX
        };
        within(name, rows, (value_max, BATCH_BYTES_MAX), each)
    }
}

/// `value_max`, `batch_max`: bytes that one value and those of all rows together may have.
fn within(name: &str, rows: usize, (value_max, batch_max): (u64, u64), each: impl Fn(usize) -> u64) -> Result<()> {
    let mut sum = 0u64;
    for row in 0..rows {
        let bytes = each(row);
        sum = sum.saturating_add(bytes);
        if bytes > value_max {
            return exec_err!("{name} may make a value of {bytes} bytes, and {value_max} are served");
        }
        if sum > batch_max {
            return exec_err!("{name} may make {sum} bytes out of some thousand rows, and {batch_max} are served");
        }
    }
    Ok(())
}

/// A size a row.
enum Sizes {
    Same(u64),
    Each(Vec<u64>),
}

impl Sizes {
    fn of(&self, row: usize) -> u64 {
        match self {
            Sizes::Same(size) => *size,
            Sizes::Each(sizes) => sizes.get(row).copied().unwrap_or(0),
        }
    }

    /// Bytes of texts; of anything else its share of the memory.
    fn bytes(value: &ColumnarValue, rows: usize) -> Result<Sizes> {
        match value {
            ColumnarValue::Scalar(scalar) => Ok(Sizes::Same(match scalar.try_as_str() {
                Some(text) => text.map_or(0, |text| text.len() as u64),
                None => scalar.size() as u64,
            })),
            ColumnarValue::Array(array) => Ok(Sizes::Each(match array.data_type() {
                DataType::Utf8 => {
                    array.as_string::<i32>().iter().map(|text| text.map_or(0, |t| t.len() as u64)).collect()
                }
                DataType::LargeUtf8 => {
                    array.as_string::<i64>().iter().map(|text| text.map_or(0, |t| t.len() as u64)).collect()
                }
                DataType::Utf8View => {
                    array.as_string_view().iter().map(|text| text.map_or(0, |t| t.len() as u64)).collect()
                }
                plain if !plain.is_nested() => vec![PLAIN_BYTES; rows],
                _ => vec![array.to_data().get_slice_memory_size()? as u64 / rows.max(1) as u64; rows],
            })),
        }
    }

    /// Absolute values of whole numbers.
    fn numbers(value: &ColumnarValue) -> Result<Sizes> {
        match value {
            ColumnarValue::Scalar(scalar) => Ok(Sizes::Same(match scalar.cast_to(&DataType::Int64)? {
                ScalarValue::Int64(number) => number.map_or(0, i64::unsigned_abs),
                _ => 0,
            })),
            ColumnarValue::Array(array) => {
                let numbers = cast(array, &DataType::Int64)?;
                let numbers = numbers.as_primitive::<Int64Type>();
                Ok(Sizes::Each(numbers.iter().map(|number| number.map_or(0, i64::unsigned_abs)).collect()))
            }
        }
    }
}

/// `a || b` is an operator, not a function: its operands go through [`Short`]. A chain `a || b || c` is guarded at its leaves, each of
/// which may bring the less the later it comes, so that the whole stays within a few times the bound.
#[derive(Debug)]
struct BoundedConcat;

impl ExprPlanner for BoundedConcat {
    fn plan_binary_op(&self, expr: RawBinaryExpr, _schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        if expr.op != BinaryOperator::StringConcat {
            return Ok(PlannerResult::Original(expr));
        }
        let before = leaves(&expr.left);
        let left = if before > 1 { expr.left } else { short(expr.left, 1) };
        let right = if leaves(&expr.right) > 1 { expr.right } else { short(expr.right, before + 1) };
        let joined = BinaryExpr::new(Box::new(left), Operator::StringConcat, Box::new(right));
        Ok(PlannerResult::Planned(Expr::BinaryExpr(joined)))
    }
}

/// Leaves of a chain that grew to the left.
fn leaves(mut expression: &Expr) -> u64 {
    let mut count = 1;
    while let Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, .. }) = expression {
        count += 1;
        expression = left;
    }
    count
}

fn short(operand: Expr, place: u64) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(Short::new(place))), vec![operand]))
}

/// Gives back its argument, if that is not too long to be joined with others.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Short {
    signature: Signature,
    /// Which leaf of a chain it is, from 1.
    place: u64,
}

impl Short {
    fn new(place: u64) -> Short {
        Short { signature: Signature::any(1, Volatility::Immutable), place }
    }
}

impl ScalarUDFImpl for Short {
    fn name(&self) -> &str {
        "short"
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args.iter().map(|arg| arg.schema_name().to_string()).collect())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types.first().cloned().unwrap_or(DataType::Null))
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let Some(value) = args.args.pop() else { return exec_err!("|| joins two values") };
        let sizes = Sizes::bytes(&value, rows)?;
        within("||", rows, (TEXT_BYTES_MAX, BATCH_BYTES_MAX / self.place), |row| sizes.of(row))?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer(sql: &str) -> std::result::Result<String, String> {
        let context = SessionContext::new();
        bound(&context).unwrap();
        let frame = context.sql(sql).await.map_err(|e| e.to_string())?;
        refuse_nesting(frame.logical_plan()).map_err(|refusal| refusal.to_string())?;
        let batches = frame.collect().await.map_err(|e| e.to_string())?;
        Ok(datafusion::arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string())
    }

    #[tokio::test]
    async fn what_would_fill_the_machine_is_refused() {
        let mut eightfold = "'xxxxxxxxxxxxxxxx' AS s".to_owned();
        for _ in 0..9 {
            // each with a name of its own: the optimizer drops one of two projections whose tables have none
            eightfold = format!("{}s AS s FROM (SELECT {eightfold}) AS t", "s || ".repeat(7));
        }
        for sql in [
            "SELECT repeat('x', 100000000000)",
            "SELECT lpad('x', 2000000000)",
            "SELECT rpad('x', 2000000000, 'y')",
            "SELECT replace(repeat('a', 16000), 'a', repeat('b', 16000))",
            "SELECT regexp_replace(repeat('a', 16000), 'a', repeat('b', 16000), 'g')",
            "SELECT array_repeat(1, 100000000000)",
            "SELECT array_resize([1], 100000000000, 1)",
            "SELECT range(0, 100000000000)",
            "SELECT generate_series(-100000000000, 0)",
            "SELECT sum(length(repeat('x', CAST(16000 + value % 2 AS INT)))) FROM range(100000)",
            "SELECT length(repeat('x', value)) FROM range(100000)",
            "SELECT concat(repeat('x', 16000), repeat('x', 16000))",
            &format!("SELECT {eightfold}"),
            "SELECT struct(1, 2)",
        ] {
            let refused = answer(sql).await.unwrap_err();
            assert!(refused.contains("served"), "{sql}: {refused}");
        }
    }

    #[tokio::test]
    async fn what_people_write_is_answered() {
        for (sql, part) in [
            ("SELECT repeat('ab', 3)", "ababab"),
            ("SELECT lpad('7', 3, '0')", "007"),
            ("SELECT replace('L1-L4', '-', ' to ')", "L1 to L4"),
            ("SELECT regexp_replace('aac24', '([0-9]+)', '<\\1>')", "aac<24>"),
            ("SELECT 'n = ' || 5 || NULL || 'x'", "|"),
            ("SELECT 'L' || value FROM range(1, 5) WHERE value > 3", "L4"),
            ("SELECT array_to_string(range(0, 5), ',')", "0,1,2,3,4"),
            ("SELECT 'a' || ('b' || 'c') || 'd' || 'e'", "abcde"),
            ("SELECT [1, 2] || [3]", "[1, 2, 3]"),
            ("SELECT s || s AS s FROM (SELECT s || s AS s FROM (SELECT 'x' AS s) AS a) AS b", "| xxxx |"),
            ("SELECT s || '-' || s AS s FROM (SELECT value || 'a' AS s FROM range(7, 8)) AS a", "| 7a-7a |"),
            ("SELECT concat('a', NULL, 'b')", "ab"),
            ("SELECT sum(x) FROM (SELECT unnest(generate_series(1, 24)) AS x)", "300"),
            ("SELECT max(repeat('x', CAST(value % 5 AS INT))) FROM range(20000)", "xxxx"),
        ] {
            let text = answer(sql).await.unwrap();
            assert!(text.contains(part), "{sql}: {text}");
        }
    }
}

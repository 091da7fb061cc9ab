//! Scalar functions of states and numbers.

use super::answer::Answer;
use super::of_states::{Apply, FUNCTIONS, Function};
use super::refused;
use super::state::{StateKind, states};
use crate::estimate::Confidence;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

/// A function of [`FUNCTIONS`], by its place there.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct StateFunction {
    place: usize,
    signature: Signature,
}

impl StateFunction {
    pub fn new(place: usize) -> StateFunction {
        StateFunction { place, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn function(&self) -> &'static Function {
        &FUNCTIONS[self.place]
    }
}

impl ScalarUDFImpl for StateFunction {
    fn name(&self) -> &str {
        self.function().name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// States as they are, then numbers, last the confidence level where it is given.
    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let function = self.function();
        let (states, numbers) = (function.states.len(), function.numbers.len());
        let counts = types.len() == states + numbers || types.len() == states + numbers + 1;
        let fits = |(kind, given): (&StateKind, &DataType)| *given == DataType::Null || *given == kind.data_type();
        let number = |t: &DataType| t.is_numeric() || *t == DataType::Null;
        if !counts || !function.states.iter().zip(types).all(fits) || !types.iter().skip(states).all(number) {
            return plan_err!("{} is wanted, with an optional confidence level last", function.usage());
        }
        let states = function.states.iter().map(|kind| kind.data_type());
        Ok(states.chain(types.iter().skip(function.states.len()).map(|_| DataType::Float64)).collect())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.function().form().data_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let function = self.function();
        let all_scalar = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if all_scalar { 1 } else { args.number_rows };
        let arrays: Vec<ArrayRef> = args.args.into_iter().map(|a| a.into_array(rows)).collect::<Result<_>>()?;
        let (state_columns, number_columns) = arrays.split_at(function.states.len());
        let mut state_rows: Vec<_> = state_columns.iter().map(states).collect();
        let numbers: Vec<&Float64Array> = number_columns.iter().map(|c| c.as_primitive::<Float64Type>()).collect();
        let mut answers = Vec::with_capacity(rows);
        for row in 0..rows {
            // Every iterator moves on, whether or not another argument is NULL.
            let states: Vec<Option<&[u64]>> = state_rows.iter_mut().map(|s| s.next().flatten()).collect();
            let values: Option<Vec<f64>> = numbers.iter().map(|c| c.is_valid(row).then(|| c.value(row))).collect();
            let states: Option<Vec<&[u64]>> = states.into_iter().collect();
            answers.push(states.zip(values).map(|(s, v)| answer(function, &s, &v)).transpose().map_err(refused)?);
        }
        let array = function.form().array(&answers)?;
        if all_scalar {
            return Ok(ColumnarValue::Scalar(datafusion::scalar::ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

fn answer(function: &Function, states: &[&[u64]], values: &[f64]) -> crate::Result<Answer> {
    let (numbers, level) = values.split_at(function.numbers.len());
    let confidence = level.first().map_or(Ok(Confidence::default()), |level| Confidence::new(*level))?;
    match function.apply {
        Apply::Estimate(f) => f(states, numbers, confidence).map(Answer::Estimate),
        Apply::Test(f) => f(states, numbers).map(Answer::Test),
        Apply::Table(f) => f(states, numbers, confidence).map(Answer::Table),
        Apply::Tests(f) => f(states, numbers).map(Answer::Tests),
        Apply::Roc(f) => f(states).map(Answer::Roc),
        Apply::Differences(f) => f(states).map(Answer::Differences),
    }
}

//! `flow`: counts of rows by the first of several conditions that they do not meet.

use super::answer::{Answer, Form};
use super::refused;
use crate::counts::{merge_counts, retract_counts};
use crate::estimate::Confidence;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt64Array};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, UInt64Type};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// `flow(condition, ...)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct FlowAggregate {
    signature: Signature,
}

impl FlowAggregate {
    pub const NAME: &str = "flow";
    pub const USAGE: &str = "flow(condition, ...)";
    const FORM: Form = Form::Table;

    pub fn new() -> FlowAggregate {
        FlowAggregate { signature: Signature::user_defined(Volatility::Immutable) }
    }

    /// As the listing has it.
    pub fn listed() -> [String; 7] {
        [
            FlowAggregate::NAME.to_owned(),
            String::new(),
            FlowAggregate::USAGE.to_owned(),
            FlowAggregate::FORM.describe(),
            "of the rows that met all conditions before, the share that meets the next; NULL does not; Wilson's interval".to_owned(),
            "STROBE 2007, item 13".to_owned(),
            "SELECT unnest(flow(reference IS NOT NULL, model IS NOT NULL, outcome IS NOT NULL)) FROM pairs".to_owned(),
        ]
    }
}

impl AggregateUDFImpl for FlowAggregate {
    fn name(&self) -> &str {
        FlowAggregate::NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if types.is_empty() || !types.iter().all(|t| matches!(t, DataType::Boolean | DataType::Null)) {
            return plan_err!("{} is wanted, of conditions that are true or false", FlowAggregate::USAGE);
        }
        Ok(vec![DataType::Boolean; types.len()])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(FlowAggregate::FORM.data_type())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let name = format_state_name(args.name, "left");
        Ok(vec![Arc::new(Field::new(name, DataType::new_list(DataType::UInt64, true), true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Left(vec![0; args.exprs.len() + 1])))
    }
}

/// Rows by the first condition that they do not meet, last those that meet all.
#[derive(Debug)]
struct Left(Vec<u64>);

impl Left {
    fn count(&self, values: &[ArrayRef]) -> Vec<u64> {
        let mut left = vec![0; self.0.len()];
        for row in 0..values.first().map_or(0, |column| column.len()) {
            let met = |column: &ArrayRef| column.is_valid(row) && column.as_boolean().value(row);
            left[values.iter().position(|column| !met(column)).unwrap_or(values.len())] += 1;
        }
        left
    }
}

impl Accumulator for Left {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let more = self.count(values);
        merge_counts(&mut self.0, &more).map_err(refused)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let leaving = self.count(values);
        retract_counts(&mut self.0, &leaving).map_err(refused)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let states = columns[0].as_list::<i32>();
        let mut states = states.iter().flatten();
        states
            .try_for_each(|state| merge_counts(&mut self.0, state.as_primitive::<UInt64Type>().values()))
            .map_err(refused)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let counts = UInt64Array::from(self.0.clone());
        let item = Arc::new(Field::new_list_field(DataType::UInt64, true));
        let list = ListArray::try_new(item, OffsetBuffer::from_lengths([counts.len()]), Arc::new(counts), None)?;
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let answer = Answer::Table(crate::flow::flow(&self.0, Confidence::default()));
        ScalarValue::try_from_array(&FlowAggregate::FORM.array(&[Some(answer)])?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.0.capacity() * size_of::<u64>()
    }
}

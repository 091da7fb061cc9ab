//! Aggregates that need every row: numbers are gathered, put in order, and handed to a function at the end.

use super::answer::Answer;
use super::of_rows::{FUNCTIONS, Function, Rows};
use super::refused;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, ListArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use std::borrow::Cow;
use std::sync::Arc;

/// Most numbers of one group: 800 MB. Larger cohorts have count states.
const NUMBERS_MAX: usize = 100_000_000;

/// A function of [`FUNCTIONS`], by its place there.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct GatherAggregate {
    place: usize,
    signature: Signature,
}

impl GatherAggregate {
    pub fn new(place: usize) -> GatherAggregate {
        GatherAggregate { place, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn function(&self) -> &'static Function {
        &FUNCTIONS[self.place]
    }
}

impl AggregateUDFImpl for GatherAggregate {
    fn name(&self) -> &str {
        self.function().name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let function = self.function();
        let counts = if function.open {
            types.len() >= function.arguments.len()
        } else {
            types.len() == function.arguments.len()
        };
        let number = |t: &DataType| t.is_numeric() || matches!(t, DataType::Null | DataType::Boolean);
        if !counts || !types.iter().all(number) {
            return plan_err!("{} is wanted, of numbers or booleans", function.usage());
        }
        Ok(vec![DataType::Float64; types.len()])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.function().form.data_type())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let name = format_state_name(args.name, "rows");
        Ok(vec![Arc::new(Field::new(name, DataType::new_list(DataType::Float64, true), true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Gathered { place: self.place, width: args.exprs.len(), numbers: Vec::new() }))
    }
}

/// Complete rows, one behind the other. Rows with a NULL or a number that is not finite are left out.
#[derive(Debug)]
struct Gathered {
    place: usize,
    width: usize,
    numbers: Vec<f64>,
}

impl Accumulator for Gathered {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let columns: Vec<&Float64Array> = values.iter().map(|v| v.as_primitive::<Float64Type>()).collect();
        if let [column] = columns[..] {
            self.gather(column);
            return self.bounded();
        }
        for row in 0..values[0].len() {
            if columns.iter().all(|c| c.is_valid(row) && c.value(row).is_finite()) {
                self.numbers.extend(columns.iter().map(|c| c.value(row)));
            }
        }
        self.bounded()
    }

    fn merge_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let lists = columns[0].as_list::<i32>();
        for rows in lists.iter().flatten() {
            self.numbers.extend_from_slice(rows.as_primitive::<Float64Type>().values());
        }
        self.bounded()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        if self.width == 1 {
            // each part on its own core; the last step then merges what is in order
            self.numbers.sort_unstable_by(f64::total_cmp);
        }
        let item = Arc::new(Field::new_list_field(DataType::Float64, true));
        let numbers = Float64Array::from(std::mem::take(&mut self.numbers));
        let list = ListArray::try_new(item, OffsetBuffer::from_lengths([numbers.len()]), Arc::new(numbers), None)?;
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let function = &FUNCTIONS[self.place];
        // In one order whatever the partitions were, so that sums are the same bits.
        // They stay: a window that grows asks again, with some rows more.
        let numbers = if self.width == 1 {
            // the stable sort finds parts that are in order already
            self.numbers.sort_by(f64::total_cmp);
            Cow::Borrowed(self.numbers.as_slice())
        } else {
            let mut rows: Vec<&[f64]> = self.numbers.chunks_exact(self.width).collect();
            rows.sort_unstable_by(|a, b| {
                let mut by_column = a.iter().zip(*b).map(|(x, y)| x.total_cmp(y));
                by_column.find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
            });
            Cow::Owned(rows.concat())
        };
        let answer: Answer = (function.apply)(Rows::new(&numbers, self.width)).map_err(refused)?;
        ScalarValue::try_from_array(&function.form.array(&[Some(answer)])?, 0)
    }

    fn size(&self) -> usize {
        // the numbers, and once more in order: by themselves, or as rows that are put in order and then copied
        let numbers = self.numbers.capacity() + self.numbers.len();
        let rows = if self.width == 1 { 0 } else { self.numbers.len() / self.width.max(1) };
        size_of_val(self) + numbers * size_of::<f64>() + rows * size_of::<&[f64]>()
    }
}

impl Gathered {
    /// Each number is written, and the next overwrites it where it is none: without a branch a row.
    fn gather(&mut self, column: &Float64Array) {
        let mut end = self.numbers.len();
        self.numbers.resize(end + column.len(), 0.0);
        let mut put = |value: f64, valid: bool| {
            self.numbers[end] = value;
            end += usize::from(valid & value.is_finite());
        };
        match column.nulls() {
            None => column.values().iter().for_each(|value| put(*value, true)),
            Some(nulls) => column.values().iter().zip(nulls).for_each(|(value, valid)| put(*value, valid)),
        }
        self.numbers.truncate(end);
    }

    fn bounded(&self) -> Result<()> {
        if self.numbers.len() > NUMBERS_MAX {
            let name = FUNCTIONS[self.place].name;
            return exec_err!("{name} holds at most {} rows in memory; select fewer", NUMBERS_MAX / self.width);
        }
        Ok(())
    }
}

//! Count states as aggregates. A group costs 208 bytes (`aac_hist`), 408 (`aac_joint_outcome`) or 5 KB (`aac_joint`), whatever the number
//! of its rows; the session's memory limit bounds the groups.

use super::refused;
use crate::counts::{AacHist, AacJoint, AacJointOutcome, CountState, merge_counts, retract_counts};
use crate::error::{Error, ErrorKind};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, Int64Array, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type, UInt64Type};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// Which rows are counted into which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StateKind {
    Hist,
    Joint,
    JointOutcome,
}

impl StateKind {
    pub const ALL: [StateKind; 3] = [StateKind::Hist, StateKind::Joint, StateKind::JointOutcome];

    pub fn name(self) -> &'static str {
        match self {
            StateKind::Hist => "aac_hist",
            StateKind::Joint => "aac_joint",
            StateKind::JointOutcome => "aac_joint_outcome",
        }
    }

    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            StateKind::Hist => &["aac24"],
            StateKind::Joint => &["reference", "model"],
            StateKind::JointOutcome => &["outcome", "aac24"],
        }
    }

    pub fn formula(self) -> &'static str {
        match self {
            StateKind::Hist => "counts of scores 0..24, last the rows without a score",
            StateKind::Joint => "25 x 25 counts, reference by row, last the rows that lack a score",
            StateKind::JointOutcome => "counts of scores without, then with the outcome, last the incomplete rows",
        }
    }

    pub fn len(self) -> usize {
        match self {
            StateKind::Hist => AacHist::LEN,
            StateKind::Joint => AacJoint::LEN,
            StateKind::JointOutcome => AacJointOutcome::LEN,
        }
    }

    /// List of as many unsigned counts.
    pub fn data_type(self) -> DataType {
        DataType::FixedSizeList(item(), self.len() as i32)
    }

    /// Counts of `rows` as an array of states.
    fn array(self, counts: Vec<u64>) -> Result<FixedSizeListArray> {
        Ok(FixedSizeListArray::try_new(item(), self.len() as i32, Arc::new(UInt64Array::from(counts)), None)?)
    }

    /// Where each row is counted.
    fn slots(self, values: &[ArrayRef]) -> Result<Vec<usize>> {
        let columns: Vec<&Int64Array> = values.iter().map(|v| v.as_primitive::<Int64Type>()).collect();
        let at = |column: usize, row: usize| columns[column].is_valid(row).then(|| columns[column].value(row));
        let rows = values.first().map_or(0, |v| v.len());
        let slot = |row: usize| match self {
            StateKind::Hist => AacHist::slot(at(0, row)),
            StateKind::Joint => AacJoint::slot(at(0, row), at(1, row)),
            StateKind::JointOutcome => {
                at(0, row).map(outcome).transpose().and_then(|o| AacJointOutcome::slot(o, at(1, row)))
            }
        };
        (0..rows).map(|row| slot(row).map_err(refused)).collect()
    }
}

fn outcome(value: i64) -> crate::Result<bool> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Error::new(ErrorKind::Argument, format!("an outcome is true or false, 1 or 0, not {value}"))),
    }
}

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::UInt64, true))
}

/// The states in a column, `None` where it is NULL.
pub fn states(column: &ArrayRef) -> impl Iterator<Item = Option<&[u64]>> {
    let list = column.as_fixed_size_list();
    let (counts, width) = (list.values().as_primitive::<UInt64Type>().values(), list.value_length() as usize);
    (0..list.len()).map(move |row| {
        let start = list.value_offset(row) as usize;
        list.is_valid(row).then(|| &counts[start..start + width])
    })
}

/// `aac_hist`, `aac_joint` or `aac_joint_outcome`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct CountAggregate {
    kind: StateKind,
    signature: Signature,
}

impl CountAggregate {
    pub fn new(kind: StateKind) -> CountAggregate {
        CountAggregate { kind, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for CountAggregate {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Whole numbers only: a cast would cut 3.7 to 3 unseen.
    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let wanted = self.kind.arguments();
        let whole = |t: &DataType| t.is_integer() || matches!(t, DataType::Null | DataType::Boolean);
        if types.len() != wanted.len() || !types.iter().all(whole) {
            let name = self.kind.name();
            return plan_err!(
                "{name}({}) counts whole numbers; for continuous scores use agreement_scores",
                wanted.join(", ")
            );
        }
        Ok(vec![DataType::Int64; types.len()])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.kind.data_type())
    }

    fn is_nullable(&self) -> bool {
        false
    }

    /// Nothing counted is a state too, not NULL.
    fn default_value(&self, _: &DataType) -> Result<ScalarValue> {
        Ok(ScalarValue::FixedSizeList(Arc::new(self.kind.array(vec![0; self.kind.len()])?)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let name = datafusion::logical_expr::utils::format_state_name(args.name, "counts");
        Ok(vec![Arc::new(Field::new(name, self.kind.data_type(), true))])
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(OneState { kind: self.kind, counts: vec![0; self.kind.len()] }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(GroupStates { kind: self.kind, counts: Vec::new() }))
    }
}

/// The state of one group or window.
#[derive(Debug)]
struct OneState {
    kind: StateKind,
    counts: Vec<u64>,
}

impl OneState {
    fn scalar(&self) -> Result<ScalarValue> {
        Ok(ScalarValue::FixedSizeList(Arc::new(self.kind.array(self.counts.clone())?)))
    }
}

impl Accumulator for OneState {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.kind.slots(values)?.into_iter().for_each(|slot| self.counts[slot] += 1);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let mut leaving = vec![0; self.counts.len()];
        self.kind.slots(values)?.into_iter().for_each(|slot| leaving[slot] += 1);
        retract_counts(&mut self.counts, &leaving).map_err(refused)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        states(&columns[0]).flatten().try_for_each(|counts| merge_counts(&mut self.counts, counts)).map_err(refused)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.scalar()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.scalar()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.counts.capacity() * size_of::<u64>()
    }
}

/// The states of all groups, one behind the other.
struct GroupStates {
    kind: StateKind,
    counts: Vec<u64>,
}

impl GroupStates {
    fn grow(&mut self, groups: usize) {
        self.counts.resize(groups * self.kind.len(), 0);
    }
}

/// Rows that pass a filter: true, not NULL.
fn passes(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|f| f.is_valid(row) && f.value(row))
}

impl GroupsAccumulator for GroupStates {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.grow(total);
        let width = self.kind.len();
        for (row, slot) in self.kind.slots(values)?.into_iter().enumerate() {
            if passes(filter, row) {
                self.counts[groups[row] * width + slot] += 1;
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.grow(total);
        let width = self.kind.len();
        for (group, counts) in groups.iter().zip(states(&values[0])) {
            let own = &mut self.counts[group * width..(group + 1) * width];
            counts.map_or(Ok(()), |counts| merge_counts(own, counts)).map_err(refused)?;
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let emitted = match emit {
            EmitTo::All => std::mem::take(&mut self.counts),
            EmitTo::First(n) => {
                let rest = self.counts.split_off(n * self.kind.len());
                std::mem::replace(&mut self.counts, rest)
            }
        };
        Ok(Arc::new(self.kind.array(emitted)?))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit)?])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let (slots, width) = (self.kind.slots(values)?, self.kind.len());
        let mut counts = vec![0; slots.len() * width];
        for (row, slot) in slots.into_iter().enumerate().filter(|(row, _)| passes(filter, *row)) {
            counts[row * width + slot] = 1;
        }
        Ok(vec![Arc::new(self.kind.array(counts)?)])
    }

    fn size(&self) -> usize {
        self.counts.capacity() * size_of::<u64>()
    }
}

//! Count states as aggregates. A group costs 208 bytes (`aac_hist`), 408 (`aac_joint_outcome`) or 5 KB (`aac_joint`), whatever the number
//! of its rows; the session's memory limit bounds the groups.

use super::refused;
use crate::counts::{AacHist, AacJoint, AacJointOutcome, CountState, LEVELS, level, merge_counts, retract_counts};
use crate::error::{Error, ErrorKind};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, UInt64Array};
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::common::{internal_err, plan_err};
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
    fn slots(self, values: &[ArrayRef]) -> Result<Vec<u16>> {
        let pair = |first: Vec<u8>, missing: u8, second: Vec<u8>| -> Vec<u16> {
            let (width, last) = (LEVELS as u16, self.len() as u16 - 1);
            let slot = |(a, b): (u8, u8)| {
                let incomplete = (a == missing) | (b == LEVELS as u8);
                if incomplete { last } else { width * u16::from(a) + u16::from(b) }
            };
            first.into_iter().zip(second).map(slot).collect()
        };
        match self {
            StateKind::Hist => Ok(scores(&values[0])?.into_iter().map(u16::from).collect()),
            StateKind::Joint => Ok(pair(scores(&values[0])?, LEVELS as u8, scores(&values[1])?)),
            StateKind::JointOutcome => Ok(pair(outcomes(&values[0])?, OUTCOMES, scores(&values[1])?)),
        }
    }
}

/// Outcomes: without, with.
const OUTCOMES: u8 = 2;

/// Scores as bytes, 25 where one is missing.
fn scores(column: &ArrayRef) -> Result<Vec<u8>> {
    codes(column, LEVELS as u8, |value| level(value).err())
}

/// 0, 1, and 2 where the outcome is missing.
fn outcomes(column: &ArrayRef) -> Result<Vec<u8>> {
    codes(column, OUTCOMES, |value| {
        let context = format!("an outcome is true or false, 1 or 0, not {value}");
        Some(Error::new(ErrorKind::Argument, context))
    })
}

/// Whole numbers of 0..size as bytes, `size` where one is missing; `wrong` says what is wrong with another. One pass over the numbers as
/// they lie in memory and one over what is missing, without a branch a row, so that the compiler uses vector instructions.
fn codes(column: &ArrayRef, size: u8, wrong: impl Fn(i64) -> Option<Error>) -> Result<Vec<u8>> {
    /// What no code is.
    const OUTSIDE: u8 = u8::MAX;
    macro_rules! narrowed {
        ($kind:ty, $unsigned:ty) => {{
            let values = column.as_primitive::<$kind>().values();
            // a negative number is a large one without its sign
            let code = |value: $unsigned| if value < size as $unsigned { value as u8 } else { OUTSIDE };
            values.iter().map(|value| code(*value as $unsigned)).collect::<Vec<u8>>()
        }};
    }
    let mut codes = match column.data_type() {
        DataType::Int8 => narrowed!(Int8Type, u8),
        DataType::UInt8 => narrowed!(UInt8Type, u8),
        DataType::Int16 => narrowed!(Int16Type, u16),
        DataType::UInt16 => narrowed!(UInt16Type, u16),
        DataType::Int32 => narrowed!(Int32Type, u32),
        DataType::UInt32 => narrowed!(UInt32Type, u32),
        DataType::Int64 => narrowed!(Int64Type, u64),
        DataType::UInt64 => narrowed!(UInt64Type, u64),
        other => return internal_err!("whole numbers were asked for, not {other}"),
    };
    if let Some(valid) = column.nulls().filter(|nulls| nulls.null_count() > 0) {
        codes.iter_mut().zip(valid).filter(|(_, valid)| !valid).for_each(|(code, _)| *code = size);
    }
    if let Some(row) = codes.iter().position(|code| *code == OUTSIDE) {
        let value = datafusion::arrow::compute::cast(&column.slice(row, 1), &DataType::Int64)?;
        // of 64 bits without a sign, too large for ours
        let value = if value.is_valid(0) { value.as_primitive::<Int64Type>().value(0) } else { i64::MAX };
        if let Some(error) = wrong(value) {
            return Err(refused(error));
        }
    }
    Ok(codes)
}

/// Adds one to the count of each slot. Equal scores follow each other often, and each sum would wait for the one before; so
/// four tables are counted side by side.
fn count(counts: &mut [u64], slots: &[u16]) {
    const TABLES: usize = 4;
    let width = counts.len();
    if slots.len() < TABLES * width {
        slots.iter().for_each(|slot| counts[usize::from(*slot)] += 1);
        return;
    }
    // a batch has less than 2^32 rows
    let mut tables = vec![0u32; TABLES * width];
    let (first, rest) = tables.split_at_mut(width);
    let (second, rest) = rest.split_at_mut(width);
    let (third, fourth) = rest.split_at_mut(width);
    let mut fours = slots.chunks_exact(TABLES);
    for four in &mut fours {
        first[usize::from(four[0])] += 1;
        second[usize::from(four[1])] += 1;
        third[usize::from(four[2])] += 1;
        fourth[usize::from(four[3])] += 1;
    }
    fours.remainder().iter().for_each(|slot| first[usize::from(*slot)] += 1);
    for table in [&*first, second, third, fourth] {
        counts.iter_mut().zip(table).for_each(|(count, more)| *count += u64::from(*more));
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
        // Counted as they are: a column is not copied to be widened.
        let counted = |t: &DataType| if t.is_integer() { t.clone() } else { DataType::Int8 };
        Ok(types.iter().map(counted).collect())
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
        count(&mut self.counts, &self.kind.slots(values)?);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let mut leaving = vec![0; self.counts.len()];
        count(&mut leaving, &self.kind.slots(values)?);
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

/// The rows that pass a filter (true, not NULL), and their values. What does not pass may hold anything.
fn passing(values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<(Vec<ArrayRef>, Option<Vec<usize>>)> {
    let Some(filter) = filter else { return Ok((values.to_vec(), None)) };
    let kept = values.iter().map(|column| datafusion::arrow::compute::filter(column, filter));
    let rows = (0..filter.len()).filter(|&row| filter.is_valid(row) && filter.value(row)).collect();
    Ok((kept.collect::<std::result::Result<_, _>>()?, Some(rows)))
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
        let (values, rows) = passing(values, filter)?;
        let slots = self.kind.slots(&values)?;
        let mut add = |group: usize, slot: u16| self.counts[group * width + usize::from(slot)] += 1;
        match rows {
            None => groups.iter().zip(slots).for_each(|(group, slot)| add(*group, slot)),
            Some(rows) => rows.iter().zip(slots).for_each(|(row, slot)| add(groups[*row], slot)),
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
        let width = self.kind.len();
        let mut counts = vec![0; values.first().map_or(0, |v| v.len()) * width];
        let (values, rows) = passing(values, filter)?;
        for (place, slot) in self.kind.slots(&values)?.into_iter().enumerate() {
            let row = rows.as_ref().map_or(place, |rows| rows[place]);
            counts[row * width + usize::from(slot)] = 1;
        }
        Ok(vec![Arc::new(self.kind.array(counts)?)])
    }

    fn size(&self) -> usize {
        self.counts.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::Int64Array;
    use datafusion::arrow::compute::cast;

    /// Every level, repeated ones, missing ones; more rows than four tables have counts.
    fn column(step: usize, missing_every: usize) -> Vec<Option<i64>> {
        (0..4 * AacJoint::LEN + 7).map(|i| (i % missing_every != 1).then_some((i / 3 * step % LEVELS) as i64)).collect()
    }

    #[test]
    fn every_width_of_whole_numbers_is_counted_as_by_hand() {
        let (reference, model) = (column(7, 5), column(11, 7));
        let outcome: Vec<Option<i64>> = reference.iter().map(|r| r.map(|r| r % 2)).collect();
        let (mut hist, mut joint, mut by_outcome) = (AacHist::empty(), AacJoint::empty(), AacJointOutcome::empty());
        for ((reference, model), outcome) in reference.iter().zip(&model).zip(&outcome) {
            hist.add(*reference).unwrap();
            joint.add(*reference, *model).unwrap();
            by_outcome.add(outcome.map(|o| o == 1), *model).unwrap();
        }
        use DataType::*;
        for width in [Int8, UInt8, Int16, UInt16, Int32, UInt32, Int64, UInt64] {
            let of = |values: &[Option<i64>]| cast(&Int64Array::from(values.to_vec()), &width).unwrap();
            let counted = |kind: StateKind, values: &[ArrayRef]| {
                let mut counts = vec![0; kind.len()];
                count(&mut counts, &kind.slots(values).unwrap());
                counts
            };
            assert_eq!(counted(StateKind::Hist, &[of(&reference)]), hist.counts(), "{width}");
            assert_eq!(counted(StateKind::Joint, &[of(&reference), of(&model)]), joint.counts(), "{width}");
            let pairs = [of(&outcome), of(&model)];
            assert_eq!(counted(StateKind::JointOutcome, &pairs), by_outcome.counts(), "{width}");
        }
    }

    #[test]
    fn what_is_no_score_or_outcome_is_refused_by_its_value() {
        let refusal = |kind: StateKind, values: &[ArrayRef]| kind.slots(values).unwrap_err().to_string();
        let one = |value: i64| Arc::new(Int64Array::from(vec![Some(3), None, Some(value)])) as ArrayRef;
        for value in [-1, 25, 281, i64::MIN, i64::MAX] {
            assert!(refusal(StateKind::Hist, &[one(value)]).contains(&format!("not {value}")));
            assert!(refusal(StateKind::Joint, &[one(value), one(4)]).contains(&format!("not {value}")));
        }
        assert!(refusal(StateKind::JointOutcome, &[one(3), one(4)]).contains("an outcome is"));
        // NULL may hide anything
        let hidden = Int64Array::new(vec![3, 99].into(), Some(vec![true, false].into()));
        assert_eq!(StateKind::Hist.slots(&[Arc::new(hidden)]).unwrap(), [3, 25]);
        let huge: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        assert!(refusal(StateKind::Hist, &[huge]).contains("0..=24"));
    }

    #[test]
    fn rows_that_a_filter_leaves_out_may_hold_anything() {
        let values: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![Some(1), Some(77), None, Some(2)]))];
        let filter = BooleanArray::from(vec![Some(true), Some(false), Some(true), None]);
        let mut states = GroupStates { kind: StateKind::Hist, counts: Vec::new() };
        states.update_batch(&values, &[0, 0, 1, 1], Some(&filter), 2).unwrap();
        let (one, missing) = (1, AacHist::LEN + LEVELS);
        let expected: Vec<u64> = (0..2 * AacHist::LEN).map(|at| u64::from(at == one || at == missing)).collect();
        assert_eq!(states.counts, expected);
        let single = states.convert_to_state(&values, Some(&filter)).unwrap();
        let sums: Vec<u64> = self::states(&single[0]).map(|s| s.unwrap().iter().sum()).collect();
        assert_eq!(sums, [1, 0, 1, 0]);
    }
}

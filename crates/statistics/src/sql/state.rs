//! States of a fixed size as aggregates: counts of scores, and exact moments of any numbers. A group costs 208 bytes (`aac_hist`), 408
//! (`aac_joint_outcome`), 832 (`moments`) or 5 KB (`aac_joint`), whatever the number of its rows; the session's memory limit bounds the
//! groups. Stored states are merged by [`MergeStates`].

use super::refused;
use crate::counts::{AacHist, AacJoint, AacJointOutcome, CountState, LEVELS, level, merge_counts, retract_counts};
use crate::error::{Error, ErrorKind};
use crate::moments::{self, Moments};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, UInt64Array};
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use datafusion::common::{internal_err, plan_datafusion_err, plan_err};
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
    Moments,
}

impl StateKind {
    pub const ALL: [StateKind; 4] = [StateKind::Hist, StateKind::Joint, StateKind::JointOutcome, StateKind::Moments];

    /// The kind of a stored state, by its length.
    pub fn of(stored: &DataType) -> Option<StateKind> {
        StateKind::ALL.into_iter().find(|kind| kind.data_type() == *stored)
    }

    pub fn name(self) -> &'static str {
        match self {
            StateKind::Hist => "aac_hist",
            StateKind::Joint => "aac_joint",
            StateKind::JointOutcome => "aac_joint_outcome",
            StateKind::Moments => "moments",
        }
    }

    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            StateKind::Hist => &["aac24"],
            StateKind::Joint => &["reference", "model"],
            StateKind::JointOutcome => &["outcome", "aac24"],
            StateKind::Moments => &["value"],
        }
    }

    pub fn formula(self) -> &'static str {
        match self {
            StateKind::Hist => "counts of scores 0..24, last the rows without a score",
            StateKind::Joint => "25 x 25 counts, reference by row, last the rows that lack a score",
            StateKind::JointOutcome => "counts of scores without, then with the outcome, last the incomplete rows",
            StateKind::Moments => "rows with and without a value; exact sums of values and of squares",
        }
    }

    pub fn source(self) -> &'static str {
        if self == StateKind::Moments { "Kulisch & Miranker 1986" } else { "counts" }
    }

    pub fn len(self) -> usize {
        match self {
            StateKind::Hist => AacHist::LEN,
            StateKind::Joint => AacJoint::LEN,
            StateKind::JointOutcome => AacJointOutcome::LEN,
            StateKind::Moments => Moments::LEN,
        }
    }

    /// Adds the rows of another state.
    fn merge(self, into: &mut [u64], from: &[u64]) -> crate::Result<()> {
        if self == StateKind::Moments { moments::merge_words(into, from) } else { merge_counts(into, from) }
    }

    /// Takes the rows of another state away.
    fn retract(self, into: &mut [u64], from: &[u64]) -> crate::Result<()> {
        if self == StateKind::Moments { moments::retract_words(into, from) } else { retract_counts(into, from) }
    }

    /// List of as many unsigned counts.
    pub fn data_type(self) -> DataType {
        DataType::FixedSizeList(item(), self.len() as i32)
    }

    /// Counts of `rows` as an array of states.
    fn array(self, counts: Vec<u64>) -> Result<FixedSizeListArray> {
        Ok(FixedSizeListArray::try_new(item(), self.len() as i32, Arc::new(UInt64Array::from(counts)), None)?)
    }

    /// What each row adds.
    fn rows(self, values: &[ArrayRef]) -> Result<StateRows> {
        if self != StateKind::Moments {
            return self.slots(values).map(StateRows::Counted);
        }
        let column = values[0].as_primitive::<Float64Type>();
        Ok(StateRows::Summed(column.iter().map(|value| value.unwrap_or(f64::NAN)).collect()))
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
            StateKind::Moments => internal_err!("moments have no counts"),
        }
    }
}

/// The rows of a batch, as they enter a state.
enum StateRows {
    /// Which count of each.
    Counted(Vec<u16>),
    /// The value of each, not finite where it is missing.
    Summed(Vec<f64>),
}

impl StateRows {
    /// Adds all to one state.
    fn add_to(&self, state: &mut [u64]) {
        match self {
            StateRows::Counted(slots) => count(state, slots),
            StateRows::Summed(values) => values.iter().for_each(|value| moments::add_value(state, *value, 1)),
        }
    }

    /// Adds each to the state of its own group, `width` words wide.
    fn add_to_groups(&self, states: &mut [u64], width: usize, groups: impl Iterator<Item = usize>) {
        match self {
            StateRows::Counted(slots) => {
                groups.zip(slots).for_each(|(group, slot)| states[group * width + usize::from(*slot)] += 1);
            }
            StateRows::Summed(values) => groups.zip(values).for_each(|(group, value)| {
                moments::add_value(&mut states[group * width..(group + 1) * width], *value, 1);
            }),
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

/// `aac_hist`, `aac_joint`, `aac_joint_outcome` or `moments`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct StateAggregate {
    kind: StateKind,
    signature: Signature,
}

impl StateAggregate {
    pub fn new(kind: StateKind) -> StateAggregate {
        StateAggregate { kind, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for StateAggregate {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Scores are whole numbers only: a cast would cut 3.7 to 3 unseen.
    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let wanted = self.kind.arguments();
        if self.kind == StateKind::Moments {
            let number = |t: &DataType| t.is_numeric() || matches!(t, DataType::Null | DataType::Boolean);
            if types.len() != wanted.len() || !types.iter().all(number) {
                return plan_err!("moments(value) is wanted, of numbers or booleans");
            }
            return Ok(vec![DataType::Float64]);
        }
        let whole = |t: &DataType| t.is_integer() || matches!(t, DataType::Null | DataType::Boolean);
        if types.len() != wanted.len() || !types.iter().all(whole) {
            let name = self.kind.name();
            return plan_err!(
                "{name}({}) counts whole numbers; for continuous scores use moments, describe or agreement_scores",
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
        Ok(Box::new(OneState::empty(self.kind)))
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
    fn empty(kind: StateKind) -> OneState {
        OneState { kind, counts: vec![0; kind.len()] }
    }

    fn scalar(&self) -> Result<ScalarValue> {
        Ok(ScalarValue::FixedSizeList(Arc::new(self.kind.array(self.counts.clone())?)))
    }
}

impl Accumulator for OneState {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.kind.rows(values)?.add_to(&mut self.counts);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let mut leaving = vec![0; self.counts.len()];
        self.kind.rows(values)?.add_to(&mut leaving);
        self.kind.retract(&mut self.counts, &leaving).map_err(refused)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let mut merged = states(&columns[0]).flatten();
        merged.try_for_each(|state| self.kind.merge(&mut self.counts, state)).map_err(refused)
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

/// `merge_states`: the state of all rows that stored states were made of.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct MergeStates {
    signature: Signature,
}

impl MergeStates {
    pub const NAME: &str = "merge_states";

    pub fn new() -> MergeStates {
        MergeStates { signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn kind(state: &DataType) -> Result<StateKind> {
        let names = || StateKind::ALL.map(StateKind::name).join(", ");
        let wanted = || plan_datafusion_err!("{}(state) is wanted, a state of {}", MergeStates::NAME, names());
        StateKind::of(state).ok_or_else(wanted)
    }
}

impl AggregateUDFImpl for MergeStates {
    fn name(&self) -> &str {
        MergeStates::NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [state] = types else { return plan_err!("{}(state) is wanted", MergeStates::NAME) };
        Ok(vec![MergeStates::kind(state)?.data_type()])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn default_value(&self, state: &DataType) -> Result<ScalarValue> {
        OneState::empty(MergeStates::kind(state)?).scalar()
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let name = datafusion::logical_expr::utils::format_state_name(args.name, "counts");
        Ok(vec![Arc::new(Field::new(name, args.return_field.data_type().clone(), true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Merging(OneState::empty(MergeStates::kind(args.return_field.data_type())?))))
    }
}

/// A state whose rows are states. NULL is none.
#[derive(Debug)]
struct Merging(OneState);

impl Accumulator for Merging {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.merge_batch(values)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let OneState { kind, counts } = &mut self.0;
        states(&values[0]).flatten().try_for_each(|state| kind.retract(counts, state)).map_err(refused)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.0.merge_batch(columns)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.scalar()
    }

    fn size(&self) -> usize {
        self.0.size()
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
        let (values, kept) = passing(values, filter)?;
        let rows = self.kind.rows(&values)?;
        match kept {
            None => rows.add_to_groups(&mut self.counts, width, groups.iter().copied()),
            Some(kept) => rows.add_to_groups(&mut self.counts, width, kept.iter().map(|row| groups[*row])),
        }
        Ok(())
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.grow(total);
        let width = self.kind.len();
        for (group, counts) in groups.iter().zip(states(&values[0])) {
            let own = &mut self.counts[group * width..(group + 1) * width];
            counts.map_or(Ok(()), |counts| self.kind.merge(own, counts)).map_err(refused)?;
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
        let (values, kept) = passing(values, filter)?;
        let rows = self.kind.rows(&values)?;
        match kept {
            None => rows.add_to_groups(&mut counts, width, 0..),
            Some(kept) => rows.add_to_groups(&mut counts, width, kept.into_iter()),
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

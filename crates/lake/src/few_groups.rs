//! Count states in few groups, as strata are: `SELECT sex, age_years / 10, aac_prevalence(aac_hist(aac24_total), 1) .. GROUP BY 1, 2`.
//!
//! The engine groups any number of rows by any number of values: it hashes every row's keys, finds the group, and compares the keys
//! again. Strata have a handful of values a key; a small table that nearly always hits at once tells the code of a value, and the codes
//! of several keys lead through tables of pairs to the number of the group. The first half of the engine's aggregation is replaced,
//! whose answers (groups with their states) the second half merges, however often a group comes. Where a key has many values, or the
//! groups are many, what was counted is handed on, and the engine's own aggregation goes on with the rest.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt16Array};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Int8Type, Int16Type, Int32Type, Int64Type, SchemaRef, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use datafusion::common::config::ConfigOptions;
use datafusion::common::internal_datafusion_err;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode, PlanProperties,
    ReplaceChildrenOptions,
};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use futures::{StreamExt, TryStreamExt, stream};
use statistics::sql::is_state;
use std::collections::HashMap;
use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, Mutex};

/// Values of one key, NULL among them.
const VALUES: usize = 256;
/// Groups, and the groups of the first keys alone.
const GROUPS: usize = 4096;

/// Puts [`FewGroupsExec`] in the place of the first half of a grouped aggregation of states of a fixed size.
#[derive(Debug)]
pub struct FewGroups;

/// Adds it to a session.
pub fn register(context: &SessionContext) {
    let state = SessionStateBuilder::new_from_existing(context.state())
        .with_session_id(context.session_id())
        .with_physical_optimizer_rule(Arc::new(FewGroups))
        .build();
    *context.state_ref().write() = state;
}

impl PhysicalOptimizerRule for FewGroups {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let replaced = |node: Arc<dyn ExecutionPlan>| {
            let native = node.downcast_ref::<AggregateExec>().filter(|native| fits(native)).cloned();
            Ok(match native {
                Some(native) => Transformed::yes(Arc::new(FewGroupsExec { native: Arc::new(native) }) as _),
                None => Transformed::no(node),
            })
        };
        plan.transform_up(replaced).data()
    }

    fn name(&self) -> &'static str {
        "few_groups"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether all that the aggregation asks for is done here too. Its second half must follow, which merges groups that come twice.
fn fits(native: &AggregateExec) -> bool {
    let group_by = native.group_expr();
    let schema = native.input().schema();
    let known = |key: &Arc<dyn PhysicalExpr>| key.data_type(&schema).is_ok_and(|kind| is_key(&kind));
    *native.mode() == AggregateMode::Partial
        && *native.input_order_mode() == InputOrderMode::Linear
        && group_by.is_single()
        && !group_by.is_empty()
        && group_by.input_exprs().iter().all(known)
        && native.limit_options().is_none()
        && native.dynamic_expressions_produced().is_empty()
        && native.filter_expr().iter().all(Option::is_none)
        && native.aggr_expr().iter().any(|aggregate| is_state(aggregate.fun().name()))
        && native.aggr_expr().iter().all(|aggregate| {
            aggregate.groups_accumulator_supported() && !aggregate.is_distinct() && aggregate.order_bys().is_empty()
        })
}

/// Whole numbers, dates, truth and texts.
fn is_key(kind: &DataType) -> bool {
    use DataType::{Boolean, Date32, Utf8, Utf8View};
    kind.is_integer() || matches!(kind, Boolean | Date32 | Utf8 | Utf8View)
}

/// The first half of an aggregation: a row a group and partition of the input, at its end.
struct FewGroupsExec {
    /// What is asked for, and who goes on where the groups are not few.
    native: Arc<AggregateExec>,
}

impl Debug for FewGroupsExec {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.debug_struct("FewGroupsExec").field("native", &self.native).finish()
    }
}

impl DisplayAs for FewGroupsExec {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut Formatter) -> fmt::Result {
        match kind {
            DisplayFormatType::TreeRender => Ok(()),
            _ => {
                write!(f, "FewGroupsExec: ")?;
                self.native.fmt_as(kind, f)
            }
        }
    }
}

impl ExecutionPlan for FewGroupsExec {
    fn name(&self) -> &'static str {
        "FewGroupsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.native.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![self.native.input()]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.native.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let native = Arc::clone(&self.native).replace_children(children, options)?;
        let native = native.downcast_ref::<AggregateExec>().cloned();
        let native = native.ok_or_else(|| internal_datafusion_err!("an aggregation became something else"))?;
        Ok(Arc::new(FewGroupsExec { native: Arc::new(native) }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.native.input().execute(partition, Arc::clone(&context))?;
        let answer = stream::once(counted(Arc::clone(&self.native), partition, input, context)).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.native.schema(), answer)))
    }
}

/// Counts to the end of the input, or until the groups are not few.
async fn counted(
    native: Arc<AggregateExec>,
    partition: usize,
    mut input: SendableRecordBatchStream,
    context: Arc<TaskContext>,
) -> Result<SendableRecordBatchStream> {
    let schema = native.schema();
    let consumer = MemoryConsumer::new(format!("FewGroupsExec[{partition}]"));
    let memory = consumer.register(context.memory_pool());
    let mut told = Vec::new();
    let mut counts = Counts::of(&native, true)?;
    while let Some(batch) = input.try_next().await? {
        let mut fits = counts.count(&batch)?;
        if !fits && counts.is_by_columns() {
            // a column has more values than what is made of it: days, where years are asked for
            told.extend(counts.told(&schema)?);
            counts = Counts::of(&native, false)?;
            fits = counts.count(&batch)?;
        }
        if fits && memory.try_resize(counts.size()).is_ok() {
            continue;
        }
        // the rest is the engine's
        told.extend(counts.told(&schema)?);
        drop((counts, memory));
        let rest = Rest::plan((!fits).then_some(batch), input)?;
        let recompute = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        let rest = native.replace_children(vec![rest], recompute)?.execute(0, context)?;
        let all = stream::iter(told.into_iter().map(Ok)).chain(rest);
        return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, all)));
    }
    told.extend(counts.told(&schema)?);
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(told.into_iter().map(Ok)))))
}

/// The rest of an input, once.
struct Rest {
    schema: SchemaRef,
    batches: Mutex<Option<SendableRecordBatchStream>>,
}

impl Rest {
    fn plan(first: Option<RecordBatch>, rest: SendableRecordBatchStream) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = rest.schema();
        let batches = stream::iter(first.map(Ok)).chain(rest);
        let batches: SendableRecordBatchStream = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), batches));
        let rest = Rest { schema: Arc::clone(&schema), batches: Mutex::new(Some(batches)) };
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![Arc::new(rest)], None, [], false, None)?))
    }
}

impl Debug for Rest {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str("Rest")
    }
}

impl PartitionStream for Rest {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches = self.batches.lock().expect("no panic while it is held").take();
        batches.unwrap_or_else(|| {
            let twice = internal_datafusion_err!("the rest of an input was asked for twice");
            Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream::iter([Err(twice)])))
        })
    }
}

/// One aggregate's states of all groups.
struct State {
    states: Box<dyn GroupsAccumulator>,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
}

/// All that is counted.
struct Counts {
    keys: Vec<Key>,
    /// Of each key behind the first: from the groups of the keys before it and its code to the groups with it. Codes of the first key are
    /// groups already.
    pairs: Vec<Pairs>,
    states: Vec<State>,
    /// Groups in which something was counted.
    counted: usize,
    /// Groups of the batch at hand.
    places: Vec<u16>,
    numbers: Vec<usize>,
}

impl Counts {
    /// With `by_columns`, what is made of a column is computed once a value, not once a row.
    fn of(native: &AggregateExec, by_columns: bool) -> Result<Counts> {
        let schema = native.input().schema();
        let asked = native.group_expr().input_exprs();
        let keys = asked.into_iter().map(|key| Key::of(key, &schema, by_columns)).collect::<Result<Vec<_>>>()?;
        let pairs = keys.iter().skip(1).map(|_| Pairs::default()).collect();
        let state = |aggregate: &Arc<AggregateFunctionExpr>| {
            Ok(State { states: aggregate.create_groups_accumulator()?, arguments: aggregate.expressions() })
        };
        let states = native.aggr_expr().iter().map(state).collect::<Result<Vec<_>>>()?;
        Ok(Counts { keys, pairs, states, counted: 0, places: Vec::new(), numbers: Vec::new() })
    }

    fn is_by_columns(&self) -> bool {
        self.keys.iter().any(|key| key.made.is_some())
    }

    fn size(&self) -> usize {
        let pairs = |pairs: &Pairs| pairs.next.capacity() * 2 + pairs.parents.capacity() * 4;
        let keys = self.keys.len() * (2 * size_of::<(u128, u16)>() * PLACES + 2 * NEAR);
        let states: usize = self.states.iter().map(|state| state.states.size()).sum();
        let rows = self.numbers.capacity() * size_of::<usize>();
        keys + self.pairs.iter().map(pairs).sum::<usize>() + states + rows
    }

    /// Counts a batch; false, and nothing of it is counted, where its groups are too many.
    fn count(&mut self, batch: &RecordBatch) -> Result<bool> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(true);
        }
        let mut groups = 0;
        for (at, key) in self.keys.iter_mut().enumerate() {
            let column = key.coded.evaluate(batch)?.into_array(rows)?;
            let column = match column.data_type() {
                DataType::Boolean => cast(&column, &DataType::UInt8)?,
                DataType::Utf8 => cast(&column, &DataType::Utf8View)?,
                _ => column,
            };
            if !key.code(&column)? {
                return Ok(false);
            }
            if at == 0 {
                std::mem::swap(&mut self.places, &mut key.codes);
                groups = key.known.len();
                continue;
            }
            let pairs = &mut self.pairs[at - 1];
            pairs.grow(groups);
            if !pairs.follow(&mut self.places, &key.codes) {
                return Ok(false);
            }
            groups = pairs.parents.len();
        }
        self.counted = groups;
        self.numbers.clear();
        self.numbers.extend(self.places.iter().map(|place| usize::from(*place)));
        for state in &mut self.states {
            let values = state.arguments.iter().map(|argument| argument.evaluate(batch)?.into_array(rows));
            state.states.update_batch(&values.collect::<Result<Vec<_>>>()?, &self.numbers, None, self.counted)?;
        }
        Ok(true)
    }

    /// The groups with their states, as the engine's first half would tell them, none where nothing was counted. A batch that was too
    /// much may have left groups behind these in which nothing was counted.
    fn told(&mut self, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
        if self.counted == 0 {
            return Ok(None);
        }
        let mut codes = vec![Vec::with_capacity(self.counted); self.keys.len()];
        for group in 0..self.counted {
            let mut of = group;
            for (pairs, codes) in self.pairs.iter().zip(&mut codes[1..]).rev() {
                let (parent, code) = pairs.parents[of];
                codes.push(code);
                of = usize::from(parent);
            }
            codes[0].push(of as u16);
        }
        let mut columns = Vec::with_capacity(schema.fields().len());
        for (key, codes) in self.keys.iter().zip(codes) {
            let values = key.values(schema.field(columns.len()).data_type())?;
            columns.push(take(&values, &UInt16Array::from(codes), None)?);
        }
        for state in &mut self.states {
            columns.extend(state.states.state(EmitTo::All)?);
        }
        Ok(Some(RecordBatch::try_new(Arc::clone(schema), columns)?))
    }
}

/// Numbers of pairs in the order in which they come.
#[derive(Default)]
struct Pairs {
    /// By `VALUES * group + code`.
    next: Vec<u16>,
    parents: Vec<(u16, u16)>,
}

impl Pairs {
    fn grow(&mut self, groups: usize) {
        self.next.resize(groups * VALUES, NONE);
    }

    /// From each row's group to the one that its code makes of it; false where they are too many.
    fn follow(&mut self, groups: &mut [u16], codes: &[u16]) -> bool {
        for (group, code) in groups.iter_mut().zip(codes) {
            let place = usize::from(*group) * VALUES + usize::from(*code);
            let mut number = self.next[place];
            if number == NONE {
                if self.parents.len() == GROUPS {
                    return false;
                }
                number = self.parents.len() as u16;
                self.next[place] = number;
                self.parents.push((*group, *code));
            }
            *group = number;
        }
        true
    }
}

/// The values of one key, with codes in the order in which they come.
struct Key {
    /// What is coded in each batch, and what is made of it once a value: a whole number and an age band.
    coded: Arc<dyn PhysicalExpr>,
    made: Option<Arc<dyn PhysicalExpr>>,
    /// Codes of the numbers from `-NEAR_BELOW`, as most are.
    near: Box<[u16; NEAR]>,
    /// Other numbers, and texts that lie in their view.
    words: Table,
    /// Longer texts of the batch at hand, by the view of where they lie.
    views: Table,
    longer: HashMap<Box<str>, u16>,
    null: Option<u16>,
    known: Vec<ScalarValue>,
    /// Of the rows of the batch at hand.
    codes: Vec<u16>,
}

/// Codes that are looked up by the number itself: ages, years, bands, grades.
const NEAR: usize = 4096;
const NEAR_BELOW: i64 = 1024;
/// No code yet.
const NONE: u16 = u16::MAX;
/// Longest text that lies in its view.
const IN_VIEW: u32 = 12;

impl Key {
    fn of(asked: Arc<dyn PhysicalExpr>, schema: &SchemaRef, by_columns: bool) -> Result<Key> {
        let mut columns = collect_columns(&asked).into_iter();
        let only = columns.next().filter(|_| by_columns && columns.next().is_none() && !is_volatile(&asked));
        let only = only.filter(|column| schema.field(column.index()).data_type().is_integer());
        let (coded, made) = match only {
            Some(column) if !asked.is::<Column>() => {
                let alone = |node: Arc<dyn PhysicalExpr>| {
                    Ok(match node.is::<Column>() {
                        true => Transformed::yes(Arc::new(Column::new(column.name(), 0)) as _),
                        false => Transformed::no(node),
                    })
                };
                let made = Arc::clone(&asked).transform_up(alone).data()?;
                (Arc::new(column.clone()) as _, Some(made))
            }
            _ => (asked, None),
        };
        Ok(Key {
            coded,
            made,
            near: Box::new([NONE; NEAR]),
            words: Table::new(),
            views: Table::new(),
            longer: HashMap::new(),
            null: None,
            known: Vec::new(),
            codes: Vec::new(),
        })
    }

    /// The key by code.
    fn values(&self, kind: &DataType) -> Result<ArrayRef> {
        let values = ScalarValue::iter_to_array(self.known.iter().cloned())?;
        let values = match &self.made {
            None => values,
            Some(made) => {
                let rows = values.len();
                let alone = RecordBatch::try_from_iter_with_nullable([("value", values, true)])?;
                made.evaluate(&alone)?.into_array(rows)?
            }
        };
        Ok(cast(&values, kind)?)
    }

    /// Codes each row's value; false where there are too many values.
    fn code(&mut self, column: &ArrayRef) -> Result<bool> {
        macro_rules! whole {
            ($kind:ty) => {{
                let values = column.as_primitive::<$kind>().values();
                self.each(column, values, |key, value, row, fresh| key.number(value as i64, row, fresh))
            }};
        }
        match column.data_type() {
            DataType::Int8 => whole!(Int8Type),
            DataType::Int16 => whole!(Int16Type),
            DataType::Int32 => whole!(Int32Type),
            DataType::Int64 => whole!(Int64Type),
            DataType::UInt8 => whole!(UInt8Type),
            DataType::UInt16 => whole!(UInt16Type),
            DataType::UInt32 => whole!(UInt32Type),
            DataType::UInt64 => whole!(UInt64Type),
            DataType::Date32 => whole!(Date32Type),
            DataType::Utf8View => {
                self.views.clear();
                let texts = column.as_string_view();
                // the low 32 bits of a view are the length; a short text follows
                self.each(column, texts.views(), |key, view, row, fresh| match view as u32 <= IN_VIEW {
                    true => key.words.code(view, row, fresh),
                    false => key.longer(view, texts.value(row), row, fresh),
                })
            }
            other => Err(internal_datafusion_err!("{other} is no key of few groups")),
        }
    }

    #[inline(always)]
    fn number(&mut self, number: i64, row: usize, fresh: &mut Fresh) -> u16 {
        match self.near.get_mut(number.wrapping_add(NEAR_BELOW) as u64 as usize) {
            Some(code) if *code != NONE => *code,
            Some(code) => {
                *code = fresh.add(row);
                *code
            }
            None => self.words.code(number as u128, row, fresh),
        }
    }

    /// The code of a text that is not in its view.
    #[inline(never)]
    fn longer(&mut self, view: u128, text: &str, row: usize, fresh: &mut Fresh) -> u16 {
        if let Some(code) = self.views.find(view) {
            return code;
        }
        let code = match self.longer.get(text) {
            Some(code) => *code,
            None => {
                let code = fresh.add(row);
                self.longer.insert(text.into(), code);
                code
            }
        };
        self.views.put(view, code);
        code
    }

    /// `code` of each row's value, one of its own for NULL. Without NULL, a loop with nothing else in it.
    #[inline(always)]
    fn each<T: Copy>(
        &mut self,
        column: &ArrayRef,
        values: &[T],
        code: impl Fn(&mut Key, T, usize, &mut Fresh) -> u16,
    ) -> Result<bool> {
        let mut fresh = Fresh { known: self.known.len(), rows: Vec::new(), too_many: false };
        let mut codes = std::mem::take(&mut self.codes);
        codes.clear();
        match column.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => codes.extend(values.iter().enumerate().map(|(row, value)| code(self, *value, row, &mut fresh))),
            Some(valid) => codes.extend(values.iter().enumerate().map(|(row, value)| match valid.is_valid(row) {
                true => code(self, *value, row, &mut fresh),
                false => *self.null.get_or_insert_with(|| fresh.add(row)),
            })),
        }
        self.codes = codes;
        for row in fresh.rows {
            self.known.push(ScalarValue::try_from_array(column, row)?);
        }
        Ok(!fresh.too_many)
    }
}

/// Rows of a batch that have a value for the first time.
struct Fresh {
    known: usize,
    rows: Vec<usize>,
    too_many: bool,
}

impl Fresh {
    /// The next code. Behind the last one no code is kept, and the batch's codes are not used.
    #[cold]
    fn add(&mut self, row: usize) -> u16 {
        let code = self.known + self.rows.len();
        if code == VALUES {
            self.too_many = true;
            return NONE;
        }
        self.rows.push(row);
        code as u16
    }
}

/// Codes by words of 128 bits, in open addressing. A quarter of it is used, so that nearly every look ends at the first place.
struct Table {
    places: Box<[(u128, u16); PLACES]>,
    used: usize,
}

const PLACES: usize = 4 * VALUES;

impl Table {
    fn new() -> Table {
        Table { places: Box::new([(0, NONE); PLACES]), used: 0 }
    }

    fn clear(&mut self) {
        if self.used > 0 {
            self.places.fill((0, NONE));
            self.used = 0;
        }
    }

    /// Where a word is, or would be.
    #[inline(always)]
    fn place(&self, word: u128) -> usize {
        let folded = (word as u64) ^ ((word >> 64) as u64).rotate_left(32);
        let mut place = (folded.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize % PLACES;
        loop {
            let (known, code) = self.places[place];
            if code == NONE || known == word {
                return place;
            }
            place = (place + 1) % PLACES;
        }
    }

    #[inline(always)]
    fn code(&mut self, word: u128, row: usize, fresh: &mut Fresh) -> u16 {
        let place = self.place(word);
        let code = self.places[place].1;
        if code != NONE {
            return code;
        }
        let code = fresh.add(row);
        self.places[place] = (word, code);
        code
    }

    fn find(&self, word: u128) -> Option<u16> {
        let code = self.places[self.place(word)].1;
        (code != NONE).then_some(code)
    }

    /// Kept while there is room: what is not found here is looked up by its text.
    fn put(&mut self, word: u128, code: u16) {
        if self.used < PLACES / 2 {
            self.places[self.place(word)] = (word, code);
            self.used += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{BooleanArray, Date32Array, Int8Array, Int32Array, StringArray, StringViewArray};
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::datasource::MemTable;
    use datafusion::execution::memory_pool::GreedyMemoryPool;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::prelude::SessionConfig;
    use proptest::prelude::*;

    /// Rows in batches of `batch`, in two partitions.
    fn table(rows: &[(u8, i8)], batch: usize) -> MemTable {
        // short and long ones, some alike in their first letters and their length
        let sites = ["", "North", "exactly12byt", "thirteen-byte", "Hospital of the North", "Hospital of the South"];
        let site = |key: u8| (key % 7 < 6).then(|| sites[usize::from(key % 7)]);
        let of = |rows: &[(u8, i8)]| {
            let keys = || rows.iter().map(|(key, _)| *key);
            let columns: [(&str, ArrayRef); 8] = [
                ("site", Arc::new(keys().map(site).collect::<StringViewArray>())),
                ("maker", Arc::new(keys().map(|k| site(k / 3)).collect::<StringArray>())),
                ("band", Arc::new(keys().map(|k| (k % 11 > 0).then(|| i32::from(k % 11) - 5)).collect::<Int32Array>())),
                ("sex", Arc::new(keys().map(|k| (k % 5 > 0).then_some(k % 2 == 0)).collect::<BooleanArray>())),
                ("day", Arc::new(Date32Array::from_iter_values(keys().map(|k| i32::from(k) * 100 - 9_000)))),
                (
                    "person",
                    Arc::new(
                        rows.iter()
                            .enumerate()
                            .map(|(n, (k, _))| Some(format!("person number {n} {k}")))
                            .collect::<StringViewArray>(),
                    ),
                ),
                ("number", Arc::new((0..rows.len() as i32).collect::<Int32Array>())),
                (
                    "score",
                    Arc::new(rows.iter().map(|(_, score)| (*score >= 0).then_some(*score)).collect::<Int8Array>()),
                ),
            ];
            RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
        };
        let batches: Vec<RecordBatch> = rows.chunks(batch).map(of).collect();
        let (first, second) = batches.split_at(batches.len() / 2);
        MemTable::try_new(of(&[]).schema(), vec![first.to_vec(), second.to_vec()]).unwrap()
    }

    /// The same functions, counted by the engine alone (`quick` false) or here where it fits.
    fn context(quick: bool, table: MemTable, memory: usize) -> SessionContext {
        let pool = GreedyMemoryPool::new(memory);
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).build_arc().unwrap();
        let context = SessionContext::new_with_config_rt(SessionConfig::new().with_target_partitions(2), runtime);
        statistics::sql::register(&context).unwrap();
        if quick {
            register(&context);
        }
        context.register_table("readings", Arc::new(table)).unwrap();
        context
    }

    async fn answer(context: &SessionContext, sql: &str) -> String {
        pretty_format_batches(&context.sql(sql).await.unwrap().collect().await.unwrap()).unwrap().to_string()
    }

    const QUESTIONS: [&str; 8] = [
        "SELECT site, aac_hist(score) FROM readings GROUP BY site ORDER BY site",
        "SELECT site, maker, band, sex, aac_hist(score) h, count(*), avg(score) FROM readings GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
        "SELECT band / 2 AS wide, aac_joint(score, score) j FROM readings WHERE sex GROUP BY wide ORDER BY wide",
        "SELECT day, maker, aac_hist(score) h, aac_joint_outcome(sex, score) o FROM readings GROUP BY day, maker ORDER BY day, maker",
        "SELECT person, aac_hist(score) FROM readings GROUP BY person ORDER BY person",
        "SELECT site, maker, moments(score / 7.0) m, aac_hist(score) h FROM readings GROUP BY site, maker ORDER BY site, maker",
        "SELECT sex, person, aac_hist(score) FROM readings GROUP BY sex, person ORDER BY sex, person",
        "SELECT CASE WHEN number > 100 THEN 'late' ELSE 'early' END AS half, aac_hist(score) FROM readings GROUP BY half ORDER BY half",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_same_is_counted_as_by_the_engine(
            rows in proptest::collection::vec((any::<u8>(), -1i8..25), 0..1500),
            batch in 1usize..400,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let quick = context(true, table(&rows, batch), 1 << 30);
                let engine = context(false, table(&rows, batch), 1 << 30);
                for sql in QUESTIONS {
                    assert_eq!(answer(&quick, sql).await, answer(&engine, sql).await, "{sql}");
                }
            });
        }
    }

    #[tokio::test]
    async fn it_takes_the_place_of_the_first_half_and_of_nothing_else() {
        let rows: Vec<(u8, i8)> = (0..100).map(|n| (n, 3)).collect();
        let quick = context(true, table(&rows, 10), 1 << 30);
        for sql in QUESTIONS {
            let plan = answer(&quick, &format!("EXPLAIN {sql}")).await;
            assert_eq!(plan.matches("FewGroupsExec").count(), 1, "{plan}");
        }
        for sql in [
            "SELECT site, count(*) FROM readings GROUP BY site",
            "SELECT aac_hist(score) FROM readings",
            "SELECT score::DOUBLE, aac_hist(score) FROM readings GROUP BY 1",
            "SELECT site, aac_hist(score) FILTER (WHERE sex) FROM readings GROUP BY site",
            "SELECT site, sex, aac_hist(score) FROM readings GROUP BY ROLLUP (site, sex)",
        ] {
            let plan = answer(&quick, &format!("EXPLAIN {sql}")).await;
            assert!(!plan.contains("FewGroupsExec"), "{plan}");
        }
    }

    /// The engine's own half gives way where memory ends; so does this one.
    #[tokio::test]
    async fn where_memory_ends_the_engine_goes_on() {
        let rows: Vec<(u8, i8)> = (0..4000u32).map(|n| ((n % 251) as u8, (n % 26) as i8 - 1)).collect();
        let engine = context(false, table(&rows, 50), 1 << 30);
        // a sort would ask for ten megabytes of its own
        let sql = "SELECT day, aac_hist(score) FROM readings GROUP BY day";
        let in_order = |text: String| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let expected = in_order(answer(&engine, sql).await);
        let mut answered = 0;
        for kib in (5..15).map(|power| 1 << power) {
            let quick = context(true, table(&rows, 50), kib << 10);
            match quick.sql(sql).await.unwrap().collect().await {
                Ok(batches) => {
                    assert_eq!(in_order(pretty_format_batches(&batches).unwrap().to_string()), expected);
                    answered += 1;
                }
                Err(error) => {
                    assert!(error.to_string().contains("memory") || error.to_string().contains("Resources"), "{error}")
                }
            }
        }
        assert!(answered >= 2, "{answered}");
    }
}

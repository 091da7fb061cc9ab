//! What PostgreSQL's clients look for beside the tables: `pg_catalog`, with the functions of the lake in it.

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, new_null_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef};
use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::setup_pg_catalog;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Catalog of the session, and name of the database that clients see.
pub(crate) const CATALOG: &str = "lake";
/// The parts of which the views are made; they need no name once the views are planned.
const PARTS: &str = "parts";
const PG_CATALOG: &str = "pg_catalog";
const FUNCTIONS: &str = "pg_proc";
const CURSORS: &str = "pg_cursors";
/// First object id of our functions: beyond those of PostgreSQL's own (under 16,384) and of the tables (counted from there).
const FIRST_ID: i64 = 1_000_000;

/// PostgreSQL's version whose catalog this resembles.
pub(crate) const SERVER_VERSION: &str = "16.6";

/// Adds the catalog to a session that has its tables and functions, and gives it for the next version of the same lake: object ids are
/// numbered as they are first asked for, and clients come back with those that they were told (`known`). Which tables and columns there are
/// does not change while a server runs.
pub(crate) async fn install(
    context: &SessionContext,
    known: Option<&Arc<dyn SchemaProvider>>,
) -> Result<Arc<dyn SchemaProvider>> {
    let Some(catalog) = context.catalog(CATALOG) else { return plan_err!("the session has no catalog {CATALOG}") };
    catalog.deregister_schema(PARTS, true)?;
    setup_pg_catalog(context, CATALOG, EmptyContextProvider).map_err(|error| *error)?;
    context.register_udf(ScalarUDF::from(Version { signature: Signature::nullary(Volatility::Stable) }));

    let functions = functions(context).await?;
    let Some(tables) = catalog.schema(PG_CATALOG) else { return plan_err!("the session has no {PG_CATALOG}") };
    let tables: Arc<dyn SchemaProvider> = match known {
        Some(known) => Arc::clone(known),
        None => {
            let with_ours = with_functions(context, &tables, &functions).await?;
            Arc::new(Tables { tables, functions: with_ours, cursors: cursors()? })
        }
    };
    catalog.register_schema(PG_CATALOG, Arc::clone(&tables))?;
    let texts = |of: fn(&Function) -> &String| functions.iter().map(|f| (f.id, of(f).clone())).collect();
    context.register_udf(ByOid::of("pg_get_function_arguments", texts(|f| &f.arguments)));
    context.register_udf(ByOid::of("pg_get_function_identity_arguments", texts(|f| &f.arguments)));
    context.register_udf(ByOid::of("pg_get_function_result", texts(|f| &f.returns)));
    context.register_udf(ScalarUDF::from(ToRegtype {
        types: types(context).await?,
        signature: Signature::any(1, Volatility::Stable),
    }));
    let named = Signature::one_of(vec![TypeSignature::Any(1), TypeSignature::Any(2)], Volatility::Stable);
    context.register_udf(ScalarUDF::from(CurrentSetting { signature: named }));
    context.register_udf(ScalarUDF::from(Visible { signature: Signature::any(1, Volatility::Stable) }));
    Ok(tables)
}

/// A function as `\df` shows it.
struct Function {
    id: i64,
    name: String,
    arguments: String,
    returns: String,
    aggregate: bool,
}

async fn functions(context: &SessionContext) -> Result<Vec<Function>> {
    let listing = context.sql("SELECT name, usage, returns FROM statistics_functions ORDER BY name").await?;
    let mut functions = Vec::new();
    for batch in listing.collect().await? {
        let text = |column: usize| cast(batch.column(column), &DataType::Utf8);
        let (names, usages, returns) = (text(0)?, text(1)?, text(2)?);
        for row in 0..batch.num_rows() {
            let value = |array: &ArrayRef| array.as_string::<i32>().value(row).to_owned();
            let (name, usage) = (value(&names), value(&usages));
            let arguments = usage.split_once('(').map_or("", |(_, rest)| rest.trim_end_matches(')')).to_owned();
            let aggregate = context.state().udaf(&name).is_ok();
            functions.push(Function {
                id: FIRST_ID + functions.len() as i64,
                arguments,
                returns: value(&returns),
                aggregate,
                name,
            });
        }
    }
    Ok(functions)
}

/// Object ids of the types by name.
async fn types(context: &SessionContext) -> Result<BTreeMap<String, i32>> {
    let mut types = BTreeMap::new();
    for batch in context.sql("SELECT typname, oid FROM pg_catalog.pg_type").await?.collect().await? {
        let (names, ids) = (cast(batch.column(0), &DataType::Utf8)?, cast(batch.column(1), &DataType::Int32)?);
        let (names, ids) = (names.as_string::<i32>(), ids.as_primitive::<Int32Type>());
        types.extend(names.iter().zip(ids).filter_map(|(name, id)| Some((name?.to_owned(), id?))));
    }
    Ok(types)
}

/// `pg_proc` with rows for our functions, in the schema `public`; what PostgreSQL knows of a function beyond name, kind and place is
/// missing.
async fn with_functions(
    context: &SessionContext,
    tables: &Arc<dyn SchemaProvider>,
    functions: &[Function],
) -> Result<Arc<dyn TableProvider>> {
    let Some(own) = tables.table(FUNCTIONS).await? else { return plan_err!("the catalog has no {FUNCTIONS}") };
    let nullable: Vec<Field> =
        own.schema().fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let schema: SchemaRef = Arc::new(Schema::new(nullable));
    let mut batches = Vec::new();
    for batch in context.read_table(own)?.collect().await? {
        batches.push(RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec())?);
    }
    let public =
        context.sql("SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'public'").await?.collect().await?;
    let public = public
        .iter()
        .find(|batch| batch.num_rows() > 0)
        .map(|batch| cast(batch.column(0), &DataType::Int64))
        .transpose()?;
    let public = public.map_or(0, |ids| ids.as_primitive::<Int64Type>().value(0));
    let texts = |of: &dyn Fn(&Function) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(functions.iter().map(of)))
    };
    let columns = schema.fields().iter().map(|field| match field.name().as_str() {
        "oid" => cast(&Int64Array::from_iter_values(functions.iter().map(|f| f.id)), field.data_type()),
        "proname" => cast(&texts(&|f| f.name.clone()), field.data_type()),
        "pronamespace" => cast(&Int64Array::from(vec![public; functions.len()]), field.data_type()),
        "prokind" => cast(&texts(&|f| if f.aggregate { "a" } else { "f" }.to_owned()), field.data_type()),
        _ => Ok(new_null_array(field.data_type(), functions.len())),
    });
    let columns = columns.collect::<std::result::Result<Vec<ArrayRef>, _>>()?;
    batches.push(RecordBatch::try_new(Arc::clone(&schema), columns)?);
    Ok(Arc::new(MemTable::try_new(schema, vec![batches])?))
}

/// `pg_cursors` without rows: psycopg looks there whether a cursor is still open that it would close; they close with their transaction.
fn cursors() -> Result<Arc<dyn TableProvider>> {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let schema = Arc::new(Schema::new(vec![text("name"), text("statement")]));
    Ok(Arc::new(MemTable::try_new(Arc::clone(&schema), vec![vec![]])?))
}

/// `pg_catalog` with our `pg_proc`, and `pg_cursors`.
#[derive(Debug)]
struct Tables {
    tables: Arc<dyn SchemaProvider>,
    functions: Arc<dyn TableProvider>,
    cursors: Arc<dyn TableProvider>,
}

#[async_trait]
impl SchemaProvider for Tables {
    fn table_names(&self) -> Vec<String> {
        self.tables.table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if name.eq_ignore_ascii_case(FUNCTIONS) {
            return Ok(Some(Arc::clone(&self.functions)));
        }
        if name.eq_ignore_ascii_case(CURSORS) {
            return Ok(Some(Arc::clone(&self.cursors)));
        }
        self.tables.table(name).await
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.table_exist(name) || name.eq_ignore_ascii_case(CURSORS)
    }
}

/// A text for an object id; NULL for those that are not known.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ByOid {
    name: &'static str,
    texts: BTreeMap<i64, String>,
    signature: Signature,
}

impl ByOid {
    fn of(name: &'static str, texts: BTreeMap<i64, String>) -> ScalarUDF {
        ScalarUDF::from(ByOid { name, texts, signature: Signature::any(1, Volatility::Stable) })
    }
}

impl ScalarUDFImpl for ByOid {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(ids) = args.args.first() else { return plan_err!("{} wants an object id", self.name) };
        let ids = cast(&ids.to_array(args.number_rows)?, &DataType::Int64)?;
        let ids = ids.as_primitive::<Int64Type>();
        let texts: StringArray =
            ids.iter().map(|id| id.and_then(|id| self.texts.get(&id).map(String::as_str))).collect();
        Ok(ColumnarValue::Array(Arc::new(texts)))
    }
}

/// `to_regtype(name)`: the object id of a type; NULL for one that there is not, by which clients learn that (psycopg asks for hstore).
#[derive(Debug, PartialEq, Eq, Hash)]
struct ToRegtype {
    types: BTreeMap<String, i32>,
    signature: Signature,
}

impl ScalarUDFImpl for ToRegtype {
    fn name(&self) -> &str {
        "to_regtype"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int32)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(names) = args.args.first() else { return plan_err!("to_regtype wants the name of a type") };
        let names = cast(&names.to_array(args.number_rows)?, &DataType::Utf8)?;
        let names = names.as_string::<i32>();
        let ids: Int32Array = names.iter().map(|name| name.and_then(|name| self.types.get(name).copied())).collect();
        Ok(ColumnarValue::Array(Arc::new(ids)))
    }
}

/// Settings that clients ask for by `current_setting(name)`.
const SETTINGS: [(&str, &str); 6] = [
    ("default_table_access_method", "heap"),
    ("search_path", "public"),
    ("server_version", SERVER_VERSION),
    ("server_version_num", "160006"),
    ("standard_conforming_strings", "on"),
    ("timezone", "UTC"),
];

/// `current_setting(name)`; NULL for one that there is not.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CurrentSetting {
    signature: Signature,
}

impl ScalarUDFImpl for CurrentSetting {
    fn name(&self) -> &str {
        "current_setting"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(names) = args.args.first() else { return plan_err!("current_setting wants a name") };
        let names = cast(&names.to_array(args.number_rows)?, &DataType::Utf8)?;
        let known =
            |name: &str| SETTINGS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value);
        let values: StringArray = names.as_string::<i32>().iter().map(|name| name.and_then(known)).collect();
        Ok(ColumnarValue::Array(Arc::new(values)))
    }
}

/// `pg_function_is_visible(oid)`: there is one place for functions, so that all are found without naming it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Visible {
    signature: Signature,
}

impl ScalarUDFImpl for Visible {
    fn name(&self) -> &str {
        "pg_function_is_visible"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))))
    }
}

/// `version()`: clients take PostgreSQL's version out of it, and refuse to go on where they find none.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Version {
    signature: Signature,
}

impl ScalarUDFImpl for Version {
    fn name(&self) -> &str {
        "version"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let text = format!("PostgreSQL {SERVER_VERSION} (aortica {}, read only)", env!("CARGO_PKG_VERSION"));
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(text))))
    }
}

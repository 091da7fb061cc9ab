//! The functions of the aggregate role as table functions of SQL: `SELECT * FROM prevalence('sex', 'age_band')`.

use super::policy::Function;
use super::tables::Protected;
use arrow::array::RecordBatch;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::datasource::MemTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;
use std::sync::Arc;

/// One function of the policy over what may be told.
#[derive(Debug)]
pub(crate) struct ProtectedFunction {
    pub protected: Arc<Protected>,
    pub function: Function,
}

impl ProtectedFunction {
    fn table(&self, arguments: &[Expr]) -> Result<RecordBatch> {
        let name = self.function.name();
        let mut strata = Vec::new();
        for argument in arguments {
            match argument {
                Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) => {
                    strata.push(text.clone())
                }
                _ => return plan_err!("{name} takes names of strata in quotes, as in {name}('sex')"),
            }
        }
        if self.function == Function::Flow && !strata.is_empty() {
            return plan_err!("flow() takes no strata");
        }
        let wrong = |error: crate::Error| DataFusionError::Plan(error.to_string());
        let places = self.protected.strata(&strata).map_err(wrong)?;
        self.protected.table(self.function, &places).map_err(wrong)
    }
}

impl TableFunctionImpl for ProtectedFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        memory(self.table(args.exprs())?)
    }
}

/// A table of one batch.
pub(crate) fn memory(batch: RecordBatch) -> Result<Arc<dyn TableProvider>> {
    Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
}

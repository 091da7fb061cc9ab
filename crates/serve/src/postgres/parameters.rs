//! `$1`, `$2` .. of a prepared statement.

use crate::refusal::Refusal;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ParamValues;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion_postgres::arrow_pg::datatypes::df::deserialize_parameters_with_server_types;
use datafusion_postgres::arrow_pg::datatypes::{PG_OID_ALIAS_KEY, into_pg_type, pg_type_for_alias_kind};
use datafusion_postgres::pgwire::api::Type;
use datafusion_postgres::pgwire::api::portal::Portal;
use datafusion_postgres::pgwire::error::PgWireResult;
use std::collections::BTreeMap;

/// The parameters of a plan, in order, with what is known of their types.
pub(super) struct Parameters(Vec<Parameter>);

#[derive(Default, Clone)]
struct Parameter {
    arrow: Option<DataType>,
    /// Where PostgreSQL's type does not follow from the other: object ids of the catalog.
    wire: Option<Type>,
}

impl Parameters {
    pub fn of(plan: &LogicalPlan) -> Result<Parameters, Refusal> {
        let wrong = |error: datafusion::error::DataFusionError| Refusal::statement(format!("its parameters: {error}"));
        let mut known: BTreeMap<usize, Parameter> = BTreeMap::new();
        for (id, arrow) in plan.get_parameter_types().map_err(wrong)? {
            known.insert(number(&id)?, Parameter { arrow, wire: None });
        }
        plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expression| {
                expression.apply(|expression| {
                    learn(&mut known, expression);
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })
        .map_err(wrong)?;
        let last = known.keys().next_back().copied().unwrap_or(0);
        Ok(Parameters((1..=last).map(|place| known.remove(&place).unwrap_or_default()).collect()))
    }

    pub fn wire_types(&self) -> PgWireResult<Vec<Type>> {
        self.0
            .iter()
            .map(|parameter| match (&parameter.wire, &parameter.arrow) {
                (Some(wire), _) => Ok(wire.clone()),
                (None, Some(arrow)) => into_pg_type(arrow),
                (None, None) => Ok(Type::UNKNOWN),
            })
            .collect()
    }

    /// The values that a client bound. `None` where the statement has no parameters.
    pub fn values<S: Clone>(&self, portal: &Portal<S>) -> PgWireResult<Option<ParamValues>> {
        if portal.parameter_len() != self.0.len() {
            let message = format!("{} values came for {} parameters", portal.parameter_len(), self.0.len());
            return Err(Refusal::statement(message).into());
        }
        if self.0.is_empty() {
            return Ok(None);
        }
        let wire = self.wire_types()?;
        let wire: Vec<Option<&Type>> = wire.iter().map(Some).collect();
        let arrow: Vec<Option<&DataType>> = self.0.iter().map(|parameter| parameter.arrow.as_ref()).collect();
        deserialize_parameters_with_server_types(portal, &arrow, &wire).map(Some)
    }
}

/// Most parameters, as in PostgreSQL.
const PARAMETERS_MAX: usize = 65_535;

fn number(id: &str) -> Result<usize, Refusal> {
    let number = id.trim_start_matches('$').parse().ok().filter(|number| (1..=PARAMETERS_MAX).contains(number));
    number.ok_or_else(|| Refusal::statement(format!("a parameter is written $1, $2 .., not {id}")))
}

/// `CAST($1 AS INT)` and `oid = $1` tell more than the plan's own inference.
fn learn(known: &mut BTreeMap<usize, Parameter>, expression: &Expr) {
    let (placeholder, cast) = match expression {
        Expr::Placeholder(placeholder) => (placeholder, None),
        Expr::Cast(cast) => match &*cast.expr {
            Expr::Placeholder(placeholder) => (placeholder, Some(cast.field.data_type().clone())),
            _ => return,
        },
        _ => return,
    };
    let Ok(place) = number(&placeholder.id) else { return };
    let parameter = known.entry(place).or_default();
    if parameter.arrow.is_none() {
        parameter.arrow = cast.or_else(|| placeholder.field.as_ref().map(|field| field.data_type().clone()));
    }
    if let Some(field) = &placeholder.field
        && field.data_type() == &DataType::Int32
        && let Some(kind) = field.metadata().get(PG_OID_ALIAS_KEY)
    {
        parameter.wire = pg_type_for_alias_kind(kind);
    }
}

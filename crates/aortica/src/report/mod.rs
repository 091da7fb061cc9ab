//! The page of a study: one file a section, with its prose in the template of the same name beside it.
//!
//! Every number is asked of the same statements that `aortica stats` prints ([`crate::statements`]); a section adds words, tables and
//! drawings. There is no clock and no chance in it: the same inputs give the same bytes.

mod agreement;
mod checklists;
mod distribution;
mod failures;
mod flow;
mod methods;
mod places;
mod prevalence;
mod progression;
mod survival;
mod svg;
mod table1;
mod words;

use crate::cli::ReportArgs;
use crate::cohort::{Cohort, Row};
use anyhow::Context;
use minijinja::{Environment, UndefinedBehavior, Value};
use serde::Serialize;
use std::collections::BTreeMap;
use words::shown;

/// A report under way: what is asked, and every answer so far.
pub struct Report<'a> {
    cohort: &'a Cohort,
    args: &'a ReportArgs,
    /// The column that names sites; none where there is none.
    site: Option<String>,
    /// Answers by name, as they were given.
    pub numbers: BTreeMap<String, Vec<Row>>,
    /// What checklists and head of the page say, in words.
    facts: BTreeMap<&'static str, String>,
}

/// A section as it stands on the page.
#[derive(Serialize)]
struct Section {
    id: &'static str,
    title: &'static str,
    html: String,
}

const PAGE: &str = "page.html";
const TEMPLATES: [(&str, &str); 14] = [
    (PAGE, include_str!("page.html")),
    ("macros.html", include_str!("macros.html")),
    ("flow.html", include_str!("flow.html")),
    ("table1.html", include_str!("table1.html")),
    ("distribution.html", include_str!("distribution.html")),
    ("prevalence.html", include_str!("prevalence.html")),
    ("agreement.html", include_str!("agreement.html")),
    ("places.html", include_str!("places.html")),
    ("progression.html", include_str!("progression.html")),
    ("survival.html", include_str!("survival.html")),
    ("failures.html", include_str!("failures.html")),
    ("methods.html", include_str!("methods.html")),
    ("limits.html", include_str!("limits.html")),
    ("checklists.html", include_str!("checklists.html")),
];

impl<'a> Report<'a> {
    /// # Errors
    /// A column that is named is not there.
    pub async fn new(cohort: &'a Cohort, args: &'a ReportArgs) -> anyhow::Result<Report<'a>> {
        let site = match &args.site {
            Some(column) => Some(column.clone()),
            None if cohort.count("SELECT count(site_id) FROM participants").await? > 0 => Some("site_id".to_owned()),
            None => None,
        };
        Ok(Report { cohort, args, site, numbers: BTreeMap::new(), facts: BTreeMap::new() })
    }

    /// The whole page.
    ///
    /// # Errors
    /// Those of the lake and of the files.
    pub async fn page(&mut self) -> anyhow::Result<String> {
        let environment = environment()?;
        let mut sections = Vec::new();
        let mut add = |id, title, values: Value| -> anyhow::Result<()> {
            let template = environment.get_template(&format!("{id}.html"))?;
            let html = template.render(values).with_context(|| format!("section {id} of the report"))?;
            sections.push(Section { id, title, html });
            Ok(())
        };
        add("flow", "Flow of images and participants", flow::section(self).await?)?;
        add("table1", "Participants", table1::section(self).await?)?;
        add("distribution", "Distribution of AAC-24", distribution::section(self).await?)?;
        add("prevalence", "Prevalence by age and sex", prevalence::section(self).await?)?;
        add("agreement", "Agreement with human readings", agreement::section(self).await?)?;
        add("places", "Scanners and sites", places::section(self).await?)?;
        add("progression", "Progression", progression::section(self).await?)?;
        add("survival", "Outcome by category", survival::section(self).await?)?;
        add("failures", "Images without a score", failures::section(self).await?)?;
        add("methods", "Methods", methods::section(self).await?)?;
        add("limits", "Limits", shown(&self.facts))?;
        add("checklists", "Reporting checklists", checklists::section(&self.facts))?;
        let page = environment.get_template(PAGE)?;
        let values = minijinja::context! {
            title => &self.args.title,
            date => &self.args.date,
            facts => shown(&self.facts),
            sections => shown(&sections),
        };
        Ok(page.render(values)?)
    }

    /// Asks, and keeps the answer under a name.
    async fn ask(&mut self, name: &str, sql: &str) -> anyhow::Result<Vec<Row>> {
        let rows = self.cohort.rows(sql).await.with_context(|| format!("{name} of the report"))?;
        self.numbers.insert(name.to_owned(), rows.clone());
        Ok(rows)
    }

    fn fact(&mut self, name: &'static str, said: impl Into<String>) {
        self.facts.insert(name, said.into());
    }
}

fn environment() -> anyhow::Result<Environment<'static>> {
    let mut environment = Environment::new();
    // A name that a section does not give is a fault, not an empty place on the page.
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    for (name, source) in TEMPLATES {
        environment.add_template(name, source)?;
    }
    Ok(environment)
}

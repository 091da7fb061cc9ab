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
pub mod protected;
mod survival;
mod table1;

use crate::cli::ReportArgs;
use crate::cohort::{Cohort, Row};
use crate::page;
use crate::page::words::shown;
use anyhow::Context;
use minijinja::Value;
use std::collections::BTreeMap;

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

const PAGE: &str = "page.html";
const TEMPLATES: [(&str, &str); 13] = [
    (PAGE, include_str!("page.html")),
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
        let environment = page::environment(&TEMPLATES)?;
        let mut sections = Vec::new();
        let mut add = |id, title, values: Value| -> anyhow::Result<()> {
            sections.push(page::section(&environment, id, title, values)?);
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
            wide => false,
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

//! What the pages of the program have in common: a frame with its style sheet, drawings, tables, and numbers in words. Pages need nothing
//! from elsewhere and run nothing, so that they can be kept, sent and printed.

pub mod charts;
pub mod svg;
pub mod words;

use anyhow::Context;
use minijinja::{Environment, UndefinedBehavior, Value};
use serde::Serialize;
use std::path::Path;

/// A section as it stands on a page.
#[derive(Serialize)]
pub struct Section {
    pub id: &'static str,
    pub title: &'static str,
    pub html: String,
}

/// `templates` by name, and what every page has: `frame.html` to extend (block `head`; `title`, `sections`, `wide`) and `macros.html`.
///
/// # Errors
/// A template that does not parse.
pub fn environment(templates: &[(&'static str, &'static str)]) -> anyhow::Result<Environment<'static>> {
    let mut environment = Environment::new();
    // A name that a section does not give is a fault, not an empty place on the page.
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let own = [("frame.html", include_str!("frame.html")), ("macros.html", include_str!("macros.html"))];
    for (name, source) in own.iter().chain(templates) {
        environment.add_template(name, source)?;
    }
    Ok(environment)
}

/// The section of the template `id`.html.
///
/// # Errors
/// A name that the template asks for and `values` does not have.
pub fn section(
    environment: &Environment,
    id: &'static str,
    title: &'static str,
    values: Value,
) -> anyhow::Result<Section> {
    let template = environment.get_template(&format!("{id}.html"))?;
    let html = template.render(values).with_context(|| format!("section {id} of the page"))?;
    Ok(Section { id, title, html })
}

/// Whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, text).with_context(|| format!("{}", part.display()))?;
    std::fs::rename(&part, path).with_context(|| format!("{}", path.display()))
}

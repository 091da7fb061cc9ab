//! Logs go to stderr; they speak of item ids, never of patients (invariant 9).

use crate::cli::Cli;
use crate::environment;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

pub fn start(cli: &Cli) {
    let asked = cli.log.clone().or_else(environment::log_filter).unwrap_or_else(|| "warn".to_owned());
    // ONNX Runtime speaks of every graph optimisation at `info`; nobody asked for that. lapin (broker)
    // and the kernel of the tables tell each error in three lines before they hand it to us, who tell it once.
    let filter = EnvFilter::try_new(format!("ort=warn,lapin=off,buoyant_kernel=off,{asked}")).unwrap_or_else(|error| {
        eprintln!("aortica: log filter {asked:?} is not understood ({error}); logging warnings");
        EnvFilter::new("warn")
    });
    let colours = std::io::stderr().is_terminal() && !environment::no_color();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    if cli.log_json { builder.json().init() } else { builder.init() }
}

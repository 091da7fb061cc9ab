//! aortica: the command line, wiring only. Each subcommand is a role; what it does lives in the crates below.

mod cli;
mod cli_disclosure;
mod cohort;
mod commands;
mod comparison;
mod environment;
mod exit;
mod health;
mod logging;
mod overlay;
mod page;
mod progress;
mod release;
mod report;
mod settings;
mod signals;
mod statements;
mod study_key;
mod wiring;

use clap::Parser;
use cli::{Cli, Command, TrainCommand};
use std::process::ExitCode;

fn main() -> ExitCode {
    leave_quietly_when_nobody_reads();
    let cli = Cli::parse();
    wiring::choose_tls();
    logging::start(&cli);
    match run(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) if error.is::<exit::Stopped>() => ExitCode::from(exit::EXIT_STOPPED),
        Err(error) => {
            eprintln!("aortica: {}", exit::message(&error));
            ExitCode::from(exit::fault_of(&error).exit_code())
        }
    }
}

/// `aortica query .. | head` is no fault: printing panics when the reader has gone, and that panic ends the program in silence.
fn leave_quietly_when_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
        if message.starts_with("failed printing to stdout") && message.contains("Broken pipe") {
            std::process::exit(0);
        }
        usual(panic);
    }));
}

fn run(cli: &Cli) -> anyhow::Result<u8> {
    // `config check` reads the file itself, so that it can name any file.
    if let Command::Config(command) = &cli.command {
        commands::config::run(command, cli.settings.as_deref())?;
        return Ok(0);
    }
    let settings = settings::load(cli.settings.as_deref())?;
    match &cli.command {
        Command::Score(args) => return commands::score::run(args, &settings),
        Command::Submit(args) => return commands::distributed::submit(args, &settings),
        Command::Worker(args) => return commands::distributed::worker(args, &settings),
        Command::Commit(args) => return commands::distributed::commit(args, &settings),
        Command::Status(args) => return commands::status::run(args, &settings),
        Command::Replay(args) => return commands::replay::run(args, &settings),
        Command::Reconcile(args) => return commands::reconcile::run(args, &settings),
        Command::Rescore(args) => return commands::rescore::run(args, &settings),
        Command::Rebuild(args) => return commands::rebuild::run(args),
        Command::Infer(args) => return commands::infer::run(args, &settings),
        Command::Serve(args) => return commands::serve::run(args, &settings),
        Command::Query(args) => commands::query::run(args)?,
        Command::Stats(args) => commands::stats::run(args, &settings)?,
        Command::Report(args) => commands::report::run(args, &settings)?,
        Command::Release(args) => commands::release::run(args)?,
        Command::Policy(command) => commands::policy::run(command)?,
        Command::Phantom(args) => return commands::phantom::run(args, &settings),
        Command::Evaluate(args) => commands::evaluate::run(args, &settings)?,
        Command::Folds(args) => commands::learning::folds(args)?,
        Command::TrainingSet(args) => commands::learning::training_set(args)?,
        Command::Train(TrainCommand::Learning(what)) => commands::learning::train(what)?,
        Command::Train(TrainCommand::Threshold(args)) => commands::threshold::run(args, &settings)?,
        Command::Train(TrainCommand::Calibration(args)) => commands::calibration::run(args, &settings)?,
        Command::Pseudonymise(args) => commands::pseudonymise::run(args, &settings)?,
        Command::Model(command) => commands::model::run(command)?,
        Command::Pipeline(command) => commands::pipeline::run(command, &settings)?,
        Command::Codebook(args) => commands::codebook::run(args)?,
        Command::Config(_) => {}
    }
    Ok(0)
}

//! `aortica serve`: the lake over PostgreSQL's protocol and HTTP, and who may ask it.

use crate::cli::{ServeArgs, ServeCommand, ServeRole, UserArgs};
use crate::exit::usage;
use crate::settings::Settings;
use crate::{signals, wiring};
use anyhow::Context;
use rustyline::Helper;
use rustyline::completion::Completer;
use rustyline::config::Configurer;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use serve::{Aggregate, Identity, Role, Server, Users};
use std::borrow::Cow;
use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::time::Duration;

/// Longest input that may hold a password, bytes.
const PASSWORD_INPUT_MAX: u64 = 64 << 10;

impl From<ServeRole> for Role {
    fn from(role: ServeRole) -> Role {
        match role {
            ServeRole::Row => Role::Row,
            ServeRole::Aggregate => Role::Aggregate,
        }
    }
}

pub fn run(args: &ServeArgs, settings: &Settings) -> anyhow::Result<u8> {
    match &args.command {
        Some(ServeCommand::User(user)) => set_password(user, settings)?,
        Some(ServeCommand::Token(user)) => set_token(user, settings)?,
        None => return serve(args, settings),
    }
    Ok(0)
}

fn serve(args: &ServeArgs, settings: &Settings) -> anyhow::Result<u8> {
    let lake = args.lake.as_deref().ok_or_else(|| usage("--lake LAKE says what to serve"))?;
    if args.pg.is_none() && args.http.is_none() {
        return Err(usage("nothing to listen on: give --pg ADDR (say 127.0.0.1:5432), --http ADDR, or both"));
    }
    let certificate = args.tls_certificate.as_ref().or(settings.serve.certificate.as_ref());
    let identity = match (certificate, args.tls_key.as_ref().or(settings.serve.key.as_ref())) {
        (Some(certificate), Some(key)) => Some(Identity { certificate: certificate.clone(), key: key.clone() }),
        (None, None) => None,
        _ => return Err(usage("--tls-certificate and --tls-key go together")),
    };
    let users = args.users.as_ref().or(settings.serve.users.as_ref());
    let users = users.map(|path| Users::read(path)).transpose()?;
    let threads = settings.threads(None);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.clamp(2, 16))
        // Plans are walked by recursion; the limits on statements are made for this stack.
        .thread_stack_size(serve::THREAD_STACK_BYTES)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stop = signals::stop_on_signal();
        let aggregate = aggregate(args, settings, lake)?;
        let server = Server {
            aggregate,
            lake: wiring::open_lake(lake).await?,
            limits: settings.serve.limits(threads),
            users,
            identity,
            unprotected: args.unprotected,
            registry: prometheus::Registry::new(),
        };
        if server.users.is_none() {
            tracing::warn!("no users are named: whoever reaches the socket sees every row");
        }
        if args.unprotected {
            tracing::warn!("--unprotected: rows may leave this machine unencrypted, or for anyone who asks");
        }
        let bound = server.bind(args.pg, args.http).await?;
        println!("{}", serde_json::json!({"pg": bound.postgres(), "http": bound.http()}));
        bound.run(stop).await;
        Ok(0)
    })
}

/// What the aggregate role is told: by the policy that is named, else by the default one where its log can lie beside the lake.
fn aggregate(args: &ServeArgs, settings: &Settings, lake: &str) -> anyhow::Result<Option<Aggregate>> {
    let file = args.policy.as_ref().or(settings.serve.policy.as_ref());
    let policy = match wiring::policy(file.map(PathBuf::as_path), lake) {
        Ok(policy) => policy,
        Err(error) if file.is_none() => {
            tracing::info!("the aggregate role is not served: {error:#}");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    Ok(Some(Aggregate {
        policy,
        fingerprint: args.fingerprint.clone(),
        refresh_after: Duration::from_secs(settings.serve.aggregate_refresh_s.into()),
    }))
}

fn users_file(args: &UserArgs, settings: &Settings) -> anyhow::Result<PathBuf> {
    let path = args.users.as_ref().or(settings.serve.users.as_ref());
    path.cloned().ok_or_else(|| usage("--users FILE says where users are kept (or serve.users in the settings file)"))
}

fn set_password(args: &UserArgs, settings: &Settings) -> anyhow::Result<()> {
    let path = users_file(args, settings)?;
    let password = if std::io::stdin().is_terminal() { ask_password(&args.name)? } else { read_password()? };
    serve::set_password(&path, &args.name, args.role.into(), &password)?;
    eprintln!("{}: {} has a password", path.display(), args.name);
    Ok(())
}

fn set_token(args: &UserArgs, settings: &Settings) -> anyhow::Result<()> {
    let path = users_file(args, settings)?;
    let token = serve::set_token(&path, &args.name, args.role.into())?;
    eprintln!("{}: {} has a token for HTTP, shown this once:", path.display(), args.name);
    println!("{token}");
    Ok(())
}

/// The first line of stdin.
fn read_password() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().take(PASSWORD_INPUT_MAX).read_to_string(&mut text).context("the password is read from stdin")?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Shows stars for what is typed.
struct Masked;

impl Helper for Masked {}
impl Validator for Masked {}
impl Completer for Masked {
    type Candidate = String;
}
impl Hinter for Masked {
    type Hint = String;
}

impl Highlighter for Masked {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        Cow::Owned("*".repeat(line.chars().count()))
    }

    fn highlight_char(&self, _: &str, _: usize, _: CmdKind) -> bool {
        true
    }
}

fn ask_password(name: &str) -> anyhow::Result<String> {
    let mut editor: rustyline::Editor<Masked, rustyline::history::DefaultHistory> = rustyline::Editor::new()?;
    editor.set_helper(Some(Masked));
    editor.set_auto_add_history(false);
    let first = editor.readline(&format!("password for {name}: "))?;
    let second = editor.readline("again: ")?;
    if first != second {
        return Err(usage("the two are not the same"));
    }
    Ok(first)
}

//! The verbs: each asks the server and shows what it says.

mod alarms;
mod broker;
mod buffer;
mod buffer_box;
mod check;
mod command;
mod configuration;
mod diag;
mod discover;
mod enrol;
mod gateway;
mod history;
mod history_sets;
mod history_waveform;
mod init;
mod lines;
mod lists;
mod login;
mod modbus;
mod mqtt;
mod opcua;
mod origin;
mod reload;
mod screen;
mod status;
mod switch;
mod twins;
mod updates;
mod watch;
mod write;

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use common::Clock;

use crate::args::{Buffer, Cli, Mqtt, Twins, Verb};
use crate::client::Client;
use crate::credentials::{self, Credentials};
use crate::error::Result;
use crate::exit::Exit;
use crate::out::Out;
use crate::target::{self, BOX_SOCKET, Hints, Target};

/// What every verb that talks to a server has.
struct Context {
    out: Out,
    client: Client,
    clock: Clock,
}

impl Context {
    fn new(hints: Hints, ca: Option<PathBuf>, out: Out) -> Result<Self> {
        let load = || Credentials::load(&credentials::own_path()?);
        let target = hints.resolve(load, Path::new(BOX_SOCKET))?;
        let token = token(&target, load)?;
        let client = Client::new(target, token.as_deref(), ca.as_deref())?;
        Ok(Self { out, client, clock: Clock::system() })
    }
}

/// The token to show to a server: the environment's, else the one of its login. A box knows its peers by
/// their user id on the socket, and gets no token there.
fn token(target: &Target, load: impl FnOnce() -> Result<Credentials>) -> Result<Option<String>> {
    let Target::Url(url) = target else { return Ok(None) };
    if let Some(token) = std::env::var_os("TWINWAY_TOKEN").filter(|t| !t.is_empty()) {
        return Ok(Some(token.to_string_lossy().into_owned()));
    }
    Ok(load()?.servers.remove(&target::origin(url)).map(|c| c.token))
}

/// The token for a gateway on this machine, if it is to be shown one.
fn own_token(target: &Target) -> Result<Option<String>> {
    token(target, || Credentials::load(&credentials::own_path()?))
}

/// Does what the command line says.
pub(crate) async fn run(cli: Cli, out: Out) -> Result<Exit> {
    let hints = Hints::new(cli.url, cli.socket);
    let ca = cli.ca;
    let mut verb = cli.verb;
    if let Verb::Modbus(modbus) = verb {
        match Box::pin(modbus::without_gateway(modbus, &hints, out)).await? {
            Ok(exit) => return Ok(exit),
            Err(left) => verb = Verb::Modbus(left),
        }
    }
    match verb {
        Verb::Init(asked) => return Box::pin(init::init(*asked, hints, ca, out)).await,
        Verb::Diag(asked) => return Box::pin(diag::diag(asked, hints, ca, out)).await,
        Verb::Login(login) => return login::login(login, hints, ca, out).await,
        Verb::Logout => return login::logout(hints, ca, out).await,
        Verb::Check { config, strict } => return check::check(&config, strict, out),
        Verb::Points { words } => return check::points(&words, out),
        Verb::Mqtt(Mqtt::Pub { topic, payload, retain, broker }) => {
            return mqtt::publish(topic, payload, retain, broker, out).await;
        }
        Verb::Mqtt(Mqtt::Sub { filters, count, broker }) => {
            return mqtt::subscribe(filters, count, broker, out).await;
        }
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "twinway", &mut script);
            out.raw(&script)?;
            return Ok(Exit::Ok);
        }
        _ => {}
    }
    let ctx = Context::new(hints, ca.clone(), out)?;
    match verb {
        Verb::Twins(Twins::Ls { filter }) => twins::ls(&ctx, filter).await,
        Verb::Twins(Twins::Get { twin }) => twins::get(&ctx, &twin).await,
        Verb::Twins(Twins::Watch { twin, points, count, max_hz }) => {
            watch::watch(&ctx, twin, points, count, max_hz).await
        }
        Verb::Send(s) => write::write(&ctx, &s.twin, &s.assignment, s.write, s.wait).await,
        Verb::History(h) => history::history(&ctx, h).await,
        Verb::Gateways => lists::gateways(&ctx).await,
        Verb::Enrol(asked) => enrol::enrol(&ctx, asked, ca.as_deref()).await,
        Verb::Gateway(verb) => gateway::gateway(&ctx, verb).await,
        Verb::Release(verb) => updates::release(&ctx, verb).await,
        Verb::Rollout(verb) => updates::rollout(&ctx, verb).await,
        Verb::Commands { id: Some(id), .. } => command::one(&ctx, &id).await,
        Verb::Commands { id: None, limit } => lists::commands(&ctx, limit).await,
        Verb::Alarms(verb) => alarms::alarms(&ctx, verb).await,
        Verb::Audit(a) => lists::audit(&ctx, a).await,
        Verb::Mqtt(Mqtt::Discover(asked)) => discover::discover(&ctx, asked).await,
        Verb::Modbus(verb) => modbus::with_gateway(&ctx, verb).await,
        Verb::Opcua(verb) => opcua::opcua(&ctx, verb).await,
        Verb::Buffer(Buffer::Status { gateway }) => buffer::status(&ctx, gateway).await,
        Verb::Buffer(Buffer::Export(asked)) => buffer_box::export(&ctx, asked).await,
        Verb::Buffer(Buffer::Verify) => buffer_box::verify(&ctx).await,
        Verb::Buffer(Buffer::Drop(asked)) => buffer_box::drop(&ctx, asked).await,
        Verb::Mqtt(Mqtt::Clients) => broker::clients(&ctx).await,
        Verb::Status { once } => status::status(&ctx, once).await,
        Verb::Reload { show } => reload::reload(&ctx, show).await,
        Verb::Switch { position, reason } => switch::switch(&ctx, position, reason).await,
        Verb::Init(_)
        | Verb::Diag(_)
        | Verb::Login(_)
        | Verb::Logout
        | Verb::Check { .. }
        | Verb::Points { .. }
        | Verb::Mqtt(_)
        | Verb::Completions { .. } => Ok(Exit::Ok),
    }
}

//! `commands <id>`: one command with its steps.

use std::fmt::Write as _;

use common::CommandId;
use common::api::CommandView;

use super::Context;
use super::write::state;
use crate::error::{Error, Result, remedy_of};
use crate::exit::Exit;
use crate::out::clean;
use crate::table::time;
use crate::value::show;

pub(super) async fn one(ctx: &Context, id: &str) -> Result<Exit> {
    let id: CommandId = id.parse().map_err(|_| Error::usage(format!("`{id}` is not the id of a command")))?;
    let command: CommandView = ctx.client.get(&["commands", &id.to_string()]).await?;
    ctx.out.show(&command, page)?;
    Ok(Exit::Ok)
}

fn page(c: &CommandView) -> String {
    let mut text =
        format!("{}: {} {} = {}\n", state(c), clean(&c.asset), clean(&c.point), show(Some(&c.value), None));
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {name:<10} {}", clean(value));
        }
    };
    field("id", &c.id.to_string());
    field("asked by", &format!("{} ({})", c.requester.name, origin(c)));
    field("reason", &c.reason);
    if let Some(code) = c.code {
        field("code", code.as_str());
        field("detail", &c.detail);
        field("remedy", remedy_of(code).unwrap_or_default());
    }
    if let Some(back) = &c.read_back {
        field("read back", &show(Some(back), None));
    }
    field("expires", &time(c.expires_us));
    for step in &c.steps {
        let name = serde_json::to_value(step.state).ok();
        field(name.as_ref().and_then(|n| n.as_str()).unwrap_or_default(), &time(step.at_us));
    }
    text
}

/// The door that a command came through, as text.
pub(super) fn origin(c: &CommandView) -> String {
    let origin = serde_json::to_value(c.requester.origin).ok();
    origin.as_ref().and_then(|o| o.as_str()).unwrap_or_default().to_owned()
}

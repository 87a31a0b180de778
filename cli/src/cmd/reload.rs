//! `reload`: has a box take its configuration files anew, and says what that changed.

use common::api::{ConfigView, ReloadReport};
use common::text::counted;
use reqwest::Method;

use super::Context;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::out::clean;

pub(super) async fn reload(ctx: &Context, show: bool) -> Result<Exit> {
    if show {
        let request = ctx.client.request(Method::GET, &["config"])?;
        let view: ConfigView = ctx.client.fetch(request).await.map_err(|e| at_a_box(ctx, e))?;
        ctx.out.show(&view, view_text)?;
        return Ok(Exit::Ok);
    }
    let request = ctx.client.request(Method::POST, &["config", "reload"])?;
    let report: ReloadReport = ctx.client.fetch(request).await.map_err(|e| at_a_box(ctx, e))?;
    ctx.out.show(&report, report_text)?;
    Ok(Exit::Ok)
}

fn at_a_box(ctx: &Context, e: Error) -> Error {
    if e.exit() != Exit::NotFound {
        return e;
    }
    Error::new(Exit::NotFound, format!("{} has no configuration to reload", ctx.client.target()))
        .remedy("a configuration is taken at the box: run this there, or name the box with --socket or --url")
}

fn report_text(report: &ReloadReport) -> String {
    let mut text = String::new();
    for (mark, list) in [
        ("+", &report.added),
        ("-", &report.removed),
        ("restarted", &report.restarted),
        ("updated", &report.updated),
        ("setting", &report.settings),
        ("restart of the gateway needed for", &report.restart_needed),
    ] {
        for name in list {
            text += &format!("{mark} {}\n", clean(name));
        }
    }
    if report.is_nothing() {
        text += "nothing changed\n";
    }
    let (devices, points) = (counted(report.devices, "device"), counted(report.points, "point"));
    text + &format!("taken in {} ms: {devices}, {points}\n", report.took_ms)
}

fn view_text(view: &ConfigView) -> String {
    let mut text = format!(
        "{}: {}, {}, taken {}\n",
        clean(&view.file),
        counted(view.devices, "device"),
        counted(view.points, "point"),
        common::clock::format_us(view.taken_us)
    );
    if view.is_last_good {
        text += "the files are refused: this is the last good configuration\n";
    }
    match view.kept_us {
        Some(at) => text += &format!("kept as the last good one {}\n", common::clock::format_us(at)),
        None => text += "not yet kept as the last good one\n",
    }
    for name in &view.restart_needed {
        text += &format!("restart of the gateway needed for {}\n", clean(name));
    }
    if let Some(attempt) = view.last_reload.as_ref().filter(|a| !a.taken) {
        text += &format!("refused {} for {}:\n", common::clock::format_us(attempt.at_us), clean(&attempt.by));
        attempt.mistakes.iter().for_each(|m| text += &format!("  {}\n", clean(m)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_what_changed_and_says_when_nothing_did() {
        let report = ReloadReport {
            added: vec!["pump".into()],
            restart_needed: vec!["buffer".into()],
            devices: 2,
            ..ReloadReport::default()
        };
        let text = report_text(&report);
        assert!(text.starts_with("+ pump\nrestart of the gateway needed for buffer\n"), "{text}");
        assert!(report_text(&ReloadReport::default()).starts_with("nothing changed\n"));
    }
}

//! `buffer export`, `verify` and `drop`, and what `status` adds on the box itself.

use std::fmt::Write as _;

use common::api::{BufferDropRequest, BufferDropped, BufferStatus, BufferVerify};
use common::clock::{format_us, parse_us};
use reqwest::Method;

use super::Context;
use crate::args::{BufferDrop, BufferExport};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::out::clean;
use crate::table::{size, time};

/// The buffer of the box that is asked, in detail; none where a cloud is asked.
pub(super) async fn detail(ctx: &Context) -> Result<Option<BufferStatus>> {
    let request = ctx.client.request(Method::GET, &["buffer"])?;
    match ctx.client.fetch(request).await {
        Ok(status) => Ok(Some(status)),
        Err(e) if e.exit() == Exit::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

pub(super) fn page(s: &BufferStatus) -> String {
    let mut out = String::new();
    let at = |us: Option<i64>| us.map_or_else(|| "-".to_owned(), time);
    // Writing to a string cannot fail.
    let _ = writeln!(out, "  frames    {} to {}, {} files", at(s.oldest_us), at(s.newest_us), s.segments);
    let (used, most) = s.records_bytes;
    let _ = writeln!(
        out,
        "  samples   {} frames, {} of them the cloud lacks",
        s.samples.frames, s.samples.unacked_frames
    );
    for (name, of) in [("critical", s.critical), ("trends", s.trends)] {
        if of.frames > 0 {
            let _ = writeln!(out, "  {name:<9} {} frames of these, {}", of.frames, of.unacked_frames);
        }
    }
    let _ = writeln!(
        out,
        "  records   {} frames, {} of them the cloud lacks; alone {} of {}",
        s.records.frames,
        s.records.unacked_frames,
        size(used),
        size(most)
    );
    for reader in &s.readers {
        let most = reader.most_bytes.map(|b| format!(" of {} kept for it", size(b))).unwrap_or_default();
        let _ = writeln!(
            out,
            "  reader    {} lacks {} frames, in {}{most}",
            clean(&reader.name),
            reader.lag_frames,
            size(reader.lag_bytes)
        );
    }
    for (cause, loss) in &s.lost {
        let _ =
            writeln!(out, "  lost      {} frames, {} samples: {}", loss.frames, loss.samples, clean(cause));
    }
    if s.quarantine.files > 0 {
        let q = &s.quarantine;
        let _ = writeln!(
            out,
            "  aside     {} damaged files, {}, {} since the start: in `quarantine` of the buffer's folder",
            q.files,
            size(q.bytes),
            q.since_start
        );
    }
    if s.refusing {
        out.push_str("  REFUSING  samples: the quota is reached and the oldest are to stay\n");
    }
    out
}

pub(super) async fn export(ctx: &Context, args: BufferExport) -> Result<Exit> {
    let mut request = ctx.client.request(Method::GET, &["buffer", "export"])?.query(&[
        ("from", args.from.as_str()),
        ("to", &args.to),
        ("format", args.format.name()),
    ]);
    for (key, value) in [("device", &args.device), ("point", &args.point)] {
        if let Some(value) = value {
            request = request.query(&[(key, value)]);
        }
    }
    // It streams for as long as there is something.
    let request = request.timeout(std::time::Duration::from_secs(86_400));
    let mut answer = ctx.client.send(request).await?;
    while let Some(chunk) = answer.chunk().await.map_err(|e| ctx.client.unreachable(&e))? {
        ctx.out.raw(&chunk)?;
    }
    Ok(Exit::Ok)
}

pub(super) async fn verify(ctx: &Context) -> Result<Exit> {
    let request = ctx.client.request(Method::GET, &["buffer", "verify"])?;
    let request = request.timeout(std::time::Duration::from_secs(3600));
    let report: BufferVerify = ctx.client.fetch(request).await?;
    ctx.out.show(&report, |r| {
        let mut text = format!("{} frames in {} files, {}: ", r.frames, r.segments, size(r.bytes));
        text += if r.damage.is_empty() { "all sound\n" } else { "DAMAGED\n" };
        for d in &r.damage {
            let seqs = d.seqs.map_or_else(String::new, |(a, b)| format!(" frames {a} to {b}:"));
            text += &format!("  {}:{seqs} {}\n", clean(&d.file), clean(&d.detail));
        }
        text
    })?;
    if report.damage.is_empty() { Ok(Exit::Ok) } else { Ok(Exit::Failed) }
}

pub(super) async fn drop(ctx: &Context, args: BufferDrop) -> Result<Exit> {
    let now = ctx.clock.now_us();
    let from_us = match args.from.as_deref() {
        Some(from) => parse_us(from, now).map_err(Error::usage)?,
        None => 0,
    };
    let to_us = parse_us(&args.to, now).map_err(Error::usage)?;
    if from_us > to_us {
        return Err(Error::usage("--from is later than --to"));
    }
    if !args.yes {
        let range = format!("cut from {} to {}", format_us(from_us), format_us(to_us));
        return Err(Error::usage(format!(
            "this drops for good all samples of this box's buffer that were {range}"
        ))
        .remedy("give --yes as well; what the cloud lacks will be told there as a gap"));
    }
    let body = BufferDropRequest { from_us, to_us, reason: args.reason };
    let request = ctx.client.request(Method::POST, &["buffer", "drop"])?.json(&body);
    let request = request.timeout(std::time::Duration::from_secs(600));
    let done: BufferDropped = ctx.client.fetch(request).await?;
    ctx.out.show(&done, |d| {
        format!(
            "dropped {} frames with {} samples that the cloud lacked, told as a gap, and {} frames that it has\n",
            d.frames, d.samples, d.acked_frames
        )
    })?;
    Ok(Exit::Ok)
}

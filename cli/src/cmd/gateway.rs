//! `gateway`: which box speaks under a gateway's name, and what of it could not be taken.

use std::path::Path;

use common::api::{
    AcceptRequest, CertificateView, EnrolmentCodeCreated, EnrolmentCodeRequest, HeldBox, RevokeRequest,
    Revoked, SetAsideList, SetAsideView,
};
use common::text::counted;
use reqwest::Method;

use super::Context;
use crate::args::Gateway;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::out::clean;
use crate::table::{Table, size, time};

pub(super) async fn gateway(ctx: &Context, verb: Gateway) -> Result<Exit> {
    match verb {
        Gateway::Code { gateway, valid_h } => {
            let gateway = gateway.parse().map_err(|e| Error::usage(format!("{e}")))?;
            let request = ctx.client.request(Method::POST, &["enrolment-codes"])?;
            let request = request.json(&EnrolmentCodeRequest { gateway, valid_h });
            let made: EnrolmentCodeCreated = ctx.client.fetch(request).await?;
            ctx.out.show(&made, |made| {
                format!(
                    "{}\ngood once, until {}; on the box: twinway enrol {0} --cloud {}\n",
                    made.code,
                    time(made.expires_us),
                    ctx.client.target()
                )
            })?;
        }
        Gateway::Certificates { gateway } => {
            let found: Vec<CertificateView> =
                ctx.client.list(&["gateways", &gateway, "certificates"], &[], u32::MAX).await?;
            ctx.out.show(&found, |c| certificate_table(c).text())?;
            if found.is_empty() {
                ctx.out.note("no certificate was issued to it");
            }
        }
        Gateway::Revoke { gateway, reason } => {
            if reason.trim().is_empty() {
                return Err(Error::usage("--reason must say why"));
            }
            let request = ctx.client.request(Method::POST, &["gateways", &gateway, "revoke"])?;
            let revoked: Revoked = ctx.client.fetch(request.json(&RevokeRequest { reason })).await?;
            ctx.out.show(&revoked, |r| {
                let certificates = counted(r.certificates, "certificate");
                format!("{gateway} is locked out, with {certificates}; its data stay\n")
            })?;
        }
        Gateway::Config(verb) => return super::configuration::configuration(ctx, verb).await,
        Gateway::List => super::updates::list(ctx).await?,
        Gateway::Show { gateway } => super::updates::show(ctx, &gateway).await?,
        Gateway::Group { gateway, group } => super::updates::group(ctx, &gateway, group).await?,
        Gateway::Accept { gateway, incarnation, reason } => {
            if reason.trim().is_empty() {
                return Err(Error::usage("--reason must say why"));
            }
            let request = ctx.client.request(Method::POST, &["gateways", &gateway, "accept"])?;
            let request = request.json(&AcceptRequest { incarnation, reason });
            let held: HeldBox = ctx.client.fetch(request).await?;
            ctx.out.show(&held, |held| {
                let from = clean(&held.peer);
                format!(
                    "the box from {from} is let in as {gateway}; the one before is held back from now on\n"
                )
            })?;
        }
        Gateway::SetAside { gateway, frame: Some(frame), file: Some(file), .. } => {
            save_frame(ctx, &gateway, frame, &file).await?;
        }
        Gateway::SetAside { gateway, limit, .. } => {
            let frames: Vec<SetAsideView> =
                ctx.client.list(&["gateways", &gateway, "set-aside"], &[], limit).await?;
            ctx.out.show(&frames, |f| set_aside_table(f).text())?;
            if frames.is_empty() {
                ctx.out.note("no frames were set aside");
            }
            let request = ctx.client.request(Method::GET, &["gateways", &gateway, "set-aside"])?;
            let all: SetAsideList = ctx.client.fetch(request.query(&[("limit", 1)])).await?;
            if all.removed_frames > 0 {
                let (frames, bytes) = (counted(all.removed_frames, "older frame"), size(all.removed_bytes));
                ctx.out.note(&format!("{frames} ({bytes}) had to go: no more are kept of a gateway"));
            }
        }
    }
    Ok(Exit::Ok)
}

/// Saves a frame that was set aside. The file appears when it is whole.
async fn save_frame(ctx: &Context, gateway: &str, frame: u64, file: &Path) -> Result<()> {
    let path = ["gateways", gateway, "set-aside", &frame.to_string()];
    let response = ctx.client.send(ctx.client.request(Method::GET, &path)?).await?;
    let bytes = response
        .bytes()
        .await
        .map_err(|e| Error::new(Exit::Failed, format!("the frame was cut off: {e}")))?;
    let failed = |e: std::io::Error| Error::new(Exit::Failed, format!("{}: {e}", file.display()));
    common::files::replace(file, &bytes, 0o600).map_err(failed)?;
    ctx.out.note(&format!("{}: {}", file.display(), counted(bytes.len() as u64, "byte")));
    Ok(())
}

fn certificate_table(certificates: &[CertificateView]) -> Table {
    let mut table = Table::new(&["ISSUED", "GOOD UNTIL", "REVOKED", "SERIAL"]);
    for c in certificates {
        let revoked = c.revoked_us.map_or_else(|| "-".to_owned(), time);
        table.row([time(c.issued_us), time(c.not_after_us), revoked, c.serial.clone()]);
    }
    table
}

fn set_aside_table(frames: &[SetAsideView]) -> Table {
    let mut table = Table::new(&[">ID", "TIME", "CAUSE", "INCARNATION", ">FRAME", ">SIZE", "DETAIL"]);
    for f in frames {
        table.row([
            f.id.clone(),
            time(f.at_us),
            f.cause.clone(),
            f.incarnation.map_or_else(|| "-".to_owned(), |i| i.to_string()),
            f.seq.map_or_else(|| "-".to_owned(), |n| n.to_string()),
            size(f.bytes),
            f.detail.clone(),
        ]);
    }
    table
}

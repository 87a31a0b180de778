//! `history align`, `export`, `delete` and `past`: several points at once, a part of one, and those that are no more.

use std::fmt::Write;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::api::{
    AlignedRequest, AlignedResponse, ExportFormat, ExportRequest, HistoryDeleted, Interpolation, PastPoint,
    PointRef,
};
use common::clock::format_us;
use common::text::{counted, csv_field, csv_value};
use reqwest::Method;

use super::Context;
use crate::args::{Align, AlignFormat, Delete, Export, HistoryOf, Method as Between, Set};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::table::{Table, time};
use crate::value::show;

/// An export may take as long as its data: what counts is that some of it comes.
const WHOLE: Duration = Duration::from_secs(86_400);

pub(super) async fn run(ctx: &Context, of: HistoryOf) -> Result<Exit> {
    match of {
        HistoryOf::Align(args) => align(ctx, args).await,
        HistoryOf::Export(args) => export(ctx, args).await,
        HistoryOf::Delete(args) => delete(ctx, args).await,
        HistoryOf::Past { twin } => past(ctx, &twin).await,
        HistoryOf::Waveform(args) => super::history_waveform::run(ctx, args).await,
    }
}

fn points(set: &Set) -> Vec<PointRef> {
    set.points.iter().map(|(twin, point)| PointRef { twin: twin.clone(), point: point.clone() }).collect()
}

async fn align(ctx: &Context, args: Align) -> Result<Exit> {
    let body = AlignedRequest {
        points: points(&args.set),
        from: Some(args.set.from),
        to: Some(args.set.to),
        step_ms: u64::try_from(args.step.as_millis()).unwrap_or(u64::MAX),
        method: match args.method {
            Between::Previous => Interpolation::Previous,
            Between::Linear => Interpolation::Linear,
        },
    };
    let request = ctx.client.request(Method::POST, &["history", "aligned"])?.json(&body);
    let aligned: AlignedResponse = ctx.client.fetch(request).await?;
    if ctx.out.is_json() {
        ctx.out.json(&aligned)?;
        return Ok(Exit::Ok);
    }
    let text = match args.format {
        AlignFormat::Table => table(&aligned),
        AlignFormat::Csv => csv(&aligned),
    };
    ctx.out.raw(text.as_bytes())?;
    Ok(Exit::Ok)
}

/// Times of the rows.
fn times(aligned: &AlignedResponse) -> impl Iterator<Item = (usize, i64)> + '_ {
    let at = |row: usize| {
        aligned.from_us.saturating_add(aligned.step_us.saturating_mul(i64::try_from(row).unwrap_or(0)))
    };
    (0..aligned.rows).map(move |row| (row, at(row)))
}

fn table(aligned: &AlignedResponse) -> String {
    let names: Vec<String> = aligned
        .columns
        .iter()
        .map(|c| {
            format!(
                ">{}:{}{}",
                c.twin,
                c.point,
                if c.unit.is_empty() { String::new() } else { format!(" {}", c.unit) }
            )
        })
        .collect();
    let mut head = vec!["TIME"];
    head.extend(names.iter().map(String::as_str));
    let mut table = Table::new(&head);
    for (row, at) in times(aligned) {
        let cell = |c: &common::api::AlignedColumn| match (c.values.get(row), c.quality.get(row)) {
            (Some(Some(value)), Some(q)) if q.is_good() => show(Some(value), None),
            (Some(Some(value)), Some(q)) => format!("{} ({q})", show(Some(value), None)),
            (_, Some(q)) => q.to_string(),
            _ => "-".to_owned(),
        };
        table.row(std::iter::once(time(at)).chain(aligned.columns.iter().map(cell)));
    }
    table.text()
}

/// A column of values and one of qualities for each point.
fn csv(aligned: &AlignedResponse) -> String {
    let mut text = "time,t_us".to_owned();
    for c in &aligned.columns {
        let name = format!("{}:{}", c.twin, c.point);
        let _ = write!(text, ",{},{}", csv_field(&name), csv_field(&format!("{name} quality")));
    }
    text.push_str("\r\n");
    for (row, at) in times(aligned) {
        let _ = write!(text, "{},{at}", format_us(at));
        for c in &aligned.columns {
            let value = csv_value(c.values.get(row).and_then(Option::as_ref));
            let quality = c.quality.get(row).map_or("", |q| q.name());
            let _ = write!(text, ",{value},{quality}");
        }
        text.push_str("\r\n");
    }
    text
}

async fn export(ctx: &Context, args: Export) -> Result<Exit> {
    let format = match args.file.extension().and_then(|e| e.to_str()) {
        Some("csv") => ExportFormat::Csv,
        Some("parquet") => ExportFormat::Parquet,
        _ => return Err(Error::usage(format!("`{}`: name the file .csv or .parquet", args.file.display()))),
    };
    let body = ExportRequest {
        points: points(&args.set),
        from: Some(args.set.from),
        to: Some(args.set.to),
        format,
        waveforms: args.waveforms,
    };
    let request = ctx.client.request(Method::POST, &["history", "export"])?.timeout(WHOLE).json(&body);
    let mut response = ctx.client.send(request).await?;
    let part = part_of(&args.file);
    let failed =
        |path: &Path, e: std::io::Error| Error::new(Exit::Failed, format!("{}: {e}", path.display()));
    let mut file = File::create(&part).map_err(|e| failed(&part, e))?;
    let mut bytes = 0usize;
    let done = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                bytes += chunk.len();
                if let Err(e) = file.write_all(&chunk) {
                    break Err(failed(&part, e));
                }
            }
            Ok(None) => break file.sync_all().map_err(|e| failed(&part, e)),
            Err(e) => {
                let told = Error::new(
                    Exit::Failed,
                    format!("the export was cut off after {}: {e}", counted(bytes as u64, "byte")),
                );
                break Err(told.remedy("its reason is in the cloud's log; ask for a shorter range, or again"));
            }
        }
    };
    drop(file);
    if let Err(error) = done {
        let _ = std::fs::remove_file(&part);
        return Err(error);
    }
    std::fs::rename(&part, &args.file).map_err(|e| failed(&args.file, e))?;
    ctx.out.note(&format!("{}: {}", args.file.display(), counted(bytes as u64, "byte")));
    Ok(Exit::Ok)
}

async fn past(ctx: &Context, twin: &str) -> Result<Exit> {
    let found: Vec<PastPoint> = ctx.client.list(&["twins", twin, "past-points"], &[], u32::MAX).await?;
    ctx.out.show(&found, |found| {
        let mut table = Table::new(&["POINT", "UNIT"]);
        found.iter().for_each(|p| table.row([p.point.clone(), p.unit.clone()]));
        table.text()
    })?;
    if found.is_empty() {
        ctx.out.note("all of its history is of points that it has");
    }
    Ok(Exit::Ok)
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

async fn delete(ctx: &Context, args: Delete) -> Result<Exit> {
    let (twin, point) = &args.point;
    let request = ctx.client.request(Method::DELETE, &["twins", twin, "points", point, "history"])?.query(&[
        ("from", &args.from),
        ("to", &args.to),
        ("reason", &args.reason),
    ]);
    let deleted: HistoryDeleted = ctx.client.fetch(request).await?;
    if ctx.out.is_json() {
        ctx.out.json(&deleted)?;
    } else {
        ctx.out.raw(format!("deleted {}\n", counted(deleted.samples, "sample")).as_bytes())?;
    }
    Ok(Exit::Ok)
}

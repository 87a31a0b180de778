//! `history waveform`: blocks of a waveform, and the values of one.

use std::fmt::Write;

use common::api::{WaveformBlock, WaveformList};
use reqwest::Method;

use super::Context;
use crate::args::{AlignFormat, Waveform};
use crate::error::Result;
use crate::exit::Exit;
use crate::table::{Table, time};
use crate::value::number;

pub(super) async fn run(ctx: &Context, args: Waveform) -> Result<Exit> {
    let (twin, point) = &args.point;
    let path = ["twins", twin, "points", point, "waveforms"];
    let Some(at) = &args.at else {
        let request = ctx.client.request(Method::GET, &path)?.query(&[
            ("from", args.from.as_str()),
            ("to", args.to.as_str()),
            ("limit", "1000"),
        ]);
        return list(ctx, &ctx.client.fetch(request).await?);
    };
    let mut path = path.to_vec();
    path.push(at);
    let mut request = ctx.client.request(Method::GET, &path)?;
    if let Some(rows) = args.max_points {
        request = request.query(&[("max_points", rows.to_string())]);
    }
    block(ctx, &ctx.client.fetch(request).await?, args.format)
}

fn list(ctx: &Context, list: &WaveformList) -> Result<Exit> {
    if ctx.out.is_json() {
        ctx.out.json(list)?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["TIME", "AT", ">VALUES", ">STORED", ">RATE Hz", ">BYTES"]);
    for w in &list.items {
        table.row([
            time(w.t0_us),
            w.t0_us.to_string(),
            w.total.to_string(),
            w.stored.to_string(),
            number(w.rate_hz),
            w.bytes.to_string(),
        ]);
    }
    ctx.out.raw(table.text().as_bytes())?;
    if list.items.is_empty() {
        ctx.out.note("no waveform begins in this range");
    }
    if let Some(next) = list.next_us {
        ctx.out.note(&format!("there are more: --from {next}"));
    }
    Ok(Exit::Ok)
}

/// Each value, or each row's extremes, with its time in seconds from the first.
fn block(ctx: &Context, block: &WaveformBlock, format: AlignFormat) -> Result<Exit> {
    if ctx.out.is_json() {
        ctx.out.json(block)?;
        return Ok(Exit::Ok);
    }
    #[allow(clippy::cast_precision_loss)] // a place in a block of some millions
    let at = |row: usize| (row as u64 * block.step) as f64 / block.rate_hz;
    let cell = |x: &Option<f64>| x.map(|x| x.to_string()).unwrap_or_default();
    let text = match format {
        AlignFormat::Csv => {
            let mut text = if block.step == 1 { "s,value\r\n" } else { "s,min,max\r\n" }.to_owned();
            for (row, value) in block.values.iter().enumerate() {
                let _ = write!(text, "{},{}\r\n", at(row), cell(value));
            }
            for (row, (min, max)) in block.min.iter().zip(&block.max).enumerate() {
                let _ = write!(text, "{},{},{}\r\n", at(row), cell(min), cell(max));
            }
            text
        }
        AlignFormat::Table => {
            let unit = if block.unit.is_empty() { String::new() } else { format!(" {}", block.unit) };
            let show = |x: &Option<f64>| x.map_or_else(|| "-".to_owned(), number);
            let headings = [">S".to_owned(), format!(">MIN{unit}"), ">MAX".to_owned()];
            let mut table = match block.step {
                1 => Table::new(&[">S", &format!(">VALUE{unit}")]),
                _ => Table::new(&[&headings[0], &headings[1], &headings[2]]),
            };
            block.values.iter().enumerate().for_each(|(row, x)| table.row([number(at(row)), show(x)]));
            for (row, (min, max)) in block.min.iter().zip(&block.max).enumerate() {
                table.row([number(at(row)), show(min), show(max)]);
            }
            table.text()
        }
    };
    ctx.out.raw(text.as_bytes())?;
    if block.stored < block.total {
        ctx.out.note(&format!("{} of {} values are not stored", block.total - block.stored, block.total));
    }
    Ok(Exit::Ok)
}

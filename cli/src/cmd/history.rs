//! `history`: a point's past as a table, CSV or a plot.

use std::fmt::Write;
use std::time::Duration;

use common::api::{
    GapReason, HistoryGap, HistoryPoint, HistoryResponse, HistoryTimes, Resolution, StateTime,
};
use common::clock::{format_us, parse_us};
use common::text::{csv_field, csv_value};
use reqwest::Method;

use super::Context;
use crate::args::{History, HistoryFormat};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::plot::{Size, plot};
use crate::table::{Table, time};
use crate::value::{number, show};

/// Rows asked for, unless told.
const ROWS: u32 = 1000;

pub(super) async fn history(ctx: &Context, args: History) -> Result<Exit> {
    let (twin, point) = match (args.of, args.twin, args.point) {
        (Some(of), ..) => return super::history_sets::run(ctx, of).await,
        (None, Some(twin), Some(point)) => (twin, point),
        _ => return Err(Error::usage("give a twin and a point")),
    };
    let now = ctx.clock.now_us();
    let from = parse_us(&args.from, now).map_err(Error::usage)?;
    let to = parse_us(&args.to, now).map_err(Error::usage)?;
    if from >= to {
        return Err(Error::usage(format!("--from ({}) is not before --to ({})", args.from, args.to)));
    }
    let size = terminal();
    let usual =
        if args.format == HistoryFormat::Plot { u32::from(size.columns).clamp(20, 1000) } else { ROWS };
    let max_points = args.max_points.unwrap_or(usual);
    // The texts go as they are: `-15m` is by the server's clock, which stamped the samples.
    let mut request = ctx
        .client
        .request(Method::GET, &["twins", &twin, "points", &point, "history"])?
        .query(&[("from", &args.from), ("to", &args.to), ("max_points", &max_points.to_string())]);
    if args.times {
        request = request.query(&[("times", "true")]);
    }
    let history: HistoryResponse = ctx.client.fetch(request).await?;
    if ctx.out.is_json() {
        ctx.out.json(&history)?;
        return Ok(Exit::Ok);
    }
    let text = match args.format {
        HistoryFormat::Table => table(&history),
        HistoryFormat::Csv => csv(&history),
        HistoryFormat::Plot => match plot(&history, size) {
            Some(text) => text,
            None if history.points.is_empty() => String::new(),
            None => {
                return Err(Error::new(Exit::Failed, "there is no good number in this range to plot")
                    .remedy("--format table shows what there is"));
            }
        },
    };
    ctx.out.raw(text.as_bytes())?;
    if history.points.is_empty() {
        ctx.out.note("no samples in this range");
    }
    // Beside the rows, so that what reads them as CSV is not disturbed.
    history.gaps.iter().for_each(|g| ctx.out.note(&gap(g)));
    history.times.iter().flat_map(divided).for_each(|line| ctx.out.note(&line));
    Ok(Exit::Ok)
}

/// Parts of a time with their names, those that are none left out: by quality, and by state.
fn parts(times: &HistoryTimes) -> [Vec<(String, i64)>; 2] {
    let HistoryTimes { good_us, uncertain_us, bad_us, nothing_us, unsettled_us, states, other_us } = times;
    let qualities = [
        ("good", good_us),
        ("uncertain", uncertain_us),
        ("bad", bad_us),
        ("nothing", nothing_us),
        ("unsettled", unsettled_us),
    ];
    let named = qualities.into_iter().map(|(name, us)| (name.to_owned(), *us));
    let mut of_states: Vec<_> = states.iter().map(|s| (show(Some(&s.value), None), s.us)).collect();
    of_states.push(("other states".to_owned(), *other_us));
    [named.collect(), of_states].map(|parts| parts.into_iter().filter(|(_, us)| *us > 0).collect())
}

/// How a time divides, in lines.
fn divided(times: &HistoryTimes) -> impl Iterator<Item = String> + use<> {
    let [qualities, states] = parts(times);
    let whole: i64 = qualities.iter().map(|(_, us)| us).sum();
    [("time", qualities), ("time in state", states)].into_iter().filter(|(_, some)| !some.is_empty()).map(
        move |(what, some)| {
            let part = |(name, us): &(String, i64)| {
                let length = Duration::from_micros(us.unsigned_abs());
                format!("{name} {} ({})", percent(*us, whole), humantime::format_duration(length))
            };
            format!("{what}: {}", some.iter().map(part).collect::<Vec<_>>().join(", "))
        },
    )
}

#[allow(clippy::cast_precision_loss)] // a part of a whole
fn percent(us: i64, whole: i64) -> String {
    format!("{:.1} %", us as f64 / whole.max(1) as f64 * 100.0)
}

/// A gap in a line.
fn gap(gap: &HistoryGap) -> String {
    let HistoryGap { from_us, to_us, cause, quality, count, partial } = gap;
    let kind = if *partial { "in part missing" } else { "missing" };
    let length = Duration::from_micros(u64::try_from(to_us - from_us).unwrap_or(0));
    let mut text =
        format!("{kind} {} to {} ({})", time(*from_us), time(*to_us), humantime::format_duration(length));
    let _ = write!(text, ": {}", cause.text());
    if let Some(quality) = quality.filter(|q| *cause == GapReason::BadQuality || !q.is_bad()) {
        let _ = write!(text, ", {quality}");
    }
    if let Some(n) = count {
        let of = if quality.is_none() { "samples of all points of the gateway" } else { "samples" };
        let _ = write!(text, ", {n} {of}");
    }
    text
}

/// The terminal's size; COLUMNS and LINES where there is none.
pub(super) fn terminal() -> Size {
    let env = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u16>().ok()).filter(|n| *n > 0);
    match terminal_size::terminal_size() {
        Some((w, h)) => Size { columns: w.0, rows: h.0 },
        None => Size { columns: env("COLUMNS").unwrap_or(80), rows: env("LINES").unwrap_or(24) },
    }
}

fn table(history: &HistoryResponse) -> String {
    let unit = if history.unit.is_empty() { String::new() } else { format!(" {}", history.unit) };
    let optional = |x: Option<f64>| x.map_or_else(|| "-".to_owned(), number);
    match history.resolution {
        Resolution::Raw => {
            let mut table = Table::new(&["TIME", &format!(">VALUE{unit}"), "QUALITY"]);
            for p in &history.points {
                table.row([time(p.t_us), show(p.value.as_ref(), None), p.quality.to_string()]);
            }
            table.text()
        }
        Resolution::Rollup { .. } => {
            let (least, has_times) = (format!(">MIN{unit}"), history.times.is_some());
            let mut head = vec!["TIME", &least, ">MEAN", ">MAX", ">LAST", ">COUNT", ">GOOD", "WORST"];
            head.extend(has_times.then_some(["GOOD TIME", "STATES"]).into_iter().flatten());
            let mut table = Table::new(&head);
            for p in &history.points {
                let times = p.times.as_ref().filter(|_| has_times).map(times_of).into_iter().flatten();
                let row = [
                    time(p.t_us),
                    optional(p.min),
                    optional(p.mean),
                    optional(p.max),
                    show(p.value.as_ref(), None),
                    p.count.to_string(),
                    p.good.to_string(),
                    p.quality.to_string(),
                ];
                table.row(row.into_iter().chain(times));
            }
            table.text()
        }
    }
}

/// Two cells: how much of the time was good, and how it divides by state.
fn times_of(times: &HistoryTimes) -> [String; 2] {
    let [qualities, states] = parts(times);
    let whole = qualities.iter().map(|(_, us)| us).sum();
    let some: Vec<_> = states.iter().map(|(name, us)| format!("{name} {}", percent(*us, whole))).collect();
    [percent(times.good_us, whole), some.join(", ")]
}

/// RFC 4180 with a header, every digit kept. Raw rows leave the columns of roll-ups empty. Times stand behind, where they were
/// asked for: microseconds, and states as `value=us`.
fn csv(history: &HistoryResponse) -> String {
    let mut text = "time,t_us,value,quality,min,max,mean,count,good".to_owned();
    if history.times.is_some() {
        text.push_str(",good_us,uncertain_us,bad_us,nothing_us,unsettled_us,states,other_us");
    }
    text.push_str("\r\n");
    for HistoryPoint { t_us, value, quality, min, max, mean, count, good, times, .. } in &history.points {
        let value = csv_value(value.as_ref());
        let optional = |x: &Option<f64>| x.map(|x| x.to_string()).unwrap_or_default();
        let (min, max, mean) = (optional(min), optional(max), optional(mean));
        let _ =
            write!(text, "{},{t_us},{value},{quality},{min},{max},{mean},{count},{good}", format_us(*t_us));
        match times {
            Some(t) => {
                let state = |s: &StateTime| format!("{}={}", s.value, s.us);
                let states = csv_field(&t.states.iter().map(state).collect::<Vec<_>>().join(";"));
                let _ = write!(
                    text,
                    ",{},{},{},{},{},{states},{}",
                    t.good_us, t.uncertain_us, t.bad_us, t.nothing_us, t.unsettled_us, t.other_us
                );
            }
            None if history.times.is_some() => text.push_str(",,,,,,,"),
            None => {}
        }
        text.push_str("\r\n");
    }
    text
}

//! `modbus ...`: points of Modbus devices by way of the gateway that owns the device, and devices that no gateway has.

pub(super) mod direct;
pub(super) mod guess;
pub(super) mod scan;
mod status;

use common::Value;
use gateway_modbus::client::CallError;
use gateway_modbus::pdu::{Exception, Request};
use gateway_modbus::value::{Format, RawType, Words};
use gateway_modbus::{Address, Table};

use super::Context;
use super::write::find;
use crate::args::{Direct, Form, Modbus, Talk, Write};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::out::{Out, clean};
use crate::table::{Table as Columns, time};
use crate::target::Hints;
use crate::value::show;
use direct::{At, Line};

/// What needs no gateway; what does is given back.
pub(super) async fn without_gateway(verb: Modbus, hints: &Hints, out: Out) -> Result<Result<Exit, Modbus>> {
    Ok(Ok(match verb {
        Modbus::Read { what, direct: Direct { direct: Some(at), unit, talk }, form } => {
            let [register] = what.as_slice() else { return Err(Error::usage("expected one register")) };
            let mut line = open(hints, &at, &talk).await?;
            read_direct(out, &mut line, unit, direct::register(register)?, &form).await?
        }
        Modbus::Write { what, direct: Direct { direct: Some(at), unit, talk }, form, .. } => {
            let [assignment] = what.as_slice() else {
                return Err(Error::usage("expected one register and its value: 40001=80"));
            };
            let (register, text) = crate::value::split(assignment).map_err(Error::usage)?;
            let register = direct::register(register)?;
            let mut line = open(hints, &at, &talk).await?;
            write_direct(out, &mut line, unit, register, text, &form).await?
        }
        Modbus::Scan { endpoint, talk, talk_over, units, addresses, tables, rate } => {
            // Who listens takes away what another one's devices answer: the gateway's line is none of ours first.
            let at = free(hints, &endpoint).await?;
            if !talk_over {
                direct::quiet(&at, &talk).await?;
            }
            let mut line = Line::open(at, &talk).await?;
            let tables = tables.into_iter().map(Table::from).collect();
            scan::scan(out, &mut line, scan::Wanted { units, addresses, tables, rate }).await?
        }
        Modbus::Probe { endpoint, register, talk, unit, samples, every, expect, most } => {
            let register = direct::register(&register)?;
            let mut line = open(hints, &endpoint, &talk).await?;
            let mut read = Vec::new();
            for n in 0..samples {
                if n > 0 {
                    tokio::time::sleep(every).await;
                }
                read.push(sample(&mut line, unit, register).await?);
            }
            probe(out, &read, expect, most)?
        }
        other => return Ok(Err(other)),
    }))
}

/// The verbs that ask a gateway.
pub(super) async fn with_gateway(ctx: &Context, verb: Modbus) -> Result<Exit> {
    match verb {
        Modbus::Read { what, .. } => match what.as_slice() {
            [twin, point] => read(ctx, twin, point).await,
            _ => Err(Error::usage("expected a twin and a point, or --direct and a register")),
        },
        Modbus::Write { what, write: how, .. } => match what.as_slice() {
            [twin, assignment] => write(ctx, twin, assignment, how).await,
            _ => Err(Error::usage("expected a twin and POINT=VALUE, or --direct and REGISTER=VALUE")),
        },
        Modbus::Status { device } => status::status(ctx, device.as_deref()).await,
        Modbus::Scan { .. } | Modbus::Probe { .. } => Ok(Exit::Usage),
    }
}

async fn open(hints: &Hints, at: &str, talk: &Talk) -> Result<Line> {
    Line::open(free(hints, at).await?, talk).await
}

/// A place that the box's own gateway does not use.
async fn free(hints: &Hints, at: &str) -> Result<At> {
    let at = At::parse(at)?;
    direct::free(hints.clone(), &at).await?;
    Ok(at)
}

fn format(form: &Form, address: Address) -> Result<Format> {
    let named = RawType::from_name(&form.raw_type);
    let named = named.ok_or_else(|| {
        let all: Vec<_> = RawType::ALL.iter().map(|t| t.name()).collect();
        Error::usage(format!("`{}` is not a type: expected {}", form.raw_type, all.join(", ")))
    })?;
    let bits = address.table.is_bits() || form.bit.is_some();
    let raw_type = if bits { RawType::Bool } else { named };
    let format = Format { order: form.order, length: form.length, bit: form.bit, ..raw_type.into() };
    format.check().map_err(|(key, message)| Error::usage(format!("--{key}: {message}")))?;
    Ok(format)
}

async fn read_direct(out: Out, line: &mut Line, unit: u8, first: Address, form: &Form) -> Result<Exit> {
    let format = format(form, first)?;
    let each = if first.table.is_bits() { 1 } else { format.registers() };
    let mut rows = Vec::new();
    let mut bad = false;
    for n in 0..form.count {
        let at = u32::from(first.at) + u32::from(n) * u32::from(each);
        let at = u16::try_from(at).map_err(|_| Error::usage("the last register is beyond 65535"))?;
        let request = Request::Read { table: first.table, address: at, count: each };
        let data = line.must(unit, &request).await?;
        let value = if first.table.is_bits() {
            Ok(Value::Bool(data.first().is_some_and(|b| b & 1 == 1)))
        } else {
            format.decoder().decode(&data).map_err(|e| e.to_string())
        };
        bad |= value.is_err();
        rows.push((Address { at, ..first }, value));
    }
    if out.is_json() {
        let row = |(at, value): &(Address, std::result::Result<Value, String>)| {
            let table = at.table.to_string();
            serde_json::json!({ "table": table, "address": at.at, "register": at.number(),
                "value": value.as_ref().ok(), "error": value.as_ref().err() })
        };
        out.json(&rows.iter().map(row).collect::<Vec<_>>())?;
    } else {
        for (at, value) in &rows {
            let shown = value.as_ref().map_or_else(|e| format!("bad: {e}"), Value::to_string);
            out.line(&format!("{at}  {}", clean(&shown)))?;
        }
    }
    Ok(if bad { Exit::Failed } else { Exit::Ok })
}

async fn write_direct(
    out: Out,
    line: &mut Line,
    unit: u8,
    at: Address,
    text: &str,
    form: &Form,
) -> Result<Exit> {
    if !at.table.is_writable() {
        return Err(Error::usage(format!("table {} cannot be written", at.table)));
    }
    let format = format(form, at)?;
    let value = typed(text, format)?;
    let misfit = |e: gateway_modbus::value::Misfit| Error::usage(e.to_string());
    let data: Vec<u8>;
    let request = if at.table.is_bits() {
        Request::WriteCoil { address: at.at, value: value == Value::Bool(true) }
    } else {
        match format.encode(&value).map_err(misfit)? {
            Words::Mask { and, or } => {
                write_bits(out, line, unit, at, (and, or)).await?;
                return read_back(out, line, unit, at, form).await;
            }
            Words::Registers(words) => match *words.as_slice() {
                [value] => Request::WriteRegister { address: at.at, value },
                _ => {
                    data = words.iter().flat_map(|w| w.to_be_bytes()).collect();
                    Request::WriteRegisters { address: at.at, data: &data }
                }
            },
        }
    };
    line.must(unit, &request).await?;
    read_back(out, line, unit, at, form).await
}

async fn read_back(out: Out, line: &mut Line, unit: u8, at: Address, form: &Form) -> Result<Exit> {
    out.note("written; reading back");
    read_direct(out, line, unit, at, &Form { count: 1, ..form.clone() }).await
}

/// Bits of a register by mask write; where the device has none, the whole register, changed between a read and a write.
async fn write_bits(out: Out, line: &mut Line, unit: u8, at: Address, (and, or): (u16, u16)) -> Result<()> {
    let mask = Request::MaskWrite { address: at.at, and, or };
    let done = line.call(unit, &mask, &mut Vec::new()).await?;
    if !matches!(done, Err(CallError::Refused(Exception::ILLEGAL_FUNCTION))) {
        return done.map_err(|e| line.error(unit, &mask, &e));
    }
    out.note("the device has no mask write: its whole register is read, changed and written");
    let data = line.must(unit, &Request::Read { table: at.table, address: at.at, count: 1 }).await?;
    let [high, low] = data.as_slice() else {
        return Err(Error::new(Exit::Failed, "what came is no register"));
    };
    let value = Words::masked(u16::from_be_bytes([*high, *low]), and, or);
    line.must(unit, &Request::WriteRegister { address: at.at, value }).await.map(drop)
}

/// A value as people type it, in the type of the registers.
fn typed(text: &str, format: Format) -> Result<Value> {
    let value = match format.raw_type {
        RawType::String => Value::from(text.trim_matches('"')),
        _ => serde_json::from_str(text)
            .map_err(|_| Error::usage(format!("`{text}` is no number, true or false")))?,
    };
    let fits = value.convert(format.range().value_type);
    fits.ok_or_else(|| Error::usage(format!("`{text}` is no {} value", format.raw_type.name())))
}

/// The bytes of as many registers as the longest number has, or of as many as there are.
async fn sample(line: &mut Line, unit: u8, at: Address) -> Result<Vec<u8>> {
    if at.table.is_bits() {
        return Err(Error::usage("a coil or discrete input is one bit: there is nothing to guess"));
    }
    let mut data = Vec::new();
    for count in [4, 2] {
        let request = Request::Read { table: at.table, address: at.at, count };
        if line.call(unit, &request, &mut data).await?.is_ok() {
            return Ok(data);
        }
    }
    line.must(unit, &Request::Read { table: at.table, address: at.at, count: 1 }).await
}

fn probe(out: Out, samples: &[Vec<u8>], expect: Option<f64>, most: usize) -> Result<Exit> {
    // A sample may be shorter than the others: what all have is compared.
    let shortest = samples.iter().map(Vec::len).min().unwrap_or_default();
    let samples: Vec<Vec<u8>> = samples.iter().map(|s| s.iter().take(shortest).copied().collect()).collect();
    let mut found = guess::candidates(&samples, expect);
    found.truncate(most.max(1));
    out.show(&found, |found| {
        let mut table = Columns::new(&["TYPE", "ORDER", ">PLAUSIBLE", "LAST", "WHY"]);
        for c in found {
            let last = c.values.last().map(Value::to_string).unwrap_or_default();
            let percent = format!("{:.0} %", c.plausibility * 100.0);
            table.row([c.raw_type.to_owned(), c.order.to_owned(), percent, last, c.reasons.join(", ")]);
        }
        table.text()
    })?;
    Ok(if found.is_empty() { Exit::NotFound } else { Exit::Ok })
}

async fn read(ctx: &Context, twin: &str, point: &str) -> Result<Exit> {
    let twin = ctx.client.twin(twin).await?;
    let point = find(&twin, point)?;
    speaks_modbus(ctx, &twin).await?;
    ctx.out.show(point, |p| {
        let unit =
            if p.schema.unit.is_empty() { String::new() } else { format!(" {}", clean(&p.schema.unit)) };
        format!("{}{unit}  {}  {}\n", show(p.value.as_ref(), Some(&p.schema)), p.quality, time(p.source_us))
    })?;
    if point.quality.is_bad() {
        ctx.out.note(&format!("twinway: the value is bad: {}", point.quality));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Ok)
}

async fn write(ctx: &Context, twin: &str, assignment: &str, how: Write) -> Result<Exit> {
    speaks_modbus(ctx, &ctx.client.twin(twin).await?).await?;
    super::write::write(ctx, twin, assignment, how, true).await
}

/// Refuses a device that is known to speak another protocol. What a gateway did not tell is not refused.
async fn speaks_modbus(ctx: &Context, twin: &common::api::TwinView) -> Result<()> {
    let Some(name) = &twin.device else {
        return Err(Error::usage(format!("{} has no device", twin.asset)));
    };
    let gateways = ctx.client.gateways().await?;
    let gateway = gateways.iter().find(|g| Some(&g.id) == twin.gateway.as_ref());
    let devices = gateway.and_then(|g| g.health.as_ref()).map(|h| h.devices.as_slice()).unwrap_or_default();
    match devices.iter().find(|d| d.name == *name) {
        Some(d) if d.protocol != "modbus" => {
            Err(Error::usage(format!("device {name} of {} speaks {}, not modbus", twin.asset, d.protocol))
                .remedy("`twinway twins get` and `twinway send` do not mind the protocol"))
        }
        _ => Ok(()),
    }
}

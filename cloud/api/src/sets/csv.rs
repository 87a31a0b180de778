//! Samples as comma-separated values: RFC 4180 with a header, every digit kept.

use std::fmt::Write as _;
use std::io;

use cloud_core::history::ExportRow;
use common::clock::format_us;
use common::text::{csv_field, csv_value};

use super::export::Encode;

pub(super) struct Csv {
    /// The header, until it is sent.
    waiting: Vec<u8>,
}

impl Encode for Csv {
    const KIND: (&'static str, &'static str) = ("text/csv; charset=utf-8", "csv");

    fn new() -> io::Result<Self> {
        Ok(Self { waiting: b"twin,point,time,t_us,received_us,quality,value\r\n".to_vec() })
    }

    fn rows(&mut self, asset: &str, point: &str, rows: &[ExportRow]) -> io::Result<Vec<u8>> {
        let of = format!("{},{}", csv_field(asset), csv_field(point));
        let mut text = String::with_capacity(rows.len() * (of.len() + 80));
        for ExportRow { t_us, received_us, quality, value } in rows {
            let value = csv_value(value.as_ref());
            let _ = write!(text, "{of},{},{t_us},{received_us},{quality},{value}\r\n", format_us(*t_us));
        }
        let mut out = std::mem::take(&mut self.waiting);
        out.extend(text.into_bytes());
        Ok(out)
    }

    fn end(self) -> io::Result<Vec<u8>> {
        Ok(self.waiting)
    }
}
